"""Where a restart has come: the newest good snapshot, and the grants after it, given again.

What those bring must be what was committed, digest by digest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any

import orjson
from loguru import logger

from openbell.actors import clock, day, prefetch, scanner
from openbell.actors.effects import Commit
from openbell.adapters.stores import Corrupt, Step, Store
from openbell.errors import InputError, OpenbellError, RunError, StoreError
from openbell.market.bars import RowBatch, Rows
from openbell.market.days import EPOCH, MarketTime, TradingDay
from openbell.market.widening import rows_without
from openbell.messages.control import (
    Arrived,
    Backfilled,
    Loaded,
    LoadFailed,
    LoadTimedOut,
    Prepared,
    Roll,
    Start,
    SymbolsChanged,
)
from openbell.messages.session import DayCleared
from openbell.messages.time import Grant
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import Plan
from openbell.runtime.kernel.cells import Cell
from openbell.runtime.lifetime.eras import Era, counted, era_at, given_up
from openbell.runtime.record import brought, feedlog, filled, inserted, journal, steplog
from openbell.runtime.record.codec import Undecodable, decode
from openbell.runtime.record.recorded import Stretch, stretches
from openbell.runtime.record.talking import Talking
from openbell.runtime.record.writing import market_time


class Restored:
    """Where a restart has come: actors' states, and the grants that follow them."""

    def __init__(self, epoch: int, step: int, market_ns: MarketTime) -> None:
        self.epoch = epoch
        self.step = step
        """The last step that the states hold."""
        self.market_ns = market_ns
        self.states: dict[str, Any] = {}
        self.chain = steplog.START
        self.steps: tuple[Step, ...] = ()
        self.journal: dict[date, journal.DayRead] = {}
        """What was journaled of the days that the states and the steps are about."""
        self.came: dict[int, feedlog.Came] = {}
        """What a feed brought with the steps, by step."""
        self.filled: dict[int, tuple[Backfilled, ...]] = {}
        """What history brought with the steps, by step."""
        self.inserted: dict[int, SymbolsChanged] = {}
        """What came with symbols into the days that the states and the steps are about, by step, as
        far as it is journaled."""
        self.filled_before: Callable[[date], dict[int, tuple[Backfilled, ...]]] = lambda of: {}
        """What it brought of a day before them."""
        self.came_before: Callable[[date], dict[int, feedlog.Came]] = lambda of: {}
        """What a feed brought of a day before them; read from the store when it is asked for."""
        self.results: list[Commit] = []
        """What steps that the states hold brought to results that are still to be had."""
        self.granted: Callable[[Step], Grant]
        """Gives a step's grant again, once the states are put back."""
        self.anew: date | None = None
        """The trading day that follows from its beginning: of the states only what earlier days
        brought counts."""


def say(found: Restored, talking: Talking) -> None:
    """Tell log and audit trail where a restart has come."""
    again = len(found.steps)
    logger.info(
        "restored: epoch {}, market time {}, {} steps given again",
        found.epoch,
        market_time(found.market_ns),
        again,
    )
    talking.tell("run.restored", "a restart", at_ns=found.market_ns, epoch=found.epoch, steps=again)


def last_over(cells: Mapping[str, Cell], plan: Plan, found: Restored) -> date | None:
    """The last day that is over, where a restart has come to."""
    of_day: day.State = cells[day.NAME].state
    if of_day.position >= 0 and of_day.is_over:
        return of_day.day.date
    today = of_day.day.date if of_day.position >= 0 else found.anew
    earlier = (d.date for d in plan.days if today is not None and d.date < today)
    return max(earlier, default=None)


