"""A future that is another one by the host's clock, over a night and over kills."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from by_hand import ByHand, at, config

from openbell.runtime.intake import instrumentsfile

FIRST, SECOND = "2024-07-01", "2024-07-02"
OLD, NEW = f"A,{FIRST},F1\n", "A,2024-07-31,F2\n"


def file(folder: Path, *rows: str) -> str:
    (folder / "instruments.csv").write_text("underlying,expiry,symbol\n" + "".join(rows))
    return str(folder / "instruments.csv")


@pytest.fixture
def follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a feed is connected: who pushes holds on to the feed that there was."""
    monkeypatch.setattr(instrumentsfile, "_HOLDS_THE_FEED", frozenset())


def followed(run: ByHand) -> dict[str, set[str]]:
    """By day, whose price went with A's signals."""
    found: dict[str, set[str]] = {}
    for _, kept in run.store.signals():
        signal = json.loads(kept.body)
        if signal["symbol"] == "A":
            companion = signal["companion"] or {"symbol": "none"}
            found.setdefault(signal["trading_date"], set()).add(companion["symbol"])
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


THIRD = "2024-07-03"


@pytest.mark.usefixtures("follows")
@pytest.mark.parametrize(
    ("changes", "kills", "expected"),
    [
        ([("13:00", FIRST, NEW)], [], {FIRST: {"F1"}, SECOND: {"F2"}, THIRD: {"F2"}}),
        (
            [("13:00", FIRST, NEW)],
            [("15:00", FIRST), ("17:30", FIRST), ("10:00", SECOND)],
            {FIRST: {"F1"}, SECOND: {"F2"}, THIRD: {"F2"}},
        ),
        # Of the morning's, while the day waits for its open: it counts from the next one on.
        ([("08:00", SECOND, NEW)], [], {FIRST: {"F1"}, SECOND: {"none"}, THIRD: {"F2"}}),
        # What can't be read is told, and what is known holds; the next one is looked at anew.
        (
            [("13:00", FIRST, "A,never,F2\n"), ("14:00", FIRST, None), ("18:00", FIRST, NEW)],
            [],
            {FIRST: {"F1"}, SECOND: {"none"}, THIRD: {"F2"}},
        ),
    ],
)
def test_a_newer_file_counts_from_the_next_day_on_without_a_new_start(
    tmp_path: Path,
    changes: list[tuple[str, str, str | None]],
    kills: list[tuple[str, str]],
    expected: dict[str, set[str]],
) -> None:
    known = file(tmp_path, OLD)
    run = ByHand(
        config(symbols=["A"], companions={"A": {"future": "A"}}, instruments=known), at("09:00")
    )

    def written(row: str | None, of: ByHand) -> None:
        if row is None:
            Path(known).unlink()
        else:
            file(tmp_path, row)

    for wall, day, row in changes:
        run.do(at(wall, day), partial(written, row))
    for wall, day in kills:
        run.kill(at(wall, day), at(wall, day) + 60)
    for day in (FIRST, SECOND, THIRD):
        traded(run, day)
    run.until(at("12:30", THIRD))

    assert followed(run) == expected
    assert run.restarts == len(kills)
    assert sum("F2 goes with A" in told["why"] for told in run.audit("config")) == 1


@pytest.mark.usefixtures("follows")
@pytest.mark.parametrize("killed", [False, True])
def test_a_feed_is_asked_for_the_contracts_of_the_next_days_alone(
    tmp_path: Path, killed: bool
) -> None:
    contracts = ("A,2024-07-05,F1\n", "A,2024-07-31,F2\n", "A,2024-08-30,F3\n", "A,2025-06-30,F9\n")
    keys = {"companions": {"A": {"future": "A"}}, "instruments": file(tmp_path, *contracts)}
    run = ByHand(config(symbols=["A"], **keys), at("09:00"))
    days = (FIRST, SECOND, THIRD, "2024-07-05", "2024-07-08", "2024-07-09")
    asked: dict[str, tuple[str, ...]] = {}

    def look(day: str, of: ByHand) -> None:
        assert of.run is not None
        asked[day] = of.run.plan.symbols

    for day in days:
        traded(run, day)
        run.do(at("10:00", day), partial(look, day))
    if killed:
        for day in (SECOND, THIRD):
            run.kill(at("11:00", day), at("11:01", day))
            run.kill(at("17:00", day), at("17:01", day))
    run.until(at("12:30", days[-1]))

    assert asked[FIRST] == ("A", "F1")
    assert asked["2024-07-05"] == ("A", "F1", "F2")
    assert asked["2024-07-08"] == asked["2024-07-09"] == ("A", "F2")
    assert followed(run) == {of: {"F1"} for of in days[:-2]} | {of: {"F2"} for of in days[-2:]}
    for day, read in asked.items():
        levels = run.sessions(day)["Morning"]["symbols_data"]
        assert followed(run)[day] <= set(levels) <= set(read), day
        assert all(of["tick_count"] for of in levels.values()), day
    assert len(run.audit("config")) == 2
