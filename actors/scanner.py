"""Says when scans are due, keeps what they look at, and tells what they found.

A scan itself is run outside, on a view that `view` makes of this actor's state; what it came to
enters with a grant.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from openbell.actors.effects import Actor, Effects, Publish
from openbell.actors.states import changed
from openbell.market.bars import (
    BAR_COLUMNS,
    BarBlock,
    Prices,
    RowBatch,
    Rows,
    blocks_joined,
    joined,
)
from openbell.market.days import MINUTE_NS, SECOND_NS, MarketTime, Nanoseconds, TradingDay
from openbell.market.derived import Buckets, no_buckets, wider, with_bars, with_rows
from openbell.market.history import History, HistoryDay, minute_rows
from openbell.market.indicators import (
    Indicator,
    IndicatorSpec,
    IndicatorValues,
    indicator_values,
)
from openbell.market.instruments import NO_CONTRACTS, Contracts, on
from openbell.market.results import Levels
from openbell.market.scans import (
    BEFORE_OPEN,
    ScanSpec,
    ScanView,
    caught_up,
    narrowed,
    scan_times,
)
from openbell.market.widening import Widening, spliced, widening
from openbell.messages.base import Message
from openbell.messages.control import AddSymbols
from openbell.messages.data import Batch, HistoryReady
from openbell.messages.insertion import Inserted, LevelsAdded, SymbolsRemoved
from openbell.messages.scan import ADDED, ScanDue, ScanResult, request_for
from openbell.messages.session import (
    AwaitLoad,
    DayCleared,
    DayOpened,
    Noticed,
    SessionCompleted,
)

NAME = "scanner"

ROWS_WAIT_MAX = 20_000
"""So many rows one after another are added to the day's bars together."""

PIECES_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Settings:
    scans: tuple[ScanSpec, ...]
    indicators: tuple[tuple[IndicatorSpec, Indicator], ...] = ()
    followed: tuple[tuple[date, tuple[str, ...]], ...] = ()
    """As of the breakout's actor: whose breakouts can be reported."""
    companions: tuple[tuple[str, str], ...] = ()
    contracts: Contracts = NO_CONTRACTS


@dataclass(frozen=True, eq=False)
class State:
    prepared: date | None = None
    """The day for which scans before the open were asked for."""
    opened: DayOpened | None = None
    due: tuple[ScanDue, ...] = ()
    """Scans of the day still to come, by time and then as configured."""
    blocks: tuple[BarBlock, ...] = field(default=(), metadata={"snapshot": False})
    """The day's rows so far, where they are a grid; after a restart they are read again."""
    bars: Buckets | None = None
    """The day's bars so far, where rows come one after another."""
    waiting: tuple[RowBatch, ...] = ()
    """Rows that are not in `bars` yet; they are when the state is written."""
    rows_waiting: int = 0
    levels: tuple[SessionCompleted, ...] = ()
    """Of the sessions that are over."""
    history: HistoryReady | None = field(default=None, metadata={"snapshot": False})
    levels_added: tuple[LevelsAdded, ...] = ()
    """Of symbols that come into the day with this step."""
    removed: frozenset[str] = frozenset()
    """Symbols that went from the day."""


def scanner(settings: Settings) -> Actor[State]:
    """Whoever looks after scans."""
    return Actor(
        NAME,
        State(),
        partial(update, settings),
        frozenset(
            {
                AwaitLoad,
                Batch,
                DayCleared,
                DayOpened,
                HistoryReady,
                Inserted,
                LevelsAdded,
                ScanResult,
                SessionCompleted,
                SymbolsRemoved,
            }
        ),
        kept,
    )


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match message:
        case AwaitLoad(date=day, late=False):
            return _prepared(settings, state, day)
        case DayOpened() as opened:
            return _opened(settings, state, opened)
        case DayCleared():
            return State(), ()
        case HistoryReady() as ready if state.due:
            return changed(state, history=ready), ()
        case SessionCompleted() as completed if state.due:
            others = tuple(of for of in state.levels if of.session != completed.session)
            return changed(state, levels=(*others, completed)), ()
        case Batch() as batch if state.due:
            return _reached(state, batch)
        case ScanResult() as result:
            return _answered(settings, state, result)
        case LevelsAdded() as levels if state.due:
            return changed(state, levels_added=(*state.levels_added, levels)), ()
        case Inserted() as inserted if state.opened is not None:
            return _widened(state, state.opened, inserted), ()
        case SymbolsRemoved(symbols=symbols) if state.opened is not None:
            return changed(state, removed=state.removed | frozenset(symbols)), ()
        case _:
            return state, ()


