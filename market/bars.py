"""A day's rows as columns: raw rows from a source, and the blocks that actors work on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from openbell.market.days import Nanoseconds, TradingDay

Prices = NDArray[np.float64]
Codes = NDArray[np.int32]
"""Positions in a tuple of symbols."""
Mask = NDArray[np.bool_]
Positions = NDArray[np.intp]

T = TypeVar("T", bound=np.generic)

Kind = Literal["bars", "ticks"]

Order = Literal["time", "arrival"]
"""`time`: stored rows are put in time order; `arrival`: they are acted on as they came."""

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
TICK_COLUMNS = ("price", "size")
EXTRAS: dict[Kind, tuple[str, ...]] = {"ticks": ("trade_id",), "bars": ("partial",)}
"""Columns that rows may have besides, at which only rules of a feed look."""


IF_SET = {"written": "if set"}
"""Of fields that are no part of what is written of states and digests while they have their default,
so that what was written before there were such fields goes on to hold."""


@dataclass(frozen=True, eq=False)
class RawRows:
    """Rows as a source delivers them, in the source's order; nothing checked, nothing dropped.

    All arrays have the same length n.
    """

    kind: Kind
    symbols: tuple[str, ...]
    """What `code` points into."""
    code: Codes
    ts: Nanoseconds
    """Bar start or tick time, ns UTC."""
    columns: dict[str, Prices]
    """`open, high, low, close, volume` for bars, `price, size` for ticks; (n,) float64. Ticks may
    have a `trade_id`, a whole number that tells one trade from others, NaN where there is none; bars
    `partial`, 1 where a bar is known not to be whole."""
    locate: Callable[[int], tuple[str, int]] = field(repr=False)
    """File and 1-based data row of the row at a position, for messages and `bad_rows.csv`."""
    signed: bool = False
    """Whether prices of 0 and below are real, as of spreads."""

    def __len__(self) -> int:
        return len(self.ts)

    def taken(self, which: Positions) -> Self:
        """Some of the rows, in the order of their positions."""
        locate = self.locate
        return replace(
            self,
            code=self.code[which],
            ts=self.ts[which],
            columns={name: column[which] for name, column in self.columns.items()},
            locate=lambda i: locate(int(which[i])),
        )


@dataclass(frozen=True, eq=False)
class BarBlock:
    """Bars of one trading day as a grid, bars × symbols; a slice of rows is a view.

    Arrays are read-only. Prices are in quote currency as given; NaN where there is no bar.
    """

    day: TradingDay
    symbols: tuple[str, ...]
    interval_ns: int
    ts: Nanoseconds
    """(m,) bar starts: `day.grid(interval_ns)`, or a part of it."""
    ends: Nanoseconds
    """(m,) bar ends: when each row is known."""
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Prices
    present: Mask
    """(m, s): whether the source had a bar."""

    _cut: ClassVar[tuple[BarBlock, int] | None] = None
    """Of a view: what it is a view of, and from which row on."""

    def __len__(self) -> int:
        return len(self.ts)

    def __getstate__(self) -> dict[str, Any]:
        # What goes to another process is the view alone, without the grid that it is of.
        return {name: value for name, value in self.__dict__.items() if name != "_cut"}

    @cached_property
    def whole(self) -> bool:
        """Whether every symbol has a bar in every row, as mostly: then much need not be searched."""
        return bool(self.present.all())

    def rows(self, start: int, stop: int) -> Self:
        """The rows [start, stop) as a view; nothing is copied."""
        cut = slice(start, stop)
        view = type(self)(
            day=self.day,
            symbols=self.symbols,
            interval_ns=self.interval_ns,
            ts=self.ts[cut],
            ends=self.ends[cut],
            open=self.open[cut],
            high=self.high[cut],
            low=self.low[cut],
            close=self.close[cut],
            volume=self.volume[cut],
            present=self.present[cut],
        )
        whole, before = self._cut or (self, 0)
        view.__dict__["_cut"] = whole, before + start
        return view


@dataclass(frozen=True, eq=False)
class RowBatch:
    """Rows of one trading day one after another, as they are acted on; arrays (n,), read-only.

    A tick is a row whose four prices are one and the same array.
    """

    day: TradingDay
    symbols: tuple[str, ...]
    interval_ns: int | None
    """Length of a bar, None for ticks."""
    code: Codes
    """Positions in `symbols`."""
    ts: Nanoseconds
    """Bar start or tick time, ns UTC, in any order unless `by_time`."""
    known: Nanoseconds
    """When each row could first be acted on: the latest end (of ticks: time) of all that came so
    far. It never decreases, whatever `ts` does."""
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Prices
    """Units traded, 0 where the source has none."""
    by_time: bool = False
    """Whether rows stand in time order and those of equal time count as having come together; else
    each came by itself, in this order."""
    partial: Mask | None = field(default=None, metadata=IF_SET)
    """Bars that are known not to be whole; None: there are none."""
    ids: Prices | None = field(default=None, metadata=IF_SET)
    """Numbers that tell trades apart, as in RawRows, until that is done; None: there are none."""
    revises: Mask | None = field(default=None, metadata=IF_SET)
    """Bars that take the place of an earlier one of their symbol and time; None: none ever does, so
    that nobody has to keep what came."""

    @classmethod
    def ticks(
        cls,
        day: TradingDay,
        symbols: tuple[str, ...],
        code: Codes,
        ts: Nanoseconds,
        price: Prices,
        size: Prices,
        *,
        by_time: bool,
    ) -> Self:
        """Ticks; in time order, or in the order in which they came."""
        known = ts if by_time else np.maximum.accumulate(ts)
        return cls(
            day, symbols, None, code, ts, known, price, price, price, price, size, by_time=by_time
        )

    def __len__(self) -> int:
        return len(self.ts)

    @cached_property
    def ends(self) -> Nanoseconds:
        """When each row is over: the bar's end, which the segment's close may cut; a tick's time."""
        if self.interval_ns is None:
            return self.ts
        starts, ends = self.day.grid(self.interval_ns)
        return ends[starts.searchsorted(self.ts)]

    @cached_property
    def by_symbol(self) -> Positions:
        """(n,) where the rows are, symbol by symbol, each symbol's in their order."""
        return grouped(self.code, len(self.symbols))

    @cached_property
    def by_symbol_in_time(self) -> Positions:
        """(n,) where the rows are, symbol by symbol, each symbol's by time; equal times as they
        come."""
        if self.by_time:
            return self.by_symbol
        order = self.ts.argsort(kind="stable")
        return order[grouped(self.code[order], len(self.symbols))]

    @cached_property
    def turns(self) -> Nanoseconds:
        """(n,) not decreasing: rows with equal numbers came together."""
        return self.known if self.by_time else np.arange(len(self.ts))

    @cached_property
    def standing(self) -> Self:
        """The rows with one of each bar: where the first came, with what the last says."""
        if self.revises is None or not self.revises.any():
            return self
        order = self.by_symbol_in_time
        code, ts = self.code[order], self.ts[order]
        heads = np.flatnonzero(np.append(True, (code[1:] != code[:-1]) | (ts[1:] != ts[:-1])))
        firsts, lasts = order[heads], order[np.append(heads[1:], len(order)) - 1]
        place = firsts.argsort()
        firsts = firsts[place]
        return replace(
            self.taken(lasts[place]), known=self.known[firsts], revises=self.revises[firsts]
        )

    def block(self) -> BarBlock:
        """Bars as the grid of their whole day; of one that was revised, what stands.

        Raises
        ------
        ValueError
            If the rows are ticks.
        """
        if self.interval_ns is None:
            raise ValueError("ticks have no grid")
        if self.standing is not self:
            return self.standing.block()
        starts, ends = self.day.grid(self.interval_ns)
        at = starts.searchsorted(self.ts), self.code
        shape = (len(starts), len(self.symbols))

        def grid(column: Prices) -> Prices:
            cells = np.full(shape, np.nan)
            cells[at] = column
            return cells

        present = np.zeros(shape, np.bool_)
        present[at] = True
        return BarBlock(
            self.day,
            self.symbols,
            self.interval_ns,
            starts,
            ends,
            grid(self.open),
            grid(self.high),
            grid(self.low),
            grid(self.close),
            grid(self.volume),
            present,
        )

    def known_at(self, known: Nanoseconds) -> Self:
        """The same rows, known at other times."""
        return type(self)(
            self.day,
            self.symbols,
            self.interval_ns,
            self.code,
            self.ts,
            known,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            by_time=self.by_time,
            partial=self.partial,
            ids=self.ids,
            revises=self.revises,
        )

    def rows(self, start: int, stop: int) -> Self:
        """The rows [start, stop) as a view; nothing is copied."""
        if start == 0 and stop == len(self):
            return self
        return self.taken(slice(start, stop))

    def taken(self, which: slice | Mask | Positions) -> Self:
        """Some of the rows, in their order; or in that of given positions."""
        open_ = self.open[which]
        one = self.high is self.open
        return type(self)(
            self.day,
            self.symbols,
            self.interval_ns,
            self.code[which],
            self.ts[which],
            self.known[which],
            open_,
            open_ if one else self.high[which],
            open_ if one else self.low[which],
            open_ if one else self.close[which],
            self.volume[which],
            by_time=self.by_time,
            partial=None if self.partial is None else self.partial[which],
            ids=None if self.ids is None else self.ids[which],
            revises=None if self.revises is None else self.revises[which],
        )

    @property
    def entire(self) -> Self:
        """Without bars that are known not to be whole: what shows that a slot was seen."""
        return self if self.partial is None else self.taken(~self.partial)


