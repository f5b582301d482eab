"""A vendor with JSON messages, as `feed.type: websocket` is configured for one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from venues.venue import Case, Message, Row
from websockets.http11 import Request
from ws_vendor import Client

from openbell.adapters.feeds import Feed, FeedOptions, open_feed

AT = 1_719_840_600_000


class Wire:
    def admit(self, request: Request, expired: bool) -> int | None:
        return 401 if expired else None

    def greet(self, client: Client, expired: bool) -> Talk:
        assert client.asked()["op"] == "subscribe"
        return Talk()


class Talk:
    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        told = [
            {"S": symbol, "t": ts // 10**6, "p": price, "s": size}
            for symbol, ts, price, size in rows
        ]
        return [
            orjson.dumps(told[at : at + together]).decode() for at in range(0, len(told), together)
        ]

    def heartbeat(self) -> Message | None:
        return '{"op":"heartbeat"}'

    def garbage(self) -> list[Message]:
        return ["[{", b"\xff\xfe", '[{"S":"A","t":1,"p":"ten"}]']


def feed(url: str, **options: Any) -> Feed:
    given = {
        "url": url,
        "subscribe": {"op": "subscribe", "symbols": "{symbols}"},
        "fields": {"symbol": "S", "ts": "t", "price": "p", "size": "s"},
        "where": {"S": "*"},
        "ts_unit": "ms",
        "pause_max": "300ms",
        **options,
    }
    return open_feed(
        "websocket",
        FeedOptions(name="t", kind="ticks", interval_ns=None, given=given, symbols=("A", "B")),
    )


CASE = Case(
    name="websocket",
    kind="ticks",
    wire=Wire,
    feed=feed,
    rows=[("AB"[n % 2], (AT + n) * 10**6, 10.0 + n, 1.0 + n) for n in range(12)],
)
