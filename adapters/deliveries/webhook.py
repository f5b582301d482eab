"""Signals by HTTP POST, signed."""

from __future__ import annotations

import hashlib
import hmac
import re
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import orjson

from openbell.adapters.deliveries.addresses import address_of
from openbell.adapters.deliveries.base import Failed, Message, Refused, SinkOptions
from openbell.adapters.deliveries.templates import compiled
from openbell.errors import ConfigError
from openbell.hosttime import monotonic, utc_now, wall

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool

ANSWER_BYTES = 64 * 2**10
"""Of an answer, more is not read."""

LEFT_ALONE_SECONDS = 3600.0
"""The longest that a receiver may ask to be left alone."""

NEVER = frozenset({400, 409, 410, 413, 414, 415, 422})
"""Answers by which a receiver refuses this very message; 409: it has that id with other bytes."""

_OURS = {"host", "content-length", "content-type", "transfer-encoding", "connection", "user-agent"}
_OURS |= {"idempotency-key", "x-openbell-kind", "x-openbell-signature"}


def open_webhook(options: SinkOptions) -> WebhookSink:
    """`url`, `secret`, `headers`, `body` (a template), `allow_private`, `ca` (a file)."""
    try:
        import urllib3  # noqa: F401 says now that it is missing
    except ImportError:
        raise ConfigError(
            "type: webhook needs the package urllib3; run `pip install 'openbell[webhook]'`"
        ) from None
    options.only("url", "secret", "headers", "body", "allow_private", "ca")
    url = options.text("url", example="https://example.com/signals")
    allow_private = options.flag("allow_private")
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    plain = re.fullmatch("[!-~]+", url) is not None
    if not plain or parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise ConfigError("options.url is no URL; write e.g. https://example.com/signals")
    if parts.username is not None:
        raise ConfigError("options.url holds a user; write an Authorization header under headers")
    if parts.scheme == "http" and not allow_private:
        raise ConfigError(
            "options.url begins with http://, so that anybody on the way reads and changes it; "
            "write https://, or allow_private: true if the receiver is in your own network"
        )
    secret = options.text("secret", "none") if "secret" in options.given else None
    template = options.given.get("body")
    return WebhookSink(
        url,
        secret=secret.encode() if secret is not None else None,
        headers=_headers(options.given.get("headers", {})),
        body=None if template is None else compiled(template),
        allow_private=allow_private,
        ca=options.text("ca") if "ca" in options.given else None,
        timeout_seconds=options.timeout_seconds,
    )


