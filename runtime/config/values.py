"""The small values a configuration is made of, and how each is written.

Every `parse_…` takes what YAML, JSON, the environment or a program gave and returns the value; a
`ValueError` says what to write instead, as the second half of the line that a user sees. `str` of
a value is a form that parses to the same value.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from openbell.market.hours import Eve, RegularHours, Span, parse_breaks, parse_span, written_break
from openbell.market.instruments import Roll
from openbell.market.segments import PRODUCTS

Unit = Literal["ns", "us", "ms", "s", "m", "h", "d"]

UNITS_NS: dict[Unit, int] = {
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
"""Longest first, so that the first that divides a duration writes it shortest."""

SIZES_BYTES = {
    "GiB": 2**30,
    "MiB": 2**20,
    "KiB": 2**10,
    "GB": 10**9,
    "MB": 10**6,
    "kB": 10**3,
    "B": 1,
}
INT64_MAX = 2**63 - 1

NUMBER = r"[0-9]+(?:\.[0-9]+)?"
BARE = re.compile(rf"\s*-?{NUMBER}\s*")
DURATION = re.compile(rf"\s*(-?{NUMBER})\s*({'|'.join(UNITS_NS)})\s*")
SIZE = re.compile(rf"\s*({NUMBER})\s*({'|'.join(SIZES_BYTES)})\s*")
WALL = re.compile(r"([0-9]{2}):([0-9]{2})")
RELATIVE = re.compile(r"(open|close)(?:\s*([+-])\s*([0-9.]+\s*[a-z]+))?")
BUFFER = re.compile(rf"\s*({NUMBER})\s*(%|ticks?|)\s*")
RATE = re.compile(rf"\s*([1-9][0-9]{{0,8}})\s*/\s*({NUMBER})?\s*({'|'.join(UNITS_NS)})\s*")
PERIOD = re.compile(r"[1-9][0-9]{0,4}[dw]")
ROLL = re.compile(r"([0-9]{1,3})\s*d")


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time. Not a number, so that nobody takes its nanoseconds for seconds."""

    ns: int

    @property
    def seconds(self) -> float:
        return self.ns / UNITS_NS["s"]

    def __str__(self) -> str:
        if self.ns == 0:
            return "0s"
        unit = next(unit for unit, ns in UNITS_NS.items() if self.ns % ns == 0)
        return f"{self.ns // UNITS_NS[unit]}{unit}"


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """An amount of memory or disk."""

    bytes: int

    def __str__(self) -> str:
        unit = next(unit for unit, size in SIZES_BYTES.items() if self.bytes % size == 0)
        return f"{self.bytes // SIZES_BYTES[unit]}{unit}" if self.bytes else "0B"


@dataclass(frozen=True, slots=True)
class SessionTime:
    """When a session starts or ends: a wall-clock minute, or so far from the open or the close."""

    anchor: Literal["clock", "open", "close"]
    wall: time = time()
    """Local time of the exchange, where `anchor` is `clock`."""
    offset_ns: int = 0
    """From the open or the close, whole minutes, negative for before."""

    def __str__(self) -> str:
        if self.anchor == "clock":
            return f"{self.wall:%H:%M}"
        if self.offset_ns == 0:
            return self.anchor
        sign = "+" if self.offset_ns > 0 else "-"
        return f"{self.anchor}{sign}{Duration(abs(self.offset_ns))}"


def decimal(number: float) -> str:
    """All digits of a number, without an exponent."""
    return f"{Decimal(repr(number)):f}".removesuffix(".0")


class Composed:
    """A value of more than one part, which says itself how it is written."""

    __slots__ = ()

    def written(self) -> object:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Buffer:
    """How far beyond a level a price has to be."""

    amount: float
    unit: Literal["price", "percent", "ticks"] = "price"
    """`percent` of the level; `ticks` of the symbol's tick."""

    def __str__(self) -> str:
        return decimal(self.amount) + {"price": "", "percent": "%", "ticks": " ticks"}[self.unit]


@dataclass(frozen=True, slots=True)
class Rearm:
    """When a level that was broken may be broken again."""

    inside_bars: int
    """Closes (ticks: prices) in a row back inside the levels that re-arm it; 0: it never is."""
    max: int | None
    """Re-arms at most, a (day, session, symbol, side); None: no limit."""


