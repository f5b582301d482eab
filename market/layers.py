"""What is laid over a library's trading days: bundled overlays, and the user's own hours.

Each layer knows single dates better (sessions, closures, early closes) and may give the hours of all
regular days from a date on. What lies below keeps what a layer doesn't name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from importlib import resources
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from openbell.errors import CalendarError
from openbell.market.days import (
    ONE_DAY,
    Auction,
    AuctionKind,
    Dates,
    Explanation,
    Segment,
    TradingDay,
    local_instant,
)
from openbell.market.hours import DAY_MINUTES, RegularHours, Span, parse_span

FRIDAY = 4

OVERLAYS = {
    "nse.yaml": ("NSE", "XBOM"),
    "cme.yaml": ("CMES", "CME_Equity", "CBOT_Equity"),
    "fx.yaml": ("FX", "FOREX", "Forex"),
}
"""Each bundled overlay, and the libraries' calendars that it is laid over."""


@dataclass(frozen=True, slots=True)
class Session:
    """The hours of a single date."""

    spans: tuple[Span, ...]
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Era:
    """The hours of regular days, from a date on."""

    hours: RegularHours
    reason: str


@dataclass(frozen=True, slots=True)
class AuctionRule:
    """An auction of regular days, from a date on, until another of its kind."""

    kind: AuctionKind
    span: Span
    since: date | None
    reason: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer over the library: what it says about single dates, and regular hours by era."""

    name: str
    sessions: Mapping[date, Session]
    closures: Mapping[date, str]
    early_closes: Mapping[date, time] = field(default_factory=dict)
    eras: tuple[Era, ...] = ()
    """Oldest first."""
    closed_weekdays: Mapping[int, str] = field(default_factory=dict)
    """Weekday (Monday is 0) → why it has no trading day of its own."""
    auctions: tuple[AuctionRule, ...] = ()
    """Oldest first."""
    of_another: bool = False
    """Whether it is laid over the hours of another product than the run's own, which may be closed
    by the time of an early close."""

    @property
    def reaches_back(self) -> bool:
        """Whether a day's hours depend on which dates before it are trading days."""
        return any(era.hours.evening == "trading_day" for era in self.eras)

    def lay_over(self, dates: Dates, exchange: str, tz: str) -> None:
        """Replaces the entries that this layer knows better."""
        for d in dates:
            if (reason := self.closed_weekdays.get(d.weekday())) is not None:
                dates[d] = Explanation(d, None, self.name, reason)
        for d, reason in self.closures.items():
            if d in dates:
                dates[d] = Explanation(d, None, self.name, f"closure: {reason}")
        self._lay_eras(dates, tz)
        for d, session in self.sessions.items():
            if d in dates:
                segments = segments_of(session.spans, d, tz)
                dates[d] = self._open(d, tz, segments, session.kind, session.reason)
        for d, close in self.early_closes.items():
            if d in dates:
                segments = self._cut(dates[d], close, exchange, tz)
                dates[d] = self._open(d, tz, segments, "early_close", "calendar.early_closes")
        if self.auctions:
            self._lay_auctions(dates, tz)

    def _lay_auctions(self, dates: Dates, tz: str) -> None:
        """Gives regular days their auctions; those of others are not known."""
        for d, entry in dates.items():
            if entry.day is None or entry.day.kind != "regular":
                continue
            rules = {
                rule.kind: rule for rule in self.auctions if rule.since is None or rule.since <= d
            }
            found = []
            for rule in rules.values():
                (span,) = segments_of([rule.span], d, tz)
                found.append(
                    Auction(rule.kind, span.open_ns, span.close_ns, self.name, rule.reason)
                )
            if found:
                day = replace(entry.day, auctions=tuple(found))
                dates[d] = replace(entry, day=day)

    def _lay_eras(self, dates: Dates, tz: str) -> None:
        """Gives regular days their hours, and what the hours are changed by on unusual ones."""
        eve: date | None = None
        for d, entry in tuple(dates.items()):
            day = entry.day
            if day is None:
                continue
            era = self._era(d)
            if era is not None and day.kind != "special":
                segments = _of_era(era.hours, d, eve, tz)
                usual = (segments[0].open_ns, segments[-1].close_ns)
                if day.kind == "regular":
                    if segments != day.segments:
                        dates[d] = self._open(d, tz, segments, "regular", era.reason)
                else:
                    segments = _as_unusual(segments, day, entry.regular or usual)
                    reason = f"{entry.reason}; {era.reason}"
                    changed = self._open(d, tz, segments, day.kind, reason)
                    unchanged = segments == day.segments
                    dates[d] = replace(entry if unchanged else changed, regular=usual)
            eve = d

    def _era(self, d: date) -> Era | None:
        eras = (
            era for era in reversed(self.eras) if era.hours.since is None or era.hours.since <= d
        )
        return next(eras, None)

    def _open(
        self, d: date, tz: str, segments: tuple[Segment, ...], kind: str, reason: str
    ) -> Explanation:
        return Explanation(
            d, TradingDay(d, tz, segments, kind, self.name, reason), self.name, reason
        )

    def _cut(self, entry: Explanation, close: time, exchange: str, tz: str) -> tuple[Segment, ...]:
        where = f"calendar.early_closes: {entry.date} {close:%H:%M}"
        if entry.day is None:
            raise CalendarError(
                f"{where}: {exchange} is closed that day ({entry.reason}); "
                "remove the entry, or give the hours in calendar.special_sessions"
            )
        close_ns = local_instant(entry.date, close, tz)
        if self.of_another and close_ns >= entry.day.close_ns:
            return entry.day.segments
        if not entry.day.open_ns < close_ns < entry.day.close_ns:
            at = [_wall(ns, tz) for ns in (entry.day.open_ns, entry.day.close_ns)]
            raise CalendarError(
                f"{where}: {exchange} trades {at[0]} to {at[1]} that day; give a time between"
            )
        return _between(entry.day.segments, entry.day.open_ns, close_ns)


