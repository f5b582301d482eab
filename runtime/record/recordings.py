"""Recordings: what a feed brought, a day a file, as it came, and the marks of where time was moved.

`2024-07-01.parquet` has a day's rows, as anybody reads Parquet. `2024-07-01.marks`, Parquet too, has
a line for each step: up to when time was moved with it, what rang, and how many of the rows came.
With both, the day can be run again as it was lived. Of a day under way there are parts of both in
the folder `.parts`, each there as a whole or not at all; when it is over they become one.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openbell.adapters.stores import JournalEntry, Step
from openbell.errors import DataError, InputError
from openbell.market.bars import BAR_COLUMNS, TICK_COLUMNS, BadRow, Kind, RawRows
from openbell.market.days import EPOCH, MarketTime, Segment, TradingDay
from openbell.messages.control import Rang
from openbell.runtime.record import journal, steplog
from openbell.runtime.record.codec import decode
from openbell.runtime.record.feedlog import Came

ROWS, MARKS, PARTS = ".parquet", ".marks", ".parts"

VERSION = 1
"""Of the files; a program refuses newer ones."""

ABOUT = b"recording"
"""Under which the marks' file says what it is about, as JSON."""

LINES = 1 << 16
"""Rows of a row group, at least, where a day's parts become one file."""

_AT = pa.timestamp("ns", "UTC")

