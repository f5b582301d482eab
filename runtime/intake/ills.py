"""What is wrong with all that a feed brings, told once: a clock that is off, rows that come delayed,
bars that carry the time of their end.

A row by itself can be wrong in many ways, and is refused then. These show only in many rows, by when
they come, and would be a million faults otherwise. Where the host's clock moves time, that is.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from openbell.errors import DataError
from openbell.market.bars import Mask
from openbell.market.days import EPOCH, MINUTE_NS, SECOND_NS, MarketTime, Nanoseconds
from openbell.runtime.record.telling import Tell

AHEAD_ROWS = 5
"""So many rows, one after another, from ahead of the host's clock are no fault of theirs."""

AHEAD_NS = SECOND_NS
"""And for at least so long: a burst may be one fault."""

DELAY_NS = MINUTE_NS
"""All rows for so long have to come late before that is told: the earliest of them counts."""

DELAY_ROWS = 20

AT_END_SLOTS = 3
"""So many bars of different times that come when they are said to begin have the time of their end."""

AT_END_NS = 10 * SECOND_NS
"""How long after that at most, if a bar is not so short that a quarter of it is less."""

AT_END_ENDED_MAX = 1
"""So many bars of different times may have come just after their ends all the same: on subscribing,
vendors send what they have."""

TIMES_KEPT = 8


class Ills:
    """Looks at when rows come, under the lock of who takes them in.

    Parameters
    ----------
    name : str
        The feed's.
    interval_ns : int, optional
        Length of a bar, None for ticks.
    skew_max_ns, lateness_ns : int
        As configured.
    tell : callable
        Gets a kind of event, a sentence and facts.
    """

    def __init__(
        self,
        name: str,
        interval_ns: int | None,
        skew_max_ns: int,
        lateness_ns: int,
        tell: Tell,
    ) -> None:
        self._name = name
        self._interval_ns = interval_ns
        self._skew_max_ns, self._lateness_ns = skew_max_ns, lateness_ns
        self._tell = tell
        self.skewed = False
        """Whether all rows lie ahead of the host's clock: they are no faults one by one."""
        self._ahead, self._ahead_since, self._in_time = 0, EPOCH, 0
        self._newest = EPOCH
        self._least_lag: int | None = None
        self._lags, self._lags_since = 0, EPOCH
        self.delayed = False
        """Whether rows come later than boundaries wait for them."""
        self._at_end: list[int] = []
        """Times of the latest bars that came when they were said to begin."""
        self._ended: list[int] = []
        """Of those that came just after their ends."""
        self._not_ended: list[int] = []
        """Of those that came before their ends."""
        self._forming = False
        """Whether such bars came again: they are told of while they are made."""
        self._said_at_end = False

    def status(self) -> dict[str, Any]:
        return {"skewed": self.skewed, "delayed": self.delayed}

    def look(self, ts: Nanoseconds, ahead: Mask, host_ns: MarketTime, *, caught_up: bool) -> None:
        """Rows of times `ts` (bars: their starts) that came at an instant; `ahead` are those beyond the
        host's clock.

        Raises
        ------
        DataError
            If bars carry the time of their ends, and are taken for what they are not.
        """
        if not len(ts):
            return
        interval = self._interval_ns or 0
        lag = host_ns - interval - ts
        at_end = False
        if interval:
            at_end = self._look_at_ends(ts, lag, interval)
        if not (at_end or self._forming):
            self._look_at_skew(lag, ahead, host_ns)
        if caught_up:
            self._look_at_delay(int(ts.max()), int(lag.min()), host_ns)

    def _look_at_skew(self, lag: Nanoseconds, ahead: Mask, host_ns: MarketTime) -> None:
        if not ahead.all():
            self._ahead = 0
            self._in_time = 0 if ahead.any() else self._in_time + len(ahead)
            if self.skewed and self._in_time >= AHEAD_ROWS:
                self.skewed = False
                self._tell("skew", f"{self._name}: rows go by this host's clock again", over=True)
            return
        if not self._ahead:
            self._ahead_since = host_ns
        self._ahead += len(ahead)
        self._in_time = 0
        lasts = host_ns - self._ahead_since
        if self.skewed or self._ahead < AHEAD_ROWS or lasts < AHEAD_NS:
            return
        self.skewed = True
        by = float(-np.median(lag)) / SECOND_NS
        self._tell(
            "skew",
            f"{self._name}: all rows are ahead of this host's clock, by {by:.1f} s and so by more "
            f"than clock.skew_max ({self._skew_max_ns / SECOND_NS:g} s), and are not used: set this "
            "host's clock right (NTP), or, if it is, look at the feed's zone and unit of time",
            seconds=round(by, 3),
        )

    def _look_at_delay(self, newest: int, least_lag: int, host_ns: MarketTime) -> None:
        if newest <= self._newest:
            return
        self._newest = MarketTime(newest)
        if not self._lags:
            self._lags_since, self._least_lag = host_ns, None
        self._lags += 1
        self._least_lag = least_lag if self._least_lag is None else min(self._least_lag, least_lag)
        if host_ns - self._lags_since < DELAY_NS or self._lags < DELAY_ROWS:
            return
        self._lags = 0
        late = self._least_lag > self._lateness_ns
        if late and not self.delayed:
            by = self._least_lag / SECOND_NS
            self._tell(
                "skew",
                f"{self._name}: rows come {by:.1f} s after their time at the earliest, and "
                f"clock.lateness waits {self._lateness_ns / SECOND_NS:g} s: sessions are over before "
                "their last rows have come. The feed is delayed, or this host's clock is ahead",
                seconds=round(-by, 3),
            )
        elif self.delayed and not late:
            self._tell("skew", f"{self._name}: rows come in time again", over=True)
        self.delayed = late

    def _look_at_ends(self, ts: Nanoseconds, lag: Nanoseconds, interval: int) -> bool:
        """Whether bars seem to carry the time of their end.

        `lag` is how long after its end, as it is taken, a bar came.
        """
        after_start = lag + interval
        window = min(AT_END_NS, interval // 4)
        begins = (after_start >= -self._skew_max_ns) & (after_start <= window)
        early = lag < -self._skew_max_ns
        again = np.isin(ts, self._not_ended) & early & (after_start > window)
        if again.any() and not self._forming:
            self._forming = True
            self._tell(
                "rows.partial",
                f"{self._name}: bars come before they have ended, again and again; those are not "
                "used: ask for bars that are closed",
            )
        self._note(self._not_ended, ts[early])
        self._note(self._ended, ts[(lag >= 0) & (lag <= interval // 2)])
        self._note(self._at_end, ts[begins])
        if self._forming or len(self._at_end) < AT_END_SLOTS:
            return bool(begins.any())
        at = datetime.fromtimestamp(self._at_end[-1] // SECOND_NS, UTC)
        why = (
            f"{self._name}: bars come at the moment at which they are said to begin (the last one "
            f"is of {at:%Y-%m-%dT%H:%M:%S}Z): their times seem to be those of their ends; write "
            "data.bar_label: end, so that they are taken for that"
        )
        if len(self._ended) > AT_END_ENDED_MAX:
            if not self._said_at_end:
                self._said_at_end = True
                self._tell("rows.end_stamped", why)
            return True
        self._tell("rows.end_stamped", why)
        raise DataError(why)

    @staticmethod
    def _note(times: list[int], ts: Nanoseconds) -> None:
        times += [at for at in np.unique(ts).tolist() if at not in times]
        del times[:-TIMES_KEPT]
