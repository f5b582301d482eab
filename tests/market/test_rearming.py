"""Buffers and rearming beside a walk over single prices, for bars and ticks, however they are cut.

The walk is written from the documentation of `breakout.buffer` and `breakout.rearm` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from openbell.market.bars import BarBlock, RowBatch, Rows
from openbell.market.breakouts import BreakRules, armed, find_breaks
from openbell.market.days import MINUTE_NS, Segment, TradingDay
from openbell.market.results import HIGH_BREAK, LOW_BREAK, Levels

NAN = float("nan")
SYMBOLS = ("A", "B", "C")
HIGH, LOW = 101.0, 99.0

Price = tuple[float, float, float, float]
"""Open, high, low, close; a tick is four times the same."""
Break = tuple[str, int, int, int, float]
"""Symbol, row, side, number, price."""


@dataclass
class Side:
    """One level of one symbol, followed price by price."""

    side: int
    rules: BreakRules
    broken: int = 0
    waiting: bool = False
    """Broken, and prices have to come back inside."""
    run: int = 0

    def next(self, price: Price) -> float | None:
        """The price of a break, if this is one."""
        opened, high, low, close = price
        up = self.side == HIGH_BREAK
        level = HIGH if up else LOW
        width = self.rules.buffer
        if self.rules.buffer_unit == "percent":
            width = level * (self.rules.buffer / 100)
        aim = level + width if up else level - width
        touched = (high if up else low) if self.rules.confirm == "touch" else close
        told = None
        if not self.waiting and (touched > aim if up else touched < aim):
            self.broken += 1
            self.waiting, self.run = True, 0
            told = close
            if self.rules.confirm == "touch":
                told = opened if (opened > aim if up else opened < aim) else aim
        if self.waiting:
            outside = close > level if up else close < level
            self.run = 0 if outside else self.run + 1
            again = self.rules.rearms_max is None or self.broken <= self.rules.rearms_max
            if self.rules.inside_bars and self.run >= self.rules.inside_bars and again:
                self.waiting = False
        return told


def walked(prices: Sequence[tuple[str, int, Price]], rules: BreakRules) -> list[Break]:
    """All breaks of (symbol, row, price) in time order."""
    sides = {
        "both": (HIGH_BREAK, LOW_BREAK),
        "high": (HIGH_BREAK,),
        "low": (LOW_BREAK,),
    }[rules.sides]
    followed = {(symbol, side): Side(side, rules) for symbol in SYMBOLS for side in sides}
    found = []
    for symbol, row, price in prices:
        for side in sides:
            told = followed[symbol, side].next(price)
            if told is not None:
                found.append((symbol, row, side, followed[symbol, side].broken, told))
    return sorted(found)


def found_in(rows: Rows, cuts: Sequence[int], rules: BreakRules) -> list[Break]:
    s = len(SYMBOLS)
    one = np.ones(s, np.int64)
    levels = Levels(SYMBOLS, np.full(s, HIGH), np.full(s, LOW), one, one, one, one > 0)
    state, found = armed(levels, 0, rules), list[Break]()
    edges = [0, *sorted({cut % (len(rows) + 1) for cut in cuts}), len(rows)]
    for start, stop in pairwise(edges):
        state, breaks = find_breaks(state, rows.rows(start, stop), rules)
        if breaks is not None:
            for i in range(len(breaks.ts)):
                found.append(
                    (
                        SYMBOLS[breaks.symbol[i]],
                        int(breaks.ts[i]) // MINUTE_NS,
                        int(breaks.side[i]),
                        int(breaks.number[i]),
                        float(breaks.price[i]),
                    )
                )
    return sorted(found)


RULES = st.builds(
    BreakRules,
    confirm=st.sampled_from(("close", "touch")),
    sides=st.sampled_from(("both", "both", "high", "low")),
    buffer=st.sampled_from((0.0, 0.0, 0.5, 1.0)),
    buffer_unit=st.sampled_from(("price", "percent")),
    inside_bars=st.sampled_from((0, 1, 1, 2, 3)),
    rearms_max=st.sampled_from((None, None, 1, 2)),
)
PRICES = (98.0, 98.5, 99.0, 100.0, 100.0, 101.0, 101.5, 102.0, 103.0)
CUTS = st.lists(st.integers(0, 60), max_size=5)


@st.composite
def some_prices(draw: st.DrawFn) -> Price:
    opened, close, one, other = (draw(st.sampled_from(PRICES)) for _ in range(4))
    return opened, max(opened, close, one), min(opened, close, other), close


def day(minutes: int) -> TradingDay:
    return TradingDay(date(1970, 1, 1), "UTC", (Segment(0, minutes * MINUTE_NS),))


@given(
    st.lists(st.tuples(*[st.one_of(st.none(), some_prices())] * 3), min_size=1, max_size=40),
    RULES,
    CUTS,
)
def test_bars_break_and_rearm_as_walked(
    grid: list[tuple[Price | None, ...]], rules: BreakRules, cuts: list[int]
) -> None:
    starts, ends = day(len(grid)).grid(MINUTE_NS)
    cells = np.array([[bar or (NAN,) * 4 for bar in row] for row in grid])
    o, h, l, c = (cells[:, :, i] for i in range(4))
    bars = BarBlock(
        day(len(grid)), SYMBOLS, MINUTE_NS, starts, ends, o, h, l, c, c * 0 + 1, ~np.isnan(c)
    )

    expected = walked(list(in_time(grid)), rules)

    assert found_in(bars, cuts, rules) == expected


def in_time(grid: Sequence[Sequence[Price | None]]) -> Iterator[tuple[str, int, Price]]:
    for row, prices in enumerate(grid):
        for symbol, price in zip(SYMBOLS, prices, strict=True):
            if price is not None:
                yield symbol, row, price


@given(
    st.lists(st.tuples(st.sampled_from(SYMBOLS), st.sampled_from(PRICES)), min_size=1, max_size=60),
    RULES,
    CUTS,
)
def test_ticks_break_and_rearm_as_walked(
    ticks: list[tuple[str, float]], rules: BreakRules, cuts: list[int]
) -> None:
    rows = RowBatch.ticks(
        day(len(ticks)),
        SYMBOLS,
        np.array([SYMBOLS.index(symbol) for symbol, _ in ticks], np.int32),
        np.arange(len(ticks), dtype=np.int64) * MINUTE_NS,
        np.array([price for _, price in ticks]),
        np.ones(len(ticks)),
        by_time=True,
    )

    # A tick is its own bar: however a break is confirmed, the price told is the tick's.
    expected = walked(
        [(symbol, n, (price,) * 4) for n, (symbol, price) in enumerate(ticks)],
        replace(rules, confirm="close"),
    )

    assert found_in(rows, cuts, rules) == expected
