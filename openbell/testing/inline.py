"""A durable run in one thread: actors, ledger, loader and pacer do their work when they are told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import replace
from datetime import date
from queue import Empty
from typing import Any, cast

from openbell.actors import clock, prefetch, scanner
from openbell.actors.effects import Settled
from openbell.adapters.stores import Store
from openbell.errors import RunError
from openbell.hosttime import HostClock
from openbell.market.assembly import no_rows
from openbell.messages.control import LoadTimedOut
from openbell.runtime.config import Config
from openbell.runtime.engine import Engine
from openbell.runtime.intake.loading import Delivery, Loader
from openbell.runtime.kernel.dispatchers import Asked, Inline
from openbell.runtime.kernel.pacing import Pacer
from openbell.runtime.kernel.timekeeping import WallKeeper
from openbell.runtime.lifetime.asks import SymbolAsks
from openbell.runtime.lifetime.lease import Heartbeat
from openbell.runtime.lifetime.recovery import Restored
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record.codec import decode, encode
from openbell.runtime.record.ledger import Ledger
from openbell.testing.clocks import HandClock


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


class InlineKeeper(WallKeeper):
    """The same where market time is the host's."""

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


class InlineHeartbeat(Heartbeat):
    """Brings what was told when it is told to, in the thread that tells it."""

    def start(self) -> None:
        return

    def stop(self, *, brings: bool = True) -> None:
        if brings and self.telling.waits:
            self.bring()


class InlineAsks(SymbolAsks):
    """Looks whether symbols are asked for when it is told to, in the thread that tells it."""

    def start(self) -> None:
        return


def round_trip(cells: Mapping[str, Any], settled: Settled) -> None:
    """Put every actor's state through its bytes.

    Raises
    ------
    RunError
        If what comes back is not what was written.
    """
    for name, cell in cells.items():
        state: Any = settled.clock if name == clock.NAME else cell.kept
        try:
            data = encode(state)
        except TypeError as error:
            raise RunError(f"{name}: its state can't be written, {error}") from error
        again = decode(data)
        if encode(again) != data:
            raise RunError(f"{name}: its state at step {settled.grant.step} doesn't come back")
        if name == prefetch.NAME:
            again = replace(again, rows=state.rows)  # not written: read again after a restart
        if name == scanner.NAME:
            again = replace(again, blocks=state.blocks, history=state.history)
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
            if isinstance(entered, Asked):
                entered.call()
            else:
                self._send(entered)


def _at_once(work: Callable[[], None]) -> None:
    work()


def _not_waited(seconds: float, work: Callable[[], None]) -> None:
    """What was to be done at once has been."""


class InlineRun(DurableRun):
    """A durable run in one thread, with places for a test to take part in it.

    Subclasses say where rows come from (`_opened`) and what happens when (`before_letter`, `idle`,
    `is_late`).
    """

    ledger_kind = InlineLedger
    heartbeat_kind = InlineHeartbeat
    asks_kind = InlineAsks
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
        committed = ledger is not None and ledger.commit_waiting()
        if self.telling.waits:
            self.heartbeat.bring()
        return committed

    def deliver_late(self) -> bool:
        """Deliver what came late; False if nothing did."""
        held = cast(InlineLoader, self.engine.loader).held
        if held:
            held.pop(0)()
        return bool(held) or self._outside_waits()

    def wake(self) -> bool:
        """Move wall time to where the clock is to be woken; False if it isn't."""
        keeper = self.engine.timekeeper
        left = keeper.left() if keeper is not None else None
        if keeper is not None and left is not None and not self._outside_waits():
            self.clock.advance(left + 1e-6)
            keeper.left()
        return left is not None or self._outside_waits()

    def look_for_asks(self) -> None:
        """Take in what is asked of symbols through the store, and answer what holds by now."""
        self._asks.look(self._store)

    def insert(self, load: Callable[[], None]) -> None:
        """Load what symbols need that are to come into the day under way."""
        load()

    def insert_within(self, give_up: Callable[[], None]) -> None:
        """Keep what is to be called when that takes too long, where it has a deadline; by default
        nothing does."""

    def _outside_waits(self) -> bool:
        return not cast(Inline, self.engine.dispatcher)._outside.empty()

    def _put_up(self) -> Engine:
        engine = Engine(
            self.plan,
            self.source,
            self.recorder,
            pace=self.pace,
            load_timeout=self.config.prefetch.timeout_seconds.seconds,
            journals=self.journals,
            feed=self.feed,
            exits_in_silence=self.config.feed.silent == "exit",
            filler=self.filler,
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
            windows=self.plan.row_spans,
            trailing=self.plan.trailing,
            journals=self.journals,
            order=self.plan.settings.order,
            fed=self.plan.settings.fed,
            clock=self.clock,
            late=lambda day: self.is_late(day),
        )
        engine.inserter.loader = engine.loader
        engine.inserter.host_now = self.host if self.pace.wall else None
        engine.inserter.begin, engine.inserter.after = _at_once, _not_waited
        if engine.scanning is not None:
            engine.scanning.on_thread = False
        inserter = engine.inserter
        inserter.loader, inserter.begin = engine.loader, lambda load: self.insert(load)
        inserter.after = lambda seconds, give_up: self.insert_within(give_up)
        if engine._pacer is not None:
            pacer = InlinePacer(self.pace.speed, engine.tell_clock, self.clock)
            engine._pacer = engine.timekeeper = pacer
        if self.feed is not None and self.pace.wall:
            keeper = InlineKeeper(
                engine.tell_clock,
                self.feed.complete_ns,
                self.host,
                check_seconds=self.config.day.boundary_check_interval.seconds,
                jumped=engine.clock_set,
                checked=self._look_outside,
            )
            engine.timekeeper, self.feed.handed_over = keeper, keeper.handed_over
            engine._day_after, engine._jumped = self._day_after, self.telling.jumped
            engine.elsewhere = lambda work: work()
        return engine

    def _hear_asks(self) -> None:
        """Another thread would ask the store whenever it came to it."""

    def _host_clock(self) -> HostClock:
        return self.clock.host()

    def _ledger(self, restored: Restored | None) -> Ledger:
        ledger = super()._ledger(restored)
        assert isinstance(ledger, InlineLedger)
        ledger.now = self._retention.now = self.clock
        ledger.cells_to_round_trip = self.engine.cells if self.round_trips else None
        return ledger
