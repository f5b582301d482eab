"""examples/orb.yaml, over made-up data, against the same strategy worked out by pandas."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest

import openbell
from openbell.adapters.sample import write_sample

CONFIG = Path(__file__).parents[1] / "examples" / "orb.yaml"
NEW_YORK = ZoneInfo("America/New_York")
USUAL = 14
WARM_UP = USUAL + 1
"""Days before the first on which all averages are whole."""

Break = tuple[str, str, str, str, float, float]
"""Date, symbol, side, the bar's local time, price and level."""


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("orb") / "minutes"
    write_sample(folder, symbols=30, days=WARM_UP + 5, seed=11)
    return folder


def by_pandas(minutes: Path) -> tuple[list[Break], dict[str, list[str]]]:
    """All breakouts, and of each day the symbols in play, the most of them first."""
    bars: Any = pd.concat(pd.read_parquet(file) for file in sorted(minutes.glob("*.parquet")))
    local = bars["ts"].dt.tz_convert("America/New_York")
    bars["date"] = local.dt.date.astype(str)
    bars["time"] = local.dt.strftime("%H:%M")
    by_day = bars.groupby(["date", "symbol"]).agg(
        high=("high", "max"), low=("low", "min"), close=("close", "last"), volume=("volume", "sum")
    )
    high, low, close, volume = (by_day[name].unstack() for name in by_day.columns)
    before = close.shift(1)
    true_range = high.combine(before, max_of) - low.combine(before, min_of)
    atr: Any = true_range.rolling(USUAL).mean().shift(1)
    score: Any = volume.shift(1) / volume.rolling(USUAL).mean().shift(2)
    of_minute = bars.pivot(index="date", columns=["symbol", "time"], values="volume")
    usual: Any = of_minute.rolling(USUAL).mean().shift(1)

    found: list[Break] = []
    in_play: dict[str, list[str]] = {}
    for date in score.index[WARM_UP:]:
        best = score.loc[date][(score.loc[date] >= 1) & (before.loc[date] >= 5)]
        in_play[date] = list(best.sort_values(ascending=False, kind="stable").index[:20])
        for symbol in sorted(in_play[date]):
            day = bars[(bars["date"] == date) & (bars["symbol"] == symbol)].sort_values("ts")
            opening = day[day["time"] < "09:35"]
            top, bottom = opening["high"].max(), opening["low"].min()
            if not 0.05 * atr.at[date, symbol] <= top - bottom <= atr.at[date, symbol]:
                continue
            first = opening.iloc[0]
            later = day[(day["time"] >= "09:35") & (day["time"] < "11:30")]
            busy = (
                later["volume"].to_numpy()
                >= 1.5 * usual.loc[date, symbol][later["time"]].to_numpy()
            )
            if first["close"] > first["open"]:
                side, level, broke = "HIGH_BREAK", top, later[busy & (later["close"] > top)]
            elif first["close"] < first["open"]:
                side, level, broke = "LOW_BREAK", bottom, later[busy & (later["close"] < bottom)]
            else:
                continue
            if len(broke):
                bar = broke.iloc[0]
                found.append((date, symbol, side, bar["time"], bar["close"], level))
    return found, in_play


def max_of(one: Any, other: Any) -> Any:
    return one.where(one > other, other)


def min_of(one: Any, other: Any) -> Any:
    return one.where(one < other, other)


def test_the_opening_range_breakout_on_stocks_in_play_is_what_pandas_finds(minutes: Path) -> None:
    runtime = openbell.Runtime(openbell.load_config(CONFIG), minutes)
    runtime.run()
    signals = list(runtime.signals())
    breaks = [of for of in signals if of.kind == "breakout"]
    found = [
        (
            str(of.trading_date),
            of.symbol,
            of.side,
            f"{of.ts.astimezone(NEW_YORK):%H:%M}",
            of.price,
            of.level,
        )
        for of in breaks
    ]
    expected, in_play = by_pandas(minutes)

    assert len(expected) > 20
    assert sorted(found) == sorted(expected)
    rules = {"volume", "min_range", "max_range", "valid_until", "on_incomplete", "direction"}
    assert all(set(of.rules) == rules for of in breaks)
    scans = {
        str(run.trading_date): [of.symbol for of in run.found]
        for run in runtime.scans()
        if run.scan == "in play"
    }
    assert {date: scans[date] for date in in_play} == in_play
    retests = [of for of in signals if of.kind == "retest"]
    assert retests
    assert {of.of for of in retests} <= {of.id for of in breaks}
