"""Whole durable runs on one thread, with faults drawn from a seed: one seed, one run.

A seed draws a scenario (days, rows, sessions, how time moves), which faults are on, and how often.
While the faults last, the run must do nothing wrong (safety); when they are over, it must finish
(liveness); and what it leaves must be what the same scenario leaves without faults. In time order:
process after process is started on one store, and each ends by one of the faults or at the end.

    .venv/bin/python tests/faults/simulation.py --seed 17
    .venv/bin/python tests/faults/simulation.py --seeds 0 500
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from datetime import time as clock_time
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import orjson

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from reference import Row, Rules, Window
from runs import MemorySource, joined, plain
from strategies import Case

from openbell.actors.effects import Commit, Effects
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sinks.tally import Account, Tally
from openbell.adapters.sources import SourceInfo
from openbell.adapters.stores import Holder, LeaseHeld, Store, Unavailable
from openbell.adapters.stores.memory import Memory
from openbell.adapters.stores.sqlite import SqliteStore
from openbell.adapters.tables import signal_ids
from openbell.errors import DayFailed, LeaseLost, RunError
from openbell.market.bars import RawRows
from openbell.market.days import EPOCH, MINUTE_NS, Segment, TradingDay, local_instant
from openbell.messages.base import Message
from openbell.runtime.config import Config, config_from
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import Plan, settings
from openbell.runtime.intake.trailing import TrailingSettings
from openbell.runtime.kernel.wiring import edges, wiring
from openbell.runtime.lifetime.recovery import Restored, restore
from openbell.runtime.lifetime.supervision import RECOVER
from openbell.runtime.record import journal
from openbell.runtime.record.ledger import Ledger
from openbell.runtime.record.writing import stored_documents, stored_signals
from openbell.runtime.results.recording import Recorder
from openbell.testing import Fail, FailingStore, Fault, HandClock, Killed
from openbell.testing.inline import InlineRun

SEEDS_A_SCENARIO = 10
LIVES_MAX = 15
LETTERS_MAX = 200_000
TTL_SECONDS = 3600

# What is run


@dataclass(frozen=True)
class Scenario:
    """What determines the answers."""

    number: int
    cases: tuple[Case, ...]
    config: dict[str, Any]

    @property
    def paced(self) -> bool:
        return bool(self.config["feed"]["speed"])

    @property
    def lasting(self) -> bool:
        """Whether rows can be asked for again; if not, those of a day that is in the journal are
        others the next time."""
        return self.number % 3 != 1


@cache
def scenario(number: int) -> Scenario:
    rng = random.Random(f"scenario {number}")
    kind = rng.choice(("bars", "bars", "ticks"))
    opens, minutes = rng.choice((9, 14)), rng.choice((20, 20, 30))
    windows = []
    for name in ("Opening", "Later")[: rng.choice((1, 2, 2))]:
        start, length = rng.randrange(minutes // 2), rng.randint(1, 8)
        windows.append(
            {"name": name, "start": wall(opens, start), "end": wall(opens, start + length)}
        )
    days = [date(2024, 7, 1) + timedelta(days=n) for n in range(rng.choice((1, 2, 2, 2, 3)))]
    empty = rng.random() < 0.2 and len(days) > 1
    halves = rng.random() < 0.3
    drawn = [hours(day, opens, minutes, halves) for day in days]
    rows = [() if empty and i == 1 else drawn_rows(rng, day, kind) for i, day in enumerate(drawn)]
    cases = tuple(
        Case(
            day=day,
            interval_ns=MINUTE_NS if kind == "bars" else None,
            rows=of_day,
            symbols=("A", "B"),
            windows=(Window("Opening", "09:30", "09:31"),),  # not looked at: the config's count
            rules=Rules(),
            companions={},
        )
        for day, of_day in zip(drawn, rows, strict=True)
    )
    config: dict[str, Any] = {
        "name": "simulated",
        "exchange": "XNYS",
        "sessions": windows,
        "breakout": {
            "confirm": rng.choice(("close", "touch")),
            "check": rng.choice(("continuous", "continuous", "once")),
            "rearm": rng.choice(("never", "inside")),
        },
        "companions": rng.choice(({}, {"A": "B"})),
        "data": {"kind": kind},
        "clock": {"step": rng.choice(("boundary", "bar"))},
        "feed": {"type": "replay", "speed": 60 * (number % 2)},
        "prefetch": {"days": rng.randrange(3)},
    }
    return Scenario(number, cases, config)


def wall(hour: int, minute: int) -> str:
    return f"{hour + minute // 60:02d}:{minute % 60:02d}"


def hours(day: date, opens: int, minutes: int, halves: bool) -> TradingDay:
    start = local_instant(day, clock_time(opens), "UTC")
    length = minutes * MINUTE_NS
    if not halves:
        return TradingDay(day, "UTC", (Segment(start, start + length),))
    first, second = Segment(start, start + length // 2), start + length // 2 + 7 * MINUTE_NS
    return TradingDay(day, "UTC", (first, Segment(second, second + length // 2)))


def drawn_rows(rng: random.Random, day: TradingDay, kind: str) -> tuple[Row, ...]:
    rows: list[Row] = []
    wild = rng.choice((0.02, 0.1, 0.5))
    for i, ts in enumerate(day.grid(MINUTE_NS)[0].tolist()):
        for symbol in ("A", "B"):
            price = round(100 + rng.uniform(-1, 1) * (1 + wild * i), 2)
            if rng.random() < 0.1:
                continue
            if kind == "ticks":
                rows.append((symbol, ts + rng.randrange(MINUTE_NS), price, rng.random()))
            else:
                spread = rng.random()
                volume = rng.random()
                rows.append((symbol, ts, price, price + spread, price - spread, price, volume))
    return tuple(rows)


def planned(case: Scenario, config: Config) -> Plan:
    return Plan(
        days=tuple(of_day.day for of_day in case.cases),
        symbols=("A", "B"),
        not_trading={},
        open_ended=(False, False),
        settings=settings(config, paced=case.paced),
        trailing=TrailingSettings(
            specs=(), needs=(), before=lambda day, count: (), dates=frozenset()
        ),
    )


# What goes wrong


@dataclass(frozen=True)
class Faults:
    """How often what happens; a number is a share of the messages, calls or reads it is about."""

    kill: float = 0.0
    """The process ends before a message."""
    kill_in_store: float = 0.0
    """The process ends in a call of the store, before or after it was executed."""
    kill_in_source: float = 0.0
    unanswered: float = 0.0
    """A commit is not answered, executed or not."""
    unavailable: float = 0.0
    """Any other call of the store is not answered, executed or not."""
    slow: float = 0.0
    """Settled steps wait before a message: they gather."""
    rival: float = 0.0
    """Another process takes over, and this one comes back later."""
    heartbeat: float = 0.0
    """The process looks whether the lease is still its own."""
    corrupt: float = 0.0
    """The newest snapshot is corrupt when the process has ended."""
    source: float = 0.0
    """A read fails, three times in a row at most."""
    actor: float = 0.0
    """An actor raises on a message, which goes well the next time."""
    operator: float = 0.0
    """Somebody pauses, resumes or steps."""
    late: float = 0.0
    """A day's rows come after the time-out."""
    source_down: float = 0.0
    """A read fails until the day is given up; an operator recovers it."""

    @property
    def at_the_door(self) -> bool:
        """Whether other things enter: the answer then is the step log's own."""
        return bool(self.late or self.source_down)


