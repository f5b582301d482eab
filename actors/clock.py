"""Owns market time: grants one step after another, and lets nothing else in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial

from openbell.actors.effects import (
    Actor,
    Anchor,
    Await,
    Effects,
    Fill,
    Finish,
    GoOn,
    Halt,
    Insert,
    NextDay,
    Publish,
    RunScan,
    Settled,
    TooLate,
    WakeAt,
)
from openbell.actors.states import changed
from openbell.market.days import EPOCH, SECOND_NS, MarketTime, TradingDay
from openbell.market.instruments import on
from openbell.market.watermark import Alarms, WallRules, by_rows, by_timer, set_for, without
from openbell.market.widening import counts_on, rows_on
from openbell.messages.base import Message
from openbell.messages.control import (
    AddSymbols,
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
    Pause,
    Prepared,
    Rang,
    Recover,
    RemoveSymbols,
    Resume,
    Roll,
    RollFailed,
    Start,
    StepOnce,
    SymbolsChanged,
    SymbolsRefused,
    Woke,
)
from openbell.messages.scan import ScanDue, ScanResult
from openbell.messages.session import AwaitLoad, DayOpened, DayWithoutData, RunEnded
from openbell.messages.time import Alarm, Grant, Reached

NAME = "clock"

OPEN, OVER, ROLL, SILENCE = "open", "over", "roll", "silence"
"""Alarms that wait for more than their instant: for the day's load, for rows of a day that is past,
for the calendar, for all that came to be handed over."""

HEARS: frozenset[type[Message]] = frozenset(
    {
        AddSymbols,
        Alarm,
        Arrived,
        AwaitLoad,
        Backfilled,
        DayOpened,
        DayOver,
        DayWithoutData,
        Halted,
        Loaded,
        LoadFailed,
        LoadTimedOut,
        Missed,
        NotFilled,
        Pause,
        Prepared,
        Reached,
        Recover,
        RemoveSymbols,
        Resume,
        Roll,
        RollFailed,
        RunEnded,
        ScanDue,
        ScanResult,
        Start,
        StepOnce,
        SymbolsChanged,
        SymbolsRefused,
        Woke,
    }
)

LOADS = (Loaded, LoadTimedOut, LoadFailed)
FEED = (Arrived, DayOver)
FILLS = (Backfilled, NotFilled)
CHANGES = (SymbolsChanged, SymbolsRefused)

ANSWERS_KEPT_MAX = 100
"""So many answers are kept for who asks again after a restart."""

LATE_NS = SECOND_NS
"""A day that opens later than this after its open, and after what rows may be late, is one that the
run came to when it was under way."""

Span = tuple[MarketTime, MarketTime, bool, tuple[str, ...] | None]
"""From when until when rows of history are lacking, whether as a gap of a feed, and whose."""


@dataclass(frozen=True, slots=True)
class Settings:
    speakers: frozenset[str]
    """Who speaks to the clock; a step is over when all of them have reached."""
    paced: bool = False
    """Whether wall time decides when a boundary is crossed; else data alone does."""
    lag_ns: int | None = None
    """How far the watermark stays behind the newest row of a feed; None: there is none, and
    boundaries follow each other at once."""
    wall: WallRules | None = None
    """How the host's clock crosses boundaries, beside a feed's rows; None: it doesn't."""
    fills_ns: int | None = None
    """How long after its close a day is still filled from history, by the host's clock; None: there
    is none."""
    loses: bool = False
    """Whether what a feed brings while nobody listens is gone: history is asked for it."""
    goes_on: frozenset[str] = frozenset()
    """Scans with whose answer time goes on in the same step, up to the next boundary."""


