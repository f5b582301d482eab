"""What an embedding program sees of a run."""

from __future__ import annotations

import asyncio
import pydoc
import signal as unix_signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from faults.crashing import wait_until
from loguru import logger
from observed import threads_since

import openbell
from openbell.adapters.sinks.files import DayResult
from openbell.errors import ConfigError, DataError, InputError, RunError
from openbell.market.days import MINUTE_NS, local_instant
from openbell.runtime.api import Runtime, Signal
from openbell.runtime.config import config_from

NSE = "Asia/Kolkata"
DAYS = [date(2024, 7, 1) + timedelta(days=n) for n in range(5)]
CONFIG: dict[str, Any] = {
    "exchange": "XNSE",
    "sessions": [
        {"name": "Morning", "start": "09:30", "end": "09:35"},
        {"name": "Lunch", "start": "11:50", "end": "12:20"},
    ],
    "companions": {"NIFTY": "FUT"},
}


@pytest.fixture(scope="module")
def walk() -> pa.Table:
    """Five days of three random walks."""
    rng = np.random.default_rng(7)
    minute = np.arange(375, dtype=np.int64) * MINUTE_NS
    parts = []
    for day in DAYS:
        ts = np.repeat(local_instant(day, time(9, 15), NSE) + minute, 3)
        close = np.round(100 + rng.normal(0, 0.1, (375, 3)).cumsum(axis=0), 2).reshape(-1)
        parts.append(
            pa.table(
                {
                    "symbol": pa.array(["BANKNIFTY", "FUT", "NIFTY"] * 375),
                    "ts": pa.array(ts, pa.timestamp("ns", "UTC")),
                    **{name: close for name in ("open", "close")},
                    "high": close + 0.05,
                    "low": close - 0.05,
                    "volume": np.ones(len(close)),
                }
            )
        )
    return pa.concat_tables(parts)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert threads_since(before) == []


def runtime(
    data: pa.Table, dispatcher: Literal["inline", "threads"] = "threads", **more: Any
) -> Runtime:
    return Runtime(config_from(CONFIG), data, dispatcher=dispatcher, **more)


def expected_ids(data: pa.Table) -> list[str]:
    ids: list[str] = openbell.backtest(CONFIG, data).signals["id"].to_pylist()
    assert len(ids) > 40
    return ids


class Broken:
    """A sink that can't take the second day."""

    def __init__(self) -> None:
        self.days: list[date] = []

    def write_day(self, day: DayResult) -> None:
        if self.days:
            raise OSError("no space left")
        self.days.append(day.trading_date)


# Signals


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_signals_come_in_the_logs_order_and_end_with_the_run(
    walk: pa.Table, dispatcher: Literal["inline", "threads"]
) -> None:
    with runtime(walk, dispatcher) as rt:
        signals = list(rt.signals())

    assert [s.id for s in signals] == expected_ids(walk)
    assert [(s.ts, s.symbol) for s in signals] == sorted((s.ts, s.symbol) for s in signals)
    assert len({s.cursor for s in signals}) == len(signals)


@pytest.mark.parametrize("rules", [{}, {"min_range": "0.01", "valid_until": "15:00"}])
def test_a_signal_has_the_fields_of_the_table(walk: pa.Table, rules: dict[str, str]) -> None:
    config = {**CONFIG, "breakout": rules}
    rows = openbell.backtest(config, walk).signals.to_pylist()

    with Runtime(config_from(config), walk) as rt:
        signals = list(rt.signals())

    for signal, row in zip(signals, rows, strict=True):
        for name, value in row.items():
            if name == "rules":
                # Where no rule was asked, a table has null, a signal an empty tuple.
                assert signal.rules == tuple(value or ())
            elif name != "companion":
                assert getattr(signal, name) == value, name
        companion = row["companion"]
        assert (signal.companion is None) == (companion is None)
        if signal.companion is not None:
            of_signal = (signal.companion.symbol, signal.companion.price, signal.companion.ts)
            assert of_signal == (companion["symbol"], companion["price"], companion["ts"])
    assert {frozenset(s.rules) for s in signals} == {frozenset(rules)}
    assert {s.companion is None for s in signals if s.symbol == "NIFTY"} == {False}
    assert {s.companion is None for s in signals if s.symbol != "NIFTY"} == {True}
    assert {s.ts.tzinfo for s in signals} == {UTC}


