"""Whole durable runs on one thread, with faults drawn from a seed: one seed, one run.

A seed draws a scenario (`markets.py`: days, symbols, rows, windows, rules, how time moves), which
faults are on (`drawn_faults.py`), and how often. While the faults last, the run must do nothing
wrong (safety); when they are over, it must finish (liveness); and what it leaves must be what the
same scenario leaves without faults. In time order: process after process is started on one store,
and each ends by one of the faults or at the end.

    .venv/bin/python tests/faults/simulation.py --seed 17
    .venv/bin/python tests/faults/simulation.py --seed 17 --without fault:kill --without symbol:B
    .venv/bin/python tests/faults/simulation.py --seeds 0 500
"""

from __future__ import annotations

import argparse
import random
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import orjson
from faults.activation import expected_names, kinds_of, states_in
from faults.drawn_faults import CALM, OWN, Faults, drawn_faults
from faults.interventions import (
    DrawnScan,
    Entered,
    Interventions,
    by_id,
    drawn_interventions,
    expected_signals,
)
from faults.left import Left, differing, left_in, of_the_market
from faults.markets import LEAVE_OUT, Scenario, planned, scenario
from faults.shrinking import shrunk
from odd_configurations import odd_scans
from reference import bad_reason, segment_of
from runs import MemorySource, joined, plain

from openbell.actors import clock, day
from openbell.actors.effects import Commit, Effects
from openbell.adapters.scanners import scans_of
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sinks.tally import Account, Tally
from openbell.adapters.sources import SourceInfo
from openbell.adapters.stores import (
    Conflict,
    Corrupt,
    Fenced,
    Gap,
    Holder,
    LeaseHeld,
    NoRoom,
    Store,
    Unavailable,
    this_process,
)
from openbell.adapters.stores.columns import document_text, signal_rows
from openbell.adapters.stores.memory import Memory
from openbell.adapters.stores.sqlite import SqliteStore
from openbell.adapters.tables import signal_ids
from openbell.errors import ConfigError, DayFailed, LeaseLost, RunError, StoreError
from openbell.market.bars import RawRows
from openbell.market.days import EPOCH, MINUTE_NS
from openbell.market.scans import Found, ScanView
from openbell.market.windows import Window, session_window
from openbell.messages.base import Message
from openbell.messages.scan import ScanDue
from openbell.messages.time import Grant
from openbell.runtime.config import Config, config_from
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import Plan
from openbell.runtime.kernel.wiring import edges, wiring
from openbell.runtime.lifetime import asks
from openbell.runtime.lifetime.eras import eras_of, plan_over
from openbell.runtime.lifetime.recovery import Restored, restore
from openbell.runtime.lifetime.supervision import RECOVER
from openbell.runtime.record import feedlog, inserted, journal
from openbell.runtime.record.ledger import STORE_TOKEN, Ledger
from openbell.runtime.record.writing import stored_documents
from openbell.runtime.results.recording import Recorder
from openbell.testing import Fail, FailingStore, Fault, HandClock, Killed
from openbell.testing.inline import InlineRun

SEEDS_A_SCENARIO = 5
LIVES_MAX = 15
LETTERS_MAX = 400_000
TTL_SECONDS = 3600
BACKLOGS = ("5KiB", "20KiB", "64MiB")

# What is outside of a process


class Source(MemorySource):
    """How rows arrive: a day at a time, as they are asked for, from a place that fails."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__((*world.scenario.past, *world.scenario.cases))
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
        raw = of_symbols(super().read(start_ns, end_ns), symbols)
        if world.interventions or world.scenario.lasting or world.scenario.past:
            return raw  # it is read again, for symbols that come or for the days that follow
        if not world.journaled(start_ns, end_ns):
            return raw
        world.sometimes(True, "rows are other ones than those in the journal")
        columns = {name: values * 1.01 for name, values in raw.columns.items()}
        return replace(raw, columns=columns)


def of_symbols(raw: RawRows, symbols: Sequence[str] | None) -> RawRows:
    """The rows of some symbols."""
    if symbols is None or tuple(symbols) == raw.symbols:
        return raw
    there = np.flatnonzero(np.isin(raw.code, [raw.symbols.index(name) for name in symbols]))
    place = np.array([symbols.index(name) if name in symbols else -1 for name in raw.symbols])

    def locate(i: int) -> tuple[str, int]:
        return raw.locate(int(there[i]))

    return replace(
        raw,
        symbols=tuple(symbols),
        code=place[raw.code[there]].astype(np.int32),
        ts=raw.ts[there],
        columns={name: column[there] for name, column in raw.columns.items()},
        locate=locate,
    )


class Life:
    """One process, from its start to its end; once killed it reaches nothing any more."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.dead = False
        self.recovering = bool(world.connected().head().step)
        """Whether it has yet to come to where the one before had ended."""
        self.stale = world.replica if self.recovering and world.happens("stale") else None
        """What answers its reads until it has recovered."""
        self.full = False
        """Whether the disk is full in the call that is about to be executed."""
        if self.stale is not None:
            self.noted("stale")

    def kill(self) -> None:
        self._world.sometimes(self.recovering, "killed in the middle of a recovery")
        self.dead = True
        raise Killed

    def fault(self, operation: str) -> Fault | None:
        world = self._world
        if self.dead:
            return Fail(Killed())
        executed = world.random.random() < 0.5
        if world.happens("kill_in_store"):
            self.dead = True
            self.noted("kill_in_store")
            return Fail(Killed(), executed)
        unanswered = "unanswered" if operation == "commit" else "unavailable"
        if world.happens(unanswered):
            self.noted(unanswered)
            world.sometimes(operation == "acquire", "the lease was asked for without an answer")
            return Fail(Unavailable("not answered"), executed)
        if operation in ("commit", "append_audit") and world.happens("disk_full"):
            self.full = True
            self.noted("disk_full")
        return None

    def noted(self, fault: str) -> None:
        """That a fault of the store has happened, and whether in a recovery."""
        self._world.sometimes(self.recovering, f"{fault} in a recovery")


