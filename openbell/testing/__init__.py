"""Whole durable runs in one thread, for tests: of openbell itself, and of what is built on it.

A `Rehearsal` is a run over rows that a test gives, on a store in memory. A test may throw its
process away at any message and see that nothing is lost. `FailingStore` and `FailingSource` let
what is outside fail, `HandClock` is wall time that the test moves.
"""

from openbell.testing.clocks import HandClock
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
from openbell.testing.rehearsal import Rehearsal

__all__ = [
    "Damage",
    "Delay",
    "Fail",
    "FailingSource",
    "FailingStore",
    "Fault",
    "HandClock",
    "Killed",
    "LoseLease",
    "Rehearsal",
    "in_turn",
]
