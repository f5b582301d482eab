"""NSE's auctions as sessions: stored, live by rows and by the clock, through stops and kills."""

from __future__ import annotations

import json
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from by_hand import ByHand, at
from commands import Command
from nse_products import COMPANIONS, SEGMENTS, SYMBOLS
from reference import Rules, Window, answer

import openbell
from openbell.errors import ConfigError
from openbell.market.days import MINUTE_NS
from openbell.runtime.config import config_from
from openbell.runtime.intake.checks import check_config
from openbell.runtime.intake.hours import calendar_for

BEFORE, SINCE = date(2026, 7, 31), date(2026, 8, 3)
"""Days before and after the closing auction came."""

WINDOWS = (
    Window("Before the open", "", "", auction="auction_open"),
    Window("Opening", "09:15", "09:29"),
    Window("Last hour", "14:30", "15:29"),
    Window("At the close", "", "", auction="auction_close"),
)


def config(**more: Any) -> dict[str, Any]:
    return {
        "exchange": "XNSE",
        "symbols": list(SYMBOLS),
        "companions": COMPANIONS,
        "sessions": [
            {"name": "Before the open", "auction": "pre_open"},
            {"name": "Opening", "start": "09:15", "end": "09:29"},
            {"name": "Last hour", "start": "14:30", "end": "15:29"},
            {"name": "At the close", "auction": "closing"},
        ],
        "data": {"kind": "bars", "interval": "1m"},
        "history": {
            "indicators": {
                "usual": {"type": "trailing_average", "period": "1d", "granularity": "intraday"},
                "highest": {"type": "trailing_max", "period": "1d", "field": "high"},
            }
        },
        "calendar": {"segments": SEGMENTS},
        **more,
    }


def frame() -> pd.DataFrame:
    """Bars from before the first auction until after the last; those in auctions stand out."""
    rng = np.random.default_rng(5)
    parts = []
    for day in (BEFORE, SINCE):
        ts = pd.date_range(f"{day} 08:55", f"{day} 15:44", freq="1min", tz="Asia/Kolkata")
        auction = (ts.time < pd.Timestamp("09:15").time()) | (
            ts.time > pd.Timestamp("15:31").time()
        )
        for symbol in SYMBOLS:
            close = np.round(100 + np.cumsum(rng.normal(0, 0.1, len(ts))), 2)
            close = np.where(auction, np.round(close + rng.normal(0, 3, len(ts)), 2), close)
            rows = {"symbol": symbol, "ts": ts, "open": close, "high": close + 0.05}
            rows |= {"low": close - 0.05, "close": close, "volume": np.full(len(ts), 10.0)}
            parts.append(pd.DataFrame(rows)[rng.random(len(ts)) > 0.6])
    return pd.concat(parts, ignore_index=True).sort_values("ts", kind="stable")


def told(result: openbell.Result) -> list[tuple[Any, ...]]:
    return [
        (s["id"], s["ts"], s["known_at"], s["price"], s["complete"])
        for s in result.signals.to_pylist()
    ]


