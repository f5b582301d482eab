"""`openbell.testing`: what it documents, and what its faults do."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from openbell.actors.effects import Settled
from openbell.adapters.sources import open_source
from openbell.adapters.stores import Unavailable, open_store
from openbell.errors import DayFailed, LeaseLost, RunError, StoreError
from openbell.market.days import MarketTime
from openbell.messages.control import Woke
from openbell.messages.time import Grant
from openbell.runtime.kernel.cells import ActorFailed
from openbell.testing import (
    Damage,
    Fail,
    FailingSource,
    FailingStore,
    HandClock,
    LoseLease,
    Rehearsal,
    in_turn,
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
def expected(rows: pa.Table) -> list[dict[str, Any]]:
    rehearsal = Rehearsal(CONFIG, rows)
    rehearsal.run()
    assert rehearsal.signals()
    return rehearsal.signals()


def test_the_document_runs_as_it_stands(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)

    program = tmp_path / "document.py"
    program.write_text("\n".join(blocks))
    runpy.run_path(str(program))

    assert len(blocks) == 4


def test_restarts_at_messages_of_all_kinds_change_nothing(
    rows: pa.Table, expected: list[dict[str, Any]]
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
    rows: pa.Table, expected: list[dict[str, Any]]
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
        round_trip({"scanner": SimpleNamespace(state=({1, 2},))}, settled)


def test_a_lost_lease_ends_the_run(rows: pa.Table) -> None:
    store = FailingStore(
        open_store("memory://", "lost"), in_turn({"commit": [None, None, LoseLease()]})
    )

    with pytest.raises(LeaseLost):
        Rehearsal(CONFIG, rows, store=store).run()

    assert store.store.head().commit == 2


def test_after_damage_the_snapshot_before_is_taken(
    rows: pa.Table, expected: list[dict[str, Any]]
) -> None:
    store = FailingStore(open_store("memory://", "damaged"), in_turn({"epochs": [Damage()]}))
    rehearsal = Rehearsal(CONFIG, rows, store=store)
    rehearsal.run(before=lambda r: r.restart() if r.messages == 1500 else None)

    (restored,) = (entry for entry in rehearsal.audit() if entry["what"] == "restored")
    assert store.damaged
    assert restored["epoch"] < min(store.damaged)
    assert rehearsal.signals() == expected


def test_a_store_that_does_not_answer_when_old_days_are_dropped_ends_nothing(
    rows: pa.Table, expected: list[dict[str, Any]]
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
    operation: str, executed: bool, rows: pa.Table, expected: list[dict[str, Any]]
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
