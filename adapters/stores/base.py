"""What a store is: where commits become durable, and what can be read back from them.

A store keeps one namespace (`name:` of the configuration). There is one writer at a time, which
holds the lease and commits with its fencing token; readers need neither and may be many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Protocol

from openbell.errors import StoreError
from openbell.market.days import MarketTime
from openbell.market.results import SignalBatch

SCHEMA_VERSION = 6
"""Of what stores keep; a newer program reads older state, an older one refuses newer."""


class Fenced(StoreError):
    """Another writer has taken over: this one's token is old. Nothing was written."""


class Gap(StoreError):
    """The commit's number is not the next one. Nothing was written."""


class Conflict(StoreError):
    """A commit of that number exists with another digest: two writers, or non-determinism."""


class Unavailable(StoreError):
    """The store did not answer, so that it is not known whether the commit was executed.

    Sending the same commit again is harmless.
    """


class NoRoom(Unavailable):
    """The store has no room, and has written nothing; once there is some, it goes on."""


class LeaseHeld(StoreError):
    """Another process holds the lease."""

    def __init__(self, holder: str, detail: str, *, lives: bool = True) -> None:
        super().__init__(detail)
        self.holder = holder
        self.lives = lives
        """Whether the process is known to live: one on another host, or in another container,
        shows it by its heartbeat only."""


class Corrupt(StoreError):
    """Something that was read back fails its checksum or can't be understood."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who wants to write, for people and for telling the dead from the living."""

    host: str
    boot_id: str
    pid: int
    started: str
    """The process's start time as its system gives it: with pid and boot id, one process."""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease that somebody has."""

    holder: Holder | None
    """None: its record is damaged."""
    silent_seconds: float | None
    """Since its last heartbeat, of which each commit is one; None: an older openbell has it, which
    doesn't tell."""
    dead: bool
    """Whether the process is known to have ended."""


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the step log: a grant, encoded, and the digest chain after it."""

    number: int
    market_ns: MarketTime
    grant: bytes
    digest: bytes
    """Of this step's market-time content, chained to the step before."""
    trading_date: date


@dataclass(frozen=True, slots=True)
class Document:
    """A session document; `body` is its JSON, and on its way into the store may be its columns
    (`openbell.adapters.stores.columns.pack_document`)."""

    trading_date: date
    session: str
    status: str
    completed_ns: MarketTime | None
    body: bytes
    place: int | None = field(default=None, compare=False)
    """In the order of its day, by the window's start; documents of version 2 have none."""


@dataclass(frozen=True, slots=True)
class StoredSignal:
    """One signal of the log; `body` is its JSON object, without a cursor."""

    id: str
    trading_date: date
    session: str
    symbol: str
    body: bytes


@dataclass(frozen=True, slots=True)
class SignalRows:
    """Signals of one trading day on their way into the log, in its order, as columns.

    All columns are of the same length.
    """

    trading_date: date
    ids: Sequence[str]
    sessions: Sequence[str]
    symbols: Sequence[str]
    bodies: Sequence[bytes]

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[StoredSignal]:
        rows = zip(self.ids, self.sessions, self.symbols, self.bodies, strict=True)
        for key, session, symbol, body in rows:
            yield StoredSignal(key, self.trading_date, session, symbol, body)


Signals = SignalBatch | SignalRows
"""On their way into the log: columns that are read back as their JSON, or texts."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Every actor's state at one instant of market time: what makes a commit an epoch.

    `states` holds the states that changed since the epoch before; the others are taken over. After
    a recovery the first snapshot holds all: the newest epoch may be one that was found corrupt.
    """

    market_ns: MarketTime
    trading_date: date
    states: Mapping[str, bytes]
    actors: tuple[str, ...]
    """All actors of the snapshot, changed or not."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """Something from outside that can't be asked for again with the same answer: all of it."""

    trading_date: date
    """Of the step that it entered with: kept and dropped with that day's steps."""
    name: str
    """What it is, for whoever reads it back."""
    body: bytes
    step: int | None = None
    """The last step that it entered with, where who goes on from a later one needs it no more;
    None: whoever goes on within its day needs it."""


