"""Two days written by hand on which scans find symbols, and symbols come and go.

Each bug that is planted in what is kept of them shows there, whatever seeds draw: they are to be
gone through with a kill before each message.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cache
from itertools import chain, count
from typing import Any

from faults.days_by_hand import DAYS, RULES, WINDOWS, at, bar
from faults.drawn_faults import CALM, Faults
from faults.fed_days import Market, cases_of, configured
from faults.interventions import Ask, Interventions
from faults.left import Left, left_in
from faults.markets import Scenario
from faults.simulation import Process, World

from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.scans import Found, ScanView
from openbell.runtime.config import config_from

SYMBOLS = ("A", "B", "C", "D", "E")


def changes_by_hand() -> Interventions:
    """Two symbols are asked for at once; one that is there from the start is found by no scan, and
    one comes as a scan found it."""
    today, tomorrow = DAYS
    scanners = (
        {"name": "of one", "type": "drawn", "at": ["open+4m"], "then": "follow"},
        {"name": "another", "type": "drawn", "at": ["open+9m"], "then": "add"},
    )
    asks = (
        Ask(at(today, 3), True, ("B",), "first", through_store=False),
        Ask(at(today, 3), True, ("C",), "at once", through_store=False),
        Ask(at(today, 8), False, ("B",), "goes", through_store=True),
        Ask(at(tomorrow, 6), False, ("C",), "goes too", through_store=False),
    )
    return Interventions(("A", "D"), scanners, asks)


def scenario_by_hand() -> Scenario:
    """Every other minute each symbol goes beyond its levels."""
    market = Market(DAYS, MINUTE_NS, "bars", SYMBOLS)
    config = configured(market, WINDOWS, RULES, {}, {"feed": {"type": "replay", "speed": 0}})

    def rows(day: TradingDay) -> Iterator[Any]:
        for minute in range(14):
            for symbol in SYMBOLS:
                yield bar(day, minute, 99.0, 100.0 + minute % 2 * minute, symbol)

    cases = cases_of(market, WINDOWS, RULES, {}, config)
    cases = tuple(replace(case, rows=tuple(rows(case.day))) for case in cases)
    return Scenario(0, "by hand", cases, config, windowless=False)


class ScanByHand:
    """Never answers twice alike."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, int]] = Counter()
        """How often each was."""

    def __call__(self, view: ScanView) -> list[Found]:
        about = view.scan, view.at_ns
        self.asked[about] += 1
        name = "A" if view.scan == "of one" else "E"
        return [Found(name, float(self.asked[about]), "by hand")]


class ChangingProcess(Process):
    world: ChangingWorld

    def before_letter(self) -> None:
        world = self.world
        if world.lives == 1 and not world.over and world.letters == world.kill_at:
            self.life.kill()
        super().before_letter()


class ChangingWorld(World):
    """A run of the days by hand whose first process is killed before a message.

    Parameters
    ----------
    kill_at : int, optional
        How many messages come before that; None: it is not killed.
    damaged : bool
        Whether none of its snapshots can be read then; there is one at each commit.
    changes : bool
        Whether there are scans, and symbols that come and go; else all are watched throughout.
    """

    def __init__(
        self, kill_at: int | None = None, *, damaged: bool = False, changes: bool = True
    ) -> None:
        self.changes = changes
        super().__init__(0)
        self.kill_at, self.damages = kill_at, damaged
        # What the seed draws is none of these runs.
        self.random, self.looks = random.Random(0), random.Random(0)
        self.drawn = self.faults = Faults(slow_insert=1.0) if changes else CALM
        self.scan: Any = ScanByHand()
        self.safety_letters = 100_000
        self.later, self.order, self.delayed = 0.0, None, None
        self.whole_days, self.round_trips = not changes, False
        self.config = config_from(
            self.config,
            overrides={
                "snapshot.every": "1ms",
                "snapshot.keep": 5,
                "store.backlog": "64MiB",
            },
        )

    def scans(self, number: int) -> list[dict[str, Any]]:
        return []

    def scenario_of(self, number: int, without: Collection[str]) -> Scenario:
        return scenario_by_hand()

    def interventions_of(self, seed: int) -> Interventions:
        return changes_by_hand() if self.changes else Interventions()

    def undisturbed(self, without: frozenset[str]) -> Left:
        return left_without_changes()

    def process(self, **how: Any) -> Process:
        return ChangingProcess(self, **how)

    def live(self, *, rival: bool = False) -> bool:
        ended = super().live(rival=rival)
        if self.lives == 1 and self.damages:
            self.damaged |= {of.epoch for of in self.connected().epochs()}
        return ended


@cache
def left_without_changes() -> Left:
    world = ChangingWorld(changes=False)
    world.run()
    return left_in(world.connected(), world.days)


EARLY = (600, 300)
"""Messages before which a kill shows most."""


def killed_everywhere(apart: int = 1) -> Iterator[ChangingWorld]:
    """Runs that are killed before a message, each so many after the one before; the first is not."""
    yield ChangingWorld()
    for kill_at in chain(EARLY, count(0, apart)):
        for damaged in (False, True):
            world = ChangingWorld(kill_at, damaged=damaged)
            yield world
        if world.lives == 1:
            return  # it had come to its end by then
