"""Prefetch: days read ahead once, rows handed out once and as views."""

from __future__ import annotations

from datetime import date
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from runs import of_cases, one_day, some_days

from openbell.actors import prefetch
from openbell.actors.effects import Effects, Fetch, Publish
from openbell.actors.prefetch import Settings, State
from openbell.market.days import MINUTE_NS, MarketTime
from openbell.messages.control import Input, Loaded
from openbell.messages.data import Batch, Load
from openbell.messages.session import DayCleared
from openbell.messages.time import Grant, Reached

RUN = of_cases(some_days("bars"))
FIRST, SECOND, THIRD = RUN.days
update = partial(prefetch.update, Settings())


def granted(state: State, from_ns: int, until_ns: int, *inputs: Input) -> tuple[State, Effects]:
    grant = Grant(step=2, from_ns=MarketTime(from_ns), until_ns=MarketTime(until_ns), inputs=inputs)
    return update(state, grant)


def with_rows(kind: str) -> State:
    run = of_cases([one_day(date(2021, 3, 1), kind)])
    data = run.data[FIRST.date]
    loaded = Loaded(date=FIRST.date, data=data)
    state, effects = granted(State(), FIRST.open_ns, FIRST.open_ns, loaded)
    assert effects == ()
    return state


def batch_of(effects: Effects) -> Batch:
    (effect,) = effects
    assert isinstance(effect, Publish)
    assert isinstance(effect.message, Batch)
    return effect.message


def test_each_day_is_fetched_once() -> None:
    state, first = update(State(), Load(days=(FIRST, SECOND)))
    state, second = update(state, Load(days=(SECOND, THIRD)))
    _, third = update(state, Load(days=(THIRD,)))

    assert first == (Fetch(FIRST), Fetch(SECOND))
    assert second == (Fetch(THIRD),)
    assert third == ()


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_rows_are_handed_out_in_turn_and_none_twice(kind: str) -> None:
    state = with_rows(kind)
    rows = state.rows
    assert rows is not None
    edges = [FIRST.open_ns, FIRST.open_ns + 3 * MINUTE_NS + 1, FIRST.close_ns]

    batches = []
    for begin, end in pairwise(edges):
        state, effects = granted(state, begin, end)
        batches.append(batch_of(effects))

    assert [batch.watermark_ns for batch in batches] == edges[1:]
    assert [batch.step for batch in batches] == [2, 2]
    got = np.concatenate([batch.rows.ts for batch in batches])
    assert got.tolist() == rows.ts.tolist()
    for batch in batches:
        assert np.shares_memory(batch.rows.ts, rows.ts)


def test_a_bar_is_handed_out_when_it_has_ended() -> None:
    state = with_rows("bars")

    state, early = granted(state, FIRST.open_ns, FIRST.open_ns + MINUTE_NS - 1)
    _, on_time = granted(state, FIRST.open_ns + MINUTE_NS - 1, FIRST.open_ns + MINUTE_NS)

    assert len(batch_of(early).rows) == 0
    assert batch_of(on_time).rows.ts.tolist() == [FIRST.open_ns]


def test_a_tick_at_a_boundary_belongs_to_the_step_after_it() -> None:
    state = with_rows("ticks")
    assert state.rows is not None
    at = int(state.rows.ts[5])

    state, before = granted(state, FIRST.open_ns, at)
    _, after = granted(state, at, at + 1)

    assert (batch_of(before).rows.ts < at).all()
    assert batch_of(after).rows.ts.tolist() == [at]


def test_a_grant_that_moves_no_time_hands_out_nothing() -> None:
    _, effects = granted(with_rows("bars"), FIRST.open_ns, FIRST.open_ns)

    assert effects == ()


def test_rows_of_a_day_that_is_over_are_not_handed_out() -> None:
    state, _ = update(State(), Load(days=(SECOND, THIRD)))
    today = Loaded(date=SECOND.date, data=RUN.data[SECOND.date])
    state, _ = granted(state, SECOND.open_ns, SECOND.open_ns, today)

    late = Loaded(date=FIRST.date, data=RUN.data[FIRST.date])
    state, _ = granted(state, SECOND.open_ns, SECOND.open_ns, late)

    assert state.rows is today.data.rows


def test_a_cleared_day_is_let_go_of() -> None:
    state, _ = update(with_rows("bars"), DayCleared(date=SECOND.date))

    assert state.rows is None
    assert granted(state, FIRST.open_ns, FIRST.close_ns)[1] == ()


def test_another_message_is_an_error() -> None:
    with pytest.raises(ValueError, match="prefetch: unexpected"):
        update(State(), Reached(step=1, sender="clock"))
