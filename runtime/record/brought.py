"""What steps brought to their day's results, as the journal keeps it where rows come from a feed.

A day's files and tables hold all that its steps brought. Who goes on in mid-day takes what the steps
before brought from here, and need not run them again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

import msgpack
import pyarrow as pa

from openbell.actors.effects import Commit
from openbell.adapters.stores import JournalEntry
from openbell.adapters.unpacking import unpacked
from openbell.runtime.record.codec import Undecodable, decode, encode

BROUGHT = "brought"
"""What the names of such entries begin with; the first of their steps follows."""

_FIELDS = (
    "documents",
    "signals",
    "bars",
    "quality",
    "indicators",
    "without_data",
    "opened",
    "closed",
    "bars_again",
    "register",
    "scans",
)
"""What of a commit belongs to a day's results; an older entry lacks the last ones."""

_CODEC = pa.Codec("zstd", compression_level=1)
_LENGTH = 8


def entry(of: date, commits: Iterable[Commit]) -> JournalEntry | None:
    """What some steps of a trading day brought, oldest first; None: nothing."""
    brought = [commit for commit in commits if any(getattr(commit, name) for name in _FIELDS)]
    if not brought:
        return None
    encoded = [
        encode((commit.number, commit.step, *(getattr(commit, name) for name in _FIELDS)))
        for commit in brought
    ]
    return _entry(of, brought[0].step, brought[-1].step, encoded)


def joined(entries: Sequence[JournalEntry]) -> JournalEntry:
    """One entry in place of several of a day, oldest first.

    Raises
    ------
    Undecodable
        If one is nothing that this program journaled.
    """
    encoded = [part for item in entries for part in _parts(item.body)]
    first, last = entries[0].name.split()[1], entries[-1].step
    assert last is not None, "they have the step that they came with"
    return _entry(entries[0].trading_date, int(first), last, encoded)


def commits(entries: Iterable[JournalEntry], until: int) -> list[Commit]:
    """What steps up to one brought, oldest first, without their transitions.

    Raises
    ------
    Undecodable
        If an entry is nothing that this program journaled.
    """
    found: dict[int, Commit] = {}
    for item in entries:
        for part in _parts(item.body):
            try:
                number, step, *fields = decode(part)
                if step <= until:
                    found[step] = Commit(number, step, **dict(zip(_FIELDS, fields, strict=False)))
            except (TypeError, ValueError) as error:
                raise _unreadable(error) from error
    return [found[step] for step in sorted(found)]


def _entry(of: date, first: int, last: int, encoded: list[bytes]) -> JournalEntry:
    plain = msgpack.packb(encoded, use_bin_type=True)
    packed: bytes = _CODEC.compress(plain, asbytes=True)
    body = len(plain).to_bytes(_LENGTH, "big") + packed
    return JournalEntry(of, f"{BROUGHT} {first}", body, step=last)


def _parts(body: bytes) -> list[bytes]:
    try:
        length = int.from_bytes(body[:_LENGTH], "big")
        parts: list[bytes] = msgpack.unpackb(unpacked(body[_LENGTH:], length, "zstd"))
        if not all(isinstance(part, bytes) for part in parts):
            raise TypeError("a part is no bytes")
        return parts
    except Exception as error:
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> Undecodable:
    return Undecodable(f"an entry of the journal can't be read: {error}")
