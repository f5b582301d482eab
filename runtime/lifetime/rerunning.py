"""Runs recorded days again: with the grants under which they were lived, on the rows that came."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from openbell.actors import clock
from openbell.actors.effects import Commit, Settled
from openbell.adapters.sources import FileIdentity, Source, SourceInfo
from openbell.adapters.sources.parquet import footer_digest
from openbell.errors import ConfigError, DataError, DayFailed, InputError, way_out
from openbell.market.days import DAY_NS, EPOCH, MarketTime, TradingDay
from openbell.market.indicators import Indicator
from openbell.messages.control import DayOver, Prepared, SymbolsRefused, Woke
from openbell.runtime.config import Config
from openbell.runtime.config.model import ROW_RULES, FeedConfig
from openbell.runtime.engine import Engine
from openbell.runtime.intake.handover import HandOver
from openbell.runtime.intake.planning import Plan, recorded_plan
from openbell.runtime.lifetime.eras import Era, differences, plan_over, read_contracts
from openbell.runtime.lifetime.keeping import CARRIED
from openbell.runtime.lifetime.recovery import Restored, restore
from openbell.runtime.lifetime.replaying import Replayed, gone_through
from openbell.runtime.record import filled, inserted, journal
from openbell.runtime.record.codec import decode
from openbell.runtime.record.journal import NotHere
from openbell.runtime.record.ledger import Ledger
from openbell.runtime.record.recordings import (
    MARKS,
    ROWS,
    About,
    OpenDay,
    about_day,
    recorded_days,
    without_marks,
)
from openbell.runtime.record.telling import Telling
from openbell.runtime.results.events import MemoryEvents
from openbell.runtime.results.recording import Recorder

TOKEN = "recording"  # noqa: S105 no secret
"""What the clock is held by while a recorded day's steps are given to it."""

GIVEN = 256
"""So many at a time: each has its rows with it, and counts of all symbols."""

NO_ANSWER = "its recording ends before they were there"

LIVE = ("feed", "day", "prefetch")
"""Sections of what determines a live day's answers whose effect a recording has already."""


def as_recorded(config: Config, about: About) -> Config:
    """A configuration, with what of a recording decided how its day went by.

    What rows mean is the configuration's own word, where it has one.
    """
    made = config.determining()
    for section in LIVE:
        made.pop(section, None)
        if section in about.config:
            made[section] = about.config[section]
    if config.feed.type != "replay" or config.feed.model_fields_set & set(ROW_RULES):
        rules = {key: getattr(config.feed, key) for key in ROW_RULES}
        at_default = {key: FeedConfig.model_fields[key].default for key in ROW_RULES}
        others = {key: of for key, of in made["feed"].items() if key not in ROW_RULES}
        own = {key: rule for key, rule in rules.items() if rule != at_default[key]}
        made["feed"] = {**others, **own}
    made["data"].pop("order", None)  # rows are in the order in which they came
    if "order" in about.config["data"]:
        made["data"]["order"] = about.config["data"]["order"]
    made["clock"] = {**made["clock"], "time": about.config["clock"].get("time", "feed")}
    named = made["symbols"]
    if about.configured == (named if named == "all" else tuple(sorted(named))):
        made["symbols"] = about.config["symbols"]  # others were asked for beside it
    return config.with_determining(made)


def not_as_recorded(config: Config, about: About) -> list[str]:
    """What of a configuration would give a recorded day other answers, in words."""
    return differences(about.config, as_recorded(config, about).determining())


def recording_of(
    config: Config,
    path: Path | str,
    start: date | datetime | None,
    end: date | None,
    speed: float,
) -> tuple[dict[date, Path], str | None]:
    """The recorded days that a backtest of a file or folder goes through.

    Returns
    -------
    The days, each with its folder, none where it is no recording; and why they can't be gone
    through as they were lived, in words.
    """
    found = recorded_days(path)
    days = {of: folder for of, folder in found.items() if about_day(folder, of).begun}
    if not days:
        return {}, None
    if bare := without_marks(path):
        return days, f"{bare[0]} has no marks beside its rows"
    if "order" in config.data.model_fields_set and config.data.order == "time":
        return days, "it is to be gone through in time order"
    if isinstance(start, datetime):
        return days, "it is to begin inside a day"
    if speed > 0:
        return days, "it is to go by at a speed"
    asked = {
        of: folder
        for of, folder in days.items()
        if (start is None or of >= start) and (end is None or of <= end)
    }
    if not asked:
        raise DataError(f"{path}: has no recording from {start} to {end}; it has {_span(days)}")
    for of, folder in asked.items():
        if others := not_as_recorded(config, about_day(folder, of)):
            return days, f"{of} was recorded under another configuration: {'; '.join(others)}"
    return asked, None


