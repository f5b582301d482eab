"""What commands say, in words: lines of JSON, numbers with their nouns, hours, complaints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import datetime, time
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from openbell.hidden import conceal

if TYPE_CHECKING:
    from openbell.market.days import TradingDay

LISTED = 10
"""Of what may go on and on, so many are shown."""


def one_line(value: Mapping[str, Any]) -> str:
    """A JSON object on one line."""
    import orjson

    return orjson.dumps(value).decode()


def counted(number: int, what: str) -> str:
    """A number with its noun: 1 day, 2 days."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def duration(seconds: float | None) -> str:
    """As a number that can be read: 1.2 s, 34.5 ms, 6 µs."""
    if seconds is None:
        return ""
    if seconds >= 1:
        return f"{seconds:,.1f} s"
    return f"{1e3 * seconds:.1f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.0f} µs"


def hours_of(day: TradingDay, open_ns: int, close_ns: int) -> str:
    """A span of time in the exchange's zone: 09:30–16:00."""
    from openbell.market.days import SECOND_NS

    zone = ZoneInfo(day.tz)
    opens, closes = (datetime.fromtimestamp(ns // SECOND_NS, zone) for ns in (open_ns, close_ns))
    before, after = ("" if at.date() == day.date else f"{at:%a} " for at in (opens, closes))
    midnight = closes.date() > day.date and closes.time() == time()
    end = "24:00" if midnight and not before else f"{after}{closes:%H:%M}"
    return f"{before}{opens:%H:%M}–{end}"


def listed(days: list[str]) -> str:
    """The first of them, and the last."""
    return ", ".join(days[:8]) + (f", … {days[-1]}" if len(days) > 8 else "")


complaints: list[Callable[[str], None]] = []
"""Who says what is no result, the last first; without any it is a line of text on stderr."""


def complain(text: str) -> None:
    """Say something that is no result."""
    text = conceal(text)
    if complaints:
        complaints[-1](text)
        return
    for line in text.splitlines():
        print(f"openbell: {line}", file=sys.stderr)
