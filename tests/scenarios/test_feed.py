"""Rows that a feed brings piece by piece give what the same rows give as a stored day."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, combinations

import pytest
from decks import DECKS, orders
from feeding import fed, pieces
from hypothesis import event, given, settings
from hypothesis import strategies as st
from runs import drained, of_cases, outputs, register, some_days
from strategies import Case, cases

from openbell.actors import clock
from openbell.actors.effects import Settled
from openbell.market.days import MINUTE_NS, SECOND_NS


@settings(max_examples=60)
@given(
    case=st.one_of(
        cases("bars", minutes_max=40, own_hours=True),
        cases("ticks", minutes_max=40, own_hours=True),
    ),
    cuts=st.lists(st.integers(0, 200), max_size=30),
    lateness_ns=st.sampled_from((0, SECOND_NS, 90 * SECOND_NS)),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_day_piece_by_piece_gives_what_it_gives_as_a_whole(
    case: Case, cuts: list[int], lateness_ns: int, seed: int
) -> None:
    rng = random.Random(seed)
    came = sorted(case.rows, key=lambda row: row[1] + rng.random() ** 3 * 300 * SECOND_NS)
    case = register(replace(case, rows=tuple(came)))
    run = of_cases([case], order="arrival", lateness_ns=lateness_ns)

    live = fed(run, pieces(case, cuts))

    event(f"{min(len(cuts), 10)} cuts")
    assert outputs(live) == outputs(drained(run))


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_days_row_by_row_give_what_they_give_as_stored(kind: str) -> None:
    days = [register(case) for case in some_days(kind)]
    run = of_cases(days, order="arrival", lateness_ns=2 * SECOND_NS)

    every = [piece for case in days for piece in pieces(case, range(len(case.rows)))]
    live = fed(run, every)

    assert len(live.days) == 3
    assert outputs(live) == outputs(drained(run))


def test_rows_of_a_later_day_end_the_day_before() -> None:
    first, second, third = (register(case) for case in some_days("ticks"))
    run = of_cases([first, second, third], order="arrival", lateness_ns=2 * SECOND_NS)
    marked = [*pieces(first, [50]), *pieces(third, [])]
    unmarked = [piece for piece in marked if piece is not marked[-3]]

    live = fed(run, unmarked)

    assert live.without_data == [second.day.date]
    assert [day.trading_date for day in live.days] == [first.day.date, third.day.date]
    assert outputs(live) == outputs(fed(run, marked))


def test_a_boundary_is_crossed_by_the_row_that_is_late_enough_and_not_before() -> None:
    (case, *_) = (register(case) for case in some_days("ticks"))
    run = of_cases([case], order="arrival", lateness_ns=2 * SECOND_NS)

    live = fed(run, pieces(case, range(len(case.rows))))

    ends = case.day.open_ns + 6 * MINUTE_NS  # 09:16 to 09:20, end minute included
    crossing = next(settled for settled, _ in live.settled if settled.grant.until_ns == ends)
    newest = max(
        row[1] for row in case.rows[: clock_of(crossing).position] if row[1] < case.day.close_ns
    )
    assert newest >= ends + 2 * SECOND_NS


def clock_of(settled: Settled) -> clock.State:
    assert isinstance(settled.clock, clock.State)
    return settled.clock


def agree_however_cut(case: Case, lateness_ns: int, cuts: Iterable[Sequence[int]]) -> None:
    case = register(case)
    run = of_cases([case], order="arrival", lateness_ns=lateness_ns)
    whole = outputs(drained(run))
    for cut in cuts:
        assert outputs(fed(run, pieces(case, cut))) == whole, (case.rows, cut)


@pytest.mark.parametrize("deck", DECKS)
def test_few_rows_in_some_orders_give_the_same_however_they_are_cut(deck: str) -> None:
    for case in orders(DECKS[deck], 2, seed=7):
        every = range(1, len(case.rows))
        agree_however_cut(case, 2 * SECOND_NS, [every, [1], [3, 4], [*every][::2]])


@pytest.mark.slow
@pytest.mark.parametrize("lateness_ns", [0, 2 * SECOND_NS, 90 * SECOND_NS])
@pytest.mark.parametrize("deck", DECKS)
def test_few_rows_give_the_same_in_all_cuts(deck: str, lateness_ns: int) -> None:
    for case in orders(DECKS[deck], 8, seed=lateness_ns):
        places = range(1, len(case.rows))
        cuts = chain.from_iterable(combinations(places, n) for n in range(len(case.rows)))
        agree_however_cut(case, lateness_ns, cuts)
