"""A server for the tests of feeds, and a stream of its own for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feed_places import Place
from redis_server import RedisServer, find_server


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    binary = find_server()
    if binary is None:
        pytest.skip("no redis-server or valkey-server on PATH")
    with RedisServer(binary) as started:
        yield started


@pytest.fixture
def place(server: RedisServer, request: pytest.FixtureRequest) -> Place:
    return Place(server, request.node.name)
