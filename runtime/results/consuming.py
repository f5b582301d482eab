"""Signals, and where a program has come to among them, in that program's own transactions."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, Protocol

from openbell.errors import InputError, RunError
from openbell.runtime.results.signals import Signal

TABLE = "openbell_readers"
"""In the program's database: a row a reader, with the cursor of the signal that it acted on last."""


class Signals(Protocol):
    """What gives signals: a `Runtime`."""

    def signals(self, after: str | None = None) -> Iterator[Signal]: ...


@contextmanager
def consume(connection: Any, runtime: Signals, name: str = "default") -> Iterator[Iterator[Signal]]:
    """Act exactly once on each signal: what is done about one, and that it was, commit together.

        with openbell.consume(book, runtime) as signals:
            for signal in signals:
                book.execute("insert into orders values (?, ?)", (signal.id, signal.price))

    Each turn of the loop is one transaction of `connection`, which is committed when the next signal
    is asked for. What the loop raises, or a turn that it leaves by `break`, is rolled back, and that
    signal comes again the next time. Only what is done through this connection is in its
    transactions: an order to a broker needs the signal's `id` as its key there.

    Parameters
    ----------
    connection : sqlite3.Connection, or a DB-API 2.0 connection, of psycopg, say
        Of the thread that reads; between the signals it is this function's.
    name : str
        Of the reader: each has a place of its own, in the table `openbell_readers`, which is made
        where there is none.

    Raises
    ------
    InputError
        If the connection commits each statement by itself, or is inside a transaction.
    RunError
        If another process has acted on a signal under this name meanwhile; the turn is rolled back.
    ValueError
        If the place is not one of this runtime's log, because the run's state was deleted, say.
    """
    place = _Place(connection, name)
    place.made()
    turns = _turns(runtime, place)
    try:
        with closing(turns):
            yield turns
    except BaseException:
        place.roll_back()
        raise
    place.roll_back()  # a turn that was left by `break`; after whole ones there is nothing


def _turns(runtime: Signals, place: _Place) -> Generator[Signal, None, None]:
    for signal in runtime.signals(after=place.cursor):
        place.begin()
        yield signal
        place.commit(signal.cursor)


class _Place:
    """One reader's row."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._is_sqlite = isinstance(connection, sqlite3.Connection)
        module = sys.modules.get(type(connection).__module__.partition(".")[0])
        style = "qmark" if self._is_sqlite else getattr(module, "paramstyle", "format")
        marks = {"qmark": "?", "format": "%s", "pyformat": "%s"}
        if style not in marks:
            raise InputError(
                f"{type(connection).__module__} writes parameters as {style}, which consume does not "
                "know; keep signal.cursor in a transaction of your own, as docs/embedding.md shows"
            )
        self._mark = marks[style]
        self._name = name
        self.cursor: str | None = None

    def made(self) -> None:
        """Have the row, and read it."""
        if self._inside():
            raise InputError(
                "the connection is inside a transaction; commit it before consume is called"
            )
        if not self._is_sqlite and getattr(self._connection, "autocommit", False) is True:
            raise InputError(
                "the connection commits each statement by itself, so that an act and its place could "
                "come apart; open it with autocommit off"
            )
        self.begin()
        try:
            self._do(
                f"create table if not exists {TABLE} "
                "(name varchar(200) primary key, at_cursor varchar(200) not null)"
            )
            found = self._row()
            if found is None:
                self._do(f"insert into {TABLE} values (%, %)", self._name, "")  # noqa: S608 TABLE is a constant
            self._commit()
        except BaseException:
            self.roll_back()
            raise
        self.cursor = found or None

    def begin(self) -> None:
        # sqlite3 begins by itself, or never, by settings that are its owner's.
        if self._is_sqlite:
            if self._inside():
                raise InputError(
                    "the connection is inside a transaction that consume did not begin"
                )
            self._connection.execute("begin")

    def commit(self, cursor: str) -> None:
        """The act of a turn, with the signal's cursor; None of it if someone else was faster."""
        if self._is_sqlite and not self._inside():
            raise RunError(
                "the loop has committed or rolled back itself; leave that to consume, which commits "
                "what is done about a signal together with its place"
            )
        before = self.cursor or ""
        where = "where name = % and at_cursor = %"
        changed = self._do(f"update {TABLE} set at_cursor = % {where}", cursor, self._name, before)  # noqa: S608 TABLE is a constant
        if changed != 1:
            self.roll_back()
            raise RunError(
                f"another process reads as {self._name!r} and has acted on this signal; give each "
                "reader a name of its own"
            )
        self._commit()
        self.cursor = cursor

    def roll_back(self) -> None:
        if not self._is_sqlite:
            # A connection that was lost has rolled back by itself.
            with suppress(Exception):
                self._connection.rollback()
        elif self._inside():
            self._connection.execute("rollback")

    def _inside(self) -> bool:
        if self._is_sqlite:
            return bool(self._connection.in_transaction)
        status = getattr(getattr(self._connection, "info", None), "transaction_status", 0)
        return bool(status)  # psycopg's IDLE is 0; others don't say

    def _commit(self) -> None:
        if self._is_sqlite:
            self._connection.execute("commit")
        else:
            self._connection.commit()

    def _row(self) -> str | None:
        with closing(self._connection.cursor()) as asked:
            text = f"select at_cursor from {TABLE} where name = {self._mark}"  # noqa: S608 TABLE is a constant
            asked.execute(text, (self._name,))
            found = asked.fetchone()
        if found is None:
            return None
        # psycopg gives bytes where the database is of SQL_ASCII.
        return found[0].decode() if isinstance(found[0], bytes) else str(found[0])

    def _do(self, text: str, *values: str) -> int:
        with closing(self._connection.cursor()) as asked:
            asked.execute(text.replace("%", self._mark), values)
            return int(asked.rowcount)
