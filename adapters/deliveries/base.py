"""What a sink is: it hands messages to somebody outside, on a thread that is its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Any, Literal, Protocol

import orjson

from openbell.errors import ConfigError


class Failed(Exception):
    """A message was not taken, or it is not known whether it was; it is sent again.

    Parameters
    ----------
    why : str
        For people, on one line, without secrets.
    after_seconds : float, optional
        How long the receiver wants to be left alone.
    """

    def __init__(self, why: str, *, after_seconds: float | None = None) -> None:
        super().__init__(why)
        self.after_seconds = after_seconds


class Refused(Failed):
    """The receiver will not take this message, however often it is sent: it is given up at once."""


@dataclass(frozen=True)
class Message:
    """One signal, or event, on its way out."""

    id: str
    """Its own: whoever gets it twice knows it by this."""
    body: bytes
    """A JSON object on one line, the same bytes whenever it is sent."""
    cursor: str = ""
    """Its position in the log."""
    kind: Literal["signal", "event"] = "signal"

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = orjson.loads(self.body)
        return found


@dataclass(frozen=True)
class SinkOptions:
    """What a sink is made from."""

    run: str
    """The run's name."""
    name: str
    """The sink's, for people."""
    timeout_seconds: float = 10.0
    """How long one `deliver` may take."""
    given: Mapping[str, Any] = field(default_factory=dict)
    """`options`, with its secrets filled in."""

    def only(self, *known: str) -> None:
        """
        Raises
        ------
        ConfigError
            If another option than these was given.
        """
        for key in self.given:
            if key not in known:
                near = get_close_matches(str(key), known, 1)
                advice = f'did you mean "{near[0]}"?' if near else f"it has {', '.join(known)}"
                raise ConfigError(f"options.{key} is unknown; {advice}")

    def text(self, key: str, default: str | None = None, *, example: str = "") -> str:
        """An option that is a text.

        Raises
        ------
        ConfigError
            If it is none, or is missing and has no default.
        """
        value = self.given.get(key, default)
        if value is None:
            raise ConfigError(f"options.{key} is missing; write e.g. {key}: {example or 'it'}")
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"options.{key} is no text; write e.g. {key}: {example or 'it'}")
        return value

    def flag(self, key: str) -> bool:
        value = self.given.get(key, False)
        if not isinstance(value, bool):
            raise ConfigError(f"options.{key} is {value!r}; write true or false")
        return value

    def count(self, key: str, default: int, least: int = 0) -> int:
        value = self.given.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"options.{key} is {value!r}; write a number, {least} or more")
        return value


class Sink(Protocol):
    """Hands messages over; all calls but `close` come from one thread.

    `deliver` returns when the receiver has them, for good. It must not wait much longer than
    `SinkOptions.timeout_seconds`. What it raises that is no `Failed` counts as one.
    """

    at_once: int
    """How many messages it takes in a call, where they are not gathered into a digest."""

    def deliver(self, messages: Sequence[Message]) -> None:
        """Hand over messages in their order.

        Raises
        ------
        Failed
            If not all were taken: all of them are sent again.
        """
        ...

    def close(self) -> None:
        """Let go of everything, and have a `deliver` that is under way end; from any thread."""
        ...
