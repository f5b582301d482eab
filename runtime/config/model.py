"""Every key of a configuration: its type, its default and what it means.

The models are the schema. Attributes are named as the keys; a key without a value (`feed:`) has
its default. Where values contradict each other, the model says so, all contradictions at once.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from openbell.market.exchanges import canonical
from openbell.market.hours import RegularHours
from openbell.market.hours import Span as TradingSpan
from openbell.market.kinds import KINDS, AuctionName, Kind
from openbell.market.segments import PRODUCTS, ProductRule
from openbell.runtime.config import conditions, values
from openbell.runtime.config.conditions import (
    RangeAtLeast,
    RangeAtMost,
    ValidUntil,
    VolumeNeeded,
)
from openbell.runtime.config.pace import Pace, replay_at
from openbell.runtime.config.values import Buffer, Duration, Rearm, Retest, SessionTime, Size

DIGEST_LEAVES_OUT: dict[str, frozenset[str] | None] = {
    "name": None,
    "instruments": frozenset({"file"}),
    "data": frozenset({"path"}),
    "upkeep": frozenset({"check_interval_seconds"}),
    "feed": None,
    "prefetch": None,
    "day": None,
    "sinks": None,
    "sinks_max_age": None,
    "backtest": None,
    "store": None,
    "snapshot": None,
    "lease": None,
    "supervision": None,
    "web": None,
    "log": None,
}
"""Keys that change how a run is operated but no answer; None: the whole section. What a file of
instruments says is kept beside the configuration, as it is another one from day to day."""

ONLY_WHERE_SET: dict[str, frozenset[str]] = {
    "breakout": frozenset({"closed_beyond", "retest", *conditions.KEYS}),
    "calendar": frozenset({"segments"}),
    "data": frozenset({"allow_negative_prices", "csv", "files", "order", "time_shift"}),
    "instruments": frozenset({"columns", "date_format", "filters", "layout", "segments"}),
}
"""Keys that are part of what determines the answers only where they are not at their default, so
that state and digests from before there were such keys go on to hold."""

OF_LIVE_DAYS: dict[str, frozenset[str]] = {
    "day": frozenset({"timeout_seconds"}),
    "prefetch": frozenset({"timeout_seconds"}),
}
"""Keys that are part of what determines the answers where a feed is live: what came too late, or not
at all, is no input of such a day."""

ROW_RULES = ("revisions", "size_is", "dedupe", "on_partial")
"""Keys of `feed` that say what rows mean that are taken in the order in which they came; part of what
determines the answers where they are not at their default."""

READ_AGAIN = frozenset({"special_sessions", "closures", "early_closes", "segments"})
"""Keys of `calendar` that are read for each day where days follow each other by the host's clock: the
record has each day's hours, and keeps them."""

LIVE_FEED_DECIDES = ("suspect_seconds", "symbol_suspect_seconds")
"""Keys of a live feed that are part of it where they are not at their default."""

FEED_DECIDES = frozenset(
    {"bar_label", "fields", "rows", "symbols", "timezone", "ts_format", "ts_unit", "where"}
)
"""Options of a live feed that say what its rows mean."""

MINUTE_NS = values.UNITS_NS["m"]


def _not_bool(given: object) -> object:
    if isinstance(given, bool):
        raise ValueError("write a number")  # noqa: TRY004 pydantic reports ValueErrors only
    return given


def _text(given: object) -> object:
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


def _filled(given: str) -> str:
    if not given.strip():
        raise ValueError("write at least one character")
    return given.strip()


def _exchange(given: str) -> str:
    if ":" in given:
        raise ValueError('leave out the ":"; ids of signals are made with it')
    return canonical(given)


def _session_name(given: str) -> str:
    if ":" in given:
        raise ValueError('leave out the ":"; ids of signals are made with it')
    if not given.isprintable():
        raise ValueError("write it on one line, without control characters")
    return given


def _namespace(given: str) -> str:
    if not all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in given):
        raise ValueError("use letters, digits, dots, dashes and underscores; keys are made with it")
    return given


def _json(json_type: Any, **more: Any) -> tuple[PlainSerializer, WithJsonSchema]:
    """How a value that `values` parses is written and described."""
    serializer = PlainSerializer(values.written, when_used="json")
    return serializer, WithJsonSchema({"type": json_type, **more} if json_type else more)


Text = Annotated[str, BeforeValidator(_text), AfterValidator(_filled)]
Patterns = Annotated[
    tuple[Text, ...], BeforeValidator(lambda given: [given] if isinstance(given, str) else given)
]
Count = Annotated[int, Field(ge=0), BeforeValidator(_not_bool)]
"""May be none."""
Some = Annotated[int, Field(ge=1), BeforeValidator(_not_bool)]
"""One at least."""
Port = Annotated[int, Field(ge=0, le=65535), BeforeValidator(_not_bool)]
Speed = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(_not_bool)]
Factor = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_not_bool)]

_TEXT_OR_NUMBER = ["string", "number"]
_DURATION_PATTERN = r"^\s*[0-9]+(\.[0-9]+)?\s*(ns|us|ms|s|m|h|d)\s*$"
_duration, _positive = values.parse_duration, partial(values.parse_duration, least_ns=1)
_span_schema = _json("string", pattern=_DURATION_PATTERN)
_bare_schema = _json(_TEXT_OR_NUMBER)

