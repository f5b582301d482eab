"""Companions are shown to scans as such: they are no candidates."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest

import openbell
from openbell import Runtime
from openbell.adapters.sample import write_sample
from openbell.market.scanners import BUILT_IN
from openbell.market.scans import Found, Lookback, ScanView, narrowed, scanner
from openbell.runtime.config import config_from

AT = ["pre", "10:00", "12:30"]


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("beside")
    files = write_sample(folder, symbols=5, days=3, seed=23, start=date(2024, 7, 1))
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    return rows.astype({"symbol": str})


def config(rows: pd.DataFrame, *scans: dict[str, Any], **more: Any) -> dict[str, Any]:
    first, second, third, fourth, _ = sorted(rows["symbol"].unique())
    return {
        "exchange": "XNYS",
        "symbols": [second, third, fourth],
        "companions": {third: first, fourth: second},  # the second is traded itself too
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:34"}],
        "history": {"indicators": {"usual": {"type": "trailing_average", "period": "2d"}}},
        "scanners": list(scans),
        **more,
    }


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind == "relative_volume" else [pytest.mark.slow])
        for kind in sorted(BUILT_IN)
    ],
)
def test_what_is_built_in_finds_what_it_would_without_companions(
    minutes: pd.DataFrame, kind: str
) -> None:
    options: dict[str, Any] = {"top": 2, "min_score": 0} if kind != "range_width" else {"top": 2}
    if kind == "relative_volume":
        options["days"] = 2
    scan = {"name": "it", "type": kind, "at": AT, "then": "follow", "options": options}
    made = config(minutes, scan)

    beside = openbell.backtest(made, minutes)
    alone = openbell.backtest({**made, "companions": {}}, minutes)

    def told(of: openbell.Result) -> list[Any]:
        return [(run.trading_date, run.at, run.found, run.skipped) for run in of.scans]

    assert told(beside) == told(alone)
    assert sum(len(run.found) for run in beside.scans) > 8
    assert beside.signals["id"].to_pylist() == alone.signals["id"].to_pylist()


def test_a_scan_of_ones_own_sees_companions_beside_the_symbols(minutes: pd.DataFrame) -> None:
    first, second, third, fourth, _ = sorted(minutes["symbol"].unique())
    views: list[ScanView] = []

    @scanner(lookback=Lookback("1d"))
    def looks(view: ScanView) -> list[Found]:
        views.append(view)
        return [Found(first, 3.0), Found(third, 2.0), Found("NONE", 1.0)]

    scan = {"name": "mine", "type": "looks", "at": AT, "then": "follow"}
    result = openbell.backtest(config(minutes, scan), minutes, scanners={"looks": looks})

    assert len(views) == 9
    for view in views:
        assert view.symbols == view.bars.symbols == (second, third, fourth)
        assert view.companions.symbols == (first, second)
        assert view.companions.companions.symbols == ()
        assert view.companion_of == {third: first, fourth: second}
        shown = view.of_companions(view.companions.last)
        theirs = dict(zip(view.companions.symbols, view.companions.last, strict=True))
        np.testing.assert_array_equal(shown, [np.nan, theirs[first], theirs[second]])
        assert view.indicators["usual"].symbols == view.symbols
        begins, ends = (pd.Timestamp(ns, tz="UTC") for ns in (view.day.open_ns, view.at_ns))
        of_day = minutes[(minutes["ts"] >= begins) & (minutes["ts"] < ends)]
        for seen in (view, view.companions):
            volume = of_day.groupby("symbol")["volume"].sum()
            want = [volume.get(name, 0.0) if len(view.bars) else 0.0 for name in seen.symbols]
            assert seen.volume.tolist() == want
            if "Morning" in view.levels:
                morning = of_day[of_day["ts"] < begins + pd.Timedelta(minutes=5)]
                highs = morning.groupby("symbol")["high"].max()
                assert seen.levels["Morning"].high.tolist() == highs[list(seen.symbols)].tolist()
        with pytest.raises(ValueError, match="read-only"):
            view.companions.bars.close[...] = 1.0
    became = {of.symbol: of.became for of in result.scans[-1].found}
    assert became == {
        first: "refused: a companion, which has no signals of its own",
        third: "followed",
        "NONE": "refused: not among the symbols of the run",
    }


def test_a_companion_that_is_added_is_a_candidate_from_then_on_and_one_removed_is_none(
    minutes: pd.DataFrame,
) -> None:
    first, second, third, fourth, _ = sorted(minutes["symbol"].unique())
    seen: dict[str, tuple[str, ...]] = {}

    def adds(view: ScanView) -> list[Found]:
        label = "pre" if view.before_open else f"{view.at:%H:%M}"
        seen[f"{view.day.date:%d} {label}"] = view.symbols
        if label == "10:00" and view.day.date.day == 1:
            with pytest.raises(TimeoutError):  # nothing is done before the scan has answered
                runtime.remove_symbols([fourth], timeout=0.0)
        return [Found(first, 1.0)] if label == "10:00" else []

    scan = {"name": "mine", "type": "adds", "at": AT, "then": "add"}
    with Runtime(config_from(config(minutes, scan)), minutes, scanners={"adds": adds}) as runtime:
        runtime.run()
        came = [run.found[0].became for run in runtime.scans() if run.found]

    assert came == ["added", "reported", "reported"]
    before, after = (second, third, fourth), (first, second, third)
    assert seen == {
        "01 pre": before,
        "01 10:00": before,
        **{f"{day} {at}": after for day, at in [("01", "12:30"), *MORE]},
    }


MORE = [(day, at) for day in ("02", "03") for at in AT]


def test_what_is_left_out_does_not_change_a_sum() -> None:
    rng = np.random.default_rng(7)
    from openbell.market.bars import BarBlock
    from openbell.market.days import MarketTime, Segment, TradingDay
    from openbell.market.history import History

    minute = 60 * 10**9
    names = tuple("ABCDEFG")
    day = TradingDay(date(2024, 7, 1), "UTC", (Segment(MarketTime(0), MarketTime(390 * minute)),))
    starts, ends = day.grid(minute)
    made = (rng.random((390, 7)) * 1e6 + 0.1 for _ in range(5))
    open_, high, low, close, volume = made
    bars = BarBlock(
        day,
        names,
        minute,
        starts,
        ends,
        open_,
        high,
        low,
        close,
        volume,
        np.ones((390, 7), np.bool_),
    )
    every = ScanView("it", day, day.close_ns, False, names, bars, {}, History(names), {}, {})

    for some in (("B",), ("A", "G"), names[1:]):
        fewer = narrowed(every, some)
        assert fewer.volume.tolist() == [every.volume[names.index(name)] for name in some]
        assert fewer.last.tolist() == [every.last[names.index(name)] for name in some]
    assert narrowed(every, ()).volume.shape == (0,)
