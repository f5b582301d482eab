"""Breakouts: prices strictly beyond a completed session's levels.

The rule is the opening range breakout's (T. Crabel, *Day Trading with Short Term Price Patterns
and Opening Range Breakout*, Traders Press, 1990), for any window: a side breaks when a price
lies beyond its level for the first time after the window, until the close.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import (
    IF_SET,
    BarBlock,
    Codes,
    Mask,
    Positions,
    Prices,
    RowBatch,
    Rows,
    grouped,
)
from openbell.market.conditions import CONDITIONS, Condition, Until, Verdict, Width, verdict
from openbell.market.days import Nanoseconds
from openbell.market.firsttouch import (
    NEVER_NS,
    excess,
    extreme,
    first_beyond,
    first_touches,
    furthest,
    furthest_at,
)
from openbell.market.firsttouch import beyond as _beyond
from openbell.market.kinds import BREAKOUT
from openbell.market.prices import limits, on_grid, on_grids, products, rounded
from openbell.market.results import HIGH_BREAK, LOW_BREAK, NO_TIME, Levels
from openbell.market.volumes import VolumeRule


@dataclass(frozen=True, slots=True)
class BreakRules:
    """How a break is confirmed and how often it counts."""

    confirm: Literal["close", "touch"] = "close"
    """`close`: the bar's close (each tick); `touch`: the bar's high and low."""
    check: Literal["continuous", "once"] = "continuous"
    """`once`: only the first price after the session is looked at."""
    sides: Literal["both", "high", "low"] = "both"
    buffer: float = 0.0
    """How far beyond the level a price has to be."""
    buffer_unit: Literal["price", "percent", "ticks"] = "price"
    """`percent`: of the level; `ticks`: of each symbol's tick."""
    tick: float = 0.0
    """Price of one tick, which prices are multiples of, of all symbols; 0: each may have its own."""
    inside_bars: int = 0
    """A side is watched again after so many closes (ticks) in a row that are not beyond its
    level; 0: never. Means nothing where `check` is `once`."""
    rearms_max: int | None = None
    """How often that happens at most; None: without end."""
    closed_beyond: bool = False
    """Whether a close beyond that follows a touch is reported by itself."""
    retest_bars: int = 0
    """Within so many bars, minutes where there are ticks, a return to the level is reported; 0: it
    never is."""
    retest_tolerance: float = 0.0
    """How near to the level a return has to come."""
    retest_unit: Literal["price", "percent", "ticks"] = "price"
    volume: VolumeRule | None = None
    """What has to trade with a row that breaks; one with less is none."""
    min_range: Width | None = None
    """How far the session's high and low have to be apart; None: any width will do."""
    max_range: Width | None = None
    until: Until | None = None
    """Until when a break may be known; None: the close."""
    on_incomplete: Literal["flag", "block"] = "flag"
    """`block`: levels of a session that lacks a minute have no breaks."""
    direction: Literal["any", "first_bar"] = "any"
    """`first_bar`: only the side to which the session's first bar moved."""

    @property
    def conditions(self) -> int:
        """What a break has to pass: a bit for each place in CONDITIONS."""
        asked: dict[Condition, bool] = {
            "volume": self.volume is not None,
            "min_range": self.min_range is not None,
            "max_range": self.max_range is not None,
            "valid_until": self.until is not None,
            "on_incomplete": self.on_incomplete == "block",
            "direction": self.direction == "first_bar",
        }
        return sum(1 << place for place, of in enumerate(CONDITIONS) if asked[of])


