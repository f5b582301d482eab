"""How keys are written: the types of their values, and what all sections have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time
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
from pydantic_core import PydanticCustomError

from openbell.market.exchanges import canonical
from openbell.market.hours import RegularHours
from openbell.market.hours import Span as TradingSpan
from openbell.market.segments import PRODUCTS
from openbell.runtime.config import values
from openbell.runtime.config.values import Buffer, Duration, Rearm, Retest, SessionTime, Size

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
ExchangeName = Annotated[Text, AfterValidator(_exchange)]
SessionName = Annotated[Text, AfterValidator(_session_name)]
Namespace = Annotated[Text, AfterValidator(_namespace)]
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

Confirm = Literal["close", "touch"]
Check = Literal["continuous", "once"]
Sides = Literal["both", "high", "low"]
OnIncomplete = Literal["flag", "block"]
Direction = Literal["any", "first_bar"]


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

Problem = tuple[tuple[str | int, ...], str]
"""Where, and what is needed there."""


def days_in_order(start: date | None, end: date | None) -> Iterator[Problem]:
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
