"""A TWS for one client: the handshake, and what it says of trades, bars and history.

Its messages are texts with NUL between, each with its length before it. Written from
https://ibkrcampus.com/campus/ibkr-api-page/twsapi-doc; ib_async is who reads it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from venues.tcp import Stream, tcp_vendor
from venues.venue import Case, Message, Row

from openbell.adapters.feeds import Feed, FeedOptions, open_feed

pytest.importorskip("ib_async", reason="ib_async is not installed: openbell[ib]")

AT = 1_719_840_600
SECOND = 10**9
VERSION = 176
START_API, TICKS, REAL_TIME_BARS, HISTORY, PAST_TICKS = "71", "97", "50", "20", "96"
FIELDS_BEFORE_SYMBOL = {TICKS: 3, REAL_TIME_BARS: 4, HISTORY: 3, PAST_TICKS: 3}
"""Where a contract's symbol stands: after the message's number, version, request and contract id."""


def packed(*fields: Any) -> bytes:
    body = "".join(f"{field}\0" for field in fields).encode()
    return struct.pack(">I", len(body)) + body


def asked(on: Stream) -> list[str]:
    """The next message of the client's."""
    size = struct.unpack(">I", on.exactly(4))[0]
    return on.exactly(size).decode().split("\0")[:-1]


class Tws:
    def __init__(self, symbols: int = 2) -> None:
        self._symbols = symbols
        self.requests: list[list[str]] = []

    def admit(self, request: Any, expired: bool) -> int | None:
        return None

    def log_in(self, on: Stream) -> None:
        assert on.exactly(4) == b"API\0"
        assert asked_version(on).startswith("v157..")
        on.send(packed(VERSION, "20240701 09:30:00 EST"))
        assert asked(on)[0] == START_API
        on.send(packed(15, 1, "DU1") + packed(9, 1, 1))

    def greet(self, client: Any, expired: bool) -> Talk:
        on: Stream = client.socket
        self.log_in(on)
        talk = Talk()
        for _ in range(self._symbols):
            request = asked(on)
            self.requests.append(request)
            talk.subscribed(request)
        on.send(b"".join(talk.begins()))
        return talk


def asked_version(on: Stream) -> str:
    size = struct.unpack(">I", on.exactly(4))[0]
    return on.exactly(size).decode()


class Talk:
    def __init__(self) -> None:
        self.requests: dict[str, str] = {}
        self.kind = TICKS

    def subscribed(self, request: list[str]) -> None:
        self.kind = request[0]
        number, symbol = told_of(request)
        self.requests[symbol] = number

    def begins(self) -> list[bytes]:
        """Of bars that are kept up to date the newest one; ib_async has to have one to begin with."""
        if self.kind != HISTORY:
            return []
        first = {row[0]: row for row in reversed(MINUTES.rows)}
        told = []
        for symbol, number in self.requests.items():
            _, ts, opened, high, low, close, volume = first[symbol]
            values = (opened, high, low, close, volume, close, 4)
            told.append(packed(17, number, "", "", 1, ts // SECOND, *values))
        return told

    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        told = [self.told(*row) for row in rows]
        return [b"".join(told[at : at + together]) for at in range(0, len(told), together)]

    def told(self, symbol: str, ts: int, *values: float) -> bytes:
        number, at = self.requests[symbol], ts // SECOND
        if self.kind == TICKS:
            return packed(99, number, 1, at, values[0], values[1], 0, "NASDAQ", "")
        opened, high, low, close, volume = values
        if self.kind == REAL_TIME_BARS:
            return packed(50, 3, number, at, opened, high, low, close, volume, close, 4)
        return packed(90, number, 4, at, opened, close, high, low, close, volume)

    def heartbeat(self) -> Message | None:
        return packed(49, 1, AT)

    def garbage(self) -> list[Message]:
        return []


def told_of(request: list[str]) -> tuple[str, str]:
    """Number and symbol of a request."""
    at = FIELDS_BEFORE_SYMBOL[request[0]]
    return request[at - 2], request[at]


def feed(
    url: str,
    interval_s: int | None = None,
    watched: tuple[str, ...] = ("A", "B"),
    **options: Any,
) -> Feed:
    heartbeat = options.pop("heartbeat", None)  # it has none of its own
    host, _, port = url.rpartition("/")[2].partition(":")
    given = {
        "host": host,
        "port": int(port),
        "pause_max": "300ms",
        **({} if heartbeat is None else {"silence_max": heartbeat}),
        **options,
    }
    return open_feed(
        "ib",
        FeedOptions(
            name="t",
            kind="ticks" if interval_s is None else "bars",
            interval_ns=None if interval_s is None else interval_s * SECOND,
            given=given,
            symbols=watched,
        ),
    )


WITHOUT = ("token expired", "garbage", "resubscribed")
"""TWS has no tokens; what it says besides is nothing that a client of ib_async sees; what is asked for
anew has another number, which a test of its own follows."""

PRICES = (10.25, 12.0, 9.5, 11.0, 5.0)

TRADES = Case(
    name="ib trades",
    kind="ticks",
    wire=Tws,
    feed=feed,
    rows=[("AB"[n % 2], (AT + n) * SECOND, 10.25 + n, 1.0 + n) for n in range(12)],
    serve=tcp_vendor,
    without=WITHOUT,
    heavy=True,
)

BARS = Case(
    name="ib bars of 5 s",
    kind="bars",
    wire=Tws,
    feed=lambda url, **options: feed(url, 5, **options),
    rows=[
        ("AB"[n % 2], (AT + n // 2 * 5) * SECOND, *(value + n for value in PRICES))
        for n in range(12)
    ],
    serve=tcp_vendor,
    without=WITHOUT,
    heavy=True,
)

MINUTES = Case(
    name="ib bars of 1 m",
    kind="bars",
    wire=Tws,
    feed=lambda url, **options: feed(url, 60, **options),
    rows=[
        ("AB"[n % 2], (AT + n // 2 * 60) * SECOND, *(value + n for value in PRICES))
        for n in range(12)
    ],
    repeats=False,
    by_symbol=True,
    serve=tcp_vendor,
    without=(*WITHOUT, "disorder"),
    heavy=True,
)

CASES = (TRADES, BARS, MINUTES)

# A run of openbell's own.

RUN_SECRETS: dict[str, str] = {}


def run_case(swings: Callable[..., list[Row]]) -> tuple[Case, dict[str, Any]]:
    names = ("AAPL", "MSFT")
    return replace(TRADES, rows=swings(names, AT)), {
        "exchange": "XNYS",
        "symbols": list(names),
        "sessions": [{"name": "Open", "start": "09:30", "end": "09:34"}],
        "data": {"kind": "ticks"},
        "feed": {"options": {}},
    }


def addressed(url: str) -> dict[str, Any]:
    host, _, port = url.rpartition("/")[2].partition(":")
    return {"host": host, "port": int(port)}
