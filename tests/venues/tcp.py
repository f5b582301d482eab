"""What `ws_vendor` is for sockets without a frame around what is said: plain TCP, on loopback."""

from __future__ import annotations

import contextlib
import socket as sockets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ws_vendor import PATIENCE_SECONDS


class Stream:
    """A connection's bytes; it does what tests do with a WebSocket."""

    def __init__(self, socket: sockets.socket) -> None:
        self.socket = socket
        self._left = b""

    def send(self, message: bytes | Sequence[bytes]) -> None:
        """Fragments each go out by themselves."""
        for part in [message] if isinstance(message, bytes) else message:
            self.socket.sendall(part)

    def recv(self, timeout: float = PATIENCE_SECONDS) -> bytes:
        """Some bytes, as soon as there are any."""
        self.socket.settimeout(timeout)
        try:
            data, self._left = self._left or self.socket.recv(65536), b""
        finally:
            self.socket.settimeout(None)
        if not data:
            raise EOFError("the client has gone")
        return data

    def exactly(self, count: int) -> bytes:
        """So many bytes."""
        data, self._left = self._left, b""
        while len(data) < count:
            data += self.recv()
        self._left = data[count:]
        return data[:count]

    def line(self) -> str:
        """Up to the next end of a line."""
        data = self._left
        self._left = b""
        while b"\n" not in data:
            data += self.recv()
        line, _, self._left = data.partition(b"\n")
        return line.decode()

    def close(self, code: int = 1000, reason: str = "") -> None:
        """As a server does that says no more."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(sockets.SHUT_WR)


@dataclass
class TcpClient:
    number: int
    """Of the connection, from 0."""
    socket: Stream
    vendor: TcpVendor

    def stay(self) -> None:
        """Until the client goes, or the vendor is shut."""
        while not self.vendor.shut.is_set():
            try:
                self.vendor.heard.append(self.socket.recv(timeout=0.1))
            except TimeoutError:
                continue
            except (EOFError, OSError):
                return


@dataclass
class TcpVendor:
    script: Callable[[TcpClient], None]
    heard: list[bytes] = field(default_factory=list)
    shut: threading.Event = field(default_factory=threading.Event)
    failed: list[BaseException] = field(default_factory=list)
    url: str = ""

    def handle(self, number: int, socket: sockets.socket) -> None:
        try:
            with socket, contextlib.suppress(OSError, EOFError):
                self.script(TcpClient(number, Stream(socket), self))
        except BaseException as error:
            self.failed.append(error)
            raise


@contextmanager
def tcp_vendor(script: Callable[[Any], None], admits: Any = None) -> Iterator[TcpVendor]:
    """A vendor that listens on a port of its own, and does this with each connection."""
    of = TcpVendor(script)
    listening = sockets.create_server(("127.0.0.1", 0))
    of.url = f"tcp://127.0.0.1:{listening.getsockname()[1]}"
    threads: list[threading.Thread] = []

    def take() -> None:
        with contextlib.suppress(OSError):
            for number in range(10**6):
                socket, _ = listening.accept()
                thread = threading.Thread(target=of.handle, args=(number, socket), daemon=True)
                threads.append(thread)
                thread.start()

    taker = threading.Thread(target=take, name="tcp-vendor", daemon=True)
    taker.start()
    try:
        yield of
    finally:
        of.shut.set()
        with contextlib.suppress(OSError):
            listening.shutdown(sockets.SHUT_RDWR)
        listening.close()
        for thread in (taker, *threads):
            thread.join(PATIENCE_SECONDS)
    assert not of.failed, of.failed
