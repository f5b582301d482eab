"""Symbols that come into a day under way, or go from it, as actors tell each other."""

from __future__ import annotations

from datetime import date

from openbell.market.bars import BadRow, DayData, RowCounts, Rows
from openbell.market.days import MarketTime
from openbell.market.results import Levels
from openbell.messages.base import Message
from openbell.messages.data import HistoryReady
from openbell.messages.session import DayOpened


class SymbolsInserted(Message):
    """Symbols come into the open day; their rows follow."""

    opened: DayOpened
    """The day as it would have opened for them alone, and for their companions."""
    symbols: tuple[str, ...]
    """The day's register from here on."""
    added: tuple[str, ...]
    """Those that come; or come again, anew."""
    followed: tuple[date, tuple[str, ...]]
    """As of `DayOpened`."""
    until_ns: MarketTime
    """What market time has come to."""
    data: DayData
    """As of `SymbolsChanged`."""
    history: HistoryReady | None
    lacking: bool = False
    """Whether of the minute under way not all their rows have come."""


class Inserted(Message):
    """What was known of symbols that come into the open day, from its open until now.

    Whoever keeps something of each symbol goes through it as if the day had just opened for these
    alone, and then takes their columns in.
    """

    opened: DayOpened
    symbols: tuple[str, ...]
    added: tuple[str, ...]
    followed: tuple[date, tuple[str, ...]]
    until_ns: MarketTime
    rows: Rows
    """On the register of `opened`."""
    auctions: Rows | None = None
    """As of `Batch`."""
    counts: RowCounts
    """Of all rows of the day's register, where they are stored; else of these symbols' rows alone."""
    stored: bool
    bad: tuple[BadRow, ...] = ()
    history: HistoryReady | None
    """Of the day's register by now."""
    lacking: bool = False


class SymbolsRemoved(Message):
    """Of these symbols nothing counts any more this day; what was said of them stays."""

    symbols: tuple[str, ...]
    at_ns: MarketTime


class LevelsAdded(Message):
    """Levels of a session that is over, of symbols that have come into the day since."""

    session: str
    at_ns: MarketTime
    """The window's end: they hold for rows from there on."""
    levels: Levels
    """Of these symbols, and of companions that may have been there before."""
    added: tuple[str, ...]
    """Those that came."""
