"""Breakouts, as they are reported."""

from __future__ import annotations

from openbell.market.days import MarketTime
from openbell.market.results import SignalBatch
from openbell.messages.base import Message


class Signals(Message):
    """The signals of one step."""

    batch: SignalBatch


class BreakoutsChecked(Message):
    """Every symbol's first price after this session was looked at, or the day closed."""

    session: str
    at_ns: MarketTime
