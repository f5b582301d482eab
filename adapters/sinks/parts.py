"""The `--out` folder of a run that may be killed: a folder a day, put together as days end.

Each day's files, and what the day comes to, are complete before they get their name
(`.days/2024-07-01/`), so that a kill at any instant leaves whole days. The files on top are made
from them and replaced one by one, `summary.json` last; they are, byte for byte, those of a backtest.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from openbell.adapters.sinks.files import (
    SUMMARY,
    DayFiles,
    DayResult,
    ParquetFile,
    schema_of,
    summary_json,
)
from openbell.adapters.sinks.tally import Account, Tally
from openbell.adapters.tables import TEXT
from openbell.errors import InputError, RunError

DAYS = ".days"
ACCOUNT = "account.json"
PART = ".part"
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
SHARE = 0.1
"""The files on top are renewed at a day's end unless that has taken more than this share of the
time so far; when the run ends they always are. A run as long as a day renews them each day. It is the
same with waiting for the disk: a day that a power cut damages is noticed, and run again."""


class Damaged(Exception):
    """A day's folder is not what was written."""


@dataclass(frozen=True)
class _Day:
    """A day's folder, and what it says of itself."""

    folder: Path
    run: Mapping[str, str]
    """Whose day it is."""
    files: Mapping[str, Sequence[int]]
    """Bytes and crc32 of each of its files; a day without data has none."""
    tally: Tally

    def read(self, name: str) -> bytes:
        """
        Raises
        ------
        Damaged
        """
        try:
            data = (self.folder / name).read_bytes()
        except FileNotFoundError:
            raise Damaged(f"{name} is missing") from None
        if [len(data), zlib.crc32(data)] != self.files[name]:
            raise Damaged(f"{name} is not as it was written")
        return data


class DayParts:
    """Writes whole days, each once and durably; a day that is written again is replaced.

    Parameters
    ----------
    run : mapping
        What tells this run from others, whose days are never mixed with its own.
    say : callable
        Gets what a person should know about days that were written before.
    """

    def __init__(
        self,
        out: Path,
        intervals: Sequence[int],
        run: Mapping[str, str],
        say: Callable[[str], None] = logger.warning,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.out = out
        self._intervals = tuple(intervals)
        self._run = dict(run)
        self._run_on: Callable[[date], Mapping[str, str]] = lambda day: self._run
        self._intervals_on: Callable[[date], Sequence[int]] = lambda day: self._intervals
        self._say = say
        self._days = out / DAYS
        self._damaged: set[Path] = set()
        """Days that are run again; until then they count as not there."""
        self._now = now
        self._began = now()
        self._renewing = 0.0
        self._syncing = 0.0
        if (out / SUMMARY).exists() and not self._days.is_dir():
            raise InputError(
                f"{out}: holds results of something else than this run; name another --out"
            )
        try:
            # Unfinished days stay: they may be those of a process that still runs.
            self._days.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{out}: can't be written, {error.strerror}; name another --out"
            ) from None

    def follow(
        self, configuration: Callable[[date], str], intervals: Callable[[date], Sequence[int]]
    ) -> None:
        """Have days of this run told from others by the configuration too, which may be another
        one on other days."""
        self._run_on = lambda day: {**self._run, "configuration": configuration(day)}
        self._intervals_on = intervals

    def begin(self) -> None:
        """No day was run yet.

        Raises
        ------
        InputError
            If there are days all the same.
        """
        if any(self._folders()):
            raise InputError(
                f"{self.out}: holds days of a run whose state is gone; empty it, or name another "
                "--out"
            )

    def written(self) -> frozenset[date]:
        """Days that need not be run again: they are there, as they were written.

        Raises
        ------
        InputError
            If they are those of another run.
        """
        found = set()
        for folder in self._folders():
            of = date.fromisoformat(folder.name)
            try:
                day = _opened(folder)
                for name in day.files:
                    day.read(name)
            except Damaged as damage:
                if folder not in self._damaged:
                    self._say(f"{folder}: {damage}; the day is run again")
                self._damaged.add(folder)
                continue
            if day.run != (run := self._run_on(of)):
                differing = (key for key in run if day.run.get(key) != run[key])
                raise InputError(
                    f"{self.out}: holds days of a run with another {' and '.join(differing)}; name "
                    "another --out"
                )
            found.add(of)
        return frozenset(found)

    def write_day(self, day: DayResult) -> None:
        """Write a day.

        Raises
        ------
        RunError
            If it can't be written.
        """
        self._write(day.trading_date, day.tally, day)

    def write_day_without_data(self, day: date, tally: Tally) -> None:
        """Write that there was nothing to write; as `write_day`."""
        self._write(day, tally, None)

    def renew(self, account: Account) -> None:
        """Make the files on top, if not too much of the time so far was spent on that."""
        began = self._now()
        if self._renewing <= SHARE * (began - self._began):
            self.put_together(account)
            self._renewing += self._now() - began

    def put_together(self, account: Account) -> None:
        """Make the files on top from all days that are written; without any, none.

        Raises
        ------
        RunError
            If one can't be written, or a day can't be read.
        """
        days = [self._whole(folder) for folder in self._folders() if folder not in self._damaged]
        tally = Tally()
        for day in days:
            tally.add(day.tally)
        names = sorted({name for day in days for name in day.files})
        if not names:
            return
        try:
            for name in names:
                beside = self._beside(name)
                parts = (self._read(day, name) for day in days if name in day.files)
                if name.endswith(".parquet"):
                    _tables(parts, beside)
                else:
                    _texts(parts, beside, header=name.endswith(".csv"))
            self._beside(SUMMARY).write_bytes(summary_json(account(tally)))
            for name in (*names, SUMMARY):
                os.replace(self._beside(name), self.out / name)
        except OSError as error:
            for name in (*names, SUMMARY):
                self._beside(name).unlink(missing_ok=True)
            raise RunError(
                f"{self.out}: results can't be written ({error}); free some space there and start "
                "again: no day is lost"
            ) from error

    def _write(self, day: date, tally: Tally, result: DayResult | None) -> None:
        final = self._days / str(day)
        # Of this process alone: one that has lost its lease may be at the same day still.
        part = self._days / f"{day}.{os.getpid()}{PART}"
        try:
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            if result is not None:
                self._write_files(part, result)
            self._write_account(part, self._run_on(day), tally)
            if waits := self._syncing <= SHARE * (self._now() - self._began):
                self._sync(*part.iterdir(), part)
            if final.is_dir():
                shutil.rmtree(final)
            part.replace(final)
            if waits:
                self._sync(self._days)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            raise RunError(
                f"{final}: can't be written ({error}); free some space there and start again: the "
                "day is written then"
            ) from error
        self._damaged.discard(final)
        for left in self._days.glob(f"{day}.*{PART}"):
            shutil.rmtree(left, ignore_errors=True)

    def _sync(self, *paths: Path) -> None:
        began = self._now()
        for path in paths:
            _synced(path)
        self._syncing += self._now() - began

    def _write_files(self, folder: Path, day: DayResult) -> None:
        files = DayFiles(folder, self._intervals_on(day.trading_date))
        try:
            for write in files.encoded(day):
                write()
            files.close()
        finally:
            files.abandon()

    def _write_account(self, folder: Path, run: Mapping[str, str], tally: Tally) -> None:
        files = {}
        for file in sorted(folder.iterdir()):
            data = file.read_bytes()
            files[file.name] = [len(data), zlib.crc32(data)]
        account = {"run": run, "files": files, "tally": asdict(tally)}
        sealed = {"crc32": zlib.crc32(orjson.dumps(account)), "account": account}
        (folder / ACCOUNT).write_bytes(orjson.dumps(sealed))

    def _folders(self) -> list[Path]:
        found = (path for path in self._days.iterdir() if _DATE.fullmatch(path.name))
        return sorted(path for path in found if path.is_dir())

    def _beside(self, name: str) -> Path:
        return self.out / f".{name}{PART}"

    def _whole(self, folder: Path) -> _Day:
        try:
            return _opened(folder)
        except Damaged as damage:
            raise _damaged(folder, damage) from None

    def _read(self, day: _Day, name: str) -> bytes:
        try:
            return day.read(name)
        except Damaged as damage:
            raise _damaged(day.folder, damage) from None


