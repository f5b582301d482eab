"""What a day's rows mean, by brute force: the slow and obvious answer to compare with.

Plain loops over tuples, one rule a line where that is possible, no numpy, and nothing taken from
openbell but `TradingDay` and the length of a minute. Rows stand in the source's order:
`(symbol, ts, open, high, low, close, volume)` for bars, `(symbol, ts, price, size)` for ticks, `ts`
in ns UTC. Where a rule can be read in two ways, a comment at its line says how it is read here.

`answer` is for stored rows, which are put in time order; `answer_as_arrived` takes one row after
another, as they came.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import time
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple, TypedDict

from conditions import NOTHING_KNOWN, Conditions, Known, admitted, has_volume, until_ns

from openbell.market.days import MINUTE_NS, Segment, TradingDay

Bar = tuple[str, int, float, float, float, float, float]
Tick = tuple[str, int, float, float]
Row = Bar | Tick

Side = Literal["HIGH_BREAK", "LOW_BREAK"]
BadReason = Literal["price", "high below low", "off the grid"]


class Window(NamedTuple):
    """A session as configured; wall times "HH:MM" of the exchange."""

    name: str
    start: str
    end: str
    closed: Literal["both", "left"] = "both"
    auction: Literal["auction_open", "auction_close"] | None = None
    """It is this auction, whenever a symbol's is; the times don't count then."""


class Rules(NamedTuple):
    """What counts as a breakout."""

    confirm: Literal["close", "touch"] = "close"
    check: Literal["continuous", "once"] = "continuous"
    sides: Literal["both", "high", "low"] = "both"
    buffer: float = 0.0
    buffer_unit: Literal["price", "percent"] = "price"
    tick: float = 0.0
    """0: not known."""
    inside_bars: int = 0
    """Closes in a row that are not beyond the level, after which a side is watched again."""
    rearms_max: int | None = None
    closed_beyond: bool = False
    """Whether a close beyond that follows a touch is a signal of its own."""
    retest_bars: int = 0
    """Bars, minutes where there are ticks, within which a return to the level is one; 0: never."""
    retest_tolerance: float = 0.0
    retest_unit: Literal["price", "percent"] = "price"
    conditions: Conditions = Conditions()


class Used(NamedTuple):
    """A row that counts; a tick is a bar whose four prices are equal and which ends as it starts."""

    ts: int
    end: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Counts(TypedDict):
    rows: int
    outside_hours: int
    out_of_order: int
    duplicates: int
    bad_rows: int
    ohlc_outside: int


class SymbolLevels(TypedDict):
    high: float | None
    low: float | None
    count: int
    first_ts: int | None
    last_ts: int | None
    complete: bool


class SessionAnswer(TypedDict):
    session: str
    status: Literal["COMPLETED", "SKIPPED"]
    truncated: bool
    start_ns: int
    """Of the window as configured, not clipped."""
    end_ns: int
    """Exclusive: the first instant after the window as configured."""
    levels: dict[str, SymbolLevels]
    """Empty when SKIPPED, otherwise one for each symbol."""


class Companion(TypedDict):
    symbol: str
    price: float
    ts: int


Kind = Literal["breakout", "closed_beyond", "retest"]


class Signal(TypedDict):
    kind: Kind
    session: str
    symbol: str
    side: Side
    number: int
    ts: int
    known_at: int
    price: float
    level: float
    companion: Companion | None
    gap: bool
    ambiguous: bool
    complete: bool
    touched_at: int | None
    touch_excess: float | None
    closed_beyond_at: int | None
    rules: list[str]


class Break(NamedTuple):
    kind: Kind
    side: Side
    number: int
    row: Used
    price: float
    level: float
    gap: bool
    ambiguous: bool
    touch: Touch | None
    closed_beyond_at: int | None


class Touch(NamedTuple):
    ts: int
    excess: float


@dataclass
class Followed:
    """A break, and what may follow it."""

    number: int
    ts: int
    closes: bool
    """Whether a close beyond is waited for."""
    returns_until: int | None
    """Until when a return may be known; None: none is waited for."""
    away: bool
    """Whether a row has closed away from the level."""


class Derived(TypedDict):
    symbol: str
    ts: int
    open: float
    high: float
    low: float
    close: float
    volume: float


class Quality(TypedDict):
    expected: int
    actual: int
    quality_pct: float
    gaps: int
    missing: int


class Cleaned(NamedTuple):
    used: dict[str, list[Used]]
    """In time order, for each symbol."""
    auctions: dict[str, list[Used]]
    """Those in auctions that sessions name, which count in no other."""
    counts: dict[str, Counts]
    bad: list[tuple[int, BadReason]]
    """Position in the rows given, and why it is not used; in the source's order."""


class Late(TypedDict):
    """Rows that came too late for something; each is used for all that was still open."""

    rows: int
    windows: int
    bars: int


class Answer(TypedDict):
    counts: dict[str, Counts]
    bad: list[tuple[int, BadReason]]
    sessions: list[SessionAnswer]
    signals: list[Signal]
    derived: dict[int, list[Derived]]
    """By minutes of the interval; each ordered by (ts, symbol)."""
    quality: dict[str, Quality]


