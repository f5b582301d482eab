"""A year of 50 symbols with every feature on: does a day cost the same in the last month?

Prints CPU time a day and resident memory by month (21 trading days), and the ratio of the last
full month to the second one: the first one fills the trailing days. Then the same year without
scans, rules of breakouts and what follows them, both once more, and what a day costs with them of
that.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil

from openbell.adapters.sample import write_sample
from openbell.runtime.api import run_backtest
from openbell.runtime.config import config_from

MONTH = 21
FIELDS = {
    "average": {"type": "trailing_average", "period": "10d"},
    "highest": {"type": "trailing_max", "period": "4w", "field": "high"},
    "lowest": {"type": "trailing_min", "period": "4w", "field": "low"},
    "volume": {
        "type": "trailing_average",
        "period": "10d",
        "granularity": "intraday",
        "field": "volume",
    },
}
SESSIONS = [
    {"name": "Opening Range", "start": "09:30", "end": "09:44"},
    {"name": "Mid Morning", "start": "10:30", "end": "10:44", "breakout": {"confirm": "touch"}},
    {"name": "Lunch", "start": "12:00", "end": "12:29", "breakout": {"buffer": "0.05%"}},
    {"name": "Late", "start": "close-90m", "end": "close-61m", "breakout": {"rearm": "inside"}},
]

RULES = {
    "volume": {"times": 1.2, "of": "minute"},
    "min_range": {"times": 0.1, "of": "atr"},
    "max_range": "5%",
    "on_incomplete": "block",
    "direction": "first_bar",
    "valid_until": "180m",
    "retest": {"within_bars": 8},
    "closed_beyond": True,
}
ATR = {"type": "average_true_range", "period": "14d"}
SCANNERS = [
    {"name": "yesterday", "type": "relative_volume", "options": {"days": 14}},
    {"name": "near high", "type": "near_high", "options": {"period": "4w"}},
    {
        "name": "in play",
        "type": "relative_volume",
        "at": ["open+5m"],
        "then": "follow",
        "options": {"days": 14, "minutes": 5},
    },
    {"name": "movers", "type": "movers", "at": ["10:30", "close-30m"]},
    {"name": "widest", "type": "range_width", "at": ["close-15m"]},
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--days", type=int, default=252)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "minutes")
        write_sample(data, symbols=options.symbols, days=options.days, seed=3)
        of_all = year(data, Path(folder, "all"), everything=True)
        of_fewer = year(data, Path(folder, "fewer"), everything=False)
        all_again = year(data, Path(folder, "all again"), everything=True)
        fewer_again = year(data, Path(folder, "fewer again"), everything=False)
    for number, month in enumerate(of_all.months, start=1):
        resident = of_all.memory[min(number * MONTH, len(of_all.memory)) - 1] / 2**20
        print(f"month {number:>2}: {1000 * median(month):6.1f} ms CPU a day, {resident:6.0f} MiB")
    whole = [month for month in of_all.months if len(month) >= MONTH - 1]
    if len(whole) > 2:
        ratio = median(whole[-1]) / median(whole[1])
        grown = of_all.memory[-1] / of_all.memory[2 * MONTH]
        print(f"a day of the last month ÷ one of the second: {ratio:.2f}")
        print(f"memory at the end ÷ after two months: {grown:.2f}")
    ratio = _quickest(of_all, all_again) / _quickest(of_fewer, fewer_again)
    print(f"a day ÷ one without scans and rules: {ratio:.2f}")


@dataclass(frozen=True)
class Year:
    days: list[float]
    """CPU seconds of each but the first."""
    memory: list[int]
    """Resident bytes after each."""

    @property
    def months(self) -> list[list[float]]:
        return [self.days[start : start + MONTH] for start in range(0, len(self.days), MONTH)]


def _quickest(first: Year, again: Year) -> float:
    """A day's median of what each took at least: others on the machine only make it more."""
    return median(map(min, first.days, again.days))


def year(data: Path, out: Path, *, everything: bool) -> Year:
    """
    Parameters
    ----------
    everything : bool
        Whether with scans, rules and what follows breakouts.
    """
    process = psutil.Process()
    ended: list[float] = []
    memory: list[int] = []

    def on_day(day: object, over: int, planned: int, rows: int) -> None:
        ended.append(time.process_time())
        memory.append(process.memory_info().rss)

    config = config_from(
        {
            "exchange": "XNYS",
            "sessions": SESSIONS,
            "data": {"path": str(data)},
            "history": {
                "data": [{"trailing_days": 20}],
                "indicators": {**FIELDS, **({"atr": ATR} if everything else {})},
            },
            **({"breakout": RULES, "scanners": SCANNERS} if everything else {}),
        }
    )
    run_backtest(config, out=out, on_day=on_day)
    return Year([after - before for before, after in pairwise(ended)], memory)


if __name__ == "__main__":
    main()