def _damaged(folder: Path, damage: Damaged) -> RunError:
    return RunError(f"{folder}: {damage}; remove that folder and start again: its day is run again")


def _opened(folder: Path) -> _Day:
    try:
        sealed = orjson.loads((folder / ACCOUNT).read_bytes())
        account, crc = sealed["account"], sealed["crc32"]
    except FileNotFoundError:
        raise Damaged(f"{ACCOUNT} is missing") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        raise Damaged(f"{ACCOUNT} can't be read") from None
    if zlib.crc32(orjson.dumps(account)) != crc:
        raise Damaged(f"{ACCOUNT} is not as it was written")
    return _Day(folder, account["run"], account["files"], _tally(account["tally"]))


def _tally(written: Mapping[str, Any]) -> Tally:
    # Days of an earlier version lack what it did not count.
    found = {field.name: written[field.name] for field in fields(Tally) if field.name in written}
    for name in ("days", "without_data"):
        found[name] = [date.fromisoformat(day) for day in found[name]]
    return Tally(**found)


def _texts(parts: Iterator[bytes], to: Path, *, header: bool) -> None:
    with to.open("wb") as out:
        for number, part in enumerate(parts):
            out.write(part[part.index(b"\n") + 1 :] if header and number else part)


def _tables(parts: Iterator[bytes], to: Path) -> None:
    """As the days themselves would have been written into one file."""
    schema = schema_of(to.name.removeprefix(".").removesuffix(PART))
    texts = [field.name for field in schema if field.type == TEXT]
    file = ParquetFile(to, schema, _joined)
    try:
        for part in parts:
            table = pq.read_table(pa.BufferReader(part), read_dictionary=texts).cast(schema)
            if len(table):
                for write in file.gathered([table], len(table)):
                    write()
        file.close()
    finally:
        file.abandon()


def _joined(tables: Sequence[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
