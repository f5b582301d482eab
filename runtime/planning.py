"""What a run will do, worked out before it starts: its symbols, its days, its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches

import numpy as np

from openbell.adapters.sources import DataOptions, Source
from openbell.errors import CalendarError, ConfigError, DataError
from openbell.market.breakouts import BreakRules
from openbell.market.calendar import Calendar, open_calendar
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.windows import SessionSpec
from openbell.runtime.config import BreakoutConfig, Config
from openbell.runtime.wiring import Settings


@dataclass(frozen=True)
class Plan:
    """A run before it starts."""

    days: tuple[TradingDay, ...]
    """Trading days, oldest first."""
    symbols: tuple[str, ...]
    """The register, sorted: what is watched, and the companions."""
    not_trading: Mapping[date, int]
    """Rows on dates of the range that are no trading day."""
    open_ended: tuple[bool, bool]
    """Whether the first and the last day were found from the data, not asked for."""
    settings: Settings
    live_from_ns: int = 0
    """Where inside the first day the run begins (ns UTC); 0: at its open."""
    trimmed: int = 0
    """Rows of trading days before the first and after the last that has one inside its hours."""


def data_options(config: Config) -> DataOptions:
    """How the configuration says that data is to be read."""
    data = config.data
    return DataOptions(
        kind=data.kind,
        interval_ns=data.interval.ns if data.kind == "bars" else None,
        bar_label=data.bar_label,
        timezone=data.timezone,
        columns=data.columns.given(),
        symbol=data.symbol,
        price_scale=data.price_scale,
        format=data.format,
    )


def plan(config: Config, source: Source, start: date | None, end: date | None) -> Plan:
    """Work out a run over stored data.

    Parameters
    ----------
    start, end : date, optional
        The first and the last day; None: the first and the last with a row inside its hours.

    Raises
    ------
    ConfigError, DataError, CalendarError
        If the configuration, the data and the calendar don't go together.
    """
    dates = source.dates(_zone(config))
    if not dates:
        raise DataError(f"{_where(config)} has no rows; name a file or folder with data")
    calendar = _calendar(config, dates, start, end)
    first, last = start or min(dates), end or max(dates)
    days = calendar.days(max(first, calendar.first), min(last, calendar.last))
    symbols = _symbols(config, source)
    all_days = days
    days = _with_rows(days, dates, source, start is None, end is None)
    if not days:
        spans = f"{min(dates)} to {max(dates)}"
        asked = f"from {start or 'the first'} to {end or 'the last'}"
        raise DataError(
            f"{_where(config)} has no row inside the hours of {config.exchange} {asked}; "
            f"its rows are of {spans}: check the dates, the exchange and data.timezone"
        )
    trading = {day.date for day in calendar.days(calendar.first, calendar.last)}
    low, high = start or min(dates), end or max(dates)
    return Plan(
        days=days,
        symbols=symbols,
        not_trading={
            day: rows for day, rows in dates.items() if low <= day <= high and day not in trading
        },
        open_ended=(start is None, end is None),
        settings=settings(config),
        trimmed=sum(dates.get(day.date, 0) for day in {*all_days} - {*days}),
    )


def settings(config: Config) -> Settings:
    """What the actors are made from.

    Raises
    ------
    ConfigError
        If an interval can't be derived from the data's.
    """
    interval_ns = config.data.interval.ns if config.data.kind == "bars" else None
    for place, derived in enumerate(config.upkeep.derived_intervals):
        if interval_ns is not None and derived.ns % interval_ns:
            raise ConfigError(
                f"upkeep.derived_intervals[{place}] is {derived}; write a multiple of "
                f"data.interval, {config.data.interval}"
            )
    rules = [config.breakout_for(session) for session in config.sessions]
    return Settings(
        exchange=config.exchange,
        sessions=tuple(
            SessionSpec(session.name, str(session.start), str(session.end), session.closed)
            for session in config.sessions
        ),
        rules=tuple(_rules(rule) for rule in rules),
        companions=tuple(config.companions.items()),
        interval_ns=interval_ns,
        clock_step=config.clock.step,
        days_ahead=config.prefetch.days,
        derived_minutes=(
            tuple(derived.ns // MINUTE_NS for derived in config.upkeep.derived_intervals)
            if config.upkeep.enabled
            else ()
        ),
    )


def _rules(breakout: BreakoutConfig) -> BreakRules:
    buffer = breakout.buffer
    ticks = buffer.unit == "ticks"
    return BreakRules(
        confirm=breakout.confirm,
        check=breakout.check,
        sides=breakout.sides,
        buffer=buffer.amount * (breakout.tick_size or 0.0) if ticks else buffer.amount,
        buffer_unit="percent" if buffer.unit == "percent" else "price",
        inside_bars=breakout.rearm.inside_bars,
        rearms_max=breakout.rearm.max,
    )


def calendar_for(config: Config, first: date, last: date) -> Calendar:
    """The configured exchange's calendar, with the configuration's own corrections over it."""
    return open_calendar(
        config.exchange,
        first,
        last,
        segment=config.segment,
        special_sessions={
            day: [(hours.open, hours.close) for hours in segments]
            for day, segments in config.calendar.special_sessions.items()
        },
        closures=config.calendar.closures,
        early_closes=config.calendar.early_closes,
    )


def _zone(config: Config) -> str:
    """The exchange's time zone, without building its calendar for the whole range."""
    return calendar_for(config, _NEUTRAL, _NEUTRAL).tz