MARKS_SCHEMA = pa.schema(
    [
        pa.field("step", pa.int64(), nullable=False),
        pa.field("from", _AT, nullable=False),
        pa.field("until", _AT, nullable=False),
        pa.field("what", pa.list_(pa.string()), nullable=False),
        pa.field("host", _AT),
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

    trading_date: str
    exchange: str
    kind: Kind
    interval_ns: int | None
    symbols: tuple[str, ...]
    """The register: what `symbol` of a row is one of."""
    config: Mapping[str, Any]
    """The keys that determined the answers."""
    first: int
    last: int
    """Its steps."""
    rows: int
    zone: str = ""
    segments: tuple[tuple[int, int], ...] = ()
    """The day's hours, ns UTC, and their time zone: of the first part."""
    until_ns: int = EPOCH
    """Market time that it has come to."""
    closed: bool = False
    """Whether the day is over, and nothing more can come."""
    not_used: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """How many rows came that the run took no notice of, by why and by what, as far as known."""
    kept: tuple[str, ...] = ()
    """Names of what else came from outside."""
    version: int = VERSION
    program: str = ""
    """The version of openbell that wrote it."""

    @property
    def date(self) -> date:
        return date.fromisoformat(self.trading_date)

    @property
    def day(self) -> TradingDay:
        """Its hours; where they come from is not told."""
        return TradingDay(self.date, self.zone, tuple(Segment(*of) for of in self.segments))

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
    """What a feed brought with them, by step."""
    kept: tuple[JournalEntry, ...]
    """What else came from outside, as the journal has it, and what earlier days left."""

    def raw_rows(self) -> RawRows:
        """All of its rows, as a source has them."""
        parts = [self.came[step] for step in sorted(self.came)]
        names, theirs = _columns(self.about.kind)
        return RawRows(
            kind=self.about.kind,
            symbols=self.about.symbols,
            code=_joined([part.code for part in parts], np.int32),
            ts=_joined([part.ts for part in parts], np.int64),
            columns={
                name: _joined([part.columns[own] for part in parts], np.float64)
                for name, own in zip(names, theirs, strict=True)
            },
            locate=lambda row: (f"{self.about.trading_date}{ROWS}", row),
            signed=True,  # what could not be used is not among them
        )


# Which days there are


def recorded_days(path: Path | str) -> dict[date, Path]:
    """The days of a recording, each with the folder that it is in: of a folder, or of one file."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    found = _dates(_names(folder, MARKS))
    found |= {of for of in _dates(_names(folder / PARTS, "")) if _parts(folder, of)}
    if path != folder:
        found &= _dates([path.name] if path.name.endswith((ROWS, MARKS)) else [])
    return {of: folder for of in sorted(found)}


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
    return _together(pieces, closed=pieces[-1].closed)


def written(folder: Path, of: date) -> list[About]:
    """What there is of a day, oldest first: the whole, and parts that came after it."""
    found = [about for stem in _stems(folder, of) if (about := _about(stem)) is not None]
    return _in_a_row(found)


def _in_a_row(found: Iterable[About]) -> list[About]:
    kept: list[About] = []
    for about in found:
        if not kept or about.first == kept[-1].last + 1:
            kept.append(about)
    return kept


def _stems(folder: Path, of: date) -> Iterator[Path]:
    """Paths without their suffixes: the whole first, then parts in their order."""
    yield folder / str(of)
    yield from _parts(folder, of)


def _parts(folder: Path, of: date) -> list[Path]:
    below = folder / PARTS / str(of)
    return [below / name.removesuffix(MARKS) for name in sorted(_names(below, MARKS))]


def _names(folder: Path, suffix: str) -> list[str]:
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


# Writing


def write_part(folder: Path, day: RecordedDay) -> None:
    """A stretch of a day, durable when this returns: the marks come last, and make it count."""
    about = day.about
    below = folder / PARTS / about.trading_date
    below.mkdir(parents=True, exist_ok=True)
    stem = below / f"{about.first:012d}-{about.last:012d}"
    for suffix, table in ((ROWS, _rows_table(day)), (MARKS, _marks_table(day))):
        with _replacing(_with(stem, suffix)) as path:
            pq.write_table(table, path, compression="zstd")


def put_together(folder: Path, of: date, *, closed: bool) -> None:
    """Make one file of a day's parts, and of what was one before; does nothing where it is one."""
    pieces = written(folder, of)
    whole = folder / str(of)
    if not pieces or (len(pieces) == 1 and _about(whole) == replace(pieces[0], closed=closed)):
        _drop_parts(folder, of)
        return
    stems = _chosen(folder, of, pieces)
    about = _together(pieces, closed=closed)
    with _replacing(_with(whole, ROWS)) as path:
        _copy([_with(stem, ROWS) for stem in stems], path, None)
    with _replacing(_with(whole, MARKS)) as path:
        _copy([_with(stem, MARKS) for stem in stems], path, about)
    _drop_parts(folder, of)


def drop(folder: Path, of: date) -> None:
    """Take a day away: what it held was given up."""
    _with(folder / str(of), MARKS).unlink(missing_ok=True)
    _with(folder / str(of), ROWS).unlink(missing_ok=True)
    _drop_parts(folder, of)


def _drop_parts(folder: Path, of: date) -> None:
    shutil.rmtree(folder / PARTS / str(of), ignore_errors=True)
    if not _names(folder / PARTS, ""):
        shutil.rmtree(folder / PARTS, ignore_errors=True)


def _chosen(folder: Path, of: date, pieces: Sequence[About]) -> list[Path]:
    wanted = {(about.first, about.last) for about in pieces}
    stems: dict[tuple[int, int], Path] = {}
    for stem in _stems(folder, of):
        about = _about(stem)
        if about is not None and (about.first, about.last) in wanted:
            stems.setdefault((about.first, about.last), stem)
    return [stems[about.first, about.last] for about in pieces]


def _together(pieces: Sequence[About], *, closed: bool) -> About:
    not_used: dict[str, dict[str, int]] = {}
    for about in pieces:
        for why, counts in about.not_used.items():
            of_why = not_used.setdefault(why, {})
            for what, count in counts.items():
                of_why[what] = of_why.get(what, 0) + count
    return replace(
        pieces[0],
        last=pieces[-1].last,
        until_ns=pieces[-1].until_ns,
        rows=sum(about.rows for about in pieces),
        closed=closed,
        not_used=not_used,
        kept=tuple(name for about in pieces for name in about.kept),
    )


def _copy(sources: Sequence[Path], target: Path, about: About | None) -> None:
    """Row groups of several files into one, a part at a time: a day may be larger than memory."""
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    lines = 0

    def flush() -> None:
        nonlocal writer, lines
        if not waiting:
            return
        table = pa.concat_tables(waiting).unify_dictionaries()
        if writer is None:
            schema = table.schema.with_metadata(_metadata(about) if about is not None else None)
            writer = pq.ParquetWriter(target, schema, compression="zstd")
        writer.write_table(table.cast(writer.schema))
        waiting.clear()
        lines = 0

    for source in sources:
        file = pq.ParquetFile(source)
        try:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group).replace_schema_metadata(None)
                waiting.append(table)
                lines += len(table)
                if lines >= LINES:
                    flush()
            if not file.num_row_groups:
                waiting.append(file.schema_arrow.remove_metadata().empty_table())
        finally:
            file.close()
    flush()
    assert writer is not None, "there is a part"
    writer.close()


class _replacing:
    """A file that is there as a whole, on the disk, or as it was before."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made = path.with_name(f".{path.name}.{os.getpid()}")

    def __enter__(self) -> Path:
        return self._made

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._made.unlink(missing_ok=True)
            return
        for path, flags in ((self._made, os.O_RDWR), (self._path.parent, os.O_RDONLY)):
            if path is not self._made:
                os.replace(self._made, self._path)
            descriptor = os.open(path, flags)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _rows_table(day: RecordedDay) -> pa.Table:
    names, theirs = _columns(day.about.kind)
    order = sorted(day.came)
    parts = [day.came[step] for step in order]
    counts = [len(part.ts) for part in parts]
    code = _joined([part.code for part in parts], np.int32)
    host = np.repeat(np.array([part.host_ns for part in parts], np.int64), counts)
    columns: dict[str, pa.Array] = {
        "symbol": pa.DictionaryArray.from_arrays(
            pa.array(code), pa.array(day.about.symbols, pa.string())
        ),
        "ts": pa.array(_joined([part.ts for part in parts], np.int64), _AT),
    }
    for name, own in zip(names, theirs, strict=True):
        columns[name] = pa.array(_joined([part.columns[own] for part in parts], np.float64))
    columns["arrived"] = pa.array(host, _AT, mask=host == EPOCH)
    columns["step"] = pa.array(np.repeat(np.array(order, np.int64), counts))
    return pa.table(columns)


def _marks_table(day: RecordedDay) -> pa.Table:
    lines: dict[str, list[Any]] = {name: [] for name in MARKS_SCHEMA.names}
    for place, step in enumerate(day.steps):
        grant = steplog.read(step.grant).grant
        came = day.came.get(step.number)
        inputs, what, host = grant["inputs"], [], EPOCH if came is None else came.host_ns
        for entered in inputs:
            told, at = _what(entered)
            what.append(told)
            host = max(host, at)
        plain = all(entered[0] == "arrived" for entered in inputs)
        lines["step"].append(step.number)
        lines["from"].append(grant["from_ns"])
        lines["until"].append(grant["until_ns"])
        lines["what"].append(what)
        lines["host"].append(host or None)
        lines["rows"].append(None if came is None else len(came.ts))
        lines["position"].append(None if came is None else came.position)
        outside = () if came is None else came.outside
        lines["outside"].append(
            [{"symbol": day.about.symbols[of], "rows": n} for of, n in outside] or None
        )
        bad = () if came is None else came.bad
        lines["bad"].append([_bad(row) for row in bad] or None)
        lines["inputs"].append(None if plain else msgpack.packb(inputs, use_bin_type=True))
        kept = () if place else day.kept
        lines["kept"].append([_kept(entry) for entry in kept] or None)
    return pa.table(lines, MARKS_SCHEMA.with_metadata(_metadata(day.about)))


def _what(entered: Sequence[Any]) -> tuple[str, MarketTime]:
    """An input in words, and when it entered by the host's clock."""
    if entered[0] != "message":
        return str(entered[0]), EPOCH
    message = decode(entered[1])
    if isinstance(message, Rang):
        return f"rang {message.name}", message.host_ns
    return type(message).__name__.lower(), EPOCH


def _bad(row: BadRow) -> dict[str, Any]:
    return {
        "file": row.file,
        "row": row.row,
        "symbol": row.symbol,
        "ts": row.ts_ns,
        "reason": row.reason,
    }


def _kept(entry: JournalEntry) -> dict[str, Any]:
    return {"name": entry.name, "step": entry.step, "body": entry.body}


def _metadata(about: About) -> dict[bytes, bytes]:
    return {ABOUT: json.dumps(asdict(about), sort_keys=True).encode()}


# Reading


def read_day(folder: Path, of: date) -> RecordedDay:
    """A recorded day, as far as there is.

    Raises
    ------
    DataError
        If there is none, or the files don't belong together; the text names the file.
    """
    about = about_day(folder, of)
    pieces = written(folder, of)
    parts = [
        _read(stem, about) for stem, about in zip(_chosen(folder, of, pieces), pieces, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    return RecordedDay(
        about=about,
        steps=tuple(step for part in parts for step in part.steps),
        came={step: came for part in parts for step, came in part.came.items()},
        kept=tuple(entry for part in parts for entry in part.kept),
    )


def raw_rows_of(folder: Path, of: date) -> RawRows:
    """Only a day's rows.

    Raises
    ------
    DataError
    """
    return read_day(folder, of).raw_rows()


def _span(folder: Path) -> str:
    days = list(recorded_days(folder))
    return f"{days[0]} to {days[-1]}" if days else "none"


def _about(stem: Path) -> About | None:
    """What a file of marks is about; None where there is no such file, or it has no rows beside it."""
    path = _with(stem, MARKS)
    if not path.exists() or not _with(stem, ROWS).exists():
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
        fields["segments"] = tuple((opens, closes) for opens, closes in fields["segments"])
        return About(**fields)
    except (KeyError, TypeError, ValueError, pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error


def _read(stem: Path, about: About) -> RecordedDay:
    path = _with(stem, MARKS)
    try:
        marks = pq.read_table(path, partitioning=None)
        rows = pq.read_table(_with(stem, ROWS), partitioning=None)
        numbers = marks["step"].to_numpy()
    except (KeyError, pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    if list(numbers) != list(range(about.first, about.last + 1)):
        raise DataError(
            f"{path}: a mark is missing: it has {len(numbers):,} of the steps {about.first:,} to "
            f"{about.last:,}; put the file back as it was recorded"
        )
    counts = marks["rows"].fill_null(0).to_numpy()
    if len(rows) < counts.sum() or counts.sum() != about.rows:
        raise DataError(
            f"{_with(stem, ROWS)}: has {len(rows):,} rows, and the marks say "
            f"{max(about.rows, int(counts.sum())):,}; put both files back as they were recorded"
        )
    try:
        return RecordedDay(about, *_lines(about, marks, rows, counts))
    except (KeyError, TypeError, pa.ArrowException) as error:
        raise _unreadable(path, error) from error


def _lines(
    about: About, marks: pa.Table, rows: pa.Table, counts: np.ndarray[Any, np.dtype[np.int64]]
) -> tuple[tuple[Step, ...], dict[int, Came], tuple[JournalEntry, ...]]:
    names, theirs = _columns(about.kind)
    code = _codes(about, rows["symbol"])
    ts = rows["ts"].cast(pa.int64()).to_numpy()
    columns = {own: rows[name].to_numpy() for name, own in zip(names, theirs, strict=True)}
    place = {symbol: number for number, symbol in enumerate(about.symbols)}
    edges = np.concatenate([[0], np.cumsum(counts)]).tolist()
    of = {
        name: (
            marks[name].cast(pa.int64()) if marks.schema.field(name).type == _AT else marks[name]
        ).to_pylist()
        for name in MARKS_SCHEMA.names
    }
    steps: list[Step] = []
    came: dict[int, Came] = {}
    kept: list[JournalEntry] = []
    for n, step in enumerate(of["step"]):
        arrived = of["rows"][n] is not None
        packed = of["inputs"][n]
        inputs = (
            [["arrived", about.trading_date]] * arrived
            if packed is None
            else msgpack.unpackb(packed, raw=False)
        )
        grant = {
            "step": step,
            "from_ns": of["from"][n],
            "until_ns": of["until"][n],
            "inputs": inputs,
            "parts": {},
        }
        steps.append(
            Step(
                number=step,
                market_ns=MarketTime(of["until"][n]),
                grant=msgpack.packb(grant, use_bin_type=True),
                digest=b"",
                trading_date=about.date,
            )
        )
        if arrived:
            here = slice(edges[n], edges[n + 1])
            came[step] = Came(
                date=about.date,
                position=of["position"][n],
                read_on=(0, ""),
                code=code[here],
                ts=ts[here],
                columns={name: column[here] for name, column in columns.items()},
                outside=[(place[item["symbol"]], item["rows"]) for item in of["outside"][n] or ()],
                bad=tuple(
                    BadRow(row["file"], row["row"], row["symbol"], row["ts"], row["reason"])
                    for row in of["bad"][n] or ()
                ),
                host_ns=MarketTime(of["host"][n] or EPOCH),
            )
        kept += [
            JournalEntry(about.date, item["name"], item["body"], item["step"])
            for item in of["kept"][n] or ()
        ]
    return tuple(steps), came, tuple(kept)


def _codes(about: About, column: pa.ChunkedArray) -> Any:
    """Each row's symbol as its place in the register."""
    place = {symbol: code for code, symbol in enumerate(about.symbols)}
    parts = []
    for chunk in column.chunks:
        if not isinstance(chunk, pa.DictionaryArray):
            chunk = chunk.dictionary_encode()
        known = np.array([place[symbol] for symbol in chunk.dictionary.to_pylist()], np.int32)
        indices = chunk.indices.to_numpy(zero_copy_only=False)
        parts.append(known[indices] if len(indices) else np.zeros(0, np.int32))
    return _joined(parts, np.int32)


def _unreadable(path: Path, error: Exception) -> DataError:
    text = " ".join(str(error).split()) or type(error).__name__
    return DataError(f"{path}: is no recording's file ({text}); put it back as it was recorded")


def _columns(kind: Kind) -> tuple[Sequence[str], Sequence[str]]:
    """Names in the file, and in what the journal has."""
    if kind == "ticks":
        return TICK_COLUMNS, ("close", "volume")
    return BAR_COLUMNS, BAR_COLUMNS


def _joined(parts: Sequence[Any], kind: Any) -> Any:
    return np.concatenate(parts) if parts else np.zeros(0, kind)


def _with(stem: Path, suffix: str) -> Path:
    # Not with_suffix, which would take off what stands behind a dot in a name.
    return stem.with_name(stem.name + suffix)
