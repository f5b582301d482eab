"""What a process has to tell of itself and of what is outside: for the log, the audit trail, metrics
and all who follow events."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import Any, Protocol

import orjson
from loguru import logger

from openbell.adapters.stores import Store
from openbell.errors import OpenbellError
from openbell.market.days import SECOND_NS, MarketTime
from openbell.messages.events import KINDS, Fact, NoticeKind
from openbell.runtime.record.news import News
from openbell.runtime.record.trail import Transition
from openbell.runtime.record.writing import market_time, wall_time

WHATS: dict[str, str] = {
    "clock.back": "clock",
    "clock.forward": "clock",
    "feed.auth": "feed",
    "feed.connected": "feed",
    "feed.reconnecting": "feed",
    "gap": "gap",
    "run.config": "config",
    "run.paused": "pause",
    "run.recovered": "recover",
    "run.restarted": "restart",
    "run.restored": "restored",
    "run.resumed": "pause",
    "sink.back": "sink",
    "sink.failed": "sink",
    "sink.failing": "sink",
    "sink.gave_up": "sink",
    "sink.retried": "sink",
    "sink.skipped": "sink",
    "store.outage": "outage",
}
"""What the audit trail calls some kinds; the others are notices."""

_LATELY = 100
"""Entries of the audit trail among which one is that may have been appended a moment ago."""


class Tell(Protocol):
    """Tells what has happened: at once in the log, and everywhere else as soon as may be.

    Never waits, whatever the store does, so that a feed's thread may call it. Inside of actors
    `messages.session.Noticed` says such things instead, so that a replay comes to them again.

    Parameters
    ----------
    kind : str
        One of `openbell.messages.events`, where a new one has to be added.
    why : str
        A sentence for people, which the log has too.
    facts : str, int, float or bool
        What else is known, by name.
    """

    def __call__(
        self,
        kind: NoticeKind,
        why: str,
        *,
        trading_date: date | None = None,
        at_ns: MarketTime | None = None,
        session: str | None = None,
        symbols: Sequence[str] = (),
        before: str | None = None,
        after: str | None = None,
        **facts: Fact,
    ) -> None: ...


def tell_log(kind: NoticeKind, why: str, **more: Any) -> None:
    """A `Tell` where nobody follows events: the log has it."""
    logger.log(KINDS[kind].level, "{}: {}", kind, why)


class Telling:
    """Keeps what was told until it is where it has to be.

    Attributes
    ----------
    counts : Counter
        What was told and what steps brought, by kind, in this process.
    news : News
        Of what has come to be durable of it.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.news = News()
        self.fence = 0
        """Of the lease: a part of ids, so that two processes never give the same."""
        self.woken: Callable[[], None] = lambda: None
        """Called when something waits."""
        self._lock = threading.Lock()
        self._bringing = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._sent: bytes | None = None
        """What was sent to a store that may not have answered."""
        self._number = 0

    @property
    def waits(self) -> bool:
        """Whether something is to be brought."""
        return bool(self._waiting)

    @property
    def is_brought(self) -> bool:
        """Whether all that was told is where it is read from, and who follows has heard of it."""
        return not self._waiting and not self._bringing.locked()

    def tell(self, kind: NoticeKind, why: str, **more: Any) -> None:
        """See `Tell`."""
        tell_log(kind, why)
        self.put(self.line(kind, why, **more))

    def put(self, line: bytes) -> None:
        """Have an entry brought after all that waits; never waits itself."""
        self._waiting.append(line)
        self.woken()

    def jumped(self, by_ns: int) -> None:
        """Tell that the host's clock was set, by so much."""
        seconds = by_ns / SECOND_NS
        did = "forward: what lies between is crossed" if by_ns > 0 else "back: time stands still"
        why = f"the host's clock was set {abs(seconds):.1f} s {did}"
        self.tell("clock.forward" if by_ns > 0 else "clock.back", why, seconds=round(seconds, 3))

    def paused(self, before: str | None, after: str | None) -> None:
        """Tell that a token holds the clock, or that it was given back."""
        why = "a pause was given back" if after is None else "a pause was asked for"
        self.tell("run.paused" if after else "run.resumed", why, before=before, after=after)

    def key(self, kind: str) -> str:
        """An id that nothing else has."""
        return self._key(kind, wall_time())

    def _key(self, kind: str, now: str) -> str:
        with self._lock:
            self._number += 1
            self.counts[kind] += 1
            return f"{kind}:{now}:{self.fence}.{self._number}"

    def line(
        self,
        kind: str,
        why: str,
        *,
        trading_date: date | None = None,
        at_ns: MarketTime | None = None,
        session: str | None = None,
        symbols: Sequence[str] = (),
        before: str | None = None,
        after: str | None = None,
        **facts: Fact,
    ) -> bytes:
        """An entry of the audit trail with an id of its own, for who appends it himself."""
        now = wall_time()
        entry = {
            **facts,
            "what": WHATS.get(kind) or ("day" if kind.startswith("day.") else "notice"),
            "kind": kind,
            "id": self._key(kind, now),
            "fence": self.fence,
            "trading_date": trading_date,
            "from": before,
            "to": after,
            **({} if session is None else {"session_name": session}),
            **({} if not symbols else {"symbols": list(symbols)}),
            **({} if at_ns is None else {"market_time": market_time(at_ns)}),
            "wall_time": now,
            "why": why,
        }
        return orjson.dumps(entry, option=orjson.OPT_SERIALIZE_NUMPY)

    def stepped(self, changes: Sequence[Transition]) -> None:
        """Count what steps brought."""
        with self._lock:
            self.counts.update(change.kind for change in changes)

    def bring(self, append: Callable[[bytes], None]) -> None:
        """Have all that waits appended, in its order; what `append` raises ends that for now."""
        came = 0
        with self._bringing:  # one at a time: who appends waits for the store, who tells does not
            try:
                while self._waiting:
                    append(self._waiting[0])
                    self._waiting.popleft()
                    came += 1
            finally:
                if came:
                    self.news.came(came)

    def bring_to(self, store: Store) -> None:
        """Append all that waits to a store's audit trail, each once.

        Raises
        ------
        StoreError
            What the store refused still waits.
        """

        def append(line: bytes) -> None:
            again, self._sent = self._sent == line, line
            # An answer that was lost does not mean that it is not there.
            if not again or not _has(store, line):
                store.append_audit(line)

        self.bring(append)

    @contextmanager
    def until_end(self, is_stopped: Callable[[], bool]) -> Iterator[None]:
        """Tell how the run that goes on meanwhile has ended."""
        try:
            yield
        except Exception as error:
            if not is_stopped():
                why = str(error) if isinstance(error, OpenbellError) else repr(error)
                self.tell("run.failed", why)
            raise
        finally:
            if is_stopped():
                self.tell("run.stopped", "it was stopped before its end")
        if not is_stopped():
            self.tell("run.ended", "the last day has ended")


def _has(store: Store, line: bytes) -> bool:
    """Whether a line was appended to the audit trail a moment ago."""
    count = store.usage().counts["audit"]
    # Others may have appended something meanwhile, but not much.
    return line in (entry for _, entry in store.audit(max(0, count - _LATELY)))
