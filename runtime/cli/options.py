"""What commands have in common: their options, and how their help ends."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.errors import InputError

if TYPE_CHECKING:
    from datetime import date


def example(command: str) -> str:
    """The end of a command's help; the control character keeps the line whole."""
    return f"\b\nExample: {command}"


class Interrupted(Exception):
    """Ctrl-C, after a run has ended in good order."""


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration's file.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
LogLevel = Annotated[Level | None, typer.Option(help="Log to stderr from this level on.")]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log JSON lines.")]


def log_if_asked(level: Level | None, as_json: bool) -> None:
    if level is not None or as_json:
        from openbell.runtime.cli.logs import log_to_stderr

        log_to_stderr((level or Level.INFO).value, as_json=as_json)


def given_folder(given: str) -> Path:
    """What --out names; a variable that a shell script forgot to set names nothing."""
    if not given.strip():
        raise InputError('--out is ""; write the path of a folder, e.g. out/ (or . for this one)')
    return Path(given)


def given_day(flag: str, given: str | None) -> date | None:
    from openbell.runtime.config.values import parse_date

    try:
        return parse_date(given) if given is not None else None
    except ValueError as error:
        raise InputError(f'{flag} is "{given}"; {error}') from None
