"""Listens to what a day brings one symbol, beside the actors, as a run goes through it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from openbell.actors import breakout, session
from openbell.actors.effects import Effects, Publish
from openbell.market.bars import BadRow, Prices, RowBatch, RowCounts, Rows, joined
from openbell.market.breakouts import Armed
from openbell.market.conditions import Verdict
from openbell.market.days import Nanoseconds
from openbell.market.volumes import (
    VolumeRule,
    Volumes,
    measured,
    measured_block,
    slot_starts,
    traded,
)
from openbell.market.windows import SessionSpec
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.session import DayCleared, DayOpened, SessionCompleted
from openbell.messages.signal import Signals
from openbell.runtime.kernel.cells import Cell
from openbell.runtime.results.signals import Signal, of_batch

SESSION = session.name(SessionSpec("", "", ""))
"""What addresses of sessions' actors begin with."""


@dataclass(frozen=True, eq=False, slots=True)
class Completed:
    """A session that was over: the symbol's levels, and how they were armed."""

    armed: Armed
    """Of the symbol alone."""
    count: int
    """Rows used for them."""
    before: int
    """Pieces of rows that had come."""
    filled: bool = False
    """Whether rows of the window came from history later; levels are as they stand since then, but
    of a side that had broken."""
    now: tuple[float, float] = (np.nan, np.nan)
    """High and low by all rows of the window."""


class Witness:
    """What the breakout's actor heard and said of one symbol on the day that was opened last.

    Parameters
    ----------
    cells : mapping
        Of an engine that has not been run.
    """

    def __init__(self, cells: Mapping[str, Cell], symbol: str) -> None:
        self.symbol = symbol
        self.opened: DayOpened | None = None
        self.completed: dict[str, Completed] = {}
        self.signals: list[Signal] = []
        self.watermark_ns = 0
        self.filled = False
        """Whether rows of before came from history when later ones had been looked at."""
        self._found: tuple[breakout.Narrowed, ...] = ()
        self.counts: list[RowCounts] = []
        self.bad: list[BadRow] = []
        self._rows: list[RowBatch] = []
        self._passed: list[int] = []
        self._in_auctions: list[tuple[RowBatch, int]] = []
        of_sessions = (name for name in cells if name.startswith(SESSION))
        self._sessions = [name.removeprefix(SESSION) for name in of_sessions]
        cell = cells[breakout.NAME]
        update = cell.actor.update
        assert isinstance(update, partial)
        self._settings: breakout.Settings = update.args[0]
        self._traded: dict[VolumeRule, list[tuple[Prices, Prices]]] = {
            rules.volume: [] for rules in self._settings.rules if rules.volume is not None
        }
        self.unknown: dict[str, str] = {}
        """Why the symbol, or its companion, has no value of an indicator that rules ask for."""

        def heard(state: breakout.State, message: Message) -> tuple[breakout.State, Effects]:
            after, said = update(state, message)
            self._hear(message, state, after)
            for effect in said:
                if isinstance(effect, Publish) and isinstance(effect.message, Signals):
                    self.signals += of_batch(effect.message.batch, symbol)
            return after, said

        cell.actor = replace(cell.actor, update=heard)

    @property
    def place(self) -> int:
        """Of the symbol in the day's register."""
        assert self.opened is not None
        return self.opened.symbols.index(self.symbol)

    @property
    def knows(self) -> bool:
        """Whether the day was opened, for this symbol too."""
        return self.opened is not None and self.symbol in self.opened.symbols

    def rows(self, after: int = 0) -> RowBatch:
        """The symbol's rows in the order in which they came, those of the first batches left out."""
        assert self.opened is not None
        parts = self._rows[after:]
        return joined(parts) if parts else _none(self.opened, self.symbol)

    def traded(self, rule: VolumeRule, after: int = 0) -> tuple[Prices, Prices]:
        """(n,) for each of the rows what had traded in its minute, and what that is held against."""
        parts = self._traded[rule][after:]
        nothing = np.empty(0)
        volume, average = (np.concatenate([nothing, *(of[n] for of in parts)]) for n in (0, 1))
        return volume, average

    def _measure(self, state: breakout.State, rows: Rows) -> None:
        assert self.opened is not None
        before = state.volumes or Volumes()
        for rule, found in self._traded.items():
            usual = breakout.usual(self._settings, state, self.opened, rule)
            if isinstance(rows, RowBatch):
                at = np.flatnonzero(rows.code == self.place)
                none = np.empty(0), np.empty(0)
                found.append(measured(before, rows, usual, at) if len(at) else none)
            else:
                there = rows.present[:, self.place]
                column = np.array([self.place])
                grids = measured_block(before, rows, usual, column) if len(rows) else ()
                volume, average = (
                    (grid[there, 0] for grid in grids) if grids else (np.empty(0),) * 2
                )
                found.append((volume, average))
        names = {
            self.symbol,
            *(name for of, name in self._settings.companions if of == self.symbol),
        }
        for of in state.values:
            for name in sorted(names & of.reasons.keys()):
                self.unknown[of.name] = f"{name}: {of.reasons[name]}"

    def is_left_out(self, known_ns: int) -> bool:
        """Whether a break of the symbol that was known at an instant was not reported, as no scan
        that says whose are had found it by then; not so where rows of before came later, as breaks
        are what was reported there."""
        assert self.opened is not None
        cut = bisect_right if self.opened.interval_ns is None else bisect_left
        place = cut([of.since_ns for of in self._found], known_ns)
        of = self._found[place - 1] if place else None
        return of is not None and of.alone and self.symbol not in of.symbols and not self.filled

    def passed(self) -> Nanoseconds:
        """(n,) up to where the watermark had come before each of the rows: a window that ended by
        then was over."""
        lengths = [len(part) for part in self._rows]
        return np.repeat(np.array(self._passed, np.int64), lengths)

    def in_auctions(self) -> tuple[RowBatch, Nanoseconds]:
        """The symbol's rows in auctions that sessions name, and as of `passed` of each."""
        assert self.opened is not None
        parts = [rows for rows, _ in self._in_auctions]
        passed = [np.full(len(rows), passed_ns) for rows, passed_ns in self._in_auctions]
        none = _none(self.opened, self.symbol)
        return joined([none, *parts]), np.concatenate([np.empty(0, np.int64), *passed])

    def _hear(self, message: Message, before: breakout.State, after: breakout.State) -> None:
        if after.found is not before.found or isinstance(message, DayOpened):
            self._found = after.found
        match message:
            case DayCleared():
                self.opened = None
            case DayOpened():
                self.opened, self.completed, self.signals = message, {}, []
                self.counts, self.bad = [message.counts], list(message.bad)
                self._rows, self._passed, self.watermark_ns = [], [], 0
                self._in_auctions = []
                self._traded = {rule: [] for rule in self._traded}
                self.unknown = {}
                self.filled = False
            case Batch() if self.knows:
                if message.backfilled is not None:
                    # They are merged into what is over: too late for nothing.
                    self.filled = True
                    self._rows.append(_of_symbol(message.backfilled, self.symbol))
                    self._passed.append(0)
                    self._measure(before, message.backfilled)
                    if self._traded:
                        rows = message.backfilled
                        more = traded(before.volumes or Volumes(), rows, slot_starts(rows))
                        before = replace(before, volumes=more)
                self._rows.append(_of_symbol(message.rows, self.symbol))
                self._passed.append(message.passed_ns)
                for auctions, passed_ns in (
                    (message.auctions_backfilled, 0),
                    (message.auctions, message.passed_ns),
                ):
                    if auctions is not None:
                        self._in_auctions.append((_of_symbol(auctions, self.symbol), passed_ns))
                self._measure(before, message.rows)
                self.watermark_ns = max(self.watermark_ns, message.watermark_ns)
                self.bad += message.bad
                if message.counts is not None:
                    self.counts.append(message.counts)
            case SessionCompleted(session=name, levels=levels) if self.knows:
                position = self._sessions.index(name)
                (armed,) = (w.armed for w in after.watches if w.session == position)
                mine = _armed_of(armed, self.place)
                count = int(levels.count[self.place])
                now = float(levels.high[self.place]), float(levels.low[self.place])
                if (first := self.completed.get(name)) is not None:
                    watched = mine.watched | first.armed.watched
                    mine = replace(
                        first.armed,
                        level=mine.level,
                        threshold=mine.threshold,
                        limit=mine.limit,
                        complete=mine.complete,
                        watched=watched,
                        verdict=mine.verdict,
                    )
                    self.completed[name] = Completed(mine, count, first.before, True, now)
                else:
                    self.completed[name] = Completed(mine, count, len(self._rows), now=now)
            case _:
                pass