@dataclass(frozen=True, slots=True)
class Future:
    """A companion that is another contract from time to time."""

    underlying: str
    roll: Roll

    def __str__(self) -> str:
        return f"{{future: {self.underlying}, roll: {self.roll}}}"


@dataclass(frozen=True, slots=True)
class Retest:
    """When prices that come back to a broken level are told of."""

    within_bars: int
    """Of the break, in bars (ticks: minutes); 0: they never are."""
    tolerance: Buffer = Buffer(0.0)
    """How near to the level they have to come."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """When to give up what fails: after so many tries, or after so long; one of both is None."""

    tries: int | None = None
    after: Duration | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in any stretch of that length, at most."""

    count: int
    per: Duration

    def __str__(self) -> str:
        return f"{self.count}/{self.per}"


RETEST_BARS_MAX = 10_000
"""More bars than a day has, whatever they are."""

NEVER = Rearm(inside_bars=0, max=0)
INSIDE = Rearm(inside_bars=1, max=None)
NO_RETEST = Retest(within_bars=0)


def written(value: object) -> object:
    """A value of this module as JSON has it; it parses to the same value."""
    match value:
        case Buffer(amount, "price"):
            return amount
        case Composed():
            return value.written()
        case Future(underlying, roll):
            return {"future": underlying, "roll": str(roll)}
        case Rearm():
            if value in (NEVER, INSIDE):
                return "never" if value == NEVER else "inside"
            most = {} if value.max is None else {"max": value.max}
            return {"inside_bars": value.inside_bars, **most}
        case Retest(bars, tolerance):
            if not bars:
                return "never"
            near = {"tolerance": written(tolerance)} if tolerance.amount else {}
            return {"within_bars": bars, **near}
        case time():
            return f"{value:%H:%M}"
        case Span():
            return str(value)
        case RegularHours():
            return _written_hours(value)
        case tuple() | list():
            return [written(part) for part in value]
        case dict():
            return {str(key): written(part) for key, part in value.items()}
        case datetime():
            return value.isoformat(timespec="minutes")
        case GiveUp(tries, after):
            return tries if after is None else str(after)
        case Duration() | Size() | Rate() | SessionTime() | Buffer() | date() | Path():
            return str(value)
    return value


def is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool)


def parse_duration(
    given: Any, *, bare: Unit | None = None, example: str, least_ns: int = 0, step_ns: int = 1
) -> Duration:
    """A duration: text with a unit, or a number in the unit `bare`, which the key's name implies.

    It is at least `least_ns`, and a multiple of `step_ns` nanoseconds.
    """
    if isinstance(given, Duration):
        return given
    wanted = f'write a number and a unit (ms, s, m, h or d), e.g. "{example}"'
    text = str(given) if isinstance(given, str) or is_number(given) else ""
    if match := DURATION.fullmatch(text):
        number, unit = match[1], match[2]
    elif BARE.fullmatch(text) or is_number(given):
        number, unit = text, bare or ("s" if text.strip() == "0" else "")
    else:
        raise ValueError(wanted)
    if unit == "":
        raise ValueError(f'add the unit (ms, s, m, h or d), e.g. "{example}"')
    try:
        exact = Fraction(number.strip()) * UNITS_NS[unit]  # type: ignore[index]
    except ValueError:  # .inf and .nan, or thousands of digits
        raise ValueError(wanted) from None
    if exact < least_ns:
        raise ValueError("write " + ("0 or more" if least_ns == 0 else f'more than 0, "{example}"'))
    if exact > INT64_MAX:
        raise ValueError(f'write less than 292 years, e.g. "{example}"')
    if exact % step_ns:
        whole = "minutes" if step_ns == UNITS_NS["m"] else "nanoseconds"
        raise ValueError(f'write whole {whole}, e.g. "{example}"')
    return Duration(int(exact))


def parse_give_up(given: Any) -> GiveUp:
    """A number of tries, or a duration."""
    if isinstance(given, GiveUp):
        return given
    text = str(given).strip() if isinstance(given, str) or is_number(given) else ""
    if re.fullmatch("[1-9][0-9]{0,8}", text):
        return GiveUp(tries=int(text))
    if DURATION.fullmatch(text):
        return GiveUp(after=parse_duration(text, example="1h", least_ns=1))
    raise ValueError('write a number of tries, or a duration, e.g. 10 or "1h"')


