"""Trades on paper from ticks that are pushed as they come: `python examples/paper_bot.py ticks`.

Each breakout is bought or sold once. The trade and the signal's place stand in one transaction of
paper.db. Killed and started again, the run goes on where it was, rows are pushed again from where
they survive, and nothing is traded twice.
"""

import sqlite3
import sys
import threading

import pyarrow.compute as pc
import pyarrow.dataset as ds

import openbell

# The vendor is a folder of Parquet files here: `openbell data sample --ticks --out ticks`.
ticks = ds.dataset(sys.argv[1]).to_table(columns=["symbol", "ts", "price", "size"]).sort_by("ts")
first, last = (str(ticks["ts"][place].as_py().date()) for place in (0, -1))
config = {
    "name": "paper",
    "exchange": "XNYS",
    "symbols": sorted(pc.unique(ticks["symbol"]).to_pylist()),
    "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}],
    "data": {"kind": "ticks"},
    "feed": {"type": "push", "start": first, "end": last},  # days that are past: rows move time
    "store": {"url": "sqlite:///paper-state.db"},
}
book = sqlite3.connect("paper.db")
book.execute("create table if not exists trades (signal text, symbol text, shares int, price real)")
book.commit()


def push(runtime: openbell.Runtime) -> None:
    """What comes from a vendor, from where a run before has it."""
    start = runtime.durable_position()
    for position in range(start, len(ticks), 1000):
        runtime.push_ticks(ticks.slice(position, 1000), position=position)
    runtime.end_day(last, position=len(ticks))


with openbell.Runtime.from_config(config, durable=True) as runtime:
    threading.Thread(target=push, args=(runtime,), daemon=True).start()
    with openbell.consume(book, runtime, "paper") as signals:
        for signal in signals:
            shares = 100 if signal.side == "HIGH_BREAK" else -100
            trade = (signal.id, signal.symbol, shares, signal.price)
            book.execute("insert into trades values (?, ?, ?, ?)", trade)

count, net = book.execute("select count(*), coalesce(sum(shares), 0) from trades").fetchone()
print(f"{count} trades on paper, {net:+} shares")
book.close()
