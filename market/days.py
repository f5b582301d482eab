"""Trading days as the rest of openbell sees them: dates, segments and instants.

Inside, an instant is an `int` of nanoseconds since 1970-01-01T00:00:00Z; a trading day knows
its exchange's time zone and turns wall-clock times of that day into instants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Literal, NewType, Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

Nanoseconds = NDArray[np.int64]
"""Instants or durations, int64 nanoseconds; instants are UTC."""

MarketTime = NewType("MarketTime", int)
"""An instant of the market, nanoseconds UTC: what steps, rows and boundaries go by."""

EPOCH = MarketTime(0)
"""Before any trading day."""

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
DAY_NS = 86_400 * SECOND_NS
_QUARTER_NS = 15 * MINUTE_NS
"""Clocks change at full quarters of an hour."""

ONE_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def local_instant(day: date, wall: time, tz: str) -> int:
    """Instant (ns UTC) of a wall-clock time on a date in an IANA time zone.

    A time that a clock change skips is read with the offset in force before the change, one that
    it repeats is its first occurrence (PEP 495, fold=0).
    """
    moment = datetime.combine(day, wall, tzinfo=ZoneInfo(tz))
    return round(moment.timestamp()) * SECOND_NS


DateRun = tuple[date, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """One uninterrupted span of trading, [open, close)."""

    open_ns: int
    close_ns: int


AuctionKind = Literal["auction_open", "auction_close"]


@dataclass(frozen=True, slots=True)
class Auction:
    """A span outside of continuous trading in which one price is found for all orders."""

    kind: AuctionKind
    open_ns: int
    close_ns: int
    layer: str = ""
    """As of a trading day."""
    reason: str = ""
    """What it is, and what of it is not known for sure."""


@dataclass(frozen=True, slots=True)
class ProductHours:
    """The hours of some of a run's symbols, on a day on which not all have the same."""

    product: str
    """`equity`, `futures`, …: what `segment` is called in a configuration."""
    segments: tuple[Segment, ...]
    """At least one; sorted, not overlapping."""
    symbols: tuple[str, ...] = ()
    """Whose: names, and patterns of names such as `*FUT`."""
    layer: str = ""
    """As of a trading day."""
    reason: str = ""
    auctions: tuple[Auction, ...] = field(default=(), metadata={"written": "if set"})
    """Its auctions; no part of the segments."""

    @property
    def open_ns(self) -> MarketTime:
        return MarketTime(self.segments[0].open_ns)

    @property
    def close_ns(self) -> MarketTime:
        return MarketTime(self.segments[-1].close_ns)


