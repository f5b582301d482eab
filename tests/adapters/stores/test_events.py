"""Events on every store: read in order, by cursors, and each told once."""

from __future__ import annotations

import pytest
from store_places import Place
from store_records import DAY, a_step, digest

from openbell.adapters.stores import CommitRecord, Store, Unavailable, this_process
from openbell.market.days import MarketTime
from openbell.runtime.record.telling import Telling
from openbell.runtime.record.trail import Transition
from openbell.runtime.record.writing import audit_entry, step_key
from openbell.runtime.results.events import read


def opened(number: int) -> bytes:
    change = Transition("day", DAY, "PRE_MARKET", "ACTIVE", MarketTime(10), "the open")
    return audit_entry(change, step_key(change, number, 0))


def test_events_of_commits_and_of_the_process_stand_in_one_order(store: Store) -> None:
    telling = Telling()
    telling.fence = fence = store.acquire(this_process(), 5_000_000_000)

    telling.tell("run.started", "nothing was run before")
    telling.bring_to(store)
    for number in (1, 2):
        entries = (opened(number), opened(number + 10))
        step = (a_step(number),)
        store.commit(fence, CommitRecord(number, digest(number), steps=step, audit=entries))
    telling.tell("feed.silent", "no row for 40 s", symbols=("A",), seconds=40, partly=True)
    telling.bring_to(store)

    events = list(read(store))
    assert [event.kind for event in events] == [
        "run.started",
        *["day.active"] * 4,
        "feed.silent",
    ]
    assert events[-1].symbols == ("A",)
    assert events[-1].facts == {"seconds": 40, "partly": True}
    assert len({event.id for event in events}) == 6
    for place, event in enumerate(events, 1):
        assert list(read(store, event.cursor)) == events[place:]
        assert list(read(store, event.cursor, 2)) == events[place : place + 2]


def test_a_cursor_of_another_name_is_refused(store: Store, place: Place) -> None:
    other = place.open("other")
    for of, why in ((store, "one"), (other, "other")):
        telling = Telling()
        telling.tell("run.started", why)
        telling.tell("run.ended", why)
        telling.bring_to(of)
    first, second = read(other)
    other.close()

    with pytest.raises(ValueError, match=r"no cursor of this log.*the oldest event here is 1-"):
        list(read(store, first.cursor))
    with pytest.raises(ValueError, match="no cursor of this log"):
        list(read(store, second.cursor))
    with pytest.raises(ValueError, match="which has no events"):
        list(read(place.open("nobody"), first.cursor))


@pytest.mark.parametrize("is_executed", [False, True], ids=["not executed", "executed"])
def test_what_the_store_did_not_answer_is_told_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, is_executed: bool
) -> None:
    append, failures = store.append_audit, [1, 1]

    def failing(entry: bytes) -> None:
        if failures:
            failures.pop()
            if is_executed:
                append(entry)
            raise Unavailable("no answer")
        append(entry)

    monkeypatch.setattr(store, "append_audit", failing)
    telling = Telling()
    telling.tell("run.paused", "one", after="operator")
    telling.tell("run.resumed", "two", before="operator")
    for _ in range(3):
        try:
            telling.bring_to(store)
        except Unavailable:
            assert telling.waits

    assert [event.why for event in read(store)] == ["one", "two"]
    assert len(telling.news) == 2
