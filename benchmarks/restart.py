"""How long a run takes to be ready again after it was killed deep inside a day.

Two days are run, and so many steps more are stored for the last of them, with a snapshot after them
as a run leaves one every few seconds. Prints how long the next process takes from opening the store
until its actors are where they were, its resident memory, and the database's size, for a tenth of
the steps and for all of them: only the size may grow, by the steps.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from openbell.actors import clock
from openbell.adapters.sample import write_sample
from openbell.adapters.stores import CommitRecord, Snapshot, Store, open_store, this_process
from openbell.runtime.config import Config, config_from
from openbell.runtime.lifetime import recovery
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record.codec import encode
from openbell.runtime.record.recorded import stretches

BLOCK = 5_000
"""Steps of one commit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "minutes")
        write_sample(data, symbols=2, days=2, seed=3)
        print(f"{'steps':>10} {'ready, s':>9} {'memory, MB':>11} {'database, MB':>13}")
        for steps in (options.steps // 10, options.steps):
            file = Path(folder, f"{steps}.db")
            config = config_from(
                {
                    "exchange": "XNYS",
                    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
                    "data": {"path": str(data)},
                    "store": {"url": f"sqlite:///{file}"},
                }
            )
            fill(config, steps)
            seconds = ready(config)
            memory = psutil.Process().memory_info().rss / 1e6
            print(f"{steps:>10,} {seconds:>9.2f} {memory:>11.0f} {size_of(file) / 1e6:>13.1f}")


def size_of(file: Path) -> int:
    return sum(path.stat().st_size for path in file.parent.glob(f"{file.name}*"))


def fill(config: Config, steps: int) -> None:
    """A run that has ended, with so many steps of its last day before its last snapshot."""
    with closing_store(config) as store:
        run = DurableRun(config, store)
        run.run()
        head = store.head()
        (last,) = store.steps(after=head.step - 1)
        newest = store.epochs()[0]
        found = recovery.restored(store, head.step)
        fence = store.acquire(this_process(), config.lease.ttl.ns)
        commit, number = head.commit, head.step
        while number < head.step + steps:
            commit += 1
            count = min(BLOCK, head.step + steps - number)
            block = tuple(replace(last, number=number + 1 + i) for i in range(count))
            number += count
            store.commit(fence, CommitRecord(commit, b"%016d" % commit, steps=block))
        # The newest snapshot is of the end, as a run leaves one every few seconds.
        snapshot = snapshot_of(found.states, newest.market_ns, last.trading_date, number)
        record = CommitRecord(commit + 1, b"%016d" % (commit + 1), snapshot=snapshot)
        store.commit(fence, record)
        store.release(fence)


def snapshot_of(states: Mapping[str, Any], market_ns: int, day: date, step: int) -> Snapshot:
    moved = {**states, clock.NAME: replace(states[clock.NAME], step=step)}
    encoded = {name: encode(state, compressed=True) for name, state in moved.items()}
    return Snapshot(market_ns, day, encoded, tuple(encoded))


def ready(config: Config) -> float:
    """Seconds from opening the store until the actors are where they were."""
    began = time.perf_counter()
    with closing_store(config) as store:
        run = DurableRun(config, store)
        log = stretches(store)
        found = recovery.restored(store, log[-1].last, eras=run.eras)
        recovery.restore(run.engine, run.plan, found)
        seconds = time.perf_counter() - began
        run.close()
    return seconds


def closing_store(config: Config) -> closing[Store]:
    store: Store = open_store(config.store.url, config.name)
    return closing(store)


if __name__ == "__main__":
    main()
