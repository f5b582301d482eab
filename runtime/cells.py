"""What is the same on every dispatcher: an actor, its state, and the barrier that ends a step.

A cell keeps a step's messages until every actor upstream has reached, then gives them to the
actor sender by sender in the order of the wiring. Whatever order they arrived in, the actor sees
one, which is how a step's result can't depend on threads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from openbell.actors.effects import Effect, Effects, Publish
from openbell.errors import OpenbellError
from openbell.messages.base import Message
from openbell.messages.time import Reached
from openbell.runtime.wiring import AnyActor, Wiring


@dataclass(frozen=True, slots=True)
class Letter:
    """A message on its way from one actor (or from outside) to another."""

    sender: str
    receiver: str
    message: Message


@dataclass(slots=True)
class Outcome:
    """What follows from a message: letters to other actors, and what the runtime has to do."""

    letters: list[Letter] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)


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
        self._downstream = wires.downstream[actor.name]
        self._receivers = (*self._downstream, *wires.back.get(actor.name, ()))
        self._heard = heard
        self._waiting = set(self._upstream)
        self._said: dict[str, list[Message]] = {sender: [] for sender in self._upstream}

    @property
    def idle(self) -> bool:
        """Whether nothing of an unfinished step is kept here."""
        return len(self._waiting) == len(self._upstream) and not any(self._said.values())

    def receive(self, letter: Letter) -> Outcome:
        """Take a message in; whatever follows from it.

        Raises
        ------
        ActorFailed
            If the actor raised, with what it raised as the cause; an OpenbellError is raised as
            it is.
        """
        outcome = Outcome()
        message = letter.message
        if not self._upstream:
            self._update(message, outcome)
        elif not isinstance(message, Reached):
            self._said[letter.sender].append(message)
        else:
            self.step = message.step
            self._waiting.discard(letter.sender)
            if not self._waiting:
                began = perf_counter()
                self._end_step(message.step, outcome)
                self.busy += perf_counter() - began
        return outcome

    def _end_step(self, step: int, outcome: Outcome) -> None:
        for said in self._said.values():  # in the order of the wiring
            for message in said:
                self._update(message, outcome)
            said.clear()
        reached = Reached(step=step, sender=self.actor.name)
        if Reached in self.actor.hears:
            self._update(reached, outcome)
        self._waiting = set(self._upstream)
        for receiver in self._receivers:
            outcome.letters.append(Letter(self.actor.name, receiver, reached))

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
                kind = type(effect.message)
                outcome.letters.extend(
                    Letter(self.actor.name, receiver, effect.message)
                    for receiver in self._receivers
                    if kind is Reached or kind in self._heard[receiver]
                )
            else:
                outcome.effects.append(effect)


def cells(actors: tuple[AnyActor, ...], wires: Wiring) -> dict[str, Cell]:
    """A cell for each actor, by name."""
    heard = {actor.name: actor.hears for actor in actors}
    return {actor.name: Cell(actor, wires, heard) for actor in actors}
