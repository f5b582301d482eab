"""Where a feed's rows wait until the actors take them: bounded, and in the order they came."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from loguru import logger
from numpy.typing import NDArray

from openbell.adapters.feeds import (
    ConnectionState,
    Feed,
    LooksUp,
    Reconnects,
    Resubscribes,
    Watches,
)
from openbell.errors import DataError, FeedFull, LoginRefused, OpenbellError, RunError
from openbell.hosttime import HostClock, Monotonic, WallTime, monotonic, wall, wall_ns
from openbell.market.arrivals import added, no_counts
from openbell.market.assembly import as_came
from openbell.market.bars import BadRow, Mask, Prices, RawRows, RowBatch, RowCounts
from openbell.market.days import EPOCH, MarketTime, TradingDay, local_instant, row_spans
from openbell.market.prices import as_written
from openbell.market.rules import NO_RULES, RowRules
from openbell.market.widening import codes_on, counts_on
from openbell.messages.control import Arrived, DayOver, Halted, Missed
from openbell.runtime.intake.connection import Connection, Gap
from openbell.runtime.intake.ills import Ills
from openbell.runtime.intake.refused import RefusedLines
from openbell.runtime.intake.renewal import Renew, Renewal
from openbell.runtime.record.telling import Tell, tell_log
from openbell.runtime.record.writing import market_time

Positions = NDArray[np.intp]

ROWS_MAX = 50_000
"""How many rows one step gets at most."""

QUANTITIES = ("size", "volume", "trade_id", "partial")
"""Columns that hold no price."""

REFUSED_KEPT_MAX = 1_000
"""How many things that are no rows are kept to be looked at."""

SYMBOL_REFUSED = "symbol refused"
"""What a feed calls it when its vendor does not deliver a symbol."""

RUN_AGAIN_SECONDS = 0.25
"""How long it takes to notice that a run is over, for a feed that waits for its login."""

UNKNOWN_NAMED_MAX = 20
"""How many unknown symbols are named in the log, one line each."""


@dataclass(slots=True)
class _Waiting:
    """Rows of one day that came together, or the mark that none of it follow."""

    day: TradingDay
    rows: RawRows | None
    """On the register's symbols."""
    ahead: Mask | None
    """Rows beyond this host's clock."""
    position: int
    """After the last one."""
    mark: str = ""
    """Where the feed goes on after it, if it can be asked to."""
    came_ns: MarketTime = EPOCH
    """When, by the host's clock, where that moves time."""


@dataclass(frozen=True, slots=True)
class Refused:
    """What came and is no row."""

    kind: str
    where: str
    why: str


@dataclass(slots=True)
class Account:
    """What became of all that a feed brought, in this process."""

    rows: int = 0
    """All of them."""
    bad_rows: int = 0
    """Rows inside the hours of a day whose values can't be used."""
    heard_at: Monotonic | None = None
    """When rows came last."""
    again: int = 0
    """Rows that the run had already."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Rows of symbols that are not watched, by symbol."""
    on_no_day: int = 0
    """Rows on a date without trading, or outside the run's days."""
    day_over: int = 0
    """Rows of a day that was over when they came."""
    refused: Counter[str] = field(default_factory=Counter)
    """What is no row, by what is wrong with it."""
    refused_first: list[Refused] = field(default_factory=list)
    refused_why: dict[str, str] = field(default_factory=dict)
    """Where the first of a kind was, and what is wrong with it."""
    refused_symbols: dict[str, str] = field(default_factory=dict)
    """Symbols that the vendor does not deliver, and why."""
    ahead: int = 0
    """Rows ahead of the host's clock while all are: of them none is listed by itself."""
    waits: int = 0
    """How often who delivers had to wait for room."""
    waited_seconds: float = 0.0

    def unused(self) -> dict[str, int]:
        """How much came and was not used, by reason."""
        return {
            "again": self.again,
            "bad": self.bad_rows,
            "unknown_symbol": sum(dict(self.unknown).values()),
            "no_trading_day": self.on_no_day,
            "day_over": self.day_over,
            "no_row": sum(dict(self.refused).values()),
        }


@dataclass(frozen=True, slots=True)
class ByTheWall:
    """How rows are handed over where the host's clock moves time."""

    host: HostClock
    fresh_ns: int
    """A row that is no older than this shows that a feed has caught up with the market."""
    patience_ns: int
    """How long a feed that does not show it is waited for, while nothing comes from it."""


