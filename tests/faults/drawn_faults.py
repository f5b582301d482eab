"""Which faults are on, and how often each happens: drawn from a seed, each for itself."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Faults:
    """How often what happens; a number is a share of the messages, calls or reads it is about."""

    kill: float = 0.0
    """The process ends before a message."""
    kill_in_store: float = 0.0
    """The process ends in a call of the store, before or after it was executed."""
    kill_in_source: float = 0.0
    unanswered: float = 0.0
    """A commit is not answered, executed or not."""
    unavailable: float = 0.0
    """Any other call of the store is not answered, executed or not."""
    slow: float = 0.0
    """Settled steps wait before a message: they gather."""
    rival: float = 0.0
    """Another process takes over, and this one comes back later."""
    disk_full: float = 0.0
    """The disk has no page left for a commit, or for an entry of the audit trail."""
    stale: float = 0.0
    """What a process reads as it starts is an older copy: it asked a replica that lags."""
    heartbeat: float = 0.0
    """The process looks whether the lease is still its own."""
    corrupt: float = 0.0
    """The newest snapshot is corrupt when the process has ended."""
    short_write: float = 0.0
    """The last state written is cut short, as by a power cut, when the process has ended."""
    source: float = 0.0
    """A read fails, three times in a row at most."""
    actor: float = 0.0
    """An actor raises on a message, which goes well the next time."""
    pause: float = 0.0
    """Somebody pauses, or resumes."""
    step: float = 0.0
    """Somebody has one step granted."""
    other_config: float = 0.0
    """Between two processes somebody starts one with another configuration."""
    second: float = 0.0
    """Somebody starts a second process while this one holds the lease."""
    late: float = 0.0
    """A day's rows come after the time-out."""
    source_down: float = 0.0
    """A read fails until the day is given up; an operator recovers it."""
    kill_in_scan: float = 0.0
    """The process ends while a scan runs."""
    slow_insert: float = 0.0
    """What symbols need that come into the day takes a while to load."""
    late_insert: float = 0.0
    """It takes longer than its deadline, where there is one."""
    late_scan: float = 0.0
    """A scan answers after its deadline, where there is one."""

    @property
    def at_the_door(self) -> bool:
        """Whether other things enter: the answer then is the step log's own."""
        return bool(self.late or self.source_down)


RATES = {
    "kill": (0.0005, 0.003, 0.02),
    "kill_in_store": (0.005, 0.03, 0.1),
    "kill_in_source": (0.05,),
    "unanswered": (0.02, 0.2, 0.5),
    "unavailable": (0.01, 0.1),
    "slow": (0.9, 0.99, 1.0),
    "rival": (0.0005, 0.003),
    "disk_full": (0.02, 0.1),
    "stale": (0.3, 0.8),
    "heartbeat": (0.01,),
    "corrupt": (0.3,),
    "short_write": (0.3,),
    "source": (0.1, 0.5),
    "actor": (0.002, 0.01),
    "pause": (0.003, 0.03),
    "step": (0.003, 0.03),
    "other_config": (0.3,),
    "second": (0.002,),
    "late": (0.5, 1.0),
    "source_down": (0.1,),
    "kill_in_scan": (0.1, 0.5),
    "slow_insert": (0.5, 1.0),
    "late_insert": (0.1, 0.3),
    "late_scan": (0.1, 0.3),
}
OF_THE_STORE = ("kill_in_store", "unanswered", "unavailable", "disk_full", "stale")
"""What goes wrong in a call of the store."""
RARE = {"late": 0.3, "source_down": 0.1}


OWN = frozenset({"kill_in_scan", "slow_insert", "late_insert", "late_scan"})
"""Faults with a random stream of their own, as any further one: the others stay as they were."""


def drawn_faults(rng: random.Random, seed: int) -> Faults:
    chosen = {}
    for name in (field.name for field in fields(Faults)):
        of = random.Random(f"seed {seed}, fault {name}") if name in OWN else rng
        on = of.random() < RARE.get(name, 0.4)
        rate = of.choice(RATES[name])
        if on:
            chosen[name] = rate
    return Faults(**chosen)


CALM = Faults()
