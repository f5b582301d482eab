"""What a day's data is worth: minutes with a row against those the calendar expects."""

from __future__ import annotations

import numpy as np

from openbell.market.bars import Mask, RowCounts
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay
from openbell.market.products import own_hours
from openbell.market.results import Counts, Quality


def day_quality(
    day: TradingDay,
    symbols: tuple[str, ...],
    slot_ns: int,
    seen: Mask,
    counts: RowCounts,
    late: Counts,
) -> Quality:
    """Quality of a whole day.

    Parameters
    ----------
    slot_ns : int
        Bar length, a minute for ticks.
    seen : (m, s) bool
        Which slots of `day.grid(slot_ns)` had a row.
    late : (s,) int64
        Late rows of the feed.
    """
    starts, ends = day.grid(slot_ns)
    minutes = -(-(ends - starts) // MINUTE_NS)
    expected = np.full(len(symbols), minutes.sum(), np.int64)
    own = own_hours(day, symbols)
    if own is None and seen.all():
        actual, gaps = expected, np.zeros(len(symbols), np.int64)
    else:
        missing = missing_slots(day, symbols, starts, seen)
        begins = missing.copy()
        opens = np.isin(starts, [segment.open_ns for segment in day.segments])
        begins[1:] &= ~missing[:-1] | opens[1:, None]
        gaps = begins.sum(axis=0)
        if own is not None:
            expected, seen = own.minutes, seen & own.slots(starts)
        # Slots that a close cuts short are few: all others count alike.
        length = int(minutes.max())
        actual = length * seen.sum(axis=0)
        for short in np.flatnonzero(minutes < length):
            actual -= (length - minutes[short]) * seen[short]
    return Quality(
        trading_date=day.date,
        symbols=symbols,
        expected=expected,
        actual=actual,
        gaps=gaps,
        missing=expected - actual,
        out_of_order=counts.out_of_order,
        late=late,
        duplicates=counts.duplicates,
        outside_hours=counts.outside_hours,
        bad_rows=counts.bad_rows,
        by_rule=counts.by_rule,
    )


def missing_slots(
    day: TradingDay, symbols: tuple[str, ...], starts: Nanoseconds, seen: Mask
) -> Mask:
    """(m, s) the slots inside the hours of each symbol that had no row."""
    missing = ~seen
    if (own := own_hours(day, symbols)) is not None:
        missing &= own.slots(starts)
    return missing
