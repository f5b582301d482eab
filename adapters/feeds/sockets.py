"""A vendor's WebSocket as a feed.

What a vendor says and wants to hear is a `Speech`; this is what is the same for all of them.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import orjson

from openbell.adapters.feeds import connected
from openbell.adapters.feeds.base import Door
from openbell.adapters.feeds.connected import (
    DRAIN_SECONDS,
    ConnectedFeed,
    Ended,
    Halt,
    Read,
    Refused,
)
from openbell.adapters.feeds.entries import Refuse
from openbell.adapters.feeds.socket_options import Transport
from openbell.adapters.feeds.waiting import Frame
from openbell.errors import ConfigError
from openbell.hosttime import monotonic, wall, wall_ns

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

__all__ = [
    "Address",
    "Ended",
    "Halt",
    "Line",
    "Read",
    "Refused",
    "SocketFeed",
    "Speech",
    "closes_for_login",
    "needs_websockets",
    "where_of",
]

RETRY_AFTER_MAX = 3600.0

_AUTH_STATUS = (401, 403, 407)
_AUTH_WORDS = ("auth", "token", "credential", "api key", "apikey", "forbidden", "permission")
_POLICY = 1008
"""A code that vendors close with for a login as well as for a reader that is too slow."""


@dataclass(frozen=True)
class Address:
    """Where a feed connects, with all that is secret filled in."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    """What is kept out of all that is told."""


class Line(Protocol):
    """A connection, as a speech has it."""

    def send(self, message: Any) -> None:
        """Text or bytes as they are, all else as JSON."""
        ...

    def recv(self) -> bytes:
        """The next message; raises `Ended` where none comes in time."""
        ...


class Speech(Protocol):
    """What a vendor says on its socket, and what it wants to hear."""

    def address(self) -> Address:
        """Where to connect to, looked up for each connection.

        Raises
        ------
        ConfigError
            If a secret is not there.
        """
        ...

    def greet(self, line: Line) -> None:
        """Whatever comes before subscriptions, such as a login; may read what the vendor answers.

        Raises
        ------
        Refused, Ended
        """
        ...

    def subscribe(self, line: Line, symbols: Sequence[str]) -> None:
        """Ask for the rows of these symbols (our names)."""
        ...

    def idle(self, line: Line) -> None:
        """Called again and again while the connection is open: what is due is sent."""
        ...

    def refuses(self, code: int, reason: str) -> bool:
        """Whether a close of the vendor's says that the login is refused."""
        ...

    def read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        """What numbered messages hold, in their order; what can't be used is refused."""
        ...


