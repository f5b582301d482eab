"""What a feed's rows mean: against plain loops, however the rows are cut."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import locate

from openbell.adapters.marks import is_partial, trade_number
from openbell.market import rules as rules_module
from openbell.market.arrivals import added, no_counts, nothing_came, taken_in
from openbell.market.assembly import as_came, assemble
from openbell.market.bars import BAR_COLUMNS, TICK_COLUMNS, RawRows, RowBatch, RowCounts
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay
from openbell.market.rules import RowRules

OPENS = int(datetime(2024, 7, 1, 9, tzinfo=UTC).timestamp()) * SECOND_NS
DAY = TradingDay(date(2024, 7, 1), "UTC", (Segment(OPENS, OPENS + 30 * MINUTE_NS),))
SYMBOLS = ("A", "B", "C")


class Row(NamedTuple):
    symbol: int
    minute: int
    price: float
    size: float
    trade_id: float = math.nan
    partial: bool = False


class Taken(NamedTuple):
    rows: list[tuple[int, int, float, float]]
    """Symbol, minute, price, size."""
    known: list[int]
    counts: Counter[tuple[str, int]]


def plainly(rows: Sequence[Row], rules: RowRules, kind: str, window: int) -> Taken:
    """One row after another."""
    taken, known, counts = [], [], Counter[tuple[str, int]]()
    newest = 0
    now: set[object] = set()
    before: set[object] = set()
    held: dict[tuple[int, int], tuple[float, float, bool]] = {}
    highest = dict.fromkeys(range(len(SYMBOLS)), 0.0)
    for row in rows:
        if kind == "bars" and row.partial and rules.drops_partial:
            counts["partial", row.symbol] += 1
            continue
        newest = max(newest, row.minute)
        key: object = None
        if rules.dedupe == "same":
            key = row[:4]
        elif rules.dedupe == "trade_id" and not math.isnan(row.trade_id):
            key = row.symbol, row.trade_id
        if key is not None:
            if key in now | before:
                counts["repeated", row.symbol] += 1
                continue
            now = now | {key}
            if len(now) == window:
                now, before = set(), now
        if kind == "bars":
            says, stood = (row.price, row.size, row.partial), held.get((row.symbol, row.minute))
            if stood is not None:
                counts["duplicates", row.symbol] += 1
                if not rules.amends or says == stood:
                    continue
                counts["revised", row.symbol] += 1
            held[row.symbol, row.minute] = says
        size = row.size
        if rules.day_totals:
            if size < highest[row.symbol]:
                counts["total_fell", row.symbol] += 1
            size = max(0.0, size - highest[row.symbol])
            highest[row.symbol] = max(highest[row.symbol], row.size)
        taken.append((row.symbol, row.minute, row.price, size))
        known.append(newest)
    return Taken(taken, known, counts)


def raw(rows: Sequence[Row], kind: Literal["bars", "ticks"]) -> RawRows:
    price = np.array([row.price for row in rows], np.float64)
    size = np.array([row.size for row in rows], np.float64)
    names = TICK_COLUMNS if kind == "ticks" else BAR_COLUMNS
    columns = dict.fromkeys(names[:-1], price) | {names[-1]: size}
    if kind == "ticks":
        columns["trade_id"] = np.array([row.trade_id for row in rows], np.float64)
    else:
        columns["partial"] = np.array([float(row.partial) for row in rows])
    return RawRows(
        kind,
        SYMBOLS,
        np.array([row.symbol for row in rows], np.int32),
        np.array([OPENS + row.minute * MINUTE_NS for row in rows], np.int64),
        columns,
        locate,
    )


def piecewise(
    rows: Sequence[Row], rules: RowRules, kind: Literal["bars", "ticks"], cuts: Sequence[int]
) -> Taken:
    interval_ns = None if kind == "ticks" else MINUTE_NS
    came = nothing_came(DAY, len(SYMBOLS), interval_ns)
    counts = no_counts(len(SYMBOLS))
    taken, known = [], []
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    for start, stop in pairwise(edges):
        data = as_came(raw(rows[start:stop], kind), DAY, interval_ns, rules)
        assert isinstance(data.rows, RowBatch)
        came, batch, more = taken_in(came, data.rows, rules)
        counts = added(counts, added(data.counts, more))
        taken += told(batch)
        known += [int(of - OPENS) // MINUTE_NS for of in batch.known]
    return Taken(taken, [of - (kind == "bars") for of in known], counted(counts))


def told(batch: RowBatch) -> list[tuple[int, int, float, float]]:
    minutes = ((batch.ts - OPENS) // MINUTE_NS).tolist()
    return list(
        zip(
            batch.code.tolist(),
            minutes,
            batch.close.tolist(),
            batch.volume.tolist(),
            strict=True,
        )
    )


def counted(counts: RowCounts) -> Counter[tuple[str, int]]:
    by_name = {"duplicates": counts.duplicates, **dict(counts.by_rule)}
    return Counter(
        {
            (name, code): int(of[code])
            for name, of in by_name.items()
            for code in range(len(SYMBOLS))
            if of[code]
        }
    )


few = st.builds(
    Row,
    symbol=st.integers(0, 2),
    minute=st.integers(0, 4),
    price=st.sampled_from([10.0, 11.0]),
    size=st.sampled_from([0.0, 1.0, 5.0, 5.5, 90.0]),
    trade_id=st.sampled_from([math.nan, 1.0, 2.0, 3.0, 2.0**52 + 5]),
    partial=st.booleans(),
)
some_rules = st.builds(
    RowRules,
    st.sampled_from(["none", "trade_id", "same"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)


@given(
    rows=st.lists(few, max_size=40),
    rules=some_rules,
    kind=st.sampled_from(["bars", "ticks"]),
    cuts=st.lists(st.integers(0, 40)),
    window=st.integers(1, 6),
)
def test_rules_do_what_one_row_after_another_would_however_they_are_cut(
    rows: list[Row],
    rules: RowRules,
    kind: Literal["bars", "ticks"],
    cuts: list[int],
    window: int,
) -> None:
    if kind == "bars" and rules.dedupe == "trade_id":
        rules = replace(rules, dedupe="none")
    if rules.amends:
        rules = replace(rules, day_totals=False)
    kept = rules_module.WINDOW
    rules_module.WINDOW = window
    try:
        found = piecewise(rows, rules, kind, cuts)
        whole = assemble(
            raw(rows, kind), DAY, None if kind == "ticks" else MINUTE_NS, "arrival", rules
        )
    finally:
        rules_module.WINDOW = kept

    assert found == plainly(rows, rules, kind, window)
    assert isinstance(whole.rows, RowBatch)
    assert (told(whole.rows), counted(whole.counts)) == (found.rows, found.counts)
    assert whole.counts.rows.sum() == len(rows)


@given(
    totals=st.lists(st.integers(0, 10**9), min_size=1).map(sorted),
    late=st.lists(st.integers(0, 10**9), max_size=5),
)
def test_sizes_of_rising_totals_come_to_the_last_one(totals: list[int], late: list[int]) -> None:
    late = [of for of in late if of < totals[-1]]
    rows = [Row(0, 1, 10.0, float(of)) for of in (*totals, *late)]

    found = piecewise(rows, RowRules(day_totals=True), "ticks", [1])

    assert sum(row[3] for row in found.rows) == totals[-1]
    assert found.counts["total_fell", 0] == len(late)


@pytest.mark.parametrize("partial", [False, True])
def test_a_bar_that_is_marked_as_partial_counts_but_its_minute_is_not_seen(partial: bool) -> None:
    from openbell.market.levels import minutes_seen

    data = as_came(raw([Row(0, 1, 10.0, 1.0, partial=partial)], "bars"), DAY, MINUTE_NS)
    seen = minutes_seen(np.zeros((30, 3), np.bool_), data.rows, DAY.grid(MINUTE_NS)[0])

    assert len(data.rows) == 1
    assert seen[1, 0] != partial


def test_numbers_of_trades_stand_for_themselves_or_for_one_beyond_them() -> None:
    assert [trade_number(of) for of in (7, "7", 7.0, " 7 ")] == [7.0] * 4
    assert math.isnan(trade_number(None))
    assert math.isnan(trade_number(""))
    others = ["a", "A", "007", "7.5", str(2**60), 2**60 + 1, -7, "9" * 40, "é"]
    numbers = [trade_number(of) for of in others]
    assert len({*numbers, 7.0}) == len(others) + 1
    assert all(number >= 2**52 and number == int(number) for number in numbers)


@pytest.mark.parametrize(
    ("given", "partial"),
    [("true", True), ("False", False), (1, True), (0, False), (None, False), ("no", False)],
)
def test_a_mark_is_read_however_it_is_written(given: object, partial: bool) -> None:
    assert is_partial(given) is partial
