"""The file itself: made aside, linked into place, opened, and known again."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Protocol
from urllib.parse import quote

from openbell.adapters.stores.base import SCHEMA_VERSION, Corrupt
from openbell.adapters.stores.records import check_schema
from openbell.adapters.stores.sqlite.queries import statements
from openbell.errors import StoreError

APPLICATION_ID = 0x6F62656C
""""obel": tells our files from other programs' databases."""

BUSY_SECONDS = 5.0
"""How long another process may keep the file locked; its transactions take milliseconds."""


def new_file() -> str:
    """What makes an empty database one of ours."""
    return (
        f"{statements('schema')['tables']} PRAGMA application_id = {APPLICATION_ID}; "
        f"PRAGMA user_version = {SCHEMA_VERSION};"
    )


def version(db: sqlite3.Connection | None) -> int:
    """Of the schema of a file; this program's own where there is none yet."""
    return int(db.execute("PRAGMA user_version").fetchone()[0]) if db else SCHEMA_VERSION


def upgrade(db: sqlite3.Connection) -> None:
    """Make an older file one of this version: from here on older programs refuse it."""
    found = version(db)
    if found == SCHEMA_VERSION:
        return
    for older in range(found, SCHEMA_VERSION):
        for statement in statements("schema")[f"from_{older}"].split(";"):
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


class Database(Protocol):
    """Where the connections of a `SqliteStore` come from."""

    @property
    def where(self) -> str:
        """For people."""
        ...

    def reading(self) -> sqlite3.Connection | None:
        """None: there is nothing to read yet."""
        ...

    def writing(self) -> sqlite3.Connection: ...

    def check_in_place(self) -> None:
        """
        Raises
        ------
        openbell.errors.StoreError
            If what the connections hold is not what a new one would find.
        """
        ...

    @property
    def lock(self) -> threading.RLock:
        """Held while a connection is in use."""
        ...

    def close(self) -> None: ...


class FileDatabase:
    """A file: one connection that can only read, another, made when needed, that writes."""

    def __init__(self, path: Path, busy_seconds: float = BUSY_SECONDS) -> None:
        self.path = path
        # A store is used from one thread at a time, but not always the same one.
        self.lock = threading.RLock()
        self._busy_seconds = busy_seconds
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None
        """Which file the connections hold."""

    @property
    def where(self) -> str:
        return str(self.path)

    def reading(self) -> sqlite3.Connection | None:
        self.check_in_place()
        if self._reader is None and self.path.exists():
            self._reader = self._open("ro")
        return self._reader

    def writing(self) -> sqlite3.Connection:
        if self._writer is None:
            self.check_in_place()
            if not self.path.exists():
                self._create()
            writer = self._open("rw")
            # FULL: what was acknowledged survives a power cut too.
            writer.execute("PRAGMA synchronous = FULL")
            writer.execute(f"PRAGMA journal_size_limit = {64 * 2**20}")
            self._writer = writer
        return self._writer

    def check_in_place(self) -> None:
        # A file that was removed lives on for who has it open, and SQLite goes on writing to it.
        if self._file is not None and self._file != _identity(self.path):
            raise StoreError(
                f"{self.path}: the file was removed or replaced while it was in use; put it back, "
                "with its -wal, or start again with what is there now"
            )

    def close(self) -> None:
        for connection in (self._reader, self._writer):
            if connection is not None:
                connection.close()
        self._reader = self._writer = self._file = None

    def _open(self, mode: str) -> sqlite3.Connection:
        # An empty file is what SQLite would take for a new database, and what a truncated one is.
        if self.path.is_dir():
            raise StoreError(f"{self.path}: is a folder; name a file in it in store.url")
        if self.path.stat().st_size == 0:
            raise Corrupt(
                f"{self.path}: the file is empty, openbell never leaves it so; restore a copy of "
                "it, or remove it to start afresh"
            )
        self._file = self._file or _identity(self.path)
        connection = sqlite3.connect(
            f"file:{quote(os.fspath(self.path))}?mode={mode}",
            uri=True,
            timeout=self._busy_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            _check_identity(connection, self.path)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self) -> None:
        """Made aside and linked into place: nobody ever sees it half made, and of two processes
        that make it one wins."""
        _make_private(self.path.parent)
        aside = self.path.with_name(f".{self.path.name}.{os.getpid()}-{token_hex(4)}")
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        try:
            connection = sqlite3.connect(aside, isolation_level=None)
            try:
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(f"BEGIN; {new_file()} COMMIT")
                # At last: before, it would all be in a -wal, and be folded in only when the
                # connection closes, which says nothing where the disk is full.
                connection.execute("PRAGMA journal_mode = WAL")
            finally:
                connection.close()
            with suppress(FileExistsError):
                try:
                    os.link(aside, self.path)
                except FileExistsError:
                    raise
                except OSError:  # a file system without links; only Windows refuses to overwrite
                    if not self.path.exists():
                        os.rename(aside, self.path)
            _sync_folder(self.path.parent)
        finally:
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{aside}{suffix}").unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path leads to; None: to none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _check_identity(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreError(
            f"{path}: is a database of another program; give store.url a file of its own"
        )
    check_schema(connection.execute("PRAGMA user_version").fetchone()[0], str(path))


def _make_private(folder: Path) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        with suppress(FileExistsError):
            parent.mkdir(mode=0o700)


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # Windows can't open folders, and needs no such call
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
