"""What enters through the one door: everything that earlier steps did not determine."""

from __future__ import annotations

from datetime import date

from openbell.market.bars import BadRow, DayData, RowBatch, RowCounts
from openbell.market.days import EPOCH, MarketTime, TradingDay
from openbell.messages.base import Message
from openbell.messages.data import HistoryReady

date_ = date
"""The same where a field is called date."""


class Input(Message):
    """Something from outside, which only a grant may carry to the other actors."""


class Start(Input):
    """Begin a run over these trading days, oldest first."""

    days: tuple[TradingDay, ...]
    live_from_ns: MarketTime = EPOCH
    """Where inside the first day it begins: what was known before is past."""


class Loaded(Input):
    """A day's rows have been read, and the days before."""

    date: date
    data: DayData
    history: HistoryReady | None = None
    journal: bytes | None = None
    """What was read, where it can't be asked for again and is in no journal yet."""


class Arrived(Input):
    """Rows of a day came from a feed; the next ones come when these were taken."""

    date: date
    rows: RowBatch
    """Usable ones inside the hours, in the order in which they came, as `market.assembly.as_came`
    gives them."""
    counts: RowCounts
    """All that came since the ones before, those outside the hours, bad ones."""
    bad: tuple[BadRow, ...] = ()
    position: int = 0
    """How much of the feed came up to here, rows and marks, used or not."""
    read_on: tuple[int, str] = (0, "")
    """The latest place up to here from which the feed can be asked again: its position, and its
    name in the feed's words."""
    host_ns: MarketTime = EPOCH
    """When the host handed them over; EPOCH where rows alone move time."""


class DayOver(Input):
    """No more rows of a day are waited for."""

    date: date
    outside_hours: int = 0
    """Rows outside them that came since the last that were used."""
    position: int = 0
    read_on: tuple[int, str] = (0, "")


class Backfilled(Input):
    """Rows of the day under way that no feed brought, from history; those that are there already
    are not counted twice, and nothing that was signalled is decided again."""

    date: date
    rows: RowBatch
    """Usable ones inside the hours, by time."""
    counts: RowCounts
    bad: tuple[BadRow, ...] = ()
    from_ns: MarketTime
    until_ns: MarketTime
    """What was asked for: rows from then until then."""
    gap: bool = False
    """Whether a feed had brought rows of before, and no more; else the run began inside the day."""
    symbols: tuple[str, ...] | None = None
    """Whose rows; None: of all."""
    late: bool = False
    """Whether time has gone on without them."""


class NotFilled(Input):
    """Rows of history are not there in time, or can't be had; the day goes on without them."""

    date: date
    from_ns: MarketTime
    until_ns: MarketTime
    gap: bool = False
    symbols: tuple[str, ...] | None = None
    why: str
    comes: bool
    """Whether they are still waited for; what comes is merged then."""


class LoadTimedOut(Input):
    """A day's rows were not there in time; it opens without them."""

    date: date
    data: DayData
    """The day without a row."""


class LoadFailed(Input):
    """A day's rows can't be had."""

    date: date
    reason: str


class Roll(Input):
    """The next trading day is due."""

    day: TradingDay | None = None
    """Which one, as the calendar has it by now, where time goes by the host's clock; None: none of
    the run's follows. Elsewhere the next of the plan, and this is None."""
    instead_of: date | None = None
    """The day that waits for its open, and has other hours by now, or is none; nothing where it does
    not wait any more. None: the day that was open is over."""


class RollFailed(Input):
    """It can't be told which trading day is next."""

    reason: str


class Rang(Input):
    """An instant that an alarm was set for has come, by the host's clock."""

    name: str
    at_ns: MarketTime
    """What it was set for."""
    host_ns: MarketTime
    """What the host's clock said, at least that."""


class Missed(Input):
    """Rows may be missing, as the feed says: what came of that time is a part only."""

    from_ns: MarketTime
    """Of the last row before, or when the connection changed."""
    until_ns: MarketTime
    """Of the first one after."""
    symbols: tuple[str, ...] | None = None
    """Whose rows; None: of all."""


class Halted(Input):
    """Trading in symbols is halted, or goes on, as the feed or a program says."""

    symbols: tuple[str, ...]
    on: bool
    """Whether it is halted."""
    host_ns: MarketTime
    why: str = ""


class AddSymbols(Input):
    """Symbols are to be watched from here on. Time stands until `SymbolsChanged` brings them, with
    all that was known of them since the open, or `SymbolsRefused` says why not."""

    symbols: tuple[str, ...]
    by: str = "operator"
    """Who asked: `operator`, or a token such as `scan:gap:10:30`."""
    request: str
    """Names what is asked; no two are called the same."""


class RemoveSymbols(Input):
    """Symbols are not to be watched any more; as `AddSymbols`."""

    symbols: tuple[str, ...]
    by: str = "operator"
    request: str


class SymbolsChanged(Input):
    """What was asked for holds from here on: other symbols are watched."""

    request: str
    by: str
    added: tuple[str, ...] = ()
    promoted: tuple[str, ...] = ()
    """Those that were there as companions alone, and are watched as others are from here on."""
    removed: tuple[str, ...] = ()
    date: date | None
    """The day under way that they come into, or go from; None: none is open."""
    since: date_
    """The first day that is loaded with them, or without."""
    later: tuple[str, ...]
    """All symbols of that day and the following ones, sorted."""
    registers: tuple[tuple[date_, tuple[str, ...]], ...]
    """Those of them that each day is loaded for, from a date on."""
    followed: tuple[str, ...]
    """Those of them whose breakouts are reported; companions are only read."""
    followed_today: tuple[str, ...] = ()
    """The same of the day under way."""
    symbols: tuple[str, ...] = ()
    """The register of the day under way from here on: one that goes keeps its place."""
    alone: tuple[str, ...] = ()
    """Those that come, and their companions, sorted."""
    data: DayData | None = None
    """Of the day under way, where symbols come: where its rows are stored, all of them, for its
    register; where a feed brings them, what history has so far of those that come, and of their
    companions."""
    history: HistoryReady | None = None
    """The days before, for the day's register."""
    lacking: str = ""
    """Why not all that was known of them is there, if it is not."""
    untold: str = ""
    """What nobody can tell of them yet, for people."""
    journaled: bool = False
    """Whether what came with them can't be asked for again."""


class SymbolsRefused(Input):
    """What was asked for can't be had; nothing has changed."""

    request: str
    by: str
    symbols: tuple[str, ...]
    why: str


class Recover(Input):
    """Leave ERROR: try the day once more."""


class Woke(Message):
    """Wall time has come as far as was asked for."""

    at_ns: MarketTime
    complete_ns: MarketTime = EPOCH
    """All rows of a feed that had come by then have been handed over before this, where time goes
    by the host's clock."""


class StepOnce(Message):
    """Grant one step, although someone holds the clock."""


class Pause(Message):
    """Grant nothing until this token is given back."""

    token: str


class Resume(Message):
    """Give a pause token back; unknown tokens are ignored."""

    token: str


class Prepared(Message):
    """The runtime is ready: begin, or go on after a restart.

    `grants` were given before the restart and are given again, exactly, before new ones.
    """

    grants: tuple[Message, ...] = ()
    """Grants, in order; those that the restored states don't hold yet."""
    inputs: tuple[Input, ...] = ()
    """What enters with the first grant after them."""
