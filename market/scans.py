"""Scans: functions that look at a frozen view of the day so far and name symbols, with a score.

A scan is configured (`scanners:`), and its function is built in, a plug-in's or the program's own:

    @scanner(lookback=Lookback("20d"), options={"min_gap": 2.0, "top": 10})
    def gappers(view: ScanView) -> list[Found]: ...

Everything in a view is read only; what a function changes of its own copies reaches nobody.
"""

from __future__ import annotations

import dataclasses
import math
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Prices
from openbell.market.days import MINUTE_NS, SECOND_NS, MarketTime, TradingDay
from openbell.market.history import History, Need
from openbell.market.indicators import IndicatorValues
from openbell.market.results import Counts, Levels
from openbell.market.windows import resolve

__all__ = [
    "CatchUp",
    "Found",
    "Lookback",
    "ScanFunction",
    "ScanSpec",
    "ScanView",
    "Then",
    "Worker",
    "caught_up",
    "chosen",
    "found_by",
    "lookbacks_of",
    "narrowed",
    "options_of",
    "scan_times",
    "scanner",
    "summed",
]

Then = Literal["report", "follow", "add"]
"""What follows from a scan: nothing; breakouts are reported of what it found alone; symbols that the
run does not have are added."""

CatchUp = Literal["all", "last", "none"]

Worker = Literal["thread", "process"]

BEFORE_OPEN = "pre"
"""The time of a scan that runs when its day is prepared, before it opens."""

_PERIOD = re.compile(r"[1-9][0-9]{0,3}[dw]")
_EVERY = re.compile(r"every (\d+)m")


@dataclass(frozen=True, slots=True)
class ScanSpec:
    """A scan as configured."""

    name: str
    type: str
    """A built-in one, a plug-in's name, or one of the program's own."""
    at: tuple[str, ...] = (BEFORE_OPEN,)
    """`pre`, `10:30`, `every 15m`, `open+5m`, `close-30m`."""
    then: Then = "report"
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_seconds: float = 10.0
    catch_up: CatchUp = "all"
    """Which of its times it runs for that are past when a run comes to a day under way."""
    worker: Worker = "thread"
    """What it runs on: a thread of the run, or a process of its own."""

    @property
    def key(self) -> str:
        """Where it stands in a configuration, for people."""
        return f'scanners "{self.name}"'

    @property
    def before_open(self) -> bool:
        """Whether it runs before the open, too or alone."""
        return BEFORE_OPEN in self.at

    @property
    def within(self) -> bool:
        """Whether it runs inside the day."""
        return any(text != BEFORE_OPEN for text in self.at)


@dataclass(frozen=True, slots=True)
class Lookback:
    """Days before today that a scan has to see; only what is asked for is read."""

    period: str
    """`10d`, `4w`: see `openbell.market.history`."""
    rows: bool = False
    """Whether the days' bars are needed too, beside each day's open, high, low, close and volume."""
    include_special: bool = False

    def __post_init__(self) -> None:
        if not _PERIOD.fullmatch(self.period):
            raise ValueError(f'period is "{self.period}"; write e.g. "10d" or "52w"')

    def need(self, key: str) -> Need:
        return Need(key, self.period, rows=self.rows, include_special=self.include_special)


@dataclass(frozen=True, slots=True)
class Found:
    """A symbol that a scan found."""

    symbol: str
    score: float
    """Higher is better; finite."""
    reason: str = ""
    """For people."""


V = TypeVar("V")


