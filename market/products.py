"""Symbols of one run whose hours differ: which product each is, and what of a day is its own.

A day whose symbols all have the same hours knows nothing of products, so that nothing is looked up
there. On others each symbol's rows count inside its own hours only; the day's grid is that of all
hours together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import Codes, Mask
from openbell.market.days import (
    Explanation,
    MarketTime,
    Nanoseconds,
    ProductHours,
    Segment,
    TradingDay,
    is_inside,
    minutes_of,
    union,
)
from openbell.market.results import Counts
from openbell.market.segments import matched


def together(main: str, by_product: dict[str, Explanation], named: dict[str, str]) -> Explanation:
    """A date on which several products are watched.

    Parameters
    ----------
    main : str
        The product of all symbols that are not named.
    by_product : dict
        What the calendar says of each product.
    named : dict
        Name or pattern → product on that date.
    """
    whole = by_product[main]
    day = whole.day
    others = sorted({product for product in named.values() if product != main})
    days = {of: by_product[of].day for of in (main, *others)}
    if day is None or all(of is None or of.segments == day.segments for of in days.values()):
        return whole
    products = [
        ProductHours(
            of,
            found.segments,
            tuple(sorted(text for text, product in named.items() if product == of)),
            found.layer,
            found.reason,
            found.auctions,
        )
        for of, found in days.items()
        if found is not None
    ]
    segments = union(of.segments for of in products)
    joined = replace(day, segments=segments, products=tuple(products), auctions=())
    return replace(whole, day=joined)


@dataclass(frozen=True, eq=False)
class OwnHours:
    """Which part of a day is each symbol's own; arrays over the symbols (s,) of a register."""

    day: TradingDay
    segments: tuple[tuple[Segment, ...], ...]
    """The different hours that there are among the symbols."""
    which: Codes
    """(s,) whose of these each symbol has."""
    opens: Nanoseconds
    """(k, s) where each one's spans begin, ascending; the day's close where it has fewer than k."""
    closes: Nanoseconds
    """(k, s) where they end; the day's close likewise."""

    @cached_property
    def last_closes(self) -> Nanoseconds:
        """(s,) when each symbol's day is over."""
        per = np.array([of[-1].close_ns for of in self.segments], np.int64)
        return per[self.which]

    @cached_property
    def together(self) -> tuple[Segment, ...]:
        """When some symbol of the register trades."""
        return union(self.segments)

    def holds(self, code: Codes, ts: Nanoseconds) -> Mask:
        """(n,) whether rows lie inside the hours of their symbols."""
        inside: Mask = (ts >= self.opens[0][code]) & (ts < self.closes[0][code])
        for opens, closes in zip(self.opens[1:], self.closes[1:], strict=True):
            inside |= (ts >= opens[code]) & (ts < closes[code])
        return inside

    def slots(self, starts: Nanoseconds) -> Mask:
        """(m, s) which bars, by their starts (m,), lie inside the hours of which symbol."""
        per = np.stack([is_inside(of, starts) for of in self.segments], axis=1)
        return per[:, self.which]

    @property
    def minutes(self) -> Counts:
        """(s,) minutes inside the hours."""
        per = np.array([minutes_of(of) for of in self.segments], np.int64)
        return per[self.which]


def own_hours(day: TradingDay, symbols: tuple[str, ...]) -> OwnHours | None:
    """What of a day is each symbol's own; None where all have the day's hours, as mostly."""
    if not day.products or not symbols:
        return None
    return _own_hours(day, symbols)


def of_symbol(explained: Explanation, symbol: str) -> Explanation:
    """What holds on a date for one symbol."""
    day = explained.day
    if day is None or not day.products:
        return explained
    (name,) = matched(_named(day), (symbol,))
    product = next((of for of in day.products if of.product == name), day.products[0])
    alone = replace(
        day,
        segments=product.segments,
        layer=product.layer,
        reason=product.reason,
        products=(replace(product, symbols=(symbol,)),),
        named=(),
    )
    return replace(explained, day=alone, layer=product.layer, reason=product.reason)


def fits(hours: Sequence[Segment], day: TradingDay, interval_ns: int) -> bool:
    """Whether the bars of some hours are bars of the day's grid."""
    starts, ends = replace(day, segments=tuple(hours), products=(), named=()).grid(interval_ns)
    whole_starts, whole_ends = day.grid(interval_ns)
    at = whole_starts.searchsorted(starts).clip(max=len(whole_starts) - 1)
    return bool((whole_starts[at] == starts).all() and (whole_ends[at] == ends).all())


def products_of(day: TradingDay, symbols: tuple[str, ...]) -> NDArray[np.str_]:
    """(s,) which product of a day that has some each symbol is."""
    main = day.products[0].product
    return np.array([main if of is None else of for of in matched(_named(day), symbols)], np.str_)


def _named(day: TradingDay) -> tuple[tuple[str, str], ...]:
    return tuple((text, of.product) for of in day.products for text in of.symbols)


def edges(day: TradingDay) -> tuple[set[MarketTime], set[MarketTime]]:
    """Where the hours of symbols begin and end inside a day."""
    spans = [*day.segments, *(s for of in day.products for s in of.segments)]
    return {MarketTime(s.open_ns) for s in spans}, {MarketTime(s.close_ns) for s in spans}


@lru_cache(maxsize=16)  # a day's are asked for with each batch; history keeps some
def _own_hours(day: TradingDay, symbols: tuple[str, ...]) -> OwnHours | None:
    by_product: dict[str | None, tuple[Segment, ...]] = {
        of.product: of.segments for of in day.products
    }
    by_product[None] = day.main
    hours: dict[tuple[Segment, ...], int] = {}
    which = np.array(
        [hours.setdefault(by_product[of], len(hours)) for of in matched(_named(day), symbols)],
        np.int32,
    )
    if list(hours) == [day.segments]:
        return None
    most = max(map(len, hours))
    filled = [(*of, *[Segment(day.close_ns, day.close_ns)] * (most - len(of))) for of in hours]
    opens = np.array([[s.open_ns for s in of] for of in filled], np.int64).T[:, which]
    closes = np.array([[s.close_ns for s in of] for of in filled], np.int64).T[:, which]
    for array in (which, opens, closes):
        array.flags.writeable = False
    return OwnHours(day, tuple(hours), which, opens, closes)
