"""A bot on asyncio: it pushes ticks and acts on signals in one loop; nothing blocks it.

`python examples/asyncio_bot.py ticks`, with the folder that `openbell data sample --ticks` makes.
"""

import asyncio
import sys
from collections import Counter

import pyarrow.compute as pc
import pyarrow.dataset as ds

from openbell import Runtime

ticks = ds.dataset(sys.argv[1]).to_table(columns=["symbol", "ts", "price", "size"]).sort_by("ts")
first, last = (str(ticks["ts"][place].as_py().date()) for place in (0, -1))
config = {
    "exchange": "XNYS",
    "symbols": sorted(pc.unique(ticks["symbol"]).to_pylist()),
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}],
    "data": {"kind": "ticks"},
    "feed": {"type": "push", "start": first, "end": last},
    "store": {"url": "memory://"},
}


async def feed(runtime: Runtime) -> None:
    for start in range(0, len(ticks), 1000):
        await runtime.apush_ticks(ticks.slice(start, 1000))
    runtime.end_day(last)


async def trade(runtime: Runtime) -> Counter[str]:
    acts: Counter[str] = Counter()
    async for signal in runtime.asignals():
        acts[signal.side] += 1
    return acts


async def watch(runtime: Runtime) -> None:
    async for event in runtime.aevents(kinds=("day.error", "run.failed")):
        print("stop trading:", event.why)


async def main() -> None:
    async with Runtime.from_config(config) as runtime:
        _, acts, _ = await asyncio.gather(feed(runtime), trade(runtime), watch(runtime))
    print(f"{acts.total()} signals, {acts['HIGH_BREAK']} up, {acts['LOW_BREAK']} down")


asyncio.run(main())
