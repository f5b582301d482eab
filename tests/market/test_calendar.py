"""Golden days, with their hours written out: no expected value here comes from a library."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time as clock
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from openbell.errors import CalendarError
from openbell.market.calendar import (
    Calendar,
    Explanation,
    coverage,
    open_calendar,
    overlay_version,
    timezone,
)
from openbell.market.days import TradingDay
from openbell.market.hours import parse_span
from openbell.market.layers import OVERLAYS

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "../shared/data"


def one(exchange: str, text: str, segment: str = "equity") -> Explanation:
    d = date.fromisoformat(text)
    return open_calendar(exchange, d, d, segment=segment).explain(d)


def hours(day: TradingDay | None, tz: str | None = None) -> str:
    """Segments in local time, as "09:15-10:00 11:30-12:30"; another date is written before it."""
    if day is None:
        return "closed"

    def wall(instant_ns: int) -> str:
        moment = datetime.fromtimestamp(instant_ns / 1e9, UTC).astimezone(ZoneInfo(tz or day.tz))
        return f"{moment:%H:%M}" if moment.date() == day.date else f"{moment:%m-%d %H:%M}"

    return " ".join(f"{wall(s.open_ns)}-{wall(s.close_ns)}" for s in day.segments)


def utc(day: TradingDay | None) -> str:
    return hours(day, "UTC")


NSE_DAYS = {
    "2010-02-06": "11:00-12:30",
    "2012-04-28": "11:15-12:45",
    "2014-03-22": "11:15-12:45",
    "2015-02-28": "09:15-15:30",
    "2016-10-30": "18:30-19:30",
    "2019-10-27": "18:15-19:15",
    "2020-02-01": "09:15-15:30",
    "2020-11-14": "18:15-19:15",
    "2021-02-24": "09:15-17:00",
    "2021-11-03": "09:15-15:30",
    "2021-11-04": "18:15-19:15",
    "2021-11-05": "closed",
    "2022-10-24": "18:15-19:15",
    "2023-11-10": "09:15-15:30",
    "2023-11-11": "closed",
    "2023-11-12": "18:15-19:15",
    "2023-11-14": "closed",
    "2024-01-19": "09:15-15:30",
    "2024-01-20": "09:15-15:30",
    "2024-01-22": "closed",
    "2024-03-02": "09:15-10:00 11:30-12:30",
    "2024-05-18": "09:15-10:00 11:30-12:30",
    "2024-05-20": "closed",
    "2024-11-01": "18:00-19:00",
    "2024-11-20": "closed",
    "2025-02-01": "09:15-15:30",
    "2025-02-02": "closed",
    "2025-10-21": "13:45-14:45",
    "2025-10-22": "closed",
    "2026-01-15": "closed",
    "2026-02-01": "09:15-15:30",
    "2026-07-31": "09:15-15:30",
    "2026-08-03": "09:15-15:30",
    "2026-11-08": "18:15-19:15",
    "2026-11-10": "closed",
    "2026-11-20": "09:15-15:30",
}


def test_nse_has_the_weekends_evenings_and_closures_that_the_libraries_lack() -> None:
    nse = open_calendar("XNSE", date(2010, 1, 1), date(2026, 12, 31))

    found = {text: hours(nse.day(date.fromisoformat(text))) for text in NSE_DAYS}

    assert found == NSE_DAYS
    assert nse.tz == "Asia/Kolkata"


@pytest.mark.parametrize("text", ["2024-01-20", "2024-03-02", "2024-11-01", "2025-02-01"])
def test_a_calendar_of_one_day_says_the_same_as_a_long_one(text: str) -> None:
    assert hours(one("NSE", text).day) == NSE_DAYS[text]


def test_an_nse_day_says_which_layer_gave_its_hours_and_why() -> None:
    budget = one("XNSE", "2025-02-01")
    evening = one("XNSE", "2021-11-04")
    diwali = one("XNSE", "2026-11-08")

    assert (budget.layer, budget.reason) == ("overlay nse.yaml", "Union Budget on a Saturday")
    assert budget.day is not None
    assert (budget.day.kind, budget.day.layer, budget.day.reason) == (
        "special",
        budget.layer,
        budget.reason,
    )
    assert evening.layer == "pandas_market_calendars NSE"
    assert evening.day is not None
    assert evening.day.kind == "special"
    assert "to be confirmed" in diwali.reason


def test_an_outage_is_no_break() -> None:
    day = one("XNSE", "2021-02-24").day

    assert day is not None
    assert (day.kind, len(day.segments), day.minutes_expected()) == ("extended", 1, 465)


@pytest.mark.parametrize(
    ("segment", "text", "expected", "minutes"),
    [
        ("equity", "2026-07-31", "09:15-15:30", 375),
        ("equity_fno", "2026-07-31", "09:15-15:30", 375),
        ("futures", "2026-07-31", "09:15-15:30", 375),
        ("equity", "2026-08-03", "09:15-15:30", 375),
        ("index", "2026-08-03", "09:15-15:30", 375),
        ("equity_fno", "2026-08-03", "09:15-15:15", 360),
        ("futures", "2026-08-03", "09:15-15:40", 385),
        ("futures", "2026-11-20", "09:15-15:40", 385),
        ("futures", "2026-11-08", "18:15-19:15", 60),
    ],
)
def test_nse_hours_depend_on_product_and_era(
    segment: str, text: str, expected: str, minutes: int
) -> None:
    day = one("XNSE", text, segment).day

    assert day is not None
    assert (hours(day), day.minutes_expected()) == (expected, minutes)


def test_the_new_hours_of_nse_are_its_regular_ones() -> None:
    found = one("XNSE", "2026-08-03", "futures")

    assert found.day is not None
    assert (found.day.kind, found.layer) == ("regular", "overlay nse.yaml")
    assert found.reason.startswith("hours of futures since 2026-08-03")
    assert one("XNSE", "2026-08-03", "equity").layer == "pandas_market_calendars NSE"


US_DAYS = {
    "2024-07-03": "09:30-13:00",
    "2024-07-04": "closed",
    "2024-07-05": "09:30-16:00",
    "2024-11-28": "closed",
    "2024-11-29": "09:30-13:00",
    "2024-12-24": "09:30-13:00",
    "2025-01-09": "closed",
    "2025-07-03": "09:30-13:00",
    "2025-11-28": "09:30-13:00",
    "2025-12-24": "09:30-13:00",
    "2026-11-26": "closed",
    "2026-11-27": "09:30-13:00",
    "2026-12-24": "09:30-13:00",
    "2026-12-25": "closed",
}


@pytest.mark.parametrize("exchange", ["XNYS", "NYSE", "NASDAQ", "XNAS", "stock"])
def test_us_early_closes_are_at_one(exchange: str) -> None:
    us = open_calendar(exchange, date(2024, 1, 1), date(2026, 12, 31))

    found = {text: hours(us.day(date.fromisoformat(text))) for text in US_DAYS}

    assert found == US_DAYS
    assert us.exchange == exchange


def test_a_half_day_is_short_of_minutes_and_says_so() -> None:
    found = one("XNYS", "2024-11-29")

    assert found.day is not None
    assert (found.day.kind, found.day.minutes_expected()) == ("early_close", 210)
    assert found.reason == "early close (exchange_calendars XNYS)"


def test_new_york_opens_by_its_own_clock_when_the_clocks_change() -> None:
    us = open_calendar("XNYS", date(2026, 3, 1), date(2026, 11, 30))

    found = [
        utc(us.day(d))
        for d in (date(2026, 3, 6), date(2026, 3, 9), date(2026, 10, 30), date(2026, 11, 2))
    ]

    assert found == ["14:30-21:00", "13:30-20:00", "13:30-20:00", "14:30-21:00"]
    assert us.day(date(2026, 3, 8)) is None
    assert us.day(date(2026, 11, 1)) is None


def test_london_and_new_york_are_four_hours_apart_in_the_weeks_between_their_clock_changes() -> (
    None
):
    expected = {
        date(2026, 3, 6): ("08:00-16:30", "14:30-21:00"),
        date(2026, 3, 9): ("08:00-16:30", "13:30-20:00"),
        date(2026, 3, 27): ("08:00-16:30", "13:30-20:00"),
        date(2026, 3, 30): ("07:00-15:30", "13:30-20:00"),
        date(2026, 10, 23): ("07:00-15:30", "13:30-20:00"),
        date(2026, 10, 26): ("08:00-16:30", "13:30-20:00"),
        date(2026, 11, 2): ("08:00-16:30", "14:30-21:00"),
    }
    london = open_calendar("XLON", date(2026, 3, 1), date(2026, 11, 30))
    new_york = open_calendar("XNYS", date(2026, 3, 1), date(2026, 11, 30))

    found = {d: (utc(london.day(d)), utc(new_york.day(d))) for d in expected}

    assert found == expected


def test_cme_opens_on_the_evening_before_its_date() -> None:
    cme = open_calendar("CMES", date(2026, 3, 2), date(2026, 3, 13))

    monday = cme.day(date(2026, 3, 9))

    assert hours(monday) == "03-08 17:00-16:00"
    assert hours(cme.day(date(2026, 3, 3))) == "03-02 17:00-16:00"
    assert monday is not None
    assert (monday.kind, monday.minutes_expected()) == ("regular", 1380)
    assert cme.day(date(2026, 3, 8)) is None


@pytest.mark.parametrize(
    ("exchange", "text", "expected"),
    [
        ("XTKS", "2024-11-01", "09:00-11:30 12:30-15:00"),
        ("XTKS", "2024-11-05", "09:00-11:30 12:30-15:30"),
        ("XHKG", "2026-02-13", "09:30-12:00 13:00-16:00"),
        ("XHKG", "2025-12-24", "09:30-12:00"),
        ("XSHG", "2025-03-03", "09:30-11:30 13:00-15:00"),
        ("XJPX", "2024-11-05", "09:00-11:30 12:30-15:30"),
    ],
)
def test_a_lunch_break_makes_two_segments(exchange: str, text: str, expected: str) -> None:
    assert hours(one(exchange, text).day) == expected


def test_weekends_that_a_library_loses_under_pandas_3_are_there() -> None:
    bombay = open_calendar("XBOM", date(2024, 1, 15), date(2025, 2, 5))
    tel_aviv = open_calendar("XTAE", date(2025, 12, 26), date(2026, 1, 11))

    assert hours(bombay.day(date(2024, 1, 20))) == "09:15-15:30"
    assert hours(bombay.day(date(2025, 2, 1))) == "09:15-15:30"
    assert bombay.day(date(2024, 1, 27)) is None
    # Sunday to Thursday until 2026-01-04, Monday to Friday from then on.
    assert tel_aviv.day(date(2025, 12, 26)) is None
    assert tel_aviv.day(date(2025, 12, 28)) is not None
    assert tel_aviv.day(date(2026, 1, 2)) is None
    assert tel_aviv.day(date(2026, 1, 4)) is not None
    assert tel_aviv.day(date(2026, 1, 9)) is not None
    assert tel_aviv.day(date(2026, 1, 11)) is None


def test_round_the_clock_is_the_utc_date() -> None:
    found = open_calendar("24/7", date(2024, 2, 28), date(2024, 3, 1))

    assert [(d.date.isoformat(), hours(d)) for d in found.days()] == [
        ("2024-02-28", "00:00-02-29 00:00"),
        ("2024-02-29", "00:00-03-01 00:00"),
        ("2024-03-01", "00:00-03-02 00:00"),
    ]
    assert found.tz == "UTC"
    assert found.days()[0].open_ns == 1709078400_000000000
    assert found.before(date(2024, 1, 1), 1)[0].date == date(2023, 12, 31)


@pytest.mark.parametrize("exchange", ["XNYS", "XNSE", "CME_Equity", "XKRX"])
def test_a_range_that_is_one_weekend_works_and_has_no_days(exchange: str) -> None:
    weekend = open_calendar(exchange, date(2024, 7, 13), date(2024, 7, 14))

    assert weekend.days() == ()
    assert weekend.explain(date(2024, 7, 14)).reason == "weekend"


def test_a_range_that_is_one_long_closure_has_no_days() -> None:
    closed = open_calendar("XNYS", date(1933, 3, 4), date(1933, 3, 14))

    assert closed.days() == ()


def test_closed_dates_are_explained() -> None:
    us = open_calendar("XNYS", date(2024, 7, 1), date(2025, 1, 31))
    nse = open_calendar("XNSE", date(2024, 11, 1), date(2024, 12, 31))

    assert us.explain(date(2024, 7, 6)) == Explanation(
        date(2024, 7, 6), None, "exchange_calendars XNYS", "weekend"
    )
    assert (
        us.explain(date(2024, 11, 28)).reason == "holiday (exchange_calendars XNYS: Thanksgiving)"
    )
    assert us.explain(date(2025, 1, 9)).reason == "holiday (exchange_calendars XNYS)"
    assert nse.explain(date(2024, 12, 25)).reason == "holiday (pandas_market_calendars NSE)"
    assert nse.explain(date(2024, 11, 20)) == Explanation(
        date(2024, 11, 20),
        None,
        "overlay nse.yaml",
        "closure: assembly election in Maharashtra",
    )


def configured() -> Calendar:
    return open_calendar(
        "XNSE",
        date(2024, 11, 1),
        date(2024, 11, 30),
        special_sessions={
            date(2024, 11, 1): [parse_span("17:00-18:00")],
            date(2024, 11, 9): [parse_span("09:15-10:00"), parse_span("11:00-00:00")],
            date(2024, 11, 20): [parse_span("09:15-15:30")],
            date(2030, 1, 1): [parse_span("09:15-15:30")],
        },
        closures=[date(2024, 11, 4), date(2024, 11, 15)],
        early_closes={date(2024, 11, 5): time(13, 0)},
    )


def test_the_users_keys_win_over_overlay_and_library() -> None:
    nse = configured()

    assert hours(nse.day(date(2024, 11, 1))) == "17:00-18:00"
    assert hours(nse.day(date(2024, 11, 9))) == "09:15-10:00 11:00-11-10 00:00"
    assert hours(nse.day(date(2024, 11, 20))) == "09:15-15:30"
    assert hours(nse.day(date(2024, 11, 4))) == "closed"
    assert hours(nse.day(date(2024, 11, 5))) == "09:15-13:00"
    assert hours(nse.day(date(2024, 11, 6))) == "09:15-15:30"


def test_the_users_keys_are_named_as_the_reason() -> None:
    nse = configured()

    special = nse.explain(date(2024, 11, 1))
    closure = nse.explain(date(2024, 11, 4))
    early = nse.explain(date(2024, 11, 5))

    assert special.day is not None
    assert early.day is not None
    assert (special.layer, special.reason) == ("config", "calendar.special_sessions")
    assert (closure.layer, closure.reason) == ("config", "closure: calendar.closures")
    assert (early.layer, early.reason) == ("config", "calendar.early_closes")
    assert (special.day.kind, early.day.kind) == ("special", "early_close")


@pytest.mark.parametrize(
    ("close", "expected"), [(12, "09:00-11:30"), (13, "09:00-11:30 12:30-13:00")]
)
def test_an_early_close_cuts_the_segments_behind_it(close: int, expected: str) -> None:
    d = date(2024, 11, 1)

    tokyo = open_calendar("XTKS", d, d, early_closes={d: time(close)})

    assert hours(tokyo.day(d)) == expected


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"early_closes": {date(2024, 7, 4): time(13)}},
            r"calendar\.early_closes: 2024-07-04 13:00: XNYS is closed that day \(holiday",
        ),
        (
            {"early_closes": {date(2024, 7, 5): time(16, 30)}},
            r"XNYS trades 09:30 to 16:00 that day; give a time between",
        ),
        (
            {"special_sessions": {date(2024, 7, 5): [(11 * 60, 10 * 60)]}},
            r"calendar\.special_sessions: 2024-07-05: 11:00 to 10:00 is out of order",
        ),
        (
            {"special_sessions": {date(2024, 7, 5): [(540, 660), (600, 720)]}},
            r"10:00 to 12:00 is out of order",
        ),
        ({"special_sessions": {date(2024, 7, 5): []}}, r"has no hours"),
        (
            {"closures": [date(2024, 7, 5)], "early_closes": {date(2024, 7, 5): time(13)}},
            r"2024-07-05 stands in calendar\.closures and in calendar\.early_closes",
        ),
        ({"segment": "future"}, r'segment "future" is unknown \(nearest: futures\)'),
    ],
)
def test_a_key_that_cant_be_used_is_named(keys: dict[str, object], message: str) -> None:
    with pytest.raises(CalendarError, match=message):
        open_calendar("XNYS", date(2024, 7, 1), date(2024, 7, 8), **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exchange", "nearest"),
    [("XNYSE", "XNYS"), ("Nasdaq", "NASDAQ"), ("XTKY", "XTKS")],
)
def test_an_unknown_exchange_gets_the_nearest_names(exchange: str, nearest: str) -> None:
    with pytest.raises(CalendarError, match=f'exchange "{exchange}" is unknown.*{nearest}.*use a'):
        open_calendar(exchange, date(2024, 7, 1), date(2024, 7, 8))


@pytest.mark.parametrize(
    ("exchange", "first", "last", "message"),
    [
        ("XHKG", "2049-12-01", "2050-01-31", "for 2050-01-31.*covers 1960-01-01 to 2049-12-31"),
        ("XKRX", "1950-01-01", "1960-01-31", "for 1950-01-01.*covers 1956-01-01"),
        ("XNSE", "2026-12-01", "2027-01-31", "for 2027-01-31.*covers 1996-01-01 to 20"),
        ("XNSE", "1995-12-01", "1996-01-31", "for 1995-12-01.*pandas_market_calendars"),
        ("XNYS", "2300-01-01", "2300-01-02", "for 2300-01-01"),
        ("24/7", "1600-01-01", "1600-01-02", "for 1600-01-01"),
        ("XNYS", "2024-07-08", "2024-07-01", "ends before it starts"),
    ],
)
def test_dates_that_no_library_covers_are_refused(
    exchange: str, first: str, last: str, message: str
) -> None:
    with pytest.raises(CalendarError, match=f"{exchange}: .*{message}"):
        open_calendar(exchange, date.fromisoformat(first), date.fromisoformat(last))


def test_the_ends_of_a_librarys_data_can_be_used() -> None:
    first, last = coverage("XHKG")

    assert open_calendar("XHKG", first, first).day(first) is None
    assert open_calendar("XHKG", last, last).day(last) is not None
    assert coverage("XHKG") == (date(1960, 1, 1), date(2049, 12, 31))


def test_a_calendar_answers_for_its_own_range_only() -> None:
    us = open_calendar("XNYS", date(2024, 7, 1), date(2024, 7, 8))

    assert [d.date.day for d in us.days(date(2024, 7, 3), date(2024, 7, 7))] == [3, 5]
    with pytest.raises(CalendarError, match=r"opened for 2024-07-01 to 2024-07-08.*2024-07-09"):
        us.day(date(2024, 7, 9))
    with pytest.raises(CalendarError, match="2024-06-30"):
        us.days(date(2024, 6, 30), date(2024, 7, 2))
    with pytest.raises(CalendarError, match="2024-07-09"):
        us.before(date(2024, 7, 10), 1)


def test_trading_days_before_a_date_reach_back_over_the_start_of_the_range() -> None:
    us = open_calendar("XNYS", date(2024, 7, 5), date(2024, 7, 8))

    before = us.before(date(2024, 7, 9), 5)

    assert [d.date.isoformat() for d in before] == [
        "2024-07-01",
        "2024-07-02",
        "2024-07-03",
        "2024-07-05",
        "2024-07-08",
    ]
    assert hours(before[2]) == "09:30-13:00"
    assert us.before(date(2024, 7, 9), 0) == ()
    assert len(us.before(date(2024, 7, 5), 252)) == 252
    assert us.before(date(2024, 7, 5), 252)[0].date == date(2023, 7, 5)
    assert len(us.days()) == 2


def test_trading_days_before_a_date_have_the_layers_too() -> None:
    nse = open_calendar(
        "XNSE", date(2024, 3, 4), date(2024, 3, 4), closures=[date(2024, 2, 29), date(2024, 3, 4)]
    )

    before = nse.before(date(2024, 3, 5), 3)

    assert [d.date.isoformat() for d in before] == ["2024-02-28", "2024-03-01", "2024-03-02"]
    assert hours(before[-1]) == "09:15-10:00 11:30-12:30"


def test_more_days_than_the_data_holds_are_refused() -> None:
    nse = open_calendar("XNSE", date(1996, 2, 1), date(1996, 2, 29))

    with pytest.raises(CalendarError, match=r"XNSE: 30 trading days before 1996-02-01.*1996-01-01"):
        nse.before(date(1996, 2, 1), 30)
    assert len(nse.before(date(1996, 2, 1), 20)) == 20


@pytest.fixture
def zones() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch
    clock.tzset()


def test_the_systems_time_zone_does_not_matter(zones: pytest.MonkeyPatch) -> None:
    found = []
    for zone in ("UTC", "Asia/Kolkata", "America/Los_Angeles"):
        zones.setenv("TZ", zone)
        clock.tzset()
        found.append(
            [
                open_calendar(exchange, date(2026, 10, 30), date(2026, 11, 9)).days()
                for exchange in ("XNYS", "XNSE", "CMES", "24/7")
            ]
        )

    assert found[0] == found[1] == found[2]
    assert found[0][0][0].open_ns == 1793367000_000000000  # 2026-10-30T13:30:00Z


def test_importing_the_calendar_loads_neither_pandas_nor_a_library() -> None:
    code = (
        "import sys, openbell.market.calendar;"
        "print([m for m in ('pandas', 'exchange_calendars', 'pandas_market_calendars', 'yaml')"
        " if m in sys.modules])"
    )

    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_the_overlay_is_read_each_time_and_a_calendar_names_its_version(tmp_path: Path) -> None:
    shutil.copytree(
        REPOSITORY / "openbell", tmp_path / "openbell", ignore=shutil.ignore_patterns("__pycache__")
    )
    code = """
