"""Who tells the clock that wall time has come as far as it asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from openbell.hosttime import HostClock, Monotonic, running
from openbell.market.days import EPOCH, SECOND_NS, MarketTime
from openbell.messages.control import Woke
from openbell.runtime.kernel.metrics import Spread

LOOK_SECONDS = 0.5
"""How long a wait is at most: one that counts by a clock which stops while the host sleeps would
come as much too late, and one by a clock that may be set, too late or too early."""

AGAIN_NS = SECOND_NS // 10
"""How often the clock is woken again while what it waits for keeps it from going on."""

JUMP_NS = SECOND_NS
"""Less than this between two looks is a clock that is being adjusted."""

STOPPED_SECONDS = 1.0
"""A thread that was not run for longer than it wanted to wait, and this, was stopped with its
process, or with its host."""


class Timekeeper(Protocol):
    """Wakes the clock; `wall` goes by the host's clock, `scaled` (`pacing.Pacer`) runs market time
    at so many times wall time, and a test moves the clock of either by hand."""

    drift: Spread
    """By how much wakes came late."""

    def start(self) -> None:
        """Look at the time on a thread of its own from now on."""
        ...

    def wake_at(self, at_ns: MarketTime, traded_ns: int) -> None:
        """Wake the clock at an instant; a later call replaces an earlier one."""
        ...

    def left(self) -> float | None:
        """Seconds until the clock is to be woken, None: not asked for; wakes it when it is time."""
        ...

    def lives(self) -> bool:
        """Whether somebody looks at the time."""
        ...

    def close(self) -> None: ...


class WallKeeper:
    """Wakes the clock at instants of the host's clock, and again until it asks for another.

    Parameters
    ----------
    deliver : callable
        Gets Woke, on the thread that `start` starts, or of whoever calls `left`.
    complete : callable
        Up to when all that a feed had brought by an instant has been handed over.
    check_seconds : float
        How often the clock is woken although it did not ask, to look at its agenda.
    jumped : callable
        Told by how many ns the host's clock was set forward, or back.
    stopped : callable
        Told for how many seconds nothing ran.
    checked : callable
        Told when the clock was woken for that.
    """

    def __init__(
        self,
        deliver: Callable[[Woke], None],
        complete: Callable[[MarketTime], MarketTime],
        host: HostClock,
        *,
        check_seconds: float = 60.0,
        jumped: Callable[[int], None] = lambda by_ns: None,
        stopped: Callable[[float], None] = lambda seconds: None,
        checked: Callable[[], None] = lambda: None,
        now: Callable[[], Monotonic] = running,
    ) -> None:
        self._deliver, self._complete, self._host = deliver, complete, host
        self._check_ns = round(check_seconds * SECOND_NS)
        self._jumped, self._stopped = jumped, stopped
        self._checked = checked
        self._now = now
        self._changed = threading.Condition()
        self._wanted = EPOCH
        self._again_ns = EPOCH
        """When it is woken for that again; EPOCH: it was not yet."""
        self._checked_ns = self._looked_ns = host()
        self._turns = 0
        """How often something changed that a wait has to know of."""
        self._closed = False
        self.drift = Spread()
        self._thread = threading.Thread(target=self._run, name="openbell-timekeeper", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def lives(self) -> bool:
        return self._thread.is_alive()

    def wake_at(self, at_ns: MarketTime, traded_ns: int = 0) -> None:
        with self._changed:
            self._wanted, self._again_ns = at_ns, EPOCH
            self._turns += 1
            self._changed.notify()

    def handed_over(self) -> None:
        """More of what came has been handed over: what the clock waits for may be there."""
        if self._again_ns:
            with self._changed:
                self._again_ns = MarketTime(min(self._again_ns, self._wanted))
                self._turns += 1
                self._changed.notify()

    def left(self) -> float | None:
        if abs(by_ns := self._host.jumped_ns()) >= JUMP_NS:
            self._jumped(by_ns)
        host = self._host()
        with self._changed:
            wanted, woken = self._wanted, self._again_ns != EPOCH
            wakes = max(wanted, self._again_ns)
            due = wanted != EPOCH and host >= wakes
            if not due and host - self._checked_ns < self._check_ns:
                return (wakes - host) / SECOND_NS if wanted != EPOCH else None
            if checks := host - self._looked_ns >= self._check_ns:
                self._looked_ns = host
            self._checked_ns = host
            if due:
                self._again_ns = MarketTime(host + AGAIN_NS)
        if due and not woken:
            self.drift.add((host - wanted) / SECOND_NS)
        if checks:
            self._checked()
        self._deliver(Woke(at_ns=host, complete_ns=self._complete(host)))
        return AGAIN_NS / SECOND_NS if due else 0.0

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            turns = self._turns
            left = self.left()
            rest = LOOK_SECONDS if left is None else min(left, LOOK_SECONDS)
            began = self._now()
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._turns != turns, rest)  # noqa: B023
            slept = self._now() - began
            if slept > rest + STOPPED_SECONDS:
                self._stopped(slept)
