"""Looks after the day's data: derived bars, gaps and quality, and prices that jump overnight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from openbell.actors.effects import Actor, Effects, Publish
from openbell.actors.states import changed
from openbell.market.arrivals import added
from openbell.market.bars import (
    IF_SET,
    BadRow,
    BarBlock,
    Mask,
    Prices,
    RowBatch,
    RowCounts,
    Rows,
    joined,
)
from openbell.market.days import EPOCH, MINUTE_NS, MarketTime, Nanoseconds
from openbell.market.derived import (
    Finished,
    Under,
    amended,
    bars_on,
    bucket_ends,
    derive,
    derive_and_keep,
    left_open,
    no_bucket,
    none_finished,
    remade,
    wider,
    wider_finished,
)
from openbell.market.indicators import Indicator, IndicatorSpec, indicator_values
from openbell.market.levels import is_inside, minutes_seen
from openbell.market.parts import Part, parts_of, together, widened
from openbell.market.quality import day_quality
from openbell.market.results import NO_TIME, Counts, DerivedBars, LateRows
from openbell.market.widening import Widening, counts_on, rows_widened, widening
from openbell.market.windows import SessionSpec, Window, session_window
from openbell.messages.base import Message
from openbell.messages.data import (
    BarsDerived,
    Batch,
    HistoryReady,
    IndicatorsReady,
    PossibleSplit,
    QualityReport,
)
from openbell.messages.insertion import Inserted
from openbell.messages.session import DayCleared, DayOpened, Noticed

NAME = "upkeep"

SPLIT_CHANGE = 0.4
"""An overnight change beyond this share of the last close is flagged as a possible split."""

BAD_LISTED_MAX = 10_000
"""Rows of a day's feed that can't be used and are listed; they are part of each snapshot."""

ROWS_WAIT_MAX = 2_000
"""So many rows one after another are taken together, unless something can be said before: they take
hardly longer than ten."""

BATCHES_WAIT_MAX = 250

REVISIONS_TOLD_MAX = 200
"""So many times a day it is told that bars were revised too late; all of them are counted."""


@dataclass(frozen=True, slots=True)
class Settings:
    intervals_minutes: tuple[int, ...]
    indicators: tuple[tuple[IndicatorSpec, Indicator], ...] = ()
    measures_quality: bool = True
    """If not, every expected minute counts as there."""
    sessions: tuple[SessionSpec, ...] = ()
    """What rows may come too late for."""


@dataclass(frozen=True, eq=False)
class Open:
    """A day under way."""

    opened: DayOpened
    seen: Mask
    """(m, s) slots of the day with a row."""
    buckets: tuple[Under, ...]
    """What is open of each derived interval; where symbols have different hours, of its parts."""
    first_open: Prices
    """(s,) the day's first price, NaN before it."""
    last_close: Prices
    first_ts: Nanoseconds | None = None
    """(s,) time of that first price; None: rows come in time order."""
    last_ts: Nanoseconds | None = None
    late: LateRows | None = None
    """None: rows come in time order."""
    counts: RowCounts | None = None
    """What became of a feed's rows so far; None: the day was known when it opened."""
    bad: tuple[BadRow, ...] = ()
    finished: tuple[Finished, ...] = ()
    """What is kept of each derived interval's bars, where rows of them may still come."""
    windows: tuple[tuple[int, int], ...] = ()
    """Start and end of each session's window, ns UTC."""
    kept: tuple[tuple[RowBatch, ...], ...] = field(default=(), metadata=IF_SET)
    """The rows of what is open of each part, where some may take the place of others."""
    revised_late: Counts | None = field(default=None, metadata=IF_SET)
    """(s,) bars that would have taken the place of others, but for something that was over."""
    revisions_told: int = field(default=0, metadata=IF_SET)
    auctions: tuple[tuple[int, int], ...] = field(default=(), metadata=IF_SET)
    """The same of sessions that are auctions."""
    waiting: tuple[Batch, ...] = field(default=(), metadata={"snapshot": False})
    """Of rows one after another, those that were not taken into account yet, but for `counts` and
    `bad`. They are when the state is written."""
    rows_waiting: int = field(default=0, metadata={"snapshot": False})
    due_ns: int | None = field(default=None, metadata={"snapshot": False})
    """Before the watermark has come here nothing can be said; None: not known after a restart."""


