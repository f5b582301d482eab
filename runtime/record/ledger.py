"""Makes steps durable before anything that they brought can be seen.

Steps are gathered while a commit is outstanding and go into the next one together. A commit that
the store did not answer is sent again, the same bytes, until it is known to be there.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from itertools import groupby
from typing import Any

import msgpack
from loguru import logger

from openbell.actors import day as day_actor
from openbell.actors import keeper as keeper_actor
from openbell.actors.effects import Commit, Settled
from openbell.adapters.stores import (
    CommitRecord,
    JournalEntry,
    Snapshot,
    Step,
    Store,
    Unavailable,
)
from openbell.errors import ReplayError
from openbell.hosttime import Monotonic, monotonic
from openbell.market.results import SessionDocument, SignalBatch
from openbell.messages.control import Arrived, DayOver
from openbell.messages.time import Grant
from openbell.runtime.kernel.cells import Cell
from openbell.runtime.kernel.metrics import Buckets
from openbell.runtime.record import brought, feedlog, filled, inserted, journal, steplog
from openbell.runtime.record.codec import encode
from openbell.runtime.record.talking import Talking
from openbell.runtime.record.telling import Telling
from openbell.runtime.record.trail import Trail
from openbell.runtime.record.writing import (
    COMMITTED,
    audit_entry,
    joined_batches,
    market_time,
    step_key,
    stored_documents,
    wall_time,
)

STORE_TOKEN = "store"  # noqa: S105 no secret
"""What the clock is held by while more waits for the store than may."""

PATIENCE_SECONDS = 1.0
"""A commit that takes longer is an outage: a store that hangs raises nothing, or not for long."""

FED = (Arrived, DayOver)

ROW_BYTES = 32
"""What a row that a feed brought is counted as in the backlog."""

LEAVE_SECONDS = 2.0
"""How long a run that was stopped waits for what was settled to be durable."""

STATES_BYTES = 4096
"""What a step without arrays is counted as in the backlog."""


@dataclass(eq=False, slots=True)
class _Done:
    """One settled step on its way into the store.

    It may wait for long: neither the rows of its grant nor states that nobody will write are kept.
    """

    step: Step
    commit: Commit | None
    states: Mapping[str, Any] | None
    """Every actor's state, where a snapshot is due."""
    journal: tuple[JournalEntry, ...]
    came: Arrived | None
    """What a feed brought with it, to be journaled."""
    meta: Mapping[str, bytes]
    """Facts that hold from it on."""
    position: int
    """How far the feed has come with it, 0 where it brought nothing."""
    size: int


@dataclass(frozen=True, eq=False, slots=True)
class _Encoded:
    """A commit, ready to be sent, and what it was made from."""

    record: CommitRecord
    steps: list[_Done]
    states: Mapping[str, Any] | None