class Server:
    """What answers one process's calls: the store, a copy of it that lags, or a full disk."""

    def __init__(self, world: World, life: Life) -> None:
        self._world, self._life = world, life
        self._store = world.connected()

    def __getattr__(self, operation: str) -> Any:
        life, world = self._life, self._world
        if life.recovering and life.stale is not None and operation in READS:
            return getattr(world.connected(life.stale), operation)
        method = getattr(self._store, operation)

        def call(*args: Any, **kwargs: Any) -> Any:
            full, life.full = life.full, False
            world.no_page_left(full)
            try:
                answer = method(*args, **kwargs)
            except Fenced:
                world.sometimes(operation == "commit", "the lease was lost in a commit")
                world.sometimes(operation == "renew", "the lease was lost at a heartbeat")
                raise
            except (Gap, Conflict):
                world.sometimes(life.stale is not None, "a commit upon an old head was refused")
                raise
            except StoreError:
                world.sometimes(full, "a commit found the disk full")
                raise
            finally:
                world.no_page_left(False)
            world.sometimes(answer == "dup", "a commit was sent that the store had")
            return answer

        return call


class Handle(FailingStore):
    """One process's connection, which waits for the lease as a standby does."""

    def __init__(self, world: World, life: Life) -> None:
        super().__init__(cast(Store, Server(world, life)), life.fault)
        self.damaged = world.damaged
        self._world = world

    def acquire(self, holder: Holder, ttl_ns: int) -> int:
        acquire = self.__getattr__("acquire")
        try:
            return cast(int, acquire(holder, ttl_ns))
        except LeaseHeld:
            self._world.sometimes(True, "the lease was held by the dead")
            self._world.lease_ns += ttl_ns
            return cast(int, acquire(holder, ttl_ns))


READS = frozenset(
    ("head", "epochs", "states", "steps", "journal", "signals", "documents", "audit", "usage")
)


# One process


