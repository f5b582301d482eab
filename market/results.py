"""What a day yields, as columns: levels, signals, derived bars, quality.

All arrays of one value have the same length, stand row for row, and are read-only. Symbols and
sessions are positions in the tuples that the value carries. Instants are int64 ns UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import IF_SET, Codes, Mask, Prices
from openbell.market.days import MarketTime, Nanoseconds
from openbell.market.kinds import BREAKOUT

Counts = NDArray[np.int64]

NO_TIME = np.iinfo(np.int64).min
"""Stands where an instant is missing, as numpy's NaT does."""

HIGH_BREAK: Literal[0] = 0
LOW_BREAK: Literal[1] = 1
SIDES = ("HIGH_BREAK", "LOW_BREAK")

SessionStatus = Literal["PENDING", "ACTIVE", "COMPLETED", "SKIPPED"]


@dataclass(frozen=True, eq=False)
class Levels:
    """One session's highs and lows of one day, one element a symbol (s,)."""

    symbols: tuple[str, ...]
    high: Prices
    """NaN where the symbol had no row in the session."""
    low: Prices
    count: Counts
    """Rows used: bars or ticks."""
    first_ts: Nanoseconds
    """`ts` of the first row used, NO_TIME where there is none."""
    last_ts: Nanoseconds
    complete: Mask
    """Whether every minute of the session had a row."""
    first_open: Prices | None = field(default=None, metadata=IF_SET)
    """Open of the symbol's first bar in the session, of ticks of the first minute that has one; None:
    nobody asked for it."""
    first_close: Prices | None = field(default=None, metadata=IF_SET)


@dataclass(frozen=True, eq=False)
class SignalBatch:
    """Signals of one step, in the order in which their rows came, then (symbol, session, side)."""

    exchange: str
    trading_date: date
    sessions: tuple[str, ...]
    symbols: tuple[str, ...]
    session: NDArray[np.int32]
    symbol: Codes
    side: NDArray[np.int8]
    """HIGH_BREAK or LOW_BREAK: a position in SIDES."""
    number: NDArray[np.int32]
    """1 for the first break of this (day, session, symbol, side)."""
    ts: Nanoseconds
    """The bar's start or the tick's time."""
    known_at: Nanoseconds
    """When one could have acted: the latest end of a bar, or time of a tick, that had come."""
    price: Prices
    level: Prices
    companion: NDArray[np.int32]
    """Position of the companion's symbol in `symbols`, -1 where it has none or no price yet."""
    companion_price: Prices
    companion_ts: Nanoseconds
    gap: Mask
    ambiguous: Mask
    complete: Mask
    backfilled: Mask
    kind: NDArray[np.int8] | None = field(default=None, metadata=IF_SET)
    """Position in KINDS; None: all are breakouts."""
    touched_at: Nanoseconds | None = field(default=None, metadata=IF_SET)
    """`ts` of the first row that went beyond the threshold, if only inside its bar; NO_TIME of what
    is no breakout. None: not known, as of signals of before."""
    touch_excess: Prices | None = field(default=None, metadata=IF_SET)
    """How far beyond the level that row went; NaN where there is no `touched_at`."""
    closed_beyond_at: Nanoseconds | None = field(default=None, metadata=IF_SET)
    """`ts` of the row that closed beyond the threshold, NO_TIME where none had yet."""
    rules: NDArray[np.int16] | None = field(default=None, metadata=IF_SET)
    """Which rules a signal had to pass, and did: a bit for each place in
    `market.conditions.CONDITIONS`. None: no session has any."""

    def __len__(self) -> int:
        return len(self.ts)

    @property
    def kinds(self) -> NDArray[np.int8]:
        """(n,) positions in KINDS."""
        return np.zeros(len(self), np.int8) if self.kind is None else self.kind

    def filled(self, name: str) -> NDArray[Any]:
        """A column that may be None, with what stands for nothing in its place."""
        column: NDArray[Any] | None = getattr(self, name)
        return np.full(len(self), NOTHING[name]) if column is None else column


