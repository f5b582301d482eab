"""What a source of stored history is: something that reads rows between two instants."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from openbell.market.bars import Kind, RawRows


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """One input by what it is, so that a replay can refuse another."""

    path: str
    size: int
    """Bytes."""
    digest: str
    """Hex digest of the Parquet footer, or of the whole file for other formats."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source holds."""

    kind: Kind
    interval_ns: int | None
    """Bar length; None for ticks."""
    symbols: tuple[str, ...]
    """All symbols in it, sorted."""
    files: tuple[FileIdentity, ...]


class Source(Protocol):
    """Stored history. Reading is repeatable: the same call gives the same rows."""

    def info(self) -> SourceInfo: ...

    def dates(self, tz: str) -> dict[date, int]:
        """Rows per local date in an IANA time zone, dates ascending, only dates with rows."""
        ...

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        """Rows with start_ns <= ts < end_ns in the source's order.

        `symbols` limits them (None: all). `RawRows.symbols` is the tuple asked for, or
        `info().symbols`. Safe to call from one thread at a time.

        Raises
        ------
        openbell.errors.DataError
            If a file can't be read or has become another one.
        """
        ...

    def close(self) -> None: ...
