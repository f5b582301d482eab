"""`openbell data quality`, and runs that do not measure quality."""

from __future__ import annotations

import csv
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import Command, at_terminal
from observed import walk

import openbell
from openbell.adapters.sample import write_sample

US = {"exchange": "XNYS", "sessions": [{"name": "Opening", "start": "09:30", "end": "09:44"}]}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)


@pytest.fixture
def holes() -> pa.Table:
    """Two symbols and two days; AAA lacks 10:00 to 10:09 and 15:59 of the second."""
    rows = walk("XNYS", "2024-07-01", "2024-07-02")
    minute = pc.cast(rows["ts"], pa.int64()).to_numpy() // (60 * 10**9)
    ten = 1719928800 // 60
    gone = ((minute >= ten) & (minute < ten + 10)) | (minute == ten + 359)
    rows = rows.filter(pc.invert(pc.and_(pa.array(gone), pc.equal(rows["symbol"], "AAA"))))
    pq.write_table(rows, "holes.parquet")
    return rows


def test_json_has_every_day_and_symbol_with_its_gaps(run: Command, holes: pa.Table) -> None:
    ran = run("data", "quality", "holes.parquet", "--exchange", "XNYS", "--json")

    lines = [orjson.loads(line) for line in ran.out.splitlines()]
    assert (ran.code, ran.err) == (0, "")
    assert [(line["trading_date"], line["symbol"]) for line in lines] == [
        (day, symbol) for day in ("2024-07-01", "2024-07-02") for symbol in ("AAA", "BBB")
    ]
    worst = lines[2]
    assert (worst["expected"], worst["actual"], worst["missing"]) == (390, 379, 11)
    assert worst["quality_pct"] == 97.1795
    assert worst["gaps"] == [
        {"from": "2024-07-02T14:00:00Z", "to": "2024-07-02T14:10:00Z", "missing": 10},
        {"from": "2024-07-02T19:59:00Z", "to": "2024-07-02T20:00:00Z", "missing": 1},
    ]
    for line in lines:
        assert line["traded"] + line["idle"] + line["missing"] == line["expected"]
        day, symbol = line["trading_date"], line["symbol"]
        traded = [
            row["volume"] > 0
            for row in holes.to_pylist()
            if row["symbol"] == symbol and str(row["ts"].date()) == day
        ]
        assert line["traded"] == sum(traded)


def test_the_map_has_a_row_a_symbol_and_a_column_a_day(run: Command, holes: pa.Table) -> None:
    ran = run("data", "quality", "holes.parquet", "--exchange", "XNYS")

    rows = [line.split() for line in ran.out.splitlines()]
    assert ["AAA", "100", "97"] in rows
    assert ["BBB", "100", "100"] in rows
    assert rows.index(["AAA", "100", "97"]) < rows.index(["BBB", "100", "100"])  # worst first
    assert "2024-07-02 AAA: 10:00–10:10 missing, 10 minutes" in ran.out
    assert "2024-07-02 AAA: 15:59–16:00 missing, 1 minute" in ran.out
    assert "0.71 % missing" in ran.out


def test_an_index_tells_nothing_of_traded_minutes(run: Command, shared_data: Path) -> None:
    of = ("data", "quality", shared_data / "nse_index_1m_2021.parquet", "--exchange", "XNSE")
    ran = run(*of, "--from", "2021-02-24", "--to", "2021-02-24", "--json")
    shown = run(*of, "--from", "2021-02-23", "--to", "2021-02-25")

    lines = [orjson.loads(line) for line in ran.out.splitlines()]
    assert [(line["traded"], line["idle"], line["expected"]) for line in lines] == [
        (None, None, 465)
    ] * 2
    (outage,) = (gap for gap in lines[0]["gaps"] if gap["missing"] > 100)
    assert outage["from"] == "2021-02-24T04:38:00Z"
    assert "there, volume unknown" in shown.out


def test_ticks_have_a_map_too(run: Command, shared_data: Path) -> None:
    ran = run(
        *("data", "quality", shared_data / "ticks_nse_stocks_2021.parquet"),
        *("--kind", "ticks", "--exchange", "XNSE", "--from", "2021-04-12", "--json"),
    )

    lines = [orjson.loads(line) for line in ran.out.splitlines()]
    assert len(lines) == 2 * 6
    assert all(line["traded"] + line["idle"] + line["missing"] == 375 for line in lines)


def test_a_day_without_data_is_on_the_map(run: Command, holes: pa.Table) -> None:
    rows = walk("XNYS", "2024-07-01", "2024-07-05")
    day = rows["ts"].to_pandas().dt.date
    pq.write_table(rows.filter(pa.array(day != date(2024, 7, 2))), "no_second.parquet")

    ran = run("data", "quality", "no_second.parquet", "--exchange", "XNYS")

    assert ["AAA", "100", "–", "100", "100"] in [line.split() for line in ran.out.splitlines()]


def test_what_is_cut_from_a_large_map_is_said(run: Command, tmp_path: Path) -> None:
    write_sample(tmp_path / "minutes", symbols=45, days=33, seed=7, start=date(2024, 1, 2))

    whole = run("data", "quality", "minutes", "--exchange", "XNYS")
    part = run(
        *("data", "quality", "minutes", "--exchange", "XNYS", "--from", "2024-02-12"),
        *("--symbols", "DICI,FUGA"),
    )

    assert "… and 5 symbols that lack no more; --symbols names others" in whole.out
    assert "… and 2 days more, from 2024-02-15; --from shows them" in whole.out
    assert "…" not in part.out
    assert "5 trading days, 2 symbols" in part.out


def test_a_terminal_has_colours_and_no_more_days_than_fit(run: Command, holes: pa.Table) -> None:
    for columns in (60, 12):
        ran = at_terminal(
            *("data", "quality", "holes.parquet", "--exchange", "XNYS"),
            cwd=Path(),
            columns=columns,
        )
        assert ran.code == 0
    assert "… and 1 day more, from 2024-07-02" in ran.out.replace("\n", " ")


def test_a_symbol_that_there_isnt_is_named(run: Command, holes: pa.Table) -> None:
    ran = run("data", "quality", "holes.parquet", "--exchange", "XNYS", "--symbols", "AAB")

    assert ran.code == 2
    assert "has no symbol 'AAB'" in ran.messages[0]


# Not measured


def test_quality_that_is_not_measured_is_whole_and_marked(
    run: Command, holes: pa.Table, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {**US, "history": {"enable_quality": False}}

    result = openbell.backtest(keys, holes, out=tmp_path / "out")
    measured = openbell.backtest(US, holes)

    assert (result.summary["quality"], result.summary["quality_pct"]) == ("not measured", 100.0)
    assert measured.summary["quality"] == "measured"
    assert measured.summary["quality_pct"] < 100
    with (tmp_path / "out/quality.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["quality_pct"], row["gaps"], row["missing"]) for row in rows} == {
        ("100.0", "0", "0")
    }
    assert result.signals.equals(measured.signals)


def test_the_closing_line_says_that_quality_was_not_measured(run: Command, holes: pa.Table) -> None:
    Path("it.yaml").write_bytes(orjson.dumps({**US, "history": {"enable_quality": False}}))

    ran = run("backtest", "--config", "it.yaml", "--data", "holes.parquet")

    assert "Quality not measured, " in ran.out
