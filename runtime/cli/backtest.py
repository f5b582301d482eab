"""`openbell backtest`: the sessions of a configuration over stored data."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import DayFailed, InputError
from openbell.runtime.cli.configured import (
    configuration,
    configuration_file,
    environment_configures,
    naming,
)
from openbell.runtime.cli.exits import Interrupted
from openbell.runtime.cli.options import (
    ConfigFile,
    DataKind,
    Exchange,
    Force,
    LogJson,
    LogLevel,
    To,
    given_folder,
    log_if_asked,
)
from openbell.runtime.cli.progress import OnDay, progress
from openbell.runtime.cli.stopping import Interruption, interruptible
from openbell.runtime.cli.words import LISTED, complain, counted, duration, listed, one_line

if TYPE_CHECKING:
    from openbell.runtime.api import Runtime


class Dispatcher(StrEnum):
    INLINE = "inline"
    THREADS = "threads"


def backtest(
    config: ConfigFile = None,
    data: Annotated[
        str | None, typer.Option(help="File or folder with the data.", metavar="PATH")
    ] = None,
    exchange: Exchange = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="First day, e.g. 2024-07-01, or a time in it, 2024-07-01T12:45.",
            metavar="DATE",
        ),
    ] = None,
    end: To = None,
    symbols: Annotated[
        str | None, typer.Option(help="Symbols, separated by commas.", metavar="A,B")
    ] = None,
    kind: Annotated[DataKind | None, typer.Option(help="What the rows are.")] = None,
    speed: Annotated[
        float | None,
        typer.Option(
            help="Market time a wall time: 60 is an hour a minute; 0: as fast as it goes."
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="Folder for the results.", metavar="DIR")] = None,
    store: Annotated[
        str | None,
        typer.Option(
            help="Keep state and log there, as `run` does: sqlite:///state.db, redis://…",
            metavar="URL",
        ),
    ] = None,
    force: Force = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse unusable rows and duplicate bars.")
    ] = False,
    dispatcher: Annotated[
        Dispatcher | None, typer.Option(help="All actors on one thread, or one each.")
    ] = None,
    metrics: Annotated[
        bool, typer.Option("--metrics", help="Print how long the parts of the run took.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    log_level: LogLevel = None,
    log_json: LogJson = False,
) -> None:
    """Run the sessions of a configuration over stored data and report their breakouts."""
    from openbell.runtime.cli import process

    process.start_up()
    from openbell.runtime.api import run_backtest

    lines = log_if_asked(log_level, log_json)
    folder = given_folder(out) if out is not None else None
    file = configuration_file(config)
    if file is None and not environment_configures():
        raise InputError(
            "no configuration: there is no config.yaml in this folder; pass --config FILE, or "
            'write one that holds at least exchange and sessions, e.g. "exchange: XNYS" and '
            '"sessions: [{name: Opening, start: 09:30, end: 09:44}]"'
        )
    settings = configuration(
        file,
        {
            "data.path": data,
            "data.kind": kind.value if kind else None,
            "exchange": exchange,
            "symbols": symbols,
            "backtest.start": start,
            "backtest.end": end,
            "backtest.speed": speed,
            "backtest.dispatcher": dispatcher.value if dispatcher else None,
        },
    )
    paced = settings.backtest.speed > 0
    with (
        naming(file),
        interruptible() as interruption,
        progress(quiet=log_level is not None or log_json) as on_day,
        ExitStack() as keyboard,
    ):

        def started(runtime: Runtime) -> None:
            process.go_on()
            if lines is not None:
                lines.run, lines.reached = settings.name, runtime.reached
            interruption.watch(runtime)
            for note in runtime.notes:
                complain(note)
            on_day(None, 0, len(runtime.plan.days), 0)
            if paced:
                _listen(runtime, interruption, on_day, keyboard)

        runtime, account = run_backtest(
            settings,
            out=folder,
            force=force,
            strict=strict,
            on_day=on_day,
            started=started,
            note=None if lines is not None else on_day.note,
            store=store,
        )
    if json:
        print(one_line(account))
    else:
        print_backtest(account, folder)
        if metrics:
            print_metrics(account["timing"]["metrics"])
    done, kept = account["trading_days"], ""
    if out is not None:
        kept = f"; {out} holds the complete days" if done else f"; nothing was written to {out}"
    if account["error"]:
        raise DayFailed(f"{account['error']}{kept}")
    if account["interrupted"]:
        raise Interrupted(f"interrupted after {done} of {len(runtime.plan.days)} days{kept}")


def _listen(
    runtime: Runtime, interruption: Interruption, on_day: OnDay, keyboard: ExitStack
) -> None:
    """Have keys pause, step and stop a run, as long as the stack lasts."""
    from openbell.runtime.cli.keyboard import Controls, has_keys, reading_keys

    if not has_keys(sys.stdin):
        return
    controls = Controls(
        pause=runtime.pause,
        resume=runtime.resume,
        step=runtime.step,
        stop=interruption.stop,
        say=lambda text: on_day.note(text or Controls.HELP),
    )
    on_day.note(Controls.HELP)
    keyboard.enter_context(reading_keys(controls, sys.stdin))


_COUNTS = {
    "used": "used",
    "outside_hours": "outside the day's hours, ignored",
    "not_a_trading_day": "on no trading day, ignored",
    "duplicates": "duplicate bars, one of each used",
    "out_of_order": "out of order, used",
    "bad_rows": "unusable, listed in bad_rows.csv",
    "ohlc_outside": "used with open or close outside [low, high]",
}


def _followed(counts: Mapping[str, int]) -> str:
    """What followed the signals, by kind."""
    told = [f"{count:,} {kind}" for kind, count in counts.items() if count]
    return f", followed by {' and '.join(told)}" if told else ""


def print_backtest(account: Mapping[str, Any], out: Path | None) -> None:
    """The closing tables of a backtest."""
    from openbell.runtime.cli.tables import add_number, new_table, show

    table = new_table("Sessions and signals", "session")
    for name in ("completed", "cut", "skipped", "empty", "high", "low"):
        add_number(table, name)
    for name, of in account["sessions"].items():
        keys = ("completed", "truncated", "skipped", "without_rows", "HIGH_BREAK", "LOW_BREAK")
        table.add_row(name, *(f"{of[key]:,}" for key in keys))
    show(table)
    rows = account["rows"]
    kinds = new_table(f"Rows: {rows['rows']:,}")
    kinds.show_header = False
    add_number(kinds)
    kinds.add_column()
    for key, meaning in _COUNTS.items():
        kinds.add_row(f"{rows[key]:,}", meaning)
        if key == "outside_hours" and rows.get("auction"):
            kinds.add_row(f"{rows['auction']:,}", "of them in an auction")
        if key == "duplicates" and rows.get("revised"):
            kinds.add_row(f"{rows['revised']:,}", "of them took the place of the one before")
    if rows["late"]:
        kinds.add_row(f"{rows['late']:,}", "late")
    show(kinds)
    days, quality = account["trading_days"], account["quality_pct"]
    span = f", {account['first_day']} to {account['last_day']}" if days else ""
    show(
        f"{account['exchange']}{span}: {counted(days, 'trading day')}, "
        f"{counted(len(account['symbols']), 'symbol')}, {counted(account['signals'], 'signal')}"
        f"{_followed(account.get('following', {}))}"
    )
    known = "unknown" if quality is None else f"{quality:.2f} %"
    if account["quality"] == "not measured":
        known = "not measured"
    show(f"Quality {known}, {account['timing']['seconds']:.1f} s")
    for key, title in (
        ("days_without_data", "without data"),
        ("not_trading_days", "with rows, but no trading day"),
    ):
        if account[key]:
            found = list(account[key])
            show(f"{counted(len(found), 'day')} {title}: {listed(found)}")
    splits = account["possible_splits"]
    for split in splits[:LISTED]:
        show(
            f"{split['trading_date']} {split['symbol']}: opened at {split['open']:g} after a close "
            f"of {split['previous_close']:g} ({split['change_pct']:+.1f} %); a split? prices are "
            "used as given"
        )
    if len(splits) > LISTED:
        show(f"… and {len(splits) - LISTED:,} more possible splits; summary.json lists them all")
    drift = account["timing"]["metrics"]["drift"]
    if drift["count"]:
        show(
            f"Steps came {duration(drift['mean'])} late on average, {duration(drift['max'])} "
            "at most"
        )
    if out is not None and (days or not (account["interrupted"] or account["error"])):
        show(f"Files are in {out}/")


_PHASES = {
    "history": "reading the days before",
    "prefetch": "waiting for a day's rows",
    "activation": "from the rows to the open day",
    "session": "from the open day to its close",
    "end_of_day": "taking the closed day in",
    "gap": "from a day's end to the next open day",
}


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """How long the parts of a run took, and each actor a step."""
    from openbell.runtime.cli.tables import add_number, new_table, show

    phases = new_table(f"Durations, {metrics['steps']:,} steps", "phase")
    for name in ("days", "total", "mean", "max"):
        add_number(phases, name)
    phases.add_column("")
    for name, of in metrics["phases"].items():
        times = (duration(of[key]) for key in ("total", "mean", "max"))
        phases.add_row(name, f"{of['count']:,}", *times, _PHASES.get(name, ""))
    show(phases)
    actors = new_table("Time of each actor", "actor")
    add_number(actors, "a step")
    for name, seconds in metrics["step_seconds_per_actor"].items():
        actors.add_row(name, duration(seconds))
    show(actors)
