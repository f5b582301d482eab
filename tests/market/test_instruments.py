"""Which contract goes with an underlying: against a walk from day to day, and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.errors import DataError
from openbell.market.days import MINUTE_NS, Segment, TradingDay
from openbell.market.history import History, HistoryDay, since_turns
from openbell.market.instruments import (
    Contracts,
    Instrument,
    Instruments,
    Roll,
    Unusable,
    contracts,
    on,
    ticks_of,
)

BEGIN = date(2025, 8, 1)


def day(number: int) -> date:
    return BEGIN + timedelta(days=number)


def future(expiry: date, symbol: str = "", row: int = 2, underlying: str = "NIFTY") -> Instrument:
    return Instrument(row, symbol or f"F{expiry:%m%d}", underlying, expiry)


def weekdays(first: date, last: date, *holidays: date) -> list[date]:
    span = (first + timedelta(days=n) for n in range((last - first).days + 1))
    return [d for d in span if d.weekday() < 5 and d not in holidays]


def named(
    instruments: Instruments, days: Sequence[date], roll: Roll, dates: Sequence[date] = ()
) -> list[str | None]:
    found = (instruments.contract("NIFTY", d, roll, dates or days) for d in days)
    return [of.symbol if of is not None else None for of in found]


def walked(expiries: set[date], dates: list[date], count: int, roll: int) -> list[date | None]:
    """The expiry that goes with each of the first days, by counting days one at a time."""
    found: list[date | None] = []
    for place in range(count):
        chosen = None
        for expiry in sorted(expiries):
            left = 0
            for later in dates[place + 1 :]:
                if later <= expiry:
                    left += 1
            is_over = expiry < dates[place]
            if not is_over and left >= roll:
                chosen = expiry
                break
        found.append(chosen)
    return found


@given(
    expiries=st.sets(st.integers(0, 120), min_size=1, max_size=8),
    trading=st.sets(st.integers(0, 100), min_size=1, max_size=60),
    roll=st.integers(0, 6),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_contract_of_each_day_is_that_of_a_walk(
    expiries: set[int], trading: set[int], roll: int, shuffled: object
) -> None:
    dates = [day(n) for n in sorted(trading)]
    count = max(len(dates) - roll, 1)
    dates += [dates[-1] + timedelta(days=n + 1) for n in range(roll)]
    rows = [future(day(n)) for n in expiries]
    shuffled.shuffle(rows)  # type: ignore[attr-defined]
    instruments = Instruments("f.csv", rows)

    found = [instruments.contract("NIFTY", d, Roll(roll), dates) for d in dates[:count]]

    wanted = walked({day(n) for n in expiries}, dates, count, roll)
    assert [of.expiry if of else None for of in found] == wanted
    resolved = contracts(instruments, dates[:count], dates, {}, {"NIFTY": ("NIFTY", Roll(roll))})
    pairs = [dict(resolved.companions_on(d)).get("NIFTY") for d in dates[:count]]
    assert pairs == [of.symbol if of else None for of in found]
    changes = [value for _, value in resolved.companions]
    assert all(a != b for a, b in pairwise(changes))


def test_a_contract_is_used_through_the_day_on_which_it_expires() -> None:
    # From Thursdays to Tuesdays, as NSE did.
    instruments = Instruments("f.csv", [future(date(2025, 8, 28)), future(date(2025, 9, 30))])
    days = weekdays(date(2025, 8, 26), date(2025, 9, 1))

    assert named(instruments, days, Roll()) == ["F0828"] * 3 + ["F0930"] * 2


def test_rolled_before_it_is_used_through_so_many_trading_days_before() -> None:
    holiday = date(2025, 8, 27)
    dates = weekdays(date(2025, 8, 22), date(2025, 9, 12), holiday)
    days = dates[:5]
    instruments = Instruments("f.csv", [future(date(2025, 8, 28)), future(date(2025, 9, 30))])

    # Friday 22, Monday 25, Tuesday 26, Thursday 28 (it expires), Friday 29.
    assert named(instruments, days, Roll(1), dates) == ["F0828"] * 3 + ["F0930"] * 2
    assert named(instruments, days, Roll(2), dates) == ["F0828"] * 2 + ["F0930"] * 3
    assert named(instruments, days, Roll(3), dates) == ["F0828"] * 1 + ["F0930"] * 4


def test_an_expiry_on_a_holiday_counts_as_one_on_the_trading_day_before() -> None:
    holiday = date(2025, 8, 28)
    dates = weekdays(date(2025, 8, 25), date(2025, 9, 12), holiday)
    instruments = Instruments("f.csv", [future(holiday), future(date(2025, 9, 30))])

    assert named(instruments, dates[:4], Roll(1), dates) == ["F0828"] * 2 + ["F0930"] * 2


def test_after_the_last_expiry_there_is_none() -> None:
    instruments = Instruments("f.csv", [future(date(2025, 8, 28))])

    assert named(instruments, weekdays(date(2025, 8, 28), date(2025, 8, 29)), Roll()) == [
        "F0828",
        None,
    ]


def test_two_symbols_that_are_the_same_future_are_refused_with_their_rows() -> None:
    expiry = date(2025, 8, 28)
    instruments = Instruments("f.csv", [future(expiry, "A", 7), future(expiry, "B", 9)])

    with pytest.raises(DataError, match=r"f.csv: rows 7 and 9, A and B, are both the future of"):
        instruments.contract("NIFTY", expiry, Roll(), [expiry])


def test_a_row_that_may_be_the_future_of_some_day_has_to_be_right() -> None:
    expiry = date(2025, 8, 28)
    broken = Unusable(4, "expiry is '2025-02-30', which is no date", "NIFTY")
    other = Unusable(5, "it has 2 cells", "BANKNIFTY")
    rows = [future(expiry)]

    Instruments("f.csv", rows, [other]).contract("NIFTY", expiry, Roll(), [expiry])
    with pytest.raises(DataError, match=r"f.csv, row 4: expiry is '2025-02-30'"):
        Instruments("f.csv", rows, [other, broken]).contract("NIFTY", expiry, Roll(), [expiry])


def test_an_unknown_underlying_names_the_nearest() -> None:
    instruments = Instruments("f.csv", [future(date(2025, 8, 28))])

    with pytest.raises(DataError, match=r"no future of 'NIFTI' \(did you mean \"NIFTY\"\?\)"):
        instruments.contract("NIFTI", BEGIN, Roll(), [BEGIN])


def test_a_tick_holds_from_its_date_on() -> None:
    rows = [
        Instrument(2, "A", tick_size=0.05, segment="equity"),
        Instrument(3, "A", tick_size=0.1, since=date(2025, 8, 11)),
        Instrument(4, "B", tick_size=0.01, since=date(2025, 8, 13)),
    ]
    instruments = Instruments("f.csv", rows)
    days = weekdays(date(2025, 8, 7), date(2025, 8, 14))

    assert ticks_of(instruments, days, ["A", "B"]) == (
        (date(2025, 8, 7), (("A", 0.05),)),
        (date(2025, 8, 11), (("A", 0.1),)),
        (date(2025, 8, 13), (("A", 0.1), ("B", 0.01))),
    )
    assert instruments.segment("A", days[0]) == "equity"
    assert instruments.tick_size("C", days[0]) is None


def test_a_tick_over_a_weekend_holds_from_the_next_trading_day_on() -> None:
    rows = [Instrument(2, "A", tick_size=0.1, since=date(2025, 8, 9))]  # a Saturday

    found = ticks_of(Instruments("f.csv", rows), weekdays(date(2025, 8, 7), date(2025, 8, 12)), "A")

    assert found == ((date(2025, 8, 7), ()), (date(2025, 8, 11), (("A", 0.1),)))


def test_rows_that_contradict_each_other_are_refused_only_where_it_matters() -> None:
    rows = [
        Instrument(2, "A", tick_size=0.05, segment="equity", exchange="NSE"),
        Instrument(3, "A", tick_size=0.1, segment="equity", exchange="BSE"),
    ]
    instruments = Instruments("f.csv", rows)

    assert instruments.segment("A", BEGIN) == "equity"
    with pytest.raises(
        DataError, match=r"tick_size of A on 2025-08-01 is 0.05 by row 2 and 0.1 by"
    ):
        instruments.tick_size("A", BEGIN)


def test_a_symbol_that_stands_for_several_contracts_has_each_ones_tick() -> None:
    rows = [
        Instrument(2, "N-I", "N", date(2025, 8, 28), tick_size=0.05),
        Instrument(3, "N-I", "N", date(2025, 9, 30), tick_size=0.1),
    ]
    instruments = Instruments("f.csv", rows)

    assert instruments.tick_size("N-I", date(2025, 8, 28)) == 0.05
    assert instruments.tick_size("N-I", date(2025, 8, 29)) == 0.1
    assert instruments.turns("N-I") == (date(2025, 8, 29),)
    assert named(instruments, [], Roll()) == []
    contract = instruments.contract("N", date(2025, 8, 29), Roll(), [date(2025, 8, 29)])
    assert contract is not None
    assert (contract.symbol, contract.expiry) == ("N-I", date(2025, 9, 30))


def test_a_days_register_has_only_the_contracts_of_that_day() -> None:
    resolved = Contracts(
        companions=(
            (day(0), (("N", "F1"), ("A", "B"))),
            (day(9), (("N", "F2"), ("A", "B"))),
            (day(20), (("A", "B"),)),
        ),
        only=("F1", "F2"),
    )

    assert resolved.registers(("A", "B", "F1", "F2", "N")) == (
        (day(0), ("A", "B", "F1", "N")),
        (day(9), ("A", "B", "F2", "N")),
        (day(20), ("A", "B", "N")),
    )
    # One that the data does not have is not read.
    assert resolved.registers(("A", "B", "F1", "N"))[1] == (day(9), ("A", "B", "N"))


@given(
    firsts=st.lists(st.integers(0, 30), max_size=5, unique=True),
    cut=st.integers(0, 35),
    asked=st.integers(0, 40),
)
def test_what_is_cut_off_before_a_day_says_the_same_from_it_on(
    firsts: list[int], cut: int, asked: int
) -> None:
    whole = Contracts(tuple((day(n), (("N", f"F{n}"),)) for n in sorted(firsts)))

    later, earlier = whole.from_day(day(cut)), whole.until(day(cut))

    if asked >= cut:
        assert on(later.companions, day(asked)) == on(whole.companions, day(asked))
    if asked <= cut:
        assert on(earlier.companions, day(asked)) == on(whole.companions, day(asked))
    assert all(since >= day(cut) for since, _ in later.companions)


def past(number: int, value: float) -> HistoryDay:
    trading_day = TradingDay(
        day(number), "UTC", (Segment(number * 10**14, number * 10**14 + MINUTE_NS),)
    )
    column = np.full(2, value)
    return HistoryDay(
        trading_day, ("A", "N-I"), column, column, column, column, column,
        np.ones(2, np.int64), np.ones(2, np.int64),
    )  # fmt: skip


def test_the_days_of_another_contract_are_no_history_of_this_one() -> None:
    history = History(("A", "N-I"), tuple(past(n, 100.0 + n) for n in range(4)))
    turns = (("N-I", (day(2), day(9))), ("ELSE", (day(1),)))

    kept = since_turns(history, turns, day(4))

    assert [d.close[0] for d in kept.days] == [100.0, 101.0, 102.0, 103.0]
    assert np.isnan([d.close[1] for d in kept.days]).tolist() == [True, True, False, False]
    assert [d.actual.tolist() for d in kept.days] == [[1, 0], [1, 0], [1, 1], [1, 1]]
    assert since_turns(history, turns, day(1)) is history
    assert history.days[0].close[1] == 100.0  # nothing was written to
