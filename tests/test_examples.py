"""The programs in examples/ that embed a live run, as they stand there."""

from __future__ import annotations

import logging
import runpy
import signal as unix_signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pykka
import pytest
from api_reference import PAGE, page
from loguru import logger
from observed import threads_since

import openbell
from openbell.adapters.sample import write_sample, write_tick_sample

EXAMPLES = Path(__file__).parents[1] / "examples"
OPENING = {"name": "Opening", "start": "09:30", "end": "09:35"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    write_tick_sample(folder / "ticks", symbols=3, days=1, seed=3)
    write_sample(folder / "minutes", symbols=3, days=2, seed=3)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["bot.py", str(made / "ticks")])
    yield tmp_path
    logger.disable("openbell")


def expected(made: Path, kind: str = "ticks") -> Any:
    config = {"exchange": "XNYS", "sessions": [OPENING], "data": {"kind": kind}}
    return openbell.backtest(config, made / ("ticks" if kind == "ticks" else "minutes")).signals


def trades(folder: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(folder / "paper.db")) as book:
        return book.execute("select signal, shares from trades").fetchall()


def test_a_scanner_of_ones_own_narrows_a_backtest(
    here: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["own_scanner.py", str(made / "minutes")])

    runpy.run_path(str(EXAMPLES / "own_scanner.py"), run_name="__main__")

    *found, last = capsys.readouterr().out.splitlines()
    assert all(line.split()[1] == "09:35" and "usually" in line for line in found)
    assert len(found) > 0
    assert last.endswith("signals of the symbols that were followed")


def test_the_paper_bot_trades_each_breakout_once_however_often_it_is_started(
    here: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        runpy.run_path(str(EXAMPLES / "paper_bot.py"), run_name="__main__")

    found = expected(made)
    assert [of for of, _ in trades(here)] == found["id"].to_pylist()
    assert f"{len(found)} trades on paper" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.6, 1.2, 1.8, 2.4])
def test_the_paper_bot_trades_each_breakout_once_although_it_is_killed(
    here: Path, made: Path, seconds: float
) -> None:
    command = [sys.executable, str(EXAMPLES / "paper_bot.py"), str(made / "ticks")]
    for _ in range(3):
        try:
            subprocess.run(command, timeout=seconds, check=True)  # it kills with SIGKILL
        except subprocess.TimeoutExpired:
            continue
    subprocess.run(command, check=True)

    assert [of for of, _ in trades(here)] == expected(made)["id"].to_pylist()


def test_the_asyncio_bot_gets_all_signals(
    here: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runpy.run_path(str(EXAMPLES / "asyncio_bot.py"), run_name="__main__")

    assert capsys.readouterr().out.startswith(f"{len(expected(made))} signals, ")


def test_the_web_service_starts_and_ends_the_run(
    here: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("httpx")
    testing = pytest.importorskip("fastapi.testclient")
    monkeypatch.setenv("OPENBELL_DATA", str(made / "minutes"))
    before = set(threading.enumerate())
    app = runpy.run_path(str(EXAMPLES / "web_bot.py"))["app"]

    with testing.TestClient(app) as client:
        streamed = client.get("/stream").text.split("\n")[:-1]
        state = client.get("/status").json()
        listed = client.get("/signals", params={"limit": 3}).json()

    ids = expected(made, "bars")["id"].to_pylist()
    assert streamed == ids
    assert state["signals"] == len(ids)
    assert [of["id"] for of in listed] == ids[:3]
    assert threads_since(before, "openbell") == []


# What a live run leaves alone


class Resident(pykka.ThreadingActor):
    def on_receive(self, message: Any) -> Any:
        return message


def test_two_live_runs_leave_signals_logging_threads_and_other_actors_alone(
    made: Path, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    (file,) = (made / "ticks").glob("*.parquet")
    ticks = pq.read_table(file, columns=["symbol", "ts", "price", "size"]).sort_by("ts")
    watched = [unix_signal.SIGINT, unix_signal.SIGTERM, unix_signal.SIGHUP]
    handlers = {number: unix_signal.getsignal(number) for number in watched}
    root = (logging.getLogger().level, list(logging.getLogger().handlers))
    interval, hook = sys.getswitchinterval(), threading.excepthook
    resident = Resident.start()
    threads = set(threading.enumerate())
    config = {
        "exchange": "XNYS",
        "symbols": sorted(set(ticks["symbol"].to_pylist())),
        "sessions": [OPENING],
        "data": {"kind": "ticks"},
        "feed": {"type": "push", "start": "2024-01-02", "end": "2024-01-02"},
    }
    got: dict[str, list[str]] = {"one": [], "two": []}
    store = {"url": f"sqlite:///{tmp_path / 'state.db'}"}
    with (
        openbell.Runtime.from_config(
            {**config, "name": "one", "store": store}, durable=True
        ) as one,
        openbell.Runtime.from_config(
            {**config, "name": "two", "store": store}, durable=True
        ) as two,
    ):
        for name, of in (("one", one), ("two", two)):
            of.on_signal(lambda signal, name=name: got[name].append(signal.id))  # type: ignore[misc]
        for start in range(0, len(ticks), 5000):
            one.push_ticks(ticks.slice(start, 5000))
            two.push_ticks(ticks.slice(start, 5000))
        one.end_day("2024-01-02")
        one.wait()
        during = {number: unix_signal.getsignal(number) for number in watched}
        pykka.ActorRegistry.broadcast("still there")
        assert resident.ask("an answer", timeout=120) == "an answer"

    assert resident.is_alive()
    resident.stop()
    ids = expected(made)["id"].to_pylist()
    assert got["one"] == ids
    assert got["two"] == ids[: len(got["two"])], "it was closed in the middle of its day"
    assert during == handlers == {number: unix_signal.getsignal(number) for number in watched}
    assert root == (logging.getLogger().level, list(logging.getLogger().handlers))
    assert (interval, hook) == (sys.getswitchinterval(), threading.excepthook)
    assert threads_since(threads, "openbell") == []


def test_the_public_names_are_these_and_no_more() -> None:
    assert sorted(openbell.__all__) == [
        "Config",
        "Event",
        "Explanation",
        "Result",
        "Runtime",
        "Signal",
        "backtest",
        "consume",
        "load_config",
        "why",
    ]
    assert PAGE.read_text(encoding="utf-8") == page(), "run: python tests/api_reference.py"
    for name in openbell.__all__:
        assert getattr(openbell, name).__doc__, f"{name} says nothing of itself"
    names = {name for name in dir(openbell) if not name.startswith("_")}
    assert names == {*openbell.__all__, "errors", "testing"}
