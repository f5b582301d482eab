"""Trading days of an exchange: what the calendar libraries say, and what is laid over it.

Three layers, the later wins: the library (exchange_calendars or pandas_market_calendars), the
overlay bundled for NSE (`overlays/nse.yaml`), the user's `calendar:` keys. Each day says which layer
its hours come from, and why. pandas and the libraries take most of a second to import, so that is
done by `open_calendar`, not by importing this module.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from difflib import get_close_matches
from importlib import resources
from importlib.metadata import version
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from openbell.errors import CalendarError
from openbell.market.days import (
    DAY_NS,
    ONE_DAY,
    SECOND_NS,
    Nanoseconds,
    Segment,
    TradingDay,
    local_instant,
)

__all__ = [
    "SEGMENTS",
    "Calendar",
    "Explanation",
    "coverage",
    "open_calendar",
    "overlay_version",
    "timezone",
]

SEGMENTS = ("equity", "equity_fno", "index", "futures")
"""Products whose hours may differ; they do at NSE, since 2026-08-03."""

Hours = tuple[tuple[time, time], ...]
"""Open and close of each segment in local time; a close at 00:00 is the midnight after."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a calendar says of one date, and on whose word."""

    date: date
    day: TradingDay | None
    """None when the exchange is closed."""
    layer: str
    """`exchange_calendars XNYS`, `overlay nse.yaml`, `config`, …"""
    reason: str
    """Why it is closed (`weekend`, `holiday (…)`, `closure: …`) or has unusual hours, else empty."""


Dates = dict[date, Explanation]
"""One entry for every date of a span, in order."""


