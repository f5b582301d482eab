"""How a log is read on as it grows: page by page, on the news that there is more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Protocol, TypeVar

from openbell.runtime.record.news import News


class Entry(Protocol):
    """What a log holds."""

    @property
    def cursor(self) -> str: ...


T = TypeVar("T", bound=Entry)

Page = Callable[[str | None], list[T]]
"""The next entries after a cursor; none: there are no more for now."""


def read_on(page: Page[T], after: str | None) -> Iterator[T]:
    """What a log has by now."""
    while entries := page(after):
        yield from entries
        after = entries[-1].cursor


def followed(news: News, page: Page[T], after: str | None) -> Iterator[T]:
    """All entries after a cursor, as they come, until no more will."""
    while True:
        # Looked at before the log is read, so that what comes meanwhile is news.
        heard, over = len(news), news.over
        while entries := page(after):
            yield from entries
            after = entries[-1].cursor
        if over:
            return
        news.wait(heard)


async def awaited(news: News, page: Page[T], after: str | None) -> AsyncGenerator[T, None]:
    """As `followed`, without blocking the event loop, whose executor reads the log."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(woken.set)

    unlisten = news.listen(tell)
    try:
        while True:
            woken.clear()
            over = news.over
            while entries := await asyncio.to_thread(page, after):
                for entry in entries:
                    yield entry
                after = entries[-1].cursor
            if over:
                return
            await woken.wait()
    finally:
        unlisten()
