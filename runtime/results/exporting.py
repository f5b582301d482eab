"""One row a minute and symbol: prices beside levels and indicators as they were known then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.csv import CSVWriter, WriteOptions

from openbell.adapters.jsonlines import format_instants
from openbell.adapters.sinks.one import written_whole
from openbell.adapters.sources import open_source
from openbell.errors import DayFailed, InputError
from openbell.market.bars import BAR_COLUMNS, BarBlock, Prices
from openbell.market.days import MINUTE_NS, Nanoseconds, TradingDay
from openbell.market.history import minute_rows
from openbell.market.indicators import IndicatorValues, indicator_values
from openbell.market.levels import extended, levels, nothing_seen
from openbell.market.products import own_hours
from openbell.market.windows import NoWindow, Window, session_window
from openbell.messages.control import Loaded
from openbell.runtime.config import Config
from openbell.runtime.config.effects import accept
from openbell.runtime.intake.loading import Loader
from openbell.runtime.intake.planning import Plan, plan
from openbell.runtime.intake.settings import data_options
from openbell.runtime.kernel.wiring import Settings
from openbell.runtime.results.checking import OnDay

HOURS = ("trading_hours_open", "trading_hours_close")


def export_csv(
    config: Config, file: Path, *, force: bool = False, on_day: OnDay | None = None
) -> int:
    """Write a table of all days of the configured data, a day at a time; returns its rows.

    The file appears whole, or not at all; `-` is standard output.

    Raises
    ------
    InputError
        If the file exists, without `force`, or its folder doesn't; and what a run raises.
    """
    accept(config, "backtest")
    written = 0
    with written_whole(file, force=force) as sink, ExitStack() as opened:
        csv: CSVWriter | None = None
        for table in _tables(config, on_day):
            if csv is None:
                options = WriteOptions(quoting_style="needed")
                csv = CSVWriter(sink, table.schema, write_options=options)
                opened.enter_context(csv)
            csv.write_table(table)
            written += len(table)
    return written


def _tables(config: Config, on_day: OnDay | None) -> Iterator[pa.Table]:
    """Each day's rows, read one day ahead."""
    assert config.data.path is not None
    source = open_source(config.data.path, data_options(config))
    try:
        planned = plan(config, source, config.backtest.start, config.backtest.end, scans=False)
        loader = Loader(
            source,
            symbols=planned.symbols,
            windows=planned.row_spans,
            trailing=planned.trailing,
            order=planned.settings.order,
            rules=planned.settings.row_rules,
        )
        rows = 0
        try:
            for number, day in enumerate(planned.days):
                for ahead in planned.days[number : number + 2]:
                    loader.start(ahead)
                loaded = _taken(loader, day)
                rows += int(loaded.data.counts.rows.sum())
                yield _day_table(planned, loaded)
                if on_day is not None:
                    on_day(day.date, number + 1, len(planned.days), rows)
        finally:
            loader.shutdown()
    finally:
        source.close()


def _taken(loader: Loader, day: TradingDay) -> Loaded:
    try:
        return loader.take(day.date)
    except InputError:
        raise
    except Exception as error:  # a source may fail in any way
        raise DayFailed(f"{day.date}: {error}") from error


