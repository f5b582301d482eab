"""Wall-clock times to instants and back, over whole columns."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from openbell.market.days import DAY_NS, MINUTE_NS, SECOND_NS, Nanoseconds, local_instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = ((10**11, SECOND_NS), (10**14, 10**6), (10**17, 10**3))


class NonexistentTimeError(ValueError):
    """A wall-clock time that a clock change skips; `position` is the first row that has one."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def epoch_unit_ns(largest: int) -> int:
    """Length in ns of the unit that a column of epoch counts is in.

    Told by the largest magnitude in it: below 1e11 seconds, below 1e14 milliseconds, below 1e17
    microseconds, else nanoseconds. That holds for instants between March 1973 and the year 5138.
    """
    return next((unit for limit, unit in _UNITS if largest < limit), 1)


_FIRST_S, _LAST_S = 631_152_000, 4_102_444_800
"""1990 to 2100."""


def epochs_by_size(values: NDArray[Any]) -> Nanoseconds | None:
    """Instants of counts in different units, each of which is plain; None where they aren't that.

    Years 1990 to 2100 have other magnitudes in s, ms, µs and ns, so that a count tells its unit. A
    vendor that goes over to a finer one leaves both in a file that is put together.
    """
    if epoch_unit_ns(int(values.min())) == epoch_unit_ns(int(values.max())):
        return None
    result = np.zeros(len(values), np.int64)
    known = np.zeros(len(values), np.bool_)
    for unit in (SECOND_NS, 10**6, 10**3, 1):
        scale = SECOND_NS // unit
        those = (values >= _FIRST_S * scale) & (values < _LAST_S * scale)
        result[those] = values[those].astype(np.int64) * unit
        known |= those
    return result if known.all() else None


def spreadsheet_times(values: NDArray[Any]) -> Nanoseconds | None:
    """Wall times (ns) of a spreadsheet's day numbers, 45474.396; None: they aren't.

    They are days since 1899-12-30, of 1990 to 2100, with the time of day as their fraction, which
    is rounded to a millisecond. As epoch counts they would lie on the first day of 1970.
    """
    if values.dtype.kind != "f" or not ((values >= 32_874) & (values < 73_051)).all():
        return None
    milliseconds: Nanoseconds = np.rint((values - 25_569) * 86_400_000).astype(np.int64)
    return milliseconds * 10**6


def compact_times(values: NDArray[Any]) -> Nanoseconds | None:
    """Wall times (ns) of dates written as numbers, 20240701 or 20240701093000; None: they aren't.

    They are where every value is a date of 1900 to 2100 as year, month, day, hour and so on. As
    epoch counts such numbers would lie in 1970, in 1976, or after 2600.
    """
    if not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        return None
    digits = len(str(int(values.max())))
    if digits not in (8, 10, 12, 14, 17) or len(str(int(values.min()))) != digits:
        return None
    left = values.astype(np.int64)
    fraction = np.zeros(len(left), np.int64)
    if digits == 17:
        left, fraction = left // 1000, left % 1000 * 10**6
        digits = 14
    clock = np.zeros(len(left), np.int64)
    for unit_s, limit in ((1, 60), (60, 60), (3600, 24))[(14 - digits) // 2 :]:
        part = left % 100
        if (part >= limit).any():
            return None
        clock += part * unit_s
        left = left // 100
        digits -= 2
    year, month, day = left // 10_000, left // 100 % 100, left % 100
    if not ((year >= 1900) & (year <= 2100) & (month >= 1) & (month <= 12) & (day >= 1)).all():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    first = months.astype("datetime64[D]").astype(np.int64)
    if (day > (months + 1).astype("datetime64[D]").astype(np.int64) - first).any():
        return None
    return (first + day - 1) * DAY_NS + clock * SECOND_NS + fraction


def instants(wall: Nanoseconds, tz: str) -> Nanoseconds:
    """Instants (ns UTC) of wall-clock times (ns since 1970-01-01T00:00 on that wall).

    A time that a clock change repeats is its first occurrence.

    Raises
    ------
    NonexistentTimeError
        If a clock change skips one of the times.
    """
    if tz == "UTC" or not wall.size:
        return wall
    days = wall // DAY_NS
    distinct = _distinct(days)
    dates = [_EPOCH.date() + timedelta(days=int(number)) for number in distinct]
    begins = np.array([local_instant(day, time(), tz) for day in dates])
    ends = np.array([local_instant(day + timedelta(days=1), time(), tz) for day in dates])
    which = np.searchsorted(distinct, days)
    result: Nanoseconds = wall - (distinct * DAY_NS - begins)[which]
    changing = (ends - begins != DAY_NS)[which]
    if changing.any():
        rows = np.flatnonzero(changing)
        result[rows] = _by_minute(wall[rows], rows, tz)
    return result


def _by_minute(wall: Nanoseconds, rows: NDArray[np.int64], tz: str) -> Nanoseconds:
    """Instants of wall-clock times on days whose clock changes."""
    zone = ZoneInfo(tz)
    minutes, which = np.unique(wall // MINUTE_NS, return_inverse=True)
    offsets = np.empty(len(minutes), np.int64)
    skipped = np.zeros(len(minutes), np.bool_)
    for i, number in enumerate(minutes.tolist()):
        naive = (_EPOCH + timedelta(minutes=number)).replace(tzinfo=None)
        moment = naive.replace(tzinfo=zone).astimezone(UTC)
        offsets[i] = number * MINUTE_NS - (moment - _EPOCH) // timedelta(seconds=1) * SECOND_NS
        skipped[i] = moment.astimezone(zone).replace(tzinfo=None) != naive
    if skipped[which].any():
        raise NonexistentTimeError(int(rows[skipped[which]][0]))
    return wall - offsets[which]


def rows_by_date(ts: Nanoseconds, tz: str) -> dict[date, int]:
    """How many instants (ns UTC, in any order) fall on each local date, dates ascending."""
    if not ts.size:
        return {}
    days = [_EPOCH.date() + timedelta(days=int(number)) for number in _distinct(ts // DAY_NS)]
    # A UTC day touches its own date, the one before and the one after, by where the zone lies.
    near = sorted({day + timedelta(days=shift) for day in days for shift in (-1, 0, 1)})
    midnights = np.array([local_instant(day, time(), tz) for day in near])
    counts = np.bincount(np.searchsorted(midnights, ts, side="right") - 1, minlength=len(near))
    return {day: count for day, count in zip(near, counts.tolist(), strict=True) if count}


def _distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    # Most columns come in runs (sorted by time), and comparing neighbours is cheaper than sorting.
    starts = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.unique(np.concatenate([values[:1], values[starts]]))
