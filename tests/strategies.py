"""Random trading days, rows and rules, small enough that a property test stays quick.

Prices are drawn from a handful of levels, so that ties and exact touches are common; volumes have
fractions whose float sum depends on the order. Rows are decoded from drawn bytes: one draw for a
symbol's day, and zeros (what hypothesis shrinks to) decode to a plain bar or tick.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from conditions import NOTHING_KNOWN, Bound, Conditions, Known, slot_of
from hypothesis import strategies as st
from reference import Answer, Row, Rules, Window, answer, in_some

from openbell.market.bars import BAR_COLUMNS, TICK_COLUMNS, RawRows
from openbell.market.days import (
    MINUTE_NS,
    SECOND_NS,
    Auction,
    AuctionKind,
    ProductHours,
    Segment,
    TradingDay,
)

SYMBOLS = ("AAPL", "BANKNIFTY", "NIFTY", "XRP/ETH")
NAMES = ("Morning Opening", "Lunch Break", "Afternoon", "Mid Morning")  # on purpose not sorted
PRICES = (100.0, 100.5, 99.5, 101.0, 99.0, 100.25, 100.1)
TRENDS = (0.0, 0.25, -0.25, 1.0)  # of all prices, every eight rows: else sessions hold the extremes
VOLUMES = (100.0, 0.1, 0.2, 0.3, 0.0, 0.7, 1e9, 33.333333333333336)
UNUSABLE_PRICES = (math.nan, 0.0, -1.0, math.inf, -math.inf)


@dataclass(frozen=True)
class Case:
    """One day's input: everything that `reference.answer` takes."""

    day: TradingDay
    interval_ns: int | None
    """None for ticks."""
    rows: tuple[Row, ...]
    """In the source's order, with all that can be wrong with rows."""
    symbols: tuple[str, ...]
    """In no particular order; some may be without a row."""
    windows: tuple[Window, ...]
    rules: Rules
    companions: dict[str, str]
    followed: tuple[str, ...] | None = None
    """Whose breakouts are reported; None: all symbols'."""
    known: Known = NOTHING_KNOWN
    """What is known of the days before."""
    own_rules: Mapping[str, Rules] = field(default_factory=dict)
    """Of windows that have others, by their names."""

    @property
    def kind(self) -> Literal["bars", "ticks"]:
        return "ticks" if self.interval_ns is None else "bars"

    def answer(self) -> Answer:
        """The reference's answer."""
        return answer(
            self.day,
            self.interval_ns,
            self.rows,
            self.symbols,
            self.windows,
            self.rules,
            self.companions,
            followed=self.followed,
            known=self.known,
        )

    def raw_rows(self) -> RawRows:
        """The rows as a source would deliver them."""
        names = TICK_COLUMNS if self.interval_ns is None else BAR_COLUMNS
        return RawRows(
            kind=self.kind,
            symbols=self.symbols,
            code=np.array([self.symbols.index(row[0]) for row in self.rows], dtype=np.int32),
            ts=np.array([row[1] for row in self.rows], dtype=np.int64),
            columns={
                name: np.array([row[2 + i] for row in self.rows], dtype=np.float64)
                for i, name in enumerate(names)
            },
            locate=locate,
        )


def locate(position: int) -> tuple[str, int]:
    return "rows.parquet", position + 1


# Days


@dataclass(frozen=True)
class Place:
    """A date in a time zone, and wall times to open at."""

    tz: str
    date: date
    opens: tuple[str, ...]