def with_rows_again(
    state: State, rows: Rows, history: HistoryReady | None, handed_out: int
) -> State:
    """A state that was read from a snapshot, with what is not part of one.

    Parameters
    ----------
    rows : BarBlock or RowBatch
        All of the day, where they are stored.
    handed_out : int
        How many of them had been by then.
    """
    if not state.due:
        return state
    blocks = (rows.rows(0, handed_out),) if isinstance(rows, BarBlock) else ()
    return changed(state, blocks=blocks, history=history)


def kept(state: State) -> State:
    """The state as it is written: what waits is among the bars."""
    return _taken_in(state)


def _prepared(settings: Settings, state: State, day: date) -> tuple[State, Effects]:
    if state.prepared == day:  # prepared once more: what was found then goes on to hold
        return state, ()
    said = (
        Publish(ScanDue(scan=spec.name, date=day, label=BEFORE_OPEN))
        for spec in settings.scans
        if spec.before_open
    )
    return changed(state, prepared=day), tuple(said)


def _opened(settings: Settings, state: State, opened: DayOpened) -> tuple[State, Effects]:
    day = opened.day
    due: list[tuple[int, int, ScanDue]] = []
    said: list[Publish] = []
    for place, spec in enumerate(settings.scans):
        instants, outside = scan_times(day, spec)
        if not opened.again:
            instants, left_out = caught_up(spec, instants, opened.live_from_ns)
            said += [Publish(_outside(spec, day, text)) for text in outside]
            if left_out:
                said.append(Publish(_left_out(spec, day, left_out, opened.live_from_ns)))
        due += [(at, place, _due(spec, day, at)) for at in instants]
    ordered = tuple(of for _, _, of in sorted(due, key=lambda found: found[:2]))
    return State(prepared=day.date, opened=opened, due=ordered), tuple(said)


def _due(spec: ScanSpec, day: TradingDay, at_ns: MarketTime) -> ScanDue:
    return ScanDue(scan=spec.name, date=day.date, at_ns=at_ns, label=_local(day, at_ns))


