"""Signals as an embedding program gets them, and the logs that they come from."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal, Protocol

import numpy as np
import orjson

from openbell.adapters.stores import Store, StoredSignal, Unavailable
from openbell.market.conditions import condition_names
from openbell.market.kinds import KINDS, Kind
from openbell.market.results import NO_TIME, SIDES, SignalBatch
from openbell.runtime.results.recording import SignalLog

PAGE = 5_000
"""Signals read from a log at a time."""

RETRY_SECONDS = 0.2
"""Pause before a store that did not answer is asked again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Companion:
    """The companion's last price when a signal was known."""

    symbol: str
    price: float
    ts: datetime
    """Its bar's start or tick's time, UTC."""


@dataclass(frozen=True, slots=True)
class Signal:
    """A reported breakout, or what followed one; instants are UTC."""

    id: str
    """Made from the signal's facts: the same breakout has the same id in every run. What follows one
    has its id with the kind behind it."""
    trading_date: date
    session: str
    symbol: str
    side: Literal["HIGH_BREAK", "LOW_BREAK"]
    ts: datetime
    """The bar's start or the tick's time."""
    known_at: datetime
    """The bar's end or the tick's time: when one could have acted."""
    price: float
    level: float
    companion: Companion | None
    gap: bool
    """The first price after the session already lay beyond the level."""
    ambiguous: bool
    """Both sides broke in one bar; which was first is not known."""
    complete: bool
    """No minute of the session was missing."""
    backfilled: bool
    cursor: str = field(compare=False)
    """Where to go on after this signal: an opaque position of the log. Two logs may hold the same
    signal at different positions, so that it does not count where signals are compared."""
    kind: Kind = "breakout"
    """`closed_beyond`: the first close beyond after a touch; `retest`: prices are back at the level."""
    of: str | None = None
    """The id of the breakout that it belongs to; None: it is one."""
    touched_at: datetime | None = None
    """`ts` of the first bar or tick since the session, or since the side is watched again, that went
    beyond the level and its buffer, if only inside the bar. None where it is no breakout."""
    touch_excess: float | None = None
    """How far beyond the level that bar or tick went."""
    closed_beyond_at: datetime | None = None
    """`ts` of the bar that closed beyond, None: none had yet."""
    rules: tuple[str, ...] = ()
    """Keys of `breakout` that it had to pass, and did: `volume`, `min_range`, …"""


class Log(Protocol):
    """Signals in the order in which they were committed; any thread may read it."""

    def __len__(self) -> int: ...

    def page(self, after: str | None, limit: int = PAGE) -> list[Signal]:
        """The next signals after a cursor, or the first; none: there are no more for now.

        Raises
        ------
        ValueError
            If that cursor is not one of this log's.
        """
        ...

    def close(self) -> None:
        """Let go of what reading needs; whoever reads on takes it up again for as long."""
        ...


class MemoryLog:
    """The signals of one run, as long as its process lasts."""

    def __init__(self, kept: SignalLog) -> None:
        self._kept = kept

    def __len__(self) -> int:
        return len(self._kept)

    def page(self, after: str | None, limit: int = PAGE) -> list[Signal]:
        position = _position(after)
        found = self._kept.after(position)
        if found is None:
            return []
        batch, start = found
        rows = range(start, min(start + limit, len(batch)))
        return [_of_row(batch, i, f"s{position + i - start + 1}") for i in rows]

    def close(self) -> None:
        pass


class StoredLog:
    """The signals of a name in its store, those of earlier processes too.

    Parameters
    ----------
    store : Store
        Its own to close, so that who reads and who writes do not wait for each other.
    news : SignalLog
        Tells when a commit of this process has become durable, and when no more will come.
    """

    def __init__(self, store: Store, news: SignalLog) -> None:
        self._store = store
        self._news = news
        self._before = store.head().signals
        self._closed = False

    def __len__(self) -> int:
        return self._before + len(self._news)

    def page(self, after: str | None, limit: int = PAGE) -> list[Signal]:
        while True:
            try:
                stored = self._store.signals(after, limit=limit)
                return [signal_of(signal, cursor) for cursor, signal in stored]
            except Unavailable:
                # The run waits for its store, and so does who reads what it writes.
                if self._news.over:
                    raise
                time.sleep(RETRY_SECONDS)
            finally:
                if self._closed:
                    self._store.close()

    def close(self) -> None:
        self._closed = True
        self._store.close()


