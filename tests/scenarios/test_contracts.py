"""An index and its futures over days on which the contract is another one."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from reference import Row, Rules, Window, answer

import openbell
from openbell.adapters.sinks.files import DayResult
from openbell.adapters.sinks.tally import Tally
from openbell.errors import ConfigError, DataError
from openbell.market.calendar import open_calendar
from openbell.market.days import MINUTE_NS, TradingDay, local_instant
from openbell.runtime.api import Runtime

ZONE = "Asia/Kolkata"
SESSIONS = [
    {"name": "Open", "start": "09:15", "end": "09:17"},
    {"name": "Later", "start": "09:25", "end": "09:26"},
]
WINDOWS = tuple(Window(s["name"], s["start"], s["end"]) for s in SESSIONS)
EXPIRIES = (date(2025, 8, 28), date(2025, 9, 30), date(2025, 10, 28))
FILE = "underlying,expiry,symbol,tick_size\n" + "".join(
    f"NIFTY,{expiry},F{expiry:%m},0.1\n" for expiry in EXPIRIES
)
PAIRED = {"NIFTY": {"future": "NIFTY", "roll": "expiry"}}

Minutes = dict[tuple[str, str], Sequence[tuple[str, float]]]
"""Date and symbol → local times and prices."""


def table(minutes: Minutes, volume: Mapping[str, float] | None = None) -> pa.Table:
    rows = [
        {
            "symbol": symbol,
            "ts": local_instant(date.fromisoformat(day), time.fromisoformat(wall), ZONE),
            **dict.fromkeys(("open", "high", "low", "close"), price),
            "volume": (volume or {}).get(f"{day} {symbol}", 1.0),
        }
        for (day, symbol), of in minutes.items()
        for wall, price in of
    ]
    made = pa.Table.from_pylist(rows)
    return made.set_column(1, "ts", made["ts"].cast(pa.timestamp("ns", "UTC")))


def config(folder: Path, text: str = FILE, **keys: Any) -> dict[str, Any]:
    (folder / "instruments.csv").write_text(text)
    return {
        "exchange": "XNSE",
        "symbols": ["NIFTY"],
        "companions": PAIRED,
        "instruments": str(folder / "instruments.csv"),
        "sessions": SESSIONS,
        **keys,
    }


def companions(found: openbell.Result) -> dict[str, set[str | None]]:
    """By day, whose prices went with its signals."""
    by_day: dict[str, set[str | None]] = {}
    for row in found.signals.to_pylist():
        name = row["companion"] and row["companion"]["symbol"]
        by_day.setdefault(str(row["trading_date"]), set()).add(name)
    return by_day


def trading_days(first: date, last: date) -> tuple[TradingDay, ...]:
    return open_calendar("XNSE", first, last).days()


def breaking(price: float) -> list[tuple[str, float]]:
    """A day on which both sessions' levels break."""
    walls = [f"09:{m:02}" for m in range(15, 32)]
    return [(wall, price + (m % 5) * (m - 4) / 10) for m, wall in enumerate(walls)]


def around_the_roll(first: date = date(2025, 8, 25), last: date = date(2025, 9, 3)) -> Minutes:
    """The index, and every contract on each day until it expires."""
    found: Minutes = {}
    for day in trading_days(first, last):
        found[str(day.date), "NIFTY"] = breaking(100.0)
        for place, expiry in enumerate(EXPIRIES):
            if day.date <= expiry:
                found[str(day.date), f"F{expiry:%m}"] = breaking(200.0 + 100 * place)
    return found


