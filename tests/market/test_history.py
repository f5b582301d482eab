"""What is remembered of the days before."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from trading import bars, before, trading_day, weekdays

from openbell.errors import CalendarError
from openbell.market.bars import BarBlock, RawRows, RowBatch
from openbell.market.calendar import coverage, open_calendar
from openbell.market.days import MINUTE_NS, SECOND_NS
from openbell.market.history import (
    History,
    HistoryDay,
    Need,
    among,
    history_day,
    missing_days,
    period_days,
    rolled,
    wanted_days,
)

DAYS = weekdays(date(2024, 6, 3), 40)
"""From a Monday on."""

DIWALI = trading_day(date(2021, 11, 4), ("18:15", "19:15"), kind="special", tz="Asia/Kolkata")


def dates_of(period: str, day: date, include_special: bool = False) -> list[date]:
    days = period_days(period, day, before(DAYS), include_special=include_special)
    return [d.date for d in days]


def test_a_period_in_days_counts_trading_days_before_the_day() -> None:
    assert dates_of("3d", date(2024, 6, 18)) == [date(2024, 6, d) for d in (13, 14, 17)]


def test_a_period_in_weeks_holds_the_trading_days_of_so_many_calendar_days() -> None:
    found = dates_of("2w", date(2024, 6, 26))

    assert found == [d.date for d in DAYS if date(2024, 6, 12) <= d.date < date(2024, 6, 26)]
    assert len(found) == 10


@pytest.mark.parametrize("weeks", [1, 4, 52])
def test_weeks_are_the_same_days_as_a_range_of_the_calendar(weeks: int) -> None:
    calendar = open_calendar("XNYS", date(2023, 1, 3), date(2024, 12, 31))
    for day in (date(2024, 2, 20), date(2024, 7, 5), date(2024, 12, 26)):
        days = period_days(f"{weeks}w", day, calendar.before, include_special=False)

        first = day - timedelta(weeks=weeks)
        assert days == calendar.days(first, day - timedelta(days=1))


def test_special_sessions_count_only_when_asked_for() -> None:
    calendar = open_calendar("XNSE", date(2021, 10, 1), date(2021, 12, 31), segment="index")
    day = date(2021, 11, 10)
    without = period_days("10d", day, calendar.before, include_special=False)
    with_it = period_days("10d", day, calendar.before, include_special=True)

    assert len(without) == len(with_it) == 10
    assert DIWALI.date not in [d.date for d in without]
    assert DIWALI.date in [d.date for d in with_it]
    assert without[1:] == tuple(d for d in with_it if d.date != DIWALI.date)
    weeks = [period_days("1w", day, calendar.before, include_special=s) for s in (False, True)]
    assert [len(found) for found in weeks] == [3, 4]  # Friday 5 is Balipratipada


@pytest.mark.parametrize("period", ["10d", "2w"])
def test_a_period_over_the_calendars_beginning_names_who_asks(period: str) -> None:
    first, _ = coverage("XNYS")
    day = first + timedelta(days=7)
    calendar = open_calendar("XNYS", first, day)
    need = Need("history.indicators.average", period)

    with pytest.raises(
        CalendarError, match=rf"history\.indicators\.average: {period} before .*goes"
    ):
        wanted_days([need], day, calendar.before)


def test_wanted_days_are_the_union_of_what_is_needed() -> None:
    needs = [
        Need("history.data[0]", "2d", rows=True),
        Need("history.data[1]", "4d", symbols=frozenset("A")),
        Need("history.data[2]", "3d", symbols=frozenset("B")),
    ]
    wanted = wanted_days(needs, date(2024, 6, 14), before(DAYS))

    assert [(w.day.date.day, w.rows, w.symbols) for w in wanted] == [
        (10, False, frozenset("A")),
        (11, False, frozenset("AB")),
        (12, True, None),
        (13, True, None),
    ]


def test_a_day_becomes_first_highest_lowest_last_and_sum() -> None:
    day = trading_day(date(2024, 6, 3))
    nan = np.nan
    prices = [[nan, nan, 5.0], [3.0, nan, 4.0], [1.0, nan, 9.0], [nan, nan, 6.0]]
    rows = bars(day, prices, volume=[[1.0], [2.0], [3.0], [4.0]], symbols=("A", "B", "C"))

    known = history_day(rows, keep_rows=False)

    np.testing.assert_equal(known.open, [3.0, nan, 5.0])
    np.testing.assert_equal(known.high, [3.0, nan, 9.0])
    np.testing.assert_equal(known.low, [1.0, nan, 4.0])
    np.testing.assert_equal(known.close, [1.0, nan, 6.0])
    np.testing.assert_equal(known.volume, [5.0, nan, 10.0])
    assert known.actual.tolist() == [2, 0, 4]
    assert known.expected.tolist() == [4, 4, 4]
    assert known.rows is None


def test_a_symbols_volume_has_the_same_bits_alone_and_among_others() -> None:
    day = trading_day(date(2024, 6, 3), ("09:30", "16:00"))
    volume = np.random.default_rng(1).uniform(0.1, 1e6, (390, 8))
    rows = bars(day, 1.0, volume, symbols="ABCDEFGH")
    one = bars(day, 1.0, volume[:, 2:3], symbols="C")

    together, alone = history_day(rows, keep_rows=False), history_day(one, keep_rows=False)

    total = 0.0
    for added in volume[:, 2].tolist():
        total += added
    assert together.volume[2] == alone.volume[0] == total


def test_ticks_become_minutes_and_a_day() -> None:
    day = trading_day(date(2024, 6, 3), ("09:30", "09:32"), ("10:00", "10:02"))
    at = [0, 10, 70, 30 * 60, 31 * 60 + 59]
    code = np.array([0, 0, 1, 0, 0], np.int32)
    price, size = np.array([5.0, 7.0, 1.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    ts = day.open_ns + np.array(at) * SECOND_NS
    ticks = RowBatch.ticks(day, ("A", "B"), code, ts, price, size, by_time=True)

    known = history_day(ticks, keep_rows=True)

    assert [known.open[0], known.high[0], known.low[0], known.close[0]] == [5.0, 7.0, 4.0, 6.0]
    assert known.volume.tolist() == [12.0, 3.0]
    assert known.actual.tolist() == [3, 1]
    assert known.expected.tolist() == [4, 4]
    assert known.rows is not None
    np.testing.assert_equal(known.rows.close[:, 0], [7.0, np.nan, 4.0, 6.0])
    assert known.rows.present[:, 1].tolist() == [False, True, False, False]
    empty = history_day(ticks.rows(0, 0), keep_rows=False)
    assert np.isnan(empty.close).all()
    assert np.isnan(empty.volume).all()


def test_bars_shorter_than_a_minute_are_kept_as_minutes() -> None:
    day = trading_day(date(2024, 6, 3))
    starts, ends = day.grid(30 * SECOND_NS)
    price = np.arange(1.0, 9.0)[:, None]
    there = np.ones((8, 1), np.bool_)
    there[2:4] = False
    price[2:4] = np.nan
    rows = BarBlock(
        day, ("A",), 30 * SECOND_NS, starts, ends, price, price, price, price, price, there
    )

    known = history_day(rows, keep_rows=True)

    assert known.rows is not None
    assert known.rows.interval_ns == MINUTE_NS
    np.testing.assert_equal(known.rows.close[:, 0], [2.0, np.nan, 6.0, 8.0])
    assert (known.open[0], known.volume[0], known.actual[0]) == (1.0, 29.0, 3)


def test_history_rolls_by_what_left_and_what_came() -> None:
    needs = [Need("history.data[0]", "4d"), Need("history.indicators.x", "2d", rows=True)]
    days = {d.date: history_day(bars(d, float(n)), keep_rows=True) for n, d in enumerate(DAYS)}
    history, reads = History(("A",)), []
    for today in DAYS[5:15]:
        wanted = wanted_days(needs, today.date, before(DAYS))
        missing = missing_days(history, wanted)
        reads.append(len(missing))

        history = rolled(history, wanted, [days[w.day.date] for w in missing])

        assert [d.day for d in history.days] == [w.day for w in wanted]
        assert [d.rows is not None for d in history.days] == [False, False, True, True]
    assert reads == [4] + [1] * 9


def test_a_day_without_the_rows_that_are_wanted_is_read_again() -> None:
    day = DAYS[0]
    history = History(("A",), (history_day(bars(day, 1.0), keep_rows=False),))
    wanted = wanted_days([Need("x", "1d", rows=True)], DAYS[1].date, before(DAYS))

    assert missing_days(history, wanted) == wanted


def test_days_on_other_symbols_do_not_mix() -> None:
    came: HistoryDay = history_day(bars(DAYS[0], 1.0, symbols=("B",)), keep_rows=False)
    with pytest.raises(ValueError, match="2024-06-03 has other symbols"):
        rolled(History(("A",)), (), [came])


def test_rows_of_some_symbols_become_rows_among_all() -> None:
    code = np.array([1, 0, 1], np.int32)
    raw = RawRows("ticks", ("D", "B"), code, np.zeros(3, np.int64), {}, lambda n: ("x", n))

    spread = among(("A", "B", "C", "D"), raw)

    assert [spread.symbols[c] for c in spread.code] == ["B", "D", "B"]
