"""Which trading day a row belongs to."""

from __future__ import annotations

from datetime import date, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.market.calendar import open_calendar
from openbell.market.days import (
    DAY_NS,
    MINUTE_NS,
    Segment,
    TradingDay,
    local_instant,
    row_spans,
)

CHICAGO = "America/Chicago"
ZONES = (CHICAGO, "America/New_York", "Asia/Tokyo", "Pacific/Auckland", "UTC")


def a_day(d: date, opens_ns: int, closes_ns: int, tz: str) -> TradingDay:
    return TradingDay(d, tz, (Segment(opens_ns, closes_ns),))


@st.composite
def calendars(draw: st.DrawFn) -> tuple[TradingDay, ...]:
    """Some weeks of days that may begin on an evening before and close after midnight."""
    tz = draw(st.sampled_from(ZONES))
    d = date(2024, draw(st.sampled_from([3, 7, 11])), draw(st.integers(1, 28)))
    days: list[TradingDay] = []
    until = 0
    for _ in range(draw(st.integers(1, 8))):
        d += timedelta(days=draw(st.sampled_from([1, 1, 1, 2, 4])))
        midnight = local_instant(d, time(), tz)
        opens = max(until, midnight + draw(st.integers(-20, 20)) * 60 * MINUTE_NS)
        pause = opens + draw(st.integers(1, 12)) * 60 * MINUTE_NS
        closes = pause + draw(st.integers(1, 11)) * 60 * MINUTE_NS
        parts = [Segment(opens, closes)]
        if draw(st.booleans()):
            parts = [Segment(opens, pause), Segment(pause + MINUTE_NS, closes)]
        days.append(TradingDay(d, tz, tuple(parts)))
        until = closes
    return tuple(days)


@given(days=calendars(), data=st.data())
def test_an_instant_inside_some_hours_belongs_to_that_day_alone(
    days: tuple[TradingDay, ...], data: st.DataObject
) -> None:
    day = data.draw(st.sampled_from(days))
    segment = data.draw(st.sampled_from(day.segments))
    instant = data.draw(st.integers(segment.open_ns, segment.close_ns - 1))

    owners = [d for d, (first, until) in row_spans(days).items() if first <= instant < until]

    assert owners == [day.date]


@given(days=calendars())
def test_spans_are_in_order_and_do_not_overlap(days: tuple[TradingDay, ...]) -> None:
    edges = [edge for span in row_spans(days).values() for edge in span]

    assert edges == sorted(edges)


@given(days=calendars(), data=st.data())
def test_a_days_rows_are_the_same_however_far_a_run_goes(
    days: tuple[TradingDay, ...], data: st.DataObject
) -> None:
    first = data.draw(st.integers(0, len(days) - 1))
    until = data.draw(st.integers(first + 1, len(days)))
    before = days[first - 1] if first else None
    after = days[until] if until < len(days) else None

    part = row_spans(days[first:until], before, after)

    assert part == {day.date: row_spans(days)[day.date] for day in days[first:until]}


@pytest.mark.parametrize("exchange", ["XNYS", "XTKS", "24/7"])
def test_a_day_that_keeps_to_its_date_has_the_rows_of_its_date(exchange: str) -> None:
    days = open_calendar(exchange, date(2024, 2, 26), date(2024, 3, 15)).days()

    assert row_spans(days) == {day.date: (day.midnight_ns, day.next_midnight_ns) for day in days}


def test_an_evening_belongs_to_the_day_that_it_opens() -> None:
    days = open_calendar("CMES", date(2024, 6, 28), date(2024, 7, 2)).days()

    friday, monday, tuesday = row_spans(days).values()

    assert friday[1] == local_instant(date(2024, 6, 29), time(), CHICAGO)
    assert monday == (
        local_instant(date(2024, 6, 30), time(17), CHICAGO),
        local_instant(date(2024, 7, 1), time(17), CHICAGO),
    )
    assert tuesday[0] == monday[1]


def test_an_evening_without_a_day_after_it_stays_with_its_date() -> None:
    days = open_calendar("CMES", date(2024, 3, 28), date(2024, 4, 1)).days()

    thursday, monday = row_spans(days).values()  # Good Friday lies between

    assert thursday[1] == local_instant(date(2024, 3, 29), time(), CHICAGO)
    assert monday[0] == local_instant(date(2024, 3, 31), time(17), CHICAGO)


def test_a_day_may_hold_all_its_hours_on_the_next_date() -> None:
    tz, monday = "Pacific/Auckland", date(2024, 7, 1)
    opens = local_instant(monday + timedelta(days=1), time(1, 30), tz)
    days = [
        a_day(
            monday + timedelta(days=n), opens + n * DAY_NS, opens + (n * 24 + 6) * 3600 * 10**9, tz
        )
        for n in range(2)
    ]

    first, second = row_spans(days).values()

    assert first == (days[0].midnight_ns, days[0].close_ns)
    assert second == (days[0].close_ns, days[1].close_ns)
    assert days[0].local_dates == (monday + timedelta(days=1),)
