"""`openbell run` on data that can't be run, or that comes when its day is over."""

from __future__ import annotations

from pathlib import Path

from commands import run

CONFIG = """\
exchange: CMES
sessions:
  - {name: Open, start: 08:30, end: 08:31}
data: {path: minutes, symbol: ES, timezone: America/Chicago}
store: {url: sqlite:///state.db}
"""
HEADER = "ts,open,high,low,close,volume\n"
EVENING = HEADER + "2024-07-08 08:30,100,101,99,100,1\n2024-07-08 17:00,100,101,99,100,1\n"
MORNING = HEADER + "2024-07-09 08:30,100,101,99,100,1\n2024-07-09 08:32,105,105,105,105,1\n"


def put(folder: Path, name: str, text: str) -> None:
    (folder / "minutes").mkdir(exist_ok=True)
    (folder / "minutes" / name).write_text(text)
    (folder / "config.yaml").write_text(CONFIG)


def test_bars_of_a_day_that_had_ended_are_told(tmp_path: Path) -> None:
    put(tmp_path, "1.csv", EVENING)
    assert run("run", cwd=tmp_path).code == 0
    put(tmp_path, "2.csv", MORNING)

    again = run("run", cwd=tmp_path)

    assert again.code == 0
    assert "2024-07-09 had ended before the data got 2 more of its bars" in again.err


def test_nothing_is_told_where_nothing_came(tmp_path: Path) -> None:
    put(tmp_path, "1.csv", EVENING)
    run("run", cwd=tmp_path)

    again = run("run", cwd=tmp_path)

    assert (again.code, again.err) == (0, "")
    assert again.out.startswith("This run had ended before")


def test_rows_that_are_mostly_unusable_are_refused_before_anything_is_kept(tmp_path: Path) -> None:
    put(tmp_path, "1.csv", HEADER + "2024-07-08 08:30,-100,-99,-101,-100,1\n")

    refused = run("run", cwd=tmp_path)

    assert refused.code == 2
    assert "write data.allow_negative_prices: true" in refused.messages[-1]
    config = CONFIG.replace("symbol: ES", "symbol: ES, allow_negative_prices: true")
    (tmp_path / "config.yaml").write_text(config)
    followed = run("run", cwd=tmp_path)
    assert followed.code == 0
