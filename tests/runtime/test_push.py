"""Rows that a program pushes into a run, against a backtest of the same rows."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml

import openbell
from openbell.errors import ConfigError, DataError, FeedFull, RunError
from openbell.market.days import MINUTE_NS, SECOND_NS
from openbell.runtime.cli.app import main

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))


def config(kind: str = "ticks", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "exchange": "XNYS",
        "symbols": ["A", "B", "C"],
        "companions": {"A": "B"},
        "sessions": [
            {"name": "Morning", "start": "09:30", "end": "09:40"},
            {"name": "Noon", "start": "12:00", "end": "12:20"},
        ],
        "breakout": {"rearm": "inside"},
        "data": {"kind": kind, "order": "arrival"},
        "clock": {"time": "feed"},
        "feed": {"type": "push", "start": str(DAYS[0]), "end": str(DAYS[-1])},
    }
    for section, keys in more.items():
        made[section] = {**made.get(section, {}), **keys}
    return made


def frame(kind: str = "ticks", days: tuple[date, ...] = DAYS, per_day: int = 1500) -> pd.DataFrame:
    """Rows of some days, a little out of order, with some that can't be used among them."""
    rng = np.random.default_rng(5)
    parts = []
    for day in days:
        opened = int(datetime.combine(day, time(9, 30), NEW_YORK).timestamp()) * SECOND_NS
        n = per_day
        at = np.sort(rng.integers(-60, 390 * 60 + 60, n)) * SECOND_NS
        if kind == "bars":
            at = at // MINUTE_NS * MINUTE_NS
        price = np.round(100 + np.cumsum(rng.normal(0, 0.2, n)), 2)
        price[rng.integers(0, n, 3)] = np.nan
        rows = {
            "symbol": rng.choice(["A", "B", "C"], n),
            "ts": pd.to_datetime(opened + at, utc=True),
        }
        if kind == "ticks":
            rows |= {"price": price, "size": rng.integers(1, 9, n).astype(float)}
        else:
            rows |= {"open": price, "high": price + 0.3, "low": price - 0.3, "close": price}
            rows |= {"volume": rng.integers(1, 9, n).astype(float)}
        came = np.argsort(np.arange(n) + rng.exponential(2, n), kind="stable")
        parts.append(pd.DataFrame(rows).iloc[came])
    return pd.concat(parts, ignore_index=True)


def expected(rows: pd.DataFrame, kind: str = "ticks", **more: Any) -> openbell.Result:
    stored = config(kind, **more)
    del stored["feed"]
    return openbell.backtest(stored, rows)


def told(signals: Iterator[openbell.Signal]) -> list[Any]:
    return [
        (s.id, s.ts, s.known_at, s.price, s.level, s.gap, s.complete, s.companion) for s in signals
    ]


def told_by(result: openbell.Result) -> list[Any]:
    return [
        (s["id"], s["ts"], s["known_at"], s["price"], s["level"], s["gap"], s["complete"])
        for s in result.signals.to_pylist()
    ]


@pytest.mark.parametrize("kind", ["ticks", "bars"])
def test_rows_pushed_in_chunks_give_what_a_backtest_of_them_gives(kind: str) -> None:
    rows = frame(kind)
    backtest = expected(rows, kind)
    rng = random.Random(3)

    with openbell.Runtime.from_config(config(kind), durable=False) as runtime:
        push = runtime.push_ticks if kind == "ticks" else runtime.push_bars
        start = 0
        while start < len(rows):
            stop = start + rng.randrange(1, 200)
            push(rows.iloc[start:stop])
            start = stop
        runtime.end_day(DAYS[-1])
        runtime.wait()
        found = [s[:7] for s in told(runtime.signals())]
        account = runtime.summary()

    assert len(found) > 10
    assert [str(row[0]) for row in found] == [row[0] for row in told_by(backtest)]
    assert account["rows"] == backtest.summary["rows"]
    assert account["signals"] == backtest.summary["signals"]


def opened(**more: Any) -> openbell.Runtime:
    return openbell.Runtime.from_config(config(**more), durable=False)


