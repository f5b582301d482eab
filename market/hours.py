"""Hours of a trading day as they are written down: "09:30-16:00", "18:00-17:00", breaks.

Times are minutes after the midnight with which the day's date begins: negative on the evening
before, above 1440 after the next midnight. Nothing here knows a time zone or a calendar.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal, NamedTuple

DAY_MINUTES = 24 * 60
LATEST_MINUTES = 36 * 60
"""How late a close may be written: noon of the next date."""


class Span(NamedTuple):
    """Open and close, in minutes after the date's midnight."""

    opens: int
    closes: int

    def __str__(self) -> str:
        late = self.closes if self.closes > DAY_MINUTES else self.closes % DAY_MINUTES
        return f"{_clock(self.opens % DAY_MINUTES)}-{_clock(late)}"


Eve = Literal["date", "trading_day"]

_SPAN = re.compile(r"\s*(\d{2}):(\d{2})\s*[-–]\s*(\d{2}):(\d{2})\s*")


@dataclass(frozen=True, slots=True)
class RegularHours:
    """The hours that every day has, from a date on, unless it has hours of its own."""

    span: Span
    """The day's open, before its date's midnight where it lies on the evening before; its close."""
    breaks: tuple[Span, ...] = ()
    """Without trading, inside the span, ascending."""
    since: date | None = None
    """First date; None: all before the next entry's."""
    evening: Eve = "date"
    """What an evening before is: that of the `date` before (Sunday's is Monday's), or that of the
    `trading_day` before (Friday's is Monday's, and there is none on the eve of a holiday)."""
    product: str | None = None
    """Whose hours, where products have different ones; None: of all that have none of their own."""

    @property
    def spans(self) -> tuple[Span, ...]:
        """The uninterrupted spans of trading, ascending."""
        edges = [self.span[0], *(edge for pause in self.breaks for edge in pause), self.span[1]]
        return tuple(map(Span, edges[::2], edges[1::2]))


def parse_span(text: str) -> Span:
    """A span as it is written, "09:30-16:00".

    A close of 00:00 is the midnight after. A close that is not after its open belongs to a day that
    opens on the evening before ("18:00-17:00"); one of the next date counts on ("09:00-26:30").

    Raises
    ------
    ValueError
        If the text is something else.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise ValueError("not a span")
    opens, closes = int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4])
    if int(match[2]) > 59 or int(match[4]) > 59 or opens >= DAY_MINUTES or closes > LATEST_MINUTES:
        raise ValueError("not a time of day")
    closes = closes or DAY_MINUTES
    opens = opens if opens < closes else opens - DAY_MINUTES
    if closes - opens > DAY_MINUTES:
        raise ValueError("longer than a day")
    return Span(opens, closes)


def parse_breaks(span: Span, texts: Iterable[str]) -> tuple[Span, ...]:
    """Breaks as they are written, put behind the open of the span they interrupt.

    Raises
    ------
    ValueError
        If one is no span, or they are not inside, ascending and apart.
    """
    at = span[0]
    breaks: list[Span] = []
    for text in texts:
        starts, ends = parse_span(text)
        length = ends - starts
        starts = at + (starts - at) % DAY_MINUTES
        if starts == at or starts + length >= span[1]:
            raise ValueError("outside the hours")
        at = starts + length
        breaks.append(Span(starts, at))
    return tuple(breaks)


def written_break(pause: Span) -> str:
    """A break as `parse_breaks` reads it."""
    return "-".join(_clock(minutes % DAY_MINUTES) for minutes in pause)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
