"""Owns the trading day: its phases, its state, and what comes after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Literal

import numpy as np

from openbell.actors import insertion, listening
from openbell.actors.clock import OPEN, OVER, ROLL, SILENCE
from openbell.actors.effects import Actor, Effect, Effects, Publish, Watch
from openbell.market.bars import BarBlock, DayData
from openbell.market.days import EPOCH, MINUTE_NS, MarketTime, TradingDay
from openbell.market.scans import ScanSpec, caught_up, scan_times
from openbell.market.silence import Listening, SilenceRules, begun, judged, usual_before
from openbell.market.windows import (
    SessionSpec,
    Window,
    boundaries,
    holds,
    hours_in_words,
    session_window,
)
from openbell.messages.base import Message
from openbell.messages.control import (
    Arrived,
    Backfilled,
    DayOver,
    Halted,
    Input,
    Loaded,
    LoadFailed,
    LoadTimedOut,
    Missed,
    NotFilled,
    Rang,
    Recover,
    Roll,
    RollFailed,
    Start,
    SymbolsChanged,
    SymbolsRefused,
)
from openbell.messages.data import Load
from openbell.messages.insertion import SymbolsInserted, SymbolsRemoved
from openbell.messages.scan import ScanResult
from openbell.messages.session import (
    AwaitLoad,
    DayCleared,
    DayClosed,
    DayOpened,
    DayState,
    DayWithoutData,
    Noticed,
    Phase,
    PhaseEntered,
    RowsMissed,
    RunEnded,
    StateChanged,
)
from openbell.messages.time import Alarm, Grant

NAME = "day"

START = "start"
"""The alarm for the next start of a session's window."""

ROLL_AHEAD_NS = 5 * MINUTE_NS
"""How long before its open a day is prepared at the latest, if the one before has closed by then."""

ROWS_AWAITED = "the close; its rows have not come yet"
SILENT = "nothing newer has come from the feed for as long as day.timeout_seconds says"


@dataclass(frozen=True, slots=True)
class Wall:
    """What of a day's course goes by the host's clock."""

    silence: SilenceRules
    """How long silence is at least before anything follows from it."""
    roll_delay_ns: int
    """From the close to the roll."""
    auto_roll: bool
    """Whether the next day follows by itself."""


@dataclass(frozen=True, slots=True)
class Settings:
    sessions: tuple[SessionSpec, ...]
    interval_ns: int | None
    """Bar length of the source, None for ticks."""
    clock_step: Literal["day", "boundary", "bar"]
    """Where steps end: at the close only, at sessions' starts and ends too, or at every bar."""
    days_ahead: int
    """How many days are read while one is running."""
    fed: bool = False
    """Whether a day's rows come from a feed; it opens with the first of them."""
    wall: Wall | None = None
    """Where the host's clock opens, closes and rolls days; None: rows alone do, or stored data."""
    scans: tuple[ScanSpec, ...] = ()
    """Scans, at whose times steps end."""
    scans_together: bool = False
    """Whether a day's scans may all be run at the time of the last: each looks at the day as it was
    at its own, nobody sees before what follows from it, and none adds symbols."""


@dataclass(frozen=True, slots=True)
class State:
    plan: tuple[TradingDay, ...] = ()
    position: int = -1
    """Which day of the plan it is."""
    state: DayState = "NOT_STARTED"
    phase: Phase | None = None
    live_from_ns: MarketTime = EPOCH
    """Where inside the first day the run began, 0 at its open."""
    without_rows: bool = False
    """Whether the day had to open before its rows were there."""
    listening: Listening | None = None
    """What the day's rows tell of silence, where the host's clock moves time."""
    symbols: tuple[str, ...] = ()
    """The open day's register."""
    halted: frozenset[str] = frozenset()
    """Symbols in which trading is halted; over several days, if nobody says that it goes on."""
    inserted: tuple[str, ...] = ()
    """The open day's register, where symbols have come into it."""
    removed: tuple[str, ...] = ()
    """Those of it that are not watched any more."""
    followed: tuple[date, tuple[str, ...]] | None = None
    """As of `DayOpened`."""
    followed_today: tuple[date, tuple[str, ...]] | None = None
    """The same of the open day, where symbols have come into it, or gone."""

    @property
    def day(self) -> TradingDay:
        return self.plan[self.position]

    @property
    def is_over(self) -> bool:
        """Whether the day has closed and is complete, or had no row."""
        return self.phase == "end" or self.state == "ENDED"


