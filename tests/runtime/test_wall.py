"""Runs that follow the market by the host's clock, which a test moves by hand."""

from __future__ import annotations

from by_hand import ByHand, at, config


def test_a_day_goes_its_way_by_the_clock_without_a_row() -> None:
    run = ByHand(config(), at("09:00")).until(at("17:00"))

    assert run.seen == [
        ("09:00:00", "PRE_MARKET"),
    ]
