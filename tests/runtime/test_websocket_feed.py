"""A run whose rows come from a vendor's WebSocket."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_docs import marked
from ws_vendor import PATIENCE_SECONDS, Client, vendor

import openbell
from openbell.adapters.stores import open_store
from openbell.runtime.cli.stored import feed_connection
from openbell.runtime.config import config_from
from openbell.runtime.intake.feeding import check_options

AT = 1_719_840_600_000
"""The open of 2024-07-01 in New York, ms."""


def tick(minute: float, price: float, symbol: str = "A") -> dict[str, Any]:
    return {"S": symbol, "t": AT + round(minute * 60_000), "p": price}


def config(folder: Path, url: str, **options: Any) -> dict[str, Any]:
    return {
        "exchange": "XNYS",
        "symbols": ["A", "B"],
        "sessions": [{"name": "Morning", "start": "09:30", "end": "09:34"}],
        "data": {"kind": "ticks"},
        "clock": {"time": "feed", "lateness": "0s"},
        "feed": {
            "type": "websocket",
            "start": "2024-07-01",
            "end": "2024-07-01",
            "options": {
                "url": url,
                "subscribe": {"sub": "{symbols}"},
                "fields": {"symbol": "S", "ts": "t", "price": "p"},
                "ts_unit": "ms",
                **options,
            },
        },
        "store": {"url": f"sqlite:///{folder / 'state.db'}"},
    }


def wait_for(until: Any, seconds: float = PATIENCE_SECONDS) -> None:
    ends = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_a_run_goes_on_after_a_cut_and_after_a_restart_and_says_where_rows_may_be_missing(
    tmp_path: Path,
) -> None:
    going = threading.Event()

    def script(client: Client) -> None:
        assert client.asked() == {"sub": ["A", "B"]}
        parts = [
            [tick(1, 10), tick(2, 12)],
            [tick(6, 13)],
            [tick(7, 9, "B"), tick(8, 9.5)],
        ]
        client.say(parts[client.number])
        if client.number == 0:
            assert going.wait(PATIENCE_SECONDS)
        else:
            client.stay()

    with vendor(script) as of:
        made = config(tmp_path, of.url)
        with openbell.Runtime.from_config(made) as runtime:
            runtime.start()
            signals = iter(runtime.signals())
            wait_for(lambda: runtime.status()["feed"]["durable_position"] == 2)
            with closing(open_store(made["store"]["url"], "default")) as store:
                wait_for(lambda: (feed_connection(store) or {}).get("state") == "connected")
            going.set()
            high = next(signals)
            cut = runtime.status()["feed"]
        with openbell.Runtime.from_config(made) as runtime:
            both = iter(runtime.signals())
            next(both)
            low = next(both)
            restarted = runtime.status()["feed"]

    assert (high.side, high.price) == ("HIGH_BREAK", 13.0)
    assert (low.side, low.price) == ("LOW_BREAK", 9.5)
    assert (cut["connection"], cut["gaps"]) == ("connected", 1)
    assert [(gap["from_time"], gap["until_time"]) for gap in cut["latest_gaps"]] == [
        ("2024-07-01T13:32:00Z", "2024-07-01T13:36:00Z")
    ]
    assert [(gap["from_time"], gap["until_time"]) for gap in restarted["latest_gaps"]] == [
        ("2024-07-01T13:36:00Z", "2024-07-01T13:37:00Z")
    ]
    with closing(open_store(made["store"]["url"], "default")) as store:
        entries = [orjson.loads(entry) for _, entry in store.audit()]
    told = [entry for entry in entries if entry["what"] in ("feed", "gap")]
    assert [entry["to"] for entry in told if entry["what"] == "feed"][:3] == [
        "connected",
        "reconnecting",
        "connected",
    ]
    assert any("between 2024-07-01T13:32:00Z and 2024-07-01T13:36:00Z" in e["why"] for e in told)


def test_the_configuration_in_the_documents_is_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    monkeypatch.setenv("VENDOR_TOKEN", "t")

    check_options(config_from(yaml.safe_load(marked("docs/feeds.md", "a websocket"))))


@pytest.mark.slow
def test_a_socket_that_is_open_and_mute_is_subscribed_to_anew_and_then_made_anew(
    tmp_path: Path,
) -> None:
    """Heartbeats go on: only rows tell that a feed lives."""

    def script(client: Client) -> None:
        client.vendor.heard.append((client.number, client.asked()))
        client.say({"S": "A", "t": time.time_ns() // 10**6, "p": 10})
        while not client.vendor.shut.is_set():
            client.say({"heartbeat": 1})
            try:
                asked = client.socket.recv(timeout=0.1)
            except TimeoutError:
                continue
            client.vendor.heard.append((client.number, orjson.loads(asked)))

    with vendor(script) as of:
        made = config(tmp_path, of.url, where={"S": "*"})
        made |= {"exchange": "24/7", "clock": {"time": "wall"}, "day": {"timeout_seconds": 6}}
        made["sessions"] = [{"name": "Day", "start": "00:00", "end": "23:58"}]
        made["feed"] = {
            "type": "websocket",
            "suspect_seconds": "2s",
            "options": made["feed"]["options"],
        }
        with openbell.Runtime.from_config(made) as runtime:
            runtime.start()
            wait_for(lambda: len(of.heard) >= 3, seconds=60)
            wait_for(lambda: runtime.status()["feed"]["connection"] == "connected")
            status = runtime.status()["feed"]

    sub = {"sub": ["A", "B"]}
    assert of.heard[:3] == [(0, sub), (0, sub), (1, sub)]
    assert not status["refused"]


def test_a_token_that_is_renewed_in_a_file_is_used_for_the_next_connection(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    renews = tmp_path / "renew.py"
    renews.write_text(f"open({str(token)!r}, 'w').write('new')")

    with vendor(lambda client: client.stay(), answers=[401]) as of:
        made = config(tmp_path, of.url, headers={"Authorization": f"Bearer ${{file:{token}}}"})
        made["feed"]["renew"] = [sys.executable, str(renews)]
        with openbell.Runtime.from_config(made) as runtime:
            runtime.start()
            wait_for(lambda: len(of.requests) == 2)
            wait_for(lambda: runtime.status()["feed"]["connection"] == "connected")

    used = [request.headers["Authorization"] for request in of.requests]
    assert used == ["Bearer old", "Bearer new"]