@dataclass(frozen=True)
class TradingDay:
    """One exchange day: its date, its segments in time order, and where its hours come from."""

    date: date
    tz: str
    """IANA name of the exchange's time zone."""
    segments: tuple[Segment, ...]
    """At least one; sorted, not overlapping."""
    kind: str = "regular"
    """`regular`, `early_close`, `late_open`, `extended` or `special` (an evening, a weekend, …)."""
    layer: str = ""
    """Which layer gave the hours, e.g. `exchange_calendars XNYS` or `overlay nse.yaml`."""
    reason: str = ""
    """Why the hours are not the regular ones, or empty."""
    products: tuple[ProductHours, ...] = field(default=(), metadata={"written": "if set"})
    """Where symbols have different hours, each product's; the first has all symbols that no other
    names. The day's own segments are what they have together then. See `market.products`."""
    auctions: tuple[Auction, ...] = field(default=(), metadata={"written": "if set"})
    """Where all have the same hours, the auctions of the run's own product."""
    named: tuple[AuctionKind, ...] = field(default=(), metadata={"written": "if set"})
    """Auctions that sessions of the run name: they belong to the day's segments then, and to no
    product's. See `market.auctions`."""

    @property
    def open_ns(self) -> MarketTime:
        return MarketTime(self.segments[0].open_ns)

    @property
    def close_ns(self) -> MarketTime:
        return MarketTime(self.segments[-1].close_ns)

    @property
    def hours(self) -> tuple[object, ...]:
        """Equal for days on which everybody has the same hours."""
        named = tuple(
            (of.product, a.open_ns, a.close_ns)
            for of in self.products
            for a in of.auctions
            if a.kind in self.named
        )
        of_each = tuple((of.product, of.segments, of.symbols) for of in self.products)
        return self.segments, of_each, named

    @property
    def main(self) -> tuple[Segment, ...]:
        """The hours of the run's own `segment`, by which sessions relative to open or close go."""
        return self.products[0].segments if self.products else self.segments

    @cached_property
    def plain(self) -> Self:
        """The day as it is where no session names an auction: its hours are those of continuous
        trading."""
        if not self.named:
            return self
        return replace(self, segments=union(of.segments for of in self.products), named=())

    @cached_property
    def midnight_ns(self) -> int:
        """The local midnight with which the date begins."""
        return local_instant(self.date, time(), self.tz)

    @cached_property
    def next_midnight_ns(self) -> int:
        return local_instant(self.date + timedelta(days=1), time(), self.tz)

    @property
    def crosses_midnight(self) -> bool:
        """Whether some of its hours lie on another date than its own."""
        return self.open_ns < self.midnight_ns or self.close_ns > self.next_midnight_ns

    @cached_property
    def local_dates(self) -> DateRun:
        """The dates of its zone on which its hours lie, ascending."""
        if not self.crosses_midnight:
            return (self.date,)
        return dates_between(self.open_ns, self.close_ns, self.tz)

    def instant(self, wall: time) -> int:
        """Instant (ns UTC) of a wall-clock time on this day's date."""
        return local_instant(self.date, wall, self.tz)

    def grid(self, interval_ns: int) -> tuple[Nanoseconds, Nanoseconds]:
        """Starts and ends of the day's bars of one interval, anchored at each segment's open.

        Returns
        -------
        starts, ends : (n,) int64, ns UTC
            The last bar of a segment ends at the segment's close, even when that cuts it short.
            Read-only.
        """
        return _grid(self.segments, interval_ns)

    def minutes_expected(self) -> int:
        """Minutes inside the day's hours: 390 on a regular New York day."""
        return minutes_of(self.segments)


@dataclass(frozen=True, slots=True)
class Explanation:
    """What a calendar says of one date, and on whose word."""

    date: date
    day: TradingDay | None
    """None when the exchange is closed."""
    layer: str
    """`exchange_calendars XNYS`, `overlay nse.yaml`, `config`, …"""
    reason: str
    """Why it is closed (`weekend`, `holiday (…)`, `closure: …`) or has unusual hours, else empty."""
    regular: tuple[int, int] | None = None
    """Open and close (ns UTC) of a regular day, where this one has unusual hours of its own."""


Dates = dict[date, Explanation]
"""One entry for every date of a span, in order."""


def union(of: Iterable[Sequence[Segment]]) -> tuple[Segment, ...]:
    """The spans that lie in some of the hours; those that touch are one."""
    spans = sorted((s.open_ns, s.close_ns) for segments in of for s in segments)
    merged = spans[:1]
    for opens, closes in spans[1:]:
        if opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], closes))
        else:
            merged.append((opens, closes))
    return tuple(Segment(*span) for span in merged)


def is_inside(segments: Iterable[Segment], ts: Nanoseconds) -> NDArray[np.bool_]:
    """(n,) which instants lie in some of the spans."""
    inside: NDArray[np.bool_] = np.zeros(len(ts), np.bool_)
    for s in segments:
        inside |= (ts >= s.open_ns) & (ts < s.close_ns)
    return inside


