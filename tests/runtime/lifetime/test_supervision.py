"""What happens when an actor raises, in a run whose state survives."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any, cast

import pytest
from observed import eventually
from redis_server import RedisServer
from store_places import server_binary

from openbell.actors.effects import Effects
from openbell.adapters.sample import write_sample
from openbell.adapters.stores import Store, open_store
from openbell.errors import DayFailed
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.session import AwaitLoad
from openbell.runtime.config import Config, config_from
from openbell.runtime.engine import Engine
from openbell.runtime.intake.settings import settings
from openbell.runtime.kernel.wiring import actors
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.lifetime.supervision import RECOVER
from openbell.testing import Fail, FailingStore, Killed, in_turn

Fault = Callable[[Message], None]

SESSIONS = [{"name": "Opening", "start": "09:30", "end": "09:34"}]


class Faulty(DurableRun):
    """A run in which one actor may raise."""

    actor = ""
    fault: Fault = staticmethod(lambda message: None)

    def _engine(self) -> Engine:
        engine = super()._engine()
        cell = engine.cells[self.actor]

        def update(before: Any, state: Any, message: Message) -> tuple[Any, Effects]:
            type(self).fault(message)
            result: tuple[Any, Effects] = before(state, message)
            return result

        cell.actor = replace(cell.actor, update=partial(update, cell.actor.update))
        return engine


@pytest.fixture(scope="module")
def minutes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("minutes")
    write_sample(out, symbols=2, days=3, seed=5)
    return out


def config_of(minutes: Path) -> Config:
    return config_from({"exchange": "XNYS", "sessions": SESSIONS, "data": {"path": str(minutes)}})


def log_of(store: Store) -> list[bytes]:
    return [signal.body for _, signal in store.signals()]


def faulty(actor: str, fault: Fault, minutes: Path, store: Store, **more: Any) -> DurableRun:
    kind = type("Run", (Faulty,), {"actor": actor, "fault": staticmethod(fault)})
    made: DurableRun = kind(config_of(minutes), store, **more)
    return made


@pytest.fixture(scope="module")
def expected(minutes: Path) -> list[bytes]:
    store = open_store("memory://", "undisturbed")
    DurableRun(config_of(minutes), store).run()
    signals = log_of(store)
    assert len(signals) > 4
    return signals


NAMES = [
    actor.name
    for actor in actors(settings(config_from({"exchange": "XNYS", "sessions": SESSIONS})))
]


@pytest.mark.parametrize("actor", NAMES)
@pytest.mark.parametrize("at", [1, 7, 23])
def test_an_actor_that_raises_once_changes_nothing(
    actor: str, at: int, minutes: Path, expected: list[bytes]
) -> None:
    store, heard = (
        open_store("memory://", f"once-{actor.replace(':', '-')}-{at}"),
        iter(range(10**9)),
    )

    def fault(message: Message) -> None:
        if next(heard) == at:
            raise RuntimeError("once")

    faulty(actor, fault, minutes, store).run()

    assert log_of(store) == expected


def test_a_message_that_fails_twice_ends_in_error_and_recover_leaves_it(
    minutes: Path, expected: list[bytes]
) -> None:
    store = open_store("memory://", "poison")
    poisoned = True

    def fault(message: Message) -> None:
        if poisoned and isinstance(message, Batch) and message.step > 6:
            raise ValueError("this one never")

    with pytest.raises(DayFailed, match=r"breakout failed at step \d+ on Batch.*twice"):
        faulty("breakout", fault, minutes, store).run()
    kept = log_of(store)
    assert kept == expected[: len(kept)]
    with pytest.raises(DayFailed, match="recover=True"):
        faulty("breakout", fault, minutes, store).run()

    poisoned = False
    store.send_command(RECOVER)
    faulty("breakout", fault, minutes, store).run()

    assert log_of(store) == expected


@pytest.mark.parametrize("executed", [False, True])
def test_a_kill_as_recover_is_taken_does_not_lose_it(
    executed: bool, minutes: Path, expected: list[bytes]
) -> None:
    store = open_store("memory://", f"killed-{executed}")
    poisoned = True

    def fault(message: Message) -> None:
        if poisoned and isinstance(message, Batch) and message.step > 6:
            raise ValueError("this one never")

    with pytest.raises(DayFailed):
        faulty("breakout", fault, minutes, store).run()
    store.send_command(RECOVER)
    poisoned = False
    faults = in_turn({"take_commands": [Fail(Killed(), executed)]})
    with pytest.raises(Killed):
        faulty("breakout", fault, minutes, cast(Store, FailingStore(store, faults))).run()
    assert not store.head().meta["error"]
    faulty("breakout", fault, minutes, store).run()

    assert log_of(store) == expected
    assert [json.loads(entry)["what"] for _, entry in store.audit()].count("recover") == 1


def test_one_that_waits_in_error_tries_again_when_recover_comes(
    minutes: Path, expected: list[bytes]
) -> None:
    store = open_store("memory://", "waits")
    poisoned = True
    told: list[str] = []

    def fault(message: Message) -> None:
        if poisoned and isinstance(message, Batch) and message.step > 6:
            raise ValueError("this one never")

    def in_error(error: DayFailed) -> None:
        nonlocal poisoned
        told.append(str(error))
        poisoned = len(told) < 2  # recovered too early, it comes to the same
        store.send_command(RECOVER)

    assert faulty("breakout", fault, minutes, store, in_error=in_error).run()

    assert log_of(store) == expected
    assert len(told) == 2
    assert all("twice on the same message" in said for said in told)


# The store goes away at that moment


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


AWAY_SECONDS = 0.5


def ran_without(
    server: RedisServer, gone: Event, run: DurableRun, noticed: Callable[[], bool] = lambda: True
) -> BaseException | None:
    """Run; once the server is gone, and that was noticed, it is started again. What the run raised."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run.run)
        assert gone.wait(120)
        assert eventually(noticed)
        time.sleep(AWAY_SECONDS)
        server.start()
        return running.exception(120)


