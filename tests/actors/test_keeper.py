"""Keeper: one commit a step, of all that the step brought."""

from __future__ import annotations

from datetime import date

import numpy as np
from runs import of_cases, one_day

from openbell.actors.effects import Commit
from openbell.actors.keeper import Settings, State, update
from openbell.market.days import MINUTE_NS, MarketTime
from openbell.market.results import Levels
from openbell.market.windows import SessionSpec
from openbell.messages.base import Message
from openbell.messages.session import (
    DayCleared,
    DayClosed,
    DayOpened,
    DayWithoutData,
    Noticed,
    PhaseEntered,
    SessionCompleted,
    SessionPlanned,
    SessionStarted,
    StateChanged,
)
from openbell.messages.signal import BreakoutsChecked
from openbell.messages.time import Reached

RUN = of_cases([one_day(date(2021, 3, 1), "bars")])
DAY = RUN.days[0]
DATA = RUN.data[DAY.date]
SETTINGS = Settings(
    "XTST", (SessionSpec("Morning", "09:16", "09:20"), SessionSpec("Lunch", "11:20", "11:25"))
)
OPENED = DayOpened(
    day=DAY,
    symbols=DATA.symbols,
    kind="bars",
    interval_ns=MINUTE_NS,
    boundaries=(DAY.close_ns,),
    counts=DATA.counts,
    bad=(),
    live_from_ns=DAY.open_ns,
)
NONE = np.zeros(3, np.int64)
PRICE = np.zeros(3)
LEVELS = Levels(DATA.symbols, PRICE, PRICE, NONE, NONE, NONE, NONE > 0)
AT = DAY.open_ns


def planned(name: str) -> SessionPlanned:
    return SessionPlanned(session=name, status="PENDING", at_ns=AT)


def stepped(state: State, step: int, *said: Message) -> tuple[State, list[Commit]]:
    commits: list[Commit] = []
    for message in (*said, Reached(step=step, sender="keeper")):
        state, effects = update(SETTINGS, state, message)
        commits += [effect for effect in effects if isinstance(effect, Commit)]
    return state, commits


def opened() -> State:
    return stepped(State(), 1, OPENED, planned("Morning"), planned("Lunch"))[0]


def test_a_step_is_one_commit() -> None:
    _, (commit,) = stepped(State(), 1, OPENED, planned("Morning"), planned("Lunch"))

    assert (commit.number, commit.step, commit.opened) == (1, 1, OPENED)
    assert [(d.session_name, d.status) for d in commit.documents] == [
        ("Morning", "PENDING"),
        ("Lunch", "PENDING"),
    ]
    assert {d.created_at for d in commit.documents} == {DAY.open_ns}


def test_a_step_that_brought_nothing_needs_no_commit() -> None:
    state, commits = stepped(opened(), 2)
    _, later = stepped(state, 3, SessionStarted(session="Lunch", at_ns=AT))

    assert commits == []
    assert [(commit.number, commit.step) for commit in later] == [(2, 3)]


def test_only_documents_that_changed_are_committed() -> None:
    _, (commit,) = stepped(opened(), 2, SessionStarted(session="Lunch", at_ns=MarketTime(AT + 5)))

    (document,) = commit.documents
    assert (document.session_name, document.status) == ("Lunch", "ACTIVE")
    assert (document.started_at, document.updated_at, document.created_at) == (AT + 5, AT + 5, AT)


def test_a_documents_changes_count_in_the_order_of_its_life() -> None:
    changes = (
        BreakoutsChecked(session="Lunch", at_ns=MarketTime(AT + 9)),
        SessionCompleted(session="Lunch", at_ns=MarketTime(AT + 8), levels=LEVELS),
        SessionStarted(session="Lunch", at_ns=MarketTime(AT + 5)),
    )

    for order in (changes, changes[::-1]):
        _, (commit,) = stepped(opened(), 2, *order)
        (document,) = commit.documents
        assert (document.status, document.breakouts_checked) == ("COMPLETED", True)
        assert (document.started_at, document.completed_at) == (AT + 5, AT + 8)
        assert document.updated_at == AT + 9
        assert document.levels is LEVELS


def test_documents_are_written_when_it_is_known_that_the_day_has_rows() -> None:
    awaiting = OPENED.model_copy(update={"awaits_rows": True})
    again = OPENED.model_copy(update={"again": True})
    both = (planned("Morning"), planned("Lunch"))

    state, (first,) = stepped(State(), 1, awaiting, *both)
    state, (second,) = stepped(state, 2, SessionStarted(session="Lunch", at_ns=AT))
    _, (late,) = stepped(state, 3, again, *both)
    _, (none,) = stepped(state, 3, DayWithoutData(date=DAY.date, outside_hours=0))

    assert first.documents == second.documents == none.documents == ()
    assert [(d.session_name, d.status) for d in late.documents] == [
        ("Morning", "PENDING"),
        ("Lunch", "PENDING"),
    ]


def test_a_day_opened_without_its_rows_and_with_them_in_one_step_has_documents() -> None:
    awaiting = OPENED.model_copy(update={"awaits_rows": True})
    again = OPENED.model_copy(update={"again": True})
    both = (planned("Morning"), planned("Lunch"))

    _, (opened,) = stepped(State(), 1, awaiting, *both, again, *both)

    assert [d.session_name for d in opened.documents] == ["Morning", "Lunch"]
    assert opened.opened == again


def test_a_skipped_session_keeps_its_reason() -> None:
    skipped = SessionPlanned(session="Lunch", status="SKIPPED", at_ns=AT, reason="no hours")

    _, (commit,) = stepped(State(), 1, OPENED, planned("Morning"), skipped)

    document = commit.documents[1]
    assert (document.status, document.reason, document.levels) == ("SKIPPED", "no hours", None)
    assert not document.breakouts_checked


def test_the_days_end_and_what_happened_to_it_are_committed() -> None:
    transitions = (
        StateChanged(date=DAY.date, before="ACTIVE", after="POST_MARKET", at_ns=AT, why="x"),
        PhaseEntered(date=DAY.date, phase="end"),
    )

    _, (commit,) = stepped(opened(), 2, *transitions, DayClosed(date=DAY.date))
    _, (without,) = stepped(opened(), 2, DayWithoutData(date=DAY.date, outside_hours=3))

    assert commit.transitions == transitions
    assert commit.closed == DAY.date
    assert commit.documents == ()
    assert [nothing.outside_hours for nothing in without.without_data] == [3]
    assert without.closed is None


def test_what_is_noticed_is_committed_with_its_step_alone_too() -> None:
    silent = Noticed(kind="symbol.silent", at_ns=AT, why="no row for 40 s", symbols=("A",))
    halted = Noticed(kind="halt", at_ns=AT, why="news pending", facts={"code": 7})

    state, (commit,) = stepped(opened(), 2, silent, halted)
    _, nothing = stepped(state, 3)

    assert commit.noticed == (silent, halted)
    assert (commit.step, commit.documents, commit.transitions) == (2, (), ())
    assert nothing == []


def test_a_new_day_has_documents_of_its_own() -> None:
    state, _ = stepped(opened(), 2, SessionStarted(session="Lunch", at_ns=AT))

    state, commits = update(SETTINGS, state, DayCleared(date=DAY.date))
    _, (commit,) = stepped(state, 3, OPENED, planned("Morning"), planned("Lunch"))

    assert commits == ()
    assert {document.status for document in commit.documents} == {"PENDING"}
    assert commit.number == 3
