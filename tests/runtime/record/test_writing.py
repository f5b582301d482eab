"""What goes into a store of what steps brought."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from runs import drained, of_cases, some_days

from openbell.adapters.tables import signal_ids
from openbell.market.results import SignalBatch
from openbell.runtime.record.writing import joined_batches


def test_signals_of_many_steps_stand_in_the_order_in_which_their_rows_came() -> None:
    """However they are gathered: rows that come in any order are not in that of time."""
    found = drained(of_cases(some_days("bars")[:2]))
    came = [backwards(batch) for commit in found.commits for batch in commit.signals]
    dates = {batch.trading_date for batch in came}
    assert len(came) > len(dates) == 2

    joined = list(joined_batches(came))

    assert [batch.trading_date for batch in joined] == sorted(dates)
    assert [name for batch in joined for name in ids(batch)] == [
        name for batch in came for name in ids(batch)
    ]


def ids(batch: SignalBatch) -> list[str]:
    return signal_ids(batch).to_pylist()  # type: ignore[no-any-return]


def backwards(batch: SignalBatch) -> SignalBatch:
    held = {of.name: getattr(batch, of.name) for of in fields(batch)}
    columns: Any = {n: held[n][::-1] for n in held if isinstance(held[n], np.ndarray)}
    return replace(batch, **columns)
