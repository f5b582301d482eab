"""What is wrong with all rows of a feed is told once: clocks, delays, bars stamped at their end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.errors import DataError
from openbell.market.days import MINUTE_NS, SECOND_NS, MarketTime
from openbell.runtime.intake.ills import Ills

AT = 1_719_840_600 * SECOND_NS
"""09:30 in New York."""


class Looked:
    """Rows as they come, and what is told of them."""

    def __init__(self, interval_ns: int | None = None) -> None:
        self.told: list[tuple[str, str]] = []
        self.interval_ns = interval_ns
        self.ills = Ills("ws", interval_ns, 5 * SECOND_NS, 2 * SECOND_NS, self.tell)

    def tell(self, kind: str, why: str, **facts: Any) -> None:
        self.told.append((kind, why))

    def came(self, at: float, *ts: float, caught_up: bool = True) -> None:
        """At seconds after 09:30, rows of these seconds."""
        times = np.array([AT + round(of * SECOND_NS) for of in ts], np.int64)
        host = MarketTime(AT + round(at * SECOND_NS))
        ahead = times + (self.interval_ns or 0) > host + 5 * SECOND_NS
        self.ills.look(times, ahead, host, caught_up=caught_up)


def test_a_clock_that_is_off_is_one_fault_however_many_rows_come() -> None:
    of = Looked()

    for n in range(1000):
        of.came(n * 0.1, n * 0.1 + 7.3)

    assert [kind for kind, _ in of.told] == ["skew"]
    assert "by 7.3 s" in of.told[0][1]
    assert of.ills.skewed


def test_a_clock_that_is_put_right_is_told_and_rows_count_again() -> None:
    of = Looked()
    for n in range(40):
        of.came(n * 0.1, n * 0.1 + 7.3)

    for n in range(40, 80):
        of.came(n * 0.1, n * 0.1)

    assert [kind for kind, _ in of.told] == ["skew", "skew"]
    assert "again" in of.told[1][1]
    assert not of.ills.skewed


@given(st.lists(st.sampled_from([0.0, 0.0, 9.0]), min_size=30, max_size=60))
def test_single_rows_from_ahead_are_faults_of_their_own(leads: list[float]) -> None:
    of = Looked()
    leads = [lead if n % 4 else 0.0 for n, lead in enumerate(leads)]  # one in four is in time

    for n, lead in enumerate(leads):
        of.came(n * 0.5, n * 0.5 + lead)

    assert not of.ills.skewed


def test_a_burst_from_ahead_is_no_clock_that_is_off() -> None:
    of = Looked()

    of.came(0, *[500.0] * 100)
    of.came(0.5, 0.5)

    assert of.told == []


def test_a_feed_that_is_delayed_is_told_once() -> None:
    of = Looked()

    for n in range(300):
        of.came(900 + n, n)

    assert [kind for kind, _ in of.told] == ["skew"]
    assert "come 900.0 s after their time" in of.told[0][1]


def test_what_comes_late_while_a_feed_catches_up_or_now_and_then_is_no_delay() -> None:
    of = Looked()

    for n in range(300):
        of.came(900 + n * 0.1, n * 3, caught_up=False)
    for n in range(300):
        of.came(930 + n, 930 + n - (40 if n % 10 else 0.5))

    assert of.told == []


def test_bars_that_come_when_they_are_said_to_begin_stop_the_run_and_name_the_key() -> None:
    of = Looked(MINUTE_NS)

    of.came(60.4, 60)
    of.came(120.2, 120)
    with pytest.raises(DataError, match=r"13:33:00Z.*data.bar_label: end"):
        of.came(180.6, 180)

    assert [kind for kind, _ in of.told] == ["rows.end_stamped"]


def test_they_do_so_too_after_the_bars_that_a_vendor_sends_on_subscribing() -> None:
    of = Looked(MINUTE_NS)

    of.came(205, 0, 60, 120, 180)
    of.came(240.4, 240)
    of.came(300.2, 300)
    with pytest.raises(DataError):
        of.came(360.2, 360)


def test_bars_by_their_starts_are_as_they_should_be() -> None:
    of = Looked(MINUTE_NS)

    for n in range(60):
        of.came(60 * n + 60.4, 60 * n, 60 * n)

    assert of.told == []


def test_where_bars_came_as_they_should_a_change_is_told_and_stops_nothing() -> None:
    of = Looked(MINUTE_NS)

    for n in range(10):
        of.came(60 * n + 60.4, 60 * n)
    for n in range(12, 20):
        of.came(60 * n + 0.4, 60 * n)

    assert [kind for kind, _ in of.told] == ["rows.end_stamped"]


def test_bars_of_the_minute_under_way_are_another_fault() -> None:
    of = Looked(MINUTE_NS)

    for n in range(240):
        of.came(5 * n + 0.1, 60 * (5 * n // 60))

    assert [kind for kind, _ in of.told] == ["rows.partial"]


def test_a_clock_that_is_off_is_known_by_bars_too() -> None:
    of = Looked(MINUTE_NS)

    for n in range(10):
        of.came(60 * n + 50.4, 60 * n)

    assert [kind for kind, _ in of.told] == ["skew"]
