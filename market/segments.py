"""Which product each symbol is, as a configuration or a file of instruments says it, by date.

Products are what `segment` names: `equity`, `futures`, …; their hours may differ.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from fnmatch import fnmatchcase
from functools import lru_cache

PRODUCTS = ("equity", "equity_fno", "index", "futures")
"""Whose hours may differ; they do at NSE, since 2026-08-03."""

_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class ProductRule:
    """Which product some symbols are, while it holds."""

    symbols: str
    """A name, or a pattern of names such as `NIFTY*FUT`."""
    product: str
    since: date | None = None
    """First date; None: from the beginning."""
    until: date | None = None
    """First date on which it does not hold any more; None: it does for ever."""

    def holds(self, on: date) -> bool:
        return (self.since is None or self.since <= on) and (self.until is None or on < self.until)


def rules_on(rules: Iterable[ProductRule], on: date) -> dict[str, str]:
    """Name or pattern → product on a date; of rules for the same symbols the last counts."""
    return {rule.symbols: rule.product for rule in rules if rule.holds(on)}


def segment_of(rules: Iterable[ProductRule], symbol: str, on: date) -> str | None:
    """The product of a symbol on a date; None: no rule names it, so it has the run's `segment`."""
    (found,) = matched(tuple(rules_on(rules, on).items()), (symbol,))
    return found


@lru_cache(maxsize=16)  # days share what is named, and their symbols
def matched(given: tuple[tuple[str, str], ...], symbols: tuple[str, ...]) -> tuple[str | None, ...]:
    """Of each symbol what is given for it: by the name itself, else by the longest pattern that fits,
    of equally long ones the first in the order of texts."""
    named = dict(given)
    patterns = sorted(
        (text for text in named if not _WILD.isdisjoint(text)), key=lambda t: (-len(t), t)
    )

    def of(symbol: str) -> str | None:
        if symbol in named:
            return named[symbol]
        return next((named[text] for text in patterns if fnmatchcase(symbol, text)), None)

    return tuple(map(of, symbols))
