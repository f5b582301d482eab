"""States in words, for people who look into a snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np

from openbell.market.days import DAY_NS, SECOND_NS
from openbell.messages.base import Message
from openbell.runtime.record.writing import market_time

ARRAY_SHOWN = 6
TEXT_SHOWN = 200


def in_words(value: Any, key: str = "") -> Iterator[str]:
    """Lines that say what a state holds; long columns are cut, and what is written only if it is set
    has no line while it is not."""
    lead = f"{key}: " if key else ""
    if _has_fields(value):
        yield f"{lead}{type(value).__name__}"
        names = (
            list(type(value).model_fields)
            if isinstance(value, Message)
            else [
                f.name
                for f in dataclasses.fields(value)
                if f.metadata.get("written") != "if set" or _is_set(getattr(value, f.name))
            ]
        )
        for name in names:
            for line in in_words(getattr(value, name), name):
                yield f"  {line}"
    elif isinstance(value, tuple) and any(map(_has_fields, value)):
        yield f"{lead}{len(value)}"
        for item in value:
            for line in in_words(item):
                yield f"  {line}"
    elif isinstance(value, np.ndarray):
        flat = value.reshape(-1)
        shown = ", ".join(str(v) for v in flat[:ARRAY_SHOWN].tolist())
        more = ", …" if flat.size > ARRAY_SHOWN else ""
        yield f"{lead}{' × '.join(map(str, value.shape))} {value.dtype}: {shown}{more}"
    elif key.endswith("_ns") and isinstance(value, int) and 0 < value < 2**62:
        # Instants and durations are written alike; the market data of 1970 is not at hand.
        is_long_ago = value < 366 * DAY_NS
        yield lead + (f"{value / SECOND_NS:,.10g} s" if is_long_ago else market_time(value))
    else:
        text = " ".join(str(value).splitlines())
        yield lead + (text if len(text) <= TEXT_SHOWN else text[:TEXT_SHOWN] + " …")


def _is_set(value: Any) -> bool:
    return value is not None and not (isinstance(value, tuple) and not value)


def _has_fields(value: Any) -> bool:
    return dataclasses.is_dataclass(value) or isinstance(value, Message)