def _headers(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise ConfigError("options.headers: write names and values")
    for name, value in given.items():
        plain = isinstance(name, str) and isinstance(value, str)
        if not plain or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ConfigError(
                f"options.headers: {name} is no name with a text; write e.g. X-Key: abc"
            )
        if not value.isascii() or not value.isprintable():
            raise ConfigError(f"options.headers.{name}: write printable ASCII only")
        if name.lower() in _OURS:
            raise ConfigError(f"options.headers.{name} is set by openbell itself; leave it out")
    return dict(given)


def signature(secret: bytes, t: int, body: bytes) -> str:
    """The header `X-Openbell-Signature` of a body that is sent at t, seconds since 1970 UTC."""
    digest = hmac.new(secret, b"%d." % t + body, hashlib.sha256).hexdigest()
    return f"t={t},v1={digest}"


class WebhookSink:
    """One POST a message. A 2xx answer counts as taken; redirects are not followed."""

    at_once = 1

    def __init__(
        self,
        url: str,
        *,
        secret: bytes | None,
        headers: Mapping[str, str],
        body: Callable[[Mapping[str, Any]], bytes] | None,
        allow_private: bool,
        ca: str | None,
        timeout_seconds: float,
    ) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._netloc = parts.netloc
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = secret
        self._headers = headers
        self._body = body
        self._allow_private = allow_private
        self._ca = ca
        self._timeout_seconds = timeout_seconds
        self._pool: HTTPConnectionPool | None = None
        self._socket: socket.socket | None = None
        """Of the connection, so that a wait for its answer can be ended from another thread."""
        self._closed = False

    def deliver(self, messages: Sequence[Message]) -> None:
        body, key = self._content(messages)
        headers = {
            **self._headers,
            "X-Openbell-Kind": messages[0].kind,
            "Host": self._netloc,
            "Content-Type": "application/json",
            "User-Agent": "openbell",
            "Idempotency-Key": key,
        }
        if self._secret is not None:
            headers["X-Openbell-Signature"] = signature(self._secret, int(wall()), body)
        self._judge(*self._post(body, headers))

    def close(self) -> None:
        self._closed = True
        self._let_go()

    def _content(self, messages: Sequence[Message]) -> tuple[bytes, str]:
        """Made of the messages alone: who gets it again gets the same bytes under the same key."""
        bodies = [
            message.body
            if self._body is None or message.kind == "event"
            else self._body(message.fields)
            for message in messages
        ]
        # Names of sessions may have letters that a header may not.
        ids = [quote(message.id, safe=":-._~") for message in messages]
        if len(messages) == 1:
            return bodies[0], ids[0]
        digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32]
        return b'{"signals":[' + b",".join(bodies) + b"]}", f"digest:{digest}"

    def _post(
        self, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes]:
        from urllib3.exceptions import HTTPError

        began = monotonic()
        # The time-outs below are of single reads: who sends a byte now and then would pass them all.
        broken_off = threading.Event()

        def break_off() -> None:
            broken_off.set()
            self._let_go()

        late = threading.Timer(2 * self._timeout_seconds, break_off)
        late.daemon = True
        late.start()
        try:
            pool = self._pool or self._connected()
            answer = pool.urlopen(
                "POST",
                self._target,
                body=body,
                headers=headers,
                retries=False,
                redirect=False,
                assert_same_host=False,
                preload_content=False,
                decode_content=False,
            )
            said = answer.read(ANSWER_BYTES)
            if broken_off.is_set() or self._closed:
                raise OSError("the answer took too long")  # half of it would look like a whole one
            if answer.length_remaining:
                self._let_go()  # not worth reading to its end
            else:
                answer.release_conn()
            return answer.status, answer.headers, said
        except (
            HTTPError,
            OSError,
            ValueError,
            AttributeError,
        ) as error:  # the last two: closed meanwhile
            self._let_go()
            seconds = monotonic() - began
            what = "no answer" if seconds >= self._timeout_seconds else _first_line(error)
            raise Failed(f"{self._netloc}: {what} (after {seconds:.1f} s)") from error
        finally:
            late.cancel()
            late.join()

    def _connected(self) -> HTTPConnectionPool:
        """Connections to one address, which was looked at; TLS goes by the name all the same."""
        import urllib3

        if self._closed:
            raise Failed("it is being closed")
        address = address_of(self._host, self._port, allow_private=self._allow_private)
        timeout = urllib3.Timeout(connect=self._timeout_seconds, read=self._timeout_seconds)
        if self._tls:
            self._pool = urllib3.HTTPSConnectionPool(
                address,
                self._port,
                timeout=timeout,
                maxsize=1,
                cert_reqs="CERT_REQUIRED",
                ca_certs=self._ca,
                server_hostname=self._host,
                assert_hostname=self._host,
            )
        else:
            self._pool = urllib3.HTTPConnectionPool(address, self._port, timeout=timeout, maxsize=1)
        kind: Any = self._pool.ConnectionCls

        def connect(connection: Any) -> None:
            kind.connect(connection)
            self._socket = connection.sock

        self._pool.ConnectionCls = type("Watched", (kind,), {"connect": connect})
        return self._pool

    def _let_go(self) -> None:
        """Of the connection: the name is asked anew for the next one."""
        pool, self._pool = self._pool, None
        connected, self._socket = self._socket, None
        if connected is not None:
            with suppress(OSError):
                # Below TLS, whose state belongs to the thread that reads.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)
        if pool is not None:
            pool.close()

    def _judge(self, status: int, headers: Mapping[str, str], said: bytes) -> None:
        if 200 <= status < 300:
            return
        why = f"{self._netloc}: answered {status}{_shown(said)}"
        if status in NEVER:
            raise Refused(why)
        raise Failed(why, after_seconds=_left_alone(headers, said) if status >= 400 else None)


def _left_alone(headers: Mapping[str, str], said: bytes) -> float | None:
    """How long a receiver wants to be left alone: by the header, or as Telegram and Discord say it."""
    given = headers.get("Retry-After", "").strip()
    seconds: float | None = None
    if given:
        with suppress(ValueError, TypeError):  # the other: a date without a zone
            seconds = float(given) if given.isdigit() else _until(given)
    if seconds is None:
        with suppress(orjson.JSONDecodeError):
            found = orjson.loads(said)
            if isinstance(found, dict):
                inner = found.get("parameters")
                asked = found.get("retry_after")
                if asked is None and isinstance(inner, dict):
                    asked = inner.get("retry_after")
                if isinstance(asked, int | float) and not isinstance(asked, bool):
                    seconds = float(asked)
    return None if seconds is None else min(max(seconds, 0.0), LEFT_ALONE_SECONDS)


def _until(given: str) -> float:
    return (parsedate_to_datetime(given) - utc_now()).total_seconds()


def _shown(said: bytes) -> str:
    text = " ".join(said[:200].decode(errors="replace").split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f": {text}" if text else ""


def _first_line(error: BaseException) -> str:
    cause: BaseException = getattr(error, "reason", None) or error
    text = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    # Clients put their own names before it.
    return re.sub(r"^(<[^>]*>|\w+\([^)]*\)):? ?", "", text)
