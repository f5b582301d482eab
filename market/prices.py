"""Prices as what they are, decimal numbers, in the binary numbers that carry them.

A price is what people write: a decimal of at most 15 significant digits, which is what float64
keeps. Three things put noise on it: a calculation (32.15 - 0.05 is 32.099999999999994), a factor
(57 * 0.01 is 0.5700000000000001), and float32, whose 32.1 is 32.099998474121094 as float64. Each
function here judges a value by itself, so that neither batches nor files change an answer.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import Mask, Positions, Prices

DIGITS = 15
"""Significant digits that float64 keeps of any decimal."""

SAME_PRICE = 2.0**-51
"""Prices this close to each other, relatively, are one: 2 to 4 units in the last place. The
nearest two decimals of 15 digits are further apart."""

_FLOAT32_STEP = 2.0**-23
"""How far, relatively, a price can be from what float32 and its shortest decimal make of it."""

_POWERS = np.array([float(10**n) for n in range(23)])
"""Those that float64 holds exactly: dividing by them is rounded once, so it gives the number
that the decimal's text is read as."""

_BLOCK = 16_384  # values at a time stay in the processor's cache: a third of the time


def as_written(values: Prices) -> Prices:
    """float64 values that were float32 once, as the decimals that float32 was made from.

    Those are told by their bits: float32 holds them, and they are no binary fractions as prices
    are, see `_is_fraction`.

    Parameters
    ----------
    values : (n,) float64

    Returns
    -------
    (n,) float64
        The array given, if nothing in it was float32.
    """
    blocks = range(0, len(values), _BLOCK)
    found = [start + _were_float32(values[start : start + _BLOCK]) for start in blocks]
    at = np.concatenate([np.empty(0, np.intp), *found])
    if not len(at):
        return values
    written = values.copy()
    written[at] = _shortest(values[at].astype(np.float32))
    return written


def from_float32(values: NDArray[np.float32]) -> Prices:
    """float32 values as the decimals that they were made from.

    That is the shortest decimal that float32 reads as the same, or the value itself where it is
    a binary fraction as prices are, see `_is_fraction`.
    """
    prices = values.astype(np.float64)
    for start in range(0, len(values), _BLOCK):
        block = slice(start, start + _BLOCK)
        wide = prices[block]
        prices[block] = np.where(_is_fraction(wide), wide, _shortest(values[block]))
    return prices


def _were_float32(values: Prices) -> Positions:
    at: Positions = np.flatnonzero(_spare(values, 0))
    if len(at):
        eighths = values[at] * 8
        at = at[np.rint(eighths) != eighths]  # which leaves nothing of most columns
    if len(at):
        value = values[at]
        with np.errstate(invalid="ignore", over="ignore"):
            single = np.isfinite(value) & (value.astype(np.float32) == value)
        at = at[single & ~_is_fraction(value)]
    return at


def _is_fraction(values: Prices) -> Mask:
    """Whether float32 values are meant: an eighth, a 32nd or a 256th, as some prices are.

    The finer ones only where float32 could hold them with four or nine bits less; else a decimal
    may have come to lie on one, as 40000.03 on 40000.03125.
    """
    with np.errstate(invalid="ignore"):
        eighths, thirty_seconds, finer = (values * n % 1 == 0 for n in (8, 32, 256))
    fraction: Mask = eighths | (thirty_seconds & _spare(values, 4)) | (finer & _spare(values, 9))
    return fraction


def _spare(values: Prices, bits: int) -> Mask:
    """Whether float32 could hold each value with so many bits less."""
    low = np.uint64((1 << (29 + bits)) - 1)
    spare: Mask = np.ascontiguousarray(values).view(np.uint64) & low == 0
    return spare


def _shortest(values: NDArray[np.float32]) -> Prices:
    """The shortest decimals that read as these values, the nearest where several do."""
    wide = values.astype(np.float64)
    shortest = wide.copy()
    with np.errstate(invalid="ignore", over="ignore"):
        # Where float32 tells hundredths apart, only one of them reads as the value.
        left = _tried(values, wide, shortest, np.flatnonzero(np.abs(wide) < 2.0**17), 100.0)
        left = np.concatenate([np.flatnonzero(~(np.abs(wide) < 2.0**17)), left])
        for power in _POWERS:
            left = _tried(values, wide, shortest, left, power)
            if not len(left):
                return shortest
    shortest[left] = [float(str(value)) for value in values[left]]
    return shortest


