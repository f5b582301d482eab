"""Stored history in Databento's DBN: bars and trades, as its batch downloads and clients write them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openbell.adapters import dbn
from openbell.adapters.sources.base import DataOptions, Source
from openbell.adapters.sources.columns import Decoded
from openbell.adapters.sources.files import (
    DBN,
    StoredFile,
    Watched,
    find_files,
    notes,
    unreadable,
    whole_digest,
)
from openbell.adapters.sources.pieces import Piece, PieceSource, Scan
from openbell.errors import DataError
from openbell.market.days import Nanoseconds
from openbell.market.prices import scaled

_PRELUDE = 8
"""`DBN`, the version, and how long the metadata is."""
_AGAIN = "download it again"


def open_dbn(path: Path, options: DataOptions) -> Source:
    """A DBN file, or all those in a folder and its subfolders, in name order.

    A file is read as a whole.

    Raises
    ------
    openbell.errors.DataError
        If there is none, or the package databento is not installed. What is wrong inside a file is
        raised by the first question to it.
    """
    try:
        import databento_dbn  # noqa: F401
    except ImportError:
        raise DataError(
            f"{path}: DBN needs the package databento, which is not installed; "
            "pip install 'openbell[databento]'"
        ) from None
    _check(path, options)
    files = find_files(path, DBN, "DBN", options)
    return PieceSource(str(path), options, lambda: _scan(files, options))


def _check(path: Path, options: DataOptions) -> None:
    """Refuse what can't be meant of DBN, in which all is said.

    Raises
    ------
    openbell.errors.DataError
    """
    if options.columns:
        raise DataError(f"{path}: DBN has columns of its own; take data.columns away")
    if options.label_shift_ns:
        raise DataError(
            f"{path}: bars in DBN carry the time of their start; take data.bar_label away, "
            "or write start"
        )
    if "trade_id" in options.extras:
        raise DataError(f"{path}: trades in DBN have no number of their own; take feed.dedupe away")
    if options.kind == "bars" and options.interval_ns not in dbn.SCHEMAS:
        raise DataError(
            f"{path}: Databento has bars of 1s, 1m and 1h; set data.interval to one of them, and "
            "make longer ones by upkeep.derived_intervals"
        )


def _scan(files: list[StoredFile], options: DataOptions) -> Scan:
    opened = [_DbnFile(file, options) for file in files]
    pieces = [piece for file in opened for piece in file.pieces()]
    said = (*notes(files), *(note for file in opened for note in file.notes()))
    return Scan(tuple(pieces), tuple(file.watched.identity for file in opened), said)


@dataclass(frozen=True, eq=False)
class _Content:
    """What is used of a file."""

    rows: Decoded
    publishers: NDArray[np.uint16]
    unnamed: tuple[int, int]
    """Records of instruments that had no symbol on their date, and how many instruments."""
    numbered: bool
    """Whether instruments' numbers stand for symbols."""


@dataclass(frozen=True)
class _Head:
    """What a file says of itself."""

    records_at: int
    """Where its records begin."""
    schema: str | None
    """None: of a live session, which may have had several."""
    intervals: list[dbn.Interval]


