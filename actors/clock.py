"""Owns market time: grants one step after another, and lets nothing else in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from openbell.actors.effects import Actor, Await, Effects, Finish, Publish
from openbell.messages.base import Message
from openbell.messages.control import Input, Loaded, Pause, Resume, Roll, Start
from openbell.messages.session import AwaitLoad, DayOpened, RunEnded
from openbell.messages.time import Grant, Reached

NAME = "clock"


@dataclass(frozen=True, slots=True)
class State:
    """Between two grants, or in the middle of a step."""

    step: int = 0
    now_ns: int = 0
    """Market time that the last grant reached."""
    in_step: bool = False
    """A grant is out and not everyone has reached."""
    agenda: tuple[int, ...] = ()
    """Boundaries of the day still to come, ascending."""
    tokens: frozenset[str] = frozenset()
    """Who holds the clock; it grants when nobody does."""
    inputs: tuple[Input, ...] = ()
    """What came in from outside and waits for the next grant."""
    awaiting: date | None = None
    """The date without whose rows time can't go on."""
    waiting: bool = False
    """Whether the runtime was asked to say when they are there."""
    ended: bool = False


def clock() -> Actor[State]:
    """The clock; its market time begins with the first trading day's open."""
    return Actor(
        NAME,
        State(),
        update,
        frozenset({Start, Loaded, Pause, Resume, AwaitLoad, DayOpened, RunEnded, Reached}),
    )


def update(state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case Start(days=days):
            first = days[0].open_ns if days else 0
            return _granted(replace(state, now_ns=first, inputs=(*state.inputs, message)))
        case Loaded():
            return _granted(
                replace(state, inputs=(*state.inputs, message), awaiting=None, waiting=False)
            )
        case Pause(token=token):
            return replace(state, tokens=state.tokens | {token}), ()
        case Resume(token=token):
            return _granted(replace(state, tokens=state.tokens - {token}))
        case AwaitLoad(date=day):
            return replace(state, awaiting=day), ()
        case DayOpened(day=day, boundaries=boundaries):
            return replace(state, now_ns=day.open_ns, agenda=boundaries), ()
        case RunEnded():
            return replace(state, ended=True), ()
        case Reached(step=step) if step == state.step:
            return _granted(replace(state, in_step=False))
        case _:
            raise ValueError(f"clock at step {state.step}: unexpected {message!r}")


def _granted(state: State) -> tuple[State, Effects]:
    """The next grant, if the clock may give one."""
    if state.in_step or state.tokens or (state.step == 0 and not state.inputs):
        return state, ()
    if state.inputs:
        return _grant(state, state.now_ns, state.inputs)
    if state.ended:
        return state, (Finish(),)
    if state.agenda:
        return _grant(replace(state, agenda=state.agenda[1:]), state.agenda[0], ())
    if state.awaiting is None:
        return _grant(state, state.now_ns, (Roll(),))
    if state.waiting:
        return state, ()
    return replace(state, waiting=True), (Await(state.awaiting),)


def _grant(state: State, until_ns: int, inputs: tuple[Input, ...]) -> tuple[State, Effects]:
    step = state.step + 1
    grant = Grant(step=step, from_ns=state.now_ns, until_ns=until_ns, inputs=inputs)
    after = replace(state, step=step, now_ns=until_ns, in_step=True, inputs=())
    return after, (Publish(grant), Publish(Reached(step=step, sender=NAME)))
