"""A run whose rows come from a Redis Stream, against a backtest of the same rows."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime
from datetime import time as wall_time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from feed_places import Place
from redis_server import RedisServer
from store_places import server_binary

import openbell
from openbell.errors import ConfigError, DataError
from openbell.runtime.config import config_from
from openbell.runtime.intake import handover
from openbell.runtime.intake.feeding import check_options

NEW_YORK = ZoneInfo("America/New_York")
DAYS = (date(2024, 7, 1), date(2024, 7, 2))


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


@pytest.fixture
def place(server: RedisServer, request: pytest.FixtureRequest) -> Place:
    return Place(server, request.node.name)


def config(place: Place, kind: str = "ticks", **options: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "companions": {"A": "B"},
        "sessions": [
            {"name": "Morning", "start": "09:30", "end": "09:40"},
            {"name": "Noon", "start": "12:00", "end": "12:20"},
        ],
        "breakout": {"rearm": "inside"},
        "data": {"kind": kind},
        "clock": {"time": "feed"},
        "feed": {
            "type": "redis",
            "start": str(DAYS[0]),
            "end": str(DAYS[-1]),
            "options": {**place.given, **options},
        },
    }


def frame(kind: str, per_day: int = 600) -> pd.DataFrame:
    """Two days, a little out of order, with rows doubled and some that can't be used."""
    rng = np.random.default_rng(7)
    parts = []
    for day in DAYS:
        opened = int(datetime.combine(day, wall_time(9, 30), NEW_YORK).timestamp())
        at = np.sort(rng.integers(-60, 390 * 60 + 60, per_day))
        at = at // 60 * 60 if kind == "bars" else at
        price = np.round(100 + np.cumsum(rng.normal(0, 0.3, per_day)), 2)
        price[rng.integers(0, per_day, 3)] = -1
        rows: dict[str, Any] = {"symbol": rng.choice(["A", "B"], per_day)}
        rows["ts"] = pd.to_datetime(opened + at, unit="s", utc=True)
        if kind == "ticks":
            rows |= {"price": price, "size": rng.integers(1, 9, per_day).astype(float)}
        else:
            rows |= {"open": price, "high": price + 0.3, "low": price - 0.3, "close": price}
            rows |= {"volume": rng.integers(1, 9, per_day).astype(float)}
        came = np.argsort(np.arange(per_day) + rng.exponential(2, per_day), kind="stable")
        parts.append(pd.DataFrame(rows).iloc[came])
    return pd.concat(parts, ignore_index=True)


def as_fields(rows: pd.DataFrame) -> list[dict[str, Any]]:
    named = rows.assign(ts=[ts.isoformat() for ts in rows.ts])
    return [{str(k): str(v) for k, v in row.items()} for row in named.to_dict("records")]


