"""Rules that filter breakouts, drawn for a scenario, and the days before that some of them look at.

Each is drawn from a stream of its own, so that seeds go on to draw what they did. Prices lie on a
grid of ticks, so that widths meet their bounds exactly.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

from odd_configurations import TICK
from strategies import wall_time

from openbell.market.days import DAY_NS, MINUTE_NS, Segment, TradingDay

PAST = 3
"""So many days before the first one have rows."""


def drawn_conditions(
    seed: str,
    day: TradingDay,
    *,
    companions: bool,
    history: bool = True,
    relative: bool = True,
) -> dict[str, Any]:
    """Some rules, as `breakout` has them in a configuration; most let something pass.

    Parameters
    ----------
    companions : bool
        Whether a symbol has one, whose volume may count.
    history : bool
        Whether rules may look at the days before.
    relative : bool
        Whether times may be relative to the close.
    """
    rng = random.Random(f"conditions {seed}")
    found: dict[str, Any] = {}
    if rng.random() < 0.3:
        found["volume"] = drawn_volume(rng, companions=companions, history=history)
    if rng.random() < 0.2:
        found["min_range"] = rng.choice((2 * TICK, 8 * TICK, "0.2%", times_atr(history, 0.2)))
    if rng.random() < 0.2:
        found["max_range"] = rng.choice((30 * TICK, 60 * TICK, "2%", times_atr(history, 1.5)))
    if rng.random() < 0.3:
        found["valid_until"] = drawn_end(rng, day, relative=relative)
    if rng.random() < 0.2:
        found["on_incomplete"] = rng.choice(("flag", "block"))
    if rng.random() < 0.15:
        found["direction"] = rng.choice(("any", "first_bar"))
    return found


def drawn_volume(rng: random.Random, *, companions: bool, history: bool) -> dict[str, Any]:
    whose = rng.choice(("own", "companion")) if companions else "own"
    times = rng.choice((0.2, 0.5, 0.9))
    if not history or rng.random() < 0.5:
        return {"times": times, "of": "day", "symbol": whose}
    return {"times": times, "of": "minute", "symbol": whose, "period": rng.choice(("1d", "2d"))}


def times_atr(history: bool, times: float) -> Any:
    return {"times": times, "of": "atr"} if history else f"{times}%"


def drawn_end(rng: random.Random, day: TradingDay, *, relative: bool) -> str:
    """A time of the day, or so long after the session."""
    minutes = (day.close_ns - day.open_ns) // MINUTE_NS
    after = rng.randint(1, minutes)
    at = wall_time(day, day.open_ns + rng.randint(minutes // 2, minutes) * MINUTE_NS)
    to_the_close = f"close-{minutes // 4}m" if relative else at
    return rng.choice((f"{after}m", f"{after * 60 + 30}s", to_the_close, at))


HISTORY: Mapping[str, Any] = {
    "data": [{"trailing_days": 2}],
    "indicators": {"atr": {"type": "average_true_range", "period": "1d"}},
}
"""What such rules look at, as a configuration has it."""


# The days before


def past_days(first: TradingDay, count: int) -> tuple[TradingDay, ...]:
    """So many regular days before one, of its hours, oldest first."""
    return tuple(
        replace(
            first,
            date=first.date - timedelta(days=n),
            segments=tuple(
                Segment(s.open_ns - n * DAY_NS, s.close_ns - n * DAY_NS) for s in first.segments
            ),
            kind="regular",
            products=(),
        )
        for n in range(count, 0, -1)
    )


def before_in(days: Sequence[TradingDay]) -> Callable[[date, int], tuple[TradingDay, ...]]:
    """What a calendar says that begins long before these days."""

    def before(day: date, count: int) -> tuple[TradingDay, ...]:
        known = [of for of in days if of.date < day]
        return (*past_days(days[0], max(0, count - len(known))), *known)[-count:]

    return before
