"""Rows that a program pushes, as columns: scalars, sequences, arrays, tables and data frames."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from openbell.adapters.marks import is_partial, trade_number
from openbell.adapters.sources import DataOptions, open_source
from openbell.adapters.sources.asarrow import is_table
from openbell.errors import DataError
from openbell.market.bars import BAR_COLUMNS, EXTRAS, TICK_COLUMNS, Kind, Prices, RawRows
from openbell.market.days import Nanoseconds

NAME = "push"
"""Stands for the file where pushed rows are named; the row is its position, from 1."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def pushed_table(table: Any, options: DataOptions) -> RawRows:
    """A pandas, polars or pyarrow table, with the columns that a file has, in its order.

    Raises
    ------
    DataError
        If a column is missing or can't be used.
    """
    source = open_source(table, options)
    try:
        whole = np.iinfo(np.int64)
        return source.read(int(whole.min), int(whole.max))
    finally:
        source.close()


def is_pushed_table(value: object) -> bool:
    return is_table(value)


def pushed_columns(kind: Kind, symbols: Any, ts: Any, values: dict[str, Any]) -> RawRows:
    """Rows from one value a column, or from sequences of one length.

    Parameters
    ----------
    symbols : str or sequence of str
        One stands for all rows.
    ts : aware datetime, ISO 8601 text with a zone, integer ns UTC, or a sequence or array of those
        numpy's datetime64 is UTC, as it has no zone.
    values : mapping
        `price, size` or `open, high, low, close, volume`; `trade_id` or `partial` where given.

    Raises
    ------
    DataError
        If lengths differ, or a time is none or has no zone.
    """
    times = _instants(ts)
    n = len(times)
    columns: dict[str, Prices] = {}
    for name in TICK_COLUMNS if kind == "ticks" else BAR_COLUMNS:
        columns[name] = _numbers(name, values[name], n)
    for name in EXTRAS[kind]:
        if values.get(name) is not None:
            columns[name] = _extra(name, values[name], n)
    names, code = _codes(symbols, n)
    return RawRows(
        kind=kind,
        symbols=names,
        code=code,
        ts=times,
        columns=columns,
        locate=lambda position: (NAME, position + 1),
    )


def _instants(ts: Any) -> Nanoseconds:
    if isinstance(ts, np.ndarray):
        if ts.dtype.kind == "M":
            return np.atleast_1d(ts.astype("datetime64[ns]").astype(np.int64))
        if ts.dtype.kind in "iu":
            return np.atleast_1d(ts.astype(np.int64))
        ts = ts.tolist()
    if isinstance(ts, str) or not isinstance(ts, Sequence):
        return np.array([_instant(ts)], np.int64)
    return np.array([_instant(value) for value in ts], np.int64)


def _instant(value: Any) -> int:
    match value:
        case bool():
            pass
        case int() | np.integer():
            return int(value)
        case np.datetime64():
            return int(value.astype("datetime64[ns]").astype(np.int64))
        case datetime():
            if value.tzinfo is None:
                raise DataError(f"ts is {value}, which has no zone; push an aware datetime")
            exact = getattr(value, "nanosecond", 0)  # of a pandas Timestamp
            return (value - _EPOCH) // _MICROSECOND * 1000 + int(exact)
        case str():
            try:
                return _instant(datetime.fromisoformat(value))
            except ValueError:
                pass
    raise DataError(
        f"ts is {value!r}; push an aware datetime, ISO 8601 text with a zone, or integer ns UTC"
    )


def _numbers(name: str, values: Any, n: int) -> Prices:
    try:
        column = np.atleast_1d(np.asarray(values, np.float64))
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} holds what is no number: {error}") from None
    if column.ndim == 1 and len(column) == n:
        # What is pushed may be written to afterwards.
        return column.copy()
    if column.ndim == 1 and len(column) == 1:
        return np.full(n, column[0])
    raise DataError(f"{name} has {column.size} values, ts has {n}; push as many of each")


def _extra(name: str, given: Any, n: int) -> Prices:
    one = isinstance(given, str | int | float) or np.ndim(given) == 0
    values = [given] * n if one else list(given)
    if len(values) != n:
        raise DataError(f"{name} has {len(values)} values, ts has {n}; push as many of each")
    told = trade_number if name == "trade_id" else is_partial
    return np.array([told(getattr(value, "item", lambda v=value: v)()) for value in values], float)


def _codes(
    symbols: Any, n: int
) -> tuple[tuple[str, ...], np.ndarray[tuple[int], np.dtype[np.int32]]]:
    if isinstance(symbols, str):
        return (symbols,), np.zeros(n, np.int32)
    listed = [str(symbol) for symbol in symbols]
    if len(listed) != n:
        raise DataError(f"symbols has {len(listed)} values, ts has {n}; push as many of each")
    place: dict[str, int] = {}
    code = np.array([place.setdefault(symbol, len(place)) for symbol in listed], np.int32)
    return tuple(place), code