PLACES = (
    Place("America/New_York", date(2024, 7, 1), ("09:30", "04:00")),
    Place("Asia/Kolkata", date(2021, 11, 4), ("09:15", "18:15")),
    # The sessions on both sides of a clock change, and the Sundays themselves: hours that run
    # across the change have a wall-clock hour that is missing or comes twice.
    Place("America/New_York", date(2024, 3, 8), ("09:30",)),
    Place("America/New_York", date(2024, 3, 10), ("01:30", "01:58", "09:30")),
    Place("America/New_York", date(2024, 3, 11), ("09:30",)),
    Place("America/New_York", date(2024, 11, 3), ("00:40", "01:58", "09:30")),
    Place("America/New_York", date(2024, 11, 4), ("09:30",)),
    Place("Europe/London", date(2024, 3, 28), ("08:00",)),
    Place("Europe/London", date(2024, 3, 31), ("00:30", "08:00")),
    Place("Europe/London", date(2024, 10, 27), ("00:30", "08:00")),
    Place("Europe/London", date(2024, 10, 28), ("08:00",)),
    Place("UTC", date(2024, 2, 29), ("00:00", "12:00")),
)


@st.composite
def trading_days(draw: st.DrawFn, minutes_max: int = 120) -> TradingDay:
    """A short trading day of one or two segments, `minutes_max` minutes at most."""
    place = draw(st.sampled_from(PLACES))
    open_ns = at(place, draw(st.sampled_from(place.opens)))
    lengths = draw(st.lists(st.integers(3, minutes_max // 2), min_size=1, max_size=2))
    if len(lengths) == 1 and draw(st.booleans()):
        lengths = [min(2 * lengths[0], minutes_max)]
    segments = []
    for length in lengths:
        segments.append(Segment(open_ns, open_ns + length * MINUTE_NS))
        # A break that is no multiple of 5 or 15 minutes puts the second anchor off the first's.
        open_ns = segments[-1].close_ns + draw(st.integers(1, 47)) * MINUTE_NS
    return TradingDay(place.date, place.tz, tuple(segments))


@st.composite
def with_products(
    draw: st.DrawFn, day: TradingDay, symbols: tuple[str, ...], interval_ns: int
) -> TradingDay:
    """The day, of which some symbols trade one part and others another."""
    hours = [draw(cut(day, interval_ns)) for _ in range(draw(st.integers(1, 3)))]
    of_each = [draw(st.integers(0, len(hours) - 1)) for _ in symbols]
    products = tuple(
        ProductHours(
            f"product {n}",
            segments,
            tuple(sorted(s for s, of in zip(symbols, of_each, strict=True) if of == n and n)),
        )
        for n, segments in enumerate(hours)
    )
    return replace(day, segments=in_some(hours), products=products)


@st.composite
def cut(draw: st.DrawFn, day: TradingDay, interval_ns: int) -> tuple[Segment, ...]:
    """Hours inside the day's, by whole bars: begun later, over earlier, or with a segment less."""
    found = []
    for segment in day.segments:
        edges = [*range(segment.open_ns, segment.close_ns, interval_ns), segment.close_ns]
        opens = draw(st.sampled_from((0, 0, 1, 5, 7)))
        closes = len(edges) - 1 - draw(st.sampled_from((0, 0, 1, 4, 10)))
        if opens < closes:
            found.append(Segment(edges[opens], edges[closes]))
    kept = [of for of in found if draw(st.integers(0, 3))] or found
    return tuple(kept) or day.segments


@st.composite
def with_auctions(
    draw: st.DrawFn, day: TradingDay, interval_ns: int, named: tuple[AuctionKind, ...]
) -> TradingDay:
    """The day, of which some products have auctions before their hours and after them; those of the
    kinds that are named belong to it."""
    products = []
    for of in day.products or (ProductHours("all", day.segments),):
        before, after = (draw(st.integers(0, 4)) * interval_ns for _ in range(2))
        opens, closes = of.open_ns, of.close_ns
        spans: list[Auction] = []
        if before:
            spans.append(Auction("auction_open", opens - before, opens))
        if after:
            spans.append(Auction("auction_close", closes, closes + after))
        products.append(replace(of, auctions=tuple(spans)))
    theirs = [
        Segment(a.open_ns, a.close_ns) for of in products for a in of.auctions if a.kind in named
    ]
    if not theirs:
        return replace(day, products=tuple(products)) if day.products else day
    trading = in_some([of.segments for of in products])
    apart = [Segment(*piece) for piece in left_of(theirs, trading)]
    kinds = ("auction_open", "auction_close")
    return replace(
        day,
        products=tuple(products),
        segments=tuple(sorted((*trading, *apart), key=lambda s: s.open_ns)),
        named=tuple(
            k
            for k in kinds
            if k in named and any(k == a.kind for of in products for a in of.auctions)
        ),
    )


def left_of(spans: Sequence[Segment], without: Sequence[Segment]) -> list[list[int]]:
    """What lies in some spans and in none of others, put together."""
    edges = sorted({at for s in (*spans, *without) for at in (s.open_ns, s.close_ns)})
    found: list[list[int]] = []
    for begins, ends in pairwise(edges):
        if any(s.open_ns <= begins < s.close_ns for s in without):
            continue
        if any(s.open_ns <= begins < s.close_ns for s in spans):
            if found and found[-1][1] == begins:
                found[-1][1] = ends
            else:
                found.append([begins, ends])
    return found


def at(place: Place, wall: str) -> int:
    return TradingDay(place.date, place.tz, ()).instant(time.fromisoformat(wall))


def wall_time(day: TradingDay, instant_ns: int) -> str:
    """Local "HH:MM" of an instant, kept within the day's date."""
    if instant_ns < day.midnight_ns:
        return "00:00"
    if instant_ns >= day.next_midnight_ns:
        return "23:59"
    local = datetime.fromtimestamp(instant_ns // SECOND_NS, ZoneInfo(day.tz))
    return f"{local:%H:%M}"


# Sessions and rules


@st.composite
def windows(draw: st.DrawFn, day: TradingDay, size_max: int = 3) -> tuple[Window, ...]:
    """Sessions with distinct names: inside the hours, across their edges and breaks, outside."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=size_max, unique=True))
    return tuple(draw(window(day, name)) for name in names)


@st.composite
def window(draw: st.DrawFn, day: TradingDay, name: str) -> Window:
    minutes = (day.close_ns - day.open_ns) // MINUTE_NS
    # Mostly early in the day and short, so that something is left to break out in.
    early, short = st.integers(0, max(1, minutes // 2)), st.integers(1, 6)
    first = draw(st.one_of(early, early, st.integers(-20, minutes + 20)))
    length = draw(st.one_of(short, short, st.integers(1, minutes + 10)))
    closed: Literal["both", "left"] = draw(st.sampled_from(("both", "left")))
    start = wall_time(day, day.open_ns + first * MINUTE_NS)
    end = wall_time(day, day.open_ns + (first + length) * MINUTE_NS)
    if start > end:
        start, end = end, start  # an hour that comes twice, or one edge moved into the date
    instants = [day.instant(time.fromisoformat(wall)) for wall in (start, end)]
    if instants[0] >= instants[1]:  # nothing between them: midnight, or an hour that is missing
        return Window(name, start, start, "both")
    return Window(name, start, end, closed)


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    return Rules(
        confirm=draw(st.sampled_from(("close", "touch"))),
        check=draw(st.sampled_from(("continuous", "continuous", "once"))),
        sides=draw(st.sampled_from(("both", "both", "high", "low"))),
        buffer=draw(st.sampled_from((0.0, 0.0, 0.0, 0.15, 0.5))),
        buffer_unit=draw(st.sampled_from(("price", "percent"))),
        tick=draw(st.sampled_from((0.0, 0.05))),
        closed_beyond=draw(st.booleans()),
        retest_bars=draw(st.sampled_from((0, 1, 3, 8))),
        retest_tolerance=draw(st.sampled_from((0.0, 0.0, 0.1, 0.25))),
        retest_unit=draw(st.sampled_from(("price", "percent"))),
    )


@st.composite
def conditions(draw: st.DrawFn, day: TradingDay) -> Conditions:
    """Some conditions, most of which let something pass."""
    minutes = (day.close_ns - day.open_ns) // MINUTE_NS
    until: str | int | None = None
    if draw(st.booleans()):
        until = draw(st.integers(1, minutes)) * MINUTE_NS
        if draw(st.booleans()):
            until = wall_time(day, day.open_ns + until)
    volume = draw(st.sampled_from((None, 0.5, 1.0, 1.1, 3.0)))
    return Conditions(
        volume_times=volume,
        volume_of=draw(st.sampled_from(("minute", "day"))),
        volume_companion=draw(st.booleans()),
        min_range=draw(st.sampled_from((None, None, *NARROWEST))),
        max_range=draw(st.sampled_from((None, None, *WIDEST))),
        valid_until=until,
        on_incomplete=draw(st.sampled_from(("flag", "flag", "block"))),
        direction=draw(st.sampled_from(("any", "any", "first_bar"))),
    )


NARROWEST: tuple[Bound, ...] = (("price", 0.5), ("percent", 0.5), ("times", 0.005), ("price", 1.1))
WIDEST: tuple[Bound, ...] = (("price", 2.0), ("percent", 2.0), ("times", 0.02), ("price", 0.1))


@st.composite
def known(
    draw: st.DrawFn, day: TradingDay, interval_ns: int | None, symbols: Sequence[str]
) -> Known:
    """What the days before may have left: averages of what is usual, sometimes none."""
    starts, _ = day.grid(max(interval_ns or MINUTE_NS, MINUTE_NS))
    code = draw(st.binary(min_size=len(symbols), max_size=len(symbols)))
    averages: dict[tuple[str, int], float] = {}
    daily: dict[str, float] = {}
    for symbol, of in zip(symbols, code, strict=True):
        for place, ts in enumerate(starts.tolist()):
            average = pick((*VOLUMES[:6], math.nan), of + 3 * place)
            if not math.isnan(average):
                averages[symbol, slot_of(day, interval_ns, ts)] = average
        if of % 8 != 7:
            daily[symbol] = pick((100.0, 99.0, 200.0), of)
    return Known(averages, daily)


# Rows


@st.composite
def cases(
    draw: st.DrawFn,
    kind: Literal["bars", "ticks"] = "bars",
    minutes_max: int = 120,
    interval_ns: int = MINUTE_NS,
    clean: bool = False,
    own_hours: bool = False,
    filtered: bool = True,
    auctions: bool = False,
) -> Case:
    """A day with its rows, sessions, rules and companions.

    `interval_ns` is the bars' length. With `clean`, rows are in time order for each symbol, and
    none is unusable, replaced or outside the hours; holes and equal ticks stay. With `own_hours`,
    symbols may have different hours; their rows lie in all of the day's. `filtered`:
    whether breakouts may have conditions to pass. With `auctions`, sessions may name some.
    """
    day = draw(trading_days(minutes_max))
    symbols = tuple(draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=4, unique=True)))
    if own_hours and draw(st.integers(0, 7)):
        day = draw(with_products(day, symbols, interval_ns))
    sessions = draw(windows(day))
    if auctions:
        kinds: list[AuctionKind] = ["auction_open", "auction_close"]
        named = draw(st.lists(st.sampled_from(kinds), min_size=1, unique=True))
        day = draw(with_auctions(day, interval_ns, tuple(named)))
        sessions = (*(Window(f"The {of}", "", "", auction=of) for of in named), *sessions)
    rows: list[Row] = []
    for symbol in symbols:
        if kind == "bars":
            rows += draw(bars(day, symbol, interval_ns))
        else:
            rows += draw(ticks(day, symbol))
    if draw(st.booleans()):
        rows.sort(key=row_ts)  # symbols interleaved, as in a file a day
    if not clean:
        rows = draw(spoiled(day, rows))
    companions = {}
    for symbol in symbols:
        companion = draw(st.sampled_from((None, *symbols)))
        if companion not in (None, symbol):
            companions[symbol] = companion
    length = interval_ns if kind == "bars" else None
    plain, before = draw(rules()), NOTHING_KNOWN
    if filtered and draw(st.booleans()):
        plain = plain._replace(conditions=draw(conditions(day)))
        before = draw(known(day, length, symbols))
    return Case(
        day=day,
        interval_ns=length,
        rows=tuple(rows),
        symbols=symbols,
        windows=sessions,
        rules=plain,
        companions=companions,
        followed=draw(st.none() | st.just(tuple(companions))) or None,
        known=before,
    )


def row_ts(row: Row) -> int:
    return row[1]


@st.composite
def bars(draw: st.DrawFn, day: TradingDay, symbol: str, interval_ns: int) -> list[Row]:
    """A symbol's good bars in time order, with holes; sometimes none at all."""
    starts = [ts for s in day.segments for ts in range(s.open_ns, s.close_ns, interval_ns)]
    holes_per_256 = draw(st.sampled_from((0, 20, 128, 256)))
    trend = draw(st.sampled_from(TRENDS))
    code = draw(st.binary(min_size=4 * len(starts), max_size=4 * len(starts)))
    found: list[Row] = []
    for i, ts in enumerate(starts):
        hole, open_close, high_low, volume = code[4 * i : 4 * i + 4]
        if 255 - hole < holes_per_256:
            continue
        prices = (price + trend * (i // 8) for price in ohlc(open_close, high_low))
        found.append((symbol, ts, *prices, pick(VOLUMES, volume)))  # type: ignore[arg-type]
    return found


def ohlc(open_close: int, high_low: int) -> tuple[float, float, float, float]:
    open_, close = pick(PRICES, open_close % 16), pick(PRICES, open_close // 16)
    high, low = max(open_, close), min(open_, close)
    if high_low % 8 in (1, 2):
        high = max(high, pick(PRICES, high_low // 16))
    if high_low % 8 in (2, 3):
        low = min(low, pick(PRICES, high_low // 16))
    if high_low % 32 == 7:  # a wide bar, which touches both sides of most sessions
        high, low = max(PRICES) + 0.25, min(PRICES) - 0.25
    return open_, high, low, close


def pick(values: Sequence[float], code: int) -> float:
    return values[code % len(values)]


@st.composite
def ticks(draw: st.DrawFn, day: TradingDay, symbol: str, size_max: int = 100) -> list[Row]:
    """A symbol's good ticks in time order: equal times, minute edges, the last nanosecond."""
    count = draw(st.integers(0, size_max))
    code = draw(st.binary(min_size=3 * count, max_size=3 * count))
    step_ns = draw(st.sampled_from((15, 60, 1))) * SECOND_NS
    trend = draw(st.sampled_from(TRENDS))
    ts, found = int(day.open_ns), list[Row]()
    for i in range(count):
        delay, price, size = code[3 * i : 3 * i + 3]
        ts += (delay % 4) * step_ns
        just_before = int(delay // 4 % 8 == 7)  # 1 ns earlier: the minute before, or the break
        when = max(ts - just_before, found[-1][1] if found else day.open_ns)
        if inside(day, when):
            moved = pick(PRICES, price) + trend * (i // 8)
            found.append((symbol, when, moved, pick(VOLUMES, size)))
    return found


def inside(day: TradingDay, ts: int) -> bool:
    return any(s.open_ns <= ts < s.close_ns for s in day.segments)


@st.composite
def spoiled(draw: st.DrawFn, day: TradingDay, rows: Sequence[Row]) -> list[Row]:
    """The rows with others among them that can't be used, and some moved out of their order."""
    found = list(rows)
    for spoil in draw(st.lists(st.sampled_from(SPOILS), max_size=8)):
        spoil(draw, day, found)
    return found


def position(draw: st.DrawFn, rows: Sequence[Row]) -> int:
    return draw(st.integers(0, len(rows)))


def repeat(draw: st.DrawFn, day: TradingDay, rows: list[Row]) -> None:
    """The same symbol and time again, at another price, elsewhere in the source."""
    if rows:
        row = draw(st.sampled_from(rows))
        rows.insert(position(draw, rows), priced(row, draw(st.sampled_from(PRICES))))


def move(draw: st.DrawFn, day: TradingDay, rows: list[Row]) -> None:
    if rows:
        row = rows.pop(draw(st.integers(0, len(rows) - 1)))
        rows.insert(position(draw, rows), row)


def add_outside(draw: st.DrawFn, day: TradingDay, rows: list[Row]) -> None:
    """A row before the open, in the break or from the close on; sometimes an unusable one."""
    if rows:
        row = draw(st.sampled_from(rows))
        edges = [s.close_ns for s in day.segments] + [s.open_ns - 1 for s in day.segments]
        edges += [day.open_ns - 8 * MINUTE_NS, day.close_ns + MINUTE_NS]
        price = draw(st.sampled_from((102.0, 98.0, math.nan)))
        rows.insert(position(draw, rows), priced(retimed(row, draw(st.sampled_from(edges))), price))


def add_unusable(draw: st.DrawFn, day: TradingDay, rows: list[Row]) -> None:
    """One price, any of them, is none; or high and low are the wrong way round."""
    if not rows:
        return
    row = draw(st.sampled_from(rows))
    if len(row) == 7 and draw(st.booleans()):
        symbol, ts, open_, _, _, close, volume = row
        rows.insert(position(draw, rows), (symbol, ts, open_, 99.0, 101.0, close, volume))
        return
    values: list[float] = [*row[2:]]
    values[draw(st.integers(0, 3 if len(row) == 7 else 0))] = draw(st.sampled_from(UNUSABLE_PRICES))
    rows.insert(position(draw, rows), with_values(row, values))


def shift_off_grid(draw: st.DrawFn, day: TradingDay, rows: list[Row]) -> None:
    """A bar that does not start where a bar starts; a tick merely moves."""
    if rows:
        row = draw(st.sampled_from(rows))
        shift_ns = draw(st.sampled_from((1, 30 * SECOND_NS, MINUTE_NS - 1)))
        if inside(day, row[1] + shift_ns):
            rows.insert(position(draw, rows), retimed(row, row[1] + shift_ns))


def open_outside(draw: st.DrawFn, day: TradingDay, rows: list[Row]) -> None:
    """Open or close of one bar beyond its high or low: used, counted and warned of."""
    if rows:
        at = draw(st.integers(0, len(rows) - 1))
        row = rows[at]
        if len(row) == 7:
            values: list[float] = [*row[2:]]
            values[draw(st.sampled_from((0, 3)))] = draw(st.sampled_from((98.5, 101.5)))
            rows[at] = with_values(row, values)


Spoil = Callable[[st.DrawFn, TradingDay, list[Row]], None]
SPOILS: tuple[Spoil, ...] = (move, repeat, add_outside, add_unusable, shift_off_grid, open_outside)


def priced(row: Row, price: float) -> Row:
    values: list[float] = [*row[2:]]
    if len(row) == 7:
        values[:4] = [price] * 4
    else:
        values[0] = price
    return with_values(row, values)


def retimed(row: Row, ts: int) -> Row:
    return with_values((row[0], ts, *row[2:]), list(row[2:]))


def with_values(row: Row, values: Sequence[float]) -> Row:
    if len(row) == 7:
        open_, high, low, close, volume = values
        return row[0], row[1], open_, high, low, close, volume
    price, size = values
    return row[0], row[1], price, size