@dataclass(frozen=True, eq=False)
class Armed:
    """A completed session's levels, and which of their breaks have been looked at or reported.

    Arrays of shape (2, s) have the high side first.
    """

    from_ns: int
    """Rows that start before this don't count: the window's end."""
    level: Prices
    """(2, s) highs and lows; NaN, which no price is beyond, where there is none."""
    threshold: Prices
    """(2, s) what a price has to be beyond: the level, and the buffer on top."""
    complete: Mask
    """(s,)"""
    watched: Mask
    """(2, s) sides whose next break is reported."""
    broken: NDArray[np.int32]
    """(2, s) breaks reported so far."""
    inside: NDArray[np.int64]
    """(2, s) closes in a row that were not beyond the level, since the last break."""
    looked: Mask
    """(s,) whether the first price after the session has come, or nobody waits for it."""
    gap: Mask
    """(2, s) whether that first price already lay beyond the level."""
    looked_ns: int
    """When the latest of those first prices was known, ns UTC; `from_ns` before any."""
    touched_ns: Nanoseconds | None = None
    """(2, s) when a watched side was first touched since it has been watched, `NEVER_NS` where it
    was not; None: none was."""
    touch_excess: Prices | None = None
    """(2, s) how far beyond the level that touch went."""
    limit: Prices | None = field(default=None, metadata={"snapshot": False})
    """(2, s) the last numbers that still mean the threshold's price; None after a restart."""
    ticks: Prices | None = field(default=None, metadata={"written": "if set"})
    """(s,) price of one tick of each symbol, NaN where it is not known; None: as the rules say."""
    verdict: Verdict | None = field(default=None, metadata=IF_SET)
    """Which sides were refused, and why; None: nothing is asked of the levels."""
    until_ns: int | None = field(default=None, metadata=IF_SET)
    """The last instant at which a break may be known; None: the close."""
    over: bool = field(default=False, metadata=IF_SET)
    """Whether all rows that were known by then have come."""


_NO_VALUES: Mapping[str, Prices] = {}


@dataclass(frozen=True, eq=False)
class Breaks:
    """Breaks found in one batch, in no particular order; all arrays (n,)."""

    symbol: Codes
    side: NDArray[np.int8]
    number: NDArray[np.int32]
    """1 for the first break of this symbol and side."""
    row: Positions
    """Among those rows of the batch that count: `rows_since` gives them."""
    turn: Nanoseconds
    """Where in the batch its row came; equal for rows that came together."""
    ts: Nanoseconds
    known_at: Nanoseconds
    price: Prices
    level: Prices
    gap: Mask
    ambiguous: Mask
    complete: Mask
    touched_at: Nanoseconds
    """`ts` of the first row beyond the threshold, if only inside its bar."""
    touch_excess: Prices
    closed_beyond_at: Nanoseconds
    """`ts` if the row closed beyond the threshold, else NO_TIME."""
    kind: NDArray[np.int8]
    """Positions in KINDS."""
    broke_at: Nanoseconds
    """When the break was known: of what follows one, before `known_at`."""
    conditions: NDArray[np.int16]
    """What they passed, as of `BreakRules.conditions`; 0 of what follows a break."""


def armed(
    levels: Levels,
    from_ns: int,
    rules: BreakRules,
    followed: Mask | None = None,
    ticks: Prices | None = None,
    values: Mapping[str, Prices] = _NO_VALUES,
    until_ns: int | None = None,
) -> Armed:
    """Levels as they stand when their session is over.

    Parameters
    ----------
    followed : (s,) bool, optional
        Symbols whose breaks are looked for; None: all.
    ticks : (s,) float64, optional
        Price of one tick of each symbol, where the rules name none for all; NaN: it is not known.
    values : mapping
        Of the indicators that the rules name, (s,) each.
    until_ns : int, optional
        What the rules' `until` means on the day.
    """
    ticks = None if rules.tick else ticks
    level = np.stack([levels.high, levels.low])
    watched = np.isfinite(level)
    if rules.sides != "both":
        watched[LOW_BREAK if rules.sides == "high" else HIGH_BREAK] = False
    s = len(levels.symbols)
    looked = np.zeros(s, np.bool_)
    if followed is not None:
        watched &= followed
        looked = ~followed  # nobody waits for the first price of the others
    judged = None
    if rules.conditions & _OF_LEVELS:
        judged = verdict(
            levels,
            rules.min_range,
            rules.max_range,
            values,
            blocks_incomplete=rules.on_incomplete == "block",
            first_bar=rules.direction == "first_bar",
        )
        watched &= judged.refused == 0
    state = Armed(
        from_ns=from_ns,
        level=level,
        threshold=_thresholds(level, rules, ticks),
        complete=levels.complete,
        watched=watched,
        broken=np.zeros((2, s), np.int32),
        inside=np.zeros((2, s), np.int64),
        looked=looked,
        gap=np.zeros((2, s), np.bool_),
        looked_ns=from_ns,
        ticks=ticks,
        verdict=judged,
        until_ns=until_ns,
        over=until_ns is not None and from_ns > until_ns,
    )
    return replace(state, limit=limit_of(state, rules))