def answer(
    day: TradingDay,
    interval_ns: int | None,
    rows: Sequence[Row],
    symbols: Sequence[str],
    windows: Sequence[Window],
    rules: Rules = Rules(),  # noqa: B008  (an immutable value)
    companions: Mapping[str, str] | None = None,
    derived_minutes: Sequence[int] = (5, 15),
    followed: Sequence[str] | None = None,
    known: Known = NOTHING_KNOWN,
) -> Answer:
    """All that a day yields; `interval_ns` is the bars' length, None for ticks.

    `followed` are the symbols whose breakouts are reported, None: all. A companion that is not
    among them is read: it has levels, bars and quality, and no signals.
    """
    cleaned = clean(day, interval_ns, rows, symbols)
    sessions = [
        session_levels(day, interval_ns, cleaned.auctions if w.auction else cleaned.used, w)
        for w in windows
    ]
    return {
        "counts": cleaned.counts,
        "bad": cleaned.bad,
        "sessions": sessions,
        "signals": signals(
            day,
            interval_ns,
            cleaned.used,
            {w.name: cleaned.auctions for w in windows if w.auction},
            sessions,
            rules,
            companions or {},
            symbols if followed is None else followed,
            known,
        ),
        "derived": {n: derived_bars(day, cleaned.used, n) for n in derived_minutes},
        "quality": {symbol: quality(day, cleaned.used[symbol], symbol) for symbol in symbols},
    }


def clean(
    day: TradingDay, interval_ns: int | None, rows: Sequence[Row], symbols: Sequence[str]
) -> Cleaned:
    """The rows that count, in time order, and what happened to the others."""
    used: dict[str, list[Used]] = {symbol: [] for symbol in symbols}
    counts = {symbol: no_counts() for symbol in symbols}
    bad: list[tuple[int, BadReason]] = []
    newest: dict[str, int] = {}

    for position, row in enumerate(rows):
        symbol, ts = row[0], row[1]
        count = counts[symbol]
        count["rows"] += 1
        segment = segment_of(day, ts, symbol)
        if segment is None and is_in_auction(day, ts, symbol):
            segment = whole_segment(day, ts)
        if segment is None:
            count["outside_hours"] += 1
            continue
        reason = bad_reason(row, segment, interval_ns)
        if reason is not None:
            count["bad_rows"] += 1
            bad.append((position, reason))
            continue
        if ts < newest.get(symbol, ts):
            count["out_of_order"] += 1
        newest[symbol] = max(ts, newest.get(symbol, ts))
        used[symbol].append(used_row(row, segment, interval_ns))

    for symbol in symbols:
        used[symbol].sort(key=lambda row: row.ts)  # stable: equal times keep the source's order
        if interval_ns is not None:
            last_of_ts = {row.ts: row for row in used[symbol]}  # a later one replaces an earlier
            counts[symbol]["duplicates"] = len(used[symbol]) - len(last_of_ts)
            used[symbol] = list(last_of_ts.values())
        for row_used in used[symbol]:  # a bar that was replaced is not used, so not counted
            prices = (row_used.open, row_used.close)
            if not all(row_used.low <= price <= row_used.high for price in prices):
                counts[symbol]["ohlc_outside"] += 1
    auctions = {s: [r for r in used[s] if segment_of(day, r.ts, s) is None] for s in symbols}
    used = {s: [r for r in used[s] if segment_of(day, r.ts, s) is not None] for s in symbols}
    return Cleaned(used, auctions, counts, bad)


def no_counts() -> Counts:
    return {
        "rows": 0,
        "outside_hours": 0,
        "out_of_order": 0,
        "duplicates": 0,
        "bad_rows": 0,
        "ohlc_outside": 0,
    }


def hours_of(day: TradingDay, symbol: str | None) -> tuple[Segment, ...]:
    """A symbol's own hours; None: those of all together."""
    if symbol is None and day.named:
        return in_some([of.segments for of in day.products])
    if symbol is None or not day.products:
        return day.segments
    for product in day.products:
        if symbol in product.symbols:
            return product.segments
    return day.products[0].segments


def in_some(hours: Sequence[Sequence[Segment]]) -> tuple[Segment, ...]:
    """All that lies in some of the hours, in whole nanoseconds between edges, put together."""
    edges = sorted({at for of in hours for s in of for at in (s.open_ns, s.close_ns)})
    found: list[Segment] = []
    for begins, ends in pairwise(edges):
        if not any(s.open_ns <= begins < s.close_ns for of in hours for s in of):
            continue
        if found and found[-1].close_ns == begins:
            begins = found.pop().open_ns
        found.append(Segment(begins, ends))
    return tuple(found)


def segment_of(day: TradingDay, ts: int, symbol: str | None = None) -> Segment | None:
    for segment in hours_of(day, symbol):
        if segment.open_ns <= ts < segment.close_ns:
            return segment
    return None


def auctions_of(day: TradingDay, symbol: str, kind: str | None = None) -> list[tuple[int, int]]:
    """From when until when a symbol is in an auction that sessions name, or in one kind of them."""
    if not day.products:
        return []
    own = day.products[0]
    for product in day.products:
        if symbol in product.symbols:
            own = product
    named = day.named if kind is None else [of for of in day.named if of == kind]
    return [(a.open_ns, a.close_ns) for a in own.auctions if a.kind in named]


def is_in_auction(day: TradingDay, ts: int, symbol: str) -> bool:
    return any(start <= ts < end for start, end in auctions_of(day, symbol))


def whole_segment(day: TradingDay, ts: int) -> Segment | None:
    """Of all together, auctions that are named among them: bars are counted from its open."""
    for segment in day.segments:
        if segment.open_ns <= ts < segment.close_ns:
            return segment
    return None


def bad_reason(row: Row, segment: Segment, interval_ns: int | None) -> BadReason | None:
    if len(row) == 4:
        prices: tuple[float, ...] = (row[2],)
    else:
        prices = (row[2], row[3], row[4], row[5])
    for price in prices:
        if not math.isfinite(price) or price <= 0:
            return "price"
    if len(row) == 7 and row[3] < row[4]:
        return "high below low"
    if interval_ns is not None and (row[1] - segment.open_ns) % interval_ns != 0:
        return "off the grid"
    return None


