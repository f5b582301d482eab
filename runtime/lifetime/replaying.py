"""Runs a recorded day again: to compare it with what was committed, or to look at an instant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import numpy as np
from loguru import logger

from openbell.actors import breakout, clock
from openbell.actors.effects import Commit, Settled
from openbell.adapters.sources import Source, open_source
from openbell.adapters.stores import Corrupt, Step, Store
from openbell.errors import ConfigError, InputError, ReplayError, StoreError
from openbell.market.days import EPOCH, MarketTime, TradingDay
from openbell.market.watermark import lag_ns
from openbell.market.windows import resolve
from openbell.messages.control import Arrived, Prepared
from openbell.messages.time import Grant
from openbell.runtime.config import Config
from openbell.runtime.config.model import InstrumentsConfig
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import Plan, plan, recorded_plan
from openbell.runtime.intake.settings import data_options, fed_settings
from openbell.runtime.kernel.cells import cells
from openbell.runtime.kernel.wiring import actors, wiring
from openbell.runtime.lifetime.eras import (
    Era,
    check_configuration,
    counted,
    era_on,
    eras_of,
    plan_over,
)
from openbell.runtime.lifetime.recovery import (
    Restored,
    carried_over,
    lost,
    planned_days,
    recorded_steps,
    restore,
    restored,
)
from openbell.runtime.record import steplog
from openbell.runtime.record.journal import NotHere
from openbell.runtime.record.ledger import Ledger
from openbell.runtime.record.recorded import stretches
from openbell.runtime.record.words import in_words
from openbell.runtime.record.writing import market_time
from openbell.runtime.results.recording import Recorder, WholeDays

CUT_STEP = 2**62
"""Number of a step that is cut short to look at an instant: no recorded one has it."""


@dataclass(frozen=True)
class Replayed:
    """What a day came to when it was run again."""

    engine: Engine
    trading_date: date
    steps: int
    reached_ns: int
    """Market time that was reached."""
    differs: str | None
    """The first difference from what was committed, in words; None: there is none."""
    compared: bool = True
    """Whether it was known what was committed."""

    @property
    def verdict(self) -> str:
        if self.differs is not None:
            return self.differs
        if not self.compared:
            return f"{self.trading_date}: {self.steps} steps, gone through as they were recorded"
        return f"{self.trading_date}: {self.steps} steps, equal to what was committed"

    def show(self, what: str) -> Iterator[str]:
        """Lines about the state that was reached: `levels`, or one actor's whole state.

        Raises
        ------
        InputError
            If there is no such actor.
        """
        cells = self.engine.cells
        if what != "levels" and what not in cells:
            raise InputError(f"--show {what}: write levels, or one of {', '.join(cells)}")
        yield f"at {market_time(self.reached_ns)}"
        if what != "levels":
            yield from in_words(cells[what].state)
            return
        watched: breakout.State = cells[breakout.NAME].state
        if watched.opened is None:
            return
        symbols = watched.opened.symbols
        names = [name for name in cells if name.startswith("session:")]
        for watch in watched.watches:
            session = names[watch.session].removeprefix("session:")
            high, low = watch.armed.level
            for place, symbol in enumerate(symbols):
                broken = watch.armed.broken[:, place]
                yield (
                    f"{session:<20} {symbol:<12} high {high[place]!s:>12} low {low[place]!s:>12} "
                    f"broken {broken[0]} up, {broken[1]} down"
                )


class _Comparing(Ledger):
    """Takes steps in and compares them; the store is not written to.

    Parameters
    ----------
    seen : callable
        Gets what each step brought, if it is what was committed.
    lag_ns : int, optional
        How far the watermark stays behind a feed's rows, where one cut grant is to be followed by
        the steps that lead there.
    """

    def __init__(
        self,
        engine: Engine,
        expected: dict[int, Step],
        chain: bytes,
        last: int,
        seen: Callable[[Commit], None],
        lag_ns: int | None = None,
    ) -> None:
        self._lag_ns = lag_ns
        self._engine = engine
        self._seen_again = seen
        self._compared = dict(expected)
        self._chain = chain
        self._last = last
        self._brought: dict[int, Commit] = {}
        self.differs: str | None = None
        self.reached_ns = 0

    def gives_again(self, step: int) -> bool:
        return True

    def brought(self, commit: Commit) -> None:
        self._brought[commit.step] = commit

    def settled(self, settled: Settled) -> None:
        grant = settled.grant
        self.reached_ns = grant.until_ns
        commit = self._brought.pop(grant.step, None)
        now = steplog.parts(commit)
        before = self._compared.get(grant.step)
        if before is not None:
            self._chain = steplog.chained(self._chain, grant, now)
            if self._chain != before.digest:
                self.differs = steplog.what_differs(grant, steplog.read(before.grant), now)
        if commit is not None and self.differs is None:
            self._seen_again(commit)
        if self.differs is not None or (grant.step >= self._last and self._rests(settled)):
            self._engine.dispatcher.finish()

    def _rests(self, settled: Settled) -> bool:
        """Whether time goes no further by what has come: it follows a feed's rows by itself."""
        of_clock, lag = settled.clock, self._lag_ns
        assert isinstance(of_clock, clock.State)
        return lag is None or not of_clock.agenda or of_clock.known_ns - lag <= of_clock.now_ns

    def drain(self) -> None:
        return

    def close(self) -> None:
        return


