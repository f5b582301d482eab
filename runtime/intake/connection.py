"""What a feed says of its connection: its state, and where rows may be missing."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from openbell.adapters.feeds import ConnectionState
from openbell.market.days import MarketTime
from openbell.messages.events import NoticeKind
from openbell.runtime.record.telling import Tell, tell_log
from openbell.runtime.record.writing import market_time, wall_time

GAPS_KEPT_MAX = 20
"""How many of the latest gaps are kept to be looked at; all are in the audit trail."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Where rows may be missing."""

    from_ns: MarketTime
    """Time of the last row before."""
    until_ns: MarketTime
    """Time of the first row after."""
    symbols: tuple[str, ...] | None
    """None: of all symbols."""
    why: str

    def told(self) -> dict[str, Any]:
        """For status and audit trail."""
        return {
            "from_time": market_time(self.from_ns),
            "until_time": market_time(self.until_ns),
            "symbols": None if self.symbols is None else list(self.symbols),
            "why": self.why,
        }


_KINDS: dict[ConnectionState, NoticeKind] = {
    "connected": "feed.connected",
    "reconnecting": "feed.reconnecting",
    "auth": "feed.auth",
}


class Connection:
    """Keeps what a feed said last, and tells each change once.

    Parameters
    ----------
    name : str
        The feed's, for the log.
    tell : Tell
    """

    def __init__(self, name: str, tell: Tell = tell_log) -> None:
        self._tell = tell
        self._name = name
        self._lock = threading.Lock()
        self.state: ConnectionState | None = None
        """None before the feed has said anything: not every one does."""
        self.why = ""
        self.since = ""
        self.gaps = 0
        self.latest: deque[Gap] = deque(maxlen=GAPS_KEPT_MAX)

    def said(self, state: ConnectionState, why: str) -> None:
        """See `adapters.feeds.Door`."""
        with self._lock:
            before = self.state
            self.why = why
            if state == before:
                return
            self.state, self.since = state, wall_time()
        self._tell(_KINDS[state], f"{self._name}: {why}", before=before, after=state)

    def gap(self, gap: Gap) -> None:
        """See `adapters.feeds.Door`."""
        with self._lock:
            self.gaps += 1
            self.latest.append(gap)
        of = "all symbols" if gap.symbols is None else ", ".join(gap.symbols)
        between = f"{market_time(gap.from_ns)} and {market_time(gap.until_ns)}"
        why = f"rows of {of} between {between} may be missing: {gap.why}"
        self._tell(
            "gap",
            f"{self._name}: {why}",
            symbols=gap.symbols or (),
            from_time=market_time(gap.from_ns),
            until_time=market_time(gap.until_ns),
        )

    def status(self) -> dict[str, Any]:
        """For `status()` of who runs it; nothing of a feed that never says anything."""
        with self._lock:
            if self.state is None and not self.gaps:
                return {}
            return {
                "connection": self.state,
                "connection_since": self.since or None,
                "connection_why": self.why or None,
                "gaps": self.gaps,
                "latest_gaps": [gap.told() for gap in self.latest],
            }
