"""A session's actor: pending, active, completed, day after day."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from runs import of_cases, one_day, pieces

from openbell.actors.effects import Effect, Publish
from openbell.actors.session import Active, Idle, Pending, State, kept, session, update
from openbell.market.days import MINUTE_NS, MarketTime
from openbell.market.windows import SessionSpec
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.session import (
    DayCleared,
    DayOpened,
    SessionCompleted,
    SessionPlanned,
    SessionStarted,
)
from openbell.runtime.record.codec import encode

RUN = of_cases([one_day(date(2021, 3, 1), "bars")])
DAY = RUN.days[0]
DATA = RUN.data[DAY.date]
OPENED = DayOpened(
    day=DAY,
    symbols=DATA.symbols,
    kind="bars",
    interval_ns=MINUTE_NS,
    boundaries=(DAY.close_ns,),
    counts=DATA.counts,
    bad=(),
    live_from_ns=DAY.open_ns,
)
MORNING = SessionSpec("Morning", "09:16", "09:20")


def minute(number: int) -> int:
    return DAY.open_ns + number * MINUTE_NS


def batch(first: int, last: int) -> Batch:
    """The rows that end after one minute and up to another."""
    rows = DATA.rows.rows(first, last)
    return Batch(step=1, rows=rows, watermark_ns=minute(last))


def told(spec: SessionSpec, state: State, *messages: Message) -> tuple[State, list[Message]]:
    said: list[Effect] = []
    for message in messages:
        state, more = update(spec, state, message)
        said += more
    assert all(isinstance(effect, Publish) for effect in said)
    return state, [effect.message for effect in said if isinstance(effect, Publish)]


def test_a_session_is_planned_when_the_day_opens() -> None:
    state, said = told(MORNING, Idle(), OPENED)

    assert isinstance(state, Pending)
    assert said == [SessionPlanned(session="Morning", status="PENDING", at_ns=DAY.open_ns)]


def test_it_starts_and_is_over_when_the_watermark_says_so() -> None:
    state, _ = told(MORNING, Idle(), OPENED)

    state, first = told(MORNING, state, batch(0, 1))
    state, second = told(MORNING, state, batch(1, 4))
    state, third = told(MORNING, state, batch(4, 6))

    assert first == [SessionStarted(session="Morning", at_ns=MarketTime(minute(1)))]
    assert second == []
    (completed,) = third
    assert isinstance(completed, SessionCompleted)
    assert completed.at_ns == minute(6)
    assert isinstance(state, Idle)
    rows = DATA.rows.rows(1, 6)
    assert completed.levels.high.tolist() == np.nanmax(rows.high, axis=0).tolist()
    assert completed.levels.low.tolist() == np.nanmin(rows.low, axis=0).tolist()


def test_ticks_wait_until_the_window_is_over_and_are_in_what_is_written() -> None:
    run = of_cases([one_day(date(2021, 3, 1), "ticks")])
    data = run.data[DAY.date]
    opened = OPENED.model_copy(update={"kind": "ticks", "interval_ns": None})

    def heard(cuts: list[float]) -> list[State]:
        state, states, before = told(MORNING, Idle(), opened)[0], [], 0
        for cut in [*cuts, 6]:
            stop = int(data.rows.ts.searchsorted(minute(0) + int(cut * MINUTE_NS)))
            rows, before = data.rows.rows(before, stop), stop
            until_ns = minute(0) + int(cut * MINUTE_NS)
            state, said = told(MORNING, state, Batch(step=1, rows=rows, watermark_ns=until_ns))
            states.append(state)
        (completed,) = (m for m in said if isinstance(m, SessionCompleted))
        levels.append(encode(completed.levels))
        return states

    levels: list[bytes] = []
    fine, coarse = heard([1.5, 2, 2.7, 4.1, 5]), heard([5])

    before = fine[4]
    assert isinstance(before, Active)
    assert len(before.waiting) == 5
    looked_at = [encode(kept(MORNING, state)) for state in (before, coarse[0], fine[3])]
    assert looked_at[0] == looked_at[1] != looked_at[2]
    assert levels[0] == levels[1]


def test_one_batch_may_hold_all_of_it() -> None:
    state, _ = told(MORNING, Idle(), OPENED)

    _, said = told(MORNING, state, batch(0, 30))

    assert [type(message) for message in said] == [SessionStarted, SessionCompleted]
    assert [getattr(message, "at_ns", None) for message in said] == [minute(1), minute(6)]


def test_the_watermark_alone_ends_it() -> None:
    state, _ = told(MORNING, Idle(), OPENED, batch(0, 1))

    empty = Batch(step=2, rows=DATA.rows.rows(1, 1), watermark_ns=minute(6))
    _, said = told(MORNING, state, empty)

    (completed,) = said
    assert isinstance(completed, SessionCompleted)
    assert completed.levels.count.tolist() == [0, 0, 0]
    assert np.isnan(completed.levels.high).all()
    assert not completed.levels.complete.any()


def test_a_session_from_the_open_on_starts_with_the_day() -> None:
    spec = SessionSpec("Opening", "open", "open+4m")

    state, said = told(spec, Idle(), OPENED)

    assert isinstance(state, Active)
    assert [type(message) for message in said] == [SessionPlanned, SessionStarted]


def test_a_session_outside_the_hours_is_skipped() -> None:
    spec = SessionSpec("Evening", "18:00", "18:05")

    state, said = told(spec, Idle(), OPENED)

    assert isinstance(state, Idle)
    (planned,) = said
    assert isinstance(planned, SessionPlanned)
    assert planned.status == "SKIPPED"
    assert planned.reason is not None
    assert "outside the hours" in planned.reason
    assert told(spec, state, batch(0, 50))[1] == []


@pytest.mark.parametrize("cuts", [(), (2,), (1, 2, 3, 4, 5, 6), (6, 30)])
def test_levels_are_the_same_however_the_rows_are_cut(cuts: tuple[int, ...]) -> None:
    state, _ = told(MORNING, Idle(), OPENED)
    parts = [
        Batch(step=1, rows=rows, watermark_ns=int(rows.ends[-1]))
        for rows in pieces(DATA.rows, cuts)
    ]

    _, said = told(MORNING, state, *parts)
    _, whole = told(MORNING, state, batch(0, len(DATA.rows)))

    assert isinstance(said[-1], SessionCompleted)
    assert isinstance(whole[-1], SessionCompleted)
    assert said[-1].levels.high.tolist() == whole[-1].levels.high.tolist()
    assert said[-1].levels.count.tolist() == whole[-1].levels.count.tolist()


def test_a_new_day_knows_nothing_of_the_day_before() -> None:
    state, _ = told(MORNING, Idle(), OPENED, batch(0, 4))

    state, _ = told(MORNING, state, DayCleared(date=DAY.date))
    assert isinstance(state, Idle)
    state, said = told(MORNING, state, OPENED)

    assert isinstance(state, Pending)
    assert len(said) == 1


def test_an_actor_is_named_after_its_session() -> None:
    assert session(MORNING).name == "session:Morning"
