"""`openbell.testing`: what it documents, and what its faults do."""

from __future__ import annotations

import re
import runpy
import sqlite3
from datetime import date
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from openbell.actors.effects import Settled
from openbell.adapters.sources import open_source
from openbell.adapters.stores import Unavailable, open_store
from openbell.errors import DayFailed, InputError, LeaseLost, RunError, StoreError
from openbell.market.days import MarketTime
from openbell.messages.control import Woke
from openbell.messages.time import Grant
from openbell.runtime.kernel.cells import ActorFailed
from openbell.runtime.results.signals import Signal
from openbell.testing import (
    END_DAY,
    KILL,
    LATE,
    Damage,
    Fail,
    FailingSource,
    FailingStore,
    HandClock,
    LoseLease,
    Rehearsal,
    bar,
    in_turn,
    kills,
    rehearse,
)
from openbell.testing.inline import round_trip

DOCUMENT = Path(__file__).parents[1] / "docs/testing.md"
CONFIG: dict[str, Any] = {
    "exchange": "XNYS",
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
    "clock": {"step": "bar"},
}
OPEN_NS, MINUTE_NS = 1_719_840_600_000_000_000, 60_000_000_000


def day_of_rows() -> pa.Table:
    minutes = range(60)
    prices = [100.0 + i % 7 + i / 10 for i in minutes]
    return pa.table(
        {
            "symbol": ["A"] * len(minutes),
            "ts": pa.array([OPEN_NS + MINUTE_NS * i for i in minutes], pa.timestamp("ns", "UTC")),
            **dict.fromkeys(("open", "high", "low", "close"), prices),
            "volume": [1.0] * len(minutes),
        }
    )


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return day_of_rows()


@pytest.fixture(scope="module")
def expected(rows: pa.Table) -> list[Signal]:
    rehearsal = Rehearsal(CONFIG, rows)
    rehearsal.run()
    assert rehearsal.signals()
    return rehearsal.signals()


def test_the_document_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)

    program = tmp_path / "document.py"
    program.write_text("\n".join(blocks))
    runpy.run_path(str(program))

    assert len(blocks) == 6


def test_restarts_at_messages_of_all_kinds_change_nothing(
    rows: pa.Table, expected: list[Signal]
) -> None:
    def before(rehearsal: Rehearsal) -> None:
        # 1501, 1502, … messages after the last one, so that each kind of message is hit.
        if rehearsal.messages >= next_at[0]:
            next_at[0] += 1501 + rehearsal.restarts
            rehearsal.restart()

    next_at = [10]
    rehearsal = Rehearsal(CONFIG, rows)
    rehearsal.run(before=before)

    assert rehearsal.restarts > 2
    assert rehearsal.signals() == expected
    assert sum(entry["what"] == "restored" for entry in rehearsal.audit()) > 0


def test_a_seed_draws_another_order_and_changes_nothing(
    rows: pa.Table, expected: list[Signal]
) -> None:
    rehearsal = Rehearsal(CONFIG, rows, seed=3)
    rehearsal.run()

    assert rehearsal.signals() == expected


def test_a_pause_holds_a_paced_run_until_it_is_resumed(rows: pa.Table) -> None:
    def idle(rehearsal: Rehearsal) -> None:
        clock.advance(1.0)
        if clock.seconds == 10.0:
            rehearsal.pause()
        if clock.seconds == 1000.0:
            rehearsal.resume()

    clock = HandClock()
    rehearsal = Rehearsal({**CONFIG, "feed": {"speed": 60}}, rows, clock=clock)
    rehearsal.run(idle=idle)

    assert clock.seconds == pytest.approx(390 + 990, abs=2)


def test_a_state_that_can_not_be_written_is_named() -> None:
    settled = Settled(Grant(step=3, from_ns=MarketTime(0), until_ns=MarketTime(0)), None)

    with pytest.raises(RunError, match="scanner: its state can't be written, set is no part"):
        round_trip({"scanner": SimpleNamespace(kept=({1, 2},))}, settled)


def test_a_lost_lease_ends_the_run(rows: pa.Table) -> None:
    store = FailingStore(
        open_store("memory://", "lost"), in_turn({"commit": [None, None, LoseLease()]})
    )

    with pytest.raises(LeaseLost):
        Rehearsal(CONFIG, rows, store=store).run()

    assert store.store.head().commit == 2


def test_after_damage_the_snapshot_before_is_taken(rows: pa.Table, expected: list[Signal]) -> None:
    store = FailingStore(open_store("memory://", "damaged"), in_turn({"epochs": [Damage()]}))
    rehearsal = Rehearsal(CONFIG, rows, store=store)
    rehearsal.run(before=lambda r: r.restart() if r.messages == 1500 else None)

    (restored,) = (entry for entry in rehearsal.audit() if entry["what"] == "restored")
    assert store.damaged
    assert restored["epoch"] < min(store.damaged)
    assert rehearsal.signals() == expected


