"""The command line. Results go to stdout, everything else to stderr.

Each command imports what it needs when it runs: `openbell --help` must not wait for pyarrow.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from enum import StrEnum
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Protocol

import typer

from openbell import __version__
from openbell.errors import ConfigError, DayFailed, InputError, LeaseLost, OpenbellError
from openbell.runtime.cli.options import (
    ConfigFile,
    Interrupted,
    Json,
    LogJson,
    LogLevel,
    example,
    given_day,
    given_folder,
    log_if_asked,
)
from openbell.runtime.cli.stores import register

if TYPE_CHECKING:
    from openbell.runtime.api import Runtime
    from openbell.runtime.config import Config

EXIT_FAILURE, EXIT_INPUT, EXIT_DAY_FAILED, EXIT_LEASE, EXIT_INTERRUPTED = 1, 2, 3, 4, 130

# By descent, as the module's name differs between versions of Typer: BadParameter is a UsageError,
# and that is a ClickException.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]


app = typer.Typer(
    name="openbell",
    help="Watch markets by the clock and report each breakout exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("openbell data sample --out minutes/"),
)
data_app = typer.Typer(
    help="Look at stored data, or make some.",
    no_args_is_help=True,
    epilog=example("openbell data check minutes/ --exchange XNYS"),
)
config_app = typer.Typer(
    help="Check a configuration, or see what one may hold.",
    no_args_is_help=True,
    epilog=example("openbell config check config.yaml"),
)
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")


class Dispatcher(StrEnum):
    INLINE = "inline"
    THREADS = "threads"


class DataKind(StrEnum):
    BARS = "bars"
    TICKS = "ticks"


From = Annotated[
    str | None, typer.Option("--from", help="First day, e.g. 2024-07-01.", metavar="DATE")
]
To = Annotated[str | None, typer.Option("--to", help="Last day.", metavar="DATE")]
Exchange = Annotated[
    str | None, typer.Option(help="Whose calendar is followed, e.g. XNYS.", metavar="NAME")
]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists.")]


def _print_version(asked: bool) -> None:
    if asked:
        print(f"openbell {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
) -> None:
    pass


@app.command(
    epilog=example("openbell backtest --config examples/us.yaml --data minutes/ --out out/")
)
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
    from openbell.runtime.cli import reports

    log_if_asked(log_level, log_json)
    folder = given_folder(out) if out is not None else None
    file = _config_file(config)
    if file is None and not _environment_configures():
        raise InputError(
            "no configuration: there is no config.yaml in this folder; pass --config FILE, or "
            'write one that holds at least exchange and sessions, e.g. "exchange: XNYS" and '
            '"sessions: [{name: Opening, start: 09:30, end: 09:44}]"'
        )
    settings = _config(
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
        _naming(file),
        _interruptible() as interruption,
        _progress(quiet=log_level is not None or log_json) as on_day,
        ExitStack() as keyboard,
    ):

        def started(runtime: Runtime) -> None:
            process.go_on()
            interruption.watch(runtime)
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
            store=store,
        )
    if json:
        print(reports.one_line(account))
    else:
        reports.print_backtest(account, folder)
        if metrics:
            reports.print_metrics(account["timing"]["metrics"])
    done, kept = account["trading_days"], ""
    if out is not None:
        kept = f"; {out} holds the complete days" if done else f"; nothing was written to {out}"
    if account["error"]:
        raise DayFailed(f"{account['error']}{kept}")
    if account["interrupted"]:
        raise Interrupted(f"interrupted after {done} of {len(runtime.plan.days)} days{kept}")


@app.command(
    epilog=example("openbell export --config examples/us.yaml --data minutes/ --csv minutes.csv")
)
def export(
    csv: Annotated[Path, typer.Option("--csv", help="The file to write.", metavar="FILE")],
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
    from openbell.runtime.results.exporting import export_csv

    file = _config_file(config)
    settings = _config(
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
    with _naming(file), _progress() as on_day:
        rows = export_csv(settings, csv, force=force, on_day=on_day)
    print(f"{rows:,} rows in {csv}")


@app.command(epilog=example("openbell calendar XNSE --from 2024-11-01 --to 2024-11-01"))
def calendar(
    exchange: Annotated[
        str | None, typer.Argument(help="A MIC such as XNYS, or another calendar's name.")
    ] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="First day; today if not given.", metavar="DATE")
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Last day; the first if not given.", metavar="DATE")
    ] = None,
    segment: Annotated[
        str | None, typer.Option(help="Product: equity, equity_fno, index or futures.")
    ] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show each day's hours, which layer they come from, and why."""
    from openbell.market.calendar import open_calendar
    from openbell.runtime.cli import reports
    from openbell.runtime.intake.planning import calendar_for

    asked = given_day("--from", start), given_day("--to", end)
    first = asked[0] or asked[1] or date.today()  # noqa: DTZ011 a default for people at a terminal
    last = asked[1] or first
    if last < first:
        raise InputError(f"--to is {last}; write a day that is not before --from, {first}")
    file = _config_file(config) if exchange is None else config
    if file is not None:
        given = {"exchange": exchange, "segment": segment}
        with _naming(file):
            opened = calendar_for(_config(file, given), first, last)
    elif exchange is not None:
        opened = open_calendar(exchange, first, last, segment=segment or "equity")
    else:
        raise InputError("no exchange; name one, e.g. openbell calendar XNYS, or pass --config")
    if json:
        for line in reports.calendar_lines(opened, first, last):
            print(line)
    else:
        reports.print_calendar(opened, first, last)


