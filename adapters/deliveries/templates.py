"""Bodies that a user writes, with `{{field}}` where a signal's fields go."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import orjson

from openbell.adapters.deliveries.base import Message
from openbell.errors import ConfigError

Fields = Mapping[str, Any]

_PLACE = re.compile(r"\{\{\s*([A-Za-z_.]+)\s*\}\}")

ACTIONS = {"HIGH_BREAK": "buy", "LOW_BREAK": "sell"}
"""What alerts call a breakout, where nothing else is meant. What follows one is called by its kind: it
must not be taken for another."""

SAMPLE: Fields = {
    "id": "TEST:2024-07-01:Opening:TEST:HIGH_BREAK:1",
    "trading_date": "2024-07-01",
    "session": "Opening",
    "symbol": "TEST",
    "side": "HIGH_BREAK",
    "ts": "2024-07-01T13:36:00Z",
    "known_at": "2024-07-01T13:37:00Z",
    "price": 101.25,
    "level": 101.0,
    "companion": None,
    "gap": False,
    "ambiguous": False,
    "complete": True,
    "backfilled": False,
    "kind": "breakout",
    "of": None,
    "touched_at": "2024-07-01T13:36:00Z",
    "touch_excess": 0.25,
    "closed_beyond_at": "2024-07-01T13:36:00Z",
}
"""What a template is tried with, and what `openbell sinks test` sends."""


def test_message() -> Message:
    """What `openbell sinks test` sends: no signal, and says so."""
    fields = {**SAMPLE, "test": True}
    return Message(str(fields["id"]), orjson.dumps(fields))


def placeholders(fields: Fields) -> dict[str, Any]:
    """What may stand in a template: a signal's fields, and TradingView's names for them."""
    companion = fields.get("companion") or {}
    kind = fields.get("kind", "breakout")
    action = ACTIONS.get(fields["side"], fields["side"])
    return {
        # What a signal of before lacks is null.
        **{key: fields.get(key) for key in (*SAMPLE, *fields) if key != "companion"},
        "kind": kind,
        "companion.symbol": companion.get("symbol"),
        "companion.price": companion.get("price"),
        "companion.ts": companion.get("ts"),
        "exchange": str(fields["id"]).partition(":")[0],
        "ticker": fields["symbol"],
        "close": fields["price"],
        "time": fields["ts"],
        "action": action if kind == "breakout" else kind,
    }


def compiled(template: Any) -> Callable[[Fields], bytes]:
    """What makes the JSON of a signal by a template.

    A template is a mapping or list, in whose texts fields are put (`"{{price}}"` alone becomes a
    number), or the text of a JSON document, as TradingView's alerts have it.

    Raises
    ------
    ConfigError
        If it names a field that there is not, or gives no JSON.
    """
    known = placeholders(SAMPLE)
    for name in _named(template):
        if name not in known:
            near = get_close_matches(name, known, 1)
            advice = f"did you mean {{{{{near[0]}}}}}?" if near else f"it has {', '.join(known)}"
            raise ConfigError(f"options.body names {{{{{name}}}}}, which is unknown; {advice}")
    if isinstance(template, str):
        _check(_in_text(template, known))
        return lambda fields: orjson.dumps(orjson.loads(_in_text(template, placeholders(fields))))
    if not isinstance(template, Mapping | list | tuple):
        raise ConfigError("options.body is no template; write keys and values, or a JSON text")
    return lambda fields: orjson.dumps(_filled(template, placeholders(fields)))


def _check(text: str) -> None:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"options.body gives no JSON ({error}); correct it") from None


def _named(template: Any) -> list[str]:
    match template:
        case str():
            return _PLACE.findall(template)
        case Mapping():
            return [name for value in template.values() for name in _named(value)]
        case list() | tuple():
            return [name for value in template for name in _named(value)]
    return []


def _filled(template: Any, known: Mapping[str, Any]) -> Any:
    match template:
        case str():
            if alone := _PLACE.fullmatch(template.strip()):
                return known[alone[1]]
            return _PLACE.sub(lambda place: _plain(known[place[1]]), template)
        case Mapping():
            return {str(key): _filled(value, known) for key, value in template.items()}
        case list() | tuple():
            return [_filled(value, known) for value in template]
    return template


def _in_text(template: str, known: Mapping[str, Any]) -> str:
    """What a text is inside of quotes is escaped there, and numbers stand for themselves."""
    return _PLACE.sub(lambda place: _escaped(known[place[1]]), template)


def _escaped(value: Any) -> str:
    text = orjson.dumps(value).decode()
    return text[1:-1] if isinstance(value, str) else text


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
