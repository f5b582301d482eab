"""JSON lines from columns, against one object at a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pytest
from drawn_results import DAY, OPEN_NS, chosen, documents, signal_batches, some_signals
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.jsonlines import (
    ROWS_AT_ONCE,
    document_lines,
    format_floats,
    format_instants,
    signal_lines,
    signal_objects,
)
from openbell.market.days import SECOND_NS
from openbell.market.kinds import KINDS
from openbell.market.results import NO_TIME, SIDES, SessionDocument, SignalBatch


def instant(ns: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=ns // SECOND_NS)
    fraction = f"{ns % SECOND_NS:09d}".rstrip("0")
    return f"{moment:%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"


def instant_or_none(ns: int | None) -> str | None:
    return None if ns is None or ns == NO_TIME else instant(int(ns))


def number_or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def signal_reference(batch: SignalBatch, row: int) -> dict[str, Any]:
    session = batch.sessions[batch.session[row]]
    symbol = batch.symbols[batch.symbol[row]]
    side = SIDES[batch.side[row]]
    companion = None
    if batch.companion[row] >= 0:
        companion = {
            "symbol": batch.symbols[batch.companion[row]],
            "price": float(batch.companion_price[row]),
            "ts": instant(int(batch.companion_ts[row])),
        }
    breakout = f"XNSE:{DAY}:{session}:{symbol}:{side}:{batch.number[row]}"
    kind = "breakout" if batch.kind is None else KINDS[batch.kind[row]]
    times = {
        name: None if (column := getattr(batch, name)) is None else instant_or_none(column[row])
        for name in ("touched_at", "closed_beyond_at")
    }
    excess = batch.touch_excess
    return {
        "id": breakout if kind == "breakout" else f"{breakout}:{kind}",
        "trading_date": str(DAY),
        "session": session,
        "symbol": symbol,
        "side": side,
        "ts": instant(int(batch.ts[row])),
        "known_at": instant(int(batch.known_at[row])),
        "price": float(batch.price[row]),
        "level": float(batch.level[row]),
        "companion": companion,
        "gap": bool(batch.gap[row]),
        "ambiguous": bool(batch.ambiguous[row]),
        "complete": bool(batch.complete[row]),
        "backfilled": bool(batch.backfilled[row]),
        "kind": kind,
        "of": None if kind == "breakout" else breakout,
        "touched_at": times["touched_at"],
        "touch_excess": None if excess is None else number_or_none(excess[row]),
        "closed_beyond_at": times["closed_beyond_at"],
    }


def document_reference(document: SessionDocument, signal_ids: list[str]) -> dict[str, Any]:
    entries = {}
    if document.levels is not None:
        columns = document.levels
        for row, symbol in enumerate(columns.symbols):
            entries[symbol] = {
                "high": number_or_none(columns.high[row]),
                "low": number_or_none(columns.low[row]),
                "tick_count": int(columns.count[row]),
                "first_tick_time": instant_or_none(columns.first_ts[row]),
                "last_tick_time": instant_or_none(columns.last_ts[row]),
            }
    return {
        "trading_date": str(document.trading_date),
        "session_name": document.session_name,
        "start_time": document.start_time,
        "end_time": document.end_time,
        "status": document.status,
        "started_at": instant_or_none(document.started_at),
        "completed_at": instant_or_none(document.completed_at),
        "symbols_data": entries,
        "breakouts_checked": document.breakouts_checked,
        "signals_generated": signal_ids,
        "created_at": instant_or_none(document.created_at),
        "updated_at": instant_or_none(document.updated_at),
        "reason": document.reason,
    }


def floats(*values: float) -> list[str]:
    """Their texts without the comma that follows each."""
    texts = format_floats(np.array(values, dtype=np.float64)).to_pylist()
    assert all(text.endswith(",") for text in texts)
    return [text[:-1] for text in texts]


def lines_of(batch: SignalBatch) -> list[str]:
    text = b"".join(map(bytes, signal_lines(batch))).decode()
    assert text == "" or text.endswith("\n")
    return text.split("\n")[:-1]


@given(batch=signal_batches())
def test_a_line_reads_as_the_object_made_one_by_one(batch: SignalBatch) -> None:
    lines = lines_of(batch)

    expected = [signal_reference(batch, row) for row in range(len(batch))]
    assert [json.loads(line) for line in lines] == expected
    assert [list(json.loads(line)) for line in lines] == [list(signal) for signal in expected]
    assert list(signal_objects(batch)) == expected


@given(document=documents(), signal_ids=st.lists(st.text('aä"\\:', max_size=4), max_size=3))
def test_a_document_reads_as_the_object_made_one_by_one(
    document: SessionDocument, signal_ids: list[str]
) -> None:
    ids = {document.session_name: orjson.dumps(signal_ids)}
    line = document_lines([document], ids).decode()

    expected = document_reference(document, signal_ids)
    assert json.loads(line) == expected
    assert list(json.loads(line)) == list(expected)
    assert line.endswith("}\n")
    assert line.count("\n") == 1


@given(ns=st.lists(st.integers(-(2**63) + 1, 2**63 - 1) | st.just(NO_TIME), max_size=5))
def test_instants_are_utc_with_the_shortest_fraction(ns: list[int]) -> None:
    texts = format_instants(np.array(ns, dtype=np.int64))

    texts.validate(full=True)
    assert texts.to_pylist() == [instant_or_none(value) for value in ns]


@pytest.mark.parametrize(
    ("fraction", "text"),
    [(0, "Z"), (123_000_000, ".123Z"), (1, ".000000001Z"), (500_000_000, ".5Z")],
)
def test_an_instant_has_a_fraction_only_where_there_is_one(fraction: int, text: str) -> None:
    assert (
        format_instants(np.array([OPEN_NS + fraction]))[0].as_py() == "2025-08-26T03:45:00" + text
    )


@given(values=st.lists(st.floats(allow_infinity=False), max_size=6))
def test_floats_read_back_equal_and_look_like_floats(values: list[float]) -> None:
    texts = floats(*values)

    assert [json.loads(text) for text in texts] == [number_or_none(value) for value in values]
    assert all(isinstance(json.loads(text), float | None) for text in texts)


def test_a_whole_price_is_written_with_its_point() -> None:
    assert floats(100.0, 24710.55, np.nan) == ["100.0", "24710.55", "null"]


def test_floats_of_several_columns_follow_each_other() -> None:
    texts = format_floats(np.array([1.5, np.nan]), np.array([]), np.array([2.0]))

    assert texts.to_pylist() == ["1.5,", "null,", "2.0,"]


def test_lines_across_encoded_pieces_are_those_of_the_rows() -> None:
    batch = some_signals(ROWS_AT_ONCE + 3)

    lines = lines_of(batch)

    assert len(lines) == len(batch)
    assert lines[-5:] == lines_of(chosen(batch, slice(-5, None)))
