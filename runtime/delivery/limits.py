"""How often a sink may send."""

from __future__ import annotations

from collections import deque

from openbell.hosttime import Monotonic
from openbell.runtime.config.values import Rate


class Paced:
    """Lets at most so many go in any stretch of a length."""

    def __init__(self, rate: Rate | None) -> None:
        self._rate = rate
        self._went: deque[Monotonic] = deque(maxlen=rate.count if rate is not None else 0)

    def wait_seconds(self, now: Monotonic) -> float:
        """How long the next one has to wait."""
        if self._rate is None or len(self._went) < self._rate.count:
            return 0.0
        return max(0.0, self._went[0] + self._rate.per.seconds - now)

    def goes(self, now: Monotonic) -> None:
        self._went.append(now)
