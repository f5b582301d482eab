"""Trading days: what the clock of their zone shows, and their instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.market.days import (
    DAY_NS,
    MINUTE_NS,
    Segment,
    TradingDay,
    among,
    distinct,
    local_instant,
    wall_times,
)


def test_an_evening_before_shows_the_same_wall_times_on_every_day() -> None:
    from openbell.market.calendar import open_calendar

    monday, tuesday = open_calendar("CMES", date(2026, 3, 9), date(2026, 3, 10)).days()

    walls = [wall_times(day, day.grid(MINUTE_NS)[0]) // MINUTE_NS for day in (monday, tuesday)]

    assert walls[0].tolist() == walls[1].tolist() == [*range(1020, 1440), *range(960)]


def test_an_hour_that_a_clock_change_repeats_is_told_from_the_first() -> None:
    sunday = TradingDay(
        date(2026, 11, 1),
        "America/New_York",
        (Segment(ns("2026-11-01T04:00:00Z"), ns("2026-11-02T05:00:00Z")),),
    )

    hours = wall_times(sunday, sunday.grid(60 * MINUTE_NS)[0]) // (60 * MINUTE_NS)

    assert hours.tolist() == [0, 1, 25, *range(2, 24)]


def ns(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp()) * 1_000_000_000


def new_york(d: date, *walls: tuple[time, time]) -> TradingDay:
    tz = "America/New_York"
    segments = tuple(Segment(local_instant(d, o, tz), local_instant(d, c, tz)) for o, c in walls)
    return TradingDay(d, tz, segments)


@pytest.mark.parametrize(
    ("d", "wall", "tz", "instant"),
    [
        (date(2024, 7, 1), time(9, 30), "America/New_York", "2024-07-01T13:30:00Z"),
        (date(2024, 12, 2), time(9, 30), "America/New_York", "2024-12-02T14:30:00Z"),
        (date(2024, 12, 2), time(9, 15), "Asia/Kolkata", "2024-12-02T03:45:00Z"),
        (date(1969, 12, 31), time(23, 59, 59), "UTC", "1969-12-31T23:59:59Z"),
        # Skipped by the clock change: read with the offset before it.
        (date(2026, 3, 8), time(2, 30), "America/New_York", "2026-03-08T07:30:00Z"),
        # Repeated by the clock change: the first of the two.
        (date(2026, 11, 1), time(1, 30), "America/New_York", "2026-11-01T05:30:00Z"),
    ],
)
def test_a_wall_time_is_an_instant_of_its_zone(d: date, wall: time, tz: str, instant: str) -> None:
    assert local_instant(d, wall, tz) == ns(instant)


@given(seconds=st.integers(0, 7_258_118_399))
def test_an_instant_is_exact_to_the_second(seconds: int) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)

    assert local_instant(moment.date(), moment.time(), "UTC") == seconds * 1_000_000_000


@pytest.mark.parametrize(("d", "long"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25)])
def test_a_date_on_which_the_clocks_change_is_shorter_or_longer(d: date, long: int) -> None:
    day = new_york(d, (time(9, 30), time(16)))

    assert day.next_midnight_ns - day.midnight_ns == long * 60 * MINUTE_NS
    assert day.instant(time(9, 30)) == day.open_ns


def test_a_regular_day_has_a_bar_a_minute_from_open_to_close() -> None:
    day = new_york(date(2024, 7, 1), (time(9, 30), time(16)))

    starts, ends = day.grid(MINUTE_NS)

    assert len(starts) == day.minutes_expected() == 390
    assert (int(starts[0]), int(ends[-1])) == (day.open_ns, day.close_ns)
    assert starts.dtype == ends.dtype == np.int64
    assert (ends - starts == MINUTE_NS).all()


def test_bars_are_anchored_at_each_segments_open_and_cut_at_its_close() -> None:
    day = new_york(date(2024, 7, 1), (time(9, 15), time(10)), (time(11, 32), time(12, 30)))

    starts, ends = day.grid(20 * MINUTE_NS)

    minutes = (np.stack([starts, ends], axis=1) - day.midnight_ns) // MINUTE_NS
    assert [tuple(row) for row in minutes.tolist()] == [
        (555, 575),
        (575, 595),
        (595, 600),
        (692, 712),
        (712, 732),
        (732, 750),
    ]
    assert (day.open_ns, day.close_ns) == (day.segments[0].open_ns, day.segments[1].close_ns)
    assert day.minutes_expected() == 45 + 58


def test_an_interval_longer_than_a_segment_gives_one_bar_of_its_length() -> None:
    day = new_york(date(2024, 7, 3), (time(9, 30), time(13)))

    starts, ends = day.grid(DAY_NS)

    assert (starts.tolist(), ends.tolist()) == ([day.open_ns], [day.close_ns])


@given(lengths=st.lists(st.integers(1, 500), min_size=1, max_size=3), interval=st.integers(1, 600))
def test_bars_cover_each_segment_without_gap_or_overlap(lengths: list[int], interval: int) -> None:
    opens = np.cumsum([0, *[n + 30 for n in lengths[:-1]]]).tolist()
    segments = tuple(
        Segment(o * MINUTE_NS, (o + n) * MINUTE_NS) for o, n in zip(opens, lengths, strict=True)
    )
    day = TradingDay(date(1970, 1, 1), "UTC", segments)

    starts, ends = day.grid(interval * MINUTE_NS)

    assert int((ends - starts).sum()) == sum(lengths) * MINUTE_NS
    assert (ends > starts).all()
    assert (starts[1:] >= ends[:-1]).all()
    assert {s.open_ns for s in segments} <= set(starts.tolist())
    assert {s.close_ns for s in segments} <= set(ends.tolist())


def test_a_part_of_a_minute_is_expected_as_a_minute() -> None:
    day = TradingDay(date(1970, 1, 1), "UTC", (Segment(0, MINUTE_NS + 1),))

    assert day.minutes_expected() == len(day.grid(MINUTE_NS)[0]) == 2


@given(
    values=st.lists(st.integers(-3, 9)),
    ordered=st.lists(st.integers(-2, 8), unique=True).map(sorted),
)
def test_distinct_instants_and_those_among_others_are_what_numpy_says(
    values: list[int], ordered: list[int]
) -> None:
    instants, others = np.array(values, np.int64), np.array(ordered, np.int64)

    assert distinct(instants).tolist() == np.unique(instants).tolist()
    assert among(instants, others).tolist() == np.isin(instants, others).tolist()
