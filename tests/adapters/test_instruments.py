"""Files of instruments: of one's own and vendors' dumps, whole and damaged."""

from __future__ import annotations

import gzip
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openbell.adapters.instruments import InstrumentsFile, layout_of, read_instruments
from openbell.errors import ConfigError, DataError
from openbell.market.instruments import Instrument, Roll

PLAIN = """underlying,expiry,symbol,tick_size,lot,segment,exchange
NIFTY,2025-08-28,NIFTY25AUGFUT,0.1,75,NFO-FUT,NFO
NIFTY,2025-09-30,NIFTY25SEPFUT,0.1,75,NFO-FUT,NFO
,,NIFTY,0.05,,index,NSE
"""

KITE = """instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,segment,exchange
256265,1001,NIFTY 50,NIFTY 50,0,,0,0,0,EQ,INDICES,NSE
738561,2885,RELIANCE,RELIANCE INDUSTRIES,0.0,,0.0,0.1,1,EQ,NSE,NSE
341249,1333,PAYTM,ONE 97 COMMUNICATIONS,0.0,,0.0,0.1,1,EQ,NSE,NSE
128083204,500325,RELIANCE,RELIANCE INDUSTRIES,0.0,,0.0,0.05,1,EQ,BSE,BSE
13568258,53001,NIFTY26NOVFUT,NIFTY,0.0,2026-11-24,0,0.1,75,FUT,NFO-FUT,NFO
13568260,53003,RELIANCE26DECFUT,RELIANCE,0.0,2026-12-29,0,0.1,500,FUT,NFO-FUT,NFO
13568261,53004,NIFTY26NOV24000CE,NIFTY,0.0,2026-11-24,24000,0.05,75,CE,NFO-OPT,NFO
13568262,53005,NIFTY26NOV24000PE,NIFTY,0.0,2026-11-24,24000,0.05,75,PE,NFO-OPT,NFO
"""


def read(
    folder: Path, text: str, layout: Any = "plain", *, futures: bool = False, **keys: Any
) -> InstrumentsFile:
    (folder / "i.csv").write_text(text, encoding="utf-8")
    made = layout_of(
        layout,
        keys.get("columns", {}),
        keys.get("filters", {}),
        keys.get("segments", {}),
        keys.get("date_format"),
        keys.get("tick_scale", 1.0),
        keys.get("tz", "Asia/Kolkata"),
    )
    return read_instruments(folder / "i.csv", made, futures=futures)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    found = read(tmp_path, PLAIN)

    assert found.instruments.rows == (
        Instrument(2, "NIFTY25AUGFUT", "NIFTY", date(2025, 8, 28), 0.1, 75.0, "futures", "NFO"),
        Instrument(3, "NIFTY25SEPFUT", "NIFTY", date(2025, 9, 30), 0.1, 75.0, "futures", "NFO"),
        Instrument(4, "NIFTY", None, None, 0.05, None, "index", "NSE"),
    )
    assert (found.rows, found.left_out, found.repeated, found.notes) == (3, 0, (), ())
    assert found.identity.size == len(PLAIN.encode())


def test_parquet_with_dates_of_its_own(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "Symbol": ["F", "G"],
            "Root": ["N", "N"],
            "Expiration Date": pd.to_datetime(["2025-08-28", "2025-09-30"]),
            "tick": [0.1, None],
            "since": [None, date(2025, 8, 1)],
        }
    )
    frame.to_parquet(tmp_path / "i.parquet")

    found = read_instruments(tmp_path / "i.parquet", layout_of("plain", {}, {}, {}, None))

    assert found.instruments.rows == (
        Instrument(1, "F", "N", date(2025, 8, 28), 0.1),
        Instrument(2, "G", "N", date(2025, 9, 30), None, since=date(2025, 8, 1)),
    )


