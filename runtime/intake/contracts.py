"""Which contract goes with an index on each day of a run, and what each symbol's tick is then."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from difflib import get_close_matches

from openbell.adapters.instruments import InstrumentsFile
from openbell.adapters.sources import FileIdentity
from openbell.errors import CalendarError, ConfigError, DataError
from openbell.market.calendar import coverage
from openbell.market.instruments import (
    NO_CONTRACTS,
    Contracts,
    Instrument,
    Instruments,
    contracts,
    ticks_of,
)
from openbell.runtime.config import Config
from openbell.runtime.intake.hours import around, calendar_for
from openbell.runtime.intake.instrumentsfile import opened_instruments

FAR = timedelta(days=200)
"""Futures that people hold against an index expire by the month, or by the quarter."""


@dataclass(frozen=True)
class Resolved:
    """What a configuration's instruments come to over the days of a run."""

    contracts: Contracts = NO_CONTRACTS
    needed: tuple[str, ...] = ()
    """The contracts that go with some symbol on some day, sorted."""
    notes: tuple[str, ...] = ()
    """What looks wrong, though it can be run."""
    identity: FileIdentity | None = None
    """The file that says so."""


def resolved(
    config: Config,
    days: Sequence[date],
    symbols: Sequence[str],
    held: Sequence[str] | None = None,
    *,
    ahead: int | None = None,
    where: str = "the data",
    read_on: Sequence[date] | None = None,
) -> Resolved:
    """What the configured instruments say for the days of a run.

    Parameters
    ----------
    days : sequence of date
        Its trading days, ascending, at least one.
    symbols : sequence of str
        Those that are watched or read whatever the contracts are.
    held : sequence of str, optional
        The symbols that the data has; None: nobody can tell.
    ahead : int, optional
        Of how many of the first days it is told that no contract exists; None: of all.
    read_on : sequence of date, optional
        The days whose contracts are read; None: those of all.

    Raises
    ------
    ConfigError, DataError
        If the file can't be read, lacks what is needed, or contradicts itself.
    """
    file = opened_instruments(config)
    if file is None:
        return Resolved()
    instruments, futures = file.instruments, config.futures
    found = contracts(
        instruments,
        days,
        trading_dates(config, days),
        config.paired,
        {of: (future.underlying, future.roll) for of, future in futures.items()},
    )
    needed = found.named(futures, days if read_on is None else read_on)
    if held is not None:
        _refuse_none_held(config, found, held, where)
    register = sorted({*symbols, *needed} & set(held) if held is not None else {*symbols, *needed})
    spot = {row.symbol for row in instruments.rows if row.expiry is None}
    others = sorted((spot if held is None else spot & set(held)).difference(register))
    turns = ((symbol, instruments.turns(symbol)) for symbol in register)
    found = replace(
        found,
        ticks=ticks_of(instruments, days, register, others) if in_ticks(config) else (),
        turns=tuple((symbol, dates) for symbol, dates in turns if dates),
        only=tuple(sorted(needed.difference(symbols))),
    )
    if in_ticks(config):
        _refuse_without_tick(config, found, days, symbols, instruments)
    notes = (
        *file.notes,
        *_far_ahead(config, instruments, found, days),
        *_without_contract(config, instruments, found, days if ahead is None else days[:ahead]),
        *(() if held is None else _not_held(config, found, days, held, where)),
    )
    return Resolved(found, tuple(sorted(needed)), notes, file.identity)


def trading_dates(config: Config, days: Sequence[date]) -> list[date]:
    """The days, and as many trading days after them as a contract may be left before its expiry."""
    most = max((future.roll.days for future in config.futures.values()), default=0)
    if not most:
        return list(days)
    _, latest = coverage(config.exchange)
    last = min(latest, days[-1] + timedelta(days=2 * most + 14))
    try:
        calendar = calendar_for(config, days[-1], last)
    except CalendarError:  # it ends where the days do
        return list(days)
    return [*days, *(day.date for day in calendar.days() if day.date > days[-1])]


def in_ticks(config: Config) -> bool:
    """Whether some buffer is in ticks whose price the configuration does not say."""
    rules = [config.breakout, *(config.breakout_for(session) for session in config.sessions)]
    return config.breakout.tick_size is None and any(of.buffer.unit == "ticks" for of in rules)


def _refuse_without_tick(
    config: Config,
    found: Contracts,
    days: Sequence[date],
    symbols: Sequence[str],
    instruments: Instruments,
) -> None:
    followed = set(symbols if config.symbols == "all" else config.symbols)
    for since, sizes in found.ticks or ((days[0], ()),):
        if lacking := sorted(followed - dict(sizes).keys()):
            raise ConfigError(
                f"breakout.buffer is in ticks, and {instruments.file} has no tick_size of "
                f"{', '.join(lacking[:5])} on {since}; write it there, or set breakout.tick_size"
            )


def _refuse_none_held(config: Config, found: Contracts, held: Sequence[str], where: str) -> None:
    """Contracts of which the data has none are called otherwise there."""
    for of, future in config.futures.items():
        names = {name for _, pairs in found.companions for whose, name in pairs if whose == of}
        if names and names.isdisjoint(held):
            first = min(names)
            near = get_close_matches(first, held, n=1)
            meant = f' (did you mean "{near[0]}"?)' if near else ""
            raise DataError(
                f"{where} has no future of {future.underlying}: the contracts of the run's days are "
                f"{', '.join(sorted(names)[:5])}{meant}; check instruments.columns.symbol, or leave "
                f"out companions.{of}"
            )


