"""Indicators over the days before, and why one is null."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from trading import bars, trading_day, weekdays

from openbell.adapters.sources import open_source
from openbell.errors import RunError
from openbell.market.assembly import assemble
from openbell.market.bars import Prices
from openbell.market.calendar import Calendar, open_calendar
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.history import (
    History,
    history_day,
    missing_days,
    period_days,
    rolled,
    wanted_days,
)
from openbell.market.indicators import (
    BUILT_IN,
    IndicatorSpec,
    IndicatorValues,
    Trailing,
    indicator_values,
    trailing_average,
)

DAYS = weekdays(date(2024, 6, 3), 6)
TODAY = DAYS[-1]
DATES = tuple(day.date for day in DAYS[:-1])


def history_of(*closes: Any, symbols: tuple[str, ...] = ("A",)) -> History:
    """The first days with these closes: (m, s) or what spreads to it."""
    days = (
        history_day(bars(day, close, symbols=symbols), keep_rows=True)
        for day, close in zip(DAYS, closes, strict=False)
    )
    return History(symbols, tuple(days))


def computed(
    history: History,
    spec: IndicatorSpec,
    today: TradingDay = TODAY,
    expected: tuple[date, ...] = DATES[:3],
) -> IndicatorValues:
    return indicator_values(spec, BUILT_IN[spec.type], history, today, expected, MINUTE_NS)


DAILY = IndicatorSpec("x", "trailing_average", "3d")
INTRADAY = replace(DAILY, granularity="intraday")


def test_a_daily_indicator_gives_one_value_a_symbol() -> None:
    history = history_of([[1.0, 9.0]], [[2.0, 5.0]], [[6.0, 7.0]], symbols=("A", "B"))

    found = {type_: computed(history, replace(DAILY, type=type_)).values for type_ in BUILT_IN}

    assert found["trailing_average"].tolist() == [3.0, 7.0]
    assert found["trailing_max"].tolist() == [6.0, 9.0]
    assert found["trailing_min"].tolist() == [1.0, 5.0]


def test_an_intraday_indicator_gives_one_value_a_bar_over_the_days_that_have_it() -> None:
    nan = np.nan
    days = [
        [[1.0], [nan], [nan], [3.0]],
        [[2.0], [4.0], [nan], [5.0]],
        [[6.0], [8.0], [nan], [nan]],
    ]

    found = computed(history_of(*days), INTRADAY)

    np.testing.assert_equal(found.values[:, 0], [3.0, 6.0, nan, 4.0])
    assert found.reasons == {}


@pytest.mark.parametrize("spec", [DAILY, INTRADAY])
def test_a_symbol_with_too_few_days_is_null_and_says_why(spec: IndicatorSpec) -> None:
    history = history_of([[1.0, np.nan]], [[1.0, 2.0]], [[1.0, 2.0]], symbols=("A", "B"))

    found = computed(history, spec)

    assert not np.isnan(found.values[..., 0]).any()
    assert np.isnan(found.values[..., 1]).all()
    assert found.reasons == {"B": "2 of 3 trading days before 2024-06-10 have data"}


def test_days_that_were_not_loaded_are_told_from_days_without_data() -> None:
    history = history_of([[1.0]], [[np.nan]])

    found = computed(history, DAILY, expected=DATES)

    reason = "1 of 5 trading days before 2024-06-10 have data; 3 of them not loaded"
    assert found.reasons == {"A": reason}


def test_bars_that_were_not_kept_count_as_not_loaded() -> None:
    history = history_of([[1.0]], [[1.0]], [[1.0]])
    history = History(("A",), tuple(replace(day, rows=None) for day in history.days))

    assert computed(history, DAILY).reasons == {}
    assert "3 of them not loaded" in computed(history, INTRADAY).reasons["A"]


def test_a_period_longer_than_the_data_is_null_and_no_error() -> None:
    found = computed(History(("A", "B")), INTRADAY)

    assert found.values.shape == (4, 2)
    assert np.isnan(found.values).all()
    assert set(found.reasons) == {"A", "B"}


def test_a_period_without_a_trading_day_is_null() -> None:
    found = computed(History(("A",)), replace(DAILY, period="1w"), expected=())

    assert found.reasons == {"A": "no trading day in the 1w before 2024-06-10"}


def test_an_indicator_of_some_symbols_has_those_in_the_order_asked_for() -> None:
    history = history_of(*[[[1.0, 2.0, 3.0]]] * 3, symbols=("A", "B", "C"))

    found = computed(history, replace(DAILY, symbols=("C", "ZZ", "A")))

    assert found.symbols == ("C", "A", "ZZ")
    np.testing.assert_equal(found.values, [3.0, 1.0, np.nan])
    assert found.reasons == {"ZZ": "not among the symbols of the run"}


def test_bars_are_aligned_by_wall_time_over_a_clock_change_and_a_break() -> None:
    hours = ("09:30", "09:32"), ("10:00", "10:02")
    summer, winter = trading_day(date(2024, 11, 1), *hours), trading_day(date(2024, 11, 4), *hours)
    late = trading_day(date(2024, 11, 5), ("09:31", "10:01"))
    history = History(
        ("A",),
        tuple(
            history_day(
                bars(day, np.arange(len(day.grid(MINUTE_NS)[0]))[:, None] + 1.0), keep_rows=True
            )
            for day in (summer, winter)
        ),
    )
    expected = (summer.date, winter.date)

    same = computed(history, INTRADAY, replace(winter, date=date(2024, 11, 6)), expected)
    found = computed(history, INTRADAY, late, expected)

    assert same.values.shape == (4, 1)
    at = np.flatnonzero(~np.isnan(found.values[:, 0]))
    assert at.tolist() == [0, 29]  # 09:31 and 10:00
    assert found.values[at, 0].tolist() == [2.0, 3.0]


def test_a_day_at_unusual_hours_has_no_intraday_values_and_says_why() -> None:
    evening = trading_day(date(2024, 6, 10), ("18:15", "19:15"), kind="special")

    found = computed(history_of(*[[[1.0]]] * 3), INTRADAY, evening)

    assert found.values.shape == (60, 1)
    reason = "none of the 3 trading days before 2024-06-10 has a bar at that day's times"
    assert found.reasons == {"A": reason}


def test_the_bits_of_an_average_do_not_depend_on_the_other_symbols() -> None:
    days = weekdays(date(2023, 1, 2), 253)
    closes = np.random.default_rng(3).uniform(0.1, 1e6, (253, 5))
    symbols = tuple("ABCDE")
    spec = replace(DAILY, period="252d")
    dates = tuple(day.date for day in days[:-1])

    def average(picked: list[int]) -> Prices:
        names = tuple(symbols[n] for n in picked)
        past = tuple(
            history_day(bars(day, close[picked][None], symbols=names), keep_rows=False)
            for day, close in zip(days[:-1], closes, strict=False)
        )
        return computed(History(names, past), spec, days[-1], dates).values

    assert average([2])[0] == average([0, 1, 2, 3, 4])[2]
    assert average([2])[0] == pytest.approx(closes[:252, 2].mean())


def test_values_can_not_be_written_to() -> None:
    found = computed(history_of(*[[[1.0]]] * 3), DAILY)

    with pytest.raises(ValueError, match="read-only"):
        found.values[0] = 0.0


def test_a_function_that_fails_is_named_with_the_day() -> None:
    def broken(trailing: Trailing) -> Prices:
        raise KeyError(trailing.spec.field)

    spec = replace(DAILY, type="broken")
    with pytest.raises(
        RunError, match=r'indicators\.x: type "broken" failed on 2024-06-10 .*close'
    ):
        indicator_values(spec, broken, history_of(*[[[1.0]]] * 3), TODAY, DATES[:3], MINUTE_NS)


def test_a_function_that_gives_another_shape_is_named_with_the_one_needed() -> None:
    def flat(trailing: Trailing) -> Prices:
        return np.zeros(len(trailing.symbols))

    spec = replace(INTRADAY, type="flat")
    with pytest.raises(RunError, match=r"shape \(1,\) .* intraday needs \(4, 1\)"):
        indicator_values(spec, flat, history_of(*[[[1.0]]] * 3), TODAY, DATES[:3], MINUTE_NS)


# Against pandas, on real data


@dataclass(frozen=True)
class Market:
    """A file's rows inside the hours, and a calendar with its days."""

    path: Path
    calendar: Calendar
    frame: pd.DataFrame
    """Rows inside the hours, with `day`, `wall` (minutes after midnight)."""


