"""What a backtest would see in stored data, without running one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

import numpy as np

from openbell.adapters.sources import Source, open_source
from openbell.errors import ConfigError, InputError
from openbell.market.assembly import assemble
from openbell.market.bars import BadRow, DayData, Mask
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.gaps import Gaps, MinuteKinds, gaps, minute_kinds
from openbell.market.history import minute_rows
from openbell.market.levels import minutes_seen
from openbell.market.quality import day_quality
from openbell.market.results import Quality
from openbell.runtime.config import Config
from openbell.runtime.intake.planning import Plan, plan
from openbell.runtime.intake.settings import data_options
from openbell.runtime.results.unusable import Unusable


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
    notes: tuple[str, ...] = ()
    """What was guessed of the data or passed over in it."""

    def refuse_unusable(self, where: str) -> None:
        """Refuse data of which most rows can't be used.

        Raises
        ------
        DataError
        """
        unusable = Unusable()
        inside = 0
        for day in self.days:
            unusable.add(day.bad)
            inside += day.rows - int(day.quality.outside_hours.sum())
        bad = sum(len(day.bad) for day in self.days)
        unusable.refuse(where, inside - bad)


@dataclass(frozen=True, eq=False)
class DayMap:
    """One trading day: what is there of each symbol, where it is missing, and what was traded."""

    day: TradingDay
    quality: Quality
    gaps: Gaps
    kinds: MinuteKinds


OnDay = Callable[[date | None, int, int, int], None]


def check(config: Config, on_day: OnDay | None = None) -> Check:
    """Read all days of the configured data and account for every row.

    Raises
    ------
    ConfigError, DataError, CalendarError
    """
    with _opened(config) as (source, planned):
        days: list[DayCheck] = []
        without_data: list[date] = []
        for data, _, seen in _days(source, planned, on_day):
            if data.counts.rows.sum() == data.counts.outside_hours.sum():
                without_data.append(data.day.date)
                continue
            days.append(
                DayCheck(
                    quality=_quality(data, source, seen),
                    rows=int(data.counts.rows.sum()),
                    ohlc_outside=int(data.counts.ohlc_outside.sum()),
                    bad=data.bad,
                )
            )
        return Check(
            planned, tuple(days), tuple(without_data), (*source.info().notes, *planned.notes)
        )


def refuse_mostly_unusable(source: Source, planned: Plan, where: str) -> None:
    """Refuse data of which most rows can't be used, before anything is made of it.

    Reads no further than to a day's end by which as many rows could be used as not: the first, as
    a rule. Rows that can't be read are left to who reads them next.

    Raises
    ------
    DataError
    """
    unusable = Unusable()
    used = bad = 0
    try:
        for data, _, _ in _days(source, planned, None):
            unusable.add(data.bad)
            bad += len(data.bad)
            used += int(data.counts.rows.sum() - data.counts.outside_hours.sum()) - len(data.bad)
            if used and used >= bad:
                return
    except (OSError, InputError):
        return
    unusable.refuse(where, used)


def quality_map(config: Config, on_day: OnDay | None = None) -> tuple[DayMap, ...]:
    """What is there of each trading day and symbol of the configured data; all days of the range.

    Raises
    ------
    ConfigError, DataError, CalendarError
    """
    with _opened(config) as (source, planned):
        found: list[DayMap] = []
        for data, slot_ns, seen in _days(source, planned, on_day):
            bars = minute_rows(data.rows)
            slots = max(slot_ns, MINUTE_NS)
            found.append(
                DayMap(
                    day=data.day,
                    quality=_quality(data, source, seen),
                    gaps=gaps(data.day, data.symbols, slot_ns, seen),
                    kinds=minute_kinds(data.day, data.symbols, slots, bars.present, bars.volume),
                )
            )
        return tuple(found)


@contextmanager
def _opened(config: Config) -> Iterator[tuple[Source, Plan]]:
    if config.data.path is None:
        raise ConfigError("data.path is missing; name a file or folder with minutes or ticks")
    source = open_source(config.data.path, data_options(config))
    try:
        yield source, plan(config, source, config.backtest.start, config.backtest.end, scans=False)
    finally:
        source.close()


def _days(
    source: Source, planned: Plan, on_day: OnDay | None
) -> Iterator[tuple[DayData, int, Mask]]:
    """Each day, the length of its slots, and which of them have a row."""
    interval_ns = source.info().interval_ns
    slot_ns = interval_ns or MINUTE_NS
    rows = 0
    if on_day is not None:
        on_day(None, 0, len(planned.days), rows)
    for number, (day, window) in enumerate(
        zip(planned.days, planned.row_spans.values(), strict=True), start=1
    ):
        raw = source.read(*window, planned.symbols)
        made = planned.settings
        data = assemble(raw, day, interval_ns, made.order, made.row_rules)
        rows += int(data.counts.rows.sum())
        starts, _ = day.grid(slot_ns)
        nothing = np.zeros((len(starts), len(data.symbols)), np.bool_)
        yield data, slot_ns, minutes_seen(nothing, data.rows, starts)
        if on_day is not None:
            on_day(day.date, number, len(planned.days), rows)


def _quality(data: DayData, source: Source, seen: Mask) -> Quality:
    slot_ns = source.info().interval_ns or MINUTE_NS
    late = np.zeros(len(data.symbols), np.int64)
    return day_quality(data.day, data.symbols, slot_ns, seen, data.counts, late)
