"""Prices on grids: what is equal on paper is no break, the next price is, however it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from openbell.adapters.sources.base import DataOptions
from openbell.adapters.sources.columns import decode, plan_columns
from openbell.market.bars import Prices, RowBatch
from openbell.market.breakouts import BreakRules, armed, find_breaks
from openbell.market.days import MINUTE_NS, Segment, TradingDay
from openbell.market.prices import as_written, from_float32, product, scaled
from openbell.market.results import HIGH_BREAK, LOW_BREAK, Levels

GRIDS = ("0.01", "0.05", "0.25", "0.03125", "0.0001", "0.00001", "0.00000001", "0.1", "0.5", "5")
DAY = TradingDay(date(2024, 7, 1), "UTC", (Segment(0, 10 * MINUTE_NS),))

Storage = Literal["double", "float", "float as double", "decimal", "ticks"]


@dataclass(frozen=True)
class OnGrid:
    """A level, and how many ticks of its grid a price has to be beyond it."""

    tick: Decimal
    level: int
    """In ticks, as the others."""
    buffer: int
    side: int
    stored: Storage
    knows_tick: bool

    def prices(self) -> list[Decimal]:
        """The level, the threshold, and the price after it."""
        out = 1 if self.side == HIGH_BREAK else -1
        ticks = (self.level, self.level + out * self.buffer, self.level + out * (self.buffer + 1))
        return [tick * self.tick for tick in ticks]

    @property
    def rules(self) -> BreakRules:
        tick = float(self.tick)
        return BreakRules(
            buffer=product(float(self.buffer), tick), tick=tick if self.knows_tick else 0.0
        )


@st.composite
def on_grids(draw: st.DrawFn) -> OnGrid:
    tick = Decimal(draw(st.sampled_from(GRIDS)))
    case = OnGrid(
        tick,
        level=draw(st.one_of(st.integers(-300, 300), st.integers(-(10**7), 10**7))),
        buffer=draw(st.integers(0, 40)),
        side=draw(st.sampled_from((HIGH_BREAK, LOW_BREAK))),
        stored=draw(st.sampled_from(("double", "float", "float as double", "decimal", "ticks"))),
        knows_tick=draw(st.booleans()),
    )
    if case.stored != "decimal" and tick == Decimal("0.03125"):
        # Beyond, float32 has no bits to spare for them, and so they pass for decimals.
        assume(max(abs(price) for price in case.prices()) < 2**15)
    if case.stored.startswith("float"):
        # Whatever float32 can't tell apart, nobody can; without the tick, that is the last digit.
        largest = max(abs(price) for price in case.prices())
        digit = Decimal(1).scaleb(int(tick.as_tuple().exponent))
        told_apart = tick if case.knows_tick else digit
        assume(float(np.spacing(np.float32(largest))) < float(told_apart) / 2)
    return case


def read(case: OnGrid) -> Prices:
    """The case's prices as a source reads them."""
    prices, scale = case.prices(), 1.0
    doubles = [float(price) for price in prices]
    match case.stored:
        case "double":
            column = pa.array(doubles)
        case "float":
            column = pa.array(np.array(doubles, np.float32))
        case "float as double":
            column = pa.array(np.array(doubles, np.float32).astype(np.float64))
        case "decimal":
            column = pa.array(prices, pa.decimal128(30, 8))
        case "ticks":
            column, scale = pa.array([int(price / case.tick) for price in prices]), float(case.tick)
    times = pa.array([0, 1, 2], pa.timestamp("ns", "UTC"))
    table = pa.table({"ts": times, "price": column})
    options = DataOptions(kind="ticks", price_scale=scale)
    return decode(plan_columns("t", table.column_names, options, "A"), table).columns["price"]


@given(case=on_grids())
def test_a_price_on_the_threshold_never_breaks_and_the_next_always_does(case: OnGrid) -> None:
    level, *others = read(case)
    ticks = RowBatch.ticks(
        DAY,
        ("A",),
        np.zeros(2, np.int32),
        np.array([1, 2], np.int64),
        np.array(others),
        np.ones(2),
        by_time=True,
    )
    count = np.ones(1, np.int64)
    levels = Levels(("A",), np.array([level]), np.array([level]), count, count, count, count > 0)
    state = armed(levels, 0, case.rules)

    _, breaks = find_breaks(state, ticks, case.rules)

    assert breaks is not None
    assert [
        int(ts) for ts, side in zip(breaks.ts, breaks.side, strict=True) if side == case.side
    ] == [2]


@given(case=on_grids())
def test_a_threshold_prints_as_the_price_that_it_is(case: OnGrid) -> None:
    assume(not case.stored.startswith("float") or case.tick != Decimal("0.03125"))
    level, *_ = read(case)
    count = np.ones(1, np.int64)
    levels = Levels(("A",), np.array([level]), np.array([level]), count, count, count, count > 0)

    state = armed(levels, 0, case.rules)

    assert state.threshold[case.side, 0] == float(case.prices()[1])


def test_a_level_in_percent_is_reckoned_in_decimals() -> None:
    levels = Levels(
        ("A",),
        *(np.array([32.05]), np.array([-32.05])),
        *(np.ones(1, np.int64),) * 3,
        np.ones(1, bool),
    )

    state = armed(levels, 0, BreakRules(buffer=0.1, buffer_unit="percent"))

    assert state.threshold.ravel().tolist() == [32.08205, -32.08205]


@pytest.mark.parametrize(
    ("stored", "price"),
    [
        (32.099998474121094, 32.1),
        (-32.099998474121094, -32.1),
        (24583.349609375, 24583.35),
        (39098.03125, 39098.03),
        (1.2300000190734863, 1.23),
        (108.50390625, 108.50390625),  # 108 and 129/256
        (5000.03125, 5000.03125),
        (141_234_008.0, 141_234_008.0),
        (32.1, 32.1),
        (1 / 3, 1 / 3),
        (float("inf"), float("inf")),
        (0.0, 0.0),
    ],
)
def test_only_what_was_float32_is_written_anew(stored: float, price: float) -> None:
    assert as_written(np.array([stored])).tolist() == [price]


def test_what_is_no_float32_is_not_copied() -> None:
    prices = np.array([100.01, 100.25, np.nan])

    assert as_written(prices) is prices


@given(st.lists(st.integers(-(10**7), 10**7), min_size=1), st.sampled_from((1, 2, 4)))
def test_float32_decimals_come_back(numbers: list[int], places: int) -> None:
    prices = np.array([n / 10**places for n in numbers])
    single = prices.astype(np.float32)
    assume((np.spacing(np.abs(single)) < 10.0**-places / 2).all())
    assume(not (prices * 256 % 1 == 0).any())

    assert from_float32(single).tolist() == prices.tolist()
    assert as_written(single.astype(np.float64)).tolist() == prices.tolist()


@given(st.integers(-(10**9), 10**9), st.sampled_from((0.01, 0.05, 0.001, 1e-8, 0.25, 3.0)))
def test_a_scaled_price_is_the_decimal_product(number: int, factor: float) -> None:
    expected = float(number * Decimal(repr(factor)))

    assert scaled(np.array([float(number)]), factor).tolist() == [expected]
