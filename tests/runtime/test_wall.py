"""Runs that follow the market by the host's clock, which a test moves by hand."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any

import pytest
from by_hand import ByHand, at, config
from loguru import logger

from openbell.errors import CalendarError, DayFailed
from openbell.market.calendar import open_calendar
from openbell.market.days import TradingDay
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.lifetime.supervision import RECOVER


def test_a_day_goes_its_way_by_the_clock_without_a_row() -> None:
    quiet = config(day={"timeout_seconds": "1d"})

    run = ByHand(quiet, at("09:00"), round_trips=True).until(at("09:31", "2024-07-02"))

    assert run.seen == [
        ("09:00:00", "PRE_MARKET"),
        ("09:30:00", "ACTIVE"),
        ("09:30:00", "Morning PENDING"),
        ("09:30:00", "Morning ACTIVE"),
        ("09:30:00", "Noon PENDING"),
        ("09:35:02", "Morning COMPLETED"),
        ("12:00:00", "Noon ACTIVE"),
        ("12:10:02", "Noon COMPLETED"),
        ("16:00:02", "POST_MARKET"),
        ("16:30:00", "ENDED"),
        ("16:30:00", "NOT_STARTED"),
        ("16:30:00", "PRE_MARKET"),
        ("09:30:00", "ACTIVE"),
        ("09:30:00", "Morning PENDING"),
        ("09:30:00", "Morning ACTIVE"),
        ("09:30:00", "Noon PENDING"),
    ]
    assert run.sessions("2024-07-01")["Morning"]["symbols_data"]["A"]["high"] is None


def traded(begins: float = at("09:00"), *, late: bool = True) -> ByHand:
    """A morning in which rows come late on both sides of the timer, and break its levels."""
    run = ByHand(config(), begins)
    for n in range(29):
        run.tick(at("09:30:05") + 10 * n, "AB"[n % 2], 100 + n % 5)
    run.tick(at("09:35:00.5"), "B", 104.5, ts=at("09:34:59"))
    run.tick(at("09:35:01.9"), "A", 104.7, ts=at("09:34:59.5"))  # before the timer, so it counts
    if late:
        run.tick(at("09:35:02.1"), "A", 109.0, ts=at("09:34:59.9"))  # after it
    for n in range(20):
        run.tick(at("09:36:00") + 20 * n, "AB"[n % 2], 101 + 0.25 * n)
    return run


def left(run: ByHand, day: str = "2024-07-01") -> Any:
    return run.signals(), run.sessions(day)


@cache
def expected() -> Any:
    return left(traded().until(at("15:00")))


def test_what_comes_before_the_timer_counts_and_what_comes_after_is_late() -> None:
    run = traded().until(at("12:30"))

    levels = run.sessions("2024-07-01")["Morning"]["symbols_data"]
    assert (levels["A"]["high"], levels["B"]["high"]) == (104.7, 104.5)
    assert [of for of, _ in run.signals()] == [
        "XNYS:2024-07-01:Morning:B:HIGH_BREAK:1",
        "XNYS:2024-07-01:Morning:A:HIGH_BREAK:1",
    ]


@pytest.mark.parametrize(
    ("killed", "back"),
    [
        ("09:29:50", "09:30:10"),
        ("09:32:31", "09:32:40"),
        ("09:34:30", "09:36:10"),
        ("09:35:01", "09:35:04"),
        ("09:35:03", "09:35:30"),
        ("09:40:00", "11:30:00"),
    ],
)
def test_a_kill_in_the_window_or_after_it_changes_nothing(killed: str, back: str) -> None:
    run = traded().kill(at(killed), at(back)).until(at("15:00"))

    assert run.restarts == 1
    if killed < "09:35:02" < back:
        # Nobody was there at the timer: what came when it would have rung has come in time now.
        assert run.sessions("2024-07-01")["Morning"]["symbols_data"]["A"]["high"] == 109.0
    else:
        assert left(run) == expected()


def test_a_row_that_waited_for_the_end_of_a_window_is_acted_on_when_it_is_crossed() -> None:
    run = ByHand(config(), at("09:00")).tick(at("09:31"), "A", 100)
    run.tick(at("09:35:01"), "A", 101)

    run.until(at("09:35:01.9"))
    before = run.signals()
    run.until(at("09:35:02.5"))

    assert before == []
    assert run.signals() == [("XNYS:2024-07-01:Morning:A:HIGH_BREAK:1", False)]


def test_a_row_that_waited_is_acted_on_although_the_process_was_killed_there() -> None:
    for message in range(1, 400, 8):
        run = ByHand(config(), at("09:34:58")).tick(at("09:34:59"), "A", 100)
        run.kills_at = frozenset({message})
        run.tick(at("09:35:01"), "A", 101).until(at("09:35:05"))

        assert [of for of, _ in run.signals()] == ["XNYS:2024-07-01:Morning:A:HIGH_BREAK:1"]
        if not run.restarts:
            break


def two_days(kills_at: frozenset[int] = frozenset()) -> ByHand:
    # Not what comes just after a timer: a process that was killed there crosses after that.
    run = traded(at("09:29"), late=False)
    run.config |= {"day": {"timeout_seconds": "20m"}}
    run.kills_at = kills_at
    for n in range(6):
        run.tick(at("09:31", "2024-07-02") + 50 * n, "A", 90 + n)
    return run.until(at("09:50", "2024-07-02"))


def all_left(run: ByHand) -> Any:
    return left(run), run.sessions("2024-07-02"), run.states()


@cache
def undisturbed() -> tuple[Any, int]:
    run = two_days()
    return all_left(run), run.messages


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed > 4)) for seed in range(60)]
)
def test_kills_between_any_two_messages_change_nothing(seed: int) -> None:
    expected, messages = undisturbed()
    drawn = random.Random(seed)
    kills_at = frozenset(drawn.sample(range(1, messages), drawn.choice([1, 2, 4])))

    run = two_days(kills_at)

    assert run.restarts >= len(kills_at)
    assert all_left(run) == expected


def test_a_replay_gives_the_day_again_with_what_the_clock_crossed() -> None:
    run = traded().kill(at("09:35:03"), at("09:35:30")).until(at("17:00"))

    again = replay_day(config_from(run.config), run.store, date(2024, 7, 1))
    cut = replay_day(config_from(run.config), run.store, date(2024, 7, 1), "09:33")

    assert again.differs is None
    assert again.steps > 50
    assert cut.differs is None


def test_holidays_weekends_and_early_closes_are_waited_through() -> None:
    quiet = config(
        day={"timeout_seconds": "1d"}, sessions=[{"name": "M", "start": "09:30", "end": "09:31"}]
    )

    run = ByHand(quiet, at("12:00", "2024-07-03")).until(at("09:31", "2024-07-08"))

    assert [(when, what) for when, what in run.seen if not what.startswith("M ")] == [
        ("12:00:00", "PRE_MARKET"),
        ("12:00:00", "ACTIVE"),
        ("13:00:02", "POST_MARKET"),  # the actual close
        ("13:30:00", "ENDED"),
        ("13:30:00", "NOT_STARTED"),
        ("13:30:00", "PRE_MARKET"),
        ("09:30:00", "ACTIVE"),  # of Friday, after the 4th
        ("16:00:02", "POST_MARKET"),
        ("16:30:00", "ENDED"),
        ("16:30:00", "NOT_STARTED"),
        ("16:30:00", "PRE_MARKET"),
        ("09:30:00", "ACTIVE"),  # of Monday
    ]
    assert run.today == date(2024, 7, 8)


def test_silence_is_a_state_that_rows_end_and_that_holds_nothing() -> None:
    run = ByHand(config(), at("09:00"))
    run.tick(at("09:31"), "A", 100).tick(at("09:33"), "A", 101, ts=at("09:30:30"))
    run.tick(at("10:00"), "A", 99).tick(at("10:04"), "B", 99)

    run.until(at("16:05"))

    states = [(when, what) for when, what in run.seen if " " not in what]
    assert states == [
        ("09:00:00", "PRE_MARKET"),
        ("09:30:00", "ACTIVE"),
        ("09:36:00", "TIMEOUT"),  # the row of 09:33 was not newer
        ("10:00:00", "ACTIVE"),
        ("10:09:00", "TIMEOUT"),
        ("16:00:02", "POST_MARKET"),
    ]
    assert ("12:10:02", "Noon COMPLETED") in run.seen


@pytest.mark.parametrize("back", ["09:36:30", "09:39:00", "09:50:00"])
def test_rows_end_a_silence_in_which_the_process_was_killed(back: str) -> None:
    run = ByHand(config(), at("09:00")).tick(at("09:31"), "A", 100)
    run.kill(at("09:36:20"), at(back)).tick(at("09:50:10"), "A", 101)

    run.until(at("09:50:20"))

    assert run.states()[-2:] == ["TIMEOUT", "ACTIVE"]
    assert "feed.back" in [told["kind"] for told in run.audit("notice")]


def test_nobody_is_woken_at_lunch() -> None:
    of = config(exchange="XHKG", sessions=[{"name": "M", "start": "09:30", "end": "09:31"}])
    tz = "Asia/Hong_Kong"
    run = ByHand(of, at("11:40", "2024-07-02", tz))
    run.tick(at("11:50:40", "2024-07-02", tz), "A", 100)
    run.tick(at("11:55:30", "2024-07-02", tz), "A", 100)

    run.until(at("13:04", "2024-07-02", tz))
    assert run.state == "ACTIVE"
    run.until(at("13:06", "2024-07-02", tz))

    assert run.state == "TIMEOUT"
    assert run.seen[-1] == ("13:05:00", "TIMEOUT")


def test_a_clock_set_forward_crosses_each_boundary_and_one_set_back_stands() -> None:
    run = traded()

    def set_by(seconds: float) -> Any:
        return lambda of: setattr(of.clock, "set_ahead", of.clock.set_ahead + seconds)

    run.do(at("11:00"), set_by(2 * 3600)).do(at("11:30"), set_by(-2 * 3600)).until(at("11:40"))
    crossed = list(run.seen)
    now_ns = run.clock_state.awake_ns
    run.until(at("13:00"))

    assert [what for _, what in crossed[-2:]] == ["Noon ACTIVE", "Noon COMPLETED"]
    assert run.seen == crossed
    assert run.clock_state.awake_ns <= now_ns
    assert [round(told["seconds"]) for told in run.audit("clock")] == [7200, -7200]


def test_a_day_that_can_not_roll_is_in_error_until_somebody_says_to_recover() -> None:
    run = ByHand(config(day={"timeout_seconds": "1d"}), at("15:00"))

    def unknown(day: date) -> TradingDay:
        raise CalendarError(f"the calendar ends with {day}")

    run.follows = unknown
    with pytest.raises(DayFailed, match="after 2024-07-01: the calendar ends"):
        run.until(at("17:00"))
    with pytest.raises(DayFailed, match="recover"):
        run.until(at("18:00"))
    run.follows = None
    run.store.send_command(RECOVER)
    run.until(at("09:31", "2024-07-02"))

    left = ["ERROR", "POST_MARKET", "ENDED", "NOT_STARTED", "PRE_MARKET", "ACTIVE"]
    assert run.states()[-6:] == left
    assert run.sessions("2024-07-01")["Noon"]["status"] == "COMPLETED"
    assert run.today == date(2024, 7, 2)


def test_a_day_has_the_hours_that_the_calendar_says_when_it_rolls() -> None:
    run = ByHand(config(day={"timeout_seconds": "1d"}), at("15:00"))
    (known,) = open_calendar("XNYS", date(2024, 7, 2), date(2024, 7, 2)).days()
    early = replace(
        known, segments=(replace(known.segments[0], close_ns=known.open_ns + 3600 * 10**9),)
    )
    run.follows = lambda day: early
    run.tick(at("10:00", "2024-07-02"), "A", 100)

    run.until(at("10:45", "2024-07-02"))

    assert run.seen[-1] == ("10:30:02", "POST_MARKET")
    assert run.sessions("2024-07-02")["Noon"]["status"] == "SKIPPED"


def test_other_hours_for_the_day_under_way_are_told_and_not_taken() -> None:
    run = ByHand(config(day={"timeout_seconds": "1d"}), at("10:00")).until(at("10:10"))
    run.config |= {"calendar": {"early_closes": {"2024-07-01": "13:00"}}}
    told: list[str] = []
    listener = logger.add(told.append, level="WARNING", format="{message}")
    logger.enable("openbell")

    run.until(at("13:05"))
    logger.disable("openbell")
    logger.remove(listener)

    assert any("says 09:30–13:00 by now" in line for line in told)
    assert run.state == "ACTIVE"


@pytest.mark.parametrize(
    "calendar", [{"early_closes": {"2024-07-01": "13:00"}}, {"closures": ["2024-07-01"]}]
)
def test_rows_are_of_the_day_under_way_by_the_hours_that_it_began_with(calendar: Any) -> None:
    run = traded().until(at("10:10"))
    run.config |= {"calendar": calendar}

    run.tick(at("13:30"), "A", 50).until(at("13:31"))

    assert run.signals()[-1][0] == "XNYS:2024-07-01:Morning:A:LOW_BREAK:1"


def test_a_day_that_became_a_holiday_is_left_out_and_its_rows_are_on_no_day() -> None:
    run = ByHand(config(day={"timeout_seconds": "1d"}), at("15:00"))
    (known,) = open_calendar("XNYS", date(2024, 7, 3), date(2024, 7, 3)).days()
    run.follows = lambda day: known
    run.tick(at("10:00", "2024-07-02"), "A", 100).tick(at("10:00", "2024-07-03"), "A", 101)

    run.until(at("10:45", "2024-07-03"))

    assert run.run is not None
    assert run.run.feed is not None
    assert run.run.feed.account.on_no_day == 1
    assert run.today == date(2024, 7, 3)


def test_the_last_day_that_is_asked_for_ends_the_run() -> None:
    run = ByHand(config(feed={"end": "2024-07-01"}, day={"timeout_seconds": "1d"}), at("15:00"))

    run.until(at("09:31", "2024-07-02"))

    assert run.states()[-1] == "ENDED"
    assert run.sessions("2024-07-02") == {}


def test_nothing_is_waited_for_of_a_past_day_without_a_row() -> None:
    past = config(feed={"start": "2024-07-01"}, day={"auto_roll": False})

    run = ByHand(past, at("17:00")).until(at("17:10"))

    assert run.state == "ENDED"
    assert run.clock_state.alarms == ()


def test_a_last_day_that_became_a_holiday_is_not_begun() -> None:
    run = ByHand(config(feed={"end": "2024-07-02"}, day={"timeout_seconds": "1d"}), at("15:00"))
    run.follows = lambda day: None

    run.until(at("09:31", "2024-07-02"))

    assert run.states()[-1] == "ENDED"
    assert run.sessions("2024-07-02") == {}


def test_without_auto_roll_the_next_day_begins_with_the_next_start() -> None:
    by_hand = config(day={"auto_roll": False, "timeout_seconds": "1d"})
    run = ByHand(by_hand, at("15:00")).until(at("15:00", "2024-07-02"))
    assert run.state == "POST_MARKET"

    run.until(at("15:01", "2024-07-02"))

    assert (run.today, run.state) == (date(2024, 7, 2), "ACTIVE")


def test_days_that_follow_each_other_at_once_roll_at_midnight_with_rows_on_both_sides() -> None:
    day_long = config(
        exchange="24/7",
        sessions=[
            {"name": "Late", "start": "23:50", "end": "23:54"},
            {"name": "Early", "start": "00:00", "end": "00:04"},
        ],
    )
    run = ByHand(day_long, at("23:00", tz="UTC"))
    for n in range(60):
        run.tick(at("23:45", tz="UTC") + 30 * n, "A", 100 + n % 7)

    run.until(at("00:30", "2024-07-02", tz="UTC"))

    assert run.sessions("2024-07-01")["Late"]["symbols_data"]["A"]["tick_count"] == 10
    assert run.sessions("2024-07-02")["Early"]["symbols_data"]["A"]["tick_count"] == 10
    assert run.run is not None
    assert run.run.feed is not None
    assert run.run.feed.account.day_over == 0


def test_a_mark_that_no_rows_follow_crosses_nothing_before_its_time() -> None:
    run = traded()

    def end(of: ByHand) -> None:
        assert of.run is not None
        assert of.run.feed is not None
        of.run.feed.end_day(date(2024, 7, 1))

    run.do(at("12:05"), end).until(at("12:09:59"))
    assert run.sessions()["Noon"]["status"] == "ACTIVE"
    run.until(at("12:10:01"))

    assert run.sessions()["Noon"]["status"] == "COMPLETED"


def test_the_rows_of_the_day_after_a_day_with_rows_are_taken_too() -> None:
    run = ByHand(config(), at("15:50")).tick(at("15:59"), "A", 100)
    for n in range(6):
        run.tick(at("09:31", "2024-07-02") + 50 * n, "A", 90 + n)

    run.until(at("09:40", "2024-07-02"))

    assert run.sessions("2024-07-02")["Morning"]["symbols_data"]["A"]["tick_count"] == 5
    assert [of for of, _ in run.signals()] == ["XNYS:2024-07-02:Morning:A:HIGH_BREAK:1"]


def test_rows_of_a_day_that_has_closed_are_counted_and_not_used() -> None:
    run = ByHand(config(), at("15:50")).tick(at("15:59"), "A", 100)
    run.tick(at("16:00:03"), "A", 101, ts=at("15:59:59")).tick(at("16:10"), "B", 7, ts=at("15:59"))

    run.until(at("16:20"))

    assert run.run is not None
    assert run.run.feed is not None
    assert run.run.feed.account.day_over == 2
    assert run.run.feed.status()["durable_position"] == 3


def test_a_first_start_inside_a_day_takes_what_came_before_first_and_says_so() -> None:
    run = ByHand(config(), at("11:00"))
    for wall, price in (("09:31", 100), ("09:34:59", 101), ("09:36", 102), ("11:00:05", 99)):
        run.tick(max(at("11:00:01"), at(wall)), "A", price, ts=at(wall))

    run.until(at("11:00:10"))

    assert run.signals() == [
        ("XNYS:2024-07-01:Morning:A:HIGH_BREAK:1", True),
        ("XNYS:2024-07-01:Morning:A:LOW_BREAK:1", False),
    ]


def test_bars_that_have_not_ended_are_from_ahead_of_the_clock() -> None:
    of_bars = config(data={"kind": "bars"})
    run = ByHand(of_bars, at("09:00"))
    run.bar(at("09:31:00.5"), "A", at("09:30"), 100).bar(at("09:31:10"), "A", at("09:31"), 101)
    run.bar(at("09:35:01"), "A", at("09:34"), 103)

    run.until(at("09:36"))

    found = run.sessions()["Morning"]["symbols_data"]["A"]
    assert (found["tick_count"], found["high"]) == (2, 103)


def edited(when: str, day: str, **calendar: Any) -> ByHand:
    """A run whose configuration's calendar is written in another way from an instant on."""
    made = config(day={"timeout_seconds": "1d"})
    run = ByHand(made, at("12:00"))
    changes = at(when, day)
    run.read_again = lambda of: (
        made | ({"calendar": calendar} if of.clock.seconds >= changes else {})
    )
    return run