_OF_LEVELS = sum(
    1 << place for place, of in enumerate(CONDITIONS) if of not in ("volume", "valid_until")
)

_OUTWARD = np.array([[1.0], [-1.0]])


def _thresholds(level: Prices, rules: BreakRules, ticks: Prices | None) -> Prices:
    """(2, s) levels and the buffer on top, as prices; NaN where a tick is needed and not known."""
    return outward(level, rules.buffer, rules.buffer_unit, rules.tick, ticks)


def outward(
    level: Prices,
    amount: float,
    unit: Literal["price", "percent", "ticks"],
    tick: float,
    ticks: Prices | None,
) -> Prices:
    """(2, s) prices so far beyond levels; NaN where a tick is needed and not known.

    Parameters
    ----------
    tick, ticks
        As of `BreakRules` and of `Armed`.
    """
    if not amount:
        return level
    if unit == "percent":
        width = np.abs(level) * (amount / 100)
    elif unit == "ticks":
        of_symbol = np.full(level.shape[1], np.nan) if ticks is None else ticks
        width = np.broadcast_to(products(amount, of_symbol), level.shape)
    else:
        width = np.full(level.shape, amount)
    if tick:
        start = on_grid(level, tick)
    else:
        start = level if ticks is None else on_grids(level, ticks)
    return rounded(start + _OUTWARD * width, np.fmax(np.abs(start), width))


def limit_of(state: Armed, rules: BreakRules) -> Prices:
    """(2, s) the last numbers that still mean the threshold's price."""
    if state.limit is not None:
        return state.limit
    return limits(state.threshold, _OUTWARD, tick_of(state, rules))


def tick_of(state: Armed, rules: BreakRules) -> float | Prices:
    """Price of one tick, of all symbols or (s,) of each."""
    return rules.tick if state.ticks is None else state.ticks


def find_breaks(
    state: Armed,
    rows: Rows,
    rules: BreakRules,
    confirmed: Mask | None = None,
    over: Mask | None = None,
) -> tuple[Armed, Breaks | None]:
    """The breaks in a further batch, and what is left to watch for.

    Parameters
    ----------
    rows : BarBlock or RowBatch
        In the order in which they came, after those of the batches given so far.
    confirmed : (m, s) of a block, or (n,), bool, optional
        The rows that have enough volume, at least among those that reach beyond a level (see
        `reaching`); None: where the rules don't ask for any.
    over : (s,) bool, optional
        Symbols whose day was over before these rows: for their first price nobody waits any more.
    """
    since, turns = _since(rows, state.from_ns)
    live = _live(state, rules)
    if len(turns) == 0 or not (live.any() or not state.looked.all()):
        return state, None
    if state.limit is None:
        state = replace(state, limit=limit_of(state, rules))
    allowed = None if confirmed is None else confirmed[since]
    rows = _part(rows, since)
    if state.until_ns is not None:
        allowed = _in_time(rows, state.until_ns, allowed)
    state, new, first = _with_first_prices(state, rows, rules, over)
    if rules.check == "once":
        state, hits = _at_first(state, rows, rules, allowed, new, first)
    elif rules.inside_bars:
        state, hits = _rearming(state, rows, rules, allowed, live)
    else:
        state, hits = _first_only(state, rows, rules, allowed)
    return state, _breaks(state, rows, turns, rules, hits)


def rows_since(rows: Rows, from_ns: int) -> tuple[Rows, Nanoseconds]:
    """The rows that start at an instant or later, and their turns in the whole batch."""
    since, turns = _since(rows, from_ns)
    return _part(rows, since), turns


