"""`openbell parity`: a live day held against its recording, and against its rows in time order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import configuration_file, naming, stored_configuration
from openbell.runtime.cli.exits import EXIT_DIFFERS
from openbell.runtime.cli.options import ConfigFile, given_day
from openbell.runtime.cli.stored import nothing_run
from openbell.runtime.cli.words import one_line


def parity(
    day: Annotated[str, typer.Option("--date", help="A trading day that was run.", metavar="DATE")],
    config: ConfigFile = None,
    recording: Annotated[
        str | None,
        typer.Option(
            help="Recorded days; without it `feed.record`, or what the store has.", metavar="DIR"
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object.")] = False,
) -> None:
    """Hold a live day against its recording, and against its rows in time order."""
    from openbell.runtime.lifetime.opening import open_configured_store
    from openbell.runtime.lifetime.parity import Compared
    from openbell.runtime.lifetime.parity import parity as held_against

    asked = given_day("--date", day)
    assert asked is not None
    made = stored_configuration(config)
    store = open_configured_store(made)
    try:
        if not store.head().commit:
            raise InputError(f"{nothing_run(made.name, store)}; run it first, with `openbell run`")
        with naming(configuration_file(config)):
            found = held_against(made, store, asked, None if recording is None else Path(recording))
    finally:
        store.close()

    def shown(of: Compared) -> dict[str, Any]:
        return {"equal": of.equal, "of": of.of, "percent": of.percent, "first": of.first}

    if json:
        print(
            one_line(
                {
                    "trading_date": str(asked),
                    "rows": found.rows,
                    "steps": found.steps,
                    "recording": shown(found.recording),
                    "in_time_order": shown(found.in_order),
                }
            )
        )
    else:
        print(f"{asked}: {found.rows:,} rows, {found.steps:,} steps")
        print(found.recording)
        print(found.in_order)
    if found.recording.first is not None:
        raise typer.Exit(EXIT_DIFFERS)
