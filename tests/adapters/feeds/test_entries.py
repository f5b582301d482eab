"""What an entry's fields mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbell.adapters.feeds.entries import Decoder, Rows
from openbell.market.bars import Kind

NS = int(datetime(2024, 7, 1, 13, 30, tzinfo=UTC).timestamp()) * 10**9


def decoded(
    fields: dict[bytes, bytes], kind: Kind = "ticks", **more: Any
) -> tuple[list[Any], list[str]]:
    """Rows, and kinds of what was refused."""
    refused: list[str] = []
    rows: list[Any] = []
    decoder = Decoder(kind, "s", **more)
    for piece in decoder.pieces([("1-0", fields)], lambda kind, where, why: refused.append(kind)):
        assert isinstance(piece, Rows)
        raw = piece.rows
        names = [raw.symbols[code] for code in raw.code]
        rows += zip(
            names, raw.ts.tolist(), *(c.tolist() for c in raw.columns.values()), strict=True
        )
    return rows, refused


def a_tick(ts: str) -> dict[bytes, bytes]:
    return {b"symbol": b"A", b"ts": ts.encode(), b"price": b"1.5", b"size": b"2"}


@pytest.mark.parametrize(
    ("ts", "unit", "ns"),
    [
        ("2024-07-01T13:30:00Z", None, NS),
        ("2024-07-01T09:30:00-04:00", None, NS),
        ("2024-07-01 19:00:00+05:30", None, NS),
        ("2024-07-01T19:00:00+0530", None, NS),
        ("2024-07-01T13:30:00.123456789Z", None, NS + 123_456_789),
        ("2024-07-01T13:30:00.5Z", "ms", NS + 500_000_000),
        (str(NS // 10**9), "s", NS),
        (str(NS // 10**6 + 7), "ms", NS + 7_000_000),
        (str(NS // 10**3 + 7), "us", NS + 7_000),
        (str(NS + 7), "ns", NS + 7),
        ("1969-12-31T23:59:59.25Z", None, -750_000_000),
    ],
)
def test_times_are_exact_to_the_nanosecond(ts: str, unit: str | None, ns: int) -> None:
    assert decoded(a_tick(ts), ts_unit=unit) == ([("A", ns, 1.5, 2.0)], [])


def test_a_bar_stamped_with_its_end_is_moved_to_its_start() -> None:
    bar = {b"symbol": b"A", b"ts": b"2024-07-01T13:31:00Z", b"open": b"1", b"high": b"3"}
    bar |= {b"low": b"0.5", b"close": b"2", b"volume": b"7"}

    rows, _ = decoded(bar, kind="bars", shift_ns=-60 * 10**9)

    assert rows == [("A", NS, 1.0, 3.0, 0.5, 2.0, 7.0)]


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    body: bytes = sink.getvalue().to_pybytes()
    return body


@pytest.mark.parametrize(
    "ts",
    [
        pa.array([NS, NS + 10**9], pa.timestamp("ns", "UTC")),
        pa.array([NS // 10**6, NS // 10**6 + 1000], pa.timestamp("ms", "America/New_York")),
        pa.array([NS // 10**6, NS // 10**6 + 1000], pa.int64()),
        pa.array(["2024-07-01T13:30:00Z", "2024-07-01T13:30:01Z"]),
    ],
)
def test_an_arrow_stream_and_a_json_array_give_the_same(ts: pa.Array) -> None:
    table = pa.table({"symbol": ["A", "B"], "ts": ts, "price": pa.array([1, 2])})
    listed = [
        {"symbol": "A", "ts": "2024-07-01T13:30:00Z", "price": 1},
        {"symbol": "B", "ts": "2024-07-01T13:30:01Z", "price": "2.0"},
    ]

    from_arrow = decoded({b"rows": stream(table)}, ts_unit="ms")
    from_json = decoded({b"rows": orjson.dumps(listed)}, ts_unit="ms")

    expected = [("A", NS, 1.0, 0.0), ("B", NS + 10**9, 2.0, 0.0)]
    assert from_arrow == from_json == (expected, [])


def test_small_tables_one_after_another_are_rows_in_their_order_each_with_its_place() -> None:
    zone = pa.timestamp("ns", "UTC")

    def table(symbols: list[str | None], ts: list[int | None], kind: Any = zone) -> bytes:
        prices = [float(n) for n in range(len(ts))]
        return stream(pa.table({"symbol": symbols, "ts": pa.array(ts, kind), "price": prices}))

    entries = [
        ("1-0", {b"rows": table(["B", None, "A"], [NS, NS, NS + 1])}),
        ("2-0", {b"rows": table(["A", "C"], [None, NS + 2])}),
        ("3-0", {b"rows": b"nothing"}),
        ("4-0", {b"rows": table([], [])}),
        ("5-0", {b"rows": table([" ", "A"], [NS, NS + 3])}),
        ("6-0", {b"symbol": b"A", b"ts": str(NS + 4).encode(), b"price": b"7"}),
        ("7-0", {b"rows": table(["C"], [NS + 5], pa.int64())}),
    ]
    refused: list[tuple[str, str]] = []

    (piece,) = Decoder("ticks", "s", "ns").pieces(
        entries, lambda kind, where, why: refused.append((kind, where))
    )

    assert isinstance(piece, Rows)
    rows = piece.rows
    assert [rows.symbols[code] for code in rows.code] == ["B", "A", "C", "A", "A", "C"]
    assert (rows.ts - NS).tolist() == [0, 1, 2, 3, 4, 5]
    assert rows.columns["price"].tolist() == [0.0, 2.0, 1.0, 1.0, 7.0, 0.0]
    places = [rows.locate(n) for n in range(len(rows))]
    assert places == [
        ("s 1-0", 1),
        ("s 1-0", 3),
        ("s 2-0", 2),
        ("s 5-0", 2),
        ("s 6-0", 1),
        ("s 7-0", 1),
    ]
    assert refused == [
        ("symbol is missing", "s 1-0, row 2"),
        ("ts is missing", "s 2-0, row 1"),
        ("rows can't be read", "s 3-0"),
        ("symbol is no text", "s 5-0, row 1"),
    ]
    assert piece.last == "7-0"


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ({"symbol": ["A"], "ts": pa.array([NS], pa.timestamp("ns"))}, "price is missing"),
        ({"ts": pa.array([NS], pa.timestamp("ns", "UTC")), "price": [1.0]}, "symbol is missing"),
        ({"symbol": ["A"], "ts": pa.array([NS], pa.timestamp("ns")), "price": [1.0]}, "ts has no zone"),
        ({"symbol": ["A"], "ts": [1.5], "price": [1.0]}, "ts is no time"),
        ({"symbol": ["A"], "ts": [NS], "price": [1.0]}, "ts is a number without a unit"),
        ({"symbol": ["A"], "ts": pa.array([None], pa.timestamp("ns", "UTC")), "price": [1.0]}, "ts is missing"),
        ({"symbol": pa.array([None], pa.string()), "ts": pa.array([NS], pa.timestamp("ns", "UTC")), "price": [1.0]}, "symbol is missing"),
        ({"symbol": ["A"], "ts": pa.array([NS], pa.timestamp("ns", "UTC")), "price": ["x"]}, "rows can't be read"),
    ],
)  # fmt: skip
def test_a_table_that_does_not_fit_is_refused(columns: dict[str, Any], kind: str) -> None:
    assert decoded({b"rows": stream(pa.table(columns))}) == ([], [kind])


@settings(max_examples=60)
@given(
    fields=st.dictionaries(
        st.sampled_from([b"symbol", b"ts", b"price", b"size", b"rows", b"end", b"x"]),
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from([b"A", b"1.5", b"2024-07-01T13:30:00Z", b"1719840600000", b"nan"]),
            st.recursive(
                st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(st.sampled_from(["symbol", "ts", "price"]), inner, max_size=3)
                ),
            ).map(orjson.dumps),
        ),
    ),
    unit=st.sampled_from([None, "s", "ms", "us", "ns"]),
)
def test_no_entry_is_an_error(fields: dict[bytes, bytes], unit: str | None) -> None:
    refused: list[str] = []
    decoder = Decoder("ticks", "s", unit)

    for piece in decoder.pieces([("1-0", fields)], lambda *said: refused.append(said[0])):
        if isinstance(piece, Rows):
            assert len(piece.rows)

    assert all(len(kind) < 60 for kind in refused)
