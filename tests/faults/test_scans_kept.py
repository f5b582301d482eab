"""What a scan found is kept: no restart and no replay asks it again, but for one that was under way."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

import openbell
from openbell.actors.effects import Effects
from openbell.adapters.sample import write_sample
from openbell.adapters.stores import Store, open_store
from openbell.market.scanners import BUILT_IN
from openbell.market.scans import Found, ScanView
from openbell.messages.base import Message
from openbell.runtime.cli.app import main
from openbell.runtime.config import config_from
from openbell.runtime.engine import Engine
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.results.scans import stored_runs
from openbell.testing import Rehearsal

BOT = Path(__file__).with_name("scan_bot.py")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))
AT = ["pre", "10:00", "12:00"]
ASKED = [f"{day} {at}" for day in DAYS for at in AT]


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("minutes")
    write_sample(folder, symbols=4, days=2, seed=11, start=DAYS[0])
    return folder


def config(minutes: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "scanned",
        "exchange": "XNYS",
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:34"}],
        "breakout": {"rearm": "inside"},
        "data": {"path": str(minutes)},
        "scanners": [{"name": "mine", "type": "mine", "at": AT, "then": "follow"}],
        **more,
    }


class Changing:
    """A scan that never answers twice alike."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, view: ScanView) -> list[Found]:
        at = "pre" if view.before_open else f"{view.at:%H:%M}"
        self.asked.append(f"{view.day.date} {at}")
        number = len(self.asked)
        return [Found(view.symbols[number % len(view.symbols)], float(number))]


@pytest.fixture
def changing(monkeypatch: pytest.MonkeyPatch) -> Changing:
    made = Changing()
    monkeypatch.setitem(BUILT_IN, "mine", made)
    return made


def assert_signals_follow(store: Store, minutes: Path) -> None:
    """That the signals of a store are those of a run without scans whose symbols were found."""
    made = config(minutes)
    del made["scanners"]
    plain = openbell.backtest(made).signals.to_pylist()
    narrowed: dict[date, list[tuple[Any, set[str]]]] = {}
    for run in stored_runs(store):
        of_day = narrowed.setdefault(run.trading_date, [])
        names = {of.symbol for of in run.found} | (of_day[-1][1] if of_day else set())
        of_day.append((run.market_time, names))
    expected = []
    for of in plain:
        in_force = [s for at, s in narrowed[of["trading_date"]] if of["known_at"] > at]
        if of["symbol"] in in_force[-1]:
            expected.append(of["id"])
    assert 3 < len(expected) < len(plain)
    assert sorted(of.id for _, of in store.signals()) == sorted(expected)


def assert_replays(store: Store, made: dict[str, Any]) -> None:
    for day in DAYS:
        replayed = replay_day(config_from(made), store, day)
        assert replayed.differs is None


def test_a_replay_takes_what_was_found_and_asks_nobody(minutes: Path, changing: Changing) -> None:
    store = open_store("memory://", "scanned")
    DurableRun(config_from(config(minutes)), store).run()
    assert changing.asked == ASKED

    assert_replays(store, config(minutes))

    assert changing.asked == ASKED
    assert_signals_follow(store, minutes)


def test_a_table_that_is_gone_is_replayed_with_its_scans(minutes: Path, changing: Changing) -> None:
    rows = pd.concat([pd.read_parquet(file) for file in sorted(minutes.iterdir())])
    made, store = config(minutes), open_store("memory://", "table")
    del made["data"]
    DurableRun(config_from(made), store, data=rows).run()

    assert_replays(store, made)

    assert changing.asked == ASKED


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_killed_at_any_message_a_scan_is_asked_again_only_if_it_had_not_answered(
    seed: int, minutes: Path, changing: Changing
) -> None:
    rng = random.Random(seed)
    kills = iter(sorted(rng.sample(range(5, 300), 8)))
    following = next(kills)

    def before(rehearsal: Rehearsal) -> None:
        nonlocal following
        if rehearsal.messages >= following:
            following = next(kills, 10**9)
            rehearsal.restart()

    rehearsal = Rehearsal(config(minutes), minutes, seed=seed)
    rehearsal.run(before)

    assert rehearsal.restarts > 3
    assert set(changing.asked) == set(ASKED)
    assert [f"{run.trading_date} {run.at}" for run in stored_runs(rehearsal.store)] == ASKED
    assert_signals_follow(rehearsal.store, minutes)
    assert_replays(rehearsal.store, config(minutes))


