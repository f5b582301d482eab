"""A scan and a source, installed as plug-ins are, that note what they were asked and wait for good
when they are told to; their process is killed by a test."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from openbell.adapters.sources import DataOptions, Source
from openbell.adapters.sources.parquet import open_parquet
from openbell.market.bars import RawRows
from openbell.market.scans import Found, ScanView

COMES = "C"
"""The symbol for whose rows the source waits."""

ENTRY_POINTS = """
[openbell.scanners]
waiting = waiting_plugins:waiting
[openbell.sources]
waiting = waiting_plugins:open_waiting
"""


def install(folder: Path) -> None:
    """Have a process find them whose PYTHONPATH names the folder."""
    info = folder / "waiting_plugins-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: waiting-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)


def asked(folder: Path, what: str) -> list[str]:
    path = folder / f"{what}.asked"
    return path.read_text().splitlines() if path.exists() else []


def _waits(what: str, about: str) -> None:
    folder = Path(os.environ["WAITING_PLUGINS"])
    with (folder / f"{what}.asked").open("a") as file:
        file.write(f"{about}\n")
    if (folder / f"{what}.waits").exists():
        reads, _ = os.pipe()
        os.read(reads, 1)  # for good: under a shifted clock a sleep may fail


def found(view: ScanView) -> list[Found]:
    return [Found("A", float(view.high[0])), Found(COMES, 1.0)]


def waiting(view: ScanView) -> list[Found]:
    _waits("scan", f"{view.at:%H:%M}")
    return found(view)


class Waiting:
    def __init__(self, source: Source) -> None:
        self._source = source
        self.info, self.dates, self.close = source.info, source.dates, source.close

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        if symbols is not None and COMES in symbols:
            _waits("source", f"{start_ns} {end_ns}")
        return self._source.read(start_ns, end_ns, symbols)


def open_waiting(path: Path, options: DataOptions) -> Source:
    return Waiting(open_parquet(path, options))
