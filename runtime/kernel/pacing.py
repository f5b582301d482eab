"""Lets market time run at so many times wall time."""

from __future__ import annotations

import threading
from collections.abc import Callable

from openbell.hosttime import Monotonic, monotonic
from openbell.market.days import MarketTime
from openbell.messages.control import Woke
from openbell.runtime.kernel.metrics import Spread

_MAX_SLEEP_SECONDS = 60.0


class Pacer:
    """Wakes the clock when wall time has come as far as was asked for.

    Parameters
    ----------
    speed : float
        Market time a wall time, above 0.
    deliver : callable
        Gets Woke, on the thread that `start` starts, or of whoever calls `left`.
    now : callable
        Seconds of a clock that never goes back.
    """

    def __init__(
        self,
        speed: float,
        deliver: Callable[[Woke], None],
        now: Callable[[], Monotonic] = monotonic,
    ) -> None:
        self._speed = speed
        self._deliver = deliver
        self._changed = threading.Condition()
        self._now = now
        self._anchor = now()
        self._anchor_traded_ns = 0
        self._wanted: tuple[float, MarketTime] | None = None
        self._halted_ns: int | None = None
        """How much of the day's trading time was over when time was halted."""
        self._closed = False
        self.drift = Spread()
        """By how much wakes came late."""
        self._thread = threading.Thread(target=self._run, name="openbell-pacer", daemon=True)

    def start(self) -> None:
        """Look at the clock on a thread of its own from now on."""
        self._thread.start()

    def lives(self) -> bool:
        return self._thread.is_alive()

    def anchor(self, traded_ns: int) -> None:
        """So much of the day's trading time is over as of now."""
        with self._changed:
            self._anchor, self._anchor_traded_ns = self._now(), traded_ns
            if self._halted_ns is not None:
                self._halted_ns = traded_ns
            self._wanted = None
            self._changed.notify()

    def halt(self) -> None:
        """Wake nobody, and count no time, until `go_on`."""
        with self._changed:
            passed = self._now() - self._anchor
            self._halted_ns = self._anchor_traded_ns + round(passed * 1e9 * self._speed)
            self._wanted = None
            self._changed.notify()

    def go_on(self, traded_ns: int) -> None:
        """Count time from where it was halted, or from later if so much is over."""
        with self._changed:
            self._anchor = self._now()
            self._anchor_traded_ns = max(traded_ns, self._halted_ns or 0)
            self._halted_ns = None

    def wake_at(self, at_ns: MarketTime, traded_ns: int) -> None:
        """Wake the clock at a market time; a later call replaces an earlier one."""
        with self._changed:
            ahead_ns = traded_ns - self._anchor_traded_ns
            self._wanted = (self._anchor + ahead_ns / 1e9 / self._speed, at_ns)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def left(self) -> float | None:
        """Seconds until the clock is to be woken, None: not asked for; wakes it when it is time."""
        with self._changed:
            if self._wanted is None:
                return None
            due, at_ns = self._wanted
            left = due - self._now()
            if left > 0:
                return left
            self._wanted = None
        self.drift.add(-left)
        self._deliver(Woke(at_ns=at_ns))
        return None

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                left = self.left()
                if left is not None or self._wanted is None:
                    self._changed.wait(left and min(left, _MAX_SLEEP_SECONDS))
