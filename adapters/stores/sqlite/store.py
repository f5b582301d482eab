"""A namespace of state in an SQLite database."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from itertools import takewhile
from secrets import token_hex
from typing import Any, Literal, TypeVar

from openbell.adapters.stores import stepblocks
from openbell.adapters.stores.base import (
    CommitRecord,
    Corrupt,
    Document,
    EpochInfo,
    Held,
    Holder,
    Join,
    Joins,
    JournalEntry,
    LeaseHeld,
    NoRoom,
    Step,
    StoredSignal,
    Unavailable,
    Usage,
)
from openbell.adapters.stores.base import Head as PublicHead
from openbell.adapters.stores.columns import selected
from openbell.adapters.stores.holders import (
    Lease,
    Watch,
    decode_holder,
    encode_holder,
    fenced,
    held,
)
from openbell.adapters.stores.known import KnownIds
from openbell.adapters.stores.records import (
    ENTRIES,
    FOLD_BYTES,
    FOLD_READ,
    FOLD_READ_BYTES,
    FOLD_STEPS,
    PAGE,
    STEP_BLOCKS,
    Blob,
    Encoded,
    Head,
    Reading,
    audit_row,
    block_crc,
    encode,
    in_order,
    journal_row,
    kept_row,
    pack_block,
    parse_cursor,
    plan_pruning,
    readable_manifest,
    to_fold,
    unknown_cursor,
)
from openbell.adapters.stores.refusals import (
    conflict,
    does_not_follow,
    past,
    step_does_not_follow,
)
from openbell.adapters.stores.sqlite.file import Database, upgrade, version
from openbell.adapters.stores.sqlite.queries import query
from openbell.adapters.stores.stepblocks import STEPS
from openbell.errors import StoreError

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
    ("beside", "body"),
)
"""Tables, and the column that has nearly all of a row's bytes."""

_JOURNAL_SINCE = 2
"""The version of a file that has one."""

_LATER = {
    "head": ((_JOURNAL_SINCE, "journal, journal_kept", "NULL"),),
    "documents": ((3, "place", "NULL"),),
    "documents_of_status": ((3, "place", "NULL"),),
    "steps": ((5, "first,", "NULL,"),),
    "journal": ((5, "crc, step", "crc, NULL"), (5, "step", "NULL")),
}
"""Columns of a query that older files lack, the version that has them, and what stands for them."""

