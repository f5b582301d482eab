"""A webhook receiver on loopback that fails as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson


@dataclass(frozen=True)
class Got:
    """A request, as it came."""

    key: str
    """Its Idempotency-Key."""
    body: bytes
    headers: Mapping[str, str]
    path: str

    @property
    def fields(self) -> Any:
        return orjson.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """What a receiver does with a request."""

    status: int = 200
    headers: Mapping[str, str] = ()  # type: ignore[assignment]
    body: bytes = b""
    closes: bool = False
    """After it has taken the request it closes the connection, without an answer."""
    hangs: bool = False
    """It never answers."""


OK = Answer()


class Receiver:
    """Keeps what it got, and what it took: a request that it answered with 2xx, or closed on."""

    def __init__(self, plan: Callable[[int], Answer]) -> None:
        self.got: list[Got] = []
        self.taken: list[Got] = []
        self.plan = plan
        self.changed = threading.Condition()
        self.over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                key = self.headers.get("Idempotency-Key", "")
                got = Got(key, body, dict(self.headers), self.path)
                with receiver.changed:
                    answer = receiver.plan(len(receiver.got))
                    receiver.got.append(got)
                    if not answer.hangs and (answer.closes or 200 <= answer.status < 300):
                        receiver.taken.append(got)
                    receiver.changed.notify_all()
                if answer.hangs:
                    receiver.over.wait()
                if answer.hangs or answer.closes:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in dict(answer.headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.over.set()
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()

    def wait(self, until: Callable[[], bool], seconds: float = 120.0) -> None:
        with self.changed:
            assert self.changed.wait_for(until, seconds), f"{len(self.got)} requests came"

    def first_by_key(self) -> dict[str, bytes]:
        """What it took, by key, in the order in which each came first."""
        found: dict[str, bytes] = {}
        for got in self.taken:
            found.setdefault(got.key, got.body)
        return found


@contextmanager
def receiving(plan: Callable[[int], Answer] = lambda _: OK) -> Iterator[Receiver]:
    receiver = Receiver(plan)
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()
