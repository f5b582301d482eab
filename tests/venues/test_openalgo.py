"""OpenAlgo's proxy: what is its own beside what goes wrong at all vendors."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from venues.http import Asked, answering
from venues.openalgo import AT, CASE, KEY, SECOND, Talk, Wire, feed, tick
from venues.venue import Session, opened
from ws_vendor import Client, vendor

from openbell.adapters.feeds import FeedOptions, HasHistory, open_feed
from openbell.adapters.feeds.openalgo import _instant
from openbell.errors import ConfigError, DataError, LoginRefused
from openbell.hosttime import wall_ns
from openbell.testing import delivered


def sends(*messages: str) -> Callable[[Session], None]:
    def script(on: Session) -> None:
        for message in messages:
            on.client.socket.send(message)
        on.stay()

    return script


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow  # it sleeps between its own steps
@pytest.mark.parametrize("mode", [1, 2])
def test_the_vendors_client_reads_what_we_write_as_we_read_it(mode: int) -> None:
    openalgo = pytest.importorskip("openalgo", reason="openalgo's client is not installed")
    came: list[tuple[Any, ...]] = []
    done = threading.Event()

    def take(message: dict[str, Any]) -> None:
        data = message["data"]
        came.append((message["symbol"], data["timestamp"] * 10**6, data["ltp"]))
        if len(came) == len(CASE.rows):
            done.set()

    def handle(client: Client) -> None:
        wire = Wire()
        assert client.asked() == {"action": "authenticate", "api_key": KEY}
        client.say({"type": "auth", "status": "success", "broker": "zerodha", "user_id": "u"})
        for _ in range(2):  # it asks for each symbol by itself
            wire.answer(client, client.asked())
        for message in Talk(mode).messages(CASE.rows):
            client.socket.send(message)
        client.stay()

    with vendor(handle) as of:
        client = openalgo.api(api_key=KEY, host="http://127.0.0.1:1", ws_url=of.url)
        assert client.connect()
        named = [{"exchange": "NSE", "symbol": symbol} for symbol in "AB"]
        subscribe = client.subscribe_ltp if mode == 1 else client.subscribe_quote
        assert subscribe(named, on_data_received=take)
        assert done.wait(120)
        client.disconnect()

    assert came == [(symbol, ts, price) for symbol, ts, price, _ in CASE.rows]


def test_rows_are_stamped_as_they_arrive_unless_asked_otherwise() -> None:
    before = wall_ns()

    with opened(CASE, sends(tick(2, "A", AT, 10.0, 5.0))) as (venue, url):
        found = delivered(venue.watched(feed(url, stamps="arrival")), 1)

    [(symbol, ts, price, size)] = found.rows
    assert (symbol, price, size) == ("A", 10.0, 5.0)
    assert before <= ts <= wall_ns()


@pytest.mark.parametrize(
    ("traded", "sent", "ns"),
    [
        (1_719_840_600, None, AT),
        (1_719_840_600_000, None, AT),
        ("1719840600000000", None, AT),
        (AT, None, AT),
        (1_719_840_600.5, None, AT + SECOND // 2),
        (0, 1_719_840_600_000, AT),
        (None, None, 7),
        ("soon", "later", 7),
    ],
)
def test_the_unit_of_a_time_is_told_by_its_size(traded: Any, sent: Any, ns: int) -> None:
    assert _instant(traded, sent, 7) == ns


def test_messages_as_the_documentation_has_them_are_rows_too() -> None:
    ltp = {"type": "ltp", "symbol": "A", "exchange": "NSE", "ltp": 10.5, "ltt": AT // SECOND}
    quote = {
        "type": "quote",
        "data": {"symbol": "B", "exchange": "NSE", "ltp": 7.25, "ltt": AT // SECOND, "volume": 9},
    }

    with opened(CASE, sends(json.dumps(ltp), json.dumps(quote))) as (venue, url):
        found = delivered(venue.watched(feed(url)), 2)

    assert found.rows == [("A", AT, 10.5, 0.0), ("B", AT, 7.25, 9.0)]


def test_quotes_without_a_new_trade_are_no_rows() -> None:
    messages = (
        tick(2, "A", AT, 0, 0),  # before the first trade
        tick(2, "A", AT, 10.0, 5.0),
        tick(2, "A", AT, 10.0, 5.0, bid=9.9),
        tick(2, "A", AT, 10.0, 6.0),
        tick(2, "A", AT + SECOND, 10.0, 6.0),
    )

    with opened(CASE, sends(*messages)) as (venue, url):
        found = delivered(venue.watched(feed(url)), 3)

    assert [row[1:] for row in found.rows] == [
        (AT, 10.0, 5.0),
        (AT, 10.0, 6.0),
        (AT + SECOND, 10.0, 6.0),
    ]


def test_a_symbol_that_the_broker_has_not_is_named() -> None:
    with opened(CASE, sends(tick(2, "A", AT, 10.0, 5.0))) as (venue, url):
        wire = venue.wire
        assert isinstance(wire, Wire)
        wire.unknown.add("B")
        found = delivered(venue.watched(feed(url)), 1)

    assert found.refused == [("symbol refused", "B", "Symbol B not found")]


def test_symbols_go_by_our_names_and_each_may_name_its_exchange() -> None:
    script = sends(tick(1, "NIFTY", AT, 24_000.5, 0).replace('"NSE"', '"NSE_INDEX"'))

    with opened(CASE, script) as (venue, url):
        of = feed(
            url,
            watched=("N50", "BSE:TCS"),
            symbols={"N50": "NSE_INDEX:NIFTY"},
            exchange=None,
            mode="ltp",
        )
        found = delivered(venue.watched(of), 1)

    assert [row[0] for row in found.rows] == ["N50"]
    wire = venue.wire
    assert isinstance(wire, Wire)
    assert wire.asked == [
        {
            "action": "subscribe",
            "symbols": [
                {"symbol": "NIFTY", "exchange": "NSE_INDEX"},
                {"symbol": "TCS", "exchange": "BSE"},
            ],
            "mode": 1,
        }
    ]


def test_symbols_that_come_into_the_day_are_subscribed_to() -> None:
    def script(on: Session) -> None:
        on.venue.feed.watch(("BSE:TCS", "NOWHERE"), ())
        asked = on.client.asked()
        assert asked["symbols"] == [{"symbol": "TCS", "exchange": "BSE"}]
        on.client.socket.send(tick(2, "TCS", AT, 10.0, 5.0).replace('"NSE"', '"BSE"'))
        on.stay()

    with opened(CASE, script) as (venue, url):
        of = feed(url, watched=("NSE:A",), exchange=None)
        found = delivered(venue.watched(of), 1)

    assert found.rows == [("BSE:TCS", AT, 10.0, 5.0)]
    assert [place for _, place, _ in found.refused] == ["NOWHERE"]


def test_a_login_that_ends_under_way_is_told_by_an_error() -> None:
    def script(on: Session) -> None:
        on.send(on.rows[:6])
        on.venue.wait_came(6)
        ended = {"type": "error", "code": "AUTHENTICATION_ERROR", "message": "Broker token expired"}
        on.client.socket.send(json.dumps(ended))
        on.stay()

    def close() -> None:
        venue.wait_said("auth")
        venue.feed.close()

    with opened(CASE, script) as (venue, url):
        threading.Thread(target=close, daemon=True).start()
        with pytest.raises(AssertionError, match="6 of 12 rows"):
            delivered(venue.watched(feed(url)), 12)

    assert venue.states == ["connected", "auth"]


def candles(asked: Asked) -> tuple[int, object]:
    """Of each minute of the day so far, as OpenAlgo answers."""
    assert asked.path == "/api/v1/history"
    if asked.body["apikey"] != KEY:
        return 403, {"status": "error", "message": "Invalid openalgo apikey"}
    if asked.body["symbol"] == "NONE":
        return 200, {"status": "error", "message": "Symbol not found"}
    assert asked.body["start_date"] == asked.body["end_date"] == "2024-07-01"
    assert (asked.body["interval"], asked.body["exchange"]) == ("1m", "NSE")
    of = [
        {"timestamp": AT // SECOND + 60 * n, "open": 10.0 + n, "high": 12.0 + n, "low": 9.0 + n}
        | {"close": 11.0 + n, "volume": 100 + n, "oi": 0}
        for n in range(-2, 5)
    ]
    return 200, {"status": "success", "data": of}


def test_history_is_four_ticks_a_candle() -> None:
    with answering(candles) as (url, heard):
        of = feed("ws://127.0.0.1:1", history_url=url)
        assert isinstance(of, HasHistory)
        found = of.history(("A",), AT, AT + 120 * SECOND)

    assert len(heard) == 1
    assert found.columns["price"].tolist() == [10.0, 9.0, 12.0, 11.0, 11.0, 10.0, 13.0, 12.0]
    assert found.columns["size"].tolist() == [0.0, 0.0, 0.0, 100.0, 0.0, 0.0, 0.0, 101.0]
    assert found.ts.tolist() == [AT + n * 15 * SECOND for n in range(8)]


@pytest.mark.slow  # its client is slow to import
@pytest.mark.filterwarnings("ignore")
def test_the_vendors_client_reads_the_same_candles() -> None:
    openalgo = pytest.importorskip("openalgo", reason="openalgo's client is not installed")

    with answering(candles) as (url, _):
        client = openalgo.api(api_key=KEY, host=url)
        frame = client.history(
            symbol="A",
            exchange="NSE",
            interval="1m",
            start_date="2024-07-01",
            end_date="2024-07-01",
        )

    row = frame.iloc[2]
    assert int(frame.index[2].timestamp()) * SECOND == AT
    assert [row[name] for name in ("open", "high", "low", "close")] == [10.0, 12.0, 9.0, 11.0]


@pytest.mark.parametrize(
    ("symbol", "key", "raised", "said"),
    [
        ("NONE", KEY, DataError, "Symbol not found"),
        ("A", "another", LoginRefused, "403"),
    ],
)
def test_history_that_can_t_be_had_says_why(
    symbol: str, key: str, raised: type[Exception], said: str
) -> None:
    with answering(candles) as (url, _):
        of = feed("ws://127.0.0.1:1", api_key=key, history_url=url)
        assert isinstance(of, HasHistory)
        with pytest.raises(raised, match=said) as found:
            of.history((symbol,), AT, AT + 120 * SECOND)

    assert key not in str(found.value)


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({}, {}, "feed.options.api_key is missing"),
        ({"api_key": "${NO_KEY}"}, {}, "the environment has no NO_KEY"),
        ({"api_key": KEY}, {}, "feed.options.exchange is missing, and A names none"),
        ({"api_key": KEY, "exchange": "NSE", "mode": "depth"}, {}, "write e.g. quote or ltp"),
        ({"api_key": KEY, "exchange": "NSE"}, {"size_is": "trade"}, "feed.size_is: day_total"),
        (
            {"api_key": KEY, "exchange": "NSE"},
            {"kind": "bars", "interval_ns": 60 * SECOND},
            "write data.kind: ticks",
        ),
    ],
)
def test_options_that_can_not_be_used_say_what_to_write(
    options: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"name": "t", "kind": "ticks", "interval_ns": None, "symbols": ("A",)}
    given |= {"size_is": "day_total", **more}

    with pytest.raises(ConfigError) as found:
        open_feed("openalgo", FeedOptions(given=options, **given))

    assert said in str(found.value)
    assert KEY not in str(found.value)
