"""State that was damaged while nobody ran: recovery is right, or refuses in one line; never wrong.

Each case damages one thing in a copy of a state that a killed run over a table left, then starts
the run again: with files of the same rows, or, where the journal is concerned, with another table.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faults.crashing import KILLED, TABLE_BOT, Nursery, Setting, left, setting
from redis_server import RedisServer

from openbell.adapters.stores import open_store
from openbell.errors import StoreError

MORE: dict[str, Any] = {
    "clock": {"step": "boundary"},
    "snapshot": {"every": "60s"},
    "lease": {"ttl": "0.2s"},
}

Damage = Callable[[Any], object]
Kept = dict[str, Any]


def check(children: Nursery, of: Setting, minutes: Path, expected: Kept, about: str) -> None:
    """Starts the run on damaged state, which it recovers rightly, or refuses in one line."""
    needs_journal = "journal" in about or "head" in about
    files, table = ("run", "--config", of.config), (TABLE_BOT, of.config, minutes)
    code, said = children.run(*(table if needs_journal else files))
    lines = [line for line in said.splitlines() if line.startswith("openbell: ")]
    assert "Traceback" not in said, f"{about}: {said}"
    found, refused = None, ""
    try:
        found = left(of)
    except StoreError as error:
        refused = str(error)
    if found is None:
        assert refused, about
        assert "\n" not in refused, about
        return
    if code:
        assert code in (1, 2, 3, 4), f"{about}: {said}"
        assert len(lines) == len(said.splitlines()) == 1, f"{about}: {said}"
        # What can be read is the beginning of what is right.
        for key in ("ids", "signals", "steps"):
            assert found[key] == expected[key][: len(found[key])], f"{about}: {key}"
        return
    differing = [key for key in expected if found[key] != expected[key]]
    assert not differing, f"{about}: {differing} are wrong, and nothing was said"


@pytest.fixture(scope="module")
def expected(children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("whole")
    whole = setting(folder, minutes, f"sqlite:///{folder}/whole.db", "whole", **MORE)
    assert children.run("run", "--config", whole.config)[0] == 0
    return left(whole)


def killed(children: Nursery, of: Setting, minutes: Path) -> None:
    """In the third day's morning: what was committed holds something of everything, and the same on
    any host. Of a day that had not begun nothing would be journaled: the next start's is another."""
    code, said = children.run(
        *(TABLE_BOT, of.config, minutes), point="commit, before it is seen", nth=20, each_step=True
    )
    assert code == KILLED, said
    store = open_store(of.url, of.name)
    assert [str(step.trading_date) for step in store.steps()][-3:] == ["2024-01-04"] * 3
    store.close()


# SQLite


def _flip(body: bytes | str | int | None, rng: random.Random) -> bytes | str | int:
    if isinstance(body, str):
        return body[:-1] + ("x" if body[-1:] != "x" else "y")
    if isinstance(body, int) or body is None:
        return (body or 0) + 1
    flipped = bytearray(body or b"\0")
    flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
    return bytes(flipped)


def _sql(query: str) -> Damage:
    def damage(path: Path) -> None:
        connection = sqlite3.connect(path)
        connection.execute(query)
        connection.commit()
        connection.close()

    return damage


def _altered(table: str, column: str, last: bool) -> Damage:
    def damage(path: Path) -> None:
        rng = random.Random(f"{table} {column}")
        connection = sqlite3.connect(path)
        rows = connection.execute(f"SELECT {column} FROM {table}").fetchall()
        (value,) = rows[-1 if last else 0]
        connection.execute(
            f"UPDATE OR REPLACE {table} SET {column} = ? WHERE {column} = ?",
            (_flip(value, rng), value),
        )
        connection.commit()
        connection.close()

    return damage


