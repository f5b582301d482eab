"""Silence of a feed and of its symbols, judged by rows and by the phase of the day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from trading import trading_day

from openbell.market.days import MINUTE_NS, SECOND_NS, MarketTime, ProductHours, Segment
from openbell.market.history import History, HistoryDay
from openbell.market.products import OwnHours, own_hours
from openbell.market.silence import (
    NEVER,
    Listening,
    SilenceRules,
    begun,
    halted,
    heard,
    judged,
    soon,
    usual_before,
)

DAY = trading_day(date(2024, 7, 2), ("09:30", "12:00"), ("13:00", "16:00"), tz="Asia/Hong_Kong")
RULES = SilenceRules(timeout_ns=300 * SECOND_NS)

Came = tuple[float, int, float]
"""Seconds after the open at which a row came, its symbol, its time likewise."""

Told = list[tuple[float, str]]


def instant(seconds: float) -> MarketTime:
    return MarketTime(DAY.open_ns + round(seconds * SECOND_NS))


def listened(
    came: Iterable[Came],
    *,
    until: float,
    symbols: int = 2,
    rules: SilenceRules = RULES,
    before: Sequence[int] | None = None,
    cuts: Iterable[int] = (),
    extra_looks: Sequence[float] = (),
    own: OwnHours | None = None,
) -> tuple[Told, Listening]:
    """A day's rows as the day's actor hears them: batches, and a look whenever one is due.

    Rows that came at one instant are a batch, cut further before the rows numbered `cuts`.
    """
    of = None if before is None else np.array(before, np.int64)
    listening = begun(symbols, of, DAY.open_ns)
    listening, _ = judged(listening, rules, DAY, DAY.open_ns, own)
    told: Told = []

    def looks(to: float) -> None:
        nonlocal listening
        while True:
            instants = [look for look in extra_looks if done < look <= to]
            if listening.look_ns is not None:
                instants.append((listening.look_ns - DAY.open_ns) / SECOND_NS)
            at = min(instants, default=np.inf)
            if at > to:
                return
            look(at)

    done = -1.0

    def look(at: float) -> None:
        nonlocal listening, done
        done = at
        listening, verdict = judged(listening, rules, DAY, instant(at), own)
        told.extend((round(at, 3), f"feed {stage}") for stage in verdict.stages)
        told.extend((round(at, 3), f"symbol {code}") for code in verdict.symbols.tolist())

    rows = sorted(came, key=lambda row: row[0])
    edges = {0, len(rows), *(cut for cut in cuts if 0 < cut < len(rows))}
    edges |= {n for n in range(1, len(rows)) if rows[n][0] != rows[n - 1][0]}
    ordered = sorted(edges)
    for start, stop in pairwise(ordered):
        piece = rows[start:stop]
        looks(piece[0][0])
        code = np.array([row[1] for row in piece], np.int32)
        ts = np.array([instant(row[2]) for row in piece], np.int64)
        host = instant(piece[0][0])
        listening, back, feed_is_back = heard(listening, rules, DAY, code, ts, host, own)
        told.extend((piece[0][0], f"back {code}") for code in back.tolist())
        if feed_is_back:
            told.append((piece[0][0], "feed back"))
        at_ns = soon(listening, rules, host)
        if at_ns is not None:
            listening = Listening(**{**vars(listening), "look_ns": at_ns})
    looks(until)
    return told, listening


def every(seconds: float, symbol: int, begin: float, end: float) -> list[Came]:
    return [(float(at), symbol, float(at)) for at in np.arange(begin, end, seconds)]


@st.composite
def streams(draw: st.DrawFn) -> list[Came]:
    """Rows of two symbols in fits and starts, with pauses, repeats and rows from before."""
    at, rows = 0.0, []
    for _ in range(draw(st.integers(0, 40))):
        at += draw(st.sampled_from([0.0, 0.5, 1.0, 7.0, 40.0, 90.0, 400.0, 2000.0]))
        ts = at - draw(st.sampled_from([0.0, 0.0, 0.0, 5.0, 500.0]))
        rows.append((at, draw(st.integers(0, 1)), max(ts, 0.0)))
    return rows


@given(
    came=streams(),
    cuts=st.sets(st.integers(1, 40)),
    extra=st.lists(st.sampled_from([3.0, 61.0, 150.0, 333.0, 1111.0, 9600.0]), max_size=3),
)
def test_no_cut_and_no_further_look_changes_a_verdict(
    came: list[Came], cuts: set[int], extra: list[float]
) -> None:
    whole, of_whole = listened(came, until=20_000)
    cut, of_cut = listened(came, until=20_000, cuts=cuts, extra_looks=sorted(set(extra)))

    assert sorted(cut) == sorted(whole)
    for name, value in vars(of_whole).items():
        assert np.array_equal(getattr(of_cut, name), value), name


def test_a_look_within_a_break_forgets_no_silence() -> None:
    came = [(float(at), 0, float(at)) for at in (400, 800, 1200, 1600, 3600, 5600, 7600, 9600)]

    whole, _ = listened(came, until=20_000)
    looked, _ = listened(came, until=20_000, extra_looks=[9600.0])

    assert (9600.0, "feed back") in whole
    assert looked == whole


@given(came=streams())
def test_nobody_is_called_silent_while_there_is_no_trading(came: list[Came]) -> None:
    told, _ = listened(came, until=40_000)

    for at, what in told:
        if "back" not in what:
            assert at < 2.5 * 3600 or 3.5 * 3600 + 15 <= at < 6.5 * 3600, (at, what)


def own(*hours: tuple[float, float]) -> OwnHours | None:
    """Symbols' hours, in seconds after the open."""
    products = tuple(
        ProductHours(str(n), (Segment(instant(opens), instant(closes)),), (f"S{n}",))
        for n, (opens, closes) in enumerate(hours)
    )
    day = replace(DAY, products=(ProductHours("others", DAY.segments), *products))
    return own_hours(day, tuple(f"S{n}" for n in range(len(hours))))


