"""A `Runtime` whose state survives it: the log is the store's, whoever reads it, and however late."""

from __future__ import annotations

import asyncio
import os
import random
import signal as unix_signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from faults.crashing import KILLED, Nursery, held, nursery, wait_until
from loguru import logger
from observed import eventually, threads_since
from redis_server import RedisServer
from seeds import due_seed
from store_places import server_binary

import openbell
from openbell.adapters.feeds import feed_types
from openbell.adapters.sample import write_sample
from openbell.adapters.sources import open_source
from openbell.adapters.stores import Holder, LeaseHeld, open_store
from openbell.adapters.stores.sqlite import FileDatabase, SqliteStore
from openbell.errors import ConfigError, DayFailed, InputError, LeaseLost
from openbell.messages.data import Batch
from openbell.runtime.api import Runtime, Signal
from openbell.runtime.cli.stored import paused_by
from openbell.runtime.config import config_from
from openbell.runtime.intake import loading
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.record.codec import decode
from openbell.runtime.record.ledger import Ledger
from openbell.testing import FailingSource

BOT = Path(__file__).parents[3] / "examples" / "bot.py"
TUESDAY_NS = 1_719_880_000 * 10**9
DAYS = ["2024-07-01", "2024-07-02", "2024-07-03"]
KILLS = 5
PACED = {"speed": 100_000}  # as fast as it goes, but a step and a commit a minute
SEED = due_seed("CRASH_SEED")


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "minutes"
    write_sample(folder, symbols=3, days=3, seed=3, start=date(2024, 7, 1))
    return folder


@pytest.fixture(scope="module")
def found(minutes: Path) -> list[Signal]:
    """What a run in memory finds; cursors are its own."""
    keys = config(minutes, Path("nowhere"))
    with Runtime.from_config(keys, durable=False) as rt:
        signals = list(rt.signals())
    assert len(signals) > 20
    return signals


@pytest.fixture
def keys(minutes: Path, tmp_path: Path) -> dict[str, Any]:
    return config(minutes, tmp_path)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert threads_since(before) == []


def config(minutes: Path, folder: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "bot",
        "exchange": "XNYS",
        "sessions": [
            {"name": "Opening", "start": "09:30", "end": "09:34"},
            {"name": "Lunch", "start": "11:50", "end": "12:20"},
        ],
        "data": {"path": str(minutes)},
        "store": {"url": f"sqlite:///{folder}/state/openbell.db"},
        **more,
    }


def stored(keys: dict[str, Any]) -> list[tuple[str, str]]:
    """Cursor and id of each signal, as `openbell signals` prints them."""
    store = open_store(keys["store"]["url"], keys["name"])
    try:
        return [(cursor, signal.id) for cursor, signal in store.signals()]
    finally:
        store.close()


def ids(signals: list[Signal]) -> list[str]:
    return [signal.id for signal in signals]


# Further days


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE epochs SET manifest = x'00' WHERE number = ?",
        "DELETE FROM blobs WHERE key LIKE ? || '-%'",
    ],
)
def test_further_days_begin_with_what_the_last_one_brought_though_its_snapshot_is_damaged(
    damage: str, minutes: Path, tmp_path: Path, found: list[Signal]
) -> None:
    with Runtime.from_config(config(minutes, tmp_path, feed={"end": DAYS[1]})) as rt:
        rt.run()
    epoch, brought = closes_after_the_second_day(tmp_path)
    with closing(sqlite3.connect(tmp_path / "state" / "openbell.db")) as db, db:
        assert db.execute(damage, (epoch,)).rowcount > 0

    with Runtime.from_config(config(minutes, tmp_path)) as rt:
        signals = list(rt.signals())

    assert ids(signals) == ids(found)
    again, kept = closes_after_the_second_day(tmp_path)
    assert again != epoch
    assert kept == brought


def closes_after_the_second_day(folder: Path) -> tuple[int, dict[str, float]]:
    """By the newest snapshot of that day that is whole."""
    store = open_store(f"sqlite:///{folder}/state/openbell.db", "bot")
    try:
        epoch = next(e.epoch for e in store.epochs() if str(e.trading_date) == DAYS[1])
        return epoch, dict(decode(store.states(epoch)["upkeep"]).closes)
    finally:
        store.close()


