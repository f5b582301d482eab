"""Values over the trailing days, ready when a day begins: averages, highs, lows, and yours.

An indicator is a function of a `Trailing`, which holds the period's days, that returns one value
a symbol (`granularity: daily`), or one for each bar of today and symbol (`intraday`): 390 × s on
a regular New York day. NaN stands for null. A function of your own is registered by an entry point
or passed by the program, see `openbell.adapters.indicators`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openbell.errors import OpenbellError, RunError
from openbell.market.bars import Mask, Prices
from openbell.market.days import TradingDay, wall_times
from openbell.market.history import History, HistoryDay, Need

__all__ = [
    "BUILT_IN",
    "Field",
    "Indicator",
    "IndicatorSpec",
    "IndicatorValues",
    "Trailing",
    "average_true_range",
    "indicator_values",
    "trailing_average",
    "trailing_max",
    "trailing_min",
]

Field = Literal["open", "high", "low", "close", "volume"]


@dataclass(frozen=True, slots=True)
class IndicatorSpec:
    """An indicator as configured."""

    name: str
    type: str
    """`trailing_average`, `trailing_max`, `trailing_min`, `average_true_range`, or a plug-in's name.
    """
    period: str
    """`10d`, `4w`: see `openbell.market.history`."""
    granularity: Literal["daily", "intraday"] = "daily"
    field: Field = "close"
    include_special: bool = False
    symbols: tuple[str, ...] | None = None
    """None: all."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    asked_by: str = ""
    """The key that needs it, where it is no indicator of `history.indicators`."""

    @property
    def key(self) -> str:
        """Where it stands in a configuration."""
        return self.asked_by or f"history.indicators.{self.name}"

    @property
    def days_before(self) -> int:
        """Days before the period that it looks at too."""
        return DAYS_BEFORE.get(self.type, 0)

    @property
    def need(self) -> Need:
        """What has to be at hand for it."""
        return Need(
            key=self.key,
            period=self.period,
            rows=self.granularity == "intraday",
            symbols=None if self.symbols is None else frozenset(self.symbols),
            include_special=self.include_special,
            days_before=self.days_before,
        )


@dataclass(frozen=True, eq=False)
class IndicatorValues:
    """One indicator's values for one day."""

    name: str
    symbols: tuple[str, ...]
    values: Prices
    """(s,), or (m, s) over the bars of the day; NaN is null."""
    reasons: Mapping[str, str]
    """Symbol → why all its values are null."""


@dataclass(frozen=True, eq=False)
class Trailing:
    """What an indicator is computed from: all the days of its period, oldest first."""

    spec: IndicatorSpec
    today: TradingDay
    symbols: tuple[str, ...]
    """The symbols (s,) that it is computed for; some may lack days."""
    slot_ns: int
    """Length of today's bars, a minute for ticks."""
    days: tuple[TradingDay, ...]
    """(d,) at least one; for `average_true_range` the day before the period is the first."""
    _history: tuple[HistoryDay, ...]
    _columns: NDArray[np.intp] | slice

    def values(self) -> Prices:
        """The configured field: (d, s) of day values, or (d, m, s) if `intraday`; a copy."""
        if self.spec.granularity == "daily":
            return self.daily(self.spec.field)
        return self.intraday(self.spec.field)

    def daily(self, field: Field) -> Prices:
        """(d, s): the field of each day's bar (`high`: the day's highest), NaN where none."""
        return np.stack([getattr(day, field)[self._columns] for day in self._history])

    def intraday(self, field: Field) -> Prices:
        """(d, m, s): the field of the bars at the wall times of today's, NaN where none.

        m counts the bars of today; a bar that a day before lacks (an early close, a gap) is NaN,
        and one that today lacks is left out. Only for `granularity: intraday`.
        """
        starts, _ = self.today.grid(self.slot_ns)
        walls = wall_times(self.today, starts)
        aligned = np.full((len(self.days), len(walls), len(self.symbols)), np.nan)
        for values, day in zip(aligned, self._history, strict=True):
            if day.rows is None:
                raise ValueError("bars of past days are there for granularity: intraday only")
            column = getattr(day.rows, field)[:, self._columns]
            own = wall_times(day.day, day.rows.ts)
            if np.array_equal(own, walls):
                values[:] = column
            else:
                _, here, there = np.intersect1d(walls, own, True, return_indices=True)
                values[here] = column[there]
        return aligned


Indicator = Callable[[Trailing], Prices]
"""`(s,)` for `granularity: daily`, `(m, s)` for `intraday`; NaN is null."""


def trailing_average(trailing: Trailing) -> Prices:
    """Mean over the days, of each symbol or each bar of the day; a missing bar is left out."""
    values = trailing.values()
    there = ~np.isnan(values)
    values[~there] = 0.0
    # Day after day: numpy's sum adds in pairs where it can, which would make the last digits of
    # a symbol depend on how many others there are.
    total = values[0]
    for day in values[1:]:
        total += day
    count = there.sum(axis=0)
    average: Prices = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return average


def trailing_max(trailing: Trailing) -> Prices:
    """Highest value over the days, of each symbol or each bar of the day."""
    highest: Prices = np.fmax.reduce(trailing.values(), axis=0)
    return highest


def trailing_min(trailing: Trailing) -> Prices:
    """Lowest value over the days, of each symbol or each bar of the day."""
    lowest: Prices = np.fmin.reduce(trailing.values(), axis=0)
    return lowest


