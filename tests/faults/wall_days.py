"""Days of wall time drawn from a seed: what comes when, and what befalls the host and the feed.

Short ones with nights between, so that all of a day's course is gone through. Rows crowd about ends
of windows, on both sides of what they may be late; at times none come for long, or only old ones.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from typing import Literal, NamedTuple

from faults.fed_days import (
    UNWATCHED,
    FedDays,
    cases_of,
    configured,
    drawn_market,
    drawn_rules,
    drawn_windows,
    with_drawn_conditions,
)
from faults.markets import drawn_rows, told_anew
from reference import Row, Window
from strategies import wall_time

from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay

FARTHEST_BACK = {"bars": 35.0, "ticks": 600.0}
"""How far the host's clock is set back, seconds: bars that come at their starts stop a run."""


class Coming(NamedTuple):
    """A row, and when it comes: seconds since 1970."""

    at: float
    row: Row


What = Literal["jump", "suspend", "kill", "pause", "reconnect", "gap", "halt", "hours", "record"]


class Act(NamedTuple):
    """What befalls a run at a moment, seconds since 1970."""

    at: float
    what: What
    how: float = 0.0
    """Seconds: by how much a clock is set, how long something lasts."""


@dataclass(frozen=True)
class WallDays(FedDays):
    """Days by the host's clock."""

    items: tuple[Coming, ...] = ()
    acts: tuple[Act, ...] = ()
    begins: float = 0.0
    """When the first process starts."""
    skew_ns: int = 0
    timeout_ns: int = 0
    auto_roll: bool = True
    other_hours: tuple[TradingDay, ...] = ()
    """What the calendar says from the act on that changes it."""


@cache
def wall_days(number: int) -> WallDays:
    rng = random.Random(f"wall days {number}")
    market = drawn_market(rng, ("bars", "ticks", "ticks"))
    days, interval_ns, kind, symbols = market
    rules = drawn_rules(rng, f"wall days {number}")
    companions = {}
    if len(symbols) > 1 and rng.random() < 0.5:
        companions = dict([rng.sample(symbols, 2)])
    windows = drawn_windows(rng, days[0], 7, ("both", "both", "left"))
    lateness_ns = rng.choice((0, 1, 2, 5)) * SECOND_NS
    skew_ns = rng.choice((1, 5)) * SECOND_NS
    timeout_ns = rng.choice((40, 90, 150, 300)) * SECOND_NS
    auto_roll = rng.random() < 0.8
    ends = ends_of(days[0], windows)
    items = [
        item
        for n, day in enumerate(days)
        for item in coming(
            rng,
            day,
            kind,
            interval_ns,
            symbols,
            [end + (day.open_ns - days[0].open_ns) for end in ends],
            lateness_ns,
            timeout_ns,
            is_last=n == len(days) - 1,
        )
    ]
    again = random.Random(f"revised wall days {number}")
    amends = kind == "bars" and again.random() < 0.6
    if amends:
        items += [
            Coming(item.at + again.random() ** 2 * 300, told_anew(again, item.row))
            for item in items
            if item.row[0] in symbols and again.random() < 0.2
        ]
    time = {
        "clock": {
            "time": "wall",
            "lateness": f"{lateness_ns // SECOND_NS}s",
            "skew_max": f"{skew_ns // SECOND_NS}s",
        },
        "day": {
            "timeout_seconds": timeout_ns // SECOND_NS,
            "auto_roll": auto_roll,
            "post_market_roll_delay": rng.choice((1, 30)),
        },
        "prefetch": {"timeout_seconds": rng.choice((5, 30))},
    }
    config = configured(market, windows, rules, companions, time)
    config = with_drawn_conditions(config, market, f"wall days {number}")
    if amends:
        config["feed"]["revisions"] = "amend"
    cases = cases_of(market, windows, rules, companions, config)
    acts = drawn_acts(rng, days, ends, kind)
    return WallDays(
        number,
        "wall",
        cases,
        config,
        windowless=False,
        items=tuple(sorted(items, key=lambda item: item.at)),
        acts=acts,
        begins=days[0].open_ns / 1e9 + rng.choice((-600, -600, -1, 0, 45, 150)),
        lateness_ns=lateness_ns,
        amends=amends,
        skew_ns=skew_ns,
        timeout_ns=timeout_ns,
        auto_roll=auto_roll,
        other_hours=other_hours(rng, days) if any(a.what == "hours" for a in acts) else days,
    )


def ends_of(day: TradingDay, windows: Sequence[Window]) -> list[int]:
    """Where something is crossed that rows wait for, about."""
    minutes = {wall_time(day, m): m for m in range(day.open_ns, day.close_ns + 1, MINUTE_NS)}
    last = [minutes[w.end] + (MINUTE_NS if w.closed == "both" else 0) for w in windows]
    return [*last, *(s.close_ns for s in day.segments)]


