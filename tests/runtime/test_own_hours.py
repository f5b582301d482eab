"""NSE's days before and after its products got hours of their own: stored, live and gone on with."""

from __future__ import annotations

import json
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from commands import Command
from nse_products import COMPANIONS, SEGMENTS, SYMBOLS
from reference import Rules, Window, answer

import openbell
from openbell.errors import ConfigError, DataError
from openbell.market.days import MINUTE_NS
from openbell.runtime.config import config_from
from openbell.runtime.intake.hours import calendar_for
from openbell.runtime.results.exporting import export_csv

DAYS = (date(2026, 7, 30), date(2026, 7, 31), date(2026, 8, 3), date(2026, 8, 4))

WINDOWS = (
    Window("Opening", "09:15", "09:29"),
    Window("Over RELIANCE's close", "15:05", "15:19"),
    Window("After most", "15:31", "15:35"),
)


def config(**more: Any) -> dict[str, Any]:
    return {
        "exchange": "XNSE",
        "symbols": list(SYMBOLS),
        "companions": COMPANIONS,
        "sessions": [{"name": w.name, "start": w.start, "end": w.end} for w in WINDOWS],
        "data": {"kind": "bars", "interval": "1m"},
        "upkeep": {"derived_intervals": [5, 60]},
        "calendar": {"segments": SEGMENTS},
        **more,
    }


def frame() -> pd.DataFrame:
    """Bars from before the open until after all closes, with holes."""
    rng = np.random.default_rng(7)
    parts = []
    for day in DAYS:
        ts = pd.date_range(f"{day} 09:05", f"{day} 15:44", freq="1min", tz="Asia/Kolkata")
        for symbol in SYMBOLS:
            close = np.round(100 + np.cumsum(rng.normal(0, 0.1, len(ts))), 2)
            rows = {"symbol": symbol, "ts": ts, "open": close, "high": close + 0.05}
            rows |= {"low": close - 0.05, "close": close, "volume": np.full(len(ts), 10.0)}
            parts.append(pd.DataFrame(rows)[rng.random(len(ts)) > 0.02])
    return pd.concat(parts, ignore_index=True).sort_values("ts", kind="stable")


def told(result: openbell.Result) -> list[tuple[Any, ...]]:
    return [
        (s["id"], s["ts"], s["known_at"], s["price"], s["complete"])
        for s in result.signals.to_pylist()
    ]


def test_days_round_the_reform_are_answered_as_the_reference_answers_them(tmp_path: Path) -> None:
    rows = frame()
    calendar = calendar_for(config_from(config()), DAYS[0], DAYS[-1])

    result = openbell.backtest(config(), rows, out=tmp_path)

    assert [len(day.products) for day in calendar.days()] == [0, 0, 4, 4]
    quality = {(str(q["trading_date"]), q["symbol"]): q for q in result.quality.to_pylist()}
    documents = [
        json.loads(line) for line in (tmp_path / "sessions.jsonl").read_text().splitlines()
    ]
    signals = told(result)
    for day in calendar.days():
        of_day = rows[(rows["ts"].dt.date == day.date)]
        given = [
            (symbol, ts.value, *prices)
            for symbol, ts, *prices in of_day.itertuples(index=False, name=None)
        ]
        expected = answer(
            day, MINUTE_NS, given, SYMBOLS, WINDOWS, Rules(), {"NIFTY": "NIFTY26AUGFUT"}, (5, 60)
        )
        for symbol in SYMBOLS:
            got = quality[str(day.date), symbol]
            assert got["outside_hours"] == expected["counts"][symbol]["outside_hours"]
            for name, value in expected["quality"][symbol].items():
                assert got[name] == pytest.approx(value), (day.date, symbol, name)
        found = [s for s in signals if s[0].split(":")[1] == str(day.date)]
        assert [(s[0].split(":", 2)[2], s[3], s[4]) for s in found] == [
            (f"{s['session']}:{s['symbol']}:{s['side']}:{s['number']}", s["price"], s["complete"])
            for s in expected["signals"]
        ]
        for session in expected["sessions"]:
            (document,) = (
                d
                for d in documents
                if (d["trading_date"], d["session_name"]) == (str(day.date), session["session"])
            )
            assert document["status"] == session["status"]
            assert {s: (of["high"], of["low"]) for s, of in document["symbols_data"].items()} == {
                s: (of["high"], of["low"]) for s, of in session["levels"].items()
            }
        for minutes in (5, 60):
            bars = [
                (b["symbol"], b["open"], b["high"], b["low"], b["close"], b["volume"])
                for b in result.bars(minutes).to_pylist()
                if day.open_ns <= b["ts"].value < day.close_ns
            ]
            assert bars == [
                (b["symbol"], b["open"], b["high"], b["low"], b["close"], b["volume"])
                for b in expected["derived"][minutes]
            ]
    assert len(signals) > 20


