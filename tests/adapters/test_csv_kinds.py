"""CSV in the many ways that people have it: one small file each, with the same two bars."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbell.adapters.sources import CsvOptions, DataOptions, open_source
from openbell.adapters.sources.timetexts import decided_order
from openbell.errors import DataError
from openbell.market.bars import RawRows
from openbell.market.days import MINUTE_NS, SECOND_NS

FOREVER = (-(2**62), 2**62)
FIRST = int(np.datetime64("2024-07-01T13:30", "ns").astype(np.int64))
EPOCH_S = FIRST // SECOND_NS
NEW_YORK = "America/New_York"
HEADER = "ts,open,high,low,close,volume"
VALUES = ("100,101,99,100.2,1000", "100.5,101.5,99.5,101.2,1100")


def text(*times: object, header: str = HEADER, sep: str = ",") -> str:
    rows = [f"{time}{sep}{of.replace(',', sep)}" for time, of in zip(times, VALUES, strict=True)]
    return "\n".join([*([header.replace(",", sep)] if header else []), *rows, ""])


def read(folder: Path, body: str | bytes, name: str = "a.csv", **keys: Any) -> RawRows:
    path = folder / name
    path.write_bytes(body if isinstance(body, bytes) else body.encode())
    csv = CsvOptions(**keys.pop("csv", {}))
    options = DataOptions(**{"symbol": "Q", "timezone": NEW_YORK, "csv": csv, **keys})
    return open_source(path, options).read(*FOREVER)


def refusal(folder: Path, body: str | bytes, **keys: Any) -> str:
    with pytest.raises(DataError) as error:
        read(folder, body, **keys)
    said = str(error.value)
    assert "\n" not in said
    return said


def assert_the_two_bars(rows: RawRows, first: int = FIRST) -> None:
    assert rows.ts.tolist() == [first, first + MINUTE_NS]
    assert rows.columns["close"].tolist() == [100.2, 101.2]
    assert rows.columns["low"].tolist() == [99.0, 99.5]
    assert rows.columns["volume"].tolist() == [1000.0, 1100.0]


WITHOUT_ZONE = [
    ("2024-07-01 9:30", "2024-07-01 9:31"),
    ("2024-07-01 9:30 AM", "2024-07-01 9:31 AM"),
    ("2024.07.01 09:30", "2024.07.01 09:31"),
    ("2024/7/1 9:30:00.0", "2024/7/1 9:31:00.0"),
    ("01.07.2024 09:30", "01.07.2024 09:31"),
    ("20240701 093000", "20240701 093100"),
    ("20240701  09:30:00", "20240701  09:31:00"),
    ("20240701-09:30:00", "20240701-09:31:00"),
    ("202407010930", "202407010931"),
    ("20240701093000", "20240701093100"),
    ("01-Jul-2024 09:30", "01-Jul-2024 09:31"),
    ('"Jul 1, 2024 09:30:00 AM"', '"Jul 1, 2024 09:31:00 AM"'),
    ("2024-07-01 09:30:00 EDT", "2024-07-01 09:31:00 EDT"),
    ("45474.395833333336", "45474.396527777775"),
]
WITH_ZONE = [
    ("2024-07-01 13:30:00 UTC", "2024-07-01 13:31:00 UTC"),
    ("2024-07-01 09:30:00 America/New_York", "2024-07-01 09:31:00 America/New_York"),
    ("20240701 09:30:00 US/Eastern", "20240701 09:31:00 US/Eastern"),
    ("2024-07-01 19:00:00+05:30", "2024-07-01 19:01:00+05:30"),
    ("2024-07-01T19:00:00+0530", "2024-07-01T19:01:00+0530"),
    ("Mon Jul 01 2024 09:30:00 GMT-0400 (EDT)", "Mon Jul 01 2024 09:31:00 GMT-0400 (EDT)"),
    (f"{EPOCH_S}.0", f"{EPOCH_S + 60}.0"),
    (f"{EPOCH_S * 1000}.0", f"{(EPOCH_S + 60) * 1000}.0"),
    (f"{EPOCH_S * 1000:.9E}", f"{(EPOCH_S + 60) * 1000:.9E}"),
    (f"{FIRST:.12E}", f"{FIRST + MINUTE_NS:.12E}"),
    (EPOCH_S * 1000, (EPOCH_S + 60) * 10**6),
    (f'"{EPOCH_S}"', f'"{EPOCH_S + 60}"'),
]


@pytest.mark.parametrize("times", WITHOUT_ZONE)
def test_times_without_a_zone_are_read_in_the_configured_one(
    times: tuple[str, str], tmp_path: Path
) -> None:
    assert_the_two_bars(read(tmp_path, text(*times)))


@pytest.mark.parametrize("times", WITH_ZONE)
def test_times_with_a_zone_need_no_key(times: tuple[object, object], tmp_path: Path) -> None:
    assert_the_two_bars(read(tmp_path, text(*times), timezone=None))


@pytest.mark.parametrize(
    ("header", "times"),
    [
        ("date,time,open,high,low,close,volume", ("20240701,0930", "20240701,0931")),
        ("date,time,open,high,low,close,volume", ("20240701,930", "20240701,931")),
        ("date,time,open,high,low,close,volume", ("20240701,93000", "20240701,93100")),
        ("Date,Time,Open,High,Low,Close,Vol", ("2024-07-01 00:00:00,9:30", "2024-07-01 00:00:00,9:31")),
        ("<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>", ("2024.07.01,09:30", "2024.07.01,09:31")),
        (",open,high,low,close,volume", ("2024-07-01 09:30", "2024-07-01 09:31")),
        (",datetime,open,high,low,close,volume", ("0,2024-07-01 09:30", "1,2024-07-01 09:31")),
        ("Time (UTC),Open,High,Low,Close,Volume", ("2024-07-01 13:30", "2024-07-01 13:31")),
        ("TIMESTAMP,OPEN,HIGH,LOW,CLOSE,TotalVolume", ("2024-07-01 09:30", "2024-07-01 09:31")),
    ],
)  # fmt: skip
def test_columns_are_known_by_the_names_that_vendors_use(
    header: str, times: tuple[str, str], tmp_path: Path
) -> None:
    zone = None if "UTC" in header else NEW_YORK

    assert_the_two_bars(read(tmp_path, text(*times, header=header), timezone=zone))


PLAIN = text("2024-07-01 09:30", "2024-07-01 09:31")
LAYOUTS: dict[str, str | bytes] = {
    "tabs": text("2024-07-01 09:30", "2024-07-01 09:31", sep="\t"),
    "bars": text("2024-07-01 09:30", "2024-07-01 09:31", sep="|"),
    "blanks": text("20240701 0930", "20240701 0931", header="", sep=" "),
    "blanks around": text("2024-07-01 09:30", "2024-07-01 09:31", sep=", "),
    "decimal comma": text("2024-07-01 09:30", "2024-07-01 09:31", sep=";").replace(".", ","),
    "thousands": PLAIN.replace("1000", '"1,000"').replace("1100", '"1,100"'),
    "dollars": PLAIN.replace(",100", ",$100").replace(",99", ",$99").replace(",101", ",$101"),
    "no header": text("2024-07-01 09:30", "2024-07-01 09:31", header=""),
    "notes before": "# made by a program\n# symbol: Q\n\n" + PLAIN,
    "notes before, with commas": "Symbol: Q, Interval: 1m\n" + PLAIN,
    "a note behind": PLAIN + '"Downloaded as of 07-02-2024 05:13am CDT"\n',
    "a total behind": PLAIN + "Total,,,,,2100\n",
    "an end of file behind": PLAIN + "\x1a",
    "empty lines behind": PLAIN + "\n\n  \n",
    "an empty column": PLAIN.replace("\n", ",\n"),
    "an empty column without a name": PLAIN.replace("1000\n", "1000,\n").replace("1100\n", "1100,\n"),
    "utf-8 with a mark": PLAIN.encode("utf-8-sig"),
    "utf-16": PLAIN.encode("utf-16"),
    "utf-16 without a mark": PLAIN.encode("utf-16-le"),
    "carriage returns": PLAIN.replace("\n", "\r"),
    "latin-1 in the header": PLAIN.replace("volume", "volume,caf\xe9").replace("00\n", "00,x\n").encode("latin-1"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_how_a_file_is_laid_out_is_seen_from_it(name: str, tmp_path: Path) -> None:
    assert_the_two_bars(read(tmp_path, LAYOUTS[name]))


def test_days_and_months_are_told_apart_by_a_number_that_can_be_no_month(tmp_path: Path) -> None:
    day = 14 * 24 * 60 * MINUTE_NS

    for times in (("7/15/2024 9:30", "7/15/2024 9:31"), ("15/7/2024 9:30", "15/7/2024 9:31")):
        assert_the_two_bars(read(tmp_path, text(*times)), FIRST + day)


def test_days_that_may_be_months_are_refused_with_the_key_that_decides(tmp_path: Path) -> None:
    body = text("07/01/2024 09:30", "07/01/2024 09:31")

    said = refusal(tmp_path, body)

    assert "data.csv: {date_order: mdy} or data.csv: {date_order: dmy}" in said
    assert_the_two_bars(read(tmp_path, body, csv={"date_order": "mdy"}))


def test_a_day_that_may_be_a_month_is_told_by_the_file_s_neighbours(tmp_path: Path) -> None:
    for at, name in (("07/01/2024", "Q_1.csv"), ("07/15/2024", "Q_15.csv")):
        (tmp_path / name).write_text(text(f"{at} 09:30", f"{at} 09:31"))

    rows = open_source(tmp_path, DataOptions(symbol="Q", timezone=NEW_YORK)).read(*FOREVER)

    assert rows.ts[0] == FIRST
    assert rows.ts[2] == FIRST + 14 * 24 * 60 * MINUTE_NS


@pytest.mark.parametrize("other", ["07/02/2024", "15/07/2024,07/16/2024"])
def test_neighbours_that_tell_nothing_or_both_decide_nothing(other: str, tmp_path: Path) -> None:
    for number, at in enumerate(("07/01/2024", *other.split(","))):
        (tmp_path / f"Q_{number}.csv").write_text(text(f"{at} 09:30", f"{at} 09:31"))

    with pytest.raises(DataError, match="nothing in the file tells the day from the month"):
        open_source(tmp_path, DataOptions(symbol="Q", timezone=NEW_YORK)).info()


def test_ticks_that_are_read_as_bars_are_told_with_the_key(tmp_path: Path) -> None:
    body = "symbol,ts,price,size\nQ,2024-07-01 09:30:01,100,5\n"

    assert "if these are ticks, write data.kind: ticks" in refusal(tmp_path, body)


def test_trades_without_a_header_get_no_name_for_what_only_looks_like_a_price(
    tmp_path: Path,
) -> None:
    body = (
        "1,60000.10,0.5,30000.05,1719840600000,True,True\n2,60001,1,60001,1719840660000,True,True\n"
    )

    said = refusal(tmp_path, body, kind="ticks")

    assert "names: [x1, x2, x3, x4, ts, x6, x7]" in said


@given(
    start=st.dates(),
    steps=st.lists(st.integers(0, 5), min_size=4, max_size=60),
    order=st.sampled_from(["mdy", "dmy"]),
)
def test_an_order_that_is_decided_is_the_right_one(
    start: Any, steps: list[int], order: str
) -> None:
    first = np.datetime64(start, "D")
    days = first + np.cumsum(steps).astype("timedelta64[D]")
    dates = [day.item() for day in days if 1900 <= day.item().year <= 2200]
    parts = np.array(
        [[{"y": d.year, "m": d.month, "d": d.day}[letter] for letter in order] for d in dates],
        np.int32,
    ).reshape(-1, 3)

    decided = decided_order(parts.T)

    same = all(d.month == d.day for d in dates)
    assert decided in (None, order) or same


def test_a_comma_that_may_stand_for_decimals_or_thousands_is_refused(tmp_path: Path) -> None:
    body = "ts;open;high;low;close\n2024-07-01 09:30;1,100;1,101;1,099;1,100\n"

    said = refusal(tmp_path, body)

    assert 'data.csv: {decimal: ","} or data.csv: {thousands: ","}' in said
    assert read(tmp_path, body, csv={"decimal": ","}).columns["close"].tolist() == [1.1]
    assert read(tmp_path, body, csv={"thousands": ","}).columns["close"].tolist() == [1100.0]


@pytest.mark.parametrize(
    ("body", "keys", "said"),
    [
        (text("2024-07-01 09:30", "2024-07-01 09:31", header=""), {"columns": {"ts": "Date"}}, "has no header line"),
        (text("2024-07-01 09:30", "2024-07-01 09:31", header=""), {"columns": {"low": "99"}}, "values of its first row"),
        ("2024-07-01 09:30,100,100.2,101,99,1\n", {}, "names: [ts, open, high, low, close, volume]"),
        (PLAIN + PLAIN, {}, "row 3 is the header line once more"),
        (PLAIN + "2024-07-01 09:32,10", {}, "row 3: expected 6 columns, got 2"),
        (text("09:30", "09:31"), {}, "times of day without a date"),
        (text("930", "931"), {}, "neither dates nor epoch counts"),
        (text("2024.02.30 09:30", "2024.02.30 09:31"), {}, 'row 1: ts is "2024.02.30 09:30"'),
        (text("2024-07-01 09:30:00 EST", "2024-07-01 09:31:00 EST"), {}, "has no EST then"),
        (text("2024-07-01 09:30:00 EDT", "2024-07-01 09:31:00 EDT"), {"timezone": None}, "e.g. data.timezone: America/New_York"),
        ("<!DOCTYPE html>\n<html><body>Too many requests</body></html>\n", {}, "is it CSV?"),
        ('{"error": "not found"}\n', {}, "is it CSV?"),
        (PLAIN, {"csv": {"time_format": "%d/%m/%Y %H:%M"}}, "correct data.csv.time_format"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_what_to_do(
    body: str, keys: dict[str, Any], said: str, tmp_path: Path
) -> None:
    assert said in refusal(tmp_path, body, **keys)


def test_a_server_that_is_ahead_is_shifted_back(tmp_path: Path) -> None:
    body = text("2024-07-01 16:30", "2024-07-01 16:31")

    assert_the_two_bars(read(tmp_path, body, time_shift_ns=-7 * 60 * MINUTE_NS))


@pytest.mark.parametrize("ends", [("09:31:00", "09:32:00"), ("09:30:59", "09:31:59"), ("09:30:59.999", "09:31:59.999")])  # fmt: skip
def test_an_end_may_be_the_last_instant_of_the_bar(ends: tuple[str, str], tmp_path: Path) -> None:
    body = text(*(f"2024-07-01 {end}" for end in ends))

    assert_the_two_bars(read(tmp_path, body, bar_label="end"))


def clocks(*times: str, symbols: str = "") -> str:
    whose = symbols or "A" * len(times)
    rows = [f"{s},2024-11-03 {t},1,1,1,1" for s, t in zip(whose, times, strict=True)]
    return "\n".join(["symbol,ts,open,high,low,close", *rows, ""])


def minutes(rows: RawRows) -> list[str]:
    return [str(np.datetime64(t, "ns").astype("datetime64[m]"))[-5:] for t in rows.ts.tolist()]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (("00:59", "01:30", "01:00", "02:00"), ["04:59", "05:30", "06:00", "07:00"]),
        (("02:00", "01:00", "01:30", "00:59"), ["07:00", "06:00", "05:30", "04:59"]),
        (("00:59", "01:00", "01:30"), ["04:59", "05:00", "05:30"]),
        (("01:00", "01:30", "02:00"), ["06:00", "06:30", "07:00"]),
    ],
)
def test_the_order_of_rows_tells_the_passes_through_a_repeated_hour(
    times: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    assert minutes(read(tmp_path, clocks(*times), symbol=None)) == expected


def test_each_symbol_goes_through_a_repeated_hour_for_itself(tmp_path: Path) -> None:
    body = clocks("01:30", "01:30", "01:10", "01:40", "02:00", "01:10", symbols="ABABAB")

    rows = read(tmp_path, body, symbol=None)

    assert minutes(rows) == ["05:30", "05:30", "06:10", "05:40", "07:00", "06:10"]


@pytest.mark.parametrize(
    ("times", "row"),
    [
        (("00:59", "01:30", "02:00"), 2),
        (("01:30",), 1),
        (("01:30", "01:00", "01:30", "01:00", "01:30"), 4),
        (("01:30", "02:00", "01:00", "00:59", "01:45"), 1),
    ],
)
def test_times_that_come_twice_are_refused_where_the_order_does_not_tell(
    times: tuple[str, ...], row: int, tmp_path: Path
) -> None:
    said = refusal(tmp_path, clocks(*times), symbol=None)

    assert f"row {row}: 2024-11-03T01:" in said
    assert "comes twice in America/New_York" in said


def test_what_is_proposed_for_a_file_without_a_header_can_be_followed(tmp_path: Path) -> None:
    body = text("2024-07-01 09:30", "2024-07-01 09:31", header="")
    columns = {"ts": "Date", "open": "O", "high": "H", "low": "L", "close": "C", "volume": "V"}

    said = refusal(tmp_path, body, columns=columns)

    assert said.endswith("data.csv: {header: none, names: [ts, open, high, low, close, volume]}")
    names = ("ts", "open", "high", "low", "close", "volume")
    assert_the_two_bars(read(tmp_path, body, columns=columns, csv={"header": 0, "names": names}))


def test_a_column_of_times_is_no_price(tmp_path: Path) -> None:
    body = "Price,Bid\n2024-07-01 09:30,100\n2024-07-01 09:31,100\n"

    assert 'no column "price"' in refusal(tmp_path, body, kind="ticks")


def test_what_was_taken_for_granted_is_said(tmp_path: Path) -> None:
    no_header = tmp_path / "a.csv"
    no_header.write_text(text("2024-07-01 09:30", "2024-07-01 09:31", header=""))
    other_name = tmp_path / "b.csv"
    other_name.write_text(PLAIN.replace("volume", "Contracts"))
    options = DataOptions(symbol="Q", timezone=NEW_YORK)

    (first,) = open_source(no_header, options).info().notes
    (second,) = open_source(other_name, options).info().notes

    assert first.endswith("the columns are taken as ts, open, high, low, close, volume")
    assert second.endswith('write data.columns: {volume: "Contracts"}')


def test_a_log_beside_the_rows_in_an_archive_does_no_harm(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("DAT_ASCII_2024.csv", PLAIN)
        archive.writestr("DAT_ASCII_2024.txt", "Gap of 61s found")

    rows = open_source(tmp_path / "a.zip", DataOptions(symbol="Q", timezone=NEW_YORK)).read(
        *FOREVER
    )

    assert_the_two_bars(rows)
