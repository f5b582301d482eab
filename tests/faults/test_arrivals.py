"""Runs that a feed brings rows to, under drawn faults, and bugs planted in them."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import arrivals
from faults.days_by_hand import HandWorld, RuledWorld, ScannedWorld, killed_everywhere

from openbell.actors import breakout, clock, prefetch
from openbell.errors import OpenbellError
from openbell.market import breakouts
from openbell.market.conditions import Until, verdict
from openbell.market.days import MarketTime
from openbell.market.results import NO_TIME
from openbell.messages.control import Arrived, DayOver
from openbell.runtime.config import Config
from openbell.runtime.intake.handover import HandOver
from openbell.runtime.lifetime import recovery
from openbell.runtime.record import ledger

FEW = (0, 11, 35, 66)
"""Seeds of scenarios that are each of another kind."""
MANY = 200


def names_noted() -> set[str]:
    """Names that stand in calls of `sometimes` as they are."""
    tree = ast.parse(Path(arrivals.__file__).read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2)
    return {
        str(call.args[1].value)
        for call in calls
        if getattr(call.func, "attr", "") == "sometimes" and isinstance(call.args[1], ast.Constant)
    }


@pytest.mark.parametrize("seed", FEW)
def test_rows_that_come_under_faults_are_answered_as_the_reference_does(seed: int) -> None:
    arrivals.simulate(seed)


@pytest.mark.slow
def test_many_seeds_are_answered_as_the_reference_does_and_come_to_everything() -> None:
    reached: set[str] = set()

    for seed in range(MANY):
        reached |= arrivals.simulate(seed).reached

    assert len(names_noted()) >= 11
    assert names_noted() <= reached


# Bugs planted one at a time

Plant = Callable[[pytest.MonkeyPatch], None]


def boundaries_a_row_early(patched: pytest.MonkeyPatch) -> None:
    """The first row beyond one crosses it, and not the one that says that none is missing."""
    stepped = clock._stepped

    def early(settings: Any, state: Any, lag_ns: int, came: Any) -> Any:
        return stepped(settings, state, min(lag_ns, 1), came)

    patched.setattr(clock, "_stepped", early)


def late_rows_let_in_after_a_restart(patched: pytest.MonkeyPatch) -> None:
    """What has come is forgotten, and with it how late a row is."""

    def forgetting(engine: Any, plan: Any, restored: Any) -> Any:
        prepared = restore(engine, plan, restored)
        cell = engine.cells[prefetch.NAME]
        if cell.state.came is not None:
            came = replace(cell.state.came, known_ns=MarketTime(NO_TIME))
            cell.state = replace(cell.state, came=came)
        return prepared

    restore = recovery.restore
    patched.setattr(recovery, "restore", forgetting)
    patched.setattr(prefetch, "passed", lambda rows, lag, floor_ns: rows.known - lag)


def positions_before_the_step_of_their_rows(patched: pytest.MonkeyPatch) -> None:
    """The clock notes how far a feed has come when it hears it, not when it grants it."""

    def early(settings: Any, state: Any, message: Any) -> Any:
        if isinstance(message, Arrived | DayOver):
            position = max(state.position, message.position)
            state = replace(state, position=position, read_on=max(state.read_on, message.read_on))
        return update(settings, state, message)

    update = clock.update
    patched.setattr(clock, "update", early)


def days_ended_by_a_row_of_the_future(patched: pytest.MonkeyPatch) -> None:
    of_days = HandOver._of_days

    def moved(self: Any, rows: Any, place: Any, ahead: Any, had: int) -> Any:
        return of_days(self, rows, place, np.zeros_like(ahead), had)

    patched.setattr(HandOver, "_of_days", moved)


def journal_entries_without_their_step(patched: pytest.MonkeyPatch) -> None:
    """What came with the last step of a commit goes into the next one."""
    journal, held = ledger._journal, dict[int, Any]()

    def behind(taken: list[Any], keeps_results: bool) -> Any:
        before = held.pop(taken[0].step.number - 1, None)
        held[taken[-1].step.number] = taken[-1]
        mine = [*taken[:-1], replace(taken[-1], came=None)]
        late = [replace(before, journal=())] if before else []
        return journal([*late, *mine], keeps_results)

    patched.setattr(ledger, "_journal", behind)


def held_rows_lost_in_a_snapshot(patched: pytest.MonkeyPatch) -> None:
    def losing(engine: Any, plan: Any, restored: Any) -> Any:
        prepared = restore(engine, plan, restored)
        cell = engine.cells[prefetch.NAME]
        cell.state = replace(cell.state, waiting=None)
        return prepared

    restore = recovery.restore
    patched.setattr(recovery, "restore", losing)


def what_traded_is_lost_over_a_snapshot(patched: pytest.MonkeyPatch) -> None:
    def losing(engine: Any, plan: Any, restored: Any) -> Any:
        prepared = restore(engine, plan, restored)
        cell = engine.cells[breakout.NAME]
        cell.state = replace(cell.state, volumes=None)
        return prepared

    restore = recovery.restore
    patched.setattr(recovery, "restore", losing)


def rules_of_one_window_hold_for_none(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Config, "breakout_for", lambda self, session: self.breakout)


def breaks_count_until_the_close(patched: pytest.MonkeyPatch) -> None:
    patched.setattr(Until, "on", lambda self, day, end_ns: day.close_ns)


def no_window_is_too_narrow(patched: pytest.MonkeyPatch) -> None:
    asked = verdict

    def any_width(levels: Any, least: Any, most: Any, *more: Any, **how: Any) -> Any:
        return asked(levels, None, None, *more, **how)

    patched.setattr(breakouts, "verdict", any_width)


IN_RULES = (
    what_traded_is_lost_over_a_snapshot,
    rules_of_one_window_hold_for_none,
    breaks_count_until_the_close,
    no_window_is_too_narrow,
)


PLANTED = (
    boundaries_a_row_early,
    late_rows_let_in_after_a_restart,
    positions_before_the_step_of_their_rows,
    days_ended_by_a_row_of_the_future,
    journal_entries_without_their_step,
    held_rows_lost_in_a_snapshot,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)

    assert any(is_found(world) for world in killed_everywhere())


@pytest.mark.parametrize("plant", IN_RULES, ids=lambda plant: plant.__name__)
def test_a_bug_planted_in_rules_is_found(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    arrivals.check(RuledWorld())
    plant(monkeypatch)

    assert any(is_found(world) for world in killed_everywhere(RuledWorld))


def is_found(world: HandWorld) -> bool:
    try:
        arrivals.check(world)
    except (AssertionError, OpenbellError):
        return True
    return False


@pytest.mark.slow
def test_days_by_hand_are_answered_wherever_their_process_is_killed() -> None:
    for world in (*killed_everywhere(), *killed_everywhere(RuledWorld)):
        arrivals.check(world)


@pytest.mark.parametrize("kill_at", [0, 9])
def test_days_by_hand_are_answered_as_the_reference_does(kill_at: int) -> None:
    arrivals.check(HandWorld(kill_at))


def test_what_follows_a_break_of_before_a_scan_is_reported_where_that_was() -> None:
    world = ScannedWorld()

    arrivals.check(world)

    assert "a scan left signals out" in world.reached
    assert world.connected().head().signals == 0