def used_row(row: Row, segment: Segment, interval_ns: int | None) -> Used:
    if len(row) == 4:
        _, ts, price, size = row
        return Used(ts, ts, price, price, price, price, size)
    assert interval_ns is not None, "bars have an interval"
    _, ts, open_, high, low, close, volume = row
    return Used(ts, min(ts + interval_ns, segment.close_ns), open_, high, low, close, volume)


def minutes_of(day: TradingDay, symbol: str | None = None) -> list[int]:
    """Starts of all minutes inside the hours, or inside a symbol's own, ns UTC."""
    return [
        minute
        for segment in hours_of(day, symbol)
        for minute in range(segment.open_ns, segment.close_ns, MINUTE_NS)
    ]


def minutes_covered(day: TradingDay, rows: Sequence[Used], symbol: str | None = None) -> set[int]:
    """Starts of the minutes that have a row: a tick in it, or a bar that covers part of it."""
    covered = set()
    for row in rows:
        segment = segment_of(day, row.ts, symbol)
        assert segment is not None, "rows in use lie inside the hours"
        minute = row.ts - (row.ts - segment.open_ns) % MINUTE_NS
        covered.add(minute)
        while minute + MINUTE_NS < row.end:  # bars longer than a minute cover several
            minute += MINUTE_NS
            covered.add(minute)
    return covered


def session_levels(
    day: TradingDay, interval_ns: int | None, used: Mapping[str, Sequence[Used]], window: Window
) -> SessionAnswer:
    if window.auction is not None:
        return auction_levels(day, interval_ns, used, window)
    start = day.instant(time.fromisoformat(window.start))
    end = day.instant(time.fromisoformat(window.end))
    if window.closed == "both":
        end += MINUTE_NS  # the end minute is part of the session

    minutes = [m for m in minutes_of(day) if start <= m and m + MINUTE_NS <= end]
    levels: dict[str, SymbolLevels] = {}
    if minutes:
        for symbol, rows in used.items():
            if interval_ns is None:
                inside = [row for row in rows if start <= row.ts < end]
            else:
                inside = [row for row in rows if start <= row.ts and row.end <= end]
            # Where it does not trade, nothing lacks: outside of its hours it is whole.
            wanted = set(minutes) & set(minutes_of(day, symbol))
            complete = wanted <= minutes_covered(day, inside, symbol)
            levels[symbol] = levels_of(inside, complete)
    return {
        "session": window.name,
        "status": "COMPLETED" if minutes else "SKIPPED",
        # Any part of the window outside the hours cuts it: a late open, a break, an early close.
        "truncated": 0 < len(minutes) * MINUTE_NS < end - start,
        "start_ns": start,
        "end_ns": end,
        "levels": levels,
    }


def levels_of(inside: Sequence[Used], complete: bool) -> SymbolLevels:
    return {
        "high": max((row.high for row in inside), default=None),
        "low": min((row.low for row in inside), default=None),
        "count": len(inside),
        "first_ts": inside[0].ts if inside else None,
        "last_ts": inside[-1].ts if inside else None,
        "complete": complete,
    }


def auction_levels(
    day: TradingDay, interval_ns: int | None, used: Mapping[str, Sequence[Used]], window: Window
) -> SessionAnswer:
    """Of a symbol its auction's rows; the session ends for all with the last of their auctions.

    `used` are rows in auctions. No minute of an auction is waited for: it is whole with any of them.
    """
    spans = [
        (a.open_ns, a.close_ns)
        for of in day.products
        for a in of.auctions
        if a.kind == window.auction and window.auction in day.named
    ]
    start = min((opens for opens, _ in spans), default=0)
    end = max((closes for _, closes in spans), default=0)
    levels: dict[str, SymbolLevels] = {}
    for symbol, rows in used.items() if spans else ():
        inside = [
            row
            for row in rows
            if start <= row.ts and (row.ts < end if interval_ns is None else row.end <= end)
        ]
        levels[symbol] = levels_of(inside, complete=True)
    return {
        "session": window.name,
        "status": "COMPLETED" if spans else "SKIPPED",
        "truncated": False,
        "start_ns": start,
        "end_ns": end,
        "levels": levels,
    }


def signals(
    day: TradingDay,
    interval_ns: int | None,
    used: Mapping[str, Sequence[Used]],
    auctions: Mapping[str, Mapping[str, Sequence[Used]]],
    sessions: Sequence[SessionAnswer],
    rules: Rules,
    companions: Mapping[str, str],
    followed: Sequence[str],
    known: Known,
) -> list[Signal]:
    found: list[Signal] = []
    for session in sessions:
        for symbol, levels in session["levels"].items():
            if symbol not in followed:
                continue
            after = [row for row in used[symbol] if row.ts >= session["end_ns"]]
            retested = partial(retest_until, day, interval_ns, rules)
            theirs = auctions.get(session["session"], used)[symbol]
            watch = watched(day, interval_ns, session, symbol, theirs, rules, known, retested)
            until = until_ns(rules.conditions, day, session["end_ns"])
            asked = symbol
            if rules.conditions.volume_companion:
                asked = companions.get(symbol, symbol)
            for row in after:
                allowed = until is None or row.end <= until
                if allowed and rules.conditions.volume_times is not None:
                    came = [other for other in used.get(asked, ()) if other.end <= row.end]
                    allowed = has_volume(
                        rules.conditions, day, interval_ns, row.ts, came, known.averages, asked
                    )
                found_breaks = watch.breaks(row, allowed=allowed)
                known_at = row.end
                found += [
                    {
                        **facts(found_break),
                        "session": session["session"],
                        "symbol": symbol,
                        "side": found_break.side,
                        "number": found_break.number,
                        "ts": found_break.row.ts,
                        "known_at": known_at,
                        "price": found_break.price,
                        "level": found_break.level,
                        "companion": last_price(used, companions.get(symbol), known_at),
                        "gap": found_break.gap,
                        "ambiguous": found_break.ambiguous,
                        "complete": levels["complete"],
                        "rules": names_of(found_break, rules),
                    }
                    for found_break in found_breaks
                ]
    return sorted(found, key=lambda s: (s["ts"], s["symbol"], *order_of(s)))


