"""The files of a source: which they are, and whether they are still the same."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from openbell.adapters.sources.base import DataOptions, FileIdentity
from openbell.errors import DataError

PARQUET = (".parquet", ".pq", ".parq")
CSV = (".csv", ".csv.gz", ".csv.zip")

_DATE = re.compile(r"\d{4}[-_.]?\d\d[-_.]?\d\d")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a source, and what its place in a folder says about its rows."""

    path: Path
    partitions: Mapping[str, str]
    """Hive partitions, e.g. `symbol=AAPL/date=2024-07-01/`."""
    stem: str | None
    """Its name without suffix if it was found in a folder."""

    @property
    def name(self) -> str:
        return str(self.path)

    def symbol(self, options: DataOptions, has_column: bool) -> str | None:
        """What all rows belong to, if there is no symbol column.

        Raises
        ------
        openbell.errors.DataError
            If it would be the file's name, but that is a date.
        """
        if has_column or options.symbol is not None:
            return options.symbol
        partition = self.partitions.get(options.columns.get("symbol", "symbol"))
        if partition is not None or self.stem is None:
            return partition
        if _DATE.match(self.stem):
            raise DataError(
                f"{self.name}: no symbol column, and the file's name is a date; set data.symbol, "
                "or name the column with data.columns, e.g. {symbol: ticker}"
            )
        return self.stem


def has_suffix(name: str, suffixes: Sequence[str]) -> bool:
    return name.lower().endswith(tuple(suffixes))


def find_files(root: Path, suffixes: Sequence[str], what: str) -> list[StoredFile]:
    """A file, or the files of a folder and the folders in it in sorted name order.

    Names that begin with a dot or an underscore are passed over, as other readers do.

    Raises
    ------
    openbell.errors.DataError
        If there is none.
    """
    if not root.exists():
        raise DataError(f"{root}: no such file or folder; check data.path")
    if not root.is_dir():
        return [StoredFile(root, {}, None)]
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in names:
            path = Path(folder, name)
            if has_suffix(name, suffixes) and not name.startswith((".", "_")):
                found.append(path)
    if not found:
        raise DataError(
            f"{root}: the folder holds no {what} files ({', '.join(suffixes)}); "
            "check data.path and data.format"
        )
    found.sort(key=lambda path: path.relative_to(root).parts)
    return [_in_folder(root, path, suffixes) for path in found]


def _in_folder(root: Path, path: Path, suffixes: Sequence[str]) -> StoredFile:
    pairs = (part.partition("=") for part in path.relative_to(root).parts[:-1] if "=" in part)
    partitions = {key: unquote(value) for key, _, value in pairs}
    suffix = max((s for s in suffixes if has_suffix(path.name, (s,))), key=len)
    return StoredFile(path, partitions, path.name[: -len(suffix)])


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
    """What to raise for a file that can't be read; the reason is cut to its first line."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{file}: no such file; was it moved since the run began?")
    text = getattr(error, "strerror", None) or str(error).strip().partition("\n")[0]
    return DataError(f"{file}: can't be read ({text}); {advice}")
