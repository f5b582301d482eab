"""Highs and lows of a session, folded batch by batch; any cut gives the same levels."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import numpy as np

from openbell.market.bars import (
    IF_SET,
    BarBlock,
    Codes,
    Mask,
    Positions,
    Prices,
    RowBatch,
    Rows,
    with_piece,
)
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay
from openbell.market.results import NO_TIME, Counts, Levels
from openbell.market.windows import Window


@dataclass(frozen=True, eq=False)
class Extremes:
    """What a session has seen so far, one element a symbol (s,)."""

    high: Prices
    low: Prices
    count: Counts
    first_ts: Nanoseconds
    last_ts: Nanoseconds
    seen: Mask
    """(slots, s): which of the window's minutes (bars) had a row."""
    first: FirstBar | None = field(default=None, metadata=IF_SET)
    """None: nobody asks for it."""


@dataclass(frozen=True, eq=False)
class FirstBar:
    """Each symbol's first bar in a session, of shorter bars and ticks its first minute; (s,)."""

    slot: Counts
    """Place in the window's slots; -1: there is none yet."""
    open_ts: Nanoseconds
    open: Prices
    close_ts: Nanoseconds
    close: Prices


def nothing_seen(symbols: int, slots: int, *, first_bar: bool = False) -> Extremes:
    """The start of a session over that many symbols and expected slots."""
    first = None
    if first_bar:
        never, nan = np.full(symbols, NO_TIME, np.int64), np.full(symbols, np.nan)
        first = FirstBar(np.full(symbols, -1, np.int64), never, nan, never, nan)
    return Extremes(
        high=np.full(symbols, np.nan),
        low=np.full(symbols, np.nan),
        count=np.zeros(symbols, np.int64),
        first_ts=np.full(symbols, NO_TIME, np.int64),
        last_ts=np.full(symbols, NO_TIME, np.int64),
        seen=np.zeros((slots, symbols), np.bool_),
        first=first,
    )


def extended(seen: Extremes, rows: Rows, window: Window) -> Extremes:
    """What has been seen after a further batch; rows outside the window don't count.

    A bar belongs to the window that holds all of it, a tick to the one that holds its time; the
    order in which rows come doesn't matter.
    """
    if isinstance(rows, BarBlock):
        start = int(np.searchsorted(rows.ts, window.start_ns, side="left"))
        stop = int(np.searchsorted(rows.ends, window.end_ns, side="right"))
        return _with_bars(seen, rows.rows(start, stop), window) if start < stop else seen
    inside = rows_inside(rows, window.start_ns, window.end_ns)
    return _with_rows(seen, inside, window) if len(inside) else seen


def amended(
    seen: Extremes, kept: tuple[RowBatch, ...], rows: RowBatch, window: Window, none: Extremes
) -> tuple[Extremes, tuple[RowBatch, ...]]:
    """As `extended`, of bars that may take the place of earlier ones.

    Parameters
    ----------
    kept : tuple of RowBatch
        What the window holds of the rows so far, each batch as it came.
    none : Extremes
        As before the first row.

    Returns
    -------
    seen : Extremes
    kept : tuple of RowBatch
        With these rows.
    """
    inside = rows_inside(rows, window.start_ns, window.end_ns)
    if not len(inside):
        return seen, kept
    kept, revised = with_piece(kept, inside)
    if revised:
        return _with_rows(none, kept[0], window), kept
    return _with_rows(seen, inside, window), kept


def rows_inside(rows: RowBatch, start_ns: int, end_ns: int) -> RowBatch:
    """The rows that a window holds, in their order."""
    if rows.by_time and rows.interval_ns is None:
        start, stop = rows.ts.searchsorted((start_ns, end_ns))
        return rows.rows(int(start), int(stop))
    return rows.taken(is_inside(rows, start_ns, end_ns))


def is_inside(rows: RowBatch, start_ns: int, end_ns: int) -> Mask:
    """(n,) whether a window holds all of a bar, or a tick's time."""
    inside: Mask = rows.ts >= start_ns
    inside &= rows.ts < end_ns if rows.interval_ns is None else rows.ends <= end_ns
    return inside