class SocketFeed(ConnectedFeed):
    """Reads one WebSocket, on which a vendor speaks as `speech` has it."""

    def __init__(
        self, speech: Speech, transport: Transport, symbols: tuple[str, ...], where: str
    ) -> None:
        super().__init__(transport, symbols, where)
        self._speech, self._transport = speech, transport

    def _read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        return self._speech.read(frames, refuse)

    def _passing(self) -> tuple[type[BaseException], ...]:
        from websockets.exceptions import WebSocketException

        return (*super()._passing(), WebSocketException)

    def _asked_pause(self, error: BaseException | None) -> float:
        return _retry_after(error)

    def _connect(self, door: Door) -> None:
        from websockets.exceptions import ConnectionClosed, InvalidStatus

        try:
            address = self._speech.address()
        except ConfigError as error:  # it was there when the run began
            raise Refused(str(error)) from None
        self._hidden = address.hidden
        try:
            with self._connected(address) as socket:
                line = _Line(socket, self._transport.open_timeout)
                self._speech.greet(line)
                self._is_logged_in()
                self._speech.subscribe(line, self._symbols)
                door.said("connected", self.where)
                self._receive(socket, line)
        except InvalidStatus as error:
            if error.response.status_code in _AUTH_STATUS:
                raise Refused(self._words(error)) from None
            raise
        except ConnectionClosed as error:
            # What was said last may be why.
            self._waiting.read_by(DRAIN_SECONDS)
            if self._login_refused is not None:
                raise Refused(f"it says {self._login_refused}") from None
            received = error.rcvd
            if received is not None and self._speech.refuses(received.code, received.reason):
                raise Refused(self._words(error)) from None
            raise

    @contextmanager
    def _connected(self, address: Address) -> Iterator[ClientConnection]:
        from websockets.sync.client import connect

        options = self._transport
        context = None
        if urlsplit(address.url).scheme == "wss":
            ca = None if options.ca_file is None else str(options.ca_file.expanduser())
            context = ssl.create_default_context(cafile=ca)
        with connect(
            address.url,
            ssl=context,
            additional_headers=address.headers,
            user_agent_header="openbell",
            compression="deflate" if options.compression else None,
            open_timeout=options.open_timeout,
            ping_interval=options.heartbeat or None,
            ping_timeout=options.heartbeat or None,
            close_timeout=1,
            max_size=options.message_max,
            logger=_quiet(),
        ) as socket:
            yield socket

    def _receive(self, socket: ClientConnection, line: _Line) -> None:
        silence_max = self._transport.silence_max
        heard = monotonic()
        while not self._closed.is_set():
            try:
                frame = socket.recv(timeout=connected.POLL_SECONDS, decode=False)
                self._waiting.put(frame, wall_ns())
                heard = monotonic()
            except TimeoutError:
                if silence_max is not None and monotonic() - heard > silence_max:
                    raise Ended(
                        f"nothing came for {silence_max:g} s, not even a heartbeat"
                    ) from None
            self._heed()
            while self._resubscribe:
                symbols = self._resubscribe.popleft()
                self._speech.subscribe(line, self._symbols if symbols is None else symbols)
            self._speech.idle(line)


class _Line:
    def __init__(self, socket: ClientConnection, seconds: float) -> None:
        self._socket, self._seconds = socket, seconds

    def send(self, message: Any) -> None:
        as_it_is = isinstance(message, str | bytes)
        self._socket.send(message if as_it_is else orjson.dumps(message).decode())

    def recv(self) -> bytes:
        try:
            return self._socket.recv(timeout=self._seconds, decode=False)
        except TimeoutError:
            raise Ended(f"it did not answer within {self._seconds:g} s") from None


def needs_websockets(of_type: str) -> None:
    """See that the package is there which a feed of this type needs, as its extra is called.

    Raises
    ------
    ConfigError
    """
    try:
        import websockets  # noqa: F401
    except ImportError:
        raise ConfigError(
            f"feed.type is {of_type}, and the package websockets is not installed; "
            f"pip install 'openbell[{of_type}]'"
        ) from None


def where_of(url: str) -> str:
    """An address without its path, and what follows it: they may hold a token."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def closes_for_login(code: int, reason: str, codes: Sequence[int]) -> bool:
    """Whether a close says that the login is refused, by its code or in its words."""
    if code in codes:
        return True
    return code == _POLICY and any(word in reason.lower() for word in _AUTH_WORDS)


def _retry_after(error: BaseException | None) -> float:
    """How many seconds a server asks to be left alone for; 0: it does not say."""
    from websockets.exceptions import InvalidStatus

    if not isinstance(error, InvalidStatus):
        return 0.0
    given = error.response.headers.get("Retry-After", "").strip()
    if given.isdigit():
        return min(float(given[:6]), RETRY_AFTER_MAX)
    try:
        at = parsedate_to_datetime(given)
    except ValueError:
        return 0.0
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max(at.timestamp() - wall(), 0.0), RETRY_AFTER_MAX)


def _quiet() -> logging.Logger:
    """The library tells headers; what matters is told by `Door.said`."""
    quiet = logging.getLogger("openbell.adapters.feeds.sockets.library")
    quiet.propagate = False
    quiet.setLevel(logging.CRITICAL + 1)
    return quiet
