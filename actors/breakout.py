"""Watches completed sessions' levels and reports each break of them once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property, lru_cache, partial

import numpy as np

from openbell.actors.effects import Actor, Effects, Publish
from openbell.market.bars import BarBlock, Mask, Prices, RowBatch, Rows, joined
from openbell.market.breakouts import (
    Armed,
    BreakRules,
    Breaks,
    armed,
    find_breaks,
    last_prices,
    reaching,
    touches,
    with_touches,
)
from openbell.market.conditions import of_symbols
from openbell.market.days import EPOCH, MINUTE_NS, MarketTime, Nanoseconds
from openbell.market.followups import (
    Following,
    followed_up,
    follows,
    kinds_waited_for,
    nothing_follows,
    of_sides,
    with_sides,
)
from openbell.market.indicators import IndicatorValues
from openbell.market.instruments import NO_CONTRACTS, Contracts, on
from openbell.market.merging import found_late, missed, releveled
from openbell.market.products import own_hours
from openbell.market.results import NO_TIME, SIDES, SignalBatch, signals_on
from openbell.market.screening import Screen, Watched, concerned, rescreened, screen
from openbell.market.volumes import (
    Usual,
    VolumeRule,
    Volumes,
    confirmed,
    slot_starts,
    traded,
    volumes_widened,
)
from openbell.market.widening import Widening, rows_on, spliced, widening
from openbell.messages.base import Message
from openbell.messages.data import Batch, IndicatorsReady
from openbell.messages.insertion import Inserted, LevelsAdded, SymbolsRemoved
from openbell.messages.scan import ScanResult
from openbell.messages.session import DayCleared, DayOpened, SessionCompleted
from openbell.messages.signal import BreakoutsChecked, Signals

NAME = "breakout"

ROWS_SINCE_MAX = 100_000
"""So many rows are looked at again at most when levels come late: the latest."""

PIECES_MAX = 500

NEVER_NS = np.iinfo(np.int64).max
"""Before this all is past."""


@dataclass(frozen=True)
class Settings:
    exchange: str
    """As configured; the first part of each signal's id."""
    sessions: tuple[str, ...]
    """All sessions, in the configured order."""
    rules: tuple[BreakRules, ...]
    """Each session's rules."""
    companions: tuple[tuple[str, str], ...] = ()
    """Symbol and the companion whose price goes with its signals, on days of which `contracts` say
    nothing."""
    followed: tuple[tuple[date, tuple[str, ...]], ...] = ()
    """Symbols whose breaks are reported, each from a trading day on; without any, all are. The
    others are there for their prices."""
    contracts: Contracts = NO_CONTRACTS
    """What a file of instruments says for the run's days."""
    follows: frozenset[str] = frozenset()
    """Scans that say of which symbols breaks are reported from then on."""

    def companions_on(self, day: date) -> tuple[tuple[str, str], ...]:
        """Each symbol and the companion that goes with it on a trading day."""
        of_day = on(self.contracts.companions, day)
        return self.companions if of_day is None else of_day

    @cached_property
    def indicators(self) -> frozenset[str]:
        """Names of those that rules ask for."""
        asked = [rule.volume.indicator for rule in self.rules if rule.volume is not None]
        widths = [width for rule in self.rules for width in (rule.min_range, rule.max_range)]
        asked += [width.indicator for width in widths if width is not None]
        return frozenset(asked) - {""}

    @cached_property
    def volumes(self) -> bool:
        """Whether a rule asks for volumes."""
        return any(rule.volume is not None for rule in self.rules)

    @cached_property
    def conditions(self) -> bool:
        """Whether any session has rules that a break has to pass."""
        return any(rule.conditions for rule in self.rules)


@dataclass(frozen=True, eq=False, slots=True)
class Watch:
    """One session's levels under watch."""

    session: int
    """Position in `Settings.sessions`."""
    armed: Armed
    checked: bool
    """Whether BreakoutsChecked was said."""
    following: Following | None = None
    """What is waited for after its breaks; None: nothing ever is, or there was no break yet."""


