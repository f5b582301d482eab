"""What commands print: tables for people, JSON lines for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from openbell.market.calendar import Calendar
from openbell.market.days import SECOND_NS, TradingDay
from openbell.runtime.checking import Check, DayCheck
from openbell.runtime.config import Config

_COUNTS = {
    "used": "used",
    "outside_hours": "outside the day's hours, ignored",
    "not_a_trading_day": "on no trading day, ignored",
    "duplicates": "duplicate bars, the last of each used",
    "out_of_order": "out of order, sorted",
    "bad_rows": "unusable, see bad_rows.csv",
    "ohlc_outside": "used with open or close outside [low, high]",
    "late": "late",
}


def one_line(value: Mapping[str, Any]) -> str:
    """A JSON object on one line."""
    return orjson.dumps(value).decode()


@contextmanager
def progress_bar(unit: str) -> Iterator[Callable[[date | None, int, int, int], None]]:
    """A bar on stderr; the function it gives takes (date, days over, days in all, rows so far)."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)

        def advance(day: date | None, done: int, total: int, rows: int) -> None:
            bar.update(task, description=str(day or ""), completed=done, total=total, rows=rows)

        yield advance


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rows, seconds = task.fields.get("rows", 0), task.elapsed or 0
        return Text(f"{rows / seconds:,.0f} rows/s" if rows and seconds else "")


def print_backtest(account: Mapping[str, Any], out: Path | None) -> None:
    """The closing tables of a backtest."""
    console = _console()
    table = _table("Sessions and signals", "session")
    for name in ("completed", "cut short", "skipped", "without rows", "high breaks", "low breaks"):
        table.add_column(name, justify="right")
    for name, of in account["sessions"].items():
        table.add_row(
            name,
            *(f"{of[key]:,}" for key in ("completed", "truncated", "skipped", "without_rows")),
            f"{of['HIGH_BREAK']:,}",
            f"{of['LOW_BREAK']:,}",
        )
    console.print(table)
    rows = account["rows"]
    counted = _table(f"{rows['rows']:,} rows")
    counted.show_header = False
    counted.add_column(justify="right")
    counted.add_column()
    for key, meaning in _COUNTS.items():
        if rows[key] or key == "used":
            counted.add_row(f"{rows[key]:,}", meaning)
    console.print(counted)
    quality = account["quality_pct"]
    console.print(
        f"{account['exchange']}, {len(account['symbols'])} symbols, "
        f"{account['trading_days']} trading days {account['first_day']} to {account['last_day']}, "
        f"{account['signals']:,} signals, "
        f"quality {'–' if quality is None else f'{quality:.2f} %'}, "
        f"{account['timing']['seconds']:.1f} s"
    )
    for key, title in (
        ("days_without_data", "without data"),
        ("not_trading_days", "with rows, but no trading days"),
    ):
        if account[key]:
            days = list(account[key])
            console.print(f"{len(days)} days {title}: {_listed(days)}")
    for split in account["possible_splits"]:
        console.print(
            f"{split['trading_date']} {split['symbol']}: opened at {split['open']:g} after a close "
            f"of {split['previous_close']:g} ({split['change_pct']:+.1f} %); a split? prices are "
            "used as given"
        )
    if out is not None:
        console.print(f"Files are in {out}/", soft_wrap=True)


def print_calendar(calendar: Calendar, first: date, last: date, *, as_json: bool) -> None:
    """Every date of a range: its hours, which layer they come from, and why."""
    table = _table(f"{calendar.exchange}, times in {calendar.tz}")
    for name in ("date", "", "hours", "minutes", "kind", "layer", "why"):
        table.add_column(name, justify="right" if name == "minutes" else "left")
    asked = first
    while asked <= last:
        explained = calendar.explain(asked)
        day = explained.day
        hours = [_hours(day, s.open_ns, s.close_ns) for s in day.segments] if day else []
        if as_json:
            print(
                one_line(
                    {
                        "date": asked,
                        "open": day is not None,
                        "tz": calendar.tz,
                        "hours": hours,
                        "minutes": day.minutes_expected() if day else 0,
                        "kind": day.kind if day else "closed",
                        "layer": explained.layer,
                        "reason": explained.reason,
                    }
                )
            )
        else:
            table.add_row(
                str(asked),
                f"{asked:%a}",
                ", ".join(hours) or "closed",
                str(day.minutes_expected()) if day else "",
                day.kind if day else "",
                explained.layer,
                explained.reason,
            )
        asked += timedelta(days=1)
    if not as_json:
        _console().print(table)


