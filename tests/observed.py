"""Whole runs over real sources, with every commit kept, and sources that misbehave."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa

from openbell.actors.effects import Commit
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sources import Source, SourceInfo, open_source
from openbell.errors import DayFailed
from openbell.market.bars import RawRows
from openbell.market.calendar import open_calendar
from openbell.market.days import MINUTE_NS, SECOND_NS
from openbell.market.indicators import Indicator
from openbell.market.results import SIDES
from openbell.messages.session import PhaseEntered, StateChanged
from openbell.runtime.config import config_from
from openbell.runtime.config.pace import replay_at
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import plan
from openbell.runtime.intake.settings import data_options
from openbell.runtime.results.recording import Recorder


class Keeping(Recorder):
    """Keeps commits and days."""

    def __init__(self) -> None:
        self.days: list[DayResult] = []
        self.commits: list[Commit] = []
        self.committed_at: list[float] = []
        super().__init__((self,))

    def write_day(self, day: DayResult) -> None:
        self.days.append(day)

    def commit(self, commit: Commit, *, seen_before: bool = False) -> None:
        self.commits.append(commit)
        self.committed_at.append(time.monotonic())
        super().commit(commit, seen_before=seen_before)


@dataclass
class Observed:
    """What a run left behind."""

    engine: Engine
    kept: Keeping
    error: DayFailed | None = None

    @property
    def dates(self) -> list[str]:
        return [str(day.trading_date) for day in self.kept.days]

    def phases(self, day: str) -> list[str]:
        return [t.phase for t in self._transitions(day) if isinstance(t, PhaseEntered)]

    def states(self, day: str) -> list[tuple[str, int]]:
        """(state, market time) as they were entered."""
        return [(t.after, t.at_ns) for t in self._transitions(day) if isinstance(t, StateChanged)]

    def _transitions(self, day: str) -> list[StateChanged | PhaseEntered]:
        every = (t for commit in self.kept.commits for t in commit.transitions)
        return [t for t in every if str(t.date) == day]


def engine_of(
    config: Mapping[str, Any],
    data: Any,
    *,
    source: Callable[[Source], Source] = lambda source: source,
    start: date | datetime | None = None,
    end: date | None = None,
    speed: float = 0.0,
    dispatcher: Literal["inline", "threads"] = "inline",
    load_timeout: float | None = None,
    indicators: Mapping[str, Indicator] | None = None,
) -> Observed:
    """A run that has not begun; `source` may stand before the data once the run is planned."""
    made = config_from(config)
    opened = open_source(data, data_options(made))
    planned = plan(made, opened, start, end, paced=replay_at(speed).scaled, indicators=indicators)
    kept = Keeping()
    engine = Engine(
        planned,
        source(opened),
        kept,
        dispatcher=dispatcher,
        pace=replay_at(speed),
        load_timeout=load_timeout,
    )
    return Observed(engine, kept)


def observe(config: Mapping[str, Any], data: Any, **options: Any) -> Observed:
    """Run to the end, or to where the run fails."""
    observed = engine_of(config, data, **options)
    try:
        observed.engine.run()
    except DayFailed as error:
        observed.error = error
    return observed


# Signals

Facts = tuple[str, str, str, int, int, float, float]


def facts(observed: Observed) -> list[Facts]:
    """All that a signal says but for `backfilled`, sorted."""
    return sorted(fact for fact, _ in signals(observed))


def signals(observed: Observed) -> list[tuple[Facts, bool]]:
    """Each signal in the log's order, and whether it is backfilled."""
    return [
        (
            (
                b.sessions[b.session[i]],
                b.symbols[b.symbol[i]],
                SIDES[b.side[i]],
                int(b.ts[i]),
                int(b.known_at[i]),
                float(b.price[i]),
                float(b.level[i]),
            ),
            bool(b.backfilled[i]),
        )
        for b in observed.kept.log.batches()
        for i in range(len(b))
    ]


