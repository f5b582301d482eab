"""Reads days in the background, one at a time, and says when one is there."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date

from loguru import logger

from openbell.adapters.sources import Source
from openbell.market.assembly import assemble
from openbell.market.bars import DayData
from openbell.market.days import TradingDay
from openbell.messages.control import Loaded


def day_windows(days: tuple[TradingDay, ...]) -> dict[date, tuple[int, int]]:
    """From when until when (ns UTC) rows count for each trading day, oldest day first.

    A day has its date from midnight to midnight, and what its hours reach beyond that; where a
    day opens on the evening before, the day before ends there.
    """
    windows: dict[date, tuple[int, int]] = {}
    for day, following in zip(days, (*days[1:], None), strict=True):
        end = day.next_midnight_ns
        if following is not None:
            end = min(end, following.open_ns)
        windows[day.date] = (min(day.open_ns, day.midnight_ns), max(day.close_ns, end))
    return windows


class Loader:
    """A pool of one thread that reads whole days from a source.

    `deliver` and `fail` are called on the pool's thread (`deliver` on the caller's when the day
    is already there).
    """

    def __init__(
        self,
        source: Source,
        *,
        symbols: tuple[str, ...],
        windows: Mapping[date, tuple[int, int]],
        deliver: Callable[[Loaded], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._source = source
        self._symbols = symbols
        self._windows = windows
        self._deliver = deliver
        self._fail = fail
        self._interval_ns = source.info().interval_ns
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="openbell-prefetch")
        self._lock = threading.Lock()
        self._reading: dict[date, Future[DayData]] = {}

    def fetch(self, day: TradingDay) -> None:
        """Read a day after those asked for before."""
        with self._lock:
            self._reading[day.date] = self._pool.submit(self._read, day)

    def wait_for(self, day: date) -> None:
        """Deliver a day that was asked for, as soon as it is there."""
        with self._lock:
            reading = self._reading.pop(day)
        reading.add_done_callback(self._done)

    def close(self) -> None:
        """Read nothing more; a read that is under way ends first."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _done(self, reading: Future[DayData]) -> None:
        if reading.cancelled():
            return
        if error := reading.exception():
            self._fail(error)
        else:
            data = reading.result()
            self._deliver(Loaded(date=data.day.date, data=data))

    def _read(self, day: TradingDay) -> DayData:
        logger.debug("prefetch started: {}", day.date)
        raw = self._source.read(*self._windows[day.date], self._symbols)
        data = assemble(raw, day, self._interval_ns)
        logger.debug("prefetch completed: {}, {} rows", day.date, len(raw))
        return data