def at(wall: str, day: date = DAYS[0]) -> datetime:
    return datetime.combine(day, time.fromisoformat(wall), NEW_YORK)


def test_scalars_sequences_arrays_and_arrow_are_taken() -> None:
    with opened() as runtime:
        runtime.push_ticks("A", at("09:31"), 10.0)
        runtime.push_ticks(["A", "B"], [at("09:32"), at("09:33").isoformat()], [11.0, 5.0], size=2)
        ns = np.array([int(at(wall).timestamp()) * SECOND_NS for wall in ("09:41", "09:42")])
        runtime.push_ticks("A", ns, np.array([12.0, 9.0]))
        times = pa.array([at("09:43").astimezone(UTC)], pa.timestamp("ns", "UTC"))
        table = pa.table({"symbol": ["B"], "ts": times, "price": [4.0], "size": [1.0]})
        position = runtime.push_ticks(table)
        runtime.end_day(DAYS[0])
        runtime.end_day(DAYS[1])
        runtime.wait()
        signals = list(runtime.signals())

        assert position == 6
        assert runtime.durable_position() == 8

    assert [(s.symbol, s.side, s.price) for s in signals] == [
        ("A", "HIGH_BREAK", 12.0),
        ("A", "LOW_BREAK", 9.0),
        ("B", "LOW_BREAK", 4.0),
    ]


def test_prices_that_were_float32_are_read_as_what_they_were_made_from() -> None:
    rows = frame(days=DAYS[:1], per_day=600)
    single = rows["price"].to_numpy(np.float32)
    symbols, ts = list(rows["symbol"]), rows["ts"].to_numpy("datetime64[ns]").astype(np.int64)

    one_day = config(feed={"end": str(DAYS[0])})
    with openbell.Runtime.from_config(one_day, durable=False) as runtime:
        runtime.push_ticks(symbols, ts, single, size=rows["size"].to_numpy())
        runtime.end_day(DAYS[0])
        found = [(signal.id, signal.price, signal.level) for signal in runtime.signals()]

    wanted = expected(rows).signals.select(["id", "price", "level"]).to_pylist()
    assert sorted(found) == sorted(tuple(signal.values()) for signal in wanted) != []


def test_signals_come_while_the_day_is_under_way() -> None:
    with opened() as runtime:
        signals = runtime.signals()
        runtime.push_ticks("A", [at("09:31"), at("09:41"), at("09:41:05")], [10.0, 11.0, 11.0])

        first = next(signals)

        assert (first.symbol, first.price) == ("A", 11.0)
        assert runtime.status()["state"] == "running"


def test_three_threads_push_into_one_day_and_every_row_counts_once() -> None:
    rows = frame(days=DAYS[:1])
    mine = [rows[rows.symbol == symbol] for symbol in ("A", "B", "C")]

    with opened() as runtime:

        def push(part: pd.DataFrame) -> None:
            for start in range(0, len(part), 7):
                runtime.push_ticks(part.iloc[start : start + 7])

        threads = [threading.Thread(target=push, args=(part,)) for part in mine]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        runtime.end_day(DAYS[0])
        runtime.end_day(DAYS[1])
        runtime.wait()

        assert runtime.summary()["rows"]["rows"] == len(rows)


def test_asyncio_pushes_without_blocking_its_loop() -> None:
    async def feed(runtime: openbell.Runtime) -> int:
        await runtime.apush_ticks("A", at("09:31"), 10.0)
        return await runtime.apush_ticks("A", at("09:32"), 11.0)

    with opened() as runtime:
        assert asyncio.run(feed(runtime)) == 2


def test_who_pushes_is_told_that_there_is_no_room_if_he_asked_for_that() -> None:
    full = {"type": "push", "options": {"rows_max": 10, "full": "raise"}}
    with opened(feed=full) as runtime:
        runtime.pause()
        runtime.push_ticks("A", [at("09:31")] * 10, 10.0)

        with pytest.raises(FeedFull, match="10 rows wait"):
            push_on(runtime)


def push_on(runtime: openbell.Runtime) -> None:
    for _ in range(3):  # the first go to the clock, which has them until it takes them
        runtime.push_ticks("A", [at("09:31")] * 10, 10.0)


