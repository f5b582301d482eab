"""`openbell record`: what a feed brings, recorded without sessions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.errors import ConfigError
from openbell.runtime.cli.configured import (
    configuration,
    configuration_file,
    naming,
    no_configuration,
)
from openbell.runtime.cli.options import ConfigFile, LogJson, LogLevel, given_folder, log_if_asked
from openbell.runtime.cli.run import follow
from openbell.runtime.cli.words import counted

if TYPE_CHECKING:
    from openbell.runtime.lifetime.run import DurableRun


def record(
    out: Annotated[str, typer.Option(help="Folder for the recorded days.", metavar="DIR")],
    config: ConfigFile = None,
    log_level: LogLevel = None,
    log_json: LogJson = False,
) -> None:
    """Record what a live feed brings, without sessions; started again, it goes on where it was."""
    from openbell.runtime.cli import process

    process.start_up()
    from openbell.runtime.config.effects import accept
    from openbell.runtime.lifetime.recordonly import (
        ANY_SESSION,
        RecordingRun,
        for_recording_only,
    )

    lines = log_if_asked(log_level, log_json)
    folder = given_folder(out)
    file = configuration_file(config)
    if file is None:
        raise no_configuration()
    written = configuration(file, {"sessions": ANY_SESSION, "feed.record": str(folder)})
    with naming(file):
        if written.feed.type in ("replay", "push"):
            raise ConfigError(
                f"feed.type is {written.feed.type}: `openbell record` needs a feed that brings rows "
                "by itself, such as redis or websocket"
            )
        made = for_recording_only(written, folder)
        accept(made, "run")

    def ended(runner: DurableRun) -> str:
        days = len(list(Path(folder).glob("*.parquet")))
        return f"{counted(days, 'day')} in {folder}"

    with naming(file):
        follow(
            made,
            RecordingRun,
            lines=lines,
            log_asked=log_level is not None or log_json,
            no_standby=True,
            ended=ended,
            read_again=lambda: for_recording_only(
                configuration(file, {"sessions": ANY_SESSION, "feed.record": str(folder)}), folder
            ),
        )
