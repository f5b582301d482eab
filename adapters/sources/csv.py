"""Stored history in text, plain or compressed: one file, or a folder of them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.csv as pacsv

from openbell.adapters.sources.base import DataOptions, Source
from openbell.adapters.sources.columns import (
    Decoded,
    Found,
    OpenDatesError,
    Plan,
    check_types,
    decode,
    plan_columns,
    refuse_text_numbers,
    symbol_column,
    taken_as_zero,
)
from openbell.adapters.sources.dialect import (
    HEAD_BYTES,
    TAIL_BYTES,
    Dialect,
    detect,
    footer_bytes,
)
from openbell.adapters.sources.files import (
    CSV,
    TEXT,
    StoredFile,
    Watched,
    find_files,
    has_any,
    notes,
    unreadable,
    whole_digest,
)
from openbell.adapters.sources.pieces import Piece, PieceSource, Scan
from openbell.adapters.sources.roles import recognised
from openbell.adapters.sources.timetexts import DateOrder, only_order
from openbell.errors import DataError
from openbell.market.days import Nanoseconds

_UNREADABLE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    NotImplementedError,  # a ZIP with a method or a password that Python has not
    RuntimeError,
    UnicodeError,
    pa.ArrowException,
)
_PLAIN_TICKS = 4
"""Columns of ticks that have nothing but a symbol, a time, a price and a size."""
_WHOLE = "is it CSV, and whole?"
_MEMBERS = (".csv", ".txt", ".tsv")


def open_csv(path: Path, options: DataOptions) -> Source:
    """A CSV file, or all those in a folder and its subfolders, in name order.

    How a file is laid out is seen from its first and last kilobytes, as far as `options.csv` does
    not say it. It is read as a whole: where that is too slow or too big, convert it to Parquet.

    Raises
    ------
    openbell.errors.DataError
        If there is none. What is wrong inside a file is raised by the first question to it.
    """
    files = text_files(path, options)
    return PieceSource(str(path), options, lambda: _scan(files, options))


def text_files(path: Path, options: DataOptions) -> list[StoredFile]:
    """The files of a path that are read as text.

    Raises
    ------
    openbell.errors.DataError
        If there is none.
    """
    plain = path.is_dir() and not options.files and has_any(path, CSV)
    suffixes = CSV if plain else (*CSV, *TEXT)
    return find_files(path, suffixes, "CSV", options)


def _scan(files: list[StoredFile], options: DataOptions) -> Scan:
    opened = [CsvFile(file, options) for file in files]
    pieces: list[Piece] = []
    for number, file in enumerate(opened):
        try:
            pieces += file.pieces()
        except OpenDatesError:
            order = _order_of_alike(file, opened)
            if order is None:
                raise
            csv = replace(options.csv, date_order=order)
            opened[number] = CsvFile(file.file, replace(options, csv=csv))
            pieces += opened[number].pieces()
    said = (*notes(files), *_guesses(opened))
    return Scan(tuple(pieces), tuple(file.watched.identity for file in opened), said)


def _order_of_alike(file: CsvFile, files: Sequence[CsvFile]) -> DateOrder | None:
    """The order of day and month in the files that are laid out as one is, by their first rows.

    A file a day tells it on the thirteenth at the earliest, but its neighbours are of one writer.
    """
    layout = file.dialect.names, file.dialect.delimiter
    alike = [f for f in files if (f.dialect.names, f.dialect.delimiter) == layout]
    return only_order([f.first_time for f in alike if f.first_time])


def _guesses(files: list[CsvFile]) -> Iterator[str]:
    """What was taken for granted where a file does not say it; files that are alike once."""
    found: dict[str, list[str]] = {}
    for file in files:
        for guess in file.guesses():
            found.setdefault(guess, []).append(file.file.name)
    for guess, names in found.items():
        more = f" and {len(names) - 1:,} more files" if len(names) > 1 else ""
        yield f"{names[0]}{more}: {guess}"


class CsvFile:
    """One file of text, and how it is laid out."""

    def __init__(self, file: StoredFile, options: DataOptions) -> None:
        self.file = file
        self.options = options

    @cached_property
    def watched(self) -> Watched:
        return Watched(self.file.path, whole_digest)

    def pieces(self) -> Iterator[Piece]:
        check = self.watched.check  # as it was before it was read
        rows = self._load()
        if len(rows):
            bounds = int(rows.ts.min()), int(rows.ts.max())
            self.file.check_days(bounds)
            yield Piece(
                rows=len(rows),
                symbols=rows.present(),
                bounds=bounds,
                load=self._load,
                times=self._times,
                check=check,
            )

    @cached_property
    def dialect(self) -> Dialect:
        """How the file is laid out."""
        try:
            with self._bytes() as stream:
                head = _read_fully(stream, HEAD_BYTES)
                tail = head if len(head) < HEAD_BYTES else self._tail(stream)
        except _UNREADABLE as error:
            raise unreadable(self.file.name, error, _WHOLE) from None
        return detect(self.file.name, head, tail, self.options)

    @cached_property
    def plan(self) -> Plan:
        """Where openbell's columns are."""
        name, options, dialect = self.file.name, self.options, self.dialect
        if not "".join(dialect.names).isprintable():
            odd = UnicodeError("the names of its columns are no text")
            raise unreadable(name, odd, _WHOLE)
        self._refuse_names_of_values()
        mapped = any(theirs in dialect.names for theirs in options.columns.values())
        if not (recognised(dialect.names) or mapped or dialect.times) and (
            len(dialect.names) < 2 or not dialect.first_row
        ):
            shown = repr(", ".join(dialect.names)[:60])
            raise DataError(f"{name}: has no rows of values (it begins with {shown}); is it CSV?")
        found = Found(
            dict(zip(dialect.names, dialect.contents, strict=True)),
            dict(dialect.roles),
            dialect.times,
            dialect.zone,
            named=dialect.named,
            nanos=dialect.nanos,
        )
        column = symbol_column(dialect.names, options, found)
        symbol = options.symbol
        if column is None and symbol is None:
            symbol = dialect.symbol or self.file.symbol(options, has_column=False)
        try:
            return plan_columns(name, dialect.names, options, symbol, found)
        except DataError:
            if "\ufffd" in "".join(dialect.names):
                raise DataError(
                    f"{name}: the names of its columns are not in {dialect.encoding} "
                    f"({', '.join(dialect.names[:8])}); write the encoding, e.g. data.csv: "
                    "{encoding: cp1252}"
                ) from None
            if dialect.header or dialect.named:
                raise
            raise self._no_header() from None

    @property
    def first_time(self) -> str:
        """The time of the first row as it is written; empty where there is no row."""
        row = dict(zip(self.dialect.names, self.dialect.first_row, strict=False))
        return " ".join(row.get(name, "") for name in self.plan.needed(["ts"])).strip()

    def guesses(self) -> Iterator[str]:
        """What is taken for granted, because the file does not say it."""
        plan, dialect = self.plan, self.dialect
        if not dialect.header and not dialect.named:
            yield f"no header line; the columns are taken as {', '.join(self._proposed())}"
        yield from taken_as_zero(plan, dialect.names)

    def _refuse_names_of_values(self) -> None:
        """Names that stand in the first row only look like a header's."""
        dialect = self.dialect
        if dialect.header or dialect.named:
            return
        row = {*dialect.first_row, " ".join(dialect.first_row[:2])}
        if any(theirs in row for theirs in self.options.columns.values()):
            raise self._no_header(
                " and data.columns names values of its first row", " and data.columns: {}"
            )

    def _no_header(self, also: str = "", instead: str = "") -> DataError:
        row = self.dialect.first_row
        shown = ", ".join(row[:8]) + (", …" if len(row) > 8 else "")
        return DataError(
            f"{self.file.name}: has no header line (it begins with {shown}){also}; write what the "
            f"columns are, data.csv: {{header: none, names: [{', '.join(self._proposed())}]}}{instead}"
        )

    def _proposed(self) -> list[str]:
        """Names for the columns of a file without a header, as far as they can be told."""
        dialect = self.dialect
        ours = {theirs: name for name, theirs in dialect.roles}
        if len(dialect.times) == 2:
            ours |= dict(zip(dialect.times, ("date", "time"), strict=True))
        elif dialect.times:
            ours[dialect.times[0]] = "ts"
        left: Iterator[str] = iter(
            name
            for name in ("ts", *self.options.number_columns)
            if name not in ours.values() and not (name == "ts" and dialect.times)
        )
        named = []
        if self.options.kind == "ticks" and len(dialect.names) > _PLAIN_TICKS:
            left = iter(())  # numbers of trades and the like are not told from prices
        for number, name in enumerate(dialect.names, start=1):
            content = dialect.content(name)
            is_open = name not in ours and content in ("number", "epoch", "datetime", "zoned")
            named.append(ours.get(name) or (next(left, f"x{number}") if is_open else f"x{number}"))
        return named

    def _times(self) -> Nanoseconds:
        self.watched.check()
        return self._load().ts

    def _load(self) -> Decoded:
        plan = self.plan
        # A ticker may look like a number or a null: 005930, TRUE, NA.
        texts = dict.fromkeys((*plan.needed(["symbol"]), *plan.parts), pa.string())
        form = self.options.csv.time_format
        if form is not None and not form.startswith("epoch"):
            texts |= dict.fromkeys(plan.needed(["ts"]), pa.string())
        texts |= dict.fromkeys(plan.needed(self.options.extras), pa.string())
        numbers = dict.fromkeys(plan.needed(self.options.number_columns), pa.float64())
        if not self.dialect.plain_numbers:
            table = self._read(plan, texts | dict.fromkeys(numbers, pa.string()))
            table = self._numbers(plan, table)
        else:
            table = self._read(plan, texts | numbers)
        check_types(plan, dict(zip(table.column_names, table.schema.types, strict=True)))
        return decode(plan, table)

    def _read(self, plan: Plan, types: dict[str, Any]) -> Any:
        try:
            return self._parsed(plan, types, threads=True)
        except pa.ArrowInvalid:
            pass
        except _UNREADABLE as error:
            raise unreadable(self.file.name, error, _WHOLE) from None
        # What the first block of rows made of a column of times may not hold for the next.
        everything = dict.fromkeys(plan.all_needed(), pa.string())
        try:
            # With one thread, Arrow also says which row it is.
            table = self._parsed(plan, everything, threads=False)
        except _UNREADABLE as error:
            raise self._bad_row(str(error)) from None
        return self._numbers(plan, table)

    def _numbers(self, plan: Plan, table: Any) -> Any:
        """The columns of numbers, which were read as text, as such."""
        import pyarrow.compute as pc

        dialect = self.dialect
        for name in plan.needed(self.options.number_columns):
            texts = pc.utf8_trim_whitespace(table[name])
            if dialect.currency:
                texts = pc.replace_substring_regex(texts, "[$€£₹]", "")
            if dialect.thousands is not None:
                texts = pc.replace_substring(texts, dialect.thousands, "")
            if dialect.decimal != ".":
                texts = pc.replace_substring(texts, dialect.decimal, ".")
            missing = pc.is_in(pc.utf8_lower(texts), value_set=pa.array(_NULLS))
            texts = pc.if_else(missing, pa.scalar(None, pa.string()), texts)
            at = table.schema.get_field_index(name)
            try:
                texts = texts.cast(pa.float64())
            except pa.ArrowInvalid:
                refuse_text_numbers(plan, table.set_column(at, name, texts))
            table = table.set_column(at, name, texts)
        return table

    def _parsed(self, plan: Plan, types: dict[str, Any], threads: bool) -> Any:
        dialect = self.dialect
        with self._bytes() as opened:
            stream = self._without_footer(opened)
            return pacsv.read_csv(
                stream,
                read_options=pacsv.ReadOptions(
                    use_threads=threads,
                    skip_rows=dialect.lines,
                    column_names=list(dialect.names),
                    encoding=dialect.encoding,
                ),
                parse_options=pacsv.ParseOptions(delimiter=dialect.delimiter),
                convert_options=pacsv.ConvertOptions(
                    include_columns=plan.all_needed(),
                    column_types=types,
                    decimal_point=dialect.decimal,
                ),
            )

    def _without_footer(self, stream: IO[bytes]) -> Any:
        path = self.file.path
        if _is_plain(path):
            if not self.dialect.footer:
                return stream
            size = path.stat().st_size
            with path.open("rb") as file:
                file.seek(max(0, size - TAIL_BYTES))
                behind = footer_bytes(file.read(), self.dialect, self.options)
            return _Cut(stream, lambda tail: behind)
        return _Cut(stream, lambda tail: footer_bytes(tail, self.dialect, self.options))

    def _tail(self, stream: IO[bytes]) -> bytes:
        if not _is_plain(self.file.path):
            return b""  # known when all of it has been read
        stream.seek(max(HEAD_BYTES, self.file.path.stat().st_size - TAIL_BYTES))
        return stream.read()

    def _bad_row(self, text: str) -> DataError:
        reason = text.partition("\n")[0]
        found = re.search(r"Row #(\d+): (?:CSV conversion error )?(.*)", reason)
        if found is not None:  # Arrow counts what was skipped
            row = int(found[1]) - self.dialect.lines
            reason = f"row {row}: {found[2][:1].lower()}{found[2][1:]}"
        advice = "correct the row or take it out"
        if "invalid UTF8" in text:
            advice += ", or write the encoding, e.g. data.csv: {encoding: cp1252}"
        return DataError(f"{self.file.name}: {reason[:200]}; {advice}")

    @contextmanager
    def _bytes(self) -> Iterator[IO[bytes]]:
        path = self.file.path
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_member(path, archive)) as stream:
                yield stream
        else:
            with _OPENERS.get(path.suffix.lower(), _open_plain)(path) as stream:
                yield stream