def _span(days: Mapping[date, Path]) -> str:
    return f"{min(days)} to {max(days)}"


def as_restored(recorded: OpenDay) -> Restored:
    """A recorded day as a restart finds one that is to be gone through from its beginning; its
    steps are still to be given."""
    found = Restored(0, recorded.about.first - 1, EPOCH)
    found.anew = recorded.about.date
    for entry in recorded.kept:
        if entry.name.startswith(f"{CARRIED} "):
            found.states = decode(entry.body)
    found.journal = journal.days(recorded.kept)
    found.filled = filled.fills(recorded.kept, lambda step, of: True)
    found.inserted = inserted.insertions(recorded.kept, lambda step, of: True)
    return found


def replay_recorded(
    config: Config, path: Path | str, day: date, until: str | None = None
) -> Replayed:
    """Run a recorded day again, to look at it; no store is needed.

    Parameters
    ----------
    until : str, optional
        Local time of the day to stop at, "10:42"; what was known then is in the actors.

    Raises
    ------
    InputError
        If there is no such day, or it was recorded under another configuration.
    """
    days = recorded_days(path)
    if day not in days:
        kept = _span(days) if days else "none"
        raise InputError(f"{path}: has no recording of {day}; it has {kept}")
    recorded = OpenDay(days[day], day)
    about = recorded.about
    if others := not_as_recorded(config, about):
        raise ConfigError(
            f"{path}: {day} was recorded under another configuration: {'; '.join(others)}; "
            f"{way_out('name that one with --config', 'pass that one')}"
        )
    planned = planned_as_recorded(config, about, about.day)
    engine = Engine(planned, _Files({day: days[day]}, (about,)), Recorder(()))
    found, lines = as_restored(recorded), list(recorded.lines())
    found.steps = tuple(step for step, _ in lines)
    found.came = {step.number: came for step, came in lines if came is not None}
    return gone_through(engine, planned, found, day, about.first, until, compares=False)


def planned_as_recorded(
    config: Config,
    about: About,
    *days: TradingDay,
    indicators: Mapping[str, Indicator] | None = None,
) -> Plan:
    """A plan over recorded days, with the symbols that they were recorded with."""
    made = as_recorded(config, about)
    planned = recorded_plan(made, days, about.symbols, indicators=indicators)
    return plan_over(planned, (era_recorded(about),))


def era_recorded(about: About) -> Era:
    """Under what a recorded day was run."""
    contracts = read_contracts(about.contracts)
    return Era(date.min, about.config, about.symbols, contracts=contracts)


class _Files(NotHere):
    """The files of recorded days; their rows come with the grants."""

    def __init__(self, days: Mapping[date, Path], about: Sequence[About]) -> None:
        super().__init__(about[-1].kind, about[-1].interval_ns)
        files = [
            folder / f"{of}{suffix}" for of, folder in days.items() for suffix in (ROWS, MARKS)
        ]
        unfinished = [of for of in about if of.until_ns < of.day.close_ns]
        self._info = SourceInfo(
            about[-1].kind,
            about[-1].interval_ns,
            tuple(sorted({symbol for of in about for symbol in of.every})),
            tuple(
                FileIdentity(str(file), file.stat().st_size, footer_digest(file))
                for file in files
                if file.exists()
            ),
            notes=tuple(
                f"{of.trading_date}: its recording ends inside the day; what follows is gone "
                "through as if no row had come any more"
                for of in unfinished
            ),
        )


