"""Candles that vendors send while they are open, and mend until they have closed."""

from __future__ import annotations

from typing import Any

MS = 1_000_000

Candle = tuple[Any, ...]
"""Its start in ms, open, high, low, close, volume."""


class ClosedCandles:
    """Which candles have closed: a later one of their symbol has begun, or their time is over.

    Parameters
    ----------
    closes_after : float
        Seconds after its end at which a candle without a later one counts as closed.
    """

    def __init__(self, interval_ns: int, closes_after: float) -> None:
        self._interval_ns = interval_ns
        self._after_ns = round(closes_after * 1e9)
        self._open: dict[str, Candle] = {}
        self._sent: dict[str, Candle] = {}

    def connected(self) -> None:
        """What one that was open came to by now is not known."""
        self._open.clear()

    def closed(self, symbol: str, cache: Any, now_ns: int) -> list[Candle]:
        """Those that have closed since the last call, or were mended after that.

        Parameters
        ----------
        cache : sequence
            The symbol's candles as the vendor has them now, oldest first.
        """
        before = self._open.get(symbol)
        sent = self._sent.get(symbol)
        since = before if before is not None else sent
        news: list[Candle] = []
        for candle in reversed(cache):
            if since is not None and candle[0] < since[0]:
                break
            news.append(tuple(candle))
        if not news:
            return []
        news.reverse()
        newest = self._open[symbol] = news[-1]
        ended = newest[0] * MS + self._interval_ns + self._after_ns <= now_ns
        found = [of for of in (news if ended else news[:-1]) if sent is None or of[0] >= sent[0]]
        if found and found[0] == sent:
            found = found[1:]
        if found:
            self._sent[symbol] = found[-1]
        return found