def _open_plain(path: Path) -> IO[bytes]:
    return path.open("rb")


def _open_zstd(path: Path) -> Any:
    return pa.CompressedInputStream(str(path), "zstd")


_OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": gzip.open,
    ".bz2": bz2.open,
    ".xz": lzma.open,
    ".zst": _open_zstd,
}
_NULLS = ["", "null", "nan", "-nan", "n/a", "#n/a", "na", "none"]


def _is_plain(path: Path) -> bool:
    return path.suffix.lower() not in (".zip", *_OPENERS)


def _member(path: Path, archive: zipfile.ZipFile) -> str:
    """The one file with rows in an archive; a log or a read-me beside it does no harm."""
    names = [
        name
        for name in archive.namelist()
        if not name.startswith("__MACOSX") and not Path(name).name.startswith(".")
    ]
    for suffixes in (_MEMBERS[:1], _MEMBERS):
        found = [name for name in names if name.lower().endswith(suffixes)]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            shown = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
            raise DataError(
                f"{path}: holds {len(found)} CSV files ({shown}); unpack it into a folder and name "
                "that as data.path"
            )
    raise DataError(
        f"{path}: holds no CSV file, only {', '.join(names[:3]) or 'nothing'}; name another file"
    )


def _read_fully(stream: IO[bytes], size: int) -> bytes:
    parts = []
    while size and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class _Cut(io.RawIOBase):
    """A stream without what stands behind the rows; its end is seen when all of it has come."""

    def __init__(self, stream: IO[bytes], behind: Callable[[bytes], int]) -> None:
        self._stream = stream
        self._behind = behind
        self._held = b""
        self._ended = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._ended and (size < 0 or len(self._held) < size + TAIL_BYTES):
            part = self._stream.read(2**20 if size < 0 else max(size, 2**16))
            if part:
                self._held += part
                continue
            self._ended = True
            tail = self._held[-TAIL_BYTES:]
            behind = self._behind(tail)
            if behind:
                self._held = self._held[:-behind]
        given, self._held = (
            (self._held, b"") if size < 0 else (self._held[:size], self._held[size:])
        )
        return given