# The log


def test_signals_are_those_of_a_run_in_memory_with_the_cursors_of_the_store(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    with Runtime.from_config(keys) as rt:
        signals = list(rt.signals())

    assert [(s.cursor, s.id) for s in signals] == stored(keys)
    assert [replace(s, cursor="") for s in signals] == [replace(s, cursor="") for s in found]


def test_companions_come_back_as_they_were(minutes: Path, tmp_path: Path) -> None:
    first, second, *_ = pq.read_table(minutes)["symbol"].unique().to_pylist()
    paired = config(minutes, tmp_path, companions={first: second})

    with (
        Runtime.from_config(paired) as one,
        Runtime.from_config(paired, durable=False) as two,
    ):
        got, expected = list(one.signals()), list(two.signals())

    assert {s.companion is None for s in got if s.symbol == first} == {False}
    assert [s.companion for s in got] == [s.companion for s in expected]


def test_a_companion_that_becomes_a_symbol_is_followed_from_the_next_day_on(
    minutes: Path, tmp_path: Path
) -> None:
    first, second, *_ = sorted(pq.read_table(minutes)["symbol"].unique().to_pylist())
    paired = config(minutes, tmp_path, companions={first: second}, symbols=[first])
    # Slow enough that the first day is not over when the run is stopped.
    with Runtime.from_config({**paired, "feed": {"speed": 2_000}}) as rt:
        next(rt.signals())
    both = {**paired, "symbols": [second, first]}

    with Runtime.from_config(both) as rt:
        signals = list(rt.signals())

    days = {of: {str(s.trading_date) for s in signals if s.symbol == of} for of in (first, second)}
    assert days == {first: {*DAYS}, second: {*DAYS[1:]}}
    with closing(open_store(both["store"]["url"], "bot")) as store:
        made = config_from(both)
        assert replay_day(made, store, date.fromisoformat(DAYS[1])).differs is None
        assert replay_day(made, store, date.fromisoformat(DAYS[0])).differs is None
    with pytest.raises(ConfigError, match="symbols was"):
        Runtime.from_config(paired)


@pytest.fixture
def holding(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], threading.Event]:
    """Has runs settle no step from a wall time of a day on, until they are stopped or let go."""

    def hold(day: str, wall: str) -> threading.Event:
        go = threading.Event()
        monkeypatch.setattr(Ledger, "settled", held(f"{day}T{wall}-04:00", go.is_set))
        return go

    return hold


Holding = Callable[[str, str], threading.Event]


def test_what_is_yielded_is_durable(keys: dict[str, Any], holding: Holding) -> None:
    holding(DAYS[2], "12:00")
    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        for place, signal in enumerate(rt.signals(), 1):
            assert (signal.cursor, signal.id) in stored(keys)
            if place == 5:
                break
        assert rt.status()["state"] == "running"


