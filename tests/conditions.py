"""What a breakout has to pass besides being one, by brute force: a part of the plain reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import time
from decimal import Decimal
from typing import Literal, NamedTuple, Protocol

from openbell.market.days import MINUTE_NS, TradingDay

Bound = tuple[Literal["price", "percent", "times"], float]
"""`times`: of the value that is known of each symbol."""


class Conditions(NamedTuple):
    """The rules of a configuration that filter; by default none does."""

    volume_times: float | None = None
    volume_of: Literal["minute", "day"] = "minute"
    volume_companion: bool = False
    min_range: Bound | None = None
    max_range: Bound | None = None
    valid_until: str | int | None = None
    """A wall time, or ns after the session."""
    on_incomplete: Literal["flag", "block"] = "flag"
    direction: Literal["any", "first_bar"] = "any"

    @property
    def names(self) -> list[str]:
        asked = {
            "volume": self.volume_times is not None,
            "min_range": self.min_range is not None,
            "max_range": self.max_range is not None,
            "valid_until": self.valid_until is not None,
            "on_incomplete": self.on_incomplete == "block",
            "direction": self.direction == "first_bar",
        }
        return [name for name, is_asked in asked.items() if is_asked]


class Known(NamedTuple):
    """What is known of the days before."""

    averages: Mapping[tuple[str, int], float] = {}
    """By symbol and start of the minute (of the bar, if that is longer)."""
    daily: Mapping[str, float] = {}


NOTHING_KNOWN = Known()


class Row(Protocol):
    @property
    def ts(self) -> int: ...
    @property
    def open(self) -> float: ...
    @property
    def close(self) -> float: ...
    @property
    def volume(self) -> float: ...


SAME = 2.0**-49


def slot_of(day: TradingDay, interval_ns: int | None, ts: int) -> int:
    """Start of the minute that a time lies in, or of the bar, if bars are longer."""
    length = max(interval_ns or MINUTE_NS, MINUTE_NS)
    for segment in day.segments:
        if segment.open_ns <= ts < segment.close_ns:
            return ts - (ts - segment.open_ns) % length
    raise AssertionError("rows in use lie inside the hours")


def admitted(
    conditions: Conditions,
    day: TradingDay,
    interval_ns: int | None,
    high: float | None,
    low: float | None,
    complete: bool,
    inside: Sequence[Row],
    value: float | None,
) -> dict[str, bool]:
    """Which sides of levels may break; `inside` are the session's rows in time order."""
    if high is None or low is None:
        return {"HIGH_BREAK": True, "LOW_BREAK": True}
    fits = complete or conditions.on_incomplete == "flag"
    width = Decimal(f"{high:.15g}") - Decimal(f"{low:.15g}")
    for bound, sign in ((conditions.min_range, 1), (conditions.max_range, -1)):
        if bound is None:
            continue
        unit, amount = bound
        if unit == "times" and value is None:
            fits = False
            continue
        if unit == "times" and value is not None:
            limit = Decimal(amount * value)
        elif unit == "percent":
            middle = abs(Decimal(f"{high:.15g}") + Decimal(f"{low:.15g}")) / 2
            limit = middle * Decimal(repr(amount)) / 100
        else:
            limit = Decimal(repr(amount))
        fits &= sign * (width - limit) >= -limit * Decimal(SAME)
    up = down = True
    if conditions.direction == "first_bar":
        first = slot_of(day, interval_ns, inside[0].ts)
        bar = [row for row in inside if slot_of(day, interval_ns, row.ts) == first]
        up, down = bar[-1].close > bar[0].open, bar[-1].close < bar[0].open
    return {"HIGH_BREAK": fits and up, "LOW_BREAK": fits and down}


def until_ns(conditions: Conditions, day: TradingDay, end_ns: int) -> int | None:
    match conditions.valid_until:
        case str() as wall:
            return day.instant(time.fromisoformat(wall))
        case int() as after_ns:
            return end_ns + after_ns
        case _:
            return None


def has_volume(
    conditions: Conditions,
    day: TradingDay,
    interval_ns: int | None,
    ts: int,
    came: Sequence[Row],
    averages: Mapping[tuple[str, int], float],
    symbol: str,
) -> bool:
    """Whether enough had traded in the minute of a time, of the symbol whose rows are given."""
    assert conditions.volume_times is not None
    sums: dict[int, float] = {}
    for row in came:
        slot = slot_of(day, interval_ns, row.ts)
        sums[slot] = sums.get(slot, 0.0) + row.volume
    slot = slot_of(day, interval_ns, ts)
    if slot not in sums:
        return False
    if conditions.volume_of == "minute":
        usual = averages.get((symbol, slot))
    else:
        before = [sums[of] for of in sorted(sums) if of < slot]
        total = 0.0
        for volume in before:
            total += volume
        usual = total / len(before) if before else None
    if usual is None or usual <= 0:
        return False
    needed = conditions.volume_times * usual
    return sums[slot] >= needed - needed * SAME
