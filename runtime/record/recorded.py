"""Which trading days the step log has, found without walking over it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any, cast

from openbell.adapters.stores import Step, Store


@dataclass(frozen=True, slots=True)
class Stretch:
    """The steps of one trading day."""

    trading_date: date
    first: int
    """Number of its first step, or of the first one that is kept."""
    last: int


Ask = Callable[[Callable[[], Any]], Any]
"""Calls a store and gives what it answers; may call it again where it does not answer."""


def stretches(store: Store, ask: Ask = lambda call: call()) -> tuple[Stretch, ...]:
    """The days of the step log, oldest first; none where there is none.

    A later step is never of an earlier day: where each day ends is found by bisection, with some
    twenty looks into a log of a million steps. Each of them is asked for by itself: a store that
    answers only now and then would never answer all of them in a row.
    """
    end: int = ask(store.head).step
    if not end:
        return ()
    step: Step = ask(lambda: next(iter(store.steps())))
    found: list[Stretch] = []
    while True:
        first, today = step.number, step.trading_date
        after = range(first + 1, end + 1)
        last = first + bisect_left(
            after, True, key=lambda number: _step(store, number, ask).trading_date != today
        )
        found.append(Stretch(today, first, last))
        if last == end:
            return tuple(found)
        step = _step(store, last + 1, ask)


def _step(store: Store, number: int, ask: Ask) -> Step:
    (step,) = ask(lambda: list(store.steps(after=number - 1, until=number)))
    return cast(Step, step)
