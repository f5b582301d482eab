"""Built-in scans against pandas, on real minutes; each day of a backtest is a case."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import openbell
from openbell.adapters.scanners import scans_of
from openbell.adapters.scanruns import ScanRun
from openbell.errors import ConfigError
from openbell.market.scans import ScanSpec

SESSIONS = [{"name": "Opening", "start": "09:30", "end": "09:34"}]
ALL = {"top": 0, "min_score": 0}


@pytest.fixture(scope="module")
def minutes(shared_data: Path) -> pd.DataFrame:
    """Two days of one file have symbols that the other lacks, so that days are missing too."""
    rows = pd.read_parquet(shared_data / "us_stocks_1m_2019.parquet")
    local = rows["ts"].dt.tz_localize("UTC") if rows["ts"].dt.tz is None else rows["ts"]
    local = local.dt.tz_convert("America/New_York")
    rows["day"], rows["at"] = local.dt.date, local.dt.time
    inside = (rows["at"] >= time(9, 30)) & (rows["at"] < time(16))
    gone = (rows["symbol"].astype(str) == "BAC") & (rows["day"] == date(2019, 2, 12))
    return rows[inside & ~gone].astype({"symbol": str})


def runs(rows: pd.DataFrame, kind: str, at: str, **options: Any) -> list[ScanRun]:
    given = {**ALL, **options} if kind != "range_width" else {"top": 0, **options}
    config = {
        "exchange": "XNYS",
        "sessions": SESSIONS,
        "scanners": [{"name": "it", "type": kind, "at": [at], "options": given}],
    }
    result = openbell.backtest(config, rows.drop(columns=["day", "at"]))
    return result.scans


def same(found: list[ScanRun], expected: Callable[[date], dict[str, float]]) -> int:
    count = 0
    for run in found:
        assert run.skipped is None, run
        scores = {of.symbol: of.score for of in run.found}
        wanted = {s: v for s, v in expected(run.trading_date).items() if math.isfinite(v)}
        assert scores.keys() == wanted.keys(), run
        assert scores == pytest.approx(wanted, rel=1e-12), run
        assert [of.score for of in run.found] == sorted(scores.values(), reverse=True)
        count += len(scores)
    return count


def days_before(minutes: pd.DataFrame, day: date, count: int) -> list[date]:
    return sorted(d for d in minutes["day"].unique() if d < day)[-count:]


def relative(
    minutes: pd.DataFrame, day: date, days: int, since: time, until: time
) -> dict[str, float]:
    """In plain steps: what was traded between two times, over what is usual then."""
    found = {}
    for symbol, of in minutes.groupby("symbol"):
        spans = of[(of["at"] >= since) & (of["at"] < until)].groupby("day")["volume"].sum()
        traded = set(of["day"])
        before = [spans.get(d, 0.0) for d in days_before(minutes, day, days) if d in traded]
        if day in traded and before and len(before) >= math.ceil(days / 2) and sum(before):
            found[str(symbol)] = spans.get(day, 0.0) / (sum(before) / len(before))
    return found


@pytest.mark.parametrize(("at", "until"), [("09:40", time(9, 40)), ("close-30m", time(15, 30))])
def test_relative_volume_so_far_is_that_of_the_days_before_at_the_same_minute(
    minutes: pd.DataFrame, at: str, until: time
) -> None:
    found = runs(minutes, "relative_volume", at, days=3)

    assert same(found, lambda day: relative(minutes, day, 3, time(9, 30), until)) > 8


def test_relative_volume_of_the_last_minutes_is_held_against_the_same_minutes(
    minutes: pd.DataFrame,
) -> None:
    found = runs(minutes, "relative_volume", "open+5m", days=2, minutes=5)

    assert same(found, lambda day: relative(minutes, day, 2, time(9, 30), time(9, 35))) > 8


def test_before_the_open_the_last_day_is_held_against_those_before_it(
    minutes: pd.DataFrame,
) -> None:
    daily = minutes.groupby(["symbol", "day"])["volume"].sum().unstack()

    def expected(day: date) -> dict[str, float]:
        *before, last = days_before(minutes, day, 3) or [day]
        found = {}
        for symbol, of in daily.iterrows():
            known = of.reindex(before).dropna()
            if len(known) and pd.notna(of.get(last)) and last < day:
                found[str(symbol)] = of[last] / known.mean()
        return found

    assert same(runs(minutes, "relative_volume", "pre", days=2), expected) > 8


def test_a_gap_is_from_the_close_of_the_day_before(minutes: pd.DataFrame) -> None:
    first = minutes.groupby(["symbol", "day"])["open"].first().unstack()
    last = minutes.groupby(["symbol", "day"])["close"].last().unstack()

    def expected(day: date) -> dict[str, float]:
        (before,) = days_before(minutes, day, 1) or [day]
        if before == day:
            return {}
        change = ((first[day] - last[before]) / last[before] * 100).abs()
        return {str(symbol): score for symbol, score in change.items() if score > 0}

    assert same(runs(minutes, "gap", "open+1m"), expected) > 8


@pytest.mark.parametrize("side", ["up", "down"])
def test_movers_are_by_the_last_price(minutes: pd.DataFrame, side: str) -> None:
    sign = 1 if side == "up" else -1
    so_far = minutes[minutes["at"] < time(12)]
    now = so_far.groupby(["symbol", "day"])["close"].last().unstack()
    began = so_far.groupby(["symbol", "day"])["open"].first().unstack()

    def expected(day: date) -> dict[str, float]:
        change = sign * (now[day] - began[day]) / began[day] * 100
        return {str(symbol): score for symbol, score in change.items() if score > 0}

    assert same(runs(minutes, "movers", "12:00", side=side, since="open"), expected) > 4


def test_near_high_is_held_against_the_days_before_alone(minutes: pd.DataFrame) -> None:
    now = minutes[minutes["at"] < time(11)].groupby(["symbol", "day"])["close"].last().unstack()
    highs = minutes.groupby(["symbol", "day"])["high"].max().unstack()

    def expected(day: date) -> dict[str, float]:
        before = days_before(minutes, day, 99)
        if not before:
            return {}
        score = now[day] / highs[before].max(axis=1) * 100
        return {str(symbol): value for symbol, value in score.items()}

    assert same(runs(minutes, "near_high", "11:00", period="2w"), expected) > 8


def test_range_width_is_that_of_the_day_so_far_or_of_a_session(minutes: pd.DataFrame) -> None:
    def width(of: pd.DataFrame) -> Callable[[date], dict[str, float]]:
        high = of.groupby(["symbol", "day"])["high"].max().unstack()
        low = of.groupby(["symbol", "day"])["low"].min().unstack()
        wide = (high - low) / ((high + low) / 2) * 100
        return lambda day: {str(symbol): value for symbol, value in wide[day].items()}

    so_far = minutes[minutes["at"] < time(10)]
    opening = minutes[minutes["at"] < time(9, 35)]
    narrow = width(so_far)

    assert same(runs(minutes, "range_width", "10:00"), narrow) > 8
    assert same(runs(minutes, "range_width", "10:00", session="Opening"), width(opening)) > 8
    found = runs(minutes, "range_width", "10:00", widest=False)
    assert same(found, lambda day: {s: -v for s, v in narrow(day).items()}) > 8


def test_options_leave_out_what_they_say(minutes: pd.DataFrame) -> None:
    every = runs(minutes, "movers", "12:00")
    price = {of.symbol: float(of.reason.split()[2].rstrip(",")) for of in every[-1].found}

    top = runs(minutes, "movers", "12:00", top=1)
    dear = runs(minutes, "movers", "12:00", min_price=100)
    least = every[-1].found[1].score
    moved = runs(minutes, "movers", "12:00", min_score=least)
    traded = runs(minutes, "movers", "12:00", min_volume=10**7)

    assert [len(run.found) for run in top[1:]] == [1] * (len(top) - 1)
    assert top[-1].found == every[-1].found[:1]
    assert {of.symbol for of in dear[-1].found} == {s for s, p in price.items() if p >= 100}
    assert moved[-1].found == every[-1].found[:2]
    volume = minutes[(minutes["at"] < time(12)) & (minutes["day"] == every[-1].trading_date)]
    enough = volume.groupby("symbol")["volume"].sum() >= 10**7
    assert {of.symbol for of in traded[-1].found} == set(enough[enough].index) & set(price)


@pytest.mark.parametrize(
    ("kind", "options", "why"),
    [
        ("relative_volume", {"days": 0}, r"options\.days is 0; write 1 to 2000"),
        ("relative_volume", {"days": 100_000}, r"options\.days is 100000; write 1 to 2000"),
        (
            "range_width",
            {"min_width": 5, "max_width": 1},
            r"options\.max_width is 1; write min_width",
        ),
        ("range_width", {"widest": "maybe"}, r"options\.widest is 'maybe'; write true or false"),
        ("range_width", {"session": 5}, r"options\.session is 5; write text"),
    ],
)
def test_options_that_nothing_could_come_of_are_refused(
    kind: str, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        scans_of([ScanSpec("it", kind, ("10:30",), options=options)])
