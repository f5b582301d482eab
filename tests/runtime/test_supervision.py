"""What happens when an actor raises, in a run whose state survives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from openbell.actors.effects import Effects
from openbell.adapters.sample import write_sample
from openbell.adapters.stores import Store, open_store
from openbell.errors import DayFailed
from openbell.messages.base import Message
from openbell.messages.data import Batch
from openbell.messages.session import AwaitLoad
from openbell.runtime.config import Config, config_from
from openbell.runtime.durable import RECOVER, DurableRun
from openbell.runtime.engine import Engine
from openbell.runtime.planning import settings
from openbell.runtime.wiring import actors

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


def faulty(actor: str, fault: Fault, minutes: Path, store: Store) -> DurableRun:
    kind = type("Run", (Faulty,), {"actor": actor, "fault": staticmethod(fault)})
    made: DurableRun = kind(config_of(minutes), store)
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
    with pytest.raises(DayFailed, match="openbell recover"):
        faulty("breakout", fault, minutes, store).run()

    poisoned = False
    store.send_command(RECOVER)
    faulty("breakout", fault, minutes, store).run()

    assert log_of(store) == expected


def test_too_many_failures_end_in_error(minutes: Path) -> None:
    store, heard = open_store("memory://", "often"), iter(range(10**9))

    def fault(message: Message) -> None:
        if isinstance(message, AwaitLoad | Batch) and next(heard) % 2 == 1:
            raise RuntimeError(f"again {message!r}"[:40])

    with pytest.raises(DayFailed, match="upkeep failed"):
        faulty("upkeep", fault, minutes, store).run()
