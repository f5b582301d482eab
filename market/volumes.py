"""Whether volume confirms a break: what traded in the breaking row's minute, against what is usual.

A slot is a minute of the day, or a longer bar. A row's volume is that of its slot so far, up to the
row and with it: of a bar of a minute or longer its own, of ticks and shorter bars the sum since the
slot began. So a tick breaks once enough has traded in its minute. Rows without a volume don't count.

What is usual is the average of that slot over the days before, or of today's slots before it that
have a row. Sums are taken slot by slot in the day's order and within a slot row by row, so that no
cut of the rows changes a bit of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Codes, Mask, Positions, Prices, RowBatch, Rows
from openbell.market.days import MINUTE_NS, Nanoseconds
from openbell.market.widening import Widening

SAME = 2.0**-49
"""Volumes this close, relatively, to what is needed reach it: 1.1 times 1000 is 1100."""


@dataclass(frozen=True, slots=True)
class VolumeRule:
    """How much has to trade in the minute of a break."""

    times: float
    of: Literal["minute", "day"] = "minute"
    """`minute`: of the average of that minute on the days before; `day`: of today's average so
    far."""
    companion: bool = False
    """Whether it is the companion's volume that counts, of symbols that have one."""
    indicator: str = ""
    """Of `minute`: the name of the indicator that has the averages."""


@dataclass(frozen=True, eq=False)
class Volumes:
    """What has traded today."""

    slots: tuple[Prices, ...] = ()
    """(s,) of each slot from the day's first to the newest that has a row; NaN where none has come.
    """


@dataclass(frozen=True, eq=False)
class Usual:
    """Against what a rule holds volumes; arrays over the day's register of s symbols."""

    starts: Nanoseconds
    """(m,) the day's slots."""
    refs: NDArray[np.intp]
    """(s,) whose volume confirms each symbol's breaks."""
    average: Prices | None = None
    """(m, s) of each slot over the days before, NaN where not known; None: today's so far."""


def slot_starts(rows: Rows) -> Nanoseconds:
    """(m,) the slots of the rows' day."""
    starts, _ = rows.day.grid(max(rows.interval_ns or MINUTE_NS, MINUTE_NS))
    return starts


def traded(before: Volumes, rows: Rows, starts: Nanoseconds) -> Volumes:
    """What has traded after further rows."""
    if not len(rows):
        return before
    slot = starts.searchsorted(rows.ts, side="right") - 1
    if isinstance(rows, BarBlock):
        so_far = _so_far(before, rows, slot)
        lasts = np.flatnonzero(np.append(slot[1:] != slot[:-1], True))
        return _with_slots(before, slot[lasts], so_far[lasts], so_far.shape[1])
    known = ~np.isnan(rows.volume)
    again: tuple[Positions, Codes] | None = None
    if rows.revises is not None and rows.revises.any():
        rows = rows.standing
        slot = starts.searchsorted(rows.ts, side="right") - 1
        revises = rows.revises
        assert revises is not None
        again = slot[revises], rows.code[revises]
        known = ~np.isnan(rows.volume) | revises
    slot, code, volume = slot[known], rows.code[known], rows.volume[known]
    if not len(slot):
        return before
    first, last = int(slot.min()), int(slot.max())
    s = len(rows.symbols)
    if last == first:
        touched, cell = np.array([first]), code.astype(np.intp)
    else:
        touched, place = np.unique(slot, return_inverse=True)
        cell = place * s + code
    carried = np.full((len(touched), s), np.nan)
    for n, at in enumerate(touched.tolist()):
        if at < len(before.slots):
            carried[n] = before.slots[at]
    if again is not None:  # a bar is all that its slot has
        carried[touched.searchsorted(again[0]), again[1]] = np.nan
    flat = carried.ravel()
    had = np.flatnonzero(~np.isnan(flat))
    weights = np.concatenate([flat[had], volume])
    cells = np.concatenate([had, cell])
    # It adds up in the order given.
    total = np.bincount(cells, weights, minlength=len(flat))
    seen = np.zeros(len(flat), np.bool_)
    seen[cells] = True
    now = np.where(seen, total, np.nan).reshape(carried.shape)
    return _with_slots(before, touched, now, s)


def volumes_widened(
    before: Volumes | None, theirs: Volumes | None, how: Widening
) -> Volumes | None:
    """What has traded, with symbols that come into the day; None: nothing has."""
    if before is None and theirs is None:
        return None
    ours, comes = (of.slots if of is not None else () for of in (before, theirs))
    none, none_comes = (np.full(len(of), np.nan) for of in (how.before, how.alone))
    slots = zip_longest(ours, comes)
    return Volumes(
        tuple(
            how.columns(none if was is None else was, none_comes if new is None else new)
            for was, new in slots
        )
    )


