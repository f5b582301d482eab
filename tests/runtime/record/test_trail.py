"""The audit trail tells each transition once, also those that one step brought together."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

from openbell.actors.effects import Commit
from openbell.market.days import MarketTime
from openbell.market.results import SessionDocument
from openbell.messages.session import Noticed, PhaseEntered, StateChanged
from openbell.runtime.record.trail import Trail

DAY = date(2024, 7, 1)
PENDING = SessionDocument(
    exchange="XNYS",
    trading_date=DAY,
    session_name="Opening",
    start_time="09:30",
    end_time="09:35",
    status="PENDING",
    created_at=MarketTime(10),
    updated_at=MarketTime(10),
)
ACTIVE = replace(PENDING, status="ACTIVE", started_at=MarketTime(20), updated_at=MarketTime(20))
COMPLETED = replace(
    ACTIVE, status="COMPLETED", completed_at=MarketTime(30), updated_at=MarketTime(30)
)


def told(trail: Trail, *documents: SessionDocument) -> list[tuple[str | None, str, int]]:
    found = trail.of(Commit(number=1, step=1, documents=documents), MarketTime(99))
    assert {change.what for change in found} <= {"session"}
    return [(change.before, change.after, change.at_ns) for change in found]


def test_a_session_goes_from_status_to_status() -> None:
    trail = Trail(None, ())

    assert told(trail, PENDING) == [(None, "PENDING", 10)]
    assert told(trail, ACTIVE) == [("PENDING", "ACTIVE", 20)]
    assert told(trail, COMPLETED) == [("ACTIVE", "COMPLETED", 30)]
    assert told(trail, replace(COMPLETED, breakouts_checked=True)) == []


def test_what_one_step_brought_together_is_told_one_by_one() -> None:
    assert told(Trail(None, ()), COMPLETED) == [
        (None, "PENDING", 10),
        ("PENDING", "ACTIVE", 20),
        ("ACTIVE", "COMPLETED", 30),
    ]


def test_what_was_noticed_stands_before_the_end_of_the_day() -> None:
    noticed = Noticed(
        kind="gap", at_ns=MarketTime(7), why="w", date=DAY, symbols=("A",), facts={"rows": 3}
    )
    ended = StateChanged(
        date=DAY, before="POST_MARKET", after="ENDED", at_ns=MarketTime(99), why="the close"
    )
    commit = Commit(1, 5, documents=(PENDING,), transitions=(ended,), noticed=(noticed,))

    midday = Trail(None, ()).of(commit, MarketTime(99))
    at_close = Trail(None, ()).of(replace(commit, closed=DAY), MarketTime(99))

    assert [change.kind for change in midday] == ["day.ended", "session.pending", "gap"]
    assert [change.kind for change in at_close] == ["session.pending", "gap", "day.ended"]
    assert (at_close[1].symbols, at_close[1].facts, at_close[1].at_ns) == (("A",), {"rows": 3}, 7)


def test_a_session_that_has_no_part_in_a_day_says_why() -> None:
    skipped = replace(PENDING, status="SKIPPED", reason="after the close")

    (change,) = Trail(None, ()).of(Commit(number=1, step=1, documents=(skipped,)), MarketTime(99))

    assert (change.before, change.after, change.why) == (None, "SKIPPED", "after the close")


def test_a_restart_goes_on_from_the_documents_that_were_there() -> None:
    assert told(Trail("stream", (ACTIVE,)), COMPLETED) == [("ACTIVE", "COMPLETED", 30)]


def test_a_new_day_begins_anew() -> None:
    trail = Trail(None, (COMPLETED,))
    tomorrow = date(2024, 7, 2)

    assert told(trail, replace(PENDING, trading_date=tomorrow)) == [(None, "PENDING", 10)]


def test_a_day_that_is_begun_again_goes_back() -> None:
    assert told(Trail(None, (COMPLETED,)), ACTIVE) == [("COMPLETED", "ACTIVE", 20)]
    assert told(Trail(None, (ACTIVE,)), PENDING) == [("ACTIVE", "PENDING", 10)]


def test_phases_and_states_stand_in_their_order_with_market_time() -> None:
    said: dict[str, Any] = {"date": DAY}
    opening = Commit(
        number=1,
        step=1,
        documents=(PENDING,),
        transitions=(
            PhaseEntered(phase="activate", **said),
            StateChanged(
                before="PRE_MARKET", after="ACTIVE", at_ns=MarketTime(5), why="the open", **said
            ),
            PhaseEntered(phase="stream", **said),
        ),
    )
    closing = Commit(
        number=2, step=2, documents=(COMPLETED,), closed=DAY, transitions=opening.transitions
    )
    trail = Trail("load", ())

    begun = [(c.what, c.before, c.after, c.at_ns) for c in trail.of(opening, MarketTime(99))]
    ended = [c.what for c in trail.of(closing, MarketTime(99))]

    assert begun == [
        ("phase", "load", "activate", 99),
        ("day", "PRE_MARKET", "ACTIVE", 5),
        ("phase", "activate", "stream", 99),
        ("session", None, "PENDING", 10),
    ]
    assert ended == ["session", "session", "phase", "day", "phase"]
