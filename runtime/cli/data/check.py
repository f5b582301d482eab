"""`openbell data check`: what a backtest would see of stored data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openbell.errors import InputError
from openbell.runtime.cli.configured import (
    configuration_file,
    environment_configures,
    naming,
    of_data,
)
from openbell.runtime.cli.options import ConfigFile, DataKind, Exchange, From, Json, To
from openbell.runtime.cli.progress import progress
from openbell.runtime.cli.words import LISTED, counted, listed, one_line

if TYPE_CHECKING:
    from rich.table import Table

    from openbell.adapters.sources import DataOptions
    from openbell.adapters.sources.described import Description
    from openbell.runtime.results.checking import Check, DayCheck


def check(
    path: Annotated[str, typer.Argument(help="File or folder with the data.", metavar="PATH")],
    exchange: Exchange = None,
    start: From = None,
    end: To = None,
    kind: Annotated[DataKind | None, typer.Option(help="What the rows are.")] = None,
    config: ConfigFile = None,
    json: Json = False,
) -> None:
    """Show what a backtest would see: how files are laid out, rows, days, gaps, bad rows.

    Without an exchange there are no days to hold the rows against, and only the layout is shown.
    """
    from openbell.adapters.sources import DataOptions
    from openbell.adapters.sources.described import described
    from openbell.runtime.intake.settings import data_options
    from openbell.runtime.results.checking import check as checked

    if configuration_file(config) is None and exchange is None and not environment_configures():
        options = DataOptions(kind=kind.value if kind else "bars")
        _check_layouts(path, described(Path(path), options), options, json=json)
        return
    file, settings = of_data(path, exchange, start, end, kind, config)
    with naming(file):
        layouts = described(Path(path), data_options(settings))
    if not json:
        print_layouts(layouts)
    with naming(file), progress() as on_day:
        found = checked(settings, on_day)
    if json:
        for line in check_lines(found, layouts):
            print(line)
    else:
        print_check(found)
    found.refuse_unusable(path)


def _refuse_lacking(path: str, layouts: Sequence[Description], options: DataOptions) -> None:
    """Say what has to be written, once what is there has turned out to be readable."""
    from openbell.adapters.sources import open_source

    lacking = dict(pair for layout in layouts for pair in layout.lacking)
    if not lacking:
        return
    filled = replace(
        options,
        timezone=options.timezone or ("UTC" if "timezone" in lacking else None),
        symbol=options.symbol or ("?" if "symbol" in lacking else None),
    )
    source = open_source(path, filled)
    try:
        source.info()
    finally:
        source.close()
    wanted = "; ".join(f"write data.{key}: NAME, {meaning}" for key, meaning in lacking.items())
    raise InputError(f"{path}: {wanted}")


def print_layouts(layouts: Sequence[Description]) -> None:
    """How files are laid out, in words and as the keys that say the same."""
    from openbell.runtime.cli.tables import show

    for layout in layouts:
        more = f" and {len(layout.files) - 1:,} more" if len(layout.files) > 1 else ""
        show(f"{layout.files[0]}{more}")
        for about, what in layout.lines:
            show(f"  {about:<9} {what}")
        show("")
    if not layouts:
        return
    if len(layouts) > 1:
        show("Each file is read as it is laid out; what is the same in all of them:\n")
    show("data:")
    for key, meaning in dict(pair for layout in layouts for pair in layout.lacking).items():
        show(f"  # {key}: NAME    {meaning}")
    for key, value in _in_common([layout.keys for layout in layouts]).items():
        show(f"  {key}: {_flow(value)}")
    show("")


def _in_common(keys: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all mappings say alike. Written for a folder, more would be wrong for some of its files."""
    first, *others = keys
    common: dict[str, Any] = {}
    for key, value in first.items():
        if isinstance(value, Mapping):
            inner = _in_common([value, *(other.get(key, {}) for other in others)])
            if inner:
                common[key] = inner
        elif all(other.get(key) == value for other in others):
            common[key] = value
    return common


def _layout_fields(layout: Description) -> dict[str, Any]:
    return {
        "files": list(layout.files),
        "found": dict(layout.lines),
        "data": dict(layout.keys),
        "lacking": dict(layout.lacking),
    }


