"""A day's rows as they come: what each batch is held against of what came before it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from openbell.market.bars import (
    IF_SET,
    Codes,
    Mask,
    Positions,
    Prices,
    RowBatch,
    RowCounts,
    grouped,
)
from openbell.market.days import MarketTime, Nanoseconds, TradingDay
from openbell.market.results import NO_TIME, Counts
from openbell.market.rules import (
    NO_RULES,
    NOTHING_RECENT,
    Recent,
    RowRules,
    from_totals,
    on_register,
    prints,
    repeated,
)
from openbell.market.widening import widening


@dataclass(frozen=True, eq=False)
class Came:
    """What of a day has come."""

    known_ns: MarketTime
    """The latest end of a bar (of ticks: time) among all rows; NO_TIME before the first."""
    newest: Nanoseconds
    """(s,) each symbol's latest `ts`, NO_TIME where it has none."""
    seen: Mask | None
    """(m, s) bars that came, None for ticks."""
    totals: Prices | None = field(default=None, metadata=IF_SET)
    """(s,) the highest total of each symbol, where sizes are totals of the day."""
    recent: Recent | None = field(default=None, metadata=IF_SET)
    """The last rows, where those that come again don't count."""
    first: Nanoseconds | None = field(default=None, metadata=IF_SET)
    """(s,) of ticks each symbol's earliest `ts` that a feed brought, the latest instant there is where
    it brought none; None: it brought nothing, or bars."""
    filled: tuple[tuple[int, Nanoseconds], ...] = ()
    """Of ticks that history brought: from when, and (s,) up to each symbol's last."""
    stands: Counts | None = field(default=None, metadata=IF_SET)
    """(m, s) where bars may be revised, a number for all that each one says (`rules.prints`)."""


def nothing_came(day: TradingDay, symbols: int, interval_ns: int | None) -> Came:
    """Before a day's first row."""
    seen = None
    if interval_ns is not None:
        seen = np.zeros((len(day.grid(interval_ns)[0]), symbols), np.bool_)
    return Came(MarketTime(NO_TIME), np.full(symbols, NO_TIME, np.int64), seen)


def widened(
    came: Came,
    before: tuple[str, ...],
    after: tuple[str, ...],
    anew: Collection[str],
) -> Came:
    """With symbols of which nothing has come: those of a wider register, and some anew."""
    how = widening(before, after, tuple(sorted(anew)), anew)
    return replace(
        came,
        newest=how.filled(came.newest, NO_TIME),
        seen=None if came.seen is None else how.filled(came.seen, False),
        totals=None if came.totals is None else how.filled(came.totals, 0.0),
        recent=None if came.recent is None else on_register(came.recent, how),
        first=None if came.first is None else how.filled(came.first, _NEVER),
        filled=tuple((since, how.filled(until, NO_TIME)) for since, until in came.filled),
        stands=None if came.stands is None else how.filled(came.stands, 0),
    )


def no_counts(symbols: int) -> RowCounts:
    none = none_counted(symbols)
    return RowCounts(none, none, none, none, none, none)


_NEVER = np.iinfo(np.int64).max


@lru_cache(maxsize=8)
def none_counted(symbols: int) -> Counts:
    """(s,) zeros, read-only: the same array each time, so that it is known without a look."""
    none = np.zeros(symbols, np.int64)
    none.flags.writeable = False
    return none


def added(one: RowCounts, other: RowCounts) -> RowCounts:
    """Two accounts of the same symbols' rows as one."""
    none = none_counted(len(one.rows))

    def both(here: Counts, there: Counts) -> Counts:
        if there is none:
            return here
        return there if here is none else here + there

    return RowCounts(
        rows=both(one.rows, other.rows),
        outside_hours=both(one.outside_hours, other.outside_hours),
        out_of_order=both(one.out_of_order, other.out_of_order),
        duplicates=both(one.duplicates, other.duplicates),
        bad_rows=both(one.bad_rows, other.bad_rows),
        ohlc_outside=both(one.ohlc_outside, other.ohlc_outside),
        by_rule=_added_by_rule(one, other),
    )


def _added_by_rule(one: RowCounts, other: RowCounts) -> tuple[tuple[str, Counts], ...]:
    if not (one.by_rule and other.by_rule):
        return one.by_rule or other.by_rule
    sums = dict(one.by_rule)
    for name, counts in other.by_rule:
        sums[name] = sums[name] + counts if name in sums else counts
    return tuple(sorted(sums.items()))


