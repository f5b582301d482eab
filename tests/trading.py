"""Hand-made trading days and bars for tests of history, indicators and gaps."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta

import numpy as np
from numpy.typing import ArrayLike

from openbell.market.bars import BarBlock
from openbell.market.days import MINUTE_NS, Segment, TradingDay, local_instant
from openbell.market.history import Before

Hours = tuple[str, str]

TZ = "America/New_York"


def trading_day(d: date, *hours: Hours, kind: str = "regular", tz: str = TZ) -> TradingDay:
    """A day with these segments of local time; 09:30 to 09:34 where none is given."""
    segments = tuple(
        Segment(*(local_instant(d, time.fromisoformat(wall), tz) for wall in span))
        for span in hours or (("09:30", "09:34"),)
    )
    return TradingDay(d, tz, segments, kind)


def weekdays(first: date, count: int) -> tuple[TradingDay, ...]:
    """Regular days from a date on, without weekends."""
    dates = (first + timedelta(days=n) for n in range(2 * count + 2))
    return tuple(trading_day(d) for d in dates if d.weekday() < 5)[:count]


def bars(
    day: TradingDay, close: ArrayLike, volume: ArrayLike = 1.0, symbols: Sequence[str] = ("A",)
) -> BarBlock:
    """Minute bars (m, s) whose four prices are equal; NaN where there is no bar."""
    starts, ends = day.grid(MINUTE_NS)
    price = np.array(np.broadcast_to(close, (len(starts), len(symbols))), np.float64)
    there = ~np.isnan(price)
    traded = np.where(there, volume, np.nan)
    return BarBlock(
        day, tuple(symbols), MINUTE_NS, starts, ends, price, price, price, price, traded, there
    )


def before(days: Sequence[TradingDay]) -> Before:
    """`Calendar.before` of a calendar that has these days."""

    def of(d: date, n: int) -> tuple[TradingDay, ...]:
        earlier = tuple(day for day in days if day.date < d)
        assert n <= len(earlier), f"{n} days before {d} are wanted, {len(earlier)} are there"
        return earlier[len(earlier) - n :]

    return of
