"""Rows on their way to the actors, and what upkeep makes of them."""

from __future__ import annotations

from datetime import date

from openbell.market.bars import BadRow, RowBatch, RowCounts, Rows
from openbell.market.days import Nanoseconds, TradingDay
from openbell.market.history import History
from openbell.market.indicators import IndicatorValues
from openbell.market.results import DerivedBars, LateRows, Quality
from openbell.messages.base import Message


class Load(Message):
    """Have these days read, the first one first."""

    days: tuple[TradingDay, ...]


class Batch(Message):
    """The rows of one step: a view, never a copy."""

    step: int
    rows: Rows
    """May be empty: the watermark moves all the same."""
    auctions: Rows | None = None
    """Those in auctions that sessions name, which count nowhere else; None: there are none."""
    watermark_ns: int
    """All rows known up to here have been handed out."""
    passed_ns: int = 0
    """The watermark before these rows: a window that ended by then is over for them."""
    passed: Nanoseconds | None = None
    """(n,) for each row the watermark when it came, at which a bucket that had ended was finished;
    None: rows stand in time order, and come too late for nothing."""
    counts: RowCounts | None = None
    """What became of what came from a feed with this step."""
    bad: tuple[BadRow, ...] = ()
    backfilled: RowBatch | None = None
    """Rows of before these, by time, that come late from history."""
    auctions_backfilled: RowBatch | None = None
    """The same in auctions."""
    lacking: bool = False
    """Whether such rows are waited for."""
    past_ns: int = 0
    """What is known before this was over when the run came to it: signals of it are marked as
    backfilled, as those of what `DayOpened.live_from_ns` says."""
    host_ns: int = 0
    """How far the host's clock is known to have come, where that is what time goes by: a window
    begins by it, though rows of before may still come."""


class BarsDerived(Message):
    """Finished bars of a derived interval."""

    bars: DerivedBars
    again: bool = False
    """They take the place of those of the same symbol and time, if there are any."""


class PossibleSplit(Message):
    """A symbol opened more than 40 % away from its last close."""

    symbol: str
    previous_close: float
    open: float


class QualityReport(Message):
    """What a whole day's data was worth."""

    quality: Quality
    bad: tuple[BadRow, ...]
    ohlc_outside: int
    """Bars used although open or close lie outside [low, high]."""
    rows: int
    """All rows of the day's window, used or not."""
    possible_splits: tuple[PossibleSplit, ...]
    late: LateRows | None = None
    """Rows that came too late for something; None: rows stood in time order."""


class HistoryReady(Message):
    """The days before are at hand."""

    history: History
    periods: tuple[tuple[date, ...], ...]
    """For each configured indicator, the trading days of its period, oldest first."""


class IndicatorsReady(Message):
    """Indicators have their values for the day."""

    values: tuple[IndicatorValues, ...]
