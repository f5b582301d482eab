"""Days that are unlike others, each small enough to check by hand or well known from its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
import pytest
from reference import Row, Rules, Window
from runs import drained, of_cases
from strategies import Case

import openbell
from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay, local_instant

NSE, NEW_YORK = "Asia/Kolkata", "America/New_York"

Bar = tuple[str, str, float, float, float, float]
"""Symbol, local time "HH:MM", open, high, low, close."""


def at(day: str, wall: str, tz: str) -> int:
    return local_instant(date.fromisoformat(day), time.fromisoformat(wall), tz)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text)


def bars(tz: str, days: Mapping[str, Sequence[Bar]]) -> pa.Table:
    rows = [
        {
            "symbol": symbol,
            "ts": at(day, wall, tz),
            "open": o,
            "high": h,
            "low": low,
            "close": c,
            "volume": 1.0,
        }
        for day, of_day in days.items()
        for symbol, wall, o, h, low, c in of_day
    ]
    return timed(pa.Table.from_pylist(rows))


def ticks(tz: str, day: str, rows: Sequence[tuple[str, str, float]]) -> pa.Table:
    return timed(
        pa.Table.from_pylist(
            [
                {"symbol": symbol, "ts": at(day, wall, tz), "price": price, "size": 1.0}
                for symbol, wall, price in rows
            ]
        )
    )


def timed(table: pa.Table) -> pa.Table:
    at = table.schema.get_field_index("ts")
    return table.set_column(at, "ts", table["ts"].cast(pa.timestamp("ns", "UTC")))


def flat(symbol: str, wall: str, price: float) -> Bar:
    return symbol, wall, price, price, price, price


def config(exchange: str, *sessions: tuple[str, str, str], **keys: Any) -> dict[str, Any]:
    windows = [{"name": name, "start": start, "end": end} for name, start, end in sessions]
    return {"exchange": exchange, "sessions": windows, **keys}


def documents(found: openbell.Result) -> dict[tuple[str, str], Any]:
    """By date and session."""
    return {(str(d.trading_date), d.session_name): d for day in found._days for d in day.documents}


def signals(found: openbell.Result) -> list[tuple[Any, ...]]:
    return [
        (s["symbol"], s["side"], s["ts"].to_pydatetime(), s["price"], s["level"])
        for s in found.signals.to_pylist()
    ]


# Companions


def test_a_companions_price_is_the_one_known_when_the_signals_bar_ends() -> None:
    day = {
        "2024-07-01": [
            flat("NIFTY", "09:30", 100.0),
            flat("NIFTY", "09:31", 101.0),  # breaks; known at 09:32
            flat("NIFTY", "09:33", 99.0),  # breaks the other side; known at 09:34
            flat("FUT", "09:31", 201.0),  # known at 09:32 too: that instant counts
            flat("FUT", "09:32", 202.0),
            flat("FUT", "09:34", 204.0),  # known only at 09:35
        ]
    }
    found = openbell.backtest(
        config("XNSE", ("One", "09:30", "09:30"), companions={"NIFTY": "FUT"}), bars(NSE, day)
    )

    assert [(s["symbol"], s["side"], s["companion"]) for s in as_dicts(found)] == [
        ("NIFTY", "HIGH_BREAK", {"symbol": "FUT", "price": 201.0, "ts": utc("2024-07-01T04:01Z")}),
        ("NIFTY", "LOW_BREAK", {"symbol": "FUT", "price": 202.0, "ts": utc("2024-07-01T04:02Z")}),
    ]


def test_a_companion_that_is_not_among_the_symbols_is_read_and_never_reported() -> None:
    day = {
        "2024-07-01": [
            flat("NIFTY", "09:30", 100.0),
            flat("NIFTY", "09:31", 101.0),
            flat("FUT", "09:30", 200.0),
            flat("FUT", "09:32", 201.0),
        ]
    }
    paired = {"companions": {"NIFTY": "FUT"}}

    alone = openbell.backtest(
        config("XNSE", ("One", "09:30", "09:30"), symbols=["NIFTY"], **paired), bars(NSE, day)
    )
    both = openbell.backtest(
        config("XNSE", ("One", "09:30", "09:30"), symbols=["NIFTY", "FUT"], **paired),
        bars(NSE, day),
    )

    assert [s["symbol"] for s in as_dicts(alone)] == ["NIFTY"]
    assert [s["companion"]["symbol"] for s in as_dicts(alone)] == ["FUT"]
    assert [s["symbol"] for s in as_dicts(both)] == ["NIFTY", "FUT"]
    assert alone.quality.column("symbol").to_pylist() == ["FUT", "NIFTY"]
    assert alone.levels.equals(both.levels)


def test_before_its_first_price_there_is_no_companion() -> None:
    day = {
        "2024-07-01": [
            flat("NIFTY", "09:30", 100.0),
            flat("NIFTY", "09:31", 101.0),
            flat("FUT", "09:32", 202.0),
        ]
    }
    found = openbell.backtest(
        config("XNSE", ("One", "09:30", "09:30"), companions={"NIFTY": "FUT"}), bars(NSE, day)
    )

    assert [s["companion"] for s in as_dicts(found)] == [None]


def test_a_companion_keeps_its_price_from_an_earlier_step_but_not_from_the_day_before() -> None:
    days = {
        "2024-07-01": [flat("FUT", "15:29", 200.0), flat("NIFTY", "09:30", 100.0)],
        "2024-07-02": [
            flat("NIFTY", "09:30", 100.0),
            flat("NIFTY", "09:31", 101.0),
            flat("FUT", "09:40", 240.0),
            flat("NIFTY", "11:00", 99.0),
        ],
    }
    found = openbell.backtest(
        config(
            "XNSE", ("One", "09:30", "09:30"), companions={"NIFTY": "FUT"}, clock={"step": "bar"}
        ),
        bars(NSE, days),
    )

    companions = [s["companion"] for s in as_dicts(found)]
    assert companions == [None, {"symbol": "FUT", "price": 240.0, "ts": utc("2024-07-02T04:10Z")}]


def test_a_companions_tick_of_the_same_time_counts() -> None:
    rows = [
        ("NIFTY", "09:30:10", 100.0),
        ("NIFTY", "09:31:05", 101.0),
        ("FUT", "09:31:04", 200.0),
        ("FUT", "09:31:05", 201.0),
        ("FUT", "09:31:06", 202.0),
        ("NIFTY", "09:31:07", 99.0),
    ]
    found = openbell.backtest(
        config(
            "XNSE",
            ("One", "09:30", "09:30"),
            companions={"NIFTY": "FUT"},
            data={"kind": "ticks"},
        ),
        ticks(NSE, "2024-07-01", rows),
    )

    assert [(s["side"], s["companion"]["price"]) for s in as_dicts(found)] == [
        ("HIGH_BREAK", 201.0),
        ("LOW_BREAK", 202.0),
    ]


def test_ticks_before_the_companions_first_have_none() -> None:
    rows = [("NIFTY", "09:30:10", 100.0), ("NIFTY", "09:31:05", 101.0), ("FUT", "09:31:06", 200.0)]

    found = openbell.backtest(
        config(
            "XNSE", ("One", "09:30", "09:30"), companions={"NIFTY": "FUT"}, data={"kind": "ticks"}
        ),
        ticks(NSE, "2024-07-01", rows),
    )

    assert [s["companion"] for s in as_dicts(found)] == [None]


def as_dicts(found: openbell.Result) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = found.signals.to_pylist()
    for row in rows:
        row["ts"] = row["ts"].to_pydatetime()
        if row["companion"] is not None:
            row["companion"]["ts"] = row["companion"]["ts"].to_pydatetime()
    return rows


# Hours


def test_a_day_of_two_parts_has_no_minutes_between_them() -> None:
    # 2024-03-02, a Saturday: 09:15–10:00 and 11:30–12:30.
    rows = [
        flat("NIFTY", "09:50", 100.0),
        flat("NIFTY", "09:59", 100.5),
        flat("NIFTY", "10:30", 150.0),
        flat("NIFTY", "11:30", 101.0),
        flat("NIFTY", "11:32", 99.0),
        flat("NIFTY", "12:29", 98.0),
        flat("NIFTY", "12:30", 50.0),
    ]
    found = openbell.backtest(
        config(
            "XNSE",
            ("First", "09:50", "09:59"),
            ("Across", "09:55", "11:30"),
            ("Break", "10:05", "11:00"),
        ),
        bars(NSE, {"2024-03-02": rows}),
    )

    assert [(d.session_name, d.status) for d in documents(found).values()] == [
        ("First", "COMPLETED"),
        ("Across", "COMPLETED"),
        ("Break", "SKIPPED"),
    ]
    assert [row for row in signals(found) if row[4] == 100.5] == [
        ("NIFTY", "HIGH_BREAK", utc("2024-03-02T06:00Z"), 101.0, 100.5),
        ("NIFTY", "LOW_BREAK", utc("2024-03-02T06:02Z"), 99.0, 100.5),
    ]
    first, across, _ = documents(found).values()
    assert (first.started_at, first.completed_at) == (
        at("2024-03-02", "09:50", NSE),
        at("2024-03-02", "10:00", NSE),
    )
    assert across.completed_at == at("2024-03-02", "11:31", NSE)
    assert (across.levels.high[0], across.levels.low[0], across.levels.count[0]) == (
        101.0,
        100.5,
        2,
    )
    quality = found.quality.to_pylist()[0]
    assert (quality["expected"], quality["actual"], quality["outside_hours"]) == (105, 5, 2)
    assert quality["gaps"] == 4  # from 09:15 and 09:51, from 11:31 and 11:33
    assert [ts.to_pydatetime() for ts in found.bars(15)["ts"].to_pylist()] == [
        utc("2024-03-02T04:15Z"),  # 09:45, of the first part
        utc("2024-03-02T06:00Z"),  # 11:30, anchored at the second part's open
        utc("2024-03-02T06:45Z"),
    ]


def test_an_early_close_cuts_one_session_and_skips_another() -> None:
    rows = [flat("SPY", "12:50", 100.0), flat("SPY", "12:59", 101.0), flat("SPY", "13:00", 500.0)]

    found = openbell.backtest(
        config(
            "XNYS",
            ("Late", "12:50", "13:10"),
            ("Power Hour", "14:30", "14:59"),
            ("Last", "close-5m", "close-1m"),
        ),
        bars(NEW_YORK, {"2024-07-03": rows}),
    )

    late, power, last = documents(found).values()
    assert (late.status, late.completed_at) == ("COMPLETED", at("2024-07-03", "13:00", NEW_YORK))
    assert "cut to 12:50–13:00" in late.reason
    assert late.levels.high[0] == 101.0
    assert (power.status, power.levels, power.completed_at) == ("SKIPPED", None, None)
    assert "outside the hours" in power.reason
    assert (last.started_at, last.reason) == (at("2024-07-03", "12:55", NEW_YORK), None)
    assert signals(found) == []
    assert [d.breakouts_checked for d in (late, power, last)] == [True, False, True]
    assert found.summary["sessions"]["Late"]["truncated"] == 1
    assert found.summary["sessions"]["Power Hour"]["skipped"] == 1


@pytest.mark.parametrize(
    ("day", "start", "tz", "exchange", "wall"),
    [
        ("2024-03-08", "2024-03-08T14:30Z", NEW_YORK, "XNYS", "09:30"),
        ("2024-03-11", "2024-03-11T13:30Z", NEW_YORK, "XNYS", "09:30"),
        ("2024-11-01", "2024-11-01T13:30Z", NEW_YORK, "XNYS", "09:30"),
        ("2024-11-04", "2024-11-04T14:30Z", NEW_YORK, "XNYS", "09:30"),
        ("2024-03-28", "2024-03-28T08:00Z", "Europe/London", "XLON", "08:00"),
        ("2024-04-02", "2024-04-02T07:00Z", "Europe/London", "XLON", "08:00"),
    ],
)
def test_a_session_keeps_its_wall_time_when_the_clocks_change(
    day: str, start: str, tz: str, exchange: str, wall: str
) -> None:
    later = f"{wall[:3]}{int(wall[3:]) + 1:02d}"

    found = openbell.backtest(
        config(exchange, ("Open", wall, wall)),
        bars(tz, {day: [flat("A", wall, 10.0), flat("A", later, 11.0)]}),
    )

    document = documents(found)[day, "Open"]
    assert document.started_at == utc(start).timestamp() * SECOND_NS
    assert document.levels.first_ts[0] == document.started_at
    assert [ts for _, _, ts, _, _ in signals(found)] == [
        datetime.fromtimestamp(document.completed_at // SECOND_NS, utc(start).tzinfo)
    ]


def test_a_year_with_both_clock_changes_keeps_its_sessions(shared_data: Path) -> None:
    found = openbell.backtest(
        config(
            "XNYS",
            ("Open", "09:30", "09:44"),
            backtest={"start": "2024-10-31", "end": "2024-11-05"},
        ),
        shared_data / "us_spy_1m_2024.parquet",
    )

    starts = {
        day: datetime.fromtimestamp(d.started_at // SECOND_NS, utc("2024-01-01T00:00Z").tzinfo).hour
        for (day, _), d in documents(found).items()
    }
    assert starts == {"2024-10-31": 13, "2024-11-01": 13, "2024-11-04": 14, "2024-11-05": 14}
    assert found.levels["count"].to_pylist() == [15] * 4


def test_an_evening_of_muhurat_trading_has_its_own_windows(shared_data: Path) -> None:
    found = openbell.backtest(
        config(
            "XNSE",
            ("Opening", "open", "open+9m"),
            ("Morning", "09:30", "09:35"),
            ("Evening", "18:30", "18:34"),
            backtest={"start": "2021-11-03", "end": "2021-11-08"},
        ),
        shared_data / "nse_index_1m_2021.parquet",
    )

    of_day = {name: d for (day, name), d in documents(found).items() if day == "2021-11-04"}
    assert {name: d.status for name, d in of_day.items()} == {
        "Opening": "COMPLETED",
        "Morning": "SKIPPED",
        "Evening": "COMPLETED",
    }
    assert of_day["Opening"].started_at == at("2021-11-04", "18:15", NSE)
    assert of_day["Opening"].levels.count.tolist() == [10, 10]
    assert of_day["Evening"].completed_at == at("2021-11-04", "18:35", NSE)
    assert "18:15–19:15" in of_day["Morning"].reason
    assert documents(found)["2021-11-03", "Evening"].status == "SKIPPED"
    # The 5th is a holiday, 6th and 7th a weekend.
    assert found.summary["trading_days"] == 3
    assert found.summary["days_without_data"] == []


def test_a_market_that_never_closes_has_a_day_from_midnight_to_midnight(shared_data: Path) -> None:
    file = shared_data / "ticks_crypto_xrpeth_2019.parquet"
    rows = pd.read_parquet(file, columns=["ts", "price"])

    found = openbell.backtest(
        config("24/7", ("Midnight", "00:00", "00:59"), data={"kind": "ticks"}), file
    )

    hour = rows[rows.ts.dt.hour == 0].groupby(rows.ts.dt.date).price.agg(["max", "min", "size"])
    got = found.levels.to_pandas()
    assert got[["high", "low", "count"]].to_numpy().tolist() == hour.to_numpy().tolist()
    assert found.summary["rows"]["used"] == found.summary["rows"]["rows"] == 12477
    assert found.quality["expected"].to_pylist() == [1440] * 3
    assert {s["id"].rsplit(":", 3)[1] for s in found.signals.to_pylist()} == {"XRP/ETH"}


# Days without data


def test_a_day_without_data_in_the_middle_is_listed_and_writes_no_rows(tmp_path: Path) -> None:
    days = {
        day: [flat("A", "09:15", 10.0), flat("A", "09:16", 11.0)]
        for day in ("2024-07-01", "2024-07-04")
    }
    days["2024-07-02"] = [flat("A", "08:00", 10.0), flat("A", "15:30", 10.0)]  # none inside

    found = openbell.backtest(
        config("XNSE", ("Open", "09:15", "09:15")), bars(NSE, days), out=tmp_path / "out"
    )

    assert found.summary["days_without_data"] == ["2024-07-02", "2024-07-03"]
    assert found.summary["trading_days"] == 2
    assert found.summary["rows"]["rows"] == 6
    assert found.summary["rows"]["outside_hours"] == 2
    for table in (found.levels, found.quality, found.signals):
        assert {str(day) for day in table["trading_date"].to_pylist()} == {
            "2024-07-01",
            "2024-07-04",
        }
    assert len(found.bars(5)) == 2
    assert "2024-07-02" not in (tmp_path / "out" / "sessions.jsonl").read_text()
    assert "2024-07-02" not in (tmp_path / "out" / "quality.csv").read_text()


def test_days_before_the_first_and_after_the_last_with_data_are_not_listed() -> None:
    days = {"2024-07-03": [flat("A", "09:15", 10.0)], "2024-07-01": [flat("A", "08:00", 10.0)]}
    asked = {"start": "2024-07-01", "end": "2024-07-05"}

    found = openbell.backtest(config("XNSE", ("Open", "09:15", "09:15")), bars(NSE, days))
    of_range = openbell.backtest(
        config("XNSE", ("Open", "09:15", "09:15"), backtest=asked), bars(NSE, days)
    )

    assert found.summary["days_without_data"] == []
    assert of_range.summary["days_without_data"] == [
        "2024-07-01",
        "2024-07-02",
        "2024-07-04",
        "2024-07-05",
    ]
    for of_run in (found, of_range):
        assert (of_run.summary["rows"]["rows"], of_run.summary["rows"]["outside_hours"]) == (2, 1)


# Real files


def test_symbols_on_scattered_days_leave_the_others_empty(shared_data: Path) -> None:
    found = openbell.backtest(
        config("XNYS", ("Open", "09:30", "09:44")), shared_data / "us_lean_1m_2013_2014.parquet"
    )

    quality = {
        (str(row["trading_date"]), row["symbol"]): row["actual"]
        for row in found.quality.to_pylist()
    }
    assert len(quality) == 44
    assert {key for key, actual in quality.items() if actual == 389} == {
        ("2013-10-04", "IBM"),
        ("2013-10-11", "IBM"),
    }
    assert [
        symbol for (day, symbol), actual in quality.items() if day == "2013-07-01" and actual
    ] == ["FOXA"]
    empty = [row for row in found.levels.to_pylist() if row["count"] == 0]
    assert len(empty) == sum(actual == 0 for actual in quality.values()) == 27
    assert {(row["status"], row["high"], row["low"]) for row in empty} == {
        ("COMPLETED", None, None)
    }
    assert found.summary["trading_days"] == 11
    assert [
        (split["trading_date"], split["symbol"], split["change_pct"])
        for split in found.summary["possible_splits"]
    ] == [("2014-06-09", "AAPL", pytest.approx(-85.6, abs=0.1))]
    rows = found.summary["rows"]
    assert rows["rows"] == rows["used"] + rows["outside_hours"] == 10520


def test_extended_hours_are_ignored_and_an_outage_is_missing(shared_data: Path) -> None:
    file = shared_data / "us_spy_ext_1m_2024.parquet"
    rows = pd.read_parquet(file)

    found = openbell.backtest(config("XNYS", ("Open", "09:30", "09:44")), file)

    quality = found.quality.to_pandas().set_index("trading_date")
    outage = quality.loc[date(2024, 6, 3)]
    assert (outage.expected, outage.actual, outage.gaps, outage.missing) == (390, 318, 1, 72)
    assert outage.quality_pct == 81.5385
    early = quality.loc[date(2024, 7, 3)]
    assert (early.expected, early.actual) == (210, 210)
    local = rows.ts.dt.tz_convert(NEW_YORK)
    morning = rows[(local.dt.time >= time(9, 30)) & (local.dt.time < time(9, 45))]
    expected = morning.groupby(local.dt.date).agg({"high": "max", "low": "min"})
    got = found.levels.to_pandas().set_index("trading_date")[["high", "low"]]
    assert got.to_numpy().tolist() == expected.to_numpy().tolist()
    # The last day has six rows before the open alone: it is not run, but its rows are counted.
    assert found.summary["last_day"] == "2024-07-15"
    assert found.summary["rows"]["rows"] == len(rows) == 22332
    assert found.summary["rows"]["used"] == 29 * 390 + 210 - 72


def test_trades_of_a_whole_day_count_however_equal_they_are(shared_data: Path) -> None:
    file = shared_data / "ticks_us_spy_20131007.parquet"
    rows = pd.read_parquet(file, columns=["ts", "price", "size"])
    local = rows.ts.dt.tz_convert(NEW_YORK).dt.time
    inside = rows[(local >= time(9, 30)) & (local < time(16))]
    lunch = rows[(local >= time(12)) & (local < time(12, 30))]

    found = openbell.backtest(
        config("XNYS", ("Lunch", "12:00", "12:29"), data={"kind": "ticks"}), file
    )

    (levels,) = found.levels.to_pylist()
    assert (levels["high"], levels["low"]) == (lunch.price.max(), lunch.price.min())
    assert (levels["count"], levels["complete"]) == (len(lunch), True)
    assert found.summary["rows"]["used"] == len(inside)
    assert found.summary["rows"]["duplicates"] == 0
    assert sum(found.bars(15)["volume"].to_pylist()) == inside["size"].sum()
    after = inside[inside.ts >= lunch.ts.max().ceil("min")]
    expected = [
        (side, broken.ts.iloc[0].to_pydatetime(), broken.price.iloc[0])
        for side, broken in (
            ("HIGH_BREAK", after[after.price > lunch.price.max()]),
            ("LOW_BREAK", after[after.price < lunch.price.min()]),
        )
        if len(broken)
    ]
    assert [(side, ts, price) for _, side, ts, price, _ in signals(found)] == sorted(
        expected, key=lambda row: row[1]
    )
    assert expected


def test_rows_of_1970_are_counted_and_do_not_begin_the_run(shared_data: Path) -> None:
    found = openbell.backtest(
        config("XNSE", ("Open", "09:15", "09:19"), data={"kind": "ticks"}),
        shared_data / "ticks_nse_stocks_2021.parquet",
    )

    assert found.summary["first_day"] == "2021-04-12"
    assert found.summary["not_trading_days"] == {"1970-01-01": 6014}
    rows = found.summary["rows"]
    assert (rows["rows"], rows["not_a_trading_day"]) == (272380, 6014)
    assert rows["used"] + rows["outside_hours"] + rows["not_a_trading_day"] == rows["rows"]
    assert found.summary["trading_days"] == 6
    first = found.quality.to_pylist()[0]
    assert (first["actual"], first["missing"], first["gaps"]) == (370, 5, 1)  # ends at 15:24


def test_a_day_with_an_outage_and_a_later_close_is_one_segment(shared_data: Path) -> None:
    found = openbell.backtest(
        config(
            "XNSE",
            ("In the outage", "11:50", "12:20"),
            ("Last", "close-15m", "close-1m"),
            backtest={"start": "2021-02-24", "end": "2021-02-24"},
        ),
        shared_data / "nse_index_1m_2021.parquet",
    )

    assert found.quality["expected"].to_pylist() == [465, 465]
    outage, last = documents(found).values()
    assert (outage.status, outage.levels.count.tolist()) == ("COMPLETED", [0, 0])
    assert outage.levels.complete.tolist() == [False, False]
    assert last.completed_at == at("2021-02-24", "17:00", NSE)
    assert {s["session"] for s in found.signals.to_pylist()} <= {"Last"}
    assert found.summary["sessions"]["In the outage"]["without_rows"] == 1


# What is committed of a session


def hand_made(rows: Sequence[Row], *windows: Window, rules: Rules = Rules()) -> Case:  # noqa: B008
    opens, closes = at("2024-07-01", "09:15", NSE), at("2024-07-01", "10:15", NSE)
    day = TradingDay(date(2024, 7, 1), NSE, (Segment(opens, closes),))
    symbols = tuple(sorted({row[0] for row in rows}))
    return Case(day, MINUTE_NS, tuple(rows), symbols, windows, rules, {})


def local(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // SECOND_NS, ZoneInfo(NSE))


def row(symbol: str, wall: str, price: float) -> Row:
    return symbol, at("2024-07-01", wall, NSE), price, price, price, price, 1.0


def test_a_session_goes_from_pending_to_active_to_completed() -> None:
    case = hand_made(
        [row("A", "09:30", 10.0), row("A", "09:33", 11.0), row("A", "09:40", 12.0)],
        Window("Morning", "09:30", "09:35"),
    )

    found = drained(of_cases([case]))

    def wall(ns: int | None) -> str | None:
        return None if ns is None else f"{local(ns):%H:%M}"

    life = [
        (d.status, wall(d.started_at), wall(d.completed_at), wall(d.updated_at), d.levels is None)
        for commit in found.commits
        for d in commit.documents
    ]
    checked = [d.breakouts_checked for commit in found.commits for d in commit.documents]
    assert life == [
        ("PENDING", None, None, "09:15", True),
        ("ACTIVE", "09:30", None, "09:30", True),
        ("COMPLETED", "09:30", "09:36", "09:36", False),
        ("COMPLETED", "09:30", "09:36", "09:41", False),
    ]
    assert checked == [False, False, False, True]
    assert {wall(d.created_at) for c in found.commits for d in c.documents} == {"09:15"}
    numbers = [commit.number for commit in found.commits]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [commit.step for commit in found.commits] == sorted({c.step for c in found.commits})


def test_skipped_and_empty_sessions_have_documents_too() -> None:
    case = hand_made(
        [row("A", "09:50", 10.0), row("A", "09:51", 12.0)],
        Window("Before the open", "08:00", "08:30"),
        Window("Empty", "09:30", "09:35"),
    )

    found = drained(of_cases([case]))

    skipped, empty = found.days[0].documents
    assert (skipped.status, skipped.started_at, skipped.levels) == ("SKIPPED", None, None)
    assert skipped.reason is not None
    assert not skipped.breakouts_checked
    assert (empty.status, empty.reason) == ("COMPLETED", None)
    assert empty.levels is not None
    assert empty.levels.count.tolist() == [0]
    assert pd.isna(empty.levels.high).all()
    assert pd.isna(empty.levels.low).all()
    assert empty.breakouts_checked
    assert found.days[0].signals == ()


def test_breakouts_are_checked_when_each_symbol_had_its_first_price() -> None:
    case = hand_made(
        [
            row("A", "09:30", 10.0),
            row("B", "09:30", 10.0),
            row("A", "09:31", 11.0),
            row("B", "09:47", 10.0),
        ],
        Window("One", "09:30", "09:30"),
        rules=Rules(check="once"),
    )

    found = drained(of_cases([case]))

    assert found.days[0].documents[0].breakouts_checked
    assert found.days[0].documents[0].updated_at == at("2024-07-01", "09:48", NSE)


def test_breakouts_are_checked_at_the_close_when_a_symbol_has_no_further_price() -> None:
    case = hand_made(
        [row("A", "09:30", 10.0), row("B", "09:30", 10.0), row("A", "09:31", 11.0)],
        Window("One", "09:30", "09:30"),
        Window("To the close", "09:40", "10:14"),
    )

    found = drained(of_cases([case]))

    closes = at("2024-07-01", "10:15", NSE)
    one, to_the_close = found.days[0].documents
    assert (one.breakouts_checked, one.updated_at) == (True, closes)
    assert (to_the_close.breakouts_checked, to_the_close.updated_at) == (True, closes)
    assert to_the_close.completed_at == closes


def test_once_looks_at_the_first_price_after_the_session_alone() -> None:
    case = hand_made(
        [row("A", "09:30", 10.0), row("A", "09:33", 10.0), row("A", "09:34", 11.0)],
        Window("One", "09:30", "09:30"),
        rules=Rules(check="once"),
    )

    assert drained(of_cases([case])).days[0].signals == ()