def test_a_dump_of_kite_is_read_as_it_is(tmp_path: Path) -> None:
    found = read(tmp_path, KITE, "kite")

    assert {(r.symbol, r.underlying, r.expiry, r.segment) for r in found.instruments.rows} == {
        ("NIFTY 50", None, None, "index"),
        ("RELIANCE", None, None, "equity_fno"),  # it has futures
        ("PAYTM", None, None, "equity"),
        ("RELIANCE", None, None, "equity"),  # at BSE
        ("NIFTY26NOVFUT", "NIFTY", date(2026, 11, 24), "futures"),
        ("RELIANCE26DECFUT", "RELIANCE", date(2026, 12, 29), "futures"),
    }
    assert found.left_out == 2  # options
    assert found.instruments.tick_size("NIFTY 50", date(2026, 11, 2)) is None  # 0 means: not known
    with pytest.raises(DataError, match=r"is 0\.1 by row 3 and 0\.05 by row 5"):
        found.instruments.tick_size("RELIANCE", date(2026, 11, 2))


def test_filters_leave_rows_out(tmp_path: Path) -> None:
    found = read(tmp_path, KITE, "kite", filters={"exchange": ("NSE", "NFO")})

    assert found.instruments.tick_size("RELIANCE", date(2026, 11, 2)) == 0.1
    assert found.left_out == 3


def test_columns_segments_and_dates_as_the_file_has_them(tmp_path: Path) -> None:
    text = "id;root;last day;kind\nX1;N;28/08/2025;FUTIDX\n"
    keys: dict[str, Any] = {
        "columns": {"symbol": "id", "expiry": "last day", "segment": "kind"},
        "segments": {"FUTIDX": "futures"},
        "date_format": "%d/%m/%Y",
    }

    (row,) = read(tmp_path, text, **keys).instruments.rows

    assert row == Instrument(2, "X1", "N", date(2025, 8, 28), segment="futures")


@pytest.mark.parametrize(
    "written", ["2025-08-28", "20250828", "28-Aug-2025", "28AUG25", "28-aug-25", "2025-08-28 00:00"]
)
def test_dates_as_people_write_them(tmp_path: Path, written: str) -> None:
    (row,) = read(tmp_path, f"symbol,underlying,expiry\nF,N,{written}\n").instruments.rows

    assert row.expiry == date(2025, 8, 28)


@pytest.mark.parametrize(
    ("line", "why", "underlying"),
    [
        ("N,2025-02-30,F,0.1", "expiry is '2025-02-30', which is no date", "N"),
        ("N,soon,F,0.1", "expiry is 'soon', which is no date", "N"),
        ("N,2025-08-28,F,cheap", "tick_size is 'cheap'; write a number above 0", "N"),
        ("N,2025-08-28,F,-0.1", "tick_size is '-0.1'; write a number above 0", "N"),
        ("N,2025-08-28,F,inf", "tick_size is 'inf'; write a number above 0", "N"),
        ("N,2025-08-28,,0.1", "the symbol is missing", "N"),
        (",2025-08-28,F,0.1", "F has an expiry and no underlying", None),
        ("N,2025-08-28,F", "it has 3 cells, where the heading has 4", None),
    ],
)
def test_a_row_that_cannot_be_used_is_counted_and_told(
    tmp_path: Path, line: str, why: str, underlying: str | None
) -> None:
    text = f"underlying,expiry,symbol,tick_size\nM,2025-08-28,G,0.1\n\n{line}\n"

    found = read(tmp_path, text)

    (unusable,) = found.instruments.unusable
    assert (unusable.row, unusable.underlying) == (4, underlying)
    assert why in unusable.why
    (note,) = found.notes
    assert note.startswith(f"{tmp_path / 'i.csv'}: 1 row can't be used, the first is 4: ")
    assert [row.symbol for row in found.instruments.rows] == ["G"]


def test_a_row_that_says_what_another_says_is_told_once(tmp_path: Path) -> None:
    found = read(tmp_path, PLAIN + "NIFTY,2025-08-28,NIFTY25AUGFUT,0.1,75,NFO-FUT,NFO\n")

    assert len(found.instruments.rows) == 3
    assert found.notes == (f"{tmp_path / 'i.csv'}: 1 row repeats another, such as 5",)


