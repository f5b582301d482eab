"""Two processes on one Redis: the one that is killed is taken over from, and nothing is lost or doubled."""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from faults.crashing import Child, Nursery, wait_until
from faults.test_redis_feed_crash import DAYS, config, rows
from feed_places import Place
from redis_server import RedisServer
from store_places import server_binary

import openbell
from openbell.adapters.stores import Store
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.opening import open_configured_store

TTL_SECONDS = 1.0

ON_ANOTHER_HOST = Path(__file__).with_name("on_another_host.py")


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary(), "--appendonly", "yes", "--appendfsync", "always") as started:
        yield started


def busy() -> bool:
    """Whether this machine has so much else to do that a process may wait a second for its turn."""
    return os.getloadavg()[0] > (os.cpu_count() or 1)


def holder_of(store: Store) -> int | None:
    """The process that has the lease."""
    held = store.lease()
    return held.holder.pid if held is not None and held.holder is not None else None


def wait_for_a_step(store: Store, by: int | None = None) -> None:
    """Wait for a step after those that there are; `by`: by that process."""
    step = store.head().step
    wait_until(lambda: store.head().step > step and by in (None, holder_of(store)))


def wait_until_it_waits(child: Child) -> None:
    wait_until(lambda: "waiting" in child.err)


@pytest.mark.parametrize("kills", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_a_standby_takes_over_from_each_leader_that_is_killed(
    children: Nursery, server: RedisServer, tmp_path: Path, kills: int
) -> None:
    place = Place(server, f"ticks-{kills}")
    made: dict[str, Any] = {
        **config(tmp_path, place),
        "name": f"standby-{kills}",
        "store": {"url": server.url},
        "lease": {"ttl": f"{TTL_SECONDS}s"},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(made))
    came = rows()
    entries = [{str(k): str(v) for k, v in row.items()} for row in came.to_dict("records")]
    a_kill = (len(entries) - 20) // kills

    count = iter(range(kills + 2))

    def start() -> Child:
        # Of a process on this host a standby sees at once that it is gone, and doesn't wait.
        host = f"host-{next(count)}"
        return children.start(ON_ANOTHER_HOST, host, "run", "--config", path)

    seconds: list[float] = []
    written = 0
    with closing(open_configured_store(config_from(path))) as store:
        running = {child.pid: child for child in (start(), start())}
        for _ in range(kills):
            place.write(*entries[written : written + a_kill // 2])
            wait_for_a_step(store)
            leader = holder_of(store)
            assert leader in running
            other = next(child for pid, child in running.items() if pid != leader)
            wait_until_it_waits(other)

            os.kill(leader, signal.SIGKILL)
            began = time.monotonic()
            place.write(*entries[written + a_kill // 2 : written + a_kill])
            written += a_kill
            wait_for_a_step(store, by=other.pid)
            seconds.append(time.monotonic() - began)
            children.ended(running.pop(leader))
            child = start()
            running[child.pid] = child
        place.write(*entries[written:], {"end": str(DAYS[-1])})
        for child in running.values():
            assert children.ended(child) == 0, child.err
        found = [of.id for _, of in store.signals()]
        told = [orjson.loads(line) for _, line in store.audit()]

    stored = {key: of for key, of in made.items() if key not in ("feed", "store", "snapshot")}
    stored["data"] = {**made["data"], "order": "arrival"}
    expected = [of["id"] for of in openbell.backtest(stored, came).signals.to_pylist()]
    assert len(found) > 10
    assert found == expected
    assert sum(entry.get("kind") == "run.takeover" for entry in told) >= kills
    if not busy():
        assert statistics.median(seconds) < TTL_SECONDS + 1, seconds
    print(f"taken over after {min(seconds):.2f} to {max(seconds):.2f} s")
