"""What follows a breakout and belongs to it: a close beyond after a touch, a return to the level.

A return counts once prices have closed away from the level, and comes from there. Both are looked
for from the row after the break's on, until the side breaks anew or the day is over. Bars that take
the place of others are passed by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Mask, Positions, Prices, RowBatch, Rows
from openbell.market.breakouts import (
    Armed,
    BreakRules,
    Breaks,
    limit_of,
    outward,
    rows_since,
    tick_of,
)
from openbell.market.days import MINUTE_NS, Nanoseconds
from openbell.market.kinds import CLOSED_BEYOND, RETEST
from openbell.market.prices import limits
from openbell.market.results import HIGH_BREAK, LOW_BREAK, NO_TIME

_OUTWARD = np.array([[1.0], [-1.0]])


@dataclass(frozen=True, eq=False)
class Following:
    """What is waited for after the last breaks; arrays (2, s), the high side first."""

    since_ns: Nanoseconds
    """`ts` of the break: rows of before it don't count."""
    broke_ns: Nanoseconds
    """When it was known."""
    closing: Mask
    """Whether a close beyond is waited for."""
    until_ns: Nanoseconds
    """A return known after this comes too late; NO_TIME where none is waited for."""
    away: Mask
    """Whether prices have closed away from the level since the break."""
    limit: Prices | None = field(default=None, metadata={"snapshot": False})
    """The last numbers that a return may have; None after a restart."""

    @property
    def some(self) -> Mask:
        """(2, s) sides of which something is waited for."""
        waits: Mask = self.closing | (self.until_ns != NO_TIME)
        return waits


def follows(rules: BreakRules) -> bool:
    """Whether anything is looked for after breaks."""
    return (rules.closed_beyond and rules.confirm == "touch") or rules.retest_bars > 0


def nothing_follows(symbols: int) -> Following:
    shape = (2, symbols)
    none = np.zeros(shape, np.bool_)
    never = np.full(shape, NO_TIME)
    return Following(since_ns=never, broke_ns=never, closing=none, until_ns=never, away=none)


def kinds_waited_for(state: Following, side: int, symbol: int) -> tuple[int, ...]:
    """What may still follow a side's last break, as positions in KINDS."""
    closes, returns = state.closing[side, symbol], state.until_ns[side, symbol] != NO_TIME
    return (*((CLOSED_BEYOND,) if closes else ()), *((RETEST,) if returns else ()))


def of_sides(state: Following, sides: Mask) -> Following:
    """What is waited for of some sides (2, s) only."""
    return replace(
        state,
        since_ns=np.where(sides, state.since_ns, NO_TIME),
        broke_ns=np.where(sides, state.broke_ns, NO_TIME),
        closing=state.closing & sides,
        until_ns=np.where(sides, state.until_ns, NO_TIME),
        away=state.away & sides,
    )


def with_sides(state: Following, other: Following, sides: Mask) -> Following:
    """With what is waited for of some sides as another has it."""
    return replace(
        state,
        since_ns=np.where(sides, other.since_ns, state.since_ns),
        broke_ns=np.where(sides, other.broke_ns, state.broke_ns),
        closing=np.where(sides, other.closing, state.closing),
        until_ns=np.where(sides, other.until_ns, state.until_ns),
        away=np.where(sides, other.away, state.away),
    )


def return_limit(state: Following, armed: Armed, rules: BreakRules) -> Prices:
    """(2, s) the last numbers that a return may have: from the outside, they are reached first."""
    if state.limit is not None:
        return state.limit
    return limits(_zone(armed, rules), _OUTWARD, tick_of(armed, rules))


def _zone(armed: Armed, rules: BreakRules) -> Prices:
    """(2, s) what prices have to come back to."""
    tolerance, unit = rules.retest_tolerance, rules.retest_unit
    return outward(armed.level, tolerance, unit, rules.tick, armed.ticks)


