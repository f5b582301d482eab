"""Runs by the host's clock, under drawn faults and jumps, and bugs planted in them."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import marks, timers
from faults.days_by_hand import HandWall
from faults.test_recorded_days import a_mark_is_missing

from openbell.actors import clock, day, listening
from openbell.actors.states import changed
from openbell.errors import OpenbellError
from openbell.hosttime import HostClock
from openbell.market import silence, watermark
from openbell.market.days import EPOCH, MarketTime
from openbell.messages.control import Roll, Woke
from openbell.messages.session import DayOpened
from openbell.runtime.engine import Engine
from openbell.runtime.kernel.timekeeping import WallKeeper

FEW = (5, 15, 35, 77)
"""Seeds of scenarios that are each of another kind."""
ENOUGH = 250
"""So many seeds come to everything that they are to come to."""
SEEDS = max(ENOUGH, int(os.environ.get("SEEDS", "0")))
BLOCK = 25
BLOCKS = [range(start, min(start + BLOCK, SEEDS)) for start in range(0, SEEDS, BLOCK)]


def names_noted() -> set[str]:
    """Names that stand in calls of `sometimes` as they are."""
    found: set[str] = set()
    for module in (timers, marks):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        calls = (n for n in ast.walk(tree) if isinstance(n, ast.Call) and len(n.args) == 2)
        found |= {
            str(call.args[1].value)
            for call in calls
            if getattr(call.func, "attr", "") == "sometimes"
            and isinstance(call.args[1], ast.Constant)
        }
    return found


ACTS = ("jump", "suspend", "kill", "pause", "reconnect", "gap", "halt", "hours", "record")
STATES = ("NOT_STARTED", "PRE_MARKET", "ACTIVE", "TIMEOUT", "POST_MARKET", "ENDED")
TOLD = ("clock.back", "clock.forward", "feed.silent", "calendar.changed")
EXPECTED = {
    *names_noted(),
    *(f"act {name}" for name in ACTS),
    *(f"day {name}" for name in STATES),
    *(f"told {name}" for name in TOLD),
}


@pytest.mark.parametrize("seed", FEW)
def test_days_by_the_hosts_clock_are_answered_as_the_reference_does(seed: int) -> None:
    timers.simulate(seed)


@pytest.fixture(scope="session")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each block of seeds says what it has come to, whichever process runs it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reached-by-timers"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("seeds", BLOCKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_many_seeds_are_answered_and_come_to_everything(seeds: range, reached: Path) -> None:
    """The block that ends last looks whether all of them together came to everything."""
    names: set[str] = set()
    for seed in seeds:
        names |= timers.simulate(seed).reached
    whole = reached / f"{seeds[0]}.json"
    aside = whole.with_suffix(".part")
    aside.write_text(json.dumps(sorted(names)))
    aside.rename(whole)

    blocks = list(reached.glob("*.json"))
    if len(blocks) == len(BLOCKS):
        together = {name for block in blocks for name in json.loads(block.read_text())}
        missing = sorted(EXPECTED - together)
        assert not missing, f"none of {SEEDS} seeds comes to: {', '.join(missing)}"


def test_a_failing_seed_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def planted(world: Any) -> None:
        raise AssertionError("planted")

    monkeypatch.setattr(timers, "check", planted)

    with pytest.raises(AssertionError, match=r"planted.*\n.*timers\.py --seed 4$"):
        timers.simulate(4)


# Bugs planted one at a time

Plant = Callable[[pytest.MonkeyPatch], None]


def a_timer_is_not_set_again_after_a_resume(patched: pytest.MonkeyPatch) -> None:
    pause = Engine.pause

    def disarming(self: Any, token: str) -> None:
        pause(self, token)
        if self.timekeeper is not None:
            self.timekeeper.wake_at(EPOCH, 0)

    patched.setattr(Engine, "pause", disarming)


def a_boundary_is_crossed_twice_after_a_jump_back(patched: pytest.MonkeyPatch) -> None:
    """Time goes back with the host's clock, and what lies after it is to come once more."""
    update, left = clock.update, WallKeeper.left
    crossed: dict[Any, tuple[MarketTime, ...]] = {}

    def back(settings: Any, state: Any, message: Any) -> Any:
        if isinstance(message, DayOpened):
            crossed[message.day.date] = message.boundaries
        if isinstance(message, Woke) and message.at_ns < state.awake_ns and state.agenda:
            all_of_them = crossed.get(state.day.date, state.agenda)
            agenda = tuple(at for at in all_of_them if at > message.at_ns)
            state = changed(state, agenda=agenda, awake_ns=message.at_ns)
        return update(settings, state, message)

    def woken(self: Any) -> Any:
        if self._host.jumped_ns() < 0:
            self._deliver(Woke(at_ns=self._host()))
        return left(self)

    patched.setattr(HostClock, "__call__", lambda self: self._utc_ns())
    patched.setattr(WallKeeper, "left", woken)
    patched.setattr(clock, "update", back)


def a_timeout_holds_boundaries(patched: pytest.MonkeyPatch) -> None:
    state_of, by_timer = day._state, watermark.by_timer
    silent = [False]

    def noted(state: Any, after: Any, *more: Any) -> Any:
        silent[0] = after == "TIMEOUT"
        return state_of(state, after, *more)

    patched.setattr(day, "_state", noted)
    patched.setattr(
        clock, "by_timer", lambda *given, **how: 0 if silent[0] else by_timer(*given, **how)
    )


def silence_goes_by_frames(patched: pytest.MonkeyPatch) -> None:
    """Whatever comes ends it, newer or not."""
    heard = silence.heard

    def any_frame(of: Any, rules: Any, today: Any, code: Any, ts: Any, host_ns: Any) -> Any:
        return heard(of, rules, today, code, np.full_like(ts, host_ns), host_ns)

    patched.setattr(listening, "heard", any_frame)


def a_roll_goes_by_yesterdays_calendar(patched: pytest.MonkeyPatch) -> None:
    roll = Engine._roll

    def known(self: Any, after: Any) -> Any:
        roll(self, after)
        return Roll(day=next((of for of in self._plan.days if of.date > after), None))

    patched.setattr(Engine, "_roll", known)


PLANTED = (
    a_timer_is_not_set_again_after_a_resume,
    a_boundary_is_crossed_twice_after_a_jump_back,
    a_timeout_holds_boundaries,
    a_mark_is_missing,
    silence_goes_by_frames,
    a_roll_goes_by_yesterdays_calendar,
)


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_a_planted_bug_is_found(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world = HandWall(tmp_path)
    plant(monkeypatch)

    with pytest.raises((AssertionError, OpenbellError)):
        timers.check(world)


def test_days_by_hand_are_answered_as_the_reference_does(tmp_path: Path) -> None:
    world = HandWall(tmp_path)

    timers.check(world)

    assert {"day TIMEOUT", "told clock.back", "act pause", "act hours"} <= world.reached
