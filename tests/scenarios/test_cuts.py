"""However the rows are cut into steps, every output is the same, bit for bit."""

from __future__ import annotations

from hypothesis import event, given
from hypothesis import strategies as st
from runs import Found, drained, of_cases, outputs, with_boundaries
from strategies import Case, cases

from openbell.actors import keeper

ONE_DAY = st.one_of(
    cases("bars", minutes_max=60, own_hours=True), cases("ticks", minutes_max=60, own_hours=True)
)


@st.composite
def cut_days(draw: st.DrawFn) -> tuple[Case, list[int]]:
    """A day, and instants inside it: at rows' times, just beside them, and anywhere."""
    case = draw(ONE_DAY)
    times = sorted({row[1] for row in case.rows if case.day.open_ns < row[1] < case.day.close_ns})
    anywhere = st.integers(case.day.open_ns + 1, case.day.close_ns - 1)
    if times:
        beside = st.builds(int.__add__, st.sampled_from(times), st.sampled_from((0, 0, 1, -1)))
        anywhere = st.one_of(beside, anywhere)
    cuts = draw(st.lists(anywhere, max_size=20))
    return case, sorted({cut for cut in cuts if case.day.open_ns < cut < case.day.close_ns})


@given(cut_day=cut_days())
def test_steps_may_end_anywhere(cut_day: tuple[Case, list[int]]) -> None:
    case, cuts = cut_day
    event(f"{min(len(cuts) // 5 * 5, 15)} cuts or more")
    run = of_cases([case])

    cut = drained(run, troupe=with_boundaries(run, cuts))

    whole = drained(run)
    assert outputs(cut) == outputs(whole)
    fresh = len({*cuts} - {*boundaries_of(whole)})
    assert steps(cut) == steps(whole) + fresh * len(whole.days)


@given(case=ONE_DAY)
def test_a_step_a_bar_gives_what_steps_between_boundaries_give(case: Case) -> None:
    by_bar = drained(of_cases([case], clock_step="bar"))

    assert outputs(by_bar) == outputs(drained(of_cases([case])))


@given(case=ONE_DAY)
def test_a_day_in_one_step_gives_what_steps_between_boundaries_give(case: Case) -> None:
    at_once = drained(of_cases([case], clock_step="day"))

    # All but the states that sessions go through within the day, which nobody sees then.
    assert outputs(at_once)[:-1] == outputs(drained(of_cases([case])))[:-1]


@given(case=cases("ticks", minutes_max=20, own_hours=True))
def test_a_step_a_tick_time_gives_the_same(case: Case) -> None:
    instants = {row[1] for row in case.rows}
    inside = sorted(t for t in instants if case.day.open_ns < t < case.day.close_ns)
    run = of_cases([case])

    one_by_one = drained(run, troupe=with_boundaries(run, inside))

    assert outputs(one_by_one) == outputs(drained(run))


def steps(found: Found) -> int:
    return found.cells[keeper.NAME].step


def boundaries_of(found: Found) -> tuple[int, ...]:
    return next((c.opened.boundaries for c in found.commits if c.opened), ())
