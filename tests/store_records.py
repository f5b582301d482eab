"""Commits for the tests of stores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from hashlib import blake2b
from itertools import groupby
from operator import attrgetter

from openbell.adapters.stores import (
    CommitRecord,
    Document,
    JournalEntry,
    SignalRows,
    Snapshot,
    Step,
    Store,
    StoredSignal,
    this_process,
)
from openbell.market.days import MarketTime

DAY = date(2025, 8, 26)
NEXT_DAY = DAY + timedelta(days=1)
TEN_NS = 1_756_180_800_000_000_000
MINUTE_NS = 60_000_000_000
TTL_NS = 5_000_000_000


def a_step(number: int, day: date = DAY) -> Step:
    return Step(
        number,
        MarketTime(TEN_NS + number * MINUTE_NS),
        b"grant \x00\xff%d" % number,
        digest(number),
        day,
    )


def a_signal(
    key: str, *, day: date = DAY, session: str = "Lunch Break", symbol: str = "NIFTY"
) -> StoredSignal:
    return StoredSignal(key, day, session, symbol, b'{"id":"%s"}' % key.encode())


def rows_of(signals: Iterable[StoredSignal]) -> tuple[SignalRows, ...]:
    """In the order given: those of a day that follow each other together."""
    runs = [[*run] for _, run in groupby(signals, key=attrgetter("trading_date"))]
    columns = ("id", "session", "symbol", "body")
    return tuple(
        SignalRows(run[0].trading_date, *([getattr(s, name) for s in run] for name in columns))
        for run in runs
    )


def an_entry(name: str, *, day: date = DAY, body: bytes | None = None) -> JournalEntry:
    return JournalEntry(day, name, b"rows \x00\xff of %s" % name.encode() if body is None else body)


def a_document(
    session: str,
    status: str = "PENDING",
    *,
    day: date = DAY,
    completed_ns: int | None = None,
    body: bytes = b"{}",
    place: int | None = None,
) -> Document:
    over = None if completed_ns is None else MarketTime(completed_ns)
    return Document(day, session, status, over, body, place)


def a_snapshot(
    states: Mapping[str, bytes],
    actors: Sequence[str] | None = None,
    *,
    number: int = 1,
    day: date = DAY,
) -> Snapshot:
    return Snapshot(MarketTime(TEN_NS + number * MINUTE_NS), day, states, tuple(actors or states))


def a_record(
    number: int,
    *,
    steps: tuple[Step, ...] | None = None,
    snapshot: Snapshot | None = None,
    documents: tuple[Document, ...] = (),
    journal: tuple[JournalEntry, ...] = (),
    signals: tuple[StoredSignal, ...] = (),
    audit: tuple[bytes, ...] = (),
    meta: Mapping[str, bytes] | None = None,
    salt: str = "",
) -> CommitRecord:
    """By default of one step, the one of its own number."""
    return CommitRecord(
        number=number,
        digest=digest(number, salt),
        steps=(a_step(number),) if steps is None else steps,
        snapshot=snapshot,
        documents=documents,
        journal=journal,
        signals=rows_of(signals),
        audit=audit,
        meta=meta or {},
    )


def digest(number: int, salt: str = "") -> bytes:
    return blake2b(f"{number} {salt}".encode(), digest_size=16).digest()


def a_full_record(number: int) -> CommitRecord:
    """Something of everything: what crash tests commit, and what they expect to find."""
    actors = ("breakout", "clock", "keeper")
    states = {actor: state_of(actor, number) for actor in actors}
    if number % 2 == 0:  # taken over from the snapshot before
        del states["keeper"]
    return a_record(
        number,
        snapshot=a_snapshot(states, actors, number=number),
        documents=(a_document(f"Window {number % 7}", "ACTIVE", body=b"%d" % number),),
        journal=tuple(an_entry(f"{number}:{place}") for place in range(2)),
        signals=tuple(a_signal(f"{number}:{place}") for place in range(3)),
        audit=(b'{"commit":%d}' % number,),
        meta={"day": b"%d" % number},
    )


def state_of(actor: str, number: int) -> bytes:
    return f"{actor} {number} ".encode() * 500


def check_everything(store: Store, commits: int) -> None:
    """That it holds what `a_full_record` makes of `commits` commits, each once."""
    head = store.head()
    assert (head.commit, head.step) == (commits, commits)
    assert [step.number for step in store.steps()] == list(range(1, commits + 1))
    expected = [f"{number}:{place}" for number in range(1, commits + 1) for place in range(3)]
    assert [signal.id for _, signal in store.signals()] == expected
    journal = [an_entry(f"{n}:{place}") for n in range(1, commits + 1) for place in range(2)]
    assert list(store.journal(DAY)) == journal
    entries = [entry for _, entry in store.audit()]
    assert entries == [b'{"commit":%d}' % number for number in range(1, commits + 1)]
    if not commits:
        return
    assert head.meta == {"day": b"%d" % commits}
    odd = commits - 1 if commits % 2 == 0 else commits
    assert store.states(commits) == {
        "breakout": state_of("breakout", commits),
        "clock": state_of("clock", commits),
        "keeper": state_of("keeper", odd),
    }
    assert all(epoch.problem is None for epoch in store.epochs()[:2])
    bodies = {document.session: document.body for document in store.documents()}
    assert bodies == {f"Window {n % 7}": b"%d" % n for n in range(1, commits + 1)}


def taken(store: Store, ttl_ns: int = TTL_NS) -> int:
    """The fencing token of a lease that is free."""
    return store.acquire(this_process(), ttl_ns)
