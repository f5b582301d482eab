"""Options of a WebSocket feed: what they are, and what is wrong with them in one line each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from openbell.adapters.feeds.entries import UNITS_NS
from openbell.adapters.feeds.frames import Path, Where
from openbell.adapters.feeds.socket_options import (
    KEY,
    Section,
    SomeSeconds,
    Transport,
    WebSocketUrl,
    checked,
)
from openbell.errors import ConfigError
from openbell.market.bars import BAR_COLUMNS, EXTRAS, TICK_COLUMNS, Kind

_SYMBOLS, _SYMBOL = "{symbols}", re.compile(r"\{symbol(?::(lower|upper))?\}")
_MEANT = re.compile(r"\{sy[a-z]*(?::[a-z]*)?\}", re.IGNORECASE)
"""What somebody wrote who wanted one of these."""


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


PathOf = Annotated[Path, BeforeValidator(_path)]
WhereOf = Annotated[Where, BeforeValidator(_where)]
Messages = Annotated[list[Any], BeforeValidator(_messages)]


class Ping(Section):
    """A message that the vendor wants to have again and again."""

    every: SomeSeconds
    message: dict[str, Any] | list[Any] | str


class Options(Transport):
    """`feed.options` of a WebSocket feed."""

    url: WebSocketUrl
    headers: Annotated[dict[str, str], AfterValidator(_is_header)] = Field(default_factory=dict)
    subscribe: Messages = Field(default_factory=list)
    """Sent in this order after each connection."""
    symbols_max: Annotated[int, Field(ge=1)] | None = None
    """How many symbols one message that subscribes may name; None: all."""
    ping: Ping | None = None
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
    symbols: Annotated[dict[str, str], BeforeValidator(_names)] = Field(default_factory=dict)
    """Our name → the vendor's, where they differ."""


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
    options = checked(Options, given, _EXAMPLES, {"ping": Ping})
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
    "message": "{op: ping}",
}


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
