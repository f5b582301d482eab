"""Whole runs of the actors over rows in memory, and deep comparisons of what they give."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, time, timedelta
from functools import partial
from typing import Any, Literal

import numpy as np
import reference
from conditions import Bound
from pydantic import BaseModel
from reference import BadReason, Row, Rules, SessionAnswer, Window, minutes_of
from strategies import Case

from openbell.actors import clock, day
from openbell.actors.effects import Await, Commit, Effect, Effects, Fetch, Finish, Publish, Settled
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sources.base import FileIdentity, SourceInfo
from openbell.market.assembly import assemble
from openbell.market.bars import BadRow, BarBlock, DayData, Order, Prices, RawRows, Rows
from openbell.market.breakouts import BreakRules
from openbell.market.conditions import Until, Width, condition_names
from openbell.market.days import MINUTE_NS, Segment, TradingDay, local_instant
from openbell.market.history import History, history_day
from openbell.market.indicators import Indicator, IndicatorSpec, Trailing
from openbell.market.kinds import KINDS
from openbell.market.results import NO_TIME, SIDES, DerivedBars, SessionDocument, SignalBatch
from openbell.market.rules import NO_RULES, RowRules
from openbell.market.volumes import VolumeRule
from openbell.market.windows import SessionSpec
from openbell.messages.base import Message
from openbell.messages.control import Loaded, Start
from openbell.messages.data import HistoryReady
from openbell.messages.session import DayOpened
from openbell.messages.time import Reached
from openbell.runtime.intake.planning import Plan
from openbell.runtime.intake.trailing import TrailingSettings
from openbell.runtime.kernel.cells import Cell, cells
from openbell.runtime.kernel.dispatchers import Dispatcher, Inline, Threads
from openbell.runtime.kernel.wiring import AnyActor, Settings, actors, wiring
from openbell.runtime.results.recording import Recorder

# What is run


@dataclass(frozen=True)
class Run:
    """Days to be run, with their rows, on actors that were not started yet."""

    settings: Settings
    days: tuple[TradingDay, ...]
    data: Mapping[date, DayData]
    history: Mapping[date, HistoryReady] = field(default_factory=dict)

    @property
    def actors(self) -> tuple[AnyActor, ...]:
        return actors(self.settings)


def register(case: Case) -> Case:
    """The case as a run has it: the register is sorted."""
    return replace(case, symbols=tuple(sorted(case.symbols)))


def of_cases(
    cases: Sequence[Case],
    clock_step: Literal["day", "boundary", "bar"] = "boundary",
    days_ahead: int = 1,
    order: Order = "time",
    lateness_ns: int = 0,
    row_rules: RowRules = NO_RULES,
) -> Run:
    """One day after another; sessions, rules and companions are the first case's."""
    first = cases[0]
    settings = Settings(
        exchange="XTST",
        sessions=tuple(
            SessionSpec(
                *(w.name, w.start, w.end, w.closed),
                first_bar=first.rules.conditions.direction == "first_bar",
                auction=w.auction,
            )
            for w in first.windows
        ),
        indicators=known_before(cases),
        rules=(break_rules(first.rules),) * len(first.windows),
        companions=tuple(first.companions.items()),
        followed=() if first.followed is None else ((date.min, first.followed),),
        interval_ns=first.interval_ns,
        clock_step=clock_step,
        days_ahead=days_ahead,
        derived_minutes=(5, 15),
        order=order,
        row_rules=row_rules,
        lateness_ns=lateness_ns,
    )
    data = {
        c.day.date: assemble(register(c).raw_rows(), c.day, c.interval_ns, order, row_rules)
        for c in cases
    }
    history = (
        {c.day.date: one_day_before(register(c)) for c in cases} if settings.indicators else {}
    )
    return Run(settings, tuple(case.day for case in cases), data, history)


def break_rules(rules: Rules) -> BreakRules:
    plain, asked = rules._asdict(), rules.conditions
    del plain["conditions"]
    until = None
    if isinstance(asked.valid_until, int):
        until = Until(after_ns=asked.valid_until)
    elif asked.valid_until is not None:
        until = Until(asked.valid_until)
    volume = None
    if asked.volume_times is not None:
        average = AVERAGE if asked.volume_of == "minute" else ""
        volume = VolumeRule(asked.volume_times, asked.volume_of, asked.volume_companion, average)
    return BreakRules(
        **plain,
        volume=volume,
        min_range=width(asked.min_range),
        max_range=width(asked.max_range),
        until=until,
        on_incomplete=asked.on_incomplete,
        direction=asked.direction,
    )


