"""Arrays over symbols when others come into a day under way: columns are put in, none is touched."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from openbell.market.bars import BarBlock, Codes, Mask, Positions, RowBatch, RowCounts, Rows

V = TypeVar("V")
T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Widening:
    """Which columns of a register come from where."""

    before: tuple[str, ...]
    after: tuple[str, ...]
    """Sorted, with all that were there before."""
    alone: tuple[str, ...]
    """The register of what is put in: those that come, and maybe others."""
    kept: tuple[Positions, Positions]
    """Places before, and after, of columns that stay."""
    put: tuple[Positions, Positions]
    """Places in `alone`, and after, of those that come."""

    def columns(self, old: NDArray[T], new: NDArray[T]) -> NDArray[T]:
        """(…, after), from (…, before) and (…, alone)."""
        wide = np.empty((*old.shape[:-1], len(self.after)), old.dtype)
        wide[..., self.kept[1]] = old[..., self.kept[0]]
        wide[..., self.put[1]] = new[..., self.put[0]]
        return wide

    def filled(self, old: NDArray[T], nothing: float) -> NDArray[T]:
        """(…, after), from (…, before), with the same for all that come."""
        shape = (*old.shape[:-1], len(self.alone))
        return self.columns(old, np.full(shape, nothing, old.dtype))


def widening(
    before: tuple[str, ...],
    after: tuple[str, ...],
    alone: tuple[str, ...],
    added: Collection[str],
) -> Widening:
    """How a register becomes a wider one.

    Parameters
    ----------
    added : collection of str
        Those of `alone` whose columns are put in; one that was there before is taken anew.
    """
    place = {symbol: n for n, symbol in enumerate(after)}
    kept = [n for n, symbol in enumerate(before) if symbol not in added]
    put = [n for n, symbol in enumerate(alone) if symbol in added]
    return Widening(
        before,
        after,
        alone,
        (np.array(kept, np.intp), np.array([place[before[n]] for n in kept], np.intp)),
        (np.array(put, np.intp), np.array([place[alone[n]] for n in put], np.intp)),
    )


def spliced(old: V, new: V, how: Widening) -> V:
    """A value whose arrays all have symbols as their last axis, with the columns that come.

    Of all else it has, what was there before stays.
    """
    changes: dict[str, Any] = {}
    for field in fields(old):  # type: ignore[arg-type]
        was, comes = getattr(old, field.name), getattr(new, field.name)
        if isinstance(was, np.ndarray):
            changes[field.name] = None if comes is None else how.columns(was, comes)
        elif isinstance(comes, np.ndarray):
            changes[field.name] = None  # made anew from the others, where it is wanted
    return replace(old, **changes)  # type: ignore[type-var]


def codes_on(symbols: tuple[str, ...], register: tuple[str, ...]) -> Codes:
    """(s,) each symbol's place in a register, -1 where it is not in it."""
    place = {symbol: n for n, symbol in enumerate(register)}
    return np.array([place.get(symbol, -1) for symbol in symbols], np.int32)


def rows_on(rows: RowBatch, register: tuple[str, ...]) -> RowBatch:
    """Rows on another register, in their order; those of symbols that it lacks are left out."""
    if rows.symbols == register:
        return rows
    codes = codes_on(rows.symbols, register)
    code = codes[rows.code] if len(codes) else rows.code
    there: Mask = code >= 0
    if not there.all():
        rows, code = rows.taken(there), code[there]
    return replace(rows, symbols=register, code=code)


def rows_widened(
    kept: tuple[RowBatch, ...], theirs: tuple[RowBatch, ...], how: Widening
) -> tuple[RowBatch, ...]:
    """Rows that are kept, with those of symbols that come."""
    added = [how.alone[place] for place in how.put[0].tolist()]
    stay = (rows_without(rows_on(rows, how.after), added) for rows in kept)
    come = (rows_on(rows_on(rows, tuple(added)), how.after) for rows in theirs)
    return tuple(rows for rows in (*stay, *come) if len(rows))


def picked(rows: Rows, register: tuple[str, ...]) -> Rows:
    """As `rows_on`, for both kinds of rows; of a grid only symbols that it has."""
    if isinstance(rows, RowBatch):
        return rows_on(rows, register)
    at = codes_on(register, rows.symbols)
    if (at < 0).any():
        raise ValueError(f"picked: {register[int((at < 0).argmax())]} is not among the columns")

    def column(of: NDArray[T]) -> NDArray[T]:
        # Row by row in memory, as sums of volumes are taken in its order.
        return np.ascontiguousarray(of[:, at])

    return BarBlock(
        rows.day,
        register,
        rows.interval_ns,
        rows.ts,
        rows.ends,
        column(rows.open),
        column(rows.high),
        column(rows.low),
        column(rows.close),
        column(rows.volume),
        column(rows.present),
    )


def rows_without(rows: RowBatch, symbols: Collection[str]) -> RowBatch:
    """The same rows with none of these symbols, on the same register."""
    gone = np.array([symbol in symbols for symbol in rows.symbols], np.bool_)
    left: Mask = ~gone[rows.code]
    return rows if left.all() else rows.taken(left)


def without(rows: Rows, symbols: Collection[str]) -> Rows:
    """As `rows_without`, for both kinds of rows."""
    if isinstance(rows, RowBatch):
        return rows_without(rows, symbols)
    gone = np.array([symbol in symbols for symbol in rows.symbols], np.bool_)

    def emptied(column: NDArray[np.float64]) -> NDArray[np.float64]:
        cells = column.copy()
        cells[:, gone] = np.nan
        return cells

    present = rows.present.copy()
    present[:, gone] = False
    return BarBlock(
        rows.day,
        rows.symbols,
        rows.interval_ns,
        rows.ts,
        rows.ends,
        emptied(rows.open),
        emptied(rows.high),
        emptied(rows.low),
        emptied(rows.close),
        emptied(rows.volume),
        present,
    )


def counts_on(counts: RowCounts, symbols: tuple[str, ...], register: tuple[str, ...]) -> RowCounts:
    """What became of rows, on a register that has their symbols; 0 for others."""
    if symbols == register:
        return counts
    at = codes_on(symbols, register)
    there = at >= 0

    def on(column: NDArray[np.int64]) -> NDArray[np.int64]:
        wide = np.zeros(len(register), np.int64)
        wide[at[there]] = column[there]
        return wide

    return RowCounts(
        rows=on(counts.rows),
        outside_hours=on(counts.outside_hours),
        out_of_order=on(counts.out_of_order),
        duplicates=on(counts.duplicates),
        bad_rows=on(counts.bad_rows),
        ohlc_outside=on(counts.ohlc_outside),
        by_rule=tuple((name, on(column)) for name, column in counts.by_rule),
    )
