"""Bars of longer intervals, made from bars or ticks; any cut gives the same bars, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Mask, Prices, RowBatch, Rows, grouped, with_piece
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay
from openbell.market.results import NO_TIME, DerivedBars
from openbell.market.widening import Widening, codes_on, spliced

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


@dataclass(frozen=True, eq=False)
class Buckets:
    """All buckets that are open: rows that come in any order may touch several.

    Arrays are (b, s) where nothing else is said.
    """

    number: NDArray[np.int64]
    """(b,) positions in the day's grid, ascending."""
    open: Prices
    """NaN where the symbol has no row yet; the other columns follow it."""
    high: Prices
    low: Prices
    close: Prices
    volume: Prices
    """Added up row by row, in the order in which they came."""
    first_ts: Nanoseconds
    """Time of the row that `open` is of, NO_TIME where there is none."""
    last_ts: Nanoseconds


def no_buckets(symbols: int) -> Buckets:
    """Before the first row of a day."""
    none, never = np.empty((0, symbols)), np.empty((0, symbols), np.int64)
    return Buckets(np.empty(0, np.int64), none, none, none, none, none, never, never)


Under = Bucket | Buckets
"""The bars under way: of a grid of bars, or of rows one after another."""


def bucket_ends(rows: RowBatch, interval_minutes: int) -> Nanoseconds:
    """(n,) when the bucket that each row counts in is over."""
    starts, ends = rows.day.grid(interval_minutes * MINUTE_NS)
    return ends[starts.searchsorted(rows.ts, side="right") - 1]


def derive(
    state: Under, rows: Rows, day: TradingDay, interval_minutes: int, watermark_ns: int
) -> tuple[Under, DerivedBars]:
    """The bars that a further batch finishes, and those that stay open.

    Buckets are anchored at each segment's open and the last one ends with the segment; a bucket
    is finished when the watermark has reached its end. A source bar counts in the bucket that
    holds its start. A bar opens with its earliest row and closes with its latest, whichever came
    first; rows of equal time count as they came.

    Parameters
    ----------
    rows : BarBlock or RowBatch
        Without those whose bucket is finished already.
    """
    starts, ends = day.grid(interval_minutes * MINUTE_NS)
    finished = int(ends.searchsorted(watermark_ns, side="right"))
    if isinstance(rows, RowBatch):
        left, bars, _ = _of_rows(_several(state), rows, starts, finished, interval_minutes)
        return left, bars
    if isinstance(state, Buckets):
        raise TypeError("a day's bars go on as a grid if they began as one")
    numbers = starts.searchsorted(rows.ts, side="right") - 1
    if len(rows) == 0:
        grid = _of_open_bucket(state)
    else:
        grid = _from_bars(state, rows, numbers)
    done = int(grid.number.searchsorted(finished))
    bars = _flat(grid, done, starts, interval_minutes, rows.symbols)
    if done < len(grid.number):
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


def amended(
    state: Under, kept: tuple[RowBatch, ...], rows: RowBatch, starts: Nanoseconds
) -> tuple[Buckets, tuple[RowBatch, ...]]:
    """The bars under way with further rows, some of which may take the place of earlier ones.

    Parameters
    ----------
    kept : tuple of RowBatch
        The rows that these bars are of.

    Returns
    -------
    state : Buckets
    kept : tuple of RowBatch
        With these rows.
    """
    if not len(rows):
        return _several(state), kept
    kept, revised = with_piece(kept, rows)
    if revised:
        return with_rows(no_buckets(len(rows.symbols)), kept[0], starts), kept
    return with_rows(_several(state), rows, starts), kept


def left_open(
    kept: tuple[RowBatch, ...], interval_minutes: int, watermark_ns: int
) -> tuple[RowBatch, ...]:
    """The rows of bars that are not finished."""
    left = (rows.taken(bucket_ends(rows, interval_minutes) > watermark_ns) for rows in kept)
    return tuple(rows for rows in left if len(rows))


