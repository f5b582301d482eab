"""Keys of stored data: where it is, how it is written, what is known of the days before."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from openbell.runtime.config import values
from openbell.runtime.config.fields import (
    MINUTE_NS,
    Count,
    Factor,
    FilePath,
    Interval,
    Minutes,
    Options,
    Patterns,
    Period,
    Problem,
    Seconds,
    Section,
    Shift,
    Some,
    Symbol,
    Symbols,
    Text,
    TimeZone,
)
from openbell.runtime.config.values import Duration


class DataColumns(Section):
    """Names of the columns in the files, where they differ from ours."""

    symbol: Text | None = Field(default=None, description="Column of the symbol.")
    ts: Text | None = Field(default=None, description="Column of the bar's or tick's time.")
    open: Text | None = Field(default=None, description="Column of the bar's open.")
    high: Text | None = Field(default=None, description="Column of the bar's high.")
    low: Text | None = Field(default=None, description="Column of the bar's low.")
    close: Text | None = Field(default=None, description="Column of the bar's close.")
    volume: Text | None = Field(default=None, description="Column of the bar's volume.")
    price: Text | None = Field(default=None, description="Column of the tick's price.")
    size: Text | None = Field(default=None, description="Column of the tick's size.")
    trade_id: Text | None = Field(
        default=None, description="Column of the vendor's number of the trade, for `feed.dedupe`."
    )
    partial: Text | None = Field(
        default=None, description="Column that is true, or not 0, where a bar is not whole."
    )

    def given(self) -> dict[str, str]:
        """Our name → the file's, only where it was set."""
        return {name: column for name, column in self if column is not None}


def _header(given: object) -> object:
    if isinstance(given, str) and given.strip().lower() == "none":
        return 0
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise ValueError("write none, or how many lines hold names, e.g. 1")
    return given


def _letter(given: object) -> object:
    if not isinstance(given, str):
        raise ValueError('write one character, e.g. ";"')  # noqa: TRY004 as above
    given = {"\\t": "\t", "tab": "\t", "space": " ", "comma": ","}.get(given.lower(), given)
    if len(given) != 1 or given in '\r\n"':
        raise ValueError('write one character, e.g. ";"')
    return given


def _encoding(given: str) -> str:
    try:
        return codecs.lookup(given).name
    except LookupError:
        raise ValueError("write an encoding that Python knows, e.g. utf-8 or cp1252") from None


def _time_format(given: str) -> str:
    if given.startswith("epoch"):
        if given not in ("epoch s", "epoch ms", "epoch us", "epoch ns"):
            raise ValueError("write epoch s, epoch ms, epoch us or epoch ns")
        return given
    from openbell.adapters.sources.timetexts import compiled

    compiled(given)
    return given


Letter = Annotated[str, BeforeValidator(_letter), WithJsonSchema({"type": "string"})]


class CsvConfig(Section):
    """How CSV files are laid out, where that is not to be seen from each file itself."""

    time_format: Annotated[Text, AfterValidator(_time_format)] | None = Field(
        default=None,
        description="How times are written, in strptime's letters, e.g. `%d.%m.%Y %H:%M`, or "
        "`epoch s`, `epoch ms`, `epoch us`, `epoch ns`.",
    )
    date_order: Literal["mdy", "dmy", "ymd"] | None = Field(
        default=None, description="Order of month, day and year in dates such as `07/01/2024`."
    )
    header: Annotated[
        int | None,
        BeforeValidator(_header),
        WithJsonSchema({"anyOf": [{"const": "none"}, {"type": "integer", "minimum": 0}]}),
    ] = Field(
        default=None,
        description="How many lines hold names, after `skip_rows`; `none`: the rows begin there.",
    )
    names: tuple[Text, ...] = Field(
        default=(),
        description="The names of all columns in their order, in place of the file's, e.g. "
        "`[ts, open, high, low, close, volume]`.",
    )
    skip_rows: Count | None = Field(
        default=None, description="Lines before the header or the first row that are passed over."
    )
    skip_footer: Count | None = Field(
        default=None, description="Lines at the end that are passed over; empty ones don't count."
    )
    delimiter: Letter | None = Field(
        default=None, description='What parts the values, e.g. `";"`; a tab is `"\\t"`.'
    )
    decimal: Literal[".", ","] | None = Field(
        default=None, description='What stands before decimals, e.g. `","`.'
    )
    thousands: Letter | None = Field(default=None, description='What parts thousands, e.g. `","`.')
    encoding: Annotated[Text, AfterValidator(_encoding)] | None = Field(
        default=None, description="What the bytes are text in, e.g. `cp1252`."
    )

    def _contradictions(self) -> Iterator[Problem]:
        if self.decimal is not None and self.decimal == self.thousands:
            yield ("thousands",), "write another character than for decimals"
        if self.decimal is not None and self.decimal == self.delimiter:
            yield ("delimiter",), "write another character than for decimals"
        doubled = [name for place, name in enumerate(self.names) if name in self.names[:place]]
        if doubled:
            yield ("names",), f'write each name once; "{doubled[0]}" stands there twice'


