"""Whole durable runs that a feed brings rows to, in any order, with faults drawn from a seed.

As in `simulation.py` process after process is started on one store, and each ends by a fault or at
the end. What differs: rows come piece by piece, held up, in disorder, doubled, with stamps of the
future and of days that are over; who brings them is silent at times, finds no room, or begins
further back. A process goes on where the one before says: at a position that is durable, or behind
a mark. What is left is compared with the reference, which takes one row after another and knows
nothing of steps, stores and processes.

    .venv/bin/python tests/faults/arrivals.py --seed 17
    .venv/bin/python tests/faults/arrivals.py --seeds 0 200
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.drawn_faults import Faults
from faults.fed_days import (
    UNWATCHED,
    FedDays,
    cases_of,
    check_scans,
    configured,
    drawn_market,
    drawn_rules,
    drawn_scans,
    drawn_windows,
    main,
    reported,
    scanned_in,
    with_drawn_conditions,
)
from faults.markets import drawn_rows, told_anew
from faults.simulation import Process, World, check_replay, written
from reference import ArrivedAnswer, Mark, Row, Signal, answer_as_arrived
from runs import Found, answer_of, expected_session
from strategies import Case

from openbell.actors import prefetch
from openbell.actors.effects import Commit
from openbell.errors import FeedFull, OpenbellError
from openbell.market.days import SECOND_NS, TradingDay
from openbell.messages.control import Arrived, DayOver, Halted, Missed
from openbell.messages.time import Grant
from openbell.runtime.config import Config
from openbell.runtime.intake.fed import RunRows
from openbell.runtime.intake.handover import HandOver
from openbell.runtime.intake.planning import Plan
from openbell.runtime.lifetime.recovery import Restored
from openbell.runtime.record.ledger import Ledger

Counted = Literal["rows", "bad_rows", "outside_hours"]
AHEAD_MAX_NS = 5 * SECOND_NS
DERIVED = (5, 15)

# What comes


@dataclass(frozen=True)
class Item:
    """A row that comes, or the mark that none of a day follow."""

    day: TradingDay
    """Under way when it comes."""
    row: Row | None
    counts: bool = True
    """Whether the day's answer depends on it."""
    ahead: bool = False
    """Whether it is stamped with a time that has not come yet."""


@dataclass(frozen=True)
class Fed(FedDays):
    """Days whose rows come one after another; each case has those that count."""

    items: tuple[Item, ...] = ()


@cache
def fed(number: int) -> Fed:
    rng = random.Random(f"fed {number}")
    market = drawn_market(rng, ("bars", "ticks"))
    days, interval_ns, kind, symbols = market
    empty = rng.randrange(len(days)) if rng.random() < 0.15 and len(days) > 1 else None
    came = [
        []
        if n == empty
        else held_up(rng, drawn_rows(rng, day, kind, interval_ns, symbols, absent=None))
        for n, day in enumerate(days)
    ]
    again = random.Random(f"revised fed {number}")
    amends = kind == "bars" and again.random() < 0.5
    if amends:
        came = [revised(again, rows) for rows in came]
    rules = drawn_rules(rng, f"followed fed {number}")
    companions = {}
    if len(symbols) > 1 and rng.random() < 0.6:
        companions = dict([rng.sample(symbols, 2)])
    windows = drawn_windows(rng, days[0], 5, ("both",))
    items = tuple(item for n in range(len(days)) for item in coming(rng, days, came, n))
    lateness_s = rng.choice((0, 2, 30, 90, 150))
    clock = {"clock": {"time": "feed", "lateness": f"{lateness_s}s"}}
    config = configured(market, windows, rules, companions, clock)
    config = with_drawn_conditions(config, market, f"fed {number}")
    if amends:
        config["feed"]["revisions"] = "amend"
    cases = cases_of(market, windows, rules, companions, config)
    return Fed(
        number,
        "fed",
        with_rows(cases, items),
        config,
        windowless=False,
        items=items,
        lateness_ns=lateness_s * SECOND_NS,
        amends=amends,
    )


def with_rows(cases: Sequence[Case], items: Sequence[Item]) -> tuple[Case, ...]:
    """Each case with those rows that its day's answer depends on."""
    return tuple(
        replace(case, rows=tuple(i.row for i in items if i.row and i.counts and i.day is case.day))
        for case in cases
    )


