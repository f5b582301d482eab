"""Made-up market data for demos, benchmarks and tests: the same seed writes the same bytes.

Days are the exchange's real trading days, prices a random walk in cents. Each symbol's daily opens
and closes are drawn once; a day then fills in its minutes from a random stream of its own, so that
it can be made alone and a longer sample begins with the shorter one. Symbols are invented; any
likeness to a listed one is chance.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openbell.errors import InputError, RunError
from openbell.market.bars import Mask, Prices
from openbell.market.calendar import open_calendar
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay

Progress = Callable[[int, int], None]
"""Told (days written, days in all) after each day."""

FIRST_DAY = date(2024, 1, 2)
TICKS_A_BAR = 6

_CONSONANTS = "BCDFGHJKLMNPQRSTVWXZ"
_VOWELS = "AEIOU"
SYMBOLS_MAX = (len(_CONSONANTS) * len(_VOWELS)) ** 2

BAR_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("ts", pa.timestamp("ns", tz="UTC")),
        *((name, pa.float64()) for name in ("open", "high", "low", "close")),
        ("volume", pa.int64()),
    ]
)
TICK_SCHEMA = pa.schema(
    [
        ("symbol", pa.string()),
        ("ts", pa.timestamp("ns", tz="UTC")),
        ("price", pa.float64()),
        ("size", pa.int64()),
    ]
)

DIRT_BLOCK_BARS = 5
DIRT_RATES = {
    "missing": 0.02,
    "duplicate": 0.01,
    "out_of_order": 0.01,
    "nan_price": 0.005,
    "zero_price": 0.005,
    "high_below_low": 0.005,
    "open_outside": 0.005,
    "close_outside": 0.005,
    "outside_hours": 0.005,
}
"""Share of a symbol's blocks of five bars that have a fault, by kind; a block has one at most.

It lies in the block's middle, so that no two faults touch:

- `missing`: the row is left out
- `duplicate`: a row of the same symbol and time, with other values, stands before the right one
- `out_of_order`: the row and the symbol's next one stand in the wrong order
- `nan_price`, `zero_price`, `high_below_low`: the close is NaN, the low is 0, high and low are
  exchanged and a cent apart at least: unusable rows
- `open_outside`, `close_outside`: the open lies above the high, the close below the low
- `outside_hours`: a row more, before the day's open (of an exchange that never closes, it lies in
  the day before)
"""
_CLEAN = len(DIRT_RATES)


@dataclass(frozen=True, eq=False)
class _Levels:
    """What is drawn once for all days: (days, s) or (s,) float64 arrays."""

    symbols: tuple[str, ...]
    open_log: Prices
    """(days, s) natural logarithm of each day's first price."""
    close_log: Prices
    volatility: Prices
    """(s,) standard deviation of a day's log return."""
    volume: Prices
    """(s,) mean shares a minute."""


@dataclass(frozen=True, eq=False)
class _Bars:
    """A day's bars as a grid (m, s), all of them present."""

    symbols: tuple[str, ...]
    ts: Nanoseconds
    """(m,) bar starts, ns UTC."""
    ends: Nanoseconds
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: NDArray[np.int64]


def sample_symbols(count: int) -> tuple[str, ...]:
    """The first `count` invented tickers, sorted; at most `SYMBOLS_MAX`.

    Raises
    ------
    InputError
        If `count` is outside 1 to `SYMBOLS_MAX`.
    """
    if not 1 <= count <= SYMBOLS_MAX:
        raise InputError(f"sample: symbols={count}; choose 1 to {SYMBOLS_MAX}")
    # 3571 has no factor in common with SYMBOLS_MAX: all numbers come once, neighbours far apart.
    numbers = [(1207 + 3571 * i) % SYMBOLS_MAX for i in range(count)]
    return tuple(sorted(map(_ticker, numbers)))


