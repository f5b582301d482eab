"""Rows of tables in memory as a source gives them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from openbell.adapters.sources import DataOptions, Source, open_source
from openbell.adapters.sources.times import instants, rows_by_date
from openbell.errors import DataError
from openbell.market.days import DAY_NS, MINUTE_NS, local_instant

FOREVER = (-(2**62), 2**62)
OPEN = local_instant(date(2024, 7, 1), time(9, 30), "America/New_York")
TICKS = DataOptions(kind="ticks")


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": ["B", "A", "B", "A"],
            "ts": pd.to_datetime(OPEN + np.array([0, 0, 1, 2]) * DAY_NS, utc=True),
            "price": [1.0, 2.0, 3.0, 4.0],
            "size": [10, 20, 30, 40],
        }
    )


TABLES: dict[str, Callable[[], Any]] = {
    "pandas": frame,
    "pandas, ts as index": lambda: frame().set_index("ts"),
    "pandas, unnamed index": lambda: frame().set_index("ts").rename_axis(None),
    "pandas, symbol and ts as index": lambda: frame().set_index(["symbol", "ts"]),
    "pandas, categories": lambda: frame().astype({"symbol": "category"}),
    "polars": lambda: pl.from_pandas(frame()),
    "polars, categories": lambda: pl.from_pandas(frame()).with_columns(
        pl.col("symbol").cast(pl.Categorical)
    ),
    "polars, lazy": lambda: pl.from_pandas(frame()).lazy(),
    "pyarrow": lambda: pa.Table.from_pandas(frame()),
    "pyarrow, chunked": lambda: pa.concat_tables(
        [pa.Table.from_pandas(frame().iloc[:1]), pa.Table.from_pandas(frame().iloc[1:])]
    ),
    "pyarrow, string views": lambda: pa.table(
        {
            **{n: frame()[n].to_numpy() for n in ("price", "size")},
            "ts": pa.array(frame()["ts"]),
            "symbol": pa.array(["B", "A", "B", "A"], pa.string_view()),
        }
    ),
    "capsule": lambda: Capsule(pa.Table.from_pandas(frame())),
}


class Capsule:
    """A table that only speaks the Arrow PyCapsule protocol."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, schema: object = None) -> object:
        return self._table.__arrow_c_stream__(schema)


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_every_library_read_the_same_and_have_the_same_identity(name: str) -> None:
    reference = open_source(frame(), TICKS).info()

    source: Source = open_source(TABLES[name](), TICKS)

    rows = source.read(*FOREVER)
    assert source.info() == reference
    assert source.info().files[0].path == "<table>"
    assert [rows.symbols[c] for c in rows.code] == ["B", "A", "B", "A"]
    assert (rows.ts - OPEN).tolist() == [0, 0, DAY_NS, 2 * DAY_NS]
    assert rows.columns["size"].tolist() == [10.0, 20.0, 30.0, 40.0]
    later = source.read(OPEN + DAY_NS, OPEN + 3 * DAY_NS, ["A"])
    assert (later.columns["price"].tolist(), later.locate(0)) == ([4.0], ("<table>", 4))
    assert source.dates("UTC") == {date(2024, 7, 1): 2, date(2024, 7, 2): 1, date(2024, 7, 3): 1}


def test_another_value_is_another_identity() -> None:
    other = frame()
    other.loc[3, "price"] = 4.5

    digests = {open_source(f, TICKS).info().files[0].digest for f in (frame(), other)}

    assert len(digests) == 2


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(DataError, match="<table>: a int can't be read; pass a path, or"):
        open_source(5)
    with pytest.raises(DataError, match="<table>: an array of float64 has no names of columns"):
        open_source(np.zeros((3, 6)))
    with pytest.raises(DataError, match="<table>: no column"):
        open_source(frame())


def test_an_empty_table_has_no_symbols_and_no_rows() -> None:
    source = open_source(frame().iloc[:0], TICKS)

    assert source.info().symbols == ()
    assert source.dates("UTC") == {}
    assert len(source.read(*FOREVER)) == 0


def test_unknown_formats_name_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.feather"
    path.touch()

    with pytest.raises(DataError, match='format "feather" is unknown; known are csv, dbn, parquet'):
        open_source(path)


def test_a_plug_in_opens_its_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "ours-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[openbell.sources]\nours = ours_source:open_ours\n")
    (tmp_path / "site" / "ours_source.py").write_text(
        "def open_ours(path, options): return (path.name, options.kind)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    (tmp_path / "a.ours").touch()

    assert open_source(tmp_path / "a.ours", TICKS) == ("a.ours", "ticks")  # type: ignore[comparison-overlap]


def test_a_folder_of_two_formats_needs_to_be_told_which(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(f"symbol,ts,price\nA,{OPEN},1\n")
    (tmp_path / "b.parquet").touch()

    with pytest.raises(DataError, match=r"csv \(a\.csv\) and parquet \(b\.par.* data\.format: csv"):
        open_source(tmp_path, TICKS)
    assert open_source(tmp_path, DataOptions(kind="ticks", format="csv")).info().symbols == ("A",)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"kind": "quotes"}, r"data\.kind"),
        ({"bar_label": "close"}, r"data\.bar_label"),
        ({"interval_ns": None}, r"data\.interval"),
        ({"price_scale": 0.0}, r"data\.price_scale"),
        ({"timezone": "Mars/Base"}, r"data\.timezone"),
        ({"columns": {"opne": "Open"}}, r"data\.columns"),
    ],
)
def test_options_that_cannot_be_used_name_their_key(options: dict[str, Any], key: str) -> None:
    with pytest.raises(DataError, match=key):
        DataOptions(**options)


def test_wall_times_become_instants_as_pandas_has_it() -> None:
    wall = pd.date_range("2023-12-30", "2024-12-31", freq="7min").to_series()
    wall = wall[~((wall.dt.date == date(2024, 3, 10)) & (wall.dt.hour == 2))]
    expected = wall.dt.tz_localize("America/New_York", ambiguous=np.ones(len(wall), bool))

    result = instants(wall.to_numpy().astype("M8[ns]").astype(np.int64), "America/New_York")

    assert (
        result.tolist() == expected.dt.tz_convert("UTC").dt.as_unit("ns").astype(np.int64).tolist()
    )


def test_rows_are_counted_by_local_date_across_clock_changes() -> None:
    ts = (
        local_instant(date(2024, 11, 2), time(), "America/New_York")
        + np.arange(3 * 24 * 60) * MINUTE_NS
    )

    counts = rows_by_date(ts[::-1], "America/New_York")

    assert list(counts.items()) == [
        (date(2024, 11, 2), 1440),
        (date(2024, 11, 3), 1500),
        (date(2024, 11, 4), 1380),
    ]