def order_of(signal: Signal) -> tuple[str, str, int, str]:
    return signal["session"], signal["side"], signal["number"], signal["kind"]


def names_of(found: Break, rules: Rules) -> list[str]:
    """What a breakout had to pass; what follows one has nothing to."""
    return rules.conditions.names if found.kind == "breakout" else []


class Facts(TypedDict):
    kind: Kind
    touched_at: int | None
    touch_excess: float | None
    closed_beyond_at: int | None


def facts(found: Break) -> Facts:
    return {
        "kind": found.kind,
        "touched_at": None if found.touch is None else found.touch.ts,
        "touch_excess": None if found.touch is None else found.touch.excess,
        "closed_beyond_at": found.closed_beyond_at,
    }


def retest_until(day: TradingDay, interval_ns: int | None, rules: Rules, ts: int) -> int:
    """The last instant at which a return may be known that follows a break."""
    length = interval_ns or MINUTE_NS
    ends = [
        (start, min(start + length, segment.close_ns))
        for segment in day.segments
        for start in range(segment.open_ns, segment.close_ns, length)
    ]
    (of_break,) = (n for n, (start, end) in enumerate(ends) if start <= ts < end)
    end = ends[min(of_break + rules.retest_bars, len(ends) - 1)][1]
    return end if interval_ns is not None else end - 1  # a tick at the end is of the next minute


def breaks(
    after: Sequence[Used],
    high: float | None,
    low: float | None,
    rules: Rules,
    until: Callable[[int], int] = lambda ts: ts,
) -> list[Break]:
    """Of one symbol and session; `after` are the rows since the session, as they count."""
    watch = Watch(high, low, rules, until)
    return [found for row in after for found in watch.breaks(row)]


def watched(
    day: TradingDay,
    interval_ns: int | None,
    session: SessionAnswer,
    symbol: str,
    in_time_order: Sequence[Used],
    rules: Rules,
    known: Known,
    retested: Callable[[int], int],
) -> Watch:
    """A symbol's levels, with those sides watched that its session admits."""
    levels = session["levels"][symbol]
    start, end = session["start_ns"], session["end_ns"]
    inside = [
        row
        for row in in_time_order
        if start <= row.ts and (row.ts < end if interval_ns is None else row.end <= end)
    ]
    watch = Watch(levels["high"], levels["low"], rules, retested)
    sides = admitted(
        rules.conditions,
        day,
        interval_ns,
        levels["high"],
        levels["low"],
        levels["complete"],
        inside,
        known.daily.get(symbol),
    )
    for side in watch.levels:
        watch.watched[side] &= sides[side]
    return watch


