"""`openbell data sample`: made-up data."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli.options import Force, From, given_day, given_folder
from openbell.runtime.cli.progress import progress
from openbell.runtime.cli.words import counted


def sample(
    out: Annotated[str, typer.Option(help="Folder for the files.", metavar="DIR")],
    symbols: Annotated[int, typer.Option(min=1, help="How many symbols.")] = 20,
    days: Annotated[int, typer.Option(min=1, help="How many trading days.")] = 21,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 7,
    exchange: Annotated[str, typer.Option(help="Whose trading days.", metavar="NAME")] = "XNYS",
    start: From = None,
    ticks: Annotated[
        bool, typer.Option("--ticks", help="Ticks, which add up to the bars of the same seed.")
    ] = False,
    dirt: Annotated[
        bool, typer.Option("--dirt", help="Bars with faults: gaps, duplicates, bad rows.")
    ] = False,
    force: Force = False,
) -> None:
    """Make minute bars (or ticks) of invented symbols, one Parquet file a day."""
    from openbell.adapters import sample as samples

    folder = given_folder(out)
    if ticks and dirt:
        raise InputError("--ticks and --dirt can't go together; faults are made in bars only")
    with progress("files") as on_day:
        on_day(None, 0, days, 0)
        wanted: dict[str, Any] = {
            "symbols": symbols,
            "days": days,
            "seed": seed,
            "exchange": exchange,
            "start": given_day("--from", start) or samples.FIRST_DAY,
            "force": force,
            "progress": lambda done, total: on_day(None, done, total, 0),
        }
        faults = ""
        if dirt:
            files, injected = samples.write_dirty_sample(folder, **wanted)
            counts = (
                f"{sum(injected[kind].to_pylist()):,} {kind.replace('_', ' ')}"
                for kind in samples.DIRT_RATES
            )
            faults = f"; faults: {', '.join(counts)}"
        elif ticks:
            files = samples.write_tick_sample(folder, **wanted)
        else:
            files = samples.write_sample(folder, **wanted)
    what = "ticks" if ticks else "minute bars"
    print(
        f"{counted(len(files), 'file')} with {what} of {counted(symbols, 'symbol')} in {out}{faults}"
    )
