"""Library calendars kept on disk: the same days, without the libraries."""

from __future__ import annotations

import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from openbell.market import almanac
from openbell.market.libraries import Library, open_library

FIRST, LAST = date(2024, 11, 20), date(2025, 1, 10)


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "openbell" / "calendars"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which exchanges the libraries were asked for."""
    names: list[str] = []

    def asking(exchange: str, tz: str | None = None) -> Library:
        names.append(exchange)
        return open_library(exchange, tz)

    monkeypatch.setattr(almanac, "open_library", asking)
    return names


@pytest.mark.parametrize("exchange", ["XNYS", "XNSE", "CMES", "XTAE"])
def test_kept_days_are_those_of_the_library(exchange: str, caches: Path, asked: list[str]) -> None:
    library = open_library(exchange)
    expected = library.build(FIRST, LAST)
    made = almanac.open_kept(exchange).build(FIRST, LAST)
    asked.clear()

    kept = almanac.open_kept(exchange)

    days = kept.build(FIRST, LAST)
    assert list(made.items()) == list(days.items()) == list(expected.items())
    assert (kept.name, kept.source, kept.tz) == (library.name, library.source, library.tz)
    assert (kept.first, kept.last) == (library.first, library.last)
    assert asked == []


def test_another_version_of_a_library_is_asked_again(
    caches: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    almanac.open_kept("XNYS").build(FIRST, FIRST)
    asked.clear()
    monkeypatch.setattr(almanac, "_versions", lambda: ("exchange_calendars 99",))

    almanac.open_kept("XNYS").build(FIRST, FIRST)

    assert asked == ["XNYS", "XNYS"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff"])
def test_a_damaged_file_is_made_anew(content: bytes, caches: Path) -> None:
    expected = almanac.open_kept("XNYS").build(FIRST, FIRST)
    for file in caches.iterdir():
        file.write_bytes(content)

    assert almanac.open_kept("XNYS").build(FIRST, FIRST) == expected
    assert b"made_with" in (caches / "XNYS.json").read_bytes()


def test_a_folder_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert almanac.open_kept("XNYS").build(FIRST, FIRST)[FIRST].day is not None


def test_a_known_calendar_needs_no_pandas(caches: Path) -> None:
    opening = (
        "import sys; from datetime import date; from openbell.market.calendar import open_calendar;"
        "open_calendar('XNYS', date(2024, 7, 1), date(2024, 7, 5)); print('pandas' in sys.modules)"
    )

    said = [
        subprocess.run([sys.executable, "-c", opening], capture_output=True, check=True, text=True)
        for _ in range(2)
    ]

    assert [run.stdout.strip() for run in said] == ["True", "False"]
