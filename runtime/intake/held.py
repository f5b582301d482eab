"""Which of the rows that a source has belong to a trading day."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time

from openbell.adapters.sources import Source
from openbell.market.auctions import counts
from openbell.market.days import (
    ONE_DAY,
    Segment,
    TradingDay,
    dates_between,
    local_instant,
)


@dataclass(frozen=True)
class Held:
    """Which days of a source have rows that a run would use."""

    source: Source
    dates: Mapping[date, int]
    """Rows per date of `tz`."""
    symbols: tuple[str, ...]
    tz: str

    def rows(self, start_ns: int, end_ns: int) -> int:
        """How many there are between two instants; whole dates are counted without reading."""
        return sum(
            self._of_date(d, start_ns, end_ns) for d in dates_between(start_ns, end_ns, self.tz)
        )

    def on_no_day(
        self, spans: Sequence[tuple[int, int]], start: date | None, end: date | None
    ) -> dict[date, int]:
        """Rows that no trading day owns, per date from `start` to `end`.

        Parameters
        ----------
        spans : sequence
            From when until when (ns UTC) rows belong to a trading day, ascending.
        """
        ends = [until for _, until in spans]
        found: dict[date, int] = {}
        for d in self.dates:
            if (start is not None and d < start) or (end is not None and d > end):
                continue
            at, midnight = self._bounds(d)
            rows = 0
            for first, until in spans[bisect_right(ends, at) :]:
                if first >= midnight:
                    break
                rows += self._of_date(d, at, first) if at < first else 0
                at = until
            rows += self._of_date(d, at, midnight) if at < midnight else 0
            if rows:
                found[d] = rows
        return found

    def _of_date(self, d: date, start_ns: int, end_ns: int) -> int:
        """Rows of a date between two instants."""
        if d not in self.dates:
            return 0
        first, until = self._bounds(d)
        if start_ns <= first and until <= end_ns and self.symbols == self.source.info().symbols:
            return self.dates[d]
        start, end = max(first, start_ns), min(until, end_ns)
        return len(self.source.read(start, end, self.symbols))

    def _bounds(self, d: date) -> tuple[int, int]:
        return local_instant(d, time(), self.tz), local_instant(d + ONE_DAY, time(), self.tz)

    def has_row(self, day: TradingDay) -> bool:
        if self.dates.keys().isdisjoint(day.local_dates):
            return False
        return any(self._has_row(day, segment) for segment in day.segments)

    def _has_row(self, day: TradingDay, segment: Segment) -> bool:
        raw = self.source.read(segment.open_ns, segment.close_ns, self.symbols)
        return bool(counts(day, raw.symbols, raw.code, raw.ts).any())
