"""Any vendor's WebSocket with JSON messages as a feed, as `feed.options` describes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from openbell.adapters.feeds.base import FeedOptions
from openbell.adapters.feeds.entries import Decoder, Refuse
from openbell.adapters.feeds.frames import Frames, Seen
from openbell.adapters.feeds.socket_options import KEY
from openbell.adapters.feeds.sockets import (
    Address,
    Line,
    Read,
    SocketFeed,
    closes_for_login,
    needs_websockets,
    where_of,
)
from openbell.adapters.feeds.waiting import Frame
from openbell.adapters.feeds.websocket_options import Options, expanded, options_of
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError
from openbell.hosttime import monotonic


def open_websocket_feed(options: FeedOptions) -> SocketFeed:
    """What `feed: {type: websocket, options: {url, fields, …}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used, or a secret is not there.
    """
    needs_websockets("websocket")
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
    return SocketFeed(_Configured(given, frames), given, options.symbols, where_of(given.url))


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


class _Configured:
    """What the options say that a vendor says."""

    def __init__(self, options: Options, frames: Frames) -> None:
        self._options, self._frames = options, frames
        self._secrets: _Secrets | None = None
        self._seen = Seen()
        self._ping_due: float | None = None

    def address(self) -> Address:
        self._secrets = secrets = _Secrets.of(self._options)
        return Address(secrets.url, secrets.headers, secrets.hidden)

    def greet(self, line: Line) -> None:
        ping = self._options.ping
        self._ping_due = None if ping is None else monotonic() + ping.every

    def subscribe(self, line: Line, symbols: Sequence[str]) -> None:
        assert self._secrets is not None
        theirs = [self._options.symbols.get(symbol, symbol) for symbol in symbols]
        for message in self._secrets.subscribe:
            for one in expanded(message, theirs, self._options.symbols_max):
                line.send(one)

    def idle(self, line: Line) -> None:
        ping = self._options.ping
        if ping is not None and self._ping_due is not None and monotonic() >= self._ping_due:
            assert self._secrets is not None
            line.send(self._secrets.ping)
            self._ping_due = monotonic() + ping.every

    def refuses(self, code: int, reason: str) -> bool:
        return closes_for_login(code, reason, self._options.auth_codes)

    def read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        numbered = [(frame.number, frame.body) for frame in frames]
        rows, login = self._frames.read(numbered, refuse, self._seen)
        told, self._seen.first_others = self._seen.first_others, []
        return Read(rows=rows, login=login, others=told)
