"""Signals and session documents as stores keep them: raw columns, compressed with lz4.

Making their JSON takes many times as long as finding them, and most of it nobody ever reads; so it
is made on reading. What is kept is `MAGIC`, the length of what follows when it is unpacked, and
lz4 of msgpack: what is one for all rows, then each column's little-endian bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import date
from itertools import islice
from typing import Any

import msgpack
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from openbell.adapters.jsonlines import document_lines, escaped_ids, signal_lines
from openbell.adapters.stores.base import SignalRows, Signals, StoredSignal
from openbell.adapters.tables import signal_ids, signals_at
from openbell.adapters.unpacking import unpacked
from openbell.market.conditions import CONDITIONS
from openbell.market.kinds import KINDS
from openbell.market.results import SIDES, Levels, SessionDocument, SignalBatch

MAGIC = b"\x04"
"""No JSON begins so, nor the zlib of signals before version 4."""

_BEGINNING = struct.Struct("<cQ")

_SIGNAL_COLUMNS = {
    "session": "<i4",
    "symbol": "<i4",
    "side": "|i1",
    "number": "<i4",
    "ts": "<i8",
    "known_at": "<i8",
    "price": "<f8",
    "level": "<f8",
    "companion": "<i4",
    "companion_price": "<f8",
    "companion_ts": "<i8",
    "gap": "|b1",
    "ambiguous": "|b1",
    "complete": "|b1",
    "backfilled": "|b1",
}

_MORE_COLUMNS = {
    "kind": "|i1",
    "touched_at": "<i8",
    "touch_excess": "<f8",
    "closed_beyond_at": "<i8",
    "rules": "<i2",
}
"""Those that a batch may not have: which it has stands in the header, where older ones have nothing."""

_LEVEL_COLUMNS = {
    "high": "<f8",
    "low": "<f8",
    "count": "<i8",
    "first_ts": "<i8",
    "last_ts": "<i8",
    "complete": "|b1",
}

_DOCUMENT_FIELDS = tuple(
    field.name for field in fields(SessionDocument) if field.name not in ("trading_date", "levels")
)

UNREADABLE = (
    *(TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError),
    *(struct.error, pa.ArrowException, OSError),
)
"""What bytes raise that `pack_signals` and `pack_document` didn't make."""


def pack_signals(batch: SignalBatch) -> bytes:
    """The batch, with those of its sessions and symbols only that its rows have."""
    own = _with_own_names(batch)
    more = [name for name in _MORE_COLUMNS if getattr(own, name) is not None]
    header: list[Any] = [own.exchange, own.trading_date.isoformat(), own.sessions, own.symbols]
    return _packed([*header, more], own, _SIGNAL_COLUMNS | {n: _MORE_COLUMNS[n] for n in more})


def unpack_signals(packed: bytes) -> SignalBatch:
    """
    Raises
    ------
    UNREADABLE
    """
    (exchange, day, sessions, symbols, *_), columns = _unpacked(
        packed,
        lambda header: _SIGNAL_COLUMNS | {n: _MORE_COLUMNS[n] for of in header[4:] for n in of},
    )
    batch = SignalBatch(
        exchange, date.fromisoformat(day), tuple(sessions), tuple(symbols), **columns
    )
    _check(batch)
    return batch


def _check(batch: SignalBatch) -> None:
    """
    Raises
    ------
    ValueError
        If no texts can be made of it.
    """
    names = (batch.exchange, *batch.sessions, *batch.symbols)
    if not all(isinstance(name, str) for name in names):
        raise ValueError("a name is no text")
    columns = [getattr(batch, name) for name in (*_SIGNAL_COLUMNS, *_MORE_COLUMNS)]
    if any(column is not None and len(column) != len(batch) for column in columns):
        raise ValueError("columns of several lengths")
    for codes, least, most in (
        (batch.session, 0, len(batch.sessions)),
        (batch.symbol, 0, len(batch.symbols)),
        (batch.side, 0, len(SIDES)),
        (batch.kinds, 0, len(KINDS)),
        (batch.companion, -1, len(batch.symbols)),
        (batch.filled("rules"), 0, 1 << len(CONDITIONS)),
    ):
        if len(codes) and not least <= codes.min() <= codes.max() < most:
            raise ValueError("a code stands for nothing")