class HandOver:
    """Takes rows in on the threads of those who deliver, and gives them to the clock.

    At most one `Arrived` is with the clock; what comes meanwhile accumulates into the next one, so
    that steps get larger under load, and what waits stays bounded.

    Parameters
    ----------
    symbols : tuple of str
        The register.
    days : tuple of TradingDay
        Those that the run may come to, oldest first.
    spans : mapping
        From when until when (ns UTC) rows are each day's.
    rows_max : int
        How many rows may wait.
    blocks : bool
        Whether who delivers waits for room; if not, FeedFull is raised.
    ahead_max_ns : int
        How far beyond this host's clock a row may lie.
    name : str
        The feed's, where rows are named.
    feed : Feed, optional
        Delivers on a thread of its own, once rows may go to the clock; None: who pushes, delivers.
    by_the_wall : ByTheWall, optional
        Where the host's clock moves time: rows say when they were handed over, and a bar that has
        not ended by that clock is one from ahead of it.
    refused : RefusedLines, optional
        Where what is no row is written to.
    tell : Tell
        Where what the feed says of itself is told.
    lateness_ns : int
        How long boundaries wait for rows.
    token_expires : time, optional
        When the feed's login ends each day, where the exchange is.
    rules : RowRules
        What the rows mean.
    """

    def __init__(
        self,
        *,
        symbols: tuple[str, ...],
        days: tuple[TradingDay, ...],
        spans: Mapping[date, tuple[int, int]],
        interval_ns: int | None,
        rows_max: int = 200_000,
        blocks: bool = True,
        ahead_max_ns: int = 0,
        name: str = "push",
        feed: Feed | None = None,
        now: Callable[[], WallTime] = wall,
        by_the_wall: ByTheWall | None = None,
        refused: RefusedLines | None = None,
        tell: Tell = tell_log,
        lateness_ns: int = 0,
        token_expires: time | None = None,
        rules: RowRules = NO_RULES,
    ) -> None:
        self._rules = rules
        self.account = Account()
        self.connection = Connection(name, tell)
        self._refused = refused
        self._by_the_wall = by_the_wall
        self.tell = tell
        self._renewal: Renewal | None = None
        self._token_expires = token_expires
        self._runs_again = threading.Event()
        """Set when a feed that was not accepted may be run again."""
        self._ills: Ills | None = None
        if by_the_wall is not None:
            self._ills = Ills(name, interval_ns, ahead_max_ns, lateness_ns, tell)
        self._caught_up = False
        """Whether all that had come before the run, or while it stood still, was delivered."""
        self._reads_awaited = 1
        """How often a feed has to say so before that is believed."""
        self._heard_ns = EPOCH
        """When something came last, or was first waited for."""
        self.gap_said: Callable[[Gap], None] = lambda gap: None
        """Told where rows may be missing."""
        self.handed_over: Callable[[], None] = lambda: None
        """Told when more of what came has been, or when the feed has caught up."""
        self._symbols = symbols
        self._code = {symbol: code for code, symbol in enumerate(symbols)}
        self._days = tuple(day for day in days if day.date in spans)
        self._laid_out(spans)
        self._interval_ns = interval_ns
        self._feed = feed
        self._say: Callable[[Arrived | DayOver | Halted | Missed | OpenbellError], None] | None = (
            None
        )
        """Gets what goes to the clock, once it takes something."""
        self._early: list[Halted | Missed] = []
        """What was said before that."""
        self._rows_max, self._blocks = rows_max, blocks
        self._ahead_max_ns = ahead_max_ns
        self._name = name
        self._now = now
        self._room = threading.Condition()
        self._queue: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._outstanding: Arrived | DayOver | None = None
        self._position = 0
        self._newest = 0
        """Place of the latest day of which something came: none before it can be added to."""
        self._over: set[date] = set()
        self._under_way: date | None = None
        """The day of which rows were taken from the queue last, if it was not ended."""
        self._begun = False
        """Whether rows of it went to the clock."""
        self._aside: tuple[RowCounts, tuple[BadRow, ...]] | None = None
        """Of rows before a day's first one inside its hours: they open no day."""
        self._closed: BaseException | None = None
        self._failed = False
        self._durable = 0
        self._sent: deque[Arrived | DayOver] = deque()
        """What went to the clock and is not durable yet."""
        self._again: deque[Arrived | DayOver] = deque()
        """What has to go again, before all else."""
        self._read_on = (0, "")
        """The latest place of what went to the clock from which the feed can be asked again."""
        self._passed_by = 0
        """Position after what was taken from the queue last."""

    def renew_with(self, renew: Renew) -> None:
        """Have a login renewed when it is refused."""
        self._renewal = Renewal(
            renew,
            self._login_renewed,
            lambda: self.connection.state == "auth",
            self.tell,
            self._name,
        )
        if self.connection.state == "auth":
            self._renewal.refused(self.connection.why)

    def _login_renewed(self) -> None:
        self._runs_again.set()
        if isinstance(self._feed, Reconnects):
            self._feed.reconnect()

    @property
    def durable(self) -> int:
        """The position up to which all is durable, once it is known where the run has come to."""
        with self._room:
            self._wait_until_open()
            return self._durable

    @property
    def depth(self) -> int:
        """Rows that wait."""
        return self._waiting_rows

    @property
    def position(self) -> int:
        """After all that came."""
        return self._position

    @property
    def away(self) -> bool:
        """Whether the feed knows that it can't be reached: it said so, or has an attribute `away`."""
        connected = self.connection.state in (None, "connected")
        return not connected or bool(getattr(self._feed, "away", False))

    @property
    def behind(self) -> bool:
        """Whether a feed by the host's clock still brings what came before."""
        return self._by_the_wall is not None and not self._caught_up

    def status(self) -> dict[str, Any]:
        """What waits, and what became of what came."""
        account = self.account
        return {
            "position": self._position,
            "durable_position": self._durable,
            "waiting_rows": self._waiting_rows,
            "rows": account.rows,
            "again": account.again,
            "unknown_symbols": dict(account.unknown),
            "on_no_day": account.on_no_day,
            "day_over": account.day_over,
            "refused": dict(account.refused),
            "waits": account.waits,
            "waited_seconds": round(account.waited_seconds, 3),
            "ahead_of_clock": account.ahead,
            "refused_symbols": dict(account.refused_symbols),
            **({} if self._ills is None else self._ills.status()),
            **self.connection.status(),
        }

    def open(
        self,
        say: Callable[[Arrived | DayOver | Halted | Missed | OpenbellError], None],
        position: int = 0,
        begun: date | None = None,
        over: date | None = None,
        read_on: tuple[int, str] = (0, ""),
        since: date | None = None,
    ) -> None:
        """Let rows go to the clock, from where the run has come to.

        What went to a clock before and was not made durable goes again.

        Parameters
        ----------
        say : callable
            Gets what goes to the clock, and what ends the run.
        position : int
            How much of the feed the run has already.
        begun, over : date, optional
            The day that is open, and the last one of which no more rows are waited for.
        read_on : tuple
            A position, at most that one, and its mark: from there a feed is asked again.
        since : date, optional
            The day that the run has come to: those before it are over.
        """
        with self._room:
            # Rows outside the hours that opened no day were done with when the day was over.
            position = max(position, read_on[0])
            first, self._say = self._say is None, say
            while self._early:
                say(self._early.pop(0))
            if self._by_the_wall is not None and first:
                self._heard_ns = self._by_the_wall.host()
            self._position = max(self._position, position)
            self._durable = max(self._durable, position)
            gone = (*self._sent, *self._again)
            lost = [entered for entered in gone if entered.position > position]
            self._again, self._sent = deque(lost), deque()
            self._outstanding = None
            self._room.notify_all()
            if not first:
                self._send()
                return
            self._under_way, self._begun = begun, begun is not None
            for last, further in ((since, 0), (begun, 0), (over, 1)):
                if last is not None:
                    place = bisect_left(self._days, last, key=lambda day: day.date)
                    self._newest = max(self._newest, place + further)
            self._read_on = read_on
            self._send()
        if self._by_the_wall is not None:
            now_ns = self._by_the_wall.host()
            self._warn_of_expiry(next((of for of in self._days if of.close_ns > now_ns), None))
        if self._feed is not None:
            threading.Thread(
                target=self._deliver, args=(self._feed, *read_on), name="openbell-feed", daemon=True
            ).start()

    def _deliver(self, feed: Feed, position: int, mark: str) -> None:
        error: OpenbellError
        try:
            while True:
                self._runs_again.clear()
                try:
                    feed.run(self, position, mark)
                    return
                except LoginRefused as refused:
                    self.said("auth", str(refused))
                while not self._runs_again.wait(RUN_AGAIN_SECONDS):
                    if self._closed is not None:
                        return
                with self._room:
                    position, mark = self._read_on
        except OpenbellError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 a plug-in may raise anything
            logger.exception("{}: the feed has failed", self._name)
            error = RunError(f"{self._name}: the feed has failed: {raised!r}")
        if self._closed is None and self._say is not None:
            self._say(error)

    def come_to(self, position: int) -> None:
        """The run has ended before with so much of the feed: nothing goes to the clock any more."""
        with self._room:
            self._position = max(self._position, position)
            self._durable = max(self._durable, position)

    def close(self, error: BaseException | None = None) -> None:
        """Take nothing more; who waits for room is told so."""
        if self._feed is not None:
            self._feed.close()
        if self._refused is not None:
            self._refused.close()
        if self._renewal is not None:
            self._renewal.close()
        with self._room:
            self._failed = self._failed or error is not None
            self._closed = error or RunError("the run has ended; no rows can be pushed into it")
            self._room.notify_all()

    def take(self, rows: RawRows, position: int | None = None, mark: str = "") -> int:
        """Rows that came, in the order in which they came; see `adapters.feeds.Door`."""
        with self._room:
            if self._has(position, len(rows)):
                self.account.rows += len(rows)
                self.account.again += len(rows)
                self._look_whether_caught_up(rows)
                return self._position
            if len(rows):
                self.account.heard_at = monotonic()
            first = self._wait_for_room(position)
            had = min(len(rows), self._position - first)
            ahead = self._ahead_of_host(rows)
            if self._ills is not None and self._by_the_wall is not None:
                judged = ~self._not_whole(rows)
                judged[:had] = False
                self._ills.look(
                    rows.ts[judged],
                    ahead[judged],
                    self._by_the_wall.host(),
                    caught_up=self._caught_up,
                )
            # A row is named by its position, from 1 as in files.
            rows = replace(rows, locate=lambda i: (self._name, first + i + 1))
            self.account.rows += len(rows)
            self.account.again += had
            self._position = max(self._position, first + len(rows))
            place = self._places(rows)
            place[:had] = -1
            self._look_whether_caught_up(rows)
            which, ours = self._of_days(rows, place, ahead, had)
            if len(which):
                self._lay_down(_decimals(ours), which, place[which], ahead[which], first)
                self._queue[-1].mark = mark
            self._send()
            return self._position

    def end_day(self, day: date, position: int | None = None, mark: str = "") -> int:
        """No more rows of a day come; see `adapters.feeds.Door`."""
        with self._room:
            if self._has(position, 1):
                return self._position
            self._wait_for_room(position)
            place = next((n for n, of in enumerate(self._days) if of.date == day), None)
            if place is None:
                raise DataError(f"{day} is no trading day of this run; it has {self._range()}")
            self._position += 1
            if place >= self._newest:
                self._newest = place + 1
                self._over.add(day)
                came_ns = EPOCH if self._by_the_wall is None else self._by_the_wall.host()
                over = _Waiting(self._days[place], None, None, self._position, mark, came_ns)
                self._queue.append(over)
                self._send()
            return self._position

    def refuse(self, kind: str, where: str, why: str) -> None:
        """What came is no row; see `adapters.feeds.Door`."""
        with self._room:
            account = self.account
            if kind == SYMBOL_REFUSED and where not in account.refused_symbols:
                account.refused_symbols[where] = why
                self.tell("symbol.refused", f"{self._name}: {where}: {why}", symbols=(where,))
            elif kind not in account.refused:
                logger.warning("{}: {}; such entries are counted and not used", where, why)
            account.refused_why.setdefault(kind, f"{where}: {why}")
            account.refused[kind] += 1
            if self._refused is not None:
                self._refused.add(kind, where, why)
            if len(account.refused_first) < REFUSED_KEPT_MAX:
                account.refused_first.append(Refused(kind, where, why))

    def said(self, state: ConnectionState, why: str) -> None:
        """What the feed's connection has come to; see `adapters.feeds.Door`."""
        if self._closed is not None:
            return
        changed = state != self.connection.state
        self.connection.said(state, why)
        again = self._feed is not None and self._feed.rewind == "position"
        if changed and self._by_the_wall is not None and not again:
            # Of the minute under way not all has come, or not all will; who can be asked again
            # brings it.
            now_ns = self._by_the_wall.host()
            self._enter(Missed(from_ns=now_ns, until_ns=now_ns))
        if self._renewal is not None:
            if state == "auth":
                self._renewal.refused(why)
            else:
                self._renewal.accepted()

    def gap(
        self,
        from_ns: MarketTime,
        until_ns: MarketTime,
        symbols: tuple[str, ...] | None,
        why: str,
    ) -> None:
        """Rows may be missing; see `adapters.feeds.Door`. Where nothing was traded, none are."""
        segments = (segment for day in self._days for segment in day.segments)
        if not any(of.open_ns <= until_ns and from_ns < of.close_ns for of in segments):
            logger.debug("{}: {}, outside the hours", self._name, why)
            return
        gap = Gap(from_ns, until_ns, symbols, why)
        self.connection.gap(gap)
        self._enter(Missed(from_ns=from_ns, until_ns=until_ns, symbols=symbols))
        self.gap_said(gap)

    def halted(self, symbols: tuple[str, ...], on: bool, why: str = "") -> None:
        """Trading in symbols is halted, or goes on; see `adapters.feeds.Door`."""
        unknown = [symbol for symbol in symbols if symbol not in self._code]
        if unknown:
            logger.warning("{}: {} is not watched; nothing is halted there", self._name, unknown[0])
        known = tuple(symbol for symbol in symbols if symbol in self._code)
        host_ns = wall_ns() if self._by_the_wall is None else self._by_the_wall.host()
        if known:
            self._enter(Halted(symbols=known, on=on, host_ns=host_ns, why=why))

    def _enter(self, entered: Halted | Missed) -> None:
        """To the clock, which takes it in beside rows."""
        with self._room:
            if self._closed is not None:
                return
            if self._say is None:
                self._early.append(entered)
            else:
                self._say(entered)

    def ask(self, what: str, symbols: tuple[str, ...], why: str) -> None:
        """Have a feed subscribe anew, or connect anew, if it can; from any thread.

        One whose login was refused is left alone: asked again and again, vendors lock accounts.

        Parameters
        ----------
        what : str
            `resubscribe` or `reconnect`.
        symbols : tuple of str
            Whose rows are lacking; none: all of them.
        """
        if self._closed is not None or self.connection.state == "auth":
            return
        try:
            if what == "resubscribe" and isinstance(self._feed, Resubscribes):
                logger.info("{}: subscribes anew: {}", self._name, why)
                self._feed.resubscribe(symbols or self._symbols)
            elif what == "reconnect" and isinstance(self._feed, Reconnects):
                logger.info("{}: connects anew: {}", self._name, why)
                self._feed.reconnect()
        except Exception:  # noqa: BLE001 a plug-in may raise anything
            logger.exception("{}: {} has failed", self._name, what)

    def taken(self, entered: Arrived | DayOver) -> None:
        """The step with these is over: the next may go."""
        with self._room:
            out = self._outstanding  # the clock may have laid its rows out for other symbols
            if out is not None and (type(out), out.position) == (type(entered), entered.position):
                self._outstanding = None
                self._send()
        self.handed_over()

    def watch(
        self, symbols: tuple[str, ...], added: tuple[str, ...], removed: tuple[str, ...]
    ) -> None:
        """Other symbols are watched from here on; the feed is asked for them, if it can be.

        Parameters
        ----------
        symbols : tuple of str
            All of them, sorted.
        """
        with self._room:
            before = self._symbols
            if symbols != before:
                self._symbols = symbols
                self._code = {symbol: code for code, symbol in enumerate(symbols)}
                for part in self._queue:
                    if part.rows is not None:
                        self._lay_out_anew(part)
                if self._aside is not None:
                    self._aside = counts_on(self._aside[0], before, symbols), self._aside[1]
        if self._feed is None:
            return
        try:
            if isinstance(self._feed, Watches):
                self._feed.watch(added, removed)
            elif added and isinstance(self._feed, Resubscribes):
                self._feed.resubscribe(added)
        except Exception:  # noqa: BLE001 a plug-in may raise anything
            logger.exception("{}: watching other symbols has failed", self._name)

    def look_up(self, symbols: tuple[str, ...], seconds: float) -> Mapping[str, str] | None:
        """Why the vendor does not deliver some of these symbols; None: nobody can tell.

        Raises
        ------
        TimeoutError, …
            If it did not answer in time; what else a feed raises.
        """
        if not isinstance(self._feed, LooksUp):
            return None
        return self._feed.look_up(symbols, seconds)

    def _lay_out_anew(self, part: _Waiting) -> None:
        assert part.rows is not None
        codes = codes_on(part.rows.symbols, self._symbols)
        code = codes[part.rows.code]
        which = np.flatnonzero(code >= 0)
        self._waiting_rows -= len(part.rows) - len(which)
        part.rows = replace(part.rows.taken(which), symbols=self._symbols, code=code[which])
        part.ahead = None if part.ahead is None else part.ahead[which]

    def follow(self, after: date, following: TradingDay) -> tuple[TradingDay, ...]:
        """The calendar says which day follows one by now: rows are its own from here on.

        Returns
        -------
        Days that the run may come to.
        """
        self._warn_of_expiry(following)
        with self._room:
            if following not in self._days or self._after(after) != following:
                place = bisect_left(self._days, following.date, key=lambda day: day.date)
                reached = self._days[self._newest].date if self._newest < len(self._days) else None
                self._days = (
                    *(day for day in self._days if day.date <= after),
                    following,
                    *(day for day in self._days[place:] if day.date > following.date),
                )
                self._laid_out(row_spans(self._days))
                if reached is not None:
                    place = bisect_left(self._days, reached, key=lambda day: day.date)
                    self._newest = place
            return self._days

    def keep(self, today: TradingDay) -> tuple[TradingDay, ...]:
        """The day under way has the hours that it began with, whatever the calendar says by now.

        Returns
        -------
        Days that the run may come to.
        """
        with self._room:
            if today not in self._days:
                self._days = (
                    *(day for day in self._days if day.date < today.date),
                    today,
                    *(day for day in self._days if day.date > today.date),
                )
                self._laid_out(row_spans(self._days))
            return self._days

    def _warn_of_expiry(self, day: TradingDay | None) -> None:
        """Tell before the open of a day that the feed's login will not last until its close."""
        if self._by_the_wall is None or day is None:
            return
        now_ns = self._by_the_wall.host()
        known = [getattr(self._feed, "expires_ns", None)]
        known += [None if self._renewal is None else self._renewal.expires_ns]
        if self._token_expires is not None:
            dates = (day.date, day.date + timedelta(days=1))
            known += [local_instant(of, self._token_expires, day.tz) for of in dates]
        ends_ns = min((at for at in known if at is not None and at > now_ns), default=None)
        if ends_ns is not None and ends_ns < day.close_ns:
            self.tell(
                "feed.auth",
                f"{self._name}: the login ends at {market_time(ends_ns)}, before the close of "
                f"{day.date}: renew it before",
                expires=market_time(ends_ns),
            )

    def _after(self, day: date) -> TradingDay | None:
        return next((of for of in self._days if of.date > day), None)

    def _laid_out(self, spans: Mapping[date, tuple[int, int]]) -> None:
        self._starts = np.array([spans[day.date][0] for day in self._days], np.int64)
        self._ends = np.array([spans[day.date][1] for day in self._days], np.int64)

    def too_late(self, arrived: Arrived) -> None:
        """These came when their day was over, by the host's clock."""
        with self._room:
            self.account.day_over += int(arrived.counts.rows.sum())
        self.taken(arrived)

    def caught_up(self) -> None:
        """All that had come by now was delivered; see `adapters.feeds.Door`."""
        with self._room:
            self._reads_awaited -= 1
            had = self._caught_up
            self._caught_up |= self._reads_awaited <= 0
        if self._caught_up and not had:
            self.handed_over()

    def fall_behind(self) -> None:
        """Nothing was delivered for a while, as this process was stopped: much may wait outside."""
        with self._room:
            if self._feed is not None and self._feed.rewind == "position":
                self._caught_up = False
                # What it says first may be an answer from before this process was stopped.
                self._reads_awaited = 2
                self._heard_ns = EPOCH if self._by_the_wall is None else self._by_the_wall.host()

    def complete_ns(self, host_ns: MarketTime) -> MarketTime:
        """Up to when, by the host's clock, all that came has gone to the clock; EPOCH while a feed
        still brings what came before."""
        with self._room:
            wall = self._by_the_wall
            if wall is None or self._say is None:
                return EPOCH
            self._caught_up |= host_ns - self._heard_ns >= wall.patience_ns
            if not self._caught_up or self._again:
                return EPOCH
            return min(host_ns, self._queue[0].came_ns) if self._queue else host_ns

    def made_durable(self, position: int) -> None:
        """All up to a position survives this process."""
        with self._room:
            self._durable = max(self._durable, position)
            while self._sent and self._sent[0] is not self._outstanding:
                if self._sent[0].position > self._durable:
                    return
                self._sent.popleft()

    def _wait_until_open(self) -> None:
        self._room.wait_for(lambda: self._closed or self._say is not None)

    def _has(self, position: int | None, count: int) -> bool:
        """Whether all of it came before: nothing is waited for then, and the run may have ended."""
        self._wait_until_open()
        return position is not None and position + count <= self._position and not self._failed

    def _wait_for_room(self, position: int | None) -> int:
        """Position of the first row, once there is room."""
        self._wait_until_open()
        if self._closed is None and self._waiting_rows >= self._rows_max:
            if not self._blocks:
                raise FeedFull(
                    f"{self._waiting_rows:,} rows wait to be taken, as many as may; push again "
                    "later, or leave out feed.options.full to wait"
                )
            began = monotonic()
            self.account.waits += 1
            self._room.wait_for(lambda: self._closed or self._waiting_rows < self._rows_max)
            self.account.waited_seconds += Monotonic(monotonic()) - began
        if self._closed is not None:
            raise self._closed
        if position is None:
            return self._position
        if position > self._position:
            raise DataError(
                f"position {position} leaves out what comes before it; push from {self._position}"
            )
        return position

    def _places(self, rows: RawRows) -> Positions:
        """(n,) the day of each row among the run's, -1 where it is of none."""
        if not len(self._starts):
            return np.full(len(rows), -1, np.intp)
        place = self._starts.searchsorted(rows.ts, side="right") - 1
        place[(place >= 0) & (rows.ts >= self._ends[place])] = -1
        return place

    def _ahead_of_host(self, rows: RawRows) -> Mask:
        """(n,) which lie further beyond this host's clock than rows may."""
        return self._beyond(rows) & ~self._not_whole(rows)

    def _not_whole(self, rows: RawRows) -> Mask:
        """(n,) bars that are not used as they are not whole: they tell nothing of a clock."""
        partial = rows.columns.get("partial")
        if partial is None or not self._rules.drops_partial:
            return np.zeros(len(rows), np.bool_)
        not_whole: Mask = partial > 0
        return not_whole

    def _beyond(self, rows: RawRows) -> Mask:
        if self._by_the_wall is not None:
            now_ns = self._by_the_wall.host()
            return rows.ts + (self._interval_ns or 0) > now_ns + self._ahead_max_ns
        if self._ahead_max_ns:
            return rows.ts > int(self._now() * 1e9) + self._ahead_max_ns
        return np.zeros(len(rows), np.bool_)

    def _of_days(
        self, rows: RawRows, place: Positions, ahead: Mask, had: int
    ) -> tuple[Positions, RawRows]:
        """Rows of watched symbols and of days that are not over, on the register's symbols.

        Those ahead of this host's clock end no day: they are counted with what came before them.
        """
        account = self.account
        codes = np.array([self._code.get(symbol, -1) for symbol in rows.symbols], np.int32)
        code = codes[rows.code] if len(codes) else rows.code
        unknown = code < 0
        unknown[:had] = False
        if unknown.any():
            for of, count in zip(*np.unique(rows.code[unknown], return_counts=True), strict=True):
                self._say_unknown(rows.symbols[of], int(count))
        kept = ~unknown
        kept[:had] = False
        no_day = kept & (place < 0)
        if no_day.any():
            if not account.on_no_day:
                at = int(rows.ts[no_day][0])
                logger.warning(
                    "{}: a row at {} is on no trading day of this run, which has {}; such rows are "
                    "counted and not used",
                    self._name,
                    np.datetime64(at, "ns"),
                    self._range(),
                )
            account.on_no_day += int(no_day.sum())
            kept &= ~no_day
        if self._ills is not None and self._ills.skewed:
            account.ahead += int((kept & ahead).sum())
            kept &= ~ahead
        moves = np.where(kept & ~ahead, place, -1)
        reached = np.maximum.accumulate(np.maximum(moves, self._newest))
        place[kept & ahead] = np.minimum(reached, len(self._days) - 1)[kept & ahead]
        late = kept & (place < reached)
        account.day_over += int(late.sum())
        kept &= ~late
        which = np.flatnonzero(kept)
        return which, replace(rows.taken(which), symbols=self._symbols, code=code[which])

    def _lay_down(
        self, ours: RawRows, which: Positions, place: Positions, ahead: Mask, first: int
    ) -> None:
        """Behind what waits, in pieces of one day and at most a step's worth."""
        came_ns = EPOCH
        if self._by_the_wall is not None:
            came_ns = self._heard_ns
        another = np.flatnonzero(place[1:] != place[:-1]) + 1
        edges = sorted({0, *another.tolist(), *range(ROWS_MAX, len(place), ROWS_MAX), len(place)})
        for start, stop in pairwise(edges):
            self._newest = int(place[start])
            # What is not used goes with the rows before it.
            position = self._position if stop == len(place) else first + int(which[stop - 1]) + 1
            self._queue.append(
                _Waiting(
                    self._days[self._newest],
                    ours.taken(np.arange(start, stop)),
                    ahead[start:stop] if ahead[start:stop].any() else None,
                    position,
                    came_ns=came_ns,
                )
            )
            self._waiting_rows += stop - start

    def _look_whether_caught_up(self, rows: RawRows) -> None:
        """A feed that says itself when it has caught up is not judged by its rows."""
        wall = self._by_the_wall
        if wall is None:
            return
        self._heard_ns = wall.host()
        tells = self._feed is not None and self._feed.rewind == "position"
        if not (tells or self._caught_up) and len(rows):
            newest = int(rows.ts.max()) + (self._interval_ns or 0)
            fresh = self._heard_ns - wall.fresh_ns <= newest <= self._heard_ns + self._ahead_max_ns
            self._caught_up = fresh

    def _send(self) -> None:
        """The next to the clock, if it has none."""
        while self._say is not None and self._outstanding is None:
            if self._again:
                self._tell(self._again.popleft())
                return
            if not self._queue:
                return
            day = self._queue[0].day
            if self._under_way is not None and self._under_way < day.date:
                self._end(self._under_way, self._passed_by)
            elif self._queue[0].rows is None:
                over = self._queue.popleft()
                self._passed(over)
                self._end(day.date, over.position)
            else:
                arrived = self._next_rows()
                self._under_way = day.date
                if arrived is not None:
                    self._begun = True
                    self._tell(arrived)

    def _end(self, day: date, position: int) -> None:
        outside = 0 if self._aside is None else int(self._aside[0].outside_hours.sum())
        self._under_way, self._begun, self._aside = None, False, None
        self._tell(
            DayOver(date=day, outside_hours=outside, position=position, read_on=self._read_on)
        )

    def _passed(self, part: _Waiting) -> None:
        self._passed_by = part.position
        if part.mark:
            self._read_on = (part.position, part.mark)

    def _tell(self, entered: Arrived | DayOver) -> None:
        assert self._say is not None, "it is asked for before"
        self._outstanding = entered
        self._sent.append(entered)
        self._say(entered)

    def _next_rows(self) -> Arrived | None:
        """What waits of a day, up to a step's worth; None where it has no row inside the hours yet."""
        day = self._queue[0].day
        parts: list[_Waiting] = []
        count = 0
        while self._queue and self._queue[0].day is day and self._queue[0].rows is not None:
            if parts and count + len(self._queue[0].rows) > ROWS_MAX:
                break
            parts.append(self._queue.popleft())
            self._passed(parts[-1])
            count += len(parts[-1].rows or ())
        self._waiting_rows -= count
        self._room.notify_all()
        rows, counts, bad = self._usable(day, parts)
        if self._aside is not None:
            counts, bad = added(self._aside[0], counts), (*self._aside[1], *bad)
        if not self._begun and not (counts.rows - counts.outside_hours).any():
            self._aside = (counts, bad)
            return None
        self._aside = None
        return Arrived(
            date=day.date,
            rows=rows,
            counts=counts,
            bad=bad,
            position=parts[-1].position,
            read_on=self._read_on,
            host_ns=EPOCH if self._by_the_wall is None else parts[-1].came_ns,
        )

    def _usable(
        self, day: TradingDay, parts: list[_Waiting]
    ) -> tuple[RowBatch, RowCounts, tuple[BadRow, ...]]:
        raw = _joined([part.rows for part in parts if part.rows is not None])
        beyond: tuple[BadRow, ...] = ()
        more = no_counts(len(self._symbols))
        if any(part.ahead is not None for part in parts):
            ahead = np.concatenate(
                [
                    np.zeros(len(part.rows or ()), np.bool_) if part.ahead is None else part.ahead
                    for part in parts
                ]
            )
            beyond = tuple(self._ahead(raw, int(i)) for i in np.flatnonzero(ahead))
            count = np.bincount(raw.code[ahead], minlength=len(self._symbols))
            more = replace(more, rows=count, bad_rows=count)
            raw = raw.taken(np.flatnonzero(~ahead))
        data = as_came(raw, day, self._interval_ns, self._rules)
        assert isinstance(data.rows, RowBatch)
        self.account.bad_rows += int(data.counts.bad_rows.sum()) + len(beyond)
        return data.rows, added(data.counts, more), (*data.bad, *beyond)

    def _ahead(self, raw: RawRows, i: int) -> BadRow:
        file, row = raw.locate(i)
        ts = MarketTime(int(raw.ts[i]))
        return BadRow(file, row, raw.symbols[raw.code[i]], ts, "ts is ahead of this host's clock")

    def _say_unknown(self, symbol: str, count: int) -> None:
        unknown = self.account.unknown
        if symbol not in unknown and len(unknown) < UNKNOWN_NAMED_MAX:
            logger.warning(
                "{}: {} is not watched; its rows are counted and not used", self._name, symbol
            )
        unknown[symbol] += count

    def _range(self) -> str:
        if not self._days:
            return "none"
        return f"{self._days[0].date} to {self._days[-1].date}"


def _decimals(rows: RawRows) -> RawRows:
    """Prices that were float32 once as what they were, as in files."""
    columns = {
        name: column if name in QUANTITIES else as_written(column)
        for name, column in rows.columns.items()
    }
    return replace(rows, columns=columns)


def _joined(parts: list[RawRows]) -> RawRows:
    if len(parts) == 1:
        return parts[0]
    stops = np.cumsum([len(part) for part in parts])

    def locate(i: int) -> tuple[str, int]:
        part = int(stops.searchsorted(i, side="right"))
        return parts[part].locate(i - (int(stops[part - 1]) if part else 0))

    return replace(
        parts[0],
        code=np.concatenate([part.code for part in parts]),
        ts=np.concatenate([part.ts for part in parts]),
        columns={
            name: np.concatenate([_column(part, name) for part in parts])
            for name in dict.fromkeys(name for part in parts for name in part.columns)
        },
        locate=locate,
        signed=any(part.signed for part in parts),
    )


def _column(rows: RawRows, name: str) -> Prices:
    """A column that rows may lack, as those of before have no number, or are whole."""
    if name in rows.columns:
        return rows.columns[name]
    return np.full(len(rows), np.nan if name == "trade_id" else 0.0)
