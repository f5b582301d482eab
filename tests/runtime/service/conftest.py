"""A server for runs over a stream, and a service manager."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Command
from managing import Manager, managed
from redis_server import RedisServer
from store_places import server_binary


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with managed(tmp_path) as made:
        yield made


@pytest.fixture
def openbell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(monkeypatch, capsys)
