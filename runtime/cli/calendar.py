"""`openbell calendar`: the hours of days, and why they are so."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import configuration, configuration_file, naming
from openbell.runtime.cli.options import ConfigFile, Json, given_day
from openbell.runtime.cli.words import hours_of, one_line

if TYPE_CHECKING:
    from openbell.market.calendar import Calendar, Explanation
    from openbell.market.days import TradingDay


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
    from openbell.hosttime import today
    from openbell.market.calendar import open_calendar
    from openbell.runtime.intake.hours import calendar_for

    asked = given_day("--from", start), given_day("--to", end)
    first = asked[0] or asked[1] or today()
    last = asked[1] or first
    if last < first:
        raise InputError(f"--to is {last}; write a day that is not before --from, {first}")
    file = configuration_file(config) if exchange is None else config
    if file is not None:
        given = {"exchange": exchange, "segment": segment}
        with naming(file):
            opened = calendar_for(configuration(file, given), first, last)
    elif exchange is not None:
        opened = open_calendar(exchange, first, last, segment=segment or "equity")
    else:
        raise InputError("no exchange; name one, e.g. openbell calendar XNYS, or pass --config")
    if json:
        for line in calendar_lines(opened, first, last):
            print(line)
    else:
        print_calendar(opened, first, last)


def calendar_lines(calendar: Calendar, first: date, last: date) -> Iterator[str]:
    """One object a date of a range."""
    for asked, explained in _explained(calendar, first, last):
        day = explained.day
        yield one_line(
            {
                "date": asked,
                "open": day is not None,
                "tz": calendar.tz,
                "hours": _all_hours(day),
                "minutes": day.minutes_expected() if day else 0,
                "kind": day.kind if day else "closed",
                "layer": explained.layer,
                "reason": explained.reason,
            }
        )


def print_calendar(calendar: Calendar, first: date, last: date) -> None:
    """Every date of a range: its hours, which layer they come from, and why."""
    from rich.console import Console

    from openbell.runtime.cli.tables import add_number, new_table, show

    table = new_table(f"{calendar.exchange}, times in {calendar.tz}")
    for name in ("date", "hours"):
        table.add_column(name, no_wrap=True)
    add_number(table, "minutes")
    dates = list(_explained(calendar, first, last))
    words = {word for _, explained in dates for word in explained.layer.split()}
    console = Console()
    narrow = console.is_terminal and console.width < 100
    table.add_column("layer", width=max(map(len, words)) if narrow else None)
    table.add_column("why", overflow="fold")
    for asked, explained in dates:
        day = explained.day
        table.add_row(
            f"{asked:%a %Y-%m-%d}",
            "\n".join(_all_hours(day)) or "closed",
            f"{day.minutes_expected():,}" if day else "",
            explained.layer,
            explained.reason or (day.kind if day else ""),
        )
    show(table)


def _explained(calendar: Calendar, first: date, last: date) -> Iterator[tuple[date, Explanation]]:
    for ahead in range((last - first).days + 1):
        asked = first + timedelta(days=ahead)
        yield asked, calendar.explain(asked)


def _all_hours(day: TradingDay | None) -> list[str]:
    return [hours_of(day, s.open_ns, s.close_ns) for s in day.segments] if day else []
