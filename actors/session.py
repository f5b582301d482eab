"""One named window: its symbols' highs and lows, from its start to its end."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from openbell.actors.effects import Actor, Effects, Publish
from openbell.actors.states import changed
from openbell.market.auctions import auction_slots
from openbell.market.bars import IF_SET, Mask, RowBatch, Rows, joined
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.levels import (
    Extremes,
    amended,
    extended,
    is_inside,
    levels,
    nothing_seen,
    partly,
)
from openbell.market.products import own_hours
from openbell.market.results import NO_TIME
from openbell.market.widening import Widening, rows_widened, spliced, widening
from openbell.market.windows import SessionSpec, Window, session_window
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.insertion import Inserted, LevelsAdded
from openbell.messages.session import (
    DayCleared,
    DayOpened,
    RowsMissed,
    SessionCompleted,
    SessionPlanned,
    SessionStarted,
)

ROWS_WAIT_MAX = 2_000
"""So many rows one after another are looked at together, unless the window ends before: they take
hardly longer than ten."""

BATCHES_WAIT_MAX = 250


@dataclass(frozen=True, slots=True)
class Idle:
    """No day is open, or the window has no part in it, or is over for good."""


@dataclass(frozen=True, slots=True)
class Pending:
    """The window is still to come."""

    symbols: tuple[str, ...]
    window: Window
    may_be_filled: bool = False
    """As of the opening."""
    partial: Mask | None = None
    """(slots, s): of which minutes not all rows have come; None: of none."""
    unexpected: Mask | None = field(default=None, metadata=IF_SET)
    """(slots, s): which minutes lie outside of a symbol's own hours; None: none does."""


@dataclass(frozen=True)
class Active:
    """The window has begun."""

    symbols: tuple[str, ...]
    window: Window
    seen: Extremes
    may_be_filled: bool = False
    partial: Mask | None = None
    unexpected: Mask | None = field(default=None, metadata=IF_SET)
    waiting: tuple[RowBatch, ...] = field(default=(), metadata={"snapshot": False})
    """Rows one after another that were not looked at yet. They are when the state is written."""
    rows_waiting: int = field(default=0, metadata={"snapshot": False})
    kept: tuple[RowBatch, ...] = field(default=(), metadata=IF_SET)
    """The window's rows, where some may take the place of others."""


@dataclass(frozen=True)
class Over:
    """The window is over, and rows of it may still come from history."""

    symbols: tuple[str, ...]
    window: Window
    seen: Extremes
    partial: Mask | None = None
    unexpected: Mask | None = field(default=None, metadata=IF_SET)


State = Idle | Pending | Active | Over


PREFIX = "session:"


def name(spec: SessionSpec) -> str:
    """The address of a session's actor."""
    return f"{PREFIX}{spec.name}"


def session(spec: SessionSpec) -> Actor[State]:
    """The actor of one configured window, day after day."""
    return Actor(
        name(spec),
        Idle(),
        partial(update, spec),
        frozenset({DayOpened, DayCleared, RowsMissed, Batch, Inserted}),
        partial(kept, spec),
    )


def update(spec: SessionSpec, state: State, message: Message) -> tuple[State, Effects]:
    match state, message:
        case _, DayOpened() as opened:
            return _planned(spec, opened)
        case _, DayCleared():
            return Idle(), ()
        case _, Inserted() as inserted:
            return _widened(spec, state, inserted)
        case Pending() | Active() | Over(), RowsMissed() as missed:
            return _with_missed(spec, state, missed)
        case Pending() | Active(), Batch() as batch:
            return _advanced(spec, state, batch)
        case Over(), Batch() as batch:
            late = _late(spec, batch)
            return (state, ()) if late is None else _filled(spec, state, late)
        case _:
            return state, ()


def kept(spec: SessionSpec, state: State) -> State:
    """The state as it is written: what waits is looked at."""
    return _looked_at(spec, state) if isinstance(state, Active) and state.waiting else state


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
    unexpected = _unexpected(spec, opened.day, opened.symbols, found)
    pending = Pending(opened.symbols, found, opened.may_be_filled, unexpected=unexpected)
    if found.start_ns > at_ns:
        return pending, (Publish(planned),)
    active, started = _started(spec, pending)
    return active, (Publish(planned), *started)


