"""A live day held against its recording, run again, and against its rows in time order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from openbell.adapters.sinks.files import DayResult
from openbell.adapters.stores import Store
from openbell.adapters.stores.columns import document_text, pack_document, signal_rows
from openbell.adapters.tables import bars_table, decoded, levels_table, quality_table
from openbell.errors import ConfigError, InputError, way_out
from openbell.market.assembly import assemble
from openbell.market.bars import RowBatch
from openbell.market.rules import NO_RULES
from openbell.messages.control import Start
from openbell.runtime.config import Config
from openbell.runtime.config.model import FeedConfig
from openbell.runtime.engine import Engine
from openbell.runtime.intake.fed import raw_rows_of
from openbell.runtime.intake.planning import recorded_plan
from openbell.runtime.intake.settings import row_rules
from openbell.runtime.lifetime.eras import Era, counted, era_on, eras_of, plan_over
from openbell.runtime.lifetime.keeping import Recording
from openbell.runtime.lifetime.recovery import carried_over
from openbell.runtime.lifetime.rerunning import (
    RecordedRun,
    as_recorded,
    as_restored,
    era_recorded,
    not_as_recorded,
)
from openbell.runtime.record import brought
from openbell.runtime.record.journal import NotHere
from openbell.runtime.record.recorded import stretches
from openbell.runtime.record.recordings import (
    OpenDay,
    about_day,
    recorded_days,
    with_what_came,
)
from openbell.runtime.record.steplog import scans_of
from openbell.runtime.results.collecting import Collected
from openbell.runtime.results.recording import Recorder

LIVE, RECORDED, SORTED = "the live day", "its recording", "the day in time order"

OF_THE_MARKET = ("ts", "price", "level")
"""What of a signal does not tell when its row came."""

Answers = Mapping[tuple[str, ...], Any]
"""What a day came to, thing by thing: by what kind it is, and which of its kind."""


@dataclass(frozen=True)
class Compared:
    """How many of two days' answers are equal, and the first that isn't, in words."""

    one: str
    other: str
    equal: int
    of: int
    first: str | None

    @property
    def percent(self) -> float:
        return 100.0 * self.equal / self.of if self.of else 100.0

    def __str__(self) -> str:
        shown = f"{self.percent:.2f}".rstrip("0").rstrip(".")
        if self.equal < self.of and shown == "100":
            shown = "less than 100"  # what differs must not be rounded away
        told = f"{self.one} and {self.other}: {shown} % of {self.of:,} answers are equal"
        return told if self.first is None else f"{told}; first: {self.first}"


@dataclass(frozen=True)
class Parity:
    """A live day held against its recording, and against its rows in time order."""

    trading_date: date
    rows: int
    steps: int
    recording: Compared
    in_order: Compared


def parity(config: Config, store: Store, day: date, recording: Path | None = None) -> Parity:
    """Hold a live day against its recording, and against its rows in time order.

    Parameters
    ----------
    recording : path, optional
        Of recorded days; None: `feed.record`, or else, also where that does not have the whole day
        yet, one that is made of the store.

    Raises
    ------
    InputError
        If the day was not run, has not closed, or has no recording, or one that lacks its end.
    """
    eras = eras_of(store.head(), ())
    live = _live(store, day, eras)
    with TemporaryDirectory(prefix="openbell-") as scratch:
        folder = recording or config.feed.record
        if recording is None and (folder is None or not _is_whole(folder, day)):
            folder = Path(scratch)
            made = Recording(folder, store, lambda of, on: _config_on(config, of, on))
            made.catch_up(only=day)
        assert folder is not None
        days = recorded_days(folder)
        if day not in days:
            raise InputError(f"{folder}: has no recording of {day}")
        about = about_day(days[day], day)
        if not about.closed and about.last < (last := _last_step(store, day)):
            raise InputError(
                f"{folder}: {day} is not whole there: it is recorded up to step {about.last:,} of "
                f"{last:,}; recordings are written every minute and when a run ends, so ask again "
                "then, or name none, and one is made of the store"
            )
        if others := not_as_recorded(config, about):
            raise ConfigError(
                f"{folder}: {day} was recorded under another configuration: {'; '.join(others)}; "
                f"{way_out('name that one with --config', 'pass that one')}"
            )
        again = _again(config, days[day], day)
        in_order = _sorted(config, OpenDay(days[day], day))
    return Parity(
        day,
        about.rows,
        about.last - about.first + 1,
        compared(LIVE, live, RECORDED, again),
        compared(LIVE, of_the_market(live), SORTED, of_the_market(in_order)),
    )


def _is_whole(folder: Path, day: date) -> bool:
    """Whether a day is recorded to its end: while a run goes on, what is written lags behind."""
    days = recorded_days(folder)
    return day in days and about_day(days[day], day).closed


def _last_step(store: Store, day: date) -> int:
    return next((of.last for of in stretches(store) if of.trading_date == day), 0)


def _config_on(config: Config, eras: Sequence[Era], of: date) -> Config:
    return config.with_determining(era_on(eras, of).config)


def compared(one: str, left: Answers, other: str, right: Answers) -> Compared:
    """Two days' answers, thing by thing."""
    things = list(dict.fromkeys([*left, *right]))
    unlike = [thing for thing in things if _differ(left.get(thing), right.get(thing))]
    first = None
    if unlike:
        thing = unlike[0]
        first = f"{': '.join(thing)}: {_told(one, left.get(thing), other, right.get(thing))}"
    return Compared(one, other, len(things) - len(unlike), len(things), first)


