"""Symbols come, and go, while a run is killed: wholly or not at all, and each is answered once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from inserting import DAYS, Left, at, bars, configuration, left_by, ticks

from openbell.actors.effects import Effect, Settled
from openbell.adapters.stores import Store, open_store
from openbell.messages.control import AddSymbols, RemoveSymbols
from openbell.runtime.intake.asking import Answer
from openbell.runtime.lifetime.asks import answer_of, ask, asked_of
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.lifetime.watched import watched_by

ADDED = AddSymbols(symbols=("B",), request="add")
GONE = RemoveSymbols(symbols=("C",), request="remove")
ASKS = ((at(DAYS[0], "09:36"), ADDED), (at(DAYS[0], "12:21"), GONE))


class Killed(BaseException):
    """Nothing follows, and nothing is tidied up."""


class Stepped(DurableRun):
    """A run that asks for symbols between two steps, and dies at one."""

    def begin(self, asks: Sequence[tuple[int, Any]], dies_at: int | None, seed: int) -> None:
        self._rng = random.Random(seed)
        self.left = list(asks)
        self.futures: list[Future[Answer]] = []
        self._dies_at = dies_at
        self._steps = 0
        self._carry_out = self.engine._do
        self.engine._do = self._watched  # type: ignore[method-assign]
        self.pause("steps")
        self.step()

    def _watched(self, effect: Effect) -> None:
        self._carry_out(effect)
        if not isinstance(effect, Settled):
            return
        self._steps += 1
        ledger = self.engine.ledger
        assert ledger is not None
        again = ledger.gives_again(effect.grant.step + 1)
        while self.left and effect.grant.until_ns >= self.left[0][0] and not again:
            self.futures.append(self.symbols.ask(self.left.pop(0)[1]))
        if self._dies_at is not None and self._steps >= self._dies_at:
            if self._rng.random() < 0.7:
                ledger.drain()  # else what waits for the store is lost
            raise Killed
        if self.left:
            self.step()
        else:
            self.resume("steps")


def attempt(
    store: Store, path: Path, data: Any, dies_at: int | None, seed: int
) -> list[Answer] | None:
    """One process's part; None: it died."""
    kind = "ticks" if "price" in bars_or_ticks(path) else "bars"
    keys = {"data": {"kind": kind, "path": str(path)}, "snapshot": {"every": "0.01s"}}
    run = Stepped(configuration("AC", name="bot", **keys), store, data=data, dispatcher="inline")
    run.begin(ASKS, dies_at, seed)
    try:
        run.run()
        return [future.result(0) for future in run.futures]
    except Killed:
        return None
    finally:
        run.close()


@cache
def bars_or_ticks(path: Path) -> list[str]:
    from pyarrow import parquet

    return list(parquet.read_schema(path).names)


@cache
def from_the_open(kind: str) -> Left:
    rows = bars(0) if kind == "bars" else ticks(0)
    return left_by(configuration("ABC", data={"kind": kind}), rows)


def stays_whole(folder: Path, kind: str, table: bool, seed: int) -> None:
    rng = random.Random(seed)
    rows = bars(0) if kind == "bars" else ticks(0)
    path = folder / "rows.parquet"
    rows.to_parquet(path)
    store = open_store(f"sqlite:///{folder}/state.db", "bot")
    answers = None
    for number in range(6):
        dies_at = rng.randint(2, 12) if number < 4 else None
        answers = attempt(store, path, rows if table else None, dies_at, seed + number)
        if answers is not None:
            break

    assert answers is not None
    assert [answer.done for answer in answers] == [True] * len(answers)
    found = [orjson.loads(stored.body) for _, stored in store.signals()]
    assert len({of["id"] for of in found}) == len(found)
    whole = from_the_open(kind)

    def levels_of(symbol: str) -> list[tuple[float, float]]:
        return sorted((of["price"], of["level"]) for of in found if of["symbol"] == symbol)

    for symbol in "AB":
        assert levels_of(symbol) == sorted((of[7], of[8]) for of in whole.of(symbol))
    # What was not durable is asked once more later.
    told = [orjson.loads(entry) for _, entry in store.audit()]
    (removal,) = [of for of in told if of.get("kind") == "symbol.removed"]
    until = datetime.fromisoformat(removal["market_time"]).timestamp() * 1e9
    day = removal["trading_date"]
    gone = [of for of in whole.of("C") if of[1] <= day and (of[6] <= until or of[1] < day)]
    assert levels_of("C") == sorted((of[7], of[8]) for of in gone)
    how = {of["symbol"]: of["how"] for of in watched_by(store)}
    assert how == {"A": "configured", "B": "added", "C": "removed", "F": "companion"}
    store.close()


@pytest.mark.parametrize(("kind", "table"), [("bars", False), ("ticks", True)])
def test_symbols_come_and_go_whole_through_kills(tmp_path: Path, kind: str, table: bool) -> None:
    stays_whole(tmp_path, kind, table, seed=7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("table", [False, True], ids=["file", "table"])
@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_symbols_come_and_go_whole_through_any_kills(
    tmp_path: Path, kind: str, table: bool, seed: int
) -> None:
    stays_whole(tmp_path, kind, table, seed)


CONFIG = """
name: bot
exchange: XNSE
symbols: [A, C]
companions: {B: F}
sessions:
  - {name: Opening, start: "09:30", end: "09:35"}
  - {name: Lunch, start: "11:50", end: "12:20"}
breakout: {rearm: {inside_bars: 3}, closed_beyond: true, retest: {within_bars: 8, tolerance: 0.05}}
data: {path: rows.parquet}
feed: {type: replay, speed: 3000}
store: {url: "sqlite:///state.db"}
"""


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_what_is_asked_of_a_process_that_is_killed_is_answered_once(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    bars(0).to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "c.yaml").write_text(CONFIG)
    command = [sys.executable, "-m", "openbell", "run", "--config", str(tmp_path / "c.yaml")]
    store = open_store(f"sqlite:///{tmp_path}/state.db", "bot")
    for number in range(8):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=tmp_path)
        if number == 0:
            while store.head().step < 5:
                time.sleep(0.05)
            ask(store, "from-here", "add", ("B",))
        if number == 7:
            assert process.wait(300) == 0
            break
        time.sleep(rng.uniform(0.2, 2.5))
        os.kill(process.pid, signal.SIGKILL)
        process.wait(120)

    answer = answer_of(store, "from-here")
    assert answer is not None
    assert answer.done, answer.why
    assert asked_of(store) == {}
    audit = [orjson.loads(entry) for _, entry in store.audit()]
    told = [of for of in audit if of.get("request") == "from-here"]
    assert len(told) == 1
    found = [orjson.loads(stored.body) for _, stored in store.signals()]
    assert len({of["id"] for of in found}) == len(found)
    day = min(of["trading_date"] for of in told)
    whole = [of for of in from_the_open("bars").of("B") if of[1] >= day]
    mine = sorted((of["price"], of["level"]) for of in found if of["symbol"] == "B")
    assert mine == sorted((of[7], of[8]) for of in whole)
    store.close()
