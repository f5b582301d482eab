"""Symbols that stand in a file of instruments: a list, CSV with a column of them, or Parquet."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from openbell.adapters.sources.roles import aliases_of, folded

DELIMITERS = ",;\t|"


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
    try:
        heading, rows = _parquet(path) if path.suffix == ".parquet" else _text(path)
    except FileNotFoundError:
        raise ValueError(f"there is no file {path}; check the path") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: byte {error.start} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        why = error.strerror or error
        raise ValueError(f"{path} can't be read: {why}; check the file") from None
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


def _text(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    first = next((line for line in lines if line.strip()), "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(lines, delimiter=delimiter)
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    heading = [cell.strip() for cell in rows[0][1]] if rows else [""]
    return heading, rows[1:]


def _parquet(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    # Only here: most configurations have no such file, and its import takes long.
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise ValueError(f"{path} is no Parquet file: {error}") from None
    columns = [column.to_pylist() for column in table.columns]
    rows = [
        ["" if cell is None else str(cell) for cell in row] for row in zip(*columns, strict=True)
    ]
    return table.column_names, list(enumerate(rows, 1))
