"""What enters through the one door: everything that earlier steps did not determine."""

from __future__ import annotations

from datetime import date

from openbell.market.bars import DayData
from openbell.market.days import TradingDay
from openbell.messages.base import Message


class Input(Message):
    """Something from outside, which only a grant may carry to the other actors."""


class Start(Input):
    """Begin a run over these trading days, oldest first."""

    days: tuple[TradingDay, ...]


class Loaded(Input):
    """A day's rows have been read."""

    date: date
    data: DayData


class Roll(Input):
    """The next trading day is due."""


class Pause(Message):
    """Grant nothing until this token is given back."""

    token: str


class Resume(Message):
    """Give a pause token back; unknown tokens are ignored."""

    token: str