def test_days_live_and_gone_on_with_after_a_stop_give_what_stored_ones_give(tmp_path: Path) -> None:
    rows = frame()
    stored = openbell.backtest(config(data={"kind": "bars", "order": "arrival"}), rows)
    live = config(
        data={"kind": "bars", "order": "arrival"},
        clock={"time": "feed"},
        feed={"type": "push", "start": str(DAYS[0]), "end": str(DAYS[-1])},
        store={"url": f"sqlite:///{tmp_path / 'state.db'}"},
    )
    # In the middle of a day on which RELIANCE has closed and the others have not.
    stops = [0, *(np.flatnonzero(rows["ts"] == pd.Timestamp("2026-08-03 15:22+05:30"))[:1]), None]

    found: list[tuple[Any, ...]] = []
    for start, stop in pairwise(stops):
        with openbell.Runtime.from_config(live) as runtime:
            position = runtime.push_bars(rows.iloc[start:stop])
            while runtime.durable_position() < position:
                runtime.status()
            if stop is None:
                runtime.end_day(DAYS[-1])
                runtime.wait()
                found = [
                    (str(s.id), s.ts, s.known_at, s.price, s.complete) for s in runtime.signals()
                ]

    assert found == told(stored)


def test_rows_of_auctions_are_counted_alike_from_a_feed_and_from_a_file() -> None:
    rows = frame()
    stored = openbell.backtest(config(data={"kind": "bars", "order": "arrival"}), rows)
    live = config(
        data={"kind": "bars", "order": "arrival"},
        clock={"time": "feed"},
        feed={"type": "push", "start": str(DAYS[0]), "end": str(DAYS[-1])},
    )

    with openbell.Runtime.from_config(live, durable=False) as runtime:
        for start in range(0, len(rows), 700):
            runtime.push_bars(rows.iloc[start : start + 700])
        runtime.end_day(DAYS[-1])
        runtime.wait()
        counted = runtime.summary()["rows"]

    assert counted == stored.summary["rows"]
    assert 0 < counted["auction"] < counted["outside_hours"]


def test_a_file_of_instruments_says_whose_hours_are_which_by_date(tmp_path: Path) -> None:
    file = tmp_path / "instruments.csv"
    file.write_text(
        "symbol,underlying,expiry,segment,since\n"
        "NIFTY26AUGFUT,NIFTY,2026-08-25,futures,\n"
        "NIFTY26SEPFUT,NIFTY,2026-09-29,futures,\n"
        "RELIANCE,,,equity_fno,\n"
        "RELIANCE,,,equity,2026-08-04\n"
        "TCS,,,equity_fno,\n"
    )
    made = config(
        instruments=str(file),
        companions={"NIFTY": {"future": "NIFTY"}},
        symbols=["NIFTY", "RELIANCE", "TCS"],
        calendar={"segments": {"TCS": "equity"}},
    )

    days = calendar_for(config_from(made), DAYS[0], DAYS[-1]).days()

    names = [
        {of.product: of.symbols for of in day.products if of.product != "equity"} for day in days
    ]
    futures = ("NIFTY26AUGFUT", "NIFTY26SEPFUT")
    assert names == [
        {},
        {},
        {"equity_fno": ("RELIANCE",), "futures": futures},
        {"futures": futures},
    ]
    with pytest.raises(ConfigError, match=r"instruments.file: there is no file"):
        calendar_for(config_from({**made, "instruments": str(file) + "x"}), *DAYS[2:])
    file.write_text(file.read_text() + "RELIANCE,,,index,2026-08-04\n")
    with pytest.raises(
        DataError, match=r"segment of RELIANCE on 2026-08-04 is equity by row 5 and"
    ):
        calendar_for(config_from(made), *DAYS[2:])


