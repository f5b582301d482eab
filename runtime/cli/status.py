"""`openbell status`: how far the run has come."""

from __future__ import annotations

from typing import Any

from openbell.runtime.cli.options import ConfigFile, Json, Name, StoreUrl
from openbell.runtime.cli.stored import day_state, opened_store
from openbell.runtime.cli.words import one_line


def status(
    config: ConfigFile = None, store: StoreUrl = None, name: Name = None, json: Json = False
) -> None:
    """Say how far the run has come."""
    import orjson

    from openbell.runtime.record.writing import market_time

    with opened_store(config, store, name) as opened:
        head = opened.head()
        steps = list(opened.steps(after=max(head.step - 1, 0))) if head.step else []
        usage = opened.usage()
        state, why = day_state(opened)
        found: dict[str, Any] = {
            "commits": head.commit,
            "steps": head.step,
            "trading_date": str(steps[-1].trading_date) if steps else None,
            "market_time": market_time(steps[-1].market_ns) if steps else None,
            "state": state,
            "error": why if state == "ERROR" else None,
            "signals": usage.counts.get("signals", 0),
            "location": usage.location,
            "dead_letter": orjson.loads(head.meta["error"]) if head.meta.get("error") else None,
        }
        if json:
            print(one_line(found))
        elif not head.commit:
            print(f"Nothing was ever run here: {usage.location}")
        else:
            error, dead = found.pop("error"), found.pop("dead_letter")
            for key, value in found.items():
                print(f"{key.replace('_', ' '):<14} {value}")
            if error is not None:
                print(f"ERROR: {error}; `openbell recover` has the next run try again")
            if dead is not None:
                print(dead["traceback"])