def parse_rate(given: Any) -> Rate:
    """So many in a stretch: `20/m`, `1/10s`."""
    if isinstance(given, Rate):
        return given
    match = RATE.fullmatch(given) if isinstance(given, str) else None
    if match is None:
        raise ValueError('write how many in which time, e.g. "20/m" or "1/10s"')
    per = parse_duration((match[2] or "1") + match[3], example="20/m", least_ns=1)
    return Rate(int(match[1]), per)


def parse_shift(given: Any) -> Duration:
    """A duration to go on or, with a minus, back: `-7h`."""
    text = given.strip() if isinstance(given, str) else given
    back = isinstance(text, str) and text.startswith("-")
    if isinstance(text, str):
        text = text.lstrip("+-").strip()
    length = parse_duration(text, example="-7h")
    return Duration(-length.ns) if back else length


def parse_size(given: Any) -> Size:
    if isinstance(given, Size):
        return given
    match = SIZE.fullmatch(given) if isinstance(given, str) else None
    if match is None or len(match[1]) > 18:
        raise ValueError('write a number and a unit (B, KiB, MiB or GiB), e.g. "64MiB"')
    exact = Fraction(match[1]) * SIZES_BYTES[match[2]]
    if exact % 1:
        raise ValueError('write whole bytes, e.g. "64MiB"')
    return Size(int(exact))


def parse_wall(given: Any) -> time:
    """A wall-clock minute, "09:30"."""
    if isinstance(given, time) and given.second == given.microsecond == 0 and not given.tzinfo:
        return given
    text = given.strip() if isinstance(given, str) else ""
    if re.fullmatch(r"[0-9]:[0-9]{2}", text):
        raise ValueError(f'write two digits for the hour, "0{text}"')
    if re.fullmatch(r"[0-9:.\s]+[ap]\.?m\.?", text, re.IGNORECASE):
        raise ValueError('write the time in 24 hours without am or pm, e.g. "14:30"')
    if re.fullmatch(r"[0-9]{2}:[0-9]{2}:[0-9.]+", text):
        raise ValueError(f'leave out the seconds, "{text[:5]}"')
    match = WALL.fullmatch(text)
    if match is None:
        raise ValueError('write the time as text, HH:MM, e.g. "09:30"')
    hour, minute = int(match[1]), int(match[2])
    if hour > 23 or minute > 59:
        raise ValueError('write a time of day, "00:00" to "23:59"')
    return time(hour, minute)


def parse_session_time(given: Any) -> SessionTime:
    """A wall-clock minute, or `open+15m`, `close-30m`, `open`, `close`."""
    if isinstance(given, SessionTime):
        return given
    text = given.strip().lower() if isinstance(given, str) else ""
    if not text.startswith(("open", "close")):
        return SessionTime("clock", parse_wall(given))
    match = RELATIVE.fullmatch(text)
    if match is None:
        raise ValueError('write e.g. "open+15m" or "close-30m"')
    offset = 0
    if match[3]:
        length = parse_duration(match[3], example="15m", step_ns=UNITS_NS["m"])
        offset = length.ns if match[2] == "+" else -length.ns
    if match[1] == "open":
        if offset < 0:
            raise ValueError('nothing trades before the open; write e.g. "open+15m"')
        return SessionTime("open", offset_ns=offset)
    if offset > 0:
        raise ValueError('nothing trades after the close; write e.g. "close-30m"')
    return SessionTime("close", offset_ns=offset)


_EVERY = re.compile(r"every\s*(\d+)\s*(m|min|minutes?)")


def parse_scan_time(given: Any) -> str:
    """`pre`, `every 15m`, or a time as a session's start; as it is written at its shortest."""
    text = given.strip().lower() if isinstance(given, str) else ""
    if text == "pre":
        return text
    if text.startswith("every"):
        match = _EVERY.fullmatch(text)
        if match is None or int(match[1]) < 1:
            raise ValueError('write whole minutes, 1 or more, e.g. "every 15m"')
        return f"every {int(match[1])}m"
    if text in ("open", "close"):
        hint = '"pre" or "open+5m"' if text == "open" else '"close-1m"'
        raise ValueError(f"a scan runs inside the day; write e.g. {hint}")
    try:
        return str(parse_session_time(given))
    except ValueError as error:
        raise ValueError(f'{error}; or "pre", or "every 15m"') from None


