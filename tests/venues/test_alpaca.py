"""Alpaca's stream and history, as its own client reads them."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from venues import alpaca
from venues.alpaca import AT, BARS, TRADES, bar, feed, status, trade
from venues.http import Asked, answering
from venues.venue import Session, opened
from ws_vendor import PATIENCE_SECONDS

from openbell.adapters.feeds import FeedOptions, HasHistory, open_feed
from openbell.adapters.feeds.alpaca.messages import Messages
from openbell.adapters.feeds.waiting import Frame
from openbell.errors import ConfigError, DataError, LoginRefused
from openbell.market.bars import Kind
from openbell.testing import delivered
from openbell.testing.feeds import Delivered, _Door

MINUTE_NS = 60 * 10**9


def sent(*messages: list[dict[str, Any]]) -> Callable[[Session], None]:
    def script(on: Session) -> None:
        for parts in messages:
            on.client.socket.send(on.talk.written(parts))  # type: ignore[attr-defined]
        on.stay()

    return script


# --- what their client reads


@pytest.fixture(scope="module")
def stream() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is built on the older half of websockets
        pytest.importorskip("alpaca.data.live", reason="pip install 'alpaca-py>=0.44'")
        from alpaca.data.live import StockDataStream

    return StockDataStream


def their_reading(stream: Any, url: str, count: int) -> list[Any]:
    """What their client has read when so much came."""
    client = stream(alpaca.KEY, alpaca.SECRET, url_override=f"{url}/v2/iex")
    came: list[Any] = []
    enough = threading.Event()

    async def take(part: Any) -> None:
        came.append(part)
        if len(came) >= count:
            enough.set()
            await client.stop_ws()

    for subscribe in (
        client.subscribe_trades,
        client.subscribe_bars,
        client.subscribe_updated_bars,
        client.subscribe_trading_statuses,
    ):
        subscribe(take, "AAPL", "SPY")

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            asyncio.run(client._run_forever())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert enough.wait(PATIENCE_SECONDS), came
    thread.join(PATIENCE_SECONDS)
    return came


def in_ns(of: datetime) -> int:
    """Their times are cut to microseconds."""
    return int(of.timestamp()) * 10**9 + of.microsecond * 1000


def test_their_client_reads_the_trades_bars_and_statuses_that_we_write(stream: Any) -> None:
    def script(on: Session) -> None:
        for message in on.talk.messages(TRADES.rows, together=4):
            on.client.socket.send(message)
        for message in on.talk.messages(BARS.rows, together=5):
            on.client.socket.send(message)
        talk = cast(alpaca.Talk, on.talk)
        revised = bar(BARS.rows[0], updated=True)
        halted = status("SPY", "P", "Volatility Trading Pause")
        on.client.socket.send(talk.written([revised, halted]))
        on.stay()

    with opened(TRADES, script) as (_, url):
        came = their_reading(stream, url, len(TRADES.rows) + len(BARS.rows) + 2)

    trades, bars = came[:12], came[12:24]
    revised, halted = came[24:]
    assert [(of.symbol, in_ns(of.timestamp), of.price, of.size) for of in trades] == [
        (symbol, ts - ts % 1000, price, size) for symbol, ts, price, size in TRADES.rows
    ]
    read = [
        (of.symbol, in_ns(of.timestamp), of.open, of.high, of.low, of.close, of.volume)
        for of in [*bars, revised]
    ]
    assert read == [*BARS.rows, BARS.rows[0]]
    assert (halted.symbol, halted.status_code) == ("SPY", "P")
    assert halted.reason_message == "Volatility Trading Pause"


# --- what our feed reads


def test_a_bar_that_was_revised_comes_again_and_other_messages_are_no_rows() -> None:
    script = sent(
        [bar(BARS.rows[0])], [trade(TRADES.rows[0]), {"T": "d"}, bar(BARS.rows[0], updated=True)]
    )

    with opened(BARS, script) as (_, url):
        found = delivered(alpaca.bars_feed(url), 2, kind="bars")

    assert found.rows == [BARS.rows[0]] * 2
    assert found.refused == []


def test_halts_explain_silence_and_corrections_are_counted() -> None:
    halts: list[tuple[tuple[str, ...], bool, str]] = []

    class Door(_Door):
        def halted(self, symbols: tuple[str, ...], on: bool, why: str = "") -> None:
            halts.append((symbols, on, why))

    corrected = {"T": "c", "S": "AAPL", "x": "V", "oi": 1, "op": 1.0, "ci": 2, "cp": 2.0, "t": AT}
    script = sent(
        [status("AAPL", "P", "Volatility Trading Pause"), status("SPY", "2", "Trading Halt")],
        [status("AAPL", "Q", "Quotation Resumption"), status("AAPL", "T", "Trading Resumption")],
        [corrected, {"T": "x", "S": "AAPL", "i": 1, "a": "C", "t": AT}, trade(TRADES.rows[0])],
    )
    with opened(TRADES, script) as (_, url):
        found = run(feed(url), Door("ticks", 0, 1), lambda door: door.found.rows)

    assert halts == [
        (("AAPL",), True, "Volatility Trading Pause: Volatility Trading Pause"),
        (("SPY",), True, "Trading Halt: Volatility Trading Pause"),
        (("AAPL",), False, "Trading Resumption: Volatility Trading Pause"),
    ]
    assert [kind for kind, _, _ in found.refused] == [
        "a trade was corrected",
        "a trade was cancelled",
    ]


def run(of: Any, door: _Door, until: Callable[[_Door], Any]) -> Delivered:
    thread = threading.Thread(target=of.run, args=(door, 0, ""), daemon=True)
    thread.start()
    try:
        with door.news:
            assert door.news.wait_for(lambda: until(door), PATIENCE_SECONDS), door.found
    finally:
        of.close()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()
    return door.found


def test_trades_that_make_no_price_are_left_out_by_the_rules_of_their_tape() -> None:
    rows = TRADES.rows
    tape_a = {**trade(rows[2], conditions=["B"]), "z": "A"}
    tape_c = trade(rows[3], conditions=["B"])
    parts = [
        trade(rows[0], conditions=["@", "I"]),
        trade(rows[1], conditions=["@", "F"]),
        tape_a,
        tape_c,
        trade(rows[4], conditions=[" "]),
    ]

    with opened(TRADES, sent(parts)) as (_, url):
        assert delivered(feed(url), 3).rows == [rows[1], rows[3], rows[4]]
        assert len(delivered(feed(url, skip_conditions=[]), 5).rows) == 5


def test_numbers_of_trades_are_each_exchange_s_own() -> None:
    row = TRADES.rows[0]
    one, other = trade(row, number=7), {**trade(row, number=7), "x": "D"}
    messages = Messages("ticks", {})
    frame = Frame(1, cast(bytes, alpaca.Talk(packed=True).written([one, other, one])), 0)

    read, _ = messages.read([frame], lambda *given: pytest.fail(str(given)))

    assert read.rows is not None
    numbers = read.rows.columns["trade_id"].tolist()
    assert numbers[0] == numbers[2] != numbers[1]


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda of: b"[" + of))
def test_no_bytes_end_the_reading(body: bytes) -> None:
    Messages("ticks", {}).read([Frame(1, body, 0)], lambda *given: None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(max_size=2), of, max_size=3),
    max_leaves=5,
)
parts = st.fixed_dictionaries(
    {"T": st.sampled_from(["t", "b", "u", "s", "c", "x", "error", "subscription"]) | json_values},
    optional=dict.fromkeys([*"Stpsixczohlv", "sc", "sm", "rm", "code", "msg"], json_values),
)


@given(st.lists(parts, max_size=4), st.sampled_from(["ticks", "bars"]))
def test_no_values_end_the_reading(given: list[Any], kind: Kind) -> None:
    try:
        body = orjson.dumps(given)
    except TypeError:  # a whole number that is too large for it
        return
    speech = cast(Any, feed("ws://127.0.0.1:1", kind=kind))._speech
    speech._awaited.append((frozenset({"AAPL"}), frozenset()))
    speech.read([Frame(1, body, 0)], lambda *told: None)


# --- the login, and what is subscribed to


@pytest.mark.parametrize(
    ("code", "state"), [(402, "auth"), (409, "auth"), (406, "reconnecting"), (404, "reconnecting")]
)
def test_an_error_says_whether_it_is_tried_again(code: int, state: str) -> None:
    with opened(TRADES, lambda on: on.stay()) as (venue, url):
        venue.expired = True
        cast(alpaca.Wire, venue.wire).code = code
        door = _Door("ticks", 0, 1)
        found = run(feed(url), door, lambda door: door.found.said)

    assert found.said[0][0] == state
    assert f"it says {code}" in found.said[0][1]
    assert alpaca.SECRET not in str(found.said)


@pytest.mark.parametrize(("code", "state"), [(405, "auth"), (407, "reconnecting"), (403, None)])
def test_an_error_in_the_stream_does_too(code: int, state: str | None) -> None:
    def script(on: Session) -> None:
        talk = cast(alpaca.Talk, on.talk)
        if on.number == 0:
            on.client.socket.send(talk.written([{"T": "error", "code": code, "msg": "told"}]))
        on.send(on.rows[:1])
        on.stay()

    with opened(TRADES, script) as (_, url):
        door = _Door("ticks", 0, 1)
        found = run(
            feed(url),
            door,
            lambda door: len(door.found.said) > 1 if state else door.found.rows,
        )

    states = [of for of, _ in found.said]
    assert states[:2] == (["connected", state] if state else ["connected"])


def test_symbols_that_are_not_subscribed_to_are_told_by_our_names() -> None:
    def script(on: Session) -> None:
        on.send(on.rows[:1])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        cast(alpaca.Wire, venue.wire).unknown = frozenset({"SPY.X"})
        found = delivered(feed(url, symbols={"SPY": "SPY.X"}), 1)

    told = [("symbol refused", "SPY", "alpaca does not name it among its trades")]
    assert found.refused == told


@pytest.mark.parametrize("encoding", ["msgpack", "json"])
def test_both_ways_of_writing_are_read_alike(encoding: str) -> None:
    def script(on: Session) -> None:
        on.send(on.rows, together=3)
        on.stay()

    with opened(TRADES, script) as (_, url):
        assert delivered(feed(url, encoding=encoding), 12).rows == TRADES.rows


@pytest.mark.parametrize(
    ("options", "kind", "interval_ns", "says"),
    [
        ({"secret": "${NOT_THERE}"}, "ticks", None, "secret: the environment has no NOT_THERE"),
        ({"secret": None}, "ticks", None, "feed.options.secret is missing; write e.g."),
        ({"feed": "otc"}, "ticks", None, "feed is 'otc'; write e.g. iex, sip"),
        ({"keys": "x"}, "ticks", None, "keys is unknown; there are key, secret, feed"),
        ({}, "bars", 5 * MINUTE_NS, "alpaca sends bars of a minute; write data.interval: 1m"),
        ({"url": "http://x"}, "ticks", None, "write ws://… or wss://"),
        ({"skip_conditions": "I"}, "ticks", None, "skip_conditions"),
    ],
)
def test_options_that_are_wrong_say_what_to_write(
    options: dict[str, Any], kind: Kind, interval_ns: int | None, says: str
) -> None:
    given = {"key": "alpacakey", "secret": "alpacasecret", **options}
    given = {name: of for name, of in given.items() if of is not None}

    with pytest.raises(ConfigError, match=says) as refused:
        open_feed("alpaca", FeedOptions(name="t", kind=kind, interval_ns=interval_ns, given=given))

    assert "alpacasecret" not in str(refused.value)


# --- history


def pages(asked: Asked) -> tuple[int, object]:
    """Two pages: rows of a symbol may go on in the next one."""
    what = asked.path.rpartition("/")[2]
    rows = [TRADES.rows[n] for n in (0, 2, 4, 1)] if what == "trades" else BARS.rows[:4]
    page = int(asked.query.get("page_token", "0"))
    found: dict[str, list[Any]] = {}
    for row in rows[page * 2 : page * 2 + 2]:
        part = trade(row) if what == "trades" else bar(row)
        symbol = part.pop("S")
        del part["T"]
        found.setdefault(symbol, []).append({**part, "t": alpaca.written(part["t"])})
    return 200, {what: found, "next_page_token": None if page else "1"}


@pytest.mark.parametrize("kind", ["ticks", "bars"])
def test_history_is_read_page_by_page_and_their_client_reads_the_same(
    kind: Kind, stream: Any
) -> None:
    from alpaca.data.historical import StockHistoricalDataClient
    from alpaca.data.requests import StockBarsRequest, StockTradesRequest
    from alpaca.data.timeframe import TimeFrame

    with answering(pages) as (url, heard):
        of = feed("ws://127.0.0.1:1", kind=kind, history_url=url, feed="sip")
        assert isinstance(of, HasHistory)
        found = of.history(("AAPL", "SPY"), AT, AT + 60 * MINUTE_NS)
        ours = heard[:]
        client = StockHistoricalDataClient("alpacakey", "alpacasecret", url_override=url)
        names = ["AAPL", "SPY"]
        if kind == "bars":
            wanted = StockBarsRequest(symbol_or_symbols=names, timeframe=TimeFrame.Minute)
            answer: Any = client.get_stock_bars(wanted)
        else:
            answer = client.get_stock_trades(StockTradesRequest(symbol_or_symbols=names))
        theirs = answer.data

    what = "bars" if kind == "bars" else "trades"
    assert [asked.path for asked in heard] == [f"/v2/stocks/{what}"] * 4
    assert [asked.query.get("page_token") for asked in ours] == [None, "1"]
    assert ours[0].query["start"] == "2024-07-01T13:30:00.000000000Z"
    assert ours[0].query["end"] == "2024-07-01T14:29:59.999999999Z"
    assert ours[0].query["feed"] == "sip"
    for name in ("apca-api-key-id", "apca-api-secret-key"):
        assert ours[0].headers[name] == heard[2].headers[name]
    first = "open" if kind == "bars" else "price"
    rows = zip(
        (found.symbols[code] for code in found.code),
        found.ts.tolist(),
        found.columns[first].tolist(),
        strict=True,
    )
    read = [
        (symbol, in_ns(part.timestamp), getattr(part, first))
        for symbol, parts in theirs.items()
        for part in parts
    ]
    assert sorted((symbol, ts - ts % 1000, price) for symbol, ts, price in rows) == sorted(read)
    assert len(read) == 4


@pytest.mark.parametrize(
    ("status", "answer", "error", "says"),
    [
        (403, {"message": "forbidden"}, LoginRefused, "403 .*forbidden"),
        (429, {"message": "too many requests"}, DataError, "429"),
        (200, {"trades": {"AAPL": [{"p": 1}]}}, DataError, "trades can't be read: no ts"),
        (200, {"trades": {"AAPL": 3}}, DataError, "trades can't be read"),
        (200, [], DataError, "trades can't be read"),
        (200, {"trades": {}, "next_page_token": "1"}, DataError, "the page after '1' is itself"),
    ],
)
def test_history_that_can_t_be_had_says_why(
    status: int, answer: object, error: type[Exception], says: str
) -> None:
    with answering(lambda asked: (status, answer)) as (url, _):
        of = cast(HasHistory, feed("ws://127.0.0.1:1", history_url=url))
        with pytest.raises(error, match=says):
            of.history(("AAPL",), AT, AT + MINUTE_NS)


def test_a_time_without_rows_has_none() -> None:
    with answering(lambda asked: (200, {"bars": None, "next_page_token": None})) as (url, _):
        of = cast(HasHistory, feed("ws://127.0.0.1:1", kind="bars", history_url=url))
        assert len(of.history(("AAPL",), AT, AT + MINUTE_NS)) == 0
