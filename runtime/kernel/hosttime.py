"""The host's clocks, a type for each: neither is market time, nor the other."""

from __future__ import annotations

import time
from typing import NewType

WallTime = NewType("WallTime", float)
"""An instant, seconds since 1970-01-01T00:00:00Z; it may be set back."""

Monotonic = NewType("Monotonic", float)
"""Seconds of a clock that never goes back; only the difference of two means anything."""


def wall() -> WallTime:
    return WallTime(time.time())


def monotonic() -> Monotonic:
    return Monotonic(time.monotonic())
