"""Crypto exchanges by ccxt: what is its own beside what goes wrong at all vendors."""

from __future__ import annotations

import sys
from typing import Any

import pytest

pytest.importorskip("ccxt", reason="ccxt is not installed: openbell[ccxt]")

from venues.ccxt import AT, CANDLES, MINUTE, MS, NAMES, PRICES, TRADES, Wire, feed, kline, rest
from venues.venue import Session, opened

from openbell.adapters.feeds import FeedOptions, HasHistory, open_feed
from openbell.adapters.feeds.candles import ClosedCandles
from openbell.adapters.feeds.ccxt import _Trades
from openbell.errors import ConfigError, DataError
from openbell.testing import delivered

LATER = 4_000_000_020_000
"""A minute that has not ended while these tests run, in ms."""


def test_a_candle_comes_once_it_has_closed_and_as_it_was_then() -> None:
    def script(on: Session) -> None:
        for at, change in ((0, 0.0), (0, 1.0), (0, 2.0), (1, 3.0), (1, 4.0), (2, 5.0)):
            values = [value + change for value in PRICES]
            on.client.socket.send(kline("AUSDT", LATER + at * MINUTE, *values, closed=False))
        on.stay()

    with opened(CANDLES, script) as (venue, url):
        found = delivered(venue.watched(feed(url, "bars")), 2, kind="bars")

    assert found.rows == [
        ("A/USDT", LATER * MS, *(value + 2 for value in PRICES)),
        ("A/USDT", (LATER + MINUTE) * MS, *(value + 4 for value in PRICES)),
    ]


A, B, C = (0, 1.0, 2.0, 0.5, 1.5, 10.0), (60_000, *PRICES), (120_000, *PRICES)
MENDED = (0, 1.0, 2.0, 0.5, 1.75, 11.0)
MINUTE_NS = 60 * 10**9


def test_a_candle_closes_by_its_time_where_no_later_one_comes() -> None:
    candles = ClosedCandles(MINUTE_NS, 1.0)

    assert candles.closed("A", [A], MINUTE_NS) == []
    assert candles.closed("A", [A], MINUTE_NS + 10**9 - 1) == []
    assert candles.closed("A", [A], MINUTE_NS + 10**9) == [A]
    assert candles.closed("A", [A], 2 * MINUTE_NS) == []
    assert candles.closed("A", [A, B], 2 * MINUTE_NS) == []
    assert candles.closed("A", [A, B, C], 2 * MINUTE_NS) == [B]


def test_a_candle_that_is_mended_after_its_end_comes_again() -> None:
    candles = ClosedCandles(MINUTE_NS, 1.0)

    assert candles.closed("A", [A], 2 * MINUTE_NS) == [A]
    assert candles.closed("A", [MENDED], 2 * MINUTE_NS) == [MENDED]
    assert candles.closed("A", [MENDED, B], 2 * MINUTE_NS) == []


def test_a_candle_that_was_open_when_the_connection_ended_is_not_taken_for_closed() -> None:
    candles = ClosedCandles(MINUTE_NS, 1.0)

    assert candles.closed("A", [A], 0) == []
    candles.connected()
    assert candles.closed("A", [C], 2 * MINUTE_NS) == []
    assert candles.closed("A", [C], 9 * MINUTE_NS) == [C]


def test_what_a_reconnect_sends_again_does_not_come_twice() -> None:
    candles = ClosedCandles(MINUTE_NS, 1.0)

    assert candles.closed("A", [A, B, C], 0) == [A, B]
    candles.connected()
    assert candles.closed("A", [A, B, C], 0) == []
    assert candles.closed("A", [A, B, C], 10 * MINUTE_NS) == [C]


def test_trades_that_a_reconnect_sends_again_do_not_come_twice() -> None:
    def script(on: Session) -> None:
        if on.number == 0:
            on.send(on.rows[:6])
            on.venue.wait_came(6)
            on.client.socket.close(1001, "going away")
            return
        on.send(on.rows[2:])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 12)

    assert found.rows == list(TRADES.rows)


def test_trades_without_numbers_all_count() -> None:
    trades = _Trades()
    cache = [{"id": None, "price": 1.0}, {"id": None, "price": 1.0}]

    assert trades.new("A", cache) == cache
    assert trades.new("A", cache) == []


def test_trades_that_came_and_went_before_anybody_looked_are_lost() -> None:
    trades = _Trades()
    first, second = [{"id": "1"}], [{"id": "3"}, {"id": "4"}]

    trades.new("A", first)
    assert not trades.lost
    assert trades.new("A", second) == second
    assert trades.lost


def test_each_symbol_by_itself_where_the_exchange_wants_it_so() -> None:
    def script(on: Session) -> None:
        on.send(on.rows)  # on each of two connections
        on.stay()

    has = {"watchTradesForSymbols": False}
    with opened(TRADES, script) as (venue, url):
        of = feed(url)
        of._options.client["has"] = has  # type: ignore[attr-defined]
        found = delivered(venue.watched(of), 12)

    assert sorted(found.rows) == sorted(TRADES.rows)
    wire = venue.wire
    assert isinstance(wire, Wire)
    assert ["ausdt@trade"] in [asked["params"] for asked in wire.asked]


