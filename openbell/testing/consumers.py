"""Kills of what a test's author has built on openbell, one at each of its steps."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import CodeType, FrameType
from typing import Any

from openbell.testing.faults import Killed


@dataclass
class Kill:
    """One kill of a consumer, at its n-th step; `kills` gives them in turn."""

    step: int
    """From 1 on; a step is a line of the consumer's file that is about to run."""
    place: str | None = field(default=None, init=False)
    """Where it fell, as `bot.py:12`; None: the consumer ended before."""
    _used: bool = field(default=False, init=False, repr=False)

    def during(self, consumer: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call a consumer, end it at this step, and call it again, to its end.

        What it had in its variables is lost between the two, what it had put elsewhere isn't. Its
        steps are those of the file that it is written in, whatever the functions that it calls
        there. What stands in `finally` and `__exit__` runs at its end, as it does not after
        `kill -9`.

        Raises
        ------
        TypeError
            If the consumer is no Python code, so that nothing can be seen of its steps.
        """
        file = _code(consumer).co_filename
        left = self.step
        self._used = True

        def at_step(frame: FrameType, event: str, argument: object) -> Any:
            nonlocal left
            if frame.f_code.co_filename != file:
                return None
            if event == "line":
                left -= 1
                if not left:
                    self.place = f"{file.rpartition('/')[2]}:{frame.f_lineno}"
                    raise Killed
            return at_step

        before = sys.gettrace()
        sys.settrace(at_step)
        try:
            consumer(*args, **kwargs)
            return
        except Killed:
            if self.place is None:
                raise
        finally:
            sys.settrace(before)
        consumer(*args, **kwargs)

    def __str__(self) -> str:
        return f"killed at step {self.step}, {self.place or 'after its end'}"


def kills() -> Iterator[Kill]:
    """A kill for each step of a consumer; the last one finds it at its end.

    Yields
    ------
    Kill
        To be used for one call of `during`; what the consumer acts on is to be new each time.

    Raises
    ------
    RuntimeError
        If one was not used: there would be no end.
    """
    step = 1
    while True:
        kill = Kill(step)
        yield kill
        if not kill._used:
            raise RuntimeError("call `during` of each kill once, with the consumer to be killed")
        if kill.place is None:
            return
        step += 1


def _code(consumer: Callable[..., object]) -> CodeType:
    called: Any = consumer
    while isinstance(called, partial):
        called = called.func
    called = inspect.unwrap(called)
    if not inspect.isroutine(called) and not isinstance(called, type):
        called = type(called).__call__
    code = getattr(called, "__code__", None)
    if not isinstance(code, CodeType):
        raise TypeError(f"{consumer!r} is no function of Python; its steps can't be seen")
    return code