def before_lacking(
    store: Store,
    log: Sequence[Stretch],
    eras: Sequence[Era],
    plan: Plan,
    written: Collection[date],
    *,
    kept: bool = False,
) -> Restored:
    """The newest snapshot before the first day that is lacking among those that were written; where
    results are kept, the newest of all, with those of the days that are lacking.

    Parameters
    ----------
    log : sequence of Stretch
        The days of the step log.
    kept : bool
        Whether what steps brought to their days' results is in the journal.

    Raises
    ------
    InputError
        If a day is lacking whose steps were dropped.
    """
    first, kept_from, step_max = log[0].first, log[0].trading_date, log[-1].last
    dropped = {d.date for d in plan.days if first > 1 and d.date < kept_from}
    if (lacks := dropped - set(written)) and (gone := lacks & _ever_run(store)):
        raise lost(min(gone))
    # One commit may hold a day's end and the next one's opening, and be the last before a kill.
    days = counted(log, eras)
    lacking = next((of for of in days if of.trading_date not in written), None)
    if lacking is None:
        return restored(store, step_max, eras=eras)
    if kept and (
        newest := _with_results(store, days, eras, step_max, lambda of: of not in written)
    ):
        return newest
    number, of = lacking.first, lacking.trading_date
    try:
        found = restored(store, number, eras=eras)
    except Corrupt:
        if number == first > 1:
            raise lost(of) from None
        raise
    was: day.State | None = found.states.get(day.NAME) if found.anew is None else None
    # A day is opened by a later step than its first one.
    if was is not None and was.day.date == of and was.state != "PRE_MARKET":
        raise lost(of)
    return found


def _ever_run(store: Store) -> set[date]:
    """The days that were run, also those whose steps were dropped: the audit trail keeps all.
    The data may have others, before the first or left out by feed.start then."""
    entries = (orjson.loads(entry) for _, entry in store.audit())
    days = (entry.get("trading_date") for entry in entries if entry["what"] == "day")
    return {date.fromisoformat(of) for of in days if of}


def lost(day: date, why: str = "the store has dropped its steps (store.keep_days)") -> InputError:
    """A day's files are lacking, and can't be made."""
    return InputError(
        f"{day}: its files are not in --out, and can't be made any more: {why}; leave out --out, or "
        "give the configuration another name"
    )


def before_untaken(
    store: Store,
    log: Sequence[Stretch],
    newest: Restored,
    eras: Sequence[Era],
    since: date | None,
    taken: frozenset[date],
    *,
    kept: bool = False,
) -> tuple[Restored, date | None]:
    """Before the first day that this process has not taken in; where its beginning can't be
    had any more, the newest: that day is left out of the results then.

    Parameters
    ----------
    log : sequence of Stretch
        The days of the step log.
    since : date, optional
        The first day of which this process gives results; None: it is to be found.

    Returns
    -------
    Restored
    since : date or None
        As it is known then.
    """
    reached: day.State | None = None if newest.steps else newest.states.get(day.NAME)
    if reached is not None and reached.state == "ERROR":
        return newest, since  # a day that is tried again is opened again
    days = counted(log, eras)
    if since is None:
        ended = reached is not None and reached.is_over
        since = newest.anew or days[-1].trading_date + timedelta(days=ended)
    from_day = since
    wanted = (of for of in days if of.trading_date >= from_day and of.trading_date not in taken)
    if (lacking := next(wanted, None)) is None:
        return newest, since
    if kept and (
        found := _with_results(
            store, days, eras, log[-1].last, lambda of: of >= from_day and of not in taken
        )
    ):
        return found, since
    try:
        return restored(store, lacking.first, eras=eras), since
    except Corrupt as error:
        logger.warning("the day under way is not among the results: {}", error)
        return newest, since


def _with_results(
    store: Store,
    days: Sequence[Stretch],
    eras: Sequence[Era],
    step_max: int,
    wanted: Callable[[date], bool],
) -> Restored | None:
    """The newest snapshot, with what the steps before it brought to the results of the wanted days;
    None where that was not kept, and so has to come from running them again."""
    found = restored(store, step_max, eras=eras)
    if found.anew is not None or not found.states:
        return None
    of_clock: clock.State = found.states[clock.NAME]
    reached = of_clock.day.date if of_clock.day is not None else date.min
    of_day: day.State = found.states[day.NAME]
    for of in (of for of in days if wanted(of.trading_date) and of.first <= found.step):
        entries = store.journal(of.trading_date, kind=brought.BROUGHT)
        results = [c for c in brought.commits(entries, found.step) if c.step >= of.first]
        begun = any(c.opened for c in results)
        over = any((c.closed and begun) or c.without_data for c in results)
        under_way = of.trading_date == of_day.day.date and of.last >= found.step
        if not over and not (under_way and (begun or reached < of.trading_date)):
            return None
        found.results += results
    return found


