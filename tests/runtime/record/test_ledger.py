"""The ledger by itself: steps of a run go in, and what the store has then is looked at."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any, NoReturn, cast

import orjson
import pytest
from faults.crashing import wait_until
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import drained, of_cases, plain, some_days

from openbell.actors import day, keeper
from openbell.actors.effects import Commit, Settled
from openbell.adapters.stores import (
    CommitRecord,
    Conflict,
    Fenced,
    Store,
    Unavailable,
    this_process,
)
from openbell.adapters.stores.memory import Memory
from openbell.adapters.stores.sqlite import SqliteStore
from openbell.errors import ReplayError, RunError
from openbell.messages.control import Loaded
from openbell.runtime.record import ledger as ledger_module
from openbell.runtime.record.codec import decode
from openbell.runtime.record.ledger import Ledger
from openbell.runtime.record.writing import COMMITTED
from openbell.testing import Fail, FailingStore, HandClock, in_turn

LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Moment:
    """A step that is over: what it brought, and every actor's state then."""

    settled: Settled
    commit: Commit | None
    states: Mapping[str, Any]


@cache
def moments() -> tuple[Moment, ...]:
    """Of two days, with signals in some steps and nothing at all in others."""
    found = drained(of_cases(some_days("bars")[:2], clock_step="bar"))
    commits = {commit.step: commit for commit in found.commits}
    steps = [Moment(of, commits.get(of.grant.step), states) for of, states in found.settled]
    assert sum(moment.commit is None for moment in steps) > 10
    assert sum(bool(moment.commit and moment.commit.signals) for moment in steps) > 10
    return tuple(steps)


class AtOnce(Ledger):
    """Does not sleep between two tries."""

    def _wait(self, seconds: float) -> bool:
        return self._closed


class Stage:
    """A ledger between a store and actors whose states are those of moments."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        backlog: int = LIMIT,
        every: float = 1e9,
        expected: Mapping[int, Any] | None = None,
        **more: Any,
    ) -> None:
        self.store = store or SqliteStore(Memory(), "bot")
        self.fence = self.store.acquire(this_process(), 10**12)
        as_it_is = SimpleNamespace(kept=lambda state: state)
        self.cells = {
            name: SimpleNamespace(state=None, actor=as_it_is) for name in moments()[0].states
        }
        self.cells[day.NAME].state, self.cells[keeper.NAME].state = day.State(), keeper.State()
        self.seen: list[tuple[Commit, bool]] = []
        self.said: list[str] = []
        self.failures: list[BaseException] = []
        self.clock = HandClock()
        self.ledger = AtOnce(
            self.store,
            self.fence,
            cast(Any, self.cells),
            **{
                "commit_number": 0,
                "digest": b"",
                "meta": {"config": b"{}"},
                "expected": expected or {},
                "snapshot_every": every,
                "backlog": backlog,
                "seen": lambda commit, before: self.seen.append((commit, before)),
                "hold": lambda: self.said.append("hold"),
                "release": lambda: self.said.append("release"),
                "fail": self.failures.append,
                **more,
            },
        )
        self.ledger.now = self.clock

    def settle(self, moment: Moment) -> None:
        for name, cell in self.cells.items():
            cell.state = moment.states[name]
        if moment.commit is not None:
            self.ledger.brought(moment.commit)
        self.ledger.settled(moment.settled)

    def commit_all(self) -> None:
        while self.ledger.commit_waiting():
            pass

    @contextmanager
    def started(self) -> Iterator[Ledger]:
        self.ledger.start()
        try:
            yield self.ledger
        finally:
            self.ledger.close()


def content(store: Store) -> Any:
    """All that a store holds, but for how it was cut into commits, and wall time."""
    entries = (orjson.loads(entry) for _, entry in store.audit())
    head = store.head()
    return (
        list(store.steps()),
        [signal for _, signal in store.signals()],
        list(store.documents()),
        [
            {k: v for k, v in e.items() if k != "wall_time"}
            for e in entries
            if e["what"] != "outage"
        ],
        (head.step, head.signals, facts(head.meta)),
    )


def facts(meta: Mapping[str, bytes]) -> dict[str, bytes]:
    """But for when a commit was made."""
    return {key: value for key, value in meta.items() if key != COMMITTED}


def as_kept(states: Mapping[str, Any]) -> Any:
    """The day's rows are read again, limits computed, and how to go on a restart is told."""
    watching = states["breakout"]
    watches = (replace(w, armed=replace(w.armed, limit=None)) for w in watching.watches)
    again = {
        "prefetch": replace(states["prefetch"], rows=None),
        "breakout": replace(watching, watches=tuple(watches)),
        "clock": replace(states["clock"], begun=False),
    }
    return plain({**states, **again})