@dataclass(frozen=True)
class State:
    """Between two grants, or in the middle of a step."""

    step: int = 0
    now_ns: MarketTime = EPOCH
    """Market time that the last grant reached."""
    awaited: frozenset[str] = frozenset()
    """Who has not reached since the last grant, of those who speak to the clock."""
    day: TradingDay | None = None
    live_from_ns: MarketTime = EPOCH
    """Up to here boundaries are crossed without waiting: they are past."""
    agenda: tuple[MarketTime, ...] = ()
    """Boundaries of the day still to come, ascending."""
    awake_ns: MarketTime = EPOCH
    """How far wall time has come, as market time; where the host's clock moves time, that clock."""
    asked_ns: MarketTime = EPOCH
    """The boundary that a WakeAt was last asked for."""
    tokens: frozenset[str] = frozenset()
    """Who holds the clock; it grants when nobody does."""
    steps_allowed: int = 0
    """Steps to grant although the clock is held."""
    inputs: tuple[Input, ...] = ()
    """What came in from outside and waits for the next grant."""
    awaiting: date | None = None
    """The date without whose rows time can't go on."""
    waiting: bool = False
    """Whether the runtime was asked to say when they are there."""
    ended: RunEnded | None = None
    granted: Grant | None = None
    """The last grant, until its step is settled."""
    again: tuple[Grant, ...] = ()
    """Grants from before a restart that are still to be given again."""
    preparing: date | None = None
    """The last day that is prepared, or was: rows of a feed are of it, or wait for it to be over."""
    known_ns: MarketTime = EPOCH
    """The latest end (of ticks: time) of that day's rows that came from a feed."""
    over: date | None = None
    """The last day of which no more rows are waited for."""
    position: int = 0
    """How much of the feed was granted."""
    began_at: int = 0
    """How much of it was when that day came to be prepared."""
    began_on: tuple[int, str] = (0, "")
    """`read_on` then."""
    read_on: tuple[int, str] = (0, "")
    """From where the feed can be asked again for what follows."""
    alarms: Alarms = ()
    """What is waited for by the host's clock."""
    complete_ns: MarketTime = EPOCH
    """All rows that had come by then, by the host's clock, have been handed over."""
    rolling: bool = False
    """Whether the runtime was asked which day follows."""
    holds_back: bool = False
    """Whether rows may wait that nothing is in the way of any more: a boundary was crossed by the
    host's clock, or the day opened, after they had come."""
    lacks: tuple[Span, ...] = ()
    """What history was asked for, of the day that is open, and has not come."""
    asked_fill: bool = False
    """Whether this process asked for what came of the day before it."""
    awaits_fill: tuple[Span, ...] = ()
    """What of history nothing goes on without."""
    inserting: tuple[AddSymbols | RemoveSymbols, ...] = ()
    """Whose symbols have to come, or go, before anything goes on: one after another."""
    answered: tuple[tuple[str, str], ...] = ()
    """What was asked of symbols last, by its name, and why it was refused, if it was."""
    register: tuple[str, ...] = ()
    """Of the day that is prepared or open, where a feed brings rows; empty: not known."""
    loads_for: tuple[tuple[date, tuple[str, ...]], ...] = field(
        default=(), metadata={"snapshot": False}
    )
    """What days are read for, each from a date on, where it is not what the process began with."""
    asked_symbols: str = field(default="", metadata={"snapshot": False})
    """The request of `inserting` for whose symbols this process has asked the runtime."""
    scans: tuple[ScanDue, ...] = ()
    """Scans that are due and have not come to anything yet: nothing goes on without."""
    asked_scan: str = field(default="", metadata={"snapshot": False})
    """The token of the one that the runtime was asked for last."""
    restarted: bool = field(default=False, metadata={"snapshot": False})
    """Whether a process has just gone on from where another had come."""
    woken: bool = field(default=False, metadata={"snapshot": False})
    """Whether this process has told what time it is."""
    begun: bool = field(default=False, metadata={"snapshot": False})
    """Whether it was said how to begin or go on; before that a command must not make it grant."""