RATES = {
    "kill": (0.0005, 0.003, 0.02),
    "kill_in_store": (0.005, 0.03, 0.1),
    "kill_in_source": (0.05,),
    "unanswered": (0.02, 0.2, 0.5),
    "unavailable": (0.01, 0.1),
    "slow": (0.9, 0.99, 1.0),
    "rival": (0.0005, 0.003),
    "heartbeat": (0.01,),
    "corrupt": (0.3,),
    "source": (0.1, 0.5),
    "actor": (0.002, 0.01),
    "operator": (0.003, 0.03),
    "late": (0.5, 1.0),
    "source_down": (0.1,),
}
RARE = {"late": 0.3, "source_down": 0.1}


def drawn_faults(rng: random.Random) -> Faults:
    chosen = {}
    for field in fields(Faults):
        on = rng.random() < (RARE.get(field.name, 0.4))
        rate = rng.choice(RATES[field.name])
        if on:
            chosen[field.name] = rate
    return Faults(**chosen)


CALM = Faults()


class Source(MemorySource):
    """Rows in memory, from a place that fails."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(world.scenario.cases)
        self._world, self._life = world, life
        self._failures = 0
        self._well = False

    def info(self) -> SourceInfo:
        return replace(super().info(), lasting=self._world.scenario.lasting)

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        world = self._world
        if world.happens("kill_in_source"):
            self._life.kill()
        if not self._failures and not self._well:
            if world.happens("source_down"):
                self._failures = 4
            elif world.happens("source"):
                self._failures = world.random.randint(1, 3)
        self._well = False
        if self._failures:
            self._failures -= 1
            self._well = self._failures == 0
            raise OSError("the source does not answer")
        raw = super().read(start_ns, end_ns, symbols)
        if world.scenario.lasting or not world.journaled(start_ns, end_ns):
            return raw
        columns = {name: values * 1.01 for name, values in raw.columns.items()}
        return replace(raw, columns=columns)


class Life:
    """One process, from its start to its end; once killed it reaches nothing any more."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False

    def kill(self) -> None:
        self.dead = True
        raise Killed

    def fault(self, operation: str) -> Fault | None:
        world = self._world
        if self.dead:
            return Fail(Killed())
        executed = world.random.random() < 0.5
        if world.happens("kill_in_store"):
            self.dead = True
            return Fail(Killed(), executed)
        if world.happens("unanswered" if operation == "commit" else "unavailable"):
            return Fail(Unavailable("not answered"), executed)
        return None