def kept_states(store: Store, epoch: int) -> Any:
    return plain({name: decode(data) for name, data in store.states(epoch).items()})


@cache
def one_by_one() -> Any:
    """What the store has when each step is a commit."""
    stage = Stage()
    for moment in moments():
        stage.settle(moment)
        stage.commit_all()
    return content(stage.store)


class Watched:
    """A store that tells what is sent to it."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.records: list[CommitRecord] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def commit(self, fence: int, record: CommitRecord) -> Any:
        self.records.append(record)
        return self.store.commit(fence, record)


def watched() -> Any:
    return Watched(SqliteStore(Memory(), "bot"))


# Gathering


@settings(max_examples=12)
@given(data=st.data())
def test_steps_leave_the_same_however_they_are_gathered(data: st.DataObject) -> None:
    store = watched()
    stage = Stage(store, every=data.draw(st.sampled_from([1e9, 5.0, 0.0])))
    by_step = {moment.settled.grant.step: moment for moment in moments()}
    waits = data.draw(st.sampled_from([0.02, 0.3, 0.9]))
    lucky = data.draw(st.randoms(use_true_random=False))

    for moment in moments():
        stage.clock.advance(1.0)
        stage.settle(moment)
        if lucky.random() > waits:
            stage.ledger.commit_waiting()
    stage.commit_all()

    assert content(store) == one_by_one()
    assert [commit for commit, before in stage.seen if not before] == [
        moment.commit for moment in moments() if moment.commit is not None
    ]
    for number, record in enumerate(store.records, start=1):
        assert record.number == number
        documents = [(document.trading_date, document.session) for document in record.documents]
        assert len(set(documents)) == len(documents)
    for epoch in store.epochs():
        assert epoch.problem is None
        moment = by_step[epoch.step]
        states = {**moment.states, "clock": moment.settled.clock}
        assert kept_states(store, epoch.epoch) == as_kept(states)
    assert stage.failures == []


def test_of_a_document_only_its_last_version_is_sent() -> None:
    store = watched()
    stage = Stage(store)
    changes = [m for m in moments() if m.commit is not None and m.commit.documents]
    day = changes[0].settled.grant.until_ns
    first = [m for m in moments() if m.settled.grant.until_ns < day + 30 * 60 * 10**9]
    versions = [d.status for m in first if m.commit for d in m.commit.documents]
    assert {"PENDING", "ACTIVE", "COMPLETED"} <= set(versions)

    for moment in first:
        stage.settle(moment)
    stage.commit_all()

    documents = [document for record in store.records for document in record.documents]
    sent = {document.session: document.status for document in documents}
    assert len(documents) == len(sent) < len(versions)
    assert sent["Morning"] == "COMPLETED"


def test_of_snapshots_that_wait_only_the_last_is_written() -> None:
    store = watched()
    stage = Stage(store, every=0.0)  # one is due at each step

    for moment in moments():
        stage.clock.advance(1.0)
        stage.settle(moment)
    assert sum(done.states is not None for done in stage.ledger._queue) == 1
    stage.commit_all()

    (record,) = store.records
    last = moments()[-1].settled.grant
    assert (record.snapshot.market_ns, record.steps[-1].number) == (last.until_ns, last.step)


def test_a_snapshot_is_written_although_later_steps_wait_behind_it() -> None:
    store = watched()
    stage = Stage(store)
    boundary = next(
        n for n, moment in enumerate(moments()) if moment.commit and moment.commit.opened
    )
    assert not any(is_boundary(moment) for moment in moments()[boundary + 2 : boundary + 4])

    for moment in moments()[: boundary + 4]:
        stage.settle(moment)
    stage.commit_all()

    first, second = store.records
    assert first.snapshot is not None
    assert second.snapshot is None
    assert len(first.steps) + len(second.steps) == boundary + 4


@pytest.mark.parametrize("every", [1e9, 7.0])
def test_snapshots_are_written_at_boundaries_and_in_time(every: float) -> None:
    store = watched()
    stage = Stage(store, every=every)

    for moment in moments():
        stage.settle(moment)
        stage.commit_all()
        stage.clock.advance(1.0)

    since = every
    for moment, record in zip(moments(), store.records, strict=True):
        due = is_boundary(moment) or since >= every
        assert (record.snapshot is not None) == due
        since = 1.0 if due else since + 1.0


def is_boundary(moment: Moment) -> bool:
    commit = moment.commit
    return commit is not None and bool(commit.documents or commit.transitions)


def test_states_that_did_not_change_are_not_written_again() -> None:
    store = watched()
    stage = Stage(store, every=0.0)

    for moment in moments():
        stage.clock.advance(1.0)
        stage.settle(moment)
        stage.commit_all()

    written = [set(record.snapshot.states) for record in store.records]
    assert written[0] == set(moments()[0].states)
    assert sum(map(len, written[1:])) < 0.8 * len(written[1:]) * len(written[0])
    assert all(set(record.snapshot.actors) == written[0] for record in store.records)


def test_facts_go_with_the_first_commit_only() -> None:
    store = watched()
    stage = Stage(store)

    for moment in moments()[:3]:
        stage.settle(moment)
        stage.commit_all()

    assert all(COMMITTED in record.meta for record in store.records)
    assert [facts(record.meta) for record in store.records] == [{"config": b"{}"}, {}, {}]


# The store fails


@settings(max_examples=25)
@given(
    fates=st.lists(st.sampled_from([None, "before", "after"]), max_size=60),
    gathered=st.integers(1, 12),
)
def test_a_commit_that_was_not_answered_is_sent_until_it_is_there_once(
    fates: list[str | None], gathered: int
) -> None:
    faults = [
        Fail(Unavailable("no answer"), executed=fate == "after") if fate else None for fate in fates
    ]
    below = watched()
    stage = Stage(cast(Store, FailingStore(below, in_turn({"commit": faults}))))

    for number, moment in enumerate(moments()):
        stage.settle(moment)
        if number % gathered == 0:
            stage.ledger.commit_waiting()
    stage.commit_all()

    assert content(below) == one_by_one()
    assert [commit.step for commit, _ in stage.seen] == [
        moment.commit.step for moment in moments() if moment.commit is not None
    ]
    used = faults[: len(below.records) + sum(f is not None and not f.executed for f in faults)]
    outages = sum(
        fault is not None and (place == 0 or faults[place - 1] is None)
        for place, fault in enumerate(used)
    )
    assert len(stage.ledger.outages) == outages
    told = [orjson.loads(entry) for _, entry in below.audit()]
    assert sum(entry["what"] == "outage" for entry in told) == outages


def test_what_is_sent_again_are_the_same_bytes() -> None:
    sent: list[CommitRecord] = []

    class Away(Watched):
        def commit(self, fence: int, record: CommitRecord) -> Any:
            sent.append(record)
            if len(sent) % 3:
                raise Unavailable("no answer")
            return super().commit(fence, record)

    stage = Stage(cast(Store, Away(SqliteStore(Memory(), "bot"))))
    for moment in moments()[:9]:
        stage.settle(moment)
        stage.commit_all()

    assert len(sent) == 27
    for place in range(0, 27, 3):
        assert sent[place] is sent[place + 1] is sent[place + 2]


def test_a_commit_upon_other_rows_is_no_repetition_though_its_steps_came_to_the_same() -> None:
    """Who has read an old copy of a store asks again for rows that its journal has already."""
    store = SqliteStore(Memory(), "bot")
    place = next(n for n, of in enumerate(moments()) if loads(of))

    def commit_with(rows: bytes, until: int) -> None:
        stage = Stage(store)
        for moment in (*moments()[:place], with_journal(moments()[place], rows))[:until]:
            stage.settle(moment)
            stage.commit_all()

    commit_with(b"rows", place + 1)
    before = content(store)

    commit_with(b"rows", place + 1)
    commit_with(b"other rows", place)
    with pytest.raises(Conflict):
        commit_with(b"other rows", place + 1)

    assert content(store) == before


def loads(moment: Moment) -> list[Loaded]:
    return [of for of in moment.settled.grant.inputs if isinstance(of, Loaded)]


def with_journal(moment: Moment, rows: bytes) -> Moment:
    grant = moment.settled.grant
    inputs = tuple(
        of.model_copy(update={"journal": rows}) if isinstance(of, Loaded) else of
        for of in grant.inputs
    )
    settled = replace(moment.settled, grant=grant.model_copy(update={"inputs": inputs}))
    return replace(moment, settled=settled)


@pytest.mark.parametrize("error", [Fenced("taken over"), RuntimeError("no store at all")], ids=repr)
def test_a_store_that_refuses_ends_the_run_at_that_commit(error: Exception) -> None:
    below = SqliteStore(Memory(), "bot")
    faults = in_turn({"commit": [None, Fail(error)]})
    stage = Stage(cast(Store, FailingStore(below, faults)))
    steps = iter(moments())

    with stage.started():
        stage.settle(next(steps))
        stage.ledger.drain()
        stage.settle(next(steps))
        with pytest.raises(type(error)) as raised:
            stage.ledger.drain()
        stage.settle(next(steps))
        with pytest.raises(type(error)):
            stage.ledger.drain()

    assert stage.failures == [raised.value] == [error]
    assert below.head().step == 1


# Steps that are given again


def recorded(count: int) -> Stage:
    """Steps as a process left them that came so far."""
    stage = Stage()
    for moment in moments()[:count]:
        stage.settle(moment)
        stage.commit_all()
    return stage


@settings(max_examples=8)
@given(count=st.integers(1, len(moments())))
def test_steps_given_again_are_seen_and_not_written_again(count: int) -> None:
    left = recorded(count)
    head = left.store.head()
    expected = {step.number: step for step in left.store.steps()}
    stage = Stage(left.store, expected=expected, commit_number=head.commit, meta={})

    for moment in moments():
        stage.settle(moment)
        stage.commit_all()

    assert content(stage.store) == one_by_one()
    assert [(commit, before) for commit, before in stage.seen] == [
        (moment.commit, number < count)
        for number, moment in enumerate(moments())
        if moment.commit is not None
    ]


def with_another_price(commit: Commit) -> Commit:
    (batch, *others) = commit.signals
    return replace(commit, signals=(replace(batch, price=batch.price + 0.01), *others))


def with_another_status(commit: Commit) -> Commit:
    (document, *others) = commit.documents
    return replace(commit, documents=(replace(document, reason="other"), *others))


@pytest.mark.parametrize(
    ("has", "change", "said"),
    [
        ("signals", with_another_price, "breakout: signals 0: price"),
        ("documents", with_another_status, "session Morning: document: reason"),
        ("transitions", lambda commit: replace(commit, transitions=()), "day: transitions"),
    ],
)
def test_a_step_that_comes_to_something_else_is_named_with_what_differs(
    has: str, change: Callable[[Commit], Commit], said: str
) -> None:
    place, moment = next(
        (place, moment)
        for place, moment in enumerate(moments())
        if place > 3 and moment.commit is not None and getattr(moment.commit, has)
    )
    left = recorded(place + 5)
    before = content(left.store)
    expected = {step.number: step for step in left.store.steps()}
    stage = Stage(left.store, expected=expected, commit_number=left.store.head().commit)
    for same in moments()[:place]:
        stage.settle(same)
    assert moment.commit is not None

    with pytest.raises(ReplayError, match=f"^step {place + 1} .* than was committed: .*{said}"):
        stage.settle(replace(moment, commit=change(moment.commit)))

    assert not stage.ledger.commit_waiting()
    assert content(left.store) == before
    assert len(stage.seen) == sum(same.commit is not None for same in moments()[:place])


def test_a_step_with_another_grant_is_another_step() -> None:
    left = recorded(12)
    expected = {step.number: step for step in left.store.steps()}
    stage = Stage(left.store, expected=expected, commit_number=left.store.head().commit)
    for moment in moments()[:9]:
        stage.settle(moment)
    moment = moments()[9]
    grant = moment.settled.grant.model_copy(update={"until_ns": moment.settled.grant.until_ns + 1})

    with pytest.raises(ReplayError, match=r"step 10 .*: the grants before it; the data, the c"):
        stage.settle(replace(moment, settled=replace(moment.settled, grant=grant)))


# What waits


@settings(max_examples=15)
@given(data=st.data())
def test_the_clock_is_held_from_the_backlog_to_half_of_it(data: st.DataObject) -> None:
    backlog = data.draw(st.integers(1, 60)) * 4096
    stage = Stage(backlog=backlog, every=data.draw(st.sampled_from([1e9, 5.0])))
    lucky = data.draw(st.randoms(use_true_random=False))

    for moment in moments():
        stage.clock.advance(1.0)
        stage.settle(moment)
        waits = stage.ledger._waiting
        assert waits == sum(done.size for done in stage.ledger._queue)
        assert stage.said[-1:] == ["hold"] or waits <= backlog
        if lucky.random() < 0.1:
            was_held = stage.said[-1:] == ["hold"]
            stage.ledger.commit_waiting()
            waits = stage.ledger._waiting
            assert (stage.said[-1:] == ["hold"]) == (was_held and waits > backlog // 2)
    stage.commit_all()

    assert stage.ledger._waiting == 0
    assert stage.said == ["hold", "release"] * (len(stage.said) // 2)
    assert content(stage.store) == one_by_one()


# Ending


class Slow(Watched):
    """A store whose commits end when a test lets them."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.under_way = threading.Event()
        self.may_end = threading.Event()
        self.error: Exception | None = None

    def commit(self, fence: int, record: CommitRecord) -> Any:
        self.under_way.set()
        assert self.may_end.wait(120)
        if self.error is not None:
            raise self.error
        return super().commit(fence, record)


