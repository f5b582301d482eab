"""Rows that are put together again before an actor is given them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from runs import of_cases, one_day

from openbell.actors.effects import Actor, Effects, Publish
from openbell.actors.holding import Holding, holding
from openbell.market.bars import BarBlock
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.insertion import SymbolsRemoved
from openbell.messages.session import DayCleared, DayOpened

CASE = one_day(date(2021, 3, 1), "bars")
DAY = CASE.day
DATA = of_cases([CASE]).data[DAY.date]
assert isinstance(DATA.rows, BarBlock)
ROWS: BarBlock = DATA.rows
OPENED = DayOpened(
    day=DAY,
    symbols=DATA.symbols,
    kind="bars",
    interval_ns=CASE.interval_ns,
    boundaries=(DAY.close_ns,),
    counts=DATA.counts,
    bad=(),
    live_from_ns=DAY.open_ns,
)
REMOVED = SymbolsRemoved(symbols=DATA.symbols[:1], at_ns=DAY.open_ns)


@dataclass(frozen=True)
class Heard:
    messages: tuple[Message, ...] = ()


def hears(state: Heard, message: Message) -> tuple[Heard, Effects]:
    return Heard((*state.messages, message)), (Publish(message),)


HELD = holding(Actor("of rows", Heard(), hears, frozenset({Batch, DayOpened})))


def batches(*cuts: int) -> list[Batch]:
    """The day's rows, cut before some of them."""
    edges = [0, *cuts, len(ROWS)]
    until = [int(ROWS.ends[at - 1]) if at else DAY.open_ns for at in edges[:-1]] + [DAY.close_ns]
    return [
        Batch(step=n, rows=ROWS.rows(*edges[n : n + 2]), watermark_ns=then, passed_ns=before)
        for n, (before, then) in enumerate(pairwise(until))
    ]


def given_all(*messages: Message) -> tuple[Holding[Heard], list[Effects]]:
    state, said = HELD.initial, []
    for message in messages:
        state, effects = HELD.update(state, message)
        said.append(effects)
    return state, said


def rows_of(batch: Message) -> BarBlock:
    assert isinstance(batch, Batch)
    assert isinstance(batch.rows, BarBlock)
    return batch.rows


@given(st.lists(st.integers(0, len(ROWS)), max_size=6).map(sorted))
def test_however_a_day_is_cut_its_rows_come_whole_when_it_is_over(cuts: list[int]) -> None:
    parts = batches(*(cut for cut in cuts if cut < len(ROWS)))

    state, said = given_all(OPENED, *parts)

    _, batch = state.of.messages
    assert isinstance(batch, Batch)
    assert (batch.watermark_ns, batch.passed_ns) == (DAY.close_ns, DAY.open_ns)
    for name in ("ts", "ends", "open", "high", "low", "close", "volume", "present"):
        np.testing.assert_array_equal(getattr(rows_of(batch), name), getattr(ROWS, name))
    assert np.shares_memory(rows_of(batch).close, ROWS.close)
    assert said == [(Publish(OPENED),), *[()] * (len(parts) - 1), (Publish(batch),)]
    assert state.waiting == ()


def test_what_came_before_other_symbols_is_given_before_them() -> None:
    first, second, third = batches(10, 20)

    state, said = given_all(OPENED, first, second, REMOVED, third)

    _, before, removed, after = state.of.messages
    assert (len(rows_of(before)), removed, len(rows_of(after))) == (20, REMOVED, len(ROWS) - 20)
    assert said[3] == (Publish(before), Publish(REMOVED))


def test_rows_of_a_day_that_is_dropped_are_dropped() -> None:
    first, _ = batches(10)
    cleared = DayCleared(date=DAY.date)

    state, _ = given_all(OPENED, first, cleared, OPENED, *batches())

    assert [type(of) for of in state.of.messages] == [DayOpened, DayCleared, DayOpened, Batch]
    assert len(rows_of(state.of.messages[-1])) == len(ROWS)