@pytest.mark.parametrize(
    ("text", "layout", "keys", "said"),
    [
        ("a,b\n1,2\n", "plain", {}, r"no column called as symbol is, among a, b; name it: instr"),
        ("symbol\nA\n", "plain", {"futures": True}, r"no column called as underlying is, among"),
        (PLAIN, "kite", {}, r'no column "tradingsymbol" for symbol; it has underlying, expiry'),
        (PLAIN, "plain", {"columns": {"lot": "lots"}}, r'no column "lots" for lot; it has'),
        (
            PLAIN,
            "plain",
            {"filters": {"kind": ("F",)}},
            r'instruments.filters: .* no column "kind"',
        ),
        (
            "symbol,ticker\nA,B\n",
            "plain",
            {},
            r"2 columns that may be symbol, among symbol, ticker",
        ),
    ],
)
def test_a_column_that_is_missing_is_an_error_that_lists_those_there_are(
    tmp_path: Path, text: str, layout: str, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, text, layout, **keys)


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("symbol,expiry\n", {}, r"i.csv has no instruments; write one a line"),
        ("", {}, r"i.csv is empty; write a line of headings"),
        (PLAIN, {"filters": {"exchange": ("X",)}}, r"filters leave none of the 3 rows of"),
        ("symbol,tick\nA,x\n", {}, r"has no row that can be used; row 2: tick_size is 'x'"),
    ],
)
def test_a_file_of_which_nothing_can_be_used_is_refused(
    tmp_path: Path, text: str, keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, text, **keys)


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    layout = layout_of("plain", {}, {}, {}, None)
    (tmp_path / "odd.csv").write_bytes(b"symbol\n\xff\xfe\n")
    (tmp_path / "odd.parquet").write_bytes(b"PAR1 no")

    for name, said in (
        ("none.csv", "there is no file"),
        ("odd.csv", "is not UTF-8"),
        ("odd.parquet", "is no Parquet file"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_instruments(tmp_path / name, layout)
    with pytest.raises(ConfigError):
        read_instruments(tmp_path, layout)


@pytest.mark.parametrize(
    ("written", "date_format"),
    [
        ("2026-12-29", None),
        ("2026/12/29", None),
        ("20261229", None),
        ("29-Dec-2026", None),
        ("29dec26", None),
        ("2026-12-29 14:30:00", None),
        ("2026-12-28T18:30:00Z", None),  # midnight in India
        ("2026-12-29T00:00:00+05:30", None),
        ("2026-12-28 18:30:00+0000", None),
        ("29/12/2026", "%d/%m/%Y"),
        ("1798482600", "epoch s"),
        ("1798482600000", "epoch ms"),
        ("1798482600.0", "epoch s"),
    ],
)
def test_an_expiry_is_its_date_where_the_exchange_is(
    tmp_path: Path, written: str, date_format: str | None
) -> None:
    found = read(tmp_path, f"underlying,expiry,symbol\nA,{written},F\n", date_format=date_format)

    assert [row.expiry for row in found.instruments.rows] == [date(2026, 12, 29)]


@pytest.mark.parametrize("written", ["29-12-2026", "05/06/2026", "1798482600", "Dec 29"])
def test_a_date_that_could_be_several_is_refused_with_the_key_that_says_which(
    tmp_path: Path, written: str
) -> None:
    with pytest.raises(DataError, match=r"i\.csv .* row 2: expiry is .* instruments\.date_format"):
        read(tmp_path, f"underlying,expiry,symbol\nA,{written},F\n", futures=True)


def test_nothing_is_written_in_many_ways(tmp_path: Path) -> None:
    words = ("", "NULL", "nan", "NaT", "-", "None", "NA", "0001-01-01 00:00:00")
    rows = "".join(f",{word},S{n},{word if n < 7 else ''},NSE\n" for n, word in enumerate(words))

    found = read(tmp_path, f"underlying,expiry,symbol,tick_size,exchange\n{rows}")

    assert [(row.symbol, row.expiry, row.tick_size) for row in found.instruments.rows] == [
        (f"S{n}", None, None) for n in range(len(words))
    ]
    assert found.notes == ()


def test_ticks_in_paise_are_scaled_as_the_decimals_they_are(tmp_path: Path) -> None:
    text = "symbol,tick_size\nA,10.000000\nB,5\nC,1\nD,0\n"

    found = read(tmp_path, text, tick_scale=0.01)

    assert [row.tick_size for row in found.instruments.rows] == [0.1, 0.05, 0.01, None]


def test_a_dump_of_kite_without_its_layout_is_told_from_others(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"write instruments\.layout: kite; else name it"):
        read(tmp_path, KITE, futures=True)


def test_packed_files_are_read_and_archives_and_damaged_ones_told(tmp_path: Path) -> None:
    path, layout = tmp_path / "i.csv.gz", layout_of("plain", {}, {}, {}, None)
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + PLAIN.encode()))
    assert len(read_instruments(path, layout, futures=True).instruments.rows) == 3

    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigError, match="is a damaged gzip file"):
        read_instruments(path, layout)
    path.write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(ConfigError, match="is a zip archive; unpack it"):
        read_instruments(path, layout)


