"""One sink's thread: what it does about failures, what it keeps, and what people ask of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from observed import eventually
from store_records import DAY, a_record, taken

from openbell.adapters.deliveries import Failed, Message, Refused
from openbell.adapters.stores import Store, StoredSignal
from openbell.adapters.stores.memory import Memory
from openbell.adapters.stores.sqlite import SqliteStore
from openbell.hosttime import Monotonic
from openbell.runtime.config import values
from openbell.runtime.config.model import SinkConfig
from openbell.runtime.delivery import courier as couriers
from openbell.runtime.delivery.courier import Courier
from openbell.runtime.delivery.limits import Paced
from openbell.runtime.delivery.lines import last_event
from openbell.runtime.delivery.positions import (
    Ask,
    ask_of,
    asked,
    dead_letters,
    encoded,
    position_of,
)
from openbell.runtime.record.news import News
from openbell.runtime.results.events import read

Plan = Callable[[int, Sequence[Message]], BaseException | None]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "RETRY_SECONDS", 0.001)
    monkeypatch.setattr(couriers, "ASK_SECONDS", 0.02)


class Scripted:
    """A sink that fails as it is told, and keeps what it was given."""

    def __init__(self, plan: Plan, at_once: int = 1) -> None:
        self.plan = plan
        self.at_once = at_once
        self.given: list[list[str]] = []
        self.took: list[list[str]] = []
        self.closed = 0

    def deliver(self, messages: Sequence[Message]) -> None:
        ids = [message.id for message in messages]
        self.given.append(ids)
        if (error := self.plan(len(self.given) - 1, messages)) is not None:
            raise error
        self.took.append(ids)

    def close(self) -> None:
        self.closed += 1

    @property
    def ids(self) -> list[str]:
        return [one for took in self.took for one in took]


def takes_all(_: int, __: Sequence[Message]) -> None:
    return None


class Rig:
    """A log, and a courier that delivers it; started again as after a kill."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.store: Store = SqliteStore(self.memory, "bot")
        self.fence = taken(self.store)
        self.news = News()
        self.told: list[tuple[str, str]] = []
        self.age: Callable[[datetime], float] = lambda known: 0.0
        self.running: list[Courier] = []
        self._commits = 0
        self._signals = 0

    def find(self, count: int, **more: Any) -> list[str]:
        """Have signals committed; their ids."""
        ids = [f"s{self._signals + place}" for place in range(1, count + 1)]
        self._signals += count
        self._commits += 1
        bodies = [orjson.dumps({"id": of, **more}) for of in ids]
        signals = [
            StoredSignal(of, DAY, "Lunch", "A", body) for of, body in zip(ids, bodies, strict=True)
        ]
        self.store.commit(self.fence, a_record(self._commits, signals=tuple(signals)))
        self.news.came(count)
        return ids

    def courier(self, sink: Scripted, *, starts: bool = True, **keys: Any) -> Courier:
        made = Courier(
            SinkConfig.model_validate({"type": "it", **keys}),
            sink,
            self.store,
            self.fence,
            (self.news,),
            lambda kind, why, **more: self.told.append((kind, why)),
            age_seconds=lambda known: self.age(known),
            max_age_seconds=60.0,
            shares_store=True,
        )
        made.register()
        if starts:
            made.start()
            self.running.append(made)
        return made

    def stop(self) -> None:
        for one in self.running:
            one.end()
            assert one.has_ended(60)
            one.let_go()
        self.running = []

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]


@pytest.fixture
def rig() -> Iterator[Rig]:
    made = Rig()
    yield made
    made.stop()


# Where a sink begins, and goes on.


def test_a_new_sink_begins_with_what_is_found_from_then_on(rig: Rig) -> None:
    rig.find(3)
    sink, all_of_it = Scripted(takes_all), Scripted(takes_all)
    rig.courier(sink)
    rig.courier(all_of_it, name="all", begin="start")

    later = rig.find(2)

    assert eventually(lambda: len(all_of_it.took) == 5 and len(sink.took) == 2)
    assert sink.ids == later
    assert all_of_it.ids == ["s1", "s2", "s3", "s4", "s5"]


def test_a_sink_that_was_there_goes_on_where_it_was(rig: Rig) -> None:
    first = Scripted(takes_all)
    rig.courier(first)
    rig.find(3)
    assert eventually(lambda: len(first.took) == 3)
    rig.stop()
    between = rig.find(2)

    second = Scripted(takes_all)
    rig.courier(second)

    assert eventually(lambda: len(second.took) == 2)
    assert second.ids == between


