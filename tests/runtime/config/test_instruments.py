"""Symbols that stand in a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from openbell.errors import ConfigError
from openbell.runtime.config import Config, load_config


def loaded(folder: Path, symbols: object) -> Config:
    made = {
        "exchange": "XNYS",
        "symbols": symbols,
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
        "data": {"path": "minutes"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(made))
    return load_config(folder / "config.yaml", env={})


@pytest.mark.parametrize(
    "text",
    [
        "AAPL\nMSFT\n500325\n",
        "symbol\nAAPL\nMSFT\n500325",
        '\ufeffSymbol,Name\r\nAAPL,Apple\r\nMSFT,"Micro, Soft"\r\n\r\n500325,Reliance\r\n',
        "name;Ticker;lot\nApple;AAPL;1\nMicrosoft; MSFT ;1\nReliance;500325;5\n",
    ],
)
def test_symbols_are_read_in_the_files_order(tmp_path: Path, text: str) -> None:
    (tmp_path / "instruments.csv").write_text(text)

    assert loaded(tmp_path, {"file": "instruments.csv"}).symbols == ("AAPL", "MSFT", "500325")


def test_a_parquet_file_may_have_them(tmp_path: Path) -> None:
    frame = pd.DataFrame({"instrument": ["A", "B"], "lot": [1, 2]})
    frame.to_parquet(tmp_path / "instruments.parquet")

    assert loaded(tmp_path, {"file": "instruments.parquet"}).symbols == ("A", "B")


def test_the_column_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("instrument_token,tradingsymbol,code\n408065,INFY,X\n")

    assert loaded(tmp_path, {"file": "list.csv", "column": "code"}).symbols == ("X",)


def test_what_counts_is_which_symbols_there_are(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("symbol\nA\nB\n")

    assert loaded(tmp_path, {"file": "list.csv"}).digest() == loaded(tmp_path, ["A", "B"]).digest()


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        (None, {"file": "list.csv"}, "there is no file .*list.csv"),
        ("", {"file": "list.csv"}, "has no symbols|the symbol is missing"),
        ("symbol\n", {"file": "list.csv"}, "has no symbols; write one a line"),
        ("symbol,ticker\nA,B\n", {"file": "list.csv"}, r'2 columns .* column: "symbol"'),
        (
            "a,b\n1,2\n",
            {"file": "list.csv"},
            "no column called as symbols are, among a, b; name it",
        ),
        ("a,b\n1,2\n", {"file": "list.csv", "column": "c"}, 'has no column "c"; it has a, b'),
        ("symbol,lot\nA,1\n,2\n", {"file": "list.csv"}, "line 3: the symbol is missing"),
        ("symbol,at\nA,N\nB,N\nA,B\n", {"file": "list.csv"}, '"A" stands in lines 2 and 4'),
        ("A\n", {"path": "list.csv"}, r"write \{file: instruments.csv\}"),
        ("A\n", {"file": "list.csv", "column": 3}, "as text"),
        ("A\n", {"file": 3}, "write the path"),
    ],
)
def test_a_file_that_is_unclear_is_refused_in_one_line(
    tmp_path: Path, text: str | None, given: dict[str, object], said: str
) -> None:
    if text is not None:
        (tmp_path / "list.csv").write_text(text)

    with pytest.raises(ConfigError, match=said) as refused:
        loaded(tmp_path, given)

    assert "symbols" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
