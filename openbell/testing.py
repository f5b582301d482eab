"""Whole durable runs in one thread, for tests: of openbell itself, and of what is built on it.

A `Rehearsal` is a run over rows that a test gives, on a store in memory. A test may throw its
process away at any message and see that nothing is lost. `FailingStore` and `FailingSource` let
what is outside fail, `HandClock` is wall time that the test moves.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from queue import Empty
from typing import Any, NoReturn, cast

import orjson

from openbell.actors import clock, prefetch
from openbell.actors.effects import Settled
from openbell.adapters.sources import Source, SourceInfo, open_source
from openbell.adapters.stores import Corrupt, Fenced, Store, open_store
from openbell.errors import RunError
from openbell.market.assembly import no_rows
from openbell.market.bars import RawRows
from openbell.messages.control import LoadTimedOut
from openbell.runtime.config import Config, config_from
from openbell.runtime.engine import Engine
from openbell.runtime.intake.loading import Delivery, Loader, day_windows
from openbell.runtime.intake.planning import Plan, data_options, plan
from openbell.runtime.kernel.dispatchers import Inline
from openbell.runtime.kernel.pacing import Pacer
from openbell.runtime.lifetime.durable import DurableRun, Restored
from openbell.runtime.record.codec import decode, encode
from openbell.runtime.record.ledger import Ledger

__all__ = [
    "Damage",
    "Delay",
    "Fail",
    "FailingSource",
    "FailingStore",
    "Fault",
    "HandClock",
    "Killed",
    "LoseLease",
    "Rehearsal",
    "in_turn",
]


class Killed(BaseException):
    """The process ends here, as by `kill -9`: nothing may catch it but what starts the next."""


class HandClock:
    """Wall time in seconds, which only moves when a test moves it."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


# What goes wrong outside


@dataclass(frozen=True)
class Fail:
    """The call raises, before the store has executed it or after."""

    error: BaseException
    executed: bool = False


@dataclass(frozen=True)
class Delay:
    """The call takes so long."""

    seconds: float


@dataclass(frozen=True)
class LoseLease:
    """The lease is somebody else's from here on."""


@dataclass(frozen=True)
class Damage:
    """The newest snapshot is corrupt from here on."""


Fault = Fail | Delay | LoseLease | Damage


def in_turn(faults: Mapping[str, Iterable[Fault | None]]) -> Callable[[str], Fault | None]:
    """Faults by operation (`commit`, `head`, `states`, …): one for each call, in turn.

    None stands for a call that goes well, as do all when the faults are over.
    """
    left = {operation: iter(of) for operation, of in faults.items()}
    return lambda operation: next(left.get(operation, iter(())), None)


_AS_HOLDER = ("commit", "renew", "prune", "commands", "take_commands")


class FailingStore:
    """A store whose calls fail as it is told.

    Parameters
    ----------
    faults : callable
        Asked before each call, with its name; gives what goes wrong, or None.
    """

    def __init__(
        self,
        store: Store,
        faults: Callable[[str], Fault | None],
        clock: HandClock | None = None,
    ) -> None:
        self.store = store
        self.damaged: set[int] = set()
        """Epochs that are corrupt."""
        self._faults = faults
        self._clock = clock or HandClock()
        self._lost: set[int] = set()

    @property
    def location(self) -> str:
        return self.store.location

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self.store, operation)

        def call(*args: Any, **kwargs: Any) -> Any:
            fault = self._faults(operation)
            match fault:
                case Fail(error, executed):
                    if executed:
                        method(*args, **kwargs)
                    raise error
                case Delay(seconds):
                    self._clock.advance(seconds)
                case LoseLease():
                    self._lost.add(self.store.head().fence)
                case Damage():
                    newest = next(iter(self.store.epochs()), None)
                    self.damaged |= {newest.epoch} if newest else set()
            if operation in _AS_HOLDER and args[0] in self._lost:
                raise Fenced(f"the lease of token {args[0]} is gone; nothing was written")
            if operation == "states" and args[0] in self.damaged:
                raise Corrupt(f"epoch {args[0]}: fails its checksum")
            found = method(*args, **kwargs)
            if operation == "epochs":
                problem = "the state fails its checksum"
                return [
                    replace(info, problem=problem) if info.epoch in self.damaged else info
                    for info in found
                ]
            return found

        return call


