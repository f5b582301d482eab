"""A live day under load and kills, by the host's clock: what it takes, and whether its recording agrees.

A thread writes ticks of 500 symbols to a Redis Stream, some of them late; `openbell run --record`
follows them over a day of so many minutes that begins now, and is killed with `kill -9` again and
again. Its memory, threads and file handles are measured from outside all the while, and so are its
store and its recording. At the end the day's recording is backtested, and must give the live day's
answers byte for byte; and every tick that was written must be in it, once.

As a script it prints what it measures as it goes, and a verdict of each.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

sys.path[:0] = [str(Path(__file__).parents[1])]

import numpy as np
import pyarrow as pa
import yaml
from redis_server import RedisServer, find_server

from openbell.runtime.config import config_from
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.parity import Parity, parity
from openbell.runtime.record.recordings import read_day

STREAM, SYMBOLS = "ticks", 500
ENTRIES = 50
"""A second."""

LATE = 0.002
"""Share of ticks that come up to three seconds late."""

QUIET_SECONDS = 2.0
"""Before the close, in which nothing is written: what comes after it is of no day."""

PATIENCE_SECONDS = 240.0
"""For what is still to be done after the close, on a busy machine."""

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Taken:
    """What a process takes, `seconds` after the soak has begun."""

    seconds: float
    life: int
    age: float
    """Seconds since the process was started."""
    memory: int
    threads: int
    files: int
    store: int
    """Bytes of the database with its log."""
    rows: int
    """Written so far."""


@dataclass
class Soaked:
    """What a soak came to."""

    written: int = 0
    kills: int = 0
    taken: list[Taken] = field(default_factory=list)
    parity: Parity | None = None
    recorded: int = 0
    signals: int = 0
    behind: float = 0.0
    """Seconds from the close until the day's end was durable."""
    problems: list[str] = field(default_factory=list)


