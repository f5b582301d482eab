"""Act once on each signal, whatever is killed: `python examples/bot.py examples/us.yaml minutes`.

The act and the signal's cursor go into one transaction. Started again, it goes on after the last
signal that it acted on, and the run goes on where it was.
"""

import sqlite3
import sys

from openbell import Runtime

config, data, *rest = sys.argv[1:]
book = sqlite3.connect(rest[0] if rest else "bot.db")
with book:
    book.execute("create table if not exists acts (signal text, price real, size integer)")
    book.execute("create table if not exists place (id integer primary key, cursor text)")
place = book.execute("select cursor from place").fetchone()

with Runtime.from_config(config, data) as runtime:
    for signal in runtime.signals(after=place and place[0]):
        size = 100 if signal.side == "HIGH_BREAK" else -100
        with book:  # both or neither
            book.execute("insert into acts values (?, ?, ?)", (signal.id, signal.price, size))
            book.execute("replace into place values (1, ?)", (signal.cursor,))

acts, net = book.execute("select count(*), coalesce(sum(size), 0) from acts").fetchone()
print(f"{acts} acts, {net} shares")
book.close()
