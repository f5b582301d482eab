"""Two processes on one state: one runs, the other waits or refuses, and nothing is doubled."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faults.crashing import (
    Child,
    Nursery,
    Setting,
    assert_same,
    left,
    setting,
    steps_of,
    wait_until,
)

from openbell.adapters.stores import Holder, open_store

PACED: dict[str, Any] = {"feed": {"type": "replay", "speed": 40_000, "end": "2024-01-02"}}
NOON = "2024-01-02T12:30-05:00"


@pytest.fixture(scope="module")
def expected(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("whole")
    feed = {**PACED["feed"], "speed": 0}
    alone = setting(folder, minutes, f"sqlite:///{folder}/whole.db", "whole", feed=feed)
    code, said = children.run("run", "--config", alone.config)
    assert code == 0, said
    return left(alone)


@pytest.fixture
def ttl() -> str:
    """So long that no load makes a leader that lives lose its lease."""
    return "60s"


@pytest.fixture
def paced(minutes: Path, store_url: str, store_kind: str, ttl: str, tmp_path: Path) -> Setting:
    name = f"two-{os.getpid()}-{time.time_ns()}"
    return setting(tmp_path, minutes, store_url, name, lease={"ttl": ttl}, **PACED)


@pytest.fixture
def leader(children: Nursery, paced: Setting) -> Iterator[Child]:
    """It has come into the day, and stays there until it is let go."""
    child = children.start("run", "--config", paced.config, hold=NOON)
    children.wait_until_held(child)
    assert steps_of(paced) > 20
    yield child
    children.kill(child)


def finished(children: Nursery, leader: Child) -> None:
    leader.let_go()
    assert children.ended(leader) == 0, leader.err


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_second_process_on_sqlite_refuses_and_names_the_holder(
    children: Nursery, paced: Setting, leader: Child, expected: Any
) -> None:
    code, said = children.run("run", "--config", paced.config)

    assert code == 4
    assert f"process {leader.pid}" in said
    assert len(said.splitlines()) == 1
    finished(children, leader)
    assert_same(left(paced), expected, "after the refusal")


def test_a_second_process_refuses_without_standby(
    children: Nursery, paced: Setting, leader: Child, expected: Any
) -> None:
    code, said = children.run("run", "--config", paced.config, "--no-standby")

    assert code == 4
    assert f"process {leader.pid}" in said
    finished(children, leader)
    assert_same(left(paced), expected, "after the refusal")


@pytest.mark.parametrize("store_kind", ["redis"], indirect=True)
def test_a_standby_waits_and_ends_with_nothing_left_to_do(
    children: Nursery, paced: Setting, leader: Child, expected: Any
) -> None:
    standby = children.start("run", "--config", paced.config)
    wait_until(lambda: "waiting" in standby.err)

    finished(children, leader)
    assert children.ended(standby) == 0, standby.err
    assert "had ended before" in standby.err
    assert_same(left(paced), expected, "after both")


@pytest.mark.parametrize("store_kind", ["redis"], indirect=True)
def test_a_standby_takes_over_from_a_killed_leader_and_finishes(
    children: Nursery, paced: Setting, leader: Child, expected: Any
) -> None:
    standby = children.start("run", "--config", paced.config)
    wait_until(lambda: "waiting" in standby.err)

    assert children.kill(leader)
    assert children.ended(standby) == 0, standby.err
    assert_same(left(paced), expected, "after the takeover")


@pytest.mark.parametrize("ttl", ["0.5s"])
@pytest.mark.parametrize("store_kind", ["redis"], indirect=True)
def test_a_leader_that_was_stopped_past_its_lease_steps_down(
    children: Nursery, paced: Setting, leader: Child, expected: Any
) -> None:
    before = steps_of(paced)
    standby = children.start("run", "--config", paced.config)
    wait_until(lambda: "waiting" in standby.err)

    children.send(leader, signal.SIGSTOP)
    wait_until(lambda: steps_of(paced) > before + 3)
    leader.let_go()
    children.send(leader, signal.SIGCONT)

    assert children.ended(leader) == 4, leader.err
    assert "lease" in leader.err
    assert "Traceback" not in leader.err
    assert children.ended(standby) == 0, standby.err
    assert_same(left(paced), expected, "after the takeover")


@pytest.mark.parametrize("store_kind", ["redis"], indirect=True)
def test_a_standby_ends_on_sigterm_as_a_supervisor_expects(
    children: Nursery, paced: Setting, leader: Child
) -> None:
    standby = children.start("run", "--config", paced.config)
    wait_until(lambda: "waiting" in standby.err)

    children.send(standby, signal.SIGTERM)

    assert children.ended(standby) == 0, standby.err
    assert children.is_running(leader)


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_process_on_sqlite_takes_over_from_a_killed_one_at_once(
    children: Nursery, paced: Setting, leader: Child, expected: Any
) -> None:
    assert children.kill(leader)

    code, said = children.run("run", "--config", paced.config)

    assert code == 0, said
    assert_same(left(paced), expected, "after the takeover")


@pytest.mark.parametrize("ttl", ["0.5s"])
@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_lease_of_a_container_that_was_killed_is_taken_when_its_heart_stands_still(
    children: Nursery, paced: Setting, expected: Any
) -> None:
    store = open_store(paced.url, paced.name)
    store.acquire(Holder("another-host", "another boot", 1, "1"), 10**9)
    store.close()

    code, said = children.run("run", "--config", paced.config)

    assert code == 0, said
    assert_same(left(paced), expected, "after the takeover")