def _with_slots(before: Volumes, places: Positions, now: Prices, s: int) -> Volumes:
    slots = list(before.slots)
    if (more := int(places[-1]) + 1 - len(slots)) > 0:
        slots += [np.full(s, np.nan)] * more
    for place, values in zip(places.tolist(), now, strict=True):
        slots[place] = values
    return Volumes(tuple(slots))


def confirmed(
    before: Volumes,
    rows: Rows,
    rule: VolumeRule,
    usual: Usual,
    asked: Mask,
    *,
    counted: bool = False,
) -> Mask:
    """Which of the rows that are asked about have enough volume.

    Parameters
    ----------
    before : Volumes
        What had traded before these rows.
    asked : as the rows: (n,), or (m, s) of a block
    counted : bool
        Whether the rows are in `before` already, and others behind them: it is by all of them then.

    Returns
    -------
    as `asked`
    """
    enough = np.zeros_like(asked)
    if isinstance(rows, BarBlock):
        columns = np.flatnonzero(asked.any(axis=0))
        if len(columns):
            of = measured_block(before, rows, usual, columns)
            enough[:, columns] = asked[:, columns] & is_enough(*of, rule.times)
        return enough
    at = np.flatnonzero(asked)
    if len(at):
        enough[at] = is_enough(*measured(before, rows, usual, at, counted=counted), rule.times)
    return enough


def is_enough(volume: Prices, average: Prices, times: float) -> Mask:
    """Whether it is so many times the average; where either is not known, or nothing trades
    usually, it is not."""
    needed = times * average
    enough: Mask = (average > 0) & (volume >= needed - needed * SAME)
    return enough


def measured_block(
    before: Volumes, rows: BarBlock, usual: Usual, columns: Positions
) -> tuple[Prices, Prices]:
    """(m, c) the volume that counts for a break in each bar of some symbols, and its average."""
    refs = usual.refs[columns]
    slot = usual.starts.searchsorted(rows.ts, side="right") - 1
    volume = _so_far(before, rows, slot, refs)
    if usual.average is not None:
        return volume, usual.average[np.ix_(slot, refs)]
    first = int(slot[0])
    lasts = np.flatnonzero(np.append(slot[1:] != slot[:-1], True))
    total, count = _summed(before, refs, first)
    known = ~np.isnan(volume[lasts])
    totals = np.concatenate([total[None], np.where(known, volume[lasts], 0.0)])
    counts = np.concatenate([count[None], known])
    np.add.accumulate(totals, axis=0, out=totals)
    counts = np.add.accumulate(counts, axis=0)
    place = np.searchsorted(slot[lasts], slot)
    return volume, _mean(totals[:-1], counts[:-1])[place]


def _summed(before: Volumes, refs: Positions, until: int) -> tuple[Prices, NDArray[np.int64]]:
    """Sum and number of what has traded in the slots below one."""
    total, count = np.zeros(len(refs)), np.zeros(len(refs), np.int64)
    if slots := before.slots[:until]:
        values = np.array([slot[refs] for slot in slots])
        known = ~np.isnan(values)
        total = np.add.accumulate(np.where(known, values, 0.0), axis=0)[-1]
        count = known.sum(axis=0)
    return total, count


def _mean(total: Prices, count: NDArray[np.int64]) -> Prices:
    mean: Prices = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _so_far(
    before: Volumes, rows: BarBlock, slot: Positions, columns: Positions | None = None
) -> Prices:
    """(m, c) the volume of each bar's slot up to it."""
    volume = rows.volume if columns is None else rows.volume[:, columns]
    if rows.interval_ns >= MINUTE_NS:
        return volume
    so_far = np.empty_like(volume)
    heads = np.flatnonzero(np.append(True, slot[1:] != slot[:-1]))
    lengths = np.diff(np.append(heads, len(slot)))
    carried = np.full((len(heads), volume.shape[1]), np.nan)
    if slot[0] < len(before.slots):
        known = before.slots[int(slot[0])]
        carried[0] = known if columns is None else known[columns]
    for place in range(int(lengths.max())):  # as many as a minute has bars
        longer = lengths > place
        at = heads[longer] + place
        carried[longer] = _plus(carried[longer], volume[at])
        so_far[at] = carried[longer]
    return so_far


def _plus(total: Prices, more: Prices) -> Prices:
    return np.where(np.isnan(more), total, np.where(np.isnan(total), more, total + more))


