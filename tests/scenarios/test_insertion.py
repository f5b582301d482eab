"""Symbols that come into a day under way: the same results as if they had been there."""

from __future__ import annotations

import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inserting import (
    DAYS,
    Asks,
    Left,
    Stepped,
    at,
    bars,
    configuration,
    left_by,
    ticks,
    what_is_left,
)

from openbell.market.bars import RawRows
from openbell.messages.control import AddSymbols, RemoveSymbols, SymbolsRefused

MINUTE_NS = 60_000_000_000


def kind_of_data(kind: str, seed: int) -> Any:
    return bars(seed) if kind == "bars" else ticks(seed)


def keys(kind: str, confirm: str) -> dict[str, Any]:
    return {
        "data": {"kind": kind},
        "clock": {"step": "bar"},
        "breakout": {
            "rearm": {"inside_bars": 3},
            "confirm": confirm,
            "closed_beyond": True,
            "retest": {"within_bars": 8, "tolerance": 0.05},
        },
    }


@cache
def from_the_open(kind: str, confirm: str, seed: int) -> Left:
    return left_by(configuration("ABC", **keys(kind, confirm)), kind_of_data(kind, seed))


def add(*symbols: str, request: str = "one") -> AddSymbols:
    return AddSymbols(symbols=symbols, request=request)


def remove(*symbols: str, request: str = "other") -> RemoveSymbols:
    return RemoveSymbols(symbols=symbols, request=request)


DRAWN = {
    "kind": st.sampled_from(["bars", "ticks"]),
    "confirm": st.sampled_from(["close", "touch"]),
    "seed": st.integers(0, 1),
    "minute": st.integers(0, 374),
    "one_by_one": st.booleans(),
}


@pytest.mark.parametrize(
    "drawn",
    [
        {"kind": "bars", "confirm": "close", "seed": 0, "minute": 200, "one_by_one": False},
        {"kind": "ticks", "confirm": "touch", "seed": 1, "minute": 21, "one_by_one": True},
    ],
    ids=["bars", "ticks"],
)
def test_a_symbol_that_comes_has_the_results_that_it_had_from_the_open(
    drawn: dict[str, Any],
) -> None:
    comes_as_if_it_had_been_there(**drawn)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(drawn=st.fixed_dictionaries(DRAWN))
def test_whenever_it_comes_it_has_the_same_results(drawn: dict[str, Any]) -> None:
    comes_as_if_it_had_been_there(**drawn)


@pytest.mark.slow
@pytest.mark.parametrize("minute", [10, 19, 170, 200])
def test_a_symbol_whose_bars_are_revised_comes_with_what_stands(minute: int) -> None:
    frame, rng = bars(3), np.random.default_rng(3)
    again = frame[rng.random(len(frame)) < 0.2]
    width = np.round(rng.exponential(0.3, len(again)), 2)
    again = again.assign(
        high=again.high + width, low=again.low - width, close=again.close - width / 2
    )
    rows = pd.concat([frame, again]).sort_index(kind="stable", ignore_index=True)
    made = {
        **keys("bars", "close"),
        "data": {"kind": "bars", "order": "arrival"},
        "feed": {"revisions": "amend"},
        "clock": {"step": "bar", "lateness": "0s"},
    }
    whole = left_by(configuration("ABC", **made), rows)
    when = at(DAYS[0], "09:15") + minute * MINUTE_NS

    part = left_by(configuration("A", **made), rows, [(when, add("B", "C"))])

    assert part.of("A", "B", "C") == whole.of("A", "B", "C")
    assert [what_is_left(day) for day in part.days] == [what_is_left(day) for day in whole.days]
    frozen = left_by(configuration("ABC", **{**made, "feed": {}}), rows)
    assert what_is_left(whole.days[0]) != what_is_left(frozen.days[0])


def comes_as_if_it_had_been_there(
    kind: str, confirm: str, seed: int, minute: int, one_by_one: bool
) -> None:
    whole = from_the_open(kind, confirm, seed)
    when = at(DAYS[0], "09:15") + minute * MINUTE_NS
    asks = [(when, add("B", "C"))]
    if one_by_one:
        asks = [(when, add("B", request="b")), (when, add("C", request="c"))]

    part = left_by(configuration("A", **keys(kind, confirm)), kind_of_data(kind, seed), asks)

    assert all(answer.done for answer in part.answers)
    assert part.of("A") == whole.of("A")
    assert part.of("B") == whole.of("B")
    assert part.of("C") == whole.of("C")
    assert [what_is_left(day) for day in part.days] == [what_is_left(day) for day in whole.days]


WEEKS = 110
"""After DAYS, NSE's products have different hours."""

OF_PRODUCTS: dict[str, Any] = {
    "clock": {"step": "bar"},
    "breakout": {"rearm": {"inside_bars": 3}},
    "upkeep": {"derived_intervals": [5, 30]},  # 30 minutes are cut in different ways
    "calendar": {"segments": {"B": "index", "C": "equity_fno", "F": "futures"}},
    "sessions": [
        {"name": "Opening", "start": "09:30", "end": "09:35"},
        {"name": "Close", "start": "15:05", "end": "15:24"},
    ],
}


