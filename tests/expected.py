"""Reference answers of `shared/data/expected`, in the shapes and names of `reference`."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from reference import Window

SECOND_NS = 1_000_000_000


class LevelsRow(NamedTuple):
    high: float
    low: float
    rows: int
    first_ts: int
    last_ts: int


class SignalRow(NamedTuple):
    """Sorted as openbell's signals are: by (ts, symbol, session, side)."""

    ts: int
    symbol: str
    session: str
    side: str
    price: float
    level: float


class DerivedRow(NamedTuple):
    bars: int
    checksum: str
    """As `bars_checksum` gives it."""


class QualityRow(NamedTuple):
    rows: int
    """Inside the hours, duplicates of bars left out."""
    actual: int
    expected: int
    quality_pct: float
    gaps: int
    missing: int


@dataclass(frozen=True)
class Expected:
    """The answers for one file; instants in ns UTC."""

    exchange: str
    kind: str
    """`bars` or `ticks`."""
    windows: tuple[Window, ...]
    ignored: dict[str, int]
    """Rows not used, by reason (`outside_hours`, `not_a_trading_day`), over all days."""
    not_trading_days: dict[date, int]
    """Rows on dates that are no trading days."""
    sessions: dict[tuple[date, str, str], LevelsRow]
    """By (date, session, symbol); skipped sessions, and those without a row, are left out."""
    signals: dict[date, list[SignalRow]]
    """Days without a signal are left out."""
    derived: dict[tuple[date, str, int], DerivedRow]
    """By (date, symbol, minutes of the interval)."""
    quality: dict[tuple[date, str], QualityRow]

    def dates(self) -> list[date]:
        """All trading days that have a row inside the hours."""
        return sorted({day for day, _ in self.quality})


def load_expected(shared_data: Path, name: str) -> Expected:
    """Answers for `<name>.parquet`; `shared_data` is the folder that the fixture gives."""
    path = shared_data / "expected" / f"{name}.json.gz"
    with gzip.open(path, "rt", encoding="utf-8") as file:
        raw: dict[str, Any] = json.load(file)
    count = "tick_count" if raw["kind"] == "ticks" else "bar_count"

    signals: dict[date, list[SignalRow]] = {}
    for s in raw["signals"]:
        signals.setdefault(date.fromisoformat(s["trading_date"]), []).append(
            SignalRow(
                instant_ns(s["ts"]), s["symbol"], s["window"], s["side"], s["price"], s["level"]
            )
        )
    return Expected(
        exchange=raw["exchange"],
        kind=raw["kind"],
        windows=tuple(Window(w["name"], w["start"], w["end"]) for w in raw["windows"]),
        ignored=raw["ignored"],
        not_trading_days={date.fromisoformat(d): n for d, n in raw["not_trading_days"].items()},
        sessions={
            (date.fromisoformat(s["trading_date"]), s["window"], s["symbol"]): LevelsRow(
                s["high"],
                s["low"],
                s[count],
                instant_ns(s["first_ts"]),
                instant_ns(s["last_ts"]),
            )
            for s in raw["sessions"]
        },
        signals={day: sorted(rows) for day, rows in signals.items()},
        derived={
            (date.fromisoformat(d["trading_date"]), d["symbol"], minutes): DerivedRow(
                d[f"n{minutes}m"], d[f"sha{minutes}m"]
            )
            for d in raw["derived"]
            for minutes in (5, 15)
        },
        quality={
            (date.fromisoformat(q["trading_date"]), q["symbol"]): QualityRow(
                q["rows"], q["actual"], q["expected"], q["percentage"], q["gaps"], q["missing"]
            )
            for q in raw["quality"]
        },
    )


def instant_ns(text: str) -> int:
    """ns UTC of `YYYY-MM-DDTHH:MM:SSZ`."""
    return int(datetime.fromisoformat(text).timestamp()) * SECOND_NS


def bars_checksum(bars: Iterable[tuple[int, float, float, float, float, float]]) -> str:
    """Checksum of one symbol's derived bars (ts, open, high, low, close, volume) of one day."""
    lines = "".join(
        f"{datetime.fromtimestamp(ts // SECOND_NS, UTC):%Y-%m-%dT%H:%M:%SZ}"
        f"|{open_:.6f}|{high:.6f}|{low:.6f}|{close:.6f}|{volume:.6f}\n"
        for ts, open_, high, low, close, volume in bars
    )
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
