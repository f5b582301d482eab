"""Options that feeds on sockets have in common, and what is wrong with options in one line each."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Annotated, Any, ClassVar, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from openbell.adapters.secrets import has_secrets
from openbell.errors import ConfigError

KEY = "feed.options"

_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)\s*")
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def _seconds(given: Any) -> float:
    found = _SPAN.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError("write a length of time, e.g. 20s")
    return float(found[1]) * _SECONDS[found[2]]


def _size(given: Any) -> int:
    found = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if found is None or float(found[1]) <= 0:
        raise ValueError("write a size above 0, e.g. 1MiB")
    return int(float(found[1]) * _BYTES[found[2]])


def _more_than_nothing(given: float) -> float:
    if given <= 0:
        raise ValueError("write more than nothing, e.g. 20s")
    return given


def url_of(given: str) -> str:
    if has_secrets(given.partition("?")[0].partition("/")[0]):
        return given  # known once it is filled in
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{error}; write e.g. wss://stream.example.com/v1") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0:
        raise ValueError("write ws://… or wss://…, e.g. wss://stream.example.com/v1")
    return given


def http_url(given: str) -> str:
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("write https://…, e.g. https://api.example.com")
    return given.rstrip("/")


Seconds = Annotated[float, BeforeValidator(_seconds)]
SomeSeconds = Annotated[float, AfterValidator(_more_than_nothing), BeforeValidator(_seconds)]
Size = Annotated[int, BeforeValidator(_size)]
WebSocketUrl = Annotated[str, AfterValidator(url_of)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Staying(Section):
    """How a connection is held, by whatever it is made."""

    secrets: ClassVar[tuple[str, ...]] = ("url", "headers")
    """Options that may hold a secret: what stands there is not told."""

    silence_max: SomeSeconds | None = None
    """How long no message at all may come, be it a heartbeat, before the connection is made anew."""
    buffer: Size = 64 * 2**20
    """How much may wait while the run is behind; beyond it messages are not kept, which is told."""
    open_timeout: SomeSeconds = 10.0
    pause_max: SomeSeconds = 30.0
    """Longest time between two attempts to connect."""


class Transport(Staying):
    """How a socket is held, whoever is at its other end."""

    heartbeat: Seconds = 20.0
    """Between the protocol's own pings, and how long one may go unanswered; 0: there are none."""
    ca_file: FilePath | None = None
    compression: bool = True
    message_max: Size = 2**20


_EXAMPLES = {"compression": "true or false"}

T = TypeVar("T", bound=Staying)


def checked(
    model: type[T],
    given: Mapping[str, Any],
    examples: Mapping[str, str],
    within: Mapping[str, type[BaseModel]] | None = None,
) -> T:
    """Options as they are written.

    Parameters
    ----------
    examples : mapping
        What may be written, by the option's name.
    within : mapping, optional
        Sections of their own, by the option's name.

    Raises
    ------
    ConfigError
        With one line a problem.
    """

    def line(error: Mapping[str, Any]) -> str:
        path = [str(of) for of in error["loc"]]
        at = ".".join([KEY, *path])
        if error["type"] == "extra_forbidden":
            of = (within or {}).get(path[0], model)
            shared = Transport if issubclass(of, Transport) else Staying
            common = shared.model_fields if of is model else {}
            known = [name for name in of.model_fields if name not in common]
            return f"{at} is unknown; there are {', '.join([*known, *common])}"
        example = {**_EXAMPLES, **examples}.get(path[-1])
        if error["type"] == "missing":
            return f"{at} is missing" + (f"; write e.g. {example}" if example else "")
        said = str(error["msg"]).removeprefix("Value error, ")
        if error["type"] != "value_error" and (wanted := {**_EXAMPLES, **examples}.get(path[0])):
            said = f"write e.g. {wanted}"
        # What stands there may be a secret.
        told = isinstance(error.get("input"), int | float | bool) or path[0] not in model.secrets
        value = f" is {str(error.get('input'))[:60]!r}" if told else ""
        return f"{at}{value}; {said[:1].lower()}{said[1:]}"

    try:
        options = model.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigError("\n".join(dict.fromkeys(map(line, error.errors())))) from None
    if isinstance(options, Transport) and options.ca_file is not None:
        try:
            ssl.create_default_context(cafile=options.ca_file.expanduser())
        except OSError:  # one of ssl's is one too
            raise ConfigError(
                f"{KEY}.ca_file: {options.ca_file} holds no certificates; name a file in PEM"
            ) from None
    return options