@dataclass(frozen=True, eq=False, slots=True)
class State:
    today: Open | None = None
    closes: tuple[tuple[str, float], ...] = ()
    """Each symbol's last close of the days before."""


def upkeep(settings: Settings) -> Actor[State]:
    """Whoever looks after the data."""
    return Actor(
        NAME,
        State(),
        partial(update, settings),
        frozenset({DayOpened, DayCleared, HistoryReady, Batch, Inserted}),
        partial(kept, settings),
    )


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match state, message:
        case _, DayOpened() as opened:
            return replace(state, today=_opened(settings, opened)), ()
        case _, DayCleared():
            return replace(state, today=None), ()
        case State(today=Open(opened=opened)), HistoryReady() as ready:
            return state, _indicators(settings, opened, ready)
        case State(today=Open() as today), Inserted() as inserted:
            today, said = _widened(settings, today, inserted)
            return State(today, state.closes), said
        case State(today=Open() as today), Batch() as batch:
            today, said = _kept_up(settings, today, batch)
            state = State(today, state.closes)
            if batch.watermark_ns < today.opened.day.close_ns:
                return state, said
            report = Publish(_report(settings, today, dict(state.closes)))
            return replace(state, closes=_closes(state, today)), (*said, report)
        case _:
            return state, ()


def _indicators(settings: Settings, opened: DayOpened, ready: HistoryReady) -> Effects:
    if not settings.indicators:
        return ()
    slot_ns = max(opened.interval_ns or MINUTE_NS, MINUTE_NS)
    values = tuple(
        indicator_values(spec, function, ready.history, opened.day, period, slot_ns)
        for (spec, function), period in zip(settings.indicators, ready.periods, strict=True)
    )
    return (Publish(IndicatorsReady(values=values)),)


def _opened(settings: Settings, opened: DayOpened) -> Open:
    starts, _ = opened.day.grid(opened.interval_ns or MINUTE_NS)
    s = len(opened.symbols)
    slot_ns = opened.interval_ns or MINUTE_NS
    found = [(of, session_window(opened.day, of, slot_ns)) for of in settings.sessions]
    windows = {spec: window for spec, window in found if isinstance(window, Window)}
    return Open(
        opened=opened,
        seen=np.zeros((len(starts), s), np.bool_),
        buckets=tuple(no_bucket(len(part.symbols)) for part in _parts(settings, opened)),
        first_open=np.full(s, np.nan),
        last_close=np.full(s, np.nan),
        finished=_none_finished(settings, opened) if opened.may_be_filled else (),
        windows=tuple((w.start_ns, w.end_ns) for of, w in windows.items() if not of.auction),
        auctions=tuple((w.start_ns, w.end_ns) for of, w in windows.items() if of.auction),
    )


def _none_finished(settings: Settings, opened: DayOpened) -> tuple[Finished, ...]:
    return tuple(
        none_finished(len(part.day.grid(part.minutes * MINUTE_NS)[0]), len(part.symbols))
        for part in _parts(settings, opened)
    )


def _parts(settings: Settings, opened: DayOpened) -> tuple[Part, ...]:
    return parts_of(opened.day, opened.symbols, settings.intervals_minutes)


def kept(settings: Settings, state: State) -> State:
    """The state as it is written: what waits is taken into account."""
    if state.today is None or not state.today.waiting:
        return state
    today, said = _taken_in(settings, state.today)
    assert not said, "what waits finishes no bar"
    return State(today, state.closes)


