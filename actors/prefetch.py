"""Owns the day's rows: has them read ahead, and hands them out as far as time is granted."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from datetime import date
from functools import partial

import numpy as np

from openbell.actors.clock import OPEN
from openbell.actors.effects import Actor, Effects, Fetch, Publish
from openbell.actors.states import changed
from openbell.market.arrivals import (
    Came,
    added,
    brought_first,
    filled_in,
    nothing_came,
    taken_in,
    widened,
)
from openbell.market.assembly import as_came, no_raw_rows
from openbell.market.auctions import parted, trading
from openbell.market.bars import BadRow, BarBlock, RowBatch, RowCounts, Rows, joined
from openbell.market.days import MarketTime
from openbell.market.results import NO_TIME
from openbell.market.rules import NO_RULES, RowRules
from openbell.market.watermark import belongs_before, passed
from openbell.market.widening import counts_on, picked, rows_on, rows_without, without
from openbell.messages.base import Message
from openbell.messages.control import (
    Arrived,
    Backfilled,
    Input,
    Loaded,
    LoadFailed,
    LoadTimedOut,
    NotFilled,
    Rang,
    Roll,
)
from openbell.messages.data import Batch, Load
from openbell.messages.insertion import Inserted, SymbolsInserted, SymbolsRemoved
from openbell.messages.session import DayCleared, DayOpened
from openbell.messages.time import Grant

NAME = "prefetch"


@dataclass(frozen=True, slots=True)
class Settings:
    lag_ns: int = 0
    """How far the watermark stays behind rows that are handed out as they came."""
    rules: RowRules = NO_RULES
    """What a feed's rows mean."""


@dataclass(frozen=True)
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
    came: Came | None = None
    """What has come of the day from a feed; None before its first row."""
    arrived: RowBatch | None = None
    """Rows of a feed that the watermark has not come to; nobody can be asked for them again."""
    past_ns: int = 0
    """As of a batch."""
    lacks: tuple[tuple[int, int], ...] = ()
    """From when until when pieces of history are waited for."""
    removed: tuple[str, ...] = ()
    """Symbols of which nothing is handed out any more."""
    none_left: RowBatch | None = field(default=None, metadata={"snapshot": False})
    """What `arrived` is when it has come to all of them; None: it never has."""


def prefetch(settings: Settings = Settings()) -> Actor[State]:
    """Whoever hands out rows: a view a step, and never a row twice."""
    return Actor(
        NAME,
        State(),
        partial(update, settings),
        frozenset({Grant, Load, DayOpened, DayCleared, SymbolsInserted, SymbolsRemoved}),
    )


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case Load(days=days):
            new = tuple(day for day in days if day.date not in state.asked)
            asked = tuple(day.date for day in days)
            return changed(state, asked=asked), tuple(Fetch(day) for day in new)
        case DayOpened(holds=holds):
            return changed(state, holds=holds), ()
        case DayCleared():
            return State(state.asked), ()
        case SymbolsInserted() as inserted:
            return _inserted(settings, state, inserted)
        case SymbolsRemoved(symbols=symbols):
            return changed(state, removed=tuple(sorted({*state.removed, *symbols}))), ()
        case Grant() as grant:
            counts, bad, host_ns = None, tuple[BadRow, ...](), 0
            late: RowBatch | None = None
            for entered in grant.inputs:
                if isinstance(entered, Loaded | LoadTimedOut):
                    if entered.date != (state.asked or (entered.date,))[0]:
                        continue  # of a day that is over, come late
                    state = changed(state, rows=entered.data.rows, handed_out=0, waiting=None)
                elif isinstance(entered, Arrived):
                    state, more = _arrived(settings, state, entered)
                    counts = more if counts is None else added(counts, more)
                    bad = (*bad, *entered.bad)
                elif isinstance(entered, Backfilled):
                    if entered.late:
                        state, brought, more = _filled_late(settings, state, entered, grant)
                        late = brought if late is None else joined((late, brought))
                    else:
                        state, more = _filled(settings, state, entered, grant.inputs)
                    counts = more if counts is None else added(counts, more)
                    bad = (*bad, *entered.bad)
                elif isinstance(entered, NotFilled):
                    span = (entered.from_ns, entered.until_ns)
                    lacks = (*_others(state, entered), *([span] if entered.comes else []))
                    state = changed(state, lacks=lacks)
                elif isinstance(entered, Rang):
                    host_ns = entered.host_ns
                    if entered.name == OPEN and state.rows is not None and state.arrived is None:
                        state = changed(state, arrived=_none_came(state.rows))
                elif isinstance(entered, Roll) and entered.instead_of is not None:
                    others = tuple(day for day in state.asked if day != entered.instead_of)
                    state = changed(state, asked=others)
                elif isinstance(entered, LoadFailed):
                    left = tuple(day for day in state.asked if day != entered.date)
                    state = changed(state, asked=left)
            if state.arrived is not None:
                return _handed_out_as_they_came(settings, state, grant, counts, bad, host_ns, late)
            if state.rows is None or grant.until_ns <= grant.from_ns:
                return state, ()
            if isinstance(state.rows, BarBlock) or state.rows.by_time:
                return _handed_out(state, state.rows, grant)
            return _handed_out_as_they_came(settings, state, grant, counts, bad)
        case _:
            raise ValueError(f"prefetch: unexpected {message!r}")


