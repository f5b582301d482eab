"""`openbell mcp`, as the official client has it."""

from __future__ import annotations

import asyncio
import csv
import io
import os
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from redis_server import RedisServer
from store_places import server_binary

import openbell

SYMBOLS = ["AAPL", "MSFT"]
PASSWORD = "swordfish-of-the-store"
PATIENCE_SECONDS = 120.0


def write_configuration(file: Path, store: str) -> None:
    keys = {
        "name": "bot",
        "exchange": "XNYS",
        "symbols": SYMBOLS,
        "sessions": [{"name": "Opening", "start": "09:30", "end": "09:34"}],
        "data": {"kind": "ticks"},
        "clock": {"time": "feed"},
        "feed": {"type": "push", "start": "2024-07-01", "end": "2024-07-01"},
        "store": {"url": store},
    }
    part = file.with_suffix(".part")
    part.write_text(yaml.safe_dump(keys))
    part.replace(file)


def at(hour: int, minute: int) -> str:
    return f"2024-07-01T{hour:02}:{minute:02}:00-04:00"


def live_run(file: Path) -> openbell.Runtime:
    runtime = openbell.Runtime.from_config(file)
    for minute, price in ((31, 215.0), (33, 216.0), (36, 216.5), (40, 214.0)):
        runtime.push_ticks(SYMBOLS, [at(9, minute)] * 2, [price, 2 * price])
    return runtime


def test_the_official_client_reads_beside_live_runs_on_both_stores(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    folder = {name: of for name, of in os.environ.items() if not name.startswith("OPENBELL_")}

    async def talk(redis: RedisServer, errors: Any) -> None:
        from mcp import Client, MCPError, StdioServerParameters, stdio_client

        write_configuration(file, "sqlite:///openbell.db")
        arguments = ["-m", "openbell", "mcp", "--config", str(file)]
        parameters = StdioServerParameters(
            command=sys.executable, args=arguments, cwd=tmp_path, env={**folder, "WORD": PASSWORD}
        )
        async with Client(stdio_client(parameters, errlog=errors)) as client:

            async def told(tool: str, /, **asked: Any) -> Any:
                answer = await client.call_tool(tool, asked)
                (content,) = answer.content
                assert content.type == "text"
                assert answer.is_error is False, content.text
                assert PASSWORD not in content.text
                return orjson.loads(content.text) if content.text[0] == "{" else content.text

            async def refused(tool: str, /, **asked: Any) -> str:
                answer = await client.call_tool(tool, asked)
                (content,) = answer.content
                assert answer.is_error is True
                assert content.type == "text"
                return content.text

            tools = (await client.list_tools()).tools
            hints = {tool.name: tool.annotations for tool in tools}
            assert set(hints) == {
                *("status", "sessions", "levels", "signals", "events", "why"),
                *("quality", "calendar", "config_check"),
            }
            assert all(of is not None and of.read_only_hint is True for of in hints.values())

            # Before anything was run.
            assert "nothing was ever run" in (await told("status"))["note"]
            assert "nothing was ever run" in await refused("signals")
            assert not (tmp_path / "openbell.db").exists()

            for store in ("sqlite:///openbell.db", redis.url.replace("//", "//:${WORD}@")):
                write_configuration(file, store.replace("${WORD}", PASSWORD))
                with live_run(file) as runtime:
                    write_configuration(file, store)
                    deadline = time.monotonic() + PATIENCE_SECONDS
                    found: dict[str, Any] = {"shown": 0}
                    while found["shown"] < 4 and time.monotonic() < deadline:
                        try:
                            found = await told("signals")
                        except AssertionError:
                            await asyncio.sleep(0.05)  # nothing is committed yet
                    assert runtime.status()["signals"] == 4
                    assert [(of["symbol"], of["side"], of["price"]) for of in found["signals"]] == [
                        ("AAPL", "HIGH_BREAK", 216.5),
                        ("MSFT", "HIGH_BREAK", 433.0),
                        ("AAPL", "LOW_BREAK", 214.0),
                        ("MSFT", "LOW_BREAK", 428.0),
                    ]

                    first = await told("signals", limit=3)
                    assert (first["shown"], first["more"]) == (3, True)
                    rest = await told("signals", after=first["cursor"])
                    assert [*first["signals"], *rest["signals"]] == found["signals"]
                    assert (await told("signals", after=rest["cursor"]))["shown"] == 0

                    assert (await told("status"))["process"] == "at work"
                    levels = (await told("levels", symbol="MSFT"))["levels"]
                    assert [(of["low"], of["high"]) for of in levels] == [(430.0, 432.0)]
                    (session,) = (await told("sessions"))["sessions"]
                    assert (session["symbols"], session["signals"]) == (2, 4)
                    kinds = [of["kind"] for of in (await told("events", kinds=["day"]))["events"]]
                    assert "day.active" in kinds
                    assert "HIGH_BREAK" in await told("why", symbol_or_id=found["signals"][0]["id"])
                    missing = (await told("quality"))["quality"]
                    assert [of["symbol"] for of in missing] == SYMBOLS
                    assert (await told("config_check"))["in_order"] is True
                    table = await client.read_resource("openbell://levels/newest")
                    (text,) = table.contents
                    rows = list(csv.DictReader(io.StringIO(text.text)))  # type: ignore[union-attr]
                    assert [row["high"] for row in rows] == ["216.0", "432.0"]

            hours = (await told("calendar", first="2024-07-03", last="2024-07-04"))["days"]
            assert [day["hours"] for day in hours] == [["09:30–13:00"], []]

            # What can't be answered says so, and takes nothing else with it.
            assert "is no cursor" in await refused("signals", after="x")
            assert "no such symbol" in await refused("levels", symbol="APPL")
            assert "500" in await refused("signals", limit=10**9)
            assert "62 days" in await refused("calendar", first="1990-01-01", last="2024-01-01")
            with pytest.raises(MCPError):
                await client.read_resource("openbell://levels/../../etc/passwd")
            file.write_text("exchange: [")
            assert str(file) in await refused("status")
            assert (await told("config_check"))["in_order"] is False

    with (
        RedisServer(server_binary(), "--requirepass", PASSWORD) as redis,
        (tmp_path / "stderr").open("w") as errors,
    ):
        asyncio.run(talk(redis, errors))
    assert (tmp_path / "stderr").read_text() == ""