def segments_of(spans: Sequence[Span], d: date, tz: str) -> tuple[Segment, ...]:
    """Instants of spans that are written for a date."""
    return tuple(
        Segment(_instant(opens, d, tz), _instant(closes, d, tz)) for opens, closes in spans
    )


def _instant(minutes: int, d: date, tz: str) -> int:
    days, minute = divmod(minutes, DAY_MINUTES)
    return local_instant(d + timedelta(days=days), time(minute // 60, minute % 60), tz)


def _of_era(hours: RegularHours, d: date, eve: date | None, tz: str) -> tuple[Segment, ...]:
    """A regular day's segments; `eve` is the trading day before."""
    if hours.evening == "date":
        return segments_of(hours.spans, d, tz)
    evening = [span for span in hours.spans if span[0] < 0]
    own = segments_of([span for span in hours.spans if span[0] >= 0], d, tz)
    if eve is None or _weekday_between(eve, d):
        return own
    return segments_of(evening, eve + ONE_DAY, tz) + own


def _weekday_between(eve: date, d: date) -> bool:
    """Whether a day from Monday to Friday lies between two dates: a holiday."""
    between = (eve + timedelta(days=n) for n in range(1, (d - eve).days))
    return any(other.weekday() <= FRIDAY for other in between)


def _as_unusual(
    segments: tuple[Segment, ...], day: TradingDay, regular: tuple[int, int]
) -> tuple[Segment, ...]:
    """A regular day's segments on a day that opens or closes at an unusual time.

    Where they end with the exchange's regular day or before it, they end with this day's. Where they
    go on after it, they end as much earlier as this day does: 20:00 becomes 17:00 where 16:00
    became 13:00. A late open moves an open that is the exchange's, and none before it.
    """
    opens, closes = segments[0].open_ns, segments[-1].close_ns
    regular_open, regular_close = regular
    if day.close_ns < regular_close:
        early = regular_close - day.close_ns
        closes = closes - early if closes > regular_close else min(closes, day.close_ns)
    elif closes >= regular_close:
        closes = max(closes, day.close_ns)
    if day.open_ns > regular_open:
        opens = max(opens, day.open_ns) if opens >= regular_open else opens
    elif opens <= regular_open:
        opens = min(opens, day.open_ns)
    wider = [replace(segments[0], open_ns=min(opens, segments[0].open_ns)), *segments[1:]]
    wider[-1] = replace(wider[-1], close_ns=max(closes, wider[-1].close_ns))
    return _between(wider, opens, closes)


def _between(segments: Sequence[Segment], open_ns: int, close_ns: int) -> tuple[Segment, ...]:
    """What of the segments lies between two instants."""
    return tuple(
        Segment(max(s.open_ns, open_ns), min(s.close_ns, close_ns))
        for s in segments
        if s.open_ns < close_ns and s.close_ns > open_ns
    )


def _wall(instant_ns: int, tz: str) -> str:
    moment = np.datetime64(instant_ns, "ns").astype("datetime64[s]").item()
    return f"{moment.replace(tzinfo=ZoneInfo('UTC')).astimezone(ZoneInfo(tz)):%H:%M}"


# ---- the user's keys --------------------------------------------------------------------------


def config_layer(
    special_sessions: Mapping[date, Sequence[Span]],
    closures: Collection[date],
    early_closes: Mapping[date, time],
    hours: Sequence[RegularHours],
    product: str,
) -> Layer:
    """The layer of the user's `calendar:` keys, as far as it is about a product.

    Raises
    ------
    CalendarError
        If a date stands in two of them, or hours are out of order.
    """
    keys = {
        "calendar.special_sessions": set(special_sessions),
        "calendar.closures": set(closures),
        "calendar.early_closes": set(early_closes),
    }
    of_product = [entry for entry in hours if entry.product == product]
    theirs = of_product or [entry for entry in hours if entry.product is None]
    named: dict[date, str] = {}
    for key, dates in keys.items():
        for d in dates:
            if (other := named.setdefault(d, key)) != key:
                raise CalendarError(f"{d} stands in {other} and in {key}; keep it in one of them")
    return Layer(
        name="config",
        sessions={
            d: Session(
                _checked(spans, f"calendar.special_sessions: {d}"),
                "special",
                "calendar.special_sessions",
            )
            for d, spans in special_sessions.items()
        },
        closures=dict.fromkeys(closures, "calendar.closures"),
        early_closes=dict(early_closes),
        eras=tuple(
            Era(entry, "calendar.hours" + (f" since {entry.since}" if entry.since else ""))
            for entry in theirs
        ),
    )


def _checked(spans: Sequence[Span], where: str) -> tuple[Span, ...]:
    """The spans, once they are known to be in order and not to overlap."""
    if not spans:
        raise CalendarError(f"{where} has no hours; give an open and a close, or use closures")
    until = spans[0][0]
    for opens, closes in spans:
        if opens < until or closes <= opens:
            raise CalendarError(
                f"{where}: {_clock(opens)} to {_clock(closes)} is out of order; each segment must "
                "open before it closes, and after the one before has closed"
            )
        until = closes
    return tuple(spans)


def _clock(minutes: int) -> str:
    return f"{minutes // 60 % 24:02d}:{minutes % 60:02d}"


# ---- bundled overlays -------------------------------------------------------------------------


def overlay_of(calendar: str) -> str | None:
    """The bundled overlay of a library's calendar."""
    return next((name for name, calendars in OVERLAYS.items() if calendar in calendars), None)


def overlay_text(name: str) -> bytes:
    """A bundled overlay as it is on disk."""
    return (resources.files("openbell.market") / "overlays" / name).read_bytes()


def digest(text: bytes) -> str:
    """16 hex digits that tell a version from another."""
    return hashlib.sha256(text).hexdigest()[:16]


def overlay_layer(name: str, text: bytes, calendar: str, segment: str) -> Layer:
    """A bundled overlay, as far as it is about a calendar and a product."""
    import yaml

    # The C loader is eight times faster (0.7 ms), and not in every build of PyYAML.
    read = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 both are safe

    def entries(key: str) -> Iterator[Any]:
        return (e for e in read.get(key, ()) if calendar in e.get("calendars", (calendar,)))

    return Layer(
        name=f"overlay {name}",
        sessions={
            d: Session(
                _checked([parse_span(span) for span in entry["hours"]], f"{name}: {d}"),
                entry.get("kind", "special"),
                entry["reason"],
            )
            for entry in entries("sessions")
            for d in entry.get("dates", [entry.get("date")])
        },
        closures={entry["date"]: entry["reason"] for entry in entries("closures")},
        eras=tuple(
            Era(
                _regular([parse_span(span) for span in spans], entry["from"]),
                f"hours{of} since {entry['from']}: {entry['reason']}",
            )
            for entry in entries("hours")
            for spans, of in [_of_product(entry, segment)]
        ),
        closed_weekdays={entry["weekday"]: entry["reason"] for entry in entries("weekdays")},
        auctions=tuple(
            AuctionRule(
                entry["kind"], parse_span(entry["hours"]), entry.get("from"), entry["reason"]
            )
            for entry in entries("auctions")
            if segment in entry["products"]
        ),
    )


def _of_product(entry: Mapping[str, Any], segment: str) -> tuple[Sequence[str], str]:
    """An era's spans, and whose they are where products differ."""
    if "hours" in entry:
        return entry["hours"], ""
    return [entry[segment]], f" of {segment}"


def _regular(spans: Sequence[Span], since: date) -> RegularHours:
    breaks = tuple(Span(before[1], after[0]) for before, after in pairwise(spans))
    return RegularHours(Span(spans[0].opens, spans[-1].closes), breaks, since)
