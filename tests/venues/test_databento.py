"""Databento's live gateway: what is its own beside what goes wrong at all vendors."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from typing import Any

import pytest

databento = pytest.importorskip("databento", reason="openbell[databento] is not installed")

from dbn_files import dbn, mapping, system
from venues.databento import AT, KEY, TICKS, Gateway, Talk, feed, told
from venues.tcp import tcp_vendor
from venues.venue import Row, Session, opened

from openbell.adapters.feeds import FeedOptions, HasHistory, open_feed
from openbell.errors import ConfigError, DataError, LoginRefused
from openbell.testing import delivered

MINUTE = 60 * 10**9


def sends_all(on: Session) -> None:
    on.send(on.rows)
    on.stay()


def test_the_vendors_client_decodes_what_the_gateway_wrote() -> None:
    came: list[tuple[Any, ...]] = []
    done = threading.Event()

    def take(record: Any) -> None:
        if isinstance(record, dbn.TradeMsg):
            came.append((record.instrument_id, record.ts_event, record.pretty_price, record.size))
            if len(came) == len(TICKS.rows):
                done.set()

    with opened(TICKS, sends_all) as (_, url):
        client = databento.Live(key=KEY, gateway="127.0.0.1", port=int(url.rpartition(":")[2]))
        client.add_callback(take)
        client.subscribe(dataset="XNAS.ITCH", schema="trades", symbols=["A", "B"])
        client.start()
        assert done.wait(120)
        assert client.symbology_map == {1: "1", 2: "2"}
        client.terminate()

    assert came == [
        (1 if symbol == "A" else 2, ts, price, size) for symbol, ts, price, size in TICKS.rows
    ]


def test_the_feed_is_asked_for_its_schema_and_symbols() -> None:
    with opened(TICKS, sends_all) as (venue, url):
        delivered(venue.watched(feed(url)), 12)

    wire = venue.wire
    assert isinstance(wire, Gateway)
    [asked] = wire.subscriptions
    assert asked["schema"] == "trades"
    assert asked["stype_in"] == "raw_symbol"
    assert asked["symbols"] == "A,B"
    assert "start" not in asked


def test_symbols_go_by_our_names() -> None:
    def script(on: Session) -> None:
        on.send([("ES.c.0", AT, 5500.25, 1.0)])
        on.stay()

    with opened(TICKS, script) as (venue, url):
        of = feed(url, watched=("ES",), symbols={"ES": "ES.c.0"}, stype_in="continuous")
        found = delivered(venue.watched(of), 1)

    assert found.rows == [("ES", AT, 5500.25, 1.0)]


def test_symbols_that_come_into_the_day_are_subscribed_to_and_no_others_again() -> None:
    def script(on: Session) -> None:
        talk = on.talk
        assert isinstance(talk, Talk)
        on.venue.feed.resubscribe(("A", "B"))  # which it has
        on.venue.feed.watch(("C",), ())
        stream: Any = on.client.socket
        asked = told(stream.line())
        assert asked["symbols"] == "C"
        on.client.socket.send(mapping(talk.named("C"), "C", "3"))
        on.send([("C", AT, 10.5, 3.0)])
        on.stay()

    with opened(TICKS, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 1)

    assert found.rows == [("C", AT, 10.5, 3.0)]


def error(text: str, code: str) -> bytes:
    return bytes(dbn.ErrorMsg(AT, text, code=dbn.ErrorCode.from_str(code)))


def test_a_symbol_that_is_not_resolved_is_named() -> None:
    def script(on: Session) -> None:
        on.client.socket.send(error("Failed to resolve symbol: B", "symbol_resolution_failed"))
        sends_all(on)

    with opened(TICKS, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 12)

    assert found.refused == [("symbol refused", "B", "Failed to resolve symbol: B")]


def test_records_that_the_gateway_skipped_are_a_gap() -> None:
    def script(on: Session) -> None:
        if on.number == 0:
            on.send(on.rows[:6])
            on.venue.wait_came(6)
            on.client.socket.send(
                error("records were skipped", "skipped_records_after_slow_reading")
            )
        else:
            on.send(on.rows[6:])
        on.stay()

    with opened(TICKS, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 12)

    assert found.rows == list(TICKS.rows)
    assert found.gaps == [(AT + 5, AT + 6, None)]
    assert any("records were skipped" in why for _, why in found.said)


def test_a_key_that_is_taken_back_is_a_login_that_is_refused() -> None:
    def script(on: Session) -> None:
        on.send(on.rows[:6])
        on.venue.wait_came(6)
        on.client.socket.send(error("deactivated", "api_key_deactivated"))
        on.client.socket.close()
        on.stay()

    def renew() -> None:
        venue.wait_said("auth")
        venue.feed.close()

    with opened(TICKS, script) as (venue, url):
        threading.Thread(target=renew, daemon=True).start()
        with pytest.raises(AssertionError, match="6 of 12 rows"):
            delivered(venue.watched(feed(url)), 12)

    assert venue.states == ["connected", "auth"]


class Told:
    """A door that only hears what is said of the connection."""

    def __init__(self) -> None:
        self.said_so: list[tuple[str, str]] = []
        self.news = threading.Event()

    def said(self, state: str, why: str) -> None:
        self.said_so.append((state, why))
        self.news.set()


@pytest.mark.parametrize(("port", "state"), [("closed", "reconnecting"), ("refusing", "auth")])
def test_the_key_is_never_told(monkeypatch: pytest.MonkeyPatch, port: str, state: str) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    door: Any = Told()

    with _tolerant(lambda client: Gateway().greet(client, True)) as vendor:
        of = feed(vendor.url if port == "refusing" else "tcp://127.0.0.1:1", key="${A_KEY}")
        thread = threading.Thread(target=of.run, args=(door, 0, ""), daemon=True)
        thread.start()
        assert door.news.wait(120)
        of.close()
        thread.join(120)

    assert not thread.is_alive()
    assert door.said_so[0][0] == state
    assert not any(KEY in why for _, why in door.said_so)


def replayed(rows: Sequence[Row]) -> Any:
    """A gateway that has these rows, and whose time is then far on."""

    def replay(schema: str, since: int | None) -> Sequence[Row]:
        return [row for row in rows if since is None or row[1] >= since]

    def handle(client: Any) -> None:
        Gateway(replay).greet(client, False)
        client.socket.send(system("Heartbeat", AT + 60 * MINUTE))
        client.stay()

    return tcp_vendor(handle)


def test_history_is_what_the_gateway_replays() -> None:
    rows = [("A", AT + n * MINUTE, 10.0 + n, 12.0 + n, 9.0 + n, 11.0 + n, 5.0) for n in range(6)]

    with replayed(rows) as vendor:
        of = feed(vendor.url, "bars")
        assert isinstance(of, HasHistory)
        found = of.history(("A",), AT + MINUTE, AT + 4 * MINUTE)

    assert found.ts.tolist() == [AT + n * MINUTE for n in (1, 2, 3)]
    assert found.columns["open"].tolist() == [11.0, 12.0, 13.0]
    assert [found.symbols[code] for code in found.code.tolist()] == ["A"] * 3


def test_history_without_a_row_is_none() -> None:
    with replayed([]) as vendor:
        of = feed(vendor.url, "bars")
        assert isinstance(of, HasHistory)
        found = of.history(("A",), AT, AT + MINUTE)

    assert len(found) == 0
    assert set(found.columns) == {"open", "high", "low", "close", "volume"}


@pytest.mark.parametrize(
    ("ends", "raised"),
    [("hangs up", DataError), ("refuses", LoginRefused), ("too old", DataError)],
)
def test_history_that_does_not_come_is_told(ends: str, raised: type[Exception]) -> None:
    def handle(client: Any) -> None:
        if ends == "refuses":
            Gateway().greet(client, True)
        Gateway().greet(client, False)
        if ends == "too old":
            client.socket.send(error("no longer retained", "replay_data_aged_out"))
        client.socket.close()
        client.stay()

    with _tolerant(handle) as vendor:
        of = feed(vendor.url, "bars")
        assert isinstance(of, HasHistory)
        with pytest.raises(raised) as found:
            of.history(("A",), AT, AT + MINUTE)

    assert KEY not in str(found.value)
    assert "XNAS.ITCH: " in str(found.value)


def _tolerant(handle: Any) -> Any:
    from venues.venue import Refused

    def handled(client: Any) -> None:
        try:
            handle(client)
        except Refused:
            client.stay()

    return tcp_vendor(handled)


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({}, {}, "feed.options.key is missing"),
        ({"key": "${NO_SUCH_KEY}", "dataset": "X"}, {}, "the environment has no NO_SUCH_KEY"),
        ({"key": KEY, "dataset": "X", "stype_in": "isin"}, {}, "feed.options.stype_in"),
        ({"key": KEY, "dataset": "X", "gateway": "a b"}, {}, "feed.options.gateway"),
        ({"key": KEY, "dataset": "X", "schema": "mbo"}, {}, "feed.options.schema is unknown"),
        (
            {"key": KEY, "dataset": "X"},
            {"kind": "bars", "interval_ns": 5 * MINUTE},
            "data.interval",
        ),
        ({"key": KEY, "dataset": "X"}, {"size_is": "day_total"}, "feed.size_is: trade"),
    ],
)
def test_options_that_can_not_be_used_say_what_to_write(
    options: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    given = {"name": "t", "kind": "ticks", "interval_ns": None, "symbols": ("A",), **more}

    with pytest.raises(ConfigError) as found:
        open_feed("databento", FeedOptions(given=options, **given))

    assert said in str(found.value)
    assert KEY not in str(found.value)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "databento", None)

    with pytest.raises(ConfigError, match=r"pip install 'openbell\[databento\]'"):
        feed("tcp://127.0.0.1:1")
