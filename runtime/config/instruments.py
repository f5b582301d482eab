"""Symbols that stand in a file of instruments: a list, CSV with a column of them, or Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openbell.adapters.instruments import cells_of
from openbell.adapters.sources.roles import aliases_of, folded


def symbols_in(path: Path, column: str | None = None) -> tuple[str, ...]:
    """The symbols of a file, in its order.

    Parameters
    ----------
    column : str, optional
        The heading of the column that they stand in; None: the one that is called as symbols are,
        or the only one, with or without a heading.

    Raises
    ------
    ValueError
        If the file can't be read, or doesn't tell which symbols are meant; the text says what to
        write.
    """
    heading, rows = cells_of(path)
    place = _place(path, heading, column)
    if place is None:
        place, rows = 0, [(1, heading), *rows]
    return _symbols(path, [(line, row[place]) for line, row in rows if len(row) > place])


def _place(path: Path, heading: Sequence[str], column: str | None) -> int | None:
    """Of the column with the symbols; None: there is one, without a heading."""
    names = ", ".join(heading)
    if column is not None:
        if heading.count(column) != 1:
            raise ValueError(f'{path} has no column "{column}"; it has {names}')
        return heading.index(column)
    called = [place for place, name in enumerate(heading) if folded(name) in aliases_of("symbol")]
    if len(called) == 1:
        return called[0]
    if not called and len(heading) == 1:
        return None
    found = f"{len(called)} columns" if called else "no column"
    one = heading[called[0]] if called else "NAME"
    raise ValueError(
        f"{path} has {found} called as symbols are, among {names}; "
        f'name it: {{file: {path}, column: "{one}"}}'
    )


def _symbols(path: Path, found: Sequence[tuple[int, str]]) -> tuple[str, ...]:
    lines: dict[str, int] = {}
    for line, cell in found:
        symbol = cell.strip()
        if not symbol:
            raise ValueError(f"{path}, line {line}: the symbol is missing; write it, or drop it")
        if symbol in lines:
            raise ValueError(
                f'{path}: "{symbol}" stands in lines {lines[symbol]} and {line}; leave one out, or '
                "name a column that tells them apart"
            )
        lines[symbol] = line
    if not lines:
        raise ValueError(f"{path} has no symbols; write one a line")
    return tuple(lines)
