"""What a feed's rows mean, where they are not simply what was traded, each once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import IF_SET, Codes, Kind, Mask, Prices, RowBatch, grouped
from openbell.market.widening import Widening

Dedupe = Literal["none", "trade_id", "same"]

WINDOW = 50_000
"""How many of the last rows of a day a row is held against, at least; at most twice as many."""

Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RowRules:
    """How rows are taken, in the order in which they came."""

    dedupe: Dedupe = "none"
    """Whether a row counts once however often it comes: by the vendor's number of a trade, or if all
    of it is the same."""
    day_totals: bool = False
    """Whether sizes are what was traded since the day's open, of which the difference counts."""
    drops_partial: bool = False
    """Whether bars that are marked as partial are left out."""
    amends: bool = False
    """Whether a later bar of the same symbol and time takes the place of the earlier one."""

    def extras(self, kind: Kind) -> tuple[str, ...]:
        """Columns that are needed beyond those of the kind."""
        if kind == "bars":
            return ("partial",)
        return ("trade_id",) if self.dedupe == "trade_id" else ()


NO_RULES = RowRules()


@dataclass(frozen=True, eq=False)
class Recent:
    """Keys of the day's last rows, in two generations, each sorted."""

    now: Keys
    before: Keys
    numbers: Codes | None = field(default=None, metadata=IF_SET)
    """(s,) what keys have in place of each symbol's code; None: the code itself."""


NOTHING_RECENT = Recent(np.empty(0, np.int64), np.empty(0, np.int64))


def on_register(recent: Recent, how: Widening) -> Recent:
    """When symbols have come into the day: those of before go on to have their numbers."""
    was = recent.numbers
    if was is None:
        was = np.arange(len(how.before), dtype=np.int32)
    first = int(was.max(initial=-1)) + 1
    fresh = np.arange(first, first + len(how.alone), dtype=np.int32)
    return replace(recent, numbers=how.columns(was, fresh))


def repeated(rules: RowRules, recent: Recent, rows: RowBatch) -> tuple[Mask, Recent]:
    """Which rows came before; a row without a number never did, where rows are told by it.

    Returns
    -------
    repeated : (n,) bool
    recent : Recent
        After these rows; how they are cut changes nothing.
    """
    found = np.zeros(len(rows), np.bool_)
    at: NDArray[np.intp] | None = None
    code = rows.code if recent.numbers is None else recent.numbers[rows.code]
    if rules.dedupe == "trade_id":
        if rows.ids is None:
            return found, recent
        at = np.flatnonzero(~np.isnan(rows.ids))
        keys = _mixed(code[at], rows.ids[at])
    else:
        prices = (rows.close,) if rows.interval_ns is None else (
            rows.open, rows.high, rows.low, rows.close
        )  # fmt: skip
        keys = _mixed(code, rows.ts, *prices, rows.volume)
    again = np.zeros(len(keys), np.bool_)
    now, before, start = recent.now, recent.before, 0
    while start < len(keys):
        # As many as may be new before the generation is full: none is forgotten among them.
        part = keys[start : start + WINDOW - len(now)]
        new, first = np.unique(part, return_index=True)
        unknown = ~(_among(now, new) | _among(before, new))
        new, first = new[unknown], first[unknown]
        again[start : start + len(part)] = True
        again[start + first] = False
        now = np.insert(now, now.searchsorted(new), new)
        if len(now) >= WINDOW:
            now, before = np.empty(0, np.int64), now
        start += len(part)
    if at is None:
        found = again
    else:
        found[at] = again
    return found, Recent(now, before, recent.numbers)


def prints(rows: RowBatch) -> Keys:
    """(n,) a number for all that a bar says: two that say the same have the same."""
    partial = np.zeros(len(rows)) if rows.partial is None else rows.partial
    return _mixed(rows.open, rows.high, rows.low, rows.close, rows.volume, partial)


def _among(held: Keys, asked: Keys) -> Mask:
    if not len(held):
        return np.zeros(len(asked), np.bool_)
    place = np.minimum(held.searchsorted(asked), len(held) - 1)
    among: Mask = held[place] == asked
    return among


def _mixed(*columns: NDArray[np.generic]) -> Keys:
    """One number a row: other rows have another one, but for one in 10^14 of a full window."""
    mixed = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        # Adding 0 makes one of the two zeros.
        bits = column + 0.0 if column.dtype.kind == "f" else column.astype(np.int64)  # type: ignore[operator]
        mixed ^= np.ascontiguousarray(bits).view(np.uint64)
        mixed += np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return mixed.view(np.int64)


def from_totals(totals: Prices, code: Codes, given: Prices) -> tuple[Prices, Mask, Prices]:
    """Sizes of rows that tell what was traded since the day's open.

    Parameters
    ----------
    totals : (s,) float64
        The highest total of each symbol so far, 0 before the first.
    code : (n,) int32
    given : (n,) float64
        The rows' totals; NaN: it tells none.

    Returns
    -------
    sizes : (n,) float64
        How much a total is above the highest before, 0 where it is not.
    fell : (n,) bool
        Totals below one that came before.
    totals : (s,) float64
        After these rows.
    """
    s, n = len(totals), len(given)
    # Behind each symbol's total so far stand its own; their places in order are whole numbers, of
    # which one running maximum serves all symbols.
    who = np.concatenate([np.arange(s, dtype=np.int32), code.astype(np.int32)])
    order = grouped(who, s)
    who = who[order]
    known = np.where(np.isnan(given), -np.inf, given)
    values = np.concatenate([totals, known])[order]
    distinct, rank = np.unique(values, return_inverse=True)
    width = np.int64(len(distinct))
    highest = np.maximum.accumulate(who.astype(np.int64) * width + rank)
    reached = distinct[highest - who.astype(np.int64) * width]
    is_row = order >= s
    place = np.flatnonzero(is_row)
    at = order[place] - s
    sizes, fell = np.empty(n), np.zeros(n, np.bool_)
    sizes[at] = reached[place] - reached[place - 1]
    fell[at] = (values[place] < reached[place - 1]) & np.isfinite(values[place])
    last = np.append(np.flatnonzero(who[1:] != who[:-1]), len(who) - 1)
    return sizes, fell, reached[last]
