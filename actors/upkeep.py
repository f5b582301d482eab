"""Looks after the day's data: derived bars, gaps and quality, and prices that jump overnight."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from openbell.actors.effects import Actor, Effects, Publish
from openbell.market.bars import BarBlock, Mask, Prices, Rows
from openbell.market.days import MINUTE_NS
from openbell.market.derived import Bucket, derive, no_bucket
from openbell.market.indicators import Indicator, IndicatorSpec, indicator_values
from openbell.market.levels import minutes_seen
from openbell.market.quality import day_quality
from openbell.messages.base import Message
from openbell.messages.data import (
    BarsDerived,
    Batch,
    HistoryReady,
    IndicatorsReady,
    PossibleSplit,
    QualityReport,
)
from openbell.messages.session import DayCleared, DayOpened

NAME = "upkeep"

SPLIT_CHANGE = 0.4
"""An overnight change beyond this share of the last close is flagged as a possible split."""


@dataclass(frozen=True, slots=True)
class Settings:
    intervals_minutes: tuple[int, ...]
    indicators: tuple[tuple[IndicatorSpec, Indicator], ...] = ()
    measures_quality: bool = True
    """If not, every expected minute counts as there."""


@dataclass(frozen=True, eq=False, slots=True)
class Open:
    """A day under way."""

    opened: DayOpened
    seen: Mask
    """(m, s) slots of the day with a row."""
    buckets: tuple[Bucket, ...]
    """The open bucket of each derived interval."""
    first_open: Prices
    """(s,) the day's first price, NaN before it."""
    last_close: Prices


@dataclass(frozen=True, eq=False, slots=True)
class State:
    today: Open | None = None
    closes: tuple[tuple[str, float], ...] = ()
    """Each symbol's last close of the days before."""


def upkeep(settings: Settings) -> Actor[State]:
    """Whoever looks after the data."""
    return Actor(
        NAME,
        State(),
        partial(update, settings),
        frozenset({DayOpened, DayCleared, HistoryReady, Batch}),
    )


def update(settings: Settings, state: State, message: Message) -> tuple[State, Effects]:
    match state, message:
        case _, DayOpened() as opened:
            return replace(state, today=_opened(settings, opened)), ()
        case _, DayCleared():
            return replace(state, today=None), ()
        case State(today=Open(opened=opened)), HistoryReady() as ready:
            return state, _indicators(settings, opened, ready)
        case State(today=Open() as today), Batch() as batch:
            today, said = _kept_up(settings, today, batch)
            state = replace(state, today=today)
            if batch.watermark_ns < today.opened.day.close_ns:
                return state, said
            report = Publish(_report(settings, today, dict(state.closes)))
            return replace(state, closes=_closes(state, today)), (*said, report)
        case _:
            return state, ()


def _indicators(settings: Settings, opened: DayOpened, ready: HistoryReady) -> Effects:
    if not settings.indicators:
        return ()
    slot_ns = max(opened.interval_ns or MINUTE_NS, MINUTE_NS)
    values = tuple(
        indicator_values(spec, function, ready.history, opened.day, period, slot_ns)
        for (spec, function), period in zip(settings.indicators, ready.periods, strict=True)
    )
    return (Publish(IndicatorsReady(values=values)),)


def _opened(settings: Settings, opened: DayOpened) -> Open:
    starts, _ = opened.day.grid(opened.interval_ns or MINUTE_NS)
    s = len(opened.symbols)
    return Open(
        opened=opened,
        seen=np.zeros((len(starts), s), np.bool_),
        buckets=tuple(no_bucket(s) for _ in settings.intervals_minutes),
        first_open=np.full(s, np.nan),
        last_close=np.full(s, np.nan),
    )


def _kept_up(settings: Settings, today: Open, batch: Batch) -> tuple[Open, Effects]:
    day, rows = today.opened.day, batch.rows
    starts, _ = day.grid(today.opened.interval_ns or MINUTE_NS)
    buckets: list[Bucket] = []
    said: list[Publish] = []
    for minutes, before in zip(settings.intervals_minutes, today.buckets, strict=True):
        bucket, bars = derive(before, rows, day, minutes, batch.watermark_ns)
        buckets.append(bucket)
        if len(bars):
            said.append(Publish(BarsDerived(bars=bars)))
    first, last = _ends(rows)
    after = Open(
        opened=today.opened,
        seen=minutes_seen(today.seen, rows, starts),
        buckets=tuple(buckets),
        first_open=np.where(np.isnan(today.first_open), first, today.first_open),
        last_close=np.where(np.isnan(last), today.last_close, last),
    )
    return after, tuple(said)


def _ends(rows: Rows) -> tuple[Prices, Prices]:
    """Each symbol's first and last price in a batch, NaN where it has no row."""
    s = len(rows.symbols)
    first, last = np.full(s, np.nan), np.full(s, np.nan)
    if len(rows) == 0:
        return first, last
    if isinstance(rows, BarBlock):
        if rows.whole:
            return rows.open[0], rows.close[-1]
        who = np.arange(s)
        first = rows.open[rows.present.argmax(axis=0), who]
        last = rows.close[len(rows) - 1 - rows.present[::-1].argmax(axis=0), who]
    else:
        first[rows.code[::-1]] = rows.price[::-1]
        last[rows.code] = rows.price
    return first, last


def _report(settings: Settings, today: Open, closes: dict[str, float]) -> QualityReport:
    opened = today.opened
    s = len(opened.symbols)
    before = np.array([closes.get(symbol, np.nan) for symbol in opened.symbols])
    # Prices that may be 0 or below, as of spreads, are never split.
    change = np.full(s, np.nan)
    np.divide(today.first_open, before, out=change, where=(before > 0) & (today.first_open > 0))
    jumped = np.abs(change - 1.0) > SPLIT_CHANGE
    return QualityReport(
        quality=day_quality(
            opened.day,
            opened.symbols,
            opened.interval_ns or MINUTE_NS,
            today.seen if settings.measures_quality else np.ones_like(today.seen),
            opened.counts,
            late=np.zeros(s, np.int64),
        ),
        bad=opened.bad,
        ohlc_outside=int(opened.counts.ohlc_outside.sum()),
        rows=int(opened.counts.rows.sum()),
        possible_splits=tuple(
            PossibleSplit(
                symbol=opened.symbols[i],
                previous_close=float(before[i]),
                open=float(today.first_open[i]),
            )
            for i in np.flatnonzero(jumped)
        ),
    )


def _closes(state: State, today: Open) -> tuple[tuple[str, float], ...]:
    closes = dict(state.closes)
    for symbol, close in zip(today.opened.symbols, today.last_close.tolist(), strict=True):
        if close == close:  # noqa: PLR0124 - not NaN
            closes[symbol] = close
    return tuple(closes.items())
