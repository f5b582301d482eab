"""A vendor whose heartbeats go on while its rows don't, by the host's own clock."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from ws_vendor import PATIENCE_SECONDS, Client, vendor

import openbell

SECONDS = 120.0


def config(folder: Path, url: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "exchange": "24/7",
        "symbols": ["A", "B"],
        "sessions": [{"name": "All day", "start": "00:00", "end": "23:58"}],
        "data": {"kind": "ticks"},
        "clock": {"time": "wall", "lateness": "0s"},
        "prefetch": {"timeout_seconds": "1s"},
        "day": {"timeout_seconds": "4s"},
        "feed": {
            "type": "websocket",
            "suspect_seconds": "1s",
            "options": {
                "url": url,
                "subscribe": {"sub": "{symbols}"},
                "fields": {"symbol": "S", "ts": "t", "price": "p"},
                "ts_unit": "ms",
                "heartbeat": "0s",
            },
        },
        "store": {"url": f"sqlite:///{folder / 'state.db'}"},
    }
    for section, keys in more.items():
        made[section] = {**made.get(section, {}), **keys}
    return made


def now_ms() -> int:
    return round(time.time() * 1000)


def tick() -> dict[str, Any]:
    return {"S": "A", "t": now_ms(), "p": 100.0}


def wait_for(until: Callable[[], bool], what: str, seconds: float = SECONDS) -> None:
    ends = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < ends, what
        time.sleep(0.02)


def beats_on(client: Client) -> None:
    """A row, and then nothing but heartbeats and what it had already."""
    client.asked()
    row = tick()
    while not client.vendor.shut.is_set():
        client.say(row)
        client.say({"type": "heartbeat", "t": now_ms()})
        try:
            client.vendor.heard.append((client.number, orjson.loads(client.socket.recv(0.1))))
        except TimeoutError:
            continue


def brings_rows(client: Client) -> None:
    client.asked()
    while not client.vendor.shut.is_set():
        client.say(tick())
        time.sleep(0.1)


@pytest.mark.slow
def test_a_vendor_that_only_beats_is_asked_anew_and_connected_to_anew(tmp_path: Path) -> None:
    told: list[str] = []
    with (
        vendor(beats_on, brings_rows) as of,
        openbell.Runtime.from_config(config(tmp_path, of.url)) as run,
    ):
        run.on_event(lambda event: told.append(event.kind), kinds=["feed.silent", "feed.back"])
        run.start()
        wait_for(lambda: "feed.back" in told, "rows came again")

    assert of.heard == [(0, {"sub": ["A", "B"]})]
    assert of.clients == 2
    assert told[:3] == ["feed.silent", "feed.silent", "feed.back"]


@pytest.mark.slow
def test_a_run_that_is_to_end_in_silence_ends_with_a_code_of_its_own(tmp_path: Path) -> None:
    with vendor(beats_on) as of:
        made = config(tmp_path, of.url, feed={"silent": "exit"}, day={"timeout_seconds": "2s"})
        made["feed"] = {**config(tmp_path, of.url)["feed"], "silent": "exit"}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(made))
        done = subprocess.run(
            [sys.executable, "-m", "openbell", "run", "--config", "config.yaml"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS * 2,
            env=dict(os.environ),
            check=False,
        )
        shown = subprocess.run(
            [sys.executable, "-m", "openbell", "status", "--config", "config.yaml", "--json"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )

    assert done.returncode == 5, done.stderr
    assert "started again, it goes on where it was" in done.stderr
    status = orjson.loads(shown.stdout)
    assert status["state"] == "TIMEOUT"
    assert status["feed_silent_since"] is not None


def test_a_login_that_expires_is_renewed_and_is_never_tried_in_a_loop(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    renewed, may_renew = threading.Event(), threading.Event()

    def renew(why: str) -> None:
        assert may_renew.wait(PATIENCE_SECONDS)
        token.write_text("new")
        renewed.set()

    with vendor(brings_rows, answers=[401]) as of:
        made = config(tmp_path, of.url)
        made["feed"]["options"]["headers"] = {"Authorization": f"${{file:{token}}}"}
        with openbell.Runtime.from_config(made) as run:
            run.renew_with(renew)
            run.start()
            wait_for(lambda: run.status()["feed"].get("connection") == "auth", "it was refused")
            wait_for(lambda: run.status()["market_time"] is not None, "the clock went on")
            asked = len(of.requests)
            may_renew.set()
            wait_for(lambda: run.status()["feed"]["rows"] > 0, "rows came")

    assert asked == 1
    # More of the new, where this host was so slow that it took the vendor for silent.
    used = [request.headers["Authorization"] for request in of.requests]
    assert used == ["old", *["new"] * (len(used) - 1)]


@pytest.mark.parametrize("after", ["06:00", None])
def test_a_login_that_ends_before_the_close_is_told_when_the_run_begins(
    tmp_path: Path, after: str | None
) -> None:
    with vendor(brings_rows) as of:
        made = config(tmp_path, of.url)
        made["feed"]["token_expires"] = after
        with openbell.Runtime.from_config(made) as run:
            run.start()
            wait_for(lambda: run.status()["feed"]["rows"] > 0, "rows came")
            told = [e.why for e in run.events(kinds=["feed.auth"], follow=False)]

    # What ends after the day's close is no matter of the day.
    assert all("the login ends at" in why for why in told)
    assert len(told) <= (after is not None)
