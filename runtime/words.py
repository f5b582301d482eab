"""States in words, for people who look into a snapshot."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np

from openbell.messages.base import Message

ARRAY_SHOWN = 6


def in_words(value: Any, key: str = "") -> Iterator[str]:
    """Lines that say what a state holds; long columns are cut."""
    lead = f"{key}: " if key else ""
    if dataclasses.is_dataclass(value) or isinstance(value, Message):
        yield f"{lead}{type(value).__name__}"
        names = (
            list(type(value).model_fields)
            if isinstance(value, Message)
            else [f.name for f in dataclasses.fields(value)]
        )
        for name in names:
            for line in in_words(getattr(value, name), name):
                yield f"  {line}"
    elif isinstance(value, tuple) and any(dataclasses.is_dataclass(v) for v in value):
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
        at = datetime.fromtimestamp(value // 1_000_000_000, UTC)
        yield f"{lead}{at:%Y-%m-%dT%H:%M:%SZ}"
    else:
        text = str(value)
        yield lead + (text if len(text) <= 200 else text[:200] + " …")
