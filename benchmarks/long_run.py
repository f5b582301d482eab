"""A year of 50 symbols with every feature on: does a day cost the same in the last month?

Prints CPU time a day and resident memory by month (21 trading days), and the ratio of the last
full month to the second one: the first one fills the trailing days.
"""

from __future__ import annotations

import argparse
import tempfile
import time
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--days", type=int, default=252)
    options = parser.parse_args()
    process = psutil.Process()
    ended: list[float] = []
    memory: list[int] = []

    def on_day(day: object, over: int, planned: int, rows: int) -> None:
        ended.append(time.process_time())
        memory.append(process.memory_info().rss)

    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "minutes")
        write_sample(data, symbols=options.symbols, days=options.days, seed=3)
        config = config_from(
            {
                "exchange": "XNYS",
                "sessions": SESSIONS,
                "data": {"path": str(data)},
                "history": {"data": [{"trailing_days": 20}], "indicators": FIELDS},
            }
        )
        run_backtest(config, out=Path(folder, "out"), on_day=on_day)
    days = [after - before for before, after in pairwise(ended)]
    months = [days[start : start + MONTH] for start in range(0, len(days), MONTH)]
    for number, month in enumerate(months, start=1):
        resident = memory[min(number * MONTH, len(memory)) - 1] / 2**20
        print(f"month {number:>2}: {1000 * median(month):6.1f} ms CPU a day, {resident:6.0f} MiB")
    whole = [month for month in months if len(month) >= MONTH - 1]
    if len(whole) > 2:
        ratio = median(whole[-1]) / median(whole[1])
        grown = memory[-1] / memory[2 * MONTH]
        print(f"a day of the last month ÷ one of the second: {ratio:.2f}")
        print(f"memory at the end ÷ after two months: {grown:.2f}")


if __name__ == "__main__":
    main()
