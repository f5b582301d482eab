"""State in Redis or Valkey: for production, several processes, and a hot standby.

All keys begin with `openbell:{NAME}:`; the braces keep them in one slot of a cluster. Signals are
a Stream, `openbell:{NAME}:signals`, that any language reads, with a consumer group or without; its
entries have the fields id, trading_date, session, symbol and body (a JSON object; crc is ours).
Leave trimming it to openbell: a log with fewer entries than were committed is taken for damaged.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from heapq import merge
from itertools import repeat, takewhile
from pathlib import Path
from secrets import token_hex
from typing import Any, Literal, ParamSpec, TypeVar
from urllib.parse import parse_qs, urlsplit

from openbell.adapters.stores import stepblocks
from openbell.adapters.stores.base import (
    SCHEMA_VERSION,
    CommitRecord,
    Corrupt,
    Document,
    EpochInfo,
    Held,
    Holder,
    Joins,
    JournalEntry,
    NoRoom,
    Step,
    StoredSignal,
    Unavailable,
    Usage,
)
from openbell.adapters.stores.base import Head as PublicHead
from openbell.adapters.stores.columns import signal_rows
from openbell.adapters.stores.holders import (
    Lease,
    Watch,
    decode_holder,
    encode_holder,
    fenced,
    held,
)
from openbell.adapters.stores.records import (
    ENTRIES,
    FOLD_BYTES,
    FOLD_READ,
    FOLD_READ_BYTES,
    FOLD_STEPS,
    PAGE,
    STEP_BLOCKS,
    Blob,
    DocumentRow,
    Encoded,
    Head,
    JournalRow,
    Manifest,
    Reading,
    audit_row,
    check_schema,
    encode,
    in_order,
    join_texts,
    journal_row,
    kept_row,
    kind_of,
    parse_cursor,
    plan_pruning,
    readable_manifest,
    signal_crc,
    to_fold,
    unknown_cursor,
)
from openbell.adapters.stores.refusals import (
    conflict,
    does_not_follow,
    past,
    step_does_not_follow,
)
from openbell.adapters.stores.stepblocks import STEPS
from openbell.errors import ConfigError, StoreError
from openbell.market.results import SignalBatch

P = ParamSpec("P")
T = TypeVar("T")

_Entry = tuple[bytes, Mapping[bytes, bytes]]
"""Of a stream: its id and its fields."""

SOCKET_SECONDS = 5.0
"""Without an answer for so long, the store counts as unavailable."""

WAIT_SECONDS = 2.0
"""How long replicas may take to confirm a commit."""

OLDEST_SERVER = (6, 2)

_KEYS = {
    "head": "hash",
    "lease": "hash",
    "facts": "hash",
    "epochs": "hash",
    "commits": "stream",
    "steps": "stream",
    "documents": "hash",
    "documents:index": "zset",
    "signals": "stream",
    "signals:ids": "hash",
    "audit": "stream",
    "blobs": "set",
    "journal": "hash",
}
"""In the order in which head.lua takes them, and of what type each is."""

_TEMPORARY = re.compile(
    r"\b(READONLY|LOADING|MASTERDOWN|TRYAGAIN|CLUSTERDOWN|NOREPLICAS|BUSY|UNKILLABLE)\b"
)
"""Refusals that pass: a failover, a server that is loading, a script of somebody else's."""

_URL_OPTIONS = re.compile("db|username|password|socket_(connect_)?timeout|ssl_.+")
"""The others would change how commands are sent, or how answers are read."""

_HEAD_FIELDS = (*Head._fields, "seal", "fence", "schema", "audit")

_ACQUIRE = """
local lease = redis.call('HMGET', KEYS[2], 'fence', 'beat', 'token', 'holder')
if (lease[1] or '') ~= ARGV[1] or (lease[2] or '') ~= ARGV[2] then
  return {'HELD', lease[1] or '', lease[2] or '', lease[3] or '', lease[4] or ''}
end
redis.call('HSET', KEYS[1], 'schema', ARGV[5])
local fence = redis.call('HINCRBY', KEYS[1], 'fence', 1)
local now = redis.call('TIME')
local beat = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
redis.call('HSET', KEYS[2], 'fence', fence, 'beat', beat, 'token', ARGV[3], 'holder', ARGV[4])
return {'ok', fence}
"""

_RELEASE = "redis.call('DEL', LEASE) return {'ok'}"

_RENEW = "beat() return {'ok'}"

_COMMANDS = "return {'ok', redis.call('LRANGE', KEYS[14], 0, -1)}"

_TAKE = """
local commands = redis.call('LRANGE', KEYS[14], 0, -1)
redis.call('DEL', KEYS[14])
return {'ok', commands}
"""

_KEEP = """
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[14], ARGV[i])
  else
    redis.call('HSET', KEYS[14], ARGV[i], ARGV[i + 1])
  end
end
return {'ok'}
"""

_AUDIT = """
redis.call('XLEN', KEYS[2])
redis.call('HSETNX', KEYS[1], 'schema', ARGV[3])
local position = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'audit', 1))
redis.call('XADD', KEYS[2], position .. '-0', 'entry', ARGV[1], 'crc', ARGV[2])
return {'ok'}
"""


@cache
def _script(name: str) -> str:
    return (Path(__file__).parent / f"{name}.lua").read_text(encoding="utf-8")


def open_redis(url: str, name: str, *, replicas: int = 0) -> RedisStore:
    """The state of one name; see `openbell.adapters.stores.open_store`."""
    return RedisStore(connect(url, name), name, location(url), replicas=replicas)


