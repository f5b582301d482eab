"""What came with symbols into a day under way, as the journal keeps it where it can't be asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import date

import pyarrow as pa

from openbell.adapters.stores import JournalEntry
from openbell.adapters.unpacking import unpacked
from openbell.market.bars import RowBatch
from openbell.market.widening import rows_on
from openbell.messages.control import SymbolsChanged
from openbell.messages.time import Grant
from openbell.runtime.record.codec import Undecodable, decode, encode
from openbell.runtime.record.filled import with_one_price

INSERTED = "inserted"
"""What the names of such entries begin with; the step follows."""

_CODEC = pa.Codec("zstd", compression_level=1)
_LENGTH = 8


def entry(grant: Grant, of: date) -> JournalEntry | None:
    """What came with symbols with a step of a trading day; None: nothing, or it can be read again."""
    change = next((i for i in grant.inputs if isinstance(i, SymbolsChanged)), None)
    if change is None or change.data is None or not change.journaled:
        return None
    plain = encode(change)
    packed: bytes = _CODEC.compress(plain, asbytes=True)
    body = len(plain).to_bytes(_LENGTH, "big") + packed
    return JournalEntry(of, f"{INSERTED} {grant.step}", body)


def insertions(
    kept: Iterable[JournalEntry], counts: Callable[[int, date], bool]
) -> dict[int, SymbolsChanged]:
    """What came with symbols, by step.

    Parameters
    ----------
    counts : callable
        Whether a step of a trading day is still part of the run.

    Raises
    ------
    Undecodable
        If an entry is nothing that this program journaled.
    """
    found: dict[int, SymbolsChanged] = {}
    for item in kept:
        match item.name.split():
            case [kind, step] if kind == INSERTED and counts(int(step), item.trading_date):
                found[int(step)] = _read(item.body)
    return found


def rows_that_came(change: SymbolsChanged) -> RowBatch | None:
    """What history had of symbols that came into a day; of their companions it is there already."""
    if change.data is None or not isinstance(change.data.rows, RowBatch):
        return None
    return rows_on(change.data.rows, change.added)


def register_at(
    loaded: tuple[str, ...], changes: Mapping[int, SymbolsChanged], of: date, step: int
) -> tuple[str, ...]:
    """A day's register with a step, given the one that it was loaded for."""
    known = [at for at in sorted(changes) if at <= step and changes[at].date == of]
    return changes[known[-1]].symbols if known else loaded


def _read(body: bytes) -> SymbolsChanged:
    try:
        length = int.from_bytes(body[:_LENGTH], "big")
        found = decode(unpacked(body[_LENGTH:], length, "zstd"))
        assert isinstance(found, SymbolsChanged)
        data = found.data
        if data is not None and isinstance(data.rows, RowBatch) and data.rows.interval_ns is None:
            data = replace(data, rows=with_one_price(data.rows))
        return found.model_copy(update={"data": data})
    except Undecodable:
        raise
    except Exception as error:
        raise Undecodable(f"an entry of the journal can't be read: {error}") from error
