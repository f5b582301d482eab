"""What a feed brought and is no row, in a file for whoever wants to look at it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import IO

import orjson
from loguru import logger

from openbell.errors import ConfigError
from openbell.runtime.record.writing import wall_time


def check_refused(path: Path) -> None:
    """Whether such a file can be written, as far as can be told without making it.

    Raises
    ------
    ConfigError
        If not.
    """
    there = next(of for of in (path, *path.absolute().parents) if os.path.exists(of))
    if path.is_dir():
        raise _unwritable(path, "is a folder")
    if there != path and not there.is_dir():
        raise _unwritable(path, f"{there} is no folder")
    if not os.access(there, os.W_OK):
        raise _unwritable(path, f"{there} can't be written to")


def _unwritable(path: Path, why: str) -> ConfigError:
    return ConfigError(f"feed.refused: {path}: {why}; name a file that can be written to")


class RefusedLines:
    """A file of JSON objects, a line each: `wall_time`, `kind`, `where` and `why`.

    Lines are appended, so that several processes of a run have one file. A file that can't be
    written to ends no run: it is said once, and the entries are counted as ever.

    Raises
    ------
    ConfigError
        If it can't be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._failed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[bytes] = path.open("ab", buffering=0)
        except OSError as error:
            raise _unwritable(path, error.strerror or str(error)) from error

    def add(self, kind: str, where: str, why: str) -> None:
        line = orjson.dumps({"wall_time": wall_time(), "kind": kind, "where": where, "why": why})
        with self._lock:
            if self._file.closed:
                return
            try:
                self._file.write(line + b"\n")
            except OSError as error:
                if not self._failed:
                    logger.warning("feed.refused: {}: {}; lines are missing", self._path, error)
                self._failed = True

    def close(self) -> None:
        with self._lock:
            self._file.close()
