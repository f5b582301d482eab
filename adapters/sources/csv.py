"""Stored history in CSV, plain or compressed: one file, or a folder of them."""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from openbell.adapters.sources.base import DataOptions, Source
from openbell.adapters.sources.columns import (
    Decoded,
    check_types,
    decode,
    plan_columns,
    refuse_text_numbers,
)
from openbell.adapters.sources.files import CSV, StoredFile, Watched, find_files, unreadable
from openbell.adapters.sources.pieces import Piece, PieceSource, Scan
from openbell.errors import DataError
from openbell.market.days import Nanoseconds

_DELIMITERS = ",;\t|"
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, UnicodeDecodeError)


def open_csv(path: Path, options: DataOptions) -> Source:
    """A CSV file with a header line, or all those in a folder and its subfolders, in name order.

    Values may be set apart by comma, semicolon, tab or bar. Times may be ISO 8601 with or without
    an offset, or epoch counts, whose unit (s, ms, us, ns) is told by their magnitude. A file is
    read as a whole: where that is too slow or too big, convert it to Parquet.

    Raises
    ------
    openbell.errors.DataError
        If there is none. What is wrong inside a file is raised by the first question to it.
    """
    files = find_files(path, CSV, "CSV")
    return PieceSource(str(path), options, lambda: _scan(files, options))


def _scan(files: list[StoredFile], options: DataOptions) -> Scan:
    opened = [_CsvFile(file, options) for file in files]
    pieces = [piece for file in opened for piece in file.pieces()]
    return Scan(tuple(pieces), tuple(file.watched.identity for file in opened))


def _whole_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise unreadable(str(path), error) from None


class _CsvFile:
    def __init__(self, file: StoredFile, options: DataOptions) -> None:
        self._file = file
        self._options = options
        self.watched = Watched(file.path, _whole_digest)

    def pieces(self) -> Iterator[Piece]:
        rows = self._load()
        if len(rows):
            yield Piece(
                rows=len(rows),
                symbols=rows.present(),
                bounds=(int(rows.ts.min()), int(rows.ts.max())),
                load=self._load,
                times=self._times,
                check=self.watched.check,
            )

    def _times(self) -> Nanoseconds:
        self.watched.check()
        return self._load().ts

    def _load(self) -> Decoded:
        name, options = self._file.name, self._options
        header, delimiter = self._header()
        has_symbol = options.columns.get("symbol", "symbol") in header
        plan = plan_columns(name, header, options, self._file.symbol(options, has_symbol))
        # A ticker may look like a number or a null: 005930, TRUE, NA.
        texts = [*plan.needed(["symbol"]), *plan.parts]
        table = self._read(
            delimiter,
            pacsv.ConvertOptions(
                include_columns=plan.all_needed(),
                column_types={column: pa.string() for column in texts},
            ),
        )
        refuse_text_numbers(plan, table)
        check_types(plan, dict(zip(table.column_names, table.schema.types, strict=True)))
        return decode(plan, table)

    def _header(self) -> tuple[list[str], str]:
        try:
            with self._bytes() as stream:
                line = stream.readline().decode("utf-8-sig").rstrip("\r\n")
        except _UNREADABLE as error:
            raise unreadable(self._file.name, error, "is it CSV in UTF-8, and whole?") from None
        if not line.strip():
            raise DataError(
                f"{self._file.name}: is empty; write a header line and rows, or take it away"
            )
        delimiter = max(_DELIMITERS, key=line.count)
        return next(csv.reader([line], delimiter=delimiter)), delimiter

    def _read(self, delimiter: str, convert: Any) -> Any:
        try:
            return self._parsed(delimiter, convert, threads=True)
        except pa.ArrowInvalid:
            pass  # with one thread, Arrow also says which row it is
        except (pa.ArrowException, *_UNREADABLE) as error:
            raise unreadable(self._file.name, error, "is it CSV in UTF-8, and whole?") from None
        try:
            return self._parsed(delimiter, convert, threads=False)
        except (pa.ArrowException, *_UNREADABLE) as error:
            raise self._bad_row(str(error)) from None

    def _parsed(self, delimiter: str, convert: Any, threads: bool) -> Any:
        with self._bytes() as stream:
            return pacsv.read_csv(
                stream,
                read_options=pacsv.ReadOptions(use_threads=threads),
                parse_options=pacsv.ParseOptions(delimiter=delimiter),
                convert_options=convert,
            )

    def _bad_row(self, text: str) -> DataError:
        reason = text.partition("\n")[0]
        found = re.search(r"Row #(\d+): (?:CSV conversion error )?(.*)", reason)
        if found is not None:  # Arrow counts the header
            reason = f"row {int(found[1]) - 1}: {found[2][:1].lower()}{found[2][1:]}"
        return DataError(f"{self._file.name}: {reason[:200]}; correct the row or take it out")

    @contextmanager
    def _bytes(self) -> Iterator[IO[bytes]]:
        path = self._file.path
        if path.name.lower().endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                members = [n for n in archive.namelist() if n.lower().endswith(".csv")]
                if len(members) != 1:
                    raise DataError(
                        f"{path}: holds {len(members)} CSV files; a .csv.zip must hold one"
                    )
                with archive.open(members[0]) as stream:
                    yield stream
        elif path.name.lower().endswith(".gz"):
            with gzip.open(path) as stream:
                yield stream  # type: ignore[misc]  # GzipFile reads like any binary file
        else:
            with path.open("rb") as stream:
                yield stream
