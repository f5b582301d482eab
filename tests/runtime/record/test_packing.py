"""Columns of rows come back bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from openbell.runtime.record.packing import (
    pack_integers,
    pack_numbers,
    unpack_integers,
    unpack_numbers,
)

WHOLE = st.integers(-(2**62) + 1, 2**62 - 1)
PRICES = st.one_of(
    st.floats(),
    st.integers(-(10**7), 10**7).map(lambda cents: cents / 100),
    st.decimals(0, 10**6, places=5).map(float),
)


@given(values=arrays(np.int64, st.integers(0, 40), elements=WHOLE))
def test_integers_come_back(values: np.ndarray[tuple[int], np.dtype[np.int64]]) -> None:
    found = unpack_integers(pack_integers(values))[: len(values)]

    assert found.tolist() == values.tolist()


@given(values=st.lists(PRICES, max_size=40))
def test_numbers_come_back_bit_by_bit(values: list[float]) -> None:
    column = np.array(values, np.float64)

    found = unpack_numbers(pack_numbers(column))[: len(column)]

    assert found.tobytes() == column.tobytes()


@pytest.mark.parametrize("values", [[-0.0, 1.0], [float("nan")], [float("inf")], [0.1 + 0.2]])
def test_what_is_no_decimal_is_kept_as_it_is(values: list[float]) -> None:
    column = np.array(values)

    assert unpack_numbers(pack_numbers(column)).tobytes() == column.tobytes()