@given(came=streams(), cuts=st.sets(st.integers(0, 300), max_size=10))
def test_nobody_is_called_silent_outside_of_its_own_hours(came: list[Came], cuts: set[int]) -> None:
    hours = ((0.0, 3600.0), (1800.0, 9000.0))
    inside = [row for row in came if row[1] < 2 and hours[row[1]][0] <= row[0] < hours[row[1]][1]]

    told, of_whole = listened(inside, until=20_000, own=own(*hours))
    cut, of_cut = listened(inside, until=20_000, own=own(*hours), cuts=cuts)

    assert sorted(told) == sorted(cut)
    assert all(
        np.array_equal(value, getattr(of_cut, name)) for name, value in vars(of_whole).items()
    )
    for at, what in told:
        if what.startswith("symbol"):
            opens, closes = hours[int(what[-1])]
            assert opens + 60 <= at < closes, (at, what)
        if what.startswith("feed") and what != "feed back":
            assert at < 9000, (at, what)


def test_a_feed_is_no_livelier_than_those_whose_hours_go_on() -> None:
    lively, quiet = every(1, 0, 0, 3600), every(100, 1, 50, 9000)
    of = ((0.0, 3600.0), (0.0, 9000.0))

    told, _ = listened([*lively, *quiet], until=9000, own=own(*of))
    without, _ = listened([*lively, *quiet], until=9000)

    assert told == []
    assert "feed suspect" in {what for _, what in without}


@given(came=streams())
def test_a_symbol_that_turned_silent_was_listened_to_for_a_minute_at_least(
    came: list[Came],
) -> None:
    told, _ = listened(came, until=20_000)

    for at, what in told:
        if what.startswith("symbol"):
            code = int(what[-1])
            assert not any(at - 60 < came_at <= at and of == code for came_at, of, ts in came
                           if ts == came_at)  # fmt: skip


def test_a_liquid_symbol_is_silent_after_a_minute_and_an_illiquid_one_is_not() -> None:
    liquid = every(1, 0, 0, 1200)
    illiquid = every(170, 1, 10, 4000)
    other = every(1, 2, 0, 4000)

    told, _ = listened([*liquid, *illiquid, *other], until=4000, symbols=3)

    assert told == [(1259.0, "symbol 0")]


def test_a_minute_without_rows_is_usual_for_who_never_had_more() -> None:
    came = [*every(600, 0, 30, 9000), *every(1, 1, 0, 9000)]

    told, _ = listened(came, until=9000)

    assert told == []


def test_rows_that_are_not_newer_are_no_rows() -> None:
    fresh = every(1, 0, 0, 600)
    old = [(float(at), 0, 599.0) for at in range(600, 900)]

    told, _ = listened([*fresh, *old], until=899, symbols=1)

    assert told == [(614.0, "feed suspect"), (756.5, "feed reconnect"), (899.0, "feed timeout"),
                    (899.0, "feed give up")]  # fmt: skip


def test_a_feed_that_stays_silent_is_suspected_connected_anew_and_given_up_ever_less_often() -> (
    None
):
    told, _ = listened(every(1, 0, 0, 601), until=8000, symbols=1)

    assert told[:4] == [
        (615.0, "feed suspect"),
        (757.5, "feed reconnect"),
        (900.0, "feed timeout"),
        (900.0, "feed give up"),
    ]
    assert [at - 600 for at, what in told[4:] if what == "feed reconnect"] == [
        600,
        1200,
        2400,
        4800,
    ]
    assert not any("symbol" in what for _, what in told)


def test_a_feed_that_is_quiet_by_its_nature_is_left_alone_until_the_time_out() -> None:
    told, _ = listened(every(250, 0, 100, 2000), until=2200, symbols=1)

    assert told == [(2150.0, "feed suspect"), (2150.0, "feed timeout")]


