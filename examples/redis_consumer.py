"""Reads openbell's signals from Redis or Valkey as one consumer of a group.

    python examples/redis_consumer.py --url redis://localhost:6379/0 --name default --consumer a

Each signal goes to one consumer of the group. One that dies before it has acknowledged a signal
leaves it to the others, who then get it a second time: what is done about a signal must be
idempotent by its `id`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import redis

IDLE_MS = 30_000
"""After so long without an acknowledgement a signal is taken over from its consumer."""


def signals(
    client: Any, name: str, group: str, consumer: str, idle_ms: int = IDLE_MS
) -> Iterator[tuple[str, dict[str, str]]]:
    """The group's signals with their entry ids, from the first one of the log on.

    An entry is acknowledged when the next one is asked for.
    """
    stream = f"openbell:{{{name}}}:signals"
    try:
        client.xgroup_create(stream, group, id="0", mkstream=True)
    except redis.ResponseError as error:
        if "BUSYGROUP" not in str(error):  # the group exists
            raise
    while True:
        _, left_over, *_ = client.xautoclaim(stream, group, consumer, idle_ms, "0-0", count=100)
        answer = left_over or client.xreadgroup(
            group, consumer, {stream: ">"}, count=100, block=1_000
        )
        entries = answer if left_over or not answer else answer[0][1]
        for entry, fields in entries:
            yield entry, fields
            client.xack(stream, group, entry)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print openbell's signals, as one of a group.")
    parser.add_argument("--url", default="redis://localhost:6379/0")
    parser.add_argument("--name", default="default", help="name: of the configuration")
    parser.add_argument("--group", default="printers")
    parser.add_argument("--consumer", default="one")
    parser.add_argument("--idle-ms", type=int, default=IDLE_MS)
    given = parser.parse_args()

    client = redis.Redis.from_url(given.url, decode_responses=True)
    for _, fields in signals(client, given.name, given.group, given.consumer, given.idle_ms):
        print(fields["body"], flush=True)


if __name__ == "__main__":
    main()
