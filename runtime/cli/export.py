"""`openbell export`: one row a minute and symbol, as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from openbell.runtime.cli.configured import configuration, configuration_file, naming
from openbell.runtime.cli.options import ConfigFile, DataKind, Exchange, Force, From, To
from openbell.runtime.cli.progress import progress
from openbell.runtime.cli.words import complain, counted


def export(
    csv: Annotated[
        Path, typer.Option("--csv", help="The file to write; - is stdout.", metavar="FILE")
    ],
    config: ConfigFile = None,
    data: Annotated[
        str | None, typer.Option(help="File or folder with the data.", metavar="PATH")
    ] = None,
    exchange: Exchange = None,
    start: From = None,
    end: To = None,
    symbols: Annotated[
        str | None, typer.Option(help="Symbols, separated by commas.", metavar="A,B")
    ] = None,
    kind: Annotated[DataKind | None, typer.Option(help="What the rows are.")] = None,
    force: Force = False,
) -> None:
    """Write one row a minute and symbol, with hours, sessions, levels and indicators, as CSV."""
    from openbell.adapters.sinks.one import is_stdout
    from openbell.runtime.results.exporting import export_csv

    file = configuration_file(config)
    settings = configuration(
        file,
        {
            "data.path": data,
            "data.kind": kind.value if kind else None,
            "exchange": exchange,
            "symbols": symbols,
            "backtest.start": start,
            "backtest.end": end,
        },
    )
    with naming(file), progress() as on_day:
        rows = export_csv(settings, csv, force=force, on_day=on_day)
    if is_stdout(csv):
        complain(counted(rows, "row"))
    else:
        print(f"{counted(rows, 'row')} in {csv}")
