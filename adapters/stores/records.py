"""What stores write and how they tell, on reading, that it is what was written.

A server or a disk may lose or change bytes. Rows therefore carry a crc32, sequences have no gaps,
and the head, which carries a crc too, knows how many there are of everything that recovery needs.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import pairwise
from typing import Any, NamedTuple
from zlib import crc32

import msgpack
import orjson

from openbell.adapters.stores import columns, stepblocks
from openbell.adapters.stores.base import (
    SCHEMA_VERSION,
    CommitRecord,
    Corrupt,
    Document,
    EpochInfo,
    JournalEntry,
    SignalRows,
    Signals,
    Snapshot,
    Step,
    StoredSignal,
)
from openbell.adapters.unpacking import inflated
from openbell.errors import StoreError, way_out
from openbell.market.days import EPOCH, MarketTime
from openbell.market.results import SignalBatch

UNKNOWN_DATE = date.min
"""Of a snapshot whose manifest can't be read."""

PAGE = 1000
"""Rows read at a time: between pages a reader holds nothing that a writer could wait for."""

STEP_BLOCKS = 50
"""Entries of the step log read at a time: each may have thousands of steps."""

ENTRIES = 4
"""Entries of the journal read at a time: each may have a day's rows."""

_UNREADABLE = (TypeError, ValueError, AttributeError)
"""What values of types that were never written raise."""

Loads = Callable[["Blob", str], bytes | None]
"""Finds an actor's state by where its manifest says that it is."""


def checksum(*parts: bytes) -> int:
    """crc32 of the parts and of where one ends and the next begins."""
    crc = 0
    for part in parts:
        crc = crc32(part, crc32(b"%d:" % len(part), crc))
    return crc


def kept_row(key: str, body: bytes) -> tuple[str, bytes, int]:
    """Of what is kept beside the commits."""
    return key, body, checksum(key.encode(), body)


JournalRow = tuple[str, str, bytes, int, int | None]
"""trading_date, name, body, crc, step"""

DocumentRow = tuple[str, str, str, int | None, bytes, int, int | None]
"""trading_date, session, status, completed_ns, body, crc, place"""


class Blob(NamedTuple):
    """One actor's stored state: where it lies and what it must be."""

    key: str
    """Made from the commit that wrote it and that commit's digest: a writer that was taken over,
    or one that sends another content, never writes over a state that was committed."""
    length: int
    crc: int

    def problem(self, body: bytes | None) -> str | None:
        if body is None:
            return "is missing"
        if not isinstance(body, bytes):  # SQLite columns have no types
            return "is damaged"
        if len(body) != self.length:
            return f"has {len(body)} bytes, not the {self.length} written"
        if crc32(body) != self.crc:
            return "fails its checksum"
        return None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot consists of."""

    step: int
    market_ns: MarketTime
    trading_date: date
    blobs: Mapping[str, Blob]

    @property
    def size(self) -> int:
        return sum(blob.length for blob in self.blobs.values())

    def encoded(self) -> bytes:
        blobs = {actor: list(blob) for actor, blob in self.blobs.items()}
        day = self.trading_date.isoformat()
        body = orjson.dumps([self.step, self.market_ns, day, blobs])
        return b"%08x" % crc32(body) + body


def read_manifest(data: bytes | None) -> Manifest:
    """
    Raises
    ------
    Corrupt
        Its text is only a predicate, such as "is missing".
    """
    if data is None:
        raise Corrupt("is missing")
    if not isinstance(data, bytes) or data[:8] != b"%08x" % crc32(data[8:]):
        raise Corrupt("fails its checksum")
    try:
        step, market_ns, trading_date, blobs = orjson.loads(data[8:])
        manifest = Manifest(
            step,
            market_ns,
            date.fromisoformat(trading_date),
            {actor: Blob(*blob) for actor, blob in blobs.items()},
        )
        sizes = (step, market_ns, *(blob.length for blob in manifest.blobs.values()))
        good = all(type(size) is int for size in sizes)
    except _UNREADABLE:
        good = False
    if not good:
        raise Corrupt("is none of this program's")
    return manifest


def readable_manifest(data: bytes | None) -> Manifest | None:
    try:
        return read_manifest(data)
    except Corrupt:
        return None


@dataclass(frozen=True, slots=True)
class Encoded:
    """A commit as rows of plain values: what can go wrong with them has gone wrong before."""

    number: int
    digest: bytes
    first_step: int | None
    last_step: int | None
    steps: tuple[stepblocks.Row, ...]
    documents: tuple[DocumentRow, ...]
    journal: tuple[JournalRow, ...]
    signals: tuple[Signals, ...]
    audit: tuple[tuple[bytes, int], ...]
    facts: tuple[tuple[str, bytes, int], ...]
    """The record's `meta`."""
    snapshot: Snapshot | None
    blobs: Mapping[str, tuple[Blob, bytes]]
    """The states that this commit brings, by actor."""

    def takes_over(self) -> list[str]:
        """Actors whose state is that of the snapshot before."""
        if self.snapshot is None:
            return []
        return [actor for actor in self.snapshot.actors if actor not in self.blobs]

    def manifest(self, step: int, before: Manifest | None) -> Manifest:
        """Of this commit's snapshot, `step` being the last that it includes."""
        assert self.snapshot is not None
        earlier = before.blobs if before else {}
        lacking = [actor for actor in self.takes_over() if actor not in earlier]
        if lacking:
            raise StoreError(
                f"commit {self.number}: its snapshot lacks the state of {', '.join(lacking)}, and "
                "there is none to take over; nothing was written; give every actor's state"
            )
        blobs = {
            actor: self.blobs[actor][0] if actor in self.blobs else earlier[actor]
            for actor in self.snapshot.actors
        }
        return Manifest(step, self.snapshot.market_ns, self.snapshot.trading_date, blobs)


