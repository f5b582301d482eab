"""Gathers what a step brought and has it made durable, all at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from openbell.actors.effects import Actor, Commit, Effects
from openbell.market.results import SessionDocument
from openbell.market.widening import spliced, widening
from openbell.market.windows import SessionSpec
from openbell.messages.base import Message
from openbell.messages.data import BarsDerived, IndicatorsReady, QualityReport
from openbell.messages.insertion import Inserted, LevelsAdded
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
from openbell.messages.signal import BreakoutsChecked, Signals
from openbell.messages.time import Reached

NAME = "keeper"

M = TypeVar("M", bound=Message)


@dataclass(frozen=True, slots=True)
class Settings:
    exchange: str
    sessions: tuple[SessionSpec, ...]


@dataclass(frozen=True, eq=False, slots=True)
class State:
    commits: int = 0
    documents: tuple[SessionDocument, ...] = ()
    """The day's session documents, in the configured order."""
    gathered: tuple[Message, ...] = ()
    """What the step has brought so far."""
    awaits_rows: bool = False
    """Whether the day's rows have not come: it may turn out to be without data, and have no
    documents."""


def keeper(settings: Settings) -> Actor[State]:
    """Whoever keeps the record."""
    return Actor(
        NAME,
        State(),
        partial(update, settings),
        frozenset(
            {
                BarsDerived,
                BreakoutsChecked,
                DayCleared,
                DayClosed,
                DayOpened,
                DayWithoutData,
                IndicatorsReady,
                Inserted,
                LevelsAdded,
                Noticed,
                PhaseEntered,
                QualityReport,
                Reached,
                SessionCompleted,
                SessionPlanned,
                SessionStarted,
                Signals,
                StateChanged,
            }
        ),
    )


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case DayCleared():
            return replace(state, documents=(), awaits_rows=False), ()
        case Reached(step=step):
            return _committed(settings, state, step) if state.gathered else (state, ())
        case _:
            return replace(state, gathered=(*state.gathered, message)), ()


def _is_of_scans(told: Noticed) -> bool:
    """Whether it is what a scan came to, or what became of a symbol that one has asked for."""
    asked = told.kind.startswith("symbol.") and str(told.facts.get("by", "")).startswith("scan:")
    return told.kind.startswith("scan.") or asked


def _document(settings: Settings, spec: SessionSpec, opened: DayOpened) -> SessionDocument:
    return SessionDocument(
        exchange=settings.exchange,
        trading_date=opened.day.date,
        session_name=spec.name,
        start_time=spec.start,
        end_time=spec.end,
        status="PENDING",
        created_at=opened.day.open_ns,
        updated_at=opened.day.open_ns,
    )


def _committed(settings: Settings, state: State, step: int) -> tuple[State, Effects]:
    """The step's commit: all that it brought."""
    said = state.gathered
    # A step may open a day without its rows and, as they have come by then, with them.
    opened = _last(DayOpened, said)
    documents = {document.session_name: document for document in state.documents}
    changes = [message for message in said if isinstance(message, CHANGES)]
    awaits_rows = state.awaits_rows if opened is None else opened.awaits_rows
    if awaits_rows:
        documents, changes = {}, []
    elif opened is not None:
        documents = {spec.name: _document(settings, spec, opened) for spec in settings.sessions}
    for message in sorted(changes, key=_stage):
        documents[message.session] = _changed(documents[message.session], message)
    inserted = _last(Inserted, said)
    widened: set[str] = set()
    if inserted is not None and not awaits_rows:
        for levels in (m for m in said if isinstance(m, LevelsAdded)):
            widened.add(levels.session)
            document = documents[levels.session]
            documents[levels.session] = _with_levels(document, levels, inserted)
    closed = _last(DayClosed, said)
    touched = {message.session for message in changes} | widened
    commit = Commit(
        number=state.commits + 1,
        step=step,
        documents=tuple(documents[name] for name in documents if name in touched),
        signals=tuple(m.batch for m in said if isinstance(m, Signals)),
        bars=tuple(m.bars for m in said if isinstance(m, BarsDerived) and not m.again),
        bars_again=tuple(m.bars for m in said if isinstance(m, BarsDerived) and m.again),
        quality=_last(QualityReport, said),
        indicators=_last(IndicatorsReady, said),
        transitions=tuple(m for m in said if isinstance(m, StateChanged | PhaseEntered)),
        noticed=tuple(m for m in said if isinstance(m, Noticed)),
        without_data=tuple(m for m in said if isinstance(m, DayWithoutData)),
        opened=opened,
        register=inserted.symbols if inserted is not None else (),
        closed=closed.date if closed else None,
        scans=tuple(m for m in said if isinstance(m, Noticed) and _is_of_scans(m)),
    )
    return State(commit.number, tuple(documents.values()), (), awaits_rows), (commit,)


CHANGES = (SessionPlanned, SessionStarted, SessionCompleted, BreakoutsChecked)
"""What changes a session's document, in the order of its life."""

Change = SessionPlanned | SessionStarted | SessionCompleted | BreakoutsChecked


def _stage(change: Change) -> int:
    return CHANGES.index(type(change))


def _changed(document: SessionDocument, change: Change) -> SessionDocument:
    at = change.at_ns
    match change:
        case SessionPlanned(status=status, reason=reason):
            return replace(document, status=status, reason=reason, updated_at=at)
        case SessionStarted():
            return replace(document, status="ACTIVE", started_at=at, updated_at=at)
        case SessionCompleted(levels=levels):
            return replace(
                document, status="COMPLETED", completed_at=at, levels=levels, updated_at=at
            )
        case BreakoutsChecked():
            return replace(document, breakouts_checked=True, updated_at=at)


def _with_levels(
    document: SessionDocument, message: LevelsAdded, inserted: Inserted
) -> SessionDocument:
    """With levels of symbols that have come into the day."""
    if document.levels is None:
        return document
    new = message.levels
    how = widening(document.levels.symbols, inserted.symbols, new.symbols, message.added)
    levels = replace(spliced(document.levels, new, how), symbols=inserted.symbols)
    return replace(document, levels=levels, updated_at=inserted.until_ns)


def _last(kind: type[M], said: tuple[Message, ...]) -> M | None:
    """The message of a kind that counts, of those that a step brought."""
    return next((message for message in reversed(said) if isinstance(message, kind)), None)
