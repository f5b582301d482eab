from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from openbell.runtime.kernel.metrics import Buckets


@given(seconds=st.lists(st.floats(0, 100)))
def test_each_duration_is_in_the_first_bucket_that_it_fits_into(seconds: list[float]) -> None:
    times = Buckets()

    for each in seconds:
        times.add(each)

    at_most = np.cumsum(times.counts)
    assert at_most[:-1].tolist() == [sum(s <= bound for s in seconds) for bound in times.bounds]
    assert at_most[-1] == len(seconds)
    assert times.total == sum(seconds)
