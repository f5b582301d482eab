"""A run whose state is in memory."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from functools import partial
from typing import Any, Literal

from openbell.actors.effects import Commit
from openbell.adapters.sources import Source, open_source
from openbell.errors import ConfigError
from openbell.hosttime import HostClock
from openbell.market.indicators import Indicator
from openbell.market.scans import ScanFunction
from openbell.messages.time import Grant
from openbell.runtime.config import Config
from openbell.runtime.config.effects import accept
from openbell.runtime.config.pace import replay_at
from openbell.runtime.engine import Engine
from openbell.runtime.intake.asking import RUN_OVER, SymbolDesk
from openbell.runtime.intake.feeding import fed
from openbell.runtime.intake.filling import Filler
from openbell.runtime.intake.handover import HandOver
from openbell.runtime.intake.hours import day_after
from openbell.runtime.intake.planning import plan
from openbell.runtime.intake.settings import data_options
from openbell.runtime.record.telling import Telling
from openbell.runtime.results.events import MemoryEvents
from openbell.runtime.results.recording import Recorder


class InMemoryRun:
    """A run that leaves nothing behind."""

    def __init__(
        self,
        config: Config,
        data: Any,
        recorder: Recorder,
        *,
        start: date | datetime | None,
        end: date | None,
        speed: float,
        dispatcher: Literal["inline", "threads"],
        indicators: Mapping[str, Indicator] | None,
        days_at_once: bool,
        pushed: bool,
        scanners: Mapping[str, ScanFunction] | None = None,
    ) -> None:
        accept(config, "run" if pushed else "backtest", data=data, keeps_state=False)
        if pushed and config.feed.record is not None:
            raise ConfigError(
                "feed.record is set, and what is recorded is taken from the store: let the run keep "
                "its state (durable=True), or leave it out"
            )
        where = config.data.path if data is None else data
        self.recorder = recorder
        self.telling = Telling()
        self.events = MemoryEvents(self.telling, keep=recorder.log.keep)
        pace = config.pace() if pushed else replay_at(speed)
        host = HostClock()
        self.feed: HandOver | None = None
        self.source: Source
        filler: Filler | None = None
        if pushed:
            live = fed(
                config,
                host=host,
                indicators=indicators,
                scanners=scanners,
                tell=self.telling.tell,
            )
            self.source, self.plan, self.feed = live.source, live.plan, live.feed
            filler = live.filler
        else:
            self.source = open_source(where, data_options(config))
            try:
                self.plan = plan(
                    config,
                    self.source,
                    start,
                    end,
                    paced=pace.scaled,
                    days_at_once=days_at_once,
                    indicators=indicators,
                    scanners=scanners,
                )
            except BaseException:
                self.source.close()
                raise
        self.engine = Engine(
            self.plan,
            self.source,
            recorder,
            dispatcher=dispatcher,
            pace=pace,
            load_timeout=config.prefetch.timeout_seconds.seconds,
            feed=self.feed,
            filler=filler,
            host=host,
            check_seconds=config.day.boundary_check_interval.seconds,
            exits_in_silence=config.feed.silent == "exit",
            day_after=partial(day_after, config),
            jumped=self.telling.jumped,
            telling=self.telling,
            settled=self._settled,
        )
        self.stop, self.step = self.engine.stop, self.engine.step
        self.symbols = SymbolDesk()
        self._ran = False

    def run(self) -> None:
        self._ran = True
        self.symbols.hear(self.engine.tell_clock)
        try:
            with self.telling.until_end(lambda: self.engine.stopped):
                self.engine.run()
        finally:
            self.symbols.end(RUN_OVER)

    def _settled(self, commit: Commit, grant: Grant) -> None:
        self.events.settled(commit, grant)
        self.symbols.saw(commit)

    def pause(self, token: str) -> None:
        self.telling.paused(None, token)
        self.engine.pause(token)

    def resume(self, token: str) -> None:
        self.telling.paused(token, None)
        self.engine.resume(token)

    def liveliness(self) -> dict[str, Any]:
        return {}

    def let_go(self) -> None:
        if not self._ran:
            self.engine.close()
        self.source.close()
