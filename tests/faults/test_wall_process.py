"""`openbell run` as a process that follows a clock: a shifted one, and the host's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from feed_places import Place
from managing import midday_zone
from redis_server import RedisServer

from openbell.runtime.config import config_from
from openbell.runtime.lifetime.opening import open_configured_store

PATIENCE_SECONDS = 120.0

LATE_SECONDS = 30.0
"""Within a second, where the host has nothing else to do: `benchmarks/live_latency.py` tells."""


def shifter() -> Path | None:
    """The library that shifts a process's clock, where Debian and its like have it."""
    found = sorted(Path("/usr/lib").glob("**/faketime/libfaketimeMT.so.1"))
    return found[0] if found else None


class Socket:
    """A vendor's WebSocket, in a process of its own."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parents[1] / "ws_prices.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self.told())
        self.said: list[str] = []
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()

    def told(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def _listen(self) -> None:
        while said := self.told():
            self.said.append(said)

    @property
    def given(self) -> dict[str, Any]:
        return {
            "url": f"ws://127.0.0.1:{self.port}",
            "subscribe": {"op": "subscribe", "symbols": "{symbols}"},
            "fields": {"symbol": "symbol", "ts": "ts", "price": "price"},
        }

    def write(self, row: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(row) + "\n")
        self.process.stdin.flush()

    def subscribed(self, times: int) -> None:
        """Wait until a run has subscribed so often."""
        until = time.monotonic() + PATIENCE_SECONDS
        while len(self.said) < times:
            assert time.monotonic() < until
            time.sleep(0.05)

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self._listening.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Watched:
    """A run, what it is fed, and when its documents change by the clock that it follows."""

    def __init__(
        self, folder: Path, place: Place | Socket, config: dict[str, Any], ahead: float
    ) -> None:
        self.folder, self.place, self.ahead = folder, place, ahead
        kind = "websocket" if isinstance(place, Socket) else "redis"
        options = {"type": kind, "options": place.given}
        kept = {"store": {"url": f"sqlite:///{folder / 'state.db'}"}, "data": {"kind": "ticks"}}
        made = {"symbols": ["A", "B"], **kept, **config, "feed": options}
        (folder / "config.yaml").write_text(yaml.safe_dump(made))
        self.changed: dict[str, float] = {}
        self.process = self.started()

    @property
    def now(self) -> float:
        return time.time() + self.ahead

    def started(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "openbell", "run", "--config", "config.yaml"]
        environment = dict(os.environ)
        if self.ahead:
            # Not the command `faketime`: what is killed would be that.
            environment["LD_PRELOAD"] = str(shifter())
            environment["FAKETIME"] = f"{self.ahead:+.3f}s"
            environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        with (self.folder / "told").open("ab") as told:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=told, stderr=told, env=environment
            )

    def kill(self, ahead: float | None = None) -> None:
        """And start it again; `ahead`: by a clock that has been shifted otherwise meanwhile."""
        self.process.kill()
        self.process.wait()
        self.ahead = self.ahead if ahead is None else ahead
        self.process = self.started()

    def tick(self, price: float, ts: float | None = None) -> None:
        at = datetime.fromtimestamp(self.now if ts is None else ts, UTC)
        self.place.write({"symbol": "A", "ts": at.isoformat(), "price": price})

    def look(self) -> None:
        if not (self.folder / "state.db").exists():
            return
        with closing(open_configured_store(config_from(self.folder / "config.yaml"))) as store:
            for document in store.documents():
                self.changed.setdefault(f"{document.session} {document.status}", self.now)
            for _, signal in store.signals():
                self.changed.setdefault(signal.id, self.now)

    def wait(self, what: str) -> float:
        """When it was so, by the clock that the run follows."""
        until = time.monotonic() + PATIENCE_SECONDS + 120
        while what not in self.changed and time.monotonic() < until:
            assert self.process.poll() is None, (self.folder / "told").read_text()
            self.look()
            time.sleep(0.05)
        assert what in self.changed, (self.folder / "told").read_text()
        return self.changed[what]

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait(PATIENCE_SECONDS) == 0, (self.folder / "told").read_text()


def test_a_process_under_a_shifted_clock_goes_through_a_session_of_that_day(
    tmp_path: Path, server: RedisServer
) -> None:
    if shifter() is None:
        pytest.skip("no libfaketime, which shifts a process's clock: apt-get install libfaketime")
    ends = datetime(2024, 7, 1, 13, 35, tzinfo=UTC).timestamp()
    place = Place(server, "ticks")
    config = {
        "exchange": "XNYS",
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:34"}],
        "clock": {"time": "wall", "lateness": "300ms"},
    }
    run = Watched(tmp_path, place, config, ends - 240 - time.time())
    try:
        for n in range(20):
            run.tick(100 + n % 3, ts=ends - 290 + n)
        run.wait("Morning ACTIVE")
        # While nobody runs, time goes by until shortly before the end.
        run.kill(ends - 3 - time.time())

        completed = run.wait("Morning COMPLETED")
        run.tick(103)
        run.wait("XNYS:2024-07-01:Morning:A:HIGH_BREAK:1")
        run.end()
    finally:
        run.process.kill()

    assert completed >= ends + 0.3
    with closing(open_configured_store(config_from(tmp_path / "config.yaml"))) as store:
        assert b'"high":102.0' in next(iter(store.documents())).body


@pytest.mark.slow
@pytest.mark.parametrize("with_rows", [False, True])
def test_documents_change_at_each_boundary_and_not_before(
    tmp_path: Path, server: RedisServer, with_rows: bool
) -> None:
    zone = midday_zone()
    now = datetime.now(ZoneInfo(zone))
    starts = now.replace(second=0, microsecond=0) + timedelta(minutes=1 + (now.second > 40))
    lateness = 0.3
    session = {"name": "Now", "start": f"{starts:%H:%M}", "end": f"{starts:%H:%M}"}
    config = {
        "exchange": "24/7",
        "calendar": {"timezone": zone},
        "sessions": [session],
        "clock": {"time": "wall", "lateness": f"{lateness}s"},
    }
    run = Watched(tmp_path, Place(server, "ticks"), config, 0.0)
    begin, end = starts.timestamp(), starts.timestamp() + 60
    try:
        begun = run.wait("Now ACTIVE")
        if with_rows:
            for n in range(40):
                run.tick(100 + n % 3)
                time.sleep(0.1)
            run.kill()
        completed = run.wait("Now COMPLETED")
        if with_rows:
            run.tick(103)
            run.wait(f"24/7:{starts:%Y-%m-%d}:Now:A:HIGH_BREAK:1")
            run.kill()
            time.sleep(5)
        run.end()
    finally:
        run.process.kill()

    assert begin <= begun < begin + LATE_SECONDS
    assert end + lateness <= completed < end + lateness + LATE_SECONDS
    with closing(open_configured_store(config_from(tmp_path / "config.yaml"))) as store:
        assert len(list(store.signals())) == with_rows


@pytest.mark.slow
def test_a_run_on_a_socket_is_killed_in_a_window_and_after_it(tmp_path: Path) -> None:
    """What was signalled stays; what nobody read while it was down is a gap."""
    zone = midday_zone()
    now = datetime.now(ZoneInfo(zone))
    starts = now.replace(second=0, microsecond=0) + timedelta(minutes=1 + (now.second > 40))
    lateness = 0.3
    session = {"name": "Now", "start": f"{starts:%H:%M}", "end": f"{starts:%H:%M}"}
    config = {
        "exchange": "24/7",
        "calendar": {"timezone": zone},
        "sessions": [session],
        "clock": {"time": "wall", "lateness": f"{lateness}s"},
    }
    vendor = Socket()
    run = Watched(tmp_path, vendor, config, 0.0)
    begin, end = starts.timestamp(), starts.timestamp() + 60
    first, second = (
        f"24/7:{starts:%Y-%m-%d}:Now:A:{side}:1" for side in ("HIGH_BREAK", "LOW_BREAK")
    )
    try:
        vendor.subscribed(1)
        begun = run.wait("Now ACTIVE")
        for n in range(20):
            run.tick(100 + n % 3)
            time.sleep(0.1)
        run.kill()
        vendor.subscribed(2)
        run.tick(99)  # a lower level, after what was killed
        completed = run.wait("Now COMPLETED")
        run.tick(103)
        run.wait(first)
        before = signals(tmp_path)
        run.kill()
        vendor.subscribed(3)
        run.tick(104)  # beyond what broke already
        run.tick(98)
        run.wait(second)
        after = signals(tmp_path)
        run.end()
    finally:
        run.process.kill()
        vendor.end()

    assert begin <= begun < begin + LATE_SECONDS
    assert end + lateness <= completed < end + lateness + LATE_SECONDS
    assert after[: len(before)] == before
    assert [of.id for of in after] == [first, second]
    with closing(open_configured_store(config_from(tmp_path / "config.yaml"))) as store:
        assert b'"high":102.0,"low":99.0' in next(iter(store.documents())).body
        told = [json.loads(entry) for _, entry in store.audit()]
    gaps = [entry for entry in told if entry["what"] == "gap"]
    assert len(gaps) == 2
    assert all("this process was not there" in entry["why"] for entry in gaps)


def signals(folder: Path) -> list[Any]:
    with closing(open_configured_store(config_from(folder / "config.yaml"))) as store:
        return [signal for _, signal in store.signals()]
