"""State in memory: of tests, and of backtests, which leave nothing behind.

It is the SQLite store on a database in memory, so that what holds of the one holds of the other.
"""

from __future__ import annotations

import sqlite3
import threading

from openbell.adapters.stores.sqlite.file import new_file


class Memory:
    """Holds the state of any number of names for as long as the object lasts.

    Stores that are opened on one `Memory` are like processes with one file: a test restarts a run
    by closing its store and opening the next.
    """

    where = "memory"

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._connection = sqlite3.connect(
            ":memory:", isolation_level=None, check_same_thread=False
        )
        self._connection.executescript(new_file())

    def reading(self) -> sqlite3.Connection:
        return self._connection

    def writing(self) -> sqlite3.Connection:
        return self._connection

    def check_in_place(self) -> None:
        """Does nothing: nobody could take it away."""

    def close(self) -> None:
        """Does nothing: the next store finds what this one left."""