def width(bound: Bound | None) -> Width | None:
    if bound is None:
        return None
    unit, amount = bound
    return Width(amount, unit, DAILY if unit == "times" else "")


AVERAGE, DAILY = "average", "daily"
"""Indicators whose values are what a case knows of the days before."""


def known_before(cases: Sequence[Case]) -> tuple[tuple[IndicatorSpec, Indicator], ...]:
    if not any(case.rules.conditions.names for case in cases):
        return ()
    of_day = {case.day.date: case for case in cases}

    def averages(trailing: Trailing) -> Prices:
        case = of_day[trailing.today.date]
        starts, _ = case.day.grid(trailing.slot_ns)
        known = case.known.averages
        return np.array(
            [[known.get((s, ts), np.nan) for s in trailing.symbols] for ts in starts.tolist()]
        )

    def daily(trailing: Trailing) -> Prices:
        known = of_day[trailing.today.date].known.daily
        return np.array([known.get(symbol, np.nan) for symbol in trailing.symbols])

    return (
        (IndicatorSpec(AVERAGE, "drawn", "1d", "intraday", "volume"), averages),
        (IndicatorSpec(DAILY, "drawn", "1d"), daily),
    )


def one_day_before(case: Case) -> HistoryReady:
    """A history of one day, of which only what a case knows is looked at."""
    day = case.day.date - timedelta(days=1)
    before = TradingDay(day, case.day.tz, (Segment(0, MINUTE_NS),))
    rows = tuple((symbol, 0, 1.0, 1.0, 1.0, 1.0, 1.0) for symbol in case.symbols)
    one = Case(before, MINUTE_NS, rows, case.symbols, (), Rules(), {})
    past = history_day(assemble(one.raw_rows(), before, MINUTE_NS).rows, keep_rows=True)
    return HistoryReady(history=History(case.symbols, (past,)), periods=((day,), (day,)))


def plan_of(cases: Sequence[Case]) -> Plan:
    """A plan over the cases' days, for an engine with a `MemorySource`."""
    run = of_cases(cases)
    symbols = tuple(sorted(cases[0].symbols))
    return Plan(
        days=run.days,
        symbols=symbols,
        not_trading={},
        open_ended=(False, False),
        settings=run.settings,
        trailing=TrailingSettings(
            specs=(), needs=(), before=lambda day, count: (), dates=frozenset()
        ),
    )


