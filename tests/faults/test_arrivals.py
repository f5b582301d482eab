"""Runs that a feed brings rows to, under drawn faults, and bugs planted in them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from faults import arrivals

FEW = (0, 5, 11, 25, 35, 50, 66, 83)
"""Seeds of scenarios that are each of another kind."""
MANY = 200


def names_noted() -> set[str]:
    """Names that stand in calls of `sometimes` as they are."""
    tree = ast.parse(Path(arrivals.__file__).read_text())
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) == 2)
    return {
        str(call.args[1].value)
        for call in calls
        if getattr(call.func, "attr", "") == "sometimes" and isinstance(call.args[1], ast.Constant)
    }


@pytest.mark.parametrize("seed", FEW)
def test_rows_that_come_under_faults_are_answered_as_the_reference_does(seed: int) -> None:
    arrivals.simulate(seed)


@pytest.mark.slow
def test_many_seeds_are_answered_as_the_reference_does_and_come_to_everything() -> None:
    reached: set[str] = set()

    for seed in range(MANY):
        reached |= arrivals.simulate(seed).reached

    assert len(names_noted()) >= 12
    assert names_noted() <= reached
