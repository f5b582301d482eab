"""A configuration that uses all at once over a year of indices, and what it has to answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from conditions import Conditions, Known
from reference import Row, Rules, Window, answer

from openbell.market.calendar import open_calendar
from openbell.market.days import MINUTE_NS, TradingDay

ZONE = "Asia/Kolkata"
INDICES = ("NIFTY", "BANKNIFTY")
PRICES = ["open", "high", "low", "close"]
AHEAD = 45
"""Days before its expiry from which on a contract is traded."""
AVERAGED, RANGED = 3, 2
"""Trading days of the average volume, and of the true range."""


def months(rows: pd.DataFrame) -> list[date]:
    """The last Thursday of each month of the rows, and of the one after."""
    last = rows.ts.dt.tz_convert(ZONE).max()
    first = rows.ts.dt.tz_convert(ZONE).min()
    thursdays = pd.date_range(
        first.normalize(), (last + pd.offsets.MonthEnd(2)).normalize(), freq="W-THU"
    )
    by_month = pd.Series(thursdays, thursdays).groupby(thursdays.strftime("%Y-%m")).last()
    return [moment.date() for moment in by_month]


def contract(index: str, expiry: date) -> str:
    return f"{index}{expiry:%y%b}FUT".upper()


def with_futures(index: pd.DataFrame) -> pd.DataFrame:
    """The indices' rows, and those of their futures, which have volumes and lack some minutes."""
    rng = np.random.default_rng(15)
    dates = index.ts.dt.tz_convert(ZONE).dt.date
    parts = [index]
    for expiry in months(index):
        begins = (pd.Timestamp(expiry) - pd.Timedelta(days=AHEAD)).date()
        of_days = index[(dates <= expiry) & (dates > begins)]
        for name in INDICES:
            future = of_days[of_days.symbol == name].assign(symbol=contract(name, expiry))
            future[PRICES] = (future[PRICES] * 1.002).round(1)
            future["volume"] = np.floor(rng.lognormal(6, 0.8, len(future)))
            parts.append(future[rng.random(len(future)) > 0.01])
    return pd.concat(parts).sort_values(["ts", "symbol"], kind="stable", ignore_index=True)


def instruments(index: pd.DataFrame) -> str:
    lines = ["underlying,expiry,symbol,tick_size,lot,segment,exchange"]
    for name in INDICES:
        lines.append(f",,{name},0.05,,index,NSE")
        lines += [
            f"{name},{expiry},{contract(name, expiry)},0.1,75,futures,NFO"
            for expiry in months(index)
        ]
    return "\n".join(lines) + "\n"


SESSIONS: list[dict[str, Any]] = [
    {
        "name": "Opening",
        "start": "09:15",
        "end": "09:29",
        "breakout": {"direction": "first_bar", "valid_until": "11:30"},
    },
    {
        "name": "Middle",
        "start": "10:30",
        "end": "10:35",
        "breakout": {
            "confirm": "touch",
            "closed_beyond": True,
            "rearm": {"inside_bars": 3, "max": 2},
            "volume": {"times": 0.8, "of": "day", "symbol": "companion"},
            "min_range": "none",
            "max_range": {"times": 0.5, "of": "atr"},
        },
    },
    {
        "name": "Lunch",
        "start": "11:50",
        "end": "12:20",
        "breakout": {"valid_until": "90m", "volume": "none", "buffer": "0.01%"},
    },
]

CONFIG: dict[str, Any] = {
    "name": "all",
    "exchange": "XNSE",
    "companions": {
        "NIFTY": {"future": "NIFTY", "roll": "1d"},
        "BANKNIFTY": {"future": "BANKNIFTY", "roll": "expiry"},
    },
    "sessions": SESSIONS,
    "breakout": {
        "buffer": "2 ticks",
        "retest": {"within_bars": 20, "tolerance": "0.01%"},
        "on_incomplete": "block",
        "volume": {
            "times": 1.1,
            "of": "minute",
            "period": f"{AVERAGED}d",
            "symbol": "companion",
        },
        "min_range": {"times": 0.1, "of": "atr"},
    },
    "history": {
        "indicators": {"atr": {"type": "average_true_range", "period": f"{RANGED}d"}},
    },
    "scanners": [
        {"name": "gaps", "type": "gap", "at": ["open+1m"], "options": {"min_score": 0.3}},
        {
            "name": "moving",
            "type": "movers",
            "at": ["10:45"],
            "then": "follow",
            "options": {"since": "open", "min_score": 0.3},
        },
    ],
}