def held_up(rng: random.Random, rows: Sequence[Row]) -> list[Row]:
    """Time order, but for what each row is held up; some far, most a little."""
    far = rng.choice((0, 5, 60, 200, 600))
    due = [row[1] + rng.random() ** 2 * far * SECOND_NS for row in rows]
    return [rows[n] for n in sorted(range(len(rows)), key=due.__getitem__)]


def revised(rng: random.Random, rows: Sequence[Row]) -> list[Row]:
    """Some bars come again, soon or when much is over, mostly with other values."""
    found, share = list(rows), rng.choice((0.02, 0.1, 0.4))
    for row in rows:
        if rng.random() < share:
            at = (
                found.index(row)
                + 1
                + round(rng.random() ** 2 * (len(found) - found.index(row) - 1))
            )
            found.insert(at, row if rng.random() < 0.1 else told_anew(rng, row))
    return found


def coming(
    rng: random.Random, days: Sequence[TradingDay], came: Sequence[list[Row]], number: int
) -> list[Item]:
    """What comes while a day is under way, its own rows and others."""
    day = days[number]
    items = [Item(day, row) for row in came[number]]
    of_the_day = len(items)
    for _ in range(rng.randrange(3) if items else 0):
        row = rng.choice(came[number])
        items.insert(rng.randint(0, len(items)), Item(day, (UNWATCHED, *row[1:]), counts=False))
    inside = (n for n, i in enumerate(items) if i.counts and is_inside(day, i.row))
    begun = next(inside, None)
    if begun is not None and rng.random() < 0.4:  # stamped with tomorrow
        row = rng.choice(came[number])
        later = row[1] + days[-1].close_ns - days[0].open_ns if number == len(days) - 1 else 0
        ts = later or rng.choice(came[number + 1] or [row])[1]
        if ts >= day.close_ns + 2 * AHEAD_MAX_NS:
            at = rng.randint(begun + 1, len(items))
            items.insert(at, Item(day, (row[0], ts, *row[2:]), counts=False, ahead=True))
    if begun is not None and number and came[number - 1] and rng.random() < 0.4:
        row = rng.choice(came[number - 1])
        items.insert(rng.randint(begun + 1, len(items)), Item(day, row, counts=False))
    if number == len(days) - 1 or not of_the_day or rng.random() < 0.5:
        items.append(Item(day, None))
    return items


def is_inside(day: TradingDay, row: Row | None) -> bool:
    return row is not None and any(s.open_ns <= row[1] < s.close_ns for s in day.segments)


# Who brings it


@dataclass(frozen=True)
class Feeding:
    """How rows are brought; shares are of pieces."""

    marks: bool
    """Whether a process is told behind which mark to go on; else who pushes asks for a position."""
    haste: float
    """How often before a message something is brought."""
    piece_max: int
    rows_max: int
    """How many rows may wait."""
    again: float
    """Rows that were brought already are brought again."""
    silent: float
    """Nothing comes for a while."""


def drawn_feeding(rng: random.Random) -> Feeding:
    return Feeding(
        marks=rng.random() < 0.5,
        haste=rng.choice((0.02, 0.1, 0.5)),
        piece_max=rng.choice((1, 3, 10, 1000)),
        rows_max=rng.choice((1, 10, 100_000)),
        again=rng.choice((0.0, 0.1)),
        silent=rng.choice((0.0, 0.1)),
    )


class Door(HandOver):
    """Says from where its feed is to bring rows, instead of having a thread bring them."""

    asked: tuple[int, str] | None = None
    """The place behind which the run goes on, and its mark."""

    def open(
        self,
        say: Callable[[Arrived | DayOver | Halted | Missed | OpenbellError], None],
        position: int = 0,
        begun: date | None = None,
        over: date | None = None,
        read_on: tuple[int, str] = (0, ""),
        since: date | None = None,
    ) -> None:
        super().open(say, position, begun, over, read_on, since)
        self.asked = self.asked or read_on


