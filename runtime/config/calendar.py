"""Keys of trading days and of contracts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from openbell.market.segments import ProductRule
from openbell.runtime.config.fields import (
    DailyHours,
    Date,
    Factor,
    FilePath,
    Patterns,
    Problem,
    ProductByDate,
    Section,
    Segment,
    Segments,
    Text,
    TimeZone,
    Wall,
)


class CalendarConfig(Section):
    """Your own corrections of the exchange's calendar."""

    timezone: TimeZone | None = Field(
        default=None,
        description="Time zone of days, hours and sessions, e.g. `America/New_York`; null: the "
        "exchange's, UTC for 24/7.",
    )
    hours: DailyHours | None = Field(
        default=None,
        description='Hours of regular days, e.g. `"04:00-20:00"`; `"18:00-17:00"` opens on the '
        'evening before. By date: `[{from: 2024-01-01, hours: "09:00-15:30", breaks: '
        '["12:00-13:00"]}]`; null: the exchange\'s.',
    )
    special_sessions: Mapping[Date, Segments] = Field(
        default={},
        description='Days with hours of their own: `{2024-11-01: "18:00-19:00"}`, several spans '
        "as a list.",
    )
    closures: tuple[Date, ...] = Field(default=(), description="Days without trading.")
    early_closes: Mapping[Date, Wall] = Field(
        default={}, description='Days that close early: `{2024-07-03: "13:00"}`.'
    )
    segments: Mapping[Text, ProductByDate] = Field(
        default={},
        description="Symbols, or patterns of them, that are another product than `segment`, e.g. "
        '`{"*FUT": futures, RELIANCE: equity_fno}`; by date: `{RELIANCE: {2026-08-03: equity_fno}}`. '
        "Each has the hours of its own.",
    )

    def product_rules(self) -> tuple[ProductRule, ...]:
        """What `segments` says."""
        found: list[ProductRule] = []
        for symbols, of in self.segments.items():
            if isinstance(of, str):
                found.append(ProductRule(symbols, of))
                continue
            since = sorted(of)
            found += [
                ProductRule(symbols, of[first], first, until)
                for first, until in zip(since, [*since[1:], None], strict=True)
            ]
        return tuple(found)

    def _contradictions(self) -> Iterator[Problem]:
        hours = {**self.special_sessions, **self.early_closes}
        for place, closed in enumerate(self.closures):
            if closed in hours:
                yield ("closures", place), "that day has hours above; keep one of the two"
        for day in self.early_closes:
            if day in self.special_sessions:
                yield ("early_closes", str(day)), "write the day's close in special_sessions"


class InstrumentColumns(Section):
    """Headings in the file of instruments, where they are not recognised."""

    symbol: Text | None = Field(default=None, description="The name that its rows of data have.")
    underlying: Text | None = Field(
        default=None, description="Of a future, whose it is, e.g. `NIFTY`."
    )
    expiry: Text | None = Field(default=None, description="Of a future, its last trading day.")
    tick_size: Text | None = Field(default=None, description="Price of one tick.")
    lot: Text | None = Field(default=None, description="How many make one lot.")
    segment: Text | None = Field(
        default=None, description="What its hours are told by, see `segments`."
    )
    exchange: Text | None = Field(default=None, description="Where it is traded.")
    since: Text | None = Field(
        default=None, description="From which date on the row holds, where a symbol has several."
    )


class InstrumentsConfig(Section):
    """A file that says which futures there are, and what each symbol's tick is."""

    file: FilePath | None = Field(
        default=None,
        description="CSV or Parquet, a row an instrument; `instruments: FILE` is short for it.",
    )
    layout: Literal["plain", "kite"] = Field(
        default="plain",
        description="`plain`: columns by their names; `kite`: a dump of Zerodha Kite's instruments.",
    )
    columns: InstrumentColumns = InstrumentColumns()
    filters: Mapping[str, Patterns] = Field(
        default={},
        description="Heading → the value or values of which a row has to have one, e.g. "
        "`{exchange: NFO}`; other rows are left out.",
    )
    segments: Mapping[str, Segment] = Field(
        default={},
        description="The file's word for a segment → `equity`, `equity_fno`, `index` or `futures`.",
    )
    date_format: Text | None = Field(
        default=None,
        description="How it writes dates, e.g. `%d/%m/%Y`, or `epoch s`, `epoch ms`; null: one of the "
        "usual ways.",
    )
    tick_scale: Factor = Field(
        default=1.0,
        description="Ticks in the file are multiplied by it, e.g. `0.01` where they are in paise.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_file_alone(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str | Path) else given

    def _contradictions(self) -> Iterator[Problem]:
        fields = type(self).model_fields.items()
        if self.file is None and any(getattr(self, key) != of.default for key, of in fields):
            yield ("file",), "name the file that the other keys are about"
