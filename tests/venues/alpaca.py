"""Alpaca's stream of stocks: arrays of messages, as MessagePack or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgpack
import orjson
from venues.venue import Case, Message, Refused, Row
from websockets.http11 import Request
from ws_vendor import PATIENCE_SECONDS, Client

from openbell.adapters.feeds import Feed, FeedOptions, open_feed
from openbell.market.bars import Kind

KEY, SECRET = "alpacakey", "alpacasecret"
AT = 1_719_840_600 * 10**9
"""2024-07-01 09:30 in New York, in ns."""


class Wire:
    def __init__(self) -> None:
        self.code = 402
        """Of the error by which an expired login is refused."""
        self.unknown: frozenset[str] = frozenset()
        """Symbols that are not among those subscribed to."""

    def admit(self, request: Request, expired: bool) -> int | None:
        return None if request.path in ("/v2/iex", "/v2/sip", "/v1beta1/boats") else 404

    def greet(self, client: Client, expired: bool) -> Talk:
        assert client.socket.request is not None
        kind = client.socket.request.headers.get("Content-Type", "application/json")
        talk = Talk(packed=kind == "application/msgpack")

        def say(*parts: dict[str, Any]) -> None:
            client.socket.send(talk.written(parts))

        def hear() -> dict[str, Any]:
            body = client.socket.recv(timeout=PATIENCE_SECONDS)
            if isinstance(body, bytes) and talk.packed:
                heard = msgpack.unpackb(body)
            else:
                heard = orjson.loads(body)
            assert isinstance(heard, dict)
            return heard

        say({"T": "success", "msg": "connected"})
        login = hear()
        good = login == {"action": "auth", "key": KEY, "secret": SECRET}
        if expired or not good:
            words = {402: "auth failed", 406: "connection limit exceeded"}.get(self.code, "no")
            say({"T": "error", "code": self.code, "msg": words})
            raise Refused
        say({"T": "success", "msg": "authenticated"})
        asked = hear()
        assert asked.pop("action") == "subscribe"
        taken = {
            channel: [symbol for symbol in symbols if symbol not in self.unknown]
            for channel, symbols in asked.items()
        }
        say({"T": "subscription", **taken})
        return talk


class Talk:
    def __init__(self, *, packed: bool) -> None:
        self.packed = packed
        self._sent: set[tuple[str, int]] = set()
        """Bars that a client has had: they are sent again as updates."""

    def written(self, parts: Sequence[dict[str, Any]]) -> Message:
        """A message of these parts; times in them are ns."""
        if self.packed:
            stamp = msgpack.Timestamp.from_unix_nano
            packed: bytes = msgpack.packb(
                [
                    {name: stamp(of) if name == "t" else of for name, of in part.items()}
                    for part in parts
                ]
            )
            return packed
        told = [
            {name: written(of) if name == "t" else of for name, of in part.items()}
            for part in parts
        ]
        return orjson.dumps(told).decode()

    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        told = [self._bar(row) if len(row) == 7 else trade(row) for row in rows]
        return [self.written(told[at : at + together]) for at in range(0, len(told), together)]

    def _bar(self, row: Row) -> dict[str, Any]:
        which = row[0], row[1]
        updated = which in self._sent
        self._sent.add(which)
        return bar(row, updated=updated)

    def heartbeat(self) -> Message | None:
        return None  # pings of the protocol

    def garbage(self) -> list[Message]:
        lacking = {"T": "t", "S": "A", "t": AT, "p": "ten"}
        bad_bar = {"T": "b", "S": "A", "t": AT, "o": 1.0}
        return [
            b"\xc1",
            b"\x93\x01",
            "[{",
            '{"T":"t"}',
            self.written([lacking, bad_bar, {"T": "new"}]),
            self.written([{"hello": "world"}]),
            "[3]",
        ]


def written(ns: int) -> str:
    """RFC 3339 with nanoseconds, without the zeros at the end."""
    fraction = f"{ns % 10**9:09d}".rstrip("0")
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}" + (
        f".{fraction}Z" if fraction else "Z"
    )


def trade(row: Row, number: int = 1, conditions: Sequence[str] = ("@",)) -> dict[str, Any]:
    symbol, ts, price, size = row
    return {
        "T": "t",
        "S": symbol,
        "i": number,
        "x": "V",
        "p": price,
        "s": size,
        "c": list(conditions),
        "z": "C",
        "t": ts,
    }


def bar(row: Row, *, updated: bool = False) -> dict[str, Any]:
    symbol, ts, opened, high, low, close, volume = row
    prices = {"o": opened, "h": high, "l": low, "c": close, "v": volume}
    return {"T": "u" if updated else "b", "S": symbol, **prices, "n": 3, "vw": close, "t": ts}


def status(symbol: str, code: str, message: str, ts: int = AT) -> dict[str, Any]:
    reason = {"rc": "LUDP", "rm": "Volatility Trading Pause"}
    return {"T": "s", "S": symbol, "sc": code, "sm": message, **reason, "z": "C", "t": ts}


def feed(url: str, *, kind: Kind = "ticks", **options: Any) -> Feed:
    given = {"url": url, "key": KEY, "secret": SECRET, "pause_max": "300ms", **options}
    interval_ns = 60 * 10**9 if kind == "bars" else None
    return open_feed(
        "alpaca",
        FeedOptions(
            name="t", kind=kind, interval_ns=interval_ns, given=given, symbols=("AAPL", "SPY")
        ),
    )


def bars_feed(url: str, **options: Any) -> Feed:
    return feed(url, kind="bars", encoding="json", **options)


def _bar(n: int) -> Row:
    low = 100.0 + n
    return (
        ("AAPL", "SPY")[n % 2],
        AT + n // 2 * 60 * 10**9,
        low + 1,
        low + 3,
        low,
        low + 2,
        50.0 + n,
    )


TRADES = Case(
    name="alpaca",
    kind="ticks",
    wire=Wire,
    feed=feed,
    rows=[
        (("AAPL", "SPY")[n % 2], AT + n * 1_000_001, round(190.01 + n / 7, 4), 100.0 + n)
        for n in range(12)
    ],
)

BARS = Case(
    name="alpaca bars", kind="bars", wire=Wire, feed=bars_feed, rows=[*map(_bar, range(12))]
)
