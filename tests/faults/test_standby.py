"""Two processes on one Redis: the one that is killed is taken over from, and nothing is lost or doubled."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from itertools import count
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


class Two:
    """A leader and a standby, each as if on a host of its own.

    Of a process on this host a standby sees at once that it is gone, and doesn't wait.
    """

    def __init__(self, children: Nursery, config: Path, store: Store) -> None:
        self._children, self._config, self._store = children, config, store
        self._hosts = count()
        self._running: list[Child] = []
        self.keep()

    def keep(self) -> None:
        """Have two of them run. Who had to wait for its turn for longer than its lease lasts, on a
        machine that has much to do, steps down."""
        for child in [*self._running]:
            if not self._children.is_running(child):
                assert self._children.ended(child) == 4, child.err
                assert "lease" in child.err
                self._running.remove(child)
        while len(self._running) < 2:
            host = f"host-{next(self._hosts)}"
            started = self._children.start(ON_ANOTHER_HOST, host, "run", "--config", self._config)
            self._running.append(started)

    def leader(self) -> Child | None:
        """The one that has the lease."""
        held = self._store.lease()
        pid = held.holder.pid if held is not None and held.holder is not None else None
        return next((child for child in self._running if child.pid == pid), None)

    def wait_for_a_step(self) -> None:
        """After those that there are."""
        step = self._store.head().step

        def is_there() -> bool:
            self.keep()
            return self._store.head().step > step

        wait_until(is_there)

    def kill_the_leader(self) -> None:
        """Once the other one waits."""
        leader: Child | None = None

        def other_waits() -> bool:
            nonlocal leader
            self.keep()
            leader = self.leader()
            return leader is not None and all(
                "waiting" in child.err for child in self._running if child is not leader
            )

        wait_until(other_waits)
        assert leader is not None
        self._children.kill(leader)
        self._running.remove(leader)

    def end(self) -> None:
        """One comes to the end, and the other finds that it has."""
        codes = [self._children.ended(child) for child in self._running]
        assert 0 in codes, [child.err for child in self._running]
        for code, child in zip(codes, self._running, strict=True):
            assert code == 0 or (code == 4 and "lease" in child.err), child.err


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

    seconds: list[float] = []
    written = 0
    with closing(open_configured_store(config_from(path))) as store:
        two = Two(children, path, store)
        for _ in range(kills):
            place.write(*entries[written : written + a_kill // 2])
            two.wait_for_a_step()

            two.kill_the_leader()
            began = time.monotonic()
            place.write(*entries[written + a_kill // 2 : written + a_kill])
            written += a_kill
            two.wait_for_a_step()
            seconds.append(time.monotonic() - began)
        place.write(*entries[written:], {"end": str(DAYS[-1])})
        two.end()
        found = [of.id for _, of in store.signals()]
        told = [orjson.loads(line) for _, line in store.audit()]

    stored = {key: of for key, of in made.items() if key not in ("feed", "store", "snapshot")}
    stored["data"] = {**made["data"], "order": "arrival"}
    expected = [of["id"] for of in openbell.backtest(stored, came).signals.to_pylist()]
    assert len(found) > 10
    assert found == expected
    assert sum(entry.get("kind") == "run.takeover" for entry in told) >= kills
    print(f"taken over after {min(seconds):.2f} to {max(seconds):.2f} s")
