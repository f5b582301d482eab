"""OpenAlgo's WebSocket proxy as a feed: one language for the brokers that it is connected to.

`feed: {type: openalgo, options: {api_key: "${OPENALGO_API_KEY}", exchange: NSE}}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import AfterValidator

from openbell.adapters.feeds.base import FeedInfo, FeedOptions, suits
from openbell.adapters.feeds.candles import ticks_of
from openbell.adapters.feeds.entries import Decoder, Gathered, Refuse, Unusable, shown
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
    Ended,
    Line,
    Read,
    Refused,
    SocketFeed,
    closes_for_login,
    needs_websockets,
    where_of,
)
from openbell.adapters.feeds.waiting import Frame
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError, DataError
from openbell.hosttime import monotonic
from openbell.market.assembly import no_raw_rows
from openbell.market.bars import RawRows

INDIA = timezone(timedelta(hours=5, minutes=30))
"""By whose days history is asked for."""

PAUSE_SECONDS = 0.35
"""Between two questions: brokers answer a few a second."""

SYMBOLS_AT_ONCE = 100
"""How many one message that subscribes names."""

ANSWERS_MAX = 20
"""How many messages may come before the one that answers the login."""

_MODES = {"ltp": 1, "quote": 2}
_ROW_TYPES = ("market_data", "ltp", "quote")
"""The proxy's code has the first; its documentation has the others."""

_LOGIN_WORDS = ("auth", "api_key", "api key", "token", "login")

_UNITS = ((10**17, 1), (10**14, 10**3), (10**11, 10**6), (0, 10**9))
"""What a time counts, told by how large it is: ns, us, ms, s."""

INFO = FeedInfo(
    kinds=("ticks",),
    size_is="day_total",
    stamps="when it arrived; with `stamps: ltt` the last trade's time as the broker tells it",
    idle_minute="no row: messages without a new trade are none",
    revised="never",
    login_ends="an error in place of rows, or at the login; brokers' tokens end each morning",
    silence="the protocol's pings, and an answer to each of ours within `silence_max` (60s)",
    history="minute candles, four ticks each",
)


class Options(Transport):
    """`feed.options` of OpenAlgo's feed."""

    secrets: ClassVar[tuple[str, ...]] = ("api_key", "url", "history_url")

    api_key: str
    exchange: str | None = None
    """Of symbols without one."""
    symbols: dict[str, str] = {}  # noqa: RUF012 pydantic copies it
    """Our name → OpenAlgo's, `NSE:INFY`, where they differ."""
    mode: Literal["quote", "ltp"] = "quote"
    """`quote` has the day's volume."""
    stamps: Literal["arrival", "ltt"] = "arrival"
    """What a row's time is."""
    url: WebSocketUrl = "ws://127.0.0.1:8765"
    history_url: Annotated[str, AfterValidator(http_url)] = "http://127.0.0.1:5000"
    """Of OpenAlgo itself."""
    ping: SomeSeconds = 20.0
    silence_max: SomeSeconds | None = 60.0


_EXAMPLES = {
    "api_key": '"${OPENALGO_API_KEY}"',
    "exchange": "NSE",
    "symbols": '{NIFTY: "NSE_INDEX:NIFTY"}',
    "mode": "quote or ltp",
    "stamps": "arrival or ltt",
}


def open_openalgo_feed(options: FeedOptions) -> OpenAlgoFeed:
    """What `feed: {type: openalgo, options: {api_key, exchange}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used, a secret is not there, or a symbol has no
        exchange.
    """
    needs_websockets("openalgo")
    needs_urllib3("openalgo")
    suits("openalgo", options, INFO)
    given = checked(Options, options.given, _EXAMPLES)
    filled_in(given.api_key, f"{KEY}.api_key")
    speech = _Speech(given)
    for symbol in options.symbols:
        speech.named(symbol)
    return OpenAlgoFeed(speech, given, options.symbols)


