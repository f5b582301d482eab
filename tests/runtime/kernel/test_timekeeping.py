"""Who wakes the clock by the host's clock, moved by hand."""

from __future__ import annotations

import threading

from openbell.hosttime import HostClock, wall_ns
from openbell.market.days import EPOCH, SECOND_NS, MarketTime
from openbell.messages.control import Woke
from openbell.runtime.kernel.timekeeping import WallKeeper
from openbell.testing.clocks import HandClock


class Woken:
    def __init__(self, clock: HandClock, check_seconds: float = 60.0) -> None:
        self.clock = clock
        self.woke: list[Woke] = []
        self.jumps: list[int] = []
        self.complete = True
        self.keeper = WallKeeper(
            self.woke.append,
            lambda host: host if self.complete else EPOCH,
            clock.host(),
            check_seconds=check_seconds,
            jumped=self.jumps.append,
        )

    def wait(self, seconds: float) -> int:
        """How often it was woken in that time."""
        before = len(self.woke)
        until = self.clock.seconds + seconds
        while self.clock.seconds < until:
            left = self.keeper.left()
            rest = until - self.clock.seconds
            self.clock.advance(rest if left is None else min(max(left, 1e-3), rest))
        return len(self.woke) - before


def at(seconds: float) -> MarketTime:
    return MarketTime(round(seconds * SECOND_NS))


def test_the_clock_is_woken_when_the_instant_has_come_and_not_before() -> None:
    woken = Woken(HandClock(1000.0))
    woken.keeper.wake_at(at(1030))

    assert woken.wait(29.9) == 0
    assert woken.wait(0.2) > 0
    assert woken.woke[0].at_ns >= at(1030)
    assert woken.keeper.drift.most < 0.01


def test_it_is_woken_again_until_it_asks_for_another_instant() -> None:
    woken = Woken(HandClock(1000.0))
    woken.complete = False
    woken.keeper.wake_at(at(1001))
    assert 15 <= woken.wait(3) <= 25

    woken.keeper.wake_at(at(1100))

    assert woken.wait(50) == 0
    assert {of.complete_ns for of in woken.woke} == {EPOCH}


def test_what_was_handed_over_wakes_it_at_once() -> None:
    woken = Woken(HandClock(1000.0))
    woken.keeper.wake_at(at(1000))
    woken.keeper.left()
    assert woken.keeper.left() != 0.0
    count = len(woken.woke)

    woken.keeper.handed_over()
    woken.keeper.left()

    assert len(woken.woke) == count + 1


def test_it_is_woken_now_and_then_to_look_although_it_did_not_ask() -> None:
    woken = Woken(HandClock(1000.0), check_seconds=10)

    for _ in range(60):
        woken.keeper.left()
        woken.clock.advance(1)

    assert 5 <= len(woken.woke) <= 6


def test_a_clock_that_is_set_is_told_and_never_goes_back_for_who_asks() -> None:
    woken = Woken(HandClock(1000.0))
    host = woken.clock.host()
    woken.clock.set_ahead = 3600
    woken.keeper.left()
    ahead = host()
    woken.clock.set_ahead = 0.2  # which also stands for a clock that is adjusted bit by bit
    woken.keeper.left()
    woken.clock.set_ahead = 0.0
    woken.keeper.left()

    assert [round(by / SECOND_NS, 1) for by in woken.jumps] == [3600, -3599.8]
    assert host() == ahead == at(4600)


def test_a_thread_of_its_own_wakes_the_clock_within_a_tenth_of_a_second() -> None:
    woke = threading.Event()
    keeper = WallKeeper(lambda of: woke.set(), lambda host: host, HostClock())
    keeper.start()
    try:
        keeper.wake_at(MarketTime(wall_ns() + SECOND_NS // 20))

        assert woke.wait(20)
    finally:
        keeper.close()