@pytest.mark.parametrize("killed", [None, "22:00"])
def test_a_day_that_waits_for_its_open_takes_the_hours_that_are_written_by_then(
    killed: str | None,
) -> None:
    run = edited("20:00", "2024-07-01", special_sessions={"2024-07-02": "10:00-11:00"})
    for n in range(6):
        run.tick(at("10:01", "2024-07-02") + 50 * n, "A", 90 + n)
    if killed is not None:
        run.kill(at(killed), at("09:00", "2024-07-02"))

    run.until(at("12:30", "2024-07-02"))

    of_second = [(when, what) for when, what in run.seen if when in ("10:00:00", "11:00:02")]
    assert ("10:00:00", "ACTIVE") in of_second
    assert ("11:00:02", "POST_MARKET") in of_second
    assert ("09:30:00", "ACTIVE") not in run.seen
    told = [entry for entry in run.audit("notice") if entry["kind"] == "calendar.changed"]
    assert [entry["trading_date"] for entry in told] == ["2024-07-02"]
    again = replay_day(config_from(run.config), run.store, date(2024, 7, 2))
    assert again.differs is None


def test_a_day_that_waits_and_is_a_closure_by_then_does_not_open() -> None:
    run = edited("20:00", "2024-07-01", closures=["2024-07-02"])

    run.until(at("12:30", "2024-07-03"))

    opened = [entry["trading_date"] for entry in run.audit("day") if entry["to"] == "ACTIVE"]
    assert opened == ["2024-07-01", "2024-07-03"]


