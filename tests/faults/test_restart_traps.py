"""What a restart must not do: send what was sent, keep back what broke meanwhile, mix two days, or
leave something out without a word."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest
from feed_places import Place
from observed import eventually
from redis_server import RedisServer
from store_places import server_binary

import openbell
from openbell.adapters.stores import Corrupt, StoredSignal, open_store
from openbell.errors import DataError

DAYS = (date(2024, 7, 1), date(2024, 7, 2))


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/state.db"
    server: RedisServer = request.getfixturevalue("server")
    return server.url


@pytest.fixture
def keys(url: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    return {
        "name": request.node.name.translate({91: "_", 93: None}),
        "exchange": "XNYS",
        "symbols": ["A"],
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:31"}],
        "data": {"kind": "ticks"},
        "clock": {"time": "feed", "lateness": 0},
        "feed": {"type": "push", "start": str(DAYS[0]), "end": str(DAYS[1])},
        "store": {"url": url},
    }


def at(wall: str, day: date = DAYS[0]) -> pd.Timestamp:
    return pd.Timestamp(f"{day} {wall}", tz="America/New_York")


def push(keys: dict[str, Any], *rows: tuple[pd.Timestamp, float]) -> None:
    """In a process of its own, as it were: all is durable when it ends, and it ends in mid-day."""
    with openbell.Runtime.from_config(keys) as runtime:
        position = runtime.durable_position() + len(rows)
        for ts, price in rows:
            runtime.push_ticks("A", ts, price)
        assert eventually(lambda: runtime.durable_position() >= position)


def reaches(runtime: openbell.Runtime, count: int) -> None:
    feed = runtime._run.feed
    assert feed is not None
    assert eventually(lambda: feed.durable >= count)


def signals(keys: dict[str, Any]) -> list[tuple[str, float]]:
    with closing(open_store(keys["store"]["url"], keys["name"])) as store:
        return [(found.id.partition(":")[2], price_of(found)) for _, found in store.signals()]


def price_of(found: StoredSignal) -> float:
    return float(orjson.loads(found.body)["price"])


OPENING = ((at("09:30:10"), 10.0), (at("09:31:10"), 11.0), (at("09:33"), 10.5))


def test_what_has_not_changed_since_is_not_sent_again(keys: dict[str, Any]) -> None:
    push(keys, *OPENING, (at("09:34"), 12.0))
    sent = signals(keys)

    push(keys)
    push(keys, (at("09:35"), 12.0), (at("09:36"), 11.0), (at("09:37"), 12.5))

    assert sent == [(f"{DAYS[0]}:Opening:A:HIGH_BREAK:1", 12.0)]
    assert signals(keys) == sent
    told = openbell.why(keys, "A", DAYS[0])
    assert [signal.price for signal in told.signals] == [12.0]
    assert [event.what for event in told.events].count("restored") == 2


def test_yesterdays_levels_and_a_start_today_never_meet(keys: dict[str, Any]) -> None:
    push(keys, *OPENING)

    # Far beyond what yesterday's window left, before and in today's window.
    push(keys, (at("09:30:05", DAYS[1]), 20.0), (at("09:31:30", DAYS[1]), 21.0))
    between = signals(keys)
    push(keys, (at("09:33", DAYS[1]), 20.5), (at("09:34", DAYS[1]), 22.0))

    assert between == []
    assert signals(keys) == [(f"{DAYS[1]}:Opening:A:HIGH_BREAK:1", 22.0)]
    yesterday, today = (openbell.why(keys, "A", day).sessions[0].high for day in DAYS)
    assert yesterday is not None
    assert today is not None
    assert (yesterday.level, today.level) == (11.0, 21.0)


def test_what_broke_while_nobody_ran_is_sent(
    keys: dict[str, Any], server: RedisServer, request: pytest.FixtureRequest
) -> None:
    place = Place(server, f"rows of {request.node.name}")
    keys["feed"] = {**keys["feed"], "type": "redis", "options": place.given}

    def write(*rows: tuple[pd.Timestamp, float]) -> None:
        place.write(*({"symbol": "A", "ts": ts.isoformat(), "price": p} for ts, p in rows))

    def run_until(count: int) -> None:
        with openbell.Runtime.from_config(keys) as runtime:
            runtime.start()
            reaches(runtime, count)

    write(*OPENING)
    run_until(3)
    before = signals(keys)
    write((at("09:34"), 12.0), (at("09:35"), 10.5), (at("09:36"), 9.0))
    run_until(6)

    assert before == []
    assert signals(keys) == [
        (f"{DAYS[0]}:Opening:A:HIGH_BREAK:1", 12.0),
        (f"{DAYS[0]}:Opening:A:LOW_BREAK:1", 9.0),
    ]
    told = openbell.why(keys, "A", DAYS[0])
    known = [signal.known_at for signal in told.signals]
    assert known == [at("09:34"), at("09:36")]  # when it was, not when it was sent


def test_a_stream_that_was_trimmed_is_refused_with_what_goes_on(
    keys: dict[str, Any], server: RedisServer, request: pytest.FixtureRequest
) -> None:
    place = Place(server, f"rows of {request.node.name}")
    keys["feed"] = {**keys["feed"], "type": "redis", "options": place.given}
    row = {"symbol": "A", "price": 10.0}
    place.write({**row, "ts": at("09:30").isoformat()})
    with openbell.Runtime.from_config(keys) as runtime:
        runtime.start()
        reaches(runtime, 1)
    last = place.write(*({**row, "ts": at(f"09:3{i}").isoformat()} for i in range(1, 4)))[-1]
    place.trim(maxlen=1)

    with (
        openbell.Runtime.from_config(keys) as runtime,
        pytest.raises(DataError) as refused,
    ):
        runtime.wait()

    assert f"it goes on at {last}" in str(refused.value)
    assert "another name" in str(refused.value)
    other = {**keys, "name": f"{keys['name']}_anew"}
    with openbell.Runtime.from_config(other) as runtime:
        runtime.start()
        reaches(runtime, 1)


def test_a_cursor_of_another_log_is_refused_and_names_the_oldest(keys: dict[str, Any]) -> None:
    push(keys, *OPENING, (at("09:34"), 12.0))
    with closing(open_store(keys["store"]["url"], keys["name"])) as store:
        ((oldest, _),) = store.signals()
    with (
        openbell.Runtime.from_config(keys) as runtime,
        pytest.raises(ValueError, match=f"whose oldest is {oldest}; use one"),
    ):
        next(runtime.signals(after="99-7"))


def test_a_signal_log_that_was_trimmed_is_refused_and_names_the_oldest(
    keys: dict[str, Any], server: RedisServer
) -> None:
    """Nobody may take what is left for all there was."""
    keys["store"] = {"url": server.url}
    push(keys, *OPENING, (at("09:34"), 12.0), (at("09:35"), 9.0))
    import redis  # whose server is there has it

    with closing(open_store(server.url, keys["name"])) as store:
        (first, _), (second, _) = store.signals()
        stream = f"openbell:{{{keys['name']}}}:signals"
        assert redis.Redis.from_url(server.url).xtrim(stream, maxlen=1, approximate=False) == 1
        for after in (None, first, second):
            with pytest.raises(Corrupt, match=f"has 1 signals from {second} on, not the 2"):
                list(store.signals(after))
