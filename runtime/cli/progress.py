"""How far a command is, for who waits for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Protocol

from openbell.runtime.cli.words import complain


class OnDay(Protocol):
    """What a command tells about how far it is."""

    def __call__(self, day: date | None, done: int, total: int, rows: int) -> None: ...

    def before(self, what: str) -> None:
        """Say what is done, or waited for, before there are days to count."""
        ...

    def note(self, text: str) -> None:
        """Say something beside the bar."""
        ...


class Silent:
    """Where there is no terminal, or log lines go there; notes are worth a line all the same."""

    def __call__(self, day: date | None, done: int, total: int, rows: int) -> None:
        pass

    def before(self, what: str) -> None:
        pass

    def note(self, text: str) -> None:
        complain(text)


@contextmanager
def progress(
    unit: str = "days", *, quiet: bool = False, waits: Callable[[], str] = lambda: ""
) -> Iterator[OnDay]:
    """A progress bar on stderr; nothing where that is no terminal or log lines go there.

    Parameters
    ----------
    waits : callable
        Asked several times a second what else there is to say.
    """
    if quiet or not sys.stderr.isatty():
        yield Silent()
        return
    from openbell.runtime.cli.bar import progress_bar

    with progress_bar(unit, waits) as advance:
        yield advance
