"""A vendor's WebSocket as a feed, against real servers with the faults that they have."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import trustme
from ws_vendor import PATIENCE_SECONDS, Client, cable, vendor

from openbell.adapters.feeds import FeedOptions, connected, open_feed
from openbell.adapters.feeds.sockets import SocketFeed
from openbell.adapters.feeds.websocket_options import expanded
from openbell.errors import ConfigError
from openbell.hosttime import utc_now
from openbell.market.bars import Kind
from openbell.testing import check_feed, delivered
from openbell.testing.feeds import Delivered, _Door

FIELDS = {"symbol": "S", "ts": "t", "price": "p", "size": "s"}
AT = 1_719_840_600_000


@pytest.fixture(autouse=True)
def _looks_up_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connected, "POLL_SECONDS", 0.02)


def feed(
    url: str,
    *,
    kind: Kind = "ticks",
    register: tuple[str, ...] = ("A", "B"),
    interval_ns: int | None = None,
    **more: Any,
) -> SocketFeed:
    given = {"url": url, "fields": FIELDS, "ts_unit": "ms", "pause_max": "300ms", **more}
    given = {name: of for name, of in given.items() if of is not None}
    made = open_feed(
        "websocket",
        FeedOptions(name="test", kind=kind, interval_ns=interval_ns, given=given, symbols=register),
    )
    assert isinstance(made, SocketFeed)
    return made


def tick(n: int, symbol: str = "A", **more: Any) -> dict[str, Any]:
    return {"T": "t", "S": symbol, "t": AT + n, "p": 10 + n, "s": 1, **more}


def row(n: int, symbol: str = "A") -> tuple[Any, ...]:
    return symbol, (AT + n) * 10**6, 10.0 + n, 1.0


def says(*messages: Any, binary: bool = False, stays: bool = True) -> Any:
    def script(client: Client) -> None:
        for message in messages:
            client.say(message, binary=binary)
        if stays:
            client.stay()

    return script


@contextmanager
def running(of: SocketFeed, door: _Door, mark: str = "") -> Iterator[None]:
    thread = threading.Thread(target=of.run, args=(door, 0, mark), daemon=True)
    thread.start()
    try:
        yield
    finally:
        of.close()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()


def wait(door: _Door, until: Any) -> Delivered:
    with door.news:
        assert door.news.wait_for(lambda: until(door.found), PATIENCE_SECONDS), door.found
    return door.found


def wait_for(until: Any) -> None:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_feed_of_objects_is_what_a_run_takes() -> None:
    with vendor(says(tick(0), [tick(1), tick(2, "B")], {"result": None})) as of:
        found = check_feed(lambda: feed(of.url, where={"T": "t"}), 3)

    assert found.rows == [row(0), row(1), row(2, "B")]
    assert found.refused == []
    assert [state for state, _ in found.said] == ["connected"]


@pytest.mark.parametrize(
    ("more", "messages", "rows"),
    [
        pytest.param(
            {
                "rows": "data",
                "where": {"$.topic": "trade.*", "kind": ["buy", "sell"]},
                "fields": {"symbol": "$.of.name", "ts": "x.0", "price": "x.1"},
                "symbols": {"A": "a-usd"},
            },
            [
                {"topic": "book.a", "of": {"name": "a-usd"}, "data": [{"kind": "buy"}]},
                {
                    "topic": "trade.a",
                    "of": {"name": "a-usd"},
                    "data": [
                        {"kind": "buy", "x": [str(AT), "10.50"]},
                        {"kind": "other", "x": [str(AT), "11"]},
                        {"kind": "sell", "x": [f"{AT + 1}", "1e1"]},
                    ],
                },
            ],
            [("A", AT * 10**6, 10.5, 0.0), ("A", (AT + 1) * 10**6, 10.0, 0.0)],
            id="rows of an object, the symbol outside of them",
        ),
        pytest.param(
            {
                "rows": "1",
                "ts_unit": "s",
                "fields": {"symbol": "$.-1", "ts": "2", "price": "0", "size": "1"},
            },
            [{"event": "heartbeat"}, [7, [["10.5", "3", "1719840600.123456"]], "trade", "A"]],
            [("A", 1_719_840_600_123_456_000, 10.5, 3.0)],
            id="arrays in an array, seconds with a fraction as text",
        ),
        pytest.param(
            {"ts_unit": "s"},
            [{"S": "A", "t": 1719840600.123, "p": 10}],
            [("A", 1_719_840_600_123_000_000, 10.0, 0.0)],
            id="seconds with a fraction",
        ),
        pytest.param(
            {"ts_unit": None},
            [{"S": "A", "t": "2024-07-01T09:30:00.000000001-04:00", "p": 10}],
            [("A", 1_719_840_600_000_000_001, 10.0, 0.0)],
            id="ISO 8601 with a zone",
        ),
        pytest.param(
            {"ts_unit": None, "timezone": "Asia/Kolkata"},
            [{"S": "A", "t": "2024-07-01 19:00:00", "p": 10}],
            [("A", 1_719_840_600_000_000_000, 10.0, 0.0)],
            id="a wall's time",
        ),
        pytest.param(
            {"ts_unit": None, "timezone": "America/New_York", "ts_format": "%d.%m.%Y %H:%M:%S"},
            [{"S": "A", "t": "01.07.2024 09:30:00", "p": 10}],
            [("A", 1_719_840_600_000_000_000, 10.0, 0.0)],
            id="a time of another pattern",
        ),
        pytest.param(
            {"fields": {**FIELDS, "symbol": "id"}, "symbols": {"A": "408065"}},
            [{"id": 408065, "t": AT, "p": 10}],
            [("A", AT * 10**6, 10.0, 0.0)],
            id="a symbol by number",
        ),
        pytest.param(
            {"rows": "d.t"},
            [[{"d": {"t": [tick(0)]}}, {"d": {"t": tick(1)}}, {"d": None}]],
            [row(0), row(1)],
            id="several messages in one, with one row or a list",
        ),
    ],
)
def test_rows_are_found_wherever_a_vendor_puts_them(
    more: dict[str, Any], messages: list[Any], rows: list[Any]
) -> None:
    with vendor(says(*messages)) as of:
        found = check_feed(lambda: feed(of.url, **more), len(rows))

    assert found.rows == rows
    assert found.refused == []


def test_bars_stamped_with_their_ends_are_told_by_their_starts() -> None:
    fields = {name: name[0] for name in ("open", "high", "low", "close", "volume")}
    bar = {"S": "A", "t": AT, "o": "1", "h": 3, "l": 0.5, "c": 2, "v": 7}
    with vendor(says(bar, binary=True)) as of:
        found = check_feed(
            lambda: feed(
                of.url,
                kind="bars",
                interval_ns=60 * 10**9,
                bar_label="end",
                fields={"symbol": "S", "ts": "t", **fields},
            ),
            1,
            kind="bars",
        )

    assert found.rows == [("A", AT * 10**6 - 60 * 10**9, 1.0, 3.0, 0.5, 2.0, 7.0)]


def test_garbage_is_counted_with_its_place_and_ends_nothing() -> None:
    def script(client: Client) -> None:
        client.say(b"{")
        client.say(b"\xff\xfe", binary=True)
        client.say({**tick(0), "p": "much"})
        client.say([tick(1), {"T": "t"}, 7, None])
        client.say(b"[" * 5_000 + b"]" * 5_000)
        client.say(b'{"S": "A", "t": 1000000000000000000000000000000, "p": 1}')
        client.socket.send(["[", orjson.dumps(tick(3)).decode(), "]"])  # one message, three frames
        client.stay()

    with vendor(script) as of:
        found = delivered(feed(of.url), 2)

    assert found.rows == [row(1), row(3)]
    assert [(kind, place) for kind, place, _ in found.refused] == [
        ("a message is no JSON", "websocket message 1"),
        ("a message is no JSON", "websocket message 2"),
        ("price is no number", "websocket message 3, row 1"),
        ("ts is missing", "websocket message 4, row 2"),
        ("ts is missing", "websocket message 4, row 3"),
        ("ts is missing", "websocket message 4, row 4"),
        ("a message is no JSON", "websocket message 5"),
        ("ts is out of range", "websocket message 6, row 1"),
    ]


def test_what_subscribes_is_sent_again_after_each_connection_before_it_is_called_connected() -> (
    None
):
    def script(client: Client) -> None:
        assert client.asked() == {"op": "login", "key": "k3y"}
        assert client.asked() == {"op": "subscribe", "args": ["t.A-USD", "t.B"]}
        client.say(tick(client.number))
        if client.number:
            client.stay()

    subscribe = [{"op": "login", "key": "k3y"}, {"op": "subscribe", "args": ["t.{symbol}"]}]
    with vendor(script) as of:
        found = delivered(feed(of.url, subscribe=subscribe, symbols={"A": "A-USD"}), 2)

    assert found.rows == [row(0), row(1)]
    assert found.gaps == [((AT + 0) * 10**6, (AT + 1) * 10**6, None)]
    assert [state for state, _ in found.said] == ["connected", "reconnecting", "connected"]


@pytest.mark.parametrize(
    ("message", "messages"),
    [
        ({"a": "{symbols}"}, [{"a": ["X", "Y"]}]),
        ("sub {symbols}", ["sub X,Y"]),
        ({"a": ["{symbol:lower}@t", "all"]}, [{"a": ["x@t", "y@t", "all"]}]),
        ({"a": {"b": "{symbol}"}}, [{"a": {"b": "X"}}, {"a": {"b": "Y"}}]),
        ({"a": [{"i": "{symbol}", "c": 1}]}, [{"a": [{"i": "X", "c": 1}, {"i": "Y", "c": 1}]}]),
        ([1, 2], [[1, 2]]),
    ],
)
def test_symbols_stand_where_a_vendor_wants_them(message: Any, messages: list[Any]) -> None:
    assert expanded(message, ["X", "Y"]) == messages


def test_a_message_names_no_more_symbols_than_a_vendor_takes() -> None:
    subscribe = {"args": ["t.{symbol}"], "all": "{symbols}"}

    assert expanded(subscribe, ["X", "Y", "Z"], 2) == [
        {"args": ["t.X", "t.Y"], "all": ["X", "Y"]},
        {"args": ["t.Z"], "all": ["Z"]},
    ]
    assert expanded({"op": "login"}, ["X", "Y", "Z"], 2) == [{"op": "login"}]


def test_without_its_library_a_feed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets", None)

    with pytest.raises(ConfigError, match=r"pip install 'openbell\[websocket\]'"):
        feed("ws://127.0.0.1:1")


def test_symbols_are_asked_for_again_and_the_connection_made_anew_where_a_run_wants_it() -> None:
    def script(client: Client) -> None:
        client.vendor.heard.append(client.asked())
        client.stay()

    with vendor(script) as of:
        door = _Door("ticks", 0, 1)
        made = feed(of.url, subscribe={"sub": "{symbols}"})
        with running(made, door):
            wait(door, lambda found: found.said)
            made.resubscribe(("B",))
            wait_for(lambda: len(of.heard) == 2)
            made.reconnect()
            wait_for(lambda: len(of.heard) == 3)
            found = wait(door, lambda found: len(found.said) == 3)

    assert of.heard == [{"sub": ["A", "B"]}, {"sub": ["B"]}, {"sub": ["A", "B"]}]
    assert [state for state, _ in found.said] == ["connected", "reconnecting", "connected"]


def test_a_vendor_s_own_pings_are_sent_as_often_as_it_wants_them() -> None:
    with vendor(says(tick(0))) as of:
        door = _Door("ticks", 0, 1)
        with running(feed(of.url, ping={"every": "50ms", "message": {"op": "ping"}}), door):
            wait_for(lambda: of.heard.count({"op": "ping"}) >= 3)


@pytest.mark.parametrize("status", [401, pytest.param(403, marks=pytest.mark.slow)])
def test_a_refused_login_is_not_tried_again_before_somebody_says_so(status: int) -> None:
    with vendor(says(tick(0)), answers=[status]) as of:
        door = _Door("ticks", 0, 1)
        made = feed(of.url, headers={"Authorization": "Bearer s3cret"})
        with running(made, door):
            wait(door, lambda found: found.said)
            time.sleep(1.0)  # three pauses and more
            tried = len(of.requests)
            made.reconnect()
            found = wait(door, lambda found: found.rows)

    assert tried == 1
    assert [state for state, _ in found.said] == ["auth", "connected"]
    assert str(status) in found.said[0][1]
    assert "s3cret" not in str(found.said)
    assert of.requests[0].headers["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize(
    ("code", "reason", "state"),
    [
        (4401, "", "auth"),
        (1008, "token expired", "auth"),
        (1008, "slow consumer", "reconnecting"),
        (1012, "", "reconnecting"),
    ],
)
def test_a_close_says_whether_it_is_the_login(code: int, reason: str, state: str) -> None:
    def script(client: Client) -> None:
        if client.number:
            client.stay()
        client.socket.close(code, reason)

    with vendor(script) as of:
        door = _Door("ticks", 0, 1)
        with running(feed(of.url), door):
            found = wait(door, lambda found: len(found.said) >= 2)

    assert [of for of, _ in found.said][:2] == ["connected", state]


@pytest.mark.parametrize("stays", [True, False])
def test_a_message_may_say_that_the_login_is_refused(stays: bool) -> None:
    said = [{"T": "error", "code": 402, "msg": "auth failed"}]
    with vendor(says(said, stays=stays)) as of:
        door = _Door("ticks", 0, 1)
        login = {"T": "error", "code": [401, 402]}
        with running(feed(of.url, where={"T": "t"}, refused_login=login), door):
            found = wait(door, lambda found: len(found.said) >= 2)

    assert [state for state, _ in found.said] == ["connected", "auth"]
    assert "auth failed" in found.said[-1][1]


@pytest.mark.slow
@pytest.mark.parametrize("until", ["2", "date"])
def test_a_vendor_that_wants_to_be_left_alone_is(until: str) -> None:
    if until == "date":
        until = format_datetime(utc_now() + timedelta(seconds=3), usegmt=True)
    with vendor(says(tick(0)), answers=[429], retry_after=until) as of:
        began = time.monotonic()
        found = delivered(feed(of.url), 1)

    assert time.monotonic() - began >= 1.9
    assert [state for state, _ in found.said] == ["reconnecting", "connected"]


def test_a_server_that_is_not_there_yet_is_waited_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        door = _Door("ticks", 0, 1)
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}"
        with running(feed(url), door):
            found = wait(door, lambda found: found.said)
    assert found.said[0][0] == "reconnecting"


@pytest.mark.slow
def test_a_connection_that_is_half_open_is_noticed_by_the_heartbeat() -> None:
    """What comes no further is neither closed nor an error: pings that nobody answers tell it."""
    pulled = threading.Event()

    def script(client: Client) -> None:
        client.say(tick(client.number))
        client.stay()

    with vendor(script) as of, cable(of.url, pulled) as url:
        door = _Door("ticks", 0, 1)
        with running(feed(url, heartbeat="500ms"), door):
            wait(door, lambda found: found.rows)
            pulled.set()
            found = wait(door, lambda found: len(found.rows) == 2)

    assert found.rows[0] == row(0)
    assert [state for state, _ in found.said][:3] == ["connected", "reconnecting", "connected"]
    assert found.gaps[0][0] == AT * 10**6


def test_a_message_beyond_the_limit_ends_the_connection_and_is_told() -> None:
    def script(client: Client) -> None:
        client.say({**tick(0), "more": "x" * 5_000} if client.number == 0 else tick(1))
        client.stay()

    with vendor(script) as of:
        found = delivered(feed(of.url, message_max="4KiB"), 1)

    assert found.rows == [row(1)]
    assert [state for state, _ in found.said] == ["connected", "reconnecting", "connected"]


def test_the_socket_is_read_on_while_the_run_is_behind_and_what_does_not_fit_is_a_gap() -> None:
    """The vendor sends more than fits while the door is held; then the rest comes."""
    held, sent, opened = threading.Event(), threading.Event(), threading.Event()
    count = 2_000

    class Held(_Door):
        def take(self, *given: Any) -> int:
            held.set()
            assert opened.wait(PATIENCE_SECONDS)
            return super().take(*given)

    def script(client: Client) -> None:
        client.say(tick(0))
        assert held.wait(PATIENCE_SECONDS)
        for n in range(1, count):
            client.say(tick(n, more="x" * 500))  # more than sockets hold
        sent.set()
        while not client.vendor.shut.is_set() and not opened.wait(0.05):
            pass
        for n in range(count, count + 200):
            client.say(tick(n))
            time.sleep(0.002)
        client.stay()

    with vendor(script) as of:
        door = Held("ticks", 0, 1)
        with running(feed(of.url, buffer="64KiB"), door):
            assert sent.wait(PATIENCE_SECONDS), "the socket was not read on"
            opened.set()
            found = wait(door, lambda found: found.rows and found.rows[-1] == row(count + 199))

    times = [of[1] for of in found.rows]
    assert len(found.rows) < count
    assert times == sorted(times)
    # All that is missing lies in gaps, each between the rows on its sides.
    assert found.gaps
    missing = 0
    for start, end, symbols in found.gaps:
        assert symbols is None
        assert times[times.index(end) - 1] == start
        missing += (end - start) // 10**6 - 1
    assert missing == count + 200 - len(times)


def test_after_a_restart_what_nobody_read_is_a_gap_from_the_last_row_that_is_durable() -> None:
    with vendor(says(tick(5), tick(6))) as of:
        door = _Door("ticks", 7, 2)
        with running(feed(of.url), door, mark=str(AT * 10**6)):
            found = wait(door, lambda found: len(found.rows) == 2)

    assert found.gaps == [(AT * 10**6, (AT + 5) * 10**6, None)]
    assert found.marks[-1][1] == str((AT + 6) * 10**6)


def test_a_certificate_is_verified_by_the_authority_that_is_named(tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    unknown: list[dict[str, Any]] = [{}, {"ca_file": str(tmp_path / "other.pem")}]
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    with vendor(says(tick(0)), ssl=server) as of:
        found = delivered(feed(of.url, ca_file=str(tmp_path / "ca.pem")), 1)
        for more in unknown:
            door = _Door("ticks", 0, 1)
            with running(feed(of.url, **more), door):
                refused = wait(door, lambda found: found.said)
            assert refused.rows == []
            assert "certificate can't be verified" in refused.said[0][1]

    assert found.rows == [row(0)]


def test_secrets_come_from_the_environment_and_from_files_and_are_told_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("f1le\n")
    monkeypatch.setenv("FEED_KEY", "env1")

    def script(client: Client) -> None:
        client.vendor.heard.append(client.asked())
        if client.number == 0:
            token.write_text("f2le")
            client.socket.close(4000, "bad f1le and env1")
        client.say(tick(0))
        client.stay()

    with vendor(script) as of:
        found = delivered(
            feed(
                f"{of.url}/v1?key=${{FEED_KEY}}",
                headers={"X-Token": f"${{file:{token}}}"},
                subscribe={"key": "${FEED_KEY}"},
            ),
            1,
        )

    assert [request.headers["X-Token"] for request in of.requests] == ["f1le", "f2le"]
    assert of.requests[0].path == "/v1?key=env1"
    assert of.heard == [{"key": "env1"}] * 2
    assert not any(secret in str(found.said) for secret in ("f1le", "f2le", "env1"))


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"url": None}, "feed.options.url is missing; write e.g. wss://stream.example.com/v1"),
        ({"url": "http://x"}, "feed.options.url; write ws://… or wss://…"),
        ({"urls": 1}, "feed.options.urls is unknown; there are url, headers"),
        ({"fields": None}, "feed.options.fields is missing; write e.g. {symbol: S"),
        ({"fields": {"symbol": "S", "ts": "t"}}, "feed.options.fields.price is missing"),
        ({"fields": {**FIELDS, "open": "o"}}, "feed.options.fields.open is unknown; of ticks"),
        ({"fields": {**FIELDS, "ts": "a..b"}}, "feed.options.fields.ts is 'a..b'; write names"),
        ({"ts_unit": "min"}, "feed.options.ts_unit is 'min'"),
        (
            {"ping": {"every": "20", "message": "hi"}},
            "feed.options.ping.every is '20'; write a length of time",
        ),
        ({"ping": {"every": "1s"}}, "feed.options.ping.message is missing"),
        ({"ping": 5}, "feed.options.ping is '5'; write e.g. {every: 20s, message"),
        ({"headers": ["a"]}, "feed.options.headers; write e.g. {Authorization"),
        ({"auth_codes": "x"}, "feed.options.auth_codes is 'x'; write e.g. [3000"),
        (
            {"subscribe": {"of": "{symbls}"}},
            "write {symbols}, {symbol} or {symbol:lower}, not {sym",
        ),
        ({"symbols": {"a-usd": "A"}}, "feed.options.symbols.a-usd is no symbol of this run; write"),
        ({"buffer": "0B"}, "feed.options.buffer is '0B'; write a size above 0"),
        ({"where": "T"}, "feed.options.where is 'T'; write a path and the value"),
        ({"symbols": {"A": "x", "B": "x"}}, '"x" stands for two symbols'),
        ({"timezone": "Mars"}, 'feed.options.timezone is "Mars"; write a zone'),
        ({"ts_format": "%Q"}, "feed.options.ts_format"),
        ({"ca_file": "/nowhere.pem"}, "feed.options.ca_file: /nowhere.pem holds no certificates"),
        ({"ca_file": __file__}, "holds no certificates"),
        ({"headers": {"a b": "1"}}, "is no name of a header"),
        ({"headers": {"a": "${NO_SUCH_VAR}"}}, "the environment has no NO_SUCH_VAR; set it"),
        ({"subscribe": ["${file:/nowhere}"]}, "feed.options.subscribe[0]: /nowhere can't be read"),
    ],
)
def test_options_that_are_wrong_say_so_in_one_line(more: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as raised:
        feed(**{"url": "ws://127.0.0.1:1", **more})

    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
