"""What a run tells who looks after its process, beside what it does anyway."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from openbell.hosttime import Monotonic, monotonic
from openbell.runtime.kernel.metrics import Buckets

if TYPE_CHECKING:
    from openbell.runtime.engine import Engine


@dataclass(slots=True)
class Observed:
    """Written by the run, read from other threads; each field on its own is right."""

    step_times: Buckets = field(default_factory=Buckets)
    """How long actors worked on steps."""
    commit_times: Buckets = field(default_factory=Buckets)
    """How long the store took for commits, until it answered."""
    signals: int = 0
    """Signals that this process has made durable."""
    logged: int = 0
    """Signals in the log."""
    restarts: int = 0
    """How often an actor raised, so that all of them began again or the day went into ERROR."""
    in_error: str | None = None
    """Why the run waits in ERROR, while it does."""
    not_ready: tuple[str, ...] | None = None
    """Why a breakout would not be reported, as who looks after the process saw last; None: nobody
    looks."""
    stopping: bool = False
    engine: Engine | None = None
    """What runs, once its actors were told to begin."""
    beat_at: Monotonic = field(default_factory=monotonic)
    """When the thread of the run last waited, or looked, for something on purpose."""

    def beat(self) -> None:
        """The thread of the run waits on purpose: it is not stuck."""
        self.beat_at = monotonic()
