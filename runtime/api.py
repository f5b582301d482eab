"""What an embedding program uses: `Runtime` and `backtest`."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, closing, suppress
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self, TypeVar

from loguru import logger

from openbell.actors import clock, upkeep
from openbell.adapters.scanruns import ScanRun
from openbell.adapters.sinks.files import DayResult, RunFiles
from openbell.adapters.sinks.tally import Tally
from openbell.adapters.sources import DataOptions, Source
from openbell.errors import ConfigError, DataError, DayFailed, InputError, RunError
from openbell.hosttime import wall
from openbell.market.bars import Kind
from openbell.market.indicators import Indicator
from openbell.market.scans import ScanFunction
from openbell.runtime.config import Config, config_from
from openbell.runtime.config.effects import accept
from openbell.runtime.config.model import ROW_RULES
from openbell.runtime.delivery.deliveries import Deliveries
from openbell.runtime.engine import Engine
from openbell.runtime.inmemory import InMemoryRun
from openbell.runtime.intake.asking import AsksForSymbols
from openbell.runtime.intake.handover import HandOver
from openbell.runtime.intake.loading import Loader
from openbell.runtime.intake.planning import Plan
from openbell.runtime.intake.pushed import is_pushed_table, pushed_columns, pushed_table
from openbell.runtime.intake.settings import data_options, row_rules, settings
from openbell.runtime.record.writing import market_time
from openbell.runtime.results.collecting import Collected, Counted, Strict
from openbell.runtime.results.events import Event as Event  # noqa: PLC0414 where others look for it
from openbell.runtime.results.events import EventLog, wanted
from openbell.runtime.results.following import awaited, followed, read_on
from openbell.runtime.results.frames import DayView, Result
from openbell.runtime.results.recording import DaySink, Recorder
from openbell.runtime.results.scans import runs_of
from openbell.runtime.results.signals import Log, MemoryLog
from openbell.runtime.results.signals import Signal as Signal  # noqa: PLC0414 where others look for it
from openbell.runtime.results.summary import summary, timing
from openbell.runtime.results.uninterrupted import Uninterrupted

if TYPE_CHECKING:
    from openbell.runtime.results.explanation import Explanation

T = TypeVar("T")

OnDay = Callable[[date, int, int, int], None]
"""Told after each day: its date, how many days are over, how many there are, rows so far."""


class _Run(Protocol):
    """What a runtime has run; both kinds take their controls at any time, from any thread."""

    plan: Plan
    source: Source
    recorder: Recorder
    feed: HandOver | None
    """Where rows are pushed, if they are."""
    engine: Engine
    """At the moment: a durable run may need several."""

    def run(self) -> object: ...

    def stop(self) -> None: ...

    def let_go(self) -> None:
        """Of everything, whether it ran or not; after that there is no more to do with it."""
        ...

    def pause(self, token: str) -> None: ...

    def resume(self, token: str) -> None: ...

    def step(self) -> None: ...

    def liveliness(self) -> dict[str, Any]:
        """What shows from outside that its state is looked after; of one in memory, nothing."""
        ...


class Runtime(AsksForSymbols):
    """A run over stored data in this process, beside whatever else it does.

    `signals` yields what is found as it is found. Leaving the `with` block stops the run and
    lets go of its threads; no signal handler is set and nothing is logged unless asked for.
    Made like this its state is in memory; `from_config` makes one whose state survives it.

    Parameters
    ----------
    config : Config
    data : path or pandas, polars or pyarrow table, optional
        Instead of the configuration's `data.path`.
    start : date or datetime, optional
        Where to begin; a datetime, local to the exchange where it has no zone, lies inside its
        day: what was known before is read first, and its signals are marked as backfilled.
    speed : float
        Market time a wall time inside trading hours; 0: as fast as it goes.
    indicators : mapping, optional
        Functions `(Trailing) -> values` for indicator types of your own, by type.
    scanners : mapping, optional
        Functions `(ScanView) -> list[Found]` for scanner types of your own, by type.
    keep_signals : bool
        Whether `signals` and its like will be used; if not, a long run needs less memory, and may
        take a day of bars in one step.
    pushed : bool
        Whether rows come from the configuration's feed, or by `push_ticks` and `push_bars` with
        `feed: {type: push}`, instead of from `data`.
    """

    def __init__(
        self,
        config: Config,
        data: Any = None,
        *,
        start: date | datetime | None = None,
        end: date | None = None,
        speed: float = 0.0,
        dispatcher: Literal["inline", "threads"] | None = None,
        sinks: tuple[DaySink, ...] = (),
        on_day: OnDay | None = None,
        indicators: Mapping[str, Indicator] | None = None,
        scanners: Mapping[str, ScanFunction] | None = None,
        keep_signals: bool = True,
        pushed: bool = False,
    ) -> None:
        if pushed and data is not None:
            raise ConfigError("this run's rows come from a feed; name history under data.path")
        dispatcher = dispatcher or ("inline" if pushed else "threads")
        recorder = Recorder(sinks, self._telling(on_day), keep_signals=keep_signals)
        self._data = data
        notes: tuple[str, ...] = ()
        where = config.data.path if data is None else data
        if not pushed and where is not None and may_be_recorded(where):
            from openbell.runtime.lifetime.rerunning import RecordedRun, recording_of

            days, why_not = recording_of(config, where, start, end, speed)
            if days and why_not is None:
                recorded = RecordedRun(config, days, recorder, indicators=indicators)
                self._host(config, recorded, MemoryLog(recorder.log), recorded.events)
                return
            if days:
                if "order" not in config.data.model_fields_set:
                    config = config_from(config, overrides={"data.order": "arrival"})
                came = "the order in which they came"
                order = came if config.data.order == "arrival" else "time order"
                notes = (f"{where}: {why_not}; its rows are taken in {order}, and move time",)
        run = InMemoryRun(
            config,
            data,
            recorder,
            start=start,
            end=end,
            speed=speed,
            dispatcher=dispatcher,
            indicators=indicators,
            scanners=scanners,
            days_at_once=not keep_signals,
            pushed=pushed,
        )
        self._host(config, run, MemoryLog(recorder.log), run.events, notes)

    def _telling(self, on_day: OnDay | None) -> Callable[[DayResult, Tally], None]:
        def day_over(day: DayResult, tally: Tally) -> None:
            if on_day is not None:
                over = len(tally.days) + len(tally.without_data)
                on_day(day.trading_date, over, len(self.plan.days), tally.counts["rows"])

        return day_over

    def _host(
        self,
        config: Config,
        run: _Run,
        log: Log,
        events: EventLog,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self._run = run
        self.notes = (*notes, *run.source.info().notes, *run.plan.notes)
        """What was guessed of the data or passed over in it; sentences for people."""
        for note in self.notes:
            logger.info("{}", note)
        self._log, self._events = log, events
        self._news = run.recorder.log
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopped = False
        self._ran = False
        self._over = threading.Event()
        self._followers: list[threading.Thread] = []
        self._handler_errors = 0
        self._tokens: set[str] = set()
        self._closed = False
        self._started_at = wall()
        self._seconds = 0.0

    @classmethod
    def from_config(
        cls,
        config: Config | Mapping[str, Any] | Path | str,
        data: Any = None,
        *,
        durable: bool | None = None,
        fresh_day: bool = False,
        recover: bool = False,
        record: Path | str | None = None,
        scanners: Mapping[str, ScanFunction] | None = None,
        overrides: Mapping[str, Any] = {},
    ) -> Self:
        """A runtime from a configuration, a mapping of one, or the path of its file.

        Parameters
        ----------
        data : path or pandas, polars or pyarrow table, optional
            Instead of the configuration's `data.path`.
        durable : bool, optional
            Whether its state lives in the configuration's store, under its name, and survives this
            process; None: where rows come from files. Of a table, each day's rows go into the
            store's journal when the day begins.
        fresh_day : bool
            Whether a configuration that gives other answers than the one that the state was made
            with is taken by beginning the day under way anew; if not, it is refused.
        recover : bool
            Whether a day that is in ERROR is tried again; if not, the run ends with DayFailed.
        record : path, optional
            Folder for a recording of what the feed brings, as `feed.record` of the configuration.
        scanners : mapping, optional
            Functions `(ScanView) -> list[Found]` for scanner types of your own, by type.
        overrides : mapping, optional
            Dotted keys and their values, over those of the configuration and the environment:
            `{"breakout.confirm": "touch"}`.

        Raises
        ------
        ConfigError, DataError, CalendarError, StoreError
        LeaseLost
            If a runtime or process that lives has this state; the text names it.
        """
        if record is not None:
            overrides = {**overrides, "feed.record": os.fspath(record)}
        made = config_from(config, overrides=overrides)
        in_files = data is None or isinstance(data, str | os.PathLike)
        if not (in_files if durable is None else durable):
            if made.feed.type != "replay":
                return cls(made, data, pushed=True, scanners=scanners)
            return cls(
                made,
                data,
                start=made.feed.start,
                end=made.feed.end,
                speed=made.feed.speed,
                scanners=scanners,
            )
        if in_files and data is not None:
            made = config_from(made, overrides={"data.path": os.fspath(data)})
        return cls._durable(
            made,
            None if in_files else data,
            fresh_day=fresh_day,
            recover=recover,
            scanners=scanners,
        )

    @classmethod
    def _durable(
        cls,
        config: Config,
        data: Any = None,
        *,
        sinks: tuple[DaySink, ...] = (),
        on_day: OnDay | None = None,
        dispatcher: Literal["inline", "threads"] | None = None,
        fresh_day: bool = False,
        recover: bool = False,
        scanners: Mapping[str, ScanFunction] | None = None,
    ) -> Self:
        # A backtest must not wait for what it needs none of.
        from openbell.runtime.lifetime.embedded import EmbeddedRun

        runtime = cls.__new__(cls)
        told = runtime._telling(on_day)
        run = EmbeddedRun(
            config,
            data=data,
            sinks=sinks,
            whole_days=True,
            on_day=told,
            dispatcher=dispatcher,
            fresh_day=fresh_day,
            recover=recover,
            scanners=scanners,
        )
        try:
            runtime._host(config, run, *run.logs())
        except BaseException:
            run.let_go()
            raise
        return runtime

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.close)  # it waits for threads, and the loop must not

    def start(self) -> None:
        """Start the run in the background; does nothing if it was started."""
        with self._starting:
            if self._ran or self._closed:
                return
            self._ran = True
            self._thread = threading.Thread(target=self._go, name="openbell-run", daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Wait until the run has ended and handlers have seen all of its signals.

        Raises
        ------
        What ended it before its last day.
        """
        self.start()
        if self._thread is not None:
            self._thread.join()
        for follower in self._followers:
            follower.join()
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        """Run to the end on this thread.

        Raises
        ------
        What ended it before its last day.
        """
        with self._starting:
            if self._ran or self._closed:
                raise RunError("a runtime runs once; make another one")
            self._ran = True
        self._go()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Have the run end where it is; days that are complete stay."""
        self._stopped = True
        self._run.stop()

    def close(self) -> None:
        """Stop the run and let go of everything; a handler's call that is under way ends first."""
        with self._starting:
            if self._closed:
                return
            self._closed = True
        if self._run.feed is not None:
            self._run.feed.close()
        if self._ran:
            self.stop()
        else:
            self._news.close()
            self._events.news.close()
        if self._thread is not None:
            self._thread.join()
        for follower in self._followers:
            if follower is not threading.current_thread():
                follower.join()
        self._log.close()
        self._events.close()
        self._run.let_go()  # after the log: who closes an SQLite file last tidies it up

    def signals(self, after: str | None = None) -> Iterator[Signal]:
        """Signals in the log's order, as they come; ends with the run and raises its error.

        A durable runtime's log begins with the signals of earlier processes.

        Parameters
        ----------
        after : str, optional
            Cursor of a signal seen before: go on after it.

        Raises
        ------
        ValueError
            If that cursor is not one of this log's.
        """
        self.start()
        yield from followed(self._news, self._log.page, after)
        if self._error is not None:
            raise self._error

    def scans(self, *, day: date | None = None, scan: str | None = None) -> list[ScanRun]:
        """What scans have found so far, in the order in which they ran, with the signals that
        these symbols had afterwards.

        A durable runtime tells of earlier processes too.

        Parameters
        ----------
        day : date, optional
            One trading day.
        scan : str, optional
            One scan, by its name.
        """
        signals = read_on(self._log.page, None)
        runs = runs_of(read_on(self._events.page, None), signals, scan=scan)
        return [run for run in runs if day in (None, run.trading_date)]

    async def asignals(self, after: str | None = None) -> AsyncIterator[Signal]:
        """As `signals`, without blocking the event loop, whose executor reads the log."""
        self.start()
        async with aclosing(awaited(self._news, self._log.page, after)) as signals:
            async for signal in signals:
                yield signal
        if self._error is not None:
            raise self._error

    def on_signal(
        self,
        handler: Callable[[Signal], object],
        after: str | None = None,
        *,
        on_error: Callable[[Exception, Signal], object] | None = None,
    ) -> None:
        """Call a function for each signal, on a thread of its own, in the log's order.

        A slow handler delays nobody, and one that raises stops nobody: it is called with the next
        signal, and `status()` counts what it raised.

        Parameters
        ----------
        after : str, optional
            Cursor of a signal seen before: go on after it.
        on_error : callable, optional
            Gets what the handler raised, and with which signal; None: `threading.excepthook` does,
            which prints it. To end the run, call `stop` there.

        Raises
        ------
        ValueError
            If that cursor is not one of this log's.
        """
        self._log.page(after, limit=1)  # refuses what is no cursor
        signals = followed(self._news, self._log.page, after)
        self._call(handler, signals, "openbell-on-signal", on_error)

    def events(
        self,
        after: str | None = None,
        *,
        kinds: Iterable[str] | None = None,
        follow: bool = True,
    ) -> Iterator[Event]:
        """What happens beside signals, in the log's order, as it comes: states of days and
        sessions, silence and gaps of the feed, restarts; what makes a program stop trading.

        A durable runtime's log begins with the events of earlier processes.

        Parameters
        ----------
        after : str, optional
            Cursor of an event seen before: go on after it.
        kinds : str or iterable of str, optional
            Only these: `day.error`, or `day` for all that begin so.
        follow : bool
            Start the run if need be, and end with it, raising its error; if not, yield what there
            is by now.

        Raises
        ------
        ValueError
            If that cursor is not one of this log's (the text names the oldest), or a kind is none.
        """
        is_wanted = wanted(kinds)
        if not follow:
            yield from filter(is_wanted, read_on(self._events.page, after))
            return
        self.start()
        yield from filter(is_wanted, followed(self._events.news, self._events.page, after))
        if self._error is not None:
            raise self._error

    async def aevents(
        self, after: str | None = None, *, kinds: Iterable[str] | None = None
    ) -> AsyncIterator[Event]:
        """As `events`, without blocking the event loop, whose executor reads the log."""
        is_wanted = wanted(kinds)
        self.start()
        async with aclosing(awaited(self._events.news, self._events.page, after)) as events:
            async for event in events:
                if is_wanted(event):
                    yield event
        if self._error is not None:
            raise self._error

    def on_event(
        self,
        handler: Callable[[Event], object],
        after: str | None = None,
        *,
        kinds: Iterable[str] | None = None,
        on_error: Callable[[Exception, Event], object] | None = None,
    ) -> None:
        """Call a function for each event, as `on_signal` does for signals.

        Raises
        ------
        ValueError
            As `events` does.
        """
        is_wanted = wanted(kinds)
        self._events.page(after, limit=1)  # refuses what is no cursor
        events = followed(self._events.news, self._events.page, after)
        self._call(handler, filter(is_wanted, events), "openbell-on-event", on_error)

    def _call(
        self,
        handler: Callable[[T], object],
        entries: Iterator[T],
        name: str,
        on_error: Callable[[Exception, T], object] | None,
    ) -> None:
        def follow() -> None:
            try:
                for entry in entries:
                    if self._closed:
                        return
                    try:
                        handler(entry)
                    except Exception as error:  # noqa: BLE001 it is the host's own
                        self._report(error, entry, on_error)
            except BaseException as error:  # noqa: BLE001 it is raised by `wait`
                self._error = self._error or error
                self.stop()

        follower = threading.Thread(target=follow, name=name, daemon=True)
        self._followers.append(follower)
        follower.start()

    def _report(
        self, error: Exception, entry: T, on_error: Callable[[Exception, T], object] | None
    ) -> None:
        self._handler_errors += 1
        try:
            if on_error is not None:
                on_error(error, entry)
                return
        except Exception as raised:  # noqa: BLE001 as the handler's own
            error = raised
        thread = threading.current_thread()
        told = threading.ExceptHookArgs((type(error), error, error.__traceback__, thread))
        threading.excepthook(told)

    def add_sink(self, name: str, handler: Callable[[Signal], object], **keys: Any) -> None:
        """Have a function called for each signal, at least once and in the log's order, as a sink of
        the configuration is.

        Where it has come to is kept in the store by its name, and survives this process. What it
        raises has it called again with the same signal, later and later. It is called on a thread
        of its own, and delays nobody; `close` waits until a call that is under way ends.

        Parameters
        ----------
        keys
            Of the configuration's `sinks[]`: `begin`, `rate`, `give_up`, `on_give_up`.

        Raises
        ------
        ConfigError
            If the runtime keeps no state, a sink has that name, or a key can't be used.
        """
        made = config_from(
            self.config, overrides={"sinks": [{"type": "function", "name": name, **keys}]}
        ).sinks[0]
        if (deliveries := self._deliveries) is None:
            raise ConfigError(
                "this runtime keeps no state, so that a sink could not go on where it was; pass "
                "durable=True, or use on_signal"
            )
        deliveries.add(made, handler)

    @property
    def _deliveries(self) -> Deliveries | None:
        """Of a run that keeps its state."""
        found: Deliveries | None = getattr(self._run, "deliveries", None)
        return found

    def pause(self, token: str = "operator") -> None:  # noqa: S107 no secret
        """Grant no further step until the token is given back."""
        with self._starting:
            self._tokens.add(token)
            self._run.pause(token)
        self._paused_here(token, on=True)

    def resume(self, token: str = "operator") -> None:  # noqa: S107 no secret
        """Give a pause token back.

        Raises
        ------
        InputError
            If nobody has paused with it.
        """
        with self._starting:
            if token not in self._tokens:
                held = ", ".join(map(repr, sorted(self._tokens))) or "none"
                raise InputError(f"no pause with the token {token!r}; those that hold are {held}")
            self._tokens.remove(token)
            self._run.resume(token)
        self._paused_here(token, on=False)

    def step(self) -> None:
        """Grant one step although the run is paused."""
        self._run.step()

    def push_ticks(
        self,
        symbols: Any,
        ts: Any = None,
        price: Any = None,
        *,
        size: Any = 0.0,
        trade_id: Any = None,
        position: int | None = None,
    ) -> int:
        """Ticks that came, in the order in which they came; from any thread.

        Waits while as many rows wait to be acted on as may (`rows_max` of `feed.options`), or, with
        `feed.options.full: raise`, raises FeedFull and takes none of these. What can't be used is
        counted, as in files. In asyncio, await `apush_ticks`.

        Parameters
        ----------
        symbols : str, sequence of str, or table
            One stands for all rows. A pandas, polars or pyarrow table has all columns itself.
        ts : aware datetime, ISO 8601 text with a zone, integer ns UTC, or a sequence or array
            numpy's datetime64 is UTC.
        price, size : float, sequence or array
        trade_id : int, str, sequence or array, optional
            The vendor's number of each trade, for `feed.dedupe: trade_id`.
        position : int, optional
            Of the first row; None: it follows what was pushed last. After a restart, push again from
            `durable_position()` on, or from before it with this: what the run has is ignored.

        Returns
        -------
        The position after the last row: how many rows and marks were pushed since the run began.

        Raises
        ------
        DataError
            If the columns don't go together, or a time has no zone.
        FeedFull, RunError
        """
        values = {"price": price, "size": size, "trade_id": trade_id}
        return self._push("ticks", symbols, ts, values, position)

    def push_bars(
        self,
        symbols: Any,
        ts: Any = None,
        open: Any = None,
        high: Any = None,
        low: Any = None,
        close: Any = None,
        volume: Any = 0.0,
        *,
        partial: Any = None,
        position: int | None = None,
    ) -> int:
        """Bars that have ended, by their starts, in the order in which they came; as `push_ticks`.

        `partial` marks bars that are known not to be whole (`feed.on_partial`).
        """
        values = {"open": open, "high": high, "low": low, "close": close, "volume": volume}
        values["partial"] = partial
        return self._push("bars", symbols, ts, values, position)

    async def apush_ticks(self, *args: Any, **kwargs: Any) -> int:
        """As `push_ticks`, without blocking the event loop while there is no room."""
        return await asyncio.to_thread(self.push_ticks, *args, **kwargs)

    async def apush_bars(self, *args: Any, **kwargs: Any) -> int:
        """As `push_bars`, without blocking the event loop while there is no room."""
        return await asyncio.to_thread(self.push_bars, *args, **kwargs)

    def end_day(self, day: date | str, position: int | None = None) -> int:
        """No more rows of a trading day come: it is gone through to its close.

        Rows of a later day say so too.

        Returns
        -------
        The position after this mark.

        Raises
        ------
        DataError
            If it is no trading day of this run.
        """
        feed = self._fed()
        return feed.end_day(date.fromisoformat(day) if isinstance(day, str) else day, position)

    def renew_with(self, renew: Callable[[str], datetime | None]) -> None:
        """Have a function renew the feed's login each time that it is refused.

        It is called on a thread of its own with the reason, and may return until when the new login
        holds; the feed connects anew after it. If it raises, it is called again later, ever less often.
        """
        if self._run.feed is None:
            raise ConfigError("only a live run has a login that could be renewed")
        self._run.feed.renew_with(renew)

    def halt(self, *symbols: str, why: str = "") -> None:
        """Trading in symbols is halted: that no rows come of them is no fault, and is not told as one.

        For runs whose feed does not say so itself. It holds, over restarts and days, until
        `resume_symbol`; what was said less than a moment before a crash is to be said again.
        """
        self._halted(symbols, why, on=True)

    def resume_symbol(self, *symbols: str, why: str = "") -> None:
        """Trading in symbols goes on: from here on rows are expected of them."""
        self._halted(symbols, why, on=False)

    def _halted(self, symbols: tuple[str, ...], why: str, *, on: bool) -> None:
        feed = self._run.feed
        if feed is None:
            raise ConfigError("only a live run hears of halts; this one reads what is stored")
        unknown = [symbol for symbol in symbols if symbol not in self.plan.symbols]
        if unknown:
            raise InputError(f"{unknown[0]} is not watched; this run has {len(self.plan.symbols)}")
        self.start()
        feed.halted(symbols, on, why)

    def durable_position(self) -> int:
        """The position up to which all that was pushed survives this process; in memory, up to
        which it was acted on."""
        return self._fed().durable

    def _fed(self) -> HandOver:
        if self._run.feed is None or self.config.feed.type != "push":
            raise ConfigError("rows can only be pushed into a run with feed: {type: push}")
        self.start()
        return self._run.feed

    def _push(
        self, kind: Kind, symbols: Any, ts: Any, values: dict[str, Any], position: int | None
    ) -> int:
        feed = self._fed()
        if self.config.data.kind != kind:
            raise DataError(f"this run takes {self.config.data.kind}; data.kind says so")
        if is_pushed_table(symbols):
            rows = pushed_table(symbols, _pushed_options(self.config))
        else:
            rows = pushed_columns(kind, symbols, ts, values)
        return feed.take(rows, position)

    @property
    def plan(self) -> Plan:
        """The days that are run, and what over."""
        return self._run.plan

    @property
    def day(self) -> DayView | None:
        """The last day that has ended, until the next one has; None before.

        A durable run that goes on inside a day has it whole; days that were over before are not
        among those of this process.
        """
        recorder = self._run.recorder
        if recorder.last_day is None:
            return None
        return DayView(recorder.last_day, recorder.last_indicators)

    @property
    def prefetch(self) -> Loader:
        """What reads days ahead: `running`, `start`, `wait` and `shutdown`."""
        return self._run.engine.loader

    def status(self) -> dict[str, Any]:
        """Where the run is: its state, who holds it, the step and the market time that it has
        reached, days over and still to come, signals; of a durable one too who has its lease, how
        many seconds ago the store last had a heartbeat, when something was last committed, and how
        its sinks fare."""
        over, of_clock = self._run.recorder.over, self._run.engine.cells[clock.NAME].state
        pauses = self._run.engine.pauses()
        held = sorted({*self._tokens, *(of["token"] for of in pauses)})
        state = self._state()
        deliveries = self._deliveries
        sinks = deliveries.status(len(self._log)) if deliveries is not None else []
        return {
            "state": "paused" if state == "running" and held else state,
            "paused_by": held,
            "pauses": pauses,
            "step": of_clock.step,
            "market_time": market_time(of_clock.now_ns) if of_clock.now_ns else None,
            "days": sum(day.date <= over for day in self.plan.days) if over else 0,
            "days_planned": len(self.plan.days),
            "last_day": str(over) if over else None,
            "signals": len(self._log),
            **({"handler_errors": self._handler_errors} if self._handler_errors else {}),
            **self._run.liveliness(),
            **({} if self._run.feed is None else {"feed": self._run.feed.status()}),
            **({"sinks": sinks} if sinks else {}),
            **({} if self._run.feed is None else {"row_rules": self._by_rule()}),
        }

    def _by_rule(self) -> dict[str, int]:
        """What the rules of the feed did with rows of the day under way."""
        of: upkeep.State = self._run.engine.cells[upkeep.NAME].state
        if of.today is None or of.today.counts is None:
            return {}
        found = {name: int(n.sum()) for name, n in of.today.counts.by_rule}
        if (late := of.today.revised_late) is not None:
            found["revised_late"] = int(late.sum())
        return found

    def why(
        self, what: str, day: date | str | None = None, session: str | None = None
    ) -> Explanation:
        """Why a symbol has the signals of a day, or none; while the run goes on, too.

        A durable runtime tells it from its store; one over stored rows runs that day once more.

        Parameters
        ----------
        what : str
            A symbol; or, without a day, a signal's id.
        session : str, optional
            One session alone.

        Raises
        ------
        InputError
            If there is no such symbol, day, session or id; the text names the nearest.
        ConfigError
            If rows were pushed, and nothing keeps them.
        """
        from openbell.runtime.lifetime.embedded import EmbeddedRun
        from openbell.runtime.why import asked, from_store, from_stored_rows

        question = asked(what, day, session)
        if isinstance(self._run, EmbeddedRun):
            with self._run.beside() as store:
                return from_store(self.config, store, question)
        if self._run.feed is not None:
            raise ConfigError(
                "rows that are pushed into a run in memory are not kept; give it a store, with "
                "durable=True"
            )
        return from_stored_rows(self.config, self._data, question)

    def reached(self) -> tuple[str | None, int]:
        """The trading day and the step under way."""
        return self._run.engine.reached()

    def summary(self) -> dict[str, Any]:
        """The account of the run so far, as in `summary.json`; of what this process has run, with
        the day that was under way when it began."""
        return summary(
            self.config,
            self.plan,
            self._run.source.info(),
            self._run.recorder.tally,
            interrupted=self._stopped and not self._complete,
            error=str(self._error) if isinstance(self._error, DayFailed) else None,
            timing=self._timing(),
        )

    @property
    def _complete(self) -> bool:
        over = self._run.recorder.over
        return over is not None and over >= self.plan.days[-1].date

    def _state(self) -> str:
        if not self._ran:
            return "ready"
        if not self._over.is_set():
            return "running"
        if self._error is not None:
            return "failed"
        return "stopped" if self._stopped and not self._complete else "ended"

    def _timing(self) -> dict[str, Any]:
        rows = self._run.recorder.tally.counts["rows"]
        return timing(self._started_at, self._seconds, rows, self._run.engine.metrics())

    def _go(self) -> None:
        began = time.perf_counter()
        try:
            self._run.run()
        except BaseException as error:
            self._error = error
            if self._thread is None:
                raise
        finally:
            self._seconds = time.perf_counter() - began
            self._over.set()
            if self._run.feed is not None:
                self._run.feed.close(self._error)
            self._news.close()  # last: who reads must find what ended the run
            self._events.news.close()