@dataclass(frozen=True, slots=True)
class Narrowed:
    """Of whose breaks those are reported that are known from an instant on."""

    since_ns: int
    """EPOCH: from the open on."""
    symbols: tuple[str, ...]
    """What scans have found by then, and what was added to the day."""
    alone: bool
    """Whether only these count; if not, no scan has said so by then, and all do."""


@dataclass(frozen=True, eq=False, slots=True)
class State:
    opened: DayOpened | None = None
    watches: tuple[Watch, ...] = ()
    last: tuple[tuple[str, float, int], ...] = ()
    """Each companion's last price and its row's time."""
    since: tuple[RowBatch, ...] = ()
    """Rows that were looked at while others of before are waited for from history."""
    releveled: tuple[tuple[int, Mask], ...] = ()
    """Sessions, and their sides (2, s) whose breaks are to be looked for anew, in this step."""
    found: tuple[Narrowed, ...] = ()
    """Symbols of which breaks are reported, as scans have found them, oldest first."""
    volumes: Volumes | None = field(default=None, metadata={"written": "if set"})
    """None: no rule asks for them, or nothing has traded yet."""
    values: tuple[IndicatorValues, ...] = field(default=(), metadata={"written": "if set"})
    """Of the indicators that rules name, for the day."""
    screen: Screen | None = field(default=None, metadata={"snapshot": False})
    """Of these watches; None: to be made when rows come one after another."""
    levels_added: tuple[LevelsAdded, ...] = ()
    """Of symbols that come into the day with this step."""


def breakout(settings: Settings) -> Actor[State]:
    """Whoever watches the levels of all sessions."""
    return Actor(
        NAME,
        State(),
        partial(update, settings),
        frozenset(
            {
                DayOpened,
                DayCleared,
                Batch,
                IndicatorsReady,
                ScanResult,
                SessionCompleted,
                LevelsAdded,
                Inserted,
                SymbolsRemoved,
            }
        ),
    )


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match state, message:
        case _, DayOpened() as opened:
            # What was found before the open holds whenever the day is opened, and so do averages.
            found = tuple(of for of in state.found if of.since_ns == EPOCH)
            return State(opened, found=found, values=state.values), ()
        case _, DayCleared():
            return State(), ()
        case _, ScanResult(scan=scan, skipped=None) if scan in settings.follows:
            state = _broken_before(state, message.at_ns)
            return _narrowed(state, message.at_ns, message.symbols, alone=True), ()
        case State(opened=DayOpened() as opened), Batch() as batch:
            return _watched(settings, state, opened, batch)
        case State(opened=DayOpened() as opened), SessionCompleted() as completed:
            return _armed(settings, state, opened, completed)
        case State(), LevelsAdded() as levels:
            return replace(state, levels_added=(*state.levels_added, levels)), ()
        case State(opened=DayOpened() as opened), Inserted() as inserted:
            state = _with_those_that_come(state, opened, inserted.added)
            state, effects = _widened(settings, state, opened, inserted)
            # Who asks for a symbol wants to hear of it, whatever scans have found.
            return _narrowed(state, inserted.until_ns, inserted.added, alone=False), effects
        case State(opened=DayOpened() as opened), SymbolsRemoved(symbols=symbols, at_ns=at_ns):
            state = _unwatched(settings, state, opened, symbols)
            # What they break while they are away is reported if they come again.
            return _narrowed(state, at_ns, symbols, alone=False) if state.found else state, ()
        case _, IndicatorsReady() as ready:
            named = tuple(of for of in ready.values if of.name in settings.indicators)
            return replace(state, values=named), ()
        case _:
            return state, ()


