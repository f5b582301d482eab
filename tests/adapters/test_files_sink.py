"""The `--out` folder: complete, or as it was before."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from drawn_results import DAY, OPEN_NS, SYMBOLS, day_result, some_bars

from openbell.adapters.sinks.files import ROW_GROUP, DayResult, RunFiles
from openbell.adapters.tables import (
    BARS_SCHEMA,
    LEVELS_SCHEMA,
    QUALITY_SCHEMA,
    SIGNALS_SCHEMA,
    bars_table,
    day_signals,
    decoded,
    levels_table,
    signals_table,
)
from openbell.errors import InputError, RunError
from openbell.market.bars import BadRow
from openbell.market.results import DerivedBars

FILES = {
    "signals.jsonl",
    "signals.parquet",
    "sessions.jsonl",
    "levels.parquet",
    "bars_5m.parquet",
    "bars_15m.parquet",
    "quality.csv",
    "summary.json",
}


def write(out: Path, *days: DayResult, force: bool = False) -> None:
    with RunFiles(out, (5, 15), force) as files:
        for day in days:
            files.write_day(day)
        files.finish({"days": len(days)})


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def objects(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """Stands for a full disk: every write beyond `size` bytes of a file fails."""
    resource = pytest.importorskip("resource", reason="file sizes can't be limited here")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_run_leaves_its_files_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "new" / "out", day_result(0), day_result(1))

    assert set(content(tmp_path / "new" / "out")) == FILES
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if name.startswith("openbell-files")]


def test_signals_are_written_in_the_order_of_time_symbol_session_and_side(tmp_path: Path) -> None:
    days = day_result(0), day_result(1)

    write(tmp_path, *days)

    signals = objects(tmp_path / "signals.jsonl")
    keys = [(s["trading_date"], s["ts"], s["symbol"], s["session"], s["side"]) for s in signals]
    assert len(keys) == 80
    assert keys == sorted(keys)
    table = pq.read_table(tmp_path / "signals.parquet")
    assert table.equals(decoded(signals_table([day_signals(day.signals) for day in days])))
    assert table["id"].to_pylist() == [signal["id"] for signal in signals]


def test_a_document_names_the_signals_of_its_session(tmp_path: Path) -> None:
    write(tmp_path, day_result(0), day_result(1))

    signals = objects(tmp_path / "signals.jsonl")
    documents = objects(tmp_path / "sessions.jsonl")
    assert [(d["trading_date"], d["session_name"]) for d in documents] == [
        ("2025-08-26", "Morning Opening"),
        ("2025-08-26", "Lunch Break"),
        ("2025-08-27", "Morning Opening"),
        ("2025-08-27", "Lunch Break"),
    ]
    for document in documents:
        assert document["signals_generated"] == [
            signal["id"]
            for signal in signals
            if (signal["trading_date"], signal["session"])
            == (document["trading_date"], document["session_name"])
        ]


def test_levels_and_bars_read_as_the_tables(tmp_path: Path) -> None:
    day = day_result(0)

    write(tmp_path, day)

    levels = pq.read_table(tmp_path / "levels.parquet")
    assert levels.equals(decoded(levels_table(day.documents, SYMBOLS)))
    for minutes in (5, 15):
        bars = pq.read_table(tmp_path / f"bars_{minutes}m.parquet")
        assert bars.equals(decoded(bars_table(day.bars[minutes])))
        assert bars.schema.field("ts").type == pa.timestamp("ns", "UTC")
        assert bars.schema.field("symbol").type == pa.string()


def test_polars_reads_the_parquet_files(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    day = day_result(0)

    write(tmp_path, day)

    bars = polars.read_parquet(tmp_path / "bars_5m.parquet")
    assert bars["close"].to_list() == day.bars[5][0].close.tolist()
    assert len(polars.read_parquet(tmp_path / "signals.parquet")) == 40


def test_quality_is_a_csv_file_with_a_line_a_day_and_symbol(tmp_path: Path) -> None:
    write(tmp_path, day_result(0), day_result(1))

    rows = list(csv.reader((tmp_path / "quality.csv").read_text().splitlines()))
    assert rows[0] == QUALITY_SCHEMA.names
    zeros = ["0"] * 5
    assert rows[1] == ["2025-08-26", "NIFTY", "375", "375", "100.0", "0", "0", *zeros]
    assert rows[2] == ["2025-08-26", 'BANK "X", Y', "375", "374", "99.7333", "0", "1", *zeros]
    assert rows[3] == ["2025-08-26", "ABB", "375", "0", "0.0", "0", "375", *zeros]
    assert len(rows) == 7


def test_bad_rows_have_a_file_only_when_there_are_any(tmp_path: Path) -> None:
    first = BadRow("minutes/a,b.csv", 17, "NIFTY", OPEN_NS, "high below low")
    second = BadRow("minutes/c.csv", 1, "ABB", OPEN_NS + 500_000_000, "close is NaN")

    write(tmp_path, day_result(0, bad=(first,)), day_result(1), day_result(2, bad=(second,)))

    assert (tmp_path / "bad_rows.csv").read_text() == (
        "file,row,symbol,ts,reason\n"
        '"minutes/a,b.csv",17,NIFTY,2025-08-26T03:45:00Z,high below low\n'
        "minutes/c.csv,1,ABB,2025-08-26T03:45:00.5Z,close is NaN\n"
    )


def test_the_summary_is_written_as_it_was_given(tmp_path: Path) -> None:
    summary = {"signals": np.int64(3), "range": [DAY, None], "timing": {"wall_seconds": 0.5}}

    with RunFiles(tmp_path, (5,)) as files:
        files.finish(summary)

    assert json.loads((tmp_path / "summary.json").read_text()) == {
        "signals": 3,
        "range": ["2025-08-26", None],
        "timing": {"wall_seconds": 0.5},
    }


def test_a_run_without_days_has_all_files_with_their_columns(tmp_path: Path) -> None:
    write(tmp_path)

    assert set(content(tmp_path)) == FILES
    assert (tmp_path / "signals.jsonl").read_bytes() == b""
    for name, schema in {
        "signals": SIGNALS_SCHEMA,
        "levels": LEVELS_SCHEMA,
        "bars_5m": BARS_SCHEMA,
    }.items():
        table = pq.read_table(tmp_path / f"{name}.parquet")
        assert len(table) == 0
        assert table.schema == decoded(schema.empty_table()).schema


def test_a_day_without_signals_or_bars_is_no_trouble(tmp_path: Path) -> None:
    write(tmp_path, replace(day_result(0), signals=(), bars={}), day_result(1, signals=0, bars=0))

    assert (tmp_path / "signals.jsonl").read_bytes() == b""
    assert len((tmp_path / "sessions.jsonl").read_text().splitlines()) == 4


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    bad = BadRow("a.csv", 1, "ABB", OPEN_NS, "close is NaN")
    for name in ("one", "two"):
        write(tmp_path / name, day_result(0), day_result(1, bad=(bad,)))

    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_the_order_in_which_a_day_s_signals_came_does_not_matter(tmp_path: Path) -> None:
    day = day_result(0)

    write(tmp_path / "one", day)
    write(tmp_path / "two", replace(day, signals=day.signals[::-1]))

    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_small_days_share_a_row_group_and_large_ones_are_not_cut(tmp_path: Path) -> None:
    large = ROW_GROUP + 10

    write(
        tmp_path, *(day_result(number, bars=30) for number in range(3)), day_result(3, bars=large)
    )
    write(tmp_path / "large", day_result(0, bars=large), day_result(1, bars=30))

    assert pq.read_metadata(tmp_path / "bars_5m.parquet").num_row_groups == 1
    metadata = pq.read_metadata(tmp_path / "large" / "bars_5m.parquet")
    assert [metadata.row_group(n).num_rows for n in range(2)] == [large, 30]


@pytest.mark.parametrize(
    "name", ["signals.jsonl", "summary.json", "bad_rows.csv", "bars_30m.parquet"]
)
def test_results_of_an_earlier_run_are_refused_without_force(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")

    with pytest.raises(InputError, match=r"exists already; pass force=True") as refused:
        RunFiles(tmp_path, (5, 15))

    assert str(tmp_path / name) in str(refused.value)
    assert content(tmp_path) == {name: b"mine"}


def test_with_force_an_earlier_run_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    write(tmp_path, day_result(0, bad=(BadRow("a.csv", 1, "ABB", OPEN_NS, "close is NaN"),)))
    (tmp_path / "bars_30m.parquet").write_text("of an earlier run with other intervals")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "my_bars_5m.parquet").write_text("mine")

    write(tmp_path, day_result(1), force=True)

    assert set(content(tmp_path)) == FILES | {"notes.txt", "my_bars_5m.parquet"}
    write(tmp_path / "fresh", day_result(1))
    fresh = content(tmp_path / "fresh")
    assert {name: (tmp_path / name).read_bytes() for name in FILES} == fresh


def test_an_earlier_run_stays_whole_until_the_new_one_is_complete(tmp_path: Path) -> None:
    write(tmp_path, day_result(0))
    before = content(tmp_path)

    with RunFiles(tmp_path, (5, 15), force=True) as files:
        files.write_day(day_result(1))

    assert content(tmp_path) == before


def test_files_that_appear_during_a_run_are_not_overwritten(tmp_path: Path) -> None:
    with RunFiles(tmp_path, (5, 15)) as files:
        files.write_day(day_result(0))
        (tmp_path / "signals.jsonl").write_text("of another run")
        with pytest.raises(InputError, match=r"signals\.jsonl: exists already"):
            files.finish({})

    assert content(tmp_path) == {"signals.jsonl": b"of another run"}


def test_an_abandoned_run_leaves_nothing_behind(tmp_path: Path) -> None:
    files = RunFiles(tmp_path / "new" / "out", (5, 15))
    files.write_day(day_result(0))

    files.abandon()
    files.abandon()

    assert list(tmp_path.iterdir()) == []


def test_an_abandoned_run_leaves_a_folder_that_was_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")

    def interrupted() -> None:
        with RunFiles(tmp_path, (5, 15)) as files:
            files.write_day(day_result(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert content(tmp_path) == {"notes.txt": b"mine"}


def test_abandoning_after_the_end_removes_nothing(tmp_path: Path) -> None:
    files = RunFiles(tmp_path, (5, 15))
    files.finish({})

    files.abandon()

    assert set(content(tmp_path)) == FILES


def test_an_out_that_can_t_be_made_is_the_user_s_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")

    for out in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(InputError, match=r"can't be written .*; pass another out="):
            RunFiles(out, (5, 15))

    assert content(tmp_path) == {"file": b"mine"}


def test_a_folder_in_the_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "signals.jsonl").mkdir()

    with pytest.raises(InputError, match=r"signals\.jsonl: is a folder"):
        RunFiles(tmp_path, (5, 15), force=True)


@pytest.mark.parametrize(("signals", "bars"), [(3_000, 6), (4, 20_000), (300, 400)])
def test_a_full_disk_ends_the_run_and_leaves_nothing_half_written(
    tmp_path: Path, signals: int, bars: int
) -> None:
    out = tmp_path / "out"
    days = [day_result(number, signals, bars) for number in range(8)]

    with files_no_longer_than(20_000), pytest.raises(RunError) as failed:
        write(out, *days)

    assert str(out) in str(failed.value)
    assert "free some space there" in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_in_the_background_is_raised_and_stays(tmp_path: Path) -> None:
    broken: dict[int, tuple[DerivedBars, ...]] = {5: (replace(some_bars(5, 4), open=np.zeros(3)),)}

    with RunFiles(tmp_path / "out", (5,)) as files:
        files.write_day(replace(day_result(0), bars=broken))
        for _ in range(2):
            with pytest.raises(ValueError, match="same length"):
                files.finish({})

    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_hidden_is_removed_by_the_next(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    child.wait()
    left = tmp_path / f".openbell-{child.pid}-abc"
    mine = tmp_path / f".openbell-{os.getpid()}-abc"
    for folder in (left, mine):
        folder.mkdir()

    RunFiles(tmp_path, (5,)).abandon()

    assert not left.exists()
    assert mine.exists()
