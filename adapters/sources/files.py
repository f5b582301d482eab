"""The files of a source: which they are, and whether they are still the same."""

from __future__ import annotations

import errno
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from openbell.adapters.sources.base import DataOptions, FileIdentity
from openbell.adapters.sources.layouts import Layout
from openbell.errors import DataError

PARQUET = (".parquet", ".pq", ".parq")
CSV = (".csv", ".csv.gz", ".csv.zip", ".csv.bz2", ".csv.xz", ".csv.zst")
TEXT = (".txt", ".tsv", ".txt.gz", ".tsv.gz", ".zip")
"""What vendors also call CSV. In a folder with other data such files are notes about it."""
DBN = (".dbn", ".dbn.zst")

PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENOTCONN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Errors of a disk, of a network, or of a machine that is short of something."""

_NOT_DATA = re.compile(
    r"(readme|licen[cs]e|copying|notice|changelog|authors)([-_. ].*)?", re.IGNORECASE
)
"""Names that stand beside data whatever their suffix."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a source, and what its place in a folder says about its rows."""

    path: Path
    layout: Layout | None = None
    """Of the folder in which it was found."""
    below: str = ""
    """Its path below that folder, with `/` between names."""

    @property
    def name(self) -> str:
        return str(self.path)

    def symbol(self, options: DataOptions, has_column: bool) -> str | None:
        """What all rows belong to, if there is no symbol column.

        Raises
        ------
        openbell.errors.DataError
            If the paths could mean several symbols; the text says what to write.
        """
        if has_column or options.symbol is not None or self.layout is None:
            return options.symbol
        return self.layout.symbol(self.below)

    @property
    def is_dated(self) -> bool:
        """Whether `check_days` needs to know between which instants the rows lie."""
        return self.layout is not None and self.layout.is_dated(self.below)

    def check_days(self, bounds: tuple[int, int]) -> None:
        """Hold the days in the path, where its symbol was guessed, against the rows' (ns UTC).

        Raises
        ------
        openbell.errors.DataError
            If they are other days.
        """
        if self.layout is not None:
            self.layout.check_days(self.below, *bounds)


def has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes))


def find_files(
    root: Path, suffixes: Sequence[str], what: str, options: DataOptions
) -> list[StoredFile]:
    """A file, or the files of a folder and the folders in it in sorted name order.

    Names that begin with a dot or an underscore are passed over, as other readers do, and so are
    files without a byte.

    Raises
    ------
    openbell.errors.DataError
        If there is none, or none that `data.files` matches.
    """
    if not root.exists():
        raise DataError(f"{root}: no such file or folder; check data.path")
    key = options.columns.get("symbol", "symbol")
    if not root.is_dir():
        if not options.files:
            return [StoredFile(root)]
        return [
            StoredFile(root, Layout(str(root), [root.name], suffixes, options.files), root.name)
        ]
    found = sorted(below for below in walk(root) if has_suffix(below[-1], suffixes))
    paths = ["/".join(below) for below in found]
    empty = [path for path in paths if os.path.getsize(root / path) == 0]
    filled = [path for path in paths if path not in set(empty)]
    if not filled:
        raise DataError(
            f"{root}: the folder holds no {what} files ({', '.join(suffixes)}) with anything in "
            f"them; it holds {listed(root)}; check data.path and data.format"
        )
    layout = Layout(str(root), filled, suffixes, options.files, key, tuple(empty))
    return [StoredFile(root / path, layout, path) for path in layout.paths]


def walk(root: Path) -> Iterator[tuple[str, ...]]:
    """The names that lead from a folder to each file in it that may be data, in any order."""
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        parts = Path(folder).relative_to(root).parts
        for name in names:
            if not name.startswith((".", "_")) and not _NOT_DATA.fullmatch(name):
                yield (*parts, name)


def has_any(root: Path, suffixes: Sequence[str]) -> bool:
    """Whether a folder has a file with one of some suffixes."""
    return any(has_suffix(below[-1], suffixes) for below in walk(root))


def listed(root: Path, most: int = 5) -> str:
    """What a folder holds, for a message: the first names, and how many there are."""
    names = sorted(
        str(Path(folder, name).relative_to(root))
        for folder, _, names in os.walk(root)
        for name in names
    )
    if not names:
        return "nothing"
    return ", ".join(names[:most]) + (
        f" and {len(names) - most:,} more files" if len(names) > most else ""
    )


def notes(files: Sequence[StoredFile]) -> tuple[str, ...]:
    """What was guessed or passed over; known after all files were asked for their symbol."""
    layout = files[0].layout if files else None
    return layout.notes() if layout is not None else ()


def whole_digest(path: Path) -> str:
    """Hex digest of all of a file.

    Raises
    ------
    openbell.errors.DataError
        If it can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise unreadable(str(path), error) from None


class Watched:
    """One file as it was when first read; notices when it becomes another one."""

    def __init__(self, path: Path, digest: Callable[[Path], str]) -> None:
        self._path = path
        self._digest = digest
        self._stat = self._signature()
        self.identity = FileIdentity(str(path), self._stat[0], digest(path))

    def check(self) -> None:
        """
        Raises
        ------
        openbell.errors.DataError
            If the file is gone or has other contents.
        """
        # The digest is only taken again when something about the file differs: this is called
        # at every read, and a stat is some microseconds.
        stat = self._signature()
        if stat == self._stat:
            return
        if stat[0] != self.identity.size or self._digest(self._path) != self.identity.digest:
            raise DataError(
                f"{self._path}: has changed since it was first read; start again to use it as it "
                "is, or put the former file back"
            )
        self._stat = stat

    def _signature(self) -> tuple[int, int, int]:
        try:
            stat = os.stat(self._path)
        except OSError as error:
            raise unreadable(str(self._path), error) from None
        return stat.st_size, stat.st_mtime_ns, stat.st_ino


def unreadable(
    file: str, error: Exception, advice: str = "check the path and its rights"
) -> Exception:
    """What to raise for a file that can't be read; the reason is cut to its first line.

    What may pass, as disks and networks fail, stays an OSError, which is tried again; a file that
    is not there, or not what it has to be, is not.
    """
    if isinstance(error, FileNotFoundError):
        return DataError(f"{file}: no such file; was it moved since the run began?")
    text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    if isinstance(error, OSError) and error.errno in PASSING:
        return OSError(error.errno, f"can't be read ({text})", file)
    return DataError(f"{file}: can't be read ({text}); {advice}")
