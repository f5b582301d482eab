"""Which format a path is in, and what opens it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path

from openbell.adapters.sources.base import DataOptions, Source
from openbell.adapters.sources.files import CSV, DBN, PARQUET, TEXT, has_suffix, listed, walk
from openbell.adapters.sources.patterns import path_pattern
from openbell.errors import DataError, way_out

Opener = Callable[[Path, DataOptions], Source]

GROUP = "openbell.sources"

# By name, so that neither Arrow nor importlib.metadata is paid for before it is needed.
_BUILT_IN = {
    "parquet": "openbell.adapters.sources.parquet:open_parquet",
    "csv": "openbell.adapters.sources.csv:open_csv",
    "dbn": "openbell.adapters.sources.dbn:open_dbn",
}
_SUFFIXES = {"parquet": PARQUET, "csv": CSV, "dbn": DBN}
_ALSO = {"csv": TEXT}
"""Suffixes of files that in a folder are only looked at where there are no others."""


def open_source(data: object, options: DataOptions | None = None) -> Source:
    """Stored history: a path of a file or folder, or a pandas, polars or pyarrow table.

    The format is `options.format` or follows from the suffix. A package adds one by an entry
    point of the group `openbell.sources`, named like the format and its suffix, that leads to a
    function `(path: Path, options: DataOptions) -> Source`.

    Raises
    ------
    openbell.errors.DataError
        If there is nothing at the path, or nothing that opens it.
    """
    options = options or DataOptions()
    if not isinstance(data, str | os.PathLike):
        from openbell.adapters.sources.table import open_table

        return open_table(data, options, lasting=False)
    path = Path(data)
    if not path.exists():
        raise DataError(
            f"{path}: no such file or folder; check data.path{way_out(', or --data if given', '')}"
        )
    return _opener(path, options.format or _format(path, options))(path, options)


def is_text(path: Path, options: DataOptions) -> bool:
    """Whether what is at a path is read as CSV."""
    return (options.format or _format(path, options)) == "csv"


def _format(path: Path, options: DataOptions) -> str:
    if not path.is_dir():
        known = _by_suffix(path.name, _SUFFIXES) or _by_suffix(path.name, _ALSO)
        return known or path.suffix.lower().lstrip(".")
    patterns = [path_pattern(text) for text in options.files]
    names = [
        name
        for name in ("/".join(below) for below in walk(path))
        if not patterns or any(pattern.match(name) for pattern in patterns)
    ]
    found: dict[str, str] = {}
    for suffixes in (_SUFFIXES, _ALSO):
        found = found or {
            known: name for name in names if (known := _by_suffix(name, suffixes)) is not None
        }
    if len(found) > 1:
        both = " and ".join(f"{known} ({name})" for known, name in sorted(found.items()))
        raise DataError(
            f"{path}: the folder holds files of several formats, {both}; write "
            f"data.format: {min(found)} or data.format: {max(found)}"
        )
    if found:
        return next(iter(found))
    if patterns:
        wanted = ", ".join(f'"{text}"' for text in options.files)
        raise DataError(
            f"{path}: no file that can be read matches data.files, {wanted}; it holds "
            f"{listed(path)}"
        )
    ends = ", ".join(end for suffixes in (*_SUFFIXES.values(), *_ALSO.values()) for end in suffixes)
    raise DataError(
        f"{path}: the folder holds no file that can be read ({ends}); it holds {listed(path)}; "
        "check data.path, or name a plug-in's format with data.format"
    )


def _by_suffix(name: str, suffixes: Mapping[str, tuple[str, ...]]) -> str | None:
    return next((known for known, ends in suffixes.items() if has_suffix(name, ends)), None)


def _opener(path: Path, name: str) -> Opener:
    built_in = _BUILT_IN.get(name)
    if built_in is not None:
        module, _, function = built_in.partition(":")
        opener: Opener = getattr(import_module(module), function)
        return opener
    from importlib.metadata import entry_points

    plugins = {point.name: point for point in entry_points(group=GROUP)}
    if name not in plugins:
        known = sorted({*_BUILT_IN, *plugins})
        what = f'format "{name}" is unknown' if name else "has no suffix to tell its format by"
        raise DataError(
            f"{path}: {what}; known are {', '.join(known)}; set data.format: csv if it is text, or to the one it is"
        )
    try:
        loaded: Opener = plugins[name].load()
    except (ImportError, AttributeError) as error:
        raise DataError(
            f'{path}: the plug-in for format "{name}" ({plugins[name].value}) does not load '
            f"({error}); install what it needs"
        ) from None
    return loaded
