"""Bugs planted one at a time, each of which the simulation finds within its default seeds.

A mutant that lives means that the net has a hole: draw the faults that would show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from faults import simulation
from faults.drawn_faults import Faults
from faults.simulation import World, check, simulate
from faults.test_simulation import ENOUGH

from openbell.actors import prefetch
from openbell.adapters.stores import Gap
from openbell.adapters.stores.columns import signal_rows
from openbell.adapters.stores.sqlite import SqliteStore
from openbell.messages.control import LoadTimedOut
from openbell.runtime.intake.loading import Loader
from openbell.runtime.lifetime import recovery, run
from openbell.runtime.record import ledger, writing


@pytest.fixture(autouse=True)
def _expected_anew() -> Iterator[None]:
    """What a mutant leaves without faults is its own: only faults may tell it from others."""
    simulation.undisturbed.cache_clear()
    yield
    simulation.undisturbed.cache_clear()


def first_failure() -> str:
    for seed in range(ENOUGH):
        try:
            simulate(seed)
        except AssertionError as error:
            return str(error)
    raise LookupError(f"no seed up to {ENOUGH} shows the planted bug")


def test_a_commit_that_is_executed_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def repeated(store: Any, db: Any, encoded: Any, head: Any) -> None:
        store._append(db, encoded.audit)

    monkeypatch.setattr(SqliteStore, "_check_repeated", repeated)
    # A commit without an answer is sent again, at any seed.
    world = World(0, Faults(unanswered=0.5))

    with pytest.raises(AssertionError, match="transitions"):
        check(world, ())
    assert world.happened["unanswered"]


@pytest.mark.slow
def test_a_commit_that_is_refused_when_repeated_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def repeated(store: Any, db: Any, encoded: Any, head: Any) -> None:
        raise Gap("not the next one")

    monkeypatch.setattr(SqliteStore, "_check_repeated", repeated)

    assert "not the next one" in first_failure()


@pytest.mark.slow
def test_a_store_without_a_fence_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteStore, "_check_fence", lambda store, db, fence: None)

    first_failure()


def test_a_snapshot_one_step_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The states of the step before stand for those of the step."""
    states = ledger.Ledger._states
    before: dict[int, Any] = {}

    def early(self: Any, settled: Any, commit: Any) -> Any:
        found = states(self, settled, commit)
        now = {name: cell.state for name, cell in self._cells.items()} | {"clock": settled.clock}
        earlier = before.get(id(self), now)
        before.clear()
        before[id(self)] = now
        return None if found is None else earlier

    monkeypatch.setattr(ledger.Ledger, "_states", early)

    first_failure()


def test_a_snapshot_one_step_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The states are taken when they are written, when the next step may have changed them."""
    snapshot = ledger.Ledger._snapshot

    def late(self: Any, done: Any) -> Any:
        now = {name: cell.state for name, cell in self._cells.items() if name != "clock"}
        return snapshot(self, replace(done, states={**done.states, **now}))

    monkeypatch.setattr(ledger.Ledger, "_snapshot", late)

    first_failure()


def test_signals_numbered_on_arrival_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    joined = writing.joined_batches
    started = run.DurableRun._ledger
    numbers = count(1)

    def anew(self: Any, restored: Any) -> Any:
        nonlocal numbers
        numbers = count(1)
        return started(self, restored)

    def numbered(batches: Any) -> Any:
        for batch in joined(batches):
            yield replace(signal_rows(batch), ids=[f"{next(numbers)}" for _ in range(len(batch))])

    monkeypatch.setattr(run.DurableRun, "_ledger", anew)
    monkeypatch.setattr(ledger, "joined_batches", numbered)
    # These know the ids that signals should have; faults alone are to tell.
    monkeypatch.setattr(simulation.World, "check_durable", lambda world, commit: None)
    monkeypatch.setattr(simulation, "check_replay", lambda world: None)

    assert "signals" in first_failure()


def test_a_batch_that_is_applied_twice_after_a_recovery_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restore = recovery.restore

    def again(engine: Any, plan: Any, restored: Any) -> Any:
        prepared = restore(engine, plan, restored)
        cell = engine.cells[prefetch.NAME]
        if cell.state.handed_out:
            cell.state = replace(cell.state, handed_out=cell.state.handed_out - 1)
        return prepared

    monkeypatch.setattr(recovery, "restore", again)

    first_failure()


@pytest.mark.slow
def test_rows_given_to_a_day_that_opened_without_them_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A bug that was there."""

    def with_rows(self: Any, day: Any) -> LoadTimedOut:
        return LoadTimedOut(date=day.date, data=self._read(day).data)

    monkeypatch.setattr(Loader, "timed_out", with_rows)

    first_failure()


@pytest.mark.slow
def test_rows_that_are_asked_for_although_the_journal_has_them_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Loader, "remember", lambda self, journaled: None)

    first_failure()
