"""Owns the day's rows: has them read ahead, and hands them out as far as time is granted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

import numpy as np

from openbell.actors.effects import Actor, Effects, Fetch, Publish
from openbell.market.bars import BarBlock, RowBatch, Rows, joined
from openbell.market.watermark import belongs_before, passed
from openbell.messages.base import Message
from openbell.messages.control import Loaded, LoadFailed, LoadTimedOut
from openbell.messages.data import Batch, Load
from openbell.messages.session import DayCleared, DayOpened
from openbell.messages.time import Grant

NAME = "prefetch"


@dataclass(frozen=True, slots=True)
class Settings:
    lag_ns: int = 0
    """How far the watermark stays behind rows that are handed out as they came."""


@dataclass(frozen=True, slots=True)
class State:
    asked: tuple[date, ...] = ()
    """Days asked for and not yet over."""
    rows: Rows | None = field(default=None, metadata={"snapshot": False})
    """The day's rows; after a restart they are read again."""
    handed_out: int = 0
    """How many of them have been handed out, or wait."""
    waiting: RowBatch | None = None
    """Rows that came, and belong after a boundary that is not crossed yet."""
    holds: tuple[int, ...] = ()
    """Those boundaries, of the whole day."""


def prefetch(settings: Settings = Settings()) -> Actor[State]:
    """Whoever hands out rows: a view a step, and never a row twice."""
    return Actor(
        NAME, State(), partial(update, settings), frozenset({Grant, Load, DayOpened, DayCleared})
    )


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case Load(days=days):
            new = tuple(day for day in days if day.date not in state.asked)
            asked = tuple(day.date for day in days)
            return replace(state, asked=asked), tuple(Fetch(day) for day in new)
        case DayOpened(holds=holds):
            return replace(state, holds=holds), ()
        case DayCleared():
            return State(state.asked), ()
        case Grant() as grant:
            for entered in grant.inputs:
                if isinstance(entered, Loaded | LoadTimedOut):
                    if entered.date != (state.asked or (entered.date,))[0]:
                        continue  # of a day that is over, come late
                    state = replace(state, rows=entered.data.rows, handed_out=0, waiting=None)
                elif isinstance(entered, LoadFailed):
                    left = tuple(day for day in state.asked if day != entered.date)
                    state = replace(state, asked=left)
            if state.rows is None or grant.until_ns <= grant.from_ns:
                return state, ()
            if isinstance(state.rows, BarBlock) or state.rows.by_time:
                return _handed_out(state, state.rows, grant)
            return _handed_out_as_they_came(settings, state, state.rows, grant)
        case _:
            raise ValueError(f"prefetch: unexpected {message!r}")


def _handed_out(state: State, rows: Rows, grant: Grant) -> tuple[State, Effects]:
    # A bar is known at its end; a tick at a boundary belongs to the step after it.
    stop = int(
        np.searchsorted(rows.ends, grant.until_ns, side="right")
        if isinstance(rows, BarBlock)
        else np.searchsorted(rows.known, grant.until_ns, side="left")
    )
    batch = Batch(
        step=grant.step,
        rows=rows.rows(state.handed_out, stop),
        watermark_ns=grant.until_ns,
        passed_ns=grant.from_ns,
    )
    return replace(state, handed_out=stop), (Publish(batch),)


def _handed_out_as_they_came(
    settings: Settings, state: State, rows: RowBatch, grant: Grant
) -> tuple[State, Effects]:
    """What came until the watermark got there, but for rows that wait for a boundary."""
    lag = settings.lag_ns
    stop = int(np.searchsorted(rows.known, grant.until_ns + lag, side="right"))
    came = rows.rows(state.handed_out, stop)
    pool = came if state.waiting is None else joined((state.waiting, came))
    hold = next((hold for hold in state.holds if hold > grant.from_ns), None)
    waiting = None
    if hold is not None:
        now = belongs_before(pool, hold, lag)
        if not now.all():
            pool, waiting = pool.taken(now), pool.taken(~now)
    batch = Batch(
        step=grant.step,
        rows=pool,
        watermark_ns=grant.until_ns,
        passed_ns=grant.from_ns,
        passed=passed(pool, lag, grant.from_ns),
    )
    return replace(state, handed_out=stop, waiting=waiting), (Publish(batch),)
