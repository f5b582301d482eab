"""What is known of the days before: each one's bar per symbol, and its rows where they are needed.

Periods are written as in a configuration and count back from the day they are for, which never
belongs to them:

- `10d`: the ten trading days before it, by the exchange's calendar
- `4w`: the trading days among the 28 calendar days before it; `52w`, likewise, among 364

Special sessions (`TradingDay.kind == "special"`: an evening, a weekend) belong to a period only
when asked for; otherwise they are left out, and not counted among the ten either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TypeVar

import numpy as np

from openbell.errors import CalendarError
from openbell.market.auctions import parted
from openbell.market.bars import BarBlock, Mask, Prices, RawRows, Rows
from openbell.market.days import MINUTE_NS, TradingDay
from openbell.market.derived import derive, no_bucket
from openbell.market.products import own_hours
from openbell.market.results import Counts
from openbell.market.widening import codes_on

Before = Callable[[date, int], tuple[TradingDay, ...]]
"""The n trading days before a date, oldest first: `Calendar.before`."""


@dataclass(frozen=True, slots=True)
class Need:
    """How far back someone has to see, and what."""

    key: str
    """Who asks, for messages: `history.data[0]`, `history.indicators.average`."""
    period: str
    """`10d`, `4w`."""
    rows: bool = False
    """Whether rows are needed beside the day's bar."""
    symbols: frozenset[str] | None = None
    """None: all."""
    include_special: bool = True
    days_before: int = 0
    """Days before the period that are needed too."""


@dataclass(frozen=True, slots=True)
class WantedDay:
    """A day before, and what of it has to be at hand."""

    day: TradingDay
    rows: bool
    symbols: frozenset[str] | None
    """None: all."""


@dataclass(frozen=True, eq=False)
class HistoryDay:
    """One past trading day: the day's bar of each symbol, arrays (s,), NaN where it has none."""

    day: TradingDay
    symbols: tuple[str, ...]
    open: Prices
    high: Prices
    low: Prices
    close: Prices
    volume: Prices
    actual: Counts
    """Minutes inside the hours with a row."""
    expected: Counts
    """Minutes inside the hours, from the calendar."""
    rows: BarBlock | None = None
    """The day's bars, of a minute or longer, where someone needs them."""

    @cached_property
    def without_rows(self) -> HistoryDay:
        return replace(self, rows=None)


@dataclass(frozen=True, eq=False)
class History:
    """The days at hand, oldest first, all on the same symbols."""

    symbols: tuple[str, ...]
    days: tuple[HistoryDay, ...] = ()