def with_bars(state: Buckets, rows: RowBatch, starts: Nanoseconds) -> Buckets:
    """As `with_rows`, of bars as long as a bucket at least, which may take the place of earlier ones."""
    rows = rows.standing
    if rows.revises is None or not rows.revises.any():
        return with_rows(state, rows, starts)
    numbers = starts.searchsorted(rows.ts, side="right") - 1
    again = rows.revises & np.isin(numbers, state.number)
    if not again.all():
        state = with_rows(state, rows.taken(~again), starts)
    rows = rows.taken(again)
    at = state.number.searchsorted(numbers[again]), rows.code
    of_row = {"first_ts": "ts", "last_ts": "ts"}
    columns: dict[str, Any] = {}
    for name in _COLUMNS[1:]:
        columns[name] = getattr(state, name).copy()
        columns[name][at] = getattr(rows, of_row.get(name, name))
    return Buckets(state.number, **columns)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Bars of consecutive buckets: number (b,), the others (b, s) with NaN where no row was."""

    number: NDArray[np.int64]
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Prices

    def buckets(self, start: int, stop: int | None) -> _Grid:
        cut = slice(start, stop)
        return _Grid(
            self.number[cut],
            self.open[cut],
            self.high[cut],
            self.low[cut],
            self.close[cut],
            self.volume[cut],
        )


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
    changes = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
    edges = [0, *changes.tolist(), len(numbers)]
    parts: list[_Grid] = []
    first = 0
    if state.number == numbers[0]:
        parts.append(_continued(state, _folded(bars, 0, edges[1], numbers[:1], state.volume)))
        first = 1
    elif state.number != NO_BUCKET:
        parts.append(_of_open_bucket(state))
    while first < len(edges) - 1:
        # Buckets of the same length are folded in one go: all but the cut ones at the ends.
        start, length = edges[first], edges[first + 1] - edges[first]
        first += 1
        while first < len(edges) - 1 and edges[first + 1] - edges[first] == length:
            first += 1
        stop = edges[first]
        parts.append(_folded(bars, start, stop, numbers[start:stop:length], None))
    return _stacked(parts)


def _folded(
    bars: BarBlock,
    start: int,
    stop: int,
    number: NDArray[np.int64],
    volume_before: Prices | None,
) -> _Grid:
    """Rows [start, stop) as bars of consecutive buckets with equally many rows."""
    b, s = len(number), len(bars.symbols)

    def cube(column: NDArray[Any]) -> NDArray[Any]:
        return column[start:stop].reshape(b, -1, s)

    volume, opens, closes = cube(bars.volume), cube(bars.open), cube(bars.close)
    if bars.whole:
        # Copies: what is said of a bucket must not keep the whole day's columns in memory.
        open_, close = opens[:, 0].copy(), closes[:, -1].copy()
    else:
        present = cube(bars.present)
        volume = np.where(present, volume, 0.0)
        first = present.argmax(axis=1)[:, None]
        last = present.shape[1] - 1 - present[:, ::-1].argmax(axis=1)[:, None]
        open_ = np.take_along_axis(opens, first, axis=1)[:, 0]
        close = np.take_along_axis(closes, last, axis=1)[:, 0]
    if volume_before is not None:
        volume = np.concatenate([volume_before[None, None], volume], axis=1)
    return _Grid(
        number,
        open_,
        np.fmax.reduce(cube(bars.high), axis=1),
        np.fmin.reduce(cube(bars.low), axis=1),
        close,
        _summed(volume),
    )


def _summed(volume: Prices) -> Prices:
    """(b, k, s) summed over k, row after row."""
    if volume.shape[2] > 1:
        total: Prices = np.add.reduce(volume, axis=1)
        return total
    # Along the fast axis in memory, numpy would add in pairs.
    return np.add.accumulate(volume, axis=1)[:, -1]


def _continued(state: Bucket, grid: _Grid) -> _Grid:
    """The open bucket with what further rows made of it; volumes were summed on."""
    return _Grid(
        grid.number,
        np.where(np.isnan(state.open), grid.open, state.open),
        np.fmax(state.high, grid.high),
        np.fmin(state.low, grid.low),
        np.where(np.isnan(grid.close), state.close, grid.close),
        grid.volume,
    )


def _stacked(parts: list[_Grid]) -> _Grid:
    if len(parts) == 1:
        return parts[0]
    return _Grid(
        np.concatenate([part.number for part in parts]),
        np.concatenate([part.open for part in parts]),
        np.concatenate([part.high for part in parts]),
        np.concatenate([part.low for part in parts]),
        np.concatenate([part.close for part in parts]),
        np.concatenate([part.volume for part in parts]),
    )


def _several(state: Under) -> Buckets:
    if isinstance(state, Buckets):
        return state
    if state.number == NO_BUCKET:
        return no_buckets(len(state.open))
    # One that was kept without times: no row of it is late, so the last to come is its close.
    never = np.full((1, len(state.open)), NO_TIME, np.int64)
    grid = _of_open_bucket(state)
    return Buckets(
        grid.number, grid.open, grid.high, grid.low, grid.close, grid.volume, never, never
    )


def _of_rows(
    state: Buckets, rows: RowBatch, starts: Nanoseconds, finished: int, interval_minutes: int
) -> tuple[Buckets, DerivedBars, Buckets]:
    """What is open still, bars, and the buckets that these are of."""
    after = with_rows(state, rows, starts) if len(rows) else state
    done = int(after.number.searchsorted(finished))
    grid = _Grid(after.number, after.open, after.high, after.low, after.close, after.volume)
    bars = _flat(grid, done, starts, interval_minutes, rows.symbols)
    return _cut(after, slice(done, None)), bars, _cut(after, slice(0, done))


def _cut(of: Buckets, which: slice | Mask) -> Buckets:
    return Buckets(
        of.number[which],
        of.open[which],
        of.high[which],
        of.low[which],
        of.close[which],
        of.volume[which],
        of.first_ts[which],
        of.last_ts[which],
    )


KEPT_MAX = 4
"""How many finished buckets are kept, to be made once more when rows of them come late."""


@dataclass(frozen=True, eq=False)
class Finished:
    """What is kept of bars that were made, where rows of them may still come from history."""

    made: Mask
    """(m, s) buckets of the day's grid of which a symbol has a bar."""
    latest: Buckets
    """The latest that have a row."""


