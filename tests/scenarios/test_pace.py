"""Market time beside wall time: runs that are paced, paused, stepped, or begun inside a day."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import orjson
import pyarrow as pa
import pytest
from commands import Command
from observed import (
    Observed,
    engine_of,
    eventually,
    facts,
    observe,
    openbell_threads,
    signals,
    walk,
)

from openbell import Runtime
from openbell.market.days import SECOND_NS, MarketTime, local_instant
from openbell.runtime.config import config_from
from openbell.runtime.kernel.pacing import Pacer

NEW_YORK = "America/New_York"
FIRST, SECOND = date(2024, 7, 1), date(2024, 7, 2)
HALF_HOUR = {str(day): "09:30-10:00" for day in (FIRST, SECOND)}
HALF_A_SECOND = 3600.0
"""The speed at which half an hour takes half a second."""


def config(hours: dict[str, str] = HALF_HOUR, **keys: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
        "breakout": {"rearm": "inside"},
        "calendar": {"special_sessions": hours},
        **keys,
    }


@pytest.fixture(scope="module")
def bars() -> pa.Table:
    return walk("XNYS", str(FIRST), str(SECOND))


@pytest.fixture(scope="module")
def ticks(bars: pa.Table) -> pa.Table:
    """Each bar's close as a tick, some seconds into its minute."""
    late = np.arange(len(bars)) % 59 * SECOND_NS
    return pa.table(
        {
            "symbol": bars["symbol"],
            "ts": pa.array(bars["ts"].cast(pa.int64()).to_numpy() + late).cast(
                pa.timestamp("ns", "UTC")
            ),
            "price": bars["close"],
            "size": bars["volume"],
        }
    )