def may_be_recorded(where: object) -> bool:
    """Whether a path may be that of recorded days; a quick look, for most are not."""
    if not isinstance(where, str | os.PathLike):
        return False
    folder = Path(where) if os.path.isdir(where) else Path(where).parent
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(name.endswith(".marks") or name == ".parts" for name in names)


def backtest(
    config: Config | Mapping[str, Any] | Path | str,
    data: Any = None,
    *,
    out: Path | str | None = None,
    force: bool = False,
    strict: bool = False,
    on_day: OnDay | None = None,
    indicators: Mapping[str, Indicator] | None = None,
    scanners: Mapping[str, ScanFunction] | None = None,
    overrides: Mapping[str, Any] = {},
) -> Result:
    """Run a configuration over stored data, to the end.

    Parameters
    ----------
    config : Config, mapping, or path of a file
    data : path or pandas, polars or pyarrow table, optional
        Instead of the configuration's `data.path`.
    out : path, optional
        Folder for the files that `openbell backtest --out` writes.
    force : bool
        Replace results that `out` already has.
    strict : bool
        Refuse unusable rows and duplicate bars instead of counting them.
    indicators : mapping, optional
        Functions `(Trailing) -> values` for indicator types of your own, by type.
    scanners : mapping, optional
        Functions `(ScanView) -> list[Found]` for scanner types of your own, by type.
    overrides : mapping, optional
        Dotted keys and their values, over those of the configuration and the environment:
        `{"backtest.start": "2024-06-24"}`.

    Raises
    ------
    ConfigError, DataError, CalendarError
        Wrong input; nothing was written.
    RunError
        A failure while running. If it is a DayFailed, `out` holds the days before.
    KeyboardInterrupt
        Ctrl-C; `out` holds the days that were complete.
    """
    made = config_from(config, overrides=overrides)
    kept = Collected()
    _, account = run_backtest(
        made,
        data,
        out=out,
        force=force,
        strict=strict,
        on_day=on_day,
        indicators=indicators,
        scanners=scanners,
        sinks=(kept,),
    )
    if account["error"]:
        raise DayFailed(account["error"])
    return Result(kept.days, account)