def none_finished(buckets: int, symbols: int) -> Finished:
    """Before a day's first bar, of a grid of so many."""
    return Finished(np.zeros((buckets, symbols), np.bool_), no_buckets(symbols))


def derive_and_keep(
    kept: Finished,
    state: Under,
    rows: RowBatch,
    day: TradingDay,
    interval_minutes: int,
    watermark_ns: int,
) -> tuple[Finished, Under, DerivedBars]:
    """As `derive`, and what is kept of what is finished."""
    starts, ends = day.grid(interval_minutes * MINUTE_NS)
    finished = int(ends.searchsorted(watermark_ns, side="right"))
    left, bars, done = _of_rows(_several(state), rows, starts, finished, interval_minutes)
    return (_kept(kept, done) if len(done.number) else kept), left, bars


def remade(
    kept: Finished, rows: RowBatch, day: TradingDay, interval_minutes: int
) -> tuple[Finished, DerivedBars, Mask]:
    """Bars of finished buckets, when rows of them have come from history.

    Parameters
    ----------
    rows : RowBatch
        All of them of buckets that are finished.

    Returns
    -------
    kept : Finished
    bars : DerivedBars
        Those that are others than before, or that there was none of.
    unused : (n,) bool
        Rows of bars that were made, and are not kept any more: these stay as they are.
    """
    starts, _ = day.grid(interval_minutes * MINUTE_NS)
    numbers = starts.searchsorted(rows.ts, side="right") - 1
    unused: Mask = kept.made[numbers, rows.code] & ~np.isin(numbers, kept.latest.number)
    if unused.any():
        rows, numbers = rows.taken(~unused), numbers[~unused]
    if not len(rows):
        none = _of_open_bucket(no_bucket(len(rows.symbols)))
        return kept, _flat(none, 0, starts, interval_minutes, rows.symbols), unused
    after = with_rows(kept.latest, rows, starts)
    touched = np.zeros(after.open.shape, np.bool_)
    touched[after.number.searchsorted(numbers), rows.code] = True

    def only(column: Prices) -> Prices:
        return np.where(touched, column, np.nan)

    grid = _Grid(after.number, only(after.open), after.high, after.low, after.close, after.volume)
    bars = _flat(grid, len(after.number), starts, interval_minutes, rows.symbols)
    return _kept(Finished(kept.made, no_buckets(len(rows.symbols))), after), bars, unused


