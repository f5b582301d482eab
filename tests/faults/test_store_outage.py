"""The store goes away while a run goes on: nothing is lost, and memory stays within bounds."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.crashing import Child, Nursery, Setting, assert_same, left, setting, wait_until
from redis_server import RedisServer
from store_places import server_binary

OUTAGE_SECONDS = 2.0


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One of the test's own: it is away for long."""
    with RedisServer(server_binary()) as started:
        yield started


@pytest.fixture(scope="module")
def expected(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("whole")
    whole = setting(folder, minutes, f"sqlite:///{folder}/whole.db", "whole", feed=feed(0))
    code, said = children.run(*whole.run)
    assert code == 0, said
    return left(whole)


def feed(speed: float) -> dict[str, Any]:
    return {"type": "replay", "speed": speed, "end": "2024-01-03"}


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


def started(children: Nursery, of: Setting, *options: str) -> Child:
    """It has come into the day."""
    child = children.start(*of.run, "--log-level", "info", *options)
    wait_until(lambda: "session activated" in child.err)
    return child


def test_a_paced_run_goes_on_through_an_outage(
    children: Nursery, minutes: Path, server: RedisServer, expected: Any, tmp_path: Path
) -> None:
    _outage(children, minutes, server, expected, tmp_path, OUTAGE_SECONDS)


@pytest.mark.slow
def test_a_paced_run_goes_on_through_an_outage_of_half_a_minute(
    children: Nursery, minutes: Path, server: RedisServer, expected: Any, tmp_path: Path
) -> None:
    _outage(children, minutes, server, expected, tmp_path, 30.0)


def _outage(
    children: Nursery,
    minutes: Path,
    server: RedisServer,
    expected: Any,
    tmp_path: Path,
    seconds: float,
) -> None:
    # The first day's close falls into the outage, with its snapshot, its pruning and its files.
    of = paced(tmp_path, minutes, server, speed=2 * 23_400 / (1.5 * seconds))
    child = started(children, of)

    server.kill()
    time.sleep(seconds)
    assert children.is_running(child), child.err
    server.start()

    assert children.ended(child, timeout=4 * seconds + 20) == 0, child.err
    assert "does not answer" in child.err
    assert "answers again after" in child.err
    assert "Traceback" not in child.err
    assert_same(left(of), expected, f"after {seconds} s without a server")


def test_a_run_waits_when_its_backlog_is_full(
    children: Nursery, minutes: Path, server: RedisServer, expected: Any, tmp_path: Path
) -> None:
    of = paced(tmp_path, minutes, server, speed=23_400, backlog="256KiB")
    child = started(children, of)

    server.kill()
    time.sleep(OUTAGE_SECONDS)
    said = child.err
    server.start()

    assert "2024-01-03: session deactivated: Lunch Break" not in said, said
    assert children.ended(child) == 0, child.err
    assert_same(left(of), expected, "after the backlog was full")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
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
    wait_until(lambda: "does not answer" in child.err)
    time.sleep(0.5)

    os.kill(child.pid, number)

    assert children.ended(child, timeout=10) == code, child.err
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