def coming(
    rng: random.Random,
    day: TradingDay,
    kind: str,
    interval_ns: int,
    symbols: tuple[str, ...],
    ends: Sequence[int],
    lateness_ns: int,
    timeout_ns: int,
    *,
    is_last: bool,
) -> list[Coming]:
    """What comes of a day; nearly all of it in time, or about so."""
    if rng.random() < 0.08:
        return []
    rows = list(drawn_rows(rng, day, kind, interval_ns, symbols, absent=None))
    if kind == "ticks" and rows:
        for _ in range(rng.randrange(25)):
            ts = rng.choice(ends) + round(rng.uniform(-3, 3) * SECOND_NS)
            row = rng.choice(rows)
            rows.append((row[0], ts, *row[2:]))
    silent = rng.random() < 0.6
    quiet_ns = 0
    if silent:
        quiet_ns = rng.randrange(day.open_ns, day.close_ns)
        over_ns = quiet_ns + round(timeout_ns * rng.uniform(1.2, 4))
        kept = [row for row in rows if not quiet_ns <= row[1] + interval_ns < over_ns]
        old = [row for row in kept if row[1] < quiet_ns]
        rows = kept
    found = []
    far = rng.choice((0.0, 0.0, 0.1, 0.3))
    ends_s = 0.0 if kind == "ticks" else interval_ns / 1e9
    for row in rows:
        due = row[1] / 1e9 + ends_s
        late = rng.random() ** 3 * 0.5
        if rng.random() < far:
            late = rng.choice((-0.7, lateness_ns / 1e9 + rng.uniform(-1, 1), rng.uniform(0, 90)))
        found.append(Coming(due + late, row))
        if rng.random() < 0.02:
            found.append(Coming(due + late + rng.uniform(0, 60), (UNWATCHED, *row[1:])))
        if rng.random() < 0.01:  # when the day is over, or the next one under way
            found.append(Coming(due + rng.choice((3600.0, 86400.0)), row))
        if rng.random() < 0.01:
            found.append(Coming(due - rng.uniform(2, 400), row))
    if silent and old:
        for _ in range(rng.randrange(4)):  # what is not newer ends no silence
            at = quiet_ns / 1e9 + rng.uniform(0.1, 2) * timeout_ns / 1e9
            found.append(Coming(at, rng.choice(old)))
    return found


def drawn_acts(
    rng: random.Random, days: Sequence[TradingDay], ends: Sequence[int], kind: str
) -> tuple[Act, ...]:
    found: list[Act] = []
    for _ in range(rng.choice((0, 1, 2, 3, 5, 8))):
        day = rng.choice(days)
        length = (day.close_ns - day.open_ns) / 1e9
        opens = day.open_ns / 1e9
        at = opens + rng.uniform(-60, length + 120)
        if rng.random() < 0.4:
            at = opens + (rng.choice(ends) - days[0].open_ns) / 1e9 + rng.uniform(-4, 4)
        long = rng.choice((0.5, 3, 8, 20, 90, 400, length, 90_000))
        match rng.choice(("jump", "suspend", "kill", "kill", "pause", "door", "record")):
            case "jump":
                back = -rng.choice((2.0, 8.0, 25.0, FARTHEST_BACK[kind]))
                by = rng.choice((back, 3.0, 20.0, 200.0, 4000.0))
                found.append(Act(at, "jump", by))
                if by < 0 or rng.random() < 0.5:
                    found.append(Act(at + rng.uniform(1, 300), "jump", -by))
            case "suspend":
                found.append(Act(at, "suspend", long))
            case "kill":
                found.append(Act(at, "kill", rng.choice((0.001, 0.001, long))))
            case "pause":
                found.append(Act(at, "pause", min(long, 400)))
            case "door":
                how = rng.uniform(1, 60)
                found.append(Act(at, rng.choice(("reconnect", "gap", "halt")), how))
            case "record":
                found.append(Act(at, "record"))
    if len(days) > 1 and rng.random() < 0.4:
        before = rng.choice(days[:-1])  # within it, before it rolls, or when the next one waits
        at = before.close_ns / 1e9 + rng.choice((-300, -60, 30, 600, 4000, 80_000))
        found.append(Act(at, "hours"))
    return tuple(sorted(found))


def other_hours(rng: random.Random, days: Sequence[TradingDay]) -> tuple[TradingDay, ...]:
    """Days that close earlier, open later, or are left out; the first stays."""
    changed = [days[0]]
    for day in days[1:]:
        (first, *more) = day.segments
        middle = first.open_ns + (first.close_ns - first.open_ns) // MINUTE_NS // 2 * MINUTE_NS
        how = rng.choice(("early", "early", "late", "none", "same"))
        if how == "early":
            changed.append(replace(day, segments=(Segment(first.open_ns, middle),)))
        elif how == "late":
            changed.append(replace(day, segments=(Segment(middle, first.close_ns), *more)))
        elif how == "same":
            changed.append(day)
    return tuple(changed)


def following(days: Sequence[TradingDay], after: date) -> TradingDay | None:
    return next((day for day in days if day.date > after), None)