def connect(url: str, name: str, *, key: str = "store.url", waits: float = 0.0) -> Any:
    """A client that sends each command once; it connects when it is used.

    Parameters
    ----------
    key : str
        Where the configuration has the URL.
    waits : float
        Seconds for which the server may hold a command on purpose.

    Raises
    ------
    openbell.errors.ConfigError
        If the URL can't be used.
    openbell.errors.StoreError
        If redis-py is not installed, or the server can't be used.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise StoreError(
            f"{location(url)}: the package redis is not installed; "
            "run `pip install 'openbell[redis]'`"
        ) from None
    try:
        _check_url(url)
        client = redis.Redis.from_url(
            url,
            # Retries of the client's repeat commands that the server has already executed. What may
            # be repeated is known here only.
            retry=Retry(NoBackoff(), 0),
            socket_timeout=SOCKET_SECONDS + waits,
            socket_connect_timeout=SOCKET_SECONDS,
            health_check_interval=0,
            protocol=2,
            client_name=f"openbell-{name}",
        )
        client.connection_pool.make_connection()  # says now which options it doesn't know
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"{key}: {error}; write e.g. redis://localhost:6379/0 or unix:///run/redis.sock"
        ) from None
    return client


def _check_url(url: str) -> None:
    """Refuse what redis-py would pass over."""
    parts = urlsplit(url)
    if parts.scheme != "unix" and not re.fullmatch(r"/?|/[0-9]+", parts.path):
        raise ValueError(f'"{parts.path[1:]}" is no number of a database')
    for option in parse_qs(parts.query, keep_blank_values=True):
        needs_tls = option.startswith("ssl_")
        if not _URL_OPTIONS.fullmatch(option) or (needs_tls and parts.scheme != "rediss"):
            raise ValueError(f'"{option}" is no option that it may have')


def location(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@dataclass(frozen=True, slots=True)
class _Server:
    """How a server is set up."""

    role: str
    aof: bool
    fsync: str | None
    """`appendfsync`; None: it does not tell."""
    policy: str
    evicts: bool
    """Whether it drops state when its memory is full. The volatile policies only drop keys that
    expire, and none of ours does."""


class RedisStore:
    """A `Store` on a redis-py client, which must not retry and must return bytes."""

    def __init__(
        self,
        client: Any,
        name: str,
        location: str,
        *,
        replicas: int = 0,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._client = client
        self._prefix = f"openbell:{{{name}}}:"
        self._keys = [self._prefix + key for key in _KEYS]
        self._key = dict(zip(_KEYS, self._keys, strict=True))
        self._commands = self._prefix + "commands"
        self._beside = self._prefix + "beside"
        self._location = location
        self._where = f'{location} "{name}"'
        self._replicas = replicas
        self._reading = Reading(self._where, replicated=True)
        self._watch = Watch(clock_ns)
        self._token = token_hex(8)
        self._acquired = False
        self._server = self._look_at_server()
        with suppress(Corrupt):  # whoever reads will find it; whoever deletes must get this far
            (schema,) = self._together(("HGET", self._key["head"], "schema"))
            check_schema(self._number(schema), self._where)

    def warnings(self) -> Sequence[str]:
        server = self._server
        found = []
        if not server.aof:
            found.append(
                "appendonly is no: what was acknowledged is lost when the server ends; "
                "set appendonly yes"
            )
        elif server.fsync not in ("always", None):
            found.append(
                f"appendfsync is {server.fsync}: a power cut loses what was acknowledged in the "
                "last second; set appendfsync always (the end of the process alone loses nothing)"
            )
        if server.policy != "noeviction":
            found.append(
                f"maxmemory-policy is {server.policy}: the server may drop state when its memory "
                "is full; set maxmemory-policy noeviction"
            )
        if server.role != "master":
            found.append(f"the server is a {server.role}: it can be read but not written to")
        return [f"{self._location}: {text}" for text in found]

    # The lease.

    def acquire(self, holder: Holder, ttl_ns: int) -> int:
        self._server = self._look_at_server()
        if self._server.evicts:
            raise StoreError(
                f"{self._location}: maxmemory-policy is {self._server.policy}: the server would "
                "drop state when its memory is full; set maxmemory-policy noeviction"
            )
        self._head()  # a damaged one must not be written over
        lease = self._lease()
        if lease and not self._watch.may_replace(lease, self._token, ttl_ns):
            raise held(self._where, lease, ttl_ns)
        expected = (lease.fence, lease.beat) if lease else ("", "")
        values = (*expected, self._token, encode_holder(holder), SCHEMA_VERSION)
        outcome, *rest = self._evaluate(_ACQUIRE, self._keys[:2], values)
        if outcome == b"HELD":  # another process was faster, or beat its heart at last
            now = self._read_lease(rest)
            raise held(self._where, now, ttl_ns) if now else self._changed()
        self._acquired = True
        fence = int(rest[0])
        self._collect(fence)
        return fence

    def renew(self, fence: int) -> None:
        self._as_holder(fence, _RENEW)

    def lease(self) -> Held | None:
        stored, (seconds, micros) = self._together(
            ("HMGET", self._key["lease"], "fence", "beat", "token", "holder"), ("TIME",)
        )
        lease = self._read_lease(stored)
        return lease and lease.held(int(seconds) * 1000 + int(micros) // 1000)

    def release(self, fence: int) -> None:
        outcome, *_ = self._evaluate(self._guarded(_RELEASE), self._keys, self._claim(fence))
        if outcome == b"CORRUPT":
            raise self._reading.corrupt("its head is damaged")

    # Commits.

    def commit(self, fence: int, record: CommitRecord) -> Literal["ok", "dup"]:
        encoded = encode(record)
        step = encoded.last_step
        manifest, taken_over = b"", ""
        if encoded.snapshot is not None:
            # The lease is ours alone, or the script will say so: what is read here still holds then.
            head = self._head()
            if encoded.number == head.commit + 1:
                try:
                    before = self._to_take_over(encoded, head)
                    manifest = encoded.manifest(step or head.step, before).encoded()
                except StoreError:
                    self.renew(fence)  # being fenced is what matters more
                    raise
                taken_over = str(head.epoch) if before else ""
        staged = {self._blob(blob, actor): body for actor, (blob, body) in encoded.blobs.items()}
        days = list(dict.fromkeys(_journal_of(row) for row in encoded.journal))
        values = [
            *self._claim(fence),
            encoded.number,
            encoded.digest,
            "" if encoded.first_step is None else encoded.first_step,
            "" if step is None else step,
            manifest,
            taken_over,
            len(days),
            *(len(body) for body in staged.values()),
            *_rows(encoded, days),
        ]
        outcome, *rest = self._evaluate(
            self._guarded(_script("commit")),
            [*self._keys, *map(self._journal_key, days), *staged],
            values,
            staged,
        )
        if outcome not in (b"ok", b"dup"):
            raise self._refused(outcome, rest, fence, encoded)
        return "ok" if outcome == b"ok" else "dup"

    def _to_take_over(self, encoded: Encoded, head: Head) -> Manifest | None:
        if not encoded.takes_over() or not head.epoch:
            return None
        (data,) = self._together(("HGET", self._key["epochs"], head.epoch))
        return self._reading.taken_over(encoded.number, head.epoch, data)

    def _refused(
        self, outcome: bytes, rest: list[bytes], fence: int, encoded: Encoded
    ) -> StoreError:
        commit = f"{self._where}: commit {encoded.number}"
        match outcome:
            case b"FENCED":
                return fenced(self._where, fence, self._read_lease(rest))
            case b"PAST":
                return past(self._where, encoded.number, int(rest[0]))
            case b"GAP":
                return does_not_follow(self._where, encoded.number, int(rest[0]))
            case b"STEPS":
                return step_does_not_follow(
                    self._where, encoded.number, encoded.first_step, int(rest[0])
                )
            case b"CONFLICT":
                return conflict(self._where, encoded.number, rest[0], encoded.digest)
            case b"UNSTAGED":
                return Unavailable(f"{commit}: {rest[0].decode()} did not arrive; send it again")
        return self._reading.corrupt(rest[0].decode(errors="replace"))

    # What can be read back.

    def head(self) -> PublicHead:
        stored, facts, others = self._together(
            ("HMGET", self._key["head"], *_HEAD_FIELDS),
            ("HGETALL", self._key["facts"]),
            self._others(),
        )
        head = self._read_head(stored, others)
        self._reading.count(len(facts), head.facts, "entries of meta")
        meta = {key.decode(): self._read_fact(key.decode(), value) for key, value in facts.items()}
        fence, schema = (self._number(value) for value in stored[-3:-1])
        check_schema(schema, self._where)
        return PublicHead(
            head.commit,
            head.step,
            fence,
            head.digest,
            meta,
            schema or SCHEMA_VERSION,
            head.signals,
        )

    def epochs(self) -> Sequence[EpochInfo]:
        head = self._head()
        (manifests,) = self._together(("HGETALL", self._key["epochs"]))
        infos = self._reading.epochs(_by_number(manifests), head.epoch, self._load)
        if not any(info.problem for info in infos):
            return infos
        # What was pruned in the meantime has no problem, it is gone.
        (left,) = self._together(("HKEYS", self._key["epochs"]))
        numbers = {int(epoch) for epoch in left} | {head.epoch}
        return [info for info in infos if info.epoch in numbers]

    def states(self, epoch: int) -> Mapping[str, bytes]:
        head = self._head()
        (manifest,) = self._together(("HGET", self._key["epochs"], epoch))
        try:
            if manifest is not None or epoch == head.epoch:
                return self._reading.states(epoch, manifest, self._load)
        except Corrupt:
            (still,) = self._together(("HEXISTS", self._key["epochs"], epoch))
            if still or epoch == head.epoch:
                raise
        raise StoreError(f"{self._where}: there is no snapshot of epoch {epoch}")

    def steps(self, after: int = 0, until: int | None = None) -> Iterator[Step]:
        head = self._head()
        first = self._reading.first_step(after, head)
        last = head.step if until is None else min(until, head.step)
        # Each entry has a step at least: one that is looked for alone does not bring others along.
        page = min(STEP_BLOCKS, max(last - first, 1))
        rows = (
            self._row(f"step {number}", _steps, number, entry)
            for number, _, entry in self._stream(self._key["steps"], (first, 0), page=page)
        )
        return self._reading.steps(rows, first, last, head)

    def journal(
        self, trading_date: date, after_step: int = 0, kind: str | None = None
    ) -> Iterator[JournalEntry]:
        day = trading_date.isoformat()
        (names,) = self._together(("HKEYS", self._key["journal"]))
        of_steps = {name for name in map(bytes.decode, names) if name.startswith(day + _OF_STEPS)}
        keys = [day, *sorted(of_steps)] if kind is None else [day + _OF_STEPS + kind]
        stored, others, counts, *found = self._together(
            ("HMGET", self._key["head"], *_HEAD_FIELDS),
            self._others(),
            ("HGETALL", self._key["journal"]),
            *(("XLEN", self._journal_key(key)) for key in keys),
        )
        kept = {of: int(count) if count.isdigit() else -1 for of, count in counts.items()}
        expected = self._read_head(stored, others).journal_kept
        self._reading.count(sum(kept.values()), expected, "journal entries")
        committed = sum(kept.get(key.encode(), 0) for key in keys)
        self._reading.count(sum(found), committed, f"journal entries of {day}")
        streams = []
        for key in map(self._journal_key, keys):
            begin = (0, 0) if key == self._journal_key(day) else None
            begin = begin or self._journaled_after(key, after_step)
            if begin is not None:
                streams.append(self._stream(key, begin, page=ENTRIES))
        together = merge(*streams, key=lambda entry: entry[0])
        return (
            self._reading.journal_entry(self._row(f"the journal of {day}", _journaled, day, entry))
            for _, _, entry in together
        )

    def _journaled_after(self, key: str, step: int) -> tuple[int, int] | None:
        """The position before the first entry that came after a step; None: there is none. Found
        by bisection, as later entries are of later steps."""
        found = self._together(
            ("XRANGE", key, "-", "+", "COUNT", 1), ("XREVRANGE", key, "+", "-", "COUNT", 1)
        )
        if not all(found):
            return None
        low, high = (_position(entries) for entries in found)
        if _came_with(found[1]) <= step:
            return None
        while low < high:
            middle = (low + high) // 2
            (entries,) = self._together(("XRANGE", key, f"{middle}-0", "+", "COUNT", 1))
            if _came_with(entries) > step:
                high = middle
            else:
                low = _position(entries) + 1
        return low - 1, 0

    def signals(
        self,
        after: str | None = None,
        *,
        trading_date: date | None = None,
        symbol: str | None = None,
        session: str | None = None,
        limit: int | None = None,
    ) -> Iterator[tuple[str, StoredSignal]]:
        start = parse_cursor(after) if after is not None else (0, 0)
        key = self._key["signals"]
        found, expected, at, first = self._together(
            ("XLEN", key),
            ("HGET", self._key["head"], "signals"),
            ("XRANGE", key, *2 * [after or "1-0"]),
            ("XRANGE", key, "-", "+", "COUNT", 1),
        )
        oldest = first[0][0].decode() if first else None
        what = "signals" if oldest is None else f"signals from {oldest} on"
        self._reading.count(found, self._number(expected), what)
        if after is not None and not at:
            raise unknown_cursor(after, oldest)
        wanted = {
            b"trading_date": trading_date.isoformat() if trading_date else None,
            b"symbol": symbol,
            b"session": session,
        }
        given = {field: text.encode() for field, text in wanted.items() if text is not None}
        return self._signals(start, given, limit)

    def last_signal(self) -> str | None:
        (last,) = self._together(("XREVRANGE", self._key["signals"], "+", "-", "COUNT", 1))
        return last[0][0].decode() if last else None

    def _signals(
        self, start: tuple[int, int], given: Mapping[bytes, bytes], limit: int | None
    ) -> Iterator[tuple[str, StoredSignal]]:
        left = limit
        for number, seq, entry in self._stream(self._key["signals"], start):
            if left == 0:
                return
            cursor = f"{number}-{seq}"
            row = self._row(f"the signal at {cursor}", _signal, entry)
            # Verified before it is filtered: a damaged one may be one that is asked for.
            signal = self._reading.signal(cursor, row)
            if all(entry[field] == text for field, text in given.items()):
                yield cursor, signal
                left = None if left is None else left - 1

    def documents(
        self,
        *,
        trading_date: date | None = None,
        status: str | None = None,
        session: str | None = None,
        completed_since_ns: int | None = None,
        completed_before_ns: int | None = None,
    ) -> Sequence[Document]:
        since_ns, before_ns = completed_since_ns, completed_before_ns
        if trading_date is not None:
            begin = ["d", trading_date.isoformat(), *([status] if status is not None else [])]
            low, high = _span(begin)
        elif status is not None:
            low, high = _span(["s", status])
            if since_ns is not None:
                low = "\0".join(["[s", status, f"{max(since_ns, 0):020}"]).encode()
            if before_ns is not None:
                high = "\0".join(["(s", status, f"{max(before_ns, 0):020}"]).encode()
        else:
            low, high = _span(["d"])
        expected, documents, entries, members = self._together(
            ("HGET", self._key["head"], "documents"),
            ("HLEN", self._key["documents"]),
            ("ZCARD", self._key["documents:index"]),
            ("ZRANGEBYLEX", self._key["documents:index"], low, high),
        )
        self._reading.count(documents, self._number(expected), "documents")
        self._reading.count(entries, 2 * self._number(expected), "index entries of documents")
        keys = []
        for member in members:
            kind, *parts = member.split(b"\0", 3)
            day, name = (parts[0], parts[2]) if kind == b"d" else parts[2].split(b"\0", 1)
            if session is None or name == session.encode():
                keys.append(day + b"\0" + name)
        found = [
            self._read_document(key, value)
            for begin_at in range(0, len(keys), PAGE)
            for key, value in self._values("documents", sorted(keys)[begin_at : begin_at + PAGE])
        ]
        # The index may be older than the document, by a commit that came between the two readings.
        fitting = (
            document
            for document in found
            if status in (None, document.status)
            and _within(document.completed_ns, since_ns, before_ns)
        )
        by_completion = (status, since_ns, before_ns) != (None, None, None)
        return in_order(fitting, of_completion=trading_date is None and by_completion)

    def _values(self, key: str, fields: list[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
        (values,) = self._together(("HMGET", self._key[key], *fields))
        return zip(fields, values, strict=True)

    def _read_document(self, key: bytes, value: bytes | None) -> Document:
        day, _, session = key.decode().partition("\0")
        if value is None:
            raise self._reading.corrupt(f'the document of "{session}" on {day} is missing')

        row = self._row(f'the document of "{session}" on {day}', _document, day, session, value)
        return self._reading.document(row)

    def audit(self, after: int = 0) -> Iterator[tuple[int, bytes]]:
        (last,) = self._together(("HGET", self._key["head"], "audit"))
        entries = (
            (position, *self._row(f"entry {position} of the audit trail", _entry, fields))
            for position, _, fields in self._stream(self._key["audit"], (after, 0))
        )
        return self._reading.audit_trail(entries, after, self._number(last))

    def append_audit(self, entry: bytes) -> None:
        keys = [self._key["head"], self._key["audit"]]
        self._evaluate(_AUDIT, keys, (*audit_row(entry), SCHEMA_VERSION))

    def send_command(self, command: bytes) -> None:
        self._together(("RPUSH", self._commands, command))

    def commands(self, fence: int) -> Sequence[bytes]:
        commands: list[bytes] = self._as_holder(fence, _COMMANDS, [self._commands])[0]
        return commands

    def take_commands(self, fence: int) -> Sequence[bytes]:
        commands: list[bytes] = self._as_holder(fence, _TAKE, [self._commands])[0]
        return commands

    # Beside the commits.

    def kept(self, begin: str) -> Mapping[str, bytes]:
        (stored,) = self._together(("HGETALL", self._beside))
        found = {name.decode(errors="replace"): value for name, value in stored.items()}
        return {
            key: self._read_beside(key, found[key])
            for key in sorted(found)
            if key.startswith(begin)
        }

    def kept_at(self, key: str) -> bytes | None:
        (value,) = self._together(("HGET", self._beside, key))
        return None if value is None else self._read_beside(key, value)

    def _read_beside(self, key: str, value: bytes) -> bytes:
        crc, _, body = value.partition(b":")
        return self._reading.beside(key, body, int(crc) if crc.isdigit() else -1)

    def keep(self, fence: int, changed: Mapping[str, bytes | None]) -> None:
        values = (
            part
            for key, body in changed.items()
            for part in (key, b"" if body is None else _beside(key, body))
        )
        self._as_holder(fence, _KEEP, [self._beside], [*values])

    def ask(self, key: str, body: bytes) -> None:
        self._together(("HSET", self._beside, key, _beside(key, body)))

    # Upkeep.

    def prune(self, fence: int, before: date, keep_epochs: int) -> None:
        head = self._head()
        manifests = self._manifests()
        plan = plan_pruning(manifests, before, keep_epochs)
        if plan is None:
            self.renew(fence)  # refuses who lost the lease
            return
        steps_from = head.steps_from
        limit = min(plan.steps_from, head.step + 1)
        day = before.isoformat().encode()
        for number, _, entry in self._stream(
            self._key["steps"], (steps_from - 1, 0), limit - 1, page=STEP_BLOCKS
        ):
            if entry.get(b"trading_date", b"") >= day:
                break
            steps_from = number + 1
        kept = {epoch: manifests[epoch] for epoch in plan.epochs}
        (days,) = self._together(("HKEYS", self._key["journal"]))
        journaled = sorted(of for of in map(bytes.decode, days) if of < str(plan.journal_from))
        epochs = sorted(manifests.keys() - plan.epochs)
        self._drop(fence, head, kept, epochs, steps_from, journaled)

    def fold(self, fence: int, joins: Joins) -> None:
        head = self._head()
        steps = self._last(self._key["steps"], FOLD_STEPS, _steps_in)
        day = steps[0][1].get(b"trading_date", b"").decode() if steps else ""
        of_day = [*takewhile(lambda entry: entry[1].get(b"trading_date") == day.encode(), steps)]
        read = [self._row("the step log", _steps, _position([entry]), entry[1]) for entry in of_day]
        count = to_fold(map(_steps_in, of_day), FOLD_STEPS, STEPS)
        values: list[Any] = [head.commit, count, *(at for at, _ in of_day[:count])]
        if count:
            together = [
                step for row in read[:count][::-1] for step in self._reading.step_block(row)
            ]
            (row,) = stepblocks.rows(together)
            # The id of the last one is taken: what comes in its place has the next part.
            last, _, part = of_day[0][0].decode().partition("-")
            values += [f"{last}-{int(part) + 1}", *row[1:]]
        keys = []
        for kind, join in joins.items():
            key = f"{day}{_OF_STEPS}{kind}"
            entries = self._last(self._journal_key(key), FOLD_BYTES, _bytes_of)
            if not (gone := to_fold(map(_bytes_of, entries), FOLD_BYTES, FOLD_READ_BYTES)):
                continue
            journaled = join(
                [
                    self._reading.journal_entry(self._row(key, _journaled, day, entry))
                    for _, entry in entries[:gone][::-1]
                ]
            )
            _, name, body, crc, step = journal_row(journaled)
            keys.append(self._journal_key(key))
            ids = [at for at, _ in entries[:gone]]
            values += [key, gone, *ids, name, body, crc, step]
        if count or keys:
            self._as_holder(fence, _script("fold"), keys, values)

    def _last(self, key: str, large: int, size: Callable[[_Entry], int]) -> list[_Entry]:
        """The last entries of a stream, newest first, up to one that is large."""
        found: list[_Entry] = []
        end = "+"
        while len(found) < FOLD_READ:
            (page,) = self._together(("XREVRANGE", key, end, "-", "COUNT", STEP_BLOCKS))
            small = [*takewhile(lambda entry: size(entry) < large, page)]
            found += small
            if len(small) < STEP_BLOCKS:
                break
            end = f"({small[-1][0].decode()}"
        return found

    def _collect(self, fence: int) -> None:
        """Drops states that were staged for a commit that never came."""
        self._drop(fence, self._head(), self._manifests(), [], None)

    def _drop(
        self,
        fence: int,
        head: Head,
        kept: Mapping[int, Manifest | None],
        epochs: list[int],
        steps_from: int | None,
        journaled: Sequence[str] = (),
    ) -> None:
        unused: list[str] = []
        if None not in kept.values():  # what a damaged manifest needs is not known
            used = {
                self._blob(blob, actor)
                for manifest in kept.values()
                if manifest
                for actor, blob in manifest.blobs.items()
            }
            (stored,) = self._together(("SMEMBERS", self._key["blobs"]))
            unused = sorted({key.decode() for key in stored} - used)
        if not unused and steps_from is None:
            return
        first_commit = min(kept) if kept else 0
        self._as_holder(
            fence,
            _script("drop"),
            [*map(self._journal_key, journaled), *unused],
            [
                head.commit,
                "" if steps_from is None else steps_from,
                first_commit,
                len(journaled),
                *journaled,
                *epochs,
            ],
        )

    @property
    def location(self) -> str:
        return f"{self._location} {self._prefix}*"

    def usage(self) -> Usage:
        head = self._head()
        (blobs,) = self._together(("SMEMBERS", self._key["blobs"]))
        epochs, audit, days, schema = self._together(
            ("HLEN", self._key["epochs"]),
            ("XLEN", self._key["audit"]),
            ("HKEYS", self._key["journal"]),
            ("HGET", self._key["head"], "schema"),
        )
        counts = {
            "commits": head.commit,
            "steps": head.step + 1 - head.steps_from,
            "epochs": epochs,
            "journal": head.journal_kept,
            "documents": head.documents,
            "signals": head.signals,
            "audit": audit,
        }
        journal = map(self._journal_key, map(bytes.decode, days))
        size = self._size([*self._keys, self._commands, self._beside, *journal, *blobs])
        version = self._number(schema) or SCHEMA_VERSION
        return Usage(self.location, version, size, counts)

    def delete(self) -> None:
        start = self._prefix.encode()
        with self._errors():
            self._client.delete(self._key["lease"])  # a writer stops here
            found = self._client.scan_iter(match=self._prefix + "*", count=1000)
            keys = [key for key in found if key.startswith(start)]
            for begin in range(0, len(keys), PAGE):
                self._client.unlink(*keys[begin : begin + PAGE])

    def close(self) -> None:
        self._client.close()

    # Commands and errors.

    def _together(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Executes commands at one instant."""
        with self._errors():
            pipeline = self._client.pipeline(transaction=len(commands) > 1)
            for command in commands:
                pipeline.execute_command(*command)
            results: list[Any] = pipeline.execute()
        return results

    def _size(self, keys: Sequence[str | bytes]) -> int:
        with self._errors():
            pipeline = self._client.pipeline(transaction=False)
            for key in keys:
                pipeline.memory_usage(key)
            # Hosted servers may refuse to tell.
            sizes = pipeline.execute(raise_on_error=False)
        return sum(size for size in sizes if isinstance(size, int))

    def _guarded(self, script: str) -> str:
        return f"{_script('head')}\n{script}"

    def _claim(self, fence: int) -> tuple[int, str]:
        # The token too: a failover, or state that was deleted, may count the fences anew.
        return fence, self._token if self._acquired else ""

    def _as_holder(
        self,
        fence: int,
        script: str,
        keys: Sequence[str] = (),
        values: Sequence[Any] = (),
    ) -> list[Any]:
        outcome, *rest = self._evaluate(
            self._guarded(script), [*self._keys, *keys], [*self._claim(fence), *values]
        )
        match outcome:
            case b"FENCED":
                raise fenced(self._where, fence, self._read_lease(rest))
            case b"CORRUPT":
                raise self._reading.corrupt(rest[0].decode(errors="replace"))
            case b"CHANGED":
                raise self._changed()
        return rest

    def _evaluate(
        self,
        script: str,
        keys: Sequence[str],
        values: Sequence[Any],
        staged: Mapping[str, bytes] | None = None,
    ) -> list[Any]:
        """A script's answer, once enough replicas have what it wrote."""
        with self._errors():
            pipeline = self._client.pipeline(transaction=False)
            if staged:
                # Executed at once: one by one, states would be flushed to the disk one by one.
                pipeline.execute_command("MULTI")
                pipeline.sadd(self._key["blobs"], *staged)
                for key, body in staged.items():
                    pipeline.set(key, body)
            # EVAL rather than EVALSHA: a server that was restarted does not know the script.
            pipeline.eval(script, len(keys), *keys, *values)
            if staged:
                pipeline.execute_command("EXEC")
            if self._replicas:
                # Not WAITAOF: replicas tell what is on their disks once a second only (measured),
                # and so a commit would take that long.
                pipeline.execute_command("WAIT", self._replicas, int(WAIT_SECONDS * 1000))
            results = pipeline.execute(raise_on_error=False)
            for result in results:
                if isinstance(result, Exception):
                    raise result
            confirmed = results.pop() if self._replicas else 0
            answer: list[Any] = results[-1][-1] if staged else results[-1]
            if isinstance(answer, Exception):
                raise answer
        if answer[0] in (b"ok", b"dup") and confirmed < self._replicas:
            raise Unavailable(
                f"{self._where}: {confirmed} of {self._replicas} replicas confirmed within "
                f"{WAIT_SECONDS:g} s; check the replicas, or lower store.replicas"
            )
        return answer

    @contextmanager
    def _errors(self) -> Iterator[None]:
        from redis import exceptions

        try:
            yield
        except (exceptions.AuthenticationError, exceptions.AuthorizationError) as error:
            raise StoreError(
                f"{self._where}: the server refuses the password ({error}); check store.url"
            ) from error
        except (
            exceptions.ConnectionError,
            exceptions.TimeoutError,
            exceptions.ReadOnlyError,
            exceptions.ClusterDownError,
            exceptions.TryAgainError,
            exceptions.MasterDownError,
        ) as error:
            raise Unavailable(
                f"{self._where}: no answer ({str(error).rstrip('.')}); check that the server is up, "
                "and store.url"
            ) from error
        except exceptions.ResponseError as error:
            text = str(error)
            if isinstance(error, exceptions.OutOfMemoryError) or re.search(r"\bOOM\b", text):
                raise NoRoom(
                    f"{self._where}: the server's memory is full ({text}); nothing was committed; "
                    "raise maxmemory"
                ) from error
            if _TEMPORARY.search(text):
                raise Unavailable(f"{self._where}: not now ({text})") from error
            if "WRONGTYPE" in text:
                raise self._of_another_type() from error
            raise StoreError(
                f"{self._where}: the server refuses ({text}); see its log and its configuration"
            ) from error
        except exceptions.RedisError as error:
            raise StoreError(f"{self._where}: {error}") from error

    def _of_another_type(self) -> Corrupt:
        """What is said of a key that has the name of one of ours, and is none."""
        from redis import exceptions

        what = "a key of this name is not what openbell writes"
        with suppress(exceptions.RedisError):
            for key, expected in zip(self._keys, _KEYS.values(), strict=True):
                found = self._client.type(key).decode()
                if found not in (expected, "none"):
                    what = f"the key {key} is a {found}, and openbell keeps a {expected} there"
                    break
        return Reading(self._where).corrupt(
            f"{what}: another program has written it; rename it, or write another name for this run"
        )

    def _changed(self) -> Unavailable:
        return Unavailable(f"{self._where}: the state changed meanwhile; try again")

    def _look_at_server(self) -> _Server:
        from redis import exceptions

        with self._errors():
            info = self._client.info()
            try:
                fsync = self._client.config_get("appendfsync").get("appendfsync")
            except exceptions.ResponseError:  # hosted servers often refuse CONFIG
                fsync = None
        version = tuple(int(part) for part in info["redis_version"].split(".")[:2])
        if version < OLDEST_SERVER:
            raise StoreError(
                f"{self._location}: the server is version {info['redis_version']}; openbell needs "
                f"Redis {'.'.join(map(str, OLDEST_SERVER))} or any Valkey"
            )
        policy = str(info.get("maxmemory_policy", "noeviction"))
        return _Server(
            role=str(info.get("role", "master")),
            aof=bool(info.get("aof_enabled", 0)),
            fsync=fsync.decode() if isinstance(fsync, bytes) else fsync,
            policy=policy,
            evicts=bool(info.get("maxmemory", 0)) and policy.startswith("allkeys-"),
        )

    # Rows.

    def _others(self) -> tuple[str, ...]:
        # Not the signals: a consumer may have made its group, and so the stream, before the first.
        return "EXISTS", *(
            key
            for name, key in self._key.items()
            if name not in ("head", "lease", "signals", "audit", "blobs")
        )

    def _head(self) -> Head:
        stored, others = self._together(("HMGET", self._key["head"], *_HEAD_FIELDS), self._others())
        return self._read_head(stored, others)

    def _read_head(self, stored: list[bytes | None], others: int) -> Head:
        fields = stored[: len(Head._fields)]
        if fields[0] is None:
            if others:
                raise self._reading.corrupt("its head is missing, but not all else")
            return Head()
        # Version 1 had no journal.
        fields[-2:] = [value or b"0" for value in fields[-2:]]
        try:
            head = Head(
                *(
                    value if name == "digest" else int(value)  # type: ignore[arg-type]
                    for name, value in zip(Head._fields, fields, strict=True)
                )
            )
            good = head.seal() == int(stored[len(Head._fields)] or -1)
        except (TypeError, ValueError):
            good = False
        if not good:
            raise self._reading.corrupt("its head fails its checksum")
        return head

    def _number(self, stored: bytes | None) -> int:
        if stored is None:
            return 0
        if not stored.isdigit():
            raise self._reading.corrupt("its head is damaged")
        return int(stored)

    def _lease(self) -> Lease | None:
        (stored,) = self._together(
            ("HMGET", self._key["lease"], "fence", "beat", "token", "holder")
        )
        return self._read_lease(stored)

    def _read_lease(self, stored: Sequence[bytes | None]) -> Lease | None:
        fence, beat, token, holder = stored
        if not fence:
            return None
        try:
            return Lease(
                int(fence), int(beat or b""), (token or b"").decode(), decode_holder(holder or b"")
            )
        except ValueError:
            raise self._reading.corrupt("its lease is damaged") from None

    def _journal_key(self, day: str) -> str:
        return f"{self._prefix}journal:{day}"

    def _blob(self, blob: Blob, actor: str) -> str:
        return f"{self._prefix}blob:{blob.key}:{actor}"

    def _load(self, blob: Blob, actor: str) -> bytes | None:
        (body,) = self._together(("GET", self._blob(blob, actor)))
        return body if body is None or isinstance(body, bytes) else None

    def _manifests(self) -> dict[int, Manifest | None]:
        (manifests,) = self._together(("HGETALL", self._key["epochs"]))
        return {epoch: readable_manifest(data) for epoch, data in _by_number(manifests).items()}

    def _read_fact(self, key: str, value: bytes) -> bytes:
        crc, _, body = value.partition(b":")
        return self._reading.fact(key, body, int(crc) if crc.isdigit() else -1)

    def _stream(
        self, key: str, after: tuple[int, int], last: int | None = None, page: int = PAGE
    ) -> Iterator[tuple[int, int, dict[bytes, bytes]]]:
        end = "+" if last is None else f"{max(last, 0)}-0"
        start = f"{after[0]}-{after[1]}"
        while True:
            (entries,) = self._together(("XRANGE", key, f"({start}", end, "COUNT", page))
            for at, fields in entries:
                start = at.decode()
                number, _, seq = start.partition("-")
                yield int(number), int(seq), fields
            if len(entries) < page:
                return

    def _row(self, what: str, read: Callable[P, T], *args: P.args, **names: P.kwargs) -> T:
        try:
            return read(*args, **names)
        except (KeyError, ValueError):
            raise self._reading.corrupt(f"{what} can't be read") from None


