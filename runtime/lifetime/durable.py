"""`openbell run`: a run whose state survives it.

It starts anew, or goes on where the last process came to: the newest good snapshot, then the
grants after it, given again. What those bring must be what was committed, digest by digest.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from pathlib import PurePath
from typing import Any, Literal, TypeVar

import orjson
from loguru import logger

from openbell import __version__
from openbell.actors import clock, day, prefetch
from openbell.actors.effects import Commit
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sinks.tally import Tally
from openbell.adapters.sources import FileIdentity, Source, open_source
from openbell.adapters.stores import (
    CommitRecord,
    Corrupt,
    Document,
    Fenced,
    Head,
    LeaseHeld,
    Snapshot,
    Step,
    Store,
    Unavailable,
    open_store,
    this_process,
)
from openbell.errors import (
    ConfigError,
    DayFailed,
    InputError,
    OpenbellError,
    ReplayError,
    RunError,
    StoreError,
)
from openbell.errors import LeaseLost as LeaseLost  # noqa: PLC0414 where others look for it
from openbell.market.days import TradingDay
from openbell.messages.control import (
    Loaded,
    LoadFailed,
    LoadTimedOut,
    Prepared,
    Recover,
    Roll,
    Start,
)
from openbell.messages.session import DayCleared
from openbell.messages.time import Grant
from openbell.runtime.config import Config
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import Plan, data_options, plan, settings
from openbell.runtime.kernel.cells import ActorFailed, Cell
from openbell.runtime.lifetime.eras import (
    KEY,
    Era,
    begun,
    era_at,
    era_on,
    eras_of,
    first_era,
    given_up,
    going_on,
    kept,
    plan_over,
    written,
)
from openbell.runtime.record import journal, steplog
from openbell.runtime.record.codec import Undecodable, decode, encode
from openbell.runtime.record.ledger import (
    RETRY_SECONDS,
    Ledger,
    audit_entry,
    market_time,
    tell_outage,
    wall_time,
)
from openbell.runtime.record.trail import Transition
from openbell.runtime.results.recording import DaySink, Recorder, WholeDays
from openbell.runtime.results.summary import summary, timing

T = TypeVar("T")

STORE_TOKEN = "store"
GATHER_SECONDS = 0.1
"""How long steps are gathered into one commit where they follow each other at once."""
PRUNE_SECONDS = 1.0
"""Old state is dropped as days end, but not more often; each time waits for the disk."""

RECOVER = b"recover"
"""The command that leaves ERROR."""
RECOVER_SECONDS = 0.25
"""How often who waits for it looks whether it has come."""


class Restored:
    """Where a restart has come: actors' states, and the grants that follow them."""

    def __init__(self, epoch: int, step: int, market_ns: int) -> None:
        self.epoch = epoch
        self.step = step
        """The last step that the states hold."""
        self.market_ns = market_ns
        self.states: dict[str, Any] = {}
        self.chain = steplog.START
        self.steps: tuple[Step, ...] = ()
        self.journal: dict[date, journal.DayRead] = {}
        """What was journaled of the days that the states and the steps are about."""
        self.anew: date | None = None
        """The trading day that follows from its beginning: of the states only what earlier days
        brought counts."""


@dataclass(frozen=True, slots=True)
class Change:
    """How a configuration that is another one is taken."""

    said: str
    """What changes, with both values, and from when on."""
    anew: date | None = None
    """The day that is given up and begun anew."""
    state: str = "NOT_STARTED"
    """That it was in."""
    at_ns: int = 0
    """Market time that it had come to."""


def open_configured_store(config: Config) -> Store:
    """The store that a configuration names.

    Raises
    ------
    StoreError
        If it can't be opened; the text says why.
    """
    return open_store(config.store.url, config.name, replicas=config.store.replicas)


def empty_state(config: Config, *, force: bool) -> None:
    """Have nothing under the configuration's name in its store.

    Raises
    ------
    InputError
        If there is something; with `force` it is removed.
    LeaseLost
        If somebody is running it.
    """
    store = open_configured_store(config)
    try:
        head = store.head()
        if not head.step:
            return
        if not force:
            raise InputError(
                f'{store.location}: has the state of "{config.name}" already, up to step '
                f"{head.step}; pass --force to replace it, or write another name: in the "
                "configuration"
            )
        _acquired(store, config, standby=None)
        store.delete()
    finally:
        store.close()


