"""The files of a backtest: what stands in the folder given by `--out`."""

from __future__ import annotations

import csv
import os
import re
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, fields
from datetime import date
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Generic, Self, TypeVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from openbell.adapters import arrays
from openbell.adapters.jsonlines import (
    document_lines,
    escaped_ids,
    format_floats,
    format_instants,
    ids_by_session,
    joined,
    runs,
    signal_lines,
)
from openbell.adapters.scanruns import scan_lines
from openbell.adapters.sinks.tally import Tally
from openbell.adapters.tables import (
    BARS_SCHEMA,
    LEVELS_SCHEMA,
    QUALITY_SCHEMA,
    SIGNALS_SCHEMA,
    bars_table,
    day_signals,
    quality_percent,
    shown_levels,
    shown_levels_table,
    signal_ids,
    signals_table,
)
from openbell.errors import InputError, RunError, way_out
from openbell.market.bars import BadRow
from openbell.market.results import DerivedBars, Quality, SessionDocument, SignalBatch
from openbell.messages.session import Noticed

OWN_NAMES = re.compile(
    r"signals\.jsonl|signals\.parquet|sessions\.jsonl|levels\.parquet|bars_\d+m\.parquet"
    r"|quality\.csv|scans\.jsonl|bad_rows\.csv|summary\.json"
)
"""Names that belong to openbell in the folder; all others are someone else's."""

SUMMARY = "summary.json"
HIDDEN = ".openbell-"
"""Begins the name of the folder that files are written in; the writer's pid follows."""

ROW_GROUP = 50_000
"""Rows gathered, in whole days, before a row group is written."""

DAYS_WAITING = 2

Writes = list[Callable[[], object]]

P = TypeVar("P")
"""What a Parquet file gathers: a day's part of its table, or a step's."""


@dataclass(frozen=True, eq=False)
class DayResult:
    """All that one trading day yields."""

    trading_date: date
    symbols: tuple[str, ...]
    documents: tuple[SessionDocument, ...]
    signals: tuple[SignalBatch, ...]
    """In any order: the files have their own."""
    bars: Mapping[int, tuple[DerivedBars, ...]]
    """By interval in minutes; in time order."""
    quality: Quality
    bad: Sequence[BadRow]
    tally: Tally = field(default_factory=Tally)
    """What the day adds to the summary."""
    scans: tuple[Noticed, ...] = ()
    """What scans came to, in their order."""