class Watch:
    """One symbol's levels of one session under watch, row after row."""

    def __init__(
        self,
        high: float | None,
        low: float | None,
        rules: Rules,
        until: Callable[[int], int] = lambda ts: ts,
    ) -> None:
        self.rules, self.until = rules, until
        self.first_price: float | None = None
        sides: tuple[tuple[Side, float | None], ...] = (("HIGH_BREAK", high), ("LOW_BREAK", low))
        self.watched = {
            side: level is not None and rules.sides in ("both", side.split("_")[0].lower())
            for side, level in sides
        }
        self.levels = {side: level or 0.0 for side, level in sides}
        self.thresholds = {
            side: threshold(level, sign_of(side), rules) for side, level in self.levels.items()
        }
        self.broken = dict.fromkeys(self.levels, 0)
        self.inside = dict.fromkeys(self.levels, 0)
        self.touches: dict[Side, Touch] = {}
        self.followed: dict[Side, Followed] = {}

    def breaks(
        self, row: Used, known: int | None = None, *, allowed: bool = True, again: bool = False
    ) -> list[Break]:
        """`allowed`: whether the row may break, if it is beyond; `again`: whether it is a bar that
        takes the place of an earlier one. That may be a side's first break, and nothing else."""
        found = self.new_breaks(row, allowed=allowed, again=again)
        broke = {of.side for of in found}
        for side, followed in self.followed.items():
            if not again and side not in broke and row.ts >= followed.ts:
                found += self.what_follows(side, followed, row, row.end if known is None else known)
        for of in found:
            if of.kind == "breakout":
                self.followed[of.side] = self.to_follow(of)
        return found

    def new_breaks(self, row: Used, *, allowed: bool, again: bool) -> list[Break]:
        first = self.first_price is None
        if self.first_price is None:
            self.first_price = row.open
        if self.rules.check == "once" and not first:
            return []
        may_break = {
            side: self.watched[side] and not (again and self.broken[side]) for side in self.levels
        }
        for side in self.levels:
            if may_break[side] and (
                self.confirms(row, side) or self.is_beyond(self.reached(row, side), side)
            ):
                touch = self.touch(row, side)
                # Of equal times the first to come is the first.
                known = self.touches.get(side, touch)
                self.touches[side] = min(known, touch, key=lambda t: t.ts)
        broke = [
            side for side in self.levels if allowed and may_break[side] and self.confirms(row, side)
        ]
        found = []
        for side in broke:
            self.watched[side] = False
            self.broken[side] += 1
            self.inside[side] = 0
            gap = self.broken[side] == 1 and self.is_beyond(self.first_price, side)
            # Which came first can't be told only when this one bar is a break of both sides.
            ambiguous = len(broke) == 2
            found.append(
                Break(
                    "breakout",
                    side,
                    self.broken[side],
                    row,
                    self.price(row, side),
                    self.levels[side],
                    gap,
                    ambiguous,
                    self.touches.pop(side),
                    row.ts if self.is_beyond(row.close, side) else None,
                )
            )
        for side in self.levels:
            if not again:
                self.rearm(row, side)
        return found

    def reached(self, row: Used, side: Side) -> float:
        return row.high if side == "HIGH_BREAK" else row.low

    def touch(self, row: Used, side: Side) -> Touch:
        prices = self.reached(row, side), row.close  # a close may lie outside of its bar's range
        furthest = max(prices) if side == "HIGH_BREAK" else min(prices)
        excess = Decimal(f"{furthest:.15g}") - Decimal(f"{self.levels[side]:.15g}")
        return Touch(row.ts, float(abs(excess)))

    def to_follow(self, of: Break) -> Followed:
        rules = self.rules
        return Followed(
            number=of.number,
            ts=of.row.ts,
            closes=rules.closed_beyond and of.closed_beyond_at is None,
            returns_until=self.until(of.row.ts) if rules.retest_bars else None,
            away=self.is_away(of.row.close, of.side),
        )

    def zone(self, side: Side) -> float:
        near = self.rules._replace(
            buffer=self.rules.retest_tolerance, buffer_unit=self.rules.retest_unit
        )
        return threshold(self.levels[side], sign_of(side), near)

    def is_away(self, price: float, side: Side) -> bool:
        return beyond(price, self.zone(side), sign_of(side), self.rules)

    def what_follows(self, side: Side, followed: Followed, row: Used, known: int) -> list[Break]:
        found: list[Break] = []

        def follows(kind: Kind, price: float, closed_at: int | None) -> None:
            level = self.levels[side]
            found.append(
                Break(kind, side, followed.number, row, price, level, False, False, None, closed_at)
            )

        if followed.closes and self.is_beyond(row.close, side):
            followed.closes = False
            follows("closed_beyond", row.close, row.ts)
        if followed.returns_until is not None and known <= followed.returns_until:
            back = row.low if side == "HIGH_BREAK" else row.high
            if followed.away and not self.is_away(back, side):
                followed.returns_until = None
                there = not self.is_away(row.open, side)
                follows("retest", row.open if there else self.zone(side), None)
            elif self.is_away(row.close, side):
                followed.away = True
        return found

    def confirms(self, row: Used, side: Side) -> bool:
        price = self.reached(row, side) if self.rules.confirm == "touch" else row.close
        return self.is_beyond(price, side)

    def is_beyond(self, price: float, side: Side) -> bool:
        return beyond(price, self.thresholds[side], sign_of(side), self.rules)

    def price(self, row: Used, side: Side) -> float:
        if self.rules.confirm == "close":
            return row.close
        return row.open if self.is_beyond(row.open, side) else self.thresholds[side]

    def rearm(self, row: Used, side: Side) -> None:
        rules, broken = self.rules, self.broken[side]
        if self.watched[side] or not broken or not rules.inside_bars or rules.check == "once":
            return
        if rules.rearms_max is not None and broken > rules.rearms_max:
            return
        # The bar that broke by touch and closed inside is the first of its run.
        out = beyond(row.close, self.levels[side], sign_of(side), rules)
        self.inside[side] = 0 if out else self.inside[side] + 1
        if self.inside[side] >= rules.inside_bars:
            self.watched[side] = True


def sign_of(side: Side) -> Literal[1, -1]:
    return 1 if side == "HIGH_BREAK" else -1


def threshold(level: float, sign: int, rules: Rules) -> float:
    """A level and the buffer beyond it, reckoned in decimals as on paper."""
    if rules.buffer == 0:
        return level
    price = Decimal(f"{level:.15g}")  # what float64 keeps of any decimal
    if rules.tick:
        tick = Decimal(repr(rules.tick))
        multiple = (price / tick).to_integral_value() * tick
        if abs(Fraction(level) - Fraction(multiple)) <= noise(float(multiple), rules):
            price = multiple
    width = Decimal(repr(rules.buffer))
    if rules.buffer_unit == "percent":
        width = abs(price) * width / 100
    return float(price + sign * width)


def beyond(price: float, of: float, sign: int, rules: Rules) -> bool:
    return sign * (Fraction(price) - Fraction(of)) > noise(of, rules)


def noise(price: float, rules: Rules) -> Fraction:
    """How far from a price a number may lie and mean it: some units in float64's last place."""
    size = abs(Fraction(price))
    of_float64 = size / 2**51
    if not rules.tick:
        return of_float64
    tick = Fraction(rules.tick)  # with a known tick, what float32 loses too, short of half a tick
    return max(of_float64, min(Fraction(0.45) * tick, size / 2**23 + tick / 2**20))


def last_price(
    used: Mapping[str, Sequence[Used]], companion: str | None, known_at: int
) -> Companion | None:
    """The companion's last price that is known at an instant, that instant included."""
    if companion is None:
        return None
    known = [row for row in used.get(companion, ()) if row.end <= known_at]
    if not known:
        return None
    return {"symbol": companion, "price": known[-1].close, "ts": known[-1].ts}


