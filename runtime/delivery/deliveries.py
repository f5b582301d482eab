"""All sinks of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import orjson
from loguru import logger

from openbell.adapters.deliveries import Sink
from openbell.adapters.stores import Store
from openbell.errors import ConfigError, way_out
from openbell.hosttime import monotonic, wall_ns
from openbell.runtime.config import Config
from openbell.runtime.config.model import SinkConfig
from openbell.runtime.config.sinks import opened_sink
from openbell.runtime.delivery.callbacks import CallbackSink
from openbell.runtime.delivery.courier import Courier
from openbell.runtime.delivery.positions import NAMES, status_of
from openbell.runtime.record.news import News
from openbell.runtime.record.telling import Tell
from openbell.runtime.results.signals import Signal

DRAIN_SECONDS = 10.0
"""How long, at the end of the last day, a sink may take for a delivery before it is left behind."""


STOP_SECONDS = 1.0
"""How long a delivery under way may take when its sink is to stop; then it is broken off."""


class Deliveries:
    """Delivers what becomes durable, on a thread a sink.

    Parameters
    ----------
    opened : callable
        Gives a store of the run's; each sink has one of its own, unless it lives in memory.
    news : sequence of News
        Tell that there is more in a log.
    tell : Tell
        Told of troubles.
    live_from_ns : int
        Where days that are past began late: how old a backfilled signal was goes by that.
    only : str, optional
        One sink of the configuration, without the others.
    """

    def __init__(
        self,
        config: Config,
        opened: Callable[[], Store],
        fence: int,
        news: Sequence[News],
        tell: Tell,
        *,
        live_from_ns: int,
        only: str | None = None,
    ) -> None:
        self._config = config
        self._opened = opened
        self._fence = fence
        self._shares_store = config.store.url == "memory://"
        self._news, self._tell = news, tell
        self._now_ns: Callable[[], int] = wall_ns if config.by_the_wall else lambda: live_from_ns
        self.couriers: list[Courier] = []
        try:
            for place, of in enumerate(config.sinks):
                if only in (None, of.called):
                    self._add(of, opened_sink(config, place))
            if only is None:
                self._keep_names()
        except BaseException:
            self.stop()
            raise
        self._started = False

    def add(self, config: SinkConfig, handler: Callable[[Signal], object]) -> None:
        """A function of the program's own, as a sink.

        Raises
        ------
        ConfigError
            If a sink has that name.
        """
        if config.events:
            raise ConfigError("a function is called for signals; use on_event for events")
        if config.called in (courier.name for courier in self.couriers):
            raise ConfigError(f'there is a sink "{config.called}"; give this one another name')
        courier = self._add(config, CallbackSink(handler))
        self._keep_names()
        if self._started:
            courier.start()

    def _add(self, config: SinkConfig, sink: Sink) -> Courier:
        courier = Courier(
            config,
            sink,
            self._opened(),
            self._fence,
            self._news,
            self._tell,
            age_seconds=self._age_seconds,
            max_age_seconds=self._config.sinks_max_age.seconds,
            shares_store=self._shares_store,
        )
        self.couriers.append(courier)
        courier.register()
        return courier

    def _keep_names(self) -> None:
        """For who looks on: of sinks that were taken out, positions stay."""
        store = self._opened()
        try:
            names = orjson.dumps([courier.name for courier in self.couriers])
            if (store.kept_at(NAMES) or b"[]") != names:
                store.keep(self._fence, {NAMES: names})
        finally:
            if not self._shares_store:
                store.close()

    def _age_seconds(self, known: datetime) -> float:
        """How long ago an instant was; of days that are past, when they began late."""
        return self._now_ns() / 1e9 - known.timestamp()

    def start(self) -> None:
        self._started = True
        for courier in self.couriers:
            courier.start()

    def drain(self, signals: int, given_up: Callable[[], bool]) -> list[str]:
        """Wait until the first signals of the log are delivered, or can't be for now.

        Returns
        -------
        What was not, in words.
        """
        undelivered, began = [], monotonic()
        for courier in self.couriers:
            courier.hurry()
        for courier, before in [(of, of.position) for of in self.couriers]:
            since = began
            while courier.lives and not courier.is_done(signals) and not given_up():
                now = courier.position
                if (now.cursor, now.event_cursor) != (before.cursor, before.event_cursor):
                    before, since = now, monotonic()
                if now.gave_up or monotonic() - since > DRAIN_SECONDS:
                    break
                courier.pause(0.02)
            if (left := courier.position.waits(signals)) and not given_up():
                name, many = courier.name, "s wait" if left > 1 else " waits"
                flush = way_out(f"`openbell sinks flush {name}`, or the next run,", "the next run")
                undelivered.append(
                    f"sink {name}: {left:,} signal{many}; {flush} delivers what waits"
                )
        return undelivered

    def hear_out(self, all_told: Callable[[], bool]) -> None:
        """Let events that end the run be delivered, if that takes no more than a moment.

        Parameters
        ----------
        all_told : callable
            Whether all events are where they are read from.
        """
        takers = [of for of in self.couriers if of.takes_events and of.lives]
        until = monotonic() + STOP_SECONDS
        while takers and monotonic() < until:
            if all_told() and all(courier.is_idle for courier in takers):
                return
            takers[0].pause(0.01)

    def stop(self) -> None:
        """Deliver no more; what was not delivered waits for the next run."""
        for courier in self.couriers:
            courier.end()
        until = monotonic() + STOP_SECONDS
        for courier in self.couriers:
            if courier.breakable and not courier.has_ended(max(until - monotonic(), 0.0)):
                courier.let_go()  # which breaks it off
        until = monotonic() + STOP_SECONDS
        for courier in self.couriers:
            # A program's own function is waited for.
            left = max(until - monotonic(), 0.0) if courier.breakable else None
            if not courier.has_ended(left):
                logger.warning("sink {}: is held up, and left behind", courier.name)
            courier.let_go()

    def status(self, signals: int) -> list[dict[str, Any]]:
        """How all sinks fare, of a log with so many signals."""
        return [
            {
                **status_of(courier.name, courier.position, signals),
                **({} if courier.failed is None else {"state": "stopped", "error": courier.failed}),
            }
            for courier in self.couriers
        ]
