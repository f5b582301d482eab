"""Results as Arrow tables, the columns of the Parquet files.

In memory, text that repeats is dictionary-encoded, which makes tables cheap to build and to
write; `decoded` gives the plain strings that one gets on reading the files. What never is null
is declared so: it is written in two thirds of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from datetime import date
from functools import lru_cache
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from openbell.adapters.arrays import array_of, join_of, texts_of
from openbell.market.bars import Prices
from openbell.market.conditions import condition_names
from openbell.market.days import Nanoseconds
from openbell.market.kinds import BREAKOUT, KINDS
from openbell.market.results import (
    NO_TIME,
    NOTHING,
    SIDES,
    Counts,
    DerivedBars,
    Levels,
    Quality,
    SessionDocument,
    SignalBatch,
)

INSTANT = pa.timestamp("ns", "UTC")
TEXT = pa.dictionary(pa.int32(), pa.string())

FLAGS = ("gap", "ambiguous", "complete", "backfilled")

COMPANION = pa.struct([("symbol", pa.string()), ("price", pa.float64()), ("ts", INSTANT)])

SIGNALS_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("trading_date", pa.date32(), nullable=False),
        pa.field("session", TEXT, nullable=False),
        pa.field("symbol", TEXT, nullable=False),
        pa.field("side", TEXT, nullable=False),
        pa.field("ts", INSTANT, nullable=False),
        pa.field("known_at", INSTANT, nullable=False),
        pa.field("price", pa.float64(), nullable=False),
        pa.field("level", pa.float64(), nullable=False),
        pa.field("companion", COMPANION),
        pa.field("gap", pa.bool_(), nullable=False),
        pa.field("ambiguous", pa.bool_(), nullable=False),
        pa.field("complete", pa.bool_(), nullable=False),
        pa.field("backfilled", pa.bool_(), nullable=False),
        pa.field("kind", TEXT, nullable=False),
        pa.field("of", pa.string()),
        pa.field("touched_at", INSTANT),
        pa.field("touch_excess", pa.float64()),
        pa.field("closed_beyond_at", INSTANT),
        pa.field("rules", pa.list_(pa.field("element", pa.string(), nullable=False))),
    ]
)

LEVELS_SCHEMA = pa.schema(
    [
        pa.field("trading_date", pa.date32(), nullable=False),
        pa.field("session", TEXT, nullable=False),
        pa.field("symbol", TEXT, nullable=False),
        pa.field("status", TEXT, nullable=False),
        pa.field("high", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("count", pa.int64(), nullable=False),
        pa.field("first_ts", INSTANT),
        pa.field("last_ts", INSTANT),
        pa.field("complete", pa.bool_(), nullable=False),
    ]
)

BARS_SCHEMA = pa.schema(
    [
        pa.field("symbol", TEXT, nullable=False),
        pa.field("ts", INSTANT, nullable=False),
        pa.field("open", pa.float64(), nullable=False),
        pa.field("high", pa.float64(), nullable=False),
        pa.field("low", pa.float64(), nullable=False),
        pa.field("close", pa.float64(), nullable=False),
        pa.field("volume", pa.float64(), nullable=False),
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
        pa.schema([f.with_type(pa.string()) if f.type == TEXT else f for f in table.schema])
    )


def joined_signals(batches: Sequence[SignalBatch]) -> SignalBatch:
    """Signals of one trading day as one batch, in the order given; its tuples are sorted.

    Parameters
    ----------
    batches : at least one, of the same exchange and trading date
    """
    symbols = _sorted_union({batch.symbols for batch in batches})
    sessions = _sorted_union({batch.sessions for batch in batches})
    symbol_code, session_code = _recoder(symbols), _recoder(sessions)
    columns = {name: _column(batches, name) for name in _SIGNAL_COLUMNS if name not in NOTHING}
    for name in NOTHING:
        if any(getattr(batch, name) is not None for batch in batches):
            columns[name] = np.concatenate([batch.filled(name) for batch in batches])
    columns["symbol"] = np.concatenate([symbol_code(b.symbols)[b.symbol] for b in batches])
    columns["session"] = np.concatenate([session_code(b.sessions)[b.session] for b in batches])
    columns["companion"] = np.concatenate([symbol_code(b.symbols)[b.companion] for b in batches])

    return SignalBatch(
        exchange=batches[0].exchange,
        trading_date=batches[0].trading_date,
        sessions=sessions,
        symbols=symbols,
        **columns,
    )


def day_signals(batches: Sequence[SignalBatch]) -> SignalBatch:
    """All signals of one trading day as one batch, ordered by (ts, symbol, session, side, number,
    kind).

    Symbols and sessions are compared as texts, so that the order does not depend on the order
    in which they were configured; the result's tuples are sorted.

    Parameters
    ----------
    batches : at least one, of the same exchange and trading date
    """
    day = joined_signals(batches)
    ts, number = day.ts, day.number
    place = day.symbol.astype(np.int64) * len(day.sessions) + day.session
    place = (place * 2 + day.side) * (1 + number.max(initial=0)) + number
    if day.kind is not None:
        place = place * len(KINDS) + day.kind
    # Steps follow each other in time, so that mostly nothing has to be moved.
    if ((ts[1:] > ts[:-1]) | ((ts[1:] == ts[:-1]) & (place[1:] >= place[:-1]))).all():
        return day
    return signals_at(day, np.lexsort((place, ts)))


def signals_at(batch: SignalBatch, places: NDArray[Any]) -> SignalBatch:
    """Those rows of a batch; `places` is a mask or positions."""
    columns = {name: getattr(batch, name) for name in _SIGNAL_COLUMNS}
    return replace(batch, **{name: of[places] for name, of in columns.items() if of is not None})


_SIGNAL_COLUMNS = tuple(
    field.name
    for field in fields(SignalBatch)
    if field.name not in ("exchange", "trading_date", "sessions", "symbols")
)


def breaks(batch: SignalBatch, rows: slice = slice(None)) -> pa.Array:
    """Each signal's kind of break: its place among all sessions × symbols × sides."""
    session, symbol, side = batch.session[rows], batch.symbol[rows], batch.side[rows]
    kinds: NDArray[np.int32] = (session * len(batch.symbols) + symbol) * 2 + side
    return array_of(kinds)