Span = Annotated[Duration, PlainValidator(partial(_positive, example="60s")), *_span_schema]
"""More than nothing; its key has no unit, so it is written with one."""
Allowance = Annotated[Duration, PlainValidator(partial(_duration, example="2s")), *_span_schema]
"""May be nothing."""
Shift = Annotated[
    Duration,
    PlainValidator(values.parse_shift),
    *_json("string", pattern=r"^\s*[+-]?" + _DURATION_PATTERN[1:]),
]
"""On or, with a minus, back."""
Interval = Annotated[Duration, PlainValidator(partial(_positive, example="1m")), *_span_schema]
"""The length of a bar."""
Seconds = Annotated[
    Duration, PlainValidator(partial(_positive, bare="s", example="30s")), *_bare_schema
]
"""A bare number is seconds."""
Delay = Annotated[
    Duration, PlainValidator(partial(_duration, bare="m", example="30m")), *_bare_schema
]
"""A bare number is minutes."""
Wait = Annotated[
    Duration, PlainValidator(partial(_positive, bare="m", example="10m")), *_bare_schema
]
"""A bare number is minutes; more than nothing."""
Minutes = Annotated[
    Duration,
    PlainValidator(partial(_positive, bare="m", example="15m", step_ns=MINUTE_NS)),
    *_bare_schema,
]
"""Whole minutes; a bare number is minutes."""
Giving = Annotated[
    values.GiveUp, PlainValidator(values.parse_give_up), *_json(["string", "integer"])
]
Limit = Annotated[values.Rate, PlainValidator(values.parse_rate), *_json("string")]
Bytes = Annotated[Size, PlainValidator(values.parse_size), *_json("string")]
Date = Annotated[
    date,
    PlainValidator(values.parse_date),
    *_json("string", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
]
Moment = Annotated[
    date | datetime,
    PlainValidator(values.parse_moment),
    *_json("string", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2})?$"),
]
"""A date, or a minute inside it, local to the exchange."""
Wall = Annotated[
    time, PlainValidator(values.parse_wall), *_json("string", pattern="^[0-9]{2}:[0-9]{2}$")
]
When = Annotated[
    SessionTime,
    PlainValidator(values.parse_session_time),
    *_json("string", pattern=r"^([0-9]{2}:[0-9]{2}|(open|close)(\s*[+-].+)?)$"),
]
ScanTime = Annotated[
    str,
    PlainValidator(values.parse_scan_time),
    *_json("string", pattern=r"^(pre|every .+|[0-9]{2}:[0-9]{2}|(open|close)\s*[+-].+)$"),
]
Margin = Annotated[Buffer, PlainValidator(values.parse_buffer), *_json(_TEXT_OR_NUMBER)]
_positive_integer = {"type": "integer", "minimum": 1}
_inside_bars = {
    "type": "object",
    "properties": {"inside_bars": _positive_integer, "max": _positive_integer},
    "required": ["inside_bars"],
    "additionalProperties": False,
}
Rearming = Annotated[
    Rearm,
    PlainValidator(values.parse_rearm),
    *_json(None, anyOf=[{"enum": ["never", "inside"]}, _inside_bars]),
]
_within_bars = {
    "type": "object",
    "properties": {
        "within_bars": {**_positive_integer, "maximum": values.RETEST_BARS_MAX},
        "tolerance": {"type": _TEXT_OR_NUMBER},
    },
    "required": ["within_bars"],
    "additionalProperties": False,
}
Retesting = Annotated[
    Retest,
    PlainValidator(values.parse_retest),
    *_json(None, anyOf=[{"enum": ["never"]}, _within_bars]),
]
_symbol_schema = {"type": ["string", "integer"]}
Symbol = Annotated[str, PlainValidator(values.parse_symbol), WithJsonSchema(_symbol_schema)]
Companion = Annotated[
    str | values.Future,
    PlainValidator(values.parse_companion),
    *_json(
        None,
        anyOf=[
            _symbol_schema,
            {
                "type": "object",
                "properties": {"future": _symbol_schema, "roll": {"type": "string"}},
                "required": ["future"],
                "additionalProperties": False,
            },
        ],
    ),
]
Symbols = Annotated[
    Literal["all"] | tuple[str, ...],
    PlainValidator(values.parse_symbols),
    *_json(
        None,
        anyOf=[
            {"type": "string"},
            {"type": "array", "items": _symbol_schema, "minItems": 1},
            {
                "type": "object",
                "properties": {"file": {"type": "string"}, "column": {"type": "string"}},
                "required": ["file"],
                "additionalProperties": False,
            },
        ],
    ),
]
Segments = Annotated[
    tuple[TradingSpan, ...],
    PlainValidator(values.parse_spans),
    *_json(None, anyOf=[{"type": "string"}, {"type": "array", "items": {"type": "string"}}]),
]
_strings = {"type": "array", "items": {"type": "string"}}
_hours_schema = {
    "type": "object",
    "properties": {
        "from": {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"},
        "hours": {"type": "string"},
        "breaks": _strings,
        "evening": {"enum": ["date", "trading_day"]},
        "segment": {"enum": list(PRODUCTS)},
    },
    "required": ["hours"],
    "additionalProperties": False,
}
DailyHours = Annotated[
    tuple[RegularHours, ...],
    PlainValidator(values.parse_regular_hours),
    *_json(
        None,
        anyOf=[
            {"type": "string"},
            _hours_schema,
            {"type": "array", "items": {"anyOf": [{"type": "string"}, _hours_schema]}},
        ],
    ),
]
"""What holds of all regular days, by date, oldest first."""
Period = Annotated[
    str,
    PlainValidator(values.parse_period),
    WithJsonSchema({"type": "string", "pattern": "^[0-9]+[dw]$"}),
]
TimeZone = Annotated[str, PlainValidator(values.parse_timezone), WithJsonSchema({"type": "string"})]
FilePath = Annotated[Path, PlainValidator(values.parse_path), *_json("string")]
StoreUrl = Annotated[
    str, PlainValidator(values.parse_store_url), WithJsonSchema({"type": "string"})
]
Options = Mapping[str, Any]

InstrumentSegment = Literal["equity", "equity_fno", "index", "futures"]
Confirm = Literal["close", "touch"]
Check = Literal["continuous", "once"]
Sides = Literal["both", "high", "low"]
OnIncomplete = Literal["flag", "block"]
Direction = Literal["any", "first_bar"]

Problem = tuple[tuple[str | int, ...], str]
"""Where, and what is needed there."""


def _days_in_order(start: date | None, end: date | None) -> Iterator[Problem]:
    first = values.first_date(start)
    if first is not None and end is not None and end < first:
        yield ("end",), f"write a day that is not before the start, {first}"


class _Default:
    """Stands for a key's default where it is not spelled."""

    def __repr__(self) -> str:
        return "…"


_DEFAULT = _Default()


class Section(BaseModel):
    """What all sections have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # pydantic's own spells every default and validator: forty lines of `help(Config)`.
        keys = {name: field.is_required() for name, field in cls.model_fields.items()}
        cls.__signature__ = Signature(
            [
                Parameter(
                    name, Parameter.KEYWORD_ONLY, default=Parameter.empty if needed else _DEFAULT
                )
                for name, needed in keys.items()
            ]
        )

    @model_validator(mode="before")
    @classmethod
    def _without_a_value_means_the_default(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            key: value
            for key, value in given.items()
            if value is not None or key not in cls.model_fields
        }

    @model_validator(mode="after")
    def _no_contradictions(self) -> Self:
        if problems := tuple(self._contradictions()):
            raise PydanticCustomError("contradiction", "", {"problems": problems})
        return self

    def _contradictions(self) -> Iterator[Problem]:
        yield from ()


class BreakoutConfig(Section):
    """What counts as a breakout of a session's levels."""

    confirm: Confirm = Field(
        default="close",
        description="`close`: the bar's close (each tick) lies beyond the level; `touch`: its high "
        "or low does.",
    )
    check: Check = Field(
        default="continuous",
        description="`continuous`: until the close; `once`: only the first price after the session.",
    )
    rearm: Rearming = Field(
        default=values.NEVER,
        description="`never`: one break a day, session, symbol and side; `inside`: again after a "
        "close back inside; `{inside_bars: k, max: m}`: after k of them, m times at most.",
    )
    buffer: Margin = Field(
        default=Buffer(0.0),
        description="How far beyond the level a price has to be: a price (`0.5`), a share of the "
        'level (`"0.1%"`) or ticks (`"2 ticks"`).',
    )
    sides: Sides = Field(
        default="both", description="Which levels are watched: `both`, `high` or `low`."
    )
    closed_beyond: bool = Field(
        default=False,
        description="With `confirm: touch`: whether the first close beyond that follows a signal is "
        "reported too, as `closed_beyond`.",
    )
    retest: Retesting = Field(
        default=values.NO_RETEST,
        description="`{within_bars: n, tolerance: m}`: whether a return to the level is reported, as "
        "`retest`: within n bars of the signal, as near as m, a price, a share or ticks; `never`: "
        "none is.",
    )
    tick_size: Factor | None = Field(
        default=None,
        description="Price of one tick, of all symbols, needed where a buffer is in ticks; null: as "
        "`instruments` says of each.",
    )
    volume: VolumeNeeded = Field(
        default=conditions.NONE,
        description="How much has to trade in the bar that breaks: `{times: 1.5, of: minute}`, so many "
        "times that minute's average of `period: 10d`; `of: day`, of the day's bars so far. `symbol: "
        "companion`: its companion's. A bar with less is no break.",
    )
    min_range: RangeAtLeast = Field(
        default=conditions.NONE,
        description="How far the session's high and low are apart at least: a price (`0.5`), a share of "
        'it (`"0.25%"`), or times an indicator (`{times: 0.6, of: atr14}`).',
    )
    max_range: RangeAtMost = Field(
        default=conditions.NONE, description="The same at most; written as `min_range`."
    )
    valid_until: ValidUntil = Field(
        default=conditions.NONE,
        description="Until when a break may be known: a time as `sessions[].start`, or how long after "
        "the session (`90m`); `none`: the close.",
    )
    on_incomplete: OnIncomplete = Field(
        default="flag",
        description="Of sessions that lack minutes: `flag`, their breaks say so; `block`, they have none.",
    )
    direction: Direction = Field(
        default="any",
        description="`first_bar`: only the side to which the session's first bar moved; neither where "
        "it opened and closed at one price.",
    )


class BreakoutOverrides(Section):
    """What differs from `breakout` for one session."""

    confirm: Confirm | None = Field(default=None, description="As `breakout.confirm`.")
    check: Check | None = Field(default=None, description="As `breakout.check`.")
    rearm: Rearming | None = Field(default=None, description="As `breakout.rearm`.")
    buffer: Margin | None = Field(default=None, description="As `breakout.buffer`.")
    sides: Sides | None = Field(default=None, description="As `breakout.sides`.")
    closed_beyond: bool | None = Field(default=None, description="As `breakout.closed_beyond`.")
    retest: Retesting | None = Field(default=None, description="As `breakout.retest`.")
    volume: VolumeNeeded | None = Field(default=None, description="As `breakout.volume`.")
    min_range: RangeAtLeast | None = Field(default=None, description="As `breakout.min_range`.")
    max_range: RangeAtMost | None = Field(default=None, description="As `breakout.max_range`.")
    valid_until: ValidUntil | None = Field(default=None, description="As `breakout.valid_until`.")
    on_incomplete: OnIncomplete | None = Field(
        default=None, description="As `breakout.on_incomplete`."
    )
    direction: Direction | None = Field(default=None, description="As `breakout.direction`.")


class SessionConfig(Section):
    """A named window inside the trading day."""

    name: Annotated[Text, AfterValidator(_session_name)] = Field(
        description="Its name, once in a configuration; signals and documents carry it.",
        examples=["Morning Opening"],
    )
    start: When | None = Field(
        default=None,
        description="First minute: local time `09:30`, or `open+15m`, `close-30m`; required, but "
        "where the session is an `auction`.",
        examples=["09:30"],
    )
    end: When | None = Field(
        default=None,
        description="Last minute, written as `start` is; it belongs to the session unless "
        "`closed: left`.",
        examples=["09:35"],
    )
    auction: AuctionName | None = Field(
        default=None,
        description="`pre_open`, `closing`: the session is this auction of the exchange, in place of "
        "`start` and `end`, when each day and symbol has it.",
    )
    closed: Literal["both", "left"] = Field(
        default="both",
        description="`both`: 09:30 to 09:35 is six minutes; `left`: the end minute is left out.",
    )
    timezone: TimeZone | None = Field(
        default=None,
        description="Time zone of its wall times, e.g. `Europe/London`; null: the calendar's.",
    )
    breakout: BreakoutOverrides = BreakoutOverrides()

    def _contradictions(self) -> Iterator[Problem]:
        start, end = self.start, self.end
        if self.auction is not None:
            for key in ("start", "end", "closed", "timezone"):
                if getattr(self, key) != type(self).model_fields[key].default:
                    why = f"leave it out; auction: {self.auction} has the times of the calendar"
                    yield (key,), why
            return
        if start is None or end is None:
            for key, given in (("start", start), ("end", end)):
                if given is None:
                    example = "09:30" if key == "start" else "09:35"
                    yield (key,), f'write a time, e.g. "{example}", or name an auction: pre_open'
            return
        if end.anchor == "close" and end.offset_ns == 0 and self.closed == "both":
            yield ("end",), 'the minute from the close on has no rows; write "close-1m"'
        if start.anchor != end.anchor or start.anchor == "clock":
            return  # whether they are in order depends on the day
        if end.offset_ns < start.offset_ns:
            yield ("end",), f'write a time after the start, "{start}"; a session ends on its day'
        elif end.offset_ns == start.offset_ns and self.closed == "left":
            yield ("end",), f'write a time after the start, "{start}", or closed: both'


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


class FeedConfig(Section):
    """What delivers data while `openbell run` runs."""

    type: Text = Field(
        default="replay",
        description="`replay` (reads `data`, ends after its last day), `redis`, `push`, "
        "`websocket`, a vendor's (`vendors.md`), or a plug-in's name.",
    )
    speed: Speed = Field(
        default=0.0, description="Replay: market time a wall time; 0: as fast as it goes."
    )
    start: Moment | None = Field(
        default=None,
        description="Replay: first day, or a time in it, as `backtest.start`; null: the first with "
        "rows.",
    )
    end: Date | None = Field(
        default=None, description="Replay: last day; null: the last with rows."
    )
    suspect_seconds: Seconds | None = Field(
        default=None,
        description="Silence of a live feed after which it is suspected, and symbols are subscribed "
        "to anew; null: as long as is unusual by how often its rows come, 15 s at least.",
    )
    symbol_suspect_seconds: Seconds = Field(
        default=Duration(60 * values.UNITS_NS["s"]),
        description="A symbol's silence, while others have rows, that is told at the earliest; "
        "of one with few rows longer is usual.",
    )
    silent: Literal["timeout", "exit"] = Field(
        default="timeout",
        description="What follows where a live feed stays silent although it was connected anew, "
        "beside the state TIMEOUT: `timeout`, nothing; `exit`, the process ends with code 5, so that "
        "a supervisor starts it again.",
    )
    renew: tuple[Text, ...] = Field(
        default=(),
        description="A command and its arguments that renew a live feed's login when it was refused; "
        "the feed connects anew after it. Its last line may say until when the login holds: "
        "`2024-07-02T06:00:00+05:30`.",
    )
    token_expires: Wall | None = Field(
        default=None,
        description="The time of day, where the exchange is, at which a live feed's login ends; a "
        "warning comes before the open if that is before the close.",
    )
    refused: FilePath | None = Field(
        default=None,
        description="A file to which what a live feed brought and is no row is appended, a JSON "
        "object a line, with its place.",
    )
    record: FilePath | None = Field(
        default=None,
        description="A folder into which what a live feed brings is recorded, a day a file, to be "
        "backtested as it was lived.",
    )
    revisions: Literal["freeze", "amend"] = Field(
        default="freeze",
        description="Of bars with the same symbol and time from a feed: `freeze`, the first counts and "
        "later ones are counted; `amend`, a later one takes the earlier one's place in all that is not "
        "over.",
    )
    size_is: Literal["trade", "day_total"] = Field(
        default="trade",
        description="What a feed's `size` or `volume` is: `trade`, of the row; `day_total`, of the day "
        "up to it, of which the difference counts.",
    )
    dedupe: Literal["none", "trade_id", "same"] = Field(
        default="none",
        description="Which rows of a feed came before and don't count again: `trade_id`, those with "
        "the number of an earlier trade of their symbol; `same`, those equal to an earlier one.",
    )
    on_partial: Literal["flag", "drop"] = Field(
        default="flag",
        description="What becomes of bars that a feed marks as `partial`: `flag`, they count and their "
        "minutes don't; `drop`, they are left out.",
    )
    options: Options = Field(default={}, description="What the feed's type needs beyond that.")

    def pace(self) -> Pace:
        """How market time goes by this feed; a live one may leave it to the host's clock."""
        return replay_at(self.speed) if self.type == "replay" else Pace(live=True)

    def _contradictions(self) -> Iterator[Problem]:
        yield from _days_in_order(self.start, self.end)


class ClockConfig(Section):
    """How market time moves."""

    step: Literal["boundary", "bar"] = Field(
        default="boundary",
        description="`boundary`: steps end at session starts, ends and scans; `bar`: at every "
        "minute too.",
    )
    time: Literal["wall", "feed"] | None = Field(
        default=None,
        description="What moves time where rows come from a feed: `wall`, this host's clock, whether "
        "rows come or not; `feed`, its rows alone, and marks that a day is over. null: `wall`, but "
        "`feed` where `feed.end` is past, as the rows of such days are recorded ones.",
    )
    lateness: Allowance = Field(
        default=Duration(2 * values.UNITS_NS["s"]),
        description="How long a boundary waits for rows that are still on their way.",
    )
    skew_max: Allowance = Field(
        default=Duration(5 * values.UNITS_NS["s"]),
        description="How far ahead of this host's clock a row's time may be.",
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


class PrefetchConfig(Section):
    """Loading ahead."""

    days: Count | None = Field(
        default=None,
        description="Days loaded ahead of the one that runs; null: 4 for bars at speed 0, else 1.",
    )
    timeout_seconds: Seconds = Field(
        default=Duration(30 * values.UNITS_NS["s"]),
        description="Longest wait for a load when live or clock-driven; the rest comes later.",
    )


class DayConfig(Section):
    """The course of the trading day."""

    auto_roll: bool = Field(default=True, description="Whether the next day follows by itself.")
    timeout_seconds: Seconds = Field(
        default=Duration(300 * values.UNITS_NS["s"]),
        description="Silence of the feed after which the day is in TIMEOUT.",
    )
    boundary_check_interval: Seconds = Field(
        default=Duration(60 * values.UNITS_NS["s"]),
        description="How often the agenda is checked against the wall clock; a bare number is "
        "seconds.",
    )
    post_market_roll_delay: Delay = Field(
        default=Duration(30 * MINUTE_NS),
        description="From the actual close to the roll; a bare number is minutes.",
    )


Segment = Literal["equity", "equity_fno", "index", "futures"]

_segment_schema = {"enum": list(PRODUCTS)}
ProductByDate = Annotated[
    str | Mapping[date, str],
    PlainValidator(values.parse_product),
    *_json(
        None, anyOf=[_segment_schema, {"type": "object", "additionalProperties": _segment_schema}]
    ),
]
"""One for ever, or one from each date on."""


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


class ScannerConfig(Section):
    """A scan: a function looks at the market so far and names symbols."""

    name: Text = Field(description="Its name, once in a configuration.", examples=["movers"])
    type: Text = Field(
        description="`relative_volume`, `gap`, `near_high`, `movers`, `range_width`, or the name of a "
        "plug-in or of the program's own.",
        examples=["movers"],
    )
    at: tuple[ScanTime, ...] = Field(
        default=(),
        description="When it runs: `pre` (before the open), `10:30`, `every 15m`, `open+5m`, "
        "`close-30m`; empty: `pre`.",
    )
    then: Literal["report", "follow", "add"] = Field(
        default="report",
        description="`report`: what it found is told; `follow`: from then on breakouts are reported "
        "only of symbols that such a scan has found that day; `add`: symbols that the run does not "
        "have are added.",
    )
    catch_up: Literal["all", "last", "none"] | None = Field(
        default=None,
        description="Of its times that are past when a run comes to a day under way, it runs for all, "
        "for the last one, or for none; each on the day as it was then. null: `all` with `then: follow` "
        "and `add`, `last` with `report`. Before the open it runs in any case.",
    )
    timeout_seconds: Seconds = Field(
        default=Duration(10 * values.UNITS_NS["s"]),
        description="How long it may take, live and at a speed; one that takes longer is skipped.",
    )
    worker: Literal["thread", "process"] = Field(
        default="thread",
        description="`process`: it runs in a process of its own, which is ended where it takes too "
        "long, and whose end by a fault only skips the scan.",
    )
    options: Options = Field(default={}, description="What the scan is told.")


class DigestConfig(Section):
    """Several signals in one message."""

    window: Allowance = Field(
        default=Duration(0),
        description="How long a message waits for more signals; 0: each is a message of its own.",
    )
    max: Some = Field(default=20, description="Signals that one message has at most.")


class SinkConfig(Section):
    """Somewhere signals are sent."""

    type: Text = Field(
        description="`stdout`, `file`, `redis`, `webhook`, `apprise`, `exec`, or a plug-in's name.",
        examples=["stdout"],
    )
    name: Annotated[Text, AfterValidator(_namespace)] | None = Field(
        default=None,
        description="Its name, once in a configuration: where it has come to is kept by it; null: "
        "its type.",
    )
    options: Options = Field(default={}, description="What the sink's type needs.")
    signals: bool = Field(default=True, description="Whether signals are sent.")
    kinds: Annotated[tuple[Kind, ...], Field(min_length=1)] = Field(
        default=KINDS,
        description="Which signals are sent: `breakout`, `closed_beyond` and `retest`, which follow "
        "one; the others are passed over.",
    )
    events: tuple[Text, ...] = Field(
        default=(),
        description="Which events are sent too, e.g. `[day.error, feed.silent]`; `feed`: all whose "
        "kind begins so.",
    )
    begin: Literal["now", "start"] = Field(
        default="now",
        description="Where a sink begins that was not there before: `now`: with what is found from "
        "then on; `start`: with the first signal of the log.",
    )
    digest: DigestConfig = DigestConfig()
    rate: Limit | None = Field(
        default=None,
        description="Messages sent at most, e.g. `20/m`; null: as many as there are.",
    )
    timeout_seconds: Seconds = Field(
        default=Duration(10 * values.UNITS_NS["s"]), description="How long one try may take."
    )
    give_up: Giving | None = Field(
        default=None,
        description="Tries (`10`) or time (`1h`) after which a message is given up; null: never.",
    )
    on_give_up: Literal["stop", "dead_letter"] = Field(
        default="stop",
        description="`stop`: the sink waits for `openbell sinks retry` or `skip`; `dead_letter`: "
        "the message is put aside, and the next one is sent.",
    )

    @property
    def called(self) -> str:
        return self.name or self.type


class BacktestConfig(Section):
    """What `openbell backtest` does."""

    start: Moment | None = Field(
        default=None,
        description="First day, or a time in it (`2024-07-02T12:45`, local to the exchange): what "
        "was known before is read first; null: the first trading day with a row inside its hours.",
    )
    end: Date | None = Field(
        default=None,
        description="Last day; null: the last trading day with a row inside its hours.",
    )
    speed: Speed = Field(default=0.0, description="Market time a wall time; 0: as fast as it goes.")
    dispatcher: Literal["inline", "threads"] = Field(
        default="inline",
        description="`inline`: all actors on one thread; `threads`: one each, as `openbell run` "
        "has them.",
    )

    def _contradictions(self) -> Iterator[Problem]:
        yield from _days_in_order(self.start, self.end)


class StoreConfig(Section):
    """Where snapshots, sessions, signals and the audit trail live."""

    url: StoreUrl = Field(
        default="sqlite:///state/openbell.db",
        description="`sqlite:///relative.db`, `sqlite:////absolute.db`, `redis://…` or `memory`.",
    )
    keep_days: Some = Field(
        default=30, description="Days whose step log, journal and first snapshot are kept."
    )
    backlog: Bytes = Field(
        default=Size(64 * 2**20),
        description="Finished steps that may wait for the store before time stops.",
    )
    replicas: Count = Field(
        default=0, description="Redis replicas that must hold a signal before it is seen."
    )


class SnapshotConfig(Section):
    """Snapshots of the whole system."""

    every: Span = Field(
        default=Duration(60 * values.UNITS_NS["s"]), description="How often, beside the boundaries."
    )
    keep: Some = Field(default=5, description="How many of the last ones stay.")


class LeaseConfig(Section):
    """Who writes, when several processes share a store."""

    ttl: Span = Field(
        default=Duration(5 * values.UNITS_NS["s"]),
        description="Silence of the holder after which another process takes over.",
    )


class DeadmanConfig(Section):
    """A URL of a service that raises an alarm when it is not asked for."""

    url: Text | None = Field(
        default=None,
        description="What is asked for, with GET, while the run is ready; null: nothing.",
    )
    every: Span = Field(default=Duration(60 * values.UNITS_NS["s"]), description="How often.")

    def _contradictions(self) -> Iterator[Problem]:
        if self.url is not None and not values.is_web_url(self.url):
            yield ("url",), 'write a URL that begins with "https://" or "http://"'


class SupervisionConfig(Section):
    """What happens when an actor fails, and what is done when the run is not ready."""

    restarts: Count = Field(
        default=3, description="Restarts `within` that time before the day goes to ERROR."
    )
    within: Span = Field(
        default=Duration(60 * values.UNITS_NS["s"]), description="The time in which restarts count."
    )
    unready_exit: Wait | None = Field(
        default=None,
        description="How long `openbell run` may be not ready before it ends with exit code 6; a "
        "bare number is minutes. null: for ever.",
    )
    deadman: DeadmanConfig = DeadmanConfig()


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
    segments: Mapping[str, InstrumentSegment] = Field(
        default={},
        description="The file's word for a segment → `equity`, `equity_fno`, `index` or `futures`.",
    )
    date_format: Text | None = Field(
        default=None,
        description="How it writes dates, e.g. `%d/%m/%Y`; null: one of the usual ways.",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_file_alone(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str | Path) else given

    def _contradictions(self) -> Iterator[Problem]:
        fields = type(self).model_fields.items()
        if self.file is None and any(getattr(self, key) != of.default for key, of in fields):
            yield ("file",), "name the file that the other keys are about"


class WebConfig(Section):
    """Health checks, metrics and the dashboard."""

    enabled: bool = Field(
        default=False,
        description="Whether `openbell run` answers `/healthz`, `/readyz`, `/metrics`.",
    )
    host: Text = Field(default="127.0.0.1", description="Address to listen on.")
    port: Port = Field(default=8700, description="Port to listen on; 0: any free one.")
    token: Text | None = Field(
        default=None,
        description="What who asks has to show (`Authorization: Bearer …`), e.g. "
        "`file:/run/secrets/openbell_token`; needed unless `host` is this machine alone.",
    )

    def _contradictions(self) -> Iterator[Problem]:
        if self.enabled and self.token is None and not values.is_loopback(self.host):
            yield (
                ("host",),
                "others can reach it: set web.token too, or write 127.0.0.1",
            )


class LogConfig(Section):
    """The log of `openbell run`, on stderr."""

    level: Literal["debug", "info", "warning", "error"] | None = Field(
        default=None,
        description="The least severe line that is shown, where `--log-level` does not say; null: "
        "no log.",
    )


class Config(Section):
    """A configuration of openbell; immutable."""

    name: Annotated[Text, AfterValidator(_namespace)] = Field(
        default="default", description="Namespace of all state, so that several can share a store."
    )
    exchange: Annotated[Text, AfterValidator(_exchange)] = Field(
        description="Whose calendar is followed: a MIC such as `XNYS` or `XNSE`, a name of "
        "exchange_calendars or pandas_market_calendars, or `24/7`.",
        examples=["XNYS"],
    )
    segment: Segment = Field(
        default="equity", description="Product, where an exchange's hours depend on it."
    )
    symbols: Symbols = Field(
        default="all",
        description="`all` that the data has, a list, or `{file: instruments.csv}` that has them; "
        "`column` names the one of several. What was [added or removed]"
        "(live.md#symbols-that-come-and-go) while a run went on holds beside it.",
    )
    companions: Mapping[str, Companion] = Field(
        default={},
        description="Symbol → another whose price is recorded with its signals, e.g. "
        "`{NIFTY: NIFTY30SEP25FUT}`. Unless it is among `symbols` too, it has no signals of its own. "
        "`{future: NIFTY, roll: expiry}`: each day the future of `instruments` that expires next; "
        "`roll: 3d`: used through the third trading day before its expiry.",
    )
    instruments: InstrumentsConfig = InstrumentsConfig()
    sessions: tuple[SessionConfig, ...] = Field(
        min_length=1,
        description="The windows whose levels are watched.",
        examples=['[{name: Opening, start: "09:30", end: "09:35"}]'],
    )
    breakout: BreakoutConfig = BreakoutConfig()
    data: DataConfig = DataConfig()
    feed: FeedConfig = FeedConfig()
    clock: ClockConfig = ClockConfig()
    upkeep: UpkeepConfig = UpkeepConfig()
    history: HistoryConfig = HistoryConfig()
    prefetch: PrefetchConfig = PrefetchConfig()
    day: DayConfig = DayConfig()
    calendar: CalendarConfig = CalendarConfig()
    scanners: tuple[ScannerConfig, ...] = Field(
        default=(),
        description="Scans, which look at the market before the open and in the day, and name symbols.",
    )
    sinks: tuple[SinkConfig, ...] = Field(default=(), description="Where signals are sent.")
    sinks_max_age: Allowance = Field(
        default=Duration(60 * values.UNITS_NS["s"]),
        description="Signals found in the past of a late start are sent when younger than this.",
    )
    backtest: BacktestConfig = BacktestConfig()
    store: StoreConfig = StoreConfig()
    snapshot: SnapshotConfig = SnapshotConfig()
    lease: LeaseConfig = LeaseConfig()
    supervision: SupervisionConfig = SupervisionConfig()
    web: WebConfig = WebConfig()
    log: LogConfig = LogConfig()

    @property
    def paired(self) -> Mapping[str, str]:
        """Companions that are the same on all days."""
        return {of: name for of, name in self.companions.items() if isinstance(name, str)}

    @property
    def futures(self) -> Mapping[str, values.Future]:
        """Companions that are another contract from time to time."""
        return {
            of: future
            for of, future in self.companions.items()
            if isinstance(future, values.Future)
        }

    def breakout_for(self, session: SessionConfig) -> BreakoutConfig:
        """The rules that hold for a session: `breakout`, with the session's own keys over it."""
        own = {key: value for key, value in session.breakout if value is not None}
        return self.breakout.model_copy(update=own)

    def pace(self) -> Pace:
        """How market time goes in a run that keeps its state."""
        pace = self.feed.pace()
        return replace(pace, wall=True) if self.by_the_wall else pace

    @property
    def by_the_wall(self) -> bool:
        """Whether the host's clock moves time."""
        return self.feed.type != "replay" and self.clock.time != "feed"

    def resolved(self, now: datetime) -> Config:
        """With what moves time said, where `clock.time` leaves it to the instant of the start."""
        if self.feed.type == "replay" or self.clock.time is not None:
            return self
        # A day's margin: a run that is about to end its last day, wherever it is, stays what it was.
        end = self.feed.end
        past = end is not None and now.astimezone(UTC).date() > end + timedelta(days=1)
        clock = self.clock.model_copy(update={"time": "feed" if past else "wall"})
        return self.model_copy(update={"clock": clock})

    def determining(self) -> dict[str, Any]:
        """The keys that determine the answers, as they take effect: all but DIGEST_LEAVES_OUT."""
        kept = self.model_dump(
            mode="json",
            exclude={key: True if of is None else set(of) for key, of in DIGEST_LEAVES_OUT.items()},
        )
        for section, keys in ONLY_WHERE_SET.items():
            given = getattr(self, section)
            for key in keys:
                if getattr(given, key) == type(given).model_fields[key].default:
                    del kept[section][key]
            if not kept[section]:
                del kept[section]
        for session, written in zip(self.sessions, kept["sessions"], strict=True):
            own = self.breakout_for(session)
            left_out = {
                key
                for key in ONLY_WHERE_SET["breakout"] - kept["breakout"].keys()
                if getattr(own, key) == BreakoutConfig.model_fields[key].default
            }
            written["breakout"] = own.model_dump(mode="json", exclude=left_out)
            if session.auction is None:
                del written["auction"]
        for scan, written in zip(self.scanners, kept["scanners"], strict=True):
            del written["worker"]
            if scan.catch_up is None:
                del written["catch_up"]
        if self.feed.type != "replay":
            whole = self.model_dump(mode="json", include={"feed", *OF_LIVE_DAYS})
            options = whole["feed"]["options"]
            decides = {key: options[key] for key in FEED_DECIDES & options.keys()}
            kept["feed"] = {"type": self.feed.type, "options": decides}
            for key in LIVE_FEED_DECIDES:
                if getattr(self.feed, key) != FeedConfig.model_fields[key].default:
                    kept["feed"][key] = whole["feed"][key]
            kept["feed"] |= self._row_rules()
            for section, keys in OF_LIVE_DAYS.items():
                kept[section] = {key: whole[section][key] for key in keys}
        elif self.data.order == "arrival" and (rules := self._row_rules()):
            kept["feed"] = rules
        for column in ("trade_id", "partial"):
            if kept["data"]["columns"][column] is None:
                del kept["data"]["columns"][column]
        del kept["clock"]["time"]
        if self.by_the_wall:
            kept["clock"]["time"] = "wall"
            for key in READ_AGAIN:
                kept["calendar"].pop(key, None)
        return kept

    def _row_rules(self) -> dict[str, str]:
        return {
            key: getattr(self.feed, key)
            for key in ROW_RULES
            if getattr(self.feed, key) != FeedConfig.model_fields[key].default
        }

    def with_determining(self, kept: Mapping[str, Any]) -> Config:
        """This one, but with other keys of those that determine the answers."""
        written: dict[str, Any] = self.model_dump(mode="json")
        for key in ROW_RULES:
            written["feed"][key] = FeedConfig.model_fields[key].default
        for key, value in kept.items():
            if key == "feed":
                at_default = {of: FeedConfig.model_fields[of].default for of in LIVE_FEED_DECIDES}
                kept_feed = {of: value.get(of, values.written(at_default[of])) for of in at_default}
                options = {**written[key]["options"], **value.get("options", {})}
                written[key] = {**written[key], **kept_feed, **value, "options": options}
                continue
            if key == "clock":
                live = self.feed.type != "replay"
                value = {**value, "time": value.get("time", "feed" if live else self.clock.time)}
            partly = DIGEST_LEAVES_OUT.get(key) is not None or key in {*OF_LIVE_DAYS, "calendar"}
            if partly:
                at_default = ONLY_WHERE_SET.get(key, frozenset()) - value.keys()
                if key == "calendar" and kept["clock"].get("time") == "wall":
                    at_default -= READ_AGAIN
                others = {name: of for name, of in written[key].items() if name not in at_default}
                value = {**others, **value}
            written[key] = value
        if _by_instruments(written):
            # The file may not be configured any more; what it said is kept with the days.
            written["instruments"]["file"] = written["instruments"]["file"] or "instruments"
        # They are kept as they take effect: with the common size of a tick, which is no key there.
        allowed = BreakoutOverrides.model_fields
        written["sessions"] = [
            {**of, "breakout": {k: v for k, v in of["breakout"].items() if k in allowed}}
            for of in written["sessions"]
        ]
        return Config.model_validate(written)

    def digest(self) -> str:
        """Hex digest of what determines the answers; equal for equal answers from equal input.

        Two ways to write the same configuration have the same digest.
        """
        text = json.dumps(
            self.determining(), sort_keys=True, ensure_ascii=True, separators=(",", ":")
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _contradictions(self) -> Iterator[Problem]:
        for key in ("sessions", "scanners"):
            names = [item.name for item in getattr(self, key)]
            for place, name in enumerate(names):
                if name in names[:place]:
                    first = names.index(name)
                    yield (key, place, "name"), f"{key}[{first}] has that name; write another"
        sessions = [session.name for session in self.sessions]
        for place, scan in enumerate(self.scanners):
            session = scan.options.get("session") if scan.type == "range_width" else None
            if isinstance(session, str) and session and session not in sessions:
                yield (
                    ("scanners", place, "options", "session"),
                    f"no session is called so; write one of {', '.join(sessions)}",
                )
        called = [sink.called for sink in self.sinks]
        for place, name in enumerate(called):
            if name in called[:place]:
                first = called.index(name)
                yield ("sinks", place, "name"), f"sinks[{first}] has that name; write another"
        if self.feed.type == "replay" and self.data.order == "time":
            for key in self._row_rules():
                yield (
                    ("feed", key),
                    "set data.order: arrival too; rows put in time order don't tell what came first",
                )
        if self.feed.dedupe == "trade_id" and self.data.kind == "bars":
            yield ("feed", "dedupe"), "write same or none; bars have no trade_id"
        if self.feed.on_partial == "drop" and self.data.kind == "ticks":
            yield ("feed", "on_partial"), "leave it out; ticks are never partial"
        if self.feed.revisions == "amend":
            yield from self._not_amended()
        for symbol, companion in self.companions.items():
            if symbol == companion:
                yield ("companions", symbol), "name another symbol; it is its own companion"
            if isinstance(companion, values.Future) and self.instruments.file is None:
                yield (
                    ("companions", symbol),
                    "set instruments.file too, which says when which future is traded",
                )
        if self.breakout.tick_size is None and self.instruments.file is None:
            needed = "set breakout.tick_size too, e.g. 0.05, or instruments.file"
            yield from _in_ticks(("breakout",), self.breakout, needed)
            for place, session in enumerate(self.sessions):
                yield from _in_ticks(("sessions", place, "breakout"), session.breakout, needed)
        yield from conditions.contradictions(self)

    def _not_amended(self) -> Iterator[Problem]:
        """Of what bars that come again can't take the place of earlier ones."""
        at = ("feed", "revisions")
        if self.data.kind == "ticks":
            yield at, "write freeze; ticks are not revised, each of them counts"
            return
        if self.feed.size_is == "day_total":
            yield (
                at,
                "write freeze, or feed.size_is: trade; of a day's total a revised bar has no part",
            )
        if self.data.interval.ns >= values.UNITS_NS["m"]:
            return
        asks = [self.breakout, *map(self.breakout_for, self.sessions)]
        if self.scanners or any(isinstance(of.volume, conditions.Volume) for of in asks):
            problem = (
                f"write freeze; what scans and breakout.volume see of bars of {self.data.interval} "
                "is made of whole minutes, in which no bar is replaced"
            )
            yield at, problem


def _in_ticks(
    where: tuple[str | int, ...], of: BreakoutConfig | BreakoutOverrides, needed: str
) -> Iterator[Problem]:
    """Keys that are written in ticks."""
    if of.buffer and of.buffer.unit == "ticks":
        yield (*where, "buffer"), needed
    if of.retest and of.retest.tolerance.unit == "ticks":
        yield (*where, "retest"), needed


def _by_instruments(written: Mapping[str, Any]) -> bool:
    """Whether a configuration that is written down needs a file of instruments."""
    rules = [of["breakout"] for of in (written, *written["sessions"])]
    widths = [of.get(key) for of in rules for key in ("buffer", "retest")]
    in_ticks = any("tick" in str(width) for width in widths)
    return (in_ticks and written["breakout"]["tick_size"] is None) or any(
        isinstance(companion, Mapping) for companion in written["companions"].values()
    )


class _SchemaGenerator(GenerateJsonSchema):
    def encode_default(self, dft: Any) -> Any:
        return super().encode_default(values.written(dft))  # else a Duration is {"ns": …}


def config_schema() -> dict[str, Any]:
    """The JSON schema of a configuration, for editors and programs."""
    schema = Config.model_json_schema(schema_generator=_SchemaGenerator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
