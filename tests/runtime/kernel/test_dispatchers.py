"""The two dispatchers: the same runs, no trace left, and nothing to do with other Pykka actors."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import pykka
import pytest
from faults.crashing import wait_until
from runs import Found, MemorySource, drained, of_cases, plain, plan_of, some_days

from openbell.actors.effects import Actor, Effect, Effects, Finish, Publish
from openbell.errors import RunError
from openbell.messages.base import Message
from openbell.messages.time import Reached
from openbell.runtime.engine import Engine
from openbell.runtime.kernel.cells import ActorFailed, cells
from openbell.runtime.kernel.dispatchers import Dispatcher, Inline, Threads
from openbell.runtime.kernel.wiring import Wiring
from openbell.runtime.results.recording import Recorder

Name = Literal["inline", "threads"]

WIRES = Wiring(
    downstream={"first": ("last",), "last": ()},
    upstream={"first": (), "last": ("first",)},
    back={"last": ("first",)},
)
"""A message to `first` is one step: it is passed on to `last`, which reaches."""


class Go(Message):
    number: int


class Fail(Message):
    with_exit: bool = False


class End(Message):
    pass


@dataclass
class Pair:
    """Two actors on a dispatcher; `seen` are the numbers that the last one heard."""

    make: Callable[..., Dispatcher]
    seen: list[int] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()
        first = Actor("first", 0, self._first, frozenset({Go, Fail, End, Reached}))
        last = Actor("last", 0, self._last, frozenset({Go, Fail, End}))
        self.cells = cells((first, last), WIRES)
        self.dispatcher = self.make(self.cells, self._carry_out)

    def _first(self, step: int, message: Message) -> tuple[int, Effects]:
        if isinstance(message, Reached):
            return step, ()
        self.entered.set()
        self.gate.wait(120)
        step += 1
        return step, (Publish(message), Publish(Reached(step=step, sender="first")))

    def _last(self, count: int, message: Message) -> tuple[int, Effects]:
        match message:
            case Go(number=number):
                self.seen.append(number)
                return count + 1, ()
            case Fail(with_exit=with_exit):
                raise SystemExit(3) if with_exit else ValueError("no more")
            case _:
                return count, (Finish(),)

    def _carry_out(self, effect: Effect) -> None:
        assert effect == Finish()
        self.dispatcher.finish()


MAKES: dict[Name, Callable[..., Dispatcher]] = {"inline": Inline, "threads": Threads}


@pytest.fixture(params=["inline", "threads"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    made = Pair(MAKES[request.param])
    yield made
    made.gate.set()
    made.dispatcher.close()


@pytest.fixture
def threaded() -> Iterator[Pair]:
    made = Pair(Threads)
    yield made
    made.gate.set()
    made.dispatcher.close()


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []


class Foreign(pykka.ThreadingActor):
    """An actor of the program that embeds openbell."""

    def on_receive(self, message: Any) -> Any:
        return message


@pytest.fixture
def foreign() -> Iterator[pykka.ActorRef[Foreign]]:
    ref = Foreign.start()
    yield ref
    if ref.is_alive():
        ref.stop()


def test_messages_from_outside_are_handled_in_the_order_posted(pair: Pair) -> None:
    for number in range(100):
        pair.dispatcher.post("first", Go(number=number))
    pair.dispatcher.post("first", End())

    pair.dispatcher.run()

    assert pair.seen == list(range(100))


def test_messages_may_be_posted_by_any_thread_while_it_runs(pair: Pair) -> None:
    def post() -> None:
        for number in range(100):
            pair.dispatcher.post("first", Go(number=number))
        pair.dispatcher.post("first", End())

    poster = threading.Thread(target=post)
    poster.start()
    pair.dispatcher.run()
    poster.join()

    assert pair.seen == list(range(100))


def test_what_an_actor_raises_ends_the_run_and_says_where(pair: Pair) -> None:
    pair.dispatcher.post("first", Go(number=1))
    pair.dispatcher.post("first", Fail())

    with pytest.raises(ActorFailed, match="last failed at step 2 on Fail") as caught:
        pair.dispatcher.run()

    assert (caught.value.actor, caught.value.step) == ("last", 2)
    assert caught.value.message == Fail()
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_from_outside_ends_the_run(pair: Pair) -> None:
    pair.dispatcher.fail(OSError("the disk is gone"))

    with pytest.raises(OSError, match="the disk is gone"):
        pair.dispatcher.run()


def test_a_run_that_waits_can_be_ended(pair: Pair) -> None:
    runner = threading.Thread(target=pair.dispatcher.run)
    runner.start()

    pair.dispatcher.finish()

    runner.join(timeout=120)
    assert not runner.is_alive()


def test_stopping_overtakes_a_full_mailbox(threaded: Pair) -> None:
    threaded.gate.clear()
    for number in range(10_000):
        threaded.dispatcher.post("first", Go(number=number))
    assert threaded.entered.wait(120)
    closer = threading.Thread(target=threaded.dispatcher.close)
    closer.start()
    while not stopping(threaded):
        pass
    threaded.gate.set()
    closer.join(timeout=120)

    assert not closer.is_alive()
    assert threaded.cells["first"].state == 1
    assert threaded.seen in ([], [0])


def stopping(pair: Pair) -> bool:
    """Whether the host of `first` has been told to stop."""
    dispatcher: Any = pair.dispatcher
    return bool(dispatcher._hosts["first"].actor_inbox._control)


def test_ours_are_not_in_pykkas_registry(threaded: Pair, foreign: pykka.ActorRef[Foreign]) -> None:
    assert pykka.ActorRegistry.get_all() == [foreign]


def test_a_program_that_logs_everything_hears_nothing_of_pykka(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    ours = Pair(Threads)

    ours.dispatcher.post("first", Go(number=1))
    ours.dispatcher.post("first", End())
    ours.dispatcher.run()
    ours.dispatcher.close()

    of_ours = [record.getMessage() for record in caplog.records if record.name == "pykka"]
    assert (ours.seen, of_ours) == ([1], [])
    Foreign.start().stop()
    assert {record.name for record in caplog.records} == {"pykka"}, "it is listened to"


def test_stopping_all_pykka_actors_does_not_stop_ours(
    threaded: Pair, foreign: pykka.ActorRef[Foreign]
) -> None:
    threaded.dispatcher.post("first", Go(number=1))

    pykka.ActorRegistry.stop_all()

    assert not foreign.is_alive()
    threaded.dispatcher.post("first", Go(number=2))
    threaded.dispatcher.post("first", End())
    threaded.dispatcher.run()
    assert threaded.seen == [1, 2]


def test_an_actor_that_exits_the_program_stops_no_foreign_actor(
    threaded: Pair, foreign: pykka.ActorRef[Foreign]
) -> None:
    threaded.dispatcher.post("first", Fail(with_exit=True))

    with pytest.raises((SystemExit, ActorFailed)):
        threaded.dispatcher.run()

    assert foreign.is_alive()
    assert foreign.ask("still there", timeout=120) == "still there"


def test_closing_leaves_foreign_actors_and_other_runtimes_alone(
    threaded: Pair, foreign: pykka.ActorRef[Foreign]
) -> None:
    other = Pair(Threads)
    other.dispatcher.close()

    threaded.dispatcher.post("first", Go(number=1))
    threaded.dispatcher.post("first", End())
    threaded.dispatcher.run()

    assert threaded.seen == [1]
    assert foreign.ask(1, timeout=120) == 1


@pytest.mark.parametrize("name", ["inline", "threads"])
def test_closing_twice_is_closing_once(name: Name) -> None:
    made = Pair(MAKES[name])

    made.dispatcher.close()
    made.dispatcher.close()


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_an_engine_gives_what_the_actors_give_without_one(kind: str, dispatcher: Name) -> None:
    cases = some_days(kind)
    found = Found()
    engine = Engine(plan_of(cases), MemorySource(cases), found.recorder, dispatcher=dispatcher)

    engine.run()

    expected = drained(of_cases(cases))
    assert plain(found.days) == plain(expected.days)
    assert plain(found.recorder.log.batches()) == plain(expected.recorder.log.batches())
    assert plain(found.recorder.tally) == plain(expected.recorder.tally)


def test_two_engines_run_side_by_side_without_noticing(
    foreign: pykka.ActorRef[Foreign],
) -> None:
    kinds = ("bars", "ticks")
    founds = {kind: Found() for kind in kinds}
    engines = {
        kind: Engine(
            plan_of(some_days(kind)),
            MemorySource(some_days(kind)),
            founds[kind].recorder,
            dispatcher="threads",
        )
        for kind in kinds
    }
    assert pykka.ActorRegistry.get_all() == [foreign]

    runners = [threading.Thread(target=engine.run) for engine in engines.values()]
    for runner in runners:
        runner.start()
    pykka.ActorRegistry.stop_all()
    for runner in runners:
        runner.join(timeout=120)

    for kind, found in founds.items():
        assert plain(found.days) == plain(drained(of_cases(some_days(kind))).days)


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_what_a_sink_raises_ends_the_run(dispatcher: Name) -> None:
    class Full:
        def write_day(self, day: object) -> None:
            raise OSError("no space left")

    cases = some_days("bars")
    engine = Engine(plan_of(cases), MemorySource(cases), Recorder((Full(),)), dispatcher=dispatcher)

    with pytest.raises(OSError, match="no space left"):
        engine.run()


@pytest.mark.parametrize("dispatcher", ["inline", "threads"])
def test_an_engine_that_never_ran_leaves_no_thread(dispatcher: Name) -> None:
    cases = some_days("bars")
    engine = Engine(plan_of(cases), MemorySource(cases), Found().recorder, dispatcher=dispatcher)

    engine.close()


def test_a_step_that_can_never_end_is_an_error_and_says_who_waits_for_whom() -> None:
    wires = Wiring(
        downstream={"first": ("left", "right"), "left": ("last",), "right": ("last",), "last": ()},
        upstream={
            "first": (),
            "left": ("first",),
            "right": ("first", "lost"),
            "last": ("left", "right"),
        },
        back={},
    )

    def passed_on(state: None, message: Message) -> tuple[None, Effects]:
        reached = Reached(step=1, sender="first")
        return None, (Publish(reached),) if isinstance(message, Go) else ()

    actors = (Actor(name, None, passed_on, frozenset({Go})) for name in wires.downstream)
    inline = Inline(cells(tuple(actors), wires), lambda effect: None)
    inline.post("first", Go(number=1))

    with pytest.raises(RunError, match="right waits for lost; last waits for right; "):
        inline.run()


def test_who_asks_is_answered_on_each_thread_that_runs_actors(pair: Pair) -> None:
    answered: list[str] = []

    asked = pair.dispatcher.ask(None, lambda: answered.append(threading.current_thread().name))
    pair.dispatcher.post("first", Go(number=1))
    pair.dispatcher.post("first", End())
    pair.dispatcher.run()
    wait_until(lambda: len(answered) >= asked)

    assert len(answered) == asked == (2 if isinstance(pair.dispatcher, Threads) else 1)
    assert len(set(answered)) == asked
    assert pair.seen == [1]


def test_an_actor_that_hangs_does_not_answer(threaded: Pair) -> None:
    answered: list[str] = []
    threaded.gate.clear()
    threaded.dispatcher.post("first", Go(number=1))
    assert threaded.entered.wait(120)

    threaded.dispatcher.ask("first", lambda: answered.append("first"))
    threaded.dispatcher.ask("last", lambda: answered.append("last"))
    wait_until(lambda: len(answered) > 0)

    assert answered == ["last"]
    threaded.gate.set()
    wait_until(lambda: len(answered) == 2)
