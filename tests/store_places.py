"""Where the tests of stores keep state, each place with ways to damage what lies there."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Protocol

import pytest
from redis_server import find_server

from openbell.adapters.stores import Store
from openbell.adapters.stores.memory import Memory
from openbell.adapters.stores.redis import RedisStore, connect
from openbell.adapters.stores.sqlite import FileDatabase, SqliteStore

Clock = Callable[[], int]


class Place(Protocol):
    url: str | None
    """None: other processes can't get there."""

    def open(self, name: str = "bot", clock_ns: Clock = time.monotonic_ns) -> Store: ...

    def change_state(self, actor: str, change: Callable[[bytes], bytes | None]) -> None:
        """Of the bot's actor, as stored last; None removes it."""
        ...

    def damage_journal(self, how: str) -> None:
        """The bot's first entry for DAY; `how`: gone, cut, another, day gone."""
        ...

    def set_schema(self, schema: int) -> None: ...


class SqlPlace:
    url: str | None

    def _connection(self) -> sqlite3.Connection:
        raise NotImplementedError

    def execute(self, statement: str) -> None:
        self._connection().execute(statement)

    def change_state(self, actor: str, change: Callable[[bytes], bytes | None]) -> None:
        db = self._connection()
        rowid, body = db.execute(
            "SELECT rowid, body FROM blobs WHERE actor = ? ORDER BY rowid DESC", (actor,)
        ).fetchone()
        changed = change(body)
        if changed is None:
            db.execute("DELETE FROM blobs WHERE rowid = ?", (rowid,))
        else:
            db.execute("UPDATE blobs SET body = ? WHERE rowid = ?", (changed, rowid))

    def damage_journal(self, how: str) -> None:
        first = "position = (SELECT min(position) FROM journal)"
        statement = {
            "gone": f"DELETE FROM journal WHERE {first}",
            "cut": f"UPDATE journal SET body = substr(body, 1, length(body) - 1) WHERE {first}",
            "another": f"UPDATE journal SET entry = 'another' WHERE {first}",
            "day gone": "DELETE FROM journal WHERE trading_date = (SELECT min(trading_date) FROM "
            "journal)",
        }[how]
        assert self._connection().execute(statement).rowcount > 0

    def set_schema(self, schema: int) -> None:
        self._connection().execute(f"PRAGMA user_version = {schema}")


class MemoryPlace(SqlPlace):
    def __init__(self) -> None:
        self.url = None
        self.memory = Memory()

    def open(self, name: str = "bot", clock_ns: Clock = time.monotonic_ns) -> Store:
        return SqliteStore(self.memory, name, clock_ns=clock_ns)

    def _connection(self) -> sqlite3.Connection:
        return self.memory.writing()


class SqlitePlace(SqlPlace):
    def __init__(self, folder: Path) -> None:
        self.path = folder / "state" / "openbell.db"
        self.url = f"sqlite:///{self.path}"

    def open(self, name: str = "bot", clock_ns: Clock = time.monotonic_ns) -> Store:
        return SqliteStore(FileDatabase(self.path, busy_seconds=0.3), name, clock_ns=clock_ns)

    def _connection(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None)


class RedisPlace:
    def __init__(self, client: Any, url: str | None) -> None:
        self.client = client
        self.url = url

    def open(self, name: str = "bot", clock_ns: Clock = time.monotonic_ns) -> Store:
        client = connect(self.url, name) if self.url else self.client
        return RedisStore(client, name, self.url or "fakeredis", clock_ns=clock_ns)

    def change_state(self, actor: str, change: Callable[[bytes], bytes | None]) -> None:
        keys = self.client.keys(f"openbell:{{bot}}:blob:*:{actor}")
        key = max(keys, key=lambda key: int(key.split(b":")[3].split(b"-")[0]))
        changed = change(self.client.get(key))
        if changed is None:
            self.client.delete(key)
        else:
            self.client.set(key, changed)

    def damage_journal(self, how: str) -> None:
        key = min(self.client.keys("openbell:{bot}:journal:*"))
        (at, fields), *rest = self.client.xrange(key)
        if how == "day gone":
            self.client.delete(key)
            return
        self.client.xdel(key, at)
        change = {"cut": {b"body": fields[b"body"][:-1]}, "another": {b"entry": b"another"}}
        if how in change:
            self.client.delete(key)
            for number, entry in [(at, {**fields, **change[how]}), *rest]:
                self.client.xadd(key, entry, id=number)

    def set_schema(self, schema: int) -> None:
        self.client.hset("openbell:{bot}:head", "schema", schema)


def server_binary() -> str:
    """Skips where there is none, except in CI, where that is a failure."""
    binary = find_server()
    if binary is None or find_spec("redis") is None:
        message = (
            "no Redis or Valkey server; run `make server`, or put one on PATH"
            if binary is None
            else "the package redis is not installed; run `pip install 'openbell[redis]'`"
        )
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return binary


class Writer:
    """A child process that holds a lease; see store_writer.py."""

    def __init__(self, url: str, mode: str, name: str = "bot") -> None:
        script = Path(__file__).with_name("store_writer.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script), url, name, mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def said(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    def hear(self) -> str:
        return self.said.readline().strip()

    def ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self) -> list[str]:
        """Kills it, if it lives; returns what it had said that was not heard."""
        self.process.kill()
        rest = [] if self.said.closed else self.said.read().splitlines()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        return rest


@contextmanager
def writer(url: str, mode: str = "hold", name: str = "bot") -> Iterator[Writer]:
    child = Writer(url, mode, name)
    try:
        yield child
    finally:
        child.end()
