"""Kite's binary messages as columns.

A message is big-endian: how many packets, then each with its length before it. The length tells
what a packet holds: 8 the last price, 28 and 32 an index, 44 a quote, 184 a quote with times, open
interest and depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from openbell.adapters.feeds.entries import Refuse
from openbell.adapters.feeds.waiting import Frame
from openbell.market.bars import Mask, Prices
from openbell.market.days import Nanoseconds

SECOND_NS = 1_000_000_000

INDEX = (28, 32)
QUOTE = (44, 184)
LENGTHS = (8, *INDEX, *QUOTE)

_DIVISORS = {3: 1e7, 6: 1e4, 12: 1e4}
"""Of prices, by the segment that the last byte of a token names: currencies have more decimals."""

_INDICES = 9


@dataclass(frozen=True, eq=False)
class Packets:
    """Packets in the order in which they came; arrays of length n."""

    message: NDArray[np.int64]
    """Number of the message that held it."""
    number: NDArray[np.int64]
    """Of the packet within it, from 1."""
    token: NDArray[np.int64]
    length: NDArray[np.int64]
    price: Prices
    """The last one; 0 before the first trade."""
    volume: Prices
    """Traded since the day began; 0 where a packet does not tell it."""
    traded_ns: Nanoseconds
    """Time of the last trade, ns UTC in whole seconds; 0: there was none, or it is not told."""
    sent_ns: Nanoseconds
    """The exchange's time of the packet, likewise."""
    came_ns: Nanoseconds
    """When the message came, by this host's clock."""

    def __len__(self) -> int:
        return len(self.token)

    @property
    def untraded(self) -> Mask:
        """Which tell of an instrument without a trade or a value so far."""
        timed = np.isin(self.length, (32, 184))
        when = np.where(self.length == 184, self.traded_ns, self.sent_ns)
        found: Mask = (self.price == 0) | (timed & (when == 0))
        return found


def packets(frames: Sequence[Frame], source: str, refuse: Refuse) -> Packets:
    """What messages hold; a message that is cut counts up to there, and is refused."""
    bodies: list[bytes] = []
    starts: list[NDArray[np.int64]] = []
    lengths: list[NDArray[np.int64]] = []
    counts, numbers, came = [], [], []
    base = 0
    for frame in frames:
        start, length, wrong = _split(frame.body)
        if wrong:
            refuse("a message is cut", f"{source} message {frame.number}", wrong)
        bodies.append(frame.body)
        starts.append(start + base)
        lengths.append(length)
        counts.append(len(start))
        numbers.append(frame.number)
        came.append(frame.came_ns)
        base += len(frame.body)
    if not bodies:
        return _none()
    count = np.array(counts, np.int64)
    message = np.array(numbers, np.int64).repeat(count)
    number = np.arange(len(message)) - (count.cumsum() - count).repeat(count) + 1
    came_ns = np.array(came, np.int64).repeat(count)
    start, length = np.concatenate(starts), np.concatenate(lengths)
    good = np.isin(length, LENGTHS)
    for n in np.flatnonzero(~good).tolist():
        refuse(
            "a packet is of an unknown length",
            f"{source} message {message[n]}, packet {number[n]}",
            f"it has {length[n]} bytes; known are {', '.join(map(str, LENGTHS))}",
        )
    if not good.all():
        message, number, came_ns = message[good], number[good], came_ns[good]
        start, length = start[good], length[good]
    raw = np.frombuffer(b"".join(bodies), np.uint8)

    def u32(at: int, of: Mask | None = None) -> NDArray[np.int64]:
        """The whole number at a byte of each packet; 0 of those that are not asked for."""
        first = start + at if of is None else start[of] + at
        found = np.zeros(len(first), np.int64)
        for n in range(4):
            found = (found << 8) | raw[first + n]
        if of is None:
            return found
        whole = np.zeros(len(start), np.int64)
        whole[of] = found
        return whole

    token = u32(0)
    full, index = length == 184, length == 32
    sent = u32(60, full) + u32(28, index)
    return Packets(
        message=message,
        number=number,
        token=token,
        length=length,
        price=u32(4) / divisors(token),
        volume=u32(16, np.isin(length, QUOTE)).astype(np.float64),
        traded_ns=u32(44, full) * SECOND_NS,
        sent_ns=sent * SECOND_NS,
        came_ns=came_ns,
    )


def divisors(token: NDArray[np.int64]) -> Prices:
    """What whole numbers of prices are divided by."""
    segment = token & 0xFF
    found = np.full(len(token), 100.0)
    for of, divisor in _DIVISORS.items():
        found[segment == of] = divisor
    return found


def _split(body: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64], str]:
    """Where packets start, how long they are, and what is wrong with the message."""
    size = len(body)
    none = np.empty(0, np.int64)
    if size < 2:
        return none, none, ""  # a heartbeat
    count = int.from_bytes(body[:2], "big")
    if not count:
        return none, none, "" if size == 2 else f"{size} bytes, and no packet"
    stride, left = divmod(size - 2, count)
    if left == 0 and stride > 2:  # all alike, as where all are asked for in one mode
        told = np.ndarray((count,), np.dtype(">u2"), body, 2, (stride,))
        if (told == stride - 2).all():
            return np.arange(count, dtype=np.int64) * stride + 4, told.astype(np.int64), ""
    starts: list[int] = []
    lengths: list[int] = []
    at = 2
    for n in range(count):
        length = int.from_bytes(body[at : at + 2], "big")
        if at + 2 + length > size:
            wrong = f"{size} bytes end in packet {n + 1} of {count}"
            return np.array(starts, np.int64), np.array(lengths, np.int64), wrong
        starts.append(at + 2)
        lengths.append(length)
        at += 2 + length
    wrong = "" if at == size else f"{size - at} bytes follow its {count} packets"
    return np.array(starts, np.int64), np.array(lengths, np.int64), wrong


def _none() -> Packets:
    whole, real = np.empty(0, np.int64), np.empty(0)
    return Packets(whole, whole, whole, whole, real, real, whole, whole, whole)