class DurableRun:
    """A replay of stored data that can be killed at any instant and started again.

    Parameters
    ----------
    data : path or pandas, polars or pyarrow table, optional
        Instead of the configuration's `data.path`. What is used of a table is journaled: a restart
        gives the day under way as it was, and later days as the table is then.
    days : WholeDays, optional
        A sink that knows which days it has: a restart begins before the first one that it lacks.
    whole_days : bool
        Whether, without such a sink, a restart begins before the day under way, so that it is
        among the results as a whole.
    standby : callable, optional
        Called, again and again, while another process holds the lease; None: refuse then.
    on_day : callable, optional
        Gets each day that has ended, after the sinks, and the counts so far.
    dispatcher : str, optional
        None: all actors on one thread at speed 0, else one each.
    in_error : callable, optional
        Called when the day is in ERROR; the run then keeps its lease and waits for `openbell
        recover`. None: it ends.
    fresh_day : bool
        Whether a configuration that gives other answers, or another register, is taken by
        beginning the day under way anew; if not, the first is refused, and symbols that were added
        count from the next day on.
    """

    ledger_kind: type[Ledger] = Ledger

    def __init__(
        self,
        config: Config,
        store: Store,
        *,
        data: Any = None,
        sinks: tuple[DaySink, ...] = (),
        days: WholeDays | None = None,
        whole_days: bool = False,
        standby: Callable[[LeaseHeld], None] | None = None,
        on_day: Callable[[DayResult, Tally], None] | None = None,
        dispatcher: Literal["inline", "threads"] | None = None,
        in_error: Callable[[DayFailed], None] | None = None,
        fresh_day: bool = False,
    ) -> None:
        self.config = config
        self._in_error = in_error
        self._error: str | None = None
        """Why the day is in ERROR."""
        self._dispatcher = dispatcher or ("threads" if config.feed.speed else "inline")
        self._store = store
        self._days = days
        self._whole_days = whole_days
        self._since: date | None = None
        """The first day of which this process gives results, once that is known."""
        self._on_day = on_day
        self._data = config.data.path if data is None else data
        self.source, self.plan = self._opened()
        self._info = self.source.info()
        self.journals = not self._info.lasting
        """Whether what is read is journaled, as no later process could ask for it."""
        # Signals are read from the store, which has those of earlier processes too.
        self.recorder = Recorder(
            sinks if days is None else (*sinks, days),
            self._day_over,
            None if days is None else days.write_day_without_data,
            keep_signals=False,
        )
        self._began = time.time()
        self.outages: list[float] = []
        """Seconds of each time that the store did not answer."""
        self.fence = _acquired(store, config, standby)
        self._ended = threading.Event()
        self._stopped = False
        self._failures: deque[float] = deque()
        self._failed_on: set[tuple[str, int, str]] = set()
        self._heartbeat = threading.Thread(target=self._renew, name="openbell-lease", daemon=True)
        self._controls = threading.Lock()
        self._held_by: set[str] = set()
        self._steps_asked = 0
        self._hears = False
        self._keep_from: date | None = None
        """What lies before may be dropped."""
        self._recorded: frozenset[date] = frozenset()
        """The trading days of the step log when this run began, or went on."""
        self._pruned_at = 0.0
        try:
            self.head = store.head()
            self._shown = self.head.step
            self.change: Change | None = None
            self.eras = self._agreed(fresh_day)
            self.plan = plan_over(self.plan, self.eras)
            if days is not None:
                days.follow(
                    lambda day: era_on(self.eras, day).digest(),
                    lambda day: settings(self._config_on(day)).derived_minutes,
                )
            self.engine = self._engine()
        except BaseException:
            store.release(self.fence)
            self.source.close()
            raise

    def run(self) -> bool:
        """Run to the last day's end; False if it had ended before.

        An actor that raises has all of them begin again from the last snapshot. What fails twice
        on the same message, or more than `supervision.restarts` times, puts the day in ERROR.

        Raises
        ------
        DayFailed
            If the day is in ERROR, now or since an earlier run, and nothing was to wait for
            `openbell recover`, which leaves it.
        LeaseLost, ReplayError, StoreError, InputError
        """
        self.keep_lease()
        try:
            self._write_earlier()
            self._take_change()
            while True:
                try:
                    ran = self._run_supervised()
                except DayFailed as error:
                    self._error = str(error)
                    self._put_together()
                    if self._in_error is None:
                        raise
                    self._in_error(error)
                    if not self._recover_comes():
                        return True
                    self._let_go()
                    self.engine = self._engine()
                else:
                    self._put_together(interrupted=self._stopped)
                    return ran
        except Fenced as error:
            raise LeaseLost(f"the lease was lost: {error}") from error
        except Unavailable:
            if not self._stopped:
                raise
            logger.warning("stopped without the store: a restart runs again what it lacks")
            return True
        finally:
            self.close()

    def keep_lease(self) -> None:
        """Renew the lease from now on until `close`; `run` does it by itself."""
        if self._heartbeat.ident is None:
            self._heartbeat.start()

    def close(self) -> None:
        """Give the lease back and let go of threads; after `run` there is nothing left to do."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self._heartbeat.ident is not None:
            self._heartbeat.join()
        self.engine.close()
        try:
            self._store.release(self.fence)
        except StoreError as error:
            logger.warning("the lease could not be given back: {}", error)
        self.source.close()

    def pause(self, token: str) -> None:
        """Grant no further step until the token is given back, whatever is restarted meanwhile."""
        with self._controls:
            self._held_by.add(token)
            if self._hears:
                self.engine.pause(token)

    def resume(self, token: str) -> None:
        """Give a pause token back."""
        with self._controls:
            self._held_by.discard(token)
            if self._hears:
                self.engine.resume(token)

    def step(self) -> None:
        """Grant one step although the run is paused."""
        with self._controls:
            if self._hears:
                self.engine.step()
            else:
                self._steps_asked += 1

    def _opened(self) -> tuple[Source, Plan]:
        """Where rows come from, and what will be run over them."""
        config = self.config
        if config.feed.type != "replay":
            raise ConfigError(f'feed.type is "{config.feed.type}"; this version runs replay')
        if self._data is None:
            raise ConfigError("data.path is missing; name a file or folder with minutes or ticks")
        source = open_source(self._data, data_options(config))
        paced = config.feed.speed > 0
        return source, plan(config, source, config.feed.start, config.feed.end, paced=paced)

    def _engine(self) -> Engine:
        speed = self.config.feed.speed
        return Engine(
            self.plan,
            self.source,
            self.recorder,
            dispatcher=self._dispatcher,
            speed=speed,
            load_timeout=self.config.prefetch.timeout_seconds.seconds,
            journals=self.journals,
        )

    def _recover_comes(self) -> bool:
        """Wait in ERROR for the command that leaves it; False if the run is stopped first."""
        while not self._stopped:
            if RECOVER in self._commands():
                return True
            self._rest(RECOVER_SECONDS)
        return False

    def _commands(self) -> Sequence[bytes]:
        return self._answered(lambda: self._store.commands(self.fence))

    def _answered(self, call: Callable[[], T]) -> T:
        """What the store answers, asked again until it does.

        Raises
        ------
        Unavailable
            If the run is stopped first.
        """
        began, tries = time.monotonic(), 0
        while True:
            try:
                found = call()
            except Unavailable as error:
                if self._stopped:
                    raise
                if not tries:
                    logger.warning("the store does not answer: {}; trying again", error)
                self._rest(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                tries += 1
                continue
            if tries:
                self.outages.append(time.monotonic() - began)
                tell_outage(self._store, self.outages[-1])
            return found

    def _rest(self, seconds: float) -> None:
        time.sleep(seconds)

    def _let_go(self) -> None:
        """Of actors that failed."""
        with self._controls:
            self._hears = False
        self.engine.close()

    def _run_supervised(self) -> bool:
        while True:
            try:
                ran = self._run_once()
            except ActorFailed as failure:
                self._let_go()
                self._supervise(failure)
                self.engine = self._engine()
                continue
            if self._stopped or (ended := self._followed_by_days()) is None:
                return ran
            self._let_go()
            self.engine = self._engine()
            self._take_change(ended)

    def _run_once(self) -> bool:
        self.head = self._answered(self._store.head)
        self._refuse_to_go_on_in_error()
        found = self._answered(self._restored) if self.head.step else None
        self._recorded = self._answered(
            lambda: frozenset(step.trading_date for step in self._store.steps())
        )
        if found is None:
            self._since = date.min
            if self._days is not None:
                self._days.begin()
        prepared = restore(self.engine, self.plan, found)
        recover = self._leave_error(prepared)
        self.engine.ledger = ledger = self._ledger(found)
        ledger.start()
        if self._stopped:
            return True
        if found is not None:
            # Who keeps days may lack one that was taken in: it was damaged since.
            taken = self.recorder.taken if self._days is None else frozenset[date]()
            self.recorder.go_on(self._last_over(found), taken)
            self._say_restored(found)
            ended: clock.State = self.engine.cells[clock.NAME].state
            if not prepared.grants and ended.ended is not None and not recover:
                if ended.ended.error is not None:
                    raise DayFailed(f"{ended.ended.error}; in ERROR, `openbell recover` leaves it")
                return False
        if recover:
            prepared = Prepared(grants=prepared.grants, inputs=(*prepared.inputs, Recover()))
        self._let_hear()
        start = self._start_anew()
        self.engine.run(start or (prepared if found is not None else None))
        if not self._stopped:
            self._prune()
            self.head = self._answered(self._store.head)
        return True

    def _last_over(self, found: Restored) -> date | None:
        """The last day that is over, where a restart has come to."""
        of_day: day.State = self.engine.cells[day.NAME].state
        if of_day.state == "ENDED":
            return of_day.day.date
        today = of_day.day.date if of_day.position >= 0 else found.anew
        earlier = (d.date for d in self.plan.days if today is not None and d.date < today)
        return max(earlier, default=None)

    def _followed_by_days(self) -> Restored | None:
        """What the run has ended with, if the data has trading days by now that lie beyond what was
        planned at its start: then it goes on with them, as with a day that is begun anew."""
        of_day: day.State = self.engine.cells[day.NAME].state
        if not of_day.plan or self.plan.days[-1].date <= of_day.plan[-1].date:
            return None
        last = of_day.plan[-1].date
        since = last + timedelta(days=1)
        # The newest snapshot may be damaged. What to go on from is at hand, and becomes another.
        ended = Restored(0, self.head.step, 0)
        ended.states = {name: cell.state for name, cell in self.engine.cells.items()}
        ended.anew = since
        base = self._answered(self._store.epochs)[0].step or self.head.step
        config, symbols, step = self.config.determining(), self.plan.symbols, self.head.step + 1
        self.eras = (*begun(self.eras, last), Era(since, config, symbols, step, base))
        self.plan = plan_over(self.plan, self.eras)
        self.change = Change(f"from {self._days_from(since)[0].date} on: further days")
        return ended

    def _start_anew(self) -> Start | None:
        """What begins a day anew, if that is still to be done."""
        step = self.head.step + 1
        era = era_at(self.eras, step)
        if era is None or era.step != step:
            return None
        days = self._days_from(era.since)
        is_first = days[0] == self.plan.days[0]
        return Start(days=days, live_from_ns=self.plan.live_from_ns if is_first else 0)

    def _let_hear(self) -> None:
        """Tell the engine what was asked for when its actors' states were not in place yet."""
        with self._controls:
            self._hears = True
            for token in self._held_by:
                self.engine.pause(token)
            for _ in range(self._steps_asked):
                self.engine.step()
            self._steps_asked = 0

    def _config_on(self, day: date) -> Config:
        """What a day is run with."""
        return self.config.with_determining(era_on(self.eras, day).config)

    def _write_earlier(self) -> None:
        """Write the days that are lacking of those before the one that is begun anew: a process may
        have been killed when one had ended and its files weren't there yet. What goes on from that
        day knows nothing of them, so that each is run again by itself, as it was configured.

        Raises
        ------
        InputError
            If a day is lacking whose steps were dropped, or whose data is another one.
        """
        from openbell.runtime.lifetime.replaying import replay_day  # it is made of what is here

        era = era_at(self.eras, self.head.step + 1)
        if self._days is None or era is None:
            return
        written = self._days.written()
        steps = [(step.number, step.trading_date) for step in self._store.steps()]
        earlier = {of for number, of in steps if not given_up(self.eras, number, of)}
        for of in sorted(of for of in earlier if of < era.since and of not in written):
            recorder = Recorder(
                (self._days,), None, self._days.write_day_without_data, keep_signals=False
            )
            try:
                again = replay_day(self._config_on(of), self._store, of, recorder=recorder)
            except InputError as error:
                raise _lost(of, str(error)) from error
            if again.differs is not None:
                raise ReplayError(again.differs)

    def _take_change(self, before: Restored | None = None) -> None:
        """Make it durable that the configuration is another one, or that there are further days.

        A process that is killed after that goes on with it: a day that is to be begun anew still
        is, as its first step is known.

        Parameters
        ----------
        before : Restored, optional
            What that day goes on from; None: what the store has.
        """
        if self.change is None:
            return
        change = self.change
        logger.info("{}", change.said)
        meta = self._identity()
        entry: dict[str, Any] = {"what": "config", "why": change.said}
        given_up: list[Document] = []
        transitions: list[Transition] = []
        snapshot = None
        if (start := self._start_anew()) is not None:
            before = before or restored(self._store, self.head.step, eras=self.eras)
            snapshot = self._snapshot_before(start.days[0], before)
        if change.anew is not None:
            meta |= {"error": b""} if self.head.meta.get("error") else {}
            reported = self._store.signals(trading_date=change.anew)
            entry |= {
                "what": "day",
                "trading_date": str(change.anew),
                "from": change.state,
                "to": "NOT_STARTED",
                "market_time": market_time(change.at_ns),
                "signals": sum(1 for _ in reported),
            }
            given_up = [
                document
                for document in self._store.documents(trading_date=change.anew)
                if document.status != "SKIPPED"
            ]
            transitions = [_end_of(document, change.at_ns) for document in given_up]
        self._note(
            meta,
            entry,
            more=tuple(map(audit_entry, transitions)),
            documents=tuple(map(_given_up, given_up)),
            snapshot=snapshot,
        )
        self.head = self._answered(self._store.head)

    def _snapshot_before(self, first: TradingDay, found: Restored) -> Snapshot:
        """What a day that is begun anew goes on from, as the last snapshot of the day before: that
        is the one which is kept for as long as the day can be replayed."""
        restore(self.engine, self.plan, found)
        return Snapshot(
            market_ns=first.open_ns,
            trading_date=first.date - timedelta(days=1),
            states={name: encode(cell.state) for name, cell in self.engine.cells.items()},
            actors=tuple(self.engine.cells),
        )

    def _refuse_to_go_on_in_error(self) -> None:
        """
        Raises
        ------
        DayFailed
            If a message failed too often, and nobody wants it tried again.
        """
        error = self.head.meta.get("error")
        if error and RECOVER not in self._commands():
            dead = json.loads(error)
            raise DayFailed(
                f"{dead['actor']} failed at step {dead['step']} on {dead['message']}: "
                f"{dead['error']}; in ERROR, `openbell recover` leaves it"
            )

    def _leave_error(self, prepared: Prepared) -> bool:
        """Do what `openbell recover` asks for; whether a day whose rows were not had is tried again.

        The command goes when what it asks for is durable: that the last step is to be followed by
        a Recover, which holds until it is.
        """
        ended: clock.State = self.engine.cells[clock.NAME].state
        failed = ended.ended is not None and ended.ended.error is not None
        if prepared.grants and isinstance(last := prepared.grants[-1], Grant):
            failed = any(isinstance(entered, LoadFailed) for entered in last.inputs)
        step = str(self.head.step).encode()
        if RECOVER in self._commands():
            dead, asked = self.head.meta.get("error"), self.head.meta.get("recover") == step
            if dead or (failed and not asked):
                meta = {"error": b"", **({"recover": step} if failed else {})}
                self._note(meta, {"what": "recover", "why": "`openbell recover`"})
                self._failures.clear()
                self._failed_on.clear()
            self._answered(lambda: self._store.take_commands(self.fence))
            self.head = self._answered(self._store.head)
            self._error = None
        return failed and self.head.meta.get("recover") == step

    def _supervise(self, failure: ActorFailed) -> None:
        """Let the actors begin again, or give up.

        Raises
        ------
        DayFailed
        """
        supervision, now = self.config.supervision, time.monotonic()
        cause = failure.__cause__
        about = (failure.actor, failure.step, type(failure.message).__name__)
        poison = about in self._failed_on
        self._failed_on.add(about)
        self._failures.append(now)
        while now - self._failures[0] > supervision.within.seconds:
            self._failures.popleft()
        logger.opt(exception=cause).error("{}: {!r}", failure, cause)
        if not poison and len(self._failures) <= supervision.restarts:
            entry = {"what": "restart", "why": f"{failure}: {cause!r}"}
            self._tell(orjson.dumps({**entry, "wall_time": wall_time()}))
            return
        why = "twice on the same message" if poison else f"{len(self._failures)} times"
        dead = {
            "actor": failure.actor,
            "step": failure.step,
            "message": type(failure.message).__name__,
            "error": repr(cause),
            "why": why,
            "traceback": "".join(traceback.format_exception(cause)) if cause else "",
        }
        entry = {"what": "day", "to": "ERROR", "why": f"{failure} {why}: {cause!r}"}
        self._note({"error": orjson.dumps(dead)}, entry)
        raise DayFailed(
            f"{failure}, {why}: {cause!r}; everything before is kept, `openbell status` shows the "
            "message and `openbell recover` tries again"
        ) from failure

    def _tell(self, line: bytes) -> None:
        """Append to the audit trail, once: an answer that is lost does not mean that it was not."""
        sent = False

        def append() -> None:
            nonlocal sent
            if sent:
                count = self._store.usage().counts["audit"]
                # Others may have appended something meanwhile, but not much.
                if line in (entry for _, entry in self._store.audit(max(0, count - 100))):
                    return
            sent = True
            self._store.append_audit(line)

        self._answered(append)

    def _note(
        self,
        meta: Mapping[str, bytes],
        entry: Mapping[str, Any],
        more: tuple[bytes, ...] = (),
        documents: tuple[Document, ...] = (),
        snapshot: Snapshot | None = None,
    ) -> None:
        """Make facts durable that belong to no step, and say so in the audit trail."""
        head = self._answered(self._store.head)
        line = orjson.dumps({"from": None, "to": None, **entry, "wall_time": wall_time()})
        digest = hashlib.blake2b(line, digest_size=16).digest()
        record = CommitRecord(
            head.commit + 1,
            digest,
            snapshot=snapshot,
            documents=documents,
            audit=(line, *more),
            meta=meta,
        )
        self._answered(lambda: self._store.commit(self.fence, record))

    def stop(self) -> None:
        """End after the step under way; what was settled is committed."""
        self._stopped = True
        self.engine.stop()

    def _day_over(self, day: DayResult, tally: Tally) -> None:
        if self._on_day is not None:
            self._on_day(day, tally)
        if self._days is not None:
            # Until the run has ended it may be killed, and this be all there is.
            self._days.renew(partial(self._summary, interrupted=True))

    def _put_together(self, *, interrupted: bool = False) -> None:
        if self._days is not None:
            account = partial(self._summary, interrupted=interrupted, error=self._error)
            self._days.put_together(account)

    def _summary(
        self, tally: Tally, *, interrupted: bool, error: str | None = None
    ) -> dict[str, Any]:
        """What stands in `summary.json` for days that come to `tally`."""
        complete = len(tally.days) + len(tally.without_data) == len(self.plan.days)
        seconds, rows = time.time() - self._began, self.recorder.tally.counts["rows"]
        return summary(
            self.config,
            self.plan,
            self._info,
            tally,
            interrupted=interrupted and not complete,
            error=error,
            timing=timing(self._began, seconds, rows, self.engine.metrics()),
        )

    def _ledger(self, restored: Restored | None) -> Ledger:
        config = self.config
        ledger = self.ledger_kind(
            self._store,
            self.fence,
            self.engine.cells,
            commit_number=self.head.commit,
            digest=restored.chain if restored is not None else b"",
            meta={} if restored is not None else self._identity(),
            expected={step.number: step for step in restored.steps} if restored else {},
            snapshot_every=config.snapshot.every.seconds,
            backlog=config.store.backlog.bytes,
            seen=self._seen,
            hold=lambda: self.engine.pause(STORE_TOKEN),
            release=lambda: self.engine.resume(STORE_TOKEN),
            fail=self.engine.dispatcher.fail,
            order=self.plan.order,
            gather=0.0 if config.feed.speed else min(GATHER_SECONDS, config.snapshot.every.seconds),
        )
        ledger.outages = self.outages  # of one run, however often its actors begin again
        return ledger

    def _seen(self, commit: Commit, before: bool) -> None:
        # Not `before`: what was stored without an answer is given again, and was not shown yet.
        self.recorder.commit(commit, seen_before=commit.step <= self._shown)
        self._shown = max(self._shown, commit.step)
        if commit.closed is not None and not before:
            self._keep_from = self._days_back(commit.closed)
            if time.monotonic() - self._pruned_at >= PRUNE_SECONDS:
                self._prune()

    def _prune(self) -> None:
        """Drop what lies too far back."""
        if self._keep_from is None:
            return
        try:
            self._store.prune(self.fence, self._keep_from, self.config.snapshot.keep)
        except Unavailable as error:
            logger.warning("old state was not dropped, the next day's end will: {}", error)
            return
        self._keep_from, self._pruned_at = None, time.monotonic()

    def _days_back(self, closed: date) -> date:
        of_day: day.State = self.engine.cells[day.NAME].state
        # A table or feed.start may leave out the earlier ones by now, and so does a plan that was
        # begun anew.
        known = {d.date for d in (*self.plan.days, *of_day.plan)} | self._recorded
        dates = sorted(of for of in known if of <= closed)
        return dates[max(0, len(dates) - self.config.store.keep_days)]

    def _first_kept(self) -> date:
        """The first day of the step log."""
        return next(iter(self._store.steps())).trading_date if self.head.step else date.min

    def _identity(self) -> dict[str, bytes]:
        files = {name: [file.size, file.digest] for name, file in self._files()}
        if self.head.step:
            files = {**json.loads(self.head.meta["files"]), **files}
        return {
            KEY: written(kept(self.eras, self._first_kept())),
            "files": json.dumps(files, sort_keys=True).encode(),
            "program": __version__.encode(),
        }

    def _files(self) -> Iterator[tuple[str, FileIdentity]]:
        """The data's files, by names that stay wherever their folder lies and is called from."""
        folder = PurePath(self.config.data.path or "")
        for file in self._info.files if self._info.lasting else ():
            path = PurePath(file.path)
            if path == folder:
                yield path.name, file
            else:
                inside = path.is_relative_to(folder)
                yield str(path.relative_to(folder) if inside else path), file

    def _agreed(self, fresh_day: bool) -> tuple[Era, ...]:
        """Under which configuration which days were run, and will be.

        Raises
        ------
        ConfigError, InputError
            If the run can't go on with this configuration, or with other data.
        """
        config, head, symbols = self.config, self.head, self.plan.symbols
        if not head.step:
            return (first_era(config, symbols),)
        self._check_files(head)
        held = eras_of(head, symbols)
        (step,) = self._store.steps(after=head.step - 1)
        last = step.trading_date
        changes = begun(held, last)[-1].changes(config.determining(), symbols)
        if not (fresh_day and changes):
            eras = going_on(held, config, symbols, last)
            if eras != held:
                self.change = Change(f"after {last}: {changes or 'all as it was'}")
            return eras
        eras, self.change = self._begun_anew(held, step, changes)
        return eras

    def _begun_anew(
        self, held: tuple[Era, ...], reached: Step, changes: str
    ) -> tuple[tuple[Era, ...], Change]:
        last = reached.trading_date
        config, symbols, step = self.config.determining(), self.plan.symbols, self.head.step + 1
        state = "NOT_STARTED"
        before = era_at(held, step)
        if before is not None and before.step == step:
            # Was to be begun anew, and has not been.
            since, base = before.since, before.base
        else:
            newest = self._store.epochs()[0]
            if newest.problem is not None:
                raise StoreError(
                    f"the newest snapshot is damaged ({newest.problem}), so that {last} can't be "
                    "begun anew; go on with the old configuration until there is another"
                )
            of_day: day.State = decode(self._store.states(newest.epoch)[day.NAME])
            state = of_day.state
            if state == "ENDED":
                since, base = last + timedelta(days=1), newest.step
            else:
                since, base = last, recorded_steps(self._store, last, held)[0] - 1
        first = self._days_from(since)[0].date
        eras = (
            *(era for era in begun(held, last) if era.step != step),
            Era(since, config, symbols, step, base),
        )
        if since > last:
            return eras, Change(f"from {first} on: {changes}")
        said = f"{last} is begun anew: {changes}"
        return eras, Change(said, last, state, reached.market_ns)

    def _days_from(self, since: date) -> tuple[TradingDay, ...]:
        """The days of the plan from a date on.

        Raises
        ------
        ConfigError
            If there are none.
        """
        days = tuple(planned for planned in self.plan.days if planned.date >= since)
        if not days:
            raise ConfigError(
                f"no trading day from {since} on is left to begin with this configuration, by "
                "the data and feed.end; to run all days with it, write another name: in it"
            )
        return days

    def _check_files(self, head: Head) -> None:
        """
        Raises
        ------
        InputError
            If a file is another one than it was.
        """
        held = json.loads(head.meta["files"])
        for name, file in self._files():
            if name in held and held[name] != [file.size, file.digest]:
                raise InputError(
                    f"{file.path}: not the file that the state of {self.config.name!r} was made "
                    "from; put that one back, or start under another name:"
                )

    def _restored(self) -> Restored:
        """The newest snapshot that can be used, and the steps after it.

        Where days are kept, or wanted as a whole, it lies before the first one that is lacking.

        Raises
        ------
        InputError
            If a day is lacking whose steps were dropped.
        """
        head = self._store.head()
        if self._days is None:
            newest = restored(self._store, head.step, eras=self.eras)
            return self._before_day(newest) if self._whole_days else newest
        written = self._days.written()
        steps = [(step.number, step.trading_date) for step in self._store.steps()]
        first, kept_from = steps[0]
        dropped = {d.date for d in self.plan.days if first > 1 and d.date < kept_from}
        if (lacks := dropped - set(written)) and (lost := lacks & self._ever_run()):
            raise _lost(min(lost))
        # One commit may hold a day's end and the next one's opening, and be the last before a kill.
        counts = ((number, of) for number, of in steps if not given_up(self.eras, number, of))
        lacking = next(((number, of) for number, of in counts if of not in written), None)
        if lacking is None:
            return restored(self._store, head.step, eras=self.eras)
        number, of = lacking
        try:
            found = restored(self._store, number, eras=self.eras)
        except Corrupt:
            if number == first > 1:
                raise _lost(of) from None
            raise
        was: day.State | None = found.states.get(day.NAME) if found.anew is None else None
        # A day is opened by a later step than its first one.
        if was is not None and was.day.date == of and was.state != "PRE_MARKET":
            raise _lost(of)
        return found

    def _ever_run(self) -> set[date]:
        """The days that were run, also those whose steps were dropped: the audit trail keeps all.
        The data may have others, before the first or left out by feed.start then."""
        entries = (orjson.loads(entry) for _, entry in self._store.audit())
        days = (entry.get("trading_date") for entry in entries if entry["what"] == "day")
        return {date.fromisoformat(of) for of in days if of}

    def _before_day(self, newest: Restored) -> Restored:
        """Before the first day that this process has not taken in; where its beginning can't be
        had any more, the newest: that day is left out of the results then."""
        reached: day.State | None = None if newest.steps else newest.states.get(day.NAME)
        if reached is not None and reached.state == "ERROR":
            return newest  # a day that `openbell recover` tries again is opened again
        steps = [
            (step.number, step.trading_date)
            for step in self._store.steps()
            if not given_up(self.eras, step.number, step.trading_date)
        ]
        if self._since is None:
            ended = reached is not None and reached.state == "ENDED"
            self._since = newest.anew or steps[-1][1] + timedelta(days=ended)
        since, taken = self._since, self.recorder.taken
        lacking = (number for number, of in steps if of >= since and of not in taken)
        if (number := next(lacking, None)) is None:
            return newest
        try:
            return restored(self._store, number, eras=self.eras)
        except Corrupt as error:
            logger.warning("the day under way is not among the results: {}", error)
            return newest

    def _say_restored(self, restored: Restored) -> None:
        again = len(restored.steps)
        logger.info(
            "restored: epoch {}, market time {}, {} steps given again",
            restored.epoch,
            market_time(restored.market_ns),
            again,
        )
        entry = {
            "what": "restored",
            "from": None,
            "to": None,
            "epoch": restored.epoch,
            "market_time": market_time(restored.market_ns),
            "steps": again,
            "wall_time": wall_time(),
            "why": "a restart",
        }
        self._tell(orjson.dumps(entry))

    def _renew(self) -> None:
        pause = self.config.lease.ttl.seconds / 3
        while not self._ended.wait(pause) and self._beat():
            pass

    def _beat(self) -> bool:
        """Show that this process lives; False if the lease is somebody else's."""
        try:
            self._store.renew(self.fence)
        except Fenced as error:
            self.engine.dispatcher.fail(LeaseLost(f"the lease was lost: {error}"))
            return False
        except Unavailable as error:
            logger.debug("the lease could not be renewed: {}", error)
        except StoreError as error:  # ends the run; until then, as in ERROR, the lease is ours
            self.engine.dispatcher.fail(error)
        return True


