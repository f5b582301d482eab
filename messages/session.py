"""The trading day and its sessions as they unfold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Literal

from pydantic import field_validator

from openbell.market.bars import BadRow, Kind, RowCounts
from openbell.market.days import MarketTime, TradingDay
from openbell.market.results import Levels
from openbell.messages.base import Message
from openbell.messages.events import OWN_FIELDS, Fact, NoticeKind

DayState = Literal[
    "NOT_STARTED", "PRE_MARKET", "ACTIVE", "POST_MARKET", "ENDED", "TIMEOUT", "ERROR"
]

_Date = date
"""The same where a field is called date and has a default."""

Phase = Literal["clear", "initialise", "history", "load", "activate", "stream", "end"]


class AwaitLoad(Message):
    """The day can't go on before this date's rows are there."""

    date: date
    late: bool = False
    """They were awaited before, in vain: the day has closed without them."""


class DayOpened(Message):
    """A trading day is active: its hours, its symbols, and what its data looks like."""

    day: TradingDay
    symbols: tuple[str, ...]
    """The day's register; arrays over symbols stand in this order."""
    kind: Kind
    interval_ns: int | None
    boundaries: tuple[MarketTime, ...]
    """Instants (ns UTC) that no step may cross, ascending; the last is the close."""
    holds: tuple[int, ...] = ()
    """Those of them before which a row has to be handed out that belongs there: ends of sessions
    and of segments. Rows that belong after one wait until it is crossed."""
    counts: RowCounts
    bad: tuple[BadRow, ...]
    live_from_ns: MarketTime
    """What was known up to here is past: its signals are marked as backfilled."""
    again: bool = False
    """The day is opened once more, from its open, because its rows came late."""
    awaits_rows: bool = False
    """Its rows have not come yet: it is opened once more when they do, or is without data."""
    may_be_filled: bool = False
    """Whether rows of before what was acted on may come from history."""
    followed: tuple[date, tuple[str, ...]] | None = None
    """Symbols whose breakouts are reported, since which day; None: as the configuration says."""


class DayCleared(Message):
    """Drop what is kept of the previous day; `date` is about to begin."""

    date: date


class DayClosed(Message):
    """The close was reached; what the day left behind stays for analysis."""

    date: date


class DayWithoutData(Message):
    """A trading day for which the source has no row inside the hours."""

    date: date
    outside_hours: int
    """Rows that it has outside them."""


class RunEnded(Message):
    """The last trading day has ended, or none can follow."""

    error: str | None = None
    """Why the run can't go on."""


class PhaseEntered(Message):
    """The day has gone on to its next phase."""

    date: date
    phase: Phase


class StateChanged(Message):
    """The day's state has changed."""

    date: date
    before: DayState
    after: DayState
    at_ns: MarketTime
    """Market time."""
    why: str


class Noticed(Message):
    """Something that people and programs have to hear of, and that is no change of state.

    Any actor may say it. It is in the audit trail with the step's commit, and an event then.
    """

    kind: NoticeKind
    at_ns: MarketTime
    """Market time."""
    why: str
    """A sentence for people."""
    date: _Date | None = None
    symbols: tuple[str, ...] = ()
    session: str | None = None
    facts: Mapping[str, Fact] = {}
    """What else is known of it; names and values are the kind's own."""

    @field_validator("facts")
    @classmethod
    def _check_names(cls, facts: Mapping[str, Fact]) -> Mapping[str, Fact]:
        if taken := OWN_FIELDS & facts.keys():
            raise ValueError(f"no fact may be called {min(taken)}")
        return facts


class RowsMissed(Message):
    """Of a stretch of time not all rows have come: its minutes are partial, though some have come."""

    from_ns: MarketTime
    until_ns: MarketTime
    symbols: tuple[str, ...] | None = None
    """Whose rows; None: of all."""
    filled: bool = False
    """They have come by now, from history."""


class SessionPlanned(Message):
    """A session stands for the day: PENDING, or SKIPPED with the reason."""

    session: str
    status: Literal["PENDING", "SKIPPED"]
    at_ns: MarketTime
    reason: str | None = None
    """Why it is skipped or truncated."""


class SessionStarted(Message):
    """The session's window has begun."""

    session: str
    at_ns: MarketTime


class SessionCompleted(Message):
    """The session's window is over and its levels hold."""

    session: str
    at_ns: MarketTime
    """The window's end: levels hold for rows from here on."""
    levels: Levels
    again: bool = False
    """They are known better now: rows of the window have come late."""