class FedProcess(Process):
    world: FedWorld
    door: Door
    at: int | None = None
    """What is brought next; None: it was not asked for yet."""
    silent = 0

    def _opened(self) -> tuple[Any, Plan]:
        made = self.world.plan(self.config, self._scan)
        interval_ns = made.settings.interval_ns
        self.feed = self.door = Door(
            symbols=made.symbols,
            days=made.days,
            spans=made.row_spans,
            interval_ns=interval_ns,
            name="feed",
            **self._listening(),
        )
        source = RunRows(
            None, symbols=made.symbols, days=made.days, interval_ns=interval_ns, keeps=False
        )
        return source, made

    def _listening(self) -> dict[str, Any]:
        """How the door is told of rows."""
        world = self.world
        return {
            "rows_max": world.bringing.rows_max,
            "blocks": False,
            "ahead_max_ns": AHEAD_MAX_NS,
            "now": lambda: world.host_ns / 1e9,
        }

    def before_letter(self) -> None:
        super().before_letter()
        if self.world.random.random() < self.world.bringing.haste:
            self.bring()

    def idle(self) -> None:
        self.silent = 0
        if not (self.paused or self._outside_waits()) and self.bring():
            return
        super().idle()

    def bring(self) -> bool:
        """The next piece; False if nothing comes by now."""
        world, rng, feeding = self.world, self.world.random, self.world.bringing
        if self.door.asked is None or self.life.dead:
            return False
        if self.at is None:
            self.at = self._goes_on_at(*self.door.asked)
        self.silent = max(0, self.silent - 1)
        if self.silent:
            return False
        if not world.calm and rng.random() < feeding.silent:
            self.silent = rng.randint(1, 50)
            world.sometimes(True, "the feed was silent")
        if not world.calm and self.at and rng.random() < feeding.again:
            self.at = rng.randrange(max(0, self.at - 20), self.at)
            world.sometimes(True, "rows were brought again")
        items = world.scenario.items
        if self.at == len(items):
            return False
        stop = world.scenario_stop(self.at, rng.randint(1, feeding.piece_max))
        item = items[self.at]
        mark = str(stop) if feeding.marks and rng.random() < 0.7 else ""
        world.host_ns = item.day.close_ns
        before = self.door.account.day_over
        try:
            if item.row is None:
                self.door.end_day(item.day.date, self.at, mark)
            else:
                self.door.take(world.scenario.rows(self.at, stop), self.at, mark)
        except FeedFull:
            world.sometimes(True, "the feed found no room")
            return False
        world.sometimes(self.door.account.day_over > before, "a row of a day that was over came")
        self.at = stop
        return True

    def _goes_on_at(self, position: int, mark: str) -> int:
        if self.world.bringing.marks:
            assert mark == (str(position) if position else ""), "a mark stands at another position"
            self.world.sometimes(position > 0, "a feed went on behind a mark")
            return position
        durable = self.door.durable
        self.world.sometimes(durable > 0, "a feed went on at a durable position")
        return durable

    def _ledger(self, restored: Restored | None) -> Ledger:
        handing: prefetch.State = self.engine.cells[prefetch.NAME].state
        held = restored is not None and handing.waiting is not None
        self.world.sometimes(held, "rows waited for a boundary in a snapshot")
        self.world.sometimes(
            restored is not None and bool(restored.came), "rows came from the journal"
        )
        return super()._ledger(restored)


class FedWorld(World):
    scenario: Fed
    intervenes = False
    scans_fail = frozenset({"kill_in_scan"})

    def __init__(
        self, seed: int, faults: Faults | None = None, without: Collection[str] = ()
    ) -> None:
        super().__init__(seed, faults, without)
        self.bringing = drawn_feeding(random.Random(f"feeding {seed}"))
        self.host_ns = 0

    def scans(self, number: int) -> list[dict[str, Any]]:
        return drawn_scans(number)

    def scenario_of(self, number: int, without: Collection[str]) -> Fed:
        return fed(number)

    def scenario_stop(self, start: int, count: int) -> int:
        """Where a piece ends: it has rows of one day, and no mark among them."""
        items = self.scenario.items
        if items[start].row is None:
            return start + 1
        further = (
            n
            for n in range(start, min(start + count, len(items)))
            if items[n].row is None or items[n].day is not items[start].day
        )
        return next(further, min(start + count, len(items)))

    def plan(self, config: Config, *scan: Any) -> Plan:
        return self.scenario.planned(config, None, *scan)

    def process(self, **how: Any) -> Process:
        return FedProcess(self, **how)


# What is compared


def simulate(seed: int, without: Collection[str] = ()) -> FedWorld:
    """One seed, from its first process to the comparison with the reference.

    Raises
    ------
    AssertionError
        Its text says which seed, and how to see it again.
    """
    world = FedWorld(seed, without=without)
    try:
        check(world)
    except Exception as error:
        print(*world.said, sep="\n")
        command = f".venv/bin/python tests/faults/arrivals.py --seed {seed}"
        raise AssertionError(f"seed {seed}: {error!r}\n  see it again: {command}") from error
    return world


