"""Symbols whose hours differ: who is what, when, and what of a day is whose."""

from __future__ import annotations

from datetime import date, time

import numpy as np
import pytest
from trading import trading_day

from openbell.errors import CalendarError
from openbell.market.assembly import as_came, assemble, no_raw_rows
from openbell.market.calendar import open_calendar
from openbell.market.days import MINUTE_NS, ProductHours, TradingDay
from openbell.market.hours import RegularHours, parse_span
from openbell.market.products import fits, of_symbol, own_hours
from openbell.market.segments import ProductRule, segment_of
from openbell.market.windows import SessionSpec, Window, boundaries, holds, session_window
from openbell.runtime.record.codec import decode, encode

BEFORE, SINCE = date(2026, 7, 31), date(2026, 8, 3)
"""The last day on which NSE's products had the same hours, and the first on which they don't."""

RULES = (
    ProductRule("*FUT", "futures"),
    ProductRule("RELIANCE", "equity_fno"),
    ProductRule("NIFTY", "index"),
)

SYMBOLS = ("NIFTY", "NIFTY26AUGFUT", "RELIANCE", "SMALLCO")


def nse(on: date, segment: str = "equity", rules: tuple[ProductRule, ...] = RULES) -> TradingDay:
    day = open_calendar("XNSE", on, on, segment=segment, segments=rules).day(on)
    assert day is not None
    return day


def closes(day: TradingDay, symbols: tuple[str, ...] = SYMBOLS) -> list[str]:
    own = own_hours(day, symbols)
    ns = [day.close_ns] * len(symbols) if own is None else own.last_closes.tolist()
    return [f"{np.datetime64(at + 330 * MINUTE_NS, 'ns')}"[11:16] for at in ns]


@pytest.mark.parametrize(
    ("symbol", "on", "product"),
    [
        ("RELIANCE", BEFORE, "equity_fno"),
        ("NIFTY26AUGFUT", BEFORE, "futures"),
        ("NIFTY", BEFORE, "index"),
        ("SMALLCO", BEFORE, None),
        ("TCS", date(2026, 8, 2), None),
        ("TCS", SINCE, "equity_fno"),
        ("TCS", date(2026, 11, 2), "equity"),
        ("NIFTYWEEKFUT", SINCE, "index"),
    ],
)
def test_a_name_goes_before_patterns_and_a_longer_pattern_before_a_shorter_one(
    symbol: str, on: date, product: str | None
) -> None:
    rules = (
        *RULES,
        ProductRule("NIFTYW*FUT", "index"),
        ProductRule("TCS", "equity_fno", SINCE, date(2026, 11, 2)),
        ProductRule("TCS", "equity", date(2026, 11, 2)),
    )

    assert segment_of(rules, symbol, on) == product


def test_products_differ_from_the_day_of_the_reform_on() -> None:
    before, since = nse(BEFORE), nse(SINCE)

    assert before.products == ()
    assert before == open_calendar("XNSE", BEFORE, BEFORE).day(BEFORE)
    assert closes(before) == ["15:30"] * 4
    assert closes(since) == ["15:30", "15:40", "15:15", "15:30"]
    assert (since.open_ns, since.minutes_expected()) == (since.main[0].open_ns, 385)
    own = own_hours(since, SYMBOLS)
    assert own is not None
    assert own.minutes.tolist() == [375, 385, 360, 375]
    assert own.slots(since.grid(MINUTE_NS)[0]).sum(axis=0).tolist() == own.minutes.tolist()


def test_hours_of_single_dates_are_everybodys_but_an_early_close_ends_who_is_open() -> None:
    (day,) = open_calendar(
        "XNSE", SINCE, SINCE, segments=RULES, early_closes={SINCE: time(15, 20)}
    ).days()
    muhurat = nse(date(2026, 11, 8))

    assert closes(day) == ["15:20", "15:20", "15:15", "15:20"]
    assert muhurat.products == ()


