"""Rows that come when what follows them was acted on: what they change, and what they must not.

What was signalled stays: a side that has broken keeps the level that it broke. Where levels come to
be others, or there are none before, breaks are looked for anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from openbell.market.bars import Mask, Prices, RowBatch
from openbell.market.breakouts import Armed, BreakRules, Breaks, find_breaks, limit_of, touches
from openbell.market.days import Nanoseconds
from openbell.market.firsttouch import NEVER_NS


def releveled(old: Armed, new: Armed, rules: BreakRules) -> tuple[Armed, Mask]:
    """Levels that are known better now.

    Parameters
    ----------
    old : Armed
        As they were, with what has been looked at and reported.
    new : Armed
        As they would stand if all rows had come in time, at the end of their session.

    Returns
    -------
    armed : Armed
    anew : (2, s) bool
        Sides whose breaks are to be looked for from the session's end on.
    """
    same = (new.level == old.level) | (np.isnan(new.level) & np.isnan(old.level))
    # Whether levels are complete, or how wide they are, may now be another.
    if old.verdict is not None and new.verdict is not None:
        same &= new.verdict.refused == old.verdict.refused
    anew: Mask = ~same & (old.broken == 0)
    fresh = anew.any(axis=0) & ~(old.broken > 0).any(axis=0)
    merged = replace(
        old,
        level=np.where(anew, new.level, old.level),
        threshold=np.where(anew, new.threshold, old.threshold),
        limit=np.where(anew, limit_of(new, rules), limit_of(old, rules)),
        complete=new.complete,
        watched=np.where(anew, new.watched, old.watched),
        inside=np.where(anew, 0, old.inside),
        looked=np.where(fresh, new.looked, old.looked),
        gap=np.where(fresh, False, old.gap),
        **_joined(old, *touches(new), anew),
        verdict=new.verdict,
    )
    return merged, anew


def missed(armed: Armed, rules: BreakRules) -> Mask:
    """(2, s) sides for which rows of before may still bring a break: it would be their first."""
    unbroken: Mask = armed.watched & (armed.broken == 0)
    # The first price was looked at: an earlier one would decide it again.
    return unbroken & ~armed.looked if rules.check == "once" else unbroken


def found_late(
    armed: Armed,
    rows: RowBatch,
    rules: BreakRules,
    sides: Mask,
    confirmed: Mask | None = None,
) -> tuple[Armed, Breaks | None]:
    """Breaks of some sides in rows of before; the others are as if the rows had not come.

    Parameters
    ----------
    sides : (2, s) bool
        Those of which breaks are looked for.
    confirmed : as of `find_breaks`
    """
    symbols = sides.any(axis=0)
    probe = replace(
        armed,
        watched=armed.watched & sides,
        broken=np.where(sides, armed.broken, 0),
        inside=np.where(sides, armed.inside, 0),
        looked=armed.looked | ~symbols,
        over=False,
    )
    after, breaks = find_breaks(probe, rows, rules, confirmed)
    if after is probe:
        return armed, None
    return (
        replace(
            armed,
            watched=np.where(sides, after.watched, armed.watched),
            broken=np.where(sides, after.broken, armed.broken),
            inside=np.where(sides, after.inside, armed.inside),
            looked=np.where(symbols, after.looked, armed.looked),
            gap=np.where(symbols, after.gap, armed.gap),
            looked_ns=max(armed.looked_ns, after.looked_ns),
            **_joined(armed, *touches(after), sides),
        ),
        breaks,
    )


def _joined(armed: Armed, ns: Nanoseconds, excess: Prices, sides: Mask) -> dict[str, Any]:
    """Touches of these sides, of the others as they were."""
    before_ns, before = touches(armed)
    ns = np.where(sides, ns, before_ns)
    if (ns == NEVER_NS).all():
        return {"touched_ns": None, "touch_excess": None}
    return {"touched_ns": ns, "touch_excess": np.where(sides, excess, before)}
