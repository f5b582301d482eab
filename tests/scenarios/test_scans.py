"""Whole runs with scans: what they see, what follows, and what becomes of those that fail."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import openbell
from openbell import Runtime
from openbell.adapters.sample import write_sample
from openbell.errors import ConfigError, RunError
from openbell.market.scans import (
    Found,
    Lookback,
    ScanFunction,
    ScanView,
    found_by,
    scanner,
)
from openbell.runtime.config import config_from
from openbell.runtime.intake import scanning

SESSIONS = [
    {"name": "Morning", "start": "09:30", "end": "09:34"},
    {"name": "Noon", "start": "12:00", "end": "12:29"},
]


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("scans")
    files = write_sample(folder, symbols=4, days=3, seed=11, start=date(2024, 7, 1))
    rows = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    return rows.astype({"symbol": str})


def config(*scans: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"exchange": "XNYS", "sessions": SESSIONS, "scanners": list(scans), **more}


def a_scan(at: list[str], then: str = "report", **more: Any) -> dict[str, Any]:
    return {"name": "mine", "type": "mine", "at": at, "then": then, **more}


def backtest(
    rows: pd.DataFrame, function: ScanFunction, *scans: dict[str, Any], **more: Any
) -> openbell.Result:
    return openbell.backtest(config(*scans, **more), rows, scanners={"mine": function})


def told(result: openbell.Result) -> list[Any]:
    return [run.as_dict() for run in result.scans]


def ids(result: openbell.Result) -> list[str]:
    found: list[str] = result.signals["id"].to_pylist()
    return found


# What a scan sees


class Watching:
    """Keeps what it was shown."""

    def __init__(self) -> None:
        self.views: list[ScanView] = []

    def __call__(self, view: ScanView) -> list[Found]:
        self.views.append(view)
        return []


def test_a_scan_sees_all_rows_of_before_its_time_and_none_after(minutes: pd.DataFrame) -> None:
    watching = scanner(lookback=Lookback("1d"))(Watching())

    backtest(minutes, watching, a_scan(["pre", "10:30", "every 90m", "close-1m"]))

    per_day = ["pre", "10:30", "11:00", "12:30", "14:00", "15:30", "15:59"]
    seen = [("pre" if v.before_open else f"{v.at:%H:%M}") for v in watching.views]
    assert seen == [*per_day, *per_day, *per_day[:4], "12:59"]  # the third closes at 13:00
    for view in watching.views:
        begins, ends = (pd.Timestamp(ns, tz="UTC") for ns in (view.day.open_ns, view.at_ns))
        of_day = minutes[(minutes["ts"] >= begins) & (minutes["ts"] < ends)]
        assert len(view.bars) == (0 if view.before_open else len(of_day["ts"].unique()))
        for place, symbol in enumerate(view.symbols):
            mine = of_day[of_day["symbol"] == symbol].sort_values("ts")
            bars = view.bars.present[:, place]
            for name in ("open", "high", "low", "close", "volume"):
                column = getattr(view.bars, name)[bars, place]
                assert column.tolist() == mine[name].tolist(), (view.at, symbol, name)
        over = [
            n for n, at in (("Morning", "09:35"), ("Noon", "12:30")) if f"{view.at:%H:%M}" >= at
        ]
        assert list(view.levels) == ([] if view.before_open else over)
        assert [of.day.date for of in view.history.days] == [
            d for d in (date(2024, 7, 1), date(2024, 7, 2)) if d < view.day.date
        ][-1:]


def test_ticks_are_seen_as_minutes_and_one_of_the_very_instant_is_not(
    minutes: pd.DataFrame,
) -> None:
    at = pd.to_datetime(
        ["2024-07-01T13:30:00.500Z", "2024-07-01T13:59:59.999Z", "2024-07-01T14:00:00.000Z"]
    )
    rows = pd.DataFrame(
        {"symbol": "A", "ts": at, "price": [10.0, 11.0, 12.0], "size": [1.0, 2.5, 4.0]}
    )
    watching = Watching()

    backtest(rows, watching, a_scan(["10:00", "10:01"]), data={"kind": "ticks"})

    first, second = watching.views
    assert (len(first.bars), first.last.tolist(), first.volume.tolist()) == (30, [11.0], [3.5])
    assert (len(second.bars), second.last.tolist(), second.volume.tolist()) == (31, [12.0], [7.5])
    assert first.actual.tolist() == [2]
    assert first.expected == 30


def test_nothing_that_a_scan_does_to_its_view_reaches_the_run(minutes: pd.DataFrame) -> None:
    refused: list[str] = []

    @scanner(lookback=Lookback("1d", rows=True))
    def spoils(view: ScanView) -> list[Found]:
        levels = next(iter(view.levels.values()))
        past = view.history.days[-1] if view.history.days else None
        arrays = [view.bars.close, view.bars.present, levels.high]
        arrays += [past.close, past.rows.volume] if past is not None and past.rows else []
        for array in arrays:
            try:
                array[...] = 0
            except ValueError as error:
                refused.append(str(error))
        view.bars.close.flags.writeable = True  # one that insists has a copy of its own
        view.bars.close[...] = 1e9
        return []

    plain = openbell.backtest(config(), minutes)
    spoilt = backtest(minutes, spoils, a_scan(["09:40", "13:00"]))

    assert len(refused) == 2 * 3 + 2 * 5 + 5  # the third closes at 13:00
    assert set(refused) == {"assignment destination is read-only"}
    assert ids(spoilt) == ids(plain)
    assert spoilt.levels.equals(plain.levels)
    assert spoilt.bars(5).equals(plain.bars(5))


# What follows


def followed_by_hand(
    plain: openbell.Result, found: dict[tuple[str, str], set[str]], minutes_in: str
) -> list[str]:
    """Signals that are left when from a time of each day on only some symbols count."""
    kept = []
    for signal in plain.signals.to_pylist():
        known = pd.Timestamp(signal["known_at"]).tz_convert("America/New_York")
        names = found.get((str(signal["trading_date"]), "mid"))
        if known.strftime("%H:%M") <= minutes_in or names is None or signal["symbol"] in names:
            kept.append(signal["id"])
    return kept


def test_follow_narrows_whose_breakouts_are_reported_from_its_time_on(
    minutes: pd.DataFrame,
) -> None:
    plain = openbell.backtest(config(breakout={"rearm": "inside"}), minutes)
    options = {"top": 2, "min_score": 0}
    mid = {"name": "mid", "type": "movers", "at": ["11:00"], "options": options}

    result = openbell.backtest(
        config({**mid, "then": "follow"}, breakout={"rearm": "inside"}), minutes
    )

    found = {
        (str(run.trading_date), "mid"): {of.symbol for of in run.found} for run in result.scans
    }
    expected = followed_by_hand(plain, found, "11:00")
    assert 5 < len(expected) < len(ids(plain))
    assert ids(result) == expected
    assert result.levels.equals(plain.levels)
    for run in result.scans:
        for of in run.found:
            assert of.became == "followed"
            late = [
                signal["id"]
                for signal in sorted(
                    plain.signals.to_pylist(), key=lambda s: (s["known_at"], s["id"])
                )
                if signal["symbol"] == of.symbol
                and signal["trading_date"] == run.trading_date
                and signal["known_at"] > run.market_time
            ]
            assert list(of.signals) == late


def test_a_scan_before_the_open_decides_for_the_whole_day(minutes: pd.DataFrame) -> None:
    plain = openbell.backtest(config(), minutes)
    names = sorted(minutes["symbol"].unique())[:2]

    result = backtest(
        minutes, lambda view: [Found(name, 1.0) for name in names], a_scan(["pre"], "follow")
    )

    by_symbol = zip(ids(plain), plain.signals["symbol"].to_pylist(), strict=True)
    assert ids(result) == [id_ for id_, symbol in by_symbol if symbol in names]


def test_several_scans_add_up_and_one_that_finds_nothing_leaves_none(
    minutes: pd.DataFrame,
) -> None:
    first, second, *_ = sorted(minutes["symbol"].unique())
    two = [
        {"name": "one", "type": "one", "at": ["pre"], "then": "follow"},
        {"name": "two", "type": "two", "at": ["pre"], "then": "follow"},
    ]
    functions: dict[str, ScanFunction] = {
        "one": lambda view: [(first, 1)],
        "two": lambda view: [(second, 1, "so it is"), ("NONE", 2)],
    }

    both = openbell.backtest(config(*two), minutes, scanners=functions)
    none = backtest(minutes, lambda view: [], a_scan(["pre"], "follow"))

    assert {s.as_py() for s in both.signals["symbol"]} == {first, second}
    became = {of.symbol: of.became for run in both.scans[:2] for of in run.found}
    assert became == {
        first: "followed",
        second: "followed",
        "NONE": "refused: not among the symbols of the run",
    }
    assert ids(none) == []


def test_symbols_that_a_scan_adds_have_what_was_known_of_them_and_are_looked_at_by_later_ones(
    minutes: pd.DataFrame,
) -> None:
    first, second, third, *_ = sorted(minutes["symbol"].unique())
    views: list[ScanView] = []

    def adds(view: ScanView) -> list[Found]:
        views.append(view)
        return [Found(third, 2.0), Found("NONE", 1.0), Found(first, 0.5)]

    scan = a_scan(["11:00", "14:00"], "add")
    more: dict[str, Any] = {"symbols": [first, second]}
    of_day = minutes[minutes["ts"] < "2024-07-02"]

    result = backtest(of_day, adds, scan, **more)

    whole = openbell.backtest(config(symbols=[first, second, third]), of_day)
    by_steps = backtest(of_day, adds, scan, **more, clock={"step": "boundary"})
    morning, noon = result.scans
    became = {of.symbol: of.became for of in morning.found}
    assert (became[third], became[first]) == ("added", "reported")
    assert became["NONE"].startswith("refused: ")
    assert noon.found[0].became == "reported"
    assert views[0].symbols == (first, second)
    assert views[1].symbols == (first, second, third)
    assert views[1].bars.present[:, 2].sum() == len(views[1].bars)
    assert views[1].levels["Morning"].high.shape == (3,)
    mine = of_day[(of_day["symbol"] == third) & (of_day["ts"] < "2024-07-01T18:00Z")]
    assert views[1].bars.close[:, 2].tolist() == mine.sort_values("ts")["close"].tolist()
    assert sorted(ids(result)) == sorted(ids(whole))
    assert result.signals.equals(by_steps.signals)
    assert result.bars(5).equals(by_steps.bars(5))
    assert result.levels.equals(by_steps.levels)


# Those that fail


def raises(view: ScanView) -> list[Found]:
    raise ZeroDivisionError("of its own")


def exits(view: ScanView) -> list[Found]:
    raise SystemExit(3)


def ends(view: ScanView) -> list[Found]:
    raise KeyboardInterrupt


class Silent(BaseException):
    def __str__(self) -> str:
        raise ValueError


def says_nothing(view: ScanView) -> list[Found]:
    raise Silent


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (raises, "it failed with ZeroDivisionError: of its own"),
        (exits, "it failed with SystemExit: 3"),
        (ends, "it failed with KeyboardInterrupt: no text"),
        (says_nothing, "it failed with Silent: its text can't be had"),
        (lambda view: None, "it returned None; return a list of Found"),
    ],
)
def test_a_scan_that_fails_is_skipped_and_the_day_goes_on(
    minutes: pd.DataFrame, function: ScanFunction, why: str
) -> None:
    plain = openbell.backtest(config(), minutes)

    result = backtest(minutes, function, a_scan(["pre", "11:00"], "follow"))

    assert ids(result) == ids(plain)
    assert len(result.scans) == 6
    assert all(run.skipped and why in run.skipped for run in result.scans)
    assert result.summary["scans"] == {"mine": {"runs": 0, "skipped": 6, "found": 0}}


@pytest.mark.parametrize(
    ("given_back", "why"),
    [
        ("AAPL", "it returned a str; return a list of Found"),
        ([7], "it returned a int among what it found"),
        ([Found("A", float("nan"))], "the score of A is nan"),
        ([Found("A", "much")], "the score of A is a str"),  # type: ignore[arg-type]
        ([("A", 1, 2)], "the reason for A is a int"),
        ([Found("\ud800", 1)], "is no text that can be written"),
        ([Found("A", 1, "é\udfff")], "is no text that can be written"),
        ([Found(7, 1)], "a symbol is 7"),  # type: ignore[arg-type]
        (((str(n), n) for n in range(10**9)), "it found more than 9 symbols"),
    ],
)
def test_what_is_no_list_of_found_is_refused(given_back: Any, why: str) -> None:
    with pytest.raises((TypeError, ValueError), match=why):
        found_by(given_back, 9)


def test_where_wall_time_moves_a_run_a_scan_that_is_late_is_skipped_and_its_answer_dropped(
    minutes: pd.DataFrame,
) -> None:
    let_go, answered = threading.Event(), threading.Event()

    def hangs(view: ScanView) -> list[Found]:
        if view.at.hour == 11:
            let_go.wait(120)
            answered.set()
        return [Found(view.symbols[0], 1.0)]

    other = {**a_scan(["12:00"], timeout_seconds=120), "name": "other"}
    made = config(a_scan(["11:00"], timeout_seconds=0.2), other)
    with Runtime(
        config_from(made),
        minutes,
        speed=1e9,
        end=date(2024, 7, 1),
        scanners={"mine": hangs},
    ) as runtime:
        runtime.run()
        let_go.set()
        assert answered.wait(120)
        late, then = runtime.scans()
        events = [event.kind for event in runtime.events(kinds="scan", follow=False)]

    assert late.skipped is not None
    assert "did not answer within 0.2 s" in late.skipped
    assert [of.symbol for of in then.found]
    assert events == ["scan.skipped", "scan.done"]


def test_a_backtest_says_which_scan_it_waits_for_and_does_not_wait_for_ever(
    minutes: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, let_go = threading.Event(), threading.Event()
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        told.set()

    def slow(view: ScanView) -> list[Found]:
        assert told.wait(60)
        return []

    made = config_from(config(a_scan(["11:00"], timeout_seconds="10ms")))
    with Runtime(made, minutes, scanners={"mine": slow}) as runtime:
        scans = runtime._run.engine.scanning
        assert scans is not None
        scans.waits = note
        runtime.run()
        found = [run.skipped for run in runtime.scans()]
        events = [event.why for event in runtime.events(kinds="scan.slow", follow=False)]
    assert found == [None] * 3
    assert events[0] == notes[0]
    assert notes[0] == (
        "2024-07-01 11:00: scan mine has not answered within 0.01 s (timeout_seconds); a backtest "
        "waits for it, and ends with an error after 600 s"
    )

    def hangs(view: ScanView) -> list[Found]:
        let_go.wait(120)
        return []

    monkeypatch.setattr(scanning, "AWAITED_SECONDS", 0.1)
    with pytest.raises(RunError, match=r"11:00: scan mine has not answered within 0\.1 s"):
        backtest(minutes, hangs, a_scan(["11:00"], timeout_seconds=0.05))
    let_go.set()


def test_a_time_outside_of_a_day_is_told(minutes: pd.DataFrame) -> None:
    result = backtest(minutes, lambda view: [], a_scan(["09:30", "13:30", "every 400m"]))

    told = [(str(run.trading_date), run.at, run.skipped) for run in result.scans]
    assert [(day, at) for day, at, why in told if why is None] == [
        ("2024-07-01", "13:30"),
        ("2024-07-02", "13:30"),
    ]  # the third closes early
    assert ("2024-07-03", "13:30", "13:30 is not inside the hours of 2024-07-03") in told
    assert [(day, at) for day, at, _ in told if at == "every 400m"] == [
        (f"2024-07-0{day}", "every 400m") for day in (1, 2, 3)
    ]
    assert len(told) == 9


def test_a_stop_does_not_wait_for_a_scan(minutes: pd.DataFrame) -> None:
    asked, let_go, over = threading.Event(), threading.Event(), threading.Event()

    def hangs(view: ScanView) -> list[Found]:
        asked.set()
        let_go.wait(300)
        over.set()
        return []

    with Runtime(
        config_from(config(a_scan(["11:00"]))), minutes, scanners={"mine": hangs}
    ) as runtime:
        runtime.start()
        assert asked.wait(120)
        runtime.stop()
        runtime.wait()
    was_over = over.is_set()
    let_go.set()

    assert not was_over


# Any way that rows are cut


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bars", "ticks"])
@settings(max_examples=25)
@given(data=st.data())
def test_any_cut_of_rows_gives_the_same_scans(kind: str, data: st.DataObject) -> None:
    assert_cut(kind, data.draw(st.integers(0, 99)), lambda: data.draw(st.integers(1, 400)))


@pytest.mark.parametrize("kind", ["bars", "ticks"])
def test_however_rows_are_cut_a_scan_sees_and_finds_the_same(kind: str) -> None:
    lengths = iter([1, 17, 250, 3, 2, 400, 90] * 9)
    assert_cut(kind, 7, lambda: next(lengths))


def assert_cut(kind: str, seed: int, length: Callable[[], int]) -> None:
    rows = drawn(kind, np.random.default_rng(seed))
    seen: list[Any] = []

    @scanner(lookback=Lookback("1d", rows=True))
    def notes(view: ScanView) -> list[Found]:
        columns = (view.bars.open, view.bars.high, view.bars.low, view.bars.close, view.bars.volume)
        seen.append((view.at_ns, [column.tobytes() for column in columns]))
        score = np.nan_to_num(view.volume)
        return [Found(name, float(of)) for name, of in zip(view.symbols, score, strict=True) if of]

    scans = [a_scan(["pre", "open+5m", "every 45m"], "follow")]
    more: dict[str, Any] = {
        "symbols": ["A", "B", "C"],
        "breakout": {"rearm": "inside"},
        "data": {"kind": kind, "order": "arrival"},
    }
    whole = backtest(rows, notes, *scans, **more)
    expected, seen = seen, []
    feed = {"type": "push", "start": "2024-07-01", "end": "2024-07-01"}
    made = config(*scans, **more, feed=feed, clock={"time": "feed"})
    with Runtime.from_config(made, durable=False, scanners={"mine": notes}) as runtime:
        push = runtime.push_ticks if kind == "ticks" else runtime.push_bars
        start = 0
        while start < len(rows):
            stop = start + length()
            push(rows.iloc[start:stop])
            start = stop
        runtime.end_day(date(2024, 7, 1))
        runtime.wait()
        found = [run.as_dict() for run in runtime.scans()]

    assert seen == expected
    assert found == told(whole)
    assert len(found) == 1 + 1 + 8


def drawn(kind: str, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of one day in some disorder, without any that is late for a scan by its minute."""
    n = 900
    second = np.sort(rng.integers(0, 390 * 60, n))
    if kind == "bars":
        second = second // 60 * 60
    price = np.round(100 + np.cumsum(rng.normal(0, 0.2, n)), 2)
    rows = pd.DataFrame(
        {
            "symbol": rng.choice(["A", "B", "C"], n),
            "ts": pd.to_datetime(1_719_840_600 + second, unit="s", utc=True),
        }
    )
    if kind == "ticks":
        rows = rows.assign(price=price, size=rng.random(n))
    else:
        rows = rows.assign(
            open=price, high=price + 0.3, low=price - 0.3, close=price, volume=rng.random(n)
        )
        rows = rows.drop_duplicates(["symbol", "ts"])
    came = np.argsort(np.arange(len(rows)) + rng.exponential(2, len(rows)), kind="stable")
    return rows.iloc[came].reset_index(drop=True)


