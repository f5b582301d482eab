"""What may wait while nothing is granted stays bounded."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

import openbell
from openbell.actors import clock
from openbell.errors import FeedFull
from openbell.messages.control import Arrived, Loaded

CONFIG: dict[str, Any] = {
    "exchange": "XNYS",
    "symbols": ["A"],
    "sessions": [{"name": "Morning", "start": "09:30", "end": "09:40"}],
    "data": {"kind": "ticks"},
    "feed": {
        "type": "push",
        "start": "2024-07-01",
        "end": "2024-07-01",
        "options": {"rows_max": 50, "full": "raise"},
    },
}
OPENED_NS = 1_719_840_600_000_000_000


def push_on(runtime: openbell.Runtime) -> None:
    for number in range(1_000):
        runtime.push_ticks("A", OPENED_NS + number, 10.0)


def held(runtime: openbell.Runtime) -> tuple[Any, ...]:
    state: clock.State = runtime._run.engine.cells[clock.NAME].state
    return state.inputs


def test_a_clock_that_is_held_has_one_piece_of_a_feed_however_much_is_pushed() -> None:
    with openbell.Runtime.from_config(CONFIG, durable=False) as runtime:
        runtime.push_ticks("A", OPENED_NS, 10.0)
        runtime.pause()
        with pytest.raises(FeedFull):
            push_on(runtime)

        assert runtime.status()["feed"]["rows"] >= 50
        # What the day's opening asked for may wait beside it.
        kinds = Counter(type(entered) for entered in held(runtime))
        assert kinds[Arrived] <= 1
        assert kinds.keys() <= {Arrived, Loaded}
        assert kinds[Loaded] <= 1
        assert runtime.status()["feed"]["waiting_rows"] <= 50
