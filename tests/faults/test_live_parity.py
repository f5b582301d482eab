"""A sample of `live_parity.py`, which goes through all of it: recorded rows, live and as a backtest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.crashing import nursery
from faults.live_parity import (
    KILLED,
    WAYS,
    Case,
    Recorded,
    Workshop,
    nse_ticks,
    us_minutes,
    us_ticks,
)
from seeds import due_seed
from store_places import server_binary

SEED = due_seed("LIVE_SEED")
"""Of what is drawn; a failure names it."""


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    server_binary()  # skips, or fails in CI, where there is none
    folder = tmp_path_factory.mktemp("live")
    with nursery(folder) as children:
        yield Workshop(folder, children)


@pytest.fixture(scope="module")
def ticks(shared_data: Path) -> Recorded:
    return nse_ticks(shared_data, "2021-04-19").between("09:14", "10:25")


@pytest.fixture(scope="module")
def minutes(shared_data: Path) -> Recorded:
    return us_minutes(shared_data, days=1)


@pytest.mark.parametrize(("way", "killed"), [("push", "run"), ("redis", "server")])
def test_recorded_ticks_that_come_live_give_what_their_backtest_gives(
    way: str, killed: str, workshop: Workshop, ticks: Recorded
) -> None:
    workshop.check(Case(ticks, way, killed, SEED), kills=1)

    assert len(workshop.expected(ticks)["signals"]) > 5


def test_recorded_minutes_that_come_live_give_what_their_backtest_gives(
    workshop: Workshop, minutes: Recorded
) -> None:
    workshop.check(Case(minutes, "push", "server", SEED), kills=1)

    assert len(workshop.expected(minutes)["signals"]) > 5


@pytest.mark.slow
@pytest.mark.parametrize("killed", KILLED)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("day", ["nse ticks", "us minutes", "us ticks"])
def test_whole_recorded_days_that_come_live_give_what_their_backtest_gives(
    day: str, way: str, killed: str, workshop: Workshop, shared_data: Path
) -> None:
    makers = {
        "nse ticks": lambda: nse_ticks(shared_data, "2021-04-16", "2021-04-19"),
        "us minutes": lambda: us_minutes(shared_data),
        "us ticks": lambda: us_ticks(shared_data),
    }

    workshop.check(Case(makers[day](), way, killed, SEED))
