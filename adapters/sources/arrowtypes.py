"""Arrow's types as writers use them: what a column of one holds, and the same values plainly."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from openbell.adapters.sources.columns import Found, plain_type
from openbell.adapters.sources.roles import Content, column_of, folded, time_columns
from openbell.errors import DataError

_INDEX = re.compile(r"__index_level_\d+__|level_\d+|index")
"""What pandas calls an index without a name."""
_OF_DAY = ("time", "timeofday", "hhmm", "hhmmss")
"""Names of texts that are times of day where another column is the date."""
_DAYS = ("date", "day", "tradedate", "tradingdate")
"""Names of timestamps that may be days at midnight, where another column has times of day."""
_PRICES = ("open", "high", "low", "close", "price")


def found_in(file: str, names: Sequence[str], types: Sequence[Any]) -> Found:
    """What the types of a table's columns tell, beyond their names.

    Raises
    ------
    openbell.errors.DataError
        If two columns have one name.
    """
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f'{file}: has two columns "{twice}"; name one of them otherwise, or take it out'
        )
    contents: dict[str, Content] = {
        name: _content(kind) for name, kind in zip(names, types, strict=True)
    }
    if "date" in contents.values():
        contents |= {n: "time" for n in names if contents[n] == "text" and folded(n) in _OF_DAY}
    times = _times(names, contents)
    nanos = _in_nanos(names, types)
    unnamed = [n for n in names if _INDEX.fullmatch(n) and contents[n] == "text" and n not in times]
    if len(unnamed) != 1:
        return Found(times=times, nanos=nanos)
    if not times:
        return Found(times=(unnamed[0],), nanos=nanos)
    has_symbol = column_of("symbol", names) is not None
    return Found(roles={} if has_symbol else {"symbol": unnamed[0]}, times=times, nanos=nanos)


def _in_nanos(names: Sequence[str], types: Sequence[Any]) -> bool:
    """Whether prices are Databento's whole numbers of 1e-9."""
    known = {folded(name) for name in names}
    prices = [t for n, t in zip(names, types, strict=True) if folded(n) in _PRICES]
    return (
        {"publisherid", "rtype"} <= known and bool(prices) and all(map(pa.types.is_integer, prices))
    )


def _times(names: Sequence[str], contents: Mapping[str, Content]) -> tuple[str, ...]:
    moments = [name for name, content in contents.items() if content in ("zoned", "datetime")]
    clocks = [
        name
        for name, content in contents.items()
        if content == "time" or (content in ("text", "number") and folded(name) in _OF_DAY)
    ]
    if len(moments) == len(clocks) == 1 and folded(moments[0]) in _DAYS:
        return (moments[0], clocks[0])
    if any(content in ("zoned", "datetime", "date") for content in contents.values()):
        return time_columns(names, contents) or time_columns(names)
    return time_columns(names)


def _content(kind: Any) -> Content:
    kind = plain_type(kind)
    types = pa.types
    if types.is_timestamp(kind):
        return "datetime" if kind.tz is None else "zoned"
    if types.is_date(kind):
        return "date"
    if types.is_time(kind) or types.is_duration(kind):
        return "time"
    if types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind):
        return "number"
    return "empty" if types.is_null(kind) else "text"
