"""`openbell why`: what came of a symbol's levels on a day, and why there is a signal or none."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli import completing
from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl
from openbell.runtime.cli.times import Utc
from openbell.runtime.cli.words import one_line


def why(
    what: Annotated[
        str,
        typer.Argument(
            help="A symbol, or a signal's id.",
            metavar="SYMBOL|ID",
            autocompletion=completing.symbols,
        ),
    ],
    day: Annotated[str | None, typer.Argument(help="Its trading day.", metavar="DATE")] = None,
    session: Annotated[
        str | None,
        typer.Argument(help="One session.", metavar="SESSION", autocompletion=completing.sessions),
    ] = None,
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    data: Annotated[
        str | None,
        typer.Option(help="Ask these stored rows, not what was run.", metavar="PATH"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Ask a folder of results and its rows.", metavar="DIR")
    ] = None,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """Explain a symbol's day: its levels, its signals, what was refused, the nearest miss."""
    from openbell.runtime.cli.configured import configuration as configured
    from openbell.runtime.cli.configured import configuration_file, naming, stored_configuration
    from openbell.runtime.cli.stored import opened_store
    from openbell.runtime.why import asked, from_store, from_stored_rows

    question = asked(what, day, session)
    if data is not None or out is not None:
        if store is not None or name is not None:
            raise InputError("--store: a store is asked without --data and --out")
        file = configuration_file(config)
        made = configured(file, {"data.path": data})
        with naming(file):
            found = from_stored_rows(made, None, question, out)
    else:
        with opened_store(config, store, name) as opened:
            made_by = None if store else stored_configuration(config)
            with naming(configuration_file(config) if made_by else None):
                found = from_store(made_by, opened, question)
    if json:
        print(one_line(found.as_dict()))
    else:
        print(found.in_zone("UTC") if utc else found)
