"""Wherever a run begins, what it comes to is what the plain reference makes of all rows of the day."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from by_hand import ByHand, at
from histories import Row, history
from reference import Tick, Window, answer_as_arrived
from starts import HOURS, STARTS, started

from openbell.market.bars import RawRows
from openbell.market.days import SECOND_NS, TradingDay
from openbell.runtime.config import config_from
from openbell.runtime.intake.hours import around

Start = tuple[str, str, str, str, str, str]

Levels = dict[str, dict[str, tuple[Any, ...]]]
"""High, low and count, by session and symbol."""

INSIDE = [case for case in STARTS if case[3] != "PRE_MARKET"]
"""Starts when the day is under way, or is over and has not rolled."""

FEW = ("2024-07-01 16:15", "2024-07-02 12:30")

LIVE_SECONDS = 300


def cases() -> list[Any]:
    return [
        pytest.param(
            case, id=f"{case[0]} {case[1]}", marks=[] if case[1] in FEW else [pytest.mark.slow]
        )
        for case in INSIDE
    ]


def planned(made: dict[str, Any], of: str) -> TradingDay:
    day = date.fromisoformat(of)
    return next(d for d in around(config_from(made), day, day).days() if d.date == day)


def walked(day: TradingDay, until: float, seed: str) -> list[Row]:
    """Ticks of two symbols inside the hours, up to an instant."""
    rng = random.Random(seed)
    price = {"A": 100.0, "B": 50.0}
    rows: list[Row] = []
    for segment in day.segments:
        ts = segment.open_ns / SECOND_NS + 1.5
        while ts < min(segment.close_ns / SECOND_NS, until):
            symbol = rng.choice("AB")
            price[symbol] = round(price[symbol] + rng.choice((-0.25, -0.05, 0.05, 0.25)), 2)
            rows.append((symbol, ts, price[symbol]))
            ts += rng.choice((7.25, 31.5, 58.75))
    return rows


def answer(day: TradingDay, rows: Sequence[Row], of: str) -> tuple[list[str], Levels]:
    """The reference's signals, in order, and levels."""
    _, _, morning, noon = HOURS[of]
    ticks: list[Tick] = [(s, round(ts * SECOND_NS), price, 1.0) for s, ts, price in rows]
    windows = [Window("M", *morning), Window("N", *noon)]
    found = answer_as_arrived(day, None, ticks, ("A", "B"), windows, lateness_ns=2 * SECOND_NS)
    signals = [f"{s['session']}:{s['symbol']}:{s['side']}:{s['number']}" for s in found["signals"]]
    levels = {
        session["session"]: {
            symbol: (of["high"], of["low"], of["count"]) for symbol, of in session["levels"].items()
        }
        for session in found["sessions"]
    }
    return signals, levels


def told_by(levels: Levels) -> set[str]:
    """The sessions that the reference knows: none of an evening before."""
    return {name for name, of in levels.items() if of}


def came_to(run: ByHand, sessions: set[str]) -> tuple[list[str], Levels]:
    every = [of.split(":", 2)[2] for of, _ in run.signals()]
    signals = [of for of in every if of.split(":")[0] in sessions]
    levels = {
        name: {
            symbol: (of["high"], of["low"], of["tick_count"])
            for symbol, of in document["symbols_data"].items()
        }
        for name, document in run.sessions().items()
        if document["status"] == "COMPLETED" and name in sessions
    }
    return signals, levels


def with_rows(
    case: Start, tmp_path: Path, *, stored: bool = False, takes: float = 0.0
) -> tuple[ByHand, TradingDay, list[Row]]:
    """A run that begins as a case says; rows of before are in history, those after are fed."""
    of, when, of_day, *_ = case
    made, begins = started(of, when)
    day = planned(made, of_day)
    rows = walked(day, begins + LIVE_SECONDS, when)
    before = [row for row in rows if row[1] < begins]
    run = ByHand(made, begins, history_takes=takes)
    if stored:
        made["data"] = {"kind": "ticks", "path": str(tmp_path / "today.parquet")}
        table = {
            "symbol": [symbol for symbol, _, _ in before],
            "ts": pa.array(
                [round(ts * SECOND_NS) for _, ts, _ in before], pa.timestamp("ns", "UTC")
            ),
            "price": [price for _, _, price in before],
            "size": [1.0] * len(before),
        }
        pq.write_table(pa.table(table), tmp_path / "today.parquet")
    else:
        run.history = history(before)
    for symbol, ts, price in rows:
        if ts >= begins:
            run.tick(ts, symbol, price)
    return run, day, rows


def instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("case", cases())
@pytest.mark.parametrize("stored", [False, True], ids=["a feed's", "stored"])
def test_history_that_is_there_in_time_gives_what_a_run_from_the_open_has(
    case: Start, stored: bool, tmp_path: Path
) -> None:
    run, day, rows = with_rows(case, tmp_path, stored=stored)

    run.until(run.begins + LIVE_SECONDS + 90)

    signals, levels = answer(day, rows, case[0])
    found, completed = came_to(run, told_by(levels))
    assert found == signals
    assert completed == {name: levels[name] for name in completed}
    known = [known_at / SECOND_NS for known_at in run.known_at()]
    assert [late for _, late in run.signals()] == [ts < run.begins for ts in known]


@pytest.mark.parametrize("case", cases())
def test_history_that_comes_late_gives_the_same_levels_and_signals_nothing_twice(
    case: Start, tmp_path: Path
) -> None:
    run, day, rows = with_rows(case, tmp_path, takes=100.0)
    closes = day.close_ns / SECOND_NS + 2

    run.until(run.begins + LIVE_SECONDS + 90)

    signals, levels = answer(day, rows, case[0])
    found, completed = came_to(run, told_by(levels))
    assert len(found) == len(set(found))
    if run.begins + 100 > closes:
        return  # merged until the close, and not after it
    assert completed == {name: levels[name] for name in completed}
    under_way = {
        name
        for name, document in run.sessions().items()
        if name in completed and instant(document["completed_at"]) > run.begins
    }
    ours = {of for of in found if of.split(":")[0] not in under_way}
    theirs = {of for of in signals if of.split(":")[0] not in under_way}
    assert ours == theirs


@pytest.mark.parametrize("case", cases())
def test_history_that_fails_leaves_what_the_feed_brings(case: Start, tmp_path: Path) -> None:
    def gone(symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        raise OSError("the vendor is away")

    run, day, rows = with_rows(case, tmp_path)
    run.history = gone

    run.until(run.begins + LIVE_SECONDS + 90)

    signals, levels = answer(day, [row for row in rows if row[1] >= run.begins], case[0])
    found, completed = came_to(run, told_by(levels))
    assert found == signals
    if run.begins * SECOND_NS < day.close_ns:
        assert completed == {name: levels[name] for name in completed}


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed > 0)) for seed in range(40)]
)
def test_kills_of_a_run_whose_feed_loses_rows_leave_what_a_run_from_the_open_has(seed: int) -> None:
    rng = random.Random(seed)
    made, _ = started("XNYS", "2024-07-01 09:00")
    made["prefetch"] = {"timeout_seconds": rng.choice([5, 30])}
    begins = at("09:00") + rng.choice((0, 0, 1800 + rng.randint(1, 900), rng.randint(1800, 9000)))
    end, day = at("12:15"), planned(made, "2024-07-01")
    rows = walked(day, end, f"kills {seed}")
    takes = rng.choice((0.0, 0.0, 3.0, 20.0, 100.0))
    run = ByHand(made, begins, history=history(rows), history_takes=takes, loses=True)
    for symbol, ts, price in rows:
        if ts >= begins:
            run.tick(ts, symbol, price)
    killed = begins
    for _ in range(rng.randint(1, 3)):
        killed += rng.randint(60, 3000)
        if killed < end - 200:
            back = killed + rng.choice((1, 10, 120, 900))
            run.kill(killed, back)
            killed = back

    run.until(at("12:20"))

    signals, levels = answer(day, rows, "XNYS")
    found, completed = came_to(run, told_by(levels))
    assert completed == {name: levels[name] for name in completed}
    assert len(found) == len(set(found))
    if takes == 0:
        assert set(found) == set(signals)