def _steps(last: int, entry: Mapping[bytes, bytes]) -> tuple[Any, ...]:
    first = int(entry[b"first"]) if b"first" in entry else None
    day = entry[b"trading_date"].decode()
    crc = int(entry[b"crc"])
    return last, first, int(entry[b"market_ns"]), entry[b"grant"], entry[b"digest"], day, crc


_OF_STEPS = "+"
"""Between a day and a kind in the key of what was journaled with single steps: it is found by the
step, and what the whole day needs lies beside it."""


def _journal_of(row: JournalRow) -> str:
    return row[0] if row[4] is None else row[0] + _OF_STEPS + kind_of(row[1])


def _journaled(day: str, entry: Mapping[bytes, bytes]) -> JournalRow:
    step = int(entry[b"step"]) if entry.get(b"step") else None
    return day, entry[b"entry"].decode(), entry[b"body"], int(entry[b"crc"]), step


def _steps_in(entry: _Entry) -> int:
    first = entry[1].get(b"first", b"")
    return _position([entry]) + 1 - int(first) if first.isdigit() else 1


def _bytes_of(entry: _Entry) -> int:
    return len(entry[1].get(b"body", b""))


def _position(entries: list[tuple[bytes, Any]]) -> int:
    return int(entries[0][0].partition(b"-")[0])


