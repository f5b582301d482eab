"""A log of a store as a command prints it: as far as it goes, or followed until a signal comes."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Generic, NamedTuple, TypeVar

from openbell.errors import InputError, StoreError
from openbell.runtime.cli.exits import Interrupted
from openbell.runtime.cli.words import complain

FOLLOW_SECONDS = 0.2
"""How often the store is asked for more."""

Entry = TypeVar("Entry")


class Lines(NamedTuple, Generic[Entry]):
    """How entries are printed."""

    header: str | None
    """Printed before the first line."""
    line: Callable[[str, Entry], str | None]
    """Of a cursor and its entry; None: one that was not asked for."""


def print_log(
    what: str,
    begin: Callable[[], Lines[Entry]],
    read: Callable[[str | None], Iterable[tuple[str, Entry]]],
    after: str | None,
    *,
    follow: bool,
) -> None:
    """Print what comes after a cursor, each entry once and whole.

    Parameters
    ----------
    what : str
        What the log is of.
    begin : callable
        Asked once, when the store answers.
    read : callable
        The entries after a cursor, each with its own.

    Raises
    ------
    InputError, StoreError
        If the log has no such cursor, or has it no more.
    Interrupted
        If Ctrl-C ended it; after SIGTERM it returns. Either way it was said how far it was read.
    """
    from openbell.adapters.stores import Unavailable

    asked, away = after, False
    lines: Lines[Entry] | None = None
    header: str | None = None
    with _until_a_signal(follow) as ending:
        try:
            while True:
                try:
                    if lines is None:
                        lines = begin()
                        header = lines.header
                    for cursor, entry in read(after):
                        with ending.put_off():
                            after = cursor
                            if (line := lines.line(cursor, entry)) is None:
                                continue
                            if header is not None:
                                print(header)
                                header = None
                            print(line)
                    away = False
                except Unavailable as error:
                    if not follow:
                        raise
                    if not away:
                        complain(f"{error}; asking again until it answers")
                    away = True
                if not follow:
                    return
                sys.stdout.flush()
                time.sleep(FOLLOW_SECONDS)
        except ValueError as error:
            if after != asked:
                raise StoreError(
                    f"the log of {what} has no {after} any more: its state was deleted or begun "
                    "anew; start again to have it from its beginning"
                ) from None
            raise InputError(f"--after {after}: {error}") from None
        except _Ended as ended:
            sys.stdout.flush()
            read_up_to = f"read up to {after}; --after {after} goes on" if after else "nothing read"
            if ended.by == signal.SIGINT:
                raise Interrupted(f"interrupted: {read_up_to}") from None
            complain(f"stopped: {read_up_to}")


class _Ended(Exception):
    def __init__(self, by: int) -> None:
        super().__init__(by)
        self.by = by


class _Ending:
    """Ends what is under way when a signal comes, but never inside a line."""

    def __init__(self) -> None:
        self._by: int | None = None
        self._puts_off = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._by = number
        if not self._puts_off:
            raise _Ended(number)

    @contextmanager
    def put_off(self) -> Iterator[None]:
        self._puts_off = True
        try:
            yield
        finally:
            self._puts_off = False
        if self._by is not None:
            raise _Ended(self._by)


@contextmanager
def _until_a_signal(follow: bool) -> Iterator[_Ending]:
    ending = _Ending()
    before = (
        {number: signal.signal(number, ending) for number in (signal.SIGINT, signal.SIGTERM)}
        if follow
        else {}
    )
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
