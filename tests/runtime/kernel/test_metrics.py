"""What a run says of its own durations, and that none of it changes an answer."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from observed import walk

import openbell
from openbell.actors.effects import Await, Commit
from openbell.market.days import Segment, TradingDay
from openbell.runtime.kernel.metrics import Metrics, Spread

CONFIG: dict[str, Any] = {
    "exchange": "XNYS",
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:44"}],
    "history": {"indicators": {"mean": {"type": "trailing_average", "period": "1d"}}},
}
DAY = TradingDay(date(2024, 7, 1), "UTC", (Segment(0, 60),))


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return walk("XNYS", "2024-07-01", "2024-07-03")


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_spread_is_its_count_sum_mean_and_maximum() -> None:
    assert Spread.of([0.5, 1.5, 1.0]).summary() == {
        "count": 3,
        "total": 3.0,
        "mean": 1.0,
        "max": 1.5,
    }
    assert Spread().summary() == {"count": 0, "total": 0.0, "mean": None, "max": None}


def test_waiting_for_rows_is_measured_until_they_are_there() -> None:
    clock = Clock()
    metrics = Metrics(clock)

    metrics.before(Await(DAY.date))
    clock.now = 2.5
    metrics.loaded()

    phases = metrics.summary({}, steps=0, drift=Spread())["phases"]
    assert phases["prefetch"] == {"count": 1, "total": 2.5, "mean": 2.5, "max": 2.5}


def test_the_gap_is_from_the_end_of_a_day_to_the_next_open_day() -> None:
    clock = Clock()
    metrics = Metrics(clock)
    closing = Commit(number=1, step=1, closed=DAY.date)

    metrics.before(closing)
    clock.now = 1.0  # sinks
    metrics.after(closing)
    metrics.before(Await(DAY.date))
    clock.now = 4.0
    metrics.loaded()

    phases = metrics.summary({}, steps=1, drift=Spread())["phases"]
    assert phases["end_of_day"]["total"] == 1.0
    assert phases["prefetch"]["total"] == 3.0
    assert phases["gap"]["count"] == 0  # no day has opened yet


def test_a_runs_summary_counts_each_part_of_its_days(rows: pa.Table) -> None:
    metrics = openbell.backtest(CONFIG, rows).summary["timing"]["metrics"]

    counts = {name: of["count"] for name, of in metrics["phases"].items()}
    assert counts == {
        "history": 3,
        "prefetch": 3,
        "activation": 3,
        "session": 3,
        "end_of_day": 3,
        "gap": 2,
    }
    assert metrics["steps"] > 3
    assert set(metrics["step_seconds_per_actor"]) >= {"clock", "day", "upkeep", "keeper"}
    assert metrics["drift"]["count"] == 0


def test_all_that_depends_on_the_wall_clock_is_under_timing(rows: pa.Table) -> None:
    first, second = (openbell.backtest(CONFIG, rows).summary for _ in range(2))

    for summary in (first, second):
        assert "metrics" in summary.pop("timing")
    assert first == second