TICK = 0.05
RETEST: Mapping[str, Any] = {
    "retest_bars": 20,
    "retest_tolerance": 0.01,
    "retest_unit": "percent",
}
TWO_TICKS: Mapping[str, Any] = {"buffer": 2 * TICK, "tick": TICK, **RETEST}
RULES = {
    "Opening": Rules(
        **TWO_TICKS,
        conditions=Conditions(
            volume_times=1.1,
            volume_companion=True,
            min_range=("times", 0.1),
            valid_until="11:30",
            on_incomplete="block",
            direction="first_bar",
        ),
    ),
    "Middle": Rules(
        **TWO_TICKS,
        confirm="touch",
        closed_beyond=True,
        inside_bars=3,
        rearms_max=2,
        conditions=Conditions(
            volume_times=0.8,
            volume_of="day",
            volume_companion=True,
            max_range=("times", 0.5),
            on_incomplete="block",
        ),
    ),
    "Lunch": Rules(
        **RETEST,
        buffer=0.01,
        buffer_unit="percent",
        tick=TICK,
        conditions=Conditions(
            min_range=("times", 0.1),
            valid_until=90 * MINUTE_NS,
            on_incomplete="block",
        ),
    ),
}
"""The same, as the plain reference is told it."""

Fact = tuple[Any, ...]


@dataclass(frozen=True)
class Change:
    """A symbol that comes or goes at an instant."""

    at_ns: int
    what: Literal["add", "remove"]
    symbol: str


@dataclass(eq=False)
class Plain:
    """What each day has to give, one rule after another, from a table of rows."""

    rows: pd.DataFrame
    expiries: list[date] = field(default_factory=list)

    def __post_init__(self) -> None:
        local = self.rows.ts.dt.tz_convert(ZONE)
        self.first, self.last = local.min().date(), local.max().date()
        self.by_day = dict(iter(self.rows.groupby(local.dt.date)))
        self.days = {day.date: day for day in open_calendar("XNSE", self.first, self.last).days()}
        self.longer = [
            d.date
            for d in open_calendar(
                "XNSE",
                self.first,
                date(self.last.year + (self.last.month > 9), (self.last.month + 2) % 12 + 1, 1),
            ).days()
        ]
        self.inside = {of: self.hours(day) for of, day in self.days.items()}

    def hours(self, day: TradingDay) -> pd.DataFrame:
        """The rows of a day inside its hours."""
        rows = self.by_day.get(day.date, self.rows.iloc[:0])
        ns = rows.ts.astype("int64")
        kept = np.zeros(len(rows), bool)
        for segment in day.segments:
            kept |= ((ns >= segment.open_ns) & (ns < segment.close_ns)).to_numpy()
        return rows[kept]

    def future(self, index: str, on: date) -> str:
        """The contract of a day: NIFTY's until the day before its expiry, BANKNIFTY's through it."""
        for expiry in self.expiries:
            left = sum(on < later <= expiry for later in self.longer)
            if expiry >= on and left >= (1 if index == "NIFTY" else 0):
                return contract(index, expiry)
        raise AssertionError("the file has a contract for each day")

    def before(self, on: date, count: int) -> list[pd.DataFrame]:
        """The regular days before one."""
        earlier = [of for of in self.days if of < on and not self.is_special(of)]
        return [self.inside[of] for of in earlier[-count:]]

    def is_special(self, on: date) -> bool:
        """An evening of an hour."""
        return sum(s.close_ns - s.open_ns for s in self.days[on].segments) < 120 * MINUTE_NS

    def true_range(self, symbol: str, on: date) -> float | None:
        past = [rows[rows.symbol == symbol] for rows in self.before(on, RANGED + 1)]
        if len(past) <= RANGED or any(rows.empty for rows in past):
            return None
        ranges = []
        for yesterday, today in pairwise(past):
            close = yesterday.close.iloc[-1]
            high, low = today.high.max(), today.low.min()
            ranges.append(max(high - low, abs(high - close), abs(low - close)))
        return float(np.mean(ranges))

    def averages(self, symbol: str, on: date) -> dict[tuple[str, int], float]:
        """Each minute's average volume over the days before, if each of them has the symbol."""
        past = [rows[rows.symbol == symbol] for rows in self.before(on, AVERAGED)]
        if len(past) < AVERAGED or any(rows.empty for rows in past):
            return {}
        walls = pd.concat(past)
        means = walls.groupby(walls.ts.dt.tz_convert(ZONE).dt.strftime("%H:%M")).volume.mean()
        minutes = [
            minute
            for segment in self.days[on].segments
            for minute in range(segment.open_ns, segment.close_ns, MINUTE_NS)
        ]
        at = pd.DatetimeIndex(pd.to_datetime(minutes, utc=True)).tz_convert(ZONE).strftime("%H:%M")
        return {
            (symbol, minute): float(means[wall])
            for minute, wall in zip(minutes, at, strict=True)
            if wall in means
        }

    @cache  # noqa: B019  (a test's, as long as it runs)
    def unscanned(self, on: date) -> list[tuple[int, str, Fact]]:
        """When each signal is known, of whom it is, and the signal: if nothing is left out."""
        day, rows = self.days[on], self.inside[on]
        pairs = {name: self.future(name, on) for name in INDICES}
        symbols = sorted({*INDICES, *pairs.values()})
        rows = rows[rows.symbol.isin(symbols)]
        tuples: Sequence[Row] = list(
            zip(
                rows.symbol,
                rows.ts.astype("int64"),
                *(rows[name] for name in (*PRICES, "volume")),
                strict=True,
            )
        )
        ranges = {name: self.true_range(name, on) for name in INDICES}
        averages: dict[tuple[str, int], float] = {}
        for name in pairs.values():
            averages |= self.averages(name, on)
        known = Known(averages, {k: v for k, v in ranges.items() if v is not None})
        found: list[tuple[int, str, Fact]] = []
        for keys in SESSIONS:
            window = Window(keys["name"], keys["start"], keys["end"])
            given = answer(
                day,
                MINUTE_NS,
                tuples,
                symbols,
                (window,),
                RULES[window.name],
                pairs,
                (),
                INDICES,
                known,
            )
            found += [(s["known_at"], s["symbol"], fact(on, s)) for s in given["signals"]]
        return found

    def moving(self, on: date, symbols: Sequence[str]) -> set[str] | None:
        """Those that at 10:45 are 0.3 % or more away from where they opened; None: no scan."""
        at = self.days[on].instant(pd.Timestamp("10:45").time())
        if not any(s.open_ns < at < s.close_ns for s in self.days[on].segments):
            return None
        rows = self.inside[on]
        rows = rows[rows.ts.astype("int64") < at]
        found = set()
        for symbol in symbols:
            of = rows[rows.symbol == symbol]
            if len(of) and abs(of.close.iloc[-1] / of.open.iloc[0] - 1) * 100 >= 0.3:
                found.add(symbol)
        return found

    def signals(
        self, symbols: Sequence[str], changes: Sequence[Change] = (), since: date = date.min
    ) -> Iterator[Fact]:
        """All signals of a run, with whether each is backfilled."""
        watched = set(symbols)
        for on, day in self.days.items():
            if on < since:
                continue
            opens, closes = day.segments[0].open_ns, day.segments[-1].close_ns
            of_day = [change for change in changes if opens <= change.at_ns < closes]
            scanned = day.instant(pd.Timestamp("10:45").time())
            at_scan = after(watched, [c for c in of_day if c.at_ns < scanned])
            follows = self.moving(on, sorted(at_scan))
            here = after(watched, of_day)
            known_of: dict[str, int] = {}
            for known_at, symbol, signal in sorted(self.unscanned(on), key=lambda of: of[0]):
                mine = [change for change in of_day if change.symbol == symbol]
                came = [change for change in mine if change.what == "add"]
                gone = [change for change in mine if change.what == "remove"]
                if not came and symbol not in watched:
                    continue
                if gone and known_at > gone[-1].at_ns and symbol not in here:
                    continue
                known_of[signal[0]] = known_at
                # What follows a breakout is told where that was.
                begun = known_of[signal[0].removesuffix(f":{signal[2]}")]
                followed = follows is None or begun <= scanned or symbol in follows
                was_here = symbol in after(watched, [c for c in of_day if c.at_ns < known_at])
                told = was_here and followed  # and is not told once more
                if came or followed:
                    yield (*signal, bool(came) and known_at <= came[-1].at_ns and not told)
            watched = here


