"""Signals in Redis, read by a group of consumers that are killed: see examples/redis_consumer.py."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults.crashing import Nursery, setting, wait_until
from redis_server import RedisServer

from openbell.adapters.stores import open_store

EXAMPLE = Path(__file__).parents[2] / "examples" / "redis_consumer.py"


@pytest.fixture(params=["redis"])
def store_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_a_group_gets_every_signal_though_consumers_are_killed(
    children: Nursery, minutes: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    run = setting(tmp_path, minutes, redis_server.url, "watched")
    got = [tmp_path / f"got-{number}" for number in range(3)]
    consumers = [consumer(redis_server.url, "watched", file) for file in got[:2]]
    import redis  # whose server is there has it

    client = redis.Redis.from_url(redis_server.url)
    stream = "openbell:{watched}:signals"
    try:
        code, said = children.run(*run.run)
        assert code == 0, said
        store = open_store(redis_server.url, "watched")
        expected = {signal.id: json.loads(signal.body) for _, signal in store.signals()}
        store.close()
        assert len(expected) > 5
        wait_until(lambda: any(file.stat().st_size for file in got[:2]))
        for process in consumers:
            process.kill()
        # Delivered to one that died before it had done anything about it.
        client.xreadgroup("printers", "dead", {stream: ">"}, count=1)
        consumers.append(consumer(redis_server.url, "watched", got[2]))

        wait_until(lambda: {line["id"] for line in lines_of(got)} == expected.keys())

        assert all(expected[line["id"]] == line for line in lines_of(got))
        wait_until(lambda: client.xpending(stream, "printers")["pending"] == 0)
        (group,) = client.xinfo_groups(stream)
        assert group["lag"] in (0, None)
    finally:
        for process in consumers:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        client.close()


def consumer(url: str, name: str, file: Path) -> subprocess.Popen[bytes]:
    options = ("--url", url, "--name", name, "--consumer", file.name, "--idle-ms", "200")
    with file.open("wb") as out:
        return subprocess.Popen([sys.executable, str(EXAMPLE), *options], stdout=out)


def lines_of(files: list[Path]) -> list[dict[str, Any]]:
    """Whole lines: a kill may tear the last one."""
    texts = [file.read_text() for file in files if file.exists()]
    return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]