def _truncated(part: float) -> Damage:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.truncate(int(path.stat().st_size * part) // 4096 * 4096)

    return damage


def _bytes(at: float, length: int) -> Damage:
    def damage(path: Path) -> None:
        with path.open("r+b") as file:
            file.seek(int(path.stat().st_size * at))
            file.write(random.Random(at).randbytes(length))

    return damage


_COLUMNS = {
    "heads": (
        *("number", "step", "digest", "epoch", "steps_from", "signals", "seal", "fence"),
        *("journal", "journal_kept"),
    ),
    "leases": ("fence", "token", "holder"),
    "facts": ("key", "value", "crc"),
    "commits": ("number", "digest"),
    "epochs": ("number", "manifest"),
    "blobs": ("actor", "key", "body"),
    "steps": ("number", "first", "market_ns", "grant", "digest", "trading_date", "crc"),
    "journal": ("position", "trading_date", "entry", "body", "crc", "step"),
    "documents": ("trading_date", "session", "status", "body"),
    "signals": ("number", "seq", "count", "trading_date", "packed", "crc"),
    "audit": ("entry",),
}

SQLITE: dict[str, Damage] = {
    **{f"no {table}": _sql(f"DELETE FROM {table}") for table in _COLUMNS},
    **{
        f"the {end} of {table} is gone": _sql(
            f"DELETE FROM {table} WHERE rowid = (SELECT {of}(rowid) FROM {table})"
        )
        for table in ("epochs", "blobs", "steps", "journal", "documents", "signals", "audit")
        for end, of in (("first", "min"), ("last", "max"))
    },
    **{
        f"the {'last' if last else 'first'} {column} of {table} altered": _altered(
            table, column, last
        )
        for table, columns in _COLUMNS.items()
        for column in columns
        for last in (False, True)
    },
    "the newest epoch's states are gone": _sql(
        "DELETE FROM blobs WHERE key LIKE (SELECT max(number) FROM epochs) || '-%'"
    ),
    "all states altered": _sql("UPDATE blobs SET body = zeroblob(length(body))"),
    "all manifests altered": _sql("UPDATE epochs SET manifest = zeroblob(length(manifest))"),
    "no tables": _sql("DROP TABLE steps"),
    "another program's": _sql("PRAGMA application_id = 7"),
    "of a newer openbell": _sql("PRAGMA user_version = 99"),
    **{f"truncated to {part:.0%}": _truncated(part) for part in (0.0, 0.1, 0.5, 0.9)},
    **{f"noise at {at:.0%}": _bytes(at, 2000) for at in (0.0, 0.2, 0.4, 0.6, 0.8)},
    "no file": lambda path: path.unlink(),
}


@pytest.fixture(scope="module")
def sqlite_state(
    children: Nursery, minutes: Path, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The file, with its -wal folded in."""
    folder = tmp_path_factory.mktemp("killed")
    path = folder / "damaged.db"
    killed(children, setting(folder, minutes, f"sqlite:///{path}", "damaged", **MORE), minutes)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path.read_bytes()


QUICK = 8
"""Cases a store that `make test` draws, and two of the journal; `make soak` has them all."""


def _some(cases: list[str]) -> set[str]:
    draw = random.Random(5)
    of_journal = [case for case in cases if "journal" in case]
    return {*draw.sample(cases, QUICK), *draw.sample(of_journal, 2)}


def _drawn(cases: dict[str, Damage]) -> list[Any]:
    often = _some(sorted(cases))
    return [
        pytest.param(case, marks=() if case in often else pytest.mark.slow, id=case)
        for case in cases
    ]


@pytest.mark.parametrize("case", _drawn(SQLITE))
def test_a_damaged_sqlite_file_is_recovered_rightly_or_refused(
    case: str,
    children: Nursery,
    minutes: Path,
    sqlite_state: bytes,
    expected: Kept,
    tmp_path: Path,
) -> None:
    path = tmp_path / "damaged.db"
    path.write_bytes(sqlite_state)
    SQLITE[case](path)

    of = setting(tmp_path, minutes, f"sqlite:///{path}", "damaged", **MORE)

    check(children, of, minutes, expected, case)


# Redis


def _each_key(prefix: str, client: Any) -> dict[str, Callable[[], object]]:
    """Damages, by what they are, made anew for each state: keys have numbers in them."""
    found: dict[str, Callable[[], object]] = {}
    for key in sorted(client.keys(f"{prefix}*")):
        short = key.decode().removeprefix(prefix)
        found[f"{short} is gone"] = partial(client.delete, key)
        found[f"{short} is of another type"] = partial(_retyped, client, key)
        match client.type(key).decode():
            case "string":
                found[f"{short} altered"] = partial(client.setrange, key, 3, b"\xff\x00")
                found[f"{short} cut"] = partial(client.set, key, client.get(key)[:-1])
            case "hash":
                for field, value in sorted(client.hgetall(key).items()):
                    about = f"{short}[{field.decode(errors='replace')}]"
                    altered = _flip(value, random.Random(1))
                    found[f"{about} is gone"] = partial(client.hdel, key, field)
                    found[f"{about} altered"] = partial(client.hset, key, field, altered)
            case "stream":
                entries = client.xrange(key)
                found[f"the first of {short} is gone"] = partial(client.xdel, key, entries[0][0])
                found[f"the last of {short} is gone"] = partial(client.xdel, key, entries[-1][0])
            case "set":
                found[f"{short} lacks one"] = partial(client.spop, key)
            case "zset":
                found[f"{short} lacks one"] = partial(client.zpopmin, key)
    return found


def _retyped(client: Any, key: bytes) -> None:
    client.delete(key)
    client.rpush(key, "x")


def test_damaged_redis_keys_are_recovered_rightly_or_refused(
    children: Nursery, minutes: Path, redis_server: RedisServer, expected: Kept, tmp_path: Path
) -> None:
    _damage_redis(children, minutes, redis_server, expected, tmp_path, every=False)


@pytest.mark.slow
def test_every_damaged_redis_key_is_recovered_rightly_or_refused(
    children: Nursery, minutes: Path, redis_server: RedisServer, expected: Kept, tmp_path: Path
) -> None:
    _damage_redis(children, minutes, redis_server, expected, tmp_path, every=True)


def _damage_redis(
    children: Nursery,
    minutes: Path,
    server: RedisServer,
    expected: Kept,
    tmp_path: Path,
    *,
    every: bool,
) -> None:
    import redis

    of = setting(tmp_path, minutes, server.url, f"damaged-{every}", **MORE)
    killed(children, of, minutes)
    prefix = f"openbell:{{{of.name}}}:"
    wrong: list[str] = []
    with redis.Redis.from_url(server.url) as client:
        kept = {key: client.dump(key) for key in client.keys(f"{prefix}*")}
        cases = sorted(_each_key(prefix, client))
        for case in cases if every else sorted(_some(cases)):
            for key in client.keys(f"{prefix}*"):
                client.delete(key)
            for key, data in kept.items():
                client.restore(key, 0, data)
            _each_key(prefix, client)[case]()

            try:
                check(children, of, minutes, expected, case)
            except AssertionError as error:
                wrong.append(str(error))
            except pytest.fail.Exception as error:
                wrong.append(f"{case}: {str(error)[:500]}")

    assert not wrong, "\n".join(wrong)
