"""State in one SQLite file: the default, without set-up, for one machine.

The file is in WAL mode: any number of readers, in any process, work while the writer writes. It
must not lie on a network file system, where file locks don't hold. Next to it stand `-wal` and
`-shm`, parts of it that hold the last commits until they are folded in: copy all three or none.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, Protocol, TypeVar
from urllib.parse import quote

from openbell.adapters.stores.base import (
    SCHEMA_VERSION,
    CommitRecord,
    Conflict,
    Corrupt,
    Document,
    EpochInfo,
    Gap,
    Holder,
    JournalEntry,
    LeaseHeld,
    SignalRows,
    Step,
    StoredSignal,
    Unavailable,
    Usage,
)
from openbell.adapters.stores.base import Head as PublicHead
from openbell.adapters.stores.holders import (
    Lease,
    Watch,
    decode_holder,
    encode_holder,
    fenced,
    held,
)
from openbell.adapters.stores.records import (
    PAGE,
    Blob,
    Encoded,
    Head,
    Reading,
    audit_row,
    block_crc,
    check_schema,
    encode,
    in_order,
    pack_signals,
    parse_cursor,
    plan_pruning,
    read_manifest,
    readable_manifest,
    unknown_cursor,
)
from openbell.errors import StoreError

APPLICATION_ID = 0x6F62656C
""""obel": tells our files from other programs' databases."""

BUSY_SECONDS = 5.0
"""How long another process may keep the file locked; its transactions take milliseconds."""

_JOURNAL = (
    """CREATE TABLE journal (
    name TEXT, position INTEGER, trading_date TEXT NOT NULL, entry TEXT NOT NULL,
    body BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (name, position)
)""",
    "CREATE INDEX journal_by_date ON journal (name, trading_date, position)",
)

_UPGRADES: dict[int, tuple[str, ...]] = {
    1: (
        "ALTER TABLE heads ADD COLUMN journal INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE heads ADD COLUMN journal_kept INTEGER NOT NULL DEFAULT 0",
        *_JOURNAL,
    ),
    2: ("ALTER TABLE documents ADD COLUMN place INTEGER",),
}
"""What a file of a version lacks that the next one has."""

SCHEMA = f"""
CREATE TABLE heads (
    name TEXT PRIMARY KEY, fence INTEGER NOT NULL DEFAULT 0, audit INTEGER NOT NULL DEFAULT 0,
    number INTEGER NOT NULL DEFAULT 0, step INTEGER NOT NULL DEFAULT 0,
    digest BLOB NOT NULL DEFAULT x'', epoch INTEGER NOT NULL DEFAULT 0,
    steps_from INTEGER NOT NULL DEFAULT 1, signals INTEGER NOT NULL DEFAULT 0,
    documents INTEGER NOT NULL DEFAULT 0, facts INTEGER NOT NULL DEFAULT 0,
    seal INTEGER NOT NULL DEFAULT 0, journal INTEGER NOT NULL DEFAULT 0,
    journal_kept INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE leases (
    name TEXT PRIMARY KEY, fence INTEGER NOT NULL, beat INTEGER NOT NULL, token TEXT NOT NULL,
    holder BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE facts (
    name TEXT, key TEXT, value BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (name, key)
) WITHOUT ROWID;
CREATE TABLE commits (
    name TEXT, number INTEGER, digest BLOB NOT NULL, PRIMARY KEY (name, number)
) WITHOUT ROWID;
CREATE TABLE epochs (
    name TEXT, number INTEGER, manifest BLOB NOT NULL, PRIMARY KEY (name, number)
);
CREATE TABLE blobs (
    name TEXT, actor TEXT, key TEXT, body BLOB NOT NULL, PRIMARY KEY (name, actor, key)
);
CREATE TABLE steps (
    name TEXT, number INTEGER, market_ns INTEGER NOT NULL, grant BLOB NOT NULL,
    digest BLOB NOT NULL, trading_date TEXT NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (name, number)
);
CREATE TABLE documents (
    name TEXT, trading_date TEXT, session TEXT, status TEXT NOT NULL, completed_ns INTEGER,
    body BLOB NOT NULL, crc INTEGER NOT NULL, place INTEGER,
    PRIMARY KEY (name, trading_date, session)
);
CREATE INDEX documents_by_status ON documents (name, trading_date, status);
CREATE INDEX documents_by_completion ON documents (name, status, completed_ns);
CREATE TABLE signals (
    name TEXT, number INTEGER, seq INTEGER, count INTEGER NOT NULL, trading_date TEXT NOT NULL,
    packed BLOB NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY (name, number, seq)
);
CREATE INDEX signals_by_date ON signals (name, trading_date, number, seq);
CREATE TABLE audit (
    name TEXT, position INTEGER, entry BLOB NOT NULL, crc INTEGER NOT NULL,
    PRIMARY KEY (name, position)
);
CREATE TABLE commands (id INTEGER PRIMARY KEY, name TEXT NOT NULL, command BLOB NOT NULL);
{"; ".join(_JOURNAL)};
"""