def test_a_store_that_does_not_answer_when_old_days_are_dropped_ends_nothing(
    rows: pa.Table, expected: list[Signal]
) -> None:
    faults = in_turn({"prune": [Fail(Unavailable("no answer"))]})
    store = FailingStore(open_store("memory://", "pruned"), faults)
    rehearsal = Rehearsal(CONFIG, rows, store=store)
    rehearsal.run()

    assert rehearsal.signals() == expected
    assert rehearsal.sessions()[0]["status"] == "COMPLETED"


@pytest.mark.parametrize(
    ("operation", "executed"),
    [
        *((name, False) for name in ("head", "commands", "epochs", "states", "steps")),
        ("append_audit", False),
        ("append_audit", True),
    ],
)
def test_a_store_that_does_not_answer_for_a_moment_ends_nothing(
    operation: str, executed: bool, rows: pa.Table, expected: list[Signal]
) -> None:
    away = Fail(Unavailable("no answer"), executed=executed)
    calls, began = iter(range(10**9)), False

    def faults(called: str) -> Fail | None:
        return away if called == operation and began and next(calls) % 3 < 2 else None

    store = FailingStore(open_store("memory://", operation), faults)
    rehearsal = Rehearsal(CONFIG, rows, store=store)

    def before(rehearsal: Rehearsal) -> None:
        nonlocal began
        if rehearsal.messages == 700:
            began = True  # who begins without a store is told so at once
            raise ActorFailed("breakout", 9, Woke(at_ns=MarketTime(0)))

    rehearsal.run(before)

    assert next(calls) > 2
    assert rehearsal.signals() == expected
    told = [entry["what"] for entry in rehearsal.audit()]
    assert (told.count("restart"), told.count("restored")) == (1, 1)


def test_a_store_that_refuses_ends_the_process(rows: pa.Table) -> None:
    faults = in_turn({"commands": [Fail(StoreError("the disk is full"))]})
    rehearsal = Rehearsal(CONFIG, rows, store=FailingStore(open_store("memory://", "x"), faults))

    with pytest.raises(StoreError, match="the disk is full"):
        rehearsal.run()


def test_a_source_that_never_answers_ends_in_error(rows: pa.Table) -> None:
    clock = HandClock()
    source = FailingSource(open_source(rows), clock=clock, seconds=1.0)
    rehearsal = Rehearsal(CONFIG, source)
    failing = iter(range(10**9))

    def before(rehearsal: Rehearsal) -> None:
        if next(failing) == 0:
            source.failures = 10**9

    with pytest.raises(DayFailed, match="the source does not answer"):
        rehearsal.run(before=before)

    assert clock.seconds == source.reads


def test_what_is_asked_of_a_rehearsal_that_has_not_begun_is_an_error(rows: pa.Table) -> None:
    with pytest.raises(RunError, match="not begun"):
        Rehearsal(CONFIG, rows).pause()


# Stories


def minutes(*closes: float, symbol: str = "A") -> list[Any]:
    return [bar(f"09:{30 + i}", close, symbol=symbol) for i, close in enumerate(closes)]


SHORT: dict[str, Any] = {
    **CONFIG,
    "calendar": {"special_sessions": {f"2024-07-0{n}": "09:30-09:42" for n in range(1, 6)}},
}
"""A day of twelve minutes: each minute is a step."""
DAY: list[Any] = [*minutes(100, 101, 99, 100, 100), bar("09:36", 102), bar("09:37", 98)]


@pytest.fixture(scope="module")
def told() -> Rehearsal:
    return rehearse([*DAY, END_DAY, *minutes(100, 101, 99, 100, 100), bar("09:36", 102)], SHORT)


def test_a_story_is_run_day_by_day(told: Rehearsal) -> None:
    assert [(str(signal.trading_date), signal.side) for signal in told.signals()] == [
        ("2024-07-01", "HIGH_BREAK"),
        ("2024-07-01", "LOW_BREAK"),
        ("2024-07-02", "HIGH_BREAK"),
    ]
    assert [document["status"] for document in told.sessions()] == ["COMPLETED"] * 2


def test_a_story_begins_with_a_trading_day() -> None:
    over_a_holiday = rehearse([*DAY, END_DAY, *DAY], SHORT, start=date(2024, 7, 7))

    assert [of["trading_date"] for of in over_a_holiday.sessions()] == ["2024-07-08", "2024-07-09"]


@pytest.fixture(scope="module")
def calm() -> Rehearsal:
    return rehearse(DAY, SHORT)


@pytest.mark.parametrize("place", range(len(DAY) + 1))
def test_a_kill_in_a_story_changes_nothing_wherever_it_stands(place: int, calm: Rehearsal) -> None:
    killed = rehearse([*DAY[:place], KILL, KILL, *DAY[place:]], SHORT)

    assert killed.restarts == 2
    assert killed.signals() == calm.signals()
    assert killed.sessions() == calm.sessions()


def test_a_late_bar_has_its_place_in_time(calm: Rehearsal) -> None:
    late = rehearse([*DAY[:3], DAY[4], LATE(DAY[3]), *DAY[5:]], SHORT)

    assert late.signals() == calm.signals()


