"""States in words: a line a field, whatever is in them."""

from __future__ import annotations

import dataclasses
from datetime import date

import numpy as np
import pytest
from drawn_values import MESSAGES, STATES, instances
from hypothesis import given, settings
from hypothesis import strategies as st

from openbell.actors import clock, keeper, session
from openbell.market.days import MarketTime, Segment, TradingDay
from openbell.market.windows import Window
from openbell.messages.session import DayClosed, PhaseEntered
from openbell.messages.time import Grant
from openbell.runtime.record.words import in_words


@settings(max_examples=10)
@given(data=st.data())
@pytest.mark.parametrize(
    "kind", [*STATES, *MESSAGES], ids=lambda of: f"{of.__module__[9:]}.{of.__name__}"
)
def test_every_state_and_message_has_a_line_a_field(kind: type, data: st.DataObject) -> None:
    value = data.draw(instances(kind))

    first, *fields = in_words(value)

    assert first == kind.__name__
    assert not any("\n" in line for line in fields)
    names = [line.strip().partition(": ")[0] for line in fields if not line.startswith("   ")]
    assert [name.rstrip(":") for name in names] == [
        name
        for name in kind.__annotations__
        if name not in only_if_set(kind) or is_set(value, name)
    ]


def only_if_set(kind: type) -> set[str]:
    """Fields that are written only if they are set, as stored states of before lack them."""
    if not dataclasses.is_dataclass(kind):
        return set()
    return {of.name for of in dataclasses.fields(kind) if of.metadata.get("written") == "if set"}


def is_set(value: object, name: str) -> bool:
    of = getattr(value, name)
    return of is not None and not (isinstance(of, tuple) and len(of) == 0)


def lines_of(value: object, key: str = "") -> list[str]:
    return list(in_words(value, key))


def test_a_state_is_told_with_all_that_it_consists_of() -> None:
    window = Window(
        MarketTime(1_719_840_600_000_000_000),
        MarketTime(1_719_840_900_000_000_000),
        np.array([5, 6]),
        None,
    )

    lines = lines_of(session.Pending(("AAPL", "MSFT"), window), "session:Opening")

    assert lines == [
        "session:Opening: Pending",
        "  symbols: ('AAPL', 'MSFT')",
        "  window: Window",
        "    start_ns: 2024-07-01T13:30:00Z",
        "    end_ns: 2024-07-01T13:35:00Z",
        "    slots: 2 int64: 5, 6",
        "    truncated: None",
        "  may_be_filled: False",
        "  partial: None",
    ]


def test_what_stands_in_a_row_is_counted_and_told_one_by_one() -> None:
    day = date(2024, 7, 1)
    said = (PhaseEntered(date=day, phase="end"), DayClosed(date=day))
    plan = TradingDay(day, "UTC", (Segment(1, 2),))

    gathered = lines_of(keeper.State(gathered=said))
    segments = lines_of(plan)

    assert gathered[3:-1] == [
        "  gathered: 2",
        "    PhaseEntered",
        "      date: 2024-07-01",
        "      phase: end",
        "    DayClosed",
        "      date: 2024-07-01",
    ]
    assert segments[3:7] == [
        "  segments: 1",
        "    Segment",
        "      open_ns: 1e-09 s",
        "      close_ns: 2e-09 s",
    ]


@pytest.mark.parametrize(
    ("ns", "shown"),
    [
        (1_719_840_600_000_000_000, "2024-07-01T13:30:00Z"),
        (1_719_840_600_123_456_789, "2024-07-01T13:30:00.123456789Z"),
        (60_000_000_000, "60 s"),
        (23_400_000_000_000, "23,400 s"),
        (1_500_000_000, "1.5 s"),
        (0, "0"),
        (-(2**63), "-9223372036854775808"),
        (2**63 - 1, "9223372036854775807"),
        (None, "None"),
    ],
)
def test_nanoseconds_are_told_as_an_instant_or_a_duration(ns: int | None, shown: str) -> None:
    assert lines_of(ns, "interval_ns") == [f"interval_ns: {shown}"]
    assert lines_of(ns, "step") == [f"step: {ns}"]


def test_long_columns_are_cut_and_short_ones_are_whole() -> None:
    assert lines_of(np.arange(6.0), "high") == ["high: 6 float64: 0.0, 1.0, 2.0, 3.0, 4.0, 5.0"]
    assert lines_of(np.arange(7), "count") == ["count: 7 int64: 0, 1, 2, 3, 4, 5, …"]
    assert lines_of(np.zeros((2, 1), bool), "seen") == ["seen: 2 × 1 bool: False, False"]
    assert lines_of(np.array([]), "low") == ["low: 0 float64: "]


def test_long_texts_are_cut_and_stay_on_their_line() -> None:
    assert lines_of("x" * 200, "why") == ["why: " + "x" * 200]
    assert lines_of("x" * 201, "why") == ["why: " + "x" * 200 + " …"]
    assert lines_of("one\ntwo", "why") == ["why: one two"]


def test_a_grant_in_a_state_is_told_too() -> None:
    granted = Grant(step=7, from_ns=MarketTime(0), until_ns=MarketTime(1_719_840_600_000_000_000))

    lines = lines_of(clock.State(granted=granted))

    at = lines.index("  granted: Grant")
    assert lines[at + 1 : at + 5] == [
        "    step: 7",
        "    from_ns: 0",
        "    until_ns: 2024-07-01T13:30:00Z",
        "    inputs: ()",
    ]
