"""What follows breakouts, row by row as one would tell it by hand; the reference has the rest."""

from __future__ import annotations

from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.market.bars import RowBatch
from openbell.market.breakouts import BreakRules, Breaks, armed, find_breaks
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay
from openbell.market.followups import followed_up, nothing_follows
from openbell.market.kinds import KINDS
from openbell.market.results import HIGH_BREAK, Levels

# A break of half an hour in the middle, over which nothing is traded.
DAY = TradingDay(
    date(1970, 1, 1),
    "UTC",
    (Segment(0, 10 * MINUTE_NS), Segment(40 * MINUTE_NS, 60 * MINUTE_NS)),
)
TOUCH = BreakRules(confirm="touch", closed_beyond=True, retest_bars=3)
CLOSE = BreakRules(retest_bars=3)

Bar = tuple[int, float, float, float, float]
"""Its minute, and open, high, low, close; the levels are 101 and 99."""
Told = tuple[str, int, float]
"""Kind, minute (of ticks: second), price."""


def bars(*rows: Bar) -> RowBatch:
    ts = np.array([row[0] for row in rows], np.int64) * MINUTE_NS
    open_, high, low, close = (np.array([row[n] for row in rows]) for n in range(1, 5))
    code = np.zeros(len(rows), np.int32)
    known = np.maximum.accumulate(ts + MINUTE_NS)
    return RowBatch(DAY, ("A",), MINUTE_NS, code, ts, known, open_, high, low, close, high)


def ticks(*rows: tuple[int, float]) -> RowBatch:
    ts = np.array([second for second, _ in rows], np.int64) * SECOND_NS
    price = np.array([price for _, price in rows])
    code = np.zeros(len(rows), np.int32)
    return RowBatch.ticks(DAY, ("A",), code, ts, price, np.ones(len(rows)), by_time=False)


def found(rows: RowBatch, rules: BreakRules, cuts: tuple[int, ...] = ()) -> list[Breaks]:
    one = np.ones(1, np.int64)
    levels = Levels(("A",), np.array([101.0]), np.array([99.0]), one, one, one, one > 0)
    state, following = armed(levels, 0, rules), nothing_follows(1)
    told: list[Breaks] = []
    for start, stop in pairwise([0, *cuts, len(rows)]):
        part = rows.rows(start, stop)
        after, breaks = find_breaks(state, part, rules)
        following, more = followed_up(following, state, part, rules, breaks)
        state = after
        told += [of for of in (breaks, more) if of is not None]
    return told