class Calendar:
    """The trading days of one exchange and product in [first, last]; made by `open_calendar`."""

    def __init__(
        self,
        exchange: str,
        library: _Library,
        rules: Sequence[_Rules],
        first: date,
        last: date,
        overlay: str,
    ) -> None:
        self.exchange = exchange
        """The name as the user gave it."""
        self.tz = library.tz
        """IANA name of the exchange's time zone."""
        self.first = first
        self.last = last
        self.overlay = overlay
        """`overlay_version()` of the overlay that was laid over the library, or empty."""
        self._library = library
        self._rules = rules
        self._dates = self._build(first, last)
        self._since = first  # `before` moves it back
        self._days = _open_days(self._dates)

    def days(self, first: date | None = None, last: date | None = None) -> tuple[TradingDay, ...]:
        """The trading days in [first, last], which must lie inside the calendar's own range.

        Raises
        ------
        CalendarError
            If the calendar was not opened for one of the dates.
        """
        first = self.first if first is None else self._inside(first)
        last = self.last if last is None else self._inside(last)
        start = bisect_left(self._days, first, key=_date_of)
        return self._days[start : bisect_right(self._days, last, key=_date_of)]

    def day(self, d: date) -> TradingDay | None:
        """The trading day of a date, or None when the exchange is closed."""
        return self.explain(d).day

    def explain(self, d: date) -> Explanation:
        """What holds on a date, open or closed: the layer that says so, and the reason."""
        return self._dates[self._inside(d)]

    def before(self, d: date, n: int) -> tuple[TradingDay, ...]:
        """The n trading days before a date, oldest first; they may lie before the calendar's range.

        Raises
        ------
        CalendarError
            If the library's data does not go back that far.
        """
        if d > self.last + ONE_DAY:
            self._inside(d - ONE_DAY)
        while (missing := n - bisect_left(self._days, d, key=_date_of)) > 0:
            if self._since <= self._library.first:
                raise CalendarError(
                    f"{self.exchange}: {n} trading days before {d} are wanted, but "
                    f"{self._library.source} goes back to {self._library.first}, "
                    f"which leaves {n - missing}; ask for fewer, or start later"
                )
            # Seven dates hold five days or fewer; the two weeks are for holidays.
            reach = timedelta(days=missing * 8 // 5 + 14)
            since = max(self._library.first, min(self._since, d) - reach)
            earlier = self._build(since, self._since - ONE_DAY)
            self._days = _open_days(earlier) + self._days
            self._since = since
        end = bisect_left(self._days, d, key=_date_of)
        return self._days[end - n : end]

    def _inside(self, d: date) -> date:
        if not self.first <= d <= self.last:
            raise CalendarError(
                f"{self.exchange}: the calendar was opened for {self.first} to {self.last}, "
                f"so it can't tell about {d}; open it for a range that holds the date"
            )
        return d

    def _build(self, first: date, last: date) -> Dates:
        dates = self._library.build(first, last)
        for rules in self._rules:
            rules.lay_over(dates, self.exchange, self.tz)
        return dates


def timezone(exchange: str) -> str:
    """IANA name of an exchange's time zone; takes no time, as no date is worked out.

    Raises
    ------
    CalendarError
        If the exchange is unknown.
    """
    return _open_library(exchange).tz


def open_calendar(
    exchange: str,
    first: date,
    last: date,
    *,
    segment: str = "equity",
    special_sessions: Mapping[date, Sequence[tuple[time, time]]] = {},
    closures: Collection[date] = (),
    early_closes: Mapping[date, time] = {},
) -> Calendar:
    """Calendar of an exchange for the dates [first, last].

    The overlay is read anew by each call, so opening a calendar once a day picks up its changes.

    Parameters
    ----------
    exchange : str
        A MIC, a name of exchange_calendars or pandas_market_calendars, or `24/7` (the UTC date).
    segment : str
        One of `SEGMENTS`.
    special_sessions, closures, early_closes
        The user's `calendar:` keys, in the exchange's local time: segments that replace a date's
        hours or open it, dates that are closed, and closes that cut a day short.

    Raises
    ------
    CalendarError
        If the exchange or segment is unknown, its library doesn't cover the dates, or a key
        can't be used.
    """
    if segment not in SEGMENTS:
        raise CalendarError(
            f'segment "{segment}" is unknown{_nearest(segment, SEGMENTS)}; '
            f"use one of {', '.join(SEGMENTS)}"
        )
    if first > last:
        raise CalendarError(f"{exchange}: the range {first} to {last} ends before it starts")
    library = _open_library(exchange)
    for d in (first, last):
        if not library.first <= d <= library.last:
            raise CalendarError(
                f"{exchange}: no calendar for {d}: {library.source} covers {library.first} to "
                f"{library.last}; choose dates inside, or upgrade the library"
            )
    rules = [_config_rules(special_sessions, closures, early_closes)]
    overlay = ""
    if exchange in _NSE:
        text = _overlay_text()
        overlay = _digest(text)
        rules.insert(0, _overlay_rules(text, segment))
    return Calendar(exchange, library, rules, first, last, overlay)


def coverage(exchange: str) -> tuple[date, date]:
    """First and last date for which `open_calendar` can answer for an exchange."""
    library = _open_library(exchange)
    return library.first, library.last


def overlay_version() -> str:
    """Digest of the bundled overlay as it is on disk: 16 hex digits."""
    return _digest(_overlay_text())


def _date_of(day: TradingDay) -> date:
    return day.date


def _open_days(dates: Dates) -> tuple[TradingDay, ...]:
    return tuple(entry.day for entry in dates.values() if entry.day is not None)


def _span(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _nearest(name: str, known: Iterable[str]) -> str:
    by_folded = {k.casefold(): k for k in known}
    found = get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)
    return f" (nearest: {', '.join(by_folded[f] for f in found)})" if found else ""


# ---- layers over the library ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Session:
    hours: Hours
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Rules:
    """One layer over the library: what it says about single dates, and regular hours by era."""

    layer: str
    sessions: dict[date, _Session]
    closures: dict[date, str]
    early_closes: dict[date, time] = field(default_factory=dict)
    eras: tuple[tuple[date, Hours, str], ...] = ()
    """(from, hours, reason), oldest first."""

    def lay_over(self, dates: Dates, exchange: str, tz: str) -> None:
        """Replaces the entries that this layer knows better."""
        for since, hours, reason in self.eras:
            for d, entry in dates.items():
                if d >= since and entry.day is not None and entry.day.kind == "regular":
                    segments = _segments(hours, d, tz)
                    if segments != entry.day.segments:
                        dates[d] = self._open(d, tz, segments, "regular", reason)
        for d, session in self.sessions.items():
            if d in dates:
                segments = _segments(session.hours, d, tz)
                dates[d] = self._open(d, tz, segments, session.kind, session.reason)
        for d, reason in self.closures.items():
            if d in dates:
                dates[d] = Explanation(d, None, self.layer, f"closure: {reason}")
        for d, close in self.early_closes.items():
            if d in dates:
                segments = self._cut(dates[d], close, exchange, tz)
                dates[d] = self._open(d, tz, segments, "early_close", "calendar.early_closes")

    def _open(
        self, d: date, tz: str, segments: tuple[Segment, ...], kind: str, reason: str
    ) -> Explanation:
        return Explanation(
            d, TradingDay(d, tz, segments, kind, self.layer, reason), self.layer, reason
        )

    def _cut(self, entry: Explanation, close: time, exchange: str, tz: str) -> tuple[Segment, ...]:
        where = f"calendar.early_closes: {entry.date} {close:%H:%M}"
        if entry.day is None:
            raise CalendarError(
                f"{where}: {exchange} is closed that day ({entry.reason}); "
                "remove the entry, or give the hours in calendar.special_sessions"
            )
        close_ns = local_instant(entry.date, close, tz)
        if not entry.day.open_ns < close_ns < entry.day.close_ns:
            at = [_wall(ns, tz) for ns in (entry.day.open_ns, entry.day.close_ns)]
            raise CalendarError(
                f"{where}: {exchange} trades {at[0]} to {at[1]} that day; give a time between"
            )
        return tuple(
            replace(s, close_ns=min(s.close_ns, close_ns))
            for s in entry.day.segments
            if s.open_ns < close_ns
        )


def _segments(hours: Hours, d: date, tz: str) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            local_instant(d, opens, tz),
            local_instant(d, closes, tz)
            if closes > time()
            else local_instant(d + ONE_DAY, closes, tz),
        )
        for opens, closes in hours
    )


