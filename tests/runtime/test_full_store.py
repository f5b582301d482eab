"""A store without room, while a feed brings rows that wait nowhere else."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from openbell.adapters.stores import NoRoom
from openbell.runtime.api import Runtime

PATIENCE_SECONDS = 120.0

OPEN = datetime(2024, 7, 1, 13, 30, tzinfo=UTC).timestamp()


def wait_for(until: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def runtime(folder: Path, **store: Any) -> Runtime:
    return Runtime.from_config(
        {
            "exchange": "XNYS",
            "symbols": ["A"],
            "sessions": [{"name": "Morning", "start": "09:30", "end": "09:34"}],
            "data": {"kind": "ticks"},
            "clock": {"time": "feed"},
            "feed": {"type": "push", "start": "2024-07-01", "end": "2024-07-01"},
            "store": {"url": f"sqlite:///{folder / 'state.db'}", **store},
        }
    )


def at_ns(seconds: float) -> int:
    return round((OPEN + seconds) * 1e9)


def pages(of: Runtime, count: int | None = None) -> int:
    """How many pages the file may have; another limit, as a disk has one."""
    store: Any = of._run._store  # type: ignore[attr-defined]
    database = store._database
    with database.lock:
        db: sqlite3.Connection = database.writing()
        wanted = "" if count is None else f" = {count}"
        found: int = db.execute(f"PRAGMA max_page_count{wanted}").fetchone()[0]
        return found


def test_a_full_disk_holds_the_run_which_goes_on_when_there_is_room(tmp_path: Path) -> None:
    told: list[str] = []
    listener = logger.add(told.append, level="WARNING", format="{message}")
    logger.enable("openbell")
    try:
        with runtime(tmp_path, backlog="64KiB") as run:
            run.push_ticks("A", at_ns(0), 100.0)
            wait_for(lambda: run.durable_position() == 1, "the first row became durable")
            pages(run, 1)  # what it has by now, that is
            pushing = threading.Thread(target=push, args=(run,), daemon=True)
            pushing.start()
            wait_for(lambda: any("disk is full" in line for line in told), "it was said")
            wait_for(lambda: "store" in run.status()["paused_by"], "the clock was held")
            durable = run.durable_position()
            pages(run, 1_000_000)
            pushing.join(PATIENCE_SECONDS)
            run.end_day("2024-07-01")
            signals = [signal.id for signal in run.signals()]
    finally:
        logger.remove(listener)
        logger.disable("openbell")

    assert durable < 20_001
    assert run.durable_position() == 20_002
    assert signals == ["XNYS:2024-07-01:Morning:A:HIGH_BREAK:1"]
    assert any("answers again" in line for line in told)


def push(run: Runtime) -> None:
    for n in range(1, 20_001, 100):
        times = [at_ns(0.05 * of) for of in range(n, n + 100)]
        run.push_ticks(["A"] * 100, times, [100.0 + of / 20_000 for of in range(n, n + 100)])


@pytest.mark.slow
def test_a_run_over_stored_rows_ends_on_a_full_disk(tmp_path: Path) -> None:
    from openbell.adapters.sample import write_sample

    write_sample(tmp_path / "minutes", symbols=2, days=2, seed=3)
    run = Runtime.from_config(
        {
            "exchange": "XNYS",
            "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}],
            "data": {"path": str(tmp_path / "minutes")},
            "store": {"url": f"sqlite:///{tmp_path / 'state.db'}"},
        }
    )
    with run:
        pages(run, 1)
        with pytest.raises(NoRoom, match="disk is full; nothing was written; make room"):
            run.wait()
