"""History and indicators in whole runs: what is read when, and values beside those of pandas."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from commands import Command
from numpy.typing import NDArray
from observed import Counting, Observed, engine_of, observe, walk

import openbell
from openbell.adapters.sample import write_sample
from openbell.adapters.sources import Source
from openbell.errors import RunError
from openbell.market.indicators import IndicatorValues, Trailing

ROOT = Path(__file__).parents[2]
NEW_YORK, NSE = "America/New_York", "Asia/Kolkata"
MEAN = {"type": "trailing_average", "period": "10d"}


def config(exchange: str = "XNYS", **history: Any) -> dict[str, Any]:
    return {
        "exchange": exchange,
        "sessions": [{"name": "Opening", "start": "open", "end": "open+14m"}],
        "history": history,
    }


@pytest.fixture(scope="module")
def month() -> pa.Table:
    """2024-06-03 to 07-05: 23 trading days, two holidays and an early close among them."""
    return walk("XNYS", "2024-06-03", "2024-07-05")


def counted(keys: dict[str, Any], data: Any, **options: Any) -> tuple[Observed, Counting]:
    counters: list[Counting] = []

    def count(source: Source) -> Counting:
        counters.append(Counting(source))
        return counters[0]

    found = engine_of(keys, data, source=count, **options)
    found.engine.run()
    return found, counters[0]


def values_by_day(keys: dict[str, Any], data: Any, **options: Any) -> dict[str, IndicatorValues]:
    """The only indicator's values of each day."""
    found = observe(keys, data, **options)
    indicators = [c.indicators.values[0] for c in found.kept.commits if c.indicators]
    return dict(zip(found.dates, indicators, strict=True))


# What is read


def test_each_day_is_read_once_however_long_the_window(month: pa.Table) -> None:
    keys = config(indicators={"mean": {**MEAN, "granularity": "intraday"}})

    found, source = counted(keys, month, start=date(2024, 6, 17))

    assert len(found.dates) == 13  # from 06-17 to 07-05
    assert len(source.reads) == 10 + 13
    assert set(source.times.values()) == {1}
    assert min(source.times) == date(2024, 6, 3)


def test_days_of_the_run_are_handed_over_as_days_before(month: pa.Table) -> None:
    _, source = counted(config(indicators={"mean": MEAN}), month)

    assert set(source.times.values()) == {1}
    assert len(source.reads) == 23


def test_who_asks_for_no_history_reads_none(month: pa.Table) -> None:
    _, source = counted(config(), month, start=date(2024, 7, 1))

    assert len(source.reads) == 4


def test_entries_reach_back_differently_and_for_their_own_symbols(month: pa.Table) -> None:
    keys = config(
        data=[
            {"trailing_days": 2, "intervals": ["1m", "1d"], "apply_to": "all"},
            {"trailing_days": 5, "intervals": ["1d"], "apply_to": ["BBB"]},
        ]
    )

    _, source = counted(keys, month, start=date(2024, 7, 1), end=date(2024, 7, 1))

    assert [(f"{day:%m-%d}", symbols) for day, symbols in source.reads] == [
        ("06-24", ("BBB",)),
        ("06-25", ("BBB",)),
        ("06-26", ("BBB",)),
        ("06-27", ("AAA", "BBB")),
        ("06-28", ("AAA", "BBB")),
        ("07-01", ("AAA", "BBB")),
    ]


def test_the_window_counts_trading_days_over_holidays(month: pa.Table) -> None:
    keys = config(data=[{"trailing_days": 3, "intervals": ["1d"]}])

    _, source = counted(keys, month, start=date(2024, 7, 5))

    # The 4th is a holiday.
    assert [f"{day:%m-%d}" for day, _ in source.reads] == ["07-01", "07-02", "07-03", "07-05"]


# Beside pandas


@pytest.fixture(scope="module")
def spy(shared_data: Path) -> pd.DataFrame:
    """SPY's minutes inside the hours, early closes included."""
    rows = pq.read_table(shared_data / "us_spy_1m_2024.parquet").to_pandas()
    rows["local"] = rows.ts.dt.tz_convert(NEW_YORK)
    rows["day"], rows["wall"] = rows.local.dt.date, rows.local.dt.strftime("%H:%M")
    close = np.where(rows.day.isin([date(2024, 7, 3), date(2024, 11, 29)]), "13:00", "16:00")
    return pd.DataFrame(rows[(rows.wall >= "09:30") & (rows.wall < close)])