def whats(store: Store) -> list[str]:
    return [json.loads(entry)["what"] for _, entry in store.audit()]


def test_actors_begin_again_though_the_store_is_away_then(
    minutes: Path, expected: list[bytes], server: RedisServer
) -> None:
    store, gone = open_store(server.url, "away"), Event()

    def fault(message: Message) -> None:
        if isinstance(message, Batch) and message.step > 6 and not gone.is_set():
            while not store.head().step:  # something to go on from
                time.sleep(0.01)
            server.kill()
            gone.set()
            raise RuntimeError("once")

    run = faulty("breakout", fault, minutes, store)

    began = time.monotonic()
    assert ran_without(server, gone, run, lambda: run.talking.away) is None
    took = time.monotonic() - began
    assert log_of(store) == expected
    assert (whats(store).count("restart"), whats(store).count("restored")) == (1, 1)
    (seconds,) = run.outages
    assert AWAY_SECONDS < seconds < took
    assert whats(store).count("outage") == 1
    store.close()


def test_a_day_is_put_in_error_though_the_store_is_away_then(
    minutes: Path, expected: list[bytes], server: RedisServer
) -> None:
    store, gone = open_store(server.url, "away"), Event()
    failures = 0

    def fault(message: Message) -> None:
        nonlocal failures
        if isinstance(message, Batch) and message.step > 6 and not gone.is_set():
            failures += 1
            if failures == 2:
                server.kill()
                gone.set()
            raise ValueError("this one never")

    error = ran_without(server, gone, faulty("breakout", fault, minutes, store))

    assert isinstance(error, DayFailed)
    assert store.head().meta["error"]
    store.send_command(RECOVER)
    assert faulty("breakout", fault, minutes, store).run()
    assert log_of(store) == expected
    store.close()


def test_a_run_waits_in_error_though_the_store_is_away_meanwhile(
    minutes: Path, expected: list[bytes], server: RedisServer
) -> None:
    store, gone = open_store(server.url, "away"), Event()

    def fault(message: Message) -> None:
        if isinstance(message, Batch) and message.step > 6 and not gone.is_set():
            raise ValueError("this one never")

    def in_error(error: DayFailed) -> None:
        store.send_command(RECOVER)
        server.kill()
        gone.set()

    run = faulty("breakout", fault, minutes, store, in_error=in_error)

    assert ran_without(server, gone, run) is None
    assert log_of(store) == expected
    store.close()


@pytest.mark.parametrize("moment", ["restart", "error"])
def test_a_run_whose_store_stays_away_can_be_stopped(
    moment: str, minutes: Path, server: RedisServer
) -> None:
    store, gone = open_store(server.url, "away"), Event()

    def fault(message: Message) -> None:
        if isinstance(message, Batch) and message.step > 6:
            if moment == "restart":
                server.kill()
                gone.set()
            raise RuntimeError("again and again")

    def in_error(error: DayFailed) -> None:
        server.kill()
        gone.set()

    run = faulty("breakout", fault, minutes, store, in_error=in_error)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run.run)
        assert gone.wait(120)
        time.sleep(0.2)

        run.stop()

        assert running.result(120)


def test_too_many_failures_end_in_error(minutes: Path) -> None:
    store, heard = open_store("memory://", "often"), iter(range(10**9))

    def fault(message: Message) -> None:
        if isinstance(message, AwaitLoad | Batch) and next(heard) % 2 == 1:
            raise RuntimeError(f"again {message!r}"[:40])

    with pytest.raises(DayFailed, match="upkeep failed"):
        faulty("upkeep", fault, minutes, store).run()
