"""Scans, rules, contracts and symbols that come and go, all in one run over real days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from queue import Queue
from typing import Any, Literal

import pandas as pd
import pytest
from all_of_it import INDICES, ZONE, Change, Fact, Plain, fact, months, written

import openbell
from openbell import Runtime
from openbell.market.scans import Found, ScanView

Given = tuple[dict[str, Any], Plain]


def given(shared_data: Path, folder: Path, first: str, last: str) -> Given:
    index = pd.read_parquet(shared_data / "nse_index_1m_2021.parquet")
    index = index.astype({"symbol": str})
    dates = index.ts.dt.tz_convert(ZONE).dt.strftime("%Y-%m-%d")
    index = index[(dates >= first) & (dates <= last)]
    config = written(folder, index)
    return config, Plain(pd.read_parquet(folder / "minutes"), months(index))


@pytest.fixture(scope="module")
def weeks(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Given:
    """With an expiry on the 25th, and an outage on the 24th whose close came later."""
    return given(shared_data, tmp_path_factory.mktemp("weeks"), "2021-02-15", "2021-02-26")


@pytest.fixture(scope="module")
def year(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Given:
    return given(shared_data, tmp_path_factory.mktemp("year"), "2021-01-01", "2021-12-31")


def compare(found: Sequence[Fact], wanted: Sequence[Fact]) -> None:
    lost, more = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    assert sorted(lost, key=str) == []
    assert sorted(more, key=str) == []


def facts(result: openbell.Result) -> list[Fact]:
    return [(*fact(s["trading_date"], s), s["backfilled"]) for s in result.signals.to_pylist()]


def is_as_plain(of: Given) -> list[Fact]:
    config, plain = of
    result = openbell.backtest({**config, "symbols": list(INDICES)})
    found = facts(result)
    compare(found, list(plain.signals(INDICES)))
    followed = {
        run.trading_date: {f.symbol for f in run.found if f.symbol in INDICES}
        for run in result.scans
        if run.scan == "moving" and not run.skipped
    }
    wanted = {on: plain.moving(on, INDICES) for on in plain.days}
    assert {f.symbol for run in result.scans for f in run.found} == set(INDICES)
    assert followed == {on: names for on, names in wanted.items() if names is not None}
    return found


def test_weeks_are_as_plainly_computed(weeks: Given) -> None:
    found = is_as_plain(weeks)
    assert {signal[1] for signal in found} == {"Opening", "Middle", "Lunch"}
    assert {signal[2] for signal in found} == {"breakout", "closed_beyond", "retest"}


@pytest.mark.slow
def test_a_year_is_as_plainly_computed(year: Given) -> None:
    assert len(is_as_plain(year)) > 500


JOINS = {date(2021, 2, 17)}
ASKED: dict[tuple[date, str], Literal["add", "remove"]] = {
    (date(2021, 2, 18), "12:40"): "remove",
    (date(2021, 2, 22), "13:30"): "add",
    (date(2021, 2, 24), "09:50"): "remove",
    (date(2021, 2, 24), "15:40"): "add",
    (date(2021, 2, 25), "12:40"): "remove",
    (date(2021, 2, 25), "13:30"): "add",
}
"""When BANKNIFTY is asked for, and when it is to go; a scan asks for it first."""


def test_a_symbol_that_comes_and_goes_is_as_plainly_computed(weeks: Given) -> None:
    config, plain = weeks
    held: Queue[str] = Queue()

    def joins(view: ScanView) -> list[Found]:
        return [Found("BANKNIFTY", 1.0, "of that day")] if view.day.date in JOINS else []

    def holds(view: ScanView) -> list[Found]:
        what = ASKED.get((view.day.date, f"{view.at:%H:%M}"))
        if what is not None:
            runtime.pause("test")
            held.put(what)
        return []

    walls = sorted({wall for _, wall in ASKED})
    scanners = [
        *config["scanners"],
        {"name": "joins", "type": "joins", "at": ["11:00"], "then": "add"},
        {"name": "holds", "type": "holds", "at": walls},
    ]
    with Runtime.from_config(
        {**config, "symbols": ["NIFTY"], "scanners": scanners},
        durable=False,
        scanners={"joins": joins, "holds": holds},
    ) as runtime:
        runtime.start()
        for _ in ASKED:
            what = held.get(timeout=120)
            ask = runtime.add_symbols if what == "add" else runtime.remove_symbols
            ask("BANKNIFTY", wait=False)  # it is done once nobody else holds the clock
            runtime.resume("test")
        runtime.wait()
        found = [(*fact(of.trading_date, asdict(of)), of.backfilled) for of in runtime.signals()]

    changes = [Change(instant(on, "11:00"), "add", "BANKNIFTY") for on in JOINS]
    changes += [Change(instant(*at), what, "BANKNIFTY") for at, what in ASKED.items()]
    compare(found, list(plain.signals(["NIFTY"], sorted(changes, key=lambda of: of.at_ns))))
    assert any(signal[-1] for signal in found)


def instant(on: date, wall: str) -> int:
    return int(pd.Timestamp(f"{on} {wall}", tz=ZONE).value)