def test_what_was_not_saved_is_sent_again_in_the_same_order(rig: Rig) -> None:
    killed = Scripted(takes_all)
    made = rig.courier(killed)
    saved = made.position
    rig.find(5)
    assert eventually(lambda: len(killed.took) == 5)
    rig.stop()
    rig.store.keep(rig.fence, {"sink it": encoded(saved)})  # as a kill leaves it

    again = Scripted(takes_all)
    rig.courier(again)

    assert eventually(lambda: len(again.took) == 5)
    assert again.ids == killed.ids


def test_a_sink_that_lost_its_lease_delivers_and_keeps_nothing_more(rig: Rig) -> None:
    sink = Scripted(takes_all)
    made = rig.courier(sink)
    rig.store.release(rig.fence)
    rival = SqliteStore(rig.memory, "bot")
    rig.fence = taken(rival)
    rig.store = rival

    rig.find(1)

    assert eventually(lambda: not made.lives)
    kept = position_of(rival, "it")
    assert kept is not None
    assert kept.count == 0
    assert made.failed is None


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9])
def test_the_last_event_is_found_however_many_there_are(rig: Rig, count: int) -> None:
    for number in range(count):
        entry = {"what": "notice", "kind": "gap", "id": f"e{number}", "to": None}
        rig.store.append_audit(orjson.dumps({**entry, "wall_time": "2025-08-26T10:00:00Z"}))

    events = list(read(rig.store))

    assert last_event(rig.store) == (events[-1].cursor if events else None)
    assert list(read(rig.store, last_event(rig.store))) == []


# Failures.


def test_what_fails_blocks_what_comes_after_it_until_it_is_taken(rig: Rig) -> None:
    sink = Scripted(lambda n, _: Failed("not now") if n < 5 else None)
    made = rig.courier(sink)

    rig.find(3)

    assert eventually(lambda: len(sink.took) == 3)
    assert [ids for ids in sink.given if ids == ["s1"]] == [["s1"]] * 6
    assert sink.ids == ["s1", "s2", "s3"]
    assert rig.kinds() == ["sink.failing", "sink.back"]
    assert eventually(lambda: made.is_done(3))
    assert (made.position.error, made.position.tries) == (None, 0)


def test_a_plug_in_that_raises_anything_is_tried_again(rig: Rig) -> None:
    sink = Scripted(lambda n, _: ZeroDivisionError("oh") if n == 0 else None)
    made = rig.courier(sink)

    rig.find(1)

    assert eventually(lambda: len(sink.took) == 1)
    assert made.failed is None


def test_a_receiver_is_left_alone_for_as_long_as_it_asks(rig: Rig) -> None:
    sink = Scripted(lambda n, _: Failed("later", after_seconds=3600) if n == 0 else None)
    made = rig.courier(sink)

    rig.find(1)

    assert eventually(lambda: made.position.next_try_at is not None)
    then = datetime.fromisoformat(made.position.next_try_at or "")
    assert (then - datetime.now(then.tzinfo)).total_seconds() > 3000
    assert len(sink.given) == 1


@pytest.mark.parametrize(
    ("keys", "plan", "tries"),
    [
        ({"give_up": 3}, lambda n, of: Failed("no"), 3),
        ({"give_up": "1ns"}, lambda n, of: Failed("no"), 1),
        ({}, lambda n, of: Refused("never"), 1),
    ],
)
def test_a_sink_that_gives_up_stops_until_somebody_says_to_retry(
    rig: Rig, keys: dict[str, Any], plan: Plan, tries: int
) -> None:
    sink = Scripted(plan)
    made = rig.courier(sink, **keys)
    rig.find(2)
    assert eventually(lambda: made.position.gave_up)
    assert len(sink.given) == tries
    assert made.position.state(2) == "stopped"

    sink.plan = takes_all
    rig.store.ask(asked("it"), encoded(Ask("retry", "now")))

    assert eventually(lambda: made.is_done(2))
    assert sink.ids == ["s1", "s2"]
    assert rig.kinds() == ["sink.gave_up", "sink.retried"]
    assert ask_of(rig.store, "it") is None


def test_a_restart_tries_again_what_was_given_up(rig: Rig) -> None:
    made = rig.courier(Scripted(lambda n, of: Refused("never")))
    rig.find(1)
    assert eventually(lambda: made.position.gave_up)
    rig.stop()

    sink = Scripted(takes_all)
    rig.courier(sink)

    assert eventually(lambda: sink.ids == ["s1"])


def test_dead_letters_are_kept_and_delivered_when_somebody_says_so(rig: Rig) -> None:
    bad = {"s2", "s4"}
    sink = Scripted(lambda n, of: Refused("bad") if of[0].id in bad else None)
    made = rig.courier(sink, on_give_up="dead_letter")
    rig.find(4)
    assert eventually(lambda: made.is_done(4))
    letters = dead_letters(rig.store, "it")
    assert [letter.id for letter in letters.values()] == ["s2", "s4"]
    assert (made.position.dead, sink.ids) == (2, ["s1", "s3"])

    bad.remove("s2")
    rig.store.ask(asked("it"), encoded(Ask("retry", "now")))

    assert eventually(lambda: ask_of(rig.store, "it") is None)
    assert sink.ids == ["s1", "s3", "s2"]
    assert [letter.id for letter in dead_letters(rig.store, "it").values()] == ["s4"]
    assert made.position.dead == 1