def why(
    config: Config | Mapping[str, Any] | Path | str,
    what: str,
    day: date | str | None = None,
    session: str | None = None,
    *,
    data: Any = None,
    out: Path | str | None = None,
    overrides: Mapping[str, Any] = {},
) -> Explanation:
    """Why a symbol has the signals of a day, or none: from what a run has stored, read only.

    Parameters
    ----------
    config : Config, mapping, or path of a file
    what : str
        A symbol; or, without a day, a signal's id.
    session : str, optional
        One session alone.
    data : path or pandas, polars or pyarrow table, optional
        Ask these rows, not the store: the day is run over them in memory.
    out : path, optional
        Ask a folder of results; its rows are `data`, or the configuration's `data.path`.
    overrides : mapping, optional
        Dotted keys and their values, over those of the configuration and the environment.

    Raises
    ------
    InputError
        If there is no such symbol, day, session or id; the text names the nearest.
    StoreError
        If the store can't be read.
    """
    from openbell.runtime.lifetime.opening import open_configured_store
    from openbell.runtime.why import asked, from_store, from_stored_rows

    made = config_from(config, overrides=overrides)
    question = asked(what, day, session)
    if data is not None or out is not None:
        return from_stored_rows(made, data, question, None if out is None else Path(out))
    with closing(open_configured_store(made)) as store:
        return from_store(made, store, question)


