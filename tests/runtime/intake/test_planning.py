"""The plan of a run: whose rows are whose, and where a run begins and ends."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from openbell import backtest
from openbell.adapters.sources import open_source
from openbell.errors import ConfigError, DataError
from openbell.market.calendar import open_calendar
from openbell.market.days import MINUTE_NS, Nanoseconds, local_instant
from openbell.runtime.config import config_from
from openbell.runtime.intake.checks import check_config
from openbell.runtime.intake.planning import Plan, plan
from openbell.runtime.intake.settings import data_options

CHICAGO = "America/Chicago"
EVENING: Sequence[dict[str, Any]] = ({"name": "Evening", "start": "17:00", "end": "17:01"},)


def bars(ts: Nanoseconds) -> pa.Table:
    prices = np.full(len(ts), 100.0)
    columns = {name: prices for name in ("open", "high", "low", "close", "volume")}
    return pa.table(
        {
            "symbol": pa.array(["ES"] * len(ts)),
            "ts": pa.array(ts, pa.timestamp("ns", "UTC")),
            **columns,
        }
    )


def at(day: str, wall: str, tz: str = CHICAGO) -> int:
    return local_instant(date.fromisoformat(day), time.fromisoformat(wall), tz)


def planned(
    ts: Sequence[int] | Nanoseconds,
    exchange: str = "CMES",
    start: date | datetime | None = None,
    end: date | None = None,
    **given: Any,
) -> Plan:
    config = config_from({"exchange": exchange, "sessions": EVENING, **given})
    source = open_source(bars(np.array(ts, np.int64)), data_options(config))
    return plan(config, source, start, end)


def dates(found: Plan) -> list[str]:
    return [str(day.date) for day in found.days]


@pytest.mark.parametrize(
    ("rows", "days"),
    [
        ([("2024-07-01", "17:00")], ["2024-07-02"]),
        ([("2024-06-30", "17:30")], ["2024-07-01"]),
        ([("2024-07-01", "08:30"), ("2024-07-01", "17:00")], ["2024-07-01", "2024-07-02"]),
        ([("2024-06-28", "15:00"), ("2024-06-30", "23:59")], ["2024-06-28", "2024-07-01"]),
        # Good Friday: Sunday's evening is Monday's, Thursday's is nobody's.
        ([("2024-03-28", "09:00"), ("2024-03-31", "17:00")], ["2024-03-28", "2024-04-01"]),
    ],
)
def test_first_and_last_day_are_found_by_hours(
    rows: list[tuple[str, str]], days: list[str]
) -> None:
    found = planned([at(*row) for row in rows])

    assert dates(found) == days
    assert (found.not_trading, found.trimmed) == ({}, 0)


def test_sundays_rows_before_the_open_belong_to_no_day() -> None:
    found = planned([at("2024-06-30", "12:00"), at("2024-06-30", "17:00")])

    assert dates(found) == ["2024-07-01"]
    assert found.not_trading == {date(2024, 6, 30): 1}


def test_a_day_that_is_asked_for_has_the_evening_before() -> None:
    ts = [at("2024-07-01", "17:00"), at("2024-07-01", "09:00"), at("2024-07-02", "17:00")]

    found = planned(ts, start=date(2024, 7, 2), end=date(2024, 7, 2))

    assert dates(found) == ["2024-07-02"]
    first, until = found.row_spans[date(2024, 7, 2)]
    assert (first, until) == (ts[0], ts[2])


def test_a_moment_in_an_evening_lies_in_the_next_day() -> None:
    ts = np.arange(at("2024-07-01", "08:00"), at("2024-07-03", "12:00"), MINUTE_NS)

    found = planned(ts, start=datetime.fromisoformat("2024-07-01T18:00"))

    assert dates(found) == ["2024-07-02", "2024-07-03"]
    assert found.live_from_ns == at("2024-07-01", "18:00")


def test_days_after_the_data_are_not_found() -> None:
    with pytest.raises(DataError, match="no row inside the hours of CMES from 2024-07-03"):
        planned([at("2024-07-01", "17:00")], start=date(2024, 7, 3))


@pytest.mark.parametrize(
    ("exchange", "start", "end", "why"),
    [
        ("CMES", "15:00", "18:00", "15:00–18:00 is empty"),
        ("XNYS", "10:00", "09:45", "10:00–09:45 is empty"),
        ("XNYS", "22:00", "02:00", "22:00–02:00 is empty"),
    ],
)
def test_a_window_that_no_day_holds_in_this_order_is_refused(
    exchange: str, start: str, end: str, why: str
) -> None:
    rows = [at("2024-07-01", "10:00")]

    with pytest.raises(ConfigError, match=re.escape(why)):
        planned(rows, exchange, sessions=[{"name": "Odd", "start": start, "end": end}])


ROWS = st.lists(
    st.integers(at("2024-03-01", "00:00"), at("2024-04-06", "00:00")).map(
        lambda ns: ns // MINUTE_NS * MINUTE_NS
    ),
    min_size=1,
    max_size=60,
)
EXCHANGES = st.sampled_from(["CMES", "CME_Equity", "FX", "24/7", "XNYS", "XTKS", "XLON"])


@hypothesis_settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(ts=ROWS, exchange=EXCHANGES, files=st.integers(1, 4), data=st.data())
def test_every_row_is_counted_once_however_rows_lie_in_files(
    tmp_path: Path, ts: list[int], exchange: str, files: int, data: st.DataObject
) -> None:
    folder = tmp_path / "rows"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    of_file = np.array(
        data.draw(st.lists(st.integers(0, files - 1), min_size=len(ts), max_size=len(ts)))
    )
    rows = np.array(ts, np.int64)
    for number in range(files):
        pq.write_table(bars(np.sort(rows[of_file == number])), folder / f"part-{number}.parquet")
    whole = {
        "exchange": exchange,
        "sessions": [{"name": "All", "start": "open", "end": "close-1m"}],
    }

    calendar = open_calendar(exchange, date(2024, 2, 28), date(2024, 4, 10))
    segments = [segment for day in calendar.days() for segment in day.segments]
    if not any(s.open_ns <= row < s.close_ns for s in segments for row in ts):
        with pytest.raises(DataError, match="no row inside the hours"):
            backtest(whole, folder)
        return
    one, many = backtest(whole, bars(np.sort(rows))), backtest(whole, folder)

    counts = one.summary["rows"]
    assert counts["rows"] == len(ts)
    parts = ("used", "outside_hours", "not_a_trading_day", "duplicates", "bad_rows")
    assert sum(counts[part] for part in parts) == len(ts)
    assert many.summary["rows"] | {"out_of_order": 0} == counts | {"out_of_order": 0}
    for key in ("first_day", "last_day", "not_trading_days", "trading_days"):
        assert many.summary[key] == one.summary[key]


def test_where_there_are_no_rows_the_windows_of_the_next_days_are_told_and_checked() -> None:
    london = {"name": "London", "start": "08:00", "end": "08:29", "timezone": "Europe/London"}
    config = config_from({"exchange": "FX", "sessions": [london]})

    days = check_config(config, date(2024, 3, 8))

    assert [str(of.day.date) for of in days[:2]] == ["2024-03-08", "2024-03-11"]
    starts = [of.windows["London"] for of in days[:2]]
    assert [getattr(window, "start_ns", None) for window in starts] == [
        at("2024-03-08", "08:00", "UTC"),
        at("2024-03-11", "08:00", "UTC"),
    ]
    wrong = config_from({"exchange": "XNYS", "sessions": [london]})
    with pytest.raises(ConfigError, match="lies outside the hours"):
        check_config(wrong, date(2024, 3, 12))


@pytest.mark.parametrize("until", ["09:00", "close-400m"])
def test_breaks_that_had_to_be_known_before_their_session_is_over_are_refused(until: str) -> None:
    rows = [at("2024-07-01", "09:30", "America/New_York")]
    sessions = [{"name": "Opening", "start": "09:30", "end": "09:34"}]

    with pytest.raises(ConfigError, match=f"valid_until is {until}, and the session ends later"):
        planned(rows, "XNYS", sessions=sessions, breakout={"valid_until": until})


def test_a_time_after_midnight_is_after_a_session_of_the_evening_before() -> None:
    rows = [at("2024-07-01", "17:00")]

    assert dates(planned(rows, breakout={"valid_until": "02:00"})) == ["2024-07-02"]


def test_times_of_scans_that_no_day_holds_are_told() -> None:
    rows = [at("2024-07-01", "17:00")]
    scanners = [{"name": "late", "type": "gap", "at": ["02:00", "16:30", "close-1m"]}]

    (note,) = planned(rows, scanners=scanners).notes

    assert note.startswith('scanners "late" has 16:30 among its times, which is outside the hours')


def test_a_rule_of_volume_over_rows_without_any_is_told() -> None:
    ts = np.array([at("2024-07-01", "17:00")], np.int64)
    rule = {"volume": {"times": 2, "of": "day"}}
    given = config_from({"exchange": "CMES", "sessions": EVENING, "breakout": rule})

    def notes(volume: float) -> tuple[str, ...]:
        rows = bars(ts)
        place = rows.schema.get_field_index("volume")
        rows = rows.set_column(place, "volume", pa.array([volume]))
        return plan(given, open_source(rows, data_options(given)), None, None).notes

    assert notes(5.0) == ()
    (note,) = notes(0.0)
    assert note.startswith("breakout.volume asks for volume, and no row of the first days has any")