def partly(
    partial: Mask | None,
    window: Window,
    symbols: tuple[str, ...],
    from_ns: int,
    until_ns: int,
    of: tuple[str, ...] | None,
    *,
    filled: bool,
) -> Mask | None:
    """Of which of a window's minutes only a part of the ticks came, after a stretch was missed.

    Parameters
    ----------
    partial : (slots, s) bool, optional
        What was known of before; None: nothing.
    from_ns, until_ns : int
        The stretch, both ends included.
    of : tuple of str, optional
        Whose ticks; None: of all.
    filled : bool
        Whether they have come by now.
    """
    touched = (window.slots <= until_ns) & (window.slots + MINUTE_NS > from_ns)
    if not touched.any() or (filled and partial is None):
        return partial
    whose = np.array([of is None or symbol in of for symbol in symbols], np.bool_)
    after = np.zeros((len(touched), len(symbols)), np.bool_) if partial is None else partial.copy()
    after[np.ix_(touched, whose)] = not filled
    return after if after.any() else None


def levels(seen: Extremes, symbols: tuple[str, ...], partial: Mask | None = None) -> Levels:
    """The levels of a session that is over; `partial` as `partly` gives it."""
    whole = seen.seen if partial is None else seen.seen & ~partial
    return Levels(
        symbols=symbols,
        high=seen.high,
        low=seen.low,
        count=seen.count,
        first_ts=seen.first_ts,
        last_ts=seen.last_ts,
        complete=np.all(whole, axis=0),
        first_open=None if seen.first is None else seen.first.open,
        first_close=None if seen.first is None else seen.first.close,
    )


def _with_bars(seen: Extremes, bars: BarBlock, window: Window) -> Extremes:
    present = bars.present
    slots = seen.seen.copy()
    slots[window.slots.searchsorted(bars.ts)] |= present
    some: Mask
    if bars.whole:
        some, count = present[0], np.int64(len(bars))
        first, last = bars.ts[:1], bars.ts[-1:]
    else:
        some, count = np.logical_or.reduce(present, axis=0), present.sum(axis=0)
        first = bars.ts[present.argmax(axis=0)]
        last = bars.ts[len(bars) - 1 - present[::-1].argmax(axis=0)]
    return Extremes(
        high=np.fmax(seen.high, np.fmax.reduce(bars.high, axis=0)),
        low=np.fmin(seen.low, np.fmin.reduce(bars.low, axis=0)),
        count=seen.count + count,
        first_ts=np.where(some & (seen.first_ts == NO_TIME), first, seen.first_ts),
        last_ts=np.where(some, last, seen.last_ts),
        seen=slots,
        first=None if seen.first is None else _first_of_bars(seen.first, bars, window),
    )


def _first_of_bars(first: FirstBar, bars: BarBlock, window: Window) -> FirstBar:
    slot = _minutes(window, bars.day).searchsorted(bars.ts, side="right") - 1
    which = np.where(first.slot < 0, np.iinfo(np.int64).max, first.slot)
    if bars.whole:  # mostly: then the first of these rows are those of all symbols
        who = np.flatnonzero(which >= slot[0])
        if not len(who):
            return first
        last = int(slot.searchsorted(slot[0], side="right")) - 1
        opens = bars.ts[:1], bars.open[0, who]
        closes = bars.ts[last : last + 1], bars.close[last, who]
        return _merged(first, who, slot[:1], slot[0] < which[who], opens, closes)
    # Rows of a block only go up in time: what is known of a first slot stays.
    place = np.where(bars.present, slot[:, None], np.iinfo(np.int64).max)
    earliest = np.minimum(which, place.min(axis=0))
    inside = place == earliest
    some = inside.any(axis=0)
    who = np.flatnonzero(some)
    head = inside[:, who].argmax(axis=0)
    tail = len(bars) - 1 - inside[::-1][:, who].argmax(axis=0)
    fresh = earliest[who] < which[who]
    opens, closes = (bars.ts[head], bars.open[head, who]), (bars.ts[tail], bars.close[tail, who])
    return _merged(first, who, earliest[who], fresh, opens, closes)


