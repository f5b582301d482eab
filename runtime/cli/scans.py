"""`openbell scans`: what scans found, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli import completing
from openbell.runtime.cli.options import ConfigFile, Day, Json, Name, StoreUrl, given_day
from openbell.runtime.cli.stored import reading
from openbell.runtime.cli.words import counted, one_line


def scans(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    day: Day = None,
    scan: Annotated[
        str | None,
        typer.Option("--scan", help="One scan, by its name.", autocompletion=completing.scans),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Ask a folder of results, not a store.", metavar="DIR")
    ] = None,
    json: Json = False,
) -> None:
    """Print what each scan found, when, and what became of it: followed, refused, its signals."""
    from openbell.runtime.results.scans import runs_in, stored_runs

    date = given_day("--date", day)
    if out is not None:
        if store is not None or name is not None:
            raise InputError("--store: a store is asked without --out")
        found = (
            run
            for run in runs_in(out)
            if date in (None, _date(run["trading_date"])) and scan in (None, run["scan"])
        )
        _show(found, json=json)
        return
    with reading(config, store, name) as opened:
        _show((run.as_dict() for run in stored_runs(opened, day=date, scan=scan)), json=json)


def _date(text: str) -> Any:
    from datetime import date

    return date.fromisoformat(text)


def _show(runs: Iterable[dict[str, Any]], *, json: bool) -> None:
    headed = json
    for run in runs:
        if json:
            print(one_line(run))
            continue
        if not headed:
            print(f"{'day':<10}  {'at':<8} {'scan':<16} {'then':<7} found")
            headed = True
        what = counted(len(run["found"]), "symbol")
        if run.get("backfilled"):
            what += ", run after its time, when the run had come to the day"
        if run["skipped"] is not None:
            what = f"skipped: {run['skipped']}"
        print(f"{run['trading_date']}  {run['at']:<8} {run['scan']:<16} {run['then']:<7} {what}")
        for of in run["found"]:
            signals = counted(len(of["signals"]), "signal")
            print(
                f"{'':<12}{of['symbol']:<12} {of['score']:>9.2f}  {of['became']}, {signals} after: "
                f"{of['reason']}"
            )