@pytest.fixture(scope="module")
def nifty(shared_data: Path) -> pd.DataFrame:
    rows = pq.read_table(shared_data / "nse_index_1m_2021.parquet").to_pandas()
    rows["local"] = rows.ts.dt.tz_convert(NSE)
    rows["day"], rows["wall"] = rows.local.dt.date, rows.local.dt.strftime("%H:%M")
    muhurat = rows.day == date(2021, 11, 4)
    inside = (rows.wall >= "09:15") & (rows.wall < "15:30") & ~muhurat
    return pd.DataFrame(rows[inside | (muhurat & (rows.wall >= "18:15") & (rows.wall < "19:15"))])


def one(values: dict[str, IndicatorValues], symbol: str) -> pd.Series:
    """A daily indicator of one symbol, by date."""
    return pd.Series(
        {day: v.values[v.symbols.index(symbol)] for day, v in values.items()}, dtype=float
    )


@pytest.mark.parametrize(
    ("kind", "field", "by_day", "over"),
    [
        ("trailing_average", "close", "last", "mean"),
        ("trailing_average", "volume", "sum", "mean"),
        ("trailing_average", "open", "first", "mean"),
        ("trailing_max", "high", "max", "max"),
        ("trailing_min", "low", "min", "min"),
    ],
)
def test_daily_indicators_are_those_of_pandas(
    spy: pd.DataFrame, shared_data: Path, kind: str, field: str, by_day: str, over: str
) -> None:
    keys = config(indicators={"it": {"type": kind, "period": "10d", "field": field}})

    got = one(values_by_day(keys, shared_data / "us_spy_1m_2024.parquet"), "SPY")

    daily = spy.groupby("day")[field].agg(by_day)
    expected = daily.rolling(10).agg(over).shift(1)
    assert len(got) == 112
    np.testing.assert_allclose(got.to_numpy(), expected.to_numpy(), rtol=1e-12)
    assert got.isna().sum() == 10


def test_a_period_of_weeks_counts_calendar_days(spy: pd.DataFrame, shared_data: Path) -> None:
    keys = config(indicators={"it": {"type": "trailing_max", "period": "4w", "field": "high"}})

    got = one(values_by_day(keys, shared_data / "us_spy_1m_2024.parquet"), "SPY")

    highs = spy.groupby("day").high.max()
    for day in (date(2024, 7, 22), date(2024, 9, 3), date(2024, 11, 29)):
        since = day - pd.Timedelta(weeks=4)
        assert got[str(day)] == highs[(highs.index >= since) & (highs.index < day)].max()
    assert np.isnan(got["2024-07-19"])  # 06-21 lies before the file


def test_intraday_averages_are_those_of_pandas_on_whole_and_half_days(
    spy: pd.DataFrame, shared_data: Path
) -> None:
    keys = config(
        indicators={"it": {**MEAN, "granularity": "intraday", "field": "volume"}},
    )

    got = values_by_day(keys, shared_data / "us_spy_1m_2024.parquet", start=date(2024, 11, 25))

    minutes = spy.pivot(index="day", columns="wall", values="volume")
    days = list(minutes.index)
    shapes = {}
    for day, values in got.items():
        of = values.values[:, 0]
        place = days.index(date.fromisoformat(day))
        expected = minutes.iloc[place - 10 : place].mean().to_numpy()[: len(of)]
        np.testing.assert_allclose(of, expected, rtol=1e-12)
        shapes[day] = len(of)
    assert shapes == {"2024-11-25": 390, "2024-11-26": 390, "2024-11-27": 390, "2024-11-29": 210}


def test_intraday_averages_of_an_indian_day_have_375_minutes(
    nifty: pd.DataFrame, shared_data: Path
) -> None:
    keys = config("XNSE", indicators={"it": {**MEAN, "granularity": "intraday"}})

    got = values_by_day(
        keys,
        shared_data / "nse_index_1m_2021.parquet",
        start=date(2021, 6, 1),
        end=date(2021, 6, 2),
    )["2021-06-01"]

    assert got.values.shape == (375, 2)
    for n, symbol in enumerate(got.symbols):
        minutes = nifty[nifty.symbol == symbol].pivot(index="day", columns="wall", values="close")
        before = minutes[minutes.index < date(2021, 6, 1)].iloc[-10:]
        expected = before.loc[:, "09:15":"15:29"].mean()
        np.testing.assert_allclose(got.values[:, n], expected.to_numpy(), rtol=1e-12)


