"""Within a step, the order in which senders are heard makes no difference to an actor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from itertools import islice, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import Window
from runs import Run, drained, of_cases, one_day, plain
from strategies import Case, cases

from openbell.actors.effects import Effect
from openbell.messages.base import Message
from openbell.messages.time import Reached
from openbell.runtime.kernel.cells import Cell, Outcome
from openbell.runtime.kernel.dispatchers import Dispatcher, Inline
from openbell.runtime.kernel.wiring import AnyActor, wiring

ORDERS_MAX = 12

Step = dict[str, list[Message]]
"""What each sender said, in its order."""


def heard(run: Run) -> dict[str, list[Step]]:
    """What every actor hears in each step, by sender in the order of the wiring."""
    upstream = wiring(run.settings.sessions).upstream
    steps: dict[str, list[Step]] = {name: [] for name in upstream}

    def overheard(cells: Mapping[str, Cell], carry_out: Any) -> Dispatcher:
        for name, cell in cells.items():
            setattr(cell, "take", _listening(cell, steps[name], upstream[name]))  # noqa: B010
        return Inline(cells, carry_out)

    drained(run, overheard)
    return steps


def _listening(cell: Cell, steps: list[Step], upstream: tuple[str, ...]) -> Any:
    take = cell.take
    waiting: set[str] = set()

    def listen(sender: str, message: Message) -> Outcome:
        if upstream:
            if not waiting:
                waiting.update(upstream)
                steps.append({sender: [] for sender in upstream})
            if isinstance(message, Reached):
                waiting.discard(sender)
            else:
                steps[-1][sender].append(message)
        return take(sender, message)

    return listen


def folded(actor: AnyActor, state: Any, messages: Iterator[Message]) -> tuple[Any, list[Effect]]:
    effects: list[Effect] = []
    for message in messages:
        state, more = actor.update(state, message)
        effects.extend(more)
    return state, effects


def is_commutative(run: Run) -> int:
    """How many steps there were in which an order could have mattered."""
    steps = heard(run)
    in_doubt = 0
    for actor in run.actors:
        state = actor.initial
        for number, step in enumerate(steps[actor.name], start=1):
            reached = [Reached(step=number, sender=actor.name)] if Reached in actor.hears else []
            speaking = [sender for sender, said in step.items() if said]
            after, effects = folded(actor, state, _in_order(step, tuple(speaking), reached))
            for order in islice(permutations(speaking), 1, ORDERS_MAX):
                in_doubt += 1
                other, of_other = folded(actor, state, _in_order(step, order, reached))
                kept = (plain(actor.kept(each)) for each in (other, after))
                assert len(set(map(repr, kept))) == 1, (actor.name, number, order)
                assert in_any_order(of_other) == in_any_order(effects), (actor.name, number, order)
            state = after
    return in_doubt


def _in_order(step: Step, order: tuple[str, ...], reached: list[Reached]) -> Iterator[Message]:
    for sender in order:
        yield from step[sender]
    yield from reached


def in_any_order(effects: list[Effect]) -> list[str]:
    return sorted(repr(plain(effect)) for effect in effects)


@given(
    case=st.one_of(cases("bars", minutes_max=40), cases("ticks", minutes_max=40)),
)
def test_no_actor_minds_the_order_of_senders(case: Case) -> None:
    is_commutative(of_cases([case]))


@pytest.mark.parametrize("interval_ns", [60_000_000_000, None])
def test_no_actor_minds_which_of_two_sessions_is_over_first(interval_ns: int | None) -> None:
    run = of_cases([two_sessions_at_once(interval_ns)])

    assert is_commutative(run) > 20


def two_sessions_at_once(interval_ns: int | None) -> Case:
    """Sessions that start and end together, two of them at the close."""
    day = one_day(date(2021, 3, 1), "bars" if interval_ns else "ticks")
    names = ("Morning", "Another", "To the close", "Last")
    ends = [("09:16", "09:20"), ("09:16", "09:20"), ("11:40", "11:59"), ("11:50", "11:59")]
    return replace(day, windows=tuple(Window(n, *w) for n, w in zip(names, ends, strict=True)))
