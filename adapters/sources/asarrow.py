"""Tables of many libraries as Arrow tables.

Libraries are told by name, or by what a table can do: importing pandas or polars in order to ask
would cost 0.3 s.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from openbell.adapters.sources.roles import column_of, folded
from openbell.errors import DataError

_KNOWN = "a path, or a pandas, polars or pyarrow table"
_CONVERSIONS = ("to_arrow", "toArrow", "to_pyarrow")
"""What other libraries call it: polars and cuDF, Spark, Ibis."""


class _NoTable(ValueError):
    """What is wrong with something, with what to do about it."""


def is_table(table: object) -> bool:
    """Whether something looks like a table and not like a column of one."""
    return (
        isinstance(table, pa.Table | pa.RecordBatch)
        or (hasattr(table, "columns") and hasattr(table, "shape"))
        or hasattr(table, "collect_schema")
    )


def as_arrow(table: Any, name: str, ts: str = "ts") -> Any:
    """An Arrow table with the columns of any table; nothing is copied where that can be.

    In a pandas DataFrame an index that holds more than row numbers becomes columns. A column is
    made from a mapping's sequences, a structured array's fields or a list's mappings, likewise.
    `ts` is the name that an index of times without a name is given.

    Raises
    ------
    openbell.errors.DataError
        If it is no table, or has a column that Arrow can't take; `name` stands for it.
    """
    try:
        made = _converted(table, ts)
    except _NoTable as error:
        raise DataError(f"{name}: {error}") from None
    except (pa.ArrowException, ValueError, TypeError, AttributeError, OverflowError) as error:
        raise DataError(f"{name}: {_reason(table, error)}") from None
    if made is None:
        raise DataError(
            f"{name}: a {type(table).__name__} can't be read; pass {_KNOWN}, or a dict of columns"
        )
    return made


def _converted(table: Any, ts: str) -> Any:
    if isinstance(table, pa.Table):
        return table
    if isinstance(table, pa.RecordBatch):
        return pa.Table.from_batches([table])
    if isinstance(table, np.ndarray):
        return _of_array(table)
    if isinstance(table, Mapping):
        return pa.table({str(name): _column(values) for name, values in table.items()})
    if isinstance(table, Sequence) and table and not isinstance(table, str | bytes):
        if all(isinstance(part, pa.RecordBatch) for part in table):
            return pa.Table.from_batches(table)
        if all(isinstance(row, Mapping) for row in table):
            return pa.Table.from_pylist([dict(row) for row in table])
        return None
    module = type(table).__module__.partition(".")[0]
    if type(table).__name__ == "Series":
        return None
    if module == "pandas" and hasattr(table, "columns"):
        return pa.Table.from_pandas(_plain_frame(table, ts), preserve_index=False)
    if module == "polars" and hasattr(table, "collect_schema") and hasattr(table, "collect"):
        table = table.collect()
    return _by_itself(table)


def _by_itself(table: Any) -> Any:
    """What a table makes of itself."""
    for method in _CONVERSIONS:
        if callable(getattr(table, method, None)):
            made = getattr(table, method)()
            return made if isinstance(made, pa.Table) else pa.table(made)
    if hasattr(table, "__arrow_c_stream__"):  # a DuckDB relation, a reader of batches
        return pa.table(table)
    # By any other library's `to_table` something may be written: DuckDB makes one of that name.
    if type(table).__module__.partition(".")[0] == "pyarrow" and hasattr(table, "to_table"):
        return table.to_table()
    for method in ("to_pandas", "toPandas", "compute"):
        if callable(getattr(table, method, None)):
            return as_arrow(getattr(table, method)(), type(table).__name__)
    return None


def _reason(table: Any, error: Exception) -> str:
    text = str(error).partition("\n")[0]
    columns = getattr(table, "columns", None)
    if columns is not None and "onversion failed for column" in str(error):
        column = str(error).partition("failed for column ")[2].partition(" ")[0]
        return (
            f'column "{column}" has values of several types ({text[:120]}); write '
            f'frame["{column}"] = frame["{column}"].astype(str) before, or leave it out'
        )
    return f"can't be made an Arrow table ({text[:200]}); pass {_KNOWN}"


# numpy


def _of_array(array: np.ndarray[Any, Any]) -> Any:
    names = array.dtype.names
    if names is None:
        raise _NoTable(
            f"an array of {array.dtype} has no names of columns; pass a structured array, or "
            'a dict such as {"ts": …, "close": …}'
        )
    return pa.table({name: _column(np.ascontiguousarray(array[name])) for name in names})


def _column(values: Any) -> Any:
    """A column of numpy, or of anything else that Arrow takes."""
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if not isinstance(values, np.ndarray):
        return pa.array(values)
    kind = values.dtype.kind
    if kind == "S":
        return pa.array(np.char.decode(values, "utf-8"))
    if kind == "M" and np.datetime_data(values.dtype) not in _ARROW_TIMES:
        values = values.astype("M8[s]" if _is_coarse(values.dtype) else "M8[ns]")
    elif not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    return pa.array(values)


_ARROW_TIMES = (("D", 1), ("s", 1), ("ms", 1), ("us", 1), ("ns", 1))


def _is_coarse(dtype: np.dtype[Any]) -> bool:
    return np.datetime_data(dtype)[0] in ("Y", "M", "W", "D", "h", "m", "s")


# pandas


def _plain_frame(frame: Any, ts: str) -> Any:
    """A DataFrame with all that it holds as columns with one name each."""
    if getattr(frame.columns, "nlevels", 1) == 2:
        frame = _stacked(frame)
    frame = _with_index(frame, ts)
    for name in frame.columns:
        if getattr(frame[name], "ndim", 1) == 1 and str(frame[name].dtype).startswith("period"):
            frame = frame.assign(**{name: frame[name].dt.to_timestamp()})
    return frame


def _stacked(frame: Any) -> Any:
    """A frame with a column a price and symbol, as one with a row a symbol and time."""
    levels = [list(map(str, frame.columns.unique(level))) for level in (0, 1)]
    prices = [
        sum(column_of(ours, level) is not None for ours in ("open", "high", "low", "close"))
        for level in levels
    ]
    if max(prices) == 0:
        raise _NoTable(
            "its columns have two levels, and none holds open, high, low and close; name the levels' "
            "columns so, or pass one table a symbol as {symbol: table}"
        )
    of_symbols = 0 if prices[0] < prices[1] else 1
    frame = frame.copy(deep=False)
    frame.columns = frame.columns.set_names("symbol", level=of_symbols)
    long = frame.stack(level=of_symbols, future_stack=True)
    long = long.dropna(how="all")  # a symbol that has no bar at another's time
    long.columns.name = None
    return long


def _with_index(frame: Any, ts: str) -> Any:
    """A DataFrame whose index has become columns, where it holds more than row numbers."""
    index = frame.index
    if index.nlevels == 1 and index.name is None:
        if index.dtype.kind in "iu" or str(index.dtype) == "range":
            return frame
        is_time = index.dtype.kind == "M" or str(index.dtype).startswith("period")
        name = ts if is_time and ts not in frame.columns else "index"
        return frame.rename_axis(name).reset_index()
    known = {folded(str(name)) for name in frame.columns}
    doubled = [
        level
        for level, name in enumerate(index.names)
        if name is not None and folded(str(name)) in known
    ]
    if len(doubled) == index.nlevels:
        return frame.reset_index(drop=True)
    if doubled:
        frame = frame.droplevel(doubled)
    return frame.reset_index()