def test_a_special_evening_counts_only_where_asked_for(
    nifty: pd.DataFrame, shared_data: Path
) -> None:
    found = {}
    for special in (False, True):
        keys = config(
            "XNSE", indicators={"it": {**MEAN, "period": "3d", "include_special": special}}
        )
        got = values_by_day(
            keys,
            shared_data / "nse_index_1m_2021.parquet",
            start=date(2021, 11, 8),
            end=date(2021, 11, 8),
        )
        found[special] = one(got, "NIFTY")["2021-11-08"]

    closes = nifty[nifty.symbol == "NIFTY"].groupby("day").close.last()
    with_evening = closes[closes.index < date(2021, 11, 8)].iloc[-3:]
    without = closes[closes.index < date(2021, 11, 4)].iloc[-3:]
    assert with_evening.index[-1] == date(2021, 11, 4)
    assert found[True] == pytest.approx(with_evening.mean(), rel=1e-12)
    assert found[False] == pytest.approx(without.mean(), rel=1e-12)


# Too little, and what of it is said


def test_too_little_history_is_null_and_the_summary_says_why(month: pa.Table) -> None:
    result = openbell.backtest(config(indicators={"mean": MEAN}), month)

    said = result.summary["indicators"]["mean"]
    assert (said["days"], said["values"], said["nulls"]) == (23, 13 * 2, 10 * 2)
    assert said["reasons"][0] == (
        "AAA: 0 of 10 trading days before 2024-06-03 have data; 10 of them not loaded"
    )


def test_where_a_run_begins_changes_nothing_of_what_is_said(month: pa.Table) -> None:
    """A restart begins on any day, and has to come to the same digests."""
    days = pc.strftime(pc.cast(month["ts"], pa.timestamp("ns", NEW_YORK)), "%Y-%m-%d")
    without = month.filter(pc.not_equal(days, "2024-06-11"))
    keys = config(indicators={"mean": {**MEAN, "period": "3d"}})

    whole = values_by_day(keys, without)["2024-06-13"]
    late = values_by_day(keys, without, start=date(2024, 6, 13))["2024-06-13"]

    said = "2 of 3 trading days before 2024-06-13 have data; 1 of them not loaded"
    assert whole.reasons == late.reasons == {"AAA": said, "BBB": said}


def test_a_period_longer_than_the_data_is_null_and_no_error(
    month: pa.Table, tmp_path: Path
) -> None:
    keys = config(indicators={"high": {"type": "trailing_max", "period": "52w", "field": "high"}})

    result = openbell.backtest(keys, month, out=tmp_path / "out")

    said = result.summary["indicators"]["high"]
    assert (said["values"], said["nulls"]) == (0, 46)
    assert said["reasons"][0].startswith("AAA: 0 of 250 trading days before 2024-06-03 have data")


def test_an_indicator_of_symbols_that_are_not_run_is_null(month: pa.Table) -> None:
    found = {
        granularity: values_by_day(
            config(indicators={"it": {**MEAN, "granularity": granularity, "apply_to": ["ZZZ"]}}),
            month,
            start=date(2024, 7, 5),
        )["2024-07-05"]
        for granularity in ("daily", "intraday")
    }

    assert {name: of.values.shape for name, of in found.items()} == {
        "daily": (1,),
        "intraday": (390, 1),
    }
    for of in found.values():
        assert np.isnan(of.values).all()
        assert of.reasons == {"ZZZ": "not among the symbols of the run"}


def test_indicators_are_registered_anew_each_day(month: pa.Table) -> None:
    got = values_by_day(config(indicators={"mean": {**MEAN, "period": "3d"}}), month)

    known = one(got, "AAA").dropna()
    assert len(known) == 20
    assert known.nunique() > 15


# Of one's own


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> Any:
    spec = importlib.util.spec_from_file_location(
        "indicator_plugin", ROOT / "examples/indicator_plugin.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The example as a package that is installed."""
    site = tmp_path / "site"
    about = site / "indicator_plugin-1.0.dist-info"
    about.mkdir(parents=True)
    (site / "indicator_plugin.py").write_text((ROOT / "examples/indicator_plugin.py").read_text())
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: indicator-plugin\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[openbell.indicators]\nmedian_true_range = indicator_plugin:median_true_range\n"
        "usual_volume = indicator_plugin:usual_volume\n"
    )
    monkeypatch.syspath_prepend(str(site))
    yield site
    sys.modules.pop("indicator_plugin", None)


ATR = {"atr": {"type": "median_true_range", "period": "5d"}}


def true_range(rows: pa.Table, days: int) -> dict[str, float]:
    """The example's indicator for the day after the last, by pandas."""
    frame = rows.to_pandas()
    frame["day"] = frame.ts.dt.tz_convert(NEW_YORK).dt.date
    daily = frame.groupby(["symbol", "day"]).agg(
        high=("high", "max"), low=("low", "min"), close=("close", "last")
    )
    found = {}
    for symbol in ("AAA", "BBB"):
        of = daily.loc[symbol].iloc[-days:]
        before = of.close.shift(1)
        high = np.fmax(of.high, before)
        low = np.fmin(of.low, before)
        found[symbol] = float((high - low).median())
    return found