def _came_with(entries: list[tuple[bytes, Mapping[bytes, bytes]]]) -> int:
    step = entries[0][1].get(b"step", b"")
    return int(step) if step.isdigit() else 2**63  # a damaged one is found when it is read


def _signal(entry: Mapping[bytes, bytes]) -> tuple[str, str, str, str, bytes, int]:
    fields = (b"id", b"trading_date", b"session", b"symbol")
    key, day, session, symbol = (entry[field].decode() for field in fields)
    return key, day, session, symbol, entry[b"body"], int(entry[b"crc"])


def _document(day: str, session: str, value: bytes) -> DocumentRow:
    status, completed, seal, body = value.split(b"\0", 3)
    completed_ns = None if completed == b"-" else int(completed)
    crc, _, place = seal.partition(b":")
    return (
        day,
        session,
        status.decode(),
        completed_ns,
        body,
        int(crc),
        int(place) if place else None,
    )


def _within(instant_ns: int | None, since_ns: int | None, before_ns: int | None) -> bool:
    if since_ns is None and before_ns is None:
        return True
    if instant_ns is None:
        return False
    return (since_ns is None or instant_ns >= since_ns) and (
        before_ns is None or instant_ns < before_ns
    )


def _beside(key: str, body: bytes) -> bytes:
    _, _, crc = kept_row(key, body)
    return b"%d:%s" % (crc, body)


