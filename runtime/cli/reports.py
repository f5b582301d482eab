"""What commands print: tables for people, JSON lines for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
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

from openbell.adapters.jsonlines import format_instants
from openbell.adapters.tables import quality_percent
from openbell.market.calendar import Calendar, Explanation
from openbell.market.days import SECOND_NS, TradingDay
from openbell.market.gaps import NOT_TOLD
from openbell.runtime.config import Config
from openbell.runtime.results.checking import Check, DayCheck, DayMap

_COUNTS = {
    "used": "used",
    "outside_hours": "outside the day's hours, ignored",
    "not_a_trading_day": "on no trading day, ignored",
    "duplicates": "duplicate bars, the last of each used",
    "out_of_order": "out of order, sorted",
    "bad_rows": "unusable, listed in bad_rows.csv",
    "ohlc_outside": "used with open or close outside [low, high]",
}
_LISTED = 10
"""Of what may go on and on, so many are shown."""


def one_line(value: Mapping[str, Any]) -> str:
    """A JSON object on one line."""
    return orjson.dumps(value).decode()


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 day, 2 days."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@contextmanager
def progress_bar(unit: str) -> Iterator[Advance]:
    """A bar on stderr."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        yield Advance(bar)


class Advance:
    """Moves a bar on: takes (date, days over, days in all, rows so far)."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        # Time counts from when the number of days is known: what comes before says nothing of it.
        self._task = bar.add_task("reading", total=None, start=False, note="")

    def __call__(self, day: date | None, done: int, total: int, rows: int) -> None:
        self._bar.start_task(self._task)
        description = str(day or "")
        self._bar.update(
            self._task, description=description, completed=done, total=total, rows=rows
        )

    def note(self, text: str) -> None:
        """Say something at the bar's end."""
        self._bar.update(self._task, note=text)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        rows, seconds = task.fields.get("rows", 0), task.elapsed or 0
        return Text(f"{rows / seconds:,.0f} rows/s" if rows and seconds else "")


def print_backtest(account: Mapping[str, Any], out: Path | None) -> None:
    """The closing tables of a backtest."""
    table = _table("Sessions and signals", "session")
    for name in ("completed", "cut", "skipped", "empty", "high", "low"):
        _add_number(table, name)
    for name, of in account["sessions"].items():
        keys = ("completed", "truncated", "skipped", "without_rows", "HIGH_BREAK", "LOW_BREAK")
        table.add_row(name, *(f"{of[key]:,}" for key in keys))
    _show(table)
    rows = account["rows"]
    kinds = _table(f"Rows: {rows['rows']:,}")
    kinds.show_header = False
    _add_number(kinds)
    kinds.add_column()
    for key, meaning in _COUNTS.items():
        kinds.add_row(f"{rows[key]:,}", meaning)
    if rows["late"]:
        kinds.add_row(f"{rows['late']:,}", "late")
    _show(kinds)
    days, quality = account["trading_days"], account["quality_pct"]
    span = f", {account['first_day']} to {account['last_day']}" if days else ""
    _show(
        f"{account['exchange']}{span}: {counted(days, 'trading day')}, "
        f"{counted(len(account['symbols']), 'symbol')}, {counted(account['signals'], 'signal')}"
    )
    known = "unknown" if quality is None else f"{quality:.2f} %"
    if account["quality"] == "not measured":
        known = "not measured"
    _show(f"Quality {known}, {account['timing']['seconds']:.1f} s")
    for key, title in (
        ("days_without_data", "without data"),
        ("not_trading_days", "with rows, but no trading day"),
    ):
        if account[key]:
            found = list(account[key])
            _show(f"{counted(len(found), 'day')} {title}: {_listed(found)}")
    splits = account["possible_splits"]
    for split in splits[:_LISTED]:
        _show(
            f"{split['trading_date']} {split['symbol']}: opened at {split['open']:g} after a close "
            f"of {split['previous_close']:g} ({split['change_pct']:+.1f} %); a split? prices are "
            "used as given"
        )
    if len(splits) > _LISTED:
        _show(f"… and {len(splits) - _LISTED:,} more possible splits; summary.json lists them all")
    drift = account["timing"]["metrics"]["drift"]
    if drift["count"]:
        _show(
            f"Steps came {_duration(drift['mean'])} late on average, {_duration(drift['max'])} "
            "at most"
        )
    if out is not None and (days or not (account["interrupted"] or account["error"])):
        _show(f"Files are in {out}/")


_PHASES = {
    "history": "reading the days before",
    "prefetch": "waiting for a day's rows",
    "activation": "from the rows to the open day",
    "session": "from the open day to its close",
    "end_of_day": "taking the closed day in",
    "gap": "from a day's end to the next open day",
}


