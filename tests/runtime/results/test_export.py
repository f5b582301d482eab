"""`openbell export`: a row a minute and symbol, with what was known then."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import threading
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import OPENBELL, Command, environment
from observed import walk

import openbell
from openbell.adapters.sample import write_sample

CONFIG: dict[str, Any] = {
    "exchange": "XNYS",
    "sessions": [
        {"name": "Opening", "start": "09:30", "end": "09:44"},
        {"name": "Early, too", "start": "09:40", "end": "09:49"},
        {"name": "Afternoon", "start": "14:00", "end": "14:29"},
    ],
    "history": {
        "indicators": {
            "mean": {"type": "trailing_average", "period": "1d"},
            "usual": {
                "type": "trailing_average",
                "period": "1d",
                "granularity": "intraday",
                "field": "volume",
                "apply_to": ["BBB"],
            },
        }
    },
}


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    monkeypatch.chdir(tmp_path)
    Path("it.yaml").write_bytes(orjson.dumps(CONFIG))
    return Command(monkeypatch, capsys)


@pytest.fixture
def rows() -> pa.Table:
    """Two days, the second with an early close; AAA lacks its third minute."""
    found = walk("XNYS", "2024-07-02", "2024-07-03")
    kept = np.ones(len(found), np.bool_)
    kept[4] = False
    found = found.filter(pa.array(kept))
    pq.write_table(found, "bars.parquet")
    return found


EXPORT = ("export", "--config", "it.yaml", "--data", "bars.parquet", "--csv", "out.csv")


@pytest.fixture
def table(run: Command, rows: pa.Table) -> pd.DataFrame:
    ran = run(*EXPORT)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "1,200 rows in out.csv\n"
    return pd.read_csv("out.csv", parse_dates=["ts"])


def test_there_is_a_row_for_every_minute_and_symbol(table: pd.DataFrame) -> None:
    assert list(table.columns) == [
        *("ts", "local", "symbol", "open", "high", "low", "close", "volume"),
        *("session_active", "active_sessions"),
        *("trading_hours_open", "trading_hours_close", "is_early_close"),
        *("Opening.high", "Opening.low", "Early, too.high", "Early, too.low"),
        *("Afternoon.high", "Afternoon.low", "indicators.mean", "indicators.usual"),
    ]
    assert len(table) == 2 * (390 + 210)
    assert table.groupby("symbol").size().to_dict() == {"AAA": 600, "BBB": 600}
    assert table[["ts", "symbol"]].equals(table[["ts", "symbol"]].sort_values(["ts", "symbol"]))


def test_prices_are_those_of_the_data_and_a_missing_minute_is_empty(
    table: pd.DataFrame, rows: pa.Table
) -> None:
    given = rows.to_pandas()
    missing = table[table.close.isna()]
    names = ["symbol", "open", "high", "low", "close", "volume"]

    assert missing[["local", "symbol"]].to_numpy().tolist() == [["2024-07-02 09:32", "AAA"]]
    there = table[table.close.notna()].reset_index(drop=True)
    pd.testing.assert_frame_equal(there[names], given[names], check_dtype=False)
    assert (there.ts.astype("datetime64[ns, UTC]") == given.ts).all()


def test_hours_are_those_of_each_day(table: pd.DataFrame) -> None:
    table["day"] = table.local.str[:10]
    hours = ["trading_hours_open", "trading_hours_close", "is_early_close"]

    assert table.groupby("day")[hours].agg(["min", "max"]).to_numpy().tolist() == [
        [*["09:30"] * 2, *["16:00"] * 2, False, False],
        [*["09:30"] * 2, *["13:00"] * 2, True, True],
    ]


def test_a_minute_names_the_sessions_it_belongs_to(table: pd.DataFrame) -> None:
    of = table[table.symbol == "AAA"].set_index("local").active_sessions
    assert table.session_active.dtype == bool
    assert table.session_active.all()

    at = {wall: of[f"2024-07-02 {wall}"] for wall in ("09:30", "09:39", "09:40", "09:44", "09:45")}
    assert list(at.values()) == [
        "Opening",
        "Opening",
        "Opening|Early, too",
        "Opening|Early, too",
        "Early, too",
    ]
    assert pd.isna(of["2024-07-02 09:50"])
    assert not (of[of.index > "2024-07-03"] == "Afternoon").any()  # the day closed at 13:00


def test_levels_stand_from_the_end_of_their_session_on(table: pd.DataFrame, rows: pa.Table) -> None:
    result = openbell.backtest(CONFIG, rows)

    of = table.set_index(["local", "symbol"])
    for level in result.levels.to_pylist():
        name, symbol, day = level["session"], level["symbol"], level["trading_date"]
        known = of[(of.index.get_level_values(0).str[:10] == str(day))].xs(symbol, level=1)
        high, low = known[f"{name}.high"], known[f"{name}.low"]
        if level["high"] is None:
            assert high.isna().all()
            continue
        end = {"Opening": "09:45", "Early, too": "09:50", "Afternoon": "14:30"}[name]
        after = known.index >= f"{day} {end}"
        assert high[~after].isna().all()
        assert set(high[after]) == {level["high"]}
        assert set(low[after]) == {level["low"]}


def test_indicators_are_the_days_or_the_minutes(table: pd.DataFrame, rows: pa.Table) -> None:
    first = table[table.local < "2024-07-03"]
    second = table[table.local > "2024-07-03"]

    assert first[["indicators.mean", "indicators.usual"]].isna().all().all()
    closes = first.groupby("symbol").close.last()
    for symbol in ("AAA", "BBB"):
        of = second[second.symbol == symbol]
        assert set(of["indicators.mean"]) == {closes[symbol]}
    usual = second[second.symbol == "BBB"]["indicators.usual"].to_numpy()
    before = first[first.symbol == "BBB"].volume.to_numpy()[: len(usual)]
    assert usual.tolist() == before.tolist()
    assert second[second.symbol == "AAA"]["indicators.usual"].isna().all()


def test_ticks_are_written_as_minutes(run: Command, shared_data: Path) -> None:
    ran = run(
        *("export", "--config", "it.yaml", "--exchange", "XNSE", "--kind", "ticks"),
        *("--data", shared_data / "ticks_nse_stocks_2021.parquet", "--csv", "out.csv"),
        *("--from", "2021-04-13", "--to", "2021-04-13", "--symbols", "RELIANCE"),
    )

    assert ran.code == 0
    ticks = pq.read_table(shared_data / "ticks_nse_stocks_2021.parquet").to_pandas()
    ticks = ticks[ticks.symbol == "RELIANCE"].sort_values("ts", kind="stable")
    ticks = ticks[ticks.ts.dt.date == date(2021, 4, 13)].set_index("ts")
    by_minute = ticks.price.resample("1min")
    table = pd.read_csv("out.csv", parse_dates=["ts"]).set_index("ts")
    assert len(table) == 375
    pd.testing.assert_series_equal(
        table.close, by_minute.last().reindex(table.index), check_names=False, check_freq=False
    )
    pd.testing.assert_series_equal(
        table.high, by_minute.max().reindex(table.index), check_names=False, check_freq=False
    )


def test_nothing_is_replaced_unless_forced(run: Command, rows: pa.Table) -> None:
    Path("out.csv").write_text("mine")

    refused = run(*EXPORT)
    forced = run(*EXPORT, "--force")

    assert refused.code == 2
    assert refused.messages == [
        "out.csv: exists already; pass --force to replace it, or another file"
    ]
    assert forced.code == 0
    assert Path("out.csv").read_text().startswith('"ts","local"')


def test_a_day_that_can_not_be_read_leaves_no_file(run: Command, tmp_path: Path) -> None:
    write_sample(tmp_path / "minutes", symbols=2, days=3, seed=7, start=date(2024, 1, 2))
    broken = sorted((tmp_path / "minutes").glob("*.parquet"))[2]
    broken.write_bytes(broken.read_bytes()[:-100])

    ran = run("export", "--config", "it.yaml", "--data", "minutes", "--csv", "out.csv")

    assert ran.code == 2
    assert "2024-01-04" in ran.messages[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["it.yaml", "minutes"]


def test_a_folder_that_there_isnt_is_named(run: Command, rows: pa.Table) -> None:
    ran = run(*EXPORT[:-1], "nowhere/out.csv")

    assert ran.code == 2
    assert ran.messages == [
        "nowhere/out.csv: its folder does not exist; make it, or pass another file"
    ]


def test_standard_output_may_be_written_to_under_each_of_its_names(
    run: Command, rows: pa.Table, tmp_path: Path
) -> None:
    assert run(*EXPORT).code == 0
    expected = Path("out.csv").read_text()
    arguments = ["export", "--config", "it.yaml", "--data", "bars.parquet", "--csv"]

    for name, force in (("-", ()), ("/dev/stdout", ("--force",)), ("link", ("--force",))):
        if name == "link":
            Path("link").symlink_to("/dev/stdout")
        ran = subprocess.run(
            [*OPENBELL, *arguments, name, *force],
            capture_output=True,
            cwd=tmp_path,
            env=environment(),
            text=True,
            check=True,
        )
        assert ran.stdout == expected
        assert ran.stderr == "openbell: 1,200 rows\n"
    assert Path("/dev/stdout").is_symlink()
    assert Path("link").is_symlink()


def test_what_is_no_regular_file_is_written_through(run: Command, rows: pa.Table) -> None:
    assert run(*EXPORT).code == 0
    expected = Path("out.csv").read_text()
    os.mkfifo("fifo")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append(Path("fifo").read_text()))
    reader.start()

    ran = run(*EXPORT[:-1], "fifo", "--force")

    reader.join()
    assert (ran.code, got) == (0, [expected])
    assert stat.S_ISFIFO(Path("fifo").stat().st_mode)


def test_a_symlink_stays_one_and_its_file_keeps_its_rights(run: Command, rows: pa.Table) -> None:
    Path("there").mkdir()
    Path("there/old.csv").write_text("old")
    Path("there/old.csv").chmod(0o640)
    Path("link.csv").symlink_to("there/old.csv")

    refused = run(*EXPORT[:-1], "link.csv")
    forced = run(*EXPORT[:-1], "link.csv", "--force")

    assert (refused.code, forced.code) == (2, 0)
    assert Path("link.csv").is_symlink()
    assert Path("there/old.csv").read_text().startswith('"ts"')
    assert stat.S_IMODE(Path("there/old.csv").stat().st_mode) == 0o640
    assert sorted(path.name for path in Path("there").iterdir()) == ["old.csv"]


def test_a_folder_and_a_socket_are_no_file(run: Command, rows: pa.Table) -> None:
    Path("folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")

        said = [run(*EXPORT[:-1], name, "--force") for name in ("folder", "socket", "no/out.csv")]

    assert [ran.code for ran in said] == [2, 2, 2]
    assert [ran.messages[0].partition(";")[0] for ran in said] == [
        "folder: is a folder",
        "socket: is a device or socket, which takes no table",
        "no/out.csv: its folder does not exist",
    ]