def as_json(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [{"rows": orjson.dumps(as_fields(rows))}]


def as_arrow(rows: pd.DataFrame) -> list[dict[str, Any]]:
    table = pa.Table.from_pandas(rows, preserve_index=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return [{"rows": sink.getvalue().to_pybytes()}]


def mixed(rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """The same rows in all forms, with garbage between them."""
    rng = random.Random(3)
    forms: list[Callable[[pd.DataFrame], list[dict[str, Any]]]] = [as_fields, as_json, as_arrow]
    start = 0
    while start < len(rows):
        stop = start + rng.randrange(1, 40)
        yield from rng.choice(forms)(rows.iloc[start:stop])
        if rng.random() < 0.2:
            yield {"nonsense": "1"}
        start = stop


@pytest.mark.parametrize("kind", ["ticks", "bars"])
def test_rows_of_a_stream_give_what_a_backtest_of_them_gives(place: Place, kind: str) -> None:
    rows = frame(kind)
    stored = config(place, kind)
    del stored["feed"]
    stored["data"]["order"] = "arrival"
    expected = openbell.backtest(stored, rows)

    with openbell.Runtime.from_config(config(place, kind, batch=7), durable=False) as runtime:
        place.write(*mixed(rows), {"end": str(DAYS[-1])})
        found = [(s.id, s.price, s.level) for s in runtime.signals()]
        account = runtime.summary()

    assert len(found) > 10
    assert found == [(s["id"], s["price"], s["level"]) for s in expected.signals.to_pylist()]
    assert account["rows"] == expected.summary["rows"]


def at(wall: str, day: date = DAYS[0]) -> str:
    return datetime.combine(day, wall_time.fromisoformat(wall), NEW_YORK).isoformat()


def test_what_can_not_be_used_is_counted_and_no_error(place: Place) -> None:
    place.write(
        {"symbol": "A", "ts": at("09:31"), "price": "10"},
        {"symbol": "A", "ts": at("09:32"), "price": "-3"},
        {"symbol": "NOBODY", "ts": at("09:32"), "price": "3"},
        {"symbol": "A", "ts": at("09:31", date(2024, 6, 29)), "price": "3"},
        {"symbol": "A", "ts": at("09:31", date(2054, 6, 29)), "price": "3"},
        {"symbol": "A"},
        {"symbol": "B"},
        {"end": str(DAYS[0])},
        {"end": str(DAYS[1])},
    )

    with openbell.Runtime.from_config(config(place), durable=False) as runtime:
        runtime.wait()
        feed = runtime._run.feed
        assert feed is not None
        account = feed.account
        rows = runtime.summary()["rows"]

    assert dict(account.unknown) == {"NOBODY": 1}
    assert account.on_no_day == 2
    assert dict(account.refused) == {"ts is missing": 2}
    assert (rows["used"], rows["bad_rows"]) == (1, 1)


def test_what_is_no_row_is_written_to_a_file_with_its_place(place: Place, tmp_path: Path) -> None:
    good = {"symbol": "A", "ts": at("09:31"), "price": 10}
    keys = config(place)
    keys["feed"]["refused"] = str(tmp_path / "kept" / "refused.jsonl")
    listed = orjson.dumps([good, {**good, "price": "x"}])
    ids = place.write({"nonsense": "1"}, good, {"rows": listed}, {"end": str(DAYS[-1])})

    with openbell.Runtime.from_config(keys, durable=False) as runtime:
        runtime.wait()

    lines = [orjson.loads(of) for of in (tmp_path / "kept/refused.jsonl").read_bytes().splitlines()]
    assert [(line["kind"], line["where"]) for line in lines] == [
        ("ts is missing", f"{place.stream} {ids[0]}"),
        ("price is no number", f"{place.stream} {ids[2]}, row 2"),
    ]
    assert all(line["why"] and line["wall_time"] for line in lines)


def test_a_file_for_what_is_refused_that_can_not_be_made_is_named(
    place: Place, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "refused.jsonl"):
        keys = config(place)
        keys["feed"]["refused"] = str(path)

        with pytest.raises(ConfigError, match=r"^feed.refused: .* folder; name a file that can"):
            check_options(config_from(keys))
        with pytest.raises(
            ConfigError, match=r"^feed.refused: .*; name a file that can be written"
        ):
            openbell.Runtime.from_config(keys, durable=False)


def test_signals_come_while_the_stream_is_written(place: Place) -> None:
    with openbell.Runtime.from_config(config(place), durable=False) as runtime:
        signals = runtime.signals()
        for wall, price in (("09:31", 10), ("09:41", 11), ("09:41:05", 11)):
            place.write({"symbol": "A", "ts": at(wall), "price": price})

        first = next(signals)

        assert (first.symbol, first.price) == ("A", 11.0)


def test_a_restart_reads_on_and_refuses_a_stream_that_was_trimmed_meanwhile(
    place: Place, tmp_path: Path
) -> None:
    kept = {**config(place), "store": {"url": f"sqlite:///{tmp_path / 'state.db'}"}}

    def goes_on(until: int, *entries: dict[str, Any]) -> None:
        with openbell.Runtime.from_config(kept) as runtime:
            runtime.start()
            place.write(*entries)
            feed = runtime._run.feed
            assert feed is not None
            waited = time.monotonic() + 120
            while feed.durable < until and time.monotonic() < waited:
                time.sleep(0.01)
            assert (feed.durable, feed.account.rows - feed.account.again) == (until, len(entries))

    def tick(wall: str, price: float) -> dict[str, Any]:
        return {"symbol": "A", "ts": at(wall), "price": price}

    goes_on(2, tick("09:31", 10), tick("09:41", 11))
    goes_on(3, tick("09:42", 9))
    place.write(tick("09:43", 12), tick("09:44", 12))
    place.trim(maxlen=1)

    with (
        openbell.Runtime.from_config(kept) as runtime,
        pytest.raises(DataError, match="trimmed beyond"),
    ):
        runtime.wait()
    assert [(s.side, s.price) for s in runtime_signals(kept)] == [
        ("HIGH_BREAK", 11.0),
        ("LOW_BREAK", 9.0),
    ]


def test_an_entry_of_many_steps_is_read_on_wherever_a_process_ends(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "ROWS_MAX", 20)
    rows = frame("ticks")
    kept = {**config(place), "store": {"url": f"sqlite:///{tmp_path / 'state.db'}"}}
    place.write(*as_arrow(rows), {"end": str(DAYS[-1])})
    reached = [0]
    for _ in range(3):
        with openbell.Runtime.from_config(kept) as runtime:
            runtime.start()
            feed = runtime._run.feed
            assert feed is not None
            waited = time.monotonic() + 120
            while feed.durable <= reached[-1] and time.monotonic() < waited:
                time.sleep(0.001)
        reached.append(feed.durable)

    with openbell.Runtime.from_config(kept) as last:
        found = [(s.id, s.price, s.level) for s in last.signals()]

    assert 0 < reached[1] < len(rows)
    assert reached == sorted(reached)
    stored = config(place)
    del stored["feed"]
    stored["data"]["order"] = "arrival"
    expected = openbell.backtest(stored, rows).signals.to_pylist()
    assert found == [(s["id"], s["price"], s["level"]) for s in expected]


def runtime_signals(kept: dict[str, Any]) -> list[openbell.Signal]:
    with openbell.Runtime.from_config(kept) as runtime:
        return runtime._log.page(None)


def test_a_feed_that_can_not_go_on_ends_the_run_with_what_to_do(place: Place) -> None:
    place._client.set(place.stream, "text")

    with (
        openbell.Runtime.from_config(config(place), durable=False) as runtime,
        pytest.raises(DataError, match=r"this key is no stream, .*; name the stream"),
    ):
        runtime.wait()


def test_a_run_is_closed_at_once_while_nothing_comes(place: Place) -> None:
    runtime = openbell.Runtime.from_config(config(place), durable=False)
    runtime.start()
    time.sleep(0.3)
    closing = threading.Thread(target=runtime.close)

    closing.start()

    closing.join(120)
    assert not closing.is_alive()


def test_rows_can_not_be_pushed_beside_a_stream(place: Place) -> None:
    with (
        openbell.Runtime.from_config(config(place), durable=False) as runtime,
        pytest.raises(ConfigError, match="push"),
    ):
        runtime.push_ticks("A", at("09:31"), 10.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"url": None}, "feed.options.url is missing"),
        ({"stream": ""}, "feed.options.stream is missing"),
        ({"ts_unit": "min"}, "feed.options.ts_unit is 'min'; write s, ms, us, ns"),
        ({"batch": 0}, "feed.options.batch is 0"),
        ({"bach": 1}, "feed.options.bach is unknown"),
        ({"url": "redis://h/x"}, "feed.options.url"),
    ],
)
def test_options_that_can_not_be_used_are_named(
    place: Place, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        openbell.Runtime.from_config(config(place, **options), durable=False)
