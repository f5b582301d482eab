"""Processes to be killed, servers to be killed, and data for them to work on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.crashing import Nursery, nursery
from redis_server import RedisServer
from store_places import server_binary


@pytest.fixture(scope="session")
def children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(tmp_path_factory.mktemp("said")) as made:
        yield made


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One that tests may kill, if they start it again."""
    with RedisServer(server_binary()) as server:
        yield server


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """One of the test's own: it may be away for long, and what is in it is of this test."""
    with RedisServer(server_binary()) as started:
        yield started


@pytest.fixture(scope="session")
def minutes(children: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three generated days of three symbols."""
    folder = tmp_path_factory.mktemp("data") / "minutes"
    code, said = children.run(
        *("data", "sample", "--out", folder, "--symbols", 3, "--days", 3, "--seed", 7)
    )
    assert code == 0, said
    return folder


@pytest.fixture(params=["sqlite", "redis"])
def store_kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def store_url(request: pytest.FixtureRequest, store_kind: str, tmp_path: Path) -> str:
    if store_kind == "sqlite":
        return f"sqlite:///{tmp_path}/state/openbell.db"
    url: str = request.getfixturevalue("redis_server").url
    return url
