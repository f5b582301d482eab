"""Zerodha Kite's ticker: packets in binary messages."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from venues.venue import Case, Message, Row
from websockets.http11 import Request
from ws_vendor import Client

from openbell.adapters.feeds import Feed, FeedOptions, open_feed

KEY, TOKEN = "kitekey", "accesstoken"
AT = 1_719_805_500
"""2024-07-01 09:15 in India, in seconds."""

TOKENS = {"INFY": 408065, "NIFTY 50": 256265, "USDINR24JULFUT": 1_067_011}
DIVISORS = {1: 100, 3: 10_000_000, 9: 100}


class Wire:
    def admit(self, request: Request, expired: bool) -> int | None:
        asks = parse_qs(urlsplit(request.path).query)
        good = asks == {"api_key": [KEY], "access_token": [TOKEN]}
        return None if good and not expired else 403

    def greet(self, client: Client, expired: bool) -> Talk:
        subscribed = client.asked()
        assert subscribed["a"] == "subscribe"
        mode = client.asked()
        assert mode["a"] == "mode"
        assert mode["v"][1] == subscribed["v"]
        return Talk(mode["v"][0], set(subscribed["v"]))


class Talk:
    def __init__(self, mode: str = "full", tokens: set[int] | None = None) -> None:
        self.mode = mode
        self.tokens = set(TOKENS.values()) if tokens is None else tokens

    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        asked = [row for row in rows if TOKENS[row[0]] in self.tokens]
        return [
            message([packet(*of, mode=self.mode) for of in asked[at : at + together]])
            for at in range(0, len(asked), together)
        ]

    def heartbeat(self) -> Message | None:
        return b"\x00"

    def garbage(self) -> list[Message]:
        good = message([packet("INFY", AT * 10**9, 1.0, 1.0)])
        return [
            good[:50],
            b"\x00\x00\x01",
            message([b"\x00" * 31]),
            message([struct.pack(">II", 999 << 8 | 1, 100)]),
            "{no json",
        ]


def message(packets: Sequence[bytes]) -> bytes:
    parts = [struct.pack(">H", len(of)) + of for of in packets]
    return struct.pack(">H", len(parts)) + b"".join(parts)


def packet(symbol: str, ts: int, price: float, total: float, *, mode: str = "full") -> bytes:
    """As the exchange sends it at the second of the last trade.

    Parameters
    ----------
    total : float
        Traded since the day began.
    """
    token, at = TOKENS[symbol], ts // 10**9
    whole = round(price * DIVISORS[token & 0xFF])
    if mode == "ltp":
        return struct.pack(">II", token, whole)
    if token & 0xFF == 9:
        high, low, opened, closed, change = whole + 500, whole - 500, whole - 5, whole - 300, 300
        parts = struct.pack(">7I", token, whole, high, low, opened, closed, change)
        return parts if mode == "quote" else parts + struct.pack(">I", at)
    quote = struct.pack(
        ">11I", token, whole, 7, whole - 1, int(total), 1000, 900, whole - 5, whole + 500, 1, 2
    )
    if mode == "quote":
        return quote
    depth = b"".join(struct.pack(">IIHH", 10 + n, whole + n, n, 0) for n in range(10))
    return quote + struct.pack(">5I", at, 0, 0, 0, at) + depth


def feed(url: str, *, register: tuple[str, ...] = tuple(TOKENS), **options: Any) -> Feed:
    given = {
        "url": url,
        "api_key": KEY,
        "access_token": TOKEN,
        "symbols": TOKENS,
        "pause_max": "300ms",
        **options,
    }
    made = FeedOptions(
        name="t",
        kind="ticks",
        interval_ns=None,
        given=given,
        symbols=register,
        size_is="day_total",
    )
    return open_feed("kite", made)


def _row(n: int) -> Row:
    symbol = tuple(TOKENS)[n % 3]
    price = (1573.15, 24_100.05, 83.4725)[n % 3] + n * 0.25
    total = 0.0 if symbol == "NIFTY 50" else 1000.0 + 10 * n
    return symbol, (AT + n // 3) * 10**9, round(price, 4), total


CASE = Case(
    name="kite",
    kind="ticks",
    wire=Wire,
    feed=feed,
    rows=[_row(n) for n in range(12)],
    repeats=False,
)