def _wall(instant_ns: int, tz: str) -> str:
    moment = np.datetime64(instant_ns, "ns").astype("datetime64[s]").item()
    return f"{moment.replace(tzinfo=ZoneInfo('UTC')).astimezone(ZoneInfo(tz)):%H:%M}"


def _config_rules(
    special_sessions: Mapping[date, Sequence[tuple[time, time]]],
    closures: Collection[date],
    early_closes: Mapping[date, time],
) -> _Rules:
    keys = {
        "calendar.special_sessions": set(special_sessions),
        "calendar.closures": set(closures),
        "calendar.early_closes": set(early_closes),
    }
    named: dict[date, str] = {}
    for key, dates in keys.items():
        for d in dates:
            if (other := named.setdefault(d, key)) != key:
                raise CalendarError(f"{d} stands in {other} and in {key}; keep it in one of them")
    return _Rules(
        layer="config",
        sessions={
            d: _Session(
                _checked(hours, f"calendar.special_sessions: {d}"),
                "special",
                "calendar.special_sessions",
            )
            for d, hours in special_sessions.items()
        },
        closures=dict.fromkeys(closures, "calendar.closures"),
        early_closes=dict(early_closes),
    )


def _checked(hours: Sequence[tuple[time, time]], where: str) -> Hours:
    """The hours, once they are known to be in order and not to overlap."""
    if not hours:
        raise CalendarError(f"{where} has no hours; give an open and a close, or use closures")
    previous = time()
    for number, (opens, closes) in enumerate(hours):
        at_midnight = closes == time() and number == len(hours) - 1
        if opens < previous or not (opens < closes or at_midnight):
            raise CalendarError(
                f"{where}: {opens:%H:%M} to {closes:%H:%M} is out of order; each segment must open "
                "before it closes, and after the one before has closed"
            )
        previous = closes
    return tuple((opens, closes) for opens, closes in hours)


# ---- the bundled overlay --------------------------------------------------------------------

_NSE = ("XNSE", "NSE")
_OVERLAY = "nse.yaml"