def average_true_range(trailing: Trailing) -> Prices:
    """Mean true range of the period's days: of each the greatest of high − low, and how far its high
    and its low are from the close of the day before.

    A plain mean, Wilder's first value: his smoothing goes on from it without end, so that the result
    would depend on where one began to count.

    References
    ----------
    J. W. Wilder, *New Concepts in Technical Trading Systems*, Trend Research, 1978.
    """
    high, low = trailing.daily("high")[1:], trailing.daily("low")[1:]
    before = trailing.daily("close")[:-1]
    if not len(before):
        return np.full(len(trailing.symbols), np.nan)
    ranges = np.fmax(high, before) - np.fmin(low, before)
    # Day after day, as in trailing_average.
    mean: Prices = np.add.accumulate(ranges, axis=0)[-1] / len(ranges)
    return mean


DAYS_BEFORE: Mapping[str, int] = {"average_true_range": 1}
"""By type, how many days before the period it looks at too."""

BUILT_IN: Mapping[str, Indicator] = {
    "trailing_average": trailing_average,
    "trailing_max": trailing_max,
    "trailing_min": trailing_min,
    "average_true_range": average_true_range,
}


def indicator_values(
    spec: IndicatorSpec,
    indicator: Indicator,
    history: History,
    today: TradingDay,
    expected: tuple[date, ...],
    slot_ns: int,
) -> IndicatorValues:
    """An indicator's values for a day, null where a symbol lacks one of the period's days.

    Parameters
    ----------
    expected : tuple of date
        The period's trading days by the calendar, whether or not there is data: the dates of
        `period_days(spec.period, …)`, with `spec.days_before`. Those that the history lacks count as
        not loaded.
    slot_ns : int
        Length of today's bars, a minute for ticks and for bars shorter than that.

    Raises
    ------
    openbell.errors.RunError
        If the indicator's function fails, or returns another shape than its granularity needs.
    """
    place = {symbol: n for n, symbol in enumerate(history.symbols)}
    asked = history.symbols if spec.symbols is None else spec.symbols
    symbols = tuple(symbol for symbol in asked if symbol in place)
    columns: NDArray[np.intp] | slice = slice(None)
    if symbols != history.symbols:
        columns = np.array([place[symbol] for symbol in symbols], np.intp)
    at_hand = {
        day.day.date: day
        for day in history.days
        if spec.granularity == "daily" or day.rows is not None
    }
    days = tuple(at_hand[d] for d in expected if d in at_hand)
    have = np.zeros(len(symbols), np.int64)
    for day in days:
        have += _has_data(day, spec)[columns]
    enough = have == len(expected)

    shape: tuple[int, ...] = (len(symbols),)
    if spec.granularity == "intraday":
        shape = (len(today.grid(slot_ns)[0]), *shape)
    if days and enough.any():
        own = tuple(day.day for day in days)
        trailing = Trailing(spec, today, symbols, slot_ns, own, days, columns)
        values = _computed(indicator, trailing, shape)
        values[..., ~enough] = np.nan
    else:
        values = np.full(shape, np.nan)

    null: Mask = np.isnan(values)
    if null.ndim == 2:
        null = np.asarray(null.all(axis=0))
    reasons = {
        symbols[n]: _reason(spec, today.date, int(have[n]), len(expected), len(days))
        for n in np.flatnonzero(null).tolist()
    }
    if unknown := tuple(symbol for symbol in asked if symbol not in place):
        reasons |= dict.fromkeys(unknown, "not among the symbols of the run")
        values = np.concatenate([values, np.full((*shape[:-1], len(unknown)), np.nan)], axis=-1)
    values.flags.writeable = False
    return IndicatorValues(spec.name, symbols + unknown, values, reasons)


def _has_data(day: HistoryDay, spec: IndicatorSpec) -> Mask:
    if spec.granularity == "intraday" and day.rows is not None:
        there: Mask = (~np.isnan(getattr(day.rows, spec.field))).any(axis=0)
    else:
        there = ~np.isnan(getattr(day, spec.field))
    return there


def _computed(indicator: Indicator, trailing: Trailing, shape: tuple[int, ...]) -> Prices:
    spec = trailing.spec
    where = f'{spec.key}: type "{spec.type}"'
    try:
        values = np.array(indicator(trailing), np.float64)
    except OpenbellError:
        raise
    except Exception as error:  # a plug-in may raise anything
        raise RunError(
            f"{where} failed on {trailing.today.date} with {type(error).__name__}: {error}; "
            "correct its function or options, or leave the indicator out"
        ) from error
    if values.shape != shape:
        raise RunError(
            f"{where} gave values of shape {values.shape} on {trailing.today.date}, but "
            f"granularity {spec.granularity} needs {shape}; correct its function"
        )
    return values


def _reason(spec: IndicatorSpec, today: date, have: int, expected: int, loaded: int) -> str:
    if expected == 0:
        return f"no trading day in the {spec.period} before {today}"
    if have < expected:
        unloaded = f"; {expected - loaded} of them not loaded" if loaded < expected else ""
        return f"{have} of {expected} trading days before {today} have data{unloaded}"
    if spec.granularity == "intraday":
        return f"none of the {expected} trading days before {today} has a bar at that day's times"
    return f"{spec.type} gave no value for the {expected} trading days before {today}"
