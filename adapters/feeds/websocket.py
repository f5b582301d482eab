"""A vendor's WebSocket as a feed: JSON messages, subscribed to again after each reconnect."""

from __future__ import annotations

import logging
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from loguru import logger

from openbell.adapters.feeds.base import Door, FeedOptions, Rewind
from openbell.adapters.feeds.entries import Decoder
from openbell.adapters.feeds.frames import Frames, Seen
from openbell.adapters.feeds.websocket_options import KEY, Options, expanded, options_of
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError
from openbell.hosttime import monotonic, wall
from openbell.market.days import MarketTime

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from websockets.sync.client import ClientConnection

POLL_SECONDS = 0.25
"""How long a read waits: to be closed, and to be told to reconnect, takes as long."""

PAUSE_SECONDS = 0.25
"""Before the first attempt to connect again; twice as long before each further one."""

RETRY_AFTER_MAX = 3600.0

FRAMES_AT_ONCE = 1000

DRAIN_SECONDS = 2.0
"""How long a connection that has ended waits for what it brought to be looked at."""

_AUTH_STATUS = (401, 403, 407)
_AUTH_WORDS = ("auth", "token", "credential", "api key", "apikey", "forbidden", "permission")
_POLICY = 1008
"""A code that vendors close with for a login as well as for a reader that is too slow."""


def open_websocket_feed(options: FeedOptions) -> WebSocketFeed:
    """What `feed: {type: websocket, options: {url, fields, …}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used, or a secret is not there.
    """
    try:
        import websockets  # noqa: F401
    except ImportError:
        raise ConfigError(
            "feed.type is websocket, and the package websockets is not installed; "
            "pip install 'openbell[websocket]'"
        ) from None
    given = options_of(options.given, options.kind, options.symbols)
    _Secrets.of(given)
    label = given.bar_label or options.bar_label
    ends = label == "end" and options.interval_ns is not None
    frames = Frames(
        decoder=Decoder(
            kind=options.kind,
            source="websocket",
            ts_unit=given.ts_unit,
            shift_ns=-(options.interval_ns or 0) if ends else 0,
            ts_format=given.ts_format,
            timezone=given.timezone,
        ),
        fields=given.fields,
        names={theirs: ours for ours, theirs in given.symbols.items()},
        rows=given.rows,
        where=given.where,
        refused_login=given.refused_login,
    )
    return WebSocketFeed(given, frames, options.symbols)


@dataclass(frozen=True)
class _Secrets:
    """What is filled in at each connection: a token that is renewed in a file is read anew."""

    url: str
    headers: dict[str, str]
    subscribe: list[Any]
    ping: Any
    hidden: frozenset[str]
    """What is kept out of all that is told."""

    @classmethod
    def of(cls, options: Options) -> _Secrets:
        used: set[str] = set()
        ping = None if options.ping is None else options.ping.message
        found = cls(
            url=filled_in(options.url, f"{KEY}.url", used=used),
            headers=filled_in(options.headers, f"{KEY}.headers", used=used),
            subscribe=filled_in(options.subscribe, f"{KEY}.subscribe", used=used),
            ping=filled_in(ping, f"{KEY}.ping.message", used=used),
            hidden=frozenset({*used, *options.headers.values()}),
        )
        parts = urlsplit(found.url)
        if parts.scheme not in ("ws", "wss") or not parts.hostname:
            raise ConfigError(f"{KEY}.url is no ws:// or wss:// address once it is filled in")
        return found


class _Refused(Exception):
    """The vendor refuses the login: it is not tried again by itself."""


class _Ended(Exception):
    """A connection has ended; another one is made."""