def _with_rows(seen: Extremes, rows: RowBatch, window: Window) -> Extremes:
    order = rows.by_symbol
    code = rows.code[order]
    starts = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
    who = code[starts]
    ts = rows.ts[order]
    stops = np.append(starts[1:], len(code))

    high, low = seen.high.copy(), seen.low.copy()
    count, first, last = seen.count.copy(), seen.first_ts.copy(), seen.last_ts.copy()
    high[who] = np.fmax(high[who], np.maximum.reduceat(rows.high[order], starts))
    low[who] = np.fmin(low[who], np.minimum.reduceat(rows.low[order], starts))
    count[who] += stops - starts
    earliest = np.minimum.reduceat(ts, starts)
    first[who] = np.where(first[who] == NO_TIME, earliest, np.minimum(first[who], earliest))
    last[who] = np.maximum(last[who], np.maximum.reduceat(ts, starts))
    slots = seen.seen.copy()
    of_all, rows = rows, rows.entire
    slots[np.searchsorted(window.slots, rows.ts, side="right") - 1, rows.code] = True
    bar = None if seen.first is None else _first_of_rows(seen.first, of_all, window)
    return Extremes(high, low, count, first, last, slots, bar)


def _first_of_rows(first: FirstBar, rows: RowBatch, window: Window) -> FirstBar:
    order = rows.by_symbol_in_time  # of equal times in the order in which they came
    code = rows.code[order]
    slot = _minutes(window, rows.day).searchsorted(rows.ts[order], side="right") - 1
    heads = np.flatnonzero(np.append(True, code[1:] != code[:-1]))
    lengths = np.diff(np.append(heads, len(code)))
    who = code[heads]
    which = np.where(first.slot[who] < 0, np.iinfo(np.int64).max, first.slot[who])
    earliest = slot[heads]
    inside = slot == np.repeat(earliest, lengths)
    tails = heads + np.add.reduceat(inside, heads, dtype=np.intp) - 1
    concerned = earliest <= which
    heads, tails, who = order[heads[concerned]], order[tails[concerned]], who[concerned]
    opens, closes = (rows.ts[heads], rows.open[heads]), (rows.ts[tails], rows.close[tails])
    fresh = (earliest < which)[concerned]
    return _merged(first, who, earliest[concerned], fresh, opens, closes)


def _minutes(window: Window, day: TradingDay) -> Nanoseconds:
    """The slots of a window, where bars are shorter the minutes that they lie in."""
    starts, _ = day.grid(MINUTE_NS)
    inside = starts[(starts < window.end_ns) & (starts + MINUTE_NS > window.start_ns)]
    return inside if len(window.slots) > len(inside) else window.slots


def _merged(
    first: FirstBar,
    who: Codes | Positions,
    slot: Counts,
    fresh: Mask,
    opens: tuple[Nanoseconds, Prices],
    closes: tuple[Nanoseconds, Prices],
) -> FirstBar:
    """With what further rows have of the first bars of some symbols.

    Parameters
    ----------
    slot, and the times of opens and closes : (k,) or (1,)
    fresh : (k,) bool
        Whether that bar is earlier than the one that is known.
    opens, closes : (k,) each
        Time and price of its first and last row among these.
    """
    (open_ts, open_), (close_ts, close) = opens, closes
    after = FirstBar(*(getattr(first, of.name).copy() for of in fields(FirstBar)))
    after.slot[who] = slot
    sooner = fresh | (open_ts < first.open_ts[who])
    after.open_ts[who] = np.where(sooner, open_ts, first.open_ts[who])
    after.open[who] = np.where(sooner, open_, first.open[who])
    later = fresh | (close_ts >= first.close_ts[who])
    after.close_ts[who] = np.where(later, close_ts, first.close_ts[who])
    after.close[who] = np.where(later, close, first.close[who])
    return after


def minutes_seen(seen: Mask, rows: Rows, starts: Nanoseconds) -> Mask:
    """Which of a day's slots had a row, after a further batch.

    Parameters
    ----------
    seen : (m, s) bool
    starts : (m,) int64, ns UTC
        Slots of the day: `day.grid(interval)[0]`, minutes for ticks.
    """
    if len(rows) == 0:
        return seen
    after = seen.copy()
    if isinstance(rows, BarBlock):
        slot = starts.searchsorted(rows.ts)
        if slot[-1] - slot[0] == len(slot) - 1:
            after[slot[0] : slot[-1] + 1] |= rows.present
        else:
            np.logical_or.at(after, slot, rows.present)
    else:
        rows = rows.standing
        slot = np.searchsorted(starts, rows.ts, side="right") - 1
        if rows.partial is None:
            after[slot, rows.code] = True
        else:
            after[slot[~rows.partial], rows.code[~rows.partial]] = True
            if rows.revises is not None:
                lacks = rows.revises & rows.partial
                after[slot[lacks], rows.code[lacks]] = False
    return after
