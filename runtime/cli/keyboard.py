"""Single keys from a terminal while something runs; the terminal is given back as it was."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

try:
    import termios
    import tty
except ImportError:  # Windows
    CAN_READ_KEYS = False
else:
    CAN_READ_KEYS = True


def has_keys(terminal: TextIO) -> bool:
    """Whether keys can be read there: a terminal, and this process is in its foreground."""
    if not CAN_READ_KEYS:
        return False
    try:
        # Whoever changes a terminal from the background is stopped by the system.
        return terminal.isatty() and os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


@contextmanager
def reading_keys(pressed: Callable[[str], None], terminal: TextIO = sys.stdin) -> Iterator[None]:
    """Call a function, on a thread of its own, for each key pressed inside the block.

    Keys come at once and aren't shown; Ctrl-C and Ctrl-Z keep their meaning. What stands in the
    place of a letter (an arrow) comes as its single characters.

    Parameters
    ----------
    terminal
        One for which `has_keys` is true.
    """
    keyboard = terminal.fileno()
    before = termios.tcgetattr(keyboard)
    over, wake = os.pipe()
    thread = threading.Thread(
        target=_read, args=(keyboard, over, pressed), name="openbell-keyboard", daemon=True
    )
    try:
        tty.setcbreak(keyboard, termios.TCSADRAIN)
        thread.start()
        yield
    finally:
        os.write(wake, b".")
        with suppress(termios.error):  # the terminal has gone
            termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        if thread.ident is not None:
            thread.join()
        os.close(over)
        os.close(wake)


def _read(keyboard: int, over: int, pressed: Callable[[str], None]) -> None:
    while True:
        ready, _, _ = select.select([keyboard, over], [], [])
        if over in ready:
            return
        try:
            keys = os.read(keyboard, 64)
        except OSError:
            return
        if not keys:
            return
        for key in keys.decode(errors="replace"):
            pressed(key)


class Controls:
    """What keys do to a run: a blank pauses and resumes, s or . steps, q stops."""

    HELP = "space: pause, resume; s: one step; q: stop"

    def __init__(
        self,
        *,
        pause: Callable[[], None],
        resume: Callable[[], None],
        step: Callable[[], None],
        stop: Callable[[], None],
        say: Callable[[str], None],
    ) -> None:
        self._pause, self._resume, self._step, self._stop = pause, resume, step, stop
        self._say = say
        self._paused = False

    def __call__(self, key: str) -> None:
        match key.lower():
            case " ":
                self._hold(not self._paused)
            case "s" | ".":
                self._hold(True)
                self._step()
            case "q":
                self._say("stopping")
                self._stop()

    def _hold(self, paused: bool) -> None:
        if paused == self._paused:
            return
        self._paused = paused
        (self._pause if paused else self._resume)()
        self._say("paused" if paused else "")
