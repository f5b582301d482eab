"""Where a session lies on a day: wall times, offsets, and what the hours cut off."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import minutes_of
from strategies import Case, cases

from openbell.market.days import DAY_NS, MINUTE_NS, SECOND_NS, Segment, TradingDay, local_instant
from openbell.market.windows import (
    Closed,
    NoWindow,
    SessionSpec,
    Window,
    boundaries,
    resolve,
    session_window,
)

DAY = date(2024, 7, 1)
NSE, NEW_YORK = "Asia/Kolkata", "America/New_York"


def at(wall: str, day: date = DAY, tz: str = NSE) -> int:
    return local_instant(day, time.fromisoformat(wall), tz)


def a_day(*segments: tuple[str, str], day: date = DAY, tz: str = NSE) -> TradingDay:
    hours = tuple(Segment(at(o, day, tz), at(c, day, tz)) for o, c in segments)
    return TradingDay(day, tz, hours)


REGULAR = a_day(("09:15", "15:30"))
TWO_PARTS = a_day(("09:15", "10:00"), ("11:30", "12:30"))


def window(day: TradingDay, start: str, end: str, closed: Closed = "both") -> Window:
    found = session_window(day, SessionSpec("One", start, end, closed), MINUTE_NS)
    assert isinstance(found, Window)
    return found


@pytest.mark.parametrize(
    ("text", "wall"),
    [
        ("09:30", "09:30"),
        ("open", "09:15"),
        ("open+15m", "09:30"),
        ("close-30m", "15:00"),
        ("close-1h", "14:30"),
        ("open+90s", "09:16:30"),
        ("open-5m", "09:10"),
        ("close", "15:30"),
    ],
)
def test_a_time_is_a_wall_time_or_relative_to_the_day(text: str, wall: str) -> None:
    assert resolve(REGULAR, text) == at(wall)


@pytest.mark.parametrize("text", ["9:30", "noon", "open + 5", "open+5", "close-5d", ""])
def test_another_text_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time; write"):
        resolve(REGULAR, text)


def test_a_time_of_the_evening_before_belongs_to_the_day_that_opens_then() -> None:
    opens = at("17:00", date(2024, 6, 30), NEW_YORK)
    day = TradingDay(DAY, NEW_YORK, (Segment(opens, at("16:00", DAY, NEW_YORK)),))

    assert resolve(day, "18:00") == opens + 60 * MINUTE_NS
    assert resolve(day, "09:30") == at("09:30", DAY, NEW_YORK)
    assert resolve(day, "16:30") == at("16:30", DAY, NEW_YORK)


def test_the_end_minute_belongs_to_the_window_unless_it_is_left_out() -> None:
    both, left = window(REGULAR, "09:30", "09:35"), window(REGULAR, "09:30", "09:35", "left")

    assert (both.start_ns, both.end_ns) == (at("09:30"), at("09:36"))
    assert (left.start_ns, left.end_ns) == (at("09:30"), at("09:35"))
    assert (len(both.slots), len(left.slots)) == (6, 5)
    assert both.truncated is left.truncated is None


def test_a_close_before_the_end_cuts_the_window_and_says_so() -> None:
    cut = window(a_day(("09:15", "13:00")), "12:50", "13:10")

    assert (cut.end_ns, len(cut.slots)) == (at("13:00"), 10)
    assert cut.truncated == "cut to 12:50–13:00 by the hours of 2024-07-01, 09:15–13:00"


def test_a_late_open_cuts_the_window_too() -> None:
    cut = window(a_day(("10:15", "15:30")), "09:30", "10:19")

    assert (cut.start_ns, cut.end_ns) == (at("10:15"), at("10:20"))
    assert cut.truncated is not None


def test_the_last_minute_before_the_close_is_no_cut() -> None:
    whole = window(a_day(("09:15", "13:00")), "close-5m", "close-1m")

    assert (whole.end_ns, whole.truncated) == (at("13:00"), None)


@pytest.mark.parametrize(
    ("start", "end", "why"),
    [
        ("14:30", "14:59", "14:30–14:59 lies outside the hours of 2024-07-01, 09:15–10:00, 11:30"),
        ("10:05", "11:00", "lies outside the hours"),
        ("10:00", "11:29", "lies outside the hours"),
        ("close-5m", "open+5m", "close-5m–open+5m is empty"),
    ],
)
def test_a_window_without_a_minute_of_the_day_says_why(start: str, end: str, why: str) -> None:
    found = session_window(TWO_PARTS, SessionSpec("One", start, end), MINUTE_NS)

    assert isinstance(found, NoWindow)
    assert why in found.reason


def test_a_break_inside_a_window_has_no_minutes() -> None:
    across = window(TWO_PARTS, "09:55", "11:31")

    assert (across.start_ns, across.end_ns) == (at("09:55"), at("11:32"))
    assert len(across.slots) == 7


def test_a_window_is_not_complete_with_a_bar_that_it_holds_in_part() -> None:
    found = session_window(REGULAR, SessionSpec("One", "09:17", "09:24", "left"), 5 * MINUTE_NS)

    assert isinstance(found, NoWindow)
    wider = session_window(REGULAR, SessionSpec("One", "09:17", "09:26", "left"), 5 * MINUTE_NS)
    assert isinstance(wider, Window)
    assert wider.slots.tolist() == [at("09:15"), at("09:20"), at("09:25")]


def test_boundaries_are_the_windows_the_segments_and_last_of_all_the_close() -> None:
    windows = [window(TWO_PARTS, "09:15", "09:19"), window(TWO_PARTS, "11:40", "12:29")]

    instants = boundaries(TWO_PARTS, windows, "boundary", MINUTE_NS)

    walls = ("09:20", "10:00", "11:30", "11:40", "12:30")
    assert instants == tuple(at(wall) for wall in walls)


def test_a_step_a_bar_makes_every_bars_edge_a_boundary() -> None:
    day = a_day(("09:15", "09:18"), ("09:30", "09:32"))

    instants = boundaries(day, [], "bar", MINUTE_NS)

    walls = ("09:16", "09:17", "09:18", "09:30", "09:31", "09:32")
    assert instants == tuple(at(wall) for wall in walls)


@pytest.mark.parametrize(
    ("day", "utc"),
    [
        (date(2024, 3, 8), "14:30"),
        (date(2024, 3, 11), "13:30"),
        (date(2024, 11, 1), "13:30"),
        (date(2024, 11, 4), "14:30"),
    ],
)
def test_a_wall_time_follows_the_clock_changes(day: date, utc: str) -> None:
    new_york = a_day(("09:30", "16:00"), day=day, tz=NEW_YORK)

    assert window(new_york, "09:30", "09:44").start_ns == at(utc, day, "UTC")


@given(case=st.one_of(cases("bars"), cases("ticks")))
def test_a_window_has_the_references_minutes(case: Case) -> None:
    for configured in case.windows:
        found = session_window(case.day, SessionSpec(*configured), MINUTE_NS)

        start = case.day.instant(time.fromisoformat(configured.start))
        end = case.day.instant(time.fromisoformat(configured.end))
        end += MINUTE_NS if configured.closed == "both" else 0
        minutes = [m for m in minutes_of(case.day) if start <= m and m + MINUTE_NS <= end]
        if not minutes:
            assert isinstance(found, NoWindow)
            continue
        assert isinstance(found, Window)
        assert found.slots.tolist() == minutes
        assert (found.start_ns, found.end_ns) == (minutes[0], minutes[-1] + MINUTE_NS)
        assert (found.end_ns - found.start_ns) % SECOND_NS == 0


# Days that open on the evening before


def evening_day(d: date, opens: str = "17:00", closes: str = "17:00") -> TradingDay:
    before = at(opens, d - timedelta(days=1), NEW_YORK)
    return TradingDay(d, NEW_YORK, (Segment(before, at(closes, d, NEW_YORK)),))


TUESDAY = date(2024, 7, 2)


@pytest.mark.parametrize(
    ("start", "end", "closed", "first", "until"),
    [
        ("17:00", "08:29", "both", "07-01 17:00", "07-02 08:30"),
        ("17:00", "17:00", "left", "07-01 17:00", "07-02 17:00"),
        ("17:00", "17:00", "both", "07-01 17:00", "07-02 17:00"),
        ("17:00", "17:01", "both", "07-01 17:00", "07-01 17:02"),
        ("16:00", "17:00", "left", "07-02 16:00", "07-02 17:00"),
        ("23:30", "00:29", "both", "07-01 23:30", "07-02 00:30"),
        ("open", "00:00", "left", "07-01 17:00", "07-02 00:00"),
    ],
)
def test_a_window_may_cross_midnight_where_the_day_does(
    start: str, end: str, closed: Closed, first: str, until: str
) -> None:
    found = window(evening_day(TUESDAY), start, end, closed)

    edges = [
        datetime.fromtimestamp(ns // SECOND_NS, ZoneInfo(NEW_YORK)).strftime("%m-%d %H:%M")
        for ns in (found.start_ns, found.end_ns)
    ]
    assert edges == [first, until]


def test_the_first_minute_of_an_evening_may_be_a_window() -> None:
    found = window(evening_day(TUESDAY, closes="16:00"), "17:00", "17:00")

    assert found.start_ns == at("17:00", date(2024, 7, 1), NEW_YORK)
    assert found.end_ns - found.start_ns == MINUTE_NS


@pytest.mark.parametrize(("start", "end"), [("15:00", "18:00"), ("08:30", "08:00")])
def test_a_window_against_the_order_of_its_day_is_none(start: str, end: str) -> None:
    day = evening_day(TUESDAY, closes="16:00")

    found = session_window(day, SessionSpec("One", start, end), MINUTE_NS)

    assert isinstance(found, NoWindow)
    assert "it ends before it starts in its hours, 17:00–16:00" in found.reason


@pytest.mark.parametrize(
    ("d", "new_york"),
    [
        (date(2024, 3, 8), "03:00"),
        (date(2024, 3, 11), "04:00"),  # New York has changed its clocks, London has not
        (date(2024, 4, 1), "03:00"),
        (date(2024, 10, 28), "04:00"),  # London has, New York has not
        (date(2024, 11, 4), "03:00"),
    ],
)
def test_a_window_may_go_by_another_clock_than_its_day(d: date, new_york: str) -> None:
    spec = SessionSpec("London", "08:00", "08:29", timezone="Europe/London")

    found = session_window(evening_day(d), spec, MINUTE_NS)

    assert isinstance(found, Window)
    assert found.start_ns == at(new_york, d, NEW_YORK)
    assert len(found.slots) == 30


def test_midnight_is_the_end_of_a_day_that_ends_then() -> None:
    day = TradingDay(
        DAY, "UTC", (Segment(at("00:00", DAY, "UTC"), at("00:00", DAY, "UTC") + DAY_NS),)
    )

    assert window(day, "23:00", "00:00", "left").end_ns == day.close_ns
    assert window(day, "00:00", "00:29").start_ns == day.open_ns