def _since(rows: Rows, from_ns: int) -> tuple[slice | Mask, Nanoseconds]:
    """Which rows start at an instant or later, and their turns in the whole batch."""
    turns = rows.ends if isinstance(rows, BarBlock) else rows.turns
    if isinstance(rows, BarBlock) or rows.by_time:
        start = int(np.searchsorted(rows.ts, from_ns, side="left"))
        since: slice | Mask = slice(start, len(rows))
    else:
        since = rows.ts >= from_ns
        if since.all():
            since = slice(0, len(rows))
    return since, turns[since]


def _part(rows: Rows, which: slice | Mask) -> Rows:
    if isinstance(rows, RowBatch):
        return (
            rows.taken(which)
            if isinstance(which, np.ndarray)
            else rows.rows(which.start, which.stop)
        )
    assert isinstance(which, slice)
    return rows.rows(which.start, which.stop) if which.start else rows


def _in_time(rows: Rows, until_ns: int, allowed: Mask | None) -> Mask | None:
    """Which of the rows may break, where those known later may not."""
    known = rows.ends if isinstance(rows, BarBlock) else rows.known
    early: Mask = known <= until_ns
    if early.all():
        return allowed
    if isinstance(rows, BarBlock):
        early = np.broadcast_to(early[:, None], rows.present.shape)
    return early if allowed is None else early & allowed


def reaching(state: Armed, rows: Rows, rules: BreakRules) -> Mask:
    """The rows that lie beyond a level on a side that may break: (m, s) of a block, or (n,)."""
    since = rows.ts >= state.from_ns
    if state.until_ns is not None:
        since &= (rows.ends if isinstance(rows, BarBlock) else rows.known) <= state.until_ns
    live = _live(state, rules)
    aims = np.where(live, limit_of(state, rules), np.nan)
    beyond: Mask
    if isinstance(rows, BarBlock):
        beyond = np.zeros(rows.present.shape, np.bool_)
        at = slice(int(since.argmax()), len(rows)) if since.any() else slice(0, 0)
        for side in (HIGH_BREAK, LOW_BREAK):
            beyond[at] |= _beyond(_confirming(rows, rules, side)[at], aims[side], side)
        return beyond & since[:, None]
    for side in (HIGH_BREAK, LOW_BREAK):
        found = _beyond(_confirming(rows, rules, side), aims[side][rows.code], side)
        beyond = found if side == HIGH_BREAK else beyond | found
    return beyond & since


@dataclass(frozen=True, eq=False)
class _Hits:
    """Where breaks are: rows of the batch, symbols, and which break of its side it is."""

    side: int
    row: Positions
    symbol: Positions
    number: NDArray[np.int32]
    touched: Nanoseconds
    """When the side was first touched."""
    excess: Prices


def _live(state: Armed, rules: BreakRules) -> Mask:
    """(2, s) sides that may break, at once or after they have been rearmed."""
    if state.over:
        return np.zeros_like(state.watched)
    if rules.check == "once" or not rules.inside_bars:
        return state.watched
    left: Mask = state.broken > 0
    if rules.rearms_max is not None:
        left = left & (state.broken <= rules.rearms_max)
    return state.watched | left


def counting(state: Armed, rules: BreakRules) -> Mask:
    """(s,) symbols whose prices have to come back inside before a side is watched again."""
    waits: Mask = np.any(_live(state, rules) & ~state.watched, axis=0)
    return waits


def _with_first_prices(
    state: Armed, rows: Rows, rules: BreakRules, over: Mask | None
) -> tuple[Armed, Positions, Positions]:
    """Look at each symbol's first price since the session; the new symbols and their rows."""
    if state.looked.all():
        nothing = np.empty(0, np.intp)
        return state, nothing, nothing
    if isinstance(rows, BarBlock):
        new = np.flatnonzero(~state.looked & (rows.whole or rows.present.any(axis=0)))
        first = np.zeros(len(new), np.intp)
        if not rows.whole:
            first = rows.present[:, new].argmax(axis=0)
        price, known_at = rows.open[first, new], rows.ends[first]
    else:
        symbols, at = _firsts_of(rows.code, rows.by_symbol)
        unseen = ~state.looked[symbols]
        new, first = symbols[unseen].astype(np.intp), at[unseen]
        price, known_at = rows.open[first], rows.known[first]
    if not len(new):
        return state, new, first
    looked, gap, limit = state.looked.copy(), state.gap.copy(), limit_of(state, rules)
    looked[new] = True
    for side in (HIGH_BREAK, LOW_BREAK):
        gap[side, new] = _beyond(price, limit[side, new], side)
    awaited = known_at if over is None else known_at[~over[new]]
    latest = max(state.looked_ns, int(awaited.max(initial=0)))
    return replace(state, looked=looked, gap=gap, looked_ns=latest), new, first


