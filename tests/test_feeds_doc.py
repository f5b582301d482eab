"""The examples of docs/feeds.md, run against a real server."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer
from store_places import server_binary
from test_docs import marked

from openbell.adapters.feeds import FeedOptions
from openbell.errors import ConfigError

ADDRESS = "localhost:6379"


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path, server: RedisServer) -> Path:
    text = marked("docs/feeds.md", "file: config.yaml")
    (tmp_path / "config.yaml").write_text(at(server, text))
    return tmp_path


def at(server: RedisServer, text: str) -> str:
    assert ADDRESS in text
    return text.replace(ADDRESS, f"127.0.0.1:{server.port}")


def ran(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def openbell(folder: Path, *words: str) -> str:
    return ran(folder, sys.executable, "-m", "openbell", *words)


def test_rows_written_with_redis_cli_give_a_signal(folder: Path, server: RedisServer) -> None:
    cli = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if cli is None:
        pytest.skip("no redis-cli or valkey-cli on PATH")
    told = ""
    for line in marked("docs/feeds.md", "redis-cli").splitlines():
        if line.startswith("redis-cli "):
            ran(folder, "sh", "-c", line.replace("redis-cli", f"{cli} -p {server.port}", 1))
        else:
            told = openbell(folder, *line.split()[1:])

    assert "AAPL" in told
    assert "215.4" in told


def test_rows_written_with_python_give_a_signal(folder: Path, server: RedisServer) -> None:
    ran(folder, sys.executable, "-c", at(server, marked("docs/feeds.md", "redis-py")))

    openbell(folder, "run")

    assert "215.4" in openbell(folder, "signals")


def test_a_feed_of_ones_own_stands_its_test(tmp_path: Path) -> None:
    program = tmp_path / "lines.py"
    parts = ("own feed", "own feed, tested")
    program.write_text("\n\n".join(marked("docs/feeds.md", part) for part in parts))

    names = runpy.run_path(str(program))

    names["test_lines_are_ticks"](tmp_path)

    with pytest.raises(ConfigError, match="path is missing"):
        names["open_lines"](FeedOptions("bot", "ticks", None))