def _armed(
    settings: Settings, state: State, opened: DayOpened, completed: SessionCompleted
) -> tuple[State, Effects]:
    position = settings.sessions.index(completed.session)
    rules = settings.rules[position]
    followed = _followed(settings, opened)
    names = opened.symbols
    values = {of.name: of_symbols(of, names) for of in state.values if of.values.ndim == 1}
    until = None if rules.until is None else rules.until.on(opened.day, completed.at_ns)
    ticks = _ticks(settings, opened)
    levels = armed(completed.levels, completed.at_ns, rules, followed, ticks, values, until)
    if completed.again:
        return _releveled(state, position, levels, rules), ()
    closed = bool((_closes(opened) <= completed.at_ns).all())
    watch = Watch(position, levels, checked=closed)
    # In the configured order, whichever of two sessions that end together was heard first.
    watches = tuple(sorted((*state.watches, watch), key=lambda w: w.session))
    after = replace(state, watches=watches, screen=None)
    if not closed:
        return after, ()
    checked = BreakoutsChecked(session=completed.session, at_ns=completed.at_ns)
    return after, (Publish(checked),)


def _releveled(state: State, position: int, levels: Armed, rules: BreakRules) -> State:
    watches, found = list(state.watches), list(state.releveled)
    for place, watch in enumerate(watches):
        if watch.session == position:
            merged, anew = releveled(watch.armed, levels, rules)
            following = watch.following
            if following is not None:
                following = replace(following, limit=None)
            watches[place] = Watch(position, merged, watch.checked, following)
            found.append((position, anew))
    return replace(state, watches=tuple(watches), releveled=tuple(found), screen=None)


def _followed(settings: Settings, opened: DayOpened) -> Mask | None:
    of_day = [known for known in settings.followed if known[0] <= opened.day.date]
    if opened.followed is not None:
        of_day.append(opened.followed)
    if not of_day:
        return None
    # Of the same day, what came into the run while it went on.
    _, names = max(of_day, key=lambda known: known[0])
    if opened.followed is not None and opened.followed[0] >= max(since for since, _ in of_day):
        names = opened.followed[1]
    return np.isin(np.array(opened.symbols), np.array(names))


def _unwatched(
    settings: Settings, state: State, opened: DayOpened, symbols: Sequence[str]
) -> State:
    """Nothing is waited for any more of some symbols."""
    followed = _followed(settings, opened)
    names = np.array(opened.symbols) if followed is None else np.array(opened.symbols)[followed]
    left = tuple(name for name in names.tolist() if name not in symbols)
    opened = opened.model_copy(update={"followed": (opened.day.date, left)})
    gone = np.isin(np.array(opened.symbols), np.array(symbols))
    watches = tuple(
        replace(
            watch,
            armed=replace(
                watch.armed,
                watched=watch.armed.watched & ~gone,
                looked=watch.armed.looked | gone,
            ),
        )
        for watch in state.watches
    )
    return replace(state, opened=opened, watches=watches, screen=None)


def _widened(
    settings: Settings, state: State, opened: DayOpened, inserted: Inserted
) -> tuple[State, Effects]:
    """With symbols that come into the day: gone through for them alone from its open on, all that
    was kept of the others stays, and theirs is taken in."""
    theirs, symbols = State(inserted.opened, values=state.values), inserted.symbols
    for levels in state.levels_added:
        completed = SessionCompleted(
            session=levels.session, at_ns=levels.at_ns, levels=levels.levels
        )
        theirs, _ = _armed(settings, theirs, inserted.opened, completed)
    batch = Batch(step=0, rows=inserted.rows, watermark_ns=inserted.until_ns)
    theirs, effects = _watched(settings, theirs, inserted.opened, batch)
    how = widening(opened.symbols, symbols, inserted.opened.symbols, inserted.added)
    fresh = {watch.session: watch for watch in theirs.watches}
    watches = tuple(
        replace(
            watch,
            armed=_armed_with(watch.armed, fresh[watch.session].armed, how),
            following=_following_with(watch.following, fresh[watch.session].following, how),
        )
        for watch in state.watches
    )
    had = {
        (watch.session, side, symbol): int(watch.armed.broken[side, place])
        for watch in state.watches
        for place, symbol in enumerate(opened.symbols)
        if symbol in inserted.added
        for side in range(len(SIDES))
    }
    # Of symbols that went and come again, what follows a break may have come meanwhile.
    waits = {
        (watch.session, side, symbol, kind)
        for watch in state.watches
        if watch.following is not None
        for place, symbol in enumerate(opened.symbols)
        if symbol in inserted.added
        for side in range(len(SIDES))
        for kind in kinds_waited_for(watch.following, side, place)
    }
    said: list[Publish] = []
    for effect in effects:
        if isinstance(effect, Publish) and isinstance(effect.message, Signals):
            found = signals_on(effect.message.batch, symbols, inserted.added, had, waits)
            if len(found):
                said.append(Publish(Signals(batch=found)))
    known = {name for name, _, _ in state.last}
    last = (*state.last, *(of for of in theirs.last if of[0] not in known))
    since = tuple(rows_on(rows, symbols) for rows in state.since)
    wide = opened.model_copy(update={"symbols": symbols, "followed": inserted.followed})
    after = State(
        wide,
        watches,
        last,
        since,
        found=state.found,
        volumes=volumes_widened(state.volumes, theirs.volumes, how),
        values=state.values,
    )
    return after, tuple(said)


