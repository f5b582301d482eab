"""What is dropped while a run goes on."""

from __future__ import annotations

from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from openbell.adapters.sample import write_sample
from openbell.adapters.stores import Store, open_store
from openbell.runtime.config import Config, config_from
from openbell.runtime.lifetime import recovery, retention
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record.ledger import Ledger

KEEP = 3
DAYS = (date(2024, 1, 2), date(2024, 1, 3))


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("minutes")
    write_sample(out, symbols=2, days=2, seed=5)
    return out


def config_of(minutes: Path, **more: Any) -> Config:
    return config_from(
        {
            "exchange": "XNYS",
            "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
            "data": {"path": str(minutes)},
            "clock": {"step": "bar"},
            "snapshot": {"every": "0.001s", "keep": KEEP},
            "calendar": {"special_sessions": {str(day): "09:30-09:50" for day in DAYS}},
            **more,
        }
    )


def counting(store: Store, counts: list[int]) -> type[DurableRun]:
    class Counting(Ledger):
        """Each step is a commit of its own, and a snapshot."""

        def start(self) -> None:
            self._gather = 0.0

        def settled(self, settled: Any) -> None:
            super().settled(settled)
            while self.commit_waiting():
                counts.append(len(store.epochs()))

    class Run(DurableRun):
        ledger_kind = Counting

    return Run


def test_snapshots_inside_a_day_are_dropped_as_new_ones_come(
    minutes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PRUNE_SECONDS", 0.0)
    counts: list[int] = []
    with closing(open_store("memory://", "bot")) as store:
        counting(store, counts)(config_of(minutes), store).run()

        assert len(counts) > 40  # each minute of two short days
        # Beside the last ones: that with which each day begins.
        assert max(counts) <= KEEP + 2
        found = recovery.restored(store, store.head().step)
        assert not found.steps


def test_they_are_looked_at_no_more_often_than_the_disk_can_take(minutes: Path) -> None:
    counts: list[int] = []
    pruned: list[int] = []
    with closing(open_store("memory://", "bot")) as store:
        run = counting(store, counts)(config_of(minutes), store)
        prune = store.prune
        store.prune = lambda *given: (pruned.append(1), prune(*given))  # type: ignore[method-assign,assignment,func-returns-value]
        run._retention.now = lambda: run._retention._pruned_at

        run.run()

        assert len(pruned) == 1  # at the end
