"""The account of a run: what was read, what was found, what was odd."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from openbell import __version__
from openbell.adapters.sinks.tally import Tally
from openbell.adapters.sources import FileIdentity, SourceInfo
from openbell.market.calendar import overlay_version
from openbell.market.kinds import BREAKOUT, KINDS
from openbell.runtime.config import Config
from openbell.runtime.intake.planning import Plan


def summary(
    config: Config,
    plan: Plan,
    info: SourceInfo,
    tally: Tally,
    *,
    interrupted: bool,
    error: str | None,
    timing: dict[str, Any],
) -> dict[str, Any]:
    """What stands in `summary.json`; all that depends on the wall clock is under `timing`."""
    counts = dict(tally.counts)
    stray = sum(plan.not_trading.values())
    counts["rows"] += stray + plan.trimmed
    counts["outside_hours"] += plan.trimmed
    counts["not_a_trading_day"] += stray
    without_data = list(tally.without_data)
    if tally.days:
        first, last = tally.days[0], tally.days[-1]
        if plan.open_ended[0]:
            without_data = [day for day in without_data if day > first]
        if plan.open_ended[1] and not interrupted and error is None:
            without_data = [day for day in without_data if day < last]
    return {
        "openbell": __version__,
        "exchange": config.exchange,
        "segment": config.segment,
        "kind": info.kind,
        "interval": str(config.data.interval) if info.kind == "bars" else None,
        "symbols": list(plan.symbols),
        "first_day": str(tally.days[0]) if tally.days else None,
        "last_day": str(tally.days[-1]) if tally.days else None,
        "trading_days": len(tally.days),
        "interrupted": interrupted,
        "error": error,
        "signals": sum(of["HIGH_BREAK"] + of["LOW_BREAK"] for of in tally.sessions.values()),
        **_following(tally),
        "sessions": tally.sessions,
        "rows": counts,
        "quality": "measured" if plan.settings.measures_quality else "not measured",
        "quality_pct": round(100 * tally.actual / tally.expected, 4) if tally.expected else None,
        "days_without_data": [str(day) for day in without_data],
        "not_trading_days": {str(day): rows for day, rows in plan.not_trading.items()},
        "possible_splits": tally.possible_splits,
        "indicators": tally.indicators,
        **({"scans": tally.scans} if tally.scans else {}),
        "inputs": {
            "files": [
                {"path": file.path, "size": file.size, "digest": file.digest} for file in info.files
            ],
            **_instruments(plan.instruments),
            "config": config.digest(),
            "calendar_overlay": overlay_version(),
            **({"notes": [*info.notes, *plan.notes]} if info.notes or plan.notes else {}),
        },
        "timing": timing,
    }


def _instruments(file: FileIdentity | None) -> dict[str, Any]:
    if file is None:
        return {}
    return {"instruments": {"path": file.path, "size": file.size, "digest": file.digest}}


def _following(tally: Tally) -> dict[str, Any]:
    """How many signals followed breakouts, by kind; nothing where there are none."""
    counts = {
        kind: sum(of.get(kind, 0) for of in tally.sessions.values())
        for kind in KINDS[BREAKOUT + 1 :]
    }
    return {"following": counts} if any(counts.values()) else {}


def timing(
    started_at: float, seconds: float, rows: int, metrics: Mapping[str, Any]
) -> dict[str, Any]:
    """The part of a summary that differs between two runs; `started_at` is seconds UTC."""
    return {
        "started_at": datetime.fromtimestamp(round(started_at), UTC).isoformat(),
        "seconds": round(seconds, 3),
        "rows_per_second": round(rows / seconds) if seconds else None,
        "metrics": dict(metrics),
    }