def _flow(value: Any) -> str:
    """A value as YAML on one line."""
    import yaml

    text = yaml.safe_dump(
        value, default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _check_layouts(
    path: str, layouts: Sequence[Description], options: DataOptions, *, json: bool
) -> None:
    """How files are laid out, and how many rows there are, from when to when."""
    from openbell.adapters.sources import open_source
    from openbell.runtime.cli.tables import show

    if not json:
        print_layouts(layouts)
    _refuse_lacking(path, layouts, options)
    source = open_source(path, options)
    try:
        info, dates = source.info(), source.dates("UTC")
    finally:
        source.close()
    symbols = info.symbols
    rows = sum(dates.values())
    first, last = (str(min(dates)), str(max(dates))) if dates else (None, None)
    if json:
        found = {"rows": rows, "symbols": len(symbols), "first": first, "last": last}
        print(one_line({**found, "layouts": [_layout_fields(layout) for layout in layouts]}))
        return
    for note in info.notes:
        show(note)
    show(
        f"{first} to {last} UTC: {counted(len(symbols), 'symbol')}, {counted(rows, 'row')}; pass "
        "--exchange NAME, e.g. XNYS or XNSE, to see days, gaps and bad rows"
        if dates
        else "no rows"
    )


def check_lines(check: Check, layouts: Sequence[Description] = ()) -> Iterator[str]:
    """One object a day and symbol, and one of the whole."""
    for day in check.days:
        quality = day.quality
        for i, symbol in enumerate(quality.symbols):
            yield one_line(
                {
                    "trading_date": quality.trading_date,
                    "symbol": symbol,
                    "expected": int(quality.expected[i]),
                    "actual": int(quality.actual[i]),
                    "quality_pct": round(100 * float(quality.actual[i] / quality.expected[i]), 4),
                    "gaps": int(quality.gaps[i]),
                    "missing": int(quality.missing[i]),
                    "out_of_order": int(quality.out_of_order[i]),
                    "duplicates": int(quality.duplicates[i]),
                    "outside_hours": int(quality.outside_hours[i]),
                    "bad_rows": int(quality.bad_rows[i]),
                }
            )
    yield one_line(
        {
            "trading_days": len(check.days),
            "days_without_data": [str(day) for day in check.without_data],
            "not_trading_days": {str(d): n for d, n in check.plan.not_trading.items()},
            "rows": sum(day.rows for day in check.days)
            + sum(check.plan.not_trading.values())
            + check.plan.trimmed,
            "ohlc_outside": sum(day.ohlc_outside for day in check.days),
            "bad_rows": sum(len(day.bad) for day in check.days),
            "notes": list(check.notes),
            "layouts": [_layout_fields(layout) for layout in layouts],
        }
    )


def print_check(check: Check) -> None:
    """What a backtest would see, by day, with the worst symbol of each."""
    from openbell.runtime.cli.tables import show

    for note in check.notes:
        show(note)
    odd = [day for day in check.days if _is_odd(day)]
    if odd:
        show(_odd_days(odd))
        show("quality: % of the minutes; off: outside the hours; order: out of order")
    first, last = check.days[0].quality.trading_date, check.days[-1].quality.trading_date
    rows = sum(day.rows for day in check.days)
    show(
        f"{first} to {last}: {counted(len(check.days), 'trading day')}, "
        f"{counted(len(check.plan.symbols), 'symbol')}, {counted(rows, 'row')}"
    )
    good = len(check.days) - len(odd)
    show(f"{counted(good, 'day')} of {len(check.days):,} without a gap or an odd row")
    if outside := sum(day.ohlc_outside for day in check.days):
        show(f"{counted(outside, 'bar')} with open or close outside [low, high], which are used")
    if check.without_data:
        days = [str(day) for day in check.without_data]
        show(f"{counted(len(days), 'trading day')} without data: {listed(days)}")
    if off := check.plan.not_trading:
        found = [f"{day} ({count:,})" for day, count in off.items()]
        show(f"{counted(sum(off.values()), 'row')} on no trading day: {listed(found)}")
    bad = [row for day in check.days for row in day.bad]
    for row in bad[:LISTED]:
        show(f"{row.file}, row {row.row}: {row.symbol}: {row.reason}")
    if len(bad) > LISTED:
        show(f"… and {len(bad) - LISTED:,} more unusable rows; a backtest lists them all")


def _odd_days(days: list[DayCheck]) -> Table:
    """A row for each; columns that hold nothing but zeros are left out."""
    from openbell.runtime.cli.tables import add_number, new_table

    table = new_table("Days with gaps or odd rows")
    table.add_column("date", no_wrap=True)
    add_number(table, "rows")
    add_number(table, "quality")
    counts = {
        "gaps": [int(day.quality.gaps.sum()) for day in days],
        "missing": [int(day.quality.missing.sum()) for day in days],
        "off": [int(day.quality.outside_hours.sum()) for day in days],
        "twice": [int(day.quality.duplicates.sum()) for day in days],
        "order": [int(day.quality.out_of_order.sum()) for day in days],
        "bad": [int(day.quality.bad_rows.sum()) for day in days],
    }
    shown = {name: column for name, column in counts.items() if any(column)}
    for name in shown:
        add_number(table, name)
    if "gaps" in shown:
        table.add_column("worst symbol")
    for number, day in enumerate(days):
        quality = day.quality
        worst = int((quality.actual / quality.expected).argmin())
        cells = [
            str(quality.trading_date),
            f"{day.rows:,}",
            f"{100 * quality.actual.sum() / quality.expected.sum():.2f}",
            *(f"{column[number]:,}" for column in shown.values()),
        ]
        if "gaps" in shown:
            cells.append(
                f"{quality.symbols[worst]} {quality.actual[worst]}/{quality.expected[worst]}"
            )
        table.add_row(*cells)
    return table


def _is_odd(day: DayCheck) -> bool:
    quality = day.quality
    return bool(
        quality.missing.any()
        or quality.outside_hours.any()
        or quality.duplicates.any()
        or quality.out_of_order.any()
        or quality.bad_rows.any()
    )
