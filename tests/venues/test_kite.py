"""Kite's ticker and candles, as its own client reads them."""

from __future__ import annotations

import struct
import sys
import threading
import time
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from venues import kite
from venues.http import Asked, answering
from venues.kite import AT, CASE, TOKENS, feed, message, packet
from venues.venue import Session, opened
from ws_vendor import PATIENCE_SECONDS

from openbell.adapters.feeds import FeedOptions, HasHistory, open_feed
from openbell.adapters.feeds.kite import KiteFeed
from openbell.adapters.feeds.kite.packets import packets
from openbell.adapters.feeds.waiting import Frame
from openbell.errors import ConfigError, DataError, LoginRefused
from openbell.market.bars import Kind
from openbell.testing import delivered

INSTRUMENTS = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,"
    "lot_size,instrument_type,segment,exchange\n"
    "408065,1594,INFY,INFOSYS,0,,0,0.05,1,EQ,NSE,NSE\n"
    "128053508,500209,INFY,INFOSYS,0,,0,0.05,1,EQ,BSE,BSE\n"
    "256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE\n"
)


@pytest.fixture(scope="module")
def kiteconnect() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its libraries' own
        return pytest.importorskip("kiteconnect", reason="pip install 'kiteconnect>=5.2'")


@pytest.fixture(scope="module")
def ticker(kiteconnect: Any) -> Any:
    """Their client, not connected."""
    return kiteconnect.KiteTicker("key", "token")


def refuse(kind: str, where: str, why: str) -> None:
    raise AssertionError((kind, where, why))


symbols = st.sampled_from(sorted(TOKENS))
drawn_rows = st.tuples(
    symbols,
    st.integers(1, 2**32 - 1).map(lambda at: at * 10**9),
    st.integers(10_000, 40_000),
    st.integers(0, 2**31 - 1).map(float),
)


@given(st.lists(st.tuples(drawn_rows, st.sampled_from(["full", "quote", "ltp"])), max_size=20))
def test_their_client_reads_what_we_write_as_we_read_it(ticker: Any, given: list[Any]) -> None:
    written = []
    for (symbol, ts, price, total), mode in given:
        written.append(packet(symbol, ts, price / 100, total, mode=mode))
    body = message(written)

    theirs = ticker._parse_binary(body)
    ours = packets([Frame(7, body, 5)], "kite", refuse)

    assert len(ours) == len(theirs) == len(given)
    assert ours.token.tolist() == [of["instrument_token"] for of in theirs]
    assert ours.price.tolist() == [of["last_price"] for of in theirs]
    assert ours.volume.tolist() == [of.get("volume_traded", 0) for of in theirs]
    # Theirs are of this machine's zone and without one.
    seconds = [
        of["exchange_timestamp"].timestamp() if of.get("exchange_timestamp") else 0 for of in theirs
    ]
    assert [ns / 1e9 for ns in ours.sent_ns.tolist()] == seconds
    trades = [of["last_trade_time"].timestamp() if "last_trade_time" in of else 0 for of in theirs]
    assert [ns / 1e9 for ns in ours.traded_ns.tolist()] == trades
    assert ours.number.tolist() == list(range(1, len(given) + 1))


def test_their_client_has_the_same_divisors(ticker: Any) -> None:
    tokens = [(9 << 8) | segment for segment in (1, 2, 3, 4, 5, 6, 7, 8, 9, 12)]
    body = message([struct.pack(">II", token, 83_472_500) for token in tokens])

    ours = packets([Frame(1, body, 0)], "kite", refuse)

    assert ours.price.tolist() == [of["last_price"] for of in ticker._parse_binary(body)]


