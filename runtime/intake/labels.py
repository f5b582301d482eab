"""Which end of a bar its time stands for, as far as the rows of a day show it."""

from __future__ import annotations

from openbell.adapters.sources import Source
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay, distinct

_LAST_INSTANTS = (10**9, 10**6, 10**3, 1)


def are_last_instants(ts: Nanoseconds) -> bool:
    """Whether times are the last second (ms, µs, ns) of a minute, all alike: 09:30:59."""
    left = distinct(MINUTE_NS - ts % MINUTE_NS)
    return len(left) == 1 and int(left[0]) in _LAST_INSTANTS


def seem_ends(source: Source, day: TradingDay, symbols: tuple[str, ...], interval_ns: int) -> bool:
    """Whether a day has no bar at its open, but the next one, and one at its close."""
    first = source.read(day.open_ns, day.open_ns + interval_ns + 1, symbols).ts
    if (first == day.open_ns).any() or not (first == day.open_ns + interval_ns).any():
        return False
    return len(source.read(day.close_ns, day.close_ns + 1, symbols)) > 0
