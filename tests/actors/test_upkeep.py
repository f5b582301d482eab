"""Upkeep: derived bars as they finish, quality at the close, jumps overnight."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from reference import Row, Rules, Window
from runs import pieces
from strategies import Case

from openbell.actors import upkeep
from openbell.actors.effects import Publish
from openbell.actors.upkeep import Settings, State, update
from openbell.market.assembly import assemble
from openbell.market.bars import BadRow, BarBlock
from openbell.market.days import DAY_NS, EPOCH, MINUTE_NS, Segment, TradingDay
from openbell.messages.base import Message
from openbell.messages.data import BarsDerived, Batch, PossibleSplit, QualityReport
from openbell.messages.session import DayCleared, DayOpened
from openbell.runtime.record.codec import encode

SETTINGS = Settings(intervals_minutes=(5, 15))
MINUTES = 30


def a_case(number: int, prices: dict[str, float], kind: str = "bars") -> Case:
    """A day of half an hour in which each symbol's price stays as it is, but for a hole."""
    opens = number * DAY_NS
    day = TradingDay(
        date(1970, 1, 1) + timedelta(days=number),
        "UTC",
        (Segment(opens, opens + MINUTES * MINUTE_NS),),
    )
    rows: list[Row] = []
    for minute in range(MINUTES):
        if minute in (7, 8):
            continue
        ts = opens + minute * MINUTE_NS
        for symbol, price in prices.items():
            row: Row = (symbol, ts, price, price, price, price, 1.0)
            rows.append(row if kind == "bars" else (symbol, ts, price, 1.0))
    interval_ns = MINUTE_NS if kind == "bars" else None
    symbols = tuple(sorted(prices))
    windows = (Window("W", "00:00", "00:01"),)
    return Case(day, interval_ns, tuple(rows), symbols, windows, Rules(), {})


def messages(case: Case, cuts: tuple[int, ...] = ()) -> list[Message]:
    """What upkeep hears of a day."""
    data = assemble(case.raw_rows(), case.day, case.interval_ns)
    opened = DayOpened(
        day=case.day,
        symbols=data.symbols,
        kind=case.kind,
        interval_ns=case.interval_ns,
        boundaries=(case.day.close_ns,),
        counts=data.counts,
        bad=data.bad,
        live_from_ns=case.day.open_ns,
    )
    parts = pieces(data.rows, cuts)
    ends = [
        int((part.ends if isinstance(part, BarBlock) else part.ts)[-1]) if len(part) else 0
        for part in parts
    ]
    ends[-1] = case.day.close_ns
    return [
        opened,
        *(
            Batch(step=1, rows=part, watermark_ns=end)
            for part, end in zip(parts, ends, strict=True)
        ),
    ]


def told(state: State, *heard: Message) -> tuple[State, list[Message]]:
    said: list[Message] = []
    for message in heard:
        state, effects = update(SETTINGS, state, message)
        said += [effect.message for effect in effects if isinstance(effect, Publish)]
    return state, said


def report(said: list[Message]) -> QualityReport:
    (found,) = (message for message in said if isinstance(message, QualityReport))
    return found


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_a_derived_bar_is_said_when_it_is_finished(kind: str) -> None:
    opened, first, second = messages(a_case(0, {"A": 10.0}, kind), (6,))
    state, _ = told(State(), opened)

    state, early = told(state, first)
    _, late = told(state, second)

    assert [len(m.bars) for m in early if isinstance(m, BarsDerived)] == [1]
    counts = {m.bars.interval_minutes: len(m.bars) for m in late if isinstance(m, BarsDerived)}
    assert counts == {5: 5, 15: 2}


def test_ticks_wait_until_a_bar_is_over_and_are_in_what_is_written() -> None:
    opened, *fine = messages(a_case(0, {"A": 10.0, "B": 20.0}, "ticks"), (2, 4, 6, 8, 14, 20))
    _, *coarse = messages(a_case(0, {"A": 10.0, "B": 20.0}, "ticks"), (8, 20))

    one = State()
    states = [encode(upkeep.kept(SETTINGS, one := told(one, m)[0])) for m in [opened, *fine[:4]]]
    waited = one.today.waiting if one.today else ()
    other, _ = told(State(), opened, coarse[0])

    assert len(waited) == 4
    assert len(set(states)) == 5
    assert states[-1] == encode(upkeep.kept(SETTINGS, other))
    assert encode(told(one, *fine[4:])[0]) == encode(told(other, *coarse[1:])[0])


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_quality_is_reported_at_the_close_alone(kind: str) -> None:
    opened, first, second = messages(a_case(0, {"A": 10.0, "B": 20.0}, kind), (12,))
    state, _ = told(State(), opened)

    state, early = told(state, first)
    _, late = told(state, second)

    assert not any(isinstance(message, QualityReport) for message in early)
    quality = report(late).quality
    assert quality.expected.tolist() == [MINUTES, MINUTES]
    assert quality.actual.tolist() == [MINUTES - 2, MINUTES - 2]
    assert (quality.gaps.tolist(), quality.missing.tolist()) == ([1, 1], [2, 2])
    assert report(late).rows == 2 * (MINUTES - 2)


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_a_price_that_jumps_overnight_is_flagged(kind: str) -> None:
    first = a_case(0, {"A": 100.0, "B": 100.0, "C": 100.0}, kind)
    second = a_case(1, {"A": 14.0, "B": 139.0, "C": 141.0}, kind)
    state, said = told(State(), *messages(first))
    assert report(said).possible_splits == ()

    state, _ = told(state, DayCleared(date=second.day.date))
    _, said = told(state, *messages(second))

    assert report(said).possible_splits == (
        PossibleSplit(symbol="A", previous_close=100.0, open=14.0),
        PossibleSplit(symbol="C", previous_close=100.0, open=141.0),
    )


def test_a_symbols_last_close_is_kept_over_days_on_which_it_has_no_row() -> None:
    state, _ = told(State(), *messages(a_case(0, {"A": 100.0, "B": 50.0})))
    state, _ = told(state, DayCleared(date=date(1970, 1, 2)), *messages(a_case(1, {"B": 50.0})))

    _, said = told(
        state, DayCleared(date=date(1970, 1, 3)), *messages(a_case(2, {"A": 30.0, "B": 50.0}))
    )

    assert [split.symbol for split in report(said).possible_splits] == ["A"]


def test_a_cleared_day_leaves_no_open_bucket() -> None:
    opened, first, _ = messages(a_case(0, {"A": 10.0}), (6,))
    state, _ = told(State(), opened, first)

    state, _ = told(state, DayCleared(date=date(1970, 1, 2)))
    _, said = told(state, *messages(a_case(1, {"A": 10.0})))

    bars = [m.bars for m in said if isinstance(m, BarsDerived) and m.bars.interval_minutes == 5]
    assert np.concatenate([part.volume for part in bars]).tolist() == [5, 3, 5, 5, 5, 5]
    assert min(int(part.ts.min()) for part in bars) == DAY_NS


def test_of_a_feeds_unusable_rows_the_first_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "BAD_LISTED_MAX", 5)
    opened, *batches = messages(a_case(0, {"A": 10.0}), (6, 12, 18))
    bad = [BadRow("feed", place, "A", EPOCH, "close is missing") for place in range(9)]
    heard = [
        part.model_copy(update={"bad": tuple(bad[2 * n : 2 * n + 2])})
        for n, part in enumerate(batches)
        if isinstance(part, Batch)
    ]

    _, said = told(State(), opened, *heard)

    assert report(said).bad == tuple(bad[:5])
