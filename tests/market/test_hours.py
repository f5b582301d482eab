"""Hours as they are written, and as they are laid over an exchange's days."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.errors import CalendarError
from openbell.market.calendar import Calendar, open_calendar
from openbell.market.days import SECOND_NS, TradingDay
from openbell.market.hours import (
    RegularHours,
    Span,
    parse_breaks,
    parse_span,
    written_break,
)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("09:30-16:00", (570, 960)),
        ("18:00-17:00", (-360, 1020)),
        ("17:00-17:00", (-420, 1020)),
        ("00:00-24:00", (0, 1440)),
        ("00:00-00:00", (0, 1440)),
        ("18:00-00:00", (1080, 1440)),
        ("09:00-26:30", (540, 1590)),
        (" 09:30 – 16:00 ", (570, 960)),
    ],
)
def test_a_span_is_written_as_an_open_and_a_close(text: str, span: tuple[int, int]) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    "text", ["9:30-16:00", "09:30", "09:30-16:60", "24:00-25:00", "06:00-31:00", "09:30-37:00", ""]
)
def test_another_text_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|longer"):
        parse_span(text)


@given(opens=st.integers(-1439, 1439), length=st.integers(1, 1440))
def test_a_span_is_read_as_it_was_written(opens: int, length: int) -> None:
    span = Span(opens, opens + length)
    if opens < 0 and span.closes <= 0:
        return  # wholly on the evening before, which has no way to be written
    if opens >= 0 and span.closes > 36 * 60:
        return

    assert parse_span(str(span)) == span


@pytest.mark.parametrize(
    ("span", "breaks", "spans"),
    [
        ("09:00-15:30", ["11:30-12:30"], [(540, 690), (750, 930)]),
        (
            "21:00-15:00",
            ["02:30-09:00", "10:15-10:30", "11:30-13:30"],
            [(-180, 150), (540, 615), (630, 690), (810, 900)],
        ),
        ("18:00-17:00", ["23:30-00:30"], [(-360, -30), (30, 1020)]),
    ],
)
def test_breaks_lie_behind_the_open(
    span: str, breaks: list[str], spans: list[tuple[int, int]]
) -> None:
    whole = parse_span(span)

    hours = RegularHours(whole, parse_breaks(whole, breaks))

    assert list(hours.spans) == spans
    assert [written_break(pause) for pause in hours.breaks] == breaks


@pytest.mark.parametrize(
    "breaks", [["08:00-09:30"], ["09:00-09:30"], ["15:00-16:00"], ["12:00-13:00", "11:00-11:30"]]
)
def test_breaks_outside_the_hours_are_refused(breaks: list[str]) -> None:
    with pytest.raises(ValueError, match="outside the hours"):
        parse_breaks(parse_span("09:00-15:30"), breaks)


# Laid over an exchange's days


def regular(span: str, *breaks: str, since: str | None = None, **more: Any) -> RegularHours:
    whole = parse_span(span)
    return RegularHours(
        whole, parse_breaks(whole, breaks), date.fromisoformat(since) if since else None, **more
    )


def told(calendar: Calendar, text: str) -> str:
    day = calendar.day(date.fromisoformat(text))
    return shown(day) if day else "closed"


def shown(day: TradingDay) -> str:
    def wall(ns: int) -> str:
        at = datetime.fromtimestamp(ns // SECOND_NS, ZoneInfo(day.tz))
        return f"{at:%H:%M}" if at.date() == day.date else f"{at:%m-%d %H:%M}"

    return " ".join(f"{wall(s.open_ns)}-{wall(s.close_ns)}" for s in day.segments)


def laid(exchange: str, first: str, last: str, *hours: RegularHours, **more: Any) -> Calendar:
    return open_calendar(
        exchange, date.fromisoformat(first), date.fromisoformat(last), hours=hours, **more
    )


def test_extended_hours_keep_early_closes_and_holidays() -> None:
    new_york = laid("XNYS", "2024-06-28", "2024-07-05", regular("04:00-20:00"))

    assert told(new_york, "2024-07-02") == "04:00-20:00"
    assert told(new_york, "2024-07-03") == "04:00-17:00"  # 13:00 is three hours early
    assert told(new_york, "2024-07-04") == "closed"
    entry = new_york.explain(date(2024, 7, 3))
    assert entry.day is not None
    assert (entry.day.kind, entry.layer) == ("early_close", "config")
    assert "early close (exchange_calendars XNYS); calendar.hours" in entry.reason
    assert new_york.explain(date(2024, 7, 2)).reason == "calendar.hours"


@pytest.mark.parametrize(
    ("span", "early"),
    [
        ("09:30-16:00", "09:30-13:00"),
        ("10:00-15:00", "10:00-13:00"),
        ("10:00-12:00", "10:00-12:00"),
        ("18:00-17:00", "07-02 18:00-14:00"),
    ],
)
def test_an_early_close_ends_hours_that_end_with_the_exchange(span: str, early: str) -> None:
    assert told(laid("XNYS", "2024-07-01", "2024-07-05", regular(span)), "2024-07-03") == early


def test_the_users_own_dates_win_over_the_users_hours() -> None:
    new_york = laid(
        "XNYS",
        "2024-07-01",
        "2024-07-05",
        regular("04:00-20:00"),
        early_closes={date(2024, 7, 3): datetime(2024, 7, 3, 13).time()},  # noqa: DTZ001
        special_sessions={date(2024, 7, 5): [parse_span("10:00-11:00")]},
    )

    assert told(new_york, "2024-07-03") == "04:00-13:00"
    assert told(new_york, "2024-07-05") == "10:00-11:00"


def test_hours_hold_from_a_date_on() -> None:
    mcx = laid(
        "XBOM",
        "2024-03-01",
        "2024-11-06",
        regular("09:00-23:30", since="2024-03-11"),
        regular("09:00-23:55", since="2024-11-04"),
    )

    assert told(mcx, "2024-03-07") == "09:15-15:30"
    assert told(mcx, "2024-03-11") == "09:00-23:30"
    assert told(mcx, "2024-11-01") == "18:00-19:00"  # Muhurat
    assert told(mcx, "2024-11-04") == "09:00-23:55"


def test_shanghais_evening_is_that_of_the_trading_day_before() -> None:
    silver = laid(
        "XSHG",
        "2024-06-03",
        "2024-06-18",
        regular(
            "21:00-15:00",
            "02:30-09:00",
            "10:15-10:30",
            "11:30-13:30",
            evening="trading_day",
        ),
    )
    day = "09:00-10:15 10:30-11:30 13:30-15:00"

    assert told(silver, "2024-06-04") == f"06-03 21:00-02:30 {day}"
    assert told(silver, "2024-06-03") == f"05-31 21:00-06-01 02:30 {day}"
    assert told(silver, "2024-06-11") == day  # no evening on the eve of a holiday, Monday the 10th


def test_days_may_be_those_of_another_zone() -> None:
    crypto = laid("24/7", "2024-03-08", "2024-03-12", tz="America/New_York")
    late = laid("24/7", "2024-03-08", "2024-03-12", regular("17:00-17:00"), tz="America/New_York")

    assert told(crypto, "2024-03-09") == "00:00-03-10 00:00"
    sunday = crypto.day(date(2024, 3, 10))
    assert sunday is not None
    assert sunday.minutes_expected() == 23 * 60  # the clocks go forward
    assert told(late, "2024-03-11") == "03-10 17:00-17:00"


def test_currencies_trade_from_sunday_to_friday_in_new_york() -> None:
    fx = open_calendar("FX", date(2024, 6, 28), date(2024, 7, 5))

    assert told(fx, "2024-06-28") == "06-27 17:00-17:00"
    assert told(fx, "2024-06-29") == "closed"
    assert told(fx, "2024-06-30") == "closed"
    assert told(fx, "2024-07-01") == "06-30 17:00-17:00"
    assert fx.explain(date(2024, 6, 30)).layer == "overlay fx.yaml"


@pytest.mark.parametrize(
    ("exchange", "d", "expected"),
    [
        ("CMES", "2012-11-16", "11-15 17:00-17:00"),
        ("CMES", "2014-07-01", "06-30 17:00-16:15"),
        ("CMES", "2024-07-01", "06-30 17:00-16:00"),
        ("CMES", "2024-06-19", "06-18 17:00-12:00"),
        ("CMES", "2024-07-03", "07-02 17:00-16:00"),
        ("CMES", "2024-07-04", "07-03 17:00-12:00"),
        ("CMES", "2024-11-29", "11-28 17:00-12:15"),
        ("CMES", "2025-01-09", "01-08 17:00-16:00"),
        ("CME_Equity", "2014-07-01", "06-30 17:00-15:15 15:30-16:15"),
        ("CME_Equity", "2019-07-01", "06-30 17:00-15:15 15:30-16:00"),
        ("CME_Equity", "2024-07-01", "06-30 17:00-16:00"),
        ("CME_Equity", "2024-07-03", "07-02 17:00-12:15"),
        ("CME_Equity", "2025-01-09", "01-08 17:00-08:30"),
        ("XBOM", "2021-11-04", "18:15-19:15"),
        ("XBOM", "2024-03-02", "09:15-10:00 11:30-12:30"),
        ("XBOM", "2024-11-01", "18:00-19:00"),
        ("XBOM", "2025-02-01", "09:15-15:30"),
        ("XBOM", "2026-02-01", "09:15-15:30"),
        ("BSE", "2026-11-08", "18:15-19:15"),
        ("XBOM", "2026-08-03", "09:15-15:30"),
        ("XBOM", "2012-04-28", "closed"),
    ],
)
def test_overlays_mend_what_the_libraries_have_wrong(exchange: str, d: str, expected: str) -> None:
    assert told(open_calendar(exchange, *[date.fromisoformat(d)] * 2), d) == expected


def test_bse_trades_on_nses_days_from_2014_on() -> None:
    first, last = date(2014, 1, 1), date(2026, 7, 31)

    nse, bse = (
        [shown(day) for day in open_calendar(exchange, first, last).days()]
        for exchange in ("XNSE", "XBOM")
    )

    assert bse == nse


def test_days_that_overlap_are_refused() -> None:
    with pytest.raises(CalendarError, match=r"2024-07-02 opens before 2024-07-01 has closed"):
        laid(
            "XNYS",
            "2024-07-01",
            "2024-07-03",
            regular("18:00-17:00"),
            special_sessions={date(2024, 7, 1): [parse_span("09:30-19:00")]},
        )
