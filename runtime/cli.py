"""The command line. Results go to stdout, everything else to stderr.

Each command imports what it needs when it runs: `openbell --help` must not wait for pyarrow.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import InputError, OpenbellError

if TYPE_CHECKING:
    from openbell.runtime.api import Runtime
    from openbell.runtime.config import Config

EXIT_FAILURE, EXIT_INPUT, EXIT_INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="openbell",
    help="Watch markets by the clock and report each breakout exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Look at stored data, or make some.", no_args_is_help=True)
config_app = typer.Typer(help="Check a configuration, or see what one may hold.")
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")


class Level(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Dispatcher(StrEnum):
    INLINE = "inline"
    THREADS = "threads"


class DataKind(StrEnum):
    BARS = "bars"
    TICKS = "ticks"


ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration's file.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="First day.", metavar="DATE"),
]
To = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Last day.", metavar="DATE"),
]
Exchange = Annotated[
    str | None, typer.Option(help="Whose calendar is followed, e.g. XNYS.", metavar="NAME")
]
LogLevel = Annotated[Level | None, typer.Option(help="Log to stderr from this level on.")]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log JSON lines.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]


@app.command(
    epilog="Example: openbell backtest --config examples/us.yaml --data minutes/ --out out/"
)
def backtest(
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
    out: Annotated[Path | None, typer.Option(help="Folder for the results.", metavar="DIR")] = None,
    force: Force = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse unusable rows and duplicate bars.")
    ] = False,
    dispatcher: Annotated[
        Dispatcher | None, typer.Option(help="All actors on one thread, or one each.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    log_level: LogLevel = None,
    log_json: LogJson = False,
) -> None:
    """Run the sessions of a configuration over stored data and report their breakouts."""
    from openbell.runtime import reports
    from openbell.runtime.api import run_backtest

    _logging(log_level, log_json)
    settings = _config(
        config,
        {
            "data.path": data,
            "data.kind": kind.value if kind else None,
            "exchange": exchange,
            "symbols": symbols.split(",") if symbols else None,
            "backtest.start": _date(start),
            "backtest.end": _date(end),
            "backtest.dispatcher": dispatcher.value if dispatcher else None,
        },
    )
    with _progress() as on_day, _interruptible() as interrupted:
        runtime, account = run_backtest(
            settings,
            out=out,
            force=force,
            strict=strict,
            on_day=on_day,
            started=interrupted.watch,
        )
    if json:
        print(reports.one_line(account))
    else:
        reports.print_backtest(account, out)
    if account["interrupted"]:
        done, planned = account["trading_days"], len(runtime.plan.days)
        kept = f"; the files in {out} hold the complete days" if out is not None else ""
        print(f"openbell: interrupted after {done} of {planned} days{kept}", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED)


@app.command(epilog="Example: openbell calendar XNSE --from 2024-11-01 --to 2024-11-01")
def calendar(
    exchange: Annotated[
        str | None, typer.Argument(help="A MIC such as XNYS, or another calendar's name.")
    ] = None,
    start: From = None,
    end: To = None,
    segment: Annotated[
        str | None, typer.Option(help="Product: equity, equity_fno, index or futures.")
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show each day's hours, which layer they come from, and why."""
    from openbell.market.calendar import open_calendar
    from openbell.runtime import reports
    from openbell.runtime.planning import calendar_for

    first = _date(start) or date.today()  # noqa: DTZ011 a default for people at a terminal
    last = _date(end) or max(first, _date(start) or first)
    if last < first:
        raise InputError(f"--to {last} is before --from {first}; exchange the two")
    if config is not None:
        given = {"exchange": exchange, "segment": segment}
        opened = calendar_for(_config(config, given), first, last)
    elif exchange is not None:
        opened = open_calendar(exchange, first, last, segment=segment or "equity")
    else:
        raise InputError("name an exchange, e.g. openbell calendar XNYS, or pass --config")
    reports.print_calendar(opened, first, last, as_json=json)


