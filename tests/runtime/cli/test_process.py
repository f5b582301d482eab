"""What a process of openbell's own sets for itself."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import gc, sys
from openbell.runtime.cli import process

process.start_up()
print(gc.isenabled())
process.go_on()
print(gc.isenabled(), gc.get_freeze_count() > 0, sys.getswitchinterval() < 0.001)
"""


def test_garbage_is_looked_for_once_the_imports_are_over() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )

    assert ended.stdout.split() == ["False", "True", "True", "True"]