def test_a_change_of_the_day_under_way_is_told_and_applies_from_the_next() -> None:
    run = edited("14:00", "2024-07-01", early_closes={"2024-07-01": "15:00"})

    run.until(at("09:31", "2024-07-02"))

    assert ("16:00:02", "POST_MARKET") in run.seen
    told = [entry for entry in run.audit("notice") if entry["kind"] == "calendar.changed"]
    assert [entry["trading_date"] for entry in told] == ["2024-07-01"]
    assert "09:30–15:00" in told[0]["why"]


def test_a_host_that_stood_still_as_a_whole_has_what_came_meanwhile_waited_for() -> None:
    """The clocks of a virtual machine that is paused stand too; UTC is set forward when it goes on."""
    run, behind = traded(), list[float]()

    def paused(of: ByHand) -> None:
        assert of.run is not None
        assert of.run.feed is not None
        of.run.feed.fall_behind = lambda: behind.append(of.clock.seconds)  # type: ignore[method-assign]
        of.clock.set_ahead += 600

    def set_back(of: ByHand) -> None:
        of.clock.set_ahead -= 300

    run.do(at("11:00"), paused).do(at("11:30"), set_back).until(at("11:40"))

    assert [round(seconds - at("11:00")) <= 60 for seconds in behind] == [True]
    assert [entry["kind"] for entry in run.audit("clock")] == ["clock.forward", "clock.back"]
