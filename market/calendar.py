"""Trading days of an exchange: what the calendar libraries say, and what is laid over it.

Four layers, the later wins: the library (exchange_calendars or pandas_market_calendars), the bundled
overlay (`overlays/`), the user's `calendar.hours`, and the user's keys about single dates. Each day
says which layer its hours come from, and why. pandas and the libraries take most of a second to
import, so that is done by `open_calendar`, not by importing this module.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, time, timedelta
from itertools import pairwise

from openbell.errors import CalendarError
from openbell.market.almanac import open_kept
from openbell.market.auctions import with_named
from openbell.market.days import ONE_DAY, AuctionKind, Dates, Explanation, TradingDay
from openbell.market.exchanges import canonical
from openbell.market.hours import RegularHours, Span
from openbell.market.layers import (
    OVERLAYS,
    Layer,
    config_layer,
    digest,
    overlay_layer,
    overlay_of,
    overlay_text,
)
from openbell.market.libraries import Library, nearest
from openbell.market.products import together
from openbell.market.segments import PRODUCTS, ProductRule, rules_on

__all__ = [
    "SEGMENTS",
    "Calendar",
    "Explanation",
    "coverage",
    "open_calendar",
    "overlay_version",
    "timezone",
]

SEGMENTS = PRODUCTS
"""Products whose hours may differ; they do at NSE, since 2026-08-03."""

_EVES = timedelta(days=15)
"""How far back the trading day before may lie."""


class Calendar:
    """The trading days of one exchange and product in [first, last]; made by `open_calendar`."""

    def __init__(
        self,
        exchange: str,
        library: Library,
        layers: Sequence[Layer],
        first: date,
        last: date,
        overlay: str,
        others: Mapping[str, Sequence[Layer]] = {},
        rules: Sequence[ProductRule] = (),
        segment: str = "equity",
        auctions: Collection[AuctionKind] = (),
    ) -> None:
        self.exchange = exchange
        """The name as the user gave it."""
        self.tz = library.tz
        """IANA name of the exchange's time zone."""
        self.first = first
        self.last = last
        self.overlay = overlay
        """Digest of the overlay that was laid over the library, or empty."""
        self._library = library
        self._layers = layers
        self._others = others
        self._rules = rules
        self._segment = segment
        self._auctions = auctions
        self._dates = self._build(first, last)
        self._since = first  # `before` moves it back
        self._days = _open_days(self._dates)

    def days(self, first: date | None = None, last: date | None = None) -> tuple[TradingDay, ...]:
        """The trading days in [first, last], which must lie inside the calendar's own range.

        Raises
        ------
        CalendarError
            If the calendar was not opened for one of the dates.
        """
        first = self.first if first is None else self._inside(first)
        last = self.last if last is None else self._inside(last)
        start = bisect_left(self._days, first, key=_date_of)
        return self._days[start : bisect_right(self._days, last, key=_date_of)]

    def day(self, d: date) -> TradingDay | None:
        """The trading day of a date, or None when the exchange is closed."""
        return self.explain(d).day

    def explain(self, d: date) -> Explanation:
        """What holds on a date, open or closed: the layer that says so, and the reason."""
        return self._dates[self._inside(d)]

    def before(self, d: date, n: int) -> tuple[TradingDay, ...]:
        """The n trading days before a date, oldest first; they may lie before the calendar's range.

        Raises
        ------
        CalendarError
            If the library's data does not go back that far.
        """
        if d > self.last + ONE_DAY:
            self._inside(d - ONE_DAY)
        while (missing := n - bisect_left(self._days, d, key=_date_of)) > 0:
            if self._since <= self._library.first:
                raise CalendarError(
                    f"{self.exchange}: {n} trading days before {d} are wanted, but "
                    f"{self._library.source} goes back to {self._library.first}, "
                    f"which leaves {n - missing}; ask for fewer, or start later"
                )
            # Seven dates hold five days or fewer; the two weeks are for holidays.
            reach = timedelta(days=missing * 8 // 5 + 14)
            since = max(self._library.first, min(self._since, d) - reach)
            earlier = self._build(since, self._since - ONE_DAY)
            self._days = _open_days(earlier) + self._days
            self._since = since
        end = bisect_left(self._days, d, key=_date_of)
        return self._days[end - n : end]

    def _inside(self, d: date) -> date:
        if not self.first <= d <= self.last:
            raise CalendarError(
                f"{self.exchange}: the calendar was opened for {self.first} to {self.last}, "
                f"so it can't tell about {d}; open it for a range that holds the date"
            )
        return d

    def _build(self, first: date, last: date) -> Dates:
        reaches_back = any(layer.reaches_back for layer in self._layers)
        since = max(self._library.first, first - _EVES) if reaches_back else first
        built = self._library.build(since, last)
        dates = dict(built)
        for layer in self._layers:
            layer.lay_over(dates, self.exchange, self.tz)
        if self._rules:
            dates = self._with_products(built, dates)
        if self._auctions:
            dates = {
                d: with_named(entry, self._auctions, self._segment) for d, entry in dates.items()
            }
        self._refuse_overlaps(dates)
        return {d: entry for d, entry in dates.items() if d >= first}

    def _with_products(self, built: Dates, dates: Dates) -> Dates:
        """The dates with the hours of all products that symbols are."""
        by_product = {self._segment: dates}
        for product, layers in self._others.items():
            of = dict(built)
            for layer in layers:
                layer.lay_over(of, self.exchange, self.tz)
            by_product[product] = of
        return {
            d: together(
                self._segment, {p: of[d] for p, of in by_product.items()}, rules_on(self._rules, d)
            )
            for d in dates
        }

    def _refuse_overlaps(self, dates: Dates) -> None:
        for before, after in pairwise(_open_days(dates)):
            if after.open_ns < before.close_ns:
                raise CalendarError(
                    f"{self.exchange}: {after.date} opens before {before.date} has closed "
                    f"({after.layer}: {after.reason or 'its regular hours'}; {before.layer}: "
                    f"{before.reason or 'its regular hours'}); correct calendar: so that days "
                    "follow each other"
                )


def timezone(exchange: str) -> str:
    """IANA name of an exchange's time zone; takes no time, as no date is worked out.

    Raises
    ------
    CalendarError
        If the exchange is unknown.
    """
    return open_kept(exchange).tz


def open_calendar(
    exchange: str,
    first: date,
    last: date,
    *,
    segment: str = "equity",
    special_sessions: Mapping[date, Sequence[Span]] = {},
    closures: Collection[date] = (),
    early_closes: Mapping[date, time] = {},
    hours: Sequence[RegularHours] = (),
    tz: str | None = None,
    segments: Sequence[ProductRule] = (),
    auctions: Collection[AuctionKind] = (),
) -> Calendar:
    """Calendar of an exchange for the dates [first, last].

    The overlay is read anew by each call, so opening a calendar once a day picks up its changes.

    Parameters
    ----------
    exchange : str
        A MIC, a name of exchange_calendars or pandas_market_calendars, or `24/7` (the UTC date).
    segment : str
        One of `SEGMENTS`.
    special_sessions, closures, early_closes
        The user's `calendar:` keys, in local time: spans that replace a date's hours or open it,
        dates that are closed, and closes that cut a day short.
    hours : sequence
        The hours of regular days, oldest first, in place of the exchange's.
    tz : str, optional
        IANA name of the zone in which days, hours and sessions are written; None: the exchange's.
    segments : sequence
        Symbols that are another product than `segment`. A day has the hours of all of them together
        where they differ, and knows whose are which.
    auctions : collection
        Those that sessions name: they belong to a day's segments where it has them.

    Raises
    ------
    CalendarError
        If the exchange or a segment is unknown, its library doesn't cover the dates, or a key
        can't be used.
    """
    exchange = canonical(exchange)
    others = sorted({rule.product for rule in segments} - {segment})
    for name in (segment, *others):
        if name not in SEGMENTS:
            raise CalendarError(
                f'segment "{name}" is unknown{nearest(name, SEGMENTS)}; '
                f"use one of {', '.join(SEGMENTS)}"
            )
    if first > last:
        raise CalendarError(f"{exchange}: the range {first} to {last} ends before it starts")
    library = open_kept(exchange, tz)
    for d in (first, last):
        if not library.first <= d <= library.last:
            raise CalendarError(
                f"{exchange}: no calendar for {d}: {library.source} covers {library.first} to "
                f"{library.last}; choose dates inside, or upgrade the library"
            )
    overlay = overlay_of(library.name)
    text = b"" if overlay is None else overlay_text(overlay)

    def layers(of: str) -> list[Layer]:
        own = config_layer(special_sessions, closures, early_closes, hours, of)
        config = replace(own, of_another=of != segment)
        if overlay is None:
            return [config]
        return [overlay_layer(overlay, text, library.name, of), config]

    return Calendar(
        exchange,
        library,
        layers(segment),
        first,
        last,
        "" if overlay is None else digest(text),
        {of: layers(of) for of in others},
        segments,
        segment,
        auctions,
    )


def auctions_known(exchange: str) -> frozenset[AuctionKind]:
    """The auctions that a calendar knows of some product of an exchange, on some days."""
    name = open_kept(exchange).name
    if (overlay := overlay_of(name)) is None:
        return frozenset()
    text = overlay_text(overlay)
    of_each = (overlay_layer(overlay, text, name, of) for of in SEGMENTS)
    return frozenset(rule.kind for layer in of_each for rule in layer.auctions)


def coverage(exchange: str) -> tuple[date, date]:
    """First and last date for which `open_calendar` can answer for an exchange."""
    library = open_kept(exchange)
    return library.first, library.last


def overlay_version() -> str:
    """Digest of the bundled overlays as they are on disk: 16 hex digits."""
    return digest(b"".join(overlay_text(name) for name in sorted(OVERLAYS)))


def _date_of(day: TradingDay) -> date:
    return day.date


def _open_days(dates: Dates) -> tuple[TradingDay, ...]:
    return tuple(entry.day for entry in dates.values() if entry.day is not None)
