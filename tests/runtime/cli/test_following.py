"""A log that is followed ends between two lines, and says how far it was read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import count

import pytest

from openbell.runtime.cli.exits import Interrupted
from openbell.runtime.cli.following import Lines, print_log


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_inside_a_line_lets_it_be_finished(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGTERM)

    def line(cursor: str, entry: int) -> str:
        if entry == 3:
            os.kill(os.getpid(), number)
        return f"{cursor} {entry}"

    def read(after: str | None) -> Iterator[tuple[str, int]]:
        for entry in count(int(after or 0) + 1):
            yield str(entry), entry

    def follow() -> None:
        print_log("numbers", lambda: Lines("header", line), read, None, follow=True)

    if number == signal.SIGINT:
        with pytest.raises(Interrupted, match="interrupted: read up to 3; --after 3 goes on"):
            follow()
    else:
        follow()

    said = capsys.readouterr()
    assert said.out.splitlines() == ["header", "1 1", "2 2", "3 3"]
    assert ("stopped: read up to 3; --after 3 goes on" in said.err) == (number == signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
