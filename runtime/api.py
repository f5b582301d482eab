"""What an embedding program uses: `Runtime`, `backtest` and what they return."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import pyarrow as pa

from openbell.adapters.sinks.files import DayResult, RunFiles
from openbell.adapters.sources import Source, open_source
from openbell.adapters.tables import (
    BARS_SCHEMA,
    QUALITY_SCHEMA,
    bars_table,
    decoded,
    levels_table,
    quality_table,
    signals_table,
)
from openbell.errors import ConfigError, DataError, DayFailed, RunError
from openbell.market.indicators import Indicator, IndicatorValues
from openbell.market.results import SIDES, SignalBatch
from openbell.runtime.config import Config, config_from
from openbell.runtime.engine import Engine
from openbell.runtime.loading import Loader
from openbell.runtime.planning import Plan, data_options, plan, settings
from openbell.runtime.recording import DaySink, Recorder, SignalLog, Tally
from openbell.runtime.summary import summary

OnDay = Callable[[date, int, int, int], None]
"""Told after each day: its date, how many days are over, how many there are, rows so far."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Companion:
    """The companion's last price when a signal was known."""

    symbol: str
    price: float
    ts: datetime
    """Its bar's start or tick's time, UTC."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A reported breakout; instants are UTC."""

    id: str
    """Made from the signal's facts: the same breakout has the same id in every run."""
    trading_date: date
    session: str
    symbol: str
    side: Literal["HIGH_BREAK", "LOW_BREAK"]
    ts: datetime
    """The bar's start or the tick's time."""
    known_at: datetime
    """The bar's end or the tick's time: when one could have acted."""
    price: float
    level: float
    companion: Companion | None
    gap: bool
    """The first price after the session already lay beyond the level."""
    ambiguous: bool
    """Both sides broke in one bar; which was first is not known."""
    complete: bool
    """No minute of the session was missing."""
    backfilled: bool
    cursor: str
    """Where to go on after this signal: an opaque position of the log."""


class Result:
    """What a backtest found, as Arrow tables.

    `to_pandas` and `to_polars` give the same attributes as data frames.
    """

    def __init__(self, days: list[DayResult], summary: Mapping[str, Any]) -> None:
        self._days = days
        self.summary = dict(summary)
        """The content of `summary.json`."""

    @property
    def signals(self) -> pa.Table:
        """One row a signal, ordered by (ts, symbol, session, side); as `signals.parquet`."""
        return decoded(signals_table([batch for day in self._days for batch in day.signals]))

    @property
    def levels(self) -> pa.Table:
        """One row a day, session and symbol; as `levels.parquet`."""
        parts = [levels_table(day.documents, day.symbols) for day in self._days]
        return decoded(_joined(parts, levels_table((), ()).schema))

    @property
    def quality(self) -> pa.Table:
        """One row a day and symbol; as `quality.csv`."""
        return decoded(_joined([quality_table(day.quality) for day in self._days], QUALITY_SCHEMA))

    def bars(self, minutes: int) -> pa.Table:
        """Derived bars of one configured interval; as `bars_5m.parquet`.

        Raises
        ------
        KeyError
            If that interval was not derived.
        """
        if not any(minutes in day.bars for day in self._days) and self._days:
            known = sorted({interval for day in self._days for interval in day.bars})
            raise KeyError(f"no {minutes}-minute bars; upkeep.derived_intervals are {known}")
        parts = [bars_table(day.bars[minutes]) for day in self._days if minutes in day.bars]
        return decoded(_joined(parts, BARS_SCHEMA))

    def to_pandas(self) -> Frames:
        """The tables as pandas data frames."""
        return Frames(self, lambda table: table.to_pandas())

    def to_polars(self) -> Frames:
        """The tables as polars data frames.

        Raises
        ------
        ModuleNotFoundError
            Without polars: `pip install 'openbell[polars]'`.
        """
        import polars

        return Frames(self, polars.from_arrow)

    def __repr__(self) -> str:
        return f"Result({len(self._days)} days, {self.summary.get('signals', 0)} signals)"


class Frames:
    """A result's tables in another library's data frames."""

    def __init__(self, result: Result, convert: Callable[[pa.Table], Any]) -> None:
        self._result = result
        self._convert = convert

    @property
    def signals(self) -> Any:
        return self._convert(self._result.signals)

    @property
    def levels(self) -> Any:
        return self._convert(self._result.levels)

    @property
    def quality(self) -> Any:
        return self._convert(self._result.quality)

    def bars(self, minutes: int) -> Any:
        return self._convert(self._result.bars(minutes))


