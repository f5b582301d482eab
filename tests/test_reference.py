"""The reference itself: each rule on rows small enough to check by eye, then on real answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from expected import DerivedRow, LevelsRow, QualityRow, SignalRow, bars_checksum, load_expected
from hypothesis import given
from hypothesis import strategies as st
from reference import Answer, Bar, Row, Rules, Signal, Tick, Window, answer
from strategies import Case, cases

from openbell.market.days import MINUTE_NS, SECOND_NS, Segment, TradingDay

NSE = "Asia/Kolkata"
DAY = date(2021, 3, 1)
MORNING = Window("Morning", "09:15", "09:16")
INF, NAN = math.inf, math.nan


def at(wall: str, day: date = DAY, tz: str = NSE) -> int:
    moment = datetime.combine(day, time.fromisoformat(wall), tzinfo=ZoneInfo(tz))
    return round(moment.timestamp()) * SECOND_NS


def trading_day(*segments: tuple[str, str], day: date = DAY, tz: str = NSE) -> TradingDay:
    hours = tuple(Segment(at(start, day, tz), at(end, day, tz)) for start, end in segments)
    return TradingDay(day, tz, hours)


SHORT = trading_day(("09:15", "09:25"))
BROKEN = trading_day(("09:15", "09:20"), ("10:02", "10:08"))


def bar(wall: str, price: float, symbol: str = "A", volume: float = 1.0) -> Bar:
    return symbol, at(wall), price, price, price, price, volume


def wide(wall: str, open_: float, high: float, low: float, close: float, symbol: str = "A") -> Bar:
    return symbol, at(wall), open_, high, low, close, 1.0


def tick(wall: str, price: float, symbol: str = "A", size: float = 1.0) -> Tick:
    return symbol, at(wall), price, size


def of_bars(
    rows: Sequence[Row],
    windows: Sequence[Window] = (MORNING,),
    rules: Rules = Rules(),  # noqa: B008
    day: TradingDay = SHORT,
    symbols: Sequence[str] = ("A",),
    companions: dict[str, str] | None = None,
) -> Answer:
    return answer(day, MINUTE_NS, rows, symbols, windows, rules, companions)


def of_ticks(
    rows: Sequence[Row],
    windows: Sequence[Window] = (MORNING,),
    rules: Rules = Rules(),  # noqa: B008
    day: TradingDay = SHORT,
    symbols: Sequence[str] = ("A",),
    companions: dict[str, str] | None = None,
) -> Answer:
    return answer(day, None, rows, symbols, windows, rules, companions)


def brief(signals: Sequence[Signal]) -> list[tuple[str, int, float, float]]:
    return [
        (s["side"], (s["ts"] - at("09:15")) // MINUTE_NS, s["price"], s["level"]) for s in signals
    ]


# Cleaning


def test_a_row_outside_the_hours_is_only_counted() -> None:
    rows = [
        bar("09:14", 1.0),
        bar("09:15", 10.0),
        bar("09:20", 1.0),
        bar("10:01", NAN),
        bar("10:02", 10.0),
        bar("10:08", 1.0),
    ]

    got = of_bars(rows, day=BROKEN)

    assert got["counts"]["A"]["rows"] == 6
    assert got["counts"]["A"]["outside_hours"] == 4
    assert got["counts"]["A"]["bad_rows"] == 0
    assert got["quality"]["A"]["actual"] == 2


@pytest.mark.parametrize("price", [NAN, INF, -INF, 0.0, -1.0])
@pytest.mark.parametrize("place", [2, 3, 4, 5])
def test_a_bar_with_a_price_that_is_none_is_bad(price: float, place: int) -> None:
    values = list(bar("09:16", 10.0))
    values[place] = price
    bad = ("A", at("09:16"), *values[2:])

    got = of_bars([bar("09:15", 10.0), bad])  # type: ignore[list-item]

    assert got["bad"] == [(1, "price")]
    assert got["counts"]["A"]["bad_rows"] == 1
    assert got["sessions"][0]["levels"]["A"]["count"] == 1


def test_a_bar_upside_down_or_off_the_grid_is_bad() -> None:
    rows: list[Row] = [
        wide("09:15", 10.0, 9.0, 11.0, 10.0),
        ("A", at("09:15") + 1, 10.0, 10.0, 10.0, 10.0, 1.0),
        ("A", at("09:15:30"), 10.0, 10.0, 10.0, 10.0, 1.0),
    ]

    got = of_bars(rows)

    assert got["bad"] == [(0, "high below low"), (1, "off the grid"), (2, "off the grid")]


def test_the_grid_is_anchored_at_each_segments_open() -> None:
    rows = [bar("09:15", 10.0), bar("10:02", 10.0), bar("10:05", 10.0), bar("10:07", 10.0)]

    got = answer(BROKEN, 5 * MINUTE_NS, rows, ["A"], [])

    assert got["bad"] == [(2, "off the grid")]
    assert [d["ts"] for d in got["derived"][5]] == [at("09:15"), at("10:02"), at("10:07")]


def test_a_row_is_out_of_order_only_behind_an_earlier_row_that_counts() -> None:
    rows = [
        bar("09:24", NAN),
        bar("09:25", 10.0),
        bar("09:18", 10.0, "B"),
        bar("09:17", 10.0),
        bar("09:16", 11.0),
        bar("09:16", 12.0),
        bar("09:18", 13.0),
        bar("09:15", NAN),
    ]

    got = of_bars(rows, symbols=["A", "B"])

    assert got["counts"]["A"]["out_of_order"] == 2
    assert got["counts"]["B"]["out_of_order"] == 0
    assert [d["open"] for d in got["derived"][5] if d["symbol"] == "A"] == [12.0]


def test_the_last_of_equal_bars_in_the_source_wins() -> None:
    rows = [
        bar("09:15", 10.0),
        bar("09:16", 99.0),
        bar("09:16", 98.0),
        bar("09:15", 11.0),
        bar("09:16", 12.0),
        bar("09:16", NAN),
    ]

    got = of_bars(rows)

    levels = got["sessions"][0]["levels"]["A"]
    assert (levels["low"], levels["high"], levels["count"]) == (11.0, 12.0, 2)
    assert got["counts"]["A"]["duplicates"] == 3
    assert got["counts"]["A"]["out_of_order"] == 1


def test_equal_ticks_all_count() -> None:
    rows = [tick("09:15", 10.0), tick("09:15", 10.0), tick("09:15", 11.0)]

    got = of_ticks(rows)

    assert got["sessions"][0]["levels"]["A"]["count"] == 3
    assert got["counts"]["A"]["duplicates"] == 0
    assert got["derived"][5][0]["volume"] == 3.0
    assert got["derived"][5][0]["close"] == 11.0


def test_an_open_outside_high_and_low_is_used_and_counted_unless_replaced() -> None:
    rows = [
        wide("09:15", 12.0, 11.0, 9.0, 10.0),
        wide("09:16", 10.0, 11.0, 9.0, 8.0),
        wide("09:17", 12.0, 11.0, 9.0, 10.0),
        wide("09:17", 10.0, 11.0, 9.0, 10.0),
    ]

    got = of_bars(rows)

    assert got["counts"]["A"]["ohlc_outside"] == 2
    assert got["sessions"][0]["levels"]["A"]["high"] == 11.0
    assert got["sessions"][0]["levels"]["A"]["low"] == 9.0


# Sessions


def test_start_and_end_minute_both_belong_to_a_session() -> None:
    rows = [bar(f"09:{minute}", float(minute)) for minute in range(15, 25)]

    got = of_bars(rows, [Window("Six", "09:17", "09:22"), Window("Five", "09:17", "09:22", "left")])

    six, five = (session["levels"]["A"] for session in got["sessions"])
    assert (six["count"], six["low"], six["high"]) == (6, 17.0, 22.0)
    assert (six["first_ts"], six["last_ts"]) == (at("09:17"), at("09:22"))
    assert (five["count"], five["low"], five["high"]) == (5, 17.0, 21.0)
    assert six["complete"]
    assert five["complete"]
    assert got["sessions"][0]["end_ns"] == at("09:23")


def test_a_sessions_ticks_end_before_the_minute_after_it() -> None:
    rows: list[Row] = [
        ("A", at("09:16") - 1, 1.0, 1.0),
        tick("09:16", 10.0),
        ("A", at("09:18") - 1, 12.0, 1.0),
        tick("09:18", 99.0),
    ]

    got = of_ticks(rows, [Window("Two", "09:16", "09:17")])

    levels = got["sessions"][0]["levels"]["A"]
    assert (levels["low"], levels["high"], levels["count"]) == (10.0, 12.0, 2)
    assert levels["complete"]
    assert brief(got["signals"]) == [("HIGH_BREAK", 3, 99.0, 12.0)]


def test_a_long_bar_belongs_only_when_it_lies_in_the_session_whole() -> None:
    day = trading_day(("09:15", "09:33"))
    rows = [bar("09:15", 1.0), bar("09:20", 2.0), bar("09:25", 3.0), bar("09:30", 4.0)]
    windows = [Window("Cut", "09:15", "09:25"), Window("Whole", "09:20", "09:29")]
    windows.append(Window("To the close", "09:30", "09:32"))

    got = answer(day, 5 * MINUTE_NS, rows, ["A"], windows)

    levels = [session["levels"]["A"] for session in got["sessions"]]
    assert [(level["count"], level["complete"]) for level in levels] == [
        (2, False),
        (2, True),
        (1, True),
    ]
    # The bar of 09:25 straddles the end of "Cut": neither in it nor after it.
    assert [(s["session"], s["ts"]) for s in got["signals"]] == [
        ("Cut", at("09:30")),
        ("Whole", at("09:30")),
    ]
    assert got["signals"][0]["known_at"] == at("09:33")


def test_a_session_outside_the_hours_is_skipped() -> None:
    windows = [
        Window("Before", "09:05", "09:14"),
        Window("Break", "09:20", "10:01"),
        Window("After", "10:08", "11:00"),
        Window("To the open", "09:05", "09:15", "left"),
    ]

    got = of_bars([bar("09:15", 10.0), bar("10:02", 12.0)], windows, day=BROKEN)

    assert [s["status"] for s in got["sessions"]] == ["SKIPPED"] * 4
    assert not any(s["levels"] or s["truncated"] for s in got["sessions"])
    assert got["signals"] == []


def test_a_session_that_leaves_the_hours_is_truncated() -> None:
    windows = [
        Window("Early", "09:10", "09:16"),
        Window("Over the break", "09:19", "10:02"),
        Window("Late", "10:07", "10:30"),
        Window("Inside", "09:15", "09:19"),
    ]
    rows = [bar("09:15", 1.0), bar("09:16", 2.0), bar("09:19", 3.0), bar("10:02", 4.0)]

    got = of_bars([*rows, bar("10:07", 5.0)], windows, day=BROKEN)

    assert [s["truncated"] for s in got["sessions"]] == [True, True, True, False]
    levels = [s["levels"]["A"] for s in got["sessions"]]
    assert [level["count"] for level in levels] == [2, 2, 1, 3]
    assert [level["complete"] for level in levels] == [True, True, True, False]


def test_a_session_without_a_row_has_no_levels_and_no_signals() -> None:
    got = of_bars([bar("09:20", 10.0), bar("09:21", 12.0)])

    assert got["sessions"][0]["status"] == "COMPLETED"
    assert got["sessions"][0]["levels"]["A"] == {
        "high": None,
        "low": None,
        "count": 0,
        "first_ts": None,
        "last_ts": None,
        "complete": False,
    }
    assert got["signals"] == []


def test_windows_are_read_in_the_days_own_offset() -> None:
    """New York's 09:30 is 14:30Z on the Friday before the clocks change, 13:30Z on the Monday."""
    for day, open_utc in [(date(2024, 3, 8), "14:30"), (date(2024, 3, 11), "13:30")]:
        open_ns = at(open_utc, day, "UTC")
        trading = TradingDay(day, "America/New_York", (Segment(open_ns, open_ns + 10 * MINUTE_NS),))
        rows: list[Row] = [("A", open_ns + i * MINUTE_NS, *[1.0 + i] * 4, 1.0) for i in range(10)]  # type: ignore[misc]

        got = of_bars(rows, [Window("Two", "09:31", "09:32")], day=trading)

        assert got["sessions"][0]["levels"]["A"]["low"] == 2.0
        assert got["sessions"][0]["levels"]["A"]["high"] == 3.0


