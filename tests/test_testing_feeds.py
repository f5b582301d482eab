"""`openbell.testing.check_feed` finds what a run would suffer from."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from openbell.adapters.feeds import Door, Rewind
from openbell.market.bars import RawRows
from openbell.testing import check_feed, delivered

COUNT = 6


def rows(start: int, stop: int) -> RawRows:
    n = stop - start
    return RawRows(
        kind="ticks",
        symbols=("A",),
        code=np.zeros(n, np.int32),
        ts=np.arange(start, stop, dtype=np.int64),
        columns={"price": np.arange(start + 1.0, stop + 1.0), "size": np.ones(n)},
        locate=lambda position: ("numbers", start + position + 1),
    )


class Numbers:
    """Six ticks, two at a time; each subclass does one thing wrong."""

    rewind: Rewind = "position"

    def __init__(self) -> None:
        self.closed = threading.Event()

    def run(self, door: Door, position: int, mark: str) -> None:
        for start in range(self.begins(mark), COUNT, 2):
            door.take(self.made(start, start + 2), self.named(start), str(start + 2))
        self.closed.wait()

    def begins(self, mark: str) -> int:
        return int(mark or 0)

    def named(self, start: int) -> int:
        return start

    def made(self, start: int, stop: int) -> RawRows:
        return rows(start, stop)

    def close(self) -> None:
        self.closed.set()


class SkipsAfterARestart(Numbers):
    def begins(self, mark: str) -> int:
        return int(mark) + 2 if mark else 0


class NamesPositionsTwice(Numbers):
    def named(self, start: int) -> int:
        return start // 2 * 0


class GivesOtherRows(Numbers):
    def __init__(self) -> None:
        super().__init__()
        self.anew = False

    def begins(self, mark: str) -> int:
        self.anew = bool(mark)
        return super().begins(mark)

    def made(self, start: int, stop: int) -> RawRows:
        return rows(start, stop) if not self.anew else replace(rows(start, stop), symbols=("B",))


class LacksAColumn(Numbers):
    def made(self, start: int, stop: int) -> RawRows:
        made = rows(start, stop)
        return replace(made, columns={"price": made.columns["price"]})


class StampsSeconds(Numbers):
    def made(self, start: int, stop: int) -> RawRows:
        made = rows(start, stop)
        return replace(made, ts=made.ts.astype(np.float64))


class StaysOpen(Numbers):
    def close(self) -> None:
        return


class NeverMarks(Numbers):
    def run(self, door: Door, position: int, mark: str) -> None:
        door.take(rows(0, COUNT), 0)
        self.closed.wait()


def test_a_feed_that_delivers_well_passes() -> None:
    found = check_feed(Numbers, COUNT)

    assert found.rows == [("A", n, n + 1.0, 1.0) for n in range(COUNT)]
    assert found.marks == [(2, "2"), (4, "4"), (6, "6")]
    assert found.places[2] == ("numbers", 3)


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (SkipsAfterARestart, "are left out|of 4 rows came"),
        (NamesPositionsTwice, "are others than when they came first"),
        (GivesOtherRows, r"after a restart from '2', position 2, row 2 is \('B'"),
        (LacksAColumn, "rows.columns has"),
        (StampsSeconds, "float64, not int64"),
        (NeverMarks, "no mark came"),
    ],
)
def test_what_a_run_would_suffer_from_is_found(feed: Callable[[], Any], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_feed(feed, COUNT, seconds=5)


def test_a_feed_that_does_not_end_or_does_not_deliver_is_found() -> None:
    open_ = StaysOpen()

    with pytest.raises(AssertionError, match=r"close\(\) did not have"):
        delivered(open_, COUNT, seconds=0.2)
    open_.closed.set()
    with pytest.raises(AssertionError, match="6 of 7 rows came within"):
        delivered(Numbers(), COUNT + 1, seconds=0.2)
