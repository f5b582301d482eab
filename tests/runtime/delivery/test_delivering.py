"""What a run finds is delivered: at least once, in the log's order, whoever fails or is slow."""

from __future__ import annotations

import runpy
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow.parquet as pq
import pytest
from observed import eventually, threads_since
from receivers import OK, Answer, Receiver, receiving

import openbell
from openbell.adapters.sample import write_sample
from openbell.adapters.stores import Unavailable, open_store
from openbell.errors import ConfigError
from openbell.runtime.api import Runtime, Signal
from openbell.runtime.config import config_from
from openbell.runtime.delivery import courier
from openbell.runtime.delivery.positions import statuses
from openbell.runtime.lifetime.run import DurableRun
from openbell.testing import Fail, FailingStore, in_turn

RECEIVER = Path(__file__).parents[3] / "examples" / "webhook_receiver.py"


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "minutes"
    write_sample(folder, symbols=3, days=3, seed=3, start=date(2024, 7, 1))
    return folder


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert threads_since(before, "openbell") == []


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "RETRY_SECONDS", 0.01)


def configured(minutes: Path, folder: Path, *sinks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "bot",
        "exchange": "XNYS",
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
        "data": {"path": str(minutes)},
        "store": {"url": f"sqlite:///{folder}/state/openbell.db"},
        "sinks": list(sinks),
        **more,
    }


def webhook(receiver: Receiver, **more: Any) -> dict[str, Any]:
    options = {"url": receiver.url, "allow_private": True, "secret": "s3cret"}
    return {"type": "webhook", "name": "hook", "options": options, **more}


def logged(keys: dict[str, Any]) -> list[tuple[str, bytes]]:
    with closing(open_store(keys["store"]["url"], keys["name"])) as store:
        return [(signal.id, signal.body) for _, signal in store.signals()]


def fares(keys: dict[str, Any]) -> dict[str, Any]:
    with closing(open_store(keys["store"]["url"], keys["name"])) as store:
        (status,) = statuses(store)
        return status


def by_id(receiver: Receiver) -> list[tuple[str, bytes]]:
    return [(unquote(key), body) for key, body in receiver.first_by_key().items()]


def test_a_webhook_gets_every_signal_of_the_log_in_its_order(minutes: Path, tmp_path: Path) -> None:
    with receiving() as receiver:
        keys = configured(minutes, tmp_path, webhook(receiver))

        with Runtime.from_config(keys) as runtime:
            runtime.run()
            (status,) = runtime.status()["sinks"]

    found = logged(keys)
    assert len(found) > 10
    assert [(unquote(got.key), got.body) for got in receiver.got] == found
    assert (status["state"], status["waits"], status["delivered"]) == ("up to date", 0, len(found))
    assert fares(keys) == status


def test_a_receiver_that_fails_and_one_that_takes_without_an_answer_get_all_in_order(
    minutes: Path, tmp_path: Path, quick: None
) -> None:
    plan = {1: Answer(500), 2: Answer(closes=True), 4: Answer(503, {"Retry-After": "0"})}
    with receiving(lambda n: plan.get(n, OK)) as receiver:
        keys = configured(minutes, tmp_path, webhook(receiver))

        with Runtime.from_config(keys) as runtime:
            runtime.run()

    found = logged(keys)
    assert by_id(receiver) == found
    assert len(receiver.got) == len(found) + 3
    assert len(receiver.taken) == len(found) + 1, "the one that was closed on came twice"
    assert fares(keys)["delivered"] == len(found)


def test_a_receiver_that_hangs_delays_neither_the_run_nor_its_end(
    minutes: Path, tmp_path: Path
) -> None:
    with receiving(lambda n: Answer(hangs=True)) as receiver:
        keys = configured(minutes, tmp_path, webhook(receiver, timeout_seconds=3600))
        with Runtime.from_config(keys) as runtime:
            runtime.start()
            receiver.wait(lambda: len(receiver.got) > 0)

            assert eventually(lambda: runtime.status()["days"] == 3)
            began = time.monotonic()

        assert time.monotonic() - began < 600  # of the hour for which it would wait
        assert len(receiver.got) == 1
    assert fares(keys)["waits"] == len(logged(keys)) > 10


def test_events_that_are_asked_for_are_sent_too_each_once(minutes: Path, tmp_path: Path) -> None:
    with receiving() as receiver:
        sink = webhook(receiver, events=["day.ended", "session.completed", "sink"], signals=False)
        keys = configured(minutes, tmp_path, sink)

        with Runtime.from_config(keys) as runtime:
            runtime.run()
            told = [e for e in runtime.events() if e.kind in ("day.ended", "session.completed")]

    assert [unquote(got.key) for got in receiver.got] == [event.id for event in told]
    assert len(told) == 6
    assert {got.headers["X-Openbell-Kind"] for got in receiver.got} == {"event"}
    status = fares(keys)
    assert (status["events_delivered"], status["delivered"], status["waits"]) == (6, 0, 0)