def _lost(day: date, why: str = "the store has dropped its steps (store.keep_days)") -> InputError:
    return InputError(
        f"{day}: its files are not in --out, and can't be made any more: {why}; leave out --out, or "
        "start anew under another name:"
    )


BEGUN_ANEW = "the day was begun anew"


def _end_of(document: Document, at_ns: int) -> Transition:
    return Transition(
        "session",
        document.trading_date,
        document.status,
        "SKIPPED",
        at_ns,
        BEGUN_ANEW,
        document.session,
    )


def _given_up(document: Document) -> Document:
    """A session's document until its day, begun anew, opens; for good where it is no longer run."""
    fields = {
        **orjson.loads(document.body),
        "status": "SKIPPED",
        "started_at": None,
        "completed_at": None,
        "symbols_data": {},
        "breakouts_checked": False,
        "reason": BEGUN_ANEW,
    }
    return replace(document, status="SKIPPED", completed_ns=None, body=orjson.dumps(fields))


def restore(engine: Engine, plan: Plan, restored: Restored | None) -> Prepared:
    """Put restored states into an engine's actors, and read again what they had read.

    Returns
    -------
    Prepared
        The grants that follow, for the clock; and a day's rows, if it had to open without them and
        they had not come yet.

    Raises
    ------
    RunError
        If the source does not give again what it gave before.
    """
    if restored is None:
        return Prepared()
    cells, loader = engine.cells, engine.loader
    loader.remember(restored.journal)
    states = restored.states if restored.anew is None else _carried_over(cells, restored)
    for name, state in states.items():
        if name not in cells:
            raise StoreError(f"the snapshot has an actor that this configuration hasn't, {name}")
        cells[name].state = state
    for cell in cells.values():
        cell.step = restored.step
    days = {planned.date: planned for planned in planned_days(restored)}
    # What was begun is ended, though feed.start or feed.end may leave it out by now.
    dates = sorted(plan.trailing.dates)
    there = {of: days[of] for of in days if dates and dates[0] <= of <= dates[-1]}
    there |= {planned.date: planned for planned in plan.days}
    there |= {known.day.date: known.day for known in restored.journal.values()}
    of_day: day.State = cells[day.NAME].state
    handing: prefetch.State = cells[prefetch.NAME].state
    read: dict[date, Loaded] = {}

    def load(wanted: date) -> Loaded:
        if wanted not in read:
            if wanted not in there:
                raise StoreError(f"{wanted} was run, but the data has no such trading day any more")
            loader.start(there[wanted])
            try:
                read[wanted] = loader.take(wanted)
            except OpenbellError:
                raise
            except Exception as error:
                raise RunError(
                    f"{wanted}: its rows can't be read again, {error}; start once more when the "
                    "source answers"
                ) from error
        return read[wanted]

    def again(wanted: date) -> Loaded:
        if loader.journals and wanted not in restored.journal:
            raise StoreError(
                f"{wanted} was run, but its rows are not in the journal, and can't be asked for "
                "again; go on with the data that it was run on"
            )
        return load(wanted)

    def without_rows(wanted: date) -> LoadTimedOut:
        return loader.timed_out(days[wanted])

    if of_day.phase == "stream":
        today = of_day.day
        opened = loader.timed_out(today) if of_day.without_rows else again(today.date)
        cells[prefetch.NAME].state = replace(handing, rows=opened.data.rows)
    grants = tuple(
        steplog.granted(steplog.read(step.grant), again, without_rows) for step in restored.steps
    )
    for asked in handing.asked:
        if asked not in read:
            loader.start(days[asked])
    engine.read_again = frozenset(read)
    late = _late(of_day, grants)
    return Prepared(grants=grants, inputs=(load(late),) if late is not None else ())


