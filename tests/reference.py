"""What a day's rows mean, by brute force: the slow and obvious answer to compare with.

Plain loops over tuples, one rule a line where that is possible, no numpy, and nothing taken from
openbell but `TradingDay` and the length of a minute. Rows stand in the source's order:
`(symbol, ts, open, high, low, close, volume)` for bars, `(symbol, ts, price, size)` for ticks, `ts`
in ns UTC. Where a rule can be read in two ways, a comment at its line says how it is read here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import time
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple, TypedDict

from openbell.market.days import MINUTE_NS, Segment, TradingDay

Bar = tuple[str, int, float, float, float, float, float]
Tick = tuple[str, int, float, float]
Row = Bar | Tick

BadReason = Literal["price", "high below low", "off the grid"]


class Window(NamedTuple):
    """A session as configured; wall times "HH:MM" of the exchange."""

    name: str
    start: str
    end: str
    closed: Literal["both", "left"] = "both"


class Rules(NamedTuple):
    """What counts as a breakout."""

    confirm: Literal["close", "touch"] = "close"
    check: Literal["continuous", "once"] = "continuous"
    sides: Literal["both", "high", "low"] = "both"
    buffer: float = 0.0
    buffer_unit: Literal["price", "percent"] = "price"
    tick: float = 0.0
    """0: not known."""


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


class Signal(TypedDict):
    session: str
    symbol: str
    side: Literal["HIGH_BREAK", "LOW_BREAK"]
    ts: int
    known_at: int
    price: float
    level: float
    companion: Companion | None
    gap: bool
    ambiguous: bool
    complete: bool


class Break(NamedTuple):
    side: Literal["HIGH_BREAK", "LOW_BREAK"]
    row: Used
    price: float
    level: float
    gap: bool
    ambiguous: bool


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
    counts: dict[str, Counts]
    bad: list[tuple[int, BadReason]]
    """Position in the rows given, and why it is not used; in the source's order."""


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
) -> Answer:
    """All that a day yields; `interval_ns` is the bars' length, None for ticks.

    `followed` are the symbols whose breakouts are reported, None: all. A companion that is not
    among them is read: it has levels, bars and quality, and no signals.
    """
    cleaned = clean(day, interval_ns, rows, symbols)
    sessions = [session_levels(day, interval_ns, cleaned.used, window) for window in windows]
    return {
        "counts": cleaned.counts,
        "bad": cleaned.bad,
        "sessions": sessions,
        "signals": signals(
            cleaned.used,
            sessions,
            rules,
            companions or {},
            symbols if followed is None else followed,
        ),
        "derived": {n: derived_bars(day, cleaned.used, n) for n in derived_minutes},
        "quality": {symbol: quality(day, cleaned.used[symbol]) for symbol in symbols},
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
        segment = segment_of(day, ts)
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
    return Cleaned(used, counts, bad)


def no_counts() -> Counts:
    return {
        "rows": 0,
        "outside_hours": 0,
        "out_of_order": 0,
        "duplicates": 0,
        "bad_rows": 0,
        "ohlc_outside": 0,
    }


def segment_of(day: TradingDay, ts: int) -> Segment | None:
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


def minutes_of(day: TradingDay) -> list[int]:
    """Starts of all minutes inside the hours, ns UTC."""
    return [
        minute
        for segment in day.segments
        for minute in range(segment.open_ns, segment.close_ns, MINUTE_NS)
    ]


def minutes_covered(day: TradingDay, rows: Sequence[Used]) -> set[int]:
    """Starts of the minutes that have a row: a tick in it, or a bar that covers part of it."""
    covered = set()
    for row in rows:
        segment = segment_of(day, row.ts)
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
            levels[symbol] = {
                "high": max((row.high for row in inside), default=None),
                "low": min((row.low for row in inside), default=None),
                "count": len(inside),
                "first_ts": inside[0].ts if inside else None,
                "last_ts": inside[-1].ts if inside else None,
                "complete": set(minutes) <= minutes_covered(day, inside),
            }
    return {
        "session": window.name,
        "status": "COMPLETED" if minutes else "SKIPPED",
        # Any part of the window outside the hours cuts it: a late open, a break, an early close.
        "truncated": 0 < len(minutes) * MINUTE_NS < end - start,
        "start_ns": start,
        "end_ns": end,
        "levels": levels,
    }


def signals(
    used: Mapping[str, Sequence[Used]],
    sessions: Sequence[SessionAnswer],
    rules: Rules,
    companions: Mapping[str, str],
    followed: Sequence[str],
) -> list[Signal]:
    found: list[Signal] = []
    for session in sessions:
        for symbol, levels in session["levels"].items():
            if symbol not in followed:
                continue
            after = [row for row in used[symbol] if row.ts >= session["end_ns"]]
            for found_break in breaks(after, levels["high"], levels["low"], rules):
                known_at = found_break.row.end
                found.append(
                    {
                        "session": session["session"],
                        "symbol": symbol,
                        "side": found_break.side,
                        "ts": found_break.row.ts,
                        "known_at": known_at,
                        "price": found_break.price,
                        "level": found_break.level,
                        "companion": last_price(used, companions.get(symbol), known_at),
                        "gap": found_break.gap,
                        "ambiguous": found_break.ambiguous,
                        "complete": levels["complete"],
                    }
                )
    return sorted(found, key=lambda s: (s["ts"], s["symbol"], s["session"], s["side"]))


def breaks(
    after: Sequence[Used], high: float | None, low: float | None, rules: Rules
) -> list[Break]:
    """Of one symbol and session, at most one a side; `after` are the rows since the session."""
    if high is None or low is None or not after:
        return []
    first_price = after[0].open
    above, below = threshold(high, 1, rules), threshold(low, -1, rules)
    touch = rules.confirm == "touch"
    high_wanted, low_wanted = rules.sides in ("both", "high"), rules.sides in ("both", "low")

    found = []
    for row in after[:1] if rules.check == "once" else after:
        breaks_high = high_wanted and beyond(row.high if touch else row.close, above, 1, rules)
        breaks_low = low_wanted and beyond(row.low if touch else row.close, below, -1, rules)
        # Which came first can't be told only when this one bar is the first break of both sides.
        ambiguous = breaks_high and breaks_low
        if breaks_high:
            price = row.close
            if touch:
                price = row.open if beyond(row.open, above, 1, rules) else above
            gap = beyond(first_price, above, 1, rules)
            found.append(Break("HIGH_BREAK", row, price, high, gap, ambiguous))
            high_wanted = False
        if breaks_low:
            price = row.close
            if touch:
                price = row.open if beyond(row.open, below, -1, rules) else below
            gap = beyond(first_price, below, -1, rules)
            found.append(Break("LOW_BREAK", row, price, low, gap, ambiguous))
            low_wanted = False
    return found


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
            segment = segment_of(day, row.ts)
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


def quality(day: TradingDay, rows: Sequence[Used]) -> Quality:
    covered = minutes_covered(day, rows)
    expected = len(minutes_of(day))
    gaps = 0
    for segment in day.segments:
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
