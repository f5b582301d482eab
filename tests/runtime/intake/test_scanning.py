"""The thread that calls when a scan has not answered in time."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from openbell.runtime.intake.scanning import Deadline

LONG, WAIT = 600.0, 60.0


@pytest.fixture
def deadline() -> Iterator[Deadline]:
    made = Deadline()
    yield made
    made.end()
    made.thread.join(WAIT)
    assert not made.thread.is_alive()


def test_it_calls_once_the_time_is_over_and_again_when_set_again(deadline: Deadline) -> None:
    called: SimpleQueue[str] = SimpleQueue()

    deadline.set(0.01, lambda: called.put("first"))
    assert called.get(timeout=WAIT) == "first"
    deadline.set(0.01, lambda: called.put("second"))

    assert called.get(timeout=WAIT) == "second"
    assert called.empty()


def test_an_earlier_time_takes_the_place_of_a_later_one(deadline: Deadline) -> None:
    called: SimpleQueue[str] = SimpleQueue()

    deadline.set(LONG, lambda: called.put("late"))
    deadline.clear()
    deadline.set(LONG, lambda: called.put("late too"))
    deadline.set(0.01, lambda: called.put("early"))

    assert called.get(timeout=WAIT) == "early"
    assert called.empty()
