"""How the process is: whether it lives, and whether it is ready to report a breakout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from openbell.actors import clock, day
from openbell.hosttime import Monotonic, monotonic
from openbell.runtime.engine import Engine
from openbell.runtime.lifetime.observed import Observed
from openbell.runtime.lifetime.run import DurableRun
from openbell.runtime.record.writing import market_time

STUCK_SECONDS = 20.0
"""Actors that have not answered for so long are stuck."""

GOING_ON_SECONDS = 300.0
"""How long a run may take to come to where it was, or to find what it is to run."""

Phase = Literal["starting", "standby", "going on", "running", "error", "stopping"]


@dataclass(frozen=True, slots=True)
class Health:
    """How the process is at an instant."""

    phase: Phase
    alive: bool
    reasons: tuple[str, ...]
    """Why it is not ready; none: it is."""
    day: str | None = None
    day_state: str | None = None
    step: int = 0
    market_time: str | None = None
    lease_seconds: float | None = None
    """Since the store last had a heartbeat; None: the lease is not held."""
    feed_seconds: float | None = None
    """Since rows last came; None: none came, or there is no feed."""

    @property
    def ready(self) -> bool:
        return not self.reasons

    def document(self) -> dict[str, Any]:
        """As `/readyz` has it."""
        return {
            "ready": self.ready,
            "alive": self.alive,
            "phase": self.phase,
            "reasons": list(self.reasons),
            "trading_date": self.day,
            "state": self.day_state,
            "market_time": self.market_time,
            "step": self.step,
            "heartbeat_seconds": _rounded(self.lease_seconds),
            "feed_seconds": _rounded(self.feed_seconds),
        }

    def words(self) -> str:
        """On one line."""
        where = [of for of in (self.day, self.day_state) if of]
        if self.phase != "running":
            where.insert(0, self.phase)
        return ", ".join([*where, f"step {self.step:,}", *self.reasons])


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


class Pulse:
    """Whether the threads that run actors get on: they are asked between two messages, and answer.

    Steps that follow each other show it too, where nobody comes to answer.
    """

    def __init__(self) -> None:
        self.at = monotonic()
        """When they last got on."""
        self._engine: Engine | None = None
        self._step = -1
        self._answers: list[None] = []
        self._awaited = 0

    def look(self, engine: Engine | None) -> None:
        """Take in what they answered, and ask anew."""
        anew, self._engine = engine is not self._engine, engine
        if engine is None:
            return
        answered = len(self._answers) >= self._awaited
        step = engine.reached()[1]
        if anew or ((answered or step != self._step) and _time_goes_on(engine)):
            self.at = monotonic()
        self._step = step
        if anew or answered:
            self._answers = answers = list[None]()
            self._awaited = engine.dispatcher.ask(None, lambda: answers.append(None))


def _time_goes_on(engine: Engine) -> bool:
    return engine.timekeeper is None or engine.timekeeper.lives()


class Watch:
    """Looks at a run from outside."""

    def __init__(self, observed: Observed, stuck_seconds: float = STUCK_SECONDS) -> None:
        self.observed = observed
        self.run: DurableRun | None = None
        """Once it has the lease."""
        self.standby_for: str | None = None
        """Who has the lease that is waited for."""
        self.pulse = Pulse()
        self._stuck = stuck_seconds
        self._going_on_since = monotonic()

    @property
    def alive_at(self) -> Monotonic:
        """When the run last showed that it gets on."""
        return max(self.pulse.at, self.observed.beat_at)

    def look(self) -> Health:
        """How the process is; to be called now and then, from one thread."""
        run, observed, now = self.run, self.observed, monotonic()
        self.pulse.look(None if observed.in_error is not None else observed.engine)
        phase = self._phase()
        if phase in ("starting", "going on"):
            alive = now - max(self._going_on_since, self.alive_at) < GOING_ON_SECONDS
        else:
            self._going_on_since = now
            alive = now - self.alive_at < self._stuck or _waits_for_store(run)
        if run is None:
            reason = "it has not begun"
            if self.standby_for is not None:
                reason = f"standby for {self.standby_for}"
            return Health(phase, alive, (reason,))
        of_clock: clock.State = run.engine.cells[clock.NAME].state
        of_day: day.State = run.engine.cells[day.NAME].state
        feed = run.feed
        heard = None if feed is None else feed.account.heard_at
        lease_seconds = now - Monotonic(run.heartbeat.beat_at)
        reasons = [*self._reasons(run, phase, of_day, alive)]
        if lease_seconds > run.config.lease.ttl.seconds:
            reasons.append(f"the lease was renewed {lease_seconds:.1f} s ago")
        state = of_day.state if of_day.position >= 0 else None
        return Health(
            phase,
            alive,
            tuple(reasons),
            day=str(of_clock.day.date) if of_clock.day else None,
            day_state="ERROR" if phase == "error" else state,
            step=of_clock.step,
            market_time=market_time(of_clock.now_ns) if of_clock.now_ns else None,
            lease_seconds=lease_seconds,
            feed_seconds=None if heard is None else now - heard,
        )

    def _phase(self) -> Phase:
        if self.observed.stopping:
            return "stopping"
        if self.run is None:
            return "standby" if self.standby_for is not None else "starting"
        if self.observed.in_error is not None:
            return "error"
        engine = self.observed.engine
        if engine is None or engine is not self.run.engine:
            return "going on"
        of_clock: clock.State = engine.cells[clock.NAME].state
        return "running" if of_clock.begun and not of_clock.again else "going on"

    def _reasons(self, run: DurableRun, phase: Phase, of_day: day.State, alive: bool) -> list[str]:
        reasons: list[str] = []
        if phase == "error":
            reasons.append(f"the day is in ERROR: {self.observed.in_error}")
        elif phase == "stopping":
            reasons.append("it was told to end")
        elif phase == "going on":
            reasons.append("it has not come to where it was")
        elif not alive:
            reasons.append(f"its actors have not answered for {self._stuck:g} s")
        if _waits_for_store(run):
            reasons.append("the store does not answer")
        if phase == "running" and of_day.position >= 0 and of_day.state in ("TIMEOUT", "ERROR"):
            why = (
                "nothing comes from the feed"
                if of_day.state == "TIMEOUT"
                else "its rows can't be had"
            )
            reasons.append(f"the day is in {of_day.state}: {why}")
        of_clock: clock.State = run.engine.cells[clock.NAME].state
        if phase == "running" and of_clock.tokens:
            reasons.append(f"the clock is held by {', '.join(sorted(of_clock.tokens))}")
        if run.feed is not None and run.feed.away:
            why = run.feed.connection.why
            reasons.append(f"the feed can't be reached{f': {why}' if why else ''}")
        elif phase == "running" and run.feed is not None and run.feed.behind:
            reasons.append("the feed still brings what came before")
        return reasons


def _waits_for_store(run: DurableRun | None) -> bool:
    if run is None:
        return False
    ledger = run.engine.ledger
    return run.talking.away or (ledger is not None and ledger.talking.away)