def check(world: FedWorld) -> None:
    world.run()
    assert not world.wrong, world.wrong[0]
    grants: list[Grant] = []
    found = given_again(check_replay(world, grants))
    if world.whole_days:
        days = {of.trading_date: written(of) for of in found.days}
        kept = {of: day for of, day in world.days.items() if of not in found.without_data}
        assert days == kept, "what sinks got is not what the step log gives"
    for place in range(len(world.scenario.cases)):
        check_day(world, found, grants, place)
    before = world.state()
    world.process().run()
    assert world.state() == before, "a run that had ended wrote again"


def given_again(commits: Sequence[Commit]) -> Found:
    found = Found()
    for commit in commits:
        found.commits.append(commit)
        found.recorder.commit(commit)
    return found


def check_day(world: FedWorld, found: Found, grants: Sequence[Grant], place: int) -> None:
    case = world.scenario.cases[place]
    expected = arrived(world.scenario, case, scanned_in(world.config, case.day))
    if all(of["rows"] == of["outside_hours"] for of in expected["counts"].values()):
        assert case.day.date in found.without_data, f"{case.day.date} has no rows"
        return
    got = answer_of(found, case)
    results = check_scans(world.config, case.day, grants)
    signals = reported(expected, results, ticks=case.interval_ns is None)
    world.sometimes(len(signals) < len(expected["signals"]), "a scan left signals out")
    world.sometimes(any(of["rules"] for of in signals), "a signal had rules to pass")
    check_signals(case.day.date, got["signals"], signals)
    sessions = [expected_session(case, session) for session in expected["sessions"]]
    assert got["sessions"] == sessions, f"{case.day.date}: sessions"
    assert got["derived"] == expected["derived"], f"{case.day.date}: bars"
    assert got["quality"] == expected["quality"], f"{case.day.date}: quality"
    of_day = next(of for of in found.days if of.trading_date == case.day.date)
    ahead = [i for i in world.scenario.items if i.ahead and i.day is case.day and is_on(world, i)]
    counts = of_day.tally.counts
    plus: dict[Counted, int] = {"rows": len(ahead), "bad_rows": len(ahead), "outside_hours": 0}
    for kind, more in plus.items():
        wanted = sum(of[kind] for of in expected["counts"].values()) + more
        assert counts[kind] == wanted, f"{case.day.date}: {counts[kind]} {kind}, not {wanted}"
    late = sum(of["rows"] for of in expected["late"].values())
    assert counts["late"] == late, f"{case.day.date}: {counts['late']} late rows, not {late}"
    if world.scenario.amends:
        by_rule = [sum(of) for of in zip(*expected["revised"].values(), strict=True)]
        got_rule = [counts.get(name, 0) for name in ("revised", "revised_late")]
        assert got_rule == by_rule, f"{case.day.date}: revised {got_rule}, not {by_rule}"
        world.sometimes(by_rule[0] > by_rule[1], "a bar was revised")
        world.sometimes(by_rule[1] > 0, "a bar was revised too late")
    world.sometimes(late > 0, "a row came too late")
    world.sometimes(bool(ahead), "a row was ahead of the host's clock")
    world.sometimes(bool(expected["signals"]), "a level was broken")


def is_on(world: FedWorld, item: Item) -> bool:
    """Whether a row is on any day of the run."""
    spans = world.plan(world.config).row_spans.values()
    return item.row is not None and any(start <= item.row[1] < end for start, end in spans)


def check_signals(of: date, got: Sequence[Any], expected: Sequence[Signal]) -> None:
    for n, (one, other) in enumerate(zip(got, expected, strict=False)):
        assert one == other, f"{of}: signal {n}"
    assert len(got) == len(expected), f"{of}: signals"


def arrived(
    scenario: FedDays, case: Case, scans: Sequence[int], marks: Sequence[Mark] = ()
) -> ArrivedAnswer:
    return answer_as_arrived(
        case.day,
        case.interval_ns,
        case.rows,
        case.symbols,
        case.windows,
        case.rules,
        case.companions,
        DERIVED,
        lateness_ns=scenario.lateness_ns,
        marks=marks,
        amends=scenario.amends,
        own_rules=case.own_rules,
        scans=scans,
    )


def told(seed: int) -> tuple[object, ...]:
    world = FedWorld(seed)
    return world.drawn, world.bringing, world.config.model_dump_json(exclude_defaults=True)


if __name__ == "__main__":
    main("Run seeds of the simulation with arrivals.", simulate, told)
