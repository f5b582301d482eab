"""Wall times that come twice, because a clock is put back: which of the two each row means.

The order of the rows tells. A symbol's rows go through the repeated hour once, step back, and go
through it again: what comes before the step is the first pass, what comes after it the second.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from openbell.adapters.sources.times import instants
from openbell.market.bars import Codes, Mask
from openbell.market.days import DAY_NS, MINUTE_NS, Nanoseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEAR_NS = 180 * MINUTE_NS


class RepeatedTimeError(ValueError):
    """A time that comes twice, and nothing tells which is meant; `position` is the first such row."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


def instants_in_order(
    wall: Nanoseconds, tz: str, symbols: Callable[[], Codes], hourly: bool = False
) -> Nanoseconds:
    """Instants (ns UTC) of wall times in rows that are in order, each symbol's for itself.

    Parameters
    ----------
    wall : (n,) int64
        Nanoseconds since 1970-01-01T00:00 on the wall.
    symbols : callable
        Whose row each is; asked only if a time is repeated.
    hourly : bool
        Whether two equal times in a row are the two passes, as they are for bars of an hour.

    Raises
    ------
    NonexistentTimeError
        If a clock change skips one of the times.
    RepeatedTimeError
        If the order does not tell which pass a time belongs to.
    """
    ts = instants(wall, tz)
    gain = _gain(wall, tz)
    if gain is None:
        return ts
    result = ts.copy()
    code = symbols()
    repeated = gain > 0
    for change in np.unique(ts[repeated] // DAY_NS).tolist():
        day = repeated & (ts // DAY_NS == change)
        low, high = wall[day].min() - _NEAR_NS, wall[day].max() + _NEAR_NS
        near = np.flatnonzero((wall >= low) & (wall <= high))
        near = near[np.argsort(code[near], kind="stable")]
        starts = np.flatnonzero(np.diff(code[near])) + 1
        for rows in np.split(near, starts):
            if repeated[rows].any():
                _resolve(result, wall, gain, rows, hourly)
    return result


def later_by(wall: Nanoseconds, tz: str) -> NDArray[np.int64]:
    """How much later wall times come again (ns), 0 where they come once."""
    gain = _gain(wall, tz)
    return np.zeros(len(wall), np.int64) if gain is None else gain


def _gain(wall: Nanoseconds, tz: str) -> NDArray[np.int64] | None:
    """How much later the second pass of each time is (ns), 0 where it comes once; None: all do."""
    if tz == "UTC" or not len(wall):
        return None
    zone = ZoneInfo(tz)
    found = None
    # A zone's offset is constant but for a few stretches, and only their ends can repeat a time.
    days = np.unique(wall // DAY_NS)
    for number in days.tolist():
        midnight = (_EPOCH + timedelta(days=number)).replace(tzinfo=zone)
        before, after = (
            (midnight + timedelta(hours=hours)).replace(fold=fold).utcoffset()
            for hours, fold in ((0, 0), (24, 1))
        )
        if before is None or after is None or before <= after:
            continue
        rows = np.flatnonzero(wall // DAY_NS == number)
        minutes, which = np.unique(wall[rows] // MINUTE_NS, return_inverse=True)
        twice = np.array([_later(minute, zone) for minute in minutes.tolist()], np.int64)
        if twice.any():
            found = np.zeros(len(wall), np.int64) if found is None else found
            found[rows] = twice[which]
    return found


def _later(minute: int, zone: ZoneInfo) -> int:
    """How much later a wall minute comes again, ns."""
    moment = (_EPOCH + timedelta(minutes=minute)).replace(tzinfo=zone)
    first, second = moment.utcoffset(), moment.replace(fold=1).utcoffset()
    if first is None or second is None or second >= first:
        return 0
    return (first - second) // timedelta(minutes=1) * MINUTE_NS


def _resolve(
    ts: Nanoseconds,
    wall: Nanoseconds,
    gain: NDArray[np.int64],
    rows: NDArray[np.intp],
    hourly: bool,
) -> None:
    """Move the second pass of one symbol's rows around one change of the clock."""
    steps = np.diff(wall[rows])
    if (steps < 0).sum() > (steps > 0).sum():
        rows = rows[::-1]  # newest first
    inside: Mask = gain[rows] > 0
    twice = rows[inside]
    steps = np.diff(wall[twice])
    back = np.flatnonzero(steps <= 0 if hourly else steps < 0)
    if len(back) == 1:
        second = twice[back[0] + 1 :]
    elif len(back) == 0:
        first, last = np.flatnonzero(inside)[[0, -1]].tolist()
        # One pass alone belongs to what it goes on from, or to what goes on from it.
        if (first > 0) == (last < len(rows) - 1):
            raise RepeatedTimeError(int(twice[0]))
        second = twice[:0] if first > 0 else twice
    else:
        raise RepeatedTimeError(int(twice[back[1] + 1]))
    ts[second] += gain[second]
    if (np.diff(ts[rows]) < 0).any():
        raise RepeatedTimeError(int(twice[0]))