def _carried_over(cells: Mapping[str, Cell], restored: Restored) -> dict[str, Any]:
    """States before a day that is begun anew: as new, but for what earlier days brought.

    The actors may be others than those of the snapshot, and those of the same name may have other
    settings: what they keep of a day is cleared before it could matter.
    """
    assert restored.anew is not None
    cleared = DayCleared(date=restored.anew)
    states: dict[str, Any] = {clock.NAME: clock.State(step=restored.step)}
    for name, state in restored.states.items():
        if name in cells and name != prefetch.NAME and DayCleared in cells[name].actor.hears:
            states[name], _ = cells[name].actor.update(state, cleared)
    return states


def planned_days(restored: Restored) -> tuple[TradingDay, ...]:
    """The trading days of the run that left this, oldest first."""
    of_day: day.State | None = restored.states.get(day.NAME) if restored.anew is None else None
    if of_day is not None and of_day.plan:
        return of_day.plan
    if not restored.steps:
        return ()
    begun = steplog.read(restored.steps[0].grant)
    nothing: dict[date, Any] = {}  # a grant with which a run begins carries its plan, and no rows
    grant = steplog.granted(begun, nothing.__getitem__, nothing.__getitem__)
    return next((start.days for start in grant.inputs if isinstance(start, Start)), ())


