"""A run that is fed, killed at each of its commits: also where a later day's row ends a day, and
between the parts of rows that came at once."""

from __future__ import annotations

import threading
from contextlib import suppress
from datetime import date, datetime, time
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from openbell.adapters.stores import CommitRecord, Store, open_store
from openbell.errors import DataError, RunError, StoreError
from openbell.market.days import SECOND_NS
from openbell.messages.control import DayOver
from openbell.runtime.config import Config, config_from
from openbell.runtime.intake import handover
from openbell.runtime.intake.pushed import pushed_columns
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record import steplog
from openbell.runtime.record.codec import decode

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))


class KilledAfter:
    """A store that does nothing more after one of its commits: after so many, or after the first
    with the end of a day that nobody said."""

    def __init__(self, store: Store, commits: int | None) -> None:
        self._store = store
        self._left = 10**6 if commits is None else commits
        self._at_over = commits is None
        self.over: list[DayOver] = []
        """Marks that a day is over among what was committed."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def commit(self, fence: int, record: CommitRecord) -> Literal["ok", "dup"]:
        if self._left <= 0:
            raise StoreError("killed")
        done = self._store.commit(fence, record)
        self._left -= 1
        for step in record.steps:
            for entered in steplog.read(step.grant).grant["inputs"]:
                if entered[0] == "message" and isinstance(over := decode(entered[1]), DayOver):
                    self.over.append(over)
        if self._at_over and self.over:
            self._left = 0
        if self._left <= 0:
            raise StoreError("killed")
        return done


def config() -> Config:
    return config_from(
        {
            "exchange": "XNYS",
            "symbols": ["A", "B"],
            "sessions": [
                {"name": "Morning", "start": "09:30", "end": "10:59"},
                {"name": "Noon", "start": "12:00", "end": "12:20"},
            ],
            "breakout": {"rearm": "inside"},
            "data": {"kind": "ticks", "order": "arrival"},
            "clock": {"time": "feed"},
            "feed": {"type": "push", "start": str(DAYS[0]), "end": str(DAYS[1])},
        }
    )


def came(per_day: int) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    rng = np.random.default_rng(11)
    ts = []
    for day in DAYS:
        opened = int(datetime.combine(day, time(9, 30), NEW_YORK).timestamp())
        # Some before the open: rows that open no day.
        at = np.concatenate([[-9, -5], np.sort(rng.integers(0, 390 * 60 - 1, per_day - 2))])
        ts.append((opened + at) * SECOND_NS)
    n = 2 * per_day
    price = np.round(100 + np.cumsum(rng.normal(0, 0.9, n)), 2)
    return rng.choice(["A", "B"], n).tolist(), np.concatenate(ts), price


def pushed(run: DurableRun, per_day: int, at_once: int) -> None:
    """Push all from where the run is, the last day's end alone by a mark."""
    assert run.feed is not None
    symbols, ts, price = came(per_day)
    with suppress(RunError, StoreError, DataError):
        start = run.feed.durable
        while start < len(ts):
            part = slice(start, start + at_once)
            values = {"price": price[part], "size": np.ones(len(price[part]))}
            rows = pushed_columns("ticks", symbols[part], ts[part], values)
            run.feed.take(rows, position=start)
            start += at_once
        run.feed.end_day(DAYS[1])


def run_once(store: Any, per_day: int, at_once: int) -> bool:
    """Whether it came to its end."""
    try:
        run = DurableRun(config(), store)
    except StoreError:
        return False
    pusher = threading.Thread(target=pushed, args=(run, per_day, at_once))
    pusher.start()
    try:
        run.run()
        return True
    except StoreError:
        return False
    finally:
        run.close()
        pusher.join()


def left(store: Store) -> dict[str, Any]:
    return {
        "signals": [signal for _, signal in store.signals()],
        "documents": store.documents(),
        # Of each row what became of it, and of each slot whether it was seen.
        "quality": [
            quality
            for step in store.steps()
            if (quality := _about_quality(steplog.read(step.grant).parts))
        ],
    }


def _about_quality(parts: steplog.Parts) -> steplog.Parts:
    return {name: part for name, part in parts.items() if name.startswith("upkeep: quality")}


def test_a_kill_where_a_later_row_ends_a_day_neither_loses_nor_doubles_a_row() -> None:
    whole, store = open_store("memory://", "fed"), open_store("memory://", "fed")
    killed = KilledAfter(store, None)
    assert run_once(whole, 40, 7)

    assert not run_once(killed, 40, 7)
    assert run_once(store, 40, 7)

    # A commit that waited for the disk may hold the next day's end as well.
    assert (killed.over[0].date, killed.over[0].position) == (DAYS[0], 40)
    assert left(store) == left(whole)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_day", "at_once", "a_step_at_most"),
    [(40, 7, 50_000), (40, 200, 9)],
    ids=["a few at once", "all at once"],
)
def test_a_kill_at_any_commit_neither_loses_nor_doubles_a_row(
    per_day: int, at_once: int, a_step_at_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "ROWS_MAX", a_step_at_most)
    whole = open_store("memory://", "fed")
    assert run_once(whole, per_day, at_once)
    expected = left(whole)
    assert expected["signals"]
    implicit = 0

    commits, ended = 1, False
    while not ended:
        store = open_store("memory://", "fed")
        killed = KilledAfter(store, commits)
        ended = run_once(killed, per_day, at_once)
        implicit += bool(killed.over) and killed.over[-1].date == DAYS[0]
        if not ended:
            assert run_once(store, per_day, at_once)

        found = left(store)

        assert found == expected, commits
        commits += 1

    assert commits > 4
    assert implicit
