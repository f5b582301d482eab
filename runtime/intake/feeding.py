"""A run whose rows come from a feed, put together from its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import partial
from typing import NamedTuple
from zoneinfo import ZoneInfo

from openbell.adapters.feeds import Feed, FeedOptions, HasHistory, open_feed
from openbell.adapters.sources import Source, open_source
from openbell.errors import ConfigError
from openbell.hosttime import HostClock, wall
from openbell.market.calendar import timezone
from openbell.market.days import EPOCH, SECOND_NS
from openbell.market.indicators import Indicator
from openbell.market.scans import ScanFunction
from openbell.runtime.config import Config
from openbell.runtime.intake.fed import RunRows
from openbell.runtime.intake.filling import Filler
from openbell.runtime.intake.handover import ByTheWall, HandOver
from openbell.runtime.intake.planning import Plan, fed_plan
from openbell.runtime.intake.refused import RefusedLines, check_refused
from openbell.runtime.intake.renewal import by_command
from openbell.runtime.intake.settings import data_options
from openbell.runtime.record.recordings import RecordedHistory
from openbell.runtime.record.telling import Tell, tell_log

OPTIONS = ("rows_max", "full")
"""Keys of `feed.options` that a feed of the type `push` has."""

ROWS_MAX = 200_000


class Fed(NamedTuple):
    """What is run, and what feeds it."""

    source: RunRows
    plan: Plan
    feed: HandOver
    filler: Filler | None
    """Reads what is lacking of the day under way; None: there is no history, or rows alone move
    time."""


def fed(
    config: Config,
    *,
    since: date | None = None,
    host: HostClock | None = None,
    indicators: Mapping[str, Indicator] | None = None,
    scanners: Mapping[str, ScanFunction] | None = None,
    tell: Tell = tell_log,
) -> Fed:
    """A run that takes what is pushed, or what a feed delivers.

    Parameters
    ----------
    since : date, optional
        The first day of a run that goes on.
    host : HostClock, optional
        What moves time, where the configuration says so.
    tell : Tell
        Where the feed tells of itself.

    Raises
    ------
    ConfigError, DataError, CalendarError
    """
    rows_max, blocks = check_options(config)
    stored: Source | None = None
    if config.data.path is not None:
        # What was stored of the days before is not what a feed's rules are about.
        stored = open_source(config.data.path, replace(data_options(config), extras=()))
    recorded = None if config.feed.record is None else RecordedHistory(config.feed.record)
    try:
        plan = fed_plan(
            config,
            stored,
            local_today(config, host),
            since,
            live_from_ns=host() if host is not None and config.by_the_wall else EPOCH,
            recorded=frozenset() if recorded is None else recorded.dates,
            indicators=indicators,
            scanners=scanners,
        )
        delivers: Feed | None = None
        if config.feed.type != "push":
            delivers = open_feed(config.feed.type, _feed_options(config, plan.symbols))
    except BaseException:
        if stored is not None:
            stored.close()
        raise
    interval_ns = plan.settings.interval_ns
    source = RunRows(
        stored,
        symbols=plan.symbols,
        days=plan.days,
        interval_ns=interval_ns,
        keeps=bool(plan.trailing.needs),
        recorded=recorded,
        rules=plan.settings.row_rules,
    )
    feed = HandOver(
        symbols=plan.symbols,
        days=plan.days,
        spans=plan.row_spans,
        interval_ns=interval_ns,
        rows_max=rows_max,
        blocks=blocks,
        ahead_max_ns=config.clock.skew_max.ns,
        name=config.feed.type,
        feed=delivers,
        by_the_wall=_by_the_wall(config, host),
        rules=plan.settings.row_rules,
        refused=None if config.feed.refused is None else RefusedLines(config.feed.refused),
        tell=tell,
        lateness_ns=config.clock.lateness.ns,
        token_expires=config.feed.token_expires,
    )
    if config.feed.renew:
        feed.renew_with(by_command(config.feed.renew))
    filler = _filler(config, delivers) if host is not None else None
    if filler is not None:
        loses = delivers is not None and delivers.rewind == "none"
        fills_ns = config.day.post_market_roll_delay.ns
        plan = replace(plan, settings=replace(plan.settings, fills_ns=fills_ns, loses=loses))
    return Fed(source, plan, feed, filler)


def _filler(config: Config, delivers: Feed | None) -> Filler | None:
    history = delivers.history if isinstance(delivers, HasHistory) else None
    path = config.data.path
    if not config.by_the_wall or (path is None and history is None):
        return None
    return Filler(
        interval_ns=config.data.interval.ns if config.data.kind == "bars" else None,
        stored=None if path is None else partial(open_source, path, data_options(config)),
        history=history,
        timeout_seconds=config.prefetch.timeout_seconds.seconds,
    )


def _by_the_wall(config: Config, host: HostClock | None) -> ByTheWall | None:
    if host is None or not config.by_the_wall:
        return None
    fresh_ns = max(config.clock.lateness.ns, SECOND_NS)
    return ByTheWall(host, fresh_ns, config.prefetch.timeout_seconds.ns)


def check_options(config: Config) -> tuple[int, bool]:
    """How many rows may wait, and whether who delivers waits for room.

    Raises
    ------
    ConfigError
        If the feed can't be made of its options.
    """
    if config.feed.renew:
        by_command(config.feed.renew)
    if config.feed.refused is not None:
        check_refused(config.feed.refused)
    if config.feed.type == "push":
        return _options(config)
    open_feed(config.feed.type, _feed_options(config)).close()
    return ROWS_MAX, True


def _feed_options(config: Config, symbols: tuple[str, ...] = ()) -> FeedOptions:
    data = config.data
    return FeedOptions(
        name=config.name,
        kind=data.kind,
        interval_ns=data.interval.ns if data.kind == "bars" else None,
        bar_label=data.bar_label,
        given=dict(config.feed.options),
        symbols=symbols,
        size_is=config.feed.size_is,
    )


def _options(config: Config) -> tuple[int, bool]:
    given: Mapping[str, object] = config.feed.options
    for key in given:
        if key not in OPTIONS:
            raise ConfigError(
                f"feed.options.{key} is unknown; a push feed has {', '.join(OPTIONS)}"
            )
    rows_max, full = given.get("rows_max", ROWS_MAX), given.get("full", "wait")
    if not isinstance(rows_max, int) or isinstance(rows_max, bool) or rows_max < 1:
        raise ConfigError(f"feed.options.rows_max is {rows_max!r}; write a number above 0")
    if full not in ("wait", "raise"):
        raise ConfigError(f"feed.options.full is {full!r}; write wait or raise")
    return rows_max, full == "wait"


def local_today(config: Config, host: HostClock | None = None) -> date:
    """The date where the exchange is, by this host's clock."""
    zone = ZoneInfo(config.calendar.timezone or timezone(config.exchange))
    now = wall() if host is None else host() / SECOND_NS
    return datetime.fromtimestamp(now, zone).date()