def parse_buffer(given: Any) -> Buffer:
    if isinstance(given, Buffer):
        return given
    text = str(given) if is_number(given) else given
    if isinstance(text, str) and text.strip().startswith("-"):
        raise ValueError("write 0 or more; a buffer lies beyond the level on either side")
    wanted = 'write a price, a percentage or ticks, e.g. 0.5, "0.1%" or "2 ticks"'
    if is_number(given):
        if not 0 <= given < float("inf"):
            raise ValueError(wanted)
        return Buffer(float(given))
    match = BUFFER.fullmatch(text) if isinstance(text, str) else None
    if match is None or len(match[1]) > 30:
        raise ValueError(wanted)
    units: dict[str, Literal["price", "percent", "ticks"]] = {"": "price", "%": "percent"}
    return Buffer(float(match[1]), units.get(match[2], "ticks"))


def parse_rearm(given: Any) -> Rearm:
    if isinstance(given, Rearm):
        return given
    if given in ("never", "inside"):
        return NEVER if given == "never" else INSIDE
    wanted = "write never, inside or e.g. {inside_bars: 3, max: 2}"
    if not isinstance(given, Mapping) or "inside_bars" not in given:
        raise ValueError(wanted)
    if unknown := sorted(str(key) for key in given if key not in ("inside_bars", "max")):
        raise ValueError(f"{unknown[0]} is not a key of it; {wanted}")
    bars, most = given["inside_bars"], given.get("max")
    for count in (bars, most):
        if count is not None and (type(count) is not int or count < 1):
            raise ValueError("write whole numbers of 1 or more, e.g. {inside_bars: 3, max: 2}")
    if bars is None:
        raise ValueError(wanted)
    return Rearm(bars, most)


def parse_retest(given: Any) -> Retest:
    if isinstance(given, Retest):
        return given
    if given == "never":
        return NO_RETEST
    wanted = 'write never or e.g. {within_bars: 8, tolerance: "0.05%"}'
    if not isinstance(given, Mapping) or given.get("within_bars") is None:
        raise ValueError(wanted)
    if unknown := sorted(str(key) for key in given if key not in ("within_bars", "tolerance")):
        raise ValueError(f"{unknown[0]} is not a key of it; {wanted}")
    bars, tolerance = given["within_bars"], given.get("tolerance")
    if isinstance(bars, str) and re.fullmatch(r"[0-9]{1,9}", bars):
        bars = int(bars)
    if type(bars) is not int or not 1 <= bars <= RETEST_BARS_MAX:
        raise ValueError(
            f"write a whole number from 1 to {RETEST_BARS_MAX}, e.g. {{within_bars: 8}}"
        )
    try:
        return Retest(bars, Buffer(0.0) if tolerance is None else parse_buffer(tolerance))
    except ValueError as error:
        raise ValueError(f"tolerance: {error}") from None


def parse_date(given: Any) -> date:
    if isinstance(given, date) and not isinstance(given, datetime):
        return given
    if isinstance(given, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", given.strip()):
        try:
            return date.fromisoformat(given.strip())
        except ValueError:
            raise ValueError("there is no such day; write a date, e.g. 2024-06-24") from None
    raise ValueError("write a date as YYYY-MM-DD, e.g. 2024-06-24")


def parse_moment(given: Any) -> date | datetime:
    """A date, or a minute of one, local to the exchange: `2024-07-02T12:45`."""
    if isinstance(given, datetime):
        return given
    text = given.strip() if isinstance(given, str) else ""
    day, mark, wall = text.partition("T" if "T" in text else " ")
    if not mark:
        try:
            return parse_date(given)
        except ValueError as error:
            raise ValueError(f"{error}, or 2024-06-24T12:45") from None
    return datetime.combine(parse_date(day), parse_wall(wall))


def first_date(moment: date | datetime | None) -> date | None:
    """The date of a moment."""
    return moment.date() if isinstance(moment, datetime) else moment


_SPAN_WANTED = 'write its hours, e.g. "18:00-19:00" or ["09:15-10:00", "11:30-12:30"]'
_HOURS_WANTED = (
    'write e.g. "04:00-20:00", "18:00-17:00" for a day that opens on the evening before, or '
    '[{from: 2024-01-01, hours: "09:00-15:30", breaks: ["12:00-13:00"]}]'
)


def parse_spans(given: Any) -> tuple[Span, ...]:
    """A date's spans of trading: "09:15-10:00", or a list of such in time order.

    The first may open on the evening before.
    """
    if isinstance(given, tuple) and given and all(isinstance(span, Span) for span in given):
        return given
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list | tuple) or not texts:
        raise ValueError(_SPAN_WANTED)
    spans = [_span(text, _SPAN_WANTED) for text in texts]
    for before, after in pairwise(spans):
        if after.opens < before.closes:
            raise ValueError("write each span's open before its close, spans in time order")
    return tuple(spans)


