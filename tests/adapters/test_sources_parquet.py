"""Rows of Parquet files and folders, and what is wrong with a file."""

from __future__ import annotations

import errno
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import date, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openbell.adapters.sources import DataOptions, Source, open_source
from openbell.adapters.sources.columns import Decoded
from openbell.adapters.sources.files import unreadable
from openbell.adapters.sources.pieces import Piece, PieceSource, Scan
from openbell.errors import DataError
from openbell.market.bars import RawRows
from openbell.market.days import DAY_NS, MINUTE_NS, local_instant

DATA = Path(__file__).parents[2] / "../shared/data"
FOREVER = (-(2**62), 2**62)
NEW_YORK = "America/New_York"

needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared market data is not here")


def minutes(
    days: int = 3, symbols: tuple[str, ...] = ("AAPL", "IBM", "MSFT"), per_day: int = 30
) -> pa.Table:
    """Bars sorted by ts, then symbol, from 14:30Z on consecutive days from 2024-07-01."""
    first = local_instant(date(2024, 7, 1), time(14, 30), "UTC")
    starts = first + np.add.outer(np.arange(days) * DAY_NS, np.arange(per_day) * MINUTE_NS).ravel()
    n = len(starts) * len(symbols)
    close = np.arange(n) + 100.0
    return pa.table(
        {
            "symbol": list(symbols) * len(starts),
            "ts": pa.array(np.repeat(starts, len(symbols)), pa.timestamp("ns", "UTC")),
            "open": close,
            "high": close + 1,
            "low": close - 1,
            "close": close,
            "volume": np.arange(n),
        }
    )