from datetime import date
from pathlib import Path
import openbell.market.calendar as c
file = Path(c.__file__).with_name("overlays") / "nse.yaml"
d = date(2025, 10, 21)
old, version = c.open_calendar("XNSE", d, d), c.overlay_version()
file.write_text(file.read_text().replace("13:45-14:45", "18:15-19:15"))
new = c.open_calendar("XNSE", d, d)
assert new.day(d).open_ns - old.day(d).open_ns == 4.5 * 3600e9
assert old.overlay != new.overlay
assert version != c.overlay_version()
"""

    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)

    d = date(2025, 10, 21)
    assert open_calendar("XNSE", d, d).overlay == open_calendar("XBOM", d, d).overlay != ""
    assert open_calendar("XNYS", d, d).overlay == ""
    assert len(overlay_version()) == 16


@pytest.mark.parametrize("file", sorted(OVERLAYS))
def test_every_entry_of_an_overlay_says_where_it_was_read(file: str) -> None:
    import yaml

    overlay = yaml.safe_load((REPOSITORY / "market/overlays" / file).read_text())
    entries = [entry for listed in overlay.values() for entry in listed]

    assert entries
    assert [e for e in entries if not (e.get("source") and e.get("reason"))] == []
    known = set(OVERLAYS[file])
    assert [e for e in entries if not set(e.get("calendars", known)) <= known] == []
    for listed in (overlay.get("sessions", []), overlay.get("closures", [])):
        named = [
            (d, calendar)
            for e in listed
            for d in e.get("dates", [e.get("date")])
            for calendar in e.get("calendars", known)
        ]
        assert len(named) == len(set(named))


@pytest.mark.skipif(not DATA.exists(), reason="the shared market data is not here")
def test_nse_traded_in_2021_on_the_days_of_the_calendar() -> None:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    (file,) = DATA.rglob("nse_index_1m_2021*.parquet")
    table = pq.read_table(file, columns=["symbol", "ts"])
    ts = table.filter(pc.equal(table["symbol"], "NIFTY"))["ts"].to_numpy().astype("datetime64[ns]")
    year = open_calendar("XNSE", date(2021, 1, 1), date(2021, 12, 31))

    inside = [
        d.date
        for d in year.days()
        if ((ts.astype("i8") >= d.open_ns) & (ts.astype("i8") < d.close_ns)).any()
    ]

    assert inside == [d.date for d in year.days()]
    assert len(inside) == 248


@pytest.mark.parametrize(
    ("exchange", "zone"),
    [("XNYS", "America/New_York"), ("XNSE", "Asia/Kolkata"), ("24/7", "UTC")],
)
def test_an_exchange_has_a_time_zone_whatever_the_date(exchange: str, zone: str) -> None:
    assert timezone(exchange) == zone
    with pytest.raises(CalendarError, match="XNYZ"):
        timezone("XNYZ")
