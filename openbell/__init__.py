"""openbell watches markets by the clock and reports each breakout exactly once."""

__version__ = "0.1.0"