class RunFiles:
    """Writes the `--out` folder of one run; complete, or not at all.

    Everything goes to a hidden folder inside `out` and is moved into place by `finish`. A thread
    writes what `write_day` has encoded, so that this overlaps the computation of the next day;
    what goes wrong there is raised by the next `write_day` or `finish`. Leaving a `with` block
    without `finish` abandons the files.

    Parameters
    ----------
    out : made, with its parents, if it does not exist
    intervals : minutes of the derived bars, a file each
    force : replace what an earlier run left in `out`; files of other names are never touched

    Raises
    ------
    InputError
        If `out` can't be written, or holds files of a run and `force` is not given.
    """

    def __init__(self, out: Path, intervals: Sequence[int], force: bool = False) -> None:
        self.out = out
        self._force = force
        self._made: list[Path] = []
        try:
            _refuse_existing(out, force)
            for folder in reversed([out, *out.parents]):
                if not folder.is_dir():
                    folder.mkdir()
                    self._made.append(folder)
            _remove_left_behind(out)
            self._hidden = Path(tempfile.mkdtemp(prefix=f"{HIDDEN}{os.getpid()}-", dir=out))
        except OSError as error:
            self._remove_made()
            raise InputError(
                f"{out}: can't be written ({error.strerror}); {_another_folder()}"
            ) from error
        try:
            self._days = DayFiles(self._hidden, intervals)
        except OSError as error:
            self._remove()
            raise self._unwritable(error) from error
        self._over = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="openbell-files")
        self._waiting: deque[Future[None]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()

    def write_day(self, day: DayResult) -> None:
        """Hand over a day, in order of dates; waits while two others are not yet written.

        Raises
        ------
        RunError
            If an earlier day could not be written: disk full, folder gone.
        """
        self._wait(DAYS_WAITING - 1)
        # Encoding is many short calls. On another thread they and the caller's would keep taking
        # Python's lock from each other, which took twice the time of encoding.
        writes = self._days.encoded(day)
        self._waiting.append(self._thread.submit(_carry_out, writes))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write what is left and `summary.json`, and move all files into place.

        Raises
        ------
        RunError
            If something could not be written or moved.
        InputError
            If files have appeared in `out` meanwhile, without `force`.
        """
        self._wait(0)
        self._thread.shutdown()
        try:
            self._days.close()
            (self._hidden / SUMMARY).write_bytes(summary_json(summary))
            _refuse_existing(self.out, self._force)
            self._move()
        except OSError as error:
            raise self._unwritable(error) from error
        self._over = True

    def abandon(self) -> None:
        """Leave nothing behind; does nothing after `finish`."""
        if self._over:
            return
        self._over = True
        self._thread.shutdown(cancel_futures=True)
        self._days.abandon()
        self._remove()

    def _wait(self, days: int) -> None:
        """Until at most so many days are unwritten; a day that failed stays and raises again."""
        while self._waiting and (len(self._waiting) > days or self._waiting[0].done()):
            try:
                self._waiting[0].result()
            except OSError as error:
                raise self._unwritable(error) from error
            self._waiting.popleft()

    def _unwritable(self, error: OSError) -> RunError:
        return RunError(
            f"{self.out}: results can't be written ({error}); "
            f"free some space there, or {_another_folder()}"
        )

    def _move(self) -> None:
        names = sorted(path.name for path in self._hidden.iterdir() if path.name != SUMMARY)
        # The summary goes first and comes last: where it stands, the files beside it are its own.
        (self.out / SUMMARY).unlink(missing_ok=True)
        for stale in _own_files(self.out):
            if stale.name not in names:
                stale.unlink()
        for name in [*names, SUMMARY]:
            os.replace(self._hidden / name, self.out / name)
        self._hidden.rmdir()

    def _remove(self) -> None:
        shutil.rmtree(self._hidden, ignore_errors=True)
        self._remove_made()

    def _remove_made(self) -> None:
        with suppress(OSError):  # someone else has put a file there
            for folder in reversed(self._made):
                folder.rmdir()


def summary_json(summary: Mapping[str, Any]) -> bytes:
    """A summary as `summary.json` has it."""
    return orjson.dumps(
        dict(summary),
        option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY,
    )


def schema_of(name: str) -> pa.Schema:
    """The schema of a Parquet file of the folder."""
    schemas = {"signals.parquet": SIGNALS_SCHEMA, "levels.parquet": LEVELS_SCHEMA}
    return schemas.get(name, BARS_SCHEMA)


class DayFiles:
    """The open files of a run in one folder, all but the summary."""

    def __init__(self, folder: Path, intervals: Sequence[int]) -> None:
        self._folder = folder
        self._open = ExitStack()
        with self._open:  # closes the first files if a later one can't be opened
            self._signal_lines = self._binary("signals.jsonl")
            self._session_lines = self._binary("sessions.jsonl")
            self._quality = self._binary("quality.csv")
            self._signals = self._parquet("signals.parquet", _signals_table)
            self._levels = self._parquet("levels.parquet", shown_levels_table)
            self._bars = {
                minutes: self._parquet(f"bars_{minutes}m.parquet", bars_table)
                for minutes in intervals
            }
            self._quality.write(f"{','.join(QUALITY_SCHEMA.names)}\n".encode())
            self._open = self._open.pop_all()

    def encoded(self, day: DayResult) -> Writes:
        """What is left to do for a day: a few long calls, to be made in order on any thread."""
        lines, ids = self._encoded_signals(day.signals)
        levels = shown_levels(day.documents, day.symbols)
        writes: Writes = [
            *lines,
            partial(self._session_lines.write, document_lines(day.documents, ids)),
            *self._levels.gathered(levels, sum(len(of.symbols) for _, of in levels)),
            partial(self._quality.write, _quality_lines(day.quality)),
        ]
        for minutes, file in self._bars.items():
            bars = day.bars.get(minutes, ())
            writes += file.gathered(bars, sum(map(len, bars)))
        if day.scans:
            writes.append(partial(self._write_scans, scan_lines(day.scans, day.signals)))
        if day.bad:
            writes.append(partial(self._write_bad, day.bad))
        return writes

    def close(self) -> None:
        parquet: tuple[ParquetFile[Any], ...] = (self._signals, self._levels, *self._bars.values())
        for file in parquet:
            file.close()
        self._open.close()

    def abandon(self) -> None:
        with suppress(OSError):  # what could not be written is thrown away
            self._open.close()

    def _encoded_signals(self, batches: Sequence[SignalBatch]) -> tuple[Writes, dict[str, bytes]]:
        """How to write them, and their ids by session, as JSON arrays."""
        if not any(map(len, batches)):
            return [], {}
        batch = day_signals(batches)
        ids = signal_ids(batch)
        escaped = escaped_ids(batch, ids)
        writes: Writes = [
            partial(self._signal_lines.write, lines) for lines in signal_lines(batch, escaped)
        ]
        writes += self._signals.gathered([(batch, ids)], len(batch))
        return writes, ids_by_session(batch, escaped)

    def _write_scans(self, lines: bytes) -> None:
        with (self._folder / "scans.jsonl").open("ab") as file:
            file.write(lines)

    def _write_bad(self, rows: Sequence[BadRow]) -> None:
        path = self._folder / "bad_rows.csv"
        times = format_instants(np.array([row.ts_ns for row in rows], dtype=np.int64)).to_pylist()
        with path.open("a", encoding="utf-8", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            if not file.tell():
                lines.writerow(("file", "row", "symbol", "ts", "reason"))
            lines.writerows(
                (row.file, row.row, row.symbol, ts, row.reason)
                for row, ts in zip(rows, times, strict=True)
            )

    def _binary(self, name: str) -> BinaryIO:
        return self._open.enter_context((self._folder / name).open("wb"))

    def _parquet(self, name: str, table: Callable[[Sequence[P]], pa.Table]) -> ParquetFile[P]:
        file = ParquetFile(self._folder / name, schema_of(name), table)
        self._open.callback(file.abandon)
        return file


class ParquetFile(Generic[P]):
    """Gathers whole days to row groups that are worth reading, yet fit in memory.

    What is gathered becomes a table all at once: that costs little more than for one day.
    """

    def __init__(
        self, path: Path, schema: pa.Schema, table: Callable[[Sequence[P]], pa.Table]
    ) -> None:
        self._table = table
        self._waiting: list[P] = []
        self._rows = 0
        floats = [field.name for field in schema if field.type == pa.float64()]
        unlike = {*floats, "id"}
        # Measured on 2.5 M bars: plain 0.17 s of CPU and 102 MB, snappy 0.32 s and 57 MB, zstd
        # 0.50 s and 38 MB; lz4 over split bytes 0.20 s and 70 MB.
        self._writer = pq.ParquetWriter(
            path,
            schema,
            version="2.6",
            data_page_version="1.0",
            compression="lz4",
            use_dictionary=[
                name + ".symbol" * (name == "companion")
                for name in schema.names
                if name not in unlike
            ],
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
            write_batch_size=65_536,  # a fifth less time than in the usual 1024 values
            write_statistics=True,
            store_schema=False,  # with it, text would read as dictionaries
        )

    def gathered(self, parts: Sequence[P], rows: int) -> Writes:
        """Take in what a whole day yields, so many rows; how to write the row group if it is full."""
        self._waiting += parts
        self._rows += rows
        if self._rows < ROW_GROUP:
            return []
        write = partial(self._write, self._waiting, self._rows)
        self._waiting, self._rows = [], 0
        return [write]

    def close(self) -> None:
        self._write(self._waiting, self._rows)
        self._waiting, self._rows = [], 0
        self._writer.close()

    def abandon(self) -> None:
        """Let go of the file, also of one that could not be written; does nothing after `close`."""
        with suppress(OSError, pa.ArrowException):
            self._writer.close()

    def _write(self, parts: list[P], rows: int) -> None:
        if rows:
            self._writer.write_table(self._table(parts), row_group_size=rows)


def _carry_out(writes: Writes) -> None:
    for write in writes:
        write()


def _signals_table(days: Sequence[tuple[SignalBatch, pa.StringArray]]) -> pa.Table:
    return signals_table([batch for batch, _ in days], [ids for _, ids in days])


def _remove_left_behind(out: Path) -> None:
    """Remove hidden folders of runs that were killed."""
    for folder in out.glob(f"{HIDDEN}*"):
        pid = folder.name.removeprefix(HIDDEN).partition("-")[0]
        if pid.isdecimal() and not _lives(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _own_files(out: Path) -> list[Path]:
    if not out.is_dir():
        return []
    return sorted(path for path in out.iterdir() if OWN_NAMES.fullmatch(path.name))


def _another_folder() -> str:
    return way_out("pass another folder to --out", "pass another out=")


def _refuse_existing(out: Path, force: bool) -> None:
    for path in _own_files(out):
        if not force:
            raise InputError(
                f"{path}: exists already; pass {way_out('--force', 'force=True')} to replace the "
                f"results in that folder, or {_another_folder()}"
            )
        if path.is_dir():
            raise InputError(f"{path}: is a folder; remove it, or {_another_folder()}")


def _quality_lines(quality: Quality) -> pa.Buffer:
    counts = {name: getattr(quality, name) for name in QUALITY_SCHEMA.names if name in _COUNTS}
    heads, run = runs(*counts.values())
    few = {name: column[heads] for name, column in counts.items()}
    texts = arrays.array_of(np.concatenate(list(few.values()))).cast(pa.string())
    text = {name: texts.slice(i * len(heads), len(heads)) for i, name in enumerate(few)}
    percent = format_floats(quality_percent(few["expected"], few["actual"]))
    rows = arrays.join_of(
        *(text.pop("expected"), ",", text.pop("actual"), ","),
        pc.if_else(pc.equal(percent, arrays.text_of("null,")), arrays.text_of(","), percent),
        arrays.join_of(*text.values(), ","),
        "\n",
        "",
    )
    return joined(f"{quality.trading_date},", _csv_names(quality.symbols), rows.take(run))


_COUNTS = {field.name for field in fields(Quality)} - {"trading_date", "symbols"}


@lru_cache(maxsize=4)  # days share their symbols
def _csv_names(symbols: tuple[str, ...]) -> pa.StringArray:
    return arrays.texts_of(f"{_csv_text(symbol)}," for symbol in symbols)


def _csv_text(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
