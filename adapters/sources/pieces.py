"""A source made of pieces: parts of files that are decoded as a whole.

A piece is a Parquet row group, a CSV file or a table in memory. What lies in one day's files is
decoded when it is asked for and forgotten; a piece that holds many days is kept, within
`KEEP_BYTES`, so that reading a year day by day does not decode it once a day.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from difflib import get_close_matches
from functools import cached_property
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from openbell.adapters.sources.base import DataOptions, FileIdentity, SourceInfo
from openbell.adapters.sources.columns import Decoded, Positions
from openbell.adapters.sources.times import rows_by_date
from openbell.errors import DataError
from openbell.market.bars import RawRows
from openbell.market.days import DAY_NS, Nanoseconds, local_date

KEEP_BYTES = 512 * 2**20


@dataclass(eq=False, slots=True)
class Piece:
    """Consecutive rows of one file."""

    rows: int
    symbols: tuple[str, ...]
    """All that have a row in it."""
    bounds: tuple[int, int] | None
    """No row lies before the first or after the second instant; None until that is known."""
    load: Callable[[], Decoded]
    times: Callable[[], Nanoseconds]
    """The rows' `ts` alone."""
    check: Callable[[], None]
    """Raises DataError if the file has become another one."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a source consists of."""

    pieces: tuple[Piece, ...]
    """In the source's order."""
    files: tuple[FileIdentity, ...]
    notes: tuple[str, ...] = ()
    """See `SourceInfo.notes`."""


@dataclass(frozen=True, eq=False, slots=True)
class _Kept:
    """A piece's rows between two instants, ready to be cut by time."""

    rows: Decoded
    start_ns: int
    end_ns: int
    order: NDArray[np.int64] | None
    """What sorts the rows by time (stable); None if they are sorted."""
    sorted_ts: Nanoseconds

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + (self.sorted_ts.nbytes * 2 if self.order is not None else 0)

    def between(self, start_ns: int, end_ns: int) -> Decoded:
        low, high = np.searchsorted(self.sorted_ts, (start_ns, end_ns)).tolist()
        at: Positions = slice(low, high)
        return self.rows.cut(at if self.order is None else np.sort(self.order[at]))