def _day_table(planned: Plan, loaded: Loaded) -> pa.Table:
    day, symbols = loaded.data.day, loaded.data.symbols
    bars = minute_rows(loaded.data.rows)
    m, s = bars.present.shape
    each = pa.array(np.repeat(np.arange(m), s))  # the minute of each row

    def of_minutes(texts: Sequence[str | None] | pa.Array) -> pa.Array:
        return pa.array(texts, pa.string()).take(each)

    columns = {
        "ts": of_minutes(format_instants(bars.ts)),
        "local": of_minutes(_local(bars.ts, day.tz)),
        "symbol": pa.array(symbols, pa.string()).take(pa.array(np.tile(np.arange(s), m))),
    }
    for name in BAR_COLUMNS:
        columns[name] = _numbers(getattr(bars, name))
    windows = _windows(planned.settings, day)
    own = own_hours(day, symbols)
    active = np.ones((m, s), np.bool_) if own is None else own.slots(bars.ts)
    columns["session_active"] = pa.array(active.reshape(-1))
    columns["active_sessions"] = of_minutes(_active(windows, bars))
    for name, instants in zip(HOURS, _open_and_close(day, symbols), strict=True):
        of_symbol = pa.array(np.tile(np.arange(s), m))
        columns[name] = _local(instants, day.tz, "%H:%M").take(of_symbol)
    columns["is_early_close"] = pa.array(np.full(m * s, day.kind == "early_close"))
    for name, window in windows.items():
        high, low = _known_levels(loaded, window, bars)
        columns[f"{name}.high"], columns[f"{name}.low"] = _numbers(high), _numbers(low)
    for indicator in _indicators(planned.settings, loaded, bars):
        columns[f"indicators.{indicator.name}"] = _numbers(_of_all(indicator, symbols, m))
    return pa.table(columns)


def _open_and_close(day: TradingDay, symbols: tuple[str, ...]) -> tuple[Nanoseconds, Nanoseconds]:
    """(s,) of each symbol's own hours."""
    own = own_hours(day, symbols)
    if own is None:
        s = len(symbols)
        return np.full(s, day.open_ns), np.full(s, day.close_ns)
    return own.opens[0], own.last_closes


def _windows(settings: Settings, day: TradingDay) -> dict[str, Window | None]:
    slot_ns = settings.interval_ns or MINUTE_NS
    found = {spec.name: session_window(day, spec, slot_ns) for spec in settings.sessions}
    return {name: None if isinstance(w, NoWindow) else w for name, w in found.items()}


def _active(windows: dict[str, Window | None], bars: BarBlock) -> list[str | None]:
    """The sessions that each minute belongs to, with bars between them where there are several."""
    names: list[str | None] = [None] * len(bars)
    for name, window in windows.items():
        if window is not None:
            inside = (bars.ts >= window.start_ns) & (bars.ts < window.end_ns)
            for at in np.flatnonzero(inside).tolist():
                names[at] = name if names[at] is None else f"{names[at]}|{name}"
    return names


def _known_levels(loaded: Loaded, window: Window | None, bars: BarBlock) -> tuple[Prices, Prices]:
    """(m, s) highs and lows, from the end of the session on."""
    high, low = (np.full(bars.present.shape, np.nan) for _ in range(2))
    if window is not None:
        symbols = loaded.data.symbols
        seen = nothing_seen(len(symbols), len(window.slots))
        found = levels(extended(seen, loaded.data.rows, window), symbols)
        known = bars.ts >= window.end_ns
        high[known], low[known] = found.high, found.low
    return high, low


def _indicators(settings: Settings, loaded: Loaded, bars: BarBlock) -> Iterator[IndicatorValues]:
    if loaded.history is None:
        return
    for (spec, function), period in zip(settings.indicators, loaded.history.periods, strict=True):
        yield indicator_values(
            spec, function, loaded.history.history, bars.day, period, bars.interval_ns
        )


def _of_all(indicator: IndicatorValues, symbols: tuple[str, ...], m: int) -> Prices:
    """(m, s) an indicator's values over all symbols, null where it isn't computed for one."""
    values = np.full((m, len(symbols)), np.nan)
    for place, symbol in enumerate(indicator.symbols):
        if symbol in symbols:
            values[:, symbols.index(symbol)] = indicator.values[..., place]
    return values


def _numbers(values: Prices) -> pa.Array:
    """NaN becomes null, which is written as nothing."""
    return pa.array(values.ravel(), from_pandas=True)


def _local(ns: Nanoseconds, tz: str, spelled: str = "%Y-%m-%d %H:%M") -> pa.Array:
    """Local times `2024-07-01 09:30`."""
    instants = pa.array(ns.view("datetime64[ns]"), pa.timestamp("ns", "UTC"))
    return pc.strftime(instants.cast(pa.timestamp("ns", tz)), format=spelled)
