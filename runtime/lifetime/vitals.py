"""What only a run's process knows of how it is: kept with its heartbeat, so that others can show it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from openbell.actors import clock
from openbell.adapters.stores import Store
from openbell.hosttime import Monotonic, monotonic
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.windows import SessionSpec, Window, session_window
from openbell.runtime.record.writing import market_time, wall_time

if TYPE_CHECKING:
    from openbell.runtime.lifetime.run import DurableRun

KEY = "vitals"
"""Where the store keeps them, beside the commits."""

AHEAD = 5
"""So many of the next boundaries are told: the next one may have passed when somebody reads it."""

_ALARMS = {clock.OPEN: "the day opens", clock.ROLL: "the day after follows"}


def vitals(run: DurableRun) -> dict[str, Any]:
    """How the run is, for the store; from any thread."""
    of_clock: clock.State = run.engine.cells[clock.NAME].state
    ledger, feed, recording = run.engine.ledger, run.feed, run.recording
    heard = None if feed is None else feed.account.heard_at
    return {
        "fence": run.fence,
        "at": wall_time(),
        "by_the_wall": run.config.by_the_wall,
        "next": _ahead(of_clock, run.plan.settings.sessions, run.plan.settings.interval_ns),
        "feed": None
        if feed is None
        else {
            "type": run.config.feed.type,
            "age_seconds": None if heard is None else _since(heard),
            "rows": feed.account.rows,
            "waiting_rows": feed.depth,
            "away": feed.away,
            "unused_rows": feed.account.unused(),
            "refused": {
                kind: {"entries": count, "first": feed.account.refused_why[kind]}
                for kind, count in dict(feed.account.refused).items()
            },
        },
        "pauses": run.engine.pauses(),
        "backlog_bytes": 0 if ledger is None else ledger.waiting_bytes,
        "backlog_limit_bytes": run.config.store.backlog.bytes,
        "store_outages": len(run.outages),
        "restarts": run.observed.restarts,
        "not_ready": run.observed.not_ready,
        "recording": None
        if recording is None
        else {"folder": str(recording.folder), "problem": recording.problem},
    }


def _since(then: Monotonic) -> float:
    return round(monotonic() - then, 3)


def _ahead(
    of_clock: clock.State, sessions: tuple[SessionSpec, ...], interval_ns: int | None
) -> list[dict[str, str]]:
    """The next boundaries, and what begins or ends with each."""
    day = of_clock.day
    names = {} if day is None else _boundaries(day, sessions, interval_ns or MINUTE_NS)
    told = {int(at): names[at] for at in of_clock.agenda if at in names}
    for at, alarm in of_clock.alarms:
        if alarm in _ALARMS:
            told.setdefault(int(at), _ALARMS[alarm])
    return [{"at": market_time(at), "what": told[at]} for at in sorted(told)[:AHEAD]]


@lru_cache(maxsize=2)
def _boundaries(
    day: TradingDay, sessions: tuple[SessionSpec, ...], slot_ns: int
) -> Mapping[int, str]:
    """What begins or ends at each boundary of a day, in words, by its instant."""
    told: dict[int, list[str]] = {}
    for spec in sessions:
        window = session_window(day, spec, slot_ns)
        if isinstance(window, Window):
            told.setdefault(window.start_ns, []).append(f"{spec.name} starts")
            told.setdefault(window.end_ns, []).append(f"{spec.name} ends")
    for segment in day.plain.segments[1:]:
        told.setdefault(segment.open_ns, []).append("trading goes on")
    for segment in day.plain.segments[:-1]:
        told.setdefault(segment.close_ns, []).append("trading pauses")
    for product in day.products:
        for segment in product.segments:
            if segment.open_ns > day.open_ns:
                told.setdefault(segment.open_ns, []).append(f"{product.product} opens")
            if segment.close_ns < day.close_ns:
                told.setdefault(segment.close_ns, []).append(f"{product.product} closes")
    told.setdefault(day.close_ns, []).append("the close")
    return {at: ", ".join(words) for at, words in told.items()}


def kept_vitals(store: Store) -> dict[str, Any] | None:
    """Those of the process that has the lease; None: it has written none yet."""
    body = store.kept_at(KEY)
    found = None if body is None else orjson.loads(body)
    return found if found is not None and found["fence"] == store.head().fence else None
