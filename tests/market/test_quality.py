"""Quality of a day: the reference's minutes, gaps and shares."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference import clean, quality
from strategies import Case, cases

from openbell.market.assembly import assemble
from openbell.market.days import MINUTE_NS
from openbell.market.levels import minutes_seen
from openbell.market.quality import day_quality
from openbell.market.results import Quality


def quality_of(case: Case) -> Quality:
    data = assemble(case.raw_rows(), case.day, case.interval_ns)
    slot_ns = case.interval_ns or MINUTE_NS
    starts, _ = case.day.grid(slot_ns)
    none = np.zeros((len(starts), len(case.symbols)), np.bool_)
    seen = minutes_seen(none, data.rows, starts)
    late = np.arange(len(case.symbols))
    return day_quality(case.day, case.symbols, slot_ns, seen, data.counts, late)


@given(case=st.one_of(cases("bars", own_hours=True), cases("ticks", own_hours=True)))
def test_quality_is_the_references(case: Case) -> None:
    got = quality_of(case)

    cleaned = clean(case.day, case.interval_ns, case.rows, case.symbols)
    for i, symbol in enumerate(case.symbols):
        expected = quality(case.day, cleaned.used[symbol], symbol)
        for name in ("expected", "actual", "gaps", "missing"):
            assert getattr(got, name)[i] == expected[name], (symbol, name)
        for name in ("out_of_order", "duplicates", "outside_hours", "bad_rows"):
            assert getattr(got, name)[i] == cleaned.counts[symbol][name], (symbol, name)  # type: ignore[literal-required]
        assert got.late[i] == i


@given(case=cases("bars", interval_ns=5 * MINUTE_NS, own_hours=True))
def test_a_bar_of_several_minutes_counts_for_all_that_lie_in_the_hours(case: Case) -> None:
    got = quality_of(case)

    used = clean(case.day, case.interval_ns, case.rows, case.symbols).used
    for i, symbol in enumerate(case.symbols):
        expected = quality(case.day, used[symbol], symbol)
        assert (got.expected[i], got.actual[i]) == (expected["expected"], expected["actual"])
        assert (got.gaps[i], got.missing[i]) == (expected["gaps"], expected["missing"])


@given(case=st.one_of(cases("bars", clean=True), cases("ticks", clean=True)))
def test_minutes_are_there_or_missing(case: Case) -> None:
    got = quality_of(case)

    assert (got.actual + got.missing).tolist() == got.expected.tolist()
    assert got.expected.tolist() == [case.day.minutes_expected()] * len(case.symbols)
    assert (got.gaps <= got.missing).all()
    assert ((got.gaps == 0) == (got.missing == 0)).all()
