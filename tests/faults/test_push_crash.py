"""Rows that are pushed survive `kill -9`: what the run leaves is what one gives that was not killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from datetime import date, datetime
from datetime import time as wall_time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import yaml

import openbell
from openbell.adapters.stores import Store
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.replaying import replay_day

BOT = Path(__file__).with_name("push_bot.py")
NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    parts = []
    for day in DAYS:
        opened = datetime.combine(day, wall_time(9, 30), NEW_YORK)
        n = 1200
        at = np.sort(rng.integers(-60, 390 * 60, n)) + rng.integers(-3, 1, n)
        price = np.round(100 + np.cumsum(rng.normal(0, 0.3, n)), 2)
        price[5] = np.nan
        parts.append(
            pd.DataFrame(
                {
                    "symbol": rng.choice(["A", "B"], n),
                    "ts": pd.to_datetime(int(opened.timestamp()) + at, unit="s", utc=True),
                    "price": price,
                    "size": rng.random(n),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def config(folder: Path) -> dict[str, Any]:
    return {
        "name": "pushed",
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "companions": {"A": "B"},
        "sessions": [
            {"name": "Morning", "start": "09:30", "end": "09:40"},
            {"name": "Noon", "start": "12:00", "end": "12:20"},
        ],
        "breakout": {"rearm": "inside", "retest": {"within_bars": 8, "tolerance": "0.02%"}},
        "history": {
            "indicators": {"usual": {"type": "trailing_average", "field": "close", "period": "1d"}}
        },
        "data": {"kind": "ticks"},
        "clock": {"time": "feed"},
        "feed": {"type": "push", "start": str(DAYS[0]), "end": str(DAYS[-1])},
        "store": {"url": f"sqlite:///{folder / 'state.db'}"},
        "snapshot": {"every": "50ms"},
    }


def started(folder: Path, pause: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(BOT), "config.yaml", "rows.parquet", str(DAYS[-1]), str(pause)]
    return subprocess.Popen(command, cwd=folder)


def left(store: Store) -> Any:
    return [signal for _, signal in store.signals()], list(store.documents())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows().to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(tmp_path)))
    return tmp_path


def test_a_program_that_is_killed_again_and_again_leaves_each_signal_once(folder: Path) -> None:
    rng = random.Random(4)
    for _ in range(3):
        bot = started(folder, pause=0.02)
        store = watched(folder)
        before = store.head().step if store is not None else 0
        wanted = before + rng.randrange(5, 25)
        until = time.monotonic() + 120
        while bot.poll() is None and time.monotonic() < until:
            store = store or watched(folder)
            if store is not None and store.head().step >= wanted:
                break
            time.sleep(0.01)
        bot.send_signal(signal.SIGKILL)
        bot.wait()
    last = started(folder, pause=0)
    assert last.wait(120) == 0

    (whole := folder / "whole").mkdir()
    unkilled = config_from(config(whole))
    with openbell.Runtime.from_config(unkilled) as runtime:
        runtime.push_ticks(rows())
        runtime.end_day(DAYS[-1])
        runtime.wait()
    killed, expected = (open_configured_store(config_from(config(of))) for of in (folder, whole))

    signals, documents = left(killed)
    assert len(signals) > 10
    assert (signals, documents) == left(expected)
    for day in DAYS:
        replayed = replay_day(config_from(config(folder)), killed, day)
        assert replayed.differs is None


def watched(folder: Path) -> Store | None:
    if not (folder / "state.db").exists():
        return None
    return open_configured_store(config_from(config(folder)))


def test_what_was_pushed_is_known_at_an_instant_of_a_recorded_day(folder: Path) -> None:
    made = config_from(config(folder))
    with openbell.Runtime.from_config(made) as runtime:
        runtime.push_ticks(rows())
        runtime.end_day(DAYS[-1])
        runtime.wait()

    replayed = replay_day(made, open_configured_store(made), DAYS[0], "12:00")

    assert replayed.differs is None
    shown = "\n".join(replayed.show("levels"))
    assert "Morning" in shown
    assert "Noon" not in shown


def test_a_restart_goes_on_from_the_durable_position(folder: Path) -> None:
    made = config_from(config(folder))
    came = rows()
    with openbell.Runtime.from_config(made) as runtime:
        runtime.push_ticks(came.iloc[:700])
        while runtime.durable_position() < 700:
            time.sleep(0.01)

    with openbell.Runtime.from_config(made) as again:
        assert again.durable_position() == 700
        again.push_ticks(came.iloc[700:])
        again.end_day(DAYS[-1])
        again.wait()
        found = [s.id for s in again.signals()]

    assert found == [s.id for s in backtest_signals(came)]


def backtest_signals(came: pd.DataFrame) -> list[Any]:
    made = config(Path())
    del made["feed"], made["store"], made["snapshot"]
    made["data"] = {"kind": "ticks", "order": "arrival"}
    with openbell.Runtime.from_config(made, came, durable=False) as runtime:
        return list(runtime.signals())


def test_a_day_begun_anew_wants_its_rows_again(folder: Path) -> None:
    came = rows()
    with openbell.Runtime.from_config(config_from(config(folder))) as runtime:
        runtime.push_ticks(came.iloc[:1300])
        while runtime.durable_position() < 1300:
            time.sleep(0.01)
    kept = open_configured_store(config_from(config(folder)))
    reported = {signal.id for _, signal in kept.signals()}
    other = config_from({**config(folder), "breakout": {"sides": "high"}})

    with openbell.Runtime.from_config(other, fresh_day=True) as anew:
        begins = anew.durable_position()
        anew.push_ticks(came.iloc[begins:])
        anew.end_day(DAYS[-1])
        anew.wait()
        signals = list(anew.signals())

    # The first day is over, and stays; the last row of it was the 1,200th.
    assert 1190 < begins <= 1200
    # What was reported of the given-up part stays in the log, and nothing is added to it.
    assert reported <= {signal.id for signal in signals}
    found = [signal for signal in signals if signal.id not in reported]
    assert {(signal.trading_date, signal.side) for signal in found} == {(DAYS[1], "HIGH_BREAK")}
    replayed = replay_day(other, kept, DAYS[1])
    assert replayed.differs is None


def test_days_beyond_the_last_one_go_on_from_its_position(folder: Path) -> None:
    came, first = rows(), config(folder)
    first["feed"] = {**first["feed"], "end": str(DAYS[0])}
    with openbell.Runtime.from_config(config_from(first)) as runtime:
        runtime.push_ticks(came.iloc[:1200])
        runtime.end_day(DAYS[0])
        runtime.wait()

    with openbell.Runtime.from_config(config_from(config(folder))) as further:
        assert further.durable_position() == 1201
        further.push_ticks(came.iloc[1200:])
        further.end_day(DAYS[-1])
        further.wait()
        found = [s.id for s in further.signals()]

    assert found == [s.id for s in backtest_signals(came)]


def test_a_run_that_has_ended_tells_its_position_and_ignores_what_it_has(folder: Path) -> None:
    keys = config(folder)
    keys["feed"] = {**keys["feed"], "end": str(DAYS[0])}
    made, came = config_from(keys), rows()
    before_the_open = came[came["ts"] < "2024-07-01T13:30Z"]  # such rows open no day
    count = len(before_the_open)
    with openbell.Runtime.from_config(made) as runtime:
        runtime.push_ticks(before_the_open)
        runtime.end_day(DAYS[0])
        runtime.wait()

    with openbell.Runtime.from_config(made) as again:
        reached = again.durable_position()
        pushed = again.push_ticks(before_the_open, position=0)
        ended = again.end_day(DAYS[0], position=count)

    assert 0 < count < 10
    assert (reached, pushed, ended) == (count + 1,) * 3