# Breakouts


def test_only_a_price_strictly_beyond_the_level_breaks_it_and_once_a_side() -> None:
    rows = [
        wide("09:15", 10.0, 12.0, 9.0, 11.0),
        bar("09:17", 12.0),
        bar("09:18", 9.0),
        bar("09:19", 12.5),
        bar("09:20", 8.5),
        bar("09:21", 13.0),
        bar("09:22", 8.0),
    ]

    got = of_bars(rows)

    assert brief(got["signals"]) == [("HIGH_BREAK", 4, 12.5, 12.0), ("LOW_BREAK", 5, 8.5, 9.0)]
    assert [s["known_at"] for s in got["signals"]] == [at("09:20"), at("09:21")]
    assert not any(s["gap"] or s["ambiguous"] or s["complete"] for s in got["signals"])


def test_a_wick_beyond_the_level_is_a_touch_but_no_close() -> None:
    rows = [
        bar("09:15", 10.0),
        bar("09:16", 10.0),
        wide("09:17", 10.0, 11.0, 10.0, 10.0),
        wide("09:18", 9.0, 10.0, 8.0, 10.0),
    ]

    by_close = of_bars(rows)
    by_touch = of_bars(rows, rules=Rules(confirm="touch"))

    assert by_close["signals"] == []
    assert brief(by_touch["signals"]) == [
        ("HIGH_BREAK", 2, 10.0, 10.0),  # at the level
        ("LOW_BREAK", 3, 9.0, 10.0),  # the open was beyond already
    ]
    assert by_touch["signals"][0]["complete"]


