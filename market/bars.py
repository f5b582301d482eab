"""A day's rows as columns: raw rows from a source, and the blocks that actors work on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from openbell.market.days import Nanoseconds, TradingDay

Prices = NDArray[np.float64]
Codes = NDArray[np.int32]
"""Positions in a tuple of symbols."""
Mask = NDArray[np.bool_]

Kind = Literal["bars", "ticks"]

BAR_COLUMNS = ("open", "high", "low", "close", "volume")
TICK_COLUMNS = ("price", "size")


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
    """`open, high, low, close, volume` for bars, `price, size` for ticks; (n,) float64."""
    locate: Callable[[int], tuple[str, int]] = field(repr=False)
    """File and 1-based data row of the row at a position, for messages and `bad_rows.csv`."""
    signed: bool = False
    """Whether prices of 0 and below are real, as of spreads."""

    def __len__(self) -> int:
        return len(self.ts)


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

    def __len__(self) -> int:
        return len(self.ts)

    @cached_property
    def whole(self) -> bool:
        """Whether every symbol has a bar in every row, as mostly: then much need not be searched."""
        return bool(self.present.all())

    def rows(self, start: int, stop: int) -> Self:
        """The rows [start, stop) as a view; nothing is copied."""
        cut = slice(start, stop)
        return type(self)(
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


@dataclass(frozen=True, eq=False)
class TickBatch:
    """Ticks of one trading day in time order (stable: equal times keep the source's order)."""

    day: TradingDay
    symbols: tuple[str, ...]
    code: Codes
    """(n,) positions in `symbols`."""
    ts: Nanoseconds
    """(n,) ns UTC, non-decreasing."""
    price: Prices
    """(n,) in quote currency."""
    size: Prices
    """(n,) units traded, 0 where the source has none."""

    def __len__(self) -> int:
        return len(self.ts)

    def rows(self, start: int, stop: int) -> Self:
        """The ticks [start, stop) as a view; nothing is copied."""
        cut = slice(start, stop)
        return type(self)(
            day=self.day,
            symbols=self.symbols,
            code=self.code[cut],
            ts=self.ts[cut],
            price=self.price[cut],
            size=self.size[cut],
        )


Rows = BarBlock | TickBatch


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
