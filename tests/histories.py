"""History that a test writes down, as a feed has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from openbell.market.bars import RawRows

Row = tuple[str, float, float]
"""Symbol, seconds since 1970, price."""

History = Callable[[Sequence[str], int, int], RawRows]


def history(rows: Sequence[Row], asked: list[tuple[int, int]] | None = None) -> History:
    def answer(symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        if asked is not None:
            asked.append((from_ns, until_ns))
        ts = np.array([round(ts * 1e6) * 1000 for _, ts, _ in rows], np.int64)
        inside = np.flatnonzero((ts >= from_ns) & (ts < until_ns))
        names = tuple(sorted({symbol for symbol, _, _ in rows}))
        code = np.array([names.index(symbol) for symbol, _, _ in rows], np.int32)
        price = np.array([price for _, _, price in rows])
        return RawRows(
            kind="ticks",
            symbols=names,
            code=code[inside],
            ts=ts[inside],
            columns={"price": price[inside], "size": np.ones(len(inside))},
            locate=lambda n: ("history", n + 1),
        )

    return answer