def day(settings: Settings) -> Actor[State]:
    """The trading day, one after another through the plan that Start brings."""
    return Actor(NAME, State(), partial(update, settings), frozenset({Grant}))


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case Grant() as grant:
            said: list[Message] = []
            asked: list[Effect] = []
            for entered in grant.inputs:
                match entered:
                    case Start(days=days, live_from_ns=live_from):
                        state = _begun(settings, State(plan=days, live_from_ns=live_from), said)
                    case Roll(day=following, instead_of=date) if date is not None:
                        if following is not None and _waits_for_its_open(state, date):
                            said.append(_other_hours(state, grant, following))
                            state = _begun(settings, _followed_by(state, following), said)
                    case Roll(day=following):
                        if settings.wall is not None:
                            state = _followed_by(state, following)
                        state = _begun(settings, state, said)
                    case RollFailed(reason=reason):
                        state = _failed(state, grant, reason, said)
                    case Rang(name=name) if settings.wall is not None:
                        if name == SILENCE:
                            state = _looked(settings.wall, state, grant, entered, said, asked)
                        elif name == START and state.phase == "stream":
                            _await_start(settings, state, entered.at_ns, said)
                    case Arrived(date=date) if date == state.day.date and settings.wall is not None:
                        state = _heard(settings.wall, state, entered, said, asked)
                    case Missed() if settings.interval_ns is None and state.phase == "stream":
                        said.append(RowsMissed(**dict(entered)))
                    case Backfilled(date=date) if date == state.day.date:
                        said += _no_more_missed(entered)
                    case SymbolsChanged():
                        state = _other_symbols(settings, state, grant, entered, said)
                        asked.append(Watch(entered))
                    case SymbolsRefused():
                        said.append(insertion.refused(entered, state, grant.until_ns))
                    case ScanResult(date=date) if date == state.day.date:
                        said.append(entered)
                    case Halted():
                        state = _halted(settings.wall, state, entered, asked)
                    case Loaded(date=date) if date == state.day.date and state.phase != "end":
                        state = _loaded(settings, state, grant, entered, said)
                    case NotFilled(date=date) if date == state.day.date:
                        said += _lacking(entered, grant)
                    case DayOver(date=date) if _never_opens(state, date):
                        state = _without_data(settings, state, entered.outside_hours, said)
                    case LoadTimedOut(date=date, data=data) if date == state.day.date:
                        state = replace(state, without_rows=True)
                        state = _opened(settings, state, data, state.live_from_ns, said)
                    case Recover() if state.state == "ERROR" and state.phase == "end":
                        why = "somebody asked for it"
                        state = _state(state, "POST_MARKET", grant.until_ns, why, said)
                        said.append(Alarm(name=ROLL, at_ns=state.day.close_ns))
                    case Recover() if state.state == "ERROR":
                        again = replace(state, position=state.position - 1)
                        state = _begun(settings, again, said)
                    case LoadFailed(date=date, reason=reason) if date == state.day.date:
                        state = _failed(state, grant, f"{date}: {reason}", said)
                    case _:
                        pass  # rows of a day that is over
            # Rows that come after the close have the day opened again, in a grant that ends there.
            if state.phase == "stream" and grant.from_ns < state.day.close_ns <= grant.until_ns:
                state = _ended(settings, state, said)
            return state, (*(Publish(m) for m in said), *asked)
        case _:
            raise ValueError(f"day: unexpected {message!r}")


def _no_more_missed(filled: Backfilled) -> list[Message]:
    return [
        RowsMissed(
            from_ns=filled.from_ns, until_ns=filled.until_ns, symbols=filled.symbols, filled=True
        )
    ]


