"""What a run will do, worked out before it starts: its symbols, its days, its rules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from difflib import get_close_matches
from functools import cached_property, partial
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from openbell.actors.day import Wall
from openbell.adapters.indicators import indicator_functions
from openbell.adapters.sources import CsvOptions, DataOptions, Source, open_source
from openbell.errors import CalendarError, ConfigError, DataError
from openbell.market.breakouts import BreakRules
from openbell.market.calendar import Calendar, coverage, open_calendar, timezone
from openbell.market.days import (
    EPOCH,
    MINUTE_NS,
    ONE_DAY,
    SECOND_NS,
    MarketTime,
    Nanoseconds,
    TradingDay,
    among,
    dates_between,
    distinct,
    local_instant,
    row_spans,
)
from openbell.market.indicators import Indicator
from openbell.market.prices import product
from openbell.market.watermark import WallRules
from openbell.market.windows import NoWindow, SessionSpec, Window, order_of_day, session_window
from openbell.runtime.config import BreakoutConfig, Config
from openbell.runtime.config.values import Duration
from openbell.runtime.intake.labels import are_last_instants, seem_ends
from openbell.runtime.intake.loading import tried_again
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
        csv=CsvOptions(**dict(data.csv)),
        allow_negative_prices=data.allow_negative_prices,
        time_shift_ns=data.time_shift.ns,
        files=data.files,
        exchange_zone=_zone(config.exchange),
    )


def _zone(exchange: str) -> str | None:
    try:
        return timezone(exchange)
    except CalendarError:  # said where it matters
        return None


def plan(
    config: Config,
    source: Source,
    start: date | datetime | None,
    end: date | None,
    *,
    paced: bool = False,
    days_at_once: bool = False,
    indicators: Mapping[str, Indicator] | None = None,
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
        raise DataError(f"{_where(config)} has no rows; name a file or folder with data")
    symbols = _symbols(config, source)
    calendar = _calendar(config, dates, start, end)
    trailing = trailing_settings(config, calendar.before, dates)
    made = _with_indicators(
        settings(config, paced=paced, days_at_once=days_at_once), trailing, indicators or {}
    )
    held = _Held(source, dates, symbols, zone)
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
        raise DataError(_nothing_inside(config, dates, asked_from, end, len(symbols)))
    days = asked if start is not None else asked[asked.index(found) :]
    while end is None and not held.has_row(days[-1]):
        days = days[:-1]
    _refuse_windows_outside(config, made, days)
    _refuse_another_interval(config, made, source, found, symbols)
    spans = row_spans(known)
    kept = {day.date for day in days}
    first, last = known.index(days[0]), known.index(days[-1])
    return Plan(
        days=days,
        symbols=symbols,
        not_trading=held.on_no_day(tuple(spans.values()), asked_from, end),
        open_ended=(start is None, end is None),
        settings=made,
        trailing=trailing,
        live_from_ns=live_from_ns,
        trimmed=sum(held.rows(*spans[day.date]) for day in asked if day.date not in kept),
        neighbours=(
            known[first - 1] if first > 0 else None,
            known[last + 1] if last + 1 < len(known) else None,
        ),
        notes=_notes(config, made, source, known, days, symbols),
    )


FED_DAYS = timedelta(days=370)
"""How far ahead a run whose rows come from a feed knows its days; another start goes on from there."""


def fed_plan(
    config: Config,
    stored: Source | None,
    today: date,
    since: date | None = None,
    *,
    live_from_ns: MarketTime = EPOCH,
    indicators: Mapping[str, Indicator] | None = None,
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

    Raises
    ------
    ConfigError, DataError, CalendarError
    """
    zone = config.calendar.timezone or timezone(config.exchange)
    if config.symbols != "all":
        symbols = tuple(sorted({*config.symbols, *config.companions.values()}))
    elif stored is not None:
        symbols = _symbols(config, stored)
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
    calendar = _around(config, start, end)
    known = calendar.days()
    days = tuple(day for day in known if start <= day.date <= end)
    if not days:
        raise ConfigError(f"{config.exchange} has no trading day from {start} to {end}")
    held = {} if stored is None else stored.dates(zone)
    dates = {**held, **{day.date: 0 for day in days}}
    trailing = trailing_settings(config, calendar.before, dates)
    made = fed_settings(config)
    _refuse_windows_outside(config, made, days)
    first, last = known.index(days[0]), known.index(days[-1])
    return Plan(
        days=days,
        symbols=symbols,
        not_trading={},
        open_ended=(False, False),
        settings=_with_indicators(made, trailing, indicators or {}),
        trailing=trailing,
        live_from_ns=live_from_ns,
        neighbours=(
            known[first - 1] if first > 0 else None,
            known[last + 1] if last + 1 < len(known) else None,
        ),
    )