def brief(rows: RowBatch, rules: BreakRules) -> list[Told]:
    """What a high's breakouts bring, by time; the same whether the rows come together or alone."""
    unit = SECOND_NS if rows.interval_ns is None else MINUTE_NS
    ways = [
        sorted(
            (int(of.ts[i]) // unit, int(of.number[i]), KINDS[of.kind[i]], float(of.price[i]))
            for of in found(rows, rules, cuts)
            for i in range(len(of.ts))
            if of.side[i] == HIGH_BREAK
        )
        for cuts in ((), tuple(range(1, len(rows))))
    ]
    assert ways[0] == ways[1]
    return [(kind, minute, price) for minute, _, kind, price in ways[0]]


def test_a_close_beyond_that_comes_later_is_told_once() -> None:
    rows = bars(
        (0, 100, 101.5, 100, 100.5), (1, 100, 100, 100, 100), (2, 100, 102, 100, 101.25),
        (3, 102, 103, 102, 103),
    )  # fmt: skip

    assert brief(rows, TOUCH)[:2] == [("breakout", 0, 101.0), ("closed_beyond", 2, 101.25)]
    assert [kind for kind, *_ in brief(rows, TOUCH)].count("closed_beyond") == 1


def test_a_touch_that_closes_beyond_says_so_itself() -> None:
    (breaks,) = found(bars((0, 100, 102, 100, 101.5), (1, 102, 102, 102, 102)), TOUCH)

    assert breaks.closed_beyond_at.tolist() == [0]
    assert breaks.touched_at.tolist() == [0]
    assert breaks.touch_excess.tolist() == [1.0]


def test_a_close_that_breaks_says_when_and_how_far_the_level_was_touched_before() -> None:
    rows = bars((3, 100, 101.2, 100, 100), (4, 100, 103, 100, 100), (5, 100, 102, 100, 101.5))

    (breaks,) = found(rows, BreakRules())

    assert breaks.ts.tolist() == [5 * MINUTE_NS]
    assert breaks.touched_at.tolist() == [3 * MINUTE_NS]
    assert breaks.touch_excess.tolist() == [0.2]
    assert breaks.closed_beyond_at.tolist() == [5 * MINUTE_NS]


def test_the_earliest_touch_counts_in_whatever_order_bars_come() -> None:
    rows = bars((4, 100, 103, 100, 100), (3, 100, 101.2, 100, 100), (5, 100, 102, 100, 101.5))

    for cuts in ((), (1,), (1, 2)):
        (breaks,) = found(rows, BreakRules(), cuts)
        assert (breaks.touched_at[0], breaks.touch_excess[0]) == (3 * MINUTE_NS, 0.2)


def test_touches_before_a_side_is_watched_again_do_not_count() -> None:
    rows = bars(
        (0, 100, 102, 100, 102), (1, 100, 101.4, 100, 100), (2, 100, 101.3, 100, 100),
        (3, 100, 102, 100, 102),
    )  # fmt: skip

    for cuts in ((), (1, 2, 3)):
        told = found(rows, BreakRules(inside_bars=1), cuts)
        touched = sorted(t for of in told for t in of.touched_at.tolist())
        assert touched == [0, 2 * MINUTE_NS]  # the bar of minute 1 closed inside


def test_prices_that_come_back_from_beyond_are_a_retest() -> None:
    at_level = bars((0, 100, 102, 100, 102), (1, 102, 102, 101, 101.5))
    opened_below = bars((0, 100, 102, 100, 102), (1, 100.5, 102, 100, 101.5))
    within_the_tolerance = BreakRules(retest_bars=3, retest_tolerance=0.5)

    assert brief(at_level, CLOSE) == [("breakout", 0, 102.0), ("retest", 1, 101.0)]
    assert brief(opened_below, CLOSE) == [("breakout", 0, 102.0), ("retest", 1, 100.5)]
    assert brief(at_level, within_the_tolerance)[1] == ("retest", 1, 101.5)


def test_a_bar_that_stays_above_the_level_is_no_retest() -> None:
    assert brief(bars((0, 100, 102, 100, 102), (1, 102, 102, 101.01, 101.5)), CLOSE) == [
        ("breakout", 0, 102.0)
    ]


def test_a_touch_that_closed_inside_has_to_close_away_before_there_is_a_retest() -> None:
    rows = bars(
        (0, 100, 102, 100, 100.5), (1, 100, 101, 99.5, 100), (2, 100, 102, 100, 102),
        (3, 102, 102, 100.9, 102),
    )  # fmt: skip

    assert brief(rows, TOUCH)[1:] == [("closed_beyond", 2, 102.0), ("retest", 3, 101.0)]


@pytest.mark.parametrize(
    ("minute", "told"),
    [(4, True), (5, False)],
)
def test_a_retest_comes_within_so_many_bars(minute: int, told: bool) -> None:
    rows = bars((1, 100, 102, 100, 102), (minute, 102, 102, 100, 100))

    assert (("retest", minute, 101.0) in brief(rows, CLOSE)) == told


def test_bars_that_lack_count_and_a_break_of_the_day_does_not() -> None:
    rows = bars((8, 100, 102, 100, 102), (41, 102, 102, 100, 100))
    late = bars((8, 100, 102, 100, 102), (42, 102, 102, 100, 100))

    assert brief(rows, CLOSE)[1:] == [("retest", 41, 101.0)]  # minutes 9, 40, 41
    assert brief(late, CLOSE)[1:] == []


def test_of_ticks_the_n_th_minute_ends_it() -> None:
    inside = ticks((59, 102.0), (60, 101.5), (239, 101.0))
    after = ticks((59, 102.0), (60, 101.5), (240, 101.0))

    assert brief(inside, CLOSE) == [("breakout", 59, 102.0), ("retest", 239, 101.0)]
    assert brief(after, CLOSE) == [("breakout", 59, 102.0)]


def test_the_next_breakout_of_a_side_ends_what_was_waited_for() -> None:
    rules = BreakRules(confirm="touch", closed_beyond=True, inside_bars=1)
    rows = bars((0, 100, 102, 100, 100), (1, 100, 102, 100, 100), (2, 100, 102, 100, 102))

    told = brief(rows, rules)

    assert [(kind, minute) for kind, minute, _ in told] == [("breakout", n) for n in range(3)]


def test_rows_of_before_the_breakout_tell_nothing() -> None:
    rows = bars((5, 100, 102, 100, 100), (4, 100, 103, 100, 103), (6, 100, 103, 100, 102))

    assert brief(rows, TOUCH)[1:] == [("closed_beyond", 6, 102.0)]


def test_a_close_beyond_and_a_retest_may_be_one_bar() -> None:
    rules = BreakRules(confirm="touch", buffer=1.0, closed_beyond=True, retest_bars=5)
    rows = bars((0, 100, 103, 100, 101.5), (1, 101.5, 103, 100.5, 102.5))

    assert brief(rows, rules) == [
        ("breakout", 0, 102.0), ("closed_beyond", 1, 102.5), ("retest", 1, 101.0),
    ]  # fmt: skip


PRICE = st.sampled_from((98.0, 99.0, 100.0, 101.0, 101.5, 102.0))


@given(
    rows=st.lists(st.tuples(st.integers(0, 9), PRICE, PRICE, PRICE, PRICE), min_size=1, max_size=9),
    inside_bars=st.integers(0, 2),
    rules=st.sampled_from((TOUCH, CLOSE)),
)
def test_any_cut_of_any_order_tells_the_same(
    rows: list[Bar], inside_bars: int, rules: BreakRules
) -> None:
    proper = [(m, o, max(o, h, l, c), min(o, h, l, c), c) for m, o, h, l, c in rows]
    more = BreakRules(
        rules.confirm, inside_bars=inside_bars, closed_beyond=True, retest_bars=rules.retest_bars
    )

    brief(bars(*proper), more)
