"""Results as Arrow tables."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
from drawn_results import DAY, OPEN_NS, chosen, documents, signal_batches, some_bars, some_signals
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.jsonlines import signal_objects
from openbell.adapters.tables import (
    BARS_SCHEMA,
    LEVELS_SCHEMA,
    QUALITY_SCHEMA,
    SIGNALS_SCHEMA,
    bars_table,
    day_signals,
    decoded,
    levels_table,
    quality_table,
    signal_ids,
    signals_table,
)
from openbell.market.days import MINUTE_NS, SECOND_NS, MarketTime
from openbell.market.results import NO_TIME, Quality, SessionDocument, SignalBatch

SKIPPED = SessionDocument(
    exchange="XNSE",
    trading_date=DAY,
    session_name="Night",
    start_time="20:00",
    end_time="20:15",
    status="SKIPPED",
    created_at=MarketTime(OPEN_NS),
    updated_at=MarketTime(OPEN_NS),
    reason="outside the day's hours",
)


def quality(expected: list[int], actual: list[int]) -> Quality:
    none = np.zeros(len(expected), dtype=np.int64)
    return Quality(
        trading_date=DAY,
        symbols=tuple(f"S{number}" for number in range(len(expected))),
        expected=np.array(expected),
        actual=np.array(actual),
        gaps=none,
        missing=np.array(expected) - np.array(actual),
        out_of_order=none,
        late=none,
        duplicates=none,
        outside_hours=none,
        bad_rows=none,
    )


def ns_of(instants: pa.ChunkedArray) -> list[int | None]:
    return instants.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]


@given(batch=signal_batches())
def test_a_signals_table_has_what_the_lines_have(batch: SignalBatch) -> None:
    table = signals_table(batch)

    assert table.schema == SIGNALS_SCHEMA
    table.validate(full=True)
    objects = list(signal_objects(batch))
    plain = ("id", "session", "symbol", "side", "price", "level", "gap", "complete")
    for name in (*plain, "kind", "of", "touch_excess"):
        assert table[name].to_pylist() == [signal[name] for signal in objects]
    assert ns_of(table["ts"]) == batch.ts.tolist()
    assert ns_of(table["known_at"]) == batch.known_at.tolist()
    for name in ("touched_at", "closed_beyond_at"):
        given = [None if ns == NO_TIME else ns for ns in batch.filled(name).tolist()]
        assert ns_of(table[name]) == given
    companions = table["companion"].combine_chunks()
    assert companions.is_null().to_pylist() == (batch.companion < 0).tolist()
    assert companions.field("symbol").to_pylist() == [
        None if code < 0 else batch.symbols[code] for code in batch.companion
    ]


@given(batch=signal_batches(), cut=st.integers(0, 12), seed=st.integers(0, 99))
def test_a_day_s_signals_are_in_text_order_however_they_came(
    batch: SignalBatch, cut: int, seed: int
) -> None:
    shuffled = chosen(batch, np.random.default_rng(seed).permutation(len(batch)))
    turned = len(batch.symbols) - 1 - shuffled.symbol
    companion = np.where(
        shuffled.companion < 0, -1, len(batch.symbols) - 1 - shuffled.companion
    ).astype(np.int32)
    other_codes = replace(
        shuffled, symbols=batch.symbols[::-1], symbol=turned.astype(np.int32), companion=companion
    )

    merged = day_signals([chosen(shuffled, slice(cut)), chosen(other_codes, slice(cut, None))])

    def in_order(signal: dict[str, Any]) -> tuple[Any, ...]:
        place = signal["ts"], signal["symbol"], signal["session"], signal["side"]
        return *place, int((signal["of"] or signal["id"]).rpartition(":")[2]), signal["kind"]

    def every(signal: dict[str, Any]) -> str:
        return str(signal)

    # Fractions are cut short in texts, which changes how those compare: order by the column.
    assert merged.ts.tolist() == sorted(batch.ts.tolist())
    objects = list(signal_objects(merged))
    for ts in set(merged.ts.tolist()):
        together = [objects[row] for row in np.flatnonzero(merged.ts == ts)]
        assert together == sorted(together, key=in_order)
    assert sorted(objects, key=every) == sorted(signal_objects(batch), key=every)


def test_a_signal_id_is_made_from_its_facts() -> None:
    batch = chosen(some_signals(50), slice(1))

    (signal_id,) = signal_ids(batch).to_pylist()

    session, symbol = batch.sessions[batch.session[0]], batch.symbols[batch.symbol[0]]
    side = ("HIGH_BREAK", "LOW_BREAK")[batch.side[0]]
    assert signal_id == f"XNSE:2025-08-26:{session}:{symbol}:{side}:1"


def test_signals_of_several_days_make_one_table() -> None:
    other = replace(
        some_signals(4, seed=1), trading_date=date(2025, 8, 27), symbols=("A", "B", "C")
    )

    table = signals_table([some_signals(3), other])

    assert table.schema == SIGNALS_SCHEMA
    assert table["trading_date"].to_pylist() == [DAY] * 3 + [date(2025, 8, 27)] * 4
    assert set(table["symbol"].to_pylist()[3:]) <= {"A", "B", "C"}


@given(several=st.lists(documents(), max_size=3))
def test_a_levels_table_has_a_row_a_document_and_symbol(several: list[SessionDocument]) -> None:
    table = levels_table(several, ("A", "B"))

    expected = []
    for document in several:
        levels = document.levels
        for row, symbol in enumerate(("A", "B") if levels is None else levels.symbols):
            common = (document.session_name, symbol, document.status)
            if levels is None:
                expected.append((*common, None, 0, None, False))
            else:
                high = None if np.isnan(levels.high[row]) else levels.high[row]
                last = None if levels.last_ts[row] == NO_TIME else levels.last_ts[row]
                expected.append((*common, high, levels.count[row], last, levels.complete[row]))
    assert table.schema == LEVELS_SCHEMA
    table.validate(full=True)
    names = ("session", "symbol", "status", "high", "count")
    columns = [table[name].to_pylist() for name in names]
    columns += [ns_of(table["last_ts"]), table["complete"].to_pylist()]
    assert list(zip(*columns, strict=True)) == expected


def test_a_skipped_session_has_rows_with_nulls_for_the_day_s_symbols() -> None:
    table = levels_table([SKIPPED], ("NIFTY",))

    assert table.to_pylist() == [
        {
            "trading_date": DAY,
            "session": "Night",
            "symbol": "NIFTY",
            "status": "SKIPPED",
            "high": None,
            "low": None,
            "count": 0,
            "first_ts": None,
            "last_ts": None,
            "complete": False,
        }
    ]


def test_bars_of_several_steps_follow_each_other() -> None:
    inserted = replace(some_bars(5, 2, OPEN_NS + 20 * MINUTE_NS), symbols=("ABB",))

    table = bars_table([some_bars(5, 2), some_bars(5, 2, OPEN_NS + 10 * MINUTE_NS), inserted])

    assert table.schema == BARS_SCHEMA
    assert table["symbol"].to_pylist() == ["NIFTY"] * 4 + ["ABB"] * 2
    assert ns_of(table["ts"]) == [OPEN_NS + 5 * bar * MINUTE_NS for bar in range(6)]
    assert table["high"].to_pylist()[:2] == [100.5, 101.5]


def test_tables_of_nothing_have_their_columns() -> None:
    assert signals_table([]).schema == SIGNALS_SCHEMA
    assert levels_table([], ()).schema == LEVELS_SCHEMA
    assert bars_table([]).schema == BARS_SCHEMA


def test_quality_is_a_percentage_to_four_decimals() -> None:
    table = quality_table(quality([375, 390, 375, 0], [375, 389, 1, 0]))

    assert table.schema == QUALITY_SCHEMA
    assert table["quality_pct"].to_pylist() == [100.0, 99.7436, 0.2667, None]
    assert table["missing"].to_pylist() == [0, 1, 374, 0]


def test_quality_is_rounded_as_python_rounds() -> None:
    for minutes in (1, 60, 210, 375, 390, 465, 640, 1440):
        actual = list(range(minutes + 1))

        table = quality_table(quality([minutes] * len(actual), actual))

        assert table["quality_pct"].to_pylist() == [round(100 * a / minutes, 4) for a in actual]


def test_decoded_tables_have_plain_strings() -> None:
    table = signals_table(some_signals(5))

    plain = decoded(table)

    assert plain.schema.field("symbol").type == pa.string()
    assert plain["symbol"].to_pylist() == table["symbol"].to_pylist()
    assert plain.schema.names == table.schema.names


def test_instants_are_nanoseconds_in_utc() -> None:
    assert SIGNALS_SCHEMA.field("ts").type == pa.timestamp("ns", "UTC")
    odd = replace(some_bars(5, 1), ts=np.array([OPEN_NS + SECOND_NS // 8 + 1]))

    assert ns_of(bars_table(odd)["ts"]) == [OPEN_NS + 125_000_001]
