"""A vendor's HTTP interface on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson


@dataclass(frozen=True)
class Asked:
    """A GET, or a POST of JSON."""

    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(repr=False)
    """Names in lower case."""
    body: Any = field(default=None, repr=False)


Answer = Callable[[Asked], tuple[int, object]]
"""Status and JSON."""


@contextmanager
def answering(answer: Answer) -> Iterator[tuple[str, list[Asked]]]:
    """An address that answers so, and what it was asked."""
    heard: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            size = int(headers.get("content-length", 0))
            body = orjson.loads(self.rfile.read(size)) if size else None
            asked = Asked(parts.path, query, headers, body)
            heard.append(asked)
            status, given = answer(asked)
            answer_of = orjson.dumps(given)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer_of)))
            self.end_headers()
            self.wfile.write(answer_of)

        do_POST = do_GET

        def log_message(self, *given: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", heard
    finally:
        server.shutdown()
        server.server_close()
        thread.join(120)
