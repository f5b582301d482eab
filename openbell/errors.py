"""What openbell raises.

OpenbellError
├── InputError          wrong usage or input; the command line exits with 2
│   ├── ConfigError     a configuration that can't be used: names the file and the key
│   ├── DataError       a source that can't be used: names the file, row or column
│   └── CalendarError   an exchange or a date that no calendar covers
├── RunError            a failure while running; the command line exits with 1
│   ├── DayFailed       the day is in ERROR; what was complete stays; exits with 3
│   ├── LoginRefused    raised by a feed: it is run again when the login was renewed
│   ├── FeedSilent      the feed stays silent, and `feed.silent` is `exit`; exits with 5
│   └── FeedFull        as many rows wait to be taken as may; nothing of these was taken
├── ReplayError         a replay that comes to something else than was committed
└── StoreError          a store that refuses or can't be reached; further kinds are in
    │                   openbell.adapters.stores
    └── LeaseLost       another process has the lease; exits with 4
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_at_the_command_line = False


@contextmanager
def at_the_command_line() -> Iterator[None]:
    """Have ways out of an error spelled as options; without it, as a program writes them."""
    global _at_the_command_line
    before, _at_the_command_line = _at_the_command_line, True
    try:
        yield
    finally:
        _at_the_command_line = before


def way_out(command: str, library: str) -> str:
    """What to do, in the words of the door through which openbell was entered."""
    return command if _at_the_command_line else library


class OpenbellError(Exception):
    """Base of all errors that openbell raises on purpose; its text is meant for people."""


class InputError(OpenbellError):
    """Wrong usage or input."""


class ConfigError(InputError):
    """A configuration that can't be used."""


class DataError(InputError):
    """A source of data that can't be used; its text is one line, whatever a file's names hold."""

    def __init__(self, text: str) -> None:
        line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        # What to do stands at the end.
        super().__init__(line if len(line) <= 2_000 else f"{line[:1_400]} … {line[-500:]}")


class CalendarError(InputError):
    """An exchange or a date that no calendar covers."""


class RunError(OpenbellError):
    """A failure while running."""


class DayFailed(RunError):
    """The trading day is in ERROR: its data can't be had, or nothing can follow it."""


class FeedSilent(RunError):
    """The feed stays silent although it was connected anew; all up to here is committed."""


class LoginRefused(RunError):
    """A feed's login is not accepted, and it did not wait for that itself: it is run again when the
    login was renewed, and not before."""


class FeedFull(RunError):
    """As many pushed rows wait as may; nothing of what was pushed with this call was taken."""


class ReplayError(OpenbellError):
    """Steps given again come to something else than was committed: the text says what differs."""


class StoreError(OpenbellError):
    """A store that refuses, or can't be reached."""


class LeaseLost(StoreError):
    """The lease is somebody else's: refused at the start, or lost on the way."""
