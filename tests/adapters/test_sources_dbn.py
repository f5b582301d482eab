"""DBN files as a source, beside what Databento's own client reads from the same bytes."""

from __future__ import annotations

import json
from datetime import date, time
from pathlib import Path

import numpy as np
import pytest
from dbn_files import bar, dbn, mapping, metadata, system, trade, write

import openbell
from openbell.adapters.sources import DataOptions, Source, open_source
from openbell.errors import DataError
from openbell.market.bars import RawRows
from openbell.market.days import DAY_NS, MINUTE_NS, SECOND_NS, local_instant

FOREVER = (-(2**62), 2**62)
OPEN = local_instant(date(2024, 7, 1), time(9, 30), "America/New_York")
NAMED = {
    "AAPL": [("2024-07-01", "2024-07-02", 38), ("2024-07-02", "2024-07-03", 40)],
    "MSFT": [("2024-07-01", "2024-07-03", 39)],
}


def rows(source: Source, symbols: tuple[str, ...] | None = None) -> list[tuple[object, ...]]:
    return listed(source.read(*FOREVER, symbols))


def listed(raw: RawRows) -> list[tuple[object, ...]]:
    values = zip(*(column.tolist() for column in raw.columns.values()), strict=True)
    names = [raw.symbols[code] for code in raw.code.tolist()]
    return [(name, ts, *of) for name, ts, of in zip(names, raw.ts.tolist(), values, strict=True)]


def minutes(path: Path) -> Path:
    """Two days of two symbols; the second minute of MSFT has no record, as nothing traded."""
    records = [
        bar(38, OPEN, (211.5, 212.01, 211.25, 211.99), 1000),
        bar(39, OPEN, (449.1, 449.2, 449.0, 449.15), 7),
        bar(38, OPEN + MINUTE_NS, (211.99, 212.0, 211.9, 211.95), 2**40),
        bar(40, OPEN + DAY_NS, (0.0001, 0.0003, 0.0001, 0.0002), 5),
        bar(39, OPEN + DAY_NS, (450.0, 450.0, 450.0, 450.0), 1),
    ]
    return write(path, metadata("ohlcv-1m", NAMED), records)


EXPECTED = [
    ("AAPL", OPEN, 211.5, 212.01, 211.25, 211.99, 1000.0),
    ("MSFT", OPEN, 449.1, 449.2, 449.0, 449.15, 7.0),
    ("AAPL", OPEN + MINUTE_NS, 211.99, 212.0, 211.9, 211.95, 2.0**40),
    ("AAPL", OPEN + DAY_NS, 0.0001, 0.0003, 0.0001, 0.0002, 5.0),
    ("MSFT", OPEN + DAY_NS, 450.0, 450.0, 450.0, 450.0, 1.0),
]


@pytest.mark.parametrize("name", ["a.dbn", "a.dbn.zst", "xnas-itch-20240701.ohlcv-1m.dbn.zst"])
def test_bars_are_what_was_encoded(tmp_path: Path, name: str) -> None:
    source = open_source(minutes(tmp_path / name))

    assert rows(source) == EXPECTED
    assert source.info().symbols == ("AAPL", "MSFT")
    assert source.info().notes == ()
    assert source.dates("America/New_York") == {date(2024, 7, 1): 3, date(2024, 7, 2): 2}
    assert rows(source, ("MSFT",)) == [row for row in EXPECTED if row[0] == "MSFT"]
    assert listed(source.read(OPEN, OPEN + MINUTE_NS)) == EXPECTED[:2]
    assert source.read(*FOREVER).locate(2) == (str(tmp_path / name), 3)


@pytest.mark.filterwarnings("ignore:The inplace keyword")
def test_the_vendors_client_reads_the_same(tmp_path: Path) -> None:
    databento = pytest.importorskip("databento", reason="openbell[databento] is not installed")
    path = minutes(tmp_path / "a.dbn.zst")

    frame = databento.DBNStore.from_bytes(path.read_bytes()).to_df().reset_index()

    theirs = [
        (row.symbol, row.ts_event.value, row.open, row.high, row.low, row.close, float(row.volume))
        for row in frame.itertuples()
    ]
    assert rows(open_source(path)) == theirs