class Ledger:
    """Takes settled steps in and commits them on a thread of its own.

    Parameters
    ----------
    seen : callable
        Gets each step's commit when it is durable, in order, and whether it was so before this
        process came to it. On the ledger's thread, or where steps are given again on the clock's.
    hold, release : callable
        Stop the clock while more than `backlog` bytes wait, and let it go again.
    fail : callable
        Gets what ends the run: the lease was lost, or the store refuses.
    committed : callable
        Told after each commit, and after `seen`, whether it brought a snapshot.
    digest : bytes
        The chain's digest after the last step that the restored states hold.
    expected : mapping
        Steps that are given again, by number, as they were committed.
    meta : mapping
        Facts that go into the next commit.
    keeps_results : bool
        Whether what steps bring to their day's results goes into the journal.
    telling : Telling, optional
        Told what became durable of what happened.
    waits_for_room : bool
        Whether a store that is full is asked again.
    gather : float
        Seconds for which the thread that settles steps gathers them, and then encodes them itself;
        0: the ledger's thread does both as soon as the commit before is durable. Where steps follow
        each other at once, two threads would keep taking Python's lock from each other, and only
        the store's I/O, which needs none, is better off elsewhere.
    """

    def __init__(
        self,
        store: Store,
        fence: int,
        cells: Mapping[str, Cell],
        *,
        commit_number: int,
        digest: bytes,
        meta: Mapping[str, bytes],
        expected: Mapping[int, Step],
        snapshot_every: float,
        backlog: int,
        seen: Callable[[Commit, bool], None],
        hold: Callable[[], None],
        release: Callable[[], None],
        fail: Callable[[BaseException], None],
        gather: float = 0.0,
        order: Callable[[date], Mapping[str, int]] = lambda day: {},
        committed: Callable[[bool], None] = lambda snapshot: None,
        durable: Callable[[int], None] = lambda position: None,
        keeps_results: bool = False,
        waits_for_room: bool = False,
        telling: Telling | None = None,
        times: Buckets | None = None,
    ) -> None:
        self._times = times
        """How long commits took."""
        self._telling = telling or Telling()
        self._keeps_results = keeps_results
        self._durable = durable
        """Told how far a feed has come with what is durable."""
        self._store = store
        self._fence = fence
        self._cells = cells
        self._number = commit_number
        self.committed_at: str | None = None
        """Wall time of the last commit of this process."""
        self._meta = dict(meta)
        self._expected = dict(expected)
        self._every = snapshot_every
        self._backlog = backlog
        self._seen, self._hold, self._release, self._fail = seen, hold, release, fail
        self._committed = committed
        self._order = order
        """Each session's place in a trading day."""
        self._commits: dict[int, Commit] = {}
        self._facts: Mapping[str, bytes] = {}
        """Of the step under way."""
        self._last_snapshot = float("-inf")
        self._kept: Mapping[str, Any] = {}
        self._changed = threading.Condition()
        self._queue: deque[_Done] = deque()
        self._last_with_states: _Done | None = None
        """In the queue: a commit holds one snapshot, so that earlier ones need not wait there."""
        self._waiting = 0
        self._gather = gather
        self._encode_at = monotonic() + gather
        self._ready: _Encoded | None = None
        """Encoded where its steps were settled."""
        self._settled_ns = 0
        self._busy = False
        """Whether a commit is being encoded or sent: there is one at a time."""
        self._draining = False
        self._holding = False
        self._closed = False
        self._over = threading.Condition()
        self._sent_at: float | None = None
        """Since when a commit is under way."""
        self._said_held = False
        self._leave_then: Callable[[], object] = lambda: None
        self._leave_at: Monotonic | None = None
        """When what waits is given up, once the run was stopped."""
        self._error: BaseException | None = None
        self._chain = digest or steplog.START
        self._trail = Trail(
            cells[day_actor.NAME].state.phase, cells[keeper_actor.NAME].state.documents
        )
        self.talking = Talking(
            store,
            fence,
            rest=lambda seconds: self._wait(seconds),
            given_up=lambda: self._closed,
            waits_for_room=waits_for_room,
            telling=self._telling,
        )
        self.now: Callable[[], Monotonic] = monotonic
        """Seconds, by which `snapshot_every` is counted."""
        self._threads = [
            threading.Thread(target=self._run, name="openbell-ledger", daemon=True),
            threading.Thread(target=self._watch, name="openbell-ledger-watch", daemon=True),
        ]

    @property
    def waiting_bytes(self) -> int:
        """What of finished steps waits for the store, as `store.backlog` counts it."""
        return self._waiting

    @property
    def outages(self) -> list[float]:
        """Seconds of each time that the store did not answer."""
        return self.talking.outages

    def start(self) -> None:
        """Commit on a thread of its own from now on, as steps are settled."""
        for thread in self._threads:
            thread.start()

    def gives_again(self, step: int) -> bool:
        """Whether a step under way was committed before this process came to it."""
        return step in self._expected

    def brought(self, commit: Commit) -> None:
        """What the step under way brought."""
        self._commits[commit.step] = commit

    def holds(self, facts: Mapping[str, bytes]) -> None:
        """Facts that hold from the step under way on: they go into its commit."""
        self._facts = facts

    def settled(self, settled: Settled) -> None:
        """A step is over.

        Raises
        ------
        ReplayError
            If it was committed before, with another content.
        """
        grant = settled.grant
        commit = self._commits.pop(grant.step, None)
        facts, self._facts = self._facts, {}
        brought = steplog.parts(commit)
        if (before := self._expected.pop(grant.step, None)) is not None:
            self._again(before, grant, commit, brought)
            return
        days: day_actor.State = self._cells[day_actor.NAME].state
        self._chain = steplog.chained(self._chain, grant, brought)
        step = Step(
            number=grant.step,
            market_ns=grant.until_ns,
            grant=steplog.written(grant, brought),
            digest=self._chain,
            trading_date=days.day.date,
        )
        entries = journal.entries(grant, step.trading_date)
        for more in (filled.entry, inserted.entry):
            if (entry := more(grant, step.trading_date)) is not None:
                entries = (*entries, entry)
        came = next((i for i in grant.inputs if isinstance(i, Arrived)), None)
        position = max((i.position for i in grant.inputs if isinstance(i, FED)), default=0)
        size = _size(commit) + sum(len(entry.body) for entry in entries)
        size += 0 if came is None else ROW_BYTES * len(came.rows)
        states = self._states(settled, commit)
        done = _Done(step, commit, states, entries, came, facts, position, size)
        with self._changed:
            self._queue.append(done)
            if done.states is not None:
                if self._last_with_states is not None:
                    self._last_with_states.states = None
                self._last_with_states = done
            self._waiting += done.size
            self._settled_ns = step.market_ns
            if self._waiting > self._backlog and not self._holding:
                self._holding = True
                self._hold()
            if self._is_due():
                self._changed.notify_all()
            if not self._gather or self._busy or monotonic() < self._encode_at:
                return
            self._busy = True
            taken = self._taken()
        encoded = self._encoded(taken)
        with self._changed:
            self._ready = encoded
            self._encode_at = monotonic() + self._gather
            self._changed.notify_all()

    def drain(self) -> None:
        """Wait until all steps that were settled are durable, or somebody closes the ledger.

        Raises
        ------
        What ended the ledger.
        """
        with self._changed:
            self._draining = True
            self._changed.notify_all()
            self._changed.wait_for(
                lambda: self._error or self._closed or (not self._queue and not self._busy)
            )
            if self._error is not None:
                raise self._error

    def leave(self) -> None:
        """Commit nothing more, and wait for nothing: a signal handler may call this."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        with self._over:
            self._over.notify_all()

    def leave_soon(self, then: Callable[[], object]) -> None:
        """As `leave`, but what was settled is made durable first, if the store answers in time.

        Parameters
        ----------
        then : callable
            Called where it does not, or the run has not ended by then.
        """
        self._leave_then = then
        self._leave_at = Monotonic(monotonic() + LEAVE_SECONDS)

    def close(self) -> None:
        """Commit nothing more; a commit that is under way ends first."""
        self.leave()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def _again(
        self, before: Step, grant: Grant, commit: Commit | None, brought: steplog.Parts
    ) -> None:
        self._chain = steplog.chained(self._chain, grant, brought)
        if self._chain != before.digest:
            was = steplog.read(before.grant)
            raise ReplayError(steplog.what_differs(grant, was, brought))
        if commit is not None:
            self._trail.of(commit, grant.until_ns)
            self._seen(commit, True)

    def _states(self, settled: Settled, commit: Commit | None) -> Mapping[str, Any] | None:
        """States are frozen, so that they can be written later: what is here stays as it is."""
        now = self.now()
        boundary = commit is not None and bool(
            commit.documents
            or commit.opened
            or commit.closed
            or commit.transitions
            or commit.noticed
        )
        if not boundary and now - self._last_snapshot < self._every:
            return None
        self._last_snapshot = now
        states = {name: cell.state for name, cell in self._cells.items()}
        return {**states, "clock": settled.clock}

    def _run(self) -> None:
        try:
            while True:
                with self._changed:
                    # Who gathers may be waiting for something else than time to go by.
                    self._changed.wait_for(self._is_due, 3 * self._gather or None)
                    if self._closed:
                        return
                self.commit_waiting()
        except BaseException as error:  # noqa: BLE001 it ends the run
            if self._closed and isinstance(error, Unavailable):
                logger.warning("stopped without the store: a restart runs again what it lacks")
                return
            with self._changed:
                self._error = error
                self._changed.notify_all()
            self._fail(error)

    def _is_due(self) -> bool:
        """Whether there is something for the ledger's thread to do."""
        at_once = not self._gather or self._holding or self._draining
        waits = at_once and self._queue and not self._busy
        return bool(self._ready or waits or self._closed)

    def commit_waiting(self) -> bool:
        """Make durable what was settled so far; False if there is nothing, or it was closed."""
        with self._changed:
            encoded, self._ready = self._ready, None
            if self._closed or (encoded is None and (self._busy or not self._queue)):
                return False
            self._busy = True
            taken = self._taken() if encoded is None else []
        encoded = encoded or self._encoded(taken)
        self._commit(encoded)
        with self._changed:
            self._busy = False
            self._waiting -= sum(done.size for done in encoded.steps)
            if self._holding and self._waiting <= self._backlog // 2:
                self._holding = False
                if self._said_held:
                    self._said_held = False
                    logger.info("the clock goes on from {}", market_time(self._settled_ns))
                self._release()
            self._changed.notify_all()
        return True

    def _taken(self) -> list[_Done]:
        """What goes into the next commit: all that waits, up to the last snapshot in it."""
        waiting = list(self._queue)
        ends = [place for place, done in enumerate(waiting) if done.states is not None]
        count = ends[-1] + 1 if ends else len(waiting)
        for _ in range(count):
            self._queue.popleft()
        self._last_with_states = None
        return waiting[:count]

    def _commit(self, encoded: _Encoded) -> None:
        self._sent(encoded.record)
        self._number = encoded.record.number
        self.committed_at = encoded.record.meta[COMMITTED].decode()
        if encoded.states is not None:
            self._kept = encoded.states
        if position := max(done.position for done in encoded.steps):
            self._durable(position)
        for done in encoded.steps:
            if done.commit is not None:
                self._seen(done.commit, False)
        if encoded.record.audit:
            self._telling.news.came(len(encoded.record.audit))
        self._committed(encoded.states is not None)

    def _sent(self, record: CommitRecord) -> None:
        """Send a record until the store has it."""
        self._sent_at = began = monotonic()
        self.talking.answered(lambda: self._store.commit(self._fence, record))
        if self._times is not None:
            self._times.add(monotonic() - began)
        with self._over:
            self._sent_at = None

    def _watch(self) -> None:
        """Say of a store that hangs that it does, before its call fails, if it ever does."""
        with self._over:
            while not self._over.wait_for(lambda: self._closed, PATIENCE_SECONDS / 2):
                if self._leave_at is not None and (
                    self.talking.away or monotonic() >= self._leave_at
                ):
                    self.leave()
                    self._leave_then()
                if self._sent_at is not None:
                    seconds = monotonic() - self._sent_at
                    if seconds > PATIENCE_SECONDS:
                        self.talking.say_away(f"a commit has been under way for {seconds:.1f} s")
                # Without an outage it is held now and then too: steps may be faster than a store.
                if self.talking.away and self._holding and not self._said_held:
                    self._said_held = True
                    logger.info(
                        "{:,} KiB wait for the store, more than store.backlog: "
                        "the clock is held at {}",
                        self._waiting // 1024,
                        market_time(self._settled_ns),
                    )

    def _wait(self, seconds: float) -> bool:
        """Between two tries; True at once if the ledger is closed."""
        with self._changed:
            return self._changed.wait_for(lambda: self._closed, seconds)

    def _encoded(self, taken: list[_Done]) -> _Encoded:
        documents: dict[tuple[date, str], SessionDocument] = {}
        batches: list[SignalBatch] = []
        audit: list[bytes] = []
        for done in taken:
            if done.commit is None:
                continue
            for document in done.commit.documents:
                documents[document.trading_date, document.session_name] = document
            batches += done.commit.signals
            changes = self._trail.of(done.commit, done.step.market_ns)
            step = done.step.number
            audit += [audit_entry(of, step_key(of, step, n)) for n, of in enumerate(changes)]
            self._telling.stepped(changes)
        last = taken[-1]
        snapshot = self._snapshot(last) if last.states is not None else None
        steps, entries = tuple(done.step for done in taken), _journal(taken, self._keeps_results)
        record = CommitRecord(
            number=self._number + 1,
            digest=_digest(steps, entries),
            steps=steps,
            snapshot=snapshot,
            journal=entries,
            documents=tuple(
                replace(document, place=self._order(document.trading_date).get(document.session))
                for document in stored_documents(documents.values())
            ),
            signals=tuple(joined_batches(batches)),
            audit=tuple(audit),
            meta={
                **self._meta,
                **{key: fact for done in taken for key, fact in done.meta.items()},
                COMMITTED: wall_time().encode(),
            },
        )
        self._meta = {}
        return _Encoded(record, taken, last.states)

    def _snapshot(self, done: _Done) -> Snapshot:
        assert done.states is not None
        changed = {
            name: encode(self._cells[name].actor.kept(state), compressed=True)
            for name, state in done.states.items()
            if name not in self._kept or self._kept[name] is not state
        }
        return Snapshot(
            market_ns=done.step.market_ns,
            trading_date=done.step.trading_date,
            states=changed,
            actors=tuple(done.states),
        )


