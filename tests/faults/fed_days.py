"""What the simulations of feeds share: what is drawn of their days, their plan, their command line."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from conditions import Bound, Conditions
from faults.markets import (
    SYMBOLS,
    Scenario,
    days_of_two_segments,
    drawn_following,
    plain_days,
    with_conditions,
)
from reference import ArrivedAnswer, Row, Rules, Signal, Window
from strategies import Case, locate, wall_time

from openbell.adapters.scanners import scans_of
from openbell.market.bars import BAR_COLUMNS, TICK_COLUMNS, RawRows
from openbell.market.days import MINUTE_NS, SECOND_NS, TradingDay
from openbell.market.scans import Found, ScanView, scan_times
from openbell.messages.scan import ScanResult
from openbell.messages.time import Grant
from openbell.runtime.config import Config
from openbell.runtime.intake.planning import Plan
from openbell.runtime.intake.settings import fed_settings, scan_specs
from openbell.runtime.intake.trailing import TrailingSettings

UNWATCHED = "nobody's"


class Comes(Protocol):
    """What comes one after another."""

    @property
    def row(self) -> Row | None: ...


@dataclass(frozen=True)
class FedDays(Scenario):
    """Days whose rows a feed brings."""

    items: tuple[Any, ...] = ()
    """In the order in which they come."""
    lateness_ns: int = 0
    amends: bool = False
    """Whether a later bar takes the place of an earlier one."""

    @property
    def lasting(self) -> bool:
        return False

    @property
    def parts(self) -> tuple[str, ...]:
        return ()

    @property
    def days(self) -> tuple[TradingDay, ...]:
        return tuple(case.day for case in self.cases)

    @property
    def interval_ns(self) -> int | None:
        return self.cases[0].interval_ns

    def rows(self, start: int, stop: int) -> RawRows:
        """Some that come one after another, as a feed gives them."""
        names = TICK_COLUMNS if self.interval_ns is None else BAR_COLUMNS
        items: Sequence[Comes] = self.items[start:stop]
        rows = [item.row for item in items if item.row is not None]
        symbols = (UNWATCHED, *self.symbols)
        return RawRows(
            kind=self.cases[0].kind,
            symbols=symbols,
            code=np.array([symbols.index(row[0]) for row in rows], np.int32),
            ts=np.array([row[1] for row in rows], np.int64),
            columns={
                name: np.array([row[2 + i] for row in rows], np.float64)
                for i, name in enumerate(names)
            },
            locate=locate,
        )

    def planned(
        self,
        config: Config,
        days: tuple[TradingDay, ...] | None = None,
        scan: Callable[[ScanView], list[Found]] = lambda view: [],
    ) -> Plan:
        """The run, under a calendar that has these days; None: its own."""
        made = fed_settings(config)
        return Plan(
            days=self.days if days is None else days,
            symbols=self.symbols,
            not_trading={},
            open_ended=(False, False),
            settings=made,
            trailing=TrailingSettings(
                specs=(), needs=(), before=lambda day, count: (), dates=frozenset()
            ),
            scans=scans_of(made.scans, {"drawn": scan}),
        )


# What is drawn


class Market(NamedTuple):
    """What is drawn before the rows."""

    days: tuple[TradingDay, ...]
    interval_ns: int
    kind: str
    symbols: tuple[str, ...]


def drawn_market(rng: random.Random, kinds: Sequence[str]) -> Market:
    symbols = tuple(sorted(rng.sample(SYMBOLS, rng.randint(1, 3))))
    shape = rng.choice((plain_days, plain_days, days_of_two_segments))
    days, interval_ns = shape(rng, rng.randint(10, 24), rng.choice((1, 2, 2, 3)))
    return Market(days, interval_ns, rng.choice(kinds), symbols)


def drawn_rules(rng: random.Random, seed: str) -> Rules:
    """But for conditions."""
    return Rules(
        confirm=rng.choice(("close", "touch")),
        check=rng.choice(("continuous", "continuous", "once")),
        inside_bars=rng.choice((0, 0, 1, 2)),
        rearms_max=rng.choice((None, 1)),
        **drawn_following(seed),
    )


def drawn_windows(
    rng: random.Random, day: TradingDay, latest: int, closed: Sequence[str]
) -> tuple[Window, ...]:
    """Early and short ones: rows about their ends are what can go wrong."""
    found = []
    for name in ("Later", "Opening", "A third")[: rng.randint(1, 3)]:
        first = rng.randrange(latest)
        last = first + rng.randrange(4)
        start, end = (wall_time(day, day.open_ns + n * MINUTE_NS) for n in (first, last))
        how = rng.choice(closed) if start < end else "both"
        found.append(Window(name, start, end, cast(Any, how)))
    return tuple(found)


def configured(
    market: Market,
    windows: Sequence[Window],
    rules: Rules,
    companions: Mapping[str, str],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """A configuration; its rules have no conditions."""
    return {
        "name": "simulated",
        "exchange": "XNYS",  # its calendar is not asked: the days are drawn
        "symbols": list(market.symbols),
        "sessions": [
            {"name": w.name, "start": w.start, "end": w.end, "closed": w.closed} for w in windows
        ],
        "companions": companions,
        "breakout": as_configured(rules),
        "data": {"kind": market.kind, "interval": "1m"},
        "feed": {
            "type": "push",
            "start": str(market.days[0].date),
            "end": str(market.days[-1].date),
        },
        **more,
    }


def with_drawn_conditions(config: dict[str, Any], market: Market, seed: str) -> dict[str, Any]:
    """The configuration, with conditions in half of the cases."""
    if random.Random(f"whether {seed} has conditions").random() < 0.5:
        return config
    return with_conditions(config, seed, market.days[0], history=False, relative=False)


def as_configured(rules: Rules) -> dict[str, Any]:
    return {
        "confirm": rules.confirm,
        "check": rules.check,
        "rearm": {"inside_bars": rules.inside_bars, "max": rules.rearms_max}
        if rules.inside_bars
        else "never",
        "closed_beyond": rules.closed_beyond,
        "retest": {
            "within_bars": rules.retest_bars,
            "tolerance": f"{rules.retest_tolerance}{'%' * (rules.retest_unit == 'percent')}",
        }
        if rules.retest_bars
        else "never",
    }


def cases_of(
    market: Market,
    windows: tuple[Window, ...],
    rules: Rules,
    companions: dict[str, str],
    config: Mapping[str, Any],
) -> tuple[Case, ...]:
    """A case a day, without rows, with the rules that the configuration has of each session."""
    of_all = config["breakout"]
    own = {
        of["name"]: rules._replace(conditions=as_conditions({**of_all, **of.get("breakout", {})}))
        for of in config["sessions"]
    }
    return tuple(
        Case(
            day=day,
            interval_ns=market.interval_ns if market.kind == "bars" else None,
            rows=(),
            symbols=market.symbols,
            windows=windows,
            rules=rules,
            companions=companions,
            own_rules=own,
        )
        for day in market.days
    )


def as_conditions(breakout: Mapping[str, Any]) -> Conditions:
    """What `drawn_conditions` gives, as the reference is told it."""
    volume = breakout.get("volume", {})
    return Conditions(
        volume_times=volume.get("times"),
        volume_of=volume.get("of", "minute"),
        volume_companion=volume.get("symbol") == "companion",
        min_range=as_bound(breakout.get("min_range")),
        max_range=as_bound(breakout.get("max_range")),
        valid_until=as_end(breakout.get("valid_until")),
        on_incomplete=breakout.get("on_incomplete", "flag"),
        direction=breakout.get("direction", "any"),
    )


def as_bound(written: Any) -> Bound | None:
    if isinstance(written, str):
        return "percent", float(written.rstrip("%"))
    return None if written is None else ("price", written)


def as_end(written: str | None) -> str | int | None:
    if written is None or ":" in written:
        return written
    return int(written[:-1]) * {"s": SECOND_NS, "m": MINUTE_NS}[written[-1]]


# Scans


def drawn_scans(number: int) -> list[dict[str, Any]]:
    """Some that narrow a day and some that only tell, about when windows end."""
    rng = random.Random(f"fed scans {number}")
    times = ("pre", *(f"open+{n}m" for n in range(1, 10)), "every 4m", "close-3m", "close-1m")
    return [
        {
            "name": f"scan {n}",
            "type": "drawn",
            "at": sorted(set(rng.choices(times, k=rng.randint(1, 3)))),
            "then": rng.choice(("report", "follow", "follow")),
        }
        for n in range(rng.choice((0, 0, 1, 2)))
    ]


def instants(config: Config, day: TradingDay) -> dict[str, tuple[int, ...]]:
    """When each scan runs inside a day; before it opens: 0."""
    return {
        of.name: (*((0,) if "pre" in of.at else ()), *scan_times(day, of)[0])
        for of in scan_specs(config)
    }


def scanned_in(config: Config, day: TradingDay) -> tuple[int, ...]:
    """All instants at which something is scanned."""
    return tuple(sorted({at for times in instants(config, day).values() for at in times if at}))


def check_scans(config: Config, day: TradingDay, grants: Sequence[Grant]) -> list[ScanResult]:
    """Each was run once at each of its times; what those found that decide who is reported."""
    results = [
        of
        for grant in grants
        for of in grant.inputs
        if isinstance(of, ScanResult) and of.date == day.date
    ]
    found = sorted((of.scan, int(of.at_ns)) for of in results)
    due = sorted((name, at) for name, times in instants(config, day).items() for at in times)
    assert found == due, f"{day.date}: scans at {found}, not {due}"
    follows = {of.name for of in config.scanners if of.then == "follow"}
    return [of for of in results if of.scan in follows and of.skipped is None]


def reported(answer: ArrivedAnswer, results: Sequence[ScanResult], *, ticks: bool) -> list[Signal]:
    """Those signals that are left where scans say whose one hears: what follows a breakout is
    reported where that was.

    A row that came when a scan had been run, and was known before its instant, is of before it.
    """
    begun: dict[tuple[object, ...], bool] = {}
    found = []
    for n, signal in enumerate(answer["signals"]):
        of = (signal["session"], signal["symbol"], signal["side"], signal["number"])
        if of not in begun:
            known = signal["known_at"] + ticks
            said = [
                result
                for result in results
                if n >= answer["before_scans"].get(int(result.at_ns), 0) and known > result.at_ns
            ]
            begun[of] = not said or any(signal["symbol"] in result.symbols for result in said)
        if begun[of]:
            found.append(signal)
    return found


# Command line


def main(
    about: str,
    simulate: Callable[[int], Any],
    told: Callable[[int], Sequence[object]],
) -> None:
    """Run one seed, or many.

    Parameters
    ----------
    told : callable
        What is told of a seed before it runs.
    """
    arguments = argparse.ArgumentParser(description=about)
    arguments.add_argument("--seed", type=int, help="one seed, with what it draws")
    arguments.add_argument("--seeds", type=int, nargs=2, metavar=("FROM", "TO"))
    asked = arguments.parse_args()
    if asked.seed is not None:
        print(*told(asked.seed), sep="\n")
        simulate(asked.seed)
        print(f"seed {asked.seed}: as the reference has it")
        return
    began, failed = time.process_time(), []
    reached: Counter[str] = Counter()
    for seed in range(*asked.seeds):
        try:
            world = simulate(seed)
            reached += Counter((*world.happened, *world.reached))
        except AssertionError as error:
            failed.append(seed)
            print(error, flush=True)
    print(f"{time.process_time() - began:.1f} s of processor time")
    for name, count in sorted(reached.items()):
        print(f"{count:7} {name}")
    print(f"{len(failed)} failed: {failed}" if failed else "all as the reference has it")
    sys.exit(bool(failed))
