"""A run that is killed in mid-delivery: each signal comes at least once, in order, once by its id."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.soak_sinks import (
    Soak,
    acted,
    example_receiver,
    in_order,
    lines,
    soak,
    streamed,
    webhook,
)
from ports import free_port
from redis_server import RedisServer
from store_places import server_binary


@pytest.mark.parametrize(
    ("state", "kills"),
    [("sqlite", 2), pytest.param("redis", 8, marks=pytest.mark.slow)],
)
def test_who_is_killed_in_mid_delivery_delivers_all_in_order(
    state: str, kills: int, tmp_path: Path
) -> None:
    rng, port = random.Random(kills), free_port()
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(server_binary()))
        stack.enter_context(example_receiver(tmp_path, port))
        of = Soak(tmp_path, seed=kills)
        if state == "redis":
            of.url = stack.enter_context(RedisServer(server_binary())).url
        of.sinks = [
            webhook(f"http://127.0.0.1:{port}/", name="example", rate="60/s"),
            {"type": "redis", "name": "redis", "options": {"url": server.url, "stream": "out"}},
            {"type": "file", "name": "file", "options": {"path": "out.jsonl"}},
        ]
        of.write(days=2, speed=0, symbols=30)

        while of.kills < kills:
            process = of.started()
            before, until = len(acted(tmp_path)), time.monotonic() + 120
            while len(acted(tmp_path)) == before and process.poll() is None:
                assert time.monotonic() < until, of.told()
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3))
            process.kill()
            process.wait()
            of.kills += 1
        of.run()  # which waits for its sinks

        log = of.log()
        assert len(log) > 50
        assert acted(tmp_path) == [body for _, body in log]
        in_order("redis", streamed(server), log)
        in_order("file", lines(tmp_path / "out.jsonl"), log)


@pytest.mark.slow
def test_sinks_that_fail_at_random_get_all_in_order() -> None:
    soak(60.0, seed=random.SystemRandom().randrange(10**6))


@pytest.mark.slow
def test_a_standby_goes_on_delivering_where_the_leader_was_killed(tmp_path: Path) -> None:
    port = free_port()
    with RedisServer(server_binary()) as state, example_receiver(tmp_path, port):
        of = Soak(tmp_path, seed=3, url=state.url)
        of.sinks = [webhook(f"http://127.0.0.1:{port}/", name="example")]
        of.write(days=2, speed=4_000, symbols=12)
        leader = of.started()
        waits_until(lambda: len(acted(tmp_path)) > 0, of)
        standby = of.started()
        waits_until(lambda: "waiting: " in of.told(), of)
        before = len(acted(tmp_path))

        leader.kill()
        leader.wait()
        assert standby.wait(300) == 0, of.told()

        log = of.log()
        assert 0 < before < len(log)
        assert acted(tmp_path) == [body for _, body in log]


def waits_until(true: Callable[[], bool], of: Soak) -> None:
    until = time.monotonic() + 120
    while not true():
        assert time.monotonic() < until, of.told()
        time.sleep(0.01)
