"""A table in memory as a source: pandas, polars, pyarrow or anything that Arrow can take."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from openbell.adapters.sources.base import DataOptions, FileIdentity, Source
from openbell.adapters.sources.columns import Decoded, check_types, decode, plan_columns
from openbell.adapters.sources.pieces import Piece, PieceSource, Scan
from openbell.errors import DataError

NAME = "<table>"


def open_table(table: object, options: DataOptions, *, lasting: bool = True) -> Source:
    """A table as a source. In a pandas DataFrame, times and symbols may be in the index.

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
    arrow = _arrow(table, options)
    names = list(arrow.column_names)
    plan = plan_columns(NAME, names, options, options.symbol)
    check_types(plan, dict(zip(names, arrow.schema.types, strict=True)))
    rows = decode(plan, arrow)
    return PieceSource(NAME, options, lambda: _scan(rows), lasting=lasting)


def _scan(rows: Decoded) -> Scan:
    if not len(rows):
        return Scan((), (_identity(rows),))
    piece = Piece(
        rows=len(rows),
        symbols=rows.present(),
        bounds=(int(rows.ts.min()), int(rows.ts.max())),
        load=lambda: rows,
        times=lambda: rows.ts,
        check=lambda: None,
    )
    return Scan((piece,), (_identity(rows),))


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
    return FileIdentity(NAME, rows.nbytes, digest.hexdigest())


def _arrow(table: Any, options: DataOptions) -> Any:
    if isinstance(table, pa.Table):
        return table
    try:
        # Told by name: importing pandas or polars in order to ask would cost 0.3 s.
        if type(table).__module__.partition(".")[0] == "pandas" and hasattr(table, "columns"):
            return pa.Table.from_pandas(_with_index(table, options), preserve_index=False)
        if hasattr(table, "collect") and hasattr(table, "lazy"):
            table = table.collect()  # a polars LazyFrame
        if hasattr(table, "to_arrow"):
            table = table.to_arrow()
        if isinstance(table, pa.Table):
            return table
        if hasattr(table, "__arrow_c_stream__"):
            return pa.table(table)
    except (pa.ArrowException, ValueError, TypeError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{NAME}: can't be made an Arrow table ({reason})") from None
    raise DataError(
        f"{NAME}: a {type(table).__name__} can't be read; pass a path, or a pandas, polars or "
        "pyarrow table"
    )


def _with_index(frame: Any, options: DataOptions) -> Any:
    """A DataFrame whose index has become columns, where it holds more than row numbers."""
    if list(frame.index.names) == [None]:
        if frame.index.dtype.kind != "M":
            return frame
        return frame.rename_axis(options.columns.get("ts", "ts")).reset_index()
    return frame.reset_index()
