"""Stored history in Parquet: one file, or a folder of them.

A folder may have a file a day, a file a symbol, hive partitions (`symbol=AAPL/date=2024-07-01/`)
or any mixture; only the columns, times and symbols asked for are read. pyarrow.dataset could do
part of this, but takes 0.3 s to import.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openbell.adapters.sources.arrowtypes import found_in
from openbell.adapters.sources.base import DataOptions, Source
from openbell.adapters.sources.columns import (
    Decoded,
    Plan,
    check_types,
    decode,
    decode_symbols,
    decode_times,
    is_naive,
    plan_columns,
    symbol_column,
    taken_as_zero,
)
from openbell.adapters.sources.files import (
    PARQUET,
    StoredFile,
    Watched,
    find_files,
    notes,
    unreadable,
)
from openbell.adapters.sources.pieces import Piece, PieceSource, Scan
from openbell.adapters.sources.times import (
    NonexistentTimeError,
    compact_times,
    epoch_unit_ns,
    epochs_by_size,
    instants,
)
from openbell.errors import DataError
from openbell.market.bars import Codes
from openbell.market.days import DAY_NS, MINUTE_NS, SECOND_NS, Nanoseconds

_REWRITE = "write it again or take it away"
_UNREADABLE = (pa.ArrowException, OSError, UnicodeError)
_UNIT_NS = {"milliseconds": 10**6, "microseconds": 10**3, "nanoseconds": 1}
_LONGEST_CHANGE_NS = 180 * MINUTE_NS
"""More than any clock is put forward or back."""


def open_parquet(path: Path, options: DataOptions) -> Source:
    """A Parquet file, or all those in a folder and its subfolders in sorted name order.

    Raises
    ------
    openbell.errors.DataError
        If there is none. What is wrong inside a file is raised by the first question to it.
    """
    files = find_files(path, PARQUET, "Parquet", options)
    return PieceSource(str(path), options, lambda: _scan(files, options))


def _scan(files: list[StoredFile], options: DataOptions) -> Scan:
    opened = [_ParquetFile(file, options) for file in files]
    distinct: dict[tuple[str, ...], tuple[str, ...]] = {}  # days of the same symbols share a tuple
    known: dict[bytes, tuple[str, ...]] = {}
    pieces = []
    for file in opened:
        for piece in file.pieces(known):
            piece.symbols = distinct.setdefault(piece.symbols, piece.symbols)
            pieces.append(piece)
    said = (*notes(files), *_assumed(opened))
    return Scan(tuple(pieces), tuple(file.watched.identity for file in opened), said)


def _assumed(files: list[_ParquetFile]) -> Iterator[str]:
    """What was taken for granted, once for all files."""
    first: dict[str, _ParquetFile] = {}
    for file in files:
        for text in file.assumed:
            first.setdefault(text, file)
    for text, file in first.items():
        yield f"{file.name}: {text}"


def footer_digest(path: Path) -> str:
    """Hex digest of a Parquet file's footer; nothing else of the file is read.

    Raises
    ------
    openbell.errors.DataError
        If the file has no whole footer.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - 8, 0))
            tail = file.read(8)
            length = int.from_bytes(tail[:4], "little")
            if size < 12 or tail[4:] != b"PAR1" or length > size - 12:
                raise DataError(
                    f"{path}: is no whole Parquet file ({size} bytes, no footer at its end); "
                    f"{_REWRITE}"
                )
            file.seek(size - 8 - length)
            return blake2b(file.read(length), digest_size=16).hexdigest()
    except OSError as error:
        raise unreadable(str(path), error) from None