@pytest.mark.parametrize(
    ("roll", "wanted"),
    [
        ("expiry", {"25": "F08", "26": "F08", "28": "F08", "29": "F09", "01": "F09"}),
        ("1d", {"25": "F08", "26": "F08", "28": "F09", "29": "F09", "01": "F09"}),  # 27: a holiday
        ("2d", {"25": "F08", "26": "F09", "28": "F09", "29": "F09", "01": "F09"}),
    ],
)
def test_each_day_has_the_price_of_its_contract(
    tmp_path: Path, roll: str, wanted: dict[str, str]
) -> None:
    made = config(tmp_path, companions={"NIFTY": {"future": "NIFTY", "roll": roll}})

    found = companions(openbell.backtest(made, table(around_the_roll())))

    assert {day: found[day] for day in found if day[-2:] in wanted} == {
        day: {wanted[day[-2:]]} for day in found if day[-2:] in wanted
    }


@pytest.mark.parametrize("seed", range(6))
def test_days_over_a_roll_are_answered_as_the_reference_answers_each(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    minutes: Minutes = {}
    for of_day, walked in around_the_roll().items():
        if rng.random() < 0.15:
            continue  # a contract, or the index, without a row that day
        price = walked[0][1]
        kept = []
        for wall, _ in walked:
            price += rng.choice((-1, 0, 1)) * 0.5
            if rng.random() < 0.9:
                kept.append((wall, price))
        minutes[of_day] = kept
    roll = rng.choice((0, 1, 2))
    paired = {"NIFTY": {"future": "NIFTY", "roll": f"{roll}d"}}
    minutes["2025-08-26", "NIFTY"] = breaking(100.0)

    found = openbell.backtest(
        config(tmp_path, companions=paired), table(minutes)
    ).signals.to_pylist()

    wanted = []
    dates = [day.date for day in trading_days(date(2025, 8, 25), date(2025, 10, 31))]
    for day in trading_days(date(2025, 8, 25), date(2025, 9, 3)):
        ahead = [
            expiry
            for expiry in EXPIRIES
            if sum(day.date < later <= expiry for later in dates) >= roll and expiry >= day.date
        ]
        rows: tuple[Row, ...] = tuple(
            (
                symbol,
                local_instant(day.date, time.fromisoformat(wall), ZONE),
                price,
                price,
                price,
                price,
                1.0,
            )
            for (of, symbol), walked in minutes.items()
            if of == str(day.date)
            for wall, price in walked
        )
        symbols = sorted({row[0] for row in rows} | {"NIFTY"})
        pair = {"NIFTY": f"F{ahead[0]:%m}"}
        answered = answer(
            day, MINUTE_NS, rows, symbols, WINDOWS, Rules(), pair, followed=("NIFTY",)
        )
        wanted += answered["signals"]
    assert [(s["session"], ns(s["ts"]), s["price"], companion_of(s)) for s in found] == [
        (s["session"], s["ts"], s["price"], s["companion"]) for s in sorted(wanted, key=by_known)
    ]
    assert any(s["companion"] for s in found)


def companion_of(signal: Mapping[str, Any]) -> Any:
    if signal["companion"] is None:
        return None
    return {**signal["companion"], "ts": ns(signal["companion"]["ts"])}


def ns(moment: datetime) -> int:
    return pd.Timestamp(moment).value


def by_known(signal: Mapping[str, Any]) -> tuple[Any, ...]:
    return (signal["known_at"], signal["symbol"], signal["session"], signal["side"])


def test_of_each_day_only_its_contract_is_read(tmp_path: Path) -> None:
    found = openbell.backtest(config(tmp_path), table(around_the_roll()))

    read = {(str(row["trading_date"]), row["symbol"]) for row in found.quality.to_pylist()}
    assert {of for of in read if of[0] in ("2025-08-28", "2025-08-29")} == {
        ("2025-08-28", "NIFTY"),
        ("2025-08-28", "F08"),
        ("2025-08-29", "NIFTY"),
        ("2025-08-29", "F09"),
    }
    assert set(found.quality.column("bad_rows").to_pylist()) == {0}


# Averages


def volumes(minutes: Minutes) -> dict[str, float]:
    """The old contract's are ten times the new one's."""
    return {f"{day} {symbol}": 10.0 if symbol == "F08" else 1.0 for day, symbol in minutes}


AVERAGE = {
    "indicators": {"average": {"type": "trailing_average", "period": "2d", "field": "volume"}}
}


def averages(made: dict[str, Any], data: pa.Table) -> dict[tuple[str, str], float | None]:
    found: dict[tuple[str, str], float | None] = {}
    with Runtime.from_config(made, data) as runtime:
        recorder = runtime._run.recorder

        def note(day: DayResult, tally: Tally) -> None:
            (average,) = recorder._indicators
            for symbol, value in zip(average.symbols, average.values.tolist(), strict=True):
                assert math.isnan(value) == (symbol in average.reasons)
                found[str(day.trading_date), symbol] = None if math.isnan(value) else value

        recorder._on_day = note
        runtime.run()
    return found


def test_a_contract_that_takes_over_has_the_average_of_its_own_days(tmp_path: Path) -> None:
    minutes = around_the_roll()

    found = averages(config(tmp_path, history=AVERAGE), table(minutes, volumes(minutes)))

    assert found["2025-08-29", "F09"] == 17.0  # as many minutes as a day has
    assert found["2025-08-29", "NIFTY"] == 17.0
    assert ("2025-08-29", "F08") not in found
    assert found["2025-08-28", "F08"] == 170.0
    assert ("2025-08-28", "F09") not in found


def test_one_symbol_for_the_nearest_contract_mixes_none_that_the_file_tells_apart(
    tmp_path: Path,
) -> None:
    nearest: Minutes = {}
    volume = {}
    for (day, symbol), rows in around_the_roll().items():
        if symbol != "NIFTY" and symbol != ("F08" if day <= "2025-08-28" else "F09"):
            continue
        called = "NIFTY" if symbol == "NIFTY" else "NIFTY-I"
        nearest[day, called] = rows
        volume[f"{day} {called}"] = 10.0 if symbol == "F08" else 1.0
    text = "symbol,underlying,expiry\n" + "".join(f"NIFTY-I,NIFTY,{of}\n" for of in EXPIRIES)
    data = table(nearest, volume)

    told = averages(config(tmp_path, text, history=AVERAGE), data)
    untold = averages(config(tmp_path, history=AVERAGE, companions={"NIFTY": "NIFTY-I"}), data)

    days = ["2025-08-28", "2025-08-29", "2025-09-01", "2025-09-02"]
    assert [told[day, "NIFTY-I"] for day in days] == [170.0, None, None, 17.0]
    # Where nobody tells them apart, one of these is an average of two contracts.
    assert [untold[day, "NIFTY-I"] for day in days] == [170.0, 170.0, 93.5, 17.0]


# What is missing


def notes(made: dict[str, Any], data: pa.Table) -> tuple[str, ...]:
    with Runtime.from_config(made, data) as runtime:
        return runtime.notes


def test_a_day_without_a_contract_has_no_companion_and_is_told(tmp_path: Path) -> None:
    text = FILE.splitlines()
    made = config(tmp_path, "\n".join(text[:2]))  # August alone
    data = table(around_the_roll())

    found = companions(openbell.backtest(made, data))

    assert found["2025-08-28"] == {"F08"}
    assert found["2025-08-29"] == {None}
    (said,) = notes(made, data)
    assert said == (
        f"{tmp_path / 'instruments.csv'} has no future of NIFTY for 2025-08-29 to 2025-09-03 "
        "(4 days); its last expires 2025-08-28: signals of NIFTY have no companion then"
    )


def test_a_file_that_begins_long_after_the_days_is_told(tmp_path: Path) -> None:
    text = "underlying,expiry,symbol\nNIFTY,2026-09-29,F09\n"

    (said,) = notes(config(tmp_path, text), table(around_the_roll()))

    assert said == (
        f"{tmp_path / 'instruments.csv'}: for 2025-08-25 to 2025-09-03 (7 days) the next future of "
        "NIFTY is one that expires 2026-09-29; those before it may be missing"
    )


def test_a_contract_that_the_data_lacks_is_told(tmp_path: Path) -> None:
    minutes = {of: rows for of, rows in around_the_roll().items() if of[1] != "F09"}

    found = companions(openbell.backtest(config(tmp_path), table(minutes)))

    assert (found["2025-08-28"], found["2025-08-29"]) == ({"F08"}, {None})
    (said,) = notes(config(tmp_path), table(minutes))
    assert "has no F09, which goes with NIFTY on 2025-08-29 to 2025-09-03 (4 days)" in said


def test_data_that_has_none_of_the_contracts_is_refused(tmp_path: Path) -> None:
    minutes = {of: rows for of, rows in around_the_roll().items() if of[1] == "NIFTY"}

    with pytest.raises(DataError, match=r"has no future of NIFTY: the contracts of the run's days"):
        openbell.backtest(config(tmp_path), table(minutes))


# Ticks


def test_a_buffer_in_ticks_is_of_each_symbols_tick_on_that_day(tmp_path: Path) -> None:
    text = FILE.replace("tick_size", "tick_size,since").replace("0.1\n", "0.1,\n")
    text += ",,NIFTY,0.05,\n,,NIFTY,0.5,2025-08-26\n"
    minutes: Minutes = {}
    for day in ("2025-08-25", "2025-08-26"):
        for symbol in ("NIFTY", "F08", "F09"):
            minutes[day, symbol] = [
                ("09:15", 100.0),
                ("09:18", 100.15),
                ("09:19", 100.25),
                ("09:20", 101.5),
            ]
    made = config(tmp_path, text, symbols=["NIFTY", "F08"], breakout={"buffer": "2 ticks"})

    found = openbell.backtest(made, table(minutes)).signals.to_pylist()

    first = [s for s in found if s["session"] == "Open" and s["side"] == "HIGH_BREAK"]
    assert [(str(s["trading_date"])[-2:], s["symbol"], s["price"]) for s in first] == [
        ("25", "NIFTY", 100.15),  # beyond 100.1
        ("25", "F08", 100.25),  # beyond 100.2
        ("26", "F08", 100.25),
        ("26", "NIFTY", 101.5),  # beyond 101
    ]


def test_a_followed_symbol_without_a_tick_is_refused_where_a_buffer_needs_it(
    tmp_path: Path,
) -> None:
    made = config(tmp_path, breakout={"buffer": "2 ticks"})

    with pytest.raises(ConfigError, match=r"has no tick_size of NIFTY on 2025-08-25"):
        openbell.backtest(made, table(around_the_roll()))
    ruled = {**made, "breakout": {"buffer": "2 ticks", "tick_size": 0.05}}
    assert len(openbell.backtest(ruled, table(around_the_roll())).signals)


def test_the_file_is_among_what_the_answer_depends_on(tmp_path: Path) -> None:
    found = openbell.backtest(config(tmp_path), table(around_the_roll()))

    named = found.summary["inputs"]["instruments"]
    assert (named["path"], named["size"]) == (str(tmp_path / "instruments.csv"), len(FILE))


# Volume


def test_a_days_contract_confirms_breaks_by_the_average_of_its_own_days(tmp_path: Path) -> None:
    minutes = around_the_roll()
    volume = {f"{day} {symbol}": 10.0 if symbol == "F08" else 1.0 for day, symbol in minutes}
    # On its first day the new contract trades twice its own usual, a fifth of the old one's.
    volume["2025-08-29 F09"] = 2.0
    rule = {"times": 1.5, "of": "minute", "period": "2d", "symbol": "companion"}
    made = config(tmp_path, breakout={"volume": rule})

    found = companions(openbell.backtest(made, table(minutes, volume)))

    assert found == {"2025-08-29": {"F09"}}
