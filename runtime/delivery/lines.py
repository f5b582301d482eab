"""What waits for a sink: read on from a log, in its order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

import orjson

from openbell.adapters.deliveries import Message
from openbell.adapters.stores import Store
from openbell.runtime.results.events import Event, event_of, read, wanted

PAGE = 500
"""Read from a log at a time."""


class Page(NamedTuple):
    """What was read of a log."""

    messages: list[Message]
    end: str | None
    """Cursor of the last that was read, wanted or not."""
    is_last: bool


class Line:
    """Messages that wait, the oldest first.

    Parameters
    ----------
    read : callable
        The next page of a log after a cursor.
    """

    def __init__(self, read: Callable[[str | None], Page], after: str | None) -> None:
        self._read = read
        self.waiting: deque[Message] = deque()
        self.end = after
        """Cursor up to which the log was read."""
        self._heard: int | None = None
        """What had been heard of the log when it was read to its end."""

    def fill(self, heard: int) -> bool:
        """Read on, if there may be more; False: there is none."""
        if heard == self._heard:
            return False
        page = self._read(self.end)
        self.waiting += page.messages
        self.end = page.end if page.end is not None else self.end
        if page.is_last:
            self._heard = heard
        return bool(page.messages)

    def begin(self, after: str | None) -> None:
        """Wait for what follows this cursor."""
        self.waiting.clear()
        self.end, self._heard = after, None


def signal_pages(store: Store) -> Callable[[str | None], Page]:
    """The log of signals."""

    def page(after: str | None) -> Page:
        found = [*store.signals(after, limit=PAGE)]
        messages = [Message(signal.id, signal.body, cursor) for cursor, signal in found]
        return Page(messages, messages[-1].cursor if messages else None, len(found) < PAGE)

    return page


def end_of_signals(store: Store) -> tuple[str | None, int]:
    """The cursor of the last signal there is, and how many there are up to there."""
    while True:
        cursor, count = store.last_signal(), store.head().signals
        if store.last_signal() == cursor:
            return cursor, count


def event_pages(store: Store, kinds: Collection[str], sink: str) -> Callable[[str | None], Page]:
    """The events of some kinds; of a sink's own troubles it is not told, which would go on for ever."""
    is_wanted = wanted(kinds)

    def is_to_be_sent(event: Event) -> bool:
        return is_wanted(event) and event.facts.get("sink") != sink

    def page(after: str | None) -> Page:
        found = [*read(store, after, PAGE)]
        messages = [
            Message(event.id, orjson.dumps(event.as_dict()), event.cursor, kind="event")
            for event in found
            if is_to_be_sent(event)
        ]
        return Page(messages, found[-1].cursor if found else None, len(found) < PAGE)

    return page


def last_event(store: Store) -> str | None:
    """The cursor of the last event there is; None: there is none.

    Positions follow each other, so that it is found by halving: to have the store tell how many there
    are, it would measure all of its tables.
    """

    def entry_after(position: int) -> tuple[int, bytes] | None:
        return next(iter(store.audit(position)), None)

    if entry_after(0) is None:
        return None
    there, beyond = 1, 2
    while entry_after(beyond - 1) is not None:
        there, beyond = beyond, 2 * beyond
    while beyond - there > 1:
        middle = (there + beyond) // 2
        if entry_after(middle - 1) is not None:
            there = middle
        else:
            beyond = middle
    found = entry_after(there - 1)
    assert found is not None, "entries are never dropped"
    return event_of(found[1], found[0]).cursor
