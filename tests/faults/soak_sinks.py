"""Sinks that fail at random while the run, the receivers and the servers are killed: `make soak-sinks`.

Every signal of the log must have come to each sink, first times in the log's order, an id always with
the same bytes; and the example receiver must have acted on each once. MINUTES says how long.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote

sys.path[:0] = [str(Path(__file__).parents[1])]

import orjson
import yaml
from commands import OPENBELL, environment, run
from ports import free_port
from receivers import OK, Answer, Receiver, receiving
from redis_server import RedisServer, find_server

from openbell.adapters.sample import write_sample
from openbell.adapters.stores import open_store

RECEIVER = Path(__file__).parents[2] / "examples" / "webhook_receiver.py"

DAY_SECONDS = 20.0
"""How long a trading day takes."""

EXEC = """
import random, sys
lines = sys.stdin.buffer.read()
if random.random() < 0.1:
    sys.exit("drawn")
with open("exec.jsonl", "ab") as file:
    file.write(lines)
if random.random() < 0.05:
    sys.exit("drawn, after it was taken")
"""

Log = list[tuple[str, bytes]]


@dataclass
class Soak:
    """One run with its receivers, in a folder of its own."""

    folder: Path
    seed: int
    sinks: list[dict[str, Any]] = field(default_factory=list)
    kills: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self.url = self.url or f"sqlite:///{self.folder}/state/openbell.db"

    @property
    def config(self) -> Path:
        return self.folder / "bot.yaml"

    def write(self, days: int, speed: float, symbols: int) -> None:
        first = date(2024, 1, 2)
        write_sample(
            self.folder / "minutes", symbols=symbols, days=days, seed=self.seed, start=first
        )
        given = {
            "name": "bot",
            "exchange": "XNYS",
            "sessions": [
                {"name": "Opening", "start": "09:30", "end": "09:34"},
                {"name": "Noon", "start": "11:50", "end": "12:20"},
            ],
            "breakout": {"confirm": "touch", "closed_beyond": True, "retest": {"within_bars": 8}},
            "data": {"path": "minutes"},
            "feed": {"speed": speed},
            "store": {"url": self.url},
            "sinks": self.sinks,
        }
        self.config.write_text(yaml.safe_dump(given))

    def started(self) -> subprocess.Popen[bytes]:
        env = environment({"WEBHOOK_SECRET": "s3cret"})
        with (self.folder / "told").open("ab") as told:
            command = [*OPENBELL, "run", "--config", str(self.config)]
            return subprocess.Popen(command, cwd=self.folder, stdout=told, stderr=told, env=env)

    def log(self) -> Log:
        with closing(open_store(self.url, "bot")) as store:
            return [(signal.id, signal.body) for _, signal in store.signals()]

    def told(self) -> str:
        return (self.folder / "told").read_text()[-3_000:]

    def run(self) -> None:
        """To the end of the last day."""
        process = self.started()
        assert process.wait(600) == 0, self.told()

    def run_and_kill(self, rng: random.Random, seconds: float) -> None:
        """For so long, killed at random, and stopped in the end."""
        until = time.monotonic() + seconds
        while True:
            process = self.started()
            left = until - time.monotonic()
            lives = rng.uniform(2.0, 30.0)
            try:
                process.wait(min(lives, max(left, 0.0)))
            except subprocess.TimeoutExpired:
                if lives < left:
                    process.kill()
                    process.wait()
                    self.kills += 1
                    continue
                process.terminate()
                process.wait(120)
            # Python that has hardly begun ends by the signal.
            assert process.returncode in (0, -signal.SIGTERM), self.told()
            return

    def flush(self) -> None:
        """Until nothing waits any more."""
        os.environ["WEBHOOK_SECRET"] = "s3cret"
        for sink in self.sinks:
            name = sink["name"]
            for _ in range(60):
                if run("sinks", "flush", name, "--config", self.config, cwd=self.folder).code == 0:
                    break
            else:
                raise AssertionError(f"{name} did not come to its end: {self.told()}")


def in_order(name: str, came: Log, log: Log) -> None:
    """
    Raises
    ------
    AssertionError
        If first times are not the log, or an id came with other bytes.
    """
    first: dict[str, bytes] = {}
    for key, body in came:
        assert first.setdefault(key, body) == body, f"{name}: {key} came with other bytes"
    found = list(first.items())
    if found != log:
        at = next((n for n, (a, b) in enumerate(zip(found, log, strict=False)) if a != b), -1)
        raise AssertionError(f"{name}: {len(found)} of {len(log)}; they differ at {at}")


def lines(path: Path) -> Log:
    bodies = path.read_bytes().splitlines() if path.exists() else []
    return [(orjson.loads(body)["id"], body) for body in bodies]


def troubled(rng: random.Random) -> Callable[[int], Answer]:
    """A receiver that fails as it likes."""
    lock = threading.Lock()

    def plan(_: int) -> Answer:
        with lock:
            drawn = rng.random()
        if drawn < 0.04:
            return Answer(500)
        if drawn < 0.08:
            return Answer(closes=True)
        if drawn < 0.09:
            return Answer(hangs=True)
        if drawn < 0.12:
            return Answer(429, {"Retry-After": "1"})
        return OK

    return plan


@contextmanager
def example_receiver(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """The receiver of examples/ as a process."""
    with subprocess.Popen(
        [sys.executable, str(RECEIVER), str(port), str(folder / "acted.db")],
        env=environment({"WEBHOOK_SECRET": "s3cret"}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("listens on ")
            yield process
        finally:
            process.kill()


def acted(folder: Path) -> list[bytes]:
    """What the receiver of examples/ acted on, in its order."""
    with closing(sqlite3.connect(folder / "acted.db")) as db:
        return [what for (what,) in db.execute("SELECT what FROM acts ORDER BY rowid")]


def webhook(receiver: Receiver | str, **more: Any) -> dict[str, Any]:
    url = receiver if isinstance(receiver, str) else receiver.url
    options = {"url": url, "allow_private": True, "secret": "${WEBHOOK_SECRET}"}
    return {"type": "webhook", "options": options, "timeout_seconds": 2, **more}


def soak(seconds: float, seed: int) -> str:
    """Run for so long; what came, in words.

    Raises
    ------
    AssertionError
        Naming the sink, and the folder, which then stays.
    """
    rng = random.Random(seed)
    binary = find_server()
    assert binary is not None, "no redis-server or valkey-server; run `make server`"
    folder = Path(tempfile.mkdtemp(prefix="openbell-soak-sinks-"))
    print(f"seed {seed}, in {folder}", flush=True)
    ends = threading.Event()
    with (
        receiving(troubled(random.Random(seed + 1))) as hook,
        receiving(troubled(random.Random(seed + 2))) as digest,
        RedisServer(binary) as server,
    ):
        port = free_port()
        exec_script = folder / "exec.py"
        exec_script.write_text(EXEC)
        of = Soak(folder, seed)
        of.sinks = [
            webhook(hook, name="hook"),
            webhook(digest, name="digest", digest={"window": "500ms", "max": 20}),
            webhook(f"http://127.0.0.1:{port}/", name="example"),
            {"type": "redis", "name": "redis", "options": {"url": server.url, "stream": "out"}},
            {"type": "file", "name": "file", "options": {"path": "out.jsonl", "rotate": "1GiB"}},
            {
                "type": "exec",
                "name": "exec",
                "options": {"command": [sys.executable, str(exec_script)]},
            },
        ]
        days = max(2, int(seconds / DAY_SECONDS))
        of.write(days, speed=390 * 60 / DAY_SECONDS, symbols=8)

        def trouble() -> None:
            """Kills what receives, and starts it again."""
            own = random.Random(seed + 3)
            while not ends.is_set():
                with example_receiver(folder, port):
                    ends.wait(own.uniform(3, 15))
                    if own.random() < 0.5 and not ends.is_set():
                        server.kill()
                        ends.wait(own.uniform(0, 3))
                        server.start()
                ends.wait(own.uniform(0, 2))

        thread = threading.Thread(target=trouble)
        thread.start()
        try:
            of.run_and_kill(rng, seconds)
        finally:
            ends.set()
            thread.join()
            # Who is started by a thread ends with it.
            server.kill()
            server.start()
        hook.plan = digest.plan = lambda _: OK
        with example_receiver(folder, port):
            of.flush()
        log = of.log()
        assert len(log) > 10
        in_order("hook", [(unquote(got.key), got.body) for got in hook.taken], log)
        in_order("digest", list(undigested(digest)), log)
        in_order("file", lines(folder / "out.jsonl"), log)
        in_order("exec", lines(folder / "exec.jsonl"), log)
        in_order("redis", streamed(server), log)
        assert acted(folder) == [body for _, body in log], f"example, in {folder}"
        sent = len(hook.got)
    return f"{len(log)} signals, {sent} requests to one webhook, {of.kills} kills of the run"


def undigested(receiver: Receiver) -> Iterator[tuple[str, bytes]]:
    keys: dict[str, bytes] = {}
    for got in receiver.taken:
        assert keys.setdefault(got.key, got.body) == got.body, "a digest came with other bytes"
        for fields in got.fields.get("signals", [got.fields]):
            yield fields["id"], orjson.dumps(fields)


def streamed(server: RedisServer) -> Log:
    import redis

    with redis.Redis.from_url(server.url) as client:
        found: Any = client.xrange("out")
    return [(fields[b"id"].decode(), fields[b"body"]) for _, fields in found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    asked = parser.parse_args()
    print(soak(asked.minutes * 60, asked.seed))