class DataConfig(Section):
    """The stored history that is read."""

    path: FilePath | None = Field(default=None, description="A file, or a folder of files.")
    kind: Literal["bars", "ticks"] = Field(default="bars", description="What the rows are.")
    interval: Interval = Field(
        default=Duration(MINUTE_NS), description="Length of a bar; without meaning for ticks."
    )
    bar_label: Literal["start", "end"] = Field(
        default="start", description="Which end of the bar its time in the file stands for."
    )
    order: Literal["time", "arrival"] = Field(
        default="time",
        description="`time`: rows are put in time order; `arrival`: the files' order is that in which "
        "they came, and they are acted on in it, as a live run would.",
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="Time zone of times that carry none, e.g. `Asia/Kolkata`; null: files with such "
        "times are refused.",
    )
    columns: DataColumns = DataColumns()
    symbol: Symbol | None = Field(
        default=None, description="Symbol of all rows, for files that have no such column."
    )
    price_scale: Factor = Field(
        default=1.0, description="Prices in the file are multiplied by it, e.g. `0.01` for paise."
    )
    allow_negative_prices: bool = Field(
        default=False,
        description="Whether prices of 0 and below are real, as of spreads; else such rows are "
        "not used.",
    )
    time_shift: Shift = Field(
        default=Duration(0),
        description="Added to the times in the file, e.g. `-7h` where the file's clock is 7 hours "
        "ahead of `timezone`.",
    )
    csv: CsvConfig = CsvConfig()
    format: Text | None = Field(
        default=None,
        description="`parquet`, `csv`, `dbn`, or a plug-in's name; null: by the file's suffix.",
    )
    files: Patterns = Field(
        default=(),
        description="Which files of the folder are read, and where their symbol stands, e.g. "
        '`"{symbol}/{date}.csv"`; one pattern or a list; empty: all, and it is guessed.',
    )


class UpkeepConfig(Section):
    """Derived bars and data quality."""

    enabled: bool = Field(
        default=True, description="Whether bars are derived and quality is counted."
    )
    derived_intervals: tuple[Minutes, ...] = Field(
        default=(Duration(5 * MINUTE_NS), Duration(15 * MINUTE_NS)),
        description="Intervals made from the data's; bare numbers are minutes.",
    )
    check_interval_seconds: Seconds = Field(
        default=Duration(2 * values.UNITS_NS["s"]),
        description="How often quality is reported live.",
    )

    def _contradictions(self) -> Iterator[Problem]:
        for place, interval in enumerate(self.derived_intervals):
            if interval in self.derived_intervals[:place]:
                yield ("derived_intervals", place), "it is listed twice; leave one out"


class HistoryData(Section):
    """Trailing days that are loaded before a day begins."""

    trailing_days: Some = Field(description="Trading days before the day.", examples=[10])
    intervals: tuple[Interval, ...] = Field(
        default=(Duration(MINUTE_NS),), min_length=1, description="Bar lengths to load."
    )
    apply_to: Symbols = Field(default="all", description="Symbols to load: `all` or a list.")


class IndicatorConfig(Section):
    """An indicator over the trailing days."""

    type: Text = Field(
        description="`trailing_average`, `trailing_max`, `trailing_min`, `average_true_range`, or a "
        "plug-in's name.",
        examples=["trailing_average"],
    )
    period: Period = Field(
        description="How far it looks back: `10d`, ten trading days; `4w`, the trading days of 28 "
        "days.",
        examples=["10d"],
    )
    granularity: Literal["daily", "intraday"] = Field(
        default="daily",
        description="`daily`: one value; `intraday`: one for each minute of the day.",
    )
    field: Literal["open", "high", "low", "close", "volume"] = Field(
        default="close", description="Which column it is taken over."
    )
    include_special: bool = Field(
        default=False,
        description="Whether special sessions (an evening, a weekend) belong to the period.",
    )
    apply_to: Symbols = Field(
        default="all", description="Symbols it is computed for: `all` or a list."
    )
    options: Options = Field(default={}, description="What a plug-in's type needs beyond that.")

    def _contradictions(self) -> Iterator[Problem]:
        if self.type == "average_true_range" and self.granularity != "daily":
            yield ("granularity",), "write daily; a true range is of a whole day"


class HistoryConfig(Section):
    """What is known of the days before."""

    data: tuple[HistoryData, ...] = Field(
        default=(HistoryData(trailing_days=10),), description="Trailing days to load."
    )
    indicators: Mapping[str, IndicatorConfig] = Field(
        default={}, description="Indicators by name, ready when a day begins."
    )
    enable_quality: bool = Field(
        default=True,
        description="Whether quality is measured; if not, it is 100 % and marked `not measured`.",
    )
