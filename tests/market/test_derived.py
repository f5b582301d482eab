"""Derived bars: the reference's, bit for bit, and however the rows are cut."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import clean, derived_bars
from runs import bars_of, joined, pieces, plain, register
from strategies import Case, cases

from openbell.market.assembly import assemble
from openbell.market.bars import BarBlock, RowBatch, Rows
from openbell.market.days import MINUTE_NS, Nanoseconds, Segment, TradingDay
from openbell.market.derived import Under, derive, no_bucket, no_buckets, with_bars, with_rows
from openbell.market.results import DerivedBars

ONE_DAY = st.one_of(
    cases("bars", minutes_max=80),
    cases("ticks", minutes_max=80),
    cases("bars", interval_ns=5 * MINUTE_NS),
)


def derived(
    rows: Rows, day: TradingDay, minutes: int, cuts: Iterable[int] = ()
) -> tuple[Under, list[DerivedBars]]:
    """The watermark follows the rows, as it does in a run."""
    bucket: Under = no_bucket(len(rows.symbols))
    parts = list[DerivedBars]()
    for piece in pieces(rows, cuts):
        known = piece.ends if isinstance(piece, BarBlock) else piece.ts
        watermark = int(known[-1]) if len(known) else day.open_ns
        bucket, bars = derive(bucket, piece, day, minutes, watermark)
        parts.append(bars)
    bucket, bars = derive(bucket, rows.rows(len(rows), len(rows)), day, minutes, day.close_ns)
    return bucket, [*parts, bars]


@given(case=ONE_DAY, minutes=st.sampled_from((5, 15, 60)))
def test_derived_bars_are_the_references(case: Case, minutes: int) -> None:
    case = register(case)
    rows = assemble(case.raw_rows(), case.day, case.interval_ns).rows

    _, parts = derived(rows, case.day, minutes)

    used = clean(case.day, case.interval_ns, case.rows, case.symbols).used
    assert bars_of(parts) == derived_bars(case.day, used, minutes)


@given(
    case=ONE_DAY,
    minutes=st.sampled_from((5, 15)),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_derived_bars_are_the_same_however_the_rows_are_cut(
    case: Case, minutes: int, cuts: list[int]
) -> None:
    rows = assemble(case.raw_rows(), case.day, case.interval_ns).rows

    nothing_open = no_bucket if isinstance(rows, BarBlock) else no_buckets

    bucket, parts = derived(rows, case.day, minutes, cuts)

    whole_bucket, whole = derived(rows, case.day, minutes)
    assert joined(parts) == joined(whole)
    assert plain(bucket) == plain(whole_bucket) == plain(nothing_open(len(rows.symbols)))


@pytest.mark.parametrize("cut", range(1, 15))
@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_volumes_are_summed_row_by_row_across_a_cut(kind: str, cut: int) -> None:
    # Summed in pairs, or in two halves, these have other last digits.
    volumes = [1e16, 1.0, 1.0, 0.1, 0.2, 0.3, -1e16, 0.7, 1e9, 1 / 3, 0.1, 0.1, 0.1, 3.0, 1e-9]
    day = TradingDay(date(1970, 1, 1), "UTC", (Segment(0, 15 * MINUTE_NS),))
    expected = 0.0
    for volume in volumes:
        expected += volume
    rows = rows_with(day, volumes, kind)

    _, parts = derived(rows, day, 15, [cut])

    (volume,) = np.concatenate([part.volume for part in parts]).tolist()
    assert float(volume).hex() == expected.hex()


def rows_with(day: TradingDay, volumes: list[float], kind: str) -> Rows:
    starts, ends = day.grid(MINUTE_NS)
    size, price = np.array(volumes), np.full(len(volumes), 10.0)
    if kind == "ticks":
        code = np.zeros(len(volumes), np.int32)
        ts: Nanoseconds = starts[: len(volumes)]
        return RowBatch.ticks(day, ("A",), code, ts, price, size, by_time=True)
    column, there = price[:, None], np.ones((len(volumes), 1), np.bool_)
    return BarBlock(
        day, ("A",), MINUTE_NS, starts, ends, column, column, column, column, size[:, None], there
    )


def test_a_bucket_is_finished_when_the_watermark_reaches_its_end_and_not_before() -> None:
    day = TradingDay(date(1970, 1, 1), "UTC", (Segment(0, 12 * MINUTE_NS),))
    rows = rows_with(day, [1.0] * 12, "bars")
    bucket: Under = no_bucket(1)

    bucket, early = derive(bucket, rows.rows(0, 5), day, 5, 5 * MINUTE_NS - 1)
    bucket, on_time = derive(bucket, rows.rows(5, 5), day, 5, 5 * MINUTE_NS)
    _, rest = derive(bucket, rows.rows(5, 12), day, 5, 12 * MINUTE_NS)

    assert len(early) == 0
    assert on_time.ts.tolist() == [0]
    assert rest.ts.tolist() == [5 * MINUTE_NS, 10 * MINUTE_NS]  # the last one ends at the close
    assert rest.volume.tolist() == [5.0, 2.0]


def test_each_segments_buckets_begin_at_its_open() -> None:
    later = 33 * MINUTE_NS
    day = TradingDay(
        date(1970, 1, 1), "UTC", (Segment(0, 7 * MINUTE_NS), Segment(later, later + 6 * MINUTE_NS))
    )

    _, parts = derived(rows_with(day, [1.0] * 13, "bars"), day, 5)

    minutes = [ts // MINUTE_NS for part in parts for ts in part.ts.tolist()]
    assert minutes == [0, 5, 33, 38]
    assert [v for part in parts for v in part.volume.tolist()] == [5.0, 2.0, 5.0, 1.0]


@given(
    told=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(1, 99)), max_size=30),
    cuts=st.lists(st.integers(0, 30)),
)
def test_minutes_of_revised_bars_are_what_stands_however_they_are_cut(
    told: list[tuple[int, int, int]], cuts: list[int]
) -> None:
    """As scans see them."""
    day = TradingDay(date(2024, 7, 1), "UTC", (Segment(0, 10 * MINUTE_NS),))
    code = np.array([symbol for symbol, _, _ in told], np.int32)
    ts = np.array([minute * MINUTE_NS for _, minute, _ in told], np.int64)
    price = np.array([price for _, _, price in told], np.float64)
    came = [(symbol, minute) for symbol, minute, _ in told]
    again = np.array([key in came[:n] for n, key in enumerate(came)], np.bool_)
    rows = RowBatch(
        day, ("A", "B"), MINUTE_NS, code, ts, ts, price, price + 1, price - 1, price, 2 * price,
        revises=again,
    )  # fmt: skip
    starts, _ = day.grid(MINUTE_NS)

    cut = no_buckets(2)
    for piece in pieces(rows, cuts):
        assert isinstance(piece, RowBatch)
        cut = with_bars(cut, piece, starts) if len(piece) else cut

    stands = {(symbol, minute): price for symbol, minute, price in told}
    cells = {
        (symbol, number): cut.close[row, symbol]
        for row, number in enumerate(cut.number.tolist())
        for symbol in (0, 1)
        if not np.isnan(cut.close[row, symbol])
    }
    assert cells == stands
    whole = with_rows(no_buckets(2), rows.standing, starts) if told else cut
    for name, column in vars(whole).items():
        assert np.array_equal(getattr(cut, name), column, equal_nan=column.dtype.kind == "f"), name
