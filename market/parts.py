"""Derived bars where symbols have hours of their own: each symbol's begin with its own open.

Where all symbols' bars of an interval are bars of the day's grid, as 5 and 15 minutes mostly are, the
day is one part. Else there is a part for each of the different hours, with a grid of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Codes, Positions, Rows
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.derived import replaced
from openbell.market.products import fits, own_hours
from openbell.market.results import DerivedBars
from openbell.market.widening import Widening, widening


@dataclass(frozen=True, eq=False, slots=True)
class Part:
    """Symbols whose bars of one interval have one grid."""

    minutes: int
    """Of the interval."""
    day: TradingDay
    """With their hours."""
    symbols: tuple[str, ...]
    columns: Positions | None = None
    """Where they stand in the register; None: it is the whole."""
    place: Codes | None = None
    """(s,) of each symbol of the register its place in the part, -1 of others."""

    def taken(self, rows: Rows) -> tuple[Rows, Positions | None]:
        """The rows that are of the part, and where they stood; None: all are."""
        if self.columns is None or self.place is None:
            return rows, None
        if isinstance(rows, BarBlock):
            starts, _ = self.day.grid(rows.interval_ns)
            at = np.flatnonzero(np.isin(rows.ts, starts))
            return self._of_block(rows, at), at
        at = np.flatnonzero(self.place[rows.code] >= 0)
        which = np.zeros(len(rows), np.bool_)
        which[at] = True
        found = rows.taken(which)
        code = self.place[found.code]
        return replace(found, day=self.day, symbols=self.symbols, code=code), at

    def _of_block(self, rows: BarBlock, at: Positions) -> BarBlock:
        def column(values: NDArray[Any]) -> NDArray[Any]:
            return values[np.ix_(at, self.columns)]  # type: ignore[arg-type]

        return BarBlock(
            self.day,
            self.symbols,
            rows.interval_ns,
            rows.ts[at],
            rows.ends[at],
            column(rows.open),
            column(rows.high),
            column(rows.low),
            column(rows.close),
            column(rows.volume),
            column(rows.present),
        )

    def of_register(self, bars: DerivedBars, symbols: tuple[str, ...]) -> DerivedBars:
        """Bars of the part as those of all symbols."""
        if self.columns is None:
            return bars
        return replace(bars, symbols=symbols, symbol=self.columns[bars.symbol].astype(np.int32))


def parts_of(
    day: TradingDay, symbols: tuple[str, ...], intervals_minutes: Sequence[int]
) -> tuple[Part, ...]:
    """What bars of some intervals are made of; parts of an interval follow each other."""
    if not day.products:
        return tuple(Part(minutes, day, symbols) for minutes in intervals_minutes)
    return tuple(part for minutes in intervals_minutes for part in _parts(day, symbols, minutes))


def together(bars: Sequence[DerivedBars]) -> list[DerivedBars]:
    """One for each interval, in the order of (ts, symbol) where there were several."""
    found: dict[int, list[DerivedBars]] = {}
    for each in bars:
        found.setdefault(each.interval_minutes, []).append(each)
    return [of[0] if len(of) == 1 else replaced(of, ()) for of in found.values()]


@lru_cache(maxsize=16)
def _parts(day: TradingDay, symbols: tuple[str, ...], minutes: int) -> tuple[Part, ...]:
    # The products decide, not the symbols: who comes into a day under way leaves its parts as they are.
    different = tuple(dict.fromkeys(product.segments for product in day.products))
    if all(fits(hours, day, minutes * MINUTE_NS) for hours in different):
        return (Part(minutes, day, symbols),)
    own = own_hours(day, symbols)
    of_each = [day.segments] * len(symbols)
    if own is not None:
        of_each = [own.segments[number] for number in own.which.tolist()]
    found = []
    for hours in different:
        columns = np.array([n for n, of in enumerate(of_each) if of == hours], np.intp)
        place = np.full(len(symbols), -1, np.int32)
        place[columns] = np.arange(len(columns), dtype=np.int32)
        names = tuple(symbols[n] for n in columns.tolist())
        of_day = replace(day, segments=hours, products=(), named=())
        found.append(Part(minutes, of_day, names, columns, place))
    return tuple(found)


def widened(
    parts: tuple[tuple[Part, ...], tuple[Part, ...], tuple[Part, ...]], added: Sequence[str]
) -> list[Widening]:
    """How each part comes to have more symbols: those of before, of after, of what is put in."""
    return [
        widening(before.symbols, after.symbols, alone.symbols, added)
        for before, after, alone in zip(*parts, strict=True)
    ]
