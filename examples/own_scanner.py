"""A scanner of one's own: whose range so far is large for this time of its usual day.

    python examples/own_scanner.py minutes/

A package offers it to configurations by an entry point of the group `openbell.scanners`.
"""

from __future__ import annotations

import sys

import numpy as np

import openbell
from openbell.market.scans import Found, Lookback, ScanView, chosen, scanner


@scanner(lookback=Lookback("5d"), options={"min_score": 0.1, "top": 5})
def thrust(view: ScanView) -> list[Found]:
    """Today's range so far as a share of the average range of the days before."""
    ranges = [view.of_past(day.high - day.low) for day in view.history.days]
    if not ranges:
        return []
    usual = np.nanmean(ranges, axis=0)
    now = view.high - view.low
    return chosen(view, now / usual, lambda i: f"spans {now[i]:.2f}, usually {usual[i]:.2f}")


def main(minutes: str) -> None:
    config = {
        "exchange": "XNYS",
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
        "scanners": [{"name": "thrust", "type": "thrust", "at": ["open+5m"], "then": "follow"}],
    }
    result = openbell.backtest(config, minutes, scanners={"thrust": thrust})
    for run in result.scans:
        for found in run.found:
            print(run.trading_date, run.at, found.symbol, f"{found.score:.2f}", found.reason)
    print(f"{len(result.signals)} signals of the symbols that were followed")


if __name__ == "__main__":
    main(sys.argv[1])
