"""Alpaca's stocks as a feed: `feed: {type: alpaca, options: {key, secret, feed}}`."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import msgpack
from pydantic import AfterValidator, Field

from openbell.adapters.feeds.alpaca import pages
from openbell.adapters.feeds.alpaca.messages import (
    LOGIN,
    NO_PRICE,
    Messages,
    code_of,
    said,
    unpacked,
)
from openbell.adapters.feeds.base import FeedInfo, FeedOptions, suits
from openbell.adapters.feeds.entries import Refuse
from openbell.adapters.feeds.rest import asked, needs_urllib3
from openbell.adapters.feeds.socket_options import KEY, Transport, WebSocketUrl, checked, http_url
from openbell.adapters.feeds.sockets import (
    Address,
    Ended,
    Line,
    Read,
    Refused,
    SocketFeed,
    needs_websockets,
    where_of,
)
from openbell.adapters.feeds.waiting import Frame
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError
from openbell.hosttime import wall_ns
from openbell.market.bars import RawRows

MINUTE_NS = 60_000_000_000

SYMBOLS_AT_ONCE = 250
"""In one message that subscribes; longer ones are refused."""

SETTLES_NS = 5_000_000_000
"""How long after its end a minute is in the history."""

INFO = FeedInfo(
    kinds=("ticks", "bars"),
    size_is="trade",
    stamps="a trade's nanosecond, by the exchange; of a bar its start, sent when its minute is over",
    idle_minute="no row",
    revised="`updatedBars` sends a bar again, half a minute later",
    login_ends="error 402 after the greeting; keys do not end by themselves",
    silence="pings of the protocol, each 20s (`heartbeat`); a halt explains a symbol's silence",
    history="bars of a minute, or trades, as `data.kind` is",
)


class Options(Transport):
    """`feed.options` of Alpaca's feed."""

    secrets: ClassVar[tuple[str, ...]] = ("key", "secret", "url", "history_url")

    key: str
    secret: str
    feed: Literal["iex", "sip", "delayed_sip", "boats", "overnight"] = "iex"
    symbols: dict[str, str] = Field(default_factory=dict)
    """Our name → Alpaca's, where they differ."""
    updated_bars: bool = True
    """Whether bars are asked for again when they were revised."""
    skip_conditions: list[str] = Field(default_factory=lambda: list(NO_PRICE))
    """Conditions of trades that make no price."""
    encoding: Literal["msgpack", "json"] = "msgpack"
    url: WebSocketUrl = "wss://stream.data.alpaca.markets"
    history_url: Annotated[str, AfterValidator(http_url)] = "https://data.alpaca.markets"


_EXAMPLES = {
    "key": '"${ALPACA_KEY}"',
    "secret": '"${ALPACA_SECRET}"',
    "feed": "iex, sip, delayed_sip, boats or overnight",
    "symbols": "{BRKB: BRK.B}",
    "updated_bars": "true or false",
    "skip_conditions": "[I, W]",
    "encoding": "msgpack or json",
}


def open_alpaca_feed(options: FeedOptions) -> AlpacaFeed:
    """What `feed: {type: alpaca, options: {key, secret}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used, or a secret is not there.
    """
    needs_websockets("alpaca")
    needs_urllib3("alpaca")
    suits("alpaca", options, INFO)
    if options.kind == "bars" and options.interval_ns != MINUTE_NS:
        raise ConfigError("data.interval: alpaca sends bars of a minute; write data.interval: 1m")
    given = checked(Options, options.given, _EXAMPLES)
    _Login.of(given)
    names = {theirs: ours for ours, theirs in given.symbols.items()}
    messages = Messages(options.kind, names, frozenset(given.skip_conditions))
    return AlpacaFeed(_Speech(given, messages), given, messages, options.symbols)


@dataclass(frozen=True)
class _Login:
    key: str
    secret: str

    @classmethod
    def of(cls, options: Options) -> _Login:
        return cls(filled_in(options.key, f"{KEY}.key"), filled_in(options.secret, f"{KEY}.secret"))

    @property
    def hidden(self) -> frozenset[str]:
        return frozenset({self.key, self.secret})


