"""Zerodha Kite's ticks as a feed: `feed: {type: kite, options: {api_key, access_token, …}}`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import AfterValidator

from openbell.adapters.feeds.base import FeedInfo, FeedOptions, suits
from openbell.adapters.feeds.entries import Refuse
from openbell.adapters.feeds.kite import candles
from openbell.adapters.feeds.kite.instruments import Instruments
from openbell.adapters.feeds.kite.lines import SeveralLines
from openbell.adapters.feeds.kite.packets import Packets, packets
from openbell.adapters.feeds.rest import asked, needs_urllib3
from openbell.adapters.feeds.socket_options import (
    KEY,
    SomeSeconds,
    Transport,
    WebSocketUrl,
    checked,
    http_url,
)
from openbell.adapters.feeds.sockets import (
    Address,
    Line,
    Read,
    SocketFeed,
    needs_websockets,
    where_of,
)
from openbell.adapters.feeds.waiting import Frame
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError
from openbell.hosttime import wall_ns
from openbell.market.bars import Mask, Positions, RawRows
from openbell.market.days import MarketTime

TOKENS_MAX = 3_000
"""On one connection."""

CONNECTIONS_MAX = 3
"""With one API key."""

TOKEN_ENDS = time(6, 0)
"""In India: each morning all access tokens do."""

INFO = FeedInfo(
    kinds=("ticks",),
    size_is="day_total",
    stamps="the second of the last trade, by the exchange; of an index that of its value",
    idle_minute="no row: packets without a new trade are none",
    revised="never",
    login_ends="403 at the handshake; each morning at about 06:00 in India",
    silence="a heartbeat every few seconds; `silence_max` (10s) without any has it connect anew",
    history="minute candles, four ticks each",
    symbols_max=TOKENS_MAX,
    connections_max=CONNECTIONS_MAX,
)


class Options(Transport):
    """`feed.options` of Kite's feed."""

    secrets: ClassVar[tuple[str, ...]] = ("api_key", "access_token", "url", "history_url")

    api_key: str
    access_token: str
    instruments: Path | None = None
    """Kite's list of instruments, as CSV."""
    exchange: str | None = None
    """Where symbols are looked for in it; None: everywhere."""
    symbols: dict[str, str | int] = {}  # noqa: RUF012 pydantic copies it
    """Our name → Kite's, or its number, where they differ."""
    mode: Literal["full", "quote", "ltp"] = "full"
    """`full` alone carries times; else rows are stamped as they arrive."""
    url: WebSocketUrl = "wss://ws.kite.trade"
    history_url: Annotated[str, AfterValidator(http_url)] = "https://api.kite.trade"
    silence_max: SomeSeconds | None = 10.0


_EXAMPLES = {
    "api_key": '"${KITE_API_KEY}"',
    "access_token": '"${KITE_ACCESS_TOKEN}"',
    "instruments": "instruments.csv",
    "mode": "full, quote or ltp",
    "symbols": '{NIFTY: "NSE:NIFTY 50"}',
}


def open_kite_feed(options: FeedOptions) -> KiteFeed:
    """What `feed: {type: kite, options: {api_key, access_token, instruments}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used, a secret is not there, or a symbol is
        none of Kite's instruments.
    """
    needs_websockets("kite")
    needs_urllib3("kite")
    suits("kite", options, INFO)
    given = checked(Options, options.given, _EXAMPLES)
    _Login.of(given)
    speech = _Speech(given)
    speech.know(options.symbols)
    return KiteFeed(speech, given, options.symbols)


@dataclass(frozen=True)
class _Login:
    api_key: str
    access_token: str

    @classmethod
    def of(cls, options: Options) -> _Login:
        return cls(
            filled_in(options.api_key, f"{KEY}.api_key"),
            filled_in(options.access_token, f"{KEY}.access_token"),
        )

    @property
    def hidden(self) -> frozenset[str]:
        texts = (self.api_key, self.access_token)
        return frozenset({*texts, *map(quote, texts)})


