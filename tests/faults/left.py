"""What a run leaves, and where two of them differ: equal runs leave equal things."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date
from typing import Any

import orjson

from openbell.adapters.stores import Store


@dataclass(frozen=True)
class Left:
    """What a run has left: equal runs leave equal things."""

    signals: tuple[tuple[str, bytes], ...]
    documents: tuple[tuple[date, str, str, bytes], ...]
    steps: tuple[tuple[int, int, bytes, date, bytes], ...]
    """Number, market time, digest (of signals, documents, derived bars, …), day, grant."""
    transitions: tuple[bytes, ...]
    """Of the audit trail, but for wall time."""
    days: tuple[tuple[date, Any], ...] | None
    """What sinks got, where they do."""


def left_in(store: Store, days: dict[date, Any] | None) -> Left:
    entries = [orjson.loads(entry) for _, entry in store.audit()]
    market = [entry for entry in entries if entry["what"] in ("phase", "day", "session")]
    for entry in market:
        del entry["wall_time"]
    return Left(
        signals=tuple((signal.id, signal.body) for _, signal in store.signals()),
        documents=tuple((d.trading_date, d.session, d.status, d.body) for d in store.documents()),
        steps=tuple(
            (s.number, s.market_ns, s.digest, s.trading_date, s.grant) for s in store.steps()
        ),
        transitions=tuple(orjson.dumps(entry) for entry in market),
        days=None if days is None else tuple(sorted(days.items())),
    )


def differing(expected: Any, found: Any) -> str | None:
    for name in (field.name for field in fields(expected)):
        before, now = getattr(expected, name), getattr(found, name)
        if before == now or None in (before, now):
            continue
        for place, (one, other) in enumerate(zip(before, now, strict=False)):
            if one != other:
                return f"{name}[{place}] is {str(other)[:300]}, without faults {str(one)[:300]}"
        return f"{len(now)} {name}, without faults {len(before)}"
    return None


@dataclass(frozen=True)
class OfTheMarket:
    """What must be the same even when a day's rows came late."""

    signals: tuple[Any, ...]
    documents: tuple[Any, ...]


def of_the_market(left: Left, dates: set[str]) -> OfTheMarket:
    signals = [orjson.loads(body) for _, body in sorted(left.signals)]
    documents = [orjson.loads(body) for *_, body in left.documents]
    return OfTheMarket(
        tuple(
            {key: value for key, value in signal.items() if key != "backfilled"}
            for signal in signals
            if signal["trading_date"] in dates
        ),
        tuple(
            (d["trading_date"], d["session_name"], d["status"], d["symbols_data"])
            for d in documents
            if d["trading_date"] in dates
        ),
    )
