"""Instruments: which contract goes with an underlying on a day, its tick, its lot, its segment.

A future is known by its underlying and the day on which it expires. Its name is its vendor's, and a
vendor's numbers are given out again after an expiry, so nothing is ever read out of them; nor out of
a weekday, as exchanges change it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, timedelta
from difflib import get_close_matches
from itertools import pairwise
from operator import itemgetter
from typing import TypeVar

from openbell.errors import DataError
from openbell.market.segments import ProductRule

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Instrument:
    """One row of a file of instruments."""

    row: int
    """Where it stands in the file: its line, or of Parquet its number from 1."""
    symbol: str
    underlying: str | None = None
    """Of a future, whose it is; None: what is traded itself, a share or an index."""
    expiry: date | None = None
    """The last day of trading, of a future."""
    tick_size: float | None = None
    """Price of one tick."""
    lot: float | None = None
    segment: str | None = None
    """As the exchange's hours are told apart: `equity`, `equity_fno`, `index`, `futures`."""
    exchange: str | None = None
    since: date | None = None
    """From when on the row holds; None: always."""


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row that can't be used."""

    row: int
    why: str
    underlying: str | None = None
    """None: that can't be told either."""


@dataclass(frozen=True, slots=True)
class Roll:
    """When the contract that goes with an underlying is another one."""

    days: int = 0
    """A contract is used through so many trading days before its expiry; 0: through that day."""

    def __str__(self) -> str:
        return f"{self.days}d" if self.days else "expiry"


@dataclass(frozen=True, slots=True)
class Contracts:
    """What instruments say for the days of a run."""

    companions: tuple[tuple[date, tuple[tuple[str, str], ...]], ...] = ()
    """Symbol and the companion that goes with it, each from a trading day on; all there are."""
    ticks: tuple[tuple[date, tuple[tuple[str, float], ...]], ...] = ()
    """Symbol and the price of its tick, each from a trading day on."""
    turns: tuple[tuple[str, tuple[date, ...]], ...] = ()
    """A symbol that stands for one contract after another, and the first trading day of each: what
    was before is another contract's."""

    only: tuple[str, ...] = ()
    """Symbols that a run has for nothing but to be a companion: each on its own days."""

    def companions_on(self, day: date) -> tuple[tuple[str, str], ...]:
        return on(self.companions, day) or ()

    def named(self, of: Collection[str], days: Iterable[date]) -> set[str]:
        """The companions of some symbols on some days."""
        return {name for day in days for symbol, name in self.companions_on(day) if symbol in of}

    def ticks_on(self, day: date) -> tuple[tuple[str, float], ...]:
        return on(self.ticks, day) or ()

    def from_day(self, first: date) -> Contracts:
        """What of it concerns a day and those after it."""
        return replace(
            self,
            companions=_from_day(self.companions, first),
            ticks=_from_day(self.ticks, first),
        )

    def until(self, last: date) -> Contracts:
        """What of it concerns a day and those before it."""
        return replace(
            self,
            companions=tuple(of for of in self.companions if of[0] <= last),
            ticks=tuple(of for of in self.ticks if of[0] <= last),
        )

    def registers(self, symbols: Sequence[str]) -> tuple[tuple[date, tuple[str, ...]], ...]:
        """A run's symbols, each from a trading day on: of contracts only those that it needs then."""
        there, always = set(symbols), set(symbols).difference(self.only)
        return _changes(
            (since, tuple(sorted(there & {*always, *(name for _, name in pairs)})))
            for since, pairs in self.companions
        )


NO_CONTRACTS = Contracts()
"""Where there is no file of instruments."""


def on(stretches: Sequence[tuple[date, T]], day: date) -> T | None:
    """What holds on a day, of values that each hold from a date on; None before the first."""
    place = bisect_right(stretches, day, key=itemgetter(0))
    return stretches[place - 1][1] if place else None


def _from_day(stretches: tuple[tuple[date, T], ...], first: date) -> tuple[tuple[date, T], ...]:
    later = tuple((since, value) for since, value in stretches if since > first)
    value = on(stretches, first)
    return later if value is None else ((first, value), *later)


def _changes(of_days: Iterable[tuple[date, T]]) -> tuple[tuple[date, T], ...]:
    """Values of days one after another, as stretches that each hold from a day on."""
    found: list[tuple[date, T]] = []
    for day, value in of_days:
        if not found or found[-1][1] != value:
            found.append((day, value))
    return tuple(found)


