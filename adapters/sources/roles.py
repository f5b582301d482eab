"""Which of a file's columns are openbell's, by the names that vendors give them.

Names are compared without case, blanks, underscores and brackets: `<CLOSE>`, `Close` and ` close`
are one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

Content = Literal["zoned", "epoch", "datetime", "date", "time", "number", "text", "empty"]
"""What a column's values look like: `zoned` and `epoch` are instants, `datetime` is naive."""

_MOMENTS: tuple[Content, ...] = ("zoned", "epoch", "datetime")

_ALIASES: Mapping[str, tuple[str, ...]] = {
    "symbol": (
        "symbol", "ticker", "sym", "tradingsymbol", "instrument", "stock", "scrip", "ric",
        "instrumentid",
    ),
    "open": ("open", "o", "op", "openprice", "priceopen", "1open", "first", "openingprice"),
    "high": ("high", "h", "hi", "highprice", "pricehigh", "2high", "max"),
    "low": ("low", "l", "lo", "lowprice", "pricelow", "3low", "min"),
    "close": (
        "close", "c", "cl", "closeprice", "priceclose", "4close", "last", "close/last", "latest",
        "closingprice", "lastprice", "price",
    ),
    "volume": (
        "volume", "vol", "v", "totalvolume", "5volume", "6volume", "tradedvolume", "volumetraded",
        "tradevolume", "sharesvolume", "totaltradedquantity", "qty", "quantity", "basevolume",
        "totalvol", "sharestraded", "tradedqty",
        "tradedquantity", "totaltradedqty", "totalquantity", "tickvolume", "tickvol", "tickvolumes", "realvolume", "volumebase", "turnovervolume", "shares",
    ),
    "price": ("price", "last", "lastprice", "ltp", "tradeprice", "p", "px"),
    "size": (
        "size", "qty", "quantity", "volume", "vol", "amount", "lastsize", "tradesize",
        "lasttradedquantity", "ltq", "q", "v", "sz", "shares", "lastqty",
    ),
}  # fmt: skip
"""The first that is there is meant."""

_TIMES = (
    "ts", "tsevent", "windowstart", "datetime", "timestamp", "opentime", "starttime", "start",
    "bartime", "barstart", "begin", "timestart", "timeperiodstart", "intervalstart", "gmttime",
    "utctime", "timeutc", "timegmt", "timestamputc", "datetimeutc", "datetimegmt", "utc",
    "localtime", "dateandtime", "date/time", "datetimestamp", "tradetime", "transacttime", "unix",
    "unixtime", "unixtimestamp", "epoch", "siptimestamp", "participanttimestamp",
    "exchangetimestamp", "date", "time", "t", "",
)  # fmt: skip
_DAYS = (
    "date",
    "day",
    "tradedate",
    "tradingdate",
    "dtyyyymmdd",
    "yyyymmdd",
    "quotedate",
    "localdate",
)
_TIMES_OF_DAY = ("time", "timestamp", "hhmmss", "hhmm", "tradetime", "timeofday", "localtime")

_UNIVERSAL = re.compile(r"utc|gmt", re.IGNORECASE)
_IN_BRACKETS = re.compile(r"[(\[]\s*([A-Za-z]+(?:/[A-Za-z_]+)?)\s*[)\]]")


def folded(name: str) -> str:
    """A column's name without what vendors write in different ways."""
    return re.sub(r"[\s_.<>()\[\]#*\"'-]+", "", name).lower()


def recognised(names: Sequence[str]) -> int:
    """How many of some names are those of columns that openbell may read."""
    known = {*_TIMES, *_DAYS, *_TIMES_OF_DAY, *(a for names in _ALIASES.values() for a in names)}
    return sum(_bare(name) in known - {""} for name in names)


def aliases_of(ours: str) -> tuple[str, ...]:
    """Names, folded, under which vendors have one of our columns."""
    return _ALIASES[ours]


def column_of(ours: str, existing: Sequence[str]) -> str | None:
    """The column that one of ours is, by an alias; None where there is none.

    Of several that have one name, such as `Volume BTC` and `Volume USDT`, it is the first.
    """
    by_name: dict[str, str] = {}
    for name in existing:
        by_name.setdefault(folded(name), name)
    for alias in _ALIASES.get(ours, ()):
        if alias in by_name:
            return by_name[alias]
    if ours == "volume":
        return next((name for name in existing if re.match(r"(?i)volume[ _(]", name)), None)
    return None


def written_as(name: str, existing: Sequence[str]) -> str | None:
    """The one column that has a name but for case, blanks and brackets; None: none, or several."""
    same = [theirs for theirs in existing if folded(theirs) == folded(name)]
    return same[0] if len(same) == 1 else None


def time_columns(
    existing: Sequence[str], contents: Mapping[str, Content] | None = None
) -> tuple[str, ...]:
    """The column that holds the times, or the two of date and time of day; empty: not known.

    Where the contents are known they decide: an instant goes before a wall time without a zone,
    and a date alone needs a time of day beside it.
    """
    by_name: dict[str, str] = {}
    for name in existing:
        by_name.setdefault(_bare(name), name)
    named = [by_name[alias] for alias in _TIMES if alias in by_name]
    day = next((by_name[alias] for alias in _DAYS if alias in by_name), None)
    of_day = next((by_name[a] for a in _TIMES_OF_DAY if a in by_name and by_name[a] != day), None)
    if contents is None:
        if day is not None and of_day is not None:
            return (day, of_day)
        return tuple(named[:1])
    moments = [name for name in named if contents.get(name) in _MOMENTS]
    moments.sort(key=lambda name: contents[name] == "datetime")  # stable
    if moments:
        return tuple(moments[:1])
    days = [n for n in by_name.values() if contents.get(n) == "date"]
    clocks = [n for n in by_name.values() if contents.get(n) == "time"]
    if day in days and of_day is not None and contents.get(of_day) in ("time", "number"):
        return (str(day), of_day)
    if len(days) == 1 and len(clocks) == 1:
        return (days[0], clocks[0])
    unnamed = [n for n in by_name.values() if contents.get(n) in ("zoned", "datetime")]
    if len(unnamed) == 1:
        return tuple(unnamed)
    if len(days) == 1:
        return (days[0],)
    numbers = [name for name in named if contents.get(name) in ("number", "text", "empty")]
    return tuple(numbers[:1])


def _bare(name: str) -> str:
    """A name without what stands in brackets behind it: `Time (EET)`."""
    return folded(_IN_BRACKETS.sub("", name) if folded(_IN_BRACKETS.sub("", name)) else name)


def zone_of(names: Sequence[str]) -> str | None:
    """The zone that the names of time columns tell: `Gmt time`, `Time (EET)`; None: they don't."""
    for name in names:
        found = _IN_BRACKETS.search(name)
        if found is not None and _is_zone(found[1]):
            return "UTC" if _UNIVERSAL.fullmatch(found[1]) else found[1]
        if re.search(r"(?i)(?<![a-z])(utc|gmt)(?![a-z])", name.replace("_", " ")):
            return "UTC"
    return None


def _is_zone(name: str) -> bool:
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        return False
    return "/" in name or name.upper() in ("UTC", "GMT", "EET", "CET", "WET", "MET")
