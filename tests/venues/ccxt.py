"""Binance's stream and the part of its HTTP interface that ccxt asks.

Written from https://developers.binance.com/docs/binance-spot-api-docs; ccxt is who reads it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from venues.venue import Case, Message, Row
from websockets.http11 import Request
from ws_vendor import Client

from openbell.adapters.feeds import Feed, FeedOptions, open_feed

pytest.importorskip("ccxt", reason="ccxt is not installed: openbell[ccxt]")

AT = 1_719_840_600_000
MINUTE = 60_000
MS = 10**6

Answer = Callable[[dict[str, str]], Any]


def market(base: str, quote: str = "USDT") -> dict[str, Any]:
    """As `exchangeInfo` has it."""
    return {
        "symbol": base + quote,
        "status": "TRADING",
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00"}
            | {"tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000.0"}
            | {"stepSize": "0.00001"},
        ],
    }


@contextmanager
def rest(**answers: Answer) -> Iterator[str]:
    """Binance's HTTP interface: each path's last name, and what it answers."""
    known: dict[str, Answer] = {
        "exchangeInfo": lambda asked: {"symbols": [market("A"), market("B")]},
        **answers,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            answer = known.get(parts.path.rpartition("/")[2])
            asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            body = json.dumps(answer(asked) if answer is not None else {"code": -1}).encode()
            self.send_response(200 if answer is not None else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v3"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(120)


class Wire:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    def admit(self, request: Request, expired: bool) -> int | None:
        return 401 if expired else None

    def greet(self, client: Client, expired: bool) -> Talk:
        asked = client.asked()
        assert asked["method"] == "SUBSCRIBE"
        self.asked.append(asked)
        client.say({"result": None, "id": asked["id"]})
        return Talk(asked["params"][0].partition("@")[2])


class Talk:
    def __init__(self, stream: str) -> None:
        self.stream = stream

    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        """One a row: Binance does not put several into a message."""
        return [self.told(*row) for row in rows]

    def told(self, symbol: str, ts: int, *values: float) -> str:
        name, at = symbol.replace("/", ""), ts // MS
        if self.stream == "trade":
            price, size, number = values[0], values[1], values[2] if len(values) > 2 else at
            return trade(name, at, str(price), str(size), number)
        return kline(name, at, *values, closed=True)

    def heartbeat(self) -> Message | None:
        return '{"result":null,"id":99}'

    def garbage(self) -> list[Message]:
        return [trade("AUSDT", AT, "", "1", 77)]


def trade(name: str, at: int, price: str, size: str, number: Any) -> str:
    data = {"e": "trade", "E": at + 3, "s": name, "t": number, "p": price, "q": size, "T": at}
    return json.dumps(data | {"m": True, "M": True})


def kline(name: str, at: int, *values: float, closed: bool) -> str:
    names = ("o", "h", "l", "c", "v")
    texts = {of: f"{value:.8f}" for of, value in zip(names, values, strict=True)}
    k = {"t": at, "T": at + MINUTE - 1, "s": name, "i": "1m", "f": 1, "L": 2, "n": 2, "x": closed}
    k |= texts | {"q": "1", "V": "1", "Q": "1", "B": "0"}
    return json.dumps({"e": "kline", "E": at + 5, "s": name, "k": k})


def client_of(url: str, http: str) -> dict[str, Any]:
    """What ccxt's exchange is made with, to be here and not at Binance."""
    return {
        "urls": {"api": {"ws": {"spot": f"{url}/stream"}, "public": http}},
        "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False},
        "enableRateLimit": False,
        "timeout_on_exit": 0,
    }


def feed(
    url: str,
    kind: str = "ticks",
    watched: tuple[str, ...] = ("A/USDT", "B/USDT"),
    http: str | None = None,
    **options: Any,
) -> Feed:
    ticks = kind == "ticks"
    client = client_of(url, http or HTTP)
    given = {"exchange": "binance", "pause_max": "300ms", "client": client, **options}
    return open_feed(
        "ccxt",
        FeedOptions(
            name="t",
            kind="ticks" if ticks else "bars",
            interval_ns=None if ticks else 60 * 10**9,
            given=given,
            symbols=watched,
        ),
    )


_serving = rest()
HTTP = _serving.__enter__()
"""For as long as the tests run."""

NAMES = ("A/USDT", "B/USDT")
PRICES = (10.25, 12.0, 9.5, 11.0, 5.5)

TRADES = Case(
    name="ccxt trades",
    kind="ticks",
    wire=Wire,
    feed=feed,
    rows=[(NAMES[n % 2], (AT + n) * MS, 10.25 + n, 1.5 + n) for n in range(12)],
    repeats=False,
    heavy=True,
)

CANDLES = Case(
    name="ccxt candles",
    kind="bars",
    wire=Wire,
    feed=lambda url, **options: feed(url, "bars", **options),
    rows=[
        (NAMES[n % 2], (AT + n // 2 * MINUTE) * MS, *(value + n for value in PRICES))
        for n in range(12)
    ],
    repeats=False,
    heavy=True,
    without=("disorder", "garbage"),
)

CASES = (TRADES, CANDLES)

# A run of openbell's own.

RUN_SECRETS: dict[str, str] = {}


def run_case(swings: Callable[..., list[Row]]) -> tuple[Case, dict[str, Any]]:
    return replace(TRADES, rows=swings(NAMES, AT // 1000)), {
        "exchange": "24/7",
        "symbols": list(NAMES),
        "sessions": [{"name": "Open", "start": "13:30", "end": "13:34"}],
        "data": {"kind": "ticks"},
        "feed": {"options": {"exchange": "binance"}},
    }


def addressed(url: str) -> dict[str, Any]:
    return {"client": client_of(url, HTTP)}