class Handle(FailingStore):
    """One process's connection, which waits for the lease as a standby does."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(world.connected(), life.fault)
        self.damaged = world.damaged
        self._world = world

    def acquire(self, holder: Holder, ttl_ns: int) -> int:
        acquire = self.__getattr__("acquire")
        try:
            return cast(int, acquire(holder, ttl_ns))
        except LeaseHeld:
            self._world.lease_ns += ttl_ns
            return cast(int, acquire(holder, ttl_ns))


# One process


class Process(InlineRun):
    def __init__(self, world: World, *, rival: bool = False) -> None:
        self.world = world
        self.rival = rival
        self.life = Life(world)
        self.paused = False
        self.superseded: Any = None
        """What the store held when a rival had been at work."""
        self._raised: set[tuple[str, int, str]] = set()
        self.seed = world.order
        self.delayed = world.delayed
        self.round_trips = world.round_trips
        super().__init__(
            world.config,
            cast(Store, Handle(world, self.life)),
            HandClock(),
            days=world if world.whole_days else None,
        )

    def _opened(self) -> tuple[Any, Plan]:
        return Source(self.world, self.life), planned(self.world.scenario, self.config)

    def before_letter(self) -> None:
        world = self.world
        world.count_letter()
        self.clock.advance(0.01)
        if world.happens("kill"):
            self.life.kill()
        if not self.rival and self.superseded is None and world.happens("rival"):
            self.superseded = world.taken_over(self.fence)
        if world.happens("heartbeat"):
            self.heartbeat.beat()
        if world.happens("operator"):
            self._operator()
        if not world.happens("slow"):
            self.commit_waiting()
        if world.random.random() < 0.01:
            self.wake()
        if world.random.random() < 0.003:
            self.deliver_late()

    def idle(self) -> None:
        if self.paused and (world_calm(self.world) or self.world.random.random() < 0.3):
            self._resume()
            return
        ways = [self.commit_waiting, self.deliver_late, self.wake]
        if self.world.random.random() < self.world.later:
            ways.reverse()  # time goes on before late rows come
        if any(way() for way in ways):
            return
        if self.paused:
            self._resume()
            return
        super().idle()

    def is_late(self, date: date) -> bool:
        return self.world.happens("late")

    def _operator(self) -> None:
        what = self.world.random.choice(("pause", "resume", "step"))
        if what == "pause":
            self.paused = True
            self.engine.pause("operator")
        elif what == "resume":
            self._resume()
        else:
            self.engine.step()

    def _resume(self) -> None:
        self.paused = False
        self.engine.resume("operator")

    def _engine(self) -> Engine:
        engine = super()._engine()
        for cell in engine.cells.values():
            update = partial(self._updated, cell, cell.actor.update)
            cell.actor = replace(cell.actor, update=update)
        return engine

    def _updated(self, cell: Any, update: Any, state: Any, message: Message) -> tuple[Any, Effects]:
        about = (cell.actor.name, cell.step, type(message).__name__)
        if self.world.happens("actor") and len(self._raised) < 3 and about not in self._raised:
            self._raised.add(about)
            raise RuntimeError("drawn")
        found: tuple[Any, Effects] = update(state, message)
        return found

    def _seen(self, commit: Commit, before: bool) -> None:
        self.world.check_durable(commit)
        super()._seen(commit, before)


def world_calm(world: World) -> bool:
    return world.faults is CALM


# What is left


@dataclass(frozen=True)
class Left:
    """What a run has left: equal runs leave equal things."""

    signals: tuple[tuple[str, bytes], ...]
    documents: tuple[tuple[date, str, str, bytes], ...]
    steps: tuple[tuple[int, int, bytes, date, bytes], ...]
    """Number, market time, digest (of signals, documents, derived bars, …), day, grant."""
    transitions: tuple[bytes, ...]
    """Of the audit trail, but for wall time."""
    days: tuple[tuple[date, Any], ...] | None
    """What sinks got, where they do."""


def left_in(store: Store, days: dict[date, Any] | None) -> Left:
    entries = [orjson.loads(entry) for _, entry in store.audit()]
    market = [entry for entry in entries if entry["what"] in ("phase", "day", "session")]
    for entry in market:
        del entry["wall_time"]
    return Left(
        signals=tuple((signal.id, signal.body) for _, signal in store.signals()),
        documents=tuple((d.trading_date, d.session, d.status, d.body) for d in store.documents()),
        steps=tuple(
            (s.number, s.market_ns, s.digest, s.trading_date, s.grant) for s in store.steps()
        ),
        transitions=tuple(orjson.dumps(entry) for entry in market),
        days=None if days is None else tuple(sorted(days.items())),
    )


def differing(expected: Any, found: Any) -> str | None:
    for name in (field.name for field in fields(expected)):
        before, now = getattr(expected, name), getattr(found, name)
        if before == now or None in (before, now):
            continue
        for place, (one, other) in enumerate(zip(before, now, strict=False)):
            if one != other:
                return f"{name}[{place}] is {str(other)[:300]}, without faults {str(one)[:300]}"
        return f"{len(now)} {name}, without faults {len(before)}"
    return None


@dataclass(frozen=True)
class OfTheMarket:
    """What must be the same even when a day's rows came late."""

    signals: tuple[Any, ...]
    documents: tuple[Any, ...]


