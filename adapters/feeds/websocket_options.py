"""Options of a WebSocket feed: what they are, and what is wrong with them in one line each."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from openbell.adapters.feeds.entries import UNITS_NS
from openbell.adapters.feeds.frames import Path, Where
from openbell.adapters.secrets import has_secrets
from openbell.errors import ConfigError
from openbell.market.bars import BAR_COLUMNS, EXTRAS, TICK_COLUMNS, Kind

KEY = "feed.options"

_SPAN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h)\s*")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB)\s*")
_BYTES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}

_SYMBOLS, _SYMBOL = "{symbols}", re.compile(r"\{symbol(?::(lower|upper))?\}")
_MEANT = re.compile(r"\{sy[a-z]*(?::[a-z]*)?\}", re.IGNORECASE)
"""What somebody wrote who wanted one of these."""


def _seconds(given: Any) -> float:
    found = _SPAN.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError("write a length of time, e.g. 20s")
    return float(found[1]) * _SECONDS[found[2]]


def _size(given: Any) -> int:
    found = _SIZE.fullmatch(given) if isinstance(given, str) else None
    if found is None or float(found[1]) <= 0:
        raise ValueError("write a size above 0, e.g. 1MiB")
    return int(float(found[1]) * _BYTES[found[2]])


def _more_than_nothing(given: float) -> float:
    if given <= 0:
        raise ValueError("write more than nothing, e.g. 20s")
    return given


def _url(given: str) -> str:
    if has_secrets(given.partition("?")[0].partition("/")[0]):
        return given  # known once it is filled in
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"{error}; write e.g. wss://stream.example.com/v1") from None
    if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0:
        raise ValueError("write ws://… or wss://…, e.g. wss://stream.example.com/v1")
    return given


def _path(given: Any) -> Path:
    if isinstance(given, int) and not isinstance(given, bool):
        given = str(given)
    if not isinstance(given, str):
        raise ValueError("write names and places with dots between, e.g. data.0.p")  # noqa: TRY004
    return Path(given)


def _where(given: Any) -> Where:
    if not isinstance(given, Mapping) or not given:
        raise ValueError("write a path and the value that has to stand there, e.g. {T: t}")
    return Where.given(given)


def _messages(given: Any) -> list[Any]:
    messages = list(given) if isinstance(given, list | tuple) else [given]
    for message in messages:
        if not isinstance(message, dict | list | str) or not message:
            raise ValueError("write a message or a list of them, e.g. {op: subscribe}")
        for meant in _MEANT.findall(str(message)):
            if meant != _SYMBOLS and _SYMBOL.fullmatch(meant) is None:
                raise ValueError(f"write {{symbols}}, {{symbol}} or {{symbol:lower}}, not {meant}")
    return messages


def _names(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        raise ValueError("write your name and the vendor's, e.g. {BTCUSDT: btc-usdt}")  # noqa: TRY004
    names = {str(ours): str(theirs) for ours, theirs in given.items()}
    doubled = [theirs for theirs in names.values() if list(names.values()).count(theirs) > 1]
    if doubled:
        raise ValueError(f'"{doubled[0]}" stands for two symbols; name each once')
    return names


def _is_header(given: dict[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f'"{name}" is no name of a header')
        if not value.isprintable():
            raise ValueError(f"{name} has to stand on one line")
    return given


Seconds = Annotated[float, BeforeValidator(_seconds)]
SomeSeconds = Annotated[float, AfterValidator(_more_than_nothing), BeforeValidator(_seconds)]
Size = Annotated[int, BeforeValidator(_size)]
PathOf = Annotated[Path, BeforeValidator(_path)]
WhereOf = Annotated[Where, BeforeValidator(_where)]
Messages = Annotated[list[Any], BeforeValidator(_messages)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class Ping(_Section):
    """A message that the vendor wants to have again and again."""

    every: SomeSeconds
    message: dict[str, Any] | list[Any] | str


class Options(_Section):
    """`feed.options` of a WebSocket feed."""

    url: Annotated[str, AfterValidator(_url)]
    headers: Annotated[dict[str, str], AfterValidator(_is_header)] = {}
    subscribe: Messages = Field(default_factory=list)
    """Sent in this order after each connection."""
    symbols_max: Annotated[int, Field(ge=1)] | None = None
    """How many symbols one message that subscribes may name; None: all."""
    ping: Ping | None = None
    heartbeat: Seconds = 20.0
    """Between the protocol's own pings, and how long one may go unanswered; 0: there are none."""
    rows: PathOf | None = None
    where: WhereOf = Where()
    refused_login: WhereOf | None = None
    auth_codes: tuple[int, ...] = (3000, 3003, 4401, 4403)
    """Codes with which the vendor closes where it refuses a login."""
    fields: dict[str, PathOf]
    ts_unit: Literal["s", "ms", "us", "ns"] | None = None
    ts_format: str | None = None
    timezone: str | None = None
    bar_label: Literal["start", "end"] | None = None
    symbols: Annotated[dict[str, str], BeforeValidator(_names)] = {}
    """Our name → the vendor's, where they differ."""
    ca_file: FilePath | None = None
    compression: bool = True
    message_max: Size = 2**20
    buffer: Size = 64 * 2**20
    """How much may wait while the run is behind; beyond it messages are not kept, which is told."""
    open_timeout: SomeSeconds = 10.0
    pause_max: SomeSeconds = 30.0
    """Longest time between two attempts to connect."""


