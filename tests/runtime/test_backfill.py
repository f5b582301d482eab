"""A run that comes to a day under way takes what came before from history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from by_hand import ByHand, at, config
from histories import Row, history

import openbell
from openbell.market.bars import RawRows
from openbell.market.days import MarketTime
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.eras import era_on
from openbell.runtime.lifetime.keeping import Recording
from openbell.runtime.lifetime.parity import parity
from openbell.runtime.lifetime.replaying import replay_day

MORNING: list[Row] = [
    *(("AB"[n % 2], at("09:30:05") + 10 * n, 100.0 + n % 5) for n in range(29)),
    *(("AB"[n % 2], at("09:36:00") + 20 * n, 101 + 0.25 * n) for n in range(20)),
    ("Z", at("09:40"), 1.0),  # nobody watches it
]

HIGHS = [
    "XNYS:2024-07-01:Morning:B:HIGH_BREAK:1",
    "XNYS:2024-07-01:Morning:A:HIGH_BREAK:1",
]


def live_from_the_open() -> ByHand:
    run = ByHand(config(), at("09:00"))
    for symbol, ts, price in MORNING:
        run.tick(ts, symbol, price)
    return run


def left(run: ByHand) -> Any:
    levels = {name: document["symbols_data"] for name, document in run.sessions().items()}
    return [of for of, _ in run.signals()], levels


def test_what_came_before_a_first_start_is_taken_from_the_feeds_history() -> None:
    asked: list[tuple[int, int]] = []
    run = ByHand(config(), at("11:00"), history=history(MORNING, asked), round_trips=True)
    run.tick(at("11:30"), "A", 90.0)

    run.until(at("12:30"))

    expected = live_from_the_open().tick(at("11:30"), "A", 90.0).until(at("12:30"))
    assert asked == [(round(at("09:30") * 1e9), round(at("11:00") * 1e9))]
    assert left(run) == left(expected)
    assert run.signals() == [
        *((of, True) for of in HIGHS),
        ("XNYS:2024-07-01:Morning:A:LOW_BREAK:1", False),
    ]


def test_rows_that_are_there_already_are_not_counted_twice() -> None:
    run = ByHand(config(), at("11:00"), history=history(MORNING))
    for symbol, ts, price in MORNING:  # as who pushes the day so far
        run.tick(at("11:00:01"), symbol, price, ts=ts)

    run.until(at("12:30"))

    assert left(run) == left(live_from_the_open().until(at("12:30")))


@pytest.mark.parametrize("takes", [pytest.param(5.0, marks=pytest.mark.slow), 29.0])
def test_nothing_is_crossed_before_history_is_there(takes: float) -> None:
    run = ByHand(config(), at("09:34:50"), history=history(MORNING), history_takes=takes)

    run.until(at("09:35:40"))

    morning = live_from_the_open().until(at("09:36")).sessions()["Morning"]
    assert run.sessions()["Morning"]["symbols_data"] == morning["symbols_data"]
    assert run.sessions()["Morning"]["status"] == "COMPLETED"


def test_history_that_fails_is_told_and_the_day_goes_on_without_it() -> None:
    def gone(symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        raise OSError("the vendor is away")

    run = ByHand(config(), at("11:00"), history=gone).tick(at("11:30"), "A", 90.0)

    run.until(at("12:30"))

    assert run.sessions()["Morning"]["symbols_data"]["A"]["high"] is None
    assert run.sessions()["Noon"]["status"] == "COMPLETED"
    assert run.signals() == []
    told = [entry for entry in run.audit("notice") if entry["kind"] == "backfill.failed"]
    assert ["the vendor is away" in entry["why"] for entry in told] == [True]


def test_a_start_after_the_close_still_has_the_day() -> None:
    run = ByHand(config(), at("16:15"), history=history(MORNING)).until(at("16:16"))

    assert run.state == "POST_MARKET"
    assert left(run) == left(live_from_the_open().until(at("16:15")))
    assert run.signals() == [(of, True) for of in HIGHS]


def test_a_kill_after_history_has_come_changes_nothing_and_a_replay_has_it() -> None:
    expected = left(live_from_the_open().until(at("12:30")))
    for message in range(20, 300, 130):
        run = ByHand(config(), at("11:00"), history=history(MORNING), history_takes=3.0)
        run.kills_at = frozenset({message, message + 15})

        run.until(at("12:30"))

        assert left(run) == expected
        assert [late for _, late in run.signals()] == [True, True]
    run.until(at("17:00"))
    again = replay_day(config_from(run.config), run.store, date(2024, 7, 1))
    assert again.differs is None


def test_a_start_the_day_after_asks_for_nothing_of_yesterday() -> None:
    asked: list[tuple[int, int]] = []
    run = ByHand(config(), at("09:00"), history=history(MORNING, asked), loses=True)
    run.tick(at("09:31"), "A", 100.0).tick(at("09:36"), "A", 99.0)

    run.kill(at("10:00"), at("09:31", "2024-07-03")).until(at("09:33", "2024-07-03"))

    assert run.today == date(2024, 7, 3)
    assert [from_ns for from_ns, _ in asked] == [round(at("09:30", "2024-07-03") * 1e9)]
    assert run.signals() == [("XNYS:2024-07-01:Morning:A:LOW_BREAK:1", False)]


def test_what_broke_while_nobody_listened_is_sent_as_backfilled() -> None:
    rows: list[Row] = [("A", at("10:30"), 120.0), ("B", at("10:30"), 101.0)]
    run = ByHand(config(), at("09:00"), history=history([*MORNING, *rows]), loses=True)
    for symbol, ts, price in MORNING:
        if ts < at("09:36"):
            run.tick(ts, symbol, price)
    for symbol, ts, price in rows:
        run.tick(ts, symbol, price)
    run.kill(at("10:00"), at("11:00")).tick(at("11:30"), "A", 121.0).tick(at("11:31"), "A", 90.0)

    run.until(at("12:30"))

    signals = run.signals()
    assert ("XNYS:2024-07-01:Morning:A:HIGH_BREAK:1", True) in signals
    assert signals[-1] == ("XNYS:2024-07-01:Morning:A:LOW_BREAK:1", False)
    assert sorted(of for of, _ in signals) == sorted({of for of, _ in signals})


def test_what_did_not_change_while_nobody_listened_sends_nothing() -> None:
    run = ByHand(config(), at("09:00"), history=history(MORNING), loses=True)
    for symbol, ts, price in MORNING:
        run.tick(ts, symbol, price)

    run.kill(at("10:00"), at("11:00")).until(at("12:30"))

    assert run.signals() == [(of, False) for of in HIGHS]


def late(*, begins: str = "11:00", takes: float = 90.0, **more: Any) -> ByHand:
    return ByHand(
        config(upkeep={"derived_intervals": ["5m"]}, **more),
        at(begins),
        history=history(MORNING),
        history_takes=takes,
    )


def test_history_that_comes_late_is_merged_and_nothing_is_decided_again() -> None:
    run = late()
    run.round_trips = True
    run.tick(at("11:00:40"), "A", 103.0).tick(at("11:00:50"), "B", 120.0)
    run.tick(at("11:00:55"), "B", 102.0)

    seen: list[Any] = []
    run.do(at("11:01:20"), lambda of: seen.append(of.sessions()["Morning"]))
    run.until(at("12:30"))

    assert seen[0]["status"] == "COMPLETED"
    assert seen[0]["symbols_data"]["A"]["high"] is None
    expected = live_from_the_open()
    expected.tick(at("11:00:40"), "A", 103.0).tick(at("11:00:50"), "B", 120.0)
    expected.tick(at("11:00:55"), "B", 102.0)
    assert left(run) == left(expected.until(at("12:30")))
    assert run.signals() == [(of, True) for of in HIGHS]


def test_a_break_that_nobody_could_see_before_the_levels_came_is_found_then() -> None:
    run = late().tick(at("11:00:40"), "A", 90.0).tick(at("11:00:41"), "A", 102.0)

    run.until(at("11:01:45"))

    assert run.signals() == [
        *((of, True) for of in HIGHS),
        ("XNYS:2024-07-01:Morning:A:LOW_BREAK:1", True),
    ]


def test_a_window_that_had_begun_has_its_first_half_and_what_was_signalled_stays() -> None:
    run = late(begins="09:33:00", takes=200.0)
    for symbol, ts, _ in MORNING:
        if at("09:33:00") < ts < at("09:35"):
            run.tick(ts, symbol, 100.0)
    run.tick(at("09:35:30"), "A", 101.0).tick(at("09:37"), "A", 101.5).tick(at("09:37:01"), "B", 1)

    seen: list[Any] = []
    run.do(at("09:35:40"), lambda of: seen.append((of.sessions()["Morning"], of.signals())))
    run.until(at("09:40"))

    document, signals = seen[0]
    assert document["symbols_data"]["A"]["high"] == 100.0
    assert signals == [("XNYS:2024-07-01:Morning:A:HIGH_BREAK:1", False)]
    morning = run.sessions()["Morning"]["symbols_data"]["A"]
    assert morning["high"] == 104.0
    assert morning["tick_count"] == 15
    assert run.signals() == [
        ("XNYS:2024-07-01:Morning:A:HIGH_BREAK:1", False),
        ("XNYS:2024-07-01:Morning:B:LOW_BREAK:1", False),
    ]


@pytest.mark.parametrize("takes", [pytest.param(0.0, marks=pytest.mark.slow), 90.0, 800.0])
def test_bars_and_quality_have_what_came_late(takes: float) -> None:
    def results(run: ByHand) -> Any:
        day = replay_results(run)
        bars = {
            (ts, symbol): values
            for part in day.bars[5]
            for ts, symbol, *values in zip(
                part.ts.tolist(),
                part.symbol.tolist(),
                part.open.tolist(),
                part.high.tolist(),
                part.low.tolist(),
                part.close.tolist(),
                part.volume.tolist(),
                strict=True,
            )
        }
        return bars, day.quality.actual.tolist(), day.tally.counts["rows"]

    later: list[Row] = [("A", at("11:00:20"), 101.0), ("B", at("11:04"), 99.5)]
    run, whole = late(begins="11:00:10", takes=takes), live_from_the_open()
    whole.config |= {"upkeep": {"derived_intervals": ["5m"]}}
    for of in (run, whole):
        for symbol, ts, price in later:
            of.tick(ts, symbol, price)
        of.until(at("16:10"))

    assert results(run) == results(whole)


def replay_results(run: ByHand) -> Any:
    from openbell.runtime.results.recording import Recorder

    recorder = Recorder(())
    again = replay_day(config_from(run.config), run.store, date(2024, 7, 1), recorder=recorder)
    assert again.differs is None
    assert recorder.last_day is not None
    return recorder.last_day


def test_a_kill_while_history_is_waited_for_has_it_asked_for_again() -> None:
    run = late(takes=60.0).tick(at("11:00:40"), "A", 103.0)

    run.kill(at("11:00:45"), at("11:00:50")).until(at("12:30"))

    assert run.restarts == 1
    expected = live_from_the_open().tick(at("11:00:40"), "A", 103.0).until(at("12:30"))
    assert left(run) == left(expected)


def test_history_that_comes_after_the_close_is_not_used() -> None:
    run = late(begins="15:59:30", takes=300.0).until(at("16:20"))

    assert run.sessions()["Morning"]["symbols_data"]["A"]["high"] is None
    assert run.state == "POST_MARKET"


def test_a_gap_of_the_feed_is_filled_while_the_day_goes_on() -> None:
    between: list[Row] = [("A", at("09:40:30"), 120.0), ("B", at("09:50"), 90.0)]

    def lost(of: ByHand) -> None:
        assert of.run is not None
        assert of.run.feed is not None
        from_ns, until_ns = round(at("09:40:20") * 1e9), round(at("10:00") * 1e9)
        of.run.feed.gap(MarketTime(from_ns), MarketTime(until_ns), None, "the vendor was away")

    rows = sorted([*MORNING, *between, ("A", at("10:00"), 102.0)], key=lambda row: row[1])
    run = ByHand(config(), at("09:00"), history=history(rows), history_takes=20.0)
    whole = ByHand(config(), at("09:00"))
    for symbol, ts, price in rows:
        whole.tick(ts, symbol, price)
        if not at("09:40:20") < ts < at("10:00"):
            run.tick(ts, symbol, price)
    run.do(at("10:00:01"), lost)

    run.until(at("12:30"))

    assert left(run)[1] == left(whole.until(at("12:30")))[1]
    assert run.signals() == [
        ("XNYS:2024-07-01:Morning:B:HIGH_BREAK:1", False),
        ("XNYS:2024-07-01:Morning:A:HIGH_BREAK:1", True),
        ("XNYS:2024-07-01:Morning:B:LOW_BREAK:1", True),
    ]


def test_a_gap_of_one_symbol_brings_no_row_of_another_again() -> None:
    def lost(of: ByHand) -> None:
        assert of.run is not None
        assert of.run.feed is not None
        from_ns, until_ns = round(at("09:30") * 1e9), round(at("09:34") * 1e9)
        of.run.feed.gap(MarketTime(from_ns), MarketTime(until_ns), ("A", "Z"), "a channel fell")

    run = ByHand(config(), at("09:00"), history=history(MORNING), history_takes=400.0)
    for symbol, ts, price in MORNING:
        if symbol == "B" or ts > at("09:34"):
            run.tick(ts, symbol, price)
    run.do(at("09:34:10"), lost)

    run.until(at("12:30"))

    assert left(run)[1] == left(live_from_the_open().until(at("12:30")))[1]


@pytest.mark.parametrize("takes", [pytest.param(0.0, marks=pytest.mark.slow), 90.0])
def test_a_recording_has_what_history_brought(takes: float, tmp_path: Path) -> None:
    made = config()
    run = ByHand(made, at("11:00"), history=history(MORNING), history_takes=takes)
    run.tick(at("11:00:40"), "A", 90.0).tick(at("11:30"), "B", 120.0)
    run.until(at("17:00"))

    configured = config_from(made)
    Recording(
        tmp_path, run.store, lambda eras, of: configured.with_determining(era_on(eras, of).config)
    ).catch_up()
    again = openbell.backtest({**made, "data": {"kind": "ticks", "path": str(tmp_path)}})

    signals = again.signals.to_pylist()
    assert [(of["id"], of["backfilled"]) for of in signals] == run.signals()
    found = parity(configured, run.store, date(2024, 7, 1), tmp_path)
    assert found.recording.first is None


def test_bars_that_are_there_already_are_told_by_symbol_and_time() -> None:
    def bars(symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        ts = np.arange(round(at("09:30") * 1e9), round(at("11:00") * 1e9), 60_000_000_000)
        inside = ts[(ts >= from_ns) & (ts < until_ns)]
        price = (100 + inside // 60_000_000_000 % 7).astype(np.float64)
        n = len(inside)
        names = ("open", "high", "low", "close")
        return RawRows(
            kind="bars",
            symbols=("A",),
            code=np.zeros(n, np.int32),
            ts=inside,
            columns={**dict.fromkeys(names, price), "volume": np.ones(n)},
            locate=lambda at: ("history", at + 1),
        )

    made = config(data={"kind": "bars"}, upkeep={"derived_intervals": ["5m"]})
    run = ByHand(made, at("11:00:30"), history=bars, history_takes=100.0)
    run.bar(at("11:00:40"), "A", at("10:58"), 50.0)  # the feed's own stays
    run.bar(at("11:01:01"), "A", at("11:00"), 101.0).bar(at("12:30"), "A", at("12:29"), 100.0)

    run.until(at("17:00"))

    found = run.sessions("2024-07-01")["Morning"]["symbols_data"]["A"]
    highest = max(100 + (round(at("09:30")) // 60 + n) % 7 for n in range(5))
    assert (found["tick_count"], found["high"]) == (5, highest)
    day = replay_results(run)
    assert day.quality.actual.tolist() == [92, 0]
    assert day.tally.counts["duplicates"] == 1