def clock(settings: Settings) -> Actor[State]:
    """The clock; its market time begins with the first trading day's open."""
    return Actor(NAME, State(), partial(update, settings), HEARS)


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case Start(days=days):
            first = days[0].open_ns if days else EPOCH
            state = changed(state, now_ns=first, inputs=(*state.inputs, message), begun=True)
        case Loaded(date=of, data=data) if _is_stale(state, of, data.symbols):
            return state, ()
        case Loaded() | LoadTimedOut() | LoadFailed():
            state = changed(state, inputs=(*state.inputs, message))
            # Not rows of a day before, come late; and a feed's day is awaited until it is granted.
            if message.date == state.awaiting and settings.lag_ns is None:
                state = changed(state, awaiting=None, waiting=False)
        case Arrived(host_ns=host):
            awake = max(state.awake_ns, host)
            state = changed(state, awake_ns=awake, inputs=(*state.inputs, message))
        case DayOver() | Backfilled() | NotFilled():
            state = changed(state, inputs=(*state.inputs, message))
        case SymbolsChanged(request=request) | SymbolsRefused(request=request):
            # One that comes when the other has, as after its deadline, is of nobody's any more.
            if any(of.request == request for of in state.inserting) and not any(
                isinstance(i, CHANGES) and i.request == request for i in state.inputs
            ):
                state = changed(state, inputs=(*state.inputs, message))
        case ScanDue():
            return changed(state, scans=(*state.scans, message)), ()
        case ScanResult() if any(message.answers(due) for due in _unanswered(state)):
            state = changed(state, inputs=(*state.inputs, message))
        case ScanResult():  # of a day that was begun anew meanwhile
            return state, ()
        case (
            Recover() | Roll() | RollFailed() | Halted() | Missed()
        ):  # a Recover may come before what failed is given again
            state = changed(state, inputs=(*state.inputs, message))
        case AddSymbols(request=request) | RemoveSymbols(request=request):
            # Who does not know whether it was taken in asks again.
            if not _is_known(state, request):
                state = changed(state, inputs=(*state.inputs, message))
        case Alarm(name=name, at_ns=rings):
            return changed(state, alarms=set_for(state.alarms, name, rings)), ()
        case Woke(at_ns=at, complete_ns=complete):
            state = changed(
                state,
                woken=True,
                awake_ns=max(state.awake_ns, at),
                complete_ns=max(state.complete_ns, complete),
            )
        case Pause(token=token):
            halts = settings.paced and not _halted_by(state)
            return changed(state, tokens=state.tokens | {token}), (Halt(),) if halts else ()
        case Resume(token=token) if token in state.tokens:
            return _resumed(settings, changed(state, tokens=state.tokens - {token}))
        case Resume():
            return state, ()
        case StepOnce():
            state = changed(state, steps_allowed=state.steps_allowed + 1)
        case AwaitLoad(date=day, late=late):
            if not late:  # a day that failed after its open is prepared anew: its boundaries go
                state = changed(
                    state,
                    agenda=(),
                    alarms=(),
                    preparing=day,
                    known_ns=EPOCH,
                    began_at=state.position,
                    began_on=state.read_on,
                    lacks=(),
                    asked_fill=False,
                    awaits_fill=(),
                    register=(),
                    scans=tuple(due for due in state.scans if due.date == day),
                )
            if _brings(state.inputs, day):  # while the step that asks for them was under way
                return state, ()
            return changed(state, awaiting=day, waiting=late), ()
        case DayOpened():
            return _opened(settings, state, message)
        case DayWithoutData():  # it may have opened before that was known
            alarms = without(state.alarms, (OPEN, OVER))
            return changed(state, agenda=(), alarms=alarms), ()
        case RunEnded():
            return changed(state, ended=message), ()
        case Reached(step=step, sender=sender) if step == state.step:
            state = changed(state, awaited=state.awaited - {sender})
            if state.granted is not None and not state.awaited:
                settled = Settled(state.granted, _kept(state))
                state, effects = _granted(settings, changed(state, granted=None))
                return state, (settled, *effects)
            return state, ()
        case Prepared(grants=grants, inputs=inputs):
            again = tuple(g for g in grants if isinstance(g, Grant))
            awaiting = None if _brings(inputs, state.awaiting) else state.awaiting
            inputs = (*state.inputs, *inputs)
            state = changed(
                state,
                again=again,
                inputs=inputs,
                awaiting=awaiting,
                begun=True,
                restarted=settings.wall is not None,
            )
            if not again:
                anchors = _anchors(settings, state)
                state, effects = _granted(settings, state)
                return state, (*anchors, *effects)
        case _:
            raise ValueError(f"clock at step {state.step}: unexpected {message!r}")
    return _granted(settings, state)


def traded_ns(day: TradingDay, at_ns: MarketTime) -> int:
    """Trading time between a day's open and an instant: breaks between segments don't count."""
    return sum(max(0, min(at_ns, segment.close_ns) - segment.open_ns) for segment in day.segments)


def _opened(settings: Settings, state: State, opened: DayOpened) -> tuple[State, Effects]:
    live_from = max(opened.live_from_ns, opened.day.open_ns)
    state = changed(
        state,
        day=opened.day,
        now_ns=opened.day.open_ns,
        agenda=opened.boundaries,
        live_from_ns=live_from,
        asked_ns=EPOCH if settings.wall is None else state.asked_ns,
        alarms=without(state.alarms, (OPEN, OVER)),
        holds_back=settings.wall is not None and state.known_ns > EPOCH,
    )
    # Opened once more, a day goes on by the wall time that runs already.
    if not settings.paced or opened.again:
        return state, ()
    return changed(state, awake_ns=EPOCH), (Anchor(traded_ns(opened.day, live_from)),)


def _resumed(settings: Settings, state: State) -> tuple[State, Effects]:
    """The clock goes on; where it is paced, the time it was held for is not caught up."""
    if _halted_by(state) or not settings.paced:
        return _granted(settings, state)
    over = max(state.now_ns, state.live_from_ns)
    going_on = GoOn(traded_ns(state.day, over) if state.day is not None else 0)
    state, effects = _granted(settings, changed(state, awake_ns=EPOCH, asked_ns=EPOCH))
    return state, (going_on, *effects)


