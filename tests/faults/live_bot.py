"""A program that pushes recorded rows into a durable run from three threads, in chunks drawn at random.

It begins where the run has come to, a few rows earlier, so that it may be killed at any instant.
"""

from __future__ import annotations

import random
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pyarrow.parquet as pq

from openbell import Runtime

THREADS = 3


def main(config: str, rows: str, kind: str, last_day: str, seed: str, chunk_max: str) -> None:
    came = pq.read_table(rows)
    drawn, turn = random.Random(int(seed)), threading.Lock()
    with Runtime.from_config(config) as runtime:
        push = runtime.push_ticks if kind == "ticks" else runtime.push_bars
        reached = runtime.durable_position()

        def push_chunks() -> None:
            nonlocal reached
            while True:
                with turn:  # recorded rows have one order, whichever thread has the next of them
                    if reached >= len(came):
                        return
                    first = max(0, reached - drawn.randrange(4))
                    stop = min(len(came), reached + drawn.randint(1, int(chunk_max)))
                    push(came.slice(first, stop - first), position=first)
                    reached = stop

        with ThreadPoolExecutor(THREADS) as threads:
            pushing = [threads.submit(push_chunks) for _ in range(THREADS)]
        if any(of.exception() for of in pushing):
            runtime.wait()  # which says what has ended it
        if reached == len(came):
            runtime.end_day(date.fromisoformat(last_day))
        runtime.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
