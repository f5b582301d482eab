"""What scans found, read from the events of a run and its signals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from openbell.adapters.scanruns import DONE, SKIPPED, After, ScanRun, came_of, scan_run
from openbell.adapters.stores import Store
from openbell.errors import InputError
from openbell.runtime.results.events import Event, read
from openbell.runtime.results.signals import Signal

KINDS = (DONE, SKIPPED)

ASKED = ("symbol.added", "symbol.refused")
"""What becomes of symbols that a scan has asked for."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def runs_of(
    events: Iterable[Event], signals: Iterable[Signal], *, scan: str | None = None
) -> Iterator[ScanRun]:
    """Each run of a scan among some events, with the signals of its day."""
    by_day: dict[date, list[After]] = {}
    for signal in signals:
        of_day = by_day.setdefault(signal.trading_date, [])
        tick = signal.ts == signal.known_at
        of_day.append(After(signal.symbol, _ns(signal.known_at), tick, signal.id))
    yield from _runs(events, by_day, scan)


def stored_runs(
    store: Store, *, day: date | None = None, scan: str | None = None
) -> Iterator[ScanRun]:
    """As `runs_of`, from a store; the newest of those that a day begun anew has run twice."""
    events = [
        event
        for event in read(store)
        if event.kind in (*KINDS, *ASKED) and day in (None, event.trading_date)
    ]
    for of, told in groupby(events, lambda event: event.trading_date):
        if of is None:
            continue
        signals = []
        for _, stored in store.signals(trading_date=of):
            fields = orjson.loads(stored.body)
            known = fields["known_at"]
            tick = fields["ts"] == known
            signals.append(After(stored.symbol, _ns(_instant(known)), tick, stored.id))
        yield from _runs(list(told), {of: signals}, scan)


def runs_in(out: Path) -> Iterator[dict[str, Any]]:
    """The lines of `scans.jsonl` in a folder of results.

    Raises
    ------
    InputError
        If it is none.
    """
    if not (out / "summary.json").is_file():
        raise InputError(
            f"{out}: holds no results; name a folder that `openbell backtest --out` or `openbell run "
            "--out` has written"
        )
    path = out / "scans.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        yield orjson.loads(line)


def _runs(
    events: Iterable[Event], signals: dict[date, list[After]], scan: str | None
) -> Iterator[ScanRun]:
    last: dict[tuple[Any, ...], Event] = {}
    came: dict[str, str] = {}
    for event in events:
        if event.kind in ASKED and "request" in event.facts:
            came.update([came_of(event.kind, event.why, event.facts)])
        if event.kind in KINDS and event.trading_date is not None:
            # A day that is opened once more, or begun anew, is scanned once more.
            key = (event.trading_date, event.facts["scan"], event.facts["at"])
            last.pop(key, None)
            last[key] = event
    for (day, name, _), event in last.items():
        if scan in (None, name) and event.market_time is not None:
            yield scan_run(day, _ns(event.market_time), event.facts, signals.get(day, ()), came)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
