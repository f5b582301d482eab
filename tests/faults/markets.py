"""Markets drawn from a seed: days of all shapes, symbols, rows on a grid of prices.

A scenario is what determines the answers of a run. Most are small, so that many can be run; one in
ten is larger, and one in fifty large.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import date, time, timedelta
from functools import cache
from typing import Any, Literal

import numpy as np
from faults.drawn_rules import HISTORY, PAST, before_in, drawn_conditions, past_days
from odd_configurations import TICK, odd_configuration, what_follows
from reference import Row, Rules, Window
from strategies import Case

from openbell.adapters.indicators import indicator_functions
from openbell.adapters.scanners import scans_of
from openbell.errors import ConfigError
from openbell.market.days import (
    MINUTE_NS,
    Auction,
    ProductHours,
    Segment,
    TradingDay,
    local_instant,
)
from openbell.market.scans import Found, ScanView
from openbell.runtime.config import Config, config_from
from openbell.runtime.intake.planning import Plan
from openbell.runtime.intake.settings import settings
from openbell.runtime.intake.trailing import trailing_settings

SYMBOLS = ("B", "A", "M&M", "BRK.B", "NIFTY 50", "XRP/ETH", *(f"S{i:02d}" for i in range(34)))

Size = Literal["small", "medium", "large"]


def size_of(number: int) -> Size:
    """How large a scenario is drawn."""
    if number % 50 == 25:
        return "large"
    return "medium" if number % 10 == 5 else "small"


@dataclass(frozen=True)
class Bounds:
    """Of what is drawn for a size."""

    symbols: tuple[int, int]
    """From and to."""
    minutes: tuple[int, int]
    """Of a day, from and to."""
    days: tuple[int, ...]
    windows: tuple[int, ...]


BOUNDS: dict[Size, Bounds] = {
    "small": Bounds((1, 3), (12, 30), (1, 2, 2, 2, 3), (0, 1, 1, 2, 2, 2, 3, 4)),
    "medium": Bounds((1, 12), (20, 60), (2, 3, 5), (0, 3, 4, 6)),
    "large": Bounds((20, 40), (30, 90), (2, 5), (8, 12)),
}


@dataclass(frozen=True)
class Scenario:
    """What determines the answers."""

    number: int
    shape: str
    """Of its days."""
    cases: tuple[Case, ...]
    config: dict[str, Any]
    windowless: bool
    """Whether the run has no window at all; the configuration can't say so."""
    past: tuple[Case, ...] = ()
    """The days before the first, where something looks at them."""

    @property
    def paced(self) -> bool:
        return bool(self.config["feed"]["speed"])

    @property
    def lasting(self) -> bool:
        """Whether rows can be asked for again; if not, those of a day that is in the journal are
        others the next time."""
        return self.number % 3 != 1

    @property
    def symbols(self) -> tuple[str, ...]:
        return self.cases[0].symbols

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be left out: days, symbols and windows, as long as one of each is left."""
        days = [f"day:{case.day.date}" for case in self.cases]
        symbols = [f"symbol:{symbol}" for symbol in self.symbols]
        windows = [f"window:{session['name']}" for session in self.config["sessions"]]
        return tuple(part for of in (days, windows, symbols) if len(of) > 1 for part in of)


@cache
def scenario(number: int, without: Collection[str] = frozenset()) -> Scenario:
    """A scenario, but for some of its parts (`Scenario.parts`)."""
    found = drawn_scenario(number)
    for part in sorted(without):
        kind, _, name = part.partition(":")
        found = LEAVE_OUT[kind](found, name)
    return found


def without_day(of: Scenario, name: str) -> Scenario:
    return replace(of, cases=tuple(case for case in of.cases if str(case.day.date) != name))


def without_symbol(of: Scenario, name: str) -> Scenario:
    cases, past = (
        tuple(
            replace(
                case,
                symbols=tuple(symbol for symbol in case.symbols if symbol != name),
                rows=tuple(row for row in case.rows if row[0] != name),
            )
            for case in cases
        )
        for cases in (of.cases, of.past)
    )
    companions = {k: v for k, v in of.config["companions"].items() if name not in (k, v)}
    config = {**of.config, "companions": companions}
    return replace(of, cases=cases, past=past, config=config if companions else own_volumes(config))


def own_volumes(config: dict[str, Any]) -> dict[str, Any]:
    """Without companions no volume of one counts."""

    def own(rules: dict[str, Any]) -> dict[str, Any]:
        volume = rules.get("volume")
        return {**rules, "volume": {**volume, "symbol": "own"}} if volume else rules

    sessions = [
        {**session, "breakout": own(session["breakout"])} if "breakout" in session else session
        for session in config["sessions"]
    ]
    return {**config, "breakout": own(config["breakout"]), "sessions": sessions}


def without_window(of: Scenario, name: str) -> Scenario:
    sessions = [session for session in of.config["sessions"] if session["name"] != name]
    return replace(of, config={**of.config, "sessions": sessions})


LEAVE_OUT: dict[str, Callable[[Scenario, str], Scenario]] = {
    "day": without_day,
    "symbol": without_symbol,
    "window": without_window,
}


def drawn_scenario(number: int) -> Scenario:
    rng = random.Random(f"scenario {number}")
    size = size_of(number)
    bounds = BOUNDS[size]
    symbols = tuple(sorted(rng.sample(SYMBOLS, rng.randint(*bounds.symbols))))
    shape = rng.choice(tuple(SHAPES))
    days, interval_ns = SHAPES[shape](rng, rng.randint(*bounds.minutes), rng.choice(bounds.days))
    if number % 4 == 3 and len(symbols) > 1:
        days = with_products(random.Random(f"hours {number}"), days, symbols, interval_ns)
    kind = "bars" if interval_ns != MINUTE_NS else rng.choice(("bars", "bars", "ticks"))
    empty = rng.randrange(len(days)) if rng.random() < 0.2 and len(days) > 1 else None
    absent = rng.choice(symbols) if rng.random() < 0.2 and len(symbols) > 1 else None
    rows = [
        () if i == empty else drawn_rows(rng, day, kind, interval_ns, symbols, absent)
        for i, day in enumerate(days)
    ]
    cases = tuple(
        Case(
            day=day,
            interval_ns=interval_ns if kind == "bars" else None,
            rows=of_day,
            symbols=symbols,
            windows=(Window("Opening", "09:30", "09:31"),),  # not looked at: the config's count
            rules=Rules(),
            companions={},
        )
        for day, of_day in zip(days, rows, strict=True)
    )
    windows = rng.choice(bounds.windows)
    minutes = interval_ns // MINUTE_NS
    day = rng.choice(days)
    configuration = odd_configuration(rng, day, symbols, max(1, windows), minutes)
    if minutes > 1:
        configuration["upkeep"]["derived_intervals"] = [minutes, 4 * minutes]
    paced = size == "small" and rng.random() < 0.5
    if size == "large":
        configuration["clock"]["step"] = "boundary"  # else it takes a minute
    config: dict[str, Any] = {
        **configuration,
        "name": "simulated",
        "exchange": "XNYS",  # its calendar is not asked: the days are drawn
        "data": {"kind": kind, "interval": f"{minutes}m"},
        "feed": {"type": "replay", "speed": 60 if paced else 0},
    }
    if not has_conditions(number):
        return Scenario(number, shape, cases, config, windowless=windows == 0)
    return Scenario(
        number,
        shape,
        cases,
        with_conditions(config, str(number), day),
        windowless=windows == 0,
        past=drawn_past(number, cases),
    )


def has_conditions(number: int) -> bool:
    """Whether breakouts of a scenario have rules to pass: of small ones, as days before cost time."""
    if size_of(number) != "small":
        return False
    return random.Random(f"whether {number} has conditions").random() < 0.45


def with_conditions(
    config: dict[str, Any],
    seed: str,
    day: TradingDay,
    *,
    history: bool = True,
    relative: bool = True,
) -> dict[str, Any]:
    """The configuration with rules that filter: of all sessions, and of some their own."""

    def drawn(of: str) -> dict[str, Any]:
        companions = bool(config["companions"])
        return drawn_conditions(of, day, companions=companions, history=history, relative=relative)

    rng = random.Random(f"conditions of sessions {seed}")
    sessions = [
        {**session, "breakout": {**session.get("breakout", {}), **drawn(f"{seed} {place}")}}
        if rng.random() < 0.4
        else session
        for place, session in enumerate(config["sessions"])
    ]
    found = {
        **config,
        "sessions": sessions,
        "breakout": {**config.get("breakout", {}), **drawn(seed)},
        "history": {**config.get("history", {}), **(HISTORY if history else {})},
    }
    return found if is_legal(found) else without_times(found)


def is_legal(config: dict[str, Any]) -> bool:
    try:
        config_from(config)
    except ConfigError:
        return False
    return True


def without_times(config: dict[str, Any]) -> dict[str, Any]:
    """A time until which breaks count may lie before a session's end: then none is said."""

    def timeless(rules: dict[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in rules.items() if key != "valid_until"}

    sessions = [
        {**session, "breakout": timeless(session.get("breakout", {}))}
        for session in config["sessions"]
    ]
    return {**config, "breakout": timeless(config["breakout"]), "sessions": sessions}


def drawn_past(number: int, cases: tuple[Case, ...]) -> tuple[Case, ...]:
    rng, first = random.Random(f"past {number}"), cases[0]
    interval_ns = first.interval_ns or MINUTE_NS
    return tuple(
        replace(
            first,
            day=day,
            rows=drawn_rows(rng, day, first.kind, interval_ns, first.symbols, absent=None),
        )
        for day in past_days(first.day, PAST)
    )


# Days

Days = tuple[tuple[TradingDay, ...], int]
"""And the length of a bar, ns."""


def plain_days(rng: random.Random, minutes: int, count: int) -> Days:
    opens = rng.choice((time(9), time(14, 30)))
    dates = [date(2024, 7, 1) + timedelta(days=n) for n in range(count)]
    return tuple(day_of("UTC", of, opens, (minutes,)) for of in dates), MINUTE_NS


def days_cut_short(rng: random.Random, minutes: int, count: int) -> Days:
    """An early close among others, or a late open."""
    days, interval_ns = plain_days(rng, minutes, count)
    cut, at = rng.randrange(count), (minutes // 2) * MINUTE_NS
    (whole,) = days[cut].segments
    half = Segment(whole.open_ns, whole.open_ns + at)
    if rng.random() < 0.3:
        half = Segment(whole.open_ns + at, whole.close_ns)
    short = replace(days[cut], segments=(half,), kind="early_close")
    return (*days[:cut], short, *days[cut + 1 :]), interval_ns


def days_of_two_segments(rng: random.Random, minutes: int, count: int) -> Days:
    dates = [date(2024, 3, 2) + timedelta(days=n) for n in range(count)]
    lengths = (max(3, minutes // 2), max(3, minutes - minutes // 2))
    pause = rng.randint(1, 17)
    return (
        tuple(day_of("Asia/Kolkata", of, time(9, 15), lengths, pause) for of in dates),
        MINUTE_NS,
    )


def days_across_a_clock_change(rng: random.Random, minutes: int, count: int) -> Days:
    tz, change = rng.choice(
        (
            ("America/New_York", date(2024, 3, 10)),
            ("America/New_York", date(2024, 11, 3)),
            ("Europe/London", date(2024, 10, 27)),
        )
    )
    opens = rng.choice((time(0, 50), time(9, 30)))  # some hours hold the change itself
    first = change - timedelta(days=rng.randrange(count))
    dates = [first + timedelta(days=n) for n in range(count)]
    return tuple(day_of(tz, of, opens, (minutes,)) for of in dates), MINUTE_NS


def days_without_a_night(rng: random.Random, minutes: int, count: int) -> Days:
    dates = [date(2024, 2, 28) + timedelta(days=n) for n in range(count)]
    interval_ns = rng.choice((30, 60, 120)) * MINUTE_NS
    return tuple(day_of("UTC", of, time(0), (24 * 60,)) for of in dates), interval_ns


def evenings(rng: random.Random, minutes: int, count: int) -> Days:
    """Each day opens on the evening before and closes after midnight; some trade by day too."""
    dates = [date(2024, 7, 1) + timedelta(days=n) for n in range(count)]
    opens = time(23, 60 - min(50, max(2, minutes // 2)))
    lengths = (minutes, 5) if rng.random() < 0.4 else (minutes,)
    return (
        tuple(
            replace(day_of("America/Chicago", of - timedelta(days=1), opens, lengths, 400), date=of)
            for of in dates
        ),
        MINUTE_NS,
    )


def with_products(
    rng: random.Random, days: tuple[TradingDay, ...], symbols: tuple[str, ...], interval_ns: int
) -> tuple[TradingDay, ...]:
    """The days, of which some symbols trade a part only: from one day on, as after a reform."""
    since = rng.choice((days[0].date, days[-1].date))
    fewer = tuple(sorted(rng.sample(symbols, rng.randint(1, len(symbols) - 1))))
    opens, closes = rng.choice(((0, 3), (0, 1), (2, 0), (1, 2), (0, 6)))
    return tuple(
        day if day.date < since else in_part(day, symbols, fewer, opens, closes, interval_ns)
        for day in days
    )


def in_part(
    day: TradingDay,
    symbols: tuple[str, ...],
    fewer: tuple[str, ...],
    opens: int,
    closes: int,
    interval_ns: int,
) -> TradingDay:
    starts = day.grid(interval_ns)[0].tolist()
    if len(starts) <= opens + closes + 1:
        return day
    begins, ends = starts[opens], [*starts, day.close_ns][len(starts) - closes]
    part = tuple(
        Segment(max(s.open_ns, begins), min(s.close_ns, ends))
        for s in day.segments
        if max(s.open_ns, begins) < min(s.close_ns, ends)
    )
    closing = (Auction("auction_close", ends, day.close_ns),) if closes > 1 else ()
    products = (
        ProductHours("whole", day.segments),
        ProductHours("part", part, fewer, auctions=closing),
    )
    if opens % 2:  # the run's own segment is the shorter one
        others = tuple(symbol for symbol in symbols if symbol not in fewer)
        products = (
            ProductHours("part", part, auctions=closing),
            ProductHours("whole", day.segments, others),
        )
    return replace(day, products=products)


def day_of(tz: str, of: date, opens: time, lengths: tuple[int, ...], pause: int = 0) -> TradingDay:
    """A day of segments of so many minutes each, with breaks between."""
    open_ns = local_instant(of, opens, tz)
    segments = []
    for length in lengths:
        segments.append(Segment(open_ns, open_ns + length * MINUTE_NS))
        open_ns = segments[-1].close_ns + pause * MINUTE_NS
    return TradingDay(of, tz, tuple(segments))


SHAPES: dict[str, Callable[[random.Random, int, int], Days]] = {
    "plain": plain_days,
    "cut short": days_cut_short,
    "two segments": days_of_two_segments,
    "clock change": days_across_a_clock_change,
    "24/7": days_without_a_night,
    "evening": evenings,
}


# Rows


def drawn_following(seed: str) -> dict[str, Any]:
    """Fields of `Rules`: what is reported after breakouts."""
    drawn = what_follows(seed)
    retest = drawn["retest"] if drawn["retest"] != "never" else {"within_bars": 0, "tolerance": 0}
    near = retest["tolerance"]
    return {
        "closed_beyond": drawn["closed_beyond"],
        "retest_bars": retest["within_bars"],
        "retest_tolerance": float(near.rstrip("%") if isinstance(near, str) else near),
        "retest_unit": "percent" if isinstance(near, str) else "price",
    }


def drawn_rows(
    rng: random.Random,
    day: TradingDay,
    kind: str,
    interval_ns: int,
    symbols: tuple[str, ...],
    absent: str | None,
) -> tuple[Row, ...]:
    """A day's rows in time order, with holes; prices are multiples of a tick, and meet."""
    rows: list[Row] = []
    ticks = rng.choice((2, 8, 20))
    drift = rng.choice((0.02, 0.1, 0.1, 0.5))
    holes = rng.choice((0.0, 0.1, 0.1, 0.4))
    for i, ts in enumerate(day.grid(interval_ns)[0].tolist()):
        for symbol in symbols:
            moved = round(rng.uniform(-ticks, ticks) * (1 + drift * i))
            price = round(100 + moved * TICK, 2)
            if symbol == absent or rng.random() < holes:
                continue
            if kind == "ticks":
                rows.append((symbol, ts + rng.randrange(MINUTE_NS), price, rng.random()))
            else:
                high = round(price + rng.randrange(3) * TICK, 2)
                low = round(price - rng.randrange(3) * TICK, 2)
                opened = rng.choice((low, price, high))
                rows.append((symbol, ts, opened, high, low, price, rng.random()))
    if rows and rng.random() < 0.3:
        spoil(rng, day, rows)
    return tuple(rows)


def spoil(rng: random.Random, day: TradingDay, rows: list[Row]) -> None:
    """Some rows are unusable, some come twice, some in another order, some outside the hours."""
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(rows))
        row = rows[at]
        match rng.choice(("price", "twice", "order", "outside")):
            case "price":
                rows.insert(at, (*row[:2], float("nan"), *row[3:]))
            case "twice":
                rows.insert(at, row)
            case "order":
                rows.insert(rng.randrange(len(rows)), rows.pop(at))
            case "outside" if len(day.segments) > 1:
                rows.insert(at, (row[0], day.segments[0].close_ns, *row[2:]))


def told_anew(rng: random.Random, row: Row) -> Row:
    """A bar with other values, as a vendor mends it."""
    assert len(row) == 7
    symbol, ts, open_, high, low, close, volume = row
    up, down = rng.randrange(6) * TICK, rng.randrange(6) * TICK
    close = round(close + rng.randrange(-8, 9) * TICK, 2)
    return (
        symbol,
        ts,
        open_,
        round(high + up, 2),
        round(low - down, 2),
        close,
        volume + rng.random(),
    )


def planned(case: Scenario, config: Config) -> Plan:
    """The run over a scenario's days; no calendar is asked."""
    made = settings(config, paced=case.paced)
    if case.windowless:
        made = replace(made, sessions=(), rules=())
    days = tuple(of_day.day for of_day in case.cases)
    with_rows = dict.fromkeys((of_day.day.date for of_day in (*case.past, *case.cases)), 0)
    trailing = trailing_settings(config, before_in(days), with_rows)
    functions = indicator_functions(trailing.specs)
    return Plan(
        days=days,
        symbols=case.symbols,
        not_trading={},
        open_ended=(False, False),
        settings=replace(
            made, indicators=tuple((spec, functions[spec.name]) for spec in trailing.specs)
        ),
        trailing=trailing,
        scans=scans_of(made.scans, {"drawn": drawn_scan}),
    )


def drawn_scan(view: ScanView) -> list[Found]:
    """Every other symbol, those that rose, and sometimes nothing but an error."""
    rose = np.nan_to_num(view.last - view.open) > 0
    if view.at_ns // MINUTE_NS % 7 == 3:
        raise ValueError("three of seven minutes")
    even = [n for n in range(len(view.symbols)) if rose[n] or n % 2 == 0]
    return [Found(view.symbols[n], float(len(view.bars) + n)) for n in even]