def _local(day: TradingDay, at_ns: int) -> str:
    moment = datetime.fromtimestamp(at_ns // SECOND_NS, ZoneInfo(day.tz))
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


def _outside(spec: ScanSpec, day: TradingDay, text: str) -> Noticed:
    why = f"{text} is not inside the hours of {day.date}"
    return _skipped(spec, day.date, day.open_ns, text, why)


def _left_out(
    spec: ScanSpec, day: TradingDay, instants: Sequence[MarketTime], live_from_ns: MarketTime
) -> Noticed:
    first, last = _local(day, instants[0]), _local(day, instants[-1])
    were = f"its {len(instants)} times from {first} to {last} were" if first != last else "it was"
    began = _local(day, live_from_ns)
    why = f"{were} past when the run came to the day at {began} (catch_up: {spec.catch_up})"
    return _skipped(spec, day.date, instants[-1], last, why)


def _reached(state: State, batch: Batch) -> tuple[State, Effects]:
    """Rows of a step, and the scans whose time has come with it."""
    if isinstance(batch.rows, BarBlock):
        if len(batch.rows) or not state.blocks:  # that they are a grid shows from the first on
            state = changed(state, blocks=(*state.blocks, batch.rows))
    else:
        came = [rows for rows in (batch.backfilled, batch.rows) if rows is not None and len(rows)]
        waiting = (*state.waiting, *came)
        count = state.rows_waiting + sum(map(len, came))
        state = changed(state, waiting=waiting, rows_waiting=count)
        if count > ROWS_WAIT_MAX or len(waiting) > PIECES_MAX:
            state = _taken_in(state)
    now = tuple(due for due in state.due if due.at_ns <= batch.watermark_ns)
    return state, tuple(Publish(due) for due in now) if now else ()


def _taken_in(state: State) -> State:
    if not state.waiting or state.opened is None:
        return state
    rows = joined(state.waiting)
    starts, _ = _grid(state.opened)
    before = state.bars or no_buckets(len(rows.symbols))
    return changed(state, bars=_with_bars(before, rows, starts), waiting=(), rows_waiting=0)


def _with_bars(bars: Buckets, rows: RowBatch, starts: Nanoseconds) -> Buckets:
    return with_rows(bars, rows, starts) if rows.revises is None else with_bars(bars, rows, starts)


def _grid(opened: DayOpened) -> tuple[Nanoseconds, Nanoseconds]:
    return opened.day.grid(max(opened.interval_ns or MINUTE_NS, MINUTE_NS))


def _answered(settings: Settings, state: State, result: ScanResult) -> tuple[State, Effects]:
    spec = next((of for of in settings.scans if of.name == result.scan), None)
    if spec is None:
        return state, ()
    left = tuple(due for due in state.due if not result.answers(due))
    state = changed(state, due=left)
    if state.opened is not None and not left:  # nobody looks at the rest of the day
        state = State(prepared=state.prepared, opened=state.opened, removed=state.removed)
    at_ns = result.at_ns or result.opens_ns
    if result.skipped is not None:
        told = _skipped(spec, result.date, at_ns, result.label, result.skipped)
        return state, (Publish(told),)
    became = tuple(_became(settings, state, spec, result))
    said = [Publish(_done(spec, result, at_ns, became))]
    for symbol, what in zip(result.symbols, became, strict=True):
        if what == ADDED:  # each by itself: one that can't be had does not keep others out
            request = request_for(result.token, result.date, symbol)
            said.append(Publish(AddSymbols(symbols=(symbol,), by=result.token, request=request)))
    return state, tuple(said)


def _widened(state: State, opened: DayOpened, inserted: Inserted) -> State:
    """With symbols that come into the day, as if they had been there from its open."""
    symbols = inserted.symbols
    wide = opened.model_copy(update={"symbols": symbols, "followed": inserted.followed})
    state = changed(state, opened=wide, removed=state.removed - frozenset(inserted.added))
    if not state.due:
        return state
    how = widening(opened.symbols, symbols, inserted.opened.symbols, inserted.added)
    bars, blocks = _taken_in(changed(state, opened=opened)).bars, state.blocks
    rows = inserted.rows
    if isinstance(rows, RowBatch):
        starts, _ = _grid(opened)
        none = no_buckets(len(rows.symbols))
        theirs = _with_bars(none, rows, starts) if len(rows) else none
        wide_bars = wider(bars or no_buckets(len(opened.symbols)), theirs, how)
        assert isinstance(wide_bars, Buckets)
        bars = wide_bars
    elif blocks:
        blocks = (_block_with(blocks_joined(blocks), rows, how),)
    fresh = {of.session: of.levels for of in state.levels_added}
    return changed(
        state,
        bars=bars,
        waiting=(),
        rows_waiting=0,
        blocks=blocks,
        levels=tuple(
            of.model_copy(update={"levels": spliced(of.levels, fresh[of.session], how)})
            if of.session in fresh
            else of
            for of in state.levels
        ),
        levels_added=(),
        history=inserted.history or state.history,
    )


def _block_with(old: BarBlock, new: BarBlock, how: Widening) -> BarBlock:
    columns = ("open", "high", "low", "close", "volume", "present")
    wide = {name: how.columns(getattr(old, name), getattr(new, name)) for name in columns}
    return BarBlock(old.day, how.after, old.interval_ns, old.ts, old.ends, **wide)


def _skipped(spec: ScanSpec, day: date, at_ns: int, label: str, why: str) -> Noticed:
    return Noticed(
        kind="scan.skipped",
        at_ns=MarketTime(at_ns),
        why=f"{day} {label}: {spec.name}: {why}; skipped, and the day goes on",
        date=day,
        facts={"scan": spec.name, "at": label, "then": spec.then, "reason": why},
    )


def _done(spec: ScanSpec, result: ScanResult, at_ns: int, became: Sequence[str]) -> Noticed:
    day, symbols = result.date, result.symbols
    names = ", ".join(symbols[:5]) + (", …" if len(symbols) > 5 else "")
    found = f"{len(symbols)} found: {names}" if symbols else "nothing found"
    rows = zip(symbols, result.scores, result.reasons, became, strict=True)
    return Noticed(
        kind="scan.done",
        at_ns=MarketTime(at_ns),
        why=f"{day} {result.label}: {spec.name}: {found}",
        date=day,
        symbols=symbols,
        facts={
            "scan": spec.name,
            "at": result.label,
            "then": spec.then,
            "found": tuple(rows),
            **({"backfilled": True} if result.backfilled else {}),
        },
    )


def _became(settings: Settings, state: State, spec: ScanSpec, result: ScanResult) -> Iterator[str]:
    """What became of each symbol that a scan found."""
    beside = result.companions
    if beside is None:  # of a program that did not say so
        followed = None if state.opened is None else state.opened.followed
        ours_then = _traded(settings, result.symbols, result.date, followed, frozenset())
        beside = tuple(set(result.symbols) - set(ours_then))
    for symbol in result.symbols:
        known = symbol not in result.unknown and symbol not in state.removed
        ours = known and symbol not in beside
        if spec.then == "report":
            yield "reported"
        elif spec.then == "add":
            yield "reported" if ours else ADDED
        elif ours:
            yield "followed"
        elif known:
            yield "refused: a companion, which has no signals of its own"
        else:
            yield "refused: not among the symbols of the run"


def view(
    settings: Settings,
    state: State,
    due: ScanDue,
    day: TradingDay,
    symbols: tuple[str, ...],
    history: History | None,
    options: Mapping[str, Any],
    *,
    indicators_of: HistoryReady | None = None,
    followed: tuple[date, tuple[str, ...]] | None = None,
) -> ScanView:
    """What a scan looks at: the day up to its instant, frozen; may be made on any thread.

    Parameters
    ----------
    state : State
        As it was when the scan came to be due.
    day, symbols, history
        The day, its register, and the days before that this scan has asked for, `frozen`.
    indicators_of : HistoryReady, optional
        All days before that are at hand.
    followed : tuple, optional
        As of `DayOpened`, of a scan before the open.
    """
    before_open = not due.at_ns
    at_ns = MarketTime(due.at_ns or day.open_ns)
    slot_ns = MINUTE_NS
    if state.opened is not None and state.opened.interval_ns is not None:
        slot_ns = max(state.opened.interval_ns, MINUTE_NS)
    if state.opened is not None and not before_open:
        followed = state.opened.followed
    pairs = on(settings.contracts.companions, day.date)
    whole = ScanView(
        scan=due.scan,
        day=day,
        at_ns=at_ns,
        before_open=before_open,
        symbols=symbols,
        bars=_no_bars(day, symbols, slot_ns) if before_open else _bars(state, at_ns),
        levels=_FrozenLevels(_over(state.levels, at_ns)),
        history=History(symbols) if history is None else history,
        indicators=_Indicators(settings.indicators, indicators_of, day, slot_ns),
        options=options,
        companion_of=MappingProxyType(dict(settings.companions if pairs is None else pairs)),
    )
    return narrowed(whole, _traded(settings, symbols, day.date, followed, state.removed))


def _traded(
    settings: Settings,
    symbols: tuple[str, ...],
    day: date,
    followed: tuple[date, tuple[str, ...]] | None,
    removed: frozenset[str],
) -> tuple[str, ...]:
    """Those whose breakouts can be reported; all others are there as companions, or have gone."""
    registers = [known for known in settings.followed if known[0] <= day]
    if followed is not None:
        registers.append(followed)
    latest = max((since for since, _ in registers), default=None)
    names = next((set(names) for since, names in reversed(registers) if since == latest), None)
    if names is None and not removed:
        return symbols
    return tuple(of for of in symbols if of not in removed and (names is None or of in names))


def _over(levels: Sequence[SessionCompleted], at_ns: int) -> list[SessionCompleted]:
    """Of the sessions that were over at an instant, those that ended first before others: scans of a
    day may be run together, at the time of the last, and a step may hold the ends of several."""
    known = [of for of in levels if of.at_ns <= at_ns]
    return sorted(known, key=lambda of: (of.at_ns, of.session))


class _FrozenLevels(Mapping[str, Levels]):
    """Sessions' levels, each made unwriteable when somebody looks at it."""

    def __init__(self, completed: Sequence[SessionCompleted]) -> None:
        self._completed = {of.session: of.levels for of in completed}
        self._frozen: dict[str, Levels] = {}

    def __getitem__(self, session: str) -> Levels:
        levels = self._completed[session]
        if session not in self._frozen:
            self._frozen[session] = frozen(levels)
        return self._frozen[session]

    def __iter__(self) -> Iterator[str]:
        return iter(self._completed)

    def __len__(self) -> int:
        return len(self._completed)


class _Indicators(Mapping[str, IndicatorValues]):
    """The day's indicators, each computed when somebody looks at it."""

    def __init__(
        self,
        specs: Sequence[tuple[IndicatorSpec, Indicator]],
        ready: HistoryReady | None,
        day: TradingDay,
        slot_ns: int,
    ) -> None:
        self._specs = {spec.name: (n, spec, function) for n, (spec, function) in enumerate(specs)}
        self._ready, self._day, self._slot_ns = ready, day, slot_ns
        self._known: dict[str, IndicatorValues] = {}

    def __getitem__(self, name: str) -> IndicatorValues:
        place, spec, function = self._specs[name]
        if name not in self._known:
            if self._ready is None:
                raise KeyError(name)
            self._known[name] = indicator_values(
                spec,
                function,
                self._ready.history,
                self._day,
                self._ready.periods[place],
                self._slot_ns,
            )
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs if self._ready is not None else ())

    def __len__(self) -> int:
        return len(self._specs) if self._ready is not None else 0


