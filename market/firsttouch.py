"""When prices first went beyond a threshold, if only inside a bar, and how far.

Of rows in any order the first is the earliest by time among those that had come.
"""

from __future__ import annotations

import numpy as np

from openbell.market.bars import BarBlock, Mask, Positions, Prices, RowBatch, Rows
from openbell.market.days import Nanoseconds
from openbell.market.prices import rounded
from openbell.market.results import HIGH_BREAK

NEVER_NS = np.iinfo(np.int64).max
"""Stands for a touch that has not come: any that comes is earlier."""


def beyond(price: Prices, limit: Prices, side: int) -> Mask:
    return price > limit if side == HIGH_BREAK else price < limit


def extreme(rows: Rows, side: int) -> Prices:
    return rows.high if side == HIGH_BREAK else rows.low


def furthest(high_or_low: Prices, close: Prices, side: int) -> Prices:
    """A close may lie outside of its bar's range."""
    return np.fmax(high_or_low, close) if side == HIGH_BREAK else np.fmin(high_or_low, close)


def excess(price: Prices, level: Prices) -> Prices:
    """How far prices lie from their levels, as decimals."""
    return rounded(np.abs(price - level), np.fmax(np.abs(price), np.abs(level)))


def first_beyond(
    prices: Prices, watched: Mask, limit: Prices, side: int
) -> tuple[Positions, Positions]:
    """The first row of each watched symbol that lies beyond its limit, and these symbols.

    Most breaks come soon, so the rows are searched in blocks that grow as fewer symbols are left.
    """
    left = np.flatnonzero(watched)
    found: list[tuple[Positions, Positions]] = []
    start, size = 0, 8
    while len(left) and start < len(prices):
        block = prices[start : start + size]
        over = beyond(block if len(left) == len(limit) else block[:, left], limit[left], side)
        hit = over.any(axis=0)
        if hit.any():
            found.append((start + over[:, hit].argmax(axis=0), left[hit]))
            left = left[~hit]
        start, size = start + size, 2 * size
    if not found:
        return left[:0], left[:0]
    row, symbol = (np.concatenate(part) for part in zip(*found, strict=True))
    return row, symbol


def first_touches(
    rows: Rows,
    side: int,
    watched: Mask,
    limit: Prices,
    before: Nanoseconds,
    row: Positions,
    symbol: Positions,
) -> tuple[Positions, Nanoseconds, Prices]:
    """Touches of a side that are earlier than those of before.

    Parameters
    ----------
    watched : (s,) bool
    before : (s,) int64
        The earliest so far, `NEVER_NS` where there is none.
    row, symbol : (k,) int
        What broke, and where: later rows don't count, and that one does.

    Returns
    -------
    symbol, ts, price : (n,)
        The price is the furthest of its row.
    """
    far = extreme(rows, side)
    first = np.full(len(watched), -1, np.intp)
    if isinstance(rows, BarBlock):
        at, who = first_beyond(far, watched & (before == NEVER_NS), limit, side)
        first[who] = at
    else:
        at = np.flatnonzero(beyond(far, np.where(watched, limit, np.nan)[rows.code], side))
        if len(at) and len(symbol):
            last = np.full(len(watched), len(rows), np.intp)
            last[symbol] = row
            at = at[at <= last[rows.code[at]]]
        # Backwards, so that of a symbol's rows the earliest is written last.
        at = at[np.lexsort((at, rows.ts[at]))[::-1]]
        first[rows.code[at]] = at
    came = rows.ts[first[symbol]]
    late = (first[symbol] < 0) | (came > rows.ts[row])
    first[symbol[late]] = row[late]
    who = np.flatnonzero(first >= 0)
    earlier = rows.ts[first[who]] < before[who]
    who = who[earlier]
    at = first[who]
    return who, rows.ts[at], furthest_at(rows, side, at, who)


def furthest_at(rows: Rows, side: int, row: Positions, symbol: Positions) -> Prices:
    """The furthest prices of some rows."""
    at = row if isinstance(rows, RowBatch) else (row, symbol)
    return furthest(extreme(rows, side)[at], rows.close[at], side)
