"""docs/guarantees.md: each promise names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs/guarantees.md"
ROW = re.compile(
    r"^\| (?!promise|---)(?P<promise>[^|]+) \|.*\| (?P<held_by>[^|]+) \|$", re.MULTILINE
)
ROWS = [(m["promise"], m["held_by"]) for m in ROW.finditer(DOCUMENT.read_text())]
NAMED = re.compile(r"`(?P<file>tests/[\w/]+\.py)::(?P<test>test_\w+)`")


def test_there_are_promises() -> None:
    assert len(ROWS) > 15


@pytest.mark.parametrize(("promise", "held_by"), ROWS)
def test_each_promise_is_held_by_tests_that_exist(promise: str, held_by: str) -> None:
    named = [match.groups() for match in NAMED.finditer(held_by)]

    assert named, promise
    assert not NAMED.sub("", held_by).strip(", "), "only tests stand in the last column"
    for file, test in named:
        tree = ast.parse((ROOT / file).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        # A state machine of hypothesis is a test by its name alone.
        named_so = {
            target.id
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        assert test in functions | named_so
