"""`openbell calendar`: the hours of days, and why they are so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import configuration, configuration_file, naming
from openbell.runtime.cli.options import ConfigFile, Json, given_day
from openbell.runtime.cli.words import hours_of, one_line

if TYPE_CHECKING:
    from openbell.market.calendar import Calendar, Explanation
    from openbell.market.days import Auction, Segment, TradingDay


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
        str | None,
        typer.Option(help="Product: equity, equity_fno, index or futures; all: each of them."),
    ] = None,
    symbol: Annotated[
        str | None,
        typer.Option(help="One symbol's own hours, by the configuration.", metavar="SYMBOL"),
    ] = None,
    auctions: Annotated[
        bool, typer.Option("--auctions", help="Auctions too, which are no part of the hours.")
    ] = False,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show each day's hours, which layer they come from, and why."""
    from openbell.hosttime import today
    from openbell.market.calendar import SEGMENTS, open_calendar
    from openbell.market.segments import ProductRule
    from openbell.runtime.intake.hours import calendar_for

    asked = given_day("--from", start), given_day("--to", end)
    first = asked[0] or asked[1] or today()
    last = asked[1] or first
    if last < first:
        raise InputError(f"--to is {last}; write a day that is not before --from, {first}")
    file = configuration_file(config) if exchange is None else config
    every: tuple[ProductRule, ...] = ()
    if segment == "all":
        segment, every = SEGMENTS[0], tuple(ProductRule(of, of) for of in SEGMENTS)
    if file is not None:
        given = {"exchange": exchange, "segment": segment}
        with naming(file):
            opened = calendar_for(
                configuration(file, given), first, last, every, with_auctions=False
            )
    elif exchange is not None:
        opened = open_calendar(
            exchange, first, last, segment=segment or SEGMENTS[0], segments=every
        )
    else:
        raise InputError("no exchange; name one, e.g. openbell calendar XNYS, or pass --config")
    if json:
        for line in calendar_lines(opened, first, last, symbol):
            print(line)
    else:
        print_calendar(opened, first, last, symbol, auctions=auctions)


def calendar_lines(
    calendar: Calendar, first: date, last: date, symbol: str | None = None
) -> Iterator[str]:
    """One object a date of a range; of one symbol its own hours."""
    from openbell.market.days import minutes_of

    for asked, explained in _explained(calendar, first, last, symbol):
        day = explained.day
        yield one_line(
            {
                "date": asked,
                "open": day is not None,
                "tz": calendar.tz,
                "hours": _all_hours(day, day.segments) if day else [],
                "minutes": day.minutes_expected() if day else 0,
                "kind": day.kind if day else "closed",
                "layer": explained.layer,
                "reason": explained.reason,
                "auctions": _auctions(day, day.auctions) if day else [],
                "segments": [
                    {
                        "segment": of.product,
                        "symbols": of.symbols,
                        "hours": _all_hours(day, of.segments),
                        "minutes": minutes_of(of.segments),
                        "layer": of.layer,
                        "reason": of.reason,
                        "auctions": _auctions(day, of.auctions),
                    }
                    for of in day.products
                ]
                if day
                else [],
            }
        )


def print_calendar(
    calendar: Calendar,
    first: date,
    last: date,
    symbol: str | None = None,
    *,
    auctions: bool = False,
) -> None:
    """Every date of a range: its hours, which layer they come from, and why."""
    from rich.console import Console

    from openbell.market.days import minutes_of
    from openbell.runtime.cli.tables import add_number, new_table, show

    of = "" if symbol is None else f", {symbol}"
    table = new_table(f"{calendar.exchange}{of}, times in {calendar.tz}")
    dates = list(_explained(calendar, first, last, symbol))
    days = [explained.day for _, explained in dates if explained.day is not None]
    differ = any(day.products or (auctions and day.auctions) for day in days)

    def add_auctions(day: TradingDay, of: Iterable[Auction]) -> None:
        for auction in of if auctions else ():
            hours = hours_of(day, auction.open_ns, auction.close_ns)
            table.add_row("", auction.kind, hours, "", auction.layer, auction.reason)

    table.add_column("date", no_wrap=True)
    if differ:
        table.add_column("segment")
    table.add_column("hours", no_wrap=True)
    add_number(table, "minutes")
    words = {word for _, explained in dates for word in explained.layer.split()}
    console = Console()
    narrow = console.is_terminal and console.width < 100
    table.add_column("layer", width=max(map(len, words)) if narrow else None)
    table.add_column("why", overflow="fold")
    for asked, explained in dates:
        day = explained.day
        written = f"{asked:%a %Y-%m-%d}"
        if day is None or not day.products:
            table.add_row(
                written,
                *([""] if differ else []),
                "\n".join(_all_hours(day, day.segments)) if day else "closed",
                f"{day.minutes_expected():,}" if day else "",
                explained.layer,
                explained.reason or (day.kind if day else ""),
            )
            if day is not None:
                add_auctions(day, day.auctions)
            continue
        for place, product in enumerate(day.products):
            table.add_row(
                written if place == 0 else "",
                product.product,
                "\n".join(_all_hours(day, product.segments)),
                f"{minutes_of(product.segments):,}",
                product.layer,
                product.reason or day.kind,
            )
            add_auctions(day, product.auctions)
    show(table)


def _explained(
    calendar: Calendar, first: date, last: date, symbol: str | None
) -> Iterator[tuple[date, Explanation]]:
    from openbell.market.products import of_symbol

    for ahead in range((last - first).days + 1):
        asked = first + timedelta(days=ahead)
        explained = calendar.explain(asked)
        yield asked, explained if symbol is None else of_symbol(explained, symbol)


def _auctions(day: TradingDay, auctions: Iterable[Auction]) -> list[dict[str, str]]:
    return [
        {
            "kind": of.kind,
            "hours": hours_of(day, of.open_ns, of.close_ns),
            "layer": of.layer,
            "reason": of.reason,
        }
        for of in auctions
    ]


def _all_hours(day: TradingDay, segments: Iterable[Segment]) -> list[str]:
    return [hours_of(day, s.open_ns, s.close_ns) for s in segments]
