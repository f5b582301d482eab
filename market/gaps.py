"""Where a day's data is missing, and whether the minutes that are there were traded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from openbell.market.bars import Codes, Mask, Prices
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay
from openbell.market.quality import missing_slots
from openbell.market.results import Counts

NOT_TOLD = -1
"""Stands for a count that the source can't tell."""


@dataclass(frozen=True, eq=False)
class Gaps:
    """Runs of missing bars, ordered by (symbol, from); arrays (g,) row for row."""

    symbols: tuple[str, ...]
    symbol: Codes
    from_ns: Nanoseconds
    """Start of the first missing bar, ns UTC."""
    to_ns: Nanoseconds
    """End of the last missing bar, exclusive."""
    missing: Counts
    """Minutes."""

    def __len__(self) -> int:
        return len(self.symbol)


@dataclass(frozen=True, eq=False)
class MinuteKinds:
    """A day's minutes by what happened in them, arrays (s,) int64."""

    traded: Counts
    """With volume; NOT_TOLD where a symbol's volume is 0 all day, as an index's is."""
    idle: Counts
    """With a row, but no volume; NOT_TOLD likewise."""
    missing: Counts


def gaps(day: TradingDay, symbols: tuple[str, ...], slot_ns: int, seen: Mask) -> Gaps:
    """The runs of bars without a row; one never crosses a segment break.

    There are as many as `Quality.gaps` counts, and their minutes add up to `Quality.missing`.

    Parameters
    ----------
    slot_ns : int
        Bar length, a minute for ticks.
    seen : (m, s) bool
        Which slots of `day.grid(slot_ns)` had a row.
    """
    starts, ends = day.grid(slot_ns)
    if seen.all():
        none = np.empty(0, np.int64)
        return Gaps(symbols, none.astype(np.int32), none, none, none)
    missing = missing_slots(day, symbols, starts, seen)
    heads = np.isin(starts, [segment.open_ns for segment in day.segments])
    tails = np.append(heads[1:], True)
    begins, stops = missing.copy(), missing.copy()
    begins[1:] &= ~missing[:-1] | heads[1:, None]
    stops[:-1] &= ~missing[1:] | tails[:-1, None]
    symbol, first = np.nonzero(begins.T)
    _, last = np.nonzero(stops.T)
    before = np.append(0, np.cumsum(_minutes(starts, ends)))
    return Gaps(
        symbols=symbols,
        symbol=symbol.astype(np.int32),
        from_ns=starts[first],
        to_ns=ends[last],
        missing=before[last + 1] - before[first],
    )


def minute_kinds(
    day: TradingDay, symbols: tuple[str, ...], slot_ns: int, present: Mask, volume: Prices
) -> MinuteKinds:
    """Minutes that were traded, idle or missing, per symbol.

    Parameters
    ----------
    present : (m, s) bool
        Which slots of `day.grid(slot_ns)` had a row.
    volume : (m, s) float64
        Units traded; not looked at where there is no row.
    """
    starts, ends = day.grid(slot_ns)
    minutes = _minutes(starts, ends)
    traded = present & (volume > 0)
    told = traded.any(axis=0) | ~present.any(axis=0)
    return MinuteKinds(
        traded=np.where(told, minutes @ traded, NOT_TOLD),
        idle=np.where(told, minutes @ (present & ~traded), NOT_TOLD),
        missing=minutes @ missing_slots(day, symbols, starts, present),
    )


def _minutes(starts: Nanoseconds, ends: Nanoseconds) -> Counts:
    return -(-(ends - starts) // MINUTE_NS)
