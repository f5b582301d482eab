"""Days of a step log, found without reading all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import date, timedelta
from itertools import groupby
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.stores import Step, Store, open_store
from openbell.market.days import MarketTime
from openbell.runtime.lifetime.eras import Era, counted, given_up
from openbell.runtime.record.recorded import Stretch, stretches

MONDAY = date(2024, 7, 1)


class Log:
    """A step log that counts how many of its steps were read."""

    def __init__(self, days: Sequence[int], first: int = 1) -> None:
        self.dates = [
            MONDAY + timedelta(day) for day, steps in enumerate(days) for _ in range(steps)
        ]
        self.first = first
        self.reads = 0

    def head(self) -> Any:
        return type("Head", (), {"step": self.first - 1 + len(self.dates)})

    def steps(self, after: int = 0, until: int | None = None) -> Iterator[Step]:
        end = self.head().step if until is None else until
        for number in range(max(after + 1, self.first), end + 1):
            self.reads += 1
            yield Step(number, MarketTime(0), b"", b"", self.dates[number - self.first])


@given(
    days=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    first=st.integers(1, 50),
    anew=st.integers(0, 60),
)
def test_days_are_found_as_a_walk_over_the_log_finds_them(
    days: list[int], first: int, anew: int
) -> None:
    log = Log(days, first)
    numbered = [(step.number, step.trading_date) for step in log.steps()]
    # The day that the era begins with is begun anew by its step.
    since = dict(numbered).get(anew)
    eras = (Era(date.min, {}, ()), *([Era(since, {}, (), anew)] if since else []))

    found = stretches(cast(Store, log))

    def walked(steps: Sequence[tuple[int, date]]) -> list[Stretch]:
        by_day = groupby(steps, key=lambda step: step[1])
        of_days = ((day, [number for number, _ in held]) for day, held in by_day)
        return [Stretch(day, held[0], held[-1]) for day, held in of_days]

    assert list(found) == walked(numbered)
    left = [(number, day) for number, day in numbered if not given_up(eras, number, day)]
    assert list(counted(found, eras)) == walked(left)


def test_of_a_million_steps_few_are_read() -> None:
    log = Log([300_000, 700_000])

    found = stretches(cast(Store, log))

    assert [of.last for of in found] == [300_000, 1_000_000]
    assert log.reads < 50


def test_a_store_where_nothing_was_run_has_no_days() -> None:
    with closing(open_store("memory://", "bot")) as store:
        assert stretches(store) == ()
