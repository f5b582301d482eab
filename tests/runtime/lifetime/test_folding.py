"""Days whose journal and step log were joined: all that is read of them says the same."""

from __future__ import annotations

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

import openbell
from openbell.adapters.stores import Store, records
from openbell.market.calendar import open_calendar
from openbell.runtime.config import Config, config_from
from openbell.runtime.lifetime import retention
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.record import steplog

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))
PER_DAY = 120


@pytest.fixture(autouse=True)
def _calendar() -> None:
    """Made before: a library that makes it warns, which is an error where other threads run too."""
    open_calendar("XNYS", DAYS[0], DAYS[-1]).before(DAYS[0], 10)


def config(folder: Path, **more: Any) -> Config:
    return config_from(
        {
            "exchange": "XNYS",
            "symbols": ["A", "B"],
            "sessions": [
                {"name": "Morning", "start": "09:30", "end": "09:40"},
                {"name": "Noon", "start": "12:00", "end": "12:20"},
            ],
            "breakout": {"rearm": "inside"},
            "history": {
                "indicators": {
                    "usual": {"type": "trailing_average", "field": "close", "period": "1d"}
                }
            },
            "data": {"kind": "ticks"},
            "clock": {"time": "feed"},
            "feed": {"type": "push", "start": str(DAYS[0]), "end": str(DAYS[-1])},
            "store": {"url": f"sqlite:///{folder / 'state.db'}"},
            **more,
        }
    )


def rows() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    parts = []
    for day in DAYS:
        opened = int(datetime.combine(day, wall_time(9, 30), NEW_YORK).timestamp())
        at = np.sort(rng.integers(0, 390 * 60, PER_DAY)) + rng.integers(-2, 1, PER_DAY)
        price = np.round(100 + np.cumsum(rng.normal(0, 0.3, PER_DAY)), 2)
        price[5] = np.nan
        columns = {
            "symbol": rng.choice(["A", "B"], PER_DAY),
            "ts": pd.to_datetime(opened + np.maximum(at, 0), unit="s", utc=True),
            "price": price,
            "size": rng.random(PER_DAY),
        }
        parts.append(pd.DataFrame(columns))
    return pd.concat(parts, ignore_index=True)


def push(made: Config, came: pd.DataFrame, stops: range, **more: Any) -> None:
    """Push up to each of these positions, and wait each time until all is durable."""
    with openbell.Runtime.from_config(made, **more) as runtime:
        for stop in stops:
            begin = runtime.durable_position()
            runtime.push_ticks(came.iloc[begin:stop])
            while runtime.durable_position() < stop:
                time.sleep(0.001)
        if stops[-1] == len(came):
            runtime.end_day(DAYS[-1])
            runtime.wait()


def left(store: Store) -> dict[str, Any]:
    parts = [steplog.read(step.grant).parts for step in store.steps()]
    return {
        "signals": [signal for _, signal in store.signals()],
        "documents": list(store.documents()),
        # What a day's indicators are made of is what the days before brought.
        "indicators": [
            {name: of[name] for name in of if name.startswith("upkeep: indicators")}
            for of in parts
            if any(name.startswith("upkeep: indicators") for name in of)
        ],
    }


def test_a_folded_run_is_restarted_replayed_and_begun_anew_as_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: dict[str, Any]
) -> None:
    came = rows()
    whole = config(tmp_path / "whole")
    push(whole, came, range(len(came), len(came) + 1))
    monkeypatch.setattr(retention, "FOLD_SECONDS", 0.0)
    monkeypatch.setattr(records, "FOLD_LEAST", 4)
    folded = config(tmp_path / "folded", **stored)

    push(folded, came, range(10, PER_DAY - 40, 10))
    push(folded, came, range(PER_DAY - 40, PER_DAY + 41, 10))
    push(folded, came, range(PER_DAY + 50, 2 * PER_DAY + 1, 10))

    with (
        closing(open_configured_store(folded)) as store,
        closing(open_configured_store(whole)) as expected,
    ):
        assert store.usage().counts["commits"] > 20
        assert store.usage().counts["journal"] < 20
        assert len(left(store)["indicators"]) == len(DAYS)
        assert left(store) == left(expected)
        for day in DAYS:
            assert replay_day(folded, store, day).differs is None
        at_noon = [
            list(replay_day(made, of, DAYS[1], "12:00").show("levels"))
            for made, of in ((folded, store), (whole, expected))
        ]
        assert at_noon[0] == at_noon[1]


def test_a_folded_day_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "FOLD_SECONDS", 0.0)
    monkeypatch.setattr(records, "FOLD_LEAST", 4)
    came, folded = rows(), config(tmp_path)
    push(folded, came, range(10, PER_DAY + 41, 10))
    other = config(tmp_path, breakout={"sides": "high"})
    with openbell.Runtime.from_config(other, fresh_day=True) as runtime:
        begins = runtime.durable_position()
        runtime.push_ticks(came.iloc[begins:])
        runtime.end_day(DAYS[-1])
        runtime.wait()

    whole = config(tmp_path / "whole", breakout={"sides": "high"})
    push(whole, came, range(len(came), len(came) + 1))

    with (
        closing(open_configured_store(other)) as store,
        closing(open_configured_store(whole)) as expected,
    ):
        assert begins <= PER_DAY
        ours, theirs = (
            [s for _, s in of.signals(trading_date=DAYS[1])] for of in (store, expected)
        )
        assert {s.id for s in ours} >= {s.id for s in theirs}
        assert left(store)["indicators"][-1] == left(expected)["indicators"][-1]
