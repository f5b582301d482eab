"""Owns the trading day: its phases, its state, and what comes after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from openbell.actors.effects import Actor, Effects, Publish
from openbell.market.bars import DayData
from openbell.market.days import EPOCH, MINUTE_NS, MarketTime, TradingDay
from openbell.market.windows import SessionSpec, Window, boundaries, holds, session_window
from openbell.messages.base import Message
from openbell.messages.control import (
    Arrived,
    DayOver,
    Loaded,
    LoadFailed,
    LoadTimedOut,
    Recover,
    Roll,
    Start,
)
from openbell.messages.data import Load
from openbell.messages.session import (
    AwaitLoad,
    DayCleared,
    DayClosed,
    DayOpened,
    DayState,
    DayWithoutData,
    Phase,
    PhaseEntered,
    RunEnded,
    StateChanged,
)
from openbell.messages.time import Grant

NAME = "day"

ROWS_AWAITED = "the close; its rows have not come yet"


@dataclass(frozen=True, slots=True)
class Settings:
    sessions: tuple[SessionSpec, ...]
    interval_ns: int | None
    """Bar length of the source, None for ticks."""
    clock_step: Literal["day", "boundary", "bar"]
    """Where steps end: at the close only, at sessions' starts and ends too, or at every bar."""
    days_ahead: int
    """How many days are read while one is running."""
    fed: bool = False
    """Whether a day's rows come from a feed; it opens with the first of them."""


@dataclass(frozen=True, slots=True)
class State:
    plan: tuple[TradingDay, ...] = ()
    position: int = -1
    """Which day of the plan it is."""
    state: DayState = "NOT_STARTED"
    phase: Phase | None = None
    live_from_ns: MarketTime = EPOCH
    """Where inside the first day the run began, 0 at its open."""
    without_rows: bool = False
    """Whether the day had to open before its rows were there."""

    @property
    def day(self) -> TradingDay:
        return self.plan[self.position]


def day(settings: Settings) -> Actor[State]:
    """The trading day, one after another through the plan that Start brings."""
    return Actor(NAME, State(), partial(update, settings), frozenset({Grant}))


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case Grant() as grant:
            said: list[Message] = []
            for entered in grant.inputs:
                match entered:
                    case Start(days=days, live_from_ns=live_from):
                        state = _begun(settings, State(plan=days, live_from_ns=live_from), said)
                    case Roll():
                        state = _begun(settings, state, said)
                    case Loaded(date=date) if date == state.day.date and state.phase != "end":
                        state = _loaded(settings, state, grant, entered, said)
                    case DayOver(date=date) if date == state.day.date and state.phase == "load":
                        state = _without_data(state, entered.outside_hours, said)
                    case LoadTimedOut(date=date, data=data) if date == state.day.date:
                        state = replace(state, without_rows=True)
                        state = _opened(settings, state, data, state.live_from_ns, said)
                    case Recover() if state.state == "ERROR":
                        again = replace(state, position=state.position - 1)
                        state = _begun(settings, again, said)
                    case LoadFailed(date=date, reason=reason) if date == state.day.date:
                        state = _failed(state, grant, f"{date}: {reason}", said)
                    case _:
                        pass  # rows of a day that is over
            # Rows that come after the close have the day opened again, in a grant that ends there.
            if state.phase == "stream" and grant.from_ns < state.day.close_ns <= grant.until_ns:
                state = _ended(state, said)
            return state, tuple(Publish(m) for m in said)
        case _:
            raise ValueError(f"day: unexpected {message!r}")


def _begun(settings: Settings, state: State, said: list[Message]) -> State:
    """Phases 0 to 3 of the next day of the plan, or the end of the run."""
    position = state.position + 1
    if position >= len(state.plan):
        said.append(RunEnded())
        return state
    first = position == 0
    state = replace(state, position=position, without_rows=False)
    if not first:
        state = replace(state, live_from_ns=EPOCH)
        state = _phase(state, "clear", said)
        said.append(DayCleared(date=state.day.date))
        state = _state(state, "NOT_STARTED", state.day.open_ns, "the next trading day", said)
    state = _phase(state, "initialise", said)
    state = _state(state, "PRE_MARKET", state.day.open_ns, "the day is being prepared", said)
    state = _phase(state, "history", said)
    state = _phase(state, "load", said)
    said.append(Load(days=state.plan[position : position + 1 + settings.days_ahead]))
    said.append(AwaitLoad(date=state.day.date))
    return state


