"""`openbell run` as a process on a vendor's feed: killed, started again, and held against a backtest."""

from __future__ import annotations

import csv
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from venues import alpaca, kite
from venues.venue import Case, Row, Session, opened

PATIENCE_SECONDS = 120.0


def ticks() -> list[Row]:
    """Half an hour of a share, whose total grows, and of an index."""
    drawn = random.Random(7)
    rows: list[Row] = []
    prices, total = {"INFY": 1573.0, "NIFTY 50": 24_100.0}, 0
    for second in range(0, 1800, 4):
        for symbol, price in prices.items():
            prices[symbol] = price = round(price + drawn.choice((-0.6, -0.25, 0.25, 0.6)), 2)
            total += drawn.randrange(1, 90)
            size = float(total) if symbol == "INFY" else 0.0
            rows.append((symbol, (kite.AT + second) * 10**9, price, size))
    return rows


def bars() -> list[Row]:
    """An hour of two shares that swing."""
    rows: list[Row] = []
    for minute in range(60):
        for symbol, middle in {"AAPL": 190.0, "SPY": 540.0}.items():
            first, last = (round(middle + 2 * math.sin(of / 3), 2) for of in (minute, minute + 1))
            high, low = round(max(first, last) + 0.1, 2), round(min(first, last) - 0.1, 2)
            ts = alpaca.AT + minute * 60 * 10**9
            rows.append((symbol, ts, first, high, low, last, 100.0 + minute))
    return rows


def revised_bars() -> list[Row]:
    """The same, of which each third bar is sent again a minute later, wider and closing elsewhere."""
    rows: list[Row] = []
    for n, row in enumerate(bars()):
        rows.append(row)
        if n % 3 == 2:
            symbol, ts, first, high, low, last, volume = bars()[n - 2]
            moved = round(last + math.sin(n), 2)
            highest, lowest = round(max(high, moved) + 0.2, 2), round(min(low, moved) - 0.2, 2)
            rows.append((symbol, ts, first, highest, lowest, moved, volume + 7.0))
    return rows


def swings(names: Sequence[str], at: int, *, total: bool = False) -> list[Row]:
    """Half an hour of ticks of two symbols that swing, a tick each five seconds."""
    rows: list[Row] = []
    for n in range(0, 1800, 5):
        for place, name in enumerate(names):
            price = round(100.0 * (place + 1) + 2 * math.sin(n / 90 + place), 2)
            rows.append((name, (at + n) * 10**9, price, float(n * 10 + 1) if total else 3.0))
    return rows


CASES: dict[str, tuple[Case, dict[str, Any]]] = {
    "kite": (
        replace(kite.CASE, rows=ticks()),
        {
            "exchange": "XNSE",
            "symbols": ["INFY", "NIFTY 50"],
            "sessions": [{"name": "Open", "start": "09:15", "end": "09:19"}],
            "data": {"kind": "ticks"},
            "feed": {
                "size_is": "day_total",
                "options": {
                    "api_key": "${KEY}",
                    "access_token": "${SECRET}",
                    "symbols": kite.TOKENS,
                },
            },
        },
    ),
    "alpaca": (
        replace(alpaca.BARS, rows=bars()),
        {
            "exchange": "XNYS",
            "symbols": ["AAPL", "SPY"],
            "sessions": [{"name": "Open", "start": "09:30", "end": "09:34"}],
            "data": {"kind": "bars", "interval": "1m"},
            "feed": {"options": {"key": "${KEY}", "secret": "${SECRET}"}},
        },
    ),
}
CASES["alpaca, bars revised"] = (
    replace(alpaca.BARS, rows=revised_bars()),
    {
        **CASES["alpaca"][1],
        "feed": {**CASES["alpaca"][1]["feed"], "revisions": "amend"},
    },
)
SECRETS: dict[str, dict[str, str]] = {
    "kite": {"KEY": kite.KEY, "SECRET": kite.TOKEN},
    "alpaca": {"KEY": alpaca.KEY, "SECRET": alpaca.SECRET},
}

ADDRESSED: dict[str, Callable[[str], dict[str, Any]]] = {}
"""Options with which a vendor's feed connects to an address, where it is not called `url`."""


