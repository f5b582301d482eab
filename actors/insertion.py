"""What the day has to tell and to know of symbols that come into it, or go from it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from openbell.market.arrivals import no_counts
from openbell.market.days import MarketTime, TradingDay
from openbell.market.results import Counts
from openbell.market.silence import Listening, begun
from openbell.market.widening import widening
from openbell.messages.control import SymbolsChanged, SymbolsRefused
from openbell.messages.session import DayOpened, Noticed

if TYPE_CHECKING:
    from datetime import date

    from openbell.actors.day import State

PAST_NS = MarketTime(np.iinfo(np.int64).max)
"""All that is known of symbols before they come is past."""


def refused(refusal: SymbolsRefused, state: State, at_ns: MarketTime) -> Noticed:
    return Noticed(
        kind="symbol.refused",
        at_ns=at_ns,
        why=refusal.why,
        date=state.day.date if state.position >= 0 else None,
        symbols=refusal.symbols,
        facts={"by": refusal.by, "request": refusal.request},
    )


def noticed(change: SymbolsChanged, state: State, at_ns: MarketTime) -> list[Noticed]:
    """What is told of symbols that come, and of those that go."""
    today = state.day.date if state.position >= 0 else None
    at_once = state.phase == "stream" and change.date == today
    told: list[Noticed] = []
    come = tuple(sorted({*change.added, *change.promoted}))
    for kind, symbols in (("symbol.added", come), ("symbol.removed", change.removed)):
        if not symbols:
            continue
        since = "from here on" if at_once else f"from {change.since} on"
        what = "watched" if kind == "symbol.added" else "not watched any more"
        why = f"{', '.join(symbols)}: {what} {since}; asked for by {change.by}"
        if kind == "symbol.added":
            why = "; ".join(said for said in (why, change.untold, change.lacking) if said)
        told.append(
            Noticed.model_validate(
                {
                    "kind": kind,
                    "at_ns": at_ns,
                    "why": why,
                    "date": today,
                    "symbols": symbols,
                    "facts": {
                        "by": change.by,
                        "request": change.request,
                        "since": str(today if at_once else change.since),
                    },
                }
            )
        )
    return told


def alone(
    change: SymbolsChanged,
    day: TradingDay,
    interval_ns: int | None,
    followed: tuple[date, tuple[str, ...]],
    *,
    may_be_filled: bool,
) -> DayOpened:
    """The day as it would have opened for those that come, and their companions, alone."""
    return DayOpened(
        day=day,
        symbols=change.alone,
        kind="ticks" if interval_ns is None else "bars",
        interval_ns=interval_ns,
        boundaries=(),
        counts=no_counts(len(change.alone)),
        bad=(),
        live_from_ns=PAST_NS,
        may_be_filled=may_be_filled,
        followed=followed,
    )


def listened(
    heard: Listening, before: tuple[str, ...], change: SymbolsChanged, at_ns: MarketTime
) -> Listening:
    """Of those that come nothing is known yet; silence of those that go is explained."""
    if change.added:
        how = widening(before, change.symbols, change.added, change.added)
        fresh = begun(len(change.added), None, at_ns)

        def each(old: Counts, new: Counts) -> Counts:
            return np.append(how.columns(old[:-1], new[:-1]), old[-1:])

        heard = replace(
            heard,
            newest=each(heard.newest, fresh.newest),
            at_ns=each(heard.at_ns, fresh.at_ns),
            times=each(heard.times, fresh.times),
            longest=each(heard.longest, fresh.longest),
            total=each(heard.total, fresh.total),
            before=each(heard.before, fresh.before),
            silent=how.columns(heard.silent, fresh.silent),
            halted=how.columns(heard.halted, fresh.halted),
        )
    if change.removed:
        gone = np.array([symbol in change.removed for symbol in change.symbols], np.bool_)
        heard = replace(heard, halted=heard.halted | gone, silent=heard.silent & ~gone)
    return heard