# Sources


@dataclass
class Wrapped:
    """A source that passes on what another one reads."""

    inner: Source

    def info(self) -> SourceInfo:
        return self.inner.info()

    def dates(self, tz: str) -> dict[date, int]:
        return self.inner.dates(tz)

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        return self.inner.read(start_ns, end_ns, symbols)

    def close(self) -> None:
        self.inner.close()


def utc_date(ns: int) -> date:
    """Date of a window's start, as of noon after it: the same in New York and Kolkata."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // SECOND_NS, hours=12)).date()


@dataclass
class Counting(Wrapped):
    """Notes what is read: dates, and the symbols asked for."""

    reads: list[tuple[date, tuple[str, ...]]] = field(default_factory=list)

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        self.reads.append((utc_date(start_ns), tuple(symbols or ())))
        return super().read(start_ns, end_ns, symbols)

    @property
    def times(self) -> Counter[date]:
        return Counter(day for day, _ in self.reads)


@dataclass
class Failing(Wrapped):
    """Reads of some dates fail, each so many times."""

    failures: dict[str, int] = field(default_factory=dict)
    tried: int = 0

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        day = str(utc_date(start_ns))
        if self.failures.get(day, 0) > 0:
            self.failures[day] -= 1
            self.tried += 1
            raise OSError(5, "Input/output error", f"minutes/{day}.parquet")
        return super().read(start_ns, end_ns, symbols)


@dataclass
class Held(Wrapped):
    """Reads of one date wait until they are let go, or for some seconds."""

    day: str = ""
    seconds: float = 300.0
    asked: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        if str(utc_date(start_ns)) == self.day:
            self.asked.set()
            self.let_go.wait(self.seconds)
        return super().read(start_ns, end_ns, symbols)


# Rows


def walk(
    exchange: str, first: str, last: str, symbols: Sequence[str] = ("AAA", "BBB"), seed: int = 7
) -> pa.Table:
    """Minute bars of every minute of an exchange's days: a random walk for each symbol."""
    calendar = open_calendar(exchange, date.fromisoformat(first), date.fromisoformat(last))
    random = np.random.default_rng(seed)
    starts = np.concatenate(
        [d.grid(MINUTE_NS)[0] for d in calendar.days(calendar.first, calendar.last)]
    )
    m, s = len(starts), len(symbols)
    close = np.round(100 + np.cumsum(random.normal(0, 0.05, (m, s)), axis=0), 2)
    opened = np.round(close + random.normal(0, 0.03, (m, s)), 2)
    high = np.maximum(opened, close) + np.round(random.random((m, s)) * 0.05, 2)
    low = np.minimum(opened, close) - np.round(random.random((m, s)) * 0.05, 2)
    return pa.table(
        {
            "symbol": np.tile(np.array(symbols), m),
            "ts": pa.array(np.repeat(starts, s), pa.timestamp("ns", "UTC")),
            "open": opened.ravel(),
            "high": high.ravel(),
            "low": low.ravel(),
            "close": close.ravel(),
            "volume": random.integers(0, 500, m * s).astype(float),
        }
    )


def local(ns: int, tz: str) -> str:
    """Wall time of an instant."""
    return f"{datetime.fromtimestamp(ns // SECOND_NS, ZoneInfo(tz)):%Y-%m-%d %H:%M}"


def eventually(true: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether something comes true before so many seconds are over."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.005)
    return true()


def threads_since(before: set[threading.Thread], begin: str = "") -> list[str]:
    """Names of threads that stay; who was told to end, as a timer, may take a moment."""

    def names() -> list[str]:
        since = (of for of in threading.enumerate() if of not in before)
        return [of.name for of in since if of.name.startswith(begin)]

    eventually(lambda: not names(), 30)
    return names()


def openbell_threads() -> set[str]:
    """Names of the threads that openbell has."""
    return {t.name for t in threading.enumerate() if t.name.startswith("openbell")}
