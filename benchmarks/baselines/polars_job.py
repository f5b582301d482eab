"""Baseline (b): the job of `openbell backtest` as one would write it in polars, a day at a time.

It reads the same configuration (its sessions; the hours come from exchange_calendars) and writes
the same tables: signals.jsonl, signals.parquet, sessions.jsonl, levels.parquet, bars_5m.parquet,
bars_15m.parquet, quality.csv, and bad_rows.csv when there are any. It is written for speed where
polars allows it: one collect_all a day runs all queries of the day in parallel, all windows share
one pass over the bars, duplicates and disorder are only looked for where a count or the order of
the file shows them, and tables are kept as columns until the end. It does without what makes openbell a runtime: companions,
`touch`, ticks, several segments a day, live rows, snapshots.
"""

from __future__ import annotations

import argparse
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

import exchange_calendars
import polars as pl
import yaml

DERIVED_MINUTES = (5, 15)
COLUMNS = ["symbol", "ts", "open", "high", "low", "close", "volume"]
PRICES = ["open", "high", "low", "close"]
ISO = "%Y-%m-%dT%H:%M:%SZ"
USABLE = pl.all_horizontal(pl.col(PRICES) > 0, pl.col(PRICES).is_not_nan()) & (
    pl.col("high") >= pl.col("low")
)


@dataclass(frozen=True)
class Window:
    """A session on one day; minutes are counted from the day's open."""

    number: int
    name: str
    start: str
    end: str
    first: int
    stop: int
    """The first minute after the session."""


@dataclass(frozen=True)
class Hours:
    date: date
    tz: ZoneInfo
    open: datetime
    minutes: int

    def minute(self, wall: str) -> int:
        local = datetime.combine(self.date, time.fromisoformat(wall), tzinfo=self.tz)
        return int((local - self.open).total_seconds()) // 60

    def instant(self, minute: pl.Expr) -> pl.Expr:
        opens = pl.lit(self.open, pl.Datetime("ns", "UTC"))
        return opens + pl.duration(minutes=minute, time_unit="ns")


@dataclass(frozen=True)
class DayTables:
    signals: pl.DataFrame
    levels: pl.DataFrame
    documents: pl.DataFrame
    derived: tuple[pl.DataFrame, ...]
    quality: pl.DataFrame
    bad_rows: pl.DataFrame


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

    days: list[DayTables] = []
    with (
        (options.out / "signals.jsonl").open("wb") as signal_lines,
        (options.out / "sessions.jsonl").open("wb") as session_lines,
    ):
        for hours in trading_hours(options.exchange, files):
            windows = windows_of(sessions, hours)
            tables = run_day(files[hours.date], options.exchange, hours, windows)
            write_signals(tables.signals, signal_lines)
            tables.documents.write_ndjson(session_lines)
            days.append(tables)

    write_tables(days, options.out)


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
            yield Hours(session.date(), tz, opens.to_pydatetime(), minutes)


def windows_of(sessions: list[dict[str, str]], hours: Hours) -> list[Window]:
    """Windows inside the hours, the end minute included; one that the close cuts is shorter."""
    windows = []
    for number, session in enumerate(sessions):
        first = hours.minute(session["start"])
        stop = min(hours.minute(session["end"]) + 1, hours.minutes)
        if 0 <= first < stop:
            windows.append(
                Window(number, session["name"], session["start"], session["end"], first, stop)
            )
    return windows


