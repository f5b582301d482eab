"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail", "skip"]
"""`skip`: it could not be looked at here, and why stands beside it."""


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    about: str
    """What was looked at, in a word."""
    said: str
    """What was found, in one sentence."""
    mend: str = ""
    """What to do about it; empty where nothing has to be done."""


def ok(about: str, said: str) -> Finding:
    return Finding("ok", about, said)


def warn(about: str, said: str, mend: str) -> Finding:
    return Finding("warn", about, said, mend)


def fail(about: str, said: str, mend: str) -> Finding:
    return Finding("fail", about, said, mend)


def skip(about: str, said: str, mend: str = "") -> Finding:
    return Finding("skip", about, said, mend)


def of_error(about: str, error: BaseException) -> Finding:
    """Errors of openbell's own say what to do behind their first semicolon."""
    said, _, mend = (str(error) or type(error).__name__).partition("; ")
    return fail(about, said, mend or "mend that, and ask again")
