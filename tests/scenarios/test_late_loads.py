"""Sources that are slow or fail: retried, waited for, merged late, or given up in good order."""

from __future__ import annotations

import threading
from datetime import date
from datetime import time as clock_time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Command
from loguru import logger
from observed import (
    Failing,
    Held,
    Observed,
    engine_of,
    eventually,
    facts,
    observe,
    openbell_threads,
    signals,
    utc_date,
    walk,
)
from runs import joined, plain

import openbell
from openbell.adapters.sources import Source
from openbell.errors import DayFailed
from openbell.market.days import TradingDay, local_instant
from openbell.runtime.intake import loading
from openbell.runtime.intake.loading import Loader

FIRST, SECOND, THIRD = "2024-07-01", "2024-07-02", "2024-07-03"
SECOND_OPEN = local_instant(date(2024, 7, 2), clock_time(9, 30), "America/New_York")
SPEED = 3600.0
"""Half an hour takes half a second."""


def config(**keys: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "sessions": [
            {"name": "Opening", "start": "09:30", "end": "09:33"},
            {"name": "Later", "start": "09:50", "end": "09:51"},
        ],
        "breakout": {"confirm": "touch"},
        "calendar": {"special_sessions": dict.fromkeys((FIRST, SECOND, THIRD), "09:30-10:00")},
        **keys,
    }