@dataclass(frozen=True, slots=True)
class CommitRecord:
    """What becomes durable at once. Encoded before it is sent: sending it again sends the same."""

    number: int
    """1 for the first of a namespace; each is one more than the one before."""
    digest: bytes
    """Of the record's whole content: a repeated number with another digest is a Conflict."""
    steps: tuple[Step, ...] = ()
    """Each is one more than the one before, the first one more than the last that is stored."""
    snapshot: Snapshot | None = None
    documents: tuple[Document, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    """What the steps used that could not be had again."""
    signals: tuple[Signals, ...] = ()
    """Those whose id the log has are skipped."""
    audit: tuple[bytes, ...] = ()
    """JSON objects."""
    meta: Mapping[str, bytes] = field(default_factory=dict)
    """Small facts of the run that change with this commit (its identities, its day state); the
    others stay."""


@dataclass(frozen=True, slots=True)
class Head:
    """How far a namespace has come."""

    commit: int
    """0: nothing was ever committed."""
    step: int
    fence: int
    digest: bytes
    meta: Mapping[str, bytes]
    schema: int
    signals: int
    """How many the log has."""


@dataclass(frozen=True, slots=True)
class EpochInfo:
    """One snapshot of the store, newest first in listings."""

    epoch: int
    """The number of its commit."""
    step: int
    """The last step that it includes: replay starts with the next."""
    market_ns: MarketTime
    trading_date: date
    size: int
    """Bytes of all states."""
    problem: str | None
    """None: every checksum holds."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Where a namespace's state lives and how much it is."""

    location: str
    schema: int
    bytes: int
    counts: Mapping[str, int]
    """Commits, steps, epochs, journal entries, documents, signals, audit entries."""


Join = Callable[[Sequence[JournalEntry]], JournalEntry]
"""Makes one entry of several of the journal."""

Joins = Mapping[str, Join]
"""By the first word of the entries' names."""


class Store(Protocol):
    """One namespace of state. All methods raise `StoreError`s only, `Unavailable` among them."""

    def warnings(self) -> Sequence[str]:
        """What about the store's set-up weakens its promises; for the log, at start."""
        ...

    def acquire(self, holder: Holder, ttl_ns: int) -> int:
        """Take the lease; returns the fencing token, higher than any before.

        A holder that is dead for certain (same host, and no such process since boot) is replaced
        at once; another one when its heartbeat has not changed for `ttl_ns` of this process's
        monotonic clock.

        Raises
        ------
        LeaseHeld
            Without waiting, when a living holder has it. Callers wait by asking again.
        """
        ...

    def renew(self, fence: int) -> None:
        """Heartbeat.

        Raises
        ------
        Fenced
            If the lease is somebody else's.
        """
        ...

    def lease(self) -> Held | None:
        """Who has the lease, for people: whether it may be taken, `acquire` finds out."""
        ...

    def release(self, fence: int) -> None:
        """Give the lease back; does nothing when it is somebody else's."""
        ...

    def commit(self, fence: int, record: CommitRecord) -> Literal["ok", "dup"]:
        """Make a record durable, all of it or nothing; `dup` if it was before, harmlessly.

        Raises
        ------
        Fenced, Gap, Conflict, Unavailable
        """
        ...

    def head(self) -> Head: ...

    def epochs(self) -> Sequence[EpochInfo]:
        """All snapshots, newest first, each with its checksums verified."""
        ...

    def states(self, epoch: int) -> Mapping[str, bytes]:
        """Every actor's state of one snapshot.

        Raises
        ------
        Corrupt
            If one is missing or fails its checksum; the text names it.
        """
        ...

    def steps(self, after: int = 0, until: int | None = None) -> Iterator[Step]:
        """The step log, ascending and without gaps, `after` excluded; 0: from the first kept.

        Raises
        ------
        StoreError
            If steps after `after` were pruned.
        Corrupt
            On reaching one that is missing or fails its checksum.
        """
        ...

    def journal(
        self, trading_date: date, after_step: int = 0, kind: str | None = None
    ) -> Iterator[JournalEntry]:
        """What was journaled for a trading day, in the order in which it was committed.

        Parameters
        ----------
        after_step : int
            Of what names its step, only what came after this one; the rest is not read.
        kind : str, optional
            The first word of the names of the entries that are wanted, all of which name a step.

        Raises
        ------
        Corrupt
            If an entry, of that day or another, is missing; on reaching one that fails its
            checksum.
        """
        ...

    def signals(
        self,
        after: str | None = None,
        *,
        trading_date: date | None = None,
        symbol: str | None = None,
        session: str | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[str, StoredSignal]]:
        """The signal log in its order, each with its cursor: an opaque position, not its id.

        Raises
        ------
        ValueError
            If `after` is no cursor of this log.
        """
        ...

    def last_signal(self) -> str | None:
        """The cursor of the last signal of the log; None: it has none."""
        ...

    def documents(
        self,
        *,
        trading_date: date | None = None,
        status: str | None = None,
        session: str | None = None,
        completed_since_ns: int | None = None,
        completed_before_ns: int | None = None,
    ) -> Sequence[Document]:
        """Session documents in the order of the days and, within each, of their windows.

        Those of a status, or of a range of completion ([since, before), ns UTC), over all days
        come in the order in which they were completed.
        """
        ...

    def audit(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        """The audit trail with positions, ascending, `after` excluded."""
        ...

    def append_audit(self, entry: bytes) -> None:
        """An entry outside any commit: what happened to the process, never to the market."""
        ...

    def send_command(self, command: bytes) -> None:
        """Leave a command for whoever holds the lease, now or next."""
        ...

    def commands(self, fence: int) -> Sequence[bytes]:
        """Commands that wait, oldest first: they stay until what they ask for is durable."""
        ...

    def take_commands(self, fence: int) -> Sequence[bytes]:
        """Take all commands out, oldest first."""
        ...

    def kept(self, begin: str) -> Mapping[str, bytes]:
        """What is kept beside the commits, by key: what no answer of the run depends on.

        Parameters
        ----------
        begin : str
            Of the keys that are wanted, which come sorted.

        Raises
        ------
        Corrupt
            If one fails its checksum.
        """
        ...

    def kept_at(self, key: str) -> bytes | None:
        """What a key has of that; None: nothing.

        Raises
        ------
        Corrupt
            If it fails its checksum.
        """
        ...

    def keep(self, fence: int, changed: Mapping[str, bytes | None]) -> None:
        """Keep this beside the commits, all of it or nothing; None drops what a key has.

        Raises
        ------
        Fenced
            If the lease is somebody else's.
        """
        ...

    def ask(self, key: str, body: bytes) -> None:
        """Keep this for whoever holds the lease, now or next, to find; without a lease."""
        ...

    def prune(self, fence: int, before: date, keep_epochs: int) -> None:
        """Drop what is there to replay days before a date, and older snapshots.

        Of a day that stays, the snapshot that it began with, its step log and its journal stay, so
        that it can be replayed. So do the last `keep_epochs` snapshots, at least the newest, with
        what recovery from them needs. Signals, documents and audit entries stay.
        """
        ...

    def fold(self, fence: int, joins: Joins) -> None:
        """Join what single commits left at the end of the step log, and at the end of what was
        journaled with the steps of its last day, into larger entries: they say the same.

        Raises
        ------
        Fenced
            If the lease is somebody else's.
        """
        ...

    @property
    def location(self) -> str:
        """Where it lives, for people; damage is no hindrance."""
        ...

    def usage(self) -> Usage: ...

    def delete(self) -> None:
        """Remove this namespace, and nothing else."""
        ...

    def close(self) -> None: ...