class MemorySource:
    """A source whose rows are those of cases, in their order."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._interval_ns = cases[0].interval_ns
        self._raw = [register(case).raw_rows() for case in cases]

    def info(self) -> SourceInfo:
        raw = self._raw[0]
        identity = FileIdentity("memory", 0, "")
        return SourceInfo(raw.kind, self._interval_ns, raw.symbols, (identity,))

    def dates(self, tz: str) -> dict[date, int]:
        raise NotImplementedError("plans of cases are made without a calendar")

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        insides = [np.flatnonzero((raw.ts >= start_ns) & (raw.ts < end_ns)) for raw in self._raw]
        position = int(np.argmax([len(inside) for inside in insides]))
        raw, inside = self._raw[position], insides[position]
        assert symbols is None or tuple(symbols) == raw.symbols

        def locate(i: int) -> tuple[str, int]:
            return raw.locate(int(inside[i]))

        columns = {name: column[inside] for name, column in raw.columns.items()}
        return RawRows(raw.kind, raw.symbols, raw.code[inside], raw.ts[inside], columns, locate)

    def close(self) -> None:
        pass


# Days that have something of everything


def some_days(kind: str) -> list[Case]:
    """Three days of two segments with signals on both sides, companions, holes and a bad row."""
    return [one_day(date(2021, 3, 1) + timedelta(days=n), kind) for n in range(3)]


def one_day(day: date, kind: str) -> Case:
    rng = random.Random(day.toordinal())
    opens = [local_instant(day, time(hour, 15), "Asia/Kolkata") for hour in (9, 11)]
    hours = TradingDay(day, "Asia/Kolkata", tuple(Segment(o, o + 45 * MINUTE_NS) for o in opens))
    rows: list[Row] = []
    for ts in hours.grid(MINUTE_NS)[0].tolist():
        for symbol in ("A", "B", "C"):
            price = round(100 + rng.uniform(-1, 1) * (1 + (ts - opens[0]) / (20 * MINUTE_NS)), 2)
            if rng.random() < 0.1:
                continue
            if kind == "ticks":
                rows.append((symbol, ts + rng.randrange(MINUTE_NS), price, rng.random()))
            else:
                high, low = price + rng.random(), price - rng.random()
                rows.append((symbol, ts, price, high, low, price, rng.random()))
    bad = rows[7]
    rows.insert(9, (*bad[:2], float("nan"), *bad[3:]))
    return Case(
        day=hours,
        interval_ns=None if kind == "ticks" else MINUTE_NS,
        rows=tuple(rows),
        symbols=("A", "B", "C"),
        windows=(Window("Morning", "09:16", "09:20"), Window("Break", "09:50", "11:20")),
        rules=Rules(confirm="touch"),
        companions={"A": "B", "B": "C"},
    )


# Running it


@dataclass
class Found:
    """What a run left behind."""

    commits: list[Commit] = field(default_factory=list)
    days: list[DayResult] = field(default_factory=list)
    settled: list[tuple[Settled, Mapping[str, Any]]] = field(default_factory=list)
    """Each step that was over, and every actor's state then."""
    recorder: Recorder = field(init=False)
    cells: dict[str, Cell] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.recorder = Recorder((self,))

    def write_day(self, day: DayResult) -> None:
        self.days.append(day)

    @property
    def without_data(self) -> list[date]:
        return self.recorder.tally.without_data


Make = Callable[[Mapping[str, Cell], Callable[[Effect], None]], Dispatcher]


def inline(seed: int | None = None, delayed: tuple[str, str] | None = None) -> Make:
    return lambda cells, carry_out: Inline(cells, carry_out, seed=seed, delayed=delayed)


def drained(
    run: Run,
    dispatcher: Make = Inline,
    troupe: tuple[AnyActor, ...] | None = None,
    at_step_end: Callable[[Dispatcher, Mapping[str, Cell]], None] | None = None,
) -> Found:
    """Run to the end: all rows are there at once, so that only the dispatcher makes an order.

    Parameters
    ----------
    troupe : actors, optional
        Instead of the run's own.
    at_step_end : callable, optional
        Called whenever the clock is told that a step is over, before it grants the next one.
    """
    found = Found()
    troupe = run.actors if troupe is None else troupe
    if at_step_end is not None:
        seen = at_step_end

        def watched(actor: AnyActor, state: Any, message: Message) -> tuple[Any, Effects]:
            if isinstance(message, Reached) and state.awaited <= {message.sender}:
                seen(started, found.cells)
            return actor.update(state, message)

        troupe = tuple(
            replace(actor, update=partial(watched, actor)) if actor.name == clock.NAME else actor
            for actor in troupe
        )
    found.cells = cells(troupe, wiring(run.settings.sessions))

    def carry_out(effect: Effect) -> None:
        match effect:
            case Fetch():
                pass
            case Await(date=day):
                loaded = Loaded(date=day, data=run.data[day], history=run.history.get(day))
                started.post(clock.NAME, loaded)
            case Commit():
                found.commits.append(effect)
                found.recorder.commit(effect)
            case Settled():
                states = {name: cell.state for name, cell in found.cells.items()}
                found.settled.append((effect, states))
            case Finish():
                started.finish()
            case _:
                raise AssertionError(f"not to be carried out: {effect}")

    started = dispatcher(found.cells, carry_out)
    try:
        started.post(clock.NAME, Start(days=run.days))
        started.run()
    finally:
        started.close()
    return found


threads: Make = Threads


def with_boundaries(run: Run, more: Sequence[int]) -> tuple[AnyActor, ...]:
    """The run's actors, with a Day that has more boundaries than it needs."""
    return tuple(
        replace(actor, update=cut_finer(actor, more)) if actor.name == day.NAME else actor
        for actor in run.actors
    )


def cut_finer(actor: AnyActor, more: Sequence[int]) -> Any:
    def update(state: Any, message: Message) -> tuple[Any, Effects]:
        after, effects = actor.update(state, message)
        return after, tuple(
            Publish(finer(effect.message, more))
            if isinstance(effect, Publish) and isinstance(effect.message, DayOpened)
            else effect
            for effect in effects
        )

    return update


