"""What the source, the actors and the clock are made from, as a configuration says."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Literal

from openbell.actors.day import Wall
from openbell.adapters.sources import CsvOptions, DataOptions
from openbell.errors import CalendarError, ConfigError
from openbell.market.auctions import AUCTIONS
from openbell.market.breakouts import BreakRules
from openbell.market.calendar import timezone
from openbell.market.conditions import Until, Width
from openbell.market.days import MINUTE_NS
from openbell.market.prices import product
from openbell.market.rules import RowRules
from openbell.market.scans import BEFORE_OPEN, ScanSpec
from openbell.market.silence import SilenceRules
from openbell.market.volumes import VolumeRule
from openbell.market.watermark import WallRules
from openbell.market.windows import SessionSpec
from openbell.runtime.config import BreakoutConfig, Config
from openbell.runtime.config.conditions import Range, Validity, Volume
from openbell.runtime.kernel.wiring import Settings

DAYS_AHEAD = 4
"""Days of bars read ahead where nothing paces a run: some take longer to read than to compute."""


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
        extras=row_rules(config).extras(data.kind) if data.order == "arrival" else (),
        exchange_zone=_zone(config.exchange),
    )


def _zone(exchange: str) -> str | None:
    try:
        return timezone(exchange)
    except CalendarError:  # said where it matters
        return None


def row_rules(config: Config) -> RowRules:
    """What rows in the order in which they came mean."""
    feed = config.feed
    return RowRules(
        feed.dedupe,
        feed.size_is == "day_total",
        feed.on_partial == "drop",
        feed.revisions == "amend",
    )


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
                str(session.auction or session.start),
                str(session.auction or session.end),
                session.closed,
                session.timezone,
                first_bar=rule.direction == "first_bar",
                auction=None if session.auction is None else AUCTIONS[session.auction],
            )
            for session, rule in zip(config.sessions, rules, strict=True)
        ),
        rules=tuple(
            _rules(rule, session.timezone)
            for session, rule in zip(config.sessions, rules, strict=True)
        ),
        companions=tuple(config.paired.items()),
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
        row_rules=row_rules(config),
        lateness_ns=config.clock.lateness.ns,
        scans=scan_specs(config),
    )


def scan_specs(config: Config) -> tuple[ScanSpec, ...]:
    """The scans of a configuration, in its order."""
    return tuple(
        ScanSpec(
            of.name,
            of.type,
            of.at or (BEFORE_OPEN,),
            of.then,
            dict(of.options),
            of.timeout_seconds.seconds,
            of.catch_up or ("last" if of.then == "report" else "all"),
            of.worker,
        )
        for of in config.scanners
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
        wall_day=Wall(_silence(config), of_day.post_market_roll_delay.ns, of_day.auto_roll)
        if by_the_wall
        else None,
    )


def _silence(config: Config) -> SilenceRules:
    feed, data = config.feed, config.data
    return SilenceRules(
        timeout_ns=config.day.timeout_seconds.ns,
        suspect_ns=None if feed.suspect_seconds is None else feed.suspect_seconds.ns,
        symbol_ns=feed.symbol_suspect_seconds.ns,
        interval_ns=data.interval.ns if data.kind == "bars" else None,
    )


def _unpaced_step(config: Config, days_at_once: bool) -> Literal["day", "boundary", "bar"]:
    asked = "step" in config.clock.model_fields_set
    # Ticks of a whole day are many: what is computed of them is done a step at a time. Of rows in
    # the order in which they came, a session has those only that had come when it was over.
    fits = config.data.kind == "bars" and config.data.order == "time"
    return "day" if days_at_once and fits and not asked else config.clock.step


def _days_ahead(config: Config, paced: bool) -> int:
    if config.prefetch.days is not None:
        return config.prefetch.days
    return DAYS_AHEAD if config.data.kind == "bars" and not paced else 1


def _rules(breakout: BreakoutConfig, timezone: str | None) -> BreakRules:
    buffer, near = breakout.buffer, breakout.retest.tolerance
    tick = breakout.tick_size or 0.0
    unit = "price" if buffer.unit == "ticks" and tick else buffer.unit
    return BreakRules(
        confirm=breakout.confirm,
        check=breakout.check,
        sides=breakout.sides,
        buffer=product(buffer.amount, tick) if buffer.unit == "ticks" and tick else buffer.amount,
        buffer_unit=unit,
        tick=tick,
        inside_bars=breakout.rearm.inside_bars,
        rearms_max=breakout.rearm.max,
        closed_beyond=breakout.closed_beyond,
        retest_bars=breakout.retest.within_bars,
        retest_tolerance=product(near.amount, tick)
        if near.unit == "ticks" and tick
        else near.amount,
        retest_unit="price" if near.unit == "ticks" and tick else near.unit,
        volume=_volume(breakout.volume),
        min_range=_width(breakout.min_range),
        max_range=_width(breakout.max_range),
        until=_until(breakout.valid_until, timezone),
        on_incomplete=breakout.on_incomplete,
        direction=breakout.direction,
    )


def _volume(volume: Volume | str) -> VolumeRule | None:
    if not isinstance(volume, Volume):
        return None
    average = volume.average if volume.of == "minute" else ""
    return VolumeRule(volume.times, volume.of, volume.symbol == "companion", average)


def _width(bound: Range | str) -> Width | None:
    if not isinstance(bound, Range):
        return None
    return Width(bound.amount, bound.unit, bound.indicator)


def _until(until: Validity | str, timezone: str | None) -> Until | None:
    if not isinstance(until, Validity):
        return None
    if until.after is not None:
        return Until(after_ns=until.after.ns)
    return Until(str(until.at), timezone=timezone)
