"""Runs with drawn faults, a seed each, and single stories that the drawn ones must contain."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest
from faults import simulation
from faults.activation import RARELY, expected_names, noted
from faults.drawn_faults import CALM, drawn_faults
from faults.left import differing, left_in
from faults.markets import scenario, size_of
from faults.simulation import SEEDS_A_SCENARIO, Process, World, check_replay, undisturbed

from openbell.testing import Fail, FailingStore, Fault, Killed

ENOUGH = 500
"""So many seeds, and those chosen of them, come to everything that they are to come to."""
SEEDS = int(os.environ.get("SEEDS", "0"))
"""How many are run; 0: those that are chosen."""
BLOCK = 10


def chosen() -> list[int]:
    """One seed of each scenario. Where rows that come late, or a source that is gone, are among its
    faults, which are rare, the next one of a small scenario too."""
    found = []
    for number in range(ENOUGH // SEEDS_A_SCENARIO):
        seeds = range(SEEDS_A_SCENARIO * number, SEEDS_A_SCENARIO * (number + 1))
        first, second = (seeds[(number + n) % SEEDS_A_SCENARIO] for n in (0, 1))
        rare = drawn_faults(random.Random(f"seed {second}"), second).at_the_door
        found += [first, second] if rare and size_of(number) == "small" else [first]
    return found


RUN = list(range(SEEDS)) or chosen()
BLOCKS = [RUN[start : start + BLOCK] for start in range(0, len(RUN), BLOCK)]


@pytest.fixture(scope="session")
def reached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each block of seeds says what it has come to, whichever process runs it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "reached"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.mark.parametrize("seeds", BLOCKS, ids=lambda seeds: f"{seeds[0]}-{seeds[-1]}")
def test_faults_change_nothing_and_all_of_them_happen(seeds: list[int], reached: Path) -> None:
    """The block that ends last looks whether all of them together came to everything."""
    names: set[str] = set()
    for seed in seeds:
        try:
            world = simulation.simulate(seed)
        except AssertionError as error:
            pytest.fail(simulation.smallest(seed, error))
        names |= {*world.happened, *world.reached}
    whole = reached / f"{seeds[0]}.json"
    aside = whole.with_suffix(".part")
    aside.write_text(json.dumps(sorted(names)))
    aside.rename(whole)

    blocks = list(reached.glob("*.json"))
    if len(blocks) == len(BLOCKS) and (not SEEDS or SEEDS >= ENOUGH):
        together = {name for block in blocks for name in json.loads(block.read_text())}
        missing = sorted(expected_names() - (frozenset() if SEEDS else RARELY) - together)
        assert not missing, f"none of {len(RUN)} seeds comes to: {', '.join(missing)}"


def test_a_seed_repeats_its_run() -> None:
    def letters_and_store(seed: int) -> tuple[int, object]:
        world = World(seed)
        world.run()
        left = left_in(world.connected(), None)
        return world.letters, (left.signals, left.documents, left.steps)

    assert letters_and_store(17) == letters_and_store(17)


def test_a_failing_seed_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "differing", lambda expected, found: "planted")
    seed = next(seed for seed in range(100) if not World(seed).interventions)

    with pytest.raises(AssertionError, match=rf"planted\n.*simulation\.py --seed {seed}$"):
        simulation.simulate(seed)


def test_what_is_noted_is_found_in_the_text_of_the_simulation() -> None:
    assert len(noted()) >= 30


def test_a_failing_seed_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: one symbol alone, on one day, under one fault."""
    seed = next(
        seed
        for seed in range(0, 500, SEEDS_A_SCENARIO)
        for world in [World(seed)]
        if len(world.scenario.symbols) > 1 and len(world.scenario.cases) > 1
        if "fault:corrupt" in world.parts
    )
    world = World(seed)
    day, symbol = world.scenario.cases[-1].day.date, world.scenario.symbols[0]

    def check(world: World, without: object) -> None:
        dates = [case.day.date for case in world.scenario.cases]
        is_there = day in dates and symbol in world.scenario.symbols
        if is_there and world.drawn.corrupt:
            raise AssertionError("planted")

    monkeypatch.setattr(simulation, "check", check)
    with pytest.raises(AssertionError) as found:
        simulation.simulate(seed)

    said = simulation.smallest(seed, found.value)

    assert said.startswith(f"seed {seed}: planted\n  see it again: ")
    assert f"--seed {seed} --without" in said
    assert said.endswith("what is left of it: fault:corrupt")