@pytest.mark.parametrize(("step", "dispatcher"), [("bar", "inline"), ("boundary", "threads")])
def test_steps_and_threads_change_nothing(
    minutes: pd.DataFrame, step: str, dispatcher: str
) -> None:
    mid: dict[str, Any] = {
        "name": "mid",
        "type": "relative_volume",
        "at": ["pre", "every 60m"],
        "then": "follow",
    }
    mid["options"] = {"days": 2, "top": 2, "min_score": 0}
    plain = openbell.backtest(config(mid), minutes)
    with_keys = config(mid, clock={"step": step}, backtest={"dispatcher": dispatcher})

    other = openbell.backtest(with_keys, minutes)

    assert told(other) == told(plain)
    assert len(told(plain)) > 15
    assert ids(other) == ids(plain)


@pytest.mark.parametrize("interval", ["1m", "5m"])
def test_scans_that_are_run_together_look_at_the_day_as_it_was_at_the_time_of_each(
    minutes: pd.DataFrame, interval: str
) -> None:
    rows = minutes
    if interval == "5m":
        rows = minutes[minutes["ts"].dt.minute % 5 == 0]
    scans = [
        a_scan(["09:34", "09:35", "12:32", "every 77m"], "follow"),
        {**a_scan(["pre", "09:35", "12:30"], "report"), "name": "other"},
    ]
    more: dict[str, Any] = {"data": {"interval": interval}, "sessions": SESSIONS[::-1]}
    together, in_turn = Watching(), Watching()

    result = backtest(rows, together, *scans, **more)
    by_steps = backtest(rows, in_turn, *scans, **more, clock={"step": "boundary"})

    assert len(together.views) > 20
    for view, other in zip(together.views, in_turn.views, strict=True):
        assert (view.scan, view.at_ns) == (other.scan, other.at_ns)
        assert list(view.levels) == list(other.levels)
        for name in ("ts", "open", "high", "low", "close", "volume", "present"):
            np.testing.assert_array_equal(getattr(view.bars, name), getattr(other.bars, name))
    assert told(result) == told(by_steps)
    assert result.signals.equals(by_steps.signals)