T = TypeVar("T", Levels, HistoryDay)


def frozen(value: T) -> T:
    """The same, with arrays that can't be written to."""
    sealed: T = _read_only(value)
    return sealed


def _read_only(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if not value.flags.writeable:
            return value
        seen = value.view()
        seen.flags.writeable = False
        return seen
    if isinstance(value, tuple) and not (value and isinstance(value[0], str)):
        return tuple(map(_read_only, value))
    if isinstance(value, Levels | HistoryDay | BarBlock):
        fields = {of.name: getattr(value, of.name) for of in dataclasses.fields(value)}
        return type(value)(**{name: _read_only(of) for name, of in fields.items()})
    return value


def _no_bars(day: TradingDay, symbols: tuple[str, ...], slot_ns: int) -> BarBlock:
    starts, ends = day.grid(slot_ns)
    none = _sealed(np.empty((0, len(symbols))))
    present = np.empty((0, len(symbols)), np.bool_)
    present.flags.writeable = False
    return BarBlock(
        day, symbols, slot_ns, starts[:0], ends[:0], none, none, none, none, none, present
    )


def _bars(state: State, at_ns: MarketTime) -> BarBlock:
    """The day's bars so far, copied: what a scan does to them reaches nobody."""
    assert state.opened is not None
    starts, ends = _grid(state.opened)
    count = int(starts.searchsorted(at_ns, side="left"))
    day, symbols = state.opened.day, state.opened.symbols
    slot_ns = max(state.opened.interval_ns or MINUTE_NS, MINUTE_NS)
    columns: list[Prices]
    if state.blocks and state.blocks[0].interval_ns >= MINUTE_NS:
        whole = blocks_joined(state.blocks)
        count = int(whole.ends.searchsorted(at_ns, side="right"))
        columns = [np.array(getattr(whole, name)[:count]) for name in BAR_COLUMNS]
    elif state.blocks:
        bars = minute_rows(blocks_joined(state.blocks))
        columns = [np.array(getattr(bars, name)[:count]) for name in BAR_COLUMNS]
    else:
        columns = _laid_out(_taken_in(state), count, len(symbols))
    present = ~np.isnan(columns[3])
    present.flags.writeable = False
    open_, high, low, close, volume = map(_sealed, columns)
    return BarBlock(
        day,
        symbols,
        slot_ns,
        starts[:count],
        ends[:count],
        open_,
        high,
        low,
        close,
        volume,
        present,
    )


def _laid_out(state: State, count: int, symbols: int) -> list[Prices]:
    grids = [np.full((count, symbols), np.nan) for _ in range(5)]
    if (bars := state.bars) is not None:
        rows = bars.number < count
        where = bars.number[rows]
        for grid, column in zip(
            grids, (bars.open, bars.high, bars.low, bars.close, bars.volume), strict=True
        ):
            grid[where] = column[rows]
        grids[4][np.isnan(grids[3])] = np.nan
    return grids


def _sealed(column: Prices) -> Prices:
    column.flags.writeable = False
    return column
