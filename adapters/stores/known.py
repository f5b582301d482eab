"""Which signals of a trading day a log has."""

from __future__ import annotations

import numpy as np

from openbell.adapters.stores.base import SignalRows, Signals
from openbell.adapters.tables import signal_ids, signals_at
from openbell.market.kinds import KINDS
from openbell.market.results import SignalBatch

_Names = tuple[str, tuple[str, ...], tuple[str, ...]]
"""Exchange, sessions and symbols: what makes ids of a batch's numbers."""


class KnownIds:
    """The ids of one trading day's signals.

    As long as all are of the same names they are kept and compared as numbers: making a text of
    each takes longer than writing the signals.
    """

    def __init__(self) -> None:
        self._names: _Names | None = None
        self._numbers = np.empty(0, dtype=np.int64)
        self._batches: list[SignalBatch] = []
        """What the numbers are of."""
        self._texts: set[str] | None = None
        """All ids, once they are not of the same names any more."""

    def fresh(self, given: Signals) -> Signals:
        """Those that are not known yet, of several alike the first; from now on they are."""
        if isinstance(given, SignalBatch):
            names = given.exchange, given.sessions, given.symbols
            if self._texts is None and self._names in (None, names):
                self._names = names
                return self._fresh_numbers(given)
            keys = signal_ids(given).to_pylist()
        else:
            keys = [*given.ids]
        places = self._fresh_texts(keys)
        if len(places) == len(keys):
            return given
        if isinstance(given, SignalBatch):
            return signals_at(given, np.array(places, dtype=np.intp))
        return SignalRows(
            given.trading_date,
            ids=[given.ids[place] for place in places],
            sessions=[given.sessions[place] for place in places],
            symbols=[given.symbols[place] for place in places],
            bodies=[given.bodies[place] for place in places],
        )

    def _fresh_numbers(self, batch: SignalBatch) -> SignalBatch:
        sides = batch.session.astype(np.int64) * len(batch.symbols) + batch.symbol
        sides = sides * 2 + batch.side
        numbers = (sides * len(KINDS) + batch.kinds) << 32 | batch.number
        distinct, places = np.unique(numbers, return_index=True)
        new = ~np.isin(distinct, self._numbers, assume_unique=True)
        self._numbers = np.concatenate((self._numbers, distinct[new]))
        fresh = batch if new.sum() == len(batch) else signals_at(batch, np.sort(places[new]))
        self._batches.append(fresh)
        return fresh

    def _fresh_texts(self, keys: list[str]) -> list[int]:
        known = self._all_texts()
        if known.isdisjoint(keys) and len(set(keys)) == len(keys):
            known.update(keys)
            return [*range(len(keys))]
        first = {key: place for place, key in reversed([*enumerate(keys)]) if key not in known}
        known.update(first)
        return sorted(first.values())

    def _all_texts(self) -> set[str]:
        if self._texts is None:
            self._texts = {key for batch in self._batches for key in signal_ids(batch).to_pylist()}
            self._batches = []
        return self._texts