def _armed_of(armed: Armed, place: int) -> Armed:
    """Levels of one symbol alone."""
    one = slice(place, place + 1)
    return replace(
        armed,
        level=armed.level[:, one],
        threshold=armed.threshold[:, one],
        complete=armed.complete[one],
        watched=armed.watched[:, one],
        broken=armed.broken[:, one],
        inside=armed.inside[:, one],
        looked=armed.looked[one],
        gap=armed.gap[:, one],
        limit=None if armed.limit is None else armed.limit[:, one],
        ticks=None if armed.ticks is None else armed.ticks[one],
        verdict=None if armed.verdict is None else _verdict_of(armed.verdict, one),
    )


def _verdict_of(verdict: Verdict, one: slice) -> Verdict:
    least, most, moved = verdict.least, verdict.most, verdict.moved
    return Verdict(
        refused=verdict.refused[:, one],
        least=None if least is None else least[one],
        most=None if most is None else most[one],
        moved=None if moved is None else moved[one],
    )


def _of_symbol(rows: Rows, symbol: str) -> RowBatch:
    """The rows of one symbol, one after another."""
    place = rows.symbols.index(symbol)
    if isinstance(rows, RowBatch):
        mine = rows.taken(rows.code == place)
        known, interval_ns = mine.known, rows.interval_ns
        ts, columns = mine.ts, (mine.open, mine.high, mine.low, mine.close, mine.volume)
    else:
        there = rows.present[:, place]
        ts, known, interval_ns = rows.ts[there], rows.ends[there], rows.interval_ns
        grids = (rows.open, rows.high, rows.low, rows.close, rows.volume)
        columns = tuple(grid[there, place] for grid in grids)
    code = np.zeros(len(ts), np.int32)
    revises = mine.revises if isinstance(rows, RowBatch) else None
    return RowBatch(rows.day, (symbol,), interval_ns, code, ts, known, *columns, revises=revises)


def _none(opened: DayOpened, symbol: str) -> RowBatch:
    times, prices = np.empty(0, np.int64), np.empty(0)
    columns = (prices,) * 5
    code = np.empty(0, np.int32)
    return RowBatch(opened.day, (symbol,), opened.interval_ns, code, times, times, *columns)
