"""Whatever order messages arrive in, and whoever is slow, the commits are the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import Row
from runs import Found, drained, inline, of_cases, one_day, outputs, plain, some_days, threads
from seeds import due_seed
from strategies import Case, cases

from openbell.market.days import MINUTE_NS
from openbell.runtime.kernel.cells import Cell
from openbell.runtime.kernel.dispatchers import Dispatcher, Inline
from openbell.runtime.kernel.wiring import edges, wiring

ONE_DAY = st.one_of(
    cases("bars", minutes_max=40, own_hours=True), cases("ticks", minutes_max=40, own_hours=True)
)


def nothing_is_in_flight(dispatcher: Dispatcher, cells: Mapping[str, Cell]) -> None:
    assert isinstance(dispatcher, Inline)
    assert dispatcher.in_flight == 0
    assert [name for name, cell in cells.items() if not cell.idle] == []


def commits(found: Found) -> object:
    """All commits as they were made, numbers and steps included."""
    return plain(found.commits)


@given(case=ONE_DAY, seed=st.integers(0, 2**32 - 1))
def test_any_order_within_a_step_gives_the_same_commits(case: Case, seed: int) -> None:
    run = of_cases([case])

    shuffled = drained(run, inline(seed=seed), at_step_end=nothing_is_in_flight)

    assert commits(shuffled) == commits(drained(run))


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_seeds_that_nobody_chose_give_the_same_commits(kind: str) -> None:
    run = of_cases(some_days(kind))
    expected = drained(run)
    assert len(expected.days) == 3
    assert len(expected.recorder.log) > 12

    drawn = random.Random(due_seed("ORDERS_SEED"))
    for _ in range(5):
        order = drawn.randrange(2**32)
        shuffled = drained(run, inline(seed=order), at_step_end=nothing_is_in_flight)
        assert commits(shuffled) == commits(expected), f"seed={order}"


CONNECTIONS = list(edges(wiring(of_cases([one_day(date(2021, 3, 1), "bars")]).settings.sessions)))


@pytest.mark.parametrize("edge", CONNECTIONS, ids=" to ".join)
@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_a_step_ends_with_empty_mailboxes_however_slow_a_connection_is(
    kind: str, edge: tuple[str, str]
) -> None:
    run = of_cases(some_days(kind)[:2])

    slow = drained(run, inline(delayed=edge), at_step_end=nothing_is_in_flight)

    assert commits(slow) == commits(drained(run))


@given(case=ONE_DAY, seed=st.integers(0, 2**32 - 1), place=st.integers(0, 10**6))
def test_a_slow_connection_in_a_random_order_changes_nothing(
    case: Case, seed: int, place: int
) -> None:
    run = of_cases([case])
    connections = list(edges(wiring(run.settings.sessions)))
    edge = connections[place % len(connections)]

    slow = drained(run, inline(seed=seed, delayed=edge), at_step_end=nothing_is_in_flight)

    assert commits(slow) == commits(drained(run))


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_threads_give_what_one_thread_gives(kind: str) -> None:
    run = of_cases(some_days(kind))

    assert commits(drained(run, threads)) == commits(drained(run))


@given(case=cases("ticks", minutes_max=30, clean=True))
def test_ticks_made_into_minutes_give_the_levels_that_ticks_give(case: Case) -> None:
    by_tick, by_minute = drained(of_cases([case])), drained(of_cases([in_minutes(case)]))

    for ticks, minutes in zip(by_tick.days, by_minute.days, strict=True):
        for of_ticks, of_bars in zip(ticks.documents, minutes.documents, strict=True):
            assert of_ticks.status == of_bars.status
            if of_ticks.levels is None or of_bars.levels is None:
                continue
            for name in ("high", "low", "complete"):
                left, right = getattr(of_ticks.levels, name), getattr(of_bars.levels, name)
                assert plain(left) == plain(right), name


def in_minutes(case: Case) -> Case:
    """The ticks as bars of one minute."""
    bars: dict[tuple[str, int], Row] = {}
    for symbol, ts, price, size in case.rows:  # type: ignore[misc]
        starts, _ = case.day.grid(MINUTE_NS)
        minute = int(starts[starts.searchsorted(ts, side="right") - 1])
        _, _, open_, high, low, _, volume = bars.get(
            (symbol, minute), (symbol, minute, price, price, price, price, 0.0)
        )  # type: ignore[misc]
        bars[symbol, minute] = (
            symbol,
            minute,
            open_,
            max(high, price),
            min(low, price),
            price,
            volume + size,
        )
    return replace(case, interval_ns=MINUTE_NS, rows=tuple(bars.values()))


def test_two_runs_have_the_same_outputs() -> None:
    run = of_cases(some_days("bars"))

    assert outputs(drained(run)) == outputs(drained(run))