def _stored_rows(config: Config, where: Any) -> Config:
    """How a backtest with a store takes the rows of a recording that is not lived again.

    Raises
    ------
    ConfigError
        If it would be, without a store.
    """
    if where is None or not may_be_recorded(where):
        return config
    from openbell.runtime.lifetime.rerunning import recording_of

    of = config.backtest
    days, why_not = recording_of(config, where, of.start, of.end, of.speed)
    if days and why_not is None:
        raise ConfigError(
            f"{where} is a recording, whose days are gone through as they were lived, and a store "
            "keeps no state of that; leave --store out, or set data.order: time to have its rows "
            "taken in time order"
        )
    if days and "order" not in config.data.model_fields_set:
        return config_from(config, overrides={"data.order": "arrival"})
    return config


def run_backtest(
    config: Config,
    data: Any = None,
    *,
    out: Path | str | None = None,
    force: bool = False,
    strict: bool = False,
    on_day: OnDay | None = None,
    indicators: Mapping[str, Indicator] | None = None,
    scanners: Mapping[str, ScanFunction] | None = None,
    sinks: tuple[DaySink, ...] = (),
    started: Callable[[Runtime], None] | None = None,
    note: Callable[[str], None] | None = None,
    store: str | None = None,
) -> tuple[Runtime, dict[str, Any]]:
    """A backtest that keeps nothing in memory but its signals; for the command line.

    With `store`, the URL of one, its state and log are there afterwards, as those of a run.
    `started` gets the runtime before it runs, so that somebody can stop it, and `note` what is worth a
    line meanwhile. A run that is stopped, or one of whose days fails (`error` of the account), or that
    Ctrl-C interrupts, has written its complete days; when there is none, nothing.
    """
    accept(config, "backtest", data=data)
    intervals = settings(config).derived_minutes
    files = RunFiles(Path(out), intervals, force) if out is not None else None
    taking = Uninterrupted()
    try:
        counted = Counted()
        all_sinks: list[DaySink] = [Strict(), counted] if strict else [counted]
        if files is not None:
            all_sinks.append(files)
        days, all_sinks = config.backtest, [*all_sinks, *sinks]
        if store is not None:
            replay = {"type": "replay", "start": days.start, "end": days.end, "speed": days.speed}
            config = _stored_rows(config, config.data.path if data is None else data)
            if config.data.order == "arrival":
                replay |= {key: getattr(config.feed, key) for key in ROW_RULES}
            from openbell.runtime.lifetime.opening import empty_state

            overrides = {"feed": replay, "store.url": store}
            kept = config_from(config, overrides=overrides)
            empty_state(kept, force=force)
            made = Runtime._durable(
                kept,
                data,
                sinks=tuple(all_sinks),
                on_day=on_day,
                dispatcher=days.dispatcher,
                scanners=scanners,
            )
        else:
            made = Runtime(
                config,
                data,
                start=days.start,
                end=days.end,
                speed=days.speed,
                dispatcher=days.dispatcher,
                sinks=tuple(all_sinks),
                on_day=on_day,
                indicators=indicators,
                scanners=scanners,
                keep_signals=False,
            )
        with made as runtime:
            if started is not None:
                started(runtime)
            made._run.recorder.taking = taking
            if note is not None and made._run.engine.scanning is not None:
                made._run.engine.scanning.waits = note
            try:
                with suppress(DayFailed):  # the account has it
                    runtime.run()
            except KeyboardInterrupt:
                runtime.stop()
                taking.settle()
                account = runtime.summary()
                if files is not None and account["trading_days"]:
                    files.finish(account)
                raise
            account = runtime.summary()
        ended = not (account["interrupted"] or account["error"])
        if ended:
            counted.unusable.refuse(str(config.data.path or "the data"), account["rows"]["used"])
        if files is not None and (account["trading_days"] or ended):
            files.finish(account)
        return runtime, account
    finally:
        taking.settle()
        if files is not None:
            files.abandon()


def _pushed_options(config: Config) -> DataOptions:
    """How pushed tables are read: with what the rules of the feed look at."""
    extras = row_rules(config).extras(config.data.kind)
    return dataclasses.replace(data_options(config), extras=extras)
