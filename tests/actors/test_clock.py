"""The clock: one grant at a time, and nothing enters but through it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from runs import of_cases, one_day

from openbell.actors import clock
from openbell.actors.clock import State
from openbell.actors.effects import (
    Anchor,
    Await,
    Effect,
    Effects,
    Finish,
    Publish,
    Settled,
    WakeAt,
)
from openbell.market.days import MarketTime
from openbell.messages.base import Message
from openbell.messages.control import (
    DayOver,
    Loaded,
    LoadFailed,
    Pause,
    Prepared,
    Recover,
    RemoveSymbols,
    Resume,
    Roll,
    Start,
    StepOnce,
    SymbolsRefused,
)
from openbell.messages.scan import ScanDue, ScanResult
from openbell.messages.session import AwaitLoad, DayOpened, RunEnded
from openbell.messages.time import Grant, Reached

CASE = one_day(date(2021, 3, 1), "bars")
DAY = CASE.day
RUN = of_cases([CASE])
DATA = RUN.data[DAY.date]
SETTINGS = clock.Settings(speakers=frozenset({"day", "keeper"}))
BOUNDARIES = tuple(map(MarketTime, (DAY.open_ns + 60, DAY.close_ns)))
OPENED = DayOpened(
    day=DAY,
    symbols=DATA.symbols,
    kind="bars",
    interval_ns=CASE.interval_ns,
    boundaries=BOUNDARIES,
    counts=DATA.counts,
    bad=(),
    live_from_ns=DAY.open_ns,
)
START, LOADED = Start(days=(DAY,)), Loaded(date=DAY.date, data=DATA)


def told(
    state: State, *messages: Message, settings: clock.Settings = SETTINGS
) -> tuple[State, list[Effect]]:
    effects: list[Effect] = []
    for message in messages:
        more: Effects
        state, more = clock.update(settings, state, message)
        effects += more
    return state, effects


def grants(effects: Sequence[Effect]) -> list[Grant]:
    return [e.message for e in effects if isinstance(e, Publish) and isinstance(e.message, Grant)]


def over(state: State) -> tuple[Reached, Reached]:
    """The step that is under way, over."""
    step = state.step
    return Reached(step=step, sender="day"), Reached(step=step, sender="keeper")


def opened() -> State:
    """A clock with the day's boundaries ahead and no step under way; held, so that it waits."""
    state, _ = told(State(), START)
    state, _ = told(state, AwaitLoad(date=DAY.date), *over(state), LOADED)
    state, _ = told(state, OPENED, Pause(token="test"), *over(state))
    return state


def test_the_start_enters_with_the_first_grant_at_the_first_open() -> None:
    state, effects = told(State(), START)

    (grant,) = grants(effects)
    assert (grant.step, grant.from_ns, grant.until_ns) == (1, DAY.open_ns, DAY.open_ns)
    assert grant.inputs == (START,)
    assert effects[-1] == Publish(Reached(step=1, sender="clock"))
    assert state.step == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_no_grant_follows_before_all_who_speak_back_have_reached(order: tuple[int, int]) -> None:
    state, _ = told(State(), START, AwaitLoad(date=DAY.date))
    reached = over(state)

    state, early = told(state, LOADED, reached[order[0]])
    _, effects = told(state, reached[order[1]])

    assert grants(early) == []
    (grant,) = grants(effects)
    assert (grant.step, grant.inputs) == (2, (LOADED,))


def test_rows_that_are_awaited_are_asked_for_once() -> None:
    state, _ = told(State(), START, AwaitLoad(date=DAY.date))

    state, effects = told(state, *over(state), Pause(token="a"), Resume(token="a"))

    assert [e for e in effects if isinstance(e, Await)] == [Await(DAY.date)]
    assert grants(effects) == []


def test_the_end_of_a_day_before_is_granted_as_its_feed_waits_to_be_told_so() -> None:
    """As after a restart within a process that had gone on from an older copy of its store."""
    state = replace(opened(), tokens=frozenset(), agenda=(), preparing=DAY.date)
    before = DayOver(date=DAY.date - timedelta(days=1), position=7)

    after, effects = clock.update(replace(SETTINGS, lag_ns=0), state, before)

    assert [grant.inputs for grant in grants(effects)] == [(before,)]
    assert after.position == 7
    assert before not in after.inputs


def test_grants_go_from_boundary_to_boundary_and_never_beyond() -> None:
    state = opened()

    state, first = told(state, Resume(token="test"))
    state, second = told(state, *over(state))
    state, third = told(state, *over(state))

    spans = [(g.from_ns, g.until_ns, g.inputs) for g in grants([*first, *second, *third])]
    assert spans == [
        (DAY.open_ns, BOUNDARIES[0], ()),
        (BOUNDARIES[0], DAY.close_ns, ()),
        (DAY.close_ns, DAY.close_ns, (Roll(),)),
    ]


