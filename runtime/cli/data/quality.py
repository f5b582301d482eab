"""`openbell data quality`: how much of each day and symbol is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.runtime.cli.configured import naming, of_data
from openbell.runtime.cli.options import ConfigFile, DataKind, Exchange, From, Json, To
from openbell.runtime.cli.progress import progress
from openbell.runtime.cli.words import LISTED, counted, hours_of, one_line

if TYPE_CHECKING:
    from rich.text import Text

    from openbell.runtime.results.checking import DayMap


def quality(
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
    from openbell.runtime.results.checking import quality_map

    file, settings = of_data(path, exchange, start, end, kind, config, symbols)
    with naming(file), progress() as on_day:
        days = quality_map(settings, on_day)
    if json:
        for line in quality_lines(days):
            print(line)
    else:
        print_quality(days)


def quality_lines(days: Sequence[DayMap]) -> Iterator[str]:
    """One object a day and symbol, with its gaps."""
    from openbell.adapters.jsonlines import format_instants
    from openbell.adapters.tables import quality_percent

    for found in days:
        quality, kinds, runs = found.quality, found.kinds, found.gaps
        first, last = (format_instants(ns).to_pylist() for ns in (runs.from_ns, runs.to_ns))
        of_symbol: dict[int, list[dict[str, Any]]] = {}
        for g, symbol in enumerate(runs.symbol.tolist()):
            gap = {"from": first[g], "to": last[g], "missing": int(runs.missing[g])}
            of_symbol.setdefault(symbol, []).append(gap)
        percent = quality_percent(quality.expected, quality.actual)
        for i, symbol in enumerate(quality.symbols):
            yield one_line(
                {
                    "trading_date": quality.trading_date,
                    "symbol": symbol,
                    "expected": int(quality.expected[i]),
                    "actual": int(quality.actual[i]),
                    "quality_pct": float(percent[i]),
                    "traded": _told(kinds.traded[i]),
                    "idle": _told(kinds.idle[i]),
                    "missing": int(quality.missing[i]),
                    "gaps": of_symbol.get(i, []),
                }
            )


def print_quality(days: Sequence[DayMap]) -> None:
    """A map of symbols and days: whole percent of the minutes, cut off; the worst symbols first."""
    import numpy as np
    from rich.console import Console

    from openbell.runtime.cli.tables import add_number, new_table, show

    symbols = days[0].quality.symbols
    expected = np.array([day.quality.expected for day in days])
    actual = np.array([day.quality.actual for day in days])
    order = np.lexsort((np.array(symbols), actual.sum(axis=0)))
    console = Console()
    widest = max(len(symbols[i]) for i in order[:_MAP_SYMBOLS])
    room = (console.width - widest - 2) // 5 if console.is_terminal else _MAP_DAYS
    shown = days[: max(room, 1)]
    table = new_table("Minutes that are there, %", "symbol")
    for found in shown:
        add_number(table, f"{found.day.date:%m}\n{found.day.date:%d}")
    for i in order[:_MAP_SYMBOLS].tolist():
        cells = zip(
            actual[: len(shown), i].tolist(), expected[: len(shown), i].tolist(), strict=True
        )
        table.add_row(symbols[i], *(_heat(there, of) for there, of in cells))
    show(table)
    if (more := len(symbols) - _MAP_SYMBOLS) > 0:
        show(f"… and {counted(more, 'symbol')} that lack no more; --symbols names others")
    if cut := days[len(shown) :]:
        show(f"… and {counted(len(cut), 'day')} more, from {cut[0].day.date}; --from shows them")
    first, last = days[0].day.date, days[-1].day.date
    show(
        f"{first} to {last}: {counted(len(days), 'trading day')}, "
        f"{counted(len(symbols), 'symbol')}: {_minute_kinds(days, int(expected.sum()))}"
    )
    _show_longest(days)


_MAP_SYMBOLS, _MAP_DAYS = 40, 31
"""A map is no larger; a terminal may have room for fewer days."""


_HEAT = ((100, "green"), (99, "bright_green"), (95, "yellow"), (80, "bright_red"), (1, "red"))


def _heat(there: int, expected: int) -> Text:
    """Whole percent; 100 stands for all of the minutes alone, and – for none."""
    from rich.text import Text

    if not there:
        return Text("–", style="dim")
    percent = max(1, 100 * there // expected)
    style = next(colour for least, colour in _HEAT if percent >= least)
    return Text(str(percent), style=f"black on {style}")


def _minute_kinds(days: Sequence[DayMap], expected: int) -> str:
    """What happened in the minutes, where volumes tell it."""
    from openbell.market.gaps import NOT_TOLD

    missing = sum(int(day.quality.missing.sum()) for day in days)
    told = [day.kinds.traded != NOT_TOLD for day in days]
    traded, idle = (
        sum(int(getattr(d.kinds, name)[t].sum()) for d, t in zip(days, told, strict=True))
        for name in ("traded", "idle")
    )
    there = expected - missing - traded - idle
    parts = {"traded": traded, "idle (no volume)": idle, "there, volume unknown": there}
    parts["missing"] = missing
    return ", ".join(
        f"{100 * minutes / expected:.2f} % {name}"
        for name, minutes in parts.items()
        if minutes or name == "missing"
    )


def _show_longest(days: Sequence[DayMap]) -> None:
    """The longest gaps, with local times."""
    import numpy as np

    from openbell.runtime.cli.tables import show

    found = sorted(
        (
            (-int(day.gaps.missing[g]), number, int(day.gaps.from_ns[g]), g)
            for number, day in enumerate(days)
            for g in np.argsort(-day.gaps.missing, kind="stable")[:LISTED].tolist()
        )
    )
    for minutes, number, from_ns, g in found[:LISTED]:
        of = days[number]
        symbol = of.gaps.symbols[of.gaps.symbol[g]]
        hours = hours_of(of.day, from_ns, int(of.gaps.to_ns[g]))
        show(f"{of.day.date} {symbol}: {hours} missing, {counted(-minutes, 'minute')}")
    if (more := sum(len(day.gaps) for day in days) - len(found[:LISTED])) > 0:
        show(f"… and {counted(more, 'shorter gap')}; --json lists them all")


def _told(minutes: int) -> int | None:
    from openbell.market.gaps import NOT_TOLD

    return None if minutes == NOT_TOLD else int(minutes)
