"""What benchmarks compare openbell with comes to the same: an implementation that shares no code."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

import openbell
from openbell.adapters.sample import write_dirty_sample
from openbell.market.library_warnings import known_ones_unseen

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def test_the_whole_job_by_hand_in_numpy_writes_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, ours, theirs = (tmp_path / name for name in ("data", "ours", "theirs"))
    write_dirty_sample(data, symbols=6, days=2, seed=7)
    options = {
        "--config": ROOT / "examples" / "us.yaml",
        "--data": data,
        "--exchange": "XNYS",
        "--out": theirs,
    }
    words = [str(word) for option in options.items() for word in option]
    monkeypatch.setattr(sys, "argv", ["numpy_job.py", *words])

    openbell.backtest(ROOT / "examples" / "us.yaml", data, out=ours)
    with known_ones_unseen():
        runpy.run_path(str(BENCHMARKS / "baselines" / "numpy_job.py"), run_name="__main__")

    speed = runpy.run_path(str(BENCHMARKS / "backtest_speed.py"))
    assert speed["differing_files"](ours, theirs) == "bad_rows.csv"
    # Which has the reason too.
    lines = [(folder / "bad_rows.csv").read_text().splitlines() for folder in (ours, theirs)]
    rows = [[line.split(",")[:3] for line in of] for of in lines]
    assert rows[0] == rows[1]
    assert len(rows[0]) > 1
