"""A vendor's WebSocket as a feed: connected anew, subscribed to again, bounded, gaps told.

What a vendor says and wants to hear is a `Speech`; this is what is the same for all of them.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import orjson
from loguru import logger

from openbell.adapters.feeds.base import Door, Rewind
from openbell.adapters.feeds.entries import Refuse
from openbell.adapters.feeds.socket_options import Transport
from openbell.adapters.feeds.waiting import Frame, Waiting
from openbell.errors import ConfigError
from openbell.hosttime import monotonic, wall, wall_ns
from openbell.market.bars import RawRows
from openbell.market.days import MarketTime

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from websockets.sync.client import ClientConnection

POLL_SECONDS = 0.25
"""How long a read waits: to be closed, and to be told to reconnect, takes as long."""

PAUSE_SECONDS = 0.25
"""Before the first attempt to connect again; twice as long before each further one."""

RETRY_AFTER_MAX = 3600.0

DRAIN_SECONDS = 2.0
"""How long a connection that has ended waits for what it brought to be looked at."""

_AUTH_STATUS = (401, 403, 407)
_AUTH_WORDS = ("auth", "token", "credential", "api key", "apikey", "forbidden", "permission")
_POLICY = 1008
"""A code that vendors close with for a login as well as for a reader that is too slow."""


class Refused(Exception):
    """The vendor refuses the login: it is not tried again by itself."""


class Ended(Exception):
    """A connection has ended; another one is made."""


@dataclass(frozen=True)
class Address:
    """Where a feed connects, with all that is secret filled in."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()
    """What is kept out of all that is told."""


@dataclass(frozen=True)
class Halt:
    """Trading in a symbol is halted, or goes on."""

    symbol: str
    on: bool
    why: str


@dataclass
class Read:
    """What messages held."""

    rows: RawRows | None = None
    login: str | None = None
    """What one of them said that refuses the login."""
    ended: str | None = None
    """What one of them said for which the connection is made anew."""
    halts: list[Halt] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    """Messages without a row that are worth to be told."""
    reached: tuple[MarketTime, MarketTime] | None = None
    """The vendor's time at the first and the last row; None: as the rows have it."""


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