def _armed_with(old: Armed, new: Armed, how: Widening) -> Armed:
    wide = replace(spliced(old, new, how), looked_ns=max(old.looked_ns, new.looked_ns))
    if old.verdict is not None and new.verdict is not None:
        wide = replace(wide, verdict=spliced(old.verdict, new.verdict, how))
    (was, was_by), (comes, comes_by) = touches(old), touches(new)
    return with_touches(wide, how.columns(was, comes), how.columns(was_by, comes_by))


def _following_with(
    old: Following | None, new: Following | None, how: Widening
) -> Following | None:
    if old is None and new is None:
        return None
    was = nothing_follows(len(how.before)) if old is None else old
    comes = nothing_follows(len(how.alone)) if new is None else new
    return spliced(replace(was, limit=None), replace(comes, limit=None), how)


def _ticks(settings: Settings, opened: DayOpened) -> Prices | None:
    of_day = on(settings.contracts.ticks, opened.day.date)
    if of_day is None:
        return None
    sizes = dict(of_day)
    return np.array([sizes.get(symbol, np.nan) for symbol in opened.symbols])


def _watched(
    settings: Settings, state: State, opened: DayOpened, batch: Batch
) -> tuple[State, Effects]:
    late: Effects = ()
    if batch.backfilled is not None:
        state, late = _merged(settings, state, opened, batch.backfilled)
    found: list[tuple[int, Breaks]] = []
    checked: list[BreakoutsChecked] = []
    closed = batch.watermark_ns >= opened.day.close_ns
    over, over_before = (_over(opened, at) for at in (batch.watermark_ns, batch.passed_ns))
    watches, rules = list(state.watches), [settings.rules[w.session] for w in state.watches]
    screened = _screened(state, rules, batch.rows)
    changes: dict[int, tuple[Watched, Watched]] = {}
    some_over = closed or (over is not None and bool(over.any()))
    looked_at = _to_look_at(state, screened, batch.rows, closed=some_over)
    enough = _confirmed(settings, state, opened, batch.rows, [watches[at] for at in looked_at])
    for place in looked_at:
        watch, rule = watches[place], rules[place]
        confirmation = None if rule.volume is None else enough[rule.volume]
        levels, breaks = find_breaks(watch.armed, batch.rows, rule, confirmation, over_before)
        if breaks is not None:
            found.append((watch.session, breaks))
        following, more = _what_follows(watch, watch.following, batch.rows, rules[place], breaks)
        if more is not None:
            found.append((watch.session, more))
        looked = levels.looked if over is None else levels.looked | over
        done = closed or bool(looked.all())
        if done and not watch.checked:
            # Not the watermark: how far a step reaches must not show in a document.
            missed_ns = _closes(opened)[~levels.looked].max(initial=0)
            at = MarketTime(max(levels.looked_ns, int(missed_ns)))
            name = settings.sessions[watch.session]
            checked.append(BreakoutsChecked(session=name, at_ns=at))
        watches[place] = Watch(watch.session, levels, watch.checked or done, following)
        changes[place] = (watch.armed, watch.following), (levels, following)
    for place, watch in enumerate(watches):
        levels = watch.armed
        if levels.until_ns is not None and not levels.over and batch.watermark_ns > levels.until_ns:
            watches[place] = replace(watch, armed=replace(levels, over=True))
            before = changes[place][0] if place in changes else (levels, watch.following)
            changes[place] = before, (watches[place].armed, watch.following)
    if screened is not None:
        screened = rescreened(screened, changes, rules, _now(batch.rows))
    said: list[Publish] = []
    if found:
        past_ns = max(opened.live_from_ns, batch.past_ns)
        signals = _signals(settings, state, opened, batch.rows, found, past_ns)
        if len(signals):
            said.append(Publish(Signals(batch=signals)))
    said.extend(Publish(message) for message in checked)
    last = _last(settings, state, batch.rows)
    since = _since(state, batch) if batch.lacking else ()
    after = State(
        opened,
        tuple(watches),
        last,
        since,
        (),
        state.found,
        _traded(settings, state.volumes, batch.rows),
        state.values,
        screened,
    )
    return after, (*late, *said)


