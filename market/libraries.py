"""Trading days as exchange_calendars and pandas_market_calendars tell them.

pandas and the libraries take most of a second to import, so that is done when a calendar is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbell.errors import CalendarError
from openbell.market.days import (
    DAY_NS,
    ONE_DAY,
    SECOND_NS,
    Dates,
    Explanation,
    Nanoseconds,
    Segment,
    TradingDay,
    local_instant,
)
from openbell.market.exchanges import canonical
from openbell.market.library_warnings import known_ones_unseen

NSE = ("XNSE", "NSE")
ROUND_THE_CLOCK = "24/7"

_REACH = date(1900, 1, 1), date(2200, 12, 31)
"""pandas' holiday rules end with the year 2200, and its nanoseconds soon after."""

_MARGIN = timedelta(days=10)
"""exchange_calendars refuses a span of one date; observed holidays are found from nearby ones."""


@dataclass(frozen=True)
class Library:
    """One library's calendar of one exchange, not yet built for any date."""

    name: str
    """Its name in the library, for which an alias may stand."""
    source: str
    """Package and version, for messages."""
    tz: str
    first: date
    last: date
    """What the library's data covers."""
    build: Callable[[date, date], Dates]


def open_library(exchange: str, tz: str | None = None) -> Library:
    """The calendar of an exchange in the library that knows it.

    Parameters
    ----------
    tz : str, optional
        IANA name of the zone that its days are told in; 24/7 has its midnights there.

    Raises
    ------
    CalendarError
        If no library knows the exchange.
    """
    exchange = canonical(exchange)
    if exchange == ROUND_THE_CLOCK:
        return _round_the_clock(tz or "UTC")
    if exchange in NSE:
        found = _open_pandas_market_calendars("NSE")
        found = replace(found, tz="Asia/Kolkata") if found else None
    else:
        found = _open_exchange_calendars(exchange) or _open_pandas_market_calendars(exchange)
    found = found or _unknown(exchange)
    return found if tz in (None, found.tz) else told_in(found, str(tz))


def told_in(library: Library, tz: str) -> Library:
    """A library's calendar with days of another zone; their instants stay."""

    def build(first: date, last: date) -> Dates:
        return {
            d: entry if entry.day is None else replace(entry, day=replace(entry.day, tz=tz))
            for d, entry in library.build(first, last).items()
        }

    return replace(library, tz=tz, build=build)


def _round_the_clock(tz: str) -> Library:
    def build(first: date, last: date) -> Dates:
        dates: Dates = {}
        for d in _span(first, last):
            segment = Segment(local_instant(d, time(), tz), local_instant(d + ONE_DAY, time(), tz))
            day = TradingDay(d, tz, (segment,), layer=ROUND_THE_CLOCK)
            dates[d] = Explanation(d, day, ROUND_THE_CLOCK, "")
        return dates

    return Library(ROUND_THE_CLOCK, "the calendar 24/7", tz, *_REACH, build)


def _unknown(exchange: str) -> Library:
    import exchange_calendars
    import pandas_market_calendars

    known = {
        *NSE,
        *exchange_calendars.get_calendar_names(),
        *pandas_market_calendars.get_calendar_names(),
    }
    raise CalendarError(
        f'exchange "{exchange}" is unknown{nearest(exchange, known)}; use a MIC such as XNYS or '
        "XNSE, a name of exchange_calendars or pandas_market_calendars, or 24/7"
    )


@known_ones_unseen()
def _open_exchange_calendars(name: str) -> Library | None:
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

    @known_ones_unseen()
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
    return Library(mic, source, str(factory.tz), covered_first, covered_last, build)


@known_ones_unseen()
def _open_pandas_market_calendars(name: str) -> Library | None:
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

    @known_ones_unseen()
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
    return Library(name, source, tz, first, last, build)


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
    first: date, last: date, layer: str, open_dates: Dates, shut: dict[date, str]
) -> Dates:
    """One entry for every date."""
    return {
        d: open_dates.get(d) or Explanation(d, None, layer, shut.get(d, f"holiday ({layer})"))
        for d in _span(first, last)
    }


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
) -> Dates:
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

    days: Dates = {}
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
        regular = None if kind == "regular" else (_at(d, walls[2], tz), _at(d, walls[3], tz))
        if segments:
            day = TradingDay(d, tz, segments, kind, layer, reason)
            days[d] = Explanation(d, day, layer, reason, regular)
    return days


def _at(d: date, wall_ns: int, tz: str) -> int:
    """Instant of a wall time that is counted from a date's midnight, also before or after it."""
    days, in_day_ns = divmod(wall_ns, DAY_NS)
    midnight = datetime.combine(d + timedelta(days=days), time())
    wall = (midnight + timedelta(seconds=in_day_ns // SECOND_NS)).time()
    return local_instant(midnight.date(), wall, tz)


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


def _span(first: date, last: date) -> list[date]:
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def nearest(name: str, known: Iterable[str]) -> str:
    """What a name that is unknown may have been meant to be, for a message."""
    by_folded = {k.casefold(): k for k in known}
    found = get_close_matches(name.casefold(), by_folded, n=3, cutoff=0.5)
    return f" (nearest: {', '.join(by_folded[f] for f in found)})" if found else ""
