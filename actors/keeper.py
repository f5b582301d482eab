"""Gathers what a step brought and has it made durable, all at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from openbell.actors.effects import Actor, Commit, Effects
from openbell.market.results import DerivedBars, SessionDocument, SignalBatch
from openbell.market.windows import SessionSpec
from openbell.messages.base import Message
from openbell.messages.data import BarsDerived, QualityReport
from openbell.messages.session import (
    DayCleared,
    DayClosed,
    DayOpened,
    DayWithoutData,
    PhaseEntered,
    SessionCompleted,
    SessionPlanned,
    SessionStarted,
    StateChanged,
)
from openbell.messages.signal import BreakoutsChecked, Signals
from openbell.messages.time import Reached

NAME = "keeper"


@dataclass(frozen=True, slots=True)
class Settings:
    exchange: str
    sessions: tuple[SessionSpec, ...]


@dataclass(frozen=True, eq=False, slots=True)
class Gathered:
    """What a step has brought so far."""

    changed: frozenset[str] = frozenset()
    """Sessions whose document is another one."""
    signals: tuple[SignalBatch, ...] = ()
    bars: tuple[DerivedBars, ...] = ()
    quality: QualityReport | None = None
    transitions: tuple[StateChanged | PhaseEntered, ...] = ()
    without_data: tuple[DayWithoutData, ...] = ()
    opened: DayOpened | None = None
    closed: DayClosed | None = None


NOTHING = Gathered()


@dataclass(frozen=True, eq=False, slots=True)
class State:
    commits: int = 0
    opened: DayOpened | None = None
    documents: tuple[SessionDocument, ...] = ()
    """The day's session documents, in the configured order."""
    gathered: Gathered = NOTHING


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
    gathered = state.gathered
    match message:
        case Reached(step=step):
            return _committed(state, step)
        case DayOpened() as opened:
            documents = tuple(_document(settings, spec, opened) for spec in settings.sessions)
            state = replace(state, opened=opened, documents=documents)
            gathered = replace(gathered, opened=opened)
        case DayCleared():
            state = replace(state, opened=None, documents=())
        case SessionPlanned(session=name, status=status, at_ns=at, reason=reason):
            return _changed(state, name, at, status=status, reason=reason), ()
        case SessionStarted(session=name, at_ns=at):
            return _changed(state, name, at, status="ACTIVE", started_at=at), ()
        case SessionCompleted(session=name, at_ns=at, levels=levels):
            return _changed(state, name, at, status="COMPLETED", completed_at=at, levels=levels), ()
        case BreakoutsChecked(session=name, at_ns=at):
            return _changed(state, name, at, breakouts_checked=True), ()
        case Signals(batch=batch):
            gathered = replace(gathered, signals=(*gathered.signals, batch))
        case BarsDerived(bars=bars):
            gathered = replace(gathered, bars=(*gathered.bars, bars))
        case QualityReport():
            gathered = replace(gathered, quality=message)
        case StateChanged() | PhaseEntered():
            gathered = replace(gathered, transitions=(*gathered.transitions, message))
        case DayWithoutData():
            gathered = replace(gathered, without_data=(*gathered.without_data, message))
        case DayClosed():
            gathered = replace(gathered, closed=message)
        case _:
            raise ValueError(f"keeper: unexpected {message!r}")
    return replace(state, gathered=gathered), ()


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


def _changed(state: State, session: str, at_ns: int, **fields: object) -> State:
    documents = tuple(
        replace(document, updated_at=at_ns, **fields)  # type: ignore[arg-type]
        if document.session_name == session
        else document
        for document in state.documents
    )
    gathered = replace(state.gathered, changed=state.gathered.changed | {session})
    return replace(state, documents=documents, gathered=gathered)


def _committed(state: State, step: int) -> tuple[State, Effects]:
    """The step's commit; a step that brought nothing to keep needs none."""
    gathered = state.gathered
    if gathered is NOTHING:
        return state, ()
    commit = Commit(
        number=state.commits + 1,
        step=step,
        documents=tuple(d for d in state.documents if d.session_name in gathered.changed),
        signals=gathered.signals,
        bars=gathered.bars,
        quality=gathered.quality,
        transitions=gathered.transitions,
        without_data=gathered.without_data,
        opened=gathered.opened,
        closed=gathered.closed.date if gathered.closed else None,
    )
    return replace(state, commits=commit.number, gathered=NOTHING), (commit,)
