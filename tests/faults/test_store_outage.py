"""The store goes away while a run goes on: nothing is lost, and memory stays within bounds."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from faults.crashing import Child, Nursery, Setting, assert_same, left, setting, wait_until
from redis_server import RedisServer

from openbell.adapters.stores import open_store

FIRST, SECOND = "2024-01-02", "2024-01-03"
NOON = "T12:30-05:00"


@pytest.fixture(scope="module")
def expected(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("whole")
    whole = setting(folder, minutes, f"sqlite:///{folder}/whole.db", "whole", feed=feed(0))
    code, said = children.run(*whole.run)
    assert code == 0, said
    return left(whole)


def feed(speed: float) -> dict[str, Any]:
    return {"type": "replay", "speed": speed, "end": SECOND}


def paced(
    folder: Path, minutes: Path, server: RedisServer, speed: float, backlog: str = "64MiB"
) -> Setting:
    return setting(
        folder,
        minutes,
        server.url,
        "outage",
        feed=feed(speed),
        store={"url": server.url, "backlog": backlog},
    )


def started(children: Nursery, of: Setting, day: str = FIRST) -> Child:
    """It has come into the day, and stays there until it is let go."""
    child = children.start(*of.run, "--log-level", "info", hold=day + NOON)
    children.wait_until_held(child)
    return child


Outage = Callable[[RedisServer], AbstractContextManager[None]]


@contextmanager
def killed(server: RedisServer) -> Iterator[None]:
    server.kill()
    yield
    server.start()


@contextmanager
def hanging(server: RedisServer) -> Iterator[None]:
    """Connections are taken, and nobody answers."""
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(server.pid, signal.SIGCONT)


@pytest.mark.parametrize("outage", [killed, pytest.param(hanging, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "seconds", [1.0, pytest.param(30.0, marks=pytest.mark.slow)], ids="{:g} s".format
)
def test_a_paced_run_goes_on_through_an_outage(
    seconds: float,
    outage: Outage,
    children: Nursery,
    minutes: Path,
    server: RedisServer,
    expected: Any,
    tmp_path: Path,
) -> None:
    # From the first day's noon: its close falls into the outage, with its snapshot, its pruning and
    # its files, and the second day's close behind it, where the host is not too slow for that.
    of = paced(tmp_path, minutes, server, speed=23_400 / seconds)
    child = started(children, of)

    began = time.monotonic()
    with outage(server):
        child.let_go()
        wait_until(lambda: "does not answer" in child.err)
        away = time.monotonic()
        time.sleep(seconds)
        assert children.is_running(child), child.err
        assert "answers again" not in child.err
        least = time.monotonic() - away

    assert children.ended(child, timeout=4 * seconds + 120) == 0, child.err
    most = time.monotonic() - began
    assert "Traceback" not in child.err
    assert_same(left(of), expected, f"after {seconds} s without a server")
    said = re.findall(r"the store answers again after ([\d.]+) s", child.err)
    first = float(said[0])
    assert least - 0.1 < first < most + 0.1
    assert [f"{entry['seconds']:.1f}" for entry in audited(of, "outage")] == said
    outages = json.loads((of.out / "summary.json").read_bytes())["timing"]["metrics"]["outages"]
    # A machine that is slow enough has outages of its own beside that one.
    assert outages["count"] == len(said)
    assert least < outages["total"] < most
    in_all = f"{outages['count']}, {outages['total']:.1f} s in all"
    assert f"Outages of the store: {in_all}" in child.err


def audited(of: Setting, what: str) -> list[dict[str, Any]]:
    store = open_store(of.url, of.name)
    try:
        entries = [json.loads(entry) for _, entry in store.audit()]
    finally:
        store.close()
    return [entry for entry in entries if entry["what"] == what]


HELD = re.compile(r"([\d,]+) KiB wait for the store, .*: the clock is held at (\S+)")


def test_the_clock_is_held_while_more_than_the_backlog_waits(
    children: Nursery, minutes: Path, server: RedisServer, expected: Any, tmp_path: Path
) -> None:
    speed = 23_400  # a trading day a second: the run would be over before the server is back
    of = paced(tmp_path, minutes, server, speed, backlog="64KiB")
    child = started(children, of)
    process = psutil.Process(child.pid)

    with killed(server):
        child.let_go()
        wait_until(lambda: HELD.search(child.err) is not None)
        before = process.memory_info().rss
        time.sleep(1.0)
        grown = process.memory_info().rss - before
        back = time.monotonic()

    assert children.ended(child) == 0, child.err
    took = time.monotonic() - back
    assert_same(left(of), expected, "after the backlog was full")
    (waited, since), *_ = HELD.findall(child.err)
    goes_on, *_ = re.findall(r"the clock goes on from (\S+)", child.err)
    assert goes_on == since
    assert 64 <= int(waited) < 64 + 2 * 16  # one step that was too much, and the one under way
    assert grown < 8 * 2**20
    # Market time stood still, and what it missed is not caught up.
    at = datetime.fromisoformat(since)
    left_to_run = datetime(2024, 1, 3, 21, tzinfo=UTC) - at
    if at.day == 2:
        left_to_run -= timedelta(hours=17.5)  # the night is skipped
    assert took > 0.9 * left_to_run.total_seconds() / speed


@pytest.mark.slow
@pytest.mark.parametrize("mebibytes", [1, 64])
def test_memory_stays_within_the_backlog_for_as_long_as_the_store_is_away(
    mebibytes: int, children: Nursery, server: RedisServer, tmp_path: Path
) -> None:
    sample = ("--symbols", 200, "--days", 40, "--seed", 7)
    code, said = children.run("data", "sample", "--out", tmp_path / "minutes", *sample)
    assert code == 0, said
    of = setting(
        tmp_path,
        tmp_path / "minutes",
        server.url,
        "outage",
        feed={"type": "replay", "speed": 100_000},
        store={"url": server.url, "backlog": f"{mebibytes}MiB"},
    )
    child = started(children, of, "2024-01-30")  # its memory has its size by now
    process = psutil.Process(child.pid)
    before = process.memory_info().rss

    with hanging(server):
        child.let_go()
        wait_until(lambda: HELD.search(child.err) is not None, seconds=120)
        time.sleep(30.0)
        grown = process.memory_info().rss - before
    children.kill(child)

    print(f"{mebibytes} MiB: {grown / 2**20:.0f} MiB more")
    assert grown < (1.5 * mebibytes + 24) * 2**20


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 0), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("speed", [0, 23_400])
def test_a_run_can_be_stopped_while_its_store_is_away(
    speed: float,
    number: signal.Signals,
    code: int,
    children: Nursery,
    minutes: Path,
    server: RedisServer,
    expected: Any,
    tmp_path: Path,
) -> None:
    of = paced(tmp_path, minutes, server, speed)
    child = started(children, of)
    server.kill()
    child.let_go()
    wait_until(lambda: "does not answer" in child.err)

    children.send(child, number)

    assert children.ended(child, timeout=120) == code, child.err
    assert "Traceback" not in child.err
    server.start()
    again, said = children.run(*of.run)
    assert again == 0, said
    assert_same(left(of), expected, "after it was stopped")


def test_an_outage_at_the_start_is_said_in_one_line(
    children: Nursery, minutes: Path, server: RedisServer, tmp_path: Path
) -> None:
    of = paced(tmp_path, minutes, server, 0)
    server.kill()

    code, said = children.run(*of.run)

    assert code == 1
    assert len(said.splitlines()) == 1
    assert "no answer" in said