def test_a_bar_that_is_the_first_to_touch_both_sides_is_ambiguous() -> None:
    touch = Rules(confirm="touch")
    before, up = bar("09:15", 10.0), wide("09:17", 10.0, 11.0, 10.0, 10.0)
    both = wide("09:18", 10.0, 12.0, 9.0, 10.0)

    got = of_bars([before, both], rules=touch)
    high_only = of_bars([before, both], rules=touch._replace(sides="high"))
    after_high = of_bars([before, up, both], rules=touch)

    assert [s["side"] for s in got["signals"]] == ["HIGH_BREAK", "LOW_BREAK"]
    assert [s["ambiguous"] for s in got["signals"]] == [True, True]
    assert [s["ambiguous"] for s in high_only["signals"]] == [False]
    assert [s["ambiguous"] for s in after_high["signals"]] == [False, False]


def test_gap_says_that_the_first_price_after_the_session_lay_beyond() -> None:
    rows = [
        bar("09:15", 10.0),
        wide("09:17", 11.0, 11.0, 9.0, 10.0),
        bar("09:18", 9.0),
        bar("09:19", 12.0),
    ]

    got = of_bars(rows)

    assert brief(got["signals"]) == [("LOW_BREAK", 3, 9.0, 10.0), ("HIGH_BREAK", 4, 12.0, 10.0)]
    assert [s["gap"] for s in got["signals"]] == [False, True]