def sample_days(exchange: str, start: date, days: int) -> tuple[TradingDay, ...]:
    """The first `days` trading days of an exchange from a date on.

    Raises
    ------
    CalendarError
        If the exchange is unknown or its calendar ends before that.
    InputError
        If `days` is below 1.
    """
    if days < 1:
        raise InputError(f"sample: days={days}; choose 1 or more")
    # A year has some 250 trading days on most exchanges: 1.46 dates to a day, and holidays in rows.
    last = start + timedelta(days=days * 8 // 5 + 14)
    found = open_calendar(exchange, start, last).days(start, last)
    if len(found) < days:
        raise InputError(
            f"sample: {exchange} has {len(found)} trading days from {start} to {last}, not {days}; "
            "choose fewer days or another start"
        )
    return found[:days]


def write_sample(
    out: Path,
    *,
    symbols: int,
    days: int,
    seed: int,
    exchange: str = "XNYS",
    start: date = FIRST_DAY,
    interval_minutes: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write clean bars, one Parquet file a trading day: `YYYY-MM-DD.parquet`.

    Rows are ordered by ts, then symbol: `symbol` (string), `ts` (timestamp[ns, UTC], bar start),
    `open, high, low, close` (float64, two decimals), `volume` (int64).

    Returns
    -------
    The files in order of date.

    Raises
    ------
    InputError
        If a number is out of range, or `out` holds Parquet files and `force` is false.
    CalendarError
        If no calendar covers the exchange and the days.
    """
    made = _days_of_bars(symbols, days, seed, exchange, start, interval_minutes)
    return _written(out, ((day, _bar_table(bars)) for day, bars in made), days, force, progress)


def write_dirty_sample(
    out: Path,
    *,
    symbols: int,
    days: int,
    seed: int,
    exchange: str = "XNYS",
    start: date = FIRST_DAY,
    interval_minutes: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Path], pa.Table]:
    """The bars of `write_sample` with faults at the rates of `DIRT_RATES`.

    Returns
    -------
    files : list of Path
    injected : pyarrow.Table
        One row a day and symbol: `trading_date` (date32), `symbol`, and for each kind of
        `DIRT_RATES` an int64 column with its number.

    Raises
    ------
    As `write_sample`.
    """
    injected: list[pa.Table] = []

    def tables() -> Iterator[tuple[TradingDay, pa.Table]]:
        made = _days_of_bars(symbols, days, seed, exchange, start, interval_minutes)
        for index, (day, bars) in enumerate(made):
            faults = _faults(bars, _random(seed, 2, index))
            injected.append(_faults_table(day, bars, faults))
            yield day, _dirty_table(bars, faults)

    files = _written(out, tables(), days, force, progress)
    return files, pa.concat_tables(injected)


def write_tick_sample(
    out: Path,
    *,
    symbols: int,
    days: int,
    seed: int,
    exchange: str = "XNYS",
    start: date = FIRST_DAY,
    force: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write ticks, `TICKS_A_BAR` a minute and symbol, that add up to the bars of `write_sample`.

    Rows are ordered by ts, then symbol: `symbol` (string), `ts` (timestamp[ns, UTC], whole
    milliseconds), `price` (float64, two decimals), `size` (int64).

    Returns
    -------
    The files in order of date.

    Raises
    ------
    As `write_sample`.
    """
    made = enumerate(_days_of_bars(symbols, days, seed, exchange, start, 1))
    tables = ((day, _tick_table(bars, _random(seed, 3, index))) for index, (day, bars) in made)
    return _written(out, tables, days, force, progress)


def _ticker(number: int) -> str:
    letters = []
    for alphabet in (_VOWELS, _CONSONANTS, _VOWELS, _CONSONANTS):
        number, position = divmod(number, len(alphabet))
        letters.append(alphabet[position])
    return "".join(reversed(letters))


def _random(seed: int, stream: int, index: int = 0) -> np.random.Generator:
    """Independent random numbers for each (seed, stream, index)."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(stream, index)))
    )


def _days_of_bars(
    symbols: int, days: int, seed: int, exchange: str, start: date, interval_minutes: int
) -> Iterator[tuple[TradingDay, _Bars]]:
    if interval_minutes < 1:
        raise InputError(f"sample: interval_minutes={interval_minutes}; choose 1 or more")
    if seed < 0:
        raise InputError(f"sample: seed={seed}; choose 0 or more")
    names = sample_symbols(symbols)
    trading_days = sample_days(exchange, start, days)
    levels = _levels(names, days, seed)
    for index, day in enumerate(trading_days):
        yield day, _bars(day, levels, index, interval_minutes, _random(seed, 1, index))


def _levels(symbols: tuple[str, ...], days: int, seed: int) -> _Levels:
    random = _random(seed, 0)
    count = len(symbols)
    first = random.uniform(np.log(15.0), np.log(600.0), count)
    volatility = random.uniform(0.008, 0.03, count)
    volume = np.exp(random.normal(8.5, 1.0, count))
    # Row by row in one draw each: day i is the same however many follow.
    gap, trend = np.moveaxis(random.standard_normal((days, 2, count)), 1, 0) * volatility
    gap *= 0.25
    # A floor of one unit keeps a cent small against the price, however long the walk.
    close_log = np.maximum(first + np.cumsum(gap + trend, axis=0), 0.0)
    before = np.vstack([first, close_log[:-1]])
    return _Levels(
        symbols=symbols,
        open_log=np.maximum(before + gap, 0.0),
        close_log=close_log,
        volatility=volatility,
        volume=volume,
    )


def _bars(
    day: TradingDay,
    levels: _Levels,
    index: int,
    interval_minutes: int,
    random: np.random.Generator,
) -> _Bars:
    ts, ends = day.grid(interval_minutes * MINUTE_NS)
    shape = (ts.size, len(levels.symbols))
    # Trading is busy at the open and the close, quiet in between: from 1 at noon to 2.5.
    activity = 1.0 + 1.5 * np.linspace(-1.0, 1.0, ts.size)[:, np.newaxis] ** 2
    spread = np.sqrt(activity / activity.sum()) * levels.volatility

    walk = np.cumsum(random.standard_normal(shape) * spread, axis=0)
    begin, end = levels.open_log[index], levels.close_log[index]
    # Bent so that the day ends at the close that the next one starts from.
    elapsed = np.cumsum(activity, axis=0) / activity.sum()
    path = begin + walk + elapsed * (end - begin - walk[-1])
    before = np.vstack([begin, path[:-1]])
    wicks = np.abs(random.standard_normal((2, *shape))) * (0.5 * spread)

    traded = levels.volume * interval_minutes * activity * random.standard_gamma(2.0, shape) / 2.0
    return _Bars(
        symbols=levels.symbols,
        ts=ts,
        ends=ends,
        open=_cents(before),
        high=_cents(np.maximum(before, path) + wicks[0]),
        low=_cents(np.minimum(before, path) - wicks[1]),
        close=_cents(path),
        volume=np.maximum(traded, TICKS_A_BAR).astype(np.int64),
    )


def _cents(log_price: Prices) -> Prices:
    return np.asarray(np.round(np.exp(log_price), 2), dtype=np.float64)


def _bar_table(bars: _Bars) -> pa.Table:
    minutes, count = bars.close.shape
    columns = [
        _symbol_column(bars.symbols, np.tile(np.arange(count, dtype=np.int32), minutes)),
        pa.array(np.repeat(bars.ts, count), pa.timestamp("ns", tz="UTC")),
        *(pa.array(v.ravel()) for v in (bars.open, bars.high, bars.low, bars.close, bars.volume)),
    ]
    return pa.Table.from_arrays(columns, schema=BAR_SCHEMA)


def _symbol_column(symbols: Sequence[str], codes: NDArray[np.int32]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(symbols)).cast(pa.string())


def _faults(bars: _Bars, random: np.random.Generator) -> dict[str, Mask]:
    """Where each kind of fault lies: (m, s) masks that never touch each other."""
    minutes, count = bars.close.shape
    bounds = np.cumsum([*DIRT_RATES.values()])
    kinds = np.searchsorted(bounds, random.random((minutes // DIRT_BLOCK_BARS, count)), "right")
    grid = np.full((minutes, count), _CLEAN)
    middle = DIRT_BLOCK_BARS // 2
    grid[middle : len(kinds) * DIRT_BLOCK_BARS : DIRT_BLOCK_BARS] = kinds
    return {kind: grid == number for number, kind in enumerate(DIRT_RATES)}


def _faults_table(day: TradingDay, bars: _Bars, faults: dict[str, Mask]) -> pa.Table:
    return pa.table(
        {
            "trading_date": pa.array([day.date] * len(bars.symbols), pa.date32()),
            "symbol": pa.array(bars.symbols, pa.string()),
            **{kind: pa.array(mask.sum(axis=0)) for kind, mask in faults.items()},
        }
    )


def _dirty_table(bars: _Bars, faults: dict[str, Mask]) -> pa.Table:
    minutes, count = bars.close.shape
    faulty = replace(
        bars,
        open=np.where(faults["open_outside"], np.round(bars.high + 0.05, 2), bars.open),
        high=np.where(faults["high_below_low"], bars.low, bars.high),
        low=np.select(
            [faults["zero_price"], faults["high_below_low"]],
            [0.0, np.round(bars.high + 0.01, 2)],
            bars.low,
        ),
        close=np.select(
            [faults["nan_price"], faults["close_outside"]],
            [np.nan, np.round(bars.low - 0.05, 2)],
            bars.close,
        ),
    )
    table = _bar_table(faulty)

    # A row's place in the file is its minute's number × 2; a duplicate goes in just before.
    place = np.repeat(2 * np.arange(minutes), count).reshape(minutes, count)
    place[faults["out_of_order"]] += 2
    place[1:][faults["out_of_order"][:-1]] -= 2
    keep = ~faults["missing"].ravel()
    duplicate, early = faults["duplicate"].ravel(), faults["outside_hours"].ravel()
    stale = _bar_table(
        replace(
            bars,
            **{
                name: np.round(getattr(bars, name) * 1.001, 2)
                for name in ("open", "high", "low", "close")
            },
        )
    )
    # One minute a block, so that even a long day's rows stay clear of the day before.
    before_open = bars.ts[0] - (np.arange(minutes) // DIRT_BLOCK_BARS + 1) * MINUTE_NS
    shifted = table.set_column(
        1,
        BAR_SCHEMA.field("ts"),
        pa.array(np.repeat(before_open, count), pa.timestamp("ns", tz="UTC")),
    )
    rows = pa.concat_tables([table.filter(keep), stale.filter(duplicate), shifted.filter(early)])
    flat = place.ravel()
    order = np.concatenate([flat[keep], flat[duplicate] - 1, -flat[early] - 2])
    # Stable: rows of one place keep the order of their symbols.
    return rows.take(np.argsort(order, kind="stable"))


def _tick_table(bars: _Bars, random: np.random.Generator) -> pa.Table:
    minutes, count = bars.close.shape
    shape = (minutes, count, TICKS_A_BAR)
    between = random.random((minutes, count, TICKS_A_BAR - 2))
    price = np.empty(shape)
    price[..., 0], price[..., -1] = bars.open, bars.close
    low, high = bars.low[..., np.newaxis], bars.high[..., np.newaxis]
    price[..., 1:-1] = np.clip(np.round(low + between * (high - low), 2), low, high)
    up = random.random((minutes, count)) < 0.5
    price[..., 1] = np.where(up, bars.high, bars.low)
    price[..., 2] = np.where(up, bars.low, bars.high)

    # Each tick has a slot of its own, so that a symbol's ticks never share a millisecond.
    slot_ms = ((bars.ends - bars.ts) // 1_000_000 // TICKS_A_BAR)[:, np.newaxis, np.newaxis]
    offset_ms = slot_ms * np.arange(TICKS_A_BAR) + (random.random(shape) * slot_ms).astype(np.int64)
    ts = bars.ts[:, np.newaxis, np.newaxis] + offset_ms * 1_000_000

    size = np.repeat((bars.volume // TICKS_A_BAR)[..., np.newaxis], TICKS_A_BAR, axis=2)
    size[..., -1] += bars.volume % TICKS_A_BAR
    code = np.broadcast_to(np.arange(count, dtype=np.int32)[:, np.newaxis], shape)
    order = np.lexsort((code.ravel(), ts.ravel()))
    columns = [
        _symbol_column(bars.symbols, code.ravel()[order]),
        pa.array(ts.ravel()[order], pa.timestamp("ns", tz="UTC")),
        pa.array(price.ravel()[order]),
        pa.array(size.ravel()[order]),
    ]
    return pa.Table.from_arrays(columns, schema=TICK_SCHEMA)


def _written(
    out: Path,
    tables: Iterator[tuple[TradingDay, pa.Table]],
    days: int,
    force: bool,
    progress: Progress | None,
) -> list[Path]:
    _check_free(out, force)
    files = []
    for done, (day, table) in enumerate(tables, start=1):
        files.append(out / f"{day.date}.parquet")
        try:
            _write(files[-1], table)
        except OSError as error:
            raise RunError(
                f"{files[-1]}: can't be written ({error.strerror or error}); free some space "
                "there, or choose another folder"
            ) from error
        if progress:
            progress(done, days)
    return files


def _check_free(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"sample: {out} is a file; choose a folder")
    # Any Parquet file, not only a day of ours: a source reads all that a folder holds as one.
    held = None if force else next(out.glob("*.parquet"), None)
    if held:
        raise InputError(
            f"sample: {out} already holds {held.name}; choose another folder, or force (--force)"
        )


def _write(path: Path, table: pa.Table) -> None:
    """Write under a temporary name, then rename: the file is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
