"""The command line: `openbell`, and `python -m openbell`."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)


def main() -> None:
    """Run the command line.

    Until its modules are there, which takes a moment, a signal finds nothing to keep: SIGTERM ends
    `run`, `record` and who follows a log with 0, as it does later, and other commands as Ctrl-C does,
    with 130; SIGHUP finds nothing to read again. Who starts it with these signals blocked (`env --block-signal`) loses none that
    comes before Python gets here.
    """
    for number in _ENDING:
        signal.signal(number, _leave)
    if sys.platform != "win32":
        if sys.argv[1:2] == ["run"] and not (sys.stdin is not None and sys.stdin.isatty()):
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_ENDING, signal.SIGHUP})
    from openbell.runtime.cli.app import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not _lasts():
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    run()


def _lasts() -> bool:
    """Whether it goes on until it is stopped, and says itself how far it came."""
    return sys.argv[1:2] in (["run"], ["record"]) or "--follow" in sys.argv


def _leave(number: int, frame: FrameType | None) -> None:
    ends_well = number == signal.SIGTERM and _lasts()
    os.write(2, b"openbell: %s before it began\n" % signal.Signals(number).name.encode())
    os._exit(0 if ends_well else 130)


if __name__ == "__main__":
    main()