def test_columns_of_parquet_may_have_many_types(tmp_path: Path) -> None:
    midnight = datetime(2026, 12, 28, 18, 30, tzinfo=UTC)
    text = pa.array(["NIFTY", None])
    kinds: dict[str, pa.Array] = {
        "date32": pa.array([date(2026, 12, 29), None], pa.date32()),
        "instants in UTC": pa.array([midnight, None], pa.timestamp("us", tz="UTC")),
        "instants there": pa.array([midnight, None], pa.timestamp("ns", tz="Asia/Kolkata")),
        "bytes": pa.array([b"2026-12-29", None]),
    }
    for kind, expiry in kinds.items():
        for ticks in (
            pa.array([Decimal("0.10"), Decimal("0.05")], pa.decimal128(10, 2)),
            pa.array([0.1, 0.05], pa.float32()),
        ):
            columns = [text.dictionary_encode(), expiry, pa.array([b"F", b"NIFTY"]), ticks]
            table = pa.table(columns, ["underlying", "expiry", "symbol", "tick_size"])
            pq.write_table(table, tmp_path / "i.pq")

            layout = layout_of("plain", {}, {}, {}, None, tz="Asia/Kolkata")
            found = read_instruments(tmp_path / "i.pq", layout, futures=True).instruments.rows

            assert [(r.symbol, r.underlying, r.expiry, r.tick_size) for r in found] == [
                ("F", "NIFTY", date(2026, 12, 29), 0.1),
                ("NIFTY", None, None, 0.05),
            ], kind


def test_a_dump_of_all_contracts_is_resolved_as_pandas_does(tmp_path: Path) -> None:
    """Weekly and monthly options among futures of three indices, in any order, some rows twice."""
    rng = random.Random(9)
    days = [of.date() for of in pd.bdate_range("2026-01-05", "2026-04-30")]
    lines = []
    for name in ("NIFTY", "BANKNIFTY", "SENSEX"):
        for month in range(1, 7):
            expiry = max(
                d.date()
                for d in pd.date_range(f"2026-{month:02d}-01", periods=28)
                if d.weekday() == 1
            )
            expiry -= timedelta(days=rng.choice((0, 0, 1)))  # a holiday moves it
            board = "BFO" if name == "SENSEX" else "NFO"
            symbol = f"{name}26{expiry:%b}FUT".upper()
            lines.append(f"1,1,{symbol},{name},0.0,{expiry},0.0,0.1,75,FUT,{board}-FUT,{board}")
            for week in range(3):
                early = expiry - timedelta(days=7 * week)
                lines.append(
                    f"1,1,{name}26{week}{month}CE,{name},0.0,{early},100.0,0.05,75,CE,{board}-OPT,{board}"
                )
    lines += rng.sample(lines, 5)
    rng.shuffle(lines)
    found = read(tmp_path, "\n".join([KITE.splitlines()[0], *lines]), "kite", futures=True)

    frame = pd.read_csv(tmp_path / "i.csv", parse_dates=["expiry"])
    futures = frame[frame["instrument_type"] == "FUT"].drop_duplicates()
    for name in ("NIFTY", "BANKNIFTY", "SENSEX"):
        of = futures[futures["name"] == name].sort_values("expiry")
        for place, day in enumerate(days[:60]):
            for left in (0, 2):
                # As many trading days as that are left at its expiry, or more.
                least = pd.Timestamp(days[place + left])
                expected = of[of["expiry"] >= least]["tradingsymbol"].iloc[0]
                contract = found.instruments.contract(name, day, Roll(left), days)
                assert contract is not None
                assert (contract.symbol, contract.tick_size) == (expected, 0.1), (day, left)
    assert found.left_out == int((frame["instrument_type"] != "FUT").sum())
    assert len(found.repeated) == int(frame[frame["instrument_type"] == "FUT"].duplicated().sum())