def _granted(settings: Settings, state: State) -> tuple[State, Effects]:
    """The next grant, if the clock may give one."""
    if state.awaited or not state.begun:
        return state, ()
    if state.again:
        return _given_again(settings, state)
    if state.scans and (scanning := _scanned(settings, state)) is not None:
        return scanning
    forced = state.steps_allowed > 0
    if state.inserting:
        return _with_other_symbols(settings, state, forced=forced)
    if state.tokens and not forced:
        return state, ()
    if settings.wall is not None or settings.lag_ns is not None:
        # A feed's rows, and what is loaded, wait for their day and for time; nothing else does.
        others = tuple(i for i in state.inputs if not isinstance(i, (*FEED, *FILLS, Loaded)))
        if others:
            return _grant(settings, state, state.now_ns, others)
        if state.ended is not None:
            return state, (Finish(state.ended.error),)
    if settings.wall is not None:
        return _by_the_wall(settings, state, settings.wall)
    if settings.lag_ns is not None:
        return _fed(settings, state, settings.lag_ns)
    if state.inputs:
        if state.agenda and all(_goes_on(settings, entered) for entered in state.inputs):
            following, *later = state.agenda
            return _grant(settings, changed(state, agenda=tuple(later)), following, state.inputs)
        return _grant(settings, state, state.now_ns, state.inputs)
    if state.ended is not None:
        return state, (Finish(state.ended.error),)
    if state.agenda:
        following = state.agenda[0]
        past = following <= max(state.live_from_ns, state.awake_ns)
        if forced or past or not settings.paced or state.day is None:
            return _grant(settings, changed(state, agenda=state.agenda[1:]), following, ())
        if state.asked_ns == following:
            return state, ()
        wake = WakeAt(following, traded_ns(state.day, following))
        return changed(state, asked_ns=following), (wake,)
    if state.awaiting is None:
        return _grant(settings, state, state.now_ns, (Roll(),))
    return _awaits(state)


def _goes_on(settings: Settings, entered: Input) -> bool:
    return isinstance(entered, ScanResult) and entered.scan in settings.goes_on


def held_by(state: State) -> frozenset[str]:
    """All tokens for which the clock stands."""
    return _halted_by(state) | ({state.asked_scan} - {""})


def _halted_by(state: State) -> frozenset[str]:
    """Those for which wall time does not count either, where it drives market time. What a scan takes
    is caught up."""
    return state.tokens | {token for of in state.inserting for token in tokens_of(of)}


def tokens_of(asked: AddSymbols | RemoveSymbols) -> tuple[str, ...]:
    """What the clock is held by until symbols have come, or gone."""
    what = "insert" if isinstance(asked, AddSymbols) else "remove"
    return tuple(f"{what}:{symbol}" for symbol in asked.symbols)


def _with_other_symbols(settings: Settings, state: State, *, forced: bool) -> tuple[State, Effects]:
    """What was asked for first is asked of the runtime, once a process; its answer is granted."""
    asked = state.inserting[0]
    if state.asked_symbols != asked.request:
        halts: Effects = (Halt(),) if settings.paced and not state.asked_symbols else ()
        return changed(state, asked_symbols=asked.request), (*halts, Insert(asked, _come_to(state)))
    answer = next(
        (i for i in state.inputs if isinstance(i, CHANGES) and i.request == asked.request), None
    )
    if answer is None or (state.tokens and not forced):
        return state, ()
    after, effects = _grant(settings, state, state.now_ns, (answer,))
    if after.inserting:
        return after, effects
    after = changed(after, asked_symbols="")
    if state.tokens or not settings.paced:
        return after, effects
    over = max(state.now_ns, state.live_from_ns)
    going_on = GoOn(traded_ns(state.day, over) if state.day is not None else 0)
    return changed(after, awake_ns=EPOCH, asked_ns=EPOCH), (going_on, *effects)


def _come_to(state: State) -> MarketTime:
    """Up to when rows may have come: those of a feed run ahead of what is crossed."""
    is_open = state.day is not None and state.day.date == state.preparing
    known = MarketTime(state.known_ns + 1) if is_open else EPOCH
    return max(state.now_ns, known)


def _is_known(state: State, request: str) -> bool:
    waits = (i for i in state.inputs if isinstance(i, AddSymbols | RemoveSymbols))
    asked = (*state.inserting, *waits)
    return request in dict(state.answered) or any(of.request == request for of in asked)


def _is_stale(state: State, of: date, symbols: tuple[str, ...]) -> bool:
    """Whether a day was read for symbols that are not those of now."""
    register = on(state.loads_for, of)
    return register is not None and symbols != register