def _begun(settings: Settings, state: State, said: list[Message]) -> State:
    """Phases 0 to 3 of the next day of the plan, or the end of the run."""
    position = state.position + 1
    if state.state == "POST_MARKET" and state.phase == "end":
        state = _state(state, "ENDED", state.day.close_ns, "the next day is due", said)
    if position >= len(state.plan):
        said.append(RunEnded())
        return state
    first = position == 0
    state = replace(
        state,
        position=position,
        without_rows=False,
        listening=None,
        symbols=(),
        inserted=(),
        removed=(),
        followed_today=None,
    )
    if not first:
        state = replace(state, live_from_ns=EPOCH)
        state = _phase(state, "clear", said)
        said.append(DayCleared(date=state.day.date))
        state = _state(state, "NOT_STARTED", state.day.open_ns, "the next trading day", said)
    state = _phase(state, "initialise", said)
    state = _state(state, "PRE_MARKET", state.day.open_ns, "the day is being prepared", said)
    state = _phase(state, "history", said)
    state = _phase(state, "load", said)
    said.append(Load(days=state.plan[position : position + 1 + settings.days_ahead]))
    said.append(AwaitLoad(date=state.day.date))
    if settings.wall is not None:
        said.append(Alarm(name=OPEN, at_ns=state.day.open_ns))
        said.append(Alarm(name=OVER, at_ns=state.day.close_ns))
    return state


def _followed_by(state: State, following: TradingDay | None) -> State:
    """The day that comes after this one is what the calendar says when it is due."""
    so_far = state.plan[: state.position + 1]
    if following is None:
        return replace(state, plan=so_far)
    later = (day for day in state.plan if day.date > following.date)
    return replace(state, plan=(*so_far, following, *later))


def _loaded(
    settings: Settings, state: State, grant: Grant, loaded: Loaded, said: list[Message]
) -> State:
    """Phases 4 and 5; a day that is known to have no row inside its hours has neither."""
    today, data = state.day, loaded.data
    late = state.phase == "stream"
    if late and not state.without_rows:
        return state
    if settings.fed:
        if not any(_opens(entered, today) for entered in grant.inputs):
            return state  # the day is over without a row, as the grant says too
    elif not data.has_rows:
        return _without_data(settings, state, int(data.counts.outside_hours.sum()), said)
    # What comes late is read in as if it had just happened, up to now without waiting.
    live_from_ns = grant.until_ns if late else state.live_from_ns
    state = replace(state, without_rows=False)
    if settings.wall is not None and not late:
        state = _listens(settings.wall, state, data.symbols, loaded, live_from_ns)
    state = _opened(settings, state, data, live_from_ns, said, again=late)
    if loaded.history is not None:
        said.append(loaded.history)
    return state


def _opens(entered: Input, today: TradingDay) -> bool:
    """Whether a fed day opens with this: its first rows, or its open by the host's clock."""
    match entered:
        case Arrived(date=date):
            return date == today.date
        case Rang(name=name):
            return name == OPEN
        case Backfilled(date=date, rows=rows):
            return date == today.date and len(rows) > 0
        case _:
            return False


def _never_opens(state: State, of: date) -> bool:
    return of == state.day.date and state.phase == "load" and not state.is_over


def _without_data(
    settings: Settings, state: State, outside_hours: int, said: list[Message]
) -> State:
    """The end of a day that has no row inside its hours, open by now or not."""
    today, why = state.day, "no row inside the hours"
    if state.phase == "stream":
        state = _state(state, "POST_MARKET", today.close_ns, why, said)
        state = _phase(replace(state, without_rows=False), "end", said)
    said.append(DayWithoutData(date=today.date, outside_hours=outside_hours))
    state = _state(state, "ENDED", today.close_ns, why, said)
    _let_roll(settings, state, said)
    return state


def _opened(
    settings: Settings,
    state: State,
    data: DayData,
    live_from_ns: MarketTime,
    said: list[Message],
    *,
    again: bool = False,
) -> State:
    today = state.day
    slot_ns = settings.interval_ns or MINUTE_NS
    found = [session_window(today, spec, slot_ns) for spec in settings.sessions]
    windows = [window for window in found if isinstance(window, Window)]
    past_ns = EPOCH if again else live_from_ns
    scans = tuple(
        at
        for spec in settings.scans
        for at in caught_up(spec, scan_times(today, spec)[0], past_ns)[0]
    )
    ends = scans
    if settings.scans_together and isinstance(data.rows, BarBlock):
        ends = (max(scans),) if scans and slot_ns >= MINUTE_NS else scans
    instants = boundaries(today, windows, settings.clock_step, slot_ns, ends)
    if today.open_ns < live_from_ns < today.close_ns and not settings.fed:
        instants = tuple(sorted({*instants, live_from_ns}))
    if not again:
        state = _phase(state, "activate", said)
    said.append(
        DayOpened(
            day=today,
            symbols=data.symbols,
            kind="ticks" if settings.interval_ns is None else "bars",
            interval_ns=settings.interval_ns,
            boundaries=instants,
            holds=holds(today, windows, scans),
            counts=data.counts,
            bad=data.bad,
            live_from_ns=live_from_ns,
            again=again,
            awaits_rows=state.without_rows,
            may_be_filled=settings.wall is not None,
            followed=state.followed,
        )
    )
    if again:
        return state
    state = _state(state, "ACTIVE", max(today.open_ns, live_from_ns), "the open", said)
    if settings.wall is not None:
        _await_start(settings, state, today.open_ns, said)
        at_ns = None if state.listening is None else state.listening.look_ns
        said.append(Alarm(name=SILENCE, at_ns=at_ns))
    return _phase(state, "stream", said)