def _kept_up(settings: Settings, today: Open, batch: Batch) -> tuple[Open, Effects]:
    if batch.counts is not None or batch.bad:
        # A feed that goes wrong brings nothing else for hours: the first are listed, all counted.
        listed = batch.bad[: BAD_LISTED_MAX - len(today.bad)]
        bad = (*today.bad, *listed) if listed else today.bad
        today = changed(today, counts=_counts(today, batch), bad=bad)
    told: Effects = ()
    if isinstance(batch.auctions, RowBatch) and batch.passed is not None:
        today = changed(today, late=_late_in_auctions(today, batch.auctions, batch.passed_ns))
        today, told = _with_late_revisions(settings, today, batch, batch.auctions, None)
    if not isinstance(batch.rows, RowBatch):
        return _with_rows(settings, today, batch.rows, batch, None)
    today, said = _with_late_revisions(settings, today, batch, batch.rows, batch.passed)
    said = (*told, *said)
    if batch.backfilled is not None:
        today, of_late = _filled(settings, today, batch.backfilled, batch.passed_ns)
        said = (*said, *of_late)
    after, more = _in_turn(settings, today, batch, batch.rows)
    return after, (*said, *more)


def _with_late_revisions(
    settings: Settings, today: Open, batch: Batch, rows: RowBatch, passed: Nanoseconds | None
) -> tuple[Open, Effects]:
    """Count and tell the bars that come again when something that they belong to was over.

    Parameters
    ----------
    passed : (n,) int64, optional
        As in a batch; None: the rows are those in auctions, which belong to no derived bar.
    """
    if rows.revises is None or batch.passed is None or not rows.revises.any():
        return today, ()
    again = np.flatnonzero(rows.revises)
    of = rows.taken(again)
    opened = today.opened
    over: dict[str, Mask] = {}
    for spec in settings.sessions:
        if (spec.auction is not None) == (passed is not None):
            continue
        window = session_window(opened.day, spec, opened.interval_ns or MINUTE_NS)
        if isinstance(window, Window) and window.end_ns <= batch.passed_ns:
            over[spec.name] = is_inside(of, window.start_ns, window.end_ns)
    for part in _parts(settings, opened):
        if not part.symbols or passed is None:
            continue
        mine, at = part.taken(of)
        assert isinstance(mine, RowBatch)
        at = np.arange(len(of)) if at is None else at
        done = over.setdefault(f"{part.minutes}m bars", np.zeros(len(of), np.bool_))
        done[at] |= bucket_ends(mine, part.minutes) <= passed[again][at]
    late = np.logical_or.reduce([*over.values(), np.zeros(len(of), np.bool_)])
    if not late.any():
        return today, ()
    s = len(rows.symbols)
    before = np.zeros(s, np.int64) if today.revised_late is None else today.revised_late
    count = before + np.bincount(of.code[late], minlength=s)
    told = today.revisions_told
    today = changed(today, revised_late=count, revisions_told=told + 1)
    if told >= REVISIONS_TOLD_MAX:
        return today, ()
    symbols = tuple(rows.symbols[code] for code in np.unique(of.code[late]).tolist())
    what = ", ".join(name for name, which in over.items() if which.any())
    names = ", ".join(symbols[:5]) + (", …" if len(symbols) > 5 else "")
    bars = int(late.sum())
    why = f"{'a revised bar' if bars == 1 else f'{bars} revised bars'} of {names} came too late for"
    noticed = Noticed(
        kind="revision.late",
        at_ns=MarketTime(int(of.known[late][-1])),
        why=f"{why} {what}, which stand as they were",
        date=opened.day.date,
        symbols=symbols,
        facts={"bars": bars, "too_late_for": what},
    )
    return today, (Publish(noticed),)


def _in_turn(settings: Settings, today: Open, batch: Batch, rows: RowBatch) -> tuple[Open, Effects]:
    due_ns = today.due_ns
    if due_ns is None:
        due_ns = _due_ns(settings, today, batch.passed_ns)
    waiting, count = (*today.waiting, batch), today.rows_waiting + len(rows)
    today = changed(today, waiting=waiting, rows_waiting=count, due_ns=due_ns)
    if batch.watermark_ns < due_ns and count < ROWS_WAIT_MAX and len(waiting) < BATCHES_WAIT_MAX:
        return today, ()
    return _taken_in(settings, today)