def taken_in(
    came: Came, rows: RowBatch, rules: RowRules = NO_RULES
) -> tuple[Came, RowBatch, RowCounts]:
    """Further rows, after those that came before them.

    Parameters
    ----------
    rows : RowBatch
        Usable rows inside the hours, in the order in which they came; `known` is not looked at.

    Returns
    -------
    came : Came
    rows : RowBatch
        Those that are acted on, with the time when each could first be: of bars with the same
        symbol and time the first that came, and what the rules leave, as of the sizes they make.
        Where bars may be revised, those that say something else than the one before, too.
    counts : RowCounts
        Those out of order, those not acted on, and bars whose open or close lies outside their range.
    """
    if rows.interval_ns is not None or not len(rows):
        return _taken_in(came, rows, rules)
    came, ends = brought_first(came, rows), rows.ends
    there = _is_filled(came, rows)
    again = None
    if there is not None and there.any():
        again = np.bincount(rows.code[there], minlength=len(rows.symbols))
        rows = rows.taken(~there)
    came_all_ns = max(came.known_ns, int(ends.max()))  # as the clock has seen them
    after, rows, counts = _taken_in(came, rows, rules)
    if again is not None:
        after = replace(after, known_ns=MarketTime(came_all_ns))
        counts = replace(counts, duplicates=again)
    return after, rows, counts


def brought_first(came: Came, rows: RowBatch) -> Came:
    """With the times from which on a feed has brought each symbol's ticks, given further ones."""
    if rows.interval_ns is not None:
        return came
    first = np.full(len(rows.symbols), _NEVER) if came.first is None else came.first.copy()
    np.minimum.at(first, rows.code, rows.ts)
    return replace(came, first=first)


def _is_filled(came: Came, rows: RowBatch) -> Mask | None:
    """(n,) which ticks lie where history has brought those of their symbol."""
    there: Mask | None = None
    for from_ns, until in came.filled:
        inside = (rows.ts >= from_ns) & (rows.ts <= until[rows.code])
        there = inside if there is None else there | inside
    return there


def filled_in(
    came: Came,
    rows: RowBatch,
    from_ns: int,
    rules: RowRules = NO_RULES,
    *,
    gap: bool,
    late: bool,
) -> tuple[Came, RowBatch, RowCounts]:
    """Rows of history, of which those count that are not there yet.

    Bars are told by symbol and time. Ticks are by span: what a feed has brought of a symbol begins
    with its first there, but for gaps.

    Parameters
    ----------
    rows : RowBatch
        Usable rows inside the hours, by time.
    from_ns : int
        From when on history was asked for.
    rules : RowRules
        Of the feed's rows. History has trades of their own size, each once; where the feed has
        totals of the day, they hold it too.
    gap : bool
        Whether it was for a gap in what the feed brought.
    late : bool
        Whether what follows them was acted on before: then they are known as of their own times,
        and not behind it.

    Returns
    -------
    came, rows, counts
        As of `taken_in`; those that are there already are its duplicates.
    """
    s = len(rows.symbols)
    if not len(rows):
        return came, rows, no_counts(s)
    again, ends = none_counted(s), rows.ends
    if rows.interval_ns is None:
        there = np.zeros(len(rows), np.bool_)
        if came.first is not None and not gap:
            there |= rows.ts >= came.first[rows.code]
        if (before := _is_filled(came, rows)) is not None:
            there |= before
        again = np.bincount(rows.code[there], minlength=s)
        until = np.full(s, NO_TIME, np.int64)
        np.maximum.at(until, rows.code, rows.ts)
        came = replace(came, filled=(*came.filled, (from_ns, until)))
        rows = rows.taken(~there)
    known_ns = came.known_ns if late else MarketTime(max(came.known_ns, int(ends.max())))
    came, rows, counts = _taken_in(came, rows, RowRules(amends=rules.amends), revising=False)
    came = replace(came, known_ns=known_ns)
    if late:
        rows = rows.known_at(np.maximum.accumulate(rows.ends))
    if rules.day_totals:
        came, rows = _within_totals(came, rows, late=late)
    none = none_counted(s)
    return came, rows, replace(counts, out_of_order=none, duplicates=counts.duplicates + again)


def _within_totals(came: Came, rows: RowBatch, *, late: bool) -> tuple[Came, RowBatch]:
    """The totals that follow hold what history has, and those that came before late rows did."""
    if late:
        return came, replace(rows, volume=np.zeros(len(rows)))
    s = len(rows.symbols)
    before = np.zeros(s) if came.totals is None else came.totals
    more = np.bincount(rows.code, weights=rows.volume, minlength=s)
    return replace(came, totals=before + more), rows


