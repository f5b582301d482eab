"""What is found in a folder of text files, as keys to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from openbell.adapters.sources import DataOptions
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
