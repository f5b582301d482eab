"""Sources of stored history: Parquet, CSV, tables in memory, and plug-ins."""

from openbell.adapters.sources.base import CsvOptions, DataOptions, FileIdentity, Source, SourceInfo
from openbell.adapters.sources.registry import open_source

__all__ = ["CsvOptions", "DataOptions", "FileIdentity", "Source", "SourceInfo", "open_source"]