def test_a_day_on_which_all_symbols_of_a_run_are_one_product_is_theirs_all_the_same() -> None:
    day = nse(SINCE)

    alone = own_hours(day, ("RELIANCE",))
    futures = own_hours(day, ("NIFTY26AUGFUT",))

    assert futures is None  # the longest hours are the day's
    assert alone is not None
    assert alone.minutes.tolist() == [360]


def test_rows_count_inside_their_symbols_hours() -> None:
    day = nse(SINCE)
    at = [day.instant(time.fromisoformat(wall)) for wall in ("09:14", "15:14", "15:15", "15:39")]
    ts = np.repeat(np.array(at, np.int64), 4)
    code = np.tile(np.arange(4, dtype=np.int32), 4)
    none = no_raw_rows(SYMBOLS, MINUTE_NS)
    ones = np.ones(len(ts))
    raw = type(none)("bars", SYMBOLS, code, ts, dict.fromkeys(none.columns, ones), none.locate)

    data = assemble(raw, day, MINUTE_NS)

    assert data.counts.outside_hours.tolist() == [2, 1, 3, 2]


def test_sessions_relative_to_the_close_go_by_the_runs_own_segment() -> None:
    spec = SessionSpec("Late", "close-30m", "close", closed="left")

    windows = [session_window(nse(SINCE, of), spec, MINUTE_NS) for of in ("equity", "equity_fno")]

    lengths = []
    for window, of in zip(windows, ("equity", "equity_fno"), strict=True):
        assert isinstance(window, Window)
        assert window.truncated is None
        assert window.end_ns == nse(SINCE, of).main[-1].close_ns
        lengths.append(len(window.slots))
    assert lengths == [30, 30]


def test_each_close_is_a_boundary_and_holds_rows_back() -> None:
    day = nse(SINCE)
    ends = [day.instant(time(15, minute)) for minute in (15, 30, 40)]

    assert boundaries(day, [], "boundary", MINUTE_NS) == tuple(ends)
    assert holds(day, []) == tuple(ends)


def test_bars_that_one_products_close_cuts_and_anothers_does_not_do_not_fit() -> None:
    day = nse(SINCE)

    fitting = [
        all(fits(of.segments, day, n * MINUTE_NS) for of in day.products) for n in (1, 5, 30)
    ]

    assert fitting == [True, True, False]


def test_a_day_is_written_with_its_products_only_where_it_has_some() -> None:
    before, since = nse(BEFORE), nse(SINCE)

    assert decode(encode(since)) == since
    assert b"products" not in encode(before)


def test_one_symbols_hours_come_with_their_layer_and_why() -> None:
    calendar = open_calendar("XNSE", SINCE, SINCE, segments=RULES)

    of_future = of_symbol(calendar.explain(SINCE), "NIFTY26AUGFUT")
    of_share = of_symbol(calendar.explain(SINCE), "SMALLCO")

    assert of_future.layer == "overlay nse.yaml"
    assert of_share.layer == "pandas_market_calendars NSE"
    assert of_share.day is not None
    assert [of.product for of in of_share.day.products] == ["equity"]


def test_hours_of_a_midday_break_of_some_are_theirs_alone() -> None:
    whole = trading_day(date(2024, 7, 1), ("09:00", "15:00"))
    paused = trading_day(date(2024, 7, 1), ("09:00", "12:00"), ("13:00", "15:00"))
    products = (
        ProductHours("spot", whole.segments),
        ProductHours("futures", paused.segments, ("F*",)),
    )
    day = TradingDay(whole.date, whole.tz, whole.segments, products=products)
    own = own_hours(day, ("A", "F1"))
    assert own is not None

    noon = np.full(2, day.instant(time(12, 30)), np.int64)

    assert own.holds(np.array([0, 1], np.int32), noon).tolist() == [True, False]
    assert own.minutes.tolist() == [360, 300]