def _without_contract(
    config: Config, instruments: Instruments, found: Contracts, days: Sequence[date]
) -> list[str]:
    said = []
    for of, future in config.futures.items():
        without = [day for day in days if of not in dict(found.companions_on(day))]
        if without:
            last = instruments.expiries(future.underlying)[-1]
            said.append(
                f"{instruments.file} has no future of {future.underlying} for {_some(without)}; its "
                f"last expires {last}: signals of {of} have no companion then"
            )
    return said


def _far_ahead(
    config: Config, instruments: Instruments, found: Contracts, days: Sequence[date]
) -> list[str]:
    """That a day's future expires so late that others before it are likely to be missing."""
    said = []
    for of, future in config.futures.items():
        expiries = instruments.expiries(future.underlying)
        far = [
            day
            for day in days
            if of in dict(found.companions_on(day))
            and next(expiry for expiry in expiries if expiry >= day) - day > FAR
        ]
        if far:
            first = next(expiry for expiry in expiries if expiry >= far[0])
            said.append(
                f"{instruments.file}: for {_some(far)} the next future of {future.underlying} is one "
                f"that expires {first}; those before it may be missing"
            )
    return said


def _not_held(
    config: Config, found: Contracts, days: Sequence[date], held: Sequence[str], where: str
) -> list[str]:
    there = set(held)
    lacking: dict[tuple[str, str], list[date]] = {}
    for day in days:
        for of, name in found.companions_on(day):
            if of in config.futures and name not in there:
                lacking.setdefault((of, name), []).append(day)
    return [
        f"{where} has no {name}, which goes with {of} on {_some(of_days)}: signals of {of} have no "
        "companion then"
        for (of, name), of_days in lacking.items()
    ]


def _some(days: Sequence[date]) -> str:
    if len(days) == 1:
        return str(days[0])
    return f"{days[0]} to {days[-1]} ({len(days)} days)"


@dataclass(frozen=True)
class Paired:
    """Which future goes with a symbol on a trading day."""

    day: date
    symbol: str
    underlying: str
    contract: Instrument | None
    """None: the file has none."""
    left: int | None
    """Trading days to its expiry, 0 on that day; None where the calendar does not reach it."""
    before: str | None
    """The contract of the trading day before, where it was another one."""
    note: str = ""
    """What is missing."""


@dataclass(frozen=True)
class Ruled:
    """What the file says of a watched symbol, from a trading day on."""

    symbol: str
    since: date
    tick_size: float | None
    segment: str | None


def day_by_day(
    config: Config,
    file: InstrumentsFile,
    first: date,
    last: date,
    held: Sequence[str] | None = None,
) -> list[Paired]:
    """Which future goes with each symbol on the trading days of a range.

    Parameters
    ----------
    held : sequence of str, optional
        The symbols that the data has; None: it was not looked at.

    Raises
    ------
    CalendarError, DataError
    """
    days = [day.date for day in calendar_for(config, first, last).days()]
    if not days:
        return []
    before = around(config, first, first).before(days[0], 1)[-1:]
    dates = trading_dates(config, days)
    found: list[Paired] = []
    for of, future in config.futures.items():
        was: Instrument | None = None
        for day in (*(past.date for past in before), *days):
            ahead = dates if day in dates else [day, *dates]
            contract = file.instruments.contract(future.underlying, day, future.roll, ahead)
            rolled = was is not None and contract is not None and contract.symbol != was.symbol
            note = "" if contract is not None else "no contract in the file"
            if contract is not None and held is not None and contract.symbol not in held:
                note = "not in the data"
            if day in dates:
                name = was.symbol if rolled and was is not None else None
                found.append(Paired(day, of, future.underlying, contract, None, name, note))
            was = contract
    return _with_left(config, sorted(found, key=lambda of: of.day), days)


def _with_left(config: Config, found: list[Paired], days: Sequence[date]) -> list[Paired]:
    expiries = [of.contract.expiry for of in found if of.contract and of.contract.expiry]
    if not expiries:
        return found
    _, latest = coverage(config.exchange)
    last = min(latest, max(*expiries, days[-1]))
    dates = [day.date for day in calendar_for(config, days[0], last).days()]

    def left(of: Paired) -> int | None:
        if of.contract is None or of.contract.expiry is None or of.contract.expiry > latest:
            return None
        return bisect_right(dates, of.contract.expiry) - bisect_right(dates, of.day)

    return [replace(of, left=left(of)) for of in found]


def of_symbols(config: Config, file: InstrumentsFile, first: date, last: date) -> list[Ruled]:
    """What the file says of the configured symbols, from the first day on and where it changes.

    Raises
    ------
    DataError
        If rows contradict each other.
    """
    instruments = file.instruments
    if config.symbols == "all":
        return []
    found: list[Ruled] = []
    for symbol in config.symbols:
        for since in (first, *(of for of in instruments.changes(symbol) if first < of <= last)):
            tick, segment = instruments.tick_size(symbol, since), instruments.segment(symbol, since)
            said = Ruled(symbol, since, tick, segment)
            if not found or found[-1].symbol != symbol or replace(found[-1], since=since) != said:
                found.append(said)
    return [of for of in found if (of.tick_size, of.segment) != (None, None)]
