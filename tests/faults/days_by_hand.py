"""Days written by hand on which each bug that is planted shows, whatever seeds draw.

One has rows that a feed brings, to be gone through with a kill before each message; the other goes
by the host's clock, and needs no kill.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import date, time
from pathlib import Path
from typing import Any

from faults.arrivals import Fed, FedProcess, FedWorld, Feeding, Item, with_rows
from faults.drawn_faults import CALM
from faults.fed_days import Market, cases_of, configured
from faults.markets import day_of
from faults.simulation import Process
from faults.timers import Bringing, WallWorld
from faults.wall_days import Act, Coming, WallDays
from reference import Row, Rules, Window

from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay
from openbell.market.scans import Found
from openbell.runtime.config import config_from

DAYS = tuple(day_of("UTC", date(2024, 7, of), time(9), (14,)) for of in (1, 2))
WINDOWS = (Window("Opening", "09:00", "09:02"), Window("Later", "09:05", "09:07"))
RULES = Rules(confirm="touch", inside_bars=1, closed_beyond=True)


def at(day: TradingDay, minute: float) -> int:
    return day.open_ns + round(minute * MINUTE_NS)


def bar(day: TradingDay, minute: int, low: float, high: float, symbol: str = "A") -> Row:
    return symbol, at(day, minute), low, high, low, high, 1.0 + minute / 8


def tick(day: TradingDay, minute: float, price: float, symbol: str = "A") -> Row:
    return symbol, at(day, minute), price, 1.0


# Rows that come


def fed_by_hand(*, ruled: bool = False) -> Fed:
    """Rows that come late, and too late, for windows and bars; some wait for a boundary.

    Parameters
    ----------
    ruled : bool
        Whether breaks have rules to pass, one of the windows others than the rest.
    """
    market = Market(DAYS, MINUTE_NS, "bars", ("A", "B"))
    clock = {"clock": {"time": "feed", "lateness": "90s"}}
    config = configured(market, WINDOWS, RULES, {}, clock)
    if ruled:
        opening, later = config["sessions"]
        volume = {"volume": {"times": 1.0, "of": "day"}}
        config = {
            **config,
            "breakout": {**config["breakout"], "valid_until": "3m", "min_range": 1.5},
            "sessions": [{**opening, "breakout": volume}, later],
        }
    today, tomorrow = DAYS
    items = [
        *(Item(today, bar(today, 0, 99.0, 100.0)), Item(today, bar(today, 0, 49.0, 50.0, "B"))),
        Item(today, bar(today, 1, 99.5, 100.0)),
        Item(today, bar(today, 3, 99.0, 101.5)),  # beyond the window's end, and waits there
        Item(today, bar(tomorrow, 3, 90.0, 90.0), counts=False, ahead=True),
        Item(today, bar(today, 2, 98.0, 101.0)),  # late, and not too late
        *(Item(today, bar(today, n, 99.0, 100.0)) for n in (4, 5)),
        *(Item(today, bar(today, n, 49.0, 50.0 + n, "B")) for n in (4, 5)),
        Item(today, bar(today, 7, 97.0, 102.0)),
        Item(today, bar(today, 8, 97.0, 100.5)),
        Item(today, bar(today, 1, 40.0, 60.0, "B")),  # too late for its window and its bar
        Item(today, bar(today, 6, 98.5, 100.5)),
        *(Item(today, bar(today, n, 99.0, 100.0 + n)) for n in (9, 10, 11)),
        Item(today, bar(today, 3, 45.0, 55.0, "B")),
        Item(today, bar(today, 12, 90.0, 100.0)),
        Item(today, None),
        *(Item(tomorrow, bar(tomorrow, n, 99.0 - n, 100.0 + n)) for n in (0, 1, 2, 3)),
        Item(tomorrow, bar(today, 5, 1.0, 1.0), counts=False),
        *(Item(tomorrow, bar(tomorrow, n, 99.0, 104.0 + n)) for n in (5, 6, 8)),
        Item(tomorrow, None),
    ]
    cases = with_rows(cases_of(market, WINDOWS, RULES, {}, config), items)
    lateness_ns = 90 * SECOND_NS
    return Fed(
        *(0, "by hand", cases, config),
        windowless=False,
        items=tuple(items),
        lateness_ns=lateness_ns,
    )


class HandProcess(FedProcess):
    world: HandWorld

    def bring(self) -> bool:
        world = self.world
        if world.lives == 1 and self.at is not None and self.at == world.kill_at:
            world.after -= 1
            if world.after < 0:
                self.life.kill()
        return super().bring()


class HandWorld(FedWorld):
    """A run of days by hand whose first process is killed before it brings an item.

    Parameters
    ----------
    kill_at : int
        Which one; 0: none.
    snapshots : bool
        Whether there is one at each commit, and rows come while steps are under way; else each row
        comes when all is done with the one before.
    """

    scans_fail = frozenset()

    def __init__(self, kill_at: int = 0, *, snapshots: bool = True) -> None:
        super().__init__(0, CALM)
        self.kill_at, self.after = kill_at, kill_at % 3
        self.bringing = Feeding(
            marks=kill_at % 2 == 0,
            haste=0.1 if snapshots else 0.0,
            piece_max=1,
            rows_max=100_000,
            again=0.0,
            silent=0.0,
        )
        # What the seed draws is none of these runs.
        self.random = random.Random(0)
        self.whole_days, self.round_trips, self.order, self.delayed = False, False, None, None
        self.config = config_from(
            self.config, overrides={"snapshot.every": "1ms" if snapshots else "1h"}
        )

    def scans(self, number: int) -> list[dict[str, Any]]:
        return [{"name": "of three", "type": "drawn", "at": ["open+4m"], "then": "report"}]

    def scenario_of(self, number: int, without: Collection[str]) -> Fed:
        return fed_by_hand()

    def process(self, **how: Any) -> Process:
        return HandProcess(self, **how)


EARLY = (6, 15, 18)
"""Items before which a kill shows most."""


def killed_everywhere(world: type[HandWorld] = HandWorld) -> Iterator[HandWorld]:
    """Runs that are killed before an item, each at another one; the first is not."""
    others = (n for n in range(len(fed_by_hand().items)) if n not in EARLY)
    for kill_at in (0, *EARLY, *others):
        yield world(kill_at)
        yield world(kill_at, snapshots=False)


class RuledWorld(HandWorld):
    """The days by hand, where breaks have rules to pass."""

    def scenario_of(self, number: int, without: Collection[str]) -> Fed:
        return fed_by_hand(ruled=True)


class ScannedWorld(HandWorld):
    """A day on which a row comes behind a later one that belongs before a scan, and breaks a level;
    who is reported is nobody before the scan, and everybody from then on."""

    def __init__(self) -> None:
        super().__init__()
        self.scan: Any = lambda view: (
            [] if view.before_open else [Found(name, 1.0, "") for name in view.symbols]
        )

    def scans(self, number: int) -> list[dict[str, Any]]:
        return [{"name": "all", "type": "drawn", "at": ["pre", "open+4m"], "then": "follow"}]

    def scenario_of(self, number: int, without: Collection[str]) -> Fed:
        day = DAYS[0]
        market = Market((day,), MINUTE_NS, "bars", ("A", "B"))
        rules = Rules(retest_bars=8)
        clock = {"clock": {"time": "feed", "lateness": "150s"}}
        config = configured(market, WINDOWS[:1], rules, {}, clock)
        items = [
            *(Item(day, bar(day, n, 99.0, 100.0)) for n in (0, 1, 2)),
            Item(day, bar(day, 4, 50.0, 50.0, "B")),
            Item(day, bar(day, 3, 99.0, 101.0)),  # breaks, and is known with B's
            Item(day, bar(day, 7, 50.0, 50.0, "B")),  # now the scan is run
            Item(day, bar(day, 5, 99.0, 99.5)),  # comes back to the level
            Item(day, None),
        ]
        cases = with_rows(cases_of(market, WINDOWS[:1], rules, {}, config), items)
        return Fed(
            *(0, "by hand", cases, config),
            windowless=False,
            items=tuple(items),
            lateness_ns=150 * SECOND_NS,
        )


# By the host's clock


def wall_by_hand() -> WallDays:
    """A pause, a clock that is set back, and a silence, each about a boundary that no row crosses;
    and a calendar that changes before the day rolls."""
    market = Market(DAYS, MINUTE_NS, "ticks", ("A", "B"))
    more = {
        "clock": {"time": "wall", "lateness": "2s", "skew_max": "5s"},
        "day": {
            "timeout_seconds": 90,
            "post_market_roll_delay": 1,
            "boundary_check_interval": 3600,  # else that mends a timer that is not set
        },
        "prefetch": {"timeout_seconds": 5},
    }
    config = configured(market, WINDOWS, RULES, {}, more)
    today, tomorrow = DAYS
    coming = [
        *((of, tick(of, n / 4, 100.0 + n % 3)) for of in DAYS for n in range(8)),
        *((today, tick(today, n / 4, 103.0 + n)) for n in range(15, 25)),
        *((today, tick(today, n / 4, 99.0)) for n in range(44, 55)),
        *((tomorrow, tick(tomorrow, n / 4, 99.0 - n)) for n in range(8, 25)),
    ]
    items = [Coming((row[1] + SECOND_NS // 10) / 1e9, row) for _, row in coming]
    # What is not newer ends no silence: there is one from 09:06 to 09:11.
    items += [Coming(at(today, n) / 1e9, tick(today, 5.5, 101.0, "B")) for n in (6.6, 7.2)]
    acts = (
        Act(at(today, 2.5) / 1e9, "pause", 5.0),
        Act(at(today, 4.2) / 1e9, "jump", -80.0),
        Act(at(today, 5.2) / 1e9, "jump", 80.0),
        Act(at(today, 13.5) / 1e9, "hours"),
    )
    (hours,) = tomorrow.segments
    early = replace(tomorrow, segments=(Segment(hours.open_ns, hours.open_ns + 9 * MINUTE_NS),))
    return WallDays(
        *(0, "by hand", cases_of(market, WINDOWS, RULES, {}, config), config),
        windowless=False,
        items=tuple(sorted(items, key=lambda item: item.at)),
        acts=acts,
        begins=today.open_ns / 1e9 - 60,
        lateness_ns=2 * SECOND_NS,
        skew_ns=5 * SECOND_NS,
        timeout_ns=90 * SECOND_NS,
        other_hours=(today, early),
    )


class HandWall(WallWorld):
    """The days by hand, without any fault.

    Parameters
    ----------
    folder : path
        For their recording.
    """

    scans_fail = frozenset()

    def __init__(self, folder: Path) -> None:
        super().__init__(0, CALM)
        self.folder = folder
        self.bringing = Bringing(1, 0.0, marks=True)
        self.whole_days, self.round_trips, self.order, self.delayed = False, False, None, None

    def scans(self, number: int) -> list[dict[str, Any]]:
        return []

    def scenario_of(self, number: int, without: Collection[str]) -> WallDays:  # type: ignore[override]
        return wall_by_hand()
