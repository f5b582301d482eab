"""Interactive Brokers as a feed, by ib_async and a TWS or Gateway that runs and is logged in.

`feed: {type: ib, options: {port: 4001}}`. Trades come tick by tick; bars of 5 s as they are made,
longer ones as a history that is kept up to date, of which a bar is a row once it has closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from pydantic import Field

from openbell.adapters.feeds import connected
from openbell.adapters.feeds.base import Door, FeedInfo, FeedOptions, suits
from openbell.adapters.feeds.candles import ClosedCandles
from openbell.adapters.feeds.clients import ClientFeed, needs
from openbell.adapters.feeds.connected import Ended, Read
from openbell.adapters.feeds.entries import Decoder, Gathered, Refuse, Unusable
from openbell.adapters.feeds.socket_options import KEY, SomeSeconds, Staying, checked
from openbell.adapters.feeds.waiting import Frame
from openbell.errors import ConfigError, DataError
from openbell.hosttime import monotonic, wall_ns
from openbell.market.assembly import no_raw_rows
from openbell.market.bars import BAR_COLUMNS, Kind, RawRows

MS = 1_000_000
SECOND_NS = 1_000_000_000

ASK_SECONDS = 20.0
"""How often TWS is asked for its time, so that it says something where nothing trades."""

BARS_AT_ONCE = 720
"""Of history; TWS gives an hour of bars of 5 s at most."""

TICKS_AT_ONCE = 1000

_SIZES = {
    5: "5 secs",
    10: "10 secs",
    15: "15 secs",
    30: "30 secs",
    60: "1 min",
    120: "2 mins",
    180: "3 mins",
    300: "5 mins",
    600: "10 mins",
    900: "15 mins",
    1800: "30 mins",
    3600: "1 hour",
}

_LOST, _RESTORED_ANEW, _RESTORED = 1100, 1101, 1102
"""What TWS says of its own connection to IB: of the second, subscriptions are gone."""

_WARNINGS = range(2100, 2200)

_PASSING = frozenset({366, 420, 10182})
"""What was subscribed to has ended, or is asked for too fast: it is asked for anew."""

INFO = FeedInfo(
    kinds=("ticks", "bars"),
    size_is="trade",
    stamps="the second of a trade; a bar's start",
    idle_minute="no tick; a bar with volume 0",
    revised="a bar that TWS mends within seconds of its end comes again",
    login_ends="TWS logs out once a day: the connection is refused until it is back",
    silence="TWS is asked for its time; without any answer for `silence_max` (60s) it connects anew",
    history="TWS' history, tick by tick or as bars",
)


class Options(Staying):
    """`feed.options` of Interactive Brokers' feed."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 7497
    """7496 and 7497 of TWS, 4001 and 4002 of the Gateway."""
    client_id: Annotated[int, Field(ge=1)] = 71
    """No other client may have it, nor the one after it, by which history is asked for."""
    contract: dict[str, Any] = {"secType": "STK", "exchange": "SMART", "currency": "USD"}  # noqa: RUF012
    """What all contracts have in common, by the names of ib_async's `Contract`."""
    contracts: dict[str, dict[str, Any]] = {}  # noqa: RUF012 pydantic copies it
    """Of a symbol what is its own, e.g. `{ES: {secType: CONTFUT, exchange: CME}}`."""
    what: str = "TRADES"
    """Of which bars are made: TRADES, MIDPOINT, BID or ASK."""
    regular_hours: bool = False
    """Whether bars are of regular trading hours alone."""
    closes_after: SomeSeconds = 1.0
    silence_max: SomeSeconds | None = 60.0


_EXAMPLES = {
    "port": "4001",
    "client_id": "71",
    "contract": "{secType: STK, exchange: SMART, currency: USD}",
    "contracts": "{ES: {secType: CONTFUT, exchange: CME}}",
    "regular_hours": "true or false",
}