def test_an_unknown_product_of_a_symbol_is_named() -> None:
    with pytest.raises(CalendarError, match=r'segment "future" is unknown \(nearest: futures'):
        open_calendar("XNSE", SINCE, SINCE, segments=(ProductRule("A", "future"),))


@pytest.mark.parametrize(
    ("of", "on", "hours"),
    [
        ("equity", BEFORE, {"auction_open": "09:00-09:15"}),
        ("equity_fno", BEFORE, {"auction_open": "09:00-09:15"}),
        ("equity_fno", SINCE, {"auction_open": "09:00-09:15", "auction_close": "15:15-15:35"}),
        ("futures", date(2025, 12, 5), {}),
        ("futures", date(2025, 12, 8), {"auction_open": "09:00-09:15"}),
        ("index", SINCE, {}),
        ("equity", date(2026, 11, 8), {}),  # of a Muhurat evening none is known
    ],
)
def test_auctions_are_of_products_and_dates(of: str, on: date, hours: dict[str, str]) -> None:
    day = nse(on, of, rules=())

    def wall(ns: int) -> str:
        return f"{np.datetime64(ns + 330 * MINUTE_NS, 'ns')}"[11:16]

    found = {a.kind: f"{wall(a.open_ns)}-{wall(a.close_ns)}" for a in day.auctions}
    assert found == hours


def test_what_is_not_known_of_an_auction_is_said() -> None:
    before, since = (
        nse(on, rules=()).auctions[0].reason for on in (date(2026, 9, 4), date(2026, 9, 7))
    )

    assert "confirmed" not in before
    assert "to be confirmed" in since


def test_rows_of_an_auction_are_outside_of_the_hours_and_counted_apart() -> None:
    day = nse(SINCE)
    at = [day.instant(time.fromisoformat(wall)) for wall in ("08:59", "09:07", "15:20", "15:36")]
    ts = np.repeat(np.array(at, np.int64), 4)
    code = np.tile(np.arange(4, dtype=np.int32), 4)
    none = no_raw_rows(SYMBOLS, MINUTE_NS)
    ones = np.ones(len(ts))
    raw = type(none)("bars", SYMBOLS, code, ts, dict.fromkeys(none.columns, ones), none.locate)

    data = assemble(raw, day, MINUTE_NS)
    as_they_came = as_came(raw, day, MINUTE_NS)

    for counts in (data.counts, as_they_came.counts):
        assert counts.outside_hours.tolist() == [3, 2, 4, 3]
        assert {name: of.tolist() for name, of in counts.by_rule} == {"auction": [0, 1, 2, 1]}


def test_hours_of_ones_own_over_an_auction_make_it_trading() -> None:
    span = parse_span("09:00-15:30")
    (day,) = open_calendar("XNSE", BEFORE, BEFORE, hours=(RegularHours(span),)).days()

    assert day.open_ns == day.instant(time(9))
    assert day.auctions == ()


def test_products_of_any_exchange_may_be_given_hours() -> None:
    on = date(2024, 7, 2)
    hours = (RegularHours(parse_span("18:00-17:00"), product="futures"),)
    calendar = open_calendar(
        "XNYS", on, date(2024, 7, 3), hours=hours, segments=(ProductRule("ES*", "futures"),)
    )
    day, early = calendar.days()

    own = own_hours(day, ("AAPL", "ESU4"))

    assert own is not None
    assert own.minutes.tolist() == [390, 23 * 60]
    assert (day.open_ns, day.close_ns) == (
        day.instant(time(18)) - 24 * 60 * MINUTE_NS,
        day.instant(time(17)),
    )
    assert [f"{of.product} {of.layer}" for of in day.products] == [
        "equity exchange_calendars XNYS",
        "futures config",
    ]
    # A session relative to the close of an early day goes by the shares, though futures trade on.
    assert early.main[-1].close_ns == early.instant(time(13))
    assert early.close_ns == early.instant(time(14))