def test_the_log_begins_with_the_signals_of_earlier_processes(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    with Runtime.from_config(keys) as rt:
        reader = rt.signals()
        for _ in range(3):
            last = next(reader)
    with Runtime.from_config(keys) as rt:
        rest = list(rt.signals(after=last.cursor))
    with Runtime.from_config(keys) as rt:
        whole = list(rt.signals())

    assert last.id == found[2].id
    assert ids(rest) == ids(found[3:])
    assert ids(whole) == ids(found)


def test_after_the_last_day_a_start_yields_the_log_and_ends(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    with Runtime.from_config(keys) as rt:
        signals = list(rt.signals())
        before = rt.status()
    with Runtime.from_config(keys) as rt:
        assert list(rt.signals(after=signals[9].cursor)) == signals[10:]
        assert list(rt.signals(after=signals[-1].cursor)) == []
        after = rt.status()

    ended = {"state": "ended", "days": 3, "days_planned": 3, "last_day": DAYS[-1]}
    for status in (before, after):
        assert {**status, **ended, "signals": len(found)} == status


def test_reading_is_possible_before_it_runs_and_after_it_was_closed(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    got: list[str] = []
    with Runtime.from_config(keys) as rt:
        rt.run()
    assert ids(list(rt.signals())) == ids(found)

    with Runtime.from_config(keys) as rt:
        rt.on_signal(lambda signal: got.append(signal.id), after=None)
        wait_until(lambda: len(got) == len(found))
        assert rt.status()["state"] == "ready"


@pytest.mark.parametrize("cursor", ["", "7", "s3", "99-0", "XNYS:2024-07-01:Lunch:A:HIGH_BREAK:1"])
def test_what_is_no_cursor_of_this_log_is_refused(keys: dict[str, Any], cursor: str) -> None:
    async def read(rt: Runtime) -> Signal:
        return await anext(rt.asignals(cursor))

    with Runtime.from_config(keys) as rt:
        with pytest.raises(ValueError, match="is no cursor of this signal log"):
            rt.on_signal(print, after=cursor)
        with pytest.raises(ValueError, match="is no cursor of this signal log"):
            next(rt.signals(after=cursor))
        with pytest.raises(ValueError, match="is no cursor of this signal log"):
            asyncio.run(read(rt))


def test_a_store_in_memory_has_a_log_too(keys: dict[str, Any], found: list[Signal]) -> None:
    with Runtime.from_config({**keys, "store": {"url": "memory://"}}) as rt:
        assert ids(list(rt.signals())) == ids(found)
        assert rt.status()["signals"] == len(found)


# Readers


def test_a_slow_reader_delays_nobody_and_loses_nothing(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    with Runtime.from_config(keys) as rt:
        reader = rt.signals()
        first = next(reader)
        rt.wait()  # the run is over before the reader asks for the second
        assert rt.status()["state"] == "ended"
        rest = list(reader)

    assert ids([first, *rest]) == ids(found)


def test_readers_of_all_kinds_each_get_all(keys: dict[str, Any], found: list[Signal]) -> None:
    got: dict[str, list[str]] = {"handler": []}
    turns = 0

    async def read(rt: Runtime) -> None:
        nonlocal turns

        async def turn() -> None:
            nonlocal turns
            while "asignals" not in got:
                turns += 1
                await asyncio.sleep(0.001)

        turning = asyncio.create_task(turn())
        got["asignals"] = [signal.id async for signal in rt.asignals()]
        await turning

    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        rt.on_signal(lambda signal: got["handler"].append(signal.id))
        readers = [
            threading.Thread(target=lambda n=n: got.update({n: ids(list(rt.signals()))}))
            for n in ("one", "two")
        ]
        readers.append(threading.Thread(target=lambda: asyncio.run(read(rt))))
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout=120)
        rt.wait()

    assert got == dict.fromkeys(("handler", "one", "two", "asignals"), ids(found))
    assert turns > 1


def test_a_reader_hears_of_a_signal_at_once(keys: dict[str, Any]) -> None:
    late: list[float] = []
    with Runtime.from_config({**keys, "feed": {**PACED, "end": DAYS[0]}}) as rt:
        committed: dict[int, float] = {}
        news = rt._run.recorder.log

        def note() -> None:
            committed.setdefault(len(news), time.monotonic())

        news.listen(note)
        for place, _ in enumerate(rt.signals(), 1):
            now = time.monotonic()
            late.append(now - min(at for count, at in committed.items() if count >= place))

    assert sorted(late)[len(late) // 2] < 60  # nothing polls: one that is not told waits for ever


def test_leaving_the_loop_stops_nothing_and_closing_does(
    keys: dict[str, Any], found: list[Signal], holding: Holding
) -> None:
    go = holding(DAYS[2], "12:00")
    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        for signal in rt.signals():
            cursor = signal.cursor
            break
        more = next(rt.signals(after=cursor))
        assert more.id == found[1].id
    assert rt.status()["state"] == "stopped"

    go.set()
    with Runtime.from_config(keys) as rt:
        assert ids(list(rt.signals(after=more.cursor))) == ids(found[2:])


def test_leaving_an_asynchronous_loop_lets_go_of_it(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    async def first(rt: Runtime, after: str | None) -> Signal:
        async def second() -> Signal:
            return await anext(stream)

        stream = rt.asignals(after)
        one = await anext(stream)
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0)
        waiting.cancel()
        return one

    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        one = asyncio.run(first(rt, None))
        two = asyncio.run(first(rt, one.cursor))

    assert ids([one, two]) == ids(found[:2])


def test_handlers_go_on_after_a_cursor(keys: dict[str, Any], found: list[Signal]) -> None:
    got: list[str] = []
    with Runtime.from_config(keys) as rt:
        rt.wait()
        cursor = stored(keys)[4][0]
        rt.on_signal(lambda signal: got.append(signal.id), after=cursor)
        rt.wait()

    assert got == ids(found[5:])


def test_after_close_no_handler_is_called_any_more(keys: dict[str, Any]) -> None:
    got: list[str] = []
    called, closing = threading.Event(), threading.Event()

    def handle(signal: Signal) -> None:
        got.append(signal.id)
        called.set()
        assert closing.wait(120)
        time.sleep(0.05)

    with Runtime.from_config(keys) as rt:
        rt.on_signal(handle)
        rt.start()
        assert called.wait(120)
        closing.set()
    seen = len(got)
    time.sleep(0.1)

    assert 0 < seen == len(got)


def test_a_handler_may_close_the_runtime(keys: dict[str, Any], found: list[Signal]) -> None:
    got: list[str] = []

    def handle(signal: Signal) -> None:
        got.append(signal.id)
        rt.close()

    rt = Runtime.from_config(keys)
    rt.on_signal(handle)
    rt.wait()

    assert got == ids(found[:1])


def test_what_a_handler_raises_may_end_the_run(keys: dict[str, Any], holding: Holding) -> None:
    holding(DAYS[2], "12:00")

    def handle(signal: Signal) -> None:
        raise ZeroDivisionError(signal.id)

    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        rt.on_signal(handle, on_error=lambda error, signal: rt.stop())
        rt.wait()
        assert rt.status()["state"] == "stopped"


# What is durable


def test_rows_in_files_make_it_durable_and_a_table_does_not(
    keys: dict[str, Any], minutes: Path, tmp_path: Path, found: list[Signal]
) -> None:
    table = pq.read_table(minutes)
    without = {key: value for key, value in keys.items() if key != "data"}
    state = tmp_path / "state"

    with Runtime.from_config(without, table) as rt:
        assert ids(list(rt.signals())) == ids(found)
    with Runtime.from_config(keys, durable=False) as rt:
        assert ids(list(rt.signals())) == ids(found)
    assert not state.exists()
    with Runtime.from_config(without, str(minutes)) as rt:
        assert ids(list(rt.signals())) == ids(found)
    assert state.exists()
    with Runtime.from_config(without, minutes, durable=True) as rt:
        assert ids(list(rt.signals())) == ids(found)


def test_a_table_is_made_durable_on_demand(
    keys: dict[str, Any], minutes: Path, found: list[Signal], holding: Holding
) -> None:
    table = pq.read_table(minutes)
    without = {**keys, "data": {}, "feed": PACED}
    go = holding(DAYS[2], "09:31")
    with Runtime.from_config(without, table, durable=True) as rt:
        for signal in rt.signals():
            if str(signal.trading_date) == DAYS[1]:
                break
    begun = stored(keys)
    go.set()

    with Runtime.from_config(without, table, durable=True) as rt:
        signals = list(rt.signals())

    assert 0 < len(begun) < len(signals)
    assert ids(signals) == ids(found)
    assert stored(keys)[: len(begun)] == begun


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": {}}, "data.path is missing"),
        ({"feed": {"type": "telex"}}, ", ".join(["installed are replay, push", *feed_types()])),
        ({"symbols": ["NIFTI"]}, "NIFTI"),
        ({"store": {"url": "mysql://here"}}, "store.url"),
    ],
)
def test_what_can_not_be_run_is_refused_before_there_is_state(
    keys: dict[str, Any], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Runtime.from_config({**keys, **changed})

    assert not (tmp_path / "state").exists()


def test_another_configuration_is_refused(keys: dict[str, Any]) -> None:
    with Runtime.from_config(keys) as rt:
        rt.run()
    moved = {**keys, "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}]}

    with pytest.raises(ConfigError, match="made with another configuration"):
        Runtime.from_config(moved)
    with Runtime.from_config({**moved, "name": "other"}) as rt:  # the lease was given back
        rt.run()


# Two runtimes


def test_two_runtimes_of_one_process_know_nothing_of_each_other(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    other = {**keys, "name": "other", "breakout": {"confirm": "touch", "sides": "high"}}
    got: dict[str, list[str]] = {}

    with Runtime.from_config(keys) as one, Runtime.from_config(other) as two:
        readers = [
            threading.Thread(target=lambda n=n, rt=rt: got.update({n: ids(list(rt.signals()))}))
            for n, rt in (("one", one), ("two", two))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout=120)

    expected = openbell.backtest(other).signals["id"].to_pylist()
    assert got == {"one": ids(found), "two": expected}


def test_a_second_runtime_on_the_same_state_is_refused_naming_the_holder(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    with Runtime.from_config(keys) as rt:
        with pytest.raises(LeaseLost, match=rf"process {os.getpid()} on .* holds the lease"):
            Runtime.from_config(keys)
        assert ids(list(rt.signals())) == ids(found)
    with Runtime.from_config(keys) as rt:
        assert ids(list(rt.signals())) == ids(found)


def test_a_runtime_that_waits_to_be_started_keeps_its_lease(keys: dict[str, Any]) -> None:
    elsewhere = Holder(host="elsewhere", boot_id="another", pid=1, started="1")
    now = 0
    file = Path(keys["store"]["url"].removeprefix("sqlite:///"))
    store = SqliteStore(FileDatabase(file), keys["name"], clock_ns=lambda: now)

    def beat() -> int:
        with closing(sqlite3.connect(file)) as db:
            (beats,) = db.execute("SELECT beat FROM leases").fetchone()
        return int(beats)

    with Runtime.from_config({**keys, "lease": {"ttl": "0.3s"}}) as rt:
        for _ in range(3):  # it lives for who can see its heartbeat only
            with pytest.raises(LeaseHeld):
                store.acquire(elsewhere, 300_000_000)
            seen = beat()
            assert eventually(lambda seen=seen: beat() != seen)  # type: ignore[misc]
            now += 400_000_000
        rt.run()
    store.close()


# Errors


def test_actors_that_begin_again_leave_readers_and_results_whole(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    with Runtime.from_config({**keys, "feed": PACED, "snapshot": {"every": "1h"}}) as rt:
        cell = rt._run.engine.cells["breakout"]
        update = cell.actor.update

        def failing(state: Any, message: Any) -> Any:
            if isinstance(message, Batch) and message.step > 600:  # on the second day
                raise RuntimeError("once")
            return update(state, message)

        cell.actor = replace(cell.actor, update=failing)
        signals = list(rt.signals())
        account = rt.summary()

    assert ids(signals) == ids(found)
    assert rt.status()["days"] == 3
    assert (account["trading_days"], account["last_day"]) == (3, DAYS[2])
    assert account["rows"]["used"] == 3 * (390 + 390 + 210)  # the third ends early
    assert account["signals"] == len(found)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


def test_a_day_that_fails_is_raised_after_the_days_before(
    keys: dict[str, Any], found: list[Signal], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away(FailingSource):
        def read(self, start_ns: int, end_ns: int, symbols: Any = None) -> Any:
            is_a_day = end_ns - start_ns > 12 * 3600 * 10**9  # planning looks at less
            self.failures = self.reads + 1 if is_a_day and start_ns > TUESDAY_NS else 0
            return super().read(start_ns, end_ns, symbols)

    monkeypatch.setattr(loading, "BACKOFF_SECONDS", 0.0)
    got: list[str] = []

    async def read(rt: Runtime) -> None:
        async for signal in rt.asignals():
            got.append(signal.id)

    with monkeypatch.context() as on_tuesday:
        on_tuesday.setattr(
            "openbell.runtime.lifetime.run.open_source", lambda *given: Away(open_source(*given))
        )
        rt = Runtime.from_config(keys)
    with rt:
        with pytest.raises(DayFailed, match=DAYS[1]):  # noqa: PT012
            for signal in rt.signals():
                got.append(signal.id)
        with pytest.raises(DayFailed, match=DAYS[1]):
            rt.wait()
        status = rt.status()
    assert got == ids([s for s in found if str(s.trading_date) == DAYS[0]])
    assert (status["state"], status["days"], status["last_day"]) == ("failed", 1, DAYS[0])

    got.clear()
    with Runtime.from_config(keys) as rt:
        with pytest.raises(DayFailed, match="recover=True"):
            asyncio.run(read(rt))
        assert rt.status()["days"] == 1
    assert got == ids([s for s in found if str(s.trading_date) == DAYS[0]])

    got.clear()
    with Runtime.from_config(keys, recover=True) as rt:
        asyncio.run(read(rt))
    assert got == ids(found)


def test_a_lease_that_is_lost_on_the_way_is_raised(keys: dict[str, Any]) -> None:
    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        rt.pause()
        rt.start()
        store = open_store(keys["store"]["url"], keys["name"])
        store.delete()
        store.close()
        rt.resume()
        with pytest.raises(LeaseLost, match="the lease was lost"):
            list(rt.signals())


def test_an_outage_of_the_store_keeps_readers_waiting(
    keys: dict[str, Any], server: RedisServer, found: list[Signal], holding: Holding
) -> None:
    on_redis = {**keys, "store": {"url": server.url}, "feed": PACED}
    rest: list[Signal] = []
    go = holding(DAYS[1], "09:31")
    with Runtime.from_config(on_redis) as rt:
        first = next(rt.signals())
        server.kill()
        go.set()
        reader = threading.Thread(target=lambda: rest.extend(rt.signals(after=first.cursor)))
        reader.start()
        time.sleep(0.3)
        assert reader.is_alive()
        server.start()
        reader.join(timeout=120)

    assert ids([first, *rest]) == ids(found)


# Life


def test_it_can_be_paused_stepped_and_resumed(keys: dict[str, Any], found: list[Signal]) -> None:
    with Runtime.from_config(keys) as rt:
        rt.pause("one")
        rt.pause()
        rt.start()
        rt.step()
        rt.resume("one")
        time.sleep(0.2)
        assert rt.status()["signals"] == 0
        rt.resume()
        rt.wait()
        assert rt.status()["signals"] == len(found)


def test_who_has_paused_it_can_be_seen_from_outside(keys: dict[str, Any]) -> None:
    quick = {**keys, "lease": {"ttl": "150ms"}, "feed": {"speed": 2000}}
    with (
        Runtime.from_config(quick) as rt,
        closing(open_store(keys["store"]["url"], keys["name"])) as store,
    ):
        next(rt.signals())
        rt.pause("one")
        rt.pause("two")
        rt.resume("two")
        wait_until(lambda: paused_by(store) == ["one"])
        status, lease = rt.status(), store.lease()
        rt.resume("one")
        wait_until(lambda: paused_by(store) == [])

    assert (status["state"], status["paused_by"]) == ("paused", ["one"])
    assert status["committed_at"].endswith("Z")
    assert lease is not None
    assert lease.holder is not None
    assert status["holder"] == f"process {lease.holder.pid} on {lease.holder.host}"


def test_who_commands_it_before_it_goes_on_changes_nothing(
    keys: dict[str, Any], found: list[Signal]
) -> None:
    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        next(rt.signals())
    with Runtime.from_config(keys) as rt:
        rt.pause()
        rt.step()
        rt.start()
        rt.resume()
        assert ids(list(rt.signals())) == ids(found)


def test_its_account_is_of_what_this_process_has_run(
    keys: dict[str, Any], found: list[Signal], holding: Holding
) -> None:
    go = holding(DAYS[1], "15:59")
    with Runtime.from_config({**keys, "feed": PACED}) as rt:
        for signal in rt.signals():
            if str(signal.trading_date) == DAYS[1]:
                break
        wait_until(lambda: rt.status()["days"] == 1)
        assert rt.day is not None
        assert str(rt.day.date) == DAYS[0]
    before = rt.summary()
    assert (before["interrupted"], before["last_day"]) == (True, DAYS[0])
    go.set()

    with Runtime.from_config(keys) as rt:
        rt.run()
        ended = {"state": "ended", "days": 3, "days_planned": 3, "last_day": DAYS[2]}
        status = rt.status()
        assert {**status, **ended, "signals": len(found)} == status
        day, after = rt.day, rt.summary()
    assert not after["interrupted"]
    assert (after["first_day"], after["last_day"]) == (DAYS[1], DAYS[2])  # the second was begun
    assert day is not None
    of_day = [s.id for s in found if str(s.trading_date) == DAYS[2]]
    assert day.signals["id"].to_pylist() == of_day
    assert day.levels.num_rows == 2 * 3


def test_it_sets_no_signal_handler_and_logs_nothing(keys: dict[str, Any]) -> None:
    handlers = {
        sig: unix_signal.getsignal(sig) for sig in (unix_signal.SIGINT, unix_signal.SIGTERM)
    }
    lines: list[str] = []
    sink = logger.add(lines.append, level=0)
    interval = sys.getswitchinterval()
    try:
        for _ in range(2):
            with Runtime.from_config(keys) as rt:
                next(rt.signals())
                assert handlers == {sig: unix_signal.getsignal(sig) for sig in handlers}
                assert sys.getswitchinterval() == interval
    finally:
        logger.remove(sink)

    assert lines == []


def test_one_that_never_ran_leaves_nothing(keys: dict[str, Any], found: list[Signal]) -> None:
    rt = Runtime.from_config(keys)
    assert rt.status()["state"] == "ready"
    rt.close()
    rt.close()

    assert list(rt.signals()) == []
    with Runtime.from_config(keys) as rt:
        assert ids(list(rt.signals())) == ids(found)


# Kills


@pytest.fixture(scope="module")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("said")) as made:
        yield made


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("redis", marks=pytest.mark.slow)])
def test_a_bot_that_is_killed_at_random_instants_acts_once_on_each_signal(
    request: pytest.FixtureRequest,
    children: Nursery,
    keys: dict[str, Any],
    minutes: Path,
    tmp_path: Path,
    kind: str,
) -> None:
    if kind == "redis":
        keys["store"] = {"url": request.getfixturevalue("server").url}
    rng = random.Random(f"{kind} {SEED}")
    names = (f"bot-{number}" for number in count())

    def bot() -> tuple[Path, Path, Path, Path]:
        name = next(names)
        slow = {"clock": {"step": "bar"}, "snapshot": {"every": "0.02s"}}
        file = tmp_path / f"{name}.json"
        file.write_bytes(orjson.dumps({**keys, **slow, "name": name}))
        return BOT, file, minutes, tmp_path / f"{name}.db"

    children.run("--help")  # it answers when all is imported
    began = time.monotonic()
    *whole, book = bot()
    code, said = children.run(*whole, book)
    seconds = time.monotonic() - began
    assert code == 0, said
    expected = acts(book)
    assert len(expected) > 20

    kills, history = 0, [f"CRASH_SEED={SEED}"]
    *killed, book = bot()
    while kills < KILLS:
        child = children.start(*killed, book)
        instant = rng.uniform(0, 0.7 * seconds)
        time.sleep(instant)
        children.send(child, unix_signal.SIGKILL)
        code = children.ended(child)
        history.append(f"{code} at {instant:.3f} s")
        so_far = acts(book)
        assert so_far == expected[: len(so_far)], history
        if code == KILLED:
            kills += 1
        else:
            assert (code, so_far) == (0, expected), (history, child.err)
            *killed, book = bot()
    code, said = children.run(*killed, book)

    assert (code, acts(book)) == (0, expected), (history, said)


def acts(book: Path) -> list[tuple[str, float, int]]:
    if not book.exists():
        return []
    connection = sqlite3.connect(book)
    try:
        return connection.execute("select signal, price, size from acts order by rowid").fetchall()
    except sqlite3.OperationalError:
        return []  # killed before it had a table
    finally:
        connection.close()