def print_metrics(metrics: Mapping[str, Any]) -> None:
    """How long the parts of a run took, and each actor a step."""
    phases = _table(f"Durations, {metrics['steps']:,} steps", "phase")
    for name in ("days", "total", "mean", "max"):
        _add_number(phases, name)
    phases.add_column("")
    for name, of in metrics["phases"].items():
        times = (_duration(of[key]) for key in ("total", "mean", "max"))
        phases.add_row(name, f"{of['count']:,}", *times, _PHASES.get(name, ""))
    _show(phases)
    actors = _table("Time of each actor", "actor")
    _add_number(actors, "a step")
    for name, seconds in metrics["step_seconds_per_actor"].items():
        actors.add_row(name, _duration(seconds))
    _show(actors)


def _duration(seconds: float | None) -> str:
    """As a number that can be read: 1.2 s, 34.5 ms, 6 µs."""
    if seconds is None:
        return ""
    if seconds >= 1:
        return f"{seconds:,.1f} s"
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"


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
    table = _table(f"{calendar.exchange}, times in {calendar.tz}")
    for name in ("date", "hours"):
        table.add_column(name, no_wrap=True)
    _add_number(table, "minutes")
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
    _show(table)


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
        }
    )


def print_check(check: Check) -> None:
    """What a backtest would see, by day, with the worst symbol of each."""
    odd = [day for day in check.days if _is_odd(day)]
    if odd:
        _show(_odd_days(odd))
        _show("quality: % of the minutes; off: outside the hours; order: out of order")
    first, last = check.days[0].quality.trading_date, check.days[-1].quality.trading_date
    rows = sum(day.rows for day in check.days)
    _show(
        f"{first} to {last}: {counted(len(check.days), 'trading day')}, "
        f"{counted(len(check.plan.symbols), 'symbol')}, {counted(rows, 'row')}"
    )
    good = len(check.days) - len(odd)
    _show(f"{counted(good, 'day')} of {len(check.days):,} without a gap or an odd row")
    if outside := sum(day.ohlc_outside for day in check.days):
        _show(f"{counted(outside, 'bar')} with open or close outside [low, high], which are used")
    if check.without_data:
        days = [str(day) for day in check.without_data]
        _show(f"{counted(len(days), 'trading day')} without data: {_listed(days)}")
    if off := check.plan.not_trading:
        found = [f"{day} ({count:,})" for day, count in off.items()]
        _show(f"{counted(sum(off.values()), 'row')} on no trading day: {_listed(found)}")
    bad = [row for day in check.days for row in day.bad]
    for row in bad[:_LISTED]:
        _show(f"{row.file}, row {row.row}: {row.symbol}: {row.reason}")
    if len(bad) > _LISTED:
        _show(f"… and {len(bad) - _LISTED:,} more unusable rows; a backtest lists them all")


def _odd_days(days: list[DayCheck]) -> Table:
    """A row for each; columns that hold nothing but zeros are left out."""
    table = _table("Days with gaps or odd rows")
    table.add_column("date", no_wrap=True)
    _add_number(table, "rows")
    _add_number(table, "quality")
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
        _add_number(table, name)
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


def quality_lines(days: Sequence[DayMap]) -> Iterator[str]:
    """One object a day and symbol, with its gaps."""
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
    symbols = days[0].quality.symbols
    expected = np.array([day.quality.expected for day in days])
    actual = np.array([day.quality.actual for day in days])
    order = np.lexsort((np.array(symbols), actual.sum(axis=0)))
    console = Console()
    widest = max(len(symbols[i]) for i in order[:_MAP_SYMBOLS])
    room = (console.width - widest - 2) // 5 if console.is_terminal else _MAP_DAYS
    shown = days[: max(room, 1)]
    table = _table("Minutes that are there, %", "symbol")
    for found in shown:
        _add_number(table, f"{found.day.date:%m}\n{found.day.date:%d}")
    for i in order[:_MAP_SYMBOLS].tolist():
        cells = zip(
            actual[: len(shown), i].tolist(), expected[: len(shown), i].tolist(), strict=True
        )
        table.add_row(symbols[i], *(_heat(there, of) for there, of in cells))
    _show(table)
    if (more := len(symbols) - _MAP_SYMBOLS) > 0:
        _show(f"… and {counted(more, 'symbol')} that lack no more; --symbols names others")
    if cut := days[len(shown) :]:
        _show(f"… and {counted(len(cut), 'day')} more, from {cut[0].day.date}; --from shows them")
    first, last = days[0].day.date, days[-1].day.date
    _show(
        f"{first} to {last}: {counted(len(days), 'trading day')}, "
        f"{counted(len(symbols), 'symbol')}: {_minute_kinds(days, int(expected.sum()))}"
    )
    _show_longest(days)