class Instruments:
    """What a file says of instruments; questions are answered for a day.

    Parameters
    ----------
    file : str
        Its name, for messages.
    rows : sequence of Instrument
        Those that can be used.
    unusable : sequence of Unusable
        Those that can't.
    """

    def __init__(
        self, file: str, rows: Sequence[Instrument], unusable: Sequence[Unusable] = ()
    ) -> None:
        self.file = file
        self.rows = tuple(rows)
        self.unusable = tuple(unusable)
        self._futures: dict[str, dict[date, list[Instrument]]] = {}
        self._by_symbol: dict[str, list[Instrument]] = {}
        for row in self.rows:
            self._by_symbol.setdefault(row.symbol, []).append(row)
            if row.underlying is not None and row.expiry is not None:
                expiries = self._futures.setdefault(row.underlying, {})
                expiries.setdefault(row.expiry, []).append(row)

    @property
    def underlyings(self) -> tuple[str, ...]:
        """Those that have futures, sorted."""
        return tuple(sorted(self._futures))

    def expiries(self, underlying: str) -> tuple[date, ...]:
        """When its futures expire, in order.

        Raises
        ------
        DataError
            If it has none, or a row of it can't be used; the text says which.
        """
        if damaged := [row for row in self.unusable if row.underlying == underlying]:
            raise DataError(
                f"{self.file}, row {damaged[0].row}: {damaged[0].why}; correct it, as it may be the "
                f"future that goes with {underlying} on some day"
            )
        if underlying not in self._futures:
            near = get_close_matches(underlying, self._futures, n=1)
            meant = f' (did you mean "{near[0]}"?)' if near else ""
            some = ", ".join(self.underlyings[:8])
            has = f"it has those of {len(self._futures)}: {some}" if some else "it has no futures"
            more = ", …" if len(self._futures) > 8 else ""
            raise DataError(f"{self.file} has no future of {underlying!r}{meant}; {has}{more}")
        return tuple(sorted(self._futures[underlying]))

    def contract(
        self, underlying: str, day: date, roll: Roll, dates: Sequence[date]
    ) -> Instrument | None:
        """The future that goes with an underlying on a day; None: the file has none that far.

        It is the one that expires next, of those that `roll` does not leave behind.

        Parameters
        ----------
        dates : sequence of date
            Trading days, ascending: `day`, and `roll.days` or more after it.

        Raises
        ------
        DataError
            If several symbols are that future.
        """
        place = bisect_left(dates, day)
        for expiry in self.expiries(underlying):
            # Of an expiry on a holiday, the trading day before it counts.
            if expiry >= day and bisect_right(dates, expiry) - 1 - roll.days >= place:
                return self._future(underlying, expiry, day)
        return None

    def _future(self, underlying: str, expiry: date, day: date) -> Instrument:
        rows = self._futures[underlying][expiry]
        another = next((row for row in rows if row.symbol != rows[0].symbol), None)
        if another is not None:
            raise DataError(
                f"{self.file}: rows {rows[0].row} and {another.row}, {rows[0].symbol} and "
                f"{another.symbol}, are both the future of {underlying} that expires {expiry}; say "
                "which with instruments.filters, such as {exchange: NFO}, or drop one"
            )
        held = self._of(rows[0].symbol, day, expiry)
        return held[0] if held else rows[0]

    def tick_size(self, symbol: str, day: date) -> float | None:
        """Price of a tick on a day; None: the file does not say.

        Raises
        ------
        DataError
            If rows contradict each other.
        """
        return self._said(symbol, day, "tick_size", lambda row: row.tick_size)

    def segment(self, symbol: str, day: date) -> str | None:
        """Of which segment of its exchange a symbol is on a day; None: the file does not say.

        Raises
        ------
        DataError
            If rows contradict each other.
        """
        return self._said(symbol, day, "segment", lambda row: row.segment)

    def products(self, symbols: Iterable[str] | None = None) -> tuple[ProductRule, ...]:
        """Which segment each symbol is and when, of those of which the file says one.

        Parameters
        ----------
        symbols : iterable of str, optional
            Those that are asked for; None: all that it has.

        Raises
        ------
        DataError
            If rows contradict each other.
        """
        found: list[ProductRule] = []
        for symbol in self._by_symbol if symbols is None else symbols:
            rows = self._by_symbol.get(symbol, ())
            if not any(row.segment for row in rows):
                continue
            edges: list[date | None] = [None, *self.changes(symbol), None]
            for since, until in pairwise(edges):
                of = self.segment(symbol, since or date.min)
                if of is not None:
                    found.append(ProductRule(symbol, of, since, until))
        return tuple(found)

    def changes(self, symbol: str) -> tuple[date, ...]:
        """From which dates on what the file says of a symbol may be something else."""
        since = {row.since for row in self._by_symbol.get(symbol, ()) if row.since is not None}
        return tuple(sorted({*since, *self.turns(symbol)}))

    def turns(self, symbol: str) -> tuple[date, ...]:
        """From which dates on a symbol stands for the next contract, in order; none for most."""
        expiries = {row.expiry for row in self._by_symbol.get(symbol, ()) if row.expiry is not None}
        return tuple(expiry + timedelta(days=1) for expiry in sorted(expiries)[:-1])

    def _said(
        self, symbol: str, day: date, column: str, said: Callable[[Instrument], T | None]
    ) -> T | None:
        first: tuple[int, T] | None = None
        for row in self._of(symbol, day):
            if (value := said(row)) is None:
                continue
            if first is not None and value != first[1]:
                raise DataError(
                    f"{self.file}: {column} of {symbol} on {day} is {first[1]} by row {first[0]} "
                    f"and {value} by row {row.row}; tell them apart with instruments.filters, such "
                    "as {exchange: NSE}, or by a column since, or drop one"
                )
            first = first or (row.row, value)
        return None if first is None else first[1]

    def _of(self, symbol: str, day: date, expiry: date | None = None) -> list[Instrument]:
        """The rows that hold for a symbol on a day."""
        rows = self._by_symbol.get(symbol, [])
        expiries = sorted({row.expiry for row in rows if row.expiry is not None})
        if expiry is None and expiries:
            expiry = next((of for of in expiries if of >= day), expiries[-1])
        rows = [
            row
            for row in rows
            if row.expiry in (None, expiry) and (row.since is None or row.since <= day)
        ]
        latest = max((row.since or date.min for row in rows), default=None)
        return [row for row in rows if (row.since or date.min) == latest]


