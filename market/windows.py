"""Session windows: from configured times to instants of one trading day."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, time
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from openbell.market.auctions import WORDS, named_spans
from openbell.market.days import (
    MINUTE_NS,
    ONE_DAY,
    SECOND_NS,
    AuctionKind,
    MarketTime,
    Nanoseconds,
    TradingDay,
    dates_between,
    local_instant,
)
from openbell.market.products import edges

Closed = Literal["both", "left"]

_WALL = re.compile(r"(\d{2}):(\d{2})")
_RELATIVE = re.compile(r"(open|close)(?:([+-])(\d+)([smh]))?")
_UNIT_NS = {"s": SECOND_NS, "m": MINUTE_NS, "h": 60 * MINUTE_NS}


@dataclass(frozen=True, slots=True)
class SessionSpec:
    """A named window as configured."""

    name: str
    start: str
    """Local wall time "09:30", or relative to the day: "open+15m", "close-30m"."""
    end: str
    closed: Closed = "both"
    """`both`: the end minute belongs to the window; `left`: it doesn't."""
    timezone: str | None = None
    """IANA zone of wall times; None: the trading day's."""
    first_bar: bool = field(default=False, metadata={"written": "if set"})
    """Whether somebody asks for the open and close of its first bar."""
    auction: AuctionKind | None = field(default=None, metadata={"written": "if set"})
    """The auction that is the session, in place of a start and an end, which are its name then."""


@dataclass(frozen=True, eq=False)
class Window:
    """A session on one trading day, [start_ns, end_ns), cut to the day's hours."""

    start_ns: MarketTime
    end_ns: MarketTime
    slots: Nanoseconds
    """(k,) starts of the bars (of the minutes, for ticks) that the window touches. One that it
    holds in part is never seen inside, so that the session is not complete."""
    truncated: str | None = None
    """How the day's hours cut it, if they did."""


@dataclass(frozen=True, slots=True)
class NoWindow:
    """The session can't take place on this day."""

    reason: str


def resolve(day: TradingDay, text: str, timezone: str | None = None) -> int:
    """Instant (ns UTC) that a single configured time means on a trading day.

    A wall time is one of the day's date; where the day opens on the evening before (or closes
    after midnight), the neighbouring date is taken when only that lies inside the hours.

    Parameters
    ----------
    timezone : str, optional
        IANA zone of a wall time; None: the day's.

    Raises
    ------
    ValueError
        If the text is neither "HH:MM" nor "open+15m" or "close-30m".
    """
    day, time_of_day = day.plain, _parsed(text)
    if isinstance(time_of_day, int):
        return time_of_day + _edge(day, text)
    places = _places(day, time_of_day, timezone or day.tz)
    return next((p for p in places if day.open_ns <= p <= day.close_ns), places[0])


def session_span(day: TradingDay, spec: SessionSpec) -> tuple[int, int]:
    """Start and exclusive end (ns UTC) of a session as configured, not yet cut to the hours.

    A wall time stands for that time on one of the dates that the hours touch: as a start for one
    from the open on and before the close, as an end for one after the open and up to the close.
    So 17:00, on a day that opens and closes then, is the open as a start and the close as an end.
    An end outside of the hours comes after its start, a start outside before its end. The end may
    lie before the start, where the day doesn't hold them in this order. An auction that the day does
    not have is an empty span at its open, or its close.
    """
    if spec.auction is not None:
        return _auction_span(day, spec.auction)
    day = day.plain
    start, end = _parsed(spec.start), _parsed(spec.end)
    tz = spec.timezone or day.tz
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    if isinstance(start, int):
        start_ns: int | None = start + _edge(day, spec.start)
    else:
        starts = _places(day, start, tz)
        start_ns = _first(starts, [(s.open_ns, s.close_ns - 1) for s in day.segments])
    if isinstance(end, int):
        end_ns: int | None = end + _edge(day, spec.end)
    else:
        ends = _places(day, end, tz)
        end_ns = _first(ends, [(s.open_ns + 1, s.close_ns) for s in day.segments])
        if end_ns is None and spec.closed == "both" and day.open_ns in ends:
            end_ns = day.open_ns  # the day's first minute is the session's last
    if start_ns is None:
        start_ns = max((p for p in starts if end_ns is not None and p <= end_ns), default=starts[0])
    if end_ns is None:
        end_ns = min((p for p in ends if p >= start_ns), default=ends[0])
    return start_ns, end_ns + (MINUTE_NS if spec.closed == "both" else 0)


def _auction_span(day: TradingDay, kind: AuctionKind) -> tuple[int, int]:
    spans = named_spans(day, kind)
    if not spans:
        edge = day.open_ns if kind == "auction_open" else day.close_ns
        return edge, edge
    return min(of.open_ns for of in spans), max(of.close_ns for of in spans)


def _edge(day: TradingDay, text: str) -> int:
    """The open or the close that a time is relative to: that of the run's own segment."""
    return day.main[0].open_ns if text.startswith("open") else day.main[-1].close_ns


def _parsed(text: str) -> time | int:
    """A wall time, or how far from the open or the close (ns)."""
    if match := _RELATIVE.fullmatch(text):
        if match[2] is None:
            return 0
        offset = int(match[3]) * _UNIT_NS[match[4]]
        return offset if match[2] == "+" else -offset
    if not (match := _WALL.fullmatch(text)):
        raise ValueError(f'"{text}" is not a time; write "09:30", "open+15m" or "close-30m"')
    return time(int(match[1]), int(match[2]))


