"""From raw rows to a trading day's columns: what is used, what isn't, and the count of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from openbell.market.arrivals import added, behind, none_counted, nothing_came, taken_in
from openbell.market.auctions import counts as counted
from openbell.market.auctions import has_auctions, in_auctions
from openbell.market.bars import (
    BAR_COLUMNS,
    TICK_COLUMNS,
    BadRow,
    BarBlock,
    Codes,
    DayData,
    Kind,
    Mask,
    Order,
    Prices,
    RawRows,
    RowBatch,
    RowCounts,
    Rows,
)
from openbell.market.days import Nanoseconds, TradingDay
from openbell.market.products import own_hours
from openbell.market.results import NO_TIME
from openbell.market.rules import NO_RULES, RowRules

T = TypeVar("T", bound=np.generic)


def assemble(
    raw: RawRows,
    day: TradingDay,
    interval_ns: int | None,
    order: Order = "time",
    rules: RowRules = NO_RULES,
) -> DayData:
    """A trading day's rows, cleaned, with an account of the rest.

    Rows outside the hours are ignored; unusable rows (a price that is missing, infinite or, unless
    they are `signed`, not above 0, a high below the low, a bar off the interval's grid) are listed;
    equal ticks all count. In the order `time`, later rows are put in time order, equal times in the
    source's order; of bars with equal (symbol, ts) the last in source order is used. In the order
    `arrival`, rows stay as the source has them, and of such bars the first is used: it was acted on.

    Parameters
    ----------
    interval_ns : int or None
        Bar length, None for ticks.
    rules : RowRules
        What rows in the order `arrival` mean.
    """
    if order == "arrival":
        return _as_arrived(raw, day, interval_ns, rules)
    whole = None if interval_ns is None else _whole_day(raw, day, interval_ns)
    return whole or _sorted_out(raw, day, interval_ns)


def _whole_day(raw: RawRows, day: TradingDay, interval_ns: int) -> DayData | None:
    """The day, if its rows are usable bars of all symbols for all minutes in just that order.

    Most files are such, and to see that takes a third of the time of sorting their rows out.
    """
    if own_hours(day, raw.symbols) is not None:
        return None
    starts, _ = day.grid(interval_ns)
    m, s = len(starts), len(raw.symbols)
    ts, code = raw.ts, raw.code
    if len(ts) != m * s or not len(ts) or not _is_sorted(ts):
        return None
    by_minute, codes = ts.reshape(m, s), code.reshape(m, s)
    # As times are in order, all between two equal ones are equal too.
    if not ((by_minute[:, 0] == starts).all() and (by_minute[:, -1] == starts).all()):
        return None
    if not (codes == np.arange(s, dtype=codes.dtype)).all():
        return None
    odd = _odd_bars(raw)
    if odd is None:
        return None
    none = np.zeros(s, np.int64)
    counts = RowCounts(
        rows=np.full(s, m),
        outside_hours=none,
        out_of_order=none,
        duplicates=none,
        bad_rows=none,
        ohlc_outside=odd.reshape(m, s).sum(axis=0, dtype=np.int64) if odd.any() else none,
    )
    columns = {name: column.reshape(m, s) for name, column in raw.columns.items()}
    block = _bar_block(raw.symbols, day, interval_ns, columns, np.ones((m, s), np.bool_))
    return DayData(day=day, rows=block, counts=counts, bad=())


def _odd_bars(raw: RawRows) -> Mask | None:
    """Which bars have an open or close outside [low, high]; None if some bar isn't usable."""
    o, h, l, c = (raw.columns[name] for name in BAR_COLUMNS[:4])
    if not len(o):
        return None
    least = _least(raw)
    upper, lower = np.maximum(o, c), np.minimum(o, c)
    # The smallest of numbers among which one is NaN is NaN, and no comparison with it is true.
    usable = l.min() > least and lower.min() > least and max(h.max(), upper.max()) < np.inf
    if not (usable and (h >= l).all()):
        return None
    odd: Mask = (upper > h) | (lower < l)
    return odd


def _is_sorted(ts: Nanoseconds) -> bool:
    return bool((ts[1:] >= ts[:-1]).all())


@dataclass(frozen=True, eq=False)
class _Usable:
    """Rows that count, in the source's order, and an account of the others."""

    code: Codes
    ts: Nanoseconds
    columns: dict[str, Prices]
    slot: NDArray[np.int64] | None
    """Row of the day's grid, None for ticks."""
    may_be_odd: bool
    """Whether there may be bars whose open or close lies outside [low, high]."""
    counts: RowCounts
    """Rows, those outside the hours, bad ones."""
    bad: tuple[BadRow, ...]


def _usable(raw: RawRows, day: TradingDay, interval_ns: int | None) -> _Usable:
    inside = _inside(raw, day)
    s = len(raw.symbols)
    none = none_counted(s)
    outside, by_rule = none, tuple[tuple[str, NDArray[np.int64]], ...]()
    if not inside.all():
        code = raw.code[~inside]
        outside = np.bincount(code, minlength=s)
        if has_auctions(day):
            some = in_auctions(day, raw.symbols, code, raw.ts[~inside])
            if some.any():
                by_rule = (("auction", np.bincount(code[some], minlength=s)),)
    slot = odd = None
    if interval_ns is None:
        usable = _usable_ticks(raw)
    else:
        slot, usable = _slots(raw.ts, day, interval_ns)
        odd = _odd_bars(raw)
        if odd is None:
            usable = usable & _usable_bars(raw)
    bad_at = np.flatnonzero(inside & ~usable)
    keep = None if len(bad_at) == 0 and inside.all() else np.flatnonzero(inside & usable)
    return _Usable(
        code=_kept(raw.code, keep),
        ts=_kept(raw.ts, keep),
        columns={name: _kept(column, keep) for name, column in raw.columns.items()},
        slot=None if slot is None else _kept(slot, keep),
        may_be_odd=odd is None or bool(odd.any()),
        counts=RowCounts(
            rows=np.bincount(raw.code, minlength=s),
            outside_hours=outside,
            out_of_order=none,
            duplicates=none,
            bad_rows=np.bincount(raw.code[bad_at], minlength=s) if len(bad_at) else none,
            ohlc_outside=none,
            by_rule=by_rule,
        ),
        bad=tuple(_bad_row(raw, int(i), interval_ns) for i in bad_at),
    )


def _sorted_out(raw: RawRows, day: TradingDay, interval_ns: int | None) -> DayData:
    found = _usable(raw, day, interval_ns)
    s = len(raw.symbols)
    none, never = np.zeros(s, np.int64), np.full(s, NO_TIME, np.int64)
    rows: Rows
    if interval_ns is None or found.slot is None:
        rows, duplicates, ohlc_outside = _ticks(raw.symbols, day, found), none, none
    else:
        rows, duplicates = _block(
            raw.symbols, day, interval_ns, found.code, found.slot, found.columns
        )
        ohlc_outside = _ohlc_outside(rows) if found.may_be_odd else none
    counts = replace(
        found.counts,
        out_of_order=none if _is_sorted(found.ts) else behind(never, found.code, found.ts),
        duplicates=duplicates,
        ohlc_outside=ohlc_outside,
    )
    return DayData(day=day, rows=rows, counts=counts, bad=found.bad)


def as_came(
    raw: RawRows, day: TradingDay, interval_ns: int | None, rules: RowRules = NO_RULES
) -> DayData:
    """Rows that count, in the order in which they came, and an account of the others.

    What they are held against of earlier rows is for `market.arrivals.taken_in`: bars that were
    told before are still there, and rows are known at their own ends.
    """
    partial = raw.columns.get("partial") if interval_ns is not None else None
    left_out = none_counted(len(raw.symbols))
    if partial is not None and rules.drops_partial:
        dropped = (partial > 0) & _inside(raw, day)
        if dropped.any():
            left_out = np.bincount(raw.code[dropped], minlength=len(raw.symbols))
            raw = raw.taken(np.flatnonzero(~dropped))
    found = _usable(raw, day, interval_ns)
    names = ("price",) * 4 + ("size",) if interval_ns is None else BAR_COLUMNS
    columns = {name: _read_only(found.columns[name]) for name in set(names)}
    open_, high, low, close, volume = (columns[name] for name in names)
    ts = _read_only(found.ts)
    ends = ts if interval_ns is None else _read_only(day.grid(interval_ns)[1][found.slot])
    rows = RowBatch(
        day,
        raw.symbols,
        interval_ns,
        _read_only(found.code),
        ts,
        ends,
        open_,
        high,
        low,
        close,
        volume,
        partial=_marked(found.columns.get("partial")) if interval_ns is not None else None,
        ids=_identified(found.columns.get("trade_id")) if rules.dedupe == "trade_id" else None,
    )
    counts = found.counts
    if left_out.any():
        by_rule = (*counts.by_rule, ("partial", left_out))
        counts = replace(counts, rows=counts.rows + left_out, by_rule=by_rule)
    return DayData(day=day, rows=rows, counts=counts, bad=found.bad)


def _marked(partial: Prices | None) -> Mask | None:
    return _read_only(partial > 0) if partial is not None and (partial > 0).any() else None


def _identified(ids: Prices | None) -> Prices | None:
    return _read_only(ids) if ids is not None and not np.isnan(ids).all() else None


def _as_arrived(raw: RawRows, day: TradingDay, interval_ns: int | None, rules: RowRules) -> DayData:
    """A whole day's rows in the order in which they came."""
    data = as_came(raw, day, interval_ns, rules)
    assert isinstance(data.rows, RowBatch)
    nothing = nothing_came(day, len(raw.symbols), interval_ns)
    _, rows, counts = taken_in(nothing, data.rows, rules)
    return replace(data, rows=rows, counts=added(data.counts, counts))


def no_rows(symbols: tuple[str, ...], day: TradingDay, interval_ns: int | None) -> DayData:
    """A trading day of which nothing is known."""
    return assemble(no_raw_rows(symbols, interval_ns), day, interval_ns)


def no_raw_rows(symbols: tuple[str, ...], interval_ns: int | None) -> RawRows:
    """What a source has that has nothing."""
    kind: Kind = "ticks" if interval_ns is None else "bars"
    return RawRows(
        kind=kind,
        symbols=symbols,
        code=np.empty(0, np.int32),
        ts=np.empty(0, np.int64),
        columns={n: np.empty(0) for n in (TICK_COLUMNS if kind == "ticks" else BAR_COLUMNS)},
        locate=lambda i: ("", i),
    )


def _kept(column: NDArray[T], keep: NDArray[np.intp] | None) -> NDArray[T]:
    return column if keep is None else column[keep]


def _inside(raw: RawRows, day: TradingDay) -> Mask:
    return counted(day, raw.symbols, raw.code, raw.ts)


def _slots(ts: Nanoseconds, day: TradingDay, interval_ns: int) -> tuple[NDArray[np.int64], Mask]:
    """Row of the day's grid for each time, and whether the time is one of the grid's."""
    if len(day.segments) == 1:
        offset = ts - day.open_ns
        # Whether it is a multiple is checked, so a float's quotient, which is faster, will do.
        slot = np.rint(offset / interval_ns).astype(np.int64)
        return slot, slot * interval_ns == offset
    starts, _ = day.grid(interval_ns)
    slot = np.clip(np.searchsorted(starts, ts, side="right") - 1, 0, None)
    return slot, starts[slot] == ts


def _usable_bars(raw: RawRows) -> Mask:
    o, h, l, c = (raw.columns[name] for name in BAR_COLUMNS[:4])
    least = _least(raw)
    # A comparison with NaN is false, so that a missing price is caught by the same tests.
    good = (l > least) & (h >= l) & (h < np.inf)
    return good & (o > least) & (o < np.inf) & (c > least) & (c < np.inf)


def _usable_ticks(raw: RawRows) -> Mask:
    price = raw.columns["price"]
    return (price > _least(raw)) & (price < np.inf)


def _least(raw: RawRows) -> float:
    """What a usable price is above."""
    return -np.inf if raw.signed else 0.0


def _ohlc_outside(bars: BarBlock) -> NDArray[np.int64]:
    """Bars per symbol whose open or close lies outside [low, high]."""
    highest, lowest = np.maximum(bars.open, bars.close), np.minimum(bars.open, bars.close)
    outside: Mask = (highest > bars.high) | (lowest < bars.low)
    counted: NDArray[np.int64] = outside.sum(axis=0, dtype=np.int64)
    return counted


def _block(
    symbols: tuple[str, ...],
    day: TradingDay,
    interval_ns: int,
    code: Codes,
    slot: NDArray[np.int64],
    columns: dict[str, Prices],
) -> tuple[BarBlock, NDArray[np.int64]]:
    starts, _ = day.grid(interval_ns)
    m, s = len(starts), len(symbols)
    # Rows that come by symbol are scattered by symbol, in the order of memory, and turned then.
    by_symbol = code * np.int64(m) + slot
    turned = bool((by_symbol[1:] > by_symbol[:-1]).all())
    cell = by_symbol if turned else slot * s + code
    filled = np.zeros(m * s, np.bool_)
    filled[cell] = True
    duplicates = np.zeros(s, np.int64)
    if not turned and np.count_nonzero(filled) < len(cell):
        duplicates = np.bincount(code, minlength=s) - filled.reshape(m, s).sum(axis=0)
        order = np.argsort(cell, kind="stable")
        last = np.append(cell[order][1:] != cell[order][:-1], True)
        winners = order[last]
        cell, columns = cell[winners], {k: v[winners] for k, v in columns.items()}
    missing = np.flatnonzero(~filled)

    def grid(column: Prices) -> Prices:
        flat = np.empty(m * s)
        flat[cell] = column
        flat[missing] = np.nan
        return np.ascontiguousarray(flat.reshape(s, m).T) if turned else flat.reshape(m, s)

    grids = {name: grid(column) for name, column in columns.items()}
    present = np.ascontiguousarray(filled.reshape(s, m).T) if turned else filled.reshape(m, s)
    return _bar_block(symbols, day, interval_ns, grids, present), duplicates


def _bar_block(
    symbols: tuple[str, ...],
    day: TradingDay,
    interval_ns: int,
    grids: dict[str, Prices],
    present: Mask,
) -> BarBlock:
    starts, ends = day.grid(interval_ns)
    return BarBlock(
        day=day,
        symbols=symbols,
        interval_ns=interval_ns,
        ts=starts,
        ends=ends,
        open=_read_only(grids["open"]),
        high=_read_only(grids["high"]),
        low=_read_only(grids["low"]),
        close=_read_only(grids["close"]),
        volume=_read_only(grids["volume"]),
        present=_read_only(present),
    )


def _ticks(symbols: tuple[str, ...], day: TradingDay, found: _Usable) -> RowBatch:
    code, ts = found.code, found.ts
    price, size = found.columns["price"], found.columns["size"]
    if not _is_sorted(ts):
        place = np.argsort(ts, kind="stable")
        code, ts, price, size = code[place], ts[place], price[place], size[place]
    return RowBatch.ticks(
        day,
        symbols,
        _read_only(code),
        _read_only(ts),
        _read_only(price),
        _read_only(size),
        by_time=True,
    )


def _read_only(array: NDArray[T]) -> NDArray[T]:
    view = array.view()
    view.flags.writeable = False
    return view


def _bad_row(raw: RawRows, i: int, interval_ns: int | None) -> BadRow:
    file, row = raw.locate(i)
    values = {name: float(column[i]) for name, column in raw.columns.items()}
    return BadRow(
        file=file,
        row=row,
        symbol=raw.symbols[raw.code[i]],
        ts_ns=int(raw.ts[i]),
        reason=_why_unusable(values, interval_ns, _least(raw)),
    )


def _why_unusable(values: dict[str, float], interval_ns: int | None, least: float) -> str:
    prices = ("price",) if interval_ns is None else BAR_COLUMNS[:4]
    for name in prices:
        value = values[name]
        if np.isnan(value):
            return f"{name} is missing"
        if np.isinf(value):
            return f"{name} is infinite"
        if value <= least:
            return f"{name} is {value:g}, not above 0"
    if interval_ns is not None and values["high"] < values["low"]:
        return f"high {values['high']!r} is below low {values['low']!r}"
    return "ts is not on the interval's grid from the open"
