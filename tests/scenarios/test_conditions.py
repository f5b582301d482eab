"""Breaks that have rules to pass, on busy days: against the plain reference, and with bugs planted.

Prices go back and forth about the levels, volumes about what is usual, so that a day's breaks are
decided by the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, time
from random import Random
from typing import Any

import numpy as np
import pytest
from agreement import agree
from conditions import Bound, Conditions, Known
from reference import Row, Rules, Window, answer_as_arrived
from runs import answer_of, drained, of_cases, register, with_boundaries
from strategies import Case

from openbell.actors import breakout
from openbell.market import breakouts, conditions, levels, volumes
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay, local_instant

OPENS = local_instant(date(2024, 7, 1), time(9, 30), "America/New_York")
HOURS = TradingDay(date(2024, 7, 1), "America/New_York", (Segment(OPENS, OPENS + 40 * MINUTE_NS),))
SYMBOLS = ("A", "B", "C")
SEEDS = 45


def busy(rng: Random) -> Case:
    kind = rng.choice(("bars", "bars", "ticks"))
    length = 5 * MINUTE_NS if kind == "bars" and rng.random() < 0.2 else MINUTE_NS
    rows: list[Row] = []
    for at in range(0, 40 * MINUTE_NS, length):
        for symbol in SYMBOLS:
            if rng.random() < 0.06:
                continue
            reach = 0.4 if at < 5 * MINUTE_NS else 0.6
            open_, close, high, low = (
                round(100 + rng.choice((-1, -0.5, 0, 0.5, 1)) * reach, 2) for _ in range(4)
            )
            volume = rng.choice((1.0, 1.0, 1.5, 2.2, 0.1, 0.0))
            if kind == "bars":
                top, bottom = max(open_, high, low, close), min(open_, high, low, close)
                rows.append((symbol, OPENS + at, open_, top, bottom, close, volume))
                continue
            ts = OPENS + at
            for price in (open_, high, low, close):
                ts += rng.choice((0, 1, 7, 20)) * SECOND_NS
                rows.append((symbol, ts, price, volume / rng.choice((1, 3))))
    rows.sort(key=lambda row: row[1])
    until: str | int | None = rng.choice((None, None, 12 * MINUTE_NS, "09:50"))
    bounds: tuple[Bound | None, ...] = (None, None, ("price", 0.8), ("percent", 0.8))
    narrowest = rng.choice((*bounds, ("times", 0.008)))
    rules = Rules(
        confirm=rng.choice(("close", "touch")),
        inside_bars=rng.choice((0, 0, 1)),
        conditions=Conditions(
            volume_times=rng.choice((None, 1.0, 1.1, 1.5)),
            volume_of=rng.choice(("minute", "day")),
            volume_companion=rng.random() < 0.4,
            min_range=narrowest,
            max_range=rng.choice(bounds) if narrowest is None else None,
            valid_until=until,
            on_incomplete=rng.choice(("flag", "block")),
            direction=rng.choice(("any", "any", "first_bar")),
        ),
    )
    averages = {
        (symbol, OPENS + at): rng.choice((1.0, 1.0, 1.5, 0.0))
        for at in range(0, 40 * MINUTE_NS, length)
        for symbol in SYMBOLS
        if rng.random() < 0.9
    }
    return Case(
        day=HOURS,
        interval_ns=None if kind == "ticks" else length,
        rows=tuple(rows),
        symbols=SYMBOLS,
        windows=(Window("Early", "09:30", "09:34"), Window("Later", "09:35", "09:44")),
        rules=rules,
        companions={"A": "C"},
        known=Known(averages, {"A": 100.0, "B": 99.0}),
    )


def held_up(rng: Random, rows: tuple[Row, ...]) -> tuple[Row, ...]:
    delays = [row[1] + rng.random() ** 4 * 90 * SECOND_NS for row in rows]
    return tuple(rows[at] for at in sorted(range(len(rows)), key=delays.__getitem__))


def all_agree(seeds: range) -> Iterator[tuple[Case, list[Any]]]:
    """Each seed's day in time order, or as its rows came, cut anywhere; with its signals."""
    for seed in seeds:
        rng = Random(seed)
        case = register(busy(rng))
        if rng.random() < 0.5:
            agree([case], rng.choice(("boundary", "bar")))
            yield case, case.answer()["signals"]
            continue
        case = replace(case, rows=held_up(rng, case.rows))
        lateness_ns = rng.choice((0, 2, 90)) * SECOND_NS
        run = of_cases([case], order="arrival", lateness_ns=lateness_ns)
        cuts = [OPENS + rng.randrange(1, 40 * MINUTE_NS) for _ in range(rng.choice((0, 3, 40)))]
        expected = answer_as_arrived(
            *(case.day, case.interval_ns, case.rows, case.symbols, case.windows, case.rules),
            case.companions,
            lateness_ns=lateness_ns,
            known=case.known,
        )["signals"]
        found = drained(run, troupe=with_boundaries(run, cuts))
        assert answer_of(found, case)["signals"] == expected, seed
        yield case, [*expected]


def test_breaks_that_have_rules_to_pass_are_those_of_the_reference() -> None:
    passed: Counter[str] = Counter()
    for case, signals in all_agree(range(SEEDS)):
        for signal in signals:
            assert signal["rules"] == case.rules.conditions.names
            passed.update(signal["rules"])

    assert min(passed[name] for name in conditions.CONDITIONS) > 5


def volume_of_whole_batch(
    before: Any, rows: Any, rule: Any, usual: Any, asked: Any, **how: Any
) -> Any:
    """As if all rows of a step had come before each of them."""
    after = volumes.traded(before, rows, usual.starts)
    return confirmed(after, rows, rule, usual, asked, counted=True)


def without_what_came(before: Any, rows: Any, starts: Any) -> Any:
    """As if a slot began anew with each step."""
    return traded(volumes.Volumes(), rows, starts)


confirmed, traded = volumes.confirmed, volumes.traded
is_enough, in_time = volumes.is_enough, breakouts._in_time
first_of_rows = levels._first_of_rows

PLANTED: dict[str, tuple[Any, str, Any]] = {
    "a row is confirmed by what came after it": (breakout, "confirmed", volume_of_whole_batch),
    "what traded is forgotten with each step": (breakout, "traded", without_what_came),
    "no volume at all is as much as usual": (
        volumes,
        "is_enough",
        lambda volume, average, times: np.asarray(volume >= times * average),
    ),
    "a little less than needed is enough": (
        volumes,
        "is_enough",
        lambda volume, average, times: is_enough(volume, average, times * 0.9),
    ),
    "what is known at the last instant is too late": (
        breakouts,
        "_in_time",
        lambda rows, until_ns, allowed: in_time(rows, until_ns - 1, allowed),
    ),
    "a bound is not allowed itself": (conditions, "SAME", -1e-6),
    "the first bar is the whole session": (
        levels,
        "_first_of_rows",
        lambda first, rows, window: first_of_rows(
            first, rows, replace(window, slots=window.slots[:1])
        ),
    ),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, name, planted = PLANTED[bug]
    monkeypatch.setattr(place, name, planted)

    with pytest.raises(AssertionError):
        for _ in all_agree(range(SEEDS)):
            pass
