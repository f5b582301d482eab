"""`openbell config`: check a configuration, or see what one may hold."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from openbell.hidden import conceal
from openbell.runtime.cli.configured import configuration, naming
from openbell.runtime.cli.options import Json, example, settable
from openbell.runtime.cli.words import one_line

if TYPE_CHECKING:
    from openbell.runtime.config import Config
    from openbell.runtime.intake.checks import DayWindows

config_app = typer.Typer(
    help="Check a configuration, or see what one may hold.",
    no_args_is_help=True,
    epilog=example("openbell config check examples/us.yaml --set data.path=minutes"),
)


@config_app.command(
    "check", epilog=example("openbell config check examples/us.yaml --set data.path=minutes")
)
@settable
def config_check(
    file: Annotated[Path, typer.Argument(help="The configuration's file.", metavar="FILE")],
    json: Json = False,
) -> None:
    """Check a configuration as a run would; print what each of its keys does."""
    from openbell.hosttime import today
    from openbell.market.calendar import timezone
    from openbell.runtime.config.effects import accept
    from openbell.runtime.config.idle import idle_notes
    from openbell.runtime.config.values import first_date
    from openbell.runtime.intake.checks import check_config, check_contracts, check_data
    from openbell.runtime.intake.feeding import check_options

    settings = configuration(file, {})
    with naming(file):
        accept(settings, "run")
        if settings.feed.type != "replay":
            check_options(settings)
        notes = [*idle_notes(settings)]
        refused = check_data(settings, notes)
        has_data = settings.data.path is not None and refused is None
        first = first_date(settings.backtest.start) or today()
        windows = check_config(settings, first, refuse=not has_data)
        notes += check_contracts(settings, first)
    if json:
        print(conceal(one_line(settings.model_dump(mode="json"))))
    else:
        print_config(settings, file, has_data=has_data, in_order=refused is None)
        zone = settings.calendar.timezone or timezone(settings.exchange)
        print_windows(windows[:_DAYS_SHOWN], zone)
    for note in notes:
        print(note, file=sys.stderr)
    if refused is not None:
        raise refused


@config_app.command("schema", epilog=example("openbell config schema > openbell.schema.json"))
def config_schema() -> None:
    """Print the JSON schema of configurations, for editors."""
    import json

    from openbell.runtime.config import config_schema as schema

    print(json.dumps(schema(), indent=2, ensure_ascii=False))


def print_config(config: Config, file: Path, *, has_data: bool, in_order: bool) -> None:
    """What a configuration comes to, defaults included.

    Parameters
    ----------
    has_data : bool
        Whether its data was looked at; else what it says of the data is taken for true.
    in_order : bool
        Whether a run takes it.
    """
    from openbell.runtime.cli.tables import new_table, show
    from openbell.runtime.config.effects import effects

    table = new_table(f"{file} is in order" if in_order else str(file), "session")
    for name in ("start", "end", "confirm", "check", "sides"):
        table.add_column(name, no_wrap=True)
    for session in config.sessions:
        rules = config.breakout_for(session)
        zone = f" {session.timezone}" if session.timezone else ""
        start = f"{session.start}{zone}"
        end = f"{session.end}{zone}{' (left out)' if session.closed == 'left' else ''}"
        if session.auction is not None:
            start, end = f"auction: {session.auction}", ""
        table.add_row(session.name, start, end, rules.confirm, rules.check, rules.sides)
    show(table)
    data = config.data
    what = "ticks" if data.kind == "ticks" else f"bars of {data.interval}"
    show(
        f"{config.exchange} ({config.segment}), {what} from {data.path or '(no path)'}, "
        f"symbols: {'all' if config.symbols == 'all' else ', '.join(config.symbols)}"
    )
    keys = new_table("Keys that are set", "key")
    keys.add_column("value", overflow="fold")
    keys.add_column("does", overflow="fold")
    for effect in effects(config):
        keys.add_row(*effect)
    if keys.row_count:
        show(keys)
    streamed = "ticks" if data.kind == "ticks" else str(data.interval)
    generated = [
        str(interval)
        for interval in config.upkeep.derived_intervals
        if config.upkeep.enabled and (data.kind == "ticks" or interval != data.interval)
    ]
    unknown = "" if has_data else "; as configured: the data was not looked at"
    show(f"Streamed: {streamed}; generated: {', '.join(generated) or 'none'}{unknown}")


_DAYS_SHOWN = 3


def print_windows(days: Sequence[DayWindows], zone: str) -> None:
    """When each session takes place on some days, in the exchange's zone and in UTC."""
    from openbell.market.windows import Window
    from openbell.runtime.cli.tables import new_table, show

    if not days:
        return
    table = new_table(f"The next trading days, times in {zone}", "session")
    for name in ("trading day", "from", "until", "UTC"):
        table.add_column(name, no_wrap=True)
    table.add_column("", overflow="fold")
    for name in days[0].windows:
        for of_day in days:
            window = of_day.windows[name]
            trading_day = f"{of_day.day.date:%a %Y-%m-%d}"
            if isinstance(window, Window):
                edges = (window.start_ns, window.end_ns)
                local = [f"{_moment(ns, ZoneInfo(zone)):%a %H:%M}" for ns in edges]
                utc = "–".join(f"{_moment(ns, UTC):%H:%M}" for ns in edges)
                table.add_row(name, trading_day, *local, utc, window.truncated or "")
            else:
                table.add_row(name, trading_day, "", "", "", f"skipped: {window.reason}")
    show(table)


def _moment(instant_ns: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(instant_ns // 1_000_000_000, zone)