def test_checked_once_only_the_first_row_after_the_session_counts() -> None:
    rows = [bar("09:15", 10.0), bar("09:18", 10.0), bar("09:19", 11.0)]

    got = of_bars(rows, rules=Rules(check="once"))
    on_first = of_bars(
        [bar("09:15", 10.0), wide("09:18", 10, 11, 9, 10)], rules=Rules("touch", "once")
    )

    assert got["signals"] == []
    assert [s["side"] for s in on_first["signals"]] == ["HIGH_BREAK", "LOW_BREAK"]


@pytest.mark.parametrize(("sides", "side"), [("high", "HIGH_BREAK"), ("low", "LOW_BREAK")])
def test_one_side_can_be_asked_for(sides: str, side: str) -> None:
    rows = [bar("09:15", 10.0), bar("09:17", 9.0), bar("09:18", 11.0)]

    got = of_bars(rows, rules=Rules(sides=sides))  # type: ignore[arg-type]

    assert [s["side"] for s in got["signals"]] == [side]


def test_breakouts_go_on_in_the_next_segment() -> None:
    got = of_bars([bar("09:15", 10.0), bar("10:07", 11.0)], day=BROKEN)

    assert [(s["ts"], s["known_at"]) for s in got["signals"]] == [(at("10:07"), at("10:08"))]


