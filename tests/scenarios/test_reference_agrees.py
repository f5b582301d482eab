"""The actors' whole answer on random days against the brute-force reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agreement import agree
from hypothesis import event, given
from hypothesis import strategies as st
from strategies import Case, cases

from openbell.market.auctions import with_named
from openbell.market.days import MINUTE_NS, Explanation

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


@given(
    case=st.one_of(
        cases("bars", own_hours=True),
        cases("bars", interval_ns=FIVE, own_hours=True),
        cases("ticks", own_hours=True),
    )
)
def test_symbols_with_hours_of_their_own_are_answered_as_the_reference_answers_them(
    case: Case,
) -> None:
    agrees([case])


@given(
    case=st.one_of(
        cases("bars", own_hours=True, auctions=True),
        cases("bars", interval_ns=FIVE, own_hours=True, auctions=True),
        cases("ticks", own_hours=True, auctions=True),
    )
)
def test_sessions_that_are_auctions_are_answered_as_the_reference_answers_them(case: Case) -> None:
    plain = replace(case.day, segments=case.day.plain.segments, named=())
    kinds = {window.auction for window in case.windows if window.auction}
    explained = Explanation(plain.date, plain, "", "")
    if plain.products:
        assert with_named(explained, kinds, "").day == case.day
    event(f"{len(case.day.named)} auctions")

    agrees([case])


def agrees(days: list[Case]) -> None:
    for seen in agree(days):
        event(seen)
