"""`openbell record`, `run --record` and `parity` at the command line, over a real stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from by_hand import at
from commands import Command
from feed_places import Place
from redis_server import RedisServer
from store_places import server_binary

from openbell.runtime.record.recordings import read_day

DAY = date(2024, 7, 1)
CONFIG: dict[str, Any] = {
    "name": "bot",
    "exchange": "XNYS",
    "symbols": ["A", "B"],
    "sessions": [{"name": "Morning", "start": "09:30", "end": "09:34"}],
    "data": {"kind": "ticks"},
    "clock": {"time": "feed"},
    "store": {"url": "sqlite:///state.db"},
}


@pytest.fixture
def openbell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """A past day: forty ticks, one minutes late, one of an unknown symbol, and its end."""
    with RedisServer(server_binary()) as server:
        place = Place(server, "ticks")
        for n in range(40):
            ts = datetime.fromtimestamp(at("09:30:05") + 12 * n - 300 * (n == 35), UTC)
            price = 100 + n % 5 + n // 25
            place.write({"symbol": "AB"[n % 2], "ts": ts.isoformat(), "price": price})
        place.write({"symbol": "C", "ts": ts.isoformat(), "price": 1}, {"nonsense": 1})
        place.write({"end": str(DAY)})
        yield place


@pytest.fixture
def config(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.chdir(tmp_path)
    days = {"start": str(DAY), "end": str(DAY)}
    made = {**CONFIG, "feed": {"type": "redis", **days, "options": place.given}}
    Path("config.yaml").write_text(yaml.safe_dump(made))
    return made


def test_a_run_that_is_recorded_is_backtested_and_held_against_it(
    openbell: Command, config: dict[str, Any]
) -> None:
    ran = openbell("run", "--record", "days")
    again = openbell("backtest", "--data", "days", "--out", "again", "--json")
    held = openbell("parity", "--date", "2024-07-01", "--recording", "days", "--json")

    assert ran.code == again.code == held.code == 0
    signals = [json.loads(line) for line in openbell("signals", "--json").out.splitlines()]
    assert json.loads(again.out)["signals"] == len(signals) > 0
    told = json.loads(held.out)
    assert told["recording"]["first"] is None
    assert told["in_time_order"]["first"] is not None
    about = read_day(Path("days"), DAY).about
    assert (about.rows, about.not_used["unknown_symbols"]) == (40, {"C": 1})
    assert sum(about.not_used["refused"].values()) == 1


def test_a_recorded_day_is_replayed_without_its_store(
    openbell: Command, config: dict[str, Any]
) -> None:
    openbell("run", "--record", "days")
    asked = ("replay", "--date", "2024-07-01", "--until", "09:33", "--show", "levels")
    stored = openbell(*asked)
    Path("state.db").rename("elsewhere.db")

    recorded = openbell(*asked, "--recording", "days")
    whole = openbell("replay", "--date", "2024-07-01", "--recording", "days")
    unknown = openbell("replay", "--date", "2024-07-02", "--recording", "days")

    assert recorded.out == stored.out != ""
    assert "gone through as they were recorded" in whole.out
    assert unknown.code == 2
    assert "it has 2024-07-01 to 2024-07-01" in unknown.err


def test_parity_makes_a_recording_of_the_store_where_there_is_none(
    openbell: Command, config: dict[str, Any]
) -> None:
    openbell("run")

    held = openbell("parity", "--date", "2024-07-01")

    assert held.code == 0
    assert "the live day and its recording: 100 %" in held.out
    assert "the live day and the day in time order: " in held.out


def test_a_live_day_that_differs_from_its_recording_is_told_by_the_exit_code(
    openbell: Command, config: dict[str, Any]
) -> None:
    openbell("run", "--record", "days")
    rows = pq.read_table("days/2024-07-01.parquet")
    higher = pc.add(rows["price"], pa.array([0.0] * 38 + [5.0] * 2))
    pq.write_table(rows.set_column(2, "price", higher), "days/2024-07-01.parquet")

    held = openbell("parity", "--date", "2024-07-01", "--recording", "days")

    assert held.code == 1
    assert "in the live day, 10" in held.out


def test_parity_refuses_what_can_not_be_compared(openbell: Command, config: dict[str, Any]) -> None:
    openbell("run", "--record", "days")
    Path("config.yaml").write_text(yaml.safe_dump({**config, "breakout": {"sides": "low"}}))

    other = openbell("parity", "--date", "2024-07-01", "--recording", "days")
    unknown = openbell("parity", "--date", "2024-07-02")
    nowhere = openbell("parity", "--date", "2024-07-01", "--recording", "nowhere")

    assert (other.code, unknown.code, nowhere.code) == (2, 2, 2)
    assert "recorded under another configuration: breakout.sides" in other.err
    assert "was not run" in unknown.err
    assert "nowhere: has no recording of 2024-07-01" in nowhere.err


def test_rows_are_recorded_without_sessions_and_backtested_with_any(
    openbell: Command, config: dict[str, Any]
) -> None:
    del config["sessions"]
    Path("only.yaml").write_text(yaml.safe_dump(config))

    first = openbell("record", "--config", "only.yaml", "--out", "days")
    again = openbell("record", "--config", "only.yaml", "--out", "days")
    run = openbell("run", "--record", "lived")
    tested = openbell("backtest", "--data", "days", "--json")

    assert (first.code, again.code, run.code) == (0, 0, 0)
    assert "1 day in days" in first.out
    assert "had ended before" in again.out
    rows = [read_day(Path(folder), DAY).raw_rows() for folder in ("days", "lived")]
    assert rows[0].ts.tolist() == rows[1].ts.tolist()
    assert "was recorded under another configuration" in tested.err
    live = [json.loads(line)["id"] for line in openbell("signals", "--json").out.splitlines()]
    assert json.loads(tested.out)["signals"] == len(live)


@pytest.mark.parametrize("kind", ["replay", "push"])
def test_a_feed_that_brings_nothing_by_itself_is_refused(
    openbell: Command, config: dict[str, Any], kind: str
) -> None:
    Path("config.yaml").write_text(yaml.safe_dump({**config, "feed": {"type": kind}}))

    refused = openbell("record", "--out", "days")

    assert refused.code == 2
    assert f"feed.type is {kind}" in refused.err
