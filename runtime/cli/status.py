"""`openbell status`: how far the run has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl
from openbell.runtime.cli.sinks import in_a_line
from openbell.runtime.cli.stored import (
    day_state,
    feed_connection,
    listening,
    opened_store,
    paused_by,
)
from openbell.runtime.cli.times import Times, Utc, times_of
from openbell.runtime.cli.words import one_line

if TYPE_CHECKING:
    from openbell.adapters.stores import Held

SILENT_SECONDS = 5.0
"""Without a heartbeat for longer, a process is not said to be at work: it beats several times in
`lease.ttl`, whose default this is."""

SILENT_SHOWN_MAX = 20
"""So many symbols are named for people; `--json` has all."""


def status(
    config: ConfigFile = None,
    store: StoreUrl = None,
    name: Name = None,
    utc: Utc = False,
    json: Json = False,
) -> None:
    """Say how far the run has come, and whether a process is at it."""
    import orjson

    from openbell.runtime.delivery.positions import statuses
    from openbell.runtime.record.writing import market_time

    with opened_store(config, store, name) as opened:
        head = opened.head()
        steps = list(opened.steps(after=max(head.step - 1, 0))) if head.step else []
        usage = opened.usage()
        state, why = day_state(opened)
        lease = opened.lease()
        committed = head.meta.get("committed")
        found: dict[str, Any] = {
            "process": _process(lease),
            "holder": _holder(lease),
            "heartbeat_seconds": lease.silent_seconds if lease else None,
            "paused_by": paused_by(opened) if lease and not lease.dead else [],
            "feed": feed_connection(opened) if lease and not lease.dead else None,
            **listening(opened),
            "commits": head.commit,
            "committed_at": committed.decode() if committed else None,
            "steps": head.step,
            "trading_date": str(steps[-1].trading_date) if steps else None,
            "market_time": market_time(steps[-1].market_ns) if steps else None,
            "state": state,
            "error": why if state == "ERROR" else None,
            "signals": usage.counts.get("signals", 0),
            "location": usage.location,
            "sinks": statuses(opened),
            "dead_letter": orjson.loads(head.meta["error"]) if head.meta.get("error") else None,
        }
        if json:
            print(one_line(found))
        elif not head.commit:
            print(f"Nothing was ever run here: {usage.location}")
        else:
            error, dead = found.pop("error"), found.pop("dead_letter")
            sinks = found.pop("sinks")
            times = times_of(opened, utc=utc)
            for key, value in found.items():
                shown = value
                if key.endswith(("_at", "_time", "_since")) and value:
                    since = "since " if key.endswith("_since") else ""
                    shown = f"{since}{times.of(value)} {times.zone}"
                elif key == "heartbeat_seconds" and value is not None:
                    shown = f"{value:.1f} s ago"
                elif key == "feed" and value is not None:
                    shown = f"{value['state']} since {times.of(value['since'])} {times.zone}: "
                    shown += value["why"]
                elif key == "silent":
                    shown = _silent(value, times)
                elif key in ("paused_by", "halted"):
                    shown = ", ".join(value)
                if shown not in (None, ""):
                    print(f"{_named(key):<14} {shown}")
            for sink in sinks:
                print(f"{'sink':<14} {in_a_line(sink)}")
            if error is not None:
                print(f"ERROR: {error}; `openbell recover` has the next run try again")
            if dead is not None:
                print(dead["traceback"])


def _named(key: str) -> str:
    return key.removesuffix("_seconds").removesuffix("_since").replace("_", " ")


def _silent(symbols: dict[str, str | None], times: Times) -> str:
    """Symbols, with when each was heard last; those that are silent for longest first."""
    ordered = sorted(symbols.items(), key=lambda of: (of[1] or "", of[0]))
    named = [
        f"{symbol} since {times.wall(at)}" if at else f"{symbol} all day"
        for symbol, at in ordered[:SILENT_SHOWN_MAX]
    ]
    if more := len(ordered) - len(named):
        named.append(f"and {more} more")
    return ", ".join(named)


def _process(lease: Held | None) -> str:
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
