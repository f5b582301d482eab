"""What a source of stored history is: something that reads rows between two instants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Protocol
from zoneinfo import ZoneInfo

from openbell.errors import DataError
from openbell.market.bars import BAR_COLUMNS, EXTRAS, TICK_COLUMNS, Kind, RawRows
from openbell.market.days import MINUTE_NS


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """How CSV files are laid out, the keys of `data.csv`; None: as each file shows."""

    time_format: str | None = None
    """In strptime's letters, or `epoch s`, `epoch ms`, `epoch us`, `epoch ns`."""
    date_order: Literal["mdy", "dmy", "ymd"] | None = None
    """Of dates such as 07/01/2024."""
    header: int | None = None
    """Lines with names that follow `skip_rows`; 0: none."""
    names: tuple[str, ...] = ()
    """The columns' names, in place of those in the file."""
    skip_rows: int | None = None
    """Lines before the header, or before the rows where there is no header."""
    skip_footer: int | None = None
    """Lines behind the rows."""
    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None


@dataclass(frozen=True, slots=True)
class DataOptions:
    """How stored data is to be read: the keys of `data:` in a configuration.

    Raises
    ------
    openbell.errors.DataError
        If a value can't be used; the text names the key.
    """

    kind: Kind = "bars"
    interval_ns: int | None = MINUTE_NS
    """Bar length; not looked at for ticks."""
    bar_label: Literal["start", "end"] = "start"
    """Which end of a bar its time names; not looked at for ticks."""
    timezone: str | None = None
    """IANA zone of times that carry none."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our name to the file's, e.g. `{"ts": "Date", "open": "Open"}`.

    `{"ts": "Date Time"}` joins two columns where none has that name.
    """
    symbol: str | None = None
    """The symbol of files that have no symbol column."""
    price_scale: float = 1.0
    """What prices (not volumes) are multiplied by, e.g. 0.01 for paise."""
    format: str | None = None
    """`parquet`, `csv` or a plug-in's name; None: by the file's suffix."""
    csv: CsvOptions = CsvOptions()
    allow_negative_prices: bool = False
    """Whether prices of 0 and below are real, as of spreads."""
    time_shift_ns: int = 0
    """Added to the file's times, on their wall where they have no zone."""
    exchange_zone: str | None = None
    """Of the exchange, for messages: the likeliest zone of times that carry none."""
    files: tuple[str, ...] = ()
    """Which files of a folder are read, and where their symbol stands, e.g.
    `("{symbol}/{date}.csv",)`; none: all, and where the symbol stands is guessed."""

    extras: tuple[str, ...] = ()
    """Columns that rules look at: `trade_id` of ticks, which has to be there, `partial` of bars."""

    def __post_init__(self) -> None:
        if self.kind not in ("bars", "ticks"):
            raise DataError(f'data.kind is "{self.kind}"; write bars or ticks')
        if self.bar_label not in ("start", "end"):
            raise DataError(f'data.bar_label is "{self.bar_label}"; write start or end')
        if self.kind == "bars" and (self.interval_ns is None or self.interval_ns <= 0):
            raise DataError("data.interval is missing or not positive; bars need one, e.g. 1m")
        if not 0.0 < self.price_scale < float("inf"):
            raise DataError(f"data.price_scale is {self.price_scale}; write a positive number")
        known = ("symbol", "ts", *self.number_columns, *EXTRAS[self.kind])
        for name in self.columns:
            if name not in known:
                raise DataError(
                    f'data.columns names "{name}", which {self.kind} do not have; '
                    f"its keys are {', '.join(known)}"
                )
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (OSError, ValueError, LookupError):
                raise DataError(
                    f'data.timezone is "{self.timezone}", which is no IANA time zone; '
                    "write one such as America/New_York, Asia/Kolkata or UTC"
                ) from None

    @property
    def number_columns(self) -> tuple[str, ...]:
        """The columns of numbers that this kind of row has, in our names."""
        return BAR_COLUMNS if self.kind == "bars" else TICK_COLUMNS

    @property
    def value_columns(self) -> tuple[str, ...]:
        """All columns beside symbol and time that are read, in our names."""
        return (*self.number_columns, *self.extras)

    @property
    def label_shift_ns(self) -> int:
        """What lies between a row's own time and the label it carries in the file."""
        ends = self.kind == "bars" and self.bar_label == "end"
        return (self.interval_ns or 0) if ends else 0


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """One input by what it is, so that a replay can refuse another."""

    path: str
    size: int
    """Bytes."""
    digest: str
    """Hex digest of the Parquet footer, or of the whole file for other formats."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a source holds."""

    kind: Kind
    interval_ns: int | None
    """Bar length; None for ticks."""
    symbols: tuple[str, ...]
    """All symbols in it, sorted."""
    files: tuple[FileIdentity, ...]
    lasting: bool = True
    """Whether a later process that asks gets the same rows. If not, a durable run journals what it
    uses, and `files` are not compared after a restart."""
    notes: tuple[str, ...] = ()
    """What was guessed of the data or passed over in it; a sentence each, for people."""


class Source(Protocol):
    """Stored history. Reading is repeatable: the same call gives the same rows, in this process
    at least (see `SourceInfo.lasting`)."""

    def info(self) -> SourceInfo: ...

    def dates(self, tz: str) -> dict[date, int]:
        """Rows per local date in an IANA time zone, dates ascending, only dates with rows."""
        ...

    def read(self, start_ns: int, end_ns: int, symbols: Sequence[str] | None = None) -> RawRows:
        """Rows with start_ns <= ts < end_ns in the source's order.

        `symbols` limits them (None: all). `RawRows.symbols` is the tuple asked for, or
        `info().symbols`. Safe to call from one thread at a time.

        Raises
        ------
        openbell.errors.DataError
            If a file can't be read or has become another one.
        """
        ...

    def close(self) -> None: ...
