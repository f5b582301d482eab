"""Messages that wait between the thread that reads a socket and the one that delivers, bounded."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from loguru import logger

FRAMES_AT_ONCE = 1000


class Frame(NamedTuple):
    """A message as it came."""

    number: int
    """Of all that came, from 1."""
    body: bytes
    came_ns: int
    """When, by this host's clock, ns UTC."""


class Waiting:
    """Of one feed."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._news = threading.Condition()
        self._parts: deque[Frame | str] = deque()
        """Numbered messages; a text: here some are missing, and why."""
        self._number = 0
        self._lost = 0
        self._ended = False
        self._idle = False
        """Whether who reads them has looked at all there was."""

    def put(self, frame: bytes, came_ns: int) -> None:
        """A message; where there is no room it is not kept, which is told."""
        with self._news:
            self._number += 1
            if self._bytes and self._bytes + len(frame) > self._bytes_max:
                if not self._lost:
                    logger.warning("feed: the run is behind; messages are not kept")
                self._lost += 1
                return
            if self._lost:
                self._parts.append(f"{self._lost:,} messages did not fit, as the run was behind")
                self._lost = 0
            self._parts.append(Frame(self._number, frame, came_ns))
            self._bytes += len(frame)
            self._news.notify_all()

    def cut(self, why: str) -> None:
        """Messages may be missing here."""
        with self._news:
            self._parts.append(why)
            self._news.notify_all()

    def read_by(self, seconds: float) -> None:
        """Wait until all that came was looked at, but no longer than that."""
        with self._news:
            self._news.wait_for(lambda: self._ended or (self._idle and not self._parts), seconds)

    def end(self) -> None:
        with self._news:
            self._ended = True
            self._news.notify_all()

    def __iter__(self) -> Iterator[list[Frame] | str]:
        """Messages that came together, or why some are missing; ends when the feed is closed."""
        while True:
            with self._news:
                self._idle = True
                self._news.notify_all()
                self._news.wait_for(lambda: self._parts or self._ended)
                self._idle = False
                if self._ended:
                    return
                part = self._together()
            yield part

    def _together(self) -> list[Frame] | str:
        gathered: list[Frame] = []
        while self._parts and len(gathered) < FRAMES_AT_ONCE:
            part = self._parts[0]
            if isinstance(part, str):
                if gathered:
                    break
                self._parts.popleft()
                return part
            self._parts.popleft()
            gathered.append(part)
            self._bytes -= len(part.body)
        return gathered