def _on_register(entered: Input, date: date | None, register: tuple[str, ...]) -> Input:
    """Rows that were taken in by who did not know of the day's symbols."""
    if not isinstance(entered, Arrived | Backfilled) or entered.date != date or not register:
        return entered
    was = entered.rows.symbols
    if was == register:
        return entered
    rows, counts = rows_on(entered.rows, register), counts_on(entered.counts, was, register)
    return entered.model_copy(update={"rows": rows, "counts": counts})


def _unanswered(state: State) -> tuple[ScanDue, ...]:
    came = [entered for entered in state.inputs if isinstance(entered, ScanResult)]
    if not came:
        return state.scans
    return tuple(due for due in state.scans if not any(of.answers(due) for of in came))


def _scanned(settings: Settings, state: State) -> tuple[State, Effects] | None:
    """Scans that are due are asked for one after another; nothing else goes on meanwhile, and no
    single step either. None: there are none, or they wait for the days before."""
    loaded = {
        of.date: of
        for of in state.inputs
        if isinstance(of, Loaded) and (settings.lag_ns is not None or of.data.has_rows)
    }
    for due in _unanswered(state):
        before_open = due.at_ns == EPOCH
        if before_open and due.date not in loaded:
            continue
        if state.asked_scan == due.token:
            return state, ()
        ready = loaded[due.date] if before_open else None
        return changed(state, asked_scan=due.token), (RunScan(due, ready),)
    return None


def _awaits(state: State) -> tuple[State, Effects]:
    """The day's load is asked for, once."""
    if state.waiting or state.awaiting is None:
        return state, ()
    return changed(state, waiting=True), (Await(state.awaiting),)


def _fed(settings: Settings, state: State, lag_ns: int) -> tuple[State, Effects]:
    """The next grant where a feed's rows are all that moves time.

    Rows of a day are granted when it is the day that is prepared or open. What comes of a later
    day says that no more rows of this one are waited for.
    """
    today = state.preparing
    came = next((i for i in state.inputs if isinstance(i, FEED)), None)
    if came is not None and today is not None and came.date < today:
        return _passed_over(settings, state, came)  # else who brought it waits for ever
    begun = state.day is not None and state.day.date == today
    if begun and state.agenda:
        return _stepped(settings, state, lag_ns, came)
    if begun or (today is not None and state.over == today):
        if came is not None and came.date == today:
            return _passed_over(settings, state, came)
        return _grant(settings, state, state.now_ns, (Roll(),))
    loaded = tuple(i for i in state.inputs if isinstance(i, Loaded) and i.date == today)
    if not loaded:
        return _awaits(state)
    if came is None or today is None:
        return state, ()
    brought = came if came.date == today else DayOver(date=today)
    return _grant(settings, state, state.now_ns, (*loaded, brought))


def _stepped(
    settings: Settings, state: State, lag_ns: int, came: Arrived | DayOver | None
) -> tuple[State, Effects]:
    """A step of the open day: up to its next boundary, if nothing before that is waited for."""
    today, boundary = state.preparing, state.agenda[0]
    assert today is not None
    inputs: tuple[Input, ...] = ()
    known, over = state.known_ns, state.over == today
    if came is not None and not over:
        brought = came if came.date == today else DayOver(date=today)
        inputs, over = (brought,), isinstance(brought, DayOver)
        if isinstance(brought, Arrived):
            known = _newest(known, brought)
    watermark = max(state.now_ns, MarketTime(known - lag_ns))
    if over or watermark >= boundary:
        state = changed(state, agenda=state.agenda[1:])
        return _grant(settings, state, boundary, inputs)
    if inputs or watermark > state.now_ns:
        return _grant(settings, state, watermark, inputs)
    return state, ()


def _by_the_wall(settings: Settings, state: State, wall: WallRules) -> tuple[State, Effects]:
    """The next grant where the host's clock moves time, and a feed's rows beside it."""
    today = state.preparing
    if today is None:
        return state, ()
    came = next((i for i in state.inputs if isinstance(i, FEED)), None)
    begun = state.day is not None and state.day.date == today
    closed = not state.agenda if begun else state.over == today
    stale = tuple(
        i
        for i in state.inputs
        if isinstance(i, FILLS) and (i.date < today or (i.date == today and closed))
    )
    if stale:
        after, effects = _by_the_wall(settings, _without(state, stale), wall)
        return after, (*(TooLate(i) for i in stale if isinstance(i, Backfilled)), *effects)
    if came is not None and (came.date < today or (came.date == today and closed)):
        return _passed_over(settings, state, came)
    if state.restarted:
        # A day that does not roll by itself does when the run is started again.
        rolls = closed and all(name != ROLL for _, name in state.alarms)
        alarms = set_for(state.alarms, ROLL, state.now_ns) if rolls else state.alarms
        state = changed(state, restarted=False, alarms=alarms)
        if settings.fills_ns is not None and begun and not closed:
            return _asks_again(settings, state, wall)
    if begun and not closed:
        return _walled(settings, state, wall, came)
    if closed:
        rolls = any(name == ROLL and at <= state.awake_ns for at, name in state.alarms)
        if rolls and not state.rolling:
            return changed(state, rolling=True), (NextDay(today),)
        return _waits(state) if not rolls else (state, ())
    return _to_be_opened(settings, state, wall, today, came)


