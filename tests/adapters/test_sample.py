"""The invented market: equal seeds give equal bytes, ticks add up to bars."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from openbell.adapters.sample import (
    BAR_SCHEMA,
    DIRT_RATES,
    SYMBOLS_MAX,
    TICK_SCHEMA,
    sample_days,
    sample_symbols,
    write_dirty_sample,
    write_sample,
    write_tick_sample,
)
from openbell.errors import InputError

PRICES = ["open", "high", "low", "close"]


def frame(files: list[Path]) -> Any:
    """A pandas table; its stubs type few of the expressions that a test wants."""
    return pd.concat([pq.read_table(file).to_pandas() for file in files], ignore_index=True)


def contents(files: list[Path]) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in files}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    once = write_sample(tmp_path / "a", symbols=7, days=2, seed=3)
    again = write_sample(tmp_path / "b", symbols=7, days=2, seed=3)
    other = write_sample(tmp_path / "c", symbols=7, days=2, seed=4)

    assert contents(once) == contents(again)
    assert contents(once) != contents(other)


def test_a_longer_sample_begins_with_the_shorter_one(tmp_path: Path) -> None:
    short = write_sample(tmp_path / "short", symbols=7, days=2, seed=3)
    long = write_sample(tmp_path / "long", symbols=7, days=4, seed=3)

    assert contents(short) == contents(long[:2])


def test_a_file_holds_every_minute_of_its_day_by_time_then_symbol(tmp_path: Path) -> None:
    (day,) = sample_days("XNYS", date(2024, 1, 2), 1)
    minutes, _ = day.grid(60_000_000_000)
    (file,) = write_sample(tmp_path, symbols=3, days=1, seed=3)

    table = pq.read_table(file)

    assert file.name == "2024-01-02.parquet"
    assert table.schema.equals(BAR_SCHEMA)
    assert table["ts"].cast("int64").to_pylist() == np.repeat(minutes, 3).tolist()
    assert table["symbol"].to_pylist() == list(sample_symbols(3)) * 390


def test_days_are_those_of_the_exchange_and_half_days_are_short(tmp_path: Path) -> None:
    files = write_sample(tmp_path, symbols=1, days=3, seed=3, start=date(2024, 11, 27))

    assert [file.stem for file in files] == ["2024-11-27", "2024-11-29", "2024-12-02"]
    assert [pq.read_metadata(file).num_rows for file in files] == [390, 210, 390]


def test_another_exchange_and_interval_give_its_hours_in_longer_bars(tmp_path: Path) -> None:
    files = write_sample(tmp_path, symbols=1, days=1, seed=3, exchange="XLON", interval_minutes=15)

    assert pq.read_metadata(files[0]).num_rows == 34


def test_prices_are_positive_cents_inside_the_bar_and_overnight_gaps_small(tmp_path: Path) -> None:
    bars = frame(write_sample(tmp_path, symbols=20, days=21, seed=7))

    inside = bars[["open", "close"]]
    dates = bars.ts.dt.date
    closes = bars.groupby([dates, "symbol"]).close.last().unstack()
    opens = bars.groupby([dates, "symbol"]).open.first().unstack()

    assert (bars[PRICES] > 0).all(axis=None)
    assert (bars[PRICES].round(2) == bars[PRICES]).all(axis=None)
    assert (inside.max(axis=1) <= bars.high).all()
    assert (inside.min(axis=1) >= bars.low).all()
    assert ((opens / closes.shift()).dropna() - 1).abs().max(axis=None) < 0.05


def test_most_opening_ranges_break_and_some_both_ways(tmp_path: Path) -> None:
    bars = frame(write_sample(tmp_path, symbols=20, days=21, seed=7))
    key = [bars.ts.dt.date, bars.symbol]
    opening = bars.groupby(key).cumcount() < 15

    levels = bars[opening].groupby(key).agg(high=("high", "max"), low=("low", "min"))
    rest = bars[~opening].groupby(key).agg(high=("close", "max"), low=("close", "min"))
    up, down = rest.high > levels.high, rest.low < levels.low

    assert 0.05 < (up & down).mean() < 0.9
    assert (up | down).mean() > 0.5


def test_volume_is_high_at_open_and_close_and_low_at_noon(tmp_path: Path) -> None:
    bars = frame(write_sample(tmp_path, symbols=50, days=2, seed=7))

    by_minute = bars.groupby(bars.groupby([bars.ts.dt.date, "symbol"]).cumcount()).volume.sum()

    assert by_minute[:30].mean() > 1.5 * by_minute[180:210].mean() < by_minute[-30:].mean()
    assert by_minute.min() > 0


def test_symbols_are_unique_as_far_as_they_go() -> None:
    assert len(set(sample_symbols(SYMBOLS_MAX))) == SYMBOLS_MAX
    assert set(sample_symbols(5)) < set(sample_symbols(6))


def test_nothing_existing_is_overwritten_without_force(tmp_path: Path) -> None:
    before = contents(write_sample(tmp_path, symbols=2, days=2, seed=1))

    with pytest.raises(InputError, match=r"already holds 2024-01-0\d\.parquet"):
        write_sample(tmp_path, symbols=2, days=1, seed=2)
    kept = contents(sorted(tmp_path.iterdir()))
    forced = contents(write_sample(tmp_path, symbols=2, days=2, seed=2, force=True))

    assert kept == before
    assert forced.keys() == before.keys()
    assert forced != before


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("")

    with pytest.raises(InputError, match="is a file"):
        write_sample(taken, symbols=1, days=1, seed=1, force=True)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"symbols": 0}, "symbols=0"),
        ({"symbols": SYMBOLS_MAX + 1}, "symbols="),
        ({"days": 0}, "days=0"),
        ({"seed": -1}, "seed=-1"),
        ({"interval_minutes": 0}, "interval_minutes=0"),
    ],
)
def test_a_number_out_of_range_is_named_and_nothing_is_written(
    tmp_path: Path, wrong: dict[str, int], says: str
) -> None:
    numbers = {"symbols": 1, "days": 1, "seed": 1} | wrong

    with pytest.raises(InputError, match=says):
        write_sample(tmp_path / "out", **numbers)  # type: ignore[arg-type]

    assert not (tmp_path / "out").exists()


def test_progress_counts_the_days_written(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    write_sample(tmp_path, symbols=1, days=3, seed=1, progress=lambda *done: told.append(done))

    assert told == [(1, 3), (2, 3), (3, 3)]


def test_an_interrupted_sample_holds_only_whole_files(tmp_path: Path) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, symbols=1, days=3, seed=1, progress=interrupt)

    assert [p.name for p in sorted(tmp_path.iterdir())] == [
        "2024-01-02.parquet",
        "2024-01-03.parquet",
    ]
    assert all(pq.read_metadata(p).num_rows == 390 for p in tmp_path.iterdir())


def test_what_a_dirty_sample_says_it_injected_is_what_the_files_hold(tmp_path: Path) -> None:
    files, table = write_dirty_sample(tmp_path / "dirty", symbols=20, days=3, seed=5)
    clean = frame(write_sample(tmp_path / "clean", symbols=20, days=3, seed=5))
    rows = frame(files)
    said = {kind: sum(table[kind].to_pylist()) for kind in DIRT_RATES}

    minute = rows.ts.dt.tz_convert("America/New_York").dt
    outside = (minute.hour * 60 + minute.minute) < 9 * 60 + 30
    inside = rows[~outside]
    bars = inside.groupby(["symbol", "ts"])
    newest = inside.groupby(["symbol", inside.ts.dt.date]).ts.cummax()

    assert min(said.values()) > 0
    assert said["outside_hours"] == outside.sum()
    assert said["missing"] == len(clean) - bars.ngroups
    assert said["duplicate"] == len(inside) - bars.ngroups
    assert said["out_of_order"] == (inside.ts < newest).sum()
    assert said["nan_price"] == inside.close.isna().sum()
    assert said["zero_price"] == (inside.low == 0).sum()
    assert said["high_below_low"] == (inside.high < inside.low).sum()
    assert said["open_outside"] == ((inside.open > inside.high) & (inside.high >= inside.low)).sum()
    assert (
        said["close_outside"] == ((inside.close < inside.low) & (inside.high >= inside.low)).sum()
    )


def test_the_last_of_the_rows_of_a_minute_is_the_clean_one(tmp_path: Path) -> None:
    dirty, _ = write_dirty_sample(tmp_path / "dirty", symbols=20, days=2, seed=5)
    clean = frame(write_sample(tmp_path / "clean", symbols=20, days=2, seed=5))
    rows = frame(dirty)

    twice = rows[rows.duplicated(["symbol", "ts"], keep=False)]
    last = twice.groupby(["symbol", "ts"]).last()
    first = twice.groupby(["symbol", "ts"]).first()

    assert (last == clean.set_index(["symbol", "ts"]).loc[last.index]).all(axis=None)
    assert (first.close != last.close).any()


def test_ticks_add_up_to_the_bars_of_the_same_seed(tmp_path: Path) -> None:
    bars = frame(write_sample(tmp_path / "bars", symbols=5, days=2, seed=5))
    files = write_tick_sample(tmp_path / "ticks", symbols=5, days=2, seed=5)
    ticks = frame(files)

    minutes = ticks.groupby([ticks.ts.dt.floor("min"), "symbol"])
    summed = minutes.agg(
        open=("price", "first"),
        high=("price", "max"),
        low=("price", "min"),
        close=("price", "last"),
        volume=("size", "sum"),
    ).reset_index()

    assert pq.read_schema(files[0]).equals(TICK_SCHEMA)
    assert ticks.ts.is_monotonic_increasing
    assert not ticks.duplicated(["symbol", "ts"]).any()
    pd.testing.assert_frame_equal(summed[bars.columns], bars, check_dtype=False)


def test_a_weekend_start_begins_on_the_next_trading_day() -> None:
    days = sample_days("XNYS", date(2024, 1, 13), 2)

    assert [day.date for day in days] == [date(2024, 1, 16), date(2024, 1, 17)]
    assert days[1].date - days[0].date == timedelta(days=1)
