"""Lets market time run at so many times wall time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from openbell.messages.control import Woke

_MAX_SLEEP_SECONDS = 60.0


class Pacer:
    """Wakes the clock when wall time has come as far as was asked for; one thread.

    Parameters
    ----------
    speed : float
        Market time a wall time, above 0.
    deliver : callable
        Gets Woke, on the pacer's thread.
    """

    def __init__(self, speed: float, deliver: Callable[[Woke], None]) -> None:
        self._speed = speed
        self._deliver = deliver
        self._changed = threading.Condition()
        self._anchor = time.monotonic()
        self._anchor_traded_ns = 0
        self._wanted: tuple[float, int] | None = None
        self._halted_ns: int | None = None
        """How much of the day's trading time was over when time was halted."""
        self._closed = False
        self.drifts: list[float] = []
        """Seconds by which each wake came late."""
        self._thread = threading.Thread(target=self._run, name="openbell-pacer", daemon=True)
        self._thread.start()

    def anchor(self, traded_ns: int) -> None:
        """So much of the day's trading time is over as of now."""
        with self._changed:
            self._anchor, self._anchor_traded_ns = time.monotonic(), traded_ns
            if self._halted_ns is not None:
                self._halted_ns = traded_ns
            self._wanted = None
            self._changed.notify()

    def halt(self) -> None:
        """Wake nobody, and count no time, until `go_on`."""
        with self._changed:
            passed = time.monotonic() - self._anchor
            self._halted_ns = self._anchor_traded_ns + round(passed * 1e9 * self._speed)
            self._wanted = None
            self._changed.notify()

    def go_on(self, traded_ns: int) -> None:
        """Count time from where it was halted, or from later if so much is over."""
        with self._changed:
            self._anchor = time.monotonic()
            self._anchor_traded_ns = max(traded_ns, self._halted_ns or 0)
            self._halted_ns = None

    def wake_at(self, at_ns: int, traded_ns: int) -> None:
        """Wake the clock at a market time; a later call replaces an earlier one."""
        with self._changed:
            ahead_ns = traded_ns - self._anchor_traded_ns
            self._wanted = (self._anchor + ahead_ns / 1e9 / self._speed, at_ns)
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._closed:
                    return
                if self._wanted is None:
                    self._changed.wait()
                    continue
                due, at_ns = self._wanted
                left = due - time.monotonic()
                if left > 0:
                    self._changed.wait(min(left, _MAX_SLEEP_SECONDS))
                    continue
                self._wanted = None
            self.drifts.append(-left)
            self._deliver(Woke(at_ns=at_ns))