@pytest.mark.parametrize("executed", [False, True])
@pytest.mark.parametrize("whole_days", [False, True])
def test_a_kill_at_every_call_of_recovery_again_and_again_changes_nothing(
    executed: bool, whole_days: bool
) -> None:
    """Each process is killed one call later than the one before, until one has recovered."""

    class OnlyBegun(Process):
        """Killed before a message, and then in its n-th call of the store."""

        call = 10**9
        message = 10**9
        fell = False
        """Whether it was killed in that call."""

        def __init__(self, world: World) -> None:
            self.calls = self.messages = 0
            super().__init__(world)
            handle = cast(FailingStore, self._store)
            handle._faults = self.fault

        def before_letter(self) -> None:
            self.messages += 1
            if self.messages == self.message:
                self.life.kill()
            super().before_letter()

        def fault(self, operation: str) -> Fault | None:
            self.calls += 1
            if self.life.recovering and self.calls == self.call:
                self.life.dead = type(self).fell = True
                return Fail(Killed(), executed)
            return self.life.fault(operation)

    world = World(PACED, CALM)
    world.whole_days = whole_days
    killed = 0
    for message in (120, 400):
        first = type("First", (OnlyBegun,), {"message": message})
        with pytest.raises(Killed):
            first(world).run()
        for call in count(1):
            next_one: Any = type("Next", (OnlyBegun,), {"call": call, "message": message})
            with suppress(Killed):
                next_one(world).run()
            if not next_one.fell:
                break
            killed += 1

    assert world.live()

    assert killed > 20
    left = left_in(world.connected(), world.days if whole_days else None)
    assert differing(undisturbed(NUMBER), left) is None


# One door


class Told(Process):
    """A paced run in which a test says what comes from outside, and when."""

    late_dates = 0
    """How many days are not read in time."""
    deliver_at = 10**9
    """The letter before which late rows come."""
    pause_at = 10**9
    kill_at = 10**9

    def before_letter(self) -> None:
        self.world.letters += 1
        letter = self.world.letters
        if letter == self.kill_at:
            self.life.kill()
        if letter == self.pause_at:
            self.engine.pause("operator")
            self.paused = True
        if letter >= self.deliver_at:
            self.deliver_late()
        self.commit_waiting()

    def idle(self) -> None:
        if self.paused:
            self._resume()
        elif not (self.commit_waiting() or self.wake()):
            self.deliver_late()

    def is_late(self, date: object) -> bool:
        type(self).late_dates -= 1
        return type(self).late_dates >= 0


NUMBER = next(
    number
    for number in range(100)
    for of in [scenario(number)]
    if of.paced and len(of.cases) == 2 and all(len(case.rows) > 20 for case in of.cases)
    if of.config["symbols"] == "all" and not of.windowless
)
PACED = SEEDS_A_SCENARIO * NUMBER
"""A seed whose scenario is paced, with rows on both days."""


def told(world: World, **how: int) -> bool:
    kind = type("Told", (Told,), how)
    try:
        kind(world).run()
    except Killed:
        world.letters = 0
        return False
    return True


@pytest.mark.parametrize("kill_at", [60, 100, 150, 220, 300, 500])
@pytest.mark.parametrize("deliver_at", [90, 200, 10**9])
def test_what_falls_differently_the_second_time_changes_no_answer(
    kill_at: int, deliver_at: int
) -> None:
    """The first process opens the day without rows, is paused, and killed; the second one's source
    is in time, its operator does nothing, and its rows come when they come."""
    world = World(PACED, CALM)
    told(world, late_dates=1, deliver_at=deliver_at, pause_at=50, kill_at=kill_at)
    begun = left_in(world.connected(), None)

    assert told(world)

    found = left_in(world.connected(), None)
    assert found.steps[: len(begun.steps)] == begun.steps
    assert found.signals[: len(begun.signals)] == begun.signals
    check_replay(world)


def test_a_process_killed_before_late_rows_came_leaves_them_to_the_next() -> None:
    world = World(PACED, CALM)
    assert not told(world, late_dates=1, kill_at=150)

    assert told(world)

    expected, found = undisturbed(NUMBER), left_in(world.connected(), None)
    assert [name for name, _ in sorted(found.signals)] == [
        name for name, _ in sorted(expected.signals)
    ]
    assert found.signals
    check_replay(world)