def derived_bars(
    day: TradingDay, used: Mapping[str, Sequence[Used]], minutes: int
) -> list[Derived]:
    bars: dict[tuple[int, str], Derived] = {}
    for symbol, rows in used.items():
        for row in rows:  # in time order
            segment = segment_of(day, row.ts, symbol)
            assert segment is not None, "rows in use lie inside the hours"
            bucket = row.ts - (row.ts - segment.open_ns) % (minutes * MINUTE_NS)
            bar = bars.get((bucket, symbol))
            if bar is None:
                bars[bucket, symbol] = {
                    "symbol": symbol,
                    "ts": bucket,
                    "open": row.open,
                    "high": row.high,
                    "low": row.low,
                    "close": row.close,
                    "volume": row.volume,
                }
            else:
                bar["high"] = max(bar["high"], row.high)
                bar["low"] = min(bar["low"], row.low)
                bar["close"] = row.close
                bar["volume"] += row.volume  # row by row: another order gives other last bits
    return [bars[key] for key in sorted(bars)]


def quality(day: TradingDay, rows: Sequence[Used], symbol: str) -> Quality:
    covered = minutes_covered(day, rows, symbol)
    expected = len(minutes_of(day, symbol))
    gaps = 0
    for segment in hours_of(day, symbol):
        missing_before = False  # each segment starts anew, so that no run crosses a break
        for minute in range(segment.open_ns, segment.close_ns, MINUTE_NS):
            missing = minute not in covered
            if missing and not missing_before:
                gaps += 1
            missing_before = missing
    return {
        "expected": expected,
        "actual": len(covered),
        "quality_pct": round(100 * len(covered) / expected, 4),
        "gaps": gaps,
        "missing": expected - len(covered),
    }


# Rows one after another, as they came


class Arrival(NamedTuple):
    symbol: str
    row: Used
    known: int
    """When it could first be acted on: the latest end (of ticks: time) of all that came so far."""
    place: int
    """Among all that came."""
    again: bool = False
    """Whether it takes the place of an earlier bar of its symbol and time."""


class Crossed(NamedTuple):
    """Time was moved to an instant by a clock, after so many rows had come."""

    rows: int
    instant: int


class Lacking(NamedTuple):
    """That ticks may be missing, both ends included, said after so many rows had come."""

    rows: int
    from_ns: int
    until_ns: int


Mark = Crossed | Lacking


class ArrivedAnswer(Answer):
    late: dict[str, Late]
    revised: dict[str, tuple[int, int]]
    """Bars that took the place of others, and those of them that came too late for something."""
    before_scans: dict[int, int]
    """By instant, how many of the signals there were at a scan."""


def answer_as_arrived(
    day: TradingDay,
    interval_ns: int | None,
    rows: Sequence[Row],
    symbols: Sequence[str],
    windows: Sequence[Window],
    rules: Rules = Rules(),  # noqa: B008  (an immutable value)
    companions: Mapping[str, str] | None = None,
    derived_minutes: Sequence[int] = (5, 15),
    lateness_ns: int = 0,
    followed: Sequence[str] | None = None,
    marks: Sequence[Mark] = (),
    known: Known = NOTHING_KNOWN,
    amends: bool = False,
    own_rules: Mapping[str, Rules] | None = None,
    scans: Sequence[int] = (),
) -> ArrivedAnswer:
    """What a day yields whose rows are acted on in the order in which they came.

    `amends`: whether a later bar of the same symbol and time takes the place of the earlier one in
    all that is not over; else the first one stands. `followed` as in `answer`; `marks` are what came
    to pass between rows, in its order; `own_rules` are those of windows that have others; at `scans`
    rows wait for what belongs before them.
    """
    came, counts, bad = arrivals(day, interval_ns, rows, symbols, amends=amends)
    unfolding = Unfolding(
        day,
        interval_ns,
        symbols,
        windows,
        rules,
        companions or {},
        derived_minutes,
        lateness_ns,
        symbols if followed is None else followed,
        known,
        own_rules or {},
        scans,
    )
    further = list(marks)
    for arrival in came:
        while further and further[0].rows <= arrival.place:
            unfolding.note(further.pop(0))
        unfolding.arrive(arrival)
    for mark in further:
        unfolding.note(mark)
    unfolding.close()
    of_symbol = {
        s: [a.row for a in came if a.symbol == s and segment_of(day, a.row.ts, s)] for s in symbols
    }
    return {
        "counts": counts,
        "bad": bad,
        "sessions": [unfolding.sessions[window.name] for window in windows],
        "signals": unfolding.signals,
        "derived": {
            n: [bars[key] for key in sorted(bars)] for n, bars in unfolding.derived().items()
        },
        "quality": {symbol: quality(day, of_symbol[symbol], symbol) for symbol in symbols},
        "late": unfolding.late,
        "revised": {
            symbol: (
                sum(a.again for a in came if a.symbol == symbol),
                unfolding.revised_late[symbol],
            )
            for symbol in symbols
        },
        "before_scans": unfolding.before_scans,
    }


def arrivals(
    day: TradingDay,
    interval_ns: int | None,
    rows: Sequence[Row],
    symbols: Sequence[str],
    *,
    amends: bool = False,
) -> tuple[list[Arrival], dict[str, Counts], list[tuple[int, BadReason]]]:
    """The rows that count, in the order in which they came; what is not used moves no time."""
    cleaned = clean(day, interval_ns, rows, symbols)
    bad = {position for position, _ in cleaned.bad}
    came: list[Arrival] = []
    held: dict[tuple[str, int], Used] = {}
    for symbol in symbols:
        cleaned.counts[symbol]["ohlc_outside"] = 0
    for position, given in enumerate(rows):
        segment = segment_of(day, given[1], given[0])
        if segment is None and is_in_auction(day, given[1], given[0]):
            segment = whole_segment(day, given[1])
        if segment is None or position in bad:
            continue
        row = used_row(given, segment, interval_ns)
        again = False
        if interval_ns is not None:
            before = held.get((given[0], row.ts))
            again = before is not None
            if again and (not amends or row == before):  # what was told of a bar stands
                continue
            held[given[0], row.ts] = row
        if not all(row.low <= price <= row.high for price in (row.open, row.close)):
            cleaned.counts[given[0]]["ohlc_outside"] += 1
        known = max(row.end, came[-1].known if came else row.end)
        came.append(Arrival(given[0], row, known, position, again))
    return came, cleaned.counts, cleaned.bad


