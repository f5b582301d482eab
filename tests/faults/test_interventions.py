"""Bugs planted in what scans, and symbols that come and go, are kept by: each is found on days by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from faults import simulation
from faults.changes_by_hand import ChangingWorld, killed_everywhere, left_without_changes

from openbell.actors import breakout, clock
from openbell.errors import OpenbellError
from openbell.messages.scan import ScanResult
from openbell.messages.time import Grant
from openbell.runtime.lifetime import recovery
from openbell.runtime.record.ledger import Ledger

Plant = Callable[[pytest.MonkeyPatch], None]


def restored(patched: pytest.MonkeyPatch, mend: Callable[[Any, Any], Any]) -> None:
    """Have something go wrong with what a restart puts into the actors."""

    def wrong(engine: Any, plan: Any, found: Any) -> Any:
        return mend(engine, restore(engine, plan, found))

    restore = recovery.restore
    patched.setattr(recovery, "restore", wrong)


def scans_are_asked_again_after_a_kill(patched: pytest.MonkeyPatch) -> None:
    def without(engine: Any, prepared: Any) -> Any:
        grants = []
        for grant in prepared.grants:
            assert isinstance(grant, Grant)
            inputs = tuple(i for i in grant.inputs if not isinstance(i, ScanResult))
            grants.append(grant.model_copy(update={"inputs": inputs}))
        return prepared.model_copy(update={"grants": tuple(grants)})

    restored(patched, without)


def what_scans_found_is_lost_over_a_snapshot(patched: pytest.MonkeyPatch) -> None:
    def without(engine: Any, prepared: Any) -> Any:
        cell = engine.cells[breakout.NAME]
        cell.state = replace(cell.state, found=())
        return prepared

    restored(patched, without)


def levels_of_those_that_come_are_not_made(patched: pytest.MonkeyPatch) -> None:
    def without(settings: Any, state: Any, opened: Any, inserted: Any) -> Any:
        return widened(settings, replace(state, levels_added=()), opened, inserted)

    widened = breakout._widened
    patched.setattr(breakout, "_widened", without)


def the_end_of_one_releases_the_others(patched: pytest.MonkeyPatch) -> None:
    def all_of_them(state: Any, request: str, why: str) -> Any:
        return replace(answered(state, request, why), inserting=())

    answered = clock._answered
    patched.setattr(clock, "_answered", all_of_them)


def symbols_change_without_their_commit(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Ledger, "holds", lambda self, facts: None)


PLANTED = (
    scans_are_asked_again_after_a_kill,
    what_scans_found_is_lost_over_a_snapshot,
    levels_of_those_that_come_are_not_made,
    the_end_of_one_releases_the_others,
    symbols_change_without_their_commit,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    left_without_changes()  # kept, and without the bug
    plant(monkeypatch)

    assert any(is_found(world) for world in killed_everywhere(apart=100))


def is_found(world: ChangingWorld) -> bool:
    try:
        simulation.check(world, ())
    except (AssertionError, OpenbellError):
        return True
    return False


@pytest.mark.parametrize("damaged", [False, True])
def test_days_by_hand_go_as_they_have_to(damaged: bool) -> None:
    world = ChangingWorld(600, damaged=damaged)

    simulation.check(world, ())

    assert world.lives > 1
    assert {"two waited for their symbols", "a scan was run", "a symbol went"} <= world.reached


@pytest.mark.slow
def test_days_by_hand_go_as_they_have_to_wherever_their_process_is_killed() -> None:
    for world in killed_everywhere(apart=20):
        simulation.check(world, ())
