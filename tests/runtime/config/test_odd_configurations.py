"""Configurations that are legal and odd: what checks them agrees with what runs them."""

from __future__ import annotations

import random
from datetime import date, timedelta
from functools import cache
from typing import Any

import pyarrow as pa
from odd_configurations import odd_configuration

import openbell
from openbell.adapters.sources import open_source
from openbell.errors import ConfigError
from openbell.market.calendar import open_calendar
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.runtime.config import Config, config_from
from openbell.runtime.intake.checks import check_config
from openbell.runtime.intake.planning import plan
from openbell.runtime.intake.settings import data_options

FIRST = date(2024, 7, 1)
SYMBOLS = ("A", "B", "C")


@cache
def trading_day() -> TradingDay:
    return open_calendar("XNYS", FIRST, FIRST).days(FIRST, FIRST)[0]


@cache
def rows() -> pa.Table:
    """A day's bars, every sixth minute of each symbol missing."""
    starts = trading_day().grid(MINUTE_NS)[0].tolist()
    found = [
        {"symbol": symbol, "ts": ts, "open": price, "high": price, "low": price, "close": price}
        for i, ts in enumerate(starts)
        for s, symbol in enumerate(SYMBOLS)
        for price in [100.0 + (i * 7 + s) % 11 / 20]
        if i % 6 != s
    ]
    times = pa.array([row.pop("ts") for row in found], pa.timestamp("ns", "UTC"))
    table = pa.Table.from_pylist(found).append_column("ts", times)
    return table.append_column("volume", pa.array([1.0] * len(found)))


def odd(seed: int) -> Config:
    rng = random.Random(f"odd {seed}")
    drawn = odd_configuration(rng, trading_day(), SYMBOLS, rng.randint(1, 12))
    return config_from({**drawn, "exchange": "XNYS"})


def refusal(of: Any, *args: Any) -> str | None:
    try:
        of(*args)
    except ConfigError as error:
        return str(error)
    return None


def planned(config: Config) -> None:
    source = open_source(rows(), data_options(config))
    try:
        plan(config, source, FIRST, FIRST + timedelta(days=14))
    finally:
        source.close()


def test_what_is_refused_when_it_is_checked_is_refused_when_it_is_run() -> None:
    verdicts = []
    for config in map(odd, range(16)):
        checked = refusal(check_config, config, FIRST)
        run = refusal(planned, config)
        verdicts.append(checked is None)
        # The range of days that a refusal names is that of the check, or of the data.
        assert (checked or "").split(", and takes place")[0] == (run or "").split(
            ", and takes place"
        )[0]

    assert {True, False} == set(verdicts)


def test_what_is_in_order_runs_to_its_end() -> None:
    configs = [
        config for config in map(odd, range(24)) if refusal(check_config, config, FIRST) is None
    ]

    results = [openbell.backtest(config, rows()) for config in configs[:3]]

    assert len(results) == 3
    assert all(len(result.levels) for result in results)
    assert any(len(result.signals) for result in results)


def test_an_odd_configuration_is_written_and_read_back_as_itself() -> None:
    for config in map(odd, range(100)):
        again = config_from(config.model_dump(mode="json"))

        assert again == config
        assert again.digest() == config.digest()