@pytest.mark.parametrize("goes_on", [True, False])
def test_with_the_answer_of_a_scan_time_goes_on_where_nothing_comes_of_it_before(
    goes_on: bool,
) -> None:
    settings = clock.Settings(SETTINGS.speakers, goes_on=frozenset({"mine"} if goes_on else ()))
    at: dict[str, Any] = {"date": DAY.date, "at_ns": BOUNDARIES[0], "label": "09:31"}
    due = [ScanDue(scan=name, **at) for name in ("mine", "other")]
    answers = [ScanResult(scan=name, **at) for name in ("mine", "other")]

    def granted(which: slice) -> tuple[State, list[Grant]]:
        state, _ = told(opened(), Resume(token="test"), settings=settings)
        state, none = told(state, *due[which], *over(state), settings=settings)
        assert grants(none) == []
        state, effects = told(state, *answers[which], settings=settings)
        return state, grants(effects)

    state, (grant,) = granted(slice(0, 1))
    _, (of_both,) = granted(slice(0, 2))

    until = DAY.close_ns if goes_on else BOUNDARIES[0]
    assert (grant.from_ns, grant.until_ns) == (BOUNDARIES[0], until)
    assert (grant.inputs, state.scans) == ((answers[0],), ())
    assert state.agenda == (() if goes_on else BOUNDARIES[1:])
    assert (of_both.until_ns, of_both.inputs) == (BOUNDARIES[0], tuple(answers))


def test_what_comes_in_during_a_step_waits_for_the_next_grant_and_moves_no_time() -> None:
    state, _ = told(opened(), Resume(token="test"))

    state, early = told(state, LOADED)
    _, effects = told(state, *over(state))

    assert grants(early) == []
    (grant,) = grants(effects)
    assert (grant.from_ns, grant.until_ns, grant.inputs) == (*BOUNDARIES[:1] * 2, (LOADED,))


def test_it_grants_when_nobody_holds_it_any_more() -> None:
    state, effects = told(
        opened(), Pause(token="scan"), Resume(token="test"), Resume(token="unknown")
    )
    assert grants(effects) == []

    _, effects = told(state, Resume(token="scan"))

    assert len(grants(effects)) == 1


def test_a_pause_lets_the_step_under_way_end() -> None:
    state, _ = told(opened(), Resume(token="test"))

    state, effects = told(state, Pause(token="operator"), *over(state))
    assert grants(effects) == []

    _, effects = told(state, Resume(token="operator"))
    assert len(grants(effects)) == 1


def test_one_step_may_be_granted_by_hand() -> None:
    state, effects = told(opened(), StepOnce())
    assert [g.until_ns for g in grants(effects)] == [BOUNDARIES[0]]

    _, effects = told(state, *over(state))
    assert grants(effects) == []


def test_after_a_restart_no_command_comes_before_what_is_given_again() -> None:
    before = replace(opened(), tokens=frozenset(), begun=False)
    given = Grant(step=before.step + 1, from_ns=DAY.open_ns, until_ns=MarketTime(BOUNDARIES[0]))

    state, effects = told(before, Pause(token="operator"), StepOnce(), Resume(token="operator"))
    assert effects == []

    _, effects = told(state, Prepared(grants=(given,)))
    assert grants(effects) == [given]


@pytest.mark.parametrize("given", [0, 2])
def test_a_restart_does_not_wait_for_the_part_of_the_day_that_is_over(given: int) -> None:
    minute = 60 * 10**9
    came_to = DAY.open_ns + 10 * minute
    before = replace(
        opened(), now_ns=MarketTime(came_to), tokens=frozenset(), agenda=(DAY.close_ns,)
    )
    again = tuple(
        Grant(
            step=before.step + n,
            from_ns=MarketTime(came_to),
            until_ns=MarketTime(came_to + n * minute),
        )
        for n in range(1, given + 1)
    )
    paced = replace(SETTINGS, paced=True)

    state, effects = clock.update(paced, before, Prepared(grants=again))
    for _ in again:
        for reached in over(state):
            state, more = clock.update(paced, state, reached)
            effects += more

    timed = [e for e in effects if isinstance(e, Anchor | WakeAt)]
    traded = clock.traded_ns(DAY, DAY.close_ns)
    assert timed == [Anchor((10 + given) * minute), WakeAt(DAY.close_ns, traded)]


def test_a_day_that_is_prepared_anew_crosses_no_boundary_before_it_is_opened() -> None:
    """It had opened without its rows, which then failed to come, and is tried again."""
    state, _ = told(opened(), Recover(), Resume(token="test"))
    state, effects = told(state, AwaitLoad(date=DAY.date), *over(state))
    assert grants(effects) == []

    _, effects = told(state, LOADED)
    (grant,) = grants(effects)
    assert (grant.inputs, grant.until_ns) == ((LOADED,), DAY.open_ns)


def test_after_the_last_day_it_finishes() -> None:
    state, _ = told(State(), Start(days=()))

    state, effects = told(state, RunEnded(), *over(state))

    assert Finish() in effects
    assert grants(effects) == []


def test_rows_of_a_day_before_that_come_late_are_not_those_it_waits_for() -> None:
    late = Loaded(date=date(2021, 2, 26), data=DATA)
    state, _ = told(State(), START)
    state, _ = told(state, AwaitLoad(date=DAY.date), *over(state))

    state, effects = told(state, late)
    state, after = told(state, *over(state))

    assert [grant.inputs for grant in grants(effects)] == [(late,)]
    assert grants(after) == []
    assert state.awaiting == DAY.date


