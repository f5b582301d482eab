"""Kite's minute candles of the day so far, as ticks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbell.adapters.feeds.candles import MINUTE_NS, ticks_of
from openbell.errors import DataError
from openbell.market.assembly import no_raw_rows
from openbell.market.bars import RawRows

INDIA = timezone(timedelta(hours=5, minutes=30))
"""Kite's hours; there is no other time in the year."""

PAUSE_SECONDS = 0.35
"""Between two questions: Kite answers three a second."""

Ask = Callable[[int, str, str], Any]
"""Gets a number and the first and last second, as Kite writes them; gives what Kite answers."""


def history(
    symbols: Sequence[str],
    tokens: Sequence[int],
    from_ns: int,
    until_ns: int,
    ask: Ask,
    closed: threading.Event,
) -> RawRows:
    """Four ticks a candle, with `from_ns <= ts < until_ns`: open, the two extremes, close.

    A candle does not tell which extreme came first: where it closed no lower than it opened, the low
    stands before the high, else after it. All of its volume is the last tick's.

    Raises
    ------
    DataError
        If an answer can't be used.
    """
    parts = []
    for n, token in enumerate(tokens):
        if n and closed.wait(PAUSE_SECONDS):
            break
        answer = ask(token, _written(from_ns - from_ns % MINUTE_NS), _written(until_ns - 1))
        parts.append(ticks_of(_candles(answer, symbols[n]), n, from_ns, until_ns))
    if not parts:
        return no_raw_rows(tuple(symbols), None)
    code, ts, price, size, row = (np.concatenate(column) for column in zip(*parts, strict=True))
    return RawRows(
        kind="ticks",
        symbols=tuple(symbols),
        code=code.astype(np.int32),
        ts=ts.astype(np.int64),
        columns={"price": price, "size": size},
        locate=lambda i: (f"kite candles of {symbols[int(code[i])]}", int(row[i])),
    )


def _written(ns: int) -> str:
    return datetime.fromtimestamp(ns // 10**9, INDIA).strftime("%Y-%m-%d %H:%M:%S")


def _candles(answer: Any, symbol: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Their starts, and their open, high, low, close and volume."""
    try:
        given = answer["data"]["candles"]
        starts = [datetime.fromisoformat(of[0]) for of in given]
        if any(start.tzinfo is None for start in starts):
            raise ValueError("a time without a zone")
        seconds = [int(start.astimezone(UTC).timestamp()) for start in starts]
        values = np.array([of[1:6] for of in given], np.float64).reshape(-1, 5)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DataError(f"kite: candles of {symbol} can't be read: {error!r}") from None
    return np.array(seconds, np.int64) * 10**9, values