def _tried(
    values: NDArray[np.float32], wide: Prices, shortest: Prices, at: Positions, power: float
) -> Positions:
    """Write decimals of some places where they read as the value; where they don't."""
    value, narrow = (wide, values) if len(at) == len(wide) else (wide[at], values[at])
    digits = np.rint(value * power)
    decimal = digits / power
    # From 2**24 on float32 knows no units: the shortest decimal may leave them out.
    good = (decimal.astype(np.float32) == narrow) & (np.abs(digits) < 2.0**24)
    if good.all() and len(at) == len(wide):
        shortest[:] = decimal
        return at[:0]
    shortest[at[good]] = decimal[good]
    left: Positions = at[~good]
    return left


def scaled(values: Prices, factor: float) -> Prices:
    """Prices times a factor, as decimals: 57 by 0.01 is 0.57."""
    product = values * factor
    return rounded(product, product)


def rounded(values: Prices, like: Prices) -> Prices:
    """Values as decimals with as many places as leave 15 digits to numbers of another size.

    Parameters
    ----------
    like : as `values`
        What noise has the size of: the largest number that a value was computed from.
    """
    size = np.abs(like)
    ordinary = (size >= 1e-8) & (size < 1e15)
    places = DIGITS - 1 - np.floor(np.log10(size, where=ordinary, out=np.zeros_like(size)))
    power = _POWERS[np.clip(places, 0, 22).astype(np.intp)]
    decimals: Prices = np.where(ordinary, np.rint(values * power) / power, values)
    tiny = np.flatnonzero((size < 1e-8) & (size > 0))
    if len(tiny):
        decimals.flat[tiny] = [float(f"{value:.{DIGITS}g}") for value in values.flat[tiny]]
    return decimals


def product(amount: float, factor: float) -> float:
    """Of two decimals, exactly: 3 ticks of 0.05 are 0.15."""
    return float(Decimal(repr(amount)) * Decimal(repr(factor)))


def products(amount: float, factors: Prices) -> Prices:
    """Of a decimal and each of several: NaN stays NaN."""
    found = np.full(factors.shape, np.nan)
    for factor in np.unique(factors[~np.isnan(factors)]).tolist():
        found[factors == factor] = product(amount, factor)
    return found


def on_grids(values: Prices, ticks: Prices) -> Prices:
    """As `on_grid`, where each symbol has a tick of its own.

    Parameters
    ----------
    values : (…, s) float64
    ticks : (s,) float64
        NaN: it is not known, and the values stay as they are.
    """
    found = values.copy()
    for tick in np.unique(ticks[~np.isnan(ticks)]).tolist():
        found[..., ticks == tick] = on_grid(values[..., ticks == tick], tick)
    return found


def on_grid(values: Prices, tick: float) -> Prices:
    """Values that are multiples of a tick but for noise, as those multiples; others as given."""
    exponent = Decimal(repr(tick)).as_tuple().exponent
    assert isinstance(exponent, int), "a tick is a finite number"
    multiple = np.rint(values / tick) * tick
    power = _POWERS[min(max(-exponent, 0), 22)]
    multiple = np.rint(multiple * power) / power
    near: Mask = np.abs(values - multiple) <= noise(multiple, tick)
    return np.where(near, multiple, values)


def noise(values: Prices, tick: float | Prices = 0.0) -> Prices:
    """How far from a price a number may be and still mean it.

    Where the tick is known, what float32 loses is noise too, as far as it can't be a tick.

    Parameters
    ----------
    tick : float, or broadcast to `values`
        0, and in an array NaN: it is not known.
    """
    size = np.abs(values)
    alike: Prices = size * SAME_PRICE
    if isinstance(tick, np.ndarray) or tick:
        lost = np.minimum(0.45 * tick, size * _FLOAT32_STEP + tick * 2.0**-20)
        alike = np.fmax(alike, lost)
    return alike


def limits(thresholds: Prices, side: Prices, tick: float | Prices = 0.0) -> Prices:
    """What a number has to be beyond so that its price is beyond a threshold.

    Parameters
    ----------
    side : as `thresholds`, or broadcast to it
        1.0 for above, -1.0 for below.
    tick : float, or broadcast to `thresholds`
        As of `noise`.

    Returns
    -------
    as `thresholds`
        The last numbers that still mean the threshold.
    """
    alike = noise(thresholds, tick)
    limit = thresholds + side * alike
    # The sum is rounded; where that led too far out, the number before is the last one.
    outside = side * (limit - thresholds) > alike
    return np.where(outside, np.nextafter(limit, thresholds), limit)
