"""Databento's live gateway: greeting, challenge, subscriptions as lines; then DBN.

Written from https://databento.com/docs/api-reference-live; Databento's own client is who reads it,
and its own encoder has made the records.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import dbn_files
from dbn_files import bar, dbn, mapping, metadata, system, trade
from venues.tcp import Stream, tcp_vendor
from venues.venue import Case, Message, Refused, Row

from openbell.adapters.feeds import Feed, FeedOptions, open_feed

KEY = "db-0123456789abcdef0123456789abc"
AT = 1_719_840_600_000_000_000
UNKNOWN = 999

Replay = Callable[[str, int | None], Sequence[Row]]
"""What the gateway has of a schema from an instant on."""


class Gateway:
    def __init__(self, replay: Replay | None = None) -> None:
        self.replay = replay
        self.subscriptions: list[dict[str, str]] = []
        """As they came."""
        self.unknown: frozenset[str] = frozenset()
        """Symbols that it does not resolve."""

    def admit(self, request: Any, expired: bool) -> int | None:
        return None

    def greet(self, client: Any, expired: bool) -> Talk:
        on: Stream = client.socket
        challenge = os.urandom(8).hex()
        on.send(b"lsg_version=0.7.1\n")
        on.send(f"cram={challenge}\n".encode())
        login = told(on.line())
        right = hashlib.sha256(f"{challenge}|{KEY}".encode()).hexdigest() + f"-{KEY[-5:]}"
        if expired or login["auth"] != right:
            on.send(b"success=0|error=Authentication failed.\n")
            on.close()
            raise Refused
        on.send(b"success=1|session_id=1\n")
        assert login["dataset"] == dbn_files.DATASET
        assert login["encoding"] == "dbn"
        asked: list[dict[str, str]] = []
        while "start_session" not in (line := told(on.line())):
            asked.append(line)
        self.subscriptions += asked
        talk = Talk(asked[0]["schema"])
        symbols = [symbol for of in asked for symbol in of["symbols"].split(",")]
        on.send(metadata(None))
        on.send(system("Subscription request 0 for trades data succeeded"))
        known = [symbol for symbol in symbols if symbol not in self.unknown]
        on.send(b"".join(mapping(talk.named(of), of, str(talk.named(of))) for of in known))
        since = asked[0].get("start")
        if since is not None and self.replay is not None:
            rows = self.replay(asked[0]["schema"], int(since))
            on.send([talk.record(*row) for row in rows])
            done = dbn.SystemMsg(
                ts_event=0, msg="Finished replay", code=dbn.SystemCode.REPLAY_COMPLETED
            )
            on.send(bytes(done))
        return talk


def told(line: str) -> dict[str, str]:
    """`key=value|key=value`."""
    return dict(part.partition("=")[::2] for part in line.split("|"))


class Talk:
    def __init__(self, schema: str) -> None:
        self.schema = schema
        self._ids: dict[str, int] = {}

    def named(self, symbol: str) -> int:
        """The instrument that a symbol is today."""
        return self._ids.setdefault(symbol, len(self._ids) + 1)

    def messages(self, rows: Sequence[Row], together: int = 1) -> list[Message]:
        records = [self.record(*row) for row in rows]
        return [b"".join(records[at : at + together]) for at in range(0, len(records), together)]

    def record(self, symbol: str, ts: int, *values: float) -> bytes:
        if self.schema == "trades":
            return trade(self.named(symbol), ts, values[0], int(values[1]))
        rtype = self.schema.replace("-", "_").upper()
        prices = (values[0], values[1], values[2], values[3])
        return bar(self.named(symbol), ts, prices, int(values[4]), rtype=rtype)

    def heartbeat(self) -> Message | None:
        beat = dbn.SystemMsg(ts_event=AT, msg="Heartbeat", code=dbn.SystemCode.HEARTBEAT)
        return bytes(beat)

    def garbage(self) -> list[Message]:
        if self.schema == "trades":
            return [trade(UNKNOWN, AT, 1.0, 1)]
        return [bar(UNKNOWN, AT, (1.0, 1.0, 1.0, 1.0))]


def feed(
    url: str, kind: str = "ticks", watched: tuple[str, ...] = ("A", "B"), **options: Any
) -> Feed:
    heartbeat = options.pop("heartbeat", None)  # the gateway's are seconds apart
    given = {
        "key": KEY,
        "dataset": dbn_files.DATASET,
        "gateway": url.rpartition("/")[2],
        "pause_max": "300ms",
        **({} if heartbeat is None else {"silence_max": heartbeat}),
        **options,
    }
    ticks = kind == "ticks"
    return open_feed(
        "databento",
        FeedOptions(
            name="t",
            kind="ticks" if ticks else "bars",
            interval_ns=None if ticks else 60 * 10**9,
            given=given,
            symbols=watched,
        ),
    )


WITHOUT = ("resubscribed",)
"""What a session is subscribed to is not asked for again, as a test of its own has it."""

TICKS = Case(
    name="databento trades",
    kind="ticks",
    wire=Gateway,
    feed=feed,
    rows=[("AB"[n % 2], AT + n, 10.25 + n, 1.0 + n) for n in range(12)],
    serve=tcp_vendor,
    without=WITHOUT,
)

BARS = Case(
    name="databento bars",
    kind="bars",
    wire=Gateway,
    feed=lambda url, **options: feed(url, "bars", **options),
    rows=[
        ("AB"[n % 2], AT + n // 2 * 60 * 10**9, 10.25 + n, 12.0 + n, 9.5 + n, 11.0 + n, 5.0 + n)
        for n in range(12)
    ],
    serve=tcp_vendor,
    without=WITHOUT,
    heavy=True,
)

CASES = (TICKS, BARS)

# A run of openbell's own.

RUN_SECRETS = {"KEY": KEY}


def run_case(swings: Callable[..., list[Row]]) -> tuple[Case, dict[str, Any]]:
    names = ("AAPL", "MSFT")
    return replace(TICKS, rows=swings(names, AT // 10**9)), {
        "exchange": "XNYS",
        "symbols": list(names),
        "sessions": [{"name": "Open", "start": "09:30", "end": "09:34"}],
        "data": {"kind": "ticks"},
        "feed": {"options": {"key": "${KEY}", "dataset": dbn_files.DATASET}},
    }


def addressed(url: str) -> dict[str, Any]:
    return {"gateway": url.rpartition("/")[2]}