class Process(InlineRun):
    def __init__(self, world: World, *, rival: bool = False, config: Config | None = None) -> None:
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
        self.loads: list[Callable[[], None]] = []
        """What is to be loaded for symbols that come into the day."""
        self._asked: set[str] = set()
        super().__init__(
            config or world.config,
            cast(Store, Handle(world, self.life)),
            world.hand_clock(),
            days=world if world.whole_days else None,
        )

    def _opened(self) -> tuple[Any, Plan]:
        plan = self.world.plan(self.config)
        if self.world.interventions:
            plan = replace(plan, scans=scans_of(plan.settings.scans, {"drawn": self._scan}))
        return Source(self.world, self.life), plan

    def _scan(self, view: ScanView) -> list[Found]:
        world = self.world
        about = view.scan, view.day.date, 0 if view.before_open else view.at_ns
        # Who was told of an older state has no say: its commit is refused.
        if about in world.scanned and self.life.stale is None and not self.superseded:
            world.wrong.append(f"{about} was asked again, though its answer was durable")
        if world.happens("kill_in_scan"):
            world.sometimes(True, "killed in a scan")
            self.life.kill()
        return world.scan(view)

    def _run_scan(self, run: Callable[..., None], scan: Any, due: ScanDue, *how: Any) -> None:
        """At times its deadline comes before its answer."""
        scanning = self.engine.scanning
        assert scanning is not None
        if self.pace.live and self.world.happens("late_scan"):
            loaded, _, say, _ = how
            scanning._late(due, loaded, 10.0, say)
        run(scan, due, *how)

    def insert_within(self, give_up: Callable[[], None]) -> None:
        if self.world.happens("late_insert"):
            self.loads.append(give_up)

    def insert(self, load: Callable[[], None]) -> None:
        self.loads.append(load)
        if not self.world.happens("slow_insert"):
            while self.load_inserted():
                pass

    def load_inserted(self) -> bool:
        """Load what symbols need that come; False if none do."""
        if self.loads:
            self.loads.pop(0)()
            return True
        return False

    def ask_for_symbols(self) -> None:
        """Ask for what is to be asked for by now."""
        world = self.world
        if world.over:
            return
        now_ns = self.engine.cells[clock.NAME].state.now_ns
        for ask in world.interventions.asks:
            if ask.request in self._asked or ask.at_ns > now_ns:
                continue
            self._asked.add(ask.request)
            if not ask.through_store:
                self.symbols.ask(ask.message)
            elif ask.request not in world.asked:
                asks.ask(world.connected(), ask.request, ask.what, ask.symbols)
                world.asked.add(ask.request)

    def before_letter(self) -> None:
        world = self.world
        world.count_letter()
        self.clock.advance(world.letter_seconds)
        if world.happens("kill"):
            self.life.kill()
        if not self.rival and self.superseded is None and world.happens("rival"):
            self.superseded = world.taken_over(self.fence)
        if world.happens("heartbeat"):
            self.heartbeat.beat()
        if self.superseded is None and world.happens("second"):
            world.check_second()
        if world.happens("pause"):
            self._pause_or_resume()
        if world.happens("step"):
            world.sometimes(self.paused, "a step was granted in a pause")
            self.engine.step()
        if world.drawn.stale and world.random.random() < 0.01:
            world.copy()
        if not world.happens("slow"):
            self.commit_waiting()
        if world.interventions:
            self._intervene()
        if world.random.random() < 0.01:
            self.wake()
        if world.random.random() < (0.003 if world.later < 1.0 else 0.0):
            self.deliver_late()

    def _intervene(self) -> None:
        self.ask_for_symbols()
        if self.world.looks.random() < 0.05 and not self.world.over:
            self.look_for_asks()
        if self.loads and self.world.looks.random() < 0.05:
            self.load_inserted()
        state: clock.State = self.engine.cells[clock.NAME].state
        said = self.world.sometimes
        said(len(state.inserting) > 1, "two waited for their symbols")
        said(bool(state.inserting and state.scans), "symbols were asked for in a scan")
        said(bool(state.inserting) and self.life.recovering, "symbols waited in a recovery")

    def idle(self) -> None:
        if self.world.interventions:
            if not self.world.over:
                self.look_for_asks()
            if self.load_inserted():
                return
        if self.paused and (self.world.calm or self.world.random.random() < 0.3):
            self._resume()
            return
        ways = [self.commit_waiting, self.deliver_late, self.wake]
        if self.world.random.random() < self.world.later:
            ways = [self.commit_waiting, self.wake, self.deliver_late]  # time goes on before rows
        if any(way() for way in ways):
            return
        if self.paused:
            self._resume()
            return
        super().idle()

    def is_late(self, date: date) -> bool:
        late = self.world.happens("late")
        self.world.sometimes(late and self.life.recovering, "a day was late after a restart")
        return late

    def deliver_late(self) -> bool:
        if held := cast(Any, self.engine.loader).held:
            self.world.sometimes(self._window_is_over(), "rows came after a window's levels")
        came = super().deliver_late()
        self.world.sometimes(bool(held) or came, "rows came late")
        return came

    def _window_is_over(self) -> bool:
        """Whether a session of the day under way has had its end."""
        made, now_ns = self.plan.settings, self.engine.cells[clock.NAME].state.now_ns
        today = self.engine.cells[day.NAME].state.day
        slot_ns = made.interval_ns or MINUTE_NS
        windows = [session_window(today, spec, slot_ns) for spec in made.sessions]
        return any(isinstance(of, Window) and of.end_ns <= now_ns for of in windows)

    def _pause_or_resume(self) -> None:
        if self.world.random.random() < 0.5:
            self.paused = True
            self.engine.pause("operator")
        else:
            self._resume()

    def _resume(self) -> None:
        self.paused = False
        self.engine.resume("operator")

    def _engine(self) -> Engine:
        self.loads.clear()
        engine = super()._engine()
        if engine.scanning is not None:
            run = partial(self._run_scan, engine.scanning._run)
            engine.scanning._run = run  # type: ignore[method-assign]
        for cell in engine.cells.values():
            update = partial(self._updated, cell, cell.actor.update)
            cell.actor = replace(cell.actor, update=update)
        return engine

    def _updated(self, cell: Any, update: Any, state: Any, message: Message) -> tuple[Any, Effects]:
        about = (cell.actor.name, cell.step, type(message).__name__)
        if self.world.happens("actor") and len(self._raised) < 3 and about not in self._raised:
            self._raised.add(about)
            self.world.sometimes(self.life.recovering, "an actor failed in a recovery")
            raise RuntimeError("drawn")
        if cell.actor.name == clock.NAME:
            self.world.sometimes(STORE_TOKEN in state.tokens, "the backlog held the clock")
        found: tuple[Any, Effects] = update(state, message)
        return found

    def _ledger(self, restored: Restored | None) -> Ledger:
        if restored is not None:
            self._note_recovery(restored)
        return super()._ledger(restored)

    def _note_recovery(self, restored: Restored) -> None:
        said, of_day = self.world.sometimes, self.engine.cells[day.NAME].state
        epochs = self.world.connected().epochs()
        said(bool(restored.steps), "grants were given again")
        said(not restored.steps, "a snapshot was the last word")
        said(restored.epoch == 0, "recovered without a snapshot")
        damaged = [epoch for epoch in epochs if epoch.problem is not None]
        said(bool(damaged) and restored.epoch > 0, "recovered from before a damaged snapshot")
        active = self.world.connected().documents(status="ACTIVE")
        said(any(True for _ in active), "recovered inside a window")
        said(of_day.state == "ACTIVE", "recovered from within a day")
        said(of_day.state == "ENDED", "recovered between two days, or at the end")
        said(self.rival, "a rival recovered")
        said(self._days is not None, "recovered with whole days")

    def _seen(self, commit: Commit, before: bool) -> None:
        self.world.check_durable(commit)
        self.life.recovering &= before
        self.world.note_scans(commit)
        for batch in commit.signals:
            said = self.world.sometimes
            said(bool(batch.gap.any()), "a price opened beyond its level")
            said(bool(batch.ambiguous.any()), "one bar broke both sides")
            said(bool((batch.number > 1).any()), "a side broke again")
            said(bool((batch.companion >= 0).any()), "a signal had its companion's price")
            said(not batch.complete.all(), "a window lacked a row")
            said(bool(batch.filled("rules").any()), "a signal had rules to pass")
            said(bool(batch.kinds.any()), "a signal followed a breakout")
            said(before and len(batch) > 0, "signals were given again")
        super()._seen(commit, before)


