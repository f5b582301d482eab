"""What waits for a store that is away is about what the backlog counts."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from openbell.adapters.sample import write_sample
from openbell.adapters.stores import open_store
from openbell.messages.control import Loaded
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record.ledger import Ledger


def days_held() -> int:
    return sum(isinstance(found, Loaded) for found in gc.get_objects())


class Waiting(Ledger):
    """Of a store that is away from the first step to the last."""

    bytes_before = bytes_kept = bytes_counted = 0
    days_before = days_kept = 0

    def start(self) -> None:
        tracemalloc.start()
        type(self).days_before = days_held()
        type(self).bytes_before = tracemalloc.get_traced_memory()[0]

    def drain(self) -> None:
        gc.collect()
        kind = type(self)
        kind.bytes_kept = tracemalloc.get_traced_memory()[0] - kind.bytes_before
        kind.bytes_counted = self._waiting
        kind.days_kept = days_held() - kind.days_before
        tracemalloc.stop()


class Run(DurableRun):
    ledger_kind = Waiting


@pytest.mark.parametrize(
    ("days", "journaled", "more"),
    [
        # A snapshot is due at each step: of those that wait, only the last will be written.
        pytest.param(2, 0, {"clock": {"step": "bar"}, "snapshot": {"every": "0.001s"}}, id="small"),
        pytest.param(6, 0, {"clock": {"step": "boundary"}}, id="long"),
        pytest.param(6, 8, {"clock": {"step": "boundary"}}, id="a table"),
    ],
)
def test_waiting_steps_keep_about_what_the_backlog_counts(
    days: int, journaled: int, more: dict[str, Any], tmp_path: Path
) -> None:
    """`journaled`: bytes a row that its journal takes at least."""
    symbols = 60
    write_sample(tmp_path / "minutes", symbols=symbols, days=days, seed=5)
    config = config_from(
        {
            "exchange": "XNYS",
            "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
            "data": {"path": str(tmp_path / "minutes")},
            "store": {"backlog": "1GiB"},
            **more,
        }
    )

    table = pq.read_table(tmp_path / "minutes") if journaled else None

    Run(config, open_store("memory://", "bot"), data=table).run()

    rows_of_a_day = 390 * symbols * 6 * 8
    # Besides what waits: a day's rows and the next one's, and the actors' states.
    assert Waiting.bytes_kept < 1.2 * Waiting.bytes_counted + 3 * rows_of_a_day
    assert Waiting.bytes_counted > days * symbols * ((78 + 26) * 48 + 390 * journaled)
    assert Waiting.days_kept < 2
