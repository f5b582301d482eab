"""`openbell run`: a replay or a live run, whose state survives it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from openbell.errors import ConfigError, DayFailed, FeedSilent
from openbell.runtime.cli.configured import configuration_file, naming, stored_configuration
from openbell.runtime.cli.exits import (
    EXIT_DAY_FAILED,
    EXIT_LEASE,
    EXIT_SILENT,
    EXIT_UNREADY,
    Interrupted,
)
from openbell.runtime.cli.options import (
    ConfigFile,
    Level,
    LogJson,
    LogLevel,
    follow_log_level,
    given_folder,
    log_if_asked,
)
from openbell.runtime.cli.progress import OnDay, progress
from openbell.runtime.cli.stopping import rereadable, terminable
from openbell.runtime.cli.times import times_of
from openbell.runtime.cli.words import complain, counted

if TYPE_CHECKING:
    from openbell.adapters.sinks.files import DayResult
    from openbell.adapters.sinks.tally import Tally
    from openbell.adapters.stores import LeaseHeld, Store
    from openbell.runtime.cli.logs import Lines
    from openbell.runtime.config import Config
    from openbell.runtime.lifetime.run import DurableRun


def run(
    config: ConfigFile = None,
    out: Annotated[
        str | None, typer.Option(help="Folder for each day's results.", metavar="DIR")
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(help="Folder for a recording of what the feed brings.", metavar="DIR"),
    ] = None,
    no_standby: Annotated[
        bool, typer.Option("--no-standby", help="Refuse instead of waiting for the lease.")
    ] = False,
    fresh_day: Annotated[
        bool,
        typer.Option(
            "--fresh-day", help="Begin the day under way anew if the configuration has changed."
        ),
    ] = False,
    log_level: LogLevel = None,
    log_json: LogJson = False,
) -> None:
    """Follow a live feed, or replay stored rows; started again, it goes on where it was."""
    from openbell.runtime.cli import process

    process.start_up()
    from openbell.adapters.sinks.parts import DayParts
    from openbell.runtime.config.effects import accept
    from openbell.runtime.intake.settings import settings
    from openbell.runtime.lifetime.run import DurableRun

    lines = log_if_asked(log_level, log_json)
    folder = given_folder(out) if out is not None else None
    made, file = stored_configuration(config, {"feed.record": record}), configuration_file(config)
    with naming(file):
        accept(made, "run")
        if made.feed.type == "push":
            raise ConfigError(
                "feed.type is push: a program pushes rows into a Runtime of its own (docs/live.md); "
                "`openbell run` has nobody who could"
            )
        parts = None
        if folder is not None:
            parts = DayParts(folder, settings(made).derived_minutes, {"name": made.name}, complain)
        follow(
            made,
            DurableRun,
            lines=lines,
            log_asked=log_level is not None or log_json,
            no_standby=no_standby,
            ended=lambda runner: f"{counted(runner.head.signals, 'signal')}",
            days=parts,
            fresh_day=fresh_day,
            read_again=lambda: stored_configuration(config, {"feed.record": record}),
        )


def follow(
    made: Config,
    kind: type[DurableRun],
    *,
    lines: Lines | None,
    log_asked: bool,
    read_again: Callable[[], Config],
    no_standby: bool,
    ended: Callable[[DurableRun], str],
    **options: Any,
) -> None:
    """Run to the last day's end, or until a signal stops it; what it came to is printed.

    Parameters
    ----------
    lines : Lines, optional
        The log that an option of the command line turned on.
    log_asked : bool
        Whether there is such an option.
    ended : callable
        What the run came to, beside its steps.
    read_again : callable
        The configuration as it is written by now.
    """
    from openbell.errors import LeaseLost
    from openbell.runtime.cli import process
    from openbell.runtime.lifetime.opening import open_configured_store
    from openbell.runtime.service.supervised import Supervised

    if lines is None and made.log.level is not None:
        lines = log_if_asked(Level(made.log.level), as_json=False)

    def log_level_again(again: Config) -> str | None:
        if log_asked:
            return "an option of the command line says so already"
        follow_log_level(lines, again.log.level)
        return None

    supervised = Supervised(
        made,
        read_again,
        complain,
        takes=[("log.level", log_level_again)],
        unready_code=EXIT_UNREADY,
    )
    store = open_configured_store(made)
    for warning in store.warnings():
        complain(warning)
    waits = not no_standby and made.store.url.startswith(("redis", "unix"))
    watched: list[DurableRun] = []
    try:
        with (
            supervised,
            rereadable(supervised.reread),
            terminable() as caught,
            progress(quiet=lines is not None, waits=lambda: _what_it_does(watched)) as on_day,
        ):

            def day_over(day: DayResult, tally: Tally) -> None:
                done = _days_over(watched[0], day.trading_date)
                on_day(day.trading_date, done, len(watched[0].plan.days), tally.counts["rows"])

            runner = kind(
                made,
                store,
                standby=_standby(on_day, supervised.stands_by) if waits else None,
                in_error=_wait_in_error if made.feed.pace().live else None,
                on_day=day_over,
                read_again=read_again,
                observed=supervised.observed,
                **options,
            )
            supervised.runs(runner)
            watched.append(runner)
            if runner.change is not None:
                complain(runner.change.said)
            for note in (*runner.source.info().notes, *runner.plan.notes):
                complain(note)

            def end() -> None:
                if caught[1] is signal.SIGTERM:
                    supervised.leaves = 0
                runner.stop()

            caught.append(end)
            before = runner.head.step
            if lines is not None:
                lines.run, lines.reached = made.name, runner.reached
            process.go_on()
            if sys.stderr.isatty() and before:
                complain(_goes_on_from(store, before))
            on_day(None, _days_before(store, runner), len(runner.plan.days), 0)
            runner.run()
        if runner.recording is not None and runner.recording.problem is not None:
            complain(f"{runner.recording.problem}; the next start goes on with it")
        if len(caught) > 1:
            if caught[1] is signal.SIGINT:
                raise Interrupted("stopped; start it again to go on")
            complain("stopped; start it again to go on")
            return
        if supervised.ended_unready is not None:
            complain(f"{supervised.ended_unready}; start it again to go on")
            raise typer.Exit(EXIT_UNREADY)
        if runner.left_out is not None:
            complain(runner.left_out)
        # Standard output is the signals' own, where they go there.
        say = complain if any(sink.type == "stdout" for sink in made.sinks) else print
        after = runner.head.step
        come_to = f"{counted(after, 'step')}, {ended(runner)}"
        if before and before == after:
            say(f"This run had ended before: {come_to}")
        else:
            say(f"The last day has ended: {come_to}")
        for undelivered in runner.undelivered:
            complain(undelivered)
        if away := runner.outages:
            say(
                f"Outages of the store: {len(away):,}, {sum(away):,.1f} s in all, "
                f"{max(away):,.1f} s at most"
            )
    except LeaseLost as error:
        complain(str(error))
        raise typer.Exit(EXIT_LEASE) from None
    except DayFailed as error:
        complain(with_remedy(error))
        raise typer.Exit(EXIT_DAY_FAILED) from None
    except FeedSilent as error:
        complain(f"{error}; feed.silent is exit: started again, it goes on where it was")
        raise typer.Exit(EXIT_SILENT) from None
    finally:
        store.close()


def _goes_on_from(store: Store, step: int) -> str:
    from openbell.runtime.record.writing import market_time

    (last,) = store.steps(after=step - 1)
    at = times_of(store, utc=False)
    return f"goes on from step {step:,}, {at.of(market_time(last.market_ns))} {at.zone}"


def _days_before(store: Store, runner: DurableRun) -> int:
    """Days of the plan that earlier processes have done with."""
    if not runner.head.step:
        return 0
    (last,) = store.steps(after=runner.head.step - 1)
    return sum(day.date < last.trading_date for day in runner.plan.days)


def _days_over(runner: DurableRun, day: date) -> int:
    return sum(of.date <= day for of in runner.plan.days)


def _what_it_does(watched: Sequence[DurableRun]) -> str:
    """What a run waits for, or else which step it has come to."""
    if not watched:
        return ""
    runner = watched[0]
    ledger = runner.engine.ledger
    if runner.talking.away or (ledger is not None and ledger.talking.away):
        return "waiting for the store"
    now_ns = runner.engine.cells["clock"].state.now_ns
    if not now_ns:
        return ""
    local = datetime.fromtimestamp(now_ns // 10**9, ZoneInfo(runner.plan.days[0].tz))
    return f"{local:%H:%M}, step {runner.reached()[1]:,}"


def with_remedy(error: DayFailed) -> str:
    todo = "" if "openbell recover" in str(error) else "; `openbell recover` tries it again"
    return f"{error}{todo}"


def _wait_in_error(error: DayFailed) -> None:
    complain(f"{with_remedy(error)}; waiting for it (Ctrl-C or SIGTERM end this)")


def _standby(on_day: OnDay, stands_by: Callable[[str], None]) -> Callable[[LeaseHeld], None]:
    """What is done while another process has the lease: each is said once, the bar goes on saying it."""
    said: set[str] = set()

    def say(held: LeaseHeld) -> None:
        stands_by(held.holder)
        on_day.before(f"standby for {held.holder}")
        if str(held) not in said:
            said.add(str(held))
            complain(f"waiting: {held}")

    return say