def run_day(file: Path, exchange: str, hours: Hours, windows: list[Window]) -> DayTables:
    raw = read_day(file, hours)
    in_order = raw["ts"].is_sorted()
    inside = raw.filter(pl.col("minute").is_between(0, hours.minutes, closed="left"))
    bad = inside.filter(~USABLE)
    good = inside if bad.is_empty() else inside.filter(USABLE)
    bars = distinct_bars(good, in_order)

    lazy = bars.lazy()
    levels = levels_query(lazy, windows)
    five = derived_query(lazy, "minute", 1, DERIVED_MINUTES[0])
    fifteen = derived_query(five, "bucket", *DERIVED_MINUTES)
    quality = quality_query(raw, inside, lazy, bad, in_order, hours)
    level_frame, breaks, *derived, quality_frame = pl.collect_all(
        [levels, breaks_query(lazy, levels, windows), five, fifteen, quality]
    )

    level_table = level_rows(level_frame, windows, hours)
    signals = signal_rows(exchange, bars, level_frame, breaks, windows, hours)
    return DayTables(
        signals=signals,
        levels=level_table,
        documents=session_documents(exchange, hours, level_table, signals, windows),
        derived=tuple(
            bar_rows(frame, interval, hours)
            for frame, interval in zip(derived, DERIVED_MINUTES, strict=True)
        ),
        quality=quality_frame,
        bad_rows=bad.select(
            file=pl.lit(file.name), symbol=pl.col("symbol").cast(pl.String), ts="ts"
        ),
    )


def read_day(file: Path, hours: Hours) -> pl.DataFrame:
    raw = pl.read_parquet(file, columns=COLUMNS)
    # Joins and groups on a category compare integers, not text; a file's own categories stand in
    # the order in which they came.
    raw = raw.with_columns(pl.col("symbol").cast(pl.String))
    symbols = pl.Enum(raw["symbol"].unique().sort())
    minute = (pl.col("ts") - hours.open).dt.total_minutes().cast(pl.Int32)
    return raw.with_columns(pl.col("symbol").cast(symbols), minute=minute)


def distinct_bars(good: pl.DataFrame, in_order: bool) -> pl.DataFrame:
    """By time, the last of equal (symbol, minute); looked for only where a count says so."""
    bars = good if in_order else good.sort("ts", maintain_order=True)
    minutes = bars.group_by("symbol").agg(pl.col("minute").n_unique())
    if minutes["minute"].sum() == len(bars):
        return bars
    return bars.unique(["symbol", "minute"], keep="last", maintain_order=True)


def levels_query(bars: pl.LazyFrame, windows: list[Window]) -> pl.LazyFrame:
    """One row a symbol, columns for each window: one pass over the bars for all of them."""
    columns = []
    for w in windows:
        inside = pl.when(pl.col("minute").is_between(w.first, w.stop, closed="left"))
        columns += [
            inside.then("high").max().alias(f"high{w.number}"),
            inside.then("low").min().alias(f"low{w.number}"),
            inside.then("minute").count().cast(pl.Int64).alias(f"count{w.number}"),
            inside.then("minute").min().alias(f"first{w.number}"),
            inside.then("minute").max().alias(f"last{w.number}"),
        ]
    return bars.group_by("symbol").agg(columns)


def breaks_query(bars: pl.LazyFrame, levels: pl.LazyFrame, windows: list[Window]) -> pl.LazyFrame:
    """One row a symbol, for each window the minutes of its breaks and the open of its next bar."""
    limits = [f"{kind}{w.number}" for w in windows for kind in ("high", "low")]
    close, minute = pl.col("close"), pl.col("minute")
    columns = []
    for w in windows:
        after = minute >= w.stop
        above, below = close > pl.col(f"high{w.number}"), close < pl.col(f"low{w.number}")
        columns += [
            pl.when(after & above).then("minute").min().alias(f"HIGH_BREAK{w.number}"),
            pl.when(after & below).then("minute").min().alias(f"LOW_BREAK{w.number}"),
            pl.col("open")
            .filter(after)
            .get(minute.filter(after).arg_min())
            .alias(f"next{w.number}"),
        ]
    return (
        bars.select("symbol", "minute", "open", "close")
        .join(levels.select("symbol", *limits), on="symbol")
        .group_by("symbol")
        .agg(columns)
    )