def _due_ns(settings: Settings, today: Open, watermark_ns: int) -> int:
    """When the next bar or window is over: until then all rows are held against the same."""
    day = today.opened.day
    ends = [part.day.grid(part.minutes * MINUTE_NS)[1] for part in _parts(settings, today.opened)]
    following = [int(end) for of in ends for end in of[of > watermark_ns][:1]]
    following += [end for _, end in today.windows if end > watermark_ns]
    return min(following, default=day.close_ns)


def _taken_in(settings: Settings, today: Open) -> tuple[Open, Effects]:
    """What waits, all at once: any cut of a day's rows gives the same."""
    batches, last = today.waiting, today.waiting[-1]
    rows = joined([batch.rows for batch in batches if isinstance(batch.rows, RowBatch)])
    after, said = _with_rows(settings, today, rows, last, _joined_passed(batches))
    due_ns = _due_ns(settings, today, last.watermark_ns)
    return changed(after, waiting=(), rows_waiting=0, due_ns=due_ns), said


def _joined_passed(batches: Sequence[Batch]) -> Nanoseconds | None:
    passed = [batch.passed for batch in batches if batch.passed is not None]
    return np.concatenate(passed) if passed else None


def _with_rows(
    settings: Settings, today: Open, rows: Rows, batch: Batch, passed: Nanoseconds | None
) -> tuple[Open, Effects]:
    """Take rows into account.

    Parameters
    ----------
    batch : Batch
        What they came with, or the last of them.
    passed : (n,) int64, optional
        As in a batch.
    """
    starts, _ = today.opened.day.grid(today.opened.interval_ns or MINUTE_NS)
    buckets: list[Under] = []
    finished = list(today.finished)
    kept = _kept_rows(today, rows)
    said: list[DerivedBars] = []
    late: Mask | None = None
    parts = _parts(settings, today.opened)
    for place, (part, before) in enumerate(zip(parts, today.buckets, strict=True)):
        if not part.symbols:
            buckets.append(before)
            continue
        in_time, at = part.taken(rows)
        if passed is not None and isinstance(in_time, RowBatch):
            over = bucket_ends(in_time, part.minutes) <= (passed if at is None else passed[at])
            if over.any():
                late = np.zeros(len(rows), np.bool_) if late is None else late
                late[over if at is None else at[over]] = True
                in_time = in_time.taken(~over)
        day, until = part.day, batch.watermark_ns
        if kept and isinstance(in_time, RowBatch):
            before, kept[place] = amended(
                before, kept[place], in_time, day.grid(part.minutes * MINUTE_NS)[0]
            )
            in_time = in_time.rows(0, 0)
        if finished and isinstance(in_time, RowBatch):
            finished[place], bucket, bars = derive_and_keep(
                finished[place], before, in_time, day, part.minutes, until
            )
        else:
            bucket, bars = derive(before, in_time, day, part.minutes, until)
        buckets.append(bucket)
        if kept and len(bars):
            kept[place] = left_open(kept[place], part.minutes, until)
        if len(bars):
            said.append(part.of_register(bars, today.opened.symbols))
    after = changed(
        _ends_seen(today, rows),
        seen=minutes_seen(today.seen, rows, starts),
        buckets=tuple(buckets),
        finished=tuple(finished),
        kept=tuple(kept),
    )
    if passed is not None and isinstance(rows, RowBatch):
        if rows.revises is not None and rows.revises.any():  # those are counted apart
            first = ~rows.revises
            rows, late = rows.taken(first), None if late is None else late[first]
        after = changed(after, late=_late(today, rows, batch.passed_ns, late))
    return after, tuple(Publish(BarsDerived(bars=bars)) for bars in together(said))


def _kept_rows(today: Open, rows: Rows) -> list[tuple[RowBatch, ...]]:
    """What is kept of each part, where rows may be revised."""
    if today.kept or not isinstance(rows, RowBatch) or rows.revises is None:
        return list(today.kept)
    return [()] * len(today.buckets)