def _handed_out(state: State, rows: Rows, grant: Grant) -> tuple[State, Effects]:
    stop = _known_by(rows, grant.until_ns)
    rows, auctions = parted(_without_removed(state, rows.rows(state.handed_out, stop)))
    batch = Batch(
        step=grant.step,
        rows=rows,
        auctions=auctions,
        watermark_ns=grant.until_ns,
        passed_ns=grant.from_ns,
    )
    return changed(state, handed_out=stop), (Publish(batch),)


def _without_removed(state: State, rows: Rows) -> Rows:
    return without(rows, state.removed) if state.removed else rows


def _inserted(settings: Settings, state: State, inserted: SymbolsInserted) -> tuple[State, Effects]:
    """Symbols come with all their rows so far, which nobody has been handed out."""
    left = tuple(symbol for symbol in state.removed if symbol not in inserted.added)
    state = changed(state, removed=left)
    data = inserted.data
    if state.arrived is None:
        state, past = _stored_past(settings, state, data.rows, inserted)
        return state, (_told(inserted, past, data.counts, data.bad, stored=True),)
    assert isinstance(data.rows, RowBatch)
    state, past, counts = _fed_past(settings, state, data.rows, inserted)
    added_to = counts_on(counts, inserted.symbols, inserted.opened.symbols)
    of = replace(data.counts, duplicates=data.counts.duplicates + added_to.duplicates)
    return state, (_told(inserted, past, of, data.bad, stored=False),)


def _told(
    inserted: SymbolsInserted,
    past: Rows,
    counts: RowCounts,
    bad: tuple[BadRow, ...],
    *,
    stored: bool,
) -> Publish:
    past, auctions = parted(past)
    return Publish(
        Inserted(
            opened=inserted.opened,
            symbols=inserted.symbols,
            added=inserted.added,
            followed=inserted.followed,
            until_ns=inserted.until_ns,
            rows=past,
            auctions=auctions,
            counts=counts,
            stored=stored,
            bad=bad,
            history=inserted.history,
            lacking=inserted.lacking,
        )
    )


def _stored_past(
    settings: Settings, state: State, rows: Rows, inserted: SymbolsInserted
) -> tuple[State, Rows]:
    """The day's rows with those that come among them, and of theirs what is known by now."""
    until_ns = inserted.until_ns
    waiting = None
    if isinstance(rows, BarBlock) or rows.by_time:
        stop = _known_by(rows, until_ns)
        pool = rows.rows(0, stop)
    else:
        stop = int(rows.known.searchsorted(until_ns + settings.lag_ns, side="right"))
        pool = rows.rows(0, stop)
        place = bisect_right(state.holds, until_ns)
        if place < len(state.holds) and len(pool):
            now = belongs_before(pool, state.holds[place], settings.lag_ns)
            if not now.all():
                pool, waiting = pool.taken(now), pool.taken(~now)
    state = changed(state, rows=rows, handed_out=stop, waiting=waiting)
    return state, picked(pool, inserted.opened.symbols)


