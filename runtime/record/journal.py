"""What is journaled of a day's load, where its source can't be asked for it again.

The rows are kept as the source gave them, so that all that is made of them is made again. The days
before are kept as they were known: their own rows may go back a year.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import NoReturn

import pyarrow as pa

from openbell.adapters.sources import SourceInfo
from openbell.adapters.stores import JournalEntry
from openbell.adapters.unpacking import unpacked
from openbell.errors import InputError
from openbell.market.bars import Codes, Kind, Prices, RawRows
from openbell.market.days import Nanoseconds, TradingDay
from openbell.messages.control import Loaded
from openbell.messages.data import HistoryReady
from openbell.messages.time import Grant
from openbell.runtime.record.codec import Undecodable, decode, encode

ROWS = "rows"
"""What the names of entries with a day's load begin with; its date and its step follow."""

CODEC = "zstd"
_LENGTH = 8
"""Bytes of the length before compression, which goes first."""


@dataclass(frozen=True, eq=False)
class DayRead:
    """What a day's load brought from outside."""

    day: TradingDay
    kind: Kind
    symbols: tuple[str, ...]
    """The register of the day."""
    code: Codes
    ts: Nanoseconds
    columns: dict[str, Prices]
    places: dict[int, tuple[str, int]]
    """File and row of the rows that were named, by position: the unusable ones."""
    history: HistoryReady | None
    signed: bool = False
    """Whether prices of 0 and below were real."""

    def rows(self) -> RawRows:
        """The rows as the source gave them."""
        return RawRows(
            self.kind,
            self.symbols,
            self.code,
            self.ts,
            self.columns,
            self.places.__getitem__,
            self.signed,
        )


def noted(raw: RawRows, places: dict[int, tuple[str, int]]) -> RawRows:
    """The same rows; the places that are asked for are noted."""

    def locate(position: int) -> tuple[str, int]:
        places[position] = found = raw.locate(position)
        return found

    return replace(raw, locate=locate)


def written(
    day: TradingDay,
    raw: RawRows,
    places: dict[int, tuple[str, int]],
    history: HistoryReady | None,
) -> bytes:
    """A day's load as the journal keeps it."""
    plain = encode(
        DayRead(
            day, raw.kind, raw.symbols, raw.code, raw.ts, raw.columns, places, history, raw.signed
        )
    )
    packed: bytes = pa.compress(plain, codec=CODEC, asbytes=True)
    return len(plain).to_bytes(_LENGTH, "big") + packed


def read(body: bytes) -> DayRead:
    """What `written` was given.

    Raises
    ------
    Undecodable
        If it is nothing that this program journaled.
    """
    length = int.from_bytes(body[:_LENGTH], "big")
    try:
        plain = unpacked(body[_LENGTH:], length, CODEC)
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise Undecodable(f"an entry of the journal can't be read: {error}") from error
    found = decode(plain)
    if not isinstance(found, DayRead):
        raise Undecodable(f"the journal has a {type(found).__name__} in place of a day's rows")
    return found


def days(
    kept: Iterable[JournalEntry],
    counts: Callable[[int, date], bool] = lambda step, trading_date: True,
) -> dict[date, DayRead]:
    """The loads among some entries, by their date.

    Parameters
    ----------
    counts : callable
        Whether a step of a trading day is still part of the run.

    Raises
    ------
    Undecodable
    """
    found = {}
    for entry in kept:
        match entry.name.split():
            case [kind, day, step] if kind == ROWS and counts(int(step), entry.trading_date):
                found[date.fromisoformat(day)] = read(entry.body)
    return found


def entries(grant: Grant, of: date) -> tuple[JournalEntry, ...]:
    """What has to be journaled with a step of some trading day."""
    return tuple(
        JournalEntry(of, f"{ROWS} {entered.date} {grant.step}", entered.journal)
        for entered in grant.inputs
        if isinstance(entered, Loaded) and entered.journal is not None
    )


class NotHere:
    """Stands for a source that is not here, where all that is needed of it was journaled."""

    def __init__(self, kind: Kind, interval_ns: int | None) -> None:
        self._info = SourceInfo(kind, interval_ns, (), (), lasting=False)

    def info(self) -> SourceInfo:
        return self._info

    def dates(self, tz: str) -> dict[date, int]:
        return {}

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> NoReturn:
        raise InputError(
            "the journal lacks rows that were run, and their source is not here; restore a copy of "
            "the store that has them"
        )

    def close(self) -> None:
        return
