"""A run whose state survives it: it starts anew, or goes on where the last process came to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import partial
from typing import Any, Literal

import orjson
from loguru import logger

from openbell.actors import clock, day
from openbell.actors.effects import Commit
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sinks.tally import Tally
from openbell.adapters.sources import Source, open_source
from openbell.adapters.stores import Fenced, LeaseHeld, Store, Unavailable
from openbell.errors import (
    CalendarError,
    ConfigError,
    DayFailed,
    InputError,
    LeaseLost,
    OpenbellError,
    StoreError,
)
from openbell.hosttime import HostClock, wall
from openbell.market.days import MINUTE_NS, ONE_DAY, TradingDay
from openbell.market.scans import ScanFunction
from openbell.market.windows import hours_in_words
from openbell.messages.control import Prepared, Recover, SymbolsChanged
from openbell.runtime.config import Config
from openbell.runtime.config.effects import accept
from openbell.runtime.config.model import READ_AGAIN, SupervisionConfig
from openbell.runtime.config.sinks import opened_sink
from openbell.runtime.delivery.deliveries import Deliveries
from openbell.runtime.engine import Engine
from openbell.runtime.intake.asking import RUN_OVER, SymbolDesk
from openbell.runtime.intake.fed import RunRows
from openbell.runtime.intake.feeding import fed
from openbell.runtime.intake.filling import Filler
from openbell.runtime.intake.handover import Account, HandOver
from openbell.runtime.intake.hours import day_after
from openbell.runtime.intake.instrumentsfile import follows_instruments, product_rules
from openbell.runtime.intake.planning import CONTRACTS_AHEAD, Plan, plan
from openbell.runtime.intake.settings import data_options, settings
from openbell.runtime.kernel.cells import ActorFailed
from openbell.runtime.lifetime import changes, recovery, vitals, watched
from openbell.runtime.lifetime.asks import SymbolAsks
from openbell.runtime.lifetime.eras import Era, begun, era_at, era_on, plan_over
from openbell.runtime.lifetime.identity import check_files, identity
from openbell.runtime.lifetime.keeping import Recording
from openbell.runtime.lifetime.lease import Heartbeat, acquired
from openbell.runtime.lifetime.newer import NewerInstruments
from openbell.runtime.lifetime.observed import Observed
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.recovery import Restored
from openbell.runtime.lifetime.replaying import brought_before, write_earlier
from openbell.runtime.lifetime.retention import Retention
from openbell.runtime.lifetime.supervision import RECOVER_SECONDS, Supervision, recovering
from openbell.runtime.record.ledger import STORE_TOKEN, Ledger
from openbell.runtime.record.recorded import Stretch, stretches
from openbell.runtime.record.talking import Talking
from openbell.runtime.record.telling import Telling
from openbell.runtime.results.checking import refuse_mostly_unusable
from openbell.runtime.results.recording import DaySink, Recorder, WholeDays
from openbell.runtime.results.summary import summary, timing

BEGINS_AGAIN_AHEAD_NS = 2 * MINUTE_NS
"""How long before a day's open actors are stopped at the latest to begin again with other contracts:
feeds connect anew, and history is read."""


class _StoodBy:
    """Notes whose lease was waited for."""

    def __init__(self, standby: Callable[[LeaseHeld], None] | None) -> None:
        self._standby = standby
        self.holder: str | None = None

    def __call__(self, held: LeaseHeld) -> None:
        self.holder = held.holder
        if self._standby is not None:
            self._standby(held)


class DurableRun:
    """A replay of stored data, or a live run, that can be killed at any instant and started again.

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
        Called when the day is in ERROR; the run then keeps its lease and waits until somebody
        says to recover. None: it ends.
    fresh_day : bool
        Whether a configuration that gives other answers, or another register, is taken by
        beginning the day under way anew; if not, the first is refused, and symbols that were added
        count from the next day on.
    read_again : callable, optional
        The configuration as it is written by now: where the host's clock rolls days, each has the
        hours that its `calendar` says then.
    observed : Observed, optional
        Where the run says how it is.
    scanners : mapping, optional
        Functions for scanner types of the embedding program's own.
    """

    ledger_kind: type[Ledger] = Ledger
    heartbeat_kind: type[Heartbeat] = Heartbeat
    asks_kind: type[SymbolAsks] = SymbolAsks

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
        read_again: Callable[[], Config] | None = None,
        observed: Observed | None = None,
        scanners: Mapping[str, ScanFunction] | None = None,
    ) -> None:
        self.configured = config
        """The configuration as it is written, without what was asked for beside it."""
        self.symbols = SymbolDesk()
        """Where symbols are asked for while the run goes on."""
        self._scanners = scanners
        self.observed = observed or Observed()
        """What who looks after the process wants to know of the run."""
        self.config = config
        self._read_again = read_again
        self._calendar_seen: object = tuple(
            getattr(config.calendar, key) for key in sorted(READ_AGAIN)
        )
        """What of the configuration's calendar the days' hours were made from."""
        self._in_error = in_error
        self.pace = config.pace()
        self.host = self._host_clock()
        self._dispatcher = dispatcher or self.pace.dispatcher
        self._store = store
        self._days = days
        self._whole_days = whole_days
        self._keeps_results = config.feed.type != "replay"
        """Whether a day may be so long that a restart must not run it again for its results."""
        self.undelivered: list[str] = []
        """What sinks had not taken when the last day had ended, in words."""
        self.deliveries: Deliveries | None = None
        """To sinks; None until it is known where they are."""
        self._since: date | None = None
        """The first day of which this process gives results, once that is known."""
        self._on_day = on_day
        self.telling = Telling()
        """Where whatever happens outside of the actors is told."""
        self._data = config.data.path if data is None else data
        self.feed: HandOver | None = None
        self.filler: Filler | None = None
        self.left_out: str | None = None
        """What the data has got too late for a day that has ended, in words."""
        """Where rows are pushed, if they are."""
        self.source, self.plan = self._opened()
        self._products = product_rules(config)
        """Which product each symbol is, by what was read last of the instruments."""
        self._newer: NewerInstruments | None = None
        """Of a run of days, whether the instruments have changed; None: nobody looks."""
        if follows_instruments(config):
            self._newer = NewerInstruments(config)
        self._looked_ahead = date.min
        """The day after which it was looked last whether further contracts are to be read."""
        self._begins_again = False
        """Whether actors are stopped to begin again with other contracts."""
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
        self._began = wall()
        stood_by = _StoodBy(standby)
        self.fence = acquired(store, config.lease.ttl, stood_by if standby is not None else None)
        self.telling.fence = self.fence
        self.heartbeat = self.heartbeat_kind(
            store, self.fence, config.lease.ttl, self._fail, self.telling
        )
        if stood_by.holder is not None:
            had = stood_by.holder
            self.telling.tell("run.takeover", f"has the lease, which {had} had", before=had)
        self._ended = threading.Event()
        self._stopped = False
        self.talking = Talking(
            store,
            self.fence,
            rest=lambda seconds: self._rest(seconds),
            given_up=lambda: self._stopped,
            waits_for_room=self.feed is not None,
            telling=self.telling,
        )
        self._supervision = Supervision(store, self.fence, self.talking, config.supervision)
        self._retention = Retention(store, self.fence, config)
        self._controls = threading.Lock()
        self._delivering = threading.Lock()
        """Held while sinks are replaced: of theirs, one may be waited for that uses the controls."""
        self._held_by: set[str] = set()
        self._steps_asked = 0
        self._hears = False
        self._recorded: frozenset[date] = frozenset()
        """The trading days of the step log when this run began, or went on."""
        try:
            self.head = store.head()
            self._shown = self.head.step
            self._with_symbols_asked_for()
            if self.head.step:
                check_files(config, self._info, self.head)
            self.eras, self.change = changes.agreed(
                self.config, self.plan, store, self.head, fresh_day=fresh_day
            )
            self.plan = plan_over(self.plan, self.eras)
            if days is not None:
                days.follow(
                    lambda day: era_on(self.eras, day).digest(),
                    lambda day: settings(self._config_on(day)).derived_minutes,
                )
            self._with_earlier_rows()
            self.recording = self._recording()
            self.engine = self._engine()
            self._asks = self.asks_kind(
                self._store_of_a_sink, self.fence, self.symbols, shared=self._shares_its_store
            )
            self.deliveries = self.talking.answered(lambda: self._deliveries(self.config))
        except BaseException:
            store.release(self.fence)
            self.source.close()
            if self.feed is not None:
                self.feed.close()
            raise

    def _with_symbols_asked_for(self) -> None:
        """Symbols that came, or went, while the run went on, belong to it as those that are named."""
        held = self._info.symbols
        config = watched.effective(self.configured, self.head, held)
        if config is self.config:
            return
        self.config = config
        self.source.close()
        if self.feed is not None:
            self.feed.close()
        self.source, self.plan = self._opened()
        self._info = self.source.info()

    def _hear_asks(self) -> None:
        """Look from now on whether something is asked through the store."""
        self._asks.start()

    def _watching(self, change: SymbolsChanged) -> None:
        """Other symbols are watched from the step under way on."""
        held = self._info.symbols
        self.eras, facts = watched.changed(self.configured, held, self.eras, change)
        self.plan = plan_over(replace(self.plan, symbols=change.later), self.eras)
        self.config = self.config.model_copy(update={"symbols": self.eras[-1].config["symbols"]})
        if self.engine.ledger is not None:
            self.engine.ledger.holds(facts)

    def run(self) -> bool:
        """Run to the last day's end; False if it had ended before.

        An actor that raises has all of them begin again from the last snapshot. What fails twice
        on the same message, or more than `supervision.restarts` times, puts the day in ERROR.

        Raises
        ------
        DayFailed
            If the day is in ERROR, now or since an earlier run, and nothing was to wait until
            somebody says to recover.
        LeaseLost, ReplayError, StoreError, InputError
        """
        self.keep_lease()
        try:
            with self.telling.until_end(lambda: self._stopped):
                return self._run()
        except Fenced as error:
            raise LeaseLost(f"the lease was lost: {error}") from error
        except Unavailable:
            if not self._stopped:
                raise
            logger.warning("stopped without the store: a restart runs again what it lacks")
            return True
        finally:
            self.close()

    def _run(self) -> bool:
        if self.deliveries is not None:
            self.deliveries.start()
        self._hear_asks()
        if not self.head.step and self.feed is None:
            refuse_mostly_unusable(self.source, self.plan, str(self.config.data.path or "the data"))
        self._write_earlier()
        self._take_change()
        if self.recording is not None:
            self.recording.start()
        while True:
            try:
                ran = self._run_supervised()
            except DayFailed as error:
                self._supervision.error = str(error)
                self._put_together()
                if self._in_error is None:
                    raise
                self.observed.in_error = str(error)
                self._in_error(error)
                if not self._recover_comes():
                    return True
                self.observed.in_error = None
                self._let_go()
                self.engine = self._engine()
            else:
                self._put_together(interrupted=self._stopped)
                if self.recording is not None:
                    self.recording.run_ended = not self._stopped
                if self.deliveries is not None and not self._stopped:
                    signals = self.head.signals
                    self.undelivered = self.deliveries.drain(signals, lambda: self._stopped)
                    for said in self.undelivered:
                        logger.warning("{}", said)
                return ran

    def _deliveries(self, config: Config) -> Deliveries:
        return Deliveries(
            config,
            self._store_of_a_sink,
            self.fence,
            (self.recorder.log, self.telling.news),
            self.telling.tell,
            live_from_ns=self.plan.live_from_ns,
        )

    def deliver_to(self, config: Config) -> None:
        """Have signals go to the sinks of another configuration from here on, each from where it is.

        Raises
        ------
        ConfigError
            If one of them can't be used; nothing has changed then.
        """
        for place in range(len(config.sinks)):
            opened_sink(config, place).close()
        with self._delivering:
            if self._ended.is_set() or self._stopped:
                return
            if self.deliveries is not None:
                self.deliveries.stop()
            # Where its store does not answer meanwhile, a run waits for it here too.
            self.deliveries = self.talking.answered(lambda: self._deliveries(config))
            self.deliveries.start()

    @property
    def outages(self) -> list[float]:
        """Seconds of each time that the store did not answer."""
        return self.talking.outages

    def keep_lease(self) -> None:
        """Renew the lease from now on until `close`; `run` does it by itself."""
        self.heartbeat.beside = lambda: {vitals.KEY: orjson.dumps(vitals.vitals(self))}
        self.heartbeat.start()

    def close(self) -> None:
        """Give the lease back and let go of threads; after `run` there is nothing left to do."""
        if self._ended.is_set():
            return
        self._ended.set()
        if self.feed is not None:
            self.feed.close()
        self.symbols.end(RUN_OVER)
        self._asks.stop()
        with self._delivering:
            if self.deliveries is not None:
                self.deliveries.hear_out(lambda: self.telling.is_brought)
                self.deliveries.stop()  # before the lease is given back
        self.engine.close()
        if self.recording is not None:
            self.recording.close()
        away = self.talking.away or (self.engine.ledger and self.engine.ledger.talking.away)
        self.heartbeat.stop(brings=not away)
        try:
            self._store.release(self.fence)
        except StoreError as error:
            logger.warning("the lease could not be given back: {}", error)
        self.source.close()

    def pause(self, token: str) -> None:
        """Grant no further step until the token is given back, whatever is restarted meanwhile."""
        with self._controls:
            if token not in self._held_by:
                self.telling.paused(None, token)
            self._held_by.add(token)
            if self._hears:
                self.engine.pause(token)

    def resume(self, token: str) -> None:
        """Give a pause token back."""
        with self._controls:
            if token in self._held_by:
                self.telling.paused(token, None)
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

    def _store_of_a_sink(self) -> Store:
        """Its own, so that nobody waits for it; a store in memory is the only one of its kind."""
        return self._store if self._shares_its_store else open_configured_store(self.config)

    @property
    def _shares_its_store(self) -> bool:
        return self.config.store.url == "memory://"

    def _opened(self) -> tuple[Source, Plan]:
        """Where rows come from, and what will be run over them."""
        config = self.config
        accept(config, "run", data=self._data)
        if config.feed.type != "replay":
            first = next(iter(self._store.steps()), None)
            since = None if first is None else first.trading_date
            pushed = fed(
                config,
                since=since,
                host=self.host,
                scanners=self._scanners,
                tell=self.telling.tell,
            )
            self.feed, self.filler = pushed.feed, pushed.filler
            return pushed.source, pushed.plan
        assert self._data is not None, "that is refused"
        source = open_source(self._data, data_options(config))
        return source, plan(
            config,
            source,
            config.feed.start,
            config.feed.end,
            paced=self.pace.scaled,
            scanners=self._scanners,
        )

    def _recording(self) -> Recording | None:
        """What is written beside the run of what its feed brings."""
        folder = self.config.feed.record
        if folder is None or self.feed is None:  # a replay that is to be recorded was refused
            return None
        made = Recording(
            folder,
            self._store,
            self._config_of,
            lambda: Account() if self.feed is None else self.feed.account,
            lambda why: self.telling.tell("record.failed", why),
        )
        made.check(self.plan)
        return made

    def _engine(self) -> Engine:
        engine = self._put_up()
        engine.watching = self._watching
        return engine

    def _put_up(self) -> Engine:
        return Engine(
            self.plan,
            self.source,
            self.recorder,
            dispatcher=self._dispatcher,
            pace=self.pace,
            load_timeout=self.config.prefetch.timeout_seconds.seconds,
            journals=self.journals,
            feed=self.feed,
            filler=self.filler,
            host=self.host,
            check_seconds=self.config.day.boundary_check_interval.seconds,
            day_after=self._day_after,
            jumped=self.telling.jumped,
            checked=self._look_outside,
            telling=self.telling,
            exits_in_silence=self.config.feed.silent == "exit",
            step_times=self.observed.step_times,
        )

    def _day_after(self, day: date) -> TradingDay | None:
        """Which trading day follows one, as the calendar has it by now; None: the last has ended."""
        config = self.config
        if self._read_again is not None:
            try:
                calendar = self._read_again().calendar
            except ConfigError as error:
                logger.warning("the calendar stays as it was: the configuration says {}", error)
            else:
                own = {key: getattr(calendar, key) for key in READ_AGAIN}
                config = config.model_copy(
                    update={"calendar": config.calendar.model_copy(update=own)}
                )
        try:
            self._products = product_rules(config)
        except InputError as error:
            logger.warning("the instruments stay as they were: {}", error)
        return day_after(config, day, self._products)

    def _look_outside(self) -> None:
        """What may be written in another way by now, and what follows from it."""
        self._look_at_calendar()
        newer = self._newer
        if newer is None or self._begins_again:
            return
        if newer.is_other():
            self.engine.elsewhere(self._compare_instruments)
        if self._waits_between_days() and (newer.said or self._reads_other_contracts()):
            self._begins_again = True
            self.engine.stop()

    def _compare_instruments(self) -> None:
        of_day: day.State = self.engine.cells[day.NAME].state
        if self._newer is not None and of_day.position >= 0:
            self._newer.compare(self.plan, self.eras[-1], of_day.day.date)

    def _reads_other_contracts(self) -> bool:
        """Whether the next days need others than are read; answered once a day, as they may not be
        there."""
        of_day: day.State = self.engine.cells[day.NAME].state
        last = of_day.day.date
        if self._looked_ahead == last:
            return False
        self._looked_ahead = last
        following = [planned.date for planned in self.plan.days if planned.date > last]
        if not following:
            return False
        contracts, futures = self.plan.settings.contracts, self.config.futures
        soon = contracts.named(futures, following[:CONTRACTS_AHEAD])
        read = set(self.plan.symbols)
        return not soon <= read or not read & {*self.eras[-1].contracts.only} <= soon

    def _waits_between_days(self) -> bool:
        """Whether no day is under way, nor about to be."""
        of_day: day.State = self.engine.cells[day.NAME].state
        if of_day.position < 0 or of_day.is_over:
            return of_day.position >= 0
        return of_day.phase == "load" and self.host() < of_day.day.open_ns - BEGINS_AGAIN_AHEAD_NS

    def _with_newer_instruments(self) -> None:
        """Have the days that follow the one that was begun go by the file of now, as after a start."""
        self._begins_again, self.change = False, None
        if self._newer is not None:
            self._newer.said = ""
        self._let_go()
        was = self.source, self.plan, self.feed, self.filler
        try:
            self.source, self.plan = self.talking.answered(self._opened)
            self.eras, self.change = self.talking.answered(
                lambda: changes.agreed(
                    self.config, self.plan, self._store, self.head, fresh_day=False
                )
            )
        except (InputError, OSError) as error:
            logger.warning("the instruments stay as they were: {}", error)
            if self.feed is not was[2] and self.feed is not None:
                self.feed.close()
            self.source, self.plan, self.feed, self.filler = was
        else:
            source, _, feed, _ = was
            if feed is not None:
                feed.close()
            source.close()
            self._info = self.source.info()
            self.plan = plan_over(self.plan, self.eras)
            self._with_earlier_rows()
            for note in self.plan.notes:
                logger.warning("{}", note)
        self.engine = self._engine()
        self._take_change()

    def _with_earlier_rows(self) -> None:
        store = self._store
        if isinstance(self.source, RunRows):
            interval_ns = self.plan.settings.interval_ns
            self.source.earlier = lambda of: recovery.came_of(store, of, interval_ns, self.eras)

    def _look_at_calendar(self) -> None:
        """Whether the calendar is written in another way by now: then the day's hours are looked up,
        elsewhere, as a new span of years takes seconds."""
        if self._read_again is None:
            return
        try:
            calendar = self._read_again().calendar
        except (ConfigError, OSError):  # told when the day rolls
            return
        written = tuple(getattr(calendar, key) for key in sorted(READ_AGAIN))
        if written != self._calendar_seen:
            self._calendar_seen = written
            self.engine.elsewhere(self._compare_hours)

    def _compare_hours(self) -> None:
        """A day that waits for its open has the calendar's hours of now; one that is under way keeps
        its own, which is told."""
        of_day: day.State = self.engine.cells[day.NAME].state
        if of_day.position < 0 or of_day.is_over:
            return
        today = of_day.day
        try:
            now = self._day_after(today.date - ONE_DAY)
        except CalendarError:  # as when the day rolls
            return
        if now is None or (now.date == today.date and now.hours == today.hours):
            return
        if of_day.phase == "load":
            self.engine.reopen(today, now)
        else:
            self._tell_other_hours(today, now if now.date == today.date else None)

    def _tell_other_hours(self, today: TradingDay, now: TradingDay | None) -> None:
        says = "that there is no trading" if now is None else hours_in_words(now)
        self.telling.tell(
            "calendar.changed",
            f"{today.date}: the calendar says {says} by now; the day under way keeps the hours that "
            "it began with, the next one has the calendar's",
            trading_date=today.date,
        )

    def _calendar_goes_on(self) -> bool:
        """Whether the calendar knows by now of a day after the last: the plan has it of the start."""
        of_day: day.State = self.engine.cells[day.NAME].state
        try:
            return not of_day.plan or self._day_after(of_day.plan[-1].date) is not None
        except (OpenbellError, OSError):
            return False

    def _say_other_hours(self) -> None:
        """That the calendar has other hours by now for the day under way, which keeps its own."""
        of_day: day.State = self.engine.cells[day.NAME].state
        if not self.pace.wall or of_day.position < 0 or of_day.is_over:
            return
        today = of_day.day
        now = next((planned for planned in self.plan.days if planned.date == today.date), None)
        if now is None or now.hours != today.hours:
            if of_day.phase == "load":
                self._calendar_seen = None  # it is looked at soon: that day waits for its open
            else:
                self._tell_other_hours(today, now)

    def _host_clock(self) -> HostClock:
        """What moves time, where the configuration leaves it to the host."""
        return HostClock()

    def _recover_comes(self) -> bool:
        """Wait in ERROR for the command that leaves it; False if the run is stopped first."""
        while not self._stopped:
            if self._supervision.recover_asked():
                return True
            self._rest(RECOVER_SECONDS)
        return False

    def _fail(self, error: BaseException) -> None:
        self.engine.dispatcher.fail(error)

    def _rest(self, seconds: float) -> None:
        self.observed.beat()
        time.sleep(seconds)

    def _let_go(self) -> None:
        """Of actors that failed."""
        with self._controls:
            self._hears = False
            self.symbols.rest()
        self.engine.close()

    def _run_supervised(self) -> bool:
        while True:
            before = self.head.step
            try:
                ran = self._run_once()
            except ActorFailed as failure:
                self._let_go()
                self.observed.restarts += 1
                self._supervision.failed(failure)
                self._begins_again = False  # it is asked again
                self.engine = self._engine()
                continue
            if self._stopped:
                return ran
            if self._begins_again:
                self._with_newer_instruments()
                continue
            if before and before == self.head.step and self.feed is None:
                self.left_out = changes.left_out(self.engine.cells, self.plan, self.source)
                if self.left_out is not None:
                    logger.warning("{}", self.left_out)
            if self.pace.wall and not self._calendar_goes_on():
                return ran
            further = changes.further_days(
                self.engine.cells, self.plan, self.config, self._store, self.talking
            )
            if further is None:
                return ran
            self.eras = (*begun(self.eras, further.after), further.era)
            self.plan = plan_over(self.plan, self.eras)
            self.change = further.change
            self._let_go()
            self.engine = self._engine()
            self._take_change(further.ended)

    def _run_once(self) -> bool:
        self.head = self.talking.answered(self._store.head)
        self.observed.logged = self.head.signals
        self._supervision.refuse_in_error(self.head)
        log = stretches(self._store, self.talking.answered)
        self._recorded = frozenset(of.trading_date for of in log)
        found = self.talking.answered(lambda: self._restored(log)) if log else None
        if found is None:
            self.talking.tell("run.started", "nothing was run before")
            self._since = date.min
            if self._days is not None:
                self._days.begin()
        prepared = recovery.restore(self.engine, self.plan, found)
        of_clock: clock.State = self.engine.cells[clock.NAME].state
        self.head, recover = self._supervision.leave_error(self.head, of_clock, prepared)
        self.engine.ledger = ledger = self._ledger(found)
        ledger.start()
        if self._stopped:
            return True
        if found is not None:
            # Who keeps days may lack one that was taken in: it was damaged since.
            taken = self.recorder.taken if self._days is None else frozenset[date]()
            last_over = recovery.last_over(self.engine.cells, self.plan, found)
            self.recorder.go_on(last_over, taken)
            for commit in found.results:
                self.recorder.commit(commit, seen_before=True)
            recovery.say(found, self.talking)
            self._say_other_hours()
            if not prepared.grants and of_clock.ended is not None and not recover:
                if of_clock.ended.error is not None:
                    raise DayFailed(f"{of_clock.ended.error}; in ERROR, {recovering()} leaves it")
                if self.feed is not None:
                    self.feed.come_to(of_clock.position)
                return False
        if recover:
            prepared = Prepared(grants=prepared.grants, inputs=(*prepared.inputs, Recover()))
        self._let_hear()
        start = changes.start_anew(self.plan, self.eras, self.head)
        self.observed.engine = self.engine
        self.engine.run(start or (prepared if found is not None else None))
        if not self._stopped:
            self._retention.prune()
            self.head = self.talking.answered(self._store.head)
        return True

    def _restored(self, log: Sequence[Stretch]) -> Restored:
        """The newest snapshot that can be used, and the steps after it.

        Where days are kept, or wanted as a whole, it lies before the first one that is lacking.

        Raises
        ------
        InputError
            If a day is lacking whose steps were dropped.
        """
        if self._days is not None:
            written = self._days.written()
            return recovery.before_lacking(
                self._store, log, self.eras, self.plan, written, kept=self._keeps_results
            )
        newest = recovery.restored(self._store, log[-1].last, eras=self.eras)
        if not self._whole_days:
            return newest
        found, self._since = recovery.before_untaken(
            self._store,
            log,
            newest,
            self.eras,
            self._since,
            self.recorder.taken,
            kept=self._keeps_results,
        )
        return found

    def _let_hear(self) -> None:
        """Tell the engine what was asked for when its actors' states were not in place yet."""
        with self._controls:
            self._hears = True
            of_clock: clock.State = self.engine.cells[clock.NAME].state
            self.symbols.known(of_clock.answered)
            self.symbols.hear(self.engine.tell_clock)
            for token in self._held_by:
                self.engine.pause(token)
            for _ in range(self._steps_asked):
                self.engine.step()
            self._steps_asked = 0

    def _config_on(self, day: date) -> Config:
        """What a day is run with."""
        return self._config_of(self.eras, day)

    def _config_of(self, eras: Sequence[Era], day: date) -> Config:
        return self.config.with_determining(era_on(eras, day).config)

    def _write_earlier(self) -> None:
        """Write the days that are lacking of those before the one that is begun anew."""
        era = era_at(self.eras, self.head.step + 1)
        if self._days is not None and era is not None:
            write_earlier(self._days, self._store, self.eras, era, self._config_on)

    def _take_change(self, before: Restored | None = None) -> None:
        """Make it durable that the configuration is another one, or that there are further days.

        Parameters
        ----------
        before : Restored, optional
            What a day that is begun anew goes on from; None: what the store has.
        """
        if self.change is None:
            return
        logger.info("{}", self.change.said)
        meta, snapshot = self._facts(), None
        if (start := changes.start_anew(self.plan, self.eras, self.head)) is not None:
            era = era_at(self.eras, self.head.step + 1)
            assert era is not None, "it begins a day anew"
            before = before or brought_before(self._store, self.eras, era, self._config_on)
            snapshot = changes.snapshot_before(start.days[0], before, self.engine, self.plan)
        changes.take(
            self.change, meta, snapshot, head=self.head, store=self._store, talking=self.talking
        )
        self.head = self.talking.answered(self._store.head)

    def _facts(self) -> dict[str, bytes]:
        """What state is made from."""
        first = next(iter(self._store.steps())).trading_date if self.head.step else date.min
        zone = self.plan.days[0].tz
        return identity(self.config, self._info, self.head, self.eras, first, zone)

    def reached(self) -> tuple[str | None, int]:
        """The trading day and the step that it has come to."""
        return self.engine.reached()

    def limit(self, limits: SupervisionConfig) -> None:
        """Have other limits hold for actors that fail, from here on."""
        self._supervision.limits = limits

    def stop(self) -> None:
        """End after the step under way; what was settled is committed, if the store answers in time.

        A signal handler may call this; called again, nothing is waited for."""
        self._stopped = True
        self.observed.stopping = True
        self.engine.stop()

    def _day_over(self, day: DayResult, tally: Tally) -> None:
        if self._on_day is not None:
            self._on_day(day, tally)
        if self._days is not None:
            # Until the run has ended it may be killed, and this be all there is.
            self._days.renew(partial(self._summary, interrupted=True))

    def _put_together(self, *, interrupted: bool = False) -> None:
        if self._days is not None:
            account = partial(self._summary, interrupted=interrupted, error=self._supervision.error)
            self._days.put_together(account)

    def _summary(
        self, tally: Tally, *, interrupted: bool, error: str | None = None
    ) -> dict[str, Any]:
        """What stands in `summary.json` for days that come to `tally`."""
        complete = len(tally.days) + len(tally.without_data) == len(self.plan.days)
        seconds, rows = wall() - self._began, self.recorder.tally.counts["rows"]
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
            meta={} if restored is not None else self._facts(),
            expected={step.number: step for step in restored.steps} if restored else {},
            snapshot_every=config.snapshot.every.seconds,
            backlog=config.store.backlog.bytes,
            seen=self._seen,
            hold=lambda: self.engine.pause(STORE_TOKEN),
            release=lambda: self.engine.resume(STORE_TOKEN),
            fail=self.engine.dispatcher.fail,
            order=self.plan.order,
            durable=self.feed.made_durable if self.feed is not None else (lambda position: None),
            committed=self._retention.committed,
            gather=self.pace.gather_seconds(config.snapshot.every.seconds),
            keeps_results=self._keeps_results,
            waits_for_room=self.feed is not None,
            telling=self.telling,
            times=self.observed.commit_times,
        )
        ledger.talking.outages = self.outages  # of one run, however often its actors begin again
        return ledger

    def _seen(self, commit: Commit, before: bool) -> None:
        # Not `before`: what was stored without an answer is given again, and was not shown yet.
        self.recorder.commit(commit, seen_before=commit.step <= self._shown)
        self._shown = max(self._shown, commit.step)
        self.symbols.saw(commit)
        if not before:
            found = sum(len(batch) for batch in commit.signals)
            self.observed.signals += found
            self.observed.logged += found
        if commit.closed is not None and not before:
            of_day: day.State = self.engine.cells[day.NAME].state
            # A table or feed.start may leave out the earlier ones by now, and so does a plan that
            # was begun anew.
            planned = {d.date for d in (*self.plan.days, *of_day.plan)}
            self._retention.closed(commit.closed, planned | self._recorded)
