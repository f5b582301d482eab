"""Whether a batch of rows can matter to any window's levels, found out for all windows at once.

Most rows of a live day lie inside all levels. A symbol's row is beyond some window's level only if
it is beyond the nearest of them, so that one comparison a row and side answers for any number of
windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import Mask, Prices, RowBatch
from openbell.market.breakouts import Armed, BreakRules, counting, limit_of
from openbell.market.followups import Following, following_aims
from openbell.market.results import HIGH_BREAK, LOW_BREAK

NEVER_NS = np.iinfo(np.int64).max

CELLS_MAX = 100_000
"""Beyond so many rows × windows it is not found out which window a row matters to."""


@dataclass(frozen=True, eq=False)
class Screen:
    """What rows have to be for any of w windows to look at them."""

    aims: Prices
    """(2, w, s) what the next break, or what follows one, has to be beyond; NaN where none is
    watched for."""
    nearest: Prices
    """(2, s) of a symbol's aims the one that is met first."""
    attentive: Mask
    """(w, s) symbols of which every row matters: the first price after the session has not come, or
    prices have to come back inside."""
    heeded: Mask
    """(s,) those of any window."""
    all_looked: tuple[bool, ...]
    """(w,) whether a window waits for no first price any more."""
    until_ns: tuple[int, ...]
    """(w,) when the first of what a window waits for would come too late."""


def screen(
    armed: Sequence[Armed],
    rules: Sequence[BreakRules],
    following: Sequence[Following | None] | None = None,
    now_ns: int = 0,
) -> Screen:
    """The screen of windows with at least one among them.

    Parameters
    ----------
    following : sequence, optional
        What each window waits for after its breaks; None: nothing.
    now_ns : int
        What has come too late by then is not looked for.
    """
    waits = [None] * len(armed) if following is None else following
    found = [_aims(a, r, f, now_ns) for a, r, f in zip(armed, rules, waits, strict=True)]
    aims = np.stack([of for of, _ in found], axis=1)
    attentive = np.stack([_attentive(a, r) for a, r in zip(armed, rules, strict=True)])
    all_looked = tuple(bool(each.looked.all()) for each in armed)
    until = tuple(ns for _, ns in found)
    return Screen(aims, _nearest(aims), attentive, np.any(attentive, axis=0), all_looked, until)


Watched = tuple[Armed, Following | None]


def rescreened(
    found: Screen,
    changes: Mapping[int, tuple[Watched, Watched]],
    rules: Sequence[BreakRules],
    now_ns: int = 0,
) -> Screen:
    """The screen when the levels of some windows have changed.

    Parameters
    ----------
    changes : mapping
        A window's levels, and what it waits for, as they were and as they are, by its place.
    """
    if not changes:
        return found
    aims, nearest = found.aims, found.nearest
    attentive, all_looked = found.attentive.copy(), list(found.all_looked)
    until = list(found.until_ns)
    others = [
        place
        for place, (before, now) in changes.items()
        if now[0].watched is not before[0].watched
        or now[0].over is not before[0].over
        or now[1] is not before[1]
        or until[place] < now_ns
    ]
    if others:
        aims = aims.copy()
        for place in others:
            aims[:, place], until[place] = _aims(
                changes[place][1][0], rules[place], changes[place][1][1], now_ns
            )
        nearest = _nearest(aims)
    for place, (_, (now, _)) in changes.items():
        attentive[place] = _attentive(now, rules[place])
        all_looked[place] = bool(now.looked.all())
    return Screen(
        aims, nearest, attentive, np.any(attentive, axis=0), tuple(all_looked), tuple(until)
    )


def concerned(found: Screen, rows: RowBatch) -> Mask | None:
    """(w,) the windows to which some row may matter; None: none does to any."""
    high, low, code = rows.high, rows.low, rows.code
    if rows.close is not high:  # a close may lie outside of its bar's range
        high, low = np.maximum(high, rows.close), np.minimum(low, rows.close)
    some = high > found.nearest[HIGH_BREAK][code]
    some |= low < found.nearest[LOW_BREAK][code]
    some |= found.heeded[code]
    at = some.nonzero()[0]
    if not len(at):
        return None
    if len(at) * len(found.all_looked) > CELLS_MAX:
        return np.ones(len(found.all_looked), np.bool_)
    code = code[at]
    cells: NDArray[np.bool_] = high[at] > found.aims[HIGH_BREAK][:, code]
    cells |= low[at] < found.aims[LOW_BREAK][:, code]
    cells |= found.attentive[:, code]
    which: Mask = np.any(cells, axis=1)
    return which


def _aims(
    armed: Armed, rules: BreakRules, following: Following | None, now_ns: int
) -> tuple[Prices, int]:
    aims = np.where(armed.watched & (not armed.over), limit_of(armed, rules), np.nan)
    if following is None:
        return aims, NEVER_NS
    more, until_ns = following_aims(following, armed, rules, now_ns)
    return _nearest(np.stack((aims, more), axis=1)), until_ns


def _nearest(aims: Prices) -> Prices:
    high, low = np.fmin.reduce(aims[HIGH_BREAK]), np.fmax.reduce(aims[LOW_BREAK])
    return np.stack((high, low))


def _attentive(armed: Armed, rules: BreakRules) -> Mask:
    return ~armed.looked | counting(armed, rules)
