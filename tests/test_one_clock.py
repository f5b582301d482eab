"""Wall time and chance enter the program in one place each, or for a reason that is written here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("actors", "adapters", "market", "messages", "runtime", "openbell/testing")

CLOCKS = {
    "time.time",
    "time.time_ns",
    "time.clock_gettime",
    "time.clock_gettime_ns",
    "time.localtime",
    "time.gmtime",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "datetime.datetime.now",
    "datetime.date.today",
    "pd.Timestamp.now",
}
CHANCE = {"random", "secrets", "uuid"}

REASONS = {
    "openbell/hosttime.py": "the one place that asks what time it is",
    "runtime/kernel/dispatchers.py": "draws the order of messages from a seed, in tests",
    "adapters/stores/redis.py": "a token by which a lock is known, which no result depends on",
    "adapters/stores/sqlite/file.py": "a name for a file that is moved into place",
    "adapters/stores/sqlite/store.py": "a lease's token, and the time of its heartbeat for who looks on",
    "adapters/sample.py": "draws a market from a seed",
}
"""Files that ask themselves, and why they may."""


def asked(source: str) -> Iterator[str]:
    """Clocks and sources of chance that a file asks, by their names."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case ast.Attribute() if (name := ast.unparse(node)) in CLOCKS:
                yield name
            case ast.Attribute() if ast.unparse(node) in ("os.urandom", "np.random"):
                yield ast.unparse(node)
            case ast.Import(names=names):
                yield from (of.name for of in names if of.name.split(".")[0] in CHANCE)
            case ast.ImportFrom(module=str(module), names=names):
                if module.split(".")[0] in CHANCE:
                    yield module
                if module == "time":
                    yield from (f"time.{of.name}" for of in names if f"time.{of.name}" in CLOCKS)


def files() -> Iterator[Path]:
    yield from (ROOT / "openbell").glob("*.py")
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


def test_nothing_else_asks_a_clock_or_chance() -> None:
    found = {
        str(path.relative_to(ROOT)): names
        for path in sorted(files())
        if (names := set(asked(path.read_text())))
    }

    assert found.keys() == REASONS.keys(), found


@pytest.mark.parametrize(
    "source",
    [
        "import time\nstamp = time.time()",
        "from time import time_ns",
        "from datetime import datetime\nnow = datetime.now",
        "import uuid",
        "from random import choice",
        "import numpy as np\nnp.random.default_rng()",
    ],
)
def test_a_new_one_would_be_found(source: str) -> None:
    assert list(asked(source))
