"""What commands have in common: their options, and how their help ends."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli import completing

if TYPE_CHECKING:
    from datetime import date

    from openbell.runtime.cli.logs import Lines


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
    str | None,
    typer.Option(
        help="With --store: whose state; `default` if there is none.",
        autocompletion=completing.names,
    ),
]
Day = Annotated[str | None, typer.Option("--date", help="One trading day.", metavar="DATE")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Set a key of the configuration.", metavar="KEY=VALUE"),
]


def settable(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option --set, which counts in every configuration that it reads."""
    signature = inspect.signature(command, eval_str=True)
    option = inspect.Parameter("set_", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Set)
    parameters = [
        of.replace(kind=inspect.Parameter.KEYWORD_ONLY) for of in signature.parameters.values()
    ]

    @functools.wraps(command)
    def with_set(*, set_: list[str] | None = None, **given: Any) -> None:
        from openbell.runtime.cli.configured import setting

        with setting(set_ or ()):
            command(**given)

    with_set.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*parameters, option]
    )
    with_set.__annotations__ = {of.name: of.annotation for of in (*parameters, option)}
    return with_set


LogLevel = Annotated[
    Level | None,
    typer.Option(
        help="Log to stderr from this level on.",
        envvar="OPENBELL_LOG_LEVEL",
        show_envvar=False,
        case_sensitive=False,
    ),
]
LogJson = Annotated[
    bool,
    typer.Option(
        "--log-json",
        help="Log JSON: all of stderr, a line each.",
        envvar="OPENBELL_LOG_JSON",
        show_envvar=False,
    ),
]


def log_if_asked(level: Level | None, as_json: bool) -> Lines | None:
    """Turn the log on; what comes back writes it, and can be told which run it is."""
    if level is None and not as_json:
        return None
    from openbell.runtime.cli.logs import log_to_stderr

    return log_to_stderr((level or Level.INFO).value, as_json=as_json)


def follow_log_level(lines: Lines | None, level: str | None) -> None:
    """Have a log show what a configuration that was read again says."""
    if level is None:
        from loguru import logger

        logger.disable("openbell")
    elif lines is not None:
        lines.show(level)
    else:
        log_if_asked(Level(level), as_json=False)


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
