"""Bugs planted in what scans, and symbols that come and go, are kept by: the simulation finds each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from faults import simulation

from openbell.actors import breakout, clock
from openbell.messages.scan import ScanResult
from openbell.messages.time import Grant
from openbell.runtime.lifetime import recovery
from openbell.runtime.record.ledger import Ledger

Plant = Callable[[pytest.MonkeyPatch], None]

SEEDS = 400
"""So many are drawn from; those without scans and symbols that change are left out."""


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


@pytest.mark.slow
@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert any(is_found(seed) for seed in intervened())


def intervened() -> Iterator[int]:
    return (seed for seed in range(SEEDS) if simulation.World(seed).interventions)


def is_found(seed: int) -> bool:
    try:
        simulation.simulate(seed)
    except AssertionError:
        return True
    return False