def after(watched: set[str], changes: Sequence[Change]) -> set[str]:
    left = set(watched)
    for change in changes:
        (left.add if change.what == "add" else left.discard)(change.symbol)
    return left


def fact(on: date, signal: Mapping[str, Any]) -> Fact:
    """What is compared of a signal, by the reference or from a result's table."""
    beside = signal["companion"]
    return (
        id_of(on, signal),
        signal["session"],
        signal["kind"],
        ns(signal["ts"]),
        ns(signal["known_at"]),
        signal["price"],
        signal["level"],
        beside and (beside["symbol"], beside["price"], ns(beside["ts"])),
        signal["gap"],
        signal["ambiguous"],
        signal["complete"],
        tuple(signal["rules"] or ()),
        ns(signal["touched_at"]),
        ns(signal["closed_beyond_at"]),
    )


def id_of(on: date, signal: Mapping[str, Any]) -> str:
    if "id" in signal:
        return str(signal["id"])
    of = ("XNSE", on, signal["session"], signal["symbol"], signal["side"], signal["number"])
    follows = () if signal["kind"] == "breakout" else (signal["kind"],)
    return ":".join(map(str, (*of, *follows)))


def ns(moment: Any) -> int | None:
    return None if moment is None else pd.Timestamp(moment).value


def written(folder: Path, index: pd.DataFrame) -> dict[str, Any]:
    """The configuration, with the files that it names in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "minutes").mkdir()
    with_futures(index).to_parquet(folder / "minutes" / "rows.parquet")
    (folder / "instruments.csv").write_text(instruments(index))
    return {
        **CONFIG,
        "instruments": str(folder / "instruments.csv"),
        "data": {"path": str(folder / "minutes")},
    }
