"""A durable run over given rows, for tests of what is built on openbell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

import orjson

from openbell.actors import clock
from openbell.adapters.sources import Source, open_source
from openbell.adapters.stores import Store, open_store
from openbell.errors import RunError
from openbell.runtime.config import Config, config_from
from openbell.runtime.intake.planning import Plan, plan
from openbell.runtime.intake.settings import data_options
from openbell.runtime.results.events import Event, read
from openbell.runtime.results.signals import Signal, signal_of
from openbell.testing.clocks import HandClock
from openbell.testing.faults import FailingSource, FailingStore, Killed
from openbell.testing.inline import InlineRun


class Rehearsal:
    """A durable run over given rows, which a test may throw away and begin again at any message.

    Parameters
    ----------
    config : path, mapping or Config
        `data.path` and `store` are not looked at. With `feed.speed` above 0 market time follows
        `clock`, else it goes as fast as it can.
    rows : path, pandas, polars or pyarrow table, or FailingSource
    store : Store or FailingStore, optional
        One in memory by default.
    seed : int, optional
        Takes messages of different actors in an order drawn from it.

    Attributes
    ----------
    messages, restarts : int
        How many messages the actors have had, in all processes; how many processes were killed.
    round_trips : bool
        Whether each actor's state goes through its bytes and back after every step; True.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | str | os.PathLike[str],
        rows: object,
        *,
        store: Store | FailingStore | None = None,
        clock: HandClock | None = None,
        seed: int | None = None,
    ) -> None:
        self.config = config_from(config)
        self.rows = rows
        self.store = cast(Store, store or open_store("memory://", self.config.name))
        self.clock = clock or HandClock()
        self.seed = seed
        self.messages = 0
        self.restarts = 0
        self.round_trips = True
        self._process: _Rehearsed | None = None

    def run(
        self,
        before: Callable[[Rehearsal], None] = lambda rehearsal: None,
        idle: Callable[[Rehearsal], None] | None = None,
    ) -> None:
        """Run to the end of the last day, however often it is restarted on the way.

        Parameters
        ----------
        before : callable
            Called before each message; may call `restart`, `pause`, `resume` or move the clock.
        idle : callable, optional
            Called when nothing happens any more unless time goes on; by default the clock is moved
            to where something does.

        Raises
        ------
        OpenbellError
            What `openbell run` ends with.
        """
        while True:
            try:
                self._process = _Rehearsed(self, before, idle)
                self._process.run()
                return
            except Killed:
                self.restarts += 1

    def restart(self) -> NoReturn:
        """Throw away all that is not in the store, as `kill -9` does, and begin again.

        Does not return: whatever calls it must let `Killed` pass.
        """
        raise Killed

    def pause(self) -> None:
        """Hold the clock, as an operator does."""
        self._running().engine.pause("operator")

    def resume(self) -> None:
        self._running().engine.resume("operator")

    @property
    def market_time(self) -> datetime:
        """How far market time has come, UTC."""
        return datetime.fromtimestamp(self.market_ns / 1e9, UTC)

    @property
    def market_ns(self) -> int:
        """The same, ns UTC."""
        state: clock.State = self._running().engine.cells[clock.NAME].state
        return state.now_ns

    def signals(self, after: str | None = None) -> list[Signal]:
        """The signal log, in its order, as `Runtime.signals` yields it.

        Parameters
        ----------
        after : str, optional
            Cursor of a signal seen before: what comes after it.

        Raises
        ------
        ValueError
            If that cursor is not one of this log's.
        """
        return [signal_of(stored, cursor) for cursor, stored in self.store.signals(after)]

    def events(self, after: str | None = None) -> list[Event]:
        """What happened beside signals, as `Runtime.events` yields it.

        Raises
        ------
        ValueError
            If the cursor is not one of this log's.
        """
        return list(read(self.store, after))

    def sessions(self) -> list[dict[str, Any]]:
        """The session documents, by date and name."""
        return [orjson.loads(document.body) for document in self.store.documents()]

    def audit(self) -> list[dict[str, Any]]:
        """The audit trail: transitions, and each `restored`."""
        return [orjson.loads(entry) for _, entry in self.store.audit()]

    def _running(self) -> _Rehearsed:
        if self._process is None:
            raise RunError("the rehearsal has not begun; call it from what run() calls")
        return self._process


class _Rehearsed(InlineRun):
    def __init__(
        self,
        of: Rehearsal,
        before: Callable[[Rehearsal], None],
        idle: Callable[[Rehearsal], None] | None,
    ) -> None:
        self.of = of
        self.seed, self.round_trips = of.seed, of.round_trips
        self._before, self._idle = before, idle
        super().__init__(of.config, of.store, of.clock)

    def before_letter(self) -> None:
        self.of.messages += 1
        super().before_letter()
        self._before(self.of)

    def idle(self) -> None:
        pacer = self.engine._pacer
        if self._idle is None or pacer is None:
            super().idle()
        elif not self.commit_waiting():
            self._idle(self.of)
            pacer.left()

    def _opened(self) -> tuple[Source, Plan]:
        rows, feed = self.of.rows, self.config.feed
        # What is read to plan the run is read well: a run that can't be planned doesn't begin.
        failing = rows if isinstance(rows, FailingSource) else None
        source = failing.source if failing else open_source(rows, data_options(self.config))
        planned = plan(self.config, source, feed.start, feed.end, paced=self.pace.scaled)
        return failing or source, planned