class AlpacaFeed(SocketFeed):
    """Alpaca's stream of stocks, and its history for what came before."""

    info = INFO

    def __init__(
        self, speech: _Speech, options: Options, messages: Messages, symbols: tuple[str, ...]
    ) -> None:
        super().__init__(speech, options, symbols, where_of(options.url))
        self._options, self._messages = options, messages

    def look_up(self, symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        """By its answer to a subscription, which names what it took."""
        return self._tried(symbols, seconds)

    def history(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        options = self._options
        login = _Login.of(options)
        headers = {"APCA-API-KEY-ID": login.key, "APCA-API-SECRET-KEY": login.secret}

        def ask(what: str, wanted: Mapping[str, str]) -> Any:
            return asked(
                f"{options.history_url}/v2/stocks/{what}",
                {**wanted, "feed": options.feed},
                headers,
                hidden=login.hidden,
                ca_file=options.ca_file,
            )

        if (early := until_ns + SETTLES_NS - wall_ns()) > 0:
            self._closed.wait(min(early, SETTLES_NS) / 10**9)
        return pages.history(symbols, options.symbols, self._messages, from_ns, until_ns, ask)


class _Speech:
    """What Alpaca's stream says."""

    def __init__(self, options: Options, messages: Messages) -> None:
        self._options, self._messages = options, messages
        self._login = _Login("", "")
        self._asked: set[str] = set()
        self._awaited: deque[tuple[frozenset[str], frozenset[str]]] = deque()
        """What each answer has to name, and what of that it is the answer to."""

    def address(self) -> Address:
        options = self._options
        self._login = _Login.of(options)
        version = "v1beta1" if options.feed in ("boats", "overnight") else "v2"
        packed = options.encoding == "msgpack"
        headers = {"Content-Type": "application/msgpack" if packed else "application/json"}
        url = f"{options.url.rstrip('/')}/{version}/{options.feed}"
        return Address(url, headers, self._login.hidden)

    def greet(self, line: Line) -> None:
        self._answered(line, "connected")
        login = {"action": "auth", "key": self._login.key, "secret": self._login.secret}
        self._send(line, login)
        self._answered(line, "authenticated")
        self._asked.clear()
        self._awaited.clear()

    def _answered(self, line: Line, wanted: str) -> None:
        try:
            parts = unpacked(line.recv())
        except ValueError as error:
            raise Ended(str(error)) from None
        for part in parts:
            told = part.get("T") if isinstance(part, dict) else None
            if told == "success" and part.get("msg") == wanted:
                return
            if told == "error":
                words = f"it says {said(part)}"
                raise (Refused(words) if code_of(part) in LOGIN else Ended(words))
        raise Ended(f"it says {parts!r:.200} in place of {wanted}")

    def subscribe(self, line: Line, symbols: Sequence[str]) -> None:
        if self._messages.kind == "ticks":
            channels = ["trades", "statuses"]
        else:
            updated = ["updatedBars"] if self._options.updated_bars else []
            channels = ["bars", *updated, "statuses"]
        theirs = [self._options.symbols.get(symbol, symbol) for symbol in symbols]
        for at in range(0, len(theirs), SYMBOLS_AT_ONCE):
            some = theirs[at : at + SYMBOLS_AT_ONCE]
            new = frozenset(some) - self._asked
            self._asked.update(some)
            self._awaited.append((frozenset(self._asked), new))
            self._send(line, {"action": "subscribe", **{channel: some for channel in channels}})

    def _send(self, line: Line, message: Mapping[str, Any]) -> None:
        packed = self._options.encoding == "msgpack"
        line.send(msgpack.packb(message) if packed else message)

    def idle(self, line: Line) -> None:
        return

    def refuses(self, code: int, reason: str) -> bool:
        return False  # it says so before

    def read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        read, subscriptions = self._messages.read(frames, refuse)
        for subscription in subscriptions:
            self._look_what_is_refused(subscription, read, refuse)
        if read.asked_wrong is not None and self._awaited:
            self._asked -= self._awaited.popleft()[1]
        return read

    def _look_what_is_refused(
        self, subscription: Mapping[str, Any], read: Read, refuse: Refuse
    ) -> None:
        if not self._awaited:
            return
        asked_for, _ = self._awaited.popleft()
        channel = "trades" if self._messages.kind == "ticks" else "bars"
        given = subscription.get(channel)
        taken = {of for of in given if isinstance(of, str)} if isinstance(given, list) else set()
        there = asked_for if "*" in taken else asked_for & taken
        read.taken = (*read.taken, *(self._messages.names.get(of, of) for of in there))
        for symbol in sorted(asked_for - there):
            self._asked.discard(symbol)  # said once
            ours = self._messages.names.get(symbol, symbol)
            refuse("symbol refused", ours, f"alpaca does not name it among its {channel}")


__all__ = ["INFO", "AlpacaFeed", "open_alpaca_feed"]