def test_an_indicator_of_ones_own_may_be_passed(month: pa.Table, plugin: Any) -> None:
    got = values_by_day(
        config(indicators=ATR),
        month,
        indicators={"median_true_range": plugin.median_true_range},
    )["2024-07-05"]

    day = month["ts"].to_pandas().dt.tz_convert(NEW_YORK).dt.date
    expected = true_range(month.filter(pa.array(day < date(2024, 7, 5))), 5)
    assert dict(zip(got.symbols, got.values.tolist(), strict=True)) == pytest.approx(expected)


def test_an_indicator_of_ones_own_may_be_installed(
    month: pa.Table, plugin: Any, installed: Path
) -> None:
    by_name = values_by_day(config(indicators=ATR), month)["2024-07-05"]
    passed = values_by_day(
        config(indicators=ATR),
        month,
        indicators={"median_true_range": plugin.median_true_range},
    )["2024-07-05"]

    assert by_name.values.tobytes() == passed.values.tobytes()
    assert not np.isnan(by_name.values).any()


def test_an_intraday_indicator_of_ones_own_has_its_options(
    month: pa.Table, installed: Path
) -> None:
    usual = {"type": "usual_volume", "period": "4d", "granularity": "intraday", "field": "volume"}

    plain = values_by_day(config(indicators={"it": usual}), month)["2024-06-28"]
    doubled = values_by_day(config(indicators={"it": {**usual, "options": {"factor": 2}}}), month)[
        "2024-06-28"
    ]

    assert plain.values.shape == (390, 2)
    np.testing.assert_array_equal(doubled.values, 2 * plain.values)


def test_an_indicator_that_fails_names_itself_and_the_day(month: pa.Table) -> None:
    def broken(trailing: Trailing) -> NDArray[np.float64]:
        raise ZeroDivisionError("no days")

    with pytest.raises(RunError) as raised:
        values_by_day(
            config(indicators={"it": {"type": "broken", "period": "2d"}}),
            month,
            start=date(2024, 7, 1),
            indicators={"broken": broken},
        )

    assert str(raised.value) == (
        'history.indicators.it: type "broken" failed on 2024-07-01 with ZeroDivisionError: no days; '
        "correct its function or options, or leave the indicator out"
    )


# What a stranger gets wrong


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """The command line, in a folder with ten days of minutes."""
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "minutes", symbols=2, days=10, seed=7, start=date(2024, 1, 2))
    return Command(monkeypatch, capsys)


def configured(history: str) -> None:
    Path("it.yaml").write_text(
        "exchange: XNYS\nsessions: [{name: Opening, start: 09:30, end: 09:44}]\n"
        f"data: {{path: minutes/}}\nhistory: {history}\n"
    )


BACKTEST = ("backtest", "--config", "it.yaml", "--out", "out")


def test_an_unknown_indicator_is_named_with_the_nearest(run: Command) -> None:
    configured("{indicators: {it: {type: trailing_averge, period: 10d}}}")

    ran = run(*BACKTEST)

    assert ran.code == 2
    (line,) = ran.messages
    assert line.startswith('it.yaml: history.indicators.it.type is "trailing_averge", which is')
    assert 'did you mean "trailing_average"' in line
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("history", "key"),
    [
        ("{indicators: {it: {type: trailing_max, period: 90000d}}}", "history.indicators.it"),
        ("{data: [{trailing_days: 90000}]}", "history.data[0]"),
    ],
)
def test_a_window_over_the_calendars_beginning_is_named(
    run: Command, history: str, key: str
) -> None:
    configured(history)

    ran = run(*BACKTEST)

    assert ran.code == 2
    (line,) = ran.messages
    assert f"{key}: 90000d before 2024-01-02: XNYS: 90000 trading days" in line
    assert "ask for fewer, or start later" in line
    assert not Path("out").exists()


def test_a_half_written_day_is_named_with_its_file(run: Command) -> None:
    configured("{indicators: {it: {type: trailing_max, period: 3d}}}")
    day = sorted(Path("minutes").glob("*.parquet"))[5]
    day.write_bytes(day.read_bytes()[: day.stat().st_size // 2])

    ran = run(*BACKTEST)

    assert ran.code == 2
    (line,) = ran.messages
    assert str(day) in line
    assert not Path("out").exists()


def test_a_period_longer_than_the_data_runs_on_the_command_line(run: Command) -> None:
    configured("{indicators: {it: {type: trailing_max, period: 52w}}}")

    ran = run(*BACKTEST)

    assert (ran.code, ran.err) == (0, "")