def replaced(parts: Sequence[DerivedBars], again: Sequence[DerivedBars]) -> DerivedBars:
    """A day's bars of one interval, of which some were made again; one or more of those.

    Of equal symbol and time the last that was made again counts.
    """
    every = (*parts, *again)
    ts = np.concatenate([part.ts for part in every])
    symbol = np.concatenate([part.symbol for part in every])
    made = np.arange(len(ts))
    order = np.lexsort((made, symbol, ts))
    last = np.append((np.diff(ts[order]) != 0) | (np.diff(symbol[order]) != 0), True)[: len(ts)]
    order = order[last]

    def column(name: str) -> Prices:
        values: Prices = np.concatenate([getattr(part, name) for part in every])[order]
        return values

    return DerivedBars(
        interval_minutes=every[0].interval_minutes,
        symbols=every[0].symbols,
        symbol=symbol[order],
        ts=ts[order],
        open=column("open"),
        high=column("high"),
        low=column("low"),
        close=column("close"),
        volume=column("volume"),
    )


def bars_on(bars: DerivedBars, of: Sequence[str], register: tuple[str, ...]) -> DerivedBars:
    """Those of some symbols, on a register that has these."""
    codes = codes_on(bars.symbols, register)
    mine = np.isin(np.array(bars.symbols), np.array(of))[bars.symbol]
    return DerivedBars(
        interval_minutes=bars.interval_minutes,
        symbols=register,
        symbol=codes[bars.symbol[mine]],
        ts=bars.ts[mine],
        open=bars.open[mine],
        high=bars.high[mine],
        low=bars.low[mine],
        close=bars.close[mine],
        volume=bars.volume[mine],
    )


def wider(old: Under, new: Under, how: Widening) -> Under:
    """What is open, with the columns of symbols that come."""
    if isinstance(old, Bucket) and isinstance(new, Bucket):
        after = spliced(old, new, how)
        return replace(after, number=max(old.number, new.number))
    return _wider(_several(old), _several(new), how)


def wider_finished(old: Finished, new: Finished, how: Widening) -> Finished:
    """What is kept of bars that were made, with the columns of symbols that come."""
    latest = _wider(old.latest, new.latest, how)
    return Finished(how.columns(old.made, new.made), _cut(latest, slice(-KEPT_MAX, None)))


def _wider(old: Buckets, new: Buckets, how: Widening) -> Buckets:
    number = np.union1d(old.number, new.number).astype(np.int64)

    def laid_out(of: Buckets) -> Buckets:
        at = number.searchsorted(of.number)
        columns: dict[str, Any] = {}
        for name in _COLUMNS[1:]:
            column = getattr(of, name)
            nothing = NO_TIME if name.endswith("_ts") else 0.0 if name == "volume" else np.nan
            grid = np.full((len(number), column.shape[1]), nothing, column.dtype)
            grid[at] = column
            columns[name] = grid
        return Buckets(number, **columns)

    one, other = laid_out(old), laid_out(new)
    return Buckets(
        number, *(how.columns(getattr(one, name), getattr(other, name)) for name in _COLUMNS[1:])
    )


