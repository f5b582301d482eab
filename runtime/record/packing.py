"""Columns of rows as few bytes: what follows from what stands before is left out.

Nothing is rounded: a column that would not come back bit by bit is kept as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

SCALES = tuple(10.0**places for places in range(9))
"""What a price is made a whole number with: as many places as quotes have."""

EXACT = 2.0**53
"""Beyond it not every whole number is a float64."""

Packed = list[Any]
"""As msgpack takes it."""


def pack_integers(values: Integers) -> Packed:
    """Integers that are near the one before: their common divisor, the first, and differences."""
    first = int(values[0]) if len(values) else 0
    steps = np.diff(values)
    divisor = int(np.gcd.reduce(steps)) or 1 if len(steps) else 1
    steps //= divisor
    # 0, -1, 1, -2, … become 0, 1, 2, 3, …: what is near 0 has high bytes of 0.
    unsigned = ((steps << 1) ^ (steps >> 63)).view(np.uint64)
    width = _width(int(unsigned.max()) if len(unsigned) else 0)
    return [first, divisor, width, split(unsigned.astype(f"<u{width}"))]


def unpack_integers(packed: Packed) -> Integers:
    """What `pack_integers` was given; of nothing it makes one 0."""
    first, divisor, width, data = packed
    unsigned = whole(data, f"<u{width}").astype(np.uint64)
    steps = (unsigned >> np.uint64(1)).view(np.int64) ^ -(unsigned & np.uint64(1)).view(np.int64)
    return np.cumsum(np.concatenate([[first], steps * divisor]), dtype=np.int64)


def pack_numbers(values: NDArray[np.float64]) -> Packed:
    """Prices or volumes, as whole numbers of the smallest unit that they have."""
    for scale in SCALES:
        scaled = np.rint(values * scale)
        if not np.isfinite(scaled).all() or np.abs(scaled).max(initial=0.0) >= EXACT:
            break
        units = scaled.astype(np.int64)  # which have no -0.0
        if np.array_equal((units / scale).view(np.int64), values.view(np.int64)):
            return [scale, pack_integers(units)]
    return [0.0, split(values.astype("<f8"))]


def unpack_numbers(packed: Packed) -> NDArray[np.float64]:
    """What `pack_numbers` was given; of nothing it may make one 0."""
    scale, content = packed
    if not scale:
        return whole(content, "<f8")
    found: NDArray[np.float64] = unpack_integers(content) / scale
    return found


def split(column: NDArray[Any]) -> bytes:
    """All first bytes, then all second ones: like stands beside like, which packs better."""
    return column.view(np.uint8).reshape(len(column), column.itemsize).T.tobytes()


def whole(data: bytes, dtype: str) -> NDArray[Any]:
    """What `split` was given."""
    width = np.dtype(dtype).itemsize
    together = np.frombuffer(data, np.uint8).reshape(width, -1).T
    return np.ascontiguousarray(together).view(dtype).reshape(-1)


def _width(most: int) -> int:
    return next(width for width in (1, 2, 4, 8) if most < 256**width)
