"""What a session's levels have to be like, and until when, for their breaks to count.

Each of these is decided once, when the levels hold; only what volume confirms, and until when, is
asked of the rows that break.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import IF_SET, Mask, Prices
from openbell.market.days import TradingDay
from openbell.market.indicators import IndicatorValues
from openbell.market.prices import rounded
from openbell.market.results import HIGH_BREAK, LOW_BREAK, Levels
from openbell.market.windows import resolve

Condition = Literal["volume", "min_range", "max_range", "valid_until", "on_incomplete", "direction"]
CONDITIONS: tuple[Condition, ...] = (
    *("volume", "min_range", "max_range", "valid_until", "on_incomplete", "direction"),
)
"""By their keys in a configuration; a signal names those that it passed by their place here."""


def condition_names(passed: int) -> list[Condition]:
    """Those that a bit stands for each, at its place."""
    return [name for place, name in enumerate(CONDITIONS) if passed >> place & 1]


SAME = 2.0**-49
"""Widths this close, relatively, to a bound are as wide."""

Refusals = NDArray[np.int8]
"""1 and the place in CONDITIONS of what refused; 0: nothing did."""


@dataclass(frozen=True, slots=True)
class Width:
    """A bound for how far a session's high and low are apart; the bound itself is allowed."""

    amount: float
    unit: Literal["price", "percent", "times"] = "price"
    """`percent`: of the middle between high and low; `times`: of an indicator's value."""
    indicator: str = ""
    """Its name, where the unit is `times`."""


@dataclass(frozen=True, slots=True)
class Until:
    """The last instant at which a break may be known: a time of the day, or so long after."""

    text: str | None = None
    """As a session's start is written."""
    after_ns: int = 0
    """From the session's end, where there is no text."""
    timezone: str | None = None
    """IANA zone of wall times; None: the trading day's."""

    def on(self, day: TradingDay, end_ns: int) -> int:
        """The instant, ns UTC, on a day on which the session ends at another."""
        if self.text is None:
            return end_ns + self.after_ns
        return resolve(day, self.text, self.timezone)


@dataclass(frozen=True, eq=False)
class Verdict:
    """Which levels' breaks count, and what that was decided by; kept to be told."""

    refused: Refusals
    """(2, s) high side first."""
    least: Prices | None = field(default=None, metadata=IF_SET)
    """(s,) the width that is needed, NaN where it is not known; None: any."""
    most: Prices | None = field(default=None, metadata=IF_SET)
    moved: NDArray[np.int8] | None = field(default=None, metadata=IF_SET)
    """(s,) which way the session's first bar went: 1 up, -1 down, 0 neither; None: not asked."""


def verdict(
    levels: Levels,
    least: Width | None,
    most: Width | None,
    values: Mapping[str, Prices],
    *,
    blocks_incomplete: bool,
    first_bar: bool,
) -> Verdict:
    """Which sides of levels may break.

    Parameters
    ----------
    values : mapping
        By the names of indicators (s,), NaN where there is none.
    """
    s = len(levels.symbols)
    refused = np.zeros((2, s), np.int8)

    def refuse(which: Mask, condition: Condition) -> None:
        refused[(refused == 0) & which] = 1 + CONDITIONS.index(condition)

    if blocks_incomplete:
        refuse(~levels.complete, "on_incomplete")
    width = widths(levels)
    narrowest = widest = None
    if least is not None:
        narrowest = bound(levels, least, values)
        enough = width >= narrowest - np.abs(narrowest) * SAME
        refuse(~enough, "min_range")
    if most is not None:
        widest = bound(levels, most, values)
        enough = width <= widest + np.abs(widest) * SAME
        refuse(~enough, "max_range")
    moved = None
    if first_bar:
        assert levels.first_open is not None
        assert levels.first_close is not None
        change = levels.first_close - levels.first_open
        moved = np.sign(np.where(np.isnan(change), 0.0, change)).astype(np.int8)
        against = np.empty((2, s), np.bool_)
        against[HIGH_BREAK], against[LOW_BREAK] = moved <= 0, moved >= 0
        refuse(against, "direction")
    refused[:, np.isnan(levels.high)] = 0  # without levels there is nothing to refuse
    return Verdict(refused, narrowest, widest, moved)


def widths(levels: Levels) -> Prices:
    """(s,) how far high and low are apart, as decimals."""
    return rounded(levels.high - levels.low, np.fmax(np.abs(levels.high), np.abs(levels.low)))


def bound(levels: Levels, of: Width, values: Mapping[str, Prices]) -> Prices:
    """(s,) the width that a bound means, NaN where it is not known."""
    if of.unit == "times":
        return of.amount * values.get(of.indicator, np.full(len(levels.symbols), np.nan))
    if of.unit == "price":
        return np.full(len(levels.symbols), of.amount)
    size = np.fmax(np.abs(levels.high), np.abs(levels.low))
    return rounded(np.abs(levels.high + levels.low) / 2 * (of.amount / 100), size)


def of_symbols(of: IndicatorValues, symbols: tuple[str, ...]) -> Prices:
    """(s,) or (m, s): an indicator's values in the order of a register, NaN where it has none."""
    if of.symbols == symbols:
        return of.values
    place = {symbol: at for at, symbol in enumerate(of.symbols)}
    values = np.full((*of.values.shape[:-1], len(symbols)), np.nan)
    for at, symbol in enumerate(symbols):
        if symbol in place:
            values[..., at] = of.values[..., place[symbol]]
    return values
