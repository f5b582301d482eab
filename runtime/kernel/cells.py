"""What is the same on every dispatcher: an actor, its state, and the barrier that ends a step.

A cell keeps a step's messages until every actor upstream has reached, then gives them to the
actor sender by sender in the order of the wiring. Whatever order they arrived in, the actor sees
one, which is how a step's result can't depend on threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any, NamedTuple

from openbell.actors.effects import Effect, Effects, Publish
from openbell.errors import OpenbellError
from openbell.messages.base import Message
from openbell.messages.time import Reached
from openbell.runtime.kernel.wiring import AnyActor, Wiring


class Letter(NamedTuple):
    """A message on its way from one actor (or from outside) to another."""

    sender: str
    receiver: str
    message: Message


class Said(NamedTuple):
    """A message on its way from one actor (or from outside) to all who get it."""

    sender: str
    message: Message
    receivers: tuple[str, ...]


class Outcome(NamedTuple):
    """What follows from a message: what is said to other actors, and what the runtime has to do."""

    said: list[Said]
    effects: list[Effect]

    @property
    def letters(self) -> list[Letter]:
        """What is said, a letter for each who gets it."""
        return [
            Letter(sender, receiver, message)
            for sender, message, receivers in self.said
            for receiver in receivers
        ]


NOTHING = Outcome([], [])
"""Follows from most messages, which only wait for the end of the step; nobody adds to it."""


class ActorFailed(Exception):
    """An actor raised: which one, in which step, on what."""

    def __init__(self, actor: str, step: int, message: Message) -> None:
        super().__init__(f"{actor} failed at step {step} on {type(message).__name__}")
        self.actor = actor
        self.step = step
        self.message = message


class Cell:
    """One actor with its state; not thread-safe, each belongs to one host."""

    def __init__(
        self, actor: AnyActor, wires: Wiring, heard: Mapping[str, frozenset[type[Message]]]
    ) -> None:
        self.actor = actor
        self.state = actor.initial
        self.step = 0
        self.busy = 0.0
        """Seconds spent in the actor."""
        self._upstream = wires.upstream[actor.name]
        self._receivers = (*wires.downstream[actor.name], *wires.back.get(actor.name, ()))
        self._heard = heard
        self._known_hearers: dict[type[Message], tuple[str, ...]] = {Reached: self._receivers}
        self._waiting = set(self._upstream)
        self._said: dict[str, list[Message]] = {sender: [] for sender in self._upstream}

    @property
    def kept(self) -> Any:
        """The actor's state as it is written."""
        return self.actor.kept(self.state)

    @property
    def senders(self) -> int:
        """How many have to reach before a step ends here; 0: what comes is heard at once."""
        return len(self._upstream)

    @property
    def idle(self) -> bool:
        """Whether nothing of an unfinished step is kept here."""
        return len(self._waiting) == len(self._upstream) and not any(self._said.values())

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Who upstream has not reached, in the order of the wiring."""
        return tuple(sender for sender in self._upstream if sender in self._waiting)

    def receive(self, letter: Letter) -> Outcome:
        """Take a message in; whatever follows from it.

        Raises
        ------
        ActorFailed
            If the actor raised, with what it raised as the cause; an OpenbellError is raised as
            it is.
        """
        return self.take(letter.sender, letter.message)

    def take(self, sender: str, message: Message) -> Outcome:
        """As `receive`, for who has a message without an envelope."""
        if self._upstream:
            if not isinstance(message, Reached):
                self._said[sender].append(message)
                return NOTHING
            self._waiting.discard(sender)
            return NOTHING if self._waiting else self._end_step(message.step)
        if isinstance(message, Reached):
            self.step = message.step
        outcome = Outcome([], [])
        self._update(message, outcome)
        return outcome

    def _end_step(self, step: int) -> Outcome:
        began = perf_counter()
        outcome = Outcome([], [])
        self.step = step
        for said in self._said.values():  # in the order of the wiring
            if said:
                for message in said:
                    self._update(message, outcome)
                said.clear()
        reached = Reached(step=step, sender=self.actor.name)
        if Reached in self.actor.hears:
            self._update(reached, outcome)
        self._waiting.update(self._upstream)
        self._publish(reached, outcome)
        self.busy += perf_counter() - began
        return outcome

    def _update(self, message: Message, outcome: Outcome) -> None:
        effects: Effects
        try:
            self.state, effects = self.actor.update(self.state, message)
        except OpenbellError:
            raise  # its text is meant for people as it is
        except (Exception, SystemExit) as error:
            raise ActorFailed(self.actor.name, self.step, message) from error
        for effect in effects:
            if isinstance(effect, Publish):
                self._publish(effect.message, outcome)
            else:
                outcome.effects.append(effect)

    def _publish(self, message: Message, outcome: Outcome) -> None:
        outcome.said.append(Said(self.actor.name, message, self._hearers(type(message))))

    def _hearers(self, kind: type[Message]) -> tuple[str, ...]:
        if kind not in self._known_hearers:
            self._known_hearers[kind] = tuple(
                receiver for receiver in self._receivers if kind in self._heard[receiver]
            )
        return self._known_hearers[kind]


def cells(actors: tuple[AnyActor, ...], wires: Wiring) -> dict[str, Cell]:
    """A cell for each actor, by name."""
    heard = {actor.name: actor.hears for actor in actors}
    return {actor.name: Cell(actor, wires, heard) for actor in actors}
