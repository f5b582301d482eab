"""How far a feed is taken to be complete, and which rows wait for it.

The watermark is the instant up to which nothing is waited for any more. Under rows alone it stays
behind the newest of them by what they may be late. Under the host's clock it stays as far behind
that clock too, whichever of them is ahead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from openbell.market.bars import Mask, RowBatch
from openbell.market.days import MarketTime, Nanoseconds

Alarms = tuple[tuple[MarketTime, str], ...]
"""Instants of the host's clock that are waited for, each with its name; ascending."""


@dataclass(frozen=True, slots=True)
class WallRules:
    """How boundaries are crossed by the host's clock."""

    lateness_ns: int
    """How long rows are waited for that belong before one."""
    skew_max_ns: int
    """How far rows may be ahead of that clock, and move time."""


def set_for(alarms: Alarms, name: str, at_ns: MarketTime | None) -> Alarms:
    """With an alarm in place of the one of its name; None: without one."""
    others = without(alarms, (name,))
    return others if at_ns is None else tuple(sorted((*others, (at_ns, name))))


def without(alarms: Alarms, names: Iterable[str]) -> Alarms:
    gone = frozenset(names)
    return tuple(alarm for alarm in alarms if alarm[1] not in gone)


def by_rows(known_ns: int, host_ns: int, lag: int, rules: WallRules) -> int:
    """The watermark by the newest `known`, which goes no further than rows may be ahead."""
    return min(known_ns, host_ns + rules.skew_max_ns) - lag


def by_timer(host_ns: int, complete_ns: int, rules: WallRules, *, over: bool) -> int:
    """The watermark by the host's clock alone.

    Parameters
    ----------
    complete_ns : int
        Up to when all that came has been handed over: what came in time counts, however long it
        waits for its turn.
    over : bool
        Whether no more rows are waited for.
    """
    return host_ns if over else min(host_ns, complete_ns) - rules.lateness_ns


def lag_ns(lateness_ns: int, interval_ns: int | None) -> int:
    """How far the watermark stays behind the newest `known`.

    A bar shares its end with other symbols' bars: only one that ends later says that they are all
    there. A tick at an instant belongs after it, and says so itself.

    Parameters
    ----------
    interval_ns : int or None
        Length of a bar, None for ticks.
    """
    return lateness_ns if interval_ns is None else lateness_ns + 1


def passed(rows: RowBatch, lag: int, floor_ns: int) -> Nanoseconds:
    """(n,) the watermark as each row came; `floor_ns` is where it stood before them at least."""
    watermarks: Nanoseconds = np.maximum(rows.known - lag, floor_ns)
    return watermarks


def belongs_before(rows: RowBatch, hold_ns: int, lag: int) -> Mask:
    """(n,) which rows are handed out before an instant is crossed.

    Those that belong before it, and came before the watermark had passed it.
    """
    before: Mask = rows.ts < hold_ns if rows.interval_ns is None else rows.ends <= hold_ns
    return before & (rows.known - lag < hold_ns)