def test_auctions_of_nse_are_answered_as_the_reference_answers_them(tmp_path: Path) -> None:
    rows = frame()
    calendar = calendar_for(config_from(config()), BEFORE, SINCE)

    result = openbell.backtest(config(), rows, out=tmp_path)

    lines = (tmp_path / "sessions.jsonl").read_text().splitlines()
    documents = {(d["trading_date"], d["session_name"]): d for d in map(json.loads, lines)}
    quality = {(str(q["trading_date"]), q["symbol"]): q for q in result.quality.to_pylist()}
    for day in calendar.days():
        given = [
            (symbol, ts.value, *prices)
            for symbol, ts, *prices in rows.itertuples(index=False, name=None)
            if ts.date() == day.date
        ]
        expected = answer(
            day, MINUTE_NS, given, SYMBOLS, WINDOWS, Rules(), {"NIFTY": "NIFTY26AUGFUT"}
        )
        for session in expected["sessions"]:
            document = documents[str(day.date), session["session"]]
            assert document["status"] == session["status"]
            assert {
                s: (of["high"], of["low"], of["tick_count"])
                for s, of in document["symbols_data"].items()
            } == {s: (of["high"], of["low"], of["count"]) for s, of in session["levels"].items()}
        signals = [s for s in told(result) if s[0].split(":")[1] == str(day.date)]
        assert [(s[0].split(":", 2)[2], s[3], s[4]) for s in signals] == [
            (f"{s['session']}:{s['symbol']}:{s['side']}:{s['number']}", s["price"], s["complete"])
            for s in expected["signals"]
        ]
        for symbol in SYMBOLS:
            got = quality[str(day.date), symbol]
            assert got["outside_hours"] == expected["counts"][symbol]["outside_hours"]
            assert got["expected"] == expected["quality"][symbol]["expected"]
            assert got["actual"] == expected["quality"][symbol]["actual"]
    skipped = documents[str(BEFORE), "At the close"]
    assert skipped["status"] == "SKIPPED"
    assert "no closing auction is known of 2026-07-31" in skipped["reason"]
    closing = documents[str(SINCE), "At the close"]
    assert (closing["started_at"], closing["completed_at"]) == (
        "2026-08-03T09:45:00Z",
        "2026-08-03T10:05:00Z",
    )
    assert {s for s, of in closing["symbols_data"].items() if of["tick_count"]} == {"RELIANCE"}
    assert any(":Before the open:" in s[0] for s in told(result))


def test_what_goes_by_hours_knows_nothing_of_auctions_that_sessions_name() -> None:
    without = config(sessions=config()["sessions"][1:3])
    rows = frame()

    named, plain = openbell.backtest(config(), rows), openbell.backtest(without, rows)

    others = [s for s in told(named) if ":Before the open:" not in s[0]]
    assert others == told(plain)
    for minutes in (5, 15):
        assert named.bars(minutes).equals(plain.bars(minutes))
    columns = ["trading_date", "symbol", "expected", "actual", "quality_pct", "gaps", "missing"]
    assert named.quality.select(columns).equals(plain.quality.select(columns))
    counted, before = named.summary["rows"], plain.summary["rows"]
    assert counted["outside_hours"] == before["outside_hours"] - before["auction"]
    assert "auction" not in counted


def test_auctions_live_and_gone_on_with_after_a_stop_give_what_stored_ones_give(
    tmp_path: Path,
) -> None:
    rows = frame()
    stored = openbell.backtest(config(data={"kind": "bars", "order": "arrival"}), rows)
    live = config(
        data={"kind": "bars", "order": "arrival"},
        clock={"time": "feed"},
        feed={
            "type": "push",
            "start": str(BEFORE),
            "end": str(SINCE),
            "record": str(tmp_path / "recorded"),
        },
        store={"url": f"sqlite:///{tmp_path / 'state.db'}"},
    )
    moments = ("09:07", "15:25")  # inside both auctions
    stops = [int((rows["ts"] < pd.Timestamp(f"{SINCE} {of}+05:30")).sum()) for of in moments]

    found: list[tuple[Any, ...]] = []
    for start, stop in pairwise([0, *stops, None]):
        with openbell.Runtime.from_config(live) as runtime:
            position = runtime.push_bars(rows.iloc[start:stop])
            while runtime.durable_position() < position:
                runtime.status()
            if stop is None:
                runtime.end_day(SINCE)
                runtime.wait()
                found = [
                    (str(s.id), s.ts, s.known_at, s.price, s.complete) for s in runtime.signals()
                ]

    assert found == told(stored)
    again = {**live, "feed": {}}
    with openbell.Runtime.from_config(again, tmp_path / "recorded", durable=False) as runtime:
        recorded = [(str(s.id), s.ts, s.known_at, s.price, s.complete) for s in runtime.signals()]
    assert recorded == found