def _await_start(
    settings: Settings, state: State, after_ns: MarketTime, said: list[Message]
) -> None:
    """Have the clock ring when the next window begins."""
    slot_ns = settings.interval_ns or MINUTE_NS
    found = (session_window(state.day, spec, slot_ns) for spec in settings.sessions)
    starts = (window.start_ns for window in found if isinstance(window, Window))
    following = min((start for start in starts if start > after_ns), default=None)
    if following is not None:
        said.append(Alarm(name=START, at_ns=MarketTime(following)))


def _listens(
    wall: Wall,
    state: State,
    symbols: tuple[str, ...],
    loaded: Loaded,
    live_from_ns: MarketTime,
) -> State:
    """From the open on, or from where the run began, silence counts."""
    before = None
    if loaded.history is not None and loaded.history.history.days:
        before = usual_before(loaded.history.history, symbols, wall.silence.interval_ns)
    since_ns = max(live_from_ns, state.day.open_ns)
    heard = begun(len(symbols), before, since_ns)
    halted = np.array([symbol in state.halted for symbol in symbols], np.bool_)
    heard, _ = judged(replace(heard, halted=halted), wall.silence, state.day, since_ns)
    return replace(state, listening=heard, symbols=symbols)


def _heard(
    wall: Wall, state: State, arrived: Arrived, said: list[Message], asked: list[Effect]
) -> State:
    if state.phase != "stream":
        return state
    if state.listening is None:  # the day was opened by a program that knew of no such thing
        symbols = arrived.rows.symbols
        before = begun(len(symbols), None, arrived.host_ns)
        state = replace(state, listening=before, symbols=symbols)
    assert state.listening is not None
    timed_out = state.state == "TIMEOUT"
    heard, back, told = listening.with_rows(
        wall.silence, state.listening, arrived.rows, arrived.host_ns, timed_out=timed_out
    )
    asked += told
    state = replace(state, listening=heard)
    if back and timed_out:
        state = _state(state, "ACTIVE", arrived.host_ns, "rows came again", said)
    return state


def _looked(
    wall: Wall,
    state: State,
    grant: Grant,
    rang: Rang,
    said: list[Message],
    asked: list[Effect],
) -> State:
    """Whether the feed, or some symbol, has been silent for too long."""
    if state.phase != "stream" or state.listening is None:
        return state
    heard, timed_out, told = listening.looked(
        wall.silence, state.listening, state.day, state.symbols, grant.step, rang
    )
    asked += told
    if timed_out and state.state == "ACTIVE":
        state = _state(state, "TIMEOUT", rang.at_ns, SILENT, said)
    return replace(state, listening=heard)


def _other_symbols(
    settings: Settings,
    state: State,
    grant: Grant,
    change: SymbolsChanged,
    said: list[Message],
) -> State:
    """Symbols come into the open day, or go from it; else into the days that follow, or from them."""
    at_ns = grant.until_ns
    said += insertion.noticed(change, state, at_ns)
    state = replace(state, followed=(change.since, change.followed))
    if state.phase != "stream" or change.date != state.day.date:
        return state
    removed = tuple(sorted({*state.removed, *change.removed} - {*change.added}))
    today = (state.day.date, change.followed_today)
    state = replace(state, removed=removed, followed_today=today)
    if change.removed:
        said.append(SymbolsRemoved(symbols=change.removed, at_ns=at_ns))
    if change.added and change.data is not None:
        opened = insertion.alone(
            change,
            state.day,
            settings.interval_ns,
            today,
            may_be_filled=settings.wall is not None,
        )
        said.append(
            SymbolsInserted(
                opened=opened,
                symbols=change.symbols,
                added=change.added,
                followed=today,
                until_ns=at_ns,
                data=change.data,
                history=change.history,
                lacking=bool(change.lacking),
            )
        )
        state = replace(state, inserted=change.symbols)
    if state.listening is not None:
        heard = insertion.listened(state.listening, state.symbols, change, at_ns)
        state = replace(state, listening=heard, symbols=change.symbols)
    return state


