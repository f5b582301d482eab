"""Levels folded from batches: what counts, and that cuts don't show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import Used, clean, minutes_covered, session_levels
from runs import pieces, plain
from strategies import Case, cases

from openbell.market.assembly import assemble
from openbell.market.days import MINUTE_NS
from openbell.market.levels import extended, levels, minutes_seen, nothing_seen
from openbell.market.results import NO_TIME, Levels
from openbell.market.windows import SessionSpec, Window, session_window

ONE_DAY = st.one_of(cases("bars", minutes_max=60), cases("ticks", minutes_max=60))


def levels_of(case: Case, window: Window, cuts: Sequence[int]) -> Levels:
    rows = assemble(case.raw_rows(), case.day, case.interval_ns).rows
    seen = nothing_seen(len(case.symbols), len(window.slots))
    for piece in pieces(rows, cuts):
        seen = extended(seen, piece, window)
    return levels(seen, case.symbols)


@given(case=ONE_DAY, cuts=st.lists(st.integers(0, 300), max_size=6))
def test_levels_are_the_references_however_the_rows_are_cut(case: Case, cuts: list[int]) -> None:
    used = case_used(case)
    for configured in case.windows:
        window = session_window(case.day, SessionSpec(*configured), MINUTE_NS)
        answer = session_levels(case.day, case.interval_ns, used, configured)
        assert isinstance(window, Window) == (answer["status"] == "COMPLETED")
        if not isinstance(window, Window):
            continue

        got = levels_of(case, window, cuts)

        for i, symbol in enumerate(case.symbols):
            expected = answer["levels"][symbol]
            high, low = expected["high"], expected["low"]
            assert got.high[i] == high if high is not None else np.isnan(got.high[i])
            assert got.low[i] == low if low is not None else np.isnan(got.low[i])
            assert got.count[i] == expected["count"]
            assert got.first_ts[i] == (expected["first_ts"] or NO_TIME)
            assert got.last_ts[i] == (expected["last_ts"] or NO_TIME)
            assert got.complete[i] == expected["complete"]
        assert plain(got) == plain(levels_of(case, window, ()))


@given(case=ONE_DAY, cuts=st.lists(st.integers(0, 300), max_size=6))
def test_minutes_with_a_row_are_the_references(case: Case, cuts: list[int]) -> None:
    rows = assemble(case.raw_rows(), case.day, case.interval_ns).rows
    starts, _ = case.day.grid(MINUTE_NS)

    seen = np.zeros((len(starts), len(case.symbols)), np.bool_)
    for piece in pieces(rows, cuts):
        seen = minutes_seen(seen, piece, starts)

    used = case_used(case)
    for i, symbol in enumerate(case.symbols):
        assert set(starts[seen[:, i]].tolist()) == minutes_covered(case.day, used[symbol])


@given(case=ONE_DAY)
def test_what_was_seen_before_is_not_written_to(case: Case) -> None:
    rows = assemble(case.raw_rows(), case.day, case.interval_ns).rows
    window = session_window(case.day, SessionSpec("All", "open", "close", "left"), MINUTE_NS)
    assert isinstance(window, Window)
    before = nothing_seen(len(case.symbols), len(window.slots))
    kept = plain(before)

    extended(before, rows, window)

    assert plain(before) == kept


def case_used(case: Case) -> dict[str, list[Used]]:
    return clean(case.day, case.interval_ns, case.rows, case.symbols).used