def _entry(fields: Mapping[bytes, bytes]) -> tuple[bytes, int]:
    return fields[b"entry"], int(fields[b"crc"])


def _rows(encoded: Encoded, days: Sequence[str]) -> Iterator[Any]:
    """In the order in which commit.lua takes them; `days` are the journals that have entries."""
    yield len(encoded.steps)
    for row in encoded.steps:
        yield from row
    yield len(encoded.journal)
    for entry in encoded.journal:
        of, (_, name, body, crc, step) = _journal_of(entry), entry
        yield from (days.index(of) + 1, of, name, body, crc, "" if step is None else step)
    yield len(encoded.documents)
    for day, session, status, completed_ns, body, crc, place in encoded.documents:
        completed = "-" if completed_ns is None else f"{completed_ns:020}"
        seal = crc if place is None else f"{crc}:{place}"
        yield from (f"{day}\0{session}", status, completed, seal, body)
    yield len(encoded.signals)
    for given in encoded.signals:
        rows = signal_rows(given) if isinstance(given, SignalBatch) else given
        day = rows.trading_date.isoformat()
        keys = (rows.ids, repeat(day), rows.sessions, rows.symbols)
        crcs = map(signal_crc, *keys, rows.bodies)
        yield from (day, *map(join_texts, (rows.ids, rows.sessions, rows.symbols)))
        yield join_texts([*map(str, crcs)])
        yield join_texts([str(len(body)) for body in rows.bodies])
        yield b"".join(rows.bodies)
    yield len(encoded.audit)
    for line in encoded.audit:
        yield from line
    yield len(encoded.facts)
    for key, value, crc in encoded.facts:
        yield from (key, b"%d:%s" % (crc, value))


def _span(begin: list[str]) -> tuple[bytes, bytes]:
    """Bounds of all index entries that begin so."""
    start = "\0".join([*begin, ""]).encode()
    return b"[" + start, b"(" + start[:-1] + b"\x01"


def _by_number(manifests: Mapping[bytes, bytes]) -> dict[int, bytes | None]:
    return {int(epoch): data for epoch, data in manifests.items() if epoch.isdigit()}
