"""Wall time that a test moves."""

from __future__ import annotations

from openbell.runtime.kernel.hosttime import Monotonic


class HandClock:
    """Wall time in seconds, which only moves when a test moves it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> Monotonic:
        return Monotonic(self.seconds)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
