"""Interactive Brokers by ib_async: what is its own beside what goes wrong at all vendors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("ib_async", reason="ib_async is not installed: openbell[ib]")

from venues.ib import (
    AT,
    BARS,
    HISTORY,
    MINUTES,
    PAST_TICKS,
    PRICES,
    SECOND,
    TRADES,
    Talk,
    Tws,
    asked,
    feed,
    packed,
    told_of,
)
from venues.tcp import TcpVendor, tcp_vendor
from venues.venue import Case, Session, opened

from openbell.adapters.feeds import FeedOptions, HasHistory, open_feed
from openbell.errors import ConfigError, DataError
from openbell.testing import delivered

LATER = 4_000_000_020
"""A minute that has not ended while these tests run."""


def sends_all(on: Session) -> None:
    on.send(on.rows)
    on.stay()


def error(on: Session, symbol: str | None, code: int, text: str) -> None:
    talk = on.talk
    assert isinstance(talk, Talk)
    number = -1 if symbol is None else talk.requests[symbol]
    on.client.socket.send(packed(4, 2, number, code, text, ""))


def test_contracts_are_asked_for_as_the_options_name_them() -> None:
    with opened(TRADES, sends_all) as (venue, url):
        of = feed(
            url,
            contract={"secType": "STK", "exchange": "SMART", "currency": "USD"},
            contracts={"B": {"secType": "CONTFUT", "exchange": "CME", "symbol": "B"}},
        )
        delivered(venue.watched(of), 12)

    wire = venue.wire
    assert isinstance(wire, Tws)
    found = {request[3]: (request[4], request[9], request[11]) for request in wire.requests}
    assert found == {"A": ("STK", "SMART", "USD"), "B": ("CONTFUT", "CME", "USD")}
    assert [request[14] for request in wire.requests] == ["Last", "Last"]


def test_trades_that_the_exchange_does_not_report_are_no_ticks() -> None:
    def script(on: Session) -> None:
        talk = on.talk
        assert isinstance(talk, Talk)
        of = talk.requests["A"]
        for n, mask in enumerate((0, 2, 1)):
            on.client.socket.send(packed(99, of, 1, AT + n, 10.5 + n, 3.0, mask, "NASDAQ", ""))
        on.stay()

    with opened(TRADES, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 2)

    assert found.rows == [("A", AT * SECOND, 10.5, 3.0), ("A", (AT + 2) * SECOND, 12.5, 3.0)]


def test_a_minute_comes_once_it_has_closed_and_as_it_was_then() -> None:
    def script(on: Session) -> None:
        for at, change in ((0, 0.0), (0, 1.0), (60, 2.0), (60, 3.0), (120, 4.0)):
            values = [value + change for value in PRICES]
            on.send([("A", (LATER + at) * SECOND, *values)])
        on.stay()

    first = [MINUTES.rows[0], MINUTES.rows[1]]
    with opened(MINUTES, script) as (venue, url):
        found = delivered(venue.watched(feed(url, 60)), 4, kind="bars")

    assert sorted(found.rows[:2]) == first
    assert found.rows[2:] == [
        ("A", LATER * SECOND, *(value + 1 for value in PRICES)),
        ("A", (LATER + 60) * SECOND, *(value + 3 for value in PRICES)),
    ]


def test_a_symbol_that_is_refused_is_named_and_others_go_on() -> None:
    def script(on: Session) -> None:
        error(on, "B", 200, "No security definition has been found for the request")
        error(on, "A", 2104, "Market data farm connection is OK")
        on.send([row for row in on.rows if row[0] == "A"])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 6)

    text = "200: No security definition has been found for the request"
    assert found.refused == [("symbol refused", "B", text)]


def test_symbols_that_come_into_the_day_are_subscribed_to() -> None:
    def script(on: Session) -> None:
        talk = on.talk
        assert isinstance(talk, Talk)
        on.venue.feed.watch(("C",), ())
        on_tws: Any = on.client.socket
        talk.subscribed(asked(on_tws))
        on.send([("C", AT * SECOND, 10.5, 3.0)])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 1)

    assert found.rows == [("C", AT * SECOND, 10.5, 3.0)]


CANCELS = {"97": "98", "50": "51", "20": "25"}


@pytest.mark.parametrize(("interval_s", "of"), [(None, TRADES), (5, BARS), (60, MINUTES)])
def test_a_symbol_that_is_asked_for_anew_does_not_come_twice(
    interval_s: int | None, of: Case
) -> None:
    def script(on: Session) -> None:
        talk = on.talk
        assert isinstance(talk, Talk)
        stream: Any = on.client.socket
        old = talk.requests["A"]
        on.venue.feed.resubscribe(("A",))
        cancelled = asked(stream)
        assert cancelled[0] == CANCELS[talk.kind]
        assert cancelled[-1] == old
        talk.subscribed(asked(stream))
        new = talk.requests["A"]
        assert new != old
        stream.send(b"".join(talk.begins()))
        for number in (old, new):
            talk.requests["A"] = number
            on.send([row for row in on.rows if row[0] == "A"])
        on.send([row for row in on.rows if row[0] == "B"])
        on.stay()

    with opened(of, script) as (venue, url):
        found = delivered(venue.watched(feed(url, interval_s)), 12, kind=of.kind)

    assert sorted(found.rows) == sorted(of.rows)


def test_what_is_missing_while_tws_is_cut_off_from_ib_is_a_gap() -> None:
    def script(on: Session) -> None:
        on.send(on.rows[:6])
        on.venue.wait_came(6)
        error(on, None, 1100, "Connectivity between IB and TWS has been lost")
        error(on, None, 1102, "Connectivity has been restored - data maintained")
        on.send(on.rows[6:])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 12)

    assert found.gaps == [((AT + 5) * SECOND, (AT + 6) * SECOND, None)]
    assert venue.states == ["connected"]


def test_subscriptions_that_tws_has_lost_are_made_anew() -> None:
    def script(on: Session) -> None:
        if on.number == 0:
            on.send(on.rows[:6])
            on.venue.wait_came(6)
            error(on, None, 1101, "Connectivity has been restored - data lost")
        else:
            on.send(on.rows[6:])
        on.stay()

    with opened(TRADES, script) as (venue, url):
        found = delivered(venue.watched(feed(url)), 12)

    assert found.rows == list(TRADES.rows)
    assert venue.states == ["connected", "reconnecting", "connected"]


def history(answer: Callable[[list[str]], bytes]) -> AbstractContextManager[TcpVendor]:
    """A TWS that answers what is asked of the past."""

    def handle(client: Any) -> None:
        on = client.socket
        Tws().log_in(on)
        while True:
            on.send(answer(asked(on)))

    return tcp_vendor(handle)


def instant(text: str) -> int:
    """As ib_async writes them, UTC."""
    return int(datetime.strptime(text, "%Y%m%d %H:%M:%S %Z").replace(tzinfo=UTC).timestamp())


def test_history_of_bars_is_asked_for_in_pieces() -> None:
    ends: list[int] = []

    def answer(request: list[str]) -> bytes:
        assert request[0] == HISTORY
        number, symbol = told_of(request)
        end, size, span = instant(request[15]), request[16], int(request[17].split()[0])
        assert (symbol, size) == ("A", "5 secs")
        assert span <= 3600
        ends.append(end)
        bars = [at for at in range(end - span, end, 5) if at % 1800 == 0]
        fields = [of for at in bars for of in (at, *PRICES, 1.0, 4)]
        return packed(17, number, "", "", len(bars), *fields)

    begin = AT // 3600 * 3600
    with history(answer) as tws:
        of = feed(tws.url, 5)
        assert isinstance(of, HasHistory)
        found = of.history(("A",), begin * SECOND, (begin + 9000) * SECOND)

    assert ends == [begin + 3600, begin + 7200, begin + 9000]
    assert found.ts.tolist() == [(begin + n * 1800) * SECOND for n in range(5)]
    assert [found.columns[name][0] for name in found.columns] == list(PRICES)


def test_history_of_ticks_goes_on_after_the_last_second_of_a_page() -> None:
    times = [AT, AT, AT + 1, AT + 5, AT + 5, AT + 9]

    def answer(request: list[str]) -> bytes:
        assert request[0] == PAST_TICKS
        number, _ = told_of(request)
        since = instant(request[15])
        page = [at for at in times if at >= since][:3]
        page = [at for at in times if at >= since and page and at <= page[-1]]
        fields = [of for at in page for of in (at, 0, 10.5, 3.0, "NASDAQ", "")]
        return packed(98, number, len(page), *fields, 1)

    with history(answer) as tws:
        of = feed(tws.url)
        assert isinstance(of, HasHistory)
        found = of.history(("A",), AT * SECOND, (AT + 9) * SECOND)

    assert found.ts.tolist() == [at * SECOND for at in times[:5]]


def test_history_that_can_t_be_had_says_why() -> None:
    def answer(request: list[str]) -> bytes:
        number, _ = told_of(request)
        return packed(4, 2, number, 162, "HMDS query returned no data", "")

    with history(answer) as tws:
        of = feed(tws.url, 60)
        assert isinstance(of, HasHistory)
        with pytest.raises(DataError, match="HMDS query returned no data"):
            of.history(("A",), AT * SECOND, (AT + 60) * SECOND)


@pytest.mark.parametrize(
    ("options", "more", "said"),
    [
        ({"port": "x"}, {}, "feed.options.port is 'x'; write e.g. 4001"),
        ({"contracts": {"A": {"sectype": "STK"}}}, {}, "feed.options.contracts: A: "),
        ({"contracts": {"C": {}}}, {}, "feed.options.contracts.C is no symbol of this run"),
        ({"account": "DU1"}, {}, "feed.options.account is unknown"),
        ({}, {"kind": "bars", "interval_ns": 7 * SECOND}, "data.interval is none of IB's bars"),
    ],
)
def test_options_that_can_not_be_used_say_what_to_write(
    options: dict[str, Any], more: dict[str, Any], said: str
) -> None:
    given: dict[str, Any] = {"name": "t", "kind": "ticks", "interval_ns": None, "symbols": ("A",)}

    with pytest.raises(ConfigError) as found:
        open_feed("ib", FeedOptions(given=options, **{**given, **more}))

    assert said in str(found.value)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ib_async", None)

    with pytest.raises(ConfigError, match=r"pip install 'openbell\[ib\]'"):
        feed("tcp://127.0.0.1:1")
