"""Rehearsals told as data: rows, and among them what happens to the process.

`rehearse([bar("09:30", 100.0), KILL, bar("09:31", 101.0), END_DAY])` is a day of two minutes whose
process is killed between them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, time, timedelta
from enum import Enum
from typing import Any

import pyarrow as pa

from openbell.errors import InputError
from openbell.market.days import TradingDay, local_instant
from openbell.runtime.config import Config, config_from
from openbell.runtime.intake.hours import calendar_for
from openbell.testing.rehearsal import Rehearsal

ONE_WINDOW = {
    "exchange": "XNYS",
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
}
"""A configuration for stories that need no other: the first five minutes in New York."""

FIRST = date(2024, 7, 1)
"""Where stories begin, if nothing else is said."""

_DAYS_AT_MOST = 3650


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a story's day; `bar` makes one."""

    at: time
    symbol: str
    open: float
    high: float
    low: float
    close: float
    volume: float


@dataclass(frozen=True, slots=True)
class Late:
    """A bar that arrives when one that follows it in time has arrived already."""

    bar: Bar


LATE = Late


class Mark(Enum):
    """What a story has beside bars."""

    KILL = "kill"
    END_DAY = "end day"


KILL = Mark.KILL
"""The process ends here, as by `kill -9`: while the step is under way that holds the bar before.
Another one begins, from what the store has."""

END_DAY = Mark.END_DAY
"""The trading day is over; what follows is of the exchange's next one."""

Part = Bar | Late | Mark


def bar(
    at: str,
    close: float,
    *,
    open: float | None = None,
    high: float | None = None,
    low: float | None = None,
    volume: float = 1.0,
    symbol: str = "A",
) -> Bar:
    """A bar that starts at a wall time of the exchange, `"09:30"`.

    Left out, `open` is the close, and `high` and `low` are the higher and the lower of both.
    """
    opened = close if open is None else open
    return Bar(
        at=time.fromisoformat(at),
        symbol=symbol,
        open=opened,
        high=max(opened, close) if high is None else high,
        low=min(opened, close) if low is None else low,
        close=close,
        volume=volume,
    )


def rehearse(
    story: Sequence[Part],
    config: Config | Mapping[str, Any] = ONE_WINDOW,
    *,
    start: date = FIRST,
    seed: int | None = None,
) -> Rehearsal:
    """Run a story to its end, on a store in memory.

    Bars reach openbell in the story's order, as rows of a table. One that lies before a bar of its
    day that has arrived already must stand in `LATE`.

    Parameters
    ----------
    config : mapping or Config, optional
        One session, 09:30 to 09:34 in New York, by default. Without `clock.step` every bar is a
        step, so that a process can be killed between any two.
    start : date, optional
        The story begins on the exchange's first trading day from here on.
    seed : int, optional
        As of `Rehearsal`.

    Returns
    -------
    Rehearsal
        One that has run: its `signals()`, `sessions()`, `audit()` and `restarts` tell what came of
        it.

    Raises
    ------
    InputError
        If the story has no bar, or one whose time goes back without being `LATE`, or the other way
        round; the text names it.
    OpenbellError
        What `openbell run` ends with.
    """
    if isinstance(config, Mapping):
        step = {"step": "bar", **config.get("clock", {})}
        config = {**config, "clock": step}
    configured = config_from(config)
    days = _trading_days(configured, start, sum(part is END_DAY for part in story) + 1)
    rows, kills = _told(story, days, configured.data.interval.ns)
    rehearsal = Rehearsal(configured, rows, seed=seed)
    rehearsal.round_trips = False  # each kill is one, and a day has hundreds of steps

    def before(running: Rehearsal) -> None:
        if kills and running.market_ns >= kills[0]:
            kills.pop(0)
            running.restart()

    rehearsal.run(before)
    return rehearsal


def _told(
    story: Sequence[Part], days: Sequence[TradingDay], interval_ns: int
) -> tuple[pa.Table, list[int]]:
    """A story's rows, in its order, and the market times at which its process is killed."""
    rows: list[dict[str, Any]] = []
    kills: list[int] = []
    position, newest, reached = 0, 0, 0
    for place, part in enumerate(story):
        today = days[position]
        if part is KILL:
            kills.append(reached)
        elif part is END_DAY:
            position, newest = position + 1, 0
        else:
            assert isinstance(part, Bar | Late)
            told = part.bar if isinstance(part, Late) else part
            ts = local_instant(today.date, told.at, today.tz)
            if (ts < newest) is not isinstance(part, Late):
                raise InputError(
                    f"story[{place}], {told.at:%H:%M} of {told.symbol} on {today.date}: "
                    + _out_of_place(late=ts < newest)
                )
            newest = max(newest, ts)
            reached = max(reached, newest + interval_ns)
            rows.append({**asdict(told), "at": ts})
    if not rows:
        raise InputError('the story has no bar; begin with one, e.g. bar("09:30", 100.0)')
    times = pa.array([row.pop("at") for row in rows], pa.timestamp("ns", "UTC"))
    return pa.Table.from_pylist(rows).append_column("ts", times), kills


def _out_of_place(*, late: bool) -> str:
    if late:
        return "a later bar has arrived before it; write LATE(bar(…)), or put it in its place"
    return "no later bar has arrived before it; write it without LATE"


def _trading_days(config: Config, start: date, count: int) -> tuple[TradingDay, ...]:
    span = 14 + 2 * count
    calendar = calendar_for(config, start, start + timedelta(days=min(span, _DAYS_AT_MOST)))
    return calendar.days(start, calendar.last)[:count]
