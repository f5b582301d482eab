"""The barrier that ends a step, with actors that only take notes."""

from __future__ import annotations

from itertools import permutations

import pytest

from openbell.actors.effects import Actor, Effects, Finish, Publish
from openbell.messages.base import Message
from openbell.messages.time import Reached
from openbell.runtime.kernel.cells import ActorFailed, Cell, Letter, cells
from openbell.runtime.kernel.wiring import Wiring


class Said(Message):
    word: str


class Unheard(Message):
    pass


Notes = tuple[str, ...]

WIRES = Wiring(
    downstream={"first": ("left", "right"), "left": ("last",), "right": ("last",), "last": ()},
    upstream={"first": (), "left": ("first",), "right": ("first",), "last": ("left", "right")},
    back={"last": ("first",)},
)


def noted(state: Notes, message: Message) -> tuple[Notes, Effects]:
    match message:
        case Said(word="fail"):
            raise RuntimeError("no more")
        case Said(word="finish"):
            return (*state, "finish"), (Finish(),)
        case Said(word=word):
            return (*state, word), (Publish(Said(word=word.upper())), Publish(Unheard()))
        case _:
            return (*state, type(message).__name__), ()


def notebook(name: str, *, hears_reached: bool = True) -> Actor[Notes]:
    hears: set[type[Message]] = {Said, Reached} if hears_reached else {Said}
    return Actor(name, (), noted, frozenset(hears))


def troupe() -> dict[str, Cell]:
    return cells(tuple(notebook(name) for name in WIRES.downstream), WIRES)


LETTERS = (
    Letter("left", "last", Said(word="a")),
    Letter("left", "last", Said(word="b")),
    Letter("left", "last", Reached(step=1, sender="left")),
    Letter("right", "last", Said(word="c")),
    Letter("right", "last", Reached(step=1, sender="right")),
)


def keeps_connections(order: tuple[Letter, ...]) -> bool:
    """Whether letters of one sender come in the order sent."""
    return all(
        [letter for letter in order if letter.sender == sender]
        == [letter for letter in LETTERS if letter.sender == sender]
        for sender in ("left", "right")
    )


def test_an_actor_hears_sender_by_sender_whatever_order_letters_come_in() -> None:
    orders = [order for order in permutations(LETTERS) if keeps_connections(order)]
    assert len(orders) == 10

    for order in orders:
        last = troupe()["last"]
        outcomes = [last.receive(letter) for letter in order]

        assert last.state == ("a", "b", "c", "Reached")
        assert all(not outcome.letters for outcome in outcomes[:-1])
        assert last.idle


def test_nothing_is_heard_before_all_upstream_have_reached() -> None:
    last = troupe()["last"]

    for letter in LETTERS[:-1]:
        last.receive(letter)
        assert last.state == ()
        assert not last.idle


def test_a_step_leaves_nothing_for_the_next() -> None:
    last = troupe()["last"]
    for step in (1, 2):
        for sender in ("right", "left"):
            last.receive(Letter(sender, "last", Said(word=f"{sender}{step}")))
            outcome = last.receive(Letter(sender, "last", Reached(step=step, sender=sender)))

    assert last.state == ("left1", "right1", "Reached", "left2", "right2", "Reached")
    assert last.step == 2
    assert outcome.letters[-1].message == Reached(step=2, sender="last")


def test_what_is_published_goes_to_those_downstream_who_hear_it_then_reached_to_all() -> None:
    left = troupe()["left"]
    left.receive(Letter("first", "left", Said(word="a")))

    outcome = left.receive(Letter("first", "left", Reached(step=1, sender="first")))

    assert outcome.letters == [
        Letter("left", "last", Said(word="A")),
        Letter("left", "last", Reached(step=1, sender="left")),
    ]
    assert outcome.effects == []


def test_the_last_one_tells_the_first_that_the_step_is_over() -> None:
    last = troupe()["last"]
    for letter in LETTERS:
        outcome = last.receive(letter)

    assert outcome.letters[-1] == Letter("last", "first", Reached(step=1, sender="last"))
    assert {letter.receiver for letter in outcome.letters} == {"first"}


def test_the_first_one_waits_for_nobody() -> None:
    first = troupe()["first"]

    outcome = first.receive(Letter("outside", "first", Said(word="a")))

    assert first.state == ("a",)
    assert [letter.receiver for letter in outcome.letters] == ["left", "right"]
    assert first.idle


def test_what_isnt_published_is_left_to_the_runtime() -> None:
    outcome = troupe()["first"].receive(Letter("outside", "first", Said(word="finish")))

    assert outcome.effects == [Finish()]
    assert outcome.letters == []


def test_an_actor_that_does_not_hear_reached_is_spared_it() -> None:
    wires = Wiring({"a": ("b",), "b": ()}, {"a": (), "b": ("a",)}, {"b": ("a",)})
    deaf = Cell(notebook("b", hears_reached=False), wires, {"a": frozenset({Said})})

    deaf.receive(Letter("a", "b", Said(word="x")))
    outcome = deaf.receive(Letter("a", "b", Reached(step=1, sender="a")))

    assert deaf.state == ("x",)
    assert outcome.letters[-1].message == Reached(step=1, sender="b")


def test_a_failure_names_the_actor_the_step_and_the_message() -> None:
    last = troupe()["last"]
    last.receive(Letter("left", "last", Said(word="a")))
    last.receive(Letter("left", "last", Reached(step=7, sender="left")))
    last.receive(Letter("right", "last", Said(word="fail")))

    with pytest.raises(ActorFailed, match="last failed at step 7 on Said") as caught:
        last.receive(Letter("right", "last", Reached(step=7, sender="right")))

    assert (caught.value.actor, caught.value.step) == ("last", 7)
    assert caught.value.message == Said(word="fail")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_failure_of_the_first_one_names_the_step_that_it_heard_of_last() -> None:
    first = troupe()["first"]
    first.receive(Letter("last", "first", Reached(step=4, sender="last")))

    with pytest.raises(ActorFailed, match="first failed at step 4 on Said"):
        first.receive(Letter("outside", "first", Said(word="fail")))