# What people ask.


def test_a_skip_passes_over_the_signal_that_it_names_and_no_other(rig: Rig) -> None:
    sink = Scripted(lambda n, of: Failed("no") if of[0].id == "s1" else None)
    made = rig.courier(sink)
    rig.find(3)
    assert eventually(lambda: made.position.failing_id == "s1")

    for name in ("s2", "s1", "s1"):
        rig.store.ask(asked("it"), encoded(Ask("skip", "now", "old news", name)))
        assert eventually(lambda: ask_of(rig.store, "it") is None)

    assert eventually(lambda: made.is_done(3))
    assert sink.ids == ["s2", "s3"]
    assert made.position.skipped == 1
    said = [why for kind, why in rig.told if kind == "sink.skipped"]
    assert said[0] == "sink it: skipped nothing, as s2 was done with: old news"
    assert said[1] == "sink it: skipped s1: old news"


def test_all_that_waits_can_be_skipped(rig: Rig) -> None:
    sink = Scripted(lambda n, of: Failed("no") if n < 3 else None)
    sink.plan = lambda n, of: Failed("no")
    made = rig.courier(sink)
    rig.find(4)
    assert eventually(lambda: made.position.failing_id == "s1")

    until = rig.store.last_signal()
    rig.store.ask(asked("it"), encoded(Ask("skip", "now", "old", until=until, until_count=4)))
    sink.plan = takes_all
    assert eventually(lambda: made.position.skipped > 0 or sink.ids != [])
    rig.find(1)

    assert eventually(lambda: made.is_done(5))
    assert made.position.skipped + len(sink.ids) == 5
    assert sink.ids[-1] == "s5"


def test_a_dead_letter_can_be_skipped(rig: Rig) -> None:
    made = rig.courier(Scripted(lambda n, of: Refused("bad")), on_give_up="dead_letter")
    rig.find(2)
    assert eventually(lambda: made.position.dead == 2)

    rig.store.ask(asked("it"), encoded(Ask("skip", "now", "known", "s1")))

    assert eventually(lambda: made.position.dead == 1)
    assert [letter.id for letter in dead_letters(rig.store, "it").values()] == ["s2"]


# Digests, rates and age.


def test_a_digest_waits_for_more_and_has_no_more_than_its_most(rig: Rig) -> None:
    sink = Scripted(takes_all)
    made = rig.courier(sink, digest={"window": "1h", "max": 3})
    rig.find(2)
    assert not made.has_ended(0.1)
    assert sink.took == []

    rig.find(5)
    assert eventually(lambda: len(sink.took) == 2)
    rig.store.ask(asked("it"), encoded(Ask("flush", "now")))

    assert eventually(lambda: made.is_done(7))
    assert sink.took == [["s1", "s2", "s3"], ["s4", "s5", "s6"], ["s7"]]


def test_five_hundred_at_once_reach_a_chat_that_takes_few_messages_in_few_of_them(rig: Rig) -> None:
    sink = Scripted(lambda n, of: Failed("busy", after_seconds=0.01) if n % 6 == 5 else None)
    made = rig.courier(sink, digest={"window": "5ms", "max": 20})

    ids = rig.find(500)

    assert eventually(lambda: made.is_done(500))
    assert sink.ids == ids
    assert len(sink.took) == 25


def test_a_digest_goes_when_its_window_is_over(rig: Rig) -> None:
    sink = Scripted(takes_all)
    rig.courier(sink, digest={"window": "20ms", "max": 50})

    rig.find(4)

    assert eventually(lambda: sum(map(len, sink.took)) == 4)


def test_a_digest_under_way_is_sent_again_as_it_was_though_more_has_come(rig: Rig) -> None:
    failing = Scripted(lambda n, of: Failed("no answer"))
    rig.courier(failing, digest={"window": "1ms", "max": 50})
    rig.find(3)
    assert eventually(lambda: len(failing.given) > 1)
    rig.stop()
    first = failing.given[-1]
    rig.find(4)

    sink = Scripted(takes_all)
    rig.courier(sink, digest={"window": "1ms", "max": 50})

    assert eventually(lambda: sum(map(len, sink.took)) >= 4)
    assert sink.took[0] == first


def test_a_rate_holds_and_signals_are_sent_one_by_one(rig: Rig) -> None:
    sink = Scripted(takes_all, at_once=100)
    made = rig.courier(sink, rate="2/h")

    rig.find(5)

    assert eventually(lambda: len(sink.took) == 2)
    assert not made.has_ended(0.1)
    assert sink.took == [["s1"], ["s2"]]