def encode(record: CommitRecord) -> Encoded:
    """
    Raises
    ------
    StoreError
        If the record can't be stored; nothing was written.
    """
    try:
        return _encode(record)
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise StoreError(
            f"commit {record.number}: can't be stored ({error}); nothing was written"
        ) from error


def _encode(record: CommitRecord) -> Encoded:
    _count(record.number, "its number")
    if record.number < 1:
        raise ValueError("its number is below 1")
    for step in record.steps:
        _check_step(step)
    for before, after in pairwise(record.steps):
        if after.number != before.number + 1:
            raise ValueError(f"step {after.number} does not follow step {before.number}")
    snapshot = record.snapshot
    blobs: dict[str, tuple[Blob, bytes]] = {}
    if snapshot is not None:
        _count(snapshot.market_ns, "the snapshot's instant")
        unlisted = snapshot.states.keys() - set(snapshot.actors)
        if unlisted:
            raise ValueError(f"there is a state of {min(unlisted)}, which is not among the actors")
        key = f"{record.number}-{record.digest.hex()[:16]}"
        for actor, state in snapshot.states.items():
            body = _bytes(state, f"the state of {actor}")
            blobs[actor] = Blob(key, len(body), crc32(body)), body
    return Encoded(
        number=record.number,
        digest=_bytes(record.digest, "its digest"),
        first_step=record.steps[0].number if record.steps else None,
        last_step=record.steps[-1].number if record.steps else None,
        steps=tuple(stepblocks.rows(record.steps)),
        # Of several of one session the last counts.
        documents=tuple(
            {
                (document.trading_date, document.session): document_row(document)
                for document in record.documents
            }.values()
        ),
        journal=tuple(journal_row(entry) for entry in record.journal),
        signals=tuple(_checked(rows) for rows in record.signals if len(rows)),
        audit=tuple(audit_row(entry) for entry in record.audit),
        facts=tuple(
            (key, _bytes(value, f"meta {key}"), checksum(key.encode(), value))
            for key, value in record.meta.items()
        ),
        snapshot=snapshot,
        blobs=blobs,
    )


def _bytes(value: object, what: str) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError(f"{what} is no bytes but {type(value).__name__}")
    return value


def _count(value: object, what: str) -> int:
    # A Lua number holds whole numbers to 2**53; counters stay far below, instants travel as text.
    if not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError(f"{what} is no whole number of 64 bits: {value!r}")
    return value