def period_days(
    period: str, day: date, before: Before, *, include_special: bool, days_before: int = 0
) -> tuple[TradingDay, ...]:
    """The trading days of a period before a day, oldest first; see the module for what counts.

    Parameters
    ----------
    days_before : int
        So many trading days before the period come along.

    Raises
    ------
    openbell.errors.CalendarError
        If the calendar does not go back that far.
    """
    count = int(period[:-1])
    if period.endswith("w"):
        since = day - timedelta(weeks=count)
        reach = 1
        # Calendars count trading days back, so the first date is closed in on from this side.
        while (found := before(day, reach))[0].date >= since:
            reach += max(1, (found[0].date - since).days // 2)
        within = tuple(d for d in found if d.date >= since and _counts(d, include_special))
        if not days_before:
            return within
        count = len(within)
    count += days_before
    reach = count
    while True:
        days = tuple(d for d in before(day, reach) if _counts(d, include_special))
        if len(days) >= count:
            return days[-count:]
        reach += count - len(days)


def wanted_days(needs: Iterable[Need], day: date, before: Before) -> tuple[WantedDay, ...]:
    """All that has to be at hand before a day begins, oldest first.

    Raises
    ------
    openbell.errors.CalendarError
        If the calendar does not go back as far as one of the needs; the text names it.
    """
    wanted: dict[date, WantedDay] = {}
    for need in needs:
        try:
            days = period_days(
                need.period,
                day,
                before,
                include_special=need.include_special,
                days_before=need.days_before,
            )
        except CalendarError as error:
            raise CalendarError(f"{need.key}: {need.period} before {day}: {error}") from None
        for d in days:
            rows, symbols = need.rows, need.symbols
            if (known := wanted.get(d.date)) is not None:
                rows |= known.rows
                symbols = (
                    None if symbols is None or known.symbols is None else symbols | known.symbols
                )
            wanted[d.date] = WantedDay(d, rows, symbols)
    return tuple(wanted[d] for d in sorted(wanted))


def missing_days(history: History, wanted: Iterable[WantedDay]) -> tuple[WantedDay, ...]:
    """Those of the wanted days that have to be read, oldest first."""
    at_hand = {known.day.date: known for known in history.days}
    return tuple(
        w
        for w in wanted
        if (known := at_hand.get(w.day.date)) is None or (w.rows and known.rows is None)
    )


def rolled(
    history: History, wanted: Iterable[WantedDay], came: Iterable[HistoryDay] = ()
) -> History:
    """The history of the next day: what left is dropped, what came is added, the rest is shared.

    A wanted day that is neither at hand nor among those that came is left out; indicators say so.
    """
    came = tuple(came)
    for new in came:
        if new.symbols != history.symbols:
            raise ValueError(f"rolled: {new.day.date} has other symbols than the history")
    at_hand = {known.day.date: known for known in (*history.days, *came)}
    days = (_of(at_hand[w.day.date], w) for w in wanted if w.day.date in at_hand)
    return History(history.symbols, tuple(days))


def since_turns(
    history: History, turns: Sequence[tuple[str, tuple[date, ...]]], day: date
) -> History:
    """A history for a day in which a symbol that stands for one contract after another has those
    days alone on which it stood for that day's: no average mixes two contracts.

    Parameters
    ----------
    turns : sequence
        Such symbols, and the first date of each of their contracts but the first, ascending.
    """
    place = {symbol: n for n, symbol in enumerate(history.symbols)}
    since: dict[int, date] = {}
    for symbol, dates in turns:
        begun = [first for first in dates if first <= day]
        if begun and symbol in place:
            since[place[symbol]] = begun[-1]
    if not since:
        return history
    days = []
    for known in history.days:
        others = [column for column, first in since.items() if known.day.date < first]
        days.append(_without(known, others) if others else known)
    return History(history.symbols, tuple(days))


def with_known(fresh: HistoryDay, known: HistoryDay) -> HistoryDay:
    """A day on the register of `fresh`, with what is known of the symbols of another one in place of
    what `fresh` has of them."""
    at = codes_on(fresh.symbols, known.symbols)
    there = at >= 0

    def joined(new: _Column, old: _Column) -> _Column:
        column = new.copy()
        column[..., there] = old[..., at[there]]
        column.setflags(write=False)
        return column

    bars = fresh.rows
    if bars is not None:
        assert known.rows is not None
        bars = replace(
            bars,
            **{name: joined(getattr(bars, name), getattr(known.rows, name)) for name in _OF_BARS},
        )
    columns = {name: joined(getattr(fresh, name), getattr(known, name)) for name in _OF_DAYS}
    return replace(fresh, **columns, rows=bars)


_Column = TypeVar("_Column", Prices, Counts, Mask)

_OF_DAYS = ("open", "high", "low", "close", "volume", "actual")
_OF_BARS = ("open", "high", "low", "close", "volume", "present")


def _without(known: HistoryDay, columns: Sequence[int]) -> HistoryDay:
    """A day without what it has of some symbols."""
    if not known.actual[columns].any():
        return known

    def blank(values: Prices) -> Prices:
        kept = values.copy()
        kept[..., columns] = np.nan
        return kept

    actual = known.actual.copy()
    actual[columns] = 0
    bars = known.rows
    if bars is not None:
        present = bars.present.copy()
        present[:, columns] = False
        bars = replace(
            bars,
            open=blank(bars.open),
            high=blank(bars.high),
            low=blank(bars.low),
            close=blank(bars.close),
            volume=blank(bars.volume),
            present=present,
        )
    return replace(
        known,
        open=blank(known.open),
        high=blank(known.high),
        low=blank(known.low),
        close=blank(known.close),
        volume=blank(known.volume),
        actual=actual,
        rows=bars,
    )


def history_day(rows: Rows, *, keep_rows: bool) -> HistoryDay:
    """A whole day's rows as its bar per symbol: first, highest, lowest, last, and the sum.

    Volumes are summed row by row in time order, so that equal rows give equal bits.
    """
    rows, _ = parted(rows)
    if not isinstance(rows, BarBlock) and rows.interval_ns is not None:
        rows = rows.block()
    bars = minute_rows(rows)
    s = len(rows.symbols)
    seen = bars.present.any(axis=0)
    first = bars.present.argmax(axis=0)[None]
    last = len(bars) - 1 - bars.present[::-1].argmax(axis=0)[None]
    if isinstance(rows, BarBlock):
        volume = np.add.accumulate(np.where(rows.present, rows.volume, 0.0), axis=0)[-1]
    else:
        volume = np.bincount(rows.code, weights=rows.volume, minlength=s)
    minutes = -(-(bars.ends - bars.ts) // MINUTE_NS)
    return HistoryDay(
        day=rows.day,
        symbols=rows.symbols,
        open=np.take_along_axis(bars.open, first, axis=0)[0],
        high=np.fmax.reduce(bars.high, axis=0),
        low=np.fmin.reduce(bars.low, axis=0),
        close=np.take_along_axis(bars.close, last, axis=0)[0],
        volume=np.where(seen, volume, np.nan),
        actual=minutes @ bars.present,
        expected=_expected(rows.day, rows.symbols),
        rows=bars if keep_rows else None,
    )


def _expected(day: TradingDay, symbols: tuple[str, ...]) -> Counts:
    own = own_hours(day, symbols)
    return np.full(len(symbols), day.minutes_expected(), np.int64) if own is None else own.minutes


def minute_rows(rows: Rows) -> BarBlock:
    """A whole day's rows as bars: ticks and bars shorter than a minute become minutes."""
    if not isinstance(rows, BarBlock) and rows.interval_ns is not None:
        rows = rows.block()
    if isinstance(rows, BarBlock) and rows.interval_ns >= MINUTE_NS:
        return rows
    day, symbols = rows.day, rows.symbols
    _, bars = derive(no_bucket(len(symbols)), rows, day, 1, day.close_ns)
    starts, ends = day.grid(MINUTE_NS)
    at = np.searchsorted(starts, bars.ts), bars.symbol

    def grid(column: Prices) -> Prices:
        cells = np.full((len(starts), len(symbols)), np.nan)
        cells[at] = column
        return cells

    close = grid(bars.close)
    return BarBlock(
        day=day,
        symbols=symbols,
        interval_ns=MINUTE_NS,
        ts=starts,
        ends=ends,
        open=grid(bars.open),
        high=grid(bars.high),
        low=grid(bars.low),
        close=close,
        volume=grid(bars.volume),
        present=~np.isnan(close),
    )


def among(symbols: tuple[str, ...], raw: RawRows) -> RawRows:
    """Rows that were read for some symbols only, as rows of all."""
    place = {symbol: n for n, symbol in enumerate(symbols)}
    places = np.array([place[symbol] for symbol in raw.symbols], np.int32)
    return replace(raw, symbols=symbols, code=places[raw.code])


def _counts(day: TradingDay, include_special: bool) -> bool:
    return include_special or day.kind != "special"


def _of(known: HistoryDay, wanted: WantedDay) -> HistoryDay:
    return known if wanted.rows or known.rows is None else known.without_rows
