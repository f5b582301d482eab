"""What a live step costs: ticks of a feed, from the moment the clock hears of them until it settles.

A day of ticks is given to the actors alone, without a store and without a socket. All windows but
the last are over and under watch, the last one is under way. README.md beside this file says more.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from datetime import time as time_of_day
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbell.actors import clock
from openbell.actors.effects import Await, Commit, Effect, Finish, Settled
from openbell.market.assembly import as_came, no_rows
from openbell.market.bars import RawRows, RowBatch
from openbell.market.breakouts import BreakRules
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay, local_instant
from openbell.market.windows import SessionSpec
from openbell.messages.control import Arrived, DayOver, Loaded, Start
from openbell.runtime.kernel.cells import Cell, cells
from openbell.runtime.kernel.dispatchers import Dispatcher, Inline, Threads
from openbell.runtime.kernel.wiring import Settings, actors, wiring
from openbell.runtime.record import steplog
from openbell.runtime.record.codec import encode

Kind = Literal["inline", "threads"]

TZ = "America/New_York"
DATE = date(2024, 7, 1)
OPEN_NS = local_instant(DATE, time_of_day(9, 30), TZ)
DAY = TradingDay(DATE, TZ, (Segment(OPEN_NS, local_instant(DATE, time_of_day(16), TZ)),))

SYMBOLS = tuple(f"S{number:04}" for number in range(500))
SESSIONS = (4, 20)
TICKS = (10, 1_000)
MEASURED_FROM_NS = OPEN_NS + 120 * MINUTE_NS
MEASURED_UNTIL_NS = MEASURED_FROM_NS + 60 * MINUTE_NS
WARM_STEPS = 120
"""Before the stretch that is measured: a minute of market time each."""

TARGETS = {(4, 10): 0.15, (20, 10): 0.25}
"""Milliseconds, p50, inline, by sessions and ticks."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3_000, help="of ten ticks (%(default)s)")
    options = parser.parse_args()
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    print(f"{len(SYMBOLS)} symbols; ms a step\n")
    print(
        f"{'sessions':>8}{'ticks':>7}  {'dispatcher':<12}{'p50':>8}{'p99':>8}{'CPU p50':>9}{'p99':>8}  ",
        end="",
    )
    print(f"{'target':<16}{'outputs':<10}actors' share of the time")
    for sessions in SESSIONS:
        for ticks in TICKS:
            steps = max(200, options.steps * 10 // ticks)
            for kind in ("inline", "threads"):
                found = measured(kind, sessions, ticks, steps)
                print(line(kind, sessions, ticks, found), flush=True)
    return 0


@dataclass
class Measured:
    """One run."""

    taken: NDArray[np.float64]
    """(n, 2) seconds of each measured step: by the wall clock, and of CPU."""
    shares: dict[str, float]
    """Of each actor that waits for others, of those seconds; the rest is the clock's and what
    carries letters."""
    digest: str
    """Of all that the run brought, and of the actors' states after the measured steps."""


def line(kind: Kind, sessions: int, ticks: int, found: Measured) -> str:
    (p50, cpu), (p99, cpu99) = 1e3 * np.percentile(found.taken, (50, 99), axis=0)
    target = TARGETS.get((sessions, ticks)) if kind == "inline" else None
    said = ""
    if target is not None:
        said = f"≤ {target:g} {'reached' if p50 <= target else 'MISSED'}"
    shares = ", ".join(f"{name} {share:.0%}" for name, share in found.shares.items())
    return (
        f"{sessions:>8}{ticks:>7}  {kind:<12}{p50:>8.3f}{p99:>8.3f}{cpu:>9.3f}{cpu99:>8.3f}  "
        f"{said:<16}{found.digest:<10}{shares}"
    )


def measured(kind: Kind, sessions: int, ticks: int, steps: int) -> Measured:
    specs = windows(sessions)
    settings = Settings(
        exchange="XNYS",
        sessions=specs,
        rules=(BreakRules(),) * sessions,
        companions=(),
        interval_ns=None,
        clock_step="boundary",
        days_ahead=1,
        derived_minutes=(5, 15),
        lateness_ns=2 * SECOND_NS,
        fed=True,
    )
    run = Run(cells(actors(settings), wiring(specs)), list(arrivals(ticks, steps)), WARM_STEPS)
    make = Inline if kind == "inline" else Threads
    run.dispatcher = make(run.cells, run.carry_out)
    run.dispatcher.post(clock.NAME, Start(days=(DAY,)))
    try:
        run.dispatcher.run()
    finally:
        run.dispatcher.close()
    total = sum(wall for wall, _ in run.taken)
    shares: dict[str, float] = {}
    for name, busy in run.busy.items():
        of = "sessions" if name.startswith("session:") else name
        shares[of] = shares.get(of, 0.0) + busy / total
    shares["rest"] = 1 - sum(shares.values())
    if kind == "threads":  # an actor's time holds what other threads took of it
        shares = {}
    return Measured(np.array(run.taken), shares, run.digest())


def windows(count: int) -> tuple[SessionSpec, ...]:
    """Five minutes each, one after another; the last one goes on until the close."""
    starts = [5 * number for number in range(count)]
    ends = [f"open+{start + 5}m" for start in starts[:-1]]
    return tuple(
        SessionSpec(f"Window {number}", f"open+{start}m", end, "left")
        for number, (start, end) in enumerate(zip(starts, [*ends, "close"], strict=True))
    )


def arrivals(ticks: int, steps: int) -> Iterator[Arrived]:
    """The day's ticks, a second out of order, about one price a symbol.

    Before the stretch that is measured they lie far apart; in it, one of 500 breaks what is left.
    """
    rng = np.random.default_rng(7)
    for number in range(WARM_STEPS):
        at = OPEN_NS + number * MINUTE_NS
        yield arrived(rng, at, at + MINUTE_NS, 10 * len(SYMBOLS), 1.0)
    span = (MEASURED_UNTIL_NS - MEASURED_FROM_NS) // steps
    for number in range(steps):
        at = MEASURED_FROM_NS + number * span
        yield arrived(rng, at, at + span, ticks, 0.4)


def arrived(rng: np.random.Generator, from_ns: int, until_ns: int, n: int, width: float) -> Arrived:
    code = rng.integers(len(SYMBOLS), size=n).astype(np.int32)
    ts = np.sort(rng.integers(from_ns, until_ns, n)) - rng.integers(0, SECOND_NS, n)
    ts = np.maximum(ts, OPEN_NS)
    away = rng.uniform(-width, width, n) + np.where(rng.random(n) < 0.002, 1.5, 0.0)
    price = (100.0 + code + away).round(2)
    raw = RawRows(
        "ticks", SYMBOLS, code, ts, {"price": price, "size": np.ones(n)}, lambda i: ("", i)
    )
    data = as_came(raw, DAY, None)
    assert isinstance(data.rows, RowBatch)
    return Arrived(date=DATE, rows=data.rows, counts=data.counts)


@dataclass
class Run:
    """Gives the actors one arrival after another, each when the step before is settled."""

    cells: dict[str, Cell]
    left: list[Arrived]
    warm: int
    taken: list[tuple[float, float]] = field(default_factory=list)
    busy: dict[str, float] = field(default_factory=dict)
    commits: list[Commit] = field(default_factory=list)
    settled: int = 0
    granted: list[Settled] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dispatcher: Dispatcher
        self._began = (0.0, 0.0)
        self._given = 0
        self._states = b""

    def carry_out(self, effect: Effect) -> None:
        match effect:
            case Await():
                data = no_rows(SYMBOLS, DAY, None)
                self.dispatcher.post(clock.NAME, Loaded(date=DATE, data=data))
                self._give()
            case Commit():
                self.commits.append(effect)
            case Settled(grant=grant):
                self.granted.append(effect)
                if any(isinstance(entered, Arrived) for entered in grant.inputs):
                    wall, cpu = self._began
                    self._took(time.perf_counter() - wall, time.process_time() - cpu)
            case Finish():
                self.dispatcher.finish()

    def _took(self, wall: float, cpu: float) -> None:
        if self._given > self.warm:
            self.taken.append((wall, cpu))
        if self._given == self.warm:
            self.busy = {name: -cell.busy for name, cell in self.cells.items()}
        if not self.left:
            busy = {name: self.busy[name] + cell.busy for name, cell in self.cells.items()}
            self.busy = {name: seconds for name, seconds in busy.items() if seconds}
            self._states = b"".join(
                encode(cell.kept) for name, cell in self.cells.items() if name != clock.NAME
            )
            self.dispatcher.post(clock.NAME, DayOver(date=DATE))
            return
        self._give()

    def _give(self) -> None:
        following = self.left.pop(0)
        self._given += 1
        self._began = time.perf_counter(), time.process_time()
        self.dispatcher.post(clock.NAME, following)

    def digest(self) -> str:
        brought = {commit.step: commit for commit in self.commits}
        chain = steplog.START
        for settled in self.granted:
            parts = steplog.parts(brought.get(settled.grant.step))
            chain = steplog.chained(chain, settled.grant, parts)
        return hashlib.blake2b(chain + self._states, digest_size=4).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
