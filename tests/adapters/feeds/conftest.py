"""A server for the tests of feeds, and a stream of its own for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from feed_places import Place
from redis_server import RedisServer
from store_places import server_binary


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as started:
        yield started


@pytest.fixture
def place(server: RedisServer, request: pytest.FixtureRequest) -> Place:
    return Place(server, request.node.name)
