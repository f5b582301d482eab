"""Recordings: what a feed brought, a day a file, as it came, and the marks of where time was moved.

`2024-07-01.parquet` has a day's rows, as anybody reads Parquet. `2024-07-01.marks`, Parquet too, has
a line for each step: up to when time was moved with it, what rang, and how many of the rows came.
With both, the day can be run again as it was lived. Of a day under way there are parts of both in
the folder `.parts`, each there as a whole or not at all; when it is over they become one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from openbell.adapters.stores import JournalEntry, Step
from openbell.errors import DataError, InputError
from openbell.market.auctions import WORDS as AUCTION_WORDS
from openbell.market.bars import (
    BAR_COLUMNS,
    EXTRAS,
    TICK_COLUMNS,
    BadRow,
    Codes,
    Kind,
    Prices,
    RawRows,
)
from openbell.market.days import (
    EPOCH,
    Auction,
    AuctionKind,
    MarketTime,
    Nanoseconds,
    ProductHours,
    Segment,
    TradingDay,
)
from openbell.market.widening import codes_on
from openbell.runtime.record import inserted, journal
from openbell.runtime.record.feedlog import Came, column_or_none, columns_of

ROWS, MARKS, PARTS = ".parquet", ".marks", ".parts"

VERSION = 2
"""Of the files; a program refuses newer ones. Those of version 1 have no hours by product, contracts
or rows of auctions, and no scans or symbols that came into the day."""

ABOUT = b"recording"
"""Under which the marks' file says what it is about, as JSON."""

LINES = 4096
"""Steps that are made of the marks at a time."""

AT = pa.timestamp("ns", "UTC")

MARKS_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("from", AT, nullable=False),
        pa.field("until", AT, nullable=False),
        pa.field("what", pa.list_(pa.string()), nullable=False),
        pa.field("host", AT),
        pa.field("rows", pa.int64()),
        pa.field("position", pa.int64()),
        pa.field("outside", pa.list_(pa.struct({"symbol": pa.string(), "rows": pa.int64()}))),
        pa.field(
            "bad",
            pa.list_(
                pa.struct(
                    {
                        "file": pa.string(),
                        "row": pa.int64(),
                        "symbol": pa.string(),
                        "ts": pa.int64(),
                        "reason": pa.string(),
                    }
                )
            ),
        ),
        pa.field("partial", pa.list_(pa.struct({"symbol": pa.string(), "rows": pa.int64()}))),
        pa.field("auction", pa.list_(pa.struct({"symbol": pa.string(), "rows": pa.int64()}))),
        pa.field("inputs", pa.binary()),
        pa.field(
            "kept",
            pa.list_(
                pa.struct({"name": pa.string(), "step": pa.int64(), "body": pa.large_binary()})
            ),
        ),
    ]
)


@dataclass(frozen=True)
class About:
    """What a recording is about."""

    name: str
    """Of the run that it was recorded from."""
    trading_date: str
    exchange: str
    kind: Kind
    interval_ns: int | None
    symbols: tuple[str, ...]
    """The register that the day began with."""
    config: Mapping[str, Any]
    """The keys that determined the answers."""
    first: int
    last: int
    """Its steps."""
    digest: str
    """Of all that they and those before them brought: who goes on goes on from this."""
    rows: int
    zone: str = ""
    segments: tuple[tuple[int, int], ...] = ()
    """The day's hours, ns UTC, and their time zone: of the first part."""
    products: tuple[tuple[str, tuple[tuple[int, int], ...], tuple[str, ...]], ...] = ()
    """Where symbols had different hours, each product's: its name, hours and symbols, as of
    `TradingDay.products`."""
    auctions: tuple[tuple[str, AuctionKind, int, int], ...] = ()
    """Auctions that sessions named: product, kind, from when until when (ns UTC)."""
    until_ns: int = EPOCH
    """Market time that it has come to."""
    closed: bool = False
    """Whether the day is over, and nothing more can come."""
    not_used: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """How many rows came that the run took no notice of, by why and by what, as far as known."""
    kept: tuple[str, ...] = ()
    """Names of what else came from outside."""
    contracts: Mapping[str, Any] | None = None
    """What instruments said for the day; None: nothing."""
    registers: tuple[tuple[int, tuple[str, ...]], ...] = ()
    """Where symbols came while it was under way: the step that they came with, and the register
    from then on."""
    configured: tuple[str, ...] | Literal["all"] | None = None
    """The symbols that the configuration named, where others were asked for beside it."""
    version: int = VERSION
    program: str = ""
    """The version of openbell that wrote it."""

    @property
    def date(self) -> date:
        return date.fromisoformat(self.trading_date)

    @property
    def day(self) -> TradingDay:
        """Its hours; where they come from is not told."""
        products = tuple(
            ProductHours(
                name,
                tuple(Segment(*of) for of in hours),
                symbols,
                auctions=tuple(
                    Auction(kind, opens_ns, closes_ns)
                    for product, kind, opens_ns, closes_ns in self.auctions
                    if product == name
                ),
            )
            for name, hours, symbols in self.products
        )
        named = tuple(kind for kind in AUCTION_WORDS if any(kind in of for of in self.auctions))
        hours = tuple(Segment(*of) for of in self.segments)
        return TradingDay(self.date, self.zone, hours, products=products, named=named)

    @cached_property
    def every(self) -> tuple[str, ...]:
        """All that a row's `symbol` may be one of, sorted where symbols came."""
        if not self.registers:
            return self.symbols
        return tuple(sorted({*self.symbols, *(of for _, held in self.registers for of in held)}))

    def register(self, step: int) -> tuple[str, ...]:
        """The day's register with a step."""
        held = [symbols for since, symbols in self.registers if since <= step]
        return held[-1] if held else self.symbols

    @property
    def begun(self) -> bool:
        """Whether the day has been opened: before that there is nothing to be run."""
        return any(name.startswith(f"{journal.ROWS} ") for name in self.kept)


