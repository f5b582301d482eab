"""Warnings of the calendar libraries that say nothing to who uses openbell."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

KNOWN = (
    # exchange_calendars takes opens and closes out of zoned columns that hold UTC: pandas 4 will
    # give another array type there, with the same instants.
    r"Series\.values returning an ndarray that drops timezone information",
    # Both libraries find observed holidays by `weekday`, which pandas 4 calls `day_of_week`.
    r"(Series\.dt|DatetimeIndex)\.weekday is deprecated",
)
"""Beginnings of their texts, as patterns. Any other warning is let through."""


@contextmanager
def known_ones_unseen() -> Iterator[None]:
    """Within it the libraries may warn of what is known; filters are as before afterwards."""
    with warnings.catch_warnings():
        for text in KNOWN:
            warnings.filterwarnings("ignore", text, DeprecationWarning)
        yield
