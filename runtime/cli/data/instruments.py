"""`openbell data instruments`: which future goes with each symbol, day by day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from openbell.errors import InputError
from openbell.runtime.cli.configured import naming, stored_configuration
from openbell.runtime.cli.options import ConfigFile, Day, From, Json, To, given_day
from openbell.runtime.cli.words import counted, one_line

if TYPE_CHECKING:
    from openbell.adapters.instruments import InstrumentsFile
    from openbell.runtime.config import Config
    from openbell.runtime.intake.contracts import Paired, Ruled

_SHOWN = timedelta(days=14)
"""How far ahead of the first day it is shown where nobody asks."""


def instruments(
    date: Day = None,
    start: From = None,
    end: To = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show which future goes with each symbol, day by day: its expiry, tick, lot and segment."""
    from openbell.hosttime import today
    from openbell.market.calendar import coverage
    from openbell.runtime.config.values import first_date
    from openbell.runtime.intake.contracts import day_by_day, of_symbols
    from openbell.runtime.intake.instrumentsfile import opened_instruments

    day, first, last = (
        given_day(flag, given)
        for flag, given in (("--date", date), ("--from", start), ("--to", end))
    )
    if day is not None and (first or last):
        raise InputError("--date is one day; leave it out, or --from and --to")
    settings = stored_configuration(config)
    first = day or first or last or first_date(settings.backtest.start) or today()
    last = day or last or max(first, min(first + _SHOWN, coverage(settings.exchange)[1]))
    if last < first:
        raise InputError(f"--to is {last}; write a day that is not before --from, {first}")
    with naming(config):
        file = opened_instruments(settings)
        if file is None:
            raise InputError(
                "instruments.file is not set; name a file that says which futures there are, e.g. "
                "--set instruments.file=instruments.csv"
            )
        paired = day_by_day(settings, file, first, last, _held(settings))
        ruled = of_symbols(settings, file, first, last)
    if json:
        for line in instrument_lines(paired, ruled):
            print(line)
    else:
        print_instruments(settings, file, paired, ruled)


def _held(config: Config) -> tuple[str, ...] | None:
    """The symbols of the stored data; None where a feed brings others."""
    from openbell.adapters.sources import open_source
    from openbell.runtime.intake.settings import data_options

    if config.data.path is None or config.feed.type != "replay":
        return None
    source = open_source(config.data.path, data_options(config))
    try:
        return source.info().symbols
    finally:
        source.close()


def instrument_lines(paired: Sequence[Paired], ruled: Sequence[Ruled]) -> Iterator[str]:
    """One object a day and symbol with a future, and one a symbol of which the file says more."""
    for of in paired:
        contract = of.contract
        yield one_line(
            {
                "date": of.day,
                "symbol": of.symbol,
                "underlying": of.underlying,
                "future": None if contract is None else contract.symbol,
                "expiry": None if contract is None else contract.expiry,
                "trading_days_left": of.left,
                "tick_size": None if contract is None else contract.tick_size,
                "lot": None if contract is None else contract.lot,
                "segment": None if contract is None else contract.segment,
                "exchange": None if contract is None else contract.exchange,
                "rolled_from": of.before,
                "missing": of.note or None,
            }
        )
    for said in ruled:
        yield one_line(
            {
                "symbol": said.symbol,
                "since": said.since,
                "tick_size": said.tick_size,
                "segment": said.segment,
            }
        )


def print_instruments(
    config: Config, file: InstrumentsFile, paired: Sequence[Paired], ruled: Sequence[Ruled]
) -> None:
    """What goes with what, what is another one than on the day before, and what is missing."""
    from rich.console import Console

    from openbell.runtime.cli.tables import add_number, new_table, show

    found, console = file.instruments, Console()
    narrow = console.is_terminal and console.width < 100
    table = new_table("Futures of each day")
    for name in ("date", "symbol", "future", "expires"):
        table.add_column(name, no_wrap=True)
    for name in ("left", "tick", "lot"):
        add_number(table, name)
    table.add_column("segment", no_wrap=True)
    table.add_column("", overflow="fold")
    for of in paired:
        contract = of.contract
        marks = [of.note] if of.note else []
        if of.before is not None:
            marks.insert(0, "roll")
        table.add_row(
            f"{of.day:%Y-%m-%d}" if narrow else f"{of.day:%a %Y-%m-%d}",
            of.symbol,
            "none" if contract is None else contract.symbol,
            "" if contract is None else f"{contract.expiry:{'%m-%d' if narrow else '%a %Y-%m-%d'}}",
            "" if of.left is None else str(of.left),
            "" if contract is None else _number(contract.tick_size),
            "" if contract is None else _number(contract.lot),
            (contract.segment if contract is not None else None) or "",
            ", ".join(marks),
        )
    if paired:
        show(table)
    elif config.futures:
        show("No trading day among these")
    else:
        show("No companion is a future: companions: {NIFTY: {future: NIFTY}} would be one")
    if ruled:
        rules = new_table("Symbols", "symbol", "since")
        add_number(rules, "tick")
        rules.add_column("segment")
        for said in ruled:
            rules.add_row(said.symbol, str(said.since), _number(said.tick_size), said.segment or "")
        show(rules)
    futures = sum(row.expiry is not None for row in found.rows)
    left_out = f"; {counted(file.left_out, 'row')} left out" if file.left_out else ""
    show(
        f"{file.identity.path}: {counted(len(found.rows), 'instrument')}, "
        f"{counted(futures, 'future')} of {counted(len(found.underlyings), 'underlying')}{left_out}"
    )
    for note in file.notes:
        show(note)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.15g}"
