"""What a run leaves behind: the log of its signals, and each day's results as it ends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from openbell.actors.day import ROWS_AWAITED
from openbell.actors.effects import Commit
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sinks.tally import Account, Tally, day_tally
from openbell.market.derived import bars_on, replaced
from openbell.market.indicators import IndicatorValues
from openbell.market.results import DerivedBars, SessionDocument, SignalBatch
from openbell.messages.data import QualityReport
from openbell.messages.events import KINDS
from openbell.messages.session import DayOpened, Noticed, PhaseEntered, StateChanged
from openbell.runtime.record.news import News

if TYPE_CHECKING:
    from loguru import Logger


class DaySink(Protocol):
    """Something that takes whole days."""

    def write_day(self, day: DayResult) -> None: ...


class WholeDays(DaySink, Protocol):
    """Keeps whole days where a kill leaves them, so that a restart need not run them again."""

    def follow(
        self, configuration: Callable[[date], str], intervals: Callable[[date], Sequence[int]]
    ) -> None:
        """Told before all else what names the configuration that a day is run with, and the
        minutes of its derived bars."""
        ...

    def begin(self) -> None:
        """Nothing was run yet.

        Raises
        ------
        InputError
            If there are days all the same.
        """
        ...

    def written(self) -> Collection[date]:
        """The days that are there, those without data too."""
        ...

    def write_day_without_data(self, day: date, tally: Tally) -> None: ...

    def renew(self, account: Account) -> None:
        """A day has ended; `account` makes the summary of what all days come to."""
        ...

    def put_together(self, account: Account) -> None:
        """The run has ended, or was stopped."""
        ...


class SignalLog(News):
    """All signals of a run in the order in which they were committed; any thread may read it.

    Parameters
    ----------
    keep : bool
        Whether anybody will read it; if not, signals are counted only, and a long run stays small.
    """

    def __init__(self, *, keep: bool = True) -> None:
        super().__init__()
        self.keep = keep
        self._batches: list[SignalBatch] = []
        self._ends: list[int] = []

    def append(self, batch: SignalBatch) -> None:
        with self._changed:
            self._count += len(batch)
            if self.keep:
                self._batches.append(batch)
                self._ends.append(self._count)
        self._tell()

    def after(self, position: int) -> tuple[SignalBatch, int] | None:
        """The batch that holds the signal after a position, and that signal's place in it."""
        with self._changed:
            at = bisect_right(self._ends, position)
            if at == len(self._ends):
                return None
            start = self._ends[at - 1] if at else 0
            return self._batches[at], position - start

    def batches(self) -> Sequence[SignalBatch]:
        with self._changed:
            return tuple(self._batches)


