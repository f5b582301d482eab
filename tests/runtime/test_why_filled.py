"""Why, of days that had rows from history: what is told is what was stored."""

from __future__ import annotations

from datetime import date
from typing import Any

from by_hand import ByHand, at, config
from histories import Row, history

from openbell import Explanation
from openbell.runtime.config import config_from
from openbell.runtime.why import asked, from_store

DAY = date(2024, 7, 1)
MORNING: list[Row] = [
    *(("AB"[n % 2], at("09:30:05") + 10 * n, 100.0 + n % 5) for n in range(29)),
    *(("AB"[n % 2], at("09:36:00") + 20 * n, 101 + 0.25 * n) for n in range(20)),
]


def begun(when: str, takes: float) -> ByHand:
    return ByHand(config(), at(when), history=history(MORNING), history_takes=takes)


def told(run: ByHand, symbol: str) -> Explanation:
    found = from_store(config_from(run.config), run.store, asked(symbol, DAY))
    signals = [of for of in run.signals() if f":{symbol}:" in of[0]]
    assert sorted((s.id, s.backfilled) for s in found.signals) == sorted(signals)
    assert found.notes == ()
    assert str(found)
    return found


def levels(found: Explanation) -> Any:
    return [
        (of.session, of.rows, of.complete, of.high and of.high.level, of.low and of.low.level)
        for of in found.sessions
    ]


def test_rows_that_came_late_from_history_are_among_what_is_told() -> None:
    whole = ByHand(config(), at("09:00"))
    for symbol, ts, price in MORNING:
        whole.tick(ts, symbol, price)
    whole.until(at("12:30"))
    run = begun("11:00", takes=90.0).tick(at("11:00:40"), "A", 103.0).until(at("12:30"))

    for symbol in "AB":
        late, in_time = told(run, symbol), told(whole, symbol)

        assert levels(late) == levels(in_time)
        assert [of.late for of in late.sessions] == [of.late for of in in_time.sessions]
        for one, other in zip(late.sessions, in_time.sessions, strict=True):
            for side, same in ((one.high, other.high), (one.low, other.low)):
                if side is not None and same is not None:
                    assert side.made == same.made
                    assert side.since_filled is None


def test_a_level_that_had_been_broken_is_told_with_what_it_is_now() -> None:
    run = begun("09:33", takes=200.0)
    for symbol, ts, _ in MORNING:
        if at("09:33:00") < ts < at("09:35"):
            run.tick(ts, symbol, 100.0)
    run.tick(at("09:35:30"), "A", 101.0).tick(at("09:37"), "A", 101.5).until(at("09:40"))

    morning = told(run, "A").sessions[0]

    assert morning.high is not None
    assert morning.low is not None
    assert (morning.high.level, morning.high.since_filled) == (100.0, 104.0)
    assert (morning.rows, [s.price for s in morning.high.signals]) == (15, [101.0])
    assert [(of.rule, of.touches) for of in morning.high.refused][:1] == [("reported", 1)]
    assert morning.low.nearest is not None
    assert morning.low.nearest.distance == 1.0
    assert "by rows that came from history later it is 104.0" in str(told(run, "A"))
