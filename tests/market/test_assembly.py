"""From raw rows to a day's columns, against the reference's row-by-row account."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from reference import Used, clean, no_counts
from strategies import Case, cases

from openbell.market.assembly import assemble
from openbell.market.bars import BarBlock, DayData, Prices, RawRows, RowBatch
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay

FIVE = 5 * MINUTE_NS
OPEN = 1_756_179_900 * SECOND_NS


@given(case=st.one_of(cases("bars"), cases("ticks"), cases("bars", interval_ns=FIVE)))
def test_the_rows_that_count_and_the_counts_are_the_references(case: Case) -> None:
    got = assemble(case.raw_rows(), case.day, case.interval_ns)

    expected = clean(case.day, case.interval_ns, case.rows, case.symbols)
    assert used_of(got) == expected.used
    assert {
        symbol: {name: int(getattr(got.counts, name)[i]) for name in no_counts()}
        for i, symbol in enumerate(case.symbols)
    } == expected.counts
    assert [row.row - 1 for row in got.bad] == [position for position, _ in expected.bad]
    for row, (position, _) in zip(got.bad, expected.bad, strict=True):
        assert (row.file, row.symbol) == ("rows.parquet", case.rows[position][0])
        assert row.ts_ns == case.rows[position][1]


@given(case=st.one_of(cases("bars"), cases("ticks")))
def test_what_is_handed_out_is_read_only(case: Case) -> None:
    rows = assemble(case.raw_rows(), case.day, case.interval_ns).rows

    for name, column in vars(rows).items():
        if isinstance(column, np.ndarray) and name not in ("ts", "ends"):
            assert not column.flags.writeable, name


def used_of(data: DayData) -> dict[str, list[Used]]:
    rows = data.rows
    used: dict[str, list[Used]] = {symbol: [] for symbol in rows.symbols}
    if isinstance(rows, RowBatch):
        for code, ts, price, size in zip(
            rows.code.tolist(),
            rows.ts.tolist(),
            rows.close.tolist(),
            rows.volume.tolist(),
            strict=True,
        ):
            used[rows.symbols[code]].append(Used(ts, ts, price, price, price, price, size))
        return used
    for row, column in np.argwhere(rows.present).tolist():
        values = (rows.open, rows.high, rows.low, rows.close, rows.volume)
        bar = (float(value[row, column]) for value in values)
        used[rows.symbols[column]].append(Used(int(rows.ts[row]), int(rows.ends[row]), *bar))
    for value in (rows.open, rows.high, rows.low, rows.close, rows.volume):
        assert np.isnan(value[~rows.present]).all()
    return used


def a_day(*minutes: int) -> TradingDay:
    """Segments of so many minutes, an hour apart."""
    segments, opens = [], OPEN
    for length in minutes:
        segments.append(Segment(opens, opens + length * MINUTE_NS))
        opens = segments[-1].close_ns + 60 * MINUTE_NS
    return TradingDay(np.datetime64(OPEN, "ns").astype("datetime64[D]").item(), "UTC", (*segments,))


def raw_bars(ts: list[int], rows: list[tuple[float, float, float, float]]) -> RawRows:
    prices = np.array(rows, np.float64).reshape(-1, 4).T
    return RawRows(
        kind="bars",
        symbols=("A",),
        code=np.zeros(len(ts), np.int32),
        ts=np.array(ts, np.int64),
        columns={
            **dict(zip(("open", "high", "low", "close"), prices, strict=True)),
            "volume": np.ones(len(ts)),
        },
        locate=lambda i: ("day.csv", i + 1),
    )


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        ((math.nan, 11.0, 9.0, 10.0), "open is missing"),
        ((10.0, math.inf, 9.0, 10.0), "high is infinite"),
        ((10.0, 11.0, 0.0, 10.0), "low is 0, not above 0"),
        ((10.0, 11.0, 9.0, -2.5), "close is -2.5, not above 0"),
        ((10.0, 9.0, 11.0, 10.0), "high 9.0 is below low 11.0"),
    ],
)
def test_an_unusable_bar_says_where_it_is_and_why(
    bar: tuple[float, float, float, float], reason: str
) -> None:
    good = (10.0, 10.0, 10.0, 10.0)

    data = assemble(raw_bars([OPEN, OPEN + MINUTE_NS], [good, bar]), a_day(3), MINUTE_NS)

    (bad,) = data.bad
    assert (bad.file, bad.row, bad.symbol, bad.reason) == ("day.csv", 2, "A", reason)
    assert data.counts.bad_rows.tolist() == [1]


def test_a_bar_between_two_minutes_is_off_the_grid() -> None:
    data = assemble(raw_bars([OPEN + SECOND_NS], [(10.0,) * 4]), a_day(3), MINUTE_NS)

    assert [bad.reason for bad in data.bad] == ["ts is not on the interval's grid from the open"]


def test_of_equal_bars_the_last_in_the_sources_order_counts() -> None:
    raw = raw_bars(
        [OPEN + MINUTE_NS, OPEN, OPEN, OPEN], [(p, p, p, p) for p in (4.0, 1.0, 3.0, 2.0)]
    )

    data = assemble(raw, a_day(2), MINUTE_NS)

    assert isinstance(data.rows, BarBlock)
    assert data.rows.close[:, 0].tolist() == [2.0, 4.0]
    assert (data.counts.duplicates.tolist(), data.counts.out_of_order.tolist()) == ([2], [3])


def test_an_open_outside_the_bar_is_used_and_counted() -> None:
    data = assemble(raw_bars([OPEN], [(12.0, 11.0, 9.0, 10.0)]), a_day(1), MINUTE_NS)

    assert data.counts.ohlc_outside.tolist() == [1]
    assert data.counts.bad_rows.tolist() == [0]
    assert isinstance(data.rows, BarBlock)
    assert data.rows.open[0, 0] == 12.0


def test_a_whole_day_in_order_is_not_copied() -> None:
    ts = [OPEN + minute * MINUTE_NS for minute in range(3)]
    raw = raw_bars(ts, [(10.0, 10.0, 10.0, 10.0)] * 3)

    data = assemble(raw, a_day(3), MINUTE_NS)

    assert isinstance(data.rows, BarBlock)
    assert np.shares_memory(data.rows.close, raw.columns["close"])
    assert raw.columns["close"].flags.writeable  # the source's own array stays as it was


def test_a_day_without_a_row_is_empty() -> None:
    data = assemble(raw_bars([], []), a_day(2, 3), MINUTE_NS)

    assert isinstance(data.rows, BarBlock)
    assert data.rows.present.shape == (5, 1)
    assert not data.rows.present.any()
    assert data.counts.rows.tolist() == [0]


def test_a_bar_cut_short_by_the_close_ends_there() -> None:
    data = assemble(raw_bars([OPEN + FIVE], [(10.0, 10.0, 10.0, 10.0)]), a_day(7), FIVE)

    assert isinstance(data.rows, BarBlock)
    assert data.rows.ends.tolist() == [OPEN + FIVE, OPEN + 7 * MINUTE_NS]


ODD = st.sampled_from([1.0, 2.0, 3.0] * 6 + [0.0, -1.0, math.nan, math.inf])


@given(prices=arrays(np.float64, (4, 6), elements=ODD))
def test_a_day_in_just_the_blocks_order_gives_what_another_order_gives(prices: Prices) -> None:
    ordered = RawRows(
        kind="bars",
        symbols=("A", "B", "C"),
        code=np.tile(np.arange(3, dtype=np.int32), 2),
        ts=np.repeat(OPEN + np.arange(2) * MINUTE_NS, 3),
        columns={
            **dict(zip(("open", "high", "low", "close"), prices, strict=True)),
            "volume": np.arange(6.0),
        },
        locate=lambda i: ("day.csv", i + 1),
    )
    turned = replace(
        ordered,
        code=ordered.code[::-1],
        ts=ordered.ts[::-1],
        columns={name: column[::-1] for name, column in ordered.columns.items()},
    )

    one, other = (assemble(raw, a_day(2), MINUTE_NS) for raw in (ordered, turned))

    assert used_of(one) == used_of(other)
    for name in ("rows", "outside_hours", "duplicates", "bad_rows", "ohlc_outside"):
        assert getattr(one.counts, name).tolist() == getattr(other.counts, name).tolist()
    assert [row.reason for row in one.bad] == [row.reason for row in other.bad][::-1]