_MAP_SYMBOLS, _MAP_DAYS = 40, 31
"""A map is no larger; a terminal may have room for fewer days."""
_HEAT = ((100, "green"), (99, "bright_green"), (95, "yellow"), (80, "bright_red"), (1, "red"))


def _heat(there: int, expected: int) -> Text:
    """Whole percent; 100 stands for all of the minutes alone, and – for none."""
    if not there:
        return Text("–", style="dim")
    percent = max(1, 100 * there // expected)
    style = next(colour for least, colour in _HEAT if percent >= least)
    return Text(str(percent), style=f"black on {style}")


def _minute_kinds(days: Sequence[DayMap], expected: int) -> str:
    """What happened in the minutes, where volumes tell it."""
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
    found = sorted(
        (
            (-int(day.gaps.missing[g]), number, int(day.gaps.from_ns[g]), g)
            for number, day in enumerate(days)
            for g in np.argsort(-day.gaps.missing, kind="stable")[:_LISTED].tolist()
        )
    )
    for minutes, number, from_ns, g in found[:_LISTED]:
        of = days[number]
        symbol = of.gaps.symbols[of.gaps.symbol[g]]
        hours = _hours(of.day, from_ns, int(of.gaps.to_ns[g]))
        _show(f"{of.day.date} {symbol}: {hours} missing, {counted(-minutes, 'minute')}")
    if (more := sum(len(day.gaps) for day in days) - len(found[:_LISTED])) > 0:
        _show(f"… and {counted(more, 'shorter gap')}; --json lists them all")


def _told(minutes: int) -> int | None:
    return None if minutes == NOT_TOLD else int(minutes)


def print_config(config: Config, file: Path, *, doubt: str | None) -> None:
    """What a configuration comes to, defaults included.

    Parameters
    ----------
    doubt : str, optional
        Why its data could not be looked at: what it says of the data is taken for true.
    """
    table = _table(f"{file} is in order", "session")
    for name in ("start", "end", "confirm", "check", "sides"):
        table.add_column(name, no_wrap=True)
    for session in config.sessions:
        rules = config.breakout_for(session)
        end = f"{session.end}{' (left out)' if session.closed == 'left' else ''}"
        table.add_row(
            session.name, str(session.start), end, rules.confirm, rules.check, rules.sides
        )
    _show(table)
    data = config.data
    what = "ticks" if data.kind == "ticks" else f"bars of {data.interval}"
    _show(
        f"{config.exchange} ({config.segment}), {what} from {data.path or '(no path)'}, "
        f"symbols: {'all' if config.symbols == 'all' else ', '.join(config.symbols)}"
    )
    streamed = "ticks" if data.kind == "ticks" else str(data.interval)
    generated = [
        str(interval)
        for interval in config.upkeep.derived_intervals
        if config.upkeep.enabled and (data.kind == "ticks" or interval != data.interval)
    ]
    unknown = f"; as configured: {doubt}" if doubt else ""
    _show(f"Streamed: {streamed}; generated: {', '.join(generated) or 'none'}{unknown}")


def _show(what: Table | str) -> None:
    """On a terminal as wide as that; into a file or pipe as wide as it takes, without padding."""
    console = Console(highlight=False, markup=False)
    if isinstance(what, str):
        console.print(what, soft_wrap=True)
    elif console.is_terminal:
        console.print(what)
    else:
        wide = Console(highlight=False, markup=False, width=1000, file=StringIO())
        with wide.capture() as captured:
            wide.print(what)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))


def _table(title: str, *columns: str) -> Table:
    return Table(
        *columns,
        title=Text(title, overflow="fold"),
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 0, 0, 1),
    )


def _add_number(table: Table, name: str = "") -> None:
    table.add_column(name, justify="right", no_wrap=True)


def _explained(calendar: Calendar, first: date, last: date) -> Iterator[tuple[date, Explanation]]:
    for ahead in range((last - first).days + 1):
        asked = first + timedelta(days=ahead)
        yield asked, calendar.explain(asked)


def _all_hours(day: TradingDay | None) -> list[str]:
    return [_hours(day, s.open_ns, s.close_ns) for s in day.segments] if day else []


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
    before = f"{opens:%a} " if opens.date() < day.date else ""
    end = "24:00" if closes.date() > day.date and closes.hour == 0 else f"{closes:%H:%M}"
    return f"{before}{opens:%H:%M}–{end}"


def _listed(days: list[str]) -> str:
    return ", ".join(days[:8]) + (f", … {days[-1]}" if len(days) > 8 else "")