# What a configuration may say


@pytest.mark.parametrize(
    ("scan", "why"),
    [
        ({"type": "moverz"}, 'did you mean "movers"'),
        ({"type": "movers", "options": {"topp": 3}}, "options.topp is unknown; it has"),
        ({"type": "movers", "options": {"top": "3"}}, "options.top is '3'; write a number"),
        ({"type": "movers", "options": {"top": -1}}, "options.top is -1; write a number from 0 on"),
        ({"type": "movers", "at": ["open"]}, 'write e.g. "pre" or "open\\+5m"'),
        (
            {"type": "movers", "at": ["every day"]},
            'write whole minutes, 1 or more, e.g. "every 15m"',
        ),
        ({"type": "movers", "at": ["25:00"]}, '"pre", or "every 15m"'),
        ({"type": "near_high", "options": {"period": "a year"}}, "period"),
        ({"type": "movers", "options": {"side": "sideways"}}, "side"),
    ],
)
def test_a_scan_that_can_not_be_run_is_refused(
    minutes: pd.DataFrame, scan: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        openbell.backtest(config({"name": "it", **scan}), minutes)


def test_an_own_type_has_a_name_of_its_own(minutes: pd.DataFrame) -> None:
    own: dict[str, Callable[..., Any]] = {"movers": raises}
    with pytest.raises(ConfigError, match='scanner type "movers" is built in'):
        openbell.backtest(config(), minutes, scanners=own)
    with pytest.raises(ConfigError, match="is a int; give a function"):
        openbell.backtest(config(), minutes, scanners={"mine": 7})  # type: ignore[dict-item]


def test_results_have_what_was_found(minutes: pd.DataFrame, tmp_path: Path) -> None:
    scan = {"name": "up", "type": "movers", "at": ["12:00"], "options": {"min_score": 0}}
    out = tmp_path / "out"

    result = openbell.backtest(config(scan), minutes, out=out)

    lines = [orjson.loads(line) for line in (out / "scans.jsonl").read_bytes().splitlines()]
    assert lines == orjson.loads(orjson.dumps(told(result)))
    assert [line["scan"] for line in lines] == ["up"] * 3


def test_why_says_that_no_scan_had_found_a_symbol(minutes: pd.DataFrame) -> None:
    options = {"top": 1, "min_score": 0}
    scan = {"name": "up", "type": "movers", "at": ["open+5m"], "then": "follow"}
    made = config({**scan, "options": options})
    result = openbell.backtest(made, minutes)
    plain = openbell.backtest(config(), minutes).signals.to_pylist()
    kept = set(ids(result))
    lost = [of for of in plain if of["id"] not in kept]
    assert lost

    for day, symbol in {(of["trading_date"], of["symbol"]) for of in plain}:
        told = openbell.why(made, symbol, day, data=minutes)

        sides = [side for of in told.sessions for side in (of.high, of.low) if side]
        left_out = [(side.side, of.ts, of.price) for side in sides for of in side.left_out]
        assert sorted(left_out) == sorted(
            (of["side"], of["ts"], of["price"])
            for of in lost
            if (of["trading_date"], of["symbol"]) == (day, symbol)
        )
        (run,) = (of for of in result.scans if of.trading_date == day)
        not_found = symbol not in {of.symbol for of in run.found}
        note = "breakouts from 09:35 to the close were not reported, though levels that broke have"
        assert any(of.startswith(f"{note}: {symbol} was not") for of in told.notes) == not_found
        assert ("it broke, and that was not reported" in str(told)) == bool(left_out)
        whys = [of.why for side in sides if side.left_out for of in side.refused]
        assert not any("signal" in why for why in whys)
