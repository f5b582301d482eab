"""What days of a run come to: the counts of `summary.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from openbell.market.indicators import IndicatorValues
from openbell.market.kinds import BREAKOUT, KINDS
from openbell.market.results import SessionDocument, SignalBatch
from openbell.messages.data import QualityReport
from openbell.messages.session import Noticed

REASONS_MAX = 20
"""Reasons for null indicators that a summary lists, of each indicator."""


@dataclass
class Tally:
    """Counts of one day or of many; a run's are the sum of its days' in their order."""

    days: list[date] = field(default_factory=list)
    without_data: list[date] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            (
                "rows",
                "used",
                "outside_hours",
                "not_a_trading_day",
                "duplicates",
                "out_of_order",
                "late",
                "bad_rows",
                "ohlc_outside",
            ),
            0,
        )
    )
    expected: int = 0
    actual: int = 0
    sessions: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per session: how often it was completed, skipped, without rows; its breakouts by side, and how
    many signals followed them, by kind where there are any."""
    possible_splits: list[dict[str, Any]] = field(default_factory=list)
    indicators: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Per indicator: days, symbols with a value, symbols without one, and why so often."""

    scans: dict[str, dict[str, int]] = field(default_factory=dict)
    """Per scan: how often it ran and was skipped, and how many symbols it found."""

    def add(self, later: Tally) -> None:
        """Take in what later days come to."""
        self.days += later.days
        self.without_data += later.without_data
        _add(self.counts, later.counts)
        self.expected += later.expected
        self.actual += later.actual
        for name, counts in later.sessions.items():
            _add(self.sessions.setdefault(name, {}), counts)
        for name, counts in later.scans.items():
            _add(self.scans.setdefault(name, {}), counts)
        self.possible_splits += later.possible_splits
        for name, found in later.indicators.items():
            of = self.indicators.setdefault(
                name, {"days": 0, "values": 0, "nulls": 0, "reasons": []}
            )
            for key in ("days", "values", "nulls"):
                of[key] += found[key]
            of["reasons"] = [*of["reasons"], *found["reasons"]][:REASONS_MAX]


def _add(to: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        to[name] = to.get(name, 0) + count


Account = Callable[[Tally], Mapping[str, Any]]
"""Makes the content of `summary.json` from what all days come to."""


def day_tally(
    day: date,
    report: QualityReport,
    documents: Iterable[SessionDocument],
    signals: Iterable[SignalBatch],
    indicators: Sequence[IndicatorValues],
    scans: Iterable[Noticed] = (),
) -> Tally:
    """What a day that has ended comes to."""
    return Tally(
        days=[day],
        counts=_row_counts(report),
        expected=int(report.quality.expected.sum()),
        actual=int(report.quality.actual.sum()),
        sessions=_session_counts(documents, signals),
        possible_splits=_splits(day, report),
        indicators={of.name: _indicator_counts(of) for of in indicators},
        scans=_scan_counts(scans),
    )


def _scan_counts(scans: Iterable[Noticed]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for told in scans:
        if not told.kind.startswith("scan."):
            continue
        done = told.kind == "scan.done"
        counts = {"runs": int(done), "skipped": int(not done), "found": len(told.symbols)}
        _add(found.setdefault(str(told.facts["scan"]), {}), counts)
    return found


def _row_counts(report: QualityReport) -> dict[str, int]:
    counts = Tally().counts
    for name in ("outside_hours", "duplicates", "out_of_order", "late", "bad_rows"):
        counts[name] = int(getattr(report.quality, name).sum())
    dropped = sum(counts[name] for name in ("outside_hours", "duplicates", "bad_rows"))
    # Only where a feed's rules did something: other runs have no such counts.
    counts |= {name: int(of.sum()) for name, of in report.quality.by_rule}
    dropped += counts.get("partial", 0) + counts.get("repeated", 0)
    return {
        **counts,
        "rows": report.rows,
        "used": report.rows - dropped,
        "ohlc_outside": report.ohlc_outside,
    }


def _session_counts(
    documents: Iterable[SessionDocument], signals: Iterable[SignalBatch]
) -> dict[str, dict[str, int]]:
    sessions = {}
    for document in documents:
        completed, levels = document.status == "COMPLETED", document.levels
        sessions[document.session_name] = {
            "completed": int(completed),
            "skipped": int(document.status == "SKIPPED"),
            "truncated": int(completed and document.reason is not None),
            "without_rows": int(levels is not None and not levels.count.any()),
            "HIGH_BREAK": 0,
            "LOW_BREAK": 0,
        }
    followed: Counter[tuple[str, int]] = Counter()
    for batch in signals:
        kinds = batch.kinds
        breakouts = kinds == BREAKOUT
        for position, name in enumerate(batch.sessions):
            mine = batch.session == position
            of_session = batch.side[mine & breakouts]
            lows = int(of_session.sum())
            sessions[name]["LOW_BREAK"] += lows
            sessions[name]["HIGH_BREAK"] += len(of_session) - lows
            followed.update((name, kind) for kind in kinds[mine & ~breakouts].tolist())
    # In one order, whichever came first.
    for name, kind in sorted(followed):
        sessions[name][KINDS[kind]] = followed[name, kind]
    return sessions


def _splits(day: date, report: QualityReport) -> list[dict[str, Any]]:
    return [
        {
            "trading_date": str(day),
            "symbol": split.symbol,
            "previous_close": split.previous_close,
            "open": split.open,
            "change_pct": round(100 * (split.open / split.previous_close - 1), 2),
        }
        for split in report.possible_splits
    ]


def _indicator_counts(of: IndicatorValues) -> dict[str, Any]:
    nulls = len(of.reasons)
    reasons = [f"{symbol}: {reason}" for symbol, reason in of.reasons.items()]
    return {
        "days": 1,
        "values": len(of.symbols) - nulls,
        "nulls": nulls,
        "reasons": reasons[:REASONS_MAX],
    }