def test_their_client_takes_our_wire_for_theirs(ticker: Any) -> None:
    """What the case writes is what the feed delivers and what their client reads."""
    talk = kite.Talk()
    theirs = [of for one in talk.messages(CASE.rows) for of in ticker._parse_binary(one)]

    assert [of["mode"] for of in theirs] == ["full"] * len(CASE.rows)
    for row, of in zip(CASE.rows, theirs, strict=True):
        assert (TOKENS[row[0]], row[2]) == (of["instrument_token"], of["last_price"])
        assert of["exchange_timestamp"] == datetime.fromtimestamp(row[1] // 10**9)  # noqa: DTZ006
        assert of.get("volume_traded", 0) == row[3]


@given(st.binary(max_size=400))
def test_no_bytes_end_the_reading(body: bytes) -> None:
    told: list[str] = []

    found = packets([Frame(1, body, 0)], "kite", lambda kind, *_: told.append(kind))

    assert len(found) <= len(body) // 10


def test_packets_of_many_messages_are_told_by_their_places() -> None:
    rows = [("INFY", (AT + n) * 10**9, 100.0 + n, float(n)) for n in range(1, 6)]
    bodies = [message([packet(*of) for of in rows[:3]]), b"\x00", message([])]
    bodies += [message([packet(*rows[3], mode="quote"), packet(*rows[4])])]

    found = packets([Frame(n, of, n) for n, of in enumerate(bodies, 1)], "kite", refuse)

    assert found.message.tolist() == [1, 1, 1, 4, 4]
    assert found.number.tolist() == [1, 2, 3, 1, 2]
    assert found.price.tolist() == [101, 102, 103, 104, 105]
    assert found.came_ns.tolist() == [1, 1, 1, 4, 4]
    assert np.isin(found.length, (44, 184)).all()


def test_packets_without_a_new_trade_are_no_rows_and_neither_are_those_before_the_first() -> None:
    def row(n: int, total: float, price: float = 10.0) -> bytes:
        return packet("INFY", (AT + n) * 10**9, price, total)

    untraded = packet("INFY", 0, 10.0, 0.0)
    index = packet("NIFTY 50", (AT + 1) * 10**9, 24_000.0, 0.0)

    def script(on: Session) -> None:
        for part in ([untraded, row(1, 5)], [row(1, 5), index], [index, row(1, 6), row(2, 6)]):
            on.client.socket.send(message(part))
        on.stay()

    with opened(CASE, script) as (_, url):
        found = delivered(feed(url), 4)

    assert found.rows == [
        ("INFY", (AT + 1) * 10**9, 10.0, 5.0),
        ("NIFTY 50", (AT + 1) * 10**9, 24_000.0, 0.0),
        ("INFY", (AT + 1) * 10**9, 10.0, 6.0),
        ("INFY", (AT + 2) * 10**9, 10.0, 6.0),
    ]
    assert found.refused == []


@pytest.mark.parametrize("mode", ["quote", "ltp"])
def test_rows_without_a_time_are_stamped_as_they_arrive(mode: str) -> None:
    begun = time.time_ns()

    def script(on: Session) -> None:
        on.send(on.rows[:3])
        on.stay()

    with opened(CASE, script) as (_, url):
        found = delivered(feed(url, mode=mode), 3)

    assert [(of[0], of[2]) for of in found.rows] == [(of[0], of[2]) for of in CASE.rows[:3]]
    assert all(begun <= of[1] <= time.time_ns() for of in found.rows)


@pytest.mark.slow
def test_heartbeats_alone_keep_a_connection_that_would_be_made_anew_without() -> None:
    done = threading.Event()

    def script(on: Session) -> None:
        on.send(on.rows[:6])
        for _ in range(40):
            on.client.socket.send(b"\x00")
            if done.wait(0.05):
                break
        on.send(on.rows[6:])
        on.stay()

    with opened(CASE, script) as (venue, url):
        found = delivered(feed(url, silence_max="1500ms"), 12)
        done.set()

    assert found.rows == CASE.rows
    assert venue.connections == 1


def test_what_their_server_says_in_words_is_told_and_is_no_row() -> None:
    def script(on: Session) -> None:
        on.client.say({"type": "error", "data": "no such instrument"})
        on.client.say({"type": "order", "data": {}})
        on.send(on.rows)
        on.stay()

    with opened(CASE, script) as (_, url):
        found = delivered(feed(url), 12)

    assert found.rows == CASE.rows
    assert found.refused == []


def test_symbols_that_come_into_the_day_are_subscribed_to_and_again_with_the_others() -> None:
    asked: list[set[int]] = []
    ours: list[Any] = []

    def script(on: Session) -> None:
        asked.append(cast(kite.Talk, on.talk).tokens)
        on.send(on.rows[:1])
        if on.number == 0:
            on.venue.wait_came(1)
            ours[0].watch(("NIFTY 50", "UNKNOWN"), ())
            asked.append(set(on.client.asked()["v"]))
            assert on.client.asked()["a"] == "mode"
            on.client.socket.send(message([packet(*CASE.rows[1])]))
            on.venue.wait_came(2)
            ours[0].watch((), ("INFY",))
            return
        on.send(on.rows[4:5])
        on.stay()

    with opened(CASE, script) as (venue, url):

        def of() -> Any:
            ours.append(feed(url, register=("INFY",), symbols={"INFY": 408065, "NIFTY 50": 256265}))
            return venue.watched(ours[0])

        found = delivered(of(), 3)

    assert asked == [{408065}, {256265}, {256265}]
    assert found.rows == [CASE.rows[0], CASE.rows[1], CASE.rows[4]]
    assert [(kind, where) for kind, where, _ in found.refused] == [("symbol refused", "UNKNOWN")]


# --- more symbols than one connection takes


@pytest.fixture
def two_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two symbols on each of two connections."""
    monkeypatch.setattr("openbell.adapters.feeds.kite.TOKENS_MAX", 2)
    monkeypatch.setattr("openbell.adapters.feeds.kite.CONNECTIONS_MAX", 2)


@pytest.mark.usefixtures("two_a_line")
def test_symbols_are_spread_over_connections_each_in_its_order() -> None:
    asked: list[set[int]] = []

    def script(on: Session) -> None:
        asked.append(cast(kite.Talk, on.talk).tokens)
        on.send(on.rows)
        on.beat()

    with opened(CASE, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 12)

    first, second = sorted(asked, key=len, reverse=True)
    assert (first, second) == ({408065, 256265}, {1_067_011})
    for symbol in TOKENS:
        theirs = [row for row in CASE.rows if row[0] == symbol]
        assert [row for row in found.rows if row[0] == symbol] == theirs
    assert [state for state, _ in found.said] == ["connected"]


@pytest.mark.usefixtures("two_a_line")
def test_a_connection_that_ends_is_made_anew_while_the_other_goes_on() -> None:
    ended = threading.Event()

    def script(on: Session) -> None:
        alone = len(cast(kite.Talk, on.talk).tokens) == 1
        on.send(on.rows[6:] if alone and ended.is_set() else on.rows[:6])
        if alone and not ended.is_set():
            ended.set()
            on.venue.wait_said("connected")
            return
        on.beat()

    with opened(CASE, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 8)

    usdinr = [row for row in CASE.rows if row[0] == "USDINR24JULFUT"]
    assert [row for row in found.rows if row[0] == "USDINR24JULFUT"] == usdinr
    assert {symbols for _, _, symbols in found.gaps} == {("USDINR24JULFUT",)}
    assert [state for state, _ in found.said] == ["connected", "reconnecting", "connected"]


@pytest.mark.usefixtures("two_a_line")
def test_further_symbols_make_a_connection_as_long_as_there_may_be_one() -> None:
    register, numbers = ("INFY", "NIFTY 50"), {**TOKENS, "A": 261, "B": 517}
    of = cast(KiteFeed, feed("ws://127.0.0.1:1", register=register, symbols=numbers))
    assert of.room == 2

    assert of.look_up(("USDINR24JULFUT", "A", "B"), 1.0).keys() == {"USDINR24JULFUT", "A", "B"}
    assert of.look_up(("A", "B"), 1.0) == {}
    of.watch(("A", "B"), ())
    assert of.room == 0
    assert "2 symbols on each of 2 connections" in of.look_up(("USDINR24JULFUT",), 1.0).popitem()[1]
    of.watch(("A",), ("A",))  # back at the place that it had
    assert of.room == 0
    of.close()


# --- instruments


def made(
    *,
    register: tuple[str, ...] = ("INFY", "NIFTY 50"),
    kind: Kind = "ticks",
    size_is: Literal["trade", "day_total"] = "day_total",
    **options: Any,
) -> KiteFeed:
    of = FeedOptions(
        name="t",
        kind=kind,
        interval_ns=None,
        given={"api_key": "thekey", "access_token": "thetoken", **options},
        symbols=register,
        size_is=size_is,
    )
    return cast(KiteFeed, open_feed("kite", of))


@pytest.fixture
def instruments(tmp_path: Path) -> Path:
    path = tmp_path / "instruments.csv"
    path.write_text(INSTRUMENTS)
    return path


def test_symbols_are_looked_up_in_kite_s_list(instruments: Path) -> None:
    of = made(instruments=str(instruments), exchange="NSE")
    by_name = made(
        instruments=str(instruments),
        symbols={"INFOSYS": "BSE:INFY", "SPOT": "NIFTY 50", "OTHER": 77},
        register=("INFOSYS", "SPOT", "OTHER"),
    )

    assert of._kite.know(("NIFTY 50", "INFY")) == [256265, 408065]
    assert by_name._kite.know(("INFOSYS", "SPOT", "OTHER")) == [128053508, 256265, 77]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"register": ("INFY",)}, "instruments is missing; name the CSV"),
        ({"instruments": "LIST"}, r"exchange is missing: INFY is at BSE, NSE; write e.g. NSE"),
        ({"instruments": "LIST", "exchange": "NSE", "register": ("TCS",)}, "has no NSE:TCS; write"),
        ({"instruments": "gone.csv"}, "gone.csv can't be read: No such file"),
        ({"kind": "bars"}, "data.kind is bars, and kite delivers ticks; write data.kind: ticks"),
        ({"size_is": "trade"}, "write feed.size_is: day_total"),
        ({"api_key": "${NOT_THERE}"}, "api_key: the environment has no NOT_THERE"),
        ({"mode": "all"}, "feed.options.mode is 'all'; write e.g. full, quote or ltp"),
        ({"acces_token": "x"}, "acces_token is unknown; there are api_key, access_token"),
        ({"history_url": "ftp://x"}, "history_url; write https://"),
        (
            {"register": tuple(f"S{n}" for n in range(9001))},
            "there are 9,001 symbols, and kite takes 3,000 on each of 3 connections",
        ),
    ],
)
def test_options_that_are_wrong_say_what_to_write(
    options: dict[str, Any], says: str, instruments: Path
) -> None:
    if options.get("instruments") == "LIST":
        options = {**options, "instruments": str(instruments)}

    with pytest.raises(ConfigError, match=says) as refused:
        made(**options)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("package", ["websockets", "urllib3"])
def test_without_its_libraries_it_says_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(
        ConfigError, match=rf"{package} is not installed; pip install 'openbell\[kite\]'"
    ):
        made(symbols={"INFY": 1}, register=("INFY",))


def test_a_list_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("symbol,price\nINFY,1\n")

    with pytest.raises(ConfigError, match="has no column instrument_token, tradingsymbol, exch"):
        made(instruments=str(path))


def test_tokens_and_keys_are_told_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KITE_TOKEN", "wrong/secret")

    def script(on: Session) -> None:
        raise AssertionError("it was let in")

    with opened(CASE, script) as (_, url):
        of = feed(url, access_token="${KITE_TOKEN}")
        said: list[str] = []

        def stop() -> None:
            of.close()

        timer = threading.Timer(PATIENCE_SECONDS, stop)
        timer.start()
        door = _Says(said, of)
        of.run(cast(Any, door), 0, "")
        timer.cancel()

    assert len(said) == 1
    assert said[0].startswith("auth")
    assert "403" in said[0]
    assert "the access token has ended" in said[0]
    assert "secret" not in said[0]


class _Says:
    def __init__(self, said: list[str], of: Any) -> None:
        self._said, self._of = said, of

    def said(self, state: str, why: str) -> None:
        self._said.append(f"{state} {why}")
        self._of.close()


def test_the_token_ends_the_next_morning_in_india(monkeypatch: pytest.MonkeyPatch) -> None:
    of = made(symbols={"INFY": 1}, register=("INFY",))

    for now, ends in [
        ("2024-07-01T00:29:59+00:00", "2024-07-01T00:30:00+00:00"),
        ("2024-07-01T00:30:00+00:00", "2024-07-02T00:30:00+00:00"),
        ("2024-07-01T20:00:00+00:00", "2024-07-02T00:30:00+00:00"),
    ]:
        at = int(datetime.fromisoformat(now).timestamp()) * 10**9
        monkeypatch.setattr("openbell.adapters.feeds.kite.wall_ns", lambda at=at: at)
        assert datetime.fromtimestamp(of.expires_ns / 1e9, UTC) == datetime.fromisoformat(ends)


# --- candles


def candle(minute: int, opened: float, high: float, low: float, close: float, volume: int) -> Any:
    return [f"2024-07-01T09:{minute}:00+0530", opened, high, low, close, volume]


def test_candles_of_the_day_so_far_are_four_ticks_each_and_their_client_reads_the_same(
    kiteconnect: Any,
) -> None:
    answer = {
        "status": "success",
        "data": {"candles": [candle(15, 10, 12, 9, 11, 500), candle(16, 11, 11.5, 8, 8.5, 70)]},
    }

    def say(asked: Asked) -> tuple[int, object]:
        return 200, answer

    with answering(say) as (url, heard):
        of = made(symbols={"INFY": 408065}, register=("INFY",), history_url=url)
        assert isinstance(of, HasHistory)
        half_past = (AT + 90) * 10**9
        found = of.history(("INFY",), AT * 10**9, half_past)
        theirs = kiteconnect.KiteConnect("thekey", "thetoken", root=url)
        candles = theirs.historical_data(408065, "x", "y", "minute")

    assert [asked.path for asked in heard] == ["/instruments/historical/408065/minute"] * 2
    assert heard[0].query == {"from": "2024-07-01 09:15:00", "to": "2024-07-01 09:16:29"}
    for name in ("authorization", "x-kite-version"):
        assert heard[0].headers[name] == heard[1].headers[name]
    assert found.columns["price"].tolist() == [10, 9, 12, 11, 11, 11.5, 8, 8.5]
    assert found.columns["size"].tolist() == [0, 0, 0, 500, 0, 0, 0, 70]
    assert ((found.ts - AT * 10**9) / 1e9).tolist() == [0, 15, 30, 45, 60, 67.5, 75, 82.5]
    assert found.ts[::4].tolist() == [int(of["date"].timestamp()) * 10**9 for of in candles]


@pytest.mark.parametrize(
    ("status", "answer", "error", "says"),
    [
        (403, {"error_type": "TokenException"}, LoginRefused, "403 .*TokenException"),
        (429, {"message": "Too many requests"}, DataError, "429 .*Too many requests"),
        (200, {"data": {}}, DataError, "candles of INFY can't be read"),
        (200, {"data": {"candles": [["2024-07-01T09:15:00", 1, 1, 1, 1, 1]]}}, DataError, "zone"),
        (200, {"data": {"candles": [["2024-07-01T09:15:00+0530", 1]]}}, DataError, "read"),
    ],
)
def test_candles_that_can_t_be_had_say_why(
    status: int, answer: object, error: type[Exception], says: str
) -> None:
    with answering(lambda asked: (status, answer)) as (url, _):
        of = made(symbols={"INFY": 408065}, register=("INFY",), history_url=url)
        with pytest.raises(error, match=says):
            of.history(("INFY",), AT * 10**9, (AT + 60) * 10**9)