class OpenAlgoFeed(SocketFeed):
    """OpenAlgo's proxy."""

    info = INFO

    def __init__(self, speech: _Speech, options: Options, symbols: tuple[str, ...]) -> None:
        super().__init__(speech, options, symbols, where_of(options.url))
        self._openalgo, self._settings = speech, options

    def watch(self, added: tuple[str, ...], removed: tuple[str, ...]) -> None:
        known = []
        for symbol in added:
            try:
                self._openalgo.named(symbol)
            except ConfigError as error:
                if self._door is not None:
                    self._door.refuse("symbol refused", symbol, str(error))
            else:
                known.append(symbol)
        super().watch(tuple(known), removed)

    def look_up(self, symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        """By its answer to a subscription."""
        refused = {}
        for symbol in symbols:
            try:
                self._openalgo.named(symbol)
            except ConfigError as error:
                refused[symbol] = str(error)
        return refused or self._tried(symbols, seconds)

    def history(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        """By OpenAlgo's HTTP interface, whose broker it asks: a question a symbol."""
        parts = []
        for n, symbol in enumerate(symbols):
            if n and self._closed.wait(PAUSE_SECONDS):
                break
            answer = self._asked(symbol, from_ns, until_ns)
            parts.append(ticks_of(_candles(answer, symbol), n, from_ns, until_ns))
        if not parts:
            return no_raw_rows(tuple(symbols), None)
        code, ts, price, size, row = (np.concatenate(of) for of in zip(*parts, strict=True))
        return RawRows(
            kind="ticks",
            symbols=tuple(symbols),
            code=code.astype(np.int32),
            ts=ts.astype(np.int64),
            columns={"price": price, "size": size},
            locate=lambda i: (f"openalgo candles of {symbols[int(code[i])]}", int(row[i])),
        )

    def _asked(self, symbol: str, from_ns: int, until_ns: int) -> Any:
        exchange, name = self._openalgo.named(symbol)
        key = filled_in(self._settings.api_key, f"{KEY}.api_key")
        days = [
            datetime.fromtimestamp(ns // 10**9, INDIA).date().isoformat()
            for ns in (from_ns, until_ns - 1)
        ]
        return asked(
            f"{self._settings.history_url}/api/v1/history",
            {},
            {},
            hidden=frozenset({key}),
            ca_file=self._settings.ca_file,
            body={
                "apikey": key,
                "symbol": name,
                "exchange": exchange,
                "interval": "1m",
                "start_date": days[0],
                "end_date": days[1],
            },
        )


def _candles(answer: Any, symbol: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Their starts, and their open, high, low, close and volume."""
    try:
        given = answer["data"]
        seconds = np.array([int(of["timestamp"]) for of in given], np.int64)
        names = ("open", "high", "low", "close", "volume")
        values = np.array([[of[name] for name in names] for of in given], np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        told = answer.get("message") if isinstance(answer, dict) else None
        why = " ".join(str(told or repr(error)).split())[:200]
        raise DataError(f"openalgo: candles of {symbol} can't be had: {why}") from None
    return seconds * 10**9, values.reshape(-1, 5)


class _Speech:
    """What the proxy says."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._decoder = Decoder(kind="ticks", source="openalgo", ts_unit="ns")
        self._ours: dict[tuple[str, str], str] = {}
        """Exchange and symbol → our name."""
        self._before: dict[str, tuple[Any, ...]] = {}
        """Of each symbol what its last row was made of."""
        self._key = ""
        self._ping_due = 0.0

    def named(self, symbol: str) -> tuple[str, str]:
        """Exchange and symbol, as the proxy calls them.

        Raises
        ------
        ConfigError
            If it has no exchange.
        """
        exchange, _, name = self._options.symbols.get(symbol, symbol).rpartition(":")
        exchange = exchange or self._options.exchange or ""
        if not exchange:
            raise ConfigError(
                f"{KEY}.exchange is missing, and {symbol} names none; write e.g. NSE, or "
                f'symbols: {{{symbol}: "NSE:{name}"}}'
            )
        self._ours[exchange, name] = symbol
        return exchange, name

    def address(self) -> Address:
        key = filled_in(self._options.api_key, f"{KEY}.api_key")
        assert isinstance(key, str)
        self._key = key
        url = filled_in(self._options.url, f"{KEY}.url")
        return Address(url, {}, frozenset({key}))

    def greet(self, line: Line) -> None:
        line.send({"action": "authenticate", "api_key": self._key})
        for _ in range(ANSWERS_MAX):
            told = _object(line.recv())
            status, of = told.get("status"), told.get("type")
            if of == "auth" and status == "success":
                self._ping_due = monotonic() + self._options.ping
                return
            if of in ("auth", "error") or status == "error":
                raise Refused(f"it says {_words(told)}")
        raise Ended("it did not answer the login")

    def subscribe(self, line: Line, symbols: Sequence[str]) -> None:
        names = [self.named(symbol) for symbol in symbols]
        mode = _MODES[self._options.mode]
        for at in range(0, len(names), SYMBOLS_AT_ONCE):
            part = [
                {"symbol": name, "exchange": exchange}
                for exchange, name in names[at : at + SYMBOLS_AT_ONCE]
            ]
            line.send({"action": "subscribe", "symbols": part, "mode": mode})

    def idle(self, line: Line) -> None:
        if monotonic() >= self._ping_due:
            line.send({"action": "ping"})
            self._ping_due = monotonic() + self._options.ping

    def refuses(self, code: int, reason: str) -> bool:
        return closes_for_login(code, reason, (3000, 4401, 4403))

    def read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        read, gathered = Read(), Gathered("ticks", "openalgo")
        for frame in frames:
            of = f"message {frame.number}"
            try:
                told = _object(frame.body)
                if told.get("type") in _ROW_TYPES:
                    self._take_row(told, frame, of, gathered)
                else:
                    self._take_other(told, read, refuse)
            except Unusable as error:
                refuse(error.kind, f"openalgo {of}", str(error))
        read.rows = gathered.rows() if len(gathered) else None
        return read

    def _take_row(self, told: Mapping[str, Any], frame: Frame, of: str, gathered: Gathered) -> None:
        data = told.get("data", told)
        if not isinstance(data, Mapping):
            raise Unusable("a message has no data", f"data is {shown(data)}")
        name = told.get("symbol", data.get("symbol"))
        exchange = told.get("exchange", data.get("exchange"))
        symbol = self._ours.get((str(exchange), str(name)))
        if symbol is None:
            raise Unusable(
                "an instrument was not asked for", f"it is {shown(exchange)}:{shown(name)}"
            )
        price, volume = data.get("ltp"), data.get("volume")
        traded = data.get("ltt")
        if price in (0, "0", "") or (traded in (0, "0") and not volume):
            return  # nothing has traded so far
        came = (price, volume, traded)
        if came == self._before.get(symbol) and (volume is not None or traded is not None):
            return  # its quotes or its depth have changed, and nothing has traded
        ts = frame.came_ns
        if self._options.stamps == "ltt":
            ts = _instant(traded, data.get("timestamp"), ts)
        row = {"symbol": symbol, "ts": ts, "price": price, "size": volume}
        gathered.add(of, 1, *self._decoder.row(row))
        self._before[symbol] = came

    def _take_other(self, told: Mapping[str, Any], read: Read, refuse: Refuse) -> None:
        of = told.get("type")
        if of == "pong":
            return
        if of == "subscribe":
            for one in told.get("subscriptions") or ():
                if not isinstance(one, Mapping):
                    continue
                key = str(one.get("exchange")), str(one.get("symbol"))
                if one.get("status") not in (None, "success"):
                    refuse("symbol refused", self._ours.get(key, ":".join(key)), _words(one))
                elif key in self._ours:
                    read.taken = (*read.taken, self._ours[key])
            if told.get("status") == "error" and not told.get("subscriptions"):
                read.others.append(_words(told))
            return
        if of == "error" or told.get("status") == "error":
            words = f"{told.get('code', '')} {_words(told)}".strip()
            if any(word in words.lower() for word in _LOGIN_WORDS):
                read.login = words
                return
        read.others.append(_words(told))


def _instant(traded: Any, sent: Any, came_ns: int) -> int:
    """Of the last trade: its time, the broker's or else the proxy's, in whatever unit; ns UTC."""
    for given in (traded, sent):
        try:
            count = float(given)
        except (TypeError, ValueError):
            continue
        if count > 0:
            whole = int(given) if isinstance(given, int) else int(count)
            unit = next(unit for least, unit in _UNITS if count >= least)
            return whole * unit if whole == count else int(count * unit)
    return came_ns


def _object(body: bytes) -> dict[str, Any]:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unusable("a message is no JSON", f"{error}: {shown(body)}") from None
    if not isinstance(told, dict):
        raise Unusable("a message is no object", shown(told))
    return told


def _words(told: Mapping[str, Any]) -> str:
    """In one line."""
    given = told.get("message") or told.get("error") or orjson.dumps(told, default=str).decode()
    text = " ".join(str(given).split())
    return "".join(letter if letter.isprintable() else " " for letter in text)[:200]