@dataclass(frozen=True, eq=False)
class _Spans:
    """After a break, the rows that may belong to it; arrays (k,)."""

    side: NDArray[np.int8]
    symbol: Positions
    number: NDArray[np.int32]
    since_ns: Nanoseconds
    broke_ns: Nanoseconds
    closing: Mask
    until_ns: Nanoseconds
    away: Mask
    start: Positions
    """The first row of the batch that counts."""
    stop: Positions
    """The row with which the side breaks anew, or the batch's length."""

    def taken(self, which: Mask | Positions) -> _Spans:
        return _Spans(**{name: column[which] for name, column in vars(self).items()})


def followed_up(
    state: Following,
    armed: Armed,
    rows: Rows,
    rules: BreakRules,
    breaks: Breaks | None,
    *,
    late: bool = False,
) -> tuple[Following, Breaks | None]:
    """What follows breaks in a further batch, and what is left to wait for.

    Parameters
    ----------
    armed : Armed
        Before the batch.
    rows : BarBlock or RowBatch
        As `find_breaks` had them, which found `breaks` there.
    late : bool
        Whether these are rows of before that came late: a return's time goes by their ends.
    """
    if breaks is None and not state.some.any():
        return state, None
    since, turns = rows_since(rows, armed.from_ns)
    known = since.ends if late or isinstance(since, BarBlock) else since.known
    if state.limit is None:
        state = replace(state, limit=return_limit(state, armed, rules))
    spans = _spans(state, armed, since, rules, breaks)
    closed_row, spans = _closed(spans, armed, since, rules)
    return_row, spans = _returned(spans, state, armed, since, rules, known)
    state = _left(state, spans, len(since))
    row = np.concatenate([closed_row, return_row])
    found = np.flatnonzero(row >= 0)
    if not len(found):
        return state, None
    kind = np.repeat(np.array([CLOSED_BEYOND, RETEST], np.int8), len(closed_row))[found]
    place = (np.arange(len(row)) % max(len(closed_row), 1))[found]
    return state, _events(spans, place, kind, row[found], state, armed, since, turns, rules)


def _spans(
    state: Following, armed: Armed, rows: Rows, rules: BreakRules, breaks: Breaks | None
) -> _Spans:
    """What was waited for before the batch, and what its breaks are followed by."""
    side, symbol = np.nonzero(state.some)
    k = len(side)
    before = _Spans(
        side=side.astype(np.int8),
        symbol=symbol,
        number=armed.broken[side, symbol],
        since_ns=state.since_ns[side, symbol],
        broke_ns=state.broke_ns[side, symbol],
        closing=state.closing[side, symbol],
        until_ns=state.until_ns[side, symbol],
        away=state.away[side, symbol],
        start=np.zeros(k, np.intp),
        stop=np.full(k, len(rows), np.intp),
    )
    if breaks is None:
        return before
    limit = return_limit(state, armed, rules)[breaks.side, breaks.symbol]
    at = breaks.row if isinstance(rows, RowBatch) else (breaks.row, breaks.symbol)
    close = rows.close[at]
    k = len(breaks.ts)
    until_ns = np.full(k, NO_TIME)
    if rules.retest_bars:
        until_ns = _until(rows, breaks.ts, rules.retest_bars)
    closing = np.zeros(k, np.bool_)
    if rules.closed_beyond:
        closing = breaks.closed_beyond_at == NO_TIME
    new = _Spans(
        side=breaks.side,
        symbol=breaks.symbol.astype(np.intp),
        number=breaks.number,
        since_ns=breaks.ts,
        broke_ns=breaks.known_at,
        closing=closing,
        until_ns=until_ns,
        away=(until_ns != NO_TIME)
        & np.where(breaks.side == HIGH_BREAK, close > limit, close < limit),
        start=breaks.row + 1,
        stop=np.full(k, len(rows), np.intp),
    )
    spans = _Spans(
        **{name: np.concatenate([getattr(before, name), of]) for name, of in vars(new).items()}
    )
    # A break ends what was waited for after the one before it.
    order = np.lexsort((spans.start, spans.symbol, spans.side))
    spans = spans.taken(order)
    same = (spans.side[1:] == spans.side[:-1]) & (spans.symbol[1:] == spans.symbol[:-1])
    stop = spans.stop.copy()
    stop[:-1][same] = spans.start[1:][same] - 1
    return replace(spans, stop=stop)