class DayView:
    """One trading day that has ended, as Arrow tables."""

    def __init__(self, day: DayResult, indicators: tuple[IndicatorValues, ...] = ()) -> None:
        self._day = day
        self._result = Result([day], {})
        self.indicators = {indicator.name: indicator for indicator in indicators}
        """By name: `values`, (s,) or one row a bar of the day, NaN where null, and `reasons`."""

    @property
    def date(self) -> date:
        return self._day.trading_date

    @property
    def symbols(self) -> tuple[str, ...]:
        return self._day.symbols

    @property
    def signals(self) -> pa.Table:
        return self._result.signals

    @property
    def levels(self) -> pa.Table:
        return self._result.levels

    @property
    def quality(self) -> pa.Table:
        return self._result.quality

    def bars(self, minutes: int) -> pa.Table:
        return self._result.bars(minutes)


class _Collected:
    """Keeps whole days in memory."""

    def __init__(self) -> None:
        self.days: list[DayResult] = []

    def write_day(self, day: DayResult) -> None:
        self.days.append(day)


class _Strict:
    """Refuses days with rows that a careful eye should see first."""

    def write_day(self, day: DayResult) -> None:
        if day.bad:
            row = day.bad[0]
            raise DataError(
                f"{row.file}, row {row.row}: {row.symbol}: {row.reason}; {len(day.bad)} unusable "
                f"rows on {day.trading_date}: mend them, or leave out --strict to go on without"
            )
        if doubled := int(day.quality.duplicates.sum()):
            who = day.symbols[int(day.quality.duplicates.argmax())]
            raise DataError(
                f"{day.trading_date}: {doubled} duplicate bars, {who} has some; remove them, or "
                "leave out --strict to use the last of each"
            )