def restore(engine: Engine, plan: Plan, restored: Restored | None) -> Prepared:
    """Put restored states into an engine's actors, and read again what they had read.

    Returns
    -------
    Prepared
        The grants that follow, for the clock; and a day's rows, if it had to open without them and
        they had not come yet.

    Raises
    ------
    RunError
        If the source does not give again what it gave before.
    """
    if restored is None:
        return Prepared()
    cells, loader = engine.cells, engine.loader
    loader.remember(restored.journal)
    states = restored.states if restored.anew is None else carried_over(cells, restored)
    for name, state in states.items():
        if name not in cells:
            raise StoreError(f"the snapshot has an actor that this configuration hasn't, {name}")
        cells[name].state = state
    for cell in cells.values():
        cell.step = restored.step
    days = {known.date: known for known in planned_days(restored)}
    # What was begun is ended, though feed.start or feed.end may leave it out by now.
    dates = sorted(plan.trailing.dates)
    there = {of: days[of] for of in days if dates and dates[0] <= of <= dates[-1]}
    there |= {known.date: known for known in plan.days}
    there |= {read_.day.date: read_.day for read_ in restored.journal.values()}
    of_day: day.State = cells[day.NAME].state
    handing: prefetch.State = cells[prefetch.NAME].state
    read: dict[date, Loaded] = {}

    def load(wanted: date) -> Loaded:
        if wanted not in read:
            if wanted not in there:
                raise StoreError(f"{wanted} was run, but the data has no such trading day any more")
            loader.start(there[wanted])
            try:
                read[wanted] = loader.take(wanted)
            except OpenbellError:
                raise
            except Exception as error:
                raise RunError(
                    f"{wanted}: its rows can't be read again, {error}; start once more when the "
                    "source answers"
                ) from error
        return read[wanted]

    def again(wanted: date) -> Loaded:
        if loader.journals and wanted not in restored.journal:
            raise StoreError(
                f"{wanted} was run, but its rows are not in the journal, and can't be asked for "
                "again; go on with the data that it was run on"
            )
        return load(wanted)

    def without_rows(wanted: date) -> LoadTimedOut:
        return loader.timed_out(days[wanted])

    def came(step: int) -> Arrived:
        if step not in restored.came:
            raise StoreError(
                f"step {step}: what came with it is not in the journal; restore a copy of the store "
                "that has it"
            )
        of = restored.came[step].date
        return restored.came[step].arrived(*register(of, step))

    def filled_with(step: int) -> Sequence[Backfilled]:
        if step not in restored.filled:
            raise StoreError(
                f"step {step}: what history brought with it is not in the journal; restore a copy "
                "of the store that has it"
            )
        return restored.filled[step]

    def came_before(of: date) -> Sequence[RowBatch]:
        kept = restored.came_before(of)
        before = {at: change for at, change in restored.inserted.items() if at <= restored.step}
        return _in_order(kept, restored.filled_before(of), before, partial(register, of))

    def register(of: date, step: int) -> tuple[TradingDay, tuple[str, ...], int | None]:
        known = restored.journal[of]
        symbols = inserted.register_at(known.symbols, restored.inserted, of, step)
        return known.day, symbols, plan.settings.interval_ns

    def with_rows(step: int, change: SymbolsChanged) -> SymbolsChanged:
        if change.journaled:
            if step not in restored.inserted:
                raise StoreError(
                    f"step {step}: what came with symbols is not in the journal; restore a copy of "
                    "the store that has it"
                )
            return restored.inserted[step]
        assert change.date is not None
        found = read_for(there[change.date], change.symbols)
        return change.model_copy(update={"data": found.data, "history": found.history})

    def read_for(wanted: TradingDay, symbols: tuple[str, ...]) -> Loaded:
        try:
            return loader.read_for(wanted, symbols)
        except OpenbellError:
            raise
        except Exception as error:
            raise RunError(
                f"{wanted.date}: its rows can't be read again, {error}; start once more when the "
                "source answers"
            ) from error

    def rows_of(planned: TradingDay, symbols: tuple[str, ...]) -> Rows:
        """Of a day into which symbols have come, where its rows are stored."""
        of_it = [
            at
            for at, change in restored.inserted.items()
            if at <= restored.step and change.date == planned.date and change.data is not None
        ]
        if not of_it:
            return read_for(planned, symbols).data.rows
        data = restored.inserted[max(of_it)].data
        assert data is not None
        return data.rows

    if engine.came is not None and of_day.position >= 0:
        today = of_day.day.date
        engine.came.begin(today, partial(came_before, today))
    if of_day.phase == "stream":
        planned = of_day.day
        opened = loader.timed_out(planned) if of_day.without_rows else again(planned.date)
        rows = opened.data.rows
        if of_day.inserted and not plan.settings.fed and not of_day.without_rows:
            rows = rows_of(planned, of_day.inserted)
        cells[prefetch.NAME].state = replace(handing, rows=rows)
        if scanner.NAME in cells:
            history = opened.history if isinstance(opened, Loaded) else None
            for at in sorted(restored.inserted):
                change = restored.inserted[at]
                if at <= restored.step and change.date == planned.date:
                    history = change.history or history
            cell = cells[scanner.NAME]
            cell.state = scanner.with_rows_again(cell.state, rows, history, handing.handed_out)

    def granted(step: Step) -> Grant:
        entry = steplog.read(step.grant)
        return steplog.granted(entry, again, without_rows, came, filled_with, with_rows)

    restored.granted = granted
    grants = tuple(map(granted, restored.steps))
    for asked in handing.asked:
        if asked not in read:
            loader.start(days[asked])
    engine.read_again = frozenset(read)
    late = _late(of_day, grants)
    return Prepared(grants=grants, inputs=(load(late),) if late is not None else ())