def measured(
    before: Volumes, rows: RowBatch, usual: Usual, at: Positions, *, counted: bool = False
) -> tuple[Prices, Prices]:
    """The volume that counts for a break in some of the rows, and its average.

    Parameters
    ----------
    at : (k,) ascending
    counted : as of `confirmed`

    Returns
    -------
    volume, average : (k,)
    """
    refs = usual.refs[rows.code[at]]
    slot = usual.starts.searchsorted(rows.ts[at], side="right") - 1
    volume, average = np.full(len(at), np.nan), np.full(len(at), np.nan)
    if usual.average is not None:
        average = usual.average[slot, refs]
    for ref in np.unique(refs).tolist():
        mine = np.flatnonzero(refs == ref)
        column = np.array([known[ref] for known in before.slots])
        volumes, slots = np.empty(0), np.empty(0, np.intp)
        came, again = np.zeros(len(mine), np.intp), np.empty(0, np.intp)
        if not counted:
            known = ~np.isnan(rows.volume)
            if rows.revises is not None:
                known |= rows.revises
            own = np.flatnonzero((rows.code == ref) & known)
            if rows.revises is not None:
                again = np.flatnonzero(rows.revises[own])
            volumes = rows.volume[own]
            slots = usual.starts.searchsorted(rows.ts[own], side="right") - 1
            came = rows.turns[own].searchsorted(rows.turns[at[mine]], side="right")
        of_day = usual.average is None
        volume[mine], means = _as_it_came(
            column, volumes, slots, slot[mine], came, again, of_day=of_day
        )
        if of_day:
            average[mine] = means
    return volume, average


def _as_it_came(
    column: Prices,
    volumes: Prices,
    slots: Positions,
    asked: Positions,
    came: Positions,
    again: Positions,
    *,
    of_day: bool,
) -> tuple[Prices, Prices]:
    """Of one symbol: what had traded in some slots, and the mean of those before, at some moments.

    Parameters
    ----------
    column : (q,) float64
        What had traded before the rows, slot by slot.
    volumes, slots : (n,)
        Of the symbol's rows.
    asked, came : (k,)
        The slot that is asked about, and how many of the rows had come; `came` does not decrease.
    again : (r,) ascending
        Which of the rows take the place of what their slot has.
    """
    volume, mean = np.full(len(asked), np.nan), np.full(len(asked), np.nan)
    length = 1 + max(int(asked.max()), int(slots.max(initial=0)), len(column) - 1)
    column = np.concatenate([column, np.full(length - len(column), np.nan)])
    # Between two rows that come behind later ones slots only go up: few stretches of many rows.
    ends = np.append(np.flatnonzero(slots[1:] < slots[:-1]) + 1, len(slots))
    ends = np.union1d(ends, again)
    replaces = frozenset(again.tolist())
    start, before = 0, -1
    for end in ends.tolist():
        last = end == len(slots)
        if end > start and start in replaces:
            column[slots[start]] = np.nan
        here = np.flatnonzero((came > before) & (came <= end))
        if len(here):
            volume[here], mean[here] = _in_stretch(
                column, volumes[start:end], slots[start:end], asked[here], came[here] - start,
                of_day=of_day,
            )  # fmt: skip
        if not last:
            column = _added(column, volumes[start:end], slots[start:end])
        start = before = end
    return volume, mean


def _added(column: Prices, volumes: Prices, slots: Positions) -> Prices:
    """A symbol's column with further rows, each added in its turn."""
    had = np.flatnonzero(~np.isnan(column))
    cells = np.concatenate([had, slots])
    total = np.bincount(cells, np.concatenate([column[had], volumes]), minlength=len(column))
    seen = np.zeros(len(column), np.bool_)
    seen[cells] = True
    return np.where(seen, total, np.nan)


def _in_stretch(
    column: Prices,
    volumes: Prices,
    slots: Positions,
    asked: Positions,
    came: Positions,
    *,
    of_day: bool,
) -> tuple[Prices, Prices]:
    """As `_as_it_came`, where slots don't decrease."""
    volume = np.empty(len(asked))
    first, stop = slots.searchsorted(asked), slots.searchsorted(asked, side="right")
    have = np.clip(came, first, stop) - first
    heads = np.flatnonzero(np.append(True, asked[1:] != asked[:-1]))
    for head, end in zip(heads.tolist(), np.append(heads[1:], len(asked)).tolist(), strict=True):
        carried = column[asked[head]]
        part = volumes[first[head] : stop[head]]
        if np.isnan(carried):
            running = np.append(np.nan, np.add.accumulate(part))
        else:
            running = np.add.accumulate(np.append(carried, part))
        volume[head:end] = running[have[head:end]]
    mean = np.full(len(asked), np.nan)
    if not of_day:
        return volume, mean
    after = _added(column, volumes, slots)
    known_slots = ~np.isnan(after)
    totals = np.add.accumulate(np.where(known_slots, after, 0.0))
    counts = np.add.accumulate(known_slots)
    whole = came >= first  # all that there is of slots before has come
    some = whole & (asked > 0)
    mean[some] = _mean(totals[asked[some] - 1], counts[asked[some] - 1])
    for place in np.flatnonzero(~whole).tolist():
        n = int(came[place])
        so_far = _added(column, volumes[:n], slots[:n])[: asked[place]]
        there = ~np.isnan(so_far)
        if there.any():
            mean[place] = np.add.accumulate(np.where(there, so_far, 0.0))[-1] / there.sum()
    return volume, mean