def fed_settings(config: Config) -> Settings:
    """What the actors are made from where rows come from a feed."""
    clock, of_day, by_the_wall = config.clock, config.day, config.by_the_wall
    return replace(
        settings(config),
        fed=True,
        order="arrival",
        days_ahead=0,
        clock_step=clock.step,
        wall=WallRules(clock.lateness.ns, clock.skew_max.ns) if by_the_wall else None,
        wall_day=Wall(of_day.timeout_seconds.ns, of_day.post_market_roll_delay.ns, of_day.auto_roll)
        if by_the_wall
        else None,
    )


def day_after(config: Config, day: date) -> TradingDay | None:
    """The trading day that follows a date, as the calendar has it now; None: feed.end is before it.

    Raises
    ------
    CalendarError
        If the calendar knows of none.
    """
    _, latest = coverage(config.exchange)
    reach = timedelta(days=14)
    while True:
        until = min(day + reach, latest)
        following = next((d for d in _around(config, day, until).days() if d.date > day), None)
        if following is not None:
            end = config.feed.end
            return following if end is None or following.date <= end else None
        if until >= latest:
            raise CalendarError(
                f"the calendar of {config.exchange} has no trading day after {day}; it reaches to "
                f"{latest}: a newer exchange_calendars or pandas_market_calendars, or "
                "calendar.special_sessions, may have more"
            )
        reach *= 4


