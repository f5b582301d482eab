"""Bars of longer intervals, made from bars or ticks; any cut gives the same bars, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Prices, Rows, TickBatch
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay
from openbell.market.results import DerivedBars

NO_BUCKET = -1


@dataclass(frozen=True, eq=False)
class Bucket:
    """The bucket that is still open: its bar so far, one element a symbol (s,)."""

    number: int
    """Position in the day's grid, NO_BUCKET before the first row."""
    open: Prices
    """NaN where the symbol has no row yet; the other columns follow it."""
    high: Prices
    low: Prices
    close: Prices
    volume: Prices
    """Summed row by row: another order of additions would give other last digits."""


def no_bucket(symbols: int) -> Bucket:
    """Before the first row of a day."""
    none = np.full(symbols, np.nan)
    return Bucket(NO_BUCKET, none, none, none, none, np.zeros(symbols))


def derive(
    state: Bucket, rows: Rows, day: TradingDay, interval_minutes: int, watermark_ns: int
) -> tuple[Bucket, DerivedBars]:
    """The bars that a further batch finishes, and the one that stays open.

    Buckets are anchored at each segment's open and the last one ends with the segment; a bucket
    is finished when the watermark has reached its end. A source bar counts in the bucket that
    holds its start.
    """
    starts, ends = day.grid(interval_minutes * MINUTE_NS)
    finished = int(np.searchsorted(ends, watermark_ns, side="right"))
    numbers = np.searchsorted(starts, rows.ts, side="right") - 1
    if len(rows) == 0:
        grid = _of_open_bucket(state)
    elif isinstance(rows, BarBlock):
        grid = _from_bars(state, rows, numbers)
    else:
        grid = _from_ticks(state, rows, numbers)
    done = grid.number < finished
    bars = _flat(grid, done, starts, interval_minutes, rows.symbols)
    if len(grid.number) and not done[-1]:
        state = Bucket(
            int(grid.number[-1]),
            grid.open[-1],
            grid.high[-1],
            grid.low[-1],
            grid.close[-1],
            grid.volume[-1],
        )
    else:
        state = no_bucket(len(rows.symbols))
    return state, bars


@dataclass(frozen=True, eq=False)
class _Grid:
    """Bars of consecutive buckets: number (b,), the others (b, s) with NaN where no row was."""

    number: NDArray[np.int64]
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Prices


def _of_open_bucket(state: Bucket) -> _Grid:
    if state.number == NO_BUCKET:
        empty = np.empty((0, len(state.open)))
        return _Grid(np.empty(0, np.int64), empty, empty, empty, empty, empty)
    return _Grid(
        np.array([state.number]),
        state.open[None],
        state.high[None],
        state.low[None],
        state.close[None],
        state.volume[None],
    )


def _from_bars(state: Bucket, bars: BarBlock, numbers: NDArray[np.intp]) -> _Grid:
    heads = np.flatnonzero(np.append(True, numbers[1:] != numbers[:-1]))
    lengths = np.diff(np.append(heads, len(numbers)))
    b, s = len(heads), len(bars.symbols)
    k = int(lengths.max())
    even = bool((lengths == k).all())
    carried = state.number == numbers[0]

    open_ = np.full((b, s), np.nan)
    high, low, close = open_.copy(), open_.copy(), open_.copy()
    volume = np.zeros((b, s))
    number = numbers[heads].astype(np.int64)
    if carried:
        open_[0], high[0], low[0] = state.open, state.high, state.low
        close[0], volume[0] = state.close, state.volume
    full = bool(bars.present.all())
    for j in range(k):
        to = slice(None) if even else np.flatnonzero(lengths > j)
        at = slice(j, None, k) if even else heads[to] + j
        if full:
            if j == 0:
                fresh = np.isnan(open_[to])
                open_[to] = np.where(fresh, bars.open[at], open_[to])
            close[to] = bars.close[at]
            volume[to] += bars.volume[at]
        else:
            present = bars.present[at]
            open_[to] = np.where(np.isnan(open_[to]), bars.open[at], open_[to])
            close[to] = np.where(present, bars.close[at], close[to])
            volume[to] += np.where(present, bars.volume[at], 0.0)
        high[to] = np.fmax(high[to], bars.high[at])
        low[to] = np.fmin(low[to], bars.low[at])
    grid = _Grid(number, open_, high, low, close, volume)
    return grid if carried else _after_open_bucket(state, grid)


def _from_ticks(state: Bucket, ticks: TickBatch, numbers: NDArray[np.intp]) -> _Grid:
    s = len(ticks.symbols)
    number = np.unique(numbers)
    b = len(number)
    row = np.searchsorted(number, numbers)
    cell = row * s + ticks.code
    order = np.argsort(cell, kind="stable")
    sorted_cell = cell[order]
    heads = np.flatnonzero(np.append(True, sorted_cell[1:] != sorted_cell[:-1]))
    tails = np.append(heads[1:], len(order)) - 1
    where = sorted_cell[heads]
    price, size = ticks.price[order], ticks.size[order]

    open_, high, low, close = (np.full(b * s, np.nan) for _ in range(4))
    open_[where], close[where] = price[heads], price[tails]
    high[where] = np.maximum.reduceat(price, heads)
    low[where] = np.minimum.reduceat(price, heads)
    before = np.zeros(b * s)
    carried = state.number == number[0]
    if carried:
        had = ~np.isnan(state.open)
        first = slice(0, s)
        open_[first] = np.where(had, state.open, open_[first])
        high[first], low[first] = np.fmax(high[first], state.high), np.fmin(low[first], state.low)
        close[first] = np.where(np.isnan(close[first]), state.close, close[first])
        before[first] = state.volume
    # bincount adds in the order of its input, so that what was carried comes first.
    volume = np.bincount(
        np.concatenate([np.arange(b * s), sorted_cell]),
        weights=np.concatenate([before, size]),
        minlength=b * s,
    ).astype(np.float64, copy=False)
    shape = (b, s)
    grid = _Grid(
        number.astype(np.int64),
        open_.reshape(shape),
        high.reshape(shape),
        low.reshape(shape),
        close.reshape(shape),
        volume.reshape(shape),
    )
    return grid if carried else _after_open_bucket(state, grid)


def _after_open_bucket(state: Bucket, grid: _Grid) -> _Grid:
    """The grid with an earlier open bucket, which got no further row, in front."""
    if state.number == NO_BUCKET:
        return grid
    before = _of_open_bucket(state)
    return _Grid(
        np.concatenate([before.number, grid.number]),
        np.concatenate([before.open, grid.open]),
        np.concatenate([before.high, grid.high]),
        np.concatenate([before.low, grid.low]),
        np.concatenate([before.close, grid.close]),
        np.concatenate([before.volume, grid.volume]),
    )


def _flat(
    grid: _Grid,
    done: NDArray[np.bool_],
    starts: Nanoseconds,
    interval_minutes: int,
    symbols: tuple[str, ...],
) -> DerivedBars:
    count = int(np.count_nonzero(done))  # finished buckets come first
    row, symbol = np.nonzero(~np.isnan(grid.open[:count]))
    whole = len(row) == count * len(symbols)

    def column(values: Prices) -> Prices:
        return values[:count].reshape(-1) if whole else values[row, symbol]

    return DerivedBars(
        interval_minutes=interval_minutes,
        symbols=symbols,
        symbol=symbol.astype(np.int32),
        ts=starts[grid.number[row]],
        open=column(grid.open),
        high=column(grid.high),
        low=column(grid.low),
        close=column(grid.close),
        volume=column(grid.volume),
    )