class Unfolding:
    """A day under way, row after row."""

    def __init__(
        self,
        day: TradingDay,
        interval_ns: int | None,
        symbols: Sequence[str],
        windows: Sequence[Window],
        rules: Rules,
        companions: Mapping[str, str],
        derived_minutes: Sequence[int],
        lateness_ns: int,
        followed: Sequence[str],
        known: Known,
        own_rules: Mapping[str, Rules],
        scans: Sequence[int],
    ) -> None:
        self.known, self.own_rules = known, own_rules
        self.day, self.interval_ns, self.symbols = day, interval_ns, symbols
        self.followed = followed
        self.rules, self.companions = rules, companions
        self.derived_minutes, self.lateness_ns = derived_minutes, lateness_ns
        nothing: dict[str, list[Used]] = {symbol: [] for symbol in symbols}
        self.sessions = {w.name: session_levels(day, interval_ns, nothing, w) for w in windows}
        self.windows = {w.name: w for w in windows}
        self.ends = {
            name: session["end_ns"]
            if self.windows[name].auction
            else last_minute_of(day, session) + MINUTE_NS
            for name, session in self.sessions.items()
            if session["status"] == "COMPLETED"
        }
        # Rows wait at these for what belongs before them.
        closes = {s.close_ns for symbol in (None, *symbols) for s in hours_of(day, symbol)}
        closes |= {s.close_ns for product in day.products for s in product.segments}
        closes |= {s.close_ns for s in day.segments}
        self.scans = {at for at in scans if day.open_ns < at <= day.close_ns}
        self.holds = sorted({*self.ends.values(), *closes, *self.scans})
        self.open = set(self.ends)
        self.waiting: list[Arrival] = []
        self.handed_out: list[Arrival] = []
        self.in_auctions: list[Arrival] = []
        self.watches: dict[tuple[str, str], Watch] = {}
        self.signals: list[Signal] = []
        self.before_scans: dict[int, int] = {}
        """How many signals there were at each scan."""
        self.in_bars: list[tuple[int, Arrival]] = []
        """Minutes of a derived interval, and a row that counts in it."""
        self.revised_late = dict.fromkeys(symbols, 0)
        self.late: dict[str, Late] = {s: {"rows": 0, "windows": 0, "bars": 0} for s in symbols}
        self.reached = 0
        """The latest instant that a clock has moved time to."""
        self.lacking: list[Lacking] = []

    def note(self, mark: Mark) -> None:
        if isinstance(mark, Lacking):
            self.lacking.append(mark)
            return
        self.reached = max(self.reached, mark.instant)
        while self.holds and self.holds[0] <= mark.instant:
            self.cross()

    def arrive(self, arrival: Arrival) -> None:
        while self.holds and self.has_passed(arrival.known, self.holds[0]):
            self.cross()
        self.waiting.append(arrival)
        self.hand_out()

    def close(self) -> None:
        while self.holds:
            self.cross()

    def has_passed(self, known: int, instant: int) -> bool:
        """Whether nothing is waited for any more that belongs before an instant."""
        newest = known - self.lateness_ns
        return newest >= instant if self.interval_ns is None else newest > instant

    def belongs_after(self, row: Used, instant: int) -> bool:
        return row.ts >= instant if self.interval_ns is None else row.end > instant

    def cross(self) -> None:
        hold = self.holds.pop(0)
        for name in sorted(self.open):
            if self.ends[name] == hold:
                self.complete(name)
        if hold in self.scans:
            self.before_scans[hold] = len(self.signals)
        self.hand_out()

    def hand_out(self) -> None:
        came = self.waiting
        ahead = [bool(self.holds) and self.belongs_after(a.row, self.holds[0]) for a in came]
        self.waiting = [a for a, waits in zip(came, ahead, strict=True) if waits]
        for arrival, waits in zip(came, ahead, strict=True):
            if not waits:
                self.use(arrival)

    def complete(self, name: str) -> None:
        self.open.remove(name)
        came = stand(self.in_auctions) if self.windows[name].auction else self.standing()
        in_time_order = {
            symbol: sorted((a.row for a in came if a.symbol == symbol), key=lambda row: row.ts)
            for symbol in self.symbols
        }
        session = session_levels(self.day, self.interval_ns, in_time_order, self.windows[name])
        self.sessions[name] = session
        for symbol, levels in session["levels"].items():
            if self.interval_ns is None and self.lacks_part_of(session, symbol):
                levels["complete"] = False
            if symbol not in self.followed:
                continue
            rules = self.rules_of(name)
            until = partial(retest_until, self.day, self.interval_ns, rules)
            self.watches[name, symbol] = watched(
                *(self.day, self.interval_ns, session, symbol, in_time_order[symbol]),
                *(rules, self.known, until),
            )

    def rules_of(self, name: str) -> Rules:
        return self.own_rules.get(name, self.rules)

    def standing(self) -> list[Arrival]:
        return stand(self.handed_out)

    def lacks_part_of(self, session: SessionAnswer, symbol: str) -> bool:
        minutes = minutes_of(self.day, symbol)
        if kind := self.windows[session["session"]].auction:
            spans = auctions_of(self.day, symbol, kind)
            minutes = [m for opens, closes in spans for m in range(opens, closes, MINUTE_NS)]
        return any(
            minute <= lacking.until_ns and lacking.from_ns < minute + MINUTE_NS
            for minute in minutes
            if session["start_ns"] <= minute and minute + MINUTE_NS <= session["end_ns"]
            for lacking in self.lacking
        )

    def use(self, arrival: Arrival) -> None:
        symbol, row, known, _, again = arrival
        in_auction = segment_of(self.day, row.ts, symbol) is None
        late_windows = any(
            self.is_inside(row, session)
            for n, session in self.sessions.items()
            if self.is_over(n) and in_auction == (self.windows[n].auction is not None)
        )
        if in_auction:
            if again:
                self.revised_late[symbol] += late_windows
            else:
                self.late[symbol]["windows"] += late_windows
                self.late[symbol]["rows"] += late_windows
            self.in_auctions.append(arrival)
            return
        late_bars = False
        for minutes in self.derived_minutes:
            end = self.bucket(symbol, row, minutes)[1]
            if self.has_passed(known, end) or self.reached >= end:
                late_bars = True
            else:
                self.in_bars.append((minutes, arrival))
        if again:
            self.revised_late[symbol] += late_windows or late_bars
        else:
            self.late[symbol]["windows"] += late_windows
            self.late[symbol]["bars"] += late_bars
            self.late[symbol]["rows"] += late_windows or late_bars
        self.handed_out.append(arrival)
        self.signals += self.signals_of(arrival)

    def is_over(self, name: str) -> bool:
        return name in self.ends and name not in self.open

    def is_inside(self, row: Used, session: SessionAnswer) -> bool:
        if row.ts < session["start_ns"]:
            return False
        end = session["end_ns"]
        return row.ts < end if self.interval_ns is None else row.end <= end

    def signals_of(self, arrival: Arrival) -> list[Signal]:
        symbol, row, known, _, again = arrival
        found: list[Signal] = []
        for (name, of), watch in self.watches.items():
            if of != symbol or row.ts < self.sessions[name]["end_ns"]:
                continue
            allowed = self.allows(arrival, name)
            for found_break in watch.breaks(row, known, allowed=allowed, again=again):
                found.append(
                    {
                        **facts(found_break),
                        "session": name,
                        "symbol": symbol,
                        "side": found_break.side,
                        "number": found_break.number,
                        "ts": row.ts,
                        "known_at": known,
                        "price": found_break.price,
                        "level": found_break.level,
                        "companion": self.last_price(self.companions.get(symbol)),
                        "gap": found_break.gap,
                        "ambiguous": found_break.ambiguous,
                        "complete": self.sessions[name]["levels"][symbol]["complete"],
                        "rules": names_of(found_break, self.rules_of(name)),
                    }
                )
        return sorted(found, key=order_of)

    def allows(self, arrival: Arrival, name: str) -> bool:
        symbol, row, known, _, _ = arrival
        conditions = self.rules_of(name).conditions
        until = until_ns(conditions, self.day, self.sessions[name]["end_ns"])
        if until is not None and known > until:
            return False
        if conditions.volume_times is None:
            return True
        of = self.companions.get(symbol, symbol) if conditions.volume_companion else symbol
        came = [a.row for a in self.standing() if a.symbol == of]
        averages = self.known.averages
        return has_volume(conditions, self.day, self.interval_ns, row.ts, came, averages, of)

    def last_price(self, companion: str | None) -> Companion | None:
        """Its latest price among those that have come; of equal times the one that came last."""
        rows = [a.row for a in self.handed_out if a.symbol == companion]
        if companion is None or not rows:
            return None
        last = max(reversed(rows), key=lambda row: row.ts)
        return {"symbol": companion, "price": last.close, "ts": last.ts}

    def bucket(self, symbol: str, row: Used, minutes: int) -> tuple[int, int]:
        segment = segment_of(self.day, row.ts, symbol)
        assert segment is not None, "rows in use lie inside the hours"
        length = minutes * MINUTE_NS
        start = row.ts - (row.ts - segment.open_ns) % length
        return start, min(start + length, segment.close_ns)

    def derived(self) -> dict[int, dict[tuple[int, str], Derived]]:
        """Bars whose open and close go by time; volumes are added up in the order of arrival."""
        of_minutes: dict[int, dict[tuple[int, str], Derived]] = {
            n: {} for n in self.derived_minutes
        }
        rows: dict[tuple[int, int, str], list[Used]] = {}
        for minutes in self.derived_minutes:
            for symbol, row, _, _, _ in stand([a for of, a in self.in_bars if of == minutes]):
                start = self.bucket(symbol, row, minutes)[0]
                rows.setdefault((minutes, start, symbol), []).append(row)
        for (minutes, start, symbol), came in rows.items():
            in_time_order = sorted(came, key=lambda row: row.ts)
            volume = 0.0
            for row in came:
                volume += row.volume
            of_minutes[minutes][start, symbol] = {
                "symbol": symbol,
                "ts": start,
                "open": in_time_order[0].open,
                "high": max(row.high for row in came),
                "low": min(row.low for row in came),
                "close": in_time_order[-1].close,
                "volume": volume,
            }
        return of_minutes


def stand(came: Sequence[Arrival]) -> list[Arrival]:
    """Each bar once, where it came first, with what was told of it last; all ticks."""
    kept: list[Arrival] = []
    for arrival in came:
        if not arrival.again:
            kept.append(arrival)
            continue
        at = next(
            (
                n
                for n, other in enumerate(kept)
                if (other.symbol, other.row.ts) == (arrival.symbol, arrival.row.ts)
            ),
            None,
        )
        assert at is not None, "the first version came in time where a later one did"
        kept[at] = kept[at]._replace(row=arrival.row)
    return kept


def last_minute_of(day: TradingDay, session: SessionAnswer) -> int:
    start, end = session["start_ns"], session["end_ns"]
    return max(m for m in minutes_of(day) if start <= m and m + MINUTE_NS <= end)