def recorded_plan(config: Config, days: tuple[TradingDay, ...], symbols: tuple[str, ...]) -> Plan:
    """A plan over days that were run before, whose data is not here.

    Raises
    ------
    ConfigError, CalendarError
    """
    calendar = _around(config, days[0].date, days[-1].date)
    trailing = trailing_settings(config, calendar.before, {})
    next_to = [day for day in calendar.days() if not days[0].date <= day.date <= days[-1].date]
    return Plan(
        days=days,
        symbols=symbols,
        not_trading={},
        open_ended=(False, False),
        settings=_with_indicators(
            settings(config) if config.feed.type == "replay" else fed_settings(config), trailing, {}
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


@dataclass(frozen=True)
class DayWindows:
    """When the sessions take place on a trading day."""

    day: TradingDay
    windows: Mapping[str, Window | NoWindow]
    """By session, as configured."""


def check_config(config: Config, today: date, *, refuse: bool = True) -> tuple[DayWindows, ...]:
    """When the sessions take place on the days of the two weeks from a date on.

    Parameters
    ----------
    refuse : bool
        Whether to refuse sessions that take place on none of the days. Where there are rows to
        run, it is their days that count, see `plan`.

    Raises
    ------
    ConfigError, CalendarError
        If the configuration can't be run, as far as can be told without its data.
    """
    _, latest = coverage(config.exchange)
    last = max(today, min(today + timedelta(days=14), latest))
    days = calendar_for(config, today, last).days()
    made = settings(config)
    if refuse:
        _refuse_windows_outside(config, made, days)
    slot_ns = made.interval_ns or MINUTE_NS
    return tuple(
        DayWindows(day, {spec.name: session_window(day, spec, slot_ns) for spec in made.sessions})
        for day in days
    )


def check_data(config: Config) -> DataError | None:
    """Why a run refuses the data that a configuration names; None: it takes it, or needs none.

    Raises
    ------
    ConfigError, CalendarError
        If the configuration and its data contradict each other.
    """
    if config.data.path is None:
        return None
    try:
        source = open_source(config.data.path, data_options(config))
        backtest, feed = config.backtest, config.feed
        try:
            for start, end in {(backtest.start, backtest.end), (feed.start, feed.end)}:
                plan(config, source, start, end)
        finally:
            source.close()
    except DataError as error:
        return error
    return None


def settings(config: Config, *, paced: bool = False, days_at_once: bool = False) -> Settings:
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
            SessionSpec(
                session.name,
                str(session.start),
                str(session.end),
                session.closed,
                session.timezone,
            )
            for session in config.sessions
        ),
        rules=tuple(_rules(rule) for rule in rules),
        companions=tuple(config.companions.items()),
        followed=() if config.symbols == "all" else ((date.min, config.symbols),),
        interval_ns=interval_ns,
        clock_step="bar" if paced else _unpaced_step(config, days_at_once),
        paced=paced,
        days_ahead=_days_ahead(config, paced),
        derived_minutes=(
            tuple(derived.ns // MINUTE_NS for derived in config.upkeep.derived_intervals)
            if config.upkeep.enabled
            else ()
        ),
        measures_quality=config.history.enable_quality,
        order=config.data.order,
        lateness_ns=config.clock.lateness.ns,
    )


def _unpaced_step(config: Config, days_at_once: bool) -> Literal["day", "boundary", "bar"]:
    asked = "step" in config.clock.model_fields_set or config.scanners
    # Ticks of a whole day are many: what is computed of them is done a step at a time. Of rows in
    # the order in which they came, a session has those only that had come when it was over.
    fits = config.data.kind == "bars" and config.data.order == "time"
    return "day" if days_at_once and fits and not asked else config.clock.step


def _days_ahead(config: Config, paced: bool) -> int:
    if config.prefetch.days is not None:
        return config.prefetch.days
    return DAYS_AHEAD if config.data.kind == "bars" and not paced else 1


def _rules(breakout: BreakoutConfig) -> BreakRules:
    buffer = breakout.buffer
    tick = breakout.tick_size or 0.0
    return BreakRules(
        confirm=breakout.confirm,
        check=breakout.check,
        sides=breakout.sides,
        buffer=product(buffer.amount, tick) if buffer.unit == "ticks" else buffer.amount,
        buffer_unit="percent" if buffer.unit == "percent" else "price",
        tick=tick,
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
        special_sessions=config.calendar.special_sessions,
        closures=config.calendar.closures,
        early_closes=config.calendar.early_closes,
        hours=config.calendar.hours or (),
        tz=config.calendar.timezone,
    )


DAYS_AHEAD = 4
"""Days of bars read ahead where nothing paces a run: some take longer to read than to compute."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_BEFORE, _AFTER = timedelta(days=2), timedelta(days=4)
"""How many dates before and after its rows a trading day may lie: a day that opens on Friday's
evening is Monday's, and the time zone of the hours may be another one than that of the dates."""


def _calendar(
    config: Config, dates: Mapping[date, int], start: date | None, end: date | None
) -> Calendar:
    """The calendar of the range and of the days next to it.

    Dates in the data that it can't cover are no trading days.
    """
    try:
        return _around(config, start or min(dates), end or max(dates))
    except CalendarError:
        # A stray row (1970-01-01 is a common one) must not decide what can be run.
        inner = sorted(day for day in dates if abs((day - _median(dates)).days) < 3660)
        return _around(config, start or inner[0], end or inner[-1])


def _around(config: Config, first: date, last: date) -> Calendar:
    earliest, latest = coverage(config.exchange)
    return calendar_for(
        config,
        min(first, max(first - _BEFORE, earliest)),
        max(last, min(max(first, last) + _AFTER, latest)),
    )


def _median(dates: Mapping[date, int]) -> date:
    ordered = sorted(dates)
    rows = np.cumsum([dates[day] for day in ordered])
    return ordered[int(np.searchsorted(rows, rows[-1] / 2))]


@dataclass(frozen=True)
class _Held:
    """Which days of a source have rows that a run would use."""

    source: Source
    dates: Mapping[date, int]
    """Rows per date of `tz`."""
    symbols: tuple[str, ...]
    tz: str

    def rows(self, start_ns: int, end_ns: int) -> int:
        """How many there are between two instants; whole dates are counted without reading."""
        return sum(
            self._of_date(d, start_ns, end_ns) for d in dates_between(start_ns, end_ns, self.tz)
        )

    def on_no_day(
        self, spans: Sequence[tuple[int, int]], start: date | None, end: date | None
    ) -> dict[date, int]:
        """Rows that no trading day owns, per date from `start` to `end`.

        Parameters
        ----------
        spans : sequence
            From when until when (ns UTC) rows belong to a trading day, ascending.
        """
        ends = [until for _, until in spans]
        found: dict[date, int] = {}
        for d in self.dates:
            if (start is not None and d < start) or (end is not None and d > end):
                continue
            at, midnight = self._bounds(d)
            rows = 0
            for first, until in spans[bisect_right(ends, at) :]:
                if first >= midnight:
                    break
                rows += self._of_date(d, at, first) if at < first else 0
                at = until
            rows += self._of_date(d, at, midnight) if at < midnight else 0
            if rows:
                found[d] = rows
        return found

    def _of_date(self, d: date, start_ns: int, end_ns: int) -> int:
        """Rows of a date between two instants."""
        if d not in self.dates:
            return 0
        first, until = self._bounds(d)
        if start_ns <= first and until <= end_ns and self.symbols == self.source.info().symbols:
            return self.dates[d]
        start, end = max(first, start_ns), min(until, end_ns)
        return len(self.source.read(start, end, self.symbols))

    def _bounds(self, d: date) -> tuple[int, int]:
        return local_instant(d, time(), self.tz), local_instant(d + ONE_DAY, time(), self.tz)

    def has_row(self, day: TradingDay) -> bool:
        if self.dates.keys().isdisjoint(day.local_dates):
            return False
        return any(
            len(self.source.read(segment.open_ns, segment.close_ns, self.symbols)) > 0
            for segment in day.segments
        )


def _nothing_inside(
    config: Config,
    dates: Mapping[date, int],
    start: date | None,
    end: date | None,
    num_symbols: int,
) -> str:
    daily = max(dates.values()) <= num_symbols
    of = "" if config.symbols == "all" else f" of {', '.join(config.symbols[:5])}"
    asked = " ".join(
        f"{word} {day}" for word, day in (("from", start), ("to", end)) if day is not None
    )
    return (
        f"{_where(config)} has no row{of} inside the hours of {config.exchange}"
        f"{' ' + asked if asked else ''}; it has rows from {min(dates)} to {max(dates)}: check the "
        "dates, the exchange and data.timezone"
        + ("; one row a day, as it has, can't be run: name a file with minutes or ticks" * daily)
    )


def _refuse_windows_outside(config: Config, made: Settings, days: tuple[TradingDay, ...]) -> None:
    """A session that is outside the hours of every day is a mistake, as 17:00 in New York is.

    Special days alone tell nothing: NSE's morning windows are rightly skipped on a Muhurat evening.
    """
    regular = next((day for day in days if day.kind == "regular"), None)
    if regular is None:
        return
    slot_ns = made.interval_ns or MINUTE_NS
    for place, session in enumerate(made.sessions):
        found = (session_window(day, session, slot_ns) for day in (regular, *days))
        reasons = []
        for window in found:
            if not isinstance(window, NoWindow):
                break
            reasons.append(window.reason)
        else:
            raise ConfigError(
                f'sessions[{place}], "{session.name}": {reasons[0]}, and takes place on no day of '
                f"{config.exchange} from {days[0].date} to {days[-1].date}; correct its times, or "
                "leave it out"
            )


def _refuse_another_interval(
    config: Config, made: Settings, source: Source, day: TradingDay, symbols: tuple[str, ...]
) -> None:
    """Bars of another length, or with times inside the minute, fit the grid nowhere.

    Longer bars fit it, but leave gaps between them everywhere.
    """
    if made.interval_ns is None:
        return
    starts, _ = day.grid(made.interval_ns)
    ts = np.concatenate([source.read(s.open_ns, s.close_ns, symbols).ts for s in day.segments])
    apart = _spacing(day, ts)
    if apart is not None and apart != made.interval_ns:
        raise ConfigError(
            f"data.interval is {config.data.interval}, but the bars of {_where(config)} on "
            f"{day.date} are {Duration(apart)} apart; write data.interval: {Duration(apart)}"
        )
    off = ts[~among(ts, starts)]
    if 2 * len(off) <= len(ts):
        return
    first = _EPOCH + timedelta(seconds=int(off[0]) // SECOND_NS)
    if config.data.bar_label == "start" and are_last_instants(off):
        raise DataError(
            f"{_where(config)}: bars on {day.date} are stamped with their last instant, such as "
            f"{first:%H:%M:%S} UTC; write data.bar_label: end"
        )
    raise DataError(
        f"{_where(config)}: {len(off):,} of {len(ts):,} bars on {day.date} are not at a multiple of "
        f"{config.data.interval} from the open, such as {first:%H:%M:%S} UTC; correct data.interval"
        " or data.bar_label"
    )


_LOOKED_AT = 3
"""Days, of which all have to look alike."""


def _notes(
    config: Config,
    made: Settings,
    source: Source,
    known: tuple[TradingDay, ...],
    days: tuple[TradingDay, ...],
    symbols: tuple[str, ...],
) -> tuple[str, ...]:
    """That bars seem to be stamped with their ends, where that is so."""
    interval_ns = made.interval_ns
    opens = {day.open_ns for day in known}
    looked_at = [day for day in days[:_LOOKED_AT] if day.close_ns not in opens]
    if interval_ns is None or config.data.bar_label == "end" or not looked_at:
        return ()
    if not all(seem_ends(source, day, symbols, interval_ns) for day in looked_at):
        return ()
    zone = ZoneInfo(looked_at[0].tz)
    opened, closed = (
        _EPOCH + timedelta(seconds=ns // SECOND_NS)
        for ns in (looked_at[0].open_ns, looked_at[0].close_ns)
    )
    note = (
        f"no bar is stamped {opened.astimezone(zone):%H:%M}, the open, but one is stamped "
        f"{closed.astimezone(zone):%H:%M}, the close; if bars are stamped with their end, write "
        "data.bar_label: end"
    )
    return (note,)


_FEWEST = 6
"""Of fewer bars a day nobody can tell how long they are."""


def _spacing(day: TradingDay, ts: Nanoseconds) -> int | None:
    """How far apart bars are (ns); None where that can't be told.

    It can where they begin with the segments and fill half of the places that it makes.
    """
    of_segments = [distinct(ts[(ts >= s.open_ns) & (ts < s.close_ns)]) for s in day.segments]
    held = sum(map(len, of_segments))
    if held < _FEWEST:
        return None
    apart = int(np.gcd.reduce(np.concatenate([np.diff(of) for of in of_segments])))
    starts = day.grid(apart)[0] if apart else np.empty(0, np.int64)
    fits = among(np.concatenate(of_segments), starts).all()
    return apart if fits and 2 * held >= len(starts) else None


def _symbols(config: Config, source: Source) -> tuple[str, ...]:
    held = source.info().symbols
    asked = set(held) if config.symbols == "all" else set(config.symbols)
    named = asked | set(config.companions.values())
    if config.symbols == "all":
        named |= set(config.companions)
    if unknown := sorted(named - set(held)):
        whose = "" if unknown[0] in asked else ", which companions names"
        raise DataError(
            f"{_where(config)} has no symbol {', '.join(map(repr, unknown[:5]))}{whose}"
            f"{_nearest(unknown[0], held)}; it has {len(held)}: {', '.join(held[:8])}"
            f"{', …' if len(held) > 8 else ''}"
        )
    return tuple(sorted(named))


def _nearest(name: str, names: tuple[str, ...]) -> str:
    near = get_close_matches(name, names, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def _where(config: Config) -> str:
    return str(config.data.path) if config.data.path else "the data"
