"""Breaks of levels: by hand, by a row-by-row walk, and however the rows are cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Literal

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import Rules
from runs import pieces, plain

from openbell.market.bars import BarBlock, RowBatch, Rows
from openbell.market.breakouts import (
    Armed,
    BreakRules,
    Breaks,
    armed,
    find_breaks,
    last_prices,
)
from openbell.market.days import MINUTE_NS, Segment, TradingDay
from openbell.market.results import HIGH_BREAK, LOW_BREAK, NO_TIME, Levels

HIGH, LOW = HIGH_BREAK, LOW_BREAK
NAN = float("nan")
Bar = tuple[float, float, float, float]
"""Open, high, low, close."""


def a_day(minutes: int) -> TradingDay:
    return TradingDay(date(1970, 1, 1), "UTC", (Segment(0, minutes * MINUTE_NS),))


def some_bars(*columns: Sequence[Bar | None]) -> BarBlock:
    """A column of bars a symbol, from minute 0 on; None where there is none."""
    day = a_day(len(columns[0]))
    starts, ends = day.grid(MINUTE_NS)
    grid = np.array([[bar or (NAN,) * 4 for bar in column] for column in columns])
    o, h, l, c = (grid[:, :, i].T.copy() for i in range(4))
    symbols = tuple(f"S{i}" for i in range(len(columns)))
    there = ~np.isnan(c)
    volume = np.where(there, 1.0, np.nan)
    return BarBlock(day, symbols, MINUTE_NS, starts, ends, o, h, l, c, volume, there)


def flat(*prices: float | None) -> BarBlock:
    return some_bars([None if p is None else (p, p, p, p) for p in prices])


def some_ticks(*rows: tuple[int, int, float], symbols: int = 1) -> RowBatch:
    """Ticks (symbol, ts, price)."""
    return RowBatch.ticks(
        a_day(10),
        tuple(f"S{i}" for i in range(symbols)),
        np.array([row[0] for row in rows], np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows]),
        np.ones(len(rows)),
        by_time=True,
    )


def some_levels(*pairs: tuple[float, float]) -> Levels:
    """(high, low) of each symbol."""
    count = np.ones(len(pairs), np.int64)
    return Levels(
        tuple(f"S{i}" for i in range(len(pairs))),
        np.array([high for high, _ in pairs]),
        np.array([low for _, low in pairs]),
        count,
        count * 0,
        count * 0,
        count > 0,
    )


def found(
    rows: Rows,
    rules: BreakRules = BreakRules(),  # noqa: B008  (an immutable value)
    levels: Levels | None = None,
    from_ns: int = 0,
    cuts: Iterable[int] = (),
    ticks: Sequence[float] | None = None,
) -> tuple[Armed, list[Breaks]]:
    levels = some_levels((101.0, 99.0)) if levels is None else levels
    of_symbol = None if ticks is None else np.array(ticks)
    state = armed(levels, from_ns, rules, ticks=of_symbol)
    all_breaks = []
    for piece in pieces(rows, cuts):
        state, breaks = find_breaks(state, piece, rules)
        if breaks is not None:
            all_breaks.append(breaks)
    return state, all_breaks


Brief = tuple[int, int, int, float, int]
"""Minute (or ts of a tick), symbol, side, price, number."""


def brief(breaks: Iterable[Breaks], unit_ns: int = MINUTE_NS) -> list[Brief]:
    return sorted(
        (int(b.ts[i]) // unit_ns, int(b.symbol[i]), int(b.side[i]), float(b.price[i]), int(n))
        for b in breaks
        for i, n in enumerate(b.number)
    )


# By hand


def test_a_price_on_the_level_is_no_break() -> None:
    _, breaks = found(flat(101.0, 99.0, 101.0))

    assert breaks == []


def test_each_side_breaks_once() -> None:
    _, breaks = found(flat(102.0, 103.0, 98.0, 102.0, 97.0))

    assert brief(breaks) == [(0, 0, HIGH, 102.0, 1), (2, 0, LOW, 98.0, 1)]


def test_the_sessions_own_last_bar_does_not_break_it() -> None:
    _, breaks = found(flat(102.0, 103.0), from_ns=MINUTE_NS)

    assert brief(breaks) == [(1, 0, HIGH, 103.0, 1)]


def test_a_symbol_without_levels_breaks_nothing() -> None:
    state, breaks = found(flat(102.0, 103.0), levels=some_levels((NAN, NAN)))

    assert breaks == []
    assert state.looked.all()


def test_a_break_is_known_at_the_bars_end() -> None:
    _, (breaks,) = found(flat(None, 102.0))

    assert (breaks.ts.tolist(), breaks.known_at.tolist()) == ([MINUTE_NS], [2 * MINUTE_NS])


@pytest.mark.parametrize(
    ("bar", "side", "price"),
    [
        ((100.0, 101.5, 100.0, 100.0), HIGH, 101.0),  # came to the level from inside
        ((102.0, 103.0, 100.0, 100.0), HIGH, 102.0),  # opened beyond it
        ((100.0, 100.0, 98.5, 100.0), LOW, 99.0),
        ((98.0, 100.0, 97.0, 100.0), LOW, 98.0),
    ],
)
def test_a_touch_is_priced_at_the_level_or_at_an_open_beyond_it(
    bar: Bar, side: int, price: float
) -> None:
    _, breaks = found(some_bars([bar]), BreakRules(confirm="touch"))

    assert brief(breaks) == [(0, 0, side, price, 1)]
    assert breaks[0].level.tolist() == [101.0 if side == HIGH else 99.0]


def test_a_bar_that_touches_both_levels_is_ambiguous() -> None:
    wide = (100.0, 102.0, 98.0, 100.0)

    _, (breaks,) = found(some_bars([wide]), BreakRules(confirm="touch"))

    assert brief([breaks]) == [(0, 0, HIGH, 101.0, 1), (0, 0, LOW, 99.0, 1)]
    assert breaks.ambiguous.tolist() == [True, True]


def test_a_wide_bar_after_one_side_broke_is_not_ambiguous() -> None:
    high, wide = (100.0, 102.0, 100.0, 100.0), (100.0, 102.0, 98.0, 100.0)

    for cuts in ((), (1,)):
        _, breaks = found(some_bars([high, wide]), BreakRules(confirm="touch"), cuts=cuts)
        assert [flag for b in breaks for flag in b.ambiguous.tolist()] == [False, False]


def test_a_gap_is_a_first_price_beyond_the_level() -> None:
    opened_beyond, breaks_later = (102.0, 103.0, 100.0, 100.0), (100.0, 103.0, 100.0, 103.0)

    _, (gapped,) = found(some_bars([opened_beyond, breaks_later]))
    _, (plainly,) = found(some_bars([breaks_later]))

    assert brief([gapped]) == [(1, 0, HIGH, 103.0, 1)]
    assert gapped.gap.tolist() == [True]
    assert plainly.gap.tolist() == [False]


def test_once_looks_at_each_symbols_first_price_alone() -> None:
    bars = some_bars(
        [None, (102.0,) * 4, (98.0,) * 4],
        [(100.0,) * 4, (102.0,) * 4, (98.0,) * 4],
    )
    levels = some_levels((101.0, 99.0), (101.0, 99.0))

    state, breaks = found(bars, BreakRules(check="once"), levels)

    assert brief(breaks) == [(1, 0, HIGH, 102.0, 1)]
    assert state.looked_ns == 2 * MINUTE_NS
    assert not state.watched.any()


@pytest.mark.parametrize(("sides", "side"), [("high", HIGH), ("low", LOW)])
def test_only_the_sides_asked_for_are_watched(sides: Literal["high", "low"], side: int) -> None:
    _, breaks = found(flat(102.0, 98.0), BreakRules(sides=sides))

    assert [row[2] for row in brief(breaks)] == [side]


def test_ticks_of_equal_time_break_in_the_sources_order() -> None:
    _, breaks = found(some_ticks((0, 5, 101.0), (0, 7, 101.5), (0, 7, 102.0)))

    assert brief(breaks, unit_ns=1) == [(7, 0, HIGH, 101.5, 1)]
    assert breaks[0].known_at.tolist() == [7]


def test_a_buffer_lies_on_top_of_the_level() -> None:
    prices = flat(101.4, 101.6, 98.6, 98.4)

    _, by_price = found(prices, BreakRules(buffer=0.5))
    _, by_percent = found(prices, BreakRules(buffer=0.5, buffer_unit="percent"))

    assert brief(by_price) == [(1, 0, HIGH, 101.6, 1), (3, 0, LOW, 98.4, 1)]
    assert by_price[0].level.tolist() == [101.0, 99.0]
    assert brief(by_percent) == [(1, 0, HIGH, 101.6, 1), (3, 0, LOW, 98.4, 1)]


def test_a_buffer_in_ticks_is_of_each_symbols_own() -> None:
    bars = some_bars(*([[(p, p, p, p) for p in (101.1, 101.2, 101.6)]] * 3))
    rules = BreakRules(buffer=2.0, buffer_unit="ticks")
    levels = some_levels(*[(101.0, 99.0)] * 3)

    _, breaks = found(bars, rules, levels, ticks=[0.05, 0.25, NAN])

    assert brief(breaks) == [(1, 0, HIGH, 101.2, 1), (2, 1, HIGH, 101.6, 1)]


def test_a_side_is_watched_again_after_closes_inside() -> None:
    prices = flat(102.0, 103.0, 100.0, 102.5, 100.0, 100.5, 104.0)

    _, after_one = found(prices, BreakRules(inside_bars=1))
    _, after_two = found(prices, BreakRules(inside_bars=2))
    _, once_more = found(prices, BreakRules(inside_bars=1, rearms_max=1))

    assert brief(after_one) == [
        (0, 0, HIGH, 102.0, 1),
        (3, 0, HIGH, 102.5, 2),
        (6, 0, HIGH, 104.0, 3),
    ]
    assert brief(after_two) == [(0, 0, HIGH, 102.0, 1), (6, 0, HIGH, 104.0, 2)]
    assert brief(once_more) == [(0, 0, HIGH, 102.0, 1), (3, 0, HIGH, 102.5, 2)]


# Random rows


@dataclass(frozen=True)
class Drawn:
    rows: Rows
    levels: Levels
    rules: BreakRules
    from_ns: int
    cuts: list[int]
    ticks: list[float] | None
    """Of each symbol; None: the rules have it."""


PRICES = st.sampled_from((97.0, 98.5, 99.0, 100.0, 101.0, 101.25, 102.0, 103.0))


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    size = draw(st.integers(1, 3))
    rules = BreakRules(
        confirm=draw(st.sampled_from(("close", "touch"))),
        check=draw(st.sampled_from(("continuous", "continuous", "once"))),
        sides=draw(st.sampled_from(("both", "both", "high", "low"))),
        buffer=draw(st.sampled_from((0.0, 0.0, 0.5, 1.0))),
        buffer_unit=draw(st.sampled_from(("price", "percent", "ticks"))),
        tick=draw(st.sampled_from((0.0, 0.25))),
        inside_bars=draw(st.sampled_from((0, 1, 2, 3))),
        rearms_max=draw(st.sampled_from((None, 1, 2))),
    )
    ticks: list[float] | None = None
    if rules.buffer_unit == "ticks" or draw(st.booleans()):
        rules = replace(rules, tick=0.0)
        own = st.sampled_from((0.05, 0.25, 0.5, NAN))
        ticks = draw(st.lists(own, min_size=size, max_size=size))
    pairs = st.sampled_from(((101.0, 99.0), (101.0, 99.0), (NAN, NAN), (100.0, 100.0)))
    levels = some_levels(*draw(st.lists(pairs, min_size=size, max_size=size)))
    cuts = draw(st.lists(st.integers(1, 24), max_size=4))
    from_ns = draw(st.integers(0, 4)) * MINUTE_NS
    rows: Rows
    if draw(st.booleans()):
        one = st.one_of(st.none(), st.builds(as_bar, PRICES, PRICES, PRICES, PRICES))
        count = draw(st.integers(1, 20))
        column = st.lists(one, min_size=count, max_size=count)
        rows = some_bars(*(draw(column) for _ in range(size)))
    else:
        tick = st.tuples(st.integers(0, size - 1), st.integers(0, 9), PRICES)
        listed = sorted(draw(st.lists(tick, max_size=25)), key=lambda row: row[1])
        rows = some_ticks(*((s, m * MINUTE_NS, p) for s, m, p in listed), symbols=size)
    return Drawn(rows, levels, rules, from_ns, cuts, ticks)


def as_bar(o: float, a: float, b: float, c: float) -> Bar:
    return o, max(o, a, b, c), min(o, a, b, c), c


def walked(case: Drawn) -> list[Brief]:
    """The breaks, row by row."""
    rules, breaks = case.rules, list[Brief]()
    for symbol in range(len(case.levels.symbols)):
        rows = [row for row in rows_of(case.rows, symbol) if row[0] >= case.from_ns]
        for side in (HIGH, LOW):
            if rules.sides == ("low" if side == HIGH else "high"):
                continue
            breaks += walked_side(case, symbol, side, rows)
    return sorted(breaks)


def walked_side(
    case: Drawn, symbol: int, side: int, rows: Sequence[tuple[int, float, float, float, float]]
) -> list[Brief]:
    rules = case.rules
    sign = 1 if side == HIGH else -1
    level = float((case.levels.high if side == HIGH else case.levels.low)[symbol])
    if np.isnan(level):
        return []
    own = NAN if case.ticks is None else case.ticks[symbol]
    tick = rules.tick if np.isnan(own) else own
    if rules.buffer_unit == "ticks":
        if rules.buffer and not tick:
            return []
        width = float(Decimal(str(rules.buffer)) * Decimal(str(tick)))
        plain_rules = Rules(buffer=width, tick=tick)
    else:
        plain_rules = Rules(buffer=rules.buffer, buffer_unit=rules.buffer_unit, tick=tick)
    threshold = reference.threshold(level, sign, plain_rules)
    is_touch = rules.confirm == "touch" and isinstance(case.rows, BarBlock)

    def is_beyond(price: float, of: float) -> bool:
        return reference.beyond(price, of, sign, plain_rules)

    breaks: list[Brief] = []
    is_watched, inside = True, 0
    for ts, o, h, l, c in rows[:1] if rules.check == "once" else rows:
        price = (h if side == HIGH else l) if is_touch else c
        if is_watched and is_beyond(price, threshold):
            shown = c
            if is_touch:
                shown = o if is_beyond(o, threshold) else threshold
            breaks.append((ts // MINUTE_NS, symbol, side, shown, len(breaks) + 1))
            is_watched, inside = False, 0
        if not is_watched and rules.inside_bars:
            inside = 0 if is_beyond(c, level) else inside + 1
            left = rules.rearms_max is None or len(breaks) <= rules.rearms_max
            if inside >= rules.inside_bars and left:
                is_watched = True
    return breaks


def rows_of(rows: Rows, symbol: int) -> list[tuple[int, float, float, float, float]]:
    if isinstance(rows, RowBatch):
        return [
            (int(rows.ts[i]), p, p, p, p)
            for i in np.flatnonzero(rows.code == symbol)
            if (p := float(rows.close[i]))
        ]
    columns = (rows.open, rows.high, rows.low, rows.close)
    return [
        (int(rows.ts[i]), *(float(column[i, symbol]) for column in columns))  # type: ignore[misc]
        for i in np.flatnonzero(rows.present[:, symbol])
    ]


@given(case=drawn())
def test_breaks_are_those_of_a_walk_row_by_row(case: Drawn) -> None:
    _, breaks = found(case.rows, case.rules, case.levels, case.from_ns, ticks=case.ticks)

    assert brief(breaks) == walked(case)


@given(case=drawn())
def test_breaks_are_the_same_however_the_rows_are_cut(case: Drawn) -> None:
    whole, at_once = found(case.rows, case.rules, case.levels, case.from_ns, ticks=case.ticks)

    cut, bit_by_bit = found(case.rows, case.rules, case.levels, case.from_ns, case.cuts, case.ticks)

    assert plain(still_counting(cut, case.rules)) == plain(still_counting(whole, case.rules))
    assert in_order(bit_by_bit) == in_order(at_once)


def still_counting(state: Armed, rules: BreakRules) -> Armed:
    """The state without what is counted for sides that can't break again."""
    left = state.broken <= (np.inf if rules.rearms_max is None else rules.rearms_max)
    return replace(state, inside=np.where(left, state.inside, 0))


