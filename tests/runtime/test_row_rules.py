"""Runs whose rows come again, are totals or are partial: as a backtest of the same rows has them."""

from __future__ import annotations

import json
import random
import time
from contextlib import closing
from datetime import date, datetime
from datetime import time as wall_time
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

import openbell
from openbell.errors import ConfigError, DataError
from openbell.runtime.api import run_backtest
from openbell.runtime.cli.backtest import print_backtest
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.opening import open_configured_store
from openbell.runtime.lifetime.parity import parity

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))

RULES: dict[str, dict[str, str]] = {
    "totals and numbers": {"size_is": "day_total", "dedupe": "trade_id"},
    "the same": {"dedupe": "same"},
    "totals, what is not whole left out": {"size_is": "day_total", "on_partial": "drop"},
    "what is not whole": {},
    "amended": {"revisions": "amend"},
}
KINDS = {"totals and numbers": "ticks", "the same": "ticks"}


def frame(kind: str, per_day: int = 500, *, revised: bool = False) -> pd.DataFrame:
    """Two days with rows that come again, totals of the day and bars that are not whole; `revised`:
    most that come again say something else."""
    rng = np.random.default_rng(11)
    parts = []
    for day in DAYS:
        opened = int(datetime.combine(day, wall_time(9, 30), NEW_YORK).timestamp())
        at = np.sort(rng.integers(-60, 390 * 60 + 60, per_day))
        at = at // 60 * 60 if kind == "bars" else at
        price = np.round(100 + np.cumsum(rng.normal(0, 0.3, per_day)), 2)
        rows = pd.DataFrame(
            {
                "symbol": rng.choice(["A", "B"], per_day),
                "ts": pd.to_datetime(opened + at, unit="s", utc=True),
            }
        )
        total = rng.integers(1, 9, per_day).astype(float)
        total = pd.Series(total).groupby(rows.symbol).cumsum().to_numpy()
        if kind == "ticks":
            rows = rows.assign(price=price, size=total, trade_id=[f"t{n}" for n in range(per_day)])
        else:
            rows = rows.assign(open=price, high=price + 0.3, low=price - 0.3, close=price)
            rows = rows.assign(volume=total, partial=rng.random(per_day) < 0.1)
        again = np.sort(np.concatenate([np.arange(per_day), rng.integers(0, per_day, 60)]))
        came = np.argsort(again + rng.exponential(3, len(again)), kind="stable")
        part = rows.iloc[again[came]].reset_index(drop=True)
        if revised:
            width = np.round(rng.exponential(0.4, len(part)), 2) * part.duplicated(["symbol", "ts"])
            part = part.assign(
                high=part.high + width, low=part.low - width, close=part.close - width / 2
            )
            part = part.assign(volume=part.volume + (width * 100).astype(int))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def config(rules: str, **more: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "sessions": [
            {"name": "Morning", "start": "09:30", "end": "09:40"},
            {"name": "Noon", "start": "12:00", "end": "12:20"},
        ],
        "breakout": {"rearm": "inside"},
        "history": {
            "indicators": {
                "volume": {"type": "trailing_average", "period": "1d", "field": "volume"}
            }
        },
        "clock": {"time": "feed"},
        "feed": {
            "type": "push",
            "start": str(DAYS[0]),
            "end": str(DAYS[-1]),
            **RULES[rules],
        },
        **more,
        "data": {"kind": KINDS.get(rules, "bars")},
    }


def wait_for(until: Any) -> None:
    ends = time.monotonic() + 120
    while not until():
        assert time.monotonic() < ends
        time.sleep(0.01)


def durable(runtime: openbell.Runtime, position: int) -> bool:
    return runtime.durable_position() == position


def as_backtest(rules: str, rows: pd.DataFrame, since: str | None = None) -> openbell.Result:
    stored = config(rules, backtest={"start": since})
    stored["feed"] = RULES[rules]
    stored["data"]["order"] = "arrival"
    return openbell.backtest(stored, rows)


