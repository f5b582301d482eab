"""Rows that come in any order, against the reference that takes one row after another.

The order of the log is compared too: a step's signals stand in the order in which their rows came.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from decks import DECKS, REVISED, few, orders, tick
from hypothesis import event, given, settings
from hypothesis import strategies as st
from reference import Row, Rules, Window, answer_as_arrived
from runs import (
    answer_of,
    drained,
    expected_session,
    of_cases,
    outputs,
    register,
    with_boundaries,
)
from strategies import Case, cases

from openbell.actors import breakout, session, upkeep
from openbell.market import breakouts, derived, levels
from openbell.market.bars import BarBlock, RowBatch
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay, local_instant
from openbell.market.rules import RowRules


def agrees(case: Case, lateness_ns: int, cuts: Sequence[int] = (), *, amends: bool = False) -> Any:
    """A whole day in the order of its rows, stepped as finely as asked; returns the reference's."""
    case = register(case)
    rules = RowRules(amends=amends)
    run = of_cases([case], order="arrival", lateness_ns=lateness_ns, row_rules=rules)
    found = drained(run, troupe=with_boundaries(run, cuts))
    expected: dict[str, Any] = {
        **answer_as_arrived(
            case.day,
            case.interval_ns,
            case.rows,
            case.symbols,
            case.windows,
            case.rules,
            case.companions,
            lateness_ns=lateness_ns,
            followed=case.followed,
            known=case.known,
            amends=amends,
        )
    }
    if all(c["rows"] == c["outside_hours"] for c in expected["counts"].values()):
        assert case.day.date in found.without_data
        return expected
    late, revised = expected.pop("late"), expected.pop("revised")
    assert not expected.pop("before_scans"), "no case here has scans"
    got = answer_of(found, case)
    sessions = expected.pop("sessions")
    assert got.pop("sessions") == [expected_session(case, s) for s in sessions]
    for part, answered in expected.items():
        assert got[part] == answered, part
    (report,) = (commit.quality for commit in found.commits if commit.quality)
    assert report.late is not None
    for i, symbol in enumerate(case.symbols):
        told = {
            "rows": int(report.late.rows[i]),
            "windows": int(report.late.sessions[i]),
            "bars": int(report.late.bars[i]),
        }
        assert told == late[symbol], symbol
        assert report.quality.late[i] == late[symbol]["rows"]
        by_rule = {name: int(count[i]) for name, count in report.quality.by_rule}
        assert (by_rule.get("revised", 0), by_rule.get("revised_late", 0)) == revised[symbol]
    return {**expected, "late": late, "revised": revised, "sessions": sessions}


# Few rows, in every order


LATENESSES = (0, 2 * SECOND_NS, 90 * SECOND_NS)
EVERY_SECOND = range(SECOND_NS, 20 * MINUTE_NS, 37 * SECOND_NS)


@pytest.mark.parametrize("lateness_ns", LATENESSES)
@pytest.mark.parametrize("deck", DECKS)
def test_few_rows_in_some_orders_are_answered_as_the_reference_does(
    deck: str, lateness_ns: int
) -> None:
    all_agree(orders(DECKS[deck], 3, seed=lateness_ns), lateness_ns)


@pytest.mark.slow
@pytest.mark.parametrize("lateness_ns", LATENESSES)
@pytest.mark.parametrize("deck", DECKS)
def test_few_rows_in_all_orders_are_answered_as_the_reference_does(
    deck: str, lateness_ns: int
) -> None:
    case = DECKS[deck]
    all_agree(orders(replace(case, rows=case.rows[-6:]), None), lateness_ns)
    all_agree(orders(case, 500, seed=lateness_ns), lateness_ns)


def test_a_late_row_hides_no_break_and_the_log_is_in_the_order_of_arrival() -> None:
    rows = [
        tick("A", 10, 10.0),
        tick("B", 11, 10.0),
        tick("A", 125, 11.0),
        tick("B", 119, 9.0),
        tick("B", 121, 8.0),
        tick("C", 126, 1.0),
    ]

    expected = agrees(few(rows), 2 * SECOND_NS)

    # B's second tick is behind A's in time, but it came after it.
    told = [(s["symbol"], s["side"], s["ts"], s["known_at"]) for s in expected["signals"]]
    assert told == [
        ("A", "HIGH_BREAK", 125 * SECOND_NS, 125 * SECOND_NS),
        ("B", "LOW_BREAK", 121 * SECOND_NS, 125 * SECOND_NS),
    ]
    # With two seconds to wait, 00:02:00 is crossed at 125 s: the tick of 119 s is too late for it.
    assert expected["late"]["B"] == {"rows": 1, "windows": 1, "bars": 0}