for _vendor in ("databento", "ccxt", "ib", "openalgo"):
    try:
        _of = import_module(f"venues.{_vendor}")
    except pytest.skip.Exception:  # as its own tests say
        continue
    CASES[_vendor] = _of.run_case(swings)
    SECRETS[_vendor] = _of.RUN_SECRETS
    ADDRESSED[_vendor] = _of.addressed
for _, given in CASES.values():
    given["breakout"] = {"rearm": {"inside_bars": 1, "max": 50}}


def openbell(folder: Path, *arguments: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "openbell", *arguments],
        check=False,
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def written(rows: list[Row], folder: Path) -> None:
    names = "symbol,ts,price,size" if len(rows[0]) == 4 else "symbol,ts,open,high,low,close,volume"
    with (folder / "rows.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(names.split(","))
        out.writerows(rows)


@pytest.mark.slow
@pytest.mark.parametrize("vendor", CASES)
def test_a_run_that_is_killed_has_the_signals_of_a_backtest_of_the_same_rows(
    vendor: str, tmp_path: Path
) -> None:
    case, given = CASES[vendor]
    vendor, _, _ = vendor.partition(",")
    rows = list(case.rows)
    cut = len(rows) // 2
    env = {**os.environ, **SECRETS[vendor]}

    def script(on: Session) -> None:
        """`doctor` comes first, then the run that is killed, then the one that goes on."""
        if on.number == 1:
            on.send(rows[:cut], together=7)
        elif on.number == 2:
            on.send(rows[cut:], together=5)
        on.beat()

    with opened(case, script) as (_, url):
        feed = {"type": vendor, "start": "2024-07-01", "end": "2024-07-01", **given["feed"]}
        at = ADDRESSED[vendor](url) if vendor in ADDRESSED else {"url": url}
        feed["options"] = {**feed["options"], **at}
        made = {
            **given,
            "feed": feed,
            "clock": {"time": "feed", "lateness": "0s"},
            "store": {"url": "sqlite:///state.db"},
        }
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(made))
        told = openbell(tmp_path, "doctor", env=env)
        with running(tmp_path, env) as first:
            settled(tmp_path, cut, env)
            first.kill()
        before = openbell(tmp_path, "signals", "--json", env=env).splitlines()
        with running(tmp_path, env) as second:
            settled(tmp_path, len(rows) - cut, env)
            second.terminate()
            assert second.wait(PATIENCE_SECONDS) == 0, (tmp_path / "told").read_text()
    after = openbell(tmp_path, "signals", "--json", env=env).splitlines()

    (tmp_path / "rows").mkdir()
    written(rows, tmp_path / "rows")
    again = {
        **given,
        "data": {**given["data"], "order": "arrival", "path": "rows"},
        "feed": {key: of for key, of in given["feed"].items() if key in ("size_is", "revisions")},
    }
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(again))
    openbell(tmp_path, "backtest", "--config", "again.yaml", "--out", "out", env=env)
    expected = (tmp_path / "out" / "signals.jsonl").read_text().splitlines()

    assert f"ok   feed           {vendor}" in told
    for secret in SECRETS[vendor].values():
        assert secret not in told + (tmp_path / "told").read_text()
    assert before == after[: len(before)]
    assert by_id(after) == by_id(expected)
    if "revisions" in given["feed"]:
        counts = json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]
        assert counts["revised"] > counts["revised_late"] > 0
    assert 0 < len(before) < len(after)


def by_id(lines: list[str]) -> dict[str, Any]:
    """Signals, without their places in the log."""
    signals = [json.loads(line) for line in lines]
    return {of.pop("id"): of for of in signals if of.pop("cursor", True)}


@contextmanager
def running(folder: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "told").open("ab") as out:
        command = [sys.executable, "-m", "openbell", "run", "--log-level", "info"]
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def settled(folder: Path, rows: int, env: dict[str, str]) -> None:
    """Wait until a run has taken so many rows, and what they came to is stored."""
    ends = time.monotonic() + PATIENCE_SECONDS
    before: dict[str, Any] = {}
    while time.monotonic() < ends:
        status = json.loads(openbell(folder, "status", "--json", env=env))
        if status["feed_rows"] == rows and status["feed_waiting_rows"] == 0:
            if before.get("commits") == status["commits"]:
                return
            before = status
        time.sleep(0.5)
    raise AssertionError(f"{before}\n{(folder / 'told').read_text()}")