def replay_day(
    config: Config,
    store: Store,
    day: date,
    until: str | None = None,
    *,
    recorder: Recorder | None = None,
    beside: Callable[[Engine], object] | None = None,
) -> Replayed:
    """Run a recorded day again, from the snapshot that it began with.

    Rows that were journaled come from the journal; other data is needed as it was.

    Parameters
    ----------
    until : str, optional
        Local time of the day to stop at, "10:42"; what was known then is in the actors.
    recorder : Recorder, optional
        Gets what the steps bring, as long as it is what was committed.
    beside : callable, optional
        Gets the engine before it runs, to listen to it.

    Raises
    ------
    InputError
        If the day was not recorded, or was dropped since.
    """
    head = store.head()
    eras = eras_of(head, ())
    first, last = recorded_steps(store, day, eras)
    check_configuration(config, era_on(eras, day), day)
    found = restored(store, first - 1, until=last, eras=eras)
    source, planned = _opened(config, found, day)
    try:
        planned = plan_over(planned, eras_of(head, planned.symbols))
        recorder = recorder or Recorder(())
        engine = Engine(planned, source, recorder)
        seen = partial(recorder.commit, seen_before=True)
        return gone_through(engine, planned, found, day, first, until, seen=seen, beside=beside)
    finally:
        source.close()


def gone_through(
    engine: Engine,
    planned: Plan,
    found: Restored,
    day: date,
    first: int,
    until: str | None,
    *,
    seen: Callable[[Commit], None] = lambda commit: None,
    beside: Callable[[Engine], object] | None = None,
    compares: bool = True,
) -> Replayed:
    """A day's steps given again to an engine, all of them or up to a local time.

    Parameters
    ----------
    first : int
        The day's first step.
    seen : callable
        Gets what each step brought.
    compares : bool
        Whether it is known what each step has to come to.

    Raises
    ------
    InputError
        If nothing was run before that time.
    """
    prepared = restore(engine, planned, found)
    grants: tuple[Any, ...] = prepared.grants
    lag: int | None = None
    if until is not None:
        instant = _instant(planned_days(found), day, until)
        fed = planned.settings.fed
        lag = lag_ns(planned.settings.lateness_ns, planned.settings.interval_ns) if fed else None
        grants = _known_up_to(grants, instant) if fed else _up_to(grants, instant)
    if not grants or (grants[-1].step < first):
        raise InputError(f"{day}: nothing was run before {until}; ask for a later time")
    comparing = _Comparing(
        engine,
        {step.number: step for step in found.steps} if compares else {},
        found.chain,
        grants[-1].step,
        seen,
        lag if grants[-1].step == CUT_STEP else None,
    )
    engine.ledger = comparing
    if beside is not None:
        beside(engine)
    engine.run(Prepared(grants=grants))
    count = sum(first <= grant.step < CUT_STEP for grant in grants)
    return Replayed(engine, day, count, comparing.reached_ns, comparing.differs, compares)


def states_after(
    store: Store,
    step: int,
    eras: Sequence[Era],
    config_on: Callable[[date], Config],
    following: date,
) -> tuple[tuple[TradingDay, ...], dict[str, Any]]:
    """What days up to a step left to the trading day that follows, where a feed brings rows.

    Parameters
    ----------
    step : int
        The last one before that day's; 0: it is the first.

    Returns
    -------
    The days that were planned then, and actors' states, as new but for what was left to them.

    Raises
    ------
    InputError, StoreError, ReplayError
        If it can't be had.
    """
    if not step:
        return (), {}
    found = restored(store, step, until=step, eras=eras)
    days = planned_days(found)
    if found.anew is None and found.steps:
        found.states = _given_again(store, found, eras, config_on)
    found.anew = following
    made = fed_settings(config_on(following))
    return days, carried_over(
        cells(actors(made), wiring(made.sessions, scans=bool(made.scans))), found
    )


def _given_again(
    store: Store, found: Restored, eras: Sequence[Era], config_on: Callable[[date], Config]
) -> dict[str, Any]:
    """Actors' states after the steps that follow a snapshot."""
    of = found.steps[-1].trading_date
    config, symbols = config_on(of), era_on(eras, of).symbols
    planned = plan_over(recorded_plan(config, planned_days(found), symbols), eras)
    options = data_options(config)
    source = NotHere(options.kind, planned.settings.interval_ns)
    engine = Engine(planned, source, Recorder(()))
    prepared = restore(engine, planned, found)
    expected = {one.number: one for one in found.steps}
    comparing = _Comparing(engine, expected, found.chain, found.steps[-1].number, _looked_away)
    engine.ledger = comparing
    engine.run(prepared)
    if comparing.differs is not None:
        raise ReplayError(comparing.differs)
    return {name: cell.state for name, cell in engine.cells.items()}