_NEUTRAL = date(2024, 7, 1)
"""A day that every calendar covers."""


def _calendar(
    config: Config, dates: Mapping[date, int], start: date | None, end: date | None
) -> Calendar:
    """The calendar of the range; dates in the data that it can't cover are no trading days."""
    first, last = start or min(dates), end or max(dates)
    try:
        return calendar_for(config, first, last)
    except CalendarError:
        # A stray row (1970-01-01 is a common one) must not decide what can be run.
        inner = sorted(day for day in dates if abs((day - _median(dates)).days) < 3660)
        first, last = start or inner[0], end or inner[-1]
        return calendar_for(config, first, last)


def _median(dates: Mapping[date, int]) -> date:
    ordered = sorted(dates)
    rows = np.cumsum([dates[day] for day in ordered])
    return ordered[int(np.searchsorted(rows, rows[-1] / 2))]


def _with_rows(
    days: tuple[TradingDay, ...],
    dates: Mapping[date, int],
    source: Source,
    trim_start: bool,
    trim_end: bool,
) -> tuple[TradingDay, ...]:
    """The days from the first to the last that has a row inside its hours."""
    first, last = 0, len(days)
    while trim_start and first < last and not _has_row(days[first], dates, source):
        first += 1
    while trim_end and first < last and not _has_row(days[last - 1], dates, source):
        last -= 1
    return days[first:last]


def _has_row(day: TradingDay, dates: Mapping[date, int], source: Source) -> bool:
    overnight = day.open_ns < day.midnight_ns or day.close_ns > day.next_midnight_ns
    if day.date not in dates and not overnight:
        return False
    return any(len(source.read(s.open_ns, s.close_ns)) > 0 for s in day.segments)


def _symbols(config: Config, source: Source) -> tuple[str, ...]:
    held = source.info().symbols
    asked = set(held) if config.symbols == "all" else set(config.symbols)
    asked |= {name for name in config.companions.values()}
    if unknown := sorted(asked - set(held)):
        raise DataError(
            f"{_where(config)} has no symbol {', '.join(map(repr, unknown[:5]))}"
            f"{_nearest(unknown[0], held)}; it has {len(held)}: {', '.join(held[:8])}"
            f"{', …' if len(held) > 8 else ''}"
        )
    return tuple(sorted(asked))


def _nearest(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name, names, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def _where(config: Config) -> str:
    return str(config.data.path) if config.data.path else "the data"