def _passed_over(
    settings: Settings, state: State, came: Arrived | DayOver
) -> tuple[State, Effects]:
    """What came of a day that is over: how far the feed has come is noted, and no more."""
    if isinstance(came, DayOver):
        return _grant(settings, state, state.now_ns, (came,))
    done = DayOver(date=came.date, position=came.position, read_on=came.read_on)
    after, effects = _grant(settings, _without(state, (came,)), state.now_ns, (done,))
    return after, (TooLate(came), *effects)


def _to_be_opened(
    settings: Settings, state: State, wall: WallRules, today: date, came: Arrived | DayOver | None
) -> tuple[State, Effects]:
    """A day that is prepared opens at its open, or with its first row; past and without one, it is
    over. Rows of a later day say that none of it follow."""
    loaded = tuple(i for i in state.inputs if isinstance(i, Loaded) and i.date == today)
    if not loaded:
        return _awaits(state)
    due = {name: at for at, name in state.alarms if at <= state.awake_ns}
    if not state.asked_fill and _lacks_its_beginning(settings, state, wall, due):
        until = MarketTime(min(state.awake_ns, due.get(OVER, state.awake_ns)))
        return _asks(changed(state, asked_fill=True), today, ((due[OPEN], until, False, None),))
    fills = _answers(state, today)
    if fills is None:
        return state, ()
    ready = (*loaded, *fills)
    if came is not None:
        brought = came if came.date == today else DayOver(date=today)
        return _grant(settings, state, state.now_ns, (*ready, brought))
    has_rows = any(isinstance(i, Backfilled) and len(i.rows) for i in fills)
    if OVER in due and not has_rows:
        if by_timer(state.awake_ns, state.complete_ns, wall, over=False) >= due[OVER]:
            return _grant(settings, state, state.now_ns, (*ready, DayOver(date=today)))
    elif OPEN in due:
        rang = Rang(name=OPEN, at_ns=due[OPEN], host_ns=state.awake_ns)
        return _grant(settings, state, state.now_ns, (*ready, rang))
    return _waits(state)


def _lacks_its_beginning(
    settings: Settings, state: State, wall: WallRules, due: Mapping[str, MarketTime]
) -> bool:
    """Whether a day that is about to open has been under way for a while, and is not long past."""
    if settings.fills_ns is None or OPEN not in due:
        return False
    after_close = state.awake_ns - due.get(OVER, state.awake_ns)
    late_by = state.awake_ns - due[OPEN]
    return late_by > LATE_NS + wall.lateness_ns and after_close < settings.fills_ns


def _asks_again(settings: Settings, state: State, wall: WallRules) -> tuple[State, Effects]:
    """After a restart inside a day: for what had not come, and for what nobody listened to."""
    today, close = state.preparing, state.agenda[-1]
    assert today is not None
    assert settings.fills_ns is not None
    if not state.woken:  # what time it is, is asked for first
        return _waits(changed(state, restarted=True), state.now_ns)
    spans = state.lacks
    if settings.loses and state.awake_ns - close < settings.fills_ns:
        begins = MarketTime(max(state.known_ns + 1, state.now_ns))
        until = min(state.awake_ns, close)
        spans = (*spans, (begins, until, True, None)) if begins < until else spans
    return _asks(state, today, spans) if spans else _by_the_wall(settings, state, wall)


def _asks(state: State, today: date, spans: tuple[Span, ...]) -> tuple[State, Effects]:
    return changed(state, awaits_fill=spans), tuple(
        Fill(today, from_ns, until_ns, gap, whose) for from_ns, until_ns, gap, whose in spans
    )


def _answers(state: State, today: date) -> tuple[Backfilled | NotFilled, ...] | None:
    """What has come of history; None: what nothing goes on without is not all there."""
    came = tuple(i for i in state.inputs if isinstance(i, FILLS) and i.date == today)
    answered = {_span(i) for i in came}
    return came if answered.issuperset(state.awaits_fill) else None


def _span(of: Backfilled | NotFilled) -> Span:
    return of.from_ns, of.until_ns, of.gap, of.symbols