@contextmanager
def running(observed: Observed) -> Iterator[threading.Thread]:
    """A run on a thread of its own; stopped at the end."""
    thread = threading.Thread(target=observed.engine.run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        observed.engine.stop()
        thread.join(120)
        assert not thread.is_alive()


def step_of(observed: Observed) -> int:
    return int(observed.engine.cells["clock"].state.step)


def is_held(observed: Observed) -> bool:
    """Whether it is paused, and no step is under way."""
    of_clock = observed.engine.cells["clock"].state
    return bool(of_clock.tokens) and (of_clock.granted is None or of_clock.ended is not None)


# At a pace


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_a_paced_run_finds_what_a_fast_one_finds(
    request: pytest.FixtureRequest, kind: str, dispatcher: Literal["inline", "threads"]
) -> None:
    rows, keys = request.getfixturevalue(kind), config(data={"kind": kind})

    fast = observe(keys, rows)
    paced = observe(keys, rows, speed=HALF_A_SECOND, dispatcher=dispatcher)

    assert len(facts(fast)) > 4
    assert facts(paced) == facts(fast)
    assert not any(late for _, late in signals(paced))
    assert paced.phases(str(SECOND)) == fast.phases(str(SECOND))


def test_steps_come_on_time_and_the_drift_is_told(
    bars: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    anchor, began = Pacer.anchor, list[float]()

    def anchored(pacer: Pacer, traded_ns: int) -> None:
        began.append(time.monotonic() - traded_ns / SECOND_NS / HALF_A_SECOND)
        anchor(pacer, traded_ns)

    monkeypatch.setattr(Pacer, "anchor", anchored)

    found = observe(config(), bars, speed=HALF_A_SECOND)

    assert len(began) == 2
    days = iter(began)
    late = []
    for commit, at in zip(found.kept.commits, found.kept.committed_at, strict=True):
        if commit.opened is not None:
            of_day, open_ns = next(days), commit.opened.day.open_ns
        for batch in commit.signals:
            due = of_day + (batch.known_at - open_ns) / SECOND_NS / HALF_A_SECOND
            late += list(at - due)
    assert len(late) > 4
    # An unpaced run would be half a second early. How late a machine that does other things too
    # comes says nothing.
    assert min(late) > -0.001
    drift = found.engine.metrics()["drift"]
    assert drift["count"] == 2 * 30
    assert 0 <= drift["mean"] <= drift["max"]


def test_nights_are_skipped(bars: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    wake_at, waited_for = Pacer.wake_at, list[int]()

    def woken_at(pacer: Pacer, at_ns: MarketTime, traded_ns: int) -> None:
        waited_for.append(traded_ns)
        wake_at(pacer, at_ns, traded_ns)

    monkeypatch.setattr(Pacer, "wake_at", woken_at)
    began = time.monotonic()

    observe(config(), bars, speed=HALF_A_SECOND)

    assert time.monotonic() - began >= 1.0
    assert max(waited_for) == 30 * 60 * SECOND_NS


def test_the_command_line_paces_and_says_how_late_steps_came(
    bars: pa.Table,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    pa.parquet.write_table(bars, "bars.parquet")
    Path("it.yaml").write_bytes(orjson.dumps(config()))
    run = Command(monkeypatch, capsys)

    ran = run(
        *("backtest", "--config", "it.yaml", "--data", "bars.parquet"),
        *("--speed", "20000", "--metrics", "--out", "out"),
    )

    assert (ran.code, ran.err) == (0, "")
    assert "Steps came " in ran.out
    assert "Durations, " in ran.out
    timing = orjson.loads(Path("out/summary.json").read_bytes())["timing"]
    assert timing["metrics"]["drift"]["count"] == 60


# Paused and stepped


def test_a_pause_holds_time_and_is_not_caught_up(bars: pa.Table) -> None:
    observed = engine_of(config({str(FIRST): "09:30-10:00"}), bars, end=FIRST, speed=HALF_A_SECOND)
    began = time.monotonic()

    with running(observed) as thread:
        assert eventually(lambda: step_of(observed) > 5)
        observed.engine.pause("operator")
        assert eventually(lambda: is_held(observed))
        held = step_of(observed)
        time.sleep(0.4)
        assert step_of(observed) == held
        observed.engine.resume("operator")
        thread.join(120)

    assert time.monotonic() - began >= 0.9
    assert facts(observed) == facts(observe(config({str(FIRST): "09:30-10:00"}), bars, end=FIRST))


def test_a_pause_takes_nothing_from_the_minute_it_falls_in(bars: pa.Table) -> None:
    # Minutes of a sixth of a second each, and a pause in every one of them: were it begun anew by
    # that, none would end.
    observed = engine_of(config({str(FIRST): "09:30-09:36"}), bars, end=FIRST, speed=360)
    began = time.monotonic()

    with running(observed) as thread:
        while thread.is_alive() and time.monotonic() - began < 300:
            time.sleep(0.1)
            observed.engine.pause("operator")
            time.sleep(0.02)
            observed.engine.resume("operator")

    assert time.monotonic() - began < 300
    assert facts(observed) == facts(observe(config({str(FIRST): "09:30-09:36"}), bars, end=FIRST))


def test_time_goes_on_when_every_token_is_given_back(bars: pa.Table) -> None:
    observed = engine_of(config(), bars, speed=HALF_A_SECOND)
    for token in ("operator", "scan"):
        observed.engine.pause(token)

    with running(observed) as thread:
        time.sleep(0.1)
        observed.engine.resume("operator")
        observed.engine.resume("unknown")
        time.sleep(0.1)
        assert step_of(observed) == 0
        observed.engine.resume("scan")
        thread.join(120)

    assert observed.dates == [str(FIRST), str(SECOND)]


@pytest.mark.parametrize("speed", [0.0, HALF_A_SECOND])
def test_a_paused_run_takes_single_steps(bars: pa.Table, speed: float) -> None:
    observed = engine_of(config(), bars, speed=speed)
    observed.engine.pause("operator")

    with running(observed) as thread:
        for step in range(1, 6):
            observed.engine.step()
            assert eventually(lambda step=step: step_of(observed) == step)  # type: ignore[misc]
            time.sleep(0.03)
            assert step_of(observed) == step
        observed.engine.resume("operator")
        thread.join(120)

    assert facts(observed) == facts(observe(config(), bars))


def test_a_runtime_is_paused_stepped_and_closed_while_it_is_paused(bars: pa.Table) -> None:
    before = openbell_threads()
    with Runtime(config_from(config()), bars, speed=HALF_A_SECOND) as runtime:
        runtime.pause()
        runtime.start()
        runtime.step()
        assert runtime.status()["state"] == "paused"

    assert eventually(lambda: openbell_threads() <= before)
    assert runtime.status()["state"] == "stopped"


# Begun inside a day


MOMENT = datetime(2024, 7, 1, 12, 45)  # noqa: DTZ001 local to the exchange
MOMENT_NS = local_instant(FIRST, MOMENT.time(), NEW_YORK)
WHOLE_DAYS: dict[str, str] = {}


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_a_run_begun_inside_a_day_finds_the_whole_day_and_marks_its_past(
    request: pytest.FixtureRequest, kind: str
) -> None:
    rows, keys = request.getfixturevalue(kind), config(WHOLE_DAYS, data={"kind": kind})

    whole = observe(keys, rows)
    inside = observe(keys, rows, start=MOMENT)

    assert facts(inside) == facts(whole)
    past = {fact for fact, late in signals(inside) if late}
    assert past == {fact for fact in facts(whole) if fact[4] <= MOMENT_NS}
    assert 0 < len(past) < len(facts(whole))
    assert inside.states(str(FIRST))[1] == ("ACTIVE", MOMENT_NS)


def test_a_moment_may_carry_its_zone(bars: pa.Table) -> None:
    aware = datetime.fromtimestamp(MOMENT_NS // SECOND_NS, UTC)

    of_zone = observe(config(WHOLE_DAYS), bars, start=aware)

    assert signals(of_zone) == signals(observe(config(WHOLE_DAYS), bars, start=MOMENT))


def test_a_moment_after_the_close_begins_with_the_next_day(bars: pa.Table) -> None:
    found = observe(config(), bars, start=MOMENT)  # the day ended at 10:00

    assert found.dates == [str(SECOND)]
    assert not any(late for _, late in signals(found))


def test_a_paced_run_crosses_its_past_at_once(bars: pa.Table) -> None:
    keys = config({str(FIRST): "09:30-16:00"})
    at_a_quarter_to_four = datetime(2024, 7, 1, 15, 45)  # noqa: DTZ001

    found = observe(keys, bars, start=at_a_quarter_to_four, end=FIRST, speed=HALF_A_SECOND)

    assert found.engine.metrics()["drift"]["count"] == 15  # waits, a minute each
    assert facts(found) == facts(observe(keys, bars, end=FIRST))
    past = local_instant(FIRST, at_a_quarter_to_four.time(), NEW_YORK)
    assert all(late == (fact[4] <= past) for fact, late in signals(found))


def test_a_configuration_may_begin_inside_a_day(bars: pa.Table) -> None:
    import openbell

    moment = {"start": "2024-07-01T12:45", "end": "2024-07-02"}

    result = openbell.backtest(config(WHOLE_DAYS, backtest=moment), bars)
    with Runtime.from_config(config(WHOLE_DAYS, feed=moment), bars) as runtime:
        fed = [signal.backfilled for signal in runtime.signals()]

    marks = result.signals["backfilled"].to_pylist()
    assert marks == fed
    assert set(marks) == {True, False}
