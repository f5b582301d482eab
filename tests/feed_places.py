"""Where feeds are read from in tests: a stream on a real server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis_server import RedisServer

from openbell.adapters.feeds import Feed, FeedOptions, open_feed


class Place:
    """A stream on a server that can be killed."""

    def __init__(self, server: RedisServer, stream: str) -> None:
        self.server = server
        self.stream = stream
        import redis  # who has no server need not have it either

        self._client: Any = redis.Redis(port=server.port)

    @property
    def given(self) -> dict[str, Any]:
        return {"url": self.server.url, "stream": self.stream}

    def feed(self, kind: Any = "ticks", **more: Any) -> Feed:
        interval_ns = None if kind == "ticks" else 60 * 10**9
        options = FeedOptions("test", kind, interval_ns, given={**self.given, **more})
        return open_feed("redis", options)

    def write(self, *entries: Mapping[str, Any]) -> list[str]:
        """Ids of what was written."""
        asked = self._client.pipeline(transaction=False)
        for entry in entries:
            asked.xadd(self.stream, dict(entry))
        return [of.decode() for of in asked.execute()]

    def trim(self, *, minid: str | None = None, maxlen: int | None = None) -> None:
        self._client.xtrim(self.stream, maxlen=maxlen, minid=minid, approximate=False)

    def delete(self) -> None:
        self._client.delete(self.stream)