MARKETS = {
    "us_spy_1m_2024": ("XNYS", date(2024, 10, 7), date(2024, 11, 29)),
    "nse_index_1m_2021": ("XNSE", date(2021, 10, 8), date(2021, 11, 30)),
    "us_stocks_1m_2019": ("XNYS", date(2019, 2, 11), date(2019, 2, 15)),
}
"""An early close and a clock change; Muhurat and two feed gaps; minutes missing here and there."""


@pytest.fixture(scope="module", params=list(MARKETS))
def market(request: pytest.FixtureRequest, shared_data: Path) -> Market:
    exchange, first, last = MARKETS[request.param]
    path = shared_data / f"{request.param}.parquet"
    calendar = open_calendar(
        exchange, first, last, segment="equity" if exchange == "XNYS" else "index"
    )
    frame = pd.read_parquet(path)
    ts = pd.to_datetime(frame["ts"], utc=True)
    local = ts.dt.tz_convert(calendar.tz)
    frame["ns"] = ts.astype("int64")
    frame["day"] = local.dt.date
    frame["wall"] = local.dt.hour * 60 + local.dt.minute
    hours = {day.date: day for day in calendar.days()}
    opens = frame["day"].map({d: day.open_ns for d, day in hours.items()})
    closes = frame["day"].map({d: day.close_ns for d, day in hours.items()})
    return Market(path, calendar, frame[(frame["ns"] >= opens) & (frame["ns"] < closes)])


