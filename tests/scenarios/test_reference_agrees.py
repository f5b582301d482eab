"""The actors' whole answer on random days against the brute-force reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from runs import answer_of, drained, expected_session, minutes_in, of_cases, register
from strategies import Case, cases

from openbell.market.days import MINUTE_NS

FIVE = 5 * MINUTE_NS


@given(case=st.one_of(cases("bars"), cases("bars", interval_ns=FIVE)))
def test_a_random_day_of_bars_is_answered_as_the_reference_answers_it(case: Case) -> None:
    agrees([case])


@given(case=cases("ticks"))
def test_a_random_day_of_ticks_is_answered_as_the_reference_answers_it(case: Case) -> None:
    agrees([case])


@given(
    pair=st.one_of(
        st.tuples(cases("bars", minutes_max=40), cases("bars", minutes_max=40)),
        st.tuples(cases("ticks", minutes_max=40), cases("ticks", minutes_max=40)),
    )
)
def test_a_day_knows_nothing_of_the_day_before(pair: tuple[Case, Case]) -> None:
    first, second = sorted(pair, key=lambda case: case.day.date)
    symbols = tuple(sorted({*first.symbols, *second.symbols}))
    shared: dict[str, Any] = {
        "symbols": symbols,
        "windows": first.windows,
        "rules": first.rules,
        "companions": first.companions,
        "followed": first.followed,
    }
    days = [replace(first, **shared), replace(second, **shared)]
    agrees(days if first.day.date < second.day.date else days[:1])


def agrees(days: list[Case]) -> None:
    found = drained(of_cases(days))

    for case in map(register, days):
        expected: dict[str, Any] = {**case.answer()}
        if all(c["rows"] == c["outside_hours"] for c in expected["counts"].values()):
            event("a day without data")
            assert case.day.date in found.without_data
            assert case.day.date not in [day.trading_date for day in found.days]
            continue
        event(f"{min(len(expected['signals']), 3)} signals or more")
        got = answer_of(found, case)
        configured = expected.pop("sessions")
        assert got.pop("sessions") == [expected_session(case, s) for s in configured]
        for part, answered in expected.items():
            assert got[part] == answered, part
        documents = next(d for d in found.days if d.trading_date == case.day.date).documents
        for document, session in zip(documents, configured, strict=True):
            if document.status == "COMPLETED":
                minutes = minutes_in(case, session)
                assert document.started_at == minutes[0]
                assert document.completed_at == minutes[-1] + MINUTE_NS
                assert document.breakouts_checked
            else:
                assert document.reason
                assert document.levels is None
                assert (document.started_at, document.completed_at) == (None, None)
