"""The `--out` folder of a run that may be killed: a folder a day, put together as days end.

Each day's files are complete before they get their name (`.days/2024-07-01/`), so that a kill at
any instant leaves whole days; the files on top are made from them and replaced one by one.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from openbell.adapters.sinks.files import DayResult, RunFiles
from openbell.errors import InputError, RunError

DAYS = ".days"
RENEWAL_SHARE = 0.1
"""The files on top are renewed at a day's end unless that has taken more than this share of the
time so far; when the run ends they always are. A run as long as a day renews them each day."""


class DayParts:
    """Writes whole days, each once and durably; a day that is written again is replaced."""

    def __init__(self, out: Path, intervals: Sequence[int]) -> None:
        self.out = out
        self._intervals = tuple(intervals)
        self._days = out / DAYS
        self._began = time.monotonic()
        self._renewing = 0.0
        if (out / "summary.json").exists() and not self._days.is_dir():
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

    def last(self) -> date | None:
        """The last day that is written."""
        return max((date.fromisoformat(day.name) for day in self._written()), default=None)

    def write_day(self, day: DayResult) -> None:
        """Write a day; it is on disk when this returns.

        Raises
        ------
        RunError
            If it can't be written.
        """
        final = self._days / str(day.trading_date)
        part = final.with_suffix(".part")
        try:
            shutil.rmtree(part, ignore_errors=True)
            with RunFiles(part, self._intervals, force=True) as files:
                files.write_day(day)
                files.finish({})
            for file in part.iterdir():
                _synced(file)
            shutil.rmtree(final, ignore_errors=True)
            part.rename(final)
            _synced(self._days)
        except OSError as error:
            raise RunError(f"{final}: can't be written, {error}; free some space there") from error
        now = time.monotonic()
        if self._renewing <= RENEWAL_SHARE * (now - self._began):
            self.put_together({})
            self._renewing += time.monotonic() - now

    def put_together(self, account: Mapping[str, Any]) -> None:
        """Make the files on top from all days that are written."""
        days = self._written()
        if not days:
            return
        names = sorted({file.name for day in days for file in day.iterdir()})
        for name in names:
            parts = [day / name for day in days if (day / name).is_file()]
            beside = self.out / f".{name}.part"
            if name == "summary.json":
                _account(account, days, beside)
            elif name.endswith(".parquet"):
                _tables(parts, beside)
            else:
                _texts(parts, beside, header=name.endswith(".csv"))
            os.replace(beside, self.out / name)

    def _written(self) -> list[Path]:
        return sorted(path for path in self._days.iterdir() if path.suffix != ".part")


def _account(account: Mapping[str, Any], days: Sequence[Path], to: Path) -> None:
    whole = {
        "trading_days": len(days),
        "first_day": days[0].name,
        "last_day": days[-1].name,
        **account,
    }
    to.write_bytes(orjson.dumps(whole, option=orjson.OPT_INDENT_2))


def _texts(parts: Sequence[Path], to: Path, *, header: bool) -> None:
    with to.open("wb") as out:
        for number, part in enumerate(parts):
            with part.open("rb") as lines:
                if header and number:
                    lines.readline()
                shutil.copyfileobj(lines, out)


def _tables(parts: Sequence[Path], to: Path) -> None:
    schema = pq.read_schema(parts[0])
    with pq.ParquetWriter(to, schema, compression="lz4", store_schema=False) as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


def _synced(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
