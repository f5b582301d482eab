"""`openbell run` over a Redis Stream survives `kill -9`, its own and the server's."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from contextlib import closing
from datetime import date, datetime
from datetime import time as wall_time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
import yaml
from feed_places import Place
from redis_server import RedisServer

import openbell
from openbell.adapters.stores import Store
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.opening import open_configured_store

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(13)
    parts = []
    for day in DAYS:
        opened = int(datetime.combine(day, wall_time(9, 30), NEW_YORK).timestamp())
        n = 500
        at = np.sort(rng.integers(-60, 390 * 60, n)) + rng.integers(-3, 1, n)
        price = np.round(100 + np.cumsum(rng.normal(0, 0.3, n)), 2)
        price[5] = -1
        made = {"symbol": rng.choice(["A", "B"], n), "price": price, "size": rng.random(n)}
        parts.append(pd.DataFrame({**made, "ts": pd.to_datetime(opened + at, unit="s", utc=True)}))
    return pd.concat(parts, ignore_index=True)


def config(folder: Path, place: Place) -> dict[str, Any]:
    return {
        "name": "streamed",
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "sessions": [
            {"name": "Morning", "start": "09:30", "end": "09:40"},
            {"name": "Noon", "start": "12:00", "end": "12:20"},
        ],
        "breakout": {"rearm": "inside", "retest": {"within_bars": 8, "tolerance": "0.02%"}},
        "data": {"kind": "ticks"},
        "clock": {"time": "feed"},
        "feed": {
            "type": "redis",
            "start": str(DAYS[0]),
            "end": str(DAYS[-1]),
            "options": {**place.given, "batch": 20},
        },
        "store": {"url": f"sqlite:///{folder / 'state.db'}"},
        "snapshot": {"every": "50ms"},
    }


def started(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "openbell", "run", "--config", "config.yaml"]
    with (folder / "told").open("wb") as told:
        return subprocess.Popen(command, cwd=folder, stdout=told, stderr=told)


def come_to(folder: Path, step: int, run: subprocess.Popen[bytes]) -> int:
    """Wait until a run has come to a step; where it was killed then."""
    until = time.monotonic() + 120
    store: Store | None = None
    while run.poll() is None and time.monotonic() < until:
        if store is None and (folder / "state.db").exists():
            store = open_configured_store(config_from(folder / "config.yaml"))
        if store is not None and store.head().step >= step:
            break
        time.sleep(0.01)
    run.kill()
    run.wait()
    if store is None:
        return 0
    with closing(store):
        return store.head().step


@pytest.mark.slow
def test_a_run_and_a_server_killed_again_and_again_leave_each_signal_once(
    tmp_path: Path, server: RedisServer
) -> None:
    place = Place(server, "ticks")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config(tmp_path, place)))
    came = rows()
    entries = [
        {str(name): str(value) for name, value in row.items()} for row in came.to_dict("records")
    ]
    rng = random.Random(6)
    written, step = 0, 0
    for _ in range(2):
        stop = written + 300
        place.write(*entries[written:stop])
        written = stop
        run = started(tmp_path)
        time.sleep(rng.random())
        server.kill()
        server.start()
        step = come_to(tmp_path, step + rng.randrange(3, 8), run)
    place.write(*entries[written:], {"end": str(DAYS[-1])})
    last = started(tmp_path)
    assert last.wait(120) == 0, (tmp_path / "told").read_text()

    stored = config(tmp_path, place)
    del stored["feed"], stored["store"], stored["snapshot"]
    stored["data"]["order"] = "arrival"
    expected = openbell.backtest(stored, came)

    assert step > 3
    with closing(open_configured_store(config_from(tmp_path / "config.yaml"))) as store:
        found = [signal.id for _, signal in store.signals()]
    assert len(found) > 10
    assert found == [signal["id"] for signal in expected.signals.to_pylist()]