def _at_first(
    state: Armed,
    rows: Rows,
    rules: BreakRules,
    allowed: Mask | None,
    new: Positions,
    first: Positions,
) -> tuple[Armed, list[_Hits]]:
    """Breaks at the first price after the session; nothing is watched beyond it."""
    hits: list[_Hits] = []
    limit = limit_of(state, rules)
    for side in (HIGH_BREAK, LOW_BREAK):
        who = state.watched[side, new]
        symbol, row = new[who], first[who]
        at = (row, symbol) if isinstance(rows, BarBlock) else row
        price = _confirming(rows, rules, side, allowed)[at]
        beyond = _beyond(price, limit[side, symbol], side)
        row, symbol = row[beyond], symbol[beyond]
        far = furthest_at(rows, side, row, symbol)
        hits.append(
            _firsts(side, row, symbol, rows.ts[row], excess(far, state.level[side, symbol]))
        )
    state = _broken(state, hits)
    watched = state.watched.copy()
    watched[:, new] = False
    return replace(state, watched=watched), hits


def _first_only(
    state: Armed, rows: Rows, rules: BreakRules, allowed: Mask | None
) -> tuple[Armed, list[_Hits]]:
    """Each watched side's first break."""
    hits: list[_Hits] = []
    for side in (HIGH_BREAK, LOW_BREAK):
        limit = limit_of(state, rules)[side]
        if isinstance(rows, BarBlock) and not _reaches(rows, side, limit, state.watched[side]):
            continue
        prices = _confirming(rows, rules, side, allowed)
        if isinstance(rows, BarBlock):
            row, symbol = first_beyond(prices, state.watched[side], limit, side)
        else:
            aim = np.where(state.watched[side], limit, np.nan)
            row = np.flatnonzero(_beyond(prices, aim[rows.code], side))
            code = rows.code[row]
            _, earliest = _firsts_of(code, grouped(code, len(rows.symbols)))
            row = row[earliest]
            symbol = rows.code[row].astype(np.intp)
        state = _touched(state, rows, side, limit, row, symbol)
        touched_ns, touch_excess = touches(state)
        hits.append(
            _firsts(side, row, symbol, touched_ns[side, symbol], touch_excess[side, symbol])
        )
    return _broken(state, hits), hits


def _reaches(rows: BarBlock, side: int, limit: Prices, watched: Mask) -> bool:
    """Whether any watched symbol comes beyond its limit: in most short steps none does."""
    outermost = np.fmax if side == HIGH_BREAK else np.fmin
    far = outermost(outermost.reduce(extreme(rows, side)), outermost.reduce(rows.close))
    return bool((_beyond(far, limit, side) & watched).any())


def _firsts_of(code: Codes, order: Positions) -> tuple[Codes, Positions]:
    """The codes that occur, ascending, and where each does first; `order` as by `grouped`."""
    sorted_ = code[order]
    heads = np.flatnonzero(np.append(True, sorted_[1:] != sorted_[:-1])[: len(code)])
    return sorted_[heads], order[heads]


def touches(state: Armed) -> tuple[Nanoseconds, Prices]:
    """(2, s) when watched sides were first touched, and how far; `NEVER_NS` and NaN: not yet."""
    if state.touched_ns is None or state.touch_excess is None:
        return np.full(state.level.shape, NEVER_NS), np.full(state.level.shape, np.nan)
    return state.touched_ns, state.touch_excess


