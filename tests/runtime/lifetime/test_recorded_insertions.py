"""Recordings of days into which symbols came: run again they give the day's answers."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from by_hand import ByHand, at
from changing import ADD, BOTH, REMOVE, ROWS, Asks, Live
from histories import history

import openbell
from openbell.messages.control import AddSymbols, RemoveSymbols
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.eras import era_on
from openbell.runtime.lifetime.keeping import Recording
from openbell.runtime.lifetime.parity import parity
from openbell.runtime.lifetime.rerunning import replay_recorded
from openbell.runtime.record.recordings import (
    ABOUT,
    OpenDay,
    RecordedHistory,
    with_what_came,
)

DAY, NEXT = date(2024, 7, 1), date(2024, 7, 2)

AGAIN: Asks = [
    (at("12:04"), ADD),
    (at("12:10"), RemoveSymbols(symbols=("B",), request="gone")),
    (at("12:25"), AddSymbols(symbols=("B",), request="again")),
]

slow = pytest.mark.slow


def lived(asks: Asks, **options: float) -> Live:
    """Two days, of which the second has one symbol's rows or the other's, as they are watched."""
    live = Live(["A"], asks, {"history": history(ROWS)}, **options)
    for symbol in "AB":
        live.run.tick(at("09:31", str(NEXT)), symbol, 100.0)
        live.run.tick(at("09:36", str(NEXT)), symbol, 101.0)
    return live


def record(run: ByHand, folder: Path) -> None:
    made = config_from(run.config)
    Recording(
        folder, run.store, lambda eras, of: made.with_determining(era_on(eras, of).config)
    ).catch_up()


def backtested(run: ByHand, folder: Path) -> openbell.Result:
    return openbell.backtest({**run.config, "data": {"kind": "ticks", "path": str(folder)}})


@pytest.mark.parametrize(
    "asks",
    [
        BOTH,
        pytest.param([(at("08:30"), ADD)], marks=slow, id="before the day is prepared"),
        pytest.param([(at("09:00:10"), ADD)], marks=slow, id="before the open"),
        pytest.param([(at("17:30"), ADD)], marks=slow, id="after the close"),
        pytest.param(AGAIN, marks=slow, id="again"),
    ],
)
def test_a_recording_gives_the_answers_of_a_day_into_which_symbols_came(
    asks: Asks, tmp_path: Path
) -> None:
    live = lived(asks)
    for when in ("09:20", "09:33", "10:20", "12:05", "12:12", "12:26"):
        live.run.do(at(when), lambda run: record(run, tmp_path))
    live.until(at("17:00", str(NEXT)))
    record(live.run, tmp_path)

    made = config_from(live.run.config)
    for day in (DAY, NEXT):
        found = parity(made, live.run.store, day, tmp_path)
        assert found.recording.first is None, found.recording
        assert found.recording.of > 5
        assert found.in_order.first is None, found.in_order
        assert parity(made, live.run.store, day).recording == found.recording
    again = backtested(live.run, tmp_path).signals.to_pylist()
    assert [(of["id"], of["backfilled"]) for of in again] == live.run.signals()
    assert all(of.result(0).done for of in live.answers.values())


@slow
def test_rows_of_a_recording_count_once_where_a_symbol_went_and_came_again(tmp_path: Path) -> None:
    live = lived(AGAIN).until(at("13:00"))
    record(live.run, tmp_path)

    day = OpenDay(tmp_path, DAY)
    came = with_what_came(day)

    theirs = [ts for symbol, ts, _ in ROWS if symbol == "B"]
    of_b = came.code == came.symbols.index("B")
    assert np.sort(came.ts[of_b]).tolist() == [round(ts * 1e9) for ts in theirs]
    assert day.about.symbols == ("A",)
    assert day.about.every == day.about.register(day.about.last) == ("A", "B")
    past = RecordedHistory(tmp_path).between(day.about.day.open_ns, day.about.day.close_ns)
    assert past is not None
    assert len(past[1]) == len(came)


@slow
def test_a_recorded_day_can_be_looked_at_after_symbols_came(tmp_path: Path) -> None:
    live = lived(BOTH).until(at("17:00"))
    record(live.run, tmp_path)

    found = replay_recorded(config_from(live.run.config), tmp_path, DAY, "12:10")

    assert any(" B " in line for line in found.show("levels"))


@slow
def test_a_recording_that_ends_while_symbols_are_loaded_goes_on_without(tmp_path: Path) -> None:
    live = lived([(at("12:04"), ADD), (at("12:04:01"), REMOVE)], takes=5.0)
    live.run.do(at("12:04:03"), lambda run: record(run, tmp_path))
    live.until(at("13:00"))

    result = backtested(live.run, tmp_path)

    assert {of["symbol"] for of in result.signals.to_pylist()} == {"A"}
    assert result.summary["trading_days"] == 1


@slow
def test_a_recording_tells_what_the_configuration_named(tmp_path: Path) -> None:
    live = lived(BOTH).until(at("17:00", str(NEXT)))
    record(live.run, tmp_path)

    for day, register in ((DAY, ["A"]), (NEXT, ["B"])):
        about = json.loads(pq.read_schema(tmp_path / f"{day}.marks").metadata[ABOUT])
        assert about["configured"] == ["A"]
        assert about["symbols"] == register
