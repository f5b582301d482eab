"""A feed by a vendor's own asynchronous client, on an event loop and a thread of its own."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

from openbell.adapters.feeds import connected
from openbell.adapters.feeds.base import Door
from openbell.adapters.feeds.connected import DRAIN_SECONDS, ConnectedFeed, Ended, Refused
from openbell.errors import ConfigError

CLOSE_SECONDS = 2.0
"""How long a client has to let its connection go."""


class ClientFeed(ConnectedFeed):
    """Stays connected by a vendor's client."""

    @abstractmethod
    async def _talk(self, door: Door) -> None:
        """One connection until it ends: as `_connect`, on the loop. It is cancelled where the
        connection is of no use any more."""

    def _connect(self, door: Door) -> None:
        try:
            with asyncio.Runner() as runner:
                runner.get_loop().set_exception_handler(_passed_over)
                runner.run(self._supervised(door))
        except self._passing():
            # What was said last may be why.
            self._waiting.read_by(DRAIN_SECONDS)
            if self._login_refused is not None:
                raise Refused(f"it says {self._login_refused}") from None
            raise

    async def _supervised(self, door: Door) -> None:
        talk = asyncio.create_task(self._talk(door))
        try:
            while not talk.done():
                await asyncio.wait({talk}, timeout=connected.POLL_SECONDS)
                if self._closed.is_set():
                    return
                self._heed()
            await talk
            raise Ended("the vendor has ended the connection")
        finally:
            talk.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await asyncio.wait_for(talk, CLOSE_SECONDS)


def _passed_over(loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
    """What a client's tasks raise once nobody waits for them any more: the connection is gone."""


def needs(module: str, of_type: str, package: str) -> Any:
    """A vendor's client.

    Parameters
    ----------
    package : str
        As it is called where it is installed.

    Raises
    ------
    ConfigError
        If it is not installed.
    """
    try:
        found = import_module(module)
    except ImportError:
        raise ConfigError(
            f"feed.type is {of_type}, and the package {package} is not installed; "
            f"pip install 'openbell[{of_type}]'"
        ) from None
    quiet = logging.getLogger(module.partition(".")[0])
    if not quiet.handlers:  # what matters is told by `Door.said`
        quiet.addHandler(logging.NullHandler())
    return found
