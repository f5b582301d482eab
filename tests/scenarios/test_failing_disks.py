"""A disk that fails for a moment: what it has is read again, in planning and for each day."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import openbell
from openbell.adapters.sample import write_sample
from openbell.runtime.intake import loading

US = {"exchange": "XNYS", "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}]}


class Disk:
    """Fails in the reads that are named by their number, from 1 on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads = 0
        self.fails_at: frozenset[int] = frozenset()
        opened = pq.ParquetFile

        def opening(*given: Any, **options: Any) -> pq.ParquetFile:
            self.reads += 1
            if self.reads in self.fails_at:
                raise OSError(errno.EIO, "Input/output error")
            return opened(*given, **options)

        monkeypatch.setattr(pq, "ParquetFile", opening)
        monkeypatch.setattr(loading, "BACKOFF_SECONDS", 0.0)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def minutes(tmp_path: Path) -> Path:
    write_sample(tmp_path, symbols=2, days=2, seed=3)
    return tmp_path


def test_a_read_that_fails_once_changes_nothing_whichever_it_is(minutes: Path, disk: Disk) -> None:
    expected = openbell.backtest(US, minutes).signals
    reads, disk.reads = disk.reads, 0

    for number in range(1, reads + 1):
        disk.reads, disk.fails_at = 0, frozenset({number})
        assert openbell.backtest(US, minutes).signals.equals(expected)
        assert disk.reads > reads, f"read {number} did not fail"


def test_a_disk_that_goes_on_to_fail_is_named_with_the_file(minutes: Path, disk: Disk) -> None:
    disk.fails_at = frozenset(range(1, 1_000))

    with pytest.raises(OSError, match=r"can't be read \(Input/output error\).*2024-01-02.parquet"):
        openbell.backtest(US, minutes)

    assert disk.reads == loading.ATTEMPTS