def later(kind: str, seed: int) -> Any:
    data = kind_of_data(kind, seed)
    return data.assign(timestamp=data["timestamp"] + pd.Timedelta(weeks=WEEKS))


@pytest.mark.parametrize(
    ("kind", "minute"),
    [
        pytest.param(kind, minute, marks=pytest.mark.slow)
        for kind in ("bars", "ticks")
        for minute in (0, 100, 363)
    ],
)
def test_symbols_with_hours_of_their_own_come_as_if_they_had_been_there(
    kind: str, minute: int
) -> None:
    keys = {**OF_PRODUCTS, "data": {"kind": kind}}
    whole = left_by(configuration("ABC", **keys), later(kind, 0))
    when = at(DAYS[0], "09:15") + WEEKS * 7 * 24 * 60 * MINUTE_NS + minute * MINUTE_NS

    part = left_by(configuration("A", **keys), later(kind, 0), [(when, add("B", "C"))])

    assert part.of("A", "B", "C") == whole.of("A", "B", "C")
    assert [what_is_left(day) for day in part.days] == [what_is_left(day) for day in whole.days]
    expected = dict(
        zip(whole.days[0].symbols, whole.days[0].quality.expected.tolist(), strict=True)
    )
    assert expected == {"A": 375, "B": 375, "C": 360, "F": 385}


def test_what_lies_before_is_marked_and_nothing_after() -> None:
    noon = at(DAYS[0], "12:21")
    part = left_by(configuration("AC"), bars(0), [(noon, add("B"))])

    known = [(signal[6], signal[-1]) for signal in part.signals if signal[0] == "B"]
    assert {marked for known_at, marked in known if known_at <= noon} == {True}
    assert {marked for known_at, marked in known if known_at > noon} == {False}
    assert not any(signal[-1] for signal in part.signals if signal[0] != "B")


def test_a_symbol_that_goes_is_silent_and_one_that_comes_again_reports_nothing_twice() -> None:
    whole = left_by(configuration("ABC"), bars(0))
    config = configuration("ABC")
    gone, back = at(DAYS[0], "09:36"), at(DAYS[0], "12:21")

    away = left_by(config, bars(0), [(gone, remove("B"))])
    again = left_by(config, bars(0), [(gone, remove("B")), (back, add("B"))])

    early = [signal for signal in whole.of("B") if signal[6] <= gone]
    assert away.of("B") == early
    assert away.of("A", "C") == whole.of("A", "C")
    assert [day.symbols for day in away.days] == [("A", "B", "C", "F"), ("A", "C", "F")]
    assert again.of("B") == whole.of("B")
    ids = [signal[:5] for signal in again.signals]
    assert len(ids) == len(set(ids))
    assert [what_is_left(day) for day in again.days] == [what_is_left(day) for day in whole.days]


def test_what_follows_a_breakout_of_a_symbol_that_is_away_is_told_when_it_comes_again() -> None:
    config = configuration("ABC", clock={"step": "bar"})
    whole = left_by(config, bars(0))
    (retest, *_) = (signal for signal in whole.of("B") if signal[4][1] == "retest")
    (breakout,) = (
        signal
        for signal in whole.of("B")
        if signal[:4] == retest[:4] and signal[4] == (retest[4][0], "breakout")
    )
    asks: Asks = [(breakout[6], remove("B")), (retest[6] + 60 * MINUTE_NS, add("B"))]

    again = left_by(config, bars(0), asks)

    assert again.of("B") == whole.of("B")


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (add("B", "X"), "X: the data has no such symbol"),
        (add("A"), "A is watched already; nothing has changed"),
        (remove("B"), "B is not watched"),
        (remove("A", "C"), "no symbol would be left"),
    ],
)
def test_what_can_not_be_is_refused_and_nothing_changes(
    asked: AddSymbols | RemoveSymbols, why: str
) -> None:
    config = configuration("AC")
    whole = left_by(config, bars(0))

    part = left_by(config, bars(0), [(at(DAYS[0], "11:00"), asked)])

    (answer,) = part.answers
    assert not answer.done
    assert why in answer.why
    assert part.signals == whole.signals
    assert [what_is_left(day) for day in part.days] == [what_is_left(day) for day in whole.days]


def test_a_companion_goes_with_those_that_it_stands_beside() -> None:
    config = configuration("ABC")

    part = left_by(
        config,
        bars(0),
        [
            (at(DAYS[0], "11:00"), remove("F", request="f")),
            (at(DAYS[0], "11:50"), remove("F", "B")),
        ],
    )

    assert [answer.done for answer in part.answers] == [False, True]
    assert "F is the companion of B" in part.answers[0].why


@pytest.mark.parametrize("when", ["11:00", "15:30"], ids=["in the day", "after the close"])
def test_a_companion_that_is_watched_from_now_on_is_told_to_who_asked(when: str) -> None:
    part = left_by(configuration("ABC"), bars(0), [(at(DAYS[0], when), add("F"))])

    (answer,) = part.answers
    assert answer.done
    assert "F: watched from" in answer.why


