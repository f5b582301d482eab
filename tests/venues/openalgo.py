"""OpenAlgo's WebSocket proxy, as its code answers; OpenAlgo's own client reads what it writes.

Written from https://docs.openalgo.in (WebSockets) and from what the proxy is seen to send.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from venues.venue import Case, Message, Refused, Row
from websockets.http11 import Request
from ws_vendor import Client

from openbell.adapters.feeds import Feed, FeedOptions, open_feed

KEY = "0123456789abcdef0123456789abcdef"
AT = 1_719_840_600_000_000_000
SECOND = 10**9
OPEN = 1_719_805_500
"""Of NSE on the same day, in seconds."""


class Wire:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.unknown: set[str] = set()
        """Symbols that the broker does not have."""

    def admit(self, request: Request, expired: bool) -> int | None:
        return None

    def greet(self, client: Client, expired: bool) -> Talk:
        login = client.asked()
        assert login["action"] == "authenticate"
        if expired or login["api_key"] != KEY:
            client.say(
                {"type": "error", "code": "AUTHENTICATION_ERROR", "message": "Invalid API key"}
            )
            raise Refused
        client.say(
            {"type": "auth", "status": "success", "message": "Authentication successful"}
            | {"broker": "zerodha", "user_id": "u"}
        )
        asked = client.asked()
        self.answer(client, asked)
        return Talk(asked["mode"])

    def answer(self, client: Client, asked: dict[str, Any]) -> None:
        """To what subscribes: symbols in a list, or one by itself as the vendor's client has it."""
        assert asked["action"] == "subscribe"
        self.asked.append(asked)
        named = asked.get("symbols") or [asked]
        told = []
        for one in named:
            good = one["symbol"] not in self.unknown
            told.append(
                {
                    "symbol": one["symbol"],
                    "exchange": one["exchange"],
                    "status": "success" if good else "error",
                    "mode": asked["mode"],
                    "depth": 5,
                    "broker": "zerodha",
                }
                | ({} if good else {"message": f"Symbol {one['symbol']} not found"})
            )
        status = "partial" if self.unknown else "success"
        client.say({"type": "subscribe", "status": status, "subscriptions": told})


class Talk:
    def __init__(self, mode: int) -> None:
        self.mode = mode

    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        """One a row: the proxy does not put several into a message."""
        return [tick(self.mode, *row) for row in rows]

    def heartbeat(self) -> Message | None:
        return json.dumps({"type": "pong", "server_timestamp": AT // 10**6})

    def garbage(self) -> list[Message]:
        return [
            "{",
            b"\xff\xfe",
            tick(2, "C", AT, 1.0, 1.0),
            tick(2, "A", AT, "ten", 1.0),
            '{"type":"market_data","symbol":"A","exchange":"NSE","mode":1,"data":7}',
        ]


def tick(mode: int, symbol: str, ts: int, price: Any, volume: float, **more: Any) -> str:
    data = {"ltp": price, "ltt": ts // SECOND, "timestamp": ts // 10**6, "volume": volume}
    if mode == 2:
        data |= {"open": 1.0, "high": 2.0, "low": 0.5, "close": 1.5, "last_trade_quantity": 5}
        data |= {"change": 0.0, "change_percent": 0.0, "avg_trade_price": 1.0}
    message = {"type": "market_data", "symbol": symbol, "exchange": "NSE", "mode": mode}
    return json.dumps(message | {"broker": "zerodha", "data": data | more})


def feed(url: str, watched: tuple[str, ...] = ("A", "B"), **options: Any) -> Feed:
    given = {
        "api_key": KEY,
        "exchange": "NSE",
        "url": url,
        "pause_max": "300ms",
        "stamps": "ltt",
        **options,
    }
    return open_feed(
        "openalgo",
        FeedOptions(
            name="t",
            kind="ticks",
            interval_ns=None,
            given=given,
            symbols=watched,
            size_is="day_total",
        ),
    )


CASE = Case(
    name="openalgo",
    kind="ticks",
    wire=Wire,
    feed=feed,
    rows=[("AB"[n % 2], AT + n * SECOND, 10.25 + n, 100.0 + n) for n in range(12)],
    repeats=False,
    heavy=True,
)

CASES = (CASE,)

# A run of openbell's own.

RUN_SECRETS = {"KEY": KEY}


def run_case(swings: Callable[..., list[Row]]) -> tuple[Case, dict[str, Any]]:
    names = ("INFY", "TCS")
    return replace(CASE, rows=swings(names, OPEN, total=True)), {
        "exchange": "XNSE",
        "symbols": list(names),
        "sessions": [{"name": "Open", "start": "09:15", "end": "09:19"}],
        "data": {"kind": "ticks"},
        "feed": {
            "size_is": "day_total",
            "options": {"api_key": "${KEY}", "exchange": "NSE", "stamps": "ltt"},
        },
    }


def addressed(url: str) -> dict[str, Any]:
    return {"url": url}
