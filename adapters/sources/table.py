"""A table in memory as a source: pandas, polars, pyarrow or anything that Arrow can take."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TypeGuard

import numpy as np

from openbell.adapters.sources.arrowtypes import found_in
from openbell.adapters.sources.asarrow import as_arrow, is_table
from openbell.adapters.sources.base import DataOptions, FileIdentity, Source
from openbell.adapters.sources.columns import Decoded, check_types, decode, plan_columns
from openbell.adapters.sources.pieces import Piece, PieceSource, Scan

NAME = "<table>"


def open_table(table: object, options: DataOptions, *, lasting: bool = True) -> Source:
    """A table as a source, or a mapping of symbols to tables.

    In a pandas DataFrame, times and symbols may be in the index.

    What is read are views of the table where its columns allow that: don't write to it afterwards.

    Parameters
    ----------
    lasting : bool
        Whether a later process can make the same table again, as from a file.

    Raises
    ------
    openbell.errors.DataError
        If it is no table, or a column is missing or can't be used.
    """
    parts: list[tuple[str | None, object]]
    if _is_mapping_of_tables(table):
        parts = [(str(symbol), of) for symbol, of in table.items()]
    else:
        parts = [(None, table)]
    rows = [_decoded(of, options, symbol) for symbol, of in parts]
    return PieceSource(NAME, options, lambda: _scan(rows), lasting=lasting)


def _decoded(table: object, options: DataOptions, symbol: str | None) -> Decoded:
    name = NAME if symbol is None else f"<table {symbol}>"
    arrow = as_arrow(table, name, options.columns.get("ts", "ts"))
    names, types = list(arrow.column_names), list(arrow.schema.types)
    found = found_in(name, names, types)
    given = options.symbol if symbol is None else symbol
    plan = plan_columns(name, names, options, given, found)
    check_types(plan, dict(zip(names, types, strict=True)))
    return decode(plan, arrow)


def _scan(parts: list[Decoded]) -> Scan:
    return Scan(
        tuple(_piece(rows) for rows in parts if len(rows)),
        tuple(_identity(rows) for rows in parts),
    )


def _piece(rows: Decoded) -> Piece:
    return Piece(
        rows=len(rows),
        symbols=rows.present(),
        bounds=(int(rows.ts.min()), int(rows.ts.max())),
        load=lambda: rows,
        times=lambda: rows.ts,
        check=lambda: None,
    )


def _identity(rows: Decoded) -> FileIdentity:
    """Of the rows as openbell sees them: the same from pandas, polars or Arrow, however chunked."""
    digest = blake2b(digest_size=16)
    names = np.array(rows.symbols, np.str_)
    order, rank = np.unique(names, return_inverse=True) if len(names) else (names, np.empty(0, int))
    used = np.bincount(rank[rows.code], minlength=len(order)) > 0
    position = np.cumsum(used) - 1
    digest.update("\0".join(order[used].tolist()).encode())
    digest.update(position[rank[rows.code]].astype("<i4").tobytes())
    digest.update(rows.ts.astype("<i8", copy=False).tobytes())
    for name, values in rows.columns.items():
        digest.update(name.encode())
        digest.update(values.astype("<f8", copy=False).tobytes())
    return FileIdentity(rows.file, rows.nbytes, digest.hexdigest())


def _is_mapping_of_tables(table: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(table, Mapping) and bool(table) and all(map(is_table, table.values()))
