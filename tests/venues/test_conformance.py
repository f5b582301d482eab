"""Each vendor's feed comes through what goes wrong at all of them."""

from __future__ import annotations

from contextlib import nullcontext
from importlib import import_module
from itertools import groupby

import pytest
from venues import alpaca, generic, kite, openalgo
from venues.faults import FAULTS, Fault
from venues.venue import Case, opened
from ws_vendor import cable

from openbell.adapters.feeds import Feed
from openbell.testing import check_feed


def _of(vendor: str) -> tuple[Case, ...]:
    """A vendor's cases; none without its client, as the vendor's own tests say."""
    try:
        cases: tuple[Case, ...] = import_module(f"venues.{vendor}").CASES
    except pytest.skip.Exception:
        return ()
    return cases


def _is_late(case: Case, fault: Fault) -> bool:
    return case.heavy and fault.name not in ("no fault", "forced close")


CASES = (
    generic.CASE,
    kite.CASE,
    alpaca.TRADES,
    alpaca.BARS,
    *_of("databento"),
    *_of("ccxt"),
    *_of("ib"),
    *openalgo.CASES,
)


@pytest.mark.parametrize(
    ("case", "fault"),
    [
        pytest.param(
            case,
            fault,
            id=f"{case.name}-{fault.name}",
            marks=[pytest.mark.slow] if fault.pulls or _is_late(case, fault) else [],
        )
        for case in CASES
        for fault in FAULTS
        if fault.name not in case.without
    ],
)
def test_a_feed_delivers_what_its_vendor_sends(case: Case, fault: Fault) -> None:
    expected = list(fault.delivers(case))

    with opened(case, fault.script) as (venue, url):
        way = cable(url, venue.pulled) if fault.pulls else nullcontext(url)
        with way as address:

            def make() -> Feed:
                return venue.watched(case.feed(address, **fault.options))

            found = check_feed(make, len(expected), kind=case.kind)

    rows = found.rows
    if case.by_symbol:
        rows, expected = (sorted(of, key=lambda row: str(row[0])) for of in (rows, expected))
    assert rows == expected
    states = [state for state, _ in groupby(state for state, _ in found.said)]
    assert states[: len(fault.states) if fault.options else None] == list(fault.states)
    assert len(found.gaps) >= fault.gaps
    if not fault.gaps:
        assert found.gaps == []
    assert (found.refused != []) == fault.refuses, found.refused
    for _, where, why in found.refused:
        assert "message" in where
        assert len(why) < 400