def _journal(taken: list[_Done], keeps_results: bool) -> tuple[JournalEntry, ...]:
    """What has to be kept of what came from outside with some steps, and of what they brought."""
    entries = [entry for done in taken for entry in done.journal]
    for of, days in groupby(taken, lambda done: done.step.trading_date):
        steps = list(days)
        if came := [(done.step.number, done.came) for done in steps if done.came is not None]:
            entries.append(feedlog.entry(of, came))
        commits = [done.commit for done in steps if done.commit is not None]
        if keeps_results and (results := brought.entry(of, commits)) is not None:
            entries.append(results)
    return tuple(entries)


def _digest(steps: tuple[Step, ...], entries: tuple[JournalEntry, ...]) -> bytes:
    """By which a store tells whether a commit that it has is sent again, or is another one.

    What came from outside counts too: steps that brought the same may have come to it from other
    rows, and those that are not in the journal would be gone after a restart.
    """
    content = [
        [(step.digest, step.grant) for step in steps],
        [(entry.name, entry.body) for entry in entries],
    ]
    return hashlib.blake2b(msgpack.packb(content), digest_size=16).digest()


def _size(commit: Commit | None) -> int:
    """Bytes of a step's columns, roughly: what the backlog counts."""
    if commit is None:
        return STATES_BYTES
    bars = sum(8 * 6 * len(part) for part in (*commit.bars, *commit.bars_again))
    return STATES_BYTES + bars + sum(120 * len(batch) for batch in commit.signals)
