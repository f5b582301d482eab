"""How long the parts of a run take, by the wall clock; no result depends on it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from openbell.actors.effects import Await, Commit, Effect


@dataclass(slots=True)
class Spread:
    """Durations of one kind, of which there may be any number."""

    count: int = 0
    total: float = 0.0
    """Seconds."""
    most: float = 0.0

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Self:
        found = cls()
        for each in seconds:
            found.add(each)
        return found

    def add(self, seconds: float) -> None:
        self.most = max(self.most, seconds) if self.count else seconds
        self.count += 1
        self.total += seconds

    def summary(self) -> dict[str, Any]:
        """Count, total, mean and maximum in seconds, to the microsecond."""
        if not self.count:
            return {"count": 0, "total": 0.0, "mean": None, "max": None}
        return {
            "count": self.count,
            "total": round(self.total, 6),
            "mean": round(self.total / self.count, 6),
            "max": round(self.most, 6),
        }


@dataclass(slots=True)
class Buckets:
    """Durations of one kind, counted by how long they were; written by one thread at a time."""

    bounds: tuple[float, ...] = (
        *(0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
    )
    """Seconds, ascending; each belongs to its own bucket."""
    counts: list[int] = field(default_factory=list)
    """One more than there are bounds: the last is of what took longer."""
    total: float = 0.0
    """Seconds."""

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds


class Metrics:
    """Follows a run by what the actors ask for, on whatever thread they ask.

    `prefetch`: waiting for a day's rows; `activation`: from the rows to the open day; `session`:
    from the open day to its close; `end_of_day`: taking the closed day in, sinks included; `gap`:
    from a day's end to the next day's being open; `history`: reading trailing days.
    """

    KINDS = ("history", "prefetch", "activation", "session", "end_of_day", "gap")

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._spreads = {kind: Spread() for kind in self.KINDS}
        self._marks: dict[str, float] = {}

    def before(self, effect: Effect) -> None:
        """An effect is about to be carried out."""
        match effect:
            case Await():
                self._marks["prefetch"] = self._now()
            case Commit(closed=closed) if closed is not None:
                self._end("session")
                self._marks["end_of_day"] = self._now()

    def loaded(self) -> None:
        """A day's rows are there."""
        self._end("prefetch")
        self._marks["activation"] = self._now()

    def after(self, effect: Effect) -> None:
        """An effect was carried out."""
        if not isinstance(effect, Commit):
            return
        if effect.opened is not None and not effect.opened.again:
            self._end("activation")
            self._end("gap")
            self._marks["session"] = self._now()
        if effect.closed is not None:
            self._end("end_of_day")
            self._marks["gap"] = self._now()

    def add(self, kind: str, seconds: float) -> None:
        self._spreads[kind].add(seconds)

    def _end(self, kind: str) -> None:
        began = self._marks.pop(kind, None)
        if began is not None:
            self.add(kind, self._now() - began)

    def summary(
        self,
        actors: Mapping[str, float],
        steps: int,
        drift: Spread,
        outages: Sequence[float] = (),
        events: Mapping[str, int] = {},
    ) -> dict[str, Any]:
        """All durations, the time each actor took a step, how late paced steps were, how long the
        store was away, and how many events there were.

        Parameters
        ----------
        actors : mapping
            Seconds that each actor was busy.
        drift : Spread
            By how much wakes of the pacer came late.
        outages : sequence of float
            Seconds of each time that the store did not answer.
        events : mapping
            How many there were of each kind.
        """
        return {
            "phases": {kind: spread.summary() for kind, spread in self._spreads.items()},
            "steps": steps,
            "step_seconds_per_actor": {
                name: round(busy / steps, 9) if steps else None for name, busy in actors.items()
            },
            "drift": drift.summary(),
            "outages": Spread.of(outages).summary(),
            "events": dict(sorted(events.items())),
        }