def test_whose_hours_are_which_decides_answers_but_is_read_for_each_day_by_the_hosts_clock() -> (
    None
):
    stored = config_from(config())
    plain = config_from(config(calendar={}))
    live = config_from(config(feed={"type": "push"}, clock={"time": "wall"}))

    assert stored.digest() != plain.digest()
    assert "segments" not in plain.determining()["calendar"]
    assert plain.with_determining(stored.determining()).calendar == stored.calendar
    assert stored.with_determining(plain.determining()).calendar == plain.calendar
    assert "segments" not in live.determining()["calendar"]
    assert live.with_determining(live.determining()).calendar == live.calendar


def test_bars_that_hours_cut_differently_are_refused(tmp_path: Path) -> None:
    half_hours = frame().assign(
        ts=lambda rows: rows["ts"].dt.floor("30min") - pd.Timedelta("15min")
    )
    made = config(
        data={"kind": "bars", "interval": "30m"},
        upkeep={"derived_intervals": [60]},
        sessions=[{"name": "Opening", "start": "09:15", "end": "09:44"}],
    )

    with pytest.raises(openbell.errors.ConfigError, match="hours of equity on 2026-08-03"):
        openbell.backtest(made, half_hours)


def test_the_calendar_shows_each_products_hours_and_one_symbols(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(config()))
    of_two = ("--config", str(file), "--from", "2026-08-02", "--to", "2026-08-03")

    def shown(*words: str) -> list[str]:
        return Command(monkeypatch, capsys)("calendar", *words).out.splitlines()

    whole = shown(*of_two)
    one = shown(*of_two, "--symbol", "RELIANCE", "--json")
    (every,) = shown("XNSE", "--from", "2026-08-03", "--segment", "all", "--json")

    assert [line.split()[:2] for line in whole if "overlay" in line] == [
        ["equity_fno", "09:15–15:15"],
        ["futures", "09:15–15:40"],
    ]
    closed, monday = map(json.loads, one)
    assert (closed["open"], closed["segments"]) == (False, [])
    assert (monday["hours"], monday["minutes"]) == (["09:15–15:15"], 360)
    assert [of["segment"] for of in json.loads(every)["segments"]] == [
        "equity",
        "equity_fno",
        "futures",
        "index",
    ]


def test_an_export_has_each_symbols_own_hours(tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "minutes.parquet")
    data = {"path": str(tmp_path / "minutes.parquet"), "kind": "bars", "interval": "1m"}
    day = {"start": str(DAYS[2]), "end": str(DAYS[2])}
    export_csv(config_from(config(data=data, backtest=day)), tmp_path / "out.csv")

    rows = pd.read_csv(tmp_path / "out.csv")
    active = rows[rows["session_active"]].groupby("symbol")["local"]
    assert {s: (len(of), of.max()[-5:]) for s, of in active} == {
        "NIFTY": (375, "15:29"),
        "NIFTY26AUGFUT": (385, "15:39"),
        "RELIANCE": (360, "15:14"),
        "SMALLCO": (375, "15:29"),
    }
    assert not rows[~rows["session_active"]]["close"].notna().any()
    assert rows.groupby("symbol")["trading_hours_close"].unique().str[0].to_dict() == {
        "NIFTY": "15:30",
        "NIFTY26AUGFUT": "15:40",
        "RELIANCE": "15:15",
        "SMALLCO": "15:30",
    }