def _position(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.startswith("s") and cursor[1:].isdigit()):
        raise ValueError(f"{cursor!r} is no cursor; pass one that a signal of this log carries")
    return int(cursor[1:])


def of_batch(batch: SignalBatch, symbol: str) -> list[Signal]:
    """A symbol's signals of a step, in no log: without cursors."""
    mine = batch.symbol == batch.symbols.index(symbol)
    return [_of_row(batch, int(i), "") for i in np.flatnonzero(mine)]


def _of_row(batch: SignalBatch, i: int, cursor: str) -> Signal:
    session, symbol = batch.sessions[batch.session[i]], batch.symbols[batch.symbol[i]]
    side = SIDES[batch.side[i]]
    companion = None
    if batch.companion[i] >= 0:
        companion = Companion(
            symbol=batch.symbols[batch.companion[i]],
            price=float(batch.companion_price[i]),
            ts=moment(int(batch.companion_ts[i])),
        )
    number, kind = int(batch.number[i]), KINDS[batch.kinds[i]]
    of = f"{batch.exchange}:{batch.trading_date}:{session}:{symbol}:{side}:{number}"
    excess = float(batch.filled("touch_excess")[i])
    return Signal(
        id=of if kind == "breakout" else f"{of}:{kind}",
        trading_date=batch.trading_date,
        session=session,
        symbol=symbol,
        side="HIGH_BREAK" if side == "HIGH_BREAK" else "LOW_BREAK",
        ts=moment(int(batch.ts[i])),
        known_at=moment(int(batch.known_at[i])),
        price=float(batch.price[i]),
        level=float(batch.level[i]),
        companion=companion,
        gap=bool(batch.gap[i]),
        ambiguous=bool(batch.ambiguous[i]),
        complete=bool(batch.complete[i]),
        backfilled=bool(batch.backfilled[i]),
        cursor=cursor,
        kind=kind,
        of=None if kind == "breakout" else of,
        touched_at=_moment(batch, "touched_at", i),
        touch_excess=None if math.isnan(excess) else excess,
        closed_beyond_at=_moment(batch, "closed_beyond_at", i),
        rules=tuple(condition_names(int(batch.filled("rules")[i]))),
    )


def _moment(batch: SignalBatch, name: str, i: int) -> datetime | None:
    ns = int(batch.filled(name)[i])
    return None if ns == NO_TIME else moment(ns)


def signal_of(stored: StoredSignal, cursor: str) -> Signal:
    """A signal as it lies in a store's log."""
    return signal_in(orjson.loads(stored.body), cursor)


def signal_in(fields: Mapping[str, Any], cursor: str) -> Signal:
    """A signal by its JSON. What lies below a microsecond is cut off, as in `moment`."""
    if (companion := fields["companion"]) is not None:
        companion = Companion(**{**companion, "ts": datetime.fromisoformat(companion["ts"])})
    instants = {
        name: datetime.fromisoformat(fields[name])
        for name in ("ts", "known_at", "touched_at", "closed_beyond_at")
        if fields.get(name) is not None  # of before, they are not there
    }
    day = {
        "trading_date": date.fromisoformat(fields["trading_date"]),
        "companion": companion,
        "rules": tuple(fields.get("rules", ())),
        "cursor": cursor,
    }
    return Signal(**{**fields, **instants, **day})


def moment(ns: int) -> datetime:
    """An aware datetime; what lies below a microsecond is cut off."""
    return _EPOCH + timedelta(microseconds=ns // 1000)
