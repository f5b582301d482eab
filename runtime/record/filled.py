"""What history had of a day under way, as the journal keeps it: files of today grow, and a vendor may
answer with something else the next time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date

import pyarrow as pa

from openbell.adapters.stores import JournalEntry
from openbell.adapters.unpacking import unpacked
from openbell.market.bars import RowBatch
from openbell.messages.control import Backfilled
from openbell.messages.time import Grant
from openbell.runtime.record.codec import Undecodable, decode, encode

FILLED = "filled"
"""What the names of such entries begin with; the step follows."""

_CODEC = pa.Codec("zstd", compression_level=1)
_LENGTH = 8


def entry(grant: Grant, of: date) -> JournalEntry | None:
    """What history brought with a step of a trading day; None: nothing."""
    brought = tuple(entered for entered in grant.inputs if isinstance(entered, Backfilled))
    if not brought:
        return None
    plain = encode(brought)
    packed: bytes = _CODEC.compress(plain, asbytes=True)
    body = len(plain).to_bytes(_LENGTH, "big") + packed
    return JournalEntry(of, f"{FILLED} {grant.step}", body, step=grant.step)


def fills(
    kept: Iterable[JournalEntry], counts: Callable[[int, date], bool]
) -> dict[int, tuple[Backfilled, ...]]:
    """What history brought, by step, in the order in which it entered.

    Parameters
    ----------
    counts : callable
        Whether a step of a trading day is wanted, and still part of the run.

    Raises
    ------
    Undecodable
        If an entry is nothing that this program journaled.
    """
    found: dict[int, tuple[Backfilled, ...]] = {}
    for item in kept:
        match item.name.split():
            case [kind, step] if kind == FILLED and counts(int(step), item.trading_date):
                found[int(step)] = _read(item.body)
    return found


def _read(body: bytes) -> tuple[Backfilled, ...]:
    try:
        length = int.from_bytes(body[:_LENGTH], "big")
        found = decode(unpacked(body[_LENGTH:], length, "zstd"))
        return tuple(
            filled.model_copy(update={"rows": with_one_price(filled.rows)}) for filled in found
        )
    except Undecodable:
        raise
    except Exception as error:
        raise Undecodable(f"an entry of the journal can't be read: {error}") from error


def with_one_price(rows: RowBatch) -> RowBatch:
    """Ticks as they were: their four prices are one array."""
    if rows.interval_ns is not None:
        return rows
    return RowBatch.ticks(
        rows.day, rows.symbols, rows.code, rows.ts, rows.close, rows.volume, by_time=rows.by_time
    ).known_at(rows.known)
