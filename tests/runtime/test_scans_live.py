"""Scans of a day that goes by the host's clock, which a test moves by hand."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pytest
from by_hand import ByHand, at, config, shown
from histories import history

import openbell
from openbell.market.scanners import BUILT_IN
from openbell.market.scans import Found, ScanView
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.results.scans import stored_runs
from openbell.testing.clocks import HandClock

SCANS = [{"name": "mine", "type": "mine", "at": ["pre", "10:00"], "then": "follow"}]


class Notes:
    """A scan that notes what it was shown, and never answers twice alike."""

    def __init__(self) -> None:
        self.clock: HandClock | None = None
        self.seen: list[tuple[str, str, list[float]]] = []

    def __call__(self, view: ScanView) -> list[Found]:
        label = "pre" if view.before_open else f"{view.at:%H:%M}"
        when = "" if self.clock is None else shown(self.clock.seconds)
        self.seen.append((f"{view.day.date} {label}", when, view.high.tolist()))
        return [Found(name, float(len(self.seen))) for name in view.symbols]


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> Notes:
    made = Notes()
    monkeypatch.setitem(BUILT_IN, "mine", made)
    return made


def scanned(begins: float = at("09:00")) -> ByHand:
    run = ByHand(config(scanners=SCANS), begins)
    run.tick(at("09:31"), "A", 100.0).tick(at("09:41"), "B", 50.0)
    run.tick(at("10:00:00.2"), "A", 777.0)  # of afterwards: it waits
    run.tick(at("10:00:01.5"), "B", 60.0, ts=at("09:59:59"))  # late, and in time for the scan
    run.tick(at("10:00:02.5"), "B", 70.0, ts=at("09:59:59.5"))  # too late for it
    for n in range(20):
        run.tick(at("10:05") + 20 * n, "AB"[n % 2], 101 + 0.25 * n)
    return run


def found(run: ByHand) -> list[tuple[str, str, Any]]:
    return [(str(of.trading_date), of.at, of.skipped) for of in stored_runs(run.store)]


def test_a_scan_before_the_open_runs_when_the_day_is_prepared_and_rows_wait_for_others(
    notes: Notes,
) -> None:
    run = scanned()
    notes.clock = run.clock

    run.until(at("10:30"))

    assert [(about, when) for about, when, _ in notes.seen] == [
        ("2024-07-01 pre", "09:00:00"),
        ("2024-07-01 10:00", "10:00:02"),  # after clock.lateness
    ]
    assert notes.seen[1][2] == [100.0, 60.0]
    assert found(run) == [("2024-07-01", "pre", None), ("2024-07-01", "10:00", None)]
    assert len(run.signals()) > 0


@pytest.mark.parametrize(
    ("killed", "back"),
    [
        pytest.param("09:10", "09:20", marks=pytest.mark.slow),
        ("09:59:58", "10:00:05"),
        pytest.param("10:00:02.1", "10:00:20", marks=pytest.mark.slow),
        pytest.param("10:06", "10:20", marks=pytest.mark.slow),
    ],
)
def test_a_kill_has_no_scan_asked_again_that_has_answered(
    notes: Notes, killed: str, back: str
) -> None:
    run = scanned().kill(at(killed), at(back)).until(at("15:00"))

    assert run.restarts == 1
    assert [about for about, *_ in notes.seen] == ["2024-07-01 pre", "2024-07-01 10:00"]
    assert found(run) == [("2024-07-01", "pre", None), ("2024-07-01", "10:00", None)]
    replayed = replay_day(config_from(run.config), run.store, date(2024, 7, 1))
    assert replayed.differs is None
    assert len(notes.seen) == 2


def test_a_run_that_begins_inside_a_day_scans_what_is_past(notes: Notes) -> None:
    run = ByHand(config(scanners=SCANS), at("10:30")).tick(at("10:31"), "A", 100.0)

    run.until(at("10:40"))

    assert [about for about, *_ in notes.seen] == ["2024-07-01 pre", "2024-07-01 10:00"]


CATCHING_UP = [
    {"name": "follows", "type": "movers", "at": ["pre", "every 30m"], "then": "follow"},
    {"name": "told", "type": "movers", "at": ["10:15", "every 15m"]},
    {"name": "whole", "type": "movers", "at": ["09:45", "10:00"], "catch_up": "all"},
    {"name": "later", "type": "movers", "at": ["10:00", "10:45"], "catch_up": "none"},
]
MOVES = {"options": {"min_score": 0.5, "since": "open"}}


def test_a_start_inside_a_day_runs_what_matters_of_before_it_as_a_run_from_the_open_would() -> None:
    scans = [{**of, **MOVES} for of in CATCHING_UP]
    rows = [("AB"[n % 2], at("09:31") + 45 * n, 100 + (n % 7) * (0.25 + n % 2)) for n in range(125)]
    made = config(scanners=scans, breakout={"rearm": "inside"})

    run = ByHand(made, at("10:40"), history=history(rows))
    for symbol, ts, price in rows:
        if ts > at("10:40"):
            run.tick(ts, symbol, price)
    run.kill(at("10:50"), at("10:52")).until(at("11:05"))

    table = pd.DataFrame(rows, columns=["symbol", "ts", "price"]).assign(size=1.0)
    table["ts"] = pd.to_datetime((table["ts"] * 1e9).astype("int64"), utc=True)
    stored = {key: of for key, of in made.items() if key not in ("feed", "clock")}
    whole = openbell.backtest(stored, table)
    expected = {(of.scan, of.at): of for of in whole.scans}
    assert len(expected) > 40
    found = {(of.scan, of.at): of for of in stored_runs(run.store)}
    ran = {key: of for key, of in found.items() if of.skipped is None}
    assert list(ran) == [
        ("follows", "pre"),
        ("whole", "09:45"),
        *[("follows", "10:00"), ("whole", "10:00"), ("follows", "10:30"), ("told", "10:30")],
        *[("told", "10:45"), ("later", "10:45"), ("follows", "11:00"), ("told", "11:00")],
    ]
    for key, of in ran.items():
        assert of.backfilled == (key[1] <= "10:40" or key[1] == "pre"), key
        assert of.found == expected[key].found, key
    assert sum(len(of.found) for of in ran.values()) > 8
    assert {key: of.skipped for key, of in found.items() if of.skipped is not None} == {
        ("told", "10:15"): "its 3 times from 09:45 to 10:15 were past when the run came to the day "
        "at 10:40 (catch_up: last)",
        ("later", "10:00"): "it was past when the run came to the day at 10:40 (catch_up: none)",
    }
    ids = [of["id"] for of in whole.signals.to_pylist()]
    assert 3 < len(ids)
    assert sorted(of for of, _ in run.signals()) == sorted(ids)
    again = replay_day(config_from(made), run.store, date(2024, 7, 1))
    assert again.differs is None