NOTHING = {
    "kind": np.int8(BREAKOUT),
    "touched_at": np.int64(NO_TIME),
    "touch_excess": np.float64(np.nan),
    "closed_beyond_at": np.int64(NO_TIME),
    "rules": np.int16(0),
}
"""Columns of signals that may be None, with what each element is then."""


def signals_on(
    batch: SignalBatch,
    register: tuple[str, ...],
    of: Collection[str],
    had: Mapping[tuple[int, int, str], int],
    waits: Collection[tuple[int, int, str, int]] = (),
) -> SignalBatch:
    """Signals of some symbols, on a register that has all of the batch's.

    Parameters
    ----------
    had : mapping
        How many breaks were reported before, by session, side and symbol: these are left out, and
        so is what followed them,
    waits : collection
        but for what had not come yet after the last one, by session, side, symbol and kind.
    """
    place = {symbol: n for n, symbol in enumerate(register)}
    codes = np.array([place.get(symbol, -1) for symbol in batch.symbols], np.int32)
    places = list(
        zip(batch.session.tolist(), batch.side.tolist(), batch.symbol.tolist(), strict=True)
    )
    keys = [(session, side, batch.symbols[symbol]) for session, side, symbol in places]
    before = np.array([had.get(key, 0) for key in keys], np.int32)
    kinds = batch.kinds.tolist()
    lacked = np.array([(*key, kind) in waits for key, kind in zip(keys, kinds, strict=True)], bool)
    mine = np.isin(np.array(batch.symbols), np.array(sorted(of)))[batch.symbol]
    which = mine & ((batch.number > before) | (lacked & (batch.number == before)))
    columns = {
        field.name: getattr(batch, field.name)[which]
        for field in fields(batch)
        if isinstance(getattr(batch, field.name), np.ndarray)
    }
    companion = columns["companion"]
    columns["companion"] = np.where(companion < 0, companion, codes[companion]).astype(np.int32)
    columns["symbol"] = codes[columns["symbol"]]
    return replace(batch, symbols=register, **columns)


@dataclass(frozen=True, eq=False)
class DerivedBars:
    """Finished bars of one derived interval, ordered by (ts, symbol); empty ones are left out."""

    interval_minutes: int
    symbols: tuple[str, ...]
    symbol: Codes
    ts: Nanoseconds
    """Bucket starts, anchored at the segment's open."""
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Prices

    def __len__(self) -> int:
        return len(self.ts)


@dataclass(frozen=True, eq=False)
class LateRows:
    """Rows that came when something they belong to was over, arrays (s,): by what that was."""

    rows: Counts
    """For a session or a derived bar; each row once."""
    sessions: Counts
    bars: Counts


@dataclass(frozen=True, eq=False)
class Quality:
    """Data quality of one day, one element a symbol (s,)."""

    trading_date: date
    symbols: tuple[str, ...]
    expected: Counts
    """Minutes inside the hours, from the calendar."""
    actual: Counts
    """Distinct minutes inside the hours with a row."""
    gaps: Counts
    """Runs of missing minutes; a run never crosses a segment break."""
    missing: Counts
    """Minutes without a row."""
    out_of_order: Counts
    late: Counts
    duplicates: Counts
    outside_hours: Counts
    bad_rows: Counts
    by_rule: tuple[tuple[str, Counts], ...] = field(default=(), metadata={"written": "if set"})
    """As in `market.bars.RowCounts`."""


@dataclass(frozen=True, slots=True)
class SymbolLevels:
    """One symbol in a session document; times in ns UTC, None where there was no row."""

    high: float | None
    low: float | None
    tick_count: int
    first_tick_time: int | None
    last_tick_time: int | None


@dataclass(frozen=True, eq=False)
class SessionDocument:
    """One session of one day, as stores keep it; instants in ns UTC, market time."""

    exchange: str
    trading_date: date
    session_name: str
    start_time: str
    """Local wall time as configured, e.g. "09:30"."""
    end_time: str
    status: SessionStatus
    created_at: MarketTime
    updated_at: MarketTime
    started_at: MarketTime | None = None
    completed_at: MarketTime | None = None
    reason: str | None = None
    """Why it was SKIPPED or truncated."""
    levels: Levels | None = None
    """None until COMPLETED; a SKIPPED session has none."""
    breakouts_checked: bool = False