def _taken_in(
    came: Came, rows: RowBatch, rules: RowRules, *, revising: bool = True
) -> tuple[Came, RowBatch, RowCounts]:
    """`revising`: whether these may take the place of others, where bars can be revised."""
    s = len(rows.symbols)
    if len(rows) == 0:
        return came, rows, no_counts(s)
    # Rows that are not acted on move time too: the clock has seen them when they came.
    known = np.maximum(np.maximum.accumulate(rows.ends), came.known_ns)
    known.flags.writeable = False
    came, rows = replace(came, known_ns=MarketTime(int(known[-1]))), rows.known_at(known)
    by_rule: tuple[tuple[str, Counts], ...] = ()
    if rules.dedupe != "none":
        again, recent = repeated(rules, came.recent or NOTHING_RECENT, rows)
        came = replace(came, recent=recent)
        if again.any():
            by_rule = (("repeated", np.bincount(rows.code[again], minlength=s)),)
            rows = rows.taken(~again)
    if rows.ids is not None:
        rows = replace(rows, ids=None)
    duplicates = ohlc_outside = none = none_counted(s)
    if len(rows) == 0:
        return came, rows, RowCounts(none, none, none, none, none, none, by_rule)
    out_of_order = behind(came.newest, rows.code, rows.ts)
    newest = came.newest.copy()
    np.maximum.at(newest, rows.code, rows.ts)
    seen = came.seen
    if seen is not None and rows.interval_ns is not None:
        starts, _ = rows.day.grid(rows.interval_ns)
        slot = starts.searchsorted(rows.ts)
        _, first = np.unique(slot * s + rows.code, return_index=True)
        new = np.zeros(len(rows), np.bool_)
        new[first] = True
        new &= ~seen[slot, rows.code]
        used = new
        if rules.amends:
            came, revises = _revised(came, rows, slot, new, revising=revising)
            rows, used = replace(rows, revises=revises), new | revises
            if revises.any():
                by_rule = (*by_rule, ("revised", np.bincount(rows.code[revises], minlength=s)))
        if not new.all():
            duplicates = np.bincount(rows.code[~new], minlength=s)
            rows, slot = rows.taken(used), slot[used]
        seen = seen.copy()
        seen[slot, rows.code] = True
        highest, lowest = np.maximum(rows.open, rows.close), np.minimum(rows.open, rows.close)
        odd = (highest > rows.high) | (lowest < rows.low)
        if odd.any():
            ohlc_outside = np.bincount(rows.code[odd], minlength=s)
    came = replace(came, newest=newest, seen=seen)
    if rules.day_totals:
        before = np.zeros(s) if came.totals is None else came.totals
        sizes, fell, totals = from_totals(before, rows.code, rows.volume)
        came, rows = replace(came, totals=totals), replace(rows, volume=sizes)
        if fell.any():
            counted = np.bincount(rows.code[fell], minlength=s)
            by_rule = (*by_rule, ("total_fell", counted))
    counts = RowCounts(none, none, out_of_order, duplicates, none, ohlc_outside, by_rule)
    return came, rows, counts


def _revised(
    came: Came, rows: RowBatch, slot: Positions, new: Mask, *, revising: bool
) -> tuple[Came, Mask]:
    """Which bars say something else than the one before of their symbol and time; and what stands.

    Parameters
    ----------
    slot : (n,) place in the day's grid
    new : (n,) bool
        The first ones.
    """
    stands = came.stands
    if stands is None:
        stands = np.zeros(
            (len(rows.day.grid(rows.interval_ns or 0)[0]), len(rows.symbols)), np.int64
        )
    say = prints(rows)
    revises = np.zeros(len(rows), np.bool_)
    if revising and not new.all():
        cell = slot * len(rows.symbols) + rows.code
        order = cell.argsort(kind="stable")
        cell, of = cell[order], say[order]
        before = np.where(
            np.append(True, cell[1:] != cell[:-1]), stands.ravel()[cell], np.append(0, of[:-1])
        )
        revises[order] = of != before
        revises &= ~new
    stands = stands.copy()
    used = new | revises
    stands[slot[used], rows.code[used]] = say[used]  # of several, the last
    return replace(came, stands=stands), revises


def behind(newest: Nanoseconds, code: Codes, ts: Nanoseconds) -> Counts:
    """(s,) rows, one or more, whose time lies before that of an earlier row of their symbol.

    Parameters
    ----------
    newest : (s,) int64, ns UTC
        The latest time of each symbol's rows before these, NO_TIME where there is none.
    """
    s = len(newest)
    order = grouped(code, s)
    code, ts = code[order], ts[order]
    # One running maximum serves all symbols: a later symbol's keys are all above the one before.
    first = ts.min()
    span = int(ts.max() - first) + 1
    if s * span >= 2**63:  # a day of ns holds 100,000 symbols
        raise ValueError(f"{s} symbols in one day are too many")
    key = code * np.int64(span) + (ts - first)
    behind = ts < newest[code]
    behind[1:] |= key[1:] < np.maximum.accumulate(key)[:-1]
    return np.bincount(code[behind], minlength=s) if behind.any() else none_counted(s)