def _overlay_text() -> bytes:
    return (resources.files("openbell.market") / "overlays" / _OVERLAY).read_bytes()


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _overlay_rules(text: bytes, segment: str) -> _Rules:
    import yaml

    # The C loader is eight times faster (0.7 ms), and not in every build of PyYAML.
    entries = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return _Rules(
        layer=f"overlay {_OVERLAY}",
        sessions={
            entry["date"]: _Session(
                _checked([_hours(span) for span in entry["hours"]], f"{_OVERLAY}: {entry['date']}"),
                entry.get("kind", "special"),
                entry["reason"],
            )
            for entry in entries["sessions"]
        },
        closures={entry["date"]: entry["reason"] for entry in entries["closures"]},
        eras=tuple(
            (
                era["from"],
                (_hours(era[segment]),),
                f"hours of {segment} since {era['from']}: {era['reason']}",
            )
            for era in entries["hours"]
        ),
    )


def _hours(text: str) -> tuple[time, time]:
    opens, closes = text.split("-")
    return time.fromisoformat(opens), time.fromisoformat(closes)


# ---- the libraries --------------------------------------------------------------------------

_REACH = date(1900, 1, 1), date(2200, 12, 31)
"""pandas' holiday rules end with the year 2200, and its nanoseconds soon after."""

_MARGIN = timedelta(days=10)
"""exchange_calendars refuses a span of one date; observed holidays are found from nearby ones."""


@dataclass(frozen=True)
class _Library:
    """One library's calendar of one exchange, not yet built for any date."""

    source: str
    """Package and version, for messages."""
    tz: str
    first: date
    last: date
    """What the library's data covers."""
    build: Callable[[date, date], Dates]


def _open_library(exchange: str) -> _Library:
    if exchange == "24/7":
        return _Library("the calendar 24/7", "UTC", *_REACH, _build_always_open)
    if exchange in _NSE:
        found = _open_pandas_market_calendars("NSE")
        return replace(found, tz="Asia/Kolkata") if found else _unknown(exchange)
    return (
        _open_exchange_calendars(exchange)
        or _open_pandas_market_calendars(exchange)
        or _unknown(exchange)
    )


def _unknown(exchange: str) -> _Library:
    import exchange_calendars
    import pandas_market_calendars

    known = {
        *_NSE,
        *exchange_calendars.get_calendar_names(),
        *pandas_market_calendars.get_calendar_names(),
    }
    raise CalendarError(
        f'exchange "{exchange}" is unknown{_nearest(exchange, known)}; use a MIC such as XNYS or '
        "XNSE, a name of exchange_calendars or pandas_market_calendars, or 24/7"
    )


def _build_always_open(first: date, last: date) -> Dates:
    midnight = local_instant(first, time(), "UTC")
    dates: Dates = {}
    for n, d in enumerate(_span(first, last)):
        segment = Segment(midnight + n * DAY_NS, midnight + (n + 1) * DAY_NS)
        dates[d] = Explanation(d, TradingDay(d, "UTC", (segment,), layer="24/7"), "24/7", "")
    return dates


def _open_exchange_calendars(name: str) -> _Library | None:
    import exchange_calendars
    from exchange_calendars.calendar_utils import global_calendar_dispatcher

    # The class itself, because `get_calendar` gives built calendars only.
    mic = exchange_calendars.resolve_alias(name) if name in _names(exchange_calendars) else name
    factory = global_calendar_dispatcher._calendar_factories.get(mic)
    if factory is None:
        return None
    first, last = factory.bound_min(), factory.bound_max()
    covered_first = _REACH[0] if first is None else first.date()
    covered_last = _REACH[1] if last is None else last.date()
    layer = f"exchange_calendars {mic}"

    def build(first: date, last: date) -> Dates:
        import pandas as pd
        from exchange_calendars.errors import NoSessionsError

        start, end = max(covered_first, first - _MARGIN), min(covered_last, last + _MARGIN)
        shut: dict[date, str] = {}

        def day(self: Any) -> Any:
            # Under pandas 3, days of calendars whose week changes (XBOM, XKRX, XMOS, XTAE) are
            # wrong; a list of closed dates is read alike by every pandas, and faster.
            shut.update(_shut(self, start, end, layer))
            return pd.offsets.CustomBusinessDay(weekmask="1111111", holidays=list(shut))

        try:
            built = type(factory.__name__, (factory,), {"day": property(day)})(start, end)
        except NoSessionsError:
            return _entries(first, last, layer, {}, shut)
        except Exception as error:
            raise _failed(mic, first, last, "exchange_calendars", error) from error
        schedule = built.schedule
        days = _trading_days(
            schedule,
            ("open", "break_start", "break_end", "close"),
            str(built.tz),
            layer,
            _regular(built.open_times, schedule.index, built.open_offset),
            _regular(built.close_times, schedule.index, built.close_offset),
        )
        return _entries(first, last, layer, days, shut)

    source = f"exchange_calendars {version('exchange_calendars')}"
    return _Library(source, str(factory.tz), covered_first, covered_last, build)