def test_a_ticks_signal_is_known_at_its_own_time() -> None:
    rows: list[Row] = [tick("09:15", 10.0), ("A", at("09:17") + 7, 11.0, 1.0)]

    got = of_ticks(rows, rules=Rules(confirm="touch"))

    signal = got["signals"][0]
    assert (signal["ts"], signal["known_at"]) == (at("09:17") + 7, at("09:17") + 7)
    assert (signal["price"], signal["gap"]) == (11.0, True)


def test_a_companions_last_price_is_that_known_when_the_signal_is() -> None:
    rows = [
        bar("09:15", 10.0),
        bar("09:17", 11.0),
        bar("09:17", 500.0, "F"),
        bar("09:18", 501.0, "F"),
        bar("09:21", 9.0),
    ]

    got = of_bars(rows, symbols=["A", "F"], companions={"A": "F"})

    assert [s["companion"] for s in got["signals"]] == [
        {"symbol": "F", "price": 500.0, "ts": at("09:17")},
        {"symbol": "F", "price": 501.0, "ts": at("09:18")},
    ]


def test_a_companion_without_a_price_yet_is_none() -> None:
    rows = [bar("09:15", 10.0), bar("09:17", 11.0), bar("09:18", 500.0, "F")]

    got = of_bars(rows, symbols=["A", "F"], companions={"A": "F"})
    unknown = of_bars(rows, symbols=["A", "F"], companions={"A": "G"})

    assert got["signals"][0]["companion"] is None
    assert unknown["signals"][0]["companion"] is None


def test_a_companions_tick_of_the_same_time_comes_first() -> None:
    rows: list[Row] = [
        tick("09:15", 10.0),
        tick("09:17", 11.0),
        tick("09:17", 500.0, "F"),
        tick("09:17", 501.0, "F"),
        ("F", at("09:17") + 1, 502.0, 1.0),
    ]

    got = of_ticks(rows, symbols=["A", "F"], companions={"A": "F"})

    assert got["signals"][0]["companion"] == {"symbol": "F", "price": 501.0, "ts": at("09:17")}


def test_signals_are_ordered_by_time_symbol_session_and_side() -> None:
    windows = [Window("Zulu", "09:15", "09:15"), Window("Alpha", "09:15", "09:15")]
    rows = [bar("09:15", 10.0, "B"), bar("09:15", 10.0, "A"), bar("09:17", 12.0, "A")]
    rows += [wide("09:16", 10.0, 11.0, 9.0, 10.0, "B"), wide("09:17", 1.0, 11.0, 9.0, 10.0, "A")]

    got = of_bars(rows, windows, Rules(confirm="touch"), symbols=["B", "A"])

    assert [(s["symbol"], s["session"], s["side"]) for s in got["signals"]] == [
        (symbol, session, side)
        for symbol in ("B", "A")
        for session in ("Alpha", "Zulu")
        for side in ("HIGH_BREAK", "LOW_BREAK")
    ]


# Derived bars and quality