class _ParquetFile:
    """One file; opened anew for each read, so that thousands of them hold no handles."""

    def __init__(self, file: StoredFile, options: DataOptions) -> None:
        self._file = file
        self._options = options
        self.watched = Watched(file.path, footer_digest)
        self.assumed: tuple[str, ...] = ()
        """What was taken for granted; known when its pieces are."""

    @property
    def name(self) -> str:
        return self._file.name

    def pieces(self, known: dict[bytes, tuple[str, ...]]) -> Iterator[Piece]:
        """The row groups that have rows.

        `known` has the symbols of columns read so far, by a digest of what is stored of them:
        files of whole days in one order hold the same column, which is read but once.
        """
        with self._naming_damage(), pa.OSFile(self._file.name) as handle:
            yield from self._pieces(handle, known)

    def _pieces(self, handle: Any, known: dict[bytes, tuple[str, ...]]) -> Iterator[Piece]:
        parquet = self._open(handle)
        schema = parquet.schema_arrow
        name, options = self._file.name, self._options
        found = found_in(name, schema.names, schema.types)
        has_symbol = symbol_column(schema.names, options, found) is not None
        symbol = self._file.symbol(options, has_symbol)
        plan = plan_columns(name, schema.names, options, symbol, found)
        check_types(plan, dict(zip(schema.names, schema.types, strict=True)))
        self.assumed = tuple(taken_as_zero(plan, schema.names))
        metadata = parquet.metadata
        leaves = {metadata.schema.column(i).path: i for i in range(metadata.num_columns)}
        first_row = 1
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            if group.num_rows:
                bounds = _time_bounds(plan, schema, group, leaves)
                if self._file.is_dated:
                    if bounds is None:
                        ts = self._times(plan, number, first_row)
                        bounds = int(ts.min()), int(ts.max())
                    self._file.check_days(bounds)
                yield Piece(
                    rows=group.num_rows,
                    symbols=self._symbols(
                        plan, handle, parquet, group, leaves, number, first_row, known
                    ),
                    bounds=bounds,
                    load=partial(self._load, plan, number, first_row),
                    times=partial(self._times, plan, number, first_row),
                    check=self.watched.check,
                )
            first_row += group.num_rows

    def _symbols(
        self,
        plan: Plan,
        handle: Any,
        parquet: Any,
        group: Any,
        leaves: dict[str, int],
        number: int,
        first_row: int,
        known: dict[bytes, tuple[str, ...]],
    ) -> tuple[str, ...]:
        if plan.symbol is not None:
            return (plan.symbol,)
        name = plan.names["symbol"]
        statistics = _statistics(group, leaves, name)
        if statistics is not None:
            low, high = statistics.min_raw, statistics.max_raw
            # Long texts may have been cut short by the writer.
            if isinstance(low, bytes) and low == high and 0 < len(low) < 32:
                return (low.decode(),)
        column, form = group.column(leaves[name]), f"{parquet.schema_arrow.field(name)!r}"
        stored = _stored(handle, column, form)
        if stored not in known:
            # The same handle and footer: to open the file anew would take as long as to decode.
            again = self._open(handle, [name], parquet.metadata)
            table = again.read_row_group(number, columns=plan.needed(["symbol"]))
            symbols, code = decode_symbols(plan, table, first_row)
            used = np.zeros(len(symbols), np.bool_)
            used[code[:1]] = True
            used[code[1:][code[1:] != code[:-1]]] = True  # few, where rows stand by symbol
            known[stored] = tuple(symbols[i] for i in np.flatnonzero(used))
        return known[stored]

    def _load(self, plan: Plan, number: int, first_row: int) -> Decoded:
        ours = ["symbol", "ts", *plan.options.value_columns]
        with self._naming_damage():
            return decode(plan, self._read(plan, number, ours), first_row)

    def _times(self, plan: Plan, number: int, first_row: int) -> Nanoseconds:
        self.watched.check()

        def symbols() -> Codes:
            return decode_symbols(plan, self._read(plan, number, ["symbol", "ts"]), first_row)[1]

        with self._naming_damage():
            return decode_times(plan, self._read(plan, number, ["ts"]), first_row, symbols)

    def _read(self, plan: Plan, number: int, ours: list[str]) -> Any:
        # Read as a dictionary, symbols come as codes and not as a text a row.
        symbol = [plan.names["symbol"]] if "symbol" in plan.names else []
        with self._naming_damage():
            parquet = self._open(self._file.path, symbol)
            return parquet.read_row_group(number, columns=plan.needed(ours))

    def _open(self, source: Any, dictionaries: Sequence[str] = (), metadata: Any = None) -> Any:
        with self._naming_damage():
            return pq.ParquetFile(
                source,
                metadata=metadata,
                read_dictionary=list(dictionaries),
                page_checksum_verification=True,  # where the writer gave checksums
            )

    @contextmanager
    def _naming_damage(self) -> Iterator[None]:
        """Say which file it is that Arrow, or what it has read, stumbles over."""
        try:
            yield
        except _UNREADABLE as error:
            raise unreadable(self._file.name, error, f"is it damaged? If so, {_REWRITE}") from None


def _stored(handle: Any, column: Any, form: str) -> bytes:
    """Digest of a column's pages and of what else it takes to decode them."""
    form = f"{form} {column.num_values} {column.compression} {column.physical_type}"
    digest = blake2b(form.encode(), digest_size=16)
    offsets = (column.dictionary_page_offset, column.data_page_offset)
    handle.seek(min(offset for offset in offsets if offset))
    digest.update(handle.read(column.total_compressed_size))
    return digest.digest()


def _statistics(group: Any, leaves: dict[str, int], name: str) -> Any:
    """A column's statistics in a row group if it is known to have no null, else None."""
    if name not in leaves:
        return None
    statistics = group.column(leaves[name]).statistics
    usable = (
        statistics is not None
        and statistics.has_min_max
        and statistics.has_null_count
        and statistics.null_count == 0
    )
    return statistics if usable else None


def _time_bounds(
    plan: Plan, schema: Any, group: Any, leaves: dict[str, int]
) -> tuple[int, int] | None:
    """Instants between which all rows of a row group lie, by its statistics; None: not known."""
    name = plan.names.get("ts", "")
    statistics = _statistics(group, leaves, name)
    if statistics is None or not isinstance(statistics.min_raw, int):
        return None
    low, high = statistics.min_raw, statistics.max_raw
    logical = json.loads(statistics.logical_type.to_json())
    kind = logical["Type"]
    if kind == "Timestamp":
        unit = _UNIT_NS[logical["timeUnit"]]
    elif kind == "Date":
        unit = DAY_NS
    elif kind in ("Int", "None"):
        ends = np.array([low, high])
        if compact_times(ends) is not None or epochs_by_size(ends) is not None:
            return None
        unit = epoch_unit_ns(max(high, -low))
    else:
        return None
    low, high = low * unit, high * unit
    if max(abs(low), abs(high)) >= 2**62:  # decoding says what is wrong with them
        return None
    if is_naive(schema.field(name).type) and plan.options.timezone != "UTC":
        # Order on the wall is not order in time where a clock is put back.
        wall = np.array([low - _LONGEST_CHANGE_NS, high + _LONGEST_CHANGE_NS])
        wall += plan.options.time_shift_ns
        try:
            low, high = instants(wall, plan.options.timezone or "UTC").tolist()
        except NonexistentTimeError:
            return None
    else:
        low, high = low + plan.options.time_shift_ns, high + plan.options.time_shift_ns
    shift = plan.options.label_shift_ns
    # An end may be written as the last second inside the bar.
    return low - shift, high - shift + (SECOND_NS if shift else 0)
