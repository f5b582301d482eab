"""Steps of one trading day that follow each other, as stores keep them: one entry, by columns.

A step of its own took some 190 bytes. Entries that are alike in length stand as a matrix, byte
beside byte of the same place: what they share is compressed to nothing, and what stays are the
digest of each step and the few bytes in which its instant differs from the one before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from zlib import crc32

import msgpack
import numpy as np
import pyarrow as pa

from openbell.adapters.stores.base import Step
from openbell.adapters.unpacking import unpacked
from openbell.market.days import MarketTime

STEPS = 8192
"""Of one entry at most: a reader that wants one step unpacks all of its entry."""

_CODEC = pa.Codec("zstd", compression_level=1)
_SMALL = 512
"""Bytes up to which compression costs more time than it saves room."""
_LENGTH = 4

Row = tuple[int, int, int, bytes, bytes, str, int]
"""Last and first number, the last step's market_ns, all steps packed, the last one's digest,
trading_date, crc."""


def rows(steps: Sequence[Step]) -> Iterator[Row]:
    """Entries for steps that follow each other, oldest first; each is of one trading day."""
    for _, of_day in groupby(steps, lambda step: step.trading_date):
        together = list(of_day)
        for begin in range(0, len(together), STEPS):
            yield _row(together[begin : begin + STEPS])


def row_crc(row: Row) -> int:
    """The checksum of an entry, its own left out."""
    last, first, market_ns, packed, digest, day, _ = row
    crc = crc32(b"%d-%d %d %d:" % (first, last, market_ns, len(packed)))
    return crc32(digest, crc32(day.encode(), crc32(packed, crc)))


def pack(steps: Sequence[Step]) -> bytes:
    """Instants, grants and digests of some steps."""
    instants = [step.market_ns.to_bytes(8, "big", signed=True) for step in steps]
    parts = (instants, [step.grant for step in steps], [step.digest for step in steps])
    plain: bytes = msgpack.packb([_columns(part) for part in parts], use_bin_type=True)
    if len(plain) <= _SMALL:
        return b"\0" + plain
    packed: bytes = _CODEC.compress(plain, asbytes=True)
    return b"\1" + len(plain).to_bytes(_LENGTH, "big") + packed


def unpack(packed: bytes) -> tuple[list[MarketTime], list[bytes], list[bytes]]:
    """Instants, grants and digests that `pack` was given.

    Raises
    ------
    ValueError, TypeError, IndexError, pa.ArrowException, OSError, msgpack.UnpackException
        If it is nothing that was packed.
    """
    plain = packed[1:]
    if packed[0]:
        length = int.from_bytes(plain[:_LENGTH], "big")
        plain = unpacked(plain[_LENGTH:], length, "zstd")
    instants, grants, digests = map(_values, msgpack.unpackb(plain))
    at = [MarketTime(int.from_bytes(ns, "big", signed=True)) for ns in instants]
    return at, grants, digests


def _row(steps: Sequence[Step]) -> Row:
    last = steps[-1]
    row = (
        last.number,
        steps[0].number,
        last.market_ns,
        pack(steps),
        last.digest,
        last.trading_date.isoformat(),
        0,
    )
    return (*row[:-1], row_crc(row))


def _columns(values: Sequence[bytes]) -> list[bytes]:
    """The lengths of all, then those of each length together, turned: first bytes, second bytes, …"""
    lengths = np.fromiter(map(len, values), "<u4", len(values))
    same: dict[int, list[bytes]] = {}
    for value in values:
        same.setdefault(len(value), []).append(value)
    turned = b"".join(_turned(b"".join(same[length]), length) for length in sorted(same))
    return [_turned(lengths.tobytes(), 4), turned]


def _values(columns: list[bytes]) -> list[bytes]:
    lengths = np.frombuffer(_turned(columns[0], len(columns[0]) // 4), "<u4").tolist()
    same: dict[int, Iterator[bytes]] = {}
    begin = 0
    for length in sorted(set(lengths)):
        count = lengths.count(length)
        end = begin + length * count
        whole = _turned(columns[1][begin:end], count)
        if len(whole) != length * count:
            raise ValueError("steps are lacking")
        same[length] = iter([whole[at : at + length] for at in range(0, len(whole), length or 1)])
        if not length:
            same[length] = iter([b""] * count)
        begin = end
    return [next(same[length]) for length in lengths]


def _turned(data: bytes, width: int) -> bytes:
    """A matrix of bytes, rows of some width, by columns."""
    if not data:
        return b""
    return np.frombuffer(data, np.uint8).reshape(-1, width).T.tobytes()
