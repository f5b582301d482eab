"""Baseline (c): the whole job of `openbell backtest` by hand in numpy, a day at a time.

It reads the same configuration (its sessions; the hours come from exchange_calendars), and writes
the same files: signals.jsonl, signals.parquet, sessions.jsonl, levels.parquet, bars_5m.parquet,
bars_15m.parquet, quality.csv, bad_rows.csv when there are any, and a summary. A day is put into a
grid of minutes × symbols once, by a view where it is complete and in order; all that follows is
slices and reductions of that grid, text is spelled once a minute or a symbol, and the next day's
file is read while a day is computed. It does without what makes openbell a runtime: companions,
`touch`, buffers, rules, ticks, several segments a day, live rows, snapshots.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import IO, Any
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

DERIVED_MINUTES = (5, 15)
PRICES = ("open", "high", "low", "close")
COLUMNS = ["symbol", "ts", *PRICES, "volume"]
MINUTE = 60 * 10**9
INSTANT = pa.timestamp("ns", "UTC")
POWERS = np.array([float(10**n) for n in range(23)])  # all that float64 holds exactly
SIDES = ("HIGH_BREAK", "LOW_BREAK")
QUALITY = (
    *("trading_date", "symbol", "expected", "actual", "quality_pct", "gaps", "missing"),
    *("out_of_order", "late", "duplicates", "outside_hours", "bad_rows"),
)

Grid = NDArray[np.float64]
"""(minutes, symbols), NaN where there is no bar."""
Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Hours:
    date: date
    tz: ZoneInfo
    open_ns: int
    minutes: int

    def minute(self, wall: str) -> int:
        local = datetime.combine(self.date, time.fromisoformat(wall), tzinfo=self.tz)
        return (int(local.timestamp()) * 10**9 - self.open_ns) // MINUTE

    def instants(self, minutes: Any) -> Ints:
        return self.open_ns + np.asarray(minutes, np.int64) * MINUTE

    @cached_property
    def texts(self) -> list[str]:
        """Each minute's start; the last one is the close."""
        opens = datetime.fromtimestamp(self.open_ns // 10**9, UTC)
        return [
            f"{opens + timedelta(minutes=minute):%Y-%m-%dT%H:%M:%SZ}"
            for minute in range(self.minutes + 1)
        ]


@dataclass(frozen=True)
class Bars:
    """A day's bars inside the hours."""

    hours: Hours
    symbols: list[str]
    there: Mask
    open: Grid
    high: Grid
    low: Grid
    close: Grid
    volume: Grid


@dataclass(frozen=True)
class Levels:
    """What a window of the day came to, for each symbol."""

    name: str
    start: str
    end: str
    first: int
    stop: int
    """The first minute after it."""
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    count: Ints
    first_minute: Ints
    last_minute: Ints

    @property
    def complete(self) -> Mask:
        return np.asarray(self.count == self.stop - self.first)


@dataclass
class Columns:
    """Tables that grow day by day, and are written at the end."""

    parts: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, **columns: Any) -> None:
        for name, column in columns.items():
            self.parts.setdefault(name, []).append(column)

    def write(self, path: Path) -> None:
        pq.write_table(
            pa.table({name: pa.chunked_array(parts) for name, parts in self.parts.items()}), path
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--exchange", required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()

    # Text as it stands: YAML 1.1 reads an unquoted 10:30 as 630.
    sessions = yaml.load(options.config.read_text(), yaml.BaseLoader)["sessions"]
    files = {date.fromisoformat(f.stem): f for f in sorted(options.data.glob("*.parquet"))}
    options.out.mkdir(parents=True, exist_ok=True)
    days = list(trading_hours(options.exchange, files))
    signal_table, level_table = Columns(), Columns()
    derived = {minutes: Columns() for minutes in DERIVED_MINUTES}
    bad_rows: list[tuple[Any, ...]] = []
    signals = rows = 0
    with (
        ThreadPoolExecutor(1) as ahead,
        (options.out / "signals.jsonl").open("wb") as signal_lines,
        (options.out / "sessions.jsonl").open("wb") as session_lines,
        (options.out / "quality.csv").open("w", newline="") as quality_lines,
    ):
        quality = csv.writer(quality_lines, lineterminator="\n")
        quality.writerow(QUALITY)
        reading = ahead.submit(read, files[days[0].date])
        for number, hours in enumerate(days):
            table = reading.result()
            if number + 1 < len(days):
                reading = ahead.submit(read, files[days[number + 1].date])
            rows += len(table)
            bars, account, bad = gridded(table, hours)
            bad_rows += [(files[hours.date], *row) for row in bad]
            windows = [levels for s in sessions if (levels := levels_of(s, bars)) is not None]
            found = breaks(bars, windows)
            ids = signal_rows(options.exchange, bars, windows, found, signal_table, signal_lines)
            signals += len(ids)
            session_documents(bars, windows, found, ids, session_lines)
            level_rows(bars, windows, level_table)
            for minutes, columns in derived.items():
                derived_rows(bars, minutes, columns)
            quality.writerows(quality_rows(bars, account))
    signal_table.write(options.out / "signals.parquet")
    level_table.write(options.out / "levels.parquet")
    for minutes, columns in derived.items():
        columns.write(options.out / f"bars_{minutes}m.parquet")
    if bad_rows:
        with (options.out / "bad_rows.csv").open("w", newline="") as lines:
            csv.writer(lines).writerows([("file", "row", "symbol", "ts"), *bad_rows])
    summary = {"exchange": options.exchange, "trading_days": len(days), "signals": signals}
    (options.out / "summary.json").write_text(json.dumps({**summary, "rows": rows}))


def read(file: Path) -> pa.Table:
    return pq.read_table(file, columns=COLUMNS, read_dictionary=["symbol"])


def trading_hours(exchange: str, dates: dict[date, Path]) -> Iterator[Hours]:
    """Hours of those dates that are trading days."""
    # It refuses a range of one day, so that the range ends a week later.
    calendar = exchange_calendars.get_calendar(
        exchange, start=str(min(dates)), end=str(max(dates) + timedelta(days=7))
    )
    tz = ZoneInfo(str(calendar.tz))
    for session, opens, closes in calendar.schedule[["open", "close"]].itertuples():
        if session.date() in dates:
            minutes = int((closes - opens).total_seconds()) // 60
            yield Hours(session.date(), tz, opens.value, minutes)


def gridded(
    table: pa.Table, hours: Hours
) -> tuple[Bars, dict[str, Ints], list[tuple[int, str, int]]]:
    """A day's rows as a grid, of equal (symbol, minute) the last; what became of the others; and
    the unusable ones: row, symbol and time."""
    texts = table.column("symbol").combine_chunks()
    names = texts.dictionary.to_pylist()
    symbols = sorted(names)
    place = {name: number for number, name in enumerate(symbols)}
    code = np.array([place[name] for name in names], np.int64)[texts.indices.to_numpy()]
    ts = table.column("ts").cast(pa.int64()).to_numpy()
    values = {name: table.column(name).to_numpy() for name in (*PRICES, "volume")}
    m, s = hours.minutes, len(symbols)
    minute = (ts - hours.open_ns) // MINUTE
    cell = minute * s + code

    if len(cell) == m * s and cell[0] == 0 and (np.diff(cell) == 1).all() and usable(values).all():
        grids = {name: column.reshape(m, s) for name, column in values.items()}
        none = np.zeros(s, np.int64)
        account = dict.fromkeys(("out_of_order", "duplicates", "outside_hours", "bad_rows"), none)
        return Bars(hours, symbols, np.ones((m, s), np.bool_), **grids), account, []

    inside = (minute >= 0) & (minute < m)
    good = usable(values)
    kept = np.flatnonzero(inside & good)
    bad = np.flatnonzero(inside & ~good)
    held = np.zeros(m * s, np.bool_)
    held[cell[kept]] = True
    grids = {}
    for name, column in values.items():
        grid = np.full(m * s, np.nan)
        grid[cell[kept]] = column[kept]  # of equal cells the last stays
        grids[name] = grid.reshape(m, s)
    there = held.reshape(m, s)
    used = np.bincount(code[kept], minlength=s)
    account = {
        "out_of_order": disorder(code[kept], minute[kept], s),
        "duplicates": used - there.sum(axis=0),
        "outside_hours": np.bincount(code[~inside], minlength=s),
        "bad_rows": np.bincount(code[bad], minlength=s),
    }
    return (
        Bars(hours, symbols, there, **grids),
        account,
        [(int(row) + 1, symbols[code[row]], int(ts[row])) for row in bad],
    )


def usable(values: dict[str, Any]) -> Mask:
    """Prices above 0, none missing, and no high below its low."""
    good = values["high"] >= values["low"]
    for name in PRICES:
        good &= values[name] > 0
    return np.asarray(good)


def disorder(code: Ints, minute: Ints, symbols: int) -> Ints:
    """For each symbol, rows whose minute lies before that of an earlier row."""
    by_symbol = np.argsort(code, kind="stable")
    code, minute = code[by_symbol], minute[by_symbol]
    # Symbols lie apart, so that one running maximum serves all.
    apart = code * 10**6 + minute
    return np.bincount(code[apart < np.maximum.accumulate(apart)], minlength=symbols)


def levels_of(session: dict[str, str], bars: Bars) -> Levels | None:
    """The end minute is included; a window that the close cuts is shorter, one outside is none."""
    first = bars.hours.minute(session["start"])
    stop = min(bars.hours.minute(session["end"]) + 1, bars.hours.minutes)
    if not 0 <= first < stop:
        return None
    there = bars.there[first:stop]
    return Levels(
        *(session["name"], session["start"], session["end"], first, stop),
        high=np.fmax.reduce(bars.high[first:stop]),
        low=np.fmin.reduce(bars.low[first:stop]),
        count=there.sum(axis=0),
        first_minute=first + there.argmax(axis=0),
        last_minute=stop - 1 - there[::-1].argmax(axis=0),
    )


@dataclass(frozen=True)
class Breaks:
    """The breaks of a day, ordered by minute, symbol, session's name and side."""

    minute: Ints
    symbol: Ints
    window: Ints
    """Place among the day's windows."""
    side: Ints
    price: NDArray[np.float64]
    level: NDArray[np.float64]
    touched: Ints
    """The first minute since the window that went beyond the level, if only inside its bar."""
    excess: NDArray[np.float64]
    """How far that one went."""
    gap: Mask
    complete: Mask


def breaks(bars: Bars, windows: list[Levels]) -> Breaks:
    """The first close strictly beyond a level, for each window, symbol and side."""
    columns: list[tuple[Any, ...]] = []
    for number, window in enumerate(windows):
        close, there = bars.close[window.stop :], bars.there[window.stop :]
        if not len(close):
            continue
        # A close may lie outside of its bar's range.
        extremes = (
            np.fmax(bars.high[window.stop :], close),
            np.fmin(bars.low[window.stop :], close),
        )
        following = bars.open[window.stop + there.argmax(axis=0), np.arange(len(bars.symbols))]
        for side, level in enumerate((window.high, window.low)):
            beyond = close > level if side == 0 else close < level
            who = np.flatnonzero(beyond.any(axis=0))
            minute = window.stop + beyond.argmax(axis=0)[who]
            far = extremes[side][:, who]
            touch = (far > level[who] if side == 0 else far < level[who]).argmax(axis=0)
            excess = decimal_distance(far[touch, np.arange(len(who))], level[who])
            gap = following > level if side == 0 else following < level
            columns.append(
                (
                    *(minute, who, np.full(len(who), number), np.full(len(who), side)),
                    *(bars.close[minute, who], level[who], window.stop + touch, excess),
                    *(gap[who], window.complete[who]),
                )
            )
    if not columns:
        none = np.zeros(0, np.int64)
        prices, flags = none / 1, none > 0
        return Breaks(none, none, none, none, prices, prices, none, prices, flags, flags)
    minute, symbol, window_of, side_of, price, level, touched, beyond_by, gap, complete = (
        np.concatenate(parts) for parts in zip(*columns, strict=True)
    )
    rank = np.argsort(np.argsort([window.name for window in windows]))
    order = np.lexsort((side_of, rank[window_of], symbol, minute))
    return Breaks(
        *(minute[order], symbol[order], window_of[order], side_of[order]),
        *(price[order], level[order], touched[order], beyond_by[order]),
        *(gap[order], complete[order]),
    )


def decimal_distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far prices lie apart, to the 15 digits that they have as decimals."""
    places = 14 - np.floor(np.log10(np.maximum(one, other)))
    power = POWERS[np.clip(places, 0, 22).astype(np.int64)]
    return np.asarray(np.rint(np.abs(one - other) * power) / power)


def signal_rows(
    exchange: str,
    bars: Bars,
    windows: list[Levels],
    found: Breaks,
    table: Columns,
    lines: IO[bytes],
) -> list[str]:
    """The signals' ids; they are added to the table and written as JSON lines."""
    hours, day = bars.hours, str(bars.hours.date)
    names = [window.name for window in windows]
    ids = [
        f"{exchange}:{day}:{names[window]}:{bars.symbols[symbol]}:{SIDES[side]}:1"
        for window, symbol, side in zip(
            found.window.tolist(), found.symbol.tolist(), found.side.tolist(), strict=True
        )
    ]
    rows = zip(
        ids,
        *(found.window.tolist(), found.symbol.tolist(), found.side.tolist()),
        *(found.minute.tolist(), found.price.tolist(), found.level.tolist()),
        *(found.touched.tolist(), found.excess.tolist()),
        *(found.gap.tolist(), found.complete.tolist()),
        strict=True,
    )
    made = [
        orjson.dumps(
            {
                "id": key,
                "trading_date": day,
                "session": names[window],
                "symbol": bars.symbols[symbol],
                "side": SIDES[side],
                "ts": hours.texts[minute],
                "known_at": hours.texts[minute + 1],
                "price": price,
                "level": level,
                "companion": None,
                "gap": gap,
                "ambiguous": False,
                "complete": complete,
                "backfilled": False,
                "kind": "breakout",
                "of": None,
                "touched_at": hours.texts[touched],
                "touch_excess": excess,
                "closed_beyond_at": hours.texts[minute],
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )
        for key, window, symbol, side, minute, price, level, touched, excess, gap, complete in rows
    ]
    lines.write(b"".join(made))
    n, none = len(ids), np.zeros(len(ids), np.bool_)
    ts = hours.instants(found.minute)
    table.add(
        id=pa.array(ids, pa.string()),
        trading_date=dates_of(hours, n),
        session=coded(found.window, names),
        symbol=coded(found.symbol, bars.symbols),
        side=coded(found.side, SIDES),
        ts=pa.array(ts, INSTANT),
        known_at=pa.array(ts + MINUTE, INSTANT),
        price=pa.array(found.price),
        level=pa.array(found.level),
        companion=pa.nulls(
            n, pa.struct([("symbol", pa.string()), ("price", pa.float64()), ("ts", INSTANT)])
        ),
        gap=pa.array(found.gap),
        ambiguous=pa.array(none),
        complete=pa.array(found.complete),
        backfilled=pa.array(none),
        kind=coded(np.zeros(n, np.int64), ["breakout"]),
        of=pa.nulls(n, pa.string()),
        touched_at=pa.array(hours.instants(found.touched), INSTANT),
        touch_excess=pa.array(found.excess),
        closed_beyond_at=pa.array(ts, INSTANT),
        rules=pa.nulls(n, pa.list_(pa.field("element", pa.string(), nullable=False))),
    )
    return ids


def session_documents(
    bars: Bars, windows: list[Levels], found: Breaks, ids: list[str], lines: IO[bytes]
) -> None:
    """One document a session, its symbols' levels and its signals inside."""
    texts, day = bars.hours.texts, str(bars.hours.date)
    for number, window in enumerate(windows):
        rows = zip(
            bars.symbols,
            *(window.high.tolist(), window.low.tolist(), window.count.tolist()),
            *(window.first_minute.tolist(), window.last_minute.tolist()),
            strict=True,
        )
        data = {
            symbol: {
                "high": high if count else None,
                "low": low if count else None,
                "tick_count": count,
                "first_tick_time": texts[first] if count else None,
                "last_tick_time": texts[last] if count else None,
            }
            for symbol, high, low, count, first, last in rows
        }
        after = bars.there[window.stop :]
        looked = after.any(axis=0).all() if len(after) else False
        checked = window.stop + int(after.argmax(axis=0).max()) + 1 if looked else len(texts) - 1
        lines.write(
            orjson.dumps(
                {
                    "trading_date": day,
                    "session_name": window.name,
                    "start_time": window.start,
                    "end_time": window.end,
                    "status": "COMPLETED",
                    "started_at": texts[window.first],
                    "completed_at": texts[window.stop],
                    "symbols_data": data,
                    "breakouts_checked": True,
                    "signals_generated": [
                        ids[row] for row in np.flatnonzero(found.window == number)
                    ],
                    "created_at": texts[0],
                    "updated_at": texts[checked],
                    "reason": None,
                },
                option=orjson.OPT_APPEND_NEWLINE,
            )
        )


def level_rows(bars: Bars, windows: list[Levels], table: Columns) -> None:
    s = len(bars.symbols)
    for window in windows:
        none = window.count == 0
        table.add(
            trading_date=dates_of(bars.hours, s),
            session=coded(np.zeros(s, np.int64), [window.name]),
            symbol=coded(np.arange(s), bars.symbols),
            status=coded(np.zeros(s, np.int64), ["COMPLETED"]),
            high=pa.array(window.high, mask=none),
            low=pa.array(window.low, mask=none),
            count=pa.array(window.count),
            first_ts=pa.array(bars.hours.instants(window.first_minute), INSTANT, mask=none),
            last_ts=pa.array(bars.hours.instants(window.last_minute), INSTANT, mask=none),
            complete=pa.array(window.complete),
        )


def derived_rows(bars: Bars, minutes: int, table: Columns) -> None:
    """Bars of so many minutes, by time and symbol; the last one may be shorter."""
    m, s = bars.there.shape
    buckets = -(-m // minutes)

    def cut(grid: Any, missing: Any) -> Any:
        if m % minutes:
            more = np.full((buckets * minutes - m, s), missing, grid.dtype)
            grid = np.concatenate((grid, more))
        return grid.reshape(buckets, minutes, s)

    there = cut(bars.there, False)
    opens, closes = cut(bars.open, np.nan), cut(bars.close, np.nan)
    filled = there.any(axis=1)
    if there.all():
        first, last = opens[:, 0], closes[:, -1]
    else:
        at = there.argmax(axis=1)[:, None]
        first = np.take_along_axis(opens, at, axis=1)[:, 0]
        at = minutes - 1 - there[:, ::-1].argmax(axis=1)[:, None]
        last = np.take_along_axis(closes, at, axis=1)[:, 0]
    volume = cut(np.where(bars.there, bars.volume, 0.0), 0.0)
    bucket, symbol = np.nonzero(filled)
    table.add(
        symbol=coded(symbol, bars.symbols),
        ts=pa.array(bars.hours.instants(bucket * minutes), INSTANT),
        open=pa.array(first[filled]),
        high=pa.array(np.fmax.reduce(cut(bars.high, np.nan), axis=1)[filled]),
        low=pa.array(np.fmin.reduce(cut(bars.low, np.nan), axis=1)[filled]),
        close=pa.array(last[filled]),
        volume=pa.array(volume.sum(axis=1)[filled]),
    )


def quality_rows(bars: Bars, account: dict[str, Ints]) -> Iterator[tuple[Any, ...]]:
    there, expected = bars.there, bars.hours.minutes
    actual = there.sum(axis=0)
    # A gap begins where a minute is missing and the one before, if there is one, is not.
    gaps = (~there[0]).astype(np.int64) + (there[:-1] & ~there[1:]).sum(axis=0)
    for place, symbol in enumerate(bars.symbols):
        seen = int(actual[place])
        yield (
            *(bars.hours.date, symbol, expected, seen, round(100 * seen / expected, 4)),
            *(int(gaps[place]), expected - seen, int(account["out_of_order"][place]), 0),
            *(int(account[name][place]) for name in ("duplicates", "outside_hours", "bad_rows")),
        )


def coded(codes: Any, names: Any) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(
        pa.array(np.asarray(codes, np.int32)), pa.array(names, pa.string())
    )


def dates_of(hours: Hours, count: int) -> pa.Array:
    days = np.full(count, (hours.date - date(1970, 1, 1)).days, np.int32)
    return pa.array(days).cast(pa.date32())


if __name__ == "__main__":
    main()
