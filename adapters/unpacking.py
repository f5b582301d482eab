"""Compressed bytes from outside, which say themselves how long they are when they are unpacked."""

from __future__ import annotations

import zlib

import pyarrow as pa

BYTES_MAX = 4 * 2**30
"""Nothing longer is unpacked: no store keeps as much in one value."""

_RATIOS = {"lz4": 255, "zstd": 2**15}
"""How many bytes a format can make of one at most."""

_SHORT = 2**17
"""A block of zstd; what is no longer may have been made of hardly anything."""


def unpacked(packed: bytes | memoryview, length: int, codec: str) -> bytes:
    """What was compressed with `lz4` or `zstd`.

    Raises
    ------
    ValueError, OSError, pa.ArrowException
        If it is no such thing, or says that it is longer than it can be. Room is made for no more.
    """
    if length > min(BYTES_MAX, _RATIOS[codec] * len(packed) + _SHORT):
        raise ValueError(f"{len(packed):,} bytes of {codec} are said to be {length:,}")
    plain: bytes = pa.decompress(packed, length, codec=codec, asbytes=True)
    return plain


def inflated(packed: bytes) -> bytes:
    """What was compressed with zlib.

    Raises
    ------
    zlib.error, ValueError
        If it is no such thing, or is longer than it may be.
    """
    made = zlib.decompressobj()
    plain = made.decompress(packed, BYTES_MAX)
    if not made.eof:
        raise ValueError(f"{len(packed):,} bytes of zlib are cut off, or too long unpacked")
    return plain