@pytest.mark.parametrize("version", [1, 2, 3])
def test_every_version_of_the_format_is_read(tmp_path: Path, version: int) -> None:
    named = {"AAPL": [("2024-07-01", "2024-07-02", 38)]}
    head = metadata("ohlcv-1m", named, version=version)

    source = open_source(write(tmp_path / "a.dbn", head, [bar(38, OPEN, (1, 2, 1, 2))]))

    assert rows(source) == [("AAPL", OPEN, 1.0, 2.0, 1.0, 2.0, 100.0)]


def test_a_folder_is_read_file_by_file(tmp_path: Path) -> None:
    for n, day in enumerate(["20240701", "20240702"]):
        write(
            tmp_path / f"xnas-itch-{day}.ohlcv-1m.dbn.zst",
            metadata("ohlcv-1m", NAMED),
            [bar(39, OPEN + n * DAY_NS, (1, 2, 1, 2))],
        )
    (tmp_path / "metadata.json").write_text("{}")
    (tmp_path / "condition.json").write_text("[]")

    source = open_source(tmp_path)

    assert [row[:2] for row in rows(source)] == [("MSFT", OPEN), ("MSFT", OPEN + DAY_NS)]


def test_trades_are_ticks(tmp_path: Path) -> None:
    records = [
        trade(38, OPEN + 1, 211.01, 100),
        trade(38, OPEN + 2, 211.02, 3, action="A"),
        trade(39, dbn.UNDEF_TIMESTAMP, 449.0, 7, ts_recv=OPEN + 5),
    ]
    path = write(tmp_path / "t.dbn.zst", metadata("trades", NAMED), records)

    source = open_source(path, DataOptions(kind="ticks", interval_ns=None))

    assert rows(source) == [
        ("AAPL", OPEN + 1, 211.01, 100.0),
        ("MSFT", OPEN + 5, 449.0, 7.0),
    ]
    assert source.read(*FOREVER).locate(1) == (str(path), 3)


def test_a_live_session_that_was_written_down_names_its_symbols_between_records(
    tmp_path: Path,
) -> None:
    records = [
        mapping(38, "AAPL", "38"),
        system("Subscription request succeeded"),
        bar(38, OPEN, (1, 2, 1, 2)),
        trade(38, OPEN + 1, 1.5, 3),
        bar(38, OPEN + SECOND_NS, (1, 1, 1, 1), rtype="OHLCV_1S"),
        mapping(39, "TECH.FUT", "TECHZ4"),
        bar(39, OPEN, (3, 4, 3, 4)),
    ]
    path = write(tmp_path / "live.dbn", metadata(None), records)

    source = open_source(path)
    ticks = open_source(path, DataOptions(kind="ticks", interval_ns=None))

    assert [row[:3] for row in rows(source)] == [("AAPL", OPEN, 1.0), ("TECHZ4", OPEN, 3.0)]
    assert rows(ticks) == [("AAPL", OPEN + 1, 1.5, 3.0)]
    assert source.read(*FOREVER).locate(1) == (str(path), 7)


def test_a_live_session_in_version_1_names_its_symbols_too(tmp_path: Path) -> None:
    told = dbn.SymbolMappingMsgV1(0, 38, 0, "AAPL", "38", 0, dbn.UNDEF_TIMESTAMP)
    head = metadata(None, version=1)
    path = write(tmp_path / "a.dbn", head, [bytes(told), bar(38, OPEN, (1, 2, 1, 2))])

    assert open_source(path).info().symbols == ("AAPL",)


def test_send_times_behind_each_record_are_passed_over(tmp_path: Path) -> None:
    named = {"AAPL": [("2024-07-01", "2024-07-02", 38)]}
    records = [bar(38, OPEN + n * MINUTE_NS, (1, 2, 1, 2), ts_out=OPEN) for n in range(3)]
    path = write(tmp_path / "a.dbn", metadata("ohlcv-1m", named, ts_out=True), records)

    assert [row[1] for row in rows(open_source(path))] == [OPEN + n * MINUTE_NS for n in range(3)]


