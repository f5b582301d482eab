"""What vendors answer when they are asked whether they have symbols, before these come into a run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from venues import alpaca, ccxt, databento, kite, openalgo
from venues.test_databento import error
from venues.test_kite import INSTRUMENTS
from venues.venue import Session, opened
from websockets.exceptions import ConnectionClosed
from ws_vendor import PATIENCE_SECONDS

from openbell.adapters.feeds import LooksUp
from openbell.testing.feeds import _Door


@contextmanager
def running(of: Any) -> Iterator[_Door]:
    """A feed that delivers, once it is connected."""
    door = _Door("ticks", 0, 1)
    thread = threading.Thread(target=of.run, args=(door, 0, ""), daemon=True)
    thread.start()
    try:
        with door.news:
            assert door.news.wait_for(lambda: door.found.said, PATIENCE_SECONDS)
        yield door
    finally:
        of.close()
        thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def asked_of(of: Any, *symbols: str, seconds: float = PATIENCE_SECONDS) -> dict[str, str]:
    assert isinstance(of, LooksUp)
    return dict(of.look_up(symbols, seconds))


def to_each(answer: Callable[[Session, dict[str, Any]], None]) -> Callable[[Session], None]:
    """A venue that answers each further subscription."""

    def script(on: Session) -> None:
        try:
            while True:
                answer(on, orjson.loads(on.client.socket.recv(timeout=PATIENCE_SECONDS)))
        except (ConnectionClosed, TimeoutError):
            return

    return script


def test_alpaca_is_asked_by_a_subscription_and_only_who_asked_is_told() -> None:
    taken = {"AAPL", "SPY"}

    def answer(on: Session, asked: dict[str, Any]) -> None:
        taken.update(set(asked["trades"]) - {"XXXX"})
        talk = cast(alpaca.Talk, on.talk)
        on.client.socket.send(talk.written([{"T": "subscription", "trades": sorted(taken)}]))

    with opened(alpaca.TRADES, to_each(answer)) as (_, url):
        of = alpaca.feed(url, encoding="json")
        with running(of) as door:
            refused = asked_of(of, "MSFT", "XXXX")
            again = asked_of(of, "MSFT")

    assert refused == {"XXXX": "alpaca does not name it among its trades"}
    assert again == {}
    assert door.found.refused == []
    assert cast(Any, of)._symbols == ("AAPL", "SPY")


def test_more_symbols_than_the_plan_has_are_refused_and_the_login_is_not() -> None:
    taken = ["AAPL", "SPY"]

    def answer(on: Session, asked: dict[str, Any]) -> None:
        talk = cast(alpaca.Talk, on.talk)
        if len(asked["trades"]) > 1:
            told: dict[str, Any] = {"T": "error", "code": 405, "msg": "symbol limit exceeded"}
        else:
            told = {"T": "subscription", "trades": [*taken, *asked["trades"]]}
        on.client.socket.send(talk.written([told]))

    with opened(alpaca.TRADES, to_each(answer)) as (_, url):
        of = alpaca.feed(url, encoding="json")
        with running(of) as door:
            refused = asked_of(of, "MSFT", "TSLA")
            assert list(refused) == ["MSFT", "TSLA"]
            assert "405 symbol limit exceeded" in refused["MSFT"]
            assert asked_of(of, "MSFT") == {}

    assert [state for state, _ in door.found.said] == ["connected"]


def test_openalgo_is_asked_by_a_subscription() -> None:
    def answer(on: Session, asked: dict[str, Any]) -> None:
        wire = cast(openalgo.Wire, on.venue.wire)
        wire.unknown = {"X"}
        wire.answer(on.client, asked)

    with opened(openalgo.CASE, to_each(answer)) as (_, url):
        of = openalgo.feed(url)
        with running(of) as door:
            assert asked_of(of, "C", "X") == {"X": "Symbol X not found"}
            assert asked_of(of, "C") == {}

    assert door.found.refused == []


def test_a_vendor_that_does_not_answer_is_not_waited_for_for_long() -> None:
    with opened(openalgo.CASE, to_each(lambda on, asked: None)) as (_, url):
        of = openalgo.feed(url)
        with (
            running(of),
            pytest.raises(TimeoutError, match=r"did not answer within .* whether it has C"),
        ):
            asked_of(of, "C", seconds=0.1)


def test_kite_is_looked_up_in_its_list(tmp_path: Path) -> None:
    path = tmp_path / "instruments.csv"
    path.write_text(INSTRUMENTS)
    of = kite.feed(
        "ws://127.0.0.1:1", register=("INFY",), symbols={}, instruments=str(path), exchange="NSE"
    )

    found = asked_of(of, "NIFTY 50", "INFFY")

    assert list(found) == ["INFFY"]
    assert "has no NSE:INFFY" in found["INFFY"]


def test_ccxt_looks_among_the_markets() -> None:
    of = ccxt.feed("ws://127.0.0.1:1", watched=("A/USDT",))

    assert asked_of(of, "B/USDT", "C/USDT") == {
        "C/USDT": "binance has no market C/USDT; nearest: B/USDT, A/USDT"
    }
    away = ccxt.feed("ws://127.0.0.1:1", watched=("A/USDT",), http="http://127.0.0.1:1/api/v3")
    with pytest.raises(TimeoutError, match="its markets can't be had"):
        asked_of(away, "B/USDT", seconds=1.0)


def test_databento_resolves_symbols_in_a_session_of_its_own() -> None:
    def script(on: Session) -> None:
        on.client.socket.send(error("Failed to resolve symbol: X", "symbol_resolution_failed"))
        on.stay()

    with opened(databento.TICKS, script) as (venue, url):
        cast(databento.Gateway, venue.wire).unknown = frozenset({"X"})
        found = asked_of(databento.feed(url), "C", "X")

    assert found == {"X": "Failed to resolve symbol: X"}
