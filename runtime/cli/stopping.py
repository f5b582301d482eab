"""Ctrl-C and SIGTERM, while a run is on."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openbell.runtime.api import Runtime

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Ctrl-C while a run is on: the run ends where it is and its days are kept.

    Before the run is on there is nothing to keep; and who presses it twice doesn't want to wait.
    """

    def __init__(self) -> None:
        self._runtime: Runtime | None = None

    def watch(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def stop(self) -> None:
        """Stop the run in good order; does nothing a second time."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.stop()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._runtime is None:
            raise KeyboardInterrupt
        self.stop()


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Ctrl-C and SIGTERM stop the run that is watched, and leave where none is."""
    interruption = Interruption()
    before = {number: signal.signal(number, interruption) for number in _STOPPING}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def rereadable(reread: Callable[[], None]) -> Iterator[None]:
    """SIGHUP has the configuration read again; at a terminal it ends the process, as that is gone."""
    if sys.platform == "win32" or (sys.stdin is not None and sys.stdin.isatty()):
        yield
        return
    before = signal.signal(signal.SIGHUP, lambda number, frame: reread())
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@contextmanager
def terminable() -> Iterator[list[Any]]:
    """Ctrl-C and SIGTERM end the run after the step under way; what caught them comes second."""
    caught: list[Any] = []

    def stop(number: int, frame: object) -> None:
        if not caught:
            if number == signal.SIGTERM:  # as it waits for the lease, or still begins
                raise SystemExit(0)
            raise KeyboardInterrupt
        caught.append(signal.Signals(number))
        caught[0]()

    before = {n: signal.signal(n, stop) for n in _STOPPING}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