def _until(rows: Rows, ts: Nanoseconds, bars: int) -> Nanoseconds:
    """The last instant at which a row may be known: the end of the n-th bar (of ticks: minute)."""
    starts, ends = rows.day.grid(rows.interval_ns or MINUTE_NS)
    at = starts.searchsorted(ts, side="right") - 1 + bars
    until: Nanoseconds = ends[np.minimum(at, len(ends) - 1)]
    return until if rows.interval_ns is not None else until - 1


def _closed(spans: _Spans, armed: Armed, rows: Rows, rules: BreakRules) -> tuple[Positions, _Spans]:
    """Rows that are the first to close beyond, -1 where none does."""
    found = np.full(len(spans.side), -1, np.intp)
    waits = np.flatnonzero(spans.closing)
    if not len(waits):
        return found, spans
    row, of = _listed(rows, spans, waits)
    close = rows.close[_at(rows, row, spans.symbol[of])]
    side = spans.side[of]
    limit = limit_of(armed, rules)[side, spans.symbol[of]]
    over = np.where(side == HIGH_BREAK, close > limit, close < limit)
    over &= rows.ts[row] >= spans.since_ns[of]
    which, first = np.unique(of[over], return_index=True)
    found[which] = row[over][first]
    return found, replace(spans, closing=spans.closing & (found < 0))


def _returned(
    spans: _Spans,
    state: Following,
    armed: Armed,
    rows: Rows,
    rules: BreakRules,
    known: Nanoseconds,
) -> tuple[Positions, _Spans]:
    """Rows that are the first to come back from away, -1 where none does."""
    found = np.full(len(spans.side), -1, np.intp)
    waits = np.flatnonzero(spans.until_ns != NO_TIME)
    if not len(waits):
        return found, spans
    # What is known later than all of them comes too late: of a whole day, most rows.
    row, of = _listed(rows, spans, waits, known)
    timely = (rows.ts[row] >= spans.since_ns[of]) & (known[row] <= spans.until_ns[of])
    row, of = row[timely], of[timely]
    at, side = _at(rows, row, spans.symbol[of]), spans.side[of]
    limit = return_limit(state, armed, rules)[side, spans.symbol[of]]
    high = side == HIGH_BREAK
    out = np.where(high, rows.close[at] > limit, rows.close[at] < limit)
    which, first = np.unique(of[out], return_index=True)
    went = np.full(len(spans.side), np.iinfo(np.intp).max, np.intp)
    went[which] = np.flatnonzero(out)[first]
    went[spans.away] = -1
    back = np.where(high, rows.low[at] <= limit, rows.high[at] >= limit)
    back &= np.arange(len(row)) > went[of]
    away = spans.away.copy()
    away[which] = True
    which, first = np.unique(of[back], return_index=True)
    found[which] = row[back][first]
    away[which] = False
    until_ns = np.where(found < 0, spans.until_ns, NO_TIME)
    return found, replace(spans, until_ns=until_ns, away=away)


def _listed(
    rows: Rows, spans: _Spans, waits: Positions, known: Nanoseconds | None = None
) -> tuple[Positions, Positions]:
    """The rows of some spans, one span after another, and of which span each is."""
    start, stop = spans.start[waits], spans.stop[waits]
    if isinstance(rows, BarBlock):
        if known is not None:
            stop = np.minimum(stop, known.searchsorted(spans.until_ns[waits], side="right"))
        lo, hi, order = start, np.maximum(start, stop), None
    else:
        # Symbol by symbol, each symbol's in their order.
        order = rows.by_symbol
        keys = rows.code[order].astype(np.int64) * (len(rows) + 1) + order
        base = spans.symbol[waits].astype(np.int64) * (len(rows) + 1)
        lo, hi = keys.searchsorted(base + start), keys.searchsorted(base + stop)
    counts = np.maximum(hi - lo, 0)
    of = np.repeat(waits, counts)
    before = np.cumsum(counts) - counts
    place = np.arange(len(of)) - np.repeat(before - lo, counts)
    if order is None:
        return place, of
    row = order[place]
    if isinstance(rows, RowBatch) and rows.revises is not None:
        # It was looked at as it came first.
        first = ~rows.revises[row]
        row, of = row[first], of[first]
    return row, of


