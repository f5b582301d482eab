"""Answers GET on a few paths: for health checks and for Prometheus, not for the public."""

from __future__ import annotations

import hmac
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from loguru import logger

from openbell.errors import RunError
from openbell.hidden import conceal

ASKED_AT_ONCE = 16
"""How many may be answered at a time; more are told to come again."""

SECONDS = 5.0
"""How long who asks may take over it, all in all."""


class Answer(NamedTuple):
    status: int
    kind: str
    """The content type."""
    text: str


class Server:
    """Listens on a thread of its own from when it is made.

    Parameters
    ----------
    token : callable
        What has to be shown as `Authorization: Bearer …`; None: nothing.
    answers : mapping
        By path, what makes the answer; called on the thread of who asks.

    Raises
    ------
    openbell.errors.RunError
        If the address can't be listened on.
    """

    def __init__(
        self,
        host: str,
        port: int,
        token: Callable[[], str | None],
        answers: Mapping[str, Callable[[], Answer]],
    ) -> None:
        class Handler(_Handler):
            pass

        Handler.answers, Handler.token = answers, staticmethod(token)
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = type("Listening", (_Listening,), {"address_family": family})
            self._server: ThreadingHTTPServer = listening((host, port), Handler)
        except OSError as error:
            raise RunError(
                f"web: can't listen on {host}:{port}: {error.strerror or error}; set web.port to "
                "another one, e.g. by OPENBELL_WEB__PORT, or web.host to an address of this machine"
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="openbell-web", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Listening(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *given: Any) -> None:
        self._room = threading.BoundedSemaphore(ASKED_AT_ONCE)
        super().__init__(*given)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
            return
        with suppress(OSError):
            request.setblocking(False)
            request.send(b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 1\r\n\r\n")
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        def break_off() -> None:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

        late = threading.Timer(SECONDS, break_off)
        late.daemon = True
        late.start()
        try:
            super().process_request_thread(request, client_address)
        finally:
            late.cancel()
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.opt(exception=True).debug("web: who asked from {} was not answered", client_address)


class _Handler(BaseHTTPRequestHandler):
    timeout = SECONDS
    answers: Mapping[str, Callable[[], Answer]]
    token: Callable[[], str | None]

    def do_GET(self) -> None:
        self._say(self._answer())

    do_HEAD = do_GET

    def _answer(self) -> Answer:
        token = self.token()
        shown = self.headers.get("Authorization") or ""
        if token is not None and not hmac.compare_digest(
            shown.encode("utf-8", "surrogateescape"), f"Bearer {token}".encode()
        ):
            return Answer(401, "text/plain", "show the token: Authorization: Bearer …\n")
        path = self.path.partition("?")[0]
        answer = self.answers.get(path)
        if answer is None:
            there = ", ".join(sorted(self.answers))
            return Answer(404, "text/plain", f"there are {there}\n")
        try:
            return answer()
        except Exception:  # noqa: BLE001 who asks must be told, and the run goes on
            logger.exception("web: {} could not be answered", path)
            return Answer(500, "text/plain", "this could not be answered; the log says why\n")

    def _say(self, answer: Answer) -> None:
        body = conceal(answer.text).encode()
        self.send_response(answer.status)
        if answer.status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def version_string(self) -> str:
        return "openbell"

    def log_message(self, format: str, *args: Any) -> None:
        logger.debug("web: {}", format % args)
