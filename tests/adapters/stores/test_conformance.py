"""What every store must do, whichever it is."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from random import Random
from signal import SIGCONT, SIGSTOP

import numpy as np
import pytest
from drawn_results import document, some_signals
from store_places import Place, RedisPlace, SqlPlace, writer
from store_records import (
    DAY,
    NEXT_DAY,
    TEN_NS,
    TTL_NS,
    a_document,
    a_full_record,
    a_record,
    a_signal,
    a_snapshot,
    a_step,
    an_entry,
    check_everything,
    digest,
    rows_of,
    taken,
)

from openbell.adapters.jsonlines import document_lines
from openbell.adapters.stores import (
    SCHEMA_VERSION,
    Conflict,
    Corrupt,
    Document,
    Fenced,
    Gap,
    JournalEntry,
    LeaseHeld,
    Snapshot,
    Store,
    this_process,
)
from openbell.adapters.stores.columns import signal_rows
from openbell.adapters.tables import day_signals, signal_ids, signals_at
from openbell.errors import StoreError
from openbell.market.days import MarketTime
from openbell.runtime.record.writing import stored_documents

# Commits.


def test_a_new_store_is_empty(store: Store) -> None:
    head = store.head()

    assert (head.commit, head.step, head.fence, head.meta) == (0, 0, 0, {})
    assert head.schema == SCHEMA_VERSION
    everything = (store.steps(), store.signals(), store.audit(), store.epochs(), store.documents())
    assert not any(list(one) for one in (*everything, store.journal(DAY)))


def test_a_first_commit_is_read_back(store: Store, place: Place) -> None:
    fence = taken(store)

    outcome = store.commit(fence, a_full_record(1))

    assert outcome == "ok"
    check_everything(store, 1)
    check_everything(place.open(), 1)
    assert store.head().digest == digest(1)
    assert list(store.steps()) == [a_step(1)]
    assert [signal for _, signal in store.signals()] == [
        a_signal(f"1:{place}") for place in range(3)
    ]


def test_commits_follow_one_another(store: Store) -> None:
    fence = taken(store)

    outcomes = {store.commit(fence, a_full_record(number)) for number in range(1, 12)}

    assert outcomes == {"ok"}
    check_everything(store, 11)


def test_a_repeated_commit_changes_nothing(store: Store) -> None:
    fence = taken(store)
    for number in range(1, 4):
        store.commit(fence, a_full_record(number))

    outcomes = [store.commit(fence, a_full_record(number)) for number in (3, 2, 1, 3)]

    assert outcomes == ["dup"] * 4
    check_everything(store, 3)


def test_a_repeated_commit_with_another_digest_is_a_conflict(store: Store) -> None:
    fence = taken(store)
    for number in (1, 2):
        store.commit(fence, a_full_record(number))

    for number in (1, 2):
        other = replace(a_full_record(number), digest=digest(number, "other"))
        with pytest.raises(Conflict, match=rf'"bot".* commit {number} .*{digest(number).hex()}'):
            store.commit(fence, other)

    check_everything(store, 2)


def test_a_commit_that_is_not_the_next_is_refused(store: Store) -> None:
    fence = taken(store)
    with pytest.raises(Gap, match="commit 2 does not follow 0"):
        store.commit(fence, a_full_record(2))
    store.commit(fence, a_full_record(1))

    with pytest.raises(Gap, match="commit 3 does not follow 1"):
        store.commit(fence, a_full_record(3))

    check_everything(store, 1)


def test_a_commit_whose_steps_do_not_follow_is_refused(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, steps=(a_step(1), a_step(2))))

    with pytest.raises(Gap, match="step 4 does not follow 2"):
        store.commit(fence, a_record(2, steps=(a_step(4),)))
    with pytest.raises(StoreError, match="step 5 does not follow step 3"):
        store.commit(fence, a_record(2, steps=(a_step(3), a_step(5))))

    assert store.head().commit == 1
    assert store.commit(fence, a_record(2, steps=())) == "ok"
    assert store.commit(fence, a_record(3, steps=(a_step(3), a_step(4)))) == "ok"
    assert store.head().step == 4


def test_a_commit_that_cannot_be_stored_leaves_nothing(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_full_record(1))
    good = a_full_record(2)
    assert good.snapshot is not None
    broken = [
        replace(good, audit=(b"{}", None)),  # type: ignore[arg-type]
        replace(good, steps=(replace(a_step(2), market_ns=MarketTime(2**70)),)),
        replace(good, signals=rows_of([replace(a_signal("x"), symbol=None)])),  # type: ignore[arg-type]
        replace(good, documents=(*good.documents, replace(a_document("x"), body="text"))),  # type: ignore[arg-type]
        replace(good, journal=(an_entry("x"), replace(an_entry("y"), body="text"))),  # type: ignore[arg-type]
        replace(good, journal=(replace(an_entry("x"), name="x\0y"),)),
        replace(good, meta={"day": 7}),  # type: ignore[dict-item]
        replace(good, snapshot=replace(good.snapshot, states={"clock": bytearray(9)})),  # type: ignore[dict-item]
        replace(good, snapshot=replace(good.snapshot, actors=("clock", "stranger"))),
    ]

    for record in broken:
        with pytest.raises(StoreError, match="commit 2"):
            store.commit(fence, record)

    check_everything(store, 1)
    assert store.commit(fence, good) == "ok"
    check_everything(store, 2)


def test_meta_is_kept_until_it_changes(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, meta={"run": b"\x00\xff", "day": b"ACTIVE"}))

    store.commit(fence, a_record(2, meta={"day": b"ENDED"}))

    assert store.head().meta == {"run": b"\x00\xff", "day": b"ENDED"}


def test_the_step_log_can_be_read_in_part(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, steps=tuple(a_step(number) for number in range(1, 2501))))

    numbers = [[step.number for step in store.steps(*span)] for span in ((), (2490,), (3, 6))]

    assert numbers == [list(range(1, 2501)), list(range(2491, 2501)), [4, 5, 6]]
    assert list(store.steps(2500)) == []
    assert list(store.steps(0, 0)) == []


# The journal.


def test_the_journal_is_read_back_by_day_in_the_order_committed(store: Store, place: Place) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, journal=(an_entry("b"), an_entry("a"))))
    both = (an_entry("late, of the day before", day=DAY), an_entry("c", day=NEXT_DAY, body=b""))
    store.commit(fence, a_record(2, journal=both))
    store.commit(fence, a_record(3, journal=(an_entry("a", day=NEXT_DAY),)))

    for each in (store, place.open()):
        assert list(each.journal(DAY)) == [an_entry("b"), an_entry("a"), both[0]]
        assert list(each.journal(NEXT_DAY)) == [both[1], an_entry("a", day=NEXT_DAY)]
        assert list(each.journal(NEXT_DAY + timedelta(days=1))) == []
    assert store.usage().counts["journal"] == 5


def test_of_the_journal_what_came_after_a_step_is_read_alone(store: Store, place: Place) -> None:
    fence = taken(store)
    whole = an_entry("the day's load")
    of_steps = [replace(an_entry(f"came {number}"), step=number) for number in range(1, 41)]
    store.commit(fence, a_record(1, steps=(), journal=(whole,)))
    for number, entry in enumerate(of_steps, 2):
        step = a_step(number - 1)
        store.commit(fence, a_record(number, steps=(step,), journal=(entry,)))
    again = an_entry("the day's load again")
    store.commit(fence, a_record(42, steps=(), journal=(again,)))

    for after in (0, 1, 17, 39, 40, 99):
        found = list(place.open().journal(DAY, after))
        assert found == [whole, *of_steps[after:], again], after

    assert list(store.journal(NEXT_DAY, 17)) == []


def test_steps_of_one_commit_are_one_entry_a_day(store: Store, place: Place) -> None:
    fence = taken(store)
    steps = [a_step(number, DAY if number < 300 else NEXT_DAY) for number in range(1, 401)]
    store.commit(fence, a_record(1, steps=tuple(steps[:350])))
    store.commit(fence, a_record(2, steps=tuple(steps[350:])))

    for after, until in ((0, None), (298, 301), (299, 300), (349, 352), (399, None)):
        assert list(place.open().steps(after, until)) == steps[after:until]
    assert store.usage().counts["steps"] == 400


def joined(entries: Sequence[JournalEntry]) -> JournalEntry:
    last = entries[-1]
    return replace(last, body=b",".join(entry.body for entry in entries))


def test_small_entries_are_folded_and_say_the_same(store: Store, place: Place) -> None:
    fence = taken(store)
    whole = an_entry("rows of the load")
    store.commit(fence, a_record(1, steps=(), journal=(whole,)))
    number, said = 1, []
    for commits in (12, 60, 12):
        for _ in range(commits):
            number += 1
            step = a_step(number - 1)
            came = replace(an_entry(f"came {number}"), step=step.number)
            other = replace(an_entry(f"made {number}"), step=step.number)
            said.append(came.body)
            store.commit(fence, a_record(number, steps=(step,), journal=(came, other)))

        store.fold(fence, {"came": joined})

        for each in (store, place.open()):
            assert list(each.steps()) == [a_step(n) for n in range(1, number)]
            assert list(each.steps(number - 3, number - 2)) == [a_step(number - 2)]
            entries = list(each.journal(DAY, kind="came"))
            assert b",".join(entry.body for entry in entries) == b",".join(said)
            assert len(entries) < 12
            assert len(list(each.journal(DAY, kind="made"))) == number - 1
            assert [e.name for e in each.journal(DAY, number - 2)][:1] == [whole.name]
            assert list(each.journal(DAY, number)) == [whole]
        assert store.commit(fence, a_record(number, steps=(a_step(number - 1),))) == "dup"
    kept = store.usage().counts
    assert (kept["steps"], kept["journal"]) == (number - 1, number + len(entries))
    store.commit(fence, a_record(number + 1, steps=(a_step(number),)))
    assert len(list(store.steps())) == number


def test_few_or_large_entries_are_left_as_they_are(store: Store) -> None:
    fence = taken(store)
    large = Random(1).randbytes(100_000)
    for number in range(1, 8):
        entry = replace(an_entry(f"came {number}", body=large), step=number)
        store.commit(fence, a_record(number, journal=(entry,)))
    before = list(store.journal(DAY))

    store.fold(fence, {"came": joined})

    assert list(store.journal(DAY)) == before
    assert list(store.steps()) == [a_step(number) for number in range(1, 8)]


def test_who_lost_the_lease_folds_nothing(store: Store, place: Place) -> None:
    fence = taken(store)
    for number in range(1, 12):
        store.commit(fence, a_record(number))
    store.release(fence)
    taken(place.open())

    with pytest.raises(Fenced):
        store.fold(fence, {})


def test_what_was_folded_is_pruned_with_its_day(store: Store) -> None:
    fence = taken(store)
    for number in range(1, 41):
        day = DAY + timedelta(days=(number - 1) // 10)
        entry = replace(an_entry(f"came {number}", day=day), step=number)
        snapshot = a_snapshot({"clock": b"%d" % number}, number=number, day=day)
        record = a_record(number, steps=(a_step(number, day),), snapshot=snapshot, journal=(entry,))
        store.commit(fence, record)
        if number % 10 == 9:
            store.fold(fence, {"came": joined})

    store.prune(fence, DAY + timedelta(days=2), 1)

    days = {step.trading_date for step in store.steps()}
    assert DAY not in days
    assert DAY + timedelta(days=2) in days
    assert list(store.journal(DAY)) == []
    assert [step.number for step in store.steps()][-20:] == list(range(21, 41))
    assert list(store.journal(DAY + timedelta(days=2)))
    store.commit(fence, a_record(41, steps=(a_step(41, DAY + timedelta(days=3)),)))


def test_entries_may_be_many_and_large(store: Store, place: Place) -> None:
    fence = taken(store)
    entries = tuple(an_entry(str(place)) for place in range(25))
    large = an_entry("a day's rows", body=Random(7).randbytes(3_000_000))
    store.commit(fence, a_record(1, journal=(*entries, large)))

    store.commit(fence, a_record(2, journal=(replace(large, name="again"),)))

    assert list(store.journal(DAY)) == [*entries, large, replace(large, name="again")]
    assert place.url is None or store.usage().bytes > 6_000_000


@pytest.mark.parametrize("how", ["gone", "cut", "another", "day gone"])
def test_a_damaged_journal_is_refused_and_never_returned(
    store: Store, place: Place, how: str
) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, journal=tuple(an_entry(name) for name in "abc")))
    store.commit(fence, a_record(2, journal=(an_entry("d", day=NEXT_DAY),)))

    place.damage_journal(how)

    with pytest.raises(Corrupt, match="journal"):
        list(place.open().journal(DAY))


# Signals.


def test_a_signal_is_appended_once_by_its_id(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, signals=(a_signal("a"), a_signal("b"), a_signal("a"))))

    store.commit(fence, a_record(2, signals=(a_signal("b"), a_signal("c"), a_signal("a"))))

    assert [signal.id for _, signal in store.signals()] == ["a", "b", "c"]
    assert store.usage().counts["signals"] == 3


def test_cursors_are_positions_in_the_log(store: Store) -> None:
    fence = taken(store)
    for number in range(1, 13):
        signals = tuple(a_signal(f"{number}:{place}") for place in range(11))
        store.commit(fence, a_record(number, signals=signals))

    log = list(store.signals())

    ids = [signal.id for _, signal in log]
    assert ids == [f"{number}:{place}" for number in range(1, 13) for place in range(11)]
    for position in (0, 10, 11, 50, 131):
        after = [signal.id for _, signal in store.signals(log[position][0])]
        assert after == ids[position + 1 :]
    assert [signal.id for _, signal in store.signals(log[3][0], limit=2)] == ids[4:6]
    assert list(store.signals(limit=0)) == []


def test_an_unknown_cursor_is_refused_at_once(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, signals=(a_signal("a"),)))
    ((cursor, _),) = store.signals()

    for unknown in ("", "a", "0", "-1", "1-1", "2-0", "0-0", f"{cursor} ", "١-٠", "9" * 30 + "-0"):
        with pytest.raises(ValueError, match="is no cursor of this signal log"):
            store.signals(unknown)


def test_signals_are_found_by_date_symbol_and_session(store: Store) -> None:
    fence = taken(store)
    keys = [
        (day, session, symbol)
        for day in (DAY, NEXT_DAY)
        for session in ("Morning Opening", "Lunch Break")
        for symbol in ("NIFTY", "ABB")
    ]
    signals = tuple(
        a_signal("/".join(map(str, key)), day=key[0], session=key[1], symbol=key[2]) for key in keys
    )
    store.commit(fence, a_record(1, signals=signals))
    (first, _), *_ = store.signals()

    def found(**filters: object) -> list[str]:
        return [signal.id for _, signal in store.signals(**filters)]  # type: ignore[arg-type]

    assert found(trading_date=DAY) == [signal.id for signal in signals[:4]]
    assert found(symbol="ABB") == [signal.id for signal in signals[1::2]]
    assert found(session="Lunch Break", symbol="NIFTY", trading_date=NEXT_DAY) == [signals[6].id]
    assert found(after=first, symbol="NIFTY", limit=2) == [signals[2].id, signals[4].id]
    assert found(symbol="nifty") == []


def test_signals_given_as_columns_are_read_back_as_their_json(store: Store) -> None:
    fence = taken(store)
    batch = day_signals([some_signals(40)])
    texts = [*signal_rows(batch)]
    once = {signal.id: signal for signal in reversed(texts)}

    store.commit(fence, replace(a_record(1), signals=(batch,)))

    assert [signal for _, signal in store.signals()] == sorted(once.values(), key=texts.index)
    assert store.head().signals == len(once) < len(batch)
    log = [*store.signals()]
    assert [*store.signals(log[4][0], limit=3)] == log[5:8]
    assert [*store.signals(log[4][0], symbol="ABB", session="Lunch Break")] == [
        (cursor, signal)
        for cursor, signal in log[5:]
        if (signal.symbol, signal.session) == ("ABB", "Lunch Break")
    ]
    assert [*store.signals(symbol="NOPE")] == []


def test_a_signal_is_appended_once_whatever_form_it_is_given_in(store: Store, place: Place) -> None:
    """Columns of the same names are compared as numbers, all else as texts."""
    fence = taken(store)
    batch = day_signals([some_signals(12, seed=1)])
    other = replace(
        batch,
        symbols=("ZEE", *batch.symbols),
        symbol=batch.symbol + np.int32(1),
        number=np.where(np.arange(12) % 3, batch.number, np.int32(2)),
    )
    ids = dict.fromkeys(signal_ids(batch).to_pylist())

    store.commit(fence, replace(a_record(1), signals=(signals_at(batch, np.arange(5)),)))
    store.commit(fence, replace(a_record(2), signals=(batch,)))
    store.commit(fence, replace(a_record(3), signals=(signal_rows(batch), batch)))
    assert [signal.id for _, signal in store.signals()] == [*ids]
    store.commit(fence, replace(a_record(4), signals=(other, batch, signal_rows(other))))
    ids |= dict.fromkeys(signal_ids(other).to_pylist())
    assert [signal.id for _, signal in store.signals()] == [*ids]

    # Another process knows only what it reads.
    later = place.open()
    later.commit(fence, replace(a_record(5), signals=(batch, other)))
    assert [signal.id for _, signal in store.signals()] == [*ids]


def test_a_document_given_as_columns_is_read_back_as_its_json(store: Store) -> None:
    given = document("Lunch Break", DAY)
    (stored,) = stored_documents([given])
    store.commit(taken(store), a_record(1, documents=(stored,)))

    (found,) = store.documents()

    assert found == replace(stored, body=document_lines([given], {}).rstrip(b"\n"))


# Session documents.


def test_documents_are_found_by_date_status_and_name(store: Store) -> None:
    fence = taken(store)
    day_before = DAY - timedelta(days=1)
    documents = (
        a_document("Lunch Break", "ACTIVE", body=b"2", place=1),
        a_document("Morning Opening", "COMPLETED", completed_ns=TEN_NS, body=b"1", place=0),
        a_document("Späť/x", "PENDING", body=b"3\x00\xff", place=2),
        a_document("Lunch Break", "SKIPPED", day=day_before, body=b"5", place=1),
        a_document("Morning Opening", "COMPLETED", day=day_before, completed_ns=5, body=b"4"),
    )
    store.commit(fence, a_record(1, documents=documents))

    def found(**filters: object) -> list[bytes]:
        return [document.body for document in store.documents(**filters)]  # type: ignore[arg-type]

    assert found() == [b"5", b"4", b"1", b"2", b"3\x00\xff"], "one without a place comes last"
    assert found(trading_date=DAY, status="COMPLETED") == [b"1"]
    assert found(trading_date=DAY, session="Lunch Break") == [b"2"]
    assert found(trading_date=DAY) == [b"1", b"2", b"3\x00\xff"]
    assert found(status="COMPLETED") == [b"4", b"1"]
    assert found(status="COMPLETED", completed_since_ns=5) == [b"4", b"1"]
    assert found(status="COMPLETED", completed_since_ns=6) == [b"1"]
    assert found(completed_since_ns=6) == [b"1"]
    assert found(completed_before_ns=6) == found(completed_since_ns=5, completed_before_ns=6)
    assert found(completed_before_ns=6) == [b"4"]
    assert found(status="COMPLETED", completed_before_ns=TEN_NS) == [b"4"]
    assert found(completed_since_ns=6, completed_before_ns=TEN_NS) == []
    assert found(trading_date=DAY, completed_before_ns=TEN_NS + 1) == [b"1"]
    assert found(trading_date=DAY, completed_before_ns=TEN_NS) == []
    assert found(session="Späť/x") == [b"3\x00\xff"]
    assert found(session="Morning") == found(status="COMP") == found(status="") == []


def test_a_document_that_changes_is_found_where_it_stands_then(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, documents=(a_document("Lunch Break", "ACTIVE"),)))

    done = a_document("Lunch Break", "COMPLETED", completed_ns=TEN_NS, body=b"done")
    store.commit(fence, a_record(2, documents=(a_document("Lunch Break", "ACTIVE"), done)))
    store.commit(fence, a_record(3, documents=(done,)))

    assert list(store.documents()) == [done]
    assert list(store.documents(status="ACTIVE")) == []
    assert list(store.documents(trading_date=DAY, status="COMPLETED")) == [done]
    assert store.usage().counts["documents"] == 1


def test_documents_come_in_the_order_of_the_day_or_of_completion(store: Store) -> None:
    fence = taken(store)
    windows = {"C": (0, 30), "A": (1, 50), "B": (2, 40)}  # place in the day, end of the window
    documents = tuple(
        a_document(
            name,
            "COMPLETED",
            day=DAY + timedelta(days=day),
            completed_ns=100 * day + end,
            body=f"{day}{name}".encode(),
            place=place,
        )
        for day in (1, 0)
        for name, (place, end) in windows.items()
    )
    store.commit(fence, a_record(1, documents=documents))

    def found(**filters: object) -> list[str]:
        return [document.body.decode() for document in store.documents(**filters)]  # type: ignore[arg-type]

    assert found() == ["0C", "0A", "0B", "1C", "1A", "1B"]
    assert found(trading_date=DAY, status="COMPLETED") == ["0C", "0A", "0B"]
    assert found(status="COMPLETED") == ["0C", "0B", "0A", "1C", "1B", "1A"]
    assert found(completed_since_ns=40, completed_before_ns=150) == ["0B", "0A", "1C", "1B"]
    assert found(session="A", status="COMPLETED") == ["0A", "1A"]
    assert [document.place for document in store.documents()] == [0, 1, 2] * 2


def test_many_documents_are_all_found(store: Store) -> None:
    fence = taken(store)
    documents = tuple(
        a_document(f"W{place}", day=DAY + timedelta(days=day))
        for day in range(5)
        for place in range(300)
    )
    store.commit(fence, a_record(1, documents=documents))

    def key(document: Document) -> tuple[date, str]:
        return document.trading_date, document.session

    assert store.documents() == sorted(documents, key=key)


# Snapshots.


def test_a_snapshot_takes_over_what_did_not_change(store: Store) -> None:
    fence = taken(store)
    actors = ("breakout", "clock")
    store.commit(fence, a_record(1, snapshot=a_snapshot({"breakout": b"b1", "clock": b"c1"})))
    store.commit(fence, a_record(2))
    store.commit(fence, a_record(3, snapshot=a_snapshot({"clock": b"c3"}, actors)))
    store.commit(fence, a_record(4, snapshot=a_snapshot({}, actors)))

    listed = [(one.epoch, one.step, one.size, one.problem) for one in store.epochs()]

    assert listed == [(4, 4, 4, None), (3, 3, 4, None), (1, 1, 4, None)]
    assert store.states(1) == {"breakout": b"b1", "clock": b"c1"}
    assert store.states(3) == store.states(4) == {"breakout": b"b1", "clock": b"c3"}


def test_a_snapshot_holds_the_actors_that_it_names(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1, snapshot=a_snapshot({"a": b"1", "b": b"", "c": b"3"})))
    snapshot = Snapshot(MarketTime(TEN_NS), NEXT_DAY, {"d": b"4"}, ("d", "b"))

    store.commit(fence, a_record(2, steps=(), snapshot=snapshot))

    assert store.states(2) == {"b": b"", "d": b"4"}
    newest = store.epochs()[0]
    assert (newest.step, newest.market_ns, newest.trading_date) == (1, TEN_NS, NEXT_DAY)


def test_an_epoch_that_is_not_there_is_named(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1))

    with pytest.raises(StoreError, match="no snapshot of epoch 1"):
        store.states(1)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda body: bytes([body[0] ^ 1]) + body[1:], "fails its checksum"),
        (lambda body: body[:-1], "bytes, not the"),
        (lambda body: None, "is missing"),
    ],
    ids=["flipped", "truncated", "missing"],
)
def test_a_damaged_state_is_reported_and_never_returned(
    store: Store, place: Place, damage: object, problem: str
) -> None:
    fence = taken(store)
    for number in range(1, 4):
        store.commit(fence, a_full_record(number))
    place.change_state("clock", damage)  # type: ignore[arg-type]

    newest, *earlier = place.open().epochs()

    assert newest.problem is not None
    assert "the state of clock" in newest.problem
    assert problem in newest.problem
    assert [one.problem for one in earlier] == [None, None]
    with pytest.raises(Corrupt, match=rf"epoch 3: the state of clock .*{problem}"):
        store.states(3)
    assert store.states(2).keys() == {"breakout", "clock", "keeper"}


# Who may write.


def test_a_lease_is_refused_while_it_is_held(store: Store, place: Place) -> None:
    store.append_audit(b"{}")
    fence = taken(store)
    other = place.open()

    with pytest.raises(LeaseHeld, match=f"process {os.getpid()} on .* holds the lease") as refusal:
        taken(other)

    assert str(os.getpid()) in refusal.value.holder
    store.commit(fence, a_full_record(1))


def test_a_released_lease_is_free_and_its_token_worthless(store: Store, place: Place) -> None:
    fence = taken(store)
    store.release(fence)

    with pytest.raises(Fenced, match="nobody has it"):
        store.commit(fence, a_full_record(1))
    later = taken(place.open())

    assert later > fence
    assert store.head().fence == later
    assert store.head().commit == 0


def test_the_holder_takes_its_own_lease_again(store: Store) -> None:
    fence = taken(store)

    later = taken(store)

    assert later > fence
    with pytest.raises(Fenced):
        store.commit(fence, a_full_record(1))
    assert store.commit(later, a_full_record(1)) == "ok"


def test_a_lease_is_judged_by_the_watchers_clock_and_the_heartbeat(
    store: Store, place: Place
) -> None:
    now = 0
    watcher = place.open(clock_ns=lambda: now)
    fence = taken(store)

    def refused() -> bool:
        try:
            taken(watcher)
        except LeaseHeld:
            return True
        return False

    assert refused()
    now += TTL_NS - 1
    assert refused()
    store.renew(fence)
    now += TTL_NS - 1
    assert refused()  # the heartbeat changed
    now += TTL_NS - 1
    store.commit(fence, a_full_record(1))
    assert refused()  # a commit is one too
    now += TTL_NS
    assert not refused()
    with pytest.raises(Fenced, match=rf"lease of token {fence} is gone, .* token {fence + 1}"):
        store.renew(fence)


def test_who_has_the_lease_can_be_seen_and_how_long_it_has_been_silent(
    store: Store, place: Place
) -> None:
    reader = place.open()
    assert reader.lease() is None

    fence = taken(store)
    begun = reader.lease()
    store.renew(fence)
    store.commit(fence, a_full_record(1))
    later = reader.lease()
    store.release(fence)

    for lease in (begun, later):
        assert lease is not None
        assert (lease.holder, lease.dead) == (this_process(), False)
        assert lease.silent_seconds is not None
        assert 0 <= lease.silent_seconds < 600
    assert reader.lease() is None


def test_a_writer_that_was_taken_over_writes_nothing(store: Store, place: Place) -> None:
    old = taken(store)
    store.commit(old, a_full_record(1))
    other = place.open()
    new = taken(other, ttl_ns=0)
    other.commit(new, a_full_record(2))
    zombie = replace(a_full_record(2), digest=digest(2, "zombie"))

    attempts: list[Callable[[], object]] = [
        lambda: store.commit(old, zombie),
        lambda: store.commit(old, a_full_record(2)),
        lambda: store.commit(old, a_full_record(3)),
        lambda: store.renew(old),
        lambda: store.commands(old),
        lambda: store.take_commands(old),
        lambda: store.prune(old, NEXT_DAY, 1),
    ]
    for attempt in attempts:
        with pytest.raises(Fenced):
            attempt()
    store.release(old)

    check_everything(other, 2)
    assert other.commit(new, a_full_record(3)) == "ok"


def test_a_holder_that_was_killed_is_replaced_at_once(shared_place: Place) -> None:
    assert shared_place.url
    store = shared_place.open()
    with writer(shared_place.url) as child:
        assert child.hear() == "fence 1"
        assert child.ask("commit 1") == "ok 1"
        with pytest.raises(LeaseHeld, match=f"process {child.process.pid} "):
            taken(store)
        child.process.kill()

        # Not waited for: its parent has not asked for its exit code, as under some supervisors.
        fence = _as_soon_as_free(store)

    assert fence == 2
    assert store.commit(fence, a_full_record(2)) == "ok"
    check_everything(store, 2)


def _as_soon_as_free(store: Store) -> int:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:  # a kill takes the kernel a moment
        try:
            return taken(store, ttl_ns=3600 * 10**9)
        except LeaseHeld:
            time.sleep(0.01)
    raise AssertionError("the lease of a dead process was not given up")


def test_a_holder_that_was_stopped_is_taken_over_and_fenced_when_it_wakes(
    shared_place: Place,
) -> None:
    assert shared_place.url
    now = 0
    store = shared_place.open(clock_ns=lambda: now)
    with writer(shared_place.url) as child:
        assert child.hear() == "fence 1"
        assert child.ask("commit 1") == "ok 1"
        child.process.send_signal(SIGSTOP)
        with pytest.raises(LeaseHeld):
            taken(store)
        now += TTL_NS
        fence = taken(store)
        store.commit(fence, a_full_record(2))

        child.process.send_signal(SIGCONT)
        answers = [child.ask("commit 2"), child.ask("commit 3"), child.ask("renew")]

    assert answers == ["Fenced"] * 3
    check_everything(store, 2)


def test_of_many_that_want_the_lease_one_gets_it(shared_place: Place) -> None:
    assert shared_place.url
    url = shared_place.url
    first, second, third = (writer(url) for _ in range(3))

    with first as a, second as b, third as c:
        heard = sorted(child.hear() for child in (a, b, c))

    assert heard == ["LeaseHeld", "LeaseHeld", "fence 1"]


# Beside the commits.


def test_the_audit_trail_has_positions(store: Store) -> None:
    store.append_audit(b'{"what":"start"}')
    fence = taken(store)
    store.commit(fence, a_record(1, audit=(b"a", b"b\x00\xff")))
    store.append_audit(b"c")

    trail = list(store.audit())

    assert trail == [(1, b'{"what":"start"}'), (2, b"a"), (3, b"b\x00\xff"), (4, b"c")]
    assert list(store.audit(3)) == [(4, b"c")]
    assert list(store.audit(4)) == []


def test_commands_reach_whoever_holds_the_lease_once(store: Store, place: Place) -> None:
    place.open().send_command(b"recover")
    fence = taken(store)
    place.open().send_command(b"pause \x00\xff")

    assert list(store.commands(fence)) == [b"recover", b"pause \x00\xff"]
    assert list(store.take_commands(fence)) == [b"recover", b"pause \x00\xff"]
    assert list(store.commands(fence)) == list(store.take_commands(fence)) == []


def test_names_do_not_meet(place: Place) -> None:
    names = ("bot", "bot2", "bo", "bot.2")
    stores = {name: place.open(name) for name in names}
    for number, (name, store) in enumerate(stores.items(), start=1):
        fence = taken(store)
        for commit in range(1, number + 1):
            store.commit(fence, a_full_record(commit))
        store.send_command(name.encode())

    stores["bo"].delete()
    stores["bot"].delete()

    for number, (name, store) in enumerate(stores.items(), start=1):
        check_everything(store, 0 if name in ("bo", "bot") else number)
    fence = taken(place.open("bo"))
    assert list(place.open("bo").take_commands(fence)) == []


def test_deleting_a_state_stops_its_writer(store: Store, place: Place) -> None:
    fence = taken(store)
    store.commit(fence, a_full_record(1))

    place.open().delete()

    with pytest.raises(Fenced):
        store.commit(fence, a_full_record(2))
    other = place.open()
    assert other.commit(taken(other), a_full_record(1)) == "ok"
    with pytest.raises(Fenced):  # though the tokens are counted anew
        store.commit(fence, a_full_record(1))


def test_usage_tells_where_and_how_much(store: Store) -> None:
    fence = taken(store)
    for number in (1, 2):
        store.commit(fence, a_full_record(number))

    usage = store.usage()

    assert usage.location
    assert usage.schema == SCHEMA_VERSION
    counts = {"commits": 2, "steps": 2, "epochs": 2, "documents": 2, "signals": 6, "audit": 2}
    assert usage.counts == {**counts, "journal": 4}


def test_state_of_a_newer_version_is_refused(shared_place: Place) -> None:
    store = shared_place.open()
    store.commit(taken(store), a_full_record(1))
    shared_place.set_schema(SCHEMA_VERSION + 1)

    with pytest.raises(StoreError, match=rf"version {SCHEMA_VERSION + 1}.* {SCHEMA_VERSION}\b"):
        shared_place.open()


def test_state_of_the_version_before_is_read_and_becomes_this_ones_with_the_next_writer(
    shared_place: Place,
) -> None:
    with closing(shared_place.open()) as store:
        store.commit(taken(store), a_full_record(1))
    shared_place.set_schema(SCHEMA_VERSION - 1)

    with closing(shared_place.open()) as store:
        before = store.head()
        kept = list(store.signals())
        store.commit(store.acquire(this_process(), 0), a_full_record(2))

        assert (before.schema, before.commit) == (SCHEMA_VERSION - 1, 1)
        assert store.head().schema == SCHEMA_VERSION
        assert list(store.signals())[: len(kept)] == kept != []


# Pruning.


def _days(store: Store, days: int, commits_a_day: int) -> int:
    """Commits with a snapshot each, `commits_a_day` on each of some days from DAY on."""
    fence = taken(store)
    number = 0
    for offset in range(days):
        day = DAY + timedelta(days=offset)
        for _ in range(commits_a_day):
            number += 1
            states = {"clock": b"%d" % number, **({"keeper": b"k"} if number == 1 else {})}
            snapshot = a_snapshot(states, ("clock", "keeper"), number=number, day=day)
            store.commit(
                fence,
                a_record(
                    number,
                    steps=(a_step(number, day),),
                    snapshot=snapshot,
                    journal=(an_entry(str(number), day=day),),
                    signals=(a_signal(str(number), day=day),),
                    documents=(a_document("Lunch Break", day=day),),
                    audit=(b"%d" % number,),
                ),
            )
    return fence


def test_pruning_keeps_what_recovery_and_replay_need(store: Store) -> None:
    fence = _days(store, days=4, commits_a_day=3)

    store.prune(fence, DAY + timedelta(days=2), keep_epochs=2)

    # Days three and four stay with the snapshots they began with (6, 9), and the last two.
    assert [one.epoch for one in store.epochs()] == [12, 11, 9, 6]
    assert [one.problem for one in store.epochs()] == [None] * 4
    # A snapshot's own step has the digest that the chain goes on from.
    assert [step.number for step in store.steps()] == list(range(6, 13))
    assert store.states(6) == {"clock": b"6", "keeper": b"k"}
    assert len(list(store.signals())) == len(list(store.audit())) == 12
    assert len(store.documents()) == 4
    with pytest.raises(StoreError, match=r"steps 4 to 5 were dropped .*keep_days"):
        store.steps(3)
    assert store.usage().counts["epochs"] == 4


def test_the_journal_is_dropped_with_the_steps_that_used_it(store: Store) -> None:
    fence = _days(store, days=4, commits_a_day=3)

    store.prune(fence, DAY + timedelta(days=2), keep_epochs=2)

    # Snapshot 6 may lie inside the second day, and then needs its rows.
    journaled = [[entry.name for entry in store.journal(DAY + timedelta(days=n))] for n in range(4)]
    assert journaled == [[], ["4", "5", "6"], ["7", "8", "9"], ["10", "11", "12"]]
    assert store.usage().counts["journal"] == 9
    entry = an_entry("13", day=DAY + timedelta(days=3))
    store.commit(fence, a_record(13, journal=(entry,)))
    assert list(store.journal(DAY + timedelta(days=3)))[-1] == entry
    store.prune(fence, DAY + timedelta(days=3), keep_epochs=1)
    assert list(store.journal(DAY + timedelta(days=1))) == []
    assert store.usage().counts["journal"] == 7


def test_pruning_never_drops_the_newest_snapshot_or_the_steps_after_it(store: Store) -> None:
    fence = _days(store, days=2, commits_a_day=2)
    later = tuple(a_step(number, NEXT_DAY) for number in (5, 6))
    store.commit(fence, a_record(5, steps=later))

    store.prune(fence, date(2030, 1, 1), keep_epochs=0)

    assert [one.epoch for one in store.epochs()] == [4]
    assert list(store.steps()) == [a_step(4, NEXT_DAY), *later]
    assert list(store.steps(4)) == list(later)
    assert [entry.name for entry in store.journal(NEXT_DAY)] == ["3", "4"]
    assert store.states(4) == {"clock": b"4", "keeper": b"k"}
    assert store.commit(fence, a_record(5, steps=later)) == "dup"
    with pytest.raises(Gap, match="long past"):
        store.commit(fence, a_record(1))


def test_without_a_snapshot_from_before_it_a_day_keeps_the_log_from_its_beginning(
    store: Store,
) -> None:
    fence = taken(store)
    steps = tuple(a_step(n, DAY if n < 4 else NEXT_DAY) for n in range(1, 7))
    journal = (an_entry("rows"), an_entry("rows", day=NEXT_DAY))
    snapshot = a_snapshot({"clock": b"6"}, number=6, day=NEXT_DAY)
    store.commit(fence, a_record(1, steps=steps, journal=journal, snapshot=snapshot))

    store.prune(fence, NEXT_DAY, keep_epochs=1)

    assert list(store.steps()) == list(steps)
    assert list(store.journal(DAY)) == [an_entry("rows")]


def test_pruning_twice_changes_nothing_and_commits_go_on(store: Store) -> None:
    fence = _days(store, days=3, commits_a_day=2)
    for _ in range(2):
        store.prune(fence, DAY + timedelta(days=1), keep_epochs=1)

    snapshot = a_snapshot({"clock": b"7"}, ("clock", "keeper"), number=7)
    store.commit(fence, a_record(7, snapshot=snapshot))

    assert [one.epoch for one in store.epochs()] == [7, 6, 4, 2]
    assert [step.number for step in store.steps()] == [2, 3, 4, 5, 6, 7]
    assert store.states(7) == {"clock": b"7", "keeper": b"k"}


def test_a_store_without_snapshots_is_not_pruned(store: Store) -> None:
    fence = taken(store)
    store.commit(fence, a_record(1))

    store.prune(fence, date(2030, 1, 1), keep_epochs=1)

    assert list(store.steps()) == [a_step(1)]


# Several at once.


def test_readers_work_while_the_writer_writes(store: Store, place: Place) -> None:
    fence = taken(store)
    store.commit(fence, a_full_record(1))
    done = threading.Event()

    def read() -> int:
        reader, seen = place.open(), 0
        try:
            while not done.is_set():
                seen += 1
                head = reader.head()
                assert head.meta == {"day": b"%d" % head.commit}
                steps = [step.number for step in reader.steps()]
                assert steps == list(range(1, len(steps) + 1))
                assert len(steps) >= head.step
                assert len(list(reader.signals())) >= 3 * head.commit
                assert len(reader.documents()) >= min(7, head.commit)
                assert not any(one.problem for one in reader.epochs()[:1])
                assert reader.states(head.commit)
        finally:
            reader.close()
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for number in range(2, 40):
            store.commit(fence, a_full_record(number))
        done.set()

    assert all(reader.result() for reader in readers)
    check_everything(store, 39)


def test_a_store_may_be_used_from_one_thread_after_another(store: Store) -> None:
    fence = taken(store)

    for number in range(1, 4):
        thread = threading.Thread(target=store.commit, args=(fence, a_full_record(number)))
        thread.start()
        thread.join()

    check_everything(store, 3)


# Crashes.


@pytest.mark.parametrize(
    "delay_ms", [17, 71, *(pytest.param(ms, marks=pytest.mark.slow) for ms in (3, 40, 113))]
)
def test_what_was_acknowledged_survives_a_kill(shared_place: Place, delay_ms: int) -> None:
    assert shared_place.url
    acknowledged = 0
    for turn in range(2):
        with writer(shared_place.url, "loop") as child:
            assert child.hear() == f"fence {turn + 1}"
            assert child.hear() == f"ok {acknowledged + 1}"
            acknowledged += 1
            time.sleep(delay_ms / 1000)
            said = child.end()
        for line in said:
            acknowledged += 1
            assert line == f"ok {acknowledged}"

        store = shared_place.open()
        stored = store.head().commit

        assert stored - acknowledged in (0, 1)
        check_everything(store, stored)
        store.close()
        acknowledged = stored


def test_this_process_is_who_it_says(store: Store) -> None:
    fence = taken(store)

    assert fence == 1
    assert this_process() == this_process()
    assert this_process().pid == os.getpid()


# Beside the commits.


def test_what_is_kept_beside_the_commits_is_found_by_how_its_key_begins(
    store: Store, place: Place
) -> None:
    fence = taken(store)
    store.keep(fence, {"sink b": b"2", "sink a": b"1", "dead a 1": b"x"})
    store.keep(fence, {"sink b": None, "sink a": b"3"})
    place.open().ask("ask a", b"\x00\xff")
    place.open("other").ask("ask a", b"of another")

    assert dict(place.open().kept("sink ")) == {"sink a": b"3"}
    assert list(place.open().kept("")) == ["ask a", "dead a 1", "sink a"]
    assert store.kept_at("ask a") == b"\x00\xff"
    assert store.kept_at("ask") is None
    assert store.head().commit == 0, "it is no commit"


def test_a_holder_that_was_replaced_keeps_nothing_beside_the_commits(place: Place) -> None:
    first, second = place.open(), place.open()
    old = taken(first)
    first.keep(old, {"sink a": b"1"})
    first.release(old)
    taken(second)

    with pytest.raises(Fenced):
        first.keep(old, {"sink a": b"2"})

    assert second.kept("")["sink a"] == b"1"


def test_what_is_kept_beside_the_commits_goes_with_the_state(store: Store, place: Place) -> None:
    store.keep(taken(store), {"sink a": b"1"})
    place.open("other").ask("ask a", b"x" * 5_000)

    store.delete()

    assert not place.open().kept("")
    assert place.open("other").kept("")


def test_the_last_signal_is_where_the_log_ends(store: Store) -> None:
    nothing = store.last_signal()
    fence = taken(store)
    for number in (1, 2):
        store.commit(fence, a_full_record(number))

    assert nothing is None
    assert [cursor for cursor, _ in store.signals()][-1] == store.last_signal()
    assert list(store.signals(after=store.last_signal())) == []


def test_what_is_kept_beside_the_commits_is_checked(store: Store, place: Place) -> None:
    store.keep(taken(store), {"sink a": b"1"})
    if isinstance(place, SqlPlace):
        place.execute("UPDATE beside SET body = x'32'")
    else:
        assert isinstance(place, RedisPlace)
        value = place.client.hget("openbell:{bot}:beside", "sink a")
        place.client.hset("openbell:{bot}:beside", "sink a", value[:-1] + b"2")

    for read in (lambda: store.kept("sink "), lambda: store.kept_at("sink a")):
        with pytest.raises(Corrupt, match="sink a"):
            read()
