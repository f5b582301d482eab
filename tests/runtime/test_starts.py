"""A run that follows the host's clock may be started at any moment, for the first time or again."""

from __future__ import annotations

import pytest
from by_hand import ByHand
from starts import STARTS, started

FEW = STARTS[::7]


def found(run: ByHand) -> tuple[str, str, str, str]:
    statuses = {name: document["status"] for name, document in run.sessions().items()}
    return str(run.today), run.state, statuses.get("M", ""), statuses.get("N", "")


@pytest.mark.parametrize("case", STARTS, ids=lambda case: f"{case[0]} {case[1]}")
def test_a_first_start_finds_the_day_that_it_is_in(
    case: tuple[str, str, str, str, str, str],
) -> None:
    of, when, *expected = case
    made, begins = started(of, when)

    run = ByHand(made, begins).until(begins + 60)

    assert found(run) == tuple(expected)


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if case in FEW else [pytest.mark.slow]) for case in STARTS],
    ids=lambda case: f"{case[0]} {case[1]}",
)
def test_a_start_after_a_kill_days_before_finds_it_too(
    case: tuple[str, str, str, str, str, str],
) -> None:
    of, when, *expected = case
    made, begins = started(of, when)
    if when.endswith(("15:59:30", "15:29:59")):
        # Whether rows of this day are still to come is known when it has closed.
        expected = [expected[0], "ENDED", "", ""]
    before = begins - 4 * 86_400
    run = ByHand(made, before).tick(before + 30, "A", 100.0)

    run.kill(before + 90, back=begins).until(begins + 60)

    assert run.restarts == 1
    assert found(run) == tuple(expected)
    first = run.audit("day")[0]["trading_date"]
    over = [entry for entry in run.audit("day") if entry["to"] == "ENDED"]
    assert (first == expected[0]) or (first in {entry["trading_date"] for entry in over})
