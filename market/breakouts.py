"""Breakouts: prices strictly beyond a completed session's levels.

The rule is the opening range breakout's (T. Crabel, *Day Trading with Short Term Price Patterns
and Opening Range Breakout*, Traders Press, 1990), for any window: a side breaks when a price
lies beyond its level for the first time after the window, until the close.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Codes, Mask, Prices, Rows, TickBatch
from openbell.market.days import Nanoseconds
from openbell.market.results import HIGH_BREAK, LOW_BREAK, Levels

Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class BreakRules:
    """How a break is confirmed and how often it counts."""

    confirm: Literal["close", "touch"] = "close"
    """`close`: the bar's close (each tick); `touch`: the bar's high and low."""
    check: Literal["continuous", "once"] = "continuous"
    """`once`: only the first price after the session is looked at."""
    sides: Literal["both", "high", "low"] = "both"


@dataclass(frozen=True, eq=False)
class Armed:
    """A completed session's levels, and which of their breaks have been looked at or reported.

    Arrays of shape (2, s) have the high side first.
    """

    from_ns: int
    """Rows that start before this don't count: the window's end."""
    level: Prices
    """(2, s) highs and lows; NaN, which no price is beyond, where there is none."""
    complete: Mask
    """(s,)"""
    watched: Mask
    """(2, s) sides still to be reported."""
    looked: Mask
    """(s,) whether the first price after the session has come."""
    gap: Mask
    """(2, s) whether that first price already lay beyond the level."""
    looked_ns: int
    """When the latest of those first prices was known, ns UTC; `from_ns` before any."""


@dataclass(frozen=True, eq=False)
class Breaks:
    """Breaks found in one batch, in no particular order; all arrays (n,)."""

    symbol: Codes
    side: NDArray[np.int8]
    ts: Nanoseconds
    known_at: Nanoseconds
    price: Prices
    level: Prices
    gap: Mask
    ambiguous: Mask
    complete: Mask


def armed(levels: Levels, from_ns: int, rules: BreakRules) -> Armed:
    """Levels as they stand when their session is over."""
    level = np.stack([levels.high, levels.low])
    watched = np.isfinite(level)
    if rules.sides != "both":
        watched[LOW_BREAK if rules.sides == "high" else HIGH_BREAK] = False
    s = len(levels.symbols)
    return Armed(
        from_ns=from_ns,
        level=level,
        complete=levels.complete,
        watched=watched,
        looked=np.zeros(s, np.bool_),
        gap=np.zeros((2, s), np.bool_),
        looked_ns=from_ns,
    )


def find_breaks(state: Armed, rows: Rows, rules: BreakRules) -> tuple[Armed, Breaks | None]:
    """The breaks in a further batch, and what is left to watch for.

    Parameters
    ----------
    rows : BarBlock or TickBatch
        In time order, not before those of the batches given so far.
    """
    start = int(np.searchsorted(rows.ts, state.from_ns, side="left"))
    if start:
        rows = rows.rows(start, len(rows))
    if len(rows) == 0 or not (state.watched.any() or not state.looked.all()):
        return state, None
    if isinstance(rows, BarBlock):
        return _in_bars(state, rows, rules)
    return _in_ticks(state, rows, rules)


def _in_bars(state: Armed, bars: BarBlock, rules: BreakRules) -> tuple[Armed, Breaks | None]:
    new = np.empty(0, np.intp)
    first = new
    if not state.looked.all():
        new = np.flatnonzero(~state.looked & bars.present.any(axis=0))
        first = bars.present[:, new].argmax(axis=0)
        state = _looked(state, new, bars.open[first, new], bars.ends[first])
    above, below = (bars.close, bars.close) if rules.confirm == "close" else (bars.high, bars.low)

    rows_hit: list[Positions] = []
    found: list[tuple[Positions, int]] = []
    for side, prices in enumerate((above, below)):
        level = state.level[side]
        if rules.check == "once":
            who = new[state.watched[side, new]]
            at = first[state.watched[side, new]]
            beyond = _beyond(prices[at, who], level[who], side)
            who, at = who[beyond], at[beyond]
        else:
            watched = np.flatnonzero(state.watched[side])
            # One pass over the batch finds the few columns worth a second look.
            peak = (
                np.fmax.reduce(prices, axis=0)
                if side == HIGH_BREAK
                else np.fmin.reduce(prices, axis=0)
            )
            who = watched[_beyond(peak[watched], level[watched], side)]
            at = _beyond(prices[:, who], level[who], side).argmax(axis=0)
        found.append((who, side))
        rows_hit.append(at)

    watched_after = state.watched.copy()
    for who, side in found:
        watched_after[side, who] = False
    if rules.check == "once":
        watched_after[:, new] = False
    after = replace(state, watched=watched_after)
    if not any(len(who) for who, _ in found):
        return after, None

    who = np.concatenate([w for w, _ in found])
    at = np.concatenate(rows_hit)
    side_of = np.concatenate([np.full(len(w), s, np.int8) for w, s in found])
    level_of = state.level[side_of, who]
    if rules.confirm == "close":
        price = bars.close[at, who]
        ambiguous = np.zeros(len(who), np.bool_)
    else:
        open_ = bars.open[at, who]
        opened_beyond = np.where(side_of == HIGH_BREAK, open_ > level_of, open_ < level_of)
        price = np.where(opened_beyond, open_, level_of)
        hit = np.full((2, len(bars.symbols)), -1, np.intp)
        hit[side_of, who] = at
        ambiguous = hit[HIGH_BREAK, who] == hit[LOW_BREAK, who]
    return after, Breaks(
        symbol=who.astype(np.int32),
        side=side_of,
        ts=bars.ts[at],
        known_at=bars.ends[at],
        price=price,
        level=level_of,
        gap=state.gap[side_of, who],
        ambiguous=ambiguous,
        complete=state.complete[who],
    )


def _in_ticks(state: Armed, ticks: TickBatch, rules: BreakRules) -> tuple[Armed, Breaks | None]:
    if not state.looked.all():
        symbols, at = np.unique(ticks.code, return_index=True)
        unseen = ~state.looked[symbols]
        new, first = symbols[unseen].astype(np.intp), at[unseen]
        state = _looked(state, new, ticks.price[first], ticks.ts[first])
    else:
        new = first = np.empty(0, np.intp)
    candidates = np.sort(first) if rules.check == "once" else slice(None)
    code, price = ticks.code[candidates], ticks.price[candidates]
    ts = ticks.ts[candidates]

    hits: list[Positions] = []
    sides: list[NDArray[np.int8]] = []
    watched_after = state.watched.copy()
    for side in (HIGH_BREAK, LOW_BREAK):
        level = np.where(state.watched[side], state.level[side], np.nan)
        at = np.flatnonzero(_beyond(price, level[code], side))
        if len(at):
            _, earliest = np.unique(code[at], return_index=True)
            at = at[earliest]
            watched_after[side, code[at]] = False
        hits.append(at)
        sides.append(np.full(len(at), side, np.int8))
    if rules.check == "once":
        watched_after[:, new] = False
    after = replace(state, watched=watched_after)
    at, side_of = np.concatenate(hits), np.concatenate(sides)
    if not len(at):
        return after, None
    who = code[at]
    return after, Breaks(
        symbol=who,
        side=side_of,
        ts=ts[at],
        known_at=ts[at],
        price=price[at],
        level=state.level[side_of, who],
        gap=state.gap[side_of, who],
        ambiguous=np.zeros(len(at), np.bool_),
        complete=state.complete[who],
    )


def _looked(state: Armed, new: Positions, price: Prices, known_at: Nanoseconds) -> Armed:
    """The state after each new symbol's first price since the session."""
    if not len(new):
        return state
    looked, gap = state.looked.copy(), state.gap.copy()
    looked[new] = True
    gap[HIGH_BREAK, new] = price > state.level[HIGH_BREAK, new]
    gap[LOW_BREAK, new] = price < state.level[LOW_BREAK, new]
    return replace(
        state, looked=looked, gap=gap, looked_ns=max(state.looked_ns, int(known_at.max()))
    )


def _beyond(price: Prices, level: Prices, side: int) -> Mask:
    return price > level if side == HIGH_BREAK else price < level


def last_prices(
    rows: Rows, symbol: int, known_at: Nanoseconds, carried: tuple[float, int]
) -> tuple[Prices, Nanoseconds]:
    """A symbol's last price, and its row's time, as known at given instants of a batch.

    Parameters
    ----------
    symbol : int
        Position in `rows.symbols`.
    known_at : (n,) int64, ns UTC
        Rows known up to and including these instants count.
    carried : price, ts
        The last price before the batch; NaN where there was none.
    """
    if isinstance(rows, BarBlock):
        at = np.flatnonzero(rows.present[:, symbol])
        times, known, prices = rows.ts[at], rows.ends[at], rows.close[at, symbol]
    else:
        at = np.flatnonzero(rows.code == symbol)
        times = known = rows.ts[at]
        prices = rows.price[at]
    times = np.concatenate([np.array([carried[1]], np.int64), times])
    prices = np.concatenate([np.array([carried[0]]), prices])
    position = np.searchsorted(known, known_at, side="right")
    return prices[position], times[position]
