"""Session windows: from configured times to instants of one trading day."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time, timedelta
from functools import lru_cache
from typing import Literal

import numpy as np

from openbell.market.days import MINUTE_NS, SECOND_NS, Nanoseconds, TradingDay, local_instant

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


@dataclass(frozen=True, eq=False)
class Window:
    """A session on one trading day, [start_ns, end_ns), cut to the day's hours."""

    start_ns: int
    end_ns: int
    slots: Nanoseconds
    """(k,) starts of the bars (of the minutes, for ticks) that the window touches. One that it
    holds in part is never seen inside, so that the session is not complete."""
    truncated: str | None = None
    """How the day's hours cut it, if they did."""


@dataclass(frozen=True, slots=True)
class NoWindow:
    """The session can't take place on this day."""

    reason: str


def resolve(day: TradingDay, text: str) -> int:
    """Instant (ns UTC) that a configured time means on a trading day.

    A wall time is one of the day's date; where the day opens on the evening before (or closes
    after midnight), the neighbouring date is taken when only that lies inside the hours.

    Raises
    ------
    ValueError
        If the text is neither "HH:MM" nor "open+15m" or "close-30m".
    """
    if match := _RELATIVE.fullmatch(text):
        base = day.open_ns if match[1] == "open" else day.close_ns
        if match[2] is None:
            return base
        offset = int(match[3]) * _UNIT_NS[match[4]]
        return base + offset if match[2] == "+" else base - offset
    if not (match := _WALL.fullmatch(text)):
        raise ValueError(f'"{text}" is not a time; write "09:30", "open+15m" or "close-30m"')
    wall = time(int(match[1]), int(match[2]))
    own = day.instant(wall)
    if day.open_ns <= own <= day.close_ns:
        return own
    for shift in (-1, 1):
        other = local_instant(day.date + timedelta(days=shift), wall, day.tz)
        if day.open_ns <= other <= day.close_ns:
            return other
    return own


@lru_cache(maxsize=4)
def order_of_day(day: TradingDay, sessions: tuple[SessionSpec, ...]) -> dict[str, int]:
    """Each session's place in a day: by the start of its window, then as configured."""
    starts = [resolve(day, session.start) for session in sessions]
    ordered = sorted(range(len(sessions)), key=lambda place: (starts[place], place))
    return {sessions[position].name: place for place, position in enumerate(ordered)}


def session_window(day: TradingDay, spec: SessionSpec, slot_ns: int) -> Window | NoWindow:
    """Where a session lies on a trading day.

    Parameters
    ----------
    slot_ns : int
        Bar length, or a minute for ticks: what `slots` counts.
    """
    start, end = resolve(day, spec.start), resolve(day, spec.end)
    if spec.closed == "both":
        end += MINUTE_NS
    if end <= start:
        return NoWindow(f"{spec.start}–{spec.end} is empty on {day.date}")
    pieces = [
        (max(start, s.open_ns), min(end, s.close_ns))
        for s in day.segments
        if max(start, s.open_ns) < min(end, s.close_ns)
    ]
    hours = ", ".join(f"{_clock(day, s.open_ns)}–{_clock(day, s.close_ns)}" for s in day.segments)
    if not pieces:
        return NoWindow(f"{spec.start}–{spec.end} lies outside the hours of {day.date}, {hours}")
    first, last = pieces[0][0], pieces[-1][1]
    starts, ends = day.grid(slot_ns)
    if not ((starts >= first) & (ends <= last)).any():
        return NoWindow(f"{spec.start}–{spec.end} holds no whole bar on {day.date}")
    cut_end = last < end and not spec.end.startswith("close")
    truncated = (
        f"cut to {_clock(day, first)}–{_clock(day, last)} by the hours of {day.date}, {hours}"
        if first > start or cut_end
        else None
    )
    return Window(first, last, starts[(starts < last) & (ends > first)], truncated)


def _clock(day: TradingDay, instant_ns: int) -> str:
    seconds = (instant_ns - day.midnight_ns) // SECOND_NS
    # Counted from midnight: right but for the hours after a clock change, where it is asked anew.
    for shift in (0, -3600, 3600):
        hours, minutes = divmod((seconds + shift) // 60, 60)
        if 0 <= hours < 24 and day.instant(time(hours, minutes)) == instant_ns:
            return f"{hours:02d}:{minutes:02d}"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours % 24:02d}:{minutes:02d}"


def boundaries(
    day: TradingDay, windows: list[Window], step: Literal["boundary", "bar"], slot_ns: int
) -> tuple[int, ...]:
    """Instants after the open that no step may cross, ascending; the last is the close."""
    instants = {s.open_ns for s in day.segments} | {s.close_ns for s in day.segments}
    for window in windows:
        instants |= {window.start_ns, window.end_ns}
    if step == "bar":
        instants |= set(np.concatenate(day.grid(slot_ns)).tolist())
    return tuple(sorted(t for t in instants if day.open_ns < t <= day.close_ns))
