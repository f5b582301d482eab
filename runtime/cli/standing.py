"""What a store tells of a run and of the process at it: what `openbell status` shows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from math import isnan
from typing import TYPE_CHECKING, Any

import orjson

from openbell.adapters.stores import Corrupt
from openbell.hosttime import wall
from openbell.runtime.cli.stored import day_state, feed_connection, listening, pauses
from openbell.runtime.delivery.positions import statuses
from openbell.runtime.lifetime.vitals import kept_vitals
from openbell.runtime.record.codec import Undecodable, decode
from openbell.runtime.record.writing import market_time

if TYPE_CHECKING:
    from openbell.adapters.stores import Head, Held, Store

SILENT_SECONDS = 5.0
"""Without a heartbeat for longer, a process is not said to be at work: it beats several times in
`lease.ttl`, whose default this is."""

FEW = 4
"""Of a session with no more symbols, each is shown; of one with more, how many, and the extremes."""

NO_VITALS: Mapping[str, Any] = {
    "feed": None,
    "next": [],
    "by_the_wall": False,
    "backlog_bytes": None,
    "backlog_limit_bytes": None,
    "store_outages": None,
    "restarts": None,
    "not_ready": None,
    "recording": None,
    "at": None,
}


def standing(opened: Store, name: str) -> dict[str, Any]:
    """How far a run has come, and how the process at it is; instants are UTC.

    Parameters
    ----------
    name : str
        The run's.
    """
    head = opened.head()
    steps = list(opened.steps(after=max(head.step - 1, 0))) if head.step else []
    usage = opened.usage()
    state, why = day_state(opened)
    lease = opened.lease()
    lives = lease is not None and not lease.dead
    committed = head.meta.get("committed")
    of_process = {**NO_VITALS, **((kept_vitals(opened) if lives else None) or {})}
    age = of_process["feed"] and of_process["feed"]["age_seconds"]
    market = market_time(steps[-1].market_ns) if steps else None
    held = pauses(opened) if lives else []
    return {
        "process": process_of(lease),
        "name": name,
        "holder": _holder(lease),
        "heartbeat_seconds": lease.silent_seconds if lease else None,
        "not_ready": of_process["not_ready"],
        "paused_by": [of["token"] for of in held],
        "pauses": held,
        "trading_date": str(steps[-1].trading_date) if steps else None,
        "state": state,
        "companions": _companions(head, steps[-1].trading_date) if steps else {},
        "market_time": market,
        "next": _next(of_process, market),
        "feed": feed_connection(opened) if lives else None,
        "feed_age_seconds": None if age is None else _aged(age, of_process["at"]),
        "feed_rows": of_process["feed"] and of_process["feed"]["rows"],
        "feed_waiting_rows": of_process["feed"] and of_process["feed"]["waiting_rows"],
        # A process of before may be at it, which did not tell of these.
        "feed_unused_rows": of_process["feed"] and of_process["feed"].get("unused_rows"),
        "feed_refused": of_process["feed"] and of_process["feed"].get("refused"),
        **listening(opened),
        "commits": head.commit,
        "committed_at": committed.decode() if committed else None,
        "steps": head.step,
        "backlog_bytes": of_process["backlog_bytes"],
        "backlog_limit_bytes": of_process["backlog_limit_bytes"],
        "store_outages": of_process["store_outages"],
        "restarts": of_process["restarts"],
        "recording": of_process["recording"],
        "sessions": list(_sessions(opened, steps[-1].trading_date)) if steps else [],
        "signals": usage.counts.get("signals", 0),
        "location": usage.location,
        "sinks": statuses(opened),
        "error": why if state == "ERROR" else None,
        "dead_letter": orjson.loads(head.meta["error"]) if head.meta.get("error") else None,
    }


def _companions(head: Head, day: date) -> dict[str, str]:
    """Each symbol's companion on a trading day, as it was run."""
    from openbell.runtime.lifetime.eras import era_on, eras_of

    return era_on(eras_of(head, ()), day).companions_on(day)