@pytest.mark.parametrize("killed", [False, True])
def test_a_day_by_the_clock_is_open_for_the_auction_before_it(killed: bool) -> None:
    made = {
        "exchange": "XNSE",
        "symbols": ["INFY", "RELIANCE"],
        "sessions": [
            {"name": "Before the open", "auction": "pre_open"},
            {"name": "At the close", "auction": "closing"},
        ],
        "calendar": {"segments": {"RELIANCE": "equity_fno"}},
        "data": {"kind": "ticks"},
        "feed": {"type": "push", "end": "2026-08-31"},
        "clock": {"time": "wall"},
    }

    def on(wall: str) -> float:
        return at(wall, "2026-08-03", "Asia/Kolkata")

    run = ByHand(made, on("08:50"))
    run.tick(on("09:07:30"), "RELIANCE", 100.0).tick(on("09:07:31"), "INFY", 50.0)
    if killed:
        run.kill(on("09:10"), on("09:11"))
    run.tick(on("09:15:01"), "RELIANCE", 99.0).tick(on("09:15:02"), "INFY", 50.0)
    run.tick(on("15:14:59"), "RELIANCE", 100.5)
    run.tick(on("15:16"), "INFY", 51.0)  # its own day goes on
    if killed:
        run.kill(on("15:20"), on("15:21"))
    run.tick(on("15:31"), "RELIANCE", 103.0)
    run.until(on("15:50"))

    sessions = run.sessions("2026-08-03")
    assert [
        (s["status"], s["started_at"][11:16], s["completed_at"][11:16])
        for s in (sessions["Before the open"], sessions["At the close"])
    ] == [("COMPLETED", "03:30", "03:45"), ("COMPLETED", "09:45", "10:05")]
    levels = {
        name: {s: of["high"] for s, of in document["symbols_data"].items()}
        for name, document in sessions.items()
    }
    assert levels == {
        "Before the open": {"INFY": 50.0, "RELIANCE": 100.0},
        "At the close": {"INFY": None, "RELIANCE": 103.0},
    }
    assert [of for of, _ in run.signals()] == [
        f"XNSE:2026-08-03:Before the open:{of}:1"
        for of in ("RELIANCE:LOW_BREAK", "RELIANCE:HIGH_BREAK", "INFY:HIGH_BREAK")
    ]
    # It is open from the auction on, and no silence counts in one.
    assert [(wall[:5], state) for wall, state in run.seen[:2]] == [
        ("08:50", "PRE_MARKET"),
        ("09:00", "ACTIVE"),
    ]
    assert not [wall for wall, state in run.seen if state == "TIMEOUT" and wall < "09:15"]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sessions": [{"name": "A", "auction": "opening"}]}, "write pre_open or closing"),
        (
            {"sessions": [{"name": "A", "auction": "closing", "start": "15:15"}]},
            'sessions[0].start is "15:15"; leave it out; auction: closing has the times of the calendar',
        ),
        (
            {"sessions": [{"name": "A", "start": "15:15"}]},
            "sessions[0].end is not set; write a time",
        ),
        (
            {"exchange": "XNYS", "calendar": {}},
            "and of XNYS none is known, as of XNSE; write start",
        ),
        (
            {"calendar": {"hours": "09:00-15:30"}},
            "days with hours of your own, calendar.hours, have",
        ),
    ],
)
def test_an_auction_that_can_t_be_is_refused_with_what_to_write(
    changes: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(config_from(config(**changes)), SINCE)

    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("symbol", "said"),
    [
        ("RELIANCE", ["rows      1 used", "made at 09:07", "no LOW_BREAK: no row came after"]),
        (
            "SMALLCO",
            ["SMALLCO has no closing auction on 2026-08-03", "no level: SMALLCO had no row"],
        ),
    ],
)
def test_why_says_whose_auction_a_session_is(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    symbol: str,
    said: list[str],
) -> None:
    rows = ["symbol,ts,open,high,low,close,volume"]
    for wall, price in (("09:07", 100), ("09:15", 99), ("15:31", 103)):
        for of in ("RELIANCE", "SMALLCO"):
            rows.append(f"{of},{SINCE}T{wall}:00+05:30,{','.join([str(price)] * 4)},1")
    (tmp_path / "minutes.csv").write_text("\n".join(rows))
    made = config(
        data={"kind": "bars", "interval": "1m", "path": "minutes.csv"},
        history={},
        symbols=["RELIANCE", "SMALLCO"],
        companions={},
    )
    (tmp_path / "c.json").write_text(json.dumps(made))

    told = Command(monkeypatch, capsys)(
        "why",
        symbol,
        str(SINCE),
        "--config",
        tmp_path / "c.json",
        "--data",
        tmp_path / "minutes.csv",
    )

    assert told.code == 0, told.err
    for text in said:
        assert text in told.out