def _fed_past(
    settings: Settings, state: State, rows: RowBatch, inserted: SymbolsInserted
) -> tuple[State, RowBatch, RowCounts]:
    """What history has of those that come; what belongs after a boundary that is not crossed yet
    waits for it. What came of the others waits as before."""
    symbols, day = inserted.symbols, inserted.opened.day

    def wider(waits: RowBatch | None) -> RowBatch | None:
        return None if waits is None else rows_on(waits, symbols)

    came = state.came
    if came is not None:
        came = widened(
            came, state.arrived.symbols if state.arrived else (), symbols, inserted.added
        )
    else:
        came = nothing_came(day, len(symbols), rows.interval_ns)
    state = changed(
        state,
        arrived=wider(state.arrived),
        waiting=wider(state.waiting),
        none_left=wider(state.none_left),
    )
    theirs = rows_on(rows_on(rows, inserted.added), symbols)
    came, theirs, counts = filled_in(
        came, theirs, day.open_ns, settings.rules, gap=False, late=True
    )
    state = changed(state, came=came)
    place = bisect_right(state.holds, inserted.until_ns)
    past = joined((theirs, rows_on(rows_without(rows, inserted.added), symbols)))
    if place < len(state.holds) and len(past):
        hold_ns = state.holds[place]
        before = past.ts < hold_ns if past.interval_ns is None else past.ends <= hold_ns
        mine = np.arange(len(past)) < len(theirs)
        if (waits := ~before & mine).any():
            state = _behind_what_came(state, past.taken(waits))
        past = past.taken(before)
    past = past.taken(past.ends.argsort(kind="stable"))
    past = past.known_at(past.ends)
    return state, rows_on(past, inserted.opened.symbols), counts


def _known_by(rows: Rows, until_ns: int) -> int:
    """How many rows are known by then: a bar at its end; a tick at a boundary belongs after it."""
    if isinstance(rows, BarBlock):
        return int(np.searchsorted(rows.ends, until_ns, side="right"))
    return int(np.searchsorted(rows.known, until_ns, side="left"))


def _none_came(rows: Rows) -> RowBatch:
    """Of a day that opens before its first row."""
    none = as_came(no_raw_rows(rows.symbols, rows.interval_ns), rows.day, rows.interval_ns).rows
    assert isinstance(none, RowBatch)
    return none


def _arrived(settings: Settings, state: State, arrived: Arrived) -> tuple[State, RowCounts]:
    """What came is held against what came before it, and waits behind it."""
    rows = arrived.rows
    came = state.came or nothing_came(rows.day, len(rows.symbols), rows.interval_ns)
    came, rows, counts = taken_in(came, rows, settings.rules)
    if state.arrived is not None and len(state.arrived):
        rows = joined((state.arrived, rows))
    return changed(state, came=came, arrived=rows), added(arrived.counts, counts)


def _filled(
    settings: Settings, state: State, filled: Backfilled, inputs: tuple[Input, ...]
) -> tuple[State, RowCounts]:
    """What history has goes before what comes next, but for what a feed has brought of it."""
    rows = filled.rows
    came = state.came or nothing_came(rows.day, len(rows.symbols), rows.interval_ns)
    for entered in inputs:
        if isinstance(entered, Arrived):
            came = brought_first(came, entered.rows)
    came, rows, counts = filled_in(
        came, rows, filled.from_ns, settings.rules, gap=filled.gap, late=False
    )
    past_ns = state.past_ns
    if len(rows):
        past_ns = max(past_ns, int(rows.known[-1]) + (rows.interval_ns is None))
    if state.arrived is not None and len(state.arrived):
        rows = joined((state.arrived, rows))
    state = changed(state, came=came, arrived=rows, past_ns=past_ns)
    return state, added(filled.counts, counts)


def _others(state: State, of: Backfilled | NotFilled) -> tuple[tuple[int, int], ...]:
    return tuple(span for span in state.lacks if span != (of.from_ns, of.until_ns))