def signal_ids(batch: SignalBatch) -> pa.StringArray:
    """`{exchange}:{date}:{session}:{symbol}:{side}:{number}` of each signal; of what belongs to one,
    `:{kind}` stands behind."""
    ids = breakout_ids(batch)
    if batch.kind is None or not batch.kind.any():
        return ids
    return join_of(ids, _KIND_ENDS.take(array_of(batch.kind)), "")


def breakout_ids(batch: SignalBatch) -> pa.StringArray:
    """Ids of the breakouts that signals are, or belong to."""
    first = bool((batch.number == 1).all())
    return join_of(
        f"{batch.exchange}:{batch.trading_date}:",
        _break_ids(batch.sessions, batch.symbols).take(breaks(batch)),
        "1" if first else array_of(batch.number).cast(pa.string()),
        "",
    )


_KIND_ENDS = texts_of(f":{kind}" if kind != KINDS[BREAKOUT] else "" for kind in KINDS)


@lru_cache(maxsize=4)  # days share their symbols
def _break_ids(sessions: tuple[str, ...], symbols: tuple[str, ...]) -> pa.StringArray:
    """The part of an id that tells each kind of break, in the order of `breaks`."""
    return texts_of(
        f"{session}:{symbol}:{side}:"
        for session in sessions
        for symbol in symbols
        for side in SIDES
    )


def signals_table(
    batches: SignalBatch | Sequence[SignalBatch], ids: Sequence[pa.StringArray] | None = None
) -> pa.Table:
    """Signals in the order given, as `SIGNALS_SCHEMA`.

    `ids` are the batches' `signal_ids` if they are at hand.
    """
    several = [batches] if isinstance(batches, SignalBatch) else batches
    known = map(signal_ids, several) if ids is None else ids
    alike = groupby(
        zip(several, known, strict=True), key=lambda part: (part[0].sessions, part[0].symbols)
    )
    return _table(SIGNALS_SCHEMA, (_signal_columns(*zip(*run, strict=True)) for _, run in alike))


