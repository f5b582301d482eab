"""Runs whose time goes by the host's clock, moved by hand: actors, hand-over, store and timekeeper
are the real ones, on one thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from openbell.actors import clock, day
from openbell.adapters.sources import Source, open_source
from openbell.adapters.stores import Store, open_store
from openbell.market.bars import RawRows
from openbell.market.days import TradingDay
from openbell.runtime.config import config_from
from openbell.runtime.intake.filling import Filler
from openbell.runtime.intake.planning import Plan
from openbell.runtime.intake.pushed import pushed_columns
from openbell.runtime.intake.settings import data_options
from openbell.testing.clocks import HandClock
from openbell.testing.faults import Killed
from openbell.testing.inline import InlineRun

Act = Callable[["ByHand"], None]

NEW_YORK = ZoneInfo("America/New_York")


def at(wall: str, day: str = "2024-07-01", tz: str = "America/New_York") -> float:
    """Seconds since 1970 of a local time."""
    return datetime.fromisoformat(f"{day}T{wall}").replace(tzinfo=ZoneInfo(tz)).timestamp()


def shown(seconds: float, tz: str = "America/New_York") -> str:
    return f"{datetime.fromtimestamp(seconds, ZoneInfo(tz)):%H:%M:%S}"


def config(**more: Any) -> dict[str, Any]:
    """A day of New York whose windows are a minute and more long; ticks are pushed."""
    made: dict[str, Any] = {
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "sessions": [
            {"name": "Morning", "start": "09:30", "end": "09:34"},
            {"name": "Noon", "start": "12:00", "end": "12:09"},
        ],
        "data": {"kind": "ticks"},
        "feed": {"type": "push", "end": "2024-07-12"},
        "clock": {"time": "wall"},
    }
    for section, keys in more.items():
        made[section] = {**made.get(section, {}), **keys} if isinstance(keys, dict) else keys
    return made


@dataclass
class ByHand:
    """A run over days of wall time, told as what happens when."""

    config: dict[str, Any]
    begins: float
    """Seconds since 1970 at which the first process starts."""
    store: Store = field(default_factory=lambda: open_store("memory://", "default"))
    acts: list[tuple[float, Act]] = field(default_factory=list)
    sent: list[tuple[str, float, float]] = field(default_factory=list)
    """Symbol, time and price of all that was pushed: who pushes sends it again after a restart."""
    seen: list[tuple[str, str]] = field(default_factory=list)
    """(local time, what became durable): day states, and sessions' statuses."""
    follows: Callable[[date], TradingDay | None] | None = None
    """Stands for the calendar when a day rolls."""
    starting: Callable[[_Run], None] = lambda made: None
    """Gets each process before it runs."""
    read_again: Callable[[ByHand], dict[str, Any]] | None = None
    """The configuration as it is written by now."""
    kills_at: frozenset[int] = frozenset()
    """Messages, counted over all processes, before which a process is killed and begun again."""
    history: Callable[[Sequence[str], int, int], RawRows] | None = None
    """A feed's own, beside what is under `data.path`."""
    history_takes: float = 0.0
    """Seconds until an answer of either is there."""
    loses: bool = False
    """Whether what nobody listened to is not sent again."""
    round_trips: bool = False
    """Whether each actor's state goes through its bytes after every step."""

    def __post_init__(self) -> None:
        self.clock = HandClock(self.begins)
        self.restarts = 0
        self.messages = 0
        self.run: _Run | None = None
        self._audit = 0

    def tick(self, came: float, symbol: str, price: float, ts: float | None = None) -> ByHand:
        """Have a tick come at a moment, of that moment or of another."""

        def push(of: ByHand) -> None:
            if not (of.loses and of.clock.seconds > came + 1e-3):  # else nobody was there
                of.push(symbol, came if ts is None else ts, price)

        return self.do(came, push)

    def bar(self, came: float, symbol: str, ts: float, price: float) -> ByHand:
        """Have a bar come at a moment, whose open, high, low and close are one."""
        return self.do(came, lambda of: of.push(symbol, ts, price))

    def do(self, when: float, act: Act) -> ByHand:
        self.acts.append((when, act))
        return self

    def kill(self, when: float, back: float) -> ByHand:
        """`kill -9` at a moment; the next process starts at another."""

        def killed(of: ByHand) -> None:
            of.clock.seconds = back
            raise Killed

        return self.do(when, killed)

    def push(self, symbol: str, ts: float, price: float) -> None:
        self.sent.append((symbol, ts, price))
        self._push(len(self.sent) - 1)

    def until(self, when: float) -> ByHand:
        """Run until a moment, through all that happens before it."""
        acts = sorted(self.acts, key=lambda act: act[0])
        self.acts = []
        while True:
            try:
                self.run = _Run(self, acts, when)
                self.starting(self.run)
                self.run.run()
                self._look()
                return self
            except Killed:
                self.restarts += 1

    @property
    def state(self) -> str:
        return str(self._running.engine.cells[day.NAME].state.state)

    @property
    def today(self) -> date:
        state: day.State = self._running.engine.cells[day.NAME].state
        return state.day.date

    @property
    def clock_state(self) -> clock.State:
        state: clock.State = self._running.engine.cells[clock.NAME].state
        return state

    def sessions(self, of: str | None = None) -> dict[str, dict[str, Any]]:
        """Documents of a trading day, by session."""
        wanted = self.today if of is None else date.fromisoformat(of)
        found = self.store.documents(trading_date=wanted)
        return {document.session: orjson.loads(document.body) for document in found}

    def signals(self) -> list[tuple[str, bool]]:
        return [(signal.id, signal.backfilled) for signal in self._signals()]

    def known_at(self) -> list[int]:
        """When each signal's row was known, ns UTC."""
        return [round(signal.known_at.timestamp() * 1e9) for signal in self._signals()]

    def audit(self, what: str) -> list[dict[str, Any]]:
        entries = (orjson.loads(entry) for _, entry in self.store.audit())
        return [entry for entry in entries if entry["what"] == what]

    def states(self) -> list[str]:
        """The day states that were gone through, in order."""
        return [entry["to"] for entry in self.audit("day")]

    def _signals(self) -> Iterator[Any]:
        from openbell.runtime.results.signals import signal_of

        return (signal_of(stored, cursor) for cursor, stored in self.store.signals())

    @property
    def _running(self) -> _Run:
        assert self.run is not None
        return self.run

    def _push(self, position: int) -> None:
        feed = self._running.feed
        assert feed is not None
        for place, (symbol, ts, price) in enumerate(self.sent[position:], position):
            when = datetime.fromtimestamp(ts, UTC)
            kind = self._running.config.data.kind
            ohlc = {"open": price, "high": price, "low": price, "close": price, "volume": 1.0}
            values = {"price": price, "size": 1.0} if kind == "ticks" else ohlc
            rows = pushed_columns(kind, symbol, when, values)
            feed.take(rows, None if self.loses else place)

    def _look(self) -> None:
        """Note what became durable, and when."""
        now = shown(self.clock.seconds, self._running.plan.days[0].tz)
        for _, entry in list(self.store.audit(self._audit)):
            self._audit += 1
            told = orjson.loads(entry)
            if told["what"] == "day":
                self.seen.append((now, told["to"]))
            elif told["what"] == "session":
                self.seen.append((now, f"{told['session_name']} {told['to']}"))


