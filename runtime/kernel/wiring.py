"""Which actors there are, and who speaks to whom.

The wiring is acyclic but for what goes back to the clock, so that nothing is in flight once the
last actor has reached: `clock → day, prefetch → sessions, upkeep → breakout → scanner → keeper →
clock`; the scanner is there where scans are.
The breakout's actor hears what is known of the days before, then the sessions, then the rows of a
step, so that a step may hold a session and what comes after it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from graphlib import TopologicalSorter
from typing import Any, Literal

from openbell.actors import breakout, clock, day, keeper, prefetch, scanner, session, upkeep
from openbell.actors.effects import Actor
from openbell.actors.holding import holding
from openbell.market.bars import Order
from openbell.market.breakouts import BreakRules
from openbell.market.indicators import Indicator, IndicatorSpec
from openbell.market.instruments import NO_CONTRACTS, Contracts
from openbell.market.rules import NO_RULES, RowRules
from openbell.market.scans import ScanSpec
from openbell.market.watermark import WallRules, lag_ns
from openbell.market.windows import SessionSpec

AnyActor = Actor[Any]

BACK = (day.NAME, keeper.NAME)
"""Who speaks to the clock; the scanner does too, where there is one."""


def _back(scans: bool) -> tuple[str, ...]:
    return (*BACK, scanner.NAME) if scans else BACK


@dataclass(frozen=True, slots=True)
class Settings:
    """What the actors of one runtime are made from."""

    exchange: str
    sessions: tuple[SessionSpec, ...]
    rules: tuple[BreakRules, ...]
    """One for each session."""
    companions: tuple[tuple[str, str], ...]
    interval_ns: int | None
    clock_step: Literal["day", "boundary", "bar"]
    days_ahead: int
    derived_minutes: tuple[int, ...]
    indicators: tuple[tuple[IndicatorSpec, Indicator], ...] = ()
    measures_quality: bool = True
    followed: tuple[tuple[date, tuple[str, ...]], ...] = ()
    """As of the breakout's actor."""
    contracts: Contracts = NO_CONTRACTS
    """As of the breakout's actor."""
    order: Order = "time"
    """In which order stored rows are acted on."""
    row_rules: RowRules = NO_RULES
    """What rows in the order in which they came mean."""
    lateness_ns: int = 0
    """How long a boundary waits for rows that are still on their way, where they come as they do."""
    fed: bool = False
    """Whether rows come from a feed, and move time."""
    paced: bool = False
    """Whether wall time decides when market time moves."""
    wall: WallRules | None = None
    """How the host's clock crosses boundaries, where rows come from a feed; None: it doesn't."""
    wall_day: day.Wall | None = None
    """What of a day's course goes by it then."""
    fills_ns: int | None = None
    """As of the clock."""
    loses: bool = False
    scans: tuple[ScanSpec, ...] = ()


def actors(settings: Settings) -> tuple[AnyActor, ...]:
    """All actors of a runtime, upstream first; their order is that of senders within a step."""
    names = tuple(spec.name for spec in settings.sessions)
    lag = lag_ns(settings.lateness_ns, settings.interval_ns)
    of_rows: tuple[AnyActor, ...] = (
        upkeep.upkeep(
            upkeep.Settings(
                settings.derived_minutes,
                settings.indicators,
                settings.measures_quality,
                settings.sessions,
            )
        ),
        breakout.breakout(
            breakout.Settings(
                settings.exchange,
                names,
                settings.rules,
                settings.companions,
                settings.followed,
                settings.contracts,
                frozenset(spec.name for spec in settings.scans if spec.then == "follow"),
            )
        ),
    )
    # Nobody looks before a day is over; without scans it is a step as it is.
    at_once = settings.clock_step == "day" and bool(settings.scans)
    if at_once:
        of_rows = tuple(holding(actor) for actor in of_rows)
    return (
        clock.clock(
            clock.Settings(
                frozenset(_back(bool(settings.scans))),
                settings.paced,
                lag if settings.fed else None,
                settings.wall,
                settings.fills_ns,
                settings.loses,
                # Symbols that one asks for come into the day where it has come to.
                frozenset(spec.name for spec in settings.scans if spec.then != "add")
                if at_once
                else frozenset(),
            )
        ),
        day.day(
            day.Settings(
                settings.sessions,
                settings.interval_ns,
                settings.clock_step,
                settings.days_ahead,
                settings.fed,
                settings.wall_day,
                settings.scans,
                at_once and all(spec.then != "add" for spec in settings.scans),
            )
        ),
        prefetch.prefetch(prefetch.Settings(lag, settings.row_rules)),
        *(session.session(spec) for spec in settings.sessions),
        *of_rows,
        *((scanner.scanner(scanner_settings(settings)),) if settings.scans else ()),
        keeper.keeper(keeper.Settings(settings.exchange, settings.sessions)),
    )


def scanner_settings(settings: Settings) -> scanner.Settings:
    return scanner.Settings(
        settings.scans,
        settings.indicators,
        settings.followed,
        settings.companions,
        settings.contracts,
    )


@dataclass(frozen=True)
class Wiring:
    """Who is downstream of whom, each in the order of the actors."""

    downstream: Mapping[str, tuple[str, ...]]
    """Who gets what an actor publishes, and its Reached."""
    upstream: Mapping[str, tuple[str, ...]]
    """Whose Reached an actor waits for; nobody's for the clock."""
    back: Mapping[str, tuple[str, ...]]
    """Who speaks to the clock, which acts on it only when the step is over."""


def wiring(sessions: Sequence[SessionSpec], *, scans: bool = False) -> Wiring:
    """How the actors of a runtime with these sessions, and with or without scans, are connected."""
    after = (scanner.NAME, keeper.NAME) if scans else (keeper.NAME,)
    windows = tuple(session.name(spec) for spec in sessions)
    downstream = {
        clock.NAME: (day.NAME, prefetch.NAME, keeper.NAME),
        day.NAME: (prefetch.NAME, *windows, upkeep.NAME, breakout.NAME, *after),
        prefetch.NAME: (*windows, upkeep.NAME, breakout.NAME, *after),
        **{window: (breakout.NAME, *after) for window in windows},
        upkeep.NAME: (breakout.NAME, keeper.NAME),
        breakout.NAME: after,
        **({scanner.NAME: (keeper.NAME,)} if scans else {}),
        keeper.NAME: (),
    }
    upstream = {
        name: tuple(sender for sender, heard_by in downstream.items() if name in heard_by)
        for name in downstream
    }
    upstream[breakout.NAME] = (day.NAME, upkeep.NAME, *windows, prefetch.NAME)
    if scans:
        upstream[scanner.NAME] = (day.NAME, *windows, prefetch.NAME, breakout.NAME)
    tuple(TopologicalSorter(upstream).static_order())  # raises on a cycle
    return Wiring(
        downstream=downstream,
        upstream=upstream,
        back={name: (clock.NAME,) for name in _back(scans)},
    )


def edges(wires: Wiring) -> Iterable[tuple[str, str]]:
    """Every connection, sender and receiver."""
    for sender, receivers in wires.downstream.items():
        for receiver in (*receivers, *wires.back.get(sender, ())):
            yield sender, receiver