def _text(value: object, what: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{what} is no text without NUL: {value!r}")
    return value


def _check_step(step: Step) -> None:
    _count(step.number, "a step")
    _count(step.market_ns, "a step's instant")
    _bytes(step.grant, "a grant")
    _bytes(step.digest, "a step's digest")
    step.trading_date.isoformat()


def single_step_crc(step: Step) -> int:
    """Of a step that has an entry of its own, as versions up to 4 wrote them."""
    seal = b"%d %d" % (step.number, step.market_ns)
    return checksum(seal, step.trading_date.isoformat().encode(), step.grant, step.digest)


def document_row(document: Document) -> DocumentRow:
    day, session = document.trading_date.isoformat(), _text(document.session, "a session")
    status, body = _text(document.status, "a status"), _bytes(document.body, "a document")
    completed_ns = document.completed_ns
    if completed_ns is not None and _count(completed_ns, "completed_ns") < 0:
        raise ValueError(f"completed_ns is {completed_ns}, before 1970")
    key, place = f"{day}\0{session}\0{status}\0{completed_ns}", document.place
    if place is not None:
        key = f"{key}\0{_count(place, 'a place in the day')}"
    return day, session, status, completed_ns, body, checksum(key.encode(), body), place


def journal_row(entry: JournalEntry) -> JournalRow:
    day, name = entry.trading_date.isoformat(), _text(entry.name, "a journal entry's name")
    body, step = _bytes(entry.body, "a journal entry"), entry.step
    sealed = [day.encode(), name.encode(), body]
    if step is not None:  # as versions up to 4 sealed them else
        sealed.append(b"%d" % _count(step, "a journal entry's step"))
    return day, name, body, checksum(*sealed), step


def kind_of(name: str) -> str:
    """The first word of a journal entry's name."""
    return name.partition(" ")[0]


def _checked(rows: Signals) -> Signals:
    """All rows at once: there may be tens of thousands in a commit."""
    if isinstance(rows, SignalBatch):
        for name in (rows.exchange, *rows.sessions, *rows.symbols):
            _text(name, "a signal's key")
        return rows
    count = len(rows)
    for column in (rows.ids, rows.sessions, rows.symbols):
        if len(column) != count or join_texts(column).count(b"\0") != count - 1:
            raise ValueError("a signal's key is no text without NUL")
    if len(rows.bodies) != count or not all(type(body) is bytes for body in rows.bodies):
        raise TypeError("a signal's body is no bytes")
    return rows


def join_texts(column: Sequence[str]) -> bytes:
    """With NULs between them, which none of them holds."""
    return "\0".join(column).encode()


def signal_crc(key: str, day: str, session: str, symbol: str, body: bytes) -> int:
    return crc32(body, crc32(f"{key}\0{day}\0{session}\0{symbol}\0".encode()))


def pack_block(rows: Signals) -> bytes:
    """Compressed: their texts repeat, and less has to be flushed to the disk."""
    if isinstance(rows, SignalBatch):
        return columns.pack_signals(rows)
    texts = [list(column) for column in (rows.ids, rows.sessions, rows.symbols, rows.bodies)]
    return zlib.compress(msgpack.packb(texts, use_bin_type=True), 1)


def block_crc(number: int, seq: int, count: int, day: str, packed: bytes) -> int:
    return checksum(b"%d-%d %d" % (number, seq, count), day.encode(), packed)


def audit_row(entry: bytes) -> tuple[bytes, int]:
    return _bytes(entry, "an audit entry"), checksum(entry)


class Head(NamedTuple):
    """How far a namespace has come and how much it holds, as stored."""

    commit: int = 0
    step: int = 0
    digest: bytes = b""
    epoch: int = 0
    """The newest snapshot's; 0: there was none."""
    steps_from: int = 1
    """The first step that is kept."""
    signals: int = 0
    documents: int = 0
    facts: int = 0
    journal: int = 0
    """Entries so far; the last one has this number."""
    journal_kept: int = 0

    def seal(self) -> int:
        """A checksum that Lua can compute too, which in Redis has no crc32 and no bit operations:
        its numbers are exact up to 2**53.

        A head without a journal has the seal that version 1 gave it, which had none.
        """
        sealed = self if self.journal else self[:-2]
        text = b":".join(part if isinstance(part, bytes) else b"%d" % part for part in sealed)
        total = 0
        for byte in text:
            total = (total * 257 + byte + 1) % 4294967291
        return total


def in_order(documents: Iterable[Document], *, of_completion: bool) -> list[Document]:
    """Sorted by day and window, or by when they were completed, those that are not at last."""

    def of_day(document: Document) -> tuple[date, bool, int, str]:
        place, last = document.place, 2**63
        known = place if place is not None else document.completed_ns
        at = last if known is None else known
        return document.trading_date, place is None, at, document.session

    def completed(document: Document) -> tuple[bool, int, tuple[date, bool, int, str]]:
        at = document.completed_ns
        return at is None, at or 0, of_day(document)

    return sorted(documents, key=completed if of_completion else of_day)


def check_schema(schema: int, where: str) -> None:
    if schema > SCHEMA_VERSION:
        raise StoreError(
            f"{where}: holds state of version {schema}, this openbell reads up to version "
            f"{SCHEMA_VERSION}; use the newer openbell"
        )


@dataclass(frozen=True, slots=True)
class Reading:
    """Turns rows back into values; `where` begins the text of what is wrong with them."""

    where: str
    replicated: bool = False
    """Whether it may have been a copy that answered, of before the last commits."""

    def step_block(self, row: tuple[Any, ...]) -> Sequence[Step]:
        """The steps of an entry of the step log: several, or one of versions up to 4, which has no
        number of a first one."""
        last, first, market_ns, packed, digest, day, crc = row
        found: Sequence[Step] = ()
        try:
            of = date.fromisoformat(day)
            if first is None:
                step = Step(last, MarketTime(market_ns), packed, digest, of)
                found = (step,) if single_step_crc(step) == crc else ()
            elif stepblocks.row_crc(row) == crc:
                by_column = stepblocks.unpack(packed)
                found = [
                    Step(number, instant, grant, seal, of)
                    for number, instant, grant, seal in zip(
                        range(first, last + 1), *by_column, strict=True
                    )
                ]
        except (*_UNREADABLE, *columns.UNREADABLE):
            found = ()
        if not found:
            which = (
                f"step {last} fails its"
                if first in (None, last)
                else (f"steps {first} to {last} fail their")
            )
            raise self.corrupt(f"{which} checksum")
        return found

    def document(self, row: DocumentRow) -> Document:
        try:
            day, session, status, completed_ns, body, crc, place = row
            over = None if completed_ns is None else MarketTime(completed_ns)
            document = Document(date.fromisoformat(day), session, status, over, body, place)
            good = document_row(document)[-2] == crc
            text = columns.document_text(body) if good else b""
        except (*_UNREADABLE, *columns.UNREADABLE):
            good = False
        if not good:
            raise self.corrupt(f'the document of "{row[1]}" on {row[0]} fails its checksum')
        return document if text is body else replace(document, body=text)

    def journal_entry(self, row: JournalRow) -> JournalEntry:
        try:
            day, name, body, crc, step = row
            entry = JournalEntry(date.fromisoformat(day), name, body, step)
            good = journal_row(entry)[3] == crc
        except _UNREADABLE:
            good = False
        if not good:
            raise self.corrupt(f'"{row[1]}" of {row[0]} in the journal fails its checksum')
        return entry

    def signal(self, cursor: str, row: tuple[str, str, str, str, bytes, int]) -> StoredSignal:
        try:
            key, day, session, symbol, body, crc = row
            signal = StoredSignal(key, date.fromisoformat(day), session, symbol, body)
            good = signal_crc(key, day, session, symbol, body) == crc
        except _UNREADABLE:
            good = False
        if not good:
            raise self.corrupt(f"the signal at {cursor} fails its checksum")
        return signal

    def signals(self, block: tuple[int, int, int, str, bytes, int]) -> Signals:
        """Signals that `pack_block` packed."""
        number, seq, count, day, packed, crc = block
        found: Signals | None = None
        try:
            if block_crc(number, seq, count, day, packed) == crc:
                if packed[:1] == columns.MAGIC:
                    found = columns.unpack_signals(packed)
                else:
                    texts = msgpack.unpackb(inflated(packed))
                    found = SignalRows(date.fromisoformat(day), *texts)
        except (*_UNREADABLE, *columns.UNREADABLE, zlib.error):
            found = None
        if found is None or len(found) != count:
            raise self.corrupt(f"the signals from {number}-{seq} on fail their checksum")
        return found

    def steps(
        self, rows: Iterable[tuple[Any, ...]], after: int, until: int, head: Head
    ) -> Iterator[Step]:
        """Checks that the log has every step from after `after` to `until`."""
        expected = after + 1
        last = min(until, head.step)
        for row in rows:
            if expected > last:
                break
            steps = self.step_block(row)
            if steps[-1].number < expected:  # of before it was joined with those after it
                continue
            if steps[0].number > expected:
                break
            yield from steps[expected - steps[0].number :][: last + 1 - expected]
            expected = min(steps[-1].number, last) + 1
        if expected <= last:
            raise self.corrupt(f"step {expected} is missing from the step log")

    def audit_trail(
        self, rows: Iterable[tuple[int, bytes, int]], after: int, last: int
    ) -> Iterator[tuple[int, bytes]]:
        """Checks that the trail has every entry from after `after` to `last`."""
        expected = after + 1
        for position, entry, crc in rows:
            yield position, self._audit(position, expected, entry, crc)
            expected += 1
        if expected <= last:
            raise self.corrupt(f"entry {expected} is missing from the audit trail")

    def _audit(self, position: int, expected: int, entry: bytes, crc: int) -> bytes:
        if position != expected:
            raise self.corrupt(f"entry {expected} is missing from the audit trail")
        if not isinstance(entry, bytes) or checksum(entry) != crc:
            raise self.corrupt(f"entry {position} of the audit trail fails its checksum")
        return entry

    def fact(self, key: str, value: bytes, crc: int) -> bytes:
        try:
            good = checksum(key.encode(), value) == crc
        except _UNREADABLE:
            good = False
        if not good:
            raise self.corrupt(f"meta {key!r} fails its checksum")
        return value

    def beside(self, key: str, value: bytes, crc: int) -> bytes:
        try:
            good = checksum(key.encode(), value) == crc
        except _UNREADABLE:
            good = False
        if not good:
            raise self.corrupt(f"{key!r}, beside the commits, fails its checksum")
        return value

    def count(self, found: int, expected: int, what: str) -> None:
        if found != expected:
            raise self.corrupt(f"has {found} {what}, not the {expected} committed")

    def first_step(self, after: int, head: Head) -> int:
        """The step before the first to be read; 0 stands for all that are kept."""
        if after == 0:
            return head.steps_from - 1
        if after < head.steps_from - 1:
            raise StoreError(
                f"{self.where}: steps {after + 1} to {head.steps_from - 1} were dropped after "
                "store.keep_days; ask for later ones"
            )
        return after

    def epochs(
        self, manifests: Mapping[int, bytes | None], newest: int, load: Loads
    ) -> list[EpochInfo]:
        """Each with all its states verified; one that several snapshots share is read once."""
        verdicts: dict[tuple[Blob, str], str | None] = {}
        infos = []
        for epoch in sorted({*manifests, *([newest] if newest else [])}, reverse=True):
            try:
                manifest = read_manifest(manifests.get(epoch))
            except Corrupt as error:
                problem = f"the manifest {error}"
                infos.append(EpochInfo(epoch, 0, EPOCH, UNKNOWN_DATE, 0, problem))
                continue
            for actor, blob in manifest.blobs.items():
                if (blob, actor) not in verdicts:
                    verdicts[blob, actor] = blob.problem(load(blob, actor))
            problems = [
                f"the state of {actor} {verdicts[blob, actor]}"
                for actor, blob in manifest.blobs.items()
                if verdicts[blob, actor]
            ]
            infos.append(
                EpochInfo(
                    epoch,
                    manifest.step,
                    manifest.market_ns,
                    manifest.trading_date,
                    manifest.size,
                    "; ".join(problems) or None,
                )
            )
        return infos

    def states(self, epoch: int, manifest: bytes | None, load: Loads) -> dict[str, bytes]:
        try:
            blobs = read_manifest(manifest).blobs
        except Corrupt as error:
            raise self.corrupt(f"epoch {epoch}: the manifest {error}") from None
        states = {}
        for actor, blob in blobs.items():
            body = load(blob, actor)
            problem = blob.problem(body)
            if problem or body is None:
                raise self.corrupt(f"epoch {epoch}: the state of {actor} {problem}")
            states[actor] = body
        return states

    def taken_over(self, number: int, epoch: int, manifest: bytes | None) -> Manifest:
        """Of the snapshot whose states a commit takes over."""
        try:
            return read_manifest(manifest)
        except Corrupt as error:
            raise self.corrupt(
                f"commit {number} takes over states of epoch {epoch}, whose manifest {error}"
            ) from None

    def corrupt(self, what: str) -> Corrupt:
        # As after a failover: what is missing there is where it was written.
        again = "start again, a replica that lagged behind may have answered; or else "
        return Corrupt(
            f"{self.where}: {what}; {again if self.replicated else ''}"
            "restore a copy of the store, or remove this state with "
            f"{way_out('`openbell state delete --yes`', 'delete() of this store')} and start afresh"
        )


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a `prune` leaves."""

    epochs: frozenset[int]
    """That stay."""
    steps_from: int
    """The first step that recovery may need: earlier ones go if their day is dropped too. It is
    that of a snapshot, whose digest is what the chain goes on from."""
    journal_from: date
    """The first day whose journal stays: a snapshot inside a day needs its rows."""


def plan_pruning(
    manifests: Mapping[int, Manifest | None], before: date, keep_epochs: int
) -> Pruning | None:
    """None: nothing may be dropped, as there is no snapshot to recover from.

    A snapshot whose manifest can't be read is none to recover from; it is kept as evidence for as
    long as it is newer than the ones that are.
    """
    readable = {epoch: manifest for epoch, manifest in manifests.items() if manifest}
    if not readable:
        return None
    recent = sorted(readable, reverse=True)[: max(keep_epochs, 1)]
    last_of_day = {readable[epoch].trading_date: epoch for epoch in sorted(readable)}
    # A day is replayed from the last snapshot before it; without one, from the log's beginning.
    dropped = max((day for day in last_of_day if day < before), default=None)
    starts = {epoch for day, epoch in last_of_day.items() if dropped is None or day >= dropped}
    unreadable = {epoch for epoch in manifests.keys() - readable.keys() if epoch > recent[-1]}
    oldest = readable[min({*recent, *starts})]
    return Pruning(
        epochs=frozenset({*recent, *starts, *unreadable}),
        steps_from=max(oldest.step, 1) if dropped else 1,
        journal_from=oldest.trading_date if dropped else date.min,
    )


FOLD_LEAST = 8
"""Entries that are joined at least: fewer are left for the next time."""

FOLD_STEPS, FOLD_BYTES = stepblocks.STEPS // 4, 16 * 1024
"""Entries of the step log, or of the journal, that are not joined any more once they are so large."""

FOLD_READ, FOLD_READ_BYTES = 2048, 2**20
"""Entries, and bytes of the journal, that are joined at most: a commit waits for it."""


def to_fold(sizes: Iterable[int], large: int, most: int) -> int:
    """How many entries are joined, of these sizes, newest first, up to one that is large."""
    count = total = 0
    for size in sizes:
        total += size
        if size >= large or total > most or count == FOLD_READ:
            break
        count += 1
    return count if count >= FOLD_LEAST else 0


_CURSOR = re.compile(r"([1-9][0-9]{0,17})-(0|[1-9][0-9]{0,17})", re.ASCII)


def parse_cursor(cursor: str) -> tuple[int, int]:
    """
    Raises
    ------
    ValueError
        If it can't be a cursor of any signal log.
    """
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise unknown_cursor(cursor)
    return int(match[1]), int(match[2])


def unknown_cursor(cursor: str, oldest: str | None = None) -> ValueError:
    """
    Parameters
    ----------
    oldest : str, optional
        Of the signals that the log has; it was looked for.
    """
    begins = "" if oldest is None else f", whose oldest is {oldest}"
    return ValueError(
        f'"{cursor}" is no cursor of this signal log{begins}; use one that it printed'
    )
