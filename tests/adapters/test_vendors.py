"""A small file of each vendor's layout, numbers invented, and what it takes to read it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from openbell.adapters.sources import CsvOptions, DataOptions, open_source
from openbell.adapters.sources.described import described
from openbell.errors import DataError
from openbell.market.bars import RawRows
from openbell.market.days import MINUTE_NS, SECOND_NS

FILES = Path(__file__).parents[1] / "data/vendors"
FOREVER = (-(2**62), 2**62)
OPEN = [50.0, 50.1, 50.35, 50.2, 50.55]
HIGH = [50.2, 50.4, 50.38, 50.6, 50.56]
LOW = [49.9, 50.05, 50.15, 50.2, 49.7]
CLOSE = [50.1, 50.35, 50.2, 50.55, 49.75]
VOLUME = [1200.0, 900.0, 700.0, 1500.0, 2100.0]

NEW_YORK: dict[str, Any] = {"timezone": "America/New_York"}
AFTER_NEW_YORK: dict[str, Any] = {**NEW_YORK, "time_shift_ns": -7 * 60 * MINUTE_NS}

LAYOUTS: dict[str, dict[str, Any]] = {
    "alpaca.csv": {},
    "barchart.csv": {"timezone": "America/Chicago"},
    "binance_header.csv": {},
    "binance_ms.csv": {},
    "binance_us.csv": {},
    "cryptodatadownload.csv": {},
    "databento.csv": {},
    "databento_pretty.csv": {},
    "dukascopy.csv": {},
    "firstrate.txt": NEW_YORK,
    "histdata.csv": {"timezone": "Etc/GMT+5"},
    "ib.csv": NEW_YORK,
    "ib_zone.csv": {},
    "kibot.txt": NEW_YORK,
    "kite.csv": {},
    "kraken.csv": {},
    "massive.csv.gz": {},
    "metatrader4.csv": AFTER_NEW_YORK,
    "metatrader5.csv": AFTER_NEW_YORK,
    "ninjatrader.txt": {**NEW_YORK, "bar_label": "end"},
    "sierra.txt": NEW_YORK,
    "stooq.txt": {"timezone": "Europe/Warsaw", "interval_ns": 5 * MINUTE_NS},
    "tradingview.csv": {},
    "tradingview_iso.csv": {},
    "yfinance.csv": {},
}
"""File → the keys of `data:` that it needs."""
FIRST = {
    "kite.csv": datetime(2024, 7, 1, 3, 45, tzinfo=UTC),
    "kibot.txt": datetime(2024, 7, 15, 13, 30, tzinfo=UTC),
    "barchart.csv": datetime(2024, 7, 15, 13, 30, tzinfo=UTC),
}
SYMBOL = {"cryptodatadownload.csv": "ZZX/USD", "stooq.txt": "ZZX.US"}
NAMED = {"alpaca", "databento", "databento_pretty", "massive", "yfinance"}
PRICES = {"histdata.csv": 1 / 40}
VOLUMES = {"histdata.csv": 0.0, "dukascopy.csv": 0.01}


def read(path: Path, keys: dict[str, Any]) -> RawRows:
    name = path.name
    symbol = None if name in SYMBOL or path.name.split(".")[0] in NAMED else "ZZX"
    return open_source(path, DataOptions(**{"symbol": symbol, **keys})).read(*FOREVER)


def test_each_file_is_named() -> None:
    assert sorted(LAYOUTS) == sorted(path.name for path in FILES.iterdir())


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_what_a_vendor_writes_is_read_with_its_keys(name: str) -> None:
    keys = LAYOUTS[name]

    rows = read(FILES / name, keys)

    first = FIRST.get(name, datetime(2024, 7, 1, 13, 30, tzinfo=UTC))
    minutes = (keys.get("interval_ns") or MINUTE_NS) // MINUTE_NS
    starts = [first + timedelta(minutes=minutes * i) for i in range(5)]
    order = sorted(range(5), key=lambda i: int(rows.ts[i]))
    assert rows.symbols == (SYMBOL.get(name, "ZZX"),)
    assert [int(rows.ts[i]) // SECOND_NS for i in order] == [int(s.timestamp()) for s in starts]
    for column, expected in (("open", OPEN), ("high", HIGH), ("low", LOW), ("close", CLOSE)):
        scaled = [price * PRICES.get(name, 1.0) for price in expected]
        assert rows.columns[column][order].tolist() == pytest.approx(scaled, rel=1e-6)
    volumes = [volume * VOLUMES.get(name, 1.0) for volume in VOLUME]
    assert rows.columns["volume"][order].tolist() == volumes


@pytest.mark.parametrize("name", sorted(name for name in LAYOUTS if "timezone" in LAYOUTS[name]))
def test_times_without_a_zone_are_refused_without_the_key(name: str) -> None:
    with pytest.raises(DataError, match=r"set data\.timezone"):
        read(FILES / name, {})


@pytest.mark.parametrize(
    "name", ["metatrader4.csv", "ninjatrader.txt", "sierra.txt", "yfinance.csv"]
)
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_ends_of_lines_and_encodings_change_nothing(
    name: str, ends: str, encoding: str, tmp_path: Path
) -> None:
    text = (FILES / name).read_text(encoding="utf-8")
    path = tmp_path / name
    path.write_bytes(text.replace("\n", ends).encode(encoding))

    rows = read(path, LAYOUTS[name])

    expected = read(FILES / name, LAYOUTS[name])
    assert rows.ts.tolist() == expected.ts.tolist()
    assert rows.columns["close"].tolist() == expected.columns["close"].tolist()


@pytest.mark.parametrize("name", sorted(name for name in LAYOUTS if name != "massive.csv.gz"))
def test_the_layout_can_be_written_out(name: str) -> None:
    """What is detected is no more than what keys can say."""
    keys = LAYOUTS[name]
    (found,) = described(FILES / name, DataOptions(symbol="ZZX", **keys))
    csv = dict(found.keys["csv"])
    csv["header"] = 0 if csv["header"] == "none" else csv["header"]
    csv["names"] = tuple(csv.get("names", ()))

    rows = read(
        FILES / name,
        {**keys, "csv": CsvOptions(**csv), "columns": found.keys.get("columns", {})},
    )

    assert rows.ts.tolist() == read(FILES / name, LAYOUTS[name]).ts.tolist()
