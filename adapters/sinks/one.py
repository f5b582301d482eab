"""One file that a command writes: whole, or not at all; what is no regular file is written through."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from openbell.errors import InputError, RunError, way_out

STDOUT = Path("-")


def is_stdout(file: Path) -> bool:
    """Whether it names standard output, as `-`, `/dev/stdout` and the file behind `>` do."""
    if file == STDOUT:
        return True
    try:
        return os.path.samestat(file.stat(), os.fstat(1))
    except OSError:
        return False


def check_one(file: Path, *, force: bool) -> None:
    """
    Raises
    ------
    InputError
        If it can't be written: it exists, without `force`; it is a folder or of another kind that
        takes no text; or its folder doesn't exist.
    """
    if is_stdout(file):
        return
    another = "pass another file"
    target = file.resolve()
    if not target.parent.is_dir():
        raise InputError(f"{file}: its folder does not exist; make it, or {another}")
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise InputError(f"{file}: is a folder; name a file in it, or {another}")
    if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise InputError(f"{file}: is a device or socket, which takes no table; {another}")
    if stat.S_ISREG(mode) and not force:
        passing = way_out("--force", "force=True")
        raise InputError(f"{file}: exists already; pass {passing} to replace it, or another file")


@contextmanager
def written_whole(file: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Where to write; on leaving it is in place.

    A regular file, also one that a symlink leads to, is made aside, and takes the place of the old
    one with its rights. Standard output (`-`), a FIFO or a terminal is written through.

    Raises
    ------
    InputError
        As `check_one`.
    RunError
        If it can't be written; what was there before stays.
    """
    check_one(file, force=force)
    if is_stdout(file):
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = file.resolve()
    through = target.exists() and not target.is_file()
    aside = target if through else target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as opened:
            yield opened
        if not through:
            if target.exists():
                shutil.copymode(target, aside)
            os.replace(aside, target)
    except BrokenPipeError:  # whoever read the FIFO has seen enough
        raise
    except OSError as error:
        why = error.strerror or error
        raise RunError(
            f"{file}: can't be written ({why}); free some space there, or check its rights"
        ) from error
    finally:
        if not through:
            aside.unlink(missing_ok=True)
