"""Scans in processes of their own: they see what others see, and no fault of theirs ends the run."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pandas as pd
import pytest
from faults import hard_scans

import openbell
from openbell import Runtime
from openbell.adapters.sample import write_sample
from openbell.adapters.scanners import Scan, scans_of
from openbell.errors import ConfigError, RunError
from openbell.market.scanners import BUILT_IN
from openbell.market.scans import Found, ScanSpec, ScanView
from openbell.runtime.config import config_from
from openbell.runtime.intake import scanning
from openbell.runtime.intake.scanprocess import ProcessFailed, ScanProcess

AT = ["pre", "10:00", "12:30"]
MONDAY = date(2024, 7, 1)


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("processes")
    files = write_sample(folder, symbols=4, days=3, seed=5, start=MONDAY)
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    return rows.astype({"symbol": str})


def config(rows: pd.DataFrame, *scans: dict[str, Any]) -> dict[str, Any]:
    first, second, *others = sorted(rows["symbol"].unique())
    return {
        "exchange": "XNYS",
        "symbols": [second, *others],
        "companions": {second: first},
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:34"}],
        "history": {"indicators": {"usual": {"type": "trailing_average", "period": "2d"}}},
        "scanners": list(scans),
    }


def a_scan(worker: str, kind: str, **more: Any) -> dict[str, Any]:
    return {"name": kind, "type": kind, "at": AT, "worker": worker, **more}


def test_a_process_finds_what_a_thread_finds(minutes: pd.DataFrame) -> None:
    def told(worker: str) -> list[Any]:
        scans = [a_scan(worker, kind) for kind in ("tells", "movers", "range_width")]
        scans += [a_scan(worker, "relative_volume", options={"days": 1, "min_score": 0})]
        result = openbell.backtest(
            config(minutes, *scans), minutes, scanners={"tells": hard_scans.tells_all}
        )
        return [run.as_dict() for run in result.scans]

    in_a_process = told("process")

    assert in_a_process == told("thread")
    assert sum(len(run["found"]) for run in in_a_process) > 40
    assert {run["skipped"] for run in in_a_process} == {None}
    reasons = [
        of["reason"] for run in in_a_process for of in run["found"] if run["scan"] == "tells"
    ]
    assert all("'written': 0" in reason for reason in reasons)


def test_a_process_that_ends_or_fails_skips_the_scan_and_the_next_has_another(
    minutes: pd.DataFrame,
) -> None:
    of_day = minutes[minutes["ts"] < "2024-07-02"]
    made = config(minutes, {**a_scan("process", "hard"), "at": ["pre", "every 30m"]})

    result = openbell.backtest(made, of_day, scanners={"hard": hard_scans.fails})

    assert {run.at: run.skipped for run in result.scans if run.skipped is not None} == {
        "10:00": "its process ended with exit code 3",
        "11:00": "its process was ended by SIGKILL, as the system does when memory is short",
        "12:00": "it failed with MemoryError: no text",
        "13:00": "it failed with Unsendable: with a lock",
        "14:00": "it failed with SystemExit: enough",
    }
    assert [len(run.found) for run in result.scans] == [
        int(run.skipped is None) for run in result.scans
    ]
    assert len(result.scans) == 13


def a_view(rows: pd.DataFrame) -> ScanView:
    views: list[ScanView] = []

    def keeps(view: ScanView) -> list[Found]:
        views.append(view)
        return []

    made = config(rows, {**a_scan("thread", "keeps"), "at": ["10:00"]})
    openbell.backtest(made, rows, scanners={"keeps": keeps})
    return views[0]


def hard_scan() -> Scan:
    spec = ScanSpec("hard", "hard", ("10:00",), worker="process")
    return scans_of([spec], {"hard": hard_scans.hangs})[0]


def test_a_process_is_ended_whatever_it_does(minutes: pd.DataFrame) -> None:
    asked = ScanProcess()
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(asked.found, hard_scan(), a_view(minutes), 10, 600.0)
        while asked.pid is None and not found.done():
            time.sleep(0.01)
        asked.kill()
        with pytest.raises(ProcessFailed, match="its process was ended by SIGKILL"):
            found.result(120)


@pytest.mark.slow
def test_a_process_that_hangs_is_ended_at_its_deadline(minutes: pd.DataFrame) -> None:
    made = config(minutes, a_scan("process", "hard", timeout_seconds=20, then="follow"))
    with Runtime(
        config_from(made), minutes, speed=1e9, end=MONDAY, scanners={"hard": hard_scans.hangs}
    ) as runtime:
        runtime.run()
        found = runtime.scans()

    (then,) = [run for run in found if run.at == "10:00"]
    assert then.skipped is not None
    assert "did not answer within 20 s (timeout_seconds); its process was ended" in then.skipped
    assert [of.became for of in found[-1].found] == ["followed"]


@pytest.mark.slow
def test_a_process_whose_run_was_killed_ends_by_itself(minutes: pd.DataFrame) -> None:
    with pytest.raises(ProcessFailed, match="its process was ended by SIGALRM"):
        ScanProcess().found(hard_scan(), a_view(minutes), 10, 1.0)


@pytest.mark.slow
def test_a_backtest_does_not_wait_for_ever_for_a_process(
    minutes: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scanning, "AWAITED_SECONDS", 20.0)
    made = config(minutes, a_scan("process", "hard"))

    with pytest.raises(RunError, match="2024-07-01 10:00: scan hard has not answered within 20 s"):
        openbell.backtest(made, minutes, scanners={"hard": hard_scans.hangs})


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (lambda view: [], "no other process finds its function: .*lambda"),
        (hard_scans.Unsendable().with_traceback, "no other process finds its function: "),
    ],
)
def test_a_function_that_no_process_finds_is_refused(
    minutes: pd.DataFrame, function: Callable[..., Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        openbell.backtest(
            config(minutes, a_scan("process", "hard")), minutes, scanners={"hard": function}
        )


def test_what_is_built_in_is_found_by_a_process() -> None:
    assert all(function.__module__ == "openbell.market.scanners" for function in BUILT_IN.values())
