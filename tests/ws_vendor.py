"""A vendor of market data with a WebSocket, on loopback, that misbehaves where it is told to."""

from __future__ import annotations

import contextlib
import logging
import socket as sockets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

PATIENCE_SECONDS = 120.0

Script = Callable[["Client"], None]
"""What is done with one connection; it is closed when that returns."""


@dataclass
class Client:
    """A connection, as the vendor sees it."""

    number: int
    """Of the connection, from 0."""
    socket: ServerConnection
    vendor: Vendor

    def asked(self) -> Any:
        """The next message that the client sent."""
        return orjson.loads(self.socket.recv(timeout=PATIENCE_SECONDS))

    def say(self, message: Any, *, binary: bool = False) -> None:
        body = message if isinstance(message, bytes) else orjson.dumps(message)
        self.socket.send(body if binary else body.decode())

    def stay(self) -> None:
        """Until the client goes, or the vendor is shut."""
        while not self.vendor.shut.is_set():
            try:
                self.vendor.heard.append(orjson.loads(self.socket.recv(timeout=0.1)))
            except TimeoutError:
                continue
            except ConnectionClosed:
                return


@dataclass
class Vendor:
    """What it does with each connection in turn; the last script holds for all further ones."""

    scripts: list[Script]
    answers: list[int] = field(default_factory=list)
    """HTTP statuses with which the first handshakes are refused."""
    admits: Callable[[Request], int | None] = field(default=lambda request: None)
    """Looks at each handshake after these; gives the status that refuses it, if it is refused."""
    retry_after: str | None = None
    requests: list[Request] = field(default_factory=list)
    heard: list[Any] = field(default_factory=list)
    shut: threading.Event = field(default_factory=threading.Event)
    clients: int = 0
    failed: list[BaseException] = field(default_factory=list)
    url: str = ""

    def handle(self, socket: ServerConnection) -> None:
        number, self.clients = self.clients, self.clients + 1
        script = self.scripts[min(number, len(self.scripts) - 1)]
        try:
            with contextlib.suppress(ConnectionClosed):
                script(Client(number, socket, self))
        except BaseException as error:
            self.failed.append(error)
            raise

    def admit(self, socket: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if len(self.requests) > len(self.answers):
            status = self.admits(request)
        else:
            status = self.answers[len(self.requests) - 1]
        if status is None:
            return None
        answer = socket.respond(status, "no\n")
        if self.retry_after is not None:
            answer.headers["Retry-After"] = self.retry_after
        return answer


@contextmanager
def vendor(*scripts: Script, ssl: Any = None, **more: Any) -> Iterator[Vendor]:
    """A vendor that listens on a port of its own."""
    of = Vendor(list(scripts), **more)
    logger = logging.getLogger("tests.ws_vendor")
    logger.setLevel(logging.CRITICAL + 1)
    server: Server = serve(
        of.handle,
        "127.0.0.1",
        0,
        ssl=ssl,
        process_request=of.admit,
        ping_interval=None,
        close_timeout=1,
        logger=logger,
    )
    of.url = f"{'ws' if ssl is None else 'wss'}://127.0.0.1:{server.socket.getsockname()[1]}"
    thread = threading.Thread(target=server.serve_forever, name="ws-vendor", daemon=True)
    thread.start()
    try:
        yield of
    finally:
        of.shut.set()
        server.shutdown()
        thread.join(PATIENCE_SECONDS)
    assert not of.failed, of.failed


@contextmanager
def cable(to: str, pulled: threading.Event) -> Iterator[str]:
    """A way to a vendor; once it is pulled, the connection that was first says nothing more, and
    neither side is told: it is half open."""
    port = int(to.rpartition(":")[2])
    ends: list[sockets.socket] = []

    def carry(one: sockets.socket, other: sockets.socket, first: bool) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                if first and pulled.is_set():
                    return
                other.sendall(data)
            other.shutdown(sockets.SHUT_WR)

    def take() -> None:
        first = True
        with contextlib.suppress(OSError):
            while True:
                here, _ = listening.accept()
                there = sockets.create_connection(("127.0.0.1", port))
                ends.extend((here, there))
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=carry, args=(*pair, first), daemon=True).start()
                first = False

    listening = sockets.create_server(("127.0.0.1", 0))
    threading.Thread(target=take, daemon=True).start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        for one in (listening, *ends):
            with contextlib.suppress(OSError):
                one.shutdown(sockets.SHUT_RDWR)
            one.close()