def carried_over(cells: Mapping[str, Cell], restored: Restored) -> dict[str, Any]:
    """States before a day that is begun anew: as new, but for what earlier days brought.

    The actors may be others than those of the snapshot, and those of the same name may have other
    settings: what they keep of a day is cleared before it could matter.
    """
    assert restored.anew is not None
    cleared = DayCleared(date=restored.anew)
    before: clock.State = restored.states.get(clock.NAME, clock.State())
    # A feed goes on from where it was before that day.
    given_up_too = before.preparing is not None and before.preparing >= restored.anew
    position, read_on = (
        (before.began_at, before.began_on) if given_up_too else (before.position, before.read_on)
    )
    states: dict[str, Any] = {
        clock.NAME: clock.State(step=restored.step, position=position, read_on=read_on)
    }
    for name, state in restored.states.items():
        if name in cells and name != prefetch.NAME and DayCleared in cells[name].actor.hears:
            states[name], _ = cells[name].actor.update(state, cleared)
    return states


def planned_days(restored: Restored) -> tuple[TradingDay, ...]:
    """The trading days of the run that left this, oldest first."""
    of_day: day.State | None = restored.states.get(day.NAME) if restored.anew is None else None
    if of_day is not None and of_day.plan:
        return of_day.plan
    if not restored.steps:
        return ()
    begun = steplog.read(restored.steps[0].grant)
    nothing: dict[date, Any] = {}  # a grant with which a run begins carries its plan, and no rows
    grant = steplog.granted(begun, nothing.__getitem__, nothing.__getitem__)
    return next((start.days for start in grant.inputs if isinstance(start, Start)), ())


def _late(of_day: day.State, grants: tuple[Grant, ...]) -> date | None:
    """The date whose rows had not come when a process ended that ran it without them."""
    # A day in ERROR asks for them itself when it is tried again.
    late = of_day.day.date if of_day.without_rows and of_day.state != "ERROR" else None
    for entered in (entered for grant in grants for entered in grant.inputs):
        match entered:
            case LoadTimedOut(date=opened):
                late = opened
            case Loaded() | LoadFailed() | Roll():
                late = None
    return late