class Faulty(DurableRun):
    """A run in which an actor raises once."""

    actor, left = "", 0

    def _engine(self) -> Engine:
        engine = super()._engine()
        cell = engine.cells[self.actor]

        def update(before: Callable[..., Any], state: Any, message: Message) -> tuple[Any, Effects]:
            type(self).left -= 1
            if type(self).left == 0:
                raise RuntimeError("once")
            result: tuple[Any, Effects] = before(state, message)
            return result

        cell.actor = replace(cell.actor, update=partial(update, cell.actor.update))
        return engine


@pytest.mark.parametrize(
    ("actor", "at"), [("scanner", 15), pytest.param("clock", 15, marks=pytest.mark.slow)]
)
def test_actors_that_are_restarted_ask_no_scan_that_has_answered(
    actor: str, at: int, minutes: Path, changing: Changing
) -> None:
    store = open_store("memory://", f"once-{actor}-{at}")
    kind = type("Run", (Faulty,), {"actor": actor, "left": at})

    kind(config_from(config(minutes, snapshot={"every": "1ms"})), store).run()

    assert set(changing.asked) == set(ASKED)
    assert_signals_follow(store, minutes)
    assert_replays(store, config(minutes, snapshot={"every": "1ms"}))


def lines(folder: Path) -> list[str]:
    path = folder / "asked"
    return path.read_text().splitlines() if path.exists() else []


def until(condition: Callable[[], bool], bot: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        assert bot.poll() is None
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("about", [ASKED[0], ASKED[4]])
def test_kill_9_within_a_scan_has_it_run_once_more_and_no_other(
    about: str, minutes: Path, tmp_path: Path
) -> None:
    made = config(minutes, store={"url": f"sqlite:///{tmp_path / 'state.db'}"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made))
    command = [sys.executable, str(BOT), str(tmp_path / "config.yaml"), str(tmp_path)]
    (tmp_path / "waits").write_text(about)
    killed = subprocess.Popen(command)
    until(lambda: about in lines(tmp_path), killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    (tmp_path / "waits").unlink()
    store = open_configured_store(config_from(made))
    try:
        durable = [f"{run.trading_date} {run.at}" for run in stored_runs(store)]
    finally:
        store.close()

    assert subprocess.run(command, timeout=300, check=False).returncode == 0

    # Steps whose scans were on their way to the store when it was killed are asked again too.
    asked = Counter(lines(tmp_path))
    assert set(asked) == set(ASKED)
    assert asked[about] == 2
    assert all(asked[of] == 1 for of in durable)
    store = open_configured_store(config_from(made))
    try:
        assert [f"{run.trading_date} {run.at}" for run in stored_runs(store)] == ASKED
        assert_signals_follow(store, minutes)
        assert_replays(store, made)
    finally:
        store.close()


@pytest.mark.slow
def test_a_recorded_day_has_its_scans_again_and_parity_asks_none(
    minutes: Path, changing: Changing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = pd.read_parquet(min(minutes.iterdir())).sort_values("ts", kind="stable")
    names = sorted(rows["symbol"].astype(str).unique())
    made = config(
        minutes,
        symbols=names,
        data={"kind": "bars"},
        clock={"time": "feed"},
        feed={"type": "push", "start": str(DAYS[0]), "end": str(DAYS[0]), "record": "days"},
        store={"url": f"sqlite:///{tmp_path / 'state.db'}"},
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(made))
    with openbell.Runtime.from_config("config.yaml") as runtime:
        runtime.push_bars(rows.astype({"symbol": str}))
        runtime.end_day(DAYS[0])
        runtime.wait()
        found = [run.as_dict() for run in runtime.scans()]
        ids = [of.id for of in runtime.signals()]
    assert changing.asked == ASKED[:3]
    assert [run["at"] for run in found] == AT

    again = openbell.backtest("config.yaml", tmp_path / "days")

    assert changing.asked == ASKED[:3]
    assert [run.as_dict() for run in again.scans] == found
    assert again.signals["id"].to_pylist() == ids
    monkeypatch.setattr(
        sys, "argv", ["openbell", "parity", "--config", "config.yaml", "--date", str(DAYS[0])]
    )
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    assert changing.asked == ASKED[:3]