def _closes(opened: DayOpened) -> Nanoseconds:
    """(s,) when each symbol's day is over."""
    own = own_hours(opened.day, opened.symbols)
    return np.full(len(opened.symbols), opened.day.close_ns) if own is None else own.last_closes


def _over(opened: DayOpened, watermark_ns: int) -> Mask | None:
    """(s,) whose day is over by a watermark; None: all have the same."""
    own = own_hours(opened.day, opened.symbols)
    return None if own is None else own.last_closes <= watermark_ns


def _what_follows(
    watch: Watch,
    following: Following | None,
    rows: Rows,
    rules: BreakRules,
    breaks: Breaks | None,
    *,
    late: bool = False,
) -> tuple[Following | None, Breaks | None]:
    """What follows the breaks of a window, whose levels are as before the rows."""
    if not follows(rules) or (following is None and breaks is None):
        return following, None
    before = nothing_follows(len(rows.symbols)) if following is None else following
    return followed_up(before, watch.armed, rows, rules, breaks, late=late)


def _traded(settings: Settings, before: Volumes | None, rows: Rows) -> Volumes | None:
    if not settings.volumes or not len(rows):
        return before
    return traded(before or Volumes(), rows, slot_starts(rows))


def _confirmed(
    settings: Settings,
    state: State,
    opened: DayOpened,
    rows: Rows,
    watches: Sequence[Watch],
    *,
    counted: bool = False,
) -> dict[VolumeRule, Mask]:
    """Which rows that reach beyond a level have enough volume, by each rule that is asked.

    Parameters
    ----------
    counted : bool
        Whether the rows are part of the state's volumes already.
    """
    asked: dict[VolumeRule, Mask] = {}
    for watch in watches:
        rules = settings.rules[watch.session]
        if rules.volume is not None:
            reach = reaching(watch.armed, rows, rules)
            known = asked.get(rules.volume)
            asked[rules.volume] = reach if known is None else known | reach
    before = state.volumes or Volumes()
    return {
        rule: confirmed(
            before, rows, rule, usual(settings, state, opened, rule), of, counted=counted
        )
        if of.any()
        else of
        for rule, of in asked.items()
    }


def usual(settings: Settings, state: State, opened: DayOpened, rule: VolumeRule) -> Usual:
    """What a rule holds the day's volumes against."""
    starts, _ = opened.day.grid(max(opened.interval_ns or MINUTE_NS, MINUTE_NS))
    refs = np.arange(len(opened.symbols))
    if rule.companion:
        places = _places(opened.symbols)
        for of, name in settings.companions_on(opened.day.date):
            if of in places and name in places:
                refs[places[of]] = places[name]
    if rule.of == "day":
        return Usual(starts, refs)
    of_day = next((of for of in state.values if of.name == rule.indicator), None)
    if of_day is None:
        return Usual(starts, refs, np.full((len(starts), len(refs)), np.nan))
    return Usual(starts, refs, of_symbols(of_day, opened.symbols))


