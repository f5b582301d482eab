"""That there is more to be read, for those who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Callable


class News:
    """Counts what has come; any thread may ask for it, and wait for more."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._over = False

    def __len__(self) -> int:
        return self._count

    def came(self, count: int = 1) -> None:
        """There is more."""
        with self._changed:
            self._count += count
        self._tell()

    def close(self) -> None:
        """No more will come."""
        with self._changed:
            self._over = True
        self._tell()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have a function called whenever there is news; returns what ends that."""
        with self._changed:
            self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def wait(self, position: int, timeout: float | None = None) -> bool:
        """Wait until there is something after a position; False if none will come."""
        with self._changed:
            self._changed.wait_for(lambda: len(self) > position or self._over, timeout)
            return len(self) > position

    @property
    def over(self) -> bool:
        return self._over

    def _tell(self) -> None:
        with self._changed:
            self._changed.notify_all()
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()
