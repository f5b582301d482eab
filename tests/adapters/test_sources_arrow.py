"""Parquet and tables as libraries write them, each read as the same rows or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from openbell.adapters.sources import DataOptions, open_source
from openbell.errors import DataError
from openbell.market.days import MINUTE_NS, local_instant

FOREVER = (-(2**62), 2**62)
NEW_YORK = "America/New_York"
OPEN = local_instant(date(2024, 7, 1), time(9, 30), NEW_YORK)
INSTANTS = OPEN + np.array([0, 0, 1, 1]) * MINUTE_NS
EXPECTED = {
    "open": [100.0, 200.0, 101.0, 201.0],
    "high": [102.5, 202.5, 103.5, 203.5],
    "low": [99.25, 199.25, 100.25, 200.25],
    "close": [101.0, 201.0, 102.0, 202.0],
    "volume": [1000.0, 2000.0, 1100.0, 2100.0],
}
SYMBOLS = ["AAPL", "MSFT", "AAPL", "MSFT"]
LOCAL = DataOptions(timezone=NEW_YORK)


def frame() -> pd.DataFrame:
    times = pd.to_datetime(INSTANTS, utc=True)
    return pd.DataFrame({"symbol": SYMBOLS, "ts": times, **EXPECTED})


def naive() -> pd.DataFrame:
    local = frame()
    return local.assign(ts=local["ts"].dt.tz_convert(NEW_YORK).dt.tz_localize(None))


def table(**columns: Any) -> pa.Table:
    """The rows as an Arrow table, some columns in other types."""
    made = pa.table(
        {
            "symbol": pa.array(SYMBOLS),
            "ts": pa.array(INSTANTS, pa.timestamp("ns", "UTC")),
            **{name: pa.array(values) for name, values in EXPECTED.items()},
        }
    )
    for name, column in columns.items():
        made = made.set_column(made.column_names.index(name), name, column)
    return made


def wall(unit: str) -> pa.Array:
    local = naive()["ts"].to_numpy().astype(f"M8[{unit}]")
    return pa.array(local, pa.timestamp(unit))


def cast(name: str, kind: pa.DataType) -> pa.Table:
    made = table()
    return table(**{name: made[name].cast(kind)})


def prices(kind: pa.DataType) -> pa.Table:
    made = table()
    return table(**{name: made[name].cast(kind) for name in ("open", "high", "low", "close")})


def split_times(of_day: Callable[[pd.Series], Any]) -> pd.DataFrame:
    local = naive()
    return local.drop(columns="ts").assign(date=local["ts"].dt.date, time=of_day(local["ts"]))


def midnights(of_day: Callable[[pd.Series], Any]) -> pd.DataFrame:
    """Days as timestamps, which is what pandas makes of dates."""
    return split_times(of_day).assign(date=lambda f: pd.to_datetime(f["date"]))


def databento() -> pa.Table:
    made = frame().rename(columns={"ts": "ts_event"}).assign(rtype=33, publisher_id=2)
    whole = {n: (made[n] * 1e9).astype("int64") for n in ("open", "high", "low", "close")}
    return pa.Table.from_pandas(made.assign(**whole))


ARROW: dict[str, tuple[Callable[[], pa.Table], DataOptions]] = {
    "plain": (table, DataOptions()),
    **{
        f"time in {unit}": (partial(table, ts=wall(unit)), LOCAL)
        for unit in ("s", "ms", "us", "ns")
    },
    **{
        f"epoch in {unit}": (partial(table, ts=pa.array(INSTANTS // div)), DataOptions())
        for unit, div in (("s", 10**9), ("ms", 10**6), ("us", 1000), ("ns", 1))
    },
    "zone in the type": (lambda: cast("ts", pa.timestamp("us", NEW_YORK)), DataOptions()),
    "float epoch": (lambda: table(ts=pa.array(INSTANTS / 1e9)), DataOptions()),
    "unsigned epoch": (lambda: table(ts=pa.array(INSTANTS.astype("u8"))), DataOptions()),
    "time as text": (lambda: table(ts=pa.array(naive()["ts"].astype(str))), LOCAL),
    "time as large text": (
        lambda: table(ts=pa.array(naive()["ts"].astype(str), pa.large_string())),
        LOCAL,
    ),
    "time as dictionary": (lambda: table(ts=wall("us").dictionary_encode()), LOCAL),
    "time text as dictionary": (
        lambda: table(ts=pa.array(naive()["ts"].astype(str)).dictionary_encode()),
        LOCAL,
    ),
    "decimal prices": (lambda: prices(pa.decimal128(12, 4)), DataOptions()),
    "wide decimal prices": (lambda: prices(pa.decimal256(40, 6)), DataOptions()),
    "float32 prices": (lambda: prices(pa.float32()), DataOptions()),
    "text prices": (lambda: prices(pa.string()), DataOptions()),
    "dictionary prices": (
        lambda: table(**{n: table()[n].dictionary_encode() for n in ("open", "high")}),
        DataOptions(),
    ),
    "int volume": (lambda: cast("volume", pa.int32()), DataOptions()),
    "unsigned volume": (lambda: cast("volume", pa.uint64()), DataOptions()),
    "decimal volume": (lambda: cast("volume", pa.decimal128(18, 2)), DataOptions()),
    "text volume": (lambda: cast("volume", pa.string()), DataOptions()),
    "large symbols": (lambda: cast("symbol", pa.large_string()), DataOptions()),
    "symbol views": (lambda: cast("symbol", pa.string_view()), DataOptions()),
    "symbols in bytes": (lambda: cast("symbol", pa.binary()), DataOptions()),
    "symbols in fixed bytes": (lambda: cast("symbol", pa.binary(4)), DataOptions()),
    "dictionary symbols": (
        lambda: table(symbol=table()["symbol"].dictionary_encode()),
        DataOptions(),
    ),
    "dictionary of bytes": (
        lambda: table(symbol=table()["symbol"].cast(pa.binary()).dictionary_encode()),
        DataOptions(),
    ),
    "dictionary of large symbols": (
        lambda: table(symbol=table()["symbol"].cast(pa.large_string()).dictionary_encode()),
        DataOptions(),
    ),
    "names in capitals": (
        lambda: table().rename_columns([n.upper() for n in table().column_names]),
        DataOptions(),
    ),
    "other names": (
        lambda: table().rename_columns(["Ticker", "timestamp", "o", "h", "l", "c", "Vol"]),
        DataOptions(),
    ),
    "further columns": (
        lambda: (
            table()
            .append_column("trades", pa.array([1, 2, 3, 4]))
            .append_column("tags", pa.array([["a"], [], None, ["b"]]))
        ),
        DataOptions(),
    ),
    "date and time": (
        lambda: pa.Table.from_pandas(split_times(lambda ts: ts.dt.time)),
        LOCAL,
    ),
    "date and time of day as text": (
        lambda: pa.Table.from_pandas(split_times(lambda ts: ts.dt.strftime("%H:%M"))),
        LOCAL,
    ),
    "date and length of time": (
        lambda: pa.Table.from_pandas(split_times(lambda ts: ts - ts.dt.normalize())),
        LOCAL,
    ),
    "midnights and length of time": (
        lambda: pa.Table.from_pandas(midnights(lambda ts: ts - ts.dt.normalize())),
        LOCAL,
    ),
    "midnights and time of day as text": (
        lambda: pa.Table.from_pandas(midnights(lambda ts: ts.dt.strftime("%H:%M"))),
        LOCAL,
    ),
    "midnights and time of day as number": (
        lambda: pa.Table.from_pandas(midnights(lambda ts: ts.dt.strftime("%H%M").astype(int))),
        LOCAL,
    ),
    "a time of day beside whole times": (
        lambda: pa.Table.from_pandas(
            naive().assign(time=lambda f: f["ts"].dt.time).rename(columns={"ts": "date"})
        ),
        LOCAL,
    ),
    "prices in 1e-9 as Databento has them": (
        databento,
        DataOptions(),
    ),
    "date and number": (
        lambda: pa.Table.from_pandas(
            split_times(lambda ts: ts.dt.strftime("%H%M").astype(int)).assign(date=20240701)
        ),
        LOCAL,
    ),
    "a date beside the time": (
        lambda: table().append_column("date", pa.array([date(2024, 7, 1)] * 4)),
        DataOptions(),
    ),
    "an unnamed index": (
        lambda: pa.Table.from_pandas(frame().set_index("ts").rename_axis(None)),
        DataOptions(),
    ),
    "a named index": (lambda: pa.Table.from_pandas(naive().set_index("ts")), LOCAL),
    "an index of two levels": (
        lambda: pa.Table.from_pandas(frame().set_index(["symbol", "ts"])),
        DataOptions(),
    ),
    "an unnamed index of two levels": (
        lambda: pa.Table.from_pandas(frame().set_index(["symbol", "ts"]).rename_axis([None, None])),
        DataOptions(),
    ),
}


def assert_same(source_rows: Any) -> None:
    assert [source_rows.symbols[code] for code in source_rows.code] == SYMBOLS
    assert source_rows.ts.tolist() == INSTANTS.tolist()
    for name, values in EXPECTED.items():
        assert source_rows.columns[name].tolist() == values


@pytest.mark.parametrize("name", ARROW)
def test_arrow_types_are_read_from_tables(name: str) -> None:
    make, options = ARROW[name]

    assert_same(open_source(make(), options).read(*FOREVER))


@pytest.mark.parametrize("name", ARROW)
def test_arrow_types_are_read_from_parquet(name: str, tmp_path: Path) -> None:
    make, options = ARROW[name]
    pq.write_table(make(), tmp_path / "a.parquet")

    source = open_source(tmp_path / "a.parquet", options)

    assert source.info().symbols == ("AAPL", "MSFT")
    assert_same(source.read(*FOREVER))
    assert len(source.read(OPEN, OPEN + MINUTE_NS)) == 2


@pytest.mark.parametrize("store", [{"use_deprecated_int96_timestamps": True}, {"flavor": "spark"}])
def test_times_as_spark_writes_them_are_read_in_the_zone_given(
    store: dict[str, Any], tmp_path: Path
) -> None:
    universal = frame()
    universal["ts"] = universal["ts"].dt.tz_localize(None)
    pq.write_table(pa.Table.from_pandas(universal), tmp_path / "a.parquet", **store)

    with pytest.raises(DataError, match=r"set data\.timezone"):
        open_source(tmp_path / "a.parquet").read(*FOREVER)
    assert_same(open_source(tmp_path / "a.parquet", DataOptions(timezone="UTC")).read(*FOREVER))


def structured() -> np.ndarray[Any, Any]:
    local = frame()
    made = np.zeros(4, [("symbol", "S4"), ("ts", "M8[m]"), *((name, ">f4") for name in EXPECTED)])
    made["ts"] = local["ts"].dt.tz_localize(None).to_numpy().astype("M8[m]")
    made["symbol"] = SYMBOLS
    for name, values in EXPECTED.items():
        made[name] = values
    return made


class Relation:
    """A table of a library that can only turn itself into Arrow's."""

    def __init__(self, method: str) -> None:
        setattr(self, method, table)