def check_lines(check: Check) -> Iterator[str]:
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
        }
    )


def print_check(check: Check) -> None:
    """What a backtest would see, by day, with the worst symbol of each."""
    console = _console()
    table = _table("Days", "date")
    numbers = ("rows", "minutes", "quality", "gaps", "outside", "duplicate", "disorder", "bad")
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_column("worst symbol")
    odd = [day for day in check.days if _is_odd(day)]
    for day in odd:
        quality = day.quality
        worst = int((quality.actual / quality.expected).argmin())
        table.add_row(
            str(quality.trading_date),
            f"{day.rows:,}",
            f"{int(quality.actual.sum()):,}/{int(quality.expected.sum()):,}",
            f"{100 * quality.actual.sum() / quality.expected.sum():.2f} %",
            *(
                f"{int(column.sum()):,}"
                for column in (
                    quality.gaps,
                    quality.outside_hours,
                    quality.duplicates,
                    quality.out_of_order,
                    quality.bad_rows,
                )
            ),
            f"{quality.symbols[worst]} {quality.actual[worst]}/{quality.expected[worst]}",
        )
    if odd:
        console.print(table)
    rows = sum(day.rows for day in check.days)
    console.print(
        f"{len(check.plan.symbols)} symbols, {len(check.days)} trading days with {rows:,} rows; "
        f"{len(check.days) - len(odd)} of them complete, without a gap or an odd row"
    )
    if check.without_data:
        days = [str(day) for day in check.without_data]
        console.print(f"{len(days)} trading days without data: {_listed(days)}")
    for day_off, count in check.plan.not_trading.items():
        console.print(f"{day_off}: {count:,} rows on no trading day")
    bad = [row for day in check.days for row in day.bad]
    for row in bad[:10]:
        console.print(f"{row.file}, row {row.row}: {row.symbol}: {row.reason}", soft_wrap=True)
    if len(bad) > 10:
        console.print(f"… and {len(bad) - 10:,} more unusable rows; a backtest lists them all")


def print_config(config: Config, file: Path, *, as_json: bool) -> None:
    """What a configuration comes to, defaults included."""
    values = config.model_dump(mode="json")
    if as_json:
        print(one_line(values))
        return
    console = _console()
    table = _table(f"{file}: in order")
    for name in ("session", "start", "end", "confirm", "check", "sides"):
        table.add_column(name)
    for session in config.sessions:
        rules = config.breakout_for(session)
        end = f"{session.end}{' (left out)' if session.closed == 'left' else ''}"
        table.add_row(
            session.name, str(session.start), end, rules.confirm, rules.check, rules.sides
        )
    console.print(table)
    data = config.data
    what = "ticks" if data.kind == "ticks" else f"bars of {data.interval}"
    console.print(
        f"{config.exchange} ({config.segment}), {what} from {data.path or '(no path)'}, "
        f"symbols: {'all' if config.symbols == 'all' else ', '.join(config.symbols)}",
        soft_wrap=True,
    )
    derived = ", ".join(str(interval) for interval in config.upkeep.derived_intervals)
    console.print(f"Derived bars: {derived or 'none'}")


def _console() -> Console:
    """Stdout; a file or a pipe is as wide as it takes."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=200)


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", box=SIMPLE_HEAD)


def _is_odd(day: DayCheck) -> bool:
    quality = day.quality
    return bool(
        quality.missing.any()
        or quality.outside_hours.any()
        or quality.duplicates.any()
        or quality.out_of_order.any()
        or quality.bad_rows.any()
    )


def _hours(day: TradingDay, open_ns: int, close_ns: int) -> str:
    zone = ZoneInfo(day.tz)
    opens, closes = (datetime.fromtimestamp(ns // SECOND_NS, zone) for ns in (open_ns, close_ns))
    before = "previous day " if opens.date() < day.date else ""
    end = "24:00" if closes.date() > day.date and closes.hour == 0 else f"{closes:%H:%M}"
    return f"{before}{opens:%H:%M}–{end}"


def _listed(days: list[str]) -> str:
    return ", ".join(days[:8]) + (f", … {days[-1]}" if len(days) > 8 else "")
