"""What a break has to pass to be a signal, as a configuration has it: volume, width, time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from openbell.runtime.config import values
from openbell.runtime.config.values import Composed, Duration, SessionTime, is_number

if TYPE_CHECKING:
    from openbell.runtime.config.model import Config, SessionConfig

None_ = Literal["none"]
NONE: None_ = "none"

PERIOD = "10d"
"""How far the average of a minute looks back, where nothing is said."""


@dataclass(frozen=True, slots=True)
class Volume(Composed):
    """How much has to trade in the bar that breaks."""

    times: float
    of: Literal["minute", "day"] = "minute"
    symbol: Literal["own", "companion"] = "own"
    period: str = PERIOD
    """Of `minute`: over which days."""

    @property
    def average(self) -> str:
        """The name of the indicator that has the averages of `minute`."""
        return f"volume_by_minute_{self.period}"

    def written(self) -> dict[str, Any]:
        given = {"times": self.times, "of": self.of, "symbol": self.symbol}
        return given | ({"period": self.period} if self.of == "minute" else {})

    def __str__(self) -> str:
        whose = "" if self.symbol == "own" else " of the companion"
        if self.of == "day":
            return f"{self.times:g} × the day's average so far{whose}"
        return f"{self.times:g} × the minute's average of {self.period}{whose}"


@dataclass(frozen=True, slots=True)
class Range(Composed):
    """A bound of a session's width."""

    amount: float
    unit: Literal["price", "percent", "times"] = "price"
    indicator: str = ""

    def written(self) -> object:
        match self.unit:
            case "price":
                return self.amount
            case "percent":
                return f"{values.decimal(self.amount)}%"
        return {"times": self.amount, "of": self.indicator}

    def __str__(self) -> str:
        if self.unit == "times":
            return f"{self.amount:g} × {self.indicator}"
        return values.decimal(self.amount) + ("%" if self.unit == "percent" else "")


