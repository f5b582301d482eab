"""Signals in a file, a JSON object a line, with older files beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from openbell.adapters.deliveries.base import Failed, Message, SinkOptions
from openbell.errors import ConfigError

ROTATE_BYTES = 64 * 2**20
UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "B": 1}


def open_file(options: SinkOptions) -> FileSink:
    """`path`; `rotate`: the size at which the next file is begun; `keep`: how many older ones stay."""
    options.only("path", "rotate", "keep")
    path = options.text("path", example="out/signals.jsonl")
    rotate = options.text("rotate", f"{ROTATE_BYTES}B", example="64MiB")
    unit = next((name for name in UNITS if rotate.endswith(name)), "")
    number = rotate.removesuffix(unit).strip()
    if not unit or not number.isdigit() or not int(number):
        raise ConfigError(f'options.rotate is "{rotate}"; write e.g. rotate: 64MiB')
    return FileSink(
        Path(path).expanduser(), int(number) * UNITS[unit], options.count("keep", 5, least=1)
    )


class FileSink:
    """A line counts as delivered when it is on the disk."""

    at_once = 500

    def __init__(self, path: Path, rotate_bytes: int, keep: int) -> None:
        self._path = path
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._opened: int | None = None

    def deliver(self, messages: Sequence[Message]) -> None:
        lines = b"".join(message.body + b"\n" for message in messages)
        try:
            file = self._file()
            if 0 < os.fstat(file).st_size > self._rotate_bytes - len(lines):
                self._rotate()
                file = self._file()
            left = memoryview(lines)
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except OSError as error:
            # What was half written is cut off by who opens it next.
            self.close()
            raise Failed(f"{self._path}: {error.strerror or error}") from error

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            os.close(opened)

    def _file(self) -> int:
        """Opened anew if somebody moved or removed it, as logrotate does."""
        if self._opened is not None and not self._is_in_place(self._opened):
            self.close()
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _cut_half_line(self._path)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            self._opened = os.open(self._path, flags, 0o600)
        return self._opened

    def _is_in_place(self, file: int) -> bool:
        try:
            found, held = self._path.stat(), os.fstat(file)
        except FileNotFoundError:
            return False
        return (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)

    def _rotate(self) -> None:
        self.close()
        for number in range(self._keep - 1, 0, -1):
            older = self._beside(number)
            if older.exists():
                os.replace(older, self._beside(number + 1))
        os.replace(self._path, self._beside(1))

    def _beside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


def _cut_half_line(path: Path) -> None:
    """What a kill left of a line is no line: it comes again as a whole."""
    if not path.is_file():
        return
    with path.open("r+b") as file:
        end = size = file.seek(0, os.SEEK_END)
        while end:
            begin = max(0, end - 65536)
            file.seek(begin)
            newline = file.read(end - begin).rfind(b"\n")
            if newline >= 0:
                end = begin + newline + 1
                break
            end = begin
        if end != size:
            file.truncate(end)
