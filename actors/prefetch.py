"""Owns the day's rows: has them read ahead, and hands them out as far as time is granted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date

import numpy as np

from openbell.actors.effects import Actor, Effects, Fetch, Publish
from openbell.market.bars import BarBlock, Rows
from openbell.messages.base import Message
from openbell.messages.control import Loaded, LoadFailed, LoadTimedOut
from openbell.messages.data import Batch, Load
from openbell.messages.session import DayCleared
from openbell.messages.time import Grant

NAME = "prefetch"


@dataclass(frozen=True, slots=True)
class State:
    asked: tuple[date, ...] = ()
    """Days asked for and not yet over."""
    rows: Rows | None = field(default=None, metadata={"snapshot": False})
    """The day's rows; after a restart they are read again."""
    handed_out: int = 0
    """How many of them have been handed out."""


def prefetch() -> Actor[State]:
    """Whoever hands out rows: a view a step, and never a row twice."""
    return Actor(NAME, State(), update, frozenset({Grant, Load, DayCleared}))


def update(state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case Load(days=days):
            new = tuple(day for day in days if day.date not in state.asked)
            asked = tuple(day.date for day in days)
            return replace(state, asked=asked), tuple(Fetch(day) for day in new)
        case DayCleared():
            return replace(state, rows=None, handed_out=0), ()
        case Grant() as grant:
            for entered in grant.inputs:
                if isinstance(entered, Loaded | LoadTimedOut):
                    if entered.date != (state.asked or (entered.date,))[0]:
                        continue  # of a day that is over, come late
                    state = replace(state, rows=entered.data.rows, handed_out=0)
                elif isinstance(entered, LoadFailed):
                    left = tuple(day for day in state.asked if day != entered.date)
                    state = replace(state, asked=left)
            return _handed_out(state, grant)
        case _:
            raise ValueError(f"prefetch: unexpected {message!r}")


def _handed_out(state: State, grant: Grant) -> tuple[State, Effects]:
    if state.rows is None or grant.until_ns <= grant.from_ns:
        return state, ()
    # A bar is known at its end; a tick at a boundary belongs to the step after it.
    stop = (
        np.searchsorted(state.rows.ends, grant.until_ns, side="right")
        if isinstance(state.rows, BarBlock)
        else np.searchsorted(state.rows.ts, grant.until_ns, side="left")
    )
    batch = Batch(
        step=grant.step,
        rows=state.rows.rows(state.handed_out, int(stop)),
        watermark_ns=grant.until_ns,
    )
    return replace(state, handed_out=int(stop)), (Publish(batch),)