def test_a_market_that_the_exchange_has_not_is_named_with_what_is_near() -> None:
    def script(on: Session) -> None:
        on.send([row for row in on.rows if row[0] == "A/USDT"])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        of = feed(url, watched=("A/USDT", "B/USD"))
        found = delivered(venue.watched(of), 6)

    assert found.refused == [
        (
            "symbol refused",
            "B/USD",
            "binance has no market B/USD; nearest: B/USDT, A/USDT",
        )
    ]


def test_symbols_that_come_into_the_day_are_subscribed_to() -> None:
    def script(on: Session) -> None:
        if on.number == 0:
            on.send(on.rows[:1])
            on.venue.wait_came(1)
            on.venue.feed.watch(("B/USDT", "X/USDT"), ())
        else:
            on.send(on.rows[1:2])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        found = delivered(venue.watched(feed(url, watched=("A/USDT",))), 2)

    assert found.rows == list(TRADES.rows[:2])
    assert [place for _, place, _ in found.refused] == ["X/USDT"]


def test_symbols_go_by_our_names() -> None:
    def script(on: Session) -> None:
        on.send(on.rows[:1])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        of = feed(url, watched=("AUSD",), symbols={"AUSD": "A/USDT"})
        found = delivered(venue.watched(of), 1)

    assert found.rows[0][0] == "AUSD"


def test_history_is_read_page_by_page() -> None:
    pages: list[int] = []

    def klines(asked: dict[str, str]) -> list[list[Any]]:
        assert asked["symbol"] == "AUSDT"
        assert asked["interval"] == "1m"
        since = int(asked["startTime"])
        pages.append(since)
        first = -(-since // MINUTE)
        texts = [f"{value:.2f}" for value in PRICES]
        return [
            [at * MINUTE, *texts, at * MINUTE + MINUTE - 1, "0", 1, "0", "0", "0"]
            for at in range(first, first + 3)
        ]

    begin = AT // MINUTE * MINUTE
    with rest(klines=klines) as http:
        of = feed("ws://127.0.0.1:1", "bars", http=http)
        assert isinstance(of, HasHistory)
        found = of.history(("A/USDT",), begin * MS, (begin + 7 * MINUTE) * MS)

    assert found.ts.tolist() == [(begin + n * MINUTE) * MS for n in range(7)]
    assert [found.columns[name].tolist()[0] for name in found.columns] == list(PRICES)
    assert len(pages) > 2


def test_trades_of_the_past_each_come_once() -> None:
    times = [AT, AT + 5, AT + 5, AT + 9, AT + 30]

    def trades(asked: dict[str, str]) -> list[dict[str, Any]]:
        since = int(asked["startTime"])
        of = [(n, at) for n, at in enumerate(times) if at >= since][:3]
        return [
            {"a": n, "p": f"{n + 1}.5", "q": "1.0", "f": n, "l": n, "T": at, "m": True}
            for n, at in of
        ]

    with rest(aggTrades=trades) as http:
        of = feed("ws://127.0.0.1:1", http=http)
        assert isinstance(of, HasHistory)
        found = of.history(("A/USDT",), AT * MS, (AT + 30) * MS)

    assert found.ts.tolist() == [at * MS for at in times[:4]]
    assert found.columns["price"].tolist() == [1.5, 2.5, 3.5, 4.5]


def test_history_that_can_t_be_had_says_why() -> None:
    with rest() as http:
        of = feed("ws://127.0.0.1:1", "bars", http=http)
        assert isinstance(of, HasHistory)
        with pytest.raises(DataError, match="binance: binance "):
            of.history(("A/USDT",), AT * MS, (AT + MINUTE) * MS)


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({}, {}, "feed.options.exchange is missing; write e.g. binance"),
        ({"exchange": "binanse"}, {}, "nearest: binance"),
        ({"exchange": "zaif"}, {}, "ccxt has it, but not its sockets"),
        ({"exchange": "binance", "chanel": 1}, {}, "feed.options.chanel is unknown"),
        ({"exchange": "binance", "client": {"apiKey": "${NO_KEY}"}}, {}, "no NO_KEY"),
        (
            {"exchange": "binance"},
            {"kind": "bars", "interval_ns": 7 * MINUTE_NS},
            "data.interval is none of binance's candles; it has",
        ),
        ({"exchange": "binance"}, {"size_is": "day_total"}, "feed.size_is: trade"),
        (
            {"exchange": "bitstamp"},
            {"kind": "bars", "interval_ns": MINUTE_NS},
            "write data.kind: ticks",
        ),
    ],
)
def test_options_that_can_not_be_used_say_what_to_write(
    options: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    given = {"name": "t", "kind": "ticks", "interval_ns": None, "symbols": NAMES, **more}

    with pytest.raises(ConfigError) as found:
        open_feed("ccxt", FeedOptions(given=options, **given))

    assert said in str(found.value)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ccxt", None)

    with pytest.raises(ConfigError, match=r"pip install 'openbell\[ccxt\]'"):
        feed("ws://127.0.0.1:1")