def write(table: pa.Table, path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def rows_of(rows: RawRows) -> list[tuple[Any, ...]]:
    symbols = [rows.symbols[code] for code in rows.code]
    return list(
        zip(symbols, rows.ts.tolist(), *(c.tolist() for c in rows.columns.values()), strict=True)
    )


def day(number: int, tz: str = "UTC") -> tuple[int, int]:
    on = date(2024, 7, 1) + timedelta(days=number)
    return local_instant(on, time(), tz), local_instant(on + timedelta(days=1), time(), tz)


def by(table: pa.Table, symbol: str | None = None, on: date | None = None) -> pa.Table:
    keep = np.ones(len(table), bool)
    if symbol is not None:
        keep &= np.array(table["symbol"].to_pylist()) == symbol
    if on is not None:
        keep &= np.array([t.date() == on for t in table["ts"].to_pylist()])
    return table.filter(pa.array(keep))


def one_file(table: pa.Table, folder: Path) -> Path:
    return write(table, folder / "all.parquet")


def small_row_groups(table: pa.Table, folder: Path) -> Path:
    return write(table, folder / "all.parquet", row_group_size=17)


def without_statistics(table: pa.Table, folder: Path) -> Path:
    return write(table, folder / "all.parquet", row_group_size=50, write_statistics=False)


def sorted_by_symbol(table: pa.Table, folder: Path) -> Path:
    return write(
        table.sort_by([("symbol", "ascending"), ("ts", "ascending")]), folder / "a.parquet"
    )


def days_of(table: pa.Table) -> list[date]:
    return sorted({t.date() for t in table["ts"].to_pylist()})


def file_a_day(table: pa.Table, folder: Path) -> Path:
    for on in days_of(table):
        write(by(table, on=on), folder / f"{on}.parquet")
    return folder


def file_a_symbol(table: pa.Table, folder: Path) -> Path:
    for symbol in set(table["symbol"].to_pylist()):
        write(by(table, symbol).drop_columns("symbol"), folder / f"{symbol}.parquet")
    return folder


def hive_by_symbol(table: pa.Table, folder: Path) -> Path:
    for symbol in set(table["symbol"].to_pylist()):
        part = by(table, symbol).drop_columns("symbol")
        write(part, folder / f"symbol={symbol}" / "part-0.parquet")
    return folder


def hive_by_date_and_symbol(table: pa.Table, folder: Path) -> Path:
    for on in days_of(table):
        for symbol in set(table["symbol"].to_pylist()):
            part = by(table, symbol, on).drop_columns("symbol")
            write(part, folder / f"date={on}" / f"symbol={symbol}" / "part-0.parquet")
    return folder


LAYOUTS = [
    one_file,
    small_row_groups,
    without_statistics,
    sorted_by_symbol,
    file_a_day,
    file_a_symbol,
    hive_by_symbol,
    hive_by_date_and_symbol,
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_the_same_rows_reads_the_same(
    layout: Callable[[pa.Table, Path], Path], tmp_path: Path
) -> None:
    table = minutes()
    expected = sorted(
        zip(
            table["symbol"].to_pylist(),
            table["ts"].cast(pa.int64()).to_pylist(),
            *(table[name].to_pylist() for name in ("open", "high", "low", "close", "volume")),
            strict=True,
        )
    )

    source = open_source(layout(table, tmp_path / "source"))

    assert source.info().symbols == ("AAPL", "IBM", "MSFT")
    assert source.dates("UTC") == {date(2024, 7, 1) + timedelta(days=i): 90 for i in range(3)}
    assert sorted(rows_of(source.read(*FOREVER))) == expected
    for number in (1, 0, 2):
        start, end = day(number)
        whole = source.read(start, end)
        assert sorted(rows_of(whole)) == [row for row in expected if start <= row[1] < end]
        some = source.read(start, end, ["MSFT", "AAPL"])
        assert some.symbols == ("MSFT", "AAPL")
        assert rows_of(some) == [row for row in rows_of(whole) if row[0] != "IBM"]
    middle = day(1)[0] + 15 * 60 * MINUTE_NS
    cut = source.read(middle, day(2)[0])
    assert sorted(rows_of(cut)) == [r for r in expected if middle <= r[1] < day(2)[0]]
    assert rows_of(source.read(*day(9))) == []


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_row_can_be_located_in_its_file(
    layout: Callable[[pa.Table, Path], Path], tmp_path: Path
) -> None:
    source = open_source(layout(minutes(), tmp_path / "source"))

    rows = source.read(*day(1), ["IBM", "MSFT"])

    assert len(rows) == 60
    for position in (0, 1, 29, 59):
        file, row = rows.locate(position)
        stored = pq.ParquetFile(file).read()
        assert stored["close"][row - 1].as_py() == rows.columns["close"][position]
        assert stored["ts"].cast(pa.int64())[row - 1].as_py() == rows.ts[position]
    with pytest.raises(IndexError, match="position 60"):
        rows.locate(60)


def test_rows_come_in_the_order_of_files_and_rows_also_when_times_jump_back(
    tmp_path: Path,
) -> None:
    table = minutes(days=2, symbols=("AAPL",))
    order = np.random.default_rng(3).permutation(len(table))
    shuffled = table.take(pa.array(order))
    write(shuffled.slice(0, 40), tmp_path / "2.parquet")
    write(shuffled.slice(40), tmp_path / "10.parquet")
    stored = [*shuffled["close"].to_pylist()[40:], *shuffled["close"].to_pylist()[:40]]

    source = open_source(tmp_path)

    for number in (0, 1, 0):
        part = source.read(*day(number)).columns["close"].tolist()
        assert part == [c for c in stored if (c >= 130) == bool(number)]


def test_a_days_file_is_handed_out_without_copies(tmp_path: Path) -> None:
    source = open_source(file_a_day(minutes(), tmp_path))

    rows = source.read(*day(1))

    arrays = [rows.ts, *(rows.columns[name] for name in ("open", "high", "low", "close"))]
    assert not any(values.flags.owndata or values.flags.writeable for values in arrays)
    assert isinstance(source, PieceSource)
    assert not source._kept


def test_days_of_one_file_are_views_of_rows_that_were_decoded_once(tmp_path: Path) -> None:
    source = open_source(one_file(minutes(), tmp_path))

    first, second = source.read(*day(0)), source.read(*day(1))

    assert first.columns["close"].base is second.columns["close"].base is not None
    assert len(first) == len(second) == 90


def long_piece(loads: list[int], name: str, days: int) -> Piece:
    ts = np.arange(days, dtype=np.int64) * DAY_NS
    values = {n: np.arange(days, dtype=np.float64) for n in ("price", "size")}
    rows = Decoded(name, 1, (name,), np.zeros(days, np.int32), ts, values)

    def load() -> Decoded:
        loads.append(1)
        return rows

    return Piece(days, (name,), (0, int(ts[-1])), load, lambda: ts, lambda: None)


@pytest.mark.parametrize(("keep_bytes", "most"), [(10**6, 20), (40_000, 20 * 11), (0, 20 * 100)])
def test_long_files_that_do_not_fit_in_memory_are_decoded_a_few_times_not_once_a_day(
    keep_bytes: int, most: int
) -> None:
    loads: list[int] = []
    pieces = tuple(long_piece(loads, f"S{i:02}", days=100) for i in range(20))
    source = PieceSource("x", DataOptions(kind="ticks"), lambda: Scan(pieces, ()), keep_bytes)

    for number in range(100):
        rows = source.read(number * DAY_NS, (number + 1) * DAY_NS)
        assert rows.columns["price"].tolist() == [number] * 20
        assert rows.locate(7) == ("S07", number + 1)
        assert sum(kept.nbytes for kept in source._kept.values()) <= keep_bytes

    assert len(loads) <= most


def test_info_names_each_file_by_size_and_footer(tmp_path: Path) -> None:
    path = one_file(minutes(), tmp_path)
    info = open_source(path, DataOptions(interval_ns=MINUTE_NS)).info()
    other = write(minutes().slice(1), tmp_path / "b.parquet")

    (file,) = info.files

    assert (info.kind, info.interval_ns) == ("bars", MINUTE_NS)
    assert (file.path, file.size) == (str(path), path.stat().st_size)
    copied = shutil.copy(path, tmp_path / "copy.parquet")
    assert open_source(copied).info().files[0].digest == file.digest
    assert open_source(other).info().files[0].digest != file.digest


def test_only_symbols_that_have_rows_are_listed(tmp_path: Path) -> None:
    codes = pa.DictionaryArray.from_arrays(
        pa.array([2, 0, 2] * 30, pa.int8()), pa.array(["MSFT", "NONE", "AAPL"])
    )
    table = minutes(days=1).set_column(0, "symbol", codes)

    source = open_source(one_file(table, tmp_path))

    assert source.info().symbols == ("AAPL", "MSFT")
    assert source.read(*day(0)).symbols == ("AAPL", "MSFT")
    assert source.read(*FOREVER, ["MSFT"]).columns["volume"].tolist() == list(range(1, 90, 3))


@pytest.mark.parametrize("plain", [False, True])
def test_files_alike_but_for_a_symbol_are_told_apart(plain: bool, tmp_path: Path) -> None:
    days = [("AAA", "BBB"), ("AAA", "BBB"), ("AAA", "BBC"), ("BBB", "AAA")]
    for number, symbols in enumerate(days):
        table = minutes(1, symbols)
        write(table, tmp_path / f"{number}.parquet", use_dictionary=not plain)
        alone = open_source(tmp_path / f"{number}.parquet").info()
        assert alone.symbols == tuple(sorted(symbols))

    source = open_source(tmp_path)

    assert source.info().symbols == ("AAA", "BBB", "BBC")


def test_files_without_the_symbol_asked_for_are_not_opened(tmp_path: Path) -> None:
    folder = file_a_symbol(minutes(), tmp_path)
    source = open_source(folder)
    source.info()
    (folder / "IBM.parquet").unlink()

    rows = source.read(*FOREVER, ["AAPL"])

    assert len(rows) == 90
    with pytest.raises(DataError, match=r"IBM\.parquet: no such file"):
        source.read(*FOREVER)


def test_symbols_that_do_not_exist_are_refused_with_the_nearest_ones(tmp_path: Path) -> None:
    source = open_source(one_file(minutes(), tmp_path))

    with pytest.raises(
        DataError, match=r"no symbol APPL; nearest to APPL: AAPL; it has 3: AAPL, IBM, MSFT"
    ):
        source.read(*FOREVER, ["IBM", "APPL"])


@pytest.mark.parametrize("stored", ["int64", "int32", "float32", "decimal", "uint16"])
def test_prices_of_any_number_type_become_float64(stored: str, tmp_path: Path) -> None:
    kind = pa.decimal128(20, 4) if stored == "decimal" else getattr(pa, stored)()
    table = minutes(days=1)
    for name in ("open", "close", "volume"):
        column = table[name].cast(pa.float64()).cast(kind)
        table = table.set_column(table.column_names.index(name), name, column)

    rows = open_source(one_file(table, tmp_path)).read(*FOREVER)

    assert all(values.dtype == np.float64 for values in rows.columns.values())
    assert rows.columns["close"].tolist() == [100.0 + i for i in range(90)]


@pytest.mark.parametrize(
    "kind",
    [pa.timestamp(unit, tz) for unit in ("s", "ms", "us", "ns") for tz in ("UTC", NEW_YORK, None)]
    + [pa.int64(), pa.string()],
)
@pytest.mark.parametrize("row_group_size", [1000, 25])
def test_times_of_any_type_become_nanoseconds_utc(
    kind: Any, row_group_size: int, tmp_path: Path
) -> None:
    table = minutes()
    ts = table["ts"]
    if pa.types.is_string(kind) or kind == pa.timestamp("ns") or getattr(kind, "tz", "") is None:
        wall = pa.array(
            [t.tz_convert(NEW_YORK).tz_localize(None) for t in ts.to_pandas()], pa.timestamp("ns")
        )
        column = wall.cast(pa.timestamp("s")).cast(kind)
    else:
        column = ts.cast(kind)
    path = write(
        table.set_column(1, "ts", column), tmp_path / "a.parquet", row_group_size=row_group_size
    )

    source = open_source(path, DataOptions(timezone=NEW_YORK))

    assert source.dates(NEW_YORK) == {date(2024, 7, 1 + i): 90 for i in range(3)}
    assert source.read(*day(1)).ts.tolist() == ts.cast(pa.int64()).to_pylist()[90:180]
    assert source.read(*FOREVER).ts.tolist() == ts.cast(pa.int64()).to_pylist()


@pytest.mark.parametrize(("unit", "length"), [("s", 10**9), ("ms", 10**6), ("us", 10**3)])
def test_the_unit_of_epoch_counts_is_told_by_their_size(
    unit: str, length: int, tmp_path: Path
) -> None:
    table = minutes()
    ns = table["ts"].cast(pa.int64()).to_numpy()
    path = one_file(table.set_column(1, "ts", pa.array(ns // length)), tmp_path)

    source = open_source(path)

    assert source.read(*day(2)).ts.tolist() == ns[180:].tolist(), unit


def test_bars_labelled_by_their_end_are_moved_to_their_start(tmp_path: Path) -> None:
    path = one_file(minutes(days=1), tmp_path)

    source = open_source(path, DataOptions(bar_label="end"))

    first = local_instant(date(2024, 7, 1), time(14, 29), "UTC")
    assert source.read(first, first + 1).ts.tolist() == [first] * 3


def test_prices_are_scaled_but_volume_is_not(tmp_path: Path) -> None:
    source = open_source(one_file(minutes(days=1), tmp_path), DataOptions(price_scale=0.5))

    rows = source.read(*FOREVER)

    assert rows.columns["high"][:2].tolist() == [50.5, 51.0]
    assert rows.columns["volume"][:3].tolist() == [0.0, 1.0, 2.0]


def test_null_prices_are_nan_and_a_missing_volume_is_zero(tmp_path: Path) -> None:
    table = minutes(days=1).drop_columns("volume")
    close = pa.array([None if i in (1, 60) else float(i) for i in range(90)])
    table = table.set_column(5, "close", close)

    rows = open_source(small_row_groups(table, tmp_path)).read(*FOREVER)

    assert np.flatnonzero(np.isnan(rows.columns["close"])).tolist() == [1, 60]
    assert rows.columns["close"][61] == 61.0
    assert not rows.columns["volume"].any()


@pytest.mark.parametrize("name", ["ts", "symbol"])
def test_a_row_without_time_or_symbol_is_named(name: str, tmp_path: Path) -> None:
    table = minutes(days=1)
    at = table.column_names.index(name)
    values = table[name].to_pylist()
    values[33] = values[35] = None
    path = small_row_groups(
        table.set_column(at, name, pa.array(values, table.schema.field(at).type)), tmp_path
    )

    with pytest.raises(DataError, match=rf'row 34: column "{name}" is empty \(in 1 rows\)'):
        open_source(path).read(*FOREVER)
    with pytest.raises(DataError, match="row 34"):
        open_source(path).dates("UTC")


def test_columns_are_mapped_by_name_and_only_they_are_read(tmp_path: Path) -> None:
    table = minutes(days=1).rename_columns(["Ticker", "Time", "O", "H", "L", "C", "V"])
    path = one_file(table.append_column("extra", pa.array([[1]] * 90)), tmp_path)
    columns = {"symbol": "Ticker", "ts": "Time", "volume": "V"}
    columns |= {"open": "O", "high": "H", "low": "L", "close": "C"}

    rows = open_source(path, DataOptions(columns=columns)).read(*FOREVER)

    assert rows_of(rows) == rows_of(
        open_source(one_file(minutes(days=1), tmp_path / "b")).read(*FOREVER)
    )


def test_a_missing_column_is_named_with_those_that_exist(tmp_path: Path) -> None:
    path = one_file(
        minutes().rename_columns([*minutes().column_names[:5], "Closing", "v"]), tmp_path
    )

    with pytest.raises(
        DataError,
        match=r'all\.parquet: no column "close".* it has symbol, ts, .*Closing, v; .*\{close: "Closing"\}',
    ):
        open_source(path).info()
    with pytest.raises(DataError, match='no column "vol"'):
        open_source(path, DataOptions(columns={"close": "Closing", "volume": "vol"})).info()


def test_a_wrongly_typed_column_is_named_with_its_type(tmp_path: Path) -> None:
    table = minutes().set_column(2, "open", pa.array([True] * 270))

    with pytest.raises(DataError, match='column "open" is bool; open must be a number; the file'):
        open_source(one_file(table, tmp_path)).info()


def test_times_without_zone_ask_for_the_key_that_gives_it(tmp_path: Path) -> None:
    table = minutes()
    for kind in (pa.timestamp("ms"), pa.date32()):
        path = one_file(table.set_column(1, "ts", table["ts"].cast(kind)), tmp_path)

        with pytest.raises(DataError, match=r"set data\.timezone"):
            open_source(path).info()


def test_a_wall_time_that_a_clock_change_skips_is_refused(tmp_path: Path) -> None:
    table = minutes(days=1, symbols=("AAPL",), per_day=2)
    ts = pa.array(["2024-03-10 01:30:00", "2024-03-10 02:30:00"])
    path = one_file(table.set_column(1, "ts", ts), tmp_path)

    with pytest.raises(DataError, match="row 2: 2024-03-10T02:30:00 does not exist in America/New"):
        open_source(path, DataOptions(timezone=NEW_YORK)).read(*FOREVER)


def test_a_file_a_day_without_symbols_needs_to_be_told_the_symbol(tmp_path: Path) -> None:
    table = minutes(symbols=("SPY",)).drop_columns("symbol")
    folder = file_a_day(table, tmp_path)

    with pytest.raises(DataError, match=r"look like dates, .* write data\.symbol: "):
        open_source(folder).info()
    with pytest.raises(DataError, match=r"set data\.symbol"):
        open_source(folder / "2024-07-01.parquet").info()
    assert open_source(folder, DataOptions(symbol="SPY")).info().symbols == ("SPY",)


def test_hive_symbols_are_unquoted(tmp_path: Path) -> None:
    table = minutes(symbols=("X",)).drop_columns("symbol")
    write(table, tmp_path / "ticker=XRP%2FETH" / "0.parquet")

    source = open_source(tmp_path, DataOptions(columns={"symbol": "ticker"}))

    assert source.info().symbols == ("XRP/ETH",)


def broken(path: Path, keep: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(keep(path.read_bytes()))
    return path


def test_broken_missing_and_empty_files_are_named_in_one_line(tmp_path: Path) -> None:
    good = one_file(minutes(), tmp_path / "good")
    cases = [(tmp_path / "none.parquet", "no such file or folder")]
    for name, keep in {
        "half": lambda b: b[: len(b) // 2],
        "empty": lambda b: b"",
        "text": lambda b: b"hello, this is text",
        "footer": lambda b: b[:-1500] + b"\xff" * 1000 + b[-500:],
        "pages": lambda b: b[:4] + b"\xff" * 3000 + b[3004:],
    }.items():
        path = Path(shutil.copy(good, tmp_path / f"{name}.parquet"))
        cases.append((broken(path, keep), f"{name}.parquet"))

    for path, text in cases:
        with pytest.raises(DataError, match=text) as error:
            open_source(path).read(*FOREVER)
        assert str(error.value).startswith(str(path))
        assert "\n" not in str(error.value)


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.md").touch()
    (tmp_path / "_metadata.parquet").touch()

    with pytest.raises(
        DataError, match=r"no file that can be read .* it holds _metadata\.parquet, readme\.md"
    ):
        open_source(tmp_path)
    with pytest.raises(DataError, match="holds no Parquet files"):
        open_source(tmp_path, DataOptions(format="parquet"))


@pytest.mark.parametrize("layout", [one_file, file_a_day])
def test_a_file_that_becomes_another_one_is_refused(
    layout: Callable[[pa.Table, Path], Path], tmp_path: Path
) -> None:
    path = layout(minutes(), tmp_path)
    source = open_source(path)
    source.read(*day(0))
    changed = max(tmp_path.glob("*.parquet"))

    changed.touch()
    assert len(source.read(*day(2))) == 90  # the same bytes with another date are the same file

    write(minutes().slice(0, 200), changed)
    with pytest.raises(DataError, match="has changed since it was first read"):
        source.read(*day(2))


def test_a_plain_read_imports_neither_pandas_nor_dataset(tmp_path: Path) -> None:
    path = one_file(minutes(), tmp_path)
    program = (
        "import sys; from openbell.adapters.sources import open_source\n"
        f"s = open_source({str(path)!r}); s.info(); s.dates('UTC'); s.read(0, 2**62)\n"
        "print([m for m in ('pandas', 'pyarrow.dataset', 'pyarrow.compute', 'importlib.metadata')"
        " if m in sys.modules])"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert done.stdout == "[]\n"


def shared(name: str, kind: Any = "bars") -> tuple[Source, Any]:
    path = DATA / f"{name}.parquet"
    frame = pq.ParquetFile(path).read().to_pandas()
    return open_source(path, DataOptions(kind=kind)), frame


@needs_data
@pytest.mark.parametrize(
    ("name", "kind", "tz"),
    [
        ("nse_lean_1m_2019", "bars", "Asia/Kolkata"),
        ("nse_index_1m_2021", "bars", "Asia/Kolkata"),
        ("us_lean_1m_2013_2014", "bars", NEW_YORK),
        ("us_spy_ext_1m_2011", "bars", NEW_YORK),
        ("ticks_nse_stocks_2021", "ticks", "Asia/Kolkata"),
        ("ticks_crypto_xrpeth_2019", "ticks", "UTC"),
    ],
)
def test_real_files_read_day_by_day_give_each_row_once_in_the_files_order(
    name: str, kind: Any, tz: str
) -> None:
    source, frame = shared(name, kind)
    local = frame["ts"].dt.tz_convert(tz).dt.date

    dates = source.dates(tz)

    assert dates == local.value_counts().sort_index().to_dict()
    assert source.info().symbols == tuple(sorted(frame["symbol"].unique()))
    for on in list(dates)[:: max(1, len(dates) // 12)]:
        expected = frame[local == on]
        rows = source.read(
            local_instant(on, time(), tz), local_instant(on + timedelta(days=1), time(), tz)
        )
        assert rows.ts.tolist() == expected["ts"].astype("int64").tolist()
        assert np.array(rows.symbols)[rows.code].tolist() == expected["symbol"].tolist()
        for column, values in rows.columns.items():
            assert values.tolist() == expected[column].astype(float).tolist()
        assert rows.locate(len(rows) - 1)[1] == expected.index[-1] + 1


def test_what_may_pass_is_an_error_to_try_again_and_what_may_not_is_the_datas() -> None:
    passing = unreadable("a.parquet", OSError(errno.EIO, "Input/output error"))
    stale = unreadable("a.parquet", OSError(errno.ESTALE, "Stale file handle"))
    others = [
        unreadable("a.parquet", error)
        for error in (
            PermissionError(errno.EACCES, "Permission denied"),
            FileNotFoundError(errno.ENOENT, "No such file"),
            OSError("Couldn't deserialize thrift"),
            pa.ArrowInvalid("not a Parquet file"),
        )
    ]

    assert [type(error) for error in (passing, stale)] == [OSError, OSError]
    assert "a.parquet" in str(passing)
    assert {type(error) for error in others} == {DataError}
