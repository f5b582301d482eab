"""Silence of a feed and of symbols in runs whose clock a test moves by hand: who is told what when,
and what the feed is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pytest
from by_hand import ByHand, at, config, shown

from openbell.actors import listening
from openbell.errors import FeedSilent
from openbell.market import silence
from openbell.market.days import MarketTime
from openbell.market.results import NO_TIME
from openbell.market.silence import Listening
from openbell.messages.control import Halted
from openbell.runtime.cli import stored
from openbell.runtime.config import config_from
from openbell.runtime.lifetime.replaying import replay_day
from openbell.runtime.record.ledger import Ledger

LONG = {"timeout_seconds": "10m"}


@dataclass
class Vendor:
    """A feed that can be asked; what it was asked for, and when."""

    of: ByHand
    asked: list[tuple[str, str]] = field(default_factory=list)
    rewind: str = "none"

    def resubscribe(self, symbols: tuple[str, ...]) -> None:
        self.asked.append((shown(self.of.clock.seconds), f"resubscribe {','.join(symbols)}"))

    def reconnect(self) -> None:
        self.asked.append((shown(self.of.clock.seconds), "reconnect"))

    def run(self, door: Any, position: int, mark: str) -> None:
        return  # the test pushes what comes

    def close(self) -> None:
        return


def fed(**more: Any) -> tuple[ByHand, Vendor]:
    """A run whose rows come as a vendor's would, on every process of it."""
    run = ByHand(config(day=LONG, **more), at("09:29"))
    vendor = Vendor(run)
    run.starting = lambda made: setattr(made.feed, "_feed", vendor)
    return run, vendor


def told(run: ByHand, *kinds: str) -> list[tuple[str, str]]:
    """What was noticed, as (local time, kind and symbols)."""
    entries = [entry for entry in run.audit("notice") if entry["kind"] in kinds]
    return [
        (entry["market_time"], " ".join([entry["kind"], *entry["symbols"]])) for entry in entries
    ]


def ticks(run: ByHand, symbol: str, begin: str, seconds: int, step: float = 5.0) -> None:
    for n in range(int(seconds / step)):
        run.tick(at(begin) + step * n, symbol, 100 + n % 3)


FEED = ("feed.silent", "feed.back")
SYMBOL = ("symbol.silent", "symbol.back")


def test_a_silent_feed_is_asked_anew_connected_anew_and_then_in_time_out() -> None:
    run, vendor = fed()
    ticks(run, "A", "09:30", 305)
    ticks(run, "B", "09:30", 305)
    run.tick(at("10:00"), "A", 100)

    run.until(at("10:00:10"))

    assert vendor.asked == [
        ("09:35:15", "resubscribe A,B"),
        ("09:40:07", "reconnect"),
        ("09:55:00", "reconnect"),
    ]
    assert told(run, *FEED) == [
        ("2024-07-01T13:35:15Z", "feed.silent"),
        ("2024-07-01T13:40:07.5Z", "feed.silent"),
        ("2024-07-01T13:55:00Z", "feed.silent"),
        ("2024-07-01T14:00:00Z", "feed.back"),
    ]
    assert [(when, what) for when, what in run.seen if " " not in what][1:] == [
        ("09:30:00", "ACTIVE"),
        ("09:45:00", "TIMEOUT"),
        ("10:00:00", "ACTIVE"),
    ]


def test_a_symbol_that_is_silent_is_told_once_and_when_it_is_back() -> None:
    run, vendor = fed()
    ticks(run, "A", "09:30", 300, 10)
    ticks(run, "A", "09:40", 100, 10)
    ticks(run, "B", "09:30", 1200, 10)

    run.until(at("09:45"))

    assert told(run, *SYMBOL, *FEED) == [
        ("2024-07-01T13:35:50Z", "symbol.silent A"),
        ("2024-07-01T13:40:00Z", "symbol.back A"),
        ("2024-07-01T13:43:30Z", "symbol.silent A"),
    ]
    assert vendor.asked[0] == ("09:35:50", "resubscribe A")
    assert stored.listening(run.store) == {
        "feed_silent_since": None,
        "silent": {"A": "2024-07-01T13:41:30Z"},
        "halted": [],
    }


def test_rows_that_say_nothing_new_are_no_sign_of_life() -> None:
    run, vendor = fed()
    ticks(run, "A", "09:30", 300)
    for n in range(200):  # frames, and a vendor that repeats what it had
        run.tick(at("09:35") + n, "A", 100, ts=at("09:34:55"))

    run.until(at("09:38"))

    assert vendor.asked == [("09:35:10", "resubscribe A,B")]


