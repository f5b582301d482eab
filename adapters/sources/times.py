"""Wall-clock times to instants and back, over whole columns."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
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


def local_date(instant_ns: int, tz: str) -> date:
    """The date that an instant falls on in a time zone."""
    return (_EPOCH + timedelta(seconds=instant_ns // SECOND_NS)).astimezone(ZoneInfo(tz)).date()


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
