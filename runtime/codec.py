"""Actors' states as bytes: msgpack, with columns as raw little-endian arrays.

Only types that are known here are read back, so that a store that others can write to executes
nothing. A dataclass or message is written with its name and fields; a field that is missing when
it is read has its default, one that is unknown is an error. `SCHEMA` counts changes that this
does not cover.
"""

from __future__ import annotations

import dataclasses
import importlib
from datetime import date
from functools import cache
from typing import Any

import msgpack
import numpy as np

from openbell.errors import StoreError
from openbell.messages.base import Message

SCHEMA = 1

_MODULES = (
    "market.bars",
    "market.breakouts",
    "market.days",
    "market.derived",
    "market.history",
    "market.indicators",
    "market.levels",
    "market.results",
    "market.windows",
    "messages.control",
    "messages.data",
    "messages.session",
    "messages.signal",
    "messages.time",
    "actors.breakout",
    "actors.clock",
    "actors.day",
    "actors.keeper",
    "actors.prefetch",
    "actors.session",
    "actors.upkeep",
)

_TYPE, _ARRAY, _DATE, _SET, _MAP = "t", "a", "d", "s", "m"


class Undecodable(StoreError):
    """Bytes that no state can be made of."""


def encode(value: Any) -> bytes:
    """A state as bytes; equal states give equal bytes.

    Raises
    ------
    TypeError
        If it holds something that is not known here.
    """
    packed: bytes = msgpack.packb([SCHEMA, _packed(value)], use_bin_type=True)
    return packed


def decode(data: bytes) -> Any:
    """The state that `encode` was given; arrays are read-only.

    Raises
    ------
    Undecodable
        If the bytes are damaged, or of a newer program; the text says which.
    """
    try:
        schema, value = msgpack.unpackb(data, raw=False, strict_map_key=False)
    except Exception as error:
        raise Undecodable(f"not a state: {error}") from error
    if schema > SCHEMA:
        raise Undecodable(
            f"written with schema {schema}, this program reads up to {SCHEMA}; "
            "use the openbell that wrote it, or a newer one"
        )
    try:
        return _unpacked(value)
    except Undecodable:
        raise
    except Exception as error:
        raise Undecodable(f"not a state of this program: {error}") from error


def _packed(value: Any) -> Any:
    match value:
        case None | bool() | str() | bytes() | int() | float():
            return value
        case tuple() | list():
            return [_packed(item) for item in value]
        case np.ndarray():
            little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
            return {_ARRAY: [little.dtype.str, list(value.shape), little.tobytes()]}
        case np.generic():
            return value.item()
        case date():
            return {_DATE: value.isoformat()}
        case frozenset():
            return {_SET: sorted(_packed(item) for item in value)}
        case dict():
            return {_MAP: [[_packed(key), _packed(item)] for key, item in value.items()]}
    tag = f"{type(value).__module__.removeprefix('openbell.')}.{type(value).__name__}"
    if _types().get(tag) is not type(value):
        raise TypeError(f"{type(value).__name__} is no part of a state")
    fields = {name: _packed(getattr(value, name)) for name in _kept_fields(tag)}
    return {_TYPE: [tag, fields]}


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(item) for item in value)
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "a":
            dtype, shape, raw = content
            return np.frombuffer(raw, np.dtype(dtype)).reshape(shape)
        case "d":
            return date.fromisoformat(content)
        case "s":
            return frozenset(_unpacked(item) for item in content)
        case "m":
            return {_unpacked(key): _unpacked(item) for key, item in content}
        case "t":
            tag, fields = content
            known = _types().get(tag)
            if known is None:
                raise Undecodable(f"of a type that this program doesn't know, {tag}")
            return known(**{name: _unpacked(item) for name, item in fields.items()})
    raise Undecodable(f"of an unknown kind {kind!r}")


@cache
def _types() -> dict[str, type]:
    found: dict[str, type] = {}
    for name in _MODULES:
        module = importlib.import_module(f"openbell.{name}")
        for item in vars(module).values():
            if (
                isinstance(item, type)
                and item.__module__ == module.__name__
                and (dataclasses.is_dataclass(item) or issubclass(item, Message))
            ):
                found[f"{name}.{item.__name__}"] = item
    return found


@cache
def _kept_fields(tag: str) -> tuple[str, ...]:
    """Fields that are kept; those marked `snapshot: False` are read again instead."""
    kind: Any = _types()[tag]
    if issubclass(kind, Message):
        return tuple(kind.model_fields)
    return tuple(
        field.name for field in dataclasses.fields(kind) if field.metadata.get("snapshot", True)
    )
