"""Sinks that take a backtest's days in, and look at their rows."""

from __future__ import annotations

from openbell.adapters.sinks.files import DayResult
from openbell.errors import DataError, way_out
from openbell.runtime.results.unusable import Unusable


class Collected:
    """Keeps whole days in memory."""

    def __init__(self) -> None:
        self.days: list[DayResult] = []

    def write_day(self, day: DayResult) -> None:
        self.days.append(day)


class Strict:
    """Refuses days with rows that a careful eye should see first."""

    def write_day(self, day: DayResult) -> None:
        if day.bad:
            row = day.bad[0]
            raise DataError(
                f"{row.file}, row {row.row}: {row.symbol}: {row.reason}; {len(day.bad)} unusable "
                f"rows on {day.trading_date}: mend them, or leave out "
                f"{way_out('--strict', 'strict=True')} to go on without"
            )
        if doubled := int(day.quality.duplicates.sum()):
            who = day.symbols[int(day.quality.duplicates.argmax())]
            raise DataError(
                f"{day.trading_date}: {doubled} duplicate bars, {who} has some; remove them, or "
                f"leave out {way_out('--strict', 'strict=True')} to use the last of each"
            )


class Counted:
    """Notes why rows could not be used."""

    def __init__(self) -> None:
        self.unusable = Unusable()

    def write_day(self, day: DayResult) -> None:
        self.unusable.add(day.bad)