def runs(
    market: Market, *specs: IndicatorSpec
) -> Iterator[tuple[TradingDay, list[IndicatorValues]]]:
    """Each day's values, with a history that is loaded day by day."""
    source = open_source(market.path)
    symbols, calendar = source.info().symbols, market.calendar
    history = History(symbols)
    for today in calendar.days():
        wanted = wanted_days([spec.need for spec in specs], today.date, calendar.before)
        inside = [w for w in missing_days(history, wanted) if w.day.date >= calendar.first]
        came = [
            history_day(
                assemble(
                    source.read(w.day.open_ns, w.day.close_ns, symbols), w.day, MINUTE_NS
                ).rows,
                keep_rows=w.rows,
            )
            for w in inside
        ]
        history = rolled(history, wanted, came)
        values = []
        for spec in specs:
            days = period_days(
                spec.period,
                today.date,
                calendar.before,
                include_special=spec.include_special,
                days_before=spec.days_before,
            )
            dates = tuple(d.date for d in days)
            values.append(computed(history, spec, today, dates))
        yield today, values


HOW = {"trailing_average": "mean", "trailing_max": "max", "trailing_min": "min"}
OF_DAY = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}


def period_of(market: Market) -> int:
    return 3 if len(market.calendar.days()) < 10 else 10


def counted(market: Market, include_special: bool) -> list[date]:
    return [d.date for d in market.calendar.days() if include_special or d.kind != "special"]


@pytest.mark.parametrize("include_special", [False, True])
def test_daily_indicators_agree_with_pandas(market: Market, include_special: bool) -> None:
    n = period_of(market)
    specs = [
        IndicatorSpec(f"{type_} {name}", type_, f"{n}d", "daily", name, include_special)
        for type_ in HOW
        for name in ("open", "high", "low", "close", "volume")
    ]
    days = market.frame.groupby(["day", "symbol"]).agg(OF_DAY).unstack()
    every, only = counted(market, True), counted(market, include_special)
    # A special day that doesn't count still has a value: that of the days before it.
    expected = {
        spec.name: getattr(days[spec.field].reindex(only).rolling(n), HOW[spec.type])().shift(
            1 if include_special else 0
        )
        for spec in specs
    }

    found = 0
    for today, values in runs(market, *specs):
        for spec, value in zip(specs, values, strict=True):
            table = expected[spec.name]
            earlier = [d for d in only if d < today.date]
            if include_special:
                row = table.loc[today.date]
            elif earlier:
                row = table.loc[earlier[-1]]
            else:
                row = table.iloc[0] * np.nan
            np.testing.assert_allclose(value.values, row[list(value.symbols)], rtol=1e-12)
            found += int((~np.isnan(value.values)).sum())
            for symbol in value.reasons:
                assert f"of {n} trading days before {today.date}" in value.reasons[symbol]
    assert found > 0
    assert len(every) - len(only) == (0 if include_special or "nse" not in market.path.name else 1)