@dataclass(frozen=True, slots=True)
class Validity(Composed):
    """Until when a break may be known: a time of the day, or so long after the session."""

    at: SessionTime | None = None
    after: Duration | None = None

    def written(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return str(self.at if self.at is not None else self.after)


_VOLUME = "{times: 1.5, of: minute}"
_VOLUME_WANTED = (
    f"write none, or e.g. {_VOLUME}; of is minute or day, symbol is own or companion, period is "
    'days or weeks, e.g. "14d"'
)


def parse_volume(given: Any) -> Volume | None_:
    """`none`, or `{times: 1.5, of: minute, symbol: own, period: 10d}`; only `times` is needed."""
    if isinstance(given, Volume):
        return given
    if given == NONE:
        return NONE
    if is_number(given):
        raise ValueError(f"write of what, e.g. {{times: {given:g}, of: minute}}")
    if not isinstance(given, Mapping):
        raise ValueError(_VOLUME_WANTED)  # noqa: TRY004 pydantic reports ValueErrors only
    _refuse_unknown(given, ("times", "of", "symbol", "period"), _VOLUME_WANTED)
    times = _times(given.get("times"), _VOLUME)
    of, symbol = given.get("of", "minute"), given.get("symbol", "own")
    if of not in ("minute", "day"):
        raise ValueError("of is the average that is meant; write minute or day")
    if symbol not in ("own", "companion"):
        raise ValueError("symbol says whose volume counts; write own or companion")
    if of == "day":
        if "period" in given:
            raise ValueError("leave out the period; the day's average is of its own bars so far")
        return Volume(times, of, symbol)
    return Volume(times, of, symbol, values.parse_period(given.get("period", PERIOD)))


def parse_range(given: Any, example: str) -> Range | None_:
    """`none`, a price, a share of the price, or `{times: 0.6, of: atr14}`."""
    if isinstance(given, Range):
        return given
    if given == NONE:
        return NONE
    wanted = (
        f'write none, a price, a percentage, or so many times an indicator, e.g. 0.5, "{example}" or '
        "{times: 0.6, of: atr14}"
    )
    if isinstance(given, Mapping):
        _refuse_unknown(given, ("times", "of"), wanted)
        of = given.get("of")
        if not isinstance(of, str) or not of.strip():
            raise ValueError("of names an indicator of history.indicators, e.g. atr14")
        return Range(_times(given.get("times"), "{times: 0.6, of: atr14}"), "times", of.strip())
    if is_number(given):
        if not 0 <= given < float("inf"):
            raise ValueError(wanted)
        return Range(float(given))
    match = values.BUFFER.fullmatch(given) if isinstance(given, str) else None
    if match is None or len(match[1]) > 30 or match[2].startswith("tick"):
        raise ValueError(wanted)
    return Range(float(match[1]), "percent" if match[2] else "price")


def parse_validity(given: Any) -> Validity | None_:
    """`none`, a time as a session's start, or a duration after the session."""
    if isinstance(given, Validity):
        return given
    if given == NONE:
        return NONE
    wanted = 'write none, a time, or how long after the session, e.g. "11:30", "close-30m" or "90m"'
    text = given.strip() if isinstance(given, str) else ""
    if values.DURATION.fullmatch(text):
        return Validity(after=values.parse_duration(text, example="90m", least_ns=1))
    if is_number(given) or values.BARE.fullmatch(text):
        raise ValueError('add the unit (s, m or h), e.g. "90m"; or write a time, "11:30"')
    if not re.match(r"[0-9]|open|close", text.lower()):
        raise ValueError(wanted)
    return Validity(at=values.parse_session_time(given))


def _refuse_unknown(given: Mapping[Any, Any], known: tuple[str, ...], wanted: str) -> None:
    for key in map(str, given):
        if key not in known:
            near = get_close_matches(key, known, n=1)
            meant = f"did you mean {near[0]}? " if near else ""
            raise ValueError(f"{key} is not a key of it; {meant}{wanted}")


def _times(given: Any, example: str) -> float:
    if isinstance(given, str) and re.fullmatch(values.NUMBER, given.strip()):
        given = float(given)
    if not is_number(given) or not 0 < given < float("inf"):
        raise ValueError(f"times is how many times the average; write a number, e.g. {example}")
    return float(given)


def _json(*any_of: dict[str, Any]) -> tuple[PlainSerializer, WithJsonSchema]:
    written = PlainSerializer(values.written, when_used="json")
    return written, WithJsonSchema({"anyOf": [{"const": "none"}, *any_of]})


_factor = {"type": "number", "exclusiveMinimum": 0}
_range_schema = (
    {"type": ["string", "number"]},
    {
        "type": "object",
        "properties": {"times": _factor, "of": {"type": "string"}},
        "required": ["times", "of"],
        "additionalProperties": False,
    },
)

VolumeNeeded = Annotated[
    Volume | None_,
    PlainValidator(parse_volume),
    *_json(
        {
            "type": "object",
            "properties": {
                "times": _factor,
                "of": {"enum": ["minute", "day"]},
                "symbol": {"enum": ["own", "companion"]},
                "period": {"type": "string", "pattern": "^[0-9]+[dw]$"},
            },
            "required": ["times"],
            "additionalProperties": False,
        }
    ),
]
RangeAtLeast = Annotated[
    Range | None_, PlainValidator(partial(parse_range, example="0.25%")), *_json(*_range_schema)
]
RangeAtMost = Annotated[
    Range | None_, PlainValidator(partial(parse_range, example="2%")), *_json(*_range_schema)
]
ValidUntil = Annotated[Validity | None_, PlainValidator(parse_validity), *_json({"type": "string"})]

KEYS = ("volume", "min_range", "max_range", "valid_until", "on_incomplete", "direction")
"""Of `breakout`, and of each session's."""

Problem = tuple[tuple[str | int, ...], str]


def contradictions(config: Config) -> Iterator[Problem]:
    """Conditions that nothing can pass, or that name what is not there."""
    told: set[Problem] = set()
    for place, session in enumerate(config.sessions):
        for problem in _of_session(config, session, place):
            if problem not in told:
                told.add(problem)
                yield problem


def _of_session(config: Config, session: SessionConfig, place: int) -> Iterator[Problem]:
    rules = config.breakout_for(session)

    def at(key: str) -> tuple[str | int, ...]:
        own = getattr(session.breakout, key) is not None
        return ("sessions", place, "breakout", key) if own else ("breakout", key)

    if isinstance(rules.volume, Volume):
        yield from _of_volume(config, rules.volume, at("volume"))
    for key in ("min_range", "max_range"):
        bound = getattr(rules, key)
        if isinstance(bound, Range) and bound.unit == "times":
            yield from _of_indicator(config, bound.indicator, at(key))
    least, most = rules.min_range, rules.max_range
    if isinstance(least, Range) and isinstance(most, Range):
        alike = (least.unit, least.indicator) == (most.unit, most.indicator)
        if alike and least.amount > most.amount:
            yield at("max_range"), f"write more than min_range, {least}; nothing is as wide as both"
    if isinstance(most, Range) and most.amount == 0:
        yield at("max_range"), "write more than 0, or none for no limit; no window is as narrow"
    until = rules.valid_until
    if isinstance(until, Validity) and until.at is not None and _is_over(until.at, session):
        yield (
            at("valid_until"),
            f'write a time after the session\'s end, "{session.end}"; nothing could break before',
        )


def _of_volume(config: Config, volume: Volume, where: tuple[str | int, ...]) -> Iterator[Problem]:
    if volume.symbol == "companion" and not config.companions:
        yield where, "set companions too, e.g. {NIFTY: NIFTY30SEP25FUT}, or write symbol: own"
    if volume.of == "minute" and volume.average in config.history.indicators:
        yield (
            ("history", "indicators", volume.average),
            "write another name; breakout.volume has an indicator of that name",
        )


def _of_indicator(config: Config, name: str, where: tuple[str | int, ...]) -> Iterator[Problem]:
    known = config.history.indicators
    if (found := known.get(name)) is None:
        near = get_close_matches(name, list(known), n=1)
        meant = f"did you mean {near[0]}" if near else "add it"
        example = f"{{{name}: {{type: average_true_range, period: 14d}}}}"
        yield where, f"history.indicators has no {name}; {meant}, e.g. {example}"
    elif found.granularity != "daily":
        yield where, f"name an indicator of granularity daily; {name} has a value for each minute"


def _is_over(until: SessionTime, session: SessionConfig) -> bool:
    """Whether a time lies before the session's end, as far as that can be told without a day."""
    start, end = session.start, session.end
    if start is None or end is None:  # an auction, whose times a day has
        return False
    if until.anchor != end.anchor:
        return False
    if until.anchor == "clock":
        return start.anchor == "clock" and start.wall <= until.wall <= end.wall
    return until.offset_ns <= end.offset_ns


def asks_for_history(config: Config) -> bool:
    """Whether a rule of breakouts needs to know of the days before."""
    for session in config.sessions:
        rules = config.breakout_for(session)
        if isinstance(rules.volume, Volume) and rules.volume.of == "minute":
            return True
        bounds = (rules.min_range, rules.max_range)
        if any(isinstance(bound, Range) and bound.unit == "times" for bound in bounds):
            return True
    return False