def _filled(
    settings: Settings, today: Open, rows: RowBatch, passed_ns: int
) -> tuple[Open, Effects]:
    """Rows of history that come late: they are missing in bars that are finished, and in others."""
    if today.waiting:
        today, said = _taken_in(settings, today)
        assert not said, "what waits finishes no bar"
    if not len(rows):
        return today, ()
    starts, _ = today.opened.day.grid(today.opened.interval_ns or MINUTE_NS)
    buckets, finished = list(today.buckets), list(today.finished)
    kept = _kept_rows(today, rows)
    again: list[DerivedBars] = []
    unused = np.zeros(len(rows), np.bool_)
    for place, part in enumerate(_parts(settings, today.opened)):
        if not part.symbols:
            continue
        of, at = part.taken(rows)
        assert isinstance(of, RowBatch)
        at = np.arange(len(rows)) if at is None else at
        over = bucket_ends(of, part.minutes) <= passed_ns
        left = of.taken(~over)
        if kept:
            buckets[place], kept[place] = amended(
                buckets[place], kept[place], left, part.day.grid(part.minutes * MINUTE_NS)[0]
            )
        else:
            buckets[place], none = derive(
                buckets[place], left, part.day, part.minutes, MarketTime(passed_ns)
            )
            assert not len(none), "what is not over finishes no bar"
        if not over.any() or not finished:
            continue
        finished[place], bars, left_out = remade(
            finished[place], of.taken(over), part.day, part.minutes
        )
        unused[at[over][left_out]] = True
        if len(bars):
            again.append(part.of_register(bars, today.opened.symbols))
    after = changed(
        _ends_seen(today, rows),
        seen=minutes_seen(today.seen, rows, starts),
        buckets=tuple(buckets),
        finished=tuple(finished),
        kept=tuple(kept),
    )
    if unused.any():
        after = changed(after, late=_late(after, rows, EPOCH, unused))
    return after, tuple(Publish(BarsDerived(bars=bars, again=True)) for bars in together(again))


def _widened(settings: Settings, today: Open, inserted: Inserted) -> tuple[Open, Effects]:
    """With symbols that come into the day, as if they had been there from its open."""
    if today.waiting:
        today, none = _taken_in(settings, today)
        assert not none, "what waits finishes no bar"
    opened, symbols = inserted.opened, inserted.symbols
    rows, until_ns = inserted.rows, inserted.until_ns
    never = np.full(len(rows), NO_TIME, np.int64)
    batch = Batch(step=0, rows=rows, watermark_ns=until_ns, passed_ns=0)
    passed = None if not isinstance(rows, RowBatch) or rows.by_time else never
    theirs, effects = _with_rows(settings, _opened(settings, opened), rows, batch, passed)
    how = widening(today.opened.symbols, symbols, opened.symbols, inserted.added)
    wide = today.opened.model_copy(update={"symbols": symbols})
    parts = tuple(_parts(settings, each) for each in (today.opened, wide, opened))
    of_parts = widened((parts[0], parts[1], parts[2]), inserted.added)
    counts = today.counts
    if inserted.stored:
        wide = wide.model_copy(update={"counts": inserted.counts, "bad": inserted.bad})
    else:
        of_day = counts_on(wide.counts, today.opened.symbols, symbols)
        wide = wide.model_copy(update={"counts": of_day})
        came = counts_on(inserted.counts, opened.symbols, symbols)
        if counts is not None:
            came = added(counts_on(counts, today.opened.symbols, symbols), came)
        counts = came
    late = today.late
    if late is not None:
        late = LateRows(
            rows=how.filled(late.rows, 0),
            sessions=how.filled(late.sessions, 0),
            bars=how.filled(late.bars, 0),
        )
    revised_late = today.revised_late
    after = changed(
        today,
        opened=wide,
        seen=how.columns(today.seen, theirs.seen),
        buckets=tuple(
            wider(a, b, of)
            for a, b, of in zip(today.buckets, theirs.buckets, of_parts, strict=True)
        ),
        first_open=how.columns(today.first_open, theirs.first_open),
        last_close=how.columns(today.last_close, theirs.last_close),
        first_ts=_times_with(today.first_ts, theirs.first_ts, how),
        last_ts=_times_with(today.last_ts, theirs.last_ts, how),
        late=late,
        revised_late=None if revised_late is None else how.filled(revised_late, 0),
        kept=_kept_with(today, theirs, of_parts),
        counts=counts,
        bad=today.bad if inserted.stored else (*today.bad, *inserted.bad)[:BAD_LISTED_MAX],
        finished=tuple(
            wider_finished(a, b, of)
            for a, b, of in zip(today.finished, theirs.finished, of_parts, strict=False)
        ),
        due_ns=None,
    )
    said: list[Publish] = []
    for effect in effects:
        if isinstance(effect, Publish) and isinstance(effect.message, BarsDerived):
            bars = bars_on(effect.message.bars, inserted.added, symbols)
            if len(bars):
                # A symbol that comes again may have had some of them.
                said.append(Publish(BarsDerived(bars=bars, again=True)))
    if inserted.history is not None:
        said += [e for e in _indicators(settings, wide, inserted.history) if isinstance(e, Publish)]
    return after, tuple(said)


