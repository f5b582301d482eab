"""`openbell backtest --store`: the same answers, and afterwards their log and steps are there."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from commands import Command
from redis_server import RedisServer
from store_places import server_binary

from openbell.adapters.sample import write_sample
from openbell.adapters.stores import (
    CommitRecord,
    Store,
    Unavailable,
    open_store,
    this_process,
)
from openbell.messages.data import Batch
from openbell.runtime.api import Runtime, run_backtest
from openbell.runtime.config import config_from

CONFIG = """\
name: kept
exchange: XNYS
sessions:
  - {name: Opening, start: 09:30, end: 09:34}
  - {name: Lunch, start: 11:50, end: 12:20}
data: {path: minutes}
"""
SQLITE = "sqlite:///kept.db"
CLOSE_NS = int(datetime(2024, 7, 2, 20, tzinfo=UTC).timestamp()) * 10**9
"""Of the second day."""


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    write_sample(tmp_path / "minutes", symbols=2, days=3, seed=3, start=date(2024, 7, 1))
    (tmp_path / "config.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "sqlite":
        yield SQLITE
        return
    with RedisServer(server_binary()) as server:
        yield server.url


def files(folder: Path) -> dict[str, bytes]:
    found = {file.name: file.read_bytes() for file in folder.iterdir()}
    summary = json.loads(found.pop("summary.json"))
    del summary["timing"]
    return {**found, "summary.json": json.dumps(summary).encode()}


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_files_are_the_same_and_the_log_is_kept(
    url: str, dispatcher: str, command: Command, tmp_path: Path
) -> None:
    options = ("--from", "2024-07-02", "--dispatcher", dispatcher)
    plain = command("backtest", "--out", "plain", *options)
    kept = command("backtest", "--out", "kept", "--store", url, *options)

    assert (plain.code, kept.code) == (0, 0), kept.err
    assert files(tmp_path / "kept") == files(tmp_path / "plain")
    log = command("signals", "--store", url, "--name", "kept", "--json")
    signals = (tmp_path / "plain" / "signals.jsonl").read_text().splitlines()
    cursors = [json.loads(line) for line in log.out.splitlines()]
    assert [{k: v for k, v in line.items() if k != "cursor"} for line in cursors] == [
        json.loads(line) for line in signals
    ]
    assert len(signals) > 5
    (tmp_path / "config.yaml").write_text(f"{CONFIG}store: {{url: '{url}'}}\n")
    again = command("replay", "--config", "config.yaml", "--date", "2024-07-03")
    assert (again.code, again.err) == (0, ""), again.err


@pytest.mark.parametrize("damaged", [False, True])
def test_files_are_the_same_though_actors_begin_again(
    damaged: bool, command: Command, tmp_path: Path
) -> None:
    """From the last snapshot, inside a day; or with all of them damaged from the very beginning."""

    def fails_once(runtime: Runtime) -> None:
        cell = runtime._run.engine.cells["breakout"]
        update = cell.actor.update

        def failing(state: Any, message: Any) -> Any:
            if isinstance(message, Batch) and message.watermark_ns == CLOSE_NS:
                if damaged:
                    with closing(sqlite3.connect("kept.db")) as db, db:
                        db.execute("UPDATE epochs SET manifest = x'00'")
                raise RuntimeError("once")
            return update(state, message)

        cell.actor = replace(cell.actor, update=failing)

    config = config_from("config.yaml", overrides={"snapshot.every": "1ms"})
    run_backtest(config, out="plain")
    _, account = run_backtest(config, out="kept", store=SQLITE, started=fails_once)

    assert account["trading_days"] == 3
    assert files(tmp_path / "kept") == files(tmp_path / "plain")
    audit = command("audit", "--store", SQLITE, "--name", "kept", "--json").out
    assert audit.count('"what":"restart"') == 1


def test_no_day_is_left_out_that_was_stored_without_an_answer(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actors begin again then inside the second day, and nobody was told that the first is over."""
    # What follows the first one is one commit.
    monkeypatch.setattr("openbell.runtime.config.pace.GATHER_SECONDS", 0.2)
    begun, stored = threading.Event(), threading.Event()

    class Unanswering:
        def __init__(self, store: Store) -> None:
            self.store = store

        def __getattr__(self, operation: str) -> Any:
            return getattr(self.store, operation)

        def commit(self, fence: int, record: CommitRecord) -> Any:
            done = self.store.commit(fence, record)
            if record.steps and record.steps[-1].trading_date == date(2024, 7, 2):
                stored.set()
                raise Unavailable("no answer")
            begun.set()
            return done

    def fails_once(runtime: Runtime) -> None:
        run: Any = runtime._run
        store, run._store = run._store, Unanswering(run._store)
        cell = run.engine.cells["breakout"]
        update = cell.actor.update

        def failing(state: Any, message: Any) -> Any:
            if isinstance(message, Batch):
                assert begun.wait(120)
            if isinstance(message, Batch) and message.watermark_ns == CLOSE_NS:
                assert stored.wait(120)
                run._store = store
                raise RuntimeError("once")
            return update(state, message)

        cell.actor = replace(cell.actor, update=failing)

    run_backtest(config_from("config.yaml"), out="plain")
    _, account = run_backtest(
        config_from("config.yaml"), out="kept", store=SQLITE, started=fails_once
    )

    assert account["trading_days"] == 3
    assert files(tmp_path / "kept") == files(tmp_path / "plain")


def test_a_state_that_exists_is_replaced_when_asked_only(url: str, command: Command) -> None:
    assert command("backtest", "--store", url, "--to", "2024-07-02").code == 0
    store = open_store(url, "kept")
    before = store.head()

    refused = command("backtest", "--store", url)
    untouched = store.head()
    forced = command("backtest", "--store", url, "--force")
    after = store.head()
    store.close()

    assert refused.code == 2
    (said,) = refused.messages
    assert f'the state of "kept" already, up to step {before.step}' in said
    assert "--force" in said
    assert untouched == before
    assert forced.code == 0, forced.err
    assert after.step > before.step
    assert len({day.trading_date for day in open_store(url, "kept").documents()}) == 3


def test_not_even_force_takes_a_state_from_who_is_running_it(command: Command) -> None:
    assert command("backtest", "--store", SQLITE).code == 0
    store = open_store(SQLITE, "kept")
    store.acquire(this_process(), 5 * 10**9)
    before = store.head()

    ran = command("backtest", "--store", SQLITE, "--force")

    assert ran.code == 4
    (said,) = ran.messages
    assert "pid" in said or "process" in said
    assert store.head() == before
    store.close()
