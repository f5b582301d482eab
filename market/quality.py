"""What a day's data is worth: minutes with a row against those the calendar expects."""

from __future__ import annotations

import numpy as np

from openbell.market.bars import Mask, RowCounts
from openbell.market.days import MINUTE_NS, TradingDay
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
    if seen.all():
        actual, gaps = expected, np.zeros(len(symbols), np.int64)
    else:
        missing = ~seen
        begins = missing.copy()
        opens = np.isin(starts, [segment.open_ns for segment in day.segments])
        begins[1:] &= seen[:-1] | opens[1:, None]
        gaps = begins.sum(axis=0)
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