def _late(of_day: day.State, grants: tuple[Grant, ...]) -> date | None:
    """The date whose rows had not come when a process ended that ran it without them."""
    # A day in ERROR asks for them itself when it is tried again.
    late = of_day.day.date if of_day.without_rows and of_day.state != "ERROR" else None
    for entered in (entered for grant in grants for entered in grant.inputs):
        match entered:
            case LoadTimedOut(date=opened):
                late = opened
            case Loaded() | LoadFailed() | Roll():
                late = None
    return late


def restored(
    store: Store, step_max: int, until: int | None = None, *, eras: Sequence[Era] = ()
) -> Restored:
    """The newest snapshot of a step up to one, and the steps after it.

    A snapshot that can't be used is reported, and the one before is taken. Where the day that
    follows `step_max` was begun anew, nothing of what was given up by that comes back.

    Parameters
    ----------
    until : int, optional
        The last step wanted; None: all there are.
    eras : sequence of Era
        Of the whole state; none: no day was begun anew.

    Raises
    ------
    Corrupt
        If there is none, and the step log doesn't reach back to the start either.
    """
    era = era_at(eras, step_max + 1)
    anew, base = (era.step or 0, era.base) if era is not None else (0, 0)
    found = Restored(0, 0, 0)
    dates: set[date] = set()
    for epoch in store.epochs():
        if not base <= epoch.step <= step_max:
            continue
        try:
            if epoch.problem is not None:
                raise Corrupt(epoch.problem)
            states = {name: decode(data) for name, data in store.states(epoch.epoch).items()}
        except (Corrupt, Undecodable) as error:
            logger.warning("snapshot {}: {}; taking the one before", epoch.epoch, error)
            continue
        found = Restored(epoch.epoch, epoch.step, epoch.market_ns)
        found.states = states
        dates.add(epoch.trading_date)
        break
    if era is not None and base <= found.step < anew:
        found.step, found.anew = anew - 1, era.since
    steps = list(store.steps(after=max(found.step - 1, 0), until=until))
    if found.step:
        found.chain, steps = steps[0].digest, steps[1:]
    elif anew or (steps and steps[0].number != 1):
        begins = base + 1 if anew else steps[0].number
        raise Corrupt(
            f"no snapshot up to step {step_max} can be used, and the steps that lead there begin "
            f"at {begins}; start anew under another name:, or restore the store's files"
        )
    found.steps = tuple(steps)
    dates |= {step.trading_date for step in steps}
    found.journal = journal.days(
        (entry for used in sorted(dates) for entry in store.journal(used)),
        lambda step, of: not given_up(eras, step, of),
    )
    return found


