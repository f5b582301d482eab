"""An embedding program with a table: `table_bot.py CONFIG FOLDER`.

Each time that it is started, the prices of all days that are in the state's journal are others: a
run that asked for them again would come to other signals. What goes wrong it says as `openbell` does.
"""

from __future__ import annotations

import sys
from contextlib import closing
from datetime import date

import pandas as pd
import pyarrow.parquet as pq

from openbell import Runtime
from openbell.adapters.stores import open_store
from openbell.errors import OpenbellError, StoreError
from openbell.runtime.config import Config, load_config
from openbell.runtime.record import journal


def table(config: Config, folder: str) -> pd.DataFrame:
    frame: pd.DataFrame = pq.read_table(folder).to_pandas()
    dates = frame["ts"].dt.date
    frame.loc[dates.isin(journaled(config, set(dates))), ["open", "high", "low", "close"]] *= 1.1
    return frame


def journaled(config: Config, dates: set[date]) -> set[date]:
    """All dates, if that can't be told."""
    try:
        with closing(open_store(config.store.url, config.name)) as store:
            return {day for of in dates for day in journal.days(store.journal(of))}
    except StoreError:
        return dates


def main() -> None:
    config = load_config(sys.argv[1])
    try:
        with Runtime.from_config(config, table(config, sys.argv[2]), durable=True) as runtime:
            runtime.run()
    except OpenbellError as error:
        print(f"openbell: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
