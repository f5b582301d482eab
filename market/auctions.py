"""Auctions that sessions name: when they are, and which rows are theirs.

An auction is no part of the hours, and its rows count nowhere. One that a session names belongs to
the day's segments, so that the day is open by then and its rows are taken; it stays outside of each
product's own hours. So all that goes by hours passes it over, and its rows go a way of their own, to
the sessions that name it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

import numpy as np

from openbell.market.bars import BarBlock, Codes, Mask, Prices, RowBatch, Rows
from openbell.market.days import (
    Auction,
    AuctionKind,
    Explanation,
    Nanoseconds,
    ProductHours,
    Segment,
    TradingDay,
    is_inside,
    union,
)
from openbell.market.kinds import AuctionName
from openbell.market.products import own_hours, products_of

AUCTIONS: dict[AuctionName, AuctionKind] = {"pre_open": "auction_open", "closing": "auction_close"}
"""How a configuration calls them."""

WORDS: dict[AuctionKind, str] = {
    "auction_open": "auction before the open",
    "auction_close": "closing auction",
}


def with_named(explained: Explanation, kinds: Collection[AuctionKind], product: str) -> Explanation:
    """A date with those of its auctions among its segments that sessions name.

    Parameters
    ----------
    product : str
        What the run's symbols are, where nothing says more of them.
    """
    day = explained.day
    if day is None or not kinds:
        return explained
    products = day.products or (
        ProductHours(product, day.segments, (), day.layer, day.reason, day.auctions),
    )
    spans = [
        (a.kind, Segment(a.open_ns, a.close_ns))
        for of in products
        for a in of.auctions
        if a.kind in kinds
    ]
    if not spans:
        return explained
    trading = union(of.segments for of in products)
    apart = [
        piece for of in union([[span] for _, span in spans]) for piece in _outside(of, trading)
    ]
    segments = tuple(sorted((*trading, *apart), key=lambda of: of.open_ns))
    named = tuple(kind for kind in WORDS if kind in dict(spans))
    day = replace(day, segments=segments, products=products, auctions=(), named=named)
    return replace(explained, day=day)


def _outside(span: Segment, trading: Sequence[Segment]) -> Iterator[Segment]:
    """What of a span is not trading. Bars are counted from each piece's beginning."""
    at_ns = span.open_ns
    for of in trading:
        if of.close_ns <= at_ns or of.open_ns >= span.close_ns:
            continue
        if of.open_ns > at_ns:
            yield Segment(at_ns, of.open_ns)
        at_ns = of.close_ns
    if at_ns < span.close_ns:
        yield Segment(at_ns, span.close_ns)


def named_spans(day: TradingDay, kind: AuctionKind) -> tuple[Auction, ...]:
    """When an auction that sessions name is on a day, of each product that has it."""
    if kind not in day.named:
        return ()
    return tuple(a for of in day.products for a in of.auctions if a.kind == kind)


def in_auctions(
    day: TradingDay,
    symbols: tuple[str, ...],
    code: Codes,
    ts: Nanoseconds,
    kinds: Collection[AuctionKind] = tuple(WORDS),
) -> Mask:
    """(n,) whether rows lie in an auction of their symbols."""
    inside: Mask = np.zeros(len(ts), np.bool_)
    if not day.products:
        for auction in day.auctions:
            if auction.kind in kinds:
                inside |= (ts >= auction.open_ns) & (ts < auction.close_ns)
        return inside
    names = products_of(day, symbols)
    for product in day.products:
        spans = [Segment(a.open_ns, a.close_ns) for a in product.auctions if a.kind in kinds]
        if spans:
            inside |= (names == product.product)[code] & is_inside(spans, ts)
    return inside


def auction_slots(
    day: TradingDay, symbols: tuple[str, ...], kind: AuctionKind, starts: Nanoseconds
) -> Mask:
    """(m, s) which bars, by their starts (m,), lie in an auction of which symbol."""
    inside: Mask = np.zeros((len(starts), len(symbols)), np.bool_)
    names = products_of(day, symbols)
    for product in day.products:
        spans = [Segment(a.open_ns, a.close_ns) for a in product.auctions if a.kind == kind]
        if spans and kind in day.named:
            inside |= is_inside(spans, starts)[:, None] & (names == product.product)[None]
    return inside


def has_auctions(day: TradingDay) -> bool:
    return bool(day.auctions) or any(product.auctions for product in day.products)


def counts(day: TradingDay, symbols: tuple[str, ...], code: Codes, ts: Nanoseconds) -> Mask:
    """(n,) which rows count: those inside the hours of their symbols, and in auctions that sessions
    name."""
    own = own_hours(day, symbols)
    inside = is_inside(day.segments, ts) if own is None else own.holds(code, ts)
    if day.named:
        inside |= in_auctions(day, symbols, code, ts, day.named)
    return inside


def trading(rows: RowBatch) -> Mask | None:
    """(n,) which rows are of continuous trading; None: all are, as mostly."""
    if not rows.day.named or (own := own_hours(rows.day, rows.symbols)) is None:
        return None
    mask = own.holds(rows.code, rows.ts)
    return None if mask.all() else mask


def parted(rows: Rows) -> tuple[Rows, Rows | None]:
    """Rows of continuous trading, and those in auctions; None: there are none."""
    if isinstance(rows, RowBatch):
        mask = trading(rows)
        return (rows, None) if mask is None else (rows.taken(mask), rows.taken(~mask))
    if not rows.day.named or (own := own_hours(rows.day, rows.symbols)) is None:
        return rows, None
    slots = own.slots(rows.ts)
    if not (rows.present & ~slots).any():
        return rows, None
    return _only(rows, slots), _only(rows, ~slots)


def _only(bars: BarBlock, which: Mask) -> BarBlock:
    there = bars.present & which
    there.flags.writeable = False

    def column(of: Prices) -> Prices:
        cells = np.where(there, of, np.nan)
        cells.flags.writeable = False
        return cells

    return replace(
        bars,
        open=column(bars.open),
        high=column(bars.high),
        low=column(bars.low),
        close=column(bars.close),
        volume=column(bars.volume),
        present=there,
    )
