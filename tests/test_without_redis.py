"""The tests of who has not installed the extra `redis`."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parent


def imports_at_the_top(file: Path) -> set[str]:
    """What is imported as soon as a test file is collected."""
    found: set[str] = set()
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            found.add((statement.module or "").partition(".")[0])
    return found


def test_all_tests_can_be_collected_and_say_themselves_what_they_lack() -> None:
    files = sorted(TESTS.rglob("*.py"))

    assert len(files) > 100
    assert [str(file) for file in files if "redis" in imports_at_the_top(file)] == []
