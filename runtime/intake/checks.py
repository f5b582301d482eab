"""Whether a configuration can be run, asked before it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from openbell.adapters.sources import open_source
from openbell.errors import DataError
from openbell.market.calendar import coverage
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.windows import NoWindow, Window, session_window
from openbell.runtime.config import Config
from openbell.runtime.intake.contracts import resolved
from openbell.runtime.intake.hours import calendar_for
from openbell.runtime.intake.planning import plan
from openbell.runtime.intake.refusals import refuse_windows_outside
from openbell.runtime.intake.settings import data_options, settings


@dataclass(frozen=True)
class DayWindows:
    """When the sessions take place on a trading day."""

    day: TradingDay
    windows: Mapping[str, Window | NoWindow]
    """By session, as configured."""


def check_config(config: Config, today: date, *, refuse: bool = True) -> tuple[DayWindows, ...]:
    """When the sessions take place on the days of the two weeks from a date on.

    Parameters
    ----------
    refuse : bool
        Whether to refuse sessions that take place on none of the days. Where there are rows to
        run, it is their days that count, see `plan`.

    Raises
    ------
    ConfigError, CalendarError
        If the configuration can't be run, as far as can be told without its data.
    """
    _, latest = coverage(config.exchange)
    last = max(today, min(today + timedelta(days=14), latest))
    days = calendar_for(config, today, last).days()
    made = settings(config)
    if refuse:
        refuse_windows_outside(config, made, days)
    slot_ns = made.interval_ns or MINUTE_NS
    return tuple(
        DayWindows(day, {spec.name: session_window(day, spec, slot_ns) for spec in made.sessions})
        for day in days
    )


def check_contracts(config: Config, today: date) -> tuple[str, ...]:
    """What is missing, of the next two weeks, in the file of instruments of a run that a feed brings
    rows to; of stored data, `check_data` tells it of the days that there are.

    Raises
    ------
    ConfigError, DataError
        If the file can't be read, lacks what is needed, or contradicts itself.
    """
    if config.instruments.file is None or config.feed.type == "replay":
        return ()
    _, latest = coverage(config.exchange)
    last = max(today, min(today + timedelta(days=14), latest))
    days = [day.date for day in calendar_for(config, today, last).days()]
    symbols = () if config.symbols == "all" else (*config.symbols, *config.paired.values())
    return resolved(config, days, symbols).notes if days else ()


def check_data(config: Config, noted: list[str] | None = None) -> DataError | None:
    """Why a run refuses the data that a configuration names; None: it takes it, or needs none.

    Parameters
    ----------
    noted : list, optional
        Gets what looks wrong though it can be run.

    Raises
    ------
    ConfigError, CalendarError
        If the configuration and its data contradict each other.
    """
    if config.data.path is None:
        return None
    try:
        source = open_source(config.data.path, data_options(config))
        backtest, feed = config.backtest, config.feed
        try:
            for start, end in {(backtest.start, backtest.end), (feed.start, feed.end)}:
                found = plan(config, source, start, end).notes
                if noted is not None:
                    noted += [note for note in found if note not in noted]
        finally:
            source.close()
    except DataError as error:
        return error
    return None