def test_a_source_that_fails_in_the_middle_is_told_and_the_day_goes_on() -> None:
    config = configuration("AC")
    whole = left_by(config, bars(0))

    def fails(run: Stepped) -> None:
        read = run.source.read

        def broken(start_ns: int, end_ns: int, symbols: Any = None) -> RawRows:
            if "B" in symbols:
                raise OSError("the disk is gone")
            return read(start_ns, end_ns, symbols)

        run.source.read = broken  # type: ignore[method-assign]
        run.engine.loader._pause = lambda seconds: None  # type: ignore[method-assign]

    part = left_by(config, bars(0), [(at(DAYS[0], "11:50"), add("B"))], fails)

    (answer,) = part.answers
    assert not answer.done
    assert "the disk is gone" in answer.why
    assert part.signals == whole.signals
    assert [what_is_left(day) for day in part.days] == [what_is_left(day) for day in whole.days]


def test_days_before_are_read_of_those_alone_that_come() -> None:
    read: list[tuple[str, tuple[str, ...]]] = []

    def listens(run: Stepped) -> None:
        reads = run.source.read

        def noted(start_ns: int, end_ns: int, symbols: Any = None) -> RawRows:
            day = pd.Timestamp(start_ns, tz="UTC").tz_convert("Asia/Kolkata")
            read.append((str(day.date()), tuple(symbols)))
            return reads(start_ns, end_ns, symbols)

        run.source.read = noted  # type: ignore[method-assign]

    when = at(DAYS[1], "11:50")
    part = left_by(configuration("AC"), bars(0), [(when, add("B"))], listens)

    before = [symbols for day, symbols in read if day == DAYS[0]]
    assert before == [("A", "C", "F"), ("B",)]
    whole = left_by(configuration("ABC"), bars(0))
    assert part.of("B") == [of for of in whole.of("B") if of[1] == DAYS[1]]
    assert what_is_left(part.days[1]) == what_is_left(whole.days[1])


def test_the_day_goes_on_without_a_source_that_is_slow_and_what_comes_late_is_not_used() -> None:
    config = configuration("AC")
    whole = left_by(config, bars(0))
    over = threading.Event()

    def waits(run: Stepped) -> None:
        read = run.source.read

        def slow(start_ns: int, end_ns: int, symbols: Any = None) -> RawRows:
            if "B" in symbols:
                over.wait(120)
            return read(start_ns, end_ns, symbols)

        run.source.read = slow  # type: ignore[method-assign]
        run.engine.inserter._timeout_seconds = 0.1
        say = run.engine.tell_clock

        def tell(message: Any) -> None:
            say(message)
            if isinstance(message, SymbolsRefused):
                over.set()  # it comes now, after it was refused

        run.engine.tell_clock = tell  # type: ignore[method-assign]

    part = left_by(config, bars(0), [(at(DAYS[0], "11:50"), add("B"))], waits)

    (answer,) = part.answers
    assert not answer.done
    assert "not loaded within 0.1 s" in answer.why
    assert part.signals == whole.signals
    assert [what_is_left(day) for day in part.days] == [what_is_left(day) for day in whole.days]


def test_a_symbol_that_comes_has_the_tick_that_the_file_says(tmp_path: Path) -> None:
    (tmp_path / "ticks.csv").write_text("symbol,tick_size\nA,0.05\nB,0.25\nC,1\n")
    keys: dict[str, Any] = {
        "instruments": str(tmp_path / "ticks.csv"),
        "breakout": {"buffer": "2 ticks"},
    }
    whole = left_by(configuration("ABC", **keys), bars(0))

    part = left_by(
        configuration("AC", **keys),
        bars(0),
        [(at(DAYS[0], "11:00"), add("B")), (at(DAYS[0], "11:01"), add("F", request="two"))],
    )

    assert [answer.done for answer in part.answers] == [True, False]
    assert "F: a buffer is in ticks, and the file of instruments has no tick_size" in (
        part.answers[1].why
    )
    assert {signal for signal in part.signals if "B" in signal} != set()
    assert sorted(map(without_backfilled, part.signals)) == sorted(
        map(without_backfilled, whole.signals)
    )


def without_backfilled(signal: tuple[Any, ...]) -> str:
    return repr(tuple(of for of in signal if not isinstance(of, bool)))


def test_rules_know_the_averages_of_symbols_that_come() -> None:
    rules = {
        "volume": {"times": 1.1, "of": "minute", "period": "1d"},
        "min_range": {"times": 0.004, "of": "average"},
        "rearm": {"inside_bars": 3},
    }
    whole = left_by(configuration("ABC", breakout=rules), bars(0))

    part = left_by(
        configuration("A", breakout=rules), bars(0), [(at(DAYS[1], "12:21"), add("B", "C"))]
    )

    later = [signal for signal in whole.of("B", "C") if signal[1] == DAYS[1]]
    assert later
    assert part.of("B", "C") == later
    assert part.of("A") == whole.of("A")