def _advanced(spec: SessionSpec, state: Pending | Active, batch: Batch) -> tuple[State, Effects]:
    said: Effects = ()
    if isinstance(state, Pending):
        if not _begins(state.window, batch, _rows(spec, batch)):
            return state, ()
        state, said = _started(spec, state)
    if (late := _late(spec, batch)) is not None:
        state = _with_rows(spec, _looked_at(spec, state), late)
    rows = _rows(spec, batch)
    if isinstance(rows, RowBatch):
        state = _looked_at_later(spec, state, rows)
    elif rows is not None:
        state = changed(state, seen=extended(state.seen, rows, state.window))
    if batch.watermark_ns < state.window.end_ns:
        return state, said
    seen = _looked_at(spec, state).seen
    completed = SessionCompleted(
        session=spec.name,
        at_ns=state.window.end_ns,
        levels=levels(seen, state.symbols, _lacking(state)),
    )
    over: State = Idle()
    if state.may_be_filled:
        over = Over(state.symbols, state.window, seen, state.partial, state.unexpected)
    return over, (*said, Publish(completed))


def _with_missed(
    spec: SessionSpec, state: Pending | Active | Over, missed: RowsMissed
) -> tuple[State, Effects]:
    """Of which of the window's minutes only a part has come."""
    partial = partly(
        state.partial, state.window, state.symbols, missed.from_ns, missed.until_ns, missed.symbols,
        filled=missed.filled,
    )  # fmt: skip
    return replace(state, partial=partial), ()


def _unexpected(
    spec: SessionSpec, day: TradingDay, symbols: tuple[str, ...], window: Window
) -> Mask | None:
    """(slots, s) which of a window's slots lie outside of a symbol's hours, or of its auction; None:
    none does."""
    if spec.auction is not None:
        inside = auction_slots(day, symbols, spec.auction, window.slots)
        return None if inside.all() else ~inside
    own = own_hours(day, symbols)
    return None if own is None else ~own.slots(window.slots)


def _lacking(state: Pending | Active | Over) -> Mask | None:
    """Of which minutes that are waited for not all rows have come."""
    if state.partial is None or state.unexpected is None:
        return state.partial
    return state.partial & ~state.unexpected


def _filled(spec: SessionSpec, state: Over, rows: RowBatch) -> tuple[State, Effects]:
    """The levels, with rows of the window that came late."""
    seen = extended(state.seen, rows, state.window)
    if seen is state.seen:
        return state, ()
    completed = SessionCompleted(
        session=spec.name,
        at_ns=state.window.end_ns,
        levels=levels(seen, state.symbols, _lacking(state)),
        again=True,
    )
    return replace(state, seen=seen), (Publish(completed),)


def _widened(spec: SessionSpec, state: State, inserted: Inserted) -> tuple[State, Effects]:
    """With symbols that come into the day, as if they had been there from its open."""
    batch = Batch(
        step=0,
        rows=inserted.rows,
        auctions=inserted.auctions,
        watermark_ns=inserted.until_ns,
        passed=np.full(len(inserted.rows), NO_TIME, np.int64),
    )
    theirs, _ = _planned(spec, inserted.opened)
    said: list[Publish] = []
    if isinstance(theirs, Pending | Active):
        theirs, effects = _advanced(spec, theirs, batch)
        for effect in effects:
            if isinstance(effect, Publish) and isinstance(effect.message, SessionCompleted):
                added = LevelsAdded(
                    session=spec.name,
                    at_ns=effect.message.at_ns,
                    levels=effect.message.levels,
                    added=inserted.added,
                )
                said.append(Publish(added))
    if isinstance(state, Idle):
        return state, tuple(said)
    if isinstance(state, Pending) and isinstance(theirs, Active):
        state, started = _started(spec, state)
        said = [*(e for e in started if isinstance(e, Publish)), *said]
    if isinstance(state, Active):
        state = _looked_at(spec, state)
    if isinstance(theirs, Active):
        theirs = _looked_at(spec, theirs)
    how = widening(state.symbols, inserted.symbols, inserted.opened.symbols, inserted.added)
    partial = None if state.partial is None else how.filled(state.partial, False)
    unexpected = _unexpected(spec, inserted.opened.day, inserted.symbols, state.window)
    wide: dict[str, Any] = {
        "symbols": inserted.symbols,
        "partial": partial,
        "unexpected": unexpected,
    }
    after: State
    if isinstance(state, Pending):
        after = replace(state, **wide)
    else:
        after = replace(state, **wide, seen=_seen_with(state.seen, theirs, how))
    if isinstance(after, Active) and isinstance(theirs, Active):
        after = replace(after, kept=rows_widened(after.kept, theirs.kept, how))
    if inserted.lacking:
        now_ns = inserted.until_ns
        after, _ = _with_missed(
            spec, after, RowsMissed(from_ns=now_ns, until_ns=now_ns, symbols=inserted.added)
        )
    return after, tuple(said)


