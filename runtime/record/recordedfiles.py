"""Writes the files of recordings: each is on the disk as a whole, or as it was before."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from openbell.adapters.stores import JournalEntry
from openbell.market.bars import EXTRAS, BadRow
from openbell.market.days import EPOCH, MarketTime
from openbell.messages.control import Rang
from openbell.runtime.record import steplog
from openbell.runtime.record.codec import decode
from openbell.runtime.record.recordings import (
    ABOUT,
    AT,
    MARKS,
    MARKS_SCHEMA,
    PARTS,
    ROWS,
    About,
    RecordedDay,
    about_file,
    among_all,
    chosen,
    extras_of,
    joined,
    names_in,
    names_of,
    together,
    with_suffix,
    written,
)

LINES = 1 << 16
"""Rows of a row group, at least, where a day's parts become one file."""


def write_part(folder: Path, day: RecordedDay) -> None:
    """A stretch of a day, durable when this returns: the marks come last, and make it count."""
    about = day.about
    below = folder / PARTS / about.trading_date
    below.mkdir(parents=True, exist_ok=True)
    stem = below / f"{about.first:012d}-{about.last:012d}"
    for suffix, table in ((ROWS, _rows_table(day)), (MARKS, _marks_table(day))):
        with _replacing(with_suffix(stem, suffix)) as path:
            pq.write_table(table, path, compression="zstd")


def put_together(folder: Path, of: date, *, closed: bool) -> None:
    """Make one file of a day's parts, and of what was one before; does nothing where it is one."""
    pieces = written(folder, of)
    whole = folder / str(of)
    if not pieces or (len(pieces) == 1 and about_file(whole) == replace(pieces[0], closed=closed)):
        _drop_parts(folder, of)
        return
    stems = chosen(folder, of, pieces)
    about = together(pieces, closed=closed)
    with _replacing(with_suffix(whole, ROWS)) as path:
        _copy([with_suffix(stem, ROWS) for stem in stems], path, None)
    with _replacing(with_suffix(whole, MARKS)) as path:
        _copy([with_suffix(stem, MARKS) for stem in stems], path, about)
    _drop_parts(folder, of)


def drop(folder: Path, of: date) -> None:
    """Take a day away: what it held was given up."""
    with_suffix(folder / str(of), MARKS).unlink(missing_ok=True)
    with_suffix(folder / str(of), ROWS).unlink(missing_ok=True)
    _drop_parts(folder, of)


def _drop_parts(folder: Path, of: date) -> None:
    shutil.rmtree(folder / PARTS / str(of), ignore_errors=True)
    if not names_in(folder / PARTS, ""):
        shutil.rmtree(folder / PARTS, ignore_errors=True)


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
        self._made = path.with_name(f".{path.name}.new")

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
    names, theirs = names_of(day.about.kind)
    order = sorted(day.came)
    parts = [day.came[step] for step in order]
    counts = [len(part.ts) for part in parts]
    code = joined([among_all(day.about, step, day.came[step].code) for step in order], np.int32)
    host = np.repeat(np.array([part.host_ns for part in parts], np.int64), counts)
    columns: dict[str, pa.Array] = {
        "symbol": pa.DictionaryArray.from_arrays(
            pa.array(code), pa.array(day.about.every, pa.string())
        ),
        "ts": pa.array(joined([part.ts for part in parts], np.int64), AT),
    }
    for name, own in zip(names, theirs, strict=True):
        columns[name] = pa.array(joined([part.columns[own] for part in parts], np.float64))
    # There in all files of a recording, so that its parts are alike; null where a row has none.
    marked = extras_of([(len(part.ts), part.columns) for part in parts], day.about.kind)
    for name in EXTRAS[day.about.kind]:
        values = marked.get(name, np.full(len(code), np.nan))
        values = np.where(values > 0, values, np.nan) if name == "partial" else values
        columns[name] = pa.array(values, from_pandas=True)
    columns["arrived"] = pa.array(host, AT, mask=host == EPOCH)
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
        register = day.about.register(step.number)
        lines["outside"].append([{"symbol": register[of], "rows": n} for of, n in outside] or None)
        for name in ("partial", "auction"):
            counted = () if came is None else came.left_out if name == "partial" else came.auction
            lines[name].append([{"symbol": register[of], "rows": n} for of, n in counted] or None)
        bad = () if came is None else came.bad
        lines["bad"].append([_bad(row) for row in bad] or None)
        lines["inputs"].append(None if plain else msgpack.packb(inputs, use_bin_type=True))
        kept = () if place else day.kept
        lines["kept"].append([_kept(entry) for entry in kept] or None)
    return pa.table(lines, MARKS_SCHEMA.with_metadata(_metadata(day.about)))


def _what(entered: Sequence[Any]) -> tuple[str, MarketTime]:
    """An input in words, and when it entered by the host's clock."""
    if entered[0] != "message":
        return str(entered[0]).replace("_", " "), EPOCH
    message = decode(entered[1])
    if isinstance(message, Rang):
        return f"rang {message.name}", message.host_ns
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(message).__name__).lower(), EPOCH


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
    fields = asdict(about)
    if about.contracts is None:  # an older version reads those that have none
        del fields["contracts"]
    for name in ("products", "registers", "auctions"):
        if not fields[name]:
            del fields[name]
    if about.configured is None:
        del fields["configured"]
    return {ABOUT: json.dumps(fields, sort_keys=True).encode()}