@pytest.mark.parametrize(
    ("story", "said"),
    [
        ([], "the story has no bar"),
        ([KILL, END_DAY], "the story has no bar"),
        ([*DAY, DAY[0]], r"story\[7\], 09:30 of A on 2024-07-01: a later bar .* write LATE"),
        ([*DAY, LATE(bar("09:40", 100))], r"story\[7\], 09:40 .* write it without LATE"),
    ],
)
def test_a_story_that_can_not_be_told_says_where(story: list[Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        rehearse(story)


def test_a_story_takes_a_configuration() -> None:
    config = {
        "exchange": "XNSE",
        "sessions": [{"name": "Morning", "start": "09:15", "end": "09:16"}],
    }
    story: list[Any] = [bar("09:15", 100.0, symbol="NIFTY", high=101.0, low=99.0), KILL]

    (signal,) = rehearse([*story, bar("09:18", 101.5, symbol="NIFTY")], config).signals()

    assert (signal.symbol, signal.level, signal.price) == ("NIFTY", 101.0, 101.5)


# Consumers


def test_signals_of_a_rehearsal_go_on_after_a_cursor(told: Rehearsal) -> None:
    first, second, third = told.signals()

    assert told.signals(after=first.cursor) == [second, third]
    assert told.signals(after=third.cursor) == []
    with pytest.raises(ValueError, match="cursor"):
        told.signals(after="nowhere")


def keeps_its_cursor_with_its_act(source: Rehearsal, db: sqlite3.Connection) -> None:
    ((cursor,),) = db.execute("SELECT max(cursor) FROM cursors")
    for signal in source.signals(after=cursor):
        with db:
            db.execute("INSERT INTO acts VALUES (?)", (signal.id,))
            db.execute("DELETE FROM cursors")
            db.execute("INSERT INTO cursors VALUES (?)", (signal.cursor,))


def keeps_its_cursor_afterwards(source: Rehearsal, db: sqlite3.Connection) -> None:
    ((cursor,),) = db.execute("SELECT max(cursor) FROM cursors")
    for signal in source.signals(after=cursor):
        with db:
            db.execute("INSERT INTO acts VALUES (?)", (signal.id,))
        with db:
            db.execute("DELETE FROM cursors")
            db.execute("INSERT INTO cursors VALUES (?)", (signal.cursor,))


def keeps_its_cursor_before(source: Rehearsal, db: sqlite3.Connection) -> None:
    ((cursor,),) = db.execute("SELECT max(cursor) FROM cursors")
    for signal in source.signals(after=cursor):
        with db:
            db.execute("DELETE FROM cursors")
            db.execute("INSERT INTO cursors VALUES (?)", (signal.cursor,))
        with db:
            db.execute("INSERT INTO acts VALUES (?)", (signal.id,))


def acts_of_each_kill(consumer: Any, source: Rehearsal) -> list[tuple[str | None, list[str]]]:
    found = []
    for kill in kills():
        db = sqlite3.connect(":memory:")
        db.executescript("CREATE TABLE acts (id TEXT); CREATE TABLE cursors (cursor TEXT)")
        kill.during(consumer, source, db)
        found.append((kill.place, [act for (act,) in db.execute("SELECT id FROM acts")]))
        db.close()
    return found


def test_a_consumer_that_keeps_its_cursor_with_its_act_stands_every_kill(told: Rehearsal) -> None:
    expected = [signal.id for signal in told.signals()]

    found = acts_of_each_kill(keeps_its_cursor_with_its_act, told)

    assert [acts for _, acts in found] == [expected] * len(found)
    *places, last = [place for place, _ in found]
    assert last is None
    assert len(set(places)) == 6  # each of its lines
    assert len(places) == 1 + 3 * 5 + 1 + 3  # and each `with` once more, as it is left


@pytest.mark.parametrize(
    ("consumer", "acts"), [(keeps_its_cursor_afterwards, 4), (keeps_its_cursor_before, 2)]
)
def test_a_consumer_that_does_not_is_found_out(consumer: Any, acts: int, told: Rehearsal) -> None:
    found = acts_of_each_kill(consumer, told)

    assert acts in {len(of) for _, of in found}


def test_a_consumer_may_be_an_object() -> None:
    class Bot:
        def __init__(self) -> None:
            self.calls = 0

        def __call__(self, most: int) -> None:
            self.calls += 1
            self.calls = min(self.calls, most)

    places = []
    for kill in kills():
        bot = Bot()
        kill.during(partial(bot, 5))
        places.append((kill.place is not None, bot.calls))

    assert places == [(True, 1), (True, 2), (False, 1)]


def test_a_consumer_without_python_code_is_refused() -> None:
    with pytest.raises(TypeError, match="is no function of Python"):
        next(kills()).during(print, "nothing")


def test_kills_that_nobody_uses_have_an_end() -> None:
    with pytest.raises(RuntimeError, match="call `during` of each kill"):
        list(kills())
