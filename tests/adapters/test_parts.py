"""Days that are written one by one: together they are the folder of a run that wrote them all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from drawn_results import DAY, day_result, documents, signal_batches, some_bars
from hypothesis import given, settings
from hypothesis import strategies as st

from openbell.adapters.sinks import files
from openbell.adapters.sinks.files import DayResult, RunFiles
from openbell.adapters.sinks.parts import DayParts
from openbell.adapters.sinks.tally import REASONS_MAX, Tally
from openbell.errors import InputError, RunError
from openbell.market.bars import BadRow

INTERVALS = (5, 15)
RUN = {"name": "bot", "configuration": "digest"}
BAD = BadRow(file='a "b", c.parquet', row=3, symbol="NIFTY", ts_ns=0, reason="close is missing")


def opened(out: Path, **more: Any) -> DayParts:
    return DayParts(out, INTERVALS, **{"run": RUN, **more})


def account(tally: Tally) -> Mapping[str, Any]:
    return asdict(tally)


def content(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


# Tallies


@st.composite
def tallies(draw: st.DrawFn, day: date) -> Tally:
    def counts(*names: str) -> dict[str, int]:
        return {name: draw(st.integers(0, 9)) for name in names}

    if draw(st.booleans()):
        return Tally(without_data=[day])
    tally = Tally(
        days=[day],
        expected=draw(st.integers(0, 9)),
        actual=draw(st.integers(0, 9)),
        sessions={
            name: counts("completed", "HIGH_BREAK")
            for name in draw(st.lists(st.sampled_from(["Opening", "Lunch"]), unique=True))
        },
        possible_splits=[{"trading_date": str(day), "open": draw(st.floats(0.1, 1e9))}],
        indicators={
            name: {
                **counts("days", "values", "nulls"),
                "reasons": draw(st.lists(st.text(max_size=2), max_size=REASONS_MAX)),
            }
            for name in draw(st.lists(st.sampled_from(["high", "low"]), unique=True))
        },
    )
    tally.counts.update(counts("rows", "used", "late"))
    return tally


def summed(several: list[Tally]) -> Tally:
    total = Tally()
    for one in several:
        total.add(one)
    return total


@given(st.data())
def test_days_come_to_the_same_however_they_are_grouped(data: st.DataObject) -> None:
    several = [data.draw(tallies(DAY + timedelta(days=n))) for n in range(5)]
    before = [asdict(tally) for tally in several]
    cut = data.draw(st.integers(0, 5))

    grouped = summed([summed(several[:cut]), summed(several[cut:])])

    assert grouped == summed(several)
    assert [asdict(tally) for tally in several] == before, "what is added stays as it is"
    whole = asdict(grouped)
    assert whole["days"] + whole["without_data"] != []
    assert whole["counts"]["rows"] == sum(tally.counts["rows"] for tally in several)
    for of in whole["indicators"].values():
        assert len(of["reasons"]) <= REASONS_MAX


# Put together


@st.composite
def days(draw: st.DrawFn, day: date) -> DayResult:
    """Anything that a day may yield: no signal, no bar, text that needs escaping."""
    batches = draw(st.lists(signal_batches(), max_size=2))
    bars = draw(st.integers(0, 4))
    return replace(
        day_result((day - DAY).days, bad=draw(st.sampled_from([(), (BAD,), (BAD, BAD)]))),
        documents=tuple(
            replace(document, trading_date=day)
            for document in draw(st.lists(documents(), max_size=2))
        ),
        signals=tuple(replace(batch, trading_date=day) for batch in batches),
        bars={minutes: (some_bars(minutes, bars, 0),) if bars else () for minutes in INTERVALS},
        tally=replace(draw(tallies(day)), days=[day], without_data=[]),
    )


@settings(max_examples=25)
@given(data=st.data())
def test_days_written_one_by_one_are_the_bytes_of_one_run(data: st.DataObject) -> None:
    several = [
        data.draw(days(DAY + timedelta(days=n))) for n in range(data.draw(st.integers(1, 4)))
    ]
    order = data.draw(st.permutations(several))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(files, "ROW_GROUP", 5)
        whole, out = Path(folder, "whole"), Path(folder, "out")
        with RunFiles(whole, INTERVALS) as run:
            for day in several:
                run.write_day(day)
            run.finish(account(summed([day.tally for day in several])))

        for day in order:
            written = opened(out)  # as if each were a process of its own
            written.write_day(day)
        written.put_together(account)

        assert content(out) == content(whole)
        assert opened(out).written() == {day.trading_date for day in several}


def test_days_without_data_are_counted_and_write_no_files(tmp_path: Path) -> None:
    out = opened(tmp_path)
    nothing = Tally(without_data=[DAY])
    nothing.counts["rows"] = nothing.counts["outside_hours"] = 7
    out.write_day_without_data(DAY, nothing)
    out.put_together(account)
    assert content(tmp_path) == {}, "there is no day yet"

    out.write_day(day_result(1))
    out.put_together(account)

    assert out.written() == {DAY, DAY + timedelta(days=1)}
    told = orjson.loads((tmp_path / "summary.json").read_bytes())
    assert (told["without_data"], told["counts"]["outside_hours"]) == ([str(DAY)], 7)
    assert (tmp_path / "sessions.jsonl").read_bytes().count(b"\n") == 2


def test_a_day_that_is_written_again_is_replaced(tmp_path: Path) -> None:
    out = opened(tmp_path)
    out.write_day(day_result(0, signals=40))

    out.write_day(day_result(0, signals=6))
    out.put_together(account)

    assert (tmp_path / "signals.jsonl").read_bytes().count(b"\n") == 6


def test_files_on_top_are_renewed_in_a_share_of_the_time(tmp_path: Path) -> None:
    now = 0.0
    renewals: list[float] = []

    def slow(tally: Tally) -> Mapping[str, Any]:
        nonlocal now
        renewals.append(now)
        now += 5.0
        return account(tally)

    out = opened(tmp_path, now=lambda: now)
    out.write_day(day_result(0))
    for _ in range(100):
        now += 1.0
        out.renew(slow)

    # 5 s each: after 1 s, and then whenever that makes a tenth of the time so far.
    assert renewals == [1.0, 50.0, 100.0]


# What is found in the folder


def test_what_was_left_unfinished_is_no_day_and_goes_with_its_next_writing(tmp_path: Path) -> None:
    out = opened(tmp_path)
    out.write_day(day_result(0))
    left = tmp_path / ".days" / f"{DAY + timedelta(days=1)}.{os.getpid() + 1}.part"
    shutil.copytree(tmp_path / ".days" / str(DAY), left)
    (tmp_path / ".days" / "notes.txt").touch()

    assert out.written() == {DAY}
    out.put_together(account)
    assert (tmp_path / "sessions.jsonl").read_bytes().count(b"\n") == 2

    out.write_day(day_result(1))
    assert not left.exists()
    assert out.written() == {DAY, DAY + timedelta(days=1)}


@pytest.mark.parametrize("file", ["account.json", "levels.parquet", "quality.csv"])
@pytest.mark.parametrize("keeps", [0.0, 0.5, 1.0])
def test_a_day_that_is_not_what_was_written_is_told_and_counts_as_not_there(
    file: str, keeps: float, tmp_path: Path
) -> None:
    told: list[str] = []
    out = opened(tmp_path, say=told.append)
    for number in range(3):
        out.write_day(day_result(number))
    spoilt = tmp_path / ".days" / str(DAY + timedelta(days=1)) / file
    data = spoilt.read_bytes()
    spoilt.write_bytes(data[: int(keeps * len(data))] + b"x" * (keeps == 1.0))

    with pytest.raises(RunError, match=f"{spoilt.parent}: {file} .*; remove that folder and start"):
        out.put_together(account)
    assert out.written() == {DAY, DAY + timedelta(days=2)}
    (notice,) = told
    assert notice.startswith(f"{spoilt.parent}: {file} ")
    out.put_together(account)  # while the day is run again
    out.write_day(day_result(1))
    out.put_together(account)

    assert len(out.written()) == 3
    assert (tmp_path / "sessions.jsonl").read_bytes().count(b"\n") == 6


@pytest.mark.parametrize("key", RUN)
def test_days_of_another_run_are_refused(key: str, tmp_path: Path) -> None:
    opened(tmp_path).write_day(day_result(0))

    with pytest.raises(InputError, match=f"of a run with another {key}; name another --out"):
        opened(tmp_path, run={**RUN, key: "other"}).written()


def test_a_run_that_begins_finds_no_days(tmp_path: Path) -> None:
    out = opened(tmp_path)
    out.begin()
    out.write_day(day_result(0))

    with pytest.raises(InputError, match="holds days of a run whose state is gone; empty it"):
        out.begin()


def test_results_of_a_backtest_are_not_replaced(tmp_path: Path) -> None:
    with RunFiles(tmp_path, INTERVALS) as run:
        run.finish({})

    with pytest.raises(InputError, match="holds results of something else than this run"):
        opened(tmp_path)