def written(day: DayResult) -> Any:
    """What a sink gets, in a form that can be compared."""
    return (
        plain(day.symbols),
        plain(day.documents),
        joined(day.signals),
        tuple((minutes, joined(parts)) for minutes, parts in sorted(day.bars.items())),
        plain(day.quality),
        plain(day.bad),
        plain(day.tally),
    )


class World:
    """What outlives the processes: the store, and the hand that lets things go wrong."""

    intervenes = True
    """Whether scans, and symbols that come and go, are drawn."""
    scans_fail: frozenset[str] = frozenset()
    """Faults of scans, where those of the scenario answer otherwise each time."""
    letter_seconds = 0.01
    """How long a message takes."""

    def __init__(
        self, seed: int, faults: Faults | None = None, without: Collection[str] = ()
    ) -> None:
        rng = self.random = random.Random(f"seed {seed}")
        self.seed = seed
        self.scenario = self.scenario_of(seed // SEEDS_A_SCENARIO, of_the_scenario(without))
        drawn_ones = faults is None and self.intervenes
        whole = self.interventions_of(seed) if drawn_ones else Interventions()
        self.interventions = whole.without(without)
        drawn = drawn_faults(rng, seed)
        drawn = drawn if faults is None else faults
        off = {p.removeprefix("fault:"): 0.0 for p in without if p.startswith("fault:")}
        if self.interventions:  # a day that is begun anew, or opened late, is another story
            off |= {"late": 0.0, "source_down": 0.0}
        else:
            off |= dict.fromkeys(OWN - self.scans_fail, 0.0)
        self.drawn = self.faults = replace(drawn, **off)
        self.scan = DrawnScan(seed, self.scenario.symbols)
        self.looks = self.stream("looks")
        self.scanned: set[tuple[str, date, int]] = set()
        """Scans whose answers are durable."""
        self.asked: set[str] = set()
        """What was left in the store."""
        self.over = False
        """Whether nothing is asked for any more."""
        self.wrong: list[str] = []
        """What no process may raise, as it would be taken for a fault of users' code."""
        # Each fault has a course of its own, so that leaving one out moves no other.
        self._courses = {field.name: self.stream(field.name) for field in fields(Faults)}
        letters = rng.choice((300, 800, 2000))
        self.safety_letters = letters * 3 if self.interventions else letters
        self.memory = Memory()
        self.replica: Memory | None = None
        """An earlier state of the store."""
        self.lease_ns = 0
        self.later = rng.choice((0.0, 0.3, 1.0, 1.0))
        """How often time goes on before rows come that are late."""
        self.damaged: set[int] = set()
        self.letters = 0
        self.lives = 0
        # Symbols that come widen a day's register, which what is written of a day can't show here.
        self.whole_days = rng.random() < 0.3 and not self.interventions
        self.round_trips = rng.random() < 0.2
        self.order = rng.choice((None, rng.randrange(2**32)))
        config = {
            **self.scenario.config,
            "scanners": self.scans(seed // SEEDS_A_SCENARIO),
            "store": {"url": "memory://", "backlog": rng.choice(BACKLOGS)},
            "snapshot": {
                "every": rng.choice(("1ms", "1s", "1h")),
                "keep": rng.choice((3, 5)),
            },
            "lease": {"ttl": f"{TTL_SECONDS}s"},
            "supervision": {"restarts": 5},
            **self._intervening(),
        }
        self.config = config_from(config)
        made = self.plan(self.config).settings
        wires = wiring(made.sessions)
        self.delayed = rng.choice((None, rng.choice(list(edges(wires)))))
        self.days: dict[date, Any] = {}
        self.held: set[str] = set()
        """Ids of the signal log, up to a cursor."""
        self.read_to: Any = None
        self.said: list[str] = []
        self.happened: Counter[str] = Counter()
        self.reached: set[str] = set()
        """Names of what was the case at some time."""

    def scans(self, number: int) -> list[dict[str, Any]]:
        """Those of a scenario."""
        return odd_scans(str(number))

    def stream(self, aspect: str) -> random.Random:
        """What one aspect is drawn from: a further one leaves the others as they were."""
        return random.Random(f"seed {self.seed}, {aspect}")

    def _intervening(self) -> dict[str, Any]:
        """What the configuration says of it."""
        found: dict[str, Any] = {}
        if self.interventions:
            found["scanners"] = [dict(of) for of in self.interventions.scanners]
        if self.interventions.symbols is not None:
            found["symbols"] = list(self.interventions.symbols)
        return found

    def note_scans(self, commit: Commit) -> None:
        for told in commit.noticed:
            if told.kind in ("scan.done", "scan.skipped") and told.date is not None:
                self.sometimes(told.kind == "scan.done", "a scan was run")
                self.sometimes(told.kind == "scan.skipped", "a scan was skipped")
                before = told.facts["at"] == "pre"
                about = str(told.facts["scan"]), told.date, 0 if before else int(told.at_ns)
                self.scanned.add(about)
            self.sometimes(told.kind == "symbol.added", "a symbol came")
            self.sometimes(told.kind == "symbol.removed", "a symbol went")
            self.sometimes(told.kind == "symbol.refused", "a symbol was refused")

    def scenario_of(self, number: int, without: Collection[str]) -> Scenario:
        return scenario(number, frozenset(without))

    def interventions_of(self, seed: int) -> Interventions:
        return drawn_interventions(seed, self.scenario)

    def undisturbed(self, without: frozenset[str]) -> Left:
        """What the scenario leaves with all symbols' breakouts, and without faults."""
        return undisturbed(self.seed // SEEDS_A_SCENARIO, without, everything=True)

    def plan(self, config: Config) -> Plan:
        """What a process runs."""
        made = planned(self.scenario, config)
        if self.interventions.symbols is not None:
            asked = self.scenario.symbols if config.symbols == "all" else config.symbols
            there = set(self.scenario.symbols)
            beside = {of for of in config.paired.values() if of in there}
            made = replace(made, symbols=tuple(sorted({*asked, *beside})))
        return made

    def hand_clock(self) -> HandClock:
        """Of a process that begins."""
        return HandClock()

    def process(self, **how: Any) -> Process:
        """One that is about to begin."""
        return Process(self, **how)

    @property
    def calm(self) -> bool:
        return self.faults is CALM

    def happens(self, what: str) -> bool:
        rate: float = getattr(self.faults, what)
        if rate == 0.0 or self._courses[what].random() >= rate:
            return False
        self.happened[what] += 1
        return True

    def sometimes(self, condition: bool, name: str) -> None:
        """Note that something is the case that has to be, once, in some seed: else the net has
        a hole."""
        if condition:
            self.reached.add(name)

    def connected(self, memory: Memory | None = None) -> Store:
        memory = memory or self.memory
        return SqliteStore(memory, "simulated", clock_ns=lambda: self.lease_ns)

    def no_page_left(self, full: bool) -> None:
        """Whether the disk is full from here on: SQLite itself finds that out, and what it had
        written of a transaction is taken back by it."""
        db = self.memory.writing()
        ((held,),) = db.execute("PRAGMA page_count")
        db.execute(f"PRAGMA max_page_count = {held if full else 2**30}")

    def copy(self) -> None:
        """Take the copy that somebody reads when it lags behind; one of nothing is not asked."""
        if not self.connected().head().step:
            return
        self.replica = self.replica or Memory()
        self.memory.writing().backup(self.replica.writing())

    def cut_short(self) -> None:
        """The last state that was written lacks its end."""
        table, column = self.random.choice((("blobs", "body"), ("epochs", "manifest")))
        self.memory.writing().execute(
            f"UPDATE {table} SET {column} = substr({column}, 1, length({column}) / 2) "
            f"WHERE rowid = (SELECT max(rowid) FROM {table})"
        )

    def check_second(self) -> None:
        """Nobody gets a lease that is held by a process that lives."""
        try:
            self.connected().acquire(this_process(), TTL_SECONDS * 10**9)
        except LeaseHeld:
            self.sometimes(True, "a second process was refused")
        else:
            raise AssertionError("two processes hold the lease")

    def check_other_config(self) -> None:
        """Another configuration is refused in the middle of a run, and leaves everything as is."""
        before = self.state()
        if not self.connected().head().step:
            return
        held, confirm = self.faults, self.config.breakout.confirm
        other = {"breakout.confirm": "touch" if confirm == "close" else "close"}
        self.faults = CALM
        try:
            self.process(config=config_from(self.config, overrides=other))
        except ConfigError:
            self.sometimes(True, "another configuration was refused")
        else:
            raise AssertionError("a run goes on under another configuration")
        finally:
            self.faults = held
        assert self.state() == before, "a configuration that was refused has left something"

    def count_letter(self) -> None:
        self.letters += 1
        if self.letters > self.safety_letters and not self.calm:
            self.faults = CALM
        assert self.letters < LETTERS_MAX, "the run does not come to its end"

    def write_day(self, day: DayResult) -> None:
        self.days[day.trading_date] = written(day)

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
        if not self.held.issuperset(shown):
            for cursor, signal in self.connected().signals(after=self.read_to):
                self.held.add(signal.id)
                self.read_to = cursor
            assert self.held.issuperset(shown), f"shown before it was durable: {shown}"

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be left out of the seed."""
        on = [field.name for field in fields(Faults) if getattr(self.drawn, field.name)]
        own = self.interventions.parts
        return (*(f"fault:{name}" for name in on), *own, *self.scenario.parts)

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
        return head.commit, head.step, head.digest, head.signals

    def taken_over(self, fence: int) -> Any:
        """Another process is started, believing that the one at work has died.

        Returns what it left in the store; None if it did not come as far as the lease.
        """
        came_to_its_end = self.live(rival=True)
        self.sometimes(came_to_its_end, "a rival ran to the end")
        return self.state() if self.connected().head().fence > fence else None

    def live(self, *, rival: bool = False) -> bool:
        """One process from start to end; whether it came to the end of the run."""
        self.lives += 1
        run: Process | None = None
        try:
            run = self.process(rival=rival)
            run.run()
            ended = True
        except Killed:
            ended = False
        except NoRoom as error:
            self.said.append(f"life {self.lives}: {error}")
            assert self.drawn.disk_full
            ended = False
        except Unavailable:
            assert self.drawn.unavailable or self.drawn.unanswered
            ended = False
        except LeaseLost:
            assert run is not None
            assert run.superseded is not None, "the lease was lost to nobody"
            ended = False
        except DayFailed as error:
            self.sometimes(True, "a day was in ERROR")
            self.said.append(f"life {self.lives}: {error}")
            assert self.drawn.source_down
            self.connected().send_command(RECOVER)
            ended = False
        except StoreError as error:
            self.said.append(f"life {self.lives}: {error}")
            # A commit that it had may hold a snapshot that was cut short since.
            lags = self.drawn.stale and isinstance(error, Gap | Conflict | Corrupt)
            if not lags:
                raise
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
        if not rival and self.happens("short_write"):
            self.cut_short()
        return ended

    def run(self) -> None:
        """Process after process, until one comes to the end.

        Raises
        ------
        AssertionError, and whatever no fault explains
        """
        calm_lives = 0
        while not self.live():
            calm_lives += self.calm
            if self.happens("other_config"):
                self.check_other_config()
            assert calm_lives < 6, "the faults are over, and it doesn't come to its end"
            if self.lives >= LIVES_MAX:
                self.faults = CALM
        self.faults = CALM


def of_the_scenario(without: Collection[str]) -> frozenset[str]:
    """Those of the parts that are left out which make another market."""
    return frozenset(part for part in without if part.partition(":")[0] in LEAVE_OUT)


@cache
def undisturbed(
    number: int, without: frozenset[str] = frozenset(), everything: bool = False
) -> Left:
    """What a scenario leaves without faults; with all symbols' breakouts, if all are asked for."""
    world = World(number * SEEDS_A_SCENARIO, CALM, without)
    if everything:
        world.config = world.config.model_copy(update={"symbols": "all", "scanners": ()})
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

    def drain(self) -> None:
        """There is no store to wait for."""


def check_replay(world: World, grants: list[Grant] | None = None) -> list[Commit]:
    """The step log alone, given to new actors, gives what the store holds; what its steps bring.

    Parameters
    ----------
    grants : list, optional
        Gets all of them.
    """
    store = world.connected()
    found = Restored(0, 0, EPOCH)
    found.steps = tuple(store.steps())
    for case in world.scenario.cases:
        kept = list(store.journal(case.day.date))
        found.journal |= journal.days(kept)
        found.came |= feedlog.arrivals(kept)
        found.inserted |= inserted.insertions(kept, lambda step, of: True)
    plan = plan_over(world.plan(world.config), eras_of(store.head(), world.scenario.symbols))
    plan = replace(plan, settings=replace(plan.settings, paced=False), scans=())
    source = Source(world, Life(world))
    engine = Engine(plan, source, Recorder(()), journals=not world.scenario.lasting)
    prepared = restore(engine, plan, found)
    engine.ledger = ledger = Given(engine, found.steps)
    if grants is not None:
        grants += [grant for grant in prepared.grants if isinstance(grant, Grant)]
    engine.run(prepared)
    batches = [batch for commit in ledger.found for batch in commit.signals]
    signals = [signal for batch in batches for signal in signal_rows(batch)]
    assert signals == [signal for _, signal in store.signals()]
    documents = {
        (document.trading_date, document.session): document_text(document.body)
        for commit in ledger.found
        for document in stored_documents(commit.documents)
    }
    held = {(d.trading_date, d.session): d.body for d in store.documents()}
    assert documents == held
    return ledger.found


def simulate(seed: int, without: Collection[str] = ()) -> World:
    """One seed, from its first process to the comparison with the run without faults.

    Parameters
    ----------
    without : collection of str
        What is left out of what the seed draws, as `World.parts` names it.

    Raises
    ------
    AssertionError
        Its text says which seed, and how to see it again.
    """
    world = World(seed, without=without)
    try:
        check(world, without)
    except Exception as error:
        print(*world.said, sep="\n")
        again = "".join(f" --without {shlex.quote(part)}" for part in sorted(without))
        command = f".venv/bin/python tests/faults/simulation.py --seed {seed}{again}"
        raise AssertionError(f"seed {seed}: {error}\n  see it again: {command}") from error
    return world


def check(world: World, without: Collection[str]) -> None:
    world.run()
    found = left_in(world.connected(), world.days if world.whole_days else None)
    parts = of_the_scenario(without)
    if world.interventions:
        check_interventions(world, parts)
        return
    expected = undisturbed(world.seed // SEEDS_A_SCENARIO, parts)
    if not world.drawn.at_the_door:
        problem = differing(expected, found)
        assert problem is None, problem
    else:
        dates = {str(case.day.date) for case in world.scenario.cases}
        problem = differing(of_the_market(expected, dates), of_the_market(found, dates))
        assert problem is None, problem
    if world.drawn.at_the_door or world.seed % 5 == 0:
        check_replay(world)
    before = world.state()
    world.process().run()
    assert world.state() == before, "a run that had ended wrote again"
    world.reached |= states_in(found) | kinds_of(world.scenario, world.config)


def check_interventions(world: World, parts: frozenset[str]) -> None:
    """What scans found, and what came and went, made of the market what it has to."""
    assert not world.wrong, world.wrong[0]
    grants: list[Grant] = []
    check_replay(world, grants)
    store, made = world.connected(), planned(world.scenario, world.config).settings
    days = [case.day for case in world.scenario.cases]
    follows = {of.name for of in made.scans if of.then == "follow"}
    entered = Entered(grants, days, follows)
    twice = [of for of, count in (entered.scans + entered.answers).items() if count > 1]
    assert not twice, f"{twice[0]} came twice"
    lost = sorted(entered.asked - entered.answers.keys())
    assert not lost, f"{lost[0]} was asked for, and never answered"
    named = world.scenario.symbols
    start = frozenset(named if world.config.symbols == "all" else world.config.symbols)
    whole = world.undisturbed(parts)
    ticks = made.interval_ns is None
    expected = expected_signals(by_id(whole.signals), entered, start, ticks=ticks)
    left = left_in(store, None)
    world.reached |= states_in(left) | kinds_of(world.scenario, world.config)
    found = by_id(left.signals)
    assert len(found) == store.head().signals, "a signal was stored twice"
    for name in sorted(expected.keys() | found.keys()):
        assert name in found, f"{name} was not reported, known {expected[name]['known_at']}"
        assert name in expected, f"{name} was reported, known {found[name]['known_at']}"
        assert found[name] == expected[name], f"{found[name]}, not {expected[name]}"
    check_days(world, whole, left, entered, start)
    before, world.over = world.state(), True
    last = world.process()
    last.run()
    # What is kept beside the steps of symbols that changed with the last one is written once more.
    head = store.head()
    assert (head.step, head.signals) == (before[1], before[3]), "a run that had ended went on"
    of_clock: clock.State = last.engine.cells[clock.NAME].state
    assert not clock.held_by(of_clock), f"{clock.held_by(of_clock)} still hold the clock"
    assert not last.engine.pauses(), f"{last.engine.pauses()} still hold the clock"


@dataclass(frozen=True)
class Course:
    """How days and sessions went by; which step brought it is the run's own."""

    transitions: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, left: Left, without: Collection[str]) -> Course:
        entries = (orjson.loads(entry) for entry in left.transitions)
        kept = (of for of in entries if of["trading_date"] not in without)
        return cls(tuple({k: v for k, v in of.items() if k != "id"} for of in kept))


def empty_days(world: World, left: Left, entered: Entered, start: frozenset[str]) -> frozenset[str]:
    """Days that ended as they began, as nobody who was watched had a row."""
    entries = (orjson.loads(entry) for entry in left.transitions)
    found = {of["trading_date"] for of in entries if of["why"] == "no row inside the hours"}
    interval_ns = world.scenario.cases[0].interval_ns
    for case in world.scenario.cases:
        watched = entered.at_the_open(case.day.date, start)
        for row in case.rows if str(case.day.date) in found else ():
            segment = segment_of(case.day, row[1], row[0])
            has_row = segment is not None and bad_reason(row, segment, interval_ns) is None
            assert row[0] not in watched or not has_row, f"{row} was there"
    return frozenset(found)


def check_days(
    world: World, whole: Left, left: Left, entered: Entered, start: frozenset[str]
) -> None:
    """Days and sessions go as they would without, and whoever is there has the levels that all have."""
    empty = empty_days(world, left, entered, start)
    problem = differing(Course.of(whole, empty), Course.of(left, empty))
    assert problem is None, problem
    expected = {
        (of, name): orjson.loads(body)
        for of, name, _, body in whole.documents
        if str(of) not in empty
    }
    found = {(of, name): orjson.loads(body) for of, name, _, body in left.documents}
    assert found.keys() == expected.keys(), "documents"
    for (of, name), document in found.items():
        wanted, levels = expected[of, name], document["symbols_data"]
        stays = entered.stays(of, start)
        lacking = stays - levels.keys() if wanted["symbols_data"] else set()
        assert not lacking, f"{of} {name} lacks {lacking}"
        for symbol in levels.keys() - entered.gone(of):
            got = levels[symbol]
            assert got == wanted["symbols_data"][symbol], f"{of} {name}: {symbol} has {got}"
        for key in wanted.keys() - ITS_OWN:
            assert document[key] == wanted[key], f"{of} {name}: {key} is {document[key]}"


ITS_OWN = {"symbols_data", "updated_at", "signals_generated"}
"""What of a document goes by who was there, and when they came."""


def smallest(seed: int, error: AssertionError) -> str:
    """What went wrong with a seed, in its smallest part that still fails."""
    errors = {frozenset[str](): str(error)}

    def fails(without: frozenset[str]) -> bool:
        try:
            simulate(seed, without)
        except AssertionError as found:
            errors[without] = str(found)
            return True
        return False

    without = shrunk(lambda left_out: World(seed, without=left_out).parts, fails)
    left = World(seed, without=without).parts
    return f"{errors[without]}\n  what is left of it: {', '.join(left)}"


def main() -> None:
    arguments = argparse.ArgumentParser(description="Run seeds of the simulation.")
    arguments.add_argument("--seed", type=int, help="one seed, with what it draws")
    arguments.add_argument("--seeds", type=int, nargs=2, metavar=("FROM", "TO"))
    arguments.add_argument(
        "--without", action="append", default=[], metavar="PART", help="leave out of the seed"
    )
    asked = arguments.parse_args()
    if asked.seed is not None:
        world = World(asked.seed, without=asked.without)
        print(world.drawn, world.config.model_dump_json(exclude_defaults=True), sep="\n")
        print(*(f"{case.day.date}: {len(case.rows)} rows" for case in world.scenario.cases))
        simulate(asked.seed, asked.without)
        print(f"seed {asked.seed}: as without faults")
        return
    began, failed, lives = time.process_time(), [], 0
    reached: Counter[str] = Counter()
    for seed in range(*asked.seeds):
        try:
            world = simulate(seed)
            lives += world.lives
            reached += Counter((*world.happened, *world.reached))
        except AssertionError as error:
            failed.append(seed)
            print(smallest(seed, error), flush=True)
    seconds = time.process_time() - began
    print(
        f"{asked.seeds[1] - asked.seeds[0]} seeds, {lives} processes, {seconds:.1f} s of processor time"
    )
    print("in how many seeds it was the case:")
    for name in sorted(expected_names() | set(reached)):
        print(f"{reached[name]:7} {name}")
    print(f"{len(failed)} failed: {failed}" if failed else "all as without faults")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
