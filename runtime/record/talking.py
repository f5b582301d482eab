"""Talking to a store that may be away: the one place that asks again."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from loguru import logger

from openbell.adapters.stores import CommitRecord, Document, NoRoom, Snapshot, Store, Unavailable
from openbell.hosttime import Monotonic, monotonic
from openbell.messages.events import NoticeKind
from openbell.runtime.record.telling import Telling

T = TypeVar("T")

RETRY_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Pauses between two tries; the last one repeats."""


class Talking:
    """Asks a store until it answers, and says that it was away.

    Parameters
    ----------
    rest : callable
        Lets so many seconds go by between two tries.
    given_up : callable
        Whether nobody waits for the answer any more.
    waits_for_room : bool
        Whether a store that is full is asked again too: what a feed brings can't wait elsewhere.
    telling : Telling, optional
        Gives what is told its id, and counts it.
    """

    def __init__(
        self,
        store: Store,
        fence: int,
        *,
        rest: Callable[[float], object],
        given_up: Callable[[], bool],
        waits_for_room: bool = False,
        telling: Telling | None = None,
    ) -> None:
        self.telling = telling or Telling()
        self._store = store
        self._fence = fence
        self._rest, self._given_up = rest, given_up
        self._waits_for_room = waits_for_room
        self._lock = threading.Lock()
        self.away = False
        """Whether it was said that the store does not answer."""
        self.outages: list[float] = []
        """Seconds of each time that it did not."""

    def answered(self, call: Callable[[], T]) -> T:
        """What the store answers, asked again until it does.

        Raises
        ------
        Unavailable
            If nobody waits for it any more, or it is full and that is not waited for.
        """
        began, tries = monotonic(), 0
        while True:
            try:
                found = call()
            except Unavailable as error:
                full = isinstance(error, NoRoom)
                if self._given_up() or (full and not self._waits_for_room):
                    raise
                self.say_away(f"{error}; trying again")
                self._rest(RETRY_SECONDS[min(tries, len(RETRY_SECONDS) - 1)])
                if self._given_up():
                    raise
                tries += 1
                continue
            self._say_back(began)
            return found

    def say_away(self, why: str) -> None:
        """Say, once an outage, that the store does not answer."""
        with self._lock:
            if not self.away:
                self.away = True
                logger.warning("the store does not answer: {}", why)

    def _say_back(self, began: Monotonic) -> None:
        with self._lock:
            was_away, self.away = self.away, False
        if not was_away:
            return
        seconds = monotonic() - began
        self.outages.append(seconds)
        logger.warning("the store answers again after {:.1f} s", seconds)
        why = f"the store did not answer for {seconds:.1f} s"
        self.telling.put(self.telling.line("store.outage", why, seconds=round(seconds, 3)))
        with suppress(Unavailable):  # who brings the rest brings this too
            self.telling.bring_to(self._store)

    def tell(self, kind: NoticeKind, why: str, **more: Any) -> None:
        """Append to the audit trail, once, and wait until it is there; see `telling.Tell`."""
        self.telling.put(self.telling.line(kind, why, **more))
        self.answered(lambda: self.telling.bring_to(self._store))

    def note(
        self,
        meta: Mapping[str, bytes],
        line: bytes,
        more: tuple[bytes, ...] = (),
        documents: tuple[Document, ...] = (),
        snapshot: Snapshot | None = None,
    ) -> None:
        """Make facts durable that belong to no step, and say so in the audit trail (`Telling.line`)."""
        head = self.answered(self._store.head)
        digest = hashlib.blake2b(line, digest_size=16).digest()
        record = CommitRecord(
            head.commit + 1,
            digest,
            snapshot=snapshot,
            documents=documents,
            audit=(line, *more),
            meta=meta,
        )
        self.answered(lambda: self._store.commit(self._fence, record))
        self.telling.news.came(len(record.audit))
