"""How far back state is kept, that what lies before is dropped, and that small entries are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date

from loguru import logger

from openbell.adapters.stores import Fenced, Store, Unavailable
from openbell.errors import StoreError
from openbell.hosttime import Monotonic, monotonic
from openbell.runtime.config import Config
from openbell.runtime.record import brought, feedlog

PRUNE_SECONDS = 1.0
"""Old state is dropped as days end and snapshots come, but not more often; each time waits for the
disk."""

FOLD_SECONDS = 0.25
"""How often what single commits left is joined: a live run makes many small ones."""

JOINS = {feedlog.CAME: feedlog.joined, brought.BROUGHT: brought.joined}
"""What of the journal is joined."""


class Retention:
    """Drops what lies further back than `store.keep_days` and `snapshot.keep` say, and joins what
    single commits left of the rest."""

    def __init__(self, store: Store, fence: int, config: Config) -> None:
        self._store = store
        self._fence = fence
        self._config = config
        self._keep_from = date.min
        """What lies before may be dropped."""
        self._more = False
        """Whether there may be something to drop."""
        self._pruned_at = Monotonic(float("-inf"))
        self._folded_at = self._pruned_at
        self.now: Callable[[], Monotonic] = monotonic
        """By which PRUNE_SECONDS and FOLD_SECONDS are counted."""

    def closed(self, closed: date, known: Iterable[date]) -> None:
        """A trading day has closed.

        Parameters
        ----------
        known : iterable of date
            The trading days that were run, or will be.
        """
        dates = sorted({of for of in known if of <= closed})
        self._keep_from = dates[max(0, len(dates) - self._config.store.keep_days)]
        self._more = True

    def committed(self, snapshot: bool) -> None:
        """A commit is durable, perhaps with a snapshot: drop what is too old, if it is time to."""
        self._more |= snapshot
        if self.now() - self._pruned_at >= PRUNE_SECONDS:
            self.prune()
        if self.now() - self._folded_at >= FOLD_SECONDS:
            self.fold()

    def prune(self) -> None:
        """Drop what is too old now."""
        if not self._more:
            return
        try:
            self._store.prune(self._fence, self._keep_from, self._config.snapshot.keep)
        except Unavailable as error:
            logger.warning("old state was not dropped, the next snapshot will: {}", error)
            return
        self._more, self._pruned_at = False, self.now()

    def fold(self) -> None:
        """Join what single commits left in step log and journal."""
        self._folded_at = self.now()
        try:
            self._store.fold(self._fence, JOINS)
        except Fenced:
            raise
        except StoreError as error:
            logger.warning("small entries of the store were not joined: {}", error)