def test_a_failure_that_is_given_again_does_not_end_the_run_that_is_to_recover() -> None:
    failed = LoadFailed(date=DAY.date, reason="the source does not answer")
    first = Grant(step=1, from_ns=DAY.open_ns, until_ns=DAY.open_ns, inputs=(START,))
    second = Grant(step=2, from_ns=DAY.open_ns, until_ns=DAY.open_ns, inputs=(failed,))

    state, _ = told(State(), Prepared(grants=(first, second), inputs=(Recover(),)))
    state, _ = told(state, AwaitLoad(date=DAY.date), *over(state))
    state, effects = told(state, RunEnded(error=failed.reason), *over(state))

    assert [(grant.step, grant.inputs) for grant in grants(effects)] == [(3, (Recover(),))]
    assert state.ended is None


LATE = AwaitLoad(date=DAY.date, late=True)


def closing() -> State:
    """A clock in the step that ends the day, whose rows have timed out."""
    state, _ = told(replace(opened(), agenda=(DAY.close_ns,)), Resume(token="test"))
    assert state.now_ns == DAY.close_ns
    return state


def test_a_day_that_closed_without_its_rows_is_left_when_they_have_come() -> None:
    state = closing()

    state, effects = told(state, LATE, *over(state))
    assert (grants(effects), [e for e in effects if isinstance(e, Await)]) == ([], [])
    state, effects = told(state, LOADED)
    assert [grant.inputs for grant in grants(effects)] == [(LOADED,)]
    again = OPENED.model_copy(update={"again": True, "live_from_ns": DAY.close_ns})
    state, effects = told(state, again, *over(state))
    for boundary in BOUNDARIES:
        (grant,) = grants(effects)
        assert (grant.until_ns, grant.inputs) == (boundary, ())
        state, effects = told(state, *over(state))

    assert [grant.inputs for grant in grants(effects)] == [(Roll(),)]


@pytest.mark.parametrize("first", [0, 1, 2, 3])
def test_rows_that_come_in_the_step_that_ends_the_day_are_not_missed(first: int) -> None:
    state = closing()
    messages: list[Message] = [LATE, *over(state)]
    messages.insert(first, LOADED)

    state, effects = told(state, *messages)

    assert [grant.inputs for grant in grants(effects)] == [(LOADED,)]
    assert state.awaiting is None


def test_a_restart_brings_the_rows_that_a_closed_day_waits_for() -> None:
    state = closing()
    state, effects = told(state, LATE, *over(state))
    (kept,) = (effect.clock for effect in effects if isinstance(effect, Settled))
    assert isinstance(kept, State)

    state, effects = told(kept, Prepared(inputs=(LOADED,)))

    assert [grant.inputs for grant in grants(effects)] == [(LOADED,)]
    assert state.awaiting is None


@pytest.mark.parametrize("first", [0, 1])
def test_a_restart_awaits_rows_that_came_in_the_step_that_asked_for_them(first: int) -> None:
    state, _ = told(State(), START)
    messages: list[Message] = [AwaitLoad(date=DAY.date), *over(state)]
    messages.insert(first, LOADED)

    _, effects = told(state, *messages)

    assert awaited_from(effects) == [Await(DAY.date)]


def test_a_restart_awaits_rows_that_came_while_symbols_were_asked_for() -> None:
    names = DATA.symbols
    remove = RemoveSymbols(symbols=names, by="operator", request="all")
    refused = SymbolsRefused(request="all", by="operator", symbols=names, why="none is left")
    state, _ = told(State(), START)
    state, _ = told(state, AwaitLoad(date=DAY.date), remove, *over(state))
    state, _ = told(state, LOADED, *over(state), refused)

    _, effects = told(state, *over(state))

    assert [grant.inputs for grant in grants(effects)] == [(LOADED,)]
    assert awaited_from(effects) == [Await(DAY.date)]


def awaited_from(effects: Sequence[Effect]) -> list[Effect]:
    """What a process waits for that goes on from the state of a step that is settled."""
    (kept,) = (effect.clock for effect in effects if isinstance(effect, Settled))
    assert isinstance(kept, State)
    return told(kept, Prepared())[1]


def test_a_grant_that_is_given_again_leaves_no_boundary_behind_it() -> None:
    at = [MarketTime(DAY.open_ns + seconds) for seconds in (60, 75, 90)]
    state = replace(opened(), agenda=(*at, DAY.close_ns))
    again = Grant(step=state.step + 1, from_ns=DAY.open_ns, until_ns=at[2], inputs=())

    state, _ = told(state, Prepared(grants=(again,)))
    _, effects = told(state, Resume(token="test"), *over(state))

    assert [(grant.from_ns, grant.until_ns) for grant in grants(effects)] == [(at[2], DAY.close_ns)]


def test_a_word_out_of_turn_is_an_error() -> None:
    state, _ = told(State(), START)

    with pytest.raises(ValueError, match="clock at step 1: unexpected"):
        told(state, Reached(step=7, sender="keeper"))
