"""What waits between a feed and the clock."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import pytest
from strategies import locate

from openbell.adapters.feeds import Door, Feed, Rewind
from openbell.errors import LoginRefused
from openbell.market.bars import BAR_COLUMNS, RawRows
from openbell.market.days import (
    EPOCH,
    MINUTE_NS,
    SECOND_NS,
    MarketTime,
    Segment,
    TradingDay,
    row_spans,
)
from openbell.market.rules import RowRules
from openbell.messages.control import Arrived, DayOver
from openbell.runtime.intake.connection import Connection
from openbell.runtime.intake.handover import ByTheWall, HandOver
from openbell.testing.clocks import HandClock


def hours(of: date) -> TradingDay:
    opens = int(datetime.combine(of, time(9), UTC).timestamp()) * SECOND_NS
    return TradingDay(of, "UTC", (Segment(opens, opens + 60 * MINUTE_NS),))


DAYS = tuple(hours(date(2024, 7, n)) for n in (1, 2))


def ticks(*ts: int) -> RawRows:
    prices = np.full(len(ts), 10.0)
    code, times = np.zeros(len(ts), np.int32), np.array(ts, np.int64)
    return RawRows("ticks", ("A",), code, times, {"price": prices, "size": prices}, locate)


class Clock:
    """Takes what it is given, one after another, as a step would."""

    def __init__(self, host_ns: int) -> None:
        self.got: list[Any] = []
        self.feed = HandOver(
            symbols=("A",),
            days=DAYS,
            spans=row_spans(DAYS),
            interval_ns=None,
            ahead_max_ns=5 * SECOND_NS,
            now=lambda: host_ns / 1e9,  # type: ignore[arg-type, return-value]
        )
        self.feed.open(self.got.append)

    def open(self, position: int) -> None:
        """Another clock goes on behind a position, as when its actors have failed."""
        self.got.clear()
        self.feed.open(self.got.append, position)

    def all_taken(self) -> list[Any]:
        for entered in self.got:
            self.feed.taken(entered)
        return self.got


@pytest.mark.parametrize("together", [True, False])
def test_a_row_of_tomorrow_neither_ends_today_nor_keeps_its_rows_out(together: bool) -> None:
    today, tomorrow = (day.open_ns for day in DAYS)
    rows = [today + MINUTE_NS, tomorrow + MINUTE_NS, today + 2 * MINUTE_NS]
    clock = Clock(host_ns=today + 3 * MINUTE_NS)

    for part in [rows] if together else [[ts] for ts in rows]:
        clock.feed.take(ticks(*part))
    got = clock.all_taken()

    assert all(isinstance(entered, Arrived) for entered in got)
    assert np.concatenate([entered.rows.ts for entered in got]).tolist() == [rows[0], rows[2]]
    assert [(row.ts_ns, row.reason) for entered in got for row in entered.bad] == [
        (rows[1], "ts is ahead of this host's clock")
    ]
    assert clock.feed.account.day_over == 0
    assert clock.feed.position == 3


def test_a_row_of_the_next_day_ends_the_one_before_when_it_is_time() -> None:
    today, tomorrow = (day.open_ns for day in DAYS)
    clock = Clock(host_ns=tomorrow + MINUTE_NS)

    clock.feed.take(ticks(today + MINUTE_NS, tomorrow + MINUTE_NS, today + 2 * MINUTE_NS))
    kinds = [(type(entered), entered.date.day) for entered in clock.all_taken()]

    assert kinds == [(Arrived, 1), (DayOver, 1), (Arrived, 2)]
    assert clock.feed.account.day_over == 1


def test_what_was_not_durable_goes_again_however_often_the_clock_is_another_one() -> None:
    today, tomorrow = (day.open_ns for day in DAYS)
    clock = Clock(host_ns=tomorrow + MINUTE_NS)
    clock.feed.take(ticks(today + MINUTE_NS))
    clock.feed.end_day(DAYS[0].date)
    clock.feed.take(ticks(tomorrow + MINUTE_NS))
    clock.all_taken()

    for _ in range(3):
        clock.open(position=1)
    got = clock.all_taken()

    assert [(type(entered), entered.date.day) for entered in got] == [(DayOver, 1), (Arrived, 2)]


def test_rows_that_open_no_day_are_told_again_too() -> None:
    today, tomorrow = (day.open_ns for day in DAYS)
    clock = Clock(host_ns=tomorrow + MINUTE_NS)
    clock.feed.take(ticks(today - MINUTE_NS, today - 2 * MINUTE_NS))
    clock.feed.take(ticks(tomorrow + MINUTE_NS))
    clock.all_taken()

    clock.open(position=0)
    over, arrived = clock.all_taken()

    assert (over.outside_hours, over.position, arrived.position) == (2, 2, 3)


class Asked:
    """A feed that can be asked again, and delivers when a test does."""

    rewind: Rewind = "position"

    def run(self, door: Door, position: int, mark: str) -> None:
        return

    def close(self) -> None:
        return


def by_the_wall(clock: HandClock, feed: Feed | None) -> HandOver:
    handed = HandOver(
        symbols=("A",),
        days=DAYS,
        spans=row_spans(DAYS),
        interval_ns=None,
        feed=feed,
        by_the_wall=ByTheWall(clock.host(), 5 * SECOND_NS, 30 * SECOND_NS),
    )
    handed.open(lambda entered: None)
    return handed


def instant(clock: HandClock) -> MarketTime:
    return MarketTime(round(clock.seconds * SECOND_NS))


def test_a_feed_that_can_be_asked_again_is_waited_for_until_it_has_caught_up() -> None:
    clock = HandClock(DAYS[0].open_ns / SECOND_NS + 60)
    feed = by_the_wall(clock, Asked())
    feed.take(ticks(instant(clock)))  # a fresh row does not tell: there may be older ones behind it
    before = feed.complete_ns(instant(clock))

    feed.caught_up()

    assert before == EPOCH
    assert feed.complete_ns(instant(clock)) == instant(clock)


def test_after_a_stop_an_answer_from_before_it_does_not_tell_that_a_feed_has_caught_up() -> None:
    clock = HandClock(DAYS[0].open_ns / SECOND_NS + 60)
    feed = by_the_wall(clock, Asked())
    feed.caught_up()
    clock.advance(20)
    feed.fall_behind()

    feed.caught_up()
    stale = feed.complete_ns(instant(clock))
    feed.caught_up()

    assert stale == EPOCH
    assert feed.complete_ns(instant(clock)) == instant(clock)


def test_who_pushes_has_caught_up_with_a_fresh_row_or_when_nothing_comes_for_long() -> None:
    clock = HandClock(DAYS[0].open_ns / SECOND_NS + 60)
    fresh, silent = by_the_wall(clock, None), by_the_wall(clock, None)
    fresh.take(ticks(instant(clock) - 50 * SECOND_NS))
    old = fresh.complete_ns(instant(clock))
    fresh.take(ticks(instant(clock) - 2 * SECOND_NS))

    clock.advance(29)
    waited_for = silent.complete_ns(instant(clock))
    clock.advance(1)

    assert (old, waited_for) == (EPOCH, EPOCH)
    assert fresh.complete_ns(instant(clock)) == instant(clock) - 30 * SECOND_NS  # it waits its turn
    assert silent.complete_ns(instant(clock)) == instant(clock)


def test_a_connection_s_state_is_told_once_a_change_and_each_gap_by_itself() -> None:
    clock = Clock(host_ns=DAYS[0].open_ns)
    told: list[tuple[str, str | None, str | None]] = []

    def tell(kind: str, why: str, **more: Any) -> None:
        told.append((kind, more.get("before"), more.get("after")))

    clock.feed.connection = Connection("push", tell)
    before = clock.feed.status()

    clock.feed.said("connected", "to a server")
    clock.feed.said("connected", "to a server again")
    clock.feed.said("reconnecting", "it closed")
    clock.feed.gap(DAYS[0].open_ns, MarketTime(DAYS[0].open_ns + SECOND_NS), None, "it closed")
    status = clock.feed.status()

    assert "connection" not in before
    assert (status["connection"], status["connection_why"]) == ("reconnecting", "it closed")
    assert status["gaps"] == 1
    assert status["latest_gaps"] == [
        {
            "from_time": "2024-07-01T09:00:00Z",
            "until_time": "2024-07-01T09:00:01Z",
            "symbols": None,
            "why": "it closed",
        }
    ]
    assert told == [
        ("feed.connected", None, "connected"),
        ("feed.reconnecting", "connected", "reconnecting"),
        ("gap", None, None),
    ]


class Refused:
    """A feed whose login is refused until somebody renews it."""

    rewind: Rewind = "none"

    def __init__(self) -> None:
        self.runs = 0
        self.accepted = threading.Event()
        self.connected = threading.Event()

    def run(self, door: Door, position: int, mark: str) -> None:
        self.runs += 1
        if not self.accepted.is_set():
            raise LoginRefused("403 Forbidden")
        door.said("connected", "at last")
        self.connected.set()

    def close(self) -> None:
        return


def walled(
    clock: HandClock, feed: Feed | None = None, interval_ns: int | None = None, **more: Any
) -> HandOver:
    return HandOver(
        symbols=("A", "B"),
        days=DAYS,
        spans=row_spans(DAYS),
        interval_ns=interval_ns,
        ahead_max_ns=5 * SECOND_NS,
        feed=feed,
        by_the_wall=ByTheWall(clock.host(), SECOND_NS, 30 * SECOND_NS),
        **more,
    )


def test_a_feed_that_raises_that_its_login_is_refused_is_run_again_when_it_was_renewed() -> None:
    of = Refused()
    told: list[str] = []
    feed = walled(
        HandClock(DAYS[0].open_ns / 1e9), of, tell=lambda kind, why, **facts: told.append(kind)
    )
    feed.renew_with(lambda why: of.accepted.set())

    feed.open(lambda entered: None)
    assert of.connected.wait(120)
    feed.close()

    assert of.runs == 2
    assert feed.connection.state == "connected"
    assert told == ["feed.auth", "feed.renewed", "feed.connected"]


def test_a_feed_whose_login_is_refused_is_asked_for_nothing() -> None:
    asked: list[str] = []

    class Asked(Refused):
        def run(self, door: Door, position: int, mark: str) -> None:
            return

        def reconnect(self) -> None:
            asked.append("reconnect")

        def resubscribe(self, symbols: tuple[str, ...]) -> None:
            asked.append(f"resubscribe {','.join(symbols)}")

    feed = walled(HandClock(DAYS[0].open_ns / 1e9), Asked())
    feed.open(lambda entered: None)

    feed.ask("resubscribe", ("B",), "silence")
    feed.ask("resubscribe", (), "silence")
    feed.said("auth", "403")
    feed.ask("reconnect", (), "silence")
    feed.said("connected", "again")
    feed.ask("reconnect", (), "silence")
    feed.close()

    assert asked == ["resubscribe B", "resubscribe A,B", "reconnect"]


def test_what_a_feed_raises_when_it_is_asked_ends_nothing() -> None:
    class Broken(Refused):
        def run(self, door: Door, position: int, mark: str) -> None:
            return

        def reconnect(self) -> None:
            raise OSError("no socket")

    ended: list[Any] = []
    feed = walled(HandClock(DAYS[0].open_ns / 1e9), Broken())
    feed.open(ended.append)

    feed.ask("reconnect", (), "silence")
    feed.close()

    assert ended == []


def test_rows_of_a_clock_that_is_off_are_counted_and_not_listed_one_by_one() -> None:
    clock = HandClock(DAYS[0].open_ns / 1e9 + 60)
    told: list[str] = []
    got: list[Any] = []
    feed = walled(clock, tell=lambda kind, why, **facts: told.append(kind))
    feed.open(got.append)

    def taken() -> None:
        while got and feed._outstanding is not None:
            feed.taken(got[-1])

    for _ in range(1000):
        feed.take(ticks(round(clock.seconds * SECOND_NS) + 7 * SECOND_NS))
        clock.advance(0.1)
        taken()
    listed = sum(len(entered.bad) for entered in got)
    for _ in range(10):
        feed.take(ticks(round(clock.seconds * SECOND_NS)))
        clock.advance(0.1)
        taken()

    assert told == ["skew", "skew"]
    assert listed + feed.status()["ahead_of_clock"] == 1000
    assert listed < 20
    assert sum(len(entered.rows) for entered in got) == 10
    assert feed.status()["skewed"] is False


def test_symbols_that_a_vendor_refuses_are_told_by_name_once_each() -> None:
    told: list[tuple[str, Any]] = []
    feed = walled(
        HandClock(DAYS[0].open_ns / 1e9),
        tell=lambda kind, why, **facts: told.append((kind, facts["symbols"])),
    )

    for symbol in ("B", "A", "B"):
        feed.refuse("symbol refused", symbol, "not in your plan")

    assert told == [("symbol.refused", ("B",)), ("symbol.refused", ("A",))]
    assert feed.status()["refused_symbols"] == {"B": "not in your plan", "A": "not in your plan"}


@pytest.mark.parametrize(("ends", "warned"), [(time(9, 30), True), (time(6), False), (None, False)])
def test_a_login_that_ends_before_the_close_is_told_before_the_open(
    ends: time | None, warned: bool
) -> None:
    told: list[str] = []
    feed = walled(
        HandClock(DAYS[0].open_ns / 1e9 - 3600),  # at 8:00, after the one has ended
        tell=lambda kind, why, **facts: told.append(why),
        token_expires=ends,
    )
    feed.open(lambda entered: None)
    at_start = list(told)
    feed.follow(DAYS[0].date, DAYS[1])
    feed.close()

    assert [("ends at" in why) for why in at_start] == [True] * warned
    assert len(told) == (2 if warned else 1 if ends is not None else 0)


def test_bars_that_are_not_whole_and_so_not_used_tell_nothing_of_a_clock() -> None:
    """A vendor tells of a bar from its start on, again and again, and at last of the whole."""
    clock, told = HandClock(DAYS[0].open_ns / SECOND_NS), list[Any]()
    got: list[Any] = []
    feed = HandOver(
        symbols=("A",),
        days=DAYS,
        spans=row_spans(DAYS),
        interval_ns=MINUTE_NS,
        ahead_max_ns=SECOND_NS,
        by_the_wall=ByTheWall(clock.host(), SECOND_NS, 30 * SECOND_NS),
        rules=RowRules(drops_partial=True),
        tell=lambda *what, **more: told.append((what, more)),
    )
    feed.open(got.append)
    for minute in range(8):
        for second in (0, 20, 40, 60):
            ts = DAYS[0].open_ns + minute * MINUTE_NS
            bar = dict.fromkeys(BAR_COLUMNS, np.array([10.0]))
            bar["partial"] = np.array([float(second < 60)])
            feed.take(RawRows("bars", ("A",), np.zeros(1, np.int32), np.array([ts]), bar, locate))
            feed.taken(got[-1])
            if second < 60:
                clock.advance(20)

    assert sum(len(entered.rows) for entered in got) == 8
    assert [row for entered in got for row in entered.bad] == []
    assert sum(int(dict(of.counts.by_rule).get("partial", np.zeros(1))[0]) for of in got) == 24
    assert told == []
