"""What scans found, as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from operator import attrgetter
from typing import Any, NamedTuple

import orjson

from openbell.adapters.tables import day_signals, signal_ids
from openbell.market.results import SignalBatch
from openbell.messages.scan import ADDED, request_for, token
from openbell.messages.session import Noticed

DONE, SKIPPED = "scan.done", "scan.skipped"


class After(NamedTuple):
    """A signal, for those who ask which came after a scan; instants are ns UTC."""

    symbol: str
    known_at_ns: int
    is_tick: bool
    id: str


@dataclass(frozen=True, slots=True)
class ScanFound:
    """A symbol that a scan found."""

    symbol: str
    score: float
    reason: str
    became: str
    """`reported`, `followed`, or `refused` and why."""
    signals: tuple[str, ...]
    """Ids of the signals that it had that day from then on, by when they were known."""


@dataclass(frozen=True, slots=True)
class ScanRun:
    """A scan, run once."""

    trading_date: date
    scan: str
    at: str
    """`pre`, or the time of the day, local."""
    market_time: datetime
    """UTC; of a scan before the open, the open."""
    then: str
    backfilled: bool
    """Whether its time was past when the run came to the day."""
    skipped: str | None
    """Why it found nothing out; None: it did."""
    found: tuple[ScanFound, ...]
    """The best first."""

    def as_dict(self) -> dict[str, Any]:
        """As a line of `scans.jsonl`."""
        told = {of.name: getattr(self, of.name) for of in _FIELDS}
        told["trading_date"] = str(self.trading_date)
        told["market_time"] = f"{self.market_time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        # By hand: `dataclasses.asdict` took four fifths of writing a day's files.
        told["found"] = tuple(
            {
                "symbol": of.symbol,
                "score": of.score,
                "reason": of.reason,
                "became": of.became,
                "signals": of.signals,
            }
            for of in self.found
        )
        return told


_FIELDS = fields(ScanRun)


def scan_run(
    day: date,
    at_ns: int,
    facts: Mapping[str, Any],
    signals: Iterable[After],
    came: Mapping[str, str] = {},
) -> ScanRun:
    """A run of a scan from the facts of its event, with the signals of its day.

    Parameters
    ----------
    came : mapping
        What became of requests for symbols, by their names.
    """
    by = token(facts["scan"], facts["at"])
    before_open = facts["at"] == "pre"
    after: dict[str, list[str]] = {}
    for of in sorted(signals, key=_when):
        # A bar that is over at this very instant belongs to before, a tick to after.
        if before_open or of.known_at_ns > at_ns or (of.known_at_ns == at_ns and of.is_tick):
            after.setdefault(of.symbol, []).append(of.id)
    return ScanRun(
        trading_date=day,
        scan=facts["scan"],
        at=facts["at"],
        market_time=datetime.fromtimestamp(at_ns // 10**9, UTC),
        then=facts["then"],
        backfilled=bool(facts.get("backfilled")),
        skipped=facts.get("reason"),
        found=tuple(
            ScanFound(
                symbol,
                float(score),
                reason,
                came.get(request_for(by, day, symbol), became) if became == ADDED else became,
                tuple(after.get(symbol, ())),
            )
            for symbol, score, reason, became in facts.get("found") or ()
        ),
    )


_when = attrgetter("known_at_ns", "id")


def came_of(kind: str, why: str, facts: Mapping[str, Any]) -> tuple[str, str]:
    """A request for symbols, and what became of it, from its event."""
    became = "added" if kind == "symbol.added" else f"refused: {why}"
    return str(facts["request"]), became


def day_scans(told: Sequence[Noticed], batches: Sequence[SignalBatch]) -> list[ScanRun]:
    """A day's scans, in their order."""
    signals = sorted(_after(batches), key=_when) if told else []
    came = dict(came_of(of.kind, of.why, of.facts) for of in told if "request" in of.facts)
    return [
        scan_run(of.date, of.at_ns, of.facts, signals, came)
        for of in told
        if of.date is not None and of.kind in (DONE, SKIPPED)
    ]


def scan_lines(told: Sequence[Noticed], batches: Sequence[SignalBatch]) -> bytes:
    """The same as lines of `scans.jsonl`."""
    runs = day_scans(told, batches)
    return b"".join(orjson.dumps(run.as_dict()) + b"\n" for run in runs)


def _after(batches: Sequence[SignalBatch]) -> list[After]:
    if not any(map(len, batches)):
        return []
    day = day_signals(batches)
    columns = zip(
        day.symbol.tolist(),
        day.known_at.tolist(),
        (day.ts == day.known_at).tolist(),
        signal_ids(day).to_pylist(),
        strict=True,
    )
    return [After(day.symbols[place], known, tick, id_) for place, known, tick, id_ in columns]