@pytest.mark.parametrize("rules", ["totals, what is not whole left out", "amended"])
def test_a_backtest_that_keeps_its_state_goes_by_the_same_rules(
    rules: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = frame("bars", revised=rules == "amended")
    made = {**config(rules), "feed": RULES[rules]}
    made["data"]["order"] = "arrival"
    stored = config_from(made)

    _, account = run_backtest(stored, rows, out=tmp_path / "plain")
    run_backtest(stored, rows, out=tmp_path / "kept", store=f"sqlite:///{tmp_path / 'state.db'}")

    plain, kept = tmp_path / "plain", tmp_path / "kept"
    for name in ("signals.jsonl", "sessions.jsonl"):
        assert (kept / name).read_bytes() == (plain / name).read_bytes()
    counts, theirs = (json.loads((of / "summary.json").read_text())["rows"] for of in (plain, kept))
    assert theirs == counts
    assert counts["revised" if rules == "amended" else "partial"] > 10
    print_backtest(account, None)
    revised = (
        f"{counts['revised']} of them took the place" if rules == "amended" else "of each used"
    )
    assert revised in " ".join(capsys.readouterr().out.split())


def frozen(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Signals where the first of each bar counts."""
    signals: list[dict[str, Any]] = as_backtest("what is not whole", rows).signals.to_pylist()
    return signals


@pytest.mark.parametrize(
    "rules",
    [
        "totals and numbers",
        pytest.param("the same", marks=pytest.mark.slow),
        "totals, what is not whole left out",
        pytest.param("what is not whole", marks=pytest.mark.slow),
        "amended",
    ],
)
def test_what_is_pushed_in_pieces_and_by_several_processes_is_what_a_backtest_has(
    rules: str, tmp_path: Path
) -> None:
    rows = frame(KINDS.get(rules, "bars"), revised=rules == "amended")
    expected = as_backtest(rules, rows)
    made = config(
        rules,
        store={"url": f"sqlite:///{tmp_path / 'state.db'}"},
        snapshot={"every": "10ms", "keep": 3},
    )
    made["feed"]["record"] = str(tmp_path / "days")
    rng = random.Random(5)
    edges = [
        150,
        400,
        700,
        len(rows),
    ]  # the last process has what came of the second day, all of it

    for edge in edges:
        with openbell.Runtime.from_config(made, durable=True) as runtime:
            push = runtime.push_ticks if KINDS.get(rules) else runtime.push_bars
            start = runtime.durable_position()
            while start < edge:
                stop = min(start + rng.randrange(1, 60), edge)
                push(rows.iloc[start:stop], position=start)
                start = stop
            if edge in (150, 700):  # at 400 it ends with rows on their way
                wait_for(partial(durable, runtime, edge))
            if edge == 150:
                status = runtime.status()["row_rules"]
            if edge == len(rows):
                runtime.end_day(DAYS[-1], position=edge)
                runtime.wait()
                found = [(s.id, s.price, s.complete) for s in runtime.signals()]
                counts, day = runtime.summary()["rows"], runtime.day
                late = [event for event in runtime.events() if event.kind == "revision.late"]

    assert len(found) > 10
    told = [(s["id"], s["price"], s["complete"]) for s in expected.signals.to_pylist()]
    assert found == told
    assert day is not None
    opened = datetime.combine(DAYS[-1], wall_time(0), NEW_YORK)
    of_day = [row for row in expected.bars(5).to_pylist() if row["ts"] >= opened]
    assert len(of_day) > 100
    assert day.bars(5).to_pylist() == of_day
    assert day.quality.to_pylist() == expected.quality.to_pylist()[-2:]
    assert counts == as_backtest(rules, rows, "2024-07-02").summary["rows"]
    assert (status.get("repeated", 0) > 0) == ("dedupe" in RULES[rules])
    assert (counts.get("partial", 0) > 0) == (RULES[rules].get("on_partial") == "drop")
    assert (counts.get("repeated", 0) > 50) == ("dedupe" in RULES[rules])
    if rules == "amended":
        assert status["revised"] > 0
        assert {event.facts["too_late_for"] for event in late} >= {"5m bars", "5m bars, 15m bars"}
        assert (
            sum(int(str(of.facts["bars"])) for of in late if of.trading_date == DAYS[-1])
            == (counts["revised_late"])
        )
        assert counts["revised"] > counts["revised_late"] > 0
        assert found != [(s["id"], s["price"], s["complete"]) for s in frozen(rows)]
    # Of the day before, as the rules have its sizes.
    stored = config(rules)
    stored["feed"], stored["data"]["order"] = RULES[rules], "arrival"
    with openbell.Runtime.from_config(stored, rows, durable=False) as runtime:
        runtime.wait()
        assert runtime.day is not None
        volumes = runtime.day.indicators["volume"].values
    assert volumes.min() > 0
    assert day.indicators["volume"].values.tolist() == volumes.tolist()
    # And so does what was recorded.
    again = openbell.backtest(made, tmp_path / "days")
    assert again.bars(5).to_pylist() == expected.bars(5).to_pylist()
    assert again.signals["id"].to_pylist() == [of for of, _, _ in found]
    checked = config_from(made)
    with closing(open_configured_store(checked)) as store:
        for of in DAYS:
            held = parity(checked, store, of, tmp_path / "days")
            assert held.recording.first is None


AMENDED = {
    "data.kind": "bars",
    "feed.dedupe": "none",
    "feed.size_is": "trade",
    "feed.revisions": "amend",
}


def test_rules_are_checked() -> None:
    good = config("totals and numbers")
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"feed.revisions": "amend"}, "ticks are not revised"),
        ({**AMENDED, "feed.size_is": "day_total"}, "feed.size_is: trade"),
        (
            {**AMENDED, "data.interval": "5s", "breakout.volume": {"times": 2.0}},
            "bars of 5s is made of whole minutes",
        ),
        ({"data.kind": "bars"}, "bars have no trade_id"),
        ({"feed.on_partial": "drop"}, "ticks are never partial"),
        ({"feed.type": "replay", "data.path": "x"}, "set data.order: arrival too"),
        ({"feed.size_is": "total"}, "feed.size_is"),
    ]
    for overrides, says in wrong:
        with pytest.raises(ConfigError, match=says):
            config_from(good, overrides=overrides)


def test_rules_decide_answers_and_leave_digests_of_others_as_they_were() -> None:
    live = config("what is not whole")
    stored = {**live, "feed": {}, "data": {"kind": "bars", "order": "arrival"}}
    for given in (live, stored):
        plain = config_from(given)
        assert "size_is" not in str(plain.determining())
        ruled = config_from(given, overrides={"feed.size_is": "day_total"})
        assert ruled.digest() != plain.digest()
        # Eras keep what determines: a day is run again with the rules that it was run with.
        assert plain.with_determining(ruled.determining()).digest() == ruled.digest()
        assert ruled.with_determining(plain.determining()).digest() == plain.digest()


@pytest.mark.parametrize(
    ("on_partial", "again", "high", "complete"),
    [
        ("flag", False, 50.0, False),  # it counts, and its minute is not seen
        ("flag", True, 50.0, False),  # the first counts
        ("drop", False, 12.0, False),
        ("drop", True, 60.0, True),  # the whole one counts when it comes
    ],
)
def test_a_session_with_a_bar_that_is_not_whole(
    on_partial: str, again: bool, high: float, complete: bool
) -> None:
    rows = [(f"09:3{n}", 10.0 + n % 3, False) for n in range(6)]
    rows[3] = ("09:33", 50.0, True)
    if again:
        rows.insert(4, ("09:33", 60.0, False))
    rows.append(("09:40", 99.0, False))
    table = pd.DataFrame(
        {
            "symbol": "A",
            "ts": [f"2024-07-01T{wall}:00-04:00" for wall, _, _ in rows],
            **{name: [price for _, price, _ in rows] for name in ("open", "high", "low", "close")},
            "volume": 1.0,
            "partial": [partial for _, _, partial in rows],
        }
    )
    made = {
        "exchange": "XNYS",
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:35"}],
        "data": {"kind": "bars", "order": "arrival"},
        "feed": {"on_partial": on_partial},
    }

    (signal,) = openbell.backtest(made, table).signals.to_pylist()

    assert (signal["level"], signal["complete"]) == (high, complete)


@pytest.mark.parametrize("kind", ["ticks", "bars"])
@pytest.mark.parametrize("form", ["csv", "parquet", "mapped"])
def test_marks_are_read_from_files_as_from_tables(kind: str, form: str, tmp_path: Path) -> None:
    rows = frame(kind, per_day=120)
    given: dict[str, str] = {"dedupe": "trade_id"} if kind == "ticks" else {"on_partial": "drop"}
    made = {
        "exchange": "XNYS",
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:40"}],
        "data": {"kind": kind, "order": "arrival"},
        "feed": given,
    }
    expected = openbell.backtest(made, rows)
    path = tmp_path / f"rows.{'parquet' if form == 'parquet' else 'csv'}"
    if form == "mapped":
        rows = rows.rename(columns={"trade_id": "No", "partial": "Forming"})
        named = {"trade_id": "No"} if kind == "ticks" else {"partial": "Forming"}
        made["data"] = {"kind": kind, "order": "arrival", "columns": named}
    if form == "parquet":
        rows.to_parquet(path)
    else:
        rows.to_csv(path, index=False)

    found = openbell.backtest(made, path)

    assert found.summary["rows"] == expected.summary["rows"]
    assert found.summary["rows"]["repeated" if kind == "ticks" else "partial"] > 5
    assert found.bars(5).to_pylist() == expected.bars(5).to_pylist()


def test_a_file_without_numbers_of_trades_is_refused_where_they_are_needed(tmp_path: Path) -> None:
    rows = frame("ticks", per_day=20).drop(columns="trade_id")
    rows.to_csv(tmp_path / "rows.csv", index=False)
    made = {
        "exchange": "XNYS",
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:40"}],
        "data": {"kind": "ticks", "order": "arrival"},
        "feed": {"dedupe": "trade_id"},
    }

    with pytest.raises(DataError, match='no column "trade_id", which ticks need'):
        openbell.backtest(made, tmp_path / "rows.csv")
