"""What a feed brought, as the journal keeps it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from feeding import arrived
from runs import register, some_days

from openbell.runtime.record import feedlog


@pytest.mark.parametrize("kind", ["ticks", "bars"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_piece_of_which_no_row_can_be_used_is_kept(kind: str, alone: bool) -> None:
    case = register(some_days(kind)[0])
    row: Any = case.rows[0]
    spoiled = replace(case, rows=((*row[:2], *[float("nan")] * (len(row) - 3), row[-1]),))
    nothing = arrived(spoiled, 0, 1)
    assert len(nothing.rows) == 0
    came = [(7, nothing)] if alone else [(6, arrived(case, 0, 3)), (7, nothing)]

    kept = feedlog.arrivals([feedlog.entry(case.day.date, came)])

    again = kept[7].arrived(case.day, case.symbols, case.interval_ns)
    assert len(again.rows) == 0
    assert [of.reason for of in again.bad] == [of.reason for of in nothing.bad]
    assert again.counts.bad_rows.sum() == 1