@pytest.mark.parametrize("gather", [0.0, 0.001])
def test_a_commit_that_is_under_way_ends_before_the_ledger_is_closed(gather: float) -> None:
    store = Slow(SqliteStore(Memory(), "bot"))
    stage = Stage(cast(Store, store), gather=gather)
    stage.ledger.start()
    steps = iter(moments())
    stage.settle(next(steps))
    assert store.under_way.wait(120)
    for _ in range(5):
        stage.settle(next(steps))

    stage.ledger.leave()  # waits for nothing
    stage.ledger.drain()  # nor does who has waited for the rest
    closing = threading.Thread(target=stage.ledger.close)
    closing.start()
    closing.join(0.05)
    assert closing.is_alive()
    store.may_end.set()
    closing.join(120)

    assert not closing.is_alive()
    assert [[step.number for step in record.steps] for record in store.records] == [[1]]
    stage.settle(next(steps))
    assert not stage.ledger.commit_waiting()
    assert store.head().step == 1
    assert [commit.step for commit, _ in stage.seen] == [1]
    assert stage.failures == []


def test_a_store_that_is_away_does_not_keep_the_ledger_from_closing() -> None:
    store = Slow(SqliteStore(Memory(), "bot"))
    store.error = Unavailable("no answer")
    stage = Stage(cast(Store, store))
    with stage.started():
        stage.settle(moments()[0])
        assert store.under_way.wait(120)
        stage.ledger.leave()
        store.may_end.set()

    assert stage.failures == []
    assert (store.head().step, stage.seen) == (0, [])


