"""Recordings of live days: run again they give the day's answers, byte for byte."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import time
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from by_hand import ByHand, at, config
from histories import history

import openbell
from openbell.adapters.stores import open_store
from openbell.errors import CalendarError, ConfigError, DataError, DayFailed, InputError
from openbell.market.calendar import open_calendar
from openbell.market.days import TradingDay
from openbell.runtime.api import run_backtest
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.eras import era_on
from openbell.runtime.lifetime.keeping import Recording
from openbell.runtime.lifetime.parity import Parity, parity
from openbell.runtime.lifetime.supervision import RECOVER
from openbell.runtime.record.recordings import read_day, recorded_days
from openbell.runtime.results.collecting import Collected
from openbell.runtime.results.events import read
from openbell.testing.faults import Killed

DAY, NEXT = date(2024, 7, 1), date(2024, 7, 2)


def traded(begins: float = at("09:00"), **more: Any) -> ByHand:
    """A morning in which rows come late on both sides of the timer, and break its levels."""
    run = ByHand(config(**more), begins)
    for n in range(29):
        run.tick(at("09:30:05") + 10 * n, "AB"[n % 2], 100 + n % 5)
    run.tick(at("09:35:00.5"), "B", 104.5, ts=at("09:34:59"))
    run.tick(at("09:35:01.9"), "A", 104.7, ts=at("09:34:59.5"))  # before the timer, so it counts
    run.tick(at("09:35:02.1"), "A", 109.0, ts=at("09:34:59.9"))  # after it
    for n in range(20):
        run.tick(at("09:36:00") + 20 * n, "AB"[n % 2], 101 + 0.5 * n)
    run.tick(at("09:50"), "A", float("nan"))
    run.tick(at("09:51"), "A", 100.0, ts=at("08:00"))
    return run


def record(run: ByHand, folder: Path) -> None:
    made = config_from(run.config)
    Recording(
        folder, run.store, lambda eras, of: made.with_determining(era_on(eras, of).config)
    ).catch_up()


def held(run: ByHand, folder: Path, of: date = DAY) -> Parity:
    return parity(config_from(run.config), run.store, of, folder)


def rows_of(folder: Path, of: date = DAY) -> Any:
    """The rows of a recording, and what is told of those that could not be used."""
    day = read_day(folder, of)
    raw = day.raw_rows()
    columns: dict[str, Any] = {"ts": raw.ts, "code": raw.code, **raw.columns}
    others = [(c.outside, c.bad) for c in day.came.values() if c.outside or c.bad]
    return {name: column.tolist() for name, column in columns.items()}, others


def backtested(run: ByHand, folder: Path, **keys: Any) -> openbell.Result:
    data = {"kind": "ticks", "path": str(folder), **keys}
    return openbell.backtest({**run.config, "data": data})


Lived = tuple[ByHand, Path]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Lived:
    """A day that was lived without a kill, and its recording."""
    run, folder = traded().until(at("17:00")), tmp_path_factory.mktemp("whole")
    record(run, folder)
    return run, folder


@pytest.fixture
def lived(whole: Lived, tmp_path: Path) -> Lived:
    """The same, with a recording that may be spoilt."""
    shutil.copytree(whole[1], tmp_path, dirs_exist_ok=True)
    return whole[0], tmp_path


def test_a_recording_gives_the_live_days_answers_with_rows_late_on_both_sides_of_a_timer(
    whole: Lived,
) -> None:
    run, folder = whole

    found = held(run, folder)
    signals = backtested(run, folder).signals.to_pylist()

    assert found.recording.first is None
    assert found.recording.of >= 20
    assert [of["id"] for of in signals] == [of for of, _ in run.signals()]
    assert found.rows == 52
    assert "109.0 in the day in time order" in str(found.in_order)


def test_a_recording_gives_the_live_days_events_of_steps(whole: Lived) -> None:
    run, folder = whole
    keys = {**run.config, "data": {"kind": "ticks", "path": str(folder)}}

    with openbell.Runtime(config_from(keys)) as runtime:
        again = [event for event in runtime.events() if event.trading_date == DAY]

    lived = [event for event in read(run.store) if event.trading_date == DAY]
    assert of_market(again) == of_market(lived)[: len(again)]
    # A recording ends with the close, a live day when the next one is due.
    assert [event.kind for event in lived[len(again) :]] == ["day.ended"]
    assert len(again) > 10


def of_market(events: list[openbell.Event]) -> list[tuple[Any, ...]]:
    """All of them but for the wall time."""
    return [(e.id, e.kind, e.market_time, e.session, e.before, e.after, e.why) for e in events]


def test_a_recording_that_is_behind_is_not_taken_for_the_day(tmp_path: Path) -> None:
    run = traded().until(at("09:38"))
    record(run, tmp_path)  # as written a minute before, while it went on
    run.until(at("17:00"))
    recorded = config_from({**run.config, "feed": {**run.config["feed"], "record": str(tmp_path)}})

    found = parity(recorded, run.store, DAY)

    assert found.recording.first is None
    assert found.rows == 52
    with pytest.raises(InputError, match=r"not whole there: .* up to step \d+ of \d+; .*ask again"):
        held(run, tmp_path)


def test_without_its_marks_a_recording_gives_other_answers(lived: Lived) -> None:
    run, folder = lived
    as_lived = backtested(run, folder)

    (folder / "2024-07-01.marks").unlink()
    by_rows = backtested(run, folder, order="arrival")

    assert by_rows.levels.to_pylist() != as_lived.levels.to_pylist()


def test_a_day_without_marks_among_others_is_told(tmp_path: Path) -> None:
    run = traded(at("09:29")).tick(at("09:31", str(NEXT)), "A", 300).until(at("17:00", str(NEXT)))
    record(run, tmp_path)

    (tmp_path / "2024-07-01.marks").unlink()

    with openbell.Runtime.from_config(
        {**run.config, "feed": {"type": "replay"}, "clock": {}},
        durable=False,
        overrides={"data.path": str(tmp_path)},
    ) as runtime:
        assert any("2024-07-01 has no marks beside its rows" in note for note in runtime.notes)


def rewritten(path: Path, keep: np.ndarray[Any, Any], **changed: Any) -> None:
    marks = pq.read_table(path)
    for name, values in changed.items():
        place = marks.schema.get_field_index(name)
        field = marks.schema.field(name)
        marks = marks.set_column(place, field, pa.array(values, field.type))
    pq.write_table(marks.filter(pa.array(keep)), path)


def said_of(path: Path, without: tuple[str, ...] = (), **changed: Any) -> None:
    """Change what the marks say of their recording, and leave columns out that they had not yet."""
    marks = pq.read_table(path)
    about = json.loads(marks.schema.metadata[b"recording"])
    kept = {name: value for name, value in about.items() if name not in without}
    columns = [name for name in marks.column_names if name not in without]
    said = json.dumps({**kept, **changed}).encode()
    pq.write_table(marks.select(columns).replace_schema_metadata({b"recording": said}), path)


def test_a_recording_of_version_1_is_read(lived: Lived) -> None:
    run, folder = lived
    expected = backtested(run, folder).signals.to_pylist()
    written = pq.read_schema(folder / "2024-07-01.marks").metadata[b"recording"]

    lacks = ("auction", "products", "contracts")
    said_of(folder / "2024-07-01.marks", lacks, version=1)

    assert json.loads(written)["version"] == 2
    assert backtested(run, folder).signals.to_pylist() == expected != []


def test_a_recording_of_a_newer_version_is_refused_and_both_are_named(lived: Lived) -> None:
    run, folder = lived

    said_of(folder / "2024-07-01.marks", version=3, program="9.0", of_then="?")

    with pytest.raises(InputError, match=r"is of version 3, written by openbell 9\.0; .* up to 2"):
        backtested(run, folder)


def test_a_mark_that_is_missing_is_noticed(lived: Lived) -> None:
    _, folder = lived
    steps = len(read_day(folder, DAY).steps)

    rewritten(folder / "2024-07-01.marks", np.arange(steps) != 20)

    with pytest.raises(DataError, match="a mark is missing"):
        read_day(folder, DAY)


def test_rows_that_are_missing_are_noticed(lived: Lived) -> None:
    _, folder = lived
    rows = pq.read_table(folder / "2024-07-01.parquet")

    pq.write_table(rows.slice(0, 40), folder / "2024-07-01.parquet")

    with pytest.raises(DataError, match="has 40 rows, and the marks say 52"):
        read_day(folder, DAY)


def test_a_boundary_that_is_crossed_elsewhere_is_told_by_parity(lived: Lived) -> None:
    run, folder = lived
    marks = pq.read_table(folder / "2024-07-01.marks")
    moved = marks["until"].cast(pa.int64()).to_pylist()
    place = moved.index(int(at("09:35") * 1e9))
    moved[place] = moved[place - 1]  # what crosses the window's end says so no more

    rewritten(folder / "2024-07-01.marks", np.ones(len(moved), np.bool_), until=moved)

    assert held(run, folder).recording.first is not None


def test_what_is_recorded_can_be_read_by_others(whole: Lived) -> None:
    _, folder = whole
    rows = pq.read_table(folder / "2024-07-01.parquet")
    marks = pq.read_table(folder / "2024-07-01.marks")

    assert rows.column_names[:4] == ["symbol", "ts", "price", "size"]
    assert rows.column_names[-2:] == ["arrived", "step"]
    late = rows.to_pylist()[31]
    assert (late["symbol"], late["price"]) == ("A", 109.0)
    assert late["arrived"].timestamp() == pytest.approx(at("09:35:02.1"))
    assert late["ts"].timestamp() == pytest.approx(at("09:34:59.9"))
    ends = marks["until"].cast(pa.int64()).to_pylist().index(int(at("09:35") * 1e9))
    crossed = marks.slice(ends, 1).to_pylist()[0]
    assert crossed["step"] < late["step"]  # the timer was there before it
    assert crossed["rows"] is None
    assert ["rang start"] in marks["what"].to_pylist()


@pytest.mark.parametrize("seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 2, 3))])
def test_a_recording_goes_on_behind_kills_without_loss_and_without_doubling(
    tmp_path: Path, whole: Lived, seed: int
) -> None:
    run, drawn = traded(), random.Random(seed)

    for minute in sorted(drawn.sample(range(1, 45), 6)):
        killed = at("09:30") + 60 * minute
        run.kill(killed, killed + 0.001).until(killed + 1)
        if drawn.random() < 0.7:
            record(run, tmp_path)
    record(run, tmp_path)
    assert has_all_so_far(run, tmp_path)
    run.until(at("17:00"))
    record(run, tmp_path)

    assert run.restarts == 6
    assert held(run, tmp_path).recording.first is None
    assert rows_of(tmp_path) == rows_of(whole[1])


def has_all_so_far(run: ByHand, folder: Path) -> bool:
    """Whether a recording of a day under way is one that can be read."""
    day = read_day(folder, DAY)
    return len(day.raw_rows()) > 0 and day.steps[-1].number == run.store.head().step


def test_a_day_after_another_is_recorded_by_itself(tmp_path: Path) -> None:
    run = traded(at("09:29"))
    for n in range(20):
        run.tick(at("09:31", str(NEXT)) + 50 * n, "AB"[n % 2], 300 + n)
    run.until(at("17:00", str(NEXT)))
    record(run, tmp_path)

    assert list(recorded_days(tmp_path)) == [DAY, NEXT, date(2024, 7, 3)]
    for of in (DAY, NEXT):
        assert held(run, tmp_path, of).recording.first is None
    # The jump over the night is seen, which takes the closes of the day before.
    alone = backtested(run, tmp_path / "2024-07-02.marks")
    assert [of["symbol"] for of in alone.summary["possible_splits"]] == ["A", "B"]


def test_a_recording_that_ends_inside_the_day_is_gone_through_to_the_close(tmp_path: Path) -> None:
    run = traded().until(at("09:45"))
    record(run, tmp_path)

    with openbell.Runtime.from_config(
        {**run.config, "feed": {"type": "replay"}, "clock": {}},
        durable=False,
        overrides={"data.path": str(tmp_path)},
    ) as runtime:
        runtime.run()
        notes, summary = runtime.notes, runtime.summary()

    assert summary["trading_days"] == 1
    assert summary["signals"] == len(run.signals())
    assert any("ends inside the day" in note for note in notes)
    with pytest.raises(InputError, match="not closed yet"):
        held(run, tmp_path)


def test_another_configuration_takes_the_rows_in_their_order_and_says_so(whole: Lived) -> None:
    run, folder = whole
    others = [{"name": "Other", "start": "09:31", "end": "09:32"}]

    with openbell.Runtime.from_config(
        {**run.config, "sessions": others, "feed": {"type": "replay"}, "clock": {}},
        durable=False,
        overrides={"data.path": str(folder)},
    ) as runtime:
        runtime.run()
        notes, day = runtime.notes, runtime.day

    assert any("was recorded under another configuration: sessions" in note for note in notes)
    assert day is not None
    assert day.levels.to_pylist()[0]["session"] == "Other"


def test_the_rows_of_a_recording_may_be_gone_through_in_time_order(whole: Lived) -> None:
    run, folder = whole

    by_time = backtested(run, folder, order="time").levels.to_pylist()

    assert by_time[0]["high"] == 109.0
    assert backtested(run, folder).levels.to_pylist()[0]["high"] == 104.7
    assert backtested(run, folder, order="arrival").levels.to_pylist()[0]["high"] == 104.7


def test_a_backtest_with_a_store_lives_no_recording_again_but_takes_its_rows_as_others_are(
    whole: Lived, tmp_path: Path
) -> None:
    run, folder = whole
    store = f"sqlite:///{tmp_path / 'kept.db'}"

    def kept(**keys: Any) -> list[dict[str, Any]]:
        found = Collected()
        made = config_from({**run.config, "data": {"kind": "ticks", "path": str(folder), **keys}})
        _, account = run_backtest(made, sinks=(found,), store=store, force=True)
        levels: list[dict[str, Any]] = openbell.Result(found.days, account).levels.to_pylist()
        return levels

    for keys in ({}, {"order": "arrival"}):
        with pytest.raises(
            ConfigError, match=r"is a recording.*leave --store out, or set data.order"
        ):
            kept(**keys)
    assert not (tmp_path / "kept.db").exists()
    assert kept(order="time") == backtested(run, folder, order="time").levels.to_pylist()


def test_what_rows_mean_may_be_another_thing_in_a_backtest(whole: Lived) -> None:
    run, folder = whole
    data = {"data.path": str(folder), "data.order": "arrival"}
    others = {**run.config, "feed": {"type": "replay", "dedupe": "same"}, "clock": {}}

    with openbell.Runtime.from_config(others, durable=False, overrides=data) as runtime:
        notes = runtime.notes
    with openbell.Runtime.from_config(
        {**others, "feed": {"type": "replay"}}, durable=False, overrides=data
    ) as same:
        assert same.notes == ()

    assert any("another configuration: feed.dedupe" in note for note in notes)


def pushed(folder: Path, **more: Any) -> dict[str, Any]:
    """A past day, whose rows move time, in a store of its own."""
    feed = {"start": str(DAY), "end": str(NEXT)}
    url = f"sqlite:///{folder / 'state.db'}"
    return config(clock={"time": "feed"}, feed=feed, store={"url": url}, **more)


def durable(runtime: openbell.Runtime, position: int) -> None:
    until = time.monotonic() + 120
    while runtime.durable_position() < position:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_runtime_records_what_is_pushed(tmp_path: Path) -> None:
    with openbell.Runtime.from_config(pushed(tmp_path), record=tmp_path / "days") as runtime:
        for n in range(30):
            runtime.push_ticks("A", int((at("09:30") + 30 * n) * 1e9), 100 + n % 9)
        runtime.push_ticks("C", int(at("09:50") * 1e9), 1.0)
        durable(runtime, runtime.end_day(DAY))

    day = read_day(tmp_path / "days", DAY)

    assert len(day.raw_rows()) == 30
    assert day.about.not_used == {"unknown_symbols": {"C": 1}}


def test_a_day_that_was_begun_anew_is_recorded_from_there(tmp_path: Path) -> None:
    folder, made = tmp_path / "days", pushed(tmp_path)
    with openbell.Runtime.from_config(made, record=folder) as runtime:
        for n in range(30):
            position = runtime.push_ticks("A", int((at("09:30") + 30 * n) * 1e9), 100 + n % 9)
        durable(runtime, position)
    before = read_day(folder, DAY).about.first

    other = {**made, "breakout": {"confirm": "touch"}}
    with openbell.Runtime.from_config(other, record=folder, fresh_day=True) as runtime:
        for n in range(20):
            runtime.push_ticks("B", int((at("09:30") + 30 * n) * 1e9), 100 + n % 9)
        durable(runtime, runtime.end_day(DAY))

    day = read_day(folder, DAY)
    assert day.about.first > before
    assert len(day.raw_rows()) == 20
    with contextlib.closing(open_store(made["store"]["url"], "default")) as store:
        assert parity(config_from(other), store, DAY, folder).recording.first is None


@pytest.mark.parametrize("clock", ["feed", pytest.param("wall", marks=pytest.mark.slow)])
def test_bars_are_recorded_too(tmp_path: Path, clock: str) -> None:
    bars = {"data": {"kind": "bars", "interval": "1m"}}
    rows = [(at("09:30") + 60 * (n // 2), "AB"[n % 2], 100 + n % 7) for n in range(120)]
    rows.append((at("09:32"), "A", 500))  # an hour late, and known already
    if clock == "wall":
        run = ByHand(config(**bars), at("09:00"))
        for n, (ts, symbol, price) in enumerate(rows):
            run.bar(max(ts + 60, at("10:31") if n == 120 else 0) + 0.5, symbol, ts, price)
        run.until(at("17:00"))
        record(run, tmp_path)
        found = held(run, tmp_path)
    else:
        made = pushed(tmp_path, **bars)
        with openbell.Runtime.from_config(made, record=tmp_path) as runtime:
            for ts, symbol, price in rows:
                values = dict.fromkeys(("open", "high", "low", "close"), price)
                runtime.push_bars(symbol, int(ts * 1e9), **values, volume=1.0)
            durable(runtime, runtime.end_day(DAY))
        with contextlib.closing(open_store(made["store"]["url"], "default")) as store:
            found = parity(config_from(made), store, DAY, tmp_path)

    assert found.recording.first is None
    assert found.rows == 121


@pytest.mark.parametrize("after", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_of_writing_loses_nothing_and_doubles_nothing(
    tmp_path: Path, whole: Lived, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    run, folder = whole
    replaced, left = os.replace, 0

    def dies(*paths: Any) -> None:
        """Before or after a file takes its place."""
        nonlocal left
        left -= 1
        if left or after:
            replaced(*paths)
        if not left:
            raise Killed

    monkeypatch.setattr(os, "replace", dies)
    for nth in range(1, 8):  # of two files a part, and two of the day
        there, left = tmp_path / str(nth), nth
        with contextlib.suppress(Killed):
            record(run, there)
        left = 0
        record(run, there)

        assert rows_of(there) == rows_of(folder)
        assert len(read_day(there, DAY).steps) == len(read_day(folder, DAY).steps)
        assert {p.name for p in (there / ".parts").iterdir()} == {str(NEXT)}


@pytest.mark.parametrize("recovers", [False, True])
def test_a_day_that_could_not_roll_is_recorded_as_it_was(tmp_path: Path, recovers: bool) -> None:
    run = ByHand(config(day={"timeout_seconds": "1h"}), at("09:29")).tick(at("09:31"), "A", 100)
    run.tick(at("09:40"), "A", 101)

    def unknown(day: date) -> TradingDay:
        raise CalendarError(f"the calendar ends with {day}")

    run.follows = unknown
    with pytest.raises(DayFailed):
        run.until(at("17:00"))
    if recovers:
        run.follows = None
        run.store.send_command(RECOVER)
        run.until(at("09:31", str(NEXT)))
    record(run, tmp_path)

    assert held(run, tmp_path).recording.first is None
    assert backtested(run, tmp_path / "2024-07-01.marks").summary["error"] is None


def test_a_day_has_the_hours_in_its_recording_that_it_had_when_it_was_lived(tmp_path: Path) -> None:
    run = ByHand(config(day={"timeout_seconds": "1d"}), at("15:50"))
    (known,) = open_calendar("XNYS", NEXT, NEXT).days()
    hour = replace(known.segments[0], close_ns=known.open_ns + 3600 * 10**9)
    run.follows = lambda day: replace(known, segments=(hour,))
    run.tick(at("09:31", str(NEXT)), "A", 100).tick(at("10:00", str(NEXT)), "A", 101)
    run.until(at("10:45", str(NEXT)))

    record(run, tmp_path)

    assert run.sessions(str(NEXT))["Noon"]["status"] == "SKIPPED"
    assert held(run, tmp_path, NEXT).recording.first is None


def test_a_day_without_a_row_is_recorded_too(tmp_path: Path) -> None:
    run = ByHand(config(day={"timeout_seconds": "30m"}), at("09:00")).until(at("17:00"))

    record(run, tmp_path)

    found = held(run, tmp_path)
    assert (found.recording.first, found.rows) == (None, 0)
    assert found.recording.of > 4


@pytest.mark.parametrize("takes", [1.0, 60.0])
def test_what_history_brought_into_a_day_is_recorded_with_it(tmp_path: Path, takes: float) -> None:
    """In time, and when the day had gone on without it."""
    morning = [("AB"[n % 2], at("09:30:05") + 10 * n, 100.0 + n % 5) for n in range(40)]
    run = ByHand(config(), at("09:40"), history=history(morning), history_takes=takes)
    run.tick(at("09:41"), "A", 106.0).tick(at("09:50"), "A", 90.0)
    run.until(at("17:00"))

    record(run, tmp_path)

    assert run.sessions(str(DAY))["Morning"]["symbols_data"]["A"]["high"] == 104.0
    assert held(run, tmp_path).recording.first is None
    assert held(run, tmp_path).rows == 2


def test_another_runs_recording_of_a_day_is_left_alone(tmp_path: Path) -> None:
    made, folder = pushed(tmp_path), tmp_path / "days"
    with openbell.Runtime.from_config(made, record=folder) as runtime:
        durable(runtime, runtime.push_ticks("A", int(at("09:31") * 1e9), 100.0))
    before = read_day(folder, DAY).about

    other = {**made, "name": "other"}
    with pytest.raises(InputError, match="recording of 2024-07-01 that is not of this run"):
        openbell.Runtime.from_config(other, record=folder)
    with openbell.Runtime.from_config(other) as runtime:
        durable(runtime, runtime.push_ticks("A", int(at("09:32") * 1e9), 100.0))
    with pytest.raises(InputError, match="recording of 2024-07-01 that is not of this run"):
        openbell.Runtime.from_config(other, record=folder)
    with openbell.Runtime.from_config(made, record=folder) as runtime:
        durable(runtime, runtime.push_ticks("A", int(at("09:33") * 1e9), 100.0))

    after = read_day(folder, DAY).about
    assert (before.rows, after.rows) == (1, 2)


def test_what_can_not_be_written_does_not_end_the_run_and_is_told(tmp_path: Path) -> None:
    run = traded().until(at("09:40"))
    made = config_from(run.config)
    told: list[str] = []
    kept = Recording(tmp_path / "days", run.store, lambda eras, of: made, tell=told.append)
    (tmp_path / "days").rmdir()
    (tmp_path / "days").write_text("a file")

    kept.close()

    assert kept.problem is not None
    assert told == [kept.problem]
    assert "was not written" in kept.problem
    with pytest.raises(InputError, match="can't be written"):
        Recording(tmp_path / "days", run.store, lambda eras, of: made)


def test_a_recording_needs_a_live_feed_and_a_store(tmp_path: Path, whole: Lived) -> None:
    made = config(feed={"record": str(tmp_path)})
    with pytest.raises(ConfigError, match="durable=True"):
        openbell.Runtime.from_config(made, durable=False)
    replayed = {"data.path": str(whole[1]), "feed": {"record": str(tmp_path)}, "clock": {}}
    with pytest.raises(ConfigError, match="stored already"):
        openbell.Runtime.from_config({**made, **pushed(tmp_path)}, overrides=replayed)


def test_days_that_were_recorded_are_history_for_the_next(tmp_path: Path) -> None:
    highest = {"type": "trailing_max", "period": "1d", "granularity": "daily", "field": "high"}
    made = pushed(tmp_path, history={"indicators": {"highest": highest}})
    found = []
    for name in ("first", "second"):
        of_name = {**made, "name": name}
        if name == "second":  # nothing is known of the day before but what was recorded
            of_name["feed"] = {**made["feed"], "start": str(NEXT)}
            (tmp_path / name).mkdir()
            for file in (tmp_path / "first").glob("2024-07-01.*"):
                shutil.copy(file, tmp_path / name)
        with openbell.Runtime.from_config(of_name, record=tmp_path / name) as runtime:
            if name == "first":
                runtime.push_ticks(["A", "B"], [int(at("09:31") * 1e9)] * 2, [101.5, 207.0])
                runtime.push_ticks("B", int(at("09:32") * 1e9), 90.0)
                runtime.end_day(DAY)
            runtime.push_ticks("A", int(at("09:31", str(NEXT)) * 1e9), 100.0)
            durable(runtime, runtime.end_day(NEXT))
            until = time.monotonic() + 120
            while runtime.day is None or runtime.day.date != NEXT:
                assert time.monotonic() < until
                time.sleep(0.01)
            found.append(runtime.day.indicators)

    first, second = (of["highest"].values.tolist() for of in found)
    assert first == second == [101.5, 207.0]