def test_who_waits_for_room_goes_on_when_there_is_some() -> None:
    with opened(feed={"options": {"rows_max": 5}}) as runtime:
        runtime.pause()
        pushed: list[int] = []

        def push() -> None:
            for _ in range(4):
                pushed.append(runtime.push_ticks("A", [at("09:31")] * 5, 10.0))

        pusher = threading.Thread(target=push)
        pusher.start()
        pusher.join(0.3)
        assert pusher.is_alive()
        runtime.resume()
        pusher.join(120)

        assert pushed == [5, 10, 15, 20]


def test_rows_that_the_run_has_are_ignored() -> None:
    with opened() as runtime:
        runtime.push_ticks("A", [at("09:31"), at("09:32")], [10.0, 11.0])

        assert runtime.push_ticks("A", [at("09:32"), at("09:33")], [11.0, 12.0], position=1) == 3

        with pytest.raises(DataError, match="push from 3"):
            runtime.push_ticks("A", at("09:34"), 12.0, position=7)
        runtime.end_day(DAYS[0])
        runtime.end_day(DAYS[1])
        runtime.wait()
        assert runtime.summary()["rows"]["rows"] == 3


def test_what_is_not_watched_or_on_no_day_is_counted_and_no_error() -> None:
    with opened() as runtime:
        runtime.push_ticks("NOBODY", at("09:31"), 10.0)
        runtime.push_ticks("A", at("09:31", date(2024, 6, 29)), 10.0)  # a Saturday
        runtime.push_ticks("A", at("09:31"), 10.0)
        runtime.end_day(DAYS[0])
        runtime.push_ticks("A", at("09:32"), 10.0)
        runtime.end_day(DAYS[1])
        runtime.wait()
        feed = runtime._run.feed
        assert feed is not None

        assert dict(feed.account.unknown) == {"NOBODY": 1}
        assert (feed.account.on_no_day, feed.account.day_over) == (1, 1)
        assert runtime.summary()["rows"]["used"] == 1


@pytest.mark.parametrize(
    ("symbols", "ts", "price", "said"),
    [
        ("A", at("09:31").replace(tzinfo=None), 10.0, "has no zone"),
        ("A", "soon", 10.0, "'soon'"),
        (["A"], [at("09:31"), at("09:32")], 10.0, "symbols has 1 values, ts has 2"),
        ("A", at("09:31"), "ten", "price holds what is no number"),
    ],
)
def test_columns_that_do_not_go_together_are_refused(
    symbols: Any, ts: Any, price: Any, said: str
) -> None:
    with opened() as runtime, pytest.raises(DataError, match=said):
        runtime.push_ticks(symbols, ts, price)


def test_rows_of_the_future_are_listed_and_move_no_time() -> None:
    with opened() as runtime:
        feed = runtime._run.feed
        assert feed is not None
        feed._now = lambda: at("09:35").timestamp()  # type: ignore[assignment,return-value]
        runtime.push_ticks("A", [at("09:31"), at("15:00"), at("09:32")], [10.0, 99.0, 10.5])
        runtime.end_day(DAYS[0])
        runtime.end_day(DAYS[1])
        runtime.wait()

        assert runtime.summary()["rows"]["bad_rows"] == 1


def test_only_a_run_with_such_a_feed_takes_rows(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "ticks.parquet")
    stored = config(data={"path": str(tmp_path / "ticks.parquet")}, feed={"type": "replay"})

    with (
        openbell.Runtime.from_config(stored, durable=False) as runtime,
        pytest.raises(ConfigError, match="feed"),
    ):
        runtime.push_ticks("A", at("09:31"), 10.0)


def test_a_run_that_has_ended_takes_no_more_rows() -> None:
    with opened() as runtime:
        runtime.end_day(DAYS[0])
        runtime.end_day(DAYS[1])
        runtime.wait()

        with pytest.raises(RunError, match="has ended"):
            runtime.push_ticks("A", at("09:31"), 10.0)


def test_the_command_line_says_that_nobody_could_push(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["openbell", "run", "--config", "config.yaml"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 2
    assert "feed.type is push" in capsys.readouterr().err