class PieceSource:
    """A Source over pieces; nothing is read before the first question.

    Memory: what one `read` returns, and at most `keep_bytes` of pieces that span a day or more.
    If all of those fit, each is decoded once. If not, of each is kept a window of time from the
    read that decoded it on, as long as fits, so that reading day after day decodes it a few times.
    """

    def __init__(
        self,
        name: str,
        options: DataOptions,
        scan: Callable[[], Scan],
        keep_bytes: int = KEEP_BYTES,
        *,
        lasting: bool = True,
    ) -> None:
        self._name = name
        self._options = options
        self._make_scan = scan
        self._keep_bytes = keep_bytes
        self._lasting = lasting
        self._kept: OrderedDict[Piece, _Kept] = OrderedDict()
        self._kept_bytes = 0

    def info(self) -> SourceInfo:
        return self._info

    @cached_property
    def _scan(self) -> Scan:
        return self._make_scan()

    @cached_property
    def _info(self) -> SourceInfo:
        symbols: set[str] = set()
        for known in {piece.symbols for piece in self._scan.pieces}:
            symbols.update(known)
        return SourceInfo(
            kind=self._options.kind,
            interval_ns=self._options.interval_ns if self._options.kind == "bars" else None,
            symbols=tuple(sorted(symbols)),
            files=self._scan.files,
            lasting=self._lasting,
            notes=self._scan.notes,
        )

    def dates(self, tz: str) -> dict[date, int]:
        """Rows per local date, dates ascending; reads times only where bounds don't tell."""
        counts: dict[date, int] = {}
        for piece in self._scan.pieces:
            if piece.bounds is not None:
                first, last = (local_date(instant, tz) for instant in piece.bounds)
                if first == last:
                    counts[first] = counts.get(first, 0) + piece.rows
                    continue
            for day, rows in rows_by_date(piece.times(), tz).items():
                counts[day] = counts.get(day, 0) + rows
        return dict(sorted(counts.items()))

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        """Rows with start_ns <= ts < end_ns in the source's order; see Source.read.

        Raises
        ------
        openbell.errors.DataError
            If a symbol is not in the source, or a file can't be read or has changed.
        """
        asked = self._info.symbols if symbols is None else self._existing(symbols)
        position = {symbol: i for i, symbol in enumerate(asked)}
        parts = []
        for piece in self._scan.pieces:
            if symbols is not None and position.keys().isdisjoint(piece.symbols):
                continue
            bounds = piece.bounds or self._find_bounds(piece)
            if bounds[1] < start_ns or bounds[0] >= end_ns:
                continue
            part = _of_symbols(self._part(piece, bounds, start_ns, end_ns), position)
            if len(part):
                parts.append(part)
        return _joined(self._options, asked, parts)

    def close(self) -> None:
        """Forget what is kept."""
        self._kept.clear()
        self._kept_bytes = 0

    def _existing(self, symbols: Sequence[str]) -> tuple[str, ...]:
        known = self._info.symbols
        unknown = sorted(set(symbols).difference(known))
        if unknown:
            near = get_close_matches(unknown[0], known, n=3)
            shown = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
            raise DataError(
                f"{self._name}: no symbol {', '.join(unknown[:10])}"
                + (f" (and {len(unknown) - 10} more)" if len(unknown) > 10 else "")
                + (f"; nearest to {unknown[0]}: {', '.join(near)}" if near else "")
                + f"; it has {len(known)}: {shown}"
            )
        if len(set(symbols)) < len(symbols):
            raise DataError(f"{self._name}: a symbol is asked for twice; name each once")
        return tuple(symbols)

    def _find_bounds(self, piece: Piece) -> tuple[int, int]:
        ts = piece.times()
        piece.bounds = (int(ts.min()), int(ts.max()))
        return piece.bounds

    def _part(self, piece: Piece, bounds: tuple[int, int], start_ns: int, end_ns: int) -> Decoded:
        piece.check()
        low, high = bounds
        kept = self._kept.get(piece)
        if (
            kept is not None
            and kept.start_ns <= max(start_ns, low)
            and (min(end_ns, high + 1) <= kept.end_ns)
        ):
            self._kept.move_to_end(piece)
            return kept.between(start_ns, end_ns)
        self._forget(piece)
        rows = piece.load()
        if start_ns <= low and high < end_ns:
            return rows
        low, high = piece.bounds = (int(rows.ts.min()), int(rows.ts.max()))
        if start_ns <= low and high < end_ns:
            return rows
        if high - low < DAY_NS:
            return rows.cut(_between(rows.ts, start_ns, end_ns))
        return self._keep(piece, rows, start_ns, end_ns).between(start_ns, end_ns)

    def _keep(self, piece: Piece, rows: Decoded, start_ns: int, end_ns: int) -> _Kept:
        assert piece.bounds is not None
        low, high = piece.bounds[0], piece.bounds[1] + 1
        if self._window_ns is not None:
            low, high = start_ns, max(end_ns, start_ns + self._window_ns)
            # A copy, so that the rest of the piece is let go.
            rows = rows.cut(np.flatnonzero((rows.ts >= low) & (rows.ts < high)))
        order = None if _is_sorted(rows.ts) else np.argsort(rows.ts, kind="stable")
        sorted_ts = rows.ts if order is None else rows.ts[order]
        kept = _Kept(rows, low, high, order, sorted_ts)
        self._kept[piece] = kept
        self._kept_bytes += kept.nbytes
        while self._kept_bytes > self._keep_bytes:
            self._forget(next(iter(self._kept)))
        return kept

    def _forget(self, piece: Piece) -> None:
        kept = self._kept.pop(piece, None)
        self._kept_bytes -= kept.nbytes if kept is not None else 0

    @cached_property
    def _window_ns(self) -> int | None:
        """How much market time can be kept of every long piece; None: all of it."""
        long = [
            (piece.rows, piece.bounds)
            for piece in self._scan.pieces
            if piece.bounds and piece.bounds[1] - piece.bounds[0] >= DAY_NS
        ]
        # Time and the order by time (8 bytes each), the sorted times, the code, the numbers.
        row_bytes = 8 + 8 + 8 + 4 + 8 * len(self._options.value_columns)
        wanted = row_bytes * sum(rows for rows, _ in long)
        if wanted <= self._keep_bytes:
            return None
        span = max(bounds[1] for _, bounds in long) - min(bounds[0] for _, bounds in long)
        return span * self._keep_bytes // wanted


def _between(ts: Nanoseconds, start_ns: int, end_ns: int) -> Positions:
    if not _is_sorted(ts):
        return np.flatnonzero((ts >= start_ns) & (ts < end_ns))
    low, high = np.searchsorted(ts, (start_ns, end_ns)).tolist()
    return slice(low, high)


def _is_sorted(ts: Nanoseconds) -> bool:
    return bool((ts[1:] >= ts[:-1]).all())


def _of_symbols(rows: Decoded, position: dict[str, int]) -> Decoded:
    """The rows of some symbols; `code` becomes the position that each symbol is given."""
    codes = np.array([position.get(symbol, -1) for symbol in rows.symbols], np.int32)
    if np.array_equal(codes, np.arange(len(codes))):
        return rows
    if len(codes) and codes.min() < 0:
        wanted = codes[rows.code] >= 0
        if not wanted.all():
            rows = rows.cut(np.flatnonzero(wanted))
    return replace(rows, code=codes[rows.code])


def _joined(options: DataOptions, symbols: tuple[str, ...], parts: list[Decoded]) -> RawRows:
    places = [(part.file, part.row) for part in parts]
    ends = list(accumulate(len(part) for part in parts))

    def locate(position: int) -> tuple[str, int]:
        if not 0 <= position < (ends[-1] if ends else 0):
            raise IndexError(f"position {position}; there are {ends[-1] if ends else 0} rows")
        which = bisect_right(ends, position)
        file, row = places[which]
        inside = position - (ends[which - 1] if which else 0)
        return file, row + inside if isinstance(row, int) else int(row[inside])

    if len(parts) == 1:
        code, ts, columns = parts[0].code, parts[0].ts, parts[0].columns
    else:
        code = np.concatenate([np.empty(0, np.int32), *(part.code for part in parts)])
        ts = np.concatenate([np.empty(0, np.int64), *(part.ts for part in parts)])
        columns = {
            name: np.concatenate([np.empty(0), *(part.columns[name] for part in parts)])
            for name in options.value_columns
        }
    signed = options.allow_negative_prices
    return RawRows(options.kind, symbols, code, ts, columns, locate, signed)
