"""What is told of a day that was listened to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from openbell.adapters.scanruns import ScanRun
from openbell.market.calendar import timezone
from openbell.runtime.config import Config
from openbell.runtime.results import events
from openbell.runtime.results.explaining import from_rows
from openbell.runtime.results.explanation import Event, Explanation, SessionExplained
from openbell.runtime.results.signals import Signal, moment
from openbell.runtime.results.witness import Witness
from openbell.runtime.why.asking import Asked


def explained(
    config: Config,
    question: Asked,
    witness: Witness,
    reached_ns: int,
    signals: Sequence[Signal],
    *,
    origin: str,
    companion: str | None = None,
    events: tuple[Event, ...] = (),
    notes: Sequence[str] = (),
) -> Explanation:
    sessions: tuple[SessionExplained, ...] = ()
    data = None
    notes = list(notes)
    under_way = False
    if witness.opened is None:
        notes.append("the day has not opened, or no symbol had a row inside its hours")
    elif not witness.knows:
        names = ", ".join(witness.opened.symbols)
        notes.append(f"{question.symbol} was not among the symbols of that day: {names}")
    else:
        sessions, data = from_rows(witness, config, reached_ns, signals, question.session)
        under_way = reached_ns < witness.opened.day.close_ns
        if not data.actual:
            notes.append(f"{question.symbol} had no row inside the hours of that day")
    return Explanation(
        exchange=config.exchange,
        symbol=question.symbol,
        trading_date=question.trading_date,
        zone=zone_of(config),
        origin=origin,
        reached=moment(reached_ns) if under_way else None,
        interval=interval_of(config),
        sessions=sessions,
        data=data,
        events=events,
        notes=tuple(notes),
        companion=companion,
    )


def unreported_of(
    day: date, symbol: str, events: Iterable[events.Event], runs: Iterable[ScanRun]
) -> tuple[str, ...]:
    """When breakouts of a day were left out because no scan had found the symbol.

    Parameters
    ----------
    events, runs : iterable
        What the day brought; of scans, of any order.
    """
    for event in events:
        if event.kind == "symbol.added" and event.trading_date == day and symbol in event.symbols:
            return ()
    since: list[ScanRun] = []
    until = "the close"
    for run in sorted(runs, key=lambda run: run.market_time):
        if run.then != "follow" or run.skipped is not None:
            continue
        if any(found.symbol == symbol for found in run.found):
            until = run.at
            break
        since.append(run)
    if not since or until == "pre":
        return ()
    begins = "the open" if since[0].at == "pre" else since[0].at
    names = ", ".join(dict.fromkeys(run.scan for run in since))
    left_out = (
        f"breakouts from {begins} to {until} were not reported, though levels that broke have"
    )
    return (f"{left_out}: {symbol} was not found by {names} (scanners, then: follow)",)


def zone_of(config: Config) -> str:
    return config.calendar.timezone or timezone(config.exchange)


def interval_of(config: Config) -> str | None:
    return str(config.data.interval) if config.data.kind == "bars" else None
