"""Configurations that are legal and odd, drawn from a seed.

The simulation runs them through faults, and what checks a configuration is held against what runs
it. What a window or a buffer can be like is written down here once.
"""

from __future__ import annotations

import random
from typing import Any

from pydantic import ValidationError
from strategies import wall_time

from openbell.market.days import MINUTE_NS, TradingDay
from openbell.runtime.config.model import SessionConfig

TICK = 0.05
NAMES = (  # on purpose not sorted
    *("Opening", "Later", "Lunch Break", "the close", "Mañana", "1st", "A/B", "Closing Auction"),
    *("Überhang", "x", "Opening 2", "last"),
)
KINDS = (
    *("short", "short", "short", "minute", "whole day", "across the break", "as before"),
    *("relative", "outside", "to the close", "at random"),
)


def odd_sessions(
    rng: random.Random, day: TradingDay, count: int, slot_minutes: int = 1
) -> list[dict[str, Any]]:
    """Windows about the hours of a day: short, long, one in another, cut by breaks, outside.

    Mostly early and short, so that something is left of the day to break out in.

    Parameters
    ----------
    count : int
        How many, 12 at most.
    slot_minutes : int
        The length of a bar: that of short windows is some of them.
    """
    found: list[dict[str, Any]] = []
    for name in NAMES[:count]:
        session = {"name": name, **_window(rng, day, found, slot_minutes)}
        if rng.random() < 0.3:
            session["breakout"] = odd_rules(rng)
        found.append(session)
    return found


def _window(
    rng: random.Random, day: TradingDay, before: list[dict[str, Any]], slot: int
) -> dict[str, Any]:
    length = (day.close_ns - day.open_ns) // MINUTE_NS
    kind = rng.choice(KINDS)
    closed = rng.choice(("both", "left"))
    early, short = slot * rng.randrange(max(1, length // slot // 3)), slot * rng.randint(1, 5)
    first, last = early, early + short - 1
    match kind:
        case "minute":
            last, closed = first, "both"
        case "whole day":
            if rng.random() < 0.5:
                return {"start": "open", "end": "close", "closed": "left"}
            first, last = 0, length - 1
        case "across the break":
            middle = (day.segments[0].close_ns - day.open_ns) // MINUTE_NS
            first, last = middle - rng.randint(1, 3), middle + rng.randint(0, 12)
        case "as before" if before:
            chosen = rng.choice(before)
            return {key: chosen[key] for key in ("start", "end", "closed")}
        case "relative":
            return _relative(rng, length)
        case "outside":
            first, last = length + 1, length + 5
            if rng.random() < 0.5:
                first, last = -9, -3
        case "to the close":
            first, last = max(0, length - short), length
        case "at random":
            first, last = rng.randint(-20, length + 20), rng.randint(-20, length + 20)
    start = wall_time(day, day.open_ns + first * MINUTE_NS)
    end = wall_time(day, day.open_ns + last * MINUTE_NS)
    window = {"start": start, "end": end, "closed": closed}
    return window if _is_legal(window) else _relative(rng, length)


def _relative(rng: random.Random, length: int) -> dict[str, Any]:
    first, last = rng.randrange(max(1, length // 3)), rng.randint(0, max(0, length // 3 - 1))
    start = rng.choice((f"open+{first}m", "open", f"open+{first * 60}s"))
    end = rng.choice((f"open+{first + last}m", f"close-{last + 1}m", "close-1m"))
    return {"start": start, "end": end, "closed": "both"}


def _is_legal(window: dict[str, Any]) -> bool:
    try:
        SessionConfig.model_validate({"name": "tried", **window})
    except ValidationError:
        return False
    return True


def odd_rules(rng: random.Random) -> dict[str, Any]:
    """What counts as a breakout: on a grid of prices, so that prices meet thresholds exactly."""
    drawn = {
        "confirm": rng.choice(("close", "touch")),
        "check": rng.choice(("continuous", "continuous", "once")),
        "sides": rng.choice(("both", "both", "high", "low")),
        "rearm": rng.choice(("never", "inside", {"inside_bars": 2}, {"inside_bars": 1, "max": 1})),
        "buffer": rng.choice((0, 0, 2 * TICK, "1 ticks", "3 ticks", "0.1%")),
    }
    return {**drawn, **what_follows(f"{drawn}")}


def what_follows(seed: str) -> dict[str, Any]:
    """What is reported after breakouts; drawn apart, so that seeds go on to draw what they did."""
    rng = random.Random(f"what follows {seed}")
    bars = rng.choice((0, 0, 1, 3, 8))
    return {
        "closed_beyond": rng.random() < 0.6,
        "retest": {"within_bars": bars, "tolerance": rng.choice((0, TICK, "0.1%"))}
        if bars
        else "never",
    }


def odd_scans(seed: str) -> list[dict[str, Any]]:
    """Scans that narrow a day and such that only tell, of a type `drawn`; drawn apart, as above."""
    rng = random.Random(f"scans {seed}")
    times = ("pre", "open+7m", "every 20m", "every 45m", "close-3m", "12:00", "23:59")
    return [
        {
            "name": f"scan {number}",
            "type": "drawn",
            "at": sorted(set(rng.choices(times, k=rng.randint(1, 3)))),
            "then": rng.choice(("report", "follow")),
        }
        for number in range(rng.choice((0, 0, 1, 2)))
    ]


def odd_configuration(
    rng: random.Random,
    day: TradingDay,
    symbols: tuple[str, ...],
    windows: int,
    slot_minutes: int = 1,
) -> dict[str, Any]:
    """All keys that determine answers, but for `exchange` and `data`, and some that don't."""
    companions: dict[str, str] = {}
    asked: str | list[str] = "all"
    if len(symbols) > 1:
        pairs = rng.choice((0, 1, len(symbols) - 1))
        companions = {symbols[i]: symbols[i + 1] for i in range(pairs)}
        if companions and rng.random() < 0.3:
            asked = [symbol for symbol in symbols if symbol != symbols[pairs]]
    return {
        "symbols": asked,
        "companions": companions,
        "sessions": odd_sessions(rng, day, windows, slot_minutes),
        "breakout": {**odd_rules(rng), "tick_size": TICK},
        "clock": {"step": rng.choice(("boundary", "bar"))},
        "upkeep": {
            "enabled": rng.random() < 0.85,
            "derived_intervals": rng.choice(([5, 15], [5], [60], [3, 7, 30], [])),
        },
        "history": {"enable_quality": rng.random() < 0.9},
        "prefetch": {"days": rng.randrange(3)},
    }