def parse_regular_hours(given: Any) -> tuple[RegularHours, ...]:
    """The hours of regular days: a span, or what holds from a date on, oldest first."""
    entries = [given] if isinstance(given, str | Mapping) else given
    if not isinstance(entries, list | tuple) or not entries:
        raise ValueError(_HOURS_WANTED)
    parsed = tuple(_regular_hours(entry) for entry in entries)
    for product in {hours.product for hours in parsed}:
        theirs = [hours for hours in parsed if hours.product == product]
        for before, after in pairwise(theirs):
            if after.since is None or (before.since is not None and after.since <= before.since):
                raise ValueError("write each entry's from after the one before")
    return parsed


def _regular_hours(given: Any) -> RegularHours:
    if isinstance(given, RegularHours):
        return given
    entry = {"hours": given} if isinstance(given, str) else given
    if not isinstance(entry, Mapping) or not isinstance(entry.get("hours"), str):
        raise ValueError(_HOURS_WANTED)  # noqa: TRY004 pydantic reports ValueErrors only
    keys = ("from", "hours", "breaks", "evening", "segment")
    if unknown := sorted(str(key) for key in entry if key not in keys):
        raise ValueError(f"{unknown[0]} is not a key of it; use {', '.join(keys)}")
    span = _span(entry["hours"], _HOURS_WANTED)
    texts = entry.get("breaks") or []
    texts = [texts] if isinstance(texts, str) else texts
    try:
        breaks = parse_breaks(span, [str(text) for text in texts])
    except (ValueError, TypeError):
        raise ValueError(
            f"breaks is {json.dumps(texts, default=str)}; write spans inside {entry['hours']}, in "
            'time order, e.g. ["12:00-13:00"]'
        ) from None
    evening = entry.get("evening", "date")
    if evening not in ("date", "trading_day"):
        raise ValueError(f"evening is {json.dumps(evening)}; write date or trading_day")
    since = entry.get("from")
    eve: Eve = "trading_day" if evening == "trading_day" else "date"
    product = entry.get("segment")
    if product is not None and product not in PRODUCTS:
        raise ValueError(
            f"segment is {json.dumps(product, default=str)}; write one of {', '.join(PRODUCTS)}"
        )
    hours = RegularHours(span, breaks, None if since is None else parse_date(since), eve, product)
    if evening == "trading_day" and all(opens < 0 for opens, _ in hours.spans):
        raise ValueError(
            "evening: trading_day needs a break between the evening and the morning, e.g. "
            '{hours: "21:00-15:00", breaks: ["02:30-09:00"], evening: trading_day}'
        )
    return hours


def _span(given: Any, wanted: str) -> Span:
    try:
        return parse_span(given)
    except (ValueError, TypeError):
        raise ValueError(wanted) from None


_PRODUCT_WANTED = (
    f"write one of {', '.join(PRODUCTS)}, or from which date on it is one, "
    "e.g. {2026-08-03: equity_fno}"
)


def parse_product(given: Any) -> str | dict[date, str]:
    """What a symbol is: a product, or one from each date on."""
    if isinstance(given, Mapping) and given:
        found = {parse_date(since): parse_product(of) for since, of in given.items()}
        if all(isinstance(of, str) for of in found.values()):
            return {since: str(found[since]) for since in sorted(found)}
    if not isinstance(given, str) or given not in PRODUCTS:
        raise ValueError(_PRODUCT_WANTED)
    return given


def _written_hours(hours: RegularHours) -> object:
    text = str(hours.span)
    if hours == RegularHours(hours.span):
        return text
    return {
        **({} if hours.since is None else {"from": str(hours.since)}),
        "hours": text,
        **({"breaks": [written_break(pause) for pause in hours.breaks]} if hours.breaks else {}),
        **({} if hours.evening == "date" else {"evening": hours.evening}),
        **({} if hours.product is None else {"segment": hours.product}),
    }


