"""Actors' states as bytes: msgpack, with columns as raw little-endian arrays, behind a crc32.

Stores keep them compressed with lz4: a tenth of the bytes, whose writing would take longer.

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
from zlib import crc32

import msgpack
import numpy as np
import pyarrow as pa

from openbell.adapters.unpacking import unpacked
from openbell.errors import StoreError
from openbell.messages.base import Message

SCHEMA = 1

_MODULES = (
    "market.arrivals",
    "market.bars",
    "market.breakouts",
    "market.conditions",
    "market.days",
    "market.derived",
    "market.followups",
    "market.history",
    "market.indicators",
    "market.levels",
    "market.results",
    "market.rules",
    "market.silence",
    "market.volumes",
    "market.windows",
    "messages.control",
    "messages.data",
    "messages.insertion",
    "messages.scan",
    "messages.session",
    "messages.signal",
    "messages.time",
    "actors.breakout",
    "actors.clock",
    "actors.day",
    "actors.keeper",
    "actors.prefetch",
    "actors.scanner",
    "actors.session",
    "actors.upkeep",
    "runtime.journal",
)

_PLACES = {"runtime.journal": "runtime.record.journal"}
"""Modules that lie elsewhere than their stored name says; stored names are for ever."""

_GONE = {"actors.day.State": ("heard_ns", "newest_ns")}
"""Fields that states of before have, and nobody needs."""

_TYPE, _ARRAY, _DATE, _SET, _MAP = "t", "a", "d", "s", "m"

_NUMBERS = "biuf"
"""Kinds of arrays that bytes alone can give back."""

_PLAIN = frozenset({type(None), bool, str, bytes, int, float})
"""What msgpack takes as it is. Subclasses are not meant: a StrEnum has a type of its own."""

_SEAL = 4
"""Bytes of the checksum. Flipped bits in a column would make another state, and no error."""

_COMPRESSED, _LENGTH = b"\xc1", 8
"""Before lz4, and the bytes of the length that it unpacks to; no msgpack begins so."""


class Undecodable(StoreError):
    """Bytes that no state can be made of."""


def encode(value: Any, *, compressed: bool = False) -> bytes:
    """A state as bytes; equal states give equal bytes, if their mappings have one order.

    Compressed it is for who keeps it: digests are made of the others.

    Raises
    ------
    TypeError
        If it holds something that is not known here, or that would come back as something else.
    """
    packed: bytes = msgpack.packb([SCHEMA, _packed(value)], use_bin_type=True)
    if compressed:
        shorter: bytes = pa.compress(packed, codec="lz4", asbytes=True)
        packed = _COMPRESSED + len(packed).to_bytes(_LENGTH, "little") + shorter
    return crc32(packed).to_bytes(_SEAL, "big") + packed


def decode(data: bytes) -> Any:
    """The state that `encode` was given; arrays are read-only.

    Raises
    ------
    Undecodable
        If the bytes are damaged, or of a newer program; the text, one line, says which.
    """
    packed: bytes | memoryview = memoryview(data)[_SEAL:]
    if int.from_bytes(data[:_SEAL], "big") != crc32(packed):
        raise Undecodable("damaged: it fails its checksum")
    try:
        if packed[:1] == _COMPRESSED:
            length = int.from_bytes(packed[1 : 1 + _LENGTH], "little")
            packed = unpacked(packed[1 + _LENGTH :], length, "lz4")
        schema, value = msgpack.unpackb(packed, raw=False, strict_map_key=False)
    except Exception as error:
        raise _unreadable(error) from error
    if type(schema) is not int or schema < 1:
        raise Undecodable(f"not a state of this program: its schema is {schema!r}")
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
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Undecodable:
    return Undecodable(f"not a state of this program: {' '.join(str(error).split())}")


def _packed(value: Any) -> Any:
    match value:
        case None | bool() | str() | bytes() | int() | float():
            return value
        case tuple() if type(value) is tuple:  # a named one has a type of its own
            if _PLAIN.issuperset(map(type, value)):  # names of symbols: most of what there is
                return value
            return [_packed(item) for item in value]
        case np.ndarray() if value.dtype.kind in _NUMBERS:
            little = np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False)
            return {_ARRAY: [little.dtype.str, list(value.shape), little.tobytes()]}
        case np.generic() if value.dtype.kind in _NUMBERS:
            return value.item()
        case date() if type(value) is date:  # a datetime is one too
            return {_DATE: value.isoformat()}
        case frozenset():
            return {_SET: sorted((_packed(item) for item in value), key=msgpack.packb)}
        case dict():
            return {_MAP: [[_packed(key), _packed(item)] for key, item in value.items()]}
    tag = _tags().get(type(value))
    if tag is None:
        raise TypeError(f"{type(value).__name__} is no part of a state")
    fields = {name: _packed(getattr(value, name)) for name in _kept_fields(tag)}
    for name, default in _left_out(tag):
        if fields[name] == default:
            del fields[name]
    return {_TYPE: [tag, fields]}


def _unpacked(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_unpacked(item) for item in value)
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "a":
            text, shape, raw = content
            array = np.frombuffer(raw, _numbers(text)).reshape(shape)
            if list(array.shape) != shape:  # -1 would have meant: whatever fits
                raise Undecodable(f"an array of shape {shape}")
            return array
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
                raise Undecodable(f"of a type that this program doesn't know, {tag!r}")
            gone = _GONE.get(tag, ())
            return known(**{n: _unpacked(item) for n, item in fields.items() if n not in gone})
    raise Undecodable(f"of an unknown kind {kind!r}")


def _numbers(text: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(text)
    if dtype.kind not in _NUMBERS or dtype.str != text:
        raise Undecodable(f"an array of {text!r}")
    return dtype


@cache
def _types() -> dict[str, type]:
    found: dict[str, type] = {}
    for name in _MODULES:
        module = importlib.import_module(f"openbell.{_PLACES.get(name, name)}")
        for item in vars(module).values():
            if (
                isinstance(item, type)
                and item.__module__ == module.__name__
                and (dataclasses.is_dataclass(item) or issubclass(item, Message))
            ):
                found[f"{name}.{item.__name__}"] = item
    return found


@cache
def _tags() -> dict[type, str]:
    return {kind: tag for tag, kind in _types().items()}


@cache
def _kept_fields(tag: str) -> tuple[str, ...]:
    """Fields that are kept; those marked `snapshot: False` are read again instead."""
    kind: Any = _types()[tag]
    if issubclass(kind, Message):
        return tuple(kind.model_fields)
    return tuple(
        field.name for field in dataclasses.fields(kind) if field.metadata.get("snapshot", True)
    )


@cache
def _left_out(tag: str) -> tuple[tuple[str, Any], ...]:
    """Fields that are kept only where they are set, with what they are else."""
    kind: Any = _types()[tag]
    if issubclass(kind, Message):
        return ()
    return tuple(
        (field.name, _packed(field.default))
        for field in dataclasses.fields(kind)
        if field.metadata.get("written") == "if set"
    )