_TABLES = (
    "heads",
    "leases",
    "facts",
    "commits",
    "epochs",
    "blobs",
    "steps",
    "journal",
    "documents",
    "signals",
    "audit",
    "commands",
)

_COUNTED = (
    ("leases", "holder"),
    ("facts", "value"),
    ("commits", "digest"),
    ("epochs", "manifest"),
    ("blobs", "body"),
    ("steps", "grant"),
    ("journal", "body"),
    ("documents", "body"),
    ("signals", "packed"),
    ("audit", "entry"),
    ("commands", "command"),
)
"""Tables, and the column that has nearly all of a row's bytes."""


_BLOCK = "number, seq, count, trading_date, packed, crc"

BLOCKS = 50
"""Blocks of signals read at a time: each has those of a step, or of several."""

ENTRIES = 4
"""Entries of the journal read at a time: each may have a day's rows."""

T = TypeVar("T")


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
                connection.executescript(
                    f"BEGIN; {SCHEMA} PRAGMA application_id = {APPLICATION_ID}; "
                    f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
                )
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


def _version(db: sqlite3.Connection | None) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0]) if db else SCHEMA_VERSION


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


@dataclass(frozen=True, slots=True)
class _Recent:
    """Ids of the last day's signals in the log, as of a commit."""

    commit: int
    ids: dict[date, set[str]]


def _unknown(rows: SignalRows, known: set[str]) -> SignalRows:
    """Those whose id the log hasn't yet; of several alike the first."""
    if known.isdisjoint(rows.ids) and len(set(rows.ids)) == len(rows):
        return rows
    fresh = {key: place for place, key in reversed([*enumerate(rows.ids)]) if key not in known}
    places = sorted(fresh.values())
    return SignalRows(
        rows.trading_date,
        ids=[rows.ids[place] for place in places],
        sessions=[rows.sessions[place] for place in places],
        symbols=[rows.symbols[place] for place in places],
        bodies=[rows.bodies[place] for place in places],
    )


