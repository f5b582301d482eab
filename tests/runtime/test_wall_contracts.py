"""A future that is another one by the host's clock, over a night and over kills."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from by_hand import ByHand, at, config

FIRST, SECOND = "2024-07-01", "2024-07-02"
OLD, NEW = f"A,{FIRST},F1\n", "A,2024-07-31,F2\n"


def file(folder: Path, *rows: str) -> str:
    (folder / "instruments.csv").write_text("underlying,expiry,symbol\n" + "".join(rows))
    return str(folder / "instruments.csv")


def followed(run: ByHand) -> dict[str, set[str]]:
    """By day, whose price went with A's signals."""
    found: dict[str, set[str]] = {}
    for _, kept in run.store.signals():
        signal = json.loads(kept.body)
        if signal["symbol"] == "A":
            found.setdefault(signal["trading_date"], set()).add(signal["companion"]["symbol"])
    return found


def traded(run: ByHand, day: str) -> None:
    for n, wall in enumerate(("09:30:05", "09:33", "09:36", "09:38")):
        for place, symbol in enumerate(("F1", "F2", "A")):
            run.tick(at(wall, day) + place, symbol, 100.0 * (3 - place) + n)


@pytest.mark.parametrize("killed", ["never", "in the night", "inside the first day"])
def test_the_next_day_has_the_next_contract_by_the_clock(tmp_path: Path, killed: str) -> None:
    whole = file(tmp_path, OLD, NEW)
    made = config(symbols=["A"], companions={"A": {"future": "A"}}, instruments=whole)
    run = ByHand({**made, "symbols": ["A"]}, at("09:00"))

    traded(run, FIRST)
    if killed == "inside the first day":
        run.until(at("09:40"))
        file(tmp_path, NEW)  # of the evening's master: what expires today is not in it
        run.kill(at("09:41"), at("09:42"))
        run.tick(at("09:45"), "F1", 333.0).tick(at("09:46"), "A", 50.0)
    if killed == "in the night":
        run.until(at("18:00"))
        file(tmp_path, NEW)
        run.kill(at("19:00"), at("08:00", SECOND))
    traded(run, SECOND)
    run.until(at("12:30", SECOND))

    assert followed(run) == {FIRST: {"F1"}, SECOND: {"F2"}}