class Recorder:
    """Takes commits in; what has been taken in can be seen.

    Parameters
    ----------
    on_day : callable, optional
        Gets each day that has ended, after the sinks, and the counts so far.
    on_day_without_data : callable, optional
        Gets the date of each day without a row inside its hours, and what it counts.
    """

    def __init__(
        self,
        sinks: Sequence[DaySink],
        on_day: Callable[[DayResult, Tally], None] | None = None,
        on_day_without_data: Callable[[date, Tally], None] | None = None,
        *,
        keep_signals: bool = True,
    ) -> None:
        self.taking: Callable[[Callable[[], None]], None] = lambda act: act()
        """What a day is taken in by; one that may be interrupted takes it in whole or not at all."""
        self.log = SignalLog(keep=keep_signals)
        self.tally = Tally()
        self.over: date | None = None
        """The last day that is over, in this process or an earlier one."""
        self.last_day: DayResult | None = None
        self.last_indicators: tuple[IndicatorValues, ...] = ()
        self._indicators: tuple[IndicatorValues, ...] = ()
        self._sinks = sinks
        self._on_day = on_day
        self._on_day_without_data = on_day_without_data
        self._not_again: Collection[date] = ()
        self._opened: DayOpened | None = None
        self._documents: dict[str, SessionDocument] = {}
        self._signals: list[SignalBatch] = []
        self._bars: dict[int, list[DerivedBars]] = {}
        self._bars_again: dict[int, list[DerivedBars]] = {}
        self._scans: dict[tuple[date | None, object, object], Noticed] = {}

    @property
    def taken(self) -> frozenset[date]:
        """The days that were taken in."""
        return frozenset((*self.tally.days, *self.tally.without_data))

    def commit(self, commit: Commit, *, seen_before: bool = False) -> None:
        """Take a step in; the signals of one that was seen before are not shown again."""
        for transition in commit.transitions:
            _log_transition(commit.step, transition)
        for notice in commit.noticed:
            _log_notice(commit.step, notice)
        for nothing in commit.without_data:
            self.over = nothing.date
            if nothing.date in self._not_again:
                continue
            tally = Tally(without_data=[nothing.date])
            tally.counts["rows"] = tally.counts["outside_hours"] = nothing.outside_hours
            self.taking(partial(self.tally.add, tally))
            if self._on_day_without_data is not None:
                self._on_day_without_data(nothing.date, tally)
        if commit.opened is not None:
            self._opened = commit.opened
            self._documents, self._signals, self._bars, self._bars_again = {}, [], {}, {}
            self._indicators = ()
            # Before a day is open, scans may have run for it.
            today = commit.opened.day.date
            self._scans = {of: told for of, told in self._scans.items() if of[0] == today}
        if commit.register and self._opened is not None:
            self._opened = self._opened.model_copy(update={"symbols": commit.register})
        for told in commit.scans:
            about = told.facts.get("scan") or told.facts["request"]
            self._scans[told.date, about, told.facts.get("at")] = told
        for document in commit.documents:
            before = self._documents.get(document.session_name)
            self._documents[document.session_name] = document
            _log_session(commit.step, before, document)
        if commit.indicators is not None:
            self._indicators = commit.indicators.values
        for bars in commit.bars:
            self._bars.setdefault(bars.interval_minutes, []).append(bars)
        for bars in commit.bars_again:
            self._bars_again.setdefault(bars.interval_minutes, []).append(bars)
        for batch in commit.signals:
            self._signals.append(batch)
            if not seen_before:
                self.log.append(batch)
        self.over = commit.closed or self.over
        if commit.closed is None or commit.closed in self._not_again:
            return
        if commit.quality is not None and self._opened is not None:
            report = commit.quality
            _warn_of_splits(commit.step, commit.closed, report)
            day = DayResult(
                trading_date=commit.closed,
                symbols=self._opened.symbols,
                documents=tuple(self._documents.values()),
                signals=tuple(self._signals),
                bars=self._all_bars(),
                quality=report.quality,
                bad=report.bad,
                tally=day_tally(
                    commit.closed,
                    report,
                    self._documents.values(),
                    self._signals,
                    self._indicators,
                    self._scans.values(),
                ),
                scans=tuple(self._scans.values()),
            )
            self.taking(partial(self._take, day))
            if self._on_day is not None:
                self._on_day(day, self.tally)

    def _all_bars(self) -> dict[int, tuple[DerivedBars, ...]]:
        """The day's, those that were made once more in the place of others."""
        found: dict[int, tuple[DerivedBars, ...]] = {}
        register = () if self._opened is None else self._opened.symbols
        for minutes in sorted({*self._bars, *self._bars_again}):
            parts, again = (
                # Those of before symbols came into the day are on the register of then.
                [
                    bars if bars.symbols == register else bars_on(bars, bars.symbols, register)
                    for bars in of.get(minutes, [])
                ]
                for of in (self._bars, self._bars_again)
            )
            # Where symbols have hours of their own, some bars are over before others that began first.
            differ = self._opened is not None and bool(self._opened.day.products)
            found[minutes] = (replaced(parts, again),) if again or differ else tuple(parts)
        return found

    def _take(self, day: DayResult) -> None:
        self.tally.add(day.tally)
        self.last_day, self.last_indicators = day, self._indicators
        for sink in self._sinks:
            sink.write_day(day)

    def go_on(self, over: date | None, not_again: Collection[date] = ()) -> None:
        """Steps follow that need not be the next: a day whose opening is not among them is left out
        of the results, since what came of it so far may be missing or come again.

        Parameters
        ----------
        not_again : collection of date
            Days that were taken in, and are not taken in once more if they come again.
        """
        self.over = over
        self._not_again = not_again
        self._opened = None


def _about(day: date, step: int) -> Logger:
    """The log, for what a step brought of a day: the run may have come further since."""
    return logger.bind(day=str(day), step=step)


def _warn_of_splits(step: int, day: date, report: QualityReport) -> None:
    for split in report.possible_splits:
        _about(day, step).warning(
            "{} {}: opened at {} after a close of {}; a split? prices are used as given",
            day,
            split.symbol,
            split.open,
            split.previous_close,
        )


def _log_transition(step: int, transition: StateChanged | PhaseEntered) -> None:
    day = transition.date
    told = _about(day, step)
    if isinstance(transition, PhaseEntered):
        if transition.phase == "clear":
            told.info("advancing to {}", day)
        told.debug("{}: phase {}", day, transition.phase)
        return
    if transition.after == "POST_MARKET":
        told.info("{}: market close reached", day)
        if transition.why == ROWS_AWAITED:
            told.warning("{}: closed without its rows, which are waited for", day)
    level = KINDS[f"day.{transition.after.lower()}"].level
    told.log(level, "{}: {} → {}, {}", day, transition.before, transition.after, transition.why)


def _log_notice(step: int, notice: Noticed) -> None:
    told = logger.bind(step=step)
    if notice.date is not None:
        told = _about(notice.date, step)
    told.log(KINDS[notice.kind].level, "{}: {}", notice.kind, notice.why)


def _log_session(step: int, before: SessionDocument | None, after: SessionDocument) -> None:
    if before is not None and before.status == after.status:
        return
    day, name = after.trading_date, after.session_name
    told = _about(day, step)
    match after.status:
        case "ACTIVE":
            told.info("{}: session activated: {}", day, name)
        case "COMPLETED":
            told.info("{}: session deactivated: {}", day, name)
        case "SKIPPED":
            told.info("{}: session skipped: {}: {}", day, name, after.reason)
        case "PENDING":
            pass
    if after.reason and after.status == "COMPLETED":
        told.info("{}: {} was {}", day, name, after.reason)