def _touched(
    state: Armed, rows: Rows, side: int, limit: Prices, row: Positions, symbol: Positions
) -> Armed:
    """With the first touches of a side; it broke at these rows."""
    touched_ns, touch_excess = touches(state)
    who, ts, price = first_touches(
        rows, side, state.watched[side], limit, touched_ns[side], row, symbol
    )
    if not len(who):
        return state
    touched_ns, touch_excess = touched_ns.copy(), touch_excess.copy()
    touched_ns[side, who] = ts
    touch_excess[side, who] = excess(price, state.level[side, who])
    return replace(state, touched_ns=touched_ns, touch_excess=touch_excess)


def with_touches(state: Armed, touched_ns: Nanoseconds, touch_excess: Prices) -> Armed:
    """With other touches, as `touches` gives them."""
    if (touched_ns == NEVER_NS).all():
        return replace(state, touched_ns=None, touch_excess=None)
    return replace(state, touched_ns=touched_ns, touch_excess=touch_excess)


def _rearming(
    state: Armed, rows: Rows, rules: BreakRules, allowed: Mask | None, live: Mask
) -> tuple[Armed, list[_Hits]]:
    """All breaks of sides that are watched again once prices have come back inside."""
    hits: list[_Hits] = []
    for side in (HIGH_BREAK, LOW_BREAK):
        prices, far = _confirming(rows, rules, side, allowed), extreme(rows, side)
        if isinstance(rows, BarBlock):
            symbols = np.flatnonzero(live[side])
            prices, closes, far = prices[:, symbols], rows.close[:, symbols], far[:, symbols]
            state, found = _walk(state, side, symbols, rows.ts, prices, closes, far, None, rules)
            hits.append(replace(found, symbol=symbols[found.symbol]))
            continue
        # Of a watched symbol only what lies beyond changes anything: most rows of most batches
        # change nothing.
        watched = state.watched[side]
        limit = limit_of(state, rules)[side, rows.code]
        beyond = _beyond(prices, limit, side) | _beyond(far, limit, side)
        concerned = np.where(watched[rows.code], beyond, live[side][rows.code])
        parts: list[_Hits] = []
        for symbol in np.unique(rows.code[concerned]):
            at = np.flatnonzero(rows.code == symbol)
            confirming, closes, of = (column[at][:, None] for column in (prices, rows.close, far))
            who = np.array([symbol], np.intp)
            again = None if rows.revises is None else rows.revises[at][:, None]
            state, found = _walk(
                state, side, who, rows.ts[at], confirming, closes, of, again, rules
            )
            parts.append(replace(found, row=at[found.row], symbol=who[found.symbol]))
        hits.extend(parts)
    return state, hits