def options_of(given: Mapping[str, Any], kind: Kind, symbols: Sequence[str] = ()) -> Options:
    """Options as they are written.

    Parameters
    ----------
    symbols : sequence of str
        Those that are watched; none where they are not known.

    Raises
    ------
    ConfigError
        With one line a problem.
    """
    try:
        options = Options.model_validate(dict(given))
    except ValidationError as error:
        raise ConfigError("\n".join(dict.fromkeys(map(_line, error.errors())))) from None
    columns = TICK_COLUMNS if kind == "ticks" else BAR_COLUMNS
    known = ("symbol", "ts", *columns, *EXTRAS[kind], *(("closed",) if kind == "bars" else ()))
    problems = [
        f"{KEY}.fields.{name} is unknown; of {kind} there are {', '.join(known)}"
        for name in options.fields
        if name not in known
    ]
    problems += [
        f"{KEY}.fields.{name} is missing; name where it stands in a row, e.g. {name[0]}"
        for name in known
        if name not in (*options.fields, *_NOT_NEEDED)
    ]
    if symbols and (others := sorted(set(options.symbols) - set(symbols))):
        problems.append(
            f"{KEY}.symbols.{others[0]} is no symbol of this run; write your name first, then the "
            f"vendor's: {{{symbols[0]}: {options.symbols[others[0]]}}}"
        )
    if options.ts_format is not None and not problems:
        from openbell.adapters.sources.timetexts import compiled

        try:
            compiled(options.ts_format)
        except ValueError as error:
            problems.append(f'{KEY}.ts_format is "{options.ts_format}"; {error}')
    if options.timezone is not None:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(options.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            problems.append(
                f'{KEY}.timezone is "{options.timezone}"; write a zone, e.g. Asia/Kolkata'
            )
    if options.ca_file is not None:
        try:
            ssl.create_default_context(cafile=options.ca_file.expanduser())
        except OSError:  # one of ssl's is one too
            problems.append(
                f"{KEY}.ca_file: {options.ca_file} holds no certificates; name a file in PEM"
            )
    if problems:
        raise ConfigError("\n".join(problems))
    return options


_NOT_NEEDED = ("size", "volume", *EXTRAS["ticks"], *EXTRAS["bars"], "closed")

_EXAMPLES = {
    "url": "wss://stream.example.com/v1",
    "fields": "{symbol: S, ts: t, price: p}",
    "ts_unit": ", ".join(UNITS_NS),
    "ping": "{every: 20s, message: {op: ping}}",
    "headers": '{Authorization: "Bearer ${TOKEN}"}',
    "auth_codes": "[3000, 4401]",
    "symbols_max": "100",
    "compression": "true or false",
    "message": "{op: ping}",
}


def _line(error: Mapping[str, Any]) -> str:
    path = [str(of) for of in error["loc"]]
    at = ".".join([KEY, *path])
    if error["type"] == "extra_forbidden":
        of: type[BaseModel] = Ping if path[0] == "ping" else Options
        return f"{at} is unknown; there are {', '.join(of.model_fields)}"
    example = _EXAMPLES.get(path[-1])
    if error["type"] == "missing":
        return f"{at} is missing" + (f"; write e.g. {example}" if example else "")
    said = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] != "value_error" and (wanted := _EXAMPLES.get(path[0])):
        said = f"write e.g. {wanted}"
    # What stands there may be a secret.
    told = isinstance(error.get("input"), int | float | bool) or path[0] not in ("url", "headers")
    value = f" is {str(error.get('input'))[:60]!r}" if told else ""
    return f"{at}{value}; {said[:1].lower()}{said[1:]}"


def expanded(message: Any, symbols: Sequence[str], symbols_max: int | None = None) -> list[Any]:
    """A message for these symbols, by the vendor's names; several where one may not name all.

    `{symbols}` alone stands for the list of them, within a text for all with commas between. An item
    of a list with `{symbol}` in it is there once a symbol; so is the message, if it has `{symbol}`
    outside of a list. `{symbol:lower}` and `{symbol:upper}` spell it so.
    """
    if symbols_max is not None and len(symbols) > symbols_max and _names_some(message):
        starts = range(0, len(symbols), symbols_max)
        parts = [symbols[start : start + symbols_max] for start in starts]
        return [one for part in parts for one in expanded(message, part)]
    if _names_one(message):
        return [_with_one(_with_all(message, symbols), symbol) for symbol in symbols]
    return [_with_all(message, symbols)]


def _with_all(given: Any, symbols: Sequence[str]) -> Any:
    if isinstance(given, str):
        if given == _SYMBOLS:
            return list(symbols)
        return given.replace(_SYMBOLS, ",".join(symbols))
    if isinstance(given, dict):
        return {name: _with_all(of, symbols) for name, of in given.items()}
    if isinstance(given, list):
        made: list[Any] = []
        for item in given:
            if _names_one(item):
                made += [_with_one(_with_all(item, symbols), symbol) for symbol in symbols]
            else:
                made.append(_with_all(item, symbols))
        return made
    return given


def _names_some(given: Any) -> bool:
    """Whether symbols are named anywhere."""
    if isinstance(given, str):
        return _SYMBOLS in given or _SYMBOL.search(given) is not None
    if isinstance(given, dict | list):
        return any(map(_names_some, given.values() if isinstance(given, dict) else given))
    return False


def _names_one(given: Any) -> bool:
    """Whether a symbol is named outside of lists."""
    if isinstance(given, str):
        return _SYMBOL.search(given) is not None
    if isinstance(given, dict):
        return any(_names_one(of) for of in given.values())
    return False


def _with_one(given: Any, symbol: str) -> Any:
    if isinstance(given, str):
        return _SYMBOL.sub(lambda found: _spelled(symbol, found[1]), given)
    if isinstance(given, dict):
        return {name: _with_one(of, symbol) for name, of in given.items()}
    if isinstance(given, list):
        return [_with_one(of, symbol) for of in given]
    return given


def _spelled(symbol: str, how: str | None) -> str:
    return symbol.lower() if how == "lower" else symbol.upper() if how == "upper" else symbol