def test_a_symbol_that_is_only_read_reports_no_break() -> None:
    """B is A's companion, and C is nobody's."""
    rows = [
        tick(symbol, second, price)
        for second, price in ((15, 100.0), (45, 100.0), (75, 100.0), (120, 100.5))
        for symbol in "ABC"
    ]
    case = replace(few(rows, companions={"A": "B"}), followed=("A",))

    expected = agrees(case, 0, cuts=[90 * SECOND_NS])

    assert [(s["symbol"], s["companion"]) for s in expected["signals"]] == [
        ("A", {"symbol": "B", "price": 100.0, "ts": 75 * SECOND_NS})
    ]
    assert set(expected["sessions"][1]["levels"]) == {"A", "B", "C"}


@settings(max_examples=40)
@given(
    case=st.one_of(
        cases("bars", minutes_max=40, own_hours=True),
        cases("ticks", minutes_max=40, own_hours=True),
        cases("bars", minutes_max=40, own_hours=True, auctions=True),
        cases("ticks", minutes_max=40, own_hours=True, auctions=True),
    ),
    data=st.data(),
)
def test_a_random_day_in_disorder_is_answered_as_the_reference_does(
    case: Case, data: st.DataObject
) -> None:
    rows = data.draw(disordered(case.rows))
    rules = case.rules._replace(
        inside_bars=data.draw(st.sampled_from((0, 0, 1, 2))),
        rearms_max=data.draw(st.sampled_from((None, 1))),
    )
    lateness_ns = data.draw(st.sampled_from((0, SECOND_NS, 30 * SECOND_NS, 10 * MINUTE_NS)))
    cuts = data.draw(st.lists(st.integers(case.day.open_ns + 1, case.day.close_ns - 1), max_size=9))

    expected = agrees(replace(case, rows=rows, rules=rules), lateness_ns, cuts)

    event(
        f"late rows: {any(of['rows'] for of in expected['late'].values()) if 'late' in expected else False}"
    )
    event(f"{min(len(expected['signals']), 3)} signals or more")


@settings(max_examples=40)
@given(case=cases("bars", minutes_max=40, own_hours=True), data=st.data())
def test_a_random_day_of_revised_bars_is_answered_as_the_reference_does(
    case: Case, data: st.DataObject
) -> None:
    rows = data.draw(disordered(data.draw(revised(case.rows))))
    rules = case.rules._replace(
        inside_bars=data.draw(st.sampled_from((0, 0, 1, 2))),
        rearms_max=data.draw(st.sampled_from((None, 1))),
    )
    lateness_ns = data.draw(st.sampled_from((0, 30 * SECOND_NS, 10 * MINUTE_NS)))
    cuts = data.draw(st.lists(st.integers(case.day.open_ns + 1, case.day.close_ns - 1), max_size=9))

    expected = agrees(replace(case, rows=rows, rules=rules), lateness_ns, cuts, amends=True)

    counts = [of for of in expected.get("revised", {}).values()]
    event(f"revised: {any(many for many, _ in counts)}, late: {any(late for _, late in counts)}")
    event(f"{min(len(expected['signals']), 3)} signals or more")