def _walk(
    state: Armed,
    side: int,
    symbols: Positions,
    ts: Nanoseconds,
    prices: Prices,
    closes: Prices,
    far: Prices,
    again: Mask | None,
    rules: BreakRules,
) -> tuple[Armed, _Hits]:
    """Breaks and rearmings of one side in turn, all symbols at once: a round an event.

    Parameters
    ----------
    ts : (m,) int64
    prices, closes, far : (m, c) float64
        What confirms a break, what has to come back inside, and the high or low; NaN where there is
        no row.
    again : (m, 1) bool, optional
        Bars that take the place of others, which may have a side's first break and count for nothing
        else.

    Returns
    -------
    state : Armed
    hits : _Hits
        Whose symbols are columns.
    """
    m, c = prices.shape
    limit = limit_of(state, rules)[side, symbols]
    beyond = _beyond(prices, limit, side)
    touch_ns = np.where(beyond | _beyond(far, limit, side), ts[:, None], NEVER_NS)
    far = furthest(far, closes, side)
    present = ~np.isnan(closes)
    if again is not None:
        present &= ~again
    tick = rules.tick if state.ticks is None else state.ticks[symbols]
    level = limits(state.level[side, symbols], _OUTWARD[side], tick)
    inside = present & ~_beyond(closes, level, side)
    count = np.cumsum(inside, axis=0)
    # Insides up to the last row outside: what a run of insides has to be counted from.
    before = np.maximum.accumulate(np.where(present & ~inside, count, -m - rules.inside_bars), 0)

    watched = state.watched[side, symbols]
    broken = state.broken[side, symbols]
    base = -state.inside[side, symbols]
    at = np.zeros(c, np.intp)
    since = np.zeros(c, np.intp)
    """Rows of before don't count as touches."""
    touched, gone_beyond = (of[side, symbols] for of in touches(state))
    rows = np.arange(m)[:, None]

    def touch(column: Positions, until: Positions, never_broken: Mask) -> None:
        counts = (rows >= since[column]) & (rows <= until)
        if again is not None:
            counts &= ~again | never_broken
        first = np.where(counts, touch_ns[:, column], NEVER_NS)
        row = first.argmin(axis=0)
        ns = first[row, np.arange(len(column))]
        earlier = np.flatnonzero(ns < touched[column])
        of, row = column[earlier], row[earlier]
        touched[of] = ns[earlier]
        gone_beyond[of] = excess(far[row, of], state.level[side, symbols[of]])

    found: list[tuple[Positions, Positions, NDArray[np.int32], Nanoseconds, Prices]] = []
    while True:
        column = np.flatnonzero(watched & (at < m))
        ahead = beyond[:, column] & (rows >= at[column])
        if again is not None:
            ahead &= ~again | (broken[column] == 0)
        hit = ahead.any(axis=0)
        row, column = ahead[:, hit].argmax(axis=0), column[hit]
        if len(column):
            broken[column] += 1
            watched[column] = False
            touch(column, row, broken[column] == 1)
            found.append((row, column, broken[column].copy(), touched[column], gone_beyond[column]))
            touched[column], gone_beyond[column] = NEVER_NS, np.nan
            # A touched bar that closes inside is the first of its run.
            base[column] = count[row, column] - inside[row, column]
            at[column] = row
        waiting = ~watched & (broken > 0)
        if rules.rearms_max is not None:
            waiting &= broken <= rules.rearms_max
        back_in = np.flatnonzero(waiting & (at < m))
        run = count[:, back_in] - np.maximum(before[:, back_in], base[back_in])
        back = (run >= rules.inside_bars) & (rows >= at[back_in])
        hit = back.any(axis=0)
        row, back_in = back[:, hit].argmax(axis=0), back_in[hit]
        if not len(column) and not len(back_in):
            break
        watched[back_in] = True
        at[back_in] = since[back_in] = row + 1
    if m:
        left_watched = np.flatnonzero(watched)
        touch(left_watched, np.full(len(left_watched), m), broken[left_watched] == 0)
    run_after = count[-1] - np.maximum(before[-1], base)
    watched_all, broken_all = state.watched.copy(), state.broken.copy()
    inside_all = state.inside.copy()
    watched_all[side, symbols], broken_all[side, symbols] = watched, broken
    left = ~watched & (broken > 0)
    if rules.rearms_max is not None:
        left &= broken <= rules.rearms_max
    inside_all[side, symbols] = np.where(left, run_after, 0)
    state = replace(state, watched=watched_all, broken=broken_all, inside=inside_all)
    before, of_before = touches(state)
    if (before[side, symbols] != touched).any():
        touched_all, excess_all = before.copy(), of_before.copy()
        touched_all[side, symbols], excess_all[side, symbols] = touched, gone_beyond
        state = with_touches(state, touched_all, excess_all)
    if not found:
        nothing = np.empty(0, np.intp)
        return state, _firsts(side, nothing, nothing, np.empty(0, np.int64), np.empty(0))
    return state, _Hits(side, *(np.concatenate(part) for part in zip(*found, strict=True)))


def _firsts(
    side: int, row: Positions, symbol: Positions, touched: Nanoseconds, excess: Prices
) -> _Hits:
    return _Hits(side, row, symbol, np.ones(len(row), np.int32), touched, excess)