class _Run(InlineRun):
    def __init__(self, of: ByHand, acts: list[tuple[float, Act]], until: float) -> None:
        self.of, self._acts, self._until = of, acts, until
        self._sent_again = False
        self.round_trips = of.round_trips
        written = of.read_again
        again = None if written is None else lambda: config_from(written(of))
        super().__init__(config_from(of.config), of.store, of.clock, read_again=again)
        if self.filler is not None:
            self.filler.begin = lambda work: self._later(of.history_takes, work)
            self.filler.later = self._later

    def _opened(self) -> tuple[Source, Plan]:
        source, plan = super()._opened()
        of = self.of
        if of.history is not None or self.filler is not None:
            path = self.config.data.path
            self.filler = Filler(
                interval_ns=plan.settings.interval_ns,
                stored=None
                if path is None
                else lambda: open_source(path, data_options(self.config)),
                history=of.history,
                timeout_seconds=self.config.prefetch.timeout_seconds.seconds,
            )
            fills_ns = self.config.day.post_market_roll_delay.ns
            plan = replace(plan, settings=replace(plan.settings, fills_ns=fills_ns, loses=of.loses))
        return source, plan

    def _later(self, seconds: float, work: Callable[[], None]) -> None:
        if not seconds:
            work()
            return
        when = self.clock.seconds + seconds
        self._acts.append((when, lambda of: work()))
        self._acts.sort(key=lambda act: act[0])

    def before_letter(self) -> None:
        self.of.messages += 1
        if self.of.messages in self.of.kills_at:  # what is settled by now is not durable yet
            raise Killed
        super().before_letter()

    def commit_waiting(self) -> bool:
        committed = super().commit_waiting()
        if committed:
            self.of._look()
        return committed

    def idle(self) -> None:
        if self.commit_waiting() or self.deliver_late():
            return
        if not self._sent_again:
            self._sent_again = True
            if not self.of.loses:
                self.of._push(0)
                return
        keeper = self.engine.timekeeper
        assert keeper is not None
        left = keeper.left()
        if self._outside_waits():
            return
        now = self.clock.seconds
        wakes = now + left + 1e-6 if left is not None else None
        acts = self._acts[0][0] if self._acts else self._until
        if wakes is not None and wakes < acts:
            self.clock.seconds = wakes
        elif self._acts:
            self.clock.seconds = max(now, acts)
            _, act = self._acts.pop(0)
            act(self.of)
        elif now < self._until:
            self.clock.seconds = self._until
        else:
            self.stop()

    def _day_after(self, day: date) -> TradingDay | None:
        follows = self.of.follows
        return super()._day_after(day) if follows is None else follows(day)
