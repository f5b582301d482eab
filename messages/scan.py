"""Scans: that one is due, and what it came to."""

from __future__ import annotations

from datetime import date

from openbell.market.days import EPOCH, MarketTime
from openbell.messages.base import Message
from openbell.messages.control import Input

ADDED = "asked for"
"""What became of a symbol that the run did not have, as long as it has not come."""


def request_for(token: str, day: date, symbol: str) -> str:
    """What the request is called by which a scan has a symbol added."""
    return f"{token} {day} {symbol}"


def token(scan: str, label: str) -> str:
    return f"scan:{scan}:{label}"


class ScanDue(Message):
    """A scan is to be run: the clock is held until it is known what it found."""

    scan: str
    date: date
    at_ns: MarketTime = EPOCH
    """The boundary that was reached; EPOCH: before the open."""
    label: str
    """`10:30`, local, or `pre`."""

    @property
    def token(self) -> str:
        """What the clock is held by."""
        return token(self.scan, self.label)


class ScanResult(Input):
    """What a scan came to; it can't be asked again, as it need not give the same."""

    scan: str
    date: date
    at_ns: MarketTime
    label: str
    opens_ns: MarketTime = EPOCH
    """The day's open, of a scan before it."""
    symbols: tuple[str, ...] = ()
    """What it found, the best first."""
    scores: tuple[float, ...] = ()
    reasons: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    """Those of them that the run does not have."""
    companions: tuple[str, ...] | None = None
    """Those of them that it has as companions alone; None: it was not said."""
    backfilled: bool = False
    """Whether its time was past when the run came to the day."""
    skipped: str | None = None
    """Why it found nothing out: it failed, or did not answer in time. None: it did."""

    @property
    def token(self) -> str:
        return token(self.scan, self.label)

    def answers(self, due: ScanDue) -> bool:
        return (self.scan, self.date, self.at_ns) == (due.scan, due.date, due.at_ns)
