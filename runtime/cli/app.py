"""The command line. Results go to stdout, everything else to stderr.

Each command has a module of its own, named as it is. It imports what it needs when it runs:
`openbell --help` must not wait for pyarrow.
"""

from __future__ import annotations

import inspect
import os
import sys
import traceback
from contextlib import suppress
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from openbell import __version__
from openbell.errors import DayFailed, InputError, LeaseLost, OpenbellError, at_the_command_line
from openbell.hidden import conceal
from openbell.runtime.cli.audit import audit
from openbell.runtime.cli.backtest import backtest
from openbell.runtime.cli.calendar import calendar
from openbell.runtime.cli.config import config_app
from openbell.runtime.cli.data import data_app
from openbell.runtime.cli.doctor import doctor
from openbell.runtime.cli.events import events
from openbell.runtime.cli.exits import (
    EXIT_DAY_FAILED,
    EXIT_FAILURE,
    EXIT_INPUT,
    EXIT_INTERRUPTED,
    EXIT_LEASE,
    Interrupted,
)
from openbell.runtime.cli.export import export
from openbell.runtime.cli.health import health
from openbell.runtime.cli.mcp import mcp
from openbell.runtime.cli.options import example, settable
from openbell.runtime.cli.parity import parity
from openbell.runtime.cli.record import record
from openbell.runtime.cli.recover import recover
from openbell.runtime.cli.replay import replay
from openbell.runtime.cli.run import run
from openbell.runtime.cli.scans import scans
from openbell.runtime.cli.sessions import sessions
from openbell.runtime.cli.signals import signals
from openbell.runtime.cli.sinks import sinks_app
from openbell.runtime.cli.snapshots import snapshots_app
from openbell.runtime.cli.state import state_app
from openbell.runtime.cli.status import status
from openbell.runtime.cli.symbols import symbols_app
from openbell.runtime.cli.why import why
from openbell.runtime.cli.words import complain, complaints

# By descent, as the module's name differs between versions of Typer: BadParameter is a UsageError,
# and that is a ClickException.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="openbell",
    help="Watch markets by the clock and report each breakout exactly once.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=example("openbell data sample --out minutes/"),
)
app.add_typer(data_app, name="data")
app.add_typer(config_app, name="config")
app.add_typer(snapshots_app, name="snapshots")
app.add_typer(state_app, name="state")
app.add_typer(sinks_app, name="sinks")
app.add_typer(symbols_app, name="symbols")
for _command, _shown in (
    (backtest, "backtest --config examples/us.yaml --data minutes/ --out out/"),
    (export, "export --config examples/us.yaml --data minutes/ --csv minutes.csv"),
    (calendar, "calendar XNSE --from 2024-11-01 --to 2024-11-01"),
    (run, "run --config config.yaml --out out/"),
    (record, "record --config config.yaml --out days/"),
    (signals, "signals --config config.yaml --date 2024-07-01"),
    (sessions, "sessions --config config.yaml --status COMPLETED"),
    (scans, "scans --config config.yaml --date 2024-07-01"),
    (status, "status --config config.yaml"),
    (events, "events --config config.yaml --kind day.error --kind feed"),
    (health, "health --config config.yaml"),
    (doctor, "doctor --config config.yaml"),
    (audit, "audit --config config.yaml --json"),
    (recover, "recover --config config.yaml"),
    (replay, "replay --config config.yaml --date 2024-07-01"),
    (why, "why SPY 2024-07-01 --config config.yaml"),
    (mcp, "mcp --config config.yaml"),
    (parity, "parity --config config.yaml --date 2024-07-01"),
):
    app.command(epilog=example(f"openbell {_shown}"))(settable(_command))


def _whole_summaries(of: typer.Typer) -> None:
    """Lists of commands cut sentences that they make themselves, and wrap those that are given."""
    for command in of.registered_commands:
        sentence = (inspect.getdoc(command.callback) or "").partition("\n\n")[0]
        command.short_help = " ".join(sentence.split())
    for group in of.registered_groups:
        if group.typer_instance is not None:
            group.short_help = group.typer_instance.info.help
            _whole_summaries(group.typer_instance)


_whole_summaries(app)


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


def main() -> None:
    """Run the command line: 0 success, 1 failure, 2 wrong input, 3 a day failed, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a dash or a name
    complaints.clear()
    sys.excepthook = _without_secrets
    try:
        with at_the_command_line():
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
        complain(str(error))
        raise SystemExit(EXIT_INPUT) from None
    except _ClickError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
        else:
            complain(_usage(error))
        raise SystemExit(EXIT_INPUT) from None
    except OpenbellError as error:
        complain(str(error))
        code = EXIT_FAILURE
        if isinstance(error, DayFailed):
            code = EXIT_DAY_FAILED
        elif isinstance(error, LeaseLost):
            code = EXIT_LEASE
        raise SystemExit(code) from None
    except OSError as error:
        where = error.filename or "standard output"
        complain(f"{where}: {error.strerror or error}; free some space, or check its rights")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(EXIT_FAILURE) from None
    if code == EXIT_INTERRUPTED:  # what Typer makes of a KeyboardInterrupt
        _exit_now("interrupted")
    raise SystemExit(code if isinstance(code, int) else 0)


def _without_secrets(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    """What went wrong that nobody saw coming, as Python shows it."""
    text = "".join(traceback.format_exception(kind, error, trace))
    print(conceal(text), file=sys.stderr, end="")


def _exit_now(text: str) -> NoReturn:
    """Leave without waiting for a read that is still under way on another thread."""
    complain(text)
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
