"""Rows of CSV files as a source gives them."""

from __future__ import annotations

import gzip
import zipfile
from datetime import date, time
from pathlib import Path

import numpy as np
import pytest

from openbell.adapters.sources import DataOptions, open_source
from openbell.errors import DataError
from openbell.market.days import MINUTE_NS, local_instant

FOREVER = (-(2**62), 2**62)
KOLKATA = "Asia/Kolkata"
OPEN = local_instant(date(2024, 7, 1), time(9, 15), KOLKATA)
HEADER = "symbol,ts,open,high,low,close,volume\n"
BARS = "A,{},1,2,0.5,1.5,10\nB,{},3,4,2.5,3.5,\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def bars(path: Path, first: str, second: str) -> Path:
    return write(path, HEADER + BARS.format(first, second))


@pytest.mark.parametrize(
    "times",
    [
        ("2024-07-01T09:15:00+05:30", "2024-07-01T03:46:00Z"),
        ("2024-07-01 09:15", "2024-07-01 09:16"),
        ("2024-07-01 09:15:00.000", "2024-07-01T09:16:00"),
        ("20240701 09:15:00", "20240701 09:16:00"),
        *((str(OPEN // unit), str((OPEN + MINUTE_NS) // unit)) for unit in (10**9, 10**6, 1000, 1)),
    ],
)
def test_times_are_read_as_text_or_epoch_counts(times: tuple[str, str], tmp_path: Path) -> None:
    source = open_source(bars(tmp_path / "a.csv", *times), DataOptions(timezone=KOLKATA))

    rows = source.read(OPEN, OPEN + 2 * MINUTE_NS)

    assert rows.ts.tolist() == [OPEN, OPEN + MINUTE_NS]
    assert rows.symbols == ("A", "B")
    assert rows.code.tolist() == [0, 1]
    assert rows.columns["high"].tolist() == [2.0, 4.0]
    assert np.isnan(rows.columns["volume"]).tolist() == [False, True]
    assert rows.locate(1) == (str(tmp_path / "a.csv"), 2)
    assert source.dates(KOLKATA) == {date(2024, 7, 1): 2}


def test_date_and_time_may_be_two_columns(tmp_path: Path) -> None:
    path = write(
        tmp_path / "NIFTY.csv",
        "Ticker;Date;Time;Price;Extra\nNIFTY;20240701;09:15:00;24000.5;x\n"
        "NIFTY;20240701;09:15:01;24001;y\n",
    )
    options = DataOptions(
        kind="ticks",
        timezone=KOLKATA,
        columns={"ts": "Date Time", "symbol": "Ticker", "price": "Price"},
    )

    rows = open_source(path, options).read(*FOREVER)

    assert rows.ts.tolist() == [OPEN, OPEN + 10**9]
    assert rows.columns["price"].tolist() == [24000.5, 24001.0]
    assert rows.columns["size"].tolist() == [0.0, 0.0]


def test_compressed_files_and_folders_read_like_plain_ones(tmp_path: Path) -> None:
    text = HEADER + BARS.format(OPEN, OPEN + MINUTE_NS)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    with zipfile.ZipFile(tmp_path / "b.csv.zip", "w") as archive:
        archive.writestr("inner.csv", "\ufeff" + text)
    write(tmp_path / "c.csv", HEADER)

    source = open_source(tmp_path)
    rows = source.read(*FOREVER)

    assert rows.ts.tolist() == [OPEN, OPEN + MINUTE_NS] * 2
    assert [Path(rows.locate(i)[0]).name for i in (1, 2)] == ["a.csv.gz", "b.csv.zip"]
    assert len(source.info().files) == 3


def test_a_file_a_symbol_takes_the_symbol_from_its_name(tmp_path: Path) -> None:
    for name in ("RELIANCE", "005930"):
        write(tmp_path / f"{name}.csv", f"ts,price,size\n{OPEN},1,1\n")

    source = open_source(tmp_path, DataOptions(kind="ticks"))

    assert source.info().symbols == ("005930", "RELIANCE")


def test_tickers_that_look_like_numbers_or_nulls_stay_text(tmp_path: Path) -> None:
    names = ["005930", "NA", "TRUE", "NULL"]
    rows = "".join(f"{name},{OPEN},1,1\n" for name in names)

    source = open_source(
        write(tmp_path / "a.csv", "symbol,ts,price,size\n" + rows), DataOptions(kind="ticks")
    )

    assert source.info().symbols == tuple(sorted(names))


def refused(path: Path, options: DataOptions | None = None) -> str:
    with pytest.raises(DataError) as error:
        open_source(path, options).read(*FOREVER)
    text = str(error.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def test_times_without_zone_ask_for_the_key_that_gives_it(tmp_path: Path) -> None:
    text = refused(bars(tmp_path / "a.csv", "2024-07-01 09:15", "2024-07-01 09:16"))

    assert "set data.timezone" in text


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("A,1719800000,1,2,0.5,1.5", "row 3: expected 7 columns, got 6"),
        ("A,1719800000,1,2,0.5,1.5,1,9", "row 3: expected 7 columns, got 8"),
        ("A,1719800000,1,2,x0.5,1.5,1", 'row 3: low is "x0.5", not a number'),
        ("A,yesterday,1,2,0.5,1.5,1", 'row 3: ts is "yesterday"; write times in ISO 8601'),
        ("A,,1,2,0.5,1.5,1", 'row 3: column "ts" is empty'),
        (",1719800000,1,2,0.5,1.5,1", 'row 3: column "symbol" is empty'),
    ],
)
def test_a_row_that_cannot_be_read_is_named(row: str, expected: str, tmp_path: Path) -> None:
    good = "B,1719800000,1,2,0.5,1.5,10\n"
    path = write(tmp_path / "a.csv", HEADER + good * 2 + row + "\n" + good)
    if "yesterday" in row:
        path = write(path, path.read_text().replace("1719800000", "2024-07-01T09:15:00Z"))

    assert expected in refused(path)


def test_mixed_times_name_the_first_row_that_differs(tmp_path: Path) -> None:
    path = bars(tmp_path / "a.csv", "2024-07-01T09:15:00Z", "2024-07-01 09:16:00")

    assert "row 2: ts is" in refused(path, DataOptions(timezone="UTC"))


@pytest.mark.parametrize(
    "times",
    [
        ("202407010915", "202407010916"),
        ("20240701091500", "20240701091600"),
        ("20240701091500000", "20240701091600000"),
    ],
)
def test_dates_written_as_numbers_are_not_taken_for_epoch_counts(
    times: tuple[str, str], tmp_path: Path
) -> None:
    source = open_source(bars(tmp_path / "a.csv", *times), DataOptions(timezone=KOLKATA))

    assert source.read(*FOREVER).ts.tolist() == [OPEN, OPEN + MINUTE_NS]


def test_files_that_are_no_csv_are_named(tmp_path: Path) -> None:
    whole = gzip.compress((HEADER + BARS.format(OPEN, OPEN) * 5000).encode())
    (tmp_path / "half.csv.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "no.csv.gz").write_bytes(b"hello")
    (tmp_path / "no.csv.zip").write_bytes(b"hello")
    (tmp_path / "latin.csv").write_bytes((HEADER + "\xe9,1,1,1,1,1,1\n").encode("latin-1"))
    (tmp_path / "empty.csv").touch()

    assert "can't be read" in refused(tmp_path / "half.csv.gz")
    assert "can't be read" in refused(tmp_path / "no.csv.gz")
    assert "can't be read" in refused(tmp_path / "no.csv.zip")
    assert "row 1: to string: invalid UTF8 data" in refused(tmp_path / "latin.csv")
    assert "is empty" in refused(tmp_path / "empty.csv")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Symbol,ts,worth\nA,1719800000,1\n")

    assert refused(path, DataOptions(kind="ticks")).endswith(
        'no column "price", which ticks need; it has Symbol, ts, worth; name it with data.columns'
    )


def test_a_file_that_becomes_another_one_is_refused(tmp_path: Path) -> None:
    path = bars(tmp_path / "a.csv", str(OPEN), str(OPEN + MINUTE_NS))
    source = open_source(path)
    source.info()
    bars(path, str(OPEN), str(OPEN + 2 * MINUTE_NS))

    with pytest.raises(DataError, match="has changed since it was first read"):
        source.read(*FOREVER)
