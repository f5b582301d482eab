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


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class DataKind(StrEnum):
    BARS = "bars"
    TICKS = "ticks"


ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration's file.", metavar="FILE")
]
From = Annotated[
    str | None, typer.Option("--from", help="First day, e.g. 2024-07-01.", metavar="DATE")
]
To = Annotated[str | None, typer.Option("--to", help="Last day.", metavar="DATE")]
Exchange = Annotated[
    str | None, typer.Option(help="Whose calendar is followed, e.g. XNYS.", metavar="NAME")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="The store, instead of a file.", metavar="URL")
]
Name = Annotated[
    str | None, typer.Option(help="With --store: whose state; `default` if there is none.")
]
Day = Annotated[str | None, typer.Option("--date", help="One trading day.", metavar="DATE")]
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