def test_derived_bars_are_anchored_at_each_segments_open_and_cut_by_its_close() -> None:
    rows = [bar("09:15", 10.0), bar("09:19", 11.0), bar("10:04", 12.0), bar("10:07", 13.0)]

    got = of_bars(rows, day=BROKEN)

    assert [(d["ts"], d["open"], d["close"]) for d in got["derived"][5]] == [
        (at("09:15"), 10.0, 11.0),
        (at("10:02"), 12.0, 12.0),
        (at("10:07"), 13.0, 13.0),
    ]
    assert [d["ts"] for d in got["derived"][15]] == [at("09:15"), at("10:02")]


def test_a_derived_bar_takes_first_max_min_last_and_the_running_sum() -> None:
    rows: list[Row] = [
        ("A", at("09:17"), 3.0, 4.0, 2.0, 3.5, 1.0),
        ("A", at("09:15"), 5.0, 6.0, 4.0, 4.5, 1e16),
        ("A", at("09:16"), 4.0, 9.0, 1.0, 2.0, 1.0),
    ]

    got = of_bars(rows)

    assert got["derived"][5] == [
        {
            "symbol": "A",
            "ts": at("09:15"),
            "open": 5.0,
            "high": 9.0,
            "low": 1.0,
            "close": 3.5,
            "volume": 1e16,  # (1e16 + 1) + 1 in float64; 1e16 + (1 + 1) would be larger
        }
    ]


def test_a_derived_interval_without_a_row_is_left_out_and_symbols_are_ordered_by_name() -> None:
    rows = [bar("09:20", 10.0, "B"), bar("09:20", 10.0, "A"), bar("09:15", 10.0, "B")]

    got = of_bars(rows, symbols=["B", "A"])

    assert [(d["ts"], d["symbol"]) for d in got["derived"][5]] == [
        (at("09:15"), "B"),
        (at("09:20"), "A"),
        (at("09:20"), "B"),
    ]


def test_a_run_of_missing_minutes_does_not_cross_a_break() -> None:
    rows = [bar("09:15", 10.0), bar("09:16", 10.0), bar("09:18", 10.0), bar("10:04", 10.0)]

    got = of_bars(rows, day=BROKEN)

    # Missing: 09:17 · 09:19 · 10:02 and 10:03 · 10:05 to 10:07.
    assert got["quality"]["A"] == {
        "expected": 11,
        "actual": 4,
        "quality_pct": 36.3636,
        "gaps": 4,
        "missing": 7,
    }


def test_minutes_with_several_ticks_count_once() -> None:
    rows: list[Row] = [
        tick("09:15", 10.0),
        tick("09:15:59", 10.0),
        ("A", at("09:25") - 1, 9.0, 1.0),
    ]

    got = of_ticks(rows)

    assert got["quality"]["A"]["actual"] == 2
    assert got["quality"]["A"]["gaps"] == 1


# Random days


@given(case=st.one_of(cases("bars"), cases("ticks"), cases("bars", interval_ns=5 * MINUTE_NS)))
def test_every_row_of_a_random_day_is_accounted_for(case: Case) -> None:
    got = case.answer()

    raw = case.raw_rows()
    assert len(raw) == len(case.rows) == sum(count["rows"] for count in got["counts"].values())
    for symbol, count in got["counts"].items():
        lost = count["outside_hours"] + count["bad_rows"] + count["duplicates"]
        assert 0 <= count["rows"] - lost
        assert count["rows"] - lost >= got["quality"][symbol]["actual"] / 5
    for session in got["sessions"]:
        assert session["start_ns"] < session["end_ns"]
        assert session["truncated"] <= (session["status"] == "COMPLETED")


@given(case=cases("bars", clean=True))
def test_a_clean_day_loses_no_row(case: Case) -> None:
    got = case.answer()

    assert got["bad"] == []
    for count in got["counts"].values():
        assert set(count.values()) <= {0, count["rows"]}


# Real days

NSE_HOURS = {date(2021, 2, 24): ("09:15", "17:00"), date(2021, 11, 4): ("18:15", "19:15")}
US_HOURS = {date(2024, 7, 3): ("09:30", "13:00"), date(2024, 11, 29): ("09:30", "13:00")}
ODD_NSE_DAYS = {
    date(2021, 2, 24),  # outage, and a later close
    date(2021, 7, 23),  # gaps in the feed
    date(2021, 11, 1),
    date(2021, 11, 4),  # an hour in the evening
}