@st.composite
def revised(draw: st.DrawFn, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Some bars come a second or third time, as they were or with other values."""
    rng = random.Random(draw(st.integers(0, 2**32 - 1)))
    share = draw(st.sampled_from((0.02, 0.2, 0.7)))
    again: list[Row] = []
    for row in rows:
        while rng.random() < share:
            other = rows[rng.randrange(len(rows))]
            again.append((*row[:2], *other[2:]) if rng.random() < 0.9 else row)
    return (*rows, *again)


@st.composite
def disordered(draw: st.DrawFn, rows: Sequence[Row]) -> tuple[Row, ...]:
    """Time order, but for what each row is held up; some far, most a little."""
    by_time = sorted(rows, key=lambda row: row[1])
    seed = draw(st.integers(0, 2**32 - 1))
    far = draw(st.sampled_from((0, 5, 60, 600)))
    rng = random.Random(seed)
    delays = [row[1] + rng.random() ** 4 * far * SECOND_NS for row in by_time]
    order = sorted(range(len(by_time)), key=delays.__getitem__)
    return tuple(by_time[i] for i in order)


@settings(max_examples=30)
@given(case=cases("ticks", minutes_max=30, clean=True), seed=st.integers(0, 2**32 - 1))
def test_disorder_within_the_lateness_gives_the_levels_and_bars_of_time_order(
    case: Case, seed: int
) -> None:
    rng = random.Random(seed)
    whole = [with_whole_volume(row) for row in sorted(case.rows, key=lambda row: row[1])]
    delays = [row[1] + rng.randrange(29 * SECOND_NS) for row in whole]
    mixed = [whole[i] for i in sorted(range(len(whole)), key=delays.__getitem__)]
    # Of equal times the first to come is first in both.
    in_time = sorted(mixed, key=lambda row: row[1])

    came = drained(
        of_cases([replace(case, rows=tuple(mixed))], order="arrival", lateness_ns=30 * SECOND_NS)
    )
    by_time = drained(of_cases([replace(case, rows=tuple(in_time))]))

    for left, right in zip(came.days, by_time.days, strict=True):
        one, other = (outputs_but_signals(day, case) for day in (came, by_time))
        assert one == other, (left, right)


def outputs_but_signals(found: Any, case: Case) -> Any:
    answered = answer_of(found, register(case))
    return {part: answered[part] for part in ("sessions", "derived", "quality")}


def with_whole_volume(row: Row) -> Row:
    """Sums of whole numbers are exact, in whatever order they are added up."""
    return (*row[:-1], float(int(row[-1])))


@settings(max_examples=30)
@given(
    case=st.one_of(
        cases("bars", minutes_max=40, own_hours=True),
        cases("ticks", minutes_max=40, own_hours=True),
    )
)
def test_steps_may_end_anywhere_in_a_day_in_disorder(case: Case) -> None:
    rows = tuple(random.Random(len(case.rows)).sample(case.rows, len(case.rows)))
    run = of_cases([replace(case, rows=rows)], order="arrival", lateness_ns=20 * SECOND_NS)
    cuts = range(case.day.open_ns + 1, case.day.close_ns, 97 * SECOND_NS)

    cut = drained(run, troupe=with_boundaries(run, cuts))

    assert outputs(cut) == outputs(drained(run))


def test_a_revised_bar_breaks_what_the_one_before_it_did_not() -> None:
    expected = agrees(REVISED, 0, amends=True)

    first = next(of for of in expected["sessions"] if of["session"] == "First")
    assert (first["levels"]["A"]["high"], first["levels"]["A"]["count"]) == (10.5, 1)
    told = [(s["session"], s["ts"], s["known_at"], s["price"]) for s in expected["signals"]]
    assert told == [("First", 2 * MINUTE_NS, 3 * MINUTE_NS, 10.8)]
    assert expected["revised"]["A"] == (5, 1)
    bars = [(of["symbol"], of["high"], of["volume"]) for of in expected["derived"][5]]
    assert bars == [("A", 11.4, 4.0), ("B", 5.0, 1.0), ("B", 5.0, 1.0)]


@pytest.mark.parametrize("lateness_ns", LATENESSES)
def test_few_revised_bars_in_some_orders_are_answered_as_the_reference_does(
    lateness_ns: int,
) -> None:
    all_agree(orders(REVISED, 6, seed=lateness_ns), lateness_ns, amends=True)


def all_agree(cases: Iterable[Case], lateness_ns: int, *, amends: bool = False) -> None:
    for case in cases:
        agrees(case, lateness_ns, amends=amends)
        agrees(case, lateness_ns, cuts=[*EVERY_SECOND], amends=amends)


# Bugs that were there once, planted again


def since_by_bisection(rows: Any, from_ns: int) -> Any:
    """As if times ascended."""
    start = int(np.searchsorted(rows.ts, from_ns, side="left"))
    turns = rows.ends if isinstance(rows, BarBlock) else rows.turns
    return slice(start, len(rows)), turns[start:]


def log_by_time(*args: Any) -> Any:
    batch = ordered_signals(*args)
    order = np.argsort(batch.ts, kind="stable")
    columns = {
        f.name: getattr(batch, f.name)[order]
        for f in fields(batch)
        if isinstance(getattr(batch, f.name), np.ndarray)
    }
    return replace(batch, **columns)


ordered_signals = breakout._signals
PLANTED: dict[str, tuple[Any, str, Any]] = {
    "a break behind a row that came late is lost": (breakouts, "_since", since_by_bisection),
    "a step's signals stand in order of time": (breakout, "_signals", log_by_time),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_bug_that_was_there_once_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, planted = PLANTED[bug]
    monkeypatch.setattr(place, name, planted)

    with pytest.raises(AssertionError):
        all_agree(orders(DECKS["ticks beyond"], 20), 2 * SECOND_NS)


def seen_as_it_came(seen: Any, kept: Any, rows: Any, window: Any, none: Any) -> Any:
    return levels.extended(seen, rows, window), kept


def folded_as_it_came(state: Any, kept: Any, rows: Any, starts: Any) -> Any:
    before = derived._several(state)
    return derived.with_rows(before, rows, starts) if len(rows) else before, kept


def as_other_bars(*args: Any) -> Any:
    return walk(*args[:-2], None, args[-1])


walk: Any = breakouts._walk
OF_REVISED: dict[str, tuple[Any, str, Any]] = {
    "a session keeps a high that was revised": (session, "amended", seen_as_it_came),
    "a derived bar has both versions": (upkeep, "amended", folded_as_it_came),
    "a side breaks again by a revised bar": (breakouts, "_walk", as_other_bars),
    "the first version stands": (
        RowBatch,
        "standing",
        property(lambda rows: rows if rows.revises is None else rows.taken(~rows.revises)),
    ),
}


@pytest.mark.parametrize("bug", OF_REVISED)
def test_a_bug_planted_in_how_bars_are_revised_is_found(
    bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, name, planted = OF_REVISED[bug]
    monkeypatch.setattr(place, name, planted)

    with pytest.raises(AssertionError):
        all_agree(orders(REVISED, 20), 2 * SECOND_NS, amends=True)


# Real ticks as they stand


def test_real_ticks_in_the_order_of_their_file_are_answered_as_the_reference_does(
    shared_data: Path,
) -> None:
    # The day whose ticks are up to five and a half minutes out of order, up to noon.
    first, last = (local_instant(BUSY, time(hour), "Asia/Kolkata") for hour in (6, 12))
    table = pq.read_table(
        shared_data / "ticks_nse_index_2021.parquet",
        filters=[
            ("ts", ">=", datetime.fromtimestamp(first // SECOND_NS, UTC)),
            ("ts", "<", datetime.fromtimestamp(last // SECOND_NS, UTC)),
        ],
    )
    ts = table["ts"].cast(pa.timestamp("ns", "UTC")).cast(pa.int64()).to_pylist()
    symbols, prices, sizes = (table[name].to_pylist() for name in ("symbol", "price", "size"))
    rows = tuple(zip(symbols, ts, map(float, prices), map(float, sizes), strict=True))
    opens, closes = (local_instant(BUSY, time(*at), "Asia/Kolkata") for at in ((9, 15), (12, 0)))
    case = Case(
        day=TradingDay(BUSY, "Asia/Kolkata", (Segment(opens, closes),)),
        interval_ns=None,
        rows=rows,
        symbols=("NIFTY", "BANKNIFTY"),
        windows=(
            Window("Opening", "09:15", "09:20"),
            Window("Morning", "09:30", "09:35"),
            Window("Late Morning", "10:30", "10:59"),
        ),
        rules=Rules(inside_bars=3, rearms_max=40),
        companions={"NIFTY": "BANKNIFTY", "BANKNIFTY": "NIFTY"},
    )

    expected = agrees(case, 2 * SECOND_NS, cuts=range(opens + SECOND_NS, closes, 7 * MINUTE_NS))

    assert len(expected["signals"]) > 50
    assert sum(of["out_of_order"] for of in expected["counts"].values()) > 20
    assert sum(of["rows"] for of in expected["late"].values()) > 0


BUSY = date(2021, 4, 19)
