"""Of a seed that fails, the smallest part that still does."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS_MAX = 120.0
"""Of processor time; what is left out by then is left out."""


def shrunk(
    parts: Callable[[frozenset[str]], tuple[str, ...]],
    fails: Callable[[frozenset[str]], bool],
    seconds_max: float = SECONDS_MAX,
) -> frozenset[str]:
    """What can be left out, one by one, while it still fails.

    Parameters
    ----------
    parts : callable
        What there is to leave out when some is left out already.
    fails : callable
        Whether it fails without some parts.
    """
    without: frozenset[str] = frozenset()
    until = time.process_time() + seconds_max
    tried: set[frozenset[str]] = set()
    went_on = True
    while went_on:
        went_on = False
        for part in parts(without):
            smaller = without | {part}
            if part in without or smaller in tried or part not in parts(without):
                continue
            if time.process_time() > until:
                return without
            tried.add(smaller)
            if fails(smaller):
                without, went_on = smaller, True
    return without
