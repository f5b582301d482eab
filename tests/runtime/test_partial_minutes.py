"""The minute under way when a connection ends, or is made, is partial: windows over it say so."""

from __future__ import annotations

from typing import Any

import pytest
from by_hand import ByHand, at, config
from histories import Row, history

from openbell.market.days import MarketTime

EVERY_MINUTE: list[Row] = [
    (symbol, at("09:30:05") + 20 * n, 100.0 + n % 5) for n in range(16) for symbol in "AB"
]


def morning(**more: Any) -> ByHand:
    """Ticks of two symbols in every minute of the window, and three of after it."""
    run = ByHand(config(), at("09:00"), **more)
    for symbol, ts, price in EVERY_MINUTE:
        run.tick(ts, symbol, price)
    return run.tick(at("09:36"), "A", 110.0).tick(at("09:36:01"), "B", 110.0)


def said(when: str, state: Any) -> tuple[float, Any]:
    return at(when), lambda of: of.run.feed.said(state, "a test says so")


def gap(when: str, begin: str, end: str, symbols: tuple[str, ...] | None = None) -> Any:
    def told(of: Any) -> None:
        from_ns, until_ns = (MarketTime(round(at(of) * 1e9)) for of in (begin, end))
        of.run.feed.gap(from_ns, until_ns, symbols, "a test says so")

    return at(when), told


def complete(run: ByHand) -> list[tuple[str, bool]]:
    """Of the signals of the morning."""
    return [(signal.symbol, signal.complete) for signal in run._signals()]


def test_a_window_with_a_row_in_every_minute_is_complete() -> None:
    assert complete(morning().until(at("09:37"))) == [("A", True), ("B", True)]


@pytest.mark.parametrize(
    "acts",
    [
        [said("09:31:30", "connected")],
        [said("09:29:00", "connected"), said("09:34:50", "reconnecting")],
        [gap("09:32:30", "09:32:10", "09:32:30")],
        [gap("09:36:30", "09:34:58", "09:35:30")],
    ],
)
def test_a_window_over_a_partial_minute_is_not_although_that_has_rows(acts: Any) -> None:
    run = morning()
    for act in acts:
        run.do(*act)
    if acts[-1][0] > at("09:35"):  # what is told after the window is over changes no answer
        assert complete(run.until(at("09:37"))) == [("A", True), ("B", True)]
    else:
        assert complete(run.until(at("09:37"))) == [("A", False), ("B", False)]


def test_a_gap_of_one_symbol_is_no_other_s() -> None:
    run = morning().do(*gap("09:32:30", "09:32:10", "09:32:30", ("B",)))

    assert complete(run.until(at("09:37"))) == [("A", True), ("B", False)]


@pytest.mark.slow
def test_a_change_of_the_connection_outside_the_window_leaves_it_complete() -> None:
    run = morning().do(*said("09:29:30", "connected")).do(*said("09:35:10", "reconnecting"))

    assert complete(run.until(at("09:37"))) == [("A", True), ("B", True)]


@pytest.mark.slow
def test_a_kill_does_not_forget_that_a_minute_is_partial() -> None:
    run = morning().do(*said("09:31:30", "connected")).kill(at("09:32:31"), at("09:32:35"))

    assert complete(run.until(at("09:37"))) == [("A", False), ("B", False)]


def test_what_history_has_of_a_gap_makes_the_minute_whole_again() -> None:
    run = ByHand(config(), at("09:00"), history=history(EVERY_MINUTE), loses=True)
    for symbol, ts, price in EVERY_MINUTE:
        if not at("09:32:10") < ts < at("09:32:50"):
            run.tick(ts, symbol, price)
    run.tick(at("09:36"), "A", 110.0).tick(at("09:36:01"), "B", 110.0)
    run.do(*gap("09:32:51", "09:32:05", "09:33:05"))

    assert complete(run.until(at("09:37"))) == [("A", True), ("B", True)]
