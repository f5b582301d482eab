"""Feeds of one's own: what comes in through the door, and that it comes again after a restart."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any, get_args

import numpy as np

from openbell.adapters.feeds import ConnectionState, Feed
from openbell.market.bars import BAR_COLUMNS, EXTRAS, TICK_COLUMNS, Kind, RawRows
from openbell.market.days import MarketTime


@dataclass
class Delivered:
    """What a feed has delivered."""

    rows: list[Any] = field(default_factory=list)
    """`(symbol, ts, price, size)` of ticks, `(symbol, ts, open, high, low, close, volume)` of bars,
    ts in ns UTC; the date where a day was ended."""
    places: list[tuple[str, int]] = field(default_factory=list)
    """What each row is called where it can't be used; of the end of a day its mark and 0."""
    marks: list[tuple[int, str]] = field(default_factory=list)
    """Positions with the marks that stand for them: from each of them a restart goes on."""
    refused: list[tuple[str, str, str]] = field(default_factory=list)
    """Kind, place and reason of what was no row."""
    said: list[tuple[ConnectionState, str]] = field(default_factory=list)
    """What it told of its connection."""
    gaps: list[tuple[int, int, tuple[str, ...] | None]] = field(default_factory=list)
    """Where it said that rows may be missing: from, until, of which symbols."""


def delivered(
    feed: Feed,
    count: int,
    *,
    kind: Kind = "ticks",
    position: int = 0,
    mark: str = "",
    seconds: float = 20.0,
) -> Delivered:
    """Run a feed until so many rows and ends of days have come, or it returns; then close it.

    Parameters
    ----------
    position, mark
        Where it goes on, as after a restart; `count` counts from there.
    seconds : float
        How long at most, and how long at most `close` may take to have it return.

    Raises
    ------
    AssertionError
        If what comes is not as a run needs it, or not all comes in time.
    Exception
        What the feed raises.
    """
    door = _Door(kind, position, count)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            feed.run(door, position, mark)
        except BaseException as error:  # noqa: BLE001 it is raised where the test sees it
            raised.append(error)
        with door.news:
            door.returned = True
            door.news.notify_all()

    thread = threading.Thread(target=run, name="openbell-feed", daemon=True)
    thread.start()
    with door.news:
        door.news.wait_for(lambda: door.returned or door.full, seconds)
    feed.close()
    thread.join(seconds)
    if raised:
        raise raised[0]
    came = len(door.found.rows)
    assert not thread.is_alive(), f"close() did not have run() return within {seconds:g} s"
    assert came >= count, f"{came} of {count} rows came within {seconds:g} s"
    return door.found


def check_feed(
    make: Callable[[], Feed], count: int, *, kind: Kind = "ticks", seconds: float = 20.0
) -> Delivered:
    """Run a feed as a run does, and again from each of its marks, as after a kill.

    Parameters
    ----------
    make : callable
        Makes the feed anew, as each process does.
    count : int
        How many rows and ends of days it has.

    Returns
    -------
    What it has delivered from the beginning.

    Raises
    ------
    AssertionError
        If what comes is not as a run needs it, or other rows come after a restart.
    """
    whole = delivered(make(), count, kind=kind, seconds=seconds)
    if make().rewind != "position":
        return whole
    assert whole.marks, "no mark came: a feed that can be asked again names one with its rows"
    for position, mark in [(0, ""), *whole.marks]:
        left = whole.rows[position:]
        again = delivered(
            make(), len(left), kind=kind, position=position, mark=mark, seconds=seconds
        )
        differs = next(
            (n for n, (a, b) in enumerate(zip(again.rows, left, strict=False)) if a != b), None
        )
        assert differs is None, (
            f"after a restart from {mark!r}, position {position}, row {position + (differs or 0)} is "
            f"{again.rows[differs or 0]}, and was {left[differs or 0]}"
        )
    return whole


class _Door:
    """Where the rows of one process come in; it looks at them as a run would."""

    def __init__(self, kind: Kind, position: int, count: int) -> None:
        self.found = Delivered()
        self.news = threading.Condition()
        self.returned = False
        self._columns = TICK_COLUMNS if kind == "ticks" else BAR_COLUMNS
        self._kind = kind
        self._first = position
        self._count = count

    @property
    def full(self) -> bool:
        return len(self.found.rows) >= self._count

    def take(self, rows: RawRows, position: int | None = None, mark: str = "") -> int:
        n = len(rows)
        assert rows.kind == self._kind, f"rows.kind is {rows.kind!r}, the run takes {self._kind}"
        named = set(rows.columns) - set(EXTRAS[self._kind])
        assert named == set(self._columns), f"rows.columns has {sorted(rows.columns)}"
        lengths = {name: len(column) for name, column in rows.columns.items()}
        for name, length in {"code": len(rows.code), **lengths}.items():
            assert length == n, f"{name} has {length} values, ts has {n}"
        assert rows.ts.dtype == np.int64, f"ts is of the type {rows.ts.dtype}, not int64 (ns UTC)"
        wrong = (rows.code < 0) | (rows.code >= len(rows.symbols))
        assert not wrong.any(), (
            f"code {rows.code[wrong][:1]} is none of {len(rows.symbols)} symbols"
        )
        values = zip(*(rows.columns[name].tolist() for name in self._columns), strict=True)
        names = [rows.symbols[code] for code in rows.code.tolist()]
        came = [
            (symbol, ts, *of)
            for symbol, ts, of in zip(names, rows.ts.tolist(), values, strict=True)
        ]
        return self._keep(came, [rows.locate(i) for i in range(n)], position, mark)

    def end_day(self, day: date, position: int | None = None, mark: str = "") -> int:
        return self._keep([day], [(mark, 0)], position, mark)

    def caught_up(self) -> None:
        return

    def halted(self, symbols: tuple[str, ...], on: bool, why: str = "") -> None:
        assert isinstance(symbols, tuple), f"symbols are {symbols!r}, not a tuple of them"

    def refuse(self, kind: str, where: str, why: str) -> None:
        with self.news:
            self.found.refused.append((kind, where, why))

    def said(self, state: ConnectionState, why: str) -> None:
        assert state in get_args(ConnectionState), f"{state!r} is no state of a connection"
        self._one_line(why)
        with self.news:
            self.found.said.append((state, why))
            self.news.notify_all()

    def gap(
        self,
        from_ns: MarketTime,
        until_ns: MarketTime,
        symbols: tuple[str, ...] | None,
        why: str,
    ) -> None:
        assert from_ns <= until_ns, f"a gap from {from_ns} until {until_ns} ends before it begins"
        self._one_line(why)
        with self.news:
            self.found.gaps.append((from_ns, until_ns, symbols))
            self.news.notify_all()

    def _one_line(self, why: str) -> None:
        assert why.isprintable(), f"{why!r} is told to people in one line"

    def _keep(
        self, came: list[Any], places: list[tuple[str, int]], position: int | None, mark: str
    ) -> int:
        time.sleep(0)  # as a run, it may let others go first
        with self.news:
            found = self.found
            reached = self._first + len(found.rows)
            position = reached if position is None else position
            assert position <= reached, f"rows {reached} to {position} are left out"
            # What the run has already is ignored, as far as it is the same.
            had = reached - position
            earlier = found.rows[max(0, len(found.rows) - had) :][: len(came)]
            assert had > len(found.rows) or earlier == came[: len(earlier)], (
                f"rows from {position} on are others than when they came first"
            )
            found.rows += came[had:]
            found.places += places[had:]
            if mark and had < len(came):
                found.marks.append((position + len(came), mark))
            self.news.notify_all()
            return self._first + len(found.rows)
