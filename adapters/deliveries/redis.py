"""Signals on another Redis or Valkey server: appended to a Stream, or published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from openbell.adapters.deliveries.base import Failed, Message, SinkOptions
from openbell.adapters.stores.redis import connect, location
from openbell.errors import ConfigError, StoreError

FIELDS = ("id", "trading_date", "session", "symbol")
"""Of an entry, beside `body`: as in the signal log of a Redis store."""


def open_redis(options: SinkOptions) -> RedisSink:
    """`url`, and either `stream` with `maxlen`, or `channel`."""
    options.only("url", "stream", "maxlen", "channel")
    url = options.text("url", example="redis://localhost:6379/0")
    stream, channel = options.given.get("stream"), options.given.get("channel")
    if (stream is None) == (channel is None):
        raise ConfigError("options: name either a stream or a channel, e.g. stream: signals")
    key = options.text("stream" if channel is None else "channel")
    maxlen = options.count("maxlen", 0, least=1) if "maxlen" in options.given else None
    if maxlen is not None and stream is None:
        raise ConfigError("options.maxlen goes with a stream; what is published is not kept")
    try:
        client = connect(url, f"{options.run}-{options.name}", key="options.url")
    except StoreError as error:
        raise ConfigError(f"options.url: {error}") from None
    return RedisSink(client, location(url), key, published=stream is None, maxlen=maxlen)


class RedisSink:
    """One transaction a call: a Stream has all messages of it, or none."""

    at_once = 500

    def __init__(
        self, client: Any, where: str, key: str, *, published: bool, maxlen: int | None
    ) -> None:
        self._client = client
        self._where = where
        self._key = key
        self._published = published
        self._maxlen = maxlen

    def deliver(self, messages: Sequence[Message]) -> None:
        from redis.exceptions import RedisError

        try:
            pipeline = self._client.pipeline(transaction=True)
            for message in messages:
                if self._published:
                    pipeline.publish(self._key, message.body)
                else:
                    entry = {name: message.fields.get(name) or "" for name in FIELDS}
                    if message.kind == "event":
                        entry["event"] = message.fields["kind"]
                    entry |= {"id": message.id, "body": message.body}
                    pipeline.xadd(self._key, entry, maxlen=self._maxlen, approximate=True)
            pipeline.execute()
        except (RedisError, OSError) as error:
            why = str(error).rstrip(".")
            if "WRONGTYPE" in why:
                why = (
                    f"the key {self._key} is no stream, something else has written it; name another "
                    "one in options.stream, or remove that key"
                )
            raise Failed(f"{self._where}: {why}") from error

    def close(self) -> None:
        self._client.close()