def grouped(numbers: Codes | Nanoseconds, count: int) -> Positions:
    """Where numbers below `count` are, in ascending order; equal ones as they come."""
    # numpy sorts integers of 16 bits by radix, in a fraction of the time.
    narrow = numbers.astype(np.uint16) if count <= 2**16 else numbers
    order: Positions = narrow.argsort(kind="stable")
    return order


def joined(parts: Sequence[RowBatch]) -> RowBatch:
    """Rows that came one after another, of one day and one register; at least one part."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    open_ = np.concatenate([part.open for part in parts])
    one = all(part.high is part.open for part in parts)

    def column(name: str) -> Prices:
        return open_ if one else np.concatenate([getattr(part, name) for part in parts])

    return RowBatch(
        first.day,
        first.symbols,
        first.interval_ns,
        np.concatenate([part.code for part in parts]),
        np.concatenate([part.ts for part in parts]),
        np.concatenate([part.known for part in parts]),
        open_,
        column("high"),
        column("low"),
        column("close"),
        np.concatenate([part.volume for part in parts]),
        by_time=first.by_time,
        partial=_joined_if_any([part.partial for part in parts], [len(part) for part in parts], 0),
        ids=_joined_if_any([part.ids for part in parts], [len(part) for part in parts], np.nan),
        revises=_joined_if_any([part.revises for part in parts], [len(part) for part in parts], 0),
    )


PIECES_MAX = 500
"""So many batches are kept side by side at most, as each of them costs time."""


def with_piece(kept: tuple[RowBatch, ...], rows: RowBatch) -> tuple[tuple[RowBatch, ...], bool]:
    """Rows that are kept as they may be revised, with further ones.

    Returns
    -------
    kept : tuple of RowBatch
        If any bar was revised a single batch, of what stands.
    revised : bool
        Whether one was.
    """
    kept = (*kept, rows)
    if rows.revises is not None and rows.revises.any():
        return (joined(kept).standing,), True
    return ((joined(kept),) if len(kept) > PIECES_MAX else kept), False


def _joined_if_any(
    parts: Sequence[NDArray[T] | None], lengths: Sequence[int], missing: float
) -> NDArray[T] | None:
    known = next((part for part in parts if part is not None), None)
    if known is None:
        return None
    return np.concatenate(
        [
            np.full(length, missing, known.dtype) if part is None else part
            for part, length in zip(parts, lengths, strict=True)
        ]
    )


Rows = BarBlock | RowBatch


def rows_joined(parts: Sequence[Rows]) -> Rows:
    """Rows that came one after another, all grids or none, of one day and one register; at least
    one part."""
    blocks = [part for part in parts if isinstance(part, BarBlock)]
    if blocks:
        return blocks_joined(blocks)
    return joined([part for part in parts if isinstance(part, RowBatch)])


def blocks_joined(parts: Sequence[BarBlock]) -> BarBlock:
    """Pieces of a day's grid that follow each other, as one; at least one. Where they are views of
    one grid, so is what is given, and nothing is copied."""
    some = [part for part in parts if len(part)] or parts[:1]
    first = some[0]
    if len(some) == 1:
        return first
    if first._cut is not None:
        whole, start = first._cut
        stop = start
        for part in some:
            if part._cut is None or part._cut[0] is not whole or part._cut[1] != stop:
                break
            stop += len(part)
        else:
            return whole if stop - start == len(whole) else whole.rows(start, stop)

    def column(name: str) -> Any:
        whole = np.concatenate([getattr(part, name) for part in some])
        whole.flags.writeable = False
        return whole

    return BarBlock(
        first.day,
        first.symbols,
        first.interval_ns,
        *(
            column(name)
            for name in ("ts", "ends", "open", "high", "low", "close", "volume", "present")
        ),
    )


@dataclass(frozen=True, eq=False)
class RowCounts:
    """What became of a day's raw rows, per symbol: arrays (s,) int64 over `DayData.symbols`."""

    rows: NDArray[np.int64]
    """All rows of the symbol in the day's window."""
    outside_hours: NDArray[np.int64]
    out_of_order: NDArray[np.int64]
    """Rows inside the hours whose time lies before that of an earlier row of the symbol."""
    duplicates: NDArray[np.int64]
    """Bars inside the hours replaced by a later one of the same (symbol, ts)."""
    bad_rows: NDArray[np.int64]
    """Unusable rows inside the hours."""
    ohlc_outside: NDArray[np.int64]
    """Bars used although open or close lie outside [low, high]."""
    by_rule: tuple[tuple[str, NDArray[np.int64]], ...] = field(default=(), metadata=IF_SET)
    """What the rules of a feed did, by name where there is any: `partial` and `repeated` rows were not
    used, `total_fell` were, as of size 0. `revised` bars took the place of an earlier one, and are among
    its duplicates; of them `revised_late` came when a window or a bar that they belong to was over. And
    `auction`: rows outside the hours, counted there, that lie in an auction."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """One unusable row: where it stands and why it is not used."""

    file: str
    row: int
    """1-based data row in the file."""
    symbol: str
    ts_ns: int
    reason: str


@dataclass(frozen=True, eq=False)
class DayData:
    """A trading day, ready to be handed out: its rows, and what happened to the others."""

    day: TradingDay
    rows: Rows
    counts: RowCounts
    bad: tuple[BadRow, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.rows.symbols

    @property
    def has_rows(self) -> bool:
        """Whether there is a row inside the hours."""
        return int(self.counts.rows.sum()) != int(self.counts.outside_hours.sum())