class Soak:
    """One live day.

    Parameters
    ----------
    opens, closes : datetime
        Whole minutes, UTC.
    kill_every : float
        Seconds from one `kill -9` to the next.
    """

    def __init__(
        self,
        folder: Path,
        server: RedisServer,
        *,
        opens: datetime,
        closes: datetime,
        rate: int,
        kill_every: float,
        seed: int,
    ) -> None:
        self._folder, self._server = folder, server
        self._opens, self._closes = opens, closes
        self._rate, self._kill_every = rate, kill_every
        self._drawn = random.Random(seed)
        self._seed = seed
        self._began = time.monotonic()
        self._process: subprocess.Popen[bytes] | None = None
        self._life_began = self._began
        self._life = 0
        self._writer_over = threading.Event()
        self.found = Soaked()
        hours = f"{opens.astimezone(self.zone):%H:%M}-{closes.astimezone(self.zone):%H:%M}"
        minutes = round((closes - opens).total_seconds() / 60)
        self._config = folder / "config.yaml"
        made = {
            "name": "soak",
            "exchange": "24/7",
            "calendar": {"timezone": self.zone_name, "hours": hours},
            "symbols": [f"S{n:03d}" for n in range(SYMBOLS)],
            "sessions": [
                {
                    "name": f"W{n:02d}",
                    "start": f"open+{n}m",
                    "end": f"open+{n + 1}m",
                    "closed": "left",
                }
                for n in range(0, max(1, minutes - 1), 3)
            ],
            "data": {"kind": "ticks"},
            "feed": {
                "type": "redis",
                "start": str(self.day),
                "end": str(self.day),
                "record": str(folder / "days"),
                "options": {"url": server.url, "stream": STREAM},
            },
            "clock": {"time": "wall", "lateness": "1s"},
            "day": {"post_market_roll_delay": 0},
            "store": {"url": f"sqlite:///{folder / 'state.db'}"},
        }
        self._config.write_text(yaml.safe_dump(made))

    @property
    def zone_name(self) -> str:
        """One in which it is about noon: the day must not run into the next date."""
        ahead = 12 - self._opens.hour
        return f"Etc/GMT{-ahead:+d}" if ahead else "Etc/GMT"

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.zone_name)

    @property
    def day(self) -> date:
        return self._opens.astimezone(self.zone).date()

    def run(self, say: Any = lambda taken: None) -> Soaked:
        """Go through the day."""
        writer = threading.Thread(target=self._write, name="writer")
        self._start()
        writer.start()
        try:
            self._follow(say)
        finally:
            self._writer_over.set()
            writer.join()
            if self._process is not None:
                self._process.kill()
                self._process.wait()
        self.found.behind = time.time() - self._closes.timestamp()
        self._hold_against_recording()
        self.found.problems += judged(self.found)
        return self.found

    def _follow(self, say: Any) -> None:
        """Measure and kill until the run has ended by itself."""
        assert self._process is not None
        kill_at, said_at = time.monotonic() + self._kill_every, 0.0
        ends = self._closes.timestamp()
        while self._process.poll() is None:
            time.sleep(0.5)
            assert time.time() < ends + PATIENCE_SECONDS, f"it does not end: {self._told()}"
            taken = self._take()
            if taken is not None:
                self.found.taken.append(taken)
                if time.monotonic() - said_at > 15:
                    said_at = time.monotonic()
                    say(taken)
            if time.monotonic() >= kill_at and time.time() < ends - 1:
                self._process.kill()
                self._process.wait()
                self.found.kills += 1
                kill_at = time.monotonic() + self._kill_every * (0.8 + 0.4 * self._drawn.random())
                self._start()
        assert self._process.returncode == 0, self._told()

    def _start(self) -> None:
        command = [sys.executable, "-m", "openbell", "run", "--config", str(self._config)]
        with (self._folder / "told").open("ab") as told:
            self._process = subprocess.Popen(command, stdout=told, stderr=told)
        self._life += 1
        self._life_began = time.monotonic()

    def _told(self) -> str:
        return (self._folder / "told").read_text()[-2000:]

    def _take(self) -> Taken | None:
        assert self._process is not None
        of = Path(f"/proc/{self._process.pid}")
        try:
            status = dict(
                line.split(":", 1)
                for line in (of / "status").read_text().splitlines()
                if ":" in line
            )
            files = len(os.listdir(of / "fd"))
            memory = int(status["VmRSS"].split()[0]) * 1024
        except (OSError, KeyError):  # it has just ended
            return None
        now = time.monotonic()
        store = sum(path.stat().st_size for path in self._folder.glob("state.db*") if path.exists())
        return Taken(
            seconds=now - self._began,
            life=self._life,
            age=now - self._life_began,
            memory=memory,
            threads=int(status["Threads"]),
            files=files,
            store=store,
            rows=self.found.written,
        )

    def _write(self) -> None:
        """Ticks at the rate, until shortly before the close."""
        import redis

        client = redis.Redis(port=self._server.port)
        drawn = np.random.default_rng(self._seed)
        prices = np.full(SYMBOLS, 100.0)
        names = [f"S{n:03d}" for n in range(SYMBOLS)]
        a_time = max(1, self._rate // ENTRIES)
        began, entries = time.monotonic(), 0
        last = self._closes.timestamp() - QUIET_SECONDS
        while not self._writer_over.is_set() and time.time() < last:
            due = began + entries / ENTRIES
            if (left := due - time.monotonic()) > 0:
                time.sleep(left)
            of = drawn.integers(0, SYMBOLS, a_time)
            np.add.at(prices, of, drawn.normal(0, 0.01, a_time).round(2))
            ts = np.full(a_time, time.time_ns())
            late = drawn.random(a_time) < LATE
            ts[late] -= drawn.integers(0, 3 * 10**9, int(late.sum()))
            np.maximum(ts, int(self._opens.timestamp() * 1e9), out=ts)
            table = pa.table(
                {
                    "symbol": pa.DictionaryArray.from_arrays(pa.array(of, pa.int32()), names).cast(
                        pa.string()
                    ),
                    "ts": pa.array(ts, pa.timestamp("ns", "UTC")),
                    "price": prices[of].round(2),
                    "size": drawn.integers(1, 500, a_time).astype(np.float64),
                }
            )
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
            client.xadd(STREAM, {"rows": sink.getvalue().to_pybytes()}, maxlen=500_000)
            self.found.written += a_time
            entries += 1
        client.close()

    def _hold_against_recording(self) -> None:
        made = config_from(self._config)
        days = self._folder / "days"
        with closing(open_configured_store(made)) as store:
            self.found.parity = parity(made, store, self.day, days)
            self.found.signals = store.head().signals
        self.found.recorded = len(read_day(days, self.day).raw_rows())


def judged(found: Soaked) -> list[str]:
    """What is not as it has to be, in words."""
    problems = []
    assert found.parity is not None
    if found.recorded != found.written:
        problems.append(f"{found.written:,} ticks were written, {found.recorded:,} recorded")
    if found.parity.recording.first is not None:
        problems.append(str(found.parity.recording))
    lives = sorted({taken.life for taken in found.taken})
    third = max(1, len(lives) // 3)
    first, last = set(lives[:third]), set(lives[-third:])

    def of_lives(what: str, which: set[int], of: Any) -> float:
        """The middle of what lives took: each at most, or in the middle."""
        taken: dict[int, list[int]] = {}
        for one in found.taken:
            if one.life in which:
                taken.setdefault(one.life, []).append(getattr(one, what))
        return float(median(of(values) for values in taken.values()))

    # Not the most of a life's memory: the last one writes the whole recording at its end.
    for what, of, factor, more in (
        ("memory", median, 1.25, 40 * MEBIBYTE),
        ("threads", max, 1, 1),
        ("files", max, 1, 3),
    ):
        before, after = of_lives(what, first, of), of_lives(what, last, of)
        if after > before * factor + more:
            problems.append(f"{what} grew over the day: {before:,.0f}, then {after:,.0f}")
    growth = [
        after.memory - before.memory
        for life in lives[:-1]
        for before, after in _of_a_life([t for t in found.taken if t.life == life])
    ]
    if growth and median(growth) > 48 * MEBIBYTE:
        problems.append(f"memory grew in a life: by {median(growth) / MEBIBYTE:,.0f} MiB")
    sized = [taken for taken in found.taken if taken.rows > found.written // 4]
    if sized:
        early, late = sized[0].store / sized[0].rows, sized[-1].store / sized[-1].rows
        if late > early * 1.25 + 1:
            problems.append(
                f"the store grew faster than what came: {early:.1f}, {late:.1f} B a tick"
            )
    return problems


def _of_a_life(taken: Sequence[Taken]) -> Iterator[tuple[Taken, Taken]]:
    """Measured once it had come to its pace, and at its end, if it lived for so long."""
    settled = [one for one in taken if one.age > 20]
    if settled and settled[-1].age - settled[0].age > 15:
        yield settled[0], settled[-1]


@contextmanager
def soaking(
    folder: Path, *, seconds: float, rate: int, kill_every: float, seed: int
) -> Iterator[Soak]:
    """A day that is open by now, and for at least so many seconds."""
    binary = find_server()
    assert binary is not None, "there is a server"
    now = datetime.now(UTC)
    opens = now.replace(second=0, microsecond=0)
    closes = opens + timedelta(minutes=1)
    while (closes - now).total_seconds() < seconds:
        closes += timedelta(minutes=1)
    with RedisServer(binary) as server:
        yield Soak(
            folder,
            server,
            opens=opens,
            closes=closes,
            rate=rate,
            kill_every=kill_every,
            seed=seed,
        )


def shown(taken: Taken) -> str:
    a_tick = f"{taken.store / taken.rows:.1f}" if taken.rows else "-"
    return (
        f"{taken.seconds:7.0f} s  life {taken.life:<3}  {taken.memory / MEBIBYTE:6.0f} MiB  "
        f"{taken.threads:3} threads  {taken.files:3} files  store {taken.store / MEBIBYTE:6.1f} MiB "
        f"({a_tick} B a tick)  {taken.rows:,} ticks"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=int, default=5_000, help="ticks a second")
    parser.add_argument("--kill-every", type=float, default=60.0, help="seconds")
    parser.add_argument("--seed", type=int, default=int(time.time()) % 10**6)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leave no process behind
    print(f"seed {options.seed}", flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        soaking(
            Path(folder),
            seconds=60 * options.minutes,
            rate=options.rate,
            kill_every=options.kill_every,
            seed=options.seed,
        ) as soak,
    ):
        found = soak.run(lambda taken: print(shown(taken), flush=True))
    print(
        f"{found.written:,} ticks, {found.kills} kills, {found.signals:,} signals; the run ended "
        f"{found.behind:.1f} s after the close"
    )
    print(found.parity.recording if found.parity else "")
    print(found.parity.in_order if found.parity else "")
    for problem in found.problems:
        print(f"FAILED {problem}")
    if found.problems:
        sys.exit(f"not as it has to be; repeat it with --seed {options.seed}")
    print("memory, threads, files and store are flat, and the recording agrees")


if __name__ == "__main__":
    main()
