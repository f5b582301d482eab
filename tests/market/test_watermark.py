"""How far a feed is taken to be complete by rows, and by the host's clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openbell.market.days import SECOND_NS, MarketTime
from openbell.market.watermark import WallRules, by_rows, by_timer, set_for, without

RULES = WallRules(lateness_ns=2 * SECOND_NS, skew_max_ns=5 * SECOND_NS)
INSTANTS = st.integers(0, 2**60).map(MarketTime)


def test_rows_move_time_no_further_than_they_may_be_ahead() -> None:
    assert by_rows(100 * SECOND_NS, 90 * SECOND_NS, 2 * SECOND_NS, RULES) == 93 * SECOND_NS
    assert by_rows(100 * SECOND_NS, 98 * SECOND_NS, 2 * SECOND_NS, RULES) == 98 * SECOND_NS


@given(host=INSTANTS, complete=INSTANTS)
def test_the_timer_goes_as_far_as_all_that_came_has_been_handed_over(
    host: int, complete: int
) -> None:
    watermark = by_timer(host, complete, RULES, over=False)

    assert watermark == min(host, complete) - RULES.lateness_ns
    assert by_timer(host, complete, RULES, over=True) == host


@given(of=st.lists(st.tuples(INSTANTS, st.sampled_from("abc")), max_size=8))
def test_there_is_one_alarm_of_a_name_and_the_next_comes_first(
    of: list[tuple[MarketTime, str]],
) -> None:
    alarms: tuple[tuple[MarketTime, str], ...] = ()
    for instant, name in of:
        alarms = set_for(alarms, name, instant)

    assert {name: at for at, name in alarms} == {name: at for at, name in of}
    assert list(alarms) == sorted(alarms)
    assert set_for(alarms, "a", None) == without(alarms, ["a"])