def hours(exchange: str, day: date) -> TradingDay:
    if exchange == "XNSE":
        return trading_day(NSE_HOURS.get(day, ("09:15", "15:30")), day=day)
    return trading_day(US_HOURS.get(day, ("09:30", "16:00")), day=day, tz="America/New_York")


@pytest.mark.parametrize(
    ("name", "interval_ns", "every"),
    [
        ("us_spy_1m_2024", MINUTE_NS, 1),
        ("nse_index_1m_2021", MINUTE_NS, 6),
        ("ticks_nse_index_2021", None, 5),
    ],
)
def test_the_reference_gives_the_expected_answers_on_real_days(
    shared_data: Path, name: str, interval_ns: int | None, every: int
) -> None:
    expected = load_expected(shared_data, name)
    symbols = sorted({symbol for _, symbol in expected.quality})
    columns = (
        ["price", "size"] if interval_ns is None else ["open", "high", "low", "close", "volume"]
    )
    table = pq.read_table(shared_data / f"{name}.parquet", columns=["symbol", "ts", *columns])
    ts = table["ts"].cast("int64")
    dates = expected.dates()
    outside_hours = 0

    for day in sorted({*dates[::every], *ODD_NSE_DAYS.intersection(dates)}):
        trading = hours(expected.exchange, day)
        of_day = pc.and_(
            pc.greater_equal(ts, trading.midnight_ns), pc.less(ts, trading.next_midnight_ns)
        )
        part = table.filter(of_day)
        rows = list(
            zip(
                part["symbol"].to_pylist(),
                part["ts"].cast("int64").to_pylist(),
                *(part[column].to_pylist() for column in columns),
                strict=True,
            )
        )

        got = answer(trading, interval_ns, rows, symbols, expected.windows)

        assert sessions_of(got, day) == {k: v for k, v in expected.sessions.items() if k[0] == day}
        assert signals_of(got) == expected.signals.get(day, [])
        assert derived_of(got, day) == {k: v for k, v in expected.derived.items() if k[0] == day}
        assert quality_of(got, day) == {k: v for k, v in expected.quality.items() if k[0] == day}
        assert got["bad"] == []
        outside_hours += sum(count["outside_hours"] for count in got["counts"].values())

    if every == 1:
        assert outside_hours == expected.ignored["outside_hours"]


def sessions_of(got: Answer, day: date) -> dict[tuple[date, str, str], LevelsRow]:
    found = {}
    for session in got["sessions"]:
        for symbol, levels in session["levels"].items():
            high, low = levels["high"], levels["low"]
            first_ts, last_ts = levels["first_ts"], levels["last_ts"]
            if high is None or low is None or first_ts is None or last_ts is None:
                continue
            row = LevelsRow(high, low, levels["count"], first_ts, last_ts)
            found[day, session["session"], symbol] = row
    return found


def signals_of(got: Answer) -> list[SignalRow]:
    return [
        SignalRow(s["ts"], s["symbol"], s["session"], s["side"], s["price"], s["level"])
        for s in got["signals"]
    ]


def derived_of(got: Answer, day: date) -> dict[tuple[date, str, int], DerivedRow]:
    found = {}
    for minutes, bars in got["derived"].items():
        for symbol in got["quality"]:
            of_symbol = [
                (b["ts"], b["open"], b["high"], b["low"], b["close"], b["volume"])
                for b in bars
                if b["symbol"] == symbol
            ]
            found[day, symbol, minutes] = DerivedRow(len(of_symbol), bars_checksum(of_symbol))
    return found


def quality_of(got: Answer, day: date) -> dict[tuple[date, str], QualityRow]:
    found = {}
    for symbol, q in got["quality"].items():
        count = got["counts"][symbol]
        used = count["rows"] - count["outside_hours"] - count["bad_rows"] - count["duplicates"]
        found[day, symbol] = QualityRow(
            used, q["actual"], q["expected"], q["quality_pct"], q["gaps"], q["missing"]
        )
    return found
