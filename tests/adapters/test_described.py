"""What is found in a folder of text files, as keys to write."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openbell.adapters.sources import DataOptions, open_source
from openbell.adapters.sources.described import described
from openbell.errors import DataError

ROWS = "ts,open,high,low,close,volume\n2024-07-01T13:30:00Z,50,51,49,50,1\n"


def put(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(ROWS)
    return folder


def test_the_keys_for_a_folder_of_several_symbols_name_none_of_them(tmp_path: Path) -> None:
    put(tmp_path, "AAPL/1min.csv", "MSFT/1min.csv")

    (found,) = described(tmp_path, DataOptions())

    assert found.keys["files"] == "{symbol}/1min.csv"
    assert "symbol" not in found.keys
    assert dict(found.lines)["symbol"] == "AAPL, MSFT, each in files of its own"


def test_dates_that_the_rows_have_yet_to_confirm_are_not_written_out(tmp_path: Path) -> None:
    put(tmp_path, "CL_202407.csv", "CL_202408.csv")

    (found,) = described(tmp_path, DataOptions())

    assert found.keys.keys() == {"csv"}


@pytest.mark.parametrize(
    "names", [("1m/AAPL.csv", "5m/AAPL.csv"), ("2024-07-01.csv", "2024-07-02.csv")]
)
def test_a_folder_whose_symbols_can_t_be_told_gets_the_advice_of_a_run(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    put(tmp_path, *names)

    with pytest.raises(DataError, match="no symbol column"):
        described(tmp_path, DataOptions())


def test_a_lone_file_lacks_nothing_but_its_symbol(tmp_path: Path) -> None:
    put(tmp_path, "1min.csv")

    (found,) = described(tmp_path / "1min.csv", DataOptions())

    assert [key for key, _ in found.lacking] == ["symbol"]


def test_names_that_are_no_utf_8_get_the_encoding_to_write(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(ROWS.replace("open", "Eröffnung").encode("cp1252"))

    with pytest.raises(
        DataError, match=r"write the encoding, e\.g\. data\.csv: {encoding: cp1252}"
    ):
        described(path, DataOptions(symbol="Q"))


def test_a_column_that_may_be_the_volume_is_told_of_parquet_too(tmp_path: Path) -> None:
    rows = pa.table({"symbol": ["Q"], "ts": [1_719_840_600], "vol_weight": [1.0]})
    for name in ("open", "high", "low", "close"):
        rows = rows.append_column(name, pa.array([50.0]))
    pq.write_table(rows, tmp_path / "a.parquet")

    (note,) = open_source(tmp_path / "a.parquet", DataOptions()).info().notes

    assert 'write data.columns: {volume: "vol_weight"}' in note
