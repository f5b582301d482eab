"""Prices of 0 and below, as of spreads and of crude oil on 2020-04-20."""

from __future__ import annotations

from pathlib import Path

import pytest

from openbell import backtest
from openbell.errors import DataError

ROWS = """ts,open,high,low,close,volume
2024-07-01 09:30,-10,-9,-11,-10,1
2024-07-01 09:31,-10,-9.5,-10.5,-10,1
2024-07-01 09:32,-10,-8.95,-10.5,-8.95,1
2024-07-01 09:33,-9,-8.5,-10.5,-8.9,1
2024-07-01 09:34,-9,0.5,-12,0.25,1
2024-07-01 09:35,0,0,-12,-11.2,1
"""


def config(folder: Path, **data: object) -> dict[str, object]:
    (folder / "cl.csv").write_text(ROWS)
    keys = {"path": str(folder / "cl.csv"), "timezone": "America/New_York", "symbol": "CL"}
    return {
        "exchange": "XNYS",
        "sessions": [{"name": "Open", "start": "09:30", "end": "09:31"}],
        "breakout": {"buffer": "1%"},
        "data": {**keys, **data},
    }


def test_levels_below_zero_are_broken_outwards(tmp_path: Path) -> None:
    result = backtest(config(tmp_path, allow_negative_prices=True))

    found = result.signals.select(["side", "price", "level"]).to_pylist()
    assert found == [
        {"side": "HIGH_BREAK", "price": -8.9, "level": -9.0},  # beyond -8.91
        {"side": "LOW_BREAK", "price": -11.2, "level": -11.0},  # beyond -11.11
    ]
    assert result.quality["bad_rows"].to_pylist() == [0]


def test_data_that_is_mostly_unusable_is_refused_with_the_key(tmp_path: Path) -> None:
    out = tmp_path / "out"

    with pytest.raises(DataError, match=r"6 of 6 rows .* write data\.allow_negative_prices: true"):
        backtest(config(tmp_path), out=out)

    assert not out.exists() or not any(out.iterdir())