def _open_pandas_market_calendars(name: str) -> _Library | None:
    import pandas_market_calendars

    if name not in _names(pandas_market_calendars):
        return None
    calendar: Any = pandas_market_calendars.get_calendar(name)
    tz, layer = str(calendar.tz), f"pandas_market_calendars {name}"
    first, last = _REACH
    if calendar.regular_holidays is None and len(calendar.adhoc_holidays):
        # A list of dates and no rules: outside its years every weekday would look open.
        years = [d.year for d in calendar.adhoc_holidays]
        first, last = date(min(years), 1, 1), date(max(years), 12, 31)

    def build(first: date, last: date) -> Dates:
        try:
            schedule = calendar.schedule(first, last)
            shut = _shut(calendar, first, last, layer)
        except Exception as error:
            raise _failed(name, first, last, "pandas_market_calendars", error) from error
        if schedule.empty:
            return _entries(first, last, layer, {}, shut)
        days = _trading_days(
            schedule,
            ("market_open", "break_start", "break_end", "market_close"),
            tz,
            layer,
            _regular(calendar.get_time("market_open", all_times=True), schedule.index),
            _regular(calendar.get_time("market_close", all_times=True), schedule.index),
        )
        return _entries(first, last, layer, days, shut)

    source = f"pandas_market_calendars {version('pandas_market_calendars')}"
    return _Library(source, tz, first, last, build)


def _names(library: Any) -> set[str]:
    return set(library.get_calendar_names())


def _failed(name: str, first: date, last: date, package: str, error: Exception) -> CalendarError:
    text = " ".join(str(error).split())
    return CalendarError(
        f"{name}: {package} {version(package)} can't give {first} to {last}: {text}; "
        f"choose other dates, or another version of {package} or pandas ({version('pandas')})"
    )


def _shut(calendar: Any, first: date, last: date, layer: str) -> dict[date, str]:
    """Dates that a library's calendar closes, with the reason: week mask, rules, listed dates."""
    import pandas as pd

    dates = np.arange(np.datetime64(first), np.datetime64(last + ONE_DAY))
    working = np.is_busday(dates, weekmask=calendar.weekmask)
    for since, until, weekmask in getattr(calendar, "special_weekmasks", ()):
        inside = np.ones(len(dates), dtype=bool)
        if since is not None:
            inside &= dates >= np.datetime64(since, "D")
        if until is not None:
            inside &= dates <= np.datetime64(until, "D")
        working[inside] = np.is_busday(dates[inside], weekmask=weekmask)
    shut: dict[date, str] = {}
    for listed in calendar.adhoc_holidays:
        shut[pd.Timestamp(listed).date()] = f"holiday ({layer})"
    if calendar.regular_holidays is not None:
        named = calendar.regular_holidays.holidays(
            pd.Timestamp(first), pd.Timestamp(last), return_name=True
        )
        for d, name in zip(named.index, named, strict=True):
            shut[d.date()] = f"holiday ({layer}: {name})" if name else f"holiday ({layer})"
    shut = {d: reason for d, reason in shut.items() if first <= d <= last}
    return shut | dict.fromkeys(dates[~working].tolist(), "weekend")