@data_app.command("check", epilog=example("openbell data check minutes/ --exchange XNYS"))
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
    from openbell.runtime.cli import reports
    from openbell.runtime.results.checking import check

    file, settings = _of_data(path, exchange, start, end, kind, config)
    with _naming(file), _progress() as on_day:
        found = check(settings, on_day)
    if json:
        for line in reports.check_lines(found):
            print(line)
    else:
        reports.print_check(found)


@data_app.command(
    "quality", epilog=example("openbell data quality minutes/ --exchange XNYS --to 2024-01-31")
)
def data_quality(
    path: Annotated[str, typer.Argument(help="File or folder with the data.", metavar="PATH")],
    exchange: Exchange = None,
    start: From = None,
    end: To = None,
    symbols: Annotated[
        str | None, typer.Option(help="Symbols, separated by commas.", metavar="A,B")
    ] = None,
    kind: Annotated[DataKind | None, typer.Option(help="What the rows are.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show how much of each day and symbol is there, as a map, and where it is missing."""
    from openbell.runtime.cli import reports
    from openbell.runtime.results.checking import quality_map

    file, settings = _of_data(path, exchange, start, end, kind, config, symbols)
    with _naming(file), _progress() as on_day:
        days = quality_map(settings, on_day)
    if json:
        for line in reports.quality_lines(days):
            print(line)
    else:
        reports.print_quality(days)


@data_app.command(
    "sample",
    epilog=example("openbell data sample --out sample/ --symbols 20 --days 21 --seed 7"),
)
def data_sample(
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
    from openbell.adapters import sample
    from openbell.runtime.cli.reports import counted

    folder = given_folder(out)
    if ticks and dirt:
        raise InputError("--ticks and --dirt can't go together; faults are made in bars only")
    with _progress("files") as on_day:
        on_day(None, 0, days, 0)
        wanted: dict[str, Any] = {
            "symbols": symbols,
            "days": days,
            "seed": seed,
            "exchange": exchange,
            "start": given_day("--from", start) or sample.FIRST_DAY,
            "force": force,
            "progress": lambda done, total: on_day(None, done, total, 0),
        }
        faults = ""
        if dirt:
            files, injected = sample.write_dirty_sample(folder, **wanted)
            counts = (
                f"{sum(injected[kind].to_pylist()):,} {kind.replace('_', ' ')}"
                for kind in sample.DIRT_RATES
            )
            faults = f"; faults: {', '.join(counts)}"
        elif ticks:
            files = sample.write_tick_sample(folder, **wanted)
        else:
            files = sample.write_sample(folder, **wanted)
    what = "ticks" if ticks else "minute bars"
    print(
        f"{counted(len(files), 'file')} with {what} of {counted(symbols, 'symbol')} in {out}{faults}"
    )


@config_app.command("check", epilog=example("openbell config check config.yaml"))
def config_check(
    file: Annotated[Path, typer.Argument(help="The configuration's file.", metavar="FILE")],
    json: Json = False,
) -> None:
    """Check a configuration; print what it comes to."""
    from openbell.runtime.cli import reports
    from openbell.runtime.config.values import first_date
    from openbell.runtime.intake.planning import check_config, check_data

    settings = _config(file, {})
    with _naming(file):
        doubt = check_data(settings)
        check_config(settings, first_date(settings.backtest.start) or date.today())  # noqa: DTZ011
    if json:
        print(reports.one_line(settings.model_dump(mode="json")))
    else:
        reports.print_config(settings, file, doubt=doubt)


@config_app.command("schema", epilog=example("openbell config schema > openbell.schema.json"))
def config_schema() -> None:
    """Print the JSON schema of configurations, for editors."""
    import json

    from openbell.runtime.config import config_schema as schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))


register(app)


def main() -> None:
    """Run the command line: 0 success, 1 failure, 2 wrong input, 3 a day failed, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a dash or a name
    try:
        code = app(prog_name="openbell", standalone_mode=False)
        sys.stdout.flush()
    except Interrupted as interrupted:
        _exit_now(f"{interrupted}")
    except KeyboardInterrupt:
        _exit_now("interrupted")
    except BrokenPipeError:
        # Whoever read has seen enough, as `head` does; nothing is left to say, or to flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_FAILURE) from None
    except InputError as error:
        _complain(str(error))
        raise SystemExit(EXIT_INPUT) from None
    except _ClickError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
        else:
            _complain(_usage(error))
        raise SystemExit(EXIT_INPUT) from None
    except OpenbellError as error:
        _complain(str(error))
        code = EXIT_FAILURE
        if isinstance(error, DayFailed):
            code = EXIT_DAY_FAILED
        elif isinstance(error, LeaseLost):
            code = EXIT_LEASE
        raise SystemExit(code) from None
    except OSError as error:
        where = error.filename or "standard output"
        _complain(f"{where}: {error.strerror or error}; free some space, or check its rights")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_FAILURE) from None
    if code == EXIT_INTERRUPTED:  # what Typer makes of a KeyboardInterrupt
        _exit_now("interrupted")
    raise SystemExit(code if isinstance(code, int) else 0)


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"openbell: {line}", file=sys.stderr)


def _exit_now(text: str) -> NoReturn:
    """Leave without waiting for a read that is still under way on another thread."""
    _complain(text)
    with suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(EXIT_INTERRUPTED)


def _usage(error: Any) -> str:
    """What Click says, on one line and with what to do."""
    text = error.format_message().replace("Value error, ", "").rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "openbell"
    return f"{text[:1].lower()}{text[1:]}; see {command} --help"


def _config_file(given: Path | None) -> Path | None:
    here = Path("config.yaml")
    return here if given is None and here.is_file() else given


def _environment_configures() -> bool:
    return any(name in os.environ for name in ("OPENBELL_EXCHANGE", "OPENBELL_SESSIONS"))


def _of_data(
    path: str,
    exchange: str | None,
    start: str | None,
    end: str | None,
    kind: DataKind | None,
    config: Path | None,
    symbols: str | None = None,
) -> tuple[Path | None, Config]:
    """The configuration's file, and what it comes to for a look at stored data."""
    file = _config_file(config)
    if file is None and exchange is None and not _environment_configures():
        raise InputError(
            "no exchange; pass --exchange NAME, e.g. XNYS or XNSE, or --config FILE to read the "
            "data as a configuration says"
        )
    settings = _config(
        file,
        {
            "data.path": path,
            "data.kind": kind.value if kind else None,
            "exchange": exchange,
            "symbols": symbols,
            "backtest.start": start,
            "backtest.end": end,
            # The configuration's own have no bearing on what the data holds.
            "sessions": [{"name": "Day", "start": "open", "end": "close", "closed": "left"}],
        },
    )
    return file, settings


_FLAGS = {
    "data.path": "--data",
    "data.kind": "--kind",
    "exchange": "--exchange",
    "segment": "--segment",
    "symbols": "--symbols",
    "backtest.start": "--from",
    "backtest.end": "--to",
    "backtest.speed": "--speed",
}


def _config(file: Path | None, given: dict[str, Any]) -> Config:
    from openbell.runtime.config import load_config

    try:
        return load_config(file, overrides=given)
    except ConfigError as error:
        by_flag = re.sub(
            r"^option: ([a-z_.]+)",
            lambda found: _FLAGS.get(found[1], found[0]),
            str(error),
            flags=re.MULTILINE,
        )
        raise ConfigError(by_flag) from None


@contextmanager
def _naming(file: Path | None) -> Iterator[None]:
    """Say whose configuration it is that turns out not to fit."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}" if file is not None else str(error)) from None


class _Interruption:
    """Ctrl-C while a run is on: the run ends where it is and its days are kept.

    Before the run is on there is nothing to keep; and who presses it twice doesn't want to wait.
    """

    def __init__(self) -> None:
        self._runtime: Runtime | None = None

    def watch(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def stop(self) -> None:
        """Stop the run in good order; does nothing a second time."""
        runtime, self._runtime = self._runtime, None
        if runtime is not None:
            runtime.stop()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self._runtime is None:
            raise KeyboardInterrupt
        self.stop()


@contextmanager
def _interruptible() -> Iterator[_Interruption]:
    interruption = _Interruption()
    before = {number: signal.signal(number, interruption) for number in _STOPPING}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_STOPPING = (signal.SIGINT, signal.SIGTERM)


def _listen(
    runtime: Runtime, interruption: _Interruption, on_day: _OnDay, keyboard: ExitStack
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


class _OnDay(Protocol):
    """What a command tells about how far it is."""

    def __call__(self, day: date | None, done: int, total: int, rows: int) -> None: ...

    def note(self, text: str) -> None:
        """Say something beside the bar."""
        ...


class _Silent:
    """Where there is no terminal, or log lines go there; notes are worth a line all the same."""

    def __call__(self, day: date | None, done: int, total: int, rows: int) -> None:
        pass

    def note(self, text: str) -> None:
        _complain(text)


@contextmanager
def _progress(unit: str = "days", *, quiet: bool = False) -> Iterator[_OnDay]:
    """A progress bar on stderr; nothing where that is no terminal or log lines go there."""
    if quiet or not sys.stderr.isatty():
        yield _Silent()
        return
    from openbell.runtime.cli.reports import progress_bar

    with progress_bar(unit) as advance:
        yield advance