def _since(state: State, batch: Batch) -> tuple[RowBatch, ...]:
    """The rows looked at while history is waited for, the latest of many."""
    since = state.since
    if isinstance(batch.rows, RowBatch) and len(batch.rows):
        since = (*since, batch.rows)
        if len(since) > PIECES_MAX:
            since = (joined(since),)
        if (over := sum(map(len, since)) - ROWS_SINCE_MAX) > 0:
            kept = joined(since)
            since = (kept.rows(over, len(kept)),)
    return since


def _merged(
    settings: Settings, state: State, opened: DayOpened, rows: RowBatch
) -> tuple[State, Effects]:
    """Breaks in rows of before that have come late; and, of levels that have come with them, in what
    was looked at since. What was signalled stays."""
    anew = dict(state.releveled)
    said: list[Publish] = []
    watches = list(state.watches)
    fresh = {watch.session: np.zeros_like(watch.armed.watched) for watch in watches}
    volumes = _traded(settings, state.volumes, rows)
    for part, again in ((rows, False), *((part, True) for part in state.since)):
        found: list[tuple[int, Breaks]] = []
        now = replace(state, volumes=volumes) if again else state
        # What is told of before may have been in time.
        asking = [replace(watch, armed=replace(watch.armed, over=False)) for watch in watches]
        enough = _confirmed(settings, now, opened, part, asking, counted=again)
        for place, watch in enumerate(watches):
            rules = settings.rules[watch.session]
            sides = anew.get(watch.session, np.zeros_like(watch.armed.watched))
            if not again:
                sides = sides | missed(watch.armed, rules)
            of_late = fresh[watch.session]
            if not (sides | of_late).any():
                continue
            confirmation = None if rules.volume is None else enough[rules.volume]
            levels, breaks = found_late(watch.armed, part, rules, sides, confirmation)
            following, more = _followed_late(watch, part, rules, breaks, of_late, late=not again)
            found += [(watch.session, each) for each in (breaks, more) if each is not None]
            if breaks is not None:
                of_late[breaks.side, breaks.symbol] = True
            watches[place] = Watch(watch.session, levels, watch.checked, following)
        if found:
            # A companion's price is that of these rows: what is carried is newer.
            before = State(opened, found=state.found) if not again else state
            signals = _signals(settings, before, opened, part, found, NEVER_NS)
            if len(signals):
                said.append(Publish(Signals(batch=signals)))
    last = _last(settings, state, rows)
    after = replace(
        state, watches=tuple(watches), last=last, releveled=(), volumes=volumes, screen=None
    )
    return after, tuple(said)


def _followed_late(
    watch: Watch,
    rows: RowBatch,
    rules: BreakRules,
    breaks: Breaks | None,
    of_late: Mask,
    *,
    late: bool,
) -> tuple[Following | None, Breaks | None]:
    """What follows breaks that were found late, those of some sides before these rows; for what was
    signalled in time it is as if the rows had not come."""
    before = watch.following
    mine = None if before is None else of_sides(before, of_late)
    after, more = _what_follows(watch, mine, rows, rules, breaks, late=late)
    if before is None or after is None:
        return after, more
    return with_sides(before, after, after.since_ns != NO_TIME), more


def _now(rows: Rows) -> int:
    return int(rows.known[-1]) if isinstance(rows, RowBatch) and len(rows) else 0


def _screened(state: State, rules: Sequence[BreakRules], rows: Rows) -> Screen | None:
    if not isinstance(rows, RowBatch) or not state.watches:
        return None
    watches = state.watches
    if state.screen is None:
        now = int(rows.known[0]) if len(rows) else 0
        return screen([w.armed for w in watches], rules, [w.following for w in watches], now)
    if not len(rows) or min(state.screen.until_ns) >= rows.known[0]:
        return state.screen
    # Returns that would come too late are not looked for any more.
    late = [n for n, until in enumerate(state.screen.until_ns) if until < rows.known[0]]
    of = {n: ((watches[n].armed, watches[n].following),) * 2 for n in late}
    return rescreened(state.screen, of, rules, int(rows.known[0]))