class SqliteStore:
    """A `Store` in an SQLite database that several names may share."""

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._database = database
        self._name = name
        self._where = f'{database.where} "{name}"'
        self._reading = Reading(self._where)
        self._watch = Watch(clock_ns)
        self._token = token_hex(8)
        self._acquired = False
        self._recent: _Recent | None = None
        with self._reads():
            pass  # says now what is wrong with the file

    def warnings(self) -> Sequence[str]:
        return ()

    # The lease.

    def acquire(self, holder: Holder, ttl_ns: int) -> int:
        with self._reads() as db:
            lease = self._lease(db)
            if lease and not self._watch.may_replace(lease, self._token, ttl_ns):
                raise held(self._where, lease, ttl_ns)
        try:
            with self._writes() as db:
                now = self._lease(db)
                if now is not None and now != lease:  # another process was faster
                    raise held(self._where, now, ttl_ns)
                self._head(db)  # a damaged one must not be written over
                self._upgrade(db)
                db.execute("INSERT OR IGNORE INTO heads (name) VALUES (?)", (self._name,))
                db.execute("UPDATE heads SET fence = fence + 1 WHERE name = ?", (self._name,))
                ((fence,),) = self._rows(db, "SELECT fence FROM heads WHERE name = ?")
                db.execute(
                    "REPLACE INTO leases (name, fence, beat, token, holder) VALUES (?, ?, 0, ?, ?)",
                    (self._name, fence, self._token, encode_holder(holder)),
                )
        except Unavailable as error:
            if lease is None:
                raise
            raise LeaseHeld(lease.whose(), str(error)) from error
        self._acquired = True
        return int(fence)

    def renew(self, fence: int) -> None:
        with self._writes() as db:
            self._check_fence(db, fence)
            self._beat(db)

    def release(self, fence: int) -> None:
        with self._writes() as db:
            lease = self._lease(db)
            if lease and self._is_ours(lease, fence):
                db.execute("DELETE FROM leases WHERE name = ?", (self._name,))

    # Commits.

    def commit(self, fence: int, record: CommitRecord) -> Literal["ok", "dup"]:
        encoded = encode(record)
        with self._writes() as db:
            self._check_fence(db, fence)
            head = self._head(db)
            if encoded.number <= head.commit:
                self._check_repeated(db, encoded, head)
                return "dup"
            if encoded.number != head.commit + 1:
                raise Gap(
                    f"{self._where}: commit {encoded.number} does not follow {head.commit}, the "
                    "last one; nothing was written; read the state anew"
                )
            if encoded.first_step not in (None, head.step + 1):
                raise Gap(
                    f"{self._where}: commit {encoded.number}: step {encoded.first_step} does not "
                    f"follow {head.step}, the last one; nothing was written; read the state anew"
                )
            self._write(db, encoded, head)
            self._beat(db)
        return "ok"

    def _check_repeated(self, db: sqlite3.Connection, encoded: Encoded, head: Head) -> None:
        row = db.execute(
            "SELECT digest FROM commits WHERE name = ? AND number = ?",
            (self._name, encoded.number),
        ).fetchone()
        if row is None:
            raise Gap(
                f"{self._where}: commit {encoded.number} is long past, the last one is "
                f"{head.commit}; nothing was written; read the state anew"
            )
        if row[0] != encoded.digest:
            raise Conflict(
                f"{self._where}: commit {encoded.number} exists with another content (digest "
                f"{row[0].hex()}, now {encoded.digest.hex()}): two writers, or a run that isn't "
                "deterministic; nothing was written; compare them with `openbell replay`"
            )

    def _write(self, db: sqlite3.Connection, encoded: Encoded, head: Head) -> None:
        name, number = self._name, encoded.number
        step = encoded.steps[-1][0] if encoded.steps else head.step
        epoch = head.epoch
        if encoded.snapshot is not None:
            before = None
            if encoded.takes_over() and head.epoch:
                try:
                    before = read_manifest(self._manifest(db, head.epoch))
                except Corrupt as error:
                    raise self._reading.corrupt(
                        f"commit {number} takes over states of epoch {head.epoch}, whose manifest "
                        f"{error}"
                    ) from None
            manifest = encoded.manifest(step, before).encoded()
            epoch = number
            db.execute("INSERT INTO epochs VALUES (?, ?, ?)", (name, number, manifest))
            db.executemany(
                "INSERT INTO blobs VALUES (?, ?, ?, ?)",
                [(name, actor, blob.key, body) for actor, (blob, body) in encoded.blobs.items()],
            )
        db.executemany(
            "INSERT INTO steps VALUES (?, ?, ?, ?, ?, ?, ?)",
            [(name, *row) for row in encoded.steps],
        )
        db.executemany(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)",
            [(name, at, *row) for at, row in enumerate(encoded.journal, head.journal + 1)],
        )
        documents = sum(self._put(db, "documents", row) for row in encoded.documents)
        facts = sum(self._put(db, "facts", row) for row in encoded.facts)
        appended = self._append_signals(db, encoded, head)
        self._append(db, encoded.audit)
        db.execute("INSERT INTO commits VALUES (?, ?, ?)", (name, number, encoded.digest))
        self._set_head(
            db,
            head._replace(
                commit=number,
                step=step,
                digest=encoded.digest,
                epoch=epoch,
                signals=head.signals + appended,
                documents=head.documents + documents,
                facts=head.facts + facts,
                journal=head.journal + len(encoded.journal),
                journal_kept=head.journal_kept + len(encoded.journal),
            ),
        )

    def _append_signals(self, db: sqlite3.Connection, encoded: Encoded, head: Head) -> int:
        """How many are new. They lie in blocks: a row for each took a third of a run's time."""
        recent, self._recent = self._recent, None
        known = recent.ids if recent is not None and recent.commit == head.commit else {}
        appended = 0
        for given in encoded.signals:
            ids = known.get(given.trading_date)
            if ids is None:
                ids = known[given.trading_date] = self._ids_of(db, given.trading_date)
            rows = _unknown(given, ids)
            if not len(rows):
                continue
            ids.update(rows.ids)
            block = (encoded.number, appended, len(rows), given.trading_date.isoformat())
            packed = pack_signals(rows)
            db.execute(
                "INSERT INTO signals VALUES (?, ?, ?, ?, ?, ?, ?)",
                (self._name, *block, packed, block_crc(*block, packed)),
            )
            appended += len(rows)
        if known:
            last = max(known)
            self._recent = _Recent(encoded.number, {last: known[last]})
        return appended

    def _ids_of(self, db: sqlite3.Connection, day: date) -> set[str]:
        """An id holds its date: no other day's signal can have the same."""
        blocks = self._rows(
            db,
            f"SELECT {_BLOCK} FROM signals WHERE name = ? AND trading_date = ?",
            (day.isoformat(),),
        )
        return {key for block in blocks for key in self._reading.signal_rows(block).ids}

    # What can be read back.

    def head(self) -> PublicHead:
        with self._reads() as db:
            head = self._head(db)
            row = (
                db
                and db.execute("SELECT fence FROM heads WHERE name = ?", (self._name,)).fetchone()
            )
            facts = self._rows(db, "SELECT key, value, crc FROM facts WHERE name = ?")
            schema = _version(db)
        self._reading.count(len(facts), head.facts, "entries of meta")
        meta = {row[0]: self._reading.fact(*row) for row in facts}
        fence = row[0] if row else 0
        return PublicHead(head.commit, head.step, fence, head.digest, meta, schema, head.signals)

    def epochs(self) -> Sequence[EpochInfo]:
        with self._reads() as db:
            head = self._head(db)
            return self._reading.epochs(self._manifests(db), head.epoch, self._loads(db))

    def states(self, epoch: int) -> Mapping[str, bytes]:
        with self._reads() as db:
            head = self._head(db)
            manifest = self._manifest(db, epoch)
            if manifest is None and epoch != head.epoch:
                raise StoreError(f"{self._where}: there is no snapshot of epoch {epoch}")
            return self._reading.states(epoch, manifest, self._loads(db))

    def steps(self, after: int = 0, until: int | None = None) -> Iterator[Step]:
        with self._reads() as db:
            head = self._head(db)
        first = self._reading.first_step(after, head)
        last = head.step if until is None else min(until, head.step)
        rows = self._pages(
            "SELECT number, market_ns, grant, digest, trading_date, crc FROM steps "
            "WHERE name = ? AND number > ? AND number <= ? ORDER BY number",
            lambda row: (row[0], last),
            (first, last),
        )
        return self._reading.steps(rows, first, last, head)

    def journal(self, trading_date: date) -> Iterator[JournalEntry]:
        day = trading_date.isoformat()
        with self._reads() as db:
            kept = self._head(db).journal_kept
            self._reading.count(self._count(db, "journal"), kept, "journal entries")
        rows = self._pages(
            "SELECT position, trading_date, entry, body, crc FROM journal "
            "WHERE name = ? AND trading_date = ? AND position > ? ORDER BY position",
            lambda row: (day, row[0]),
            (day, 0),
            size=ENTRIES,
        )
        return (self._reading.journal_entry(row[1:]) for row in (rows if kept else ()))

    def signals(
        self,
        after: str | None = None,
        *,
        trading_date: date | None = None,
        symbol: str | None = None,
        session: str | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[str, StoredSignal]]:
        start = parse_cursor(after) if after is not None else (0, 0)
        with self._reads() as db:
            committed = self._head(db).signals
            self._reading.count(self._count(db, "signals"), committed, "signals")
            block = self._rows(
                db,
                "SELECT seq FROM signals WHERE name = ? AND number = ? AND seq <= ? "
                "AND seq + count > ?",
                (*start, start[1]),
            )
            if after is not None and not block:
                raise unknown_cursor(after)
        of_day = () if trading_date is None else (trading_date.isoformat(),)
        blocks = self._pages(
            f"SELECT {_BLOCK} FROM signals WHERE name = ? AND (number, seq) >= (?, ?) "
            f"{'AND trading_date = ? ' if of_day else ''}ORDER BY number, seq",
            lambda row: (row[0], row[1] + 1, *of_day),
            (start[0], block[0][0] if block else 0, *of_day),
            size=BLOCKS,
        )
        wanted = (
            (cursor, signal)
            for cursor, signal in self._signals(blocks, start if after is not None else None)
            if (symbol is None or signal.symbol == symbol)
            and (session is None or signal.session == session)
        )
        if limit is not None:
            return islice(wanted, limit)
        whole = after is None and not of_day and symbol is None and session is None
        return self._counted(wanted, committed) if whole else wanted

    def _signals(
        self, blocks: Iterator[Any], after: tuple[int, int] | None
    ) -> Iterator[tuple[str, StoredSignal]]:
        for block in blocks:
            number, first = block[:2]
            for seq, signal in enumerate(self._reading.signal_rows(block), first):
                if after is None or (number, seq) > after:
                    yield f"{number}-{seq}", signal

    def _counted(self, rows: Iterator[T], least: int) -> Iterator[T]:
        """They are counted by another index than they are found with."""
        found = 0
        for row in rows:
            yield row
            found += 1
        if found < least:
            self._reading.count(found, least, "signals")

    def documents(
        self,
        *,
        trading_date: date | None = None,
        status: str | None = None,
        session: str | None = None,
        completed_since_ns: int | None = None,
        completed_before_ns: int | None = None,
    ) -> Sequence[Document]:
        wanted = {
            "trading_date = ?": trading_date and trading_date.isoformat(),
            "status = ?": status,
            "session = ?": session,
            "completed_ns >= ?": completed_since_ns,
            "completed_ns < ?": completed_before_ns,
        }
        given = {test: value for test, value in wanted.items() if value is not None}
        with self._reads() as db:
            expected = self._head(db).documents
            self._reading.count(self._count(db, "documents"), expected, "documents")
            place = "place" if _version(db) > 2 else "NULL"
            rows = self._rows(
                db,
                f"SELECT trading_date, session, status, completed_ns, body, crc, {place} "
                f"FROM documents WHERE name = ? {''.join(f'AND {test} ' for test in given)}",
                tuple(given.values()),
            )
        if not given:  # found by another index than they were counted with
            self._reading.count(len(rows), expected, "documents")
        of_completion = trading_date is None and len(given) > (session is not None)
        return in_order(map(self._reading.document, rows), of_completion=of_completion)

    def audit(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        with self._reads() as db:
            rows = self._rows(db, "SELECT audit FROM heads WHERE name = ?")
        last = rows[0][0] if rows else 0
        entries = self._pages(
            "SELECT position, entry, crc FROM audit "
            "WHERE name = ? AND position > ? ORDER BY position",
            lambda row: (row[0],),
            (after,),
        )
        return self._audit(entries, after, last)

    def _audit(
        self, rows: Iterator[tuple[Any, ...]], after: int, last: int
    ) -> Iterator[tuple[int, bytes]]:
        expected = after + 1
        for position, entry, crc in rows:
            yield position, self._reading.audit(position, expected, entry, crc)
            expected += 1
        if expected <= last:
            raise self._reading.corrupt(f"entry {expected} is missing from the audit trail")

    def append_audit(self, entry: bytes) -> None:
        row = audit_row(entry)
        with self._writes() as db:
            db.execute("INSERT OR IGNORE INTO heads (name) VALUES (?)", (self._name,))
            self._append(db, [row])

    def send_command(self, command: bytes) -> None:
        with self._writes() as db:
            db.execute("INSERT INTO commands (name, command) VALUES (?, ?)", (self._name, command))

    def commands(self, fence: int) -> Sequence[bytes]:
        with self._reads() as db:
            self._check_fence(db, fence)
            return self._commands(db)

    def take_commands(self, fence: int) -> Sequence[bytes]:
        if not self.commands(fence):  # asked often, and hardly ever is there one
            return []
        with self._writes() as db:
            self._check_fence(db, fence)
            commands = self._commands(db)
            db.execute("DELETE FROM commands WHERE name = ?", (self._name,))
        return commands

    # Upkeep.

    def prune(self, fence: int, before: date, keep_epochs: int) -> None:
        with self._writes() as db:
            self._check_fence(db, fence)
            head = self._head(db)
            manifests = {
                epoch: readable_manifest(data) for epoch, data in self._manifests(db).items()
            }
            plan = plan_pruning(manifests, before, keep_epochs)
            if plan is None:
                return
            kept = [manifests[epoch] for epoch in plan.epochs]
            db.executemany(
                "DELETE FROM epochs WHERE name = ? AND number = ?",
                [(self._name, epoch) for epoch in manifests.keys() - plan.epochs],
            )
            if None not in kept:  # what a damaged manifest needs is not known
                used = {
                    (actor, blob.key) for one in kept if one for actor, blob in one.blobs.items()
                }
                stored = set(self._rows(db, "SELECT actor, key FROM blobs WHERE name = ?"))
                db.executemany(
                    "DELETE FROM blobs WHERE name = ? AND actor = ? AND key = ?",
                    [(self._name, *unused) for unused in stored - used],
                )
            ((of_days,),) = self._rows(
                db,
                "SELECT min(number) FROM steps WHERE name = ? AND trading_date >= ?",
                (before.isoformat(),),
            )
            steps_from = max(head.steps_from, min(plan.steps_from, of_days or head.step + 1))
            db.execute("DELETE FROM steps WHERE name = ? AND number < ?", (self._name, steps_from))
            db.execute(
                "DELETE FROM commits WHERE name = ? AND number < ?", (self._name, min(plan.epochs))
            )
            dropped = db.execute(
                "DELETE FROM journal WHERE name = ? AND trading_date < ?",
                (self._name, plan.journal_from.isoformat()),
            ).rowcount
            self._set_head(
                db,
                head._replace(steps_from=steps_from, journal_kept=head.journal_kept - dropped),
            )

    @property
    def location(self) -> str:
        return self._database.where

    def usage(self) -> Usage:
        with self._reads() as db:
            head = self._head(db)
            counts = {
                "commits": head.commit,
                "steps": self._count(db, "steps"),
                "epochs": self._count(db, "epochs"),
                "journal": self._count(db, "journal"),
                "documents": self._count(db, "documents"),
                "signals": self._count(db, "signals"),
                "audit": self._count(db, "audit"),
            }
            size = sum(
                row[0] or 0
                for table, column in _COUNTED
                if table in self._tables(db)
                for row in self._rows(
                    db, f"SELECT sum(length({column})) FROM {table} WHERE name = ?"
                )
            )
            schema = _version(db)
        return Usage(self.location, schema, size, counts)

    def delete(self) -> None:
        with self._reads() as db:
            if db is None:
                return
        with self._writes() as db:
            for table in self._tables(db):
                db.execute(f"DELETE FROM {table} WHERE name = ?", (self._name,))

    def close(self) -> None:
        with self._database.lock:
            self._database.close()

    # Connections and errors.

    @contextmanager
    def _reads(self) -> Iterator[sqlite3.Connection | None]:
        """One instant of the database; None: there is none yet."""
        with self._database.lock, self._errors():
            db = self._database.reading()
            if db is None or db.in_transaction:
                yield db
                return
            db.execute("BEGIN")
            try:
                yield db
            finally:
                db.execute("ROLLBACK")

    @contextmanager
    def _writes(self) -> Iterator[sqlite3.Connection]:
        with self._database.lock, self._errors():
            db = self._database.writing()
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
                self._database.check_in_place()
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._explained(error) from error
        except UnicodeDecodeError as error:  # of a message about a damaged table, too
            raise self._damaged("a text is not UTF-8") from error
        except OSError as error:
            raise StoreError(
                f"{self._where}: {error.strerror or error}; check the path and its permissions"
            ) from error

    def _explained(self, error: sqlite3.Error) -> StoreError:
        code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
        where = self._where
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return Unavailable(f"{where}: the file is locked{self._locker()}")
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"{where}: the disk is full; nothing was written; make room on it")
        if code == sqlite3.SQLITE_NOTADB:
            return Corrupt(f"{where}: the file is no SQLite database; give store.url another file")
        if code == sqlite3.SQLITE_CORRUPT:
            return self._damaged(str(error))
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            # Of a file that nobody else has open, a reader makes -wal and -shm too.
            return StoreError(
                f"{where}: {error}; check the path and its permissions: the folder must be writable "
                "even to read"
            )
        if code == sqlite3.SQLITE_IOERR:
            kind = getattr(error, "sqlite_errorname", "SQLITE_IOERR")
            return StoreError(f"{where}: {error} ({kind}); check the disk, and that it isn't full")
        return StoreError(f"{where}: {error}")

    def _damaged(self, why: str) -> Corrupt:
        # Removed by hand: `state delete` would have to read it.
        return Corrupt(
            f"{self._where}: the file is damaged ({why}); restore a copy of it, or remove it, with "
            "the -wal and -shm beside it, to start all names in it afresh"
        )

    def _locker(self) -> str:
        """Who it is likely to be: a process that was stopped within its transaction keeps it."""
        with suppress(sqlite3.Error, StoreError):
            reader = self._database.reading()
            lease = self._lease(reader)
            if lease and lease.token != self._token:
                pid = lease.holder.pid if lease.holder else "PID"
                return (
                    f" by {lease.whose()}, which holds the lease and may be stopped; wake it with "
                    f"`kill -CONT {pid}` or end it"
                )
        return " by another process; end it, or try again"

    # Rows.

    def _rows(
        self, db: sqlite3.Connection | None, query: str, values: tuple[object, ...] = ()
    ) -> list[Any]:
        return db.execute(query, (self._name, *values)).fetchall() if db else []

    def _pages(
        self,
        query: str,
        resume: Callable[[tuple[Any, ...]], tuple[object, ...]],
        values: tuple[object, ...],
        *,
        size: int = PAGE,
    ) -> Iterator[tuple[Any, ...]]:
        """Reads page after page: an open query would keep the file from being folded."""
        while True:
            with self._reads() as db:
                rows = self._rows(db, f"{query} LIMIT {size}", values)
            yield from rows
            if len(rows) < size:
                return
            values = resume(rows[-1])

    def _tables(self, db: sqlite3.Connection | None) -> Sequence[str]:
        """Those of the file's version."""
        return _TABLES if _version(db) > 1 else [name for name in _TABLES if name != "journal"]

    def _upgrade(self, db: sqlite3.Connection) -> None:
        """Make an older file one of this version: from here on older programs refuse it."""
        version = _version(db)
        if version == SCHEMA_VERSION:
            return
        for older in range(version, SCHEMA_VERSION):
            for statement in _UPGRADES[older]:
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _count(self, db: sqlite3.Connection | None, table: str) -> int:
        if table not in self._tables(db):
            return 0
        count = "coalesce(sum(count), 0)" if table == "signals" else "count(*)"
        rows = self._rows(db, f"SELECT {count} FROM {table} WHERE name = ?")
        return int(rows[0][0]) if rows else 0

    def _put(self, db: sqlite3.Connection, table: str, row: tuple[object, ...]) -> int:
        """1 if it is new."""
        marks = ", ?" * len(row)
        values = (self._name, *row)
        new = db.execute(f"INSERT OR IGNORE INTO {table} VALUES (?{marks})", values).rowcount
        if not new:
            db.execute(f"REPLACE INTO {table} VALUES (?{marks})", values)
        return new

    def _head(self, db: sqlite3.Connection | None) -> Head:
        journal = ", journal, journal_kept" if _version(db) > 1 else ""
        rows = self._rows(
            db,
            "SELECT seal, number, step, digest, epoch, steps_from, signals, documents, facts"
            f"{journal} FROM heads WHERE name = ?",
        )
        seal, *fields = rows[0] if rows else (0,)
        head = Head(*fields)
        if any(type(found) is not type(usual) for found, usual in zip(head, Head(), strict=True)):
            raise self._reading.corrupt("its head is damaged")
        if head == Head():
            sealed = ("commits", "steps", "epochs", "signals", "documents", "facts", "journal")
            for table in (name for name in sealed if name in self._tables(db)):
                if self._rows(db, f"SELECT 1 FROM {table} WHERE name = ? LIMIT 1"):
                    raise self._reading.corrupt(f"its head is missing, but there are {table}")
        elif head.seal() != seal:
            raise self._reading.corrupt("its head fails its checksum")
        return head

    def _set_head(self, db: sqlite3.Connection, head: Head) -> None:
        db.execute(
            "UPDATE heads SET number = ?, step = ?, digest = ?, epoch = ?, steps_from = ?, "
            "signals = ?, documents = ?, facts = ?, journal = ?, journal_kept = ?, seal = ? "
            "WHERE name = ?",
            (*head, head.seal(), self._name),
        )

    def _lease(self, db: sqlite3.Connection | None) -> Lease | None:
        rows = self._rows(db, "SELECT fence, beat, token, holder FROM leases WHERE name = ?")
        if not rows:
            return None
        fence, beat, token, holder = rows[0]
        return Lease(fence, beat, token, decode_holder(holder))

    def _is_ours(self, lease: Lease, fence: int) -> bool:
        # The token too: state that was deleted and made anew counts its fences anew.
        return lease.fence == fence and (not self._acquired or lease.token == self._token)

    def _check_fence(self, db: sqlite3.Connection | None, fence: int) -> None:
        lease = self._lease(db)
        if lease is None or not self._is_ours(lease, fence):
            raise fenced(self._where, fence, lease)

    def _beat(self, db: sqlite3.Connection) -> None:
        db.execute("UPDATE leases SET beat = beat + 1 WHERE name = ?", (self._name,))

    def _manifest(self, db: sqlite3.Connection | None, epoch: int) -> bytes | None:
        rows = self._rows(db, "SELECT manifest FROM epochs WHERE name = ? AND number = ?", (epoch,))
        return rows[0][0] if rows else None

    def _manifests(self, db: sqlite3.Connection | None) -> dict[int, bytes | None]:
        rows = self._rows(db, "SELECT number, manifest FROM epochs WHERE name = ?")
        return {epoch: manifest for epoch, manifest in rows if isinstance(epoch, int)}

    def _loads(self, db: sqlite3.Connection | None) -> Callable[[Blob, str], bytes | None]:
        def load(blob: Blob, actor: str) -> bytes | None:
            rows = self._rows(
                db,
                "SELECT body FROM blobs WHERE name = ? AND actor = ? AND key = ?",
                (actor, blob.key),
            )
            return rows[0][0] if rows else None

        return load

    def _commands(self, db: sqlite3.Connection | None) -> list[bytes]:
        rows = self._rows(db, "SELECT command FROM commands WHERE name = ? ORDER BY id")
        return [command for (command,) in rows]

    def _append(self, db: sqlite3.Connection, entries: Sequence[tuple[bytes, int]]) -> None:
        """All at once: each call waits for Python's lock, which the actors' thread has."""
        count = len(entries)
        db.execute("UPDATE heads SET audit = audit + ? WHERE name = ?", (count, self._name))
        ((last,),) = self._rows(db, "SELECT audit FROM heads WHERE name = ?")
        db.executemany(
            "INSERT INTO audit VALUES (?, ?, ?, ?)",
            [(self._name, at, *row) for at, row in enumerate(entries, last - count + 1)],
        )
