"""Seeds of what tests draw by themselves: the same in every `make test`, others in `make soak`."""

from __future__ import annotations

import os
import random


def due_seed(variable: str) -> int:
    """One that this variable of the environment names, to repeat a failure, or the one that is due."""
    if given := os.environ.get(variable):
        return int(given)
    if os.environ.get("HYPOTHESIS_PROFILE") == "soak":
        return random.SystemRandom().randrange(10**6)
    return 1