def _broken(state: Armed, hits: list[_Hits]) -> Armed:
    """The state after the first breaks of sides that are not watched again."""
    if not any(len(hit.row) for hit in hits):
        return state
    watched, broken = state.watched.copy(), state.broken.copy()
    for hit in hits:
        watched[hit.side, hit.symbol] = False
        broken[hit.side, hit.symbol] += 1
    state = replace(state, watched=watched, broken=broken)
    if state.touched_ns is None or state.touch_excess is None:
        return state
    touched, excess = state.touched_ns.copy(), state.touch_excess.copy()
    for hit in hits:
        touched[hit.side, hit.symbol] = NEVER_NS
        excess[hit.side, hit.symbol] = np.nan
    return with_touches(state, touched, excess)


def _breaks(
    state: Armed, rows: Rows, turns: Nanoseconds, rules: BreakRules, hits: list[_Hits]
) -> Breaks | None:
    if not any(len(hit.row) for hit in hits):
        return None
    row = np.concatenate([hit.row for hit in hits])
    who = np.concatenate([hit.symbol for hit in hits])
    number = np.concatenate([hit.number for hit in hits])
    side = np.concatenate([np.full(len(hit.row), hit.side, np.int8) for hit in hits])
    known = rows.ends if isinstance(rows, BarBlock) else rows.known
    at = (row, who) if isinstance(rows, BarBlock) else row
    price = rows.close[at]
    ambiguous = np.zeros(len(row), np.bool_)
    closed_beyond_at = rows.ts[row]
    if rules.confirm == "touch":
        opened, threshold = rows.open[at], state.threshold[side, who]
        limit = limit_of(state, rules)[side, who]
        gapped = np.where(side == HIGH_BREAK, opened > limit, opened < limit)
        closed = np.where(side == HIGH_BREAK, price > limit, price < limit)
        closed_beyond_at = np.where(closed, closed_beyond_at, NO_TIME)
        price = np.where(gapped, opened, threshold)
        cell = row * len(rows.symbols) + who
        high, low = cell[side == HIGH_BREAK], cell[side == LOW_BREAK]
        ambiguous = np.isin(cell, np.intersect1d(high, low))
    return Breaks(
        symbol=who.astype(np.int32),
        side=side,
        number=number,
        row=row,
        turn=turns[row],
        ts=rows.ts[row],
        known_at=known[row],
        price=price,
        level=state.level[side, who],
        gap=state.gap[side, who] & (number == 1),
        ambiguous=ambiguous,
        complete=state.complete[who],
        touched_at=np.concatenate([hit.touched for hit in hits]),
        touch_excess=np.concatenate([hit.excess for hit in hits]),
        closed_beyond_at=closed_beyond_at,
        kind=np.full(len(row), BREAKOUT, np.int8),
        broke_at=known[row],
        conditions=np.full(len(row), rules.conditions, np.int16),
    )


def _confirming(bars: Rows, rules: BreakRules, side: int, allowed: Mask | None = None) -> Prices:
    """What has to be beyond; NaN, which nothing is beyond, where a row may not break."""
    if rules.confirm == "close":
        prices = bars.close
    else:
        prices = bars.high if side == HIGH_BREAK else bars.low
    return prices if allowed is None else np.where(allowed, prices, np.nan)


def last_prices(
    rows: Rows, symbol: int, turn: Nanoseconds, carried: tuple[float, int]
) -> tuple[Prices, Nanoseconds]:
    """A symbol's last price, and its row's time, as known when given rows of a batch came.

    The last is the latest by time: what comes behind it, late, does not replace it.

    Parameters
    ----------
    symbol : int
        Position in `rows.symbols`.
    turn : (n,) int64
        Rows count that came before these turns or with them.
    carried : price, ts
        The last price before the batch; NaN where there was none.
    """
    if isinstance(rows, BarBlock):
        at = np.flatnonzero(rows.present[:, symbol])
        turns, prices = rows.ends[at], rows.close[at, symbol]
    else:
        at = np.flatnonzero(rows.code == symbol)
        turns, prices = rows.turns[at], rows.close[at]
    times = np.concatenate([np.array([carried[1]], np.int64), rows.ts[at]])
    prices = np.concatenate([np.array([carried[0]]), prices])
    latest = np.where(times >= np.maximum.accumulate(times), np.arange(len(times)), 0)
    position = np.maximum.accumulate(latest)[np.searchsorted(turns, turn, side="right")]
    return prices[position], times[position]
