"""Looks after a run while it is on: tells the service manager, answers HTTP, ends what is stuck."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any, Self

import orjson
from loguru import logger

from openbell.adapters.systemd import Notifier
from openbell.adapters.web.asking import Unanswered, asked
from openbell.adapters.web.server import Answer, Server
from openbell.errors import ConfigError, InputError, OpenbellError
from openbell.hosttime import Monotonic, monotonic
from openbell.runtime.config import Config
from openbell.runtime.lifetime.observed import Observed
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.service.health import STUCK_SECONDS, Health, Watch
from openbell.runtime.service.metrics import KIND, Metrics
from openbell.runtime.service.rereading import Take, changes

TICK_SECONDS = 0.25
"""How often the run is looked at."""

LEAVE_SECONDS = 4.0
"""How long a run that was told to end may take; what it was about then, a restart does again."""

SAID_SECONDS = 10.0
"""How often the manager is told of steps, where nothing else has changed."""

DEADMAN_SECONDS = 10.0
"""How long the dead-man's URL may take to answer."""


class Supervised:
    """A run, as a process that others look after; a context manager.

    Parameters
    ----------
    read_again : callable
        The configuration as it is written by now.
    say : callable
        Says something to who started the process.
    unready_code : int
        The exit code where the run was not ready for too long.
    takes : iterable
        Who takes a change of which keys while the run is on, by the beginning of their names.

    Entering it raises RunError if `web.port` can't be listened on.
    """

    def __init__(
        self,
        config: Config,
        read_again: Callable[[], Config],
        say: Callable[[str], None],
        *,
        takes: Iterable[tuple[str, Take]] = (),
        unready_code: int = 1,
    ) -> None:
        self.config = config
        self.observed = Observed()
        self.leaves: int | None = None
        """The code with which a run that was told to end has to be out soon; None: it may take its
        time."""
        self._unready_code = unready_code
        self.ended_unready: str | None = None
        """Why the run was ended, if it was not ready for too long."""
        self._read_again, self._say = read_again, say
        self._takes = (
            ("web.token", _nothing),
            ("supervision.", self._limit),
            ("sinks", self._deliver),
            *takes,
        )
        self._notify = Notifier()
        watchdog = self._notify.watchdog_seconds
        self._tick = TICK_SECONDS if watchdog is None else min(TICK_SECONDS, watchdog / 4)
        # Who restarts what is stuck must not be told for longer that it is not.
        stuck = STUCK_SECONDS if watchdog is None else min(STUCK_SECONDS, watchdog)
        self._watch = Watch(self.observed, stuck)
        self.health: Health = self._watch.look()
        """As it was when last looked."""
        self._looked_at = monotonic()
        self._shown_at: Monotonic | None = None
        self._watched_at = monotonic()
        self._said, self._said_at = "", monotonic()
        self._ready_said = False
        self._unready_since: Monotonic | None = None
        self._stopping_since: Monotonic | None = None
        self._reread_asked = False
        self._ended = threading.Event()
        self._server: Server | None = None
        self._threads = [
            threading.Thread(target=of, name=name, daemon=True)
            for name, of in (("openbell-watch", self._look_on), ("openbell-deadman", self._live))
        ]

    def __enter__(self) -> Self:
        web = self.config.web
        if web.enabled:
            self._server = Server(
                web.host, web.port, lambda: self.config.web.token, self._answers()
            )
            logger.info("web: listens on {}:{}", web.host, self._server.port)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.observed.stopping = True
        self._ended.set()
        self._notify.tell("STOPPING=1", "STATUS=ends")
        if self._server is not None:
            self._server.close()
        for thread in self._threads:
            thread.join(timeout=1)

    def stands_by(self, holder: str) -> None:
        """The lease is another's; to be called again and again while it is waited for."""
        self.observed.beat()
        self._watch.standby_for = holder

    def runs(self, run: DurableRun) -> None:
        """The run has the lease."""
        self._watch.run = run

    def reread(self) -> None:
        """Have the configuration read again; a signal handler may call this."""
        self._reread_asked = True

    def _look_on(self) -> None:
        while not self._ended.wait(self._tick):
            try:
                self._look()
            except Exception:  # noqa: BLE001 who looks on must not end for what it saw
                logger.exception("the run could not be looked at")

    def _look(self) -> None:
        self.health = health = self._watch.look()
        self.observed.not_ready = health.reasons
        self._looked_at = monotonic()
        if self._reread_asked:
            self._reread_asked = False
            self._reread()
        self._tell(health)
        self._end_what_does_not_end(health)
        self._end_what_is_not_ready(health)

    def _tell(self, health: Health) -> None:
        now, states = monotonic(), []
        begun = health.phase in ("standby", "running", "error") and health.alive
        if begun and not self._ready_said:
            self._ready_said = True
            states.append("READY=1")
        shown = self._watch.alive_at
        waits = health.phase == "going on" or "the store does not answer" in health.reasons
        watchdog = self._notify.watchdog_seconds
        gets_on = health.alive and (waits or shown != self._shown_at)
        if watchdog is not None and gets_on and now - self._watched_at >= watchdog / 5:
            self._shown_at, self._watched_at = shown, now
            states.append("WATCHDOG=1")
        words = health.words()
        without_step = health.phase, health.day, health.day_state, health.reasons
        if str(without_step) != self._said or (now - self._said_at > SAID_SECONDS):
            self._said, self._said_at = str(without_step), now
            states.append(f"STATUS={words}")
        if states:
            self._notify.tell(*states)

    def _end_what_does_not_end(self, health: Health) -> None:
        """Leave all the same, if a run that was told to end can't."""
        if health.phase != "stopping":
            return
        now = monotonic()
        if self._stopping_since is None:
            self._stopping_since = now
            self._notify.tell("STOPPING=1", "STATUS=ends after the step under way")
        if now - self._stopping_since > LEAVE_SECONDS and self.leaves is not None:
            self._say(f"left after {LEAVE_SECONDS:g} s: a restart does again what was not durable")
            os._exit(self.leaves)

    def _end_what_is_not_ready(self, health: Health) -> None:
        limit = self.config.supervision.unready_exit
        now = monotonic()
        if health.ready or health.phase in ("standby", "stopping"):
            self._unready_since = None
            return
        if self._unready_since is None:
            self._unready_since = now
        if limit is None or now - self._unready_since <= limit.seconds or self.ended_unready:
            return
        self.ended_unready = (
            f"not ready for {limit}, which is supervision.unready_exit: "
            + "; ".join(health.reasons)
        )
        self.leaves = self._unready_code
        run = self._watch.run
        if run is not None:
            run.stop()
        else:
            self._say(self.ended_unready)
            os._exit(self._unready_code)

    def _live(self) -> None:
        """Ask for the dead-man's URL, as long as the run is ready."""
        failed = False
        asked_at: Monotonic | None = None
        while not self._ended.wait(TICK_SECONDS):
            deadman, now = self.config.supervision.deadman, monotonic()
            due = asked_at is None or now - asked_at >= deadman.every.seconds
            if deadman.url is None or not due or not (self.health.ready and self.health.alive):
                continue
            asked_at = now
            try:
                answered = asked(deadman.url, seconds=DEADMAN_SECONDS)
                why = None if answered.status < 400 else f"status {answered.status}"
            except Unanswered as error:
                why = str(error)
            if why is not None and not failed:
                logger.warning("supervision.deadman.url is not answered: {}", why)
            elif why is None and failed:
                logger.info("supervision.deadman.url is answered again")
            failed = why is not None

    def _reread(self) -> None:
        self._notify.tell("RELOADING=1", f"MONOTONIC_USEC={int(monotonic() * 1e6)}")
        try:
            again = self._read_again()
        except (ConfigError, InputError) as error:
            self._say(f"SIGHUP: nothing is changed: {error}")
        else:
            self.config, said = changes(self.config, again, self._takes)
            for line in said:
                self._say(f"SIGHUP: {line}")
        self._notify.tell("READY=1")

    def _limit(self, config: Config) -> None:
        if self._watch.run is not None:
            self._watch.run.limit(config.supervision)

    def _deliver(self, config: Config) -> str | None:
        if (run := self._watch.run) is None:
            return "the run has not begun"
        try:
            run.deliver_to(config)
        except OpenbellError as error:
            return str(error)
        return None

    def _answers(self) -> dict[str, Callable[[], Answer]]:
        try:
            metrics = Metrics(
                self.config.name,
                self.observed,
                lambda: self.health,
                lambda: self._watch.run,
            )
        except InputError as error:
            missing = f"{error}"
            self._say(missing)
            answer = Answer(501, "text/plain", f"{missing}\n")
            told: Callable[[], Answer] = lambda: answer
        else:

            def told() -> Answer:
                return Answer(200, KIND, metrics.text())

        return {
            "/healthz": lambda: self._told(self.health.alive),
            "/readyz": lambda: self._told(self.health.ready),
            "/metrics": told,
        }

    def _told(self, well: bool) -> Answer:
        # Who looks may be stuck as well, and then nobody knows how it is.
        known = monotonic() - self._looked_at < STUCK_SECONDS
        document: dict[str, Any] = self.health.document()
        if not known:
            document |= {"alive": False, "ready": False, "reasons": ["nobody looks at the run"]}
        text = orjson.dumps(document).decode()
        return Answer(200 if well and known else 503, "application/json", f"{text}\n")


def _nothing(config: Config) -> None:
    """It is looked up where it is used."""