@dataclass(frozen=True, eq=False)
class ScanView:
    """A trading day as it is known at an instant; nothing in it can be written to.

    Arrays over symbols (s,) stand in the order of `symbols`; NaN is null.
    """

    scan: str
    day: TradingDay
    at_ns: MarketTime
    """The instant, ns UTC; before the open, the open."""
    before_open: bool
    symbols: tuple[str, ...]
    """Those that may be found: whose breakouts can be reported. Companions stand in `companions`."""
    bars: BarBlock
    """The day's bars so far, (m, s); of ticks, and of bars shorter than a minute, minutes. A bar that
    starts at this very instant belongs to afterwards. Before the open m is 0."""
    levels: Mapping[str, Levels]
    """Of the sessions that are over, by name."""
    history: History
    """The days before that some scan or indicator has asked for, oldest first."""
    indicators: Mapping[str, IndicatorValues]
    """The day's, by name."""
    options: Mapping[str, Any]
    """As configured, with the function's defaults."""
    companion_of: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Symbol → the companion that goes with it this day."""
    whole: ScanView | None = None
    """The same of all symbols that the day has, with those that are there as companions alone; None: it
    has no such."""

    @cached_property
    def companions(self) -> ScanView:
        """The day's companions as a view of their own, sorted: their bars, prices, levels."""
        every = self.whole or self
        names = set(self.companion_of.values()) | (set(every.symbols) - set(self.symbols))
        theirs = narrowed(every, tuple(name for name in every.symbols if name in names))
        return dataclasses.replace(theirs, companion_of=MappingProxyType({}), whole=None)

    def of_companions(self, column: Prices) -> Prices:
        """A column of `companions` over this view's symbols, (s,) or (m, s): what each one's companion
        has, NaN where there is none."""
        places = _places_of(self.companions.symbols, map(self.companion_of.get, self.symbols))
        return _placed(column, places)

    @property
    def at(self) -> datetime:
        """The instant, in the exchange's time zone."""
        return datetime.fromtimestamp(self.at_ns // SECOND_NS, ZoneInfo(self.day.tz))

    @cached_property
    def open(self) -> Prices:
        """(s,) the day's first price."""
        return self._ends[0]

    @cached_property
    def last(self) -> Prices:
        """(s,) the last price so far; before the open, the last close of the history."""
        last = self._ends[1]
        return np.where(np.isnan(last), self.previous_close, last) if self.before_open else last

    @cached_property
    def high(self) -> Prices:
        """(s,) the day's highest price so far."""
        return _reduced(np.fmax, self.bars.high)

    @cached_property
    def low(self) -> Prices:
        """(s,) the day's lowest price so far."""
        return _reduced(np.fmin, self.bars.low)

    @cached_property
    def volume(self) -> Prices:
        """(s,) units traded so far; 0 where there was no bar."""
        return summed(np.where(self.bars.present, self.bars.volume, 0.0))

    @cached_property
    def previous_close(self) -> Prices:
        """(s,) each symbol's last close in the days of `history`."""
        last = np.full(len(self.symbols), np.nan)
        for past in self.history.days:
            close = self.of_past(past.close)
            last = np.where(np.isnan(close), last, close)
        return last

    @cached_property
    def actual(self) -> Counts:
        """(s,) minutes so far with a row."""
        minutes = -(-(self.bars.ends - self.bars.ts) // MINUTE_NS)
        return np.asarray(minutes @ self.bars.present, np.int64)

    @cached_property
    def expected(self) -> int:
        """Minutes of the day's hours so far: what `actual` is held against for quality."""
        spans = (min(s.close_ns, self.at_ns) - s.open_ns for s in self.day.plain.segments)
        return sum(-(-span // MINUTE_NS) for span in spans if span > 0)

    def of_past(self, column: Prices) -> Prices:
        """A column of a day of the history, or of its bars, over this view's symbols: (s,), (m, s)."""
        if self._places is None:
            return column
        return _placed(column, self._places)

    @cached_property
    def _places(self) -> NDArray[np.intp] | None:
        if self.history.symbols == self.symbols:
            return None
        return _places_of(self.history.symbols, self.symbols)

    @cached_property
    def _ends(self) -> tuple[Prices, Prices]:
        s, m = len(self.symbols), len(self.bars)
        if m == 0:
            none = np.full(s, np.nan)
            return none, none
        present, who = self.bars.present, np.arange(s)
        first = self.bars.open[present.argmax(axis=0), who]
        last = self.bars.close[m - 1 - present[::-1].argmax(axis=0), who]
        return first, last


def narrowed(view: ScanView, symbols: tuple[str, ...]) -> ScanView:
    """A view of some of its symbols; what it looks back at stays, as `of_past` goes by names.

    Parameters
    ----------
    symbols : tuple of str
        Some of the view's, in its order.
    """
    if symbols == view.symbols:
        return view
    places, bars = _places_of(view.symbols, symbols), view.bars
    columns = {
        name: _taken(getattr(bars, name), places)
        for name in ("open", "high", "low", "close", "volume", "present")
    }
    return dataclasses.replace(
        view,
        symbols=symbols,
        bars=BarBlock(bars.day, symbols, bars.interval_ns, bars.ts, bars.ends, **columns),
        levels=_Narrow(view.levels, symbols, _levels_of),
        indicators=_Narrow(view.indicators, symbols, _values_of),
        companion_of=MappingProxyType(
            {of: name for of, name in view.companion_of.items() if of in set(symbols)}
        ),
        whole=view.whole or view,
    )


class _Narrow(Mapping[str, V]):
    """What a mapping has, of some symbols; each made when somebody looks at it."""

    def __init__(
        self,
        every: Mapping[str, V],
        symbols: tuple[str, ...],
        narrow: Callable[[V, tuple[str, ...]], V],
    ) -> None:
        self._every, self._symbols, self._narrow = every, symbols, narrow
        self._known: dict[str, V] = {}

    def __getitem__(self, name: str) -> V:
        if name not in self._known:
            self._known[name] = self._narrow(self._every[name], self._symbols)
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)


def _levels_of(levels: Levels, symbols: tuple[str, ...]) -> Levels:
    places = _places_of(levels.symbols, symbols)
    fields = {of.name: getattr(levels, of.name) for of in dataclasses.fields(levels)}
    taken = {n: _taken(of, places) for n, of in fields.items() if isinstance(of, np.ndarray)}
    return dataclasses.replace(levels, symbols=symbols, **taken)


def _values_of(values: IndicatorValues, symbols: tuple[str, ...]) -> IndicatorValues:
    kept = tuple(symbol for symbol in values.symbols if symbol in set(symbols))
    return IndicatorValues(
        values.name,
        kept,
        _taken(values.values, _places_of(values.symbols, kept)),
        {symbol: why for symbol, why in values.reasons.items() if symbol in kept},
    )


def _places_of(among: Sequence[str], symbols: Iterable[str | None]) -> NDArray[np.intp]:
    """Where each stands; -1: it doesn't."""
    place: dict[str | None, int] = {symbol: n for n, symbol in enumerate(among)}
    return np.array([place.get(symbol, -1) for symbol in symbols], np.intp)


def _placed(column: Prices, places: NDArray[np.intp] | None) -> Prices:
    if places is None:
        return column
    if not column.shape[-1]:
        return np.full((*column.shape[:-1], len(places)), np.nan)
    return np.where(places >= 0, column[..., np.maximum(places, 0)], np.nan)


def _taken(column: NDArray[Any], places: NDArray[np.intp]) -> NDArray[Any]:
    """Row after row in memory, as sums over a day must not depend on what was left out."""
    taken = np.take(column, places, axis=-1)
    taken.flags.writeable = False
    return taken


ScanFunction = Callable[[ScanView], Iterable[Any]]
"""Gives `Found`s, or tuples (symbol, score) or (symbol, score, reason), in any order."""

F = TypeVar("F", bound=ScanFunction)

Lookbacks = Lookback | Sequence[Lookback] | Callable[[ScanSpec], Sequence[Lookback]]


def scanner(
    *, lookback: Lookbacks = (), options: Mapping[str, Any] | None = None
) -> Callable[[F], F]:
    """Say of a scan's function what it needs.

    Parameters
    ----------
    lookback : Lookback, several, or a function of the scan that gives several
        The days before that it looks at; without, it sees none. A function gets the `ScanSpec`, with
        all its options.
    options : mapping, optional
        All options that it has, with their defaults, or a tuple of the words that one may be, the
        default first; others in a configuration are refused, and so are values of another type. None:
        whatever is written is passed on.
    """

    def mark(function: F) -> F:
        function.lookback = lookback  # type: ignore[attr-defined]
        function.options = None if options is None else dict(options)  # type: ignore[attr-defined]
        return function

    return mark


def options_of(function: ScanFunction, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that a function gets: as configured, over its defaults.

    Raises
    ------
    ValueError
        If there is no such option, or its value is of another type; the text begins with its name.
    """
    known: Mapping[str, Any] | None = getattr(function, "options", None)
    if known is None:
        return MappingProxyType(dict(given))
    for name, value in given.items():
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{name} is unknown; {has}")
        default = known[name]
        if isinstance(default, tuple):
            if value not in default:
                raise ValueError(f"{name} is {value!r}; write {' or '.join(default)}")
            continue
        number = isinstance(default, int | float) and not isinstance(default, bool)
        if number and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise ValueError(f"{name} is {value!r}; write a number")
        if isinstance(default, int) and number and value != int(value):
            raise ValueError(f"{name} is {value!r}; write a whole number")
        if number and not value >= 0:
            raise ValueError(f"{name} is {value!r}; write a number from 0 on")
        if isinstance(default, bool | str) and type(value) is not type(default):
            wanted = "true or false" if isinstance(default, bool) else "text"
            raise ValueError(f"{name} is {value!r}; write {wanted}")
    defaults = {name: of[0] if isinstance(of, tuple) else of for name, of in known.items()}
    return MappingProxyType({**defaults, **given})


def lookbacks_of(function: ScanFunction, spec: ScanSpec) -> tuple[Lookback, ...]:
    """The days before that a scan has to see.

    Parameters
    ----------
    spec : ScanSpec
        With all its options, as `options_of` gives them.

    Raises
    ------
    ValueError
        If the options don't go together.
    """
    asked: Any = getattr(function, "lookback", ())
    if callable(asked):
        asked = asked(spec)
    return (asked,) if isinstance(asked, Lookback) else tuple(asked)


def scan_times(day: TradingDay, spec: ScanSpec) -> tuple[tuple[MarketTime, ...], tuple[str, ...]]:
    """When a scan runs inside a trading day.

    `every 15m` counts from each segment's open.

    Returns
    -------
    instants : tuple of int
        ns UTC, ascending, after the open and before the close.
    outside : tuple of str
        Times of the configuration that lie outside of this day's.
    """
    day = day.plain
    instants: set[int] = set()
    outside: list[str] = []
    for text in spec.at:
        if text == BEFORE_OPEN:
            continue
        if (every := _EVERY.fullmatch(text)) is not None:
            length = int(every[1]) * MINUTE_NS
            spans = (range(of.open_ns + length, of.close_ns, length) for of in day.segments)
            found = {instant for span in spans for instant in span}
            instants |= found
            if not found:
                outside.append(text)
            continue
        instant = resolve(day, text)
        if day.open_ns < instant < day.close_ns:
            instants.add(instant)
        else:
            outside.append(text)
    return tuple(MarketTime(instant) for instant in sorted(instants)), tuple(outside)


def caught_up(
    spec: ScanSpec, instants: Sequence[MarketTime], live_from_ns: MarketTime
) -> tuple[tuple[MarketTime, ...], tuple[MarketTime, ...]]:
    """When a scan runs on a day that a run comes to when it is under way.

    Parameters
    ----------
    instants : sequence of int
        As of `scan_times`.
    live_from_ns : int
        What is past: all up to here, ns UTC.

    Returns
    -------
    runs, left_out : tuple of int
    """
    past = bisect_right(instants, live_from_ns)
    runs = {"all": 0, "last": max(past - 1, 0), "none": past}[spec.catch_up]
    return tuple(instants[runs:]), tuple(instants[:runs])


def chosen(
    view: ScanView, score: Prices, reason: Callable[[int], str], *, volume: Prices | None = None
) -> list[Found]:
    """The best symbols by a score, as the options `top`, `min_score`, `min_price` and `min_volume` say.

    Parameters
    ----------
    score : (s,) float64
        NaN: not found.
    reason : callable
        A symbol's reason, by its place.
    volume : (s,) float64, optional
        What `min_volume` is held against; None: what was traded today.
    """
    options = view.options
    kept = np.isfinite(score)
    if (least := options.get("min_score")) is not None:
        kept &= score >= least
    if price := options.get("min_price"):
        kept &= view.last >= price
    if traded := options.get("min_volume"):
        kept &= (view.volume if volume is None else volume) >= traded
    places = np.flatnonzero(kept)
    order = places[np.argsort(-score[places], kind="stable")]  # of equal scores by name
    if top := options.get("top"):
        order = order[:top]
    return [Found(view.symbols[i], float(score[i]), reason(i)) for i in order.tolist()]


_NUMBERS = (int, float, np.number)


def found_by(given: Any, symbols_max: int) -> tuple[Found, ...]:
    """What a function gave, as it is kept: the best first, each symbol once.

    Raises
    ------
    TypeError, ValueError
        If it is nothing that a scan may give; the text says what.
    """
    if given is None or isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"it returned {_named(given)}; return a list of Found")
    best: dict[str, Found] = {}
    for item in given:
        if isinstance(item, tuple) and 2 <= len(item) <= 3:
            item = Found(*item)
        if not isinstance(item, Found):
            raise TypeError(
                f"it returned {_named(item)} among what it found; return Found(symbol, score, reason)"
            )
        if not isinstance(item.symbol, str) or not item.symbol:
            raise TypeError(f"a symbol is {item.symbol!r}; name it as text")
        if not isinstance(item.reason, str):
            raise TypeError(f"the reason for {item.symbol} is {_named(item.reason)}; write text")
        if isinstance(item.score, bool) or not isinstance(item.score, _NUMBERS):
            raise TypeError(f"the score of {item.symbol} is {_named(item.score)}; give a number")
        for text in (item.symbol, item.reason):
            if not text.isascii() and text.encode(errors="replace").decode() != text:
                raise ValueError(
                    f"{text!r} is no text that can be written; leave lone surrogates out"
                )
        score = float(item.score)
        if not math.isfinite(score):
            raise ValueError(f"the score of {item.symbol} is {score}; give a finite number")
        if item.symbol not in best or score > best[item.symbol].score:
            best[item.symbol] = Found(str(item.symbol), score, item.reason)
        if len(best) > symbols_max:
            raise ValueError(f"it found more than {symbols_max} symbols; keep the best")
    return tuple(sorted(best.values(), key=lambda found: (-found.score, found.symbol)))


def summed(column: Prices) -> Prices:
    """(m, s) summed over m, row after row: a sum must not depend on how many symbols there are."""
    if column.shape[1] > 1 or not len(column):
        total: Prices = np.add.reduce(column, axis=0)
        return total
    # Along the fast axis in memory, numpy would add in pairs.
    last: Prices = np.add.accumulate(column, axis=0)[-1]
    return last


def _named(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


def _reduced(reduce: np.ufunc, column: Prices) -> Prices:
    if len(column) == 0:
        return np.full(column.shape[1], np.nan)
    result: Prices = reduce.reduce(column, axis=0)
    return result