def levels_table(documents: Sequence[SessionDocument], symbols: Sequence[str]) -> pa.Table:
    """One row a document and symbol, in the order given, as `LEVELS_SCHEMA`.

    A document without levels (a SKIPPED session) has a row for each of `symbols`, the day's.
    """
    return shown_levels_table(shown_levels(documents, tuple(symbols)))


def shown_levels(
    documents: Sequence[SessionDocument], symbols: tuple[str, ...]
) -> list[tuple[SessionDocument, Levels]]:
    """Documents of one day and the levels that their rows show: empty ones, if it has none."""
    return [(document, document.levels or _no_levels(symbols)) for document in documents]


def shown_levels_table(shown: Sequence[tuple[SessionDocument, Levels]]) -> pa.Table:
    """As `levels_table`, from what `shown_levels` gave for any number of days."""
    alike = groupby(shown, key=lambda part: part[1].symbols)
    return _table(
        LEVELS_SCHEMA, (_level_columns(symbols, *zip(*run, strict=True)) for symbols, run in alike)
    )


def bars_table(bars: DerivedBars | Sequence[DerivedBars]) -> pa.Table:
    """Derived bars of one interval in the order given, as `BARS_SCHEMA`."""
    several = [bars] if isinstance(bars, DerivedBars) else bars
    alike = groupby(several, key=lambda part: part.symbols)
    return _table(BARS_SCHEMA, (_bar_columns(symbols, list(run)) for symbols, run in alike))


def quality_table(quality: Quality) -> pa.Table:
    """One row a symbol, as `QUALITY_SCHEMA`; `quality_pct` to 4 decimals."""
    columns = [
        _dates([quality.trading_date], [len(quality.symbols)]),
        _texts(np.arange(len(quality.symbols)), quality.symbols),
        array_of(quality.expected),
        array_of(quality.actual),
        _prices(quality_percent(quality.expected, quality.actual)),
        array_of(quality.gaps),
        array_of(quality.missing),
        array_of(quality.out_of_order),
        array_of(quality.late),
        array_of(quality.duplicates),
        array_of(quality.outside_hours),
        array_of(quality.bad_rows),
    ]
    return _table(QUALITY_SCHEMA, [columns])


def quality_percent(expected: Counts, actual: Counts) -> Prices:
    """100 × actual ÷ expected to 4 decimals; NaN where nothing was expected."""
    percent: Prices = np.round(100.0 * actual / np.maximum(expected, 1), 4)
    percent[expected == 0] = np.nan
    return percent


def _signal_columns(
    batches: Sequence[SignalBatch], ids: Sequence[pa.StringArray]
) -> list[pa.Array]:
    first = batches[0]
    return [
        pa.concat_arrays(ids),
        _dates([batch.trading_date for batch in batches], list(map(len, batches))),
        _texts(_column(batches, "session"), first.sessions),
        _texts(_column(batches, "symbol"), first.symbols),
        _texts(_column(batches, "side"), SIDES),
        _instants(_column(batches, "ts")),
        _instants(_column(batches, "known_at")),
        array_of(_column(batches, "price")),
        array_of(_column(batches, "level")),
        _companions(batches),
        *(array_of(_column(batches, name)) for name in FLAGS),
        _texts(_filled(batches, "kind"), KINDS),
        _belonging(batches),
        _instants(_filled(batches, "touched_at")),
        _prices(_filled(batches, "touch_excess")),
        _instants(_filled(batches, "closed_beyond_at")),
        _passed(_filled(batches, "rules")),
    ]


def _passed(rules: NDArray[np.int16]) -> pa.ListArray:
    """The names of the rules that each signal had to pass; null where there are none."""
    kind = SIGNALS_SCHEMA.field("rules").type
    if not rules.any():
        return pa.nulls(len(rules), kind)
    distinct, place = np.unique(rules, return_inverse=True)
    names = pa.array([condition_names(int(of)) or None for of in distinct], kind)
    return names.take(array_of(place.astype(np.int32)))


def _filled(batches: Sequence[SignalBatch], name: str) -> NDArray[Any]:
    return np.concatenate([batch.filled(name) for batch in batches])