def _seen_with(seen: Extremes, theirs: State, how: Widening) -> Extremes:
    if isinstance(theirs, Active | Over):
        fresh = theirs.seen
    else:
        fresh = nothing_seen(len(how.alone), len(seen.seen), first_bar=seen.first is not None)
    first = None
    if seen.first is not None and fresh.first is not None:
        first = spliced(seen.first, fresh.first, how)
    return replace(spliced(seen, fresh, how), first=first)


def _looked_at_later(spec: SessionSpec, state: Active, rows: RowBatch) -> Active:
    waiting, count = (*state.waiting, rows), state.rows_waiting + len(rows)
    state = changed(state, waiting=waiting, rows_waiting=count)
    if count < ROWS_WAIT_MAX and len(waiting) < BATCHES_WAIT_MAX:
        return state
    return _looked_at(spec, state)


def _looked_at(spec: SessionSpec, state: Active) -> Active:
    """What waits, all at once: any cut of the rows gives the same levels."""
    if not state.waiting:
        return state
    state = _with_rows(spec, state, joined(state.waiting))
    return changed(state, waiting=(), rows_waiting=0)


def _with_rows(spec: SessionSpec, state: Active, rows: RowBatch) -> Active:
    if rows.revises is None:
        return changed(state, seen=extended(state.seen, rows, state.window))
    none = _nothing_seen(spec, state)
    seen, kept = amended(state.seen, state.kept, rows, state.window, none)
    return changed(state, seen=seen, kept=kept)


def _rows(spec: SessionSpec, batch: Batch) -> Rows | None:
    """The rows that a session looks at: an auction's own, and else none of any."""
    return batch.rows if spec.auction is None else batch.auctions


def _late(spec: SessionSpec, batch: Batch) -> RowBatch | None:
    return batch.backfilled if spec.auction is None else batch.auctions_backfilled


def _begins(window: Window, batch: Batch, rows: Rows | None) -> bool:
    """Whether time has come as far, or a row of the window: it may run ahead of the watermark, as
    the host's clock does."""
    if max(batch.watermark_ns, batch.host_ns) >= window.start_ns:
        return True
    if not isinstance(rows, RowBatch) or rows.by_time or not len(rows):
        return False
    # Mostly the newest is before it, and so are the others.
    ahead = bool(rows.known[-1] >= window.start_ns)
    return ahead and bool(is_inside(rows, window.start_ns, window.end_ns).any())


def _started(spec: SessionSpec, state: Pending) -> tuple[Active, Effects]:
    seen = _nothing_seen(spec, state)
    started = SessionStarted(session=spec.name, at_ns=state.window.start_ns)
    active = Active(
        state.symbols, state.window, seen, state.may_be_filled, state.partial, state.unexpected
    )
    return active, (Publish(started),)


def _nothing_seen(spec: SessionSpec, state: Pending | Active) -> Extremes:
    slots = len(state.window.slots)
    seen = nothing_seen(len(state.symbols), slots, first_bar=spec.first_bar)
    # What nobody waits for does not lack; of an auction, which finds one price, that is every minute.
    if spec.auction is not None:
        return replace(seen, seen=np.ones_like(seen.seen))
    return seen if state.unexpected is None else replace(seen, seen=state.unexpected)
