"""Crypto exchanges as feeds, by ccxt: `feed: {type: ccxt, options: {exchange: binance}}`.

ccxt speaks to the exchange and keeps what came in caches of its own. They are looked at after each
message, so that rows go on in the order in which they came.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import Field

from openbell.adapters.feeds import connected
from openbell.adapters.feeds.base import Door, FeedInfo, FeedOptions, suits
from openbell.adapters.feeds.candles import ClosedCandles
from openbell.adapters.feeds.clients import ClientFeed, needs
from openbell.adapters.feeds.connected import Ended, Read, Refused
from openbell.adapters.feeds.entries import Decoder, Gathered, Refuse, Unusable
from openbell.adapters.feeds.socket_options import KEY, SomeSeconds, Staying, checked
from openbell.adapters.feeds.waiting import Frame
from openbell.adapters.secrets import filled_in
from openbell.errors import ConfigError, DataError
from openbell.hosttime import monotonic, wall_ns
from openbell.market.assembly import no_raw_rows
from openbell.market.bars import BAR_COLUMNS, Kind, RawRows

MS = 1_000_000

IDS_KEPT = 10_000
"""Of a symbol's last trades: those that come again after a reconnect are known by them."""

CACHED = 10_000
"""Trades of a symbol that ccxt keeps until they are looked at."""

PAGE_MS = 3_600_000
"""How far a page of history goes where it is empty."""

INFO = FeedInfo(
    kinds=("ticks", "bars"),
    size_is="trade",
    stamps="a trade's time at the exchange; a candle's start",
    idle_minute="a candle with volume 0, or no row: as the exchange has it",
    revised="a candle that the exchange mends within seconds of its end comes again",
    login_ends="none is needed; 401 or 403 where an exchange wants one",
    silence="pings every `heartbeat` (20s); two without an answer, and it connects anew",
    history="the exchange's candles, or its last trades as far as it keeps them",
)


class Options(Staying):
    """`feed.options` of ccxt's feed."""

    secrets: ClassVar[tuple[str, ...]] = ("client",)

    exchange: str
    """As ccxt calls it."""
    symbols: dict[str, str] = {}  # noqa: RUF012 pydantic copies it
    """Our name → ccxt's, where they differ."""
    symbols_max: Annotated[int, Field(ge=1)] = 100
    """How many one subscription may name."""
    heartbeat: SomeSeconds = 20.0
    """Between pings."""
    closes_after: SomeSeconds = 1.0
    """How long after its end a candle is taken to be closed, where no later one has come."""
    client: dict[str, Any] = {}  # noqa: RUF012 as above
    """What ccxt's exchange is made with, e.g. `{options: {defaultType: swap}}`."""


_EXAMPLES = {
    "exchange": "binance",
    "symbols": "{BTCUSDT: BTC/USDT}",
    "symbols_max": "100",
    "client": "{options: {defaultType: swap}}",
}


def open_ccxt_feed(options: FeedOptions) -> CcxtFeed:
    """What `feed: {type: ccxt, options: {exchange}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used, ccxt has no such exchange, or not its
        trades or candles.
    """
    ccxt = needs("ccxt", "ccxt", "ccxt")
    suits("ccxt", options, INFO)
    given = checked(Options, options.given, _EXAMPLES)
    filled_in(given.client, f"{KEY}.client")
    pro = needs("ccxt.pro", "ccxt", "ccxt")
    if given.exchange not in pro.exchanges:
        near = get_close_matches(given.exchange, pro.exchanges, n=3)
        there = (
            "ccxt has it, but not its sockets"
            if given.exchange in ccxt.exchanges
            else ("ccxt does not know it" + (f"; nearest: {', '.join(near)}" if near else ""))
        )
        raise ConfigError(f'{KEY}.exchange is "{given.exchange}"; {there}')
    return CcxtFeed(given, options)


