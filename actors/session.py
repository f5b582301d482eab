"""One named window: its symbols' highs and lows, from its start to its end."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from openbell.actors.effects import Actor, Effects, Publish
from openbell.market.bars import RowBatch
from openbell.market.days import MINUTE_NS
from openbell.market.levels import Extremes, extended, levels, nothing_seen, rows_inside
from openbell.market.windows import SessionSpec, Window, session_window
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.session import (
    DayCleared,
    DayOpened,
    SessionCompleted,
    SessionPlanned,
    SessionStarted,
)


@dataclass(frozen=True, slots=True)
class Idle:
    """No day is open, or the window has no part in it, or is over."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The window is still to come."""

    symbols: tuple[str, ...]
    window: Window


@dataclass(frozen=True, slots=True)
class Active:
    """The window has begun."""

    symbols: tuple[str, ...]
    window: Window
    seen: Extremes


State = Idle | Pending | Active


def name(spec: SessionSpec) -> str:
    """The address of a session's actor."""
    return f"session:{spec.name}"


def session(spec: SessionSpec) -> Actor[State]:
    """The actor of one configured window, day after day."""
    return Actor(
        name(spec),
        Idle(),
        partial(update, spec),
        frozenset({DayOpened, DayCleared, Batch}),
    )


def update(spec: SessionSpec, state: State, message: Message) -> tuple[State, Effects]:
    match state, message:
        case _, DayOpened() as opened:
            return _planned(spec, opened)
        case _, DayCleared():
            return Idle(), ()
        case Pending() | Active(), Batch() as batch:
            return _advanced(spec, state, batch)
        case _:
            return state, ()


def _planned(spec: SessionSpec, opened: DayOpened) -> tuple[State, Effects]:
    found = session_window(opened.day, spec, opened.interval_ns or MINUTE_NS)
    at_ns = opened.day.open_ns
    if not isinstance(found, Window):
        planned = SessionPlanned(
            session=spec.name, status="SKIPPED", at_ns=at_ns, reason=found.reason
        )
        return Idle(), (Publish(planned),)
    planned = SessionPlanned(
        session=spec.name, status="PENDING", at_ns=at_ns, reason=found.truncated
    )
    pending = Pending(opened.symbols, found)
    if found.start_ns > at_ns:
        return pending, (Publish(planned),)
    active, started = _started(spec, pending)
    return active, (Publish(planned), *started)


def _advanced(spec: SessionSpec, state: Pending | Active, batch: Batch) -> tuple[State, Effects]:
    said: Effects = ()
    if isinstance(state, Pending):
        if not _begins(state.window, batch):
            return state, ()
        state, said = _started(spec, state)
    seen = extended(state.seen, batch.rows, state.window)
    if batch.watermark_ns < state.window.end_ns:
        return Active(state.symbols, state.window, seen), said
    completed = SessionCompleted(
        session=spec.name, at_ns=state.window.end_ns, levels=levels(seen, state.symbols)
    )
    return Idle(), (*said, Publish(completed))


def _begins(window: Window, batch: Batch) -> bool:
    """Whether time has come as far, or a row of the window: it may run ahead of the watermark, as
    the host's clock does."""
    if max(batch.watermark_ns, batch.host_ns) >= window.start_ns:
        return True
    rows = batch.rows
    return (
        isinstance(rows, RowBatch)
        and not rows.by_time
        and len(rows_inside(rows, window.start_ns, window.end_ns)) > 0
    )


def _started(spec: SessionSpec, state: Pending) -> tuple[Active, Effects]:
    seen = nothing_seen(len(state.symbols), len(state.window.slots))
    started = SessionStarted(session=spec.name, at_ns=state.window.start_ns)
    return Active(state.symbols, state.window, seen), (Publish(started),)
