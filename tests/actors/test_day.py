"""The trading day: its phases in order, its states, what follows it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from runs import of_cases, some_days

from openbell.actors import day
from openbell.actors.day import Settings, State
from openbell.actors.effects import Effects, Publish
from openbell.market.assembly import assemble, no_rows
from openbell.market.days import MarketTime
from openbell.messages.base import Message
from openbell.messages.control import Input, Loaded, LoadFailed, LoadTimedOut, Roll, Start
from openbell.messages.data import Load
from openbell.messages.session import (
    AwaitLoad,
    DayCleared,
    DayClosed,
    DayOpened,
    DayWithoutData,
    PhaseEntered,
    RunEnded,
    StateChanged,
)
from openbell.messages.time import Grant, Reached

CASES = some_days("bars")
RUN = of_cases(CASES)
FIRST, SECOND, THIRD = RUN.days
SETTINGS = Settings(RUN.settings.sessions, RUN.settings.interval_ns, "boundary", days_ahead=1)


def granted(
    state: State, *inputs: Input, until_ns: int = FIRST.open_ns, from_ns: int = FIRST.open_ns
) -> tuple[State, list[Message]]:
    grant = Grant(step=1, from_ns=MarketTime(from_ns), until_ns=MarketTime(until_ns), inputs=inputs)
    effects: Effects
    state, effects = day.update(SETTINGS, state, grant)
    assert all(isinstance(effect, Publish) for effect in effects)
    return state, [effect.message for effect in effects if isinstance(effect, Publish)]


def loaded(number: int) -> Loaded:
    date = RUN.days[number].date
    return Loaded(date=date, data=RUN.data[date])


def phases(said: Sequence[Message]) -> list[str]:
    return [m.phase for m in said if isinstance(m, PhaseEntered)]


def states(said: Sequence[Message]) -> list[str]:
    return [m.after for m in said if isinstance(m, StateChanged)]


def kinds(said: Sequence[Message]) -> list[type[Message]]:
    return [type(m) for m in said if not isinstance(m, PhaseEntered | StateChanged)]


def started() -> State:
    return granted(State(), Start(days=RUN.days))[0]


def test_the_first_day_is_prepared_without_being_cleared() -> None:
    _, said = granted(State(), Start(days=RUN.days))

    assert phases(said) == ["initialise", "history", "load"]
    assert states(said) == ["PRE_MARKET"]
    assert kinds(said) == [Load, AwaitLoad]
    (load,) = (m for m in said if isinstance(m, Load))
    assert load.days == (FIRST, SECOND)  # one day ahead


def test_a_day_is_active_when_its_rows_are_there() -> None:
    state, said = granted(started(), loaded(0))

    assert phases(said) == ["activate", "stream"]
    assert states(said) == ["ACTIVE"]
    assert kinds(said) == [DayOpened]
    (opened,) = (m for m in said if isinstance(m, DayOpened))
    assert opened.day == FIRST
    assert opened.symbols == ("A", "B", "C")
    assert opened.boundaries[-1] == FIRST.close_ns
    assert list(opened.boundaries) == sorted(set(opened.boundaries))
    assert opened.boundaries[0] > FIRST.open_ns
    assert state.phase == "stream"


def test_a_day_ends_at_its_close_and_not_before() -> None:
    state, _ = granted(started(), loaded(0))

    state, early = granted(state, until_ns=FIRST.close_ns - 1)
    _, said = granted(state, until_ns=FIRST.close_ns)

    assert early == []
    assert states(said) == ["POST_MARKET", "ENDED"]
    assert phases(said) == ["end"]
    assert kinds(said) == [DayClosed]
    assert {m.at_ns for m in said if isinstance(m, StateChanged)} == {FIRST.close_ns}


def closed_without_rows() -> tuple[State, list[Message]]:
    without = LoadTimedOut(
        date=FIRST.date, data=no_rows(("A", "B", "C"), FIRST, SETTINGS.interval_ns)
    )
    state, _ = granted(started(), without)
    return granted(state, until_ns=FIRST.close_ns)


def test_a_day_that_closes_without_its_rows_waits_for_them() -> None:
    state, said = closed_without_rows()

    assert states(said) == ["POST_MARKET"]
    assert kinds(said) == [AwaitLoad]
    assert AwaitLoad(date=FIRST.date, late=True) in said
    assert phases(said) == []

    gone = LoadFailed(date=FIRST.date, reason="gone")
    failed, said = granted(state, gone, from_ns=FIRST.close_ns, until_ns=FIRST.close_ns)

    assert failed.state == "ERROR"
    assert RunEnded(error=f"{FIRST.date}: gone") in said


def test_rows_that_come_after_the_close_have_the_day_gone_through_again() -> None:
    state, _ = closed_without_rows()
    close = FIRST.close_ns

    state, said = granted(state, loaded(0), from_ns=close, until_ns=close)

    (opened,) = (message for message in said if isinstance(message, DayOpened))
    assert (opened.again, opened.live_from_ns) == (True, close)
    assert DayClosed not in kinds(said)
    assert states(said) == []

    for boundary in opened.boundaries[1:-1]:
        state, said = granted(state, until_ns=boundary)
        assert said == []
    state, said = granted(state, until_ns=close)

    assert kinds(said) == [DayClosed]
    assert phases(said) == ["end"]
    assert states(said) == ["ENDED"]


def test_a_day_that_opened_without_rows_and_gets_none_is_without_data() -> None:
    nothing = Loaded(date=FIRST.date, data=no_rows(("A", "B", "C"), FIRST, SETTINGS.interval_ns))
    early, opened = granted(started(), LoadTimedOut(date=FIRST.date, data=nothing.data))
    closed, _ = closed_without_rows()
    close = FIRST.close_ns

    early, said = granted(early, nothing, from_ns=FIRST.open_ns, until_ns=FIRST.open_ns)
    late, after = granted(closed, nothing, from_ns=close, until_ns=close)

    assert [m.awaits_rows for m in opened if isinstance(m, DayOpened)] == [True]
    assert kinds(said) == kinds(after) == [DayWithoutData]
    assert phases(said) == phases(after) == ["end"]
    assert (states(said), states(after)) == (["POST_MARKET", "ENDED"], ["ENDED"])
    assert early == late
    assert granted(early, until_ns=close)[1] == []


def test_a_day_that_is_over_can_not_fail_any_more() -> None:
    state, _ = granted(started(), loaded(0))
    state, _ = granted(state, until_ns=FIRST.close_ns)
    state, _ = granted(state, Roll())

    after, said = granted(state, LoadFailed(date=FIRST.date, reason="too late"))

    assert (after, said) == (state, [])


def test_the_next_day_clears_the_one_before() -> None:
    state, _ = granted(started(), loaded(0))
    state, _ = granted(state, until_ns=FIRST.close_ns)

    _, said = granted(state, Roll(), until_ns=FIRST.close_ns)

    assert phases(said) == ["clear", "initialise", "history", "load"]
    assert states(said) == ["NOT_STARTED", "PRE_MARKET"]
    assert kinds(said) == [DayCleared, Load, AwaitLoad]
    (load,) = (m for m in said if isinstance(m, Load))
    assert load.days == (SECOND, THIRD)


def test_after_the_last_day_the_run_has_ended() -> None:
    state = started()
    for number in range(3):
        state, _ = granted(state, loaded(number))
        state, _ = granted(state, until_ns=RUN.days[number].close_ns)
        state, said = granted(state, Roll(), until_ns=RUN.days[number].close_ns)

    assert kinds(said) == [RunEnded]
    assert state.state == "ENDED"


def test_a_run_without_a_day_ends_at_once() -> None:
    _, said = granted(State(), Start(days=()))

    assert kinds(said) == [RunEnded]


def test_a_day_without_a_row_inside_its_hours_is_not_opened() -> None:
    case = CASES[0]
    raw = case.raw_rows()
    raw.ts[:] = case.day.close_ns
    data = assemble(raw, case.day, case.interval_ns)

    state, said = granted(started(), Loaded(date=case.day.date, data=data))

    assert kinds(said) == [DayWithoutData]
    assert states(said) == ["ENDED"]
    (nothing,) = (m for m in said if isinstance(m, DayWithoutData))
    assert nothing.outside_hours == len(raw)
    _, said = granted(state, Roll())
    assert phases(said)[0] == "clear"


def test_it_hears_grants_alone() -> None:
    with pytest.raises(ValueError, match="day: unexpected"):
        day.update(SETTINGS, State(), Reached(step=1, sender="clock"))
