"""Whole durable runs in one thread, for tests: of openbell itself, and of what is built on it.

A `Rehearsal` is a run over rows that a test gives, on a store in memory. A test may throw its
process away at any message and see that nothing is lost. `FailingStore` and `FailingSource` let
what is outside fail, `HandClock` is wall time that the test moves. `rehearse` runs a story, with
its crashes among the rows; `kills` ends a consumer at each of its steps; `check_feed` looks whether
what a feed of one's own delivers is what a run needs, also after a restart.
"""

from openbell.testing.clocks import HandClock
from openbell.testing.consumers import Kill, kills
from openbell.testing.faults import (
    Damage,
    Delay,
    Fail,
    FailingSource,
    FailingStore,
    Fault,
    Killed,
    LoseLease,
    in_turn,
)
from openbell.testing.feeds import Delivered, check_feed, delivered
from openbell.testing.rehearsal import Rehearsal
from openbell.testing.stories import END_DAY, KILL, LATE, bar, rehearse

__all__ = [
    "END_DAY",
    "KILL",
    "LATE",
    "Damage",
    "Delay",
    "Delivered",
    "Fail",
    "FailingSource",
    "FailingStore",
    "Fault",
    "HandClock",
    "Kill",
    "Killed",
    "LoseLease",
    "Rehearsal",
    "bar",
    "check_feed",
    "delivered",
    "in_turn",
    "kills",
    "rehearse",
]
