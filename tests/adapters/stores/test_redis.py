"""Redis and Valkey: lost answers, crashes, set-ups that weaken the promises, damaged keys."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from redis_server import RedisServer
from store_places import server_binary, writer
from store_records import (
    DAY,
    a_full_record,
    a_record,
    a_signal,
    a_snapshot,
    an_entry,
    check_everything,
    digest,
    rows_of,
    taken,
)

from openbell.adapters.stores import (
    SCHEMA_VERSION,
    Corrupt,
    NoRoom,
    Store,
    Unavailable,
    open_store,
    this_process,
)
from openbell.adapters.stores import redis as redis_store
from openbell.adapters.stores.redis import RedisStore
from openbell.errors import ConfigError, StoreError

redis: Any = pytest.importorskip(
    "redis", reason="the package redis is not installed; run `pip install 'openbell[redis]'`"
)

T = TypeVar("T")


@pytest.fixture
def client(server: RedisServer) -> Iterator[Any]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """For tests that kill it."""
    with RedisServer(server_binary()) as server:
        yield server


class Proxy:
    """Stands between a store and its server, and may lose what passes."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.connections = 0
        self.allowed: int | None = None
        """Bytes that still reach the server on a connection; then it ends. None: all."""
        self.answers = True
        """False: what the server answers is lost, and the connection ends."""
        self._carried: list[tuple[socket.socket, threading.Thread]] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        _shut(self._listener)
        self._accepting.join()
        self._listener.close()
        for near, carrying in self._carried:
            _shut(near)
            carrying.join()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                carrying = threading.Thread(target=self._carry, args=(near,))
                self._carried.append((near, carrying))
                carrying.start()

    def _carry(self, near: socket.socket) -> None:
        with near, suppress(OSError), socket.create_connection(("127.0.0.1", self._port)) as far:
            replies = threading.Thread(target=self._replies, args=(near, far))
            replies.start()
            self._requests(near, far)
            replies.join()

    def _requests(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while chunk := near.recv(65536):
                if self.allowed is not None:
                    chunk, left = chunk[: self.allowed], self.allowed - len(chunk)
                    self.allowed = max(left, 0)
                    far.sendall(chunk)
                    if left < 0:
                        break
                    continue
                far.sendall(chunk)
        _shut(near, far)

    def _replies(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while chunk := far.recv(65536):
                if not self.answers:
                    break
                near.sendall(chunk)
        _shut(near, far)


def _shut(*sockets: socket.socket) -> None:
    for one in sockets:
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    with closing(Proxy(server.port)) as proxy:
        yield proxy


# Lost answers and crashes.


def test_a_commit_whose_answer_was_lost_is_sent_again_harmlessly(proxy: Proxy) -> None:
    store = open_store(proxy.url, "bot")
    fence = taken(store)
    store.commit(fence, a_full_record(1))

    proxy.answers = False
    # Without a snapshot a commit is one request, so that it is its answer that gets lost.
    second = replace(a_full_record(2), snapshot=None)
    with pytest.raises(Unavailable, match="no answer"):
        store.commit(fence, second)
    proxy.answers = True
    outcome = store.commit(fence, second)

    assert outcome == "dup"
    assert [signal.id for _, signal in store.signals()] == [
        f"{n}:{k}" for n in (1, 2) for k in range(3)
    ]
    assert store.commit(fence, replace(a_full_record(3), snapshot=None)) == "ok"


def test_one_call_is_one_try(proxy: Proxy) -> None:
    store = open_store(proxy.url, "bot")
    fence = taken(store)
    before = proxy.connections

    proxy.allowed = 0
    with pytest.raises(Unavailable):
        store.commit(fence, a_record(1))

    assert proxy.connections - before <= 1
    proxy.allowed = None
    assert store.commit(fence, a_record(1)) == "ok"


@pytest.mark.parametrize("allowed", [200, 5_000, 200_000, 300_000])
def test_a_commit_that_is_cut_off_leaves_nothing_but_garbage(
    proxy: Proxy, client: Any, allowed: int
) -> None:
    store = open_store(proxy.url, "bot")
    fence = taken(store)
    store.commit(fence, a_full_record(1))
    blobs = len(client.keys("openbell:{bot}:blob:*"))
    states = {actor: actor.encode() * 20_000 for actor in ("breakout", "clock", "keeper")}
    record = replace(a_full_record(2), snapshot=a_snapshot(states))

    proxy.allowed = allowed
    with pytest.raises(Unavailable):
        store.commit(fence, record)
    proxy.allowed = None

    check_everything(open_store(proxy.url, "bot"), 1)
    fence = taken(store)  # collects what was staged in vain
    assert len(client.keys("openbell:{bot}:blob:*")) == blobs
    assert client.scard("openbell:{bot}:blobs") == blobs
    assert store.commit(fence, record) == "ok"
    assert store.states(2) == states


def test_a_server_that_is_gone_is_unavailable_at_once(own_server: RedisServer) -> None:
    store = open_store(own_server.url, "bot")
    fence = taken(store)
    own_server.kill()

    with pytest.raises(Unavailable, match=f'127.0.0.1:{own_server.port}/0 "bot": no answer'):
        store.commit(fence, a_full_record(1))
    with pytest.raises(Unavailable):
        store.head()
    with pytest.raises(Unavailable):
        open_store(own_server.url, "bot")

    own_server.start()
    assert store.commit(fence, a_full_record(1)) == "ok"
    check_everything(store, 1)


def test_what_was_acknowledged_survives_a_kill_of_the_server(own_server: RedisServer) -> None:
    with writer(own_server.url, "loop") as child:
        assert child.hear() == "fence 1"
        heard = [child.hear()]
        for delay_ms in (5, 31, 64, 17, 90):
            time.sleep(delay_ms / 1000)
            own_server.kill()
            own_server.start()
            heard.append(child.hear())
        heard += child.end()

    numbers = [int(line.split()[1]) for line in heard]
    assert numbers == list(range(1, len(numbers) + 1))
    assert {line.split()[0] for line in heard} <= {"ok", "dup"}
    store = open_store(own_server.url, "bot")
    assert store.head().commit - len(numbers) in (0, 1)
    check_everything(store, store.head().commit)


# What others see.


def test_any_language_reads_the_signals_with_a_consumer_group(
    server: RedisServer, client: Any
) -> None:
    store = open_store(server.url, "bot")
    fence = taken(store)
    stream = "openbell:{bot}:signals"
    client.xgroup_create(stream, "traders", id="0", mkstream=True)
    store.commit(fence, a_record(1, signals=(a_signal("a"), a_signal("b", symbol="ABB"))))
    store.commit(fence, a_record(2, signals=(a_signal("b", symbol="ABB"), a_signal("c"))))

    answer: Any = client.xreadgroup("traders", "one", {stream: ">"})

    ((_, entries),) = answer.items() if isinstance(answer, dict) else answer
    if isinstance(answer, dict):
        (entries,) = entries
    assert [key for key, _ in entries] == [b"1-0", b"1-1", b"2-0"]
    fields = {field: value for field, value in entries[1][1].items() if field != b"crc"}
    assert fields == {
        b"id": b"b",
        b"trading_date": b"2025-08-26",
        b"session": b"Lunch Break",
        b"symbol": b"ABB",
        b"body": b'{"id":"b"}',
    }
    assert [cursor for cursor, _ in store.signals()] == ["1-0", "1-1", "2-0"]


def test_all_keys_lie_in_the_names_own_space(server: RedisServer, client: Any) -> None:
    client.set("theirs", "1")
    client.set("openbell:{other}:head", "1")
    store = open_store(server.url, "bot")
    fence = taken(store)
    store.commit(fence, a_full_record(1))
    store.send_command(b"pause")

    ours = [key for key in client.keys("*") if key not in (b"theirs", b"openbell:{other}:head")]

    assert len(ours) == 18
    assert all(key.startswith(b"openbell:{bot}:") for key in ours)
    store.delete()
    assert sorted(client.keys()) == [b"openbell:{other}:head", b"theirs"]


def test_states_that_no_snapshot_needs_are_dropped(server: RedisServer, client: Any) -> None:
    store = open_store(server.url, "bot")
    fence = taken(store)
    for number in range(1, 9):
        store.commit(fence, a_full_record(number))

    store.prune(fence, DAY.replace(year=2030), keep_epochs=1)

    keys = {key.decode().rsplit(":", 1)[1] for key in client.keys("openbell:{bot}:blob:*")}
    assert keys == {"breakout", "clock", "keeper"}
    assert len(client.keys("openbell:{bot}:blob:*")) == 3
    assert [one.epoch for one in store.epochs()] == [8]
    assert store.epochs()[0].problem is None


# Set-ups.


def test_a_well_configured_server_raises_no_warning(server: RedisServer) -> None:
    assert list(open_store(server.url, "bot").warnings()) == []


@pytest.mark.parametrize(
    ("setting", "value", "warning"),
    [
        ("appendonly", "no", "appendonly is no"),
        ("appendfsync", "everysec", "appendfsync is everysec"),
        ("maxmemory-policy", "allkeys-lru", "maxmemory-policy is allkeys-lru"),
    ],
)
def test_a_weak_setting_is_warned_of(
    own_server: RedisServer, setting: str, value: str, warning: str
) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set(setting, value)

    (text,) = open_store(own_server.url, "bot").warnings()

    assert warning in text
    assert text.startswith(f"redis://127.0.0.1:{own_server.port}/0: ")


def test_a_server_that_would_drop_state_is_not_written_to(own_server: RedisServer) -> None:
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        client.config_set("maxmemory", "100mb")

    with pytest.raises(StoreError, match="set maxmemory-policy noeviction"):
        taken(open_store(own_server.url, "bot"))


def test_a_server_whose_memory_is_full_refuses_the_whole_commit(own_server: RedisServer) -> None:
    store = open_store(own_server.url, "bot")
    fence = taken(store)
    store.commit(fence, a_full_record(1))
    with redis.Redis.from_url(own_server.url) as client:
        client.config_set("maxmemory", "1mb")

        with pytest.raises(StoreError, match=r"memory is full .*raise maxmemory") as refusal:
            store.commit(fence, a_full_record(2))

        assert isinstance(refusal.value, NoRoom)
        client.config_set("maxmemory", "0")
    check_everything(store, 1)
    assert store.commit(fence, a_full_record(2)) == "ok"


def test_a_password_is_used_and_never_shown() -> None:
    with RedisServer(server_binary(), "--requirepass", "sesame") as server:
        good = server.url.replace("redis://", "redis://:sesame@")
        bad = server.url.replace("redis://", "redis://:rhubarb@")

        with pytest.raises(StoreError, match=r"refuses the password .*check store\.url") as first:
            open_store(bad, "bot")
        with pytest.raises(StoreError):
            open_store(server.url, "bot")
        store = open_store(good, "bot")
        store.commit(taken(store), a_full_record(1))

        assert not isinstance(first.value, Unavailable)
        check_everything(store, 1)
        shown = f"{first.value} {store.usage().location}"
        assert "rhubarb" not in shown
        assert "sesame" not in shown


def test_a_unix_socket_serves_too() -> None:
    server = RedisServer(server_binary(), "--unixsocket", "redis.sock")
    with server:
        store = open_store(f"unix://{server.folder}/redis.sock?db=3", "bot")

        store.commit(taken(store), a_full_record(1))

        check_everything(store, 1)
        with redis.Redis(port=server.port, db=3) as client:
            assert client.exists("openbell:{bot}:head")


def test_a_commit_counts_when_the_replicas_have_it(
    own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "WAIT_SECONDS", 0.1)
    leader = own_server
    with redis.Redis.from_url(leader.url) as client:
        client.config_set("repl-diskless-sync-delay", "0")
    alone = open_store(leader.url, "bot", replicas=1)
    with pytest.raises(Unavailable, match=r"0 of 1 replicas confirmed.*store\.replicas"):
        taken(alone)

    with RedisServer(server_binary(), "--replicaof", "127.0.0.1", str(leader.port)) as follower:
        store = open_store(leader.url, "bot", replicas=1)
        fence = _when_available(lambda: taken(alone))  # its own lease, though it was told nothing
        # The replica may be slower than it is waited for: it is there then, and sent again.
        assert _when_available(lambda: alone.commit(fence, a_full_record(1))) in ("ok", "dup")
        replica = open_store(follower.url, "bot")

        check_everything(replica, 1)
        assert any("is a slave" in text for text in replica.warnings())
        with pytest.raises(Unavailable):
            replica.send_command(b"pause")
        follower.kill()
        with pytest.raises(Unavailable, match="0 of 1 replicas"):
            alone.commit(fence, a_full_record(2))
        follower.start()
        store = open_store(leader.url, "bot", replicas=1)  # a new connection has written nothing
        assert _when_available(lambda: store.commit(fence, a_full_record(2))) == "dup"
        leader.kill()
        check_everything(replica, 2)


def _when_available(call: Callable[[], T]) -> T:
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        with suppress(Unavailable):
            return call()
    raise AssertionError("stayed unavailable")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(StoreError, match=r"pip install 'openbell\[redis\]'"):
        open_store("redis://localhost/0", "bot")


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost:port/0",
        "redis://localhost/zero",
        "redis://localhost/0?nonsense=1",
        "redis://localhost/0?decode_responses=yes",
        "redis://localhost/0?ssl_cert_reqs=none",
        "rediss://localhost/0?ssl_nonsense=1",
        "mysql://localhost",
        "redis://",
        "x",
    ],
)
def test_a_url_that_cannot_be_used_is_a_mistake_of_the_configuration(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store\.url"):
        open_store(url, "bot")


# Damage.

COMMITS = 3


def _everything(store: Store) -> list[object]:
    """All that recovery reads, from the newest good snapshot on."""
    head = store.head()
    good = next(one for one in store.epochs() if one.problem is None)
    states = {one: body for one, body in store.states(good.epoch).items()}
    if (good.epoch, good.step) != (COMMITS, COMMITS):
        states = {"older snapshot": b""}
    return [
        (head.commit, head.step, head.digest, head.meta),
        states,
        list(store.steps()),
        list(store.journal(DAY)),
        list(store.signals()),
        list(store.documents()),
        list(store.documents(trading_date=DAY)),
        list(store.documents(status="ACTIVE")),
        list(store.audit()),
    ]


def _damages(client: Any, key: bytes) -> Iterator[Callable[[], object]]:
    yield lambda: client.delete(key)
    yield lambda: client.set(key, b"garbage")
    kind = client.type(key)
    if kind == b"hash":
        for field, value in client.hgetall(key).items():
            yield lambda field=field: client.hdel(key, field)  # type: ignore[misc]
            for body in (b"", b"x", _flipped(value), value[:-1]):
                yield lambda field=field, body=body: client.hset(key, field, body)  # type: ignore[misc]
    if kind == b"string":
        body = client.get(key)
        for changed in (body[:-1], _flipped(body), b""):
            yield lambda changed=changed: client.set(key, changed)  # type: ignore[misc]
    if kind == b"stream":
        for entry, _ in client.xrange(key):
            yield lambda entry=entry: client.xdel(key, entry)  # type: ignore[misc]
        yield lambda: client.xadd(key, {"x": "y"}, id="99-0")
    if kind == b"zset":
        for member in client.zrange(key, 0, -1):
            yield lambda member=member: client.zrem(key, member)  # type: ignore[misc]
    if kind == b"set":
        for member in client.smembers(key):
            yield lambda member=member: client.srem(key, member)  # type: ignore[misc]


def _flipped(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


@pytest.fixture
def quick_client() -> Iterator[Any]:
    """Of a server that writes nothing to its disk."""
    with (
        RedisServer(server_binary(), "--appendonly", "no") as server,
        redis.Redis.from_url(server.url) as client,
    ):
        yield client


def test_whatever_key_is_damaged_recovery_is_right_or_refuses(quick_client: Any) -> None:
    client = quick_client
    store = RedisStore(client, "bot", "here")
    fence = taken(store)
    for number in range(1, COMMITS + 1):
        store.commit(fence, a_full_record(number))
    expected = _everything(store)
    copies = {key: client.dump(key) for key in client.keys("*")}
    outcomes = set()

    for key in sorted(copies):
        name = key.decode().split(":", 2)[2]
        for damage in list(_damages(client, key)):
            damage()
            outcomes.add((name, f"{_recovered(store, expected)} {_committed(store, fence)}"))
            with client.pipeline() as pipeline:
                pipeline.delete(*client.keys("*"))
                for one, copy in copies.items():
                    pipeline.restore(one, 0, copy)
                pipeline.execute()

    assert not [one for one in outcomes if "wrong" in one[1]]
    assert ("head", "refused refused") in outcomes
    assert ("lease", "right refused") in outcomes


def _recovered(store: Store, expected: list[object]) -> str:
    try:
        found = _everything(store)
    except (StoreError, StopIteration):
        return "refused"
    if found == expected:
        return "right"
    # The snapshot before, with all the steps since then, is right as well.
    return "right" if [*found[:1], *found[2:]] == [*expected[:1], *expected[2:]] else "wrong"


def _committed(store: Store, fence: int) -> str:
    """The next commit is refused with nothing written, or made whole."""
    before = [len(list(store.signals())) if _reads(store.signals) else None, _number(store)]
    record = replace(
        a_full_record(COMMITS + 1),
        digest=digest(COMMITS + 1),
        snapshot=a_snapshot({"clock": b"c", "keeper": b"k", "breakout": b"b"}),
        signals=rows_of([a_signal("1:0"), a_signal("new")]),
    )
    try:
        store.commit(fence, record)
    except StoreError:
        after = [len(list(store.signals())) if _reads(store.signals) else None, _number(store)]
        return "refused" if after == before else "wrong: half a commit"
    ids = [signal.id for _, signal in store.signals()] if _reads(store.signals) else []
    if ids and (ids.count("1:0") != 1 or ids.count("new") != 1):
        return "wrong: a signal twice"
    return "right"


def _reads(read: Callable[[], Any]) -> bool:
    try:
        list(read())
    except StoreError:
        return False
    return True


def _number(store: Store) -> int | None:
    try:
        return store.head().commit
    except StoreError:
        return None


def test_an_error_names_where_and_what_to_do(server: RedisServer, client: Any) -> None:
    store = open_store(server.url, "bot")
    store.commit(taken(store), a_full_record(1))
    client.delete("openbell:{bot}:signals")

    todo = r"start again, a replica that .* or else restore a copy .* delete\(\)"
    with pytest.raises(Corrupt, match=r'0 "bot": has 0 signals, not the 3 .*; ' + todo):
        store.signals()


# Older state.


def test_state_of_version_1_is_read_and_goes_on_with_a_journal(
    server: RedisServer, client: Any
) -> None:
    with closing(open_store(server.url, "bot")) as store:
        store.commit(taken(store), a_record(1, signals=(a_signal("a"),)))
    head = "openbell:{bot}:head"
    client.hdel(head, "journal", "journal_kept")
    client.hset(head, "schema", 1)

    store = open_store(server.url, "bot")
    assert (store.head().schema, store.usage().schema) == (1, 1)
    assert list(store.journal(DAY)) == []
    fence = store.acquire(this_process(), 0)
    store.commit(fence, a_record(2, journal=(an_entry("b"),)))

    assert (store.head().schema, store.usage().schema) == (SCHEMA_VERSION, SCHEMA_VERSION)
    assert list(store.journal(DAY)) == [an_entry("b")]
    assert [signal.id for _, signal in store.signals()] == ["a"]
    store.close()


def test_state_whose_head_is_of_the_wrong_type_can_be_deleted_as_it_says(
    server: RedisServer, client: Any
) -> None:
    with closing(open_store(server.url, "bot")) as store:
        store.commit(taken(store), a_record(1, signals=(a_signal("a"),)))
    client.delete("openbell:{bot}:head")
    client.set("openbell:{bot}:head", "not a hash")

    with closing(open_store(server.url, "bot")) as store:
        named = (
            r"the key openbell:\{bot\}:head is a string, and openbell keeps a hash there: another"
        )
        with pytest.raises(Corrupt, match=rf"{named} .*; rename it, .*delete\(\) of this store"):
            store.head()
        store.delete()

    assert client.keys("openbell:{bot}:*") == []
