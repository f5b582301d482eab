"""Few rows round the ends of two sessions, whose orders and cuts can all be gone through."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import permutations
from typing import Any

from reference import Row, Rules, Window
from strategies import Case

from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay

HOURS = TradingDay(
    date(1970, 1, 1),
    "UTC",
    (Segment(0, 12 * MINUTE_NS), Segment(13 * MINUTE_NS, 20 * MINUTE_NS)),
)


def tick(symbol: str, second: float, price: float, size: float = 1.0) -> Row:
    return symbol, round(second * SECOND_NS), price, size


def bar(symbol: str, minute: int, *prices: float) -> Row:
    open_, high, low, close = prices if len(prices) == 4 else prices * 4
    return symbol, minute * MINUTE_NS, open_, high, low, close, 1.0


def few(rows: Sequence[Row], rules: Rules = Rules(), companions: Any = None) -> Case:  # noqa: B008
    """Rows round the end of a session that ends at 00:02:00 and one that ends at 00:05:00."""
    return Case(
        day=HOURS,
        interval_ns=None if len(rows[0]) == 4 else MINUTE_NS,
        rows=tuple(rows),
        symbols=("A", "B", "C"),
        windows=(Window("Second", "00:03", "00:04"), Window("First", "00:00", "00:01")),
        rules=rules,
        companions=companions or {},
    )


REVISED = few(
    [
        bar("A", 0, 10.0, 11.0, 9.0, 10.0),
        bar("A", 0, 10.0, 10.5, 9.5, 10.2),
        bar("B", 0, 5.0),
        bar("A", 2, 10.0, 10.4, 9.8, 10.0),
        bar("A", 2, 10.0, 11.2, 9.8, 10.8),
        bar("A", 3, 10.0),
        bar("A", 2, 10.0, 11.4, 9.8, 10.9),
        bar("A", 4, 10.0, 12.0, 9.0, 10.0),
        bar("A", 4, 10.0, 10.1, 9.9, 10.0),
        bar("B", 5, 5.0),
        bar("A", 4, 10.0, 20.0, 9.9, 10.0),
    ],
    Rules(inside_bars=1),
)
"""A level that a revised bar makes lower, which another one breaks, rearmed between its versions; and
one that comes when five minutes are over."""

DECKS = {
    # A's break and one of B that is late: assuming ascending times loses A's.
    "ticks beyond": few(
        [
            tick("A", 60, 10.0),
            tick("B", 61, 10.0),
            tick("A", 125, 11.0),
            tick("B", 119, 9.5),
            tick("B", 126, 11.0),
            tick("A", 121, 9.0),
            tick("B", 121, 10.5),
        ]
    ),
    "ticks that rearm": few(
        [
            tick("A", 10, 10.0),
            tick("A", 119.5, 10.2),
            tick("A", 120, 11.0),
            tick("A", 121.5, 10.0),
            tick("A", 121.5, 12.0),
            tick("A", 124, 9.0),
            tick("B", 130, 1.0),
            tick("A", 185, 10.1),
        ],
        Rules(inside_bars=1, rearms_max=2),
    ),
    "ticks with companions": few(
        [
            tick("B", 5, 1.0),
            tick("A", 7, 10.0),
            tick("B", 121, 2.0),
            tick("A", 122, 11.0),
            tick("B", 122, 3.0),
            tick("C", 123.5, 5.0),
            tick("A", 122, 9.0),
            tick("B", 124, 4.0),
        ],
        companions={"A": "B", "B": "C"},
    ),
    "ticks too late for a bar": few(
        [
            tick("A", 1, 10.0, 0.1),
            tick("A", 299, 10.5, 0.2),
            tick("A", 300, 11.0, 0.3),
            tick("B", 302, 7.0, 0.7),
            tick("A", 600, 12.0),
            tick("B", 719.5, 8.0),
            tick("B", 780, 8.5),
        ]
    ),
    "bars": few(
        [
            bar("A", 0, 10.0),
            bar("B", 1, 10.0, 10.5, 9.5, 10.0),
            bar("A", 1, 10.0),
            bar("A", 2, 11.0, 11.5, 9.0, 11.0),
            bar("B", 2, 11.0),
            bar("A", 3, 10.0, 12.0, 10.0, 11.8),
            bar("B", 4, 9.0),
            bar("A", 5, 8.0),
        ],
        companions={"A": "B"},
    ),
    "bars told twice, and touched": few(
        [
            bar("A", 1, 10.0, 10.5, 9.5, 10.0),
            bar("A", 1, 20.0),
            bar("B", 0, 5.0),
            bar("A", 2, 10.0, 11.0, 9.0, 10.0),
            bar("A", 4, 10.0, 13.0, 10.0, 10.2),
            bar("A", 2, 10.0, 12.0, 9.0, 10.0),
            bar("B", 5, 6.0),
        ],
        Rules(confirm="touch", inside_bars=2),
    ),
    "only the first price": few(
        [
            tick("A", 3, 10.0),
            tick("B", 4, 10.0),
            tick("A", 120, 10.0),
            tick("A", 121, 11.0),
            tick("B", 122, 9.0),
            tick("B", 120, 10.0),
        ],
        Rules(check="once"),
    ),
}


def orders(case: Case, many: int | None, seed: int = 0) -> Iterator[Case]:
    """The case's rows in all orders, or in so many of them."""
    if many is None:
        yield from (replace(case, rows=rows) for rows in permutations(case.rows))
        return
    rng = random.Random(seed)
    for _ in range(many):
        yield replace(case, rows=tuple(rng.sample(case.rows, len(case.rows))))
