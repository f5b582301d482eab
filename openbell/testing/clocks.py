"""Wall time that a test moves."""

from __future__ import annotations

from openbell.hosttime import HostClock, Monotonic
from openbell.market.days import SECOND_NS, MarketTime


class HandClock:
    """Wall time in seconds, which only moves when a test moves it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.set_ahead = 0.0
        """By how much UTC was set away from the seconds that have passed, as by NTP."""

    def __call__(self) -> Monotonic:
        return Monotonic(self.seconds)

    def advance(self, seconds: float) -> None:
        self.seconds += seconds

    def host(self) -> HostClock:
        """What a run takes for its host's clock; `seconds` is UTC since 1970 then."""
        return HostClock(
            lambda: MarketTime(round((self.seconds + self.set_ahead) * SECOND_NS)), self
        )