def test_a_side_that_cannot_break_again_has_one_state_however_the_rows_are_cut() -> None:
    prices = flat(102.0, 100.0, 102.0, 100.0)
    rules = BreakRules(inside_bars=1, rearms_max=1)

    whole, _ = found(prices, rules)
    cut, _ = found(prices, rules, cuts=[3])

    assert plain(cut) == plain(whole)


@given(case=drawn())
def test_looking_for_breaks_writes_to_nothing(case: Drawn) -> None:
    state = armed(case.levels, case.from_ns, case.rules)
    before = plain((state, case.rows))

    find_breaks(state, case.rows, case.rules)

    assert plain((state, case.rows)) == before


def in_order(breaks: list[Breaks]) -> list[tuple[object, ...]]:
    """All breaks with all their fields, whatever order each batch has them in."""
    return sorted(
        tuple(getattr(b, name)[i].item() for name in vars(b) if name != "row")
        for b in breaks
        for i in range(len(b.ts))
    )


# Companions


def test_a_last_price_is_known_at_its_bars_end_and_carried_on() -> None:
    bars = some_bars([(1.0,) * 4, None, (3.0,) * 4])
    asked = np.array([0, 1, 2, 3, 9]) * MINUTE_NS

    price, ts = last_prices(bars, 0, asked, (NAN, NO_TIME))
    carried, carried_ts = last_prices(bars.rows(1, 2), 0, asked, (1.0, 0))

    assert price.tolist()[1:] == [1.0, 1.0, 3.0, 3.0]
    assert np.isnan(price[0])
    assert ts.tolist() == [NO_TIME, 0, 0, 2 * MINUTE_NS, 2 * MINUTE_NS]
    assert (carried.tolist(), carried_ts.tolist()) == ([1.0] * 5, [0] * 5)


def test_a_tick_at_the_instant_asked_for_counts() -> None:
    ticks = some_ticks((0, 5, 1.0), (1, 6, 9.0), (0, 7, 2.0), (0, 7, 3.0), symbols=2)

    price, ts = last_prices(ticks, 0, np.array([4, 5, 6, 7]), (0.5, 1))

    assert (price.tolist(), ts.tolist()) == ([0.5, 1.0, 1.0, 3.0], [1, 5, 5, 7])