def recorded_steps(store: Store, day: date, eras: Sequence[Era] = ()) -> tuple[int, int]:
    """The first and the last step of a trading day in the step log, of what was not given up.

    Raises
    ------
    InputError
        If the day was not recorded, or was dropped since.
    """
    firsts: dict[date, int] = {}
    lasts: dict[date, int] = {}
    anew = {era.step for era in eras}
    before: date | None = None
    for step in store.steps():
        # Pruned, the log begins with the end of a day, after the snapshot that the next needs.
        follows = before is not None and before != step.trading_date
        before = step.trading_date
        if given_up(eras, step.number, before):
            continue
        if step.number == 1 or step.number in anew or follows:
            firsts[before] = step.number
        lasts[before] = step.number
    if day in firsts:
        return firsts[day], lasts[day]
    kept = list(firsts)
    span = f"kept: {kept[0]} to {kept[-1]}" if kept else "nothing was"
    raise InputError(f"{day}: not recorded, or dropped after store.keep_days; {span}")


def _acquired(store: Store, config: Config, standby: Callable[[LeaseHeld], None] | None) -> int:
    """The fencing token of the lease.

    Without `standby` it is waited for only where the holder can't be seen from here, and no longer
    than it takes to tell by its heartbeat whether it lives: a container that was killed and started
    again finds a lease that nobody gave back.
    """
    ttl = config.lease.ttl
    began = time.monotonic()
    waited = False
    while True:
        try:
            return store.acquire(this_process(), ttl.ns)
        except LeaseHeld as held:
            if standby is not None:
                standby(held)
            elif held.lives or time.monotonic() - began > 1.5 * ttl.seconds:
                raise LeaseLost(str(held)) from None
            waited = True
        except Unavailable as error:
            if not waited:
                raise
            logger.warning("waiting for the lease: {}", error)
        time.sleep(ttl.seconds / 4)
