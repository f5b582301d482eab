"""How long a run takes to be ready again after it was killed deep inside a day.

A day is begun by pushed ticks. So many steps more are stored for it, with ten ticks each, as a
commit of thousands of steps keeps them, and a snapshot after them, as a run leaves one every few
seconds. Prints how long the next process takes from opening the store until its actors are where
they were, its resident memory, and what a step takes in the step log and in the journal, for a
tenth of the steps and for all of them: only the size may grow, by the steps.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from backtest_speed import in_child

from openbell import Runtime
from openbell.actors import clock
from openbell.adapters.stores import CommitRecord, Snapshot, Step, Store, open_store, this_process
from openbell.market.arrivals import no_counts
from openbell.market.bars import RowBatch
from openbell.market.days import MarketTime, TradingDay
from openbell.messages.control import Arrived
from openbell.messages.time import Grant
from openbell.runtime.config import Config, config_from
from openbell.runtime.lifetime import recovery
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record import feedlog, steplog
from openbell.runtime.record.codec import encode
from openbell.runtime.record.recorded import stretches

DAY = date(2025, 8, 26)
OPENED = datetime(2025, 8, 26, 13, 30, tzinfo=UTC)
SYMBOLS = tuple(f"S{number:03}" for number in range(500))
BLOCK = 5_000
"""Steps of one commit."""
TICKS = 10
"""Of one step."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    options = parser.parse_args()
    print(
        f"{'steps':>10}{'ready, s':>10}{'memory, MB':>12}{'database, MB':>14}"
        f"{'log, B a step':>15}{'journal, B a tick':>19}"
    )
    with tempfile.TemporaryDirectory() as folder:
        for steps in (options.steps // 10, options.steps):
            file = Path(folder, f"{steps}.db")
            config = config_from(
                {
                    "exchange": "XNYS",
                    "symbols": list(SYMBOLS),
                    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
                    "data": {"kind": "ticks", "order": "arrival"},
                    "clock": {"time": "feed"},
                    "feed": {"type": "push", "start": str(DAY), "end": str(DAY)},
                    "store": {"url": f"sqlite:///{file}"},
                }
            )
            log, journal = in_child(fill, config, steps)
            seconds, memory = in_child(ready, config)
            size = sum(path.stat().st_size for path in file.parent.glob(f"{file.name}*")) / 1e6
            print(
                f"{steps:>10,}{seconds:>10.2f}{memory:>12.0f}{size:>14.1f}"
                f"{log / steps:>15.1f}{journal / steps / TICKS:>19.1f}"
            )


def fill(config: Config, steps: int) -> tuple[int, int]:
    """A run that was left inside a day, with so many steps before its last snapshot.

    Returns
    -------
    log, journal : int
        Bytes of the entries of both.
    """
    with Runtime.from_config(config, durable=True) as runtime:
        runtime.push_ticks("S000", OPENED, 100.0, size=1)
        while runtime.durable_position() < 1:
            time.sleep(0.01)
    with closing(opened(config)) as store:
        head = store.head()
        (last,) = store.steps(after=head.step - 1)
        found = recovery.restored(store, head.step)
        day = next(iter(found.journal.values())).day
        fence = store.acquire(this_process(), config.lease.ttl.ns)
        before, commit, number, now_ns = store.usage().bytes, head.commit, head.step, last.market_ns
        rng = np.random.default_rng(1)
        journaled = 0
        while number < head.step + steps:
            commit += 1
            count = min(BLOCK, head.step + steps - number)
            made = [*some_steps(rng, day, number, count, now_ns)]
            entry = feedlog.entry(DAY, [(step.number, came) for step, came in made])
            journaled += len(entry.body)
            block = tuple(step for step, _ in made)
            record = CommitRecord(commit, b"%016d" % commit, steps=block, journal=(entry,))
            store.commit(fence, record)
            number, now_ns = number + count, block[-1].market_ns
        log = store.usage().bytes - before - journaled
        moved = {**states_of(store, head.step)}
        moved[clock.NAME] = replace(moved[clock.NAME], step=number)
        encoded = {name: encode(state, compressed=True) for name, state in moved.items()}
        snapshot = Snapshot(now_ns, DAY, encoded, tuple(encoded))
        store.commit(fence, CommitRecord(commit + 1, b"%016d" % (commit + 1), snapshot=snapshot))
        store.release(fence)
    return log, journaled


def some_steps(
    rng: np.random.Generator, day: TradingDay, number: int, count: int, now_ns: int
) -> Any:
    """Steps as ticks bring them, each some milliseconds after the one before."""
    instants = now_ns + np.cumsum(rng.integers(1_000, 40_000, count)) * 1_000
    size, counts = count * TICKS, no_counts(len(SYMBOLS))
    code = rng.integers(0, len(SYMBOLS), size).astype(np.int32)
    ts = np.repeat(instants, TICKS) - rng.integers(0, 1_000, size) * 1_000
    price = np.round(100 + rng.normal(0, 0.2, size), 2)
    volume = rng.integers(1, 90, size).astype(np.float64) * 10
    from_ns = now_ns
    for i, until_ns in enumerate(instants.tolist()):
        of = slice(i * TICKS, (i + 1) * TICKS)
        rows = RowBatch(
            day,
            SYMBOLS,
            None,
            code[of],
            ts[of],
            ts[of],
            *(4 * (price[of],)),
            volume[of],
        )
        position = (number + i) * TICKS
        arrived = Arrived(date=DAY, rows=rows, counts=counts, bad=(), position=position)
        grant = Grant(
            step=number + 1 + i,
            from_ns=MarketTime(from_ns),
            until_ns=MarketTime(until_ns),
            inputs=(arrived,),
        )
        entry = steplog.written(grant, {})
        yield Step(grant.step, until_ns, entry, rng.bytes(16), DAY), arrived
        from_ns = until_ns


def states_of(store: Store, step: int) -> dict[str, Any]:
    return recovery.restored(store, step).states


def ready(config: Config) -> tuple[float, float]:
    """Seconds from opening the store until the actors are where they were, and MB of memory then."""
    began = time.perf_counter()
    with closing(opened(config)) as store:
        run = DurableRun(config, store)
        log = stretches(store)
        found = recovery.restored(store, log[-1].last, eras=run.eras)
        recovery.restore(run.engine, run.plan, found)
        seconds = time.perf_counter() - began
        memory = psutil.Process().memory_info().rss / 1e6
        run.close()
    return seconds, memory


def opened(config: Config) -> Store:
    store: Store = open_store(config.store.url, config.name)
    return store


if __name__ == "__main__":
    main()
