"""A program that pushes rows into a durable run, again from where it was; killed by its test."""

from __future__ import annotations

import sys
import time
from datetime import date

import pandas as pd

from openbell import Runtime


def main(config: str, rows: str, last_day: str, pause: str) -> None:
    came = pd.read_parquet(rows)
    with Runtime.from_config(config) as runtime:
        start = runtime.durable_position()
        while start < len(came):
            # A little of what the run has already goes along.
            again = max(0, start - 3)
            runtime.push_ticks(came.iloc[again : start + 40], position=again)
            start += 40
            time.sleep(float(pause))
        if runtime.durable_position() <= len(came):
            runtime.end_day(date.fromisoformat(last_day))
        runtime.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
