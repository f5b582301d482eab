"""The next state of an actor, made from the one before."""

from __future__ import annotations

from typing import Any, TypeVar

S = TypeVar("S")


def changed(state: S, **fields: Any) -> S:
    """A state with some of its fields replaced, as `dataclasses.replace` makes it.

    That one reads and sets field after field, which takes longer than most of a live step's work;
    here only what changes is touched. For frozen dataclasses without slots and without a
    `__post_init__`.

    Raises
    ------
    TypeError
        If the state has no such field.
    """
    before: dict[str, Any] = state.__dict__
    after = object.__new__(type(state))
    values: dict[str, Any] = after.__dict__
    values.update(before, **fields)
    if len(values) != len(before):
        raise TypeError(f"{type(state).__name__} has no {', '.join(fields.keys() - before)}")
    return after
