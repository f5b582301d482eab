"""An actor that is given a day's rows together, however many steps they came in.

For runs of which nobody sees anything before a day is over: a scan inside the day ends a step there,
and what takes hardly longer for a day than for an hour would be done once more for each. Rows may be
cut anywhere without changing an answer, so they may be put together again as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from openbell.actors.effects import Actor, Effects
from openbell.actors.states import changed
from openbell.market.bars import rows_joined
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.insertion import Inserted, LevelsAdded, SymbolsRemoved
from openbell.messages.session import DayCleared, DayOpened

S = TypeVar("S")

OTHER_SYMBOLS = (LevelsAdded, Inserted, SymbolsRemoved)
"""What comes before these is of the symbols of before."""


@dataclass(frozen=True, eq=False)
class Holding(Generic[S]):
    """An actor's state, and rows of its day that it has not been given."""

    of: S
    closes_ns: int = 0
    waiting: tuple[Batch, ...] = ()


def holding(actor: Actor[S]) -> Actor[Holding[S]]:
    """The same actor, given rows when its day is over or other symbols come to be watched.

    Not for runs that write states: what is held is no part of what they write.
    """
    return Actor(actor.name, Holding(actor.initial), partial(update, actor), actor.hears)


def update(actor: Actor[S], state: Holding[S], message: Message) -> tuple[Holding[S], Effects]:
    before: Effects = ()
    match message:
        case Batch() as batch if batch.watermark_ns < state.closes_ns:
            return changed(state, waiting=(*state.waiting, batch)), ()
        case Batch() as batch if state.waiting:
            message = together((*state.waiting, batch))
            state = changed(state, waiting=())
        case DayOpened() as opened:
            state = changed(state, closes_ns=opened.day.close_ns, waiting=())
        case DayCleared():
            state = changed(state, waiting=())
        case _ if state.waiting and isinstance(message, OTHER_SYMBOLS):
            so_far, before = actor.update(state.of, together(state.waiting))
            state = changed(state, of=so_far, waiting=())
    of, effects = actor.update(state.of, message)
    return changed(state, of=of), (*before, *effects)


def together(batches: tuple[Batch, ...]) -> Batch:
    """Batches that follow each other, of stored rows, as one."""
    first, last = batches[0], batches[-1]
    if first is last:
        return first
    rows = rows_joined([batch.rows for batch in batches])
    return last.model_copy(update={"rows": rows, "passed_ns": first.passed_ns})