def test_the_average_true_range_agrees_with_pandas(market: Market) -> None:
    n = period_of(market)
    spec = IndicatorSpec("range", "average_true_range", f"{n}d")
    days = market.frame.groupby(["day", "symbol"]).agg(OF_DAY).unstack()
    only = counted(market, False)
    before = days["close"].reindex(only).shift(1)
    high, low = days["high"].reindex(only), days["low"].reindex(only)
    reach = [high - low, (high - before).abs(), (low - before).abs()]
    # A day without the close before it has no true range; numpy's fmax would give it one.
    ranges = reach[0].where(reach[0] > reach[1], reach[1])
    ranges = ranges.where(ranges > reach[2], reach[2]).where(before.notna())
    means = ranges.rolling(n).mean()

    found = 0
    for today, (value,) in runs(market, spec):
        earlier = [d for d in only if d < today.date]
        row = means.loc[earlier[-1]] if earlier else means.iloc[0] * np.nan
        np.testing.assert_allclose(value.values, row[list(value.symbols)], rtol=1e-12)
        found += int((~np.isnan(value.values)).sum())
        for symbol in value.reasons:
            assert f"of {n + 1} trading days before {today.date}" in value.reasons[symbol]

    assert found > 0


@pytest.mark.parametrize(
    ("type_", "field"),
    [
        ("trailing_average", "volume"),
        ("trailing_average", "close"),
        ("trailing_max", "high"),
        ("trailing_min", "low"),
    ],
)
@pytest.mark.parametrize("include_special", [False, True])
def test_intraday_indicators_agree_with_pandas(
    market: Market, type_: str, field: Any, include_special: bool
) -> None:
    n = period_of(market)
    spec = IndicatorSpec("x", type_, f"{n}d", "intraday", field, include_special)
    grid = market.frame.pivot(index="day", columns=["symbol", "wall"], values=field)
    has = grid.notna().T.groupby(level="symbol").any().T
    only = counted(market, include_special)

    lengths = set()
    for today, (value,) in runs(market, spec):
        m = today.minutes_expected()
        assert value.values.shape == (m, len(value.symbols))
        earlier = [d for d in only if d < today.date][-n:]
        walls = (today.grid(MINUTE_NS)[0] - today.midnight_ns) // MINUTE_NS
        for column, symbol in enumerate(value.symbols):
            enough = len(earlier) == n and bool(
                has[symbol].reindex(earlier, fill_value=False).all()
            )
            past = pd.DataFrame(grid[symbol]).reindex(index=earlier, columns=walls)
            row = getattr(past, HOW[type_])().to_numpy(np.float64)
            row = row if enough else np.full(m, np.nan)
            np.testing.assert_allclose(value.values[:, column], row, rtol=1e-12)
            lengths |= {m} if enough else set()
    # Regular days, and an early close or Muhurat where there is one.
    name = market.path.name
    assert lengths == ({390} if "stocks" in name else {390, 210} if "spy" in name else {375, 60})


def test_the_early_closes_afternoon_is_averaged_over_the_other_days(shared_data: Path) -> None:
    source = open_source(shared_data / "us_spy_1m_2024.parquet")
    calendar = open_calendar("XNYS", date(2024, 6, 24), date(2024, 7, 10))
    days = calendar.before(date(2024, 7, 10), 10)
    past = tuple(
        history_day(assemble(source.read(d.open_ns, d.close_ns), d, MINUTE_NS).rows, keep_rows=True)
        for d in days
    )
    today = calendar.day(date(2024, 7, 10))
    assert today is not None
    spec = IndicatorSpec("x", "trailing_average", "10d", "intraday", "volume")
    dates = tuple(d.date for d in days)

    found = indicator_values(
        spec, trailing_average, History(("SPY",), past), today, dates, MINUTE_NS
    )

    assert date(2024, 7, 3) in dates
    volumes = [day.rows.volume[-1, 0] for day in past if day.rows and day.day.kind == "regular"]
    assert len(volumes) == 9
    assert found.values[-1, 0] == pytest.approx(np.mean(volumes))
