"""A Redis or Valkey Stream as a feed: any language writes rows, the run reads on from an entry's id."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from loguru import logger

from openbell.adapters.feeds.base import ConnectionState, Door, FeedOptions, Rewind
from openbell.adapters.feeds.entries import UNITS_NS, Decoder, End, Entry
from openbell.adapters.secrets import filled_in
from openbell.adapters.stores.redis import connect, location
from openbell.errors import ConfigError, DataError, way_out

OPTIONS = ("url", "stream", "ts_unit", "batch", "bar_label")

BATCH = 1000
"""Entries asked for at once."""

BLOCK_SECONDS = 0.25
"""How long the server holds a read while nothing comes; to be closed takes as long."""

PAUSE_SECONDS_MAX = 2.0
"""How long at most between two attempts to reach the server."""

GATHER_SECONDS = 0.004
"""After a read that brought something, so long is waited for more: a read, a step and a commit cost
about the same for one entry as for twenty. What comes after a quiet moment is read at once."""

BEGINNING = "0-0"


def open_redis_feed(options: FeedOptions) -> RedisFeed:
    """What `feed: {type: redis, options: {url, stream}}` names.

    Raises
    ------
    openbell.errors.ConfigError
        If an option is missing, unknown, or can't be used.
    """
    given = filled_in(options.given, "feed.options")
    for key in given:
        if key not in OPTIONS:
            raise ConfigError(
                f"feed.options.{key} is unknown; a redis feed has {', '.join(OPTIONS)}"
            )
    for key, example in (("url", "redis://localhost:6379/0"), ("stream", "ticks")):
        if not isinstance(given.get(key), str) or not given[key]:
            raise ConfigError(f"feed.options.{key} is missing; write e.g. {example}")
    unit, batch = given.get("ts_unit"), given.get("batch", BATCH)
    if unit is not None and unit not in UNITS_NS:
        raise ConfigError(f"feed.options.ts_unit is {unit!r}; write {', '.join(UNITS_NS)}")
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ConfigError(f"feed.options.batch is {batch!r}; write a number above 0")
    label = given.get("bar_label", options.bar_label)
    if label not in ("start", "end"):
        raise ConfigError(f"feed.options.bar_label is {label!r}; write start or end")
    ends = label == "end" and options.interval_ns is not None
    decoder = Decoder(
        kind=options.kind,
        source=given["stream"],
        ts_unit=unit,
        shift_ns=-(options.interval_ns or 0) if ends else 0,
    )
    client = connect(
        given["url"], f"{options.name}-feed", key="feed.options.url", waits=BLOCK_SECONDS
    )
    return RedisFeed(client, given["stream"], location(given["url"]), decoder, batch)


class RedisFeed:
    """Reads one stream, on a redis-py client that must not retry and must return bytes."""

    rewind: Rewind = "position"

    def __init__(
        self, client: Any, stream: str, where: str, decoder: Decoder, batch: int = BATCH
    ) -> None:
        self._client = client
        self._stream = stream
        self._where = f"{where}, stream {stream}"
        self._decoder = decoder
        self._batch = batch
        self._closed = threading.Event()
        self._reconnects = threading.Event()
        self._away = False
        self._answers = False
        """Whether the server was said to be there."""
        self._door: Door | None = None
        self._met = False
        """Whether the server was seen to have what was read last, since it was away."""
        self._witness: str | None = None
        """The entry that was read last, while it has to be there: what comes before it is dropped
        first."""

    def run(self, door: Door, position: int, mark: str) -> None:
        self._door = door
        last = mark or BEGINNING
        while not self._closed.is_set():
            if self._reconnects.is_set():
                self._reconnects.clear()
                self._client.connection_pool.disconnect()
            entries = self._next(last)
            for piece in self._decoder.pieces(entries, door.refuse):
                if isinstance(piece, End):
                    try:
                        door.end_day(piece.day, position, piece.id)
                    except DataError as error:
                        where = f"{self._stream} {piece.id}"
                        door.refuse("end is no day of this run", where, str(error))
                    else:
                        position += 1
                else:
                    door.take(piece.rows, position, piece.last)
                    position += len(piece.rows)
            if entries:
                last = entries[-1][0]
            if len(entries) < self._batch and not self._away:
                door.caught_up()
                if entries:
                    self._closed.wait(GATHER_SECONDS)

    @property
    def away(self) -> bool:
        """Whether the server did not answer when it was asked last."""
        return self._away

    def close(self) -> None:
        self._closed.set()

    def reconnect(self) -> None:
        self._reconnects.set()

    def _next(self, last: str) -> Sequence[Entry]:
        """Entries after one; none if none comes in time, or the feed was closed."""
        from redis.exceptions import RedisError
        from tenacity import (
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_when_event_set,
            wait_exponential,
            wait_random,
        )

        retrying = Retrying(
            retry=retry_if_exception(self._passes),
            wait=wait_exponential(multiplier=0.05, max=PAUSE_SECONDS_MAX) + wait_random(0, 0.1),
            stop=stop_when_event_set(self._closed),
            sleep=sleep_using_event(self._closed),
            reraise=True,
        )
        try:
            return retrying(self._read, last)
        except RedisError as error:
            if self._closed.is_set():
                return ()
            if "WRONGTYPE" in str(error):
                raise DataError(
                    f"{self._where}: this key is no stream, something else has written it; name the "
                    "stream that your rows come in, in feed.options.stream"
                ) from error
            raise DataError(
                f"{self._where}: {error}; check feed.options.url and feed.options.stream"
            ) from error

    def _passes(self, error: BaseException) -> bool:
        """Whether the server may be back later; said once."""
        from redis import exceptions

        if isinstance(error, exceptions.AuthenticationError | exceptions.AuthorizationError):
            return False
        away = isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError)
        if not away and not str(error).startswith(("LOADING", "MASTERDOWN", "CLUSTERDOWN")):
            return False
        self._met = False
        if not self._away and not self._closed.is_set():
            self._away = True
            self._say(
                "reconnecting",
                f"{self._where}: does not answer ({error}); asked again until it does, and read on "
                "from where it was",
            )
        return True

    def _read(self, last: str) -> Sequence[Entry]:
        if not self._met:
            self._meet(last)
        block = round(BLOCK_SECONDS * 1000)
        # One way there and back: the second is answered after the first, so that what it finds was
        # there when the first was answered.
        asked = self._client.pipeline(transaction=False)
        asked.xread({self._stream: last}, count=self._batch, block=block)
        witness = self._witness
        if witness is not None:
            asked.xrange(self._stream, witness, witness, count=1)
        came, *seen = asked.execute()
        self._answered()
        entries = [(of.decode(), fields) for of, fields in came[0][1]] if came else []
        if entries:
            if witness is not None and not seen[0]:
                raise self._gap(last, entries[0][0])
            self._witness = entries[-1][0]
        return entries

    def _meet(self, last: str) -> None:
        """Look whether the stream goes on where it was left.

        Raises
        ------
        DataError
            If entries after that were dropped.
        """
        self._witness = None
        if last != BEGINNING:
            asked = self._client.pipeline(transaction=True)
            asked.exists(self._stream)
            asked.xrange(self._stream, last, last, count=1)
            asked.xrange(self._stream, f"({last}", count=1)
            there, held, following = asked.execute()
            newest = BEGINNING
            if there:
                newest = self._client.xinfo_stream(self._stream)["last-generated-id"].decode()
            if held:
                self._witness = last
            elif _number(newest) > _number(last):
                first = following[0][0].decode() if following else None
                raise self._gap(last, first)
            elif newest != last:
                logger.warning(
                    "{}: ends at {}, before {}, which was read already: its server has lost "
                    "entries, or it was made anew; what is written with ids up to there is not read",
                    self._where,
                    newest,
                    last,
                )
        self._met = True

    def _answered(self) -> None:
        if self._away or not self._answers:
            self._away, self._answers = False, True
            self._say("connected", self._where)

    def _say(self, state: ConnectionState, why: str) -> None:
        if self._door is not None:
            self._door.said(state, why)

    def _gap(self, last: str, first: str | None) -> DataError:
        begins = "it is empty" if first is None else f"it goes on at {first}"
        return DataError(
            f"{self._where}: was trimmed beyond {last}, up to which it was read: {begins}, and what "
            "was between them is gone; let the stream keep more (its entry read last has to stay), "
            "and begin a run of another name, which reads all that is there: "
            f"{way_out('openbell run --set name=NAME', 'overrides=' + repr({'name': 'NAME'}))}"
        )


def _number(of: str) -> tuple[int, int]:
    ms, _, n = of.partition("-")
    return int(ms), int(n or 0)