def _walled(
    settings: Settings, state: State, wall: WallRules, came: Arrived | DayOver | None
) -> tuple[State, Effects]:
    """A step of the open day: rows as they come, alarms that are due, boundaries one by one."""
    today, boundary = state.preparing, state.agenda[0]
    assert today is not None
    assert settings.lag_ns is not None
    known, over = state.known_ns, state.over == today
    if came is not None and over and came.date == today:
        return _passed_over(settings, state, came)
    fills = _answers(state, today)
    if fills is None:
        return state, ()
    state, fills = _merged(state, fills)
    inputs: tuple[Input, ...] = fills
    for filled in fills:
        if isinstance(filled, Backfilled) and not filled.late:
            known = _newest(known, filled)
    if came is not None and not over:
        brought = came if came.date == today else DayOver(date=today)
        inputs, over = (*inputs, brought), isinstance(brought, DayOver)
        if isinstance(brought, Arrived):
            known = _newest(known, brought)
    host = state.awake_ns
    inputs = (
        *inputs,
        *(
            Rang(name=name, at_ns=at, host_ns=host)
            for at, name in state.alarms
            if at <= (state.complete_ns if name == SILENCE else host)
        ),
    )
    rows = MarketTime(max(state.now_ns, by_rows(known, host, settings.lag_ns, wall)))
    if max(rows, by_timer(host, state.complete_ns, wall, over=over)) >= boundary:
        state, effects = _grant(settings, changed(state, agenda=state.agenda[1:]), boundary, inputs)
        return changed(state, holds_back=known >= boundary), effects
    if inputs or rows > state.now_ns or state.holds_back:
        return _grant(settings, state, rows, inputs)
    return _waits(state, MarketTime(boundary + (0 if over else wall.lateness_ns)))


def _merged(
    state: State, fills: tuple[Backfilled | NotFilled, ...]
) -> tuple[State, tuple[Backfilled | NotFilled, ...]]:
    """Rows of a gap that were waited for follow what came before it; all others come late."""
    if not fills:
        return state, fills
    marked = tuple(
        i.model_copy(update={"late": not (i.gap and _span(i) in state.awaits_fill)})
        if isinstance(i, Backfilled)
        else i
        for i in fills
    )
    return _without(state, fills), marked


def _waits(state: State, boundary_ns: MarketTime | None = None) -> tuple[State, Effects]:
    """Nothing can be granted before rows come, or the host's clock comes to what is next."""
    instants = [at for at, _ in state.alarms]
    following = min([*instants, *([] if boundary_ns is None else [boundary_ns])], default=EPOCH)
    if following == state.asked_ns:
        return state, ()
    return changed(state, asked_ns=following), (WakeAt(following),)


def _newest(known_ns: MarketTime, came: Arrived | Backfilled) -> MarketTime:
    ends = came.rows.ends
    return max(known_ns, MarketTime(int(ends.max()))) if len(ends) else known_ns


def _without(state: State, inputs: tuple[Input, ...]) -> State:
    left = tuple(i for i in state.inputs if not any(i is gone for gone in inputs))
    return changed(state, inputs=left)


def _noted(state: State, inputs: tuple[Input, ...], *, fed: bool) -> State:
    """What a grant tells of the feed, also when it is given again."""
    for entered in inputs:
        match entered:
            case Arrived(position=position, read_on=place, host_ns=host):
                state = changed(
                    state,
                    awake_ns=max(state.awake_ns, host),
                    known_ns=_newest(state.known_ns, entered),
                    position=max(state.position, position),
                    read_on=max(state.read_on, place),
                )
            case DayOver(date=over, position=position, read_on=place):
                state = changed(
                    state,
                    over=over if state.over is None else max(state.over, over),
                    position=max(state.position, position),
                    read_on=max(state.read_on, place),
                )
            case Backfilled(late=late):
                known = state.known_ns if late else _newest(state.known_ns, entered)
                state = _filled(changed(state, known_ns=known), entered)
            case NotFilled():
                span = _span(entered)
                state = _filled(state, entered)
                state = changed(state, lacks=(*state.lacks, span))
            case Loaded(date=loaded, data=data) if loaded == state.awaiting:
                register = data.symbols if fed else ()
                state = changed(state, awaiting=None, waiting=False, register=register)
            case AddSymbols(request=request) | RemoveSymbols(request=request):
                others = tuple(
                    i
                    for i in state.inputs
                    if not (isinstance(i, AddSymbols | RemoveSymbols) and i.request == request)
                )
                state = changed(state, inserting=(*state.inserting, entered), inputs=others)
            case SymbolsRefused(request=request, why=why):
                state = _answered(state, request, why)
            case SymbolsChanged(request=request):
                state = _with_symbols(_answered(state, request, ""), entered)
            case ScanResult():
                scans = tuple(due for due in state.scans if not entered.answers(due))
                state = changed(state, scans=scans, asked_scan="")
            case Rang(name=name):
                state = changed(state, alarms=without(state.alarms, (name,)))
            case Roll(instead_of=waiting) if waiting is not None:
                left = tuple(
                    i for i in state.inputs if not (isinstance(i, Loaded) and i.date == waiting)
                )
                state = changed(state, inputs=left)  # of its hours before
            case Roll() | RollFailed():
                state = changed(state, alarms=without(state.alarms, (ROLL,)), rolling=False)
    return state