BLOCKS = 50
"""Blocks of signals read at a time: each has those of a step, or of several."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Recent:
    """The last day's signals in the log, as of a commit."""

    commit: int
    ids: dict[date, KnownIds]


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
                upgrade(db)
                db.execute(query("begin"), (self._name,))
                db.execute(query("raise_fence"), (self._name,))
                ((fence,),) = self._rows(db, "fence")
                db.execute(
                    query("take_lease"),
                    (self._name, fence, _now_ms(), self._token, encode_holder(holder)),
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

    def lease(self) -> Held | None:
        with self._reads() as db:
            lease = self._lease(db)
        return lease and lease.held(_now_ms())

    def release(self, fence: int) -> None:
        with self._writes() as db:
            lease = self._lease(db)
            if lease and self._is_ours(lease, fence):
                db.execute(query("give_back_lease"), (self._name,))

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
                raise does_not_follow(self._where, encoded.number, head.commit)
            if encoded.first_step not in (None, head.step + 1):
                raise step_does_not_follow(
                    self._where, encoded.number, encoded.first_step, head.step
                )
            self._write(db, encoded, head)
            self._beat(db)
        return "ok"

    def _check_repeated(self, db: sqlite3.Connection, encoded: Encoded, head: Head) -> None:
        row = db.execute(query("digest"), (self._name, encoded.number)).fetchone()
        if row is None:
            raise past(self._where, encoded.number, head.commit)
        if row[0] != encoded.digest:
            raise conflict(self._where, encoded.number, row[0], encoded.digest)

    def _write(self, db: sqlite3.Connection, encoded: Encoded, head: Head) -> None:
        name, number = self._name, encoded.number
        step = head.step if encoded.last_step is None else encoded.last_step
        epoch = head.epoch
        if encoded.snapshot is not None:
            before = None
            if encoded.takes_over() and head.epoch:
                manifest = self._manifest(db, head.epoch)
                before = self._reading.taken_over(number, head.epoch, manifest)
            manifest = encoded.manifest(step, before).encoded()
            epoch = number
            db.execute(query("add_epoch"), (name, number, manifest))
            blobs = [(name, actor, blob.key, body) for actor, (blob, body) in encoded.blobs.items()]
            _add(db, "add_blob", blobs)
        _add(db, "add_step", [(name, *row) for row in encoded.steps])
        at = enumerate(encoded.journal, head.journal + 1)
        _add(db, "add_journal", [(name, place, *row) for place, row in at])
        documents = self._put(db, "documents", encoded.documents)
        facts = self._put(db, "facts", encoded.facts)
        appended = self._append_signals(db, encoded, head)
        self._append(db, encoded.audit)
        db.execute(query("add_commit"), (name, number, encoded.digest))
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
        appended, blocks = 0, []
        for given in encoded.signals:
            ids = known.get(given.trading_date)
            if ids is None:
                ids = known[given.trading_date] = self._ids_of(db, given.trading_date)
            rows = ids.fresh(given)
            if not len(rows):
                continue
            block = (encoded.number, appended, len(rows), given.trading_date.isoformat())
            packed = pack_block(rows)
            blocks.append((self._name, *block, packed, block_crc(*block, packed)))
            appended += len(rows)
        _add(db, "add_signals", blocks)
        if known:
            last = max(known)
            self._recent = _Recent(encoded.number, {last: known[last]})
        return appended

    def _ids_of(self, db: sqlite3.Connection, day: date) -> KnownIds:
        """An id holds its date: no other day's signal can have the same."""
        known = KnownIds()
        for block in self._rows(db, "blocks_of_day", day.isoformat()):
            known.fresh(self._reading.signals(block))
        return known

    # What can be read back.

    def head(self) -> PublicHead:
        with self._reads() as db:
            head = self._head(db)
            fences = self._rows(db, "fence")
            facts = self._rows(db, "facts")
            schema = version(db)
        self._reading.count(len(facts), head.facts, "entries of meta")
        meta = {row[0]: self._reading.fact(*row) for row in facts}
        fence = fences[0][0] if fences else 0
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
        # Each entry has a step at least: one that is looked for alone does not bring others along.
        size = min(STEP_BLOCKS, max(last - first, 1))
        rows = self._pages("steps", lambda row: (row[0],), (first,), size=size)
        return self._reading.steps(rows, first, last, head)

    def journal(
        self, trading_date: date, after_step: int = 0, kind: str | None = None
    ) -> Iterator[JournalEntry]:
        day = trading_date.isoformat()
        with self._reads() as db:
            kept = self._head(db).journal_kept
            self._reading.count(self._count(db, "journal"), kept, "journal entries")
            if kept:
                ((found,),) = self._rows(db, "count_journal_by_date", day)
                ((expected,),) = self._rows(db, "count_journal", day)
                self._reading.count(found, expected, f"journal entries of {day}")
        rows = self._pages(
            "journal",
            lambda row: (day, row[0], after_step, *_named(kind)),
            (day, 0, after_step, *_named(kind)),
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
                "block",
                *start,
                start[1],
            )
            if after is not None and not block:
                oldest = next((cursor for cursor, _ in self.signals(limit=1)), None)
                raise unknown_cursor(after, oldest)
        of_day = () if trading_date is None else (trading_date.isoformat(),)
        blocks = self._pages(
            "signals_of_day" if of_day else "signals",
            lambda row: (row[0], row[1] + 1, *of_day),
            (start[0], block[0][0] if block else 0, *of_day),
            size=BLOCKS,
        )
        wanted = self._signals(blocks, start if after is not None else None, symbol, session, limit)
        whole = after is None and not of_day and symbol is None and session is None
        return self._counted(wanted, committed) if whole and limit is None else wanted

    def last_signal(self) -> str | None:
        with self._reads() as db:
            last = self._rows(db, "last_block")
        return f"{last[0][0]}-{last[0][1] + last[0][2] - 1}" if last else None

    def _signals(
        self,
        blocks: Iterator[Any],
        after: tuple[int, int] | None,
        symbol: str | None,
        session: str | None,
        limit: int | None,
    ) -> Iterator[tuple[str, StoredSignal]]:
        for block in blocks:
            if limit == 0:
                return
            number, first = block[:2]
            skipped = after[1] + 1 - first if after and number == after[0] else 0
            found = selected(self._reading.signals(block), skipped, symbol, session, limit)
            for place, signal in found:
                yield f"{number}-{first + place}", signal
                limit = None if limit is None else limit - 1

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
        on = trading_date and trading_date.isoformat()
        given = (on, status, session, completed_since_ns, completed_before_ns)
        name = "documents" if status is None or on else "documents_of_status"
        with self._reads() as db:
            expected = self._head(db).documents
            self._reading.count(self._count(db, "documents"), expected, "documents")
            rows = self._rows(db, name, *given)
        if given == (None,) * 5:  # found by another index than they were counted with
            self._reading.count(len(rows), expected, "documents")
        completion = (status, completed_since_ns, completed_before_ns) != (None, None, None)
        of_completion = trading_date is None and completion
        return in_order(map(self._reading.document, rows), of_completion=of_completion)

    def audit(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        with self._reads() as db:
            rows = self._rows(db, "last_audit")
        last = rows[0][0] if rows else 0
        entries = self._pages(
            "audit",
            lambda row: (row[0],),
            (after,),
        )
        return self._reading.audit_trail(entries, after, last)

    def append_audit(self, entry: bytes) -> None:
        row = audit_row(entry)
        with self._writes() as db:
            db.execute(query("begin"), (self._name,))
            self._append(db, [row])

    def send_command(self, command: bytes) -> None:
        with self._writes() as db:
            db.execute(query("add_command"), (self._name, command))

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
            db.execute(query("drop_commands"), (self._name,))
        return commands

    # Beside the commits.

    def kept(self, begin: str) -> Mapping[str, bytes]:
        with self._reads() as db:
            rows = self._rows(db, "beside", begin, begin + _LAST) if _has_beside(db) else []
        return {key: self._reading.beside(key, body, crc) for key, body, crc in rows}

    def kept_at(self, key: str) -> bytes | None:
        return self.kept(key).get(key)

    def keep(self, fence: int, changed: Mapping[str, bytes | None]) -> None:
        with self._writes() as db:
            self._check_fence(db, fence)
            db.execute(query("make_beside"))
            gone = [(self._name, key) for key, body in changed.items() if body is None]
            db.executemany(query("drop_beside"), gone)
            for key, body in changed.items():
                if body is not None:
                    db.execute(query("keep_beside"), (self._name, *kept_row(key, body)))

    def ask(self, key: str, body: bytes) -> None:
        with self._writes() as db:
            db.execute(query("make_beside"))
            db.execute(query("keep_beside"), (self._name, *kept_row(key, body)))

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
                query("drop_epoch"),
                [(self._name, epoch) for epoch in manifests.keys() - plan.epochs],
            )
            if None not in kept:  # what a damaged manifest needs is not known
                used = {
                    (actor, blob.key) for one in kept if one for actor, blob in one.blobs.items()
                }
                stored = set(self._rows(db, "blobs"))
                db.executemany(
                    query("drop_blob"),
                    [(self._name, *unused) for unused in stored - used],
                )
            of_days = self._rows(db, "first_step", before.isoformat())
            first = of_days[0][0] if of_days else head.step + 1
            steps_from = max(head.steps_from, min(plan.steps_from, first))
            db.execute(query("drop_steps"), (self._name, steps_from))
            db.execute(query("drop_commits"), (self._name, min(plan.epochs)))
            dropped = db.execute(
                query("drop_journal"),
                (self._name, plan.journal_from.isoformat()),
            ).rowcount
            self._set_head(
                db,
                head._replace(steps_from=steps_from, journal_kept=head.journal_kept - dropped),
            )

    def fold(self, fence: int, joins: Joins) -> None:
        with self._writes() as db:
            self._check_fence(db, fence)
            head = self._head(db)
            # Row by row: what lies before the small ones is large.
            last = [
                *takewhile(
                    lambda row: row[1] < FOLD_STEPS,
                    db.execute(query("last_steps"), (self._name, FOLD_READ)),
                )
            ]
            of_day = [row for row in last if row[2] == last[0][2]]
            if count := to_fold((steps for _, steps, _ in of_day), FOLD_STEPS, STEPS):
                self._fold_steps(db, of_day[count - 1][0])
            day = last[0][2] if last else ""
            folded = head
            for kind, join in joins.items():
                folded = self._fold_journal(db, day, kind, join, folded)
            if folded != head:
                self._set_head(db, folded)

    def _fold_steps(self, db: sqlite3.Connection, first: int) -> None:
        rows = self._rows(db, "steps", first - 1, FOLD_READ)
        steps = [step for row in rows for step in self._reading.step_block(row)]
        db.execute(query("drop_joined_steps"), (self._name, first))
        _add(db, "add_step", [(self._name, *row) for row in stepblocks.rows(steps)])

    def _fold_journal(
        self, db: sqlite3.Connection, day: str, kind: str, join: Join, head: Head
    ) -> Head:
        of = (day, *_named(kind))
        last = [
            *takewhile(
                lambda row: row[1] < FOLD_BYTES,
                db.execute(query("last_journal"), (self._name, *of, FOLD_READ)),
            )
        ]
        count = to_fold((size for _, size in last), FOLD_BYTES, FOLD_READ_BYTES)
        if not count:
            return head
        span = (*of, last[count - 1][0], last[0][0])
        rows = self._rows(db, "journal_between", *span)
        together = join([self._reading.journal_entry(row) for row in rows])
        db.execute(query("drop_joined_journal"), (self._name, *span))
        place = head.journal + 1
        db.execute(query("add_journal"), (self._name, place, *journal_row(together)))
        return head._replace(journal=place, journal_kept=head.journal_kept + 1 - count)

    @property
    def location(self) -> str:
        return self._database.where

    def usage(self) -> Usage:
        with self._reads() as db:
            head = self._head(db)
            counts = {
                "commits": head.commit,
                "steps": head.step + 1 - head.steps_from,
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
                for row in self._rows(db, "size", table=table, column=column)
            )
            schema = version(db)
        return Usage(self.location, schema, size, counts)

    def delete(self) -> None:
        with self._reads() as db:
            if db is None:
                return
        with self._writes() as db:
            for table in self._tables(db):
                db.execute(query("clear", table=table), (self._name,))

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
            return NoRoom(f"{where}: the disk is full; nothing was written; make room on it")
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
        self, db: sqlite3.Connection | None, name: str, *values: object, **filled: str
    ) -> list[Any]:
        """What a query of queries.sql gives for this namespace."""
        if db is None:
            return []
        text = query(name, **filled)
        for since, column, instead in _LATER.get(name, ()):
            if version(db) < since:
                text = text.replace(column, instead)
        return db.execute(text, (self._name, *values)).fetchall()

    def _pages(
        self,
        name: str,
        resume: Callable[[tuple[Any, ...]], tuple[object, ...]],
        values: tuple[object, ...],
        *,
        size: int = PAGE,
    ) -> Iterator[tuple[Any, ...]]:
        """Reads page after page: an open query would keep the file from being folded."""
        while True:
            with self._reads() as db:
                rows = self._rows(db, name, *values, size)
            yield from rows
            if len(rows) < size:
                return
            values = resume(rows[-1])

    def _tables(self, db: sqlite3.Connection | None) -> Sequence[str]:
        """Those of the file's version."""
        tables = _TABLES if version(db) > 1 else [name for name in _TABLES if name != "journal"]
        return (*tables, "beside") if _has_beside(db) else tables

    def _count(self, db: sqlite3.Connection | None, table: str) -> int:
        if table not in self._tables(db):
            return 0
        if table == "signals":
            rows = self._rows(db, "count_signals")
        else:
            rows = self._rows(db, "count", table=table)
        return int(rows[0][0]) if rows else 0

    def _put(self, db: sqlite3.Connection, table: str, rows: Sequence[tuple[object, ...]]) -> int:
        """How many are new."""
        values = [(self._name, *row) for row in rows]
        new = _add(db, f"add_{table}", values)
        if new < len(rows):
            _add(db, f"replace_{table}", values)
        return new

    def _head(self, db: sqlite3.Connection | None) -> Head:
        rows = self._rows(db, "head")
        seal, *fields = rows[0] if rows else (0,)
        head = Head(*fields)
        if version(db) < _JOURNAL_SINCE:
            head = head._replace(journal=0, journal_kept=0)
        if any(type(found) is not type(usual) for found, usual in zip(head, Head(), strict=True)):
            raise self._reading.corrupt("its head is damaged")
        if head == Head():
            sealed = ("commits", "steps", "epochs", "signals", "documents", "facts", "journal")
            for table in (name for name in sealed if name in self._tables(db)):
                if self._rows(db, "any", table=table):
                    raise self._reading.corrupt(f"its head is missing, but there are {table}")
        elif head.seal() != seal:
            raise self._reading.corrupt("its head fails its checksum")
        return head

    def _set_head(self, db: sqlite3.Connection, head: Head) -> None:
        db.execute(query("set_head"), (*head, head.seal(), self._name))

    def _lease(self, db: sqlite3.Connection | None) -> Lease | None:
        rows = self._rows(db, "lease")
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
        db.execute(query("beat"), (_now_ms(), self._name))

    def _manifest(self, db: sqlite3.Connection | None, epoch: int) -> bytes | None:
        rows = self._rows(db, "manifest", epoch)
        return rows[0][0] if rows else None

    def _manifests(self, db: sqlite3.Connection | None) -> dict[int, bytes | None]:
        rows = self._rows(db, "manifests")
        return {epoch: manifest for epoch, manifest in rows if isinstance(epoch, int)}

    def _loads(self, db: sqlite3.Connection | None) -> Callable[[Blob, str], bytes | None]:
        def load(blob: Blob, actor: str) -> bytes | None:
            rows = self._rows(db, "blob", actor, blob.key)
            return rows[0][0] if rows else None

        return load

    def _commands(self, db: sqlite3.Connection | None) -> list[bytes]:
        rows = self._rows(db, "commands")
        return [command for (command,) in rows]

    def _append(self, db: sqlite3.Connection, entries: Sequence[tuple[bytes, int]]) -> None:
        count = len(entries)
        db.execute(query("raise_audit"), (count, self._name))
        ((last,),) = self._rows(db, "last_audit")
        at = enumerate(entries, last - count + 1)
        _add(db, "add_audit", [(self._name, place, *row) for place, row in at])


_AT_ONCE = 900
"""Values of one statement; SQLite has taken 999 since ever."""


def _add(db: sqlite3.Connection, name: str, rows: Sequence[tuple[object, ...]]) -> int:
    """Add rows, many with one statement, and count those that were.

    SQLite gives Python's lock away with each row of `executemany`, and the actors' thread, which
    hardly ever rests, keeps it for some milliseconds then: 300 rows took over a second.
    """
    added, width = 0, len(rows[0]) if rows else 1
    size = _AT_ONCE // width
    for part in (rows[first : first + size] for first in range(0, len(rows), size)):
        more = ", (" + ", ".join("?" * width) + ")"
        values = [value for row in part for value in row]
        added += db.execute(query(name) + more * (len(part) - 1), values).rowcount
    return added


_LAST = "\U0010ffff"
"""Follows all that a key or a name may hold."""


def _named(kind: str | None) -> tuple[str, str]:
    """Bounds of the names that begin with a word; None: of all names."""
    return ("", _LAST) if kind is None else (f"{kind} ", f"{kind}!")


def _has_beside(db: sqlite3.Connection | None) -> bool:
    return db is not None and db.execute(query("has_beside")).fetchone() is not None


def _now_ms() -> int:
    return time.time_ns() // 10**6
