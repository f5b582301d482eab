"""Runs with drawn faults, a seed each, and single stories that the drawn ones must contain."""

from __future__ import annotations

import os

import pytest
from faults import simulation
from faults.simulation import CALM, Process, World, check_replay, left_in, undisturbed

from openbell.testing import Killed

SEEDS = int(os.environ.get("SEEDS", "500"))
BLOCK = 25
FIRSTS = range(0, SEEDS, BLOCK)


@pytest.mark.parametrize("first", FIRSTS)
def test_faults_change_nothing(first: int) -> None:
    for seed in range(first, min(first + BLOCK, SEEDS)):
        simulation.simulate(seed)


def test_a_seed_repeats_its_run() -> None:
    def letters_and_store(seed: int) -> tuple[int, object]:
        world = World(seed)
        world.run()
        left = left_in(world.connected(), None)
        return world.letters, (left.signals, left.documents, left.steps)

    assert letters_and_store(17) == letters_and_store(17)


def test_a_failing_seed_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "differing", lambda expected, found: "planted")

    with pytest.raises(AssertionError, match=r"planted\n.*simulation\.py --seed 4$"):
        simulation.simulate(4)


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


PACED = 10 * 21
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

    expected, found = undisturbed(PACED // 10), left_in(world.connected(), None)
    assert [name for name, _ in sorted(found.signals)] == [
        name for name, _ in sorted(expected.signals)
    ]
    assert found.signals
    check_replay(world)
