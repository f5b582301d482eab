"""What can be wrong with input: each says what, where and what to do, and writes nothing."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from commands import Command, run

from openbell.adapters.sample import write_dirty_sample, write_sample

ROOT = Path(__file__).parents[3]
US = """\
exchange: XNYS
sessions:
  - {name: Opening, start: 09:30, end: 09:44}
  - {name: Midday, start: 12:00, end: 12:14}
"""
HEADER = "symbol,ts,open,high,low,close,volume\n"
ROW = "SPY,2024-01-02T14:30:00Z,100,101,99,100.5,1000\n"


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two symbols, DICI and FUGA or the like, on 2024-01-02 and 2024-01-03."""
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder, symbols=2, days=2, seed=7)
    return folder


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A folder of bars with faults, and how many of each kind it has."""
    folder = tmp_path_factory.mktemp("dirty")
    _, injected = write_dirty_sample(folder, symbols=4, days=3, seed=1)
    kinds = injected.column_names[2:]
    return folder, {kind: sum(injected[kind].to_pylist()) for kind in kinds}


@pytest.fixture
def openbell(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    sample: Path,
) -> Command:
    """The command in a folder with `us.yaml` and `minutes/`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "us.yaml").write_text(US)
    shutil.copytree(sample, tmp_path / "minutes")
    return Command(monkeypatch, capsys)


Wrong = tuple[str | Path, ...]


def bars() -> Any:
    return pq.read_table("minutes/2024-01-02.parquet")


def parquet(table: Any) -> Wrong:
    pq.write_table(table, "wrong.parquet")
    return ("--data", "wrong.parquet")


def contents(change: Callable[[bytes], bytes], name: str = "wrong.parquet") -> Wrong:
    Path(name).write_bytes(change(Path("minutes/2024-01-02.parquet").read_bytes()))
    return ("--data", name)


def text(lines: str) -> Wrong:
    Path("wrong.csv").write_text(lines)
    return ("--data", "wrong.csv")


def configured(text: str, *more: str) -> Wrong:
    Path("wrong.yaml").write_text(text)
    return ("--config", "wrong.yaml", *more)


def noise(size: int) -> bytes:
    return np.random.default_rng(5).bytes(size)


def without_a_footer(whole: bytes) -> bytes:
    length = int.from_bytes(whole[-8:-4], "little")
    return whole[: -8 - length] + noise(length) + whole[-8:]