def signal_rows(batch: SignalBatch) -> SignalRows:
    """A batch as texts; each body is a signal's JSON."""
    ids = signal_ids(batch)
    lines = b"".join(signal_lines(batch, escaped_ids(batch, ids)))
    return SignalRows(
        trading_date=batch.trading_date,
        ids=ids.to_pylist(),
        sessions=[batch.sessions[place] for place in batch.session.tolist()],
        symbols=[batch.symbols[place] for place in batch.symbol.tolist()],
        bodies=lines.splitlines(),
    )


def selected(
    signals: Signals,
    skipped: int,
    symbol: str | None,
    session: str | None,
    limit: int | None,
) -> Iterator[tuple[int, StoredSignal]]:
    """Signals with their places: without the first `skipped`, of a symbol and a session, where
    they are given, and at most `limit`. Texts are made of no others."""
    if isinstance(signals, SignalRows):
        wanted = (
            (place, signal)
            for place, signal in enumerate(signals)
            if place >= skipped
            and symbol in (None, signal.symbol)
            and session in (None, signal.session)
        )
        return islice(wanted, limit)
    mask = np.arange(len(signals)) >= skipped
    for name, names, codes in (
        (symbol, signals.symbols, signals.symbol),
        (session, signals.sessions, signals.session),
    ):
        if name is not None:
            mask &= codes == (names.index(name) if name in names else -1)
    places = np.flatnonzero(mask)[:limit]
    chosen = signals if len(places) == len(signals) else signals_at(signals, places)
    return zip(places.tolist(), signal_rows(chosen), strict=True)


def pack_document(document: SessionDocument) -> bytes:
    """A session document, without its signals."""
    levels = document.levels
    return _packed(
        [
            document.trading_date.isoformat(),
            [getattr(document, name) for name in _DOCUMENT_FIELDS],
            None if levels is None else levels.symbols,
        ],
        levels,
        _LEVEL_COLUMNS,
    )


def document_text(body: bytes) -> bytes:
    """A document's JSON, which it may have been stored as.

    Raises
    ------
    UNREADABLE
    """
    if body[:1] != MAGIC:
        return body
    (day, values, symbols), columns = _unpacked(body, lambda header: _LEVEL_COLUMNS)
    document = SessionDocument(
        trading_date=date.fromisoformat(day),
        levels=None if symbols is None else Levels(tuple(symbols), **columns),
        **dict(zip(_DOCUMENT_FIELDS, values, strict=True)),
    )
    return document_lines([document], {}).rstrip(b"\n")


def _with_own_names(batch: SignalBatch) -> SignalBatch:
    """One signal of two thousand symbols doesn't bring the names of all."""
    companions = batch.companion[batch.companion >= 0]
    sessions, session = _own(batch.sessions, batch.session)
    symbols, symbol = _own(batch.symbols, batch.symbol, companions)
    if sessions is batch.sessions and symbols is batch.symbols:
        return batch
    companion = np.where(batch.companion >= 0, symbol[batch.companion], np.int32(-1))
    return replace(
        batch,
        sessions=sessions,
        symbols=symbols,
        session=session[batch.session],
        symbol=symbol[batch.symbol],
        companion=companion,
    )


def _own(names: tuple[str, ...], *codes: NDArray[Any]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The names that codes stand for, and each name's place among those."""
    used = np.zeros(len(names), dtype=np.bool_)
    for column in codes:
        used[column] = True
    if used.all():
        return names, np.arange(len(names), dtype=np.int32)
    kept = tuple(names[place] for place in np.flatnonzero(used).tolist())
    return kept, np.cumsum(used, dtype=np.int32) - np.int32(1)


def _packed(header: Sequence[Any], of: object, kinds: dict[str, str]) -> bytes:
    columns = [
        np.ascontiguousarray(getattr(of, name), kind).tobytes()
        for name, kind in (kinds.items() if of is not None else ())
    ]
    raw = msgpack.packb([header, columns], use_bin_type=True)
    packed: bytes = pa.compress(raw, codec="lz4", asbytes=True)
    return _BEGINNING.pack(MAGIC, len(raw)) + packed


def _unpacked(
    packed: bytes, kinds: Callable[[list[Any]], dict[str, str]]
) -> tuple[list[Any], dict[str, NDArray[Any]]]:
    _, size = _BEGINNING.unpack_from(packed)
    raw = unpacked(packed[_BEGINNING.size :], size, "lz4")
    header, columns = msgpack.unpackb(raw, raw=False)
    arrays = {
        name: np.frombuffer(column, kind)
        for (name, kind), column in zip(kinds(header).items(), columns, strict=bool(columns))
    }
    return header, arrays