def finer(opened: DayOpened, more: Sequence[int]) -> DayOpened:
    boundaries = tuple(sorted({*opened.boundaries, *more}))
    return opened.model_copy(update={"boundaries": boundaries})


# Comparing


def plain(value: Any) -> Any:
    """Any state, message or result as tuples, texts and bytes: equal where all bits are.

    What a state only keeps to be faster, and no snapshot holds, is left out.
    """
    if isinstance(value, np.ndarray):
        return (value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return (type(value).__name__, *((name, plain(getattr(value, name))) for name in fields))
    if dataclasses.is_dataclass(value):
        fields_of = dataclasses.fields(value)
        names = [f.name for f in fields_of if f.metadata.get("snapshot", True)]
        return (type(value).__name__, *((name, plain(getattr(value, name))) for name in names))
    if isinstance(value, (tuple, list)):
        return tuple(plain(part) for part in value)
    if isinstance(value, Mapping):
        return tuple((plain(key), plain(part)) for key, part in value.items())
    if isinstance(value, frozenset):
        return ("set", *sorted(map(repr, map(plain, value))))
    if isinstance(value, float):
        return ("float", value.hex())
    return value


def joined(parts: Sequence[Any]) -> Any:
    """Batches one after another, so that the way a run was cut doesn't show."""
    if not parts:
        return ()
    columns = [
        f.name
        for f in dataclasses.fields(parts[0])
        if isinstance(getattr(parts[0], f.name), np.ndarray)
    ]
    shared = [plain(replace(part, **dict.fromkeys(columns))) for part in parts]
    assert all(of_part == shared[0] for of_part in shared), "batches of one day share their names"
    return (
        shared[0],
        *((n, plain(np.concatenate([getattr(part, n) for part in parts]))) for n in columns),
    )


def outputs(found: Found) -> Any:
    """All that a run says to the outside, but for how it was cut into steps."""
    return (
        tuple(
            (
                day.trading_date,
                plain(day.symbols),
                plain(day.documents),
                ("signals", joined(day.signals)),
                ("bars", tuple((m, joined(parts)) for m, parts in sorted(day.bars.items()))),
                plain(day.quality),
                plain(day.bad),
            )
            for day in found.days
        ),
        plain(found.recorder.tally),
        tuple((t.date, plain(t)) for commit in found.commits for t in commit.transitions),
        document_versions(found),
    )


def document_versions(found: Found) -> Any:
    """Every status that a session went through, day by day, in the order committed."""
    versions: dict[tuple[date, str], list[Any]] = {}
    for commit in found.commits:
        for document in commit.documents:
            of_document = versions.setdefault((document.trading_date, document.session_name), [])
            of_document.append(plain(document))
    return tuple(versions.items())


def answer_of(found: Found, case: Case) -> dict[str, Any]:
    """What a run says of one day, in the shapes of `reference.answer`.

    Windows are left out of `sessions`: the reference has them as configured.
    """
    day = next(day for day in found.days if day.trading_date == case.day.date)
    opened = next(
        c.opened for c in found.commits if c.opened and c.opened.day.date == case.day.date
    )
    counts, symbols, quality = opened.counts, day.symbols, day.quality
    percent = np.round(100.0 * quality.actual / quality.expected, 4)
    return {
        "counts": {
            symbol: {name: int(getattr(counts, name)[i]) for name in reference.no_counts()}
            for i, symbol in enumerate(symbols)
        },
        "bad": [(row.row - 1, reason_of(row)) for row in day.bad],
        "sessions": [session_of(document) for document in day.documents],
        "signals": signals_of(day.signals),
        "derived": {minutes: bars_of(day.bars.get(minutes, ())) for minutes in (5, 15)},
        "quality": {
            symbol: {
                "expected": int(quality.expected[i]),
                "actual": int(quality.actual[i]),
                "quality_pct": float(percent[i]),
                "gaps": int(quality.gaps[i]),
                "missing": int(quality.missing[i]),
            }
            for i, symbol in enumerate(symbols)
        },
    }


def reason_of(row: BadRow) -> BadReason:
    if row.reason.startswith("ts is not on"):
        return "off the grid"
    return "high below low" if "is below low" in row.reason else "price"


def session_of(document: SessionDocument) -> dict[str, Any]:
    levels = document.levels
    return {
        "session": document.session_name,
        "status": document.status,
        "truncated": document.status == "COMPLETED" and document.reason is not None,
        "levels": {}
        if levels is None
        else {
            symbol: {
                "high": none_if_nan(levels.high[i]),
                "low": none_if_nan(levels.low[i]),
                "count": int(levels.count[i]),
                "first_ts": none_if_no_time(levels.first_ts[i]),
                "last_ts": none_if_no_time(levels.last_ts[i]),
                "complete": bool(levels.complete[i]),
            }
            for i, symbol in enumerate(levels.symbols)
        },
    }


def signals_of(batches: Iterable[SignalBatch]) -> list[dict[str, Any]]:
    return [
        {
            "session": batch.sessions[batch.session[i]],
            "symbol": batch.symbols[batch.symbol[i]],
            "side": SIDES[batch.side[i]],
            "number": int(batch.number[i]),
            "ts": int(batch.ts[i]),
            "known_at": int(batch.known_at[i]),
            "price": float(batch.price[i]),
            "level": float(batch.level[i]),
            "companion": None
            if batch.companion[i] < 0
            else {
                "symbol": batch.symbols[batch.companion[i]],
                "price": float(batch.companion_price[i]),
                "ts": int(batch.companion_ts[i]),
            },
            "gap": bool(batch.gap[i]),
            "ambiguous": bool(batch.ambiguous[i]),
            "rules": condition_names(int(batch.filled("rules")[i])),
            "complete": bool(batch.complete[i]),
            "kind": KINDS[batch.kinds[i]],
            "touched_at": none_if_no_time(batch.filled("touched_at")[i]),
            "touch_excess": none_if_nan(batch.filled("touch_excess")[i]),
            "closed_beyond_at": none_if_no_time(batch.filled("closed_beyond_at")[i]),
        }
        for batch in batches
        for i in range(len(batch))
    ]


def bars_of(parts: Iterable[DerivedBars]) -> list[dict[str, Any]]:
    names = ("open", "high", "low", "close", "volume")
    return [
        {
            "symbol": bars.symbols[bars.symbol[i]],
            "ts": int(bars.ts[i]),
            **{name: float(getattr(bars, name)[i]) for name in names},
        }
        for bars in parts
        for i in range(len(bars))
    ]


def none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def none_if_no_time(value: int) -> int | None:
    return None if value == NO_TIME else int(value)


def pieces(rows: Rows, cuts: Iterable[int]) -> list[Rows]:
    """Rows cut at these positions, as far as a cut may be: never between rows of equal time."""
    ends = rows.ends if isinstance(rows, BarBlock) else rows.ts
    allowed = sorted({cut for cut in cuts if 0 < cut < len(rows) and ends[cut] != ends[cut - 1]})
    return [rows.rows(a, b) for a, b in zip([0, *allowed], [*allowed, len(rows)], strict=True)]


def minutes_in(case: Case, session: SessionAnswer) -> list[int]:
    """Starts of the minutes inside the hours that belong to a session."""
    start, end = session["start_ns"], session["end_ns"]
    return [m for m in minutes_of(case.day) if start <= m and m + MINUTE_NS <= end]


def is_auction(case: Case, session: SessionAnswer) -> bool:
    return any(w.name == session["session"] and w.auction for w in case.windows)


def expected_session(case: Case, session: SessionAnswer) -> dict[str, Any]:
    """The reference's session, but for two readings that openbell takes otherwise."""
    start, end = session["start_ns"], session["end_ns"]
    expected = {name: value for name, value in session.items() if not name.endswith("_ns")}
    if session["status"] == "COMPLETED" and not is_auction(case, session):
        starts, ends = case.day.grid(case.interval_ns or MINUTE_NS)
        if not ((starts >= start) & (ends <= end)).any():
            # Bars of several minutes, none of which could ever lie inside.
            return {**expected, "status": "SKIPPED", "truncated": False, "levels": {}}
        # A break in its middle cuts no session: it begins and ends when it should.
        minutes = minutes_in(case, session)
        expected["truncated"] = start < minutes[0] or minutes[-1] + MINUTE_NS < end
    return expected
