"""Ctrl-C in the middle of a day's end must not leave it half written."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Uninterrupted:
    """Has acts done whole, one after the other, although the caller is interrupted meanwhile.

    Python raises KeyboardInterrupt in the main thread only, and a library sets no signal handler.
    So they are done on a thread, and the caller waits.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="openbell-day")

    def __call__(self, act: Callable[[], None]) -> None:
        self._thread.submit(act).result()

    def settle(self) -> None:
        """Wait for what an interrupted caller left behind; nothing can be done afterwards."""
        self._thread.shutdown()