def _kept_with(
    today: Open, theirs: Open, of_parts: Sequence[Widening]
) -> tuple[tuple[RowBatch, ...], ...]:
    if not (today.kept or theirs.kept):
        return ()
    none: tuple[tuple[RowBatch, ...], ...] = ((),) * len(of_parts)
    return tuple(
        rows_widened(a, b, of)
        for a, b, of in zip(today.kept or none, theirs.kept or none, of_parts, strict=True)
    )


def _times_with(
    old: Nanoseconds | None, new: Nanoseconds | None, how: Widening
) -> Nanoseconds | None:
    if old is None and new is None:
        return None
    was = np.full(len(how.before), NO_TIME, np.int64) if old is None else old
    comes = np.full(len(how.alone), NO_TIME, np.int64) if new is None else new
    return how.columns(was, comes)


def _counts(today: Open, batch: Batch) -> RowCounts | None:
    if batch.counts is None or today.counts is None:
        return batch.counts or today.counts
    return added(today.counts, batch.counts)


def _late(today: Open, rows: RowBatch, passed_ns: int, for_bars: Mask | None) -> LateRows:
    """The rows that have come too late so far; `for_bars` are those among these."""
    s = len(rows.symbols)
    late = today.late
    if late is None:
        none = np.zeros(s, np.int64)
        late = LateRows(rows=none, sessions=none, bars=none)
    for_sessions = np.zeros(len(rows), np.bool_)
    for start_ns, end_ns in today.windows:
        if end_ns <= passed_ns:
            for_sessions |= is_inside(rows, start_ns, end_ns)
    for_bars = np.zeros(len(rows), np.bool_) if for_bars is None else for_bars
    if not (for_sessions.any() or for_bars.any()):
        return late

    def counted(which: Mask) -> Counts:
        return np.bincount(rows.code[which], minlength=s)

    return LateRows(
        rows=late.rows + counted(for_sessions | for_bars),
        sessions=late.sessions + counted(for_sessions),
        bars=late.bars + counted(for_bars),
    )


def _late_in_auctions(today: Open, rows: RowBatch, passed_ns: int) -> LateRows:
    if rows.revises is not None:  # those are counted apart
        rows = rows.taken(~rows.revises)
    return _late(changed(today, windows=today.auctions), rows, passed_ns, None)


def _ends_seen(today: Open, rows: Rows) -> Open:
    """The day's first and last price of each symbol, after a further batch."""
    if isinstance(rows, RowBatch) and not rows.by_time:
        return _ends_by_time(today, rows)
    first, last = _ends(rows)
    return changed(
        today,
        first_open=np.where(np.isnan(today.first_open), first, today.first_open),
        last_close=np.where(np.isnan(last), today.last_close, last),
    )


