"""A function of an embedding program's own, as a sink."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openbell.adapters.deliveries import Message
from openbell.runtime.results.signals import Signal, signal_in


class CallbackSink:
    """A function of the program's own."""

    at_once = 1

    def __init__(self, handler: Callable[[Signal], object]) -> None:
        self._handler = handler

    def deliver(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._handler(signal_in(message.fields, message.cursor))

    def close(self) -> None:
        """Does nothing: it is the program's."""