def test_a_symbol_goes_to_another_instrument_with_its_day(tmp_path: Path) -> None:
    """A continuous contract is an instrument after another; an instrument is a symbol after another."""
    named = {
        "ES.c.0": [("2024-07-01", "2024-07-02", 5), ("2024-07-02", "2024-07-09", 6)],
        "OLD": [("2024-07-01", "2024-07-02", 7)],
        "NEW": [("2024-07-02", "2024-07-09", 7)],
    }
    records = [bar(of, OPEN + day * DAY_NS, (1, 2, 1, 2)) for day in (0, 1, 8) for of in (5, 6, 7)]
    path = write(
        tmp_path / "a.dbn",
        metadata("ohlcv-1m", named, stype_in=dbn.SType.CONTINUOUS),
        records,
    )

    source = open_source(path)

    assert [(row[0], (int(str(row[1])) - OPEN) // DAY_NS) for row in rows(source)] == [
        ("ES.c.0", 0),
        ("OLD", 0),
        ("ES.c.0", 1),
        ("NEW", 1),
    ]
    assert source.info().notes == (
        f"{path}: 5 records of 3 instruments that have no symbol on their date are left out",
    )


def test_symbols_are_named_when_instruments_were_asked_for(tmp_path: Path) -> None:
    class Names:
        raw_symbol = "38"

        class _Part:
            start_date, end_date, symbol = date(2024, 7, 1), date(2024, 7, 2), "AAPL"

        intervals = (_Part,)

    head = dbn.Metadata(
        dataset="XNAS.ITCH",
        start=0,
        stype_in=dbn.SType.INSTRUMENT_ID,
        stype_out=dbn.SType.RAW_SYMBOL,
        schema=dbn.Schema.OHLCV_1M,
        mappings=[Names],
    ).encode()

    source = open_source(write(tmp_path / "a.dbn", head, [bar(38, OPEN, (1, 2, 1, 2))]))

    assert source.info().symbols == ("AAPL",)


def test_without_symbols_instruments_are_told_by_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.dbn", metadata("ohlcv-1m"), [bar(38, OPEN, (1, 2, 1, 2))])

    assert open_source(path).info().symbols == ("38",)
    assert "the instruments' numbers stand for them" in open_source(path).info().notes[0]
    assert open_source(path, DataOptions(symbol="AAPL")).info().symbols == ("AAPL",)


def test_a_price_that_there_is_not_is_a_bad_row(tmp_path: Path) -> None:
    named = {"AAPL": [("2024-07-01", "2024-07-02", 38)]}
    missing = dbn.OHLCVMsg(
        dbn.RType.OHLCV_1M, 2, 38, OPEN, dbn.UNDEF_PRICE, 2 * 10**9, 10**9, 10**9, 1
    )
    path = write(tmp_path / "a.dbn", metadata("ohlcv-1m", named), [bytes(missing)])

    raw = open_source(path).read(*FOREVER)

    assert np.isnan(raw.columns["open"]).all()
    assert raw.columns["high"].tolist() == [2.0]


@pytest.mark.parametrize(
    ("head", "record", "options", "said"),
    [
        ("ohlcv-1s", bar(38, OPEN, (1, 2, 1, 2), rtype="OHLCV_1S"), {}, "data.interval: 1s"),
        ("ohlcv-1d", bar(38, OPEN, (1, 2, 1, 2), rtype="OHLCV_1D"), {}, "download ohlcv-1m"),
        ("trades", trade(38, OPEN, 1.0, 1), {}, "set data.kind: ticks"),
        (
            "ohlcv-1m",
            bar(38, OPEN, (1, 2, 1, 2)),
            {"kind": "ticks", "interval_ns": None},
            "set data.kind: bars",
        ),
        ("ohlcv-1m", bar(38, OPEN, (1, 2, 1, 2)), {"bar_label": "end"}, "data.bar_label"),
        ("ohlcv-1m", bar(38, OPEN, (1, 2, 1, 2)), {"columns": {"ts": "t"}}, "data.columns"),
        ("ohlcv-1m", bar(38, OPEN, (1, 2, 1, 2)), {"interval_ns": 5 * MINUTE_NS}, "1s, 1m and 1h"),
        (
            "trades",
            trade(38, OPEN, 1.0, 1),
            {"kind": "ticks", "interval_ns": None, "extras": ("trade_id",)},
            "no number of their own",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(
    tmp_path: Path, head: str, record: bytes, options: dict[str, object], said: str
) -> None:
    path = write(tmp_path / "a.dbn", metadata(head, NAMED), [record])

    with pytest.raises(DataError) as error:
        open_source(path, DataOptions(**options)).info()  # type: ignore[arg-type]

    assert said in str(error.value)
    assert str(path) in str(error.value)


def test_hours_are_bars_too(tmp_path: Path) -> None:
    record = bar(38, OPEN, (1, 2, 1, 2), rtype="OHLCV_1H")
    path = write(tmp_path / "a.dbn", metadata("ohlcv-1h", NAMED), [record])

    assert len(rows(open_source(path, DataOptions(interval_ns=60 * MINUTE_NS)))) == 1


def test_bars_of_several_venues_for_one_minute_are_refused(tmp_path: Path) -> None:
    records = [
        bar(39, OPEN, (1, 2, 1, 2), publisher=39),
        bar(39, OPEN + MINUTE_NS, (1, 2, 1, 2), publisher=40),
        bar(39, OPEN + MINUTE_NS, (1, 3, 1, 2), publisher=39),
    ]
    path = write(tmp_path / "a.dbn", metadata("ohlcv-1m", NAMED), records)

    with pytest.raises(DataError, match=r"MSFT has bars of several venues.*publishers 39, 40"):
        open_source(path).info()


@pytest.mark.parametrize("kept", [3, 100, -1, -20])
def test_a_file_that_is_cut_off_is_named(tmp_path: Path, kept: int) -> None:
    path = minutes(tmp_path / "a.dbn")
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(DataError, match=r"a\.dbn.*download it again"):
        open_source(path).info()


@pytest.mark.parametrize(
    "content", [b"symbol,ts\nA,1\n", b"", b"DBN\x03\xff\xff\xff\xff" + b"x" * 99]
)
def test_what_is_no_dbn_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dbn"
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"a\.dbn.*download it again"):
        open_source(path).info()


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    path = minutes(tmp_path / "a.dbn.zst")
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(DataError, match=r"a\.dbn\.zst.*download it again"):
        open_source(path).info()


def test_a_record_without_a_length_is_damage_and_no_endless_loop(tmp_path: Path) -> None:
    path = minutes(tmp_path / "a.dbn")
    data = bytearray(path.read_bytes())
    data[-56] = 0
    path.write_bytes(bytes(data))

    with pytest.raises(DataError, match="damaged"):
        open_source(path).info()


def test_a_backtest_reads_it_by_its_suffix(tmp_path: Path) -> None:
    """The breakout of the first minutes' range is reported."""
    prices = [(100.0, 101.0, 99.0, 100.0)] * 7 + [(100.0, 102.5, 100.0, 102.0)]
    named = {"AAPL": [("2024-07-01", "2024-07-02", 38)]}
    records = [bar(38, OPEN + n * MINUTE_NS, of) for n, of in enumerate(prices)]
    path = write(tmp_path / "x.dbn.zst", metadata("ohlcv-1m", named), records)
    config = {
        "exchange": "XNYS",
        "symbols": ["AAPL"],
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:35"}],
    }

    openbell.backtest(config, path, out=tmp_path / "out")

    lines = (tmp_path / "out" / "signals.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert [(one["symbol"], one["side"], one["level"]) for one in found] == [
        ("AAPL", "HIGH_BREAK", 101.0)
    ]
