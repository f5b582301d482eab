"""A run that others look after, from outside: a real socket, real signals, real HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import yaml
from commands import Command, environment
from managing import PATIENCE_SECONDS, Manager, Process, live, running, wait_until
from ports import free_port
from redis_server import RedisServer

ROOT = Path(__file__).parents[3]

HANGS = """
import pathlib, time
from openbell.actors import clock
update = clock.update
def hanging(settings, state, message):
    while pathlib.Path("hang").exists():
        time.sleep(0.01)
    return update(settings, state, message)
clock.update = hanging
"""


class Deadman(HTTPServer):
    """Counts how often it was asked for."""

    asked = 0


@contextmanager
def deadman() -> Iterator[Deadman]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert isinstance(self.server, Deadman)
            self.server.asked += 1
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with Deadman(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def documented_metrics() -> set[str]:
    table = (ROOT / "docs/operations.md").read_text().split("## Metrics")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(openbell_[a-z_]+)` ", table, re.MULTILINE))


def told_metrics(text: str) -> set[str]:
    from prometheus_client.parser import text_string_to_metric_families

    # What belongs to a family is what its samples are called, but for a histogram's.
    return {
        family.name if family.type == "histogram" else sample.name
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if family.name.startswith("openbell_")
    }


def sink(folder: Path, name: str) -> dict[str, object]:
    return {"type": "file", "name": name, "options": {"path": str(folder / f"{name}.jsonl")}}


def changed(config: Path, **sections: object) -> None:
    keys = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump({**keys, **sections}))


def test_a_run_tells_how_it_is_from_its_start_to_its_end(
    tmp_path: Path, server: RedisServer, manager: Manager, openbell: Command
) -> None:
    with deadman() as asked_for:
        every = {"url": f"http://127.0.0.1:{asked_for.server_port}/beat", "every": "0.2s"}
        config = live(
            tmp_path,
            server,
            supervision={"deadman": every},
            log={"level": "info"},
            sinks=[sink(tmp_path, "first")],
        )
        env = {"WATCHDOG_USEC": "10000000"}
        with running(config, env=env, manager=manager) as process:
            manager.wait_for("READY=1")
            wait_until(lambda: process.ask("/readyz").status == 200)
            health = openbell("health", "--config", config)
            metrics = process.ask("/metrics").text
            wait_until(lambda: asked_for.asked > 1)
            wait_until(lambda: len(manager.times("WATCHDOG=1")) > 1)

            changed(
                config,
                log={"level": "debug"},
                snapshot={"every": "9s"},
                sinks=[sink(tmp_path, "second")],
            )
            process.send(signal.SIGHUP)
            wait_until(lambda: manager.heard.count("READY=1") > 1)
            again = process.ask("/metrics").text
            wait_until(lambda: "DEBUG" in process.told)
            process.send(signal.SIGTERM)
            code = process.ended()

    assert code == 0, process.told
    assert re.search(r"INFO +\[\S+ \d{4}-\d\d-\d\d #\d+\] .*session", process.told)
    assert (health.code, health.out) == (0, "in order: running\n")
    assert "openbell_ready 1.0" in metrics
    of_rows_that_came = {"openbell_feed_age_seconds", "openbell_feed_refused_entries_total"}
    assert documented_metrics() == told_metrics(metrics) | of_rows_that_came
    assert "SIGHUP: taken: sinks, log.level\n" in process.told
    assert 'sink="first"' in metrics
    assert 'sink="second"' in again
    assert "SIGHUP: needs a restart: snapshot.every\n" in process.told
    assert manager.heard.index("STOPPING=1") > manager.heard.index("RELOADING=1")
    assert any(line.startswith("STATUS=") and "ACTIVE, step" in line for line in manager.heard)


def is_silent(manager: Manager) -> bool:
    """Whether it hears nothing for as long as it would wait for the next word: what was on its way
    may come first."""
    before = len(manager.times("WATCHDOG=1"))
    time.sleep(0.8)
    return len(manager.times("WATCHDOG=1")) == before


@pytest.mark.parametrize("dispatcher", ["inline", pytest.param("threads", marks=pytest.mark.slow)])
def test_actors_that_hang_are_no_longer_said_to_live(
    tmp_path: Path, server: RedisServer, manager: Manager, dispatcher: str, openbell: Command
) -> None:
    config = live(tmp_path, server)
    env = {"WATCHDOG_USEC": "800000"}
    threads = (
        "import dataclasses\nfrom openbell.runtime.config import pace\n"
        f"pace.Pace.dispatcher = {dispatcher!r}\n"
    )
    with running(config, env=env, manager=manager, before=HANGS + threads) as process:
        manager.wait_for("READY=1")
        wait_until(lambda: process.ask("/healthz").status == 200)
        (tmp_path / "hang").touch()
        wait_until(lambda: process.ask("/healthz").status == 503)
        hung = json.loads(process.ask("/readyz").text)
        health = openbell("health", "--config", config)
        wait_until(lambda: is_silent(manager))
        told = len(manager.times("WATCHDOG=1"))
        (tmp_path / "hang").unlink()
        wait_until(lambda: process.ask("/healthz").status == 200)
        wait_until(lambda: len(manager.times("WATCHDOG=1")) > told)
        process.send(signal.SIGTERM)

        assert process.ended() == 0, process.told

    assert told > 0
    assert hung["alive"] is False
    assert (health.code, health.out.partition(":")[0]) == (1, "not in order")
    assert "have not answered" in hung["reasons"][0]


@pytest.mark.slow
def test_a_hung_run_that_is_told_to_end_is_gone_in_time(
    tmp_path: Path, server: RedisServer, manager: Manager
) -> None:
    config = live(tmp_path, server)
    env = {"WATCHDOG_USEC": "800000"}
    with running(config, env=env, manager=manager, before=HANGS) as process:
        manager.wait_for("READY=1")
        (tmp_path / "hang").touch()
        wait_until(lambda: process.ask("/healthz").status == 503)
        began = time.monotonic()
        process.send(signal.SIGTERM)

        assert process.ended() == 0, process.told

    assert time.monotonic() - began < 30  # 4 s, on a machine with nothing else to do
    assert "left after 4 s" in process.told


def test_a_run_that_is_not_ready_for_too_long_ends_with_a_code_of_its_own(
    tmp_path: Path, server: RedisServer, manager: Manager
) -> None:
    with deadman() as asked_for:
        config = live(
            tmp_path,
            server,
            feed={
                "type": "redis",
                "options": {"url": f"redis://127.0.0.1:{free_port()}", "stream": "ticks"},
            },
            supervision={
                "unready_exit": "1s",
                "deadman": {"url": f"http://127.0.0.1:{asked_for.server_port}", "every": "0.1s"},
            },
        )
        with running(config, manager=manager) as process:
            assert process.ended() == 6, process.told

    assert asked_for.asked == 0
    assert "not ready for 1s" in process.told
    # A slow host may not have come so far within that second.
    assert re.search("the feed can't be reached|it has not come to where it was", process.told)


def early(config: Path, seconds: float, *, blocked: bool) -> tuple[int, str]:
    command = [sys.executable, "-m", "openbell", "run", "--config", str(config)]
    if blocked:
        command = ["env", "--block-signal=TERM", *command]
    with subprocess.Popen(
        command,
        cwd=config.parent,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        if blocked:
            # Until `env` has blocked it, nothing of ours is there that could take a signal.
            status = Path(f"/proc/{process.pid}/status")
            wait_until(lambda: int(_field(status, "SigBlk"), 16) & 1 << (signal.SIGTERM - 1))
        time.sleep(seconds)
        os.kill(process.pid, signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, said


def _field(status: Path, name: str) -> str:
    return next(line.split()[1] for line in status.read_text().splitlines() if name in line)


@pytest.mark.parametrize(
    "ms", [0, 60, *(pytest.param(ms, marks=pytest.mark.slow) for ms in range(20, 401, 20))]
)
def test_sigterm_in_the_first_moments_ends_a_run_well(
    tmp_path: Path, server: RedisServer, ms: int
) -> None:
    code, said = early(live(tmp_path, server), ms / 1000, blocked=True)

    assert code == 0, said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_port_that_is_taken_is_said_and_nothing_begins(
    tmp_path: Path, server: RedisServer
) -> None:
    config = live(tmp_path, server)
    with running(config) as process:
        wait_until(lambda: process.ask("/healthz").status == 200)
        second = Process(config)

        assert second.ended() == 1
    assert second.told.count("\n") == 1
    assert "web.port" in second.told


def test_health_says_that_nobody_answers(
    tmp_path: Path, server: RedisServer, openbell: Command
) -> None:
    config = live(tmp_path, server)

    ran = openbell("health", "--config", config)

    assert ran.code == 1
    assert "nobody answers" in ran.err