def _ends_by_time(today: Open, rows: RowBatch) -> Open:
    if len(rows) == 0:
        return today
    rows = rows.standing
    never = np.full(len(rows.symbols), NO_TIME, np.int64)
    first_ts = never if today.first_ts is None else today.first_ts
    last_ts = never if today.last_ts is None else today.last_ts
    order = rows.by_symbol_in_time  # of equal times the first to come is first
    code, ts = rows.code[order], rows.ts[order]
    heads = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
    tails = np.append(heads[1:], len(code)) - 1
    who = code[heads]
    opens = np.isnan(today.first_open[who]) | (ts[heads] < first_ts[who])
    if rows.revises is not None:
        opens |= rows.revises[order[heads]] & (ts[heads] == first_ts[who])
    closes = ts[tails] >= last_ts[who]
    first_open, last_close = today.first_open.copy(), today.last_close.copy()
    first_ts, last_ts = first_ts.copy(), last_ts.copy()
    first_open[who] = np.where(opens, rows.open[order[heads]], first_open[who])
    first_ts[who] = np.where(opens, ts[heads], first_ts[who])
    last_close[who] = np.where(closes, rows.close[order[tails]], last_close[who])
    last_ts[who] = np.where(closes, ts[tails], last_ts[who])
    return changed(
        today, first_open=first_open, last_close=last_close, first_ts=first_ts, last_ts=last_ts
    )


def _ends(rows: Rows) -> tuple[Prices, Prices]:
    """Each symbol's first and last price in a batch, NaN where it has no row."""
    s = len(rows.symbols)
    first, last = np.full(s, np.nan), np.full(s, np.nan)
    if len(rows) == 0:
        return first, last
    if isinstance(rows, BarBlock):
        if rows.whole:
            return rows.open[0], rows.close[-1]
        who = np.arange(s)
        first = rows.open[rows.present.argmax(axis=0), who]
        last = rows.close[len(rows) - 1 - rows.present[::-1].argmax(axis=0), who]
    else:
        first[rows.code[::-1]] = rows.open[::-1]
        last[rows.code] = rows.close
    return first, last


def _report(settings: Settings, today: Open, closes: dict[str, float]) -> QualityReport:
    opened = today.opened
    counts = today.counts or opened.counts
    if today.revised_late is not None:
        by_rule = (*counts.by_rule, ("revised_late", today.revised_late))
        counts = replace(counts, by_rule=by_rule)
    s = len(opened.symbols)
    before = np.array([closes.get(symbol, np.nan) for symbol in opened.symbols])
    # Prices that may be 0 or below, as of spreads, are never split.
    change = np.full(s, np.nan)
    np.divide(today.first_open, before, out=change, where=(before > 0) & (today.first_open > 0))
    jumped = np.abs(change - 1.0) > SPLIT_CHANGE
    return QualityReport(
        quality=day_quality(
            opened.day,
            opened.symbols,
            opened.interval_ns or MINUTE_NS,
            today.seen if settings.measures_quality else np.ones_like(today.seen),
            counts,
            late=np.zeros(s, np.int64) if today.late is None else today.late.rows,
        ),
        bad=(*opened.bad, *today.bad),
        ohlc_outside=int(counts.ohlc_outside.sum()),
        rows=int(counts.rows.sum()),
        possible_splits=tuple(
            PossibleSplit(
                symbol=opened.symbols[i],
                previous_close=float(before[i]),
                open=float(today.first_open[i]),
            )
            for i in np.flatnonzero(jumped)
        ),
        late=today.late,
    )


def _closes(state: State, today: Open) -> tuple[tuple[str, float], ...]:
    closes = dict(state.closes)
    for symbol, close in zip(today.opened.symbols, today.last_close.tolist(), strict=True):
        if close == close:  # noqa: PLR0124 - not NaN
            closes[symbol] = close
    return tuple(closes.items())
