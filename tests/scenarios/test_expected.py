"""Whole backtests of real data against reference answers that were made without openbell."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from expected import (
    SECOND_NS,
    DerivedRow,
    Expected,
    LevelsRow,
    QualityRow,
    SignalRow,
    bars_checksum,
    instant_ns,
    load_expected,
)

import openbell
from openbell.runtime.config import Config, load_config

REPOSITORY = Path(__file__).parents[2]

CONFIGS = {
    "us_spy_1m_2024": "examples/us.yaml",
    "nse_index_1m_2021": "config.yaml",
    "ticks_nse_index_2021": "config.yaml",
}


@dataclass(frozen=True)
class Run:
    """One file's backtest beside what it should be."""

    expected: Expected
    config: Config
    result: openbell.Result


@pytest.fixture(scope="module", params=list(CONFIGS))
def run(request: pytest.FixtureRequest, shared_data: Path) -> Run:
    name: str = request.param
    expected = load_expected(shared_data, name)
    config = load_config(
        REPOSITORY / CONFIGS[name],
        overrides={"data.kind": expected.kind, "exchange": expected.exchange},
        env={},
    )
    return Run(expected, config, openbell.backtest(config, shared_data / f"{name}.parquet"))


def test_the_configuration_has_the_windows_that_the_answers_are_for(run: Run) -> None:
    windows = [(w.name, str(w.start), str(w.end)) for w in run.config.sessions]

    assert windows == [(w.name, w.start, w.end) for w in run.expected.windows]


def test_sessions_have_the_expected_levels(run: Run) -> None:
    assert sessions_of(run.result.levels) == run.expected.sessions


def test_the_expected_signals_are_found_in_the_expected_order(run: Run) -> None:
    got = signals_of(rows_of(run.result.signals))

    assert got == run.expected.signals
    assert run.result.summary["signals"] == sum(map(len, run.expected.signals.values()))


@pytest.mark.parametrize("minutes", [5, 15])
def test_derived_bars_have_the_expected_checksums(run: Run, minutes: int) -> None:
    got = derived_of(run.result.bars(minutes), minutes)

    assert got == {key: row for key, row in run.expected.derived.items() if key[2] == minutes}


def test_quality_is_as_expected(run: Run) -> None:
    got = quality_of(rows_of(run.result.quality))

    assert got == {key: row[1:] for key, row in run.expected.quality.items()}


def test_rows_are_counted_as_expected(run: Run) -> None:
    counts = run.result.summary["rows"]

    ignored = {name: counts[name] for name in ("outside_hours", "not_a_trading_day")}
    assert ignored == {name: run.expected.ignored.get(name, 0) for name in ignored}
    assert counts["used"] == sum(row.rows for row in run.expected.quality.values())
    assert counts["rows"] == counts["used"] + sum(run.expected.ignored.values())
    assert [counts[name] for name in ("duplicates", "bad_rows", "ohlc_outside", "late")] == [0] * 4
    assert run.result.summary["not_trading_days"] == {
        str(day): rows for day, rows in run.expected.not_trading_days.items()
    }
    assert run.result.summary["trading_days"] == len(run.expected.dates())
    assert run.result.summary["days_without_data"] == []


def test_the_files_of_the_command_line_hold_the_same_answers(
    shared_data: Path, tmp_path: Path
) -> None:
    expected = load_expected(shared_data, "us_spy_1m_2024")
    out = tmp_path / "out"

    config, data = REPOSITORY / "examples/us.yaml", shared_data / "us_spy_1m_2024.parquet"
    command = [sys.executable, "-m", "openbell", "backtest", "--json", "--config"]
    done = subprocess.run(
        [*command, str(config), "--data", str(data), "--out", str(out)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["signals"] == 627
    lines = [json.loads(line) for line in (out / "signals.jsonl").read_text().splitlines()]
    signals = [
        {**line, "trading_date": date.fromisoformat(line["trading_date"]), "ts": ns}
        for line in lines
        if (ns := instant_ns(line["ts"]))
    ]
    assert signals_of(signals) == expected.signals
    assert signals_of(rows_of(pq.read_table(out / "signals.parquet"))) == expected.signals
    assert sessions_of(pq.read_table(out / "levels.parquet")) == expected.sessions
    derived = {
        **derived_of(pq.read_table(out / "bars_5m.parquet"), 5),
        **derived_of(pq.read_table(out / "bars_15m.parquet"), 15),
    }
    assert derived == expected.derived
    with (out / "quality.csv").open(newline="") as file:
        quality: list[dict[str, Any]] = list(csv.DictReader(file))
    for row in quality:
        row["trading_date"] = date.fromisoformat(row["trading_date"])
    assert quality_of(quality) == {key: row[1:] for key, row in expected.quality.items()}


def rows_of(table: pa.Table) -> list[dict[str, Any]]:
    """A table's rows, instants as ns."""
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(place, field.name, table[field.name].cast("int64"))
    return list(table.to_pylist())


def sessions_of(levels: pa.Table) -> dict[tuple[date, str, str], LevelsRow]:
    """Without the sessions that have no row: the answers leave them out."""
    return {
        (row["trading_date"], row["session"], row["symbol"]): LevelsRow(
            row["high"], row["low"], row["count"], row["first_ts"], row["last_ts"]
        )
        for row in rows_of(levels)
        if row["count"]
    }


def signals_of(rows: Iterable[Mapping[str, Any]]) -> dict[date, list[SignalRow]]:
    found: dict[date, list[SignalRow]] = {}
    for row in rows:
        signal = SignalRow(*(row[name] for name in SignalRow._fields))
        found.setdefault(row["trading_date"], []).append(signal)
    return found


def derived_of(bars: pa.Table, minutes: int) -> dict[tuple[date, str, int], DerivedRow]:
    by_day: dict[tuple[date, str], list[tuple[int, float, float, float, float, float]]] = {}
    for row in rows_of(bars):
        # The hours of New York and India lie within one UTC date.
        day = datetime.fromtimestamp(row["ts"] // SECOND_NS, UTC).date()
        bar = (row["ts"], row["open"], row["high"], row["low"], row["close"], row["volume"])
        by_day.setdefault((day, row["symbol"]), []).append(bar)
    return {
        (*key, minutes): DerivedRow(len(of_day), bars_checksum(of_day))
        for key, of_day in by_day.items()
    }


def quality_of(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[date, str], tuple[float, ...]]:
    """(actual, expected, quality_pct, gaps, missing); how many rows were used isn't in it."""
    names = QualityRow._fields[1:]
    return {
        (row["trading_date"], row["symbol"]): tuple(float(row[name]) for name in names)
        for row in rows
    }