def test_who_drains_waits_for_steps_that_are_gathered() -> None:
    stage = Stage(gather=60.0)
    with stage.started():
        for moment in moments():
            stage.settle(moment)
        assert stage.store.head().step == 0

        stage.ledger.drain()

        assert content(stage.store) == one_by_one()


def test_gathered_steps_are_committed_although_no_other_follows() -> None:
    stage = Stage(gather=0.01)
    with stage.started():
        for moment in moments()[:7]:
            stage.settle(moment)

        wait_until(lambda: stage.store.head().step == 7)


# What can't be written


@pytest.mark.parametrize("gather", [0.0, 1e-9])
def test_a_state_that_cant_be_encoded_ends_the_run_and_nothing_of_it_is_written(
    gather: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(gather=gather)
    with stage.started():
        stage.settle(moments()[0])
        stage.ledger.drain()
        before = content(stage.store)

        def refuse(state: object, *, compressed: bool = False) -> NoReturn:
            raise TypeError("no way to write this")

        def go_on() -> None:
            for moment in moments()[1:9]:  # the second one is a boundary
                stage.settle(moment)
                stage.ledger.drain()

        monkeypatch.setattr(ledger_module, "encode", refuse)
        with pytest.raises(TypeError, match="no way to write this"):
            go_on()

    assert content(stage.store) == before
    if not gather:  # else it was raised to who settles
        assert [str(error) for error in stage.failures] == ["no way to write this"]


def test_a_day_that_cant_be_written_ends_the_run_after_its_commit() -> None:
    """Its steps are durable by then: a restart writes it."""
    stage = Stage()

    def full(commit: Commit, before: bool) -> None:
        if commit.closed is not None:
            raise RunError("the disk is full")
        stage.seen.append((commit, before))

    stage.ledger._seen = full
    closes = next(m.settled.grant.step for m in moments() if m.commit and m.commit.closed)

    def go_on() -> None:
        for moment in moments():
            stage.settle(moment)
            stage.ledger.drain()

    with stage.started(), pytest.raises(RunError, match="the disk is full"):
        go_on()

    assert [str(error) for error in stage.failures] == ["the disk is full"]
    assert stage.store.head().step == closes
    assert all(commit.step < closes for commit, _ in stage.seen)
