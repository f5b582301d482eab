"""Which trading days the step log has, found without walking over it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from datetime import date

from openbell.adapters.stores import Step, Store


@dataclass(frozen=True, slots=True)
class Stretch:
    """The steps of one trading day."""

    trading_date: date
    first: int
    """Number of its first step, or of the first one that is kept."""
    last: int


def stretches(store: Store) -> tuple[Stretch, ...]:
    """The days of the step log, oldest first; none where there is none.

    A later step is never of an earlier day: where each day ends is found by bisection, with some
    twenty looks into a log of a million steps.
    """
    end = store.head().step
    if not end:
        return ()
    step = next(iter(store.steps()))
    found: list[Stretch] = []
    while True:
        first, today = step.number, step.trading_date
        after = range(first + 1, end + 1)
        last = first + bisect_left(
            after, True, key=lambda number: _step(store, number).trading_date != today
        )
        found.append(Stretch(today, first, last))
        if last == end:
            return tuple(found)
        step = _step(store, last + 1)


def _step(store: Store, number: int) -> Step:
    (step,) = store.steps(after=number - 1, until=number)
    return step