@dataclass(frozen=True, eq=False)
class RecordedDay:
    """A day, or a stretch of its steps one after another."""

    about: About
    steps: tuple[Step, ...]
    """Their grants have no digests."""
    came: Mapping[int, Came]
    """What a feed brought with them, by step, each on the register of its step."""
    kept: tuple[JournalEntry, ...]
    """What else came from outside, as the journal has it, and what earlier days left."""

    def raw_rows(self) -> RawRows:
        """All of its rows, as a source has them."""
        parts = [(step, self.came[step]) for step in sorted(self.came)]
        return _raw_rows(
            self.about,
            [(among_all(self.about, step, of.code), of.ts, of.columns) for step, of in parts],
        )


_Columns = tuple[Codes, Nanoseconds, Mapping[str, Prices]]
"""Of some rows: symbols as places among all of the day, times, and numbers by the journal's names."""


def among_all(about: About, step: int, code: Codes) -> Codes:
    """Places in the register of a step, as places among all symbols of the day."""
    register = about.register(step)
    return code if register == about.every else codes_on(register, about.every)[code]


def _raw_rows(about: About, parts: Sequence[_Columns]) -> RawRows:
    names, theirs = names_of(about.kind)
    return RawRows(
        kind=about.kind,
        symbols=about.every,
        code=joined([code for code, _, _ in parts], np.int32),
        ts=joined([ts for _, ts, _ in parts], np.int64),
        columns={
            name: joined([columns[own] for _, _, columns in parts], np.float64)
            for name, own in zip(names, theirs, strict=True)
        }
        | extras_of([(len(ts), columns) for _, ts, columns in parts], about.kind),
        locate=lambda row: (f"{about.trading_date}{ROWS}", row),
        signed=True,  # what could not be used is not among them
    )


