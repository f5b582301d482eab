"""A configuration that is another one, and days that came after the last: how they are taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import orjson
from loguru import logger

from openbell.actors import day, upkeep
from openbell.adapters.sources import Source
from openbell.adapters.stores import Corrupt, Document, Head, Snapshot, Step, Store
from openbell.errors import ConfigError, InputError
from openbell.market.assembly import assemble
from openbell.market.days import EPOCH, MINUTE_NS, MarketTime, TradingDay
from openbell.market.levels import minutes_seen
from openbell.messages.control import Start
from openbell.runtime.config import Config
from openbell.runtime.engine import Engine
from openbell.runtime.intake.planning import Plan
from openbell.runtime.kernel.cells import Cell
from openbell.runtime.lifetime.eras import (
    Era,
    begun,
    era_at,
    eras_of,
    first_era,
    going_on,
    other_contracts,
)
from openbell.runtime.lifetime.recovery import Restored, recorded_steps, restore
from openbell.runtime.lifetime.watched import beside
from openbell.runtime.record.codec import Undecodable, decode, encode
from openbell.runtime.record.talking import Talking
from openbell.runtime.record.trail import Transition
from openbell.runtime.record.writing import audit_entry


@dataclass(frozen=True, slots=True)
class Change:
    """How a configuration that is another one is taken."""

    said: str
    """What changes, with both values, and from when on."""
    anew: date | None = None
    """The day that is given up and begun anew."""
    state: str = "NOT_STARTED"
    """That it was in."""
    at_ns: MarketTime = EPOCH
    """Market time that it had come to."""


def agreed(
    config: Config, plan: Plan, store: Store, head: Head, *, fresh_day: bool
) -> tuple[tuple[Era, ...], Change | None]:
    """Under which configuration which days were run, and will be; and what changes by that.

    Raises
    ------
    ConfigError
        If the run can't go on with this configuration.
    """
    symbols = plan.symbols
    if not head.step:
        return (first_era(config, plan),), None
    held = eras_of(head, symbols)
    (step,) = store.steps(after=head.step - 1)
    last = step.trading_date
    of_last = begun(held, last)[-1]
    changes = of_last.changes(config.determining(), symbols, plan.settings.contracts)
    if not (fresh_day and changes):
        known = beside(head.meta)
        removed = () if known is None else known.removed
        eras = going_on(held, config, plan, last, removed)
        if eras == held:
            return eras, None
        said = "; ".join(filter(None, (changes, other_contracts(of_last, plan, last))))
        return eras, Change(f"after {last}: {said or 'all as it was'}")
    return _begun_anew(config, plan, store, held, step, changes)


def _begun_anew(
    config: Config,
    plan: Plan,
    store: Store,
    held: tuple[Era, ...],
    reached: Step,
    changes: str,
) -> tuple[tuple[Era, ...], Change]:
    last, step = reached.trading_date, reached.number + 1
    state = "NOT_STARTED"
    before = era_at(held, step)
    if before is not None and before.step == step:
        # Was to be begun anew, and has not been.
        since, base = before.since, before.base
    else:
        state, ended_at = _come_to(store, reached)
        if state == "ENDED":
            since, base = last + timedelta(days=1), ended_at
        else:
            since, base = last, recorded_steps(store, last, held)[0] - 1
    first = days_from(plan, since)[0].date
    eras = (
        *(era for era in begun(held, last) if era.step != step),
        Era(since, config.determining(), plan.symbols, step, base, plan.settings.contracts),
    )
    if since > last:
        return eras, Change(f"from {first} on: {changes}")
    said = f"{last} is begun anew: {changes}"
    return eras, Change(said, last, state, MarketTime(reached.market_ns))


def _come_to(store: Store, reached: Step) -> tuple[str, int]:
    """The state that the last day is in, and the step of which a snapshot, whole or not, holds it.

    The newest snapshot tells it; where that is damaged, the audit trail does.
    """
    newest = next(iter(store.epochs()), None)
    if newest is not None and newest.problem is None:
        try:
            of_day: day.State = decode(store.states(newest.epoch)[day.NAME])
        except (Corrupt, Undecodable) as error:
            logger.warning("snapshot {}: {}; asking the audit trail", newest.epoch, error)
        else:
            return "ENDED" if of_day.is_over else of_day.state, newest.step
    entries = (orjson.loads(entry) for _, entry in store.audit())
    of_last = str(reached.trading_date)
    states = [e["to"] for e in entries if e["what"] == "day" and e.get("trading_date") == of_last]
    if not states:
        raise Corrupt(
            f"neither a snapshot nor the audit trail tells whether {of_last} had ended; go on with "
            "the old configuration, or give this one another name"
        )
    return states[-1], reached.number


def days_from(plan: Plan, since: date) -> tuple[TradingDay, ...]:
    """The days of a plan from a date on.

    Raises
    ------
    ConfigError
        If there are none.
    """
    days = tuple(planned for planned in plan.days if planned.date >= since)
    if not days:
        raise ConfigError(
            f"no trading day from {since} on is left to begin with this configuration, by "
            "the data and feed.end; to run all days with it, give it another name"
        )
    return days


def start_anew(plan: Plan, eras: Sequence[Era], head: Head) -> Start | None:
    """What begins a day anew, if that is still to be done."""
    step = head.step + 1
    era = era_at(eras, step)
    if era is None or era.step != step:
        return None
    days = days_from(plan, era.since)
    is_first = days[0] == plan.days[0]
    return Start(days=days, live_from_ns=plan.live_from_ns if is_first else EPOCH)


@dataclass(frozen=True, slots=True)
class Further:
    """Days that lie beyond what was planned when a run began."""

    era: Era
    after: date
    """The last day that was planned then."""
    change: Change
    ended: Restored
    """What they go on from."""


def further_days(
    cells: Mapping[str, Cell], plan: Plan, config: Config, store: Store, talking: Talking
) -> Further | None:
    """What a run that has ended goes on with, as with a day that is begun anew, if the data has got
    trading days by now that lie beyond what was planned at its start."""
    of_day: day.State = cells[day.NAME].state
    if not of_day.plan or plan.days[-1].date <= of_day.plan[-1].date:
        return None
    last = of_day.plan[-1].date
    since = last + timedelta(days=1)
    head = talking.answered(store.head)
    # The newest snapshot may be damaged. What to go on from is at hand, and becomes another.
    ended = Restored(0, head.step, EPOCH)
    ended.states = {name: cell.state for name, cell in cells.items()}
    ended.anew = since
    newest = next(iter(talking.answered(store.epochs)), None)
    base = (newest.step if newest is not None else 0) or head.step
    era = Era(
        since, config.determining(), plan.symbols, head.step + 1, base, plan.settings.contracts
    )
    change = Change(f"from {days_from(plan, since)[0].date} on: further days")
    return Further(era, last, change, ended)


def left_out(cells: Mapping[str, Cell], plan: Plan, source: Source) -> str | None:
    """What the data has got of the day that ended last since that day was run, in words; None:
    nothing. Its levels and signals are given out, so it stays as it is."""
    of_upkeep: upkeep.State = cells[upkeep.NAME].state
    today = of_upkeep.today
    if today is None:
        return None
    ended, symbols = today.opened.day, today.opened.symbols
    interval_ns = today.opened.interval_ns
    window = plan.row_spans.get(ended.date)
    if window is None:
        return None
    try:
        rows = source.read(*window, symbols)
    except (OSError, InputError):  # nothing more is run, so it does no harm
        return None
    data = assemble(rows, ended, interval_ns, plan.settings.order, plan.settings.row_rules)
    starts, _ = ended.grid(interval_ns or MINUTE_NS)
    now = minutes_seen(np.zeros_like(today.seen), data.rows, starts)
    came = int((now & ~today.seen).sum())
    if not came:
        return None
    return (
        f"{ended.date} had ended before the data got {came:,} more of its "
        f"{'bars' if interval_ns else 'minutes'}, which are left out; to run the day with them, give the "
        "configuration another name, or delete the state (openbell state delete)"
    )


def snapshot_before(first: TradingDay, found: Restored, engine: Engine, plan: Plan) -> Snapshot:
    """What a day that is begun anew goes on from, as the last snapshot of the day before: that
    is the one which is kept for as long as the day can be replayed."""
    restore(engine, plan, found)
    return Snapshot(
        market_ns=first.open_ns,
        trading_date=first.date - timedelta(days=1),
        states={name: encode(cell.state, compressed=True) for name, cell in engine.cells.items()},
        actors=tuple(engine.cells),
    )


def take(
    change: Change,
    meta: Mapping[str, bytes],
    snapshot: Snapshot | None,
    *,
    head: Head,
    store: Store,
    talking: Talking,
) -> None:
    """Make it durable that the configuration is another one, or that there are further days.

    A process that is killed after that goes on with it: a day that is to be begun anew still
    is, as its first step is known.

    Parameters
    ----------
    meta : mapping
        What state is made from then.
    snapshot : Snapshot, optional
        What a day that is begun anew goes on from.
    """
    telling = talking.telling
    given_up: list[Document] = []
    transitions: list[Transition] = []
    if change.anew is None:
        line = telling.line("run.config", change.said)
    else:
        meta = {**meta, **({"error": b""} if head.meta.get("error") else {})}
        reported = store.signals(trading_date=change.anew)
        line = telling.line(
            "day.not_started",
            change.said,
            trading_date=change.anew,
            before=change.state,
            after="NOT_STARTED",
            at_ns=change.at_ns,
            signals=sum(1 for _ in reported),
        )
        given_up = [
            document
            for document in store.documents(trading_date=change.anew)
            if document.status != "SKIPPED"
        ]
        transitions = [_end_of(document, change.at_ns) for document in given_up]
    talking.note(
        meta,
        line,
        more=tuple(audit_entry(of, telling.key(of.kind)) for of in transitions),
        documents=tuple(map(_given_up, given_up)),
        snapshot=snapshot,
    )


BEGUN_ANEW = "the day was begun anew"


def _end_of(document: Document, at_ns: MarketTime) -> Transition:
    return Transition(
        "session",
        document.trading_date,
        document.status,
        "SKIPPED",
        at_ns,
        BEGUN_ANEW,
        document.session,
    )


def _given_up(document: Document) -> Document:
    """A session's document until its day, begun anew, opens; for good where it is no longer run."""
    fields = {
        **orjson.loads(document.body),
        "status": "SKIPPED",
        "started_at": None,
        "completed_at": None,
        "symbols_data": {},
        "breakouts_checked": False,
        "reason": BEGUN_ANEW,
    }
    return replace(document, status="SKIPPED", completed_ns=None, body=orjson.dumps(fields))