class CcxtFeed(ClientFeed):
    """One exchange's trades or candles."""

    info = INFO

    def __init__(self, given: Options, options: FeedOptions) -> None:
        super().__init__(given, options.symbols, given.exchange)
        self._options, self._kind = given, options.kind
        self._interval_ns = options.interval_ns if options.kind == "bars" else None
        self._ours = {theirs: ours for ours, theirs in given.symbols.items()}
        self._refused: set[str] = set()
        """Symbols that were named as no markets."""
        self._decoder = Decoder(kind=options.kind, source=self.where, ts_unit="ms")
        self._trades = _Trades()
        self._candles = ClosedCandles(self._interval_ns or 0, given.closes_after)
        self._heard = monotonic()
        """When the last message came."""
        self._markets: tuple[list[Any], Any] | None = None
        """As they were loaded for an earlier connection."""
        of: Any = self._made(needs("ccxt", "ccxt", "ccxt"), self._pro())
        self._timeframe = self._known_timeframe(of)

    def _theirs(self, symbols: Sequence[str]) -> list[str]:
        return [self._options.symbols.get(symbol, symbol) for symbol in symbols]

    def _pro(self) -> Any:
        return getattr(needs("ccxt.pro", "ccxt", "ccxt"), self._options.exchange)

    def _made(self, ccxt: Any, of: Any) -> Any:
        """An exchange of ccxt's, that is not connected yet."""
        used: set[str] = set()
        client = filled_in(self._options.client, f"{KEY}.client", used=used)
        self._hidden = frozenset(used)
        deep = ccxt.Exchange.deep_extend
        defaults = {
            "enableRateLimit": True,
            "timeout": round(self._options.open_timeout * 1000),
            "options": {"tradesLimit": CACHED},
            "streaming": {"keepAlive": round(self._options.heartbeat * 1000)},
        }
        return of(deep(defaults, client))

    def _known_timeframe(self, exchange: Any) -> str:
        """What a bar's length is called.

        Raises
        ------
        ConfigError
            If the exchange has not what is wanted.
        """
        bars = self._kind == "bars"
        lacks = "watchOHLCV" if bars else "watchTrades"
        if not exchange.has.get(lacks) and not exchange.has.get(f"{lacks}ForSymbols"):
            raise ConfigError(
                f"{KEY}.exchange: ccxt has no {'candles' if bars else 'trades'} of "
                f"{self._options.exchange} by socket; write data.kind: {'ticks' if bars else 'bars'}"
            )
        if not bars:
            return ""
        known = {exchange.parse_timeframe(name) * 10**9: name for name in exchange.timeframes or ()}
        if self._interval_ns not in known:
            raise ConfigError(
                f"data.interval is none of {self._options.exchange}'s candles; it has "
                f"{', '.join(exchange.timeframes or ())}"
            )
        return str(known[self._interval_ns])

    # --- live

    async def _talk(self, door: Door) -> None:
        import ccxt

        self._trades.connected()
        self._candles.connected()
        told = False
        self._heard = monotonic()

        def looked(exchange: Any) -> None:
            nonlocal told
            if not told and _is_open(exchange):
                told = True
                door.said("connected", self.where)
            self._sweep(exchange)

        feed = self

        class Looked(self._pro()):  # type: ignore[misc]
            """Looks at what came after each message."""

            def handle_message(self, client: Any, message: Any) -> None:
                feed._heard = monotonic()
                super().handle_message(client, message)
                looked(self)

        exchange = self._made(ccxt, Looked)
        try:
            await self._watched(exchange, door, looked)
        except (ccxt.AuthenticationError, ccxt.PermissionDenied) as error:
            raise Refused(self._plain(error)) from None
        except ccxt.BaseError as error:
            if _status(error) in (401, 403):
                raise Refused(self._plain(error)) from None
            raise Ended(self._plain(error)) from None
        finally:
            with suppress(Exception):
                await exchange.close()

    async def _watched(self, exchange: Any, door: Door, looked: Callable[[Any], None]) -> None:
        symbols = await self._there(exchange, door)
        tasks = self._watch_all(exchange, symbols)
        try:
            self._is_logged_in()
            while True:
                await asyncio.wait(
                    tasks, timeout=connected.POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED
                )
                looked(exchange)
                silence = self._options.silence_max
                if silence is not None and monotonic() - self._heard > silence:
                    raise Ended(f"nothing came for {silence:g} s, not even a heartbeat")
                for task in tasks:
                    if task.done():
                        await task
                if self._resubscribe:
                    self._resubscribe.clear()
                    symbols = await self._there(exchange, door)
                    for client in exchange.clients.values():
                        client.subscriptions.clear()
                    _cancel(tasks)
                    tasks = self._watch_all(exchange, symbols)
        finally:
            _cancel(tasks)

    async def _there(self, exchange: Any, door: Door) -> list[str]:
        """Those of the symbols that the exchange has; the others are named."""
        if self._markets is None:
            await exchange.load_markets()
            self._markets = list(exchange.markets.values()), exchange.currencies
        else:
            exchange.set_markets(*self._markets)
        found = []
        for symbol in self._theirs(self._symbols):
            if symbol in exchange.markets:
                found.append(symbol)
            elif symbol not in self._refused:
                self._refused.add(symbol)
                why = self._no_market(symbol, exchange.markets)
                door.refuse("symbol refused", self._ours.get(symbol, symbol), why)
        return found

    def _watch_all(self, exchange: Any, symbols: Sequence[str]) -> list[asyncio.Task[None]]:
        bars = self._kind == "bars"
        at_once = exchange.has.get(f"watch{'OHLCV' if bars else 'Trades'}ForSymbols")
        most = self._options.symbols_max if at_once else 1
        parts = [symbols[at : at + most] for at in range(0, len(symbols), most)]

        async def watch(part: Sequence[str]) -> None:
            while True:
                if bars and at_once:
                    await exchange.watch_ohlcv_for_symbols([[of, self._timeframe] for of in part])
                elif bars:
                    await exchange.watch_ohlcv(part[0], self._timeframe)
                elif at_once:
                    await exchange.watch_trades_for_symbols(list(part))
                else:
                    await exchange.watch_trades(part[0])

        if not parts:  # nothing is there: what was refused may be there another time
            return [asyncio.create_task(asyncio.sleep(3600.0))]
        return [asyncio.create_task(watch(part)) for part in parts]

    def _sweep(self, exchange: Any) -> None:
        """Have all that is new wait for the run."""
        came = wall_ns()
        if self._kind == "ticks":
            for symbol, cache in exchange.trades.items():
                for trade in self._trades.new(symbol, cache):
                    self._put(symbol, [trade[of] for of in _TRADE], came)
                if self._trades.lost:
                    self._trades.lost = False
                    self._waiting.cut(f"more than {CACHED:,} trades came at once")
            return
        for symbol, cache in exchange.ohlcvs.items():
            for candle in self._candles.closed(symbol, cache.get(self._timeframe) or (), came):
                self._put(symbol, list(candle), came)

    def _put(self, symbol: str, values: list[Any], came: int) -> None:
        body = orjson.dumps([self._ours.get(symbol, symbol), *values], default=str)
        self._waiting.put(body, came)

    def _read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        gathered = Gathered(self._kind, self.where)
        for frame in frames:
            self._gather(gathered, f"message {frame.number}", orjson.loads(frame.body), refuse)
        return Read(rows=gathered.rows() if len(gathered) else None)

    def _gather(self, gathered: Gathered, of: str, values: list[Any], refuse: Refuse) -> None:
        names = ("symbol", "ts", *(_ROW[self._kind]))
        try:
            gathered.add(of, 1, *self._decoder.row(dict(zip(names, values, strict=True))))
        except Unusable as error:
            refuse(error.kind, f"{self.where} {of}", str(error))

    def _plain(self, error: BaseException) -> str:
        return self._hide(" ".join(str(error).split()))[:400]

    # --- which symbols there are

    def look_up(self, symbols: tuple[str, ...], seconds: float) -> dict[str, str]:
        """By the exchange's markets, as it has them now."""
        import ccxt

        exchange = self._made(ccxt, getattr(ccxt, self._options.exchange))
        exchange.timeout = round(1000 * min(seconds, self._options.open_timeout))
        try:
            markets = exchange.load_markets()
        except (ccxt.RequestTimeout, ccxt.NetworkError) as error:
            raise TimeoutError(f"its markets can't be had: {self._plain(error)}") from None
        except ccxt.BaseError as error:
            raise DataError(f"{self.where}: {self._plain(error)}") from None
        pairs = zip(symbols, self._theirs(symbols), strict=True)
        return {ours: self._no_market(of, markets) for ours, of in pairs if of not in markets}

    def _no_market(self, symbol: str, markets: Collection[str]) -> str:
        near = get_close_matches(symbol, markets, n=3)
        also = f"; nearest: {', '.join(near)}" if near else ""
        return f"{self._options.exchange} has no market {symbol}{also}"

    # --- history

    def history(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        """By the exchange's HTTP interface, page by page."""
        import ccxt

        if self._interval_ns is not None:
            self._wait_for(until_ns)
        exchange = self._made(ccxt, getattr(ccxt, self._options.exchange))
        gathered = Gathered(self._kind, f"{self.where} history")
        try:
            for symbol, theirs in zip(symbols, self._theirs(symbols), strict=True):
                for n, values in enumerate(self._pages(exchange, theirs, from_ns, until_ns)):
                    self._gather(gathered, f"{symbol} row {n + 1}", [symbol, *values], _passed_over)
        except ccxt.BaseError as error:
            raise DataError(f"{self.where}: {self._plain(error)}") from None
        return gathered.rows() if len(gathered) else no_raw_rows(tuple(symbols), self._interval_ns)

    def _wait_for(self, until_ns: int) -> None:
        """Until the last bar that ends by then has closed."""
        while (left := until_ns / 1e9 + self._options.closes_after - wall_ns() / 1e9) > 0:
            if self._closed.wait(min(left, 1.0)):
                return

    def _pages(
        self, exchange: Any, symbol: str, from_ns: int, until_ns: int
    ) -> Iterator[list[Any]]:
        """Rows with `from_ns <= ts < until_ns`."""
        since, until = -(-from_ns // MS), -(-until_ns // MS)
        seen: set[Any] = set()
        while since < until and not self._closed.is_set():
            if self._kind == "bars":
                page = exchange.fetch_ohlcv(symbol, self._timeframe, since, 1000)
            else:
                page = [
                    [of[name] for name in _TRADE] for of in exchange.fetch_trades(symbol, since)
                ]
            new = [row for row in page if tuple(row) not in seen]
            seen = set(map(tuple, page))
            yield from (
                row for row in new if row[0] is not None and from_ns <= row[0] * MS < until_ns
            )
            last = max((row[0] for row in new if row[0] is not None), default=None)
            if last is None:
                since += PAGE_MS
            else:
                since = max(since, last) if last > since else since + 1


_TRADE = ("timestamp", "price", "amount", "id")
_ROW: dict[Kind, tuple[str, ...]] = {"ticks": ("price", "size", "trade_id"), "bars": BAR_COLUMNS}


class _Trades:
    """Which trades of ccxt's caches are new."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}
        self._ids: dict[str, tuple[set[str], deque[str]]] = {}
        self.lost = False
        """Whether some came and went before they were looked at."""

    def connected(self) -> None:
        """The caches are new ones."""
        self._last.clear()

    def new(self, symbol: str, cache: Any) -> list[Any]:
        if not len(cache):
            return []
        last = self._last.get(symbol)
        if cache[-1] is last:
            return []
        found: list[Any] = []
        for trade in reversed(cache):
            if trade is last:
                break
            found.append(trade)
        else:
            self.lost = self.lost or last is not None
        self._last[symbol] = cache[-1]
        return [trade for trade in reversed(found) if self._is_new(symbol, trade)]

    def _is_new(self, symbol: str, trade: Any) -> bool:
        number = trade.get("id")
        if number is None:
            return True
        known, order = self._ids.setdefault(symbol, (set(), deque()))
        if number in known:
            return False
        known.add(number)
        order.append(number)
        if len(order) > IDS_KEPT:
            known.discard(order.popleft())
        return True


def _passed_over(kind: str, where: str, why: str) -> None:
    """A row of history that is none: what is missing stays missing."""


def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _is_open(exchange: Any) -> bool:
    clients: Mapping[str, Any] = exchange.clients or {}
    return bool(clients) and all(client.isConnected for client in clients.values())


def _status(error: BaseException) -> int | None:
    """Of a handshake that was refused."""
    return next((of.status for of in error.args if hasattr(of, "status")), None)