@given(
    st.integers(1, 5),
    st.lists(st.floats(0, 3, allow_nan=False), min_size=1, max_size=60),
)
def test_in_no_stretch_of_that_length_go_more_than_the_rate_says(
    count: int, rests: list[float]
) -> None:
    paced = Paced(values.Rate(count, values.Duration(2 * 10**9)))
    now, went = 1000.0, []
    for rest in rests:
        now += rest
        now += paced.wait_seconds(Monotonic(now))
        paced.goes(Monotonic(now))
        went.append(now)

    for first, last in zip(went, went[count:], strict=False):
        assert last - first >= 2 - 1e-9


def test_backfilled_signals_that_are_too_old_are_passed_over(rig: Rig) -> None:
    rig.age = lambda known: 3600.0 if known.hour == 9 else 5.0
    sink = Scripted(takes_all, at_once=10)
    made = rig.courier(sink)
    rig.find(2, backfilled=True, known_at="2025-08-26T09:00:00Z")
    rig.find(1, backfilled=True, known_at="2025-08-26T10:00:00Z")
    rig.find(2, backfilled=True, known_at="2025-08-26T09:00:00.123456789Z")

    rig.find(1, backfilled=False, known_at="2025-08-26T09:00:00Z")

    assert eventually(lambda: made.is_done(6))
    assert sink.ids == ["s3", "s6"]
    assert (made.position.old, made.position.count) == (4, 6)


def test_a_sink_gets_the_kinds_of_signals_that_it_asks_for(rig: Rig) -> None:
    breakouts, retests = Scripted(takes_all, at_once=10), Scripted(takes_all, at_once=10)
    first = rig.courier(breakouts, name="orders", kinds=["breakout"])
    second = rig.courier(retests, name="adds", kinds=["retest"])
    rig.find(1)  # of before there were kinds
    rig.find(1, kind="retest", of="s1")
    rig.find(1, kind="closed_beyond", of="s1")

    rig.find(2, kind="breakout", of=None)

    assert eventually(lambda: first.is_done(5) and second.is_done(5))
    assert breakouts.ids == ["s1", "s4", "s5"]
    assert retests.ids == ["s2"]
    assert [(made.position.count, made.position.old) for made in (first, second)] == [(5, 0)] * 2


# The end.


def test_a_courier_that_waits_ends_at_once(rig: Rig) -> None:
    sink = Scripted(lambda n, of: Failed("later", after_seconds=3600))
    made = rig.courier(sink)
    rig.find(1)
    assert eventually(lambda: made.position.tries == 1)

    rig.stop()

    assert sink.closed == 1
    kept = position_of(rig.store, "it")
    assert kept is not None
    assert (kept.error, kept.count) == ("later", 0)


def test_no_thread_of_a_sink_is_left(rig: Rig) -> None:
    rig.courier(Scripted(takes_all))
    rig.find(1)

    rig.stop()

    assert [t.name for t in threading.enumerate() if t.name.startswith("openbell-sink")] == []


@settings(max_examples=25, deadline=None)
@given(
    at_once=st.integers(1, 4),
    digest=st.booleans(),
    fails=st.lists(st.booleans(), max_size=30),
    stops=st.lists(st.integers(0, 6), max_size=4),
    finds=st.lists(st.integers(1, 7), min_size=1, max_size=5),
)
def test_whatever_fails_and_is_stopped_each_signal_comes_and_first_times_are_in_order(
    at_once: int, digest: bool, fails: list[bool], stops: list[int], finds: list[int]
) -> None:
    left = iter(fails)

    def plan(_: int, __: Sequence[Message]) -> BaseException | None:
        return Failed("drawn") if next(left, False) else None

    def attempts(made: Courier, sink: Scripted, wanted: int | None) -> None:
        """Until so many deliveries were tried, or all is done."""
        assert eventually(
            lambda: (
                made.is_done(len(expected)) or (wanted is not None and len(sink.given) >= wanted)
            )
        )

    rig = Rig()
    rig.courier(Scripted(takes_all), starts=False)
    keys: dict[str, Any] = {"digest": {"window": "1ms", "max": 3}} if digest else {}
    stopping = iter(stops)
    expected: list[str] = []
    came: list[str] = []
    for count in [*finds, 0]:
        sink = Scripted(plan, at_once)
        made = rig.courier(sink, **keys)
        before = made.position
        expected += rig.find(count) if count else []
        wanted = next(stopping, None) if count else None
        attempts(made, sink, wanted)
        rig.stop()
        came += sink.ids
        if wanted:
            # As a kill leaves it: nothing of what was delivered had been saved.
            rig.store.keep(rig.fence, {"sink it": encoded(before)})

    assert list(dict.fromkeys(came)) == expected