def test_the_end_of_a_run_is_told_before_it_is_over(minutes: Path, tmp_path: Path) -> None:
    with receiving() as receiver:
        keys = configured(minutes, tmp_path, webhook(receiver, events=["run"], signals=False))

        with Runtime.from_config(keys) as runtime:
            runtime.run()

    assert [got.fields["kind"] for got in receiver.got] == ["run.started", "run.ended"]


# A function of the program's own


def test_a_function_gets_every_signal_again_until_it_takes_it_and_goes_on_after_a_restart(
    minutes: Path, tmp_path: Path, quick: None
) -> None:
    keys = configured(minutes, tmp_path, feed={"end": "2024-07-02"})
    got: list[str] = []

    def fails_once(signal: Signal) -> None:
        got.append(signal.id)
        if len(got) == 2:
            raise ValueError("not yet")

    with Runtime.from_config(keys) as runtime:
        runtime.add_sink("orders", fails_once)
        runtime.run()
        with pytest.raises(ConfigError, match="another name"):
            runtime.add_sink("orders", print)
    first = [key for key, _ in logged(keys)]
    with Runtime.from_config({**keys, "feed": {}}) as runtime:
        runtime.add_sink("orders", fails_once)
        runtime.run()
        (status,) = runtime.status()["sinks"]

    assert len(first) > 5
    assert got == [*first[:2], *[key for key, _ in logged(keys)][1:]]
    assert status["state"] == "up to date"


def test_a_function_that_is_at_work_is_waited_for_when_the_runtime_closes(
    minutes: Path, tmp_path: Path
) -> None:
    begun, goes_on, done = threading.Event(), threading.Event(), []

    def slow(signal: Signal) -> None:
        begun.set()
        goes_on.wait(120)
        done.append(signal.id)

    runtime = Runtime.from_config(configured(minutes, tmp_path))
    runtime.add_sink("slow", slow)
    runtime.start()
    assert begun.wait(120)
    threading.Timer(0.1, goes_on.set).start()
    runtime.close()

    assert len(done) == 1


@pytest.mark.parametrize("durable", [False, None])
def test_who_keeps_no_state_has_no_sinks(
    minutes: Path, tmp_path: Path, durable: bool | None
) -> None:
    keys = configured(minutes, tmp_path)
    data = None if durable is False else pq.read_table(minutes)
    with (
        Runtime.from_config(keys, data, durable=durable) as runtime,
        pytest.raises(ConfigError, match="keeps no state"),
    ):
        runtime.add_sink("orders", print)

    with pytest.raises(ConfigError, match="sends signals nowhere"):
        Runtime.from_config({**keys, "sinks": [{"type": "stdout"}]}, data, durable=durable)
    with pytest.raises(ConfigError, match="sends signals nowhere"):
        openbell.backtest({**keys, "sinks": [{"type": "stdout"}]})


def test_two_sinks_with_one_name_are_refused(minutes: Path, tmp_path: Path) -> None:
    keys = configured(minutes, tmp_path, {"type": "stdout"}, {"type": "stdout"})

    with pytest.raises(ConfigError, match=r"sinks\[0\] has that name"):
        Runtime.from_config(keys)


# The receiver of examples/


def test_the_example_receiver_acts_once_and_refuses_an_id_with_other_bytes(tmp_path: Path) -> None:
    names = runpy.run_path(str(RECEIVER))
    opened, taken = names["opened"], names["taken"]
    with closing(opened(str(tmp_path / "acted.db"))) as db:
        answers = [taken(db, "a", b"1"), taken(db, "a", b"1"), taken(db, "a", b"2")]
        acts = db.execute("SELECT what FROM acts").fetchall()

    assert answers == [200, 200, 409]
    assert acts == [(b"1",)]


@pytest.mark.parametrize("operation", ["keep", "kept_at"])
def test_a_store_that_does_not_answer_for_a_moment_when_sinks_begin_ends_nothing(
    operation: str, minutes: Path, tmp_path: Path
) -> None:
    out = {"type": "file", "name": "out", "options": {"path": str(tmp_path / "out.jsonl")}}
    keys = configured(minutes, tmp_path, out, store={"url": "memory://"})
    away = in_turn({operation: [Fail(Unavailable("no answer")), None, Fail(Unavailable("no"))]})
    store = FailingStore(open_store("memory://", operation), away)

    run = DurableRun(config_from(keys), store)
    run.run()

    assert (tmp_path / "out.jsonl").read_bytes().count(b"\n") == run.head.signals > 0
    assert len(run.outages) == 1