WRONG: dict[str, tuple[Callable[[], Wrong], tuple[str, ...]]] = {
    # Files
    "a missing file": (
        lambda: ("--data", "nope.parquet"),
        ("nope.parquet: no such file or folder", "check data.path, or --data if given"),
    ),
    "no data at all": (
        lambda: ("--config", "us.yaml"),
        ("us.yaml: data.path is missing", "name a file or folder"),
    ),
    "an empty folder": (
        lambda: ("--data", tempfile.mkdtemp(prefix="empty", dir=".")),
        (": the folder holds no file that can be read", "it holds nothing", "check data.path"),
    ),
    "a format nobody knows": (
        lambda: (Path("bars.dat").write_text("x"), ("--data", "bars.dat"))[1],
        ('bars.dat: format "dat" is unknown', "csv, dbn, parquet", "set data.format"),
    ),
    "a truncated Parquet file": (
        lambda: contents(lambda whole: whole[: len(whole) // 2]),
        ("wrong.parquet: is no whole Parquet file", "write it again"),
    ),
    "garbage for a Parquet file": (
        lambda: contents(lambda whole: noise(5000)),
        ("wrong.parquet: is no whole Parquet file", "write it again"),
    ),
    "an empty Parquet file": (
        lambda: contents(lambda whole: b""),
        ("wrong.parquet: is no whole Parquet file (0 bytes", "write it again"),
    ),
    "a Parquet file with a hole": (
        lambda: contents(lambda whole: whole[:2000] + noise(7000) + whole[9000:]),
        ("wrong.parquet: can't be read", "damaged"),
    ),
    "a Parquet file with another's footer": (
        lambda: contents(without_a_footer),
        ("wrong.parquet: can't be read", "damaged"),
    ),
    "a Parquet file without rows": (
        lambda: parquet(bars().slice(0, 0)),
        ("wrong.parquet has no rows", "name a file"),
    ),
    "an empty CSV file": (lambda: text(""), ("wrong.csv: is empty", "write a header line")),
    "a CSV file of a header": (lambda: text(HEADER), ("wrong.csv has no rows", "name a file")),
    "garbage for a CSV file": (
        lambda: contents(lambda whole: b"\xff" + noise(3000), "wrong.csv"),
        ("wrong.csv: can't be read", "is it CSV"),
    ),
    # Columns
    "a missing column": (
        lambda: parquet(bars().drop_columns(["close"])),
        ('wrong.parquet: no column "close"', "it has symbol, ts, open", "data.columns"),
    ),
    "a column of another type": (
        lambda: parquet(bars().set_column(5, "close", pc.greater(bars()["close"], 0))),
        ('wrong.parquet: column "close" is bool', "close must be a number", "data.columns"),
    ),
    "times that are none": (
        lambda: parquet(bars().set_column(1, "ts", pa.array(np.ones(len(bars()))))),
        ('wrong.parquet: column "ts" has numbers such as 1', "neither dates", "data.columns"),
    ),
    "bars taken for ticks": (
        lambda: ("--data", "minutes", "--kind", "ticks"),
        ('2024-01-02.parquet: no column "price", which ticks need',),
    ),
    "times without a zone in Parquet": (
        lambda: parquet(bars().set_column(1, "ts", bars()["ts"].cast(pa.timestamp("ns")))),
        ('wrong.parquet: column "ts" has times without a zone', "set data.timezone"),
    ),
    "times without a zone in CSV": (
        lambda: text(HEADER + ROW.replace("Z", "")),
        ('wrong.csv: column "ts" has times without a zone', "set data.timezone"),
    ),
    # Rows that make a file unreadable
    "a CSV row too short": (
        lambda: text(HEADER + ROW + "SPY,2024-01-02T14:31:00Z,1\n"),
        ("wrong.csv: row 2: expected 7 columns, got 3", "correct the row"),
    ),
    "a CSV row with no number": (
        lambda: text(HEADER + ROW + ROW.replace("101", "1o1")),
        ('wrong.csv: row 2: high is "1o1", not a number', "correct the row"),
    ),
    "a CSV row with no time": (
        lambda: text(HEADER + ROW + ROW.replace("2024-01-02T14:30:00Z", "noon")),
        ('wrong.csv: row 2: ts is "noon"', "write times in ISO 8601"),
    ),
    # Symbols and days
    "an unknown symbol": (
        lambda: ("--data", "minutes", "--symbols", "DICO"),
        ("minutes has no symbol 'DICO' (did you mean \"DICI\"?)", "it has 2: DICI, "),
    ),
    "an unknown companion": (
        lambda: configured(US + "companions: {DICI: DICIFUT}\n", "--data", "minutes"),
        ("minutes has no symbol 'DICIFUT', which companions names", "it has 2: DICI, "),
    ),
    "no symbols": (
        lambda: ("--data", "minutes", "--symbols", ""),
        ('--symbols is ""', "write a symbol"),
    ),
    "an empty symbol in the list": (
        lambda: ("--data", "minutes", "--symbols", "DICI,,FUGA"),
        ('--symbols is "DICI,,FUGA"', "write a symbol"),
    ),
    "a symbol twice": (
        lambda: ("--data", "minutes", "--symbols", "DICI, DICI"),
        ('--symbols is "DICI, DICI"', '"DICI" is listed twice'),
    ),
    "no data in the range": (
        lambda: ("--data", "minutes", "--from", "2024-06-03", "--to", "2024-06-10"),
        (
            "minutes has no row inside the hours of XNYS from 2024-06-03 to 2024-06-10",
            "it has rows from 2024-01-02 to 2024-01-03",
            "check the dates",
        ),
    ),
    "a range that begins when the data ends": (
        lambda: ("--data", "minutes", "--from", "2024-06-03"),
        ("minutes has no row inside the hours of XNYS from 2024-06-03;", "check the dates"),
    ),
    "a range of a holiday": (
        lambda: ("--data", "minutes", "--from", "2024-01-01", "--to", "2024-01-01"),
        ("minutes has no row inside the hours of XNYS", "check the dates"),
    ),
    "another exchange's data": (
        lambda: ("--data", "minutes", "--exchange", "XTKS"),
        ("minutes has no row inside the hours of XTKS", "check the dates, the exchange"),
    ),
    "a range that ends before it starts": (
        lambda: ("--data", "minutes", "--from", "2024-01-03", "--to", "2024-01-02"),
        ('--to is "2024-01-02"', "write a day that is not before the start, 2024-01-03"),
    ),
    "a date that is none": (
        lambda: ("--data", "minutes", "--from", "yesterday"),
        ('--from is "yesterday"', "write a date as YYYY-MM-DD"),
    ),
    "a day that there isn't": (
        lambda: ("--data", "minutes", "--to", "2024-02-30"),
        ('--to is "2024-02-30"', "there is no such day"),
    ),
    "a date before all calendars": (
        lambda: ("--data", "minutes", "--from", "1500-01-01"),
        ("XNYS: no calendar for 1500-01-01", "covers 1", "choose dates inside"),
    ),
    "a date after all calendars": (
        lambda: ("--data", "minutes", "--to", "2299-01-01"),
        ("XNYS: no calendar for 2299-01-01", "covers 1", "choose dates inside"),
    ),
    "bars that are shorter than configured": (
        lambda: configured(US + "data: {path: minutes, interval: 5m}\n"),
        ("data.interval is 5m", "on 2024-01-02 are 1m apart; write data.interval: 1m"),
    ),
    # Configuration
    "an unknown exchange": (
        lambda: ("--data", "minutes", "--exchange", "XNYC"),
        ('exchange "XNYC" is unknown', "nearest: XNYS", "use a MIC"),
    ),
    "a key misspelt": (
        lambda: configured(US.replace("exchange", "exchnage")),
        ("wrong.yaml: exchnage is not a key; did you mean exchange?",),
    ),
    "a key misspelt further down": (
        lambda: configured(US + "breakout: {confrim: touch}\n"),
        ("wrong.yaml: breakout.confrim is not a key; did you mean breakout.confirm?",),
    ),
    "a window that ends before it starts": (
        lambda: configured(US.replace("09:44", "09:20"), "--data", "minutes"),
        (
            'wrong.yaml: sessions[0], "Opening": 09:30–09:20 is empty',
            "it ends before it starts",
            "correct its times",
        ),
    ),
    "a window outside the day": (
        lambda: configured(US.replace("12:", "17:"), "--data", "minutes"),
        (
            'wrong.yaml: sessions[1], "Midday": 17:00–17:14 lies outside the hours',
            "09:30–16:00",
            "on no day of XNYS",
            "correct its times",
        ),
    ),
    "two windows of one name": (
        lambda: configured(US.replace("Midday", "Opening"), "--data", "minutes"),
        ('wrong.yaml: sessions[1].name is "Opening"', "sessions[0] has that name"),
    ),
    "no windows": (
        lambda: configured("exchange: XNYS\n", "--data", "minutes"),
        ("wrong.yaml: sessions is missing", "write e.g."),
    ),
    "a time zone that is none": (
        lambda: configured(US + "data: {path: minutes, timezone: New York}\n"),
        ('wrong.yaml: data.timezone is "New York"', "write an IANA time zone"),
    ),
    "derived bars that don't fit": (
        lambda: configured(US + "data: {path: minutes, interval: 7m}\n"),
        ("wrong.yaml: upkeep.derived_intervals[0] is 5m", "write a multiple"),
    ),
    "YAML that is none": (
        lambda: configured("exchange: [\n"),
        ("wrong.yaml: line 2, column 1", "check quotes, colons and indentation"),
    ),
    "a configuration that isn't there": (
        lambda: ("--config", "nope.yaml"),
        ("nope.yaml: no such file", "check the path"),
    ),
    "a folder for a configuration": (
        lambda: ("--config", "minutes"),
        ("minutes: a folder; name the file in it",),
    ),
    # Usage
    "a kind of data that there isn't": (
        lambda: ("--data", "minutes", "--kind", "tick"),
        ("'tick' is not one of 'bars', 'ticks'", "see openbell backtest --help"),
    ),
    "an option that there isn't": (
        lambda: ("--data", "minutes", "--form", "2024-01-02"),
        ("no such option: --form", "see openbell backtest --help"),
    ),
    "a folder for results below a file": (
        lambda: ("--data", "minutes", "--out", "us.yaml/out"),
        ("us.yaml/out: can't be written", "pass another folder to --out"),
    ),
    "no name for the folder of results": (
        lambda: ("--data", "minutes", "--out", ""),
        ('--out is ""', "write the path of a folder"),
    ),
    "a file for the folder of results": (
        lambda: ("--data", "minutes", "--out", "us.yaml"),
        ("us.yaml: can't be written", "pass another folder to --out"),
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input_is_named_with_where_and_what_to_do_and_nothing_is_written(
    wrong: str, openbell: Command, tmp_path: Path
) -> None:
    arguments = _whole(WRONG[wrong][0]())
    before = sorted(tmp_path.rglob("*"))

    ran = openbell("backtest", *arguments)

    assert ran.code == 2
    assert ran.out == ""
    (message,) = ran.messages
    for part in WRONG[wrong][1]:
        assert part in message
    assert len(message) < 400
    assert sorted(tmp_path.rglob("*")) == before


def _whole(arguments: Wrong) -> Wrong:
    """All that a run needs, beside what is wrong."""
    if "--config" not in arguments:
        arguments = ("--config", "us.yaml", *arguments)
    return arguments if "--out" in arguments else (*arguments, "--out", "out")


def test_each_mistake_of_a_configuration_has_a_line(openbell: Command) -> None:
    arguments = configured(US.replace("09:44", "9:44") + "brekout: {}\nsymbols: []\n")

    ran = openbell("backtest", *arguments)

    assert ran.code == 2
    assert len(ran.messages) == 3
    assert all(message.startswith("wrong.yaml: ") for message in ran.messages)


@pytest.mark.parametrize("wrong", ["a Parquet file with a hole", "a window outside the day"])
def test_results_that_are_there_stay_when_the_next_run_is_wrong(
    wrong: str, openbell: Command
) -> None:
    assert (
        openbell("backtest", "--config", "us.yaml", "--data", "minutes", "--out", "out").code == 0
    )
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    arguments = _whole(WRONG[wrong][0]())

    ran = openbell("backtest", *arguments, "--force")

    assert ran.code == 2
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_results_are_replaced_only_when_forced(openbell: Command) -> None:
    run = ("backtest", "--config", "us.yaml", "--data", "minutes", "--out", "out")
    assert openbell(*run, "--symbols", "DICI").code == 0
    (Path("out") / "notes.txt").write_text("mine")
    before = (Path("out") / "signals.jsonl").read_bytes()

    refused = openbell(*run)

    assert refused.code == 2
    (message,) = refused.messages
    assert "exists already; pass --force" in message
    assert (Path("out") / "signals.jsonl").read_bytes() == before

    assert openbell(*run, "--force").code == 0
    assert (Path("out") / "signals.jsonl").read_bytes() != before
    assert (Path("out") / "notes.txt").read_text() == "mine"


def test_without_a_configuration_it_says_how_to_have_one(openbell: Command) -> None:
    ran = openbell("backtest", "--data", "minutes", "--out", "out")

    assert ran.code == 2
    (message,) = ran.messages
    assert "there is no config.yaml in this folder; pass --config FILE" in message
    assert not Path("out").exists()


def test_the_folders_own_config_yaml_is_what_counts_without_one(openbell: Command) -> None:
    Path("us.yaml").rename("config.yaml")

    assert openbell("backtest", "--data", "minutes", "--out", "out").code == 0
    assert openbell("data", "check", "minutes").code == 0
    assert openbell("calendar", "--from", "2024-07-03").out.startswith("XNYS")


def test_a_window_skipped_on_some_days_only_is_in_order(openbell: Command, tmp_path: Path) -> None:
    write_sample(tmp_path / "november", symbols=1, days=3, seed=1, start=date(2024, 11, 27))
    arguments = configured(US + "  - {name: Late, start: 14:00, end: 14:14}\n")

    ran = openbell("backtest", *arguments, "--data", "november", "--json")

    late = json.loads(ran.out)["sessions"]["Late"]
    assert (late["completed"], late["skipped"]) == (2, 1)  # 2024-11-29 closes at 13:00


def test_a_window_skipped_on_a_run_of_special_days_is_in_order(
    openbell: Command, tmp_path: Path
) -> None:
    write_sample(tmp_path / "november", symbols=1, days=1, seed=1, start=date(2024, 11, 29))
    arguments = configured(US + "  - {name: Late, start: 14:00, end: 14:14}\n")

    ran = openbell("backtest", *arguments, "--data", "november", "--json")

    assert json.loads(ran.out)["sessions"]["Late"]["skipped"] == 1


def test_a_stray_date_that_no_calendar_covers_does_not_stop_the_run(openbell: Command) -> None:
    stray = bars().slice(0, 3)
    stray = stray.set_column(1, "ts", pa.array([-85 * 10**17] * 3, pa.timestamp("ns", "UTC")))
    pq.write_table(pa.concat_tables([bars(), stray]), "stray.parquet")

    ran = openbell("backtest", "--config", "us.yaml", "--data", "stray.parquet", "--json")

    account = json.loads(ran.out)
    assert account["not_trading_days"] == {"1700-08-24": 3}
    assert account["rows"]["not_a_trading_day"] == 3


def test_symbols_may_be_written_with_blanks_between(openbell: Command) -> None:
    ran = openbell(
        "backtest", "--config", "us.yaml", "--data", "minutes", "--symbols", " DICI ", "--json"
    )

    assert json.loads(ran.out)["symbols"] == ["DICI"]


# Rows inside good files


def test_each_kind_of_odd_row_is_counted_exactly(
    openbell: Command, dirty: tuple[Path, dict[str, int]]
) -> None:
    folder, injected = dirty

    ran = openbell("backtest", "--config", "us.yaml", "--data", folder, "--out", "out", "--json")

    rows = json.loads(ran.out)["rows"]
    bad = injected["nan_price"] + injected["zero_price"] + injected["high_below_low"]
    in_files = sum(pq.read_metadata(path).num_rows for path in folder.iterdir())
    assert all(injected.values())
    assert rows == {
        "rows": in_files,
        "used": in_files - bad - injected["duplicate"] - injected["outside_hours"],
        "outside_hours": injected["outside_hours"],
        "not_a_trading_day": 0,
        "duplicates": injected["duplicate"],
        "out_of_order": injected["out_of_order"],
        "late": 0,
        "bad_rows": bad,
        "ohlc_outside": injected["open_outside"] + injected["close_outside"],
    }
    with Path("out/quality.csv").open() as file:
        quality = list(csv.DictReader(file))
    for column in ("outside_hours", "duplicates", "out_of_order", "bad_rows"):
        assert sum(int(row[column]) for row in quality) == rows[column]
    missing = sum(int(row["missing"]) for row in quality)
    assert missing == injected["missing"] + bad


def test_each_kind_of_odd_row_stands_in_the_closing_table(
    openbell: Command, dirty: tuple[Path, dict[str, int]]
) -> None:
    folder, injected = dirty

    ran = openbell("backtest", "--config", "us.yaml", "--data", folder)

    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    bad = injected["nan_price"] + injected["zero_price"] + injected["high_below_low"]
    odd = injected["open_outside"] + injected["close_outside"]
    for line in (
        f"{injected['outside_hours']} outside the day's hours, ignored",
        "0 on no trading day, ignored",
        f"{injected['duplicate']} duplicate bars, one of each used",
        f"{injected['out_of_order']} out of order, used",
        f"{bad} unusable, listed in bad_rows.csv",
        f"{odd} used with open or close outside [low, high]",
    ):
        assert line in lines


def test_unusable_rows_are_listed_with_file_row_and_reason(
    openbell: Command, dirty: tuple[Path, dict[str, int]]
) -> None:
    folder, injected = dirty

    openbell("backtest", "--config", "us.yaml", "--data", folder, "--out", "out")

    with Path("out/bad_rows.csv").open() as file:
        listed = list(csv.DictReader(file))
    for kind, reason in (
        ("nan_price", "close is missing"),
        ("zero_price", "low is 0, not above 0"),
        ("high_below_low", "is below low"),
    ):
        assert sum(reason in row["reason"] for row in listed) == injected[kind]
    for row in listed:
        held = pq.read_table(row["file"]).slice(int(row["row"]) - 1, 1).to_pylist()[0]
        assert held["symbol"] == row["symbol"]
        assert f"{held['ts']:%Y-%m-%dT%H:%M:%SZ}" == row["ts"]
        assert not (held["high"] >= held["low"] > 0 and held["close"] > 0)


def test_a_run_without_unusable_rows_has_no_list_of_them(openbell: Command) -> None:
    openbell("backtest", "--config", "us.yaml", "--data", "minutes", "--out", "out")

    assert not Path("out/bad_rows.csv").exists()


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_strict_refuses_an_unusable_row_and_writes_nothing(
    openbell: Command, dirty: tuple[Path, dict[str, int]], dispatcher: str
) -> None:
    folder, _ = dirty

    ran = openbell(
        *("backtest", "--config", "us.yaml", "--data", folder, "--out", "out", "--strict"),
        *("--dispatcher", dispatcher),
    )

    assert ran.code == 2
    (message,) = ran.messages
    assert "2024-01-02.parquet, row " in message
    assert "leave out --strict" in message
    assert not Path("out").exists()


def test_strict_refuses_a_duplicate_bar_and_writes_nothing(openbell: Command) -> None:
    table = bars()
    pq.write_table(pa.concat_tables([table, table.slice(5, 1)]), "twice.parquet")

    ran = openbell(
        "backtest", "--config", "us.yaml", "--data", "twice.parquet", "--out", "out", "--strict"
    )

    assert ran.code == 2
    (message,) = ran.messages
    assert "2024-01-02: 1 duplicate bar" in message
    assert "leave out --strict" in message
    assert not Path("out").exists()


def test_strict_lets_good_rows_pass(openbell: Command) -> None:
    ran = openbell(
        "backtest", "--config", "us.yaml", "--data", "minutes", "--out", "out", "--strict"
    )

    assert ran.code == 0


def test_the_rows_of_a_csv_file_are_counted_from_below_its_header(openbell: Command) -> None:
    unusable = ROW.replace("14:30", "14:31").replace(",99,", ",0,")
    Path("bars.csv").write_text(HEADER + ROW + unusable)

    openbell("backtest", "--config", "us.yaml", "--data", "bars.csv", "--out", "out")

    assert Path("out/bad_rows.csv").read_text().splitlines() == [
        "file,row,symbol,ts,reason",
        'bars.csv,2,SPY,2024-01-02T14:31:00Z,"low is 0, not above 0"',
    ]


def test_the_same_bars_in_csv_give_the_same_files(openbell: Command) -> None:
    Path("csv").mkdir()
    for path in Path("minutes").iterdir():
        pacsv.write_csv(pq.read_table(path), f"csv/{path.stem}.csv")

    for data in ("minutes", "csv"):
        openbell("backtest", "--config", "us.yaml", "--data", data, "--out", f"out-{data}")

    for name in ("signals.jsonl", "sessions.jsonl", "levels.parquet", "bars_5m.parquet"):
        assert Path("out-csv", name).read_bytes() == Path("out-minutes", name).read_bytes()


# The disk


@pytest.mark.parametrize("blocks", [0, 1, 8])
def test_a_full_disk_is_a_failure_that_leaves_nothing(
    blocks: int, openbell: Command, tmp_path: Path
) -> None:
    ran = run(
        *("backtest", "--config", "us.yaml", "--data", "minutes", "--out", "out"),
        cwd=tmp_path,
        before=f"ulimit -f {blocks}",
    )

    assert ran.code == 1
    (message,) = ran.messages
    assert "out: results can't be written" in message
    assert "free some space" in message
    assert not Path("out").exists()


def test_a_full_disk_leaves_earlier_results_as_they_are(openbell: Command, tmp_path: Path) -> None:
    arguments = ("backtest", "--config", "us.yaml", "--data", "minutes", "--out", "out", "--force")
    openbell(*arguments, "--symbols", "DICI")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}

    ran = run(*arguments, cwd=tmp_path, before="ulimit -f 8")

    assert ran.code == 1
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before


def test_a_sample_that_finds_the_disk_full_says_so(tmp_path: Path) -> None:
    ran = run(
        "data", "sample", "--out", "minutes", "--days", "1", cwd=tmp_path, before="ulimit -f 4"
    )

    assert ran.code == 1
    (message,) = ran.messages
    assert "2024-01-02.parquet: can't be written" in message
    assert list((tmp_path / "minutes").iterdir()) == []


def test_output_that_can_not_be_written_is_a_failure_in_a_line(tmp_path: Path) -> None:
    ran = run("calendar", "XNYS", cwd=tmp_path, before="exec > /dev/full")

    assert ran.code == 1
    (message,) = ran.messages
    assert message.startswith("standard output: No space left on device")
