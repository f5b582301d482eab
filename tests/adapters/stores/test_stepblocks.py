"""Steps as stores keep them: many in one entry, by columns."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.stores import Corrupt, Step
from openbell.adapters.stores.records import Reading
from openbell.adapters.stores.stepblocks import Row, rows
from openbell.market.days import MarketTime

DAYS = (date(2025, 8, 26), date(2025, 8, 27))
INSTANTS = st.integers(-(2**63), 2**63 - 1).map(MarketTime)
STEPS = st.lists(
    st.tuples(INSTANTS, st.binary(max_size=30), st.binary(max_size=20), st.sampled_from(DAYS))
)


def numbered(made: list[tuple[MarketTime, bytes, bytes, date]]) -> list[Step]:
    of_days = sorted(made, key=lambda step: step[3])
    return [Step(7 + place, *step) for place, step in enumerate(of_days)]


@given(made=STEPS)
def test_steps_come_back_as_they_were(made: list[tuple[MarketTime, bytes, bytes, date]]) -> None:
    steps = numbered(made)

    packed = list(rows(steps))

    reading = Reading("here")
    assert [step for row in packed for step in reading.step_block(row)] == steps
    assert len(packed) == len({step.trading_date for step in steps})


@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_changed_byte_is_noticed(place: int, bit: int) -> None:
    (row,) = rows(
        [Step(n, MarketTime(10**18 + n * 7919), b"grant", b"%016d" % n, DAYS[0]) for n in range(99)]
    )
    changed = bytearray(row[3])
    changed[place % len(changed)] ^= 1 << bit
    damaged: Row = (*row[:3], bytes(changed), *row[4:])

    with pytest.raises(Corrupt, match="steps 0 to 98 fail their checksum"):
        Reading("here").step_block(damaged)


def test_what_steps_share_takes_no_room() -> None:
    grant = b"a grant, which says the same of each step, at %019d"
    steps = [
        Step(n, MarketTime(10**18 + n * 10**8), grant % n, b"%016d" % n, DAYS[0])
        for n in range(5000)
    ]

    (row,) = rows(steps)

    assert len(row[3]) < 5000 * 4