class _Ticker(SocketFeed):
    """One connection."""

    def __init__(self, options: Options, symbols: tuple[str, ...]) -> None:
        self._kite = _Speech(options)
        self._kite.know(symbols)
        super().__init__(self._kite, options, symbols, where_of(options.url))

    def _words(self, error: BaseException) -> str:
        from websockets.exceptions import InvalidStatus

        words = super()._words(error)
        if isinstance(error, InvalidStatus) and error.response.status_code == 403:
            return (
                f"{words}: the access token has ended, as each morning at about 06:00 in India, or "
                "is not of this API key"
            )
        return words

    def watch(self, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        self._kite.know(added)
        super().watch(added, removed)


class KiteFeed(SeveralLines):
    """Kite's ticker, on as many connections as its symbols need, and its candles for what came
    before."""

    info = INFO

    def __init__(self, speech: _Speech, options: Options, symbols: tuple[str, ...]) -> None:
        super().__init__(lambda some: _Ticker(options, some), symbols, TOKENS_MAX, CONNECTIONS_MAX)
        self._kite, self._options = speech, options

    @property
    def expires_ns(self) -> MarketTime:
        """When the access token ends: the next morning in India."""
        now = datetime.fromtimestamp(wall_ns() // 10**9, candles.INDIA)
        ends = datetime.combine(now.date(), TOKEN_ENDS, candles.INDIA)
        ends = ends if ends > now else ends + timedelta(days=1)
        return MarketTime(int(ends.timestamp()) * 10**9)

    def watch(self, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        known = []
        for symbol in added:
            try:
                self._kite.know((symbol,))
            except ConfigError as error:
                if self._door is not None:
                    self._door.refuse("symbol refused", symbol, str(error))
            else:
                known.append(symbol)
        super().watch(tuple(known), removed)

    def look_up(self, symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        """By Kite's list of instruments."""
        refused = {}
        for symbol in symbols:
            try:
                self._kite.number(symbol)
            except ConfigError as error:
                refused[symbol] = str(error)
        if not refused and len(symbols) > self.room:
            return dict.fromkeys(symbols, self.full())
        return refused

    def history(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        login = _Login.of(self._options)
        headers = {
            "X-Kite-Version": "3",
            "Authorization": f"token {login.api_key}:{login.access_token}",
        }

        def ask(token: int, since: str, until: str) -> Any:
            return asked(
                f"{self._options.history_url}/instruments/historical/{token}/minute",
                {"from": since, "to": until},
                headers,
                hidden=login.hidden,
                ca_file=self._options.ca_file,
            )

        tokens = self._kite.know(symbols)
        return candles.history(symbols, tokens, from_ns, until_ns, ask, self._closed)


@dataclass(frozen=True, eq=False)
class _Known:
    """Symbols by their numbers."""

    symbols: tuple[str, ...] = ()
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Sorted."""
    places: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    """Of the symbol of each of them."""

    @classmethod
    def of(cls, symbols: tuple[str, ...], tokens: Sequence[int]) -> _Known:
        numbers = np.array(tokens, np.int64)
        places = numbers.argsort(kind="stable").astype(np.int32)
        return cls(symbols, numbers[places], places)

    def codes(self, token: NDArray[np.int64]) -> NDArray[np.int32]:
        """The symbol of each number; -1: none."""
        if not len(self.tokens):
            return np.full(len(token), -1, np.int32)
        at = self.tokens.searchsorted(token)
        at[at == len(self.tokens)] = 0
        return np.where(self.tokens[at] == token, self.places[at], -1).astype(np.int32)


class _Speech:
    """What Kite's ticker says."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._instruments = Instruments(options.instruments, options.exchange, options.symbols)
        self._lock = threading.Lock()
        self._known = _Known()
        self._before = np.empty((3, 0))
        """Of each symbol's last packet: time, price, volume."""

    def number(self, symbol: str) -> int:
        """
        Raises
        ------
        ConfigError
            If Kite has none of it.
        """
        with self._lock:
            return self._instruments.tokens((symbol,))[0]

    def know(self, symbols: Sequence[str]) -> list[int]:
        """The numbers of symbols; from then on their packets are rows. From any thread.

        Raises
        ------
        ConfigError
        """
        with self._lock:
            tokens = self._instruments.tokens(symbols)
            known = self._known.symbols
            if more := [symbol for symbol in symbols if symbol not in known]:
                names = (*known, *more)
                self._known = _Known.of(names, self._instruments.tokens(names))
        return tokens

    def address(self) -> Address:
        login = _Login.of(self._options)
        asks = f"api_key={quote(login.api_key)}&access_token={quote(login.access_token)}"
        url = f"{self._options.url.rstrip('/')}/?{asks}"
        return Address(url, {"X-Kite-Version": "3"}, login.hidden)

    def greet(self, line: Line) -> None:
        return

    def subscribe(self, line: Line, symbols: Sequence[str]) -> None:
        tokens = self.know(symbols)
        line.send({"a": "subscribe", "v": tokens})
        line.send({"a": "mode", "v": [self._options.mode, tokens]})

    def idle(self, line: Line) -> None:
        return

    def refuses(self, code: int, reason: str) -> bool:
        return False  # it refuses handshakes

    def read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        read, binary = Read(), []
        for frame in frames:
            if (
                frame.body[:1] == b"{"
            ):  # as a number of packets that would be more than there can be
                self._take_text(frame, read, refuse)
            else:
                binary.append(frame)
        found = packets(binary, "kite", refuse)
        if len(found):
            self._take(found, read, refuse)
        return read

    def _take_text(self, frame: Frame, read: Read, refuse: Refuse) -> None:
        text = frame.body[:400].decode(errors="backslashreplace")
        try:
            told = orjson.loads(frame.body)
        except orjson.JSONDecodeError as error:
            refuse("a message is no JSON", f"kite message {frame.number}", f"{error}: {text[:200]}")
            return
        if told.get("type") != "order":  # what becomes of orders is not ours
            read.others.append(text)

    def _take(self, found: Packets, read: Read, refuse: Refuse) -> None:
        known = self._known
        code = known.codes(found.token)
        for n in np.flatnonzero(code < 0).tolist():
            refuse(
                "an instrument was not asked for",
                f"kite message {found.message[n]}, packet {found.number[n]}",
                f"its number is {found.token[n]}",
            )
        if (lacking := len(known.symbols) - self._before.shape[1]) > 0:
            self._before = np.append(self._before, np.full((3, lacking), np.nan), axis=1)
        timed = found.traded_ns + np.where(found.length == 32, found.sent_ns, 0)
        which = np.flatnonzero((code >= 0) & ~found.untraded)
        which = which[self._news(code[which], found, timed, which)]
        if not len(which):
            return
        ts = np.where(timed > 0, timed, found.came_ns)[which]
        message, number = found.message[which], found.number[which]
        read.rows = RawRows(
            kind="ticks",
            symbols=known.symbols,
            code=code[which],
            ts=ts,
            columns={"price": found.price[which], "size": found.volume[which]},
            locate=lambda i: (f"kite message {message[i]}", int(number[i])),
        )
        # A share's last trade may be long ago, the packet that tells of it is not.
        sent = np.where(found.sent_ns > 0, found.sent_ns, found.came_ns)[which]
        read.reached = MarketTime(int(sent[0])), MarketTime(int(sent.max()))

    def _news(
        self, code: NDArray[np.int32], found: Packets, timed: NDArray[np.int64], which: Positions
    ) -> Mask:
        """Which packets tell of more than the one of their symbol before: not of its depth alone."""
        now = np.stack([timed[which].astype(np.float64), found.price[which], found.volume[which]])
        order = code.argsort(kind="stable")
        of, sorted_now = code[order], now[:, order]
        first = np.ones(len(of), np.bool_)
        first[1:] = of[1:] != of[:-1]
        before = np.empty_like(sorted_now)
        before[:, 1:] = sorted_now[:, :-1]
        before[:, first] = self._before[:, of[first]]
        last = np.ones(len(of), np.bool_)
        last[:-1] = first[1:]
        self._before[:, of[last]] = sorted_now[:, last]
        same = (before == sorted_now).all(axis=0)
        # Of a bare price, or an index without a time, each one that comes is a new value.
        bare = np.isin(found.length[which][order], (8, 28))
        news = np.ones(len(of), np.bool_)
        news[order] = bare | ~same
        return news


__all__ = ["INFO", "KiteFeed", "open_kite_feed"]