def open_ib_feed(options: FeedOptions) -> IbFeed:
    """What `feed: {type: ib, options: {port: 4001}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is unknown, or can't be used.
    """
    needs("ib_async", "ib", "ib_async")
    suits("ib", options, INFO)
    given = checked(Options, options.given, _EXAMPLES)
    others = sorted(set(given.contracts) - set(options.symbols))
    if others and options.symbols:
        raise ConfigError(f"{KEY}.contracts.{others[0]} is no symbol of this run; leave it out")
    if options.kind == "bars" and (options.interval_ns or 0) // SECOND_NS not in _SIZES:
        raise ConfigError(
            f"data.interval is none of IB's bars; it has {', '.join(_SIZES.values())}"
        )
    return IbFeed(given, options)


class IbFeed(ClientFeed):
    """Trades or bars of TWS."""

    info = INFO

    def __init__(self, given: Options, options: FeedOptions) -> None:
        super().__init__(given, options.symbols, f"{given.host}:{given.port}")
        self._options, self._kind = given, options.kind
        self._interval_ns = options.interval_ns if options.kind == "bars" else None
        self._contract(options.symbols[0] if options.symbols else "A")
        self._decoder = Decoder(kind=options.kind, source="ib", ts_unit="ms")
        self._candles = ClosedCandles(self._interval_ns or 0, given.closes_after)

    def _contract(self, symbol: str) -> Any:
        """
        Raises
        ------
        ConfigError
            If a contract has no such field.
        """
        import ib_async

        fields = {
            "symbol": symbol,
            **self._options.contract,
            **self._options.contracts.get(symbol, {}),
        }
        try:
            return ib_async.Contract(**fields)
        except TypeError as error:
            raise ConfigError(f"{KEY}.contracts: {symbol}: {error}") from None

    # --- live

    async def _talk(self, door: Door) -> None:
        self._candles.connected()
        ib = await self._connection_of(self._options.client_id)
        asked: dict[int, str] = {}
        """Request → symbol."""
        heard, failed = monotonic(), asyncio.get_running_loop().create_future()

        def came() -> None:
            nonlocal heard
            heard = monotonic()

        def ended() -> None:
            if not failed.done():
                failed.set_exception(Ended("TWS has closed the connection"))

        def told(request: int, code: int, text: str, contract: Any) -> None:
            self._take_error(door, asked, failed, request, code, text)

        ib.updateEvent += came
        ib.disconnectedEvent += ended
        ib.errorEvent += told
        try:
            self._is_logged_in()
            open_bars = self._subscribe(ib, asked, self._symbols)
            door.said("connected", self.where)
            due = monotonic() + ASK_SECONDS
            while True:
                await asyncio.wait({failed}, timeout=connected.POLL_SECONDS)
                if failed.done():
                    failed.result()
                silence = self._options.silence_max
                if silence is not None and monotonic() - heard > silence:
                    raise Ended(f"nothing came for {silence:g} s, not even an answer")
                if monotonic() >= due:
                    due = monotonic() + ASK_SECONDS
                    ib.client.reqCurrentTime()
                for symbol, bars in open_bars.items():
                    self._take_open(symbol, bars)
                while self._resubscribe:
                    symbols = self._resubscribe.popleft()
                    open_bars |= self._subscribe(
                        ib, asked, self._symbols if symbols is None else symbols
                    )
        finally:
            failed.cancel()
            with suppress(Exception):
                ib.disconnect()

    async def _connection_of(self, client_id: int) -> Any:
        """TWS, in which nothing is subscribed to yet; nothing is asked of accounts and orders."""
        import ib_async

        ib: Any = ib_async.IB()
        seconds = self._options.open_timeout
        try:
            await ib.client.connectAsync(self._options.host, self._options.port, client_id, seconds)
        except TimeoutError:
            raise Ended(f"it did not answer within {seconds:g} s") from None
        return ib

    def _subscribe(self, ib: Any, asked: dict[int, str], symbols: Sequence[str]) -> dict[str, Any]:
        """Ask for rows; bars that change while they are open, by symbol."""
        if self._kind == "ticks":
            self._hear_ticks(ib, asked)
        open_bars = {}
        self._cancel(ib, asked, symbols)
        for symbol in symbols:
            contract = self._contract(symbol)
            if self._kind == "ticks":
                request = ib.client.getReqId()
                asked[request] = symbol
                ib.client.reqTickByTickData(request, contract, "Last", 0, False)
                continue
            hours, what = self._options.regular_hours, self._options.what
            if self._interval_ns == 5 * SECOND_NS:
                bars = ib.reqRealTimeBars(contract, 5, what, hours)
                bars.updateEvent += lambda bars, _, of=symbol: self._take_bar(of, bars)
            else:
                bars = self._kept_up_to_date(ib, contract)
                bars.updateEvent += lambda bars, _, of=symbol: self._take_open(of, bars)
                open_bars[symbol] = bars
            asked[bars.reqId] = symbol
        return open_bars

    def _cancel(self, ib: Any, asked: dict[int, str], symbols: Sequence[str]) -> None:
        """Ask for symbols no more: two requests for one bring its rows twice."""
        for request in [request for request, of in asked.items() if of in symbols]:
            del asked[request]
            if self._kind == "ticks":
                ib.client.cancelTickByTickData(request)
                continue
            bars = ib.wrapper.reqId2Subscriber.get(request)
            if bars is None:  # it was refused
                continue
            bars.updateEvent.clear()
            if self._interval_ns == 5 * SECOND_NS:
                ib.cancelRealTimeBars(bars)
            else:
                ib.cancelHistoricalData(bars)

    def _hear_ticks(self, ib: Any, asked: Mapping[int, str]) -> None:
        """By the client's own callback: what it makes of a tick for others has no time of trade."""

        def tick(
            request: int, of: int, seconds: int, price: float, size: float, attributes: Any, *_: Any
        ) -> None:
            symbol = asked.get(request)
            if symbol is not None and not attributes.unreported:
                self._put(symbol, [seconds * 1000, price, size])

        ib.wrapper.tickByTickAllLast = tick

    def _kept_up_to_date(self, ib: Any, contract: Any) -> Any:
        import ib_async

        seconds = (self._interval_ns or 0) // SECOND_NS
        of: Any = ib_async
        bars = of.BarDataList()
        bars.reqId = ib.client.getReqId()
        bars.contract, bars.keepUpToDate = contract, True
        ib.wrapper.startReq(bars.reqId, contract, bars)
        ib.wrapper.startSubscription(bars.reqId, bars, contract)
        ib.client.reqHistoricalData(
            bars.reqId,
            contract,
            "",
            f"{max(60, 2 * seconds)} S",
            _SIZES[seconds],
            self._options.what,
            self._options.regular_hours,
            2,
            True,
            [],
        )
        return bars

    def _take_bar(self, symbol: str, bars: Any) -> None:
        of = bars[-1]
        del bars[:-1]  # it keeps all of them
        ms = round(of.time.timestamp() * 1000)
        self._put(symbol, [ms, of.open_, of.high, of.low, of.close, max(of.volume, 0.0)])

    def _take_open(self, symbol: str, bars: Any) -> None:
        now = wall_ns()
        for candle in self._candles.closed(symbol, [_row(of) for of in bars[-3:]], now):
            self._put(symbol, list(candle))

    def _take_error(
        self, door: Door, asked: Mapping[int, str], failed: Any, request: int, code: int, text: str
    ) -> None:
        text = f"{code}: {' '.join(text.split())}"
        if code == _LOST:
            self._waiting.cut(text)
        elif code == _RESTORED_ANEW or code in _PASSING:
            if not failed.done():
                failed.set_exception(Ended(text))
        elif request in asked and code not in _WARNINGS:
            door.refuse("symbol refused", asked[request], text)

    def _put(self, symbol: str, values: list[Any]) -> None:
        self._waiting.put(orjson.dumps([symbol, *values]), wall_ns())

    def _read(self, frames: Sequence[Frame], refuse: Refuse) -> Read:
        gathered = Gathered(self._kind, "ib")
        for frame in frames:
            self._gather(gathered, f"message {frame.number}", orjson.loads(frame.body), refuse)
        return Read(rows=gathered.rows() if len(gathered) else None)

    def _gather(self, gathered: Gathered, of: str, values: list[Any], refuse: Refuse) -> None:
        names = ("symbol", "ts", *_ROW[self._kind])
        try:
            gathered.add(of, 1, *self._decoder.row(dict(zip(names, values, strict=True))))
        except Unusable as error:
            refuse(error.kind, f"ib {of}", str(error))

    # --- history

    def history(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        """By a client of its own."""
        if self._interval_ns is not None:
            self._wait_for(until_ns)
        try:
            return asyncio.run(self._past(symbols, from_ns, until_ns))
        except (Ended, OSError, TimeoutError) as error:
            raise DataError(f"ib {self.where}: {error or type(error).__name__}") from None

    def _wait_for(self, until_ns: int) -> None:
        """Until the last bar that ends by then has closed."""
        while (left := until_ns / 1e9 + self._options.closes_after - wall_ns() / 1e9) > 0:
            if self._closed.wait(min(left, 1.0)):
                return

    async def _past(self, symbols: Sequence[str], from_ns: int, until_ns: int) -> RawRows:
        from ib_async import RequestError

        gathered = Gathered(self._kind, "ib history")
        ib = await self._connection_of(self._options.client_id + 1)
        ib.RaiseRequestErrors = True
        try:
            for symbol in symbols:
                contract = self._contract(symbol)
                if self._kind == "bars":
                    found = [row async for row in self._bars(ib, contract, from_ns, until_ns)]
                else:
                    found = [row async for row in self._ticks(ib, contract, from_ns, until_ns)]
                for n, row in enumerate(found):
                    if from_ns <= row[0] * MS < until_ns:
                        self._gather(
                            gathered, f"{symbol} row {n + 1}", [symbol, *row], _passed_over
                        )
        except RequestError as error:
            raise DataError(f"ib {self.where}: {error}") from None
        finally:
            ib.disconnect()
        return gathered.rows() if len(gathered) else no_raw_rows(tuple(symbols), self._interval_ns)

    async def _bars(self, ib: Any, contract: Any, from_ns: int, until_ns: int) -> Any:
        seconds = (self._interval_ns or 0) // SECOND_NS
        start, until = from_ns // SECOND_NS, -(-until_ns // SECOND_NS)
        for end in _steps(start, until, BARS_AT_ONCE * seconds):
            bars = await ib.reqHistoricalDataAsync(
                contract,
                datetime.fromtimestamp(end, UTC),
                f"{max(end - start, 30)} S",
                _SIZES[seconds],
                self._options.what,
                self._options.regular_hours,
                formatDate=2,
            )
            for bar in bars:
                if start <= bar.date.timestamp() < end:
                    yield _row(bar)
            start = end

    async def _ticks(self, ib: Any, contract: Any, from_ns: int, until_ns: int) -> Any:
        since, until = from_ns // SECOND_NS, -(-until_ns // SECOND_NS)
        while since < until:
            ticks = await ib.reqHistoricalTicksAsync(
                contract, datetime.fromtimestamp(since, UTC), "", TICKS_AT_ONCE, "TRADES", False
            )
            if not ticks:
                return
            for tick in ticks:
                if not tick.tickAttribLast.unreported:
                    yield round(tick.time.timestamp() * 1000), tick.price, tick.size
            # A page ends with all of its last second.
            since = int(ticks[-1].time.timestamp()) + 1


_ROW: dict[Kind, tuple[str, ...]] = {"ticks": ("price", "size"), "bars": BAR_COLUMNS}


def _row(bar: Any) -> tuple[Any, ...]:
    ms = round(bar.date.timestamp() * 1000)
    return (ms, bar.open, bar.high, bar.low, bar.close, max(bar.volume, 0.0))


def _steps(start: int, until: int, most: int) -> Iterator[int]:
    """Where pieces of at most so many seconds end."""
    while start < until:
        start = min(start + most, until)
        yield start


def _passed_over(kind: str, where: str, why: str) -> None:
    """A row of history that is none: what is missing stays missing."""