def _entries(
    first: date, last: date, layer: str, days: dict[date, TradingDay], shut: dict[date, str]
) -> Dates:
    dates: Dates = {}
    for d in _span(first, last):
        if day := days.get(d):
            dates[d] = Explanation(d, day, layer, day.reason)
        else:
            dates[d] = Explanation(d, None, layer, shut.get(d, f"holiday ({layer})"))
    return dates


def _regular(times: Any, index: Any, offset: int = 0) -> Nanoseconds:
    """Regular wall time on each date of an index, as ns after its midnight.

    `times` is what both libraries use: (date from which | None, time[, days later]), oldest first.
    """
    import pandas as pd

    since: list[Any] = []
    wall_ns: list[int] = []
    for start, wall, *later in times:
        since.append(np.datetime64(pd.Timestamp(start or "1677-09-22"), "D"))
        seconds = wall.hour * 3600 + wall.minute * 60 + wall.second
        wall_ns.append(seconds * SECOND_NS + (later[0] if later else offset) * DAY_NS)
    era = np.searchsorted(np.array(since), _day_numbers(index), side="right") - 1
    return np.array(wall_ns, dtype=np.int64)[era]


def _day_numbers(index: Any) -> NDArray[np.datetime64]:
    dates: NDArray[np.datetime64] = index.to_numpy().astype("datetime64[D]")
    return dates


def _trading_days(
    schedule: Any,
    columns: tuple[str, str, str, str],
    tz: str,
    layer: str,
    regular_open: Nanoseconds,
    regular_close: Nanoseconds,
) -> dict[date, TradingDay]:
    """A library's schedule, one row a day, as trading days; its columns may lack the break."""
    import pandas as pd

    def instants(name: str) -> pd.DatetimeIndex:
        # pandas 3 may hold microseconds, where pandas 2 had nanoseconds.
        return pd.DatetimeIndex(schedule[name]).as_unit("ns")

    def as_ns(moments: pd.DatetimeIndex) -> Nanoseconds:
        return np.asarray(moments.asi8, dtype=np.int64)

    opens, closes = instants(columns[0]), instants(columns[3])
    open_ns, close_ns = as_ns(opens), as_ns(closes)
    if columns[1] in schedule:
        pause_ns, resume_ns = as_ns(instants(columns[1])), as_ns(instants(columns[2]))
    else:
        pause_ns = resume_ns = np.full(len(schedule), _NO_TIME)
    dates = _day_numbers(schedule.index)
    midnights = dates.astype("datetime64[ns]").astype(np.int64)
    wall_open = as_ns(opens.tz_convert(tz).tz_localize(None)) - midnights
    wall_close = as_ns(closes.tz_convert(tz).tz_localize(None)) - midnights

    days: dict[date, TradingDay] = {}
    for row in zip(
        dates.tolist(),
        open_ns.tolist(),
        pause_ns.tolist(),
        resume_ns.tolist(),
        close_ns.tolist(),
        wall_open.tolist(),
        wall_close.tolist(),
        regular_open.tolist(),
        regular_close.tolist(),
        strict=True,
    ):
        d, open_at, pause_at, resume_at, close_at, *walls = row
        if _NO_TIME in (open_at, close_at):
            continue
        parts = [(open_at, close_at)]
        if _NO_TIME < pause_at < resume_at:
            parts = [(open_at, min(pause_at, close_at)), (max(resume_at, open_at), close_at)]
        segments = tuple(Segment(start, end) for start, end in parts if start < end)
        kind = _kind(*walls)
        reason = "" if kind == "regular" else f"{kind.replace('_', ' ')} ({layer})"
        if segments:
            days[d] = TradingDay(d, tz, segments, kind, layer, reason)
    return days


_NO_TIME = np.iinfo(np.int64).min
"""NaT as an integer."""


def _kind(opens: int, closes: int, regular_open: int, regular_close: int) -> str:
    """A day's kind from its wall times, and the regular ones of its era."""
    if (opens, closes) == (regular_open, regular_close):
        return "regular"
    apart = opens >= regular_close or closes <= regular_open
    if apart or (opens > regular_open and closes < regular_close):
        return "special"
    if closes < regular_close:
        return "early_close"
    return "late_open" if opens > regular_open else "extended"