class WebSocketFeed:
    """Reads one WebSocket, on a thread of its own, and delivers on the run's.

    The socket is read on while the run is behind, as vendors cut who does not: what waits is
    bounded, and what does not fit is told as a gap. So is what a cut or a restart leaves out.

    Parameters
    ----------
    symbols : tuple of str
        Ours; what is subscribed to.
    """

    rewind: Rewind = "none"

    def __init__(self, options: Options, frames: Frames, symbols: tuple[str, ...]) -> None:
        self._options = options
        self._frames = frames
        self._symbols = symbols
        parts = urlsplit(options.url)
        # The path and what follows it may hold a token.
        self.where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        self.seen = Seen()
        self._closed = threading.Event()
        self._reconnect = threading.Event()
        self._resubscribe: deque[tuple[str, ...] | None] = deque()
        self._waiting = _Waiting(options.buffer)
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
            rows, login = self._frames.read(part, door.refuse, self.seen)
            while self.seen.first_others:
                # Who sets a feed up sees its vendor's answers, such as that a symbol is unknown.
                other = self._hide(self.seen.first_others.pop(0))
                logger.info("{}: a message without a row: {}", self.where, other)
            if login is not None:
                self._refuse_login(login)
            if rows is None:
                continue
            self._rows_came = True
            if cut is not None:
                door.gap(cut[0], max(cut[0], MarketTime(int(rows.ts[0]))), None, cut[1])
                cut = None
            last = MarketTime(int(rows.ts[-1]))
            door.take(rows, None, str(last))

    def _refuse_login(self, told: str) -> None:
        self._login_refused = told

    # --- the connection

    def _stay_connected(self, door: Door) -> None:
        from tenacity import Retrying, retry_if_exception, sleep_using_event, stop_when_event_set
        from websockets.exceptions import WebSocketException

        passing = (OSError, EOFError, WebSocketException, _Ended)

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
            except _Refused as error:
                self._cut_by = str(error)
                door.said("auth", f"{self.where}: {error}")
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
        pause = min(doubled, self._options.pause_max)
        return max(asked, pause) + wait_random(0, pause)(state)

    def _connection(self, door: Door) -> None:
        """One connection, until it ends."""
        from websockets.exceptions import ConnectionClosed, InvalidStatus

        self._rows_came, self._login_refused = False, None
        self._reconnect.clear()
        self._resubscribe.clear()
        try:
            secrets = _Secrets.of(self._options)
        except ConfigError as error:  # it was there when the run began
            raise _Refused(str(error)) from None
        self._hidden = secrets.hidden
        try:
            with self._connected(secrets) as socket:
                if self._connected_before:
                    self._waiting.cut(self._cut_by)
                self._connected_before = True
                self._send_subscriptions(socket, secrets, None)
                door.said("connected", self.where)
                self._receive(socket, secrets)
        except InvalidStatus as error:
            if error.response.status_code in _AUTH_STATUS:
                raise _Refused(self._words(error)) from None
            raise
        except ConnectionClosed as error:
            # What was said last may be why.
            self._waiting.read_by(DRAIN_SECONDS)
            if self._login_refused is not None:
                raise _Refused(f"it says {self._hide(self._login_refused)}") from None
            if self._is_refusal(error):
                raise _Refused(self._words(error)) from None
            raise

    @contextmanager
    def _connected(self, secrets: _Secrets) -> Iterator[ClientConnection]:
        from websockets.sync.client import connect

        options = self._options
        context = None
        if urlsplit(secrets.url).scheme == "wss":
            ca = None if options.ca_file is None else str(options.ca_file.expanduser())
            context = ssl.create_default_context(cafile=ca)
        with connect(
            secrets.url,
            ssl=context,
            additional_headers=secrets.headers,
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

    def _receive(self, socket: ClientConnection, secrets: _Secrets) -> None:
        ping = self._options.ping
        due = None if ping is None else monotonic() + ping.every
        while not self._closed.is_set():
            try:
                self._waiting.put(socket.recv(timeout=POLL_SECONDS, decode=False))
            except TimeoutError:
                pass
            if self._login_refused is not None:
                raise _Refused(f"it says {self._hide(self._login_refused)}")
            if self._reconnect.is_set():
                raise _Ended("asked to, as it is taken to be silent")
            while self._resubscribe:
                self._send_subscriptions(socket, secrets, self._resubscribe.popleft())
            if ping is not None and due is not None and monotonic() >= due:
                self._send(socket, secrets.ping)
                due = monotonic() + ping.every

    def _send_subscriptions(
        self, socket: ClientConnection, secrets: _Secrets, symbols: tuple[str, ...] | None
    ) -> None:
        theirs = [
            self._options.symbols.get(symbol, symbol)
            for symbol in (self._symbols if symbols is None else symbols)
        ]
        for message in secrets.subscribe:
            for one in expanded(message, theirs, self._options.symbols_max):
                self._send(socket, one)

    def _send(self, socket: ClientConnection, message: Any) -> None:
        socket.send(message if isinstance(message, str) else orjson.dumps(message).decode())

    def _is_refusal(self, error: Any) -> bool:
        received = error.rcvd
        if received is None:
            return False
        if received.code in self._options.auth_codes:
            return True
        reason = str(received.reason).lower()
        return received.code == _POLICY and any(word in reason for word in _AUTH_WORDS)

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


class _Waiting:
    """Messages between the thread that reads and the one that delivers, bounded."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._news = threading.Condition()
        self._parts: deque[tuple[int, bytes] | str] = deque()
        """Numbered messages; a text: here some are missing, and why."""
        self._number = 0
        self._lost = 0
        self._ended = False
        self._idle = False
        """Whether who reads them has looked at all there was."""

    def put(self, frame: bytes) -> None:
        """A message; where there is no room it is not kept, which is told."""
        with self._news:
            self._number += 1
            if self._bytes and self._bytes + len(frame) > self._bytes_max:
                if not self._lost:
                    logger.warning("websocket: the run is behind; messages are not kept")
                self._lost += 1
                return
            if self._lost:
                self._parts.append(f"{self._lost:,} messages did not fit, as the run was behind")
                self._lost = 0
            self._parts.append((self._number, frame))
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

    def __iter__(self) -> Iterator[list[tuple[int, bytes]] | str]:
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

    def _together(self) -> list[tuple[int, bytes]] | str:
        gathered: list[tuple[int, bytes]] = []
        while self._parts and len(gathered) < FRAMES_AT_ONCE:
            part = self._parts[0]
            if isinstance(part, str):
                if gathered:
                    break
                self._parts.popleft()
                return part
            self._parts.popleft()
            gathered.append(part)
            self._bytes -= len(part[1])
        return gathered


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
    quiet = logging.getLogger("openbell.adapters.feeds.websocket.library")
    quiet.propagate = False
    quiet.setLevel(logging.CRITICAL + 1)
    return quiet