def _places(day: TradingDay, wall: time, tz: str) -> tuple[int, ...]:
    """Instants of a wall time on the day's date and on the others that its hours touch.

    The day's own date first, then the nearest.
    """
    touched = day.local_dates if tz == day.tz else dates_between(day.open_ns, day.close_ns + 1, tz)
    dates = sorted({day.date, *touched}, key=lambda d: (abs((d - day.date).days), d))
    places = [local_instant(d, wall, tz) for d in dates]
    if day.close_ns == local_instant(dates[-1] + ONE_DAY, wall, tz):
        places.append(day.close_ns)  # midnight, with which the last of them ends
    return tuple(places)


def _first(places: tuple[int, ...], spans: list[tuple[int, int]]) -> int | None:
    """The first of the instants inside one of the spans, else inside the whole; None: outside."""
    whole = [(spans[0][0], spans[-1][1])]
    for inside in (spans, whole):
        for place in places:
            if any(first <= place <= last for first, last in inside):
                return place
    return None


@lru_cache(maxsize=4)
def order_of_day(day: TradingDay, sessions: tuple[SessionSpec, ...]) -> dict[str, int]:
    """Each session's place in a day: by the start of its window, then as configured."""
    starts = [session_span(day, session)[0] for session in sessions]
    ordered = sorted(range(len(sessions)), key=lambda place: (starts[place], place))
    return {sessions[position].name: place for place, position in enumerate(ordered)}


def session_window(day: TradingDay, spec: SessionSpec, slot_ns: int) -> Window | NoWindow:
    """Where a session lies on a trading day.

    Parameters
    ----------
    slot_ns : int
        Bar length, or a minute for ticks: what `slots` counts.
    """
    start, end = session_span(day, spec)
    if spec.auction is not None:
        return _auction_window(day, spec.auction, start, end, slot_ns)
    day = day.plain
    pieces = [
        (max(start, s.open_ns), min(end, s.close_ns))
        for s in day.segments
        if max(start, s.open_ns) < min(end, s.close_ns)
    ]
    hours = hours_in_words(day)
    told = f"{spec.start}–{spec.end}" + (f" {spec.timezone}" if spec.timezone else "")
    if end <= start:
        return NoWindow(
            f"{told} is empty on {day.date}: it ends before it starts in its hours, {hours}"
        )
    if not pieces:
        return NoWindow(f"{told} lies outside the hours of {day.date}, {hours}")
    first, last = pieces[0][0], pieces[-1][1]
    starts, ends = day.grid(slot_ns)
    if not ((starts >= first) & (ends <= last)).any():
        return NoWindow(f"{told} holds no whole bar on {day.date}")
    cut_end = last < end and not spec.end.startswith("close")
    truncated = (
        f"cut to {_clock(day, first)}–{_clock(day, last)} by the hours of {day.date}, {hours}"
        if first > start or cut_end
        else None
    )
    return Window(
        MarketTime(first), MarketTime(last), starts[(starts < last) & (ends > first)], truncated
    )


def _auction_window(
    day: TradingDay, kind: AuctionKind, first: int, last: int, slot_ns: int
) -> Window | NoWindow:
    if first == last:
        why = day.reason or (day.kind if day.kind != "regular" else "")
        said = f"no {WORDS[kind]} is known of {day.date}"
        return NoWindow(f"{said}, {hours_in_words(day)}{f' ({why})' if why else ''}")
    starts, ends = day.grid(slot_ns)
    if not ((starts >= first) & (ends <= last)).any():
        return NoWindow(f"the {WORDS[kind]} holds no whole bar on {day.date}")
    slots = starts[(starts < last) & (ends > first)]
    return Window(MarketTime(first), MarketTime(last), slots)


def hours_in_words(day: TradingDay) -> str:
    """`09:30–12:00, 13:00–16:00`, local; of continuous trading."""
    spans = day.plain.segments
    return ", ".join(f"{_clock(day, s.open_ns)}–{_clock(day, s.close_ns)}" for s in spans)


def _clock(day: TradingDay, instant_ns: int) -> str:
    return f"{datetime.fromtimestamp(instant_ns // SECOND_NS, ZoneInfo(day.tz)):%H:%M}"


def boundaries(
    day: TradingDay,
    windows: list[Window],
    step: Literal["day", "boundary", "bar"],
    slot_ns: int,
    scans: Collection[int] = (),
) -> tuple[MarketTime, ...]:
    """Instants after the open that no step may cross, ascending; the last is the close.

    Parameters
    ----------
    scans : collection of int
        Instants (ns UTC) at which somebody looks at the day so far.
    """
    if step == "day":
        return tuple(MarketTime(t) for t in sorted({*scans, day.close_ns}))
    opens, closes = edges(day)
    instants = {*scans} | opens | closes
    for window in windows:
        instants |= {window.start_ns, window.end_ns}
    if step == "bar":
        instants |= set(np.concatenate(day.grid(slot_ns)).tolist())
    return tuple(sorted(MarketTime(t) for t in instants if day.open_ns < t <= day.close_ns))


def holds(
    day: TradingDay, windows: list[Window], scans: Collection[int] = ()
) -> tuple[MarketTime, ...]:
    """The boundaries at which something is over, or looked at: rows that belong after one wait.

    Where symbols have hours of their own, some of them are over before the day is.
    """
    over = edges(day)[1] | {window.end_ns for window in windows} | {*scans}
    return tuple(MarketTime(instant) for instant in sorted(over))