def _looked_away(commit: Commit) -> None:
    return


def write_earlier(
    days: WholeDays,
    store: Store,
    eras: Sequence[Era],
    era: Era,
    config_on: Callable[[date], Config],
) -> None:
    """Write the days that are lacking of those before the one that an era begins anew: a process may
    have been killed when one had ended and its files weren't there yet. What goes on from that
    day knows nothing of them, so that each is run again by itself, as it was configured.

    Raises
    ------
    InputError
        If a day is lacking whose steps were dropped, or whose data is another one.
    """
    written = days.written()
    earlier = {of.trading_date for of in counted(stretches(store), eras)}
    for of in sorted(of for of in earlier if of < era.since and of not in written):
        recorder = Recorder((days,), None, days.write_day_without_data, keep_signals=False)
        try:
            again = replay_day(config_on(of), store, of, recorder=recorder)
        except InputError as error:
            raise lost(of, str(error)) from error
        if again.differs is not None:
            raise ReplayError(again.differs)


def brought_before(
    store: Store, eras: Sequence[Era], era: Era, config_on: Callable[[date], Config]
) -> Restored:
    """What earlier days brought to the one that an era begins anew.

    Where no snapshot that holds it is whole, the day before is run again.

    Raises
    ------
    StoreError
        If it can't be.
    """
    reached = store.head().step
    try:
        return restored(store, reached, eras=eras)
    except Corrupt as error:
        logger.warning("{}; running again what they held", error)
    found = Restored(0, reached, EPOCH)
    found.anew = era.since
    earlier = [of.trading_date for of in counted(stretches(store), eras)]
    if not earlier:
        return found
    try:
        again = replay_day(config_on(earlier[-1]), store, earlier[-1])
    except InputError as error:
        raise StoreError(
            f"{era.since} can't be begun anew: the snapshots are damaged that hold what earlier days "
            f"brought, and they can't be run again, {error}; give the configuration another name"
        ) from error
    if again.differs is not None:
        raise ReplayError(again.differs)
    found.states = {name: cell.state for name, cell in again.engine.cells.items()}
    return found


def _opened(config: Config, found: Restored, day: date) -> tuple[Source, Plan]:
    """Where rows come from that are not in the journal, and the plan of the run."""
    options = data_options(config)
    if day in found.journal:
        planned = recorded_plan(config, planned_days(found), found.journal[day].symbols)
        return NotHere(options.kind, options.interval_ns), planned
    if config.data.path is None:
        raise ConfigError("data.path is missing; name the data that the day was run on")
    source = open_source(config.data.path, options)
    try:
        if config.instruments.file is None:
            return source, plan(config, source, config.feed.start, config.feed.end, scans=False)
        # What instruments said of the day is kept with it: their file may be another one, or gone.
        bare = {"instruments": InstrumentsConfig(), "companions": config.paired}
        config = config.model_copy(update=bare)
        planned = plan(config, source, config.feed.start, config.feed.end, scans=False)
        recorded = {of.date: of for of in planned_days(found)}
        days = tuple(recorded.get(of.date, of) for of in planned.days)
        return source, replace(planned, days=days)
    except BaseException:
        source.close()
        raise


def _instant(days: Sequence[TradingDay], day: date, until: str) -> MarketTime:
    planned = next(planned for planned in days if planned.date == day)
    try:
        return MarketTime(resolve(planned, until))
    except ValueError as error:
        raise InputError(f"--until: {error}") from None


def _known_up_to(grants: tuple[Grant, ...], instant_ns: MarketTime) -> tuple[Grant, ...]:
    """The grants up to an instant, where rows come from a feed: of the last one, the rows that were
    known by then. The watermark stays behind them."""
    known = 0
    for place, grant in enumerate(grants):
        came = next((i for i in grant.inputs if isinstance(i, Arrived)), None)
        ends = np.maximum(np.maximum.accumulate(came.rows.ends), known) if came else None
        if grant.until_ns > instant_ns or (ends is not None and (ends > instant_ns).any()):
            if came is None or ends is None:
                return grants[:place]
            kept = came.rows.taken(ends <= instant_ns)
            cut = came.model_copy(update={"rows": kept})
            inputs = tuple(cut if i is came else i for i in grant.inputs)
            last = Grant(
                step=CUT_STEP, from_ns=grant.from_ns, until_ns=grant.from_ns, inputs=inputs
            )
            return (*grants[:place], last)
        if ends is not None and len(ends):
            known = int(ends[-1])
    return grants


def _up_to(grants: tuple[Grant, ...], instant_ns: MarketTime) -> tuple[Grant, ...]:
    """The grants up to an instant, the last one cut there: a cut changes no answer."""
    kept = tuple(grant for grant in grants if grant.until_ns <= instant_ns)
    rest = [grant for grant in grants if grant.until_ns > instant_ns]
    if not rest or not kept or rest[0].from_ns >= instant_ns:
        return kept
    # Its own step number would be compared with the whole step's content.
    cut = Grant(step=CUT_STEP, from_ns=rest[0].from_ns, until_ns=instant_ns)
    return (*kept, cut)