def _differ(one: Any, other: Any) -> bool:
    return one != other and repr(one) != repr(other)  # no number is a number like itself


def _told(one: str, left: Any, other: str, right: Any) -> str:
    if left is None or right is None:
        there, not_there = (one, other) if right is None else (other, one)
        return f"is in {there}, and not in {not_there}"
    if isinstance(left, bytes) and isinstance(right, bytes):
        left, right = orjson.loads(left), orjson.loads(right)
    for key, (was, now) in _unlike(left, right):
        return f"{key} is {was!r} in {one}, {now!r} in {other}"
    return f"is written differently in {one} and in {other}"


def _unlike(left: Any, right: Any, key: str = "it") -> Iterator[tuple[str, tuple[Any, Any]]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for name in dict.fromkeys([*left, *right]):
            below = name if key == "it" else f"{key}.{name}"
            yield from _unlike(left.get(name), right.get(name), below)
    elif _differ(left, right):
        yield key, (left, right)


def of_the_market(answers: Answers) -> Answers:
    """Levels, breakouts and bars: what does not tell when rows came."""
    found: dict[tuple[str, ...], Any] = {}
    for thing, value in answers.items():
        if thing[0] == "signal":
            fields = orjson.loads(value)
            found[thing] = {name: fields[name] for name in OF_THE_MARKET}
        elif thing[0].startswith(("level", "bar of")):
            found[thing] = value
    return found


def answers_of(
    signals: Sequence[tuple[str, bytes]], documents: Sequence[tuple[str, bytes]], day: DayResult
) -> Answers:
    """What a day came to.

    Parameters
    ----------
    signals : sequence
        Ids and JSON, in the log's order.
    documents : sequence
        Sessions' names and their documents' JSON, in any order.
    """
    found: dict[tuple[str, ...], Any] = {}
    for session, body in sorted(documents):
        found["session", session] = body
    for row in decoded(levels_table(day.documents, day.symbols)).to_pylist():
        found["level", row["session"], row["symbol"]] = row
    for key, body in signals:
        found["signal", key] = body
    found["order of the signals",] = {f"number {n}": key for n, (key, _) in enumerate(signals, 1)}
    for minutes in sorted(day.bars):
        for row in decoded(bars_table(day.bars[minutes])).to_pylist():
            found[f"bar of {minutes}m", row["symbol"], f"{row['ts']:%H:%M}Z"] = row
    for row in decoded(quality_table(day.quality)).to_pylist():
        found["quality", row["symbol"]] = row
    for split in day.tally.possible_splits:
        found["possible split", str(split["symbol"])] = split
    for bad in day.bad:
        found["unusable row", str(bad.row), bad.reason] = {"symbol": bad.symbol, "ts": bad.ts_ns}
    return found


def _of_run(kept: Collected, day: date) -> Answers:
    """Of a day that was run in memory."""
    found = next((of for of in kept.days if of.trading_date == day), None)
    if found is None:
        return {}
    rows = [signal_rows(batch) for batch in found.signals]
    return answers_of(
        [pair for of in rows for pair in zip(of.ids, of.bodies, strict=True)],
        [(of.session_name, document_text(pack_document(of))) for of in found.documents],
        found,
    )


def _live(store: Store, day: date, eras: Sequence[Era]) -> Answers:
    """What was committed of a day: nothing is run again."""
    days = counted(stretches(store), eras)
    of = next((of for of in days if of.trading_date == day), None)
    if of is None:
        span = (
            f"it has {days[0].trading_date} to {days[-1].trading_date}" if days else "nothing was"
        )
        raise InputError(f"{day}: was not run, or its steps were dropped; {span}")
    kept = Collected()
    recorder = Recorder((kept,), keep_signals=False)
    entries = store.journal(day, kind=brought.BROUGHT)
    for commit in brought.commits(entries, of.last):
        if commit.step >= of.first:
            recorder.commit(commit)
    if not kept.days:
        if day in recorder.tally.without_data:
            return {}
        raise InputError(
            f"{day}: has no results: it has not closed yet, or no feed brought its rows; ask again "
            "when it has closed"
        )
    return answers_of(
        [(signal.id, signal.body) for _, signal in store.signals(trading_date=day)],
        [(of.session, of.body) for of in store.documents(trading_date=day)],
        kept.days[-1],
    )


def _again(config: Config, folder: Path, day: date) -> Answers:
    """What a recorded day comes to when it is run again."""
    kept = Collected()
    run = RecordedRun(config, {day: folder}, Recorder((kept,), keep_signals=False))
    try:
        run.run()
    finally:
        run.let_go()
    return _of_run(kept, day)


def _sorted(config: Config, recorded: OpenDay) -> Answers:
    """What its rows come to in time order, none of them late."""
    about = recorded.about
    made = as_recorded(config, about)
    rules = row_rules(made)
    stored = made.data.model_copy(update={"order": "time"})
    made = made.model_copy(update={"feed": FeedConfig(), "data": stored})
    found = as_restored(recorded)
    era = era_recorded(about)
    came = [found.inserted[step] for step in sorted(found.inserted)]
    if came:  # they are there from the open
        every = {*era.followed, *(of for change in came for of in change.followed_today)}
        config_of_all = {**era.config, "symbols": sorted(every)}
        era = replace(era, config=config_of_all, symbols=about.every)
    planned = plan_over(recorded_plan(made, (about.day,), about.every), (era,))
    kept = Collected()
    engine = Engine(
        planned, NotHere(about.kind, about.interval_ns), Recorder((kept,), keep_signals=False)
    )
    for name, state in carried_over(engine.cells, found).items():
        if name != "clock":
            engine.cells[name].state = state
    raw = with_what_came(recorded)
    if rules != NO_RULES:
        # What they leave goes by the order in which rows came.
        data = assemble(raw, about.day, about.interval_ns, "arrival", rules)
        assert isinstance(data.rows, RowBatch)
        raw = raw_rows_of(about.every, data.rows)
    engine.loader.remember(
        {
            of: replace(
                read,
                symbols=about.every,
                code=raw.code,
                ts=raw.ts,
                columns=raw.columns,
                history=came[-1].history if came else read.history,
                signed=True,
            )
            for of, read in found.journal.items()
        }
    )
    engine.answer_scans([of for step, _ in recorded.lines() for of in scans_of(step.grant)])
    engine.run(Start(days=(about.day,)))
    return _of_run(kept, about.date)
