"""Library calendars by year, kept on disk from one process to the next.

To import pandas and a calendar library and to build a calendar takes a second, and gives the same
each time. What is kept counts only for the versions of the libraries and of the zone's rules that
it was made with; a folder that can't be written, or a file that can't be read, costs that second.
"""

from __future__ import annotations

import json
import os
import sys
import zoneinfo
from contextlib import suppress
from datetime import date
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openbell.market.days import Dates, Explanation, Segment, TradingDay
from openbell.market.libraries import ROUND_THE_CLOCK, Library, open_library, told_in

_FORMAT = 1

_PACKAGES = ("exchange_calendars", "pandas_market_calendars", "pandas", "tzdata")


def open_kept(exchange: str, tz: str | None = None) -> Library:
    """As `open_library`; what is kept of it is not asked of the library again.

    Raises
    ------
    CalendarError
        If no library knows the exchange.
    """
    folder = _folder()
    if exchange == ROUND_THE_CLOCK or folder is None:
        return open_library(exchange, tz)
    facts = _read(folder / f"{quote(exchange, safe='')}.json")
    if facts is None or facts["made_with"] != _made_with(facts.get("tz", "")):
        found = open_library(exchange)
        facts = {
            "name": found.name,
            "source": found.source,
            "tz": found.tz,
            "first": found.first.isoformat(),
            "last": found.last.isoformat(),
            "made_with": _made_with(found.tz),
        }
        _write(folder / f"{quote(exchange, safe='')}.json", facts)
    library = _library(exchange, folder, facts)
    return library if tz in (None, library.tz) else told_in(library, str(tz))


def _library(exchange: str, folder: Path, facts: dict[str, Any]) -> Library:
    covered = date.fromisoformat(facts["first"]), date.fromisoformat(facts["last"])

    def build(first: date, last: date) -> Dates:
        files = {
            year: folder / f"{quote(exchange, safe='')}-{year}.json"
            for year in range(first.year, last.year + 1)
        }
        kept = {year: _kept(file, facts["made_with"]) for year, file in files.items()}
        lacking = [year for year, dates in kept.items() if dates is None]
        if lacking:  # in one call: a library takes as long for a year as for thirty
            since, until = date(lacking[0], 1, 1), date(lacking[-1], 12, 31)
            built = open_library(exchange).build(max(since, covered[0]), min(until, covered[1]))
            for year in lacking:
                kept[year] = of_year = {d: e for d, e in built.items() if d.year == year}
                _write(files[year], {"made_with": facts["made_with"], "dates": _spelled(of_year)})
        return {
            d: entry
            for dates in kept.values()
            for d, entry in (dates or {}).items()
            if first <= d <= last
        }

    return Library(facts["name"], facts["source"], facts["tz"], *covered, build)


def _kept(file: Path, made_with: list[str]) -> Dates | None:
    content = _read(file)
    if content is None or content["made_with"] != made_with:
        return None
    return _dates(content["dates"])


def _spelled(dates: Dates) -> list[Any]:
    return [
        [
            d.isoformat(),
            e.layer,
            e.reason,
            e.regular,
            None if e.day is None else _spelled_day(e.day),
        ]
        for d, e in dates.items()
    ]


def _spelled_day(day: TradingDay) -> list[Any]:
    segments = [[int(segment.open_ns), int(segment.close_ns)] for segment in day.segments]
    return [day.tz, segments, day.kind, day.layer, day.reason]


def _dates(spelled: list[Any]) -> Dates:
    dates: Dates = {}
    for text, layer, reason, regular, hours in spelled:
        d, day = date.fromisoformat(text), None
        if hours is not None:
            tz, segments, kind, day_layer, day_reason = hours
            spans = tuple(Segment(opens, closes) for opens, closes in segments)
            day = TradingDay(d, tz, spans, kind, day_layer, day_reason)
        dates[d] = Explanation(d, day, layer, reason, None if regular is None else tuple(regular))
    return dates


def _made_with(tz: str) -> list[str]:
    """Versions of all that days are made with, and the state of the zone's own file."""
    rules = ""
    for folder in zoneinfo.TZPATH:
        try:
            status = (Path(folder) / tz).stat()
        except OSError:
            continue
        rules = f"{status.st_size} {status.st_mtime_ns}"
        break
    return [str(_FORMAT), sys.version.split()[0], *_versions(), rules]


@cache
def _versions() -> tuple[str, ...]:
    return tuple(f"{package} {_version(package)}" for package in _PACKAGES)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _folder() -> Path | None:
    """Where a user's programs keep what they can make again; None without a home."""
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(caches) / "openbell" / "calendars"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "made_with" in content else None


def _write(file: Path, content: Any) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content))
        part.replace(file)  # two processes may write it at once: each file is whole
    except OSError:
        with suppress(OSError):
            part.unlink(missing_ok=True)