class SocketFeed:
    """Reads one WebSocket, on a thread of its own, and delivers on the run's.

    The socket is read on while the run is behind, as vendors cut who does not: what waits is
    bounded, and what does not fit is told as a gap. So is what a cut or a restart leaves out.

    Parameters
    ----------
    symbols : tuple of str
        Ours; what is subscribed to.
    where : str
        The address, without what may be secret.
    """

    rewind: Rewind = "none"

    def __init__(
        self, speech: Speech, transport: Transport, symbols: tuple[str, ...], where: str
    ) -> None:
        self._speech = speech
        self._transport = transport
        self._symbols = symbols
        self.where = where
        self._closed = threading.Event()
        self._reconnect = threading.Event()
        self._resubscribe: deque[tuple[str, ...] | None] = deque()
        self._waiting = Waiting(transport.buffer)
        self._rows_came = False
        """Whether the connection under way has brought a row."""
        self._failures = 0
        """Attempts, one after another, that brought none."""
        self._connected_before = False
        self._cut_by = ""
        """Why the last connection ended."""
        self._hidden: frozenset[str] = frozenset()
        self._login_refused: str | None = None
        """What a message said, if it did."""
        self._ended: str | None = None
        """As well, of a connection that is of no use any more."""

    def run(self, door: Door, position: int, mark: str) -> None:
        failed: list[BaseException] = []

        def read() -> None:
            try:
                self._stay_connected(door)
            except BaseException as error:  # noqa: BLE001 it is raised where the run sees it
                failed.append(error)
            self._waiting.end()

        reader = threading.Thread(target=read, name="openbell-feed-socket", daemon=True)
        reader.start()
        try:
            self._deliver(door, mark)
        finally:
            self._closed.set()
            self._waiting.end()
            reader.join()
        if failed:
            raise failed[0]

    def close(self) -> None:
        self._closed.set()
        self._waiting.end()

    def resubscribe(self, symbols: tuple[str, ...] | None = None) -> None:
        """Send what subscribes once more, for these symbols or for all; from any thread."""
        self._resubscribe.append(symbols)

    def reconnect(self) -> None:
        """Make a new connection, also where the login was refused; from any thread."""
        self._reconnect.set()

    # --- what came goes to the run

    def _deliver(self, door: Door, mark: str) -> None:
        last: MarketTime | None = None
        cut: tuple[MarketTime, str] | None = None
        if mark:
            last = MarketTime(int(mark))
            cut = last, "nobody read while this process was not there"
        for part in self._waiting:
            if isinstance(part, str):
                if last is not None:
                    cut = (last, part) if cut is None else (cut[0], _both(cut[1], part))
                continue
            read = self._speech.read(part, door.refuse)
            for other in read.others:
                # Who sets a feed up sees its vendor's answers, such as that a symbol is unknown.
                logger.info("{}: a message without a row: {}", self.where, self._hide(other))
            if read.login is not None:
                self._login_refused = read.login
            if read.ended is not None:
                self._ended = read.ended
            for halt in read.halts:
                door.halted((halt.symbol,), halt.on, halt.why)
            rows = read.rows
            if rows is None:
                continue
            self._rows_came = True
            first, last = read.reached or (
                MarketTime(int(rows.ts[0])),
                MarketTime(int(rows.ts[-1])),
            )
            if cut is not None:
                door.gap(cut[0], max(cut[0], first), None, cut[1])
                cut = None
            door.take(rows, None, str(last))

    # --- the connection

    def _stay_connected(self, door: Door) -> None:
        from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_when_event_set
        from websockets.exceptions import WebSocketException

        passing = (OSError, EOFError, WebSocketException, Ended)

        def passes(error: BaseException) -> bool:
            return isinstance(error, passing)

        def told(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome is not None else None
            if not self._closed.is_set() and error is not None:
                self._cut_by = self._words(error)
                pause = state.upcoming_sleep
                again = f"; again in {pause:.0f} s" if pause >= 1 else ""
                door.said("reconnecting", f"{self.where}: {self._cut_by}{again}")

        while not self._closed.is_set():
            retrying = Retrying(
                retry=retry_if_exception(passes),
                wait=self._pause,
                stop=stop_when_event_set(self._closed),
                sleep=sleep_using_event(self._closed),
                before_sleep=told,
                reraise=True,
            )
            try:
                retrying(self._connection, door)
            except Refused as error:
                self._cut_by = self._hide(str(error))
                door.said("auth", f"{self.where}: {self._cut_by}")
                while not self._closed.is_set() and not self._reconnect.wait(POLL_SECONDS):
                    pass
            except passing:
                if not self._closed.is_set():
                    raise

    def _pause(self, state: RetryCallState) -> float:
        """Seconds until the next attempt."""
        from tenacity import wait_random

        self._failures = 1 if self._rows_came else self._failures + 1
        error = state.outcome.exception() if state.outcome is not None else None
        asked = _retry_after(error)
        doubled = PAUSE_SECONDS * 2.0 ** min(self._failures - 1, 30)
        pause = min(doubled, self._transport.pause_max)
        return max(asked, pause) + wait_random(0, pause)(state)

    def _connection(self, door: Door) -> None:
        """One connection, until it ends."""
        from websockets.exceptions import ConnectionClosed, InvalidStatus

        self._rows_came, self._login_refused, self._ended = False, None, None
        self._reconnect.clear()
        self._resubscribe.clear()
        try:
            address = self._speech.address()
        except ConfigError as error:  # it was there when the run began
            raise Refused(str(error)) from None
        self._hidden = address.hidden
        try:
            with self._connected(address) as socket:
                line = _Line(socket, self._transport.open_timeout)
                self._speech.greet(line)
                if self._connected_before:
                    self._waiting.cut(self._cut_by)
                self._connected_before = True
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
                frame = socket.recv(timeout=POLL_SECONDS, decode=False)
                self._waiting.put(frame, wall_ns())
                heard = monotonic()
            except TimeoutError:
                if silence_max is not None and monotonic() - heard > silence_max:
                    raise Ended(
                        f"nothing came for {silence_max:g} s, not even a heartbeat"
                    ) from None
            if self._login_refused is not None:
                raise Refused(f"it says {self._login_refused}")
            if self._ended is not None:
                raise Ended(f"it says {self._ended}")
            if self._reconnect.is_set():
                raise Ended("asked to, as it is taken to be silent")
            while self._resubscribe:
                symbols = self._resubscribe.popleft()
                self._speech.subscribe(line, self._symbols if symbols is None else symbols)
            self._speech.idle(line)

    def _words(self, error: BaseException) -> str:
        """In one line, without secrets."""
        text = str(error) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            text = f"its certificate can't be verified: {error.verify_message}"
        return self._hide(" ".join(text.split()))

    def _hide(self, text: str) -> str:
        for secret in sorted(self._hidden, key=len, reverse=True):
            if secret:
                text = text.replace(secret, "…")
        return "".join(letter if letter.isprintable() else " " for letter in text)


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


def _both(one: str, other: str) -> str:
    """Two reasons in one line, which many reconnects do not make longer and longer."""
    return one if other in one or len(one) > 200 else f"{one}; {other}"


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
