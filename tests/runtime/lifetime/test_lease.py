"""How long a lease is waited for whose holder nobody on this host can see."""

from __future__ import annotations

import time
from typing import Any, cast

from openbell.adapters.stores import Holder, Store
from openbell.adapters.stores.memory import Memory
from openbell.adapters.stores.sqlite import SqliteStore
from openbell.runtime.config.values import Duration
from openbell.runtime.lifetime.lease import acquired

TTL = Duration(10**8)


class SlowAtFirst:
    """A store that takes its time for the first answer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def acquire(self, holder: Holder, ttl_ns: int) -> int:
        self._asked += 1
        if self._asked == 1:
            time.sleep(2 * TTL.seconds)
        return self._store.acquire(holder, ttl_ns)


def test_a_slow_answer_is_no_sign_that_the_holder_lives() -> None:
    memory = Memory()
    SqliteStore(memory, "bot").acquire(Holder("another host", "another boot", 1, "1"), TTL.ns)
    store = SlowAtFirst(SqliteStore(memory, "bot"))

    assert acquired(cast(Store, store), TTL, standby=None) == 2
