"""Runs of missing minutes."""

from __future__ import annotations

from datetime import date
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from trading import trading_day

from openbell.market.bars import Mask, RowCounts
from openbell.market.days import MINUTE_NS
from openbell.market.gaps import NOT_TOLD, gaps, minute_kinds
from openbell.market.quality import day_quality

TWO_SEGMENTS = trading_day(date(2024, 6, 3), ("09:30", "09:37"), ("10:00", "10:05"))
SYMBOLS = ("A", "B", "C")


@pytest.mark.parametrize("slot_minutes", [1, 2, 5])
@given(data=st.data())
def test_gaps_are_the_runs_of_missing_bars(data: st.DataObject, slot_minutes: int) -> None:
    slot_ns = slot_minutes * MINUTE_NS
    starts, ends = TWO_SEGMENTS.grid(slot_ns)
    seen = data.draw(arrays(np.bool_, (len(starts), 3)))

    found = gaps(TWO_SEGMENTS, SYMBOLS, slot_ns, seen)

    runs = []
    for code in range(3):
        slots = [(s, e, starts[s] >= TWO_SEGMENTS.segments[1].open_ns) for s, e in enumerate(ends)]
        for (there, _), run in groupby(slots, key=lambda x: (bool(seen[x[0], code]), x[2])):
            if not there:
                spans = [(int(starts[s]), int(e)) for s, e, _ in run]
                minutes = sum((e - s) // MINUTE_NS for s, e in spans)
                runs.append((code, spans[0][0], spans[-1][1], minutes))
    columns = (found.symbol, found.from_ns, found.to_ns, found.missing)
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == runs


@given(seen=arrays(np.bool_, (12, 3)))
def test_gaps_agree_with_the_quality_of_the_day(seen: Mask) -> None:
    none = np.zeros(3, np.int64)
    counts = RowCounts(none, none, none, none, none, none)
    quality = day_quality(TWO_SEGMENTS, SYMBOLS, MINUTE_NS, seen, counts, none)

    found = gaps(TWO_SEGMENTS, SYMBOLS, MINUTE_NS, seen)

    assert np.bincount(found.symbol, minlength=3).tolist() == quality.gaps.tolist()
    missing = np.bincount(found.symbol, weights=found.missing, minlength=3)
    assert missing.tolist() == quality.missing.tolist()


def test_a_whole_day_has_no_gaps() -> None:
    assert len(gaps(TWO_SEGMENTS, SYMBOLS, MINUTE_NS, np.ones((12, 3), np.bool_))) == 0


def test_minutes_are_traded_idle_or_missing_where_volume_tells() -> None:
    present = np.ones((12, 4), np.bool_)
    present[8:, 0] = False
    present[:, 2] = False
    volume = np.zeros((12, 4))
    volume[:5, 0] = 10.0
    volume[:, 3] = np.nan
    volume[~present] = np.nan

    kinds = minute_kinds(TWO_SEGMENTS, SYMBOLS, MINUTE_NS, present, volume)

    # The second symbol has no volume all day, as an index; the third has no row.
    assert kinds.traded.tolist() == [5, NOT_TOLD, 0, NOT_TOLD]
    assert kinds.idle.tolist() == [3, NOT_TOLD, 0, NOT_TOLD]
    assert kinds.missing.tolist() == [4, 0, 12, 0]


def test_bars_that_a_close_cuts_short_count_the_minutes_they_have() -> None:
    present = np.ones((3, 1), np.bool_)
    present[1] = False

    kinds = minute_kinds(TWO_SEGMENTS, ("A",), 5 * MINUTE_NS, present, np.ones((3, 1)))

    assert (kinds.traded[0], kinds.idle[0], kinds.missing[0]) == (10, 0, 2)