def test_reading_goes_on_after_a_cursor(walk: pa.Table) -> None:
    with runtime(walk) as rt:
        signals = list(rt.signals())

        for place in (0, 1, len(signals) // 2, len(signals) - 1):
            assert list(rt.signals(after=signals[place].cursor)) == signals[place + 1 :]


@pytest.mark.parametrize("cursor", ["", "7", "sx", "XNSE:2024-07-01:Morning:NIFTY:HIGH_BREAK:1"])
def test_what_is_no_cursor_is_refused(walk: pa.Table, cursor: str) -> None:
    with runtime(walk) as rt, pytest.raises(ValueError, match="is no cursor"):
        list(rt.signals(after=cursor))


def test_several_readers_each_get_all(walk: pa.Table) -> None:
    got: list[list[str]] = []
    with runtime(walk) as rt:
        readers = [
            threading.Thread(target=lambda: got.append([s.id for s in rt.signals()]))
            for _ in range(3)
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout=120)

    assert got == [expected_ids(walk)] * 3


def test_a_slow_reader_delays_nobody_and_loses_nothing(walk: pa.Table) -> None:
    with runtime(walk) as rt:
        reader = rt.signals()
        first = next(reader)
        rt.wait()  # the run is over before the reader asks for the second
        assert rt.status()["state"] == "ended"
        rest = list(reader)

    assert [first.id, *(s.id for s in rest)] == expected_ids(walk)


def test_leaving_the_loop_stops_nothing_and_closing_does(walk: pa.Table) -> None:
    with runtime(walk) as rt:
        for signal in rt.signals():
            cursor = signal.cursor
            break
        more = next(rt.signals(after=cursor))
        assert more.cursor != cursor

    assert rt.status()["state"] in ("stopped", "ended")
    rt.close()


def test_an_event_loop_is_not_blocked(walk: pa.Table) -> None:
    async def both() -> tuple[list[str], int]:
        turns = 0
        done = asyncio.Event()

        async def turn() -> None:
            nonlocal turns
            while not done.is_set():
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        with runtime(walk) as rt:
            ids = [s.id async for s in rt.asignals()]
        done.set()
        await turning
        return ids, turns

    ids, turns = asyncio.run(both())

    assert ids == expected_ids(walk)
    assert turns > 1


def test_asynchronous_reading_goes_on_after_a_cursor(walk: pa.Table) -> None:
    async def read(rt: Runtime, after: str | None) -> list[Signal]:
        return [s async for s in rt.asignals(after)]

    with runtime(walk) as rt:
        signals = asyncio.run(read(rt, None))
        rest = asyncio.run(read(rt, signals[4].cursor))

    assert rest == signals[5:]


def test_leaving_an_asynchronous_loop_lets_go_of_it(walk: pa.Table) -> None:
    async def first(rt: Runtime) -> str:
        stream = rt.asignals()
        found = (await anext(stream)).id
        await stream.aclose()  # type: ignore[attr-defined]
        return found

    with runtime(walk) as rt:
        assert asyncio.run(first(rt)) == expected_ids(walk)[0]


def test_a_handler_gets_each_signal_once_however_slow_it_is(walk: pa.Table) -> None:
    got: list[str] = []
    is_over, waited = threading.Event(), threading.Event()

    def handle(signal: Signal) -> None:
        if not got:
            waited.set()
            assert is_over.wait(120)
        got.append(signal.id)

    with runtime(walk) as rt:
        rt.on_signal(handle)
        rt.start()
        assert waited.wait(120)
        while rt.status()["state"] == "running":
            pass
        is_over.set()
        rt.wait()

    assert got == expected_ids(walk)


def test_what_a_handler_raises_is_told_and_stops_nobody(walk: pa.Table) -> None:
    told: list[tuple[str, str]] = []

    def handle(signal: Signal) -> None:
        raise ZeroDivisionError(signal.id)

    with runtime(walk) as rt:
        rt.on_signal(handle, on_error=lambda error, signal: told.append((str(error), signal.id)))
        rt.wait()
        state = rt.status()

    assert told == [(of, of) for of in expected_ids(walk)]
    assert (state["state"], state["handler_errors"]) == ("ended", len(told))


def test_what_a_handler_raises_is_printed_where_nobody_asks_for_it(
    walk: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", told.append)

    def handle(signal: Signal) -> None:
        raise ZeroDivisionError(signal.id)

    def worse(error: Exception, signal: Signal) -> None:
        raise KeyError(signal.id)

    with runtime(walk) as rt:
        rt.on_signal(handle)
        rt.on_signal(handle, on_error=worse)
        rt.wait()

    count = len(expected_ids(walk))
    assert [of.exc_type for of in told].count(ZeroDivisionError) == count
    assert [of.exc_type for of in told].count(KeyError) == count


# Errors


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_what_ends_the_run_is_raised_by_the_iterator(
    walk: pa.Table, dispatcher: Literal["inline", "threads"]
) -> None:
    got = []
    with runtime(walk, dispatcher, sinks=(Broken(),)) as rt:
        with pytest.raises(OSError, match="no space left"):  # noqa: PT012
            for signal in rt.signals():
                got.append(signal.id)
        assert rt.status()["state"] == "failed"

    assert got == expected_ids(walk)[: len(got)]
    assert got


def test_no_reader_mistakes_a_failed_run_for_one_that_has_ended(walk: pa.Table) -> None:
    # The reader is woken on the thread that knows the error, so that it could be too early.
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(8):
            with (
                runtime(walk, sinks=(Broken(),)) as rt,
                pytest.raises(OSError, match="no space left"),
            ):
                list(rt.signals())
    finally:
        sys.setswitchinterval(usual)


def test_what_ends_the_run_is_raised_in_an_event_loop_too(walk: pa.Table) -> None:
    async def read(rt: Runtime) -> list[str]:
        return [s.id async for s in rt.asignals()]

    with runtime(walk, sinks=(Broken(),)) as rt, pytest.raises(OSError, match="no space left"):
        asyncio.run(read(rt))


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_what_ends_the_run_is_raised_by_run_and_by_wait(
    walk: pa.Table, dispatcher: Literal["inline", "threads"]
) -> None:
    with (
        runtime(walk, dispatcher, sinks=(Broken(),)) as rt,
        pytest.raises(OSError, match="no space left"),
    ):
        rt.run()
    with (
        runtime(walk, dispatcher, sinks=(Broken(),)) as rt,
        pytest.raises(OSError, match="no space left"),
    ):
        rt.wait()


def test_a_runtime_runs_once(walk: pa.Table) -> None:
    with runtime(walk) as rt:
        rt.run()
        with pytest.raises(RunError, match="runs once"):
            rt.run()


def test_a_runtime_without_data_says_what_is_missing() -> None:
    with pytest.raises(ConfigError, match=r"data\.path is missing"):
        Runtime(config_from(CONFIG))


def test_an_unknown_symbol_is_refused_before_anything_runs(walk: pa.Table) -> None:
    with pytest.raises(DataError, match="NIFTI"):
        Runtime.from_config({**CONFIG, "symbols": ["NIFTI"]}, walk)


# Life


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_a_paused_run_can_be_resumed(
    walk: pa.Table, dispatcher: Literal["inline", "threads"]
) -> None:
    with runtime(walk, dispatcher) as rt:
        rt.pause("one")
        rt.pause("two")
        rt.start()
        rt.resume("one")
        with pytest.raises(InputError, match=r"no pause with the token 'nobody'.* are 'two'"):
            rt.resume("nobody")
        status = rt.status()
        assert (status["state"], status["paused_by"]) == ("paused", ["two"])
        assert (status["step"], status["signals"]) == (0, 0)
        rt.step()
        wait_until(lambda: rt.status()["step"] == 1)
        assert rt.status()["market_time"] == "2024-07-01T03:45:00Z"
        rt.resume("two")
        rt.wait()
        assert rt.status()["state"] == "ended"
        assert rt.status()["signals"] == len(expected_ids(walk))


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_a_paused_run_can_be_closed(
    walk: pa.Table, dispatcher: Literal["inline", "threads"]
) -> None:
    with runtime(walk, dispatcher) as rt:
        rt.pause()
        rt.start()

    assert rt.status()["state"] == "stopped"
    assert rt.summary()["interrupted"]


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_a_runtime_that_never_ran_leaves_nothing(
    walk: pa.Table, dispatcher: Literal["inline", "threads"]
) -> None:
    rt = runtime(walk, dispatcher)
    assert rt.status()["state"] == "ready"

    rt.close()
    rt.close()


def test_stopping_keeps_the_days_that_are_complete(walk: pa.Table) -> None:
    sink = []

    class Stopping:
        def write_day(self, day: DayResult) -> None:
            sink.append(day.trading_date)
            if len(sink) == 2:
                rt.stop()

    with runtime(walk, sinks=(Stopping(),), dispatcher="inline") as rt:
        rt.run()
        account = rt.summary()

    assert sink == DAYS[:2]
    assert account["interrupted"]
    assert (account["trading_days"], account["last_day"]) == (2, "2024-07-02")
    assert rt.status()["state"] == "stopped"


def test_two_runtimes_of_one_process_know_nothing_of_each_other(walk: pa.Table) -> None:
    other: dict[str, Any] = {**CONFIG, "breakout": {"confirm": "touch", "sides": "high"}}
    got: dict[str, list[str]] = {}

    with Runtime.from_config(CONFIG, walk) as one, Runtime.from_config(other, walk) as two:
        readers = [
            threading.Thread(
                target=lambda n=n, rt=rt: got.update({n: [s.id for s in rt.signals()]})
            )
            for n, rt in (("one", one), ("two", two))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout=120)

    assert got["one"] == expected_ids(walk)
    assert got["two"] == openbell.backtest(other, walk).signals["id"].to_pylist()


def test_a_run_sets_no_signal_handler_and_logs_nothing(walk: pa.Table) -> None:
    handlers = {
        sig: unix_signal.getsignal(sig) for sig in (unix_signal.SIGINT, unix_signal.SIGTERM)
    }
    lines: list[str] = []
    sink = logger.add(lines.append, level=0)
    try:
        with runtime(walk) as rt:
            list(rt.signals())
    finally:
        logger.remove(sink)

    assert lines == []
    assert handlers == {sig: unix_signal.getsignal(sig) for sig in handlers}


def test_named_moments_are_logged_when_asked_for(walk: pa.Table) -> None:
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(line.record["message"]), level="DEBUG")
    logger.enable("openbell")
    try:
        with runtime(walk, "inline") as rt:
            rt.run()
    finally:
        logger.disable("openbell")
        logger.remove(sink)

    for moment in (
        "2024-07-01: session activated: Morning",
        "2024-07-01: session deactivated: Morning",
        "2024-07-01: market close reached",
        "advancing to 2024-07-02",
    ):
        assert moment in lines
    for beginning in ("prefetch started: 2024-07-01", "prefetch completed: 2024-07-01"):
        assert any(line.startswith(beginning) for line in lines)


# Results


def test_a_result_has_its_tables_in_other_libraries_too(walk: pa.Table) -> None:
    found = openbell.backtest(CONFIG, walk)

    pandas, polars = found.to_pandas(), found.to_polars()

    for name in ("signals", "levels", "quality"):
        rows = getattr(found, name).num_rows
        assert len(getattr(pandas, name)) == len(getattr(polars, name)) == rows > 0
    assert len(pandas.bars(5)) == len(polars.bars(5)) == found.bars(5).num_rows == 5 * 3 * 75
    assert found.bars(15).num_rows == 5 * 3 * 25
    assert found.bars("5m").equals(found.bars(5))
    for asked, named in ((7, "7m"), ("7m", "7m"), ("90s", "90s")):
        with pytest.raises(InputError, match=rf"bars of {named} were not.*there are 5m, 15m"):
            found.bars(asked)
    with pytest.raises(InputError, match='bars of "5 apples": write a number and a unit'):
        found.bars("5 apples")


def test_ctrl_c_leaves_the_files_of_the_days_that_are_complete(
    walk: pa.Table, tmp_path: Path
) -> None:
    def twice(day: date, over: int, planned: int, rows: int) -> None:
        if over == 2:
            raise KeyboardInterrupt

    two = walk.filter(pc.less(walk["ts"], pa.scalar(datetime(2024, 7, 3, tzinfo=UTC))))
    openbell.backtest(CONFIG, two, out=tmp_path / "two")

    with pytest.raises(KeyboardInterrupt):
        openbell.backtest(CONFIG, walk, out=tmp_path / "out", on_day=twice)

    summary = orjson.loads((tmp_path / "out" / "summary.json").read_bytes())
    assert (summary["trading_days"], summary["interrupted"]) == (2, True)
    for name in ("signals.jsonl", "sessions.jsonl", "levels.parquet", "quality.csv"):
        written = [(tmp_path / of / name).read_bytes() for of in ("out", "two")]
        assert written[0] == written[1], name


def test_overrides_come_before_a_configuration_wherever_one_is_taken(walk: pa.Table) -> None:
    overrides = {"breakout.sides": "high"}

    found = openbell.backtest(CONFIG, walk, overrides=overrides)
    with Runtime.from_config(CONFIG, walk, overrides=overrides) as rt:
        signals = list(rt.signals())

    assert found.signals["side"].unique().to_pylist() == ["HIGH_BREAK"]
    assert [signal.id for signal in signals] == found.signals["id"].to_pylist()
    with pytest.raises(ConfigError, match=r"option: breakout.side is not a key"):
        Runtime.from_config(CONFIG, walk, overrides={"breakout.side": "high"})


def test_what_a_library_may_do_is_shown_to_who_looks() -> None:
    shown = pydoc.plain(pydoc.render_doc(openbell))

    assert {"Config", "Runtime", "backtest", "errors", "load_config", "testing"} <= {*dir(openbell)}
    for line in ("backtest(config:", "class Runtime(", "class Config(", "load_config(path:"):
        assert line in shown
    (config,) = (line for line in shown.splitlines() if "Config(*, " in line)
    assert len(config) < 400, "keys are named, and their validators are not spelled"


def test_an_error_in_a_program_speaks_of_its_arguments(walk: pa.Table, tmp_path: Path) -> None:
    openbell.backtest(CONFIG, walk, out=tmp_path)

    with pytest.raises(InputError, match=r"pass force=True to replace .* pass another out="):
        openbell.backtest(CONFIG, walk, out=tmp_path)


def test_a_table_of_each_kind_is_a_source(walk: pa.Table) -> None:
    import polars

    expected = expected_ids(walk)

    for table in (walk, walk.to_pandas(), polars.from_arrow(walk)):
        assert openbell.backtest(CONFIG, table).signals["id"].to_pylist() == expected


@pytest.mark.parametrize("ahead", [0, 1, 3, 9])
def test_how_many_days_are_read_ahead_changes_no_answer(walk: pa.Table, ahead: int) -> None:
    found = openbell.backtest({**CONFIG, "prefetch": {"days": ahead}}, walk)

    assert found.signals["id"].to_pylist() == expected_ids(walk)


def test_a_backtest_on_threads_is_the_backtest(walk: pa.Table) -> None:
    found = openbell.backtest({**CONFIG, "backtest": {"dispatcher": "threads"}}, walk)
    expected = openbell.backtest(CONFIG, walk)

    for name in ("signals", "levels", "quality"):
        assert getattr(found, name).equals(getattr(expected, name)), name
    assert found.bars(5).equals(expected.bars(5))
    for summary in (found.summary, expected.summary):
        summary.pop("timing")
        summary["inputs"].pop("files")
    assert found.summary == expected.summary


def test_each_day_is_told_of_as_it_ends(walk: pa.Table) -> None:
    told: list[tuple[date, int, int, int]] = []

    openbell.backtest(CONFIG, walk, on_day=lambda *day: told.append(day))

    assert told == [(day, n + 1, 5, 1125 * (n + 1)) for n, day in enumerate(DAYS)]


def test_the_first_instant_of_a_signal_is_its_bars_start(walk: pa.Table) -> None:
    with runtime(walk) as rt:
        signal = next(rt.signals())

    assert signal.known_at - signal.ts == timedelta(minutes=1)
    assert signal.ts >= datetime(2024, 7, 1, 4, 6, tzinfo=UTC)  # 09:36 in Kolkata