def minutes_of(segments: Iterable[Segment]) -> int:
    """Minutes inside some hours."""
    return sum(-(-(s.close_ns - s.open_ns) // MINUTE_NS) for s in segments)


def local_date(instant_ns: int, tz: str) -> date:
    """The date that an instant falls on in a time zone."""
    return (_EPOCH + timedelta(seconds=instant_ns // SECOND_NS)).astimezone(ZoneInfo(tz)).date()


def dates_between(start_ns: int, end_ns: int, tz: str) -> DateRun:
    """The dates of a time zone that [start, end) touches, ascending."""
    first, last = local_date(start_ns, tz), local_date(end_ns - 1, tz)
    return tuple(first + timedelta(days=n) for n in range((last - first).days + 1))


def distinct(instants: Nanoseconds) -> Nanoseconds:
    """The different ones, ascending.

    `np.unique` does the same, and imports numpy.ma when it is first asked: a tenth of a start.
    """
    ordered: Nanoseconds = np.sort(instants)
    first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    different: Nanoseconds = ordered[first]
    return different


def among(instants: Nanoseconds, ordered: Nanoseconds) -> NDArray[np.bool_]:
    """Whether each stands in an ascending array; `np.isin` is of `np.unique`'s kind."""
    if not len(ordered):
        return np.zeros(len(instants), np.bool_)
    # What lies before the first is compared with the last.
    return np.equal(ordered[ordered.searchsorted(instants, "right") - 1], instants)


def wall_times(day: TradingDay, instants: Nanoseconds) -> Nanoseconds:
    """What the clock of a day's zone shows at instants of the day, ns after midnight.

    A time that a clock change repeats is told from its first occurrence: it counts a day on.
    """
    if not day.crosses_midnight and day.next_midnight_ns - day.midnight_ns == DAY_NS:
        return instants - day.midnight_ns
    zone = ZoneInfo(day.tz)
    quarters, which = np.unique(instants // _QUARTER_NS, return_inverse=True)
    shown = [_EPOCH + timedelta(minutes=15 * number) for number in quarters.tolist()]
    shifts = np.array(
        [
            (local.utcoffset() or timedelta()) // timedelta(seconds=1) * SECOND_NS
            for local in (moment.astimezone(zone) for moment in shown)
        ],
        np.int64,
    )
    again = np.array([bool(moment.astimezone(zone).fold) for moment in shown], np.bool_)
    walls: Nanoseconds = (instants + shifts[which]) % DAY_NS + again[which] * DAY_NS
    return walls


def row_spans(
    days: Sequence[TradingDay], before: TradingDay | None = None, after: TradingDay | None = None
) -> dict[date, tuple[int, int]]:
    """From when until when (ns UTC) rows belong to each trading day.

    What lies inside a day's hours, from the first open to the last close, is that day's. Of what
    lies between the hours of two days, each has what is on its own date; the rest is no day's.
    So no row belongs to two days, and none changes its day with how far a run goes.

    Parameters
    ----------
    days : sequence
        Trading days, oldest first, all that there are between the first and the last.
    before, after : TradingDay, optional
        The trading days next to them, if the calendar knows them.
    """
    spans: dict[date, tuple[int, int]] = {}
    for previous, day, following in zip(
        (before, *days[:-1]), days, (*days[1:], after), strict=True
    ):
        start, end = min(day.open_ns, day.midnight_ns), max(day.close_ns, day.next_midnight_ns)
        if previous is not None:
            start = max(start, previous.close_ns)
        if following is not None:
            end = min(end, following.open_ns)
        spans[day.date] = (start, end)
    return spans


@lru_cache(maxsize=32)  # a day's few grids are asked for some thirty times
def _grid(segments: tuple[Segment, ...], interval_ns: int) -> tuple[Nanoseconds, Nanoseconds]:
    starts = np.concatenate(
        [np.arange(s.open_ns, s.close_ns, interval_ns, dtype=np.int64) for s in segments]
    )
    closes = np.concatenate(
        [
            np.full(-(-(s.close_ns - s.open_ns) // interval_ns), s.close_ns, dtype=np.int64)
            for s in segments
        ]
    )
    ends = np.minimum(starts + interval_ns, closes)
    starts.flags.writeable = ends.flags.writeable = False
    return starts, ends
