"""Every store that there is, each in a place of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_server import RedisServer
from store_places import MemoryPlace, Place, RedisPlace, SqlitePlace, server_binary

from openbell.adapters.stores import Store


@pytest.fixture(scope="session")
def session_server() -> Iterator[RedisServer]:
    with RedisServer(server_binary()) as server:
        yield server


@pytest.fixture
def server(session_server: RedisServer) -> RedisServer:
    """An empty one."""
    import redis

    with redis.Redis.from_url(session_server.url) as client:
        client.flushall()
    return session_server


@pytest.fixture(params=["memory", "sqlite", "redis", "fakeredis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from make_place(request, tmp_path)


@pytest.fixture(params=["sqlite", "redis"])
def shared_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """One that other processes get to."""
    yield from make_place(request, tmp_path)


def make_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    match request.param:
        case "memory":
            yield MemoryPlace()
        case "sqlite":
            yield SqlitePlace(tmp_path)
        case "redis":
            import redis

            url = request.getfixturevalue("server").url
            with redis.Redis.from_url(url) as client:
                yield RedisPlace(client, url)
        case _:
            pytest.importorskip("lupa", reason="fakeredis needs it for scripts")
            yield RedisPlace(fake_redis(), None)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    opened = place.open()
    yield opened
    opened.close()


def fake_redis() -> object:
    import fakeredis

    class FakeRedis(fakeredis.FakeRedis):
        def info(self, *_: object) -> dict[str, object]:  # type: ignore[override]
            """Which it has no command for."""
            return {"redis_version": "7.4.0", "aof_enabled": 1}

    return FakeRedis()
