"""A live day by the clock with a scan and an insertion in it, its process killed within each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from faults import waiting_plugins
from faults.test_wall_process import PATIENCE_SECONDS, Watched, shifter
from faults.waiting_plugins import asked
from feed_places import Place
from redis_server import RedisServer

import openbell
from openbell.adapters.stores import Store
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.asks import answer_of, ask
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.results.scans import stored_runs


def about(shifted: bool) -> tuple[datetime, float, str, str]:
    """When the session is over, how far the clock is ahead, the exchange and its zone."""
    if shifted:
        ends = datetime(2024, 7, 1, 13, 35, tzinfo=UTC)
        return ends, ends.timestamp() - 15 - time.time(), "XNYS", "America/New_York"
    ends = (datetime.now(UTC) + timedelta(seconds=75)).replace(second=0, microsecond=0)
    if (ends.hour, ends.minute) == (0, 0):  # a session is of one day
        ends += timedelta(minutes=1)
    return ends, 0.0, "24/7", "UTC"


def until(condition: Callable[[], bool], run: Watched) -> None:
    end = time.monotonic() + PATIENCE_SECONDS + 120
    while not condition():
        assert time.monotonic() < end, (run.folder / "told").read_text()
        assert run.process.poll() is None, (run.folder / "told").read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("clock", ["shifted", "own"])
def test_killed_within_a_scan_and_within_an_insertion_a_day_is_as_one_that_was_not(
    clock: str, tmp_path: Path, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if clock == "shifted" and shifter() is None:
        pytest.skip("no libfaketime, which shifts a process's clock: apt-get install libfaketime")
    ends, ahead, exchange, zone = about(clock == "shifted")
    local = pd.Timestamp(ends).tz_convert(zone)
    day, last = local.date(), local - pd.Timedelta(minutes=1)
    waiting_plugins.install(tmp_path / "plug-ins")
    path = [str(tmp_path / "plug-ins"), str(Path(waiting_plugins.__file__).parent)]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("WAITING_PLUGINS", str(tmp_path))
    monkeypatch.setenv("OPENBELL_FEED__RECORD", str(tmp_path / "days"))
    monkeypatch.setattr(sys, "path", [*sys.path, *path])
    rows: list[tuple[str, datetime, float]] = []
    theirs = [("C", ends - timedelta(seconds=50 - n), 200.0 + n % 4) for n in range(30)]
    columns = ["symbol", "ts", "price"]
    pd.DataFrame(theirs, columns=columns).assign(size=1.0).to_parquet(tmp_path / "rows.parquet")
    scan = {"name": "mine", "type": "waiting", "at": [f"{local:%H:%M}"], "then": "follow"}
    made: dict[str, Any] = {
        "exchange": exchange,
        "sessions": [{"name": "Now", "start": f"{last:%H:%M}", "end": f"{last:%H:%M}"}],
        "scanners": [{**scan, "timeout_seconds": 600}],
        "clock": {"time": "wall", "lateness": "300ms"},
        "data": {"kind": "ticks", "path": str(tmp_path / "rows.parquet"), "format": "waiting"},
        "prefetch": {"timeout_seconds": 600},
    }
    place = Place(server, "ticks")

    def tick(symbol: str, ts: datetime, price: float) -> None:
        rows.append((symbol, ts, price))
        place.write({"symbol": symbol, "ts": ts.isoformat(), "price": price})

    for n in range(40):
        tick("AB"[n % 2], ends - timedelta(seconds=55 - n), 100.0 + n % 5)
    (tmp_path / "scan.waits").touch()
    (tmp_path / "source.waits").touch()
    run = Watched(tmp_path, place, made, ahead)

    def stored() -> Store:
        return open_configured_store(config_from(tmp_path / "config.yaml"))

    def seen(look: Callable[[Store], Any]) -> bool:
        with closing(stored()) as store:
            return bool(look(store))

    def killed_before_it_answers(what: str) -> None:
        run.process.kill()
        run.process.wait()
        (tmp_path / f"{what}.waits").unlink()
        run.process = run.started()

    def beyond(side: str, price: float) -> None:
        for symbol, far in (("B", 0.0), ("C", 100.0), ("A", 0.0)):
            now = datetime.fromtimestamp(run.now, UTC)
            tick(symbol, max(now, ends + timedelta(seconds=1)), price + far)
        for symbol in "CA":
            run.wait(f"{exchange}:{day}:Now:{symbol}:{side}:1")

    try:
        until(lambda: len(asked(tmp_path, "scan")) == 1, run)
        with closing(stored()) as store:
            ask(store, "during the scan", "add", ("C",))
        killed_before_it_answers("scan")
        until(lambda: seen(lambda store: list(stored_runs(store))), run)
        until(lambda: len(asked(tmp_path, "source")) == 1, run)
        killed_before_it_answers("source")
        until(lambda: seen(lambda store: answer_of(store, "during the scan")), run)
        beyond("HIGH_BREAK", 107.0)
        run.kill()
        beyond("LOW_BREAK", 93.0)
        run.end()
    finally:
        run.process.kill()

    at = f"{local:%H:%M}"
    assert asked(tmp_path, "scan") == [at, at]
    assert len(asked(tmp_path, "source")) == 2
    del made["clock"], made["prefetch"], made["data"]
    made |= {"symbols": ["A", "B", "C"], "data": {"kind": "ticks", "order": "arrival"}}
    whole = openbell.backtest(
        made,
        pd.DataFrame([*theirs, *rows], columns=columns).assign(size=1.0),
        scanners={"waiting": waiting_plugins.found},
    )
    with closing(stored()) as store:
        answer = answer_of(store, "during the scan")
        (ran,) = stored_runs(store)
        signals = [of for _, of in store.signals()]
        document = orjson.loads(next(iter(store.documents())).body)
        replayed = replay_day(config_from(tmp_path / "config.yaml"), store, day)
    assert answer is not None
    assert answer.done, answer.why
    recorded = openbell.backtest(tmp_path / "config.yaml", tmp_path / "days")
    (expected,) = whole.scans
    (of_recorded,) = recorded.scans
    assert of_recorded.found == ran.found
    assert [of["id"] for of in recorded.signals.to_pylist()] == [of.id for of in signals]
    assert [(of.symbol, of.score) for of in ran.found] == [("A", 104.0), ("C", 1.0)]
    assert [(of.symbol, of.score) for of in expected.found] == [("A", 104.0), ("C", 1.0)]
    assert ran.found[0] == expected.found[0]
    assert [of.id for of in signals] == [of["id"] for of in whole.signals.to_pylist()]
    assert [of.id.split(":")[3:5] for of in signals] == [
        [symbol, side] for side in ("HIGH_BREAK", "LOW_BREAK") for symbol in "CA"
    ]
    levels = {of["symbol"]: (of["high"], of["low"]) for of in whole.levels.to_pylist()}
    found = document["symbols_data"]
    assert {name: (of["high"], of["low"]) for name, of in found.items()} == levels
    assert replayed.differs is None
