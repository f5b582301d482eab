"""What the progress bar says, and when."""

from __future__ import annotations

from datetime import date
from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn

from openbell.adapters.stores import LeaseHeld
from openbell.runtime.cli.bar import Advance
from openbell.runtime.cli.run import _standby


def test_a_standby_says_whom_it_waits_for_until_there_are_days(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shown = Progress(
        TextColumn("{task.description}"), console=Console(file=StringIO()), auto_refresh=False
    )
    on_day = Advance(shown)
    said = StringIO()
    monkeypatch.setattr("sys.stderr", said)
    holders: list[str] = []
    wait = _standby(on_day, holders.append)

    for _ in range(2):
        wait(LeaseHeld("process 7 on elsewhere", "redis://here: process 7 holds the lease"))

    (task,) = shown.tasks
    assert task.description == "standby for process 7 on elsewhere"
    assert holders == ["process 7 on elsewhere"] * 2
    assert said.getvalue().splitlines() == [
        "openbell: waiting: redis://here: process 7 holds the lease"
    ]
    on_day(None, 0, 3, 0)
    assert task.description == ""
    on_day(date(2024, 1, 2), 1, 3, 10)
    assert task.description == "2024-01-02"