class FailingSource:
    """A source whose first reads fail, or take long.

    It outlives the processes of a rehearsal; whoever opened the source below it closes that.

    Parameters
    ----------
    failures : int
        How many reads raise `error`; openbell gives a day up after four in a row.
    seconds : float
        How long each read takes, by `clock`.
    """

    def __init__(
        self,
        source: Source,
        failures: int = 0,
        *,
        error: Exception | None = None,
        seconds: float = 0.0,
        clock: HandClock | None = None,
    ) -> None:
        self.source = source
        self.failures = failures
        self.reads = 0
        self._error = error or OSError("the source does not answer")
        self._seconds = seconds
        self._clock = clock or HandClock()

    def info(self) -> SourceInfo:
        return self.source.info()

    def dates(self, tz: str) -> dict[date, int]:
        return self.source.dates(tz)

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        self.reads += 1
        self._clock.advance(self._seconds)
        if self.reads <= self.failures:
            raise self._error
        return self.source.read(start_ns, end_ns, symbols)

    def close(self) -> None:
        return


# One thread


class _AtOnce(Executor):
    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 as any pool does
            future.set_exception(error)
        return future


class InlineLoader(Loader):
    """Reads when it is asked to; `late` says of a date whether its rows come after the time-out."""

    def __init__(self, *args: Any, clock: HandClock, late: Callable[[date], bool], **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._pool = cast(Any, _AtOnce())
        self._clock = clock
        self._late_on = late
        self.held: list[Callable[[], None]] = []
        """Deliveries that come late."""

    def deliver(
        self, date: date, say: Callable[[Delivery], None], timeout: float | None = None
    ) -> None:
        if timeout is None or not self._late_on(date):
            super().deliver(date, say)
            return
        day, _ = self._reading[date]
        say(LoadTimedOut(date=date, data=no_rows(self.register(date), day, self._interval_ns)))
        deliver = super().deliver
        self.held.append(lambda: deliver(date, say))

    def _pause(self, seconds: float) -> None:
        self._clock.advance(seconds)


class InlinePacer(Pacer):
    """Wakes the clock when a test has moved wall time; the dispatcher asks."""

    def start(self) -> None:
        return


class InlineLedger(Ledger):
    """Commits when it is told to, in the thread that tells it."""

    cells_to_round_trip: Mapping[str, Any] | None = None

    def start(self) -> None:
        self._gather = 0.0

    def settled(self, settled: Settled) -> None:
        super().settled(settled)
        if self.cells_to_round_trip is not None:
            round_trip(self.cells_to_round_trip, settled)

    def drain(self) -> None:
        while self.commit_waiting():
            pass

    def _wait(self, seconds: float) -> bool:
        return self._closed


def round_trip(cells: Mapping[str, Any], settled: Settled) -> None:
    """Put every actor's state through its bytes.

    Raises
    ------
    RunError
        If what comes back is not what was written.
    """
    for name, cell in cells.items():
        state: Any = settled.clock if name == clock.NAME else cell.state
        try:
            data = encode(state)
        except TypeError as error:
            raise RunError(f"{name}: its state can't be written, {error}") from error
        again = decode(data)
        if encode(again) != data:
            raise RunError(f"{name}: its state at step {settled.grant.step} doesn't come back")
        if name == prefetch.NAME:
            again = replace(again, rows=state.rows)  # not written: read again after a restart
        if name != clock.NAME:  # which has begun the next step
            cell.state = again


class InlineDispatcher(Inline):
    """Asks before each letter whether anything else is to happen.

    Parameters
    ----------
    before : callable
        Called before each letter is handled.
    idle : callable
        Called when there is none; must let something happen.
    """

    def __init__(
        self,
        *args: Any,
        before: Callable[[], None],
        idle: Callable[[], None],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._before = before
        self._idle = idle

    def run(self) -> None:
        while not self._finished:
            self._before()
            self._enter()
            letter = self._next()
            if letter is None:
                self._idle()
            else:
                outcome = self.cells[letter.receiver].receive(letter)
                for effect in outcome.effects:
                    self._carry_out(effect)
                for following in outcome.letters:
                    self._send(following)

    def _enter(self) -> None:
        """What comes from outside stands in line with what actors say."""
        while True:
            try:
                entered = self._outside.get_nowait()
            except Empty:
                return
            if isinstance(entered, BaseException):
                raise entered
            self._send(entered)


class InlineRun(DurableRun):
    """A durable run in one thread, with places for a test to take part in it.

    Subclasses say where rows come from (`_opened`) and what happens when (`before_letter`, `idle`,
    `is_late`).
    """

    ledger_kind = InlineLedger
    seed: int | None = None
    """Of the order in which messages are taken; None: as they were sent."""
    delayed: tuple[str, str] | None = None
    """A connection whose messages come last."""
    round_trips = True
    """Whether each state goes through its bytes after every step."""

    def __init__(self, config: Config, store: Store, clock: HandClock, **kwargs: Any) -> None:
        self.clock = clock
        super().__init__(config, store, **kwargs)

    def before_letter(self) -> None:
        """Make durable what was settled."""
        self.commit_waiting()

    def idle(self) -> None:
        """Let something happen: a commit, rows that come late, wall time."""
        if self.commit_waiting() or self.deliver_late() or self.wake():
            return
        raise RunError("nothing can happen any more: the clock is held, and nobody lets it go")

    def _rest(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def is_late(self, date: date) -> bool:
        """Whether a day's rows come after the time-out, in a paced run."""
        return False

    def commit_waiting(self) -> bool:
        ledger = self.engine.ledger
        return ledger is not None and ledger.commit_waiting()

    def deliver_late(self) -> bool:
        """Deliver what came late; False if nothing did."""
        held = cast(InlineLoader, self.engine.loader).held
        if held:
            held.pop(0)()
        return bool(held) or self._outside_waits()

    def wake(self) -> bool:
        """Move wall time to where the clock is to be woken; False if it isn't."""
        pacer = self.engine._pacer
        left = pacer.left() if pacer is not None else None
        if pacer is not None and left is not None:
            self.clock.advance(left + 1e-6)
            pacer.left()
        return left is not None or self._outside_waits()

    def _outside_waits(self) -> bool:
        return not cast(Inline, self.engine.dispatcher)._outside.empty()

    def _engine(self) -> Engine:
        engine = Engine(
            self.plan,
            self.source,
            self.recorder,
            speed=self.config.feed.speed,
            load_timeout=self.config.prefetch.timeout_seconds.seconds,
            journals=self.journals,
        )
        engine.dispatcher = InlineDispatcher(
            engine.cells,
            engine._carry_out,
            seed=self.seed,
            delayed=self.delayed,
            before=lambda: self.before_letter(),
            idle=lambda: self.idle(),
        )
        engine.loader = InlineLoader(
            self.source,
            symbols=self.plan.symbols,
            registers=self.plan.registers,
            windows=day_windows(self.plan.days),
            trailing=self.plan.trailing,
            journals=self.journals,
            clock=self.clock,
            late=lambda day: self.is_late(day),
        )
        if engine._pacer is not None:
            engine._pacer = InlinePacer(self.config.feed.speed, engine.tell_clock, self.clock)
        return engine

    def _ledger(self, restored: Restored | None) -> Ledger:
        ledger = super()._ledger(restored)
        assert isinstance(ledger, InlineLedger)
        ledger.now = self.clock
        ledger.cells_to_round_trip = self.engine.cells if self.round_trips else None
        return ledger


# For tests of what is built on openbell


class Rehearsal:
    """A durable run over given rows, which a test may throw away and begin again at any message.

    Parameters
    ----------
    config : path, mapping or Config
        `data.path` and `store` are not looked at. With `feed.speed` above 0 market time follows
        `clock`, else it goes as fast as it can.
    rows : path, pandas, polars or pyarrow table, or FailingSource
    store : Store or FailingStore, optional
        One in memory by default.
    seed : int, optional
        Takes messages of different actors in an order drawn from it.

    Attributes
    ----------
    messages, restarts : int
        How many messages the actors have had, in all processes; how many processes were killed.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | str | os.PathLike[str],
        rows: object,
        *,
        store: Store | FailingStore | None = None,
        clock: HandClock | None = None,
        seed: int | None = None,
    ) -> None:
        self.config = config_from(config)
        self.rows = rows
        self.store = cast(Store, store or open_store("memory://", self.config.name))
        self.clock = clock or HandClock()
        self.seed = seed
        self.messages = 0
        self.restarts = 0
        self._process: _Rehearsed | None = None

    def run(
        self,
        before: Callable[[Rehearsal], None] = lambda rehearsal: None,
        idle: Callable[[Rehearsal], None] | None = None,
    ) -> None:
        """Run to the end of the last day, however often it is restarted on the way.

        Parameters
        ----------
        before : callable
            Called before each message; may call `restart`, `pause`, `resume` or move the clock.
        idle : callable, optional
            Called when nothing happens any more unless time goes on; by default the clock is moved
            to where something does.

        Raises
        ------
        OpenbellError
            What `openbell run` ends with.
        """
        while True:
            try:
                self._process = _Rehearsed(self, before, idle)
                self._process.run()
                return
            except Killed:
                self.restarts += 1

    def restart(self) -> NoReturn:
        """Throw away all that is not in the store, as `kill -9` does, and begin again.

        Does not return: whatever calls it must let `Killed` pass.
        """
        raise Killed

    def pause(self) -> None:
        """Hold the clock, as an operator does."""
        self._running().engine.pause("operator")

    def resume(self) -> None:
        self._running().engine.resume("operator")

    @property
    def market_time(self) -> datetime:
        """How far market time has come, UTC."""
        state: clock.State = self._running().engine.cells[clock.NAME].state
        return datetime.fromtimestamp(state.now_ns / 1e9, UTC)

    def signals(self) -> list[dict[str, Any]]:
        """The signal log, in its order, with the fields of `signals.jsonl`."""
        return [orjson.loads(signal.body) for _, signal in self.store.signals()]

    def sessions(self) -> list[dict[str, Any]]:
        """The session documents, by date and name."""
        return [orjson.loads(document.body) for document in self.store.documents()]

    def audit(self) -> list[dict[str, Any]]:
        """The audit trail: transitions, and each `restored`."""
        return [orjson.loads(entry) for _, entry in self.store.audit()]

    def _running(self) -> _Rehearsed:
        if self._process is None:
            raise RunError("the rehearsal has not begun; call it from what run() calls")
        return self._process


class _Rehearsed(InlineRun):
    def __init__(
        self,
        of: Rehearsal,
        before: Callable[[Rehearsal], None],
        idle: Callable[[Rehearsal], None] | None,
    ) -> None:
        self.of = of
        self.seed = of.seed
        self._before, self._idle = before, idle
        super().__init__(of.config, of.store, of.clock)

    def before_letter(self) -> None:
        self.of.messages += 1
        super().before_letter()
        self._before(self.of)

    def idle(self) -> None:
        pacer = self.engine._pacer
        if self._idle is None or pacer is None:
            super().idle()
        elif not self.commit_waiting():
            self._idle(self.of)
            pacer.left()

    def _opened(self) -> tuple[Source, Plan]:
        rows, feed = self.of.rows, self.config.feed
        # What is read to plan the run is read well: a run that can't be planned doesn't begin.
        failing = rows if isinstance(rows, FailingSource) else None
        source = failing.source if failing else open_source(rows, data_options(self.config))
        planned = plan(self.config, source, feed.start, feed.end, paced=feed.speed > 0)
        return failing or source, planned
