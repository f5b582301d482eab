"""The calendar that a run needs: of its days and of those next to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import numpy as np

from openbell.errors import CalendarError
from openbell.market.auctions import AUCTIONS
from openbell.market.calendar import Calendar, coverage, open_calendar
from openbell.market.days import AuctionKind, TradingDay
from openbell.market.segments import ProductRule
from openbell.runtime.config import Config
from openbell.runtime.intake.instrumentsfile import product_rules

_BEFORE, _AFTER = timedelta(days=2), timedelta(days=4)
"""How many dates before and after its rows a trading day may lie: a day that opens on Friday's
evening is Monday's, and the time zone of the hours may be another one than that of the dates."""


def calendar_for(
    config: Config,
    first: date,
    last: date,
    others: Sequence[ProductRule] = (),
    said: Sequence[ProductRule] | None = None,
    *,
    with_auctions: bool = True,
) -> Calendar:
    """The configured exchange's calendar, with the configuration's own corrections over it.

    Parameters
    ----------
    others : sequence
        Products of symbols that neither the file of instruments nor `calendar.segments` names.
    said : sequence, optional
        What those two say; None: the file is read.
    with_auctions : bool
        Whether auctions that sessions name belong to the days, as for a run.

    Raises
    ------
    CalendarError
    ConfigError, DataError
        If the file can't be read, or contradicts itself.
    """
    said = product_rules(config) if said is None else said
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
        segments=(*others, *said),
        auctions=named_auctions(config) if with_auctions else (),
    )


def named_auctions(config: Config) -> frozenset[AuctionKind]:
    """The auctions that sessions are."""
    return frozenset(AUCTIONS[of.auction] for of in config.sessions if of.auction is not None)


def calendar_of(
    config: Config, dates: Mapping[date, int], start: date | None, end: date | None
) -> Calendar:
    """The calendar of the range and of the days next to it.

    Dates in the data that it can't cover are no trading days.
    """
    try:
        return around(config, start or min(dates), end or max(dates))
    except CalendarError:
        # A stray row (1970-01-01 is a common one) must not decide what can be run.
        inner = sorted(day for day in dates if abs((day - _median(dates)).days) < 3660)
        return around(config, start or inner[0], end or inner[-1])


def around(
    config: Config, first: date, last: date, said: Sequence[ProductRule] | None = None
) -> Calendar:
    """The calendar of a range, and of as many dates on either side as a day of it may reach."""
    earliest, latest = coverage(config.exchange)
    end = max(first, last)
    # Sums would leave what dates there are: people ask for the year 1 and the year 9999.
    before = earliest if first - earliest <= _BEFORE else first - _BEFORE
    after = latest if latest - end <= _AFTER else end + _AFTER
    return calendar_for(config, min(first, before), max(last, after), said=said)


def _median(dates: Mapping[date, int]) -> date:
    ordered = sorted(dates)
    rows = np.cumsum([dates[day] for day in ordered])
    return ordered[int(np.searchsorted(rows, rows[-1] / 2))]


def day_after(
    config: Config, day: date, said: Sequence[ProductRule] | None = None
) -> TradingDay | None:
    """The trading day that follows a date, as the calendar has it now; None: feed.end is before it.

    Parameters
    ----------
    said : sequence, optional
        As of `calendar_for`.

    Raises
    ------
    CalendarError
        If the calendar knows of none.
    """
    _, latest = coverage(config.exchange)
    reach = timedelta(days=14)
    while True:
        until = min(day + reach, latest)
        following = next((d for d in around(config, day, until, said).days() if d.date > day), None)
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