def test_the_first_minutes_after_lunch_are_judged_from_its_end() -> None:
    morning = every(1, 0, 0, 2.5 * 3600)

    told, _ = listened(morning, until=3.5 * 3600 + 20, symbols=1)

    assert told == [(3.5 * 3600 + 15, "feed suspect")]


def test_symbols_are_judged_again_from_when_the_feed_is_back() -> None:
    both = [*every(1, 0, 0, 600), *every(1, 1, 0, 600)]
    after = every(1, 0, 700, 800)

    told, _ = listened([*both, *after], until=790)

    assert [what for _, what in told] == ["feed suspect", "feed back", "symbol 1"]
    assert told[-1][0] == 760.0


def test_a_feed_that_comes_back_by_itself_is_given_half_as_long_again() -> None:
    fits = [*every(1, 0, 0, 600), *every(1, 0, 620, 700), *every(1, 0, 730, 800)]

    told, _ = listened(fits, until=850, symbols=1)

    suspected = [at for at, what in told if what == "feed suspect"]
    assert suspected == [599.0 + 15, 699.0 + 22.5, 799.0 + 33.75]


def test_who_comes_back_may_be_silent_for_twice_as_long() -> None:
    other = every(1, 1, 0, 2000)
    fits = [*every(1, 0, 0, 600), *every(1, 0, 700, 800)]

    told, _ = listened([*other, *fits], until=2000)

    assert told == [(659.0, "symbol 0"), (700.0, "back 0"), (919.0, "symbol 0")]


def test_a_halt_explains_silence_and_counts_anew_when_it_is_over() -> None:
    came = [*every(1, 0, 0, 600), *every(1, 1, 0, 900)]
    _, listening = listened(came, until=899)
    assert listening.silent.tolist() == [True, False]

    one = np.array([0])
    listening = halted(listening, one, instant(899), on=True)
    listening, verdict = judged(listening, RULES, DAY, instant(905))
    assert not len(verdict.symbols)
    assert not listening.silent.any()
    listening = halted(listening, one, instant(910), on=False)
    listening, _, _ = heard(listening, RULES, DAY, np.array([1], np.int32),
                            np.array([instant(912)]), instant(912))  # fmt: skip
    assert not judged(listening, RULES, DAY, instant(920))[1].stages
    assert listening.at_ns[0] == instant(910)


def test_nothing_follows_where_all_that_could_come_is_halted() -> None:
    _, listening = listened(every(1, 0, 0, 600), until=605, symbols=1)

    listening = halted(listening, np.array([0]), instant(605), on=True)
    listening, verdict = judged(listening, RULES, DAY, instant(612))

    assert (verdict.stages, listening.look_ns) == ((), None)


def test_who_did_not_look_when_it_was_due_did_not_listen() -> None:
    _, listening = listened(every(1, 0, 0, 600), until=601, symbols=1)

    listening, verdict = judged(listening, RULES, DAY, instant(4000))

    assert verdict.stages == ()
    assert listening.look_ns == instant(4015)


def test_bars_are_missed_after_a_few_of_them() -> None:
    bars = SilenceRules(timeout_ns=300 * SECOND_NS, interval_ns=MINUTE_NS)
    mine = [(at + 61, code, at) for at, code, _ in every(60, 0, 0, 3600)]
    other = [(at + 61, code, at) for at, code, _ in every(60, 1, 0, 7200)]

    told, _ = listened([*mine, *other], until=7200, rules=bars)

    assert told == [(3601.0 + 244.0, "symbol 0")]


def history(with_rows: Sequence[int], expected: int = 390, days: int = 10) -> History:
    names = tuple("AB"[: len(with_rows)])
    nothing = np.full(len(names), np.nan)
    counted = np.array(with_rows, np.int64)
    one = HistoryDay(DAY, names, nothing, nothing, nothing, nothing, nothing, counted,
                     np.full(len(names), expected, np.int64))  # fmt: skip
    return History(names, (one,) * days)


def test_days_before_say_how_long_is_unusual_before_today_does() -> None:
    liquid, rare, unknown, feed = (
        usual_before(history([390, 30]), ("A", "B", "C"), None) / SECOND_NS
    )

    assert 60 < liquid < 180
    assert 3600 < rare < 6 * 3600
    assert unknown == NEVER / SECOND_NS
    assert feed < liquid


@pytest.mark.parametrize("interval_ns", [None, MINUTE_NS])
def test_who_is_liquid_and_has_no_row_at_the_open_is_told_within_minutes(
    interval_ns: int | None,
) -> None:
    rules = SilenceRules(timeout_ns=300 * SECOND_NS, interval_ns=interval_ns)
    before = usual_before(history([390, 390]), ("A", "B"), interval_ns)
    lag = 61 if interval_ns else 0
    other = [(at + lag, code, at) for at, code, _ in every(60 if interval_ns else 1, 1, 0, 1200)]

    told, _ = listened(other, until=1200, rules=rules, before=before.tolist())

    assert [what for _, what in told] == ["symbol 0"]
    assert told[0][0] < 240