def of_the_market(left: Left, dates: set[str]) -> OfTheMarket:
    signals = [orjson.loads(body) for _, body in sorted(left.signals)]
    documents = [orjson.loads(body) for *_, body in left.documents]
    return OfTheMarket(
        tuple(
            {key: value for key, value in signal.items() if key != "backfilled"}
            for signal in signals
            if signal["trading_date"] in dates
        ),
        tuple(
            (d["trading_date"], d["session_name"], d["status"], d["symbols_data"])
            for d in documents
            if d["trading_date"] in dates
        ),
    )


def without_rows(world: World) -> set[str]:
    """Days that may have had to open to find out that they have no rows: their sessions stay."""
    return {str(case.day.date) for case in world.scenario.cases if not case.rows}


class World:
    """What outlives the processes: the store, and the hand that lets things go wrong."""

    def __init__(self, seed: int, faults: Faults | None = None) -> None:
        rng = self.random = random.Random(f"seed {seed}")
        self.seed = seed
        self.scenario = scenario(seed // SEEDS_A_SCENARIO)
        drawn = drawn_faults(rng)
        self.drawn = self.faults = drawn if faults is None else faults
        self.safety_letters = rng.choice((300, 800, 2000))
        self.memory = Memory()
        self.lease_ns = 0
        self.later = rng.choice((0.0, 0.3, 0.3, 1.0))
        """How often time goes on before rows come that are late."""
        self.damaged: set[int] = set()
        self.letters = 0
        self.lives = 0
        self.whole_days = rng.random() < 0.3
        self.round_trips = rng.random() < 0.2
        self.order = rng.choice((None, rng.randrange(2**32)))
        config = {
            **self.scenario.config,
            "store": {"url": "memory://", "backlog": rng.choice(("5KiB", "20KiB", "64MiB"))},
            "snapshot": {"every": rng.choice(("1ms", "1s", "1h")), "keep": rng.choice((3, 5))},
            "lease": {"ttl": f"{TTL_SECONDS}s"},
            "supervision": {"restarts": 5},
        }
        self.config = config_from(config)
        wires = wiring(settings(self.config).sessions)
        self.delayed = rng.choice((None, rng.choice(list(edges(wires)))))
        self.days: dict[date, Any] = {}
        self.said: list[str] = []
        self.happened: Counter[str] = Counter()

    def happens(self, what: str) -> bool:
        rate: float = getattr(self.faults, what)
        if rate == 0.0 or self.random.random() >= rate:
            return False
        self.happened[what] += 1
        return True

    def connected(self) -> Store:
        return SqliteStore(self.memory, "simulated", clock_ns=lambda: self.lease_ns)

    def count_letter(self) -> None:
        self.letters += 1
        if self.letters > self.safety_letters and self.faults is not CALM:
            self.faults = CALM
        assert self.letters < LETTERS_MAX, "the run does not come to its end"

    def write_day(self, day: DayResult) -> None:
        self.days[day.trading_date] = (
            plain(day.symbols),
            plain(day.documents),
            joined(day.signals),
            tuple((minutes, joined(parts)) for minutes, parts in sorted(day.bars.items())),
            plain(day.quality),
            plain(day.bad),
            plain(day.tally),
        )

    def write_day_without_data(self, day: date, tally: Tally) -> None:
        self.days[day] = plain(tally)

    def written(self) -> Collection[date]:
        return self.days.keys()

    def follow(self, configuration: Any, intervals: Any) -> None:
        """There is one only."""

    def begin(self) -> None:
        assert not self.days

    def renew(self, account: Account) -> None:
        """Nobody looks on."""

    def put_together(self, account: Account) -> None:
        """As `renew`."""

    def check_durable(self, commit: Commit) -> None:
        shown = [name for batch in commit.signals for name in signal_ids(batch).to_pylist()]
        if shown:
            held = {signal.id for _, signal in self.connected().signals()}
            assert held.issuperset(shown), f"shown before it was durable: {shown}"

    def journaled(self, start_ns: int, end_ns: int) -> bool:
        """Whether the journal has the day of some rows."""
        days = [case.day for case in self.scenario.cases]
        (day,) = (d for d in days if start_ns <= d.open_ns < end_ns)
        store = self.connected()
        names = {entry.name for d in days for entry in store.journal(d.date)}
        return any(name.startswith(f"rows {day.date} ") for name in names)

    def state(self) -> Any:
        store = self.connected()
        head = store.head()
        return head.commit, head.step, head.digest, sum(1 for _ in store.signals())

    def taken_over(self, fence: int) -> Any:
        """Another process is started, believing that the one at work has died.

        Returns what it left in the store; None if it did not come as far as the lease.
        """
        self.live(rival=True)
        return self.state() if self.connected().head().fence > fence else None

    def live(self, *, rival: bool = False) -> bool:
        """One process from start to end; whether it came to the end of the run."""
        self.lives += 1
        run: Process | None = None
        try:
            run = Process(self, rival=rival)
            run.run()
            ended = True
        except Killed:
            ended = False
        except Unavailable:
            assert self.drawn.unavailable or self.drawn.unanswered
            ended = False
        except LeaseLost:
            assert run is not None
            assert run.superseded is not None, "the lease was lost to nobody"
            ended = False
        except DayFailed as error:
            self.said.append(f"life {self.lives}: {error}")
            assert self.drawn.source_down
            self.connected().send_command(RECOVER)
            ended = False
        except RunError as error:
            self.said.append(f"life {self.lives}: {error}")
            assert self.drawn.source_down
            ended = False
        if run is not None and run.superseded is not None:
            assert run.superseded == self.state(), "a process wrote that had lost its lease"
        if self.happens("corrupt") and len(self.damaged) < 2:
            newest = next(iter(self.connected().epochs()), None)
            self.damaged |= {newest.epoch} if newest else set()
        return ended

    def run(self) -> None:
        """Process after process, until one comes to the end.

        Raises
        ------
        AssertionError, and whatever no fault explains
        """
        calm_lives = 0
        while not self.live():
            calm_lives += self.faults is CALM
            assert calm_lives < 6, "the faults are over, and it doesn't come to its end"
            if self.lives >= LIVES_MAX:
                self.faults = CALM
        self.faults = CALM


@cache
def undisturbed(number: int) -> Left:
    """What a scenario leaves without faults."""
    world = World(number * SEEDS_A_SCENARIO, CALM)
    world.whole_days, world.order, world.delayed, world.round_trips = True, None, None, False
    world.run()
    return left_in(world.connected(), world.days)


class Given(Ledger):
    """Takes steps that are given again, and keeps what they bring."""

    def __init__(self, engine: Engine, steps: Iterable[Any]) -> None:
        self.found: list[Commit] = []
        super().__init__(
            cast(Store, None),
            0,
            engine.cells,
            commit_number=0,
            digest=b"",
            meta={},
            expected={step.number: step for step in steps},
            snapshot_every=0.0,
            backlog=0,
            seen=lambda commit, before: self.found.append(commit),
            hold=lambda: None,
            release=lambda: None,
            fail=engine.dispatcher.fail,
        )


def check_replay(world: World) -> None:
    """The step log alone, given to new actors, gives what the store holds."""
    store = world.connected()
    found = Restored(0, 0, EPOCH)
    found.steps = tuple(store.steps())
    for case in world.scenario.cases:
        found.journal |= journal.days(store.journal(case.day.date))
    plan = planned(world.scenario, world.config)
    plan = replace(plan, settings=replace(plan.settings, paced=False))
    source = Source(world, Life(world))
    engine = Engine(plan, source, Recorder(()), journals=not world.scenario.lasting)
    prepared = restore(engine, plan, found)
    engine.ledger = ledger = Given(engine, found.steps)
    engine.run(prepared)
    batches = [batch for commit in ledger.found for batch in commit.signals]
    signals = [signal for batch in batches for signal in stored_signals(batch)]
    assert signals == [signal for _, signal in store.signals()]
    documents = {
        (document.trading_date, document.session): document.body
        for commit in ledger.found
        for document in stored_documents(commit.documents)
    }
    held = {(d.trading_date, d.session): d.body for d in store.documents()}
    assert documents == held


def simulate(seed: int) -> World:
    """One seed, from its first process to the comparison with the run without faults.

    Raises
    ------
    AssertionError
        Its text says which seed, and how to see it again.
    """
    world = World(seed)
    try:
        world.run()
        found = left_in(world.connected(), world.days if world.whole_days else None)
        expected = undisturbed(seed // SEEDS_A_SCENARIO)
        if not world.drawn.at_the_door:
            problem = differing(expected, found)
            assert problem is None, problem
        else:
            dates = {str(case.day.date) for case in world.scenario.cases} - without_rows(world)
            problem = differing(of_the_market(expected, dates), of_the_market(found, dates))
            assert problem is None, problem
        if world.drawn.at_the_door or seed % 5 == 0:
            check_replay(world)
        before = world.state()
        Process(world).run()
        assert world.state() == before, "a run that had ended wrote again"
    except Exception as error:
        print(*world.said, sep="\n")
        command = f".venv/bin/python tests/faults/simulation.py --seed {seed}"
        raise AssertionError(f"seed {seed}: {error}\n  see it again: {command}") from error
    return world


def main() -> None:
    arguments = argparse.ArgumentParser(description="Run seeds of the simulation.")
    arguments.add_argument("--seed", type=int, help="one seed, with what it draws")
    arguments.add_argument("--seeds", type=int, nargs=2, metavar=("FROM", "TO"))
    asked = arguments.parse_args()
    if asked.seed is not None:
        world = World(asked.seed)
        print(world.drawn, world.config.model_dump_json(exclude_defaults=True), sep="\n")
        simulate(asked.seed)
        print(f"seed {asked.seed}: as without faults")
        return
    began, failed, lives = time.process_time(), [], 0
    happened: Counter[str] = Counter()
    for seed in range(*asked.seeds):
        try:
            world = simulate(seed)
            lives += world.lives
            happened += Counter(world.happened.keys())
        except AssertionError as error:
            failed.append(seed)
            print(str(error)[:700], flush=True)
    seconds = time.process_time() - began
    print(
        f"{asked.seeds[1] - asked.seeds[0]} seeds, {lives} processes, {seconds:.1f} s of processor time"
    )
    print("seeds in which it happened:", dict(happened))
    print(f"{len(failed)} failed: {failed}" if failed else "all as without faults")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
