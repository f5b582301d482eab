"""How a run's market time goes, and what follows from that: the one place that says what is live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

GATHER_SECONDS = 0.1
"""How long steps are gathered into one commit where they follow each other at once."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Whether somebody waits for each step as it comes, and how wall time drives market time."""

    live: bool = False
    """Rows come, or are let in, as time goes on: a day may open without its rows, each step is
    committed at once, and a day in ERROR is waited for."""
    speed: float = 0.0
    """Market time a wall time inside trading hours; 0: wall time does not drive it."""
    wall: bool = False
    """Whether the host's clock crosses boundaries, rings alarms and rolls days."""

    @property
    def scaled(self) -> bool:
        """Whether wall time decides when a boundary is crossed: a bar's end is one then."""
        return self.speed > 0

    @property
    def dispatcher(self) -> Literal["inline", "threads"]:
        """All actors on one thread, but where stored rows are let in as time goes on, one each."""
        return "threads" if self.scaled else "inline"

    def gather_seconds(self, snapshot_every: float) -> float:
        """How long steps are gathered into one commit; 0: each is committed at once."""
        return 0.0 if self.live else min(GATHER_SECONDS, snapshot_every)


AT_ONCE = Pace()


def replay_at(speed: float) -> Pace:
    """Of stored rows: at a speed they are let in as time goes on, without one as fast as it goes."""
    return Pace(live=speed > 0, speed=speed)