def recorded_days(path: Path | str) -> dict[date, Path]:
    """The days of a recording, each with the folder that it is in: of a folder, or of one file."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    found = _dates(names_in(folder, MARKS))
    found |= {of for of in _dates(names_in(folder / PARTS, "")) if parts_of(folder, of)}
    if path != folder:
        found &= _dates([path.name] if path.name.endswith((ROWS, MARKS)) else [])
    return {of: folder for of in sorted(found)}


def without_marks(path: Path | str) -> list[date]:
    """Days of which a folder has rows only."""
    folder = Path(path)
    return sorted(_dates(names_in(folder, ROWS)) - recorded_days(folder).keys())


def about_day(folder: Path, of: date) -> About:
    """What there is of a day, all of it together.

    Raises
    ------
    DataError
        If there is nothing.
    """
    pieces = written(folder, of)
    if not pieces:
        raise DataError(f"{folder}: has no recording of {of}; it has {_span(folder)}")
    return together(pieces, closed=pieces[-1].closed)


def written(folder: Path, of: date) -> list[About]:
    """What there is of a day, oldest first: the whole, and parts that came after it."""
    found = [about for stem in stems(folder, of) if (about := about_file(stem)) is not None]
    return _in_a_row(found)


def _in_a_row(found: Iterable[About]) -> list[About]:
    kept: list[About] = []
    for about in found:
        if not kept or about.first == kept[-1].last + 1:
            kept.append(about)
    return kept


def stems(folder: Path, of: date) -> Iterator[Path]:
    """Paths without their suffixes: the whole first, then parts in their order."""
    yield folder / str(of)
    yield from parts_of(folder, of)


def parts_of(folder: Path, of: date) -> list[Path]:
    below = folder / PARTS / str(of)
    return [below / name.removesuffix(MARKS) for name in sorted(names_in(below, MARKS))]


def names_in(folder: Path, suffix: str) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if name.endswith(suffix)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _dates(names: Iterable[str]) -> set[date]:
    found = set()
    for name in names:
        with suppress(ValueError):
            found.add(date.fromisoformat(name.removesuffix(ROWS).removesuffix(MARKS)))
    return found


def chosen(folder: Path, of: date, pieces: Sequence[About]) -> list[Path]:
    wanted = {(about.first, about.last) for about in pieces}
    found: dict[tuple[int, int], Path] = {}
    for stem in stems(folder, of):
        about = about_file(stem)
        if about is not None and (about.first, about.last) in wanted:
            found.setdefault((about.first, about.last), stem)
    return [found[about.first, about.last] for about in pieces]


def together(pieces: Sequence[About], *, closed: bool) -> About:
    not_used: dict[str, dict[str, int]] = {}
    for about in pieces:
        for why, counts in about.not_used.items():
            of_why = not_used.setdefault(why, {})
            for what, count in counts.items():
                of_why[what] = of_why.get(what, 0) + count
    return replace(
        pieces[0],
        symbols=pieces[-1].symbols,  # others may have been asked for before the day was opened
        config=pieces[-1].config,
        contracts=pieces[-1].contracts,
        registers=pieces[-1].registers,
        configured=pieces[-1].configured,
        version=max(about.version for about in pieces),
        last=pieces[-1].last,
        digest=pieces[-1].digest,
        until_ns=pieces[-1].until_ns,
        rows=sum(about.rows for about in pieces),
        closed=closed,
        not_used=not_used,
        kept=tuple(name for about in pieces for name in about.kept),
    )


class OpenDay:
    """A recorded day that is read step by step: of one that has millions only the rows are held.

    Raises
    ------
    DataError
        If there is none, or the files don't belong together; the text names the file.
    """

    def __init__(self, folder: Path, of: date) -> None:
        self.about = about_day(folder, of)
        pieces = written(folder, of)
        self.pieces = [
            _read(stem, about, self.about.every)
            for stem, about in zip(chosen(folder, of, pieces), pieces, strict=True)
        ]
        self.kept = tuple(
            JournalEntry(self.about.date, item["name"], item["body"], item["step"])
            for piece in self.pieces
            for items in piece.marks["kept"].to_pylist()
            for item in items or ()
        )
        """As `RecordedDay.kept`."""

    def lines(self) -> Iterator[tuple[Step, Came | None]]:
        """Each step, with what a feed brought with it."""
        for piece in self.pieces:
            yield from _lines(piece, self.about)

    def raw_rows(self) -> RawRows:
        """All of its rows, as a source has them."""
        return _raw_rows(self.about, [piece.rows for piece in self.pieces])


def read_day(folder: Path, of: date) -> RecordedDay:
    """A recorded day as a whole, as far as there is.

    Raises
    ------
    DataError
        If there is none, or the files don't belong together; the text names the file.
    """
    day = OpenDay(folder, of)
    lines = list(day.lines())
    return RecordedDay(
        about=day.about,
        steps=tuple(step for step, _ in lines),
        came={step.number: came for step, came in lines if came is not None},
        kept=day.kept,
    )


def with_what_came(day: OpenDay) -> RawRows:
    """All of a day's rows, and what history had of symbols before they came into it, in the order in
    which they entered."""
    about = day.about
    changes = inserted.insertions(day.kept, lambda step, of: True)
    parts: list[_Columns] = []
    for piece in day.pieces:
        code, ts, columns = piece.rows
        edge = 0
        for step in sorted(changes):
            if not piece.about.first <= step <= piece.about.last:
                continue
            before = slice(edge, edge := piece.edges[step - piece.about.first])
            parts.append((code[before], ts[before], _taken(columns, before)))
            if (rows := inserted.rows_that_came(changes[step])) is not None:
                come = codes_on(rows.symbols, about.every)
                parts = [_without(of, come) for of in parts]  # of when they were there before
                parts.append((come[rows.code], rows.ts, columns_of(rows)))
        rest = slice(edge, len(ts))
        parts.append((code[rest], ts[rest], _taken(columns, rest)))
    return _raw_rows(about, parts)


def _without(of: _Columns, symbols: Codes) -> _Columns:
    code, ts, columns = of
    kept = np.isin(code, symbols, invert=True)
    return code[kept], ts[kept], _taken(columns, kept)


def _taken(columns: Mapping[str, Prices], of: slice | NDArray[np.bool_]) -> dict[str, Prices]:
    return {name: column[of] for name, column in columns.items()}


class RecordedHistory:
    """The rows of a folder's recorded days, for who looks back at them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.dates = frozenset(recorded_days(folder))

    def between(self, start_ns: int, end_ns: int) -> tuple[TradingDay, RawRows] | None:
        """The day that opens between two instants, and its rows; None: it was not recorded.

        Raises
        ------
        DataError
            If its files can't be read.
        """
        near = datetime.fromtimestamp(start_ns // 10**9, UTC).date()
        last = datetime.fromtimestamp(end_ns // 10**9, UTC).date() + timedelta(days=1)
        while near <= last:  # the date of an exchange far from Greenwich is another one
            if near in self.dates:
                about = about_day(self._folder, near)
                if start_ns <= about.day.open_ns < end_ns:
                    return about.day, self._rows(about)
            near += timedelta(days=1)
        return None

    def _rows(self, about: About) -> RawRows:
        if about.registers:
            return with_what_came(OpenDay(self._folder, about.date))
        pieces = written(self._folder, about.date)
        parts = [
            _columns_of(stem, piece, piece.rows, about.every)
            for stem, piece in zip(chosen(self._folder, about.date, pieces), pieces, strict=True)
        ]
        return _raw_rows(about, parts)


def _span(folder: Path) -> str:
    days = list(recorded_days(folder))
    return f"{days[0]} to {days[-1]}" if days else "none"


def about_file(stem: Path) -> About | None:
    """What a file of marks is about; None where there is no such file, or it has no rows beside it."""
    path = with_suffix(stem, MARKS)
    if not path.exists() or not with_suffix(stem, ROWS).exists():
        return None
    try:
        found = pq.read_schema(path).metadata or {}
        fields = json.loads(found[ABOUT])
        if fields["version"] > VERSION:
            raise InputError(
                f"{path}: is of version {fields['version']}, written by openbell "
                f"{fields['program']}; this one reads up to {VERSION}: use that one, or a newer one"
            )
        fields |= {name: tuple(fields[name]) for name in ("symbols", "kept")}
        fields["registers"] = tuple(
            (since, tuple(symbols)) for since, symbols in fields.get("registers", ())
        )
        if isinstance(fields.get("configured"), list):
            fields["configured"] = tuple(fields["configured"])
        fields["segments"] = tuple((opens, closes) for opens, closes in fields["segments"])
        fields["products"] = tuple(
            (product, tuple((opens, closes) for opens, closes in hours), tuple(symbols))
            for product, hours, symbols in fields.get("products", ())
        )
        return About(**fields)
    except (KeyError, TypeError, ValueError, pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


@dataclass(frozen=True, eq=False)
class _Piece:
    """Marks and rows of one pair of files."""

    about: About
    path: Path
    marks: pa.Table
    rows: _Columns
    edges: list[int]
    """Where the rows of each step begin, and those of the last end."""


def _read(stem: Path, about: About, every: Sequence[str]) -> _Piece:
    path = with_suffix(stem, MARKS)
    try:
        marks = pq.read_table(path, partitioning=None)
        numbers = marks["step"].to_numpy()
        counts = marks["rows"].fill_null(0).to_numpy()
        marks = marks.select([name for name in MARKS_SCHEMA.names if name in marks.column_names])
    except (KeyError, pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if not np.array_equal(numbers, np.arange(about.first, about.last + 1)):
        raise DataError(
            f"{path}: a mark is missing: it has {len(numbers):,} of the steps {about.first:,} to "
            f"{about.last:,}; put the file back as it was recorded"
        )
    rows = _columns_of(stem, about, int(counts.sum()), every)
    return _Piece(about, path, marks, rows, [0, *np.cumsum(counts).tolist()])


def _columns_of(stem: Path, about: About, count: int, every: Sequence[str]) -> _Columns:
    """The rows of a file, as many as the marks know of: it may have got more of them since."""
    path = with_suffix(stem, ROWS)
    names, theirs = names_of(about.kind)
    try:
        held = set(pq.read_schema(path).names)
        extras = [name for name in EXTRAS[about.kind] if name in held]
        wanted = ["symbol", "ts", *names, *extras]
        rows = pq.read_table(path, columns=wanted, partitioning=None)
        if len(rows) < count or count != about.rows:
            raise DataError(
                f"{path}: has {len(rows):,} rows, and the marks say {max(about.rows, count):,}; put "
                "both files back as they were recorded"
            )
        rows = rows.slice(0, count)
        columns = {own: rows[name].to_numpy() for name, own in zip(names, theirs, strict=True)}
        for name in extras:
            if rows[name].null_count < len(rows):
                values = rows[name].to_numpy()
                columns[name] = np.nan_to_num(values) if name == "partial" else values
        return _codes(every, rows["symbol"]), rows["ts"].cast(pa.int64()).to_numpy(), columns
    except (KeyError, pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _lines(piece: _Piece, about: About) -> Iterator[tuple[Step, Came | None]]:
    marks = piece.marks
    for start in range(0, len(marks), LINES):
        try:
            for n, line in enumerate(_as_numbers(marks.slice(start, LINES)).to_pylist(), start):
                here = slice(piece.edges[n], piece.edges[n + 1])
                yield _step(about, line), _came(about, line, piece.rows, here)
        except (KeyError, TypeError, pa.ArrowException) as error:
            raise _unreadable(piece.path, error) from error


def _as_numbers(marks: pa.Table) -> pa.Table:
    """Instants as integers."""
    fields = [f.with_type(pa.int64()) if f.type == AT else f for f in marks.schema]
    return marks.cast(pa.schema(fields))


def _step(about: About, line: Mapping[str, Any]) -> Step:
    inputs = (
        [["arrived", about.trading_date]] * (line["rows"] is not None)
        if line["inputs"] is None
        else msgpack.unpackb(line["inputs"], raw=False)
    )
    grant = {
        "step": line["step"],
        "from_ns": line["from"],
        "until_ns": line["until"],
        "inputs": inputs,
        "parts": {},
    }
    return Step(
        number=line["step"],
        market_ns=MarketTime(line["until"]),
        grant=msgpack.packb(grant, use_bin_type=True),
        digest=b"",
        trading_date=about.date,
    )


def _came(about: About, line: Mapping[str, Any], rows: _Columns, here: slice) -> Came | None:
    if line["rows"] is None:
        return None
    code, ts, columns = rows
    code, register = code[here], about.register(line["step"])
    if register != about.every:
        code = codes_on(about.every, register)[code]
    counted = line["outside"] or line.get("partial") or line.get("auction")
    place = {symbol: n for n, symbol in enumerate(register)} if counted else {}
    return Came(
        date=about.date,
        position=line["position"],
        read_on=(0, ""),
        code=code,
        ts=ts[here],
        columns=_taken(columns, here),
        outside=[(place[item["symbol"]], item["rows"]) for item in line["outside"] or ()],
        bad=tuple(
            BadRow(row["file"], row["row"], row["symbol"], row["ts"], row["reason"])
            for row in line["bad"] or ()
        ),
        host_ns=MarketTime(line["host"] or EPOCH),
        left_out=[(place[item["symbol"]], item["rows"]) for item in line.get("partial") or ()],
        auction=[(place[item["symbol"]], item["rows"]) for item in line.get("auction") or ()],
    )


def _codes(every: Sequence[str], column: pa.ChunkedArray) -> Any:
    """Each row's symbol as its place among all of the day."""
    place = {symbol: code for code, symbol in enumerate(every)}
    parts = []
    for chunk in column.chunks:
        if not isinstance(chunk, pa.DictionaryArray):
            chunk = chunk.dictionary_encode()
        known = np.array([place[symbol] for symbol in chunk.dictionary.to_pylist()], np.int32)
        indices = chunk.indices.to_numpy(zero_copy_only=False)
        parts.append(known[indices] if len(indices) else np.zeros(0, np.int32))
    return joined(parts, np.int32)


def _unreadable(path: Path, error: Exception) -> DataError:
    text = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: is no recording's file ({text}); put it back as it was recorded")


def names_of(kind: Kind) -> tuple[Sequence[str], Sequence[str]]:
    """Names in the file, and in what the journal has."""
    if kind == "ticks":
        return TICK_COLUMNS, ("close", "volume")
    return BAR_COLUMNS, BAR_COLUMNS


def extras_of(parts: Sequence[tuple[int, Mapping[str, Prices]]], kind: Kind) -> dict[str, Prices]:
    """What rules of the feed look at besides, where some rows have it."""
    return {
        name: joined([column_or_none(columns, name, count) for count, columns in parts], np.float64)
        for name in EXTRAS[kind]
        if any(name in columns for _, columns in parts)
    }


def joined(parts: Sequence[Any], kind: Any) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def with_suffix(stem: Path, suffix: str) -> Path:
    # Not with_suffix, which would take off what stands behind a dot in a name.
    return stem.with_name(stem.name + suffix)
