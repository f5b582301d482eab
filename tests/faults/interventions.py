"""Scans, and symbols that come and go, drawn for a seed; and what they make of a market.

What is drawn has a random stream for each of its aspects, so that a further one leaves the others as
they were. A scan never answers twice alike: one that is asked twice shows. What a run has to leave
follows from what the same market leaves with all symbols and without scans, and from what entered by
the one door, as the step log has it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pandas as pd
from faults.markets import Scenario

from openbell.market.days import MINUTE_NS, SECOND_NS, TradingDay
from openbell.market.scans import Found, ScanView
from openbell.messages.base import Message
from openbell.messages.control import AddSymbols, RemoveSymbols, SymbolsChanged, SymbolsRefused
from openbell.messages.scan import ScanResult
from openbell.messages.time import Grant
from openbell.runtime.lifetime import asks

UNKNOWN = "NOT THERE"
"""A symbol that no data has."""


@dataclass(frozen=True)
class Ask:
    """Somebody asks for symbols when market time has come to an instant."""

    at_ns: int
    add: bool
    symbols: tuple[str, ...]
    request: str
    through_store: bool
    """Whether it is left in the store for whoever looks; else a process is told, and the next one
    again if that one had not answered."""

    @property
    def what(self) -> asks.What:
        return "add" if self.add else "remove"

    @property
    def message(self) -> AddSymbols | RemoveSymbols:
        kind = AddSymbols if self.add else RemoveSymbols
        return kind(symbols=self.symbols, request=self.request)


@dataclass(frozen=True)
class Interventions:
    symbols: tuple[str, ...] | None = None
    """Those that are watched at the start; None: as the scenario says."""
    scanners: tuple[Mapping[str, Any], ...] = ()
    """As a configuration has them."""
    asks: tuple[Ask, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.scanners or self.asks)

    @property
    def parts(self) -> tuple[str, ...]:
        """What can be left out."""
        scans = tuple(f"scan:{of['name']}" for of in self.scanners)
        return (*scans, *(f"ask:{ask.request}" for ask in self.asks))

    def without(self, parts: Collection[str]) -> Interventions:
        left = replace(
            self,
            scanners=tuple(of for of in self.scanners if f"scan:{of['name']}" not in parts),
            asks=tuple(ask for ask in self.asks if f"ask:{ask.request}" not in parts),
        )
        return left if left else Interventions()


def drawn_interventions(seed: int, scenario: Scenario) -> Interventions:
    """Two seeds in five have some."""
    if random.Random(f"seed {seed} interventions").random() > 0.4:
        return Interventions()
    scanners = drawn_scanners(random.Random(f"seed {seed} scanners"), scenario)
    start = drawn_start(random.Random(f"seed {seed} symbols at the start"), scenario)
    asks = drawn_asks(random.Random(f"seed {seed} asks"), scenario, scanners, start)
    return Interventions(start, scanners, asks)


def drawn_start(rng: random.Random, scenario: Scenario) -> tuple[str, ...]:
    """Not all of them, mostly, so that some may come."""
    count = len(scenario.symbols)
    most = count if count == 1 or rng.random() < 0.2 else count - 1
    return tuple(sorted(rng.sample(scenario.symbols, rng.randint(1, most))))


def drawn_scanners(rng: random.Random, scenario: Scenario) -> tuple[Mapping[str, Any], ...]:
    return tuple(
        {
            "name": f"scan {n}",
            "type": "drawn",
            "at": sorted({drawn_time(rng, scenario) for _ in range(rng.randint(1, 3))}),
            "then": rng.choice(("report", "follow", "follow", "add", "add")),
        }
        for n in range(rng.choice((0, 1, 1, 2, 3)))
    )


def drawn_time(rng: random.Random, scenario: Scenario) -> str:
    day = rng.choice(scenario.cases).day
    minutes = (day.close_ns - day.open_ns) // MINUTE_NS
    at = rng.randint(0, minutes)
    return rng.choice(
        (
            "pre",
            f"open+{max(1, at)}m",
            f"close-{max(1, at)}m",
            f"every {rng.randint(max(1, minutes // 6), minutes + 1)}m",
            local(day, day.open_ns + at * MINUTE_NS),
        )
    )


def local(day: TradingDay, at_ns: int) -> str:
    return f"{datetime.fromtimestamp(at_ns // SECOND_NS, ZoneInfo(day.tz)):%H:%M}"


def drawn_asks(
    rng: random.Random,
    scenario: Scenario,
    scanners: Sequence[Mapping[str, Any]],
    start: Sequence[str],
) -> tuple[Ask, ...]:
    """Some at once, some about a window's end, a day's, a scan's time, or before all; most of them
    of symbols that may come, or go."""
    count = rng.choice((0, 1, 2, 4, 8) if scanners else (1, 2, 4, 8))
    instants: list[int] = []
    for _ in range(count):
        again = bool(instants) and rng.random() < 0.3
        instants.append(instants[-1] if again else drawn_instant(rng, scenario))
    watched, found = set(start), list[Ask]()
    for n, at_ns in enumerate(sorted(instants)):
        others = sorted(set(scenario.symbols) - watched)
        add = bool(others) and rng.random() < 0.7
        among = others if add else sorted(watched)
        if not among or rng.random() < 0.15:
            among = list(scenario.symbols)
        names = rng.sample(among, min(len(among), rng.choice((1, 1, 2, 3))))
        watched = watched | {*names} if add else watched - {*names} or watched
        if rng.random() < 0.08:
            names.append(UNKNOWN)
        found.append(Ask(at_ns, add, tuple(names), f"ask-{n}", rng.random() < 0.4))
    return tuple(found)


def drawn_instant(rng: random.Random, scenario: Scenario) -> int:
    day = rng.choice(scenario.cases).day
    minutes = (day.close_ns - day.open_ns) // MINUTE_NS
    at = rng.randint(0, minutes)
    return rng.choice(
        (
            *(day.open_ns + at * MINUTE_NS, day.open_ns + at // 3 * MINUTE_NS),
            *(day.open_ns + at * MINUTE_NS + 1, day.open_ns + at // 2 * MINUTE_NS),
            rng.choice((day.open_ns, day.close_ns, 0)),
        )
    )


class DrawnScan:
    """Never answers twice alike, and fails at times."""

    def __init__(self, seed: int, symbols: Sequence[str]) -> None:
        self._seed, self._symbols = seed, symbols
        self.asked: Counter[tuple[date, str, str]] = Counter()
        """How often each was."""

    def __call__(self, view: ScanView) -> list[Found]:
        at = "pre" if view.before_open else local(view.day, view.at_ns)
        about = (view.day.date, view.scan, at)
        self.asked[about] += 1
        rng = random.Random(f"seed {self._seed} {about} {self.asked[about]}")
        if rng.random() < 0.1:
            raise RuntimeError("drawn")
        names = rng.sample(self._symbols, rng.randint(0, len(self._symbols)))
        if rng.random() < 0.05:
            names.append(UNKNOWN)
        return [Found(name, rng.random(), "drawn") for name in names]


# What has to be left


@dataclass(frozen=True)
class Change:
    """Other symbols are watched of a day from an instant on, or other ones are reported."""

    at_ns: int
    watched: frozenset[str] | None = None
    found: frozenset[str] | None = None
    """What a scan found that decides whose breakouts are reported."""
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()


class Entered:
    """What entered by the one door, day by day."""

    def __init__(
        self, grants: Sequence[Grant], days: Sequence[TradingDay], follows: Collection[str]
    ) -> None:
        self._days = [day.date for day in days]
        self.changes: dict[date, list[Change]] = {of: [] for of in self._days}
        self.since: list[tuple[date, frozenset[str]]] = []
        """Who is watched from the open of a day on."""
        self.answers: Counter[str] = Counter()
        self.scans: Counter[tuple[date, str, int]] = Counter()
        self.asked: set[str] = set()
        self.done: set[str] = set()
        for grant in grants:
            for entered in grant.inputs:
                self._note(grant, entered, follows)

    def _note(self, grant: Grant, entered: Message, follows: Collection[str]) -> None:
        match entered:
            case AddSymbols() | RemoveSymbols():
                self.asked.add(entered.request)
            case SymbolsRefused():
                self.answers[entered.request] += 1
            case SymbolsChanged():
                self.answers[entered.request] += 1
                self.done.add(entered.request)
                self.since.append((entered.since, frozenset(entered.followed)))
                if entered.date is not None:
                    watched = frozenset(entered.followed_today)
                    change = Change(
                        grant.until_ns,
                        watched,
                        added=frozenset(entered.added),
                        removed=frozenset(entered.removed),
                    )
                    self.changes[entered.date].append(change)
            case ScanResult():
                self.scans[entered.date, entered.scan, entered.at_ns] += 1
                if entered.skipped is None and entered.scan in follows:
                    found = frozenset(entered.symbols)
                    self.changes[entered.date].append(Change(entered.at_ns, found=found))

    def stays(self, day: date, start: frozenset[str]) -> frozenset[str]:
        """Who is watched at the close of a day."""
        watched = [of.watched for of in self.changes[day] if of.watched is not None]
        return watched[-1] if watched else self.at_the_open(day, start)

    def gone(self, day: date) -> frozenset[str]:
        """Who is not there any more at the close of a day, whose rows ended with that."""
        gone = frozenset[str]()
        for change in self.changes[day]:
            gone = (gone | change.removed) - change.added
        return gone

    def at_the_open(self, day: date, start: frozenset[str]) -> frozenset[str]:
        found = [names for since, names in self.since if since <= day]
        return found[-1] if found else start


class OfDay:
    """Whose signals a day reports, as the changes say."""

    def __init__(self, start: frozenset[str], changes: Sequence[Change], *, ticks: bool) -> None:
        self._start, self._changes, self._ticks = start, changes, ticks

    def _is_before(self, known_ns: int, at_ns: int) -> bool:
        """A tick of the very instant is after it, a bar that ends then before."""
        return known_ns < at_ns if self._ticks else known_ns <= at_ns

    def watches(self, symbol: str, known_ns: int) -> bool:
        watched = self._start
        for change in self._changes:
            if change.watched is not None and not self._is_before(known_ns, change.at_ns):
                watched = change.watched
        return symbol in watched

    def comes_later(self, symbol: str, known_ns: int) -> bool:
        """Whether a symbol that is not watched then is watched again, or for the first time."""
        return any(
            change.watched is not None
            and self._is_before(known_ns, change.at_ns)
            and symbol in change.watched
            for change in self._changes
        )

    def is_left_out(self, symbol: str, broke_ns: int) -> bool:
        """Whether scans had said by then of whose breaks one hears, and not of this one's."""
        names: set[str] = set()
        narrowed, watched = False, self._start
        for change in self._changes:
            if change.at_ns and self._is_before(broke_ns, change.at_ns):
                break
            if change.watched is not None:
                names |= change.watched - watched
                watched = change.watched
            if change.found is not None:
                names, narrowed = names | change.found, True
        return narrowed and symbol not in names

    def reports(self, symbol: str, known_ns: int, broke_ns: int) -> tuple[bool, bool]:
        """Whether a signal is reported, and whether as one of the past."""
        there = self.watches(symbol, known_ns)
        if not there and not self.comes_later(symbol, known_ns):
            return False, False
        left_out = self.watches(symbol, broke_ns) and self.is_left_out(symbol, broke_ns)
        return not left_out, not there


def known_ns(signal: Mapping[str, Any]) -> int:
    return int(pd.Timestamp(signal["known_at"]).value)


def expected_signals(
    whole: Mapping[str, Mapping[str, Any]],
    entered: Entered,
    start: frozenset[str],
    *,
    ticks: bool,
) -> dict[str, dict[str, Any]]:
    """What is reported of all that a market has, by id."""
    found = {}
    days = {
        str(day): OfDay(entered.at_the_open(day, start), changes, ticks=ticks)
        for day, changes in entered.changes.items()
    }
    for name, signal in whole.items():
        broke = known_ns(whole[signal.get("of") or name])
        of_day = days[signal["trading_date"]]
        reported, past = of_day.reports(signal["symbol"], known_ns(signal), broke)
        if reported:
            found[name] = {**signal, "backfilled": past or signal["backfilled"]}
    return found


def by_id(signals: Sequence[tuple[str, bytes]]) -> dict[str, dict[str, Any]]:
    return {name: orjson.loads(body) for name, body in signals}