def _filled_late(
    settings: Settings, state: State, filled: Backfilled, grant: Grant
) -> tuple[State, RowBatch, RowCounts]:
    """What history has is merged into what was acted on; but what belongs after a boundary that is
    not crossed yet waits for it as other rows do."""
    came, rows = state.came, filled.rows
    if came is None:
        came = nothing_came(rows.day, len(rows.symbols), rows.interval_ns)
    came, rows, counts = filled_in(
        came, rows, filled.from_ns, settings.rules, gap=filled.gap, late=True
    )
    state = changed(state, came=came, lacks=_others(state, filled))
    place = bisect_right(state.holds, grant.until_ns)
    if place < len(state.holds) and len(rows):
        hold_ns = state.holds[place]
        before = rows.ts < hold_ns if rows.interval_ns is None else rows.ends <= hold_ns
        if not before.all():
            state = _behind_what_came(state, rows.taken(~before))
            rows = rows.taken(before)
    return state, rows, added(filled.counts, counts)


def _behind_what_came(state: State, rows: RowBatch) -> State:
    assert state.came is not None
    known_ns = max(state.came.known_ns, int(rows.known[-1]))
    came = replace(state.came, known_ns=MarketTime(known_ns))
    rows = rows.known_at(np.full(len(rows), known_ns))
    if state.arrived is not None and len(state.arrived):
        rows = joined((state.arrived, rows))
    return changed(state, came=came, arrived=rows)


def _handed_out_as_they_came(
    settings: Settings,
    state: State,
    grant: Grant,
    counts: RowCounts | None,
    bad: tuple[BadRow, ...],
    host_ns: int = 0,
    late: RowBatch | None = None,
) -> tuple[State, Effects]:
    """What came until the watermark got there, but for rows that wait for a boundary."""
    lag = settings.lag_ns
    if state.arrived is not None:
        # Before the day is open nobody can take rows, nor is it known which of them wait.
        reach = grant.until_ns + lag if state.holds else NO_TIME
        stop = int(state.arrived.known.searchsorted(reach, side="right"))
        came, left = state.arrived.rows(0, stop), state.none_left
        if left is None or stop < len(state.arrived):
            left = state.arrived.rows(stop, len(state.arrived))
        none_left = left if stop == len(state.arrived) else state.none_left
        state = changed(state, arrived=left, none_left=none_left)
    else:
        assert isinstance(state.rows, RowBatch)
        stop = int(state.rows.known.searchsorted(grant.until_ns + lag, side="right"))
        came = state.rows.rows(state.handed_out, stop)
        state = changed(state, handed_out=stop)
    pool = came if state.waiting is None else joined((state.waiting, came))
    place = bisect_right(state.holds, grant.from_ns)
    waiting = None
    # No row lies behind the newest `known`: mostly that is before the next hold.
    if place < len(state.holds) and len(pool) and pool.known[-1] >= state.holds[place]:
        now = belongs_before(pool, state.holds[place], lag)
        if not now.all():
            pool, waiting = pool.taken(now), pool.taken(~now)
    if waiting is not state.waiting:
        state = changed(state, waiting=waiting)
    if state.removed:
        pool = rows_without(pool, state.removed)
        late = None if late is None else rows_without(late, state.removed)
    if (
        not (len(pool) or host_ns or late is not None)
        and counts is None
        and grant.until_ns <= grant.from_ns
    ):
        return state, ()
    by_then, auctions, auctions_late = passed(pool, lag, grant.from_ns), None, None
    if (mask := trading(pool)) is not None:
        pool, by_then, auctions = pool.taken(mask), by_then[mask], pool.taken(~mask)
    if late is not None and (mask := trading(late)) is not None:
        late, auctions_late = late.taken(mask), late.taken(~mask)
    batch = Batch(
        step=grant.step,
        rows=pool,
        auctions=auctions,
        watermark_ns=grant.until_ns,
        passed_ns=grant.from_ns,
        passed=by_then,
        counts=counts,
        bad=bad,
        host_ns=host_ns,
        backfilled=late,
        auctions_backfilled=auctions_late,
        lacking=bool(state.lacks),
        past_ns=state.past_ns,
    )
    return state, (Publish(batch),)