def derived_query(bars: pl.LazyFrame, unit: str, of: int, interval: int) -> pl.LazyFrame:
    """Bars of `interval` minutes from bars of `of`, whose number in the day is in `unit`."""
    bucket = (pl.col(unit) // (interval // of)).alias("bucket")
    return (
        bars.group_by("symbol", bucket)
        .agg(pl.first("open"), pl.max("high"), pl.min("low"), pl.last("close"), pl.sum("volume"))
        .sort("bucket", "symbol")
    )


def quality_query(
    raw: pl.DataFrame,
    inside: pl.DataFrame,
    bars: pl.LazyFrame,
    bad: pl.DataFrame,
    in_order: bool,
    hours: Hours,
) -> pl.LazyFrame:
    minute = pl.col("minute")
    seen = bars.group_by("symbol").agg(
        actual=pl.len(),
        gaps=(minute.diff() > 1).sum()
        + (minute.first() > 0).cast(pl.UInt32)
        + (minute.last() < hours.minutes - 1),
    )
    disorder = pl.lit(0) if in_order else (minute < minute.cum_max()).sum()
    kept = inside.lazy().group_by("symbol").agg(rows_inside=pl.len(), out_of_order=disorder)
    unusable = bad.lazy().group_by("symbol").agg(bad_rows=pl.len())
    joined = raw.lazy().group_by("symbol").agg(rows=pl.len())
    for other in (kept, seen, unusable):
        joined = joined.join(other, on="symbol", how="left")
    actual = pl.col("actual")
    return (
        joined.with_columns(pl.exclude("symbol").fill_null(0).cast(pl.Int64))
        .sort("symbol")
        .select(
            pl.lit(hours.date).alias("trading_date"),
            pl.col("symbol").cast(pl.String),
            pl.lit(hours.minutes).alias("expected"),
            "actual",
            (100 * actual / hours.minutes).round(4).alias("quality_pct"),
            pl.when(actual == 0).then(1).otherwise(pl.col("gaps")).alias("gaps"),
            (hours.minutes - actual).alias("missing"),
            "out_of_order",
            pl.lit(0).alias("late"),
            (pl.col("rows_inside") - actual - pl.col("bad_rows")).alias("duplicates"),
            (pl.col("rows") - pl.col("rows_inside")).alias("outside_hours"),
            "bad_rows",
        )
    )


def bar_rows(bars: pl.DataFrame, interval: int, hours: Hours) -> pl.DataFrame:
    return bars.select(
        pl.col("symbol").cast(pl.String),
        hours.instant(pl.col("bucket") * interval).alias("ts"),
        *PRICES,
        pl.col("volume").cast(pl.Float64),
    )


def level_rows(levels: pl.DataFrame, windows: list[Window], hours: Hours) -> pl.DataFrame:
    ordered = levels.sort("symbol").with_columns(pl.col("symbol").cast(pl.String))
    return pl.concat(
        ordered.select(
            pl.lit(hours.date).alias("trading_date"),
            pl.lit(w.name).alias("session"),
            "symbol",
            pl.lit("COMPLETED").alias("status"),
            pl.col(f"high{w.number}").alias("high"),
            pl.col(f"low{w.number}").alias("low"),
            pl.col(f"count{w.number}").alias("count"),
            hours.instant(pl.col(f"first{w.number}")).alias("first_ts"),
            hours.instant(pl.col(f"last{w.number}")).alias("last_ts"),
            (pl.col(f"count{w.number}") == w.stop - w.first).alias("complete"),
        )
        for w in windows
    )


def signal_rows(
    exchange: str,
    bars: pl.DataFrame,
    levels: pl.DataFrame,
    breaks: pl.DataFrame,
    windows: list[Window],
    hours: Hours,
) -> pl.DataFrame:
    both = levels.join(breaks, on="symbol")
    found = pl.concat(
        both.select(
            "symbol",
            pl.col(f"{side}{w.number}").alias("minute"),
            pl.lit(w.name).alias("session"),
            pl.lit(w.number).alias("number"),
            pl.lit(side).alias("side"),
            pl.col(f"{level}{w.number}").alias("level"),
            gapped(pl.col(f"next{w.number}"), pl.col(f"{level}{w.number}")).alias("gap"),
            (pl.col(f"count{w.number}") == w.stop - w.first).alias("complete"),
        )
        for w in windows
        for side, level, gapped in (
            ("HIGH_BREAK", "high", operator.gt),
            ("LOW_BREAK", "low", operator.lt),
        )
    ).drop_nulls("minute")
    prefix = f"{exchange}:{hours.date}"
    return (
        found.join(bars.select("symbol", "minute", "ts", price="close"), on=["symbol", "minute"])
        .sort("ts", "symbol", "number", "side")
        .select(
            pl.format("{}:{}:{}:{}:1", pl.lit(prefix), "session", "symbol", "side").alias("id"),
            pl.lit(hours.date).alias("trading_date"),
            "session",
            pl.col("symbol").cast(pl.String),
            "side",
            "ts",
            (pl.col("ts") + pl.duration(minutes=1, time_unit="ns")).alias("known_at"),
            "price",
            "level",
            pl.lit(None).alias("companion"),
            "gap",
            pl.lit(False).alias("ambiguous"),
            "complete",
            pl.lit(False).alias("backfilled"),
        )
    )


def session_documents(
    exchange: str,
    hours: Hours,
    levels: pl.DataFrame,
    signals: pl.DataFrame,
    windows: list[Window],
) -> pl.DataFrame:
    """One document a session, its symbols' levels and its signals inside."""
    entry = pl.struct(
        "symbol",
        "high",
        "low",
        pl.col("count").alias("tick_count"),
        pl.col("first_ts").dt.strftime(ISO).alias("first_tick_time"),
        pl.col("last_ts").dt.strftime(ISO).alias("last_tick_time"),
    )
    spans = pl.DataFrame(
        [(w.name, w.start, w.end, w.first, w.stop) for w in windows],
        schema=["session_name", "start_time", "end_time", "first", "stop"],
        orient="row",
    )
    data = levels.group_by(session_name="session").agg(symbols_data=entry)
    ids = signals.group_by(session_name="session").agg(signals_generated="id")
    started = hours.instant(pl.col("first")).dt.strftime(ISO)
    completed = hours.instant(pl.col("stop")).dt.strftime(ISO)
    return (
        spans.join(data, on="session_name", how="left", maintain_order="left")
        .join(ids, on="session_name", how="left", maintain_order="left")
        .select(
            pl.lit(exchange).alias("exchange"),
            pl.lit(hours.date).alias("trading_date"),
            "session_name",
            "start_time",
            "end_time",
            pl.lit("COMPLETED").alias("status"),
            started.alias("started_at"),
            completed.alias("completed_at"),
            "symbols_data",
            pl.lit(True).alias("breakouts_checked"),
            "signals_generated",
            hours.instant(pl.lit(0)).dt.strftime(ISO).alias("created_at"),
            completed.alias("updated_at"),
        )
    )


def write_signals(signals: pl.DataFrame, lines: IO[bytes]) -> None:
    signals.with_columns(pl.col("ts", "known_at").dt.strftime(ISO)).write_ndjson(lines)


def write_tables(days: list[DayTables], out: Path) -> None:
    pl.concat([d.signals for d in days]).write_parquet(out / "signals.parquet")
    pl.concat([d.levels for d in days]).write_parquet(out / "levels.parquet")
    for position, interval in enumerate(DERIVED_MINUTES):
        bars = pl.concat([d.derived[position] for d in days])
        bars.write_parquet(out / f"bars_{interval}m.parquet")
    pl.concat([d.quality for d in days]).write_csv(out / "quality.csv")
    bad_rows = pl.concat([d.bad_rows for d in days])
    if len(bad_rows):
        bad_rows.write_csv(out / "bad_rows.csv")


if __name__ == "__main__":
    main()