def parse_symbol(given: Any) -> str:
    """A symbol; whole numbers are symbols too (`500325`), truth values are a YAML accident."""
    if isinstance(given, bool | float) or given is None:
        raise ValueError(f"put {json.dumps(given)} in quotes; as it stands it is not text")
    text = str(given).strip() if isinstance(given, str | int) else ""
    if not text:
        raise ValueError('write a symbol, e.g. "AAPL"')
    return text


def parse_companion(given: Any) -> str | Future:
    """A symbol, or `{future: NIFTY, roll: expiry}`: a future that is another one from time to time."""
    if isinstance(given, Future):
        return given
    if not isinstance(given, Mapping):
        return parse_symbol(given)
    if not {"future"} <= given.keys() <= {"future", "roll"}:
        raise ValueError("write a symbol, or {future: NIFTY, roll: expiry}")
    return Future(parse_symbol(given["future"]), _roll(given.get("roll", "expiry")))


def _roll(given: Any) -> Roll:
    if given in (None, "expiry"):
        return Roll()
    match = ROLL.fullmatch(given.strip()) if isinstance(given, str) else None
    if match is None:
        raise ValueError(
            f"roll is {json.dumps(given, default=str)}; write expiry, or how many trading days before "
            'it, e.g. "3d"'
        )
    return Roll(int(match[1]))


def parse_symbols(given: Any) -> Literal["all"] | tuple[str, ...]:
    """`all`, a list of symbols, text with commas between them, or a file that has them."""
    if given == "all":
        return "all"
    if isinstance(given, Mapping):
        return _symbols_in_file(given)
    if isinstance(given, str):
        given = given.split(",")
    if not isinstance(given, list | tuple):
        given = [given] if is_number(given) else None
    if not given:
        raise ValueError('write all, or a list of at least one symbol, e.g. ["AAPL", "MSFT"]')
    symbols = tuple(parse_symbol(symbol) for symbol in given)
    if twice := [symbol for place, symbol in enumerate(symbols) if symbol in symbols[:place]]:
        raise ValueError(f'"{twice[0]}" is listed twice; leave one out')
    return symbols


def _symbols_in_file(given: Mapping[Any, Any]) -> tuple[str, ...]:
    if not {"file"} <= given.keys() <= {"file", "column"}:
        raise ValueError("write {file: instruments.csv}, and column: NAME if it has several")
    column = given.get("column")
    if column is not None and not isinstance(column, str):
        raise ValueError("write the heading of a column of the file as text")
    # Only here: it knows what vendors call columns.
    from openbell.runtime.config.instruments import symbols_in

    return symbols_in(parse_path(given["file"]), column)


def parse_period(given: Any) -> str:
    """How far an indicator looks back, in trading days or weeks: "10d", "52w"."""
    if isinstance(given, str) and PERIOD.fullmatch(given.strip()):
        return given.strip()
    raise ValueError('write days or weeks, e.g. "10d" or "52w"')


def parse_timezone(given: Any) -> str:
    try:
        return ZoneInfo(given).key
    except (KeyError, ValueError, TypeError, OSError, AttributeError):
        raise ValueError('write an IANA time zone, e.g. "Asia/Kolkata" or "UTC"') from None


def parse_path(given: Any) -> Path:
    if not isinstance(given, str | Path) or not str(given).strip():
        raise ValueError("write the path of a file or folder, e.g. minutes/")
    try:
        return Path(given).expanduser()
    except RuntimeError:
        raise ValueError("write the path in full; there is no such home folder") from None


def parse_store_url(given: Any) -> str:
    if isinstance(given, str):
        if given in ("memory", "memory:", "memory://"):
            return "memory://"
        scheme, _, rest = given.partition("://")
        if scheme in ("redis", "rediss", "unix") and rest:
            return given
        if scheme == "sqlite" and rest.startswith("/") and rest.strip("/"):
            return given
        if scheme == "sqlite":
            raise ValueError(
                "write three slashes before a relative path, four before an absolute one, "
                'e.g. "sqlite:///state/openbell.db"'
            )
    raise ValueError('write sqlite:///FILE, redis://… or memory, e.g. "redis://localhost:6379/0"')


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_web_url(text: str) -> bool:
    parts = urlsplit(text)
    return parts.scheme in ("http", "https") and bool(parts.hostname)