def _to_look_at(state: State, screened: Screen | None, rows: Rows, *, closed: bool) -> list[int]:
    """Places of the watches that something may come of."""
    if screened is None or not isinstance(rows, RowBatch):
        return list(range(len(state.watches)))
    concern = concerned(screened, rows)
    return [
        place
        for place, watch in enumerate(state.watches)
        if (concern is not None and concern[place])
        or (not watch.checked and (closed or screened.all_looked[place]))
    ]


def _signals(
    settings: Settings,
    state: State,
    opened: DayOpened,
    rows: Rows,
    found: list[tuple[int, Breaks]],
    past_ns: int,
) -> SignalBatch:
    session = np.concatenate([np.full(len(b.ts), s, np.int32) for s, b in found])
    symbol = np.concatenate([b.symbol for _, b in found])
    side = np.concatenate([b.side for _, b in found])
    ts = np.concatenate([b.ts for _, b in found])
    known_at = np.concatenate([b.known_at for _, b in found])
    turn = np.concatenate([b.turn for _, b in found])
    paired = settings.companions_on(opened.day.date)
    companion, price, price_ts = _companions(paired, state, rows, symbol, turn)
    number = np.concatenate([b.number for _, b in found])
    kind = np.concatenate([b.kind for _, b in found])
    order = np.lexsort(
        (
            kind,
            number,
            side,
            _ranks(settings.sessions)[session],
            _ranks(opened.symbols)[symbol],
            turn,
        )
    )
    if state.found:
        # What follows a break is reported where that was.
        broke_at = np.concatenate([b.broke_at for _, b in found])
        order = order[_is_found(state, opened, rows, symbol[order], broke_at[order])]
    return SignalBatch(
        exchange=settings.exchange,
        trading_date=opened.day.date,
        sessions=settings.sessions,
        symbols=opened.symbols,
        session=session[order],
        symbol=symbol[order],
        side=side[order],
        number=number[order],
        ts=ts[order],
        known_at=known_at[order],
        price=np.concatenate([b.price for _, b in found])[order],
        level=np.concatenate([b.level for _, b in found])[order],
        companion=companion[order],
        companion_price=price[order],
        companion_ts=price_ts[order],
        gap=np.concatenate([b.gap for _, b in found])[order],
        ambiguous=np.concatenate([b.ambiguous for _, b in found])[order],
        complete=np.concatenate([b.complete for _, b in found])[order],
        rules=np.concatenate([b.conditions for _, b in found])[order]
        if settings.conditions
        else None,
        backfilled=_is_past(rows, known_at[order], past_ns),
        # Where nothing is looked for after breaks, all are breakouts.
        kind=kind[order] if any(map(follows, settings.rules)) else None,
        touched_at=np.concatenate([b.touched_at for _, b in found])[order],
        touch_excess=np.concatenate([b.touch_excess for _, b in found])[order],
        closed_beyond_at=np.concatenate([b.closed_beyond_at for _, b in found])[order],
    )


def _narrowed(state: State, since_ns: int, symbols: Sequence[str], *, alone: bool) -> State:
    before = state.found[-1] if state.found else Narrowed(EPOCH, (), alone=False)
    names = tuple(sorted({*before.symbols, *symbols}))
    return replace(
        state, found=(*state.found, Narrowed(since_ns, names, alone=alone or before.alone))
    )


def _broken_before(state: State, at_ns: int) -> State:
    """Breaks of before a scan, of which some may be known later than the instant of it: rows that
    belonged before it came behind others."""
    if state.opened is None:
        return state
    last_ns = at_ns - (state.opened.interval_ns is None)  # see `_is_found`
    watches = tuple(
        watch
        if watch.following is None or not (watch.following.broke_ns > last_ns).any()
        else replace(
            watch,
            following=replace(
                watch.following, broke_ns=np.minimum(watch.following.broke_ns, last_ns)
            ),
        )
        for watch in state.watches
    )
    return replace(state, watches=watches)


def _with_those_that_come(state: State, opened: DayOpened, added: Sequence[str]) -> State:
    """No scan has said before that breaks of symbols that were not watched are not reported: they
    are, as of the past, and so is what follows them from now on."""
    if not state.found:
        return state
    decided = frozenset(opened.symbols).intersection(state.found[-1].symbols)
    fresh = [symbol for symbol in added if symbol not in decided]
    found = tuple(replace(of, symbols=tuple(sorted({*of.symbols, *fresh}))) for of in state.found)
    return replace(state, found=found)


