"""Candles of vendors: those that are mended until they have closed, and those of the past as ticks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MS = 1_000_000
MINUTE_NS = 60_000_000_000

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


def ticks_of(
    candles: tuple[NDArray[np.int64], NDArray[np.float64]], code: int, from_ns: int, until_ns: int
) -> tuple[NDArray[Any], ...]:
    """Four ticks a candle of a minute: open, the two extremes, close.

    A candle does not tell which extreme came first: where it closed no lower than it opened, the low
    stands before the high, else after it. All of its volume is the last tick's.

    Parameters
    ----------
    candles : (n,) int64 and (n, 5) float64
        Starts in ns UTC; open, high, low, close, volume.
    code : int
        Which symbol they are of.

    Returns
    -------
    Codes, times, prices, sizes, and the number of each tick's candle from 1.
    """
    starts, values = candles
    ends = np.minimum(starts + MINUTE_NS, until_ns)
    begins = np.maximum(starts, from_ns)
    inside = ends > begins
    begins, ends, values = begins[inside], ends[inside], values[inside]
    opened, high, low, close, volume = values.T
    rose = close >= opened
    price = np.column_stack([opened, np.where(rose, low, high), np.where(rose, high, low), close])
    size = np.zeros_like(price)
    size[:, 3] = volume
    ts = begins[:, None] + (ends - begins)[:, None] * np.arange(4) // 4
    row = (np.flatnonzero(inside) + 1).repeat(4)
    n = price.size
    return np.full(n, code), ts.reshape(n), price.reshape(n), size.reshape(n), row