def process_of(lease: Held | None) -> str:
    """What is known of the process at it."""
    if lease is None:
        return "none"
    if lease.dead:
        return "dead: it ended without giving the lease back"
    if lease.silent_seconds is None:
        return "unknown"
    return "at work" if lease.silent_seconds <= SILENT_SECONDS else "silent: stopped, or cut off"


def _holder(lease: Held | None) -> str | None:
    if lease is None or lease.holder is None:
        return None
    return f"process {lease.holder.pid} on {lease.holder.host}"


def _seconds(instant: str) -> float:
    """Since 1970, of an instant as it is stored."""
    return datetime.fromisoformat(instant).timestamp()


def _aged(age: float, at: str) -> float:
    """Seconds by now of what was so old at an instant."""
    return round(age + max(0.0, wall() - _seconds(at)), 3)


def _next(of_process: Mapping[str, Any], market: str | None) -> dict[str, Any] | None:
    """The next boundary, and how far it is: by this host's clock where that moves time, else by
    market time."""
    ahead = of_process["next"]
    now = wall() if of_process["by_the_wall"] or market is None else _seconds(market)
    coming = [of for of in ahead if _seconds(of["at"]) > now] or ahead[-1:]
    if not coming:
        return None
    return {**coming[0], "in_seconds": round(_seconds(coming[0]["at"]) - now, 3)}


def _sessions(opened: Store, of: Any) -> Iterator[dict[str, Any]]:
    """Sessions of a trading day with their levels, those under way as of the newest snapshot."""
    documents = opened.documents(trading_date=of)
    so_far = _seen(opened) if any(found.status == "ACTIVE" for found in documents) else {}
    for document in documents:
        fields = orjson.loads(document.body)
        levels = {
            symbol: (found["high"], found["low"])
            for symbol, found in fields["symbols_data"].items()
        }
        if document.status == "ACTIVE":
            levels = so_far.get(document.session, levels)
        yield {
            "name": document.session,
            "status": document.status,
            "started_at": fields["started_at"],
            "completed_at": fields["completed_at"],
            **_levels(levels),
        }


def _seen(opened: Store) -> dict[str, dict[str, tuple[float | None, float | None]]]:
    """High and low so far, by session and symbol."""
    from openbell.actors import session

    newest = next((epoch for epoch in opened.epochs() if epoch.problem is None), None)
    if newest is None:
        return {}
    found = {}
    try:
        for actor, body in opened.states(newest.epoch).items():
            if actor.startswith(session.PREFIX) and isinstance(of := decode(body), session.Active):
                ranges = zip(of.seen.high.tolist(), of.seen.low.tolist(), strict=True)
                levels = [(None, None) if isnan(high) else (high, low) for high, low in ranges]
                found[actor.removeprefix(session.PREFIX)] = dict(
                    zip(of.symbols, levels, strict=True)
                )
    except (Corrupt, Undecodable):  # `openbell snapshots` tells of it
        return {}
    return found


def _levels(levels: Mapping[str, tuple[float | None, float | None]]) -> dict[str, Any]:
    """Each symbol's, or of many how many there are, and whose are the widest and the narrowest."""
    there = {
        name: (high, low)
        for name, (high, low) in levels.items()
        if high is not None and low is not None
    }
    widths = sorted(
        ((high - low) / abs(low) if low else 0.0, name) for name, (high, low) in there.items()
    )
    few = len(levels) <= FEW
    named = list(levels) if few else [widths[-1][1], widths[0][1]] if widths else []
    return {
        "symbols": len(levels),
        "without_a_row": len(levels) - len(there),
        "shown": "all" if few else "widest and narrowest",
        "levels": {name: dict(zip(("high", "low"), levels[name], strict=True)) for name in named},
    }