def contracts(
    instruments: Instruments,
    days: Sequence[date],
    dates: Sequence[date],
    companions: Mapping[str, str],
    futures: Mapping[str, tuple[str, Roll]],
) -> Contracts:
    """What instruments say for the days of a run.

    Parameters
    ----------
    days : sequence of date
        The run's trading days, ascending.
    dates : sequence of date
        These and the trading days that follow them, as many as the longest roll.
    companions : mapping
        Symbol → its companion on all days.
    futures : mapping
        Symbol → the underlying whose future is its companion, and when that is another one.

    Raises
    ------
    DataError
        If the file has no future of an underlying, or contradicts itself.
    """

    def of_day(day: date) -> tuple[tuple[str, str], ...]:
        found = dict(companions)
        for symbol, (underlying, roll) in futures.items():
            if (contract := instruments.contract(underlying, day, roll, dates)) is not None:
                found[symbol] = contract.symbol
        return tuple(found.items())

    return Contracts(companions=_changes((day, of_day(day)) for day in days))


def ticks_of(
    instruments: Instruments,
    days: Sequence[date],
    symbols: Sequence[str],
    others: Sequence[str] = (),
) -> tuple[tuple[date, tuple[tuple[str, float], ...]], ...]:
    """The prices of symbols' ticks, each from a trading day on, of those that the file says.

    Parameters
    ----------
    days : sequence of date
        The run's trading days, ascending.
    others : sequence of str
        Symbols that may come into the run: one about which rows contradict each other is left out.

    Raises
    ------
    DataError
        If rows contradict each other.
    """

    every = (*symbols, *others)

    def of_day(day: date) -> tuple[tuple[str, float], ...]:
        found = {symbol: instruments.tick_size(symbol, day) for symbol in symbols}
        for symbol in others:
            with suppress(DataError):
                found[symbol] = instruments.tick_size(symbol, day)
        return tuple((symbol, tick) for symbol, tick in found.items() if tick is not None)

    # Only from these dates on it may be another one.
    dates = sorted({first for symbol in every for first in instruments.changes(symbol)})
    looked_at = {days[0], *(days[at] for d in dates if (at := bisect_left(days, d)) < len(days))}
    return _changes((day, of_day(day)) for day in sorted(looked_at))
