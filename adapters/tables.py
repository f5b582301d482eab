"""Results as Arrow tables, the columns of the Parquet files.

In memory, text that repeats is dictionary-encoded, which makes tables cheap to build and to
write; `decoded` gives the plain strings that one gets on reading the files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openbell.market.bars import Prices
from openbell.market.days import Nanoseconds
from openbell.market.results import (
    NO_TIME,
    SIDES,
    DerivedBars,
    Levels,
    Quality,
    SessionDocument,
    SignalBatch,
)

INSTANT = pa.timestamp("ns", "UTC")
TEXT = pa.dictionary(pa.int32(), pa.string())

COMPANION = pa.struct([("symbol", pa.string()), ("price", pa.float64()), ("ts", INSTANT)])

SIGNALS_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("trading_date", pa.date32()),
        ("session", TEXT),
        ("symbol", TEXT),
        ("side", TEXT),
        ("ts", INSTANT),
        ("known_at", INSTANT),
        ("price", pa.float64()),
        ("level", pa.float64()),
        ("companion", COMPANION),
        ("gap", pa.bool_()),
        ("ambiguous", pa.bool_()),
        ("complete", pa.bool_()),
        ("backfilled", pa.bool_()),
    ]
)

LEVELS_SCHEMA = pa.schema(
    [
        ("trading_date", pa.date32()),
        ("session", TEXT),
        ("symbol", TEXT),
        ("status", TEXT),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("count", pa.int64()),
        ("first_ts", INSTANT),
        ("last_ts", INSTANT),
        ("complete", pa.bool_()),
    ]
)

BARS_SCHEMA = pa.schema(
    [
        ("symbol", TEXT),
        ("ts", INSTANT),
        ("open", pa.float64()),
        ("high", pa.float64()),
        ("low", pa.float64()),
        ("close", pa.float64()),
        ("volume", pa.float64()),
    ]
)

QUALITY_SCHEMA = pa.schema(
    [
        ("trading_date", pa.date32()),
        ("symbol", TEXT),
        ("expected", pa.int64()),
        ("actual", pa.int64()),
        ("quality_pct", pa.float64()),
        ("gaps", pa.int64()),
        ("missing", pa.int64()),
        ("out_of_order", pa.int64()),
        ("late", pa.int64()),
        ("duplicates", pa.int64()),
        ("outside_hours", pa.int64()),
        ("bad_rows", pa.int64()),
    ]
)


def decoded(table: pa.Table) -> pa.Table:
    """The same table with text columns as plain strings, as its Parquet file reads."""
    return table.cast(
        pa.schema([(f.name, pa.string() if f.type == TEXT else f.type) for f in table.schema])
    )


def day_signals(batches: Sequence[SignalBatch]) -> SignalBatch:
    """All signals of one trading day as one batch, ordered by (ts, symbol, session, side).

    Symbols and sessions are compared as texts, so that the order does not depend on the order
    in which they were configured; the result's tuples are sorted.

    Parameters
    ----------
    batches : at least one, of the same exchange and trading date
    """
    symbols = tuple(sorted({symbol for batch in batches for symbol in batch.symbols}))
    sessions = tuple(sorted({session for batch in batches for session in batch.sessions}))
    symbol_code, session_code = _recoder(symbols), _recoder(sessions)

    def column(name: str) -> Any:
        return np.concatenate([getattr(batch, name) for batch in batches])

    symbol = np.concatenate([symbol_code(b.symbols)[b.symbol] for b in batches])
    session = np.concatenate([session_code(b.sessions)[b.session] for b in batches])
    companion = np.concatenate([symbol_code(b.symbols)[b.companion] for b in batches])
    side, number, ts = column("side"), column("number"), column("ts")
    order = np.lexsort((number, side, session, symbol, ts))
    return SignalBatch(
        exchange=batches[0].exchange,
        trading_date=batches[0].trading_date,
        sessions=sessions,
        symbols=symbols,
        session=session[order],
        symbol=symbol[order],
        side=side[order],
        number=number[order],
        ts=ts[order],
        known_at=column("known_at")[order],
        price=column("price")[order],
        level=column("level")[order],
        companion=companion[order],
        companion_price=column("companion_price")[order],
        companion_ts=column("companion_ts")[order],
        gap=column("gap")[order],
        ambiguous=column("ambiguous")[order],
        complete=column("complete")[order],
        backfilled=column("backfilled")[order],
    )


def signal_ids(batch: SignalBatch) -> pa.StringArray:
    """`{exchange}:{date}:{session}:{symbol}:{side}:{number}` of each signal."""
    return pc.binary_join_element_wise(
        pa.scalar(f"{batch.exchange}:{batch.trading_date}"),
        pa.array(batch.sessions, pa.string()).take(pa.array(batch.session)),
        pa.array(batch.symbols, pa.string()).take(pa.array(batch.symbol)),
        pa.array(SIDES).take(pa.array(batch.side)),
        pa.array(batch.number).cast(pa.string()),
        ":",
    )


def signals_table(batches: SignalBatch | Sequence[SignalBatch]) -> pa.Table:
    """Signals in the order given, as `SIGNALS_SCHEMA`."""
    several = [batches] if isinstance(batches, SignalBatch) else batches
    return _table(SIGNALS_SCHEMA, (_signal_columns(batch) for batch in several))


def levels_table(documents: Sequence[SessionDocument], symbols: Sequence[str]) -> pa.Table:
    """One row a document and symbol, in the order given, as `LEVELS_SCHEMA`.

    A document without levels (a SKIPPED session) has a row for each of `symbols`, the day's.
    """
    return _table(LEVELS_SCHEMA, (_level_columns(d, tuple(symbols)) for d in documents))


def bars_table(bars: DerivedBars | Sequence[DerivedBars]) -> pa.Table:
    """Derived bars of one interval in the order given, as `BARS_SCHEMA`."""
    several = [bars] if isinstance(bars, DerivedBars) else bars
    runs = groupby(several, key=lambda part: part.symbols)
    return _table(BARS_SCHEMA, (_bar_columns(symbols, list(run)) for symbols, run in runs))


def quality_table(quality: Quality) -> pa.Table:
    """One row a symbol, as `QUALITY_SCHEMA`; `quality_pct` to 4 decimals."""
    with np.errstate(divide="ignore", invalid="ignore"):
        percent = np.round(100.0 * quality.actual / quality.expected, 4)
    percent[quality.expected == 0] = np.nan
    columns = [
        _dates(quality.trading_date, len(quality.symbols)),
        _texts(np.arange(len(quality.symbols), dtype=np.int32), quality.symbols),
        pa.array(quality.expected),
        pa.array(quality.actual),
        _prices(percent),
        pa.array(quality.gaps),
        pa.array(quality.missing),
        pa.array(quality.out_of_order),
        pa.array(quality.late),
        pa.array(quality.duplicates),
        pa.array(quality.outside_hours),
        pa.array(quality.bad_rows),
    ]
    return _table(QUALITY_SCHEMA, [columns])


def _signal_columns(batch: SignalBatch) -> list[pa.Array]:
    return [
        signal_ids(batch),
        _dates(batch.trading_date, len(batch)),
        _texts(batch.session, batch.sessions),
        _texts(batch.symbol, batch.symbols),
        _texts(batch.side, SIDES),
        _instants(batch.ts),
        _instants(batch.known_at),
        pa.array(batch.price),
        pa.array(batch.level),
        _companions(batch),
        pa.array(batch.gap),
        pa.array(batch.ambiguous),
        pa.array(batch.complete),
        pa.array(batch.backfilled),
    ]


def _companions(batch: SignalBatch) -> pa.StructArray:
    absent = batch.companion < 0
    if absent.all():
        return pa.nulls(len(batch), COMPANION)
    symbols = pa.array(batch.symbols, pa.string())
    return pa.StructArray.from_arrays(
        [
            symbols.take(pa.array(batch.companion, mask=absent)),
            pa.array(batch.companion_price, mask=absent),
            _instants(np.where(absent, NO_TIME, batch.companion_ts)),
        ],
        fields=list(COMPANION),
        mask=pa.array(absent),
    )


def _level_columns(document: SessionDocument, symbols: tuple[str, ...]) -> list[pa.Array]:
    levels = document.levels or _no_levels(symbols)
    rows = len(levels.symbols)
    same = np.zeros(rows, dtype=np.int32)
    return [
        _dates(document.trading_date, rows),
        _texts(same, (document.session_name,)),
        _texts(np.arange(rows, dtype=np.int32), levels.symbols),
        _texts(same, (document.status,)),
        _prices(levels.high),
        _prices(levels.low),
        pa.array(levels.count),
        _instants(levels.first_ts),
        _instants(levels.last_ts),
        pa.array(levels.complete),
    ]


def _no_levels(symbols: tuple[str, ...]) -> Levels:
    price = np.full(len(symbols), np.nan)
    time = np.full(len(symbols), NO_TIME, dtype=np.int64)
    count = np.zeros(len(symbols), dtype=np.int64)
    return Levels(symbols, price, price, count, time, time, complete=count > 0)


def _bar_columns(symbols: tuple[str, ...], parts: Sequence[DerivedBars]) -> list[pa.Array]:
    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    values = [pa.array(column(name)) for name in ("open", "high", "low", "close", "volume")]
    return [_texts(column("symbol"), symbols), _instants(column("ts")), *values]


def _table(schema: pa.Schema, parts: Iterable[Sequence[pa.Array]]) -> pa.Table:
    batches = [pa.RecordBatch.from_arrays(list(columns), schema=schema) for columns in parts]
    return pa.Table.from_batches(batches, schema=schema).unify_dictionaries().combine_chunks()


def _recoder(texts: tuple[str, ...]) -> Callable[[tuple[str, ...]], NDArray[np.int32]]:
    """Gives, for a tuple of some of `texts`, the position of each in `texts`.

    One more element, -1, stands at the end, so that the code -1 (none) stays what it is.
    """
    positions = {text: position for position, text in enumerate(texts)}
    known: dict[tuple[str, ...], NDArray[np.int32]] = {}

    def codes(part: tuple[str, ...]) -> NDArray[np.int32]:
        if part not in known:  # a day's batches mostly share one tuple
            known[part] = np.array([*(positions[text] for text in part), -1], dtype=np.int32)
        return known[part]

    return codes


def _texts(codes: NDArray[Any], texts: Sequence[str]) -> pa.DictionaryArray:
    indices = pa.array(codes.astype(np.int32, copy=False))
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts, pa.string()))


def _dates(day: date, rows: int) -> pa.Array:
    return pa.array(np.full(rows, np.datetime64(day, "D")), pa.date32())


def _instants(ns: Nanoseconds) -> pa.Array:
    """NO_TIME, which is NaT, becomes null."""
    return pa.array(ns.view("datetime64[ns]"), INSTANT)


def _prices(values: Prices) -> pa.Array:
    """NaN becomes null."""
    return pa.array(values, from_pandas=True)