def _answered(state: State, request: str, why: str) -> State:
    return changed(
        state,
        inserting=tuple(of for of in state.inserting if of.request != request),
        answered=(*state.answered, (request, why))[-ANSWERS_KEPT_MAX:],
    )


def _with_symbols(state: State, change: SymbolsChanged) -> State:
    """What waits to be opened is read once more, for the symbols of now."""
    today = state.preparing
    state = changed(state, loads_for=change.registers)
    left = tuple(
        i
        for i in state.inputs
        if not (isinstance(i, Loaded) and _is_stale(state, i.date, i.data.symbols))
    )
    state = changed(state, inputs=left)
    if today is not None and change.since <= today:
        return changed(state, awaiting=today, waiting=False)
    if change.date == today and change.symbols and state.register:
        state = changed(state, register=change.symbols)
    return state


def _filled(state: State, by: Backfilled | NotFilled) -> State:
    span = _span(by)
    return changed(
        state,
        lacks=tuple(of for of in state.lacks if of != span),
        awaits_fill=tuple(of for of in state.awaits_fill if of != span),
    )


def _brings(inputs: tuple[Input, ...], day: date | None) -> bool:
    return any(isinstance(entered, LOADS) and entered.date == day for entered in inputs)


def _kept(state: State) -> State:
    """What of the state follows from the grants alone: the rest is outside the door."""
    # A day's rows that have come and wait, as behind symbols, are awaited by who goes on from here.
    waits = _brings(state.inputs, state.preparing)
    return changed(
        state,
        awaiting=state.preparing if waits else state.awaiting,
        granted=None,
        again=(),
        inputs=(),
        tokens=frozenset(),
        steps_allowed=0,
        waiting=False,
        asked_ns=EPOCH,
        awake_ns=EPOCH,
        complete_ns=EPOCH,
        rolling=False,
        asked_scan="",
        restarted=False,
        asked_fill=False,
        awaits_fill=(),
    )


def _given_again(settings: Settings, state: State) -> tuple[State, Effects]:
    grant, *rest = state.again
    # There may be more boundaries than when it was first given: a paced clock stops at every bar.
    agenda = tuple(boundary for boundary in state.agenda if boundary > grant.until_ns)
    crossed = len(agenda) < len(state.agenda)
    awaiting = None if _brings(grant.inputs, state.awaiting) else state.awaiting
    ended = None if any(isinstance(i, Recover) for i in grant.inputs) else state.ended
    state = changed(
        _noted(state, grant.inputs, fed=settings.lag_ns is not None),
        again=tuple(rest),
        step=grant.step,
        now_ns=grant.until_ns,
        awaited=settings.speakers,
        granted=grant,
        agenda=agenda,
        awaiting=awaiting,
        ended=ended,
        holds_back=False,
    )
    if settings.wall is not None and crossed:
        state = changed(state, holds_back=state.known_ns >= grant.until_ns)
    anchors = () if rest else _anchors(settings, state)
    return state, (*anchors, Publish(grant), Publish(Reached(step=grant.step, sender=NAME)))


def _anchors(settings: Settings, state: State) -> Effects:
    """Where a restart has come to, wall time begins to count: what is over is not waited for."""
    if not settings.paced or state.day is None:
        return ()
    return (Anchor(traded_ns(state.day, max(state.now_ns, state.live_from_ns))),)


def _grant(
    settings: Settings, state: State, until_ns: MarketTime, inputs: tuple[Input, ...]
) -> tuple[State, Effects]:
    step = state.step + 1
    fed = settings.lag_ns is not None
    noted = _noted(_without(state, inputs), inputs, fed=fed)
    if fed:
        inputs = tuple(_on_register(i, noted.preparing, noted.register) for i in inputs)
    grant = Grant(step=step, from_ns=state.now_ns, until_ns=until_ns, inputs=inputs)
    after = changed(
        noted,
        step=step,
        now_ns=until_ns,
        awaited=settings.speakers,
        granted=grant,
        ended=None if any(isinstance(i, Recover) for i in inputs) else state.ended,
        steps_allowed=max(0, state.steps_allowed - 1) if state.tokens else 0,
        holds_back=False,
    )
    return after, (Publish(grant), Publish(Reached(step=step, sender=NAME)))