@pytest.fixture(scope="module")
def bars() -> pa.Table:
    return walk("XNYS", FIRST, THIRD, symbols=("AAA", "BBB", "CCC", "DDD"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between two tries that a test can wait for."""
    monkeypatch.setattr(loading, "BACKOFF_SECONDS", 0.01)


@pytest.fixture
def log() -> Any:
    lines: list[tuple[str, str]] = []
    logger.enable("openbell")
    number = logger.add(
        lambda message: lines.append((message.record["level"].name, message.record["message"])),
        level="DEBUG",
    )
    yield lines
    logger.remove(number)
    logger.disable("openbell")


def at(day: str, wall: str) -> int:
    return local_instant(
        date.fromisoformat(day), clock_time.fromisoformat(wall), "America/New_York"
    )


def observe_late(
    keys: dict[str, Any],
    rows: pa.Table,
    day: str,
    until: str,
    kind: type[Held] = Held,
    **options: Any,
) -> Observed:
    """A paced run that is given a day's rows once its clock has come to a wall time of that day."""
    held: list[Held] = []

    def hold(source: Source) -> Held:
        held.append(kind(source, day=day))
        return held[0]

    observed = engine_of(keys, rows, source=hold, speed=SPEED, load_timeout=0.05, **options)
    clock, over = observed.engine.cells["clock"], threading.Event()

    def let_go() -> None:
        eventually(lambda: clock.state.now_ns >= at(day, until) or over.is_set())
        held[0].let_go.set()

    letting = threading.Thread(target=let_go)
    letting.start()
    try:
        observed.engine.run()
    except DayFailed as error:
        observed.error = error
    finally:
        over.set()
        letting.join()
    return observed


# Late


@pytest.mark.parametrize("kind", ["bars", "ticks"])
@pytest.mark.parametrize("dispatcher", ["inline", pytest.param("threads", marks=pytest.mark.slow)])
def test_a_day_that_is_late_opens_without_rows_and_is_merged_when_they_come(
    bars: pa.Table, log: list[tuple[str, str]], kind: str, dispatcher: Any
) -> None:
    keys, rows = config(data={"kind": kind}), bars
    if kind == "ticks":
        rows = bars.select(["symbol", "ts", "close", "volume"]).rename_columns(
            ["symbol", "ts", "price", "size"]
        )

    found = observe_late(keys, rows, FIRST, "09:45", dispatcher=dispatcher)

    fast = observe(keys, rows)
    assert facts(found) == facts(fast)
    of_first = [(fact, late) for fact, late in signals(found) if fact[4] < SECOND_OPEN]
    past = [fact[4] for fact, late in of_first if late]
    assert past, "the first quarter of an hour was over when the rows came"
    live = [fact[4] for fact, late in of_first if not late]
    assert max(past) <= min(live, default=max(past))
    assert not any(late for fact, late in signals(found) if fact[4] >= SECOND_OPEN)
    assert found.phases(FIRST) == fast.phases(FIRST)
    warned = [text for level, text in log if level == "WARNING"]
    assert f"{FIRST}: not read in time; the day opens without its rows" in warned
    assert [d.session_name for d in found.kept.days[0].documents] == ["Opening", "Later"]
    for ours, theirs in zip(found.kept.days, fast.kept.days, strict=True):
        for got, expected in zip(ours.documents, theirs.documents, strict=True):
            assert got.levels is not None
            assert expected.levels is not None
            assert got.levels.high.tolist() == expected.levels.high.tolist()
        assert ours.quality.actual.tolist() == theirs.quality.actual.tolist()


def on(day: str, fact: tuple[Any, ...]) -> bool:
    """New York opens and closes on the same date in UTC."""
    return str(np.datetime64(fact[4], "ns")).startswith(day)


@pytest.mark.parametrize(("dispatcher", "day"), [("inline", FIRST), ("threads", THIRD)])
def test_a_day_that_closes_before_its_rows_come_waits_for_them(
    bars: pa.Table, log: list[tuple[str, str]], dispatcher: Any, day: str
) -> None:
    found = observe_late(config(), bars, day, "10:00", dispatcher=dispatcher)

    fast = observe(config(), bars)
    assert facts(found) == facts(fast)
    of_day = [late for fact, late in signals(found) if on(day, fact)]
    assert of_day == [True] * len(of_day) != []
    assert found.dates == [FIRST, SECOND, THIRD]
    for ours, theirs in zip(found.kept.days, fast.kept.days, strict=True):
        assert plain(ours.quality) == plain(theirs.quality)
        assert joined(ours.bars[5]) == joined(theirs.bars[5])
        assert [plain(d.levels) for d in ours.documents] == [
            plain(d.levels) for d in theirs.documents
        ]
        assert ours.tally == theirs.tally
    assert found.states(day) == fast.states(day)
    assert found.phases(day) == fast.phases(day)
    warned = [text for level, text in log if level == "WARNING"]
    assert f"{day}: closed without its rows, which are waited for" in warned


@pytest.mark.parametrize(("day", "until"), [(FIRST, "09:45"), (FIRST, "10:00"), (THIRD, "10:00")])
def test_a_late_day_that_turns_out_to_have_no_row_is_without_data(
    bars: pa.Table, log: list[tuple[str, str]], day: str, until: str
) -> None:
    class Empty(Held):
        def read(self, start_ns: int, end_ns: int, symbols: Any = None) -> Any:
            nothing = str(utc_date(start_ns)) == self.day
            super().read(start_ns, end_ns, symbols)
            return self.inner.read(start_ns, start_ns + 1 if nothing else end_ns, symbols)

    found = observe_late(config(), bars, day, until, Empty)

    warned = [text for level, text in log if level == "WARNING"]
    assert f"{day}: not read in time; the day opens without its rows" in warned
    fast = observe(config(), bars, source=lambda source: Empty(source, day=day, seconds=0.0))
    assert found.dates == fast.dates
    assert day not in found.dates
    assert found.kept.tally == fast.kept.tally
    assert found.kept.tally.without_data == [date.fromisoformat(day)]
    assert [state for state, _ in found.states(day)][-2:] == ["POST_MARKET", "ENDED"]
    for observed in (found, fast):
        kept = {str(d.trading_date) for c in observed.kept.commits for d in c.documents}
        assert kept == {FIRST, SECOND, THIRD} - {day}


def test_a_day_whose_rows_can_not_be_had_after_its_close_fails(bars: pa.Table) -> None:
    class Gone(Held):
        def read(self, start_ns: int, end_ns: int, symbols: Any = None) -> Any:
            rows = super().read(start_ns, end_ns, symbols)
            if str(utc_date(start_ns)) == self.day:
                raise OSError("the disk is gone")
            return rows

    found = observe_late(config(), bars, SECOND, "10:00", Gone)

    assert found.dates == [FIRST]
    assert [state for state, _ in found.states(SECOND)][-2:] == ["POST_MARKET", "ERROR"]
    assert str(found.error) == f"{SECOND}: the disk is gone (4 attempts)"


def test_without_a_pace_a_load_is_waited_for_however_long_it_takes(bars: pa.Table) -> None:
    found = observe(
        config(),
        bars,
        source=lambda source: Held(source, day=SECOND, seconds=0.3),
        load_timeout=0.05,
    )

    assert signals(found) == signals(observe(config(), bars))
    assert not any(late for _, late in signals(found))


# Ahead


def test_the_next_day_is_read_while_this_one_runs(
    bars: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, over = Loader.start, dict[str, int]()

    def started(loader: Loader, day: TradingDay) -> None:
        over.setdefault(str(day.date), len(observed.kept.days))
        start(loader, day)

    monkeypatch.setattr(Loader, "start", started)
    observed = engine_of(config(), bars, speed=SPEED)

    observed.engine.run()

    assert over == {FIRST: 0, SECOND: 0, THIRD: 1}  # days that were over when each was asked for
    phases = observed.engine.metrics()["phases"]
    assert observed.dates == [FIRST, SECOND, THIRD]
    assert phases["prefetch"]["count"] == 3
    assert phases["gap"]["count"] == 2


def test_the_prefetch_can_be_used_by_itself(bars: pa.Table) -> None:
    before = openbell_threads()  # another test's read may still be under way
    held: list[Held] = []

    def hold(source: Source) -> Held:
        held.append(Held(source, day=SECOND))
        return held[0]

    observed = engine_of(config(), bars, source=hold)
    loader, days = observed.engine.loader, observed.engine._plan.days
    loader.start(days[0])
    loader.start(days[1])

    assert len(loader.wait(days[0].date, 120).rows) == 30
    assert held[0].asked.wait(120)
    assert loader.running == (date(2024, 7, 2),)
    with pytest.raises(TimeoutError):
        loader.wait(days[1].date, 0.01)
    held[0].let_go.set()
    assert loader.wait(days[1].date, 120).day.date == date(2024, 7, 2)
    assert not loader.running
    loader.shutdown()
    observed.engine.close()
    assert eventually(lambda: openbell_threads() <= before)


@pytest.mark.parametrize("speed", [0.0, SPEED])
def test_a_run_that_is_stopped_during_a_prefetch_leaves_no_thread(
    bars: pa.Table, speed: float
) -> None:
    before = openbell_threads()
    held: list[Held] = []

    def hold(source: Source) -> Held:
        held.append(Held(source, day=SECOND))
        return held[0]

    observed = engine_of(config(), bars, source=hold, speed=speed)
    thread = threading.Thread(target=observed.engine.run)
    thread.start()
    assert held[0].asked.wait(120)
    observed.engine.stop()
    thread.join(120)

    assert not thread.is_alive()  # the read goes on, but nobody waits for it
    held[0].let_go.set()
    assert eventually(lambda: openbell_threads() <= before)


# Failing


def test_a_source_that_fails_twice_is_tried_again(
    bars: pa.Table, log: list[tuple[str, str]]
) -> None:
    failing: list[Failing] = []

    def fail(source: Source) -> Failing:
        failing.append(Failing(source, failures={SECOND: 2}))
        return failing[0]

    found = observe(config(), bars, source=fail)

    assert failing[0].tried == 2
    assert signals(found) == signals(observe(config(), bars))
    assert any(SECOND in text and "trying again" in text for _, text in log)


@pytest.mark.parametrize("speed", [0.0, SPEED])
def test_a_source_that_fails_for_ever_ends_the_run_with_the_days_before(
    bars: pa.Table, speed: float
) -> None:
    found = observe(
        config(), bars, source=lambda source: Failing(source, failures={SECOND: 99}), speed=speed
    )

    assert str(found.error) == (
        f"{SECOND}: [Errno 5] Input/output error: 'minutes/{SECOND}.parquet' (4 attempts)"
    )
    assert found.dates == [FIRST]
    assert [state for state, _ in found.states(SECOND)][-1] == "ERROR"
    whole = observe(config(), bars)
    assert facts(found) == [f for f in facts(whole) if f[4] < SECOND_OPEN]


PLUGIN = """
from openbell.adapters.sources.table import open_table
import pyarrow.parquet as pq

class Flaky:
    def __init__(self, path, options):
        self.inner = open_table(pq.read_table(path / "bars.pq"), options)
        self.info, self.dates, self.close = self.inner.info, self.inner.dates, self.inner.close
        self.reads = 0

    def read(self, start_ns, end_ns, symbols=None):
        rows = self.inner.read(start_ns, end_ns, symbols)
        # Planning reads one trading day's segment; a run reads from midnight to midnight.
        if {gone} <= start_ns < {gone} + 86400 * 10**9 and end_ns - start_ns > 80000 * 10**9:
            raise OSError(5, "Input/output error", "bars.pq")
        return rows
"""


@pytest.fixture
def flaky(tmp_path: Path, bars: pa.Table, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose plug-in can't read the second day."""
    about = tmp_path / "site" / "flaky_source-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: flaky-source\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[openbell.sources]\nflaky = flaky_source:Flaky\n")
    midnight = SECOND_OPEN - int(9.5 * 3600) * 10**9
    source = PLUGIN.replace("{gone}", str(midnight))
    (tmp_path / "site" / "flaky_source.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "data").mkdir()
    pq.write_table(bars, tmp_path / "data" / "bars.pq")
    keys = config(data={"path": "data", "format": "flaky"})
    (tmp_path / "it.yaml").write_bytes(orjson.dumps(keys))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_failed_day_ends_the_command_with_3_and_keeps_the_days_before(
    flaky: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(monkeypatch, capsys)

    ran = run("backtest", "--config", "it.yaml", "--out", "out")

    assert ran.code == 3
    (line,) = ran.messages
    assert line == (
        f"{SECOND}: [Errno 5] Input/output error: 'bars.pq' (4 attempts); "
        "out holds the complete days"
    )
    summary = orjson.loads(Path("out/summary.json").read_bytes())
    assert summary["error"].startswith(f"{SECOND}: ")
    assert summary["interrupted"] is False
    assert (summary["trading_days"], summary["last_day"]) == (1, FIRST)
    days = {line.split(b'"trading_date":"')[1][:10] for line in lines("sessions.jsonl")}
    assert days == {FIRST.encode()}


def test_a_first_day_that_fails_leaves_no_files(
    flaky: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Command(monkeypatch, capsys)

    ran = run("backtest", "--config", "it.yaml", "--out", "out", "--from", SECOND)

    assert ran.code == 3
    assert ran.messages[0].endswith("; nothing was written to out")
    assert not Path("out").exists()


def test_the_library_raises_what_failed_and_has_written_the_days_before(flaky: Path) -> None:
    with pytest.raises(DayFailed, match=f"{SECOND}: .*bars.pq"):
        openbell.backtest("it.yaml", out="out")

    assert orjson.loads(Path("out/summary.json").read_bytes())["trading_days"] == 1


def lines(name: str) -> list[bytes]:
    return Path("out", name).read_bytes().splitlines()