def _is_found(
    state: State,
    opened: DayOpened,
    rows: Rows,
    symbol: np.ndarray[tuple[int], np.dtype[np.int32]],
    known_at: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> Mask:
    """(n,) whether each break is of a symbol whose breaks were reported when it was known. A tick of
    the very instant of a scan is after it, a bar that ends then before."""
    since = np.array([of.since_ns for of in state.found])
    place = since.searchsorted(known_at, side="right" if rows.interval_ns is None else "left")
    masks = np.ones((len(since) + 1, len(opened.symbols)), np.bool_)
    names = np.array(opened.symbols)
    for mask, of in zip(masks[1:], state.found, strict=True):
        if of.alone:
            mask[:] = np.isin(names, np.array(of.symbols, names.dtype))
    is_found: Mask = masks[place, symbol]
    return is_found


def _is_past(
    rows: Rows, known_at: np.ndarray[tuple[int], np.dtype[np.int64]], past_ns: int
) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Known before the run came to be live: a tick at that very instant belongs to what follows."""
    past = known_at < past_ns if rows.interval_ns is None else known_at <= past_ns
    return np.asarray(past, np.bool_)


@lru_cache(maxsize=4)  # days share their symbols
def _ranks(names: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each name's place in the sorted order: sorting positions by it sorts the texts."""
    ranks = np.empty(len(names), np.int64)
    ranks[np.array(sorted(range(len(names)), key=names.__getitem__), np.intp)] = range(len(names))
    return ranks


assert SIDES == tuple(sorted(SIDES)), "sorting positions by side must sort the texts"


def _companions(
    paired: tuple[tuple[str, str], ...],
    state: State,
    rows: Rows,
    symbol: np.ndarray[tuple[int], np.dtype[np.int32]],
    turn: np.ndarray[tuple[int], np.dtype[np.int64]],
) -> tuple[
    np.ndarray[tuple[int], np.dtype[np.int32]],
    np.ndarray[tuple[int], np.dtype[np.float64]],
    np.ndarray[tuple[int], np.dtype[np.int64]],
]:
    """Each signal's companion with its last price at the signal."""
    companion = np.full(len(symbol), -1, np.int32)
    price = np.full(len(symbol), np.nan)
    ts = np.full(len(symbol), NO_TIME, np.int64)
    carried = {name: (price, ts) for name, price, ts in state.last}
    for of, name in paired:
        if of not in rows.symbols or name not in rows.symbols:
            continue
        who = np.flatnonzero(symbol == rows.symbols.index(of))
        other = rows.symbols.index(name)
        before = carried.get(name, (float("nan"), NO_TIME))
        price[who], ts[who] = last_prices(rows, other, turn[who], before)
        companion[who] = np.where(np.isnan(price[who]), -1, other)
    return companion, price, ts


def _last(settings: Settings, state: State, rows: Rows) -> tuple[tuple[str, float, int], ...]:
    """Each companion's last price after a batch."""
    paired = settings.companions_on(rows.day.date)
    if not paired:
        return state.last
    carried = {name: (price, ts) for name, price, ts in state.last}
    end = np.array([np.iinfo(np.int64).max])
    places = _places(rows.symbols)
    came = None if isinstance(rows, BarBlock) else frozenset(rows.code.tolist())
    for name in sorted({name for _, name in paired}):
        place = places.get(name)
        # One without a row in the batch keeps what it has.
        if place is None or (came is not None and place not in came and name in carried):
            continue
        before = carried.get(name, (float("nan"), NO_TIME))
        price, ts = last_prices(rows, place, end, before)
        carried[name] = (float(price[0]), int(ts[0]))
    return tuple((name, price, ts) for name, (price, ts) in carried.items())


@lru_cache(maxsize=4)  # days share their symbols
def _places(symbols: tuple[str, ...]) -> dict[str, int]:
    return {symbol: place for place, symbol in enumerate(symbols)}
