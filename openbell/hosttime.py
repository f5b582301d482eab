"""The host's clocks, a type for each: neither is market time, nor the other.

Nothing else in the program asks what time it is.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import NewType

from openbell.market.days import EPOCH, MarketTime

WallTime = NewType("WallTime", float)
"""An instant, seconds since 1970-01-01T00:00:00Z; it may be set back."""

Monotonic = NewType("Monotonic", float)
"""Seconds of a clock that never goes back; only the difference of two means anything."""


def wall() -> WallTime:
    return WallTime(time.time())


def wall_ns() -> MarketTime:
    """The same, as an instant: nanoseconds."""
    return MarketTime(time.time_ns())


def utc_now() -> datetime:
    """The same, for people."""
    return datetime.fromtimestamp(time.time(), UTC)


def today() -> date:
    """The date where the host is, for people at a terminal."""
    return utc_now().astimezone().date()


def monotonic() -> Monotonic:
    return Monotonic(time.monotonic())


def running() -> Monotonic:
    """Seconds of a clock that goes on while the host sleeps, where it has one: Linux stops its
    monotonic clock then."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return Monotonic(time.clock_gettime(clock))


class HostClock:
    """UTC by the host, which never goes back for who asks: set back, it stands until it is passed.

    Parameters
    ----------
    utc_ns : callable
        What the host takes for UTC, ns.
    runs : callable
        Seconds that have passed, whatever UTC is set to.
    """

    def __init__(
        self,
        utc_ns: Callable[[], MarketTime] = wall_ns,
        runs: Callable[[], Monotonic] = running,
    ) -> None:
        self._utc_ns, self._runs = utc_ns, runs
        self._lock = threading.Lock()
        self._latest_ns = EPOCH
        self._seen = (utc_ns(), runs())

    def __call__(self) -> MarketTime:
        """The latest that UTC has been, ns."""
        with self._lock:
            self._latest_ns = max(self._latest_ns, self._utc_ns())
            return self._latest_ns

    def jumped_ns(self) -> int:
        """By how much UTC went on more, or less, than time passed, since this was last asked."""
        with self._lock:
            (utc_ns, ran), now = self._seen, (self._utc_ns(), self._runs())
            self._seen = now
            return now[0] - utc_ns - round((now[1] - ran) * 1e9)
