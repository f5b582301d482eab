"""What a run will do, worked out before it starts: its symbols, its days, its rules."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property, partial
from zoneinfo import ZoneInfo

from openbell.adapters.indicators import indicator_functions
from openbell.adapters.scanners import Scan, scans_of
from openbell.adapters.sources import FileIdentity, Source
from openbell.errors import ConfigError, DataError, InputError
from openbell.market.calendar import coverage, timezone
from openbell.market.days import (
    EPOCH,
    ONE_DAY,
    MarketTime,
    TradingDay,
    local_instant,
    row_spans,
)
from openbell.market.indicators import Indicator
from openbell.market.scans import ScanFunction
from openbell.market.windows import order_of_day
from openbell.runtime.config import Config
from openbell.runtime.config.idle import idle_notes
from openbell.runtime.intake.contracts import resolved
from openbell.runtime.intake.held import Held
from openbell.runtime.intake.hours import around, calendar_of
from openbell.runtime.intake.instrumentsfile import follows_instruments, product_rules
from openbell.runtime.intake.loading import tried_again
from openbell.runtime.intake.refusals import (
    notes_on,
    nothing_inside,
    refuse_another_interval,
    refuse_bars_across_closes,
    refuse_windows_outside,
    register,
    where,
)
from openbell.runtime.intake.scanning import scan_needs
from openbell.runtime.intake.settings import fed_settings, scan_specs, settings
from openbell.runtime.intake.trailing import TrailingSettings, trailing_settings
from openbell.runtime.kernel.wiring import Settings


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
    trailing: TrailingSettings
    """What has to be at hand before each day."""
    live_from_ns: MarketTime = EPOCH
    """Where inside the first day the run begins (ns UTC); 0: at its open."""
    trimmed: int = 0
    """Rows of trading days before the first and after the last that has one inside its hours."""
    registers: tuple[tuple[date, tuple[str, ...]], ...] = ()
    """Other registers than `symbols` that a stored run has had, each from a date on."""
    neighbours: tuple[TradingDay | None, TradingDay | None] = (None, None)
    """The trading days before the first and after the last, where the calendar knows them."""
    notes: tuple[str, ...] = ()
    """What looks wrong, though it can be run."""
    instruments: FileIdentity | None = None
    """The file that says which contracts there are, and what ticks are."""
    scans: tuple[Scan, ...] = ()
    """Scans that can be run; none where they were run before, and what they found is known."""

    @cached_property
    def row_spans(self) -> Mapping[date, tuple[int, int]]:
        """From when until when (ns UTC) rows belong to each day."""
        return row_spans(self.days, *self.neighbours)

    def order(self, day: date) -> Mapping[str, int]:
        """Each session's place in one of the plan's days."""
        planned = self._by_date.get(day)
        return {} if planned is None else order_of_day(planned, self.settings.sessions)

    @cached_property
    def _by_date(self) -> Mapping[date, TradingDay]:
        return {day.date: day for day in self.days}


def plan(
    config: Config,
    source: Source,
    start: date | datetime | None,
    end: date | None,
    *,
    paced: bool = False,
    days_at_once: bool = False,
    indicators: Mapping[str, Indicator] | None = None,
    scanners: Mapping[str, ScanFunction] | None = None,
    scans: bool = True,
) -> Plan:
    """Work out a run over stored data.

    Parameters
    ----------
    start, end : date, optional
        The first and the last day; None: the first and the last with a row inside its hours. A
        datetime begins inside its day; without a zone it is local to the exchange.
    paced : bool
        Whether wall time will decide when market time moves: every bar is a boundary then, so
        that what it tells is told when it is known.
    days_at_once : bool
        Whether nobody looks at a day before it is over: then it is one step, unless the
        configuration asks for more.
    indicators : mapping, optional
        Functions for indicator types of the embedding program's own.
    scanners : mapping, optional
        Functions for scanner types of its own.
    scans : bool
        Whether scans will be run; if not, what they found is known, or of no interest.

    Raises
    ------
    ConfigError, DataError, CalendarError
        If the configuration, the data and the calendar don't go together.
    OSError
        If the data's disk or network fails, and goes on to fail.
    """
    planned = partial(
        _planned,
        config,
        source,
        start,
        end,
        paced=paced,
        days_at_once=days_at_once,
        indicators=indicators,
        scanners=scanners,
        scans=scans,
    )
    return tried_again(planned, "the data", passing=OSError)


def _planned(
    config: Config,
    source: Source,
    start: date | datetime | None,
    end: date | None,
    *,
    paced: bool,
    days_at_once: bool,
    indicators: Mapping[str, Indicator] | None,
    scanners: Mapping[str, ScanFunction] | None,
    scans: bool,
) -> Plan:
    zone = config.calendar.timezone or timezone(config.exchange)
    live_from_ns = EPOCH
    asked_from = start
    if isinstance(start, datetime):
        moment = start.astimezone(ZoneInfo(zone)) if start.tzinfo else start
        live_from_ns = MarketTime(local_instant(moment.date(), moment.time(), zone))
        asked_from = moment.date()
        start = asked_from - ONE_DAY  # a day that closes after midnight may hold the moment
    dates = source.dates(zone)
    if not dates:
        raise DataError(f"{where(config)} has no rows; name a file or folder with data")
    symbols = register(config, source)
    calendar = calendar_of(config, dates, start, end)
    run = scans_of(scan_specs(config), scanners or {}) if scans else ()
    trailing = trailing_settings(config, calendar.before, dates, scan_needs(run))
    made = _with_indicators(
        settings(config, paced=paced, days_at_once=days_at_once), trailing, indicators or {}
    )
    held = Held(source, dates, symbols, zone)
    known = calendar.days()
    asked = tuple(
        day
        for day in known
        if (start is None or day.date >= start)
        and (end is None or day.date <= end)
        and day.close_ns > live_from_ns
    )
    found = next(filter(held.has_row, asked), None)
    if found is None:
        raise DataError(nothing_inside(config, dates, asked_from, end, len(symbols)))
    days = asked if start is not None else asked[asked.index(found) :]
    while end is None and not held.has_row(days[-1]):
        days = days[:-1]
    refuse_windows_outside(config, made, days)
    refuse_bars_across_closes(config, made, days)
    refuse_another_interval(config, made, source, found, symbols)
    of_days = resolved(
        config,
        [day.date for day in days],
        symbols,
        source.info().symbols,
        where=where(config),
    )
    if of_days.needed:
        symbols = tuple(sorted({*symbols, *of_days.needed} & set(source.info().symbols)))
        held = replace(held, symbols=symbols)
    spans = row_spans(known)
    kept = {day.date for day in days}
    first, last = known.index(days[0]), known.index(days[-1])
    return Plan(
        days=days,
        symbols=symbols,
        not_trading=held.on_no_day(tuple(spans.values()), asked_from, end),
        open_ended=(start is None, end is None),
        settings=replace(made, contracts=of_days.contracts),
        trailing=replace(trailing, turns=of_days.contracts.turns),
        live_from_ns=live_from_ns,
        trimmed=sum(held.rows(*spans[day.date]) for day in asked if day.date not in kept),
        neighbours=(
            known[first - 1] if first > 0 else None,
            known[last + 1] if last + 1 < len(known) else None,
        ),
        registers=of_days.contracts.registers(symbols),
        notes=(
            *idle_notes(config),
            *notes_on(config, made, source, known, days, symbols),
            *of_days.notes,
        ),
        instruments=of_days.identity,
        scans=run,
    )


CONTRACTS_AHEAD = 2
"""Of how many days after the one under way contracts are read from a feed already."""

FED_DAYS = timedelta(days=370)
"""How far ahead a run whose rows come from a feed knows its days; another start goes on from there."""


DAYS_LOOKED_AT = 10
"""Of so many days from the start on it is told where there is no contract."""


def fed_plan(
    config: Config,
    stored: Source | None,
    today: date,
    since: date | None = None,
    *,
    live_from_ns: MarketTime = EPOCH,
    recorded: Collection[date] = (),
    indicators: Mapping[str, Indicator] | None = None,
    scanners: Mapping[str, ScanFunction] | None = None,
) -> Plan:
    """Work out a run whose rows come from a feed.

    Parameters
    ----------
    stored : Source, optional
        History of before the run, `data.path`.
    today : date
        Where it begins if `feed.start` doesn't say so, in the exchange's time zone.
    since : date, optional
        The first day of a run that goes on.
    live_from_ns : MarketTime
        Where inside its first day the run begins; EPOCH: nobody can tell.
    recorded : collection of date
        Days whose rows were recorded, and are history too.

    Raises
    ------
    ConfigError, DataError, CalendarError
    """
    zone = config.calendar.timezone or timezone(config.exchange)
    if config.symbols != "all":
        symbols = tuple(sorted({*config.symbols, *config.paired.values()}))
    elif stored is not None:
        symbols = register(config, stored)
    else:
        raise ConfigError(
            "symbols is all, and there is no stored history that says which; write a list, or name "
            "history under data.path"
        )
    asked = config.feed.start or today
    start = asked.date() if isinstance(asked, datetime) else asked
    start = start if since is None else min(start, since)
    _, latest = coverage(config.exchange)
    end = config.feed.end or max(start, min(max(start, today) + FED_DAYS, latest))
    calendar = around(config, start, end)
    known = calendar.days()
    days = tuple(day for day in known if start <= day.date <= end)
    if not days:
        raise ConfigError(f"{config.exchange} has no trading day from {start} to {end}")
    held = {} if stored is None else stored.dates(zone)
    dates = {**held, **dict.fromkeys(recorded, 0), **{day.date: 0 for day in days}}
    scans = scans_of(scan_specs(config), scanners or {})
    trailing = trailing_settings(config, calendar.before, dates, scan_needs(scans))
    made = fed_settings(config)
    refuse_windows_outside(config, made, days)
    # A master lists contracts some months ahead only: more is there at a later start.
    begins = next((at for at, day in enumerate(days) if day.date >= today), 0)
    dates_of_days = [day.date for day in days]
    closed = days[begins].close_ns <= live_from_ns
    of_days = resolved(
        config,
        dates_of_days,
        symbols,
        ahead=begins + DAYS_LOOKED_AT,
        # A feed is asked for those of the next days alone, where others are taken as they come.
        read_on=dates_of_days[begins + closed :][: 1 + CONTRACTS_AHEAD]
        if follows_instruments(config)
        else None,
    )
    symbols = tuple(sorted({*symbols, *of_days.needed}))
    refuse_bars_across_closes(config, made, days)
    first, last = known.index(days[0]), known.index(days[-1])
    return Plan(
        days=days,
        symbols=symbols,
        not_trading={},
        open_ended=(False, False),
        settings=replace(
            _with_indicators(made, trailing, indicators or {}), contracts=of_days.contracts
        ),
        trailing=replace(trailing, turns=of_days.contracts.turns),
        live_from_ns=live_from_ns,
        neighbours=(
            known[first - 1] if first > 0 else None,
            known[last + 1] if last + 1 < len(known) else None,
        ),
        notes=(*idle_notes(config), *of_days.notes),
        instruments=of_days.identity,
        scans=scans,
    )


def recorded_plan(
    config: Config,
    days: tuple[TradingDay, ...],
    symbols: tuple[str, ...],
    *,
    indicators: Mapping[str, Indicator] | None = None,
) -> Plan:
    """A plan over days that were run before, whose data is not here.

    Raises
    ------
    ConfigError, CalendarError
    """
    try:
        said = product_rules(config)
    except InputError:  # the file is gone: what it said of these days is kept with them
        said = config.calendar.product_rules()
    calendar = around(config, days[0].date, days[-1].date, said)
    trailing = trailing_settings(config, calendar.before, {})
    next_to = [day for day in calendar.days() if not days[0].date <= day.date <= days[-1].date]
    return Plan(
        days=days,
        symbols=symbols,
        not_trading={},
        open_ended=(False, False),
        settings=_with_indicators(
            settings(config) if config.feed.type == "replay" else fed_settings(config),
            trailing,
            indicators or {},
        ),
        trailing=trailing,
        neighbours=(
            next((day for day in reversed(next_to) if day.date < days[0].date), None),
            next((day for day in next_to if day.date > days[-1].date), None),
        ),
    )


def _with_indicators(
    made: Settings, trailing: TrailingSettings, indicators: Mapping[str, Indicator]
) -> Settings:
    functions = indicator_functions(trailing.specs, indicators)
    return replace(made, indicators=tuple((spec, functions[spec.name]) for spec in trailing.specs))