@data_app.command("check", epilog="Example: openbell data check minutes/ --exchange XNSE")
def data_check(
    path: Annotated[str, typer.Argument(help="File or folder with the data.", metavar="PATH")],
    exchange: Exchange = None,
    start: From = None,
    end: To = None,
    kind: Annotated[DataKind | None, typer.Option(help="What the rows are.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show what a backtest would see: rows, days, gaps, bad rows."""
    from openbell.runtime import reports
    from openbell.runtime.checking import check

    settings = _config(
        config,
        {
            "data.path": path,
            "data.kind": kind.value if kind else None,
            "exchange": exchange,
            "backtest.start": _date(start),
            "backtest.end": _date(end),
        },
        without_sessions=True,
    )
    with _progress() as on_day:
        found = check(settings, on_day)
    if json:
        for line in reports.check_lines(found):
            print(line)
    else:
        reports.print_check(found)


@data_app.command(
    "sample", epilog="Example: openbell data sample --out sample/ --symbols 20 --days 21 --seed 7"
)
def data_sample(
    out: Annotated[Path, typer.Option(help="Folder for the files.", metavar="DIR")],
    symbols: Annotated[int, typer.Option(min=1, help="How many symbols.")] = 20,
    days: Annotated[int, typer.Option(min=1, help="How many trading days.")] = 21,
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 7,
    exchange: Annotated[str, typer.Option(help="Whose trading days.", metavar="NAME")] = "XNYS",
    start: From = None,
    force: Force = False,
) -> None:
    """Make minute bars of invented symbols, one Parquet file a day."""
    from openbell.adapters.sample import write_sample

    with _progress("files") as on_day:
        files = write_sample(
            out,
            symbols=symbols,
            days=days,
            seed=seed,
            exchange=exchange,
            start=_date(start) or date(2024, 1, 2),
            force=force,
            progress=lambda done, total: on_day(None, done, total, 0),
        )
    print(f"{len(files)} files with {symbols} symbols in {out}")


@config_app.command("check", epilog="Example: openbell config check config.yaml")
def config_check(
    file: Annotated[Path, typer.Argument(help="The configuration's file.", metavar="FILE")],
    json: Json = False,
) -> None:
    """Check a configuration; print what it comes to."""
    from openbell.runtime import reports

    reports.print_config(_config(file, {}), file, as_json=json)


@config_app.command("schema", epilog="Example: openbell config schema > openbell.schema.json")
def config_schema() -> None:
    """Print the JSON schema of configurations, for editors."""
    import json

    from openbell.runtime.config import config_schema as schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))


def main() -> None:
    """Run the command line: 0 success, 1 failure, 2 wrong usage or input, 130 interrupted."""
    try:
        app()
    except InputError as error:
        print(f"openbell: {error}", file=sys.stderr)
        raise SystemExit(EXIT_INPUT) from None
    except KeyboardInterrupt:
        print("openbell: interrupted", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None
    except OpenbellError as error:
        print(f"openbell: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILURE) from None


def _config(file: Path | None, given: dict[str, Any], *, without_sessions: bool = False) -> Config:
    from openbell.runtime.config import load_config

    overrides = {key: value for key, value in given.items() if value is not None}
    if file is None and without_sessions:
        whole_day = {"name": "Day", "start": "open", "end": "close", "closed": "left"}
        overrides["sessions"] = [whole_day]
    if file is None and not without_sessions and Path("config.yaml").is_file():
        file = Path("config.yaml")
    return load_config(file, overrides=overrides)


def _date(given: datetime | None) -> date | None:
    return given.date() if given is not None else None


def _logging(level: Level | None, as_json: bool) -> None:
    if level is not None or as_json:
        from openbell.runtime.logs import log_to_stderr

        log_to_stderr((level or Level.INFO).value, as_json=as_json)


class _Interruption:
    """Ctrl-C and SIGTERM while a run is on: the run ends where it is and its days are kept."""

    def __init__(self) -> None:
        self._runtime: Runtime | None = None

    def watch(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(self, number: int, frame: object) -> None:
        if self._runtime is None:
            raise KeyboardInterrupt
        self._runtime.stop()


@contextmanager
def _interruptible() -> Iterator[_Interruption]:
    interruption = _Interruption()
    before = {number: signal.signal(number, interruption) for number in (signal.SIGINT,)}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress(unit: str = "days") -> Iterator[Callable[[date | None, int, int, int], None]]:
    """A progress bar on stderr, or nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield lambda *_: None
        return
    from openbell.runtime.reports import progress_bar

    with progress_bar(unit) as advance:
        yield advance
