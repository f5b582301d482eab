"""What a backtest would see in stored data, without running one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import numpy as np

from openbell.adapters.sources import open_source
from openbell.errors import ConfigError
from openbell.market.assembly import assemble
from openbell.market.bars import BadRow
from openbell.market.days import MINUTE_NS
from openbell.market.levels import minutes_seen
from openbell.market.quality import day_quality
from openbell.market.results import Quality
from openbell.runtime.config import Config
from openbell.runtime.loading import day_windows
from openbell.runtime.planning import Plan, data_options, plan


@dataclass(frozen=True, eq=False)
class DayCheck:
    """One trading day of the data."""

    quality: Quality
    rows: int
    ohlc_outside: int
    bad: tuple[BadRow, ...]


@dataclass(frozen=True, eq=False)
class Check:
    """Stored data as a backtest would see it."""

    plan: Plan
    days: tuple[DayCheck, ...]
    """Days with a row inside the hours."""
    without_data: tuple[date, ...]


def check(
    config: Config, on_day: Callable[[date | None, int, int, int], None] | None = None
) -> Check:
    """Read all days of the configured data and account for every row.

    Raises
    ------
    ConfigError, DataError, CalendarError
    """
    if config.data.path is None:
        raise ConfigError("data.path is missing; name a file or folder with minutes or ticks")
    source = open_source(config.data.path, data_options(config))
    interval_ns = source.info().interval_ns
    try:
        planned = plan(config, source, config.backtest.start, config.backtest.end)
        days: list[DayCheck] = []
        without_data: list[date] = []
        rows = 0
        if on_day is not None:
            on_day(None, 0, len(planned.days), rows)
        for number, (day, window) in enumerate(
            zip(planned.days, day_windows(planned.days).values(), strict=True), start=1
        ):
            data = assemble(source.read(*window, planned.symbols), day, interval_ns)
            rows += int(data.counts.rows.sum())
            if data.counts.rows.sum() == data.counts.outside_hours.sum():
                without_data.append(day.date)
            else:
                slot_ns = interval_ns or MINUTE_NS
                starts, _ = day.grid(slot_ns)
                nothing = np.zeros((len(starts), len(data.symbols)), np.bool_)
                seen = minutes_seen(nothing, data.rows, starts)
                late = np.zeros(len(data.symbols), np.int64)
                days.append(
                    DayCheck(
                        quality=day_quality(day, data.symbols, slot_ns, seen, data.counts, late),
                        rows=int(data.counts.rows.sum()),
                        ohlc_outside=int(data.counts.ohlc_outside.sum()),
                        bad=data.bad,
                    )
                )
            if on_day is not None:
                on_day(day.date, number, len(planned.days), rows)
        return Check(planned, tuple(days), tuple(without_data))
    finally:
        source.close()