def _loaded(
    settings: Settings, state: State, grant: Grant, loaded: Loaded, said: list[Message]
) -> State:
    """Phases 4 and 5; a day that is known to have no row inside its hours has neither."""
    today, data = state.day, loaded.data
    late = state.phase == "stream"
    if late and not state.without_rows:
        return state
    rows, outside = int(data.counts.rows.sum()), int(data.counts.outside_hours.sum())
    if settings.fed:
        if not any(isinstance(i, Arrived) and i.date == today.date for i in grant.inputs):
            return state  # the day is over without a row, as the grant says too
    elif rows == outside:
        return _without_data(state, outside, said)
    # What comes late is read in as if it had just happened, up to now without waiting.
    live_from_ns = grant.until_ns if late else state.live_from_ns
    state = replace(state, without_rows=False)
    state = _opened(settings, state, data, live_from_ns, said, again=late)
    if loaded.history is not None:
        said.append(loaded.history)
    return state


def _without_data(state: State, outside_hours: int, said: list[Message]) -> State:
    """The end of a day that has no row inside its hours, open by now or not."""
    today, why = state.day, "no row inside the hours"
    if state.phase == "stream":
        state = _state(state, "POST_MARKET", today.close_ns, why, said)
        state = _phase(replace(state, without_rows=False), "end", said)
    said.append(DayWithoutData(date=today.date, outside_hours=outside_hours))
    return _state(state, "ENDED", today.close_ns, why, said)


def _opened(
    settings: Settings,
    state: State,
    data: DayData,
    live_from_ns: MarketTime,
    said: list[Message],
    *,
    again: bool = False,
) -> State:
    today = state.day
    slot_ns = settings.interval_ns or MINUTE_NS
    found = [session_window(today, spec, slot_ns) for spec in settings.sessions]
    windows = [window for window in found if isinstance(window, Window)]
    instants = boundaries(today, windows, settings.clock_step, slot_ns)
    if today.open_ns < live_from_ns < today.close_ns:
        instants = tuple(sorted({*instants, live_from_ns}))
    if not again:
        state = _phase(state, "activate", said)
    said.append(
        DayOpened(
            day=today,
            symbols=data.symbols,
            kind="ticks" if settings.interval_ns is None else "bars",
            interval_ns=settings.interval_ns,
            boundaries=instants,
            holds=holds(today, windows),
            counts=data.counts,
            bad=data.bad,
            live_from_ns=live_from_ns,
            again=again,
            awaits_rows=state.without_rows,
        )
    )
    if again:
        return state
    state = _state(state, "ACTIVE", max(today.open_ns, live_from_ns), "the open", said)
    return _phase(state, "stream", said)


def _failed(state: State, grant: Grant, reason: str, said: list[Message]) -> State:
    """Nothing can follow: what there is stays as it is."""
    said.append(RunEnded(error=reason))
    return _state(state, "ERROR", grant.until_ns, reason, said)


def _ended(state: State, said: list[Message]) -> State:
    """Phase 6: the close was reached, and the day's rows have come."""
    today = state.day
    if state.without_rows:
        said.append(AwaitLoad(date=today.date, late=True))
        return _state(state, "POST_MARKET", today.close_ns, ROWS_AWAITED, said)
    state = _state(state, "POST_MARKET", today.close_ns, "the close", said)
    state = _phase(state, "end", said)
    said.append(DayClosed(date=today.date))
    return _state(state, "ENDED", today.close_ns, "the day is complete", said)


def _phase(state: State, phase: Phase, said: list[Message]) -> State:
    said.append(PhaseEntered(date=state.day.date, phase=phase))
    return replace(state, phase=phase)


def _state(
    state: State, after: DayState, at_ns: MarketTime, why: str, said: list[Message]
) -> State:
    if after != state.state:
        said.append(
            StateChanged(date=state.day.date, before=state.state, after=after, at_ns=at_ns, why=why)
        )
    return replace(state, state=after)
