"""Where the state of the runs tested here lives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis_server import RedisServer
from store_places import server_binary


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.slow)])
def stored(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    """Keys of a configuration: where its state lives."""
    if request.param == "sqlite":
        yield {}
        return
    with RedisServer(server_binary()) as server:
        yield {"store": {"url": server.url}}
