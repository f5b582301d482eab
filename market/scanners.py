"""The scans that are built in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openbell.market.bars import BarBlock, Mask, Prices
from openbell.market.days import DAY_NS, MINUTE_NS, wall_times
from openbell.market.history import HistoryDay
from openbell.market.scans import (
    Found,
    Lookback,
    ScanFunction,
    ScanSpec,
    ScanView,
    chosen,
    scanner,
    summed,
)

COMMON: Mapping[str, Any] = {"top": 20, "min_price": 0.0, "min_volume": 0.0}
"""Options that all of them have."""

DAYS_MAX = 2000
"""How far back a scan of volumes may look."""


def _volume_lookback(spec: ScanSpec) -> Sequence[Lookback]:
    days = int(spec.options["days"])
    if not 1 <= days <= DAYS_MAX:
        raise ValueError(f"days is {days}; write 1 to {DAYS_MAX}")
    found = []
    if spec.before_open:
        found.append(Lookback(f"{days + 1}d"))
    if spec.within:
        found.append(Lookback(f"{days}d", rows=True))
    return found


@scanner(
    lookback=_volume_lookback,
    options={"days": 14, "minutes": 0, "min_score": 1.0, **COMMON},
)
def relative_volume(view: ScanView) -> list[Found]:
    """Volume as a multiple of what is usual at this time of the day.

    `minutes: 0`: all of today so far, against the days before up to the same time; `minutes: 5`: the
    last five minutes, against the same five of the days before. Before the open: the last day as a
    whole, against the days before it. Of `days` days at least half must have been traded.
    """
    days = int(view.options["days"])
    past = view.history.days
    if view.before_open:
        if not past or past[-1].day.date >= view.day.date:
            return []
        today, usual = view.of_past(past[-1].volume), past[:-1][-days:]
        before = [view.of_past(day.volume) for day in usual]
        what = f"the volume of {past[-1].day.date}"
    else:
        minutes = int(view.options["minutes"])
        usual = past[-days:]
        since_ns = view.at_ns - minutes * MINUTE_NS if minutes else view.day.plain.open_ns
        today = _traded(view.bars, view.bars.ts >= since_ns)
        before = _traded_then(view, usual, since_ns)
        what = f"the volume of the last {minutes} minutes" if minutes else "today's volume"
    if not before:
        return []
    average = _average(before, least=-(-days // 2))
    score = np.divide(today, average, out=np.full_like(today, np.nan), where=average > 0)
    daily = _average([view.of_past(day.volume) for day in usual], least=1)

    def reason(i: int) -> str:
        return f"{what} is {today[i]:,.0f}, {score[i]:.2f} × the usual {average[i]:,.0f}"

    return chosen(view, score, reason, volume=daily)


def _traded(rows: BarBlock, which: Mask) -> Prices:
    """(s,) volume of some rows; NaN where there is no row at all."""
    places = np.flatnonzero(which)
    cut: Mask | slice = which
    if len(places) and places[-1] - places[0] < len(places):  # mostly; a view, then
        cut = slice(int(places[0]), int(places[-1]) + 1)
    if len(rows) and rows.whole:
        return summed(rows.volume[cut])
    volume = np.where(rows.present[cut], rows.volume[cut], 0.0)
    return np.where(rows.present.any(axis=0), summed(volume), np.nan)


def _traded_then(view: ScanView, days: Sequence[HistoryDay], since_ns: int) -> list[Prices]:
    """(s,) what was traded on each day before between the same times; NaN where it was not at all."""
    here = wall_times(view.day, np.array([view.day.plain.open_ns, since_ns, view.at_ns]))
    # Counted from the open, so that a day may hold midnight.
    begins, since, until = ((here - here[0]) % DAY_NS).tolist()
    found = []
    for past in days:
        if (rows := past.rows) is None:
            found.append(np.full(len(view.symbols), np.nan))
            continue
        then = (wall_times(past.day, rows.ts) - here[0]) % DAY_NS
        traded = _traded(rows, (then >= max(begins, since)) & (then < until))
        found.append(view.of_past(traded))
    return found


def _average(days: Sequence[Prices], least: int) -> Prices:
    """Mean over the days that have a value, NaN where there are fewer than `least` of these."""
    total, count = np.zeros_like(days[0]), np.zeros(len(days[0]))
    for values in days:
        there = ~np.isnan(values)
        total += np.where(there, values, 0.0)
        count += there
    none = np.full_like(total, np.nan)
    return np.divide(total, count, out=none, where=count >= least)


def _two_days_before_the_open(spec: ScanSpec) -> Sequence[Lookback]:
    return (Lookback("2d" if spec.before_open else "1d"),)


@scanner(
    lookback=_two_days_before_the_open,
    options={"side": ("both", "up", "down"), "min_score": 1.0, **COMMON},
)
def gap(view: ScanView) -> list[Found]:
    """How far the day opened from the last close, in percent of it.

    Before the open there is no price of today: the last day's own gap is looked at, and the reason
    says so.
    """
    opened, before, what = view.open, _close_before(view, 1), "opened at"
    if view.before_open:
        last = _day_before(view, 1)
        opened = _column(view, last, "open")
        before = _close_before(view, 2)
        what = f"no price of today yet; {last.day.date if last else 'the day before'} opened at"
    return _changed(view, opened, before, what)


@scanner(
    lookback=_two_days_before_the_open,
    options={
        "side": ("both", "up", "down"),
        "since": ("close", "open"),
        "min_score": 1.0,
        **COMMON,
    },
)
def movers(view: ScanView) -> list[Found]:
    """How far the last price is from the last close (`since: close`) or from today's open
    (`since: open`), in percent. Before the open: the same of the day before."""
    since_open = view.options["since"] == "open"
    if view.before_open:
        last = _day_before(view, 1)
        now = _column(view, last, "close")
        before = _column(view, last, "open") if since_open else _close_before(view, 2)
        what = f"no price of today yet; {last.day.date if last else 'the day before'} closed at"
    else:
        now, what = view.last, "is at"
        before = view.open if since_open else _close_before(view, 1)
    return _changed(view, now, before, what)


def _changed(view: ScanView, now: Prices, before: Prices, what: str) -> list[Found]:
    percent = np.full_like(now, np.nan)
    np.divide(now - before, before, out=percent, where=before > 0)
    percent *= 100.0
    score = {"both": np.abs(percent), "up": percent, "down": -percent}[view.options["side"]]
    score = np.where(score > 0, score, np.nan)

    def reason(i: int) -> str:
        return f"{what} {now[i]:g}, {percent[i]:+.2f} % from {before[i]:g}"

    return chosen(view, score, reason, volume=_volume_seen(view))


def _period_lookback(spec: ScanSpec) -> Sequence[Lookback]:
    return (Lookback(str(spec.options["period"])),)


@scanner(
    lookback=_period_lookback,
    options={"period": "52w", "min_score": 95.0, **COMMON},
)
def near_high(view: ScanView) -> list[Found]:
    """The last price in percent of the highest of the days before: above 100 it is a new high.

    Before the open the last price is the last close.
    """
    highest = np.full(len(view.symbols), np.nan)
    for past in view.history.days:
        highest = np.fmax(highest, view.of_past(past.high))
    now, score = view.last, np.full(len(view.symbols), np.nan)
    np.divide(now, highest, out=score, where=highest > 0)
    score *= 100.0
    period = view.options["period"]

    def reason(i: int) -> str:
        return f"at {now[i]:g}, {score[i]:.2f} % of the high of {period}, {highest[i]:g}"

    return chosen(view, score, reason, volume=_volume_seen(view))


def _last_day_before_the_open(spec: ScanSpec) -> Sequence[Lookback]:
    least, most = spec.options["min_width"], spec.options["max_width"]
    if 0 < most < least:
        raise ValueError(
            f"max_width is {most:g}; write min_width, {least:g}, or more, or 0: no limit"
        )
    return (Lookback("1d"),) if spec.before_open else ()


@scanner(
    lookback=_last_day_before_the_open,
    options={"session": "", "widest": True, "min_width": 0.0, "max_width": 0.0, **COMMON},
)
def range_width(view: ScanView) -> list[Found]:
    """High less low in percent of the middle: of the day so far, or of a session that is over.

    The score is the width, or with `widest: false` its negative. `max_width: 0` is no limit. Before the
    open: of the day before.
    """
    name = str(view.options["session"])
    what = "the day so far"
    if view.before_open:
        last = _day_before(view, 1)
        high, low = _column(view, last, "high"), _column(view, last, "low")
        what = str(last.day.date) if last is not None else "the day before"
    elif name:
        if name not in view.levels:
            return []
        levels, what = view.levels[name], name
        high, low = levels.high, levels.low
    else:
        high, low = view.high, view.low
    middle = (high + low) / 2.0
    width = np.divide(high - low, middle, out=np.full_like(high, np.nan), where=middle > 0)
    width = width * 100.0
    least, most = float(view.options["min_width"]), float(view.options["max_width"])
    with np.errstate(invalid="ignore"):
        fits = (width >= least) & ((width <= most) | (most == 0.0))
    score = np.where(fits, width if view.options["widest"] else -width, np.nan)

    def reason(i: int) -> str:
        return f"{what} spans {width[i]:.2f} %, {low[i]:g} to {high[i]:g}"

    return chosen(view, score, reason, volume=_volume_seen(view))


def _day_before(view: ScanView, back: int) -> HistoryDay | None:
    days = view.history.days
    return days[-back] if len(days) >= back else None


def _column(view: ScanView, day: HistoryDay | None, name: str) -> Prices:
    if day is None:
        return np.full(len(view.symbols), np.nan)
    return view.of_past(getattr(day, name))


def _close_before(view: ScanView, back: int) -> Prices:
    return _column(view, _day_before(view, back), "close")


def _volume_seen(view: ScanView) -> Prices:
    """(s,) today's volume so far; before the open, that of the day before."""
    return _column(view, _day_before(view, 1), "volume") if view.before_open else view.volume


BUILT_IN: Mapping[str, ScanFunction] = {
    function.__name__: function
    for function in (gap, movers, near_high, range_width, relative_volume)
}