def _at(rows: Rows, row: Positions, symbol: Positions) -> Positions | tuple[Positions, Positions]:
    return row if isinstance(rows, RowBatch) else (row, symbol)


def _left(state: Following, spans: _Spans, rows: int) -> Following:
    """What is waited for after the batch: of a side's spans the last one counts."""
    last = spans.taken(spans.stop == rows)
    at = last.side.astype(np.intp), last.symbol
    columns = {}
    for name in ("since_ns", "broke_ns", "closing", "until_ns", "away"):
        column, after = getattr(state, name), getattr(last, name)
        if not np.array_equal(column[at], after):
            columns[name] = column.copy()
            columns[name][at] = after
    return replace(state, **columns) if columns else state


def _events(
    spans: _Spans,
    place: Positions,
    kind: NDArray[np.int8],
    row: Positions,
    state: Following,
    armed: Armed,
    rows: Rows,
    turns: Nanoseconds,
    rules: BreakRules,
) -> Breaks:
    side, symbol = spans.side[place], spans.symbol[place]
    at = _at(rows, row, symbol)
    known = rows.ends if isinstance(rows, BarBlock) else rows.known
    price, opened = rows.close[at], rows.open[at]
    zone = _zone(armed, rules)[side, symbol]
    limit = return_limit(state, armed, rules)[side, symbol]
    there = np.where(side == HIGH_BREAK, opened <= limit, opened >= limit)
    back = kind == RETEST
    price = np.where(back, np.where(there, opened, zone), price)
    no = np.zeros(len(row), np.bool_)
    return Breaks(
        symbol=symbol.astype(np.int32),
        side=side,
        number=spans.number[place],
        row=row,
        turn=turns[row],
        ts=rows.ts[row],
        known_at=known[row],
        price=price,
        level=armed.level[side, symbol],
        gap=no,
        ambiguous=no,
        complete=armed.complete[symbol],
        touched_at=np.full(len(row), NO_TIME),
        touch_excess=np.full(len(row), np.nan),
        closed_beyond_at=np.where(back, NO_TIME, rows.ts[row]),
        kind=kind,
        broke_at=spans.broke_ns[place],
        conditions=np.zeros(len(row), np.int16),
    )


def following_aims(
    state: Following, armed: Armed, rules: BreakRules, now_ns: int
) -> tuple[Prices, int]:
    """What rows have to be beyond to matter to what is waited for.

    Returns
    -------
    aims : (2, s) float64
        Above the first or below the second; NaN where nothing is.
    until_ns : int
        When the first of the returns waited for comes too late.
    """
    limit, zone = limit_of(armed, rules), return_limit(state, armed, rules)
    returns = (state.until_ns != NO_TIME) & (state.until_ns >= now_ns)
    leaving = np.where(returns & ~state.away, zone, np.nan)
    # A number below its follower is at most the number itself.
    coming = np.where(returns & state.away, np.nextafter(zone, _OUTWARD * np.inf), np.nan)
    closing = np.where(state.closing, limit, np.nan)
    aims = np.stack(
        [
            np.fmin(np.fmin(closing[HIGH_BREAK], leaving[HIGH_BREAK]), coming[LOW_BREAK]),
            np.fmax(np.fmax(closing[LOW_BREAK], leaving[LOW_BREAK]), coming[HIGH_BREAK]),
        ]
    )
    until = state.until_ns[returns]
    return aims, int(until.min()) if len(until) else np.iinfo(np.int64).max