@pytest.mark.parametrize("back", ["09:35:20", "09:41"])
def test_what_was_asked_before_a_kill_is_not_asked_again(
    back: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = Ledger._states

    def only_of_the_open(ledger: Ledger, settled: Any, commit: Any) -> Any:
        return states(ledger, settled, commit) if commit and commit.opened else None

    monkeypatch.setattr(Ledger, "_states", only_of_the_open)  # so that a restart gives all again
    run, vendor = fed()
    ticks(run, "A", "09:30", 300)
    run.kill(at("09:35:15"), at(back))

    run.until(at(back))

    assert run.restarts == 1
    assert vendor.asked == [("09:35:10", "resubscribe A,B")]


@pytest.mark.slow
def test_a_run_that_was_not_there_takes_what_it_missed_for_no_silence() -> None:
    run, vendor = fed()
    ticks(run, "A", "09:30", 600, 10)
    ticks(run, "B", "09:30", 600, 10)
    ticks(run, "A", "11:00", 120, 10)
    ticks(run, "B", "11:00", 120, 10)
    run.kill(at("09:39:58"), at("11:00"))

    run.until(at("11:01:40"))

    assert run.restarts == 1
    assert (vendor.asked, told(run, *FEED, *SYMBOL)) == ([], [])


def test_a_replay_tells_the_same_and_asks_for_nothing() -> None:
    run, vendor = fed()
    ticks(run, "A", "09:30", 600, 10)
    ticks(run, "B", "09:30", 1200, 10)
    run.until(at("17:00"))
    asked = list(vendor.asked)

    again = replay_day(config_from(run.config), run.store, date(2024, 7, 1))

    assert again.differs is None
    assert len(told(run, *FEED)) > 3
    assert vendor.asked == asked


def test_a_process_that_is_to_end_does_so_with_everything_committed_and_goes_on_again() -> None:
    run, _ = fed(feed={"silent": "exit"})
    ticks(run, "A", "09:30", 300)

    with pytest.raises(FeedSilent, match="no row has come for 10 min"):
        run.until(at("12:00"))
    assert (shown(run.clock.seconds), run.states()[-1]) == ("09:44:55", "TIMEOUT")
    run.until(at("09:46"))  # not at once again
    with pytest.raises(FeedSilent):
        run.until(at("12:00"))

    assert shown(run.clock.seconds) == "09:54:55"


def test_trading_that_is_halted_explains_silence() -> None:
    run, _ = fed()
    ticks(run, "A", "09:30", 300, 10)
    ticks(run, "B", "09:30", 1500, 10)

    def halt(on: bool) -> Any:
        def act(of: ByHand) -> None:
            assert of.run is not None
            host_ns = MarketTime(round(of.clock.seconds * 1e9))
            of.run.engine.tell_clock(Halted(symbols=("A",), on=on, host_ns=host_ns))

        return act

    run.do(at("09:35:10"), halt(True)).do(at("09:50"), halt(False)).until(at("09:52"))

    assert told(run, "halt", "halt.over", *SYMBOL) == [
        ("2024-07-01T13:35:10Z", "halt A"),
        ("2024-07-01T13:50:00Z", "halt.over A"),
        ("2024-07-01T13:51:00Z", "symbol.silent A"),
    ]


def test_where_all_trading_was_halted_silence_counts_from_when_it_goes_on() -> None:
    run, vendor = fed()
    ticks(run, "A", "09:30", 300)

    def halt(on: bool) -> Any:
        return lambda of: of.run.feed.halted(("A", "B"), on)

    run.do(at("09:35"), halt(True)).do(at("09:50"), halt(False)).until(at("09:50:16"))

    assert vendor.asked == [("09:50:15", "resubscribe A,B")]
    assert "TIMEOUT" not in run.states()


# Bugs planted one at a time, each of which a test above finds


def _frames_for_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    real = silence.heard

    def heard(of: Listening, *rest: Any) -> Any:
        return real(replace(of, newest=np.full_like(of.newest, NO_TIME)), *rest)

    monkeypatch.setattr(listening, "heard", heard)


def _asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ledger, "gives_again", lambda ledger, step: False)


def _never_looks_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "soon", lambda *given: None)


def _takes_a_process_that_was_down_for_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "UNLOOKED_NS", 10**18)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "finds"),
    [
        (_frames_for_rows, test_rows_that_say_nothing_new_are_no_sign_of_life),
        (_asks_again, test_what_was_asked_before_a_kill_is_not_asked_again),
        (_never_looks_anew, test_a_symbol_that_is_silent_is_told_once_and_when_it_is_back),
        (
            _takes_a_process_that_was_down_for_silence,
            test_a_run_that_was_not_there_takes_what_it_missed_for_no_silence,
        ),
    ],
)
def test_a_planted_bug_is_found(
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    finds: Callable[..., None],
) -> None:
    plant(monkeypatch)
    more = ("09:35:20", monkeypatch) if plant is _asks_again else ()

    with pytest.raises(AssertionError):
        finds(*more)