def _kept(before: Finished, done: Buckets) -> Finished:
    made = before.made.copy()
    made[done.number] |= ~np.isnan(done.open)
    latest = Buckets(
        *(np.concatenate([getattr(before.latest, name), getattr(done, name)]) for name in _COLUMNS)
    )
    return Finished(made, _cut(latest, slice(-KEPT_MAX, None)))


_COLUMNS = ("number", "open", "high", "low", "close", "volume", "first_ts", "last_ts")


def with_rows(state: Buckets, rows: RowBatch, starts: Nanoseconds) -> Buckets:
    """The bars under way with further rows, in any order; none is finished.

    Parameters
    ----------
    starts : (m,) int64
        Where each bucket of the day's grid begins, ns UTC.
    """
    s = len(rows.symbols)
    numbers = starts.searchsorted(rows.ts, side="right") - 1
    changes = np.append(True, numbers[1:] != numbers[:-1])
    number = np.union1d(state.number, numbers[changes]).astype(np.int64)
    shape = (len(number), s)
    cell = number.searchsorted(numbers) * s + rows.code
    # Of equal times the first to come is first.
    order = rows.by_symbol_in_time
    order = order[grouped(numbers[order], len(starts))]
    touched = cell[order]
    heads = np.flatnonzero(np.append(True, touched[1:] != touched[:-1]))
    tails = np.append(heads[1:], len(order)) - 1
    where = touched[heads]
    ts = rows.ts[order]

    kept = number.searchsorted(state.number)

    def laid_out(column: NDArray[Any], nothing: float) -> NDArray[Any]:
        grid = np.full(shape, nothing, column.dtype)
        grid[kept] = column
        return grid.reshape(-1)

    open_, close = laid_out(state.open, np.nan), laid_out(state.close, np.nan)
    high, low = laid_out(state.high, np.nan), laid_out(state.low, np.nan)
    first_ts, last_ts = laid_out(state.first_ts, NO_TIME), laid_out(state.last_ts, NO_TIME)
    opens = np.isnan(open_[where]) | (ts[heads] < first_ts[where])
    closes = ts[tails] >= last_ts[where]
    open_[where] = np.where(opens, rows.open[order[heads]], open_[where])
    first_ts[where] = np.where(opens, ts[heads], first_ts[where])
    close[where] = np.where(closes, rows.close[order[tails]], close[where])
    last_ts[where] = np.where(closes, ts[tails], last_ts[where])
    high[where] = np.fmax(high[where], np.maximum.reduceat(rows.high[order], heads))
    low[where] = np.fmin(low[where], np.minimum.reduceat(rows.low[order], heads))
    # bincount adds in the order of its input, so that what was carried comes first.
    volume = np.bincount(
        np.concatenate([np.arange(len(open_)), cell]),
        weights=np.concatenate([laid_out(state.volume, 0.0), rows.volume]),
        minlength=len(open_),
    ).astype(np.float64, copy=False)
    return Buckets(
        number,
        open_.reshape(shape),
        high.reshape(shape),
        low.reshape(shape),
        close.reshape(shape),
        volume.reshape(shape),
        first_ts.reshape(shape),
        last_ts.reshape(shape),
    )


def _flat(
    grid: _Grid, count: int, starts: Nanoseconds, interval_minutes: int, symbols: tuple[str, ...]
) -> DerivedBars:
    """The first `count` buckets as bars."""
    present = ~np.isnan(grid.open[:count])
    whole = bool(present.all())
    begins = starts[grid.number[:count]]
    if whole:
        ts = begins.repeat(len(symbols))
        symbol = np.tile(np.arange(len(symbols), dtype=np.int32), count)
    else:
        row, found = present.nonzero()
        ts, symbol = begins[row], found.astype(np.int32)

    def column(values: Prices) -> Prices:
        return values[:count].reshape(-1) if whole else values[:count][present]

    return DerivedBars(
        interval_minutes=interval_minutes,
        symbols=symbols,
        symbol=symbol,
        ts=ts,
        open=column(grid.open),
        high=column(grid.high),
        low=column(grid.low),
        close=column(grid.close),
        volume=column(grid.volume),
    )
