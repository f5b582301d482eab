"""Symbols of NSE, a product each, as hours of their own have them since 2026-08-03."""

from __future__ import annotations

SYMBOLS = ("NIFTY", "NIFTY26AUGFUT", "RELIANCE", "SMALLCO")
COMPANIONS = {"NIFTY": "NIFTY26AUGFUT"}
SEGMENTS = {
    "NIFTY": "index",
    "NIFTY26AUGFUT": "futures",
    "RELIANCE": {"2026-08-03": "equity_fno"},
}
