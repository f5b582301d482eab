"""All orders in which up to six rows of one symbol can arrive about one window.

Nothing is drawn: every order of every choice is run by the actors and compared with the reference.
Some of the rows are refused: no price, outside the hours, off the grid; some take others' place.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import date, time
from itertools import permutations
from typing import Literal

import pytest
from agreement import agree
from reference import Row, Rules, Window
from strategies import Case

from openbell.market.days import MINUTE_NS, Segment, TradingDay, local_instant

OPEN_NS = local_instant(date(2024, 7, 1), time(9, 30), "America/New_York")
DAY = TradingDay(date(2024, 7, 1), "America/New_York", (Segment(OPEN_NS, OPEN_NS + 6 * MINUTE_NS),))
WINDOW = Window("Opening", "09:31", "09:32")
MOST = 6


def bar(minute: float, open_: float, high: float, low: float, close: float) -> Row:
    return ("A", OPEN_NS + round(minute * MINUTE_NS), open_, high, low, close, 1.0)


def tick(minute: float, price: float) -> Row:
    return ("A", OPEN_NS + round(minute * MINUTE_NS), price, 1.0)


BARS: dict[str, tuple[Row, ...]] = {
    "usable": (
        bar(1, 100, 101, 99, 100),
        bar(2, 100, 100.5, 99.5, 100),
        bar(3, 100, 101, 99, 101),  # meets the level, and is not beyond it
        bar(4, 100, 103, 97, 102),  # both sides at once, by touch
        bar(5, 98, 98, 98, 98),
        bar(0, 100, 110, 90, 100),  # before the window
    ),
    "refused": (
        bar(1, 100, 101, 99, 100),
        bar(1, 100, 102, 98, 100),  # takes the place of the one before, or has it taken
        bar(2, 100, math.nan, 99, 100),
        bar(3.5, 100, 120, 80, 120),  # off the grid
        bar(6, 100, 120, 80, 120),  # at the close
        bar(4, 100, 103, 97, 103),
    ),
}
TICKS: dict[str, tuple[Row, ...]] = {
    "usable": (
        tick(1, 100),
        tick(2.999, 101),
        tick(3, 101),
        tick(3, 102),  # of equal time: in the order in which they came
        tick(4, 99),
        tick(0.999, 105),
    ),
    "refused": (
        tick(1, 100),
        tick(2, 0.0),
        tick(2, math.nan),
        tick(-1, 50),
        tick(6, 150),
        tick(4, 101),
    ),
}


def orders(rows: Sequence[Row], most: int) -> Iterator[tuple[Row, ...]]:
    """Every order of every choice of rows, the shortest first."""
    for length in range(most + 1):
        yield from permutations(rows, length)


def check_all_orders(
    kind: Literal["bars", "ticks"], which: str, rules: Rules, most: int
) -> Counter[str]:
    """How often the reference came to what."""
    rows = (BARS if kind == "bars" else TICKS)[which]
    seen: Counter[str] = Counter()
    for number, order in enumerate(orders(rows, most)):
        case = Case(
            day=DAY,
            interval_ns=MINUTE_NS if kind == "bars" else None,
            rows=order,
            symbols=("A",),
            windows=(WINDOW,),
            rules=rules,
            companions={},
        )
        try:
            seen.update(agree([case], "bar" if number % 2 else "boundary"))
        except AssertionError as error:
            raise AssertionError(f"{order}: {error}") from error
    return seen


CHOICES = [(kind, which) for kind in ("bars", "ticks") for which in ("usable", "refused")]


@pytest.mark.parametrize(("kind", "which"), CHOICES)
def test_up_to_three_rows_in_all_orders(kind: Literal["bars", "ticks"], which: str) -> None:
    seen = check_all_orders(kind, which, Rules(confirm="touch"), most=3)

    assert seen.total() == 1 + 6 + 30 + 120
    assert seen["a day without data"] >= 1
    assert seen["1 signals or more"] + seen["2 signals or more"] >= 6


@pytest.mark.slow
@pytest.mark.parametrize("confirm", ["close", "touch"])
@pytest.mark.parametrize("check", ["continuous", "once"])
@pytest.mark.parametrize(("kind", "which"), CHOICES)
def test_up_to_six_rows_in_all_orders(
    kind: Literal["bars", "ticks"],
    which: str,
    check: Literal["continuous", "once"],
    confirm: Literal["close", "touch"],
) -> None:
    seen = check_all_orders(kind, which, Rules(confirm=confirm, check=check), MOST)

    assert seen.total() == 1 + 6 + 30 + 120 + 360 + 720 + 720
