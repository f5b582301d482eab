"""Where in a path the symbol stands: layouts of folders, guessed and said."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openbell.adapters.sources.layouts import Layout
from openbell.errors import DataError

SUFFIXES = (".csv", ".csv.gz", ".parquet")


def layout(*paths: str, **more: object) -> Layout:
    return Layout("data", sorted(paths), SUFFIXES, **more)  # type: ignore[arg-type]


def symbols(*paths: str) -> dict[str, str]:
    made = layout(*paths)
    return {path: made.symbol(path) for path in made.paths}


USUAL = {
    "a file a symbol": ["{}.csv"],
    "a folder a symbol, named after the bars": ["{}/1min.csv"],
    "a folder a symbol, a file a day": ["{}/2024-07-01.csv", "{}/2024-07-02.csv"],
    "compact dates": ["{}/20240701.csv.gz", "{}/20240702.csv.gz"],
    "year, month, day": ["{}/2024/07/01.csv", "{}/2024/07/02.csv", "{}/2024/12/31.csv"],
    "short months": ["{}/2024/7/1.csv", "{}/2024/11/12.csv"],
    "year and a file a month": ["{}/2024/07.csv", "{}/2024/08.csv"],
    "year, month by name": ["{}/2024/Jul/01.csv"],
    "name and date": ["{}_2024-07-01.csv", "{}_2024-07-02.csv"],
    "name and compact date": ["{}-20240701.csv", "{}-20240702.csv"],
    "name and date without a break": ["{}20240701.csv"],
    "day before month": ["{}_01072024.csv", "{}_02072024.csv"],
    "short date": ["{}_240701.csv", "{}_240702.csv"],
    "date and name": ["20240701_{}.csv", "20240702_{}.csv"],
    "name, bars, date": ["{}-1m-2024-07-01.csv", "{}-1m-2024-07-02.csv"],
    "name, bars, month": ["{}-1m-2024-07.csv", "{}-1m-2024-08.csv"],
    "a folder a day": ["2024-07-01/{}.csv", "2024-07-02/{}.csv"],
    "a folder a month, with dates": ["2024/07/{}_20240701.csv.gz", "2024/07/{}_20240702.csv.gz"],
    "a year's folder": ["2023/{}.csv", "2024/{}.csv"],
    "twice the name": ["{0}/{0}_2024-07-01.csv", "{0}/{0}_2024-07-02.csv"],
    "twice the name and the bars": ["{0}/1m/{0}-1m-2024-07-01.csv"],
    "a folder above": ["stocks/{}.csv"],
    "folders above": ["spot/daily/klines/{0}/1m/{0}-1m-2024-07-01.csv"],
    "hive": ["symbol={}/part-0.parquet", "symbol={}/part-1.parquet"],
    "hive by another name": ["ticker={}/part-0.parquet"],
    "hive in capitals": ["SYMBOL={}/data_0.parquet"],
    "hive and date": ["date=2024-07-01/symbol={}/0.parquet", "date=2024-07-02/symbol={}/0.parquet"],
    "hive after parts of dates": ["year=2024/month=7/symbol={}/part-0.parquet"],
    "parts below a folder": ["{}/part-00000-6b1c.snappy.parquet", "{}/part-00001-6b1c.parquet"],
    "several parts of a name": ["{0}/{0}_1.csv", "{0}/{0}_2.csv"],
    "a range of days": ["{}_20240101_20241231.csv"],
    "a range in words": ["{}_2024-01-01_to_2024-06-30.csv"],
    "a vendor's words": ["DAT_ASCII_{}_M1_202407.csv", "DAT_ASCII_{}_M1_202408.csv"],
    "a range of minutes": [
        "{}_M1_202407010000_202407312359.csv",
        "{}_M1_202408010000_202408312359.csv",
    ],
    "dates with times": ["{}_2024-07-01T09-30.csv", "{}_20240702T093000Z.csv"],
    "bars with a blank": ["{}_1 min_20240701.csv", "{}_1 min_20240702.csv"],
    "date and a word": ["{}_2024-07-01_minute.csv", "{}_2024-07-02_minute.csv"],
    "words behind": ["{}_full_1min_adjsplit.csv"],
    "a quarter": ["{}_2024Q3.csv", "{}_2024Q4.csv"],
    "week": ["{}/2024-W27.csv"],
    "a chart's export": ["{}, 5.csv"],
}
NAMES = [
    ("AAPL", "MSFT"),
    ("BRK.B", "BF-B"),
    ("BTC-USD", "ETH-USD"),
    ("005930", "000660"),
    ("ES=F", "GC=F"),
]


@pytest.mark.parametrize("names", NAMES, ids=lambda names: names[0])
@pytest.mark.parametrize("name", USUAL)
def test_usual_layouts_give_the_symbols_and_what_is_said_gives_the_same(
    name: str, names: tuple[str, ...]
) -> None:
    expected = {form.format(symbol): symbol for symbol in names for form in USUAL[name]}

    found = layout(*expected)

    if names[0].isdigit() and name == "name and date without a break":
        return  # nobody could tell where the one ends
    assert {path: found.symbol(path) for path in found.paths} == expected
    for note in found.notes():
        said = re.findall(r'"([^"]*)"', note)
        again = layout(*expected, patterns=said)
        assert {path: again.symbol(path) for path in again.paths} == expected


@pytest.mark.parametrize(
    "paths",
    [
        ("AAPL.csv", "AAPL.csv.gz"),
        ("ALL.csv", "AAPL.csv"),
        ("DATA_2024-07-01.csv", "AAPL_2024-07-01.csv"),
        ("2020.csv", "7203.csv"),
        ("NIFTY25AUG26FUT.csv", "NIFTY25SEP30FUT.csv"),
        ("CL202412.csv", "CL202501.csv"),
        ("NIFTY_25JUL2024_FUT.csv", "NIFTY_29AUG2024_FUT.csv"),
        ("tech/AAPL.csv", "energy/XOM.csv"),
        ("NYSE/A.csv", "NASDAQ/AAPL.csv"),
    ],
)
def test_a_name_that_only_looks_like_a_word_or_a_date_stays_the_symbol(
    paths: tuple[str, ...],
) -> None:
    found = symbols(*paths)

    for path, symbol in found.items():
        name = path.rpartition("/")[2].removesuffix(".gz").removesuffix(".csv")
        assert symbol == name.removesuffix("_2024-07-01")


REFUSED = {
    "one name in several folders": (
        ("AAPL/foo.csv", "MSFT/foo.csv"),
        '"{symbol}/*.csv" (reads AAPL, MSFT)',
    ),
    "two exchanges": (("NYSE/SPY.csv", "ASX/SPY.csv"), "SPY"),
    "two hive exchanges": (
        ("exchange=N/symbol=A/0.parquet", "exchange=X/symbol=A/0.parquet"),
        "could be two instruments",
    ),
    "two bar lengths": (
        ("BTC-1m-2024-07-01.csv", "BTC-5m-2024-07-01.csv"),
        '"{symbol}-1m-{date}.csv" (reads BTC)',
    ),
    "two lengths in folders": (("1m/BTC.csv", "5m/BTC.csv"), '"1m/{symbol}.csv" (reads BTC)'),
    "raw and adjusted": (("AAPL_raw.csv", "AAPL_adjusted.csv"), '"{symbol}_adjusted.csv"'),
    "dates": (("2024-07-01.csv", "2024-07-02.csv"), "write data.symbol: AAPL"),
    "days below years": (("2024/07/01.csv", "2024/07/02.csv"), "write data.symbol: AAPL"),
    "short dates": (("240701.csv", "240702.csv"), "write data.symbol: AAPL"),
    "only words": (("part-0.parquet", "part-1.parquet"), "write data.symbol: AAPL"),
    "an unknown key": (
        ("id=AAPL/part-0.parquet", "id=MSFT/part-0.parquet"),
        '"id={symbol}/*.parquet" (reads AAPL, MSFT)',
    ),
    "a file outside": (("symbol=A/0.parquet", "B.parquet"), "lies in no folder symbol="),
    "null as a symbol": (
        ("symbol=__HIVE_DEFAULT_PARTITION__/0.parquet",),
        "its rows have no symbol",
    ),
    "symbols below symbols": (
        ("US/AAPL/2024-07-01.csv", "DE/SAP/2024-07-01.csv"),
        '"*/{symbol}/{date}.csv" (reads AAPL, SAP)',
    ),
    "capital folders, small names": (
        ("AAPL/first.csv", "MSFT/second.csv"),
        '"{symbol}/*.csv" (reads AAPL, MSFT)',
    ),
    "a day beside a name": (("AAPL.csv", "2024-07-01.csv"), '"{symbol}.csv"'),
}


@pytest.mark.parametrize("name", REFUSED)
def test_where_two_instruments_could_become_one_the_pattern_to_write_is_told(name: str) -> None:
    paths, told = REFUSED[name]

    with pytest.raises(DataError) as error:
        symbols(*paths)

    text = str(error.value)
    assert told in text
    assert "\n" not in text
    for offered in re.findall(r'data\.files: "([^"]*)"', text):
        chosen = layout(*paths, patterns=[offered])
        read = {chosen.symbol(path) for path in chosen.paths}
        assert f"reads {', '.join(sorted(read))}" in text or "lies in no" in text


DAY_NS = 86_400_000_000_000
JULY_1 = 1719792000 * 10**9


@pytest.mark.parametrize(
    ("path", "first", "last", "advised"),
    [
        ("CL_202412.csv", 0, 30, ['"{symbol}_*.csv" if CL', '"{symbol}.csv" if the date']),
        ("AAPL_20230101.csv", 0, 0, ['"{symbol}_*.csv"', '"{symbol}.csv"']),
        ("AAPL_2024-07-01.csv", 0, 4, ['"{symbol}_*.csv"']),
        ("2024-09/ES.csv", 0, 30, ['"*/{symbol}.csv"']),
    ],
)
def test_a_date_in_a_path_that_is_not_the_rows_is_not_taken_off_silently(
    path: str, first: int, last: int, advised: list[str]
) -> None:
    found = layout(path, *(["2024-12/ES.csv"] if "/" in path else []))
    found.symbol(path)

    with pytest.raises(DataError) as error:
        found.check_days(path, JULY_1 + first * DAY_NS, JULY_1 + last * DAY_NS)

    for text in advised:
        assert text in str(error.value)


@pytest.mark.parametrize(
    "path", ["AAPL_2024-07-01.csv", "AAPL_202407.csv", "AAPL_2024.csv", "AAPL_01.07.2024.csv"]
)
def test_a_day_s_file_may_hold_the_evening_before_and_another_zone_s_hours(path: str) -> None:
    found = layout(path)
    found.symbol(path)

    found.check_days(path, JULY_1 - DAY_NS // 3, JULY_1 + DAY_NS + DAY_NS // 3)


def test_a_copy_of_a_file_is_told() -> None:
    made = layout("AAPL.csv", "AAPL (1).csv", "MSFT.csv")
    for path in made.paths:
        made.symbol(path)

    assert "AAPL (1).csv looks like a copy of AAPL.csv" in " ".join(made.notes())


def test_a_pattern_says_which_files_are_read_and_where_their_symbol_stands() -> None:
    paths = ["BTC-1m-2024-07-01.csv", "BTC-5m-2024-07-01.csv", "notes.csv"]

    found = layout(*paths, patterns=["{symbol}-1m-*.csv"])

    assert {path: found.symbol(path) for path in found.paths} == {"BTC-1m-2024-07-01.csv": "BTC"}
    assert found.notes() == ("data: 2 files are not matched by data.files and passed over",)


def test_a_pattern_that_matches_nothing_or_has_an_unknown_name_is_refused() -> None:
    with pytest.raises(
        DataError, match=r'no file matches data\.files, "\{symbol\}/\*\.csv"; .* a\.csv'
    ):
        layout("a.csv", patterns=["{symbol}/*.csv"])
    with pytest.raises(DataError, match=r'data\.files has "\{ticker\}" .* write \{symbol\}'):
        layout("a.csv", patterns=["{ticker}.csv"])


def test_a_counter_before_a_letter_is_no_length_of_bars() -> None:
    paths = ["foo_part-0_A.csv", "foo_part-0_M.csv", "07_A.csv", "07_M.csv"]

    for pair in (paths[:2], paths[2:]):
        found = symbols(*pair)
        assert [found[path][-1] for path in pair] == ["A", "M"]


def test_a_share_class_belongs_to_its_symbol_whatever_the_symbol_means() -> None:
    assert symbols("B.csv", "MT.A.csv") == {"B.csv": "B", "MT.A.csv": "MT.A"}


SYMBOL = st.from_regex(r"[A-Z]{1,5}(\.[AB])?", fullmatch=True)
WORD = st.sampled_from(
    ["1min", "2024-07-01", "20240702", "data", "foo", "NYSE", "part-0", "2024", "07"]
)


@settings(max_examples=50)
@given(
    names=st.lists(SYMBOL, min_size=2, max_size=3, unique=True),
    before=st.lists(WORD, max_size=2),
    after=st.lists(WORD, max_size=2),
    joined=st.booleans(),
)
def test_symbols_that_are_given_are_found_or_refused_but_never_merged(
    names: list[str], before: list[str], after: list[str], joined: bool
) -> None:
    """Whatever else the paths hold, two paths that differ in their symbol never get one."""
    between = "_" if joined else "/"
    paths = [between.join([*before, name, *after]) + ".csv" for name in names]
    if any(len({taken, *names}) == len(names) for taken in (*before, *after)):
        return  # a word that happens to be one of the symbols
    made = layout(*paths)

    try:
        found = [made.symbol(path) for path in paths]
    except DataError:
        return

    assert len(set(found)) == len(names)
    assert all(name in symbol for name, symbol in zip(names, found, strict=True))