class Runtime:
    """A run over stored data in this process, beside whatever else it does.

    `signals` yields what is found as it is found. Leaving the `with` block stops the run and
    lets go of its threads; no signal handler is set and nothing is logged unless asked for.

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
    keep_signals : bool
        Whether `signals` and its like will be used; if not, a long run needs less memory.
    """

    def __init__(
        self,
        config: Config,
        data: Any = None,
        *,
        start: date | datetime | None = None,
        end: date | None = None,
        speed: float = 0.0,
        dispatcher: Literal["inline", "threads"] = "threads",
        sinks: tuple[DaySink, ...] = (),
        on_day: OnDay | None = None,
        indicators: Mapping[str, Indicator] | None = None,
        keep_signals: bool = True,
    ) -> None:
        self.config = config
        where = config.data.path if data is None else data
        if where is None:
            raise ConfigError("data.path is missing; name a file or folder with minutes or ticks")
        self._source: Source = open_source(where, data_options(config))
        try:
            self.plan: Plan = plan(
                config, self._source, start, end, paced=speed > 0, indicators=indicators
            )
        except BaseException:
            self._source.close()
            raise
        self._on_day = on_day
        self._recorder = Recorder(sinks, self._day_over, keep_signals=keep_signals)
        self._engine = Engine(
            self.plan,
            self._source,
            self._recorder,
            dispatcher=dispatcher,
            speed=speed,
            load_timeout=config.prefetch.timeout_seconds.seconds,
        )
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._stopped = False
        self._ran = False
        self._over = threading.Event()
        self._followers: list[threading.Thread] = []
        self._closed = False
        self._started_at = time.time()
        self._seconds = 0.0

    @classmethod
    def from_config(cls, config: Config | Mapping[str, Any] | Path | str, data: Any = None) -> Self:
        """A runtime from a configuration, a mapping of one, or the path of its file.

        Raises
        ------
        ConfigError, DataError, CalendarError
        """
        made = config_from(config)
        return cls(made, data, start=made.feed.start, end=made.feed.end, speed=made.feed.speed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the run in the background; does nothing if it was started."""
        if self._thread is None and not self._ran:
            self._thread = threading.Thread(target=self._run, name="openbell-run", daemon=True)
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
        if self._ran or self._thread is not None:
            raise RunError("a runtime runs once; make another one")
        self._run()
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Have the run end where it is; days that are complete stay."""
        self._stopped = True
        self._engine.stop()

    def close(self) -> None:
        """Stop the run and let go of everything."""
        if self._closed:
            return
        self._closed = True
        if self._thread is not None:
            self.stop()
            self._thread.join()
        elif not self._ran:
            self._engine.close()
        self._source.close()

    def signals(self, after: str | None = None) -> Iterator[Signal]:
        """Signals in the log's order, as they come; ends with the run and raises its error.

        Parameters
        ----------
        after : str, optional
            Cursor of a signal seen before: go on after it.

        Raises
        ------
        ValueError
            If that cursor is not one of this log's.
        """
        position = _position(after)
        self.start()
        log = self._recorder.log
        while log.wait(position):
            for signal in _signals_after(log, position):
                yield signal
                position += 1
        self._raise_what_ended_it()

    async def asignals(self, after: str | None = None) -> AsyncIterator[Signal]:
        """As `signals`, without blocking the event loop."""
        position = _position(after)
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(news.set)

        log = self._recorder.log
        unlisten = log.listen(tell)
        try:
            self.start()
            while True:
                news.clear()
                over = log.over
                for signal in _signals_after(log, position):
                    yield signal
                    position += 1
                if len(log) > position:
                    continue
                if over:
                    break
                await news.wait()
        finally:
            unlisten()
        self._raise_what_ended_it()

    def _raise_what_ended_it(self) -> None:
        if self._ran:
            self._over.wait()  # the log ends a moment before what ended it is known
        if self._error is not None:
            raise self._error

    def on_signal(self, handler: Callable[[Signal], None]) -> None:
        """Call a function for each signal, on a thread of its own, in the log's order.

        A slow handler delays nobody. What it raises ends its thread and is raised by `wait`.
        """

        def follow() -> None:
            position, log = 0, self._recorder.log
            try:
                while log.wait(position):
                    for signal in _signals_after(log, position):
                        handler(signal)
                        position += 1
            except BaseException as error:  # noqa: BLE001 it is raised by `wait`
                self._error = self._error or error
                self.stop()

        follower = threading.Thread(target=follow, name="openbell-on-signal", daemon=True)
        self._followers.append(follower)
        follower.start()

    def pause(self, token: str = "operator") -> None:
        """Grant no further step until the token is given back."""
        self._engine.pause(token)

    def resume(self, token: str = "operator") -> None:
        """Give a pause token back."""
        self._engine.resume(token)

    def step(self) -> None:
        """Grant one step although the run is paused."""
        self._engine.step()

    @property
    def day(self) -> DayView | None:
        """The last day that has ended, until the next one has; None before."""
        last = self._recorder.last_day
        if last is None:
            return None
        return DayView(last, self._recorder.last_indicators)

    @property
    def prefetch(self) -> Loader:
        """What reads days ahead: `running`, `start`, `wait` and `shutdown`."""
        return self._engine.loader

    def status(self) -> dict[str, Any]:
        """Where the run is: its state, days over and still to come, signals."""
        tally = self._recorder.tally
        return {
            "state": self._state(),
            "days": len(tally.days),
            "days_planned": len(self.plan.days),
            "last_day": str(tally.days[-1]) if tally.days else None,
            "signals": len(self._recorder.log),
        }

    def summary(self) -> dict[str, Any]:
        """The account of the run so far, as in `summary.json`."""
        return summary(
            self.config,
            self.plan,
            self._source,
            self._recorder.tally,
            interrupted=self._stopped and not self._complete,
            error=str(self._error) if isinstance(self._error, DayFailed) else None,
            timing=self._timing(),
        )

    @property
    def _complete(self) -> bool:
        tally = self._recorder.tally
        return len(tally.days) + len(tally.without_data) == len(self.plan.days)

    def _state(self) -> str:
        if not self._ran and self._thread is None:
            return "ready"
        if not self._over.is_set():
            return "running"
        if self._error is not None:
            return "failed"
        return "ended" if self._complete else "stopped"

    def _timing(self) -> dict[str, Any]:
        rows = self._recorder.tally.counts["rows"]
        return {
            "started_at": (_EPOCH + timedelta(seconds=round(self._started_at))).isoformat(),
            "seconds": round(self._seconds, 3),
            "rows_per_second": round(rows / self._seconds) if self._seconds else None,
            "metrics": self._engine.metrics(),
        }

    def _day_over(self, day: DayResult, tally: Tally) -> None:
        if self._on_day is not None:
            over = len(tally.days) + len(tally.without_data)
            self._on_day(day.trading_date, over, len(self.plan.days), tally.counts["rows"])

    def _run(self) -> None:
        self._ran = True
        began = time.perf_counter()
        try:
            self._engine.run()
        except BaseException as error:
            self._error = error
            if self._thread is None:
                raise
        finally:
            self._seconds = time.perf_counter() - began
            self._over.set()


def backtest(
    config: Config | Mapping[str, Any] | Path | str,
    data: Any = None,
    *,
    out: Path | str | None = None,
    force: bool = False,
    strict: bool = False,
    on_day: OnDay | None = None,
    indicators: Mapping[str, Indicator] | None = None,
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

    Raises
    ------
    ConfigError, DataError, CalendarError
        Wrong input; nothing was written.
    RunError
        A failure while running. If it is a DayFailed, `out` holds the days before.
    """
    made = config_from(config)
    kept = _Collected()
    _, account = run_backtest(
        made,
        data,
        out=out,
        force=force,
        strict=strict,
        on_day=on_day,
        indicators=indicators,
        sinks=(kept,),
    )
    if account["error"]:
        raise DayFailed(account["error"])
    return Result(kept.days, account)


def run_backtest(
    config: Config,
    data: Any = None,
    *,
    out: Path | str | None = None,
    force: bool = False,
    strict: bool = False,
    on_day: OnDay | None = None,
    indicators: Mapping[str, Indicator] | None = None,
    sinks: tuple[DaySink, ...] = (),
    started: Callable[[Runtime], None] | None = None,
) -> tuple[Runtime, dict[str, Any]]:
    """A backtest that keeps nothing in memory but its signals; for the command line.

    `started` gets the runtime before it runs, so that somebody can stop it. A run that is stopped,
    or one of whose days fails (`error` of the account), has written its complete days; when
    there is none, nothing.
    """
    intervals = settings(config).derived_minutes
    files = RunFiles(Path(out), intervals, force) if out is not None else None
    try:
        all_sinks: list[DaySink] = [_Strict()] if strict else []
        if files is not None:
            all_sinks.append(files)
        with Runtime(
            config,
            data,
            start=config.backtest.start,
            end=config.backtest.end,
            speed=config.backtest.speed,
            dispatcher=config.backtest.dispatcher,
            sinks=(*all_sinks, *sinks),
            on_day=on_day,
            indicators=indicators,
            keep_signals=False,
        ) as runtime:
            if started is not None:
                started(runtime)
            with suppress(DayFailed):  # the account has it
                runtime.run()
            account = runtime.summary()
        ended = not (account["interrupted"] or account["error"])
        if files is not None and (account["trading_days"] or ended):
            files.finish(account)
        return runtime, account
    finally:
        if files is not None:
            files.abandon()


def _joined(parts: list[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables(parts, promote_options="default") if parts else schema.empty_table()


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.startswith("s") and cursor[1:].isdigit()):
        raise ValueError(f"{cursor!r} is no cursor; pass one that a signal of this log carries")
    return int(cursor[1:])


def _signals_after(log: SignalLog, position: int) -> Iterator[Signal]:
    """The rest of the batch that holds the signal after a position."""
    found = log.after(position)
    if found is None:
        return
    batch, start = found
    for i in range(start, len(batch)):
        position += 1
        yield _signal(batch, i, f"s{position}")


def _signal(batch: SignalBatch, i: int, cursor: str) -> Signal:
    session, symbol = batch.sessions[batch.session[i]], batch.symbols[batch.symbol[i]]
    side = SIDES[batch.side[i]]
    companion = None
    if batch.companion[i] >= 0:
        companion = Companion(
            symbol=batch.symbols[batch.companion[i]],
            price=float(batch.companion_price[i]),
            ts=_datetime(int(batch.companion_ts[i])),
        )
    number = int(batch.number[i])
    return Signal(
        id=f"{batch.exchange}:{batch.trading_date}:{session}:{symbol}:{side}:{number}",
        trading_date=batch.trading_date,
        session=session,
        symbol=symbol,
        side="HIGH_BREAK" if side == "HIGH_BREAK" else "LOW_BREAK",
        ts=_datetime(int(batch.ts[i])),
        known_at=_datetime(int(batch.known_at[i])),
        price=float(batch.price[i]),
        level=float(batch.level[i]),
        companion=companion,
        gap=bool(batch.gap[i]),
        ambiguous=bool(batch.ambiguous[i]),
        complete=bool(batch.complete[i]),
        backfilled=bool(batch.backfilled[i]),
        cursor=cursor,
    )


def _datetime(ns: int) -> datetime:
    """An aware datetime; what lies below a microsecond is cut off."""
    return _EPOCH + timedelta(microseconds=ns // 1000)
