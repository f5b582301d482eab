"""How far a feed is taken to be complete, and which rows wait for it.

The watermark is the instant up to which nothing is waited for any more. Under rows alone it stays
behind the newest of them by what they may be late.
"""

from __future__ import annotations

import numpy as np

from openbell.market.bars import Mask, RowBatch
from openbell.market.days import Nanoseconds


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
