"""`openbell replay`: a recorded day, run again and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import configuration_file, naming, stored_configuration
from openbell.runtime.cli.exits import EXIT_DIFFERS
from openbell.runtime.cli.options import ConfigFile, given_day
from openbell.runtime.cli.stored import nothing_run

if TYPE_CHECKING:
    from openbell.runtime.lifetime.replaying import Replayed


def replay(
    day: Annotated[str, typer.Option("--date", help="A trading day that was run.", metavar="DATE")],
    config: ConfigFile = None,
    until: Annotated[
        str | None, typer.Option(help="Stop at this local time.", metavar="HH:MM")
    ] = None,
    recording: Annotated[
        str | None,
        typer.Option(help="Recorded days, instead of what the store has.", metavar="DIR"),
    ] = None,
    show: Annotated[
        str | None, typer.Option(help="Print an actor's state there; `levels`: the levels.")
    ] = None,
) -> None:
    """Run a recorded day again and compare it with what was committed then."""
    from openbell.runtime.lifetime.opening import open_configured_store
    from openbell.runtime.lifetime.replaying import replay_day

    asked = given_day("--date", day)
    assert asked is not None
    made, file = stored_configuration(config), configuration_file(config)
    if recording is not None:
        from openbell.runtime.lifetime.rerunning import replay_recorded

        with naming(file):
            found = replay_recorded(made, recording, asked, until)
        _print(found, show)
        return
    store = open_configured_store(made)
    try:
        if not store.head().commit:
            raise InputError(f"{nothing_run(made.name, store)}; run it first, with `openbell run`")
        with naming(file):
            found = replay_day(made, store, asked, until=until)
        _print(found, show)
    finally:
        store.close()


def _print(found: Replayed, show: str | None) -> None:
    if show is None:
        print(found.verdict)
        if found.differs is not None:
            raise typer.Exit(EXIT_DIFFERS)
    else:
        for line in found.show(show):
            print(line)
