"""Results of a day that is fed, after restarts in mid-day: read, not run again from the open."""

from __future__ import annotations

import shutil
import threading
import time
from contextlib import closing, suppress
from datetime import date, datetime
from datetime import time as wall_time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pandas as pd
import pytest

import openbell
from openbell.adapters.sinks.parts import DayParts
from openbell.adapters.stores import Store, records
from openbell.errors import RunError
from openbell.runtime.config import Config, config_from
from openbell.runtime.intake.pushed import pushed_columns
from openbell.runtime.intake.settings import settings
from openbell.runtime.lifetime import retention
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.run import DurableRun

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))
PER_DAY = 120
EVERYTHING = 2 * PER_DAY


def config(folder: Path, **more: Any) -> Config:
    return config_from(
        {
            "exchange": "XNYS",
            "symbols": ["A", "B"],
            "companions": {"A": "B"},
            "sessions": [
                {"name": "Morning", "start": "09:30", "end": "09:59"},
                {"name": "Noon", "start": "12:00", "end": "12:20"},
            ],
            "breakout": {"rearm": "inside"},
            "data": {"kind": "ticks"},
            "clock": {"time": "feed"},
            "feed": {"type": "push", "start": str(DAYS[0]), "end": str(DAYS[-1])},
            "snapshot": {"every": "1ms"},
            "store": {"url": f"sqlite:///{folder / 'state.db'}"},
            **more,
        }
    )


def rows() -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(3)
    ts = []
    for day in DAYS:
        opened = int(datetime.combine(day, wall_time(9, 30), NEW_YORK).timestamp())
        ts.append((opened + np.sort(rng.integers(-60, 390 * 60, PER_DAY))) * 10**9)
    price = np.round(100 + np.cumsum(rng.normal(0, 0.3, EVERYTHING)), 2)
    price[[7, 150]] = np.nan
    return rng.choice(["A", "B"], EVERYTHING).tolist(), np.concatenate(ts), price


def run(folder: Path, until: int, **more: Any) -> None:
    """Push up to a position in small pieces, and stop there; at the end, end the last day."""
    made = config(folder, **more)
    symbols, ts, price = rows()
    with closing(open_configured_store(made)) as store:
        parts = DayParts(folder / "out", settings(made).derived_minutes, {"name": made.name})
        going = DurableRun(made, store, days=parts)

        def push() -> None:
            assert going.feed is not None
            with suppress(RunError):
                start = going.feed.durable
                while start < until:
                    part = slice(start, min(start + 10, until))
                    values = {"price": price[part], "size": np.ones(len(price[part]))}
                    going.feed.take(pushed_columns("ticks", symbols[part], ts[part], values), start)
                    start = part.stop
                    while going.feed.durable < start:
                        time.sleep(0.001)
                if until == EVERYTHING:
                    going.feed.end_day(DAYS[-1])
                elif until:
                    going.stop()

        pusher = threading.Thread(target=push)
        pusher.start()
        going.run()
        pusher.join()


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "summary.json" and ".days" not in path.parts
    }


def given_again(store: Store) -> list[int]:
    entries = (orjson.loads(entry) for _, entry in store.audit())
    return [entry["steps"] for entry in entries if entry["what"] == "restored"]


def test_files_after_restarts_in_mid_day_are_those_of_an_undisturbed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: dict[str, Any]
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    run(whole, EVERYTHING)
    monkeypatch.setattr(retention, "FOLD_SECONDS", 0.0)
    monkeypatch.setattr(records, "FOLD_LEAST", 2)

    for until in (70, PER_DAY - 10, PER_DAY + 60, EVERYTHING):
        run(stopped, until, **stored)

    expected = files(whole / "out")
    assert {"signals.jsonl", "bars_5m.parquet", "quality.csv", "bad_rows.csv"} <= expected.keys()
    assert files(stopped / "out") == expected
    with closing(open_configured_store(config(stopped, **stored))) as store:
        again = given_again(store)
        assert len(again) == 3
        assert store.head().step > 30
        assert max(again) <= 5


def test_files_of_days_that_are_gone_are_written_again(tmp_path: Path) -> None:
    run(tmp_path, EVERYTHING)
    expected = files(tmp_path / "out")
    for day in DAYS:
        shutil.rmtree(tmp_path / "out" / ".days" / str(day))

    run(tmp_path, 0)

    assert files(tmp_path / "out") == expected
    with closing(open_configured_store(config(tmp_path))) as store:
        # The last snapshot is that of the close; a step may come after it.
        assert sum(given_again(store)) <= 1


def test_a_runtime_has_the_day_under_way_as_a_whole(tmp_path: Path) -> None:
    symbols, ts, price = rows()
    came = pd.DataFrame({"symbol": symbols, "ts": pd.to_datetime(ts, utc=True), "price": price})
    came["size"] = 1.0
    tables = []
    for stops in ((EVERYTHING,), (PER_DAY + 20, PER_DAY + 70, EVERYTHING)):
        made = config(tmp_path / str(len(stops)))
        for stop in stops:
            with openbell.Runtime.from_config(made) as runtime:
                runtime.push_ticks(came.iloc[runtime.durable_position() : stop])
                while runtime.durable_position() < stop:
                    if runtime.status()["state"] != "running":
                        runtime.wait()
                    time.sleep(0.001)
                if stop < EVERYTHING:
                    continue
                runtime.end_day(DAYS[-1])
                runtime.wait()
                day = runtime.day
                assert day is not None
                tables.append((day.signals, day.levels, day.quality, day.bars(5), day.bars(15)))

    assert len(tables[0][0]) > 3
    assert tables[0] == tables[1]