class _Following(Ledger):
    """Gives a recorded day's steps, some at a time, hands on what they bring, and ends with the day.

    The clock is held meanwhile, so that it does nothing by itself. Where the recording ends before
    the day, no more rows of it come: it is let go, and goes through it to its close.
    """

    def __init__(
        self,
        engine: Engine,
        recorded: OpenDay,
        found: Restored,
        recorder: Recorder,
        events: MemoryEvents,
    ) -> None:
        self._engine, self._recorder, self._events = engine, recorder, events
        self._found, self._lines = found, recorded.lines()
        self._brought: Commit | None = None
        self._day, self._last = recorded.about.day, recorded.about.last
        self._until = 0
        """The last step that was given."""
        self.ended = self._told = False
        self.reached = 0

    def further(self) -> Prepared:
        """The next steps."""
        lines = list(islice(self._lines, GIVEN))
        self._found.came = {step.number: came for step, came in lines if came is not None}
        self._until = lines[-1][0].number
        return Prepared(grants=tuple(self._found.granted(step) for step, _ in lines))

    @property
    def outages(self) -> list[float]:
        return []

    def gives_again(self, step: int) -> bool:
        return not self._told  # what came of what was asked is among the steps

    def brought(self, commit: Commit) -> None:
        today = self._day.date
        self.ended |= commit.closed == today
        self.ended |= any(nothing.date == today for nothing in commit.without_data)
        self._recorder.commit(commit)
        self._brought = commit

    def settled(self, settled: Settled) -> None:
        self.reached = settled.grant.step
        if self._brought is not None:
            brought, self._brought = self._brought, None
            self._events.settled(brought, settled.grant)
        if self.reached < self._until:
            return
        if self.reached < self._last:
            self._engine.tell_clock(self.further())
        elif self.ended:
            self._engine.dispatcher.finish()
        elif not self._told:
            self._told = True
            self._engine.answer_scans(())
            self._engine.inserter.refuses = NO_ANSWER
            of_clock = settled.clock
            assert isinstance(of_clock, clock.State)
            for asked in of_clock.inserting:
                self._engine.tell_clock(
                    SymbolsRefused(
                        request=asked.request, by=asked.by, symbols=asked.symbols, why=NO_ANSWER
                    )
                )
            self._engine.resume(TOKEN)
            after = MarketTime(self._day.close_ns + DAY_NS)
            self._engine.tell_clock(Woke(at_ns=after, complete_ns=after))
            self._engine.tell_clock(DayOver(date=self._day.date))

    def leave(self) -> None:
        return

    def drain(self) -> None:
        return

    def close(self) -> None:
        return


class RecordedRun:
    """A run over recorded days that leaves nothing behind; each is run by itself.

    Parameters
    ----------
    days : mapping
        The folder that each day is in, oldest first; all of them have begun.
    """

    feed: HandOver | None = None

    def __init__(
        self,
        config: Config,
        days: Mapping[date, Path],
        recorder: Recorder,
        *,
        indicators: Mapping[str, Indicator] | None = None,
    ) -> None:
        self.recorder = recorder
        self.telling = Telling()
        self.events = MemoryEvents(self.telling, keep=recorder.log.keep)
        self._config, self._indicators = config, indicators
        about = {of: about_day(folder, of) for of, folder in days.items()}
        self._days = dict(days)
        self.source: Source = _Files(self._days, tuple(about[of] for of in self._days))
        self.plan = self._planned(about[max(self._days)], *(about[of].day for of in self._days))
        self.engine = self._engine(self.plan, recorder)
        self.beside: Callable[[Engine], object] = lambda engine: None
        """Gets each day's engine before it runs, to listen to it."""
        self._stopped = False

    def run(self) -> None:
        with self.telling.until_end(lambda: self._stopped):
            self._run()

    def _run(self) -> None:
        for of, folder in self._days.items():
            if self._stopped:
                return
            self._run_day(OpenDay(folder, of))

    def stop(self) -> None:
        self._stopped = True
        self.engine.stop()

    def let_go(self) -> None:
        self.engine.close()

    def pause(self, token: str) -> None:
        self.telling.paused(None, token)
        self.engine.pause(token)

    def resume(self, token: str) -> None:
        self.telling.paused(token, None)
        self.engine.resume(token)

    def step(self) -> None:
        self.engine.step()

    def liveliness(self) -> dict[str, Any]:
        return {}

    def _run_day(self, recorded: OpenDay) -> None:
        planned = self._planned(recorded.about, recorded.about.day)
        self.engine.close()
        self.engine = engine = self._engine(planned, self.recorder)
        self.beside(engine)
        found = as_restored(recorded)
        restore(engine, planned, found)
        following = _Following(engine, recorded, found, self.recorder, self.events)
        engine.ledger = following
        if self._stopped:
            return
        engine.pause(TOKEN)
        try:
            engine.run(following.further())
        except DayFailed:
            if not following.ended:  # else it was the roll to the next day that failed
                raise

    def _planned(self, about: About, *days: TradingDay) -> Plan:
        return planned_as_recorded(self._config, about, *days, indicators=self._indicators)

    def _engine(self, planned: Plan, recorder: Recorder) -> Engine:
        return Engine(planned, self.source, recorder, telling=self.telling)
