"""Keeps the days before at hand: reads what is missing, drops what has left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from openbell.market.assembly import assemble, no_raw_rows
from openbell.market.bars import DayData, Order, RawRows
from openbell.market.days import TradingDay
from openbell.market.history import (
    History,
    HistoryDay,
    Need,
    WantedDay,
    among,
    history_day,
    missing_days,
    period_days,
    rolled,
    since_turns,
    wanted_days,
    with_known,
)
from openbell.market.indicators import IndicatorSpec
from openbell.market.rules import NO_RULES, RowRules
from openbell.messages.data import HistoryReady
from openbell.runtime.config import Config
from openbell.runtime.config.conditions import Volume

Read = Callable[[TradingDay, tuple[str, ...]], RawRows]
"""Rows of these symbols on a trading day."""


@dataclass(frozen=True)
class TrailingSettings:
    """What is to be at hand before each day."""

    specs: tuple[IndicatorSpec, ...]
    needs: tuple[Need, ...]
    """Of the indicators, and of `history.data` where it was given or there are indicators."""
    before: Callable[[date, int], tuple[TradingDay, ...]]
    """The n trading days before a date."""
    dates: frozenset[date]
    """Local dates on which the source has rows; others are not asked for."""
    turns: tuple[tuple[str, tuple[date, ...]], ...] = ()
    """Symbols that stand for one contract after another, and the first date of each."""


def trailing_settings(
    config: Config,
    before: Callable[[date, int], tuple[TradingDay, ...]],
    dates: Mapping[date, int],
    scans: Sequence[Need] = (),
) -> TrailingSettings:
    """What a configuration wants to have at hand, and what its scans do."""
    specs = tuple(
        IndicatorSpec(
            name=name,
            type=indicator.type,
            period=indicator.period,
            granularity=indicator.granularity,
            field=indicator.field,
            include_special=indicator.include_special,
            symbols=None if indicator.apply_to == "all" else tuple(indicator.apply_to),
            options=indicator.options,
        )
        for name, indicator in config.history.indicators.items()
    ) + volume_averages(config)
    needs = [spec.need for spec in specs]
    # The default of ten days is for indicators: who has none and asks for nothing reads nothing.
    if specs or "data" in config.history.model_fields_set:
        bar_ns = config.data.interval.ns
        needs += [
            Need(
                key=f"history.data[{place}]",
                period=f"{entry.trailing_days}d",
                rows=any(interval.ns == bar_ns for interval in entry.intervals) and not specs,
                symbols=None if entry.apply_to == "all" else frozenset(entry.apply_to),
            )
            for place, entry in enumerate(config.history.data)
        ]
    return TrailingSettings(specs, (*needs, *scans), before, frozenset(dates))


def volume_averages(config: Config) -> tuple[IndicatorSpec, ...]:
    """The averages of each minute's volume that rules of breakouts hold volumes against."""
    found = {}
    for session in config.sessions:
        volume = config.breakout_for(session).volume
        if isinstance(volume, Volume) and volume.of == "minute":
            found[volume.average] = IndicatorSpec(
                name=volume.average,
                type="trailing_average",
                period=volume.period,
                granularity="intraday",
                field="volume",
                asked_by="breakout.volume",
            )
    return tuple(found.values())


class Trailing:
    """The days before, rolled from day to day; on the thread that reads.

    Parameters
    ----------
    known : History, optional
        Of other symbols, for the day that is asked for first or an earlier one: what it has of these
        is not read again.
    """

    def __init__(
        self,
        settings: TrailingSettings,
        symbols: tuple[str, ...],
        interval_ns: int | None,
        read: Read,
        took: Callable[[float], None],
        order: Order = "time",
        rules: RowRules = NO_RULES,
        known: History | None = None,
    ) -> None:
        self._order, self._rules = order, rules
        self._known = {} if known is None else {of.day.date: of for of in known.days}
        self._settings = settings
        self.symbols = symbols
        self._interval_ns = interval_ns
        self._read = read
        self._took = took
        self._history = History(symbols)
        self._last: DayData | None = None

    def before(self, day: TradingDay) -> HistoryReady | None:
        """What is to be at hand for a day; None where nothing is.

        Raises
        ------
        CalendarError
            If the calendar does not go back that far.
        """
        settings = self._settings
        if not settings.needs:
            return None
        began = time.perf_counter()
        wanted = wanted_days(settings.needs, day.date, settings.before)
        came: list[HistoryDay] = []
        for missing in missing_days(self._history, wanted):
            past = missing.day
            if self._last is not None and self._last.day.date == past.date:
                came.append(history_day(self._last.rows, keep_rows=missing.rows))
            elif self._is_read(past):
                came.append(self._came(missing))
        self._known = {}
        self._history = since_turns(rolled(self._history, wanted, came), settings.turns, day.date)
        periods = tuple(
            tuple(
                d.date
                for d in period_days(
                    spec.period,
                    day.date,
                    settings.before,
                    include_special=spec.include_special,
                    days_before=spec.days_before,
                )
            )
            for spec in settings.specs
        )
        self._took(time.perf_counter() - began)
        return HistoryReady(history=self._history, periods=periods)

    def _came(self, missing: WantedDay) -> HistoryDay:
        """A day before, read for the symbols of which it is not known."""
        known = self._known.get(missing.day.date)
        if known is not None and missing.rows and known.rows is None:
            known = None
        there = () if known is None else known.symbols
        asked = missing.symbols
        names = tuple(s for s in self.symbols if s not in there and (asked is None or s in asked))
        if names:
            raw = among(self.symbols, self._read(missing.day, names))
        else:
            raw = no_raw_rows(self.symbols, self._interval_ns)
        data = assemble(raw, missing.day, self._interval_ns, self._order, self._rules)
        fresh = history_day(data.rows, keep_rows=missing.rows)
        return fresh if known is None else with_known(fresh, known)

    def given(self, ready: HistoryReady | None) -> None:
        """What was at hand for a day that is not read anew: later ones go on from it."""
        if ready is not None:
            self._history = ready.history

    def over(self, data: DayData) -> None:
        """A day was read for the run itself: it need not be read again as one before."""
        # One that `before` would not read is not at hand either: a restart may begin after it.
        if self._settings.needs and (self._is_read(data.day) or data.counts.rows.any()):
            self._last = data

    def _is_read(self, past: TradingDay) -> bool:
        return not self._settings.dates.isdisjoint(past.local_dates)
