"""Streamed and generated intervals: told, refused where they contradict the data, and equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import Command
from hypothesis import given, settings
from hypothesis import strategies as st
from observed import walk

import openbell

US = {"exchange": "XNYS", "sessions": [{"name": "Aligned", "start": "09:30", "end": "09:44"}]}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def minutes() -> pa.Table:
    return walk("XNYS", "2024-07-01", "2024-07-03")


@pytest.fixture(scope="module")
def fives(minutes: pa.Table) -> pa.Table:
    return openbell.backtest(US, minutes).bars(5)


def written(**keys: Any) -> None:
    Path("it.yaml").write_bytes(orjson.dumps({**US, **keys}))


def checked(run: Command, rows: pa.Table | None, **data: Any) -> str:
    if rows is not None:
        pq.write_table(rows, "bars.parquet")
    written(data={"path": "bars.parquet", **data})
    ran = run("config", "check", "it.yaml")
    return streamed(ran.out) if ran.code == 0 else ran.err


def streamed(told: str) -> str:
    return next(line for line in told.splitlines() if line.startswith("Streamed"))


def test_it_is_told_what_is_streamed_and_what_is_generated(
    run: Command, minutes: pa.Table, fives: pa.Table
) -> None:
    assert checked(run, minutes) == "Streamed: 1m; generated: 5m, 15m"
    assert checked(run, fives, interval="5m") == "Streamed: 5m; generated: 15m"


def test_without_the_data_it_is_told_as_configured_and_refused_as_a_run_does(run: Command) -> None:
    said = checked(run, None)

    told = run("config", "check", "it.yaml").out
    assert streamed(told) == (
        "Streamed: 1m; generated: 5m, 15m; as configured: the data was not looked at"
    )
    assert said == run("run", "--config", "it.yaml").err


@pytest.mark.parametrize("command", ["config check it.yaml", "backtest --config it.yaml"])
def test_longer_bars_than_configured_are_refused_with_both_lengths(
    run: Command, fives: pa.Table, command: str
) -> None:
    pq.write_table(fives, "bars.parquet")
    written(data={"path": "bars.parquet"})

    ran = run(*command.split())

    assert ran.code == 2
    (line,) = ran.messages
    assert line.startswith("it.yaml: data.interval is 1m, but the bars of ")
    assert line.endswith("bars.parquet on 2024-07-01 are 5m apart; write data.interval: 5m")


def test_shorter_bars_than_configured_are_refused_too(run: Command, minutes: pa.Table) -> None:
    said = checked(run, minutes, interval="5m")

    assert "data.interval is 5m, but the bars of " in said
    assert said.endswith("are 1m apart; write data.interval: 1m\n")


def test_bars_inside_the_minute_are_no_interval_but_off_the_grid(
    run: Command, minutes: pa.Table
) -> None:
    later = pc.add(minutes["ts"].cast(pa.int64()), 30 * 10**9).cast(pa.timestamp("ns", "UTC"))

    said = checked(run, minutes.set_column(1, "ts", later))

    assert said == run("run", "--config", "it.yaml").err
    assert said.endswith("correct data.interval or data.bar_label\n")


def test_few_bars_far_apart_are_no_other_interval(run: Command, minutes: pa.Table) -> None:
    every_half_hour = list(range(0, 60 * 5, 60))

    assert checked(run, minutes.take(every_half_hour)).startswith("Streamed: 1m")


def test_ticks_generate_all_intervals(run: Command, minutes: pa.Table) -> None:
    ticks = minutes.select(["symbol", "ts", "close", "volume"]).rename_columns(
        ["symbol", "ts", "price", "size"]
    )

    assert checked(run, ticks, kind="ticks") == "Streamed: ticks; generated: 5m, 15m"


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    start=st.integers(0, 60),
    length=st.integers(1, 12),
    early=st.booleans(),
)
def test_bars_of_five_minutes_give_what_their_minutes_give(
    seed: int, start: int, length: int, early: bool
) -> None:
    day = "2024-07-03" if early else "2024-07-02"
    window = {
        "name": "Aligned",
        "start": f"open+{5 * start}m" if start else "open",
        "end": f"open+{5 * (start + length)}m",
        "closed": "left",
    }
    keys = {**US, "sessions": [window], "breakout": {"confirm": "close"}}
    rows = walk("XNYS", day, day, seed=seed)

    by_minute = openbell.backtest(keys, rows)
    fives = by_minute.bars(5)
    by_five = openbell.backtest({**keys, "data": {"interval": "5m"}}, fives)

    assert by_five.bars(5).equals(fives)
    assert by_five.bars(15).equals(by_minute.bars(15))
    columns = ["trading_date", "session", "symbol", "status", "high", "low", "complete"]
    assert by_five.levels.select(columns).equals(by_minute.levels.select(columns))
    assert by_five.summary["quality_pct"] == by_minute.summary["quality_pct"] == 100.0