class _DbnFile:
    def __init__(self, file: StoredFile, options: DataOptions) -> None:
        self._file = file
        self._options = options
        self._notes: list[str] = []
        self.watched = Watched(file.path, whole_digest)

    @property
    def name(self) -> str:
        return self._file.name

    def notes(self) -> list[str]:
        """What was passed over; known when its pieces are."""
        return self._notes

    def pieces(self) -> Iterator[Piece]:
        content = self._content()
        self._say(content)
        rows = content.rows
        if self._options.kind == "bars":
            self._refuse_doubled(rows, content.publishers)
        if not len(rows):
            return
        bounds = int(rows.ts.min()), int(rows.ts.max())
        if self._file.is_dated:
            self._file.check_days(bounds)
        yield Piece(
            rows=len(rows),
            symbols=rows.present(),
            bounds=bounds,
            load=lambda: self._content().rows,
            times=self._times,
            check=self.watched.check,
        )

    def _times(self) -> Nanoseconds:
        return self._content().rows.ts

    def _say(self, content: _Content) -> None:
        count, instruments = content.unnamed
        if count:
            self._notes.append(
                f"{self.name}: {count:,} records of {instruments:,} instruments that have no "
                "symbol on their date are left out"
            )
        if content.numbered and len(content.rows):
            self._notes.append(
                f"{self.name}: it names no symbols; the instruments' numbers stand for them"
            )

    def _refuse_doubled(self, rows: Decoded, publishers: NDArray[np.uint16]) -> None:
        """Datasets of several venues have a bar of each, of which none is the market's."""
        if len(np.unique(publishers)) < 2:
            return
        order = np.lexsort((rows.ts, rows.code))
        code, ts, of = rows.code[order], rows.ts[order], publishers[order]
        same = (code[1:] == code[:-1]) & (ts[1:] == ts[:-1]) & (of[1:] != of[:-1])
        if same.any():
            at = int(order[1:][same][0])
            among = ", ".join(map(str, np.unique(publishers).tolist()))
            raise DataError(
                f"{self.name}: {rows.symbols[rows.code[at]]} has bars of several venues for one "
                f"time (publishers {among}); none of them is the market's. Download a dataset with "
                "one bar a minute, such as EQUS.MINI or one venue's, or the trades"
            )

    def _content(self) -> _Content:
        data = self._bytes()
        head = self._head(data)
        kind, options = self._options.kind, self._options
        body = np.frombuffer(data, np.uint8, offset=head.records_at)
        wanted = dbn.TRADES if kind == "ticks" else (dbn.RTYPES[options.interval_ns or 0],)
        try:
            records, place = dbn.records_of(body, wanted, kind)
        except dbn.Broken as error:
            raise self._damaged(error) from None
        if not len(records) and len(body):
            self._refuse_others(head)
        if kind == "ticks" and len(records):
            trades = records["action"] == b"T"
            if not trades.all():
                records, place = records[trades], place[trades]
        ts = dbn.times(records, kind)
        told = head.intervals or self._told(head, body)
        symbols, code = self._named(dbn.Symbols(told), records["instrument_id"], ts)
        numbered = not told and options.symbol is None
        publishers, row = records["publisher_id"], place + 1
        values = dbn.columns(records, kind)
        if "partial" in options.extras:
            values["partial"] = np.zeros(len(ts))
        unnamed = code < 0
        left_out = int(unnamed.sum()), len(np.unique(records["instrument_id"][unnamed]))
        if left_out[0]:
            at = np.flatnonzero(~unnamed)
            code, ts, publishers, row = code[at], ts[at], publishers[at], row[at]
            values = {name: of[at] for name, of in values.items()}
        if options.price_scale != 1.0:
            values = {
                name: of
                if name in ("volume", "size", "partial")
                else scaled(of, options.price_scale)
                for name, of in values.items()
            }
        ts = ts + options.time_shift_ns
        arrays: tuple[NDArray[Any], ...] = (code, ts, *values.values())
        for array in arrays:
            array.setflags(write=False)
        rows = Decoded(self.name, row, symbols, code, ts, values)
        return _Content(rows, publishers, left_out, numbered)

    def _damaged(self, why: Exception) -> DataError:
        return DataError(f"{self.name}: is damaged or cut off ({why}); {_AGAIN}")

    def _bytes(self) -> bytes:
        compression = "zstd" if self.name.lower().endswith(".zst") else None
        try:
            with pa.input_stream(self.name, compression=compression) as stream:
                data: bytes = stream.read()
        except (pa.ArrowException, OSError) as error:
            raise unreadable(self.name, error, f"is it damaged? If so, {_AGAIN}") from None
        return data

    def _head(self, data: bytes) -> _Head:
        from databento_dbn import Metadata

        records_at = _PRELUDE + int.from_bytes(data[4:_PRELUDE], "little")
        try:
            metadata = Metadata.decode(data[:records_at])
            schema = None if metadata.schema is None else str(metadata.schema)
            return _Head(records_at, schema, dbn.intervals_of(metadata))
        except BaseException as error:
            # Over some damage its decoder panics, which is no Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            why = " ".join(str(error).split())[:200]
            raise DataError(f"{self.name}: is no whole DBN file ({why}); {_AGAIN}") from None

    def _refuse_others(self, head: _Head) -> None:
        held = head.schema
        if held is None:
            return  # a live session's, in which nothing of this kind came
        if held.startswith("ohlcv-"):
            length = held.removeprefix("ohlcv-")
            way = f"set data.kind: bars and data.interval: {length}"
            if length not in ("1s", "1m", "1h"):
                way = "download ohlcv-1m"
        elif held in ("trades", "tbbo", "mbp-1"):
            way = "set data.kind: ticks"
        else:
            way = "download ohlcv-1m or trades"
        raise DataError(
            f"{self.name}: holds {held}; {way}, or name the files to read with data.files"
        )

    def _told(self, head: _Head, body: NDArray[np.uint8]) -> list[dbn.Interval]:
        """Symbols that a live session was told between its records."""
        if head.schema is not None:
            return []
        found = []
        try:
            for at in dbn.starts_of(body, dbn.SYMBOL_MAPPING).tolist():
                record = body[at : at + int(body[at]) * dbn.LENGTH_UNIT].tobytes()
                instrument, symbol = dbn.mapping_told(record)
                found.append(dbn.Interval(instrument, 0, 2**dbn.DAY_BITS - 1, symbol))
        except dbn.Broken as error:
            raise self._damaged(error) from None
        return found

    def _named(
        self, known: dbn.Symbols, ids: NDArray[np.uint32], ts: Nanoseconds
    ) -> tuple[tuple[str, ...], NDArray[np.int32]]:
        if len(known):
            return known.names, known.codes(ids, ts)
        if self._options.symbol is not None:
            return (self._options.symbol,), np.zeros(len(ts), np.int32)
        there, code = np.unique(ids, return_inverse=True)
        return tuple(map(str, there.tolist())), code.astype(np.int32)