def restored(
    store: Store, step_max: int, until: int | None = None, *, eras: Sequence[Era] = ()
) -> Restored:
    """The newest snapshot of a step up to one, and the steps after it.

    A snapshot that can't be used is reported, and the one before is taken. Where the day that
    follows `step_max` was begun anew, nothing of what was given up by that comes back.

    Parameters
    ----------
    until : int, optional
        The last step wanted; None: all there are.
    eras : sequence of Era
        Of the whole state; none: no day was begun anew.

    Raises
    ------
    Corrupt
        If there is none, and the step log doesn't reach back to the start either.
    """
    era = era_at(eras, step_max + 1)
    anew, base = (era.step or 0, era.base) if era is not None else (0, 0)
    found = Restored(0, 0, EPOCH)
    dates: set[date] = set()
    for epoch in store.epochs():
        if not base <= epoch.step <= step_max:
            continue
        try:
            if epoch.problem is not None:
                raise Corrupt(epoch.problem)
            states = {name: decode(data) for name, data in store.states(epoch.epoch).items()}
        except (Corrupt, Undecodable) as error:
            logger.warning("snapshot {}: {}; taking the one before", epoch.epoch, error)
            continue
        found = Restored(epoch.epoch, epoch.step, MarketTime(epoch.market_ns))
        found.states = states
        dates.add(epoch.trading_date)
        break
    if era is not None and base <= found.step < anew:
        found.step, found.anew = anew - 1, era.since
    steps = list(store.steps(after=max(found.step - 1, 0), until=until))
    if found.step:
        found.chain, steps = steps[0].digest, steps[1:]
    elif anew or (steps and steps[0].number != 1):
        begins = base + 1 if anew else steps[0].number
        raise Corrupt(
            f"no snapshot up to step {step_max} can be used, and the steps that lead there begin "
            f"at {begins}; give the configuration another name, or restore the store's files"
        )
    found.steps = tuple(steps)
    dates |= {step.trading_date for step in steps}
    kept = [entry for used in sorted(dates) for entry in store.journal(used, found.step)]
    found.journal = journal.days(kept, lambda step, of: not given_up(eras, step, of))
    found.came = feedlog.arrivals(
        kept, lambda step, of: step > found.step and not given_up(eras, step, of)
    )
    found.filled = filled.fills(
        kept, lambda step, of: step > found.step and not given_up(eras, step, of)
    )
    found.inserted = inserted.insertions(kept, lambda step, of: not given_up(eras, step, of))

    def before(step: int, of: date) -> bool:
        return step <= found.step and not given_up(eras, step, of)

    found.came_before = lambda of: feedlog.arrivals(store.journal(of, kind=feedlog.CAME), before)
    found.filled_before = lambda of: filled.fills(store.journal(of, kind=filled.FILLED), before)
    return found


def _in_order(
    came: Mapping[int, feedlog.Came],
    history: Mapping[int, Sequence[Backfilled]],
    changes: Mapping[int, SymbolsChanged],
    register: Callable[[int], tuple[TradingDay, tuple[str, ...], int | None]],
) -> tuple[RowBatch, ...]:
    """All rows that steps brought, those of history before those of a feed."""
    rows: list[RowBatch] = []
    for step in sorted(came.keys() | history.keys() | changes.keys()):
        rows += [brought.rows for brought in history.get(step, ())]
        if step in changes and (theirs := inserted.rows_that_came(changes[step])) is not None:
            rows = [*(rows_without(of, theirs.symbols) for of in rows), theirs]
        if step in came:
            rows.append(came[step].arrived(*register(step)).rows)
    return tuple(rows)


def came_of(
    store: Store, day: date, interval_ns: int | None, eras: Sequence[Era]
) -> tuple[RowBatch, ...]:
    """What a feed brought of a day that was run, as far as it is journaled."""
    kept = list(store.journal(day))

    def counts(step: int, of: date) -> bool:
        return not given_up(eras, step, of)

    known = journal.days(kept, counts).get(day)
    if known is None:
        return ()
    came, history = feedlog.arrivals(kept, counts), filled.fills(kept, counts)
    changes = inserted.insertions(kept, counts)

    def register(step: int) -> tuple[TradingDay, tuple[str, ...], int | None]:
        symbols = inserted.register_at(known.symbols, changes, day, step)
        return known.day, symbols, interval_ns

    return _in_order(came, history, changes, register)


def recorded_steps(store: Store, day: date, eras: Sequence[Era] = ()) -> tuple[int, int]:
    """The first and the last step of a trading day in the step log, of what was not given up.

    Raises
    ------
    InputError
        If the day was not recorded, or was dropped since.
    """
    log = stretches(store)
    begins = {1, *(era.step for era in eras), *(of.first for of in log[1:])}
    # Pruned, the log begins with the end of a day, after the snapshot that the next needs.
    whole = {of.trading_date: of for of in counted(log, eras) if of.first in begins}
    if day in whole:
        return whole[day].first, whole[day].last
    kept = list(whole)
    span = f"kept: {kept[0]} to {kept[-1]}" if kept else "nothing was"
    raise InputError(f"{day}: not recorded, or dropped after store.keep_days; {span}")