def _belonging(batches: Sequence[SignalBatch]) -> pa.Array:
    """Ids of the breakouts that what follows them belongs to; null for breakouts."""
    if not any(batch.kinds.any() for batch in batches):
        return pa.nulls(sum(map(len, batches)), pa.string())
    linked = array_of(np.concatenate([batch.kinds for batch in batches]) != BREAKOUT)
    ids = pa.concat_arrays([breakout_ids(batch) for batch in batches])
    return pc.if_else(linked, ids, None)


def _companions(batches: Sequence[SignalBatch]) -> pa.StructArray:
    companion = _column(batches, "companion")
    absent = companion < 0
    if absent.all():
        return pa.nulls(len(companion), COMPANION)
    return pa.StructArray.from_arrays(
        [
            _names(batches[0].symbols).take(array_of(companion, absent)),
            array_of(_column(batches, "companion_price"), absent),
            _instants(np.where(absent, NO_TIME, _column(batches, "companion_ts"))),
        ],
        fields=list(COMPANION),
        mask=array_of(absent),
    )


def _level_columns(
    symbols: tuple[str, ...], documents: Sequence[SessionDocument], levels: Sequence[Levels]
) -> list[pa.Array]:
    rows = [len(symbols)] * len(documents)
    sessions = tuple(document.session_name for document in documents)
    statuses = tuple(document.status for document in documents)
    return [
        _dates([document.trading_date for document in documents], rows),
        _repeated(sessions, len(symbols)),
        _texts(np.tile(np.arange(len(symbols), dtype=np.int32), len(documents)), symbols),
        _repeated(statuses, len(symbols)),
        _prices(_column(levels, "high")),
        _prices(_column(levels, "low")),
        array_of(_column(levels, "count")),
        _instants(_column(levels, "first_ts")),
        _instants(_column(levels, "last_ts")),
        array_of(_column(levels, "complete")),
    ]


def _no_levels(symbols: tuple[str, ...]) -> Levels:
    price = np.full(len(symbols), np.nan)
    time = np.full(len(symbols), NO_TIME, dtype=np.int64)
    count = np.zeros(len(symbols), dtype=np.int64)
    return Levels(symbols, price, price, count, time, time, complete=count > 0)


def _bar_columns(symbols: tuple[str, ...], parts: Sequence[DerivedBars]) -> list[pa.Array]:
    return [
        _texts(_column(parts, "symbol"), symbols),
        _instants(_column(parts, "ts")),
        *(array_of(_column(parts, name)) for name in BARS_SCHEMA.names[2:]),
    ]


def _table(schema: pa.Schema, parts: Iterable[Sequence[pa.Array]]) -> pa.Table:
    batches = [pa.RecordBatch.from_arrays(list(columns), schema=schema) for columns in parts]
    table = pa.Table.from_batches(batches, schema=schema)
    return table if len(batches) == 1 else table.unify_dictionaries().combine_chunks()


def _column(parts: Sequence[SignalBatch | Levels | DerivedBars], name: str) -> Any:
    return np.concatenate([getattr(part, name) for part in parts])


def _sorted_union(tuples: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(sorted({text for texts in tuples for text in texts}))


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


@lru_cache(maxsize=16)  # days share their symbols
def _names(names: tuple[str, ...]) -> pa.StringArray:
    return texts_of(names)


def _texts(codes: NDArray[Any], names: tuple[str, ...]) -> pa.DictionaryArray:
    indices = array_of(codes.astype(np.int32, copy=False))
    return pa.DictionaryArray.from_arrays(indices, _names(names))


def _repeated(texts: tuple[str, ...], times: int) -> pa.DictionaryArray:
    """Each text so many times; among themselves they may be alike."""
    distinct = tuple(dict.fromkeys(texts))
    codes = np.array([distinct.index(text) for text in texts], dtype=np.int32)
    return _texts(np.repeat(codes, times), distinct)


def _dates(days: Sequence[date], rows: Sequence[int]) -> pa.Array:
    """Each date in so many rows."""
    counts = np.array(days, "datetime64[D]").astype(np.int32)
    return array_of(np.repeat(counts, rows), kind=pa.date32())


def _instants(ns: Nanoseconds) -> pa.Array:
    """NO_TIME, which is NaT, becomes null."""
    return array_of(ns, ns == NO_TIME, INSTANT)


def _prices(values: Prices) -> pa.Array:
    """NaN becomes null."""
    return array_of(values, np.isnan(values))