def _halted(wall: Wall | None, state: State, halt: Halted, asked: list[Effect]) -> State:
    names = frozenset(halt.symbols)
    state = replace(state, halted=state.halted | names if halt.on else state.halted - names)
    if wall is None or state.listening is None or state.phase != "stream":
        return state
    heard, told = listening.explained(
        wall.silence,
        state.listening,
        state.day,
        state.symbols,
        halt.symbols,
        halt.host_ns,
        on=halt.on,
        why=halt.why,
    )
    asked += told
    return replace(state, listening=heard)


def _waits_for_its_open(state: State, of: date) -> bool:
    return state.phase == "load" and state.state == "PRE_MARKET" and state.day.date == of


def _other_hours(state: State, grant: Grant, now: TradingDay) -> Noticed:
    today = state.day.date
    hours = f"{now.date}, {hours_in_words(now)}"
    return Noticed(
        kind="calendar.changed",
        at_ns=grant.until_ns,
        why=f"{today} waited for its open; by the calendar of now it is {hours}",
        date=today,
    )


def _lacking(filled: NotFilled, grant: Grant) -> list[Message]:
    """That rows of history are not there; a gap was told of when the feed did."""
    if filled.gap and filled.comes:
        return []
    kind: Literal["backfill.late", "backfill.failed"]
    kind = "backfill.late" if filled.comes else "backfill.failed"
    why = f"{filled.date}: {filled.why}; the day goes on without"
    noticed = Noticed(
        kind=kind,
        at_ns=grant.until_ns,
        why=why,
        date=filled.date,
        symbols=filled.symbols or (),
        facts={"from_ns": filled.from_ns, "until_ns": filled.until_ns},
    )
    return [noticed]


def _failed(state: State, grant: Grant, reason: str, said: list[Message]) -> State:
    """Nothing can follow: what there is stays as it is."""
    said.append(RunEnded(error=reason))
    return _state(state, "ERROR", grant.until_ns, reason, said)


def _let_roll(settings: Settings, state: State, said: list[Message]) -> None:
    """Have the clock ring when the next day is due: after the delay, but in time for its open."""
    if settings.wall is None or not settings.wall.auto_roll:
        return
    at_ns = state.day.close_ns + settings.wall.roll_delay_ns
    following = next((day for day in state.plan if day.date > state.day.date), None)
    if following is not None:
        at_ns = min(at_ns, max(following.open_ns - ROLL_AHEAD_NS, state.day.close_ns))
    said.append(Alarm(name=ROLL, at_ns=MarketTime(at_ns)))


def _ended(settings: Settings, state: State, said: list[Message]) -> State:
    """Phase 6: the close was reached, and the day's rows have come."""
    today = state.day
    if state.without_rows:
        said.append(AwaitLoad(date=today.date, late=True))
        return _state(state, "POST_MARKET", today.close_ns, ROWS_AWAITED, said)
    state = _state(state, "POST_MARKET", today.close_ns, "the close", said)
    state = _phase(state, "end", said)
    said.append(DayClosed(date=today.date))
    if settings.wall is not None:  # it stays so until the next one is due
        said.append(Alarm(name=SILENCE, at_ns=None))
        _let_roll(settings, state, said)
        return state
    return _state(state, "ENDED", today.close_ns, "the day is complete", said)


def _phase(state: State, phase: Phase, said: list[Message]) -> State:
    said.append(PhaseEntered(date=state.day.date, phase=phase))
    return replace(state, phase=phase)


def _state(
    state: State, after: DayState, at_ns: MarketTime, why: str, said: list[Message]
) -> State:
    if after != state.state:
        said.append(
            StateChanged(date=state.day.date, before=state.state, after=after, at_ns=at_ns, why=why)
        )
    return replace(state, state=after)