def relation() -> Any:
    duckdb = pytest.importorskip("duckdb")
    return duckdb.from_arrow(table())


def wide() -> Any:
    """A column a price and symbol, as yfinance gives it."""
    named: Any = frame().rename(columns=str.title).set_index(["Ts", "Symbol"])
    return named.unstack("Symbol").rename_axis(index="Datetime", columns=["Price", "Ticker"])


TABLES: dict[str, tuple[Callable[[], Any], DataOptions]] = {
    "record batch": (lambda: table().to_batches()[0], DataOptions()),
    "record batches": (lambda: table().to_batches(max_chunksize=2), DataOptions()),
    "reader": (lambda: table().to_reader(), DataOptions()),
    "dataset": (lambda: pads.dataset(table()), DataOptions()),
    "dict of lists": (lambda: table().to_pydict(), DataOptions()),
    "dict of arrays": (
        lambda: {n: frame()[n].to_numpy() for n in ("symbol", *EXPECTED)} | {"ts": INSTANTS},
        DataOptions(),
    ),
    "dict of series": (lambda: {n: frame()[n] for n in frame()}, DataOptions()),
    "list of dicts": (lambda: table().to_pylist(), DataOptions()),
    "structured array": (structured, DataOptions(timezone="UTC")),
    "records": (lambda: frame().to_records(index=False), DataOptions(timezone="UTC")),
    "to_arrow": (lambda: Relation("to_arrow"), DataOptions()),
    "toArrow": (lambda: Relation("toArrow"), DataOptions()),
    "duckdb": (relation, DataOptions()),
    "lazy polars": (lambda: pl.from_arrow(table()).lazy(), DataOptions()),  # type: ignore[union-attr]
    "polars enum": (
        lambda: pl.DataFrame(pl.from_arrow(table())).with_columns(
            pl.col("symbol").cast(pl.Enum(["MSFT", "AAPL"]))
        ),
        DataOptions(),
    ),
    "pandas of arrow": (lambda: frame().convert_dtypes(dtype_backend="pyarrow"), DataOptions()),
    "pandas nullable": (lambda: frame().convert_dtypes(), DataOptions()),
    "pandas object": (lambda: frame().astype(object), DataOptions()),
    "pandas decimals": (
        lambda: frame().assign(close=pd.Series([Decimal(str(v)) for v in EXPECTED["close"]])),
        DataOptions(),
    ),
    "pandas periods": (
        lambda: naive().assign(ts=naive()["ts"].dt.to_period("min")),
        LOCAL,
    ),
    "pandas index of periods": (
        lambda: naive().assign(ts=naive()["ts"].dt.to_period("min")).set_index("ts"),
        LOCAL,
    ),
    "pandas index of texts": (
        lambda: naive().set_index(naive()["ts"].astype(str)).drop(columns="ts").rename_axis(None),
        LOCAL,
    ),
    "pandas index that is a column too": (
        lambda: frame().set_index("ts", drop=False),
        DataOptions(),
    ),
    "pandas two levels": (lambda: frame().set_index(["symbol", "ts"]), DataOptions()),
    "pandas unnamed two levels": (
        lambda: frame().set_index(["symbol", "ts"]).rename_axis([None, None]),
        DataOptions(),
    ),
    "pandas cut rows": (lambda: frame().iloc[[3, 0, 1, 2]].sort_index(), DataOptions()),
    "pandas wide": (wide, DataOptions()),
    "pandas wide, the other way": (lambda: wide().swaplevel(axis=1), DataOptions()),
    "pandas title case": (lambda: frame().rename(columns=str.title), DataOptions()),
    "pandas categorical times": (
        lambda: frame().assign(ts=frame()["ts"].astype("category")),
        DataOptions(),
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_many_libraries_are_read_alike(name: str) -> None:
    make, options = TABLES[name]

    assert_same(open_source(make(), options).read(*FOREVER))


def test_a_table_a_symbol_keeps_instruments_apart() -> None:
    of_symbols = {
        symbol: of.drop(columns="symbol").set_index("ts")
        for symbol, of in frame().groupby("symbol")
    }

    source = open_source(of_symbols)

    rows = source.read(*FOREVER)
    assert source.info().symbols == ("AAPL", "MSFT")
    assert rows.columns["close"].tolist() == [101.0, 102.0, 201.0, 202.0]
    assert [rows.symbols[c] for c in rows.code] == ["AAPL", "AAPL", "MSFT", "MSFT"]
    assert rows.locate(2) == ("<table MSFT>", 1)


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "no zone": (naive, r"times without a zone; set data\.timezone"),
    "a symbol of several types": (
        lambda: frame().assign(symbol=["A", 1, "A", 1.5]),
        r'frame\["symbol"\] = frame\["symbol"\]\.astype\(str\)',
    ),
    "two columns of a name": (
        lambda: table().append_column("close", pa.array([1.0] * 4)),
        'two columns "close"',
    ),
    "unequal lists": (lambda: {"ts": [1, 2], "close": [1.0]}, "can't be made an Arrow table"),
    "no symbol": (lambda: frame().drop(columns="symbol"), r"set data\.symbol"),
    "a nested price": (
        lambda: table(close=pa.array([[1.0]] * 4)),
        'column "close" is list.* close must be a number',
    ),
    "a text that is no price": (
        lambda: table(close=pa.array(["1", "2", "n/v", "4"])),
        'row 3: close is "n/v", not a number',
    ),
    "bytes that are no text": (
        lambda: table(symbol=pa.array([b"\xff\xfe"] * 4)),
        'column "symbol" is binary, which can\'t be read',
    ),
    "two levels without prices": (
        lambda: wide()[["Volume"]],
        "two levels, and none holds open, high, low and close",
    ),
    "a series": (lambda: frame()["close"], "a Series can't be read; pass a path"),
    "a number": (lambda: 5, "a int can't be read; pass a path"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_says_what_to_write(name: str) -> None:
    make, told = REFUSED[name]

    with pytest.raises(DataError, match=told) as error:
        open_source(make(), DataOptions()).read(*FOREVER)

    assert "\n" not in str(error.value)
