"""What comes from outside falls differently each time, and the answer is the same.

A paced run on threads of its own is stopped and started again. In each life other days are late,
some of them beyond the time-out, an operator pauses at other moments for another while, and market
time runs at another speed. What a life has made durable no later one changes, and the step log
alone, given again without a clock, an operator or a source that is late, comes to all of it.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from observed import Wrapped, utc_date, walk

from openbell.actors import clock
from openbell.adapters.sources import Source
from openbell.adapters.stores import Store, open_store
from openbell.market.bars import RawRows
from openbell.market.days import TradingDay
from openbell.messages.control import LoadTimedOut
from openbell.runtime.config import config_from
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import Plan
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record import steplog

DAYS = [date(2024, 7, day) for day in (1, 2, 3)]
TIMEOUT_SECONDS = 0.06
LIVES = 3


def config(speed: float, **keys: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "sessions": [
            {"name": "Opening", "start": "09:30", "end": "09:33"},
            {"name": "Later", "start": "09:50", "end": "09:51"},
        ],
        "breakout": {"confirm": "touch"},
        "calendar": {"special_sessions": {str(day): "09:30-10:00" for day in DAYS}},
        "prefetch": {"timeout_seconds": f"{TIMEOUT_SECONDS}s", "days": 0},
        "feed": {"type": "replay", "speed": speed},
        **keys,
    }


@pytest.fixture(scope="module")
def bars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("data") / "bars.parquet"
    pq.write_table(walk("XNYS", str(DAYS[0]), str(DAYS[-1]), symbols=("AAA", "BBB")), file)
    return file


@dataclass
class Late(Wrapped):
    """Whole days are read so many seconds late; what planning reads is not."""

    seconds: Mapping[date, float] = field(default_factory=dict)
    timed_out: threading.Event = field(default_factory=threading.Event)
    """A day that is to be too late is not there before one was, however late the timer comes."""

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        if end_ns - start_ns > 20 * 3600 * 10**9:
            late = self.seconds.get(utc_date(start_ns), 0.0)
            time.sleep(late)
            if late > TIMEOUT_SECONDS:
                self.timed_out.wait(10)
        return super().read(start_ns, end_ns, symbols)


class Life(DurableRun):
    """One process: what is late in it, when it is paused and for how long, and where it is stopped.

    Steps stand for moments: the clock is looked at every millisecond.
    """

    def __init__(self, store: Store, data: Any, rng: random.Random, late: date) -> None:
        self.late = {day: rng.choice((0.0, 0.02, 0.15)) for day in DAYS} | {late: 0.15}
        self.pauses = {rng.randrange(1, 130): rng.uniform(0.01, 0.08) for _ in range(4)}
        self.steps = rng.randrange(30, 45)
        self.timed_out = threading.Event()
        super().__init__(config_from(config(rng.choice((2000.0, 3000.0)))), store, data=data)
        self.operator = threading.Thread(target=self.operate, daemon=True)

    def _opened(self) -> tuple[Source, Plan]:
        source, planned = super()._opened()
        return Late(source, self.late, self.timed_out), planned

    def _engine(self) -> Engine:
        engine = super()._engine()
        say = engine.loader.timed_out

        def timed_out(day: TradingDay) -> LoadTimedOut:
            self.timed_out.set()
            return say(day)

        engine.loader.timed_out = timed_out  # type: ignore[method-assign]
        return engine

    def live(self, *, to_the_end: bool) -> None:
        self.until = None if to_the_end else self.head.step + self.steps
        self.operator.start()
        self.run()
        self.operator.join()

    def operate(self) -> None:
        while not self._ended.wait(0.001):
            state: clock.State = self.engine.cells[clock.NAME].state
            if self.until is not None and state.step >= self.until:
                self.stop()
                return
            if (seconds := self.pauses.pop(state.step, None)) is not None:
                self.pause("operator")
                time.sleep(seconds)
                self.resume("operator")


def left(store: Store) -> tuple[list[Any], list[Any], list[Any]]:
    return (
        [signal for _, signal in store.signals()],
        [document.body for document in store.documents()],
        list(store.steps()),
    )


def of_the_market(store: Store) -> tuple[list[Any], list[Any]]:
    """Signals but for what says when they were known here, and levels."""
    signals = [orjson.loads(signal.body) for _, signal in store.signals()]
    documents = [orjson.loads(document.body) for document in store.documents()]
    return (
        sorted(({**s, "backfilled": None} for s in signals), key=lambda s: str(s["id"])),
        [(d["trading_date"], d["session_name"], d["status"], d["symbols_data"]) for d in documents],
    )


def timed_out(store: Store) -> int:
    entered = [steplog.read(step.grant).grant["inputs"] for step in store.steps()]
    return sum(kind == "timed_out" for inputs in entered for kind, _ in inputs)


@pytest.mark.parametrize(("seed", "rows"), [(1, "files"), (2, "table")])
def test_what_falls_differently_each_time_changes_no_answer(
    seed: int, rows: str, bars: Path
) -> None:
    rng = random.Random(seed)
    with closing(open_store("memory://", "calm")) as calm:
        DurableRun(config_from(config(0.0)), calm, data=bars).run()
        expected = of_the_market(calm)
    store = open_store("memory://", "default")
    begun: tuple[list[Any], list[Any], list[Any]] = ([], [], [])

    for life in range(LIVES):
        data = bars if rows == "files" else pq.read_table(bars)
        Life(store, data, rng, DAYS[life]).live(to_the_end=life == LIVES - 1)

        found = left(store)
        assert found[0][: len(begun[0])] == begun[0]
        assert found[2][: len(begun[2])] == begun[2]
        begun = found

    assert timed_out(store)
    for day in DAYS:
        replayed = config(0.0, data={"path": str(bars)} if rows == "files" else {})
        assert replay_day(config_from(replayed), store, day).differs is None
    assert of_the_market(store) == expected
    assert expected[0]
    store.close()
